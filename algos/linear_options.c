/* linear_options.c: what a user may say to linear, what follows from it, and the tensors it
 * takes. */
#include "algos/linear.h"

/* ---- options ---- */

static const char *const loss_names[] = {"logistic",      "softmax",  "squared", "one_vs_rest",
                                         "absolute",      "quantile", "huber",   "hinge",
                                         "squared_hinge", "poisson",  NULL};
_Static_assert(sizeof loss_names / sizeof *loss_names == LINEAR_LOSSES + 1, "a name for each");
static const char *const optimizer_names[] = {"adagrad", "ftrl", "sgd", NULL};
static const char *const standardize_names[] = {"auto", "true", "false", NULL};
static const char *const auto_names[] = {"auto", NULL};

#define AT(field) offsetof(struct linear_opts, field), sizeof((struct linear_opts){0}.field)

const struct opt linear_options[] = {
    {"loss", OPT_ENUM, AT(loss), "logistic", 0, 0, loss_names,
     "what is minimised: logistic, hinge, squared_hinge (two classes), softmax, one_vs_rest "
     "(classes), squared, huber (the mean), absolute, quantile, poisson (counts, log link)",
     NULL},
    {"classes", OPT_U32, AT(classes), "auto", 2, CLASSES_MAX, auto_names,
     "number of classes of softmax and one_vs_rest; auto: those of the input's label", NULL},
    {"quantile", OPT_F32, AT(quantile), "0.5", 0, 1, NULL,
     "loss quantile: the share of labels that lie below the prediction", NULL},
    {"huber_delta", OPT_F32, AT(huber_delta), "1", 1e-9, 1e9, NULL,
     "loss huber: the error from which on the loss grows as a line", NULL},
    {"average", OPT_BOOL, AT(average), "false", 0, 0, NULL,
     "the model is the mean of the coefficients over the stream, late ones count most; dense rows",
     NULL},
    {"class_weight", OPT_F32S, AT(class_weight), "1", 0, 1e6, NULL,
     "what rows of each class count in learning, class 0 first; metrics count them alike", NULL},
    {"optimizer", OPT_ENUM, AT(optimizer), "adagrad", 0, 0, optimizer_names,
     "step rule: adagrad, ftrl (sparse models by l1) or sgd (constant rate)", NULL},
    {"learning_rate", OPT_F32S, AT(learning_rate), "0.05", 1e-9, 1e3, NULL,
     "step size, or a list: every combination with l1 and l2 is one packed model", NULL},
    {"l1", OPT_F32S, AT(l1), "0", 0, 1e6, NULL,
     "weight of the absolute values of the coefficients in the loss, or a list; l1 and l2 "
     "together are the elastic net",
     NULL},
    {"l2", OPT_F32S, AT(l2), "0", 0, 1e6, NULL,
     "weight of half the squares of the coefficients in the loss, or a list", NULL},
    {"batch", OPT_U32, AT(batch), "auto", 1, BATCH_ROWS_MAX, auto_names,
     "rows of one step; auto: 32", NULL},
    {"standardize", OPT_ENUM, AT(standardize), "auto", 0, 0, standardize_names,
     "centre and scale the columns by the first 4096 rows; auto: dense rows yes, sparse rows no",
     NULL},
    {"beta", OPT_F32, AT(beta), "1", 1e-9, 1e6, NULL,
     "ftrl: added to the root of the squared gradients; larger means slower first steps", NULL},
    {0}};

const struct opt linear_derive_options[] = {
    {"model", OPT_U32, offsetof(struct linear_derive, model), sizeof(uint32_t), "auto", 1,
     MODELS_MAX, auto_names,
     "which packed model, from 1; auto: the least held-out loss, else the least prequential loss",
     NULL},
    {0}};

const struct port linear_ports[] = {
    {"features", "numbers of a row", PORT_DENSE | PORT_SPARSE, true}, {0}};

static enum st check_number(const struct shape *sh, const struct linear_opts *o, struct err *e)
{
    if (sh->classes || o->classes)
        return fail(e, ST_BAD_CONFIG,
                    "loss %s learns a number, the label has %u classes: use loss logistic or "
                    "softmax",
                    loss_names[o->loss], sh->classes ? sh->classes : o->classes);
    if (o->loss == LINEAR_QUANTILE && !(o->quantile > 0 && o->quantile < 1))
        return fail(e, ST_BAD_CONFIG, "quantile must be between 0 and 1, got %g",
                    (double)o->quantile);
    if (o->loss == LINEAR_HUBER && !(o->huber_delta > 0))
        return fail(e, ST_BAD_CONFIG, "huber_delta must be positive, got %g",
                    (double)o->huber_delta);
    return ST_OK;
}

static enum st check_classes(struct shape *sh, struct linear_opts *o, struct err *e)
{
    const char *loss = loss_names[o->loss];
    const bool two = linear_out(o->loss) == OUT_MARGIN;
    uint32_t want = two ? 2 : o->classes;

    if (linear_out(o->loss) == OUT_VALUE)
        return check_number(sh, o, e);
    if (two && o->classes && o->classes != 2)
        return fail(e, ST_BAD_CONFIG,
                    "loss %s has 2 classes, not %u: use loss softmax or leave classes out", loss,
                    o->classes);
    if (!want)
        want = sh->classes;
    if (!want)
        return fail(e, ST_BAD_CONFIG,
                    "loss %s needs the number of classes: set classes, or name them in the input",
                    loss);
    if (sh->classes && sh->classes != want)
        return fail(e, ST_BAD_CONFIG, "loss %s wants %u classes, the input's label has %u", loss,
                    want, sh->classes);
    if (want < 2 || want > CLASSES_MAX)
        return fail(e, ST_BAD_CONFIG, "classes must be 2..%d, got %u", CLASSES_MAX, want);
    sh->classes = o->classes = want;
    return ST_OK;
}

/* Do rows count by their class? */
static bool weighted(const struct linear_opts *o)
{
    return o->class_weight.n > 1 || (o->class_weight.n == 1 && o->class_weight.v[0] != 1.0f);
}

static enum st check_weights(const struct linear_opts *o, struct err *e)
{
    const struct f32s *w = &o->class_weight;
    float most = 0;

    if (!weighted(o))
        return ST_OK;
    if (linear_out(o->loss) == OUT_VALUE)
        return fail(e, ST_BAD_CONFIG, "class_weight: loss %s learns a number, there are no classes",
                    loss_names[o->loss]);
    if (w->n != o->classes)
        return fail(e, ST_BAD_CONFIG,
                    "class_weight has %u values, there are %u classes: give one for each, class 0 "
                    "first",
                    w->n, o->classes);
    for (uint32_t c = 0; c < w->n; c++) {
        if (!(w->v[c] >= 0))
            return fail(e, ST_BAD_CONFIG, "class_weight of class %u is %g, must not be negative", c,
                        (double)w->v[c]);
        most = w->v[c] > most ? w->v[c] : most;
    }
    return most > 0
               ? ST_OK
               : fail(e, ST_BAD_CONFIG, "class_weight: all %u are 0, nothing is learned", w->n);
}

static enum st check_lists(const struct linear_opts *o, struct err *e)
{
    uint64_t models = (uint64_t)o->learning_rate.n * o->l1.n * o->l2.n;

    if (!models || models > MODELS_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "%u learning rates x %u l1 x %u l2 are %llu packed models, must be 1..%d",
                    o->learning_rate.n, o->l1.n, o->l2.n, (unsigned long long)models, MODELS_MAX);
    for (uint32_t i = 0; i < models; i++) {
        struct linear_setting s = linear_setting(o, i);

        if (!(s.rate > 0) || !(s.l1 >= 0) || !(s.l2 >= 0))
            return fail(e, ST_BAD_CONFIG,
                        "packed model %u: learning_rate %g must be positive, l1 %g and l2 %g not "
                        "negative",
                        i + 1, (double)s.rate, (double)s.l1, (double)s.l2);
    }
    return ST_OK;
}

enum st linear_check(struct shape *sh, void *opts, struct err *e)
{
    struct linear_opts *o = opts;

    CHECK(o->loss < LINEAR_LOSSES && o->optimizer <= LINEAR_SGD);
    if (sh->ny != 1)
        return fail(e, ST_BAD_CONFIG, "linear learns one label, the input has %u", sh->ny);
    if (!sh->d[0] || sh->d[0] > COLUMNS_MAX)
        return fail(e, ST_BAD_CONFIG, "linear needs 1..%d features, the input has %u", COLUMNS_MAX,
                    sh->d[0]);
    TRY(check_classes(sh, o, e));
    TRY(check_weights(o, e));
    TRY(check_lists(o, e));
    if (sh->nnz[0] && o->standardize == LINEAR_TRUE)
        return fail(e, ST_BAD_CONFIG,
                    "standardize: true needs dense rows: leave it out or scale the values before");
    if (sh->nnz[0] && o->average)
        return fail(e, ST_BAD_CONFIG, "average: true needs dense rows: leave it out");
    if (o->standardize == LINEAR_AUTO)
        o->standardize = sh->nnz[0] ? LINEAR_FALSE : LINEAR_TRUE;
    if (!o->batch)
        o->batch = 32;
    if (!sh->batch_rows)
        sh->batch_rows = o->batch;
    sh->models = o->learning_rate.n * o->l1.n * o->l2.n;
    sh->out = linear_out(o->loss);
    sh->zcols = sh->models * (sh->out == OUT_LOGITS ? sh->classes : 1);
    sh->loss = linear_kind(o->loss);
    sh->loss_at = o->loss == LINEAR_QUANTILE ? o->quantile
                  : o->loss == LINEAR_HUBER  ? o->huber_delta
                                             : 0;
    return ST_OK;
}

struct linear_setting linear_setting(const struct linear_opts *o, uint32_t m)
{
    DCHECK(m < o->learning_rate.n * o->l1.n * o->l2.n);
    return (struct linear_setting){.rate = o->learning_rate.v[m / (o->l1.n * o->l2.n)],
                                   .l1 = o->l1.v[m / o->l2.n % o->l1.n],
                                   .l2 = o->l2.v[m % o->l2.n]};
}

/* ---- tensors ---- */

struct lin linear_of(const struct shape *sh, const void *opts)
{
    const struct linear_opts *o = opts;
    struct lin l = {.o = o, .b = sh->batch_rows, .d = sh->d[0], .m = sh->models, .z = sh->zcols};

    CHECK(l.b && l.d && l.m && l.z);
    CHECK(l.z % l.m == 0);
    CHECK(o->standardize != LINEAR_AUTO); /* check() has run */
    l.c = l.z / l.m;
    l.m_all = l.m;
    l.z_all = l.z;
    for (uint32_t m = 0; m < l.m; m++)
        l.model[m] = (uint8_t)m;
    l.sparse = sh->nnz[0] != 0;
    l.standard = o->standardize == LINEAR_TRUE;
    l.has_n = o->optimizer != LINEAR_SGD;
    l.has_z = o->optimizer == LINEAR_FTRL;
    l.weighted = weighted(o);
    l.xld = (l.d + 15u) & ~15u;
    l.r = 1 + (l.sparse && sh->nnz[0] < l.d ? sh->nnz[0] : l.d);
    return l;
}

struct lin linear_living(const struct shape *sh, const void *opts, const uint8_t *stopped)
{
    struct lin l = linear_of(sh, opts);

    if (!stopped)
        return l;
    l.m = 0;
    for (uint32_t m = 0; m < l.m_all; m++)
        if (!stopped[m])
            l.model[l.m++] = (uint8_t)m;
    CHECK(l.m > 0);
    l.z = l.m * l.c;
    return l;
}

static void declare_state(struct decl *d, const struct lin *l)
{
    const uint64_t z = l->z, rows = l->d + 1, std = l->standard ? l->d : 0, none = 0;
    const uint32_t sparse = l->sparse ? T_SPARSE : 0, own = T_PULL | sparse;
    const struct tdecl t[] = {
        TENSOR(LIN_WEIGHT, "weight", "sum of the weights of the rows learned", DT_F64, LAW_FOLD,
               T_HOST | T_DECAY, 1, 0),
        TENSOR(
            LIN_W, "w",
            "coefficients by feature and column (model, class), in units of shift and scale; the "
            "last row is the bias",
            DT_F32, LAW_FOLD, own, rows, z),
        TENSOR(LIN_N, "n", "sum of squared gradients of each coefficient, times growth", DT_F32,
               LAW_FOLD, own, l->has_n ? rows : none, z),
        TENSOR(LIN_Z, "z", "ftrl: sum of gradients less the pull to past coefficients", DT_F32,
               LAW_LOCAL, own, l->has_z ? rows : none, z),
        TENSOR(LIN_COUNT, "count", "weight of the rows that had the feature, times growth", DT_F32,
               LAW_FOLD, sparse, l->sparse ? rows : none, 0),
        TENSOR(LIN_SHIFT, "shift", "subtracted from a feature", DT_F32, LAW_FOLD, T_PULL, std, 0),
        TENSOR(LIN_SCALE, "scale", "multiplied with it then", DT_F32, LAW_FOLD, T_PULL, std, 0),
        TENSOR(LIN_GRID, "grid", "learning rate, l1, l2 of each column, and 0", DT_F32, LAW_LOCAL,
               0, GRID_ROWS, z),
        TENSOR(LIN_MOMENTS, "moments",
               "of the first rows: mean, sum of squared deviations, least, greatest", DT_F64,
               LAW_LOCAL, T_HOST, std ? MOM_ROWS : none, std),
        TENSOR(LIN_WARM, "warm", "weight of the rows in moments; the same when scale was set",
               DT_F64, LAW_LOCAL, T_HOST, std ? WARM_N : none, 0),
        TENSOR(LIN_GROWTH, "growth",
               "unit of n and count: with a half-life it grows, they do not fade", DT_F64, LAW_FOLD,
               T_HOST, l->sparse ? 1 : none, 0),
        TENSOR(LIN_MEAN, "mean", "mean of w over the batches, late ones count most", DT_F32,
               LAW_FOLD, 0, l->o->average ? rows : none, z)};

    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_view(struct decl *d, const struct lin *l)
{
    const uint64_t z = l->z, rows = l->d + 1, std = l->standard ? l->d : 0, none = 0;
    const struct tdecl t[] = {
        TENSOR(VIEW_WEIGHT, "weight", "sum of the weights of the rows learned", DT_F64, LAW_FOLD,
               T_HOST, 1, 0),
        TENSOR(VIEW_W, "w", "mean coefficients in raw units; the last row is the bias", DT_F64,
               LAW_FOLD, T_HOST, rows, z),
        TENSOR(VIEW_N, "n", "mean of the sums of squared gradients, in raw units", DT_F64, LAW_FOLD,
               T_HOST, l->has_n ? rows : none, z),
        TENSOR(VIEW_COUNT, "count", "weight of the rows that had the feature", DT_F64, LAW_FOLD,
               T_HOST, l->sparse ? rows : none, 0),
        TENSOR(VIEW_SHIFT, "shift", "pooled mean of a feature", DT_F64, LAW_FOLD, T_HOST, std, 0),
        TENSOR(VIEW_SPREAD, "spread", "pooled unit of a feature", DT_F64, LAW_FOLD, T_HOST, std, 0),
        TENSOR(VIEW_MEAN, "mean", "w as above, of the slots' means", DT_F64, LAW_FOLD, T_HOST,
               l->o->average ? rows : none, z)};

    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_work(struct decl *d, const struct lin *l)
{
    const uint64_t b = l->b, z = l->z, r = l->r, none = 0, touched = l->sparse ? r : none;
    const uint64_t softmax = l->o->loss == LINEAR_SOFTMAX ? b : none;
    const uint64_t each = linear_out(l->o->loss) == OUT_LOGITS ? b : none;
    const struct tdecl t[] = {
        TENSOR(WORK_Z, "z", "outputs", DT_F32, 0, 0, b, z),
        TENSOR(WORK_P, "p", "probabilities, or losses of each class", DT_F32, 0, 0, each, z),
        TENSOR(WORK_E, "e", "weight times derivative of the loss", DT_F32, 0, 0, b, z),
        TENSOR(WORK_LOSS, "loss", "losses", DT_F32, 0, 0, b, l->m),
        TENSOR(WORK_LSE, "lse", "log-sum-exp of the outputs", DT_F32, 0, 0, softmax, l->m),
        TENSOR(WORK_X, "x", "standardised rows", DT_F32, 0, 0, l->standard ? b : none, l->xld),
        TENSOR(WORK_G, "g", "gradient", DT_F32, 0, 0, r, z),
        TENSOR(WORK_TW, "touched.w", "rows of w", DT_F32, 0, 0, touched, z),
        TENSOR(WORK_TN, "touched.n", "rows of n", DT_F32, 0, 0, l->has_n ? touched : none, z),
        TENSOR(WORK_TZ, "touched.z", "rows of z", DT_F32, 0, 0, l->has_z ? touched : none, z),
        TENSOR(WORK_SEEN, "touched.count", "of count, and its growth", DT_F32, 0, 0,
               touched ? 2 : none, touched),
        TENSOR(WORK_ROW, "row", "one row of w, n, z, mean", DT_F32, 0, T_HOST, 4, z),
        TENSOR(WORK_SUM, "sum", "a row of sums", DT_F64, 0, T_HOST, z, 0),
        TENSOR(WORK_OUT, "out", "outputs to finish", DT_F32, 0, T_HOST, b, l->c),
        TENSOR(WORK_WEIGHT, "weight", "of rows and their classes", DT_F32, 0, 0,
               l->weighted ? b : none, 0),
        TENSOR(WORK_HOST_WEIGHT, "weight.host", "the same", DT_F32, 0, T_HOST,
               l->weighted ? b : none, 0)};

    decl_add(d, t, sizeof t / sizeof *t);
}

/* No empty ones: a model is read by others. */
static void declare_model(struct decl *d, const struct lin *l)
{
    const struct tdecl t[] = {
        TENSOR(MODEL_W, "w", "coefficients by feature and class; the last row is the bias", DT_F32,
               0, 0, l->d + 1ull, l->c),
        TENSOR(0, "n", "sums of squared gradients, to go on from", DT_F32, 0, 0, l->d + 1ull, l->c),
        TENSOR(0, "shift", "mean of each feature, to go on from", DT_F32, 0, 0, l->d, 0),
        TENSOR(0, "spread", "and its unit", DT_F32, 0, 0, l->d, 0)};
    const bool has[] = {true, l->has_n, l->standard, l->standard};

    for (uint32_t i = 0, id = 0; i < sizeof t / sizeof *t; i++) {
        struct tdecl one = t[i];

        if (!has[i])
            continue;
        one.id = id++;
        d->add(d, &one);
    }
}

static void declare_out(struct decl *d, const struct lin *l)
{
    const struct tdecl logistic[] = {TENSOR(0, "margin", "log odds of class 1", DT_F32, 0, 0, 1, 0),
                                     TENSOR(1, "probability", "of class 1", DT_F32, 0, 0, 1, 0)};
    const struct tdecl hinge[] = {TENSOR(0, "margin", "above 0: class 1", DT_F32, 0, 0, 1, 0),
                                  TENSOR(1, "class", "0 or 1", DT_F32, 0, 0, 1, 0)};
    const struct tdecl classes[] = {
        TENSOR(0, "class", "the likeliest class", DT_F32, 0, 0, 1, 0),
        TENSOR(1, "p", "probability of each class", DT_F32, 0, 0, l->c, 0)};
    const struct tdecl value[] = {TENSOR(0, "value", "prediction", DT_F32, 0, 0, 1, 0)};
    const enum out_kind out = linear_out(l->o->loss);

    if (out == OUT_MARGIN)
        decl_add(d, l->o->loss == LINEAR_LOGISTIC ? logistic : hinge, 2);
    else if (out == OUT_LOGITS)
        decl_add(d, classes, 2);
    else
        decl_add(d, value, 1);
}

enum st linear_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                       const void *derive_opts)
{
    struct lin l = linear_of(sh, opts);
    (void)derive_opts;
    if (p == PART_STATE)
        declare_state(d, &l);
    else if (p == PART_VIEW)
        declare_view(d, &l);
    else if (p == PART_MODEL)
        declare_model(d, &l);
    else if (p == PART_WORK)
        declare_work(d, &l);
    else
        declare_out(d, &l);
    return d->st;
}

enum st linear_init(const struct ctx *x, struct tensors *s)
{
    const struct lin l = linear_of(x->shape, x->opts);
    float *row = x->work->t[WORK_ROW].f32;

    CHECK(s->t[LIN_GRID].n == (uint64_t)GRID_ROWS * l.z);
    if (l.sparse)
        s->t[LIN_GROWTH].f64[0] = 1;
    for (uint32_t k = 0; k < GRID_ROWS; k++) {
        for (uint32_t j = 0; j < l.z; j++) {
            struct linear_setting v = linear_setting(l.o, j / l.c);

            row[j] = k == GRID_RATE ? v.rate : k == GRID_L1 ? v.l1 : k == GRID_L2 ? v.l2 : 0.0f;
        }
        x->c->put(x->cs, s->t[LIN_GRID].f32 + (size_t)k * l.z, row, l.z * sizeof *row);
    }
    for (uint32_t j = 0; j < l.d && l.standard; j++) {
        row[0] = 1.0f;
        x->c->put(x->cs, s->t[LIN_SCALE].f32 + j, row, sizeof *row);
    }
    return ST_OK;
}
