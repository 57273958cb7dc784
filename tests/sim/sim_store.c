/* sim_store.c: state folders in memory. What was written is there when its worker has died; a write
 * is a step, and either all of it happened or nothing. One that was begun takes that step later, or
 * as soon as it is asked for; if its worker is gone by then, it may have happened. */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

struct opened {
    struct disk *disk;
    struct node *by;
    struct change *late; /* begun, copied; or NULL */
    uint32_t late_n;
    int64_t ready_us;
};

static struct bytes copied(struct bytes b)
{
    uint8_t *p = b.p ? malloc(b.n + 1) : NULL;

    CHECK(p || !b.p);
    if (p)
        memcpy(p, b.p, b.n);
    return (struct bytes){p, b.n};
}

static void late_end(struct opened *o)
{
    for (uint32_t i = 0; i < o->late_n; i++) {
        free((void *)(uintptr_t)o->late[i].key.p);
        free((void *)(uintptr_t)o->late[i].value.p);
        free((void *)(uintptr_t)o->late[i].upto.p);
    }
    free(o->late);
    o->late = NULL;
    o->late_n = 0;
}

static enum st late_write(struct opened *o, struct err *e)
{
    enum st st = store_memory.write(o->disk->map, o->late, o->late_n, true, e);

    late_end(o);
    return st;
}

static void *map_of(void *self)
{
    struct opened *o = self;

    CHECK(!o->late);
    return o->disk->map;
}

static enum st folder_open(void *self, const char *dir, uint32_t flags, struct err *e)
{
    struct opened *o = self;

    (void)flags;
    TRY(step_enter(CALL_OPEN, e));
    for (uint32_t i = 0; i < world.nodes; i++)
        if (!strcmp(world.disk[i].dir, dir))
            o->disk = &world.disk[i];
    CHECK(o->disk);
    if (o->disk->holder)
        return fail(e, ST_BAD_CONFIG, "folder %s is held by another worker", dir);
    o->by = o->disk->holder = world.running;
    return ST_OK;
}

static void folder_close(void *self)
{
    struct opened *o = self;
    struct err e;

    if (o->late && random_below(2))
        CHECK(late_write(o, &e) == ST_OK);
    late_end(o);
    if (o->by)
        o->disk->holder = NULL;
    memset(o, 0, sizeof *o);
}

static enum st folder_get(void *self, struct bytes key, struct bytes *value, struct err *e)
{
    return store_memory.get(map_of(self), key, value, e);
}

static enum st folder_scan(void *self, struct bytes from, struct bytes upto,
                           bool (*visit)(void *arg, struct bytes key, struct bytes value),
                           void *arg, struct err *e)
{
    return store_memory.scan(map_of(self), from, upto, visit, arg, e);
}

static enum st folder_last(void *self, struct bytes upto, struct bytes *key, struct bytes *value,
                           struct err *e)
{
    return store_memory.last(map_of(self), upto, key, value, e);
}

static enum st folder_write(void *self, const struct change *c, uint32_t n, bool sync,
                            struct err *e)
{
    CHECK(sync); /* else a crash might lose it */
    TRY(step_enter(CALL_WRITE, e));
    return step_leave(CALL_WRITE, store_memory.write(map_of(self), c, n, sync, e), e);
}

static enum st folder_write_begin(void *self, const struct change *c, uint32_t n, struct err *e)
{
    struct opened *o = self;

    (void)e;
    CHECK(!o->late);
    o->late = calloc(n + 1, sizeof *o->late);
    CHECK(o->late);
    for (o->late_n = 0; o->late_n < n; o->late_n++) {
        const struct change *from = &c[o->late_n];

        o->late[o->late_n] =
            (struct change){copied(from->key), copied(from->value), copied(from->upto)};
    }
    o->ready_us = world.now_us + (random_below(3) ? random_scale(500, 10) : 0);
    return ST_OK;
}

static enum st folder_write_done(void *self, bool wait, bool *done, struct err *e)
{
    struct opened *o = self;

    *done = !o->late;
    if (*done || (!wait && world.now_us < o->ready_us))
        return ST_OK;
    if (world.now_us < o->ready_us)
        step_sleep(o->ready_us - world.now_us);
    TRY(step_enter(CALL_WRITE, e));
    *done = true;
    return step_leave(CALL_WRITE, late_write(o, e), e);
}

static size_t folder_bytes(uint32_t flags, size_t batch_max)
{
    (void)flags;
    (void)batch_max;
    return 0;
}

const struct store sim_store = {
    .name = "sim",
    .summary = "folders in memory that outlive their worker",
    .self_bytes = sizeof(struct opened),
    .memory_bytes = folder_bytes,
    .open = folder_open,
    .close = folder_close,
    .get = folder_get,
    .scan = folder_scan,
    .last = folder_last,
    .write = folder_write,
    .write_begin = folder_write_begin,
    .write_done = folder_write_done,
};

struct copying {
    void *to;
};

static bool copy_one(void *arg, struct bytes key, struct bytes value)
{
    struct change c = {.key = key, .value = value};
    struct err e;

    CHECK(store_memory.write(((struct copying *)arg)->to, &c, 1, true, &e) == ST_OK);
    return true;
}

void map_copy(void *to, void *from)
{
    const struct bytes none = {0};
    struct err e;

    CHECK(store_memory.scan(from, none, none, copy_one, &(struct copying){to}, &e) == ST_OK);
}

/* The product asks for these by name. */
const struct store *__wrap_store_find(const char *name);
ssize_t __wrap_getrandom(void *to, size_t n, unsigned flags);

const struct store *__wrap_store_find(const char *name)
{
    (void)name;
    return &sim_store;
}

ssize_t __wrap_getrandom(void *to, size_t n, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)to)[i] = (uint8_t)random_next();
    return (ssize_t)n;
}
