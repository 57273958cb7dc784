#include "tests/conform/support_toy.h"

#include "config/base/bytes.h"

#include <math.h>
#include <stdlib.h>

enum fault {
    FAULT_NONE,
    FORGOTTEN_TOUCH,
    STALE_SCRATCH,
    HIDDEN_GLOBAL,
    LEARNS_HELD_OUT,
    ADDRESS_AS_SEED,
    WRITES_ROWS,
    WRITES_BEHIND,
    READS_PADDING,
    EVAL_MATTERS,
    ALLOCATES,
    DIVERGES,
    FOLD_REMEMBERS,
    REBASE_DRIFTS,
    REBASE_UNTOUCHED,
    DERIVE_VARIES,
    SCORE_IS_OFF,
    IGNORES_WEIGHT,
    SPARSE_IS_OFF,
    NO_SET,
    START_IS_OFF,
    START_UNTOUCHED,
    ANY_STATE
};

static const char *const faults[] = {"none",
                                     "forgotten-touch",
                                     "stale-scratch",
                                     "hidden-global",
                                     "learns-held-out",
                                     "address-as-seed",
                                     "writes-rows",
                                     "writes-behind",
                                     "reads-padding",
                                     "eval-matters",
                                     "allocates",
                                     "diverges",
                                     "fold-remembers",
                                     "rebase-drifts",
                                     "rebase-untouched",
                                     "derive-varies",
                                     "score-is-off",
                                     "ignores-weight",
                                     "sparse-is-off",
                                     "no-set",
                                     "start-is-off",
                                     "start-untouched",
                                     "any-state",
                                     NULL};

struct toy_opts {
    uint32_t fault;
};

static const struct opt options[] = {{"fault", OPT_ENUM, offsetof(struct toy_opts, fault),
                                      sizeof(uint32_t), "none", 0, 0, faults,
                                      "the promise to break", NULL},
                                     {0}};
static const struct opt no_options[] = {{0}};
static const struct port ports[] = {
    {"features", "numbers of a row", PORT_DENSE | PORT_SPARSE, true}, {0}};

enum { HEAD, MEAN, MOST, SEEN, LAST };
enum { ERROR /* f32[B]: weight * (y - mean) */ };

static uint32_t calls; /* what no algorithm may have */

static bool broken(const struct ctx *x, enum fault f)
{
    return ((const struct toy_opts *)x->opts)->fault == f;
}

/* ---- toy ---- */

static enum st toy_check(struct shape *sh, void *opts, struct err *e)
{
    (void)opts, (void)e;
    if (!sh->batch_rows)
        sh->batch_rows = 32;
    sh->models = sh->zcols = 1;
    sh->out = OUT_VALUE;
    return ST_OK;
}

static enum st toy_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                           const void *derive_opts)
{
    const struct tdecl state[] = {
        {.id = HEAD,
         .name = "head",
         .what = "weight learned",
         .dtype = DT_F64,
         .law = LAW_SUM,
         .dim = {1}},
        {.id = MEAN,
         .name = "mean",
         .what = "of the label",
         .dtype = DT_F32,
         .law = LAW_MEAN,
         .by = HEAD,
         .flags = T_PULL,
         .dim = {1}},
        {.id = MOST,
         .name = "most",
         .what = "largest label",
         .dtype = DT_F32,
         .law = LAW_MAX,
         .dim = {1}},
        {.id = SEEN,
         .name = "seen",
         .what = "weight, and weight * value, per column",
         .dtype = DT_F32,
         .law = LAW_SUM,
         .flags = T_SPARSE,
         .dim = {sh->d[0], 2}},
        {.id = LAST,
         .name = "last",
         .what = "rid of the last row",
         .dtype = DT_U64,
         .law = LAW_LOCAL,
         .dim = {1}},
    };
    const struct tdecl one = {
        .id = 0, .name = "mean", .what = "of the label", .dtype = DT_F32, .dim = {1}};

    (void)opts, (void)derive_opts;
    for (int i = 0; p == PART_STATE && i < 5; i++)
        d->add(d, &state[i]);
    if (p == PART_WORK)
        d->add(d, &(struct tdecl){.id = ERROR,
                                  .name = "error",
                                  .what = "per row",
                                  .dtype = DT_F32,
                                  .dim = {sh->batch_rows}});
    if (p == PART_MODEL || p == PART_OUT)
        d->add(d, &one);
    return d->st;
}

static enum st toy_init(const struct ctx *x, struct tensors *s)
{
    s->t[MEAN].f32[0] = 0.5f;
    if (broken(x, ADDRESS_AS_SEED))
        s->t[MEAN].f32[0] = (float)(mix64((uintptr_t)s->t[MEAN].p) >> 44);
    return ST_OK;
}

static void see(const struct ctx *x, struct tensors *s, uint32_t col, float w, float v)
{
    float *at = s->t[SEEN].f32 + (size_t)2 * col;

    at[0] += w;
    at[1] += w * v;
    if (!(broken(x, FORGOTTEN_TOUCH) && col % 2))
        touch(s, SEEN, col, 1);
}

static void see_row(const struct ctx *x, struct tensors *s, const struct rows *r, uint32_t i)
{
    const struct feat *f = &r->in[0];
    uint32_t d = broken(x, READS_PADDING) ? f->ld : f->d;

    for (uint32_t j = 0; f->x && j < d; j++)
        see(x, s, j < f->d ? j : 0, r->weight[i], f->x[(size_t)i * f->ld + j]);
    for (uint32_t q = f->x ? 0 : f->ptr[i]; !f->x && q < f->ptr[i + 1]; q++)
        see(x, s, f->col[q], r->weight[i], f->val ? f->val[q] : 1);
}

static void misbehave(const struct ctx *x, struct tensors *s, const struct rows *r)
{
    struct tensor *t = s->t;

    calls++;
    if (broken(x, HIDDEN_GLOBAL))
        t[MOST].f32[0] = fmaxf(t[MOST].f32[0], (float)calls);
    if (broken(x, WRITES_ROWS) && r->n)
        *(volatile float *)r->weight = *(volatile const float *)r->weight; /* the very same value */
    if (broken(x, WRITES_BEHIND))
        *((volatile float *)t[SEEN].f32 + t[SEEN].n) = 1;
    if (broken(x, ALLOCATES)) {
        void *volatile p = malloc(10);

        free(p);
    }
    if (broken(x, DIVERGES) && r->batch == 12)
        t[MEAN].f32[0] = (float)INFINITY;
}

static enum st toy_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                          struct eval *e)
{
    uint32_t learned = broken(x, LEARNS_HELD_OUT) ? r->n : r->train;
    float *error = x->work->t[ERROR].f32, *mean = s->t[MEAN].f32;
    double *head = s->t[HEAD].f64, sum = 0, weight = 0;

    CHECK(s->t[MOST].f32[0] >= 0); /* toy_intact() has seen to it */
    misbehave(x, s, r);
    for (uint32_t i = 0; e && i < r->n; i++) {
        e->z[i] = *mean;
        e->loss[i] = 0.5f * (*mean - r->y[i]) * (*mean - r->y[i]);
    }
    for (uint32_t i = 0; i < learned; i++) {
        float w = broken(x, IGNORES_WEIGHT) ? 1 : r->weight[i];

        error[i] = (broken(x, STALE_SCRATCH) ? error[i] : 0) + w * (r->y[i] - *mean);
        sum += (double)error[i];
        weight += (double)w;
        s->t[LAST].u64[0] = r->rid[i];
        s->t[MOST].f32[0] = fmaxf(s->t[MOST].f32[0], r->y[i]);
        see_row(x, s, r, i);
    }
    if (broken(x, EVAL_MATTERS) && !e)
        return ST_OK;
    *head += weight;
    if (broken(x, SPARSE_IS_OFF) && !r->in[0].x)
        sum += 1;
    if (weight > 0)
        *mean += (float)(sum / *head);
    return ST_OK;
}

static enum st toy_fold(const struct ctx *x, struct tensors *view, const struct slot *s)
{
    (void)s;
    if (broken(x, FOLD_REMEMBERS))
        view->t[HEAD].f64[0] += calls++;
    return ST_OK;
}

static enum st toy_rebase(const struct ctx *x, struct tensors *s, const struct tensors *view)
{
    s->t[MEAN].f32[0] = (float)view->t[MEAN].f64[0] * (broken(x, REBASE_DRIFTS) ? 1.001f : 1);
    if (broken(x, REBASE_UNTOUCHED))
        s->t[SEEN].f32[0] += 1;
    return ST_OK;
}

static enum st toy_start(const struct ctx *x, const struct tensors *model, uint32_t partition,
                         struct tensors *s)
{
    (void)partition;
    s->t[MEAN].f32[0] = model->t[0].f32[0] * (broken(x, START_IS_OFF) ? 1.01f : 1);
    if (broken(x, START_UNTOUCHED))
        s->t[SEEN].f32[0] += 1;
    return ST_OK;
}

static enum st toy_intact(const struct ctx *x, const struct tensors *s)
{
    if (s->t[MOST].f32[0] < 0 && !broken(x, ANY_STATE))
        return fail(x->err, ST_CORRUPT, "tensor most: %g is below 0", (double)s->t[MOST].f32[0]);
    return ST_OK;
}

static enum st toy_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                          struct tensors *model, struct measures *m)
{
    (void)derive_opts, (void)m;
    model->t[0].f32[0] = (float)view->t[MEAN].f64[0];
    if (broken(x, DERIVE_VARIES))
        model->t[0].f32[0] += (float)calls++;
    return ST_OK;
}

static enum st toy_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                         float *out)
{
    for (uint32_t i = 0; i < r->n; i++)
        out[i] = model->t[0].f32[0] + (broken(x, SCORE_IS_OFF) ? 0.01f : 0);
    return ST_OK;
}

const struct algo algo_toy = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "toy",
    .summary = "the mean of the label",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_LABEL | ALGO_HOST,
    .ports = ports,
    .opts = options,
    .derive_opts = no_options,
    .opts_bytes = sizeof(struct toy_opts),
    .check = toy_check,
    .declare = toy_declare,
    .init = toy_init,
    .update = toy_update,
    .derive = toy_derive,
    .score = toy_score,
    .fold = toy_fold,
    .rebase = toy_rebase,
    .start = toy_start,
    .intact = toy_intact,
};

/* ---- toy_set ---- */

static enum st set_check(struct shape *sh, void *opts, struct err *e)
{
    (void)opts, (void)e;
    if (!sh->batch_rows)
        sh->batch_rows = 32;
    sh->models = 1;
    sh->out = OUT_NONE;
    return ST_OK;
}

static enum st set_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                           const void *derive_opts)
{
    bool sum = ((const struct toy_opts *)opts)->fault == NO_SET;

    (void)derive_opts;
    if (p == PART_STATE)
        d->add(d, &(struct tdecl){.id = 0,
                                  .name = "most",
                                  .what = "largest value per column",
                                  .dtype = DT_F32,
                                  .law = sum ? LAW_SUM : LAW_MAX,
                                  .dim = {sh->d[0]}});
    if (p == PART_MODEL)
        d->add(d, &(struct tdecl){.id = 0,
                                  .name = "most",
                                  .what = "largest value per column",
                                  .dtype = DT_F32,
                                  .dim = {sh->d[0]}});
    if (p == PART_OUT)
        d->add(d, &(struct tdecl){.id = 0,
                                  .name = "over",
                                  .what = "columns beyond the largest",
                                  .dtype = DT_F32,
                                  .dim = {1}});
    return d->st;
}

static enum st set_init(const struct ctx *x, struct tensors *s)
{
    (void)x, (void)s;
    return ST_OK;
}

static enum st set_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                          struct eval *e)
{
    const struct feat *f = &r->in[0];
    float *most = s->t[0].f32;

    (void)x, (void)e;
    for (uint32_t i = 0; i < r->train; i++) {
        for (uint32_t j = 0; f->x && j < f->d; j++)
            most[j] = fmaxf(most[j], f->x[(size_t)i * f->ld + j]);
        for (uint32_t q = f->x ? 0 : f->ptr[i]; !f->x && q < f->ptr[i + 1]; q++)
            most[f->col[q]] = fmaxf(most[f->col[q]], f->val[q]);
    }
    return ST_OK;
}

static enum st set_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                          struct tensors *model, struct measures *m)
{
    const struct tensor *v = &view->t[0];

    (void)x, (void)derive_opts, (void)m;
    for (uint64_t j = 0; j < v->n; j++)
        model->t[0].f32[j] = v->d.dtype == DT_F32 ? v->f32[j] : (float)v->f64[j];
    return ST_OK;
}

static enum st set_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                         float *out)
{
    (void)x, (void)model;
    for (uint32_t i = 0; i < r->n; i++)
        out[i] = 0;
    return ST_OK;
}

const struct algo algo_toy_set = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "toy_set",
    .summary = "the largest value of each column",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_HOST | ALGO_EXACT | ALGO_SET,
    .ports = ports,
    .opts = options,
    .derive_opts = no_options,
    .opts_bytes = sizeof(struct toy_opts),
    .check = set_check,
    .declare = set_declare,
    .init = set_init,
    .update = set_update,
    .derive = set_derive,
    .score = set_score,
};
