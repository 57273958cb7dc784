/* metrics.h: what the runtime measures of every algorithm, kept as "@metric.*" tensors inside the
 * state: checkpointed, published and merged (LAW_SUM) like all others.
 *
 * Prequential: each batch is scored with the state as it was before learning it ("test, then
 * train"), so the running mean of its loss needs no second data set (Gama, Sebastiao, Rodrigues
 * 2013). Learned rows go to the prequential sums, held-out rows to the held-out sums. A decayed sum
 * (half-life 16 batches that learn, counted, so repeatable) shows the present.
 *
 * No-skill baseline: the best constant prediction for the same labels: accuracy and log-loss of the
 * class frequencies, or the deviation of the label and half its square, so a loss and its baseline
 * compare. Where it takes more than the sums of labels (loss.h), a loss has no baseline;
 * accuracy and RMSE have theirs. Of several targets there is none: the labels' sums are of the
 * first.
 *
 * For OUT_MARGIN, held-out rows also fill score histograms of 1,024 bins over z in [-16, 16], one
 * for each class: any threshold, AUC and calibration come from them afterwards. A model's early
 * scores say little of what it has become, so whenever the held-out rows have doubled, from 64 on,
 * what the histogram has is divided by 4: seven eighths of it are always of the last half of the
 * rows, and it never holds less than a seventh of what was held out.
 *
 * Losses come from update() unweighted; every mean here is weighted by the rows' weights. A row
 * whose loss is LOSS_NONE for a model counts in that model's METRIC_NONE and in nothing else; one
 * whose loss is NaN or infinite, in its METRIC_DIVERGED. Such a model has diverged, for good: the
 * sum over slots is not 0 where one slot's is not, so it is out of the choice in the view too.
 * OUT_NONE: rows and weights alone, e is not read. OUT_LOSS_ONLY: no label metrics.
 *
 * Shapes:
 *   @metric.train, .recent, .held   f64[models, METRIC_N]
 *   @metric.label  f64[2, max(classes, 3)], with ALGO_LABEL and an output; row 0 learned, row 1
 *                  held-out: weight per class, or (VALUE) weight, sum, squares of the first label
 *   @metric.hist   f64[models, 2, 1024], for OUT_MARGIN: class, bin
 *   @stopped       u8[models], where shape.halving is not 0: see halving.h
 *   z              [n, models] for MARGIN, [n, models * classes] for LOGITS, [n, models * T] with
 *                  T <= ny targets for VALUE, whose squared errors are added
 *
 * Thread: one. Allocation: none. */
#ifndef MILLRACE_METRICS_H
#define MILLRACE_METRICS_H

#include "algos/algo.h"

/* Columns, per packed model. */
enum {
    METRIC_ROWS,     /* rows with a prediction, as a count */
    METRIC_WEIGHT,   /* their weight */
    METRIC_LOSS,     /* sum of weight * loss */
    METRIC_HIT,      /* MARGIN, LOGITS: weight of rows whose class was predicted */
    METRIC_SE,       /* VALUE: sum of weight * (z - y)^2 */
    METRIC_NONE,     /* rows without a prediction */
    METRIC_DIVERGED, /* rows whose loss is not finite */
    METRIC_SPARE,
    METRIC_N
};
enum { METRIC_DECLS = 6, METRIC_BINS = 1024 };

/* Fills d[METRIC_DECLS] with the declarations this shape needs, ids from first_id
 * (tensors_declare() gives its own); returns how many. Strings are constants. */
uint32_t metrics_decls(struct tdecl *d, uint32_t first_id, const struct algo *a,
                       const struct shape *sh);

/* Where z belongs; what is beyond the ends goes into the end bins. Exact: z >= metrics_edge(k) if
 * and only if metrics_bin(z) >= k. */
static inline uint32_t metrics_bin(float z)
{
    float b = z * 32.0f;
    int32_t whole;

    if (!(b >= -METRIC_BINS / 2))
        return 0;
    if (b >= METRIC_BINS / 2)
        return METRIC_BINS - 1;
    whole = (int32_t)b;
    return (uint32_t)(whole - ((float)whole > b) + METRIC_BINS / 2);
}

/* Where bin k begins; 0 and METRIC_BINS: all numbers are at or above it, or none. */
float metrics_edge(uint32_t k);

/* Adds one batch: rows, and e as update() left it (host memory). Labels are valid: update() has
 * refused others. */
void metrics_add(struct tensors *state, const struct shape *sh, const struct rows *r,
                 const struct eval *e);

struct metric { /* of one packed model; NaN where it has no meaning or no rows */
    double rows, weight, loss;
    double recent_loss;   /* learned rows only */
    double accuracy;      /* MARGIN, LOGITS: share of hits by weight */
    double rmse;          /* VALUE */
    double baseline_loss; /* no-skill, same labels; NaN: see above */
    double baseline_accuracy, baseline_rmse;
    double auc; /* MARGIN, held-out only */
};

/* From a state or a view; held: of the held-out rows. Without "@metric" tensors: rows 0, else
 * NaN. */
struct metric metrics_read(const struct tensors *ts, const struct shape *sh, uint32_t model,
                           bool held);

/* The held-out scores of a packed model, f64[2, METRIC_BINS], or NULL where there are none. */
const double *metrics_hist(const struct tensors *ts, const struct shape *sh, uint32_t model);

bool metrics_has_diverged(const struct tensors *ts, uint32_t model);
uint32_t metrics_diverged(const struct tensors *ts, const struct shape *sh); /* how many have */

/* It diverged, or was stopped: no model is made of it. */
bool metrics_is_out(const struct tensors *ts, uint32_t model);

/* ST_FATAL: all packed models have diverged, but for those that were stopped. */
MUST enum st metrics_alive(const struct tensors *ts, const struct shape *sh, struct err *e);

/* Of the packed models that have not diverged nor been stopped, the one with the least held-out
 * loss, else (no held-out rows) the least prequential loss; ties, and no rows at all: lowest. */
uint32_t metrics_best(const struct tensors *ts, const struct shape *sh);

#endif
