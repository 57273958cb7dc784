#include "algos/derive.h"
#include "algos/fm.h"
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

static float normal(void)
{
    float sum = -6;

    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

static struct f32s list(uint32_t n, float a, float b)
{
    return (struct f32s){n, {a, b}};
}

static struct fm_opts options(uint32_t loss, uint32_t factors, float rate)
{
    return (struct fm_opts){.loss = loss,
                            .factors = factors,
                            .batch = 32,
                            .init_deviation = 0.05f,
                            .learning_rate = list(1, rate, 0),
                            .l2 = list(1, 0, 0),
                            .factors_l2 = list(1, 0, 0)};
}

static struct shape shape(const struct table *t, uint32_t slots)
{
    return (struct shape){.slots = slots, .d = {t->d}, .nnz = {t->nnz_max}, .ny = 1};
}

/* n rows of `fields` entries, one of `ids` ids each, all ones or (values) numbers; labels 0. */
static struct table table(uint32_t n, uint32_t fields, uint32_t ids, bool values)
{
    struct table t = {.n = n, .d = fields * ids, .nnz_max = 4096 * fields};

    t.ptr = calloc(n + 1u, sizeof *t.ptr);
    t.col = calloc((size_t)n * fields, sizeof *t.col);
    t.val = values ? calloc((size_t)n * fields, sizeof *t.val) : NULL;
    t.y = calloc(n, sizeof *t.y);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t q = 0; q < n * fields; q++) {
        t.col[q] = q % fields * ids + (uint32_t)(uniform() * (float)ids);
        if (values)
            t.val[q] = normal();
    }
    for (uint32_t i = 0; i < n; i++) {
        t.ptr[i + 1] = (i + 1) * fields;
        t.weight[i] = 1;
    }
    return t;
}

/* ---- a second opinion: the definition, pair by pair, in f64 ---- */

struct params {
    double w0, w[32], v[32][4];
};

static double predict(const struct params *p, const struct table *t, uint32_t i, uint32_t k)
{
    double z = p->w0;

    for (uint32_t a = t->ptr[i]; a < t->ptr[i + 1]; a++) {
        z += p->w[t->col[a]] * (double)t->val[a];
        for (uint32_t b = t->ptr[i]; b < a; b++)
            for (uint32_t f = 0; f < k; f++)
                z +=
                    p->v[t->col[a]][f] * p->v[t->col[b]][f] * (double)t->val[a] * (double)t->val[b];
    }
    return z;
}

/* Of rows [from, from + n), with the penalties of the features that they have. */
static double objective(const struct params *p, const struct table *t, uint32_t from, uint32_t n,
                        const struct fm_opts *o)
{
    double sum = 0;

    for (uint32_t i = from; i < from + n; i++) {
        double z = predict(p, t, i, o->factors), y = (double)t->y[i];
        double loss = o->loss == FM_SQUARED ? (z - y) * (z - y) / 2 : log1p(exp(z)) - y * z;

        for (uint32_t q = t->ptr[i]; q < t->ptr[i + 1]; q++) {
            double v2 = 0, w = p->w[t->col[q]];

            for (uint32_t f = 0; f < o->factors; f++)
                v2 += p->v[t->col[q]][f] * p->v[t->col[q]][f];
            loss += ((double)o->l2.v[0] * w * w + (double)o->factors_l2.v[0] * v2) / 2;
        }
        sum += (double)t->weight[i] * loss;
    }
    return sum;
}

static struct params params_of(const struct tensors *s, uint32_t d, uint32_t k)
{
    struct params p = {.w0 = (double)s->t[FM_W0].f32[0]};

    for (uint32_t j = 0; j < d; j++) {
        p.w[j] = (double)s->t[FM_W].f32[j];
        for (uint32_t f = 0; f < k; f++)
            p.v[j][f] = (double)s->t[FM_V].f32[j * k + f];
    }
    return p;
}

/* The derivative by *at, a number of p. */
static double slope(struct params *p, double *at, const struct table *t, uint32_t from,
                    const struct fm_opts *o)
{
    const double was = *at, h = 1e-5;
    double up, down;

    *at = was + h;
    up = objective(p, t, from, 32, o);
    *at = was - h;
    down = objective(p, t, from, 32, o);
    *at = was;
    return (up - down) / (2 * h);
}

static void near(double is, double want, double tolerance)
{
    if (!(fabs(is - want) <= tolerance))
        fail_msg("%.9g is not %.9g", is, want);
}

/* AdaGrad's step, read backwards. */
static double gradient(float before, float after, float n, double rate)
{
    return ((double)before - (double)after) * sqrt((double)n) / rate;
}

static void one_step_follows_the_slope(uint32_t loss, bool dense)
{
    struct fm_opts o = options(loss, 4, 0.5f);
    struct table t, sparse;
    struct tensors a, b;
    struct params p;
    struct rows r;
    struct rig k;

    seed = 1;
    o.l2 = list(1, 0.03f, 0);
    o.factors_l2 = list(1, 0.05f, 0);
    o.init_deviation = 0.5f;
    sparse = table(128, 3, 8, true);
    for (uint32_t i = 0; i < sparse.n; i++) {
        sparse.y[i] = loss == FM_SQUARED ? 7 + normal() : (float)(uniform() < 0.3f);
        sparse.weight[i] = 2 * uniform();
    }
    t = dense ? table_dense(&sparse) : sparse;
    rig_open(&k, &algo_fm, "ref", shape(&t, 1), &o);
    rig_state(&k, &a);
    for (uint32_t at = 0; at < 96; at += 32) {
        rig_rows(&k, &t, at, 32, 0, &r);
        assert_int_equal(k.a->update(&k.x, &a, &r, NULL), ST_OK);
    }
    rig_copy(&k, &b, &a);
    rig_rows(&k, &t, 96, 32, 0, &r);
    assert_int_equal(k.a->update(&k.x, &b, &r, NULL), ST_OK);
    p = params_of(&a, t.d, 4);
    p.w0 += b.t[FM_HEAD].f64[HEAD_BASE] - a.t[FM_HEAD].f64[HEAD_BASE];
    near(gradient((float)p.w0, b.t[FM_W0].f32[0], b.t[FM_W0].f32[1], 0.5),
         slope(&p, &p.w0, &sparse, 96, &o), 1e-3);
    for (uint32_t j = 0; j < t.d; j++) {
        near(gradient(a.t[FM_W].f32[j], b.t[FM_W].f32[j], b.t[FM_NW].f32[j], 0.5),
             slope(&p, &p.w[j], &sparse, 96, &o), 2e-4);
        for (uint32_t f = 0; f < 4; f++)
            near(gradient(a.t[FM_V].f32[j * 4 + f], b.t[FM_V].f32[j * 4 + f],
                          b.t[FM_NV].f32[j * 4 + f], 0.5),
                 slope(&p, &p.v[j][f], &sparse, 96, &o), 2e-4);
    }
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_close(&k);
    table_free(&t);
    if (dense)
        table_free(&sparse);
}

static void a_step_follows_the_slope_of_the_loss(void **state)
{
    (void)state;
    one_step_follows_the_slope(FM_SQUARED, false);
    one_step_follows_the_slope(FM_LOGISTIC, false);
    one_step_follows_the_slope(FM_SQUARED, true);
    one_step_follows_the_slope(FM_LOGISTIC, true);
}

/* ---- known truths ---- */

enum { IDS = 40, RANK = 3 };

/* Labels of two fields, from coefficients and factors of deviation 1, and noise. */
static struct table teach(uint32_t n, float noise)
{
    float w[2 * IDS], v[2 * IDS][RANK];
    struct table t;

    seed = 5; /* the same truth for all tables */
    for (uint32_t j = 0; j < 2 * IDS; j++) {
        w[j] = normal();
        for (uint32_t f = 0; f < RANK; f++)
            v[j][f] = normal();
    }
    seed = n;
    t = table(n, 2, IDS, false);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t a = t.col[2 * i], b = t.col[2 * i + 1];

        t.y[i] = 3 + w[a] + w[b] + noise * normal();
        for (uint32_t f = 0; f < RANK; f++)
            t.y[i] += v[a][f] * v[b][f];
    }
    return t;
}

static double rmse(struct rig *k, const struct tensors *view, struct fm_derive o,
                   const struct table *t, struct measures *m)
{
    float *out = calloc(t->n, sizeof *out);
    struct tensors model;
    double sum = 0;

    rig_model(k, view, &o, &model, m);
    rig_score(k, &model, t, out, 1);
    for (uint32_t i = 0; i < t->n; i++)
        sum += ((double)out[i] - (double)t->y[i]) * ((double)out[i] - (double)t->y[i]);
    rig_free(k, &model);
    free(out);
    return sqrt(sum / t->n);
}

static void known_factors_are_found(void **state)
{
    struct fm_opts o = options(FM_SQUARED, 4, 0.2f);
    struct table t = teach(100000, 0.3f), test = teach(5000, 0.3f);
    struct tensors s, view, *slots[] = {&s};
    struct measures m;
    struct rig k;
    double all, three, two;

    (void)state;
    rig_open(&k, &algo_fm, "openblas", shape(&t, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    rig_view(&k, slots, 1, &view);
    all = rmse(&k, &view, (struct fm_derive){1, 0}, &test, &m);
    three = rmse(&k, &view, (struct fm_derive){1, RANK}, &test, &m);
    assert_true(m.m[3].value > 0.99 && m.m[3].value < 1);
    two = rmse(&k, &view, (struct fm_derive){1, RANK - 1}, &test, &m);
    print_message("           rmse %.4f, of rank 3 %.4f, of rank 2 %.4f; noise 0.3\n", all, three,
                  two);
    assert_true(all < 0.33);
    assert_true(three < 1.1 * all);
    assert_true(two > 2 * all);
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
    table_free(&test);
}

/* One of two: which no sum of coefficients can say. */
static void it_learns_what_only_pairs_tell(void **state)
{
    struct fm_opts o = options(FM_LOGISTIC, 2, 0.2f);
    struct table t;
    struct tensors s, view, model, *slots[] = {&s};
    float out[2 * 4000];
    uint32_t hits = 0;
    struct rig k;

    (void)state;
    seed = 3;
    t = table(4000, 2, 2, false);
    for (uint32_t i = 0; i < t.n; i++)
        t.y[i] = (float)(t.col[2 * i] == t.col[2 * i + 1] - 2);
    rig_open(&k, &algo_fm, "openblas", shape(&t, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &t, 0, NULL);
    rig_view(&k, slots, 1, &view);
    rig_model(&k, &view, &(struct fm_derive){1, 0}, &model, NULL);
    rig_score(&k, &model, &t, out, 2);
    for (uint32_t i = 0; i < t.n; i++) {
        hits += (out[2 * i] > 0) == (t.y[i] > 0);
        near((double)out[2 * i + 1], 1 / (1 + exp(-(double)out[2 * i])), 1e-6);
    }
    assert_int_equal(hits, t.n);
    rig_free(&k, &s);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_close(&k);
    table_free(&t);
}

/* ---- features ---- */

/* Drawing a feature when it is first learned is drawing all at the start; others stay zero. */
static void a_late_start_is_an_early_one(void **state)
{
    struct fm_opts o = options(FM_SQUARED, 3, 0.2f);
    struct table t = teach(600, 0.3f);
    struct tensors late, early;
    struct rig k;
    uint32_t unseen = 0;

    (void)state;
    t.d = 3 * IDS; /* ids that no row has */
    rig_open(&k, &algo_fm, "ref", shape(&t, 1), &o);
    rig_state(&k, &late);
    rig_state(&k, &early);
    for (uint32_t j = 0; j < t.d; j++) {
        fm_draw(&k.x, j, 0, 1, fm_row_room(&k.x));
        fm_row_put(&k.x, &early, j, fm_row_room(&k.x));
        early.t[FM_COUNT].f32[j] = 1e-20f;
    }
    rig_pass(&k, &late, &t, 0, NULL);
    rig_pass(&k, &early, &t, 0, NULL);
    for (uint32_t id = FM_W; id <= FM_COUNT; id++)
        for (uint32_t j = 0; j < t.d; j++) {
            const uint64_t bytes = late.t[id].row_bytes, at = j * bytes;
            static const uint8_t zero[64];

            if (late.t[FM_COUNT].f32[j] > 0) {
                assert_memory_equal(late.t[id].u8 + at, early.t[id].u8 + at, bytes);
                continue;
            }
            assert_memory_equal(late.t[id].u8 + at, zero, bytes);
            unseen++;
        }
    assert_true(unseen >= 5 * IDS);
    rig_free(&k, &late);
    rig_free(&k, &early);
    rig_close(&k);
    table_free(&t);
}

static void same_columns(const struct tensor *t, uint32_t m, const struct tensor *alone, uint32_t k)
{
    const uint64_t width = t->row_bytes / sizeof(float);

    for (uint64_t j = 0; j < t->d.dim[0]; j++)
        assert_memory_equal(t->f32 + j * width + (uint64_t)m * k, alone->f32 + j * k,
                            k * sizeof(float));
}

/* A packed model is the model alone, to the bit; also where its neighbour diverges. */
static void packed_models_do_not_know_of_each_other(void **state)
{
    static const float rates[][2] = {{0.2f, 0.1f}, {0.2f, 1e19f}};
    struct table t = teach(2000, 0.3f);

    (void)state;
    for (uint32_t c = 0; c < 2; c++) {
        struct fm_opts o = options(FM_SQUARED, 3, 0), alone = options(FM_SQUARED, 3, rates[c][0]);
        struct tensors s, one;
        struct rig k, k1;
        double loss[2];

        o.learning_rate = list(2, rates[c][1], rates[c][0]);
        rig_open(&k, &algo_fm, "ref", shape(&t, 1), &o);
        rig_open(&k1, &algo_fm, "ref", shape(&t, 1), &alone);
        rig_state(&k, &s);
        rig_state(&k1, &one);
        rig_pass(&k, &s, &t, 0, loss);
        rig_pass(&k1, &one, &t, 0, NULL);
        same_columns(&s.t[FM_W], 1, &one.t[FM_W], 1);
        same_columns(&s.t[FM_V], 1, &one.t[FM_V], 3);
        same_columns(&s.t[FM_NV], 1, &one.t[FM_NV], 3);
        assert_int_equal(isfinite(loss[0]), c == 0);
        assert_true(isfinite(loss[1]));
        assert_int_equal(tensors_finite(&s, &k.err), ST_OK);
        rig_free(&k, &s);
        rig_free(&k1, &one);
        rig_close(&k);
        rig_close(&k1);
    }
    table_free(&t);
}

/* ---- partitions ---- */

static void rows_meet_by_their_counts(void **state)
{
    struct fm_opts o = options(FM_SQUARED, 2, 0.2f);
    struct tensors s[2], view, *slots[] = {&s[0], &s[1]};
    struct table t = teach(50, 0), part[2];
    const struct tensor *w[2], *n[2];
    struct rig k;

    (void)state;
    rig_open(&k, &algo_fm, "ref", shape(&t, 2), &o);
    for (uint32_t p = 0; p < 2; p++) {
        part[p] = table_deal(&t, p, p ? 2 : 3);
        rig_state(&k, &s[p]);
        rig_pass(&k, &s[p], &part[p], p, NULL);
        w[p] = &s[p].t[FM_V];
        n[p] = &s[p].t[FM_COUNT];
    }
    rig_view(&k, slots, 2, &view);
    for (uint32_t j = 0; j < t.d; j++) {
        const double a = (double)n[0]->f32[j], b = (double)n[1]->f32[j];

        near(view.t[FV_COUNT].f64[j], a + b, 0);
        for (uint32_t f = 0; f < 2; f++)
            near(view.t[FV_V].f64[j * 2 + f],
                 a + b > 0 ? (a * (double)w[0]->f32[j * 2 + f] + b * (double)w[1]->f32[j * 2 + f]) /
                                 (a + b)
                           : 0,
                 1e-12);
    }
    near(view.t[FV_HEAD].f64[0], part[0].n + part[1].n, 0);
    for (uint32_t p = 0; p < 2; p++) {
        rig_free(&k, &s[p]);
        table_free(&part[p]);
    }
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

/* Four partitions that pull the view 20 times learn nearly what one does. */
static void partitions_learn_together(void **state)
{
    enum { PARTS = 4, ROUNDS = 20 };
    struct fm_opts o = options(FM_SQUARED, 4, 0.2f);
    struct table t = teach(100000, 0.3f), test = teach(5000, 0.3f);
    struct tensors s[PARTS], one, view, *slots[PARTS], *single[] = {&one};
    struct table part[PARTS];
    struct rig k;
    double alone, together;

    (void)state;
    rig_open(&k, &algo_fm, "openblas", shape(&t, PARTS), &o);
    rig_state(&k, &one);
    rig_pass(&k, &one, &t, 0, NULL);
    rig_view(&k, single, 1, &view);
    alone = rmse(&k, &view, (struct fm_derive){1, 0}, &test, NULL);
    rig_free(&k, &view);
    for (uint32_t p = 0; p < PARTS; p++) {
        part[p] = table_deal(&t, p, PARTS);
        rig_state(&k, &s[p]);
        slots[p] = &s[p];
    }
    for (uint32_t i = 0; i < ROUNDS; i++) {
        for (uint32_t p = 0; p < PARTS; p++) {
            struct table round = part[p];

            round.n = part[p].n / ROUNDS;
            round.ptr += i * round.n;
            round.y += i * round.n;
            round.weight += i * round.n;
            rig_pass(&k, &s[p], &round, p, NULL);
        }
        rig_view(&k, slots, PARTS, &view);
        for (uint32_t p = 0; p < PARTS; p++)
            assert_int_equal(view_rebase(&k.x, k.a, &s[p], &view), ST_OK);
        if (i + 1 < ROUNDS)
            rig_free(&k, &view);
    }
    together = rmse(&k, &view, (struct fm_derive){1, 0}, &test, NULL);
    print_message("           rmse %.4f by one, %.4f by four; noise 0.3\n", alone, together);
    assert_true(together < 1.1 * alone);
    for (uint32_t p = 0; p < PARTS; p++) {
        rig_free(&k, &s[p]);
        table_free(&part[p]);
    }
    rig_free(&k, &one);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
    table_free(&test);
}

/* What a model carries is all that learning goes on from. */
static void a_start_goes_on_as_if_nothing_was(void **state)
{
    struct fm_opts o = options(FM_SQUARED, 4, 0.2f);
    struct table first = teach(3000, 0.3f), then = teach(2000, 0.3f);
    struct tensors s, view, model, few, again, *slots[] = {&s};
    double on, anew;
    struct rig k;

    (void)state;
    rig_open(&k, &algo_fm, "openblas", shape(&first, 1), &o);
    rig_state(&k, &s);
    rig_pass(&k, &s, &first, 0, NULL);
    rig_view(&k, slots, 1, &view);
    rig_model(&k, &view, &(struct fm_derive){1, 0}, &model, NULL);
    rig_state(&k, &again);
    assert_int_equal(k.a->start(&k.x, &model, 0, &again), ST_OK);
    rig_pass(&k, &s, &then, 0, &on);
    rig_pass(&k, &again, &then, 0, &anew);
    near(anew, on, 1e-3 * on);
    rig_model(&k, &view, &(struct fm_derive){1, 2}, &few, NULL);
    assert_int_equal(few.n, MFM_V + 1); /* no job goes on from it */
    model.t[MFM_V].n--;
    assert_int_equal(k.a->start(&k.x, &model, 0, &again), ST_BAD_CONFIG);
    model.t[MFM_V].n++;
    rig_free(&k, &s);
    rig_free(&k, &again);
    rig_free(&k, &view);
    rig_free(&k, &model);
    rig_free(&k, &few);
    rig_close(&k);
    table_free(&first);
    table_free(&then);
}

/* ---- half-life ---- */

static void learn(struct rig *k, struct tensors *s, const struct table *t, uint32_t from,
                  double decay)
{
    struct rows r;

    rig_rows(k, t, from, 32, 0, &r);
    r.decay = decay;
    assert_int_equal(k->a->update(&k->x, s, &r, NULL), ST_OK);
}

static void near_views(const struct tensors *a, const struct tensors *b, double tolerance)
{
    for (uint32_t id = FV_HEAD; id <= FV_COUNT; id++)
        for (uint64_t i = 0; i < a->t[id].n; i++)
            near(a->t[id].f64[i], b->t[id].f64[i], tolerance * (1 + fabs(b->t[id].f64[i])));
}

/* Sums over what is kept are the sums, whenever that is taken into them; in a view, and back. */
static void a_half_life_decays_without_touching_rows(void **state)
{
    struct fm_opts o = options(FM_SQUARED, 2, 0.2f);
    struct table t = teach(640, 0.3f);
    struct tensors a, b, va, vb, *la[] = {&a}, *lb[] = {&b};
    double weight = 0, sum = 0, kept;
    struct rig k;

    (void)state;
    rig_open(&k, &algo_fm, "ref", shape(&t, 1), &o);
    rig_state(&k, &a);
    rig_state(&k, &b);
    for (uint32_t at = 0; at < t.n; at += 32) {
        weight = weight * 0.125 + 32;
        sum *= 0.125;
        for (uint32_t i = at; i < at + 32; i++)
            sum += (double)t.y[i];
        learn(&k, &a, &t, at, 0.125);
        learn(&k, &b, &t, at, 0.125);
        fm_rescale(&k.x, &b);
    }
    kept = a.t[FM_HEAD].f64[HEAD_KEPT]; /* 20 batches: 2^-60, taken in once */
    assert_true(kept < 0.125 && kept > 1e-12);
    near(a.t[FM_HEAD].f64[HEAD_WEIGHT], weight, 1e-9);
    near(a.t[FM_HEAD].f64[HEAD_SUM], sum, 1e-9);
    rig_view(&k, la, 1, &va);
    rig_view(&k, lb, 1, &vb);
    near_views(&va, &vb, 1e-4);
    assert_int_equal(view_rebase(&k.x, k.a, &a, &vb), ST_OK);
    near(a.t[FM_HEAD].f64[HEAD_KEPT], kept, 0);
    rig_free(&k, &va);
    rig_view(&k, la, 1, &va);
    near_views(&va, &vb, 1e-6);
    rig_free(&k, &va);
    rig_free(&k, &vb);
    rig_free(&k, &a);
    rig_free(&k, &b);
    rig_close(&k);
    table_free(&t);
}

static void what_is_long_gone_is_forgotten(void **state)
{
    struct fm_opts o = options(FM_SQUARED, 2, 0.2f);
    struct table t = teach(640, 0.3f);
    struct tensors s;
    struct rig k;

    (void)state;
    for (uint32_t q = 0; q < 2 * 32; q += 2) /* id 0 is in the first batch, and never again */
        t.col[q] = 0;
    for (uint32_t q = 2 * 32; q < 2 * t.n; q += 2)
        t.col[q] = 1 + q % 7;
    rig_open(&k, &algo_fm, "ref", shape(&t, 1), &o);
    rig_state(&k, &s);
    for (uint32_t at = 0; at < t.n; at += 32) {
        learn(&k, &s, &t, at, 0x1p-8);
        if (at == 32)
            assert_true(s.t[FM_COUNT].f32[0] > 0 && s.t[FM_V].f32[0] != 0);
    }
    assert_true(s.t[FM_COUNT].f32[0] == 0 && s.t[FM_V].f32[0] == 0 && s.t[FM_W].f32[0] == 0 &&
                s.t[FM_NV].f32[0] == 0);
    assert_true(s.t[FM_COUNT].f32[1] > 0 && s.t[FM_V].f32[2] != 0);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* ---- refused ---- */

static void check(const char *what, struct shape sh, struct fm_opts o)
{
    struct err e = {""};

    assert_int_equal(algo_fm.check(&sh, &o, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, what));
}

static void what_makes_no_sense_is_refused(void **state)
{
    const struct fm_opts good = options(FM_SQUARED, 2, 0.2f);
    struct shape sh = {.slots = 1, .d = {8}, .nnz = {64}, .ny = 1}, other = sh;
    struct fm_opts o = good;

    (void)state;
    other.ny = 2;
    check("one label", other, good);
    other = sh, other.d[0] = 0;
    check("features", other, good);
    other = sh, other.classes = 2;
    check("use loss logistic", other, good);
    o.loss = FM_LOGISTIC, other.classes = 3;
    check("wants 2 classes", other, o);
    o = good, o.factors = 0;
    check("factors must be", sh, o);
    o = good, o.learning_rate.v[0] = 0;
    check("must be positive", sh, o);
    o = good, o.learning_rate.n = 13, o.l2.n = 5;
    check("65 packed models", sh, o);
}

static void a_label_that_is_no_class_and_too_many_factors_are_refused(void **state)
{
    struct fm_opts o = options(FM_LOGISTIC, 2, 0.2f);
    struct tensors s, before, view, model, *slots[] = {&s};
    _Alignas(64) uint8_t d[512];
    struct measures m;
    struct rows r;
    struct table t;
    struct rig k;

    (void)state;
    seed = 4;
    t = table(64, 2, 8, false);
    rig_open(&k, &algo_fm, "ref", shape(&t, 1), &o);
    rig_state(&k, &s);
    rig_copy(&k, &before, &s);
    t.y[3] = 0.5f;
    rig_rows(&k, &t, 0, 32, 0, &r);
    assert_int_equal(k.a->update(&k.x, &s, &r, NULL), ST_BAD_INPUT);
    t.y[3] = 1;
    memset(t.weight, 0, t.n * sizeof *t.weight); /* no weight, no change */
    rig_pass(&k, &s, &t, 0, NULL);
    assert_memory_equal(s.base, before.base, s.bytes);
    rig_view(&k, slots, 1, &view);
    derive_defaults(&algo_fm, &k.sh, d, sizeof d);
    ((struct fm_derive *)d)->factors = 3;
    assert_int_equal(derive_model(&k.x, &algo_fm, &view, d, &model, &m), ST_BAD_CONFIG);
    assert_non_null(strstr(k.err.text, "the job learns 2"));
    rig_free(&k, &model);
    rig_free(&k, &s);
    rig_free(&k, &before);
    rig_free(&k, &view);
    rig_close(&k);
    table_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_follows_the_slope_of_the_loss),
        cmocka_unit_test(known_factors_are_found),
        cmocka_unit_test(it_learns_what_only_pairs_tell),
        cmocka_unit_test(a_late_start_is_an_early_one),
        cmocka_unit_test(packed_models_do_not_know_of_each_other),
        cmocka_unit_test(rows_meet_by_their_counts),
        cmocka_unit_test(partitions_learn_together),
        cmocka_unit_test(a_start_goes_on_as_if_nothing_was),
        cmocka_unit_test(a_half_life_decays_without_touching_rows),
        cmocka_unit_test(what_is_long_gone_is_forgotten),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(a_label_that_is_no_class_and_too_many_factors_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
