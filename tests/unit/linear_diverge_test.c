/* Packed models that leave float32: they begin anew, and the others do not notice. */
#include "algos/linear.h"
#include "tests/unit/support_algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 4096, D = 6, MODELS = 3 };

/* Rows of D numbers in [-1, 1), half of them there; y: the sum of the first two. */
static struct table table(bool sparse)
{
    struct table t = {.n = ROWS, .d = D};
    uint64_t seed = 1;

    t.x = calloc(ROWS * D, sizeof *t.x);
    t.ptr = calloc(ROWS + 1, sizeof *t.ptr);
    t.col = calloc(ROWS * D, sizeof *t.col);
    t.val = calloc(ROWS * D, sizeof *t.val);
    t.y = calloc(ROWS, sizeof *t.y);
    t.weight = calloc(ROWS, sizeof *t.weight);
    for (uint32_t i = 0, q = 0; i < ROWS; i++) {
        for (uint32_t j = 0; j < D; j++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            if (seed >> 63)
                continue;
            t.x[i * D + j] = (float)(seed >> 40) / 4194304.0f - 1;
            t.col[q] = j;
            t.val[q++] = t.x[i * D + j];
        }
        t.ptr[i + 1] = q;
        t.y[i] = t.x[i * D] + t.x[i * D + 1];
        t.weight[i] = 1;
    }
    if (!sparse) {
        free(t.ptr);
        free(t.col);
        free(t.val);
        t.ptr = t.col = NULL;
        t.val = NULL;
    }
    return t;
}

struct world {
    struct table t;
    struct linear_opts o;
    struct rig k;
    struct tensors s;
    float z[32 * MODELS], loss[32 * MODELS];
};

static void make(struct world *w, bool sparse, uint32_t optimizer, float middle)
{
    struct shape sh = {.batch_rows = 32, .slots = 2, .d = {D}, .ny = 1};

    memset(w, 0, sizeof *w);
    w->t = table(sparse);
    sh.nnz[0] = sparse ? 32 * D : 0;
    w->o = (struct linear_opts){.loss = LINEAR_SQUARED,
                                .optimizer = optimizer,
                                .learning_rate = {MODELS, {0.01f, middle, 0.05f}},
                                .l1 = {1, {0}},
                                .l2 = {1, {0}},
                                .beta = 1};
    rig_open(&w->k, &algo_linear, "ref", sh, &w->o);
    rig_state(&w->k, &w->s);
}

static void drop(struct world *w)
{
    rig_free(&w->k, &w->s);
    rig_close(&w->k);
    table_free(&w->t);
}

/* Learns a batch; the block ends with it, or not. */
static void learn(struct world *w, uint32_t batch, bool last)
{
    struct rows r;

    rig_rows(&w->k, &w->t, batch * 32, 32, 0, &r);
    r.last = last;
    assert_int_equal(w->k.a->update(&w->k.x, &w->s, &r, &(struct eval){.z = w->z, .loss = w->loss}),
                     ST_OK);
}

static bool is_finite(const struct tensors *s)
{
    struct err e;

    return tensors_finite(s, &e) == ST_OK;
}

/* The columns of model m, which are those of another state's too? */
static bool same_model(const struct world *a, const struct world *b, uint32_t m)
{
    for (uint32_t id = LIN_W; id <= LIN_Z; id++)
        for (uint64_t i = m; i < a->s.t[id].n; i += MODELS)
            if (a->s.t[id].f32[i] != b->s.t[id].f32[i])
                return false;
    return true;
}

/* Model 1 is made to diverge by a number that its optimiser lets grow. */
static void a_number_that_is_not_finite_costs_its_model_alone(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        struct world a, b;
        const uint32_t optimizer = i / 2;
        const uint32_t id = optimizer == LINEAR_SGD ? LIN_W : LIN_N;

        make(&a, i % 2, optimizer, 0.02f);
        make(&b, i % 2, optimizer, 0.02f);
        for (uint32_t k = 0; k < 10; k++) {
            learn(&a, k, true);
            learn(&b, k, true);
        }
        a.s.t[id].f32[2 * MODELS + 1] = i % 2 ? INFINITY : -INFINITY;
        learn(&a, 10, true);
        learn(&b, 10, true);
        assert_true(is_finite(&a.s));
        assert_true(same_model(&a, &b, 0) && same_model(&a, &b, 2));
        for (uint32_t k = 0; k < 32; k++) {
            assert_true(isnan(a.loss[k * MODELS + 1]));
            assert_true(a.loss[k * MODELS] == b.loss[k * MODELS]);
        }
        for (uint64_t k = 1; k < a.s.t[LIN_W].n; k += MODELS)
            assert_true(a.s.t[LIN_W].f32[k] == 0);
        learn(&a, 11, true); /* and begins to learn */
        assert_true(a.loss[1] == a.t.y[11 * 32] * a.t.y[11 * 32] / 2);
        assert_true(a.s.t[LIN_W].f32[1] != 0);
        drop(&a);
        drop(&b);
    }
}

static void dense_models_begin_anew_where_their_block_ends(void **state)
{
    struct world w;

    (void)state;
    make(&w, false, LINEAR_SGD, 1000);
    for (uint32_t k = 0; k < 60; k++)
        learn(&w, k, false);
    assert_false(is_finite(&w.s));
    assert_true(isnan(w.loss[1]) && isfinite(w.loss[0]));
    learn(&w, 60, true);
    assert_true(is_finite(&w.s));
    drop(&w);
}

/* Rows held out, or without weight, end a block as well. */
static void a_last_batch_that_teaches_nothing_mends_too(void **state)
{
    struct world w;

    (void)state;
    make(&w, false, LINEAR_SGD, 1000);
    for (uint32_t k = 0; k < 60; k++)
        learn(&w, k, false);
    memset(w.t.weight, 0, ROWS * sizeof *w.t.weight);
    learn(&w, 60, true);
    assert_true(is_finite(&w.s));
    drop(&w);
}

static void where_all_diverge_nothing_is_put_back(void **state)
{
    (void)state;
    for (int sparse = 0; sparse < 2; sparse++) {
        struct world w;

        make(&w, sparse, LINEAR_SGD, 0.02f);
        learn(&w, 0, true);
        for (uint32_t m = 0; m < MODELS; m++)
            w.s.t[LIN_W].f32[m] = INFINITY;
        learn(&w, 1, true);
        assert_false(is_finite(&w.s));
        drop(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_that_is_not_finite_costs_its_model_alone),
        cmocka_unit_test(dense_models_begin_anew_where_their_block_ends),
        cmocka_unit_test(a_last_batch_that_teaches_nothing_mends_too),
        cmocka_unit_test(where_all_diverge_nothing_is_put_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
