/* linear: what a half-life does to the sums of a state, to its steps and to the merge. */
#include "tests/unit/support_linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void pass(struct rig *k, struct tensors *s, const struct table *t, double decay,
                 double *loss)
{
    const uint32_t b = k->sh.batch_rows;
    float z[64], l[64];
    struct rows r;

    assert_true(b <= 32 && k->sh.models <= 2);
    if (loss)
        *loss = 0; /* mean of the last sixth */
    for (uint32_t at = 0; at + b <= t->n; at += b) {
        rig_rows(k, t, at, b, 0, &r);
        r.decay = decay;
        assert_int_equal(k->a->update(&k->x, s, &r, &(struct eval){z, l}), ST_OK);
        for (uint32_t i = 0; loss && at >= t->n / 6 * 5 && i < b; i++)
            *loss += (double)l[i * k->sh.models] / (t->n / 6);
    }
}

/* A fifth of the labels is wrong; the last sixth of the rows says the opposite. */
static struct table drifting(uint32_t n)
{
    struct table t = lin_table(n, 6, 0.9f, 1, 0, 2);

    for (uint32_t i = 0; i < n; i++)
        if ((lin_uniform() < 0.2f) != (i >= n / 6 * 5))
            t.y[i] = 1 - t.y[i];
    return t;
}

static void sparse_is_dense(uint32_t optimizer, double decay)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, optimizer, 0.2f), p = o;
    struct tensors a, b, va, vb, *la[] = {&a}, *lb[] = {&b};
    struct table all, t;
    struct rig k, kd;

    lin_seed = 21;
    all = lin_table(32 * 60, 12, 0.2f, 1, 0, 2);
    t = lin_densely(&all);
    o.standardize = p.standardize = LINEAR_FALSE;
    rig_open(&k, &algo_linear, "ref", lin_sparse(12, 32), &o);
    rig_open(&kd, &algo_linear, "ref", lin_dense(12, 32), &p);
    rig_state(&k, &a);
    rig_state(&kd, &b);
    pass(&k, &a, &all, decay, NULL);
    pass(&kd, &b, &t, decay, NULL);
    assert_true(lin_apart(&b.t[LIN_W], &a.t[LIN_W]) < 1e-4);
    assert_float_equal(a.t[LIN_WEIGHT].f64[0], b.t[LIN_WEIGHT].f64[0], 1e-9);
    rig_view(&k, la, 1, &va);
    rig_view(&kd, lb, 1, &vb);
    for (uint64_t j = 0; j < 12 && optimizer != LINEAR_SGD; j++)
        assert_true(fabs(va.t[VIEW_N].f64[j] / vb.t[VIEW_N].f64[j] - 1) < 1e-4);
    rig_free(&k, &a);
    rig_free(&kd, &b);
    rig_free(&k, &va);
    rig_free(&kd, &vb);
    rig_close(&k);
    rig_close(&kd);
    table_free(&all);
}

/* 0.5 and 0.01 a batch: 60 batches pass 2^32 once and twelve times. */
static void sparse_rows_forget_what_dense_ones_do(void **state)
{
    (void)state;
    for (uint32_t o = LINEAR_ADAGRAD; o <= LINEAR_SGD; o++) {
        sparse_is_dense(o, 0.98);
        sparse_is_dense(o, 0.5);
        sparse_is_dense(o, 0.01);
    }
}

/* A geometric series: 32 (1 + d + d^2 + ...). */
static void sums_are_of_recent_rows(struct rig *k, const struct table *t)
{
    struct tensors s, view, *list[] = {&s};
    const double d = 0.75, want = 32 / (1 - d) * (1 - pow(d, 12));

    rig_state(k, &s);
    pass(k, &s, t, d, NULL);
    assert_float_equal(s.t[LIN_WEIGHT].f64[0], want, 1e-9);
    rig_view(k, list, 1, &view);
    assert_float_equal(view.t[VIEW_WEIGHT].f64[0], want, 1e-9);
    if (t->ptr)
        assert_float_equal(view.t[VIEW_COUNT].f64[t->d], want, 1e-3);
    rig_free(k, &s);
    rig_free(k, &view);
}

static void a_half_life_bounds_what_the_past_weighs(void **state)
{
    (void)state;
    lin_each_form(sums_are_of_recent_rows, LINEAR_ADAGRAD);
    lin_each_form(sums_are_of_recent_rows, LINEAR_FTRL);
}

static void nothing_learned_is_nothing_forgotten(struct rig *k, const struct table *t)
{
    struct tensors a, b;
    struct rows r;

    rig_state(k, &a);
    pass(k, &a, t, 0.9, NULL);
    rig_copy(k, &b, &a);
    for (uint32_t i = 0; i < 32; i++)
        t->weight[i] = 0;
    rig_rows(k, t, 0, 32, 0, &r);
    r.decay = 0.5;
    assert_int_equal(k->a->update(&k->x, &b, &r, NULL), ST_OK);
    assert_memory_equal(a.base, b.base, a.bytes);
    rig_free(k, &a);
    rig_free(k, &b);
}

static void rows_without_weight_let_the_past_be(void **state)
{
    (void)state;
    lin_each_form(nothing_learned_is_nothing_forgotten, LINEAR_ADAGRAD);
}

static void steps_stay_long_where_the_label_drifts(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct linear_opts o = lin_options(LINEAR_LOGISTIC, i / 2, 0.2f);
        struct table all, t;
        struct tensors a, b;
        double ever, lately;
        struct rig k;

        lin_seed = 22;
        all = drifting(32 * 1200);
        t = i % 2 ? all : lin_densely(&all);
        o.standardize = LINEAR_FALSE;
        rig_open(&k, &algo_linear, "openblas", i % 2 ? lin_sparse(6, 32) : lin_dense(6, 32), &o);
        rig_state(&k, &a);
        rig_state(&k, &b);
        pass(&k, &a, &t, 1, &ever);
        pass(&k, &b, &t, exp2(-32 / 640.0), &lately);
        if (!(lately < 0.9 * ever))
            fail_msg("optimizer %u: loss %g with a half-life, %g without", i / 2, lately, ever);
        rig_free(&k, &a);
        rig_free(&k, &b);
        rig_close(&k);
        table_free(&all);
    }
}

/* Two slots learned the same rows; one of them long before 3,200 others. */
static void the_merge_weighs_what_was_seen_lately(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.1f);
    struct tensors a, b, view, *list[] = {&a, &b};
    struct table t;
    struct rig k;
    double w;

    (void)state;
    lin_seed = 23;
    t = lin_table(3200, 5, 1, 1, 0, 2);
    rig_open(&k, &algo_linear, "ref", lin_sparse(5, 32), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    pass(&k, &a, &t, 0.9, NULL);
    pass(&k, &b, &t, 0.9, NULL);
    for (uint32_t i = 0; i < t.n; i++) /* feature 4 is not seen again by a */
        t.ptr[i + 1] = 4 * (i + 1);
    for (uint32_t q = 0; q < 4 * t.n; q++)
        t.col[q] = q % 4;
    pass(&k, &a, &t, 0.9, NULL);
    a.t[LIN_W].f32[4] = 10;
    rig_view(&k, list, 2, &view);
    w = (double)b.t[LIN_W].f32[4];
    assert_true(fabs(view.t[VIEW_W].f64[4] - w) < 0.01); /* a's 10 counts 0.9^100 of b's */
    assert_true(a.t[LIN_COUNT].f32[4] > 0);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

/* What nobody has shown for hundreds of half-lives has a coefficient still. */
static void no_coefficient_is_forgotten(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_FTRL, 0.1f);
    struct tensors a, view, *list[] = {&a};
    struct table t;
    struct rig k;
    float w;

    (void)state;
    lin_seed = 24;
    t = lin_table(3200, 5, 1, 1, 0, 2);
    rig_open(&k, &algo_linear, "ref", lin_sparse(5, 32), &o);
    rig_state(&k, &a);
    pass(&k, &a, &t, 1, NULL);
    w = a.t[LIN_W].f32[4];
    for (uint32_t i = 0; i < t.n; i++)
        t.ptr[i + 1] = 4 * (i + 1);
    for (uint32_t q = 0; q < 4 * t.n; q++)
        t.col[q] = q % 4;
    pass(&k, &a, &t, 1e-3, NULL);
    rig_view(&k, list, 1, &view);
    assert_true(w != 0);
    assert_float_equal(view.t[VIEW_W].f64[4], w, 1e-6);
    rig_free(&k, &a);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

static void own_view(struct rig *k, const struct table *t)
{
    struct tensors a, b, view, *list[] = {&a};

    rig_state(k, &a);
    pass(k, &a, t, 0.8, NULL);
    rig_copy(k, &b, &a);
    rig_view(k, list, 1, &view);
    assert_int_equal(k->a->rebase(&k->x, &b, &view), ST_OK);
    for (uint32_t i = LIN_W; i <= LIN_SCALE; i++)
        assert_true(lin_apart(&a.t[i], &b.t[i]) < 1e-6);
    rig_free(k, &a);
    rig_free(k, &b);
    rig_free(k, &view);
}

static void going_on_from_the_own_view_changes_nothing(void **state)
{
    (void)state;
    lin_each_form(own_view, LINEAR_ADAGRAD);
    lin_each_form(own_view, LINEAR_FTRL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sparse_rows_forget_what_dense_ones_do),
        cmocka_unit_test(a_half_life_bounds_what_the_past_weighs),
        cmocka_unit_test(rows_without_weight_let_the_past_be),
        cmocka_unit_test(steps_stay_long_where_the_label_drifts),
        cmocka_unit_test(the_merge_weighs_what_was_seen_lately),
        cmocka_unit_test(no_coefficient_is_forgotten),
        cmocka_unit_test(going_on_from_the_own_view_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
