/* Every operation of the compute table on every back end; see compute_suite.h for what is asked.
 *
 * Budgets. A sum of k rounded products in f32, in any order and blocking: the i-th addition
 * rounds a partial sum of i terms; summed up, the expected squared error is (k^2 / 6) u^2 for
 * terms of random sign and |result|^2 is k, so k / 6 u^2 relative; k / 9 where all have one
 * sign. Two such results differ by the sum of both. The limit is (k + 4) u^2: three to six times
 * the expectation. A sum in f64 is rounded once: 1 u^2. Comparisons, moves and random numbers
 * are exact. */
#include "tests/conform/compute_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHAPES(list) .shapes = (list), .n = sizeof(list) / sizeof *(list)

static double exactly(const struct shape4 *s)
{
    (void)s;
    return 0.0;
}

static double rounded_once(const struct shape4 *s)
{
    (void)s;
    return 1.0;
}

static double sum_of_k(const struct shape4 *s)
{
    return s->k + 4.0;
}

/* gemm: variant = transposition + 3 * (beta 0 | 1 | 0.5); odd shapes get a pad. */
static const struct shape4 products[] = {
    {0, 5, 7, 0},      {5, 0, 7, 1},      {5, 7, 0, 0},      {5, 7, 0, 3},     {5, 7, 0, 7},
    {1, 1, 1, 0},      {1, 1, 1, 2},      {5, 1, 33, 0},     {33, 1, 5, 1},    {5, 1, 33, 2},
    {17, 1, 50, 3},    {17, 1, 50, 4},    {17, 1, 50, 8},    {1, 9, 28, 0},    {1, 9, 28, 1},
    {32, 8, 28, 0},    {28, 8, 32, 1},    {28, 8, 32, 4},    {32, 10, 784, 0}, {784, 10, 32, 1},
    {32, 10, 784, 3},  {100, 32, 784, 2}, {33, 17, 29, 5},   {33, 17, 29, 6},  {33, 17, 29, 7},
    {131, 97, 257, 0}, {131, 97, 257, 1}, {131, 97, 257, 2}, {64, 80, 28, 8},
};

static uint32_t pad_of(const struct shape4 *s)
{
    return s->r % 2 * 3;
}

static float beta_of(const struct shape4 *s)
{
    static const float beta[] = {0.0f, 1.0f, 0.5f};

    return beta[s->variant / 3];
}

static void run_gemm(struct rig *g, const struct shape4 *s, struct result *out)
{
    int tr = (int)s->variant % 3;
    struct mat a =
        tr == TA ? in_mat(g, 1, s->k, s->r, pad_of(s)) : in_mat(g, 1, s->r, s->k, pad_of(s));
    struct mat b =
        tr == TB ? in_mat(g, 2, s->c, s->k, pad_of(s)) : in_mat(g, 2, s->k, s->c, pad_of(s));
    struct mat c = beta_of(s) == 0.0f ? out_mat(g, s->r, s->c, pad_of(s))
                                      : inout_mat(g, 3, s->r, s->c, pad_of(s));

    g->c->gemm(g->cs, tr, 0.75f, a, b, beta_of(s), c);
    rig_fetch(g);
    take_mat(g, c, out);
}

static void truth_gemm(const struct shape4 *s, struct result *out)
{
    int tr = (int)s->variant % 3;

    for (uint32_t i = 0; i < s->r; i++) {
        for (uint32_t j = 0; j < s->c; j++) {
            double sum = 0.0, c = (double)number(3, (uint64_t)i * s->c + j);

            for (uint32_t k = 0; k < s->k; k++)
                sum += (double)number(1, tr == TA ? k * s->r + i : i * s->k + k) *
                       (double)number(2, tr == TB ? j * s->k + k : k * s->c + j);
            result_add(out, 0.75 * sum + (double)beta_of(s) * c);
        }
    }
}

static void gemm_is_the_product(void **state)
{
    static const struct op op = {"gemm",           run_gemm,           truth_gemm,     sum_of_k,
                                 SHAPES(products), .by_library = true, .factors = true};

    (void)state;
    compute_suite_run(&op);
}

/* syrk: r = c = width of a, k rows, variant 1: beta 0.5 */
static const struct shape4 squares[] = {
    {0, 0, 3, 0}, {1, 1, 1, 0}, {5, 5, 0, 1}, {7, 7, 32, 0}, {28, 28, 100, 3}, {131, 131, 64, 3},
};

static void run_syrk(struct rig *g, const struct shape4 *s, struct result *out)
{
    struct mat a = in_mat(g, 1, s->k, s->r, pad_of(s));
    struct mat c = beta_of(s) == 0.0f ? out_mat(g, s->r, s->r, pad_of(s))
                                      : inout_mat(g, 3, s->r, s->r, pad_of(s));

    g->c->syrk(g->cs, 0.75f, a, beta_of(s), c);
    rig_fetch(g);
    take_lower(g, c, out);
}

static void truth_syrk(const struct shape4 *s, struct result *out)
{
    for (uint32_t i = 0; i < s->r; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            double sum = 0.0, c = (double)number(3, (uint64_t)i * s->r + j);

            for (uint32_t k = 0; k < s->k; k++)
                sum += (double)number(1, k * s->r + i) * (double)number(1, k * s->r + j);
            result_add(out, 0.75 * sum + (double)beta_of(s) * c);
        }
    }
}

static void syrk_fills_the_lower_triangle_only(void **state)
{
    static const struct op op = {"syrk",   run_syrk,        truth_syrk,
                                 sum_of_k, SHAPES(squares), .by_library = true};

    (void)state;
    compute_suite_run(&op);
}

/* gram64: r columns, k rows, variant bit 0: weights; bits 1 and 2: beta 0, 1, 0.5. A sum of k
 * products in f64 has the budget of sum_of_k in units of 2^-53, with room. */
static const struct shape4 grams[] = {
    {0, 0, 3, 0},  {1, 0, 1, 0},    {1, 0, 1, 3},    {5, 0, 0, 2},    {5, 0, 0, 0},
    {7, 0, 32, 1}, {28, 0, 100, 3}, {29, 0, 205, 4}, {131, 0, 64, 5}, {64, 0, 333, 1},
};

static double sum_of_k_in_f64(const struct shape4 *s)
{
    return (s->k + 4.0) * 0x1p-52;
}

static double gram_beta(const struct shape4 *s)
{
    static const double beta[] = {0, 1, 0.5};

    return beta[s->variant >> 1];
}

static double gram_weight(const struct shape4 *s, uint32_t k)
{
    return s->variant & 1 ? (double)fabsf(number(2, k)) : 1;
}

static void run_gram64(struct rig *g, const struct shape4 *s, struct result *out)
{
    const size_t n = (size_t)s->r * (s->r + 1) / 2, scratch = (size_t)(s->k + s->r) * s->r;
    struct mat a = in_mat(g, 1, s->k, s->r, pad_of(s));
    double *was = calloc(n + scratch + 1, sizeof *was), *work, *sum;
    float w[512];

    assert_true(s->k <= 512);
    for (uint32_t k = 0; k < s->k; k++)
        w[k] = (float)gram_weight(s, k);
    for (size_t i = 0; i < n; i++)
        was[i] = gram_beta(s) == 0 ? (double)canary : 1e3 + (double)i / 3.0;
    sum = inout_bytes(g, was, n * sizeof *was);
    work = inout_bytes(g, was + n, scratch * sizeof *was);
    free(was);
    g->c->gram64(g->cs, a, s->variant & 1 ? in_bytes(g, w, s->k * sizeof *w) : NULL, gram_beta(s),
                 work, sum);
    rig_fetch(g);
    take_f64(g, sum, n, out);
}

static void truth_gram64(const struct shape4 *s, struct result *out)
{
    for (uint32_t i = 0, at = 0; i < s->r; i++)
        for (uint32_t j = 0; j <= i; j++, at++) {
            double sum = gram_beta(s) * (1e3 + at / 3.0);

            for (uint32_t k = 0; k < s->k; k++)
                sum += gram_weight(s, k) * (double)number(1, k * s->r + i) *
                       (double)number(1, k * s->r + j);
            result_add(out, sum);
        }
}

static void gram64_adds_a_packed_triangle_in_f64(void **state)
{
    static const struct op op = {"gram64",        run_gram64,    truth_gram64,
                                 sum_of_k_in_f64, SHAPES(grams), .by_library = true};

    (void)state;
    compute_suite_run(&op);
}

/* sums over a batch: variant 1 gives weights, odd rows a pad */
static const struct shape4 batches[] = {
    {0, 3, 0, 0},  {1, 1, 0, 0},  {1, 1, 0, 1},    {7, 1, 0, 1},   {32, 3, 0, 0},    {33, 28, 0, 1},
    {5, 63, 0, 0}, {5, 65, 0, 1}, {64, 128, 0, 0}, {3, 785, 0, 1}, {1000, 10, 0, 0},
};

static void run_acc64(struct rig *g, const struct shape4 *s, struct result *out)
{
    struct mat a = in_mat(g, 1, s->r, s->c, pad_of(s));
    size_t n = (size_t)s->r * s->c;
    double *was = calloc(n + 1, sizeof *was), *sum;

    for (size_t i = 0; i < n; i++)
        was[i] = 1e6 + (double)i / 3.0;
    sum = inout_bytes(g, was, n * sizeof *was);
    free(was);
    g->c->acc64(g->cs, a, sum);
    rig_fetch(g);
    take_f64(g, sum, n, out);
}

static void truth_acc64(const struct shape4 *s, struct result *out)
{
    for (uint32_t i = 0; i < s->r * s->c; i++)
        result_add(out, 1e6 + (double)i / 3.0 + (double)number(1, i));
}

static void run_colsum(struct rig *g, const struct shape4 *s, struct result *out)
{
    struct mat a = in_mat(g, 1, s->r, s->c, pad_of(s));
    const float *w = s->variant ? in_mat(g, 2, s->r, 1, 0).p : NULL;
    struct mat sum = out_mat(g, 1, s->c, 0);

    g->c->colsum(g->cs, a, w, sum.p);
    rig_fetch(g);
    take_mat(g, sum, out);
}

static void truth_colsum(const struct shape4 *s, struct result *out)
{
    for (uint32_t j = 0; j < s->c; j++) {
        double sum = 0.0;

        for (uint32_t i = 0; i < s->r; i++)
            sum += (s->variant ? (double)number(2, i) : 1.0) * (double)number(1, i * s->c + j);
        result_add(out, sum);
    }
}

static void run_rowsq(struct rig *g, const struct shape4 *s, struct result *out)
{
    struct mat a = in_mat(g, 1, s->r, s->c, pad_of(s)), sum = out_mat(g, s->r, 1, 0);

    g->c->rowsq(g->cs, a, sum.p);
    rig_fetch(g);
    take_mat(g, sum, out);
}

static void truth_rowsq(const struct shape4 *s, struct result *out)
{
    for (uint32_t i = 0; i < s->r; i++) {
        double sum = 0.0;

        for (uint32_t j = 0; j < s->c; j++)
            sum += (double)number(1, i * s->c + j) * (double)number(1, i * s->c + j);
        result_add(out, sum);
    }
}

static void sums_over_a_batch_are_right(void **state)
{
    static const struct op ops[] = {
        {"acc64", run_acc64, truth_acc64, exactly, SHAPES(batches)},
        {"colsum", run_colsum, truth_colsum, rounded_once, SHAPES(batches)},
        {"rowsq", run_rowsq, truth_rowsq, rounded_once, SHAPES(batches)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        compute_suite_run(&ops[i]);
}

/* Distances for rowmin and topk: variant bit 0: bias; bit 1: eighths, so that many are equal;
 * bit 2: every third is NaN, every fifth infinite; bit 3: a row of NaN alone. */
static const struct shape4 searches[] = {
    {0, 4, 0, 0},    {1, 1, 1, 0},    {3, 1, 1, 8},     {7, 5, 2, 1},
    {32, 100, 1, 1}, {9, 17, 17, 2},  {33, 50, 7, 3},   {16, 64, 3, 6},
    {16, 64, 60, 7}, {5, 33, 33, 14}, {4, 1000, 10, 3}, {1, 16, 16, 15},
};

static float distance(const struct shape4 *s, uint32_t i, uint32_t j)
{
    float v = number(4, (uint64_t)i * s->c + j);
    float b = s->variant & 1 ? number(5, j) : 0.0f;

    if ((s->variant & 8 && i == 0) || (s->variant & 4 && (i + j) % 3 == 0))
        return canary;
    if (s->variant & 4 && (i + j) % 5 == 0)
        return INFINITY;
    if (s->variant & 2)
        v = roundf(v * 4.0f) * 0.25f;
    return v + (s->variant & 2 ? roundf(b * 4.0f) * 0.25f : b);
}

static struct mat distances(struct rig *g, const struct shape4 *s, const float **bias)
{
    uint32_t ld = s->c + pad_of(s);
    float *v = calloc((size_t)s->r * ld + s->c, sizeof *v), *b = v + (size_t)s->r * ld;
    struct shape4 plain = {s->r, s->c, s->k, s->variant & ~1u};
    struct mat m = {NULL, s->r, s->c, ld};

    for (uint32_t i = 0; i < s->r; i++)
        for (uint32_t j = 0; j < ld; j++)
            v[i * ld + j] = j < s->c ? distance(&plain, i, j) : -100.0f;
    for (uint32_t j = 0; j < s->c; j++)
        b[j] = s->variant & 2 ? roundf(number(5, j) * 4.0f) * 0.25f : number(5, j);
    m.p = in_bytes(g, v, (size_t)s->r * ld * sizeof *v);
    *bias = s->variant & 1 ? in_bytes(g, b, s->c * sizeof *b) : NULL;
    free(v);
    return m;
}

static void run_search(struct rig *g, const struct shape4 *s, struct result *out, bool topk)
{
    const float *bias;
    struct mat a = distances(g, s, &bias), val = out_mat(g, s->r, topk ? s->k : 1, 0);
    uint32_t *at = (uint32_t *)(void *)out_mat(g, s->r, topk ? s->k : 1, 0).p;

    if (topk)
        g->c->topk(g->cs, a, bias, s->k, at, val.p);
    else
        g->c->rowmin(g->cs, a, bias, at, val.p);
    rig_fetch(g);
    take_mat(g, val, out);
    take_u32(g, at, (size_t)val.r * val.c, out);
}

static void run_rowmin(struct rig *g, const struct shape4 *s, struct result *out)
{
    run_search(g, s, out, false);
}

static void run_topk(struct rig *g, const struct shape4 *s, struct result *out)
{
    run_search(g, s, out, true);
}

/* Picks k times the first of the least numbers left; NaN counts as greater than all of them. */
static void truth_search(const struct shape4 *s, uint32_t k, struct result *out)
{
    uint32_t *at = calloc((size_t)s->r * k + 1, sizeof *at), n = 0;
    bool *taken = calloc(s->c, 1);

    for (uint32_t i = 0; i < s->r; i++) {
        memset(taken, 0, s->c);
        for (uint32_t q = 0; q < k; q++) {
            uint32_t best = s->c;

            for (uint32_t j = 0; j < s->c; j++)
                if (!taken[j] && (best == s->c || distance(s, i, j) < distance(s, i, best) ||
                                  (isnan(distance(s, i, best)) && !isnan(distance(s, i, j)))))
                    best = j;
            taken[best] = true;
            at[n++] = best;
            result_add(out, (double)distance(s, i, best));
        }
    }
    for (uint32_t q = 0; q < n; q++)
        result_add(out, (double)at[q]);
    free(at);
    free(taken);
}

static void truth_rowmin(const struct shape4 *s, struct result *out)
{
    truth_search(s, 1, out);
}

static void truth_topk(const struct shape4 *s, struct result *out)
{
    truth_search(s, s->k, out);
}

static void equal_distances_go_to_the_lowest_column(void **state)
{
    static const struct op ops[] = {
        {"rowmin", run_rowmin, truth_rowmin, exactly, SHAPES(searches)},
        {"topk", run_topk, truth_topk, exactly, SHAPES(searches)},
    };

    (void)state;
    compute_suite_run(&ops[0]);
    compute_suite_run(&ops[1]);
}

/* segsum: r rows into k segments; a segment gets all rows at worst, hence the budget of r terms */
enum { SEGMENTS_MAX = 4100 };
static const struct shape4 segments[] = {
    {0, 3, 2, 0},    {1, 1, 1, 1},    {33, 1, 4, 1},    {32, 17, 5, 0},
    {100, 64, 3, 1}, {7, 785, 10, 1}, {20, 1, 4100, 1},
};

static void run_segsum(struct rig *g, const struct shape4 *s, struct result *out)
{
    uint32_t seg[128];
    static const double zero[SEGMENTS_MAX];
    double *n;
    struct mat x = in_mat(g, 1, s->r, s->c, pad_of(s)), sum = inout_mat(g, 3, s->k, s->c, 2);
    const float *w = s->variant ? in_mat(g, 2, s->r, 1, 0).p : NULL;

    for (uint32_t i = 0; i < s->r; i++)
        seg[i] = index_below(6, i, s->k);
    n = inout_bytes(g, zero, s->k * sizeof *n);
    g->c->segsum(g->cs, x, w, in_bytes(g, seg, s->r * sizeof *seg), sum, n);
    rig_fetch(g);
    take_mat(g, sum, out);
    take_f64(g, n, s->k, out);
}

static void truth_segsum(const struct shape4 *s, struct result *out)
{
    static double n[SEGMENTS_MAX];

    for (uint32_t q = 0; q < s->k; q++) {
        for (uint32_t j = 0; j < s->c; j++) {
            double sum = (double)number(3, q * s->c + j);

            for (uint32_t i = 0; i < s->r; i++)
                if (index_below(6, i, s->k) == q)
                    sum +=
                        (s->variant ? (double)number(2, i) : 1.0) * (double)number(1, i * s->c + j);
            result_add(out, sum);
        }
    }
    memset(n, 0, sizeof n);
    for (uint32_t i = 0; i < s->r; i++)
        n[index_below(6, i, s->k)] += s->variant ? (double)number(2, i) : 1.0;
    for (uint32_t q = 0; q < s->k; q++)
        result_add(out, n[q]);
}

static double sum_of_r(const struct shape4 *s)
{
    return s->r + 4.0;
}

static void segsum_adds_rows_to_their_segment(void **state)
{
    static const struct op op = {"segsum", run_segsum, truth_segsum, sum_of_r, SHAPES(segments)};

    (void)state;
    compute_suite_run(&op);
}

/* softmax: k groups. Budget: an exponent d = z - max is rounded to d u, exp to 2 u, the sum of c
 * / k terms as above, the quotient to 2 u; e^-d d stays below 1: (16 + c / k) u^2. variant: 0
 * usual, 1 with logits of +-200, which overflow exp without the shift. */
static const struct shape4 logits[] = {
    {0, 4, 2, 0},  {1, 1, 1, 0},   {5, 2, 1, 0},  {32, 10, 1, 1},  {33, 80, 8, 0},
    {7, 16, 1, 1}, {7, 17, 17, 0}, {4, 66, 2, 1}, {3, 1000, 1, 0},
};

static double logit(const struct shape4 *s, uint32_t i, uint32_t j)
{
    float z = number(7, (uint64_t)i * s->c + j) * (s->variant ? 200.0f : 5.0f);

    return (double)z;
}

static void run_softmax(struct rig *g, const struct shape4 *s, struct result *out)
{
    uint32_t ld = s->c + pad_of(s);
    float *v = calloc((size_t)s->r * ld + 1, sizeof *v);
    struct mat z = {NULL, s->r, s->c, ld}, lse = out_mat(g, s->r, s->k, 0);

    for (uint32_t i = 0; i < s->r; i++)
        for (uint32_t j = 0; j < s->c; j++)
            v[i * ld + j] = (float)logit(s, i, j);
    z.p = inout_bytes(g, v, (size_t)s->r * ld * sizeof *v);
    free(v);
    g->c->softmax(g->cs, s->k, z, lse.p);
    rig_fetch(g);
    take_mat(g, z, out);
    take_mat(g, lse, out);
}

static void truth_softmax(const struct shape4 *s, struct result *out)
{
    uint32_t n = s->c / s->k;
    struct result *lse = calloc(1, sizeof *lse);

    for (uint32_t i = 0; i < s->r; i++) {
        for (uint32_t q = 0; q < s->k; q++) {
            double max = -INFINITY, sum = 0.0;

            for (uint32_t j = q * n; j < (q + 1) * n; j++)
                max = fmax(max, logit(s, i, j));
            for (uint32_t j = q * n; j < (q + 1) * n; j++)
                sum += exp(logit(s, i, j) - max);
            for (uint32_t j = q * n; j < (q + 1) * n; j++)
                result_add(out, exp(logit(s, i, j) - max) / sum);
            result_add(lse, max + log(sum));
        }
    }
    for (uint32_t i = 0; i < lse->n; i++)
        result_add(out, lse->value[i]);
    free(lse);
}

static double softmax_budget(const struct shape4 *s)
{
    return 16.0 + s->c / s->k;
}

static void softmax_survives_great_logits(void **state)
{
    static const struct op op = {"softmax", run_softmax, truth_softmax, softmax_budget,
                                 SHAPES(logits)};

    (void)state;
    compute_suite_run(&op);
}

/* A diverged model must show: one NaN logit makes its whole group NaN, and no other group. */
static void softmax_passes_nan_on(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < back_ends(); b++) {
        const float row[4] = {1.0f, canary, 2.0f, 3.0f};
        static struct result out;
        struct rig g;
        struct mat z, lse;

        out.n = 0;
        rig_open(&g, b);
        lse = out_mat(&g, 1, 2, 0);
        z = (struct mat){inout_bytes(&g, row, sizeof row), 1, 4, 4};
        g.c->softmax(g.cs, 2, z, lse.p);
        rig_fetch(&g);
        take_mat(&g, z, &out);
        take_mat(&g, lse, &out);
        for (uint32_t i = 0; i < 6; i++)
            assert_int_equal(isnan(out.value[i]) != 0, i < 2 || i == 4);
        rig_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_is_the_product),
        cmocka_unit_test(syrk_fills_the_lower_triangle_only),
        cmocka_unit_test(gram64_adds_a_packed_triangle_in_f64),
        cmocka_unit_test(sums_over_a_batch_are_right),
        cmocka_unit_test(equal_distances_go_to_the_lowest_column),
        cmocka_unit_test(segsum_adds_rows_to_their_segment),
        cmocka_unit_test(softmax_survives_great_logits),
        cmocka_unit_test(softmax_passes_nan_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
