#include "tests/unit/support_local.h"

#include <stdlib.h>
#include <string.h>

struct local world;
int64_t world_ms = 1000000;
uint32_t writes_left = UINT32_MAX;
uint32_t unsynced;
bool failed_write_stays;
struct err err;
const struct broker *const t = &broker_local;

static void *kept;
static struct store store;

void assert_ok(enum st st, const char *call, const char *file, int line)
{
    if (st == ST_OK)
        return;
    print_error("%s is %s: %s\n", call, st_name(st), err.text);
    _fail(file, line);
}

static enum st kept_open(void *self, const char *dir, uint32_t flags, struct err *e)
{
    (void)dir;
    (void)flags;
    (void)e;
    if (kept)
        memcpy(self, kept, store_memory.self_bytes);
    return ST_OK;
}

static void kept_close(void *self)
{
    if (!kept)
        kept = malloc(store_memory.self_bytes);
    assert_non_null(kept);
    memcpy(kept, self, store_memory.self_bytes);
}

static enum st kept_write(void *self, const struct change *c, uint32_t n, bool sync, struct err *e)
{
    unsynced = sync ? 0 : unsynced + 1;
    if (writes_left != UINT32_MAX && writes_left-- == 0) {
        writes_left = 0;
        if (failed_write_stays)
            OK(store_memory.write(self, c, n, sync, e));
        failed_write_stays = false;
        return (fail)(e, ST_FATAL, "a write was made to fail"); /* not the macro of cmocka */
    }
    return store_memory.write(self, c, n, sync, e);
}

static int64_t now(void *arg)
{
    (void)arg;
    return world_ms;
}

static void pass(void *arg, int ms)
{
    (void)arg;
    world_ms += ms;
}

void world_open(const struct props *props)
{
    const struct local_env env = {&store, now, now, pass, NULL};

    OK(local_open(&world, &(struct broker_conf){.address = "sim", .props = props}, &env, &err));
}

void world_new(void)
{
    store = store_memory;
    store.open = kept_open;
    store.close = kept_close;
    store.write = kept_write;
    writes_left = UINT32_MAX;
    world_open(NULL);
}

void world_close(void)
{
    t->close(&world);
}

void *world_store(void)
{
    return kept;
}

void world_end(void)
{
    world.users = 0; /* of a case that failed */
    world_close();
    store_memory.close(kept);
    free(kept);
    kept = NULL;
}

struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, s ? strlen(s) : 0};
}

void make_topic(const char *name, uint32_t partitions, const char *policy)
{
    const char *const config[][2] = {{"cleanup.policy", policy}, {NULL, NULL}};

    OK(t->topic_create(&world, &(struct topic_spec){name, partitions, config}, &err));
}

void *producer(const char *id, const char *topic)
{
    void *p = calloc(1, t->producer_bytes);

    OK(t->producer_open(p, &world, id, &topic, 1, &err));
    return p;
}

void *reader(const char *topic, bool uncommitted)
{
    void *c = calloc(1, t->consumer_bytes);
    struct consumer_conf conf = {.topics = &topic, .topics_n = 1, .read_uncommitted = uncommitted};

    OK(t->consumer_open(c, &world, &conf, &err));
    return c;
}

void *member(const char *topic, const char *group, const char *instance)
{
    void *c = calloc(1, t->consumer_bytes);
    struct consumer_conf conf = {
        .topics = &topic, .topics_n = 1, .group = group, .instance = instance};

    OK(t->consumer_open(c, &world, &conf, &err));
    return c;
}

void done_producer(void *p)
{
    t->producer_close(p);
    free(p);
}

void done_consumer(void *c)
{
    t->consumer_close(c);
    free(c);
}

void put(void *p, const char *key, const char *value)
{
    OK(t->produce(p, 0, 0, text(key), text(value), -1, NULL, 0, &err));
}

void transaction(void *p, const char *key, const char *value, bool commit)
{
    OK(t->producer_begin(p, &err));
    put(p, key, value);
    OK(t->producer_wait(p, 0, &err));
    if (commit)
        OK(t->producer_commit(p, &err));
    else
        OK(t->producer_abort(p, &err));
}

static void copy(char *to, struct bytes b)
{
    snprintf(to, SEEN_TEXT, "%.*s", b.p ? (int)b.n : 1, b.p ? (const char *)b.p : "-");
}

void read_from(const char *topic, bool uncommitted, int64_t from, uint32_t step, struct seen *s)
{
    void *c = reader(topic, uncommitted);
    struct record r[256];
    uint32_t n;

    s->n = 0;
    s->eof = -1;
    assert_in_range(step, 1, 256);
    OK(t->consumer_assign(c, &(struct start){0, 0, from}, 1, &err));
    while (s->eof < 0) {
        OK(t->consumer_poll(c, r, step, 0, &n, &err));
        assert_true(n > 0);
        for (uint32_t i = 0; i < n; i++) {
            if (r[i].kind == REC_EOF) {
                s->eof = r[i].offset;
                continue;
            }
            assert_int_equal(r[i].kind, REC_DATA);
            assert_true(s->n < SEEN_MAX);
            s->offset[s->n] = r[i].offset;
            copy(s->key[s->n], r[i].key);
            copy(s->value[s->n++], r[i].value);
        }
    }
    done_consumer(c);
}
