#include "algos/linear.h"
#include "tests/unit/support_linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void learn(struct rig *k, struct tensors *s, const struct table *t, uint32_t from,
                  uint32_t n, uint32_t held, struct eval *e)
{
    struct rows r;

    rig_rows(k, t, from, n, held, &r);
    assert_int_equal(k->a->update(&k->x, s, &r, e), ST_OK);
}

static void same_bytes(const struct tensors *a, const struct tensors *b)
{
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->base, b->base, a->bytes);
}

/* ---- one step ---- */

/* By hand: w = 0, so z = 0, e = z - y = -y; g = X'e / B; w = -rate g. B is the job's batch, of
 * which these two rows are half. */
static void a_step_of_sgd_is_the_formula(void **state)
{
    float x[] = {1, 2, 3, 4}, y[] = {10, 20}, weight[] = {1, 0.5f};
    struct table t = {.n = 2, .d = 2, .x = x, .y = y, .weight = weight};
    struct linear_opts o = lin_options(LINEAR_SQUARED, LINEAR_SGD, 0.1f);
    struct tensors s;
    struct rig k;
    float z[2], loss[2];

    (void)state;
    o.standardize = LINEAR_FALSE;
    rig_open(&k, &algo_linear, "ref", lin_dense(2, 4), &o);
    rig_state(&k, &s);
    learn(&k, &s, &t, 0, 2, 0, &(struct eval){z, loss});
    assert_float_equal(z[1], 0, 0);
    assert_float_equal(loss[1], 200, 0); /* half the square */
    assert_float_equal(s.t[LIN_W].f32[0], 0.1f * (1 * 10 + 0.5f * 3 * 20) / 4, 1e-6);
    assert_float_equal(s.t[LIN_W].f32[1], 0.1f * (2 * 10 + 0.5f * 4 * 20) / 4, 1e-6);
    assert_float_equal(s.t[LIN_W].f32[2], 0.1f * (10 + 0.5f * 20) / 4, 1e-6);
    assert_true(s.t[LIN_WEIGHT].f64[0] == 1.5);
    rig_free(&k, &s);
    rig_close(&k);
}

static void z_and_loss_are_those_before_learning(void **state)
{
    struct linear_opts o = lin_options(LINEAR_SOFTMAX, LINEAR_ADAGRAD, 0.1f);
    struct table all, t;
    struct tensors s;
    struct rig k;
    float z[32 * 3], loss[32];

    (void)state;
    lin_seed = 1;
    all = lin_table(64, 5, 1, 1, 0, 3);
    t = lin_densely(&all);
    o.classes = 3;
    rig_open(&k, &algo_linear, "openblas", lin_dense(5, 32), &o);
    rig_state(&k, &s);
    learn(&k, &s, &t, 0, 32, 0, &(struct eval){z, loss});
    for (uint32_t i = 0; i < 32; i++) {
        assert_float_equal(z[3 * i + 2], 0, 0);
        assert_float_equal(loss[i], log(3), 1e-6);
    }
    learn(&k, &s, &t, 32, 32, 0, &(struct eval){z, loss});
    for (uint32_t i = 0; i < 32; i++) {
        const float *p = z + 3 * i;
        double lse = log(exp(p[0]) + exp(p[1]) + exp(p[2]));

        assert_float_equal(loss[i], (float)(lse - (double)p[(int)t.y[32 + i]]), 1e-5);
    }
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&all);
}

static void packed_models_are_the_grid_and_learn_as_if_alone(void **state)
{
    struct linear_opts pack = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.1f), one = pack;
    struct table all, t;
    struct tensors s, alone;
    struct rig k, k1;

    (void)state;
    lin_seed = 2;
    all = lin_table(256, 6, 1, 1, 0, 2);
    t = lin_densely(&all);
    pack.learning_rate = (struct f32s){2, {0.1f, 0.3f}};
    pack.l1 = (struct f32s){2, {0, 0.01f}};
    pack.l2 = (struct f32s){2, {0, 0.02f}};
    rig_open(&k, &algo_linear, "ref", lin_dense(6, 32), &pack);
    assert_int_equal(k.sh.models, 8);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    for (uint32_t m = 0; m < 8; m++) {
        struct linear_setting v = linear_setting(&pack, m);

        assert_true(v.rate == pack.learning_rate.v[m / 4]);
        assert_true(v.l1 == pack.l1.v[m / 2 % 2] && v.l2 == pack.l2.v[m % 2]);
        one = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, v.rate);
        one.l1.v[0] = v.l1;
        one.l2.v[0] = v.l2;
        rig_open(&k1, &algo_linear, "ref", lin_dense(6, 32), &one);
        rig_state(&k1, &alone);
        rig_pass(&k1, &alone, &t, 0, NULL);
        for (uint32_t j = 0; j <= 6; j++)
            assert_float_equal(s.t[LIN_W].f32[j * 8 + m], alone.t[LIN_W].f32[j], 2e-6);
        rig_free(&k1, &alone);
        rig_close(&k1);
    }
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&all);
}

/* ---- rows that count for nothing, twice, or not yet ---- */

static void weight_two(struct rig *k, const struct table *t)
{
    struct table twice = table_deal(t, 0, 1);
    struct tensors a, b;

    rig_state(k, &a);
    rig_state(k, &b);
    /* rows 0..8 and row 8 again, against row 8 with weight 2 */
    if (t->ptr) {
        uint32_t nnz = t->ptr[9] - t->ptr[8];

        memcpy(twice.col + t->ptr[9], t->col + t->ptr[8], nnz * sizeof *t->col);
        memcpy(twice.val + t->ptr[9], t->val + t->ptr[8], nnz * sizeof *t->val);
        twice.ptr[10] = t->ptr[9] + nnz;
    } else {
        memcpy(twice.x + (size_t)9 * t->d, t->x + (size_t)8 * t->d, t->d * sizeof *t->x);
    }
    twice.y[9] = t->y[8];
    learn(k, &a, &twice, 0, 10, 0, NULL);
    t->weight[8] = 2;
    learn(k, &b, t, 0, 9, 0, NULL);
    t->weight[8] = 1;
    for (uint32_t i = LIN_W; i <= LIN_SCALE; i++)
        assert_true(lin_apart(&a.t[i], &b.t[i]) < 1e-6);
    assert_true(a.t[LIN_WEIGHT].f64[0] == b.t[LIN_WEIGHT].f64[0]);
    rig_free(k, &a);
    rig_free(k, &b);
    table_free(&twice);
}

static void a_row_of_weight_two_is_the_row_twice(void **state)
{
    (void)state;
    lin_each_form(weight_two, LINEAR_ADAGRAD);
    lin_each_form(weight_two, LINEAR_FTRL);
    lin_each_form(weight_two, LINEAR_SGD);
}

static void held_out(struct rig *k, const struct table *t)
{
    struct tensors a, b;
    float z[32 * 2], loss[32 * 2];

    rig_state(k, &a);
    learn(k, &a, t, 0, 32, 0, NULL);
    rig_copy(k, &b, &a);
    learn(k, &b, t, 32, 32, 32, &(struct eval){z, loss}); /* only held-out rows */
    same_bytes(&a, &b);
    for (uint32_t i = 0; i < 10; i++)
        t->weight[64 + i] = 0;
    learn(k, &b, t, 64, 10, 0, NULL); /* only rows without weight */
    same_bytes(&a, &b);
    learn(k, &b, t, 0, 0, 0, NULL);
    same_bytes(&a, &b);
    for (uint32_t i = 0; i < 10; i++)
        t->weight[64 + i] = 1;
    /* a tail of held-out rows: their columns stay as they are, whatever l1 and l2 pull at */
    learn(k, &a, t, 96, 2, 0, NULL);
    learn(k, &b, t, 96, 32, 30, NULL);
    for (uint32_t i = LIN_W; i <= LIN_SCALE; i++)
        assert_true(lin_apart(&a.t[i], &b.t[i]) < 1e-6);
    for (uint64_t j = 0; t->ptr && j < t->d; j++)
        if (a.t[LIN_COUNT].f32[j] == 0)
            assert_true(b.t[LIN_W].f32[2 * j] == 0);
    rig_free(k, &a);
    rig_free(k, &b);
}

static void rows_held_out_or_without_weight_change_nothing(void **state)
{
    (void)state;
    lin_each_form(held_out, LINEAR_ADAGRAD);
    lin_each_form(held_out, LINEAR_FTRL);
    lin_each_form(held_out, LINEAR_SGD);
}

static void asked_or_not(struct rig *k, const struct table *t)
{
    struct tensors a, b;
    double loss[2];

    rig_state(k, &a);
    rig_state(k, &b);
    rig_pass(k, &a, t, 0, NULL);
    memset(k->work.base, 0x55, k->work.bytes);
    rig_pass(k, &b, t, 0, loss);
    same_bytes(&a, &b);
    rig_free(k, &a);
    rig_free(k, &b);
}

static void asking_for_the_loss_does_not_change_the_state(void **state)
{
    (void)state;
    lin_each_form(asked_or_not, LINEAR_ADAGRAD);
    lin_each_form(asked_or_not, LINEAR_FTRL);
    lin_each_form(asked_or_not, LINEAR_SGD);
}

static void sparse_rows_learn_what_dense_ones_do(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.1f), p = o;
    struct table all, t;
    struct tensors a, b;
    struct rig k, kd;

    (void)state;
    lin_seed = 4;
    all = lin_table(400, 12, 0.3f, 1, 0, 2);
    t = lin_densely(&all);
    p.standardize = LINEAR_FALSE;
    rig_open(&k, &algo_linear, "ref", lin_sparse(12, 32), &o);
    rig_open(&kd, &algo_linear, "ref", lin_dense(12, 32), &p);
    rig_state(&k, &a);
    rig_state(&kd, &b);
    rig_pass(&k, &a, &all, 0, NULL);
    rig_pass(&kd, &b, &t, 0, NULL);
    assert_true(lin_apart(&b.t[LIN_W], &a.t[LIN_W]) < 1e-6);
    assert_true(lin_apart(&b.t[LIN_N], &a.t[LIN_N]) < 1e-6);
    assert_true(a.t[LIN_COUNT].f32[12] == 400);
    rig_free(&k, &a);
    rig_free(&kd, &b);
    rig_close(&k);
    rig_close(&kd);
    table_free(&all);
}

/* ---- units ---- */

static void the_unit_of_the_input_does_not_matter(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.5f), p = o;
    struct table plain, odd, t, u;
    struct tensors a, b;
    struct rig k, k2;
    double loss, other;

    (void)state;
    lin_seed = 5;
    plain = lin_table(4000, 4, 1, 1, 0, 2);
    lin_seed = 5;
    odd = lin_table(4000, 4, 1, 1e-3f, 4, 2);
    t = lin_densely(&plain);
    u = lin_densely(&odd);
    rig_open(&k, &algo_linear, "openblas", lin_dense(4, 32), &o);
    rig_open(&k2, &algo_linear, "openblas", lin_dense(4, 32), &p);
    rig_state(&k, &a);
    rig_state(&k2, &b);
    rig_pass(&k, &a, &t, 0, &loss);
    rig_pass(&k2, &b, &u, 0, &other);
    assert_true(loss < 0.3); /* no skill is 0.69 */
    assert_float_equal(loss, other, 1e-3);
    rig_free(&k, &a);
    rig_free(&k2, &b);
    rig_close(&k);
    rig_close(&k2);
    table_free(&plain);
    table_free(&odd);
}

static void a_constant_column_and_a_late_one_do_no_harm(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.5f);
    struct table all, t;
    struct tensors s;
    struct rig k;
    double loss;

    (void)state;
    lin_seed = 6;
    all = lin_table(8000, 6, 1, 100, 0, 2);
    t = lin_densely(&all);
    for (uint32_t i = 0; i < t.n; i++) {
        t.x[6 * i + 4] = 2024;
        t.x[6 * i + 5] = i < 6000 ? 0 : 100 * (2 * lin_uniform() - 1); /* after the warm-up */
    }
    rig_open(&k, &algo_linear, "openblas", lin_dense(6, 32), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, &loss);
    assert_true(s.t[LIN_WARM].f64[WARM_SEEN] == 4096);
    assert_true(loss < 0.15);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&all);
}

static void no_value_of_the_warm_up_is_far_from_the_mean(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.1f);
    struct table all, t;
    struct tensors s;
    struct rig k;

    (void)state;
    lin_seed = 9;
    all = lin_table(640, 4, 1, 1, 0, 2);
    t = lin_densely(&all);
    for (uint32_t i = 0; i < t.n; i++)
        t.x[4 * i + 3] = i == 70 ? 1.0f : 0.0f; /* once: 25 standard deviations off */
    rig_open(&k, &algo_linear, "openblas", lin_dense(4, 32), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    assert_float_equal((1 - s.t[LIN_SHIFT].f32[3]) * s.t[LIN_SCALE].f32[3], 5, 1e-3);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&all);
}

/* ---- merging ---- */

/* Two slots of equal weight, means 0 and 8: the common mean is 4, the common variance gains 4^2. */
static void the_view_pools_the_units_of_its_slots(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.1f);
    struct tensors a, b, view, *list[] = {&a, &b};
    struct table all, t;
    struct rig k;
    double spread;

    (void)state;
    lin_seed = 10;
    all = lin_table(320, 3, 1, 1, 0, 2);
    t = lin_densely(&all);
    rig_open(&k, &algo_linear, "openblas", lin_dense(3, 32), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    rig_pass(&k, &a, &t, 0, NULL);
    for (uint32_t i = 0; i < t.n * t.d; i++)
        t.x[i] += 8;
    rig_pass(&k, &b, &t, 1, NULL);
    rig_view(&k, list, 2, &view);
    for (uint32_t j = 0; j < 3; j++) {
        spread = 1 / (double)a.t[LIN_SCALE].f32[j];
        assert_float_equal(view.t[VIEW_SHIFT].f64[j], (double)a.t[LIN_SHIFT].f32[j] + 4, 1e-5);
        assert_float_equal(view.t[VIEW_SPREAD].f64[j], sqrt(spread * spread + 16), 1e-5);
    }
    assert_int_equal(k.a->rebase(&k.x, &a, &view), ST_OK);
    assert_int_equal(k.a->rebase(&k.x, &b, &view), ST_OK);
    assert_true(lin_apart(&a.t[LIN_W], &b.t[LIN_W]) == 0);
    assert_true(lin_apart(&a.t[LIN_SCALE], &b.t[LIN_SCALE]) == 0);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&all);
}

static void own_view(struct rig *k, const struct table *t)
{
    struct tensors a, b, view, *list[] = {&a};

    rig_state(k, &a);
    rig_pass(k, &a, t, 0, NULL);
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
    lin_each_form(own_view, LINEAR_SGD);
}

static void no_view(struct rig *k, const struct table *t)
{
    struct tensors a, b, view, *list[] = {&a, &b};

    (void)t;
    rig_state(k, &a);
    rig_state(k, &b);
    rig_view(k, list, 2, &view);
    assert_int_equal(k->a->rebase(&k->x, &b, &view), ST_OK);
    same_bytes(&a, &b);
    rig_free(k, &a);
    rig_free(k, &b);
    rig_free(k, &view);
}

static void slots_that_learned_nothing_merge_to_the_start(void **state)
{
    (void)state;
    lin_each_form(no_view, LINEAR_ADAGRAD);
    lin_each_form(no_view, LINEAR_FTRL);
}

/* Margins of the first n rows by the model of these states' view. */
static void margins(struct rig *k, struct tensors *const *list, uint32_t slots,
                    const struct table *t, float *out)
{
    struct linear_derive d = {1};
    struct tensors view, model;
    struct measures m;

    rig_view(k, list, slots, &view);
    rig_model(k, &view, &d, &model, &m);
    assert_int_equal(m.model, 0);
    assert_int_equal(m.n, 3);
    rig_score(k, &model, t, out, 2);
    rig_free(k, &view);
    rig_free(k, &model);
}

/* 400 rows weigh four times 100; dense columns meet in standard units, with the pooled spread. */
static void averages(struct rig *k, const struct table *t)
{
    struct tensors a, b, view, *both[] = {&a, &b};
    struct table few = *t, all = *t;
    float *out = calloc(2u * t->n, sizeof *out);
    double bias;

    few.n = 100;
    rig_state(k, &a);
    rig_state(k, &b);
    rig_pass(k, &a, &all, 0, NULL);
    rig_pass(k, &b, &few, 1, NULL);
    rig_view(k, both, 2, &view);
    uint64_t z = a.t[LIN_W].d.dim[1], d = a.t[LIN_W].d.dim[0] - 1;

    bias = 0.8 * (double)a.t[LIN_W].f32[d * z] + 0.2 * (double)b.t[LIN_W].f32[d * z];
    for (uint64_t j = 0; j < d && !t->ptr; j++) {
        double want = 0.8 * (double)a.t[LIN_W].f32[j * z] + 0.2 * (double)b.t[LIN_W].f32[j * z];
        double v = view.t[VIEW_W].f64[j * z];

        assert_true(fabs(v * view.t[VIEW_SPREAD].f64[j] - want) < 1e-6);
        bias -= v * view.t[VIEW_SHIFT].f64[j];
    }
    if (!t->ptr)
        assert_true(fabs(view.t[VIEW_W].f64[d * z] - bias) < 1e-6);
    margins(k, both, 2, t, out);
    for (uint32_t i = 0; i < t->n; i++)
        assert_float_equal(out[2 * i + 1], (float)(1 / (1 + exp(-(double)out[2 * i]))), 1e-6);
    rig_free(k, &view);
    rig_free(k, &a);
    rig_free(k, &b);
    free(out);
}

static void the_view_is_the_mean_by_rows_learned(void **state)
{
    (void)state;
    lin_each_form(averages, LINEAR_ADAGRAD);
    lin_each_form(averages, LINEAR_FTRL);
}

static void a_feature_that_one_slot_knows_keeps_its_coefficient(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.1f);
    struct tensors a, b, view, *list[] = {&a, &b};
    struct table all, rest;
    struct rig k;
    float w;

    (void)state;
    lin_seed = 7;
    all = lin_table(200, 5, 1, 1, 0, 2);
    rest = lin_table(200, 5, 1, 1, 0, 2);
    for (uint32_t q = 0; q < rest.ptr[200]; q++)
        if (rest.col[q] == 4)
            rest.col[q] = 3, rest.col[q - 1] = 2, rest.col[q - 2] = 1, rest.col[q - 3] = 0;
    for (uint32_t i = 0; i < 200; i++) { /* five entries a row became 0 0 1 2 3: drop the first */
        uint32_t q = rest.ptr[i];

        memmove(rest.col + 4 * i, rest.col + q + 1, 4 * sizeof *rest.col);
        memmove(rest.val + 4 * i, rest.val + q + 1, 4 * sizeof *rest.val);
    }
    for (uint32_t i = 0; i <= 200; i++)
        rest.ptr[i] = 4 * i;
    rig_open(&k, &algo_linear, "ref", lin_sparse(5, 32), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    rig_pass(&k, &a, &all, 0, NULL);
    rig_pass(&k, &b, &rest, 1, NULL);
    w = a.t[LIN_W].f32[4];
    assert_true(w != 0 && b.t[LIN_W].f32[4] == 0);
    rig_view(&k, list, 2, &view);
    assert_float_equal(view.t[VIEW_W].f64[4], w, 1e-7);
    assert_int_equal(k.a->rebase(&k.x, &b, &view), ST_OK);
    assert_float_equal(b.t[LIN_W].f32[4], w, 1e-7);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&all);
    table_free(&rest);
}

static void a_newcomer_goes_on_from_the_common_model(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.1f);
    struct tensors a, b, view, *list[] = {&a, &b};
    struct table all, t, next;
    struct rig k;
    double loss, first;

    (void)state;
    lin_seed = 8;
    all = lin_table(6000, 8, 1, 50, 1000, 2);
    t = next = lin_densely(&all);
    t.n = 5000;
    next.n = 1000;
    next.x += (size_t)5000 * 8;
    next.y += 5000;
    rig_open(&k, &algo_linear, "openblas", lin_dense(8, 32), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    rig_pass(&k, &a, &t, 0, &loss);
    rig_view(&k, list, 2, &view);
    assert_int_equal(k.a->rebase(&k.x, &b, &view), ST_OK);
    rig_pass(&k, &b, &next, 1, &first);
    assert_true(first < loss);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&all);
}

/* ---- refusals ---- */

static void refused(struct shape sh, struct linear_opts o, const char *why)
{
    struct err e = {""};

    assert_int_equal(algo_linear.check(&sh, &o, &e), ST_BAD_CONFIG);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
}

static void options_that_contradict_each_other_are_refused(void **state)
{
    struct linear_opts o = lin_options(LINEAR_SOFTMAX, LINEAR_ADAGRAD, 0.1f), p = o;
    struct shape sh = lin_dense(4, 0);

    (void)state;
    refused(sh, o, "set classes");
    o.classes = 3;
    sh.classes = 4;
    refused(sh, o, "softmax wants 3 classes, the input's label has 4");
    sh.classes = 0;
    sh.ny = 0;
    refused(sh, o, "one label");
    sh.ny = 1;
    sh.d[0] = 0;
    refused(sh, o, "features");
    sh.d[0] = 4;
    o.loss = LINEAR_LOGISTIC;
    refused(sh, o, "logistic has 2 classes, not 3");
    o.loss = LINEAR_SQUARED;
    refused(sh, o, "learns a number");
    p.classes = 3;
    p.learning_rate.n = p.l1.n = 9;
    refused(sh, p, "9 learning rates x 9 l1 x 1 l2 are 81 packed models");
    p.l1.n = 1;
    refused(sh, p, "packed model 2: learning_rate 0 must be positive");
    p.learning_rate.n = 1;
    p.standardize = LINEAR_TRUE;
    refused(lin_sparse(4, 32), p, "needs dense rows");
}

static void auto_is_resolved(void **state)
{
    struct linear_opts o = lin_options(LINEAR_SOFTMAX, LINEAR_ADAGRAD, 0.1f);
    struct shape sh = lin_dense(4, 0);
    struct err e;

    (void)state;
    sh.classes = 7;
    assert_int_equal(algo_linear.check(&sh, &o, &e), ST_OK);
    assert_int_equal(o.classes, 7);
    assert_int_equal(o.batch, 32);
    assert_int_equal(sh.batch_rows, 32);
    assert_int_equal(o.standardize, LINEAR_TRUE);
    assert_int_equal(sh.zcols, 7);
    assert_int_equal(sh.out, OUT_LOGITS);
    assert_int_equal(algo_linear.check(&sh, &o, &e), ST_OK); /* and may be checked again */
}

static void a_label_that_is_no_class_is_refused(void **state)
{
    static const float bad[] = {3, -1, 0.5f, NAN};
    struct linear_opts o = lin_options(LINEAR_SOFTMAX, LINEAR_ADAGRAD, 0.1f);
    struct table all, t;
    struct tensors s;
    struct rows r;
    struct rig k;

    (void)state;
    o.classes = 3;
    all = lin_table(8, 4, 1, 1, 0, 3);
    t = lin_densely(&all);
    rig_open(&k, &algo_linear, "ref", lin_dense(4, 8), &o);
    rig_state(&k, &s);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        t.y[7] = bad[i];
        rig_rows(&k, &t, 0, 8, 1, &r);
        assert_int_equal(k.a->update(&k.x, &s, &r, NULL), ST_BAD_INPUT);
        assert_non_null(strstr(k.err.text, "row 7 is not a class, 0..2"));
    }
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&all);
}

/* ---- real data ---- */

static double accuracy(struct rig *k, struct tensors *const *list, uint32_t slots,
                       const struct table *test, double *log_loss)
{
    const uint32_t width = k->sh.out == OUT_MARGIN ? 2 : 1 + k->sh.classes;
    float *out = calloc((size_t)test->n * width, sizeof *out);
    struct linear_derive d = {1};
    struct tensors view, model;
    double hits = 0, sum = 0;

    rig_view(k, list, slots, &view);
    rig_model(k, &view, &d, &model, NULL);
    rig_score(k, &model, test, out, width);
    for (uint32_t i = 0; i < test->n; i++) {
        const float *o = out + (size_t)i * width;
        bool one = test->y[i] > 0;

        hits += width == 2 ? (o[0] > 0) == one : o[0] == test->y[i];
        sum -= log(width > 2 ? (double)o[1 + (int)test->y[i]]
                   : one     ? (double)o[1]
                             : 1 - (double)o[1]);
    }
    rig_free(k, &view);
    rig_free(k, &model);
    free(out);
    *log_loss = sum / test->n;
    return hits / test->n;
}

/* Trains `parts` partitions of the table apart, merges them at the end. */
static double train(struct rig *k, const struct table *t, const struct table *test, uint32_t parts,
                    double *log_loss)
{
    struct tensors s[4], *list[4];
    double acc;

    for (uint32_t p = 0; p < parts; p++) {
        struct table part = table_deal(t, p, parts);

        list[p] = &s[p];
        rig_state(k, &s[p]);
        rig_pass(k, &s[p], &part, p, NULL);
        table_free(&part);
    }
    acc = accuracy(k, list, parts, test, log_loss);
    for (uint32_t p = 0; p < parts; p++)
        rig_free(k, &s[p]);
    print_message("%u partition(s): accuracy %.4f, log-loss %.4f\n", parts, acc, *log_loss);
    return acc;
}

static void a9a_reaches_the_batch_optimum_in_one_pass(void **state)
{
    struct linear_opts o = lin_options(LINEAR_LOGISTIC, LINEAR_ADAGRAD, 0.05f);
    struct shape sh = {.slots = 4, .d = {123}, .nnz = {32 * 14}, .ny = 1};
    struct table t, test;
    struct rig k;
    double loss;

    (void)state;
    if (!load_a9a(&t, &test)) {
        print_message("skipped: no a9a in $MILLRACE_DATA or ../shared/data\n");
        skip();
    }
    rig_open(&k, &algo_linear, "openblas", sh, &o);
    assert_true(train(&k, &t, &test, 1, &loss) >= 0.848); /* liblinear, to convergence: 0.8495 */
    assert_true(loss < 0.328);
    assert_true(train(&k, &t, &test, 4, &loss) >= 0.843);
    rig_close(&k);
    table_free(&t);
    table_free(&test);
}

static void fashion_mnist_is_learned_in_one_pass(void **state)
{
    struct linear_opts o = lin_options(LINEAR_SOFTMAX, LINEAR_ADAGRAD, 0.05f);
    struct shape sh = {.slots = 4, .d = {784}, .ny = 1};
    struct table t, test;
    struct rig k;
    double loss;

    (void)state;
    if (!load_fashion(&t, &test)) {
        print_message("skipped: no Debian package dataset-fashion-mnist\n");
        skip();
    }
    o.classes = 10;
    rig_open(&k, &algo_linear, "openblas", sh, &o);
    assert_true(train(&k, &t, &test, 1, &loss) >= 0.830);
    assert_true(train(&k, &t, &test, 4, &loss) >= 0.830);
    rig_close(&k);
    table_free(&t);
    table_free(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_of_sgd_is_the_formula),
        cmocka_unit_test(z_and_loss_are_those_before_learning),
        cmocka_unit_test(packed_models_are_the_grid_and_learn_as_if_alone),
        cmocka_unit_test(a_row_of_weight_two_is_the_row_twice),
        cmocka_unit_test(rows_held_out_or_without_weight_change_nothing),
        cmocka_unit_test(asking_for_the_loss_does_not_change_the_state),
        cmocka_unit_test(sparse_rows_learn_what_dense_ones_do),
        cmocka_unit_test(the_unit_of_the_input_does_not_matter),
        cmocka_unit_test(a_constant_column_and_a_late_one_do_no_harm),
        cmocka_unit_test(no_value_of_the_warm_up_is_far_from_the_mean),
        cmocka_unit_test(the_view_pools_the_units_of_its_slots),
        cmocka_unit_test(going_on_from_the_own_view_changes_nothing),
        cmocka_unit_test(slots_that_learned_nothing_merge_to_the_start),
        cmocka_unit_test(the_view_is_the_mean_by_rows_learned),
        cmocka_unit_test(a_feature_that_one_slot_knows_keeps_its_coefficient),
        cmocka_unit_test(a_newcomer_goes_on_from_the_common_model),
        cmocka_unit_test(options_that_contradict_each_other_are_refused),
        cmocka_unit_test(auto_is_resolved),
        cmocka_unit_test(a_label_that_is_no_class_is_refused),
        cmocka_unit_test(a9a_reaches_the_batch_optimum_in_one_pass),
        cmocka_unit_test(fashion_mnist_is_learned_in_one_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
