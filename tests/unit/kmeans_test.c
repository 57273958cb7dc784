#include "algos/kmeans.h"
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

static struct shape shape(uint32_t d, uint32_t slots)
{
    return (struct shape){.slots = slots, .d = {d}};
}

/* n rows about `blobs` centres at distance `apart` from each other (blob b: column b is `apart`),
 * all moved by `offset`; weights in (0, 2). Blobs come in turn. */
static struct table table(uint32_t n, uint32_t d, uint32_t blobs, float apart, float offset)
{
    struct table t = {.n = n, .d = d};

    t.x = calloc((size_t)n * d, sizeof *t.x);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < d; j++)
            t.x[(size_t)i * d + j] = offset + uniform() + (j == i % blobs ? apart : 0);
        t.weight[i] = 0.25f + 1.75f * uniform();
    }
    return t;
}

struct moments {
    double weight, mean[8], scatter;
};

/* Of all rows about their mean, in f64, two passes. */
static struct moments moments(const struct table *t)
{
    struct moments m = {0};

    for (uint32_t i = 0; i < t->n; i++) {
        m.weight += (double)t->weight[i];
        for (uint32_t j = 0; j < t->d; j++)
            m.mean[j] += (double)t->weight[i] * (double)t->x[(size_t)i * t->d + j];
    }
    for (uint32_t j = 0; j < t->d; j++)
        m.mean[j] /= m.weight;
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t j = 0; j < t->d; j++) {
            double off = (double)t->x[(size_t)i * t->d + j] - m.mean[j];

            m.scatter += (double)t->weight[i] * off * off;
        }
    return m;
}

static void near(double a, double b, double relative)
{
    if (!(fabs(a - b) <= relative * fmax(fabs(a), fabs(b))))
        fail_msg("%.9g is not %.9g", a, b);
}

/* Whatever the assignment, scatter about the mean = sse + sum n |c - mean|^2. */
static void view_keeps_the_moments(const struct tensors *view, const struct table *t,
                                   double relative)
{
    const struct moments m = moments(t);
    double weight = 0, scatter = view->t[KV_SSE].f64[0];

    for (uint64_t q = 0; q < view->t[KV_HEAD].u64[VIEW_POINTS]; q++) {
        double n = view->t[KV_N].f64[q];

        weight += n;
        for (uint32_t j = 0; j < t->d; j++) {
            double c =
                (double)view->t[KV_POINT].f32[q * t->d + j] + (double)view->t[KV_SHIFT].f32[j];

            scatter += n * (c - m.mean[j]) * (c - m.mean[j]);
        }
    }
    near(weight, m.weight, 1e-9);
    near(scatter, m.scatter, relative);
}

static void learn(struct rig *k, struct tensors *s, const struct table *t, uint32_t from,
                  uint32_t n, uint32_t held, float *loss)
{
    struct rows r;

    rig_rows(k, t, from, n, held, &r);
    assert_int_equal(k->a->update(&k->x, s, &r, loss ? &(struct eval){NULL, loss} : NULL), ST_OK);
}

/* ---- learning ---- */

static void rows_wait_until_there_are_enough_for_centres(void **state)
{
    struct kmeans_opts o = {.k = 2, .extra_centers = 4, .batch = 32, .warmup = 80};
    float loss[32];
    struct tensors s;
    struct table t;
    struct rig k;

    (void)state;
    seed = 1;
    t = table(128, 4, 3, 5, 0);
    t.weight[3] = 0; /* not one of the 80 */
    rig_open(&k, &algo_kmeans, "openblas", shape(4, 1), &o);
    rig_state(&k, &s);
    for (uint32_t at = 0; at < 96; at += 32) {
        learn(&k, &s, &t, at, 32, 0, loss);
        for (uint32_t i = 0; i < 32; i++)
            assert_true(loss[i] == LOSS_NONE);
    }
    assert_int_equal(s.t[KM_HEAD].u64[HEAD_SEEDED], 1);
    assert_int_equal(s.t[KM_HEAD].u64[HEAD_LIVE], 0);
    for (uint64_t i = 0; i < s.t[KM_WARM].n; i++)
        assert_true(s.t[KM_WARM].f32[i] == 0);
    learn(&k, &s, &t, 96, 32, 16, loss);
    for (uint32_t i = 0; i < 32; i++) /* a blob is a cube of side 1 */
        assert_true(loss[i] >= 0 && loss[i] < 4);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

static void one_centre_is_the_mean_of_all_rows(void **state)
{
    struct kmeans_opts o = {.k = 1, .extra_centers = 1, .batch = 32, .warmup = 50};
    struct tensors s, view, model, *list[] = {&s};
    struct kmeans_derive d = {1};
    struct moments want;
    struct measures m;
    struct table t;
    struct rig k;

    (void)state;
    seed = 2;
    t = table(3000, 5, 3, 2, 1000); /* an offset that costs f32 its digits */
    want = moments(&t);
    rig_open(&k, &algo_kmeans, "openblas", shape(5, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    near(s.t[KM_N].f64[0], want.weight, 1e-9);
    near(s.t[KM_SSE].f64[0], want.scatter, 1e-4);
    rig_view(&k, list, 1, &view);
    rig_model(&k, &view, &d, &model, &m);
    for (uint32_t j = 0; j < 5; j++)
        near((double)model.t[KM_MODEL_CENTRE].f32[j], want.mean[j], 1e-6);
    near(m.m[0].value, want.scatter / want.weight, 1e-4);
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

static void no_weight_and_no_scatter_is_lost(void **state)
{
    /* rows of four partitions: many, some, fewer than the warm-up, fewer than the centres; then
     * none */
    static const uint32_t rows[] = {4000, 300, 90, 7, 0};
    struct kmeans_opts o = {.k = 4, .extra_centers = 5, .batch = 64, .warmup = 100};
    struct tensors s[5], view, *list[5];
    struct table t, part;
    struct rig k;

    (void)state;
    seed = 3;
    t = table(4397, 6, 4, 3, -50);
    rig_open(&k, &algo_kmeans, "openblas", shape(6, 5), &o);
    for (uint32_t p = 0, at = 0; p < 5; at += rows[p++]) {
        part = t;
        part.n = rows[p];
        part.x += (size_t)at * 6;
        part.weight += at;
        list[p] = &s[p];
        rig_state(&k, &s[p]);
        rig_pass(&k, &s[p], &part, p, NULL);
    }
    rig_view(&k, list, 5, &view);
    assert_int_equal(view.t[KV_HEAD].u64[VIEW_POINTS], 20 + 20 + 20 + 7);
    view_keeps_the_moments(&view, &t, 1e-5);
    for (uint32_t p = 0; p < 5; p++)
        rig_free(&k, &s[p]);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

static void rows_held_out_or_without_weight_change_nothing(void **state)
{
    struct kmeans_opts o = {.k = 2, .extra_centers = 4, .batch = 32, .warmup = 64};
    struct tensors a, b;
    struct table t;
    struct rig k;

    (void)state;
    seed = 4;
    t = table(256, 4, 3, 5, 0);
    rig_open(&k, &algo_kmeans, "openblas", shape(4, 1), &o);
    rig_state(&k, &a);
    for (uint32_t at = 0; at < 128; at += 32) { /* while warming up, and after */
        rig_copy(&k, &b, &a);
        learn(&k, &b, &t, 200, 32, 32, NULL);
        learn(&k, &b, &t, 0, 0, 0, NULL);
        memset(t.weight + 240, 0, 8 * sizeof *t.weight);
        learn(&k, &b, &t, 240, 8, 0, NULL);
        assert_memory_equal(a.base, b.base, a.bytes);
        rig_free(&k, &b);
        learn(&k, &a, &t, at, 32, 0, NULL);
    }
    assert_int_equal(a.t[KM_HEAD].u64[HEAD_SEEDED], 1);
    rig_free(&k, &a);
    rig_close(&k);
    table_free(&t);
}

/* The tail of a batch is scored and no more: on ref, to the bit. */
static void a_tail_that_is_held_out_is_only_scored(void **state)
{
    struct kmeans_opts o = {.k = 2, .extra_centers = 4, .batch = 32, .warmup = 40};
    struct tensors a, b;
    float loss[32];
    struct table t;
    struct rig k;

    (void)state;
    seed = 9;
    t = table(128, 4, 3, 5, 0);
    rig_open(&k, &algo_kmeans, "ref", shape(4, 1), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    for (uint32_t at = 0; at < 128; at += 32) {
        learn(&k, &a, &t, at, 20, 0, NULL);
        learn(&k, &b, &t, at, 32, 12, loss);
        assert_memory_equal(a.base, b.base, a.bytes);
    }
    assert_int_equal(b.t[KM_HEAD].u64[HEAD_SEEDED], 1);
    assert_true(loss[31] > 0);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_close(&k);
    table_free(&t);
}

static void asking_for_the_loss_does_not_change_the_state(void **state)
{
    struct kmeans_opts o = {.k = 3, .extra_centers = 4, .batch = 50, .warmup = 64};
    struct tensors a, b;
    struct table t;
    struct rig k;
    double loss;

    (void)state;
    seed = 5;
    t = table(1000, 4, 3, 5, 0);
    rig_open(&k, &algo_kmeans, "openblas", shape(4, 1), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    rig_pass(&k, &a, &t, 0, NULL);
    memset(k.work.base, 0x55, k.work.bytes);
    assert_int_equal(rig_pass(&k, &b, &t, 0, &loss), 900);
    assert_memory_equal(a.base, b.base, a.bytes);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_close(&k);
    table_free(&t);
}

/* Batches of 64 rows with the same decay each: what is left of a row is decay to the power of the
 * batches after its own. */
static void learn_with_decay(struct rig *k, struct tensors *s, struct table *t, double decay)
{
    struct rows r;

    for (uint32_t at = 0; at < t->n; at += 64) {
        rig_rows(k, t, at, 64, 0, &r);
        r.decay = decay;
        assert_int_equal(k->a->update(&k->x, s, &r, NULL), ST_OK);
    }
    for (uint32_t i = 0; i < t->n; i++)
        t->weight[i] *= (float)pow(decay, t->n / 64 - 1 - i / 64);
}

static void a_half_life_leaves_of_each_row_what_it_should(void **state)
{
    static const uint32_t rows[] = {64 * 40, 64 * 3, 64}; /* the last two: in the warm-up */
    struct kmeans_opts o = {.k = 4, .extra_centers = 5, .batch = 64, .warmup = 200};

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct tensors s, view, *list[] = {&s};
        struct table t;
        struct rig k;

        seed = 21;
        t = table(rows[i], 6, 4, 3, 7);
        rig_open(&k, &algo_kmeans, "openblas", shape(6, 1), &o);
        rig_state(&k, &s);
        learn_with_decay(&k, &s, &t, 0.5);
        rig_view(&k, list, 1, &view);
        view_keeps_the_moments(&view, &t, 1e-4);
        rig_free(&k, &s);
        rig_free(&k, &view);
        rig_close(&k);
        table_free(&t);
    }
}

/* Two blobs that go from column 0 = 0 to 100: with a half-life of two batches the model is where
 * they are, without one where they were on average. */
static void clusters_drift_with_a_half_life(void **state)
{
    (void)state;
    for (int half_life = 0; half_life < 2; half_life++) {
        struct kmeans_opts o = {.k = 2, .extra_centers = 5, .batch = 64, .warmup = 128};
        struct tensors s, view, model, *list[] = {&s};
        struct kmeans_derive d = {2};
        struct table t;
        struct rig k;

        seed = 22;
        t = table(64 * 50, 4, 1, 0, 0);
        for (uint32_t i = 0; i < t.n; i++) {
            t.x[4 * i] += 2.0f * (float)(i / 64);
            t.x[4 * i + 1] += i % 2 ? 400 : 0;
        }
        rig_open(&k, &algo_kmeans, "openblas", shape(4, 1), &o);
        rig_state(&k, &s);
        learn_with_decay(&k, &s, &t, half_life ? sqrt(0.5) : 1);
        rig_view(&k, list, 1, &view);
        rig_model(&k, &view, &d, &model, NULL);
        for (uint32_t j = 0; j < 2; j++) {
            double at = (double)model.t[KM_MODEL_CENTRE].f32[4 * j];

            if (!(half_life ? at > 92 && at < 99 : at > 44 && at < 55))
                fail_msg("half-life %d: a centre at %g, the blobs are at 98.5", half_life, at);
        }
        rig_free(&k, &s);
        rig_free(&k, &view);
        rig_free(&k, &model);
        rig_close(&k);
        table_free(&t);
    }
}

/* Five blobs of 100 rows far from all that the warm-up saw arrive at the end, in one batch each. */
static void what_comes_late_gets_centres_of_its_own(void **state)
{
    struct kmeans_opts o = {.k = 6, .extra_centers = 2, .batch = 100, .warmup = 200};
    struct tensors s, view, model, *list[] = {&s};
    struct kmeans_derive d = {6};
    struct measures m;
    struct table t;
    struct rig k;

    (void)state;
    seed = 6;
    t = table(1500, 8, 1, 0, 0);
    for (uint32_t i = 1000; i < 1500; i++)
        t.x[i * 8 + i / 100 - 10] += 50;
    rig_open(&k, &algo_kmeans, "openblas", shape(8, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    rig_view(&k, list, 1, &view);
    view_keeps_the_moments(&view, &t, 1e-5);
    rig_model(&k, &view, &d, &model, &m);
    assert_true(m.m[0].value < 1); /* of a cube of side 1: 8/12; two blobs in one: 1250 */
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

/* Each batch after the warm-up has four rows of its own far from all others; in the end there are
 * more light centres far apart than the batch can give up of the lightest. */
static void far_rows_have_centres_several_a_batch(void **state)
{
    struct kmeans_opts o = {.k = 5, .extra_centers = 12, .batch = 100, .warmup = 200};
    struct tensors s, view, model, *list[] = {&s};
    struct kmeans_derive d = {41};
    struct measures m;
    struct table t;
    struct rig k;

    (void)state;
    seed = 26;
    t = table(1200, 8, 1, 0, 0);
    for (uint32_t i = 200; i < t.n; i++)
        if (i % 100 < 4) {
            t.x[i * 8 + i / 100 % 8] += 100 + 100 * (float)(i % 100);
            t.x[i * 8 + (i / 100 + 1) % 8] += i / 100 > 8 ? 1000 : 0;
        }
    rig_open(&k, &algo_kmeans, "openblas", shape(8, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    rig_view(&k, list, 1, &view);
    view_keeps_the_moments(&view, &t, 1e-5);
    rig_model(&k, &view, &d, &model, &m);
    assert_true(m.m[0].value < 1);
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

/* Where all centres are spare, one may be another's nearest: what is given up is so only once. */
static void few_centres_and_ever_farther_rows_keep_the_moments(void **state)
{
    struct kmeans_opts o = {.k = 2, .extra_centers = 4, .batch = 128, .warmup = 128};

    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        struct tensors s, view, *list[] = {&s};
        struct table t;
        struct rig k;

        seed = 100 + i;
        t = table(128 * 8, 2, 1, 0, 0);
        for (uint32_t q = 128; q < t.n; q++)
            if (q % 16 == 0)
                t.x[2 * q] += powf(1.5f, (float)(q / 64)) * (uniform() - 0.5f);
        rig_open(&k, &algo_kmeans, "openblas", shape(2, 1), &o);
        rig_state(&k, &s);
        rig_pass(&k, &s, &t, 0, NULL);
        rig_view(&k, list, 1, &view);
        view_keeps_the_moments(&view, &t, 1e-4);
        rig_free(&k, &s);
        rig_free(&k, &view);
        rig_close(&k);
        table_free(&t);
    }
}

/* Finite numbers whose squares are not: the state shows it, nothing else happens. */
static void numbers_too_large_to_square_end_in_the_state(void **state)
{
    struct kmeans_opts o = {.k = 2, .extra_centers = 3, .batch = 32, .warmup = 40};
    struct tensors s;
    struct table t;
    struct rig k;

    (void)state;
    seed = 11;
    t = table(200, 3, 1, 0, 0);
    for (uint32_t i = 0; i < t.n * t.d; i++)
        t.x[i] *= 1e30f;
    rig_open(&k, &algo_kmeans, "openblas", shape(3, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    assert_false(isfinite(s.t[KM_SSE].f64[0]) && isfinite(s.t[KM_CENTRE].f32[0]));
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* ---- models ---- */

static void blobs_are_found_whatever_the_offset(void **state)
{
    for (int far = 0; far < 2; far++) {
        struct kmeans_opts o = {.k = 5, .batch = 128};
        struct tensors s[2], view, model, *list[] = {&s[0], &s[1]};
        struct kmeans_derive d = {0};
        struct table t;
        struct rig k;
        float *out;
        uint32_t of[5];

        (void)state;
        seed = 7;
        t = table(6000, 8, 5, 3, far ? 1e4f : 0);
        rig_open(&k, &algo_kmeans, "openblas", shape(8, 2), &o);
        assert_int_equal(o.extra_centers, 40);
        for (uint32_t p = 0; p < 2; p++) {
            struct table part = table_deal(&t, p, 2);

            rig_state(&k, &s[p]);
            rig_pass(&k, &s[p], &part, p, NULL);
            table_free(&part);
        }
        rig_view(&k, list, 2, &view);
        rig_model(&k, &view, &d, &model, NULL);
        out = calloc(2u * t.n, sizeof *out);
        rig_score(&k, &model, &t, out, 2);
        for (uint32_t b = 0; b < 5; b++) {
            of[b] = (uint32_t)out[2 * b];
            for (uint32_t a = 0; a < b; a++)
                assert_int_not_equal(of[a], of[b]);
            near(model.t[KM_MODEL_WEIGHT].f64[b], 1200 * 1.125, 0.05);
            assert_true(!b ||
                        model.t[KM_MODEL_WEIGHT].f64[b] <= model.t[KM_MODEL_WEIGHT].f64[b - 1]);
        }
        for (uint32_t i = 0; i < t.n; i++) {
            const float *c = model.t[KM_MODEL_CENTRE].f32 + 8 * of[i % 5];
            double sum = 0;

            assert_int_equal((uint32_t)out[2 * i], of[i % 5]);
            for (uint32_t j = 0; j < 8; j++)
                sum += pow((double)t.x[8 * i + j] - (double)c[j], 2);
            near((double)out[2 * i + 1], sqrt(sum), 1e-3);
        }
        free(out);
        rig_free(&k, &s[0]);
        rig_free(&k, &s[1]);
        rig_free(&k, &view);
        rig_free(&k, &model);
        rig_close(&k);
        table_free(&t);
    }
}

static void a_model_is_a_function_of_the_view_and_any_k_up_to_the_centres(void **state)
{
    struct kmeans_opts o = {.k = 5, .extra_centers = 4, .batch = 64, .warmup = 100};
    struct tensors s, view, model, again, *list[] = {&s};
    struct kmeans_derive d = {0};
    struct measures m;
    struct table t;
    struct rig k;
    double last = INFINITY;

    (void)state;
    seed = 8;
    t = table(2000, 8, 8, 1, 0);
    rig_open(&k, &algo_kmeans, "ref", shape(8, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    rig_view(&k, list, 1, &view);
    for (d.k = 1; d.k <= 20; d.k++) {
        rig_model(&k, &view, &d, &model, &m);
        memset(k.work.base, 0x55, k.work.bytes);
        rig_model(&k, &view, &d, &again, NULL);
        assert_memory_equal(model.base, again.base, model.bytes);
        assert_int_equal(model.t[KM_MODEL_CENTRE].d.dim[0], d.k);
        assert_true(m.m[0].lower_is_better && m.m[0].value < last);
        last = m.m[0].value;
        rig_free(&k, &model);
        rig_free(&k, &again);
    }
    d.k = 21;
    assert_int_equal(tensors_declare(&model, &algo_kmeans, PART_MODEL, &k.sh, &o, &d, NULL, 0, 6,
                                     1 << 20, &k.err),
                     ST_BAD_CONFIG);
    assert_non_null(strstr(k.err.text, "k 21: the job keeps 20 centres"));
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

static void rows_that_are_all_the_same_make_a_model(void **state)
{
    for (uint32_t n = 1; n <= 400; n += 399) { /* in the warm-up, and after */
        struct kmeans_opts o = {.k = 3, .extra_centers = 4, .batch = 32, .warmup = 64};
        struct tensors s, view, model, *list[] = {&s};
        struct kmeans_derive d = {3};
        struct measures m;
        struct table t;
        struct rig k;

        (void)state;
        t = table(n, 4, 1, 0, 0);
        for (uint32_t i = 0; i < 4 * n; i++)
            t.x[i] = 0.1f;
        rig_open(&k, &algo_kmeans, "openblas", shape(4, 1), &o);
        rig_state(&k, &s);
        rig_pass(&k, &s, &t, 0, NULL);
        rig_view(&k, list, 1, &view);
        rig_model(&k, &view, &d, &model, &m);
        near(model.t[KM_MODEL_WEIGHT].f64[0], moments(&t).weight, 1e-9);
        assert_true(model.t[KM_MODEL_WEIGHT].f64[1] == 0 && model.t[KM_MODEL_WEIGHT].f64[2] == 0);
        for (uint32_t i = 0; i < 12; i++)
            near((double)model.t[KM_MODEL_CENTRE].f32[i], 0.1, 1e-6);
        assert_true(m.m[0].value < 1e-9);
        rig_free(&k, &s);
        rig_free(&k, &view);
        rig_free(&k, &model);
        rig_close(&k);
        table_free(&t);
    }
}

/* The value of a measure, NaN: there is none of that name. */
static double measured(const struct measures *m, const char *name)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (!strcmp(m->m[i].name, name))
            return m->m[i].value;
    return NAN;
}

static void more_clusters_than_different_rows_are_counted_and_never_the_nearest(void **state)
{
    for (uint32_t n = 30; n <= 3000; n += 2970) { /* fewer than the centres, and many */
        struct kmeans_opts o = {.k = 5, .extra_centers = 8, .batch = 32, .warmup = 64};
        struct tensors s, view, model, *list[] = {&s};
        struct kmeans_derive d = {5};
        struct measures m;
        struct table t;
        struct rig k;
        float *out;

        (void)state;
        seed = 23;
        t = table(n, 4, 1, 0, 0);
        for (uint32_t i = 0; i < 4 * n; i++)
            t.x[i] = (float)(i / 4 % 3);
        rig_open(&k, &algo_kmeans, "openblas", shape(4, 1), &o);
        rig_state(&k, &s);
        rig_pass(&k, &s, &t, 0, NULL);
        rig_view(&k, list, 1, &view);
        for (uint64_t q = 0; q < view.t[KV_HEAD].u64[VIEW_POINTS]; q++)
            assert_true(view.t[KV_N].f64[q] > 0);
        rig_model(&k, &view, &d, &model, &m);
        assert_true(measured(&m, "empty_clusters") == 2);
        out = calloc(2u * t.n, sizeof *out);
        rig_score(&k, &model, &t, out, 2);
        for (uint32_t i = 0; i < t.n; i++)
            assert_true(out[2 * i] < 3 && out[2 * i + 1] < 1e-3f);
        rig_free(&k, &model);
        d.k = 3;
        rig_model(&k, &view, &d, &model, &m);
        assert_true(isnan(measured(&m, "empty_clusters")));
        near(measured(&m, "silhouette"), 1, 1e-6);
        free(out);
        rig_free(&k, &s);
        rig_free(&k, &view);
        rig_free(&k, &model);
        rig_close(&k);
        table_free(&t);
    }
}

/* 0, 1, 10, 11 in two clusters: distances 0.5, and 10.5 or 9.5 to the other; a row alone is 0. */
static void the_silhouette_is_what_it_is_by_hand(void **state)
{
    static const float x[] = {0, 1, 10, 11};
    struct kmeans_opts o = {.k = 4, .extra_centers = 2, .batch = 32, .warmup = 64};
    struct tensors s, view, model, *list[] = {&s};
    struct table t;
    struct rig k;

    (void)state;
    t = table(4, 1, 1, 0, 0);
    for (uint32_t i = 0; i < 4; i++) {
        t.x[i] = x[i];
        t.weight[i] = i == 0 ? 3 : 1;
    }
    rig_open(&k, &algo_kmeans, "ref", shape(1, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    rig_view(&k, list, 1, &view);
    for (uint32_t c = 1; c <= 4; c++) {
        struct kmeans_derive d = {c};
        struct measures m;

        rig_model(&k, &view, &d, &model, &m);
        if (c == 1)
            assert_true(isnan(measured(&m, "silhouette")));
        if (c == 2) /* centres 0.25 and 10.5 */
            near(measured(&m, "silhouette"),
                 (3 * (1 - 0.25 / 10.5) + 1 - 0.75 / 9.5 + 1 - 0.5 / 9.75 + 1 - 0.5 / 10.75) / 6,
                 1e-6);
        if (c == 4)
            assert_true(measured(&m, "silhouette") == 0);
        rig_free(&k, &model);
    }
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

/* Also with one cluster a centre, where each point is its own centre. */
static void the_silhouette_tells_how_many_blobs_there_are(void **state)
{
    struct kmeans_opts o = {.k = 10, .extra_centers = 4, .batch = 64, .warmup = 100};
    struct tensors s, view, model, *list[] = {&s};
    struct kmeans_derive d = {0};
    struct measures m;
    struct table t;
    struct rig k;
    double best = -1, last = 0;
    uint32_t at = 0;

    (void)state;
    seed = 24;
    t = table(4000, 8, 7, 4, 0);
    rig_open(&k, &algo_kmeans, "openblas", shape(8, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    rig_view(&k, list, 1, &view);
    for (d.k = 2; d.k <= 40; d.k++) {
        rig_model(&k, &view, &d, &model, &m);
        last = measured(&m, "silhouette");
        at = last > best ? d.k : at;
        best = last > best ? last : best;
        rig_free(&k, &model);
    }
    assert_int_equal(at, 7);
    assert_true(best > 0.7 && last < 0.4);
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

static void rows_without_weight_make_no_model(void **state)
{
    struct kmeans_opts o = {.k = 2, .extra_centers = 4, .batch = 64, .warmup = 100};
    struct tensors s, view, *list[] = {&s};
    struct table t;
    struct rig k;

    (void)state;
    seed = 25;
    t = table(64 * 8, 4, 2, 3, 0);
    rig_open(&k, &algo_kmeans, "openblas", shape(4, 1), &o);
    for (uint32_t some = 0; some <= 64; some += 64) { /* or such that nothing is left of it */
        rig_state(&k, &s);
        for (uint32_t i = some; i < t.n; i++)
            t.weight[i] = 0;
        learn_with_decay(&k, &s, &t, 1e-9);
        rig_view(&k, list, 1, &view);
        assert_int_equal(view.t[KV_HEAD].u64[VIEW_POINTS], 0);
        rig_free(&k, &s);
        rig_free(&k, &view);
    }
    rig_close(&k);
    table_free(&t);
}

static void without_rows_there_is_no_model_yet(void **state)
{
    struct kmeans_opts o = {.k = 3};
    struct tensors s, view, model, *list[] = {&s};
    struct kmeans_derive d = {3};
    struct measures m = {.n = 0};
    struct rig k;

    (void)state;
    rig_open(&k, &algo_kmeans, "ref", shape(4, 1), &o);
    rig_state(&k, &s);
    rig_view(&k, list, 1, &view);
    assert_int_equal(tensors_declare(&model, &algo_kmeans, PART_MODEL, &k.sh, &o, &d, NULL, 0, 6,
                                     1 << 20, &k.err),
                     ST_OK);
    assert_int_equal(tensors_alloc(&model, NULL, NULL, &k.err), ST_OK);
    assert_int_equal(algo_kmeans.derive(&k.x, &view, &d, &model, &m), ST_AGAIN);
    tensors_free(&model, NULL, NULL);
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_close(&k);
}

static void refused(struct shape sh, struct kmeans_opts o, const char *why)
{
    struct err e = {""};

    assert_int_equal(algo_kmeans.check(&sh, &o, &e), ST_BAD_CONFIG);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
}

static void options_that_cannot_work_are_refused(void **state)
{
    struct kmeans_opts o = {.k = 10, .extra_centers = 20, .warmup = 199};
    struct shape sh = shape(4, 1);

    (void)state;
    refused(sh, o, "warmup 199: 200 centres");
    o.warmup = 0;
    o.extra_centers = 1000000;
    refused(sh, o, "10000000 centres");
    o.k = 0;
    refused(sh, o, "k must be at least 1");
    sh.nnz[0] = 9;
    refused(sh, o, "4 sparse ones");
    sh.nnz[0] = sh.d[0] = 0;
    refused(sh, o, "dense features, the input has 0");
}

/* ---- real data ---- */

static double msd(struct rig *k, const struct tensors *view, uint32_t clusters,
                  const struct table *t)
{
    float *out = calloc(2u * t->n, sizeof *out);
    struct kmeans_derive d = {clusters};
    struct tensors model;
    struct measures m;
    double sum = 0;

    rig_model(k, view, &d, &model, &m);
    rig_score(k, &model, t, out, 2);
    for (uint32_t i = 0; i < t->n; i++)
        sum += (double)out[2 * i + 1] * (double)out[2 * i + 1];
    free(out);
    rig_free(k, &model);
    assert_true(m.m[0].value * 1.0001 > sum / t->n); /* the estimate is an upper bound */
    print_message("k = %u: mean squared distance %.3f, estimated %.3f\n", clusters, sum / t->n,
                  m.m[0].value);
    return sum / t->n;
}

/* Best known (scikit-learn, 5 starts on all rows): 31.777 for k = 10, 22.575 for 50; its one-pass
 * MiniBatchKMeans: 32.86 and 22.96. */
static void fashion_mnist_is_clustered_in_one_pass(void **state)
{
    struct table t, test;

    (void)state;
    if (!load_fashion(&t, &test)) {
        print_message("skipped: no Debian package dataset-fashion-mnist\n");
        skip();
    }
    for (uint32_t parts = 1; parts <= 4; parts += 3) {
        struct kmeans_opts o = {.k = 10};
        struct tensors s[4], view, *list[4];
        struct rig k;

        rig_open(&k, &algo_kmeans, "openblas", shape(784, parts), &o);
        for (uint32_t p = 0; p < parts; p++) {
            struct table part = table_deal(&t, p, parts);

            list[p] = &s[p];
            rig_state(&k, &s[p]);
            rig_pass(&k, &s[p], &part, p, NULL);
            table_free(&part);
        }
        rig_view(&k, list, parts, &view);
        assert_true(msd(&k, &view, 10, &t) < 1.01 * 31.777);
        assert_true(msd(&k, &view, 50, &t) < 1.02 * 22.575);
        for (uint32_t p = 0; p < parts; p++)
            rig_free(&k, &s[p]);
        rig_free(&k, &view);
        rig_close(&k);
    }
    table_free(&t);
    table_free(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_wait_until_there_are_enough_for_centres),
        cmocka_unit_test(one_centre_is_the_mean_of_all_rows),
        cmocka_unit_test(no_weight_and_no_scatter_is_lost),
        cmocka_unit_test(rows_held_out_or_without_weight_change_nothing),
        cmocka_unit_test(a_tail_that_is_held_out_is_only_scored),
        cmocka_unit_test(asking_for_the_loss_does_not_change_the_state),
        cmocka_unit_test(a_half_life_leaves_of_each_row_what_it_should),
        cmocka_unit_test(clusters_drift_with_a_half_life),
        cmocka_unit_test(what_comes_late_gets_centres_of_its_own),
        cmocka_unit_test(far_rows_have_centres_several_a_batch),
        cmocka_unit_test(few_centres_and_ever_farther_rows_keep_the_moments),
        cmocka_unit_test(numbers_too_large_to_square_end_in_the_state),
        cmocka_unit_test(blobs_are_found_whatever_the_offset),
        cmocka_unit_test(a_model_is_a_function_of_the_view_and_any_k_up_to_the_centres),
        cmocka_unit_test(rows_that_are_all_the_same_make_a_model),
        cmocka_unit_test(more_clusters_than_different_rows_are_counted_and_never_the_nearest),
        cmocka_unit_test(the_silhouette_is_what_it_is_by_hand),
        cmocka_unit_test(the_silhouette_tells_how_many_blobs_there_are),
        cmocka_unit_test(rows_without_weight_make_no_model),
        cmocka_unit_test(without_rows_there_is_no_model_yet),
        cmocka_unit_test(options_that_cannot_work_are_refused),
        cmocka_unit_test(fashion_mnist_is_clustered_in_one_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
