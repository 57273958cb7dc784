/* rcf_options.c: what a user may say to rcf, what follows from it, and the tensors it takes. */
#include "algos/rcf.h"

/* ---- options ---- */

enum { TREES_MAX = 1000, POINTS_MAX = 2048, WIDTH_MAX = 10000 };

static const char *const auto_names[] = {"auto", NULL};

static const char *const bool_names[] = {"auto", "false", "true", NULL};

#define AT(field, type) offsetof(struct rcf_opts, field), sizeof(type)
#define DERIVE_AT(field, type) offsetof(struct rcf_derive, field), sizeof(type)

const struct opt rcf_options[] = {
    {"num_trees", OPT_U32, AT(num_trees, uint32_t), "50", 1, TREES_MAX, NULL,
     "trees of the job's own model", NULL},
    {"num_samples_per_tree", OPT_U32, AT(num_samples_per_tree, uint32_t), "256", 2, POINTS_MAX,
     NULL, "points of a tree; 1 in so many rows is about the rarest anomaly that stands out", NULL},
    {"shingle", OPT_U32, AT(shingle, uint32_t), "1", 1, 1000, NULL,
     "consecutive rows of a partition that make a point, for series: half a period to one", NULL},
    {"standardize", OPT_BOOL, AT(standardize, bool), "true", 0, 0, NULL,
     "divide each feature by its deviation in the sample", NULL},
    {"alarm_share", OPT_F32, AT(alarm_share, float), "0.005", 0, 0.5, NULL,
     "share of rows like the sample's that are anomalies; 0: those above the mean score and 3 "
     "deviations",
     NULL},
    {"attribution", OPT_BOOL, AT(attribution, bool), "false", 0, 0, NULL,
     "score rows also say what each feature adds to the score", NULL},
    {"batch", OPT_U32, AT(batch, uint32_t), "auto", 1, BATCH_ROWS_MAX, auto_names,
     "rows of one step; auto: 4096", NULL},
    {0}};

const struct opt rcf_derive_options[] = {
    {"num_trees", OPT_U32, DERIVE_AT(num_trees, uint32_t), "auto", 1, TREES_MAX, auto_names,
     "trees, at most the job's; auto: all", "10,25,auto"},
    {"num_samples_per_tree", OPT_U32, DERIVE_AT(num_samples_per_tree, uint32_t), "auto", 2,
     POINTS_MAX, auto_names, "points of a tree, at most the job's; auto: all", "64,128,auto"},
    {"standardize", OPT_ENUM, DERIVE_AT(standardize, uint32_t), "auto", 0, 0, bool_names,
     "divide each feature by its deviation in the sample; auto: as the job", NULL},
    {"alarm_share", OPT_F32, DERIVE_AT(alarm_share, float), "-1", -1, 0.5, NULL,
     "share of rows like the sample's that are anomalies; 0: mean and 3 deviations; -1: as the job",
     NULL},
    {"attribution", OPT_ENUM, DERIVE_AT(attribution, uint32_t), "auto", 0, 0, bool_names,
     "what each feature adds to the score; auto: as the job", NULL},
    {0}};

const struct port rcf_ports[] = {{"features", "numbers of a row", PORT_DENSE, true}, {0}};

enum st rcf_check(struct shape *sh, void *opts, struct err *e)
{
    struct rcf_opts *o = opts;
    uint64_t w = (uint64_t)sh->d[0] * o->shingle;

    if (!sh->d[0] || sh->nnz[0])
        return fail(e, ST_BAD_CONFIG, "rcf needs dense features, the input has %u%s", sh->d[0],
                    sh->nnz[0] ? " sparse ones" : "");
    if (w > WIDTH_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "%u features x shingle %u are %llu numbers a point, at most %d: a model of "
                    "%u x %u points would take %.1f GB",
                    sh->d[0], o->shingle, (unsigned long long)w, WIDTH_MAX, o->num_trees,
                    o->num_samples_per_tree,
                    12e-9 * (double)w * o->num_trees * o->num_samples_per_tree);
    if (!o->batch)
        o->batch = 4096;
    if (!sh->batch_rows)
        sh->batch_rows = o->batch;
    sh->models = 1;
    sh->zcols = 0;
    sh->out = OUT_NONE;
    return ST_OK;
}

/* ---- tensors ---- */

struct rcf rcf_of(const struct shape *sh, const void *opts)
{
    const struct rcf_opts *o = opts;
    struct rcf l = {.b = sh->batch_rows,
                    .d = sh->d[0],
                    .h = o->shingle,
                    .w = o->shingle * sh->d[0],
                    .t = o->num_trees,
                    .s = o->num_samples_per_tree};

    CHECK(l.b && l.w && l.t && l.s >= 2);
    l.sample = (struct sample){.n = l.t * l.s, .d = l.w, .purpose = 0x726366};
    return l;
}

struct rcf_opts rcf_choice(const struct rcf_opts *o, const void *derive_opts)
{
    const struct rcf_derive *want = derive_opts;
    struct rcf_opts v = *o;

    if (!want)
        return v;
    v.num_trees = want->num_trees ? want->num_trees : v.num_trees;
    v.num_samples_per_tree =
        want->num_samples_per_tree ? want->num_samples_per_tree : v.num_samples_per_tree;
    v.standardize = want->standardize ? want->standardize == RCF_TRUE : v.standardize;
    v.attribution = want->attribution ? want->attribution == RCF_TRUE : v.attribution;
    v.alarm_share = want->alarm_share < 0 ? v.alarm_share : want->alarm_share;
    return v;
}

static void declare_state(struct decl *d, const struct rcf *l)
{
    const struct tdecl t[] = {
        TENSOR(RCF_RING, "ring", "the last rows, row i at i mod shingle", DT_F32, LAW_LOCAL, T_HOST,
               l->h > 1 ? l->h : 0, l->d),
        TENSOR(RCF_SEEN, "ring.rows", "that went into it", DT_U64, LAW_LOCAL, T_HOST, l->h > 1, 0)};

    sample_declare(d, PART_STATE, &l->sample);
    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_work(struct decl *d, const struct rcf *l)
{
    const struct tdecl t[] = {
        TENSOR(RW_POINT, "point", "that is scored", DT_F32, 0, T_HOST, l->w, 0),
        TENSOR(RW_PATH, "path", "cuts above it", DT_U32, 0, T_HOST, l->s, 0),
        TENSOR(RW_SHARE, "share", "of each number in a tree's score", DT_F64, 0, T_HOST, l->w, 0),
        TENSOR(RW_SHARES, "shares", "of each number in the score", DT_F64, 0, T_HOST, l->w, 0),
        TENSOR(RW_INDEX, "index", "points by tree", DT_U32, 0, T_HOST, l->sample.n, 0),
        TENSOR(RW_STACK, "stack", "parts to be cut", DT_U32, 0, T_HOST, l->s, 4),
        TENSOR(RW_IN, "in", "a tree that has the point", DT_U32, 0, T_HOST, l->sample.n, 0),
        TENSOR(RW_TESTED, "tested", "scores by trees without the point", DT_F64, 0, T_HOST, TESTED,
               2)};

    sample_declare(d, PART_WORK, &l->sample);
    decl_add(d, t, sizeof t / sizeof *t);
}

static enum st declare_model(struct decl *d, const struct rcf *l, const struct rcf_opts *v)
{
    const uint64_t t = v->num_trees, s = v->num_samples_per_tree, cuts = t * (s - 1);
    const struct tdecl all[] = {
        TENSOR(RCF_HEAD, "head", "trees; 1: with attribution", DT_U64, 0, T_HOST, RCF_HEAD_N, 0),
        TENSOR(RCF_TREE, "tree", "root, points", DT_U32, 0, T_HOST, t, 2),
        TENSOR(RCF_CUT, "cut", "number of a point, child below, child above; 2^31: a leaf", DT_U32,
               0, T_HOST, cuts, 3),
        TENSOR(RCF_AT, "cut.at", "below are those of at most this", DT_F32, 0, T_HOST, cuts, 0),
        {RCF_BOX,
         "box",
         "least and greatest numbers of the points below a cut",
         DT_F32,
         0,
         T_HOST,
         0,
         0,
         {cuts, 2, l->w}},
        TENSOR(RCF_LEAF, "leaf", "row of x, points that lie there", DT_U32, 0, T_HOST, t * s, 2),
        TENSOR(RCF_X, "x", "points, less shift, times scale", DT_F32, 0, T_HOST, t * s, l->w),
        TENSOR(RCF_SHIFT, "shift", "mean of each number of a point", DT_F32, 0, T_HOST, l->w, 0),
        TENSOR(RCF_SCALE, "scale", "1 / deviation, or 1", DT_F32, 0, T_HOST, l->w, 0),
        TENSOR(RCF_THRESHOLD, "threshold", "anomalies have a score above", DT_F64, 0, T_HOST, 1,
               0)};

    if (v->num_trees > l->t || v->num_samples_per_tree > l->s)
        return fail(d->err, ST_BAD_CONFIG,
                    "num_trees %u x num_samples_per_tree %u: the job keeps points for %u x %u",
                    v->num_trees, v->num_samples_per_tree, l->t, l->s);
    decl_add(d, all, sizeof all / sizeof *all);
    return d->st;
}

enum st rcf_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                    const void *derive_opts)
{
    const struct rcf l = rcf_of(sh, opts);
    const struct rcf_opts v = rcf_choice(opts, derive_opts);
    const struct tdecl out[] = {
        TENSOR(0, "score", "how unexpected the row is; about 1 is usual", DT_F32, 0, 0, 1, 0),
        TENSOR(1, "anomaly", "1: the score is above the threshold", DT_F32, 0, 0, 1, 0),
        TENSOR(2, "attribution", "what each feature adds to the score", DT_F32, 0, 0, l.d, 0)};

    if (p == PART_MODEL)
        return d->st = d->st == ST_OK ? declare_model(d, &l, &v) : d->st;
    if (p == PART_STATE)
        declare_state(d, &l);
    else if (p == PART_VIEW)
        sample_declare(d, p, &l.sample);
    else if (p == PART_WORK)
        declare_work(d, &l);
    else
        decl_add(d, out, v.attribution ? 3 : 2);
    return d->st;
}
