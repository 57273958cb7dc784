/* kmeans_derive.c: k clusters of the view's weighted points.
 *
 * Seeds by greedy k-means++ (Arthur and Vassilvitskii, SODA 2007), a few rounds of Lloyd; then
 * SWAPS times a point takes the place of a centre, kept if a few rounds of Lloyd make that cheaper
 * (Franti, Efficiency of random swap clustering, 2018); then Lloyd to the end. Swaps find what
 * restarts do not: Fashion-MNIST, 200 centres of one partition, mean squared distance at k = 10,
 * 20, 50: 31.86, 26.83, 22.88; by 10 restarts of plain k-means++ and Lloyd: 32.10, 27.32, 23.12.
 *
 * Distances come from the back end's product of f32, sums and means are f64, and all draws follow
 * ctx.seed: the same view gives the same model.
 *
 * Measures. msd_estimate: kmeans.c. silhouette, which tells how many clusters there are: the mean
 * of (b - a) / b over all rows, a and b the distances to the nearest and the second nearest centre
 * (Rousseeuw 1987, simplified as by Vendramin et al. 2010: centres in place of all rows of a
 * cluster). A point stands for rows about it, so both squares are larger by sse / weight, the rows'
 * mean squared distance to their points: without it, one cluster a point would be the best.
 * empty_clusters, where there are some: with fewer points than clusters, or equal ones, those left
 * over lie on others, have weight 0 and are never the nearest.
 *
 * Views and models lie in host memory. Cost: about
 * 4 SWAPS products of 2 N k D flops, N points; swaps stop where they would take more than
 * swap_flops, for among so many centres a few gain little: at K = 1,000, two partitions, the whole
 * job took 7.1 s of a core in place of 15.2, the distance was 15.75 in place of 15.73. */
#include "algos/kmeans.h"

#include <math.h>
#include <string.h>

enum { SWAPS = 40, ROUNDS_SHORT = 3, ROUNDS_MAX = 100 };
static const double swap_flops = 1e11; /* of all swaps: some seconds of one core */

struct points {
    const float *p, *x2;  /* [n, d], [n] |p|^2 */
    const double *weight; /* [n] */
    uint32_t n, d;
};

/* The t candidates' squared distances to all points, into HOST_TRY. */
static void distances(const struct ctx *x, struct points v, const float *candidate, uint32_t t)
{
    const struct km l = km_of(x->shape, x->opts);
    float *dist = x->work->t[KW_DIST].f32, *c2 = x->work->t[KW_C2].f32;
    struct mat c = mat((float *)candidate, t, v.d, v.d);

    CHECK(t <= l.k);
    x->c->rowsq(x->cs, c, c2);
    for (uint32_t from = 0; from < v.n; from += l.b) {
        uint32_t n = v.n - from < l.b ? v.n - from : l.b;
        float *to = x->work->t[HOST_TRY].f32 + (size_t)from * CANDIDATES;

        x->c->gemm(x->cs, TB, -2.0f, mat((float *)v.p + (size_t)from * v.d, n, v.d, v.d), c, 0.0f,
                   mat(dist, n, t, t));
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < t; j++) {
                float d = dist[(size_t)i * t + j] + c2[j] + v.x2[from + i];

                to[(size_t)i * CANDIDATES + j] = d > 0.0f ? d : 0.0f;
            }
    }
}

/* d2 = weight * squared distance to the nearest of the centres so far and candidate j. Returns its
 * sum; d2 NULL only asks. */
static double with_candidate(const struct ctx *x, struct points v, uint32_t j, bool first,
                             double *d2)
{
    const double *have = x->work->t[HOST_D2].f64;
    const float *dist = x->work->t[HOST_TRY].f32;
    double sum = 0;

    for (uint32_t i = 0; i < v.n; i++) {
        double d = v.weight[i] * (double)dist[(size_t)i * CANDIDATES + j];

        d = first || d < have[i] ? d : have[i];
        sum += d;
        if (d2)
            d2[i] = d;
    }
    return sum;
}

/* Draws t points with probability d2 / total and puts their distances into HOST_TRY. Returns them.
 */
static const float *draw(const struct ctx *x, struct points v, uint32_t purpose, uint64_t at,
                         uint32_t t, double total)
{
    float *candidate = x->work->t[KW_SUM].f32, u[CANDIDATES];

    CHECK(t <= CANDIDATES);
    km_random(x, purpose, at, t, u);
    for (uint32_t i = 0; i < t; i++) {
        uint32_t pick = km_draw(x->work->t[HOST_D2].f64, v.n, total, u[i], (uint32_t)at % v.n);

        memcpy(candidate + (size_t)i * v.d, v.p + (size_t)pick * v.d, v.d * sizeof *candidate);
    }
    distances(x, v, candidate, t);
    return candidate;
}

/* Greedy k-means++: of a few candidates drawn, the one that lowers the cost most is taken. */
static void seed(const struct ctx *x, struct points v, uint32_t k, float *c)
{
    const struct km l = km_of(x->shape, x->opts);
    double *d2 = x->work->t[HOST_D2].f64, total = 0;
    uint32_t tries = 2;

    for (uint32_t q = k; q > 2 && tries < CANDIDATES; q = q * 3 / 8) /* 2 + ln k, about */
        tries++;
    tries = tries < l.k ? tries : l.k;
    for (uint32_t i = 0; i < v.n; i++)
        total += d2[i] = v.weight[i];
    for (uint32_t j = 0; j < k; j++) {
        const uint32_t t = j ? tries : 1;
        const float *candidate = draw(x, v, PURPOSE_DERIVE, j, t, total);
        uint32_t best = 0;
        double least = 0;

        for (uint32_t i = 0; i < t; i++) {
            double cost = with_candidate(x, v, i, j == 0, NULL);

            if (i && !(cost < least))
                continue;
            best = i;
            least = cost;
        }
        total = with_candidate(x, v, best, j == 0, d2);
        memcpy(c + (size_t)j * v.d, candidate + (size_t)best * v.d, v.d * sizeof *c);
    }
}

/* The two nearest of the k centres for every point: the number of the first into HOST_AT, weight *
 * squared distances into HOST_D2 and HOST_NEXT (k = 1: infinite). Returns the sum of HOST_D2. */
static double assign(const struct ctx *x, struct points v, uint32_t k, const float *c)
{
    const struct km l = km_of(x->shape, x->opts);
    const struct tensor *t = x->work->t;
    const uint32_t two = k > 1 ? 2 : 1;
    double *d2 = t[HOST_D2].f64, *next = t[HOST_NEXT].f64, sum = 0;

    for (uint32_t from = 0; from < v.n; from += l.b) {
        uint32_t n = v.n - from < l.b ? v.n - from : l.b;

        km_near(x, mat((float *)v.p + (size_t)from * v.d, n, v.d, v.d),
                mat((float *)c, k, v.d, v.d), two);
        for (uint32_t i = 0; i < n; i++) {
            double w = v.weight[from + i], x2 = (double)v.x2[from + i];
            double d = w * ((double)t[KW_VAL].f32[two * i] + x2);
            double e = w * ((double)t[KW_VAL].f32[two * i + two - 1] + x2);

            d2[from + i] = d > 0 ? d : 0;
            next[from + i] = k == 1 ? (double)__builtin_inff() : e > 0 ? e : 0;
            t[HOST_AT].u32[from + i] = t[KW_AT].u32[two * i];
            sum += d2[from + i];
        }
    }
    return sum;
}

/* Means of the points by cluster; a cluster without points takes the point that costs most. */
static void means(const struct ctx *x, struct points v, uint32_t k, float *c)
{
    double *sum = x->work->t[HOST_SUM].f64, *mass = x->work->t[HOST_MASS].f64;
    double *d2 = x->work->t[HOST_D2].f64;
    const uint32_t *at = x->work->t[HOST_AT].u32;

    memset(sum, 0, (size_t)k * v.d * sizeof *sum);
    memset(mass, 0, k * sizeof *mass);
    for (uint32_t i = 0; i < v.n; i++) {
        double *to = sum + (size_t)at[i] * v.d;
        const float *p = v.p + (size_t)i * v.d;

        mass[at[i]] += v.weight[i];
        for (uint32_t j = 0; j < v.d; j++)
            to[j] += v.weight[i] * (double)p[j];
    }
    for (uint32_t j = 0; j < k; j++) {
        uint32_t far = 0;

        for (uint32_t q = 0; q < v.d && mass[j] > 0; q++)
            c[(size_t)j * v.d + q] = (float)(sum[(size_t)j * v.d + q] / mass[j]);
        for (uint32_t i = 1; i < v.n && !(mass[j] > 0); i++)
            far = d2[i] > d2[far] ? i : far;
        if (mass[j] > 0 || !(d2[far] > 0))
            continue;
        memcpy(c + (size_t)j * v.d, v.p + (size_t)far * v.d, v.d * sizeof *c);
        d2[far] = 0;
    }
}

/* At most `rounds` of Lloyd from c, until the cost falls no more. Returns it. */
static double lloyd(const struct ctx *x, struct points v, uint32_t k, int rounds, float *c)
{
    double cost = assign(x, v, k, c), last;

    do {
        last = cost;
        means(x, v, k, c);
        cost = assign(x, v, k, c);
    } while (cost < last * (1 - 1e-6) && --rounds);
    return cost;
}

/* What the cost would be with candidate i in the place of the centre that it replaces best. */
static double swap_cost(const struct ctx *x, struct points v, uint32_t k, uint32_t i,
                        uint32_t *centre)
{
    const struct tensor *t = x->work->t;
    double *more = t[HOST_MASS].f64, sum = 0; /* [k] what giving the centre up costs */

    memset(more, 0, k * sizeof *more);
    for (uint32_t q = 0; q < v.n; q++) {
        double d = v.weight[q] * (double)t[HOST_TRY].f32[(size_t)q * CANDIDATES + i];
        double near = d < t[HOST_D2].f64[q] ? d : t[HOST_D2].f64[q];

        sum += near;
        more[t[HOST_AT].u32[q]] += (d < t[HOST_NEXT].f64[q] ? d : t[HOST_NEXT].f64[q]) - near;
    }
    *centre = 0;
    for (uint32_t j = 1; j < k; j++)
        *centre = more[j] < more[*centre] ? j : *centre;
    return sum + more[*centre];
}

/* Puts one of a few points drawn as in k-means++ into c, in the place of the centre that is missed
 * least. The points are assigned to c. */
static void swap(const struct ctx *x, struct points v, uint32_t k, uint32_t round, double cost,
                 float *c)
{
    const struct km l = km_of(x->shape, x->opts);
    const uint32_t t = CANDIDATES < l.k ? CANDIDATES : l.k;
    const float *candidate = draw(x, v, PURPOSE_SWAP, round, t, cost);
    uint32_t best = 0, place = 0;
    double least = 0;

    for (uint32_t i = 0; i < t; i++) {
        uint32_t centre;
        double other = swap_cost(x, v, k, i, &centre);

        if (i && !(other < least))
            continue;
        least = other;
        best = i;
        place = centre;
    }
    memcpy(c + (size_t)place * v.d, candidate + (size_t)best * v.d, v.d * sizeof *c);
}

/* Swaps that a few rounds of Lloyd make worth while leave the local optima that Lloyd stops in.
 * cost is that of c; trial is scratch. */
static void search(const struct ctx *x, struct points v, uint32_t k, float *c, float *trial,
                   double cost)
{
    const size_t bytes = (size_t)k * v.d * sizeof *c;
    const double most = swap_flops / (8.0 * v.n * k * v.d);

    for (uint32_t round = 0; round < SWAPS && round < most; round++) {
        double other;

        memcpy(trial, c, bytes);
        swap(x, v, k, round, assign(x, v, k, c), trial);
        other = lloyd(x, v, k, ROUNDS_SHORT, trial);
        if (!(other < cost))
            continue;
        cost = other;
        memcpy(c, trial, bytes);
    }
}

/* Centres into the model, heaviest first; weights by cluster. Returns the cost in f64. */
static double finish(const struct ctx *x, struct points v, uint32_t k, const float *c,
                     const float *shift, struct tensors *model)
{
    double *mass = x->work->t[HOST_MASS].f64, *weight = model->t[KM_MODEL_WEIGHT].f64, cost = 0;
    uint32_t *at = x->work->t[HOST_AT].u32;

    (void)assign(x, v, k, c);
    memset(mass, 0, k * sizeof *mass);
    for (uint32_t i = 0; i < v.n; i++) {
        const float *p = v.p + (size_t)i * v.d, *z = c + (size_t)at[i] * v.d;
        double sum = 0;

        mass[at[i]] += v.weight[i];
        for (uint32_t j = 0; j < v.d; j++)
            sum += ((double)p[j] - (double)z[j]) * ((double)p[j] - (double)z[j]);
        cost += v.weight[i] * sum;
    }
    for (uint32_t rank = 0; rank < k; rank++) {
        float *to = model->t[KM_MODEL_CENTRE].f32 + (size_t)rank * v.d;
        uint32_t best = 0;

        for (uint32_t j = 1; j < k; j++)
            best = mass[j] > mass[best] ? j : best;
        weight[rank] = mass[best];
        for (uint32_t j = 0; j < v.d; j++)
            to[j] = (float)((double)c[(size_t)best * v.d + j] + (double)shift[j]);
        mass[best] = -1; /* taken */
    }
    return cost;
}

/* Of the points as finish() has assigned them; within: mean squared distance of rows to points;
 * rows: each point is a row. A row that is a cluster alone counts 0. */
static double silhouette(const struct ctx *x, struct points v, uint32_t k, double within, bool rows)
{
    const struct tensor *t = x->work->t;
    uint32_t *points = t[HOST_U32].u32; /* [k] of a cluster */
    double sum = 0, weight = 0;

    memset(points, 0, k * sizeof *points);
    for (uint32_t i = 0; i < v.n; i++)
        points[t[HOST_AT].u32[i]]++;
    for (uint32_t i = 0; i < v.n; i++) {
        double a = sqrt(t[HOST_D2].f64[i] / v.weight[i] + within);
        double b = sqrt(t[HOST_NEXT].f64[i] / v.weight[i] + within);

        weight += v.weight[i];
        if (b > a && (!rows || points[t[HOST_AT].u32[i]] > 1))
            sum += v.weight[i] * (b - a) / b;
    }
    return sum / weight;
}

static void measure(const struct ctx *x, struct points v, uint32_t k, const struct tensors *view,
                    struct tensors *model, struct measures *m)
{
    const double *of = model->t[KM_MODEL_WEIGHT].f64, sse = view->t[KV_SSE].f64[0];
    const bool rows = view->t[KV_HEAD].u64[VIEW_ROWS] == v.n;
    double weight = 0;
    uint32_t empty = 0;

    for (uint32_t i = 0; i < v.n; i++)
        weight += v.weight[i];
    for (uint32_t j = 0; j < k; j++)
        empty += of[j] > 0 ? 0 : 1;
    m->m[0] = (struct measure){"msd_estimate", model->t[KM_MODEL_SSE].f64[0] / weight, true};
    m->n = 1;
    if (k > 1)
        m->m[m->n++] =
            (struct measure){"silhouette", silhouette(x, v, k, sse / weight, rows), false};
    if (empty)
        m->m[m->n++] = (struct measure){"empty_clusters", empty, true};
    m->model = -1;
}

enum st kmeans_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                      struct tensors *model, struct measures *m)
{
    const struct km l = km_of(x->shape, x->opts);
    const uint32_t k = (uint32_t)model->t[KM_MODEL_CENTRE].d.dim[0];
    const struct points v = {.p = view->t[KV_POINT].f32,
                             .weight = view->t[KV_N].f64,
                             .x2 = x->work->t[HOST_X2].f32,
                             .n = (uint32_t)view->t[KV_HEAD].u64[VIEW_POINTS],
                             .d = l.d};
    float *best = model->t[KM_MODEL_CENTRE].f32, *trial = x->work->t[HOST_TRIAL].f32;
    double cost;

    (void)derive_opts;
    CHECK(k && k <= l.k);
    CHECK(v.n <= x->work->t[HOST_X2].n);
    if (!v.n)
        return fail(x->err, ST_AGAIN, "no row has been learned yet: there is nothing to cluster");
    x->c->rowsq(x->cs, mat((float *)v.p, v.n, v.d, v.d), x->work->t[HOST_X2].f32);
    seed(x, v, k, best);
    cost = lloyd(x, v, k, ROUNDS_SHORT, best);
    search(x, v, k, best, trial, cost);
    (void)lloyd(x, v, k, ROUNDS_MAX, best);
    memcpy(trial, best, (size_t)k * v.d * sizeof *best);
    cost = finish(x, v, k, trial, view->t[KV_SHIFT].f32, model);
    model->t[KM_MODEL_SSE].f64[0] = cost + view->t[KV_SSE].f64[0];
    measure(x, v, k, view, model, m);
    return ST_OK;
}
