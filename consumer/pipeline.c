/* pipeline.c: the loop of a worker: consume, decode, batch, update, checkpoint, publish, merge,
 * snapshot. */
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/worker.h"

#include <string.h>

enum { LAST_TRIES = 5 };

atomic_int worker_stop;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler counts in worker_stop");

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

/* Each partition's range is learned, here and by the other workers. */
static enum st job_done(struct worker *w, bool *done)
{
    *done = w->assigned && w->done + w->stopped == w->owned;
    if (!*done || w->owned == w->partitions)
        return ST_OK;
    if (!worker_follows(w))
        return group_done(w, done);
    for (uint32_t i = 0; *done && i < w->partitions; i++) {
        const struct manifest *m = slot_known(w, i);

        *done = w->part[i].phase != PHASE_NONE || (m && range_done(w, m->life, m->flags));
    }
    return ST_OK;
}

static bool told_to_stop(const struct worker *w)
{
    return worker_stop || w->over_limit || (w->max_rows && w->rows >= w->max_rows);
}

struct saving {
    bool checkpoint, publish, snapshot;
    int64_t begin_us;
};

/* A snapshot would be another model than the newest one, and have something of every partition in
 * it. */
static bool new_model(const struct worker *w)
{
    bool known = w->owner && w->stopped < w->partitions;

    for (uint32_t i = 0; known && i < w->partitions; i++)
        known = slot_known(w, i) != NULL;
    return known && worker_trained(w) != w->version_records;
}

/* What is to be saved now; at the end everything. */
static struct saving due(struct worker *w, bool last)
{
    struct saving s = {.begin_us = clock_mono_us()};

    s.snapshot = new_model(w) && (last || trigger_due(&w->snapshot, w));
    s.publish = last || s.snapshot || publish_wanted(w) || trigger_due(&w->publish, w);
    s.checkpoint = s.publish || w->checkpoint_now || trigger_due(&w->checkpoint, w);
    if (s.checkpoint)
        trigger_fired(&w->checkpoint, w);
    if (s.publish)
        trigger_fired(&w->publish, w);
    if (s.snapshot)
        trigger_fired(&w->snapshot, w);
    return s;
}

/* A publish that did not happen is no error: what it would have sent stays dirty. After a refused
 * one nothing is owned until the group assigns anew. At the end of a job it is tried again, for
 * there is no later one; who is told to stop goes on from the local state another time. */
static enum st unless_refused(struct worker *w, struct saving s, enum st st, bool *last)
{
    if (st == ST_OK && s.publish) {
        w->publish_failed = false;
        w->publish_ms = (clock_mono_us() - s.begin_us) / 1000 + 1;
    }
    if (st != ST_AGAIN && st != ST_REVOKED)
        return st;
    w->publish_failed = true;
    log_line(LOG_WARN, "checkpoint or publish did not happen", "reason=\"%s\"", w->err->text);
    if (st == ST_REVOKED)
        worker_disown(w);
    else if (*last && !worker_stop && ++w->last_tries == LAST_TRIES)
        return fail(w->err, ST_AGAIN,
                    "the last publish failed %d times: %s. The state is safe in %s: start the "
                    "worker again",
                    LAST_TRIES, strdupa(w->err->text), w->job->state_dir);
    *last = *last && worker_stop;
    return ST_OK;
}

/* There is something to do that does not wait for the rest of a poll. */
static bool interrupted(const struct worker *w)
{
    return worker_stop || trigger_due(&w->checkpoint, w) || trigger_due(&w->publish, w) ||
           publish_wanted(w);
}

enum st pipeline_run(struct worker *w)
{
    struct partition *p;
    struct saving s;
    struct rows r;
    enum st st;
    bool done = false, last;

    do {
        st = w->rec_at < w->recs ? ST_OK : consume(w);
        while (st == ST_OK && (st = decode(w, &p)) == ST_OK && p) {
            batch(w, p);
            while (st == ST_OK && batch_next(&w->batch, &r))
                st = update(w, p, &r);
            if (st == ST_OK)
                st = partition_learned(w, p);
            if (interrupted(w))
                break;
        }
        if (st == ST_OK)
            st = follow(w, 0);
        if (st == ST_OK)
            st = job_done(w, &done);
        if (st != ST_OK)
            break;
        if (done)
            range_ended(w);
        last = done || told_to_stop(w);
        s = due(w, last);
        if (s.checkpoint)
            st = checkpoint(w, s.publish);
        s.snapshot = s.snapshot && new_model(w); /* the checkpoint may have found some diverged */
        if (st == ST_OK && s.publish)
            st = publish(w, s.snapshot);
        if (st == ST_OK && s.snapshot)
            st = merge(w);
        if (st == ST_OK && s.snapshot)
            st = snapshot(w);
        st = unless_refused(w, s, publish_end(w, st), &last);
        if (st == ST_OK && !last)
            st = pull(w);
        progress_line(w, last);
    } while (st == ST_OK && !last);
    if (st == ST_OK && done && !w->publish_failed)
        st = range_left(w);
    w->busy_us = w->first_us ? clock_mono_us() - w->first_us : 0;
    return st == ST_OK ? decode_limit(w) : st;
}
