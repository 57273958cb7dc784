/* Records of a file by the broker `files`, beside a plain read of the same bytes:
 * liblinear_lines_bench FILE [ROUNDS]. Best of the rounds, which alternate; the file comes from the
 * page cache. */
#include "consumer/broker_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct job job;
static struct err err;
static int64_t lines;

/* Processor time: others may use the machine. */
static double used_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static enum st run_plain(struct lines_file *f)
{
    uint8_t *p = malloc(LINES_ROOM);
    uint64_t at = 0, sum = 0;
    ssize_t n;

    CHECK(p);
    while ((n = pread(f->fd, p, LINES_ROOM, (off_t)at)) > 0) {
        at += (uint64_t)n;
        sum += p[0];
    }
    free(p);
    return sum == UINT64_MAX ? ST_FATAL : ST_OK;
}

static enum st run_count(struct lines_file *f)
{
    f->lines = -1;
    f->marks = 1;
    f->next_mark = 1;
    return lines_count(f, &lines, &err);
}

static enum st run_poll(struct lines_file *f)
{
    static const char *const topic[] = {"rows"};
    static struct record rec[POLL_RECORDS_MAX];
    const struct broker_conf conf = {.address = ":memory:", .job = &job};
    const struct consumer_conf cc = {.topics = topic, .topics_n = 1};
    const struct broker *t = &broker_file;
    void *b = calloc(1, t->broker_bytes), *c = calloc(1, t->consumer_bytes);
    uint32_t n = 0;

    CHECK(b && c);
    job.files = &f->path;
    job.files_n = 1;
    job.input.format = FORMAT_LIBSVM;
    strcpy(job.topic, *topic);
    TRY(t->open(b, &conf, &err));
    TRY(t->consumer_open(c, b, &cc, &err));
    TRY(t->consumer_assign(c, &(struct start){.offset = 0}, 1, &err));
    do
        TRY(t->consumer_poll(c, rec, POLL_RECORDS_MAX, 0, &n, &err));
    while (!n || rec[n - 1].kind != REC_EOF);
    t->consumer_close(c);
    t->close(b);
    free(c);
    free(b);
    return ST_OK;
}

int main(int argc, char **argv)
{
    enum st (*const run[])(struct lines_file *) = {run_plain, run_count, run_poll};
    static const char *const name[] = {"plain read", "count of lines", "records polled"};
    int rounds = argc > 2 ? atoi(argv[2]) : 9;
    double best[3] = {1e300, 1e300, 1e300};
    struct lines_file f;

    if (argc < 2 || lines_file_open(&f, argv[1], &err) != ST_OK || f.packed) {
        fprintf(stderr, "liblinear_lines_bench FILE [ROUNDS]: %s\n", err.text);
        return 2;
    }
    for (int i = 0; i < rounds; i++)
        for (int k = 0; k < 3; k++) {
            double us, begin = used_us();

            if (run[k](&f) != ST_OK) {
                fprintf(stderr, "liblinear_lines_bench: %s\n", err.text);
                return 1;
            }
            us = used_us() - begin;
            best[k] = us < best[k] ? us : best[k];
        }
    for (int k = 0; k < 3; k++)
        printf("%-16s %6.2f GB/s %7.1f ns a line, %5.2f of a plain read\n", name[k],
               (double)f.bytes / best[k] / 1e3, best[k] * 1e3 / (double)lines, best[0] / best[k]);
    lines_file_close(&f);
    return 0;
}
