/* least_squares_fit.c: coefficients from sums, and models. All on the host, in f64. */
#include "algos/compute/lapack.h"
#include "algos/least_squares.h"

#include <math.h>
#include <string.h>

enum { SWEEPS_IMPROVE = 16, SWEEPS_MAX = 10000 };
static const double tolerance = 1e-10; /* share of a feature's variance that others leave */
static const double rank = 1e-12;      /* of the greatest eigenvalue */
static const double settled = 1e-9;    /* of the label's deviation */

/* The equations A b = right of n of the D columns, at[n]. A is symmetric, stride n, in full. */
struct equations {
    uint32_t n, *at;
    double *a, *right, *b, *slope, *spare;
    double label; /* the label's variance, in the same units */
};

struct sums { /* of one triangle, about the means; unit: what a column is divided by */
    uint32_t d;
    double weight, *mean, *unit, *s; /* s[D + 1, D + 1], lower triangle; label last */
};

static double *vec(const struct ctx *x, const struct ls *l, uint32_t k)
{
    return x->work->t[WORK_VEC].f64 + (size_t)k * (l->d + 1);
}

static const double *row(const struct sums *c, uint32_t i)
{
    return c->s + (size_t)i * (c->d + 1);
}

static struct sums centre(const struct ctx *x, const struct ls *l, const double *sum, bool standard)
{
    struct sums c = {.d = l->d,
                     .mean = vec(x, l, VEC_MEAN),
                     .unit = vec(x, l, VEC_UNIT),
                     .s = x->work->t[WORK_S].f64};

    c.weight = moments_centred(&l->m, sum, l->d + 1, c.mean, c.s);
    for (uint32_t j = 0; j <= l->d && c.weight > 0; j++)
        c.unit[j] = standard && row(&c, j)[j] > 0 ? sqrt(row(&c, j)[j] / c.weight) : 1;
    return c;
}

/* ---- equations ---- */

static struct equations equations(const struct ctx *x, const struct ls *l, const struct sums *c)
{
    struct equations q = {.at = x->work->t[WORK_AT].u32,
                          .a = x->work->t[WORK_A].f64,
                          .right = vec(x, l, VEC_RIGHT),
                          .b = vec(x, l, VEC_B),
                          .slope = vec(x, l, VEC_SLOPE),
                          .spare = vec(x, l, VEC_SPARE)};

    q.label = row(c, l->d)[l->d] / c->weight / c->unit[l->d] / c->unit[l->d];
    for (uint32_t j = 0; j < l->d; j++)
        if (row(c, j)[j] > 0) /* a constant column says nothing */
            q.at[q.n++] = j;
    return q;
}

/* A and right of the columns at[n]; l2 is on the diagonal. */
static void load(struct equations *q, const struct sums *c, double l2)
{
    for (uint32_t i = 0; i < q->n; i++) {
        const double *from = row(c, q->at[i]), unit = c->weight * c->unit[q->at[i]];

        for (uint32_t k = 0; k <= i; k++) {
            double v = from[q->at[k]] / (unit * c->unit[q->at[k]]);

            q->a[(size_t)i * q->n + k] = q->a[(size_t)k * q->n + i] = i == k ? v + l2 : v;
        }
        q->right[i] = row(c, c->d)[q->at[i]] / (unit * c->unit[c->d]);
    }
}

/* Takes column j out of the lower triangle: what is left is of the others, given it. */
static void eliminate(struct equations *q, uint32_t j)
{
    const uint32_t n = q->n;
    const double pivot = q->a[(size_t)j * n + j], share = q->right[j] / pivot;
    double *col = q->slope;

    for (uint32_t i = 0; i < n; i++)
        col[i] = i < j ? q->a[(size_t)j * n + i] : q->a[(size_t)i * n + j];
    for (uint32_t i = 0; i < n; i++) {
        const double t = col[i] / pivot;

        q->right[i] -= col[i] * share;
        for (uint32_t k = 0; k <= i; k++)
            q->a[(size_t)i * n + k] -= t * col[k];
    }
}

/* Leaves the `most` columns of at[n] that forward selection takes, or fewer where the rest is given
 * by them. A is garbage then. */
static void choose(struct equations *q, uint32_t most, uint32_t *taken)
{
    const uint32_t n = q->n;
    uint32_t count = 0;

    for (uint32_t i = 0; i < n; i++) {
        taken[i] = 0;
        q->spare[i] = q->a[(size_t)i * n + i];
    }
    while (count < most) {
        uint32_t best = n;
        double gain = 0;

        for (uint32_t i = 0; i < n; i++) {
            double left = q->a[(size_t)i * n + i], g = q->right[i] * q->right[i] / left;

            if (taken[i] || !(left > tolerance * q->spare[i]) || !(g > gain))
                continue;
            gain = g;
            best = i;
        }
        if (best == n)
            break;
        taken[best] = 1;
        count++;
        eliminate(q, best);
    }
    q->n = 0;
    for (uint32_t i = 0; i < n; i++)
        if (taken[i])
            q->at[q->n++] = q->at[i];
}

/* ---- solutions ---- */

/* From b, until a sweep moves no prediction by more than `settled` of the label's deviation. */
static void descend(struct equations *q, double l1, uint32_t sweeps)
{
    const uint32_t n = q->n;
    const double least = settled * sqrt(q->label);
    double moved = 0;

    for (uint32_t i = 0; i < n; i++) { /* slope = right - A b */
        q->slope[i] = q->right[i];
        for (uint32_t k = 0; k < n; k++)
            q->slope[i] -= q->a[(size_t)i * n + k] * q->b[k];
    }
    do {
        moved = 0;
        for (uint32_t j = 0; j < n; j++) {
            const double *a = q->a + (size_t)j * n, z = q->slope[j] + a[j] * q->b[j];
            const double new = fabs(z) <= l1 ? 0 : (z > 0 ? z - l1 : z + l1) / a[j];
            const double step = new - q->b[j], way = fabs(step) * sqrt(a[j]);

            if (step == 0)
                continue;
            q->b[j] = new;
            for (uint32_t k = 0; k < n; k++)
                q->slope[k] -= step * a[k];
            moved = way > moved ? way : moved;
        }
    } while (moved > least && --sweeps);
}

static bool by_cholesky(struct equations *q)
{
    const uint32_t n = q->n;
    struct err e;

    for (uint32_t i = 0; i < n; i++)
        q->spare[i] = q->a[(size_t)i * n + i];
    if (lapack_cholesky(n, q->a, &e) != ST_OK)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        double pivot = q->a[(size_t)i * n + i];

        if (!(pivot * pivot > tolerance * q->spare[i]))
            return false;
    }
    memcpy(q->b, q->right, n * sizeof *q->b);
    lapack_solve(n, q->a, 1, q->b);
    return true;
}

static enum st by_eigenvectors(struct equations *q, double *scratch, struct err *e)
{
    const uint32_t n = q->n;
    double *value = q->spare;

    TRY(lapack_eigen(n, q->a, value, scratch, e));
    memset(q->b, 0, n * sizeof *q->b);
    for (uint32_t i = 0; i < n && value[i] > rank * value[0]; i++) {
        const double *v = q->a + (size_t)i * n;
        double t = 0;

        for (uint32_t k = 0; k < n; k++)
            t += v[k] * q->right[k];
        for (uint32_t k = 0; k < n; k++)
            q->b[k] += t / value[i] * v[k];
    }
    return ST_OK;
}

static enum st solve(const struct ctx *x, struct equations *q, const struct sums *c,
                     const struct least_squares_derive *o)
{
    load(q, c, (double)o->l2);
    if (o->features && o->features < q->n) {
        choose(q, o->features, q->at + c->d);
        load(q, c, (double)o->l2);
    }
    if (o->l1 > 0) {
        memset(q->b, 0, q->n * sizeof *q->b);
        descend(q, (double)o->l1, SWEEPS_MAX);
        return ST_OK;
    }
    if (by_cholesky(q))
        return ST_OK;
    load(q, c, (double)o->l2);
    return by_eigenvectors(q, x->work->t[WORK_EIGEN].f64, x->err);
}

/* b in units of the columns into w in theirs. */
static void unscale(const struct equations *q, const struct sums *c, double *w)
{
    memset(w, 0, c->d * sizeof *w);
    w[c->d] = c->mean[c->d];
    for (uint32_t i = 0; i < q->n; i++) {
        uint32_t j = q->at[i];

        w[j] = q->b[i] * c->unit[c->d] / c->unit[j];
        w[c->d] -= w[j] * c->mean[j];
    }
}

void ls_improve(const struct ctx *x, const struct ls *l, const double *sum, double *w)
{
    const struct sums c = centre(x, l, sum, true);
    struct equations q;

    CHECK(c.weight > 0);
    q = equations(x, l, &c);
    load(&q, &c, l->d / c.weight);
    for (uint32_t i = 0; i < q.n; i++)
        q.b[i] = w[q.at[i]] * c.unit[q.at[i]] / c.unit[l->d];
    descend(&q, 0, SWEEPS_IMPROVE);
    unscale(&q, &c, w);
}

/* ---- models ---- */

/* The least squares of the sums into w[D + 1]; *weight 0: there are none. */
static enum st fit(const struct ctx *x, const struct ls *l, const double *sum,
                   const struct least_squares_derive *o, double *w, double *weight)
{
    const bool plain = o->l1 == 0 && o->l2 == 0;
    const struct sums c = centre(x, l, sum, o->standardize || plain);
    struct equations q;

    *weight = c.weight;
    if (!(c.weight > 0))
        return ST_OK;
    q = equations(x, l, &c);
    TRY(solve(x, &q, &c, o));
    unscale(&q, &c, w);
    return ST_OK;
}

/* Sum of weight * squared error of w over the rows of c, which is in the columns' own units. */
static double squared_error(const struct sums *c, const double *w)
{
    const double *label = row(c, c->d);
    double se = label[c->d], off = c->mean[c->d] - w[c->d];

    for (uint32_t i = 0; i < c->d; i++) {
        const double *s = row(c, i);
        double t = 0.5 * s[i] * w[i] - label[i];

        off -= w[i] * c->mean[i];
        for (uint32_t k = 0; k < i; k++)
            t += s[k] * w[k];
        se += 2 * w[i] * t;
    }
    return (se > 0 ? se : 0) + c->weight * off * off; /* below 0: rounding, of an exact fit */
}

/* Mean squared error of each fold under the fit of the others; NaN: of no fold there are others. */
static enum st cross_validate(const struct ctx *x, const struct ls *l, const struct tensor *sums,
                              const struct least_squares_derive *o, double *w, double *mse)
{
    double *sum = x->work->t[WORK_SUM].f64, se = 0, total = 0, weight;

    for (uint32_t k = 0; k < l->m.folds; k++) {
        const double *own = sums->f64 + k * moments_size(&l->m);
        struct sums c;

        if (!(own[0] > 0))
            continue;
        moments_total(&l->m, sums, k, sum);
        TRY(fit(x, l, sum, o, w, &weight));
        if (!(weight > 0))
            break;
        c = centre(x, l, own, false);
        se += squared_error(&c, w);
        total += own[0];
    }
    *mse = total > 0 ? se / total : (double)NAN;
    return ST_OK;
}

static void add_measure(struct measures *m, const char *name, double value, bool lower_is_better)
{
    struct measure *to = &m->m[m->n];

    if (isnan(value))
        return;
    memset(to, 0, sizeof *to);
    memcpy(to->name, name, strlen(name));
    to->value = value;
    to->lower_is_better = lower_is_better;
    m->n++;
}

enum st least_squares_derive(const struct ctx *x, const struct tensors *view,
                             const void *derive_opts, struct tensors *model, struct measures *m)
{
    const struct ls l = ls_of(x->shape, x->opts);
    const struct least_squares_derive *o = derive_opts;
    const struct tensor *sums = &view->t[LS_SUMS];
    double *w = model->t[LS_MODEL_W].f64, *sum = x->work->t[WORK_SUM].f64;
    double cv, mse, weight, variance;
    struct sums c;
    uint32_t used = 0;

    CHECK(model->t[LS_MODEL_W].n == l.d + 1);
    TRY(cross_validate(x, &l, sums, o, w, &cv));
    moments_total(&l.m, sums, l.m.folds, sum);
    TRY(fit(x, &l, sum, o, w, &weight));
    if (!(weight > 0))
        return fail(x->err, ST_AGAIN,
                    "no row with a weight has been learned yet: there is nothing to fit");
    c = centre(x, &l, sum, false);
    mse = squared_error(&c, w) / weight;
    variance = row(&c, l.d)[l.d] / weight;
    for (uint32_t j = 0; j < l.d; j++) {
        model->t[LS_MODEL_SPREAD].f64[j] = sqrt(row(&c, j)[j] / weight);
        used += w[j] != 0;
    }
    add_measure(m, "cv_mse", cv, true);
    add_measure(m, "train_mse", mse, true);
    add_measure(m, "r2", variance > 0 ? 1 - mse / variance : (double)NAN, false);
    add_measure(m, "features_used", used, true);
    m->model = -1;
    return ST_OK;
}
