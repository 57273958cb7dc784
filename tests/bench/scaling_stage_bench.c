/* The trainer itself, which at its end writes a line to stderr: what its stages took, for
 * scaling.py. */
#include "config/base/clock.h"
#include "consumer/slot_reader.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* What computes is measured by its thread's own time, so others on the machine count little; what
 * waits for a disk or a broker, by the clock. */
struct took {
    int64_t own, clock;
};

static struct {
    int64_t begin_own, rows_own, learned_us, published_us; /* last batch; last commit */
    struct took consume, update, checkpoint, publish, follow, fold, snapshot;
    uint64_t rows, checkpoints, publishes, taken, folded, slot_bytes, snapshots;
} sum;

static int64_t own_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The linker puts __wrap_NAME() in the place of NAME(), and __real_NAME() is that. */
#define WRAP(name, ...)                                                                            \
    enum st __real_##name(__VA_ARGS__);                                                            \
    enum st __wrap_##name(__VA_ARGS__);                                                            \
    enum st __wrap_##name(__VA_ARGS__)

#define TIMED(stage, call)                                                                         \
    do {                                                                                           \
        struct took from = {own_us(), clock_mono_us()};                                            \
        st = call;                                                                                 \
        sum.stage.own += own_us() - from.own;                                                      \
        sum.stage.clock += clock_mono_us() - from.clock;                                           \
    } while (0)

WRAP(consume, struct worker *w)
{
    enum st st;

    if (!w->first_us) { /* what was before is the start */
        sum.begin_own = own_us();
        sum.checkpoint = sum.publish = sum.consume = (struct took){0};
    }
    TIMED(consume, __real_consume(w));
    return st;
}

WRAP(update, struct worker *w, struct partition *p, const struct rows *r)
{
    enum st st;

    TIMED(update, __real_update(w, p, r));
    sum.rows += r->n;
    sum.learned_us = clock_mono_us();
    sum.rows_own = own_us() - sum.begin_own - sum.checkpoint.own - sum.publish.own -
                   sum.follow.own - sum.fold.own - sum.snapshot.own;
    return st;
}

WRAP(checkpoint, struct worker *w, bool to_publish)
{
    enum st st;

    sum.checkpoints += sum.rows > 0;
    TIMED(checkpoint, __real_checkpoint(w, to_publish));
    return st;
}

WRAP(publish, struct worker *w, bool always)
{
    enum st st;

    TIMED(publish, __real_publish(w, always));
    return st;
}

WRAP(publish_end, struct worker *w, enum st st)
{
    bool any = w->publishing;

    TIMED(publish, __real_publish_end(w, st));
    sum.publishes += any && sum.rows;
    if (any)
        sum.published_us = clock_wall_ms() * 1000;
    return st;
}

WRAP(follow, struct worker *w, int timeout_ms)
{
    struct took before = sum.follow;
    uint64_t taken = sum.taken;
    enum st st;

    TIMED(follow, __real_follow(w, timeout_ms));
    if (sum.taken == taken) /* a look at an empty queue */
        sum.follow = before;
    return st;
}

WRAP(merge, struct worker *w)
{
    enum st st;

    TIMED(fold, __real_merge(w));
    return st;
}

WRAP(pull, struct worker *w)
{
    enum st st;

    TIMED(fold, __real_pull(w));
    return st;
}

WRAP(snapshot, struct worker *w)
{
    enum st st;

    sum.snapshots++;
    TIMED(snapshot, __real_snapshot(w));
    return st;
}

WRAP(slot_take, struct image im[2], uint32_t partition, const struct record *r, uint32_t *turn,
     bool *manifest, struct err *e)
{
    enum st st = __real_slot_take(im, partition, r, turn, manifest, e);

    sum.taken += *manifest;
    sum.slot_bytes += r->key.n + r->value.n;
    return st;
}

WRAP(slot_state, struct worker *w, const struct manifest *m, const struct tensors **state)
{
    sum.folded++;
    return __real_slot_state(w, m, state);
}

WRAP(pipeline_run, struct worker *w)
{
    enum st st = __real_pipeline_run(w);
    int64_t begin_us = clock_wall_ms() * 1000 - (clock_mono_us() - w->first_us);

    fprintf(stderr,
            "stages begin_us=%" PRId64 " learned_us=%" PRId64 " end_us=%" PRId64 " rows=%" PRIu64
            " rows_us=%" PRId64 " consume_us=%" PRId64 " update_us=%" PRId64
            " checkpoint_us=%" PRId64 " checkpoints=%" PRIu64 " publish_us=%" PRId64
            " publishes=%" PRIu64 " follow_us=%" PRId64 " taken=%" PRIu64 " slot_bytes=%" PRIu64
            " fold_us=%" PRId64 " folded=%" PRIu64 " snapshot_us=%" PRId64 " snapshots=%" PRIu64
            "\n",
            begin_us, begin_us + sum.learned_us - w->first_us, sum.published_us, sum.rows,
            sum.rows_own, sum.consume.own, sum.update.own, sum.checkpoint.clock, sum.checkpoints,
            sum.publish.clock, sum.publishes, sum.follow.own, sum.taken, sum.slot_bytes,
            sum.fold.own, sum.folded, sum.snapshot.own, sum.snapshots);
    return st;
}
