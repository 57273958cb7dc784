#include "algos/stats.h"
#include "tests/unit/support_algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { D = 6 };

static uint64_t seed;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 40) / 16777216.0;
}

static double normal(void)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum - 6;
}

/* Columns: normal; like it, a fifth missing; a million and noise; few values, a third zero; skewed,
 * half missing; like the third. Weights in (0, 2), some 0. */
static struct table table(uint32_t n, bool weights)
{
    struct table t = {.n = n, .d = D};

    t.x = calloc((size_t)n * D, sizeof *t.x);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < n; i++) {
        float *x = t.x + (size_t)i * D;
        double z = normal();

        x[0] = (float)z;
        x[1] = uniform() < 0.2 ? NAN : (float)(2 * z + normal());
        x[2] = (float)(1e6 + 3 * normal());
        x[3] = (float)(int)(uniform() * 3) * (i & 1 ? -0.25f : 0.5f);
        x[4] = uniform() < 0.5 ? NAN : (float)(-log(1 - uniform()) + (x[1] == x[1] ? 0.3 * z : 0));
        x[5] = (float)(2e6 - (double)x[2] + normal());
        t.weight[i] = !weights ? 1 : uniform() < 0.05 ? 0 : (float)(2 * uniform());
    }
    return t;
}

struct truth { /* of one column, two passes */
    double w, mean, m[5];
    uint64_t count, missing, zeros;
    float least, most;
};

static struct truth truth(const struct table *t, uint32_t j)
{
    struct truth k = {.least = INFINITY, .most = -INFINITY};
    long double sum = 0, m[5] = {0};

    for (uint32_t i = 0; i < t->n; i++) {
        float v = t->x[(size_t)i * t->d + j];

        if (!(t->weight[i] > 0))
            continue;
        k.count += v == v;
        k.missing += v != v;
        k.zeros += v == 0;
        if (v != v)
            continue;
        k.w += (double)t->weight[i];
        sum += (long double)t->weight[i] * (long double)v;
        k.least = v < k.least ? v : k.least;
        k.most = v > k.most ? v : k.most;
    }
    k.mean = (double)(sum / (long double)k.w);
    for (uint32_t i = 0; i < t->n; i++) {
        long double z = (long double)t->x[(size_t)i * t->d + j] - sum / (long double)k.w, p = 1;

        for (int q = 0; q < 5 && z == z; q++, p *= z)
            m[q] += (long double)t->weight[i] * p;
    }
    for (int q = 2; q < 5; q++)
        k.m[q] = (double)(m[q] / (long double)k.w);
    return k;
}

/* Correlation of i and j over the rows that have both. */
static double related(const struct table *t, uint32_t i, uint32_t j)
{
    long double w = 0, a = 0, b = 0, aa = 0, bb = 0, ab = 0;

    for (int pass = 0; pass < 2; pass++)
        for (uint32_t r = 0; r < t->n; r++) {
            long double x = (long double)t->x[(size_t)r * t->d + i];
            long double y = (long double)t->x[(size_t)r * t->d + j], k = (long double)t->weight[r];

            if (x != x || y != y)
                continue;
            if (!pass) {
                w += k;
                a += k * x;
                b += k * y;
                continue;
            }
            aa += k * (x - a / w) * (x - a / w);
            bb += k * (y - b / w) * (y - b / w);
            ab += k * (x - a / w) * (y - b / w);
        }
    return (double)(ab / sqrtl(aa * bb));
}

static void near(double a, double b, double relative)
{
    if (!(fabs(a - b) <= relative * fmax(fabs(a), fabs(b))))
        fail_msg("%.17g is not %.17g", a, b);
}

static void open_stats(struct rig *k, uint32_t d, uint32_t slots, struct stats_opts *o)
{
    opts_defaults(stats_options, o);
    rig_open(k, &algo_stats, "ref", (struct shape){.slots = slots, .d = {d}}, o);
}

/* The model of t, dealt to `slots` partitions. */
static void model_of(struct rig *k, const struct table *t, uint32_t slots,
                     const struct stats_derive *v, struct tensors *model)
{
    struct tensors s[8], view, *list[8] = {0};
    struct measures m;

    for (uint32_t p = 0; p < slots; p++) {
        struct table part = table_deal(t, p, slots);

        list[p] = &s[p];
        rig_state(k, &s[p]);
        if (part.n)
            (void)rig_pass(k, &s[p], &part, p, NULL);
        assert_int_equal(tensors_finite(&s[p], &k->err), ST_OK);
        table_free(&part);
    }
    rig_view(k, list, slots, &view);
    rig_model(k, &view, v, model, &m);
    if (tensors_finite(model, &k->err) != ST_OK)
        fail_msg("%s", k->err.text);
    for (uint32_t p = 0; p < slots; p++)
        rig_free(k, &s[p]);
    rig_free(k, &view);
}

static struct stats_derive defaults(void)
{
    struct stats_derive v;

    opts_defaults(stats_derive_options, &v);
    return v;
}

static void column_is(const struct tensors *model, const struct table *t, uint32_t j)
{
    const struct truth k = truth(t, j);
    const double deviation = sqrt(k.m[2]);

    assert_true(model->t[STM_COUNT].f64[j] == (double)k.count);
    assert_true(model->t[STM_MISSING].f64[j] == (double)k.missing);
    assert_true(model->t[STM_ZEROS].f64[j] == (double)k.zeros);
    assert_true(model->t[STM_MIN].f32[j] == k.least && model->t[STM_MAX].f32[j] == k.most);
    near(model->t[STM_MEAN].f64[j] + deviation, k.mean + deviation, 1e-12);
    near(model->t[STM_DEVIATION].f64[j], deviation, 1e-12);
    near(1 + model->t[STM_SKEWNESS].f64[j], 1 + k.m[3] / pow(deviation, 3), 1e-11);
    near(3 + model->t[STM_KURTOSIS].f64[j], k.m[4] / (k.m[2] * k.m[2]), 1e-11);
}

static void figures_are_those_of_two_passes(void **state)
{
    const struct stats_derive v = defaults();

    (void)state;
    for (uint32_t slots = 1; slots <= 8; slots += 7)
        for (int weights = 0; weights < 2; weights++) {
            struct tensors model;
            struct stats_opts o;
            struct table t;
            struct rig k;

            seed = 5;
            t = table(30000, weights);
            open_stats(&k, D, slots, &o);
            model_of(&k, &t, slots, &v, &model);
            for (uint32_t i = 0; i < D; i++) {
                column_is(&model, &t, i);
                for (uint32_t j = 0; j < D; j++) {
                    double r = model.t[STM_CORRELATION].f64[i * D + j];

                    near(1 + r, 1 + (i == j ? 1 : related(&t, i, j)), 1e-11);
                }
            }
            rig_free(&k, &model);
            rig_close(&k);
            table_free(&t);
        }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void frequent_are_within_their_bound(const struct tensors *model, uint32_t j,
                                            const float *sorted, uint32_t n)
{
    const uint32_t h = (uint32_t)model->t[STM_TOP_VALUE].d.dim[1];
    const double *count = model->t[STM_TOP_COUNT].f64 + (size_t)j * h;

    assert_true(model->t[STM_TOP_ERROR].f64[j] <= n / 33.0);
    for (uint32_t k = 0; k < h && count[k] > 0; k++) {
        uint32_t true_count = 0;

        for (uint32_t i = 0; i < n; i++)
            true_count += sorted[i] == model->t[STM_TOP_VALUE].f32[(size_t)j * h + k];
        assert_true(count[k] <= true_count);
        assert_true(true_count <= count[k] + model->t[STM_TOP_ERROR].f64[j]);
        assert_true(!k || count[k] <= count[k - 1]);
    }
}

/* Quantiles, bins and distinct values of each column, one slot and merged ones. */
static void sketches_are_within_their_error(void **state)
{
    const struct stats_derive v = defaults();
    float *sorted = calloc(50000, sizeof *sorted);

    (void)state;
    for (uint32_t slots = 1; slots <= 5; slots += 4) {
        struct tensors model;
        struct stats_opts o;
        struct table t;
        struct rig k;

        seed = 6;
        t = table(50000, false);
        open_stats(&k, D, slots, &o);
        model_of(&k, &t, slots, &v, &model);
        for (uint32_t j = 0; j < D; j++) {
            const float *quantile = model.t[STM_QUANTILE].f32 + (size_t)j * v.quantiles.n;
            const double *bin = model.t[STM_HISTOGRAM].f64 + (size_t)j * v.bins;
            double low, width, sum = 0;
            uint32_t n = 0, distinct = 0;

            for (uint32_t i = 0; i < t.n; i++)
                if (t.x[(size_t)i * D + j] == t.x[(size_t)i * D + j])
                    sorted[n++] = t.x[(size_t)i * D + j];
            qsort(sorted, n, sizeof *sorted, ascending);
            for (uint32_t i = 0; i < n; i++)
                distinct += !i || sorted[i] != sorted[i - 1];
            near(model.t[STM_DISTINCT].f64[j], distinct, 0.07);
            for (uint32_t q = 0; q < v.quantiles.n; q++) {
                uint32_t below = 0, at;

                while (below < n && sorted[below] < quantile[q])
                    below++;
                for (at = below; at < n && sorted[at] == quantile[q];)
                    at++;
                assert_true(below <= ((double)v.quantiles.v[q] + 0.0165) * n);
                assert_true(at >= ((double)v.quantiles.v[q] - 0.0165) * n);
            }
            low = (double)sorted[0];
            width = ((double)sorted[n - 1] - low) / v.bins;
            for (uint32_t b = 0, i = 0; b < v.bins; b++) {
                uint32_t from = i;

                while (i < n && (b + 1 == v.bins || (double)sorted[i] < low + width * (b + 1)))
                    i++;
                assert_true(fabs(bin[b] - (i - from)) <= 2 * 0.0165 * n);
                sum += bin[b];
            }
            assert_true(sum == n);
            frequent_are_within_their_bound(&model, j, sorted, n);
        }
        rig_free(&k, &model);
        rig_close(&k);
        table_free(&t);
    }
    free(sorted);
}

/* 1 .. 100, and a column of threes, in 3 partitions: nothing is estimated. */
static void few_rows_are_told_exactly(void **state)
{
    struct stats_derive v = defaults();
    struct table t = {.n = 100, .d = 3};
    struct tensors model;
    struct stats_opts o;
    struct rig k;

    (void)state;
    t.x = calloc(300, sizeof *t.x);
    t.weight = calloc(100, sizeof *t.weight);
    for (uint32_t i = 0; i < 100; i++) {
        t.x[3 * i] = (float)((i * 37) % 100 + 1);
        t.x[3 * i + 1] = i < 50 ? 3 : i < 80 ? -1 : (float)i;
        t.x[3 * i + 2] = i == 7 ? 0.0f : i == 10 ? -0.0f : NAN;
        t.weight[i] = 1;
    }
    v.quantiles = (struct f32s){5, {0, 0.01f, 0.5f, 0.75f, 1}};
    v.bins = 10;
    v.top = 3;
    open_stats(&k, 3, 3, &o);
    model_of(&k, &t, 3, &v, &model);
    assert_memory_equal(model.t[STM_QUANTILE].f32, ((float[]){1, 1, 50, 75, 100}), 20);
    for (uint32_t b = 0; b < 10; b++) /* edges 1, 10.9, 20.8, ... */
        assert_true(model.t[STM_HISTOGRAM].f64[b] == 10);
    near(model.t[STM_DISTINCT].f64[0], 100, 0.05);
    assert_memory_equal(model.t[STM_TOP_VALUE].f32 + 3, ((float[]){3, -1}), 8);
    assert_memory_equal(model.t[STM_TOP_COUNT].f64 + 3, ((double[]){50, 30, 1}), 24);
    assert_true(model.t[STM_TOP_ERROR].f64[1] == 0 && model.t[STM_ZEROS].f64[2] == 2);
    near(model.t[STM_DISTINCT].f64[2], 1, 0.01);
    assert_true(model.t[STM_TOP_COUNT].f64[6] == 2 && model.t[STM_TOP_COUNT].f64[7] == 0);
    assert_true(model.t[STM_COUNT].f64[2] == 2 && model.t[STM_MISSING].f64[2] == 98);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

/* A column without values, one of equal values, one row, none: zeros, and nothing that is no
 * number. */
static void what_has_no_meaning_is_zero(void **state)
{
    const struct stats_derive v = defaults();

    (void)state;
    for (uint32_t n = 0; n <= 3000; n = n ? n * 3000 : 1) {
        struct table t = {.n = n, .d = 4};
        struct tensors model;
        struct stats_opts o;
        float out[9];
        struct rig k;

        t.x = calloc(4 * (size_t)n + 1, sizeof *t.x);
        t.weight = calloc(n + 1, sizeof *t.weight);
        for (uint32_t i = 0; i < n; i++) {
            memcpy(t.x + 4 * (size_t)i, ((float[]){NAN, 0.1f, (float)(i * i), 3e38f}), 16);
            if (i % 3 == 0)
                t.x[4 * i + 3] = -3e38f;
            t.weight[i] = 0.3f;
        }
        open_stats(&k, 4, 2, &o);
        model_of(&k, &t, 2, &v, &model);
        for (uint32_t i = 0; i < model.n; i++) { /* nothing was learned of column 0 */
            const struct tensor *a = &model.t[i];

            for (uint64_t q = 0; i != STM_MISSING && i != STM_SHARE && q < a->row_bytes; q++)
                assert_int_equal(a->u8[q], 0);
        }
        assert_true(model.t[STM_MISSING].f64[0] == n && model.t[STM_COUNT].f64[1] == n);
        assert_true(model.t[STM_DEVIATION].f64[1] == 0 && model.t[STM_SKEWNESS].f64[1] == 0);
        assert_true(model.t[STM_CORRELATION].f64[5] == 0 && model.t[STM_CORRELATION].f64[6] == 0);
        if (n) {
            assert_true(model.t[STM_MIN].f32[1] == 0.1f && model.t[STM_MAX].f32[1] == 0.1f);
            near(model.t[STM_MEAN].f64[1], (double)0.1f, 1e-15);
            assert_true(model.t[STM_HISTOGRAM].f64[2 * v.bins - 1] == n);
            assert_true(model.t[STM_TOP_COUNT].f64[10] == n &&
                        model.t[STM_TOP_VALUE].f32[10] == 0.1f);
        }
        if (n > 1)
            assert_true(model.t[STM_DEVIATION].f64[3] > 2e38 &&
                        model.t[STM_CORRELATION].f64[10] == 1);
        if (n > 1) {
            memcpy(t.x, ((float[]){5, 0.1f, 4, 0, NAN, 0.2f, 1e8f, NAN, 1, 0, -1, 0}), 48);
            t.n = 3;
            rig_score(&k, &model, &t, out, 3);
            assert_memory_equal(out, ((float[]){0, 0, 1, 2, 2, 2, 0, 2, 2}), 36);
        }
        rig_free(&k, &model);
        rig_close(&k);
        table_free(&t);
    }
}

/* Rows of weight 0, and no rows, change no byte; nor does the order of scratch. */
static void rows_without_weight_change_nothing(void **state)
{
    struct tensors a, b;
    struct stats_opts o;
    struct table t;
    struct rig k;
    struct rows r;

    (void)state;
    seed = 7;
    t = table(2000, true);
    open_stats(&k, D, 1, &o);
    rig_state(&k, &a);
    (void)rig_pass(&k, &a, &t, 0, NULL);
    rig_copy(&k, &b, &a);
    for (uint32_t i = 0; i < 500; i++)
        t.weight[i] = 0;
    memset(k.work.base, 0x55, k.work.bytes);
    rig_rows(&k, &t, 0, 500, 0, &r);
    assert_int_equal(k.a->update(&k.x, &a, &r, NULL), ST_OK);
    rig_rows(&k, &t, 600, 300, 300, &r);
    assert_int_equal(k.a->update(&k.x, &a, &r, NULL), ST_OK);
    assert_memory_equal(a.base, b.base, a.bytes);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_close(&k);
    table_free(&t);
}

/* decay 1/2 a batch is weight 2^-age; counts are of all rows. */
static void half_life_is_of_moments_and_correlation(void **state)
{
    const struct stats_derive v = defaults();
    struct tensors s, view, model, *list[] = {&s};
    struct stats_opts o;
    struct table t;
    struct rig k;

    (void)state;
    seed = 8;
    t = table(5000, true);
    open_stats(&k, D, 1, &o);
    rig_state(&k, &s);
    for (uint32_t at = 0; at < t.n; at += 1000) {
        struct rows r;

        rig_rows(&k, &t, at, 1000, 0, &r);
        r.decay = 0.5;
        assert_int_equal(k.a->update(&k.x, &s, &r, NULL), ST_OK);
    }
    for (uint32_t i = 0; i < t.n; i++)
        t.weight[i] *= 1.0f / (float)(1 << (4 - i / 1000));
    rig_view(&k, list, 1, &view);
    rig_model(&k, &view, &v, &model, NULL);
    for (uint32_t i = 0; i < D; i++) {
        column_is(&model, &t, i);
        for (uint32_t j = 0; j < i; j++)
            near(1 + model.t[STM_CORRELATION].f64[i * D + j], 1 + related(&t, i, j), 1e-11);
    }
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void model_refused(struct rig *k, const struct stats_derive *v, const char *text)
{
    struct tensors model;

    assert_int_equal(tensors_declare(&model, k->a, PART_MODEL, &k->sh, k->opts, v, NULL, 0, 6,
                                     UINT64_MAX >> 1, &k->err),
                     ST_BAD_CONFIG);
    if (!strstr(k->err.text, text))
        fail_msg("'%s' is not in: %s", text, k->err.text);
}

static void what_cannot_be_is_refused(void **state)
{
    struct stats_derive v = defaults();
    struct shape sh = {.slots = 1, .d = {5000}};
    struct stats_opts o;
    struct err e;
    struct rig k;

    (void)state;
    opts_defaults(stats_options, &o);
    o.correlation = CORRELATION_TRUE;
    assert_int_equal(stats_check(&sh, &o, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "correlation of 5000 columns takes 0.6 GB a partition"));
    o.correlation = CORRELATION_AUTO;
    assert_int_equal(stats_check(&sh, &o, &e), ST_OK);
    assert_int_equal(o.correlation, CORRELATION_FALSE);
    sh.nnz[0] = 10;
    assert_int_equal(stats_check(&sh, &o, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "sparse"));
    open_stats(&k, 3, 1, &o);
    v.quantiles = (struct f32s){2, {0.5f, 0.1f}};
    model_refused(&k, &v, "0.1 comes after 0.5");
    v = defaults();
    v.top = 33;
    model_refused(&k, &v, "top 33: the job keeps 32");
    rig_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_two_passes),
        cmocka_unit_test(sketches_are_within_their_error),
        cmocka_unit_test(few_rows_are_told_exactly),
        cmocka_unit_test(what_has_no_meaning_is_zero),
        cmocka_unit_test(rows_without_weight_change_nothing),
        cmocka_unit_test(half_life_is_of_moments_and_correlation),
        cmocka_unit_test(what_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
