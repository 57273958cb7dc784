/* The sample that knn and rcf keep, through rcf with one tree: N = num_samples_per_tree. Row i of a
 * table has the number i, so a row can be told in the sample. */
#include "algos/rcf.h"
#include "tests/unit/support_algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { PURPOSE = 0x726366 };

static struct table table(uint32_t n)
{
    struct table t = {.n = n, .d = 1};

    t.x = calloc(n, sizeof *t.x);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < n; i++) {
        t.x[i] = (float)i;
        t.weight[i] = 1;
    }
    return t;
}

static void open(struct rig *k, struct rcf_opts *o, uint32_t n, uint32_t batch)
{
    *o = (struct rcf_opts){
        .num_trees = 1, .num_samples_per_tree = n, .shingle = 1, .batch = batch, .alarm_share = 0};
    rig_open(k, &algo_rcf, "ref", (struct shape){.slots = 4, .d = {1}}, o);
}

/* Rows [from, from + n) as one batch; what came before counts `decay` times as much. */
static void learn(struct rig *k, struct tensors *s, const struct table *t, uint32_t partition,
                  uint32_t from, uint32_t n, double decay)
{
    struct rows r;

    rig_rows(k, t, from, n, 0, &r);
    r.partition = partition;
    r.decay = decay;
    assert_int_equal(k->a->update(&k->x, s, &r, NULL), ST_OK);
}

static void again(struct tensors *s, struct rig *k, uint64_t seed)
{
    tensors_zero(s);
    k->x.seed = seed;
}

/* ---- keys ---- */

static void logarithms_are_exact_enough(void **state)
{
    (void)state;
    for (int e = -300; e <= 300; e++)
        for (int i = 0; i < 50; i++) {
            double v = pow(10, e) * (1 + i * 0.17), is = sample_log(v), want = log(v);

            assert_true(fabs(is - want) <= 1e-15 * fmax(1, fabs(want)));
        }
    assert_true(sample_log(1) == 0);
}

static void keys_are_logarithms_of_exponential_numbers(void **state)
{
    double last = -INFINITY;

    (void)state;
    for (uint64_t i = 1; i < 4096; i++) {
        uint64_t hash = i << 52;
        double u = ((double)hash + 0.5) / 18446744073709551616.0;
        double want = log(-log1p(-u)), is = sample_key(hash, 1, 0);

        assert_true(fabs(is - want) <= 1e-14 * fmax(1, fabs(want)));
        assert_true(is > last);
        last = is;
        assert_true(fabs(sample_key(hash, 3, 5) - (want - log(3) - 5)) < 1e-13);
    }
    assert_true(sample_key(0, 1, 0) < sample_key(1, 1, 0)); /* digits at both ends */
    assert_true(sample_key(UINT64_MAX, 1, 0) > sample_key(UINT64_MAX - (1u << 20), 1, 0) - 1e-15);
    assert_true(isfinite(sample_key(0, 1, 0)) && isfinite(sample_key(UINT64_MAX, 1, 0)));
}

/* ---- the law of the sample ---- */

static void all_rows_are_as_likely(void **state)
{
    enum { ROWS = 200, KEPT = 20, SEEDS = 4000 };
    uint32_t count[ROWS] = {0};
    struct table t = table(ROWS);
    const double expected = (double)SEEDS * KEPT / ROWS;
    double chi = 0;
    struct tensors s;
    struct rcf_opts o;
    struct rig k;

    (void)state;
    open(&k, &o, KEPT, 64);
    rig_state(&k, &s);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        again(&s, &k, seed);
        rig_pass(&k, &s, &t, 0, NULL);
        assert_int_equal(s.t[SAMPLE_HEAD].u64[SAMPLE_LIVE], KEPT);
        for (uint32_t i = 0; i < KEPT; i++)
            count[(uint32_t)s.t[SAMPLE_X].f32[i]]++;
    }
    for (uint32_t i = 0; i < ROWS; i++)
        chi += (count[i] - expected) * (count[i] - expected) / expected;
    chi *= (ROWS - 1.0) / (ROWS - KEPT); /* drawn without replacement */
    /* 199 degrees of freedom: 120 .. 290 leaves out less than 1e-4 */
    if (!(chi > 120 && chi < 290))
        fail_msg("chi-square %g of 199 degrees of freedom", chi);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* The row of the smallest key, of the slots as one. */
static uint64_t first_of(struct rig *k, struct tensors *const *s, uint32_t n, uint32_t *partition)
{
    struct tensors view;
    uint64_t row;

    rig_view(k, s, n, &view);
    assert_true(view.t[SAMPLE_VIEW_HEAD].u64[0] > 0);
    row = (uint64_t)view.t[SAMPLE_VIEW_X].f32[0];
    *partition = view.t[SAMPLE_VIEW_PART].u32[0];
    rig_free(k, &view);
    return row;
}

static void weights_are_chances(void **state)
{
    static const float weight[] = {1, 0, 2, 5, 0.5f};
    enum { ROWS = 5, SEEDS = 8000 };
    uint32_t count[ROWS] = {0}, partition;
    struct table t = table(ROWS);
    double chi = 0, sum = 8.5;
    struct tensors s, *all[] = {&s};
    struct rcf_opts o;
    struct rig k;

    (void)state;
    memcpy(t.weight, weight, sizeof weight);
    open(&k, &o, 2, 2);
    rig_state(&k, &s);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        again(&s, &k, seed);
        rig_pass(&k, &s, &t, 0, NULL);
        count[first_of(&k, all, 1, &partition)]++;
    }
    assert_int_equal(count[1], 0);
    for (uint32_t i = 0; i < ROWS; i++)
        if (weight[i] > 0) {
            double expected = SEEDS * (double)weight[i] / sum;

            chi += (count[i] - expected) * (count[i] - expected) / expected;
        }
    if (!(chi < 21)) /* 3 degrees of freedom: 1e-4 */
        fail_msg("chi-square %g of 3 degrees of freedom", chi);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* What rows [from, to) of all in their order weigh, `half` rows after which one weighs half. */
static double weight_of(uint32_t from, uint32_t to, uint32_t all, double half)
{
    double sum = 0;

    for (uint32_t i = from; i < to; i++)
        sum += exp2(-(double)(all - 1 - i) / half);
    return sum;
}

/* 24 rows of one partition, 14 of another; each partition's last row weighs 1. */
static void a_half_life_favours_recent_rows(void **state)
{
    enum { SEEDS = 8000 };
    double expected[4], sum = 0, chi = 0;
    uint32_t count[4] = {0}, partition;
    struct table t = table(24), u = table(14);
    struct tensors s, v, *all[] = {&s, &v};
    struct rcf_opts o;
    struct rig k;

    (void)state;
    open(&k, &o, 4, 16);
    rig_state(&k, &s);
    rig_state(&k, &v);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint64_t row;

        again(&s, &k, seed);
        again(&v, &k, seed);
        for (uint32_t from = 0; from < 24; from += 12)
            learn(&k, &s, &t, 0, from, 12, exp2(-12 / 8.0));
        learn(&k, &v, &u, 1, 0, 14, exp2(-14 / 8.0));
        row = first_of(&k, all, 2, &partition);
        count[partition ? 3 : row / 8]++;
    }
    for (uint32_t i = 0; i < 4; i++)
        sum += expected[i] = i < 3 ? weight_of(8 * i, 8 * i + 8, 24, 8) : weight_of(0, 14, 14, 8);
    for (uint32_t i = 0; i < 4; i++) {
        double want = SEEDS * expected[i] / sum;

        chi += (count[i] - want) * (count[i] - want) / want;
    }
    if (!(chi < 21))
        fail_msg("chi-square %g of 3 degrees of freedom", chi);
    rig_free(&k, &s);
    rig_free(&k, &v);
    rig_close(&k);
    table_free(&t);
    table_free(&u);
}

/* One batch of 64 with its decay, or 16 of 4 with theirs: the same rows are kept, at ages equal but
 * for rounding; and a decay too small for float64 is no error. */
static void batches_do_not_matter_to_a_half_life(void **state)
{
    struct table t = table(64);
    struct tensors s, v;
    struct rcf_opts o;
    struct rig k;

    (void)state;
    open(&k, &o, 12, 64);
    rig_state(&k, &s);
    rig_state(&k, &v);
    learn(&k, &s, &t, 0, 0, 64, exp2(-64 / 10.0));
    for (uint32_t from = 0; from < 64; from += 4)
        learn(&k, &v, &t, 0, from, 4, exp2(-4 / 10.0));
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(s.t[SAMPLE_RID].u64[i], v.t[SAMPLE_RID].u64[i]);
        assert_true(fabs(s.t[SAMPLE_KEY].f64[i] - v.t[SAMPLE_KEY].f64[i]) < 1e-12);
    }
    again(&s, &k, 1);
    learn(&k, &s, &t, 0, 0, 32, 0);
    learn(&k, &s, &t, 0, 32, 32, 0);
    for (uint32_t i = 0; i < 12; i++)
        assert_true(s.t[SAMPLE_X].f32[i] >= 40);
    rig_free(&k, &s);
    rig_free(&k, &v);
    rig_close(&k);
    table_free(&t);
}

static void ages_do_not_wear_out(void **state)
{
    struct table t = table(4096);
    struct tensors s;
    struct rcf_opts o;
    struct rig k;

    (void)state;
    open(&k, &o, 8, 4);
    rig_state(&k, &s);
    for (uint32_t from = 0; from < t.n; from += 4) /* 2^-10240 of the first rows is left */
        learn(&k, &s, &t, 0, from, 4, 0x1p-10);
    assert_true(fabs(s.t[SAMPLE_AGE].f64[0] - 10240 * log(2)) < 1e-6);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(s.t[SAMPLE_X].f32[i] >= 4096 - 16);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

/* ---- a set ---- */

struct known {
    double key;
    uint32_t partition, row;
};

static int by_key(const void *a, const void *b)
{
    const struct known *p = a, *q = b;

    return p->key < q->key ? -1 : p->key > q->key;
}

static void the_union_of_slots_is_the_sample_of_all_rows(void **state)
{
    enum { KEPT = 1000, ALL = 3 + 400 + 20000 };
    static const uint32_t rows[] = {3, 400, 20000}, batch[] = {1, 32, 100};
    struct known *all = calloc(ALL, sizeof *all);
    struct table t = table(20000);
    struct tensors s[3], view, *slots[3];
    struct rcf_opts o;
    uint32_t n = 0;
    struct rig k;

    (void)state;
    for (uint32_t i = 0; i < t.n; i++)
        t.weight[i] = (float)(i % 4); /* some weigh nothing */
    open(&k, &o, KEPT, 100);
    for (uint32_t p = 0; p < 3; p++) {
        rig_state(&k, slots[p] = &s[p]);
        for (uint32_t from = 0; from < rows[p]; from += batch[p])
            learn(&k, &s[p], &t, p, from, from + batch[p] < rows[p] ? batch[p] : rows[p] - from, 1);
        for (uint32_t i = 0; i < rows[p]; i++)
            if (t.weight[i] > 0)
                all[n++] = (struct known){sample_key(sample_hash(7, PURPOSE, p, (uint64_t)i << 16),
                                                     (double)t.weight[i], 0),
                                          p, i};
    }
    qsort(all, n, sizeof *all, by_key);
    rig_view(&k, slots, 3, &view);
    assert_int_equal(view.t[SAMPLE_VIEW_HEAD].u64[0], KEPT);
    for (uint32_t i = 0; i < KEPT; i++) {
        assert_true(view.t[SAMPLE_VIEW_KEY].f64[i] == all[i].key);
        assert_int_equal(view.t[SAMPLE_VIEW_PART].u32[i], all[i].partition);
        assert_int_equal(view.t[SAMPLE_VIEW_RID].u64[i], (uint64_t)all[i].row << 16);
        assert_true(view.t[SAMPLE_VIEW_X].f32[i] == (float)all[i].row);
    }
    rig_free(&k, &view);
    for (uint32_t p = 0; p < 3; p++)
        rig_free(&k, &s[p]);
    rig_close(&k);
    table_free(&t);
    free(all);
}

static void rows_seen_again_change_nothing(void **state)
{
    struct table t = table(500);
    struct tensors s, before;
    struct rcf_opts o;
    struct rig k;

    (void)state;
    open(&k, &o, 30, 50);
    rig_state(&k, &s);
    for (uint32_t from = 0; from < t.n; from += 50)
        learn(&k, &s, &t, 2, from, 50, 0.9);
    rig_copy(&k, &before, &s);
    for (uint32_t from = 0; from < t.n; from += 25)
        learn(&k, &s, &t, 2, from, 25, 0.9);
    learn(&k, &s, &t, 2, 480, 20, 0.9);
    assert_memory_equal(s.base, before.base, s.bytes);
    rig_free(&k, &s);
    rig_free(&k, &before);
    rig_close(&k);
    table_free(&t);
}

static void the_sample_is_fast(void **state)
{
    enum { ROWS = 1 << 20 };
    struct table t = table(ROWS);
    struct tensors s;
    struct rcf_opts o;
    struct rig k;
    double from;

    (void)state;
    open(&k, &o, 2000, 4096);
    rig_state(&k, &s);
    from = seconds();
    rig_pass(&k, &s, &t, 0, NULL);
    print_message("           2000 of %d rows: %.1f M rows/s\n", ROWS,
                  ROWS / (seconds() - from) * 1e-6);
    rig_free(&k, &s);
    rig_close(&k);
    table_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logarithms_are_exact_enough),
        cmocka_unit_test(keys_are_logarithms_of_exponential_numbers),
        cmocka_unit_test(all_rows_are_as_likely),
        cmocka_unit_test(weights_are_chances),
        cmocka_unit_test(a_half_life_favours_recent_rows),
        cmocka_unit_test(batches_do_not_matter_to_a_half_life),
        cmocka_unit_test(ages_do_not_wear_out),
        cmocka_unit_test(the_union_of_slots_is_the_sample_of_all_rows),
        cmocka_unit_test(rows_seen_again_change_nothing),
        cmocka_unit_test(the_sample_is_fast),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
