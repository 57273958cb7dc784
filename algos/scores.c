#include "algos/scores.h"

#include <math.h>

struct totals {
    double neg, pos;
};

static struct totals totals(const double *hist)
{
    struct totals t = {0, 0};

    for (uint32_t b = 0; b < METRIC_BINS; b++) {
        t.neg += hist[b];
        t.pos += hist[METRIC_BINS + b];
    }
    return t;
}

/* ---- thresholds ---- */

static double f_beta(double tp, double fp, double fn, double beta)
{
    double b = beta * beta;

    return (1 + b) * tp / ((1 + b) * tp + b * fn + fp);
}

/* tp, fp: weight of the rows of class 1 and 0 that are called class 1. */
static struct cut measured(uint32_t edge, double tp, double fp, struct totals t,
                           const struct criterion_opts *o)
{
    const double none = (double)NAN;
    struct cut c = {.edge = edge, .value = none};

    c.accuracy = (tp + (t.neg - fp)) / (t.neg + t.pos);
    c.precision = tp + fp > 0 ? tp / (tp + fp) : none;
    c.recall = t.pos > 0 ? tp / t.pos : none;
    c.f1 = f_beta(tp, fp, t.pos - tp, 1);
    switch (o->criterion) {
    case CRITERION_NONE:
        break;
    case CRITERION_ACCURACY:
        c.value = c.accuracy;
        break;
    case CRITERION_F1:
        c.value = c.f1;
        break;
    case CRITERION_F_BETA:
        c.value = f_beta(tp, fp, t.pos - tp, o->f_beta);
        break;
    case CRITERION_PRECISION:
        c.value = c.recall >= o->target_recall ? c.precision : none;
        break;
    case CRITERION_RECALL:
        c.value = c.precision >= o->target_precision ? c.recall : none;
    }
    return c;
}

struct cut scores_cut(const double *hist, uint32_t edge, const struct criterion_opts *o)
{
    double tp = 0, fp = 0;

    CHECK(edge <= METRIC_BINS);
    for (uint32_t b = METRIC_BINS; b-- > edge;) {
        fp += hist[b];
        tp += hist[METRIC_BINS + b];
    }
    return measured(edge, tp, fp, totals(hist), o);
}

/* Bins without rows leave all sums as they are, so a stretch of equals is one of equal bits. */
bool scores_best(const double *hist, const struct criterion_opts *o, struct cut *best)
{
    struct totals t = totals(hist);
    double tp = 0, fp = 0, most = -1;
    uint32_t from = 0, to = 0;

    if (!(t.neg > 0 && t.pos > 0))
        return false;
    for (uint32_t edge = METRIC_BINS + 1; edge-- > 0;) {
        struct cut c;

        if (edge < METRIC_BINS) {
            fp += hist[edge];
            tp += hist[METRIC_BINS + edge];
        }
        c = measured(edge, tp, fp, t, o);
        if (c.value == most && edge + 1 == from)
            from = edge;
        if (!(c.value > most))
            continue;
        most = c.value;
        from = to = edge;
    }
    if (most < 0)
        return false;
    *best = scores_cut(hist, from + (to - from) / 2, o);
    return true;
}

/* ---- calibration ---- */

struct pool {
    double pos, all;
    uint32_t first, last; /* bins */
};

/* Appends a bin and pools from there downwards while shares fall; returns how many pools there
 * are. */
static uint32_t pool_add(struct pool *p, uint32_t n, struct pool bin)
{
    p[n++] = bin;
    while (n > 1 && p[n - 2].pos * p[n - 1].all >= p[n - 1].pos * p[n - 2].all) {
        p[n - 2].pos += p[n - 1].pos;
        p[n - 2].all += p[n - 1].all;
        p[n - 2].last = p[n - 1].last;
        n--;
    }
    return n;
}

/* As far from 0 and 1 as a float can tell near 1. */
static float probability(double share)
{
    const double least = 0x1p-24;

    return (float)(share < least ? least : share > 1 - least ? 1 - least : share);
}

/* Shares of the pools in their bins, straight lines between them, and level at both ends. */
static void spread_out(const struct pool *pool, uint32_t n, float *p)
{
    double left = 0;
    uint32_t b = 0;

    for (uint32_t i = 0; i < n; i++) {
        double share = pool[i].pos / pool[i].all;
        uint32_t from = b;

        left = i ? left : share;
        for (; b < pool[i].first; b++)
            p[b] = probability(left + (share - left) * (b - from + 1) / (pool[i].first - from + 1));
        for (; b <= pool[i].last; b++)
            p[b] = probability(share);
        left = share;
    }
    for (; b < METRIC_BINS; b++)
        p[b] = probability(left);
}

static bool has_rows(const double *hist, uint32_t b)
{
    return hist[b] + hist[METRIC_BINS + b] > 0;
}

bool scores_calibrate(const double *hist, double one_row, float *p)
{
    struct pool pool[METRIC_BINS];
    struct totals t = totals(hist);
    uint32_t low = 0, high = METRIC_BINS - 1, n = 0;

    if (!(t.neg > 0 && t.pos > 0))
        return false;
    while (!has_rows(hist, low))
        low++;
    while (!has_rows(hist, high))
        high--;
    for (uint32_t b = low; b <= high; b++) {
        struct pool bin = {.pos = hist[METRIC_BINS + b], .all = hist[b], .first = b, .last = b};

        bin.pos += b == low ? one_row : 0;
        bin.all += bin.pos + (b == high ? one_row : 0);
        if (bin.all > 0)
            n = pool_add(pool, n, bin);
    }
    spread_out(pool, n, p);
    return true;
}

double scores_brier(const double *hist, const float *p)
{
    struct totals t = totals(hist);
    double sum = 0;

    for (uint32_t b = 0; b < METRIC_BINS; b++) {
        double q = (double)p[b];

        sum += hist[b] * q * q + hist[METRIC_BINS + b] * (1 - q) * (1 - q);
    }
    return sum / (t.neg + t.pos);
}

double scores_log_loss(const double *hist, const float *p)
{
    struct totals t = totals(hist);
    double sum = 0;

    for (uint32_t b = 0; b < METRIC_BINS; b++) {
        double q = (double)p[b];

        if (hist[b] > 0)
            sum -= hist[b] * log1p(-q);
        if (hist[METRIC_BINS + b] > 0)
            sum -= hist[METRIC_BINS + b] * log(q);
    }
    return sum / (t.neg + t.pos);
}

void scores_logistic(float *p)
{
    for (uint32_t b = 0; b < METRIC_BINS; b++)
        p[b] = (float)(1 / (1 + exp(-((double)b + 0.5 - METRIC_BINS / 2) / 32)));
}
