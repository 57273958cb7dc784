/* pca_sketch.c: Frequent Directions of the rows about their mean, and the merge of such sketches.
 *
 * All of it is f64 on the host: rows that stand for a billion have to take in one more, whose
 * share float32 would round away, for ever. */
#include "algos/pca.h"

#include "algos/compute/lapack.h"

#include <math.h>
#include <string.h>

/* The room for 2 L rows is full: L - 1 rows at most stay. Along the i-th direction of greatest
 * squares v_i they lose v_L, so what is left has no L-th one. */
static enum st shrink(const struct ctx *x, const struct pca *l, struct tensors *s)
{
    struct tensor *t = x->work->t;
    double *row = s->t[SK_ROW].f64, *u = t[PW_GRAM].f64, *value = t[PW_VALUE].f64, least;
    double *turned = t[PW_EIGEN].f64, *panel = t[PW_PANEL].f64;
    const uint32_t n = 2 * l->l;
    uint32_t keep = 0;

    CHECK(s->t[SK_HEAD].u64[0] == n);
    lapack_gram(n, l->d, row, u, n);
    TRY(lapack_eigen(n, u, value, t[PW_EIGEN].f64, x->err));
    least = value[l->l - 1] > 0 ? value[l->l - 1] : 0;
    while (keep + 1 < l->l && value[keep] > least)
        keep++;
    for (uint32_t i = 0; i < keep; i++)
        for (uint32_t j = 0; j < n; j++)
            turned[(size_t)j * keep + i] = sqrt(1 - least / value[i]) * u[(size_t)i * n + j];
    for (uint32_t at = 0; at < l->d; at += PANEL_COLS) {
        const uint32_t cols = l->d - at < PANEL_COLS ? l->d - at : PANEL_COLS;

        lapack_multiply(keep, n, cols, turned, row + at, l->d, panel);
        for (uint32_t i = 0; i < keep; i++)
            memcpy(row + (size_t)i * l->d + at, panel + (size_t)i * cols, cols * sizeof *row);
    }
    memset(row + (size_t)keep * l->d, 0, (size_t)(n - keep) * l->d * sizeof *row);
    s->t[SK_HEAD].u64[0] = keep;
    s->t[SK_SUM].f64[SUM_SHRUNK] += least;
    return ST_OK;
}

/* The next free row. */
static enum st next_row(const struct ctx *x, const struct pca *l, struct tensors *s, double **to)
{
    uint64_t *live = s->t[SK_HEAD].u64;

    if (*live == 2 * (uint64_t)l->l)
        TRY(shrink(x, l, s));
    *to = s->t[SK_ROW].f64 + *live * l->d;
    ++*live;
    return ST_OK;
}

static void age(struct tensors *s, const struct pca *l, double decay)
{
    double *sum = s->t[SK_SUM].f64, *row = s->t[SK_ROW].f64;
    const uint64_t n = s->t[SK_HEAD].u64[0] * l->d;
    const double c = sqrt(decay);

    CHECK(decay > 0 && decay <= 1);
    for (uint32_t i = 0; i < SUM_N && decay < 1; i++)
        sum[i] *= decay;
    for (uint64_t i = 0; i < n && decay < 1; i++)
        row[i] *= c;
}

/* One more point y of weight w: the squares about the mean grow by w n / (n + w) (y - m) (y - m)',
 * exactly, and that is one row. */
static enum st add_point(const struct ctx *x, const struct pca *l, struct tensors *s,
                         const double *y, double w)
{
    double *mean = s->t[SK_MEAN].f64, *sum = s->t[SK_SUM].f64, *to, squares = 0;
    const double n = sum[SUM_WEIGHT], share = w / (n + w), root = sqrt(n * share);

    sum[SUM_WEIGHT] = n + w;
    if (!(n > 0)) {
        memcpy(mean, y, l->d * sizeof *mean);
        return ST_OK;
    }
    TRY(next_row(x, l, s, &to));
#pragma omp simd reduction(+ : squares)
    for (uint32_t j = 0; j < l->d; j++) {
        const double off = y[j] - mean[j];

        mean[j] += share * off;
        to[j] = root * off;
        squares += to[j] * to[j];
    }
    sum[SUM_TOTAL] += squares;
    return ST_OK;
}

enum st sketch_add(const struct ctx *x, struct tensors *s, const struct rows *r)
{
    const struct pca l = pca_of(x->shape, x->opts);
    const struct feat *f = &r->host->in[0];
    double *y = x->work->t[PW_MEAN].f64;

    CHECK(f->d == l.d && f->ld >= l.d && r->train <= l.b && s->t[SK_HEAD].u64[0] <= 2 * l.l);
    age(s, &l, r->decay);
    for (uint32_t i = 0; i < r->train; i++) {
        const float *row = f->x + (size_t)i * f->ld;

        if (!(r->host->weight[i] > 0))
            continue;
        for (uint32_t j = 0; j < l.d; j++)
            y[j] = (double)row[j];
        TRY(add_point(x, &l, s, y, (double)r->host->weight[i]));
    }
    return ST_OK;
}

/* The slot's rows are appended, then its mean, as one point of all its weight: squares about the
 * mean of the union are those about the two means and one row between these. */
enum st sketch_fold(const struct ctx *x, struct tensors *view, const struct slot *slot)
{
    const struct pca l = pca_of(x->shape, x->opts);
    const struct tensors *s = slot->state;
    const double *row = s->t[SK_ROW].f64, *sum = s->t[SK_SUM].f64, c = slot->weight;
    double *total = view->t[SK_SUM].f64, *to;

    CHECK(s->t[SK_ROW].n == view->t[SK_ROW].n && c >= 0 && s->t[SK_HEAD].u64[0] <= 2 * l.l);
    if (!(c * sum[SUM_WEIGHT] > 0))
        return ST_OK;
    for (uint64_t i = 0; i < s->t[SK_HEAD].u64[0]; i++, row += l.d) {
        TRY(next_row(x, &l, view, &to));
        for (uint32_t j = 0; j < l.d; j++)
            to[j] = sqrt(c) * row[j];
    }
    total[SUM_TOTAL] += c * sum[SUM_TOTAL];
    total[SUM_SHRUNK] += c * sum[SUM_SHRUNK];
    return add_point(x, &l, view, s->t[SK_MEAN].f64, c * sum[SUM_WEIGHT]);
}
