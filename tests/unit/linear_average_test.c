/* linear: with `average` the model is a mean over the stream. */
#include "tests/unit/support_linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { D = 5, Z = 2, BATCHES = 20 };

static struct linear_opts options(uint32_t optimizer)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, optimizer, 0.2f);

    o.learning_rate = (struct f32s){Z, {0.1f, 0.3f}};
    o.average = true;
    return o;
}

static void learn(struct rig *k, struct tensors *s, const struct table *t, uint32_t batch)
{
    struct rows r;

    rig_rows(k, t, batch * 32, 32, 0, &r);
    assert_int_equal(k->a->update(&k->x, s, &r, NULL), ST_OK);
}

/* Batch t counts as the polynomial says: the mean of 1 .. t moves by 4 / (t + 3) towards the last.
 */
static void late_batches_count_most(void **state)
{
    double mean[(D + 1) * Z];

    (void)state;
    for (uint32_t optimizer = LINEAR_ADAGRAD; optimizer <= LINEAR_SGD; optimizer++) {
        struct linear_opts o = options(optimizer);
        struct table all, t;
        struct tensors s;
        struct rig k;

        memset(mean, 0, sizeof mean);
        lin_seed = 31;
        all = lin_table(32 * BATCHES, D, 1, 1, 0, 2);
        t = lin_densely(&all);
        rig_open(&k, &algo_linear, "ref", lin_dense(D, 32), &o);
        rig_state(&k, &s);
        for (uint32_t b = 0; b < BATCHES; b++) {
            learn(&k, &s, &t, b);
            for (uint32_t i = 0; i < (D + 1) * Z; i++) {
                mean[i] += 4.0 / (b + 4) * ((double)s.t[LIN_W].f32[i] - mean[i]);
                assert_true(fabs(mean[i] - (double)s.t[LIN_MEAN].f32[i]) < 1e-5);
            }
        }
        rig_free(&k, &s);
        rig_close(&k);
        table_free(&all);
    }
}

/* Two slots of 3 and 1 parts of the rows, in units of their own. */
static void the_model_is_the_mean_of_the_slots_means(void **state)
{
    struct linear_opts o = options(LINEAR_ADAGRAD);
    struct linear_derive which = {2};
    struct tensors a, b, view, model, *list[] = {&a, &b};
    struct table all, t;
    struct measures m;
    struct rig k;
    double bias;

    (void)state;
    lin_seed = 32;
    all = lin_table(32 * BATCHES, D, 1, 3, 7, 2);
    t = lin_densely(&all);
    rig_open(&k, &algo_linear, "ref", lin_dense(D, 32), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    for (uint32_t i = 0; i < BATCHES; i++)
        learn(&k, i % 4 ? &a : &b, &t, i);
    rig_view(&k, list, 2, &view);
    rig_model(&k, &view, &which, &model, &m);
    bias =
        0.75 * (double)a.t[LIN_MEAN].f32[D * Z + 1] + 0.25 * (double)b.t[LIN_MEAN].f32[D * Z + 1];
    for (uint32_t j = 0; j < D; j++) {
        double w = 0.75 * (double)a.t[LIN_MEAN].f32[j * Z + 1] +
                   0.25 * (double)b.t[LIN_MEAN].f32[j * Z + 1];

        w /= view.t[VIEW_SPREAD].f64[j];
        bias -= w * view.t[VIEW_SHIFT].f64[j];
        assert_true(fabs(w - (double)model.t[MODEL_W].f32[j]) < 1e-6);
    }
    assert_true(fabs(bias - (double)model.t[MODEL_W].f32[D]) < 1e-5);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&all);
}

/* A pull moves w, not the mean; a model to go on from is w, and the mean begins with it. */
static void pulls_and_starts_leave_the_mean_to_the_rows(void **state)
{
    struct linear_opts o = options(LINEAR_FTRL);
    struct linear_derive which = {1};
    struct tensors a, b, view, model, *list[] = {&a, &b};
    float mean[(D + 1) * Z];
    struct table all, t;
    struct rig k;

    (void)state;
    lin_seed = 33;
    all = lin_table(32 * BATCHES, D, 1, 1, 0, 2);
    t = lin_densely(&all);
    rig_open(&k, &algo_linear, "ref", lin_dense(D, 32), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    for (uint32_t i = 0; i + 1 < BATCHES; i++)
        learn(&k, i % 4 ? &a : &b, &t, i);
    memcpy(mean, a.t[LIN_MEAN].f32, sizeof mean);
    rig_view(&k, list, 2, &view);
    assert_int_equal(k.a->rebase(&k.x, &a, &view), ST_OK);
    assert_memory_equal(a.t[LIN_MEAN].f32, mean, sizeof mean);
    rig_model(&k, &view, &which, &model, NULL);
    rig_free(&k, &b);
    rig_state(&k, &b);
    assert_int_equal(k.a->start(&k.x, &model, 0, &b), ST_OK);
    learn(&k, &b, &t, BATCHES - 1);
    assert_memory_equal(b.t[LIN_MEAN].f32, b.t[LIN_W].f32, sizeof mean);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&all);
}

/* The noise of large steps is not in the mean: nearer to the truth than any last w. */
static void a_mean_is_without_the_noise_of_the_last_steps(void **state)
{
    struct linear_opts o = lin_options(LINEAR_SQUARED, LINEAR_SGD, 0.3f);
    struct table all, t;
    struct tensors s;
    struct rig k;
    double last = 0, mean = 0;

    (void)state;
    o.average = true;
    o.standardize = LINEAR_FALSE;
    lin_seed = 34;
    all = lin_table(32 * 500, D, 1, 1, 0, 2);
    t = lin_densely(&all);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = t.x[i * D] - t.x[i * D + 1] + 2 + 4 * (lin_uniform() - 0.5f);
    rig_open(&k, &algo_linear, "openblas", lin_dense(D, 32), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    for (uint32_t j = 0; j <= D; j++) {
        const double truth[] = {1, -1, 0, 0, 0, 2};

        last += pow((double)s.t[LIN_W].f32[j] - truth[j], 2);
        mean += pow((double)s.t[LIN_MEAN].f32[j] - truth[j], 2);
    }
    if (!(mean < last / 4))
        fail_msg("squared distance %g of the mean, %g of the last", mean, last);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&all);
}

static void a_model_that_diverged_begins_its_mean_anew(void **state)
{
    struct linear_opts o = options(LINEAR_SGD);
    struct table all, t;
    struct tensors s;
    struct rig k;

    (void)state;
    lin_seed = 35;
    all = lin_table(32 * 4, D, 1, 1, 0, 2);
    t = lin_densely(&all);
    rig_open(&k, &algo_linear, "ref", lin_dense(D, 32), &o);
    rig_state(&k, &s);
    for (uint32_t b = 0; b < 3; b++)
        learn(&k, &s, &t, b);
    s.t[LIN_W].f32[1] = INFINITY;
    learn(&k, &s, &t, 3); /* the last of its block */
    for (uint32_t i = 0; i < (D + 1) * Z; i++) {
        assert_true(isfinite(s.t[LIN_MEAN].f32[i]));
        assert_true((i % Z == 1) == (s.t[LIN_MEAN].f32[i] == 0));
    }
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&all);
}

static void sparse_rows_have_no_mean(void **state)
{
    struct linear_opts o = options(LINEAR_SGD);
    struct shape sh = lin_sparse(D, 32);
    struct err e = {""};

    (void)state;
    assert_int_equal(algo_linear.check(&sh, &o, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "average: true needs dense rows"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_batches_count_most),
        cmocka_unit_test(the_model_is_the_mean_of_the_slots_means),
        cmocka_unit_test(pulls_and_starts_leave_the_mean_to_the_rows),
        cmocka_unit_test(a_mean_is_without_the_noise_of_the_last_steps),
        cmocka_unit_test(a_model_that_diverged_begins_its_mean_anew),
        cmocka_unit_test(sparse_rows_have_no_mean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
