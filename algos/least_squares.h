/* least_squares.h: what least_squares.c (learning, scoring), least_squares_options.c (options,
 * tensors) and least_squares_fit.c (coefficients from sums, models) share; and the options struct,
 * which tests fill by hand. Not for other algorithms.
 *
 * Shapes: D features, C = D + 2 columns of moments.h (1, features, label), F folds, B rows of a
 * batch. Coefficients are [D + 1], the last one the intercept. */
#ifndef MILLRACE_LEAST_SQUARES_H
#define MILLRACE_LEAST_SQUARES_H

#include "algos/moments.h"

struct least_squares_opts {
    uint32_t folds, batch;
};

struct least_squares_derive {
    float l2, l1;
    uint32_t features; /* 0 (auto): all */
    bool standardize;
};

enum {          /* state; the view has the same ids, without W and HEAD */
       LS_SUMS, /* f64[F, C (C + 1) / 2] of moments.h */
       LS_W, /* f64[D + 1] host: coefficients that rows are scored with before they are learned */
       LS_HEAD, /* f64[HEAD_N] host */
};
enum {
    HEAD_WEIGHT, /* of all rows learned, as they count now */
    HEAD_SINCE,  /* of those learned since W was made */
    HEAD_MADE,   /* 1: there is a W */
    HEAD_LEAST,  /* label learned; 0 as long as there is no W, */
    HEAD_MOST,   /* and the greatest */
    HEAD_N
};

enum {                 /* model */
       LS_MODEL_W,     /* f64[D + 1] */
       LS_MODEL_SPREAD /* f64[D] deviation of each feature */
};

enum { /* work */
       WORK_MOMENTS,
       WORK_SUM = MOMENTS_WORK, /* f64[C (C + 1) / 2] host: one triangle of sums, */
       WORK_PART,               /* and one that is added to it */
       WORK_S,                  /* f64[D + 1, D + 1] host: about the means; label last */
       WORK_A,                  /* f64[D, D] host: the equations */
       WORK_EIGEN,              /* f64[lapack_eigen_work(D)] host */
       WORK_VEC,                /* f64[VEC_N, D + 1] host */
       WORK_AT,                 /* u32[2, D] host: the columns of the equations; those chosen */
       WORK_OUT                 /* f32[2, B] host: predictions, losses */
};
enum { VEC_MEAN, VEC_UNIT, VEC_RIGHT, VEC_B, VEC_SLOPE, VEC_SPARE, VEC_N };

enum { LS_FEATURES_MAX = 16000 };

struct ls {
    struct moments m;
    uint32_t d;
};

/* least_squares_options.c */

extern const struct opt least_squares_options[], least_squares_derive_options[];
extern const struct port least_squares_ports[];

struct ls ls_of(const struct shape *sh, const void *opts); /* of a checked shape and its options */
MUST enum st least_squares_check(struct shape *sh, void *opts, struct err *e);
MUST enum st least_squares_declare(struct decl *d, enum part p, const struct shape *sh,
                                   const void *opts, const void *derive_opts);

/* least_squares_fit.c */

/* Some sweeps of coordinate descent from w[D + 1] towards the ridge regression of the sums of one
 * triangle with l2 = D / W: the same w to the bit on every machine. */
void ls_improve(const struct ctx *x, const struct ls *l, const double *sum, double *w);
MUST enum st least_squares_derive(const struct ctx *x, const struct tensors *view,
                                  const void *derive_opts, struct tensors *model,
                                  struct measures *m);

#endif
