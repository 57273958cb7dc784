#include "tests/sim/sim.h"

#include "config/base/bytes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE = 100, STEPS_MAX = 20000000, QUIET_US = 600000000, GRACE_US = 40000000 };

struct world world;

static const char *const call_names[CALLS] = {
    "open",    "topic",  "watermarks",    "committed", "consumer_open", "poll",
    "assign",  "seek",   "producer_open", "begin",     "produce",       "wait",
    "offsets", "commit", "abort",         "write",     "sleep"};

static struct {
    int64_t us;
    uint32_t node, call;
    const char *what;
    enum st st;
} trace[TRACE];

static void note(const struct node *n, enum call c, const char *what, enum st st)
{
    uint64_t i = world.steps++ % TRACE;

    trace[i].us = world.now_us;
    trace[i].node = n->id;
    trace[i].call = c;
    trace[i].what = what;
    trace[i].st = st;
}

void world_trace(FILE *out)
{
    uint64_t from = world.steps > TRACE ? world.steps - TRACE : 0;

    for (uint64_t i = from; i < world.steps; i++)
        fprintf(out, "  %10.3f ms  worker %" PRIu32 "  %-14s %s%s%s\n",
                (double)trace[i % TRACE].us / 1000, trace[i % TRACE].node,
                call_names[trace[i % TRACE].call], trace[i % TRACE].what,
                trace[i % TRACE].st == ST_OK ? "" : " -> ",
                trace[i % TRACE].st == ST_OK ? "" : st_name(trace[i % TRACE].st));
}

void world_fail(const char *fmt, ...)
{
    va_list ap;
    FILE *f;

    if (world.failed)
        return;
    world.failed = true;
    f = fmemopen(world.state, sizeof world.state, "w");
    CHECK(f);
    watch_print(f);
    fclose(f);
    va_start(ap, fmt);
    vsnprintf(world.why, sizeof world.why, fmt, ap);
    va_end(ap);
}

/* ---- time: the product's clocks ---- */

int64_t __wrap_clock_mono_us(void);
int64_t __wrap_clock_wall_ms(void);

int64_t __wrap_clock_mono_us(void)
{
    return 1000000 + world.now_us + (world.running ? (int64_t)world.running->id * 3600000000 : 0);
}

int64_t __wrap_clock_wall_ms(void)
{
    return 1700000000000 + world.now_us / 1000;
}

void __wrap_memory_reserve(uint64_t heap);

void __wrap_memory_reserve(uint64_t heap) /* a worker's: it would be taken again and again */
{
    (void)heap;
}

static int64_t broker_wall_ms(void *arg)
{
    (void)arg;
    return __wrap_clock_wall_ms();
}

static int64_t broker_mono_ms(void *arg)
{
    (void)arg;
    return world.now_us / 1000;
}

/* The node that runs lets others run for so long. */
static void nap(struct node *n, int64_t us)
{
    n->wake_us = world.now_us + us;
    fiber_yield();
}

static void broker_sleep_ms(void *arg, int ms)
{
    (void)arg;
    if (world.running && !world.running->dead && !world.failed)
        nap(world.running, (int64_t)ms * 1000);
}

static enum st killed(struct err *e)
{
    return fail(e, ST_FATAL, "killed");
}

static void live(void *arg);

struct node *world_node(void *map)
{
    struct node *n = &world.node[world.nodes];
    struct disk *d = &world.disk[world.nodes];

    CHECK(world.nodes < SIM_NODES);
    n->id = world.nodes++;
    n->pace = random_below(4) ? 1 : 1 + random_below(8);
    n->disk = d;
    n->wake_us = world.now_us + random_scale(1000, 11);
    snprintf(d->dir, sizeof d->dir, "disk%" PRIu32, n->id);
    d->map = calloc(1, store_memory.self_bytes);
    CHECK(d->map);
    if (map)
        map_copy(d->map, map);
    fiber_start(&n->fiber, live, n);
    return n;
}

/* ---- steps ---- */

void step_records(uint32_t n)
{
    struct node *r = world.running;

    if (r)
        r->work_us += (int64_t)n * world.plan.record_us * r->pace;
}

enum st step_enter(enum call c, struct err *e)
{
    struct node *n = world.running;
    const char *fault;
    int64_t us;

    if (!n)
        return ST_OK;
    if (n->dead || world.failed)
        return killed(e);
    n->fate = (struct node_fate){0};
    fault = fault_maybe(n, c);
    note(n, c, fault, ST_OK);
    if (n->dead)
        return killed(e);
    us = n->work_us + (int64_t)(50 + random_below(450)) * n->pace + n->fate.before_us;
    n->work_us = 0;
    if (c != CALL_WRITE && world.outage_us > world.now_us + us)
        us = world.outage_us - world.now_us;
    if (c != CALL_PRODUCE || us > 2000) /* which only queues */
        nap(n, us);
    if (n->dead || world.failed)
        return killed(e);
    watch_step(n);
    worker_stop = n->stop;
    if (n->fate.before != ST_OK)
        return fail(e, n->fate.before, "%s was made to fail", call_names[c]);
    return ST_OK;
}

enum st step_leave(enum call c, enum st st, struct err *e)
{
    struct node *n = world.running;

    if (!n)
        return st;
    if (n->doomed)
        n->dead = true;
    if (n->dead || world.failed)
        return killed(e);
    if (n->fate.after_us)
        nap(n, n->fate.after_us);
    if (n->dead || world.failed)
        return killed(e);
    if (st != ST_OK || n->fate.after != ST_OK)
        note(n, c, "comes back", st == ST_OK ? n->fate.after : st);
    if (st == ST_OK && n->fate.after != ST_OK)
        return fail(e, n->fate.after, "%s was made to fail after it had happened", call_names[c]);
    return st;
}

/* ---- a worker's lives ---- */

static void ended(struct node *n, enum st st, const struct err *e)
{
    bool disturbed = !world.strict && world.now_us < world.fault_us + GRACE_US;

    note(n, CALL_SLEEP, n->dead ? "killed" : n->stop ? "stopped" : "ended", st);
    if (n->dead || world.failed)
        return;
    if (world.recreated) {
        if (st == ST_OK && !n->stop)
            world_fail("worker %" PRIu32 " went on with a topic that is another one", n->id);
        n->done = st == ST_BAD_CONFIG;
    } else if (st == ST_OK) {
        n->done = !n->stop;
    }
    if (st != ST_OK && !n->done && !((st == ST_FATAL || st == ST_AGAIN) && disturbed))
        world_fail("worker %" PRIu32 " ended with %s: %s", n->id, st_name(st), e->text);
}

static void one_life(struct node *n)
{
    struct worker *w = calloc(1, sizeof *w);
    struct err e = {""};
    enum st st;

    CHECK(w);
    n->dead = n->doomed = n->disk_lost = false;
    n->stop = worker_stop = 0;
    n->work_us = 0;
    n->lives++;
    w->quiet = true;
    w->until.kind = WHERE_LATEST;
    st = worker_open(w, world.job, n->disk->dir, &e);
    n->w = w;
    if (st == ST_OK)
        st = pipeline_run(w);
    n->w = NULL;
    ended(n, st, &e);
    n->dead = true; /* closing takes no time */
    worker_close(w);
    free(w);
}

static void live(void *arg)
{
    struct node *n = arg;

    for (;;) {
        one_life(n);
        if (world.failed || n->done || n->replaced || n->leaves)
            return;
        nap(n, random_scale(10000, n->stop ? 8 : 11));
        if (world.failed)
            return;
        if (n->disk_lost)
            store_memory.close(n->disk->map);
    }
}

/* ---- the run ---- */

static enum st broker_store_open(void *self, const char *dir, uint32_t flags, struct err *e)
{
    (void)dir, (void)flags, (void)e;
    map_copy(self, job_topics(world.plan.job));
    return ST_OK;
}

static void begin_broker(void)
{
    static struct store over;
    static struct props props;
    struct local_env env = {&over, broker_wall_ms, broker_mono_ms, broker_sleep_ms, NULL};
    struct broker_conf c = {.address = "sim", .props = &props, .queue_bytes = 1u << 20};
    struct err e;

    over = store_memory;
    over.open = broker_store_open;
    props.n = 3;
    snprintf(props.p[0].name, sizeof props.p[0].name, "session.timeout.ms");
    snprintf(props.p[0].value, sizeof props.p[0].value, "%d", SESSION_MS);
    snprintf(props.p[1].name, sizeof props.p[1].name, "max.poll.interval.ms");
    snprintf(props.p[1].value, sizeof props.p[1].value, "%d", SILENT_MS);
    snprintf(props.p[2].name, sizeof props.p[2].name, "transaction.timeout.ms");
    snprintf(props.p[2].value, sizeof props.p[2].value, "%d", TXN_MS);
    if (local_open(&world.broker, &c, &env, &e) != ST_OK)
        world_fail("the broker does not open: %s", e.text);
}

static void begin(uint64_t seed, const struct plan *p)
{
    struct fiber kept;

    for (uint32_t i = 0; i < SIM_NODES; i++) { /* the stacks stay */
        kept = world.node[i].fiber;
        world.node[i] = (struct node){.fiber = kept};
        world.node[i].fiber.over = true;
    }
    memset(world.disk, 0, sizeof world.disk);
    world.seed = seed;
    world.random = mix64(seed + 1);
    world.plan = *p;
    world.job = job_conf(p);
    world.now_us = world.outage_us = world.fault_us = 0;
    world.nodes = world.faults = 0;
    world.steps = 0;
    world.running = NULL;
    world.failed = world.recreated = false;
    world.strict = !p->faults;
    memset(world.said, 0, sizeof world.said);
    *world.why = 0;
    begin_broker();
    watch_begin();
    for (uint32_t i = 0; i < p->workers; i++)
        world_node(NULL);
}

static void resume(struct node *n)
{
    world.running = n;
    worker_stop = n->stop;
    fiber_resume(&n->fiber);
    world.running = NULL;
    worker_stop = 0;
}

static struct node *next_node(void)
{
    struct node *next = NULL;

    for (uint32_t i = 0; i < world.nodes; i++) {
        struct node *n = &world.node[i];

        if (!n->fiber.over && (!next || n->wake_us < next->wake_us))
            next = n;
    }
    return next;
}

static void kill_all(void)
{
    for (uint32_t i = 0; i < world.nodes; i++)
        world.node[i].dead = true;
}

static void run(void)
{
    struct node *n;

    while (!world.failed && (n = next_node())) {
        if (n->wake_us > world.now_us)
            world.now_us = n->wake_us;
        if (world.now_us > world.plan.calm_us + QUIET_US || world.steps > STEPS_MAX)
            world_fail("the job does not end: %.0f s, %" PRIu64 " steps",
                       (double)world.now_us / 1e6, world.steps);
        if (world.plan.recreated && !world.recreated && watch_under_way()) {
            kill_all();
            world.recreated = true;
            watch_recreated();
        }
        if (!world.failed)
            resume(n);
    }
}

/* Somebody has gone for good: one more worker has nothing left to do, but perhaps the model. */
static bool gone(void)
{
    for (uint32_t i = 0; i < world.nodes; i++)
        if (!world.node[i].done)
            return true;
    return false;
}

bool world_run(uint64_t seed, const struct plan *p, struct job_end *end)
{
    begin(seed, p);
    run();
    if (!world.failed && gone()) {
        world.plan.calm_us = 0;
        world.plan.faults = 0;
        world_node(NULL);
        run();
    }
    if (!world.failed)
        watch_end(end);
    for (uint32_t i = 0; i < world.nodes; i++) {
        world.node[i].dead = true;
        while (!world.node[i].fiber.over)
            resume(&world.node[i]);
    }
    watch_close();
    if (world.broker.store)
        broker_local.close(&world.broker);
    for (uint32_t i = 0; i < world.nodes; i++) {
        store_memory.close(world.disk[i].map);
        free(world.disk[i].map);
    }
    return !world.failed;
}

void world_fini(void)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        fiber_free(&world.node[i].fiber);
}
