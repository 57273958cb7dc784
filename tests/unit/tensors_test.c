#include "algos/tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SHIFT = 6 };
#define ANY (UINT64_MAX >> 1)

/* head f64[2] | ring f32[40] LOCAL | w f32[10, 20] SPARSE | n u8[3] | @seen u64[1] LOCAL | @sum
 * f64[4] */
static const struct tdecl plan[] = {
    {.id = 0, .name = "head", .what = "counts", .dtype = DT_F64, .law = LAW_SUM, .dim = {2}},
    {.id = 1, .name = "ring", .what = "last", .dtype = DT_F32, .law = LAW_LOCAL, .dim = {40}},
    {.id = 2,
     .name = "w",
     .what = "weights",
     .dtype = DT_F32,
     .law = LAW_SUM,
     .flags = T_SPARSE,
     .dim = {10, 20}},
    {.id = 3, .name = "n", .what = "flags", .dtype = DT_U8, .law = LAW_MAX, .dim = {3}},
    {.id = 4, .name = "@seen", .what = "rows", .dtype = DT_U64, .law = LAW_LOCAL, .dim = {1}},
    {.id = 5, .name = "@sum", .what = "loss", .dtype = DT_F64, .law = LAW_SUM, .dim = {4}},
};
enum { HEAD, RING, W, N, SEEN, SUM, COUNT };

static void make(struct tensors *ts)
{
    struct err e;

    assert_int_equal(tensors_layout(ts, plan, COUNT, SHIFT, ANY, &e), ST_OK);
    assert_int_equal(tensors_alloc(ts, NULL, NULL, &e), ST_OK);
}

static void local_tensors_lie_behind_and_large_ones_on_a_chunk_edge(void **state)
{
    struct tensors ts;
    struct err e;

    (void)state;
    assert_int_equal(tensors_layout(&ts, plan, COUNT, 8, ANY, &e), ST_OK);
    assert_int_equal(ts.t[HEAD].offset, 0);
    assert_int_equal(ts.t[W].offset, 256); /* 800 bytes: more than a chunk */
    assert_int_equal(ts.t[N].offset, 256 + 832);
    assert_int_equal(ts.t[SUM].offset, ts.t[N].offset + 64);
    assert_int_equal(ts.t[RING].offset, ts.t[SUM].offset + 64);
    assert_int_equal(ts.t[SEEN].offset, ts.t[RING].offset + 192);
    assert_int_equal(ts.bytes, ts.t[SEEN].offset + 64);
    assert_int_equal(tensors_chunks(&ts), (ts.bytes + 255) / 256);
    assert_int_equal(tensors_chunk_bytes(&ts, 0), 256);
    assert_int_equal(tensors_chunk_bytes(&ts, tensors_chunks(&ts) - 1), (ts.bytes - 1) % 256 + 1);
}

static void a_block_is_zeroed_aligned_and_freed(void **state)
{
    struct tensors ts;

    (void)state;
    make(&ts);
    for (uint32_t i = 0; i < ts.n; i++)
        assert_int_equal((uintptr_t)ts.t[i].p & 63, 0);
    for (uint64_t i = 0; i < ts.bytes; i++)
        assert_int_equal(ts.base[i], 0);
    assert_ptr_equal(tensors_find(&ts, "w"), &ts.t[W]);
    assert_null(tensors_find(&ts, "v"));
    tensors_free(&ts, NULL, NULL);
    tensors_free(&ts, NULL, NULL);
    memset(&ts, 0, sizeof ts);
    tensors_free(&ts, NULL, NULL);
}

/* Declares `d` behind tensors 0 .. d.id - 1 of the plan and returns the refusal. */
static enum st refusal(struct tdecl d, uint64_t limit, struct err *e)
{
    struct tdecl all[COUNT + 1];
    struct tensors ts;

    memcpy(all, plan, sizeof plan);
    all[COUNT] = d;
    e->text[0] = 0;
    return tensors_layout(&ts, all, COUNT + 1, SHIFT, limit, e);
}

static void declarations_are_refused_with_the_name(void **state)
{
    const struct tdecl good = {
        .id = COUNT, .name = "x", .what = "?", .dtype = DT_F32, .law = LAW_SUM, .dim = {4, 5}};
    struct tdecl d = good;
    struct err e;

    (void)state;
    assert_int_equal(refusal(d, ANY, &e), ST_OK);
    assert_int_equal(refusal(d, 1000, &e), ST_BAD_CONFIG);
    d.name = "W";
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    d.name = "w";
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    assert_string_equal(e.text, "tensor w is declared twice");
    d = good, d.id = 3;
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    d = good, d.dtype = (enum dtype)9;
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    d = good, d.law = LAW_MEAN, d.by = COUNT + 1;
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    d.by = SUM; /* 4 weights for 4 rows */
    assert_int_equal(refusal(d, ANY, &e), ST_OK);
    d.by = HEAD;
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    d = good, d.live = W + 1;
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    d = good, d.dim[1] = UINT64_MAX / 2;
    assert_int_equal(refusal(d, ANY, &e), ST_BAD_CONFIG);
    d = good, d.dim[0] = 4000000001, d.dim[1] = 32;
    assert_int_equal(refusal(d, (uint64_t)4 << 30, &e), ST_BAD_CONFIG);
    assert_string_equal(e.text,
                        "tensor x [4000000001, 32] takes 476.8 GiB, together with those before it "
                        "more than memory_max, which is 4.0 GiB: fewer models or a smaller id "
                        "space");
}

static enum st declare_at(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                          const void *derive_opts)
{
    (void)p, (void)sh, (void)opts, (void)derive_opts;
    d->add(d, &(struct tdecl){.id = 0, .name = "@mine", .dtype = DT_F32, .dim = {1}});
    d->add(d, &(struct tdecl){.id = 0, .name = "fine", .dtype = DT_F32, .dim = {1}});
    return d->st;
}

static void runtime_names_are_refused_from_an_algorithm(void **state)
{
    const struct algo a = {.name = "toy", .declare = declare_at};
    struct tensors ts;
    struct err e;

    (void)state;
    assert_int_equal(
        tensors_declare(&ts, &a, PART_STATE, NULL, NULL, NULL, NULL, 0, SHIFT, ANY, &e),
        ST_BAD_CONFIG);
    assert_string_equal(e.text, "algorithm toy: tensor 0: name '@mine' must be [a-z0-9._]{1,47}");
}

struct scan {
    uint64_t hash[64], changed[1];
};

static uint64_t scan(struct tensors *ts, struct scan *s)
{
    struct err e;

    s->changed[0] = 0;
    assert_true(tensors_chunks(ts) <= 64);
    assert_int_equal(tensors_scan(ts, s->hash, s->changed, &e), ST_OK);
    return s->changed[0];
}

static uint64_t chunk_of(const struct tensors *ts, uint32_t id, uint64_t byte)
{
    return (uint64_t)1 << ((ts->t[id].offset + byte) >> SHIFT);
}

static void a_scan_finds_what_moved_and_only_that(void **state)
{
    struct scan s = {{0}, {0}};
    struct tensors ts;

    (void)state;
    make(&ts);
    assert_true(scan(&ts, &s) == 0); /* zeros were never written */
    ts.t[HEAD].f64[1] = 2;
    ts.t[RING].f32[39] = 1;
    assert_true(scan(&ts, &s) == (chunk_of(&ts, HEAD, 0) | chunk_of(&ts, RING, 156)));
    assert_true(scan(&ts, &s) == 0);
    ts.t[HEAD].f64[1] = 0;
    assert_true(scan(&ts, &s) == chunk_of(&ts, HEAD, 0));
    assert_true(s.hash[0] == 0);
    assert_true(scan(&ts, &s) == 0);
    tensors_free(&ts, NULL, NULL);
}

static void sparse_chunks_are_read_only_where_touched(void **state)
{
    struct scan s = {{0}, {0}};
    struct tensors ts;

    (void)state;
    make(&ts);
    scan(&ts, &s);
    ts.t[W].f32[0] = 1;
    ts.t[W].f32[199] = 1;
    touch(&ts, W, 9, 1);
    assert_true(scan(&ts, &s) == chunk_of(&ts, W, 199 * 4));
    touch(&ts, W, 0, 10);
    assert_true(scan(&ts, &s) == chunk_of(&ts, W, 0));
    tensors_zero(&ts);
    assert_true(scan(&ts, &s) == (chunk_of(&ts, W, 0) | chunk_of(&ts, W, 199 * 4)));
    tensors_free(&ts, NULL, NULL);
}

static void a_chunk_shared_with_a_dense_tensor_is_always_read(void **state)
{
    struct scan s = {{0}, {0}};
    struct tensors ts;
    struct tdecl two[2] = {plan[HEAD], plan[W]};
    struct err e;

    (void)state;
    two[1].id = 1;
    assert_int_equal(tensors_layout(&ts, two, 2, 18, ANY, &e), ST_OK);
    assert_int_equal(tensors_alloc(&ts, NULL, NULL, &e), ST_OK);
    ts.t[1].f32[0] = 1;
    assert_true(scan(&ts, &s) == 1);
    tensors_free(&ts, NULL, NULL);
}

static void bits_of_a_scan_are_only_set(void **state)
{
    struct scan s = {{0}, {0}};
    struct tensors ts;
    struct err e;

    (void)state;
    make(&ts);
    s.changed[0] = 1u << 31;
    ts.t[HEAD].f64[0] = 1;
    assert_int_equal(tensors_scan(&ts, s.hash, s.changed, &e), ST_OK);
    assert_true(s.changed[0] == (1u << 31 | 1));
    tensors_free(&ts, NULL, NULL);
}

static void nan_and_infinity_are_named(void **state)
{
    const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, -(double)NAN};
    struct tensors ts;
    struct err e;

    (void)state;
    make(&ts);
    ts.t[W].f32[0] = 3.4e38f; /* the largest finite exponents are no infinity */
    ts.t[SUM].f64[0] = -1.7e308;
    ts.t[W].f32[1] = -1e-45f;
    memset(ts.t[SEEN].p, 0xff, 8); /* nor is an integer */
    assert_int_equal(tensors_finite(&ts, &e), ST_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct scan s = {{0}, {0}};

        ts.t[W].f32[67] = (float)bad[i];
        touch(&ts, W, 0, 10);
        assert_int_equal(tensors_scan(&ts, s.hash, s.changed, &e), ST_FATAL);
        assert_non_null(strstr(e.text, "tensor w [row 3, column 7] is "));
        ts.t[W].f32[67] = 0;
        ts.t[SUM].f64[3] = bad[i];
        assert_int_equal(tensors_scan(&ts, s.hash, s.changed, &e), ST_FATAL);
        assert_non_null(strstr(e.text, "tensor @sum [row 3, column 0] is "));
        ts.t[SUM].f64[3] = 0;
    }
    tensors_free(&ts, NULL, NULL);
}

static void a_copy_has_the_bytes_and_all_marks(void **state)
{
    struct scan s = {{0}, {0}};
    struct tensors a, b;

    (void)state;
    make(&a);
    make(&b);
    a.t[W].f32[100] = 5;
    tensors_copy(&b, &a);
    assert_memory_equal(a.base, b.base, a.bytes);
    assert_true(scan(&b, &s) == chunk_of(&b, W, 400));
    tensors_free(&a, NULL, NULL);
    tensors_free(&b, NULL, NULL);
}

static void an_absent_tensor_keeps_its_id(void **state)
{
    struct tdecl three[3] = {plan[HEAD], plan[RING], plan[W]};
    struct tensors ts;
    struct err e;

    (void)state;
    three[1].dim[0] = 0;
    assert_int_equal(tensors_layout(&ts, three, 3, SHIFT, ANY, &e), ST_OK);
    assert_int_equal(ts.t[1].n, 0);
    assert_int_equal(ts.t[1].bytes, 0);
    assert_int_equal(ts.t[2].offset, 64);
    assert_int_equal(tensors_alloc(&ts, NULL, NULL, &e), ST_OK);
    assert_int_equal(tensors_finite(&ts, &e), ST_OK);
    tensors_free(&ts, NULL, NULL);
}

static void the_first_difference_is_named(void **state)
{
    struct tdecl other[COUNT];
    struct tensors a, b;
    struct err e;

    (void)state;
    assert_int_equal(tensors_layout(&a, plan, COUNT, SHIFT, ANY, &e), ST_OK);
    assert_int_equal(tensors_same(&a, &a, &e), ST_OK);
    memcpy(other, plan, sizeof plan);
    other[W].dim[1] = 21;
    assert_int_equal(tensors_layout(&b, other, COUNT, SHIFT, ANY, &e), ST_OK);
    assert_int_equal(tensors_same(&a, &b, &e), ST_BAD_CONFIG);
    assert_string_equal(e.text, "tensor w is f32 [10, 20] here and f32 [10, 21] there");
    assert_int_equal(tensors_layout(&b, plan, COUNT - 1, SHIFT, ANY, &e), ST_OK);
    assert_int_equal(tensors_same(&a, &b, &e), ST_BAD_CONFIG);
    assert_string_equal(e.text, "tensor @sum is only here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_tensors_lie_behind_and_large_ones_on_a_chunk_edge),
        cmocka_unit_test(a_block_is_zeroed_aligned_and_freed),
        cmocka_unit_test(declarations_are_refused_with_the_name),
        cmocka_unit_test(runtime_names_are_refused_from_an_algorithm),
        cmocka_unit_test(a_scan_finds_what_moved_and_only_that),
        cmocka_unit_test(sparse_chunks_are_read_only_where_touched),
        cmocka_unit_test(a_chunk_shared_with_a_dense_tensor_is_always_read),
        cmocka_unit_test(bits_of_a_scan_are_only_set),
        cmocka_unit_test(nan_and_infinity_are_named),
        cmocka_unit_test(a_copy_has_the_bytes_and_all_marks),
        cmocka_unit_test(an_absent_tensor_keeps_its_id),
        cmocka_unit_test(the_first_difference_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
