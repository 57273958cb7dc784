/* stats_view.c: slots become one view, and a view a model. Slots, views and models lie in host
 * memory. Counts and registers merge by law. */
#include "algos/stats.h"

#include <math.h>
#include <string.h>

/* ---- merging ---- */

static void fold_range(float *a, const float *b, bool first)
{
    a[0] = first || b[0] < a[0] ? b[0] : a[0];
    a[1] = first || b[1] > a[1] ? b[1] : a[1];
}

/* What is proportional to weights counts as the slot does. */
static void fold_moments(double *to, const double *from, double weight)
{
    double m[MOMENT_N];

    for (int k = 0; k < MOMENT_N; k++)
        m[k] = k == MOMENT_MEAN ? from[k] : weight * from[k];
    moments_merge(to, m);
}

static void fold_pair(double *to, const double *from, double weight)
{
    double p[PAIR_N];

    for (int k = 0; k < PAIR_N; k++)
        p[k] = k == PAIR_MEAN_I || k == PAIR_MEAN_J ? from[k] : weight * from[k];
    pair_merge(to, p);
}

static void fold_column(const struct ctx *x, const struct stats *l, struct tensors *view,
                        const struct slot *slot, uint32_t j)
{
    const struct tensors *s = slot->state;
    const struct heavy h = stats_heavy(s, j, l->t), to = stats_heavy(view, j, l->t);
    const bool first = !kll_count(stats_kll(view, j, l->c)); /* values of a column */
    const struct kll_by by = stats_kll_by(x, PURPOSE_FOLD, slot->partition, j);

    if (!s->t[ST_COUNT].u64[(size_t)j * COUNT_N + COUNT_ROWS])
        return;
    fold_range(view->t[ST_RANGE].f32 + 2 * (size_t)j, s->t[ST_RANGE].f32 + 2 * (size_t)j, first);
    fold_moments(view->t[ST_MOMENT].f64 + (size_t)j * MOMENT_N,
                 s->t[ST_MOMENT].f64 + (size_t)j * MOMENT_N, slot->weight);
    kll_merge(&by, stats_kll(view, j, l->c), stats_kll(s, j, l->c));
    heavy_add(to, h.value, h.n, l->t, x->work->t[SW_MERGE].f32, x->work->t[SW_MERGE_N].u64,
              x->work->t[SW_LARGEST].u64);
    *to.off += *h.off;
}

enum st stats_intact(const struct ctx *x, const struct tensors *s)
{
    const struct stats l = stats_of(x->shape, x->opts);
    const struct stats_opts *o = x->opts;

    for (uint32_t j = 0; j < l.d; j++) {
        const double *m = s->t[ST_MOMENT].f64 + (size_t)j * MOMENT_N;

        if (!kll_intact(o->quantile_k, stats_kll(s, j, l.c)) ||
            !heavy_intact(stats_heavy(s, j, l.t)) ||
            !hll_intact(s->t[ST_REG].u8 + ((size_t)j << o->distinct_bits), o->distinct_bits) ||
            m[MOMENT_W] < 0 || m[MOMENT_2] < 0)
            return fail(x->err, ST_CORRUPT,
                        "column %u: its quantiles, frequent values, registers or moments are none "
                        "that rows can have left",
                        j);
    }
    return ST_OK;
}

enum st stats_fold(const struct ctx *x, struct tensors *view, const struct slot *slot)
{
    const struct stats l = stats_of(x->shape, x->opts);

    CHECK(slot->weight >= 0 && slot->state->t[ST_COINS].n == l.d);
    for (uint32_t j = 0; j < l.d; j++)
        fold_column(x, &l, view, slot, j);
    for (uint32_t p = 0; p < l.pairs; p++)
        fold_pair(view->t[ST_PAIR].f64 + (size_t)p * PAIR_N,
                  slot->state->t[ST_PAIR].f64 + (size_t)p * PAIR_N, slot->weight);
    return ST_OK;
}

/* ---- a model ---- */

static void read_moments(const struct tensors *view, struct tensors *model, uint32_t j)
{
    const double *m = view->t[ST_MOMENT].f64 + (size_t)j * MOMENT_N, w = m[MOMENT_W];
    const float *range = view->t[ST_RANGE].f32 + 2 * (size_t)j;
    double variance;

    model->t[STM_MEAN].f64[j] = m[MOMENT_MEAN];
    if (range[0] == range[1] || no_spread(w, m[MOMENT_MEAN], m[MOMENT_2]))
        return; /* all alike: 0 stands for what has no meaning then */
    variance = m[MOMENT_2] / w;
    model->t[STM_DEVIATION].f64[j] = sqrt(variance);
    model->t[STM_SKEWNESS].f64[j] = m[MOMENT_3] / w / (variance * sqrt(variance));
    model->t[STM_KURTOSIS].f64[j] = m[MOMENT_4] / w / (variance * variance) - 3;
}

/* Rows in equal bins, a value on an edge in the bin above it, the last bin with both edges: by the
 * ranks just below the edges. */
static void read_histogram(const float *value, const double *upto, uint32_t n, float least,
                           float most, double *bin, uint32_t bins)
{
    const double low = (double)least, width = ((double)most - low) / bins;
    double before = 0, rank;

    for (uint32_t b = 0; b < bins; b++, before = rank) {
        double edge = low + width * (b + 1);
        float below = (float)edge;

        below = (double)below >= edge ? nextafterf(below, -INFINITY) : below;
        rank = b + 1 == bins ? upto[n - 1] : kll_rank(value, upto, n, below);
        rank = rank < before ? before : rank;
        bin[b] = rank - before;
    }
}

static void read_sketch(const struct ctx *x, const struct stats *l, const struct tensors *view,
                        struct tensors *model, uint32_t j)
{
    const uint32_t q = (uint32_t)model->t[STM_SHARE].n;
    const uint32_t bins = (uint32_t)model->t[STM_HISTOGRAM].d.dim[1];
    const float *share = model->t[STM_SHARE].f32, *range = view->t[ST_RANGE].f32 + 2 * (size_t)j;
    float *value = x->work->t[SW_READ].f32, *to = model->t[STM_QUANTILE].f32 + (size_t)j * q;
    double *upto = x->work->t[SW_UPTO].f64;
    const uint32_t n = kll_read(stats_kll(view, j, l->c), value, upto);

    if (!n)
        return;
    for (uint32_t i = 0; i < q; i++) /* the ends are known exactly */
        to[i] = share[i] <= 0   ? range[0]
                : share[i] >= 1 ? range[1]
                                : kll_quantile(value, upto, n, (double)share[i]);
    read_histogram(value, upto, n, range[0], range[1],
                   model->t[STM_HISTOGRAM].f64 + (size_t)j * bins, bins);
}

static void read_top(const struct stats *l, const struct tensors *view, struct tensors *model,
                     uint32_t j)
{
    const struct heavy h = stats_heavy(view, j, l->t);
    const uint32_t most = (uint32_t)model->t[STM_TOP_VALUE].d.dim[1];
    float *value = model->t[STM_TOP_VALUE].f32 + (size_t)j * most;
    double *count = model->t[STM_TOP_COUNT].f64 + (size_t)j * most;
    uint32_t have = 0;

    for (uint32_t i = 0; i < h.top && h.n[i]; i++) {
        const double n = (double)h.n[i];
        uint32_t at = have < most ? have++ : most - 1;

        if (at == most - 1 && count[at] >= n)
            continue;
        for (; at && count[at - 1] < n; at--) {
            count[at] = count[at - 1];
            value[at] = value[at - 1];
        }
        count[at] = n;
        value[at] = h.value[i];
    }
    model->t[STM_TOP_ERROR].f64[j] = (double)*h.off;
}

static void read_correlation(const struct stats *l, const struct tensors *view,
                             struct tensors *model)
{
    const double *p = view->t[ST_PAIR].f64;
    double *to = model->t[STM_CORRELATION].f64;

    for (uint32_t i = 0; i < l->d; i++) {
        to[(size_t)i * l->d + i] = model->t[STM_DEVIATION].f64[i] > 0;
        for (uint32_t j = 0; j < i; j++, p += PAIR_N) {
            double r = 0;

            if (!no_spread(p[PAIR_W], p[PAIR_MEAN_I], p[PAIR_2_I]) &&
                !no_spread(p[PAIR_W], p[PAIR_MEAN_J], p[PAIR_2_J]))
                r = p[PAIR_PRODUCT] / (sqrt(p[PAIR_2_I]) * sqrt(p[PAIR_2_J]));
            r = r > 1 ? 1 : r < -1 ? -1 : r;
            to[(size_t)i * l->d + j] = to[(size_t)j * l->d + i] = r;
        }
    }
}

static void measure(const struct stats *l, const struct tensors *model, struct measures *m)
{
    double missing = 0, all = 0, constant = 0;

    for (uint32_t j = 0; j < l->d; j++) {
        missing += model->t[STM_MISSING].f64[j];
        all += model->t[STM_MISSING].f64[j] + model->t[STM_COUNT].f64[j];
        constant +=
            model->t[STM_COUNT].f64[j] > 0 && model->t[STM_MIN].f32[j] == model->t[STM_MAX].f32[j];
    }
    m->m[0] = (struct measure){"columns", l->d, false};
    m->m[1] = (struct measure){"constant_columns", constant, true};
    m->m[2] = (struct measure){"missing_share", all > 0 ? missing / all : 0, true};
    m->n = 3;
    m->model = -1;
}

enum st stats_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                     struct tensors *model, struct measures *m)
{
    const struct stats l = stats_of(x->shape, x->opts);
    const struct stats_opts *o = x->opts;
    const struct stats_derive *v = derive_opts;

    memcpy(model->t[STM_SHARE].f32, v->quantiles.v, model->t[STM_SHARE].bytes);
    for (uint32_t j = 0; j < l.d; j++) {
        const double *count = view->t[ST_COUNT].f64 + (size_t)j * COUNT_N;
        double distinct;

        model->t[STM_COUNT].f64[j] = count[COUNT_ROWS];
        model->t[STM_MISSING].f64[j] = count[COUNT_MISSING];
        model->t[STM_ZEROS].f64[j] = count[COUNT_ZEROS];
        model->t[STM_MIN].f32[j] = view->t[ST_RANGE].f32[2 * (size_t)j];
        model->t[STM_MAX].f32[j] = view->t[ST_RANGE].f32[2 * (size_t)j + 1];
        distinct =
            hll_estimate(view->t[ST_REG].u8 + ((size_t)j << o->distinct_bits), o->distinct_bits);
        model->t[STM_DISTINCT].f64[j] = distinct < count[COUNT_ROWS] ? distinct : count[COUNT_ROWS];
        read_moments(view, model, j);
        read_sketch(x, &l, view, model, j);
        read_top(&l, view, model, j);
    }
    if (l.correlation)
        read_correlation(&l, view, model);
    measure(&l, model, m);
    return ST_OK;
}
