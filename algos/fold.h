/* fold.h: slots of partitions become one view, by the merge law of each tensor (enum law).
 *
 * Life: view_declare, tensors_alloc, fold_init; then fold_begin, fold_add for each slot, fold_end,
 * as often as wanted; fold_fini.
 *
 * Shapes: where the algorithm declares a VIEW of its own, the view is that, then the state's shared
 * "@" tensors, folded by their laws. Else it has the ids and names of the state: SUM and MEAN as
 * f64, the others as they are; LOCAL tensors are absent (dim[0] is 0) but keep their ids.
 *
 * Laws over slots p = 0, 1, ... with weight c_p:
 *   SUM        sum of c_p t_p
 *   MEAN       sum of c_p n_p t_p / sum of c_p n_p, row by row where tensor `by` has a count for
 *              each; a row that no slot has learned keeps the first slot's value: the seeded start
 *   MIN, MAX   element by element
 *   SAME       checked: ST_CORRUPT names tensor and partition
 *   FOLD       the algorithm's fold(), called once a slot, after the laws
 *
 * Sums run in slot order in f64, so the result is a function of the slots alone: folding twice
 * gives the same bytes. Memory is the view and one slot; slots come in ascending partition order,
 * which is checked.
 *
 * Owner: the caller owns view and slots. Memory: views, and x and its scratch, are of a back end
 * whose memory is the host's; slots of any. Thread: one. Errors: after a failed fold_add the fold
 * is fit for fold_begin() or fold_fini(). */
#ifndef MILLRACE_FOLD_H
#define MILLRACE_FOLD_H

#include "algos/tensors.h"

struct fold {
    const struct algo *a;
    const struct ctx *x;
    const struct tensors *state; /* a declared state: gives the laws; need not be allocated */
    struct tensors *view;
    bool own; /* the algorithm has declared a VIEW */
    uint32_t slots;
    int64_t last;   /* partition of the last slot; -1 at first */
    double *weight; /* per MEAN tensor and leading row: sum of weights so far; owned by the fold */
    uint64_t weights;
};

/* Declares the view for states laid out as `state`, whose "@" tensors it takes over; take its
 * memory with tensors_alloc(). ST_BAD_CONFIG: over bytes_max. */
MUST enum st view_declare(struct tensors *view, const struct algo *a, const struct tensors *state,
                          const struct shape *sh, const void *opts, uint64_t bytes_max,
                          struct err *e);

/* Start only: allocates `weight`. x, state and view stay the caller's and must outlive f. */
MUST enum st fold_init(struct fold *f, const struct algo *a, const struct ctx *x,
                       const struct tensors *state, struct tensors *view);
void fold_begin(struct fold *f); /* zeroes the view */
MUST enum st fold_add(struct fold *f, const struct slot *s);
/* Divides the means, then calls the algorithm's fold_end; ST_AGAIN: there was no slot. */
MUST enum st fold_end(struct fold *f);
void fold_fini(struct fold *f); /* safe on a zeroed struct */

/* A pull: moves a class D state, with the ctx that it is learned with, onto the view: by the
 * algorithm's rebase(), else each T_PULL tensor is overwritten by the view's of the same name. */
MUST enum st view_rebase(const struct ctx *x, const struct algo *a, struct tensors *state,
                         const struct tensors *view);

#endif
