/* linear.h: what linear.c (learning, scoring), linear_loss.c (losses, class weights),
 * linear_forget.c (half-life), linear_options.c (options, tensors) and linear_units.c
 * (standardisation, merging, models) share, and the options struct, which tests fill by hand. Not
 * for other algorithms.
 *
 * Shapes: D features, M packed models, C outputs of a model (classes where they have an output
 * each, else 1), Z = M * C columns, model m owning columns [m C, (m + 1) C). Row D of w, n and z is
 * the bias. Tensors that a job does not need are declared with dim[0] = 0: they keep their id and
 * have no bytes. */
#ifndef MILLRACE_LINEAR_H
#define MILLRACE_LINEAR_H

#include "algos/algo.h"

enum linear_loss {
    LINEAR_LOGISTIC,
    LINEAR_SOFTMAX,
    LINEAR_SQUARED,
    LINEAR_ONE_VS_REST,
    LINEAR_ABSOLUTE,
    LINEAR_QUANTILE,
    LINEAR_HUBER,
    LINEAR_HINGE,
    LINEAR_SQUARED_HINGE,
    LINEAR_POISSON,
    LINEAR_LOSSES
};
enum linear_optimizer { LINEAR_ADAGRAD, LINEAR_FTRL, LINEAR_SGD };
enum linear_standardize { LINEAR_AUTO, LINEAR_TRUE, LINEAR_FALSE };

struct linear_opts {
    uint32_t loss, classes, optimizer, batch, standardize;
    struct f32s learning_rate, l1, l2; /* the grid: learning_rate slowest, l2 fastest */
    float beta, quantile, huber_delta;
    bool average;
    struct f32s class_weight; /* one of 1, or none at all: they count alike */
};

struct linear_derive {
    uint32_t model; /* 1 .. M; auto (0) is resolved by the caller */
};

enum {              /* state */
       LIN_WEIGHT,  /* f64[1] host: sum of the weights learned */
       LIN_W,       /* f32[D + 1, Z] in standardised units */
       LIN_N,       /* f32[D + 1, Z] sum of squared gradients; adagrad, ftrl */
       LIN_Z,       /* f32[D + 1, Z] ftrl */
       LIN_COUNT,   /* f32[D + 1] sparse: weight of the rows that had the feature */
       LIN_SHIFT,   /* f32[D] dense, standardised: x enters as (x - shift) scale */
       LIN_SCALE,   /* f32[D] */
       LIN_GRID,    /* f32[GRID_ROWS, Z] the setting of each column */
       LIN_MOMENTS, /* f64[MOM_ROWS, D] host: of the warm-up, per feature */
       LIN_WARM,    /* f64[WARM_N] host */
       LIN_GROWTH,  /* f64[1] host, sparse: unit of n and count, see linear_forget.c */
       LIN_MEAN     /* f32[D + 1, Z] average: mean of w over the batches */
};
enum { GRID_RATE, GRID_L1, GRID_L2, GRID_NONE /* zeros: for the bias */, GRID_ROWS };
enum { MOM_MEAN, MOM_M2, MOM_MIN, MOM_MAX, MOM_ROWS };
enum { WARM_SEEN /* weight in the moments */, WARM_USED /* when scale was last set */, WARM_N };

enum {              /* view: sums over slots until fold_end, then means, in raw units */
       VIEW_WEIGHT, /* f64[1] */
       VIEW_W,      /* f64[D + 1, Z] */
       VIEW_N,      /* f64[D + 1, Z] */
       VIEW_COUNT,  /* f64[D + 1] sparse */
       VIEW_SHIFT,  /* f64[D] standardised: pooled mean, */
       VIEW_SPREAD, /* f64[D] and what one unit is; sum of squares until fold_end */
       VIEW_MEAN    /* f64[D + 1, Z] average */
};

enum {
    MODEL_W
}; /* f32[D + 1, C]; then, by name, what learning goes on from:
    * n f32[D + 1, C] adagrad, ftrl; shift, spread f32[D] standardised */

enum {            /* work */
       WORK_Z,    /* f32[B, Z] outputs, where the caller wants none; score: [B, C] */
       WORK_P,    /* f32[B, Z] softmax: probabilities */
       WORK_E,    /* f32[B, Z] weight * dloss/dz */
       WORK_LOSS, /* f32[B, M] */
       WORK_LSE,  /* f32[B, M] softmax: log-sum-exp */
       WORK_X,    /* f32[B, XLD] standardised */
       WORK_G,    /* f32[R, Z] gradient sums; R = D + 1, sparse: most distinct columns of a batch +
                   * 1 */
       WORK_TW,   /* f32[R, Z] sparse: the touched rows of w, n, z, */
       WORK_TN,
       WORK_TZ,
       WORK_SEEN,       /* f32[2, R] sparse: of count, and what is added to it */
       WORK_ROW,        /* f32[4, Z] host: one row of w, n, z, mean */
       WORK_SUM,        /* f64[Z] host */
       WORK_OUT,        /* f32[B, C] host: what score() finishes */
       WORK_WEIGHT,     /* f32[B] weights of rows and their classes, where classes have any; */
       WORK_HOST_WEIGHT /* f32[B] and in host memory */
};

struct lin {
    const struct linear_opts *o;
    uint32_t b, d, m, c, z, xld, r; /* batch rows, D, M, C, Z, XLD, R */
    bool sparse, standard;          /* standard: shift and scale are there */
    bool has_n, has_z, weighted;    /* weighted: classes have weights */
    uint32_t m_all, z_all;          /* as declared, where m and z are of those that live */
    uint8_t model[MODELS_MAX];      /* of the m that live, which packed model it is */
};

/* linear.c */

void linear_ew(const struct ctx *x, enum ew_id k, uint32_t rows, uint32_t cols, const struct arg *a,
               const float *prm);

/* linear_loss.c */

/* What follows from the name of a loss (enum linear_loss). */
enum out_kind linear_out(uint32_t loss);
enum loss_kind linear_kind(uint32_t loss);

MUST enum st linear_labels(const struct lin *l, const struct rows *r, struct err *e);

/* The batch as it is learned: r, or where classes have weights r with these in its own, made in
 * own and host. */
const struct rows *linear_weighted(const struct ctx *x, const struct lin *l, const struct rows *r,
                                   struct rows *own, struct rows *host);

/* From outputs z[n, Z] the losses and WORK_E. z becomes what metrics and score() show. */
void linear_losses(const struct ctx *x, const struct lin *l, const struct rows *r, float *z,
                   float *loss);

/* Score rows from z[n, C] in host memory: outputs, or probabilities where the loss is softmax. */
void linear_finish(const struct lin *l, const float *z, uint32_t n, float *out);

/* linear_forget.c */

struct block { /* rows of w, n, z that take a step together, and their gradient */
    float *w, *n, *z, *g;
    uint32_t rows;
    bool bias;
};

/* What a step needs of block k: its settings as EW operands. */
struct grid {
    struct arg rate, l1, l2;
    float prm[2]; /* of the optimiser kernels: 1 / B, beta */
};
struct grid linear_grid(const struct lin *l, const struct tensors *s, bool bias);

/* Before a batch is learned: what the past weighs, apart from the rows that the batch steps. */
void linear_forget(const struct ctx *x, const struct lin *l, struct tensors *s, double decay);

/* Of the rows that step: n in its true unit and faded, z fitted to it. Then back to the unit of the
 * state. */
void linear_unfold(const struct ctx *x, const struct lin *l, const struct tensors *s,
                   const struct block *k, double decay);
void linear_fold_up(const struct ctx *x, const struct lin *l, const struct tensors *s,
                    const struct block *k);

/* What one is in n and count. */
double linear_growth(const struct lin *l, const struct tensors *s);

/* linear_options.c */

extern const struct opt linear_options[], linear_derive_options[];
extern const struct port linear_ports[];

/* Of a checked shape and its options. */
struct lin linear_of(const struct shape *sh, const void *opts);
/* Without the packed models that were stopped (NULL: none): w, n, z and grid have the columns of
 * the others alone, in order, and the rest of their bytes is zero. */
struct lin linear_living(const struct shape *sh, const void *opts, const uint8_t *stopped);
/* The column of a view in which column i of a state is. */
static inline uint64_t linear_column(const struct lin *l, uint32_t i)
{
    return (uint64_t)l->model[i / l->c] * l->c + i % l->c;
}

struct linear_setting {
    float rate, l1, l2;
};
/* The point of the grid that packed model m, 0 .. M - 1, trains with. */
struct linear_setting linear_setting(const struct linear_opts *o, uint32_t m);

MUST enum st linear_check(struct shape *sh, void *opts, struct err *e);
MUST enum st linear_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                            const void *derive_opts);
MUST enum st linear_init(const struct ctx *x, struct tensors *s);

/* linear_halving.c */

/* Row j of a tensor with l->z columns was written. */
void linear_touch(const struct lin *l, struct tensors *s, uint32_t id, uint64_t j);

/* What update() made of the living, z[n, z] and loss[n, m], into eval, which has all. */
void linear_spread(const struct ctx *x, const struct lin *l, uint32_t n, const struct eval *living,
                   const struct eval *e);

MUST enum st linear_stop(const struct ctx *x, struct tensors *s, const uint8_t *stopped);

/* linear_units.c */

/* Brings shift and scale up to date with rows [0, train) of r, which are about to be learned. Does
 * nothing once the warm-up is over. */
void linear_standardize(const struct ctx *x, struct tensors *s, const struct rows *r);

/* Puts the packed models that hold a NaN or an infinity among the rows row[n] (NULL: 0 .. n - 1),
 * or in the bias back to their start, and says in bad[M] which. False, and nothing is changed: none
 * does, or all do. */
bool linear_restart(const struct ctx *x, struct tensors *s, const uint32_t *row, uint32_t n,
                    bool *bad);

MUST enum st linear_fold(const struct ctx *x, struct tensors *view, const struct slot *slot);
MUST enum st linear_fold_end(const struct ctx *x, struct tensors *view);
MUST enum st linear_rebase(const struct ctx *x, struct tensors *s, const struct tensors *view);
MUST enum st linear_intact(const struct ctx *x, const struct tensors *s);
MUST enum st linear_start(const struct ctx *x, const struct tensors *model, uint32_t partition,
                          struct tensors *s);
MUST enum st linear_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                           struct tensors *model, struct measures *m);

#endif
