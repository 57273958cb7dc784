/* fm_options.c: what a user may say to fm, what follows from it, and the tensors it takes. */
#include "algos/compute/lapack.h"
#include "algos/fm.h"

/* ---- options ---- */

static const char *const loss_names[] = {"squared", "logistic", NULL};
static const char *const auto_names[] = {"auto", NULL};

#define AT(field) offsetof(struct fm_opts, field), sizeof((struct fm_opts){0}.field)

const struct opt fm_options[] = {
    {"loss", OPT_ENUM, AT(loss), "squared", 0, 0, loss_names,
     "what is minimised: squared (a number) or logistic (two classes)", NULL},
    {"factors", OPT_U32, AT(factors), "10", 1, FACTORS_MAX, NULL,
     "numbers that a feature has to meet the others with", NULL},
    {"learning_rate", OPT_F32S, AT(learning_rate), "0.2", 1e-9, 1e3, NULL,
     "step size of AdaGrad, or a list: every combination with l2 and factors_l2 is one packed "
     "model",
     NULL},
    {"l2", OPT_F32S, AT(l2), "0", 0, 1e6, NULL,
     "weight of half the squares of a row's coefficients in its loss, or a list", NULL},
    {"factors_l2", OPT_F32S, AT(factors_l2), "0.02", 0, 1e6, NULL,
     "the same of its factors, or a list", NULL},
    {"init_deviation", OPT_F32, AT(init_deviation), "0.05", 1e-9, 1e3, NULL,
     "standard deviation of the factors a feature starts with", NULL},
    {"batch", OPT_U32, AT(batch), "auto", 1, BATCH_ROWS_MAX, auto_names,
     "rows of one step; auto: 32", NULL},
    {0}};

const struct opt fm_derive_options[] = {
    {"model", OPT_U32, offsetof(struct fm_derive, model), sizeof(uint32_t), "auto", 1, MODELS_MAX,
     auto_names,
     "which packed model, from 1; auto: the least held-out loss, else the least prequential loss",
     NULL},
    {"factors", OPT_U32, offsetof(struct fm_derive, factors), sizeof(uint32_t), "auto", 1,
     FACTORS_MAX, auto_names, "factors of the model, at most the job's; auto: all", NULL},
    {0}};

const struct port fm_ports[] = {{"features", "numbers of a row", PORT_DENSE | PORT_SPARSE, true},
                                {0}};

static enum st check_loss(struct shape *sh, const struct fm_opts *o, struct err *e)
{
    if (o->loss == FM_SQUARED && sh->classes)
        return fail(e, ST_BAD_CONFIG,
                    "loss squared learns a number, the label has %u classes: use loss logistic",
                    sh->classes);
    if (o->loss == FM_LOGISTIC && sh->classes && sh->classes != 2)
        return fail(e, ST_BAD_CONFIG, "loss logistic wants 2 classes, the input's label has %u",
                    sh->classes);
    sh->classes = o->loss == FM_LOGISTIC ? 2 : 0;
    return ST_OK;
}

static enum st check_lists(const struct fm_opts *o, struct err *e)
{
    uint64_t models = (uint64_t)o->learning_rate.n * o->l2.n * o->factors_l2.n;

    if (!models || models > MODELS_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "%u learning rates x %u l2 x %u factors_l2 are %llu packed models, must be "
                    "1..%d",
                    o->learning_rate.n, o->l2.n, o->factors_l2.n, (unsigned long long)models,
                    MODELS_MAX);
    for (uint32_t i = 0; i < models; i++) {
        struct fm_setting s = fm_setting(o, i);

        if (!(s.rate > 0) || !(s.l2 >= 0) || !(s.factors_l2 >= 0))
            return fail(e, ST_BAD_CONFIG,
                        "packed model %u: learning_rate %g must be positive, l2 %g and factors_l2 "
                        "%g not negative",
                        i + 1, (double)s.rate, (double)s.l2, (double)s.factors_l2);
    }
    return ST_OK;
}

enum st fm_check(struct shape *sh, void *opts, struct err *e)
{
    struct fm_opts *o = opts;

    CHECK(o->loss <= FM_LOGISTIC);
    if (sh->ny != 1)
        return fail(e, ST_BAD_CONFIG, "fm learns one label, the input has %u", sh->ny);
    if (!sh->d[0] || sh->d[0] > COLUMNS_MAX)
        return fail(e, ST_BAD_CONFIG, "fm needs 1..%d features, the input has %u", COLUMNS_MAX,
                    sh->d[0]);
    if (!o->factors || o->factors > FACTORS_MAX || !(o->init_deviation > 0))
        return fail(e, ST_BAD_CONFIG,
                    "factors must be 1..%d, got %u; init_deviation positive, got %g", FACTORS_MAX,
                    o->factors, (double)o->init_deviation);
    TRY(check_loss(sh, o, e));
    TRY(check_lists(o, e));
    if (!o->batch)
        o->batch = 32;
    if (!sh->batch_rows)
        sh->batch_rows = o->batch;
    sh->models = sh->zcols = o->learning_rate.n * o->l2.n * o->factors_l2.n;
    sh->out = o->loss == FM_LOGISTIC ? OUT_MARGIN : OUT_VALUE;
    return ST_OK;
}

struct fm_setting fm_setting(const struct fm_opts *o, uint32_t m)
{
    DCHECK(m < o->learning_rate.n * o->l2.n * o->factors_l2.n);
    return (struct fm_setting){.rate = o->learning_rate.v[m / (o->l2.n * o->factors_l2.n)],
                               .l2 = o->l2.v[m / o->factors_l2.n % o->l2.n],
                               .factors_l2 = o->factors_l2.v[m % o->factors_l2.n]};
}

/* ---- tensors ---- */

struct fm fm_of(const struct shape *sh, const void *opts)
{
    const struct fm_opts *o = opts;
    struct fm l = {.o = o, .b = sh->batch_rows, .d = sh->d[0], .m = sh->models, .k = o->factors};

    CHECK(l.b && l.d && l.m && l.k);
    CHECK(sh->zcols == l.m);
    l.z = l.m * l.k;
    l.sparse = sh->nnz[0] != 0;
    l.r = l.sparse && sh->nnz[0] < l.d ? sh->nnz[0] : l.d;
    return l;
}

static void declare_state(struct decl *d, const struct fm *l)
{
    const uint64_t m = l->m, z = l->z, rows = l->d;
    const uint32_t sparse = l->sparse ? T_SPARSE : 0, own = T_PULL | sparse;
    const struct tdecl t[] = {
        TENSOR(FM_HEAD, "head",
               "weight of the rows learned, sum of their labels, what w0 holds of the mean label, "
               "what a half-life has left of old rows",
               DT_F64, LAW_FOLD, T_HOST, HEAD_N, 0),
        TENSOR(FM_W0, "w0", "constant of each model, and its sum of squared gradients", DT_F32,
               LAW_FOLD, T_PULL, 2, m),
        TENSOR(FM_W, "w", "coefficients by feature and model", DT_F32, LAW_FOLD, own, rows, m),
        TENSOR(FM_NW, "n.w", "sum of squared gradients of each, over kept", DT_F32, LAW_FOLD, own,
               rows, m),
        TENSOR(FM_V, "v", "factors by feature and (model, factor)", DT_F32, LAW_FOLD, own, rows, z),
        TENSOR(FM_NV, "n.v", "sum of squared gradients of each, over kept", DT_F32, LAW_FOLD, own,
               rows, z),
        TENSOR(FM_COUNT, "count", "weight of the rows that had the feature, over kept", DT_F32,
               LAW_FOLD, sparse, rows, 0),
        TENSOR(FM_GRID, "grid", "rate, 0, factors_l2 of v; rate, l2 of w", DT_F32, LAW_LOCAL,
               T_CONST, GRID_ROWS, z)};

    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_view(struct decl *d, const struct fm *l)
{
    const uint64_t m = l->m, z = l->z, rows = l->d;
    const struct tdecl t[] = {
        TENSOR(FV_HEAD, "head", "weight of the rows learned, sum of their labels", DT_F64, LAW_FOLD,
               T_HOST, 2, 0),
        TENSOR(FV_W0, "w0", "mean constants, and their sums of squared gradients", DT_F64, LAW_FOLD,
               T_HOST, 2, m),
        TENSOR(FV_W, "w", "mean coefficients", DT_F64, LAW_FOLD, T_HOST, rows, m),
        TENSOR(FV_NW, "n.w", "mean of their sums of squared gradients", DT_F64, LAW_FOLD, T_HOST,
               rows, m),
        TENSOR(FV_V, "v", "mean factors", DT_F64, LAW_FOLD, T_HOST, rows, z),
        TENSOR(FV_NV, "n.v", "mean of their sums of squared gradients", DT_F64, LAW_FOLD, T_HOST,
               rows, z),
        TENSOR(FV_COUNT, "count", "weight of the rows that had the feature", DT_F64, LAW_FOLD,
               T_HOST, rows, 0)};

    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_work(struct decl *d, const struct fm *l, const struct shape *sh)
{
    const uint64_t b = l->b, m = l->m, z = l->z, r = l->r, k = l->k, none = 0;
    const uint64_t touched = l->sparse ? r : none, entries = l->sparse ? sh->nnz[0] : b * l->d;
    const struct tdecl t[] = {
        TENSOR(FW_RAW, "raw", "outputs without w0", DT_F32, 0, 0, b, m),
        TENSOR(FW_Z, "z", "outputs", DT_F32, 0, 0, b, m),
        TENSOR(FW_E, "e", "weight times derivative of the loss", DT_F32, 0, 0, b, m),
        TENSOR(FW_LOSS, "loss", "losses", DT_F32, 0, 0, b, m),
        TENSOR(FW_S, "s", "rows times v", DT_F32, 0, 0, b, z),
        TENSOR(FW_Q, "q", "squares of rows times squares of v", DT_F32, 0, 0, b, z),
        TENSOR(FW_X2, "x2", "squares of the values", DT_F32, 0, 0, entries, 0),
        TENSOR(FW_G, "g", "gradient of v", DT_F32, 0, 0, r, z),
        TENSOR(FW_GW, "g.w", "gradient of w", DT_F32, 0, 0, r, m),
        TENSOR(FW_H, "h", "squares of rows times e", DT_F32, 0, 0, r, m),
        TENSOR(FW_HAD, "had", "weight of the batch's rows by feature", DT_F32, 0, 0, r, 0),
        TENSOR(FW_SEEN, "touched.count", "rows of count", DT_F32, 0, 0, r, 0),
        TENSOR(FW_TW, "touched.w", "rows of w", DT_F32, 0, 0, touched, m),
        TENSOR(FW_TNW, "touched.n.w", "rows of n.w", DT_F32, 0, 0, touched, m),
        TENSOR(FW_TV, "touched.v", "rows of v", DT_F32, 0, 0, touched, z),
        TENSOR(FW_TNV, "touched.n.v", "rows of n.v", DT_F32, 0, 0, touched, z),
        TENSOR(FW_ROW, "row", "one row of w, n.w, v, n.v", DT_F32, 0, T_HOST, 2 * (m + z), 0),
        TENSOR(FW_HOST_HAD, "host.had", "of had", DT_F32, 0, T_HOST, r, 0),
        TENSOR(FW_HOST_SEEN, "host.count", "of count", DT_F32, 0, T_HOST, r, 0),
        TENSOR(FW_HOST_W0, "host.w0", "of w0", DT_F32, 0, T_HOST, 2, m),
        TENSOR(FW_OUT, "out", "outputs to finish", DT_F32, 0, T_HOST, b, 0),
        TENSOR(FW_EIGEN, "eigen", "second moments of v, their eigenvalues, room", DT_F64, 0, T_HOST,
               k * k + k + lapack_eigen_work(l->k), 0)};

    decl_add(d, t, sizeof t / sizeof *t);
}

/* Fewer factors than the state has are for predicting, not to go on from. */
static void declare_model(struct decl *d, const struct fm *l, const struct fm_derive *o)
{
    const uint64_t k = o->factors ? o->factors : l->k;
    const struct tdecl t[] = {
        TENSOR(MFM_W0, "w0", "constant", DT_F32, 0, 0, 1, 0),
        TENSOR(MFM_W, "w", "coefficients by feature", DT_F32, 0, 0, l->d, 0),
        TENSOR(MFM_V, "v", "factors by feature", DT_F32, 0, 0, l->d, k),
        TENSOR(MFM_N0, "n.w0", "sum of squared gradients of w0, to go on from", DT_F32, 0, 0, 1, 0),
        TENSOR(MFM_NW, "n.w", "those of w", DT_F32, 0, 0, l->d, 0),
        TENSOR(MFM_NV, "n.v", "those of v", DT_F32, 0, 0, l->d, k),
        TENSOR(MFM_LABEL, "label", "weight of the rows learned, and sum of their labels", DT_F32, 0,
               0, 2, 0)};

    decl_add(d, t, k == l->k ? MFM_LABEL + 1 : MFM_V + 1);
}

static void declare_out(struct decl *d, const struct fm *l)
{
    const struct tdecl logistic[] = {TENSOR(0, "margin", "log odds of class 1", DT_F32, 0, 0, 1, 0),
                                     TENSOR(1, "probability", "of class 1", DT_F32, 0, 0, 1, 0)};
    const struct tdecl value[] = {TENSOR(0, "value", "prediction", DT_F32, 0, 0, 1, 0)};

    if (l->o->loss == FM_LOGISTIC)
        decl_add(d, logistic, 2);
    else
        decl_add(d, value, 1);
}

enum st fm_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                   const void *derive_opts)
{
    struct fm l = fm_of(sh, opts);

    if (p == PART_STATE)
        declare_state(d, &l);
    else if (p == PART_VIEW)
        declare_view(d, &l);
    else if (p == PART_MODEL)
        declare_model(d, &l, derive_opts);
    else if (p == PART_WORK)
        declare_work(d, &l, sh);
    else
        declare_out(d, &l);
    return d->st;
}

enum st fm_init(const struct ctx *x, struct tensors *s)
{
    const struct fm l = fm_of(x->shape, x->opts);
    float *row = x->work->t[FW_ROW].f32;

    CHECK(s->t[FM_GRID].n == (uint64_t)GRID_ROWS * l.z);
    for (uint32_t g = 0; g < GRID_ROWS; g++) {
        for (uint32_t j = 0; j < l.z; j++) {
            const uint32_t m = g < GRID_W_RATE ? j / l.k : j % l.m;
            const struct fm_setting v = fm_setting(l.o, m);
            const float of[GRID_ROWS] = {v.rate, 0.0f, v.factors_l2, v.rate, v.l2};

            row[j] = of[g];
        }
        x->c->put(x->cs, s->t[FM_GRID].f32 + (size_t)g * l.z, row, l.z * sizeof *row);
    }
    for (uint32_t m = 0; m < l.m; m++)
        row[m] = 1.0f;
    x->c->put(x->cs, s->t[FM_W0].f32 + l.m, row, l.m * sizeof *row);
    s->t[FM_HEAD].f64[HEAD_KEPT] = 1;
    return ST_OK;
}
