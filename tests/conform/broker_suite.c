#include "tests/conform/broker_suite_case.h"

#include "config/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_MAX = 16, NAMES_MAX = 32 };

const struct broker_fixture *fixture;
const struct broker *t;
void *b;
struct err err;

static void *consumers[OPEN_MAX], *producers[OPEN_MAX];
static char names[NAMES_MAX][64];
static uint32_t names_n;

void expect_st(enum st is, enum st want, const char *call, const char *file, int line)
{
    if (is == want)
        return;
    print_error("%s:%d: %s\n  is %s, not %s: %s\n", file, line, call, st_name(is), st_name(want),
                is == ST_OK ? "" : err.text);
    _fail(file, line);
}

const char *new_name(const char *what)
{
    static uint32_t number;
    char *name = names[names_n % NAMES_MAX];

    assert_true(names_n++ < NAMES_MAX);
    snprintf(name, sizeof names[0], "%s-%llx-%d-%u", what, (long long)clock_wall_ms() & 0xffffff,
             (int)getpid(), number++);
    return name;
}

const char *new_topic(uint32_t partitions, const char *const (*config)[2])
{
    struct topic_spec spec = {new_name("topic"), partitions, config};

    OK(t->topic_create(b, &spec, &err));
    return spec.name;
}

static void **free_place(void **list)
{
    for (int i = 0; i < OPEN_MAX; i++)
        if (!list[i])
            return &list[i];
    fail_msg("more than %d objects open", OPEN_MAX);
    return NULL;
}

void *open_consumer(const struct consumer_conf *conf)
{
    void **c = free_place(consumers);

    *c = calloc(1, t->consumer_bytes);
    OK(t->consumer_open(*c, b, conf, &err));
    return *c;
}

void *open_reader(const char *topic, bool uncommitted)
{
    return open_consumer(&(struct consumer_conf){
        .topics = &topic, .topics_n = 1, .read_uncommitted = uncommitted, .wait_ms = 10});
}

void *open_member(const char *topic, const char *group, const char *instance)
{
    return open_consumer(&(struct consumer_conf){
        .topics = &topic, .topics_n = 1, .group = group, .instance = instance});
}

void *open_producer(const char *id, const char *topic)
{
    void **p = free_place(producers);

    *p = calloc(1, t->producer_bytes);
    OK(t->producer_open(*p, b, id, &topic, 1, &err));
    return *p;
}

static void close_one(void **list, void *o, void (*close_it)(void *))
{
    for (int i = 0; i < OPEN_MAX; i++)
        if (list[i] && (!o || list[i] == o)) {
            close_it(list[i]);
            free(list[i]);
            list[i] = NULL;
        }
}

void close_consumer(void *c)
{
    close_one(consumers, c, t->consumer_close);
}

void close_producer(void *p)
{
    close_one(producers, p, t->producer_close);
}

struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, s ? strlen(s) : 0};
}

void put(void *p, int32_t partition, const char *key, const char *value)
{
    OK(t->produce(p, 0, partition, text(key), text(value), -1, NULL, 0, &err));
}

void fill(const char *topic, int32_t partition, uint32_t n)
{
    void *p = open_producer(NULL, topic);
    char value[16];

    for (uint32_t i = 0; i < n; i++) {
        snprintf(value, sizeof value, "v%u", i);
        put(p, partition, NULL, value);
    }
    OK(t->producer_wait(p, CASE_MS, &err));
    close_producer(p);
}

void assign_all(void *c, uint32_t partitions, int64_t offset)
{
    struct start s[GOT_PARTITIONS];

    assert_true(partitions <= GOT_PARTITIONS);
    for (uint32_t i = 0; i < partitions; i++)
        s[i] = (struct start){(int32_t)i, 0, offset};
    OK(t->consumer_assign(c, s, partitions, &err));
}

static int copy_text(char *to, struct bytes from)
{
    size_t n = from.n < GOT_TEXT ? from.n : GOT_TEXT - 1;

    if (n)
        memcpy(to, from.p, n);
    to[n] = 0;
    return from.p ? (int)from.n : -1;
}

static void fold(struct got *g, const struct record *r)
{
    if (r->kind == REC_ERROR) { /* may be one of all partitions: -1 */
        g->errors++;
        g->gone |= r->reason == BROKER_ERR_TOPIC_GONE;
        return;
    }
    assert_in_range(r->partition, 0, GOT_PARTITIONS - 1);
    if (r->kind == REC_DATA) {
        if (g->n < GOT_MAX) {
            struct got_record *to = &g->r[g->n];

            *to = (struct got_record){r->partition, r->topic, r->offset, r->timestamp_ms, 0, 0,
                                      {0},          {0}};
            to->key_bytes = copy_text(to->key, r->key);
            to->value_bytes = copy_text(to->value, r->value);
        }
        g->n++;
        if (!g->any_order && r->offset < g->last[r->partition])
            fail_msg("offset %lld of partition %d after %lld", (long long)r->offset, r->partition,
                     (long long)g->last[r->partition] - 1);
        g->last[r->partition] = r->offset + 1;
    } else if (r->kind == REC_EOF) {
        g->eofs++;
        g->eof[r->partition] = r->offset;
        g->eof_times[r->partition]++;
    } else {
        assert_int_equal(r->kind, REC_RESET);
        g->resets++;
        g->reset_at = r->offset;
    }
}

uint32_t poll_once(struct got *g, int timeout_ms)
{
    struct record r[100];
    const struct start *list = NULL;
    uint32_t n = 0, owned = 0;
    enum group_event ev;

    OK(t->consumer_poll(g->c, r, sizeof r / sizeof *r, timeout_ms, &n, &err));
    assert_true(n <= sizeof r / sizeof *r);
    for (uint32_t i = 0; i < n; i++)
        fold(g, &r[i]);
    ev = t->consumer_event(g->c, &list, &owned);
    if (ev != GROUP_NONE) {
        g->event = ev;
        g->event_times++;
        g->owned = owned;
        assert_true(owned <= GOT_PARTITIONS);
        if (owned)
            memcpy(g->own, list, owned * sizeof *list);
    }
    return n;
}

static int64_t deadline(void)
{
    return clock_mono_us() + (int64_t)CASE_MS * 1000;
}

void until_records(struct got *g, uint32_t n)
{
    for (int64_t stop = deadline(); g->n < n; poll_once(g, 100))
        if (clock_mono_us() > stop)
            fail_msg("%u records after %d s, not %u", g->n, CASE_MS / 1000, n);
}

void until_eof(struct got *g, uint32_t partitions)
{
    uint32_t before[GOT_PARTITIONS], told = 0;
    int64_t stop = deadline();

    memcpy(before, g->eof_times, sizeof before);
    while (told < partitions) {
        poll_once(g, 100);
        told = 0;
        for (uint32_t i = 0; i < partitions; i++)
            told += g->eof_times[i] > before[i];
        if (clock_mono_us() > stop)
            fail_msg("%u of %u partitions told their end in %d s", told, partitions,
                     CASE_MS / 1000);
    }
}

void until_eof_at(struct got *g, int32_t partition, int64_t offset)
{
    for (int64_t stop = deadline(); !g->eof_times[partition] || g->eof[partition] < offset;
         poll_once(g, 100))
        if (clock_mono_us() > stop)
            fail_msg("the end is %lld after %d s, not %lld", (long long)g->eof[partition],
                     CASE_MS / 1000, (long long)offset);
}

void until_high(const char *topic, int32_t partition, int64_t high)
{
    int64_t low, is = -1;

    for (int64_t stop = deadline(); is < high;) {
        OK(t->watermarks(b, topic, partition, false, &low, &is, &err));
        if (clock_mono_us() > stop)
            fail_msg("the high watermark is %lld after %d s", (long long)is, CASE_MS / 1000);
    }
}

void until_event(struct got *g, enum group_event ev)
{
    uint32_t before = g->event_times;

    for (int64_t stop = deadline(); g->event_times == before; poll_once(g, 100))
        if (clock_mono_us() > stop)
            fail_msg("no group event after %d s", CASE_MS / 1000);
    assert_int_equal(g->event, ev);
}

void quiet(struct got *g, int ms)
{
    for (int64_t stop = clock_mono_us() + (int64_t)ms * 1000; clock_mono_us() < stop;)
        poll_once(g, 20);
}

enum st publish_to_offsets(void *p, void *c, const char *topic, int64_t offset, const char *value)
{
    struct offset_commit o = {0, offset, "0:0:0:0:0"};

    OK(t->producer_begin(p, &err));
    put(p, 0, "slot", value);
    OK(t->producer_wait(p, CASE_MS, &err));
    return t->producer_offsets(p, c, topic, &o, 1, &err);
}

static void open_broker(void)
{
    struct broker_conf conf = {0};

    fixture->conf(&conf);
    if (!conf.queue_bytes)
        conf.queue_bytes = 64 << 20;
    b = calloc(1, t->broker_bytes);
    OK(t->open(b, &conf, &err));
}

static void close_broker(void)
{
    close_one(consumers, NULL, t->consumer_close);
    close_one(producers, NULL, t->producer_close);
    if (b)
        t->close(b);
    free(b);
    b = NULL;
}

void reopen_broker(void)
{
    close_broker();
    open_broker();
}

static int case_setup(void **state)
{
    (void)state;
    names_n = 0;
    open_broker();
    return 0;
}

static int case_teardown(void **state)
{
    (void)state;
    close_broker();
    return 0;
}

#define BROKER_CASE_ROW(name) cmocka_unit_test_setup_teardown(name, case_setup, case_teardown),

int broker_suite(const struct broker_fixture *f, const char *pattern)
{
    const struct CMUnitTest tests[] = {BROKER_CASES(BROKER_CASE_ROW)};

    fixture = f;
    t = f->table;
    if (pattern)
        cmocka_set_test_filter(pattern);
    return cmocka_run_group_tests_name(t->name, tests, NULL, NULL);
}
