/* sim_store.c: state folders in memory. What was written is there when its worker has died; a write
 * is a step, and either all of it happened or nothing. */
#include "tests/sim/sim.h"

#include <string.h>

struct opened {
    struct disk *disk;
    struct node *by;
};

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

    if (o->by)
        o->disk->holder = NULL;
    memset(o, 0, sizeof *o);
}

static enum st folder_get(void *self, struct bytes key, struct bytes *value, struct err *e)
{
    return store_memory.get(((struct opened *)self)->disk->map, key, value, e);
}

static enum st folder_scan(void *self, struct bytes from, struct bytes upto,
                           bool (*visit)(void *arg, struct bytes key, struct bytes value),
                           void *arg, struct err *e)
{
    return store_memory.scan(((struct opened *)self)->disk->map, from, upto, visit, arg, e);
}

static enum st folder_last(void *self, struct bytes upto, struct bytes *key, struct bytes *value,
                           struct err *e)
{
    return store_memory.last(((struct opened *)self)->disk->map, upto, key, value, e);
}

static enum st folder_write(void *self, const struct change *c, uint32_t n, bool sync,
                            struct err *e)
{
    CHECK(sync); /* else a crash might lose it */
    TRY(step_enter(CALL_WRITE, e));
    return step_leave(CALL_WRITE,
                      store_memory.write(((struct opened *)self)->disk->map, c, n, sync, e), e);
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
