#include "tests/unit/support_pca.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* 0 <= S - B'B <= SHRUNK <= (all but the k greatest eigenvalues of S) / (L - k), for all k < L. */
static void bound_holds(const struct tensors *view, const struct table *t, uint32_t l)
{
    const uint32_t d = t->d;
    const double *row = view->t[SK_ROW].f64, *sum = view->t[SK_SUM].f64;
    double *value = calloc(d, sizeof *value), *error = calloc((size_t)d * d, sizeof *error);
    double tail = 0, tiny;
    struct pca_truth m = pca_truth(t);

    memcpy(error, m.sum, (size_t)d * d * sizeof *error);
    for (uint64_t i = 0; i < view->t[SK_HEAD].u64[0]; i++, row += d)
        for (uint32_t j = 0; j < d * d; j++)
            error[j] -= row[j / d] * row[j % d];
    pca_eigen(d, m.sum, value);
    tiny = 1e-10 * value[0];
    for (uint32_t j = 0; j < d; j++)
        tail += value[j];
    pca_near(sum[SUM_TOTAL], tail, 1e-9 * tail);
    pca_near(sum[SUM_WEIGHT], m.weight, 1e-9 * m.weight);
    assert_true(sum[SUM_SHRUNK] > 0);
    for (uint32_t k = 0; k < l; tail -= value[k++])
        assert_true(sum[SUM_SHRUNK] <= tail / (l - k) + tiny);
    pca_eigen(d, error, value);
    assert_true(value[d - 1] >= -tiny);
    assert_true(value[0] <= sum[SUM_SHRUNK] + tiny);
    for (uint32_t j = 0; j < d; j++)
        pca_near(view->t[SK_MEAN].f64[j], m.mean[j], 1e-9 * (1 + fabs(m.mean[j])));
    free(value);
    free(error);
    pca_truth_free(&m);
}

static void a_sketch_keeps_its_bound_in_one_slot_and_merged(void **state)
{
    static const double fall[] = {1, 0.9, 0.7};

    (void)state;
    pca_seed = 2;
    for (int i = 0; i < 3; i++)
        for (uint32_t slots = 1; slots <= 3; slots++) {
            struct pca_opts o = pca_sketch(10);
            struct table t = pca_table(1500, 30, fall[i], 100);
            struct tensors view;
            struct rig k;

            for (uint32_t q = 0; q < t.n; q++)
                t.x[(size_t)q * 30 + q * 3 / t.n] += 2;
            rig_open(&k, &algo_pca, "openblas", pca_shape(30, slots), &o);
            pca_view(&k, &t, slots, &view);
            bound_holds(&view, &t, 10);
            rig_free(&k, &view);
            rig_close(&k);
            table_free(&t);
        }
}

static void what_a_sketch_says_of_its_accuracy_is_true(void **state)
{
    struct pca_opts o = pca_sketch(12);
    struct table t;
    struct tensors view, model;
    struct measures m;
    struct pca_truth want;
    double along = 0, best = 0, total = 0, value[30];
    const float *c;
    struct rig k;

    (void)state;
    pca_seed = 3;
    t = pca_table(3000, 30, 0.85, 0);
    want = pca_truth(&t);
    rig_open(&k, &algo_pca, "openblas", pca_shape(30, 2), &o);
    pca_view(&k, &t, 2, &view);
    rig_model(&k, &view, &pca_plain, &model, &m);
    c = model.t[PM_COMPONENT].f32;
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t q = 0; q < 900; q++)
            along += (double)c[30 * i + q / 30] * want.sum[q] * (double)c[30 * i + q % 30];
    pca_eigen(30, want.sum, value);
    for (uint32_t i = 0; i < 30; i++)
        total += value[i];
    for (uint32_t i = 0; i < 6; i++) {
        best += value[i];
        assert_true(model.t[PM_VARIANCE].f64[i] * 2999 >= value[i] * (1 - 1e-9));
        assert_true(model.t[PM_VARIANCE].f64[i] * 2999 <=
                    value[i] + view.t[SK_SUM].f64[SUM_SHRUNK] * (1 + 1e-9));
    }
    assert_string_equal(m.m[1].name, "captured_at_least");
    assert_true(m.m[1].value * total <= along && along <= best * (1 + 1e-9));
    assert_true(along > 0.98 * best);
    pca_near(m.m[2].value, view.t[SK_SUM].f64[SUM_SHRUNK] / total, 1e-9);
    pca_truth_free(&want);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void what_was_shrunk_is_forgotten_too(void **state)
{
    struct pca_opts o = pca_sketch(6);
    struct tensors s;
    struct table t;
    struct rig k;

    (void)state;
    pca_seed = 8;
    t = pca_table(640, 20, 1, 0);
    rig_open(&k, &algo_pca, "openblas", pca_shape(20, 1), &o);
    rig_state(&k, &s);
    pca_learn(&k, &s, &t, 0.5);
    for (uint32_t i = 0; i < 640; i++)
        t.weight[i] = (float)pow(0.5, 19 - (double)(i / 32));
    for (int i = 0; i < SUM_N; i++)
        assert_true(s.t[SK_SUM].f64[i] > 0);
    pca_near(s.t[SK_SUM].f64[SUM_WEIGHT], 64, 0.01);
    bound_holds(&s, &t, 6);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* Rows that stand for 1e12 still take in 2,000 more, each of which float32 would round away. */
static void a_long_stream_does_not_stand_still(void **state)
{
    enum { OLD = 100, NEW = 2000 };
    struct pca_opts o = pca_sketch(4); /* of rows of 3 columns: nothing is lost by shrinking */
    struct table t, some;
    double squares[2], total[2];
    struct tensors s;
    struct rig k;

    (void)state;
    pca_seed = 9;
    some = t = pca_table(OLD + NEW, 3, 1, 0);
    for (uint32_t i = 0; i < OLD; i++)
        t.weight[i] = 1e10f;
    rig_open(&k, &algo_pca, "openblas", pca_shape(3, 1), &o);
    rig_state(&k, &s);
    for (int part = 0; part < 2; part++) {
        some.n = part ? NEW : OLD;
        some.x = t.x + (part ? OLD * 3 : 0);
        some.weight = t.weight + (part ? OLD : 0);
        pca_learn(&k, &s, &some, 1);
        squares[part] = 0;
        for (uint64_t i = 0; i < s.t[SK_ROW].n; i++)
            squares[part] += s.t[SK_ROW].f64[i] * s.t[SK_ROW].f64[i];
        total[part] = s.t[SK_SUM].f64[SUM_TOTAL];
    }
    assert_true(total[0] > 1e11 && total[1] - total[0] > 1000);
    pca_near((squares[1] - squares[0]) / (total[1] - total[0]), 1, 0.01);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sketch_keeps_its_bound_in_one_slot_and_merged),
        cmocka_unit_test(what_a_sketch_says_of_its_accuracy_is_true),
        cmocka_unit_test(what_was_shrunk_is_forgotten_too),
        cmocka_unit_test(a_long_stream_does_not_stand_still),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
