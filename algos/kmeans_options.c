/* kmeans_options.c: what a user may say to kmeans, what follows from it, and the tensors it takes.
 */
#include "algos/kmeans.h"

/* ---- options ---- */

static const char *const auto_names[] = {"auto", NULL};

#define AT(field) offsetof(struct kmeans_opts, field), sizeof(uint32_t)

const struct opt kmeans_options[] = {
    {"k", OPT_U32, AT(k), "10", 1, 10000, NULL, "number of clusters of the job's own model", NULL},
    {"extra_centers", OPT_U32, AT(extra_centers), "auto", 1, 1000, auto_names,
     "centres kept per cluster: any k up to their product can be derived; auto: 10, at least 200 "
     "centres in all",
     NULL},
    {"batch", OPT_U32, AT(batch), "auto", 1, BATCH_ROWS_MAX, auto_names,
     "rows of one step; auto: 1024", NULL},
    {"warmup", OPT_U32, AT(warmup), "auto", 1, 1 << 20, auto_names,
     "rows of a partition kept until its centres are chosen from them; auto: 2000, at least twice "
     "the centres",
     NULL},
    {0}};

const struct opt kmeans_derive_options[] = {
    {"k", OPT_U32, offsetof(struct kmeans_derive, k), sizeof(uint32_t), "auto", 1, 10000000,
     auto_names, "number of clusters, at most the centres kept per partition; auto: the job's k",
     "2,5,10,20,50,100"},
    {0}};

const struct port kmeans_ports[] = {{"features", "numbers of a row", PORT_DENSE, true}, {0}};

enum st kmeans_check(struct shape *sh, void *opts, struct err *e)
{
    struct kmeans_opts *o = opts;
    uint64_t centres;

    if (!sh->d[0] || sh->d[0] > COLUMNS_MAX || sh->nnz[0])
        return fail(e, ST_BAD_CONFIG, "kmeans needs 1..%d dense features, the input has %u%s",
                    COLUMNS_MAX, sh->d[0], sh->nnz[0] ? " sparse ones" : "");
    if (!o->k)
        return fail(e, ST_BAD_CONFIG, "k must be at least 1");
    if (!o->extra_centers)
        o->extra_centers = o->k >= 20 ? 10 : (200 + o->k - 1) / o->k;
    centres = (uint64_t)o->k * o->extra_centers;
    if (centres > 1u << 22)
        return fail(e, ST_BAD_CONFIG, "k %u x extra_centers %u are %llu centres, at most %d", o->k,
                    o->extra_centers, (unsigned long long)centres, 1 << 22);
    if (!o->warmup)
        o->warmup = centres > 1000 ? (uint32_t)(2 * centres) : 2000;
    if (o->warmup < centres)
        return fail(e, ST_BAD_CONFIG,
                    "warmup %u: %llu centres (k %u x extra_centers %u) cannot be chosen from fewer "
                    "rows",
                    o->warmup, (unsigned long long)centres, o->k, o->extra_centers);
    if (!o->batch)
        o->batch = 1024;
    if (!sh->batch_rows)
        sh->batch_rows = o->batch;
    sh->models = 1;
    sh->zcols = 0;
    sh->out = OUT_LOSS_ONLY;
    return ST_OK;
}

/* ---- tensors ---- */

struct km km_of(const struct shape *sh, const void *opts)
{
    const struct kmeans_opts *o = opts;
    struct km l = {.b = sh->batch_rows,
                   .d = sh->d[0],
                   .k = o->k * o->extra_centers,
                   .w = o->warmup,
                   .p = sh->slots ? sh->slots : 1,
                   .xld = (sh->d[0] + 15u) & ~15u};

    CHECK(l.b && l.d && l.k && l.w >= l.k);
    return l;
}

static void declare_state(struct decl *d, const struct km *l)
{
    struct tdecl t[] = {
        TENSOR(KM_CENTRE, "centre", "centres, less shift", DT_F32, LAW_FOLD, 0, l->k, l->d),
        TENSOR(KM_N, "n", "weight of the rows that a centre is the mean of", DT_F64, LAW_FOLD,
               T_HOST | T_DECAY, l->k, 0),
        TENSOR(KM_SSE, "sse", "sum of the squared distances of rows to the means of their centres",
               DT_F64, LAW_FOLD, T_HOST | T_DECAY, 1, 0),
        TENSOR(KM_SHIFT, "shift", "mean of the first rows", DT_F32, LAW_FOLD, 0, l->d, 0),
        TENSOR(KM_HEAD, "head", "rows in warm; 1 if there are centres", DT_U64, LAW_FOLD, T_HOST,
               HEAD_N, 0),
        TENSOR(KM_WARM, "warm", "the first rows, until there are centres", DT_F32, LAW_FOLD,
               T_SPARSE, l->w, l->d),
        TENSOR(KM_WARM_WEIGHT, "warm.weight", "and their weights", DT_F32, LAW_FOLD,
               T_HOST | T_DECAY, l->w, 0)};

    t[KM_WARM].live = t[KM_WARM_WEIGHT].live = KM_HEAD + 1;
    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_view(struct decl *d, const struct km *l)
{
    const uint64_t points = (uint64_t)l->p * l->k;
    struct tdecl t[] = {
        TENSOR(KV_POINT, "point", "the slots' centres, less shift", DT_F32, LAW_FOLD, T_HOST,
               points, l->d),
        TENSOR(KV_N, "n", "weight of each", DT_F64, LAW_FOLD, T_HOST, points, 0),
        TENSOR(KV_SSE, "sse", "sum of the squared distances of rows to the means of their centres",
               DT_F64, LAW_FOLD, T_HOST, 1, 0),
        TENSOR(KV_SHIFT, "shift", "subtracted from the points", DT_F32, LAW_FOLD, T_HOST, l->d, 0),
        TENSOR(KV_HEAD, "head", "number of points; 1 if shift is set; points that are rows", DT_U64,
               LAW_FOLD, T_HOST, VIEW_HEAD_N, 0)};

    t[KV_POINT].live = t[KV_N].live = KV_HEAD + 1;
    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_work(struct decl *d, const struct km *l)
{
    const uint64_t b = l->b, k = l->k, dim = l->d, points = (uint64_t)l->p * k;
    const uint64_t wide = 2 * b > k ? 2 * b : k;
    const struct tdecl t[] = {
        TENSOR(KW_X, "x", "rows less shift", DT_F32, 0, 0, b, l->xld),
        TENSOR(KW_DIST, "dist", "distances", DT_F32, 0, 0, b, k),
        TENSOR(KW_DIST_MOVED, "dist.moved", "of centres that moved", DT_F32, 0, 0, b, 2 * SPARES),
        TENSOR(KW_AT, "at", "nearest centres", DT_U32, 0, 0, b, 2),
        TENSOR(KW_VAL, "val", "and their terms", DT_F32, 0, 0, b, 2),
        TENSOR(KW_X2, "x2", "squares of rows", DT_F32, 0, 0, b, 0),
        TENSOR(KW_LOSS, "loss", "squared distances", DT_F32, 0, 0, b, 0),
        TENSOR(KW_C2, "c2", "squares of centres", DT_F32, 0, 0, k, 0),
        TENSOR(KW_SUM, "sum", "sums of rows", DT_F32, 0, 0, k > CANDIDATES ? k : CANDIDATES, dim),
        TENSOR(KW_MASS, "mass", "their weights", DT_F64, 0, 0, k, 0),
        TENSOR(KW_RATE, "rate", "operands of a step", DT_F32, 0, 0, 2, k),
        TENSOR(KW_STEP, "step", "squares of steps", DT_F32, 0, 0, k, 0),
        TENSOR(KW_U, "u", "random numbers", DT_F32, 0, 0, k > CANDIDATES ? k : CANDIDATES, 0),
        TENSOR(KW_PICK, "pick", "rows chosen as centres", DT_U32, 0, 0, k, 0),
        TENSOR(KW_RID, "rid", "counter of random numbers", DT_U64, 0, 0, 1, 0),
        TENSOR(KW_WARM, "warm", "weights of rows kept", DT_F32, 0, 0, l->w, 0),
        TENSOR(HOST_F32, "host.f32", "floats", DT_F32, 0, T_HOST, wide > 2 * dim ? wide : 2 * dim,
               0),
        TENSOR(HOST_LOSS, "host.loss", "squared distances", DT_F32, 0, T_HOST, b, 0),
        TENSOR(HOST_U32, "host.u32", "indices", DT_U32, 0, T_HOST, wide, 0),
        TENSOR(HOST_MASS, "host.mass", "weights of sums", DT_F64, 0, T_HOST, k, 0),
        TENSOR(HOST_D2, "host.d2", "weighted squared distances", DT_F64, 0, T_HOST,
               l->w > points ? l->w : points, 0),
        TENSOR(HOST_NEXT, "host.next", "the same to the second nearest", DT_F64, 0, T_HOST, points,
               0),
        TENSOR(HOST_AT, "host.at", "clusters of points", DT_U32, 0, T_HOST, points, 0),
        TENSOR(HOST_X2, "host.x2", "squares of points", DT_F32, 0, T_HOST, points, 0),
        TENSOR(HOST_TRY, "host.try", "distances of points to candidates", DT_F32, 0, T_HOST, points,
               CANDIDATES),
        TENSOR(HOST_SUM, "host.sum", "sums of points", DT_F64, 0, T_HOST, k, dim),
        TENSOR(HOST_TRIAL, "host.trial", "clusters of one restart", DT_F32, 0, T_HOST, k, dim)};

    decl_add(d, t, sizeof t / sizeof *t);
}

static uint32_t clusters(const struct kmeans_opts *o, const struct kmeans_derive *v)
{
    return v && v->k ? v->k : o->k;
}

enum st kmeans_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                       const void *derive_opts)
{
    struct km l = km_of(sh, opts);
    uint32_t k = clusters(opts, derive_opts);
    const struct tdecl model[] = {
        TENSOR(KM_MODEL_CENTRE, "centre", "cluster centres, the heaviest first", DT_F32, 0, 0, k,
               l.d),
        TENSOR(KM_MODEL_WEIGHT, "weight", "weight of the rows of each", DT_F64, 0, 0, k, 0),
        TENSOR(KM_MODEL_SSE, "sse", "sum of the squared distances of rows to them, to go on from",
               DT_F64, 0, 0, 1, 0)};
    const struct tdecl out[] = {TENSOR(0, "cluster", "nearest centre", DT_F32, 0, 0, 1, 0),
                                TENSOR(1, "distance", "to it", DT_F32, 0, 0, 1, 0)};

    if (p == PART_STATE)
        declare_state(d, &l);
    else if (p == PART_VIEW)
        declare_view(d, &l);
    else if (p == PART_WORK)
        declare_work(d, &l);
    else if (p == PART_OUT)
        decl_add(d, out, 2);
    else if (k > l.k)
        d->st = fail(d->err, ST_BAD_CONFIG,
                     "k %u: the job keeps %u centres per partition; train with more extra_centers",
                     k, l.k);
    else
        decl_add(d, model, sizeof model / sizeof *model);
    return d->st;
}

enum st kmeans_init(const struct ctx *x, struct tensors *s)
{
    (void)x, (void)s; /* all zero: no row, no centre */
    return ST_OK;
}
