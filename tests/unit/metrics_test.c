#include "algos/metrics.h"

#include "algos/tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 61 }; /* not a multiple of any unrolling */

static const struct algo labelled = {.name = "toy", .flags = ALGO_LABEL};

struct world {
    struct shape sh;
    struct tensors ts;
    struct rows r;
    struct eval e;
    float y[2 * ROWS], w[ROWS], z[ROWS * 12], loss[ROWS * 3];
};

static float uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(*seed >> 40) / 16777216.0f;
}

/* 61 rows of random outputs for 3 models, the last 20 held out. */
static void make(struct world *w, enum out_kind out)
{
    struct tdecl d[METRIC_DECLS];
    uint64_t seed = 7;
    struct err e;

    memset(w, 0, sizeof *w);
    w->sh.models = 3;
    w->sh.out = out;
    w->sh.classes = out == OUT_LOGITS ? 4 : out == OUT_MARGIN ? 2 : 0;
    w->sh.zcols = out == OUT_LOGITS ? 12 : out == OUT_MARGIN || out == OUT_VALUE ? 3 : 0;
    assert_int_equal(
        tensors_layout(&w->ts, d, metrics_decls(d, 0, &labelled, &w->sh), 6, 1 << 20, &e), ST_OK);
    assert_int_equal(tensors_alloc(&w->ts, NULL, NULL, &e), ST_OK);
    for (int i = 0; i < ROWS; i++) {
        w->w[i] = (float)(int)(uniform(&seed) * 4) / 2;
        w->y[i] = w->sh.classes ? (float)(int)(uniform(&seed) * (float)w->sh.classes)
                                : uniform(&seed) * 10;
    }
    for (int i = 0; i < ROWS * 12; i++)
        w->z[i] = (uniform(&seed) - 0.5f) * 12;
    for (int i = 0; i < ROWS * 3; i++)
        w->loss[i] = uniform(&seed);
    w->r = (struct rows){.n = ROWS, .train = 41, .ny = 1, .y = w->y, .weight = w->w};
    w->e = (struct eval){w->z, w->loss};
}

static void drop(struct world *w)
{
    tensors_free(&w->ts, NULL, NULL);
}

/* What metrics.h says, in the plainest words. */
static struct metric expected(const struct world *w, int m, int from, int to)
{
    struct metric x = {0};

    for (int i = from; i < to; i++) {
        double wt = (double)w->w[i];
        const float *z = w->z + i * (int)w->sh.zcols;
        int best = 0;

        for (int c = 1; c < (int)w->sh.classes; c++)
            if (w->sh.out == OUT_LOGITS && z[m * 4 + c] > z[m * 4 + best])
                best = c;
        if (w->sh.out == OUT_MARGIN)
            best = z[m] > 0;
        x.rows += 1;
        x.weight += wt;
        x.loss += wt * (double)w->loss[i * 3 + m];
        if (w->sh.classes)
            x.accuracy += best == (int)w->y[i] ? wt : 0;
        if (w->sh.out == OUT_VALUE)
            x.rmse += wt * pow((double)z[m] - (double)w->y[i], 2);
    }
    x.loss /= x.weight;
    x.accuracy /= x.weight;
    x.rmse = sqrt(x.rmse / x.weight);
    return x;
}

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-12 * (1 + fabs(b)));
}

static void sums_are_those_of_the_definition(void **state)
{
    static const enum out_kind kinds[] = {OUT_MARGIN, OUT_LOGITS, OUT_VALUE, OUT_LOSS_ONLY};
    struct world w;

    (void)state;
    for (int k = 0; k < 4; k++) {
        make(&w, kinds[k]);
        metrics_add(&w.ts, &w.sh, &w.r, &w.e);
        for (int m = 0; m < 3; m++)
            for (int held = 0; held < 2; held++) {
                struct metric x = metrics_read(&w.ts, &w.sh, (uint32_t)m, held);
                struct metric y = expected(&w, m, held ? 41 : 0, held ? ROWS : 41);

                assert_near(x.rows, y.rows);
                assert_near(x.weight, y.weight);
                assert_near(x.loss, y.loss);
                if (w.sh.classes)
                    assert_near(x.accuracy, y.accuracy);
                else
                    assert_true(isnan(x.accuracy));
                if (kinds[k] == OUT_VALUE)
                    assert_near(x.rmse, y.rmse);
                else
                    assert_true(isnan(x.rmse));
                assert_true(isnan(x.auc) == !(kinds[k] == OUT_MARGIN && held));
            }
        drop(&w);
    }
}

/* One row without a prediction takes the slow path: it must tell the same of the other rows. */
static void rows_without_a_prediction_are_counted_and_skipped(void **state)
{
    static const enum out_kind kinds[] = {OUT_MARGIN, OUT_LOGITS, OUT_VALUE, OUT_LOSS_ONLY};
    struct world w;

    (void)state;
    for (int k = 0; k < 4; k++) {
        struct metric all, some;
        float old;

        make(&w, kinds[k]);
        old = w.w[5];
        w.w[5] = 0;
        metrics_add(&w.ts, &w.sh, &w.r, &w.e);
        all = metrics_read(&w.ts, &w.sh, 1, false);
        tensors_zero(&w.ts);
        w.w[5] = old;
        w.loss[5 * 3 + 1] = LOSS_NONE;
        metrics_add(&w.ts, &w.sh, &w.r, &w.e);
        some = metrics_read(&w.ts, &w.sh, 1, false);
        assert_near(some.rows, all.rows - 1);
        assert_near(some.weight, all.weight);
        assert_near(some.loss, all.loss);
        if (w.sh.classes)
            assert_near(some.accuracy, all.accuracy);
        assert_true(w.ts.t[0].f64[1 * METRIC_N + METRIC_NONE] == 1);
        assert_true(w.ts.t[0].f64[0 * METRIC_N + METRIC_NONE] == 0);
        assert_near(metrics_read(&w.ts, &w.sh, 0, false).rows, 41);
        drop(&w);
    }
}

static void the_present_halves_every_sixteen_batches(void **state)
{
    struct world w;
    double first;

    (void)state;
    make(&w, OUT_VALUE);
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    first = w.ts.t[1].f64[METRIC_WEIGHT];
    w.r.n = w.r.train = 0; /* a batch that teaches nothing is no step of the clock */
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_true(w.ts.t[1].f64[METRIC_WEIGHT] == first);
    w.r.n = w.r.train = 1;
    w.w[0] = 0;
    for (int i = 0; i < 16; i++)
        metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_near(w.ts.t[1].f64[METRIC_WEIGHT], first / 2);
    drop(&w);
}

static void the_baseline_is_the_best_constant(void **state)
{
    const float labels[] = {1, 1, 1, 0}, weights[] = {1, 1, 2, 4}, values[] = {1, 2, 3, 4};
    struct world w;
    struct metric x;

    (void)state;
    make(&w, OUT_MARGIN);
    memcpy(w.y, labels, sizeof labels);
    memcpy(w.w, weights, sizeof weights);
    w.r.n = w.r.train = 4;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    x = metrics_read(&w.ts, &w.sh, 0, false);
    assert_near(x.baseline_loss, log(2));
    assert_near(x.baseline_accuracy, 0.5);
    assert_true(isnan(metrics_read(&w.ts, &w.sh, 0, true).baseline_loss));
    drop(&w);

    make(&w, OUT_VALUE);
    memcpy(w.y, values, sizeof values);
    for (int i = 0; i < 4; i++)
        w.w[i] = 1;
    w.r.n = 4, w.r.train = 0;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    x = metrics_read(&w.ts, &w.sh, 0, true);
    assert_near(x.baseline_loss, 1.25 / 2);
    assert_near(x.baseline_rmse, sqrt(1.25));
    drop(&w);

    make(&w, OUT_LOGITS);
    w.r.n = w.r.train = 4;
    for (int i = 0; i < 4; i++)
        w.w[i] = 1, w.y[i] = (float)i;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_near(metrics_read(&w.ts, &w.sh, 2, false).baseline_loss, log(4));
    drop(&w);
}

static void a_loss_that_labels_do_not_say_has_no_baseline(void **state)
{
    static const enum out_kind kinds[] = {OUT_MARGIN, OUT_LOGITS, OUT_VALUE};
    static const enum loss_kind losses[] = {LOSS_HINGE, LOSS_ONE_VS_REST, LOSS_ABSOLUTE};

    (void)state;
    for (int k = 0; k < 3; k++) {
        struct world w;
        struct metric x;

        make(&w, kinds[k]);
        w.sh.loss = losses[k];
        metrics_add(&w.ts, &w.sh, &w.r, &w.e);
        x = metrics_read(&w.ts, &w.sh, 1, true);
        assert_true(isnan(x.baseline_loss) == (kinds[k] == OUT_VALUE) && !isnan(x.loss));
        assert_true(isnan(x.baseline_accuracy) == (kinds[k] == OUT_VALUE));
        assert_true(isnan(x.baseline_rmse) == (kinds[k] != OUT_VALUE));
        drop(&w);
    }
}

static void several_targets_have_no_baseline(void **state)
{
    struct world w;

    (void)state;
    make(&w, OUT_VALUE);
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_true(metrics_read(&w.ts, &w.sh, 0, false).baseline_rmse > 0);
    w.sh.models = 1; /* of three targets: only the first one's labels are summed */
    assert_true(isnan(metrics_read(&w.ts, &w.sh, 0, false).baseline_loss));
    assert_true(isnan(metrics_read(&w.ts, &w.sh, 0, false).baseline_rmse));
    drop(&w);
}

static void auc_is_the_share_of_pairs_in_order(void **state)
{
    const float labels[] = {0, 1, 0, 1, 1}, z[] = {-3, -2, 0.5f, 0.5f, 40};
    struct world w;

    (void)state;
    make(&w, OUT_MARGIN);
    memcpy(w.y, labels, sizeof labels);
    for (int i = 0; i < 5; i++)
        w.w[i] = 1, w.z[i * 3] = z[i];
    w.r.n = 5, w.r.train = 0;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    /* pairs: -2 > -3, -2 < 0.5, 0.5 > -3, 0.5 = 0.5, 40 > both */
    assert_near(metrics_read(&w.ts, &w.sh, 0, true).auc, (1 + 0 + 1 + 0.5 + 2) / 6);
    drop(&w);
}

static void the_best_model_is_held_out_first_and_lowest_in_ties(void **state)
{
    struct world w;

    (void)state;
    make(&w, OUT_VALUE);
    assert_int_equal(metrics_best(&w.ts, &w.sh), 0);
    for (int i = 0; i < ROWS; i++) {
        w.loss[i * 3] = 3;
        w.loss[i * 3 + 1] = i < 41 ? 1 : 2;
        w.loss[i * 3 + 2] = i < 41 ? 2 : 1;
    }
    w.r.n = 41;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_int_equal(metrics_best(&w.ts, &w.sh), 1);
    w.r.n = ROWS;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_int_equal(metrics_best(&w.ts, &w.sh), 2);
    tensors_zero(&w.ts);
    for (int i = 0; i < ROWS; i++)
        w.loss[i * 3] = NAN, w.loss[i * 3 + 1] = w.loss[i * 3 + 2] = 1;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_int_equal(metrics_best(&w.ts, &w.sh), 1);
    drop(&w);
}

static void a_model_whose_loss_was_not_finite_has_diverged_for_good(void **state)
{
    struct world w;
    struct err e;

    (void)state;
    make(&w, OUT_VALUE);
    for (int i = 0; i < ROWS * 3; i++)
        w.loss[i] = (float)(i % 3 + 1);
    w.loss[3 * 5] = INFINITY;
    w.r.train = 10;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_true(metrics_has_diverged(&w.ts, 0) && !metrics_has_diverged(&w.ts, 1));
    assert_near(metrics_read(&w.ts, &w.sh, 0, false).loss, 1); /* of the rows that have one */
    assert_near(metrics_read(&w.ts, &w.sh, 0, false).rows, 9);
    w.loss[3 * 5] = 1;
    w.loss[3 * 20 + 1] = NAN; /* held out */
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_int_equal(metrics_diverged(&w.ts, &w.sh), 2);
    assert_int_equal(metrics_best(&w.ts, &w.sh), 2);
    assert_int_equal(metrics_alive(&w.ts, &w.sh, &e), ST_OK);
    w.loss[2] = NAN;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_int_equal(metrics_alive(&w.ts, &w.sh, &e), ST_FATAL);
    assert_non_null(strstr(e.text, "all 3 packed models diverged"));
    drop(&w);
}

static void only_what_the_output_has_is_declared(void **state)
{
    const struct algo unlabelled = {.name = "toy"};
    struct tdecl d[METRIC_DECLS];
    struct shape sh = {.models = 2, .out = OUT_NONE};

    (void)state;
    assert_int_equal(metrics_decls(d, 4, &labelled, &sh), 3);
    assert_int_equal(d[2].id, 6);
    sh.out = OUT_LOSS_ONLY;
    assert_int_equal(metrics_decls(d, 0, &unlabelled, &sh), 3);
    sh.out = OUT_LOGITS, sh.classes = 10;
    assert_int_equal(metrics_decls(d, 0, &labelled, &sh), 4);
    assert_int_equal(d[3].dim[1], 10);
    sh.out = OUT_MARGIN, sh.classes = 2;
    assert_int_equal(metrics_decls(d, 1, &labelled, &sh), 5);
    assert_int_equal(d[4].dim[2], METRIC_BINS);
    assert_int_equal(d[4].id, 5);
}

static void a_tie_predicts_the_lowest_class(void **state)
{
    struct world w;

    (void)state;
    make(&w, OUT_LOGITS);
    memset(w.z, 0, sizeof w.z);
    for (int i = 0; i < 4; i++)
        w.w[i] = 1, w.y[i] = (float)i;
    w.r.n = w.r.train = 4;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_near(metrics_read(&w.ts, &w.sh, 0, false).accuracy, 0.25);
    w.r.y = w.y + 1; /* classes 1, 2, 3: none is the lowest */
    w.r.n = w.r.train = 3;
    tensors_zero(&w.ts);
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_near(metrics_read(&w.ts, &w.sh, 0, false).accuracy, 0);
    drop(&w);

    make(&w, OUT_MARGIN);
    memset(w.z, 0, sizeof w.z);
    w.w[0] = 3, w.w[1] = 1, w.y[0] = 0, w.y[1] = 1;
    w.r.n = w.r.train = 2;
    metrics_add(&w.ts, &w.sh, &w.r, &w.e);
    assert_near(metrics_read(&w.ts, &w.sh, 0, false).accuracy, 0.75);
    drop(&w);
}

static void without_loss_only_rows_are_counted(void **state)
{
    struct metric x;
    struct world w;

    (void)state;
    make(&w, OUT_NONE);
    metrics_add(&w.ts, &w.sh, &w.r, &(struct eval){NULL, NULL});
    x = metrics_read(&w.ts, &w.sh, 0, false);
    assert_near(x.rows, 41);
    assert_true(isnan(x.loss) && isnan(x.accuracy) && isnan(x.baseline_loss));
    drop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_definition),
        cmocka_unit_test(rows_without_a_prediction_are_counted_and_skipped),
        cmocka_unit_test(the_present_halves_every_sixteen_batches),
        cmocka_unit_test(the_baseline_is_the_best_constant),
        cmocka_unit_test(a_loss_that_labels_do_not_say_has_no_baseline),
        cmocka_unit_test(several_targets_have_no_baseline),
        cmocka_unit_test(auc_is_the_share_of_pairs_in_order),
        cmocka_unit_test(the_best_model_is_held_out_first_and_lowest_in_ties),
        cmocka_unit_test(a_model_whose_loss_was_not_finite_has_diverged_for_good),
        cmocka_unit_test(only_what_the_output_has_is_declared),
        cmocka_unit_test(a_tie_predicts_the_lowest_class),
        cmocka_unit_test(without_loss_only_rows_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
