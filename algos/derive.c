#include "algos/derive.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The packed model asked for, or -1 where the algorithm has no such option. */
static enum st resolve(const struct ctx *x, const struct algo *a, const struct tensors *view,
                       void *derive_opts, int32_t *model)
{
    const struct opt *o = opt_find(a->derive_opts, "model");
    uint32_t models = x->shape->models, *at;

    *model = -1;
    if (!o)
        return ST_OK;
    CHECK(o->type == OPT_U32 && o->at + sizeof *at <= a->derive_bytes);
    at = (uint32_t *)(void *)((char *)derive_opts + o->at);
    if (*at > models)
        return fail(x->err, ST_BAD_CONFIG, "model %u: this job has packed models 1..%u", *at,
                    models);
    TRY(metrics_alive(view, x->shape, x->err));
    if (*at == 0)
        *at = metrics_best(view, x->shape) + 1;
    if (metrics_has_diverged(view, *at - 1))
        return fail(x->err, ST_BAD_CONFIG,
                    "model %u diverged: choose another, or auto (the best of those that did not)",
                    *at);
    *model = (int32_t)*at - 1;
    return ST_OK;
}

static void attach(struct measures *m, const char *name, double value, bool lower_is_better)
{
    struct measure *at = &m->m[m->n];

    if (isnan(value))
        return;
    CHECK(m->n < sizeof m->m / sizeof *m->m);
    snprintf(at->name, sizeof at->name, "%s", name);
    at->value = value;
    at->lower_is_better = lower_is_better;
    m->n++;
}

static void attach_metrics(struct measures *m, const struct tensors *view, const struct shape *sh)
{
    uint32_t model = m->model >= 0 ? (uint32_t)m->model : 0;
    struct metric t, h;

    if (m->model < 0 && sh->models != 1)
        return;
    if (metrics_diverged(view, sh))
        attach(m, "models_diverged", metrics_diverged(view, sh), false);
    t = metrics_read(view, sh, model, false);
    h = metrics_read(view, sh, model, true);
    attach(m, "rows", t.rows, false);
    attach(m, "prequential_loss", t.loss, true);
    attach(m, "recent_loss", t.recent_loss, true);
    attach(m, "baseline_loss", t.baseline_loss, true);
    attach(m, "prequential_accuracy", t.accuracy, false);
    attach(m, "baseline_accuracy", t.baseline_accuracy, false);
    attach(m, "prequential_rmse", t.rmse, true);
    if (!(h.rows > 0))
        return;
    attach(m, "heldout_rows", h.rows, false);
    attach(m, "heldout_loss", h.loss, true);
    attach(m, "heldout_accuracy", h.accuracy, false);
    attach(m, "heldout_rmse", h.rmse, true);
    attach(m, "heldout_auc", h.auc, false);
}

enum st derive_model(const struct ctx *x, const struct algo *a, const struct tensors *view,
                     void *derive_opts, struct tensors *model, struct measures *m)
{
    int32_t chosen;

    memset(model, 0, sizeof *model);
    memset(m, 0, sizeof *m);
    TRY(resolve(x, a, view, derive_opts, &chosen));
    m->model = chosen;
    TRY(tensors_declare(model, a, PART_MODEL, x->shape, x->opts, derive_opts, NULL, 0,
                        view->chunk_shift, UINT64_MAX >> 1, x->err));
    TRY(tensors_alloc(model, NULL, NULL, x->err));
    TRY(a->derive(x, view, derive_opts, model, m));
    CHECK(m->n <= MEASURES_OWN && m->model >= -1 && m->model < (int32_t)x->shape->models);
    CHECK(chosen < 0 || m->model == chosen);
    TRY(tensors_finite(model, x->err));
    attach_metrics(m, view, x->shape);
    return ST_OK;
}

uint32_t score_columns(const struct algo *a, const struct shape *sh, const void *opts,
                       const void *derive_opts, char (*names)[COLUMN_NAME_BYTES], uint32_t max)
{
    struct tensors out;
    struct err e;
    uint32_t n = 0;
    enum st st =
        tensors_declare(&out, a, PART_OUT, sh, opts, derive_opts, NULL, 0, 6, UINT64_MAX >> 1, &e);

    CHECK(st == ST_OK); /* the same options have made a model */
    for (uint32_t i = 0; i < out.n; i++) {
        const struct tdecl *d = &out.t[i].d;

        CHECK(strlen(d->name) + 12 <= COLUMN_NAME_BYTES);
        for (uint64_t k = 0; k < d->dim[0]; k++, n++) {
            if (n >= max)
                continue;
            if (d->dim[0] == 1)
                snprintf(names[n], COLUMN_NAME_BYTES, "%s", d->name);
            else
                snprintf(names[n], COLUMN_NAME_BYTES, "%s.%u", d->name, (unsigned)k);
        }
    }
    return n;
}
