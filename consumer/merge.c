/* merge.c: the states of all partitions become the job's view, in partition order; and what an
 * iterative algorithm takes back from it, a pull.
 *
 * The records of a partition, all epochs together, fall into rounds: the first ends after
 * ROUND_FIRST of them, and each adds a quarter of all before it. A job that goes on behind its end
 * begins another life, with rounds of its own. Blocks end where rounds end.
 * A partition that has ended a round pulls, once it is published:
 *
 *   staleness async   the mean of what is there, without waiting
 *   staleness n       the same, once no running partition is more than n rounds behind
 *   staleness 0       the mean of what all have after exactly that round: a function of the data
 *
 * For 0, whoever is behind must still find the states of that round when others have gone on: so
 * a slot lies in two places in turn. The one of round k is written over with what leads to round
 * k + 2, and that begins once round k + 1 was pulled, for which all had to publish it, for which
 * they had pulled round k. A partition with too few records for round k counts with its last
 * state.
 *
 * A state that anything but the records has had a part in is marked SLOT_LOOSE, and where a life
 * ended stands in the lineage: so `model verify` knows what can be made again, and how. */
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/slot_reader.h"
#include "consumer/worker.h"

#include <inttypes.h>

/* What is published for the sake of pulls takes a PULL_SPACINGth of the time, unless one takes
 * long. */
enum { ROUND_FIRST = 32, PULL_SPACING = 20, PULL_WAIT_MS = 2000, RETRY_MS = 1000 };
enum { PASSED_US = 30000000 };

/* Records after which `round` more rounds than the first have ended. */
static uint64_t round_edge(uint32_t round)
{
    uint64_t n = ROUND_FIRST;

    while (round-- && n < UINT64_MAX / 2)
        n += n / 4;
    return n;
}

void round_restored(const struct worker *w, struct partition *p)
{
    bool waits = p->m.flags & SLOT_WAIT;

    p->pull_due = waits;
    if (!w->iterative || w->job->staleness < 0)
        p->m.flags &= ~(uint32_t)SLOT_WAIT;
    p->edge = UINT64_MAX;
    if (!w->iterative)
        return;
    if (p->m.partitions != w->partitions) /* some of them have missed rounds */
        p->m.flags |= SLOT_LOOSE;
    while (round_edge(p->m.round) <= p->m.trained - p->m.base)
        p->m.round++;
    p->edge = p->m.base + round_edge(p->m.round);
}

void rounds_anew(const struct worker *w, struct partition *p)
{
    struct lineage ended = {.run = p->m.pos.run,
                            .epoch = p->m.pos.epoch,
                            .begin = p->m.pos.offset,
                            .end = p->m.pos.offset,
                            .kind = LINEAGE_ENDED};

    if (p->m.lineages >= LINEAGE_MAX / 2 || lineage_add(&p->m, ended, w->err) != ST_OK)
        p->m.flags |= SLOT_LOOSE; /* a long history keeps room for what was lost */
    CHECK(p->m.life < w->life);
    p->m.life = w->life;
    p->m.base = p->m.trained;
    p->m.round = 0;
    p->m.flags &= ~(uint32_t)SLOT_WAIT;
    round_restored(w, p);
}

bool partition_waits(const struct partition *p)
{
    return p->m.flags & SLOT_WAIT;
}

uint32_t partition_turn(const struct worker *w, const struct partition *p)
{
    return w->iterative && w->job->staleness == 0 ? (p->m.round + (partition_waits(p) ? 0 : 1)) & 1
                                                  : 0;
}

enum st round_ended(struct worker *w, struct partition *p)
{
    CHECK(w->iterative && p->phase == PHASE_RUNNING && !partition_waits(p));
    while (p->m.trained >= p->edge)
        p->edge = p->m.base + round_edge(++p->m.round);
    p->pull_due = true;
    if (w->job->staleness < 0)
        return ST_OK;
    p->m.flags |= SLOT_WAIT;
    return w->br->consumer_pause(w->c, (struct start){.partition = (int32_t)p->p}, w->err);
}

/* Where partitions wait for each other, they go by what was published, for a slot is what another
 * worker would go on from. Else it is for others alone that a slot leaves before its partition
 * pulls, and one worker that owns all partitions has none. */
static bool publishes_first(const struct worker *w)
{
    return w->job->staleness >= 0 || w->owned < w->partitions;
}

/* It keeps up with a live topic: nobody has to wait for it. */
static bool idle(const struct worker *w, const struct partition *p)
{
    return w->iterative && w->job->staleness > 0 && p->phase == PHASE_RUNNING &&
           p->m.end == INT64_MAX && p->caught_up && !partition_waits(p);
}

void round_idle(const struct worker *w, struct partition *p)
{
    uint32_t flags = (p->m.flags & ~(uint32_t)SLOT_IDLE) | (idle(w, p) ? SLOT_IDLE : 0);

    p->moved |= flags != p->m.flags;
    p->m.flags = flags;
}

bool publish_wanted(const struct worker *w)
{
    int64_t since_ms = (clock_mono_us() - w->publish.at_us) / 1000;
    bool wanted = false, lazy = false, stuck = true;

    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];

        lazy |= idle(w, p) && !(p->m.flags & SLOT_IDLE);
        wanted |= (p->moved || p->unsent) && ((p->pull_due && publishes_first(w)) ||
                                              p->phase == PHASE_DONE || p->phase == PHASE_STOPPED);
        stuck &= p->phase != PHASE_RUNNING || partition_waits(p);
    }
    if (wanted && !w->publish_failed)
        return stuck || since_ms >= w->publish_ms * PULL_SPACING || since_ms >= PULL_WAIT_MS;
    return (wanted || lazy) && since_ms >= RETRY_MS;
}

static enum st add(struct worker *w, uint32_t i, const struct tensors *state)
{
    struct slot s = {state, 1, i};

    return fold_add(&w->fold, &s);
}

enum st merge(struct worker *w)
{
    const struct tensors *state;

    fold_begin(&w->fold);
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct manifest *m = slot_known(w, i);

        if (m && m->flags & SLOT_STOPPED) {
            log_line(LOG_WARN, "the model is without this partition: its state is not finite",
                     "partition=%" PRIu32, i);
        } else if (w->part[i].phase != PHASE_NONE) {
            TRY(add(w, i, &w->part[i].state));
        } else if (m) {
            TRY(slot_state(w, m, &state));
            TRY(add(w, i, state));
        }
    }
    return fold_end(&w->fold);
}

/* ---- pulls ---- */

struct round {
    uint32_t life, n;
};

/* m is what its partition has after exactly this round, or all that it will have in this life. */
static bool of_round(const struct manifest *m, struct round r)
{
    if (m->life != r.life)
        return false;
    if (m->round == r.n && m->flags & SLOT_WAIT)
        return true;
    return m->flags & SLOT_DONE      ? m->trained - m->base <= round_edge(r.n - 1)
           : m->flags & SLOT_STOPPED ? m->round < r.n
                                     : false;
}

static const struct manifest *slot_of_round(const struct worker *w, uint32_t i, struct round r)
{
    for (uint32_t turn = 0; turn < 2; turn++) {
        const struct manifest *m = slot_turn(w, i, turn);

        if (m && of_round(m, r))
            return m;
    }
    return NULL;
}

/* Ours may have: where states of different age came together in a restore. */
static bool went_on(const struct manifest *m, struct round r)
{
    return m->life > r.life ||
           (m->life == r.life && (m->round > r.n || (m->round == r.n && !(m->flags & SLOT_WAIT))));
}

static bool is_published(const struct partition *p)
{
    return !p->unsent && !p->moved;
}

/* A partition that is not ours has gone on without us. Either ours is not ours any more, which the
 * group will tell, or what it had then is nowhere. */
static void passed_by(struct worker *w, uint32_t i, struct round r)
{
    int64_t now = clock_mono_us();

    if (!w->passed_us)
        w->passed_us = now;
    if (now - w->passed_us < PASSED_US)
        return;
    w->passed_us = now;
    log_line(
        LOG_WARN,
        "waiting for the state of a round that its partition has left behind: if the topic was "
        "deleted, or has lost records, only a reset helps",
        "topic=%s partition=%" PRIu32 " round=%" PRIu32, w->job->topic_params, i, r.n);
}

/* What others have yet to see does not count: whoever takes it over would do this round again, and
 * find that the states of the one before have been written over. */
static bool round_complete(struct worker *w, struct round r)
{
    uint32_t passed = w->partitions;
    bool complete = true;

    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];
        const struct manifest *m = slot_known(w, i);

        if (p->phase != PHASE_NONE) {
            complete &=
                !partition_counts(p) || (of_round(m, r) && is_published(p)) || went_on(m, r);
        } else if (!slot_of_round(w, i, r)) {
            complete = false;
            passed = m && went_on(m, r) ? i : passed;
        }
    }
    if (passed < w->partitions)
        passed_by(w, passed, r);
    else
        w->passed_us = 0;
    return complete;
}

static enum st add_published(struct worker *w, uint32_t i, struct round round)
{
    struct image im[2] = {{.bytes_max = w->memory_max}, {.bytes_max = w->memory_max}};
    struct slot_reader r = {0};
    struct tensors state = w->declared;
    enum st st = slot_reader_open(&r, w->br, w->b, w->job->topic_params, w->err);
    bool found = false;

    if (st == ST_OK)
        st = slot_read_turns(&r, i, im, w->err);
    if (st == ST_OK)
        st = tensors_alloc(&state, w->host_compute, w->host_self, w->err);
    for (uint32_t turn = 0; st == ST_OK && !found && turn < 2; turn++) {
        found = im[turn].closed && of_round(&im[turn].m, round);
        if (!found)
            continue;
        st = image_state(&im[turn], w->algo, &w->host, &state);
        if (st == ST_OK)
            st = add(w, i, &state);
    }
    tensors_free(&state, w->host_compute, w->host_self);
    slot_reader_close(&r);
    image_fini(&im[0]);
    image_fini(&im[1]);
    if (st == ST_OK && !found)
        return fail(
            w->err, ST_FATAL, /* if somebody else has taken them over: a restart settles it */
            "topic %s partition %" PRIu32 ": its state after round %" PRIu32
            ", which another partition needs (staleness: 0), is gone. If that stays so, the "
            "topic was deleted or has lost records: millrace reset %s",
            w->job->topic_params, i, round.n, w->job->file);
    return st;
}

static enum st merge_round(struct worker *w, struct round round)
{
    const struct tensors *state;

    fold_begin(&w->fold);
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];
        const struct manifest *m = p->phase == PHASE_NONE ? slot_of_round(w, i, round) : NULL;

        if (m && !(m->flags & SLOT_STOPPED)) {
            TRY(slot_state(w, m, &state));
            TRY(add(w, i, state));
        } else if (partition_counts(p)) {
            TRY(went_on(&p->m, round) && !of_round(&p->m, round) ? add_published(w, i, round)
                                                                 : add(w, i, &p->state));
        }
    }
    return fold_end(&w->fold);
}

/* No partition that still runs is more than `n` rounds behind, as far as has been published. */
static bool near_enough(const struct worker *w, uint32_t round, uint32_t n)
{
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct manifest *m = slot_known(w, i);
        const struct partition *p = &w->part[i];
        bool known = p->phase == PHASE_NONE || is_published(p);

        if (!m)
            return false;
        if (known && m->flags & (SLOT_DONE | SLOT_STOPPED | SLOT_IDLE))
            continue;
        if (m->round - (!known && partition_waits(p)) + n < round)
            return false;
    }
    return true;
}

static enum st rebase(struct worker *w, struct partition *p)
{
    TRY(view_rebase(&w->x, w->algo, &p->state, &w->view));
    p->pull_due = false;
    p->moved = true;
    if (w->job->staleness != 0 || any_stopped(w))
        p->m.flags |= SLOT_LOOSE;
    w->pulls++;
    if (!partition_waits(p))
        return ST_OK;
    p->m.flags &= ~(uint32_t)SLOT_WAIT;
    if (p->phase != PHASE_RUNNING)
        return ST_OK; /* nothing of it has been dropped yet */
    consume_forget(w, p->p);
    if (p->reset) { /* there is nothing to seek in */
        p->reset = false;
        return consume_positions(w);
    }
    return w->br->consumer_seek(w->c, (struct start){.partition = (int32_t)p->p, .offset = p->next},
                                w->err);
}

static bool ready(const struct worker *w, const struct partition *p)
{
    return (p->phase == PHASE_RUNNING || p->phase == PHASE_CHECKING) && p->pull_due &&
           (is_published(p) || !publishes_first(w));
}

static bool before(const struct manifest *m, struct round r)
{
    return m->life != r.life ? m->life < r.life : m->round < r.n;
}

/* The lowest round that a partition of ours has ended; n is 0: none. */
static struct round lowest_round(const struct worker *w)
{
    struct round r = {0};

    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];

        if (ready(w, p) && (!r.n || before(&p->m, r)))
            r = (struct round){p->m.life, p->m.round};
    }
    return r;
}

static bool may_pull(const struct worker *w, const struct partition *p, struct round r)
{
    int32_t n = w->job->staleness;

    if (!ready(w, p))
        return false;
    return n == 0 ? p->m.life == r.life && p->m.round == r.n
                  : n < 0 || near_enough(w, p->m.round, (uint32_t)n);
}

enum st pull(struct worker *w)
{
    struct round r = w->iterative ? lowest_round(w) : (struct round){0};
    int32_t n = w->job->staleness;

    if (!r.n || (n == 0 ? !round_complete(w, r) : n > 0 && !near_enough(w, r.n, (uint32_t)n)))
        return ST_OK;
    TRY(n == 0 ? merge_round(w, r) : merge(w));
    for (uint32_t i = 0; i < w->partitions; i++)
        if (may_pull(w, &w->part[i], r))
            TRY(rebase(w, &w->part[i]));
    return ST_OK;
}
