/* least_squares_options.c: what a user may say to least_squares, what follows from it, and the
 * tensors it takes. */
#include "algos/compute/lapack.h"
#include "algos/least_squares.h"

/* ---- options ---- */

static const char *const auto_names[] = {"auto", NULL};

#define AT(field) offsetof(struct least_squares_opts, field), sizeof(uint32_t)
#define DERIVE(field)                                                                              \
    offsetof(struct least_squares_derive, field), sizeof((struct least_squares_derive){0}.field)

const struct opt least_squares_options[] = {
    {"folds", OPT_U32, AT(folds), "5", 2, 10, NULL,
     "parts that the rows are dealt to, for cross-validation without another pass; the state grows "
     "with them",
     NULL},
    {"batch", OPT_U32, AT(batch), "auto", 1, BATCH_ROWS_MAX, auto_names,
     "rows of one step; auto: 1024", NULL},
    {0}};

const struct opt least_squares_derive_options[] = {
    {"l2", OPT_F32, DERIVE(l2), "0", 0, 1e30, NULL,
     "weight of half the squares of the coefficients against the mean of half the squared errors",
     "0,0.0001,0.001,0.01,0.1,1"},
    {"l1", OPT_F32, DERIVE(l1), "0", 0, 1e30, NULL,
     "weight of the absolute values of the coefficients; features without use are left out",
     "0,0.001,0.01,0.1"},
    {"features", OPT_U32, DERIVE(features), "auto", 1, LS_FEATURES_MAX, auto_names,
     "most features to use, chosen one by one, each time the one that lowers the error most; auto: "
     "all",
     "auto"},
    {"standardize", OPT_BOOL, DERIVE(standardize), "true", 0, 0, NULL,
     "l1 and l2 weigh coefficients of columns and label in units of their deviation; false: raw",
     "true"},
    {0}};

const struct port least_squares_ports[] = {{"features", "numbers of a row", PORT_DENSE, true}, {0}};

enum st least_squares_check(struct shape *sh, void *opts, struct err *e)
{
    struct least_squares_opts *o = opts;

    if (sh->ny != 1)
        return fail(e, ST_BAD_CONFIG, "least_squares learns one label, the input has %u", sh->ny);
    if (sh->classes)
        return fail(e, ST_BAD_CONFIG,
                    "least_squares learns a number, the label has %u classes: use algo linear with "
                    "loss logistic or softmax",
                    sh->classes);
    if (sh->nnz[0])
        return fail(e, ST_BAD_CONFIG,
                    "least_squares needs dense features, the input has %u sparse ones: use algo "
                    "linear with loss squared",
                    sh->d[0]);
    if (!sh->d[0] || sh->d[0] > LS_FEATURES_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "least_squares needs 1..%d features, the input has %u: a fold of its state "
                    "takes 4 bytes times their square, here %.1f GB; use algo linear with loss "
                    "squared",
                    LS_FEATURES_MAX, sh->d[0], 4e-9 * sh->d[0] * sh->d[0]);
    if (o->folds < 2 || o->folds > 10)
        return fail(e, ST_BAD_CONFIG, "folds must be 2..10, got %u", o->folds);
    if (!o->batch)
        o->batch = 1024;
    if (!sh->batch_rows)
        sh->batch_rows = o->batch;
    sh->folds = o->folds;
    sh->models = 1;
    sh->zcols = 1;
    sh->out = OUT_VALUE;
    return ST_OK;
}

/* ---- tensors ---- */

struct ls ls_of(const struct shape *sh, const void *opts)
{
    const struct least_squares_opts *o = opts;

    return (struct ls){.m = moments_of(sh, 1, o->folds), .d = sh->d[0]};
}

static void declare_work(struct decl *d, const struct ls *l)
{
    const uint64_t n = l->d, sums = moments_size(&l->m);
    const struct tdecl t[] = {
        TENSOR(WORK_SUM, "sum", "sums over folds", DT_F64, 0, T_HOST, sums, 0),
        TENSOR(WORK_PART, "part", "sums of a fold", DT_F64, 0, T_HOST, sums, 0),
        TENSOR(WORK_S, "s", "products about the means", DT_F64, 0, T_HOST, n + 1, n + 1),
        TENSOR(WORK_A, "a", "equations", DT_F64, 0, T_HOST, n, n),
        TENSOR(WORK_EIGEN, "eigen", "scratch of LAPACK", DT_F64, 0, T_HOST, lapack_eigen_work(l->d),
               0),
        TENSOR(WORK_VEC, "vec", "numbers by feature", DT_F64, 0, T_HOST, VEC_N, n + 1),
        TENSOR(WORK_AT, "at", "columns of the equations", DT_U32, 0, T_HOST, 2, n),
        TENSOR(WORK_OUT, "out", "predictions and losses", DT_F32, 0, T_HOST, 2, l->m.batch)};

    moments_declare_work(d, &l->m, WORK_MOMENTS);
    decl_add(d, t, sizeof t / sizeof *t);
}

enum st least_squares_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                              const void *derive_opts)
{
    const struct ls l = ls_of(sh, opts);
    const struct tdecl own[] = {
        TENSOR(LS_W, "w", "coefficients that score rows before they are learned; last: intercept",
               DT_F64, LAW_LOCAL, T_HOST, l.d + 1, 0),
        TENSOR(LS_HEAD, "head",
               "weight learned; that since w was made; 1 if there is one; least, greatest label",
               DT_F64, LAW_LOCAL, T_HOST, HEAD_N, 0)};
    const struct tdecl model[] = {
        TENSOR(LS_MODEL_W, "w", "coefficients by feature; the last one is the intercept", DT_F64, 0,
               T_HOST, l.d + 1, 0),
        TENSOR(LS_MODEL_SPREAD, "spread", "deviation of each feature", DT_F64, 0, 0, l.d, 0)};
    const struct tdecl out = TENSOR(0, "value", "prediction", DT_F32, 0, 0, 1, 0);

    (void)derive_opts;
    if (p == PART_STATE) {
        moments_declare(d, &l.m, LS_SUMS);
        decl_add(d, own, 2);
    } else if (p == PART_MODEL) {
        decl_add(d, model, 2);
    } else if (p == PART_WORK) {
        declare_work(d, &l);
    } else if (p == PART_OUT) {
        d->add(d, &out);
    }
    return d->st;
}
