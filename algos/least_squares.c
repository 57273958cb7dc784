/* least_squares.c: linear regression, exact, from sums; every penalty, its error on rows that the
 * fit has not seen, and the number of features are chosen after the pass.
 *
 * Problem. Over rows of features x, label y, weight w, with W = sum w, minimise over b, a
 *   sum w (y - x'b - a)^2 / (2 W) + l1 sum_j |b_j| + l2 / 2 sum_j b_j^2
 * the intercept a free. Penalties are against the mean, as those of `linear` are: l2 = alpha / W
 * for the alpha of a ridge regression that sums, l1 the alpha of a lasso. By default (standardize)
 * b is that of columns and label in units of their deviation, so one penalty suits all units: l1 =
 * 1 leaves nothing, l2 = 1 halves a lone feature. standardize: false takes them as they are.
 *
 * Idea. The rows enter through sums of products of their columns alone (moments.h). Those are kept
 * for F folds, which rows are dealt to by hash. Left out fold by fold, they give the fits without
 * each fold, and the error of such a fit on the fold that it lacks, for b, a and the fold's own
 * sums about its means, S, s, yy, with weight n and the mean residual r:
 *   yy - 2 b's + b'S b + n r^2
 * so cv_mse is that of F-fold cross-validation, for any l2, l1 and number of features, without
 * another pass and without a hold-out. (Means and deviations, too, are those of the folds learned
 * from.)
 *
 * Coefficients. l1 = 0: Cholesky of the normal equations S / W + l2 I. Where a feature is given by
 * others to 1 part in 10^10 of its variance: their eigenvectors, those of the eigenvalues below
 * 10^-12 of the greatest left out; of the solutions that is the shortest, and the limit of small
 * l2. With neither l1 nor l2 the units do not matter, and are standard ones.
 * l1 > 0: coordinate descent by covariance updates (Friedman, Hastie, Tibshirani, Journal of
 * Statistical Software 33, 2010) until a sweep moves no prediction by more than 10^-9 of the
 * label's deviation, or 10,000 sweeps: then cv_mse and the rest are still those of the coefficients
 * found. features: K: forward selection, each time the feature that lowers the penalised error
 * most, by elimination: K D^2 operations; in cross-validation for every fold anew. Then as above,
 * on those.
 *
 * Policies. A constant column, or one that varies by less than 1 part in a million, has coefficient
 * 0. A constant label is predicted as it is. Fewer rows than features: the shortest solution. A
 * fold without rows adds no error; a job whose rows all lie in one fold has no cv_mse, one without
 * weight no model (ST_AGAIN).
 *
 * Scores while learning come from coefficients of their own: when a sixteenth of the weight has
 * come since the last time, they take some sweeps of coordinate descent from where they are, with
 * l2 = D / W, lest the first rows be learned by heart; and what they say is brought into the range
 * of the labels seen. Plain C, so the same on every machine. They trail the model, so the
 * prequential loss is a loose estimate; cv_mse is exact.
 *
 * State. sums: 4 F C^2 bytes, C = D + 2. Cost a row: C^2 flops in f64, and D to score it.
 * Merge: sums are added; the folds stay apart, so cross-validation is exact over partitions too.
 * A model from P partitions is the one from one, to rounding.
 * Half-life: all sums age at once; cv_mse then weighs errors as the fit weighs rows.
 * Limits. Dense rows, one label, 16,000 features. Not done. Standard errors (all that they need is
 * in the state). Sparse rows: linear with loss squared. */
#include "algos/least_squares.h"

#include <string.h>

enum { REFRESH = 16 };

/* x'w + a in f64, so that columns far from 0 cost no digits; four sums, in a written order. */
static double predict(const float *v, const double *w, uint32_t d)
{
    double s[4] = {0};
    uint32_t j = 0;

    for (; j + 4 <= d; j += 4)
        for (uint32_t k = 0; k < 4; k++)
            s[k] += (double)v[j + k] * w[j + k];
    for (; j < d; j++)
        s[0] += (double)v[j] * w[j];
    return (s[0] + s[1]) + (s[2] + s[3]) + w[d];
}

static void score_rows(const struct rows *host, const double *w, uint32_t d, float *z)
{
    const struct feat *f = &host->in[0];

    for (uint32_t i = 0; i < host->n; i++)
        z[i] = (float)predict(f->x + (size_t)i * f->ld, w, d);
}

/* Predictions of the batch, and half their squared errors; none as long as there is no w. */
static void evaluate(const struct ctx *x, const struct ls *l, const struct tensors *s,
                     const struct rows *r, struct eval *e)
{
    float *z = x->work->t[WORK_OUT].f32, *loss = z + l->m.batch;
    const double *head = s->t[LS_HEAD].f64;
    const float least = (float)head[HEAD_LEAST], most = (float)head[HEAD_MOST];

    score_rows(r->host, s->t[LS_W].f64, l->d, z);
    for (uint32_t i = 0; i < r->n; i++) {
        float d;

        z[i] = z[i] < least ? least : z[i] > most ? most : z[i];
        d = z[i] - r->host->y[i];
        loss[i] = head[HEAD_MADE] > 0 ? 0.5f * d * d : LOSS_NONE;
    }
    x->c->put(x->cs, e->z, z, r->n * sizeof *z);
    x->c->put(x->cs, e->loss, loss, r->n * sizeof *loss);
}

/* Brings w up to date, if enough has come since the last time. */
static void follow(const struct ctx *x, const struct ls *l, struct tensors *s)
{
    const uint64_t n = moments_size(&l->m);
    double *head = s->t[LS_HEAD].f64, *sum = x->work->t[WORK_SUM].f64;
    double *part = x->work->t[WORK_PART].f64;

    if (!(head[HEAD_SINCE] * REFRESH >= head[HEAD_WEIGHT]) || !(head[HEAD_SINCE] > 0))
        return;
    memset(sum, 0, n * sizeof *sum);
    for (uint32_t k = 0; k < l->m.folds; k++) {
        x->c->get(x->cs, part, s->t[LS_SUMS].f64 + k * n, n * sizeof *part);
        for (uint64_t i = 0; i < n; i++)
            sum[i] += part[i];
    }
    if (!(sum[0] > 0)) /* a state that was read back may say so */
        return;
    ls_improve(x, l, sum, s->t[LS_W].f64);
    head[HEAD_SINCE] = 0;
    head[HEAD_MADE] = 1;
}

/* Row i is learned: returns its weight. */
static double note(const struct rows *host, uint32_t i, double *head)
{
    const double y = (double)host->y[i], weight = (double)host->weight[i];
    const bool first = !(head[HEAD_WEIGHT] > 0) && !(head[HEAD_SINCE] > 0);

    if (!(weight > 0))
        return 0;
    head[HEAD_LEAST] = first || y < head[HEAD_LEAST] ? y : head[HEAD_LEAST];
    head[HEAD_MOST] = first || y > head[HEAD_MOST] ? y : head[HEAD_MOST];
    head[HEAD_SINCE] += weight;
    return weight;
}

static enum st least_squares_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                                    struct eval *e)
{
    const struct ls l = ls_of(x->shape, x->opts);
    double *head = s->t[LS_HEAD].f64, learned = 0;

    CHECK(r->n <= l.m.batch && r->train <= r->n);
    CHECK(r->host && r->host->n == r->n && r->host->y && r->host->weight);
    CHECK(r->ny == 1 && s->t[LS_W].n == l.d + 1 && s->t[LS_HEAD].n == HEAD_N);
    if (e && r->n)
        evaluate(x, &l, s, r, e);
    if (!r->train)
        return ST_OK;
    moments_add(x, &l.m, s, LS_SUMS, WORK_MOMENTS, r);
    for (uint32_t i = 0; i < r->train; i++)
        learned += note(r->host, i, head);
    head[HEAD_WEIGHT] = head[HEAD_WEIGHT] * r->decay + learned;
    follow(x, &l, s);
    return ST_OK;
}

static enum st least_squares_init(const struct ctx *x, struct tensors *s)
{
    (void)x, (void)s; /* no row, no sums */
    return ST_OK;
}

static enum st least_squares_intact(const struct ctx *x, const struct tensors *s)
{
    const struct ls l = ls_of(x->shape, x->opts);
    const double *head = s->t[LS_HEAD].f64;

    if (head[HEAD_WEIGHT] < 0 || head[HEAD_SINCE] < 0)
        return fail(x->err, ST_CORRUPT, "tensor head: weights of %g and %g", head[HEAD_WEIGHT],
                    head[HEAD_SINCE]);
    return moments_intact(&l.m, &s->t[LS_SUMS], x->err);
}

static enum st least_squares_score(const struct ctx *x, const struct tensors *model,
                                   const struct rows *r, float *out)
{
    const struct ls l = ls_of(x->shape, x->opts);

    CHECK(r->n <= l.m.batch && model->t[LS_MODEL_W].n == l.d + 1);
    CHECK(r->host && r->host->in[0].d == l.d);
    score_rows(r->host, model->t[LS_MODEL_W].f64, l.d, out);
    return ST_OK;
}

const struct algo algo_least_squares = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "least_squares",
    .summary = "linear regression, exact; any l1, l2, subset and their cross-validation after the "
               "pass",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_LABEL | ALGO_EXACT | ALGO_ONE_EPOCH,
    .ports = least_squares_ports,
    .opts = least_squares_options,
    .derive_opts = least_squares_derive_options,
    .opts_bytes = sizeof(struct least_squares_opts),
    .derive_bytes = sizeof(struct least_squares_derive),
    .check = least_squares_check,
    .declare = least_squares_declare,
    .init = least_squares_init,
    .update = least_squares_update,
    .derive = least_squares_derive,
    .score = least_squares_score,
    .intact = least_squares_intact,
};
