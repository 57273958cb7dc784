/* Sparse products, row moves and random numbers on every back end; see compute_suite.h. The budget
 * of a sum of k products is (k + 4) u^2, as compute_test.c derives it. */
#include "algos/compute/philox.h"
#include "tests/conform/compute_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <math.h>

#define SHAPES(list) .shapes = (list), .n = sizeof(list) / sizeof *(list)

enum { ROWS_MAX = 64, NNZ_MAX = 4096 };

/* r rows over k ids, c columns; variant bit 0: values (else all ones), bit 1: ids may repeat in a
 * row, bit 2: ptr starts at 3, as a batch inside a block does */
static const struct shape4 sparse[] = {
    {0, 3, 5, 1},   {1, 1, 1, 0},    {7, 1, 20, 1},   {32, 1, 123, 4},
    {33, 4, 9, 3},  {32, 8, 123, 1}, {16, 10, 50, 7}, {5, 17, 30, 5},
    {9, 80, 40, 1}, {31, 21, 64, 6}, {9, 150, 20, 1}, {2, 1, 4100, 3},
};

struct host_csr {
    uint32_t n, ptr[ROWS_MAX + 1], idx[NNZ_MAX];
    float val[NNZ_MAX];
};

/* Row i has 0 to 20 entries; without repeats the ids ascend. */
static void sparse_rows(const struct shape4 *s, struct host_csr *x)
{
    uint32_t q = s->variant & 4 ? 3 : 0;

    *x = (struct host_csr){.n = s->r, .idx = {0}};
    for (uint32_t i = 0; i <= s->r; i++) {
        uint32_t n = index_below(8, i, 21), id = 0;

        x->ptr[i] = q;
        for (uint32_t l = 0; i < s->r && l < n; l++) {
            uint32_t step = 1 + index_below(9, q, 1 + s->k / 10);

            id = s->variant & 2 ? index_below(10, q, s->k) : l ? id + step : step - 1;
            if (id >= s->k)
                break;
            x->idx[q++] = id;
        }
    }
    for (uint32_t l = 0; l < q; l++)
        x->val[l] = s->variant & 1 ? number(11, l) : 1.0f;
}

static struct csr csr_on(struct rig *g, const struct shape4 *s, const struct host_csr *x)
{
    uint32_t nnz = x->ptr[x->n];

    return (struct csr){.n = x->n,
                        .ptr = in_bytes(g, x->ptr, (x->n + 1) * sizeof *x->ptr),
                        .idx = in_bytes(g, x->idx, nnz * sizeof *x->idx),
                        .val = s->variant & 1 ? in_bytes(g, x->val, nnz * sizeof *x->val) : NULL};
}

static uint32_t pad_of(const struct shape4 *s)
{
    return s->r % 2 * 3;
}

static void run_csr_mm(struct rig *g, const struct shape4 *s, struct result *out)
{
    static struct host_csr x;
    struct mat w = in_mat(g, 1, s->k, s->c, pad_of(s)), z = out_mat(g, s->r, s->c, pad_of(s));

    sparse_rows(s, &x);
    g->c->csr_mm(g->cs, csr_on(g, s, &x), w, z);
    rig_fetch(g);
    take_mat(g, z, out);
}

static void truth_csr_mm(const struct shape4 *s, struct result *out)
{
    static struct host_csr x;

    sparse_rows(s, &x);
    for (uint32_t i = 0; i < s->r; i++) {
        for (uint32_t j = 0; j < s->c; j++) {
            double sum = 0.0;

            for (uint32_t q = x.ptr[i]; q < x.ptr[i + 1]; q++)
                sum += (double)x.val[q] * (double)number(1, x.idx[q] * s->c + j);
            result_add(out, sum);
        }
    }
}

static void run_csr_tmm(struct rig *g, const struct shape4 *s, struct result *out)
{
    static struct host_csr x;
    struct mat e = in_mat(g, 1, s->r, s->c, pad_of(s)), sum = out_mat(g, s->k, s->c, pad_of(s));

    sparse_rows(s, &x);
    g->c->csr_tmm(g->cs, csr_on(g, s, &x), e, sum);
    rig_fetch(g);
    take_mat(g, sum, out);
}

static void truth_csr_tmm(const struct shape4 *s, struct result *out)
{
    static struct host_csr x;

    sparse_rows(s, &x);
    for (uint32_t k = 0; k < s->k; k++) {
        for (uint32_t j = 0; j < s->c; j++) {
            double sum = 0.0;

            for (uint32_t i = 0; i < s->r; i++)
                for (uint32_t q = x.ptr[i]; q < x.ptr[i + 1]; q++)
                    sum += x.idx[q] == k ? (double)x.val[q] * (double)number(1, i * s->c + j) : 0.0;
            result_add(out, sum);
        }
    }
}

static void run_csr_sddmm(struct rig *g, const struct shape4 *s, struct result *out)
{
    static struct host_csr x;
    struct mat a = in_mat(g, 1, s->r, s->c, pad_of(s)), b = in_mat(g, 2, s->k, s->c, pad_of(s)),
               val;

    sparse_rows(s, &x);
    val = out_mat(g, 1, x.ptr[x.n], 0);
    g->c->csr_sddmm(g->cs, csr_on(g, s, &x), a, b, val.p);
    rig_fetch(g);
    val.p += x.ptr[0]; /* entries before the batch are not ours */
    val.c -= x.ptr[0];
    take_mat(g, val, out);
}

static void truth_csr_sddmm(const struct shape4 *s, struct result *out)
{
    static struct host_csr x;

    sparse_rows(s, &x);
    for (uint32_t i = 0; i < s->r; i++) {
        for (uint32_t q = x.ptr[i]; q < x.ptr[i + 1]; q++) {
            double sum = 0.0;

            for (uint32_t j = 0; j < s->c; j++)
                sum += (double)number(1, i * s->c + j) * (double)number(2, x.idx[q] * s->c + j);
            result_add(out, sum);
        }
    }
}

static double sum_of_20(const struct shape4 *s) /* a row has 20 entries at most */
{
    (void)s;
    return 20.0 + 4.0;
}

static double sum_of_r(const struct shape4 *s)
{
    return s->r * (s->variant & 2 ? 20.0 : 1.0) + 4.0;
}

static double sum_of_c(const struct shape4 *s)
{
    return s->c + 4.0;
}

static void sparse_products_are_right(void **state)
{
    static const struct op ops[] = {
        {"csr_mm", run_csr_mm, truth_csr_mm, sum_of_20, SHAPES(sparse)},
        {"csr_tmm", run_csr_tmm, truth_csr_tmm, sum_of_r, SHAPES(sparse)},
        {"csr_sddmm", run_csr_sddmm, truth_csr_sddmm, sum_of_c, SHAPES(sparse)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        compute_suite_run(&ops[i]);
}

/* moves: r rows of c columns, out of (into) k */
static const struct shape4 moves[] = {
    {0, 3, 5, 0}, {1, 1, 1, 0}, {7, 1, 20, 0}, {32, 8, 64, 0}, {33, 17, 40, 0}, {5, 785, 5, 0},
};

static uint32_t row_of(const struct shape4 *s,
                       uint32_t i) /* distinct: 7 and the sizes share no factor */
{
    return (i * 7 + 3) % s->k;
}

static const uint32_t *rows_on(struct rig *g, const struct shape4 *s)
{
    uint32_t row[ROWS_MAX];

    for (uint32_t i = 0; i < s->r; i++)
        row[i] = row_of(s, i);
    return in_bytes(g, row, s->r * sizeof *row);
}

static void run_gather(struct rig *g, const struct shape4 *s, struct result *out)
{
    struct mat src = in_mat(g, 1, s->k, s->c, 2), dst = out_mat(g, s->r, s->c, pad_of(s));

    g->c->gather(g->cs, src, rows_on(g, s), dst);
    rig_fetch(g);
    take_mat(g, dst, out);
}

static void truth_gather(const struct shape4 *s, struct result *out)
{
    for (uint32_t i = 0; i < s->r; i++)
        for (uint32_t j = 0; j < s->c; j++)
            result_add(out, (double)number(1, row_of(s, i) * s->c + j));
}

static void run_scatter(struct rig *g, const struct shape4 *s, struct result *out)
{
    struct mat src = in_mat(g, 1, s->r, s->c, pad_of(s)), dst = inout_mat(g, 2, s->k, s->c, 2);

    g->c->scatter(g->cs, src, rows_on(g, s), dst);
    rig_fetch(g);
    take_mat(g, dst, out);
}

static void truth_scatter(const struct shape4 *s, struct result *out)
{
    for (uint32_t k = 0; k < s->k; k++) {
        for (uint32_t j = 0; j < s->c; j++) {
            double v = (double)number(2, k * s->c + j);

            for (uint32_t i = 0; i < s->r; i++)
                v = row_of(s, i) == k ? (double)number(1, i * s->c + j) : v;
            result_add(out, v);
        }
    }
}

/* fill: variant = kind + 3 if rows are numbered by rid */
static const struct shape4 fills[] = {
    {0, 3, 0, 0},   {1, 1, 0, 0},   {5, 7, 0, 1},  {3, 1000, 0, 2}, {32, 10, 0, 3},
    {9, 257, 0, 4}, {2, 515, 0, 5}, {64, 1, 0, 4}, {4, 256, 0, 1},
};
static const uint64_t key[2] = {20260101, 7};

static uint64_t rid_of(const struct shape4 *s, uint64_t i)
{
    return s->variant < 3 ? i : (i * 977 + 5) << 33;
}

static void run_fill(struct rig *g, const struct shape4 *s, struct result *out)
{
    struct mat m = out_mat(g, s->r, s->c, pad_of(s));
    uint64_t rid[ROWS_MAX];

    for (uint32_t i = 0; i < s->r; i++)
        rid[i] = rid_of(s, i);
    g->c->fill(g->cs, (enum fill_kind)(s->variant % 3), key,
               s->variant < 3 ? NULL : in_bytes(g, rid, s->r * sizeof *rid), m);
    rig_fetch(g);
    take_mat(g, m, out);
}

static void truth_fill(const struct shape4 *s, struct result *out)
{
    for (uint32_t i = 0; i < s->r; i++) {
        for (uint32_t j = 0; j < s->c; j++) {
            uint32_t w[4];

            philox_words(philox_key(key), rid_of(s, i), j / 4, w);
            result_add(out, (double)(s->variant % 3 == FILL_U01      ? mr_u01(w[j % 4])
                                     : s->variant % 3 == FILL_NORMAL ? mr_normal(w[j % 4])
                                                                     : mr_sign(w[j % 4])));
        }
    }
}

static double exactly(const struct shape4 *s)
{
    (void)s;
    return 0.0;
}

static void moves_and_random_numbers_are_exact(void **state)
{
    static const struct op ops[] = {
        {"gather", run_gather, truth_gather, exactly, SHAPES(moves)},
        {"scatter", run_scatter, truth_scatter, exactly, SHAPES(moves)},
        {"fill", run_fill, truth_fill, exactly, SHAPES(fills)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        compute_suite_run(&ops[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sparse_products_are_right),
        cmocka_unit_test(moves_and_random_numbers_are_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
