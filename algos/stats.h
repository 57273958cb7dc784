/* stats.h: what the files of stats share: stats.c (learning, scoring), stats_options.c (options,
 * tensors), stats_sums.c (moments and pairs) and stats_view.c (merging, models); and the options
 * structs, which tests fill by hand. Not for other algorithms.
 *
 * Shapes: D columns, C values of a KLL sketch, T frequent values of a column, Q quantiles, H
 * frequent values of a model, N bins, B rows of a batch. */
#ifndef MILLRACE_STATS_H
#define MILLRACE_STATS_H

#include "algos/algo.h"
#include "algos/heavy.h"
#include "algos/hll.h"
#include "algos/kll.h"

enum { CORRELATION_AUTO, CORRELATION_TRUE, CORRELATION_FALSE };
enum { AUTO_PAIRS_MAX = 64 /* columns for which auto is true */, PAIRS_MAX = 1024 };

struct stats_opts {
    uint32_t correlation, quantile_k, distinct_bits, top;
};

struct stats_derive {
    struct f32s quantiles;
    uint32_t bins, top; /* top 0 (auto): 10, or the job's where that is less */
};

/* State; the view has the same ids. */
enum {
    ST_COUNT,   /* u64[D, COUNT_N] rows */
    ST_MOMENT,  /* f64[D, MOMENT_N] */
    ST_RANGE,   /* f32[D, 2] least and greatest value, where there is one */
    ST_ITEM,    /* f32[D, C] the sketch, */
    ST_LEVEL,   /* u32[D, KLL_LEVELS] its levels, */
    ST_COINS,   /* u64[D] and its compactions */
    ST_REG,     /* u8[D, 2^distinct_bits] */
    ST_TOP,     /* f32[D, T] */
    ST_TOP_N,   /* u64[D, T] */
    ST_TOP_OFF, /* u64[D] */
    ST_PAIR,    /* f64[D (D - 1) / 2, PAIR_N] of columns i > j at i (i - 1) / 2 + j; or absent */
};
enum { COUNT_ROWS /* with a value */, COUNT_MISSING, COUNT_ZEROS, COUNT_N };
/* Weight, mean, and sums of weight * (x - mean)^k. */
enum { MOMENT_W, MOMENT_MEAN, MOMENT_2, MOMENT_3, MOMENT_4, MOMENT_N };
/* Of the rows where both columns have a value: weight, means, squares about them, products. */
enum { PAIR_W, PAIR_MEAN_I, PAIR_MEAN_J, PAIR_2_I, PAIR_2_J, PAIR_PRODUCT, PAIR_N };

/* Model. */
enum {
    STM_COUNT,
    STM_MISSING,
    STM_ZEROS,
    STM_MIN,
    STM_MAX,
    STM_MEAN,
    STM_DEVIATION,
    STM_SKEWNESS,
    STM_KURTOSIS,
    STM_SHARE,    /* f32[Q] the shares that quantile is of */
    STM_QUANTILE, /* f32[D, Q] */
    STM_DISTINCT,
    STM_TOP_VALUE,  /* f32[D, H] */
    STM_TOP_COUNT,  /* f64[D, H] */
    STM_TOP_ERROR,  /* f64[D] */
    STM_HISTOGRAM,  /* f64[D, N] */
    STM_CORRELATION /* f64[D, D], with correlation */
};

enum { GROUP = 16 /* columns that are put together at once: a line of memory */ };

/* Work, host. */
enum {
    SW_KEEP,    /* u32[B] learned rows with weight, */
    SW_WEIGHT,  /* f64[B] and their weights */
    SW_COLUMN,  /* f32[GROUP, B] columns of them */
    SW_VALUE,   /* f32[B] values that are there, */
    SW_BY,      /* f64[B] and their weights */
    SW_SORT,    /* u32[2, B] */
    SW_RUN,     /* f32[max(B, T)] distinct values, ascending, */
    SW_RUN_N,   /* u64[max(B, T)] and how often each is there */
    SW_MERGE,   /* f32[B + 2 T] */
    SW_MERGE_N, /* u64[B + 2 T] */
    SW_LARGEST, /* u64[T + 1] */
    SW_KLL,     /* f32[KLL_BUFFERS, room] */
    SW_READ,    /* f32[C] */
    SW_UPTO,    /* f64[C] */
    SW_PIVOT,   /* f64[D] means of a batch; with pairs, */
    SW_ROW,     /* f64[3, D] a row less pivot, times weight, squared; and a mask */
    SW_ALL,     /* f64[2, D] sums of z, z^2 over rows where nothing is missing */
    SW_SUM,     /* f64[4, D, D] by i, j, over rows where i is there: w, w z_j, w z_j^2, w z_i z_j */
};

struct stats {
    uint32_t b, d, c, t, pairs, room; /* B, D, C, T, D (D - 1) / 2 or 0, of a KLL buffer */
    bool correlation;
};

/* stats_options.c */

extern const struct opt stats_options[], stats_derive_options[];
extern const struct port stats_ports[];

struct stats stats_of(const struct shape *sh, const void *opts);
MUST enum st stats_check(struct shape *sh, void *opts, struct err *e);
MUST enum st stats_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                           const void *derive_opts);
MUST enum st stats_init(const struct ctx *x, struct tensors *s);

/* Column j's sketch and frequent values. purpose: of the coins. */
enum { PURPOSE_UPDATE = 1, PURPOSE_FOLD };
struct kll stats_kll(const struct tensors *s, uint32_t j, uint32_t capacity);
struct kll_by stats_kll_by(const struct ctx *x, uint32_t purpose, uint32_t partition, uint32_t j);
struct heavy stats_heavy(const struct tensors *s, uint32_t j, uint32_t top);

/* stats_sums.c: what is added up, weighted, in f64 */

/* Adds the moments b to a. */
void moments_merge(double *a, const double *b);
/* Moments of n values with weights about their own mean. */
void stats_moments(const float *v, const double *w, uint32_t n, double *m);
void pair_merge(double *a, const double *b);
/* Adds the n rows in SW_KEEP to the pairs; SW_PIVOT has a value amid each column's. */
void pairs_add(const struct ctx *x, struct tensors *s, const struct feat *f, uint32_t n);
/* Is there no spread but that of rounding? */
static inline bool no_spread(double w, double mean, double squares)
{
    return !(squares > 1e-29 * w * mean * mean);
}

/* stats_view.c */

MUST enum st stats_intact(const struct ctx *x, const struct tensors *s);
MUST enum st stats_fold(const struct ctx *x, struct tensors *view, const struct slot *slot);
MUST enum st stats_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                          struct tensors *model, struct measures *m);

#endif
