/* merge.c: the states of all partitions become the job's view, in partition order. */
#include "consumer/worker.h"

enum st merge(struct worker *w)
{
    CHECK(w->owned == w->partitions);
    fold_begin(&w->fold);
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct slot s = {&w->part[i].state, 1, i};

        if (w->part[i].phase != PHASE_STOPPED)
            TRY(fold_add(&w->fold, &s));
    }
    return fold_end(&w->fold);
}
