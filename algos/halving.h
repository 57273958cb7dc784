/* halving.h: successive halving of packed models (Jamieson and Talwalkar, AISTATS 2016): all begin,
 * and after N, 2 N, 4 N, ... learned rows the worse half of those that are left stops, so that the
 * budget of rows goes to the good ones.
 *
 * Decided after a batch, when the rows that partition 0 has learned pass the next of these counts:
 * by its held-out losses, or, where it holds out nothing, its prequential ones; of an odd number
 * the middle one goes on, of equals the lower. A model that diverged is worse than all. So it is a
 * function of the records of partition 0, and a restart changes nothing. The others follow at their
 * next pull: for one partition, or with staleness 0, the whole job repeats.
 *
 * Kept in "@stopped" u8[models] (LAW_MAX: who is stopped anywhere is stopped in the view), declared
 * where shape.halving is N > 0. The algorithm's stop() gives up what the state keeps of a model,
 * and update() leaves LOSS_NONE for it from then on: its metrics stay as they were.
 *
 * Thread: one. Allocation: none. */
#ifndef MILLRACE_HALVING_H
#define MILLRACE_HALVING_H

#include "algos/algo.h"

/* "@stopped" of a state or a view: 1 where a model was; NULL: this job stops none. */
const uint8_t *halving_stopped(const struct tensors *ts);

/* Rows that the state has learned. */
double halving_rows(const struct tensors *state);

/* After a batch of partition 0, before which the state had learned `before` rows: stops who has to.
 * ST_OK where nothing is due. */
MUST enum st halving_step(const struct ctx *x, const struct algo *a, struct tensors *state,
                          double before);

/* Before a pull: stops in the state who is stopped in the view. */
MUST enum st halving_follow(const struct ctx *x, const struct algo *a, struct tensors *state,
                            const struct tensors *view);

#endif
