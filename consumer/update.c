/* update.c: test, then train. Every batch is scored with the state as it is (prequential loss),
 * then learned. */
#include "algos/metrics.h"
#include "consumer/deadletter.h"

enum st update(struct worker *w, struct partition *p)
{
    struct block *b = &p->block;
    struct lineage l = {p->m.pos.run, p->m.pos.epoch, p->m.pos.offset,
                        p->next,      p->block_good,  LINEAGE_LEARNED};
    struct rows r;

    CHECK(p->phase == PHASE_RUNNING);
    CHECK(p->next >= p->m.pos.offset);
    if (p->next == p->m.pos.offset)
        return ST_OK;
    batch_begin(&w->batch, b, p->p, p->m.pos.epoch, *partition_batches(p));
    while (batch_next(&w->batch, &r)) {
        TRY(w->algo->update(&w->x, &p->state, &r, &w->eval));
        metrics_add(&p->state, &w->shape, &r, &w->eval);
    }
    *partition_batches(p) = w->batch.number;
    TRY(lineage_add(&p->m, l, w->err));
    p->m.pos.offset = p->next;
    p->m.trained += p->block_good;
    p->m.rejected += p->block_bad;
    if (p->last) {
        p->last_offset = p->last->offset;
        p->last_fingerprint = record_fingerprint(p->last);
        p->last = NULL;
    }
    p->m.last_offset = p->last_offset;
    p->m.last_fingerprint = p->last_fingerprint;
    w->rows += b->n;
    p->nulls += p->block_null;
    p->block_good = p->block_bad = p->block_null = 0;
    w->checkpoint_now |= p->letters.n >= LETTERS_BLOCK_BYTES;
    p->letters.block_n = p->letters.block_count = 0;
    p->moved = true;
    block_clear(b);
    return ST_OK;
}
