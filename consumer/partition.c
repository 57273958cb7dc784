/* partition.c: what happens to one partition's state: memory, ends of epochs, checkpoints. */
#include "config/base/log.h"
#include "consumer/deadletter.h"

#include <inttypes.h>
#include <stdlib.h>

enum st partition_alloc(struct worker *w, struct partition *p)
{
    uint32_t chunks = tensors_chunks(&w->declared), words = (chunks + 63) / 64;

    CHECK(!p->hash);
    p->state = w->declared;
    p->hash = calloc(chunks, sizeof *p->hash);
    p->changed = calloc(words, sizeof *p->changed);
    p->unpublished = calloc(words, sizeof *p->unpublished);
    p->m.chunk = calloc(chunks, sizeof *p->m.chunk);
    p->m.chunks_max = chunks;
    if (!p->hash || !p->changed || !p->unpublished || !p->m.chunk)
        return fail(w->err, ST_FATAL, "no memory for %" PRIu32 " chunks of partition %" PRIu32,
                    chunks, p->p);
    TRY(tensors_alloc(&p->state, w->compute, w->compute_self, w->err));
    TRY(letters_init(&p->letters, w->err));
    return block_init(&p->block, &w->decoded->shape, w->err);
}

void partition_free(struct worker *w, struct partition *p)
{
    uint32_t number = p->p;

    block_fini(&p->block);
    letters_fini(&p->letters);
    tensors_free(&p->state, w->compute, w->compute_self);
    free(p->m.chunk);
    free(p->unpublished);
    free(p->changed);
    free(p->hash);
    *p = (struct partition){.p = number};
}

uint64_t *partition_batches(struct partition *p)
{
    const struct tensor *t = tensors_find(&p->state, "@batch");

    CHECK(t && t->d.dtype == DT_U64);
    return t->u64;
}

void block_drop(struct worker *w, struct partition *p)
{
    if (!p->block.n && !p->block.records)
        return;
    w->bad -= p->block_bad;
    w->records -= p->block.records;
    letters_drop_block(&p->letters);
    block_clear(&p->block);
    p->block_good = p->block_bad = 0;
    p->last = NULL;
    p->next = p->m.pos.offset;
}

void partition_last(struct worker *w, struct partition *p)
{
    if (!p->last)
        return;
    p->last_offset = p->last->offset;
    p->last_fingerprint = record_fingerprint(p->last);
    p->last = NULL;
    if (w->known.offset < 0)
        guard_by(w, p);
}

/* [begin, end) is learned: the next epoch, or the end of the job for this partition. */
static enum st end_epoch(struct worker *w, struct partition *p)
{
    w->checkpoint_now = true;
    if (p->m.pos.epoch + 1 >= p->m.epochs) {
        p->m.flags |= SLOT_DONE;
        p->phase = PHASE_DONE;
        w->running--;
        w->done++;
        return ST_OK;
    }
    p->m.pos.epoch++;
    p->m.pos.offset = p->next = p->m.begin;
    *partition_batches(p) = 0;
    consume_forget(w, p->p);
    return consume_positions(w);
}

enum st partition_learned(struct worker *w, struct partition *p)
{
    struct lineage l = {p->m.pos.run, p->m.pos.epoch, p->m.pos.offset,
                        p->next,      p->block_good,  LINEAGE_LEARNED};

    CHECK(p->phase == PHASE_RUNNING && p->next >= p->m.pos.offset);
    *partition_batches(p) = w->batch.number;
    if (p->next > p->m.pos.offset)
        TRY(lineage_add(&p->m, l, w->err));
    p->m.pos.offset = p->next;
    p->m.trained += p->block_good;
    p->m.rejected += p->block_bad;
    partition_last(w, p);
    p->m.last_offset = p->last_offset;
    p->m.last_fingerprint = p->last_fingerprint;
    w->rows += p->block.n;
    p->block_good = p->block_bad = 0;
    w->checkpoint_now |= p->letters.n >= LETTERS_BLOCK_BYTES;
    p->letters.block_n = p->letters.block_count = 0;
    p->moved = true;
    block_clear(&p->block);
    if (p->next >= p->m.end)
        TRY(end_epoch(w, p));
    return p->phase == PHASE_RUNNING && p->m.trained >= p->edge ? round_ended(w, p) : ST_OK;
}

static enum st save_letter(void *arg, const struct dead_letter *d, struct err *e)
{
    return checkpoint_dead(arg, d, e);
}

/* all: also what has not changed since, because it goes to the slot's other place. */
static enum st save_partition(struct worker *w, struct partition *p, bool all)
{
    uint32_t chunks = tensors_chunks(&p->state);

    for (uint32_t j = 0; j < chunks; j++) {
        if (!all && !(p->changed[j >> 6] >> (j & 63) & 1))
            continue;
        checkpoint_chunk(w->cp, &p->m, j, p->state.base + ((size_t)j << p->state.chunk_shift),
                         tensors_chunk_bytes(&p->state, j));
        p->unpublished[j >> 6] |= (uint64_t)1 << (j & 63);
    }
    for (uint32_t i = 0; i < (chunks + 63) / 64; i++)
        p->changed[i] = 0;
    checkpoint_put(w->cp, &p->m);
    checkpoint_dead_published(w->cp, p->p, p->sent);
    return letters_each(&p->letters, save_letter, w->cp, w->err);
}

/* Is the state worth keeping? Finds its changed chunks on the way. */
static enum st scan_partition(struct worker *w, struct partition *p)
{
    uint32_t diverged = metrics_diverged(&p->state, &w->shape);

    TRY(tensors_scan(&p->state, p->hash, p->changed, w->err));
    TRY(metrics_alive(&p->state, &w->shape, w->err));
    if (diverged > p->diverged)
        log_line(LOG_WARN, "packed models diverged; the others go on, and one of them is chosen",
                 "partition=%" PRIu32 " diverged=%" PRIu32 " of=%" PRIu32, p->p, diverged,
                 w->shape.models);
    p->diverged = diverged;
    return ST_OK;
}

/* What the state has learned since the last checkpoint made it worthless: that checkpoint stands,
 * here and in the slot, which says so to the other workers, and nothing of this partition goes into
 * a model any more. */
static enum st stop_partition(struct worker *w, struct partition *p)
{
    CHECK(p->phase != PHASE_NONE && p->phase != PHASE_STOPPED);
    log_line(LOG_ERROR, "partition stopped: its state is not finite; the last checkpoint stands",
             "partition=%" PRIu32 " reason=\"%s\"", p->p, w->err->text);
    block_drop(w, p);
    w->running -= p->phase == PHASE_RUNNING;
    w->done -= p->phase == PHASE_DONE;
    w->stopped++;
    p->phase = PHASE_STOPPED;
    TRY(restore_checkpoint(w, p));
    p->m.flags |= SLOT_STOPPED;
    p->moved = true;
    return scan_partition(w, p);
}

enum st checkpoint(struct worker *w, bool to_publish)
{
    uint32_t moved = 0;

    TRY(same_topic(w));
    w->checkpoint_now = false;
    checkpoint_begin(w->cp);
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (to_publish)
            round_idle(w, p);
        p->moved |= to_publish && p->unsent;
        if (!p->moved && !p->adopted)
            continue;
        TRY(tensors_fetch(&p->state, w->err)); /* not the partition's fault */
        if (scan_partition(w, p) != ST_OK)
            TRY(stop_partition(w, p));
        TRY(save_partition(w, p, to_publish && w->iterative && w->job->staleness == 0));
        moved++;
    }
    if (!moved)
        return ST_OK;
    TRY(checkpoint_commit(w->cp, w->err));
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (!p->moved && !p->adopted)
            continue;
        letters_clear(&p->letters);
        p->unsent |= p->moved;
        p->moved = p->adopted = false;
        guard_by(w, p);
    }
    return ST_OK;
}
