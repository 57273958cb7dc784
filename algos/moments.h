/* moments.h: weighted sums of products of columns, per fold: all that least squares, principal
 * components and correlations need to know of the rows.
 *
 * The columns of a row are 1, its D features, its T targets: C = 1 + D + T of them, numbered so.
 * The state is one tensor, of one packed lower triangle a fold:
 *   sums f64[F, C (C + 1) / 2]    element (i, j), j <= i, at i (i + 1) / 2 + j: sum of w z_i z_j
 * so (0, 0) is the weight, (i, 0) the weighted sum of column i, (i, j) the sum of products. It is
 * a plain sum over rows: LAW_SUM merges it, T_DECAY says how it ages, a fold left out is subtracted
 * by leaving it out.
 *
 * Numbers. Features are f32, products of two have 48 bits, so f64 (53 bits) without a pivot keeps
 * what the rows hold: the error is some 1e-16 of the raw squares, which centring magnifies by
 * (mean / deviation)^2: 1e-8 for a column that varies by 1 part in 10,000. (A pivot per partition
 * would have to be moved at every merge.) A column whose squares about the mean are below
 * MOMENTS_FLAT of its raw squares, a variation of 1 part in a million, has few digits left, in f32
 * as well: it counts as constant.
 *
 * Cost a row: C^2 flops. State: 4 F C^2 bytes; scratch 12 B C + 8 C^2 for B rows of a batch.
 * Thread: any. Nothing is allocated. Tensors of the state are in compute space; what reads sums
 * takes them from a view, in host memory. */
#ifndef MILLRACE_MOMENTS_H
#define MILLRACE_MOMENTS_H

#include "algos/algo.h"

struct moments {
    uint32_t d, targets, c, folds, batch; /* D, T, C, F, B */
};
enum { MOMENTS_STATE = 1, MOMENTS_WORK = 2 }; /* how many tensors each part has */

#define MOMENTS_FLAT 1e-12

/* Dense features of port 0, the first `targets` labels of a row (none: 0), `folds` at least 1. */
struct moments moments_of(const struct shape *sh, uint32_t targets, uint32_t folds);
uint64_t moments_size(const struct moments *m); /* of one fold, in doubles: C (C + 1) / 2 */
static inline uint64_t moments_at(uint64_t i, uint64_t j) /* j <= i */
{
    return i * (i + 1) / 2 + j;
}

/* Declares the state's tensor, called "sums", with this id; the view's is the same, by its law. */
void moments_declare(struct decl *d, const struct moments *m, uint32_t id);
/* Declares the scratch that moments_add() needs: ids id .. id + MOMENTS_WORK - 1. */
void moments_declare_work(struct decl *d, const struct moments *m, uint32_t id);

/* Ages the sums by r->decay, then adds rows [0, train) of r. `id` is that of the state's tensor,
 * `work` the first of the scratch. */
void moments_add(const struct ctx *x, const struct moments *m, struct tensors *s, uint32_t id,
                 uint32_t work, const struct rows *r);

/* Of sums that were read back: ST_CORRUPT where a weight or a sum of squares is below 0. */
MUST enum st moments_intact(const struct moments *m, const struct tensor *sums, struct err *e);

/* Sums over all folds but `without` (folds or more: over all) into sum[moments_size()]. */
void moments_total(const struct moments *m, const struct tensor *sums, uint32_t without,
                   double *sum);
/* Of one triangle: mean[C - 1] of features, then targets; s[n, n], the lower triangle of the sums
 * of products about the means of the first n of them (D: features alone). Flat columns have rows of
 * zeros. Returns the weight, and sets nothing where that is 0. */
double moments_centred(const struct moments *m, const double *sum, uint32_t n, double *mean,
                       double *s);

#endif
