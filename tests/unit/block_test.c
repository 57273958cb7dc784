#include "consumer/block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void a_dense_block_has_aligned_zeroed_rows(void **state)
{
    struct block_shape s = block_shape_of(28, false);
    struct block b;
    struct err e;

    (void)state;
    s.ny = 1;
    assert_int_equal(s.ld, 32);
    assert_int_equal(block_init(&b, &s, &e), ST_OK);
    assert_int_equal((uintptr_t)b.x % 64, 0);
    assert_int_equal((uintptr_t)b.y % 64, 0);
    for (size_t i = 0; i < (size_t)BLOCK_ROWS * s.ld; i++)
        assert_true(b.x[i] == 0);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++)
        assert_true(b.weight[i] == 1);
    assert_null(b.ptr);
    assert_null(b.key);
    assert_null(b.ts_ms);
    assert_int_equal(b.first, -1);
    block_fini(&b);
    block_fini(&b); /* safe again */
}

static void the_declared_bytes_hold_every_array(void **state)
{
    struct block_shape s = block_shape_of(1000, true);
    struct block b;
    struct err e;
    uint8_t *end;

    (void)state;
    s.ny = 1;
    s.keyed = s.timed = true;
    assert_int_equal(s.nnz_max, BLOCK_ROWS * BLOCK_ROW_ENTRIES);
    assert_int_equal(block_init(&b, &s, &e), ST_OK);
    end = (uint8_t *)b.base + block_bytes(&s);
    assert_true((uint8_t *)(b.ptr + BLOCK_ROWS + 1) <= (uint8_t *)b.col);
    assert_true((uint8_t *)(b.col + s.nnz_max) <= (uint8_t *)b.val);
    assert_true((uint8_t *)(b.val + s.nnz_max) <= (uint8_t *)b.y);
    assert_true((uint8_t *)(b.ts_ms + BLOCK_ROWS) <= end);
    assert_true((uint8_t *)(b.ts_ms + BLOCK_ROWS) + 64 > end);
    block_stamp(&b, BLOCK_ROWS - 1, 7, 8, 9);
    assert_true(b.rid[BLOCK_ROWS - 1] == 7 && b.key[BLOCK_ROWS - 1] == 8);
    assert_true(b.ts_ms[BLOCK_ROWS - 1] == 9);
    block_fini(&b);
}

static void clear_forgets_rows_and_offsets(void **state)
{
    struct block_shape s = block_shape_of(3, true);
    struct block b;
    struct err e;

    (void)state;
    assert_int_equal(block_init(&b, &s, &e), ST_OK);
    b.n = 5;
    b.records = 6;
    b.first = 1;
    b.next = 9;
    block_clear(&b);
    assert_true(!b.n && !b.records && b.first == -1 && b.next == -1 && b.ptr[0] == 0);
    block_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dense_block_has_aligned_zeroed_rows),
        cmocka_unit_test(the_declared_bytes_hold_every_array),
        cmocka_unit_test(clear_forgets_rows_and_offsets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
