/* kmeans_view.c: the union of the slots' centres; and a slot that goes on from a model. Slots,
 * views and models lie in host memory. */
#include "algos/kmeans.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* The view takes its shift from the first slot that has rows. */
static void view_shift(const struct ctx *x, const struct km *l, struct tensors *view,
                       const struct tensors *s)
{
    if (view->t[KV_HEAD].u64[VIEW_SHIFTED])
        return;
    view->t[KV_HEAD].u64[VIEW_SHIFTED] = 1;
    if (s->t[KM_HEAD].u64[HEAD_SEEDED])
        memcpy(view->t[KV_SHIFT].p, s->t[KM_SHIFT].p, l->d * sizeof(float));
    else
        km_warm_mean(x, s, view->t[KV_SHIFT].f32);
}

/* Appends `n` points, row i less `less` plus `plus` (NULL: 0), those without weight left out. */
static void append(const struct km *l, struct tensors *view, const float *row, const float *less,
                   const float *plus, double weight)
{
    uint64_t *points = &view->t[KV_HEAD].u64[VIEW_POINTS];
    float *to = view->t[KV_POINT].f32 + *points * l->d;

    CHECK(*points < view->t[KV_N].n && weight >= 0);
    if (!(weight > 0))
        return;
    for (uint32_t j = 0; j < l->d; j++)
        to[j] = (float)((double)row[j] + (plus ? (double)plus[j] : 0) - (double)less[j]);
    view->t[KV_N].f64[*points] = weight;
    ++*points;
}

/* Has any of it a weight? A long half-life of rows without one leaves none. */
static bool warm_counts(const struct tensors *s)
{
    double sum = 0;

    for (uint64_t i = 0; i < s->t[KM_HEAD].u64[HEAD_LIVE]; i++)
        sum += (double)s->t[KM_WARM_WEIGHT].f32[i];
    return sum > (double)FLT_MIN;
}

static void fold_warm(const struct ctx *x, const struct km *l, struct tensors *view,
                      const struct slot *slot)
{
    const struct tensors *s = slot->state;
    const uint64_t live = s->t[KM_HEAD].u64[HEAD_LIVE];
    const float *shift = view->t[KV_SHIFT].f32;
    uint64_t *points = &view->t[KV_HEAD].u64[VIEW_POINTS];
    double sse = 0;
    uint64_t before = *points;
    uint32_t kept = 0;
    struct centres k = {
        .c = view->t[KV_POINT].f32 + *points * l->d, .n = view->t[KV_N].f64 + *points, .sse = &sse};

    if (live <= l->k) {
        for (uint64_t i = 0; i < live; i++)
            append(l, view, s->t[KM_WARM].f32 + i * l->d, shift, NULL,
                   slot->weight * (double)s->t[KM_WARM_WEIGHT].f32[i]);
        view->t[KV_HEAD].u64[VIEW_ROWS] += *points - before;
        return;
    }
    km_seed(x, s, slot->partition, shift, k);
    for (uint32_t j = 0; j < l->k; j++) { /* those without rows lie on others */
        double n = slot->weight * k.n[j];

        memmove(k.c + (size_t)kept * l->d, k.c + (size_t)j * l->d, l->d * sizeof *k.c);
        k.n[kept] = n;
        kept += n > 0;
    }
    memset(k.c + (size_t)kept * l->d, 0, (size_t)(l->k - kept) * l->d * sizeof *k.c);
    memset(k.n + kept, 0, (l->k - kept) * sizeof *k.n);
    view->t[KV_SSE].f64[0] += slot->weight * sse;
    *points += kept;
}

/* None of p[n] below 0? */
static enum st weights(const char *name, const double *p, uint64_t n, struct err *e)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] < 0)
            return fail(e, ST_CORRUPT, "tensor %s: element %llu is a weight below 0", name,
                        (unsigned long long)i);
    return ST_OK;
}

enum st kmeans_intact(const struct ctx *x, const struct tensors *s)
{
    const struct km l = km_of(x->shape, x->opts);
    const uint64_t *head = s->t[KM_HEAD].u64, live = head[HEAD_LIVE];

    if (live > l.w || head[HEAD_SEEDED] > 1 || (head[HEAD_SEEDED] ? live : live == l.w) > 0)
        return fail(x->err, ST_CORRUPT, "tensor head: %llu rows of %u wait, and centres %llu",
                    (unsigned long long)live, l.w, (unsigned long long)head[HEAD_SEEDED]);
    for (uint64_t i = 0; i < l.w; i++)
        if (i < live ? !(s->t[KM_WARM_WEIGHT].f32[i] > 0) : s->t[KM_WARM_WEIGHT].f32[i] != 0)
            return fail(x->err, ST_CORRUPT, "tensor %s: row %llu weighs %g",
                        s->t[KM_WARM_WEIGHT].d.name, (unsigned long long)i,
                        (double)s->t[KM_WARM_WEIGHT].f32[i]);
    TRY(weights("n", s->t[KM_N].f64, l.k, x->err));
    return weights("sse", s->t[KM_SSE].f64, 1, x->err);
}

enum st kmeans_fold(const struct ctx *x, struct tensors *view, const struct slot *slot)
{
    const struct km l = km_of(x->shape, x->opts);
    const struct tensors *s = slot->state;
    const uint64_t *head = s->t[KM_HEAD].u64;

    CHECK(s->t[KM_N].n == l.k && view->t[KV_SHIFT].n == l.d);
    CHECK(head[HEAD_LIVE] <= l.w && (!head[HEAD_SEEDED] || !head[HEAD_LIVE]));
    CHECK(slot->weight >= 0);
    if (view->t[KV_HEAD].u64[VIEW_POINTS] + l.k > view->t[KV_N].n)
        return fail(x->err, ST_BAD_CONFIG, "the view has room for %u partitions, this is one more",
                    l.p);
    if (!head[HEAD_SEEDED] && !warm_counts(s))
        return ST_OK;
    view_shift(x, &l, view, s);
    if (!head[HEAD_SEEDED]) {
        fold_warm(x, &l, view, slot);
        return ST_OK;
    }
    for (uint32_t j = 0; j < l.k; j++)
        append(&l, view, s->t[KM_CENTRE].f32 + (size_t)j * l.d, view->t[KV_SHIFT].f32,
               s->t[KM_SHIFT].f32, slot->weight * s->t[KM_N].f64[j]);
    view->t[KV_SSE].f64[0] += slot->weight * s->t[KM_SSE].f64[0];
    return ST_OK;
}

/* ---- going on from a model ---- */

static enum st check_model(const struct km *l, const struct tensors *model, uint32_t k, double *sum,
                           struct err *e)
{
    const double *weight = model->t[KM_MODEL_WEIGHT].f64, sse = model->t[KM_MODEL_SSE].f64[0];

    if (!k || model->t[KM_MODEL_CENTRE].n != (uint64_t)k * l->d ||
        model->t[KM_MODEL_WEIGHT].n != k || model->t[KM_MODEL_SSE].n != 1)
        return fail(e, ST_BAD_CONFIG, "its tensors are not those of %u clusters of %u features", k,
                    l->d);
    if (k > l->k)
        return fail(e, ST_BAD_CONFIG,
                    "it has %u clusters, a partition of this job keeps %u centres (k times "
                    "extra_centers)",
                    k, l->k);
    *sum = 0;
    for (uint32_t j = 0; j < k; j++) {
        if (!(weight[j] >= 0))
            return fail(e, ST_BAD_INPUT, "its cluster %u has weight %g", j, weight[j]);
        *sum += weight[j];
    }
    if (!(*sum > 0 && isfinite(*sum) && sse >= 0 && isfinite(sse)))
        return fail(e, ST_BAD_INPUT, "its clusters have weight %g, squared distances %g", *sum,
                    sse);
    return ST_OK;
}

/* The first partition takes the clusters for centres, as heavy as they are, so the view counts the
 * model's rows once. Its other centres lie on the heaviest, without weight: far rows will have
 * them. */
enum st kmeans_start(const struct ctx *x, const struct tensors *model, uint32_t partition,
                     struct tensors *s)
{
    const struct km l = km_of(x->shape, x->opts);
    const struct tensor *t = model->t;
    const uint32_t k = (uint32_t)t[KM_MODEL_CENTRE].d.dim[0];
    float *shift = x->work->t[HOST_F32].f32, *row = shift + l.d;
    double sum = 0, mean;

    TRY(check_model(&l, model, k, &sum, x->err));
    if (partition)
        return ST_OK;
    for (uint32_t j = 0; j < l.d; j++) {
        mean = 0;
        for (uint32_t i = 0; i < k; i++)
            mean += t[KM_MODEL_WEIGHT].f64[i] / sum *
                    (double)t[KM_MODEL_CENTRE].f32[(size_t)i * l.d + j];
        shift[j] = (float)mean;
    }
    x->c->put(x->cs, s->t[KM_SHIFT].f32, shift, l.d * sizeof *shift);
    for (uint32_t i = 0; i < l.k; i++) {
        const float *centre = t[KM_MODEL_CENTRE].f32 + (size_t)(i < k ? i : 0) * l.d;

        for (uint32_t j = 0; j < l.d; j++)
            row[j] = (float)((double)centre[j] - (double)shift[j]);
        x->c->put(x->cs, s->t[KM_CENTRE].f32 + (size_t)i * l.d, row, l.d * sizeof *row);
        s->t[KM_N].f64[i] = i < k ? t[KM_MODEL_WEIGHT].f64[i] : 0;
    }
    s->t[KM_SSE].f64[0] = t[KM_MODEL_SSE].f64[0];
    s->t[KM_HEAD].u64[HEAD_SEEDED] = 1;
    return ST_OK;
}
