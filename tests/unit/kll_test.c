/* Quantiles: the rank error that is promised, over many seeds, orders and merges. */
#include "algos/kll.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { K = 200, BATCH = 1024, N = 20000, SEEDS = 1000 };

struct sketch {
    struct kll s;
    struct kll_by by;
};

static struct sketch sketch(uint32_t k, uint64_t seed)
{
    const uint32_t room = kll_room(k, BATCH);
    struct sketch q = {{calloc(kll_capacity(k), sizeof(float)),
                        calloc(KLL_LEVELS, sizeof(uint32_t)), calloc(1, sizeof(uint64_t))},
                       {k, 3, philox_key((uint64_t[]){seed, 1}),
                        calloc((size_t)KLL_BUFFERS * room, sizeof(float)), room}};

    return q;
}

static void drop(struct sketch *q)
{
    free(q->s.item);
    free(q->s.size);
    free(q->s.coins);
    free(q->by.scratch);
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void feed(struct sketch *q, const float *x, uint32_t n, uint32_t batch)
{
    float sorted[BATCH];

    for (uint32_t at = 0; at < n; at += batch) {
        uint32_t m = n - at < batch ? n - at : batch;

        memcpy(sorted, x + at, m * sizeof *x);
        qsort(sorted, m, sizeof *x, ascending);
        kll_add(&q->by, q->s, sorted, m);
    }
}

/* The largest error of a rank, as a share: between what is read and what is true, over all values
 * kept. Of equal values any rank in their range is right. */
static double rank_error(struct sketch *q, const float *sorted, uint32_t n)
{
    float *value = calloc(kll_capacity(q->by.k), sizeof *value);
    double *upto = calloc(kll_capacity(q->by.k), sizeof *upto), most = 0;
    uint32_t m = kll_read(q->s, value, upto), below = 0, at = 0;

    assert_true(m && upto[m - 1] == (double)n);
    for (uint32_t i = 0; i < m; i++) {
        double before = i ? upto[i - 1] : 0;

        if (i + 1 < m && value[i + 1] == value[i])
            continue;
        for (uint32_t j = i; j && value[j - 1] == value[i]; j--)
            before = j > 1 ? upto[j - 2] : 0;
        while (below < n && sorted[below] < value[i])
            below++;
        for (at = below; at < n && sorted[at] == value[i];)
            at++;
        most = fmax(most, fmax(fabs(before - below), fabs(upto[i] - at)));
        assert_true(kll_rank(value, upto, m, value[i]) == upto[i]);
    }
    free(value);
    free(upto);
    return most / n;
}

static uint64_t state;

static float uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) / 16777216.0f;
}

/* random; ascending; descending; few distinct values; two far apart in turn; one in a thousand huge
 */
static void order(float *x, uint32_t n, int kind)
{
    for (uint32_t i = 0; i < n; i++) {
        float u = uniform();

        x[i] = kind == 0   ? u
               : kind == 1 ? (float)i
               : kind == 2 ? -(float)i
               : kind == 3 ? (float)(int)(u * 7)
               : kind == 4 ? (i & 1 ? 1e6f : -1e6f) + (float)i
                           : (u < 0.001f ? 1e30f : 1) * u;
    }
}

/* The promise: in 99 of 100 sketches no rank is more than 1.65 % off. */
static void the_rank_error_is_within_its_bound(void **unused)
{
    float *x = calloc(N, sizeof *x), *sorted = calloc(N, sizeof *x);
    double most = 0, sum = 0;
    int beyond = 0;

    (void)unused;
    state = 1;
    for (int seed = 0; seed < SEEDS; seed++) {
        const int slots = seed / 6 % 3 == 0 ? 1 : seed / 6 % 3 == 1 ? 3 : 8;
        struct sketch all = sketch(K, (uint64_t)seed), part;
        double e;

        order(x, N, seed % 6);
        memcpy(sorted, x, N * sizeof *x);
        qsort(sorted, N, sizeof *x, ascending);
        for (int p = 0; p < slots; p++) {
            uint32_t from = (uint32_t)(N * p / slots), to = (uint32_t)(N * (p + 1) / slots);

            part = sketch(K, (uint64_t)(seed * 100 + p));
            feed(&part, x + from, to - from, seed & 64 ? 1024 : 100);
            if (slots == 1) {
                drop(&all);
                all = part;
                break;
            }
            kll_merge(&all.by, all.s, part.s);
            drop(&part);
        }
        e = rank_error(&all, sorted, N);
        beyond += e > 0.0165;
        most = fmax(most, e);
        sum += e;
        drop(&all);
    }
    print_message("           rank error: mean of the largest %.3f %%, of all %.3f %%, %d of %d "
                  "beyond 1.65 %%\n",
                  100 * sum / SEEDS, 100 * most, beyond, SEEDS);
    assert_true(beyond <= SEEDS / 100);
    free(x);
    free(sorted);
}

static void few_values_are_kept_as_they_are(void **unused)
{
    struct sketch q = sketch(K, 5);
    float x[500], value[2000];
    double upto[2000];
    uint32_t n;

    (void)unused;
    state = 2;
    assert_true(kll_capacity(K) >= 600 && kll_capacity(K) < 800);
    for (int i = 0; i < 500; i++)
        x[i] = uniform();
    feed(&q, x, 500, 37);
    n = kll_read(q.s, value, upto);
    qsort(x, 500, sizeof *x, ascending);
    assert_int_equal(n, 500);
    assert_int_equal(*q.s.coins, 0);
    assert_memory_equal(value, x, sizeof x);
    assert_true(kll_quantile(value, upto, n, 0) == x[0] &&
                kll_quantile(value, upto, n, 1) == x[499]);
    assert_true(kll_quantile(value, upto, n, 0.5) == x[249]); /* 250 of 500 are at most so large */
    assert_true(kll_rank(value, upto, n, x[99]) == 100 && kll_rank(value, upto, n, -1) == 0);
    drop(&q);
}

static void no_value_is_lost_in_merges_of_any_lengths(void **unused)
{
    static const uint32_t lengths[] = {1, 0, 700, 5, 100000, 3, 1025, 49999};
    struct sketch all = sketch(8, 1), part;
    float *x = calloc(100000, sizeof *x);
    uint64_t n = 0;

    (void)unused;
    state = 3;
    for (int i = 0; i < 8; i++) {
        part = sketch(8, (uint64_t)i);
        order(x, lengths[i], i % 6);
        feed(&part, x, lengths[i], 1024);
        assert_true(kll_count(part.s) == lengths[i]);
        kll_merge(&all.by, all.s, part.s);
        n += lengths[i];
        assert_true(kll_count(all.s) == n);
        drop(&part);
    }
    drop(&all);
    free(x);
}

static void the_same_coins_make_the_same_sketch_and_others_another(void **unused)
{
    struct sketch a = sketch(K, 1), b = sketch(K, 1), c = sketch(K, 2);
    float *x = calloc(N, sizeof *x);

    (void)unused;
    state = 4;
    order(x, N, 0);
    memset(b.by.scratch, 0x55, (size_t)KLL_BUFFERS * b.by.room * sizeof(float));
    feed(&a, x, N, 512);
    feed(&b, x, N, 512);
    feed(&c, x, N, 512);
    assert_memory_equal(a.s.item, b.s.item, kll_capacity(K) * sizeof(float));
    assert_memory_equal(a.s.size, c.s.size, KLL_LEVELS * sizeof(uint32_t));
    assert_true(memcmp(a.s.item, c.s.item, kll_capacity(K) * sizeof(float)) != 0);
    drop(&a);
    drop(&b);
    drop(&c);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_values_are_kept_as_they_are),
        cmocka_unit_test(the_rank_error_is_within_its_bound),
        cmocka_unit_test(no_value_is_lost_in_merges_of_any_lengths),
        cmocka_unit_test(the_same_coins_make_the_same_sketch_and_others_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
