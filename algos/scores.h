/* scores.h: what the held-out scores of a classifier of two classes say, from their histogram of
 * metrics.h (f64[2, METRIC_BINS]: weight by class and bin): measures at a threshold, the threshold
 * that a criterion wants, and calibrated probabilities.
 *
 * Thresholds are edges of bins: a row is of class 1 where z >= metrics_edge(edge). What a histogram
 * says of an edge is exact, for bins are; between edges nothing is known, so the best threshold is
 * missed by less than a bin, 1/32.
 *
 * Calibration is isotonic regression (Zadrozny and Elkan, KDD 2002) by pooling adjacent violators:
 * the probability of class 1, by bin, that does not fall in z and is nearest to the shares seen. In
 * between bins that have rows it goes straight. One row more of the other class in the lowest and
 * in the highest bin that has any keeps it from 0 and 1, which no number of rows can show and for
 * which one mistake would cost an infinite log-loss.
 *
 * Thread: any. Memory: the stack. */
#ifndef MILLRACE_SCORES_H
#define MILLRACE_SCORES_H

#include "algos/metrics.h"

enum criterion {
    CRITERION_NONE,     /* z > 0 */
    CRITERION_ACCURACY, /* the most rows right */
    CRITERION_F1,
    CRITERION_F_BETA,
    CRITERION_PRECISION, /* the most precision with at least target_recall */
    CRITERION_RECALL     /* the most recall with at least target_precision */
};

struct criterion_opts {
    enum criterion criterion;
    double f_beta, target_recall, target_precision;
};

struct cut {
    uint32_t edge; /* 0 .. METRIC_BINS */
    double accuracy, precision, recall, f1;
    double value; /* of the criterion */
};

/* Measures of the rows of bin `edge` and above as class 1. Precision is NaN where there are none,
 * recall where no row is of class 1. value is set for a criterion, and NaN where a target is
 * missed. */
struct cut scores_cut(const double *hist, uint32_t edge, const struct criterion_opts *o);

/* The edge with the most value: of the highest stretch of edges that have it, the middle one.
 * False: rows of only one class, or a target that no edge reaches. */
bool scores_best(const double *hist, const struct criterion_opts *o, struct cut *best);

/* p[METRIC_BINS]. one_row: what a row weighs on average. False: rows of only one class. */
bool scores_calibrate(const double *hist, double one_row, float *p);

/* Of the rows of the histogram, given a probability of class 1 by bin. */
double scores_brier(const double *hist, const float *p);
double scores_log_loss(const double *hist, const float *p);

/* 1 / (1 + exp(-z)) in the middle of each bin: what log odds are without calibration. */
void scores_logistic(float *p);

#endif
