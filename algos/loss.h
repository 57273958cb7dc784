/* loss.h: losses by name (enum loss_kind), for those who have outputs and labels only: what one
 * prediction costs, and what the best constant one would have cost. Thread: any. Libm: yes. */
#ifndef MILLRACE_LOSS_H
#define MILLRACE_LOSS_H

#include "algos/algo.h"

/* Of output z, as update() leaves it in eval (POISSON: the mean), against label y:
 *   ABSOLUTE       |z - y|
 *   QUANTILE       q (y - z) where z < y, (1 - q) (z - y) above
 *   HUBER          (z - y)^2 / 2 up to |z - y| = delta, then delta (|z - y| - delta / 2)
 *   HINGE          max(0, 1 - s z), s = 2 y - 1
 *   SQUARED_HINGE  its square
 *   POISSON        z - y log z; log y!, which no model moves, is left out: it may be negative
 * NaN for LOSS_OF_OUT and ONE_VS_REST, which is of all outputs of a row. */
double loss_of(const struct shape *sh, double z, double y);

/* The least mean loss of a constant, from the sums that metrics.h keeps of labels: weight per
 * class, or weight, sum and squares. NaN where they do not say it: a median needs the labels, and
 * so do LOSS_OF_OUT's users, who have formulas of their own. */
double loss_baseline(const struct shape *sh, const double *label);

#endif
