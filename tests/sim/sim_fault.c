/* sim_fault.c: chance, and what it does to a worker. */
#include "tests/sim/sim.h"

#include "config/base/bytes.h"

static const char *const fault_names[FAULTS] = {"crash",  "crash, folder lost",
                                                "freeze", "stop",
                                                "again",  "fatal",
                                                "late",   "outage",
                                                "leave",  "twin",
                                                "clean"};

/* How much more often than at a poll a fault strikes; where ST_AGAIN, ST_FATAL may come, and where
 * the call may have been made all the same. */
static const struct {
    uint32_t weight;
    bool again, again_done, fatal;
} calls[CALLS] = {
    [CALL_OPEN] = {3, true, false, true},           [CALL_TOPIC] = {3, true, false, true},
    [CALL_WATERMARKS] = {10, true, true, true},     [CALL_COMMITTED] = {3, true, true, true},
    [CALL_CONSUMER_OPEN] = {10, true, false, true}, [CALL_POLL] = {1, false, false, true},
    [CALL_ASSIGN] = {10, false, false, true},       [CALL_SEEK] = {10, false, false, true},
    [CALL_PRODUCER_OPEN] = {10, true, false, true}, [CALL_BEGIN] = {20, true, false, true},
    [CALL_PRODUCE] = {20, true, false, true},       [CALL_WAIT] = {20, true, true, true},
    [CALL_OFFSETS] = {30, true, false, true},       [CALL_COMMIT] = {30, true, false, true},
    [CALL_ABORT] = {30, true, false, true},         [CALL_WRITE] = {20, false, false, true}};

/* ---- chance ---- */

uint64_t random_next(void)
{
    world.random += 0x9e3779b97f4a7c15u;
    return mix64(world.random);
}

uint32_t random_below(uint32_t n)
{
    return n ? (uint32_t)((random_next() >> 32) * n >> 32) : 0;
}

bool random_chance(uint32_t per_million)
{
    return random_below(1000000) < per_million;
}

int64_t random_scale(int64_t least, uint32_t doublings)
{
    int64_t us = least << random_below(doublings);

    return us + (int64_t)random_below((uint32_t)us);
}

/* ---- faults ---- */

static void die(struct node *n)
{
    n->doomed = random_below(2);
    n->dead = !n->doomed;
}

static bool others_stay(const struct node *n)
{
    uint32_t stay = 0;

    for (uint32_t i = 0; i < world.nodes; i++) {
        const struct node *o = &world.node[i];

        stay += o != n && !o->fiber.over && !o->leaves && !o->replaced && !o->done;
    }
    return stay > 0;
}

static bool twin(struct node *n)
{
    if (n->replaced || world.nodes == world.plan.workers + SIM_TWINS)
        return false;
    n->replaced = true;
    world_node(n->disk->map);
    return true;
}

static void clean(void)
{
    struct local *b = &world.broker;
    struct local_topic *t = b->topics ? b->topic[random_below(b->topics)] : NULL;
    struct err e;

    if (t && t->compact && clean_partition(b, t->part[random_below(t->parts)], &e) != ST_OK)
        world_fail("compaction: %s", e.text);
}

/* True: it happened, or will to this call. */
static bool strike(struct node *n, enum fault f, enum call c, struct node_fate *fate)
{
    bool later = random_below(2);

    switch (f) {
    case FAULT_LEAVE:
        if (!others_stay(n))
            return false;
        n->leaves = true;
        die(n);
        return true;
    case FAULT_DISK:
        n->disk_lost = true;
        die(n);
        return true;
    case FAULT_CRASH:
        die(n);
        return true;
    case FAULT_FREEZE:
        *(later ? &fate->after_us : &fate->before_us) += random_scale(100000, 8);
        return true;
    case FAULT_LATE:
        *(later ? &fate->after_us : &fate->before_us) += random_scale(5000, 8);
        return true;
    case FAULT_STOP:
        n->stop = 1;
        return true;
    case FAULT_AGAIN:
        if (!calls[c].again)
            return false;
        *(later && calls[c].again_done ? &fate->after : &fate->before) = ST_AGAIN;
        return true;
    case FAULT_FATAL:
        if (!calls[c].fatal)
            return false;
        *(later ? &fate->after : &fate->before) = ST_FATAL;
        return true;
    case FAULT_OUTAGE:
        world.outage_us = world.now_us + random_scale(20000, 9);
        return true;
    case FAULT_TWIN:
        return twin(n);
    case FAULT_CLEAN:
        clean();
        return true;
    case FAULTS:
        break;
    }
    CHECK(false);
    return false;
}

const char *fault_maybe(struct node *n, enum call c)
{
    const struct plan *p = &world.plan;
    uint32_t at;

    if (world.strict || world.now_us > p->calm_us || world.faults >= p->faults)
        return "";
    at = random_below(1000000);
    for (int f = 0; f < FAULTS; f++) {
        uint32_t rate = p->rate[f] * calls[c].weight;

        if (at >= rate) {
            at -= rate;
            continue;
        }
        if (!strike(n, (enum fault)f, c, &n->fate))
            return "";
        world.faults++;
        world.said[f]++;
        world.fault_us = world.now_us + n->fate.before_us + n->fate.after_us;
        if (world.outage_us > world.fault_us)
            world.fault_us = world.outage_us;
        return fault_names[f];
    }
    return "";
}
