/* What one consumer without a group is handed. */
#include "tests/conform/broker_suite_case.h"

#include <stdio.h>
#include <string.h>

void order_and_offsets_of_a_partition(void **state)
{
    const char *name = new_topic(1, NULL);
    struct got g = {.c = open_reader(name, false)};
    char value[16];

    (void)state;
    fill(name, 0, 200);
    assign_all(g.c, 1, -2);
    until_eof(&g, 1);
    assert_int_equal(g.n, 200);
    for (uint32_t i = 0; i < g.n; i++) {
        snprintf(value, sizeof value, "v%u", i);
        assert_int_equal(g.r[i].offset, i);
        assert_string_equal(g.r[i].value, value);
        assert_int_equal(g.r[i].key_bytes, -1);
        assert_int_equal(g.r[i].topic, 0);
    }
}

void null_and_empty_are_different(void **state)
{
    const char *name = new_topic(1, NULL);
    void *p = open_producer(NULL, name);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    put(p, 0, "k", "v");
    put(p, 0, "k", NULL);
    put(p, 0, "k", "");
    put(p, 0, NULL, "v");
    put(p, 0, "", "v");
    OK(t->producer_wait(p, CASE_MS, &err));
    assign_all(g.c, 1, 0);
    until_records(&g, 5);
    assert_string_equal(g.r[0].key, "k");
    assert_int_equal(g.r[0].value_bytes, 1);
    assert_int_equal(g.r[1].value_bytes, -1);
    assert_int_equal(g.r[2].value_bytes, 0);
    assert_int_equal(g.r[3].key_bytes, -1);
    assert_int_equal(g.r[4].key_bytes, 0);
}

void timestamps_travel(void **state)
{
    const char *name = new_topic(1, NULL);
    void *p = open_producer(NULL, name);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    OK(t->produce(p, 0, 0, text(NULL), text("v"), 1700000000123, NULL, 0, &err));
    OK(t->produce(p, 0, 0, text(NULL), text("v"), -1, NULL, 0, &err));
    OK(t->producer_wait(p, CASE_MS, &err));
    assign_all(g.c, 1, 0);
    until_records(&g, 2);
    assert_int_equal(g.r[0].timestamp_ms, 1700000000123);
    assert_true(g.r[1].timestamp_ms > 1700000000123); /* now */
}

void headers_travel(void **state)
{
    const char *name = new_topic(1, NULL);
    void *p = open_producer(NULL, name), *c = open_reader(name, false);
    struct header h[] = {{"reason", {(const uint8_t *)"bad", 3}},
                         {"empty", {(const uint8_t *)"", 0}},
                         {"null", {NULL, 0}}},
                  out;
    struct record r[4];
    uint32_t n = 0, seen = 0;

    (void)state;
    OK(t->produce(p, 0, 0, text("k"), text("v"), -1, h, 3, &err));
    put(p, 0, "k", "bare");
    OK(t->producer_wait(p, CASE_MS, &err));
    assign_all(c, 1, 0);
    for (int tries = 0; seen < 2 && tries < 100; tries++) {
        OK(t->consumer_poll(c, r, 4, 200, &n, &err));
        for (uint32_t i = 0; i < n; i++) {
            if (r[i].kind != REC_DATA)
                continue;
            if (seen++) {
                assert_false(t->consumer_header(c, &r[i], 0, &out));
                continue;
            }
            for (uint32_t j = 0; j < 3; j++) {
                assert_true(t->consumer_header(c, &r[i], j, &out));
                assert_string_equal(out.name, h[j].name);
                assert_int_equal(out.value.n, h[j].value.n);
                if (h[j].value.n)
                    assert_memory_equal(out.value.p, h[j].value.p, h[j].value.n);
            }
            assert_false(t->consumer_header(c, &r[i], 3, &out));
        }
    }
    assert_int_equal(seen, 2);
}

void key_chooses_one_partition(void **state)
{
    const char *name = new_topic(8, NULL);
    void *p = open_producer(NULL, name);
    struct got g = {.c = open_reader(name, false)};
    int32_t at[10];
    uint32_t used = 0;
    char key[8];

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key%u", i % 10);
        put(p, -1, key, "v");
    }
    OK(t->producer_wait(p, CASE_MS, &err));
    assign_all(g.c, 8, 0);
    until_eof(&g, 8);
    assert_int_equal(g.n, 100);
    memset(at, -1, sizeof at);
    for (uint32_t i = 0; i < g.n; i++) {
        int32_t *k = &at[g.r[i].key[3] - '0'];

        if (*k < 0)
            *k = g.r[i].partition;
        assert_int_equal(*k, g.r[i].partition);
    }
    for (int32_t q = 0; q < 8; q++)
        used += g.last[q] > 0;
    assert_true(used > 1);
}

void end_is_told_and_told_again(void **state)
{
    const char *name = new_topic(1, NULL);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    fill(name, 0, 3);
    assign_all(g.c, 1, 0);
    until_eof(&g, 1);
    assert_int_equal(g.n, 3);
    assert_int_equal(g.eof[0], 3);
    fill(name, 0, 2);
    until_eof_at(&g, 0, 5);
    assert_int_equal(g.n, 5);
    assert_int_equal(g.eof[0], 5);
}

void end_of_an_empty_partition_is_told(void **state)
{
    const char *name = new_topic(2, NULL);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    assign_all(g.c, 2, 0);
    until_eof(&g, 2);
    assert_int_equal(g.n, 0);
    assert_int_equal(g.eof[0], 0);
    assert_int_equal(g.eof[1], 0);
}

void assign_starts_at_the_offset_given(void **state)
{
    const char *name = new_topic(2, NULL);
    struct got g = {.c = open_reader(name, false)};
    struct start s[2] = {{0, 0, 7}, {1, 0, -2}};

    (void)state;
    fill(name, 0, 10);
    fill(name, 1, 4);
    OK(t->consumer_assign(g.c, s, 2, &err));
    until_eof(&g, 2);
    assert_int_equal(g.n, 3 + 4);
    for (uint32_t i = 0; i < g.n; i++)
        assert_true(g.r[i].partition == 1 || g.r[i].offset >= 7);
}

/* The restored set grows: what was being read goes on at the offset given, with nothing twice. */
void assign_replaces_what_is_read(void **state)
{
    const char *name = new_topic(3, NULL);
    struct got g = {.c = open_reader(name, false)};
    struct start s[3] = {{0, 0, 0}, {1, 0, 0}, {2, 0, 0}};

    (void)state;
    for (int32_t q = 0; q < 3; q++)
        fill(name, q, 50);
    OK(t->consumer_assign(g.c, s, 1, &err));
    until_records(&g, 1);
    for (uint32_t n = 2; n <= 3; n++) {
        for (int32_t q = 0; q < 3; q++)
            s[q].offset = g.last[q];
        OK(t->consumer_assign(g.c, s, n, &err));
        until_records(&g, g.n + 1);
    }
    for (int32_t q = 0; q < 3; q++)
        until_eof_at(&g, q, 50); /* it may have come with the last records */
    assert_int_equal(g.n, 150);
    for (int32_t q = 0; q < 3; q++)
        assert_int_equal(g.eof[q], 50);
    OK(t->consumer_assign(g.c, NULL, 0, &err));
    fill(name, 0, 5);
    quiet(&g, 300);
    assert_int_equal(g.n, 150);
}

void assign_at_the_end_reads_what_comes(void **state)
{
    const char *name = new_topic(1, NULL);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    fill(name, 0, 5);
    assign_all(g.c, 1, -1);
    until_eof(&g, 1);
    fill(name, 0, 2);
    until_records(&g, 2);
    assert_int_equal(g.r[0].offset, 5);
}

/* After a seek the first record is the one asked for, however much was fetched ahead of it. */
void seek_shows_no_record_of_before(void **state)
{
    const char *name = new_topic(1, NULL);
    struct got g = {.c = open_reader(name, false), .any_order = true};
    const int64_t to[] = {0, 2500, 100, 0, 2999, 1};

    (void)state;
    fill(name, 0, 3000);
    assign_all(g.c, 1, 0);
    for (uint32_t i = 0; i < sizeof to / sizeof *to; i++) {
        until_records(&g, g.n + (i % 2 ? 1 : 150));
        g.n = 0;
        OK(t->consumer_seek(g.c, (struct start){0, 0, to[i]}, &err));
        until_records(&g, 1);
        assert_int_equal(g.r[0].offset, to[i]);
        for (uint32_t j = 1; j < g.n && j < GOT_MAX; j++)
            assert_int_equal(g.r[j].offset, g.r[0].offset + j);
        if (to[i] > 2000)
            OK(t->consumer_seek(g.c, (struct start){0, 0, 0}, &err));
    }
}

/* However much of a paused partition was fetched, and again and again; its neighbour goes on. */
void paused_is_silent_until_a_seek(void **state)
{
    const char *name = new_topic(2, NULL);
    struct got g = {.c = open_reader(name, false), .any_order = true};
    uint32_t at = 0;

    (void)state;
    fill(name, 0, 3000);
    fill(name, 1, 3000);
    assign_all(g.c, 2, 0);
    until_records(&g, 1);
    for (uint32_t i = 0; i < 10; i++) {
        OK(t->consumer_pause(g.c, (struct start){.partition = 0}, &err));
        OK(t->consumer_seek(g.c, (struct start){1, 0, 2900}, &err));
        g.n = 0;
        until_records(&g, 100);
        for (uint32_t j = 0; j < g.n && j < GOT_MAX; j++) {
            assert_int_equal(g.r[j].partition, 1);
            assert_int_equal(g.r[j].offset, 2900 + j);
        }
        OK(t->consumer_pause(g.c, (struct start){.partition = 1}, &err));
        OK(t->consumer_seek(g.c, (struct start){0, 0, at}, &err));
        g.n = 0;
        until_records(&g, 100);
        for (uint32_t j = 0; j < g.n && j < GOT_MAX; j++) {
            assert_int_equal(g.r[j].partition, 0);
            assert_int_equal(g.r[j].offset, at + j);
        }
        at += 37;
    }
    assign_all(g.c, 2, 2950); /* ends every pause */
    g.n = 0;
    until_records(&g, 100);
}

void position_behind_the_end_is_reset(void **state)
{
    const char *name = new_topic(1, NULL);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    fill(name, 0, 5);
    assign_all(g.c, 1, 1000);
    for (int i = 0; !g.resets && i < 300; i++)
        poll_once(&g, 100);
    assert_int_equal(g.resets, 1);
    assert_int_equal(g.reset_at, 1000);
    assert_int_equal(g.n, 0);
    assign_all(g.c, 1, -2); /* and it can go on elsewhere */
    until_records(&g, 5);
}

void position_below_the_low_watermark_is_reset(void **state)
{
    const char *name = new_topic(1, NULL);
    struct got g = {.c = open_reader(name, false)};
    int64_t low, high;

    (void)state;
    if (!fixture->trim)
        skip();
    fill(name, 0, 20);
    fixture->trim(name, 0, 8);
    OK(t->watermarks(b, name, 0, false, &low, &high, &err));
    assert_int_equal(low, 8);
    assert_int_equal(high, 20);
    assign_all(g.c, 1, 3);
    for (int i = 0; !g.resets && i < 300; i++)
        poll_once(&g, 100);
    assert_int_equal(g.resets, 1);
    assert_int_equal(g.reset_at, 3);
    assert_int_equal(g.n, 0);
    assign_all(g.c, 1, -2);
    until_eof(&g, 1);
    assert_int_equal(g.n, 12);
    assert_int_equal(g.r[0].offset, 8);
}

/* Not an end, not silence: whoever reads on must be stopped before another topic of that name is
 * taken for it. */
void deleted_topic_is_told_to_its_reader(void **state)
{
    const char *name = new_topic(1, NULL);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    fill(name, 0, 3);
    assign_all(g.c, 1, 0);
    until_eof(&g, 1);
    OK(t->topic_delete(b, name, &err));
    for (int i = 0; !g.gone && i < 600; i++)
        poll_once(&g, 100);
    assert_true(g.gone);
    assert_int_equal(g.n, 3);
}

void two_topics_in_one_consumer(void **state)
{
    const char *names[2] = {new_topic(1, NULL), new_topic(2, NULL)};
    struct got g = {.c = open_consumer(&(struct consumer_conf){.topics = names, .topics_n = 2}),
                    .any_order = true};
    struct start s[3] = {{0, 0, 0}, {0, 1, 1}, {1, 1, 0}};
    uint32_t of[2] = {0, 0};

    (void)state;
    fill(names[0], 0, 3);
    fill(names[1], 0, 5);
    fill(names[1], 1, 2);
    OK(t->consumer_assign(g.c, s, 3, &err));
    until_records(&g, 3 + 4 + 2);
    for (uint32_t i = 0; i < g.n; i++)
        of[g.r[i].topic]++;
    assert_int_equal(of[0], 3);
    assert_int_equal(of[1], 6);
}

void many_partitions_each_in_order(void **state)
{
    enum { PARTITIONS = 60, EACH = 40 };
    const char *name = new_topic(PARTITIONS, NULL);
    void *p = open_producer(NULL, name);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    for (int i = 0; i < EACH; i++)
        for (int32_t q = 0; q < PARTITIONS; q++)
            put(p, q, NULL, "v");
    OK(t->producer_wait(p, CASE_MS, &err));
    assign_all(g.c, PARTITIONS, 0);
    until_eof(&g, PARTITIONS);
    assert_int_equal(g.n, PARTITIONS * EACH);
    for (int32_t q = 0; q < PARTITIONS; q++)
        assert_int_equal(g.last[q], EACH);
}

void ten_thousand_records_in_batches(void **state)
{
    static struct record r[POLL_RECORDS_MAX];
    const char *name = new_topic(1, NULL);
    void *c = open_reader(name, false);
    uint32_t n, polls = 0;
    int64_t next = 0;
    char value[16];

    (void)state;
    fill(name, 0, 10000);
    assign_all(c, 1, 0);
    while (next < 10000 && polls < 2000) {
        OK(t->consumer_poll(c, r, POLL_RECORDS_MAX, 1000, &n, &err));
        polls++;
        for (uint32_t i = 0; i < n; i++) {
            if (r[i].kind != REC_DATA)
                continue;
            snprintf(value, sizeof value, "v%lld", (long long)next);
            assert_int_equal(r[i].offset, next++);
            assert_int_equal(r[i].value.n, strlen(value)); /* all of a batch are there at once */
            assert_memory_equal(r[i].value.p, value, strlen(value));
        }
        if (polls & 1)
            t->consumer_release(c); /* may be called, need not */
    }
    assert_int_equal(next, 10000);
    assert_true(polls < 1000); /* batches, not records */
}

void offset_of_a_time(void **state)
{
    enum { EACH = 50 };
    const char *name = new_topic(2, NULL);
    void *p = open_producer(NULL, name);
    const int64_t began = 1700000000000;
    int64_t at;

    (void)state;
    for (int batch = 0; batch < 4; batch++) { /* as many batches, a minute between records */
        for (int i = 0; i < EACH; i++)
            OK(t->produce(p, 0, 1, text(NULL), text("v"), began + (batch * EACH + i) * 60000, NULL,
                          0, &err));
        OK(t->producer_wait(p, CASE_MS, &err));
    }
    for (int64_t i = 0; i < 4 * EACH; i += 17) {
        OK(t->offset_at(b, name, 1, began + i * 60000, &at, &err));
        assert_int_equal(at, i);
        OK(t->offset_at(b, name, 1, began + i * 60000 + 1, &at, &err));
        assert_int_equal(at, i + 1);
    }
    OK(t->offset_at(b, name, 1, 0, &at, &err));
    assert_int_equal(at, 0);
    OK(t->offset_at(b, name, 1, began + 4 * EACH * 60000, &at, &err)); /* nothing so new */
    assert_int_equal(at, 4 * EACH);
    OK(t->offset_at(b, name, 0, began, &at, &err)); /* nothing at all */
    assert_int_equal(at, 0);
    if (fixture->trim) {
        fixture->trim(name, 1, 20);
        OK(t->offset_at(b, name, 1, 0, &at, &err));
        assert_int_equal(at, 20);
    }
    EXPECT(ST_BAD_CONFIG, t->offset_at(b, name, 7, 0, &at, &err));
    EXPECT(ST_BAD_CONFIG, t->offset_at(b, "no-such-topic", 0, 0, &at, &err));
}
