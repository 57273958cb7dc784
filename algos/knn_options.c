/* knn_options.c: what a user may say to knn, what follows from it, and the tensors it takes. */
#include "algos/knn.h"

/* ---- options ---- */

static const char *const auto_names[] = {"auto", NULL};
static const char *const none_names[] = {"none", NULL};
static const char *const task_names[] = {"auto", "classify", "regress", NULL};

#define AT(field) offsetof(struct knn_opts, field), sizeof(uint32_t)
#define DERIVE_AT(field) offsetof(struct knn_derive, field), sizeof(uint32_t)

const struct opt knn_options[] = {
    {"sample", OPT_U32, AT(sample), "10000", 1, 20000000, NULL,
     "rows kept of each partition and of all together", NULL},
    {"k", OPT_U32, AT(k), "5", 1, K_MAX, NULL, "neighbours of the job's own model", NULL},
    {"task", OPT_ENUM, AT(task), "auto", 0, 0, task_names,
     "classify: the class that most neighbours have; regress: the mean of their labels; auto: "
     "classify where there are classes",
     NULL},
    {"classes", OPT_U32, AT(classes), "auto", 1, CLASSES_MAX, auto_names,
     "number of classes; auto: the input's", NULL},
    {"project", OPT_U32, AT(project), "none", 1, 65536, none_names,
     "numbers to keep of a row in place of its features: random sums of them", NULL},
    {"batch", OPT_U32, AT(batch), "auto", 1, BATCH_ROWS_MAX, auto_names,
     "rows of one step; auto: 64", NULL},
    {0}};

const struct opt knn_derive_options[] = {
    {"k", OPT_U32, DERIVE_AT(k), "auto", 1, K_MAX, auto_names, "neighbours; auto: the job's k",
     "1,3,5,10,20"},
    {"sample", OPT_U32, DERIVE_AT(sample), "auto", 1, 20000000, auto_names,
     "rows of the model, at most the job's sample; auto: all", "1000,3000,auto"},
    {"task", OPT_ENUM, DERIVE_AT(task), "auto", 0, 0, task_names,
     "classify or regress; auto: the job's", NULL},
    {0}};

const struct port knn_ports[] = {{"features", "numbers of a row", PORT_DENSE, true}, {0}};

enum st knn_check(struct shape *sh, void *opts, struct err *e)
{
    struct knn_opts *o = opts;

    if (sh->ny != 1)
        return fail(e, ST_BAD_CONFIG, "knn learns one label, the input has %u", sh->ny);
    if (!sh->d[0] || sh->d[0] > COLUMNS_MAX || sh->nnz[0])
        return fail(e, ST_BAD_CONFIG, "knn needs 1..%d dense features, the input has %u%s",
                    COLUMNS_MAX, sh->d[0], sh->nnz[0] ? " sparse ones" : "");
    if (o->k > o->sample)
        return fail(e, ST_BAD_CONFIG, "k %u: only %u rows are kept; raise sample", o->k, o->sample);
    if (o->project > sh->d[0])
        return fail(e, ST_BAD_CONFIG, "project %u: a row has %u features", o->project, sh->d[0]);
    if (sh->classes && o->classes && sh->classes != o->classes)
        return fail(e, ST_BAD_CONFIG, "classes %u: the input's label has %u", o->classes,
                    sh->classes);
    if (!o->classes)
        o->classes = sh->classes;
    if (o->task == KNN_AUTO)
        o->task = o->classes ? KNN_CLASSIFY : KNN_REGRESS;
    if (o->task == KNN_CLASSIFY && !o->classes)
        return fail(e, ST_BAD_CONFIG,
                    "task classify needs the number of classes: set classes, or name them in the "
                    "input");
    if (!o->batch)
        o->batch = 64;
    if (!sh->batch_rows)
        sh->batch_rows = o->batch;
    sh->classes = o->classes;
    sh->models = 1;
    /* what a score row is; update() predicts nothing */
    sh->out = o->task == KNN_CLASSIFY ? OUT_LOGITS : OUT_VALUE;
    sh->zcols = o->task == KNN_CLASSIFY ? o->classes : 1;
    return ST_OK;
}

/* ---- tensors ---- */

struct knn knn_of(const struct shape *sh, const void *opts)
{
    const struct knn_opts *o = opts;
    struct knn l = {.b = sh->batch_rows,
                    .d = sh->d[0],
                    .m = o->project ? o->project : sh->d[0],
                    .n = o->sample,
                    .c = o->classes,
                    .wide = (o->sample < K_MAX ? o->sample : K_MAX) + 1,
                    .o = o};

    CHECK(l.b && l.d && l.m && l.n && o->task != KNN_AUTO);
    l.s = (struct sample){.n = l.n, .d = l.m, .ny = 1, .purpose = 0x6b6e6e};
    return l;
}

struct knn_derive knn_choice(const struct knn_opts *o, const void *derive_opts)
{
    struct knn_derive v = {o->k, o->sample, o->task};
    const struct knn_derive *want = derive_opts;

    if (!want)
        return v;
    v.k = want->k ? want->k : v.k;
    v.sample = want->sample ? want->sample : v.sample;
    v.task = want->task ? want->task : v.task;
    return v;
}

static void declare_work(struct decl *d, const struct knn *l)
{
    const uint64_t b = l->b, tile = l->n < TILE ? l->n : TILE, project = l->o->project ? b : 0;
    const struct tdecl t[] = {
        TENSOR(KW_X, "x", "rows less shift", DT_F32, 0, 0, b, l->m),
        TENSOR(KW_RAW, "raw", "rows projected", DT_F32, 0, 0, project, l->m),
        TENSOR(KW_DIST, "dist", "distances", DT_F32, 0, 0, b, tile),
        TENSOR(KW_AT, "at", "nearest of a tile", DT_U32, 0, 0, b, l->wide),
        TENSOR(KW_VAL, "val", "and their terms", DT_F32, 0, 0, b, l->wide),
        TENSOR(HOST_TILE_AT, "host.tile.at", "the same", DT_U32, 0, T_HOST, b, l->wide),
        TENSOR(HOST_TILE_VAL, "host.tile.val", "the same", DT_F32, 0, T_HOST, b, l->wide),
        TENSOR(HOST_AT, "host.at", "nearest", DT_U32, 0, T_HOST, b, l->wide),
        TENSOR(HOST_VAL, "host.val", "and their terms", DT_F32, 0, T_HOST, b, l->wide),
        TENSOR(HOST_NEXT, "host.next", "nearest of one row", DT_U32, 0, T_HOST, l->wide, 0),
        TENSOR(HOST_NEXT_VAL, "host.next.val", "and their terms", DT_F32, 0, T_HOST, l->wide, 0),
        TENSOR(HOST_VOTE, "host.vote", "votes", DT_U32, 0, T_HOST, l->c ? l->c : 1, 0),
        TENSOR(HOST_SUM, "host.sum", "sums", DT_F64, 0, T_HOST, l->m, 0)};

    decl_add(d, t, sizeof t / sizeof *t);
}

static enum st declare_model(struct decl *d, const struct knn *l, const struct knn_derive *v)
{
    const struct tdecl t[] = {
        TENSOR(KNN_HEAD, "head", "rows; neighbours; 1: classify, 2: regress", DT_U64, 0, T_HOST,
               KNN_HEAD_N, 0),
        TENSOR(KNN_X, "x", "rows of the sample, less shift", DT_F32, 0, 0, v->sample, l->m),
        TENSOR(KNN_Y, "y", "their labels", DT_F32, 0, T_HOST, v->sample, 0),
        TENSOR(KNN_NORM, "norm", "their squares", DT_F32, 0, 0, v->sample, 0),
        TENSOR(KNN_SHIFT, "shift", "mean of the rows", DT_F32, 0, 0, l->m, 0),
        TENSOR(KNN_BASIS, "basis", "signs of the random sums", DT_F32, 0, 0, l->d, l->m)};

    if (v->sample > l->n)
        return fail(d->err, ST_BAD_CONFIG, "sample %u: the job keeps %u rows", v->sample, l->n);
    if (v->k > v->sample)
        return fail(d->err, ST_BAD_CONFIG, "k %u: the model has at most %u rows", v->k, v->sample);
    if (v->task == KNN_CLASSIFY && !l->c)
        return fail(d->err, ST_BAD_CONFIG, "task classify: the job was trained without classes");
    decl_add(d, t, l->o->project ? 6 : 5);
    return d->st;
}

static void declare_out(struct decl *d, const struct knn *l, const struct knn_derive *v)
{
    const struct tdecl classify[] = {
        TENSOR(0, "class", "that most neighbours have", DT_F32, 0, 0, 1, 0),
        TENSOR(1, "p", "share of the neighbours of each class", DT_F32, 0, 0, l->c, 0)};
    const struct tdecl regress[] = {
        TENSOR(0, "value", "mean label of the neighbours", DT_F32, 0, 0, 1, 0)};

    if (v->task == KNN_CLASSIFY)
        decl_add(d, classify, 2);
    else
        decl_add(d, regress, 1);
}

enum st knn_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                    const void *derive_opts)
{
    const struct knn l = knn_of(sh, opts);
    const struct knn_derive v = knn_choice(opts, derive_opts);
    const struct tdecl sign = TENSOR(KNN_SIGN, "sign", "of a feature in a random sum", DT_F32,
                                     LAW_LOCAL, T_HOST | T_CONST, l.o->project ? l.d : 0, l.m);

    if (p == PART_MODEL)
        return d->st = d->st == ST_OK ? declare_model(d, &l, &v) : d->st;
    if (p == PART_OUT) {
        declare_out(d, &l, &v);
        return d->st;
    }
    sample_declare(d, p, &l.s);
    if (p == PART_STATE)
        d->add(d, &sign);
    if (p == PART_WORK)
        declare_work(d, &l);
    return d->st;
}
