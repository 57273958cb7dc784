#include "algos/fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N, ROWN, SUM, LOW, HIGH, RING, MEAN, ROWMEAN, PROJ, LOSS, SEEN, COUNT };
#define ANY (UINT64_MAX >> 1)

static const struct tdecl plan[] = {
    {.id = N, .name = "n", .dtype = DT_F64, .law = LAW_SUM, .dim = {1}},
    {.id = ROWN, .name = "rown", .dtype = DT_U32, .law = LAW_SUM, .dim = {3}},
    {.id = SUM, .name = "sum", .dtype = DT_F32, .law = LAW_SUM, .dim = {2}},
    {.id = LOW, .name = "low", .dtype = DT_I32, .law = LAW_MIN, .dim = {2}},
    {.id = HIGH, .name = "high", .dtype = DT_U64, .law = LAW_MAX, .dim = {1}},
    {.id = RING, .name = "ring", .dtype = DT_F32, .law = LAW_LOCAL, .dim = {5}},
    {.id = MEAN,
     .name = "mean",
     .dtype = DT_F32,
     .law = LAW_MEAN,
     .by = N,
     .flags = T_PULL,
     .dim = {2}},
    {.id = ROWMEAN,
     .name = "rowmean",
     .dtype = DT_F32,
     .law = LAW_MEAN,
     .by = ROWN,
     .flags = T_PULL | T_SPARSE,
     .dim = {3, 2}},
    {.id = PROJ, .name = "proj", .dtype = DT_F32, .law = LAW_SAME, .dim = {2}},
    {.id = LOSS, .name = "@loss", .dtype = DT_F64, .law = LAW_SUM, .dim = {1}},
    {.id = SEEN, .name = "@seen", .dtype = DT_U64, .law = LAW_LOCAL, .dim = {1}},
};

static enum st declare_none(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                            const void *derive_opts)
{
    (void)p, (void)sh, (void)opts, (void)derive_opts;
    return d->st;
}

static enum st declare_view(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                            const void *derive_opts)
{
    (void)sh, (void)opts, (void)derive_opts;
    if (p == PART_VIEW)
        d->add(d, &(struct tdecl){.id = 0, .name = "slots", .dtype = DT_F64, .dim = {4}});
    return d->st;
}

/* Notes n of each slot at the partition's place. */
static enum st fold_slots(const struct ctx *x, struct tensors *view, const struct slot *s)
{
    (void)x;
    view->t[0].f64[s->partition] = s->state->t[N].f64[0];
    return ST_OK;
}

static enum st fold_slots_end(const struct ctx *x, struct tensors *view)
{
    (void)x;
    for (int p = 0; p < 3; p++)
        view->t[0].f64[3] += view->t[0].f64[p];
    return ST_OK;
}

static const struct algo by_laws = {.name = "laws", .declare = declare_none};
static const struct algo own_view = {
    .name = "own", .declare = declare_view, .fold = fold_slots, .fold_end = fold_slots_end};

struct world {
    const struct algo *a;
    struct err e;
    struct shape sh;
    struct ctx x;
    struct tensors slot[3], view;
    struct fold f;
};

static void make(struct world *w, const struct algo *a)
{
    memset(w, 0, sizeof *w);
    w->a = a;
    w->x = (struct ctx){.shape = &w->sh, .err = &w->e};
    for (int p = 0; p < 3; p++) {
        struct tensors *s = &w->slot[p];

        assert_int_equal(tensors_layout(s, plan, COUNT, 6, ANY, &w->e), ST_OK);
        assert_int_equal(tensors_alloc(s, NULL, NULL, &w->e), ST_OK);
        s->t[PROJ].f32[0] = 7;
    }
    assert_int_equal(view_declare(&w->view, a, w->slot, &w->sh, NULL, ANY, &w->e), ST_OK);
    assert_int_equal(tensors_alloc(&w->view, NULL, NULL, &w->e), ST_OK);
    assert_int_equal(fold_init(&w->f, a, &w->x, w->slot, &w->view), ST_OK);
}

static void drop(struct world *w)
{
    fold_fini(&w->f);
    tensors_free(&w->view, NULL, NULL);
    for (int p = 0; p < 3; p++)
        tensors_free(&w->slot[p], NULL, NULL);
}

static void fold_all(struct world *w)
{
    fold_begin(&w->f);
    for (uint32_t p = 0; p < 3; p++)
        assert_int_equal(fold_add(&w->f, &(struct slot){&w->slot[p], 1, p}), ST_OK);
    assert_int_equal(fold_end(&w->f), ST_OK);
}

static void the_view_keeps_ids_and_widens_sums(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    assert_int_equal(w.view.n, COUNT);
    assert_int_equal(w.view.t[SUM].d.dtype, DT_F64);
    assert_int_equal(w.view.t[MEAN].d.dtype, DT_F64);
    assert_int_equal(w.view.t[HIGH].d.dtype, DT_U64);
    assert_int_equal(w.view.t[RING].n, 0);
    assert_int_equal(w.view.t[SEEN].n, 0);
    assert_string_equal(w.view.t[PROJ].d.name, "proj");
    drop(&w);
}

static void sums_and_extremes_are_over_all_slots(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    for (uint32_t p = 0; p < 3; p++) {
        struct tensor *t = w.slot[p].t;

        t[SUM].f32[0] = (float)(p + 1);
        t[SUM].f32[1] = 16777216.0f; /* 2^24: three of them plus one are no f32 */
        t[LOW].i32[0] = p == 1 ? -5 : 5;
        t[LOW].i32[1] = 3 - (int)p;
        t[HIGH].u64[0] = p == 0 ? UINT64_MAX : p;
        t[LOSS].f64[0] = 0.5;
    }
    fold_all(&w);
    assert_true(w.view.t[SUM].f64[0] == 6);
    assert_true(w.view.t[SUM].f64[1] == 50331648.0);
    assert_int_equal(w.view.t[LOW].i32[0], -5);
    assert_int_equal(w.view.t[LOW].i32[1], 1);
    assert_true(w.view.t[HIGH].u64[0] == UINT64_MAX);
    assert_true(w.view.t[LOSS].f64[0] == 1.5);
    assert_true(w.view.t[PROJ].f32[0] == 7);
    drop(&w);
}

static void means_are_weighted_by_count_and_slot(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    for (uint32_t p = 0; p < 3; p++) {
        w.slot[p].t[N].f64[0] = p; /* 0, 1, 2 */
        w.slot[p].t[MEAN].f32[0] = (float)(10 * (p + 1));
    }
    fold_all(&w);
    assert_true(w.view.t[MEAN].f64[0] == (20.0 + 2 * 30.0) / 3);
    assert_true(w.view.t[N].f64[0] == 3);
    fold_begin(&w.f);
    assert_int_equal(fold_add(&w.f, &(struct slot){&w.slot[1], 0.5, 1}), ST_OK);
    assert_int_equal(fold_add(&w.f, &(struct slot){&w.slot[2], 1, 2}), ST_OK);
    assert_int_equal(fold_end(&w.f), ST_OK);
    assert_true(w.view.t[MEAN].f64[0] == (0.5 * 20.0 + 2 * 30.0) / 2.5);
    drop(&w);
}

static void means_by_row_take_the_rows_that_were_learned(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    for (uint32_t p = 0; p < 3; p++)
        for (uint32_t i = 0; i < 6; i++)
            w.slot[p].t[ROWMEAN].f32[i] = (float)(100 * p + i);
    w.slot[1].t[ROWN].u32[1] = 3; /* row 0: nobody; row 1: slots 1, 2; row 2: slot 2 */
    w.slot[2].t[ROWN].u32[1] = 1;
    w.slot[2].t[ROWN].u32[2] = 9;
    fold_all(&w);
    assert_true(w.view.t[ROWMEAN].f64[0] == 0 && w.view.t[ROWMEAN].f64[1] == 1);
    assert_true(w.view.t[ROWMEAN].f64[2] == (3 * 102.0 + 202.0) / 4);
    assert_true(w.view.t[ROWMEAN].f64[5] == 205);
    drop(&w);
}

static void slots_that_learned_nothing_mean_the_start(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    for (uint32_t p = 0; p < 3; p++)
        w.slot[p].t[MEAN].f32[1] = 0.25f + (float)p;
    fold_all(&w);
    assert_true(w.view.t[MEAN].f64[1] == 0.25);
    drop(&w);
}

static void folding_twice_gives_the_same_bytes(void **state)
{
    struct world w;
    uint8_t *old;

    (void)state;
    make(&w, &by_laws);
    for (uint32_t p = 0; p < 3; p++) {
        w.slot[p].t[N].f64[0] = 1.1 * (p + 1);
        w.slot[p].t[MEAN].f32[0] = 0.1f * (float)(p + 1);
        w.slot[p].t[SUM].f32[0] = 0.1f * (float)(p + 1);
    }
    fold_all(&w);
    old = malloc(w.view.bytes);
    assert_non_null(old);
    memcpy(old, w.view.base, w.view.bytes);
    fold_all(&w);
    assert_memory_equal(old, w.view.base, w.view.bytes);
    free(old);
    drop(&w);
}

static void what_must_be_the_same_is_checked(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    w.slot[2].t[PROJ].f32[1] = 1;
    assert_int_equal(fold_add(&w.f, &(struct slot){&w.slot[0], 1, 0}), ST_OK);
    assert_int_equal(fold_add(&w.f, &(struct slot){&w.slot[1], 1, 4}), ST_OK);
    assert_int_equal(fold_add(&w.f, &(struct slot){&w.slot[2], 1, 9}), ST_CORRUPT);
    assert_non_null(strstr(w.e.text, "tensor proj of partition 9 differs"));
    drop(&w);
}

static void no_slot_is_not_yet_a_view(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    assert_int_equal(fold_end(&w.f), ST_AGAIN);
    drop(&w);
}

static void a_view_of_its_own_is_folded_by_the_algorithm(void **state)
{
    struct world w;

    (void)state;
    make(&w, &own_view);
    assert_int_equal(w.view.n, 2); /* slots, @loss */
    for (uint32_t p = 0; p < 3; p++) {
        w.slot[p].t[N].f64[0] = p + 1;
        w.slot[p].t[LOSS].f64[0] = 2;
    }
    fold_all(&w);
    fold_all(&w);
    assert_true(w.view.t[0].f64[1] == 2 && w.view.t[0].f64[3] == 6);
    assert_true(tensors_find(&w.view, "@loss")->f64[0] == 6);
    drop(&w);
}

static void a_pull_overwrites_what_is_pulled_and_nothing_else(void **state)
{
    struct world w;

    (void)state;
    make(&w, &by_laws);
    for (uint32_t p = 0; p < 3; p++) {
        w.slot[p].t[N].f64[0] = 1;
        w.slot[p].t[MEAN].f32[0] = (float)p;
        w.slot[p].t[SUM].f32[0] = 5;
    }
    fold_all(&w);
    memset(w.slot[2].dirty, 0, 8);
    assert_int_equal(view_rebase(&w.x, &by_laws, &w.slot[2], &w.view), ST_OK);
    assert_true(w.slot[2].t[MEAN].f32[0] == 1);
    assert_true(w.slot[2].t[SUM].f32[0] == 5);
    assert_true(w.slot[2].dirty[0] == (uint64_t)1 << (w.slot[2].t[ROWMEAN].offset >> 6));
    drop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_view_keeps_ids_and_widens_sums),
        cmocka_unit_test(sums_and_extremes_are_over_all_slots),
        cmocka_unit_test(means_are_weighted_by_count_and_slot),
        cmocka_unit_test(means_by_row_take_the_rows_that_were_learned),
        cmocka_unit_test(slots_that_learned_nothing_mean_the_start),
        cmocka_unit_test(folding_twice_gives_the_same_bytes),
        cmocka_unit_test(what_must_be_the_same_is_checked),
        cmocka_unit_test(no_slot_is_not_yet_a_view),
        cmocka_unit_test(a_view_of_its_own_is_folded_by_the_algorithm),
        cmocka_unit_test(a_pull_overwrites_what_is_pulled_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
