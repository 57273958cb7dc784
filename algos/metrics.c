#include "algos/metrics.h"

#include "algos/halving.h"
#include "algos/loss.h"
#include "algos/tensors.h"
#include "config/base/clones.h"
#include "config/base/limits.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* 2^(-1/16): a batch counts half after 16 more. */
static const double recent_decay = 0.9576032806985737;

#define HIST_FIRST 64.0
#define HIST_KEEP 0.25

enum { LABEL_MIN = 3 }; /* weight, sum, sum of squares */

static uint32_t label_width(const struct shape *sh)
{
    return sh->classes > LABEL_MIN ? sh->classes : LABEL_MIN;
}

uint32_t metrics_decls(struct tdecl *d, uint32_t first_id, const struct algo *a,
                       const struct shape *sh)
{
    const struct tdecl all[METRIC_DECLS] = {
        {.name = "@metric.train", .what = "prequential sums per packed model", .dim[1] = METRIC_N},
        {.name = "@metric.recent", .what = "the same, halved every 16 batches", .dim[1] = METRIC_N},
        {.name = "@metric.held", .what = "sums over held-out rows", .dim[1] = METRIC_N},
        {.name = "@metric.label", .what = "labels: weight per class, or weight, sum, squares"},
        {.name = "@metric.hist", .what = "held-out weight per class and bin of z in [-16, 16]"},
        {.name = "@stopped", .what = "1: successive halving has stopped this packed model"},
    };
    bool scored = sh->out != OUT_NONE && sh->out != OUT_LOSS_ONLY;
    uint32_t n = 0;

    CHECK(sh->models > 0 && sh->models <= MODELS_MAX);
    for (uint32_t i = 0; i < METRIC_DECLS; i++) {
        struct tdecl *t = &d[n];

        if ((i == 3 && !(scored && a->flags & ALGO_LABEL)) || (i == 4 && sh->out != OUT_MARGIN) ||
            (i == 5 && !sh->halving))
            continue;
        *t = all[i];
        t->id = first_id + n++;
        t->dtype = i == 5 ? DT_U8 : DT_F64;
        t->law = i == 5 ? LAW_MAX : LAW_SUM;
        t->flags = T_HOST;
        t->dim[0] = i == 3 ? 2 : sh->models;
        if (i == 3)
            t->dim[1] = label_width(sh);
        if (i == 4)
            t->dim[1] = 2, t->dim[2] = METRIC_BINS;
    }
    return n;
}

/* ---- one batch: sums per packed model, in f64, rows in order ---- */

struct part_of { /* the learned or the held-out rows of a batch */
    uint32_t n, models, zcols, ny;
    const float *w, *y, *z, *loss; /* w[n], y[n, ny] or NULL, z[n, zcols], loss[n, models] */
};

struct sums {
    double s[METRIC_N][MODELS_MAX];
};

/* What one row adds, given its weight, its label and a number x: a loss, an output, or the
 * label. */
static inline double term_x(float w, float y, float x)
{
    (void)y;
    return (double)w * (double)x;
}

static inline double term_xx(float w, float y, float x)
{
    (void)y;
    return (double)w * (double)x * (double)x;
}

static inline double term_weight(float w, float y, float x)
{
    (void)y, (void)x;
    return (double)w;
}

/* Without a jump: which way it goes is what has to be learned. */
static inline double term_hit(float w, float y, float x)
{
    return (double)w * (double)((x > 0) == (y > 0.5f));
}

static inline double term_class_0(float w, float y, float x)
{
    (void)x;
    return (double)w * (double)!(y > 0.5f);
}

static inline double term_class_1(float w, float y, float x)
{
    (void)x;
    return (double)w * (double)(y > 0.5f);
}

static inline double term_error(float w, float y, float x)
{
    double d = (double)x - (double)y;

    return (double)w * d * d;
}

/* sum += sum over i < n of term(w[i], y[i], x[i]): eight sums side by side, so that no addition
 * waits for the one before. */
static inline __attribute__((always_inline)) void
reduce_one(double (*term)(float w, float y, float x), uint32_t n, const float *restrict w,
           const float *restrict y, const float *restrict x, double *restrict sum)
{
    double lane[8] = {0};
    uint32_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (uint32_t k = 0; k < 8; k++)
            lane[k] += term(w[i + k], y[i + k], x[i + k]);
    for (uint32_t k = 0; i + k < n; k++)
        lane[k] += term(w[i + k], y[i + k], x[i + k]);
    *sum +=
        ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* sum[m] += sum over i of term(w[i], y[i ny], x[i ld + m]), m < cols. Eight rows at a time, in a
 * fixed order: the chain of additions through memory is what limits. */
static inline __attribute__((always_inline)) void reduce(double (*term)(float w, float y, float x),
                                                         const struct part_of *p,
                                                         const float *restrict x, uint32_t ld,
                                                         uint32_t cols, double *restrict sum)
{
    const float *restrict w = p->w, *restrict y = p->y ? p->y : p->w;
    size_t ny = p->y ? p->ny : 1;
    uint32_t i = 0;

    if (cols == 1 && ld == 1 && ny == 1) {
        reduce_one(term, p->n, w, y, x, sum);
        return;
    }
    for (; i + 8 <= p->n; i += 8, x += (size_t)8 * ld, y += 8 * ny, w += 8)
        for (uint32_t m = 0; m < cols; m++)
            sum[m] +=
                ((term(w[0], y[0], x[m]) + term(w[1], y[ny], x[ld + m])) +
                 (term(w[2], y[2 * ny], x[2 * ld + m]) + term(w[3], y[3 * ny], x[3 * ld + m]))) +
                ((term(w[4], y[4 * ny], x[4 * ld + m]) + term(w[5], y[5 * ny], x[5 * ld + m])) +
                 (term(w[6], y[6 * ny], x[6 * ld + m]) + term(w[7], y[7 * ny], x[7 * ld + m])));
    for (; i < p->n; i++, x += ld, y += ny, w++)
        for (uint32_t m = 0; m < cols; m++)
            sum[m] += term(*w, *y, x[m]);
}

static uint32_t class_of(float y, uint32_t classes)
{
    CHECK(y >= 0 && y < (float)classes);
    return (uint32_t)y;
}

/* Is column y the lowest of the largest of z[classes]? */
static bool is_arg_max(const float *z, uint32_t classes, uint32_t y)
{
    uint32_t above = 0;

    for (uint32_t c = 0; c < y; c++)
        above |= z[c] >= z[y];
    for (uint32_t c = y + 1; c < classes; c++)
        above |= z[c] > z[y];
    return !above;
}

static double squared_error(const float *z, const float *y, uint32_t targets)
{
    double sum = 0;

    for (uint32_t t = 0; t < targets; t++)
        sum += ((double)z[t] - (double)y[t]) * ((double)z[t] - (double)y[t]);
    return sum;
}

/* How right model m is about row i: its share of the weight that counts as hit, or its squared
 * error. */
static double merit(const struct part_of *p, enum out_kind out, uint32_t i, uint32_t m)
{
    uint32_t group = p->zcols / p->models;
    const float *z = p->z + (size_t)i * p->zcols + (size_t)m * group;
    const float *y = p->y + (size_t)i * p->ny;

    if (out == OUT_MARGIN)
        return (*z > 0) == (*y > 0.5f);
    if (out == OUT_LOGITS)
        return is_arg_max(z, group, class_of(*y, group));
    return squared_error(z, y, group);
}

static int merit_column(enum out_kind out)
{
    return out == OUT_VALUE ? METRIC_SE : METRIC_HIT;
}

/* Every row has a prediction: rows and weights are the same for all models. */
MR_CLONES static void add_plain(struct sums *s, const struct part_of *p, enum out_kind out)
{
    double *merits = s->s[merit_column(out)], weight = 0;

    reduce(term_weight, p, p->w, 1, 1, &weight);
    for (uint32_t m = 0; m < p->models; m++) {
        s->s[METRIC_ROWS][m] += p->n;
        s->s[METRIC_WEIGHT][m] += weight;
    }
    if (out == OUT_NONE)
        return;
    reduce(term_x, p, p->loss, p->models, p->models, s->s[METRIC_LOSS]);
    if (!p->y || out == OUT_LOSS_ONLY)
        return;
    if (out == OUT_MARGIN)
        reduce(term_hit, p, p->z, p->models, p->models, merits);
    else if (out == OUT_VALUE && p->zcols == p->models)
        reduce(term_error, p, p->z, p->models, p->models, merits);
    else
        for (uint32_t i = 0; i < p->n; i++)
            for (uint32_t m = 0; m < p->models; m++)
                merits[m] += (double)p->w[i] * merit(p, out, i, m);
}

/* Some rows have no prediction yet, by some models, or one that is not finite. */
static void add_masked(struct sums *s, const struct part_of *p, enum out_kind out)
{
    double *merits = s->s[merit_column(out)];
    bool scored = p->y && out != OUT_LOSS_ONLY;

    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t m = 0; m < p->models; m++) {
            float loss = p->loss[(size_t)i * p->models + m];

            if (loss == LOSS_NONE) {
                s->s[METRIC_NONE][m] += 1;
                continue;
            }
            if (!isfinite(loss)) {
                s->s[METRIC_DIVERGED][m] += 1;
                continue;
            }
            s->s[METRIC_ROWS][m] += 1;
            s->s[METRIC_WEIGHT][m] += (double)p->w[i];
            s->s[METRIC_LOSS][m] += (double)p->w[i] * (double)loss;
            if (scored)
                merits[m] += (double)p->w[i] * merit(p, out, i, m);
        }
}

/* LOSS_NONE is infinite too. */
MR_CLONES static bool all_finite(const float *loss, size_t n)
{
    uint32_t not = 0;

    for (size_t i = 0; i < n; i++)
        not |= !(loss[i] - loss[i] == 0);
    return !not ;
}

/* ---- labels and histograms ---- */

MR_CLONES static void add_labels(double *at, const struct shape *sh, const struct part_of *p)
{
    if (sh->out == OUT_LOGITS) {
        for (uint32_t i = 0; i < p->n; i++)
            at[class_of(p->y[(size_t)i * p->ny], sh->classes)] += (double)p->w[i];
        return;
    }
    if (sh->out == OUT_MARGIN) {
        reduce(term_class_0, p, p->w, 1, 1, &at[0]);
        reduce(term_class_1, p, p->w, 1, 1, &at[1]);
        return;
    }
    reduce(term_weight, p, p->y, p->ny, 1, &at[0]);
    reduce(term_x, p, p->y, p->ny, 1, &at[1]);
    reduce(term_xx, p, p->y, p->ny, 1, &at[2]);
}

/* Has a count of rows passed HIST_FIRST, or twice, four times, ... as many? */
static bool doubled(double before, double after)
{
    double edge = HIST_FIRST;

    while (edge <= before)
        edge *= 2;
    return edge <= after;
}

/* seen[m METRIC_N]: held-out rows that model m has scored, these included. */
static void add_histogram(double *at, const struct part_of *p, const double *seen,
                          const double *rows)
{
    for (uint32_t m = 0; m < p->models; m++, at += (size_t)2 * METRIC_BINS) {
        double all = seen[(size_t)m * METRIC_N];

        for (uint32_t b = 0; doubled(all - rows[m], all) && b < 2 * METRIC_BINS; b++)
            at[b] *= HIST_KEEP;
        for (uint32_t i = 0; i < p->n; i++) {
            uint32_t y = p->y[(size_t)i * p->ny] > 0.5f;

            if (isfinite(p->loss[(size_t)i * p->models + m]))
                at[y * METRIC_BINS + metrics_bin(p->z[(size_t)i * p->zcols + m])] +=
                    (double)p->w[i];
        }
    }
}

/* ---- the state's tensors ---- */

struct places { /* NULL: not there; label and hist: see metrics_decls() */
    double *train, *recent, *held, *label, *hist;
};

/* By name, since ids differ between states and views; compared only where the name can match,
 * because this runs once a batch. */
static struct places places(const struct tensors *ts)
{
    struct places at = {0};

    for (uint32_t i = 0; i < ts->n; i++) {
        const char *name = ts->t[i].d.name;

        if (*name != '@' || strncmp(name, "@metric.", 8) != 0)
            continue;
        CHECK(ts->t[i].d.dtype == DT_F64);
        name += 8;
        *(!strcmp(name, "train")    ? &at.train
          : !strcmp(name, "recent") ? &at.recent
          : !strcmp(name, "held")   ? &at.held
          : !strcmp(name, "label")  ? &at.label
                                    : &at.hist) = ts->t[i].f64;
    }
    return at;
}

static void add_sums(double *at, const struct sums *s, uint32_t models, double keep)
{
    for (uint32_t m = 0; m < models; m++)
        for (uint32_t k = 0; k < METRIC_N; k++)
            at[(size_t)m * METRIC_N + k] = keep * at[(size_t)m * METRIC_N + k] + s->s[k][m];
}

static struct part_of part(const struct shape *sh, const struct rows *r, const struct eval *e,
                           uint32_t from, uint32_t to)
{
    bool none = sh->out == OUT_NONE;

    return (struct part_of){
        .n = to - from,
        .models = sh->models,
        .zcols = sh->zcols,
        .ny = r->ny,
        .w = r->weight + from,
        .y = r->y && r->ny ? r->y + (size_t)from * r->ny : NULL,
        .z = none || sh->out == OUT_LOSS_ONLY ? NULL : e->z + (size_t)from * sh->zcols,
        .loss = none ? NULL : e->loss + (size_t)from * sh->models,
    };
}

static void add_part(const struct places *at, const struct shape *sh, const struct part_of *p,
                     bool held)
{
    struct sums s;

    if (!p->n)
        return;
    for (int k = 0; k < METRIC_N; k++)
        memset(s.s[k], 0, p->models * sizeof *s.s[k]);
    if (!p->loss || all_finite(p->loss, (size_t)p->n * p->models))
        add_plain(&s, p, sh->out);
    else
        add_masked(&s, p, sh->out);
    add_sums(held ? at->held : at->train, &s, p->models, 1);
    if (!held)
        add_sums(at->recent, &s, p->models, recent_decay);
    if (at->label && p->y)
        add_labels(at->label + (held ? label_width(sh) : 0), sh, p);
    if (at->hist && p->y && held)
        add_histogram(at->hist, p, at->held + METRIC_ROWS, s.s[METRIC_ROWS]);
}

void metrics_add(struct tensors *state, const struct shape *sh, const struct rows *r,
                 const struct eval *e)
{
    struct places at = places(state);
    struct part_of learned = part(sh, r, e, 0, r->train);
    struct part_of held = part(sh, r, e, r->train, r->n);

    CHECK(at.train && at.recent && at.held && r->weight);
    CHECK(sh->models > 0 && sh->models <= MODELS_MAX && r->train <= r->n);
    CHECK(sh->out != OUT_MARGIN || sh->zcols == sh->models);
    CHECK(sh->out != OUT_LOGITS || sh->zcols == sh->models * sh->classes);
    CHECK(sh->out != OUT_VALUE || !r->y || sh->zcols / sh->models <= r->ny);
    add_part(&at, sh, &learned, false);
    add_part(&at, sh, &held, true);
}

/* ---- read ---- */

static void baseline_of_out(struct metric *x, const double *label, const struct shape *sh)
{
    uint32_t classes = sh->out == OUT_MARGIN ? 2 : sh->classes;
    double n = 0, most = 0, loss = 0;

    if (sh->out == OUT_VALUE) {
        double mean = label[1] / label[0], var = label[2] / label[0] - mean * mean;

        if (!(label[0] > 0) || sh->zcols != sh->models)
            return;
        var = var > 0 ? var : 0;
        x->baseline_rmse = sqrt(var);
        x->baseline_loss = var / 2;
        return;
    }
    for (uint32_t c = 0; c < classes; c++) {
        n += label[c];
        most = label[c] > most ? label[c] : most;
    }
    if (!(n > 0))
        return;
    for (uint32_t c = 0; c < classes; c++)
        if (label[c] > 0)
            loss -= label[c] / n * log(label[c] / n);
    x->baseline_loss = loss;
    x->baseline_accuracy = most / n;
}

static void baseline(struct metric *x, const double *label, const struct shape *sh)
{
    baseline_of_out(x, label, sh);
    if (sh->loss != LOSS_OF_OUT)
        x->baseline_loss = loss_baseline(sh, label);
}

/* The chance that a random row of class 1 scores above one of class 0; within a bin a half. */
static double area(const double *hist)
{
    const double *neg = hist, *pos = hist + METRIC_BINS;
    double below = 0, sum = 0, n = 0, p = 0;

    for (int b = 0; b < METRIC_BINS; b++) {
        sum += pos[b] * (below + neg[b] / 2);
        below += neg[b];
        n += neg[b];
        p += pos[b];
    }
    return n > 0 && p > 0 ? sum / (n * p) : (double)NAN;
}

struct metric metrics_read(const struct tensors *ts, const struct shape *sh, uint32_t model,
                           bool held)
{
    const double none = (double)NAN;
    struct metric x = {0, 0, none, none, none, none, none, none, none, none};
    struct places at = places(ts);
    const double *sum = held ? at.held : at.train, *recent;

    CHECK(model < sh->models);
    if (!sum)
        return x;
    CHECK(at.recent && at.train && at.held); /* all or none */
    sum += (size_t)model * METRIC_N;
    x.rows = sum[METRIC_ROWS];
    x.weight = sum[METRIC_WEIGHT];
    if (at.label)
        baseline(&x, at.label + (held ? label_width(sh) : 0), sh);
    if (!(x.weight > 0) || sh->out == OUT_NONE)
        return x;
    x.loss = sum[METRIC_LOSS] / x.weight;
    recent = at.recent + (size_t)model * METRIC_N;
    if (!held && recent[METRIC_WEIGHT] > 0)
        x.recent_loss = recent[METRIC_LOSS] / recent[METRIC_WEIGHT];
    if (at.label && sh->out == OUT_VALUE)
        x.rmse = sqrt(sum[METRIC_SE] / x.weight);
    else if (at.label)
        x.accuracy = sum[METRIC_HIT] / x.weight;
    if (at.hist && held)
        x.auc = area(at.hist + (size_t)model * 2 * METRIC_BINS);
    return x;
}

float metrics_edge(uint32_t k)
{
    CHECK(k <= METRIC_BINS);
    return k == 0 ? -FLT_MAX : k == METRIC_BINS ? FLT_MAX : ((float)k - METRIC_BINS / 2) / 32;
}

const double *metrics_hist(const struct tensors *ts, const struct shape *sh, uint32_t model)
{
    const struct places at = places(ts);

    CHECK(model < sh->models);
    return at.hist && sh->out == OUT_MARGIN ? at.hist + (size_t)model * 2 * METRIC_BINS : NULL;
}

bool metrics_has_diverged(const struct tensors *ts, uint32_t model)
{
    struct places at = places(ts);
    size_t k = (size_t)model * METRIC_N + METRIC_DIVERGED;

    return at.train && at.train[k] + at.held[k] > 0;
}

bool metrics_is_out(const struct tensors *ts, uint32_t model)
{
    const uint8_t *stopped = halving_stopped(ts);

    return metrics_has_diverged(ts, model) || (stopped && stopped[model]);
}

uint32_t metrics_diverged(const struct tensors *ts, const struct shape *sh)
{
    uint32_t n = 0;

    for (uint32_t m = 0; m < sh->models; m++)
        n += metrics_has_diverged(ts, m);
    return n;
}

enum st metrics_alive(const struct tensors *ts, const struct shape *sh, struct err *e)
{
    for (uint32_t m = 0; m < sh->models; m++)
        if (!metrics_is_out(ts, m))
            return ST_OK;
    if (sh->models == 1)
        return fail(e, ST_FATAL,
                    "the loss is not finite: the model diverged; a lower learning rate or "
                    "standardised inputs help");
    return fail(e, ST_FATAL,
                "all %u packed models diverged; lower learning rates or standardised inputs help",
                sh->models);
}

uint32_t metrics_best(const struct tensors *ts, const struct shape *sh)
{
    double least = (double)INFINITY;
    uint32_t best = 0;
    bool held = false;

    while (best + 1 < sh->models && metrics_is_out(ts, best))
        best++; /* no rows at all */
    for (uint32_t m = 0; m < sh->models; m++)
        held |= metrics_read(ts, sh, m, true).weight > 0;
    for (uint32_t m = 0; m < sh->models; m++) {
        double loss = metrics_read(ts, sh, m, held).loss;

        if (loss < least && !metrics_is_out(ts, m)) {
            least = loss;
            best = m;
        }
    }
    return best;
}
