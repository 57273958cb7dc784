#include "algos/pca.h"
#include "algos/compute/lapack.h"
#include "tests/unit/support_algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t seed;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 40) / 16777216.0;
}

static double normal(void)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.12g is not %.12g, by %g", a, b, a - b);
}

/* n rows of weight 1: column j has deviation `fall`^j and mean `offset`, then all are mixed. */
static struct table table(uint32_t n, uint32_t d, double fall, double offset)
{
    struct table t = {.n = n, .d = d};
    double *y = calloc(d, sizeof *y), *mix = calloc((size_t)d * d, sizeof *mix);

    t.x = calloc((size_t)n * d, sizeof *t.x);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < d * d; i++)
        mix[i] = normal() / sqrt(d);
    for (uint32_t i = 0; i < n; i++) {
        t.weight[i] = 1;
        for (uint32_t j = 0; j < d; j++)
            y[j] = normal() * pow(fall, j);
        for (uint32_t j = 0; j < d; j++) {
            double sum = offset;

            for (uint32_t q = 0; q < d; q++)
                sum += mix[j * d + q] * y[q];
            t.x[(size_t)i * d + j] = (float)sum;
        }
    }
    free(y);
    free(mix);
    return t;
}

struct truth {                  /* of all rows with weight, in f64, two passes */
    double weight, *mean, *sum; /* [d], [d, d] squares about the mean */
};

static struct truth truth(const struct table *t)
{
    struct truth m = {.mean = calloc(t->d, sizeof(double)),
                      .sum = calloc((size_t)t->d * t->d, sizeof(double))};

    for (uint32_t i = 0; i < t->n; i++) {
        m.weight += (double)t->weight[i];
        for (uint32_t j = 0; j < t->d; j++)
            m.mean[j] += (double)t->weight[i] * (double)t->x[(size_t)i * t->d + j];
    }
    for (uint32_t j = 0; j < t->d; j++)
        m.mean[j] /= m.weight;
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t j = 0; j < t->d; j++)
            for (uint32_t q = 0; q < t->d; q++)
                m.sum[(size_t)j * t->d + q] += (double)t->weight[i] *
                                               ((double)t->x[(size_t)i * t->d + j] - m.mean[j]) *
                                               ((double)t->x[(size_t)i * t->d + q] - m.mean[q]);
    return m;
}

static void truth_free(struct truth *m)
{
    free(m->mean);
    free(m->sum);
}

/* a[n, n] becomes its eigenvectors. */
static void eigen(uint32_t n, double *a, double *value)
{
    double *work = calloc(lapack_eigen_work(n), sizeof *work);
    struct err e;

    assert_int_equal(lapack_eigen(n, a, value, work, &e), ST_OK);
    free(work);
}

static struct pca_opts sketch_of(uint32_t l)
{
    return (struct pca_opts){
        .method = PCA_SKETCH, .components = l / 2, .extra_components = l - l / 2, .batch = 32};
}

static const struct pca_derive plain = {.center = true};

static struct shape shape(uint32_t d, uint32_t slots)
{
    return (struct shape){.slots = slots, .d = {d}};
}

/* Learns t in batches; each leaves `decay` of what was before it. */
static void learn(struct rig *k, struct tensors *s, const struct table *t, double decay)
{
    struct rows r;

    for (uint32_t at = 0, n; at < t->n; at += n) {
        n = t->n - at < k->sh.batch_rows ? t->n - at : k->sh.batch_rows;
        rig_rows(k, t, at, n, 0, &r);
        r.decay = decay;
        if (k->a->update(&k->x, s, &r, NULL) != ST_OK)
            fail_msg("%s", k->err.text);
    }
}

/* The view of `slots` partitions, to which the rows of t are dealt in runs. */
static void view_of(struct rig *k, const struct table *t, uint32_t slots, struct tensors *view)
{
    struct tensors s[8], *list[8];
    struct table part = *t;

    for (uint32_t p = 0; p < slots; p++) {
        const uint32_t from = t->n * p / slots;

        part.n = t->n * (p + 1) / slots - from;
        part.x = t->x + (size_t)from * t->d;
        part.weight = t->weight + from;
        list[p] = &s[p];
        rig_state(k, &s[p]);
        learn(k, &s[p], &part, 1);
    }
    rig_view(k, list, slots, view);
    for (uint32_t p = 0; p < slots; p++)
        rig_free(k, &s[p]);
}

/* ---- models ---- */

/* A tilted ellipse: variances n / (n - 1) a^2 / 2 along its axes, whatever its centre. */
static void the_axes_of_an_ellipse_are_found(void **state)
{
    enum { N = 720 };
    const double a = 5, b = 2, tilt = 0.5;
    struct pca_opts o[2] = {{.method = PCA_EXACT, .components = 2}, sketch_of(4)};
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
            rig_open(&k, &algo_pca, "openblas", shape(2, 1), &o[method]);
            view_of(&k, &t, 1, &view);
            rig_model(&k, &view, &plain, &model, &m);
            near(model.t[PM_VARIANCE].f64[0], a * a / 2 * N / (N - 1), 1e-4);
            near(model.t[PM_VARIANCE].f64[1], b * b / 2 * N / (N - 1), 1e-4);
            near(m.m[0].value, 1, 1e-9);
            near((double)model.t[PM_COMPONENT].f32[0], cos(tilt), 1e-5);
            near((double)model.t[PM_COMPONENT].f32[1], sin(tilt), 1e-5);
            near((double)model.t[PM_COMPONENT].f32[2], -sin(tilt), 1e-5);
            near((double)model.t[PM_COMPONENT].f32[3], cos(tilt), 1e-5);
            near((double)model.t[PM_MEAN].f32[0], cx, 1e-4);
            rig_score(&k, &model, &t, out, 2);
            near((double)out[0], a, 1e-3); /* the first row is the end of the long axis */
            near((double)out[2 * (N / 4) + 1], b, 1e-3);
            rig_free(&k, &view);
            rig_free(&k, &model);
            rig_close(&k);
        }
    table_free(&t);
}

/* A model of all columns: variances are eigenvalues, components eigenvectors, of the truth. */
static void is_all_of(const struct tensors *model, const struct table *t, double tolerance)
{
    struct truth m = truth(t);
    double *value = calloc(t->d, sizeof *value);

    eigen(t->d, m.sum, value);
    for (uint32_t i = 0; i < t->d; i++)
        near(model->t[PM_VARIANCE].f64[i] * (m.weight - 1), value[i], tolerance * value[0]);
    for (uint32_t i = 0; i < t->d; i++)
        near((double)model->t[PM_MEAN].f32[i], m.mean[i], 1e-6 * (1 + fabs(m.mean[i])));
    for (uint32_t i = 0; i < 2 * t->d; i++)
        near((double)model->t[PM_COMPONENT].f32[i], m.sum[i], 1e-6);
    free(value);
    truth_free(&m);
}

static void a_sketch_wider_than_its_rows_is_exact_and_so_is_its_merge(void **state)
{
    struct pca_opts o[2] = {
        {.method = PCA_EXACT, .components = 6},
        {.method = PCA_SKETCH, .components = 6, .extra_components = 8, .batch = 32}};

    (void)state;
    seed = 1;
    for (int method = 0; method < 2; method++)
        for (uint32_t slots = 1; slots <= 3; slots++) {
            struct table t = table(1000, 6, 0.6, 3);
            struct tensors view, model;
            struct pca_derive d = {.components = 6, .center = true};
            struct rig k;

            for (uint32_t i = 0; i < t.n; i++) { /* partitions of unlike means and weights */
                t.x[(size_t)i * 6 + i * 3 / t.n] += 4;
                t.weight[i] = (float)(1 + i * 3 / t.n) / 2;
            }
            rig_open(&k, &algo_pca, "openblas", shape(6, slots), &o[method]);
            view_of(&k, &t, slots, &view);
            rig_model(&k, &view, &d, &model, NULL);
            is_all_of(&model, &t, 1e-9);
            rig_free(&k, &view);
            rig_free(&k, &model);
            rig_close(&k);
            table_free(&t);
        }
}

/* 0 <= S - B'B <= SHRUNK <= (all but the k greatest eigenvalues of S) / (L - k), for all k < L. */
static void bound_holds(const struct tensors *view, const struct table *t, uint32_t l)
{
    const uint32_t d = t->d;
    const double *row = view->t[SK_ROW].f64, *sum = view->t[SK_SUM].f64;
    double *value = calloc(d, sizeof *value), *error = calloc((size_t)d * d, sizeof *error);
    double tail = 0, tiny;
    struct truth m = truth(t);

    memcpy(error, m.sum, (size_t)d * d * sizeof *error);
    for (uint64_t i = 0; i < view->t[SK_HEAD].u64[0]; i++, row += d)
        for (uint32_t j = 0; j < d * d; j++)
            error[j] -= row[j / d] * row[j % d];
    eigen(d, m.sum, value);
    tiny = 1e-10 * value[0];
    for (uint32_t j = 0; j < d; j++)
        tail += value[j];
    near(sum[SUM_TOTAL], tail, 1e-9 * tail);
    near(sum[SUM_WEIGHT], m.weight, 1e-9 * m.weight);
    assert_true(sum[SUM_SHRUNK] > 0);
    for (uint32_t k = 0; k < l; tail -= value[k++])
        assert_true(sum[SUM_SHRUNK] <= tail / (l - k) + tiny);
    eigen(d, error, value);
    assert_true(value[d - 1] >= -tiny);
    assert_true(value[0] <= sum[SUM_SHRUNK] + tiny);
    for (uint32_t j = 0; j < d; j++)
        near(view->t[SK_MEAN].f64[j], m.mean[j], 1e-9 * (1 + fabs(m.mean[j])));
    free(value);
    free(error);
    truth_free(&m);
}

static void a_sketch_keeps_its_bound_in_one_slot_and_merged(void **state)
{
    static const double fall[] = {1, 0.9, 0.7};

    (void)state;
    seed = 2;
    for (int i = 0; i < 3; i++)
        for (uint32_t slots = 1; slots <= 3; slots++) {
            struct pca_opts o = sketch_of(10);
            struct table t = table(1500, 30, fall[i], 100);
            struct tensors view;
            struct rig k;

            for (uint32_t q = 0; q < t.n; q++)
                t.x[(size_t)q * 30 + q * 3 / t.n] += 2;
            rig_open(&k, &algo_pca, "openblas", shape(30, slots), &o);
            view_of(&k, &t, slots, &view);
            bound_holds(&view, &t, 10);
            rig_free(&k, &view);
            rig_close(&k);
            table_free(&t);
        }
}

static void what_a_sketch_says_of_its_accuracy_is_true(void **state)
{
    struct pca_opts o = sketch_of(12);
    struct table t;
    struct tensors view, model;
    struct measures m;
    struct truth want;
    double along = 0, best = 0, total = 0, value[30];
    const float *c;
    struct rig k;

    (void)state;
    seed = 3;
    t = table(3000, 30, 0.85, 0);
    want = truth(&t);
    rig_open(&k, &algo_pca, "openblas", shape(30, 2), &o);
    view_of(&k, &t, 2, &view);
    rig_model(&k, &view, &plain, &model, &m);
    c = model.t[PM_COMPONENT].f32;
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t q = 0; q < 900; q++)
            along += (double)c[30 * i + q / 30] * want.sum[q] * (double)c[30 * i + q % 30];
    eigen(30, want.sum, value);
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
    near(m.m[2].value, view.t[SK_SUM].f64[SUM_SHRUNK] / total, 1e-9);
    truth_free(&want);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

/* Both methods, on few columns: exact. */
static void with_both(void (*check)(struct pca_opts *o))
{
    struct pca_opts exact = {.method = PCA_EXACT, .components = 3, .batch = 32};
    struct pca_opts sketch = sketch_of(8);

    check(&exact);
    check(&sketch);
}

static void whiten(struct pca_opts *o)
{
    const struct pca_derive d = {.components = 4, .whiten = true, .center = true};
    struct table t = table(900, 5, 0.5, 7), z = {.n = 900, .d = 4};
    struct tensors view, model;
    struct truth m;
    struct rig k;

    z.x = calloc(900 * 4, sizeof *z.x);
    rig_open(&k, &algo_pca, "openblas", shape(5, 1), o);
    view_of(&k, &t, 1, &view);
    rig_model(&k, &view, &d, &model, NULL);
    rig_score(&k, &model, &t, z.x, 4);
    z.weight = t.weight;
    m = truth(&z);
    for (uint32_t i = 0; i < 16; i++)
        near(m.sum[i] / 899, i % 5 == 0, 1e-4);
    truth_free(&m);
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
    seed = 4;
    with_both(whiten);
}

/* Without center: squares about 0. */
static void about_zero(struct pca_opts *o)
{
    const struct pca_derive d = {.components = 5};
    struct table t = table(900, 5, 0.5, 2);
    struct tensors view, model;
    double a[25] = {0}, value[5];
    struct measures m;
    struct rig k;

    for (uint32_t i = 0; i < t.n * 25; i++)
        a[i % 25] += (double)t.x[i / 25 * 5 + i % 25 / 5] * (double)t.x[i / 25 * 5 + i % 5] / t.n;
    eigen(5, a, value);
    rig_open(&k, &algo_pca, "openblas", shape(5, 2), o);
    view_of(&k, &t, 2, &view);
    rig_model(&k, &view, &d, &model, &m);
    for (uint32_t i = 0; i < 5; i++) {
        near(model.t[PM_VARIANCE].f64[i], value[i], 1e-9 * value[0]);
        near((double)model.t[PM_COMPONENT].f32[i], a[i], 1e-6);
        assert_true(model.t[PM_MEAN].f32[i] == 0);
    }
    near(m.m[0].value, 1, 1e-9);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void without_center_directions_are_of_squares_about_0(void **state)
{
    (void)state;
    seed = 5;
    with_both(about_zero);
}

/* ---- weights and time ---- */

static void repeat(struct pca_opts *o)
{
    struct table t = table(300, 5, 0.7, 1), twice = {.n = 600, .d = 5};
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
    rig_open(&k, &algo_pca, "openblas", shape(5, 1), o);
    view_of(&k, &t, 1, &view);
    rig_model(&k, &view, &d, &model, NULL);
    is_all_of(&model, &twice, 1e-9);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
    table_free(&twice);
}

static void weight_2_is_the_row_twice_and_weight_0_no_row(void **state)
{
    (void)state;
    seed = 6;
    with_both(repeat);
}

static void forget(struct pca_opts *o)
{
    struct table t = table(640, 5, 0.7, 1);
    const struct pca_derive d = {.components = 5, .center = true};
    struct tensors s, view, model, *list[] = {&s};
    struct rig k;

    for (uint32_t i = 320; i < 640; i++)
        t.x[(size_t)i * 5 + 2] += 3; /* the mean moves on */
    rig_open(&k, &algo_pca, "openblas", shape(5, 1), o);
    rig_state(&k, &s);
    learn(&k, &s, &t, 0.75);
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
    seed = 7;
    with_both(forget);
}

static void what_was_shrunk_is_forgotten_too(void **state)
{
    struct pca_opts o = sketch_of(6);
    struct tensors s;
    struct table t;
    struct rig k;

    (void)state;
    seed = 8;
    t = table(640, 20, 1, 0);
    rig_open(&k, &algo_pca, "openblas", shape(20, 1), &o);
    rig_state(&k, &s);
    learn(&k, &s, &t, 0.5);
    for (uint32_t i = 0; i < 640; i++)
        t.weight[i] = (float)pow(0.5, 19 - (double)(i / 32));
    for (int i = 0; i < SUM_N; i++)
        assert_true(s.t[SK_SUM].f64[i] > 0);
    near(s.t[SK_SUM].f64[SUM_WEIGHT], 64, 0.01);
    bound_holds(&s, &t, 6);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* Rows that stand for 1e12 still take in 2,000 more, each of which float32 would round away. */
static void a_long_stream_does_not_stand_still(void **state)
{
    enum { OLD = 100, NEW = 2000 };
    struct pca_opts o = sketch_of(4); /* of rows of 3 columns: nothing is lost by shrinking */
    struct table t, some;
    double squares[2], total[2];
    struct tensors s;
    struct rig k;

    (void)state;
    seed = 9;
    some = t = table(OLD + NEW, 3, 1, 0);
    for (uint32_t i = 0; i < OLD; i++)
        t.weight[i] = 1e10f;
    rig_open(&k, &algo_pca, "openblas", shape(3, 1), &o);
    rig_state(&k, &s);
    for (int part = 0; part < 2; part++) {
        some.n = part ? NEW : OLD;
        some.x = t.x + (part ? OLD * 3 : 0);
        some.weight = t.weight + (part ? OLD : 0);
        learn(&k, &s, &some, 1);
        squares[part] = 0;
        for (uint64_t i = 0; i < s.t[SK_ROW].n; i++)
            squares[part] += s.t[SK_ROW].f64[i] * s.t[SK_ROW].f64[i];
        total[part] = s.t[SK_SUM].f64[SUM_TOTAL];
    }
    assert_true(total[0] > 1e11 && total[1] - total[0] > 1000);
    near((squares[1] - squares[0]) / (total[1] - total[0]), 1, 0.01);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* ---- data that vary little ---- */

static void constant(struct pca_opts *o)
{
    struct table t = table(200, 4, 1, 0);
    struct pca_derive d = {.components = 4, .whiten = true, .center = true};
    struct tensors view, model;
    float out[800];
    struct measures m;
    struct rig k;

    for (int all = 0; all < 2; all++) {
        for (uint32_t i = 0; i < t.n * 4; i++)
            t.x[i] = all || i % 2 ? 3.25f : t.x[i]; /* columns 1 and 3, or all */
        rig_open(&k, &algo_pca, "openblas", shape(4, 1), o);
        view_of(&k, &t, 1, &view);
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
    seed = 10;
    with_both(constant);
}

static void few(struct pca_opts *o)
{
    struct table t = table(3, 6, 1, 5);
    const struct pca_derive d = {.components = 5, .center = true};
    struct tensors view, model;
    struct rig k;

    rig_open(&k, &algo_pca, "openblas", shape(6, 1), o);
    view_of(&k, &t, 1, &view);
    rig_model(&k, &view, &d, &model, NULL);
    for (uint32_t i = 0; i < 5; i++) { /* three points lie in a plane */
        double length = 0;

        for (uint32_t j = 0; j < 6; j++)
            length += pow((double)model.t[PM_COMPONENT].f32[6 * i + j], 2);
        near(length, i < 2, 1e-6);
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
    seed = 11;
    with_both(few);
}

static void nothing_yet(struct pca_opts *o)
{
    struct table t = table(1, 6, 1, 5);
    struct tensors s, view, model, *list[] = {&s};
    struct measures m;
    struct rig k;

    rig_open(&k, &algo_pca, "openblas", shape(6, 1), o);
    for (int rows = 0; rows < 2; rows++) {
        rig_state(&k, &s);
        if (rows)
            learn(&k, &s, &t, 1);
        rig_view(&k, list, 1, &view);
        assert_int_equal(tensors_declare(&model, &algo_pca, PART_MODEL, &k.sh, o, &plain, NULL, 0,
                                         6, 1 << 20, &k.err),
                         ST_OK);
        assert_int_equal(tensors_alloc(&model, k.x.c, NULL, &k.err), ST_OK);
        assert_int_equal(algo_pca.derive(&k.x, &view, &plain, &model, &m), ST_AGAIN);
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
    seed = 12;
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
    struct pca_opts o = sketch_of(8);
    struct tensors model;
    struct rig k;

    (void)state;
    rig_open(&k, &algo_pca, "openblas", shape(12, 1), &o);
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
        cmocka_unit_test(a_sketch_keeps_its_bound_in_one_slot_and_merged),
        cmocka_unit_test(what_a_sketch_says_of_its_accuracy_is_true),
        cmocka_unit_test(whitened_projections_have_variance_1_and_no_correlation),
        cmocka_unit_test(without_center_directions_are_of_squares_about_0),
        cmocka_unit_test(weight_2_is_the_row_twice_and_weight_0_no_row),
        cmocka_unit_test(a_half_life_is_weights_that_fall),
        cmocka_unit_test(what_was_shrunk_is_forgotten_too),
        cmocka_unit_test(a_long_stream_does_not_stand_still),
        cmocka_unit_test(constant_columns_divide_nothing_by_zero),
        cmocka_unit_test(components_beyond_what_rows_span_are_zero),
        cmocka_unit_test(a_model_of_no_row_or_one_has_to_wait),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(auto_takes_the_method_by_the_number_of_columns),
        cmocka_unit_test(models_that_a_state_cannot_serve_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
