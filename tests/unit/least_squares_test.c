#include "algos/least_squares.h"
#include "tests/unit/support_algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { FOLDS = 5, BATCH = 40, D_MAX = 64 };

static uint64_t seed;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53;
}

static double noise(void) /* deviation 1, nearly normal */
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

static void near(double a, double b, double relative)
{
    if (!(fabs(a - b) <= relative * fmax(1, fmax(fabs(a), fabs(b)))))
        fail_msg("%.12g is not %.12g", a, b);
}

/* n rows of d features of deviation `unit` about `centre`, all weights 1, labels 0. */
static struct table table(uint32_t n, uint32_t d, double centre, double unit)
{
    struct table t = {.n = n, .d = d};

    t.x = calloc((size_t)n * d, sizeof *t.x);
    t.y = calloc(n, sizeof *t.y);
    t.weight = calloc(n, sizeof *t.weight);
    for (size_t i = 0; i < (size_t)n * d; i++)
        t.x[i] = (float)(centre + unit * noise());
    for (uint32_t i = 0; i < n; i++)
        t.weight[i] = 1;
    return t;
}

static float *row(const struct table *t, uint32_t i)
{
    return t->x + (size_t)i * t->d;
}

struct lab { /* options, back end, one state after a pass, its view */
    struct least_squares_opts o;
    struct rig k;
    struct tensors s, view;
};

static void open_lab(struct lab *b, uint32_t d, const char *backend)
{
    b->o = (struct least_squares_opts){.folds = FOLDS, .batch = BATCH};
    rig_open(&b->k, &algo_least_squares, backend, (struct shape){.slots = 4, .d = {d}, .ny = 1},
             &b->o);
    rig_state(&b->k, &b->s);
}

static void look(struct lab *b)
{
    struct tensors *list[] = {&b->s};

    rig_view(&b->k, list, 1, &b->view);
}

static void learn_all(struct lab *b, const struct table *t)
{
    open_lab(b, t->d, "openblas");
    rig_pass(&b->k, &b->s, t, 0, NULL);
    look(b);
}

static void close_lab(struct lab *b)
{
    rig_free(&b->k, &b->s);
    rig_free(&b->k, &b->view);
    rig_close(&b->k);
}

struct fit {
    double w[D_MAX + 1], spread[D_MAX], cv, mse, r2, used; /* NaN: no such measure */
};

static double measure(const struct measures *m, const char *name)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (!strcmp(m->m[i].name, name))
            return m->m[i].value;
    return (double)NAN;
}

static struct fit fit(struct lab *b, struct least_squares_derive o)
{
    struct tensors model;
    struct measures m = {0};
    struct fit f;

    memset(b->k.work.base, 0x55, b->k.work.bytes);
    rig_model(&b->k, &b->view, &o, &model, &m);
    for (uint32_t j = 0; j <= b->k.sh.d[0]; j++) {
        f.w[j] = model.t[LS_MODEL_W].f64[j];
        assert_true(isfinite(f.w[j]));
    }
    memcpy(f.spread, model.t[LS_MODEL_SPREAD].f64, b->k.sh.d[0] * sizeof *f.spread);
    rig_free(&b->k, &model);
    f.cv = measure(&m, "cv_mse");
    f.mse = measure(&m, "train_mse");
    f.r2 = measure(&m, "r2");
    f.used = measure(&m, "features_used");
    assert_true(f.mse >= 0 && !(f.cv < 0));
    return f;
}

static struct least_squares_derive penalty(float l2, float l1)
{
    return (struct least_squares_derive){.l2 = l2, .l1 = l1, .standardize = true};
}

/* ---- exactness ---- */

/* The fold of row `at` of a batch of n, as rig_rows() deals them. */
static uint32_t fold_of(uint32_t at, uint32_t n)
{
    uint32_t k = 0;

    while (at >= n * (k + 1) / FOLDS)
        k++;
    return k;
}

static void a_plane_is_found_wherever_it_lies(void **state)
{
    static const double centre[] = {0, 2000, -30000}, unit[] = {1, 5, 1000};

    (void)state;
    for (int c = 0; c < 3; c++) {
        struct table t;
        struct lab b;
        struct fit f;

        seed = 1;
        t = table(500, 3, centre[c], unit[c]);
        for (uint32_t i = 0; i < t.n; i++)
            t.y[i] = (float)(7 + 2 * (double)row(&t, i)[0] - 0.5 * (double)row(&t, i)[2]);
        learn_all(&b, &t);
        f = fit(&b, penalty(0, 0));
        /* labels are rounded to f32 */
        near(f.w[0], 2, 1e-6);
        near(f.w[1], 0, 1e-6);
        near(f.w[2], -0.5, 1e-6);
        assert_true(f.r2 > 1 - 1e-8 && f.cv < 1e-8 * unit[c] * unit[c]);
        assert_true(f.used == 3);
        close_lab(&b);
        table_free(&t);
    }
}

/* Columns of deviations 1e-5 to 1e6, one of them far from 0: as by two passes over the rows. */
static void units_cost_no_digits(void **state)
{
    static const double scale[] = {1e-5, 1, 1e6, 3}, offset[] = {0, 5, -1e6, 4000};
    double mean[2] = {0}, s[2][2] = {{0}}, cross[2] = {0}, label = 0, det;
    struct table t;
    struct lab b;
    struct fit f;

    (void)state;
    seed = 2;
    t = table(3000, 2, 0, 1);
    for (uint32_t k = 0; k < 4; k += 2) {
        for (uint32_t i = 0; i < t.n; i++) {
            float *x = row(&t, i);
            double common = noise();

            x[0] = (float)(offset[k] + scale[k] * (common + 0.1 * noise()));
            x[1] = (float)(offset[k + 1] + scale[k + 1] * common);
            t.y[i] = (float)(100 + common + noise());
        }
        memset(mean, 0, sizeof mean);
        memset(s, 0, sizeof s);
        memset(cross, 0, sizeof cross);
        label = 0;
        for (uint32_t i = 0; i < t.n; i++) {
            mean[0] += (double)row(&t, i)[0] / t.n;
            mean[1] += (double)row(&t, i)[1] / t.n;
            label += (double)t.y[i] / t.n;
        }
        for (uint32_t i = 0; i < t.n; i++)
            for (int p = 0; p < 2; p++) {
                double x = (double)row(&t, i)[p] - mean[p];

                cross[p] += x * ((double)t.y[i] - label);
                for (int q = 0; q < 2; q++)
                    s[p][q] += x * ((double)row(&t, i)[q] - mean[q]);
            }
        det = s[0][0] * s[1][1] - s[0][1] * s[1][0];
        learn_all(&b, &t);
        f = fit(&b, penalty(0, 0));
        near(f.spread[0], sqrt(s[0][0] / t.n), 1e-7);
        near(f.w[0] * scale[k], (s[1][1] * cross[0] - s[0][1] * cross[1]) / det * scale[k], 1e-7);
        near(f.w[1] * scale[k + 1], (s[0][0] * cross[1] - s[0][1] * cross[0]) / det * scale[k + 1],
             1e-7);
        close_lab(&b);
    }
    table_free(&t);
}

/* The state of whole numbers is that of integer arithmetic, fold by fold, on every back end. */
static void sums_of_whole_numbers_are_exact(void **state)
{
    enum { D = 5, C = D + 2 };
    const struct moments m = {.d = D, .targets = 1, .c = C, .folds = FOLDS, .batch = BATCH};
    double want[FOLDS][C * (C + 1) / 2] = {{0}}, mean[C - 1], s[D * D];
    struct table t;

    (void)state;
    seed = 17;
    t = table(3 * BATCH + 7, D, 0, 1);
    for (uint32_t i = 0; i < t.n; i++) {
        uint32_t from = i / BATCH * BATCH, rows = t.n - from < BATCH ? t.n - from : BATCH;
        double z[C] = {1}, *to = want[fold_of(i - from, rows)];

        t.weight[i] = (float)(i % 4 * (i % 4)); /* whose roots are whole, too */
        t.y[i] = (float)(int32_t)(1000 * uniform());
        for (uint32_t j = 0; j < D; j++)
            z[1 + j] = (double)(row(&t, i)[j] = (float)(int32_t)(10000 * uniform()));
        z[C - 1] = (double)t.y[i];
        for (uint32_t p = 0; p < C; p++)
            for (uint32_t q = 0; q <= p; q++)
                to[moments_at(p, q)] += (double)t.weight[i] * z[p] * z[q];
    }
    for (uint32_t c = 0; c < compute_count && compute_list[c]->host_memory; c++) {
        struct lab b;

        open_lab(&b, D, compute_list[c]->name);
        rig_pass(&b.k, &b.s, &t, 0, NULL);
        assert_memory_equal(b.s.t[LS_SUMS].f64, want, sizeof want);
        look(&b);
        close_lab(&b);
    }
    assert_true(moments_centred(&m, want[2], D, mean, s) == want[2][0]);
    near(mean[D], want[2][moments_at(C - 1, 0)] / want[2][0], 1e-15);
    near(s[4 * D + 1],
         want[2][moments_at(5, 2)] -
             want[2][moments_at(5, 0)] * want[2][moments_at(2, 0)] / want[2][0],
         1e-12);
    table_free(&t);
}

/* ---- penalties ---- */

static double soft(double v, double t)
{
    return fabs(v) <= t ? 0 : v - copysign(t, v);
}

static void one_feature_is_shrunk_as_the_formulas_say(void **state)
{
    static const float l2[] = {0, 0.01f, 0.1f, 1, 10, 100}, l1[] = {0, 0.001f, 0.1f, 0.5f, 1, 2};
    double sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0, n = 0;
    struct table t;
    struct lab b;

    (void)state;
    seed = 3;
    t = table(400, 1, 3, 2);
    for (uint32_t i = 0; i < t.n; i++) {
        t.y[i] = (float)(5 - 0.7 * (double)row(&t, i)[0] + noise());
        t.weight[i] = (float)(i % 3) * 0.5f;
        n += (double)t.weight[i];
        sx += (double)t.weight[i] * (double)row(&t, i)[0];
        sy += (double)t.weight[i] * (double)t.y[i];
    }
    for (uint32_t i = 0; i < t.n; i++) {
        double x = (double)row(&t, i)[0] - sx / n, y = (double)t.y[i] - sy / n;

        sxx += (double)t.weight[i] * x * x / n;
        sxy += (double)t.weight[i] * x * y / n;
        syy += (double)t.weight[i] * y * y / n;
    }
    learn_all(&b, &t);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            struct least_squares_derive o = penalty(l2[i], l1[j]);
            double r = sxy / sqrt(sxx * syy), beta, mse;
            struct fit f = fit(&b, o);

            beta = soft(r, (double)l1[j]) / (1 + (double)l2[i]) * sqrt(syy / sxx);
            mse = syy - 2 * beta * sxy + beta * beta * sxx;
            near(f.w[0], beta, 1e-9);
            near(f.w[1], sy / n - beta * sx / n, 1e-9);
            near(f.mse, mse, 1e-9);
            near(f.r2, 1 - mse / syy, 1e-9);
            assert_true(f.used == (beta != 0));
            o.standardize = false;
            near(fit(&b, o).w[0], soft(sxy, (double)l1[j]) / (sxx + (double)l2[i]), 1e-9);
        }
    close_lab(&b);
    table_free(&t);
}

/* The same line fitted FOLDS times, row by row. */
static void cross_validation_is_that_of_fits_without_each_fold(void **state)
{
    struct table t;
    struct lab b;
    double se = 0;

    (void)state;
    seed = 4;
    t = table(217, 1, 10, 1); /* the last batch has 17 rows */
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = (float)(2 * (double)row(&t, i)[0] + 3 * noise());
    for (uint32_t k = 0; k < FOLDS; k++) {
        double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, slope;

        for (int pass = 0; pass < 3; pass++)
            for (uint32_t i = 0; i < t.n; i++) {
                uint32_t from = i / BATCH * BATCH, rows = t.n - from < BATCH ? t.n - from : BATCH;
                double x = (double)row(&t, i)[0], y = (double)t.y[i], off;
                bool own = fold_of(i - from, rows) == k;

                if (pass == 0 && !own) {
                    n++;
                    sx += x;
                    sy += y;
                } else if (pass == 1 && !own) {
                    sxx += (x - sx / n) * (x - sx / n);
                    sxy += (x - sx / n) * (y - sy / n);
                } else if (pass == 2 && own) {
                    slope = sxy / (1.5 * sxx); /* l2 = 0.5 in units of the deviation */
                    off = y - sy / n - slope * (x - sx / n);
                    se += off * off;
                }
            }
    }
    learn_all(&b, &t);
    near(fit(&b, penalty(0.5f, 0)).cv, se / t.n, 1e-9);
    close_lab(&b);
    table_free(&t);
}

static void selection_takes_what_helps_most(void **state)
{
    struct least_squares_derive o = penalty(0, 0);
    struct table t;
    struct lab b;
    struct fit f;

    (void)state;
    seed = 5;
    t = table(600, 6, 0, 1);
    for (uint32_t i = 0; i < t.n; i++) {
        float *x = row(&t, i);

        x[3] = -x[0];                            /* never both */
        x[4] = 3 * x[2] + 1;                     /* nor these, though they differ by rounding */
        x[5] = (float)(0.1 * (double)x[5]) + 70; /* small, but says the same as a large one */
        t.y[i] = (float)(3 * (double)x[2] + 2 * (double)x[0] + 10 * ((double)x[5] - 70) + noise());
    }
    learn_all(&b, &t);
    o.features = 1;
    f = fit(&b, o);
    assert_true(f.w[2] != 0 && f.used == 1);
    near(f.w[2], 3, 0.1);
    o.features = 2;
    f = fit(&b, o);
    assert_true(f.w[2] != 0 && f.w[0] != 0 && f.used == 2);
    o.features = 3;
    f = fit(&b, o);
    assert_true(f.w[2] != 0 && f.w[0] != 0 && f.w[5] != 0 && f.used == 3);
    o.features = 5;
    f = fit(&b, o);
    assert_true(f.used == 4 && (f.w[2] != 0) != (f.w[4] != 0) && f.w[1] != 0 && f.w[5] != 0);
    o.features = 3;
    o.l1 = 0.05f;
    f = fit(&b, o);
    assert_true(f.used == 3 && f.w[2] < 3 && f.w[0] < 2);
    close_lab(&b);
    table_free(&t);
}

/* ---- where the rows do not determine the coefficients ---- */

static void constant_columns_have_no_coefficient(void **state)
{
    static const float l1[] = {0, 0.01f};
    struct table t;
    struct lab b;

    (void)state;
    seed = 6;
    t = table(300, 4, 0, 1);
    for (uint32_t i = 0; i < t.n; i++) {
        row(&t, i)[1] = 0;
        row(&t, i)[3] = 1e7f / 3;
        t.y[i] = (float)(1 + (double)row(&t, i)[0] + 0.1 * noise());
    }
    learn_all(&b, &t);
    for (int i = 0; i < 2; i++) {
        struct fit f = fit(&b, penalty(0, l1[i]));

        assert_true(f.w[1] == 0 && f.w[3] == 0);
        near(f.w[0], 1, 0.03);
        assert_true(f.mse < 0.012 && f.cv < 0.012);
    }
    close_lab(&b);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = -4.25f;
    learn_all(&b, &t);
    for (int i = 0; i < 2; i++) {
        struct fit f = fit(&b, penalty(0, l1[i]));

        assert_true(f.w[4] == -4.25 && f.mse < 1e-12 && f.cv < 1e-12 && isnan(f.r2));
        assert_true(f.used == 0);
    }
    close_lab(&b);
    table_free(&t);
}

static void columns_that_say_the_same_share_their_coefficient(void **state)
{
    struct table t;
    struct lab b;
    struct fit f, ridge;

    (void)state;
    seed = 7;
    t = table(500, 6, 0, 1);
    for (uint32_t i = 0; i < t.n; i++) {
        float *x = row(&t, i);

        x[1] = 2 * x[0]; /* the same but for its unit */
        for (uint32_t j = 2; j < 5; j++)
            x[j] = j - 2 == i % 3; /* they sum to 1 */
        t.y[i] = (float)(3 * (double)x[0] + (i % 3 == 1) + 0.1 * noise());
    }
    learn_all(&b, &t);
    f = fit(&b, penalty(0, 0));
    near(f.w[0], 1.5, 0.02);
    near(f.w[1], f.w[0] / 2, 1e-7); /* the same in standard units */
    near(f.w[3] - f.w[2], 1, 0.03);
    near(f.w[4] - f.w[2], 0, 0.03);
    assert_true(f.mse < 0.011 && f.cv < 0.012);
    ridge = fit(&b, penalty(1e-9f, 0)); /* a little l2 says the same */
    for (uint32_t j = 0; j <= 6; j++)
        near(ridge.w[j], f.w[j], 1e-5);
    near(ridge.cv, f.cv, 1e-6);
    f = fit(&b, penalty(0, 0.001f));
    assert_true(f.mse < 0.02);
    close_lab(&b);
    table_free(&t);
}

/* Their difference is rounding, so it is not learned from. */
static void columns_that_differ_by_rounding_share_it_too(void **state)
{
    struct table t;
    struct lab b;
    struct fit f;

    (void)state;
    seed = 15;
    t = table(500, 2, 0, 1);
    for (uint32_t i = 0; i < t.n; i++) {
        row(&t, i)[1] = row(&t, i)[0] + 8;
        t.y[i] = (float)(3 * (double)row(&t, i)[0] + 0.1 * noise());
    }
    learn_all(&b, &t);
    f = fit(&b, penalty(0, 0));
    near(f.w[0], 1.5, 0.02);
    near(f.w[1], f.w[0], 1e-6);
    close_lab(&b);
    table_free(&t);
}

static void fewer_rows_than_features_are_met_exactly(void **state)
{
    struct table t;
    struct lab b;
    struct fit f;

    (void)state;
    seed = 8;
    t = table(20, 30, 50, 1);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = (float)noise();
    learn_all(&b, &t);
    f = fit(&b, penalty(0, 0));
    assert_true(f.mse < 1e-10 && f.r2 > 1 - 1e-9);
    assert_true(f.cv > 0.1 && f.cv < 100);
    assert_true(fit(&b, penalty(1, 0)).cv < f.cv);
    (void)fit(&b, penalty(0, 0.1f));
    close_lab(&b);
    table_free(&t);
}

static void one_row_is_predicted_for_all(void **state)
{
    struct table t;
    struct lab b;
    struct fit f;

    (void)state;
    seed = 9;
    t = table(1, 3, 5, 1);
    t.y[0] = 12;
    learn_all(&b, &t);
    f = fit(&b, penalty(0, 0));
    assert_true(f.w[3] == 12 && f.used == 0 && f.mse == 0);
    assert_true(isnan(f.cv)); /* all its rows are in one fold */
    close_lab(&b);
    table_free(&t);
}

static void without_weight_there_is_no_model(void **state)
{
    struct least_squares_derive o = penalty(0, 0);
    struct tensors model;
    struct measures m = {0};
    struct table t;
    struct lab b;

    (void)state;
    seed = 10;
    t = table(80, 3, 5, 1);
    memset(t.weight, 0, t.n * sizeof *t.weight);
    learn_all(&b, &t);
    assert_true(b.s.t[LS_HEAD].f64[HEAD_MADE] == 0);
    assert_int_equal(tensors_declare(&model, &algo_least_squares, PART_MODEL, &b.k.sh, &b.o, &o,
                                     NULL, 0, 6, 1 << 20, &b.k.err),
                     ST_OK);
    assert_int_equal(tensors_alloc(&model, NULL, NULL, &b.k.err), ST_OK);
    assert_int_equal(algo_least_squares.derive(&b.k.x, &b.view, &o, &model, &m), ST_AGAIN);
    assert_non_null(strstr(b.k.err.text, "weight"));
    rig_free(&b.k, &model);
    close_lab(&b);
    table_free(&t);
}

/* ---- learning ---- */

static void partitions_add_up_to_one(void **state)
{
    struct tensors s[3], view, *list[3];
    struct least_squares_derive o = penalty(0.01f, 0.02f);
    struct table t, part;
    struct fit one, many;
    struct lab b;

    (void)state;
    seed = 11;
    t = table(12 * BATCH, 5, -7, 2);
    for (uint32_t i = 0; i < t.n; i++) {
        t.y[i] = (float)((double)row(&t, i)[3] + noise());
        t.weight[i] = (float)(0.5 + uniform());
    }
    learn_all(&b, &t);
    one = fit(&b, o);
    for (uint32_t p = 0, at = 0; p < 3; p++, at += part.n) {
        part = t;
        part.n = (p == 0 ? 7 : p == 1 ? 1 : 4) * BATCH;
        part.x = row(&t, at);
        part.y += at;
        part.weight += at;
        list[p] = &s[p];
        rig_state(&b.k, &s[p]);
        rig_pass(&b.k, &s[p], &part, p, NULL);
    }
    rig_view(&b.k, list, 3, &view);
    rig_free(&b.k, &b.view);
    b.view = view;
    many = fit(&b, o);
    for (uint32_t j = 0; j <= t.d; j++)
        near(many.w[j], one.w[j], 1e-8);
    near(many.cv, one.cv, 1e-8);
    for (uint32_t p = 0; p < 3; p++)
        rig_free(&b.k, &s[p]);
    close_lab(&b);
    table_free(&t);
}

static void learn(struct lab *b, struct tensors *s, const struct table *t, uint32_t from,
                  uint32_t n, uint32_t held, double decay, float *loss)
{
    float z[BATCH];
    struct eval e = {z, loss};
    struct rows r;

    rig_rows(&b->k, t, from, n, held, &r);
    r.decay = decay;
    assert_int_equal(b->k.a->update(&b->k.x, s, &r, loss ? &e : NULL), ST_OK);
}

static void what_is_old_counts_less(void **state)
{
    struct table t;
    struct tensors s;
    struct lab b;

    (void)state;
    seed = 12;
    t = table(4 * BATCH, 3, 1, 1);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = (float)noise();
    open_lab(&b, 3, "ref");
    rig_state(&b.k, &s);
    for (uint32_t i = 0; i < 4; i++)
        learn(&b, &s, &t, i * BATCH, i == 2 ? 1 : BATCH, 0, 0.5,
              NULL); /* 2: most folds are empty */
    for (uint32_t i = 0; i < t.n; i++)
        t.weight[i] = 1.0f / (float)(8 >> i / BATCH);
    for (uint32_t i = 0; i < 4; i++)
        learn(&b, &b.s, &t, i * BATCH, i == 2 ? 1 : BATCH, 0, 1, NULL);
    for (uint64_t i = 0; i < s.t[LS_SUMS].n; i++)
        near(s.t[LS_SUMS].f64[i], b.s.t[LS_SUMS].f64[i], 1e-12);
    near(s.t[LS_HEAD].f64[HEAD_WEIGHT], BATCH * (0.125 + 0.25 + 1) + 0.5, 1e-12);
    near(b.s.t[LS_HEAD].f64[HEAD_WEIGHT], BATCH * (0.125 + 0.25 + 1) + 0.5, 1e-12);
    rig_free(&b.k, &s);
    look(&b);
    close_lab(&b);
    table_free(&t);
}

static void rows_held_out_or_without_weight_change_nothing(void **state)
{
    struct table t;
    struct tensors s;
    struct lab b;

    (void)state;
    seed = 13;
    t = table(3 * BATCH, 3, 1, 1);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = (float)noise();
    open_lab(&b, 3, "openblas");
    learn(&b, &b.s, &t, 0, BATCH, 0, 1, NULL);
    rig_copy(&b.k, &s, &b.s);
    learn(&b, &s, &t, BATCH, BATCH, BATCH, 1, NULL);
    memset(t.weight + 2 * BATCH, 0, BATCH * sizeof *t.weight);
    learn(&b, &s, &t, 2 * BATCH, BATCH, 0, 1, NULL);
    assert_memory_equal(s.base, b.s.base, s.bytes);
    rig_free(&b.k, &s);
    look(&b);
    close_lab(&b);
    table_free(&t);
}

/* Rows are scored before they are learned, by what came before them. */
static void scores_while_learning_come_near_those_of_the_model(void **state)
{
    double sum = 0, weight = 0;
    float loss[BATCH], *out;
    struct table t;
    struct lab b;
    struct tensors model;
    struct least_squares_derive o = penalty(0, 0);

    (void)state;
    seed = 14;
    t = table(100 * BATCH, 10, 20, 3);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = (float)((double)row(&t, i)[1] - (double)row(&t, i)[9] + 0.5 * noise());
    open_lab(&b, 10, "openblas");
    for (uint32_t at = 0; at < t.n; at += BATCH) {
        learn(&b, &b.s, &t, at, BATCH, BATCH / 4, 1, loss);
        for (uint32_t i = 0; i < BATCH && at == 0; i++)
            assert_true(loss[i] == LOSS_NONE);
        for (uint32_t i = 0; i < BATCH && at >= 10 * BATCH; i++) {
            sum += (double)loss[i];
            weight++;
        }
    }
    near(sum / weight, 0.5 * 0.25, 0.01);
    look(&b);
    rig_model(&b.k, &b.view, &o, &model, NULL);
    for (uint32_t j = 0; j < t.d; j++)
        near(b.s.t[LS_W].f64[j], model.t[LS_MODEL_W].f64[j], 0.01);
    out = calloc(t.n, sizeof *out);
    rig_score(&b.k, &model, &t, out, 1);
    sum = 0;
    for (uint32_t i = 0; i < t.n; i++)
        sum += pow((double)out[i] - (double)t.y[i], 2) / t.n;
    near(sum, 0.25, 0.02);
    free(out);
    rig_free(&b.k, &model);
    close_lab(&b);
    table_free(&t);
}

/* Columns that are nearly always nearly 0, and then are not, as the edge of a picture: the noise
 * that they fit in the first rows must not be multiplied. */
static void the_first_rows_are_not_learned_by_heart(void **state)
{
    double sum = 0, square = 0, all = 0;
    float loss[BATCH];
    struct table t;
    struct lab b;

    (void)state;
    seed = 16;
    t = table(50 * BATCH, 60, 2, 1);
    for (uint32_t i = 0; i < t.n; i++) {
        for (uint32_t j = 1; j < t.d; j++)
            row(&t, i)[j] = (float)(uniform() < 0.1 ? 255 * pow(uniform(), 4) : 0);
        t.y[i] = (float)(2 * (double)row(&t, i)[0] + noise());
    }
    open_lab(&b, 60, "ref");
    for (uint32_t at = 0; at < t.n; at += BATCH) {
        learn(&b, &b.s, &t, at, BATCH, 0, 1, loss);
        for (uint32_t i = 0; i < BATCH && at; i++) {
            sum += (double)t.y[at + i] / (t.n - BATCH);
            square += pow((double)t.y[at + i], 2) / (t.n - BATCH);
            all += (double)loss[i] / (t.n - BATCH);
        }
    }
    assert_true(all < 0.35 * 0.5 * (square - sum * sum));
    look(&b);
    close_lab(&b);
    table_free(&t);
}

/* ---- refusals ---- */

static void what_it_cannot_learn_is_refused(void **state)
{
    static const struct {
        struct shape sh;
        struct least_squares_opts o;
        const char *says;
    } bad[] = {
        {{.d = {3}, .ny = 0}, {5, 0}, "one label, the input has 0"},
        {{.d = {3}, .ny = 2}, {5, 0}, "one label, the input has 2"},
        {{.d = {3}, .ny = 1, .classes = 3}, {5, 0}, "3 classes"},
        {{.d = {3}, .ny = 1, .nnz = {9}}, {5, 0}, "dense"},
        {{.d = {0}, .ny = 1}, {5, 0}, "1..16000 features"},
        {{.d = {20000}, .ny = 1}, {5, 0}, "1.6 GB"},
        {{.d = {3}, .ny = 1}, {1, 0}, "folds must be 2..10, got 1"},
        {{.d = {3}, .ny = 1}, {11, 0}, "folds must be 2..10, got 11"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct least_squares_opts o = bad[i].o;
        struct shape sh = bad[i].sh;
        struct err e;

        assert_int_equal(algo_least_squares.check(&sh, &o, &e), ST_BAD_CONFIG);
        if (!strstr(e.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", e.text, bad[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_whole_numbers_are_exact),
        cmocka_unit_test(a_plane_is_found_wherever_it_lies),
        cmocka_unit_test(units_cost_no_digits),
        cmocka_unit_test(one_feature_is_shrunk_as_the_formulas_say),
        cmocka_unit_test(cross_validation_is_that_of_fits_without_each_fold),
        cmocka_unit_test(selection_takes_what_helps_most),
        cmocka_unit_test(constant_columns_have_no_coefficient),
        cmocka_unit_test(columns_that_say_the_same_share_their_coefficient),
        cmocka_unit_test(columns_that_differ_by_rounding_share_it_too),
        cmocka_unit_test(fewer_rows_than_features_are_met_exactly),
        cmocka_unit_test(one_row_is_predicted_for_all),
        cmocka_unit_test(without_weight_there_is_no_model),
        cmocka_unit_test(partitions_add_up_to_one),
        cmocka_unit_test(what_is_old_counts_less),
        cmocka_unit_test(rows_held_out_or_without_weight_change_nothing),
        cmocka_unit_test(scores_while_learning_come_near_those_of_the_model),
        cmocka_unit_test(the_first_rows_are_not_learned_by_heart),
        cmocka_unit_test(what_it_cannot_learn_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
