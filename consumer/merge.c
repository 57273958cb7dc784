/* merge.c: the states of all partitions become the job's view, in partition order. */
#include "config/base/log.h"
#include "consumer/worker.h"

#include <inttypes.h>

enum st merge(struct worker *w)
{
    CHECK(w->owned == w->partitions);
    fold_begin(&w->fold);
    for (uint32_t i = 0; i < w->partitions; i++) {
        struct slot s = {&w->part[i].state, 1, i};

        if (partition_counts(&w->part[i]))
            TRY(fold_add(&w->fold, &s));
        else
            log_line(LOG_WARN, "the model is without this partition: its state is not finite",
                     "partition=%" PRIu32, i);
    }
    return fold_end(&w->fold);
}
