/* linear_units.c: the units of a linear model: standardised ones while it learns, raw ones when
 * slots meet; and the way back to the start of a packed model that diverged.
 *
 * Raw units are those of the input, x'v + a. A slot learns x~'w + b with x~ = (x - shift) scale, so
 *   v = w scale,   a = b - sum v shift,   n_raw = n / scale^2   (a gradient in w is one in v over
 *   scale)
 *
 * Warm-up. When the moments set shift and scale anew, w stays as it is, in standard units; the
 * function does not.
 * That is on purpose: a column whose spread grows has hardly been seen, and keeping its raw
 * coefficient would let the first ordinary value in it blow up the output (Fashion-MNIST, border
 * pixels: 0.811 test accuracy with the function kept, 0.835 so).
 *
 * Merge. fold takes the mean of w and b, by weight, and pools the slots' shift and spread (Chan,
 * Golub and LeVeque's update); with these the view is in raw units, and rebase puts the state into
 * the pooled ones. Once slots have pulled, their units are the same, and the mean of the
 * coefficients is that of the functions. Before, it is not, on purpose as above: a column that one
 * slot has hardly seen has a large raw coefficient there (the mean of functions, pulled from the
 * first rounds on by four partitions of Fashion-MNIST: 0.308 test accuracy; so: 0.839). A slot that
 * pulls a view of more than a warm-up's rows has no need of its own moments any more.
 *
 * Start. A model carries the pooled units and the optimiser's sums, so that a job that goes on from
 * it begins as a slot that has just pulled: with w alone the first steps of adagrad would have the
 * length of the learning rate. Its units stay; what it weighs is left to the rows of the new job.
 *
 * Under ftrl w is a function of (z, n), so rebase puts z where it gives the new w. Where the new w
 * is 0, z keeps its value within [-l1, l1], so that changing nothing changes nothing.
 *
 * Slots, views and models lie in host memory; a state is read and written a row at a time through
 * the back end, which is off the hot path. */
#include "algos/linear.h"

#include "algos/halving.h"
#include "algos/tensors.h"

#include <math.h>
#include <string.h>

/* Rows, by weight, whose moments set shift and scale; more would cost and hardly move them. */
#define WARM_WEIGHT 4096.0

/* A value of the warm-up lies within this many units of its column's mean. */
#define SPREAD_MAX 5.0

/* What a sparse feature weighs, in the mean over slots, that a model to go on from had and no row
 * has shown yet: nothing beside a row, and all where there is none. */
static const float start_count = 1e-20f;

struct row { /* of a state, in WORK_ROW */
    float *w, *n, *z, *mean;
};

static struct row row_get(const struct ctx *x, const struct lin *l, const struct tensors *s,
                          uint64_t j)
{
    float *p = x->work->t[WORK_ROW].f32;
    struct row k = {.w = p, .n = p + l->z, .z = p + 2 * (size_t)l->z, .mean = p + 3 * (size_t)l->z};
    size_t bytes = l->z * sizeof *p;

    x->c->get(x->cs, k.w, s->t[LIN_W].f32 + j * l->z, bytes);
    if (l->has_n)
        x->c->get(x->cs, k.n, s->t[LIN_N].f32 + j * l->z, bytes);
    if (l->has_z)
        x->c->get(x->cs, k.z, s->t[LIN_Z].f32 + j * l->z, bytes);
    if (l->o->average)
        x->c->get(x->cs, k.mean, s->t[LIN_MEAN].f32 + j * l->z, bytes);
    return k;
}

static void row_put(const struct ctx *x, const struct lin *l, struct tensors *s, uint64_t j,
                    struct row k)
{
    const uint32_t id[] = {LIN_W, LIN_N, LIN_Z};
    const float *p[] = {k.w, k.n, k.z};

    for (uint32_t i = 0; i < 1u + l->has_n + l->has_z; i++) {
        x->c->put(x->cs, s->t[id[i]].f32 + j * l->z, p[i], l->z * sizeof *p[i]);
        if (l->sparse)
            linear_touch(l, s, id[i], j);
    }
    if (l->o->average)
        x->c->put(x->cs, s->t[LIN_MEAN].f32 + j * l->z, k.mean, l->z * sizeof *k.mean);
}

/* z such that w is what ftrl reads out of it. */
static void refit(const struct lin *l, struct row k, bool bias)
{
    for (uint32_t i = 0; i < l->z && l->has_z; i++) {
        struct linear_setting v = linear_setting(l->o, l->model[i / l->c]);
        float l1 = bias ? 0.0f : v.l1, l2 = bias ? 0.0f : v.l2;

        if (k.w[i] == 0.0f)
            k.z[i] = k.z[i] > l1 ? l1 : k.z[i] < -l1 ? -l1 : k.z[i];
        else
            k.z[i] = -k.w[i] * ((l->o->beta + sqrtf(k.n[i])) / v.rate + l2) - copysignf(l1, k.w[i]);
    }
}

/* ---- divergence ---- */

static void find_bad(const struct lin *l, struct row k, bool *bad)
{
    for (uint32_t i = 0; i < l->z; i++)
        bad[i / l->c] |=
            !isfinite(k.w[i]) || (l->has_n && !isfinite(k.n[i])) || (l->has_z && !isfinite(k.z[i]));
}

/* The start is zeros. Says whether the row had anything of the bad models. */
static bool clear_bad(const struct lin *l, struct row k, const bool *bad)
{
    float *p[] = {k.w, l->has_n ? k.n : NULL, l->has_z ? k.z : NULL, l->o->average ? k.mean : NULL};
    bool had = false;

    for (uint32_t t = 0; t < 4; t++)
        for (uint32_t i = 0; p[t] && i < l->z; i++) {
            if (!bad[i / l->c] || p[t][i] == 0)
                continue;
            p[t][i] = 0;
            had = true;
        }
    return had;
}

bool linear_restart(const struct ctx *x, struct tensors *s, const uint32_t *row, uint32_t n,
                    bool *bad)
{
    const struct lin l = linear_living(x->shape, x->opts, halving_stopped(s));
    uint32_t found = 0;

    CHECK(n <= l.d && l.m <= MODELS_MAX);
    memset(bad, 0, l.m * sizeof *bad);
    for (uint32_t i = 0; i < n; i++)
        find_bad(&l, row_get(x, &l, s, row ? row[i] : i), bad);
    find_bad(&l, row_get(x, &l, s, l.d), bad);
    for (uint32_t m = 0; m < l.m; m++)
        found += bad[m];
    if (!found || found == l.m)
        return false;
    for (uint64_t j = 0; j <= l.d; j++) {
        struct row k = row_get(x, &l, s, j);

        if (clear_bad(&l, k, bad))
            row_put(x, &l, s, j, k);
    }
    return true;
}

/* ---- standardisation ---- */

static void moments_add(struct tensors *s, uint32_t d, const float *x, double weight)
{
    double *mean = s->t[LIN_MOMENTS].f64, *m2 = mean + MOM_M2 * (size_t)d;
    double *min = mean + MOM_MIN * (size_t)d, *max = mean + MOM_MAX * (size_t)d;
    double *warm = s->t[LIN_WARM].f64, share;
    bool first = warm[WARM_SEEN] == 0;

    warm[WARM_SEEN] += weight;
    share = weight / warm[WARM_SEEN];
    for (uint32_t j = 0; j < d; j++) { /* Welford, weighted */
        double v = (double)x[j], off = v - mean[j];

        mean[j] += share * off;
        m2[j] += weight * off * (v - mean[j]);
        min[j] = first || v < min[j] ? v : min[j];
        max[j] = first || v > max[j] ? v : max[j];
    }
}

/* What one unit of column j is to be; 0: it has been constant. */
static double spread(const struct tensors *s, uint32_t d, uint32_t j)
{
    const double *m = s->t[LIN_MOMENTS].f64 + j;
    double mean = m[MOM_MEAN * (size_t)d], up = m[MOM_MAX * (size_t)d] - mean;
    double down = mean - m[MOM_MIN * (size_t)d];
    double peak = (up > down ? up : down) / SPREAD_MAX;
    double sd = sqrt(m[MOM_M2 * (size_t)d] / s->t[LIN_WARM].f64[WARM_SEEN]);
    double u = sd > peak ? sd : peak;

    return up == 0 && down == 0 ? 0 : u < 1e-30 ? 1e-30 : u > 1e30 ? 1e30 : u;
}

static double typical_spread(const struct tensors *s, uint32_t d)
{
    double sum = 0, u;
    uint32_t n = 0;

    for (uint32_t j = 0; j < d; j++) {
        u = spread(s, d, j);
        sum += u * u;
        n += u > 0;
    }
    return n ? sqrt(sum / n) : 1.0;
}

/* Sets shift and scale from the moments. */
static void rescale(const struct ctx *x, const struct lin *l, struct tensors *s)
{
    double typical = typical_spread(s, l->d);

    for (uint32_t j = 0; j < l->d; j++) {
        double u = spread(s, l->d, j);
        float scale = (float)(1.0 / (u > 0 ? u : typical));
        float shift = (float)s->t[LIN_MOMENTS].f64[MOM_MEAN * (size_t)l->d + j];

        x->c->put(x->cs, s->t[LIN_SCALE].f32 + j, &scale, sizeof scale);
        x->c->put(x->cs, s->t[LIN_SHIFT].f32 + j, &shift, sizeof shift);
    }
}

void linear_standardize(const struct ctx *x, struct tensors *s, const struct rows *r)
{
    const struct lin l = linear_of(x->shape, x->opts);
    const struct feat *f = &r->host->in[0];
    double *warm = s->t[LIN_WARM].f64;

    CHECK(l.standard && f->x && f->ld >= l.d);
    CHECK(warm[WARM_USED] <= warm[WARM_SEEN]);
    if (warm[WARM_SEEN] >= WARM_WEIGHT)
        return;
    for (uint32_t i = 0; i < r->train; i++)
        if (r->host->weight[i] > 0)
            moments_add(s, l.d, f->x + (size_t)i * f->ld, (double)r->host->weight[i]);
    if (warm[WARM_SEEN] < 2 * warm[WARM_USED] && warm[WARM_SEEN] < WARM_WEIGHT)
        return;
    warm[WARM_USED] = warm[WARM_SEEN];
    rescale(x, &l, s);
}

/* ---- merging ---- */

/* Pools mean and sum of squares of the columns; the slot's weight is in the view's already. */
static void fold_units(const struct lin *l, struct tensors *view, const struct tensors *s,
                       double weight)
{
    double total = view->t[VIEW_WEIGHT].f64[0], *shift = view->t[VIEW_SHIFT].f64;
    double *square = view->t[VIEW_SPREAD].f64;

    for (uint32_t j = 0; j < l->d && l->standard; j++) {
        double u = 1.0 / (double)s->t[LIN_SCALE].f32[j];
        double off = (double)s->t[LIN_SHIFT].f32[j] - shift[j];

        shift[j] += off * (weight / total);
        square[j] += weight * (u * u) + off * off * weight * ((total - weight) / total);
    }
}

enum st linear_intact(const struct ctx *x, const struct tensors *s)
{
    const struct lin l = linear_of(x->shape, x->opts);
    const struct tensor *t = s->t;
    const uint8_t *stopped = halving_stopped(s);
    uint32_t living = l.m;
    bool bad = t[LIN_WEIGHT].f64[0] < 0 || (l.sparse && !(t[LIN_GROWTH].f64[0] >= 1));

    for (uint32_t m = 0; m < l.m && stopped; m++)
        living -= stopped[m] != 0;

    for (uint64_t i = 0; i < t[LIN_N].n; i++)
        bad |= t[LIN_N].f32[i] < 0;
    for (uint64_t i = 0; i < t[LIN_COUNT].n; i++)
        bad |= t[LIN_COUNT].f32[i] < 0;
    for (uint32_t j = 0; j < l.d && l.standard; j++)
        bad |= !(t[LIN_SCALE].f32[j] > 0) || t[LIN_MOMENTS].f64[MOM_M2 * (size_t)l.d + j] < 0;
    bad |= l.standard && (t[LIN_WARM].f64[WARM_USED] < 0 ||
                          t[LIN_WARM].f64[WARM_USED] > t[LIN_WARM].f64[WARM_SEEN]);
    if (bad || !living)
        return fail(x->err, ST_CORRUPT,
                    "no model lives, or a weight, a sum of squares or a scale is below 0, or more "
                    "rows were used for "
                    "the scale than seen");
    return ST_OK;
}

enum st linear_fold(const struct ctx *x, struct tensors *view, const struct slot *slot)
{
    const struct lin l = linear_living(x->shape, x->opts, halving_stopped(slot->state));
    const struct tensor *t = slot->state->t;
    double weight = slot->weight * t[LIN_WEIGHT].f64[0];
    const double growth = linear_growth(&l, slot->state);

    CHECK(slot->weight >= 0 && t[LIN_WEIGHT].f64[0] >= 0);
    CHECK(t[LIN_W].n == view->t[VIEW_W].n && t[LIN_N].n == view->t[VIEW_N].n);
    CHECK(t[LIN_COUNT].n == view->t[VIEW_COUNT].n && t[LIN_SHIFT].n == view->t[VIEW_SHIFT].n);
    if (!(weight > 0))
        return ST_OK;
    view->t[VIEW_WEIGHT].f64[0] += weight;
    fold_units(&l, view, slot->state, weight);
    for (uint64_t j = 0; j <= l.d; j++) {
        double own = l.sparse ? slot->weight * (double)t[LIN_COUNT].f32[j] / growth : weight;

        if (own == 0)
            continue;
        for (uint32_t i = 0; i < l.z; i++) {
            uint64_t from = j * l.z + i, to = j * l.z_all + linear_column(&l, i);

            view->t[VIEW_W].f64[to] += own * (double)t[LIN_W].f32[from];
            if (l.o->average)
                view->t[VIEW_MEAN].f64[to] += own * (double)t[LIN_MEAN].f32[from];
            if (l.has_n)
                view->t[VIEW_N].f64[to] += own * ((double)t[LIN_N].f32[from] / growth);
        }
        if (l.sparse)
            view->t[VIEW_COUNT].f64[j] += own;
    }
    return ST_OK;
}

static void raw_coefficients(const struct lin *l, const struct tensors *view, double *w)
{
    double *bias = w + (uint64_t)l->d * l->z;

    for (uint32_t j = 0; j < l->d; j++)
        for (uint64_t i = 0, k = (uint64_t)j * l->z; i < l->z; i++, k++) {
            w[k] /= view->t[VIEW_SPREAD].f64[j];
            bias[i] -= w[k] * view->t[VIEW_SHIFT].f64[j];
        }
}

/* The means are of standard units; the view is in raw ones. */
static void raw_units(const struct lin *l, struct tensors *view)
{
    double *n = view->t[VIEW_N].f64;

    for (uint32_t j = 0; j < l->d; j++) {
        double *spread = &view->t[VIEW_SPREAD].f64[j];

        *spread = sqrt(*spread / view->t[VIEW_WEIGHT].f64[0]);
        for (uint64_t i = 0, k = (uint64_t)j * l->z; l->has_n && i < l->z; i++, k++)
            n[k] *= *spread * *spread;
    }
    raw_coefficients(l, view, view->t[VIEW_W].f64);
    if (l->o->average)
        raw_coefficients(l, view, view->t[VIEW_MEAN].f64);
}

enum st linear_fold_end(const struct ctx *x, struct tensors *view)
{
    const struct lin l = linear_of(x->shape, x->opts);
    const double weight = view->t[VIEW_WEIGHT].f64[0];

    for (uint64_t j = 0; j <= l.d; j++) {
        double total = l.sparse ? view->t[VIEW_COUNT].f64[j] : weight;

        for (uint64_t i = j * l.z; i < (j + 1) * l.z && total > 0; i++) {
            view->t[VIEW_W].f64[i] /= total;
            if (l.o->average)
                view->t[VIEW_MEAN].f64[i] /= total;
            if (l.has_n)
                view->t[VIEW_N].f64[i] /= total;
        }
    }
    if (l.standard && weight > 0)
        raw_units(&l, view);
    return ST_OK;
}

struct unit { /* raw = shift + spread * standard */
    double shift, spread;
};

static const struct unit raw_unit = {0, 1};

/* Coefficient i of row j is v, its squared gradients sum to n, in raw units: into k in those of the
 * state. bias gathers what the shifts take from row D. */
static void from_raw(const struct lin *l, uint64_t j, uint32_t i, struct unit u, double v, double n,
                     struct row k, double *bias)
{
    bias[i] += v * u.shift;
    k.w[i] = (float)(j == l->d ? v + bias[i] : v * u.spread);
    if (l->has_n)
        k.n[i] = (float)(n / (u.spread * u.spread));
}

static void set_unit(const struct ctx *x, struct tensors *s, uint64_t j, struct unit u)
{
    float scale = (float)(1.0 / u.spread), shift = (float)u.shift;

    x->c->put(x->cs, s->t[LIN_SCALE].f32 + j, &scale, sizeof scale);
    x->c->put(x->cs, s->t[LIN_SHIFT].f32 + j, &shift, sizeof shift);
}

static struct unit unit_of_view(const struct lin *l, const struct tensors *view, uint64_t j)
{
    return l->standard && j < l->d
               ? (struct unit){view->t[VIEW_SHIFT].f64[j], view->t[VIEW_SPREAD].f64[j]}
               : raw_unit;
}

static void row_from_view(const struct lin *l, const struct tensors *view, uint64_t j, struct row k,
                          double *bias)
{
    const struct unit u = unit_of_view(l, view, j);

    for (uint32_t i = 0; i < l->z; i++) {
        uint64_t from = j * l->z_all + linear_column(l, i);

        from_raw(l, j, i, u, view->t[VIEW_W].f64[from], l->has_n ? view->t[VIEW_N].f64[from] : 0, k,
                 bias);
    }
    refit(l, k, j == l->d);
}

/* The state takes over the common units. */
static void rebase_units(const struct ctx *x, const struct lin *l, struct tensors *s,
                         const struct tensors *view)
{
    double *warm = s->t[LIN_WARM].f64;

    CHECK(view->t[VIEW_SPREAD].n == l->d);
    for (uint32_t j = 0; j < l->d; j++)
        set_unit(x, s, j, unit_of_view(l, view, j));
    if (view->t[VIEW_WEIGHT].f64[0] >= WARM_WEIGHT && warm[WARM_SEEN] < WARM_WEIGHT)
        warm[WARM_SEEN] = WARM_WEIGHT;
}

enum st linear_rebase(const struct ctx *x, struct tensors *s, const struct tensors *view)
{
    const struct lin l = linear_living(x->shape, x->opts, halving_stopped(s));
    const float growth = (float)linear_growth(&l, s);
    double *bias = x->work->t[WORK_SUM].f64;

    CHECK(s->t[LIN_W].n == view->t[VIEW_W].n && s->t[LIN_N].n == view->t[VIEW_N].n);
    if (!(view->t[VIEW_WEIGHT].f64[0] > 0))
        return ST_OK; /* nobody has learned anything: all are at the start */
    if (l.standard)
        rebase_units(x, &l, s, view);
    memset(bias, 0, l.z * sizeof *bias);
    for (uint64_t j = 0; j <= l.d; j++) {
        struct row k;

        /* most features of a large space nobody has seen: no write, no chunk to save */
        if (l.sparse && view->t[VIEW_COUNT].f64[j] == 0)
            continue;
        k = row_get(x, &l, s, j);
        row_from_view(&l, view, j, k, bias);
        for (uint32_t i = 0; i < l.z && l.has_n; i++)
            k.n[i] *= growth;
        row_put(x, &l, s, j, k);
    }
    return ST_OK;
}

/* ---- model ---- */

struct start { /* tensors of a model to go on from; NULL: this job has no such */
    const float *w, *n, *shift, *spread;
};

static const float *values(const struct tensors *model, const char *name)
{
    const struct tensor *t = tensors_find(model, name);

    return t ? t->f32 : NULL;
}

static struct start start_of(const struct tensors *model)
{
    return (struct start){values(model, "w"), values(model, "n"), values(model, "shift"),
                          values(model, "spread")};
}

/* Says whether the model has anything in row j: most features of a large space nobody has seen. */
static bool row_from_model(const struct lin *l, const struct start *m, uint64_t j, struct row k,
                           double *bias)
{
    const bool raw = !l->standard || j == l->d;
    const struct unit u = raw ? raw_unit : (struct unit){(double)m->shift[j], (double)m->spread[j]};
    bool any = false;

    for (uint32_t i = 0; i < l->z; i++) {
        uint64_t at = j * l->c + i % l->c; /* every packed model goes on from the same */

        from_raw(l, j, i, u, (double)m->w[at], l->has_n ? (double)m->n[at] : 0, k, bias);
        any |= m->w[at] != 0 || (l->has_n && m->n[at] != 0);
    }
    refit(l, k, j == l->d);
    return any;
}

static enum st check_start(const struct lin *l, const struct tensors *model, struct start m,
                           struct err *e)
{
    const uint64_t matrix = (l->d + 1ull) * l->c;

    CHECK(m.w && (!l->has_n || m.n) && (!l->standard || (m.shift && m.spread)));
    for (uint32_t i = 0; i < model->n; i++) {
        const struct tensor *t = &model->t[i];
        uint64_t n = t->f32 == m.w || t->f32 == m.n ? matrix : l->d;

        if (t->n != n)
            return fail(e, ST_BAD_CONFIG, "its %s is of %llu numbers, in this job of %llu",
                        t->d.name, (unsigned long long)t->n, (unsigned long long)n);
    }
    for (uint32_t j = 0; j < l->d && l->standard; j++)
        if (!(m.spread[j] > 0) || !isfinite(m.spread[j]) || !isfinite(m.shift[j]))
            return fail(e, ST_BAD_INPUT, "its feature %u has shift %g and spread %g", j,
                        (double)m.shift[j], (double)m.spread[j]);
    return ST_OK;
}

enum st linear_start(const struct ctx *x, const struct tensors *model, uint32_t partition,
                     struct tensors *s)
{
    const struct lin l = linear_of(x->shape, x->opts);
    const struct start m = start_of(model);
    double *bias = x->work->t[WORK_SUM].f64;

    (void)partition; /* the mean over those that learn has it once */
    TRY(check_start(&l, model, m, x->err));
    for (uint32_t j = 0; j < l.d && l.standard; j++)
        set_unit(x, s, j, (struct unit){(double)m.shift[j], (double)m.spread[j]});
    if (l.standard)
        s->t[LIN_WARM].f64[WARM_SEEN] = WARM_WEIGHT;
    memset(bias, 0, l.z * sizeof *bias);
    for (uint64_t j = 0; j <= l.d; j++) {
        struct row k = row_get(x, &l, s, j);

        if (!row_from_model(&l, &m, j, k, bias))
            continue;
        row_put(x, &l, s, j, k);
        if (!l.sparse)
            continue;
        x->c->put(x->cs, s->t[LIN_COUNT].f32 + j, &start_count, sizeof start_count);
        touch(s, LIN_COUNT, j, 1);
    }
    return ST_OK;
}

static void model_column(const struct lin *l, const double *view, uint32_t which, float *to)
{
    for (uint64_t j = 0; j <= l->d; j++)
        for (uint32_t c = 0; c < l->c; c++)
            to[j * l->c + c] = (float)view[j * l->z + (uint64_t)which * l->c + c];
}

static void model_units(const struct lin *l, const struct tensors *view, float *shift,
                        float *spread)
{
    for (uint32_t j = 0; j < l->d; j++) {
        struct unit u = unit_of_view(l, view, j);

        shift[j] = (float)u.shift;
        spread[j] = (float)u.spread;
    }
}

enum st linear_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                      struct tensors *model, struct measures *m)
{
    const struct lin l = linear_of(x->shape, x->opts);
    const struct linear_derive *o = derive_opts;
    uint32_t which = o->model ? o->model - 1 : 0;
    struct linear_setting v;

    if (which >= l.m)
        return fail(x->err, ST_BAD_CONFIG, "model %u: the job packs models 1..%u", o->model, l.m);
    CHECK(model->t[MODEL_W].n == (l.d + 1ull) * l.c);
    model_column(&l, view->t[l.o->average ? VIEW_MEAN : VIEW_W].f64, which, model->t[MODEL_W].f32);
    if (l.has_n)
        model_column(&l, view->t[VIEW_N].f64, which, tensors_find(model, "n")->f32);
    if (l.standard)
        model_units(&l, view, tensors_find(model, "shift")->f32,
                    tensors_find(model, "spread")->f32);
    v = linear_setting(l.o, which);
    m->m[0] = (struct measure){"learning_rate", (double)v.rate, false};
    m->m[1] = (struct measure){"l1", (double)v.l1, false};
    m->m[2] = (struct measure){"l2", (double)v.l2, false};
    m->n = 3;
    m->model = (int32_t)which;
    return ST_OK;
}
