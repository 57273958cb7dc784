/* update.c: test, then train: every batch is scored with the state as it is (prequential loss),
 * then learned. On a back end with memory of its own its losses come while the next one is learned,
 * and the last one's at the end of the block, so a state that is saved has all of them. */
#include "algos/halving.h"
#include "algos/metrics.h"
#include "consumer/worker.h"

void batch(struct worker *w, struct partition *p)
{
    CHECK(p->phase == PHASE_RUNNING);
    batch_begin(&w->batch, &p->block, p->p, p->m.pos.epoch, *partition_batches(p));
    handover_begin(&w->handover);
}

static void measure(const struct worker *w, struct partition *p, const struct lane *l)
{
    if (l)
        metrics_add(&p->state, &w->shape, &l->seen, &l->came);
}

static enum st update_there(struct worker *w, struct partition *p, const struct rows *r)
{
    struct handover *h = &w->handover;
    struct lane *at = handover_put(h, r);
    const struct lane *last;

    TRY(w->algo->update(&w->x, &p->state, &at->rows, &at->eval));
    measure(w, p, handover_learned(h));
    if (!r->last && !w->shape.halving) /* which goes by the losses of all that was learned */
        return ST_OK;
    if (handover_drain(h, &last) != ST_OK)
        return fail(w->err, ST_FATAL, "%s: the device failed; the last checkpoint stands",
                    w->compute->name);
    measure(w, p, last);
    return ST_OK;
}

enum st update(struct worker *w, struct partition *p, const struct rows *r)
{
    double before = w->shape.halving ? halving_rows(&p->state) : 0;

    CHECK(r->n && r->train <= r->n);
    if (w->compute->host_memory) {
        TRY(w->algo->update(&w->x, &p->state, r, &w->eval));
        metrics_add(&p->state, &w->shape, r, &w->eval);
    } else {
        TRY(update_there(w, p, r));
    }
    return p->p == 0 ? halving_step(&w->x, w->algo, &p->state, before) : ST_OK;
}
