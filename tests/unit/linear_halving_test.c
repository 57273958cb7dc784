/* Successive halving, with linear's packed models: who stops when, and that those who go on do so
 * as if the others had never been. */
#include "algos/halving.h"
#include "algos/linear.h"
#include "algos/metrics.h"
#include "tests/unit/support_algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 1700, COLUMNS = 9, RATES = 6, BATCH = 32, SHIFT = 6 };

struct variant {
    const char *loss, *optimizer, *backend;
    uint32_t classes;
    bool sparse;
};

static const struct variant variants[] = {
    {"logistic", "adagrad", "ref", 2, false},    {"softmax", "adagrad", "ref", 3, false},
    {"squared", "sgd", "openblas", 0, false},    {"logistic", "ftrl", "ref", 2, true},
    {"softmax", "adagrad", "openblas", 3, true}, {"logistic", "ftrl", "openblas", 2, false},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* In the order of their losses, as the tests below find: neither the first nor the last is best. */
static const char rates[] = "1e-7,1e-6,0.05,0.003,1e-4,1e-5";

struct world {
    struct rig k;
    struct err e;
    _Alignas(64) uint8_t opts[8192];
    struct table t;
    float *z, *loss;
};

static double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 40) / 16777216.0;
}

static float label(const struct variant *v, double score)
{
    return !v->classes       ? (float)score
           : v->classes == 2 ? score > 0
                             : (score > -0.3) + (score > 0.3);
}

/* Sparse rows have other ids every 160 rows, so that what a batch does not have must lie still. */
static void make_table(struct table *t, const struct variant *v)
{
    const uint32_t step = v->sparse ? 40 : 1;
    uint64_t seed = 5;

    *t = (struct table){.n = ROWS, .d = COLUMNS * step, .nnz_max = BATCH * COLUMNS};
    t->x = calloc((size_t)ROWS * COLUMNS, sizeof *t->x);
    t->y = calloc(ROWS, sizeof *t->y);
    t->weight = calloc(ROWS, sizeof *t->weight);
    t->ptr = v->sparse ? calloc(ROWS + 1, sizeof *t->ptr) : NULL;
    t->col = calloc((size_t)ROWS * COLUMNS, sizeof *t->col);
    t->val = t->x;
    for (uint32_t i = 0; i < ROWS; i++) {
        double score = 0;

        t->weight[i] = 1;
        for (uint32_t c = 0; c < COLUMNS; c++) {
            float x = (float)(uniform(&seed) * 2 - 1);

            t->x[i * COLUMNS + c] = x;
            t->col[i * COLUMNS + c] = c * step + (v->sparse ? i / 160 % 3 * 7 : 0);
            score += (double)x * (c % 2 ? 1 : -0.7);
        }
        if (t->ptr)
            t->ptr[i + 1] = (i + 1) * COLUMNS;
        t->y[i] = label(v, score);
    }
}

static void open_rates(struct world *w, const struct variant *v, const char *list, uint64_t halving)
{
    struct shape sh = {.slots = 2, .folds = 1, .ny = 1, .classes = v->classes, .halving = halving};
    const struct opt *o = algo_linear.opts;

    memset(w, 0, sizeof *w);
    make_table(&w->t, v);
    sh.d[0] = w->t.d;
    sh.nnz[0] = v->sparse ? w->t.nnz_max : 0;
    opts_defaults(o, w->opts);
    assert_int_equal(opt_set(opt_find(o, "loss"), w->opts, v->loss, false, &w->e), ST_OK);
    assert_int_equal(opt_set(opt_find(o, "optimizer"), w->opts, v->optimizer, false, &w->e), ST_OK);
    assert_int_equal(opt_set(opt_find(o, "learning_rate"), w->opts, list, false, &w->e), ST_OK);
    rig_open(&w->k, &algo_linear, v->backend, sh, w->opts);
    w->z = calloc((size_t)BATCH * w->k.sh.zcols, sizeof *w->z);
    w->loss = calloc((size_t)BATCH * w->k.sh.models, sizeof *w->loss);
}

static void close_all(struct world *w)
{
    rig_close(&w->k);
    free(w->t.x);
    free(w->t.y);
    free(w->t.weight);
    free(w->t.ptr);
    free(w->t.col);
    free(w->z);
    free(w->loss);
}

static void new_state(struct world *w, struct tensors *s)
{
    struct tdecl d[METRIC_DECLS];
    uint32_t n = metrics_decls(d, 0, &algo_linear, &w->k.sh);

    assert_int_equal(tensors_declare(s, &algo_linear, PART_STATE, &w->k.sh, w->opts, NULL, d, n,
                                     SHIFT, 1 << 30, &w->e),
                     ST_OK);
    assert_int_equal(tensors_alloc(s, w->k.x.c, NULL, &w->e), ST_OK);
    assert_int_equal(algo_linear.init(&w->k.x, s), ST_OK);
}

/* As consumer/update.c does it: `held` rows of each batch are held out. */
static void learn(struct world *w, struct tensors *s, uint32_t partition, uint32_t from,
                  uint32_t to, uint32_t held)
{
    const struct eval e = {w->z, w->loss};

    for (uint32_t at = from; at < to; at += BATCH) {
        uint32_t n = to - at < BATCH ? to - at : BATCH;
        double before = halving_rows(s);
        struct rows r;

        rig_rows(&w->k, &w->t, at, n, held < n ? held : 0, &r);
        r.partition = partition;
        r.decay = 1;
        r.last = true;
        memset(w->k.work.base, 0xAA, w->k.work.bytes);
        assert_int_equal(algo_linear.update(&w->k.x, s, &r, &(struct eval){e.z, e.loss}), ST_OK);
        metrics_add(s, &w->k.sh, &r, &e);
        if (partition == 0)
            assert_int_equal(halving_step(&w->k.x, &algo_linear, s, before), ST_OK);
    }
}

static void assert_stopped(const struct tensors *s, const char *want)
{
    const uint8_t *is = halving_stopped(s);

    for (uint32_t m = 0; m < RATES; m++)
        assert_int_equal(is[m], want[m] - '0');
}

/* The loss falls in the rate here: 2, 3, 4, 5, 1, 0. Of 6 models 3 stop, of 3 one, of 2 one. */
static void the_worse_half_stops_when_its_rows_are_there(void **state)
{
    (void)state;
    for (uint32_t held = 0; held <= 8; held += 8) { /* by held-out losses, too */
        struct world w;
        struct tensors s;

        open_rates(&w, &variants[0], rates, 100);
        new_state(&w, &s);
        assert_int_equal(w.k.sh.models, RATES);
        learn(&w, &s, 0, 0, 96, held);
        assert_stopped(&s, "000000");
        learn(&w, &s, 0, 96, held ? 160 : 128, held); /* passes 100 */
        assert_stopped(&s, "110001");
        assert_int_equal(metrics_best(&s, &w.k.sh), 2);
        learn(&w, &s, 0, held ? 160 : 128, 256, held);
        assert_stopped(&s, held ? "110001" : "110011"); /* 192 learned, or more than 200 */
        learn(&w, &s, 0, 256, 480, held);
        assert_stopped(&s, held ? "110011" : "110111");
        learn(&w, &s, 0, 480, ROWS, held);
        assert_stopped(&s, "110111"); /* one goes on for ever */
        assert_int_equal(metrics_best(&s, &w.k.sh), 2);
        assert_int_equal(metrics_alive(&s, &w.k.sh, &w.e), ST_OK);
        tensors_find(&s, "@metric.train")->f64[METRIC_LOSS] = 0; /* who is stopped stays so, */
        tensors_find(&s, "@metric.held")->f64[METRIC_LOSS] = 0;
        assert_int_equal(metrics_best(&s, &w.k.sh), 2); /* however good it looks */
        rig_free(&w.k, &s);
        close_all(&w);
    }
}

/* Nobody but partition 0 decides, and what is off stays off. */
static void others_do_not_decide(void **state)
{
    struct world w;
    struct tensors s;

    (void)state;
    open_rates(&w, &variants[0], rates, 100);
    new_state(&w, &s);
    learn(&w, &s, 1, 0, 640, 0);
    assert_stopped(&s, "000000");
    rig_free(&w.k, &s);
    close_all(&w);

    open_rates(&w, &variants[0], rates, 0);
    new_state(&w, &s);
    assert_null(halving_stopped(&s));
    assert_null(tensors_find(&s, "@stopped"));
    learn(&w, &s, 0, 0, 640, 0);
    assert_true(metrics_read(&s, &w.k.sh, 0, false).rows == 640);
    rig_free(&w.k, &s);
    close_all(&w);
}

/* A model that went on is, to the last bit or by back end nearly, what it is where all did. */
static void those_who_go_on_do_not_notice(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < VARIANTS; i++) {
        const struct variant *v = &variants[i];
        struct world w, all;
        struct tensors s, t;
        uint32_t c, best;

        open_rates(&w, v, rates, 64);
        open_rates(&all, v, rates, 0);
        new_state(&w, &s);
        new_state(&all, &t);
        learn(&w, &s, 0, 0, ROWS, 3);
        learn(&all, &t, 0, 0, ROWS, 3);
        c = w.k.sh.zcols / RATES;
        best = metrics_best(&s, &w.k.sh);
        assert_int_equal(best, metrics_best(&t, &all.k.sh));
        for (uint32_t id = 0; id < s.n && *s.t[id].d.name != '@'; id++) {
            const struct tensor *is = &s.t[id], *want = &t.t[id];

            if (!is->n || is->d.dim[1] != RATES * c) /* of no columns, and the same for all */
                continue;
            for (uint64_t j = 0; j < is->d.dim[0]; j++)
                for (uint32_t k = 0; k < c; k++) {
                    double a = (double)is->f32[j * c + k];
                    double b = (double)want->f32[(j * RATES + best) * c + k];

                    if (*v->backend == 'r')
                        assert_true(a == b);
                    else
                        assert_true(fabs(a - b) <= 1e-4 * (1e-3 + fabs(b)));
                }
            for (uint64_t k = is->d.dim[0] * c; k < is->n; k++)
                assert_true(is->f32[k] == 0); /* what the others had is gone */
        }
        for (uint32_t m = 0; m < RATES; m++) {
            struct metric x = metrics_read(&s, &w.k.sh, m, true);

            assert_true(isfinite(x.loss));
            assert_true(m == best ? x.rows == metrics_read(&t, &all.k.sh, m, true).rows
                                  : x.rows < 100);
            assert_true(w.loss[m] == LOSS_NONE || m == best);
        }
        rig_free(&w.k, &s);
        rig_free(&all.k, &t);
        close_all(&w);
        close_all(&all);
    }
}

/* What was saved by marks and hashes goes on to the same bytes, wherever it is stopped. */
static void a_restart_changes_nothing(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < VARIANTS; i++) {
        struct tensors s, saved, whole;
        uint64_t *hash, *changed;
        struct world w;

        open_rates(&w, &variants[i], rates, 64);
        new_state(&w, &whole);
        learn(&w, &whole, 0, 0, ROWS, 3);
        new_state(&w, &s);
        hash = calloc(tensors_chunks(&s), sizeof *hash);
        for (uint32_t at = 0; at < ROWS; at += 5 * BATCH) {
            changed = calloc((tensors_chunks(&s) + 63) / 64, sizeof *changed);
            learn(&w, &s, 0, at, at + 5 * BATCH < ROWS ? at + 5 * BATCH : ROWS, 3);
            assert_int_equal(tensors_scan(&s, hash, changed, &w.e), ST_OK);
            if (at == 0)
                new_state(&w, &saved);
            for (uint32_t j = 0; j < tensors_chunks(&s); j++)
                if (at == 0 || changed[j / 64] >> (j % 64) & 1)
                    memcpy(saved.base + ((size_t)j << SHIFT), s.base + ((size_t)j << SHIFT),
                           tensors_chunk_bytes(&s, j));
            tensors_copy(&s, &saved); /* the restart */
            memset(s.dirty, 0, (tensors_chunks(&s) + 63) / 64 * sizeof *s.dirty);
            free(changed);
        }
        assert_memory_equal(s.base, whole.base, s.bytes);
        free(hash);
        rig_free(&w.k, &s);
        rig_free(&w.k, &saved);
        rig_free(&w.k, &whole);
        close_all(&w);
    }
}

/* Slots with other columns merge by model; at its pull the second slot follows the first. */
static void slots_merge_and_follow(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < VARIANTS; i++) {
        struct tensors a, b, view, again, plain_a, plain_b, plain_view, model;
        struct world w, plain;
        uint32_t c;

        open_rates(&w, &variants[i], rates, 300);
        open_rates(&plain, &variants[i], rates, 0);
        new_state(&w, &a), new_state(&w, &b);
        new_state(&plain, &plain_a), new_state(&plain, &plain_b);
        learn(&w, &a, 0, 0, 480, 0), learn(&w, &b, 1, 480, 960, 0);
        learn(&plain, &plain_a, 0, 0, 480, 0), learn(&plain, &plain_b, 1, 480, 960, 0);
        assert_stopped(&a, "110001");
        assert_stopped(&b, "000000");
        rig_view(&w.k, (struct tensors *[]){&a, &b}, 2, &view);
        rig_view(&plain.k, (struct tensors *[]){&plain_a, &plain_b}, 2, &plain_view);
        assert_stopped(&view, "110001");
        c = w.k.sh.zcols / RATES;
        for (uint32_t k = 0; k < view.t[1].n; k++) { /* w */
            uint32_t m = k / c % RATES;

            if (m >= 2 && m <= 4)
                assert_true(fabs(view.t[1].f64[k] - plain_view.t[1].f64[k]) <=
                            1e-4 * (1e-3 + fabs(plain_view.t[1].f64[k])));
        }
        assert_int_equal(metrics_best(&view, &w.k.sh), metrics_best(&plain_view, &plain.k.sh));
        assert_int_equal(view_rebase(&w.k.x, &algo_linear, &a, &view), ST_OK);
        assert_int_equal(view_rebase(&w.k.x, &algo_linear, &b, &view), ST_OK);
        assert_stopped(&b, "110001");
        assert_memory_equal(a.t[1].p, b.t[1].p, a.t[1].bytes);
        rig_view(&w.k, (struct tensors *[]){&a, &b}, 2, &again); /* a pull changes nothing */
        for (uint32_t k = 0; k < view.t[1].n; k++) {
            uint32_t m = k / c % RATES;

            if (m >= 2 && m <= 4)
                assert_true(fabs(view.t[1].f64[k] - again.t[1].f64[k]) <=
                            1e-5 * (1e-3 + fabs(view.t[1].f64[k])));
            else
                assert_true(again.t[1].f64[k] == 0);
        }
        rig_model(&w.k, &again, &(uint32_t){3}, &model, NULL);
        assert_int_equal(view_rebase(&plain.k.x, &algo_linear, &plain_b, &plain_view), ST_OK);
        learn(&w, &b, 1, 960, 1280, 0), learn(&plain, &plain_b, 1, 960, 1280, 0);
        for (uint64_t j = 0; j < b.t[1].d.dim[0]; j++)
            for (uint32_t k = 0; k < 3 * c; k++) { /* they go on as if all did */
                double want = (double)plain_b.t[1].f32[(j * RATES + 2) * c + k];

                assert_true(fabs((double)b.t[1].f32[j * 3 * c + k] - want) <=
                            1e-3 * (1e-2 + fabs(want)));
            }
        rig_free(&w.k, &a), rig_free(&w.k, &b), rig_free(&w.k, &view), rig_free(&w.k, &again);
        rig_free(&plain.k, &plain_a), rig_free(&plain.k, &plain_b);
        rig_free(&plain.k, &plain_view), rig_free(&w.k, &model);
        close_all(&w);
        close_all(&plain);
    }
}

/* The one that diverged stops first, however small the losses were that it had. */
static void a_model_that_diverged_stops_first(void **state)
{
    const struct variant v = {"squared", "sgd", "ref", 0, false};
    struct world w;
    struct tensors s;

    (void)state;
    open_rates(&w, &v, "1e-7,900,1e-6,0.01", 64);
    new_state(&w, &s);
    learn(&w, &s, 0, 0, 64, 0);
    assert_int_equal(halving_stopped(&s)[1], 1);
    assert_int_equal(halving_stopped(&s)[3], 0);
    learn(&w, &s, 0, 64, ROWS, 0);
    assert_int_equal(tensors_finite(&s, &w.e), ST_OK);
    assert_int_equal(metrics_best(&s, &w.k.sh), 3);
    rig_free(&w.k, &s);
    close_all(&w);
}

/* Three columns of five that were declared: a row may lie in two of those that marks go by. */
static void a_row_is_marked_wherever_it_lies(void **state)
{
    const struct tdecl d = {.name = "w", .dtype = DT_F32, .flags = T_SPARSE, .dim = {64, 5}};
    const struct lin l = {.z = 3, .z_all = 5};
    struct tensors ts;
    struct err e;

    (void)state;
    assert_int_equal(tensors_layout(&ts, &d, 1, SHIFT, 1 << 20, &e), ST_OK);
    assert_int_equal(tensors_alloc(&ts, NULL, NULL, &e), ST_OK);
    for (uint64_t j = 0; j < 64; j++) {
        *ts.dirty = 0;
        linear_touch(&l, &ts, 0, j);
        assert_true(*ts.dirty >> (j * 12 / 64) & 1 && *ts.dirty >> ((j * 12 + 11) / 64) & 1);
    }
    tensors_free(&ts, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worse_half_stops_when_its_rows_are_there),
        cmocka_unit_test(others_do_not_decide),
        cmocka_unit_test(those_who_go_on_do_not_notice),
        cmocka_unit_test(a_restart_changes_nothing),
        cmocka_unit_test(slots_merge_and_follow),
        cmocka_unit_test(a_model_that_diverged_stops_first),
        cmocka_unit_test(a_row_is_marked_wherever_it_lies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
