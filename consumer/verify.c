/* verify.c: the pipeline's stages once more over the ranges of a model.
 *
 * What a partition does is a function of its records, and, at `staleness: 0`, of the other
 * partitions' states at the ends of rounds. So a partition is begun where the job began it and gets
 * the ends that the job gave it: of each life, of each epoch, and at last the offset where the
 * snapshot's state stands. There a block of the job ended too. It stays there, with its state as it
 * is: others may still need it to complete a round, as they did then. */
#include "consumer/verify.h"

#include "consumer/deadletter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct again {
    struct worker *w;
    const struct model *m;
    const struct model_range *range[PARTITIONS_MAX]; /* of partition i, or NULL */
    bool learn;
};

/* ---- what is there ---- */

/* Records that were lost before the first one was learned are not needed again. */
static int64_t first_needed(const struct model *m, const struct model_range *r)
{
    const struct model_break *b = &m->brk[r->break_at];
    bool lost = r->breaks && b->kind == LINEAGE_LOST && b->run == r->run && !b->epoch &&
                b->begin == r->begin && b->end <= r->until;

    return lost ? b->end : r->begin;
}

/* Where the snapshot's state stands, in its epoch. */
static int64_t target(const struct model *m, const struct model_range *r)
{
    int64_t from = first_needed(m, r);

    return r->end > from ? r->end : from;
}

static bool recreated(const struct model *m, const struct model_range *r)
{
    for (uint32_t i = 0; i < r->breaks; i++)
        if (m->brk[r->break_at + i].kind == LINEAGE_RESET)
            return true;
    return false;
}

static enum st gone_of(const struct broker *br, void *b, const struct model *m,
                       const struct model_range *r, struct gone g[2], struct err *e)
{
    int64_t from = first_needed(m, r), to = r->epoch ? r->until : r->end, low, high;

    g[0] = g[1] = (struct gone){.partition = r->partition};
    if (recreated(m, r)) { /* of the earlier one, its lineage no longer says which offsets */
        g[0] = (struct gone){r->partition, r->begin, to, "the topic was re-created since"};
        return ST_OK;
    }
    if (from >= to)
        return ST_OK;
    TRY(br->watermarks(b, m->topic, (int32_t)r->partition, false, &low, &high, e));
    if (low > from)
        g[0] = (struct gone){r->partition, from, low < to ? low : to, "removed (retention)"};
    if (high < to)
        g[1] = (struct gone){r->partition, high > from ? high : from, to,
                             "behind the topic's end: it was re-created or truncated"};
    return ST_OK;
}

enum st verify_gone(const struct broker *br, void *b, const struct model *m,
                    void (*take)(void *arg, const struct gone *g), void *arg, uint32_t *n,
                    struct err *e)
{
    struct topic_info t = {0};
    struct gone g[2];

    *n = 0;
    TRY(br->topic(b, m->topic, &t, e));
    for (uint32_t i = 0; i < m->ranges; i++) {
        const struct model_range *r = &m->range[i];

        if (t.exists && r->partition < t.partitions) {
            TRY(gone_of(br, b, m, r, g, e));
        } else {
            g[0] = (struct gone){r->partition, first_needed(m, r), r->epoch ? r->until : r->end,
                                 t.exists ? "the topic has no such partition any more"
                                          : "the topic was deleted"};
            g[1] = (struct gone){0};
        }
        for (uint32_t k = 0; k < 2; k++) {
            if (g[k].begin >= g[k].end)
                continue;
            take(arg, &g[k]);
            ++*n;
        }
    }
    return ST_OK;
}

const char *verify_loose(const struct model *m)
{
    const struct algo *a = algo_find(m->algo);

    for (uint32_t i = 0; i < m->ranges; i++)
        if (!m->range[i].repeatable)
            return "more than the records has shaped its states: pulls of what was there "
                   "(staleness async, 1, 2, ...), blocks ended by batch_linger, an upgrade, "
                   "partitions added or stopped, or more ends than are kept";
    if (a && !(a->flags & ALGO_EXACT) && m->ranges < m->partitions)
        return "partitions that stopped are not in it, but the others have learned from them";
    return NULL;
}

void verify_job(struct job *j, const struct model *m)
{
    j->staleness = m->staleness;
    j->epochs = 1; /* whether an algorithm may see records twice was asked when it did */
    j->batch_linger_ms = 0;
    j->gap_continue = j->recreated_continue = false;
    j->bad_limit = 1; /* the job went on, whatever there was */
    j->bad_limit_count = 0;
    snprintf(j->backend, sizeof j->backend, "%s", m->backend);
    snprintf(j->device, sizeof j->device, "auto"); /* where that is */
}

/* ---- the ends of a partition ---- */

/* The nth end that the job had, or NULL: no more. */
static const struct model_break *ended(const struct again *a, const struct model_range *r,
                                       uint32_t n)
{
    for (uint32_t i = 0; i < r->breaks; i++) {
        const struct model_break *b = &a->m->brk[r->break_at + i];

        if (b->kind == LINEAGE_ENDED && !n--)
            return b;
    }
    return NULL;
}

/* Of the life that the snapshot's state is in; where nothing is learned, lives make no difference.
 */
static bool last_life(const struct again *a, const struct partition *p)
{
    return !a->learn || !ended(a, a->range[p->p], p->m.life);
}

/* Where the job had this epoch of this life end. */
static int64_t end_then(const struct again *a, const struct partition *p)
{
    const struct model_range *r = a->range[p->p];

    return last_life(a, p) ? r->until : ended(a, r, p->m.life)->begin;
}

static int64_t end_now(const struct again *a, const struct partition *p)
{
    const struct model_range *r = a->range[p->p];

    return last_life(a, p) && p->m.pos.epoch == r->epoch ? target(a->m, r) : end_then(a, p);
}

/* Stays where it is. */
static enum st halt(struct worker *w, struct partition *p)
{
    CHECK(p->phase == PHASE_RUNNING && !p->block.records);
    p->phase = PHASE_DONE;
    w->running--;
    w->done++;
    return partition_waits(p)
               ? ST_OK
               : w->br->consumer_pause(w->c, (struct start){.partition = (int32_t)p->p}, w->err);
}

static void run_on(struct worker *w, struct partition *p)
{
    CHECK(p->phase == PHASE_DONE);
    p->m.flags &= ~(uint32_t)SLOT_DONE;
    p->phase = PHASE_RUNNING;
    w->running++;
    w->done--;
}

/* The snapshot's state is before the pull of the round that ends here, or after it. */
static enum st halt_at_target(struct again *a, struct partition *p)
{
    const struct model_range *r = a->range[p->p];
    struct position at = {.run = r->run, .epoch = r->epoch, .offset = target(a->m, r)};

    if (p->phase != PHASE_RUNNING || p->block.records || !last_life(a, p) ||
        position_cmp(p->m.pos, at) != 0 || (partition_waits(p) && !r->waits))
        return ST_OK;
    return halt(a->w, p);
}

/* ---- the loop ---- */

static enum st begin(struct again *a, const struct model_range *r)
{
    struct worker *w = a->w;
    struct partition *p = &w->part[r->partition];
    const struct model_break *first = a->learn ? ended(a, r, 0) : NULL;
    int64_t from = first_needed(a->m, r); /* of each epoch, as then */

    TRY(partition_alloc(w, p));
    w->run = r->run;
    TRY(partition_begin(w, p, from, first ? first->begin : r->until));
    p->m.epochs = r->epoch + 1;
    p->next = from;
    p->last_offset = -1;
    round_restored(w, p);
    w->owned++;
    w->done++;
    p->phase = PHASE_DONE;
    if (!(p->m.flags & SLOT_DONE))
        run_on(w, p);
    p->m.end = end_now(a, p);
    return ST_OK;
}

static enum st begin_all(struct again *a)
{
    TRY(start_read(a->w, NULL));
    for (uint32_t i = 0; i < a->m->ranges; i++)
        TRY(begin(a, &a->m->range[i]));
    start_end(a->w);
    TRY(consume_positions(a->w));
    for (uint32_t i = 0; i < a->m->ranges; i++)
        TRY(halt_at_target(a, &a->w->part[a->m->range[i].partition]));
    return ST_OK;
}

static enum st learned(struct again *a, struct partition *p)
{
    struct worker *w = a->w;

    TRY(partition_learned(w, p));
    if (p->phase == PHASE_DONE && last_life(a, p) && !a->range[p->p]->done) {
        run_on(w, p); /* it is the snapshot that ends here, not the job */
        if (p->m.trained >= p->edge)
            TRY(round_ended(w, p));
    }
    p->m.end = end_now(a, p);
    return halt_at_target(a, p);
}

static enum st learn_polled(struct again *a)
{
    struct worker *w = a->w;
    struct partition *p;
    struct rows r;

    TRY(consume(w));
    for (;;) {
        TRY(decode(w, &p));
        if (!p)
            return ST_OK;
        if (a->learn) {
            batch(w, p);
            while (batch_next(&w->batch, &r))
                TRY(update(w, p, &r));
        }
        TRY(learned(a, p));
    }
}

/* In the place of checkpoint and publish: nobody else is there to see what has moved. */
static void forget_moves(struct worker *w)
{
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (p->phase == PHASE_NONE)
            continue;
        p->moved = false;
        letters_clear(&p->letters);
    }
}

static enum st pull_again(struct again *a)
{
    forget_moves(a->w);
    TRY(pull(a->w));
    for (uint32_t i = 0; i < a->m->ranges; i++)
        TRY(halt_at_target(a, &a->w->part[a->m->range[i].partition]));
    return ST_OK;
}

/* All that had to end has ended: the job was then started again. */
static enum st next_life(struct again *a)
{
    struct worker *w = a->w;

    w->life++;
    for (uint32_t i = 0; i < a->m->ranges; i++) {
        struct partition *p = &w->part[a->m->range[i].partition];

        if (last_life(a, p))
            continue;
        rounds_anew(w, p);
        if (p->m.pos.offset < end_then(a, p))
            run_on(w, p);
        p->m.end = end_now(a, p);
    }
    TRY(w->running ? consume_positions(w) : ST_OK);
    for (uint32_t i = 0; i < a->m->ranges; i++)
        TRY(halt_at_target(a, &w->part[a->m->range[i].partition]));
    return ST_OK;
}

static bool lives_left(const struct again *a)
{
    for (uint32_t i = 0; i < a->m->ranges; i++)
        if (!last_life(a, &a->w->part[a->m->range[i].partition]))
            return true;
    return false;
}

/* Each waits for a state that no other will have. It cannot be unless the records are others. */
static bool stuck(const struct worker *w)
{
    for (uint32_t i = 0; i < w->partitions; i++)
        if (w->part[i].phase == PHASE_RUNNING && !partition_waits(&w->part[i]))
            return false;
    return true;
}

static enum st train(struct again *a)
{
    struct worker *w = a->w;
    uint64_t pulls;

    TRY(begin_all(a));
    do {
        while (w->running) {
            TRY(learn_polled(a));
            pulls = w->pulls;
            TRY(pull_again(a));
            if (w->running && w->pulls == pulls && stuck(w))
                return ST_OK;
        }
        if (lives_left(a))
            TRY(next_life(a));
    } while (w->running || lives_left(a));
    return ST_OK;
}

enum st verify_train(struct worker *w, const struct model *m, bool learn)
{
    struct again *a = calloc(1, sizeof *a);
    enum st st;

    CHECK(w->alone && w->partitions == m->partitions);
    if (!a)
        return fail(w->err, ST_FATAL, "no memory to read a model's records again");
    a->w = w;
    a->m = m;
    a->learn = learn;
    w->iterative &= learn;
    for (uint32_t i = 0; i < m->ranges; i++)
        a->range[m->range[i].partition] = &m->range[i];
    st = train(a);
    free(a);
    return st;
}
