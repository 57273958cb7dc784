/* What a histogram of scores says, against the rows themselves. */
#include "algos/scores.h"

#include "algos/tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 3000 };

struct world {
    uint32_t n;
    float z[ROWS], w[ROWS];
    bool one[ROWS];
    double hist[2 * METRIC_BINS];
};

static double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 40) / 16777216.0;
}

static void count(struct world *w)
{
    memset(w->hist, 0, sizeof w->hist);
    for (uint32_t i = 0; i < w->n; i++)
        w->hist[(w->one[i] ? METRIC_BINS : 0) + metrics_bin(w->z[i])] += (double)w->w[i];
}

/* Scores whose log odds are not what they say: over-confident, off centre, not even monotone. */
static void make(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->n = ROWS;
    for (uint32_t i = 0; i < ROWS; i++) {
        double t = (uniform(&seed) + uniform(&seed) + uniform(&seed) - 1.5) * 6;

        w->z[i] = (float)(4 * t + 3);
        w->w[i] = (float)(int)(uniform(&seed) * 5) / 4;
        w->one[i] = uniform(&seed) < 1 / (1 + exp(-t - sin(4 * t)));
    }
    count(w);
}

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-9 * (1 + fabs(b)));
}

/* By the rows: measures of "class 1 is z >= threshold". */
static struct cut by_rows(const struct world *w, double threshold, double beta, double *f)
{
    double tp = 0, fp = 0, fn = 0, tn = 0, b = beta * beta;
    struct cut c = {0};

    for (uint32_t i = 0; i < w->n; i++)
        *((double)w->z[i] >= threshold ? w->one[i] ? &tp : &fp : (w->one[i] ? &fn : &tn)) +=
            (double)w->w[i];
    c.accuracy = (tp + tn) / (tp + tn + fp + fn);
    c.precision = tp / (tp + fp);
    c.recall = tp / (tp + fn);
    c.f1 = 2 * tp / (2 * tp + fp + fn);
    *f = (1 + b) * tp / ((1 + b) * tp + b * fn + fp);
    return c;
}

static void bins_begin_exactly_at_their_edges(void **state)
{
    static const float z[] = {-1e30f, -16,   -15.97f, -1e-9f,  -0.0f,    0,     1e-9f,
                              0.03f,  0.04f, 15.96f,  15.999f, 16.0001f, 1e30f, 0.03125f};

    (void)state;
    for (uint32_t i = 0; i < sizeof z / sizeof *z; i++)
        for (uint32_t k = 0; k <= METRIC_BINS; k++)
            assert_true((z[i] >= metrics_edge(k)) == (metrics_bin(z[i]) >= k));
    assert_int_equal(metrics_bin(-1e-9f), METRIC_BINS / 2 - 1);
    assert_int_equal(metrics_bin(0), METRIC_BINS / 2);
    assert_true(metrics_edge(METRIC_BINS / 2) == 0);
}

static void measures_at_an_edge_are_those_of_the_rows(void **state)
{
    const struct criterion_opts o = {.criterion = CRITERION_F_BETA, .f_beta = 2};
    struct world w;

    (void)state;
    make(&w, 1);
    for (uint32_t k = 100; k <= METRIC_BINS - 100; k += 7) {
        double f;
        const struct cut is = scores_cut(w.hist, k, &o),
                         want = by_rows(&w, (double)metrics_edge(k), 2, &f);

        assert_near(is.accuracy, want.accuracy);
        assert_near(is.precision, want.precision);
        assert_near(is.recall, want.recall);
        assert_near(is.f1, want.f1);
        assert_near(is.value, f);
    }
    assert_true(isnan(scores_cut(w.hist, METRIC_BINS, &o).precision));
    assert_true(scores_cut(w.hist, 0, &o).recall == 1);
}

/* By the rows, what the criterion makes of a threshold; NaN: a target is missed. */
static double value_by_rows(const struct world *w, double threshold, const struct criterion_opts *o)
{
    double f;
    const struct cut c = by_rows(w, threshold, o->f_beta, &f);

    switch (o->criterion) {
    case CRITERION_ACCURACY:
        return c.accuracy;
    case CRITERION_F1:
        return c.f1;
    case CRITERION_F_BETA:
        return f;
    case CRITERION_PRECISION:
        return c.recall >= o->target_recall ? c.precision : (double)NAN;
    case CRITERION_RECALL:
        return c.precision >= o->target_precision ? c.recall : (double)NAN;
    case CRITERION_NONE:
        break;
    }
    return (double)NAN;
}

/* No edge is better, and no threshold at all by more than the rows of a bin can make. */
static void the_best_threshold_is_the_best(void **state)
{
    struct criterion_opts o = {.f_beta = 0.5, .target_recall = 0.9, .target_precision = 0.85};
    static struct world w;

    (void)state;
    for (uint32_t k = CRITERION_ACCURACY; k <= CRITERION_RECALL; k++) {
        double most = -1, any = -1;
        struct cut c;

        o.criterion = (enum criterion)k;
        make(&w, 10 + k);
        assert_true(scores_best(w.hist, &o, &c));
        for (uint32_t e = 0; e < METRIC_BINS; e++)
            most = fmax(most, value_by_rows(&w, (double)metrics_edge(e), &o));
        for (uint32_t i = 0; i < w.n; i++)
            any = fmax(any, value_by_rows(&w, (double)w.z[i], &o));
        assert_near(c.value, most);
        assert_near(value_by_rows(&w, (double)metrics_edge(c.edge), &o), most);
        assert_true(any >= most && any - most < 0.01);
    }
}

static void of_equal_thresholds_it_is_the_middle_one(void **state)
{
    const struct criterion_opts o = {.criterion = CRITERION_ACCURACY};
    struct world w = {
        .n = 4, .z = {-2, -1, 1, 3}, .w = {1, 1, 1, 1}, .one = {false, false, true, true}};
    struct cut c;

    (void)state;
    count(&w);
    assert_true(scores_best(w.hist, &o, &c));
    assert_true(c.accuracy == 1 && c.precision == 1 && c.recall == 1);
    assert_true(fabsf(metrics_edge(c.edge)) <= 2.0f / 32); /* between the bins of -1 and 1 */
}

static void what_cannot_be_had_is_said(void **state)
{
    struct criterion_opts o = {.criterion = CRITERION_RECALL, .target_precision = 0.9};
    struct world w = {
        .n = 4, .z = {-2, -1, 1, 3}, .w = {1, 1, 1, 1}, .one = {true, true, false, false}};
    float p[METRIC_BINS];
    struct cut c;

    (void)state;
    count(&w);
    assert_false(scores_best(w.hist, &o, &c)); /* never more than half of them */
    o.target_precision = 0.5;
    assert_true(scores_best(w.hist, &o, &c));
    assert_true(c.value == 1);
    w.one[0] = w.one[1] = false;
    count(&w);
    assert_false(scores_best(w.hist, &o, &c));
    assert_false(scores_calibrate(w.hist, 1, p));
}

/* Isotonic regression by its closed form: max over a <= i of min over b >= i of the share of rows
 * in bins a .. b. */
static void isotonic(const double *pos, const double *all, uint32_t n, double *p)
{
    for (uint32_t i = 0; i < n; i++) {
        p[i] = 0;
        for (uint32_t a = 0; a <= i; a++) {
            double least = 1, sum = 0, weight = 0;

            for (uint32_t b = a; b < n; b++) {
                sum += pos[b];
                weight += all[b];
                if (b >= i && sum / weight < least)
                    least = sum / weight;
            }
            p[i] = fmax(p[i], least);
        }
    }
}

static void calibration_is_isotonic_regression(void **state)
{
    double pos[METRIC_BINS], all[METRIC_BINS], want[METRIC_BINS];
    uint32_t bin[METRIC_BINS], n = 0;
    static struct world w;
    float p[METRIC_BINS];

    (void)state;
    make(&w, 3);
    assert_true(scores_calibrate(w.hist, 0.5, p));
    for (uint32_t b = 0; b < METRIC_BINS; b++) {
        pos[n] = w.hist[METRIC_BINS + b];
        all[n] = w.hist[b] + pos[n];
        bin[n] = b;
        n += all[n] > 0;
    }
    assert_true(n > 200);
    pos[0] += 0.5, all[0] += 0.5, all[n - 1] += 0.5;
    isotonic(pos, all, n, want);
    for (uint32_t i = 0; i < n; i++)
        assert_true(fabs((double)p[bin[i]] - want[i]) < 1e-6);
    for (uint32_t i = 0; i + 1 < n; i++) /* a straight line in between */
        for (uint32_t b = bin[i]; b < bin[i + 1]; b++) {
            double share = (double)(b - bin[i]) / (bin[i + 1] - bin[i]);

            assert_true(fabs((double)p[b] - want[i] - share * (want[i + 1] - want[i])) < 1e-6);
        }
    assert_true(p[0] == p[bin[0]] && p[METRIC_BINS - 1] == p[bin[n - 1]]);
}

static void calibration_mends_what_scores_say_of_themselves(void **state)
{
    double loss = 0, brier = 0, weight = 0;
    static struct world w;
    float p[METRIC_BINS], q[METRIC_BINS];

    (void)state;
    make(&w, 4);
    assert_true(scores_calibrate(w.hist, 1, p));
    scores_logistic(q);
    for (uint32_t i = 0; i < w.n; i++) {
        double share = (double)p[metrics_bin(w.z[i])], wrong = w.one[i] ? 1 - share : share;

        weight += (double)w.w[i];
        loss -= (double)w.w[i] * log(1 - wrong);
        brier += (double)w.w[i] * wrong * wrong;
    }
    assert_near(scores_log_loss(w.hist, p), loss / weight);
    assert_near(scores_brier(w.hist, p), brier / weight);
    assert_true(scores_log_loss(w.hist, p) < 0.6 * scores_log_loss(w.hist, q));
    assert_true(scores_brier(w.hist, p) < 0.9 * scores_brier(w.hist, q));
}

static void what_was_never_seen_is_not_impossible(void **state)
{
    struct world w = {.n = 6,
                      .z = {-20, -2, -1, 1, 3, 20},
                      .w = {1, 1, 1, 1, 1, 1},
                      .one = {false, false, false, true, true, true}};
    float p[METRIC_BINS];

    (void)state;
    count(&w);
    assert_true(scores_calibrate(w.hist, 1, p));
    assert_true(fabsf(p[0] - 0.25f) <
                1e-6f); /* a fourth row in the lowest bin, and two behind it */
    assert_true(fabsf(p[METRIC_BINS - 1] - 0.75f) < 1e-6f);
    for (uint32_t b = 1; b < METRIC_BINS; b++)
        assert_true(p[b] >= p[b - 1]);
    w.w[0] = 1e30f; /* more than a float can tell from 1 */
    count(&w);
    assert_true(scores_calibrate(w.hist, 1, p));
    assert_true(p[0] > 0 && isfinite(scores_log_loss(w.hist, p)));
}

/* ---- from rows to measures ---- */

static const struct algo labelled = {.name = "toy", .flags = ALGO_LABEL};

static void open_state(struct tensors *ts, const struct shape *sh)
{
    struct tdecl d[METRIC_DECLS];
    struct err e;

    assert_int_equal(tensors_layout(ts, d, metrics_decls(d, 0, &labelled, sh), 6, 1 << 20, &e),
                     ST_OK);
    assert_int_equal(tensors_alloc(ts, NULL, NULL, &e), ST_OK);
}

static void add(struct tensors *ts, const struct shape *sh, struct world *w, uint32_t from,
                uint32_t to)
{
    float y[ROWS], loss[ROWS] = {0};
    struct rows r = {.n = to - from, .ny = 1, .y = y, .weight = w->w + from};

    for (uint32_t i = from; i < to; i++)
        y[i - from] = w->one[i];
    metrics_add(ts, sh, &r, &(struct eval){w->z + from, loss});
}

/* A batch of rows, as it is added to what was there: the past fades as the rows double. */
static void fade(struct world *w, uint32_t begin, uint32_t from, uint32_t to)
{
    bool doubled = false;

    for (uint32_t edge = 64; edge <= to - begin; edge *= 2)
        doubled |= edge > from - begin;
    for (uint32_t i = begin; i < from && doubled; i++)
        w->w[i] /= 4;
}

/* Rows in two states make histograms that add up to that of the rows, of which the early ones have
 * faded; the area under the curve is off by no more than half of the pairs that share a bin. */
static void slots_add_up_and_the_area_is_near(void **state)
{
    const struct shape sh = {.models = 1, .zcols = 1, .ny = 1, .classes = 2, .out = OUT_MARGIN};
    double pairs = 0, right = 0, tied = 0, auc;
    struct tensors a = {0}, b = {0};
    static struct world w;
    double *sum;

    (void)state;
    make(&w, 5);
    open_state(&a, &sh);
    open_state(&b, &sh);
    for (uint32_t i = 0; i < ROWS; i += 50) {
        add(i < 1000 ? &a : &b, &sh, &w, i, i + 50);
        fade(&w, i < 1000 ? 0 : 1000, i, i + 50);
    }
    count(&w);
    sum = calloc((size_t)2 * METRIC_BINS, sizeof *sum);
    for (uint32_t i = 0; i < 2 * METRIC_BINS; i++) {
        sum[i] = metrics_hist(&a, &sh, 0)[i] + metrics_hist(&b, &sh, 0)[i];
        assert_near(sum[i], w.hist[i]);
    }
    memcpy(tensors_find(&a, "@metric.hist")->f64, sum, (size_t)2 * METRIC_BINS * sizeof *sum);
    auc = metrics_read(&a, &sh, 0, true).auc;
    free(sum);
    for (uint32_t i = 0; i < w.n; i++)
        for (uint32_t j = 0; j < w.n; j++) {
            double weight = (double)w.w[i] * (double)w.w[j];

            if (!w.one[i] || w.one[j])
                continue;
            pairs += weight;
            right += weight * (w.z[i] > w.z[j] ? 1 : w.z[i] == w.z[j] ? 0.5 : 0);
            tied += metrics_bin(w.z[i]) == metrics_bin(w.z[j]) ? weight : 0;
        }
    assert_true(fabs(auc - right / pairs) <= tied / pairs / 2);
    assert_true(tied / pairs < 0.01);
    assert_null(metrics_hist(&a, &(struct shape){.models = 1, .out = OUT_VALUE}, 0));
    tensors_free(&a, NULL, NULL);
    tensors_free(&b, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_begin_exactly_at_their_edges),
        cmocka_unit_test(measures_at_an_edge_are_those_of_the_rows),
        cmocka_unit_test(the_best_threshold_is_the_best),
        cmocka_unit_test(of_equal_thresholds_it_is_the_middle_one),
        cmocka_unit_test(what_cannot_be_had_is_said),
        cmocka_unit_test(calibration_is_isotonic_regression),
        cmocka_unit_test(calibration_mends_what_scores_say_of_themselves),
        cmocka_unit_test(what_was_never_seen_is_not_impossible),
        cmocka_unit_test(slots_add_up_and_the_area_is_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
