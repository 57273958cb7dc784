/* update.c: test, then train: every batch is scored with the state as it is (prequential loss),
 * then learned. */
#include "algos/halving.h"
#include "algos/metrics.h"
#include "consumer/worker.h"

void batch(struct worker *w, struct partition *p)
{
    CHECK(p->phase == PHASE_RUNNING);
    batch_begin(&w->batch, &p->block, p->p, p->m.pos.epoch, *partition_batches(p));
}

enum st update(struct worker *w, struct partition *p, const struct rows *r)
{
    double before = w->shape.halving ? halving_rows(&p->state) : 0;

    CHECK(r->n && r->train <= r->n);
    TRY(w->algo->update(&w->x, &p->state, r, &w->eval));
    metrics_add(&p->state, &w->shape, r, &w->eval);
    return p->p == 0 ? halving_step(&w->x, w->algo, &p->state, before) : ST_OK;
}
