/* pca_derive.c: components of a view: eigenvectors of the columns' covariances, or of what a sketch
 * keeps of them. Views and models lie in host memory.
 *
 * Variances are divided by the weight of the rows less 1, as numpy and R do; without center, where
 * no mean was taken from the data, by the weight. A direction whose variance is below FLAT of the
 * greatest is rounding: its component is a row of zeros, of variance 0.
 *
 * Cost: exact 10 D^3 flops for D columns; sketch 4 L^2 D. */
#include "algos/pca.h"

#include "algos/compute/lapack.h"

#include <math.h>
#include <string.h>

static const double flat = 1e-12;

struct axes {
    double divide;        /* from sums to variances */
    double total, shrunk; /* of variances: all together; what the sketch may lack of each */
};

static enum st weigh(const struct pca *l, const struct pca_derive *v, const struct tensors *view,
                     struct axes *a, struct err *e)
{
    const double weight = l->sketch ? view->t[SK_SUM].f64[SUM_WEIGHT] : view->t[0].f64[0];

    if (!(weight > 0))
        return fail(e, ST_AGAIN, "no row has been learned yet: there is nothing to derive from");
    if (v->center && !(weight > 1))
        return fail(e, ST_AGAIN, "the rows learned weigh %g together: a variance needs more than 1",
                    weight);
    *a = (struct axes){.divide = v->center ? weight - 1 : weight};
    return ST_OK;
}

/* ---- exact ---- */

/* Covariances, lower triangle, into PW_GRAM; means into PW_MEAN; scale into the model. */
static void covariances(const struct ctx *x, const struct pca *l, const struct pca_derive *v,
                        const struct tensor *sums, struct axes *a, float *scale)
{
    double *c = x->work->t[PW_GRAM].f64, *root = x->work->t[PW_VALUE].f64;
    const double *sum = sums->f64;

    (void)moments_centred(&l->m, sum, l->d, x->work->t[PW_MEAN].f64, c);
    for (uint32_t i = 0; i < l->d; i++) {
        double *row = c + (size_t)i * l->d;

        for (uint32_t j = 0; j <= i; j++) {
            row[j] = (v->center ? row[j] : sum[moments_at(i + 1, j + 1)]) / a->divide;
            root[j] = j == i ? sqrt(row[j]) : root[j];
        }
        for (uint32_t j = 0; j <= i && v->correlation; j++) {
            const double spread = root[i] * root[j];

            row[j] = spread > 0 ? i == j ? 1 : row[j] / spread : 0;
        }
        scale[i] = !v->correlation ? 1.0f : root[i] > 0 ? (float)(1 / root[i]) : 0.0f;
        a->total += row[i];
    }
}

static enum st exact_axes(const struct ctx *x, const struct pca *l, const struct pca_derive *v,
                          const struct tensors *view, struct axes *a, struct tensors *model)
{
    const uint32_t k = (uint32_t)model->t[PM_COMPONENT].d.dim[0];
    double *c = x->work->t[PW_GRAM].f64, *value = x->work->t[PW_VALUE].f64;
    float *to = model->t[PM_COMPONENT].f32;

    covariances(x, l, v, &view->t[0], a, model->t[PM_SCALE].f32);
    TRY(lapack_eigen(l->d, c, value, x->work->t[PW_EIGEN].f64, x->err));
    for (uint64_t i = 0; i < (uint64_t)k * l->d; i++)
        to[i] = (float)c[i];
    return ST_OK;
}

/* ---- sketch ---- */

/* Products of the sketch's r rows and, where n is r + 1, of one more: that of PW_MEAN. */
static void products(const struct ctx *x, const struct pca *l, const double *row, uint32_t r,
                     uint32_t n)
{
    double *last = x->work->t[PW_GRAM].f64 + (size_t)r * n;
    const double *mean = x->work->t[PW_MEAN].f64;

    lapack_gram(r, l->d, row, x->work->t[PW_GRAM].f64, n);
    for (uint32_t i = 0; i < n && n > r; i++) {
        const double *other = i < r ? row + (size_t)i * l->d : mean;

        last[i] = 0;
        for (uint32_t j = 0; j < l->d; j++)
            last[i] += other[j] * mean[j];
    }
}

/* Component i is sum over j of u_ij row j / root of the squares along it, panel by panel. */
static void rebuild(const struct ctx *x, const struct pca *l, const double *row, uint32_t r,
                    uint32_t n, struct tensor *component)
{
    const uint32_t k = (uint32_t)component->d.dim[0], most = k < n ? k : n;
    const double *u = x->work->t[PW_GRAM].f64, *mean = x->work->t[PW_MEAN].f64;
    double *turned = x->work->t[PW_EIGEN].f64, *panel = x->work->t[PW_PANEL].f64;
    const double *value = x->work->t[PW_VALUE].f64;

    for (uint32_t i = 0; i < most; i++)
        for (uint32_t j = 0; j < n; j++)
            turned[(size_t)j * most + i] =
                value[i] > flat * value[0] ? u[(size_t)i * n + j] / sqrt(value[i]) : 0;
    for (uint32_t at = 0; at < l->d; at += PANEL_COLS) {
        const uint32_t cols = l->d - at < PANEL_COLS ? l->d - at : PANEL_COLS;

        if (r)
            lapack_multiply(most, r, cols, turned, row + at, l->d, panel);
        else
            memset(panel, 0, (size_t)most * cols * sizeof *panel);
        for (uint32_t i = 0; i < most; i++)
            for (uint32_t j = 0; j < cols; j++) {
                double more = n > r ? turned[(size_t)r * most + i] * mean[at + j] : 0;

                component->f32[(size_t)i * l->d + at + j] =
                    (float)(panel[(size_t)i * cols + j] + more);
            }
    }
}

static enum st sketch_axes(const struct ctx *x, const struct pca *l, const struct pca_derive *v,
                           const struct tensors *view, struct axes *a, struct tensors *model)
{
    const double *sum = view->t[SK_SUM].f64, *row = view->t[SK_ROW].f64;
    const uint32_t r = (uint32_t)view->t[SK_HEAD].u64[0], n = v->center ? r : r + 1;
    double *mean = x->work->t[PW_MEAN].f64, *value = x->work->t[PW_VALUE].f64, squares = 0;

    CHECK(n <= l->n && x->work->t[PW_GRAM].n >= (uint64_t)n * n);
    for (uint32_t j = 0; j < l->d; j++) {
        model->t[PM_SCALE].f32[j] = 1.0f;
        mean[j] = sqrt(sum[SUM_WEIGHT]) * view->t[SK_MEAN].f64[j];
        squares += mean[j] * mean[j];
    }
    memset(value, 0, x->work->t[PW_VALUE].bytes);
    products(x, l, row, r, n);
    TRY(lapack_eigen(n, x->work->t[PW_GRAM].f64, value, x->work->t[PW_EIGEN].f64, x->err));
    rebuild(x, l, row, r, n, &model->t[PM_COMPONENT]);
    memcpy(mean, view->t[SK_MEAN].f64, l->d * sizeof *mean);
    for (uint32_t i = 0; i < n; i++)
        value[i] /= a->divide;
    a->total = (sum[SUM_TOTAL] + (v->center ? 0 : squares)) / a->divide;
    a->shrunk = sum[SUM_SHRUNK] / a->divide;
    return ST_OK;
}

/* ---- both ---- */

/* The component of greatest magnitude, the first of equal ones, positive. */
static void turn(float *c, uint32_t d, float times)
{
    uint32_t at = 0;

    for (uint32_t j = 1; j < d; j++)
        at = fabsf(c[j]) > fabsf(c[at]) ? j : at;
    if (c[at] < 0)
        times = -times;
    for (uint32_t j = 0; j < d; j++)
        c[j] = c[j] != 0 ? c[j] * times : 0;
}

/* From eigenvalues to variances. Returns the sum of what they are at least. */
static double finish(const struct pca *l, const struct pca_derive *v, const double *value,
                     const struct axes *a, struct tensors *model)
{
    const uint32_t k = (uint32_t)model->t[PM_COMPONENT].d.dim[0];
    double *variance = model->t[PM_VARIANCE].f64, least = 0;

    for (uint32_t i = 0; i < k; i++) {
        const bool is = i < l->n && value[i] > flat * value[0];
        const double times = !is ? 0 : v->whiten ? 1 / sqrt(value[i] + a->shrunk) : 1;

        variance[i] = is ? value[i] + a->shrunk : 0;
        least += is ? value[i] : 0;
        turn(model->t[PM_COMPONENT].f32 + (size_t)i * l->d, l->d, (float)times);
    }
    model->t[PM_TOTAL].f64[0] = a->total;
    return least;
}

static void measure(const struct pca *l, const struct axes *a, double least,
                    const struct tensor *variance, struct measures *m)
{
    double sum = 0;

    for (uint64_t i = 0; i < variance->n; i++)
        sum += variance->f64[i];
    m->model = -1;
    m->n = 0;
    if (!(a->total > 0))
        return;
    m->m[m->n++] = (struct measure){"captured", fmin(sum / a->total, 1), false};
    if (!l->sketch)
        return;
    m->m[m->n++] = (struct measure){"captured_at_least", least / a->total, false};
    m->m[m->n++] = (struct measure){"sketch_error", a->shrunk / a->total, true};
}

enum st pca_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                   struct tensors *model, struct measures *m)
{
    const struct pca l = pca_of(x->shape, x->opts);
    const struct pca_derive *v = derive_opts;
    const double *mean = x->work->t[PW_MEAN].f64;
    double least;
    struct axes a;

    CHECK(model->t[PM_COMPONENT].n && model->t[PM_MEAN].n == l.d);
    TRY(weigh(&l, v, view, &a, x->err));
    TRY((l.sketch ? sketch_axes : exact_axes)(x, &l, v, view, &a, model));
    for (uint32_t j = 0; j < l.d; j++)
        model->t[PM_MEAN].f32[j] = v->center ? (float)mean[j] : 0;
    least = finish(&l, v, x->work->t[PW_VALUE].f64, &a, model);
    measure(&l, &a, least, &model->t[PM_VARIANCE], m);
    return ST_OK;
}
