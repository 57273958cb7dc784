/* The broker suite over the local broker: in a folder, and over a store in memory that outlives its
 * broker, as the simulation uses it. */
#include "consumer/broker_local.h"
#include "tests/conform/broker_suite_case.h"

#include "config/base/clock.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/broker_local_XXXXXX";
static struct props props = {
    .p = {{"session.timeout.ms", "2000"}, {"max.poll.interval.ms", "3000"}}, .n = 2};

static void conf(struct broker_conf *c)
{
    c->address = folder;
    c->props = &props;
}

static void trim(const char *topic, int32_t partition, int64_t before)
{
    struct local_topic *made = local_topic(b, topic);

    assert_non_null(made);
    OK(clean_trim(b, made->part[partition], before, &err));
}

/* ---- a store in memory that is there again at the next open ---- */

static void *kept;
static struct store kept_store;

static enum st kept_open(void *self, const char *dir, uint32_t flags, struct err *e)
{
    if (kept)
        memcpy(self, kept, store_memory.self_bytes);
    return kept ? ST_OK : store_memory.open(self, dir, flags, e);
}

static void kept_close(void *self)
{
    if (!kept)
        kept = malloc(store_memory.self_bytes);
    memcpy(kept, self, store_memory.self_bytes);
}

static int64_t wall_ms(void *arg)
{
    (void)arg;
    return clock_wall_ms();
}

static int64_t mono_ms(void *arg)
{
    (void)arg;
    return clock_mono_us() / 1000;
}

static void sleep_ms(void *arg, int ms)
{
    (void)arg;
    usleep((useconds_t)ms * 1000);
}

static enum st open_kept(void *self, const struct broker_conf *c, struct err *e)
{
    const struct local_env env = {&kept_store, wall_ms, mono_ms, sleep_ms, NULL};

    return local_open(self, c, &env, e);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st;
    (void)kind;
    (void)f;
    return remove(path);
}

int main(int argc, char **argv)
{
    struct broker over_memory = broker_local;
    struct broker_fixture in_folder = {&broker_local, conf, trim, true};
    struct broker_fixture in_memory = {&over_memory, conf, trim, false};
    const char *pattern = argc > 1 ? argv[1] : NULL;
    int failed;

    kept_store = store_memory;
    kept_store.open = kept_open;
    kept_store.close = kept_close;
    over_memory.open = open_kept;
    over_memory.name = "local over memory";
    if (!mkdtemp(folder))
        return 1;
    failed = broker_suite(&in_folder, pattern) + broker_suite(&in_memory, pattern);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    if (kept)
        store_memory.close(kept);
    free(kept);
    return failed != 0;
}
