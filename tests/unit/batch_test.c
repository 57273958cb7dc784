#include "consumer/batch.h"

#include "config/base/bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { D = 40 };

/* Row i of the block has features i, label i, and so on: a row that is moved must take everything
 * along. */
static void make_block(struct block *b, bool sparse, uint32_t n)
{
    struct block_shape s = block_shape_of(D, sparse);
    struct err e;

    s.ny = 1;
    s.keyed = s.timed = s.weighted = true;
    assert_int_equal(block_init(b, &s, &e), ST_OK);
    for (uint32_t i = 0; i < n; i++) {
        block_stamp(b, i, (uint64_t)(1000 + i) << 16, mix64(i / 7), i);
        b->y[i] = b->weight[i] = (float)i;
        for (uint32_t c = 0; !sparse && c < D; c++)
            b->x[(size_t)i * s.ld + c] = (float)(i * D + c);
        if (!sparse)
            continue;
        b->ptr[i + 1] = b->ptr[i];
        for (uint32_t c = i % 3; c < D; c += 1 + (uint32_t)(mix64(i) % 9)) {
            b->col[b->ptr[i + 1]] = c;
            b->val[b->ptr[i + 1]++] = (float)(i * D + c);
        }
    }
    b->n = n;
}

static void check_row(const struct block *b, const struct rows *r, uint32_t i)
{
    const struct feat *f = &r->in[0];
    uint32_t row = (uint32_t)(r->rid[i] >> 16) - 1000;

    assert_true(r->y[i] == (float)row && r->weight[i] == (float)row);
    assert_true(r->key[i] == mix64(row / 7) && r->ts_ms[i] == row);
    if (f->x) {
        assert_memory_equal(f->x + (size_t)i * f->ld, b->x + (size_t)row * f->ld,
                            D * sizeof(float));
        return;
    }
    assert_int_equal(f->ptr[i + 1] - f->ptr[i], b->ptr[row + 1] - b->ptr[row]);
    for (uint32_t q = f->ptr[i], k = b->ptr[row]; q < f->ptr[i + 1]; q++, k++) {
        assert_true(f->col[q] == b->col[k] && f->val[q] == b->val[k]);
        assert_int_equal(f->uniq[f->local[q]], f->col[q]);
        assert_true(f->local[q] < f->uniq_n);
    }
}

/* uniq: each column once, in order of appearance. */
static void check_uniq(const struct rows *r)
{
    const struct feat *f = &r->in[0];
    bool seen[D] = {false};
    uint32_t n = 0;

    for (uint32_t q = f->ptr[0]; q < f->ptr[r->n]; q++)
        if (!seen[f->col[q]]) {
            seen[f->col[q]] = true;
            assert_int_equal(f->uniq[n++], f->col[q]);
        }
    assert_int_equal(f->uniq_n, n);
}

struct seen {
    uint32_t rows, held, batches;
    bool is_held[BLOCK_ROWS], is_there[BLOCK_ROWS];
};

static void walk(struct block *b, struct batch_conf c, struct seen *seen)
{
    struct batch t;
    struct rows r;
    struct err e;

    memset(seen, 0, sizeof *seen);
    assert_int_equal(batch_init(&t, &b->s, &c, &e), ST_OK);
    batch_begin(&t, b, 3, 1, 100);
    for (; batch_next(&t, &r); seen->batches++) {
        uint32_t part = 0;

        assert_ptr_equal(r.host, &r);
        assert_int_equal(r.batch, 100 + seen->batches);
        assert_true(r.partition == 3 && r.epoch == 1 && r.ny == 1 && r.in[0].d == D);
        assert_true(r.n == c.batch_rows || seen->rows + r.n == b->n);
        assert_true(r.last == (seen->rows + r.n == b->n));
        assert_int_equal(r.fold_at[r.folds], r.train);
        for (uint32_t i = 0; i < r.n; i++) {
            uint32_t row = (uint32_t)(r.rid[i] >> 16) - 1000;

            check_row(b, &r, i);
            assert_false(seen->is_there[row]);
            assert_true(row / c.batch_rows == seen->batches);
            seen->is_there[row] = true;
            seen->is_held[row] = i >= r.train;
            for (; part < r.folds && i >= r.fold_at[part + 1]; part++)
                ;
            if (i > (part ? r.fold_at[part] : 0)) /* order within a part is order of records */
                assert_true(r.rid[i - 1] < r.rid[i]);
        }
        if (r.in[0].ptr)
            check_uniq(&r);
        seen->rows += r.n;
        seen->held += r.n - r.train;
    }
    assert_int_equal(seen->rows, b->n);
    assert_int_equal(t.number, 100 + seen->batches);
    batch_fini(&t);
    batch_fini(&t);
}

static void batches_cover_a_block_in_order(void **state)
{
    static const uint32_t sizes[] = {1, 7, 32, 1000, 4096};
    struct seen *seen = calloc(1, sizeof *seen);

    (void)state;
    for (int sparse = 0; sparse < 2; sparse++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct block b;

            make_block(&b, sparse, i == 4 ? 4096 : 1003);
            walk(&b, (struct batch_conf){.batch_rows = sizes[i]}, seen);
            assert_int_equal(seen->held, 0);
            walk(&b, (struct batch_conf){.batch_rows = sizes[i], .folds = 5, .holdout = 0.2f},
                 seen);
            assert_true(seen->held > b.n / 10 && seen->held < b.n / 3);
            block_fini(&b);
        }
    free(seen);
}

static void without_holdout_rows_are_not_copied(void **state)
{
    struct batch_conf c = {.batch_rows = 16};
    struct batch t;
    struct block b;
    struct rows r;
    struct err e;

    (void)state;
    make_block(&b, false, 20);
    assert_int_equal(batch_bytes(&b.s, &c), 0);
    assert_int_equal(batch_init(&t, &b.s, &c, &e), ST_OK);
    batch_begin(&t, &b, 0, 0, 0);
    assert_true(batch_next(&t, &r) && r.in[0].x == b.x);
    assert_true(batch_next(&t, &r) && r.in[0].x == b.x + 16 * (size_t)b.s.ld && r.n == 4);
    assert_false(batch_next(&t, &r));
    batch_fini(&t);
    block_fini(&b);
}

/* A row's side depends on the row alone: not on batch size or on its neighbours. */
static void held_out_rows_are_chosen_by_hash(void **state)
{
    struct seen *a = calloc(2, sizeof *a), *c = a + 1;
    struct block b;

    (void)state;
    make_block(&b, false, 4000);
    walk(&b, (struct batch_conf){.batch_rows = 32, .holdout = 0.1f, .seed = 5}, a);
    walk(&b, (struct batch_conf){.batch_rows = 999, .holdout = 0.1f, .seed = 5, .folds = 3}, c);
    assert_memory_equal(a->is_held, c->is_held, sizeof a->is_held);
    for (uint32_t i = 1; i < 4000; i++) /* keyed: rows of one key are on one side */
        if (i % 7)
            assert_true(a->is_held[i] == a->is_held[i - 1]);
    walk(&b, (struct batch_conf){.batch_rows = 32, .holdout = 0.1f, .seed = 6}, c);
    assert_memory_not_equal(a->is_held, c->is_held, sizeof a->is_held);
    block_fini(&b);
    free(a);
}

static void unkeyed_rows_are_chosen_by_partition_and_rid(void **state)
{
    struct block_shape s = block_shape_of(1, false);
    struct batch_conf c = {.batch_rows = 4096, .holdout = 0.25f, .seed = 1};
    static bool is_held[BLOCK_ROWS];
    uint32_t held, both = 0;
    struct batch t;
    struct block b;
    struct rows r;
    struct err e;

    (void)state;
    assert_int_equal(block_init(&b, &s, &e), ST_OK);
    for (b.n = 0; b.n < BLOCK_ROWS; b.n++)
        block_stamp(&b, b.n, (uint64_t)b.n << 16, 0, 0);
    assert_int_equal(batch_init(&t, &s, &c, &e), ST_OK);
    batch_begin(&t, &b, 0, 0, 0);
    assert_true(batch_next(&t, &r));
    assert_true(r.y == NULL && r.key == NULL && r.ts_ms == NULL);
    assert_true(fabs((double)(r.n - r.train) / r.n - 0.25) < 0.03); /* 4 sigma: 0.027 */
    held = r.n - r.train;
    for (uint32_t i = r.train; i < r.n; i++)
        is_held[r.rid[i] >> 16] = true;
    batch_begin(&t, &b, 1, 0, 0);
    assert_true(batch_next(&t, &r));
    for (uint32_t i = r.train; i < r.n; i++)
        both += is_held[r.rid[i] >> 16];
    assert_true(both < held / 2); /* a quarter is expected: another partition, another choice */
    batch_fini(&t);
    block_fini(&b);
}

static void an_empty_block_has_no_batches(void **state)
{
    struct batch_conf c = {.batch_rows = 8, .holdout = 0.5f};
    struct batch t;
    struct block b;
    struct rows r;
    struct err e;

    (void)state;
    make_block(&b, true, 0);
    assert_int_equal(batch_init(&t, &b.s, &c, &e), ST_OK);
    batch_begin(&t, &b, 0, 0, 7);
    assert_false(batch_next(&t, &r));
    assert_int_equal(t.number, 7);
    batch_fini(&t);
    block_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_cover_a_block_in_order),
        cmocka_unit_test(without_holdout_rows_are_not_copied),
        cmocka_unit_test(held_out_rows_are_chosen_by_hash),
        cmocka_unit_test(unkeyed_rows_are_chosen_by_partition_and_rid),
        cmocka_unit_test(an_empty_block_has_no_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
