#include "tests/unit/support_pca.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- models ---- */

/* A tilted ellipse: variances n / (n - 1) a^2 / 2 along its axes, whatever its centre. */
static void the_axes_of_an_ellipse_are_found(void **state)
{
    enum { N = 720 };
    const double a = 5, b = 2, tilt = 0.5;
    struct pca_opts o[2] = {{.method = PCA_EXACT, .components = 2}, pca_sketch(4)};
    struct table t = {.n = N, .d = 2};

    (void)state;
    t.x = calloc(2 * N, sizeof *t.x);
    t.weight = calloc(N, sizeof *t.weight);
    for (int method = 0; method < 2; method++)
        for (int far = 0; far < 2; far++) {
            const double cx = far ? 1000 : 0, cy = far ? -500 : 0;
            float out[2 * N];
            struct tensors view, model;
            struct measures m;
            struct rig k;

            for (int i = 0; i < N; i++) {
                double u = a * cos(i * M_PI * 2 / N), v = b * sin(i * M_PI * 2 / N);

                t.x[2 * i] = (float)(cx + u * cos(tilt) - v * sin(tilt));
                t.x[2 * i + 1] = (float)(cy + u * sin(tilt) + v * cos(tilt));
                t.weight[i] = 1;
            }
            rig_open(&k, &algo_pca, "openblas", pca_shape(2, 1), &o[method]);
            pca_view(&k, &t, 1, &view);
            rig_model(&k, &view, &pca_plain, &model, &m);
            pca_near(model.t[PM_VARIANCE].f64[0], a * a / 2 * N / (N - 1), 1e-4);
            pca_near(model.t[PM_VARIANCE].f64[1], b * b / 2 * N / (N - 1), 1e-4);
            pca_near(m.m[0].value, 1, 1e-9);
            pca_near((double)model.t[PM_COMPONENT].f32[0], cos(tilt), 1e-5);
            pca_near((double)model.t[PM_COMPONENT].f32[1], sin(tilt), 1e-5);
            pca_near((double)model.t[PM_COMPONENT].f32[2], -sin(tilt), 1e-5);
            pca_near((double)model.t[PM_COMPONENT].f32[3], cos(tilt), 1e-5);
            pca_near((double)model.t[PM_MEAN].f32[0], cx, 1e-4);
            rig_score(&k, &model, &t, out, 2);
            pca_near((double)out[0], a, 1e-3); /* the first row is the end of the long axis */
            pca_near((double)out[2 * (N / 4) + 1], b, 1e-3);
            rig_free(&k, &view);
            rig_free(&k, &model);
            rig_close(&k);
        }
    table_free(&t);
}

/* A model of all columns: variances are eigenvalues, components eigenvectors, of the truth. */
static void is_all_of(const struct tensors *model, const struct table *t, double tolerance)
{
    struct pca_truth m = pca_truth(t);
    double *value = calloc(t->d, sizeof *value);

    pca_eigen(t->d, m.sum, value);
    for (uint32_t i = 0; i < t->d; i++)
        pca_near(model->t[PM_VARIANCE].f64[i] * (m.weight - 1), value[i], tolerance * value[0]);
    for (uint32_t i = 0; i < t->d; i++)
        pca_near((double)model->t[PM_MEAN].f32[i], m.mean[i], 1e-6 * (1 + fabs(m.mean[i])));
    for (uint32_t i = 0; i < 2 * t->d; i++)
        pca_near((double)model->t[PM_COMPONENT].f32[i], m.sum[i], 1e-6);
    free(value);
    pca_truth_free(&m);
}

static void a_sketch_wider_than_its_rows_is_exact_and_so_is_its_merge(void **state)
{
    struct pca_opts o[2] = {
        {.method = PCA_EXACT, .components = 6},
        {.method = PCA_SKETCH, .components = 6, .extra_components = 8, .batch = 32}};

    (void)state;
    pca_seed = 1;
    for (int method = 0; method < 2; method++)
        for (uint32_t slots = 1; slots <= 3; slots++) {
            struct table t = pca_table(1000, 6, 0.6, 3);
            struct tensors view, model;
            struct pca_derive d = {.components = 6, .center = true};
            struct rig k;

            for (uint32_t i = 0; i < t.n; i++) { /* partitions of unlike means and weights */
                t.x[(size_t)i * 6 + i * 3 / t.n] += 4;
                t.weight[i] = (float)(1 + i * 3 / t.n) / 2;
            }
            rig_open(&k, &algo_pca, "openblas", pca_shape(6, slots), &o[method]);
            pca_view(&k, &t, slots, &view);
            rig_model(&k, &view, &d, &model, NULL);
            is_all_of(&model, &t, 1e-9);
            rig_free(&k, &view);
            rig_free(&k, &model);
            rig_close(&k);
            table_free(&t);
        }
}

/* Both methods, on few columns: exact. */
static void with_both(void (*check)(struct pca_opts *o))
{
    struct pca_opts exact = {.method = PCA_EXACT, .components = 3, .batch = 32};
    struct pca_opts sketch = pca_sketch(8);

    check(&exact);
    check(&sketch);
}

static void whiten(struct pca_opts *o)
{
    const struct pca_derive d = {.components = 4, .whiten = true, .center = true};
    struct table t = pca_table(900, 5, 0.5, 7), z = {.n = 900, .d = 4};
    struct tensors view, model;
    struct pca_truth m;
    struct rig k;

    z.x = calloc(900 * 4, sizeof *z.x);
    rig_open(&k, &algo_pca, "openblas", pca_shape(5, 1), o);
    pca_view(&k, &t, 1, &view);
    rig_model(&k, &view, &d, &model, NULL);
    rig_score(&k, &model, &t, z.x, 4);
    z.weight = t.weight;
    m = pca_truth(&z);
    for (uint32_t i = 0; i < 16; i++)
        pca_near(m.sum[i] / 899, i % 5 == 0, 1e-4);
    pca_truth_free(&m);
    z.weight = NULL;
    table_free(&z);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void whitened_projections_have_variance_1_and_no_correlation(void **state)
{
    (void)state;
    pca_seed = 4;
    with_both(whiten);
}

/* Without center: squares about 0. */
static void about_zero(struct pca_opts *o)
{
    const struct pca_derive d = {.components = 5};
    struct table t = pca_table(900, 5, 0.5, 2);
    struct tensors view, model;
    double a[25] = {0}, value[5];
    struct measures m;
    struct rig k;

    for (uint32_t i = 0; i < t.n * 25; i++)
        a[i % 25] += (double)t.x[i / 25 * 5 + i % 25 / 5] * (double)t.x[i / 25 * 5 + i % 5] / t.n;
    pca_eigen(5, a, value);
    rig_open(&k, &algo_pca, "openblas", pca_shape(5, 2), o);
    pca_view(&k, &t, 2, &view);
    rig_model(&k, &view, &d, &model, &m);
    for (uint32_t i = 0; i < 5; i++) {
        pca_near(model.t[PM_VARIANCE].f64[i], value[i], 1e-9 * value[0]);
        pca_near((double)model.t[PM_COMPONENT].f32[i], a[i], 1e-6);
        assert_true(model.t[PM_MEAN].f32[i] == 0);
    }
    pca_near(m.m[0].value, 1, 1e-9);
    pca_near(model.t[PM_TOTAL].f64[0], value[0] + value[1] + value[2] + value[3] + value[4],
             1e-9 * value[0]);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void without_center_directions_are_of_squares_about_0(void **state)
{
    (void)state;
    pca_seed = 5;
    with_both(about_zero);
}

static void all_of_many_components_are_scored(void **state)
{
    enum { N = 300, D = 100, K = 70 };
    struct pca_opts o = {.method = PCA_EXACT, .components = K, .batch = 128};
    float *out = calloc((size_t)N * K, sizeof *out);
    struct tensors view, model;
    struct table t;
    struct rig k;

    (void)state;
    pca_seed = 13;
    t = pca_table(N, D, 0.98, 1);
    rig_open(&k, &algo_pca, "openblas", pca_shape(D, 1), &o);
    pca_view(&k, &t, 1, &view);
    rig_model(&k, &view, &pca_plain, &model, NULL);
    rig_score(&k, &model, &t, out, K);
    for (size_t i = 0; i < (size_t)N * K; i++) {
        const float *x = t.x + i / K * D, *c = model.t[PM_COMPONENT].f32 + i % K * D;
        double sum = 0;

        for (uint32_t j = 0; j < D; j++)
            sum += ((double)x[j] - (double)model.t[PM_MEAN].f32[j]) * (double)c[j];
        pca_near((double)out[i], sum, 1e-4);
    }
    free(out);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

/* ---- weights and time ---- */

static void repeat(struct pca_opts *o)
{
    struct table t = pca_table(300, 5, 0.7, 1), twice = {.n = 600, .d = 5};
    const struct pca_derive d = {.components = 5, .center = true};
    struct tensors view, model;
    struct rig k;

    twice.x = calloc(600 * 5, sizeof *twice.x);
    twice.weight = calloc(600, sizeof *twice.weight);
    for (uint32_t i = 0; i < 600; i++) { /* a row twice, or once, with two of weight 0 */
        memcpy(twice.x + (size_t)i * 5, t.x + (size_t)(i / 2) * 5, 5 * sizeof *t.x);
        twice.weight[i] = i % 4 < 2 ? 1 : 0;
        t.weight[i / 2] = i % 4 < 2 ? 2 : 0;
    }
    rig_open(&k, &algo_pca, "openblas", pca_shape(5, 1), o);
    pca_view(&k, &t, 1, &view);
    rig_model(&k, &view, &d, &model, NULL);
    is_all_of(&model, &twice, 1e-9);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
    table_free(&twice);
}

static void nothing_of(struct pca_opts *o)
{
    struct table t = pca_table(100, 5, 0.7, 1);
    struct tensors s, before;
    struct rig k;

    rig_open(&k, &algo_pca, "openblas", pca_shape(5, 1), o);
    rig_state(&k, &s);
    for (int learned = 0; learned < 2; learned++) {
        memset(t.weight, 0, t.n * sizeof *t.weight);
        rig_copy(&k, &before, &s);
        pca_learn(&k, &s, &t, 1);
        assert_memory_equal(s.base, before.base, s.bytes);
        rig_free(&k, &before);
        for (uint32_t i = 0; i < t.n; i++)
            t.weight[i] = 1;
        pca_learn(&k, &s, &t, 1);
    }
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

static void rows_of_weight_0_change_no_byte(void **state)
{
    (void)state;
    pca_seed = 14;
    with_both(nothing_of);
}

static void weight_2_is_the_row_twice_and_weight_0_no_row(void **state)
{
    (void)state;
    pca_seed = 6;
    with_both(repeat);
}

static void forget(struct pca_opts *o)
{
    struct table t = pca_table(640, 5, 0.7, 1);
    const struct pca_derive d = {.components = 5, .center = true};
    struct tensors s, view, model, *list[] = {&s};
    struct rig k;

    for (uint32_t i = 320; i < 640; i++)
        t.x[(size_t)i * 5 + 2] += 3; /* the mean moves on */
    rig_open(&k, &algo_pca, "openblas", pca_shape(5, 1), o);
    rig_state(&k, &s);
    pca_learn(&k, &s, &t, 0.75);
    rig_view(&k, list, 1, &view);
    rig_model(&k, &view, &d, &model, NULL);
    for (uint32_t i = 0; i < 640; i++) /* batches of 32 rows */
        t.weight[i] = (float)pow(0.75, 19 - (double)(i / 32));
    is_all_of(&model, &t, 1e-6); /* weights are f32 */
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void a_half_life_is_weights_that_fall(void **state)
{
    (void)state;
    pca_seed = 7;
    with_both(forget);
}

/* ---- data that vary little ---- */

static void constant(struct pca_opts *o)
{
    struct table t = pca_table(200, 4, 1, 0);
    struct pca_derive d = {.components = 4, .whiten = true, .center = true};
    struct tensors view, model;
    float out[800];
    struct measures m;
    struct rig k;

    for (int all = 0; all < 2; all++) {
        for (uint32_t i = 0; i < t.n * 4; i++)
            t.x[i] = all || i % 2 ? 3.25f : t.x[i]; /* columns 1 and 3, or all */
        rig_open(&k, &algo_pca, "openblas", pca_shape(4, 1), o);
        pca_view(&k, &t, 1, &view);
        d.correlation = o->method == PCA_EXACT;
        rig_model(&k, &view, &d, &model, &m);
        rig_score(&k, &model, &t, out, 4);
        for (uint32_t i = 0; i < 800; i++)
            assert_true(isfinite(out[i]) && (all || i % 4 >= 2 ? out[i] == 0 : true));
        for (uint32_t i = 0; i < 4; i++)
            assert_true(all || i >= 2 ? model.t[PM_VARIANCE].f64[i] == 0
                                      : model.t[PM_VARIANCE].f64[i] > 0.1);
        assert_int_equal(m.n, all ? 0 : o->method == PCA_EXACT ? 1 : 3);
        rig_free(&k, &view);
        rig_free(&k, &model);
        rig_close(&k);
    }
    table_free(&t);
}

static void constant_columns_divide_nothing_by_zero(void **state)
{
    (void)state;
    pca_seed = 10;
    with_both(constant);
}

static void few(struct pca_opts *o)
{
    struct table t = pca_table(3, 6, 1, 5);
    const struct pca_derive d = {.components = 5, .center = true};
    struct tensors view, model;
    struct rig k;

    rig_open(&k, &algo_pca, "openblas", pca_shape(6, 1), o);
    pca_view(&k, &t, 1, &view);
    rig_model(&k, &view, &d, &model, NULL);
    for (uint32_t i = 0; i < 5; i++) { /* three points lie in a plane */
        double length = 0;

        for (uint32_t j = 0; j < 6; j++)
            length += pow((double)model.t[PM_COMPONENT].f32[6 * i + j], 2);
        pca_near(length, i < 2, 1e-6);
        assert_true((model.t[PM_VARIANCE].f64[i] > 0) == (i < 2));
    }
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void components_beyond_what_rows_span_are_zero(void **state)
{
    (void)state;
    pca_seed = 11;
    with_both(few);
}

static void nothing_yet(struct pca_opts *o)
{
    struct table t = pca_table(1, 6, 1, 5);
    struct tensors s, view, model, *list[] = {&s};
    struct measures m;
    struct rig k;

    rig_open(&k, &algo_pca, "openblas", pca_shape(6, 1), o);
    for (int rows = 0; rows < 2; rows++) {
        rig_state(&k, &s);
        if (rows)
            pca_learn(&k, &s, &t, 1);
        rig_view(&k, list, 1, &view);
        assert_int_equal(tensors_declare(&model, &algo_pca, PART_MODEL, &k.sh, o, &pca_plain, NULL,
                                         0, 6, 1 << 20, &k.err),
                         ST_OK);
        assert_int_equal(tensors_alloc(&model, k.x.c, NULL, &k.err), ST_OK);
        assert_int_equal(algo_pca.derive(&k.x, &view, &pca_plain, &model, &m), ST_AGAIN);
        assert_non_null(strstr(k.err.text, rows ? "weigh 1 together" : "no row has been learned"));
        rig_free(&k, &s);
        rig_free(&k, &view);
        rig_free(&k, &model);
    }
    rig_close(&k);
    table_free(&t);
}

static void a_model_of_no_row_or_one_has_to_wait(void **state)
{
    (void)state;
    pca_seed = 12;
    with_both(nothing_yet);
}

/* ---- options ---- */

static void what_cannot_be_is_refused(void **state)
{
    static const struct {
        struct pca_opts o;
        uint32_t d, nnz;
        const char *says;
    } bad[] = {
        {{.components = 7}, 6, 0, "components 7: rows of 6 columns have no more than 6"},
        {{.components = 2, .extra_components = 3}, 6, 0, "this is exact (auto): leave it out"},
        {{.method = PCA_EXACT}, 20000, 0, "its state would be 1.5 GiB"},
        {{.method = PCA_SKETCH, .components = 6000}, 9000, 0, "are 12000 directions, at most 8000"},
        {{0}, 6, 30, "has 6 sparse ones"},
        {{0}, 0, 0, "has 0"},
    };
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct shape sh = {.d = {bad[i].d}, .nnz = {bad[i].nnz}};
        struct pca_opts o = bad[i].o;

        assert_int_equal(algo_pca.check(&sh, &o, &e), ST_BAD_CONFIG);
        if (!strstr(e.text, bad[i].says))
            fail_msg("%s", e.text);
    }
}

static void auto_takes_the_method_by_the_number_of_columns(void **state)
{
    static const struct {
        uint32_t d, method, components, extra;
    } want[] = {{4, PCA_EXACT, 4, 0}, {2048, PCA_EXACT, 10, 0}, {2049, PCA_SKETCH, 10, 10}};
    struct err e;

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct shape sh = {.d = {want[i].d}};
        struct pca_opts o = {0};

        assert_int_equal(algo_pca.check(&sh, &o, &e), ST_OK);
        assert_int_equal(o.method, want[i].method);
        assert_int_equal(o.components, want[i].components);
        assert_int_equal(o.extra_components, want[i].extra);
    }
}

static void models_that_a_state_cannot_serve_are_refused(void **state)
{
    static const struct {
        struct pca_derive d;
        const char *says;
    } bad[] = {{{.components = 8, .center = true}, "keeps 8 directions"},
               {{.components = 13, .center = true}, "rows of 12 columns"},
               {{.center = true, .correlation = true}, "train with method exact"}};
    struct pca_opts o = pca_sketch(8);
    struct tensors model;
    struct rig k;

    (void)state;
    rig_open(&k, &algo_pca, "openblas", pca_shape(12, 1), &o);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tensors_declare(&model, &algo_pca, PART_MODEL, &k.sh, &o, &bad[i].d, NULL,
                                         0, 6, 1 << 20, &k.err),
                         ST_BAD_CONFIG);
        if (!strstr(k.err.text, bad[i].says))
            fail_msg("%s", k.err.text);
    }
    rig_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_axes_of_an_ellipse_are_found),
        cmocka_unit_test(a_sketch_wider_than_its_rows_is_exact_and_so_is_its_merge),
        cmocka_unit_test(whitened_projections_have_variance_1_and_no_correlation),
        cmocka_unit_test(without_center_directions_are_of_squares_about_0),
        cmocka_unit_test(all_of_many_components_are_scored),
        cmocka_unit_test(rows_of_weight_0_change_no_byte),
        cmocka_unit_test(weight_2_is_the_row_twice_and_weight_0_no_row),
        cmocka_unit_test(a_half_life_is_weights_that_fall),
        cmocka_unit_test(constant_columns_divide_nothing_by_zero),
        cmocka_unit_test(components_beyond_what_rows_span_are_zero),
        cmocka_unit_test(a_model_of_no_row_or_one_has_to_wait),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(auto_takes_the_method_by_the_number_of_columns),
        cmocka_unit_test(models_that_a_state_cannot_serve_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
