/* The maths of kernels.h, and what the CPU back ends promise beyond the compute table's suite:
 * memory, and bits that do not depend on the machine. */
#include "algos/compute/compute.h"
#include "algos/compute/kernels.h"
#include "config/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <math.h>

/* Error of got in units of the last place of want, denormals included; what is not finite must
 * agree. */
static double ulps(float got, double want)
{
    int e;

    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0.0 : INFINITY;
    if (isinf((float)want) || isinf(got))
        return got == (float)want ? 0.0 : INFINITY;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

/* Every 65521st float, of either sign, NaN and infinity among them: 65,000 a function. Every
 * third float was tried once: 0.96 and 0.84. */
static void exp_and_log_are_within_one_ulp(void **state)
{
    double worst_exp = 0.0, worst_log = 0.0;

    (void)state;
    for (uint64_t u = 0; u <= 0xffffffffu; u += 65521) {
        float x = mr_from_bits((uint32_t)u);

        worst_exp = fmax(worst_exp, ulps(mr_exp(x), exp((double)x)));
        worst_log = fmax(worst_log, ulps(mr_log(x), log((double)x)));
    }
    for (float x = -110.0f; x < 95.0f; x += 0.0013f)
        worst_exp = fmax(worst_exp, ulps(mr_exp(x), exp((double)x)));
    for (float x = 0.3f; x < 3.0f; x += 0.0000137f)
        worst_log = fmax(worst_log, ulps(mr_log(x), log((double)x)));
    assert_true(worst_exp < 1.0);
    assert_true(worst_log < 1.0);
}

static void edges_are_those_of_the_functions(void **state)
{
    (void)state;
    assert_true(mr_exp(0.0f) == 1.0f && mr_exp(-0.0f) == 1.0f);
    assert_true(mr_exp(INFINITY) == INFINITY && mr_exp(89.0f) == INFINITY);
    assert_true(mr_exp(-INFINITY) == 0.0f && mr_exp(-104.0f) == 0.0f);
    assert_true(isnan(mr_exp(NAN)) && isnan(mr_log(NAN)));
    assert_true(mr_log(1.0f) == 0.0f && mr_log(INFINITY) == INFINITY);
    assert_true(mr_log(0.0f) == -INFINITY && mr_log(-0.0f) == -INFINITY && isnan(mr_log(-1.0f)));
}

static void soft_threshold_stops_at_zero_and_keeps_nan(void **state)
{
    (void)state;
    assert_true(mr_soft(3.0f, 1.0f) == 2.0f && mr_soft(-3.0f, 1.0f) == -2.0f);
    assert_true(mr_bits(mr_soft(-0.5f, 1.0f)) == 0 && mr_bits(mr_soft(-0.0f, 0.0f)) == 0);
    assert_true(isnan(mr_soft(NAN, 1.0f)) && isnan(mr_soft(1.0f, NAN)));
}

static void the_list_of_back_ends_is_sound(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(compute_check(&e), ST_OK);
    assert_ptr_equal(compute_find("ref"), &compute_ref);
    assert_ptr_equal(compute_find("openblas"), &compute_openblas);
    assert_null(compute_find("cuba"));
}

static void memory_is_aligned_zeroed_and_refused_when_absurd(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 1 << 20};

    (void)state;
    for (uint32_t b = 0; b < compute_count && compute_list[b]->host_memory; b++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            uint8_t *p = compute_list[b]->alloc(NULL, sizes[i]);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            for (size_t q = 0; q < sizes[i]; q++)
                assert_int_equal(p[q], 0);
            compute_list[b]->free(NULL, p);
        }
        assert_null(compute_list[b]->alloc(NULL, SIZE_MAX));
        compute_list[b]->free(NULL, NULL);
    }
}

enum { N = 77, K = 129 };

static uint64_t digest(const float *p, size_t n, uint64_t seed)
{
    uint8_t b[4];

    for (size_t i = 0; i < n; i++) {
        put_u32(b, mr_bits(p[i]));
        seed = hash64(b, sizeof b, seed);
    }
    return seed;
}

/* ref and the kernels give these bits at every vector width, with every compiler, on every machine;
 * sanitizer builds have no function clones and so prove it against the clones of other builds. */
static void bits_of_ref_do_not_depend_on_the_machine(void **state)
{
    static float a[N * K], b[K * N], c[N * N], n[N * N], out[N * N], lse[N];
    static uint32_t ptr[N + 1], idx[3 * N];
    const uint64_t key[2] = {3, 4};
    const uint32_t size[2] = {N, N};
    const float scale[2] = {0.01f, 1.0f};
    const struct compute *ref = &compute_ref;
    struct mat mc = {c, N, N, N}, mo = {out, N, N, N};
    struct arg args[8] = {{c, N}, {n, N}, {out, N}, {lse, 0}, {lse, 0}, {lse, 0}};
    uint64_t d;

    (void)state;
    ref->fill(NULL, FILL_NORMAL, key, NULL, (struct mat){a, N, K, K});
    ref->fill(NULL, FILL_U01, key, NULL, (struct mat){b, K, N, N});
    ref->gemm(NULL, NO_T, 1.0f, (struct mat){a, N, K, K}, (struct mat){b, K, N, N}, 0.0f, mc);
    ref->gemm(NULL, TB, 0.1f, (struct mat){a, N, K, K}, (struct mat){a, N, K, K}, 1.0f, mc);
    d = digest(c, N * N, 0);
    for (uint32_t i = 0; i <= N; i++)
        ptr[i] = 3 * i;
    for (uint32_t i = 0; i < 3 * N; i++)
        idx[i] = i * 31 % N;
    ref->csr_mm(NULL, (struct csr){N, ptr, idx, a}, mc, mo);
    ref->csr_tmm(NULL, (struct csr){N, ptr, idx, b}, mo, (struct mat){n, N, N, N});
    d = digest(n, N * N, d);
    ref->softmax(NULL, 7, mo, n);
    ref->colsum(NULL, mo, b, lse);
    d = digest(lse, N, d);
    ref->rowsq(NULL, (struct mat){n, N, N, N}, lse);
    for (uint32_t i = 0; i < N * N; i++)
        n[i] = mr_abs(n[i]);
    ref->ew(NULL, EW_adagrad, size, args, scale);
    d = digest(n, N * N, digest(c, N * N, d));
    args[1] = args[2] = (struct arg){b, 0};
    args[3] = (struct arg){n, N};
    args[4] = (struct arg){out, N};
    ref->ew(NULL, EW_logistic, size, args, NULL);
    d = digest(out, N * N, digest(n, N * N, d));
    assert_true(d == UINT64_C(0xb7d16e7e5f5b8bf8));
}

/* A float of any kind, NaN and infinity among them; some are 0. */
static float any_float(uint64_t i)
{
    return i % 5 ? mr_from_bits((uint32_t)(i * UINT64_C(0x9e3779b97f4a7c15) >> 32)) : 0.0f;
}

static void assert_same(float got, float want)
{
    assert_true(mr_bits(got) == mr_bits(want) || (isnan(got) && isnan(want)));
}

enum { R = 60, C_MAX = 71 };

/* Weights that are numbers, sums of squares from bits: any positive float. What the kernel does is
 * written out once more, element by element, so no lanes and no fused products are in it. */
static void adagrad_at(uint32_t cols, uint32_t ld, float l1, float rate)
{
    static float w[R * (C_MAX + 1)], n[R * (C_MAX + 1)], g[R * (C_MAX + 1)], set[3][C_MAX];
    static float w1[R * (C_MAX + 1)], n1[R * (C_MAX + 1)];
    const uint32_t size[2] = {R, cols};
    const float scale = 0.03125f;
    struct arg a[8] = {{w, ld}, {n, ld}, {g, ld}, {set[0], 0}, {set[1], 0}, {set[2], 0}};

    for (uint32_t j = 0; j < cols; j++) {
        set[0][j] = rate * (float)(j + 1);
        set[1][j] = j == cols - 1 ? l1 : 0.0f;
        set[2][j] = j % 2 ? 0.125f : 0.0f;
    }
    for (uint32_t i = 0; i < R * ld; i++) {
        w[i] = w1[i] = i % 7 ? 1.0f - (float)(i % 11) / 3.0f : -0.0f;
        n[i] = n1[i] = mr_abs(any_float(i + cols));
        g[i] = i % 3 ? (float)(i % 13) - 6.0f : any_float(3 * i);
    }
    compute_ref.ew(NULL, EW_adagrad, size, a, &scale);
    for (uint32_t i = 0; i < R * ld; i++) {
        uint32_t j = i % ld;
        float v = g[i] * scale + set[2][j % cols] * w1[i];
        float sum = n1[i] + v * v, step = set[0][j % cols] / (mr_sqrt(sum) + 1e-8f);

        assert_same(n[i], j < cols ? sum : n1[i]);
        assert_same(w[i], j < cols ? mr_soft(w1[i] - step * v, step * set[1][j]) : w1[i]);
    }
}

/* The only kernel that is written twice (adagrad.c). */
static void adagrad_is_its_formula_to_the_bit(void **state)
{
    static const uint32_t cols[] = {1, 3, 8, 16, 21, 32, 63, 64, C_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        for (uint32_t pad = 0; pad < 2; pad++) {
            adagrad_at(cols[i], cols[i] + pad, 0.0f, 0.05f);
            adagrad_at(cols[i], cols[i] + pad, 0.5f, 0.05f);
            adagrad_at(cols[i], cols[i] + pad, 0.0f, 1e30f); /* a step may be infinite */
        }
}

/* Every 65521st float as a sum of squares. Every float was tried once. */
static void roots_in_adagrad_are_rounded_as_everywhere(void **state)
{
    enum { WIDE = 16384 };
    static float w[WIDE], n[WIDE], g[WIDE], rate[WIDE], zero[WIDE];
    const struct arg a[8] = {{w, WIDE}, {n, WIDE}, {g, WIDE}, {rate, 0}, {zero, 0}, {zero, 0}};
    const float one = 1.0f;
    uint64_t u = 0;

    (void)state;
    while (u <= 0x7f800000u) {
        for (uint32_t i = 0; i < WIDE; i++, u += 65521) {
            w[i] = 0;
            n[i] = mr_from_bits((uint32_t)u);
            g[i] = 1e-20f;
            rate[i] = 1.0f;
        }
        u -= (uint64_t)WIDE * 65521;
        compute_ref.ew(NULL, EW_adagrad, (uint32_t[2]){1, WIDE}, a, &one);
        for (uint32_t i = 0; i < WIDE; i++, u += 65521)
            assert_same(w[i], 0.0f - 1.0f / (mr_sqrt(n[i]) + 1e-8f) * 1e-20f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_and_log_are_within_one_ulp),
        cmocka_unit_test(edges_are_those_of_the_functions),
        cmocka_unit_test(soft_threshold_stops_at_zero_and_keeps_nan),
        cmocka_unit_test(the_list_of_back_ends_is_sound),
        cmocka_unit_test(memory_is_aligned_zeroed_and_refused_when_absurd),
        cmocka_unit_test(bits_of_ref_do_not_depend_on_the_machine),
        cmocka_unit_test(adagrad_is_its_formula_to_the_bit),
        cmocka_unit_test(roots_in_adagrad_are_rounded_as_everywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
