/* fm.h: what fm.c (learning, scoring), fm_options.c (options, tensors) and fm_merge.c (rows by
 * number, merging, models) share, and the options struct, which tests fill by hand. Not for other
 * algorithms.
 *
 * Shapes: D features, M packed models, K factors, Z = M * K columns, model m owning columns [m K,
 * (m + 1) K). n... are AdaGrad's sums of squared gradients, from 1 on. */
#ifndef MILLRACE_FM_H
#define MILLRACE_FM_H

#include "algos/algo.h"

enum fm_loss { FM_SQUARED, FM_LOGISTIC };
enum { FACTORS_MAX = 1000 };

struct fm_opts {
    uint32_t loss, factors, batch;
    float init_deviation;
    struct f32s learning_rate, l2, factors_l2; /* the grid: learning_rate slowest */
};

struct fm_derive {
    uint32_t model;   /* 1 .. M; auto (0) is resolved by the caller */
    uint32_t factors; /* 1 .. K; 0: K */
};

enum {           /* state */
       FM_HEAD,  /* f64[HEAD_N] host */
       FM_W0,    /* f32[2, M] the constants, and n of them */
       FM_W,     /* f32[D, M]; all four are 0 in a row whose count is 0 */
       FM_NW,    /* f32[D, M] over HEAD_KEPT */
       FM_V,     /* f32[D, Z] */
       FM_NV,    /* f32[D, Z] over HEAD_KEPT */
       FM_COUNT, /* f32[D] weight of the rows that had the feature, over HEAD_KEPT */
       FM_GRID   /* f32[GRID_ROWS, Z] the setting of each column */
};
enum {
    HEAD_WEIGHT, /* of the rows learned, */
    HEAD_SUM,    /* of their labels times it; both with the half-life */
    HEAD_BASE,   /* what w0 holds of the labels' mean */
    HEAD_KEPT,   /* what the half-life has left of a row of long ago since the sums were scaled */
    HEAD_N
};
/* RATE and NONE (zeros) for Z columns, FACTORS_L2 too; W_RATE and W_L2 for M */
enum { GRID_RATE, GRID_NONE, GRID_FACTORS_L2, GRID_W_RATE, GRID_W_L2, GRID_ROWS };

enum {          /* view: sums over slots until fold_end, then means */
       FV_HEAD, /* f64[2] weight, sum of labels */
       FV_W0,   /* f64[2, M] */
       FV_W,    /* f64[D, M] */
       FV_NW,   /* f64[D, M] */
       FV_V,    /* f64[D, Z] */
       FV_NV,   /* f64[D, Z] */
       FV_COUNT /* f64[D] */
};

enum {           /* model */
       MFM_W0,   /* f32[1] */
       MFM_W,    /* f32[D] */
       MFM_V,    /* f32[D, k] */
       MFM_N0,   /* where k = K, what learning goes on from: f32[1], */
       MFM_NW,   /* f32[D], */
       MFM_NV,   /* f32[D, k], */
       MFM_LABEL /* f32[2] weight and sum of the labels */
};

enum {          /* work; R rows: features a batch has at most, dense: all */
       FW_RAW,  /* f32[B, M] outputs without w0; score: [B, 1] */
       FW_Z,    /* f32[B, M] outputs, where the caller wants none */
       FW_E,    /* f32[B, M] weight * dloss/dz */
       FW_LOSS, /* f32[B, M] */
       FW_S,    /* f32[B, Z] X V */
       FW_Q,    /* f32[B, Z] X^2 V^2; then e S */
       FW_X2,   /* f32[entries of a batch, or B * D] squares of the values; dense: first, is it 0 */
       FW_G,    /* f32[R, Z] V^2; then the gradient of V */
       FW_GW,   /* f32[R, M] gradient of w */
       FW_H,    /* f32[R, M] X^2' e */
       FW_HAD,  /* f32[R] weight of the rows of this batch that have the feature */
       FW_SEEN, /* f32[R] of count */
       FW_TW,   /* f32[R, .] sparse: the touched rows of w, nw, v, nv */
       FW_TNW,
       FW_TV,
       FW_TNV,
       FW_ROW,       /* f32[2 (M + Z)] host: one row of w, nw, v, nv */
       FW_HOST_HAD,  /* f32[R] host */
       FW_HOST_SEEN, /* f32[R] host */
       FW_HOST_W0,   /* f32[2, M] host */
       FW_OUT,       /* f32[B] host: what score() finishes */
       FW_EIGEN      /* f64 host: [K, K], [K], room for lapack_eigen() */
};

struct fm {
    const struct fm_opts *o;
    uint32_t b, d, m, k, z, r; /* batch rows, D, M, K, Z, R */
    bool sparse;
};

struct fm_row { /* of a state, in FW_ROW */
    float *w, *nw, *v, *nv;
};

/* fm_options.c */

extern const struct opt fm_options[], fm_derive_options[];
extern const struct port fm_ports[];

/* Of a checked shape and its options. */
struct fm fm_of(const struct shape *sh, const void *opts);

struct fm_setting {
    float rate, l2, factors_l2;
};
/* The point of the grid that packed model m, 0 .. M - 1, trains with. */
struct fm_setting fm_setting(const struct fm_opts *o, uint32_t m);

MUST enum st fm_check(struct shape *sh, void *opts, struct err *e);
MUST enum st fm_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                        const void *derive_opts);
MUST enum st fm_init(const struct ctx *x, struct tensors *s);

/* fm_merge.c */

/* The start of packed model m in feature j: w = 0, v drawn, n = 1 / kept. */
void fm_draw(const struct ctx *x, uint64_t j, uint32_t m, double kept, struct fm_row to);
/* FW_ROW, cut up. */
struct fm_row fm_row_room(const struct ctx *x);
void fm_row_get(const struct ctx *x, const struct tensors *s, uint64_t j, struct fm_row k);
void fm_row_put(const struct ctx *x, struct tensors *s, uint64_t j, struct fm_row k);
/* w0's share of the labels' mean: the mean, or the log odds of class 1. */
double fm_base(const struct fm *l, double weight, double sum);
/* Puts the bad[M] of the packed models back to their start. */
void fm_restart(const struct ctx *x, struct tensors *s, const bool *bad);
/* Takes HEAD_KEPT into the sums, and drops the features that are all but forgotten. */
void fm_rescale(const struct ctx *x, struct tensors *s);

MUST enum st fm_fold(const struct ctx *x, struct tensors *view, const struct slot *slot);
MUST enum st fm_fold_end(const struct ctx *x, struct tensors *view);
MUST enum st fm_rebase(const struct ctx *x, struct tensors *s, const struct tensors *view);
MUST enum st fm_start(const struct ctx *x, const struct tensors *model, uint32_t partition,
                      struct tensors *s);
MUST enum st fm_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                       struct tensors *model, struct measures *m);

#endif
