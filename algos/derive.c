#include "algos/derive.h"

#include "algos/scores.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- options ---- */

struct margin_opts { /* the runtime's, for two classes */
    uint32_t threshold, calibrate;
    float f_beta, target_recall, target_precision;
};

enum { CALIBRATE_NONE, CALIBRATE_ISOTONIC };

/* enum criterion */
static const char *const threshold_names[] = {
    "none", "accuracy", "f1", "f_beta", "precision_at_target_recall", "recall_at_target_precision",
    NULL};
static const char *const calibrate_names[] = {"none", "isotonic", NULL};

#define AT(field) offsetof(struct margin_opts, field), sizeof((struct margin_opts){0}.field)

static const struct opt margin_options[] = {
    {"threshold", OPT_ENUM, AT(threshold), "none", 0, 0, threshold_names,
     "two classes: what the margin from which a row is of class 1, and with model: auto the packed "
     "model, is to "
     "make the most of on held-out rows; none: margins above 0",
     NULL},
    {"f_beta", OPT_F32, AT(f_beta), "1", 0.01, 100, NULL,
     "of threshold: f_beta: how many times as much recall weighs as precision", NULL},
    {"target_recall", OPT_F32, AT(target_recall), "0.8", 0, 1, NULL,
     "of threshold: precision_at_target_recall: the least recall", NULL},
    {"target_precision", OPT_F32, AT(target_precision), "0.8", 0, 1, NULL,
     "of threshold: recall_at_target_precision: the least precision", NULL},
    {"calibrate", OPT_ENUM, AT(calibrate), "none", 0, 0, calibrate_names,
     "two classes, isotonic: adds the probability of class 1 that held-out rows of such a margin "
     "have had",
     NULL},
    {0}};

/* Where the runtime's options lie in derive_opts. */
static size_t margin_at(const struct algo *a)
{
    return (a->derive_bytes + 7) & ~(size_t)7;
}

static struct margin_opts margin_opts(const struct algo *a, const struct shape *sh,
                                      const void *derive_opts)
{
    struct margin_opts o = {0};

    if (sh->out == OUT_MARGIN && derive_opts)
        memcpy(&o, (const char *)derive_opts + margin_at(a), sizeof o);
    return o;
}

static struct criterion_opts criterion_opts(const struct margin_opts *o)
{
    return (struct criterion_opts){.criterion = (enum criterion)o->threshold,
                                   .f_beta = (double)o->f_beta,
                                   .target_recall = (double)o->target_recall,
                                   .target_precision = (double)o->target_precision};
}

void derive_options(struct derive_table *t, const struct algo *a, const struct shape *sh)
{
    uint32_t n = 0;

    *t = (struct derive_table){.bytes = a->derive_bytes};
    for (const struct opt *o = a->derive_opts; o->name; o++) {
        CHECK(n < DERIVE_OPTIONS_MAX);
        t->o[n++] = *o;
    }
    if (sh->out != OUT_MARGIN)
        return;
    for (const struct opt *o = margin_options; o->name; o++) {
        CHECK(n < DERIVE_OPTIONS_MAX && !opt_find(a->derive_opts, o->name));
        t->o[n] = *o;
        t->o[n++].at += margin_at(a);
    }
    t->bytes = margin_at(a) + sizeof(struct margin_opts);
}

void derive_defaults(const struct algo *a, const struct shape *sh, void *derive_opts, size_t n)
{
    struct derive_table t;

    derive_options(&t, a, sh);
    CHECK(t.bytes <= n);
    opts_defaults(t.o, derive_opts);
}

/* ---- which packed model ---- */

/* The one of the most value by a criterion; ties: the lowest. Without a criterion by its loss. */
static uint32_t best_model(const struct tensors *view, const struct shape *sh,
                           const struct criterion_opts *o)
{
    uint32_t best = metrics_best(view, sh);
    double most = -1;

    for (uint32_t m = 0; m < sh->models && o->criterion; m++) {
        const double *hist = metrics_hist(view, sh, m);
        struct cut c;

        if (!hist || metrics_is_out(view, m) || !scores_best(hist, o, &c) || c.value <= most)
            continue;
        most = c.value;
        best = m;
    }
    return best;
}

/* The packed model asked for, or -1 where the algorithm has no such option. */
static enum st resolve(const struct ctx *x, const struct algo *a, const struct tensors *view,
                       void *derive_opts, int32_t *model)
{
    const struct margin_opts margin = margin_opts(a, x->shape, derive_opts);
    const struct criterion_opts by = criterion_opts(&margin);
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
        *at = best_model(view, x->shape, &by) + 1;
    if (metrics_has_diverged(view, *at - 1))
        return fail(x->err, ST_BAD_CONFIG,
                    "model %u diverged: choose another, or auto (the best of those that did not)",
                    *at);
    if (metrics_is_out(view, *at - 1))
        return fail(x->err, ST_BAD_CONFIG,
                    "model %u was stopped by halving: choose another, or auto (the best of those "
                    "that were not)",
                    *at);
    *model = (int32_t)*at - 1;
    return ST_OK;
}

/* ---- measures ---- */

enum {
    MEASURE_DIVERGED,
    MEASURE_ROWS,
    MEASURE_LOSS,
    MEASURE_RECENT_LOSS,
    MEASURE_BASELINE_LOSS,
    MEASURE_ACCURACY,
    MEASURE_BASELINE_ACCURACY,
    MEASURE_RMSE,
    MEASURE_BASELINE_RMSE,
    MEASURE_HELD_ROWS,
    MEASURE_HELD_LOSS,
    MEASURE_HELD_ACCURACY,
    MEASURE_HELD_RMSE,
    MEASURE_HELD_AUC,
    MEASURE_THRESHOLD,
    MEASURE_HELD_PRECISION,
    MEASURE_HELD_RECALL,
    MEASURE_HELD_F1,
    MEASURE_HELD_F_BETA,
    MEASURE_UNCALIBRATED_LOSS,
    MEASURE_UNCALIBRATED_BRIER,
    MEASURE_CALIBRATED_LOSS,
    MEASURE_CALIBRATED_BRIER
};

const struct measure_info derive_measures[] = {
    {"models_diverged", true, "packed models that diverged, if any have"},
    {"rows", false, "learned rows that had a prediction"},
    {"prequential_loss", true, "mean loss of learned rows, each before it was learned"},
    {"recent_loss", true, "the same, with a half-life of 16 batches"},
    {"baseline_loss", true, "of the best constant prediction"},
    {"prequential_accuracy", false, "share of learned rows whose class was predicted"},
    {"baseline_accuracy", false, "of the most frequent class"},
    {"prequential_rmse", true, "root of the mean squared error of learned rows"},
    {"baseline_rmse", true, "of the mean label"},
    {"heldout_rows", false, "rows held out that had a prediction"},
    {"heldout_loss", true, "mean loss of held-out rows"},
    {"heldout_accuracy", false, "share of held-out rows whose class was predicted"},
    {"heldout_rmse", true, "root of the mean squared error of held-out rows"},
    {"heldout_auc", false,
     "area under the ROC curve; several classes: their mean, one against all"},
    {"threshold", false, "margin from which a row is of class 1, where a criterion chose it"},
    {"heldout_precision", false, "share of class 1 among the held-out rows predicted so"},
    {"heldout_recall", false, "share of those predicted so among held-out rows of class 1"},
    {"heldout_f1", false, "harmonic mean of the two"},
    {"heldout_f_beta", false, "with recall f_beta times as heavy, where that is the criterion"},
    {"uncalibrated_loss", true,
     "with calibrate: log-loss of margins as log odds, of held-out rows"},
    {"uncalibrated_brier", true, "and mean squared error of those probabilities"},
    {"calibrated_loss", true, "the same of calibrated ones, for the rows that they are made of"},
    {"calibrated_brier", true, "and their mean squared error"},
    {0}};

static void attach(struct measures *m, uint32_t which, double value)
{
    const struct measure_info *info = &derive_measures[which];
    struct measure *at = &m->m[m->n];

    if (isnan(value))
        return;
    CHECK(m->n < sizeof m->m / sizeof *m->m);
    CHECK(strlen(info->name) < sizeof at->name);
    snprintf(at->name, sizeof at->name, "%s", info->name);
    at->value = value;
    at->lower_is_better = info->lower_is_better;
    m->n++;
}

/* What the held-out rows of two classes say. */
struct held {
    struct criterion_opts by;
    const double *hist;             /* NULL: there are none */
    float *threshold, *calibration; /* of the model; NULL: not asked for */
    struct cut cut;                 /* at the threshold */
};

static uint32_t model_of(const struct measures *m)
{
    return m->model > 0 ? (uint32_t)m->model : 0;
}

static void attach_learned(struct measures *m, const struct tensors *view, const struct shape *sh,
                           uint32_t model)
{
    const struct metric t = metrics_read(view, sh, model, false);

    if (metrics_diverged(view, sh))
        attach(m, MEASURE_DIVERGED, metrics_diverged(view, sh));
    attach(m, MEASURE_ROWS, t.rows);
    attach(m, MEASURE_LOSS, t.loss);
    attach(m, MEASURE_RECENT_LOSS, t.recent_loss);
    attach(m, MEASURE_BASELINE_LOSS, t.baseline_loss);
    attach(m, MEASURE_ACCURACY, t.accuracy);
    attach(m, MEASURE_BASELINE_ACCURACY, t.baseline_accuracy);
    attach(m, MEASURE_RMSE, t.rmse);
    attach(m, MEASURE_BASELINE_RMSE, t.baseline_rmse);
}

/* Of two classes: at the threshold, and of the probabilities. */
static void attach_scores(struct measures *m, const struct held *h, const struct shape *sh)
{
    float logistic[METRIC_BINS];

    if (h->threshold)
        attach(m, MEASURE_THRESHOLD, (double)*h->threshold);
    attach(m, MEASURE_HELD_PRECISION, h->cut.precision);
    attach(m, MEASURE_HELD_RECALL, h->cut.recall);
    attach(m, MEASURE_HELD_F1, h->cut.f1);
    if (h->by.criterion == CRITERION_F_BETA)
        attach(m, MEASURE_HELD_F_BETA, h->cut.value);
    if (!h->calibration)
        return;
    scores_logistic(logistic);
    if (sh->loss == LOSS_OF_OUT) {
        attach(m, MEASURE_UNCALIBRATED_LOSS, scores_log_loss(h->hist, logistic));
        attach(m, MEASURE_UNCALIBRATED_BRIER, scores_brier(h->hist, logistic));
    }
    attach(m, MEASURE_CALIBRATED_LOSS, scores_log_loss(h->hist, h->calibration));
    attach(m, MEASURE_CALIBRATED_BRIER, scores_brier(h->hist, h->calibration));
}

static void attach_metrics(struct measures *m, const struct tensors *view, const struct shape *sh,
                           const struct held *h)
{
    const uint32_t model = model_of(m);
    struct metric x;

    if (m->model < 0 && sh->models != 1)
        return;
    attach_learned(m, view, sh, model);
    x = metrics_read(view, sh, model, true);
    if (!(x.rows > 0))
        return;
    attach(m, MEASURE_HELD_ROWS, x.rows);
    attach(m, MEASURE_HELD_LOSS, x.loss);
    attach(m, MEASURE_HELD_ACCURACY, h->hist ? h->cut.accuracy : x.accuracy);
    attach(m, MEASURE_HELD_RMSE, x.rmse);
    attach(m, MEASURE_HELD_AUC, x.auc);
    if (h->hist)
        attach_scores(m, h, sh);
}

/* ---- derived ---- */

static uint32_t extras(struct tdecl *d, const struct algo *a, const struct shape *sh,
                       const void *derive_opts)
{
    const struct margin_opts o = margin_opts(a, sh, derive_opts);
    uint32_t n = 0;

    if (o.threshold)
        d[n++] = (struct tdecl){.name = "@threshold",
                                .what = "a row is of class 1 where its margin is this or more",
                                .dtype = DT_F32,
                                .flags = T_HOST,
                                .dim = {1}};
    if (o.calibrate)
        d[n++] = (struct tdecl){.name = "@calibration",
                                .what = "probability of class 1 by bin of the margin, from -16 "
                                        "to 16",
                                .dtype = DT_F32,
                                .flags = T_HOST,
                                .dim = {METRIC_BINS}};
    CHECK(n <= DERIVE_EXTRAS);
    return n;
}

enum st model_declare(struct tensors *model, const struct algo *a, const struct shape *sh,
                      const void *opts, const void *derive_opts, uint32_t chunk_shift,
                      struct err *e)
{
    struct tdecl d[DERIVE_EXTRAS];
    const uint32_t n = extras(d, a, sh, derive_opts);

    return tensors_declare(model, a, PART_MODEL, sh, opts, derive_opts, d, n, chunk_shift,
                           UINT64_MAX >> 1, e);
}

struct tensors model_own(const struct tensors *model)
{
    struct tensors own = *model;

    while (own.n && *own.t[own.n - 1].d.name == '@')
        own.n--;
    return own;
}

static float *values(const struct tensors *model, const char *name)
{
    const struct tensor *t = tensors_find(model, name);

    return t ? t->f32 : NULL;
}

/* No edge has what the criterion asks for. */
static enum st refuse_cut(const struct held *h, struct err *e)
{
    const struct criterion_opts precise = {.criterion = CRITERION_PRECISION};
    struct cut c;

    if (!scores_best(h->hist, &precise, &c))
        return fail(e, ST_BAD_CONFIG,
                    "threshold and calibrate go by held-out rows, and there are none of one class");
    return fail(e, ST_BAD_CONFIG,
                "threshold: no margin has a precision of %g on held-out rows; the most is %g",
                h->by.target_precision, c.value);
}

/* What held-out rows say of the packed model; fills the runtime's tensors of the model. */
static enum st look_at_scores(const struct ctx *x, const struct algo *a, const struct tensors *view,
                              const void *derive_opts, const struct tensors *model,
                              const struct measures *m, struct held *h)
{
    const struct margin_opts o = margin_opts(a, x->shape, derive_opts);
    const bool one = m->model >= 0 || x->shape->models == 1;
    const struct metric held = metrics_read(view, x->shape, model_of(m), true);

    *h = (struct held){.by = criterion_opts(&o),
                       .hist = one ? metrics_hist(view, x->shape, model_of(m)) : NULL,
                       .threshold = values(model, "@threshold"),
                       .calibration = values(model, "@calibration")};
    if (!h->hist || !(held.weight > 0)) {
        h->hist = NULL;
        if (!o.threshold && !o.calibrate)
            return ST_OK;
        return fail(x->err, ST_BAD_CONFIG,
                    "threshold and calibrate go by held-out rows, and there are none: train with "
                    "input.holdout");
    }
    h->cut = scores_cut(h->hist, METRIC_BINS / 2, &h->by);
    if (h->threshold && !scores_best(h->hist, &h->by, &h->cut))
        return refuse_cut(h, x->err);
    if (h->threshold)
        *h->threshold = metrics_edge(h->cut.edge);
    if (h->calibration && !scores_calibrate(h->hist, held.weight / held.rows, h->calibration))
        return refuse_cut(h, x->err);
    return ST_OK;
}

enum st derive_model(const struct ctx *x, const struct algo *a, const struct tensors *view,
                     void *derive_opts, struct tensors *model, struct measures *m)
{
    struct held h;
    int32_t chosen;

    memset(model, 0, sizeof *model);
    memset(m, 0, sizeof *m);
    TRY(resolve(x, a, view, derive_opts, &chosen));
    m->model = chosen;
    TRY(model_declare(model, a, x->shape, x->opts, derive_opts, view->chunk_shift, x->err));
    TRY(tensors_alloc(model, NULL, NULL, x->err));
    TRY(a->derive(x, view, derive_opts, model, m));
    CHECK(m->n <= MEASURES_OWN && m->model >= -1 && m->model < (int32_t)x->shape->models);
    CHECK(chosen < 0 || m->model == chosen);
    TRY(look_at_scores(x, a, view, derive_opts, model, m, &h));
    TRY(tensors_finite(model, x->err));
    attach_metrics(m, view, x->shape, &h);
    return ST_OK;
}

/* ---- scored ---- */

static uint32_t put_column(char (*names)[COLUMN_NAME_BYTES], uint32_t max, uint32_t n,
                           const char *name)
{
    if (n < max)
        snprintf(names[n], COLUMN_NAME_BYTES, "%s", name);
    return n + 1;
}

uint32_t score_columns(const struct algo *a, const struct shape *sh, const void *opts,
                       const void *derive_opts, char (*names)[COLUMN_NAME_BYTES], uint32_t max)
{
    const struct margin_opts o = margin_opts(a, sh, derive_opts);
    struct tensors out;
    struct err e;
    uint32_t n = 0;
    enum st st =
        tensors_declare(&out, a, PART_OUT, sh, opts, derive_opts, NULL, 0, 6, UINT64_MAX >> 1, &e);

    CHECK(st == ST_OK); /* the same options have made a model */
    for (uint32_t i = 0; i < out.n; i++) {
        const struct tdecl *d = &out.t[i].d;
        char name[COLUMN_NAME_BYTES];

        CHECK(strlen(d->name) + 12 <= COLUMN_NAME_BYTES);
        for (uint64_t k = 0; k < d->dim[0]; k++) {
            if (d->dim[0] == 1)
                snprintf(name, sizeof name, "%s", d->name);
            else
                snprintf(name, sizeof name, "%s.%u", d->name, (unsigned)k);
            n = put_column(names, max, n, name);
        }
    }
    if (o.threshold)
        n = put_column(names, max, n, "predicted");
    return o.calibrate ? put_column(names, max, n, "calibrated") : n;
}

enum st score_rows(const struct ctx *x, const struct algo *a, const struct tensors *model,
                   uint32_t width, const struct rows *r, float *out)
{
    const float *threshold = values(model, "@threshold");
    const float *calibration = values(model, "@calibration");
    const uint32_t more = (threshold ? 1u : 0u) + (calibration ? 1u : 0u), own = width - more;

    CHECK(width > more);
    TRY(a->score(x, model, r, out));
    for (uint32_t i = r->n; more && i-- > 0;) { /* the rows move apart, the last one first */
        float *to = out + (size_t)i * width, *at = to + own;

        memmove(to, out + (size_t)i * own, own * sizeof *out);
        if (threshold)
            *at++ = (float)(*to >= *threshold);
        if (calibration)
            *at = calibration[metrics_bin(*to)];
    }
    return ST_OK;
}
