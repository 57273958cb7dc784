#include "algos/compute/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

/* The known answers that come with the authors' Random123 library (kat_vectors, philox4x32 10). */
static void philox_gives_the_published_words(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
        struct philox_key key = {{kat[i].key[0], kat[i].key[1]}};
        uint32_t c[4];

        memcpy(c, kat[i].counter, sizeof c);
        philox4x32(key, c);
        assert_memory_equal(c, kat[i].want, sizeof c);
    }
}

static void uniform_numbers_stay_inside_the_interval(void **state)
{
    (void)state;
    assert_true(mr_u01(0) > 0.0f);
    assert_true(mr_u01(0xffffffffu) < 1.0f);
    assert_true(mr_u01(0xffffffffu) == 1.0f - mr_u01(0));
    assert_true(mr_sign(0) == 1.0f && mr_sign(0xffffffffu) == -1.0f);
}

/* Word w stands for the tail p = (floor(w / 2) + 1/2) / 2^32. The quantile z is right if the normal
 * distribution gives p back: dz = dp / density(z). Of the 4e-7 allowed, p in f32 takes 1e-7. */
static void normal_numbers_are_the_quantiles_of_their_words(void **state)
{
    double worst = 0.0;

    (void)state;
    for (uint64_t w = 0; w <= 0xffffffffu; w += 65521) {
        double p = ((double)(w >> 1) + 0.5) * 0x1p-32;
        double z = (double)mr_normal((uint32_t)w & ~1u);
        double slope = exp(-z * z / 2.0) / sqrt(2.0 * acos(-1.0)); /* -dp/dz */
        double dz = (erfc(z / sqrt(2.0)) / 2.0 - p) / slope;

        assert_true(mr_normal((uint32_t)w | 1u) == -mr_normal((uint32_t)w & ~1u));
        worst = fmax(worst, fabs(dz) / fmax(fabs(z), 1e-9));
    }
    assert_true(worst < 4e-7);
}

/* Mean, variance and the third and fourth moment of 2^20 numbers lie within five standard
 * errors. */
static void numbers_have_the_moments_of_their_distribution(void **state)
{
    const uint64_t key[2] = {1, 2};
    double m[5] = {0.0}, u = 0.0, n = 1 << 20, s = sqrt(n);

    (void)state;
    for (uint32_t i = 0; i < 1 << 18; i++) {
        uint32_t w[4];

        philox_words(philox_key(key), i, 0, w);
        for (int j = 0; j < 4; j++) {
            double z = (double)mr_normal(w[j]);

            u += (double)mr_u01(w[j]);
            m[1] += z;
            m[2] += z * z;
            m[3] += z * z * z;
            m[4] += z * z * z * z;
        }
    }
    assert_true(fabs(u / n - 0.5) < 5.0 * sqrt(1.0 / 12.0) / s);
    assert_true(fabs(m[1] / n) < 5.0 / s);
    assert_true(fabs(m[2] / n - 1.0) < 5.0 * sqrt(2.0) / s);
    assert_true(fabs(m[3] / n) < 5.0 * sqrt(15.0) / s);
    assert_true(fabs(m[4] / n - 3.0) < 5.0 * sqrt(96.0) / s);
}

/* Neighbouring seeds, purposes, rows and blocks, and swapped keys, give other words. */
static void every_part_of_the_key_and_counter_counts(void **state)
{
    static const uint64_t key[][2] = {{5, 6}, {6, 5}, {4, 6}, {5, 7}};
    static const struct {
        uint64_t rid;
        uint32_t block;
    } at[] = {{9, 0}, {9, 1}, {10, 0}, {(uint64_t)9 << 32, 0}};
    uint32_t w[16][4];

    (void)state;
    for (int i = 0; i < 16; i++)
        philox_words(philox_key(key[i / 4]), at[i % 4].rid, at[i % 4].block, w[i]);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(w[i], w[j], sizeof w[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(uniform_numbers_stay_inside_the_interval),
        cmocka_unit_test(normal_numbers_are_the_quantiles_of_their_words),
        cmocka_unit_test(numbers_have_the_moments_of_their_distribution),
        cmocka_unit_test(every_part_of_the_key_and_counter_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
