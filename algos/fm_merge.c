/* fm_merge.c: rows of a state by number, slots that meet, models.
 *
 * Slots, views and models lie in host memory; a state is read and written a row at a time through
 * the back end, which is off the hot path. Rows whose count is 0 are skipped everywhere: no write,
 * no chunk to save.
 *
 * Counts. A slot that takes rows from a view or a model has not seen them itself: their count is
 * start_count, nothing beside a row, and enough to say that they are not to be drawn. */
#include "algos/compute/kernels.h"
#include "algos/compute/lapack.h"
#include "algos/compute/philox.h"
#include "algos/fm.h"
#include "algos/tensors.h"

#include <math.h>
#include <string.h>

enum { PURPOSE_FACTORS = 0x666d }; /* of random numbers */

static const double start_count = 1e-20;

/* A feature whose sums are below it, in today's weights, is forgotten. */
#define FORGOTTEN 1e-30

/* ---- rows ---- */

struct fm_row fm_row_room(const struct ctx *x)
{
    const struct fm l = fm_of(x->shape, x->opts);
    float *p = x->work->t[FW_ROW].f32;

    return (struct fm_row){
        .w = p, .nw = p + l.m, .v = p + 2 * (size_t)l.m, .nv = p + 2 * (size_t)l.m + l.z};
}

void fm_draw(const struct ctx *x, uint64_t j, uint32_t m, double kept, struct fm_row to)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const struct philox_key key = philox_key((uint64_t[2]){x->seed, PURPOSE_FACTORS});
    const float n = (float)(1.0 / kept);
    uint32_t word[4];

    to.w[m] = 0;
    to.nw[m] = n;
    for (uint32_t f = 0; f < l.k; f++) {
        const uint32_t at = m * l.k + f;

        if (f % 4 == 0)
            philox_words(key, j, f / 4, word);
        to.v[at] = l.o->init_deviation * mr_normal(word[f % 4]);
        to.nv[at] = n;
    }
}

void fm_row_get(const struct ctx *x, const struct tensors *s, uint64_t j, struct fm_row k)
{
    const uint32_t id[] = {FM_W, FM_NW, FM_V, FM_NV};
    float *const to[] = {k.w, k.nw, k.v, k.nv};

    for (uint32_t i = 0; i < 4; i++) {
        const struct tensor *t = &s->t[id[i]];

        x->c->get(x->cs, to[i], (const char *)t->p + j * t->row_bytes, t->row_bytes);
    }
}

static void put(const struct ctx *x, struct tensors *s, uint32_t id, uint64_t j, const float *from)
{
    const struct tensor *t = &s->t[id];

    x->c->put(x->cs, (char *)t->p + j * t->row_bytes, from, t->row_bytes);
    if (t->d.flags & T_SPARSE)
        touch(s, id, j, 1);
}

void fm_row_put(const struct ctx *x, struct tensors *s, uint64_t j, struct fm_row k)
{
    put(x, s, FM_W, j, k.w);
    put(x, s, FM_NW, j, k.nw);
    put(x, s, FM_V, j, k.v);
    put(x, s, FM_NV, j, k.nv);
}

static float count_of(const struct ctx *x, const struct tensors *s, uint64_t j)
{
    float n;

    x->c->get(x->cs, &n, s->t[FM_COUNT].f32 + j, sizeof n);
    return n;
}

double fm_base(const struct fm *l, double weight, double sum)
{
    if (l->o->loss == FM_LOGISTIC) /* half a row of each class: no label has no odds */
        return (double)mr_log((float)((sum + 0.5) / (weight - sum + 0.5)));
    return weight > 0 ? sum / weight : 0;
}

void fm_restart(const struct ctx *x, struct tensors *s, const bool *bad)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const double *head = s->t[FM_HEAD].f64;
    const struct fm_row k = fm_row_room(x);
    float *w0 = x->work->t[FW_HOST_W0].f32;

    for (uint64_t j = 0; j < l.d; j++) {
        if (count_of(x, s, j) == 0)
            continue;
        fm_row_get(x, s, j, k);
        for (uint32_t m = 0; m < l.m; m++)
            if (bad[m])
                fm_draw(x, j, m, head[HEAD_KEPT], k);
        fm_row_put(x, s, j, k);
    }
    x->c->get(x->cs, w0, s->t[FM_W0].p, s->t[FM_W0].bytes);
    for (uint32_t m = 0; m < l.m; m++)
        if (bad[m]) {
            w0[m] = (float)head[HEAD_BASE];
            w0[l.m + m] = (float)(1.0 / head[HEAD_KEPT]);
        }
    x->c->put(x->cs, s->t[FM_W0].p, w0, s->t[FM_W0].bytes);
}

void fm_rescale(const struct ctx *x, struct tensors *s)
{
    const struct fm l = fm_of(x->shape, x->opts);
    double *kept = &s->t[FM_HEAD].f64[HEAD_KEPT];
    const struct fm_row k = fm_row_room(x);
    float *w0 = x->work->t[FW_HOST_W0].f32;

    for (uint64_t j = 0; j < l.d; j++) {
        float n = count_of(x, s, j);

        if (n == 0)
            continue;
        fm_row_get(x, s, j, k);
        for (uint32_t i = 0; i < l.m; i++)
            k.nw[i] = (float)((double)k.nw[i] * *kept);
        for (uint32_t i = 0; i < l.z; i++)
            k.nv[i] = (float)((double)k.nv[i] * *kept);
        n = (float)((double)n * *kept);
        if ((double)n < FORGOTTEN) {
            memset(k.w, 0, 2 * (size_t)(l.m + l.z) * sizeof *k.w); /* all of FW_ROW */
            n = 0;
        }
        fm_row_put(x, s, j, k);
        put(x, s, FM_COUNT, j, &n);
    }
    x->c->get(x->cs, w0, s->t[FM_W0].p, s->t[FM_W0].bytes);
    for (uint32_t m = 0; m < l.m; m++)
        w0[l.m + m] = (float)((double)w0[l.m + m] * *kept);
    x->c->put(x->cs, s->t[FM_W0].p, w0, s->t[FM_W0].bytes);
    *kept = 1;
}

/* ---- merging ---- */

/* to[n] += weight * from[n]. */
static void add(uint64_t n, double weight, const float *from, double *to)
{
    for (uint64_t i = 0; i < n; i++)
        to[i] += weight * (double)from[i];
}

enum st fm_fold(const struct ctx *x, struct tensors *view, const struct slot *slot)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const struct tensor *t = slot->state->t;
    const double *head = t[FM_HEAD].f64, kept = head[HEAD_KEPT];
    const double weight = slot->weight * head[HEAD_WEIGHT];

    CHECK(slot->weight >= 0 && t[FM_V].n == view->t[FV_V].n && t[FM_W].n == view->t[FV_W].n);
    view->t[FV_HEAD].f64[0] += weight;
    view->t[FV_HEAD].f64[1] += slot->weight * head[HEAD_SUM];
    add(l.m, weight, t[FM_W0].f32, view->t[FV_W0].f64);
    add(l.m, weight * kept, t[FM_W0].f32 + l.m, view->t[FV_W0].f64 + l.m);
    for (uint64_t j = 0; j < l.d; j++) {
        const double own = slot->weight * kept * (double)t[FM_COUNT].f32[j];

        if (own == 0)
            continue;
        view->t[FV_COUNT].f64[j] += own;
        add(l.m, own, t[FM_W].f32 + j * l.m, view->t[FV_W].f64 + j * l.m);
        add(l.m, own * kept, t[FM_NW].f32 + j * l.m, view->t[FV_NW].f64 + j * l.m);
        add(l.z, own, t[FM_V].f32 + j * l.z, view->t[FV_V].f64 + j * l.z);
        add(l.z, own * kept, t[FM_NV].f32 + j * l.z, view->t[FV_NV].f64 + j * l.z);
    }
    return ST_OK;
}

static void divide(uint64_t n, double by, double *p)
{
    for (uint64_t i = 0; i < n; i++)
        p[i] /= by;
}

enum st fm_fold_end(const struct ctx *x, struct tensors *view)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const double weight = view->t[FV_HEAD].f64[0];

    if (weight > 0)
        divide(2 * (uint64_t)l.m, weight, view->t[FV_W0].f64);
    for (uint64_t j = 0; j < l.d; j++) {
        const double n = view->t[FV_COUNT].f64[j];

        if (n == 0)
            continue;
        divide(l.m, n, view->t[FV_W].f64 + j * l.m);
        divide(l.m, n, view->t[FV_NW].f64 + j * l.m);
        divide(l.z, n, view->t[FV_V].f64 + j * l.z);
        divide(l.z, n, view->t[FV_NV].f64 + j * l.z);
    }
    return ST_OK;
}

static void take(uint64_t n, double times, const double *from, float *to)
{
    for (uint64_t i = 0; i < n; i++)
        to[i] = (float)(from[i] * times);
}

/* A row that this slot has not seen is now one that is not to be drawn. */
static void put_taken(const struct ctx *x, struct tensors *s, uint64_t j, struct fm_row k)
{
    const float n = (float)(start_count / s->t[FM_HEAD].f64[HEAD_KEPT]);

    fm_row_put(x, s, j, k);
    if (count_of(x, s, j) == 0)
        put(x, s, FM_COUNT, j, &n);
}

enum st fm_rebase(const struct ctx *x, struct tensors *s, const struct tensors *view)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const double back = 1.0 / s->t[FM_HEAD].f64[HEAD_KEPT];
    const struct fm_row k = fm_row_room(x);
    float *w0 = x->work->t[FW_HOST_W0].f32;

    CHECK(s->t[FM_V].n == view->t[FV_V].n && s->t[FM_W].n == view->t[FV_W].n);
    if (!(view->t[FV_HEAD].f64[0] > 0))
        return ST_OK; /* nobody has learned anything: all are at the start */
    take(l.m, 1, view->t[FV_W0].f64, w0);
    take(l.m, back, view->t[FV_W0].f64 + l.m, w0 + l.m);
    x->c->put(x->cs, s->t[FM_W0].p, w0, s->t[FM_W0].bytes);
    for (uint64_t j = 0; j < l.d; j++) {
        if (view->t[FV_COUNT].f64[j] == 0)
            continue;
        take(l.m, 1, view->t[FV_W].f64 + j * l.m, k.w);
        take(l.m, back, view->t[FV_NW].f64 + j * l.m, k.nw);
        take(l.z, 1, view->t[FV_V].f64 + j * l.z, k.v);
        take(l.z, back, view->t[FV_NV].f64 + j * l.z, k.nv);
        put_taken(x, s, j, k);
    }
    return ST_OK;
}

/* ---- going on from a model ---- */

static enum st check_start(const struct fm *l, const struct tensors *model, struct err *e)
{
    const uint64_t d = l->d, want[] = {1, d, d * l->k, 1, d, d * l->k, 2};
    const float *label = model->t[MFM_LABEL].f32;

    CHECK(model->n == MFM_LABEL + 1);
    for (uint32_t i = 0; i < model->n; i++) {
        const struct tensor *t = &model->t[i];

        if (t->n != want[i])
            return fail(e, ST_BAD_CONFIG, "its %s is of %llu numbers, in this job of %llu",
                        t->d.name, (unsigned long long)t->n, (unsigned long long)want[i]);
    }
    if (!(label[0] >= 0) || !isfinite(label[0]) || !isfinite(label[1]))
        return fail(e, ST_BAD_INPUT, "its labels weigh %g and sum to %g", (double)label[0],
                    (double)label[1]);
    return ST_OK;
}

enum st fm_start(const struct ctx *x, const struct tensors *model, uint32_t partition,
                 struct tensors *s)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const struct tensor *t = model->t;
    const struct fm_row k = fm_row_room(x);
    const double share = 1.0 / (x->shape->slots ? x->shape->slots : 1);
    double *head = s->t[FM_HEAD].f64;
    float *w0 = x->work->t[FW_HOST_W0].f32;

    (void)partition; /* labels count once: each has its share; the rest is a mean */
    TRY(check_start(&l, model, x->err));
    head[HEAD_WEIGHT] = share * (double)t[MFM_LABEL].f32[0];
    head[HEAD_SUM] = share * (double)t[MFM_LABEL].f32[1];
    head[HEAD_BASE] = fm_base(&l, head[HEAD_WEIGHT], head[HEAD_SUM]);
    for (uint32_t m = 0; m < l.m; m++) { /* every packed model goes on from the same */
        w0[m] = t[MFM_W0].f32[0];
        w0[l.m + m] = t[MFM_N0].f32[0];
    }
    x->c->put(x->cs, s->t[FM_W0].p, w0, s->t[FM_W0].bytes);
    for (uint64_t j = 0; j < l.d; j++) {
        if (t[MFM_NW].f32[j] == 0)
            continue;
        for (uint32_t m = 0; m < l.m; m++) {
            k.w[m] = t[MFM_W].f32[j];
            k.nw[m] = t[MFM_NW].f32[j];
            memcpy(k.v + (size_t)m * l.k, t[MFM_V].f32 + j * l.k, l.k * sizeof *k.v);
            memcpy(k.nv + (size_t)m * l.k, t[MFM_NV].f32 + j * l.k, l.k * sizeof *k.nv);
        }
        put_taken(x, s, j, k);
    }
    return ST_OK;
}

/* ---- model ---- */

/* Columns [from, from + n) of view[rows, width]. */
static void columns(const double *view, uint64_t rows, uint64_t width, uint64_t from, uint64_t n,
                    float *to)
{
    for (uint64_t j = 0; j < rows; j++)
        take(n, 1, view + j * width + from, to + j * n);
}

/* The factors turned so that those of the greatest weight come first, and only they. kept: their
 * share of sum_i count_i |v_i|^2. */
static enum st turned(const struct ctx *x, const struct fm *l, const struct tensors *view,
                      uint32_t which, uint32_t factors, float *to, double *kept)
{
    const uint64_t k = l->k;
    double *gram = x->work->t[FW_EIGEN].f64, *value = gram + k * k, all = 0;

    memset(gram, 0, k * k * sizeof *gram);
    for (uint64_t j = 0; j < l->d; j++) {
        const double n = view->t[FV_COUNT].f64[j], *v = view->t[FV_V].f64 + j * l->z + which * k;

        for (uint64_t f = 0; n > 0 && f < k; f++)
            for (uint64_t g = 0; g <= f; g++)
                gram[f * k + g] += n * v[f] * v[g];
    }
    TRY(lapack_eigen(l->k, gram, value, value + k, x->err));
    for (uint64_t j = 0; j < l->d; j++)
        for (uint64_t f = 0; f < factors; f++) {
            const double *v = view->t[FV_V].f64 + j * l->z + which * k;
            double sum = 0;

            for (uint64_t g = 0; g < k; g++)
                sum += gram[f * k + g] * v[g];
            to[j * factors + f] = (float)sum;
        }
    *kept = 0;
    for (uint64_t f = 0; f < k; f++) {
        all += value[f];
        *kept += f < factors ? value[f] : 0;
    }
    *kept = all > 0 ? *kept / all : 1;
    return ST_OK;
}

enum st fm_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                  struct tensors *model, struct measures *m)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const struct fm_derive *o = derive_opts;
    const uint32_t which = o->model ? o->model - 1 : 0, k = o->factors ? o->factors : l.k;
    const struct tensor *v = view->t;
    struct fm_setting at;
    double kept = 1;

    if (which >= l.m)
        return fail(x->err, ST_BAD_CONFIG, "model %u: the job packs models 1..%u", o->model, l.m);
    if (k > l.k)
        return fail(x->err, ST_BAD_CONFIG, "factors %u: the job learns %u", k, l.k);
    CHECK(model->t[MFM_V].n == (uint64_t)l.d * k);
    columns(v[FV_W0].f64, 1, l.m, which, 1, model->t[MFM_W0].f32);
    columns(v[FV_W].f64, l.d, l.m, which, 1, model->t[MFM_W].f32);
    if (k < l.k) {
        TRY(turned(x, &l, view, which, k, model->t[MFM_V].f32, &kept));
    } else {
        columns(v[FV_V].f64, l.d, l.z, (uint64_t)which * k, k, model->t[MFM_V].f32);
        columns(v[FV_W0].f64 + l.m, 1, l.m, which, 1, model->t[MFM_N0].f32);
        columns(v[FV_NW].f64, l.d, l.m, which, 1, model->t[MFM_NW].f32);
        columns(v[FV_NV].f64, l.d, l.z, (uint64_t)which * k, k, model->t[MFM_NV].f32);
        take(2, 1, v[FV_HEAD].f64, model->t[MFM_LABEL].f32);
    }
    at = fm_setting(l.o, which);
    m->m[0] = (struct measure){"learning_rate", (double)at.rate, false};
    m->m[1] = (struct measure){"l2", (double)at.l2, false};
    m->m[2] = (struct measure){"factors_l2", (double)at.factors_l2, false};
    m->m[3] = (struct measure){"factors_kept", kept, false};
    m->n = 4;
    m->model = (int32_t)which;
    return ST_OK;
}
