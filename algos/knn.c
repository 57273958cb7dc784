/* knn.c: the nearest rows of a sample decide.
 *
 * Problem. Predict a row's label from those of the rows most like it. All rows cannot be kept.
 *
 * Idea. Keep a uniform sample of N rows with their labels (sample.h), and decide when asked: the k
 * nearest by |x - c|^2 vote for their class, or the mean of their labels is the value (Fix and
 * Hodges 1951; Cover and Hart, Nearest neighbor pattern classification, IEEE Trans. Information
 * Theory 13, 1967). k, the task and any smaller sample, which is the head of the larger one, are
 * chosen after the pass. How well: each of up to 2,000 rows of the sample is predicted by the
 * others, so `tune` needs no data (of a large sample fewer, so that it takes a second or so).
 * Distances by one matrix product: |c|^2 - 2 x c, about the sample's mean, for a common offset
 * would take the digits of float32. A tile of the sample at a time keeps the scratch small.
 * Ties. Of rows equally far the one of smaller key counts as nearer; of classes with equal votes,
 * that of the nearest neighbour.
 * Projection. With `project: M` a row is kept as M sums of its features with random signs, divided
 * by sqrt M, which keep squared distances up to a factor of 1 +- sqrt(8 log N / M) or so
 * (Achlioptas, Database-friendly random projections, JCSS 66, 2003). Signs follow the seed.
 *
 * State. A sample of N rows of M numbers and a label; signs 4 D M. Model: 4 N (M + 2) bytes.
 * Cost a row learned. That of the sample; 2 D M flops if it is taken and projected. A row scored:
 * 2 n M flops and the search for the k least of n.
 * Merge. The sample's: exact, a set, so several epochs change nothing.
 * Weights decide who is kept, not how much a neighbour says.
 * Limits. Dense rows. Columns count as they come: scale them before. Not done. An index: n M is
 * what a row costs. Sparse rows. Other metrics than the Euclidean; scale rows to length 1 before
 * for cosine. */
#include "algos/knn.h"

#include "algos/compute/philox.h"

#include <math.h>
#include <string.h>

static const double loo_flops = 4e10; /* of all rows predicted by the others: a second of a core */

/* ---- learning ---- */

/* The signs of [D, M], into host memory. */
static void signs(const struct ctx *x, const struct knn *l, float *to)
{
    const struct philox_key key = philox_key((uint64_t[2]){x->seed, l->s.purpose});
    uint32_t w[4];

    for (uint32_t j = 0; j < l->d; j++)
        for (uint32_t q = 0; q < l->m; q++) {
            if (q % 4 == 0)
                philox_words(key, j, q / 4, w);
            to[(size_t)j * l->m + q] = mr_sign(w[q % 4]);
        }
}

enum st knn_init(const struct ctx *x, struct tensors *s)
{
    const struct knn l = knn_of(x->shape, x->opts);

    if (l.o->project)
        signs(x, &l, s->t[KNN_SIGN].f32);
    return ST_OK;
}

/* Sums of the row with the signs, in f64 and feature by feature: the same bits in any batch. */
static void project(const struct ctx *x, const struct knn *l, const float *sign, const float *row,
                    float *to)
{
    double *sum = x->work->t[HOST_SUM].f64;
    const double unit = 1 / sqrt((double)l->m);

    memset(sum, 0, l->m * sizeof *sum);
    for (uint32_t j = 0; j < l->d; j++) {
        const double v = (double)row[j];

        for (uint32_t q = 0; q < l->m && v != 0; q++)
            sum[q] += v * (double)sign[(size_t)j * l->m + q];
    }
    for (uint32_t q = 0; q < l->m; q++)
        to[q] = (float)(sum[q] * unit);
}

/* The sample predicts when it is asked; a query a row would cost far more than learning it. */
static void no_predictions(const struct ctx *x, uint32_t n, struct eval *e)
{
    const uint32_t z = x->shape->zcols;
    float zero = 0.0f, none = LOSS_NONE;

    if (!e)
        return;
    x->c->ew(x->cs, EW_set, (uint32_t[2]){n, z}, (struct arg[8]){{e->z, z}}, &zero);
    x->c->ew(x->cs, EW_set, (uint32_t[2]){n, 1}, (struct arg[8]){{e->loss, 1}}, &none);
}

static enum st knn_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                          struct eval *e)
{
    const struct knn l = knn_of(x->shape, x->opts);
    const struct feat *f = &r->host->in[0];
    struct sampler m;

    CHECK(r->n <= l.b && r->train <= r->n);
    if (!r->n)
        return ST_OK;
    no_predictions(x, r->n, e);
    CHECK(f->d == l.d && f->ld >= l.d && f->x);
    CHECK(r->host->y && r->host->ny == 1);
    if (l.c)
        TRY(rows_classes(r, l.c, x->err));
    m = sample_begin(x, &l.s, s, r);
    for (uint32_t i = 0; i < r->train; i++) {
        const float *row = f->x + (size_t)i * f->ld;
        uint32_t place;

        if (!sample_fresh(&m, i) || !sample_take(&m, i, &place))
            continue;
        if (l.o->project)
            project(x, &l, s->t[KNN_SIGN].f32, row, s->t[SAMPLE_X].f32 + (size_t)place * l.m);
        else
            memcpy(s->t[SAMPLE_X].f32 + (size_t)place * l.m, row, l.m * sizeof *row);
        s->t[SAMPLE_Y].f32[place] = r->host->y[i];
    }
    return ST_OK;
}

static enum st knn_fold(const struct ctx *x, struct tensors *view, const struct slot *slot)
{
    const struct knn l = knn_of(x->shape, x->opts);

    return sample_fold(x, &l.s, view, slot);
}

static enum st knn_intact(const struct ctx *x, const struct tensors *s)
{
    const struct knn l = knn_of(x->shape, x->opts);
    const float *y = s->t[SAMPLE_Y].f32;

    for (uint64_t i = 0; i < s->t[SAMPLE_HEAD].u64[SAMPLE_LIVE] && l.c; i++)
        if (!is_class(y[i], l.c))
            return fail(x->err, ST_CORRUPT, "tensor y: label %g of row %llu is not a class, 0..%u",
                        (double)y[i], (unsigned long long)i, l.c - 1);
    return sample_intact(x, &l.s, s);
}

static enum st knn_fold_end(const struct ctx *x, struct tensors *view)
{
    const struct knn l = knn_of(x->shape, x->opts);

    sample_fold_end(x, &l.s, view);
    return ST_OK;
}

/* ---- neighbours ---- */

/* Merges the nearest of a tile into those of the tiles before, which win ties: they come first. */
static void merge(const struct ctx *x, uint32_t i, uint32_t have, uint32_t of_tile, uint32_t from,
                  uint32_t k, uint32_t wide)
{
    struct tensor *t = x->work->t;
    uint32_t *at = t[HOST_AT].u32 + (size_t)i * wide, *next = t[HOST_NEXT].u32;
    float *val = t[HOST_VAL].f32 + (size_t)i * wide, *next_val = t[HOST_NEXT_VAL].f32;
    const uint32_t *tile_at = t[HOST_TILE_AT].u32 + (size_t)i * of_tile;
    const float *tile_val = t[HOST_TILE_VAL].f32 + (size_t)i * of_tile;
    uint32_t a = 0, b = 0, n = have + of_tile < k ? have + of_tile : k;

    for (uint32_t q = 0; q < n; q++) {
        bool old = b == of_tile || (a < have && !(tile_val[b] < val[a]));

        next[q] = old ? at[a] : from + tile_at[b];
        next_val[q] = old ? val[a] : tile_val[b];
        a += old;
        b += !old;
    }
    memcpy(at, next, n * sizeof *at);
    memcpy(val, next_val, n * sizeof *val);
}

/* The k nearest rows of the model for each row of `in`, which is centred: HOST_AT[., wide]. */
static void nearest(const struct ctx *x, const struct knn *l, const struct tensors *model,
                    struct mat in, uint32_t k)
{
    struct tensor *t = x->work->t;
    const uint32_t rows = (uint32_t)model->t[KNN_HEAD].u64[KNN_ROWS];

    CHECK(k <= rows && k <= l->wide && in.r <= l->b && in.c == l->m);
    for (uint32_t from = 0, have = 0; from < rows; from += TILE) {
        uint32_t n = rows - from < TILE ? rows - from : TILE, of_tile = n < k ? n : k;
        struct mat dist = mat(t[KW_DIST].f32, in.r, n, n);

        x->c->gemm(x->cs, TB, -2.0f, in,
                   mat(model->t[KNN_X].f32 + (size_t)from * l->m, n, l->m, l->m), 0.0f, dist);
        x->c->topk(x->cs, dist, model->t[KNN_NORM].f32 + from, of_tile, t[KW_AT].u32,
                   t[KW_VAL].f32);
        x->c->get(x->cs, t[HOST_TILE_AT].p, t[KW_AT].p, (size_t)in.r * of_tile * sizeof(uint32_t));
        x->c->get(x->cs, t[HOST_TILE_VAL].p, t[KW_VAL].p, (size_t)in.r * of_tile * sizeof(float));
        for (uint32_t i = 0; i < in.r; i++)
            merge(x, i, have, of_tile, from, k, l->wide);
        have = have + of_tile < k ? have + of_tile : k;
    }
}

/* The class with most votes among the k neighbours, the nearest's of equal ones; vote has all. */
static uint32_t vote(const struct ctx *x, const struct knn *l, const float *y, const uint32_t *at,
                     uint32_t k)
{
    uint32_t *votes = x->work->t[HOST_VOTE].u32, best;

    memset(votes, 0, l->c * sizeof *votes);
    for (uint32_t q = 0; q < k; q++)
        votes[(uint32_t)y[at[q]]]++;
    best = (uint32_t)y[at[0]];
    for (uint32_t q = 1; q < k; q++) {
        uint32_t class = (uint32_t)y[at[q]];

        best = votes[class] > votes[best] ? class : best;
    }
    return best;
}

static double mean(const float *y, const uint32_t *at, uint32_t k)
{
    double sum = 0;

    for (uint32_t q = 0; q < k; q++)
        sum += (double)y[at[q]];
    return sum / k;
}

/* ---- models ---- */

/* Rows less their mean, squares, labels. */
static void fill_model(const struct ctx *x, const struct knn *l, const struct tensors *view,
                       uint32_t rows, struct tensors *model)
{
    const float *from = view->t[SAMPLE_VIEW_X].f32;
    float *to = model->t[KNN_X].f32, *shift = model->t[KNN_SHIFT].f32;
    double *sum = x->work->t[HOST_SUM].f64;

    memset(sum, 0, l->m * sizeof *sum);
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < l->m; j++)
            sum[j] += (double)from[(size_t)i * l->m + j];
    for (uint32_t j = 0; j < l->m; j++)
        shift[j] = (float)(sum[j] / rows);
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < l->m; j++)
            to[(size_t)i * l->m + j] = from[(size_t)i * l->m + j] - shift[j];
    x->c->rowsq(x->cs, mat(to, rows, l->m, l->m), model->t[KNN_NORM].f32);
    memcpy(model->t[KNN_Y].f32, view->t[SAMPLE_VIEW_Y].f32, rows * sizeof(float));
    if (l->o->project)
        signs(x, l, model->t[KNN_BASIS].f32);
}

/* Of HOST_AT's row i, k neighbours that are not `self`, which is nearly always the first. */
static void leave_out(const struct ctx *x, const struct knn *l, uint32_t i, uint32_t self,
                      uint32_t k)
{
    uint32_t *at = x->work->t[HOST_AT].u32 + (size_t)i * l->wide, q = 0;

    while (q < k && at[q] != self)
        q++;
    memmove(at + q, at + q + 1, (k - q) * sizeof *at);
}

/* How many rows of the model to predict by the others. */
static uint32_t tries(const struct knn *l, uint32_t rows)
{
    double most = loo_flops / (2.0 * rows * l->m);
    uint32_t n = most < LOO_LEAST ? LOO_LEAST : most > LOO_ROWS ? LOO_ROWS : (uint32_t)most;

    return rows < n ? rows : n;
}

static double by_the_others(const struct ctx *x, const struct knn *l, const struct tensors *model,
                            uint32_t k, bool classify)
{
    const uint32_t rows = (uint32_t)model->t[KNN_HEAD].u64[KNN_ROWS];
    const uint32_t n = tries(l, rows);
    const float *y = model->t[KNN_Y].f32;
    double sum = 0;

    for (uint32_t from = 0; from < n; from += l->b) {
        uint32_t some = n - from < l->b ? n - from : l->b;

        nearest(x, l, model, mat(model->t[KNN_X].f32 + (size_t)from * l->m, some, l->m, l->m),
                k + 1);
        for (uint32_t i = 0; i < some; i++) {
            const uint32_t *at = x->work->t[HOST_AT].u32 + (size_t)i * l->wide;
            double off;

            leave_out(x, l, i, from + i, k);
            off = classify ? 0 : mean(y, at, k) - (double)y[from + i];
            sum += classify ? (float)vote(x, l, y, at, k) == y[from + i] : off * off;
        }
    }
    return classify ? sum / n : sqrt(sum / n);
}

static enum st knn_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                          struct tensors *model, struct measures *m)
{
    const struct knn l = knn_of(x->shape, x->opts);
    const struct knn_derive v = knn_choice(x->opts, derive_opts);
    const uint64_t live = view->t[SAMPLE_VIEW_HEAD].u64[0];
    const uint32_t rows = (uint32_t)(live < v.sample ? live : v.sample);
    const bool classify = v.task == KNN_CLASSIFY;

    CHECK(view->t[SAMPLE_VIEW_X].n == (uint64_t)l.n * l.m && live <= l.n);
    CHECK(model->t[KNN_X].n == (uint64_t)v.sample * l.m);
    if (rows < v.k)
        return fail(x->err, ST_AGAIN, "k %u: only %u rows have been learned yet", v.k, rows);
    model->t[KNN_HEAD].u64[KNN_ROWS] = rows;
    model->t[KNN_HEAD].u64[KNN_K] = v.k;
    model->t[KNN_HEAD].u64[KNN_TASK] = v.task;
    fill_model(x, &l, view, rows, model);
    if (rows > 1) {
        double by = by_the_others(x, &l, model, v.k < rows ? v.k : rows - 1, classify);

        m->m[m->n++] = classify ? (struct measure){"loo_accuracy", by, false}
                                : (struct measure){"loo_rmse", by, true};
    }
    m->m[m->n++] = (struct measure){"sample_rows", rows, false};
    m->model = -1;
    return ST_OK;
}

/* ---- score ---- */

/* The rows in the model's coordinates: projected, less shift. */
static struct mat queries(const struct ctx *x, const struct knn *l, const struct tensors *model,
                          const struct feat *f, uint32_t n)
{
    struct mat in = mat((float *)f->x, n, l->d, f->ld),
               to = mat(x->work->t[KW_X].f32, n, l->m, l->m);

    if (l->o->project) {
        struct mat raw = mat(x->work->t[KW_RAW].f32, n, l->m, l->m);

        x->c->gemm(x->cs, NO_T, 1 / sqrtf((float)l->m), in,
                   mat(model->t[KNN_BASIS].f32, l->d, l->m, l->m), 0.0f, raw);
        in = raw;
    }
    x->c->ew(x->cs, EW_subrow, (uint32_t[2]){n, l->m},
             (struct arg[8]){{in.p, in.ld}, {model->t[KNN_SHIFT].f32, 0}, {to.p, to.ld}}, NULL);
    return to;
}

static enum st knn_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                         float *out)
{
    const struct knn l = knn_of(x->shape, x->opts);
    const uint64_t *head = model->t[KNN_HEAD].u64;
    const uint32_t k = (uint32_t)head[KNN_K], *votes = x->work->t[HOST_VOTE].u32;
    const float *y = model->t[KNN_Y].f32;

    CHECK(r->n <= l.b && r->in[0].d == l.d && k && k <= head[KNN_ROWS]);
    CHECK(head[KNN_ROWS] <= model->t[KNN_Y].n && model->t[KNN_SHIFT].n == l.m);
    if (!r->n)
        return ST_OK;
    nearest(x, &l, model, queries(x, &l, model, &r->in[0], r->n), k);
    for (uint32_t i = 0; i < r->n; i++) {
        const uint32_t *at = x->work->t[HOST_AT].u32 + (size_t)i * l.wide;

        if (head[KNN_TASK] == KNN_REGRESS) {
            *out++ = (float)mean(y, at, k);
            continue;
        }
        *out++ = (float)vote(x, &l, y, at, k);
        for (uint32_t c = 0; c < l.c; c++)
            *out++ = (float)votes[c] / (float)k;
    }
    return ST_OK;
}

const struct algo algo_knn = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "knn",
    .summary = "nearest neighbours in a uniform sample of the rows; any k after the pass",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_LABEL | ALGO_EXACT | ALGO_SET,
    .ports = knn_ports,
    .opts = knn_options,
    .derive_opts = knn_derive_options,
    .opts_bytes = sizeof(struct knn_opts),
    .derive_bytes = sizeof(struct knn_derive),
    .check = knn_check,
    .declare = knn_declare,
    .init = knn_init,
    .update = knn_update,
    .derive = knn_derive,
    .score = knn_score,
    .fold = knn_fold,
    .fold_end = knn_fold_end,
    .intact = knn_intact,
};
