#include "algos/knn.h"
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

/* n rows of d numbers in [offset, offset + 1); the label is the class of a grid of `classes` cells
 * along the first number, or (0) the sum of the numbers less offset. */
static struct table table(uint32_t n, uint32_t d, uint32_t classes, float offset)
{
    struct table t = {.n = n, .d = d};

    t.x = calloc((size_t)n * d, sizeof *t.x);
    t.y = calloc(n, sizeof *t.y);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < n; i++) {
        float *x = t.x + (size_t)i * d, sum = 0;

        for (uint32_t j = 0; j < d; j++) {
            float u = uniform();

            x[j] = offset + u;
            sum += x[j] - offset;
        }
        t.y[i] = classes ? floorf((x[0] - offset) * 0.999f * (float)classes) : sum;
        t.weight[i] = 1;
    }
    return t;
}

struct learner {
    struct knn_opts o;
    struct rig k;
    struct tensors state, view;
};

static void learner_open(struct learner *m, struct knn_opts o, const char *backend,
                         const struct table *t)
{
    struct tensors *all[] = {&m->state};

    m->o = o;
    rig_open(&m->k, &algo_knn, backend, (struct shape){.slots = 2, .ny = 1, .d = {t->d}}, &m->o);
    rig_state(&m->k, &m->state);
    rig_pass(&m->k, &m->state, t, 0, NULL);
    rig_view(&m->k, all, 1, &m->view);
}

static void learner_close(struct learner *m)
{
    rig_free(&m->k, &m->state);
    rig_free(&m->k, &m->view);
    rig_close(&m->k);
}

static float *predict(struct learner *m, struct knn_derive v, const struct table *t, uint32_t width,
                      struct measures *own)
{
    float *out = calloc((size_t)t->n * width, sizeof *out);
    struct tensors model;

    memset(own, 0, sizeof *own);
    rig_model(&m->k, &m->view, &v, &model, own);
    rig_score(&m->k, &model, t, out, width);
    rig_free(&m->k, &model);
    return out;
}

static double measure(const struct measures *m, const char *name)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (!strcmp(m->m[i].name, name))
            return m->m[i].value;
    fail_msg("no measure %s", name);
    return NAN;
}

/* ---- brute force in f64, over the view's rows ---- */

struct far {
    double d2;
    uint32_t row;
};

static int by_distance(const void *a, const void *b)
{
    const struct far *p = a, *q = b;

    return p->d2 < q->d2 ? -1 : p->d2 > q->d2 ? 1 : p->row < q->row ? -1 : 1;
}

/* All rows of the view but `self` by distance from x. */
static uint32_t sorted(const struct tensors *view, uint32_t rows, uint32_t d, const float *x,
                       uint32_t self, struct far *out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < rows; i++) {
        const float *c = view->t[SAMPLE_VIEW_X].f32 + (size_t)i * d;
        double d2 = 0;

        for (uint32_t j = 0; j < d; j++)
            d2 += ((double)c[j] - (double)x[j]) * ((double)c[j] - (double)x[j]);
        if (i != self)
            out[n++] = (struct far){d2, i};
    }
    qsort(out, n, sizeof *out, by_distance);
    return n;
}

static double value_of(const struct tensors *view, const struct far *f, uint32_t k,
                       uint32_t classes)
{
    const float *y = view->t[SAMPLE_VIEW_Y].f32;
    uint32_t votes[16] = {0}, best = (uint32_t)y[f[0].row];
    double sum = 0;

    for (uint32_t q = 0; q < k; q++) {
        sum += (double)y[f[q].row];
        if (classes)
            votes[(uint32_t)y[f[q].row]]++;
    }
    for (uint32_t q = 0; classes && q < k; q++)
        best = votes[(uint32_t)y[f[q].row]] > votes[best] ? (uint32_t)y[f[q].row] : best;
    return classes ? best : sum / k;
}

/* Scores and the sample's own measure are those of brute force. */
static void as_brute_force(struct knn_opts o, const char *backend, uint32_t n, float offset,
                           uint32_t k)
{
    struct table t, q;
    struct learner m;
    struct measures own;
    struct far *f;
    float *out;
    uint32_t width = 1 + o.classes, rows;
    double sum = 0, loo;

    seed = n + k;
    t = table(n, 5, o.classes, offset);
    q = table(200, 5, o.classes, offset);
    learner_open(&m, o, backend, &t);
    rows = (uint32_t)m.view.t[SAMPLE_VIEW_HEAD].u64[0];
    assert_int_equal(rows, n < o.sample ? n : o.sample);
    f = calloc(rows, sizeof *f);
    out = predict(&m, (struct knn_derive){.k = k}, &q, width, &own);
    for (uint32_t i = 0; i < q.n; i++) {
        double want;

        sorted(&m.view, rows, 5, q.x + (size_t)i * 5, UINT32_MAX, f);
        want = value_of(&m.view, f, k, o.classes);
        if (fabs(want - (double)out[(size_t)i * width]) > 1e-5)
            fail_msg("row %u: %g, brute force %g", i, (double)out[(size_t)i * width], want);
    }
    for (uint32_t i = 0; i < rows && i < LOO_ROWS; i++) {
        double want = (double)m.view.t[SAMPLE_VIEW_Y].f32[i], is;

        sorted(&m.view, rows, 5, m.view.t[SAMPLE_VIEW_X].f32 + (size_t)i * 5, i, f);
        is = value_of(&m.view, f, k, o.classes);
        sum += o.classes ? is == want : (is - want) * (is - want);
    }
    sum /= rows < LOO_ROWS ? rows : LOO_ROWS;
    loo = o.classes ? measure(&own, "loo_accuracy") : measure(&own, "loo_rmse");
    if (fabs(loo - (o.classes ? sum : sqrt(sum))) > 1e-4)
        fail_msg("by the others %g, brute force %g", loo, o.classes ? sum : sqrt(sum));
    free(f);
    free(out);
    learner_close(&m);
    table_free(&t);
    table_free(&q);
}

static void classes_are_those_of_brute_force(void **state)
{
    (void)state;
    as_brute_force((struct knn_opts){.sample = 300, .k = 5, .classes = 4}, "openblas", 1000, 0, 7);
    as_brute_force((struct knn_opts){.sample = 300, .k = 5, .classes = 4}, "ref", 1000, 0, 1);
    as_brute_force((struct knn_opts){.sample = 5000, .k = 5, .classes = 3}, "openblas", 4500, 0,
                   20); /* three tiles */
}

static void values_are_those_of_brute_force(void **state)
{
    (void)state;
    as_brute_force((struct knn_opts){.sample = 2500, .k = 3}, "openblas", 2400, 0, 3);
    as_brute_force((struct knn_opts){.sample = 2500, .k = 3}, "ref", 2100, 0, 1);
}

static void a_common_offset_costs_no_digits(void **state)
{
    (void)state;
    as_brute_force((struct knn_opts){.sample = 400, .k = 3, .classes = 3}, "openblas", 400, 1000,
                   3);
}

/* ---- derived ---- */

static void a_smaller_sample_is_the_head_of_the_larger(void **state)
{
    struct table t;
    struct learner m;
    struct tensors model;

    (void)state;
    seed = 4;
    t = table(500, 3, 2, 0);
    learner_open(&m, (struct knn_opts){.sample = 200, .k = 3, .classes = 2}, "ref", &t);
    rig_model(&m.k, &m.view, &(struct knn_derive){.sample = 50}, &model, NULL);
    assert_int_equal(model.t[KNN_HEAD].u64[KNN_ROWS], 50);
    assert_int_equal(model.t[KNN_X].n, 50 * 3);
    for (uint32_t i = 0; i < 50 * 3; i++)
        assert_true(fabsf(model.t[KNN_X].f32[i] + model.t[KNN_SHIFT].f32[i % 3] -
                          m.view.t[SAMPLE_VIEW_X].f32[i]) < 1e-6f);
    rig_free(&m.k, &model);
    learner_close(&m);
    table_free(&t);
}

static void a_classifier_gives_values_too(void **state)
{
    struct table t;
    struct learner m;
    struct measures own;
    float *out;

    (void)state;
    seed = 5;
    t = table(300, 1, 4, 0);
    learner_open(&m, (struct knn_opts){.sample = 300, .k = 1, .classes = 4}, "ref", &t);
    out = predict(&m, (struct knn_derive){.task = KNN_REGRESS}, &t, 1, &own);
    for (uint32_t i = 0; i < t.n; i++)
        assert_true(out[i] == t.y[i]); /* each is its own neighbour */
    assert_true(measure(&own, "loo_rmse") < 0.3);
    free(out);
    learner_close(&m);
    table_free(&t);
}

static void one_class_has_all_votes(void **state)
{
    struct table t;
    struct learner m;
    struct measures own;
    float *out;

    (void)state;
    seed = 6;
    t = table(20, 2, 1, 0);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = 1;
    learner_open(&m, (struct knn_opts){.sample = 50, .k = 20, .classes = 3}, "ref", &t);
    out = predict(&m, (struct knn_derive){0}, &t, 4, &own);
    for (uint32_t i = 0; i < t.n; i++)
        assert_true(out[4 * i] == 1 && out[4 * i + 1] == 0 && out[4 * i + 2] == 1);
    assert_true(measure(&own, "loo_accuracy") == 1); /* by the 19 others */
    assert_true(measure(&own, "sample_rows") == 20);
    free(out);
    learner_close(&m);
    table_free(&t);
}

static void shares_add_up_and_ties_go_to_the_nearest(void **state)
{
    struct table t = table(3, 1, 0, 0), q = table(1, 1, 0, 0);
    struct learner m;
    struct measures own;
    float *out;

    (void)state;
    memcpy(t.x, (float[]){0, 1, 3}, 3 * sizeof(float));
    memcpy(t.y, (float[]){2, 0, 1}, 3 * sizeof(float));
    q.x[0] = 0.9f;
    learner_open(&m, (struct knn_opts){.sample = 9, .k = 3, .classes = 3}, "ref", &t);
    out = predict(&m, (struct knn_derive){0}, &q, 4, &own);
    assert_true(out[0] == 0); /* one vote each */
    for (uint32_t c = 1; c < 4; c++)
        assert_true(fabsf(out[c] - 1.0f / 3) < 1e-6f);
    free(out);
    learner_close(&m);
    table_free(&t);
    table_free(&q);
}

static void projections_keep_neighbours(void **state)
{
    struct table t;
    struct learner m;
    struct measures own;
    uint32_t hits = 0;
    float *out;

    (void)state;
    seed = 8;
    t = table(600, 200, 1, 0);
    for (uint32_t i = 0; i < t.n; i++) { /* blobs 7 apart along the first numbers, of radius 4 */
        t.y[i] = (float)(i % 3);
        t.x[(size_t)i * 200 + i % 3] += 5;
    }
    learner_open(&m, (struct knn_opts){.sample = 600, .k = 5, .classes = 3, .project = 60}, "ref",
                 &t);
    assert_int_equal(m.state.t[SAMPLE_X].n, 600 * 60);
    out = predict(&m, (struct knn_derive){0}, &t, 4, &own);
    for (uint32_t i = 0; i < t.n; i++)
        hits += out[4 * (size_t)i] == t.y[i];
    assert_true(hits > 570);
    assert_true(measure(&own, "loo_accuracy") > 0.85);
    free(out);
    learner_close(&m);
    table_free(&t);
}

/* Stored and asked rows are projected by two ways of the same sums. */
static void a_row_projected_is_its_own_neighbour(void **state)
{
    struct table t;
    struct learner m;
    struct measures own;
    float *out;

    (void)state;
    seed = 9;
    t = table(400, 30, 0, 5);
    learner_open(&m, (struct knn_opts){.sample = 400, .k = 1, .project = 8}, "openblas", &t);
    out = predict(&m, (struct knn_derive){0}, &t, 1, &own);
    for (uint32_t i = 0; i < t.n; i++)
        assert_true(out[i] == t.y[i]);
    free(out);
    learner_close(&m);
    table_free(&t);
}

/* ---- refused ---- */

static void refused(struct shape sh, struct knn_opts o, const char *text)
{
    struct err e = {""};

    assert_int_equal(algo_knn.check(&sh, &o, &e), ST_BAD_CONFIG);
    if (!strstr(e.text, text))
        fail_msg("'%s' does not say '%s'", e.text, text);
}

static void what_cannot_be_is_refused(void **state)
{
    const struct shape good = {.ny = 1, .d = {4}};
    const struct knn_opts o = {.sample = 10, .k = 3};
    struct shape sh = good;
    struct knn_opts p = o;

    (void)state;
    sh.ny = 0;
    refused(sh, o, "one label");
    sh = good, sh.nnz[0] = 5;
    refused(sh, o, "dense");
    p.k = 11;
    refused(good, p, "only 10 rows are kept");
    p = o, p.project = 5;
    refused(good, p, "project 5: a row has 4 features");
    p = o, p.task = KNN_CLASSIFY;
    refused(good, p, "number of classes");
    sh = good, sh.classes = 3, p = o, p.classes = 2;
    refused(sh, p, "classes 2: the input's label has 3");
}

static void rows_must_be_there_and_labels_classes(void **state)
{
    struct knn_derive v = {.k = 9};
    struct tensors model;
    struct measures own = {0};
    struct learner m;
    struct table t;
    struct rows r;

    (void)state;
    seed = 11;
    t = table(8, 2, 2, 0);
    learner_open(&m, (struct knn_opts){.sample = 20, .k = 3, .classes = 2}, "ref", &t);
    assert_int_equal(tensors_declare(&model, &algo_knn, PART_MODEL, &m.k.sh, &m.o, &v, NULL, 0, 6,
                                     1 << 30, &m.k.err),
                     ST_OK);
    assert_int_equal(tensors_alloc(&model, NULL, NULL, &m.k.err), ST_OK);
    assert_int_equal(algo_knn.derive(&m.k.x, &m.view, &v, &model, &own), ST_AGAIN);
    assert_non_null(strstr(m.k.err.text, "k 9: only 8 rows"));
    rig_free(&m.k, &model);
    v = (struct knn_derive){.sample = 21};
    assert_int_equal(tensors_declare(&model, &algo_knn, PART_MODEL, &m.k.sh, &m.o, &v, NULL, 0, 6,
                                     1 << 30, &m.k.err),
                     ST_BAD_CONFIG);
    assert_non_null(strstr(m.k.err.text, "the job keeps 20 rows"));
    t.y[3] = 2;
    rig_rows(&m.k, &t, 0, 8, 0, &r);
    assert_int_equal(algo_knn.update(&m.k.x, &m.state, &r, NULL), ST_BAD_INPUT);
    assert_non_null(strstr(m.k.err.text, "label 2 of row 3 is not a class, 0..1"));
    learner_close(&m);
    table_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_those_of_brute_force),
        cmocka_unit_test(values_are_those_of_brute_force),
        cmocka_unit_test(a_common_offset_costs_no_digits),
        cmocka_unit_test(a_smaller_sample_is_the_head_of_the_larger),
        cmocka_unit_test(a_classifier_gives_values_too),
        cmocka_unit_test(one_class_has_all_votes),
        cmocka_unit_test(shares_add_up_and_ties_go_to_the_nearest),
        cmocka_unit_test(projections_keep_neighbours),
        cmocka_unit_test(a_row_projected_is_its_own_neighbour),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(rows_must_be_there_and_labels_classes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
