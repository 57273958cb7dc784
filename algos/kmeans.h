/* kmeans.h: what the files of kmeans share: kmeans.c (learning, scoring), kmeans_options.c
 * (options, tensors), kmeans_seed.c (first centres), kmeans_view.c (merging) and kmeans_derive.c
 * (models); and the options struct, which tests fill by hand. Not for other algorithms.
 *
 * Shapes: D features, K centres of a slot, W rows of the warm-up, P slots, k clusters of a model, B
 * rows of a batch. Centres are kept relative to `shift`, the mean of the slot's first rows: |x -
 * c|^2 is computed as |x|^2 - 2 x c + |c|^2, which loses the digits that a common offset takes. */
#ifndef MILLRACE_KMEANS_H
#define MILLRACE_KMEANS_H

#include "algos/algo.h"

struct kmeans_opts {
    uint32_t k, extra_centers, batch, warmup;
};

struct kmeans_derive {
    uint32_t k; /* 0 (auto): the job's k */
};

/* State. */
enum {
    KM_CENTRE,      /* f32[K, D] */
    KM_N,           /* f64[K] host: weight of the rows each is the mean of */
    KM_SSE,         /* f64[1] host: sum of weight * |x - mean of its centre's rows|^2 */
    KM_SHIFT,       /* f32[D] */
    KM_HEAD,        /* u64[HEAD_N] host */
    KM_WARM,        /* f32[W, D] rows kept until there are centres; then zero again */
    KM_WARM_WEIGHT, /* f32[W] host */
};
enum { HEAD_LIVE /* rows in warm */, HEAD_SEEDED /* 1: there are centres */, HEAD_N };

/* View: the union of the slots' centres. */
enum {
    KV_POINT, /* f32[P K, D], relative to the view's shift */
    KV_N,     /* f64[P K] */
    KV_SSE,   /* f64[1] */
    KV_SHIFT, /* f32[D], that of the first slot that has one */
    KV_HEAD,  /* u64[VIEW_HEAD_N] */
};
enum {
    VIEW_POINTS,
    VIEW_SHIFTED /* 1: shift is set */,
    VIEW_ROWS /* points that are rows */,
    VIEW_HEAD_N
};

/* Model. */
enum {
    KM_MODEL_CENTRE, /* f32[k, D] raw, the heaviest first */
    KM_MODEL_WEIGHT, /* f64[k] */
    KM_MODEL_SSE,    /* f64[1] sum of weight * squared distance, as msd_estimate has it */
};

enum { CANDIDATES = 8 }; /* most of one draw of derive */
enum { SPARES = 16 };    /* most centres that one batch may give up */

/* Work. KW_ ones are in compute space. */
enum {
    KW_X,          /* f32[B, XLD] rows less shift */
    KW_DIST,       /* f32[B, K] -2 x c */
    KW_DIST_MOVED, /* f32[B, 2 SPARES] the same of centres that reseeding moved */
    KW_AT,         /* u32[B, 2] nearest centres, */
    KW_VAL,        /* f32[B, 2] their |c|^2 - 2 x c, */
    KW_X2,         /* f32[B] and |x|^2 */
    KW_LOSS,       /* f32[B] their sum, where the caller wants none */
    KW_C2,         /* f32[K] |c|^2 */
    KW_SUM,   /* f32[max(K, CANDIDATES), D] sums of rows, then steps; score, derive: some centres */
    KW_MASS,  /* f64[K] weight of those rows */
    KW_RATE,  /* f32[2, K] operands of mean_step */
    KW_STEP,  /* f32[K] squares of the steps */
    KW_U,     /* f32[max(K, CANDIDATES)] random numbers */
    KW_PICK,  /* u32[K] rows of warm chosen as centres */
    KW_RID,   /* u64[1] counter of random numbers */
    KW_WARM,  /* f32[W] weights of warm */
    HOST_F32, /* f32[max(2 B, K, 2 D)] */
    HOST_LOSS,  /* f32[B] squared distances */
    HOST_U32,   /* u32[max(2 B, K)] */
    HOST_MASS,  /* f64[K] weight by centre */
    HOST_D2,    /* f64[max(W, P K)] weight * squared distance to the nearest centre, */
    HOST_NEXT,  /* f64[P K] and to the second nearest */
    HOST_AT,    /* u32[P K] cluster of a point */
    HOST_X2,    /* f32[P K] |point|^2 */
    HOST_TRY,   /* f32[P K, CANDIDATES] squared distances to candidates */
    HOST_SUM,   /* f64[K, D] sums of points by cluster */
    HOST_TRIAL, /* f32[K, D] centres on trial */
};

struct km {
    uint32_t b, d, k, w, p, xld; /* B, D, K, W, P, row stride of KW_X */
};

/* K centres, where update and fold keep theirs. */
struct centres {
    float *c; /* [K, D] */
    double *n, *sse;
};

/* kmeans.c: the steps that learning, seeding and deriving share */

void km_ew(const struct ctx *x, enum ew_id k, uint32_t rows, uint32_t cols, const struct arg *a,
           const float *prm);
/* Rows of `in`, at most B, less shift: in KW_X. */
struct mat km_shift_rows(const struct ctx *x, struct mat in, const float *shift);
/* The k (1 or 2) nearest of `centre` for each row of `in`: KW_AT, and |c|^2 - 2 x c of them:
 * KW_VAL. */
void km_near(const struct ctx *x, struct mat in, struct mat centre, uint32_t k);
/* The nearest of `centre` for each row of `in`: KW_AT; the squared distance into loss. */
void km_assign(const struct ctx *x, struct mat in, struct mat centre, float *loss);
/* Sums to zero; then rows by KW_AT into KW_SUM and KW_MASS; then the centres move to the
 * means. sum is what sum of weight * loss these rows had. */
void km_sums_clear(const struct ctx *x);
void km_sums_add(const struct ctx *x, struct mat in, const float *weight);
void km_move(const struct ctx *x, struct centres k, double sum);

/* kmeans_options.c */

extern const struct opt kmeans_options[], kmeans_derive_options[];
extern const struct port kmeans_ports[];

struct km km_of(const struct shape *sh, const void *opts); /* of a checked shape and its options */
MUST enum st kmeans_check(struct shape *sh, void *opts, struct err *e);
MUST enum st kmeans_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                            const void *derive_opts);
MUST enum st kmeans_init(const struct ctx *x, struct tensors *s);

/* kmeans_seed.c */

enum { PURPOSE_SEED = 1, PURPOSE_DERIVE, PURPOSE_SWAP };

/* n uniform numbers in [0, 1), a function of (seed, purpose, at), into host memory `out`. */
void km_random(const struct ctx *x, uint32_t purpose, uint64_t at, uint32_t n, float *out);
/* An index drawn by u with probability mass[i] / total; `none` where nothing has mass. */
uint32_t km_draw(const double *mass, uint32_t n, double total, float u, uint32_t none);
/* Weighted mean of the warm rows of s. */
void km_warm_mean(const struct ctx *x, const struct tensors *s, float *shift);
/* K centres of the warm rows of s, at least K, relative to shift; n and sse are theirs. */
void km_seed(const struct ctx *x, const struct tensors *s, uint32_t partition, const float *shift,
             struct centres k);

/* kmeans_view.c, kmeans_derive.c */

MUST enum st kmeans_fold(const struct ctx *x, struct tensors *view, const struct slot *slot);
MUST enum st kmeans_intact(const struct ctx *x, const struct tensors *s);
MUST enum st kmeans_start(const struct ctx *x, const struct tensors *model, uint32_t partition,
                          struct tensors *s);
MUST enum st kmeans_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                           struct tensors *model, struct measures *m);

#endif
