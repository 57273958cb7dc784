/* publish.c: slots, models, dead letters and the group's offsets in one transaction, by rule R3:
 *   (1) begin -> (2) produce chunks, manifests, letters, model -> (3) wait until every delivery
 * report is in -> (4) send the offsets with the captured membership -> (5) commit. Nothing is
 * produced after (4). The coordinator accepts (4) only from the current member of the current
 * generation, and by (3) every record lies in the log before that; so in each parameter partition
 * the order of records is the order of owners and of positions. */
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/deadletter.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 60000, ASK_US = 5000000 };

static enum st produce_slot(struct worker *w, const struct partition *p)
{
    struct bytes manifest = checkpoint_encoded(w->cp, p->p), value = {w->chunk_record, 0};
    char key[SLOT_KEY_BYTES];
    uint32_t bytes, turn = partition_turn(w, p);

    CHECK(manifest.n);
    for (uint32_t j = 0; j < p->m.chunks; j++) {
        if (!(p->unpublished[j >> 6] >> (j & 63) & 1) || !p->m.chunk[j].bytes)
            continue;
        bytes = p->m.chunk[j].bytes;
        const uint8_t *payload = p->state.base + ((size_t)j << CHUNK_SHIFT);

        chunk_encode(w->chunk_record, p->p, j, p->m.chunk[j].seq, payload, bytes);
        memcpy(w->chunk_record + CHUNK_HEAD, payload, bytes);
        value.n = CHUNK_HEAD + bytes;
        struct bytes k = {(const uint8_t *)key, slot_key(key, p->p, turn, j)};
        TRY(w->br->produce(w->producer, TOPIC_PARAMS, (int32_t)p->p, k, value, -1, NULL, 0,
                           w->err));
    }
    struct bytes k = {(const uint8_t *)key, slot_key(key, p->p, turn, SLOT_MANIFEST)};
    return w->br->produce(w->producer, TOPIC_PARAMS, (int32_t)p->p, k, manifest, -1, NULL, 0,
                          w->err);
}

static enum st produce_letter(void *arg, const struct dead_letter *d, struct err *e)
{
    const struct worker *w = arg;

    return letter_send(w->br, w->producer, TOPIC_DEAD, w->job->topic, d, e);
}

static enum st produce_all(struct worker *w)
{
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (p->phase == PHASE_NONE || !p->unsent)
            continue;
        TRY(produce_slot(w, p)); /* letters that left with an earlier one, the checkpoint removed */
        TRY(checkpoint_dead_scan(w->cp, p->p, p->m.pos, produce_letter, w, w->err));
    }
    return ST_OK;
}

/* Of every partition that is owned, moved or not (R6). */
static enum st send_offsets(struct worker *w)
{
    struct offset_commit *o = w->offsets;
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];

        if (p->phase == PHASE_NONE)
            continue;
        o[n].partition = (int32_t)i;
        o[n].offset =
            p->m.pos.epoch ? p->m.end : p->m.pos.offset; /* tools see lag 0 in later epochs */
        snprintf(o[n].metadata, sizeof o[n].metadata,
                 "%" PRIu32 ":%" PRIu32 ":%" PRId64 ":%" PRIu32 ":%" PRIu32 ":%" PRIu32,
                 p->m.pos.run, p->m.pos.epoch, p->m.pos.offset, p->m.round, p->m.flags, p->m.life);
        n++;
    }
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

static void committed(struct worker *w)
{
    if (w->sent_version) {
        w->version = w->sent_version;
        w->version_records = worker_trained(w);
    }
    w->sent_version = 0;
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (!p->unsent)
            continue;
        memset(p->unpublished, 0, (p->m.chunks + 63) / 64 * sizeof *p->unpublished);
        p->unsent = false;
        p->sent = p->m.pos;
        p->m.seq++;
    }
}

enum st publish(struct worker *w, bool always)
{
    CHECK(!w->publishing);
    for (uint32_t i = 0; i < w->partitions; i++) {
        CHECK(!w->part[i].moved); /* only what a checkpoint holds may leave */
        always |= w->part[i].unsent;
    }
    if (!always || !w->owned)
        return ST_OK;
    TRY(w->br->producer_begin(w->producer, w->err)); /* (1) */
    w->publishing = true;
#ifdef OFFSETS_FIRST
    TRY(send_offsets(w));
#endif
    freeze(2);
    return produce_all(w); /* (2) */
}

static enum st commit(struct worker *w)
{
    TRY(w->br->producer_wait(w->producer, WAIT_MS, w->err)); /* (3) */
    freeze(4);
#ifndef OFFSETS_FIRST
    TRY(send_offsets(w)); /* (4) */
#endif
    freeze(5);
    return w->br->producer_commit(w->producer, w->err); /* (5) */
}

enum st publish_end(struct worker *w, enum st st)
{
    struct err why, undone;

    if (!w->publishing)
        return st;
    w->publishing = false;
    if (st == ST_OK)
        st = commit(w);
    if (st == ST_OK) {
        committed(w);
        return ST_OK;
    }
    if (st == ST_BAD_CONFIG) /* the plainest reason first */
        st = unless_params_gone(w, st);
    why = *w->err;
    w->sent_version = 0;
    if (w->br->producer_abort(w->producer, &undone) != ST_OK && st != ST_BAD_CONFIG)
        return fail(w->err, ST_FATAL, "%s; then %s", why.text, undone.text); /* a restart settles */
    *w->err = why;
    return st;
}
