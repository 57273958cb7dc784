/* pipeline.c: the loop of a worker: consume, decode, batch, update, checkpoint, publish, merge,
 * snapshot. */
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/worker.h"

volatile sig_atomic_t worker_stop;

void trigger_start(struct trigger *t, struct every e, const struct worker *w)
{
    t->every = e;
    trigger_fired(t, w);
}

bool trigger_due(const struct trigger *t, const struct worker *w)
{
    return every_due(t->every, (uint64_t)(clock_mono_us() - t->at_us) / 1000, w->rows - t->rows);
}

void trigger_fired(struct trigger *t, const struct worker *w)
{
    t->at_us = clock_mono_us();
    t->rows = w->rows;
}

/* decode, batch, update: one record into its block, and the block into the state when it is
 * full. */
static enum st take_record(struct worker *w, const struct record *r)
{
    struct partition *p;
    bool full;

    TRY(consume_accept(w, r, &p));
    if (!p)
        return ST_OK;
    TRY(decode(w, p, r, &full));
    if (full) {
        TRY(update(w, p));
        TRY(decode(w, p, r, &full));
        CHECK(!full);
    }
    if (p->next >= p->m.end)
        return partition_end(w, p);
    return ST_OK;
}

/* A slow, live topic may end blocks by time; that gives up bit-equality of a replay, nothing
 * else. */
static enum st linger(struct worker *w)
{
    int64_t now = clock_mono_us();

    for (uint32_t i = 0; w->job->batch_linger_ms && i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (p->phase == PHASE_RUNNING && p->block.records &&
            now - p->seen_us >= (int64_t)w->job->batch_linger_ms * 1000)
            TRY(update(w, p));
    }
    return ST_OK;
}

/* After a refused publish nothing is owned until the group assigns anew; that is not an error. */
static enum st save(struct worker *w, bool publish_too, bool with_snapshot)
{
    enum st st;

    TRY(checkpoint(w, publish_too));
    trigger_fired(&w->checkpoint, w);
    if (!publish_too)
        return ST_OK;
    st = publish(w, with_snapshot);
    trigger_fired(&w->publish, w);
    if (with_snapshot && st == ST_OK)
        trigger_fired(&w->snapshot, w);
    if (st == ST_AGAIN || st == ST_REVOKED)
        log_line(LOG_WARN, "publish did not happen", "reason=\"%s\"", w->err->text);
    if (st == ST_REVOKED)
        worker_disown(w);
    return st == ST_AGAIN || st == ST_REVOKED ? ST_OK : st;
}

static bool finished(const struct worker *w)
{
    return worker_stop || (w->max_rows && w->rows >= w->max_rows) ||
           (w->owned && w->done + w->stopped == w->partitions);
}

enum st pipeline_run(struct worker *w)
{
    enum st st = ST_OK, last;
    bool due;

    while (st == ST_OK && !finished(w)) {
        st = consume(w);
        for (uint32_t i = 0; st == ST_OK && i < w->recs; i++)
            st = take_record(w, &w->rec[i]);
        if (st == ST_OK)
            st = linger(w);
        due = w->owner && trigger_due(&w->snapshot, w);
        if (st == ST_OK && (due || trigger_due(&w->publish, w)))
            st = save(w, true, due);
        else if (st == ST_OK && (w->checkpoint_now || trigger_due(&w->checkpoint, w)))
            st = save(w, false, false);
        progress_line(w, false);
    }
    /* Bad input is no reason to lose what was learned before it. Anything else is: the checkpoint
     * is the retry. */
    if (st == ST_OK || st == ST_BAD_INPUT) {
        struct err why = *w->err;

        last = save(w, true, w->owner && worker_trained(w) != w->version_records);
        if (st == ST_OK)
            st = last;
        else
            *w->err = why;
    }
    progress_line(w, true);
    return st;
}
