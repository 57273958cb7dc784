/* fold.h: slots of partitions become one view, by the merge law of each tensor (enum law).
 *
 * The view has the ids and names of the state, SUM and MEAN as f64, no LOCAL; or, where the
 * algorithm declares a VIEW of its own, that. Memory is the view and one slot: fold_add() is called
 * once a slot, in ascending partition order, which is checked; the result is a function of the
 * slots alone, so folding twice gives the same bytes. Thread: one. */
#ifndef MILLRACE_FOLD_H
#define MILLRACE_FOLD_H

#include "algos/tensors.h"

struct fold {
    const struct algo *a;
    const struct ctx *x;
    const struct tensors *state; /* a declared state: gives the laws; need not be allocated */
    struct tensors *view;
    uint32_t slots;
    int64_t last;   /* partition of the last slot; -1 at first */
    double *weight; /* per MEAN tensor and leading row: sum of weights so far; owned by the fold */
    uint64_t weights;
};

/* Declares the view for states laid out as `state`; take it with tensors_alloc(). `extra`: see
 * tensors.h. */
MUST enum st view_declare(struct tensors *view, const struct algo *a, const struct tensors *state,
                          const struct shape *sh, const void *opts, uint64_t bytes_max,
                          struct err *e);

MUST enum st fold_init(struct fold *f, const struct algo *a, const struct ctx *x,
                       const struct tensors *state,
                       struct tensors *view); /* start only: allocates `weight` */
void fold_begin(struct fold *f);              /* zeroes the view */
MUST enum st fold_add(struct fold *f, const struct slot *s);
/* divides the means, calls the algorithm's fold_end; ST_AGAIN: no slot */
MUST enum st fold_end(struct fold *f);
void fold_fini(struct fold *f);

#endif
