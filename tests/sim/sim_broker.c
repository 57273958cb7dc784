/* sim_broker.c: the broker as a worker of the simulation sees it: the local broker's functions, all
 * over one struct local, each call a step. */
#include "tests/sim/sim.h"

#include <string.h>

struct sim_producer {
    struct local_producer p;
    bool broken; /* a call ended in ST_FATAL: only close is left */
};

static const struct broker *const t = &broker_local;

#define STEP(call, what)                                                                           \
    do {                                                                                           \
        TRY(step_enter(call, e));                                                                  \
        return step_leave(call, what, e);                                                          \
    } while (0)

static enum st sim_open(void *b, const struct broker_conf *c, struct err *e)
{
    (void)b, (void)c;
    STEP(CALL_OPEN, ST_OK);
}

static void sim_close(void *b)
{
    (void)b;
}

static uint64_t sim_memory(const void *b, uint64_t queue)
{
    (void)b, (void)queue;
    return 0;
}

static const char *sim_cluster(void *b)
{
    (void)b;
    return t->cluster(&world.broker);
}

static enum st sim_topic(void *b, const char *name, struct topic_info *out, struct err *e)
{
    (void)b;
    STEP(CALL_TOPIC, t->topic(&world.broker, name, out, e));
}

static enum st sim_topic_create(void *b, const struct topic_spec *s, struct err *e)
{
    (void)b;
    STEP(CALL_TOPIC, t->topic_create(&world.broker, s, e));
}

static enum st sim_topic_delete(void *b, const char *name, struct err *e)
{
    (void)b;
    STEP(CALL_TOPIC, t->topic_delete(&world.broker, name, e));
}

static enum st sim_partitions_add(void *b, const char *name, uint32_t total, struct err *e)
{
    (void)b;
    STEP(CALL_TOPIC, t->partitions_add(&world.broker, name, total, e));
}

static enum st sim_watermarks(void *b, const char *topic, int32_t partition, bool uncommitted,
                              int64_t *low, int64_t *high, struct err *e)
{
    (void)b;
    STEP(CALL_WATERMARKS,
         t->watermarks(&world.broker, topic, partition, uncommitted, low, high, e));
}

static enum st sim_committed(void *b, const char *group, const char *topic,
                             struct offset_commit *out, uint32_t n, struct err *e)
{
    (void)b;
    STEP(CALL_COMMITTED, t->committed(&world.broker, group, topic, out, n, e));
}

/* ---- consumers ---- */

static enum st sim_consumer_open(void *c, void *b, const struct consumer_conf *conf, struct err *e)
{
    (void)b;
    STEP(CALL_CONSUMER_OPEN, local_consumer_open(c, &world.broker, conf, e));
}

static enum st sim_poll(void *self, struct record *out, uint32_t max, int timeout_ms, uint32_t *n,
                        struct err *e)
{
    struct local_consumer *c = self;
    uint32_t most = world.plan.poll_max;
    enum st st;

    TRY(step_enter(CALL_POLL, e));
    if (c->member.group && most < max)
        max = 1 + random_below(most);
    st = local_consumer_poll(c, out, max, timeout_ms, n, e);
    if (st == ST_OK && c->member.group)
        step_records(*n);
    return step_leave(CALL_POLL, st, e);
}

static enum st sim_assign(void *c, const struct start *s, uint32_t n, struct err *e)
{
    STEP(CALL_ASSIGN, local_consumer_assign(c, s, n, e));
}

static enum st sim_seek(void *c, struct start s, struct err *e)
{
    STEP(CALL_SEEK, local_consumer_seek(c, s, e));
}

static enum st sim_pause(void *c, struct start s, struct err *e)
{
    STEP(CALL_SEEK, local_consumer_pause(c, s, e));
}

/* ---- producers ---- */

static enum st sim_producer_open(void *p, void *b, const char *id, const char *const *topics,
                                 uint32_t n, struct err *e)
{
    enum st st;

    (void)b;
    TRY(step_enter(CALL_PRODUCER_OPEN, e));
    st = local_producer_open(p, &world.broker, id, topics, n, e);
    watch_committed();
    return step_leave(CALL_PRODUCER_OPEN, st, e);
}

static enum st alive(const struct sim_producer *p, struct err *e)
{
    return p->broken ? fail(e, ST_FATAL, "this producer is finished") : ST_OK;
}

/* Some call on p has come back with st. */
static enum st came(struct sim_producer *p, enum call c, enum st st, struct err *e)
{
    st = step_leave(c, st, e);
    p->broken |= st == ST_FATAL;
    return st;
}

static enum st go(struct sim_producer *p, enum call c, struct err *e)
{
    enum st st;

    TRY(alive(p, e));
    st = step_enter(c, e);
    p->broken |= st == ST_FATAL;
    return st;
}

static enum st sim_begin(void *p, struct err *e)
{
    TRY(go(p, CALL_BEGIN, e));
    return came(p, CALL_BEGIN, local_producer_begin(p, e), e);
}

static enum st sim_produce(void *p, uint16_t topic, int32_t partition, struct bytes key,
                           struct bytes value, int64_t timestamp_ms, const struct header *h,
                           uint32_t headers, struct err *e)
{
    TRY(go(p, CALL_PRODUCE, e));
    return came(p, CALL_PRODUCE,
                local_produce(p, topic, partition, key, value, timestamp_ms, h, headers, e), e);
}

static enum st sim_wait(void *p, int timeout_ms, struct err *e)
{
    TRY(go(p, CALL_WAIT, e));
    return came(p, CALL_WAIT, local_producer_wait(p, timeout_ms, e), e);
}

static enum st sim_offsets(void *p, void *c, const char *topic, const struct offset_commit *o,
                           uint32_t n, struct err *e)
{
    TRY(go(p, CALL_OFFSETS, e));
    return came(p, CALL_OFFSETS, local_producer_offsets(p, c, topic, o, n, e), e);
}

static enum st sim_commit(void *p, struct err *e)
{
    enum st st;

    TRY(go(p, CALL_COMMIT, e));
    st = local_producer_commit(p, e);
    watch_committed();
    return came(p, CALL_COMMIT, st, e);
}

static enum st sim_abort(void *p, struct err *e)
{
    TRY(go(p, CALL_ABORT, e));
    return came(p, CALL_ABORT, local_producer_abort(p, e), e);
}

const struct broker sim_broker = {
    .name = "local",
    .summary = "one broker of many workers, in simulated time",
    .broker_bytes = 1,
    .consumer_bytes = sizeof(struct local_consumer),
    .producer_bytes = sizeof(struct sim_producer),
    .open = sim_open,
    .close = sim_close,
    .memory_bytes = sim_memory,
    .cluster = sim_cluster,
    .topic = sim_topic,
    .topic_create = sim_topic_create,
    .topic_delete = sim_topic_delete,
    .partitions_add = sim_partitions_add,
    .watermarks = sim_watermarks,
    .committed = sim_committed,
    .consumer_open = sim_consumer_open,
    .consumer_close = local_consumer_close,
    .consumer_poll = sim_poll,
    .consumer_release = local_consumer_release,
    .consumer_header = local_consumer_header,
    .consumer_event = local_consumer_event,
    .consumer_assign = sim_assign,
    .consumer_seek = sim_seek,
    .consumer_pause = sim_pause,
    .producer_open = sim_producer_open,
    .producer_close = local_producer_close,
    .producer_begin = sim_begin,
    .produce = sim_produce,
    .producer_wait = sim_wait,
    .producer_offsets = sim_offsets,
    .producer_commit = sim_commit,
    .producer_abort = sim_abort,
};

const struct broker *__wrap_broker_find(const char *spec, const char **address);

const struct broker *__wrap_broker_find(const char *spec, const char **address)
{
    *address = spec;
    return &sim_broker;
}
