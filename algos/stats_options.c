/* stats_options.c: what a user may say to stats, what follows from it, and the tensors it takes. */
#include "algos/stats.h"

/* ---- options ---- */

static const char *const auto_names[] = {"auto", NULL};
static const char *const correlation_names[] = {"auto", "true", "false", NULL};

#define AT(field) offsetof(struct stats_opts, field), sizeof(uint32_t)
#define AT_DERIVE(field)                                                                           \
    offsetof(struct stats_derive, field), sizeof(((struct stats_derive *)0)->field)

const struct opt stats_options[] = {
    {"correlation", OPT_ENUM, AT(correlation), "auto", 0, 0, correlation_names,
     "correlation of every two columns; auto: up to 64 columns", NULL},
    {"quantile_k", OPT_U32, AT(quantile_k), "200", 8, 4096, NULL,
     "size of the quantile sketch: a column takes about 12 bytes times this, ranks are right to "
     "330/k per cent, 1.65 at 200",
     NULL},
    {"distinct_bits", OPT_U32, AT(distinct_bits), "11", HLL_BITS_MIN, HLL_BITS_MAX, NULL,
     "a column takes 2^bits bytes to count distinct values to 104/sqrt(2^bits) per cent, 2.3 at 11",
     NULL},
    {"top", OPT_U32, AT(top), "32", 1, 1000, NULL,
     "most frequent values kept of a column: one of more than rows/(top + 1) is among them", NULL},
    {0}};

const struct opt stats_derive_options[] = {
    {"quantiles", OPT_F32S, AT_DERIVE(quantiles), "0.01,0.05,0.25,0.5,0.75,0.95,0.99", 0, 1, NULL,
     "shares of the rows, ascending, whose quantiles are wanted", NULL},
    {"bins", OPT_U32, AT_DERIVE(bins), "20", 1, 1000, NULL,
     "bars of the histograms, equally wide from the least to the greatest value", "10,20,50"},
    {"top", OPT_U32, AT_DERIVE(top), "auto", 1, 1000, auto_names,
     "most frequent values to list, at most the job's top; auto: 10", "5,10"},
    {0}};

const struct port stats_ports[] = {{"columns", "numbers of a row", PORT_DENSE, true}, {0}};

enum st stats_check(struct shape *sh, void *opts, struct err *e)
{
    struct stats_opts *o = opts;

    if (!sh->d[0] || sh->d[0] > COLUMNS_MAX || sh->nnz[0])
        return fail(e, ST_BAD_CONFIG, "stats needs 1..%d dense columns, the input has %u%s",
                    COLUMNS_MAX, sh->d[0], sh->nnz[0] ? " sparse ones" : "");
    if (o->correlation == CORRELATION_TRUE && sh->d[0] > PAIRS_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "correlation of %u columns takes %.1f GB a partition; at most %d columns: set "
                    "correlation: false, or name fewer features",
                    sh->d[0], (double)sh->d[0] * sh->d[0] / 2 * PAIR_N * 8 / 1e9, PAIRS_MAX);
    if (o->correlation == CORRELATION_AUTO)
        o->correlation = sh->d[0] <= AUTO_PAIRS_MAX ? CORRELATION_TRUE : CORRELATION_FALSE;
    if (!sh->batch_rows)
        sh->batch_rows = 1024;
    sh->models = 1;
    sh->zcols = 0;
    sh->out = OUT_NONE;
    return ST_OK;
}

/* ---- tensors ---- */

struct stats stats_of(const struct shape *sh, const void *opts)
{
    const struct stats_opts *o = opts;
    const uint32_t d = sh->d[0];
    struct stats l = {.b = sh->batch_rows,
                      .d = d,
                      .c = kll_capacity(o->quantile_k),
                      .t = o->top,
                      .pairs = o->correlation == CORRELATION_TRUE ? d * (d - 1) / 2 : 0,
                      .correlation = o->correlation == CORRELATION_TRUE,
                      .room = kll_room(o->quantile_k, sh->batch_rows)};

    CHECK(l.b && l.d && l.t && o->correlation);
    return l;
}

static void declare_state(struct decl *d, const struct stats *l, const struct stats_opts *o)
{
    const uint64_t n = l->d;
    const struct tdecl t[] = {
        TENSOR(ST_COUNT, "count", "rows with a value, without one, with a zero", DT_U64, LAW_SUM,
               T_HOST, n, COUNT_N),
        TENSOR(ST_MOMENT, "moment", "weight, mean, sums of powers 2 to 4 about it", DT_F64,
               LAW_FOLD, T_HOST, n, MOMENT_N),
        TENSOR(ST_RANGE, "range", "least and greatest value", DT_F32, LAW_FOLD, T_HOST, n, 2),
        TENSOR(ST_ITEM, "kll.item", "values of the quantile sketch, by level", DT_F32, LAW_FOLD,
               T_HOST, n, l->c),
        TENSOR(ST_LEVEL, "kll.level", "values of each level", DT_U32, LAW_FOLD, T_HOST, n,
               KLL_LEVELS),
        TENSOR(ST_COINS, "kll.coins", "compactions so far", DT_U64, LAW_FOLD, T_HOST, n, 0),
        TENSOR(ST_REG, "hll", "registers of the distinct values", DT_U8, LAW_MAX, T_HOST, n,
               (uint64_t)1 << o->distinct_bits),
        TENSOR(ST_TOP, "top.value", "frequent values, ascending", DT_F32, LAW_FOLD, T_HOST, n,
               l->t),
        TENSOR(ST_TOP_N, "top.n", "rows of each, at least", DT_U64, LAW_FOLD, T_HOST, n, l->t),
        TENSOR(ST_TOP_OFF, "top.off", "and at most so many more", DT_U64, LAW_FOLD, T_HOST, n, 0),
        TENSOR(ST_PAIR, "pair", "of two columns: weight, means, squares, products", DT_F64,
               LAW_FOLD, T_HOST, l->pairs, PAIR_N)};

    decl_add(d, t, sizeof t / sizeof *t);
}

static void declare_work(struct decl *d, const struct stats *l)
{
    const uint64_t b = l->b, n = l->pairs ? l->d : 0, t = l->t;
    const struct tdecl list[] = {
        TENSOR(SW_KEEP, "keep", "rows with weight", DT_U32, 0, T_HOST, b, 0),
        TENSOR(SW_WEIGHT, "weight", "their weights", DT_F64, 0, T_HOST, b, 0),
        TENSOR(SW_COLUMN, "column", "columns of them", DT_F32, 0, T_HOST, GROUP, b),
        TENSOR(SW_VALUE, "value", "values that are there", DT_F32, 0, T_HOST, b, 0),
        TENSOR(SW_BY, "by", "and their weights", DT_F64, 0, T_HOST, b, 0),
        TENSOR(SW_SORT, "sort", "bits of values", DT_U32, 0, T_HOST, 2, b),
        TENSOR(SW_RUN, "run", "distinct values", DT_F32, 0, T_HOST, b > t ? b : t, 0),
        TENSOR(SW_RUN_N, "run.n", "rows of each", DT_U64, 0, T_HOST, b > t ? b : t, 0),
        TENSOR(SW_MERGE, "merge", "frequent values", DT_F32, 0, T_HOST, b + 2 * t, 0),
        TENSOR(SW_MERGE_N, "merge.n", "rows of each", DT_U64, 0, T_HOST, b + 2 * t, 0),
        TENSOR(SW_LARGEST, "largest", "the largest of them", DT_U64, 0, T_HOST, t + 1, 0),
        TENSOR(SW_KLL, "kll", "lists of a sketch", DT_F32, 0, T_HOST, KLL_BUFFERS, l->room),
        TENSOR(SW_READ, "read", "values of a sketch in order", DT_F32, 0, T_HOST, l->c, 0),
        TENSOR(SW_UPTO, "upto", "and their ranks", DT_F64, 0, T_HOST, l->c, 0),
        TENSOR(SW_PIVOT, "pivot", "means of a batch", DT_F64, 0, T_HOST, l->d, 0),
        TENSOR(SW_ROW, "row", "a row about the pivot", DT_F64, 0, T_HOST, n ? 3 : 0, n),
        TENSOR(SW_ALL, "all", "sums of whole rows", DT_F64, 0, T_HOST, n ? 2 : 0, n),
        TENSOR(SW_SUM, "sum", "sums of two columns", DT_F64, 0, T_HOST, n ? 4 : 0, n * n)};

    decl_add(d, list, sizeof list / sizeof *list);
}

static uint32_t listed(const struct stats *l, const struct stats_derive *v)
{
    return v->top ? v->top : l->t < 10 ? l->t : 10;
}

static enum st check_derive(const struct stats *l, const struct stats_derive *v, struct err *e)
{
    for (uint32_t i = 1; i < v->quantiles.n; i++)
        if (!(v->quantiles.v[i] > v->quantiles.v[i - 1]))
            return fail(e, ST_BAD_CONFIG, "quantiles: %g comes after %g; they must ascend",
                        (double)v->quantiles.v[i], (double)v->quantiles.v[i - 1]);
    if (!v->quantiles.n)
        return fail(e, ST_BAD_CONFIG, "quantiles: name one at least, such as 0.5");
    if (v->top > l->t)
        return fail(e, ST_BAD_CONFIG,
                    "top %u: the job keeps %u frequent values of a column; train with a larger top",
                    v->top, l->t);
    return ST_OK;
}

static void declare_model(struct decl *d, const struct stats *l, const struct stats_derive *v)
{
    const uint64_t n = l->d, q = v->quantiles.n, h = listed(l, v);
    const struct tdecl t[] = {
        TENSOR(STM_COUNT, "count", "rows with a value", DT_F64, 0, 0, n, 0),
        TENSOR(STM_MISSING, "missing", "rows without", DT_F64, 0, 0, n, 0),
        TENSOR(STM_ZEROS, "zeros", "rows whose value is 0", DT_F64, 0, 0, n, 0),
        TENSOR(STM_MIN, "min", "least value", DT_F32, 0, 0, n, 0),
        TENSOR(STM_MAX, "max", "greatest value", DT_F32, 0, 0, n, 0),
        TENSOR(STM_MEAN, "mean", "weighted mean", DT_F64, 0, 0, n, 0),
        TENSOR(STM_DEVIATION, "deviation", "square root of the mean square about it", DT_F64, 0, 0,
               n, 0),
        TENSOR(STM_SKEWNESS, "skewness", "mean cube about it, in deviations", DT_F64, 0, 0, n, 0),
        TENSOR(STM_KURTOSIS, "kurtosis", "mean fourth power, in deviations, less 3", DT_F64, 0, 0,
               n, 0),
        TENSOR(STM_SHARE, "share", "shares of the rows that quantiles are of", DT_F32, 0, 0, q, 0),
        TENSOR(STM_QUANTILE, "quantile", "values that a share of the rows is at most as large as",
               DT_F32, 0, 0, n, q),
        TENSOR(STM_DISTINCT, "distinct", "number of distinct values, estimated", DT_F64, 0, 0, n,
               0),
        TENSOR(STM_TOP_VALUE, "top_value", "most frequent values, the most frequent first", DT_F32,
               0, 0, n, h),
        TENSOR(STM_TOP_COUNT, "top_count", "rows of each, at least; 0: no value", DT_F64, 0, 0, n,
               h),
        TENSOR(STM_TOP_ERROR, "top_error", "and at most so many more", DT_F64, 0, 0, n, 0),
        TENSOR(STM_HISTOGRAM, "histogram", "rows in equal bins from min to max", DT_F64, 0, 0, n,
               v->bins),
        TENSOR(STM_CORRELATION, "correlation", "of rows where both columns have a value", DT_F64, 0,
               0, n, n)};

    decl_add(d, t, l->correlation ? sizeof t / sizeof *t : STM_CORRELATION);
}

enum st stats_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                      const void *derive_opts)
{
    const struct stats l = stats_of(sh, opts);
    const struct tdecl out[] = {
        TENSOR(0, "missing", "columns without a value", DT_F32, 0, 0, 1, 0),
        TENSOR(1, "outside", "values beyond the least or greatest learned", DT_F32, 0, 0, 1, 0),
        TENSOR(2, "tail", "values beyond the first or last quantile of the model", DT_F32, 0, 0, 1,
               0)};

    if (p == PART_STATE)
        declare_state(d, &l, opts);
    else if (p == PART_WORK)
        declare_work(d, &l);
    else if (p == PART_OUT)
        decl_add(d, out, sizeof out / sizeof *out);
    else if (p == PART_MODEL && d->st == ST_OK)
        d->st = check_derive(&l, derive_opts, d->err);
    if (p == PART_MODEL && d->st == ST_OK)
        declare_model(d, &l, derive_opts);
    return d->st;
}

enum st stats_init(const struct ctx *x, struct tensors *s)
{
    (void)x, (void)s; /* all zero: no row */
    return ST_OK;
}

/* ---- a column's ---- */

struct kll stats_kll(const struct tensors *s, uint32_t j, uint32_t capacity)
{
    return (struct kll){s->t[ST_ITEM].f32 + (size_t)j * capacity,
                        s->t[ST_LEVEL].u32 + (size_t)j * KLL_LEVELS, s->t[ST_COINS].u64 + j};
}

struct kll_by stats_kll_by(const struct ctx *x, uint32_t purpose, uint32_t partition, uint32_t j)
{
    const struct stats_opts *o = x->opts;
    const uint64_t key[2] = {x->seed, (uint64_t)purpose << 32 | partition};

    return (struct kll_by){o->quantile_k, j, philox_key(key), x->work->t[SW_KLL].f32,
                           kll_room(o->quantile_k, x->shape->batch_rows)};
}

struct heavy stats_heavy(const struct tensors *s, uint32_t j, uint32_t top)
{
    return (struct heavy){s->t[ST_TOP].f32 + (size_t)j * top, s->t[ST_TOP_N].u64 + (size_t)j * top,
                          s->t[ST_TOP_OFF].u64 + j, top};
}
