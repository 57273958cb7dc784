/* pca_options.c: what a user may say to pca, what follows from it, and the tensors it takes. */
#include "algos/pca.h"

#include "algos/compute/lapack.h"

/* The exact method's state has 4 D^2 bytes, 17 MB at 2,048 columns, and a model takes some seconds
 * of a core there (the eigenvectors: 10 D^3 flops). Beyond, auto takes the sketch. */
enum { EXACT_AUTO = 2048, EXACT_MAX = 16384, KEPT_MAX = 8000, COMPONENTS = 10 };

/* ---- options ---- */

static const char *const auto_names[] = {"auto", NULL};
static const char *const method_names[] = {"auto", "exact", "frequent_directions", NULL};

#define AT(field) offsetof(struct pca_opts, field), sizeof(uint32_t)
#define DERIVE(field) offsetof(struct pca_derive, field), sizeof(((struct pca_derive *)0)->field)

const struct opt pca_options[] = {
    {"method", OPT_ENUM, AT(method), "auto", 0, 0, method_names,
     "exact keeps the products of all pairs of columns; frequent_directions a sketch of "
     "2 (components + extra_components) rows; auto: exact up to 2048 columns",
     NULL},
    {"components", OPT_U32, AT(components), "auto", 1, EXACT_MAX, auto_names,
     "components of the job's own model; auto: 10, or all columns where they are fewer", NULL},
    {"extra_components", OPT_U32, AT(extra_components), "auto", 1, KEPT_MAX, auto_names,
     "directions that a sketch keeps beyond them, for its accuracy: fewer than both together can "
     "be derived; auto: as many as components, at least 10",
     NULL},
    {"batch", OPT_U32, AT(batch), "auto", 1, BATCH_ROWS_MAX, auto_names,
     "rows of one step; auto: 1024", NULL},
    {0}};

const struct opt pca_derive_options[] = {
    {"components", OPT_U32, DERIVE(components), "auto", 1, EXACT_MAX, auto_names,
     "number of components: any up to the number of columns, of a sketch fewer than components + "
     "extra_components; auto: the job's",
     "1,2,5,10,20,50"},
    {"whiten", OPT_BOOL, DERIVE(whiten), "false", 0, 0, NULL,
     "projections have variance 1 each: components are divided by their standard deviation", NULL},
    {"center", OPT_BOOL, DERIVE(center), "true", 0, 0, NULL,
     "subtract the mean; false: directions of the greatest squares about 0", NULL},
    {"correlation", OPT_BOOL, DERIVE(correlation), "false", 0, 0, NULL,
     "divide columns by their standard deviation first (without center: by their root mean "
     "square); method exact only",
     NULL},
    {0}};

const struct port pca_ports[] = {{"features", "numbers of a row", PORT_DENSE, true}, {0}};

static enum st check_sketch(const struct shape *sh, struct pca_opts *o, struct err *e)
{
    uint64_t kept;

    if (!o->extra_components)
        o->extra_components = o->components > COMPONENTS ? o->components : COMPONENTS;
    kept = (uint64_t)o->components + o->extra_components;
    if (kept > KEPT_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "components %u + extra_components %u are %llu directions, at most %d: rows of "
                    "%u columns need fewer",
                    o->components, o->extra_components, (unsigned long long)kept, KEPT_MAX,
                    sh->d[0]);
    return ST_OK;
}

static enum st check_exact(const struct shape *sh, const struct pca_opts *o, struct err *e)
{
    const uint64_t d = sh->d[0];

    if (o->extra_components)
        return fail(e, ST_BAD_CONFIG,
                    "extra_components %u belongs to method frequent_directions, and this is "
                    "exact%s: leave it out",
                    o->extra_components, o->method == PCA_AUTO ? " (auto)" : "");
    if (d > EXACT_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "method exact takes %d columns at most, the input has %llu: its state would be "
                    "%.1f GiB; method frequent_directions has no such limit",
                    EXACT_MAX, (unsigned long long)d, 4.0 * (double)d * (double)d / (1 << 30));
    return ST_OK;
}

enum st pca_check(struct shape *sh, void *opts, struct err *e)
{
    struct pca_opts *o = opts;
    const uint32_t d = sh->d[0];
    bool sketch;

    if (!d || d > COLUMNS_MAX || sh->nnz[0])
        return fail(e, ST_BAD_CONFIG, "pca needs 1..%d dense features, the input has %u%s",
                    COLUMNS_MAX, d, sh->nnz[0] ? " sparse ones" : "");
    if (!o->components)
        o->components = d < COMPONENTS ? d : COMPONENTS;
    if (o->components > d)
        return fail(e, ST_BAD_CONFIG, "components %u: rows of %u columns have no more than %u",
                    o->components, d, d);
    sketch = o->method == PCA_SKETCH || (o->method == PCA_AUTO && d > EXACT_AUTO);
    TRY(sketch ? check_sketch(sh, o, e) : check_exact(sh, o, e));
    o->method = sketch ? PCA_SKETCH : PCA_EXACT;
    if (!o->batch)
        o->batch = 1024;
    if (!sh->batch_rows)
        sh->batch_rows = o->batch;
    sh->folds = 1;
    sh->models = 1;
    sh->zcols = 0;
    sh->out = OUT_NONE;
    return ST_OK;
}

/* ---- tensors ---- */

struct pca pca_of(const struct shape *sh, const void *opts)
{
    const struct pca_opts *o = opts;
    struct pca l = {.b = sh->batch_rows,
                    .d = sh->d[0],
                    .l = o->components + o->extra_components,
                    .n = sh->d[0],
                    .xld = (sh->d[0] + 15u) & ~15u,
                    .sketch = o->method == PCA_SKETCH};

    CHECK(o->method != PCA_AUTO && l.b && l.d && o->components);
    if (l.sketch)
        l.n = 2 * l.l + 1;
    else
        l.m = moments_of(sh, 0, 1);
    return l;
}

static void declare_state(struct decl *d, const struct pca *l)
{
    struct tdecl t[] = {
        TENSOR(SK_ROW, "row", "rows whose products are nearly those of all rows about their mean",
               DT_F64, LAW_FOLD, T_HOST, 2 * (uint64_t)l->l, l->d),
        TENSOR(SK_MEAN, "mean", "of the columns", DT_F64, LAW_FOLD, T_HOST, l->d, 0),
        TENSOR(
            SK_SUM, "sum",
            "weight; weighted squares about the mean; what a direction may lack of them, at most",
            DT_F64, LAW_FOLD, T_HOST | T_DECAY, SUM_N, 0),
        TENSOR(SK_HEAD, "head", "rows in row", DT_U64, LAW_FOLD, T_HOST, 1, 0)};

    t[SK_ROW].live = SK_HEAD + 1;
    if (l->sketch)
        decl_add(d, t, sizeof t / sizeof *t);
    else
        moments_declare(d, &l->m, 0);
}

static void declare_work(struct decl *d, const struct pca *l)
{
    const uint64_t n = l->n;
    const struct tdecl t[] = {
        TENSOR(PW_X, "x", "rows less the mean, scaled", DT_F32, 0, 0, l->b, l->xld),
        TENSOR(PW_Z, "z", "projections", DT_F32, 0, 0, l->b, SCORE_COLS),
        TENSOR(PW_HOST, "host", "the same", DT_F32, 0, T_HOST, l->b, SCORE_COLS),
        TENSOR(PW_GRAM, "gram", "a matrix, its eigenvectors", DT_F64, 0, T_HOST, n, n),
        TENSOR(PW_VALUE, "value", "its eigenvalues", DT_F64, 0, T_HOST, n, 0),
        TENSOR(PW_EIGEN, "eigen", "scratch of LAPACK", DT_F64, 0, T_HOST, lapack_eigen_work(l->n),
               0),
        TENSOR(PW_MEAN, "mean", "means", DT_F64, 0, T_HOST, l->d, 0),
        TENSOR(PW_PANEL, "panel", "columns of rebuilt rows", DT_F64, 0, T_HOST,
               l->sketch ? l->l : 0, PANEL_COLS)};

    decl_add(d, t, sizeof t / sizeof *t);
    if (!l->sketch)
        moments_declare_work(d, &l->m, PW_MOMENTS);
}

/* What cannot be derived from this job's state. */
static enum st check_derive(const struct pca *l, const struct pca_derive *v, uint32_t k,
                            struct err *e)
{
    if (k > l->d)
        return fail(e, ST_BAD_CONFIG, "components %u: rows of %u columns have no more than %u", k,
                    l->d, l->d);
    if (l->sketch && k >= l->l)
        return fail(e, ST_BAD_CONFIG,
                    "components %u: the job's sketch keeps %u directions (components + "
                    "extra_components) and serves fewer than these; train with more",
                    k, l->l);
    if (l->sketch && v && v->correlation)
        return fail(e, ST_BAD_CONFIG,
                    "correlation: a sketch made of unscaled columns does not say how those of "
                    "small spread vary together; train with method exact, or scale the columns");
    return ST_OK;
}

static void declare_model(struct decl *d, const struct pca *l, uint32_t k)
{
    const struct tdecl t[] = {
        TENSOR(PM_MEAN, "mean", "subtracted from a row", DT_F32, 0, 0, l->d, 0),
        TENSOR(PM_SCALE, "scale", "its columns are multiplied with, then", DT_F32, 0, 0, l->d, 0),
        TENSOR(PM_COMPONENT, "component",
               "directions, the greatest variance first; of length 1, or 1 / deviation (whiten)",
               DT_F32, 0, 0, k, l->d),
        TENSOR(PM_VARIANCE, "variance", "of the rows along each", DT_F64, 0, 0, k, 0),
        TENSOR(PM_TOTAL, "total", "variance along all directions together", DT_F64, 0, 0, 1, 0)};

    decl_add(d, t, sizeof t / sizeof *t);
}

enum st pca_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                    const void *derive_opts)
{
    const struct pca l = pca_of(sh, opts);
    const struct pca_derive *v = derive_opts;
    const uint32_t k =
        v && v->components ? v->components : ((const struct pca_opts *)opts)->components;
    const struct tdecl out[] = {TENSOR(0, "component", "projections", DT_F32, 0, 0, k, 0)};

    if (p == PART_STATE)
        declare_state(d, &l);
    else if (p == PART_WORK)
        declare_work(d, &l);
    else if (p == PART_OUT)
        decl_add(d, out, 1);
    else if (p == PART_MODEL) {
        d->st = check_derive(&l, v, k, d->err);
        if (d->st == ST_OK)
            declare_model(d, &l, k);
    }
    return d->st;
}
