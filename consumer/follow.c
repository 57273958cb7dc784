/* follow.c: the slots of partitions that other workers own, as their owners publish them: one more
 * consumer without a group, of the parameter topic, read_committed. */
#include "config/base/log.h"
#include "consumer/slot_reader.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FOLLOW_RECORDS = 256, FOLLOW_WAIT_MS = 10, EARLIEST = -2 };

static const uint64_t follow_queue_bytes = 16u << 20;

struct followed {
    struct image in[2]; /* by turn: as records come */
    bool whole[2];
    struct image slot; /* the newest whole one; not where a slot has two places, for there the
                          newest stands while the other is written */
    int64_t next;      /* offset to read on from */
    bool on, broken;   /* broken: the last manifest read is not whole, or not even one */
};

struct follower {
    void *consumer;
    struct record *rec;   /* [FOLLOW_RECORDS] */
    struct followed *f;   /* [partitions] */
    struct tensors state; /* room for one slot in a fold */
    uint32_t n;           /* partitions followed */
    struct err why;       /* the last of them that broke */
};

bool worker_follows(const struct worker *w)
{
    return w->owned < w->partitions && (w->iterative || w->owner);
}

static void forget(struct followed *f)
{
    image_fini(&f->in[0]);
    image_fini(&f->in[1]);
    image_fini(&f->slot);
    f->whole[0] = f->whole[1] = f->on = f->broken = false;
    f->next = EARLIEST;
}

static enum st follower_open(struct worker *w)
{
    struct consumer_conf c = {.topics = (const char *const[]){w->job->topic_params},
                              .topics_n = 1,
                              .wait_ms = FOLLOW_WAIT_MS,
                              .queue_bytes = follow_queue_bytes};
    struct follower *l = calloc(1, sizeof *l);

    w->follower = l;
    if (!l)
        return fail(w->err, ST_FATAL, "no memory to follow slots");
    l->consumer = calloc(1, w->br->consumer_bytes);
    l->rec = calloc(FOLLOW_RECORDS, sizeof *l->rec);
    l->f = calloc(w->partitions, sizeof *l->f);
    if (!l->consumer || !l->rec || !l->f)
        return fail(w->err, ST_FATAL, "no memory to follow slots");
    for (uint32_t i = 0; i < w->partitions; i++) {
        l->f[i].in[0].bytes_max = l->f[i].in[1].bytes_max = l->f[i].slot.bytes_max = w->memory_max;
        l->f[i].next = EARLIEST;
    }
    l->state = w->declared;
    TRY(tensors_alloc(&l->state, w->host_compute, w->host_self, w->err));
    return w->br->consumer_open(l->consumer, w->b, &c, w->err);
}

void follower_close(struct worker *w)
{
    struct follower *l = w->follower;

    if (!l)
        return;
    for (uint32_t i = 0; l->f && i < w->partitions; i++)
        forget(&l->f[i]);
    if (l->consumer)
        w->br->consumer_close(l->consumer);
    tensors_free(&l->state, w->host_compute, w->host_self);
    free(l->consumer);
    free(l->rec);
    free(l->f);
    free(l);
    w->follower = NULL;
}

static enum st room_for(const struct worker *w, uint32_t n)
{
    uint64_t bytes = w->memory_planned + 2 * (uint64_t)n * w->declared.bytes + follow_queue_bytes;

    if (bytes <= w->memory_max)
        return ST_OK;
    return fail(w->err, ST_BAD_CONFIG,
                "following the slots of %" PRIu32 " partitions takes %.0f MB in all, memory_max is "
                "%.0f MB: fewer models, or more memory",
                n, (double)bytes / 1e6, (double)w->memory_max / 1e6);
}

enum st follow_assign(struct worker *w)
{
    struct start s[PARTITIONS_MAX];
    bool wanted = worker_follows(w);
    struct follower *l;
    uint32_t n = 0;

    if (!wanted && !w->follower)
        return ST_OK;
    if (!w->follower)
        TRY(follower_open(w));
    l = w->follower;
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct followed *f = &l->f[i];

        if (!wanted || w->part[i].phase != PHASE_NONE)
            forget(f);
        else
            s[n++] = (struct start){.partition = (int32_t)i, .offset = f->next};
        f->on = wanted && w->part[i].phase == PHASE_NONE;
    }
    TRY(room_for(w, n));
    l->n = n;
    return w->br->consumer_assign(l->consumer, s, n, w->err);
}

static enum st keep(struct followed *f, const struct image *in, struct err *e)
{
    struct slot_chunk *chunk;

    TRY(image_init(&f->slot, e));
    TRY(image_grow(&f->slot, in->m.chunks, e));
    memcpy(f->slot.p, in->p, (size_t)in->m.chunks << CHUNK_SHIFT);
    chunk = f->slot.m.chunk;
    memcpy(chunk, in->m.chunk, in->m.chunks * sizeof *chunk);
    f->slot.m = in->m;
    f->slot.m.chunk = chunk;
    f->slot.closed = true;
    return ST_OK;
}

static enum st check_job(const struct worker *w, uint32_t partition, const struct manifest *m)
{
    if (m->job == w->fingerprint && m->state_version == w->algo->state_version)
        return ST_OK;
    return fail(w->err, ST_BAD_CONFIG,
                "topic %s partition %" PRIu32 " holds the slot of another job: " FINGERPRINT_WORDS
                ", or the version, differ from this worker's. Give all workers of a job the same "
                "file and program",
                w->job->topic_params, partition);
}

static enum st take(struct worker *w, uint32_t partition, const struct record *r)
{
    struct followed *f = &w->follower->f[partition];
    bool manifest;
    uint32_t turn;
    enum st st;

    f->next = r->offset + 1;
    st = slot_take(f->in, partition, r, &turn, &manifest, w->err);
    if (turn < 2)
        f->whole[turn] = false;
    if (st != ST_OK || turn > 1)
        return st;
    if (!manifest || !f->in[turn].closed || f->in[turn].m.pos.run < w->run) /* void since a reset */
        return ST_OK;
    TRY(image_complete(&f->in[turn], w->err));
    TRY(check_job(w, partition, &f->in[turn].m));
    f->whole[turn] = true;
    f->broken = false;
    if (w->job->staleness == 0 || (f->slot.closed && f->slot.m.seq > f->in[turn].m.seq))
        return ST_OK;
    return keep(f, &f->in[turn], w->err);
}

/* What an older manifest names may have been compacted away: the next one is whole again. */
static enum st unless_older(struct worker *w, uint32_t partition, enum st st)
{
    if (st != ST_CORRUPT)
        return st;
    w->follower->f[partition].broken = true;
    w->follower->why = *w->err;
    return ST_OK;
}

/* At the end there is no next one to wait for: until its owner publishes again, that partition
 * counts with what came before, and whoever restores it now will refuse it. */
static void at_end(struct worker *w, uint32_t partition, struct followed *f)
{
    if (f->on && f->broken)
        log_line(LOG_WARN, "slot is damaged: waiting for the next that its owner publishes",
                 "topic=%s partition=%" PRIu32 " reason=\"%s\"", w->job->topic_params, partition,
                 w->follower->why.text);
    f->broken = false;
}

static enum st follow_record(struct worker *w, const struct record *r, bool *again)
{
    struct followed *f = r->partition >= 0 && (uint32_t)r->partition < w->partitions
                             ? &w->follower->f[r->partition]
                             : NULL;

    switch ((enum record_kind)r->kind) {
    case REC_DATA:
        if (!f || !f->on || r->offset < f->next)
            return ST_OK;
        return unless_older(w, (uint32_t)r->partition, take(w, (uint32_t)r->partition, r));
    case REC_RESET: /* compaction or retention took where we stood */
        if (f)
            f->next = EARLIEST;
        *again = true;
        return ST_OK;
    case REC_ERROR:
        return r->reason == BROKER_ERR_TOPIC_GONE ? unless_params_gone(w, ST_OK) : ST_OK;
    case REC_EOF:
        if (f)
            at_end(w, (uint32_t)r->partition, f);
        return ST_OK;
    }
    CHECK(false);
    return ST_OK;
}

enum st follow(struct worker *w, int timeout_ms)
{
    struct follower *l = w->follower;
    bool again = false;
    uint32_t n;

    if (!l || !l->n)
        return ST_OK;
    TRY(w->br->consumer_poll(l->consumer, l->rec, FOLLOW_RECORDS, timeout_ms, &n, w->err));
    for (uint32_t i = 0; i < n; i++)
        TRY(follow_record(w, &l->rec[i], &again));
    return again ? follow_assign(w) : ST_OK;
}

static const struct image *newest(const struct followed *f)
{
    const struct image *a = f->whole[0] ? &f->in[0] : NULL, *b = f->whole[1] ? &f->in[1] : NULL;

    if (f->slot.closed)
        return &f->slot;
    return a && b ? (a->m.seq > b->m.seq ? a : b) : a ? a : b;
}

const struct manifest *slot_known(const struct worker *w, uint32_t i)
{
    const struct image *im;

    if (w->part[i].phase != PHASE_NONE)
        return &w->part[i].m;
    im = w->follower && w->follower->f[i].on ? newest(&w->follower->f[i]) : NULL;
    return im ? &im->m : NULL;
}

const struct manifest *slot_turn(const struct worker *w, uint32_t i, uint32_t turn)
{
    const struct followed *f = w->follower && w->follower->f[i].on ? &w->follower->f[i] : NULL;

    CHECK(turn < 2 && w->part[i].phase == PHASE_NONE);
    return f && f->whole[turn] ? &f->in[turn].m : NULL;
}

enum st slot_state(struct worker *w, const struct manifest *m, const struct tensors **state)
{
    const struct followed *f = &w->follower->f[m->partition];
    const struct image *im = m == &f->slot.m ? &f->slot : &f->in[m == &f->in[1].m];

    CHECK(m == &im->m && im->closed);
    *state = &w->follower->state;
    return image_state(im, w->algo, &w->host, &w->follower->state);
}
