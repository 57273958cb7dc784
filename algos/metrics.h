/* metrics.h: what the runtime measures of every algorithm, kept as "@metric.*" tensors inside the
 * state: checkpointed, published and merged (LAW_SUM) like all others.
 *
 * Prequential: each batch is scored with the state as it was before learning it ("test, then
 * train"), so the running mean of its loss needs no second data set (Gama, Sebastiao, Rodrigues
 * 2013). Learned rows go to the prequential sums, held-out rows to the held-out sums. A decayed sum
 * (half-life 16 batches by count of batches, so repeatable) shows the present. No-skill baseline:
 * from the same rows, the best constant prediction: log-loss of the class frequencies, or the
 * variance of the label. For OUT_MARGIN, held-out rows also fill score histograms of 1,024 bins
 * over z in [-16, 16], one for each class: any threshold, AUC and calibration come from them
 * afterwards.
 *
 * Shapes: @metric.train, @metric.recent, @metric.held f64[models, METRIC_N]; @metric.label f64[2,
 * max(classes, 3)] (train, held: weight per class, or n, sum, sum of squares); @metric.hist
 * f64[models, 2, 1024] (only OUT_MARGIN). Thread: one. No allocation. */
#ifndef MILLRACE_METRICS_H
#define MILLRACE_METRICS_H

#include "algos/algo.h"

enum {
    METRIC_ROWS,
    METRIC_WEIGHT,
    METRIC_LOSS,
    METRIC_HIT,
    METRIC_SE,
    METRIC_NONE,
    METRIC_SPARE1,
    METRIC_SPARE2,
    METRIC_N
};
enum { METRIC_DECLS = 5, METRIC_BINS = 1024 };

/* Fills d[METRIC_DECLS] with the declarations this shape needs, ids from first_id; returns how
 * many. */
uint32_t metrics_decls(struct tdecl *d, uint32_t first_id, const struct algo *a,
                       const struct shape *sh);

/* Adds one batch: rows, and e as update() left it (host memory). */
void metrics_add(struct tensors *state, const struct shape *sh, const struct rows *r,
                 const struct eval *e);

struct metric { /* of one packed model; NaN where it has no meaning or no rows */
    double rows, weight, loss, recent_loss;
    double accuracy;      /* MARGIN, LOGITS: share of hits by weight */
    double rmse;          /* VALUE */
    double baseline_loss; /* no-skill, same rows */
    double baseline_accuracy;
    double auc; /* MARGIN, held-out only */
};

/* From a state or a view; held: of the held-out rows. */
struct metric metrics_read(const struct tensors *ts, const struct shape *sh, uint32_t model,
                           bool held);

/* The packed model with the least held-out loss, else the least prequential loss; ties: lowest. */
uint32_t metrics_best(const struct tensors *ts, const struct shape *sh);

#endif
