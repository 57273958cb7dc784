/* The broker suite over `files`: all of it on topics that are not the files', which are the local
 * broker's; and what it says of reading on topics of files, which a producer of this test writes,
 * each opened by a broker of its own for whoever reads it. */
#include "consumer/broker_file.h"
#include "tests/conform/broker_suite_case.h"
#include "tests/temp.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 64, TOPICS_MAX = 64 };

static char folder[256];
static struct job job;
static struct props props = {
    .p = {{"session.timeout.ms", "2000"}, {"max.poll.interval.ms", "3000"}}, .n = 2};

/* ---- other topics ---- */

static void conf(struct broker_conf *c)
{
    static const char *const file[] = {"/dev/null"};

    job.files = file;
    job.files_n = 1;
    strcpy(job.topic, "rows");
    c->address = folder;
    c->props = &props;
    c->job = &job;
}

/* ---- topics of files ---- */

struct made {
    char name[NAME_MAX_BYTES];
    struct job *job; /* its files */
    char (*path)[256];
};

static struct made made[TOPICS_MAX];
static uint32_t mades;

struct reader { /* a consumer with its broker */
    void *b, *c;
};

struct writer {
    struct made *to;
};

static struct made *find(const char *topic)
{
    for (uint32_t i = 0; i < mades; i++)
        if (!strcmp(made[i].name, topic))
            return &made[i];
    return NULL;
}

static enum st make(void *self, const struct topic_spec *s, struct err *e)
{
    struct made *m = &made[mades++];
    const char **files = calloc(s->partitions, sizeof *files);

    (void)self;
    (void)e;
    assert_true(mades <= TOPICS_MAX && s->partitions <= PARTS_MAX);
    snprintf(m->name, sizeof m->name, "%s", s->name);
    m->path = calloc(s->partitions, sizeof *m->path);
    m->job = calloc(1, sizeof *m->job);
    for (uint32_t i = 0; i < s->partitions; i++) {
        char name[NAME_MAX_BYTES + 16];
        FILE *f;

        snprintf(name, sizeof name, "%s.%u", s->name, i);
        snprintf(m->path[i], sizeof *m->path, "%s", temp_path(name));
        files[i] = m->path[i];
        f = fopen(files[i], "w");
        assert_non_null(f);
        fclose(f);
    }
    m->job->files = files;
    m->job->files_n = s->partitions;
    strcpy(m->job->topic, s->name);
    return ST_OK;
}

static void open_made(const struct made *m, void **own)
{
    const struct broker_conf c = {.address = ":memory:", .job = m->job};

    *own = calloc(1, broker_file.broker_bytes);
    OK(broker_file.open(*own, &c, &err));
}

static enum st marks_of(void *self, const char *topic, int32_t partition, bool uncommitted,
                        int64_t *low, int64_t *high, struct err *e)
{
    const struct made *m = find(topic);
    enum st st;
    void *own;

    (void)self;
    open_made(m ? m : &made[0], &own);
    st = broker_file.watermarks(own, topic, partition, uncommitted, low, high, e);
    broker_file.close(own);
    free(own);
    return st;
}

static enum st write_open(void *p, void *self, const char *id, const char *const *topics,
                          uint32_t n, struct err *e)
{
    (void)self;
    (void)e;
    assert_true(!id && n == 1);
    ((struct writer *)p)->to = find(topics[0]);
    return ST_OK;
}

static void write_close(void *p)
{
    (void)p;
}

static enum st write_line(void *p, uint16_t topic, int32_t partition, struct bytes key,
                          struct bytes value, int64_t ms, const struct header *h, uint32_t headers,
                          struct err *e)
{
    const struct made *m = ((struct writer *)p)->to;
    static FILE *f; /* of the last partition */
    static const char *path;

    (void)topic, (void)key, (void)ms, (void)h, (void)headers, (void)e;
    if (path != m->path[partition]) {
        if (f)
            fclose(f);
        path = m->path[partition];
        f = fopen(path, "a");
        assert_non_null(f);
        setvbuf(f, NULL, _IOLBF, 0);
    }
    fwrite(value.p, 1, value.n, f);
    fputc('\n', f);
    return ST_OK;
}

static enum st write_wait(void *p, int timeout_ms, struct err *e)
{
    (void)p, (void)timeout_ms, (void)e;
    return ST_OK;
}

/* At the first assignment, for the suite opens readers before it writes. */
static enum st read_open(void *self, void *unused, const struct consumer_conf *c, struct err *e)
{
    struct reader *r = self;

    (void)unused, (void)e;
    assert_true(c->topics_n == 1 && !c->group);
    r->c = (void *)find(c->topics[0]);
    return ST_OK;
}

static enum st read_assign(void *self, const struct start *s, uint32_t n, struct err *e)
{
    struct reader *r = self;

    if (!r->b) {
        const struct made *m = r->c;

        open_made(m, &r->b);
        r->c = calloc(1, broker_file.consumer_bytes);
        OK(broker_file.consumer_open(
            r->c, r->b,
            &(struct consumer_conf){.topics = (const char *const[]){m->name}, .topics_n = 1}, e));
    }
    return broker_file.consumer_assign(r->c, s, n, e);
}

static void read_close(void *self)
{
    struct reader *r = self;

    if (r->b) {
        broker_file.consumer_close(r->c);
        broker_file.close(r->b);
        free(r->c);
        free(r->b);
    }
    memset(r, 0, sizeof *r);
}

static enum st read_poll(void *self, struct record *out, uint32_t max, int timeout_ms, uint32_t *n,
                         struct err *e)
{
    return broker_file.consumer_poll(((struct reader *)self)->c, out, max, timeout_ms, n, e);
}

static void read_release(void *self)
{
    broker_file.consumer_release(((struct reader *)self)->c);
}

static enum group_event read_event(void *self, const struct start **list, uint32_t *n)
{
    return broker_file.consumer_event(((struct reader *)self)->c, list, n);
}

static enum st read_seek(void *self, struct start s, struct err *e)
{
    return broker_file.consumer_seek(((struct reader *)self)->c, s, e);
}

static enum st read_pause(void *self, struct start s, struct err *e)
{
    return broker_file.consumer_pause(((struct reader *)self)->c, s, e);
}

static int reading(const char *pattern)
{
    /* not those of keys, times, transactions, nor of records that come while one reads */
    static const char *const cases[] = {
        "watermarks_of_an_empty_partition",  "end_of_an_empty_partition_is_told",
        "assign_starts_at_the_offset_given", "assign_replaces_what_is_read",
        "seek_shows_no_record_of_before",    "paused_is_silent_until_a_seek",
        "position_behind_the_end_is_reset",  "many_partitions_each_in_order",
        "ten_thousand_records_in_batches"};
    struct broker lines = broker_local;
    const struct broker_fixture of_lines = {&lines, conf, NULL, false};
    int failed = 0;

    lines.name = "files, of their lines";
    lines.topic_create = make;
    lines.watermarks = marks_of;
    lines.producer_bytes = sizeof(struct writer);
    lines.producer_open = write_open;
    lines.producer_close = write_close;
    lines.produce = write_line;
    lines.producer_wait = write_wait;
    lines.consumer_bytes = sizeof(struct reader);
    lines.consumer_open = read_open;
    lines.consumer_close = read_close;
    lines.consumer_assign = read_assign;
    lines.consumer_poll = read_poll;
    lines.consumer_release = read_release;
    lines.consumer_event = read_event;
    lines.consumer_seek = read_seek;
    lines.consumer_pause = read_pause;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!pattern || !strcmp(pattern, cases[i]))
            failed += broker_suite(&of_lines, cases[i]);
    return failed;
}

int main(int argc, char **argv)
{
    const struct broker_fixture other = {&broker_file, conf, NULL, true};
    const char *pattern = argc > 1 ? argv[1] : NULL;
    int failed;

    if (!temp_begin())
        return 1;
    snprintf(folder, sizeof folder, "%s", temp_path("broker"));
    failed = broker_suite(&other, pattern ? pattern : "*") + reading(pattern);
    temp_end();
    for (uint32_t i = 0; i < mades; i++) {
        free((void *)made[i].job->files);
        free(made[i].job);
        free(made[i].path);
    }
    return failed != 0;
}
