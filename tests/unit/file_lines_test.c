/* Files as partitions: which lines are records, with which offsets, and what happens to a file that
 * changes while it is read. */
#include "consumer/broker_file.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <zlib.h>

enum { FILES_MAX = 8, POLLS_MAX = 4000 };

static const struct broker *const t = &broker_file;
static const char topic[] = "rows";
static const char *const topics[] = {topic};
static const char *paths[FILES_MAX];
static struct job job;
static void *b, *c;
static struct err e;
static struct record rec[POLL_RECORDS_MAX];
static uint32_t n;

static const char *put_file(const char *name, const void *p, size_t bytes)
{
    const char *path = temp_path(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    return path;
}

static const char *put(const char *name, const char *text)
{
    return put_file(name, text, strlen(text));
}

static enum st open_job(uint32_t files, uint32_t format)
{
    struct broker_conf conf = {.address = ":memory:", .job = &job};

    job.files = paths;
    job.files_n = files;
    job.input.format = format;
    strcpy(job.topic, topic);
    b = calloc(1, t->broker_bytes);
    return t->open(b, &conf, &e);
}

static void open_all(uint32_t files)
{
    const struct consumer_conf conf = {.topics = topics, .topics_n = 1};
    struct start s[FILES_MAX];

    if (open_job(files, FORMAT_LIBSVM) != ST_OK)
        fail_msg("%s", e.text);
    c = calloc(1, t->consumer_bytes);
    assert_int_equal(t->consumer_open(c, b, &conf, &e), ST_OK);
    for (uint32_t i = 0; i < files; i++)
        s[i] = (struct start){.partition = (int32_t)i, .offset = -2};
    assert_int_equal(t->consumer_assign(c, s, files, &e), ST_OK);
}

static int end(void **state)
{
    (void)state;
    if (c)
        t->consumer_close(c);
    if (b)
        t->close(b);
    free(c);
    free(b);
    b = c = NULL;
    memset(&job, 0, sizeof job);
    return 0;
}

static enum st poll(uint32_t max)
{
    return t->consumer_poll(c, rec, max, 0, &n, &e);
}

/* All of one partition, "offset:value" by blanks, and its end as "|offset"; `max` records a poll.
 */
static const char *all(uint32_t max)
{
    static char text[4096];
    size_t at = 0;
    bool ended = false;

    text[0] = 0;
    for (int i = 0; !ended && i < POLLS_MAX; i++) {
        assert_int_equal(poll(max), ST_OK);
        for (uint32_t k = 0; k < n; k++) {
            ended = rec[k].kind == REC_EOF;
            at += (size_t)snprintf(text + at, sizeof text - at, ended ? "|%lld" : "%lld:%.*s ",
                                   (long long)rec[k].offset, (int)rec[k].value.n,
                                   (const char *)rec[k].value.p);
            assert_true(at < sizeof text);
        }
    }
    assert_true(ended);
    return text;
}

static int64_t count(int32_t partition)
{
    int64_t low, high;

    assert_int_equal(t->watermarks(b, topic, partition, false, &low, &high, &e), ST_OK);
    assert_int_equal(low, 0);
    return high;
}

static void check_text(const void *p, size_t bytes, const char *want, int64_t lines)
{
    for (uint32_t max = 1; max <= 64; max *= 4) {
        paths[0] = put_file("f", p, bytes);
        open_all(1);
        assert_string_equal(all(max), want);
        assert_int_equal(count(0), lines);
        end(NULL);
        open_all(1); /* counted first, as a job does */
        assert_int_equal(count(0), lines);
        assert_string_equal(all(max), want);
        end(NULL);
    }
}

static void check(const char *text, const char *want, int64_t lines)
{
    check_text(text, strlen(text), want, lines);
}

static void lines_are_records(void **state)
{
    (void)state;
    check("a\nb\n", "0:a 1:b |2", 2);
    check("a\nb", "0:a 1:b |2", 2); /* the last line without its end */
    check("a\r\nb\r\n", "0:a 1:b |2", 2);
    check("a\r\nb\r", "0:a 1:b |2", 2);
    check("\n\na\n\r\n\nb\n\n", "2:a 5:b |7", 7); /* nothing in it: no record, but a number */
    check("", "|0", 0);
    check("\n", "|1", 1);
    check("\r", "|1", 1);
    check("\xef\xbb\xbf"
          "a\nb\n",
          "0:a 1:b |2", 2);
    check("\xef\xbb\xbf"
          "\na\n",
          "1:a |2", 2);
    check(" \n", "0:  |1", 1); /* not nothing */
}

static void bytes_are_what_they_are(void **state)
{
    (void)state;
    paths[0] = put_file("f", "a\0b\n\0\n\xff\n", 8);
    open_all(1);
    assert_int_equal(poll(64), ST_OK);
    assert_int_equal(n, 4);
    assert_int_equal(rec[0].value.n, 3);
    assert_memory_equal(rec[0].value.p, "a\0b", 3);
    assert_int_equal(rec[1].value.n, 1);
    assert_memory_equal(rec[1].value.p, "\0", 1);
    assert_memory_equal(rec[2].value.p, "\xff", 1);
    assert_null(rec[0].key.p);
    assert_int_equal(rec[0].timestamp_ms, -1);
    assert_int_equal(rec[3].kind, REC_EOF);
}

/* Lines of 1 to 700,000 bytes, longer than what is read at once, so that each falls on an edge of
 * it in some way. */
static size_t mixed_lines(uint8_t *p, uint32_t lines)
{
    size_t at = 0;

    for (uint32_t i = 0; i < lines; i++) {
        size_t bytes = i % 97 == 5 ? 700000 - i : i % 1009 + 1;

        memset(p + at, 'a' + (int)(i % 26), bytes);
        at += bytes;
        p[at++] = '\n';
    }
    return at;
}

enum { MIXED = 500, MIXED_ROOM = 16 << 20 };

static void mixed_are(uint32_t from)
{
    uint32_t next = from;

    for (int i = 0; next < MIXED && i < POLLS_MAX; i++) {
        assert_int_equal(poll(POLL_RECORDS_MAX), ST_OK);
        for (uint32_t k = 0; k < n; k++) {
            const struct record *r = &rec[k];
            uint32_t at = (uint32_t)r->offset;

            if (r->kind != REC_DATA)
                continue;
            assert_int_equal(r->offset, next++);
            assert_int_equal(r->value.n, at % 97 == 5 ? 700000 - at : at % 1009 + 1);
            for (size_t q = 0; q < r->value.n; q++) /* all of a poll, after all of it was read */
                if (r->value.p[q] != 'a' + at % 26)
                    fail_msg("line %u byte %zu is %d", at, q, r->value.p[q]);
        }
        if (i & 1)
            t->consumer_release(c);
    }
    assert_int_equal(next, MIXED);
}

static void long_lines_are_whole(void **state)
{
    uint8_t *p = malloc(MIXED_ROOM);
    size_t bytes = mixed_lines(p, MIXED);

    (void)state;
    paths[0] = put_file("f", p, bytes);
    open_all(1);
    mixed_are(0);
    assert_int_equal(count(0), MIXED);
    free(p);
}

static void any_line_is_found_again(void **state)
{
    const int64_t to[] = {499, 0, 250, 251, 6, 5, 4, 499, 500};
    uint8_t *p = malloc(MIXED_ROOM);
    size_t bytes = mixed_lines(p, MIXED);

    (void)state;
    paths[0] = put_file("f", p, bytes);
    for (int counted = 0; counted < 2; counted++) {
        open_all(1);
        if (counted)
            assert_int_equal(count(0), MIXED);
        for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
            assert_int_equal(t->consumer_seek(c, (struct start){.offset = to[i]}, &e), ST_OK);
            mixed_are((uint32_t)to[i]);
        }
        end(NULL);
    }
    free(p);
}

/* More lines than there are marks, many times over. */
static void marks_are_thinned_out(void **state)
{
    enum { LINES = 300000 };
    char *p = malloc(LINES * 8), *at = p;
    struct lines_file f;
    struct lines l = {.f = &f};
    struct bytes line;
    int64_t number, lines;

    (void)state;
    for (int i = 0; i < LINES; i++)
        at += sprintf(at, "%d\n", i);
    assert_int_equal(lines_file_open(&f, put_file("f", p, (size_t)(at - p)), &e), ST_OK);
    assert_int_equal(lines_count(&f, &lines, &e), ST_OK);
    assert_int_equal(lines, LINES);
    assert_in_range(f.marks, MARKS / 2, MARKS);
    for (int64_t i = LINES - 1; i >= 0; i -= 1237) {
        char want[16];

        assert_int_equal(lines_seek(&l, i, &e), ST_OK);
        while (!lines_next(&l, &line, &number))
            assert_int_equal(lines_more(&l, &e), ST_OK);
        snprintf(want, sizeof want, "%lld", (long long)i);
        assert_int_equal(number, i);
        assert_int_equal(line.n, strlen(want));
        assert_memory_equal(line.p, want, line.n);
    }
    lines_close(&l);
    lines_file_close(&f);
    free(p);
}

static void packed_reads_the_same(void **state)
{
    uint8_t *p = malloc(MIXED_ROOM);
    size_t bytes = mixed_lines(p, MIXED);
    const char *path = temp_path("f.gz");
    gzFile z = gzopen(path, "wb1");

    (void)state;
    assert_int_equal(gzwrite(z, p, (unsigned)bytes), (int)bytes);
    gzclose(z);
    free(p);
    paths[0] = path;
    open_all(1);
    mixed_are(0);
    assert_int_equal(count(0), MIXED);
    assert_int_equal(t->consumer_seek(c, (struct start){.offset = 300}, &e), ST_OK);
    mixed_are(300);
    end(NULL);
    assert_int_equal(truncate(path, 20000), 0);
    open_all(1);
    for (int i = 0; i < POLLS_MAX && poll(64) == ST_OK; i++)
        ;
    assert_non_null(strstr(e.text, "ends too early"));
}

static void files_are_partitions(void **state)
{
    struct topic_info info;
    uint32_t got[4] = {0}, ends = 0;

    (void)state;
    paths[0] = put("a", "a\na\na\n");
    paths[1] = put("b", ""); /* nothing in it, among others */
    paths[2] = put("c", "c\nc");
    open_all(3);
    assert_int_equal(t->topic(b, topic, &info, &e), ST_OK);
    assert_true(info.exists && info.partitions == 3);
    for (int i = 0; ends < 3 && i < 20; i++) {
        assert_int_equal(poll(2), ST_OK);
        for (uint32_t k = 0; k < n; k++) {
            ends += rec[k].kind == REC_EOF;
            if (rec[k].kind != REC_DATA)
                continue;
            assert_int_equal(*rec[k].value.p, 'a' + rec[k].partition);
            assert_int_equal(rec[k].offset, got[rec[k].partition]++);
        }
    }
    assert_int_equal(ends, 3);
    assert_int_equal(got[0], 3);
    assert_int_equal(got[2], 2);
    assert_int_equal(count(1), 0);
    assert_int_equal(poll(2), ST_OK); /* ends are told once */
    assert_int_equal(n, 0);
}

/* What was polled stays as it is while other files are read in the same poll, and until the next.
 */
static void records_stay_until_the_next_poll(void **state)
{
    enum { LINES = 20000, WIDE = 40 };
    char *p = malloc((WIDE + 1) * LINES + 1);
    uint32_t next[2] = {0};

    (void)state;
    for (int f = 0; f < 2; f++) {
        for (int i = 0; i < LINES; i++)
            sprintf(p + i * (WIDE + 1), "%c%0*d\n", 'a' + f, WIDE - 1, i);
        paths[f] = put_file(f ? "b" : "a", p, (WIDE + 1) * LINES);
    }
    free(p);
    open_all(2);
    while (next[0] + next[1] < 2 * LINES) {
        assert_int_equal(poll(POLL_RECORDS_MAX), ST_OK);
        for (uint32_t k = 0; k < n; k++) {
            char want[WIDE + 1];

            if (rec[k].kind != REC_DATA)
                continue;
            snprintf(want, sizeof want, "%c%0*u", 'a' + rec[k].partition, WIDE - 1,
                     next[rec[k].partition]++);
            assert_int_equal(rec[k].value.n, WIDE);
            assert_memory_equal(rec[k].value.p, want, WIDE);
        }
    }
}

/* The end of an epoch moves a partition while records of the poll are still to be learned. */
static void records_outlive_an_assign(void **state)
{
    enum { LINES = 40000 };
    struct start s = {.offset = 3};
    char *p = malloc(LINES * 24), *at = p, want[24];
    int64_t seen = 0;

    (void)state;
    for (int i = 0; i < LINES; i++)
        at += sprintf(at, "%d is the number\n", i);
    paths[0] = put_file("a", p, (size_t)(at - p));
    free(p);
    open_all(1);
    while (seen < LINES / 2) {
        assert_int_equal(poll(POLL_RECORDS_MAX), ST_OK);
        seen = rec[0].offset;
    }
    assert_int_equal(t->consumer_assign(c, &s, 1, &e), ST_OK);
    assert_int_equal(t->consumer_seek(c, s, &e), ST_OK);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(want, sizeof want, "%lld is the number", (long long)seen + i);
        assert_memory_equal(rec[i].value.p, want, rec[i].value.n);
    }
    assert_int_equal(poll(1), ST_OK);
    assert_int_equal(rec[0].offset, 3);
}

static void what_is_appended_is_of_the_next_start(void **state)
{
    FILE *f;

    (void)state;
    paths[0] = put("f", "a\nb\n");
    open_all(1);
    f = fopen(paths[0], "a");
    fputs("c\n", f);
    fclose(f);
    assert_string_equal(all(64), "0:a 1:b |2");
    assert_int_equal(count(0), 2);
    end(NULL);
    open_all(1);
    assert_string_equal(all(64), "0:a 1:b 2:c |3");
}

static void a_file_that_is_removed_is_read_to_its_end(void **state)
{
    (void)state;
    paths[0] = put("f", "a\nb\n");
    open_all(1);
    assert_int_equal(unlink(paths[0]), 0);
    assert_string_equal(all(64), "0:a 1:b |2");
}

/* With the file mapped this would be the end of the program. */
static void a_file_cut_short_is_an_error(void **state)
{
    uint8_t *p = calloc(1, 4 << 20);
    enum st st = ST_OK;

    (void)state;
    memset(p, 'a', 4 << 20);
    for (size_t i = 99; i < 4 << 20; i += 100)
        p[i] = '\n';
    paths[0] = put_file("f", p, 4 << 20);
    free(p);
    open_all(1);
    assert_int_equal(poll(64), ST_OK);
    assert_int_equal(n, 64);
    assert_int_equal(truncate(paths[0], 5000), 0);
    for (int i = 0; i < POLLS_MAX && st == ST_OK; i++)
        st = poll(64);
    assert_int_equal(st, ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "cut short"));
    assert_non_null(strstr(e.text, paths[0]));
}

static void a_place_behind_the_end_is_reset(void **state)
{
    (void)state;
    paths[0] = put("f", "a\nb\n");
    open_all(1);
    assert_int_equal(t->consumer_assign(c, &(struct start){.offset = 3}, 1, &e), ST_OK);
    assert_int_equal(poll(64), ST_OK);
    assert_int_equal(n, 1);
    assert_int_equal(rec[0].kind, REC_RESET);
    assert_int_equal(rec[0].offset, 3);
    assert_int_equal(t->consumer_assign(c, &(struct start){.offset = 2}, 1, &e), ST_OK);
    assert_string_equal(all(64), "|2"); /* at the end */
    assert_int_equal(t->consumer_assign(c, &(struct start){.offset = -1}, 1, &e), ST_OK);
    assert_string_equal(all(64), "|2");
}

static void what_cannot_be_read_is_named(void **state)
{
    int64_t low, high;

    (void)state;
    paths[0] = "/no/such/file";
    assert_int_equal(open_job(1, FORMAT_CSV), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "/no/such/file cannot be read: No such file"));
    end(NULL);
    paths[0] = "/";
    assert_int_equal(open_job(1, FORMAT_CSV), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "Is a directory"));
    end(NULL);
    paths[0] = "/dev/null"; /* no file: it may be read, but not twice */
    open_all(1);
    assert_string_equal(all(4), "|0");
    assert_int_equal(t->watermarks(b, topic, 0, false, &low, &high, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "is no file"));
    assert_int_equal(t->offset_at(b, topic, 0, 0, &low, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "lines have no time"));
    assert_int_equal(t->watermarks(b, topic, 1, false, &low, &high, &e), ST_BAD_CONFIG);
    end(NULL);
    job.input.format = FORMAT_AVRO;
    job.files_n = 1;
    assert_int_equal(files_columns(&job, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "millrace load"));
}

static void columns_of(const char *text)
{
    memset(&job.input, 0, sizeof job.input);
    job.files_header = false;
    job.files = paths;
    job.files_n = 1;
    job.input.format = FORMAT_CSV;
    paths[0] = put("f", text);
}

/* A line of names is no record; which it is depends on the lines alone. */
static void a_header_names_the_columns(void **state)
{
    (void)state;
    columns_of("y,\"a b\", c\n1,2,3\n");
    assert_int_equal(files_columns(&job, &e), ST_OK);
    assert_int_equal(job.input.columns, 3);
    assert_string_equal(job.input.column[1].name, "a b");
    paths[1] = put("g", "y,a b,c\n4,5,6\n");
    assert_int_equal(open_job(2, FORMAT_CSV), ST_OK);
    end(NULL);
    columns_of("y,\"a b\", c\n1,2,3\n");
    assert_int_equal(files_columns(&job, &e), ST_OK);
    paths[1] = put("g", "y,c,a b\n4,5,6\n"); /* in another order they would be learned wrong */
    assert_int_equal(open_job(2, FORMAT_CSV), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "/g:1: not the names of the first file"));
    end(NULL);
    columns_of("red,2,3\n"); /* a row: one of them is a number */
    assert_int_equal(files_columns(&job, &e), ST_OK);
    assert_int_equal(job.input.columns, 0);
    assert_false(job.files_header);
    columns_of("y,,c\n");
    assert_int_equal(files_columns(&job, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "field 2 has a name of 0 bytes"));
    columns_of("");
    assert_int_equal(files_columns(&job, &e), ST_OK);
    assert_int_equal(job.input.columns, 0);
}

static void a_header_as_the_job_has_it_is_no_record(void **state)
{
    const struct consumer_conf conf = {.topics = topics, .topics_n = 1};

    (void)state;
    columns_of("y,a\r\n1,2\n");
    job.input.columns = 2;
    strcpy(job.input.column[0].name, "y");
    strcpy(job.input.column[1].name, "a");
    paths[1] = put("g", "1,2\ny,a\n"); /* there it is a row, if a bad one */
    assert_int_equal(open_job(2, FORMAT_CSV), ST_OK);
    c = calloc(1, t->consumer_bytes);
    assert_int_equal(t->consumer_open(c, b, &conf, &e), ST_OK);
    assert_int_equal(t->consumer_assign(c, &(struct start){.offset = 0}, 1, &e), ST_OK);
    assert_string_equal(all(4), "1:1,2 |2");
    assert_int_equal(t->consumer_assign(c, &(struct start){.partition = 1}, 1, &e), ST_OK);
    assert_string_equal(all(4), "0:1,2 1:y,a |2");
}

static void clusters_are_files_in_order(void **state)
{
    char first[256];

    (void)state;
    paths[0] = put("a", "a\n");
    paths[1] = put("b", "b\n");
    open_all(2);
    snprintf(first, sizeof first, "%s", t->cluster(b));
    assert_true(strlen(first) <= NAME_MAX_BYTES);
    end(NULL);
    paths[2] = paths[0];
    open_all(2);
    assert_string_equal(strstr(first, "with"), strstr(t->cluster(b), "with"));
    end(NULL);
    paths[0] = paths[1];
    paths[1] = paths[2];
    open_all(2);
    assert_string_not_equal(strstr(first, "with"), strstr(t->cluster(b), "with"));
}

#define CASE(f) cmocka_unit_test_teardown(f, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_are_records),
        CASE(bytes_are_what_they_are),
        CASE(long_lines_are_whole),
        CASE(any_line_is_found_again),
        CASE(marks_are_thinned_out),
        CASE(packed_reads_the_same),
        CASE(files_are_partitions),
        CASE(records_stay_until_the_next_poll),
        CASE(records_outlive_an_assign),
        CASE(what_is_appended_is_of_the_next_start),
        CASE(a_file_that_is_removed_is_read_to_its_end),
        CASE(a_file_cut_short_is_an_error),
        CASE(a_place_behind_the_end_is_reset),
        CASE(what_cannot_be_read_is_named),
        CASE(a_header_names_the_columns),
        CASE(a_header_as_the_job_has_it_is_no_record),
        CASE(clusters_are_files_in_order),
    };
    int failed;

    if (!temp_begin())
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_end();
    return failed != 0;
}
