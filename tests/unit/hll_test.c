/* Distinct values within the stated error; and the most frequent ones within theirs. */
#include "algos/heavy.h"
#include "algos/hll.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t state;

static uint32_t word(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* A float that number i has alone, other ones for each seed: bits from a bijection of 30 bits. */
static float number(uint32_t i, uint32_t seed)
{
    uint32_t x = (i + seed * 0x9e3779b1u) & 0x3fffffff;
    float f;

    x = (x * 0x2c1b3c6du) & 0x3fffffff;
    x ^= x >> 15;
    x += 0x800000;
    memcpy(&f, &x, sizeof f);
    return f;
}

static void the_error_is_the_stated_one(void **unused)
{
    static const uint32_t sizes[] = {10, 100, 1000, 3000, 6000, 10000, 30000, 100000, 1000000};
    static uint8_t reg[1 << 12];

    (void)unused;
    for (uint32_t p = 11; p <= 12; p++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            const uint32_t n = sizes[k], seeds = n <= 10000 ? 400 : 200;
            const double stated = 1.04 / sqrt(1 << p);
            double squares = 0, bias = 0;

            for (uint32_t seed = 0; seed < seeds; seed++) {
                double e;

                memset(reg, 0, sizeof reg);
                for (uint32_t i = 0; i < n; i++)
                    hll_add(reg, p, number(i, seed + 1));
                e = hll_estimate(reg, p) / n - 1;
                squares += e * e;
                bias += e;
            }
            print_message("           p %u, %7u values: rms error %.3f %%, bias %+.3f %%, stated "
                          "%.3f %%\n",
                          p, n, 100 * sqrt(squares / seeds), 100 * bias / seeds, 100 * stated);
            assert_true(sqrt(squares / seeds) <= 1.1 * stated);
        }
}

static void values_seen_again_and_signed_zeros_change_nothing(void **unused)
{
    uint8_t reg[1 << 11] = {0}, again[1 << 11];

    (void)unused;
    assert_true(hll_estimate(reg, 11) == 0);
    hll_add(reg, 11, 0.0f);
    memcpy(again, reg, sizeof reg);
    hll_add(again, 11, -0.0f);
    assert_memory_equal(reg, again, sizeof reg);
    assert_true(fabs(hll_estimate(reg, 11) - 1) < 0.01);
    for (int round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 50; i++)
            hll_add(reg, 11, number(i, 9));
    assert_true(fabs(hll_estimate(reg, 11) - 51) < 2);
}

static void maximum_of_registers_is_the_union(void **unused)
{
    static uint8_t a[1 << 11], b[1 << 11], both[1 << 11];

    (void)unused;
    for (uint32_t i = 0; i < 30000; i++) {
        hll_add(i < 20000 ? a : b, 11, number(i, 3));
        hll_add(i > 10000 ? b : a, 11, number(i, 3));
        hll_add(both, 11, number(i, 3));
    }
    for (int i = 0; i < 1 << 11; i++)
        a[i] = a[i] > b[i] ? a[i] : b[i];
    assert_memory_equal(a, both, sizeof a);
}

/* ---- heavy hitters ---- */

enum { TOP = 16, VALUES = 400 };

struct counted {
    float value[TOP];
    uint64_t n[TOP], off;
};

static void add(struct counted *c, const float *with, const uint64_t *count, uint32_t m)
{
    float value[VALUES + TOP];
    uint64_t n[VALUES + TOP], largest[TOP + 1];

    heavy_add((struct heavy){c->value, c->n, &c->off, TOP}, with, count, m, value, n, largest);
}

/* Counts are within the bound, for one stream and for eight that are merged. */
static void counts_are_within_their_bound(void **unused)
{
    (void)unused;
    state = 1;
    for (int merged = 0; merged < 2; merged++) {
        struct counted c[9] = {0};
        uint64_t truth[VALUES] = {0}, rows = 0;

        for (int batch = 0; batch < 400; batch++) {
            struct counted *to = &c[merged ? batch % 8 : 8];
            float with[VALUES];
            uint64_t count[VALUES] = {0};
            uint32_t m = 0;

            for (int i = 0; i < 500; i++) { /* value v with weight about 1 / (v + 1) */
                double u = (double)word() / 4294967296.0;
                uint32_t v = (uint32_t)(pow(VALUES, u)) - 1;

                count[v]++;
                truth[v]++;
                rows++;
            }
            for (uint32_t v = 0; v < VALUES; v++)
                if (count[v]) {
                    with[m] = (float)v - 5;
                    count[m++] = count[v];
                }
            add(to, with, count, m);
        }
        for (int p = 0; p < 8; p++) {
            add(&c[8], c[p].value, c[p].n, TOP);
            c[8].off += c[p].off;
        }
        assert_true(c[8].off <= rows / (TOP + 1));
        for (uint32_t v = 0; v < VALUES; v++) {
            uint64_t have = 0;

            for (int i = 0; i < TOP; i++)
                have = c[8].n[i] && c[8].value[i] == (float)v - 5 ? c[8].n[i] : have;
            assert_true(have <= truth[v] && truth[v] <= have + c[8].off);
            if (truth[v] > rows / (TOP + 1))
                assert_true(have > 0);
        }
    }
}

static void few_values_are_counted_exactly(void **unused)
{
    struct counted c = {0};

    (void)unused;
    for (int i = 0; i < 1000; i++)
        add(&c, (float[]){-1.5f, (float)(i % 3)}, (uint64_t[]){2, 1}, 2);
    assert_true(c.off == 0 && c.value[0] == -1.5f && c.n[0] == 2000);
    assert_true(c.value[1] == 0 && c.n[1] == 334 && c.value[3] == 2 && c.n[3] == 333 && !c.n[4]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_error_is_the_stated_one),
        cmocka_unit_test(values_seen_again_and_signed_zeros_change_nothing),
        cmocka_unit_test(maximum_of_registers_is_the_union),
        cmocka_unit_test(counts_are_within_their_bound),
        cmocka_unit_test(few_values_are_counted_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
