/* linear: each loss is what its name says, its step goes down it, and a constant learns what is
 * known to be best. */
#include "algos/loss.h"
#include "tests/unit/support_linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { CLASSES = 3 };

static uint32_t classes_of(uint32_t loss)
{
    return linear_out(loss) == OUT_VALUE ? 0 : linear_out(loss) == OUT_MARGIN ? 2 : CLASSES;
}

static struct linear_opts options(uint32_t loss, uint32_t optimizer, float rate)
{
    struct linear_opts o = lin_options(loss, optimizer, rate);

    o.classes = classes_of(loss);
    o.quantile = 0.8f;
    o.huber_delta = 1.5f;
    o.standardize = LINEAR_FALSE;
    return o;
}

static enum st give(struct rig *k, struct tensors *s, const struct table *t, uint32_t from,
                    uint32_t n, uint32_t held, struct eval *e)
{
    struct rows r;

    rig_rows(k, t, from, n, held, &r);
    return k->a->update(&k->x, s, &r, e);
}

static void learn(struct rig *k, struct tensors *s, const struct table *t, uint32_t from,
                  uint32_t n, struct eval *e)
{
    assert_int_equal(give(k, s, t, from, n, 0, e), ST_OK);
}

/* n rows of one feature that is always 0: only the bias learns. */
static struct table constant(uint32_t n)
{
    struct table t = {.n = n, .d = 1};

    t.x = calloc(n, sizeof *t.x);
    t.y = calloc(n, sizeof *t.y);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < n; i++)
        t.weight[i] = 1;
    return t;
}

static void near(double is, double want, double by)
{
    if (!(fabs(is - want) <= by))
        fail_msg("%g is not %g", is, want);
}

/* ---- gradients ---- */

struct probe { /* one row without features; outputs are the biases */
    struct rig k;
    struct tensors s;
    struct linear_opts o;
    struct table t;
    float *bias;
};

static void probe_open(struct probe *p, uint32_t loss)
{
    p->o = options(loss, LINEAR_SGD, 1);
    p->t = constant(1);
    rig_open(&p->k, &algo_linear, "ref", lin_dense(1, 1), &p->o);
    rig_state(&p->k, &p->s);
    p->bias = p->s.t[LIN_W].f32 + p->k.sh.zcols;
}

static void probe_close(struct probe *p)
{
    rig_free(&p->k, &p->s);
    rig_close(&p->k);
    table_free(&p->t);
}

static double loss_at(struct probe *p, float *z)
{
    float out[CLASSES], loss;

    assert_int_equal(give(&p->k, &p->s, &p->t, 0, 1, 1, &(struct eval){out, &loss}), ST_OK);
    if (z)
        *z = out[0];
    return (double)loss;
}

/* The step of one row is rate * gradient; the gradient is the slope of the loss, where it has
 * one. */
static void check_slopes(struct probe *p, uint32_t loss, float z, float y)
{
    const uint32_t c = p->k.sh.zcols;
    float start[CLASSES], out;
    double slope, up, down, known;
    const double h = 1e-2;

    p->t.y[0] = y;
    for (uint32_t j = 0; j < c; j++)
        start[j] = z + 0.5f * (float)j;
    for (uint32_t j = 0; j < c; j++) {
        memcpy(p->bias, start, c * sizeof *start);
        known = loss_of(&p->k.sh, (loss_at(p, &out), (double)out), (double)y);
        if (!isnan(known))
            near(loss_at(p, NULL), known, 1e-5 * (1 + fabs(known)));
        p->bias[j] = start[j] + (float)h;
        up = loss_at(p, NULL);
        p->bias[j] = start[j] - (float)h;
        down = loss_at(p, NULL);
        slope = (up - down) / ((double)(start[j] + (float)h) - (double)(start[j] - (float)h));
        memcpy(p->bias, start, c * sizeof *start);
        learn(&p->k, &p->s, &p->t, 0, 1, NULL);
        if (fabs((double)start[j] - (double)p->bias[j] - slope) > 2e-3 * (1 + fabs(slope)))
            fail_msg("loss %u, output %u = %g, label %g: step %g, slope %g", loss, j,
                     (double)start[j], (double)y, (double)(start[j] - p->bias[j]), slope);
    }
}

static void a_step_goes_down_the_slope_of_the_loss(void **state)
{
    static const float z[] = {-3.05f, -1.2f, -0.3f, 0.05f, 0.55f, 1.6f, 2.85f};
    static const float value[] = {-2, 0.21f, 3};

    (void)state;
    for (uint32_t loss = 0; loss < LINEAR_LOSSES; loss++) {
        const uint32_t classes = classes_of(loss);
        struct probe p;

        probe_open(&p, loss);
        for (uint32_t i = 0; i < sizeof z / sizeof *z; i++)
            for (uint32_t k = 0; k < (classes == 2 ? 2 : 3); k++)
                if (loss != LINEAR_POISSON || k)
                    check_slopes(&p, loss, z[i], classes ? (float)k : value[k]);
        probe_close(&p);
    }
}

static void beyond_its_margin_a_hinge_teaches_nothing(void **state)
{
    static const uint32_t losses[] = {LINEAR_HINGE, LINEAR_SQUARED_HINGE};
    struct tensors before;
    struct probe p;

    (void)state;
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t y = 0; y < 2; y++) {
            probe_open(&p, losses[i]);
            p.t.y[0] = (float)y;
            *p.bias = y ? 1.01f : -1.01f;
            rig_copy(&p.k, &before, &p.s);
            assert_true(loss_at(&p, NULL) == 0);
            learn(&p.k, &p.s, &p.t, 0, 1, NULL);
            assert_true(p.s.t[LIN_W].f32[0] == 0 && *p.bias == (y ? 1.01f : -1.01f));
            *p.bias = y ? 0.99f : -0.99f;
            learn(&p.k, &p.s, &p.t, 0, 1, NULL);
            assert_true(fabsf(*p.bias) > 0.99f);
            rig_free(&p.k, &before);
            probe_close(&p);
        }
}

static void a_poisson_output_never_overflows(void **state)
{
    struct probe p;
    float z;

    (void)state;
    probe_open(&p, LINEAR_POISSON);
    p.t.y[0] = 2;
    *p.bias = 1000;
    assert_true(isfinite(loss_at(&p, &z)));
    near((double)z, exp(30), 1e7);
    learn(&p.k, &p.s, &p.t, 0, 1, NULL);
    assert_true(*p.bias < 0 && isfinite(*p.bias));
    p.t.y[0] = -1;
    assert_int_equal(give(&p.k, &p.s, &p.t, 0, 1, 0, NULL), ST_BAD_INPUT);
    assert_non_null(strstr(p.k.err.text, "label -1 of row 0: loss poisson learns counts"));
    probe_close(&p);
}

/* ---- what a constant learns ---- */

/* The bias after n rows of labels quantile(u), u uniform. */
static double learned_constant(uint32_t loss, float rate, double (*quantile)(double u))
{
    const uint32_t n = 40000;
    struct linear_opts o = options(loss, LINEAR_ADAGRAD, rate);
    struct table t = constant(n);
    struct tensors s;
    struct rig k;
    double bias;

    lin_seed = 11;
    for (uint32_t i = 0; i < n; i++)
        t.y[i] = (float)quantile((double)lin_uniform());
    rig_open(&k, &algo_linear, "openblas", lin_dense(1, 32), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    bias = (double)s.t[LIN_W].f32[1];
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
    return bias;
}

static double exponential(double u)
{
    return -log(1 - u);
}

static double counts(double u) /* 0, 2 or 10 */
{
    return u < 0.5 ? 0 : u < 0.75 ? 2 : 10;
}

static void a_constant_learns_what_the_loss_asks_for(void **state)
{
    (void)state;
    near(learned_constant(LINEAR_SQUARED, 0.1f, exponential), 1, 0.03);
    near(learned_constant(LINEAR_ABSOLUTE, 0.1f, exponential), log(2), 0.03);
    near(learned_constant(LINEAR_QUANTILE, 0.1f, exponential), log(5), 0.06);
    near(learned_constant(LINEAR_POISSON, 0.1f, counts), log(3), 0.05);
    /* Huber's, delta 1.5: c with E clip(y - c) = 0, which for this label is (bisection) */
    {
        double low = 0, high = 2;

        for (int i = 0; i < 60; i++) {
            double c = (low + high) / 2, sum = 0;

            for (int u = 0; u < 10000; u++)
                sum += fmax(-1.5, fmin(1.5, exponential((u + 0.5) / 10000) - c));
            *(sum > 0 ? &low : &high) = c;
        }
        near(learned_constant(LINEAR_HUBER, 0.1f, exponential), low, 0.03);
    }
}

/* ---- class weights ---- */

static void class_weights_are_row_weights(void **state)
{
    static const uint32_t losses[] = {LINEAR_SOFTMAX, LINEAR_ONE_VS_REST, LINEAR_HINGE,
                                      LINEAR_LOGISTIC};
    static const float by[] = {0.5f, 3, 2};

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t loss = losses[i / 2], classes = classes_of(loss);
        struct linear_opts plain = options(loss, LINEAR_ADAGRAD, 0.1f), own = plain;
        struct table all, t;
        struct tensors a, b;
        struct rig k, kw;
        double x, y;

        lin_seed = 12;
        all = lin_table(320, 6, 0.5f, 1, 0, classes);
        t = i % 2 ? all : lin_densely(&all);
        plain.standardize = own.standardize = LINEAR_AUTO;
        own.class_weight.n = classes;
        memcpy(own.class_weight.v, by, sizeof by);
        rig_open(&k, &algo_linear, "openblas", i % 2 ? lin_sparse(6, 32) : lin_dense(6, 32),
                 &plain);
        rig_open(&kw, &algo_linear, "openblas", i % 2 ? lin_sparse(6, 32) : lin_dense(6, 32), &own);
        rig_state(&k, &a);
        rig_state(&kw, &b);
        rig_pass(&kw, &b, &t, 0, &y);
        for (uint32_t r = 0; r < t.n; r++)
            t.weight[r] *= by[(int)t.y[r]];
        rig_pass(&k, &a, &t, 0, &x);
        assert_int_equal(a.bytes, b.bytes);
        assert_memory_equal(a.base, b.base, a.bytes);
        near(x, y, 1e-6); /* rig_pass takes plain means: losses have no weight in them */
        rig_free(&k, &a);
        rig_free(&kw, &b);
        rig_close(&k);
        rig_close(&kw);
        table_free(&all);
    }
}

/* ---- score rows ---- */

static void one_against_the_rest_has_probabilities(void **state)
{
    const float bias[] = {1, 2, -3}, low[] = {-300, -200, -400};
    struct linear_derive d = {1};
    struct tensors view, model, *list[1];
    struct probe p;
    float out[1 + CLASSES];
    double sum = 0;

    (void)state;
    probe_open(&p, LINEAR_ONE_VS_REST);
    learn(&p.k, &p.s, &p.t, 0, 1, NULL);
    list[0] = &p.s;
    memcpy(p.bias, bias, sizeof bias);
    rig_view(&p.k, list, 1, &view);
    rig_model(&p.k, &view, &d, &model, NULL);
    rig_score(&p.k, &model, &p.t, out, 1 + CLASSES);
    for (uint32_t c = 0; c < CLASSES; c++)
        sum += 1 / (1 + exp(-(double)bias[c]));
    assert_true(out[0] == 1);
    for (uint32_t c = 0; c < CLASSES; c++)
        assert_float_equal(out[1 + c], (float)(1 / (1 + exp(-(double)bias[c])) / sum), 1e-6);
    rig_free(&p.k, &view);
    rig_free(&p.k, &model);

    memcpy(p.bias, low, sizeof low); /* no sigmoid is above 0 */
    rig_view(&p.k, list, 1, &view);
    rig_model(&p.k, &view, &d, &model, NULL);
    rig_score(&p.k, &model, &p.t, out, 1 + CLASSES);
    assert_true(out[0] == 1);
    assert_float_equal(out[1] + out[2] + out[3], 1, 1e-6);
    rig_free(&p.k, &view);
    rig_free(&p.k, &model);
    probe_close(&p);
}

/* ---- baselines ---- */

/* The least mean of loss_of() over constants, by trying. */
static double tried(const struct shape *sh, const float *y, uint32_t n)
{
    double least = (double)INFINITY;

    for (int i = -4000; i <= 4000; i++) {
        double z = sh->loss == LOSS_POISSON ? exp(i / 1000.0) : i / 1000.0, sum = 0;

        for (uint32_t r = 0; r < n; r++)
            sum += loss_of(sh, z, (double)y[r]);
        least = fmin(least, sum / n);
    }
    return least;
}

static void baselines_are_the_best_constants(void **state)
{
    const float two[] = {1, 1, 0, 1, 0, 1, 1}, many[] = {0, 3, 1, 0, 7, 2, 2};
    struct shape sh = {.out = OUT_MARGIN, .loss = LOSS_HINGE, .classes = 2};
    const double label[] = {2, 5, 0}, number[] = {7, 15, 67};

    (void)state;
    near(loss_baseline(&sh, label), tried(&sh, two, 7), 1e-3);
    sh.loss = LOSS_SQUARED_HINGE;
    near(loss_baseline(&sh, label), tried(&sh, two, 7), 1e-3);
    sh = (struct shape){.out = OUT_VALUE, .loss = LOSS_POISSON};
    near(loss_baseline(&sh, number), tried(&sh, many, 7), 1e-3);
    sh = (struct shape){.out = OUT_LOGITS, .loss = LOSS_ONE_VS_REST, .classes = 2};
    assert_true(fabs(loss_baseline(&sh, label) + 2 * (2 * log(2 / 7.0) + 5 * log(5 / 7.0)) / 7) <
                1e-6);
    sh = (struct shape){.out = OUT_VALUE, .loss = LOSS_ABSOLUTE};
    assert_true(isnan(loss_baseline(&sh, number)));
}

/* ---- refusals ---- */

static void refused(uint32_t loss, const struct linear_opts *with, uint32_t classes,
                    const char *why)
{
    struct shape sh = lin_dense(4, 0);
    struct linear_opts o = *with;
    struct err e = {""};

    sh.classes = classes;
    o.loss = loss;
    assert_int_equal(algo_linear.check(&sh, &o, &e), ST_BAD_CONFIG);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
}

static void options_that_make_no_sense_are_refused(void **state)
{
    struct linear_opts o = options(LINEAR_SQUARED, LINEAR_ADAGRAD, 0.1f);

    (void)state;
    refused(LINEAR_HUBER, &o, 3, "loss huber learns a number, the label has 3 classes");
    refused(LINEAR_HINGE, &o, 3, "loss hinge wants 2 classes, the input's label has 3");
    refused(LINEAR_ONE_VS_REST, &o, 0, "loss one_vs_rest needs the number of classes");
    o.quantile = 1;
    refused(LINEAR_QUANTILE, &o, 0, "quantile must be between 0 and 1, got 1");
    o.class_weight = (struct f32s){2, {1, 2}};
    refused(LINEAR_SQUARED, &o, 0, "class_weight: loss squared learns a number");
    refused(LINEAR_SOFTMAX, &o, 3, "class_weight has 2 values, there are 3 classes");
    o.class_weight = (struct f32s){1, {2}};
    refused(LINEAR_LOGISTIC, &o, 0, "class_weight has 1 values, there are 2 classes");
    o.class_weight = (struct f32s){2, {0, 0}};
    refused(LINEAR_LOGISTIC, &o, 0, "all 2 are 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_goes_down_the_slope_of_the_loss),
        cmocka_unit_test(beyond_its_margin_a_hinge_teaches_nothing),
        cmocka_unit_test(a_poisson_output_never_overflows),
        cmocka_unit_test(a_constant_learns_what_the_loss_asks_for),
        cmocka_unit_test(class_weights_are_row_weights),
        cmocka_unit_test(one_against_the_rest_has_probabilities),
        cmocka_unit_test(baselines_are_the_best_constants),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
