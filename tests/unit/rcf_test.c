#include "algos/rcf.h"
#include "tests/unit/support_algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t seed;

static float uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / 16777216.0f;
}

static struct table table(uint32_t n, uint32_t d)
{
    struct table t = {.n = n, .d = d};

    t.x = calloc((size_t)n * d, sizeof *t.x);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < n * d; i++)
        t.x[i] = uniform() + uniform() + uniform() - 1.5f;
    for (uint32_t i = 0; i < n; i++)
        t.weight[i] = 1;
    return t;
}

struct grown {
    struct rcf_opts o;
    struct rig k;
    struct tensors state, view, model;
    struct measures own;
};

/* A forest of all rows of t; batches of `batch`. */
static void grow(struct grown *g, struct rcf_opts o, const struct table *t, uint32_t batch)
{
    struct tensors *all[] = {&g->state};

    memset(g, 0, sizeof *g);
    g->o = o;
    g->o.batch = batch;
    rig_open(&g->k, &algo_rcf, "ref", (struct shape){.slots = 1, .d = {t->d}}, &g->o);
    rig_state(&g->k, &g->state);
    rig_pass(&g->k, &g->state, t, 0, NULL);
    rig_view(&g->k, all, 1, &g->view);
    rig_model(&g->k, &g->view, NULL, &g->model, &g->own);
}

static void fell(struct grown *g)
{
    rig_free(&g->k, &g->state);
    rig_free(&g->k, &g->view);
    rig_free(&g->k, &g->model);
    rig_close(&g->k);
}

static struct rcf_opts forest(uint32_t trees, uint32_t points)
{
    return (struct rcf_opts){.num_trees = trees,
                             .num_samples_per_tree = points,
                             .shingle = 1,
                             .standardize = true,
                             .alarm_share = 0.01f};
}

/* The score of one row of d numbers; out has what else score() says. */
static double score(struct grown *g, const float *x, float *out)
{
    float own[2 + 64], weight = 1;
    struct table t = {.n = 1, .d = g->k.sh.d[0], .x = (float *)x, .weight = &weight};

    out = out ? out : own;
    rig_score(&g->k, &g->model, &t, out, 2 + (g->o.attribution ? t.d : 0));
    return (double)out[0];
}

static void near(double is, double want)
{
    if (!(fabs(is - want) <= 1e-6 * fmax(1, fabs(want))))
        fail_msg("%.9g is not %.9g", is, want);
}

/* ---- closed forms ---- */

/* Points 0 and 1: one cut between them. */
static void two_points_score_as_the_formula_says(void **state)
{
    struct table t = table(2, 1);
    struct rcf_opts o = forest(1, 2);
    const double unit = log2(3);
    struct grown g;

    (void)state;
    o.standardize = false;
    t.x[0] = 0, t.x[1] = 1;
    grow(&g, o, &t, 2);
    /* apart at the root by 1 of 2, else at the leaf below it */
    near(score(&g, (float[]){2}, NULL), (0.5 + 0.5 * 0.5) * unit);
    near(score(&g, (float[]){-3}, NULL), (0.75 + 0.25 * 0.5) * unit);
    near(score(&g, (float[]){0.5f}, NULL), 0.5 * unit); /* inside the root's box */
    near(score(&g, (float[]){1}, NULL), (1 - 1.0 / 4) / (1 + log2(2)) * unit);
    fell(&g);
    table_free(&t);
}

/* No float lies between them: the cut is at the lower one, which is below it. */
static void neighbouring_floats_are_told_apart(void **state)
{
    struct table t = table(2, 1);
    struct rcf_opts o = forest(1, 2);
    struct grown g;

    (void)state;
    o.standardize = false;
    t.x[0] = 0, t.x[1] = 0x1p-149f;
    for (int i = 0; i < 2; i++) {
        grow(&g, o, &t, 2);
        for (uint32_t q = 0; q < 2; q++)
            near(score(&g, t.x + q, NULL), (1 - 1.0 / 4) / (1 + log2(2)) * log2(3));
        fell(&g);
        t.x[0] = -0x1p-149f;
        t.x[1] = 0;
    }
    table_free(&t);
}

static void equal_points_are_one_leaf(void **state)
{
    struct table t = table(8, 3);
    struct grown g;

    (void)state;
    for (uint32_t i = 0; i < 24; i++)
        t.x[i] = 7;
    grow(&g, forest(1, 8), &t, 4);
    assert_int_equal(g.model.t[RCF_LEAF].u32[1], 8);
    near(score(&g, (float[]){7, 7, 7}, NULL), (1 - 0.5) / log2(9) * log2(9));
    near(score(&g, (float[]){7, 7, 8}, NULL), log2(9));
    fell(&g);
    table_free(&t);
}

static void many_copies_are_usual_and_a_single_row_is_not(void **state)
{
    struct table t = table(64, 1);
    struct grown g;

    (void)state;
    for (uint32_t i = 0; i < 64; i++)
        t.x[i] = i == 17 ? 5 : 1;
    grow(&g, forest(1, 64), &t, 64);
    near(score(&g, (float[]){1}, NULL), (1 - 63 / 128.0) / (1 + log2(64)) * log2(65));
    near(score(&g, (float[]){5}, NULL), (1 - 1 / 128.0) / (1 + log2(2)) * log2(65));
    fell(&g);
    table_free(&t);
}

static void one_row_makes_a_forest(void **state)
{
    struct table t = table(1, 2);
    struct grown g;
    float out[2];

    (void)state;
    grow(&g, forest(3, 16), &t, 4);
    near(score(&g, t.x, NULL), 0.5);
    near(score(&g, (float[]){9, 9}, out), 1);
    assert_true(out[1] == 0); /* nothing to compare with: no alarm */
    fell(&g);
    table_free(&t);
}

/* ---- trees ---- */

/* Every leaf's points lie where the cuts above put them and inside the boxes; returns how many. */
static uint32_t walk(const struct grown *g, uint32_t node, uint32_t depth)
{
    const struct tensor *t = g->model.t;
    const uint32_t w = (uint32_t)t[RCF_SHIFT].n, *cut = t[RCF_CUT].u32 + 3 * (size_t)node;
    const float *box = t[RCF_BOX].f32 + 2 * (size_t)node * w;
    uint32_t n;

    if (node & rcf_leaf)
        return t[RCF_LEAF].u32[2 * (size_t)(node & ~rcf_leaf) + 1];
    assert_true(depth < g->o.num_samples_per_tree);
    assert_true(cut[0] < w && box[cut[0]] <= t[RCF_AT].f32[node] &&
                t[RCF_AT].f32[node] < box[w + cut[0]]);
    for (int side = 1; side <= 2; side++) {
        const float *low, *high;

        if (cut[side] & rcf_leaf) {
            low = high =
                t[RCF_X].f32 + (size_t)t[RCF_LEAF].u32[2 * (size_t)(cut[side] & ~rcf_leaf)] * w;
        } else {
            low = t[RCF_BOX].f32 + 2 * (size_t)cut[side] * w;
            high = low + w;
        }
        for (uint32_t j = 0; j < w; j++)
            assert_true(box[j] <= low[j] && high[j] <= box[w + j]);
        assert_true(side == 1 ? high[cut[0]] <= t[RCF_AT].f32[node]
                              : low[cut[0]] > t[RCF_AT].f32[node]);
    }
    n = walk(g, cut[1], depth + 1);
    return n + walk(g, cut[2], depth + 1);
}

static void trees_hold_their_points(void **state)
{
    static const uint32_t rows[] = {5, 100, 640, 3000};
    static const uint32_t points[] = {3, 50, 64, 64}; /* half of few rows; else all of a tree */

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct table t;
        struct grown g;

        seed = (uint64_t)i;
        t = table(rows[i], 4);
        for (uint32_t q = 0; q < t.n; q++)
            t.x[4 * q + 2] = (float)(q % 3); /* ties */
        grow(&g, forest(10, 64), &t, 128);
        for (uint32_t a = 0; a < 10; a++) {
            assert_int_equal(g.model.t[RCF_TREE].u32[2 * a + 1], points[i]);
            assert_int_equal(walk(&g, g.model.t[RCF_TREE].u32[2 * a], 0), points[i]);
        }
        fell(&g);
        table_free(&t);
    }
}

static void trees_share_no_point_where_there_are_enough(void **state)
{
    uint8_t seen[640] = {0};
    struct table t;
    struct grown g;

    (void)state;
    seed = 3;
    t = table(2000, 2);
    grow(&g, forest(10, 64), &t, 128);
    for (uint32_t i = 0; i < 640; i++) {
        const uint32_t *leaf = g.model.t[RCF_LEAF].u32 + 2 * i;

        assert_true(leaf[1] == 1 && leaf[0] < 640);
        assert_int_equal(seen[leaf[0]]++, 0);
    }
    fell(&g);
    table_free(&t);
}

/* A cut's number is drawn by range: with ranges 3 to 1 in three of four trees. */
static void wide_numbers_are_cut_more_often(void **state)
{
    struct rcf_opts o = forest(1000, 32);
    uint32_t wide = 0;
    struct table t;
    struct grown g;

    (void)state;
    seed = 4;
    o.standardize = false;
    t = table(32000, 2);
    for (uint32_t i = 0; i < t.n; i++) {
        t.x[2 * i] = i % 2 ? 3.0f : 0.0f;
        t.x[2 * i + 1] = i / 2 % 2 ? 1.0f : 0.0f;
    }
    grow(&g, o, &t, 1000);
    for (uint32_t a = 0; a < 1000; a++)
        wide += g.model.t[RCF_CUT].u32[3 * (size_t)g.model.t[RCF_TREE].u32[2 * a]] == 0;
    if (wide < 690 || wide > 810) /* 750 +- 4.4 deviations */
        fail_msg("the wide number is cut in %u of 1000 trees", wide);
    fell(&g);
    table_free(&t);
}

/* ---- what scores say ---- */

static void scores_rise_with_distance(void **state)
{
    double last = 0;
    struct table t;
    struct grown g;

    (void)state;
    seed = 5;
    t = table(20000, 3);
    grow(&g, forest(50, 128), &t, 1000);
    for (float at = 0; at < 64; at = at * 2 + 0.5f) {
        double s = score(&g, (float[]){at, 0, 0}, NULL);

        assert_true(s > last);
        last = s;
    }
    assert_true(score(&g, (float[]){0, 0, 0}, NULL) < 1);
    assert_true(last > 4);
    fell(&g);
    table_free(&t);
}

static void a_share_of_usual_rows_is_an_anomaly(void **state)
{
    struct rcf_opts o = forest(50, 256);
    float *out = calloc(20000, 2 * sizeof *out);
    double share = 0;
    struct table t;
    struct grown g;

    (void)state;
    seed = 6;
    o.alarm_share = 0.02f;
    t = table(20000, 4);
    grow(&g, o, &t, 1000);
    table_free(&t);
    t = table(20000, 4); /* others, of the same kind */
    rig_score(&g.k, &g.model, &t, out, 2);
    for (uint32_t i = 0; i < t.n; i++) {
        share += (double)out[2 * i + 1] / t.n;
        assert_true((out[2 * i + 1] > 0) == ((double)out[2 * i] > g.model.t[RCF_THRESHOLD].f64[0]));
    }
    if (fabs(share - 0.02) > 0.008)
        fail_msg("%g of the rows are anomalies", share);
    free(out);
    fell(&g);
    table_free(&t);
}

static void three_deviations_may_be_the_threshold(void **state)
{
    struct rcf_opts o = forest(20, 64);
    struct table t;
    struct grown g;

    (void)state;
    seed = 7;
    o.alarm_share = 0;
    t = table(1000, 2);
    grow(&g, o, &t, 100);
    assert_string_equal(g.own.m[0].name, "score_mean");
    assert_string_equal(g.own.m[1].name, "score_deviation");
    near(g.model.t[RCF_THRESHOLD].f64[0], g.own.m[0].value + 3 * g.own.m[1].value);
    fell(&g);
    table_free(&t);
}

static void attribution_names_the_feature_and_adds_up(void **state)
{
    struct rcf_opts o = forest(50, 64);
    float out[2 + 5];
    struct table t;
    struct grown g;

    (void)state;
    seed = 8;
    o.attribution = true;
    t = table(5000, 5);
    grow(&g, o, &t, 500);
    for (uint32_t j = 0; j < 5; j++) {
        float x[5] = {0};
        double sum = 0;

        x[j] = 8;
        (void)score(&g, x, out);
        for (uint32_t q = 0; q < 5; q++)
            sum += (double)out[2 + q];
        near(sum / (double)out[0], 1);
        assert_true(out[2 + j] > 0.8f * out[0]);
    }
    (void)score(&g, t.x, out); /* a usual row, that may lie in a tree */
    near((double)(out[2] + out[3] + out[4] + out[5] + out[6]) / (double)out[0], 1);
    fell(&g);
    table_free(&t);
}

static void units_and_constants_do_not_matter(void **state)
{
    struct table t, u;
    struct grown g, h;

    (void)state;
    seed = 9;
    t = table(3000, 3);
    for (uint32_t i = 0; i < t.n; i++)
        t.x[3 * i + 1] = 0.1f; /* not a binary fraction */
    u = table(3000, 3);
    for (uint32_t i = 0; i < t.n * 3; i++)
        u.x[i] = t.x[i] * (i % 3 == 0 ? 1024 : 1); /* exact, so the same units come out */
    grow(&g, forest(20, 64), &t, 100);
    grow(&h, forest(20, 64), &u, 100);
    assert_true(g.model.t[RCF_SCALE].f32[1] == 1);
    for (float at = -4; at < 4; at += 0.3f)
        near(score(&g, (float[]){at, 0.1f, at}, NULL),
             score(&h, (float[]){at * 1024, 0.1f, at}, NULL));
    assert_true(score(&g, (float[]){0, 50, 0}, NULL) > 3); /* it never moved before */
    assert_true(isfinite(score(&g, (float[]){3e38f, -3e38f, 3e38f}, NULL)));
    fell(&g);
    fell(&h);
    table_free(&t);
    table_free(&u);
}

/* ---- series ---- */

static void shingles_reach_across_batches(void **state)
{
    struct rcf_opts o = forest(4, 16);
    struct table t;
    struct grown g, h;

    (void)state;
    seed = 10;
    o.shingle = 5;
    t = table(500, 2);
    for (uint32_t i = 0; i < t.n; i++)
        t.x[2 * i] = (float)i;
    grow(&g, o, &t, 500);
    grow(&h, o, &t, 3);
    assert_memory_equal(g.view.base, h.view.base, g.view.bytes);
    assert_int_equal(g.view.t[SAMPLE_VIEW_HEAD].u64[0], 64);
    for (uint32_t i = 0; i < 64; i++) {
        const float *p = g.view.t[SAMPLE_VIEW_X].f32 + (size_t)i * 10;
        uint32_t row = (uint32_t)(g.view.t[SAMPLE_VIEW_RID].u64[i] >> 16);

        assert_true(row >= 4);
        for (uint32_t q = 0; q < 5; q++) /* oldest first */
            assert_true(p[2 * q] == (float)(row - 4 + q) &&
                        p[2 * q + 1] == t.x[2 * (row - 4 + q) + 1]);
    }
    fell(&g);
    fell(&h);
    table_free(&t);
}

static void a_broken_rhythm_stands_out(void **state)
{
    struct rcf_opts o = forest(50, 128);
    float *out;
    struct table t;
    struct grown g;

    (void)state;
    seed = 11;
    o.shingle = 8;
    t = table(4000, 1);
    for (uint32_t i = 0; i < t.n; i++)
        t.x[i] = (i % 8 < 4 ? 1.0f : -1.0f) + 0.05f * t.x[i];
    for (uint32_t i = 3000; i < 3008; i++)
        t.x[i] = 1; /* no value is unusual */
    out = calloc(t.n, 2 * sizeof *out);
    grow(&g, o, &t, 4000);
    rig_score(&g.k, &g.model, &t, out, 2);
    for (uint32_t i = 0; i < 7; i++)
        assert_true(out[2 * i] == 0); /* not a whole point yet */
    for (uint32_t i = 7; i < t.n; i++)
        if (i < 3000 || i > 3020)
            assert_true(out[2 * i] < out[2 * 3007]);
    assert_true(out[2 * 3007 + 1] == 1);
    free(out);
    fell(&g);
    table_free(&t);
}

/* ---- refused ---- */

static void what_cannot_be_is_refused(void **state)
{
    struct shape sh = {.d = {200}};
    struct rcf_opts o = forest(50, 256);
    struct rcf_derive v = {.num_trees = 51, .alarm_share = -1};
    struct tensors model;
    struct err e = {""};

    (void)state;
    o.shingle = 100;
    assert_int_equal(algo_rcf.check(&sh, &o, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "20000 numbers a point, at most 10000"));
    assert_non_null(strstr(e.text, "GB"));
    o.shingle = 1;
    sh.nnz[0] = 3;
    assert_int_equal(algo_rcf.check(&sh, &o, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "dense"));
    sh.nnz[0] = 0;
    assert_int_equal(algo_rcf.check(&sh, &o, &e), ST_OK);
    assert_int_equal(
        tensors_declare(&model, &algo_rcf, PART_MODEL, &sh, &o, &v, NULL, 0, 6, 1 << 30, &e),
        ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "the job keeps points for 50 x 256"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_points_score_as_the_formula_says),
        cmocka_unit_test(neighbouring_floats_are_told_apart),
        cmocka_unit_test(equal_points_are_one_leaf),
        cmocka_unit_test(many_copies_are_usual_and_a_single_row_is_not),
        cmocka_unit_test(one_row_makes_a_forest),
        cmocka_unit_test(trees_hold_their_points),
        cmocka_unit_test(trees_share_no_point_where_there_are_enough),
        cmocka_unit_test(wide_numbers_are_cut_more_often),
        cmocka_unit_test(scores_rise_with_distance),
        cmocka_unit_test(a_share_of_usual_rows_is_an_anomaly),
        cmocka_unit_test(three_deviations_may_be_the_threshold),
        cmocka_unit_test(attribution_names_the_feature_and_adds_up),
        cmocka_unit_test(units_and_constants_do_not_matter),
        cmocka_unit_test(shingles_reach_across_batches),
        cmocka_unit_test(a_broken_rhythm_stands_out),
        cmocka_unit_test(what_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
