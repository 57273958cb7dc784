/* publish.c: slots, models, dead letters and the group's offsets in one transaction, by rule R3:
 *   (1) begin -> (2) produce chunks, manifests, letters, model -> (3) wait until every delivery
 * report is in -> (4) send the offsets with the captured membership -> (5) commit. Nothing is
 * produced after (4). The coordinator accepts (4) only from the current member of the current
 * generation, and by (3) every record lies in the log before that; so in each parameter partition
 * the order of records is the order of owners and of positions.
 *
 * Between two steps, and between two slices of (2), the loop goes on learning; so all that is sent
 * is taken from where nothing moves: chunks and letters from the state folder, as the checkpoint
 * left it, which no other follows before the end; manifests as they were encoded for it; positions
 * as noted with it (partition.c). */
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/deadletter.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 60000, ASK_US = 5000000 };
/* What one step produces takes so long, and so many records wait for their reports at most. What is
 * so old is brought to its end in one step: others wait for it, and in the end the broker does not
 * (transaction.timeout.ms). */
enum { SLICE_US = 5000, AHEAD = 64, OLD_US = 3000000 };

/* tests/kafka/zombie_test.py builds this file anew with a worker that freezes itself before one
 * step of its third publish, and with R3 reversed: then that test must see a slot go backward. */
#ifdef FREEZE_BEFORE
static void freeze(int step)
{
    static int publishes;

    publishes += step == 2;
    if (step == FREEZE_BEFORE && publishes == 3)
        raise(SIGSTOP);
}
#else
#define freeze(step) ((void)0)
#endif

static enum st produce(struct worker *w, const struct partition *p, int64_t j, struct bytes value)
{
    char key[SLOT_KEY_BYTES];
    struct bytes k = {(const uint8_t *)key, slot_key(key, p->p, p->saved.turn, j)};

    return w->br->produce(w->producer, TOPIC_PARAMS, (int32_t)p->p, k, value, -1, NULL, 0, w->err);
}

static enum st produce_chunk(struct worker *w, const struct partition *p, uint32_t j)
{
    struct bytes payload;

    TRY(checkpoint_read(w->cp, &p->m, j, &payload, w->err));
    chunk_encode(w->chunk_record, p->p, j, p->m.chunk[j].seq, payload.p, (uint32_t)payload.n);
    memcpy(w->chunk_record + CHUNK_HEAD, payload.p, payload.n);
    return produce(w, p, j, (struct bytes){w->chunk_record, CHUNK_HEAD + payload.n});
}

static enum st produce_letter(void *arg, const struct dead_letter *d, struct err *e)
{
    const struct worker *w = arg;

    return letter_send(w->br, w->producer, TOPIC_DEAD, w->job->topic, d, e);
}

/* The next chunk; behind the last, the manifest and the letters. */
static enum st produce_next(struct worker *w)
{
    struct saving *s = &w->saving;
    const struct partition *p = &w->part[s->part];
    struct bytes manifest = checkpoint_encoded(w->cp, p->p);

    while (p->unsent && s->chunk < p->m.chunks) {
        uint32_t j = s->chunk++;

        if (p->unpublished[j >> 6] >> (j & 63) & 1 && p->m.chunk[j].bytes)
            return produce_chunk(w, p, j);
    }
    s->part++;
    s->chunk = 0;
    if (!p->unsent)
        return ST_OK;
    CHECK(manifest.n);
    TRY(produce(w, p, SLOT_MANIFEST, manifest));
    /* letters that left with an earlier one, the checkpoint removed */
    return checkpoint_dead_scan(w->cp, p->p, p->saved.pos, produce_letter, w, w->err);
}

/* Of every partition that is owned, moved or not (R6). */
static enum st send_offsets(struct worker *w)
{
    struct offset_commit *o = w->offsets;
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->partitions; i++)
        if (w->part[i].phase != PHASE_NONE)
            o[n++] = w->part[i].saved.commit;
    return unless_gone(w, w->br->producer_offsets(w->producer, w->c, w->job->topic, o, n, w->err));
}

/* What is undecided now, or fails, is asked again. */
enum st group_done(struct worker *w, bool *done)
{
    int64_t now = clock_mono_us();
    uint32_t flags, life;
    enum st st;

    *done = false;
    if (!w->asked_us)
        w->asked_us = now;
    if (now - w->asked_us < ASK_US)
        return ST_OK;
    w->asked_us = now;
    st = w->br->committed(w->b, w->job->name, w->job->topic, w->offsets, w->partitions, w->err);
    if (st != ST_OK)
        return st == ST_AGAIN ? ST_OK : st;
    *done = true;
    for (uint32_t i = 0; *done && i < w->partitions; i++)
        *done = sscanf(w->offsets[i].metadata, "%*u:%*u:%*d:%*u:%" SCNu32 ":%" SCNu32, &flags,
                       &life) == 2 &&
                range_done(w, life, flags);
    return ST_OK;
}

bool partition_counts(const struct partition *p)
{
    return p->phase != PHASE_NONE && p->phase != PHASE_STOPPED;
}

bool any_stopped(const struct worker *w)
{
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct manifest *m = slot_known(w, i);

        if (m && m->flags & SLOT_STOPPED)
            return true;
    }
    return false;
}

uint64_t worker_trained(const struct worker *w)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct manifest *m = slot_known(w, i);

        if (m && !(m->flags & SLOT_STOPPED))
            n += m->trained;
    }
    return n;
}

void publish(struct worker *w, bool always)
{
    for (uint32_t i = 0; i < w->partitions; i++) {
        CHECK(!w->part[i].moved); /* the checkpoint holds all that there is */
        always |= w->part[i].unsent || w->part[i].saving;
    }
    if (w->saving.stage == SAVING_NONE) /* another try */
        w->saving = (struct saving){.stage = SAVING_WRITE, .begin_us = clock_mono_us()};
    w->saving.publish = always && w->owned;
    if (!w->saving.publish)
        w->publish_failed = false;
}

/* The checkpoint stands; what it holds may leave. */
static enum st write_step(struct worker *w, bool wait)
{
    struct saving *s = &w->saving;
    bool done;

    TRY(checkpoint_commit_done(w->cp, wait, &done, w->err));
    if (!done)
        return ST_OK;
    for (uint32_t i = 0; i < w->partitions; i++) {
        w->part[i].unsent |= w->part[i].saving;
        w->part[i].saving = false;
    }
    s->stage = SAVING_NONE;
    if (!s->publish)
        return ST_OK;
    TRY(w->br->producer_begin(w->producer, w->err)); /* (1) */
    s->stage = SAVING_SEND;
    s->send_us = clock_mono_us();
#ifdef OFFSETS_FIRST
    TRY(send_offsets(w));
#endif
    freeze(2);
    return ST_OK;
}

static uint64_t reports_missing(struct worker *w)
{
    return w->br->producer_left ? w->br->producer_left(w->producer) : 0;
}

static enum st send_step(struct worker *w, bool wait) /* (2) */
{
    struct saving *s = &w->saving;
    int64_t begin_us = clock_mono_us();

    while (s->part < w->partitions) {
        if (!wait && (clock_mono_us() - begin_us >= SLICE_US || reports_missing(w) >= AHEAD))
            return ST_OK;
        TRY(produce_next(w));
    }
    s->stage = SAVING_REPORTS;
    return snapshot_send(w);
}

static void committed(struct worker *w)
{
    snapshot_sent(w);
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (!p->unsent)
            continue;
        memset(p->unpublished, 0, (p->m.chunks + 63) / 64 * sizeof *p->unpublished);
        p->unsent = false;
        p->sent = p->saved.pos;
        p->m.seq++;
    }
    w->publish_failed = false;
    w->publish_ms = (clock_mono_us() - w->saving.begin_us) / 1000 + 1;
    w->saving.stage = SAVING_NONE;
}

static enum st commit_step(struct worker *w, bool wait)
{
    if (!wait && reports_missing(w))
        return ST_OK;
    TRY(w->br->producer_wait(w->producer, WAIT_MS, w->err)); /* (3) */
    freeze(4);
#ifndef OFFSETS_FIRST
    TRY(send_offsets(w)); /* (4) */
#endif
    freeze(5);
    TRY(w->br->producer_commit(w->producer, w->err)); /* (5) */
    committed(w);
    return ST_OK;
}

/* Nothing of it has happened, for st. */
static enum st undo(struct worker *w, enum st st)
{
    bool begun = w->saving.stage == SAVING_SEND || w->saving.stage == SAVING_REPORTS;
    struct err why, undone;

    if (begun && st == ST_BAD_CONFIG) /* the plainest reason first */
        st = unless_params_gone(w, st);
    why = *w->err;
    snapshot_drop(w);
    w->saving.stage = SAVING_NONE;
    if (begun && w->br->producer_abort(w->producer, &undone) != ST_OK && st != ST_BAD_CONFIG)
        return fail(w->err, ST_FATAL, "%s; then %s", why.text, undone.text); /* a restart settles */
    *w->err = why;
    return st;
}

enum st saving_step(struct worker *w, bool wait)
{
    struct saving *s = &w->saving;
    enum st st = s->stage == SAVING_WRITE ? write_step(w, wait) : ST_OK;

    if (s->stage == SAVING_SEND || s->stage == SAVING_REPORTS)
        wait = wait || clock_mono_us() - s->send_us > OLD_US;
    if (st == ST_OK && s->stage == SAVING_SEND)
        st = send_step(w, wait);
    if (st == ST_OK && s->stage == SAVING_REPORTS)
        st = commit_step(w, wait);
    return st == ST_OK ? ST_OK : undo(w, st);
}

enum st saving_drop(struct worker *w)
{
    bool done;

    if (w->saving.stage == SAVING_WRITE)
        TRY(checkpoint_commit_done(w->cp, true, &done, w->err));
    return undo(w, ST_OK);
}
