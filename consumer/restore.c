/* restore.c: which state a partition goes on from: the local one or its slot, whichever has the
 * greater position; the local one where they are equal. */
#include "config/base/log.h"
#include "config/base/memory.h"
#include "consumer/device.h"
#include "consumer/slot_reader.h"
#include "consumer/snapshot.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PUBLISH_TRIES = 5 };

/* Called while slots are read: keeps the membership alive. Whatever the group does now, the restore
 * is void. */
static enum st stay_member(void *arg)
{
    struct worker *w = arg;
    const struct start *list;
    uint32_t n;

    if (worker_stop)
        return fail(w->err, ST_REVOKED, "stopped while restoring");
    TRY(w->br->consumer_poll(w->c, w->rec, POLL_RECORDS_MAX, 0, &n, w->err));
    switch (w->br->consumer_event(w->c, &list, &n)) {
    case GROUP_NONE:
        return ST_OK;
    case GROUP_FENCED:
        TRY(worker_fenced(w));
        return fail(w->err, ST_REVOKED, "the group has put out this worker while restoring");
    case GROUP_ASSIGNED:
        worker_assigned(w, list, n);
        break;
    default:
        w->listed = false;
        TRY(w->br->consumer_assign(w->c, NULL, 0, w->err));
    }
    return fail(w->err, ST_REVOKED, "the group moved on while restoring");
}

static enum st take_local(void *arg, uint32_t j, const uint8_t *p, uint32_t bytes, struct err *e)
{
    struct image *im = arg;
    uint8_t *to = im->p + ((size_t)j << CHUNK_SHIFT);

    (void)e;
    CHECK(j < im->chunks_max && bytes <= CHUNK_BYTES);
    memset(to, 0, CHUNK_BYTES);
    if (p)
        memcpy(to, p, bytes);
    return ST_OK;
}

/* An older state version: laid out as its manifest says, then handed to the algorithm. */
static enum st upgrade(struct worker *w, struct partition *p, const struct image *im)
{
    struct tdecl d[SLOT_TENSORS_MAX];
    struct tensors old = {0}, host = tensors_host(&p->state);
    enum st st;

    if (!w->algo->upgrade)
        return fail(w->err, ST_BAD_CONFIG,
                    "the saved state has version %" PRIu32
                    " of algorithm %s, this program makes version %" PRIu32
                    ": reset the job, or use the older program",
                    im->m.state_version, w->algo->name, w->algo->state_version);
    for (uint32_t i = 0; i < im->m.tensors; i++) {
        const struct slot_tensor *t = &im->m.tensor[i];

        d[i] = (struct tdecl){.id = i,
                              .name = t->name,
                              .what = "",
                              .dtype = (enum dtype)t->dtype,
                              .law = (enum law)t->law,
                              .flags = t->flags,
                              .by = t->by,
                              .live = t->live};
        memcpy(d[i].dim, t->dim, sizeof d[i].dim);
    }
    TRY(tensors_layout(&old, d, im->m.tensors, CHUNK_SHIFT, im->bytes_max, w->err));
    if (old.bytes != im->m.state_bytes)
        return fail(w->err, ST_CORRUPT,
                    "the tensors of the saved state take %" PRIu64 " bytes, it has %" PRIu64,
                    old.bytes, im->m.state_bytes);
    st = tensors_alloc(&old, NULL, NULL, w->err);
    if (st == ST_OK) {
        memcpy(old.base, im->p, old.bytes);
        st = w->algo->upgrade(&w->host, &old, im->m.state_version, &host);
        if (st == ST_OK)
            st = tensors_intact(&host, w->algo, &w->host);
    }
    tensors_free(&old, NULL, NULL);
    return st;
}

static void describe_tensors(const struct tensors *ts, struct manifest *m)
{
    m->tensors = ts->n;
    for (uint32_t i = 0; i < ts->n; i++) {
        const struct tdecl *d = &ts->t[i].d;
        struct slot_tensor *t = &m->tensor[i];

        *t = (struct slot_tensor){
            .dtype = d->dtype, .law = d->law, .flags = d->flags, .by = d->by, .live = d->live};
        memcpy(t->name, d->name, strlen(d->name) + 1);
        memcpy(t->dim, d->dim, sizeof t->dim);
    }
}

static void mark_backend(const struct worker *w, struct partition *p)
{
    p->m.flags &= ~((uint32_t)SLOT_BACKENDS << SLOT_BACKEND_SHIFT);
    p->m.flags |= device_mark(w->compute) << SLOT_BACKEND_SHIFT;
}

/* A state may go on elsewhere; its bits are then of both. */
static void note_move(const struct worker *w, struct partition *p)
{
    if (p->m.flags >> SLOT_BACKEND_SHIFT == device_mark(w->compute))
        return;
    if (p->m.trained) {
        p->m.flags |= SLOT_LOOSE;
        log_line(LOG_INFO, "a state moves to another back end: its bits are of both from here on",
                 "partition=%" PRIu32 " backend=%s records=%" PRIu64, p->p, w->compute->name,
                 p->m.trained);
    }
    mark_backend(w, p);
}

static enum st adopt(struct worker *w, struct partition *p, const struct image *im)
{
    struct slot_chunk *chunk = p->m.chunk;
    uint32_t max = p->m.chunks_max;

    tensors_zero(&p->state); /* all dirty once */
    TRY(im->m.state_version == w->algo->state_version
            ? image_state(im, w->algo, &w->host, &p->state)
            : upgrade(w, p, im));
    tensors_send(&p->state);
    p->m = im->m;
    p->m.chunk = chunk;
    p->m.chunks_max = max;
    p->m.chunks = tensors_chunks(&p->state);
    if (p->m.state_version != w->algo->state_version)
        p->m.flags |= SLOT_LOOSE;
    note_move(w, p);
    p->m.state_version = w->algo->state_version;
    p->m.state_bytes = p->state.bytes;
    describe_tensors(&p->state, &p->m); /* after an upgrade they are others */
    return ST_OK;
}

/* Of two states with one position, one that has pulled is the later. */
static bool local_is_later(const struct manifest *local, const struct manifest *slot)
{
    int c = position_cmp(local->pos, slot->pos);

    return c ? c > 0 : !(local->flags & SLOT_WAIT) || slot->flags & SLOT_WAIT;
}

enum st partition_begin(struct worker *w, struct partition *p, int64_t begin, int64_t end)
{
    tensors_zero(&p->state);
    TRY(w->algo->init(&w->x, &p->state));
    CHECK(!*w->job->start_from || w->start);
    if (w->start)
        TRY(start_partition(w, p));
    p->m.partition = p->p;
    p->m.pos = (struct position){.run = w->run, .offset = begin};
    p->m.begin = begin;
    p->m.end = end;
    p->m.epochs = w->job->epochs;
    p->m.last_offset = -1;
    p->m.seq = 1;
    p->m.partitions = w->partitions;
    p->m.life = w->life;
    p->m.job = w->fingerprint;
    memcpy(p->m.algo, w->algo->name, strlen(w->algo->name) + 1);
    p->m.state_version = w->algo->state_version;
    p->m.chunk_bytes = CHUNK_BYTES;
    p->m.state_bytes = p->state.bytes;
    p->m.chunks = tensors_chunks(&p->state);
    describe_tensors(&p->state, &p->m);
    mark_backend(w, p);
    if (begin >= end)
        p->m.flags |= SLOT_DONE;
    p->moved = true;
    return ST_OK;
}

static enum st read_local(struct worker *w, uint32_t number, uint32_t run, struct image *im,
                          bool *found)
{
    enum st st = checkpoint_manifest(w->cp, number, &im->m, w->err);

    *found = false;
    if (st == ST_AGAIN)
        return ST_OK;
    TRY(st);
    if (im->m.job != w->fingerprint || im->m.pos.run < run) {
        log_line(LOG_WARN,
                 im->m.pos.run < run ? "local state set aside: the job was reset"
                                     : "local state of another job set aside (" FINGERPRINT_WORDS
                                       " differ)",
                 "partition=%" PRIu32 " folder=%s", number, w->job->state_dir);
        checkpoint_begin(w->cp);
        checkpoint_drop(w->cp, number);
        return checkpoint_commit(w->cp, w->err);
    }
    *found = true;
    TRY(image_ready(im, w->err));
    return checkpoint_load(w->cp, &im->m, take_local, im, w->err);
}

enum st restore_checkpoint(struct worker *w, struct partition *p)
{
    struct image im = {.bytes_max = w->memory_max};
    uint64_t seq = p->m.seq;
    bool found = false;
    enum st st = image_init(&im, w->err);

    if (st == ST_OK)
        st = read_local(w, p->p, w->run, &im, &found);
    CHECK(st != ST_OK || found); /* the first is made before anything is learned */
    if (st == ST_OK)
        st = adopt(w, p, &im);
    image_fini(&im);
    p->m.seq = seq;
    return st;
}

enum st check_slot(struct worker *w, uint32_t number, const struct manifest *m)
{
    if (m->job == w->fingerprint)
        return ST_OK;
    return fail(w->err, ST_BAD_CONFIG,
                "topic %s partition %" PRIu32
                " holds the slot of another job (algorithm %s): " FINGERPRINT_WORDS
                " differ from this one. Use a new job name, or reset this one",
                w->job->topic_params, number, m->algo);
}

static enum st restore_one(struct worker *w, struct slot_reader *r, struct image *local,
                           struct image *slot, uint32_t number)
{
    struct partition *p = &w->part[number];
    bool have_local, have_slot, local_wins;

    TRY(partition_alloc(w, p));
    TRY(slot_read(r, number, slot, &have_slot, w->err));
    TRY(range_run(w, slot->run));
    if (have_slot)
        TRY(check_slot(w, number, &slot->m));
    TRY(read_local(w, number, slot->run, local, &have_local));
    local_wins = have_local && (!have_slot || local_is_later(&local->m, &slot->m));
    if (have_local || have_slot)
        TRY(adopt(w, p, local_wins ? local : slot));
    p->fresh = !have_local && !have_slot;
    if (have_slot) {
        p->sent = slot->m.pos;
        p->m.seq = slot->m.seq + 1;
    }
    p->m.flags &= ~(uint32_t)SLOT_STOPPED; /* it is tried again */
    p->adopted = have_slot && !local_wins;
    p->unsent = !have_slot || position_cmp(p->m.pos, p->sent) != 0 || p->m.end != slot->m.end ||
                p->m.flags != slot->m.flags;
    p->phase = PHASE_RESTORED;
    w->owned++;
    return ST_OK;
}

static void restored(const struct worker *w, struct partition *p)
{
    round_restored(w, p);
    p->last_offset = p->m.last_offset;
    p->last_fingerprint = p->m.last_fingerprint;
    p->next = p->m.pos.offset;
    log_line(LOG_INFO, "restored",
             "partition=%" PRIu32 " from=%s epoch=%" PRIu32 " offset=%" PRId64 " records=%" PRIu64,
             p->p,
             p->fresh     ? "new"
             : p->adopted ? "slot"
                          : "local",
             p->m.pos.epoch, p->m.pos.offset, p->m.trained);
    p->fresh = false;
}

/* Where there is a last trained record, reading starts with it, to compare it. */
static enum st read_on(struct worker *w, const struct start *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct partition *p = &w->part[s[i].partition];
        bool check = p->m.last_offset >= 0;

        CHECK(p->phase == PHASE_RESTORED);
        p->phase = p->m.flags & SLOT_DONE ? PHASE_DONE : check ? PHASE_CHECKING : PHASE_RUNNING;
        w->done += p->phase == PHASE_DONE;
        w->running += p->phase == PHASE_RUNNING;
    }
    return consume_positions(w);
}

static enum st restore_all(struct worker *w, struct slot_reader *r, struct start *s, uint32_t n)
{
    struct image *im = calloc(2, sizeof *im);
    enum st st = ST_OK;
    bool fresh = false;

    if (!im)
        return fail(w->err, ST_FATAL, "no memory to restore");
    im[0].bytes_max = im[1].bytes_max = w->memory_max;
    im[0].m.chunk = calloc(SLOT_CHUNKS_MAX, sizeof *im[0].m.chunk);
    im[0].m.chunks_max = SLOT_CHUNKS_MAX;
    if (!im[0].m.chunk)
        st = fail(w->err, ST_FATAL, "no memory to restore");
    for (uint32_t i = 0; st == ST_OK && i < n; i++) {
        st = restore_one(w, r, &im[0], &im[1], (uint32_t)s[i].partition);
        fresh |= w->part[s[i].partition].fresh;
    }
    if (st == ST_OK && fresh)
        st = start_read(w, &(struct slot_reader){.meanwhile = stay_member, .arg = w});
    if (st == ST_OK)
        st = range_restored(w, r, &im[1], s, n);
    for (uint32_t i = 0; st == ST_OK && i < n; i++)
        restored(w, &w->part[s[i].partition]);
    start_end(w);
    image_fini(&im[0]);
    image_fini(&im[1]);
    free(im);
    return st;
}

/* Where [begin, end) is new, it is published before any training. */
static enum st publish_ends(struct worker *w)
{
    enum st st = ST_AGAIN;

    TRY(checkpoint(w, true));
    for (int i = 0; st == ST_AGAIN && i < PUBLISH_TRIES; i++)
        st = publish_end(w, publish(w, false));
    if (st == ST_AGAIN)
        return fail(w->err, ST_FATAL, "the first slots could not be published in %d tries: %s",
                    PUBLISH_TRIES, strdupa(w->err->text));
    return st;
}

enum st restore_partitions(struct worker *w, const struct start *assigned, uint32_t n)
{
    struct slot_reader r = {.meanwhile = stay_member, .arg = w};
    struct start s[PARTITIONS_MAX];
    bool fresh = false;
    enum st st;

    CHECK(n <= w->partitions);
    if (n)
        memcpy(s, assigned, n * sizeof *s);
    st = slot_reader_open(&r, w->br, w->b, w->job->topic_params, w->err);
    if (st == ST_OK)
        st = restore_all(w, &r, s, n);
    slot_reader_close(&r);
    TRY(st);
    w->owner = n && s[0].partition == 0;
    if (w->owner)
        TRY(snapshot_restore(w, stay_member));
    for (uint32_t i = 0; i < n; i++)
        fresh |= w->part[s[i].partition].moved;
    if (fresh)
        TRY(publish_ends(w));
    if (!w->job->files_n) /* of files nothing is fetched ahead, and a small one is soon learned */
        memory_reserve(w->heap_bytes);
    return read_on(w, s, n);
}
