/* stats.c: what is in the columns, from one pass.
 *
 * Problem. Before anything is learned from a topic somebody wants to see it: how many values are
 * missing, where they lie, how they spread, which are frequent, what goes with what. All of it in
 * constant memory, from partitions that never meet.
 *
 * Idea. Every figure is one that streams can keep and slots can merge:
 *   counts, zeros, least, greatest   exact
 *   mean .. fourth moment            weighted sums about the mean, f64; a batch, and a slot, is
 *                                    merged by Pebay's formulas (SAND2008-6212), which lose no
 *                                    digits to a common offset: stats_sums.c
 *   quantiles, histogram             a KLL sketch (FOCS 2016), ranks to 1.65 %: kll.h
 *   distinct values                  HyperLogLog (2007) read as in Ertl 2017, to 2.3 %: hll.h
 *   frequent values                  Misra-Gries (1982), with its bound: heavy.h
 *   correlation                      f64 sums of every two columns over the rows where both have a
 *                                    value, merged as the moments are
 *
 * Update. Columns are taken from the batch 16 at a time (a line of memory), the missing values left
 * out; then a column is sorted by its bits (radix, four passes of eight bits). Sorted, a batch is
 * one list for the sketch, and equal values are one run: one hash and one count for all of them.
 *
 * Weights count in moments and correlation alone; all else counts rows, those of weight 0 not at
 * all. Half-life, too, is of moments and correlation: how many rows there were, their extremes,
 * quantiles, distinct and frequent values are of all that has been seen. (A sketch that forgets
 * would need one for each span of time.)
 *
 * What has no meaning is 0, so that a model is finite: everything of a column without values (its
 * count says so); deviation, skewness, kurtosis and correlation of a column of equal values.
 *
 * State a column: 4 C bytes of sketch, C about 3 k + 70 values (2.7 KB at k = 200), 2^distinct_bits
 * registers (2 KB), 12 bytes a frequent value (384), 250 more: 5.4 KB; and with correlation 24 D.
 * Cost a value: about 20 ns, a third of it sorting; correlation takes 3 ns (D = 8) to 11 (64) more,
 * and 30 to 50 where a tenth of the values is missing. Merge: exact sums; the errors of sketches
 * stay what they are. From one state: any quantiles, bins, top. Score: a row against what was
 * learned: how many columns are missing, lie beyond the extremes, or beyond the first and last
 * quantile. Limits. Dense rows. Values are float32: whole numbers beyond 16,777,216 fall together.
 * A second epoch would count rows twice. Not done. Text. Going on from a model, which has no
 * sketch. */
#include "algos/stats.h"

#include <string.h>

/* ---- sorting ---- */

/* Bits of a float in the order of the numbers, and back. */
static uint32_t ordered(float v)
{
    uint32_t u = mr_bits(v);

    return u >> 31 ? ~u : u | 0x80000000u;
}

static float disordered(uint32_t u)
{
    return mr_from_bits(u >> 31 ? u & 0x7fffffffu : ~u);
}

/* Sorts key[n]; other[n] is scratch. Returns where the sorted ones are. */
static uint32_t *sort(uint32_t *key, uint32_t *other, uint32_t n)
{
    uint32_t at[4][256] = {{0}};

    for (uint32_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            at[k][key[i] >> (8 * k) & 255]++;
    for (int k = 0; k < 4; k++) {
        uint32_t *to = at[k], sum = 0, *swap;

        if (to[key[0] >> (8 * k) & 255] == n)
            continue; /* a byte that all have in common */
        for (int c = 0; c < 256; c++) {
            uint32_t here = to[c];

            to[c] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < n; i++)
            other[to[key[i] >> (8 * k) & 255]++] = key[i];
        swap = key;
        key = other;
        other = swap;
    }
    return key;
}

/* ---- update ---- */

/* Of the learned rows those with weight: their number. */
static uint32_t keep_rows(const struct ctx *x, const struct rows *r)
{
    uint32_t *keep = x->work->t[SW_KEEP].u32, n = 0;
    double *weight = x->work->t[SW_WEIGHT].f64;

    for (uint32_t i = 0; i < r->train; i++) {
        keep[n] = i;
        weight[n] = (double)r->weight[i];
        n += r->weight[i] > 0;
    }
    return n;
}

/* What is proportional to weights is worth so much less from now on. */
static void decay(const struct stats *l, struct tensors *s, double by)
{
    for (size_t j = 0; j < l->d; j++)
        for (int k = 0; k < MOMENT_N; k++)
            s->t[ST_MOMENT].f64[j * MOMENT_N + (size_t)k] *= k == MOMENT_MEAN ? 1 : by;
    for (size_t p = 0; p < l->pairs; p++)
        for (int k = 0; k < PAIR_N; k++)
            s->t[ST_PAIR].f64[p * PAIR_N + (size_t)k] *=
                k == PAIR_MEAN_I || k == PAIR_MEAN_J ? 1 : by;
}

/* Columns [from, from + n) of the kept rows, one behind the other. */
static void take_columns(const struct ctx *x, const struct feat *f, uint32_t rows, uint32_t from,
                         uint32_t n)
{
    const uint32_t *keep = x->work->t[SW_KEEP].u32, b = x->shape->batch_rows;
    float *to = x->work->t[SW_COLUMN].f32;

    for (uint32_t i = 0; i < rows; i++) {
        const float *row = f->x + (size_t)keep[i] * f->ld + from;

        for (uint32_t j = 0; j < n; j++)
            to[(size_t)j * b + i] = row[j] + 0.0f; /* -0 + 0 is 0 */
    }
}

/* Values that are there, with their weights, to SW_VALUE and SW_BY; counts the others and zeros.
 * Returns how many. */
static uint32_t present(const struct ctx *x, const float *column, uint32_t n, uint64_t *count)
{
    const double *weight = x->work->t[SW_WEIGHT].f64;
    double *by = x->work->t[SW_BY].f64;
    float *value = x->work->t[SW_VALUE].f32;
    uint32_t m = 0, zeros = 0;

    for (uint32_t i = 0; i < n; i++) {
        value[m] = column[i];
        by[m] = weight[i];
        m += column[i] == column[i];
        zeros += column[i] == 0;
    }
    count[COUNT_ROWS] += m;
    count[COUNT_MISSING] += n - m;
    count[COUNT_ZEROS] += zeros;
    return m;
}

/* The m values in order: SW_VALUE; each once, with its number: SW_RUN. Returns how many those are.
 */
static uint32_t runs(const struct ctx *x, uint32_t m)
{
    uint32_t *key = x->work->t[SW_SORT].u32, at = 0;
    float *value = x->work->t[SW_VALUE].f32, *run = x->work->t[SW_RUN].f32;
    uint64_t *count = x->work->t[SW_RUN_N].u64;

    for (uint32_t i = 0; i < m; i++)
        key[i] = ordered(value[i]);
    key = sort(key, key + x->shape->batch_rows, m);
    for (uint32_t i = 0; i < m; i++) {
        bool new = !i || key[i] != key[i - 1];

        at += new;
        value[i] = run[at - 1] = disordered(key[i]);
        count[at - 1] = new ? 1 : count[at - 1] + 1;
    }
    return at;
}

static void learn_column(const struct ctx *x, const struct stats *l, struct tensors *s,
                         const struct rows *r, uint32_t j, const float *column, uint32_t n)
{
    const struct stats_opts *o = x->opts;
    const struct kll_by by = stats_kll_by(x, PURPOSE_UPDATE, r->partition, j);
    uint64_t *count = s->t[ST_COUNT].u64 + (size_t)j * COUNT_N;
    const bool first = !count[COUNT_ROWS];
    const uint32_t m = present(x, column, n, count);
    const float *value = x->work->t[SW_VALUE].f32, *run = x->work->t[SW_RUN].f32;
    float *range = s->t[ST_RANGE].f32 + 2 * (size_t)j;
    double moments[MOMENT_N];
    uint32_t distinct;

    x->work->t[SW_PIVOT].f64[j] = 0;
    if (!m)
        return;
    stats_moments(value, x->work->t[SW_BY].f64, m, moments);
    x->work->t[SW_PIVOT].f64[j] = moments[MOMENT_MEAN];
    moments_merge(s->t[ST_MOMENT].f64 + (size_t)j * MOMENT_N, moments);
    distinct = runs(x, m);
    range[0] = first || value[0] < range[0] ? value[0] : range[0];
    range[1] = first || value[m - 1] > range[1] ? value[m - 1] : range[1];
    kll_add(&by, stats_kll(s, j, l->c), value, m);
    for (uint32_t i = 0; i < distinct; i++)
        hll_add(s->t[ST_REG].u8 + ((size_t)j << o->distinct_bits), o->distinct_bits, run[i]);
    heavy_add(stats_heavy(s, j, l->t), run, x->work->t[SW_RUN_N].u64, distinct,
              x->work->t[SW_MERGE].f32, x->work->t[SW_MERGE_N].u64, x->work->t[SW_LARGEST].u64);
}

static enum st stats_update(const struct ctx *x, struct tensors *s, const struct rows *all,
                            struct eval *e)
{
    const struct stats l = stats_of(x->shape, x->opts);
    const struct rows *r = all->host;
    const struct feat *f = &r->in[0];
    uint32_t n;

    (void)e; /* OUT_NONE */
    CHECK(r && r->n <= l.b && r->train <= r->n && r->weight);
    CHECK(s->t[ST_COINS].n == l.d && r->decay > 0 && r->decay <= 1);
    n = keep_rows(x, r);
    if (r->decay < 1)
        decay(&l, s, r->decay);
    if (!n)
        return ST_OK;
    CHECK(f->d == l.d && f->ld >= l.d && f->x);
    for (uint32_t from = 0; from < l.d; from += GROUP) {
        const uint32_t columns = l.d - from < GROUP ? l.d - from : GROUP;

        take_columns(x, f, n, from, columns);
        for (uint32_t j = 0; j < columns; j++)
            learn_column(x, &l, s, r, from + j, x->work->t[SW_COLUMN].f32 + (size_t)j * l.b, n);
    }
    if (l.pairs)
        pairs_add(x, s, f, n);
    return ST_OK;
}

/* ---- score ---- */

static enum st stats_score(const struct ctx *x, const struct tensors *model, const struct rows *all,
                           float *out)
{
    const struct rows *r = all->host;
    const struct feat *f = &r->in[0];
    const float *least = model->t[STM_MIN].f32, *most = model->t[STM_MAX].f32;
    const float *quantile = model->t[STM_QUANTILE].f32;
    const uint32_t q = (uint32_t)model->t[STM_SHARE].n, d = x->shape->d[0];

    CHECK(q && model->t[STM_MIN].n == d && model->t[STM_QUANTILE].n == (uint64_t)d * q);
    for (uint32_t i = 0; i < r->n; i++) {
        const float *row = f->x + (size_t)i * f->ld;
        uint32_t missing = 0, outside = 0, tail = 0;

        for (uint32_t j = 0; j < d; j++) { /* comparisons with a missing value are false */
            const float *at = quantile + (size_t)j * q;
            const bool known = model->t[STM_COUNT].f64[j] > 0;

            missing += row[j] != row[j];
            outside += known && (row[j] < least[j] || row[j] > most[j]);
            tail += known && (row[j] < at[0] || row[j] > at[q - 1]);
        }
        out[3 * (size_t)i] = (float)missing;
        out[3 * (size_t)i + 1] = (float)outside;
        out[3 * (size_t)i + 2] = (float)tail;
    }
    return ST_OK;
}

const struct algo algo_stats = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "stats",
    .summary = "what is in each column: moments, quantiles, distinct and frequent values",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_HOST | ALGO_EXACT | ALGO_ONE_EPOCH | ALGO_MISSING,
    .ports = stats_ports,
    .opts = stats_options,
    .derive_opts = stats_derive_options,
    .opts_bytes = sizeof(struct stats_opts),
    .derive_bytes = sizeof(struct stats_derive),
    .check = stats_check,
    .declare = stats_declare,
    .init = stats_init,
    .update = stats_update,
    .derive = stats_derive,
    .score = stats_score,
    .fold = stats_fold,
    .intact = stats_intact,
};
