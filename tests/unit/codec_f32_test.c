#include "consumer/codec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct fixture {
    struct input in;
    struct decoded out;
    struct block b;
    void *self;
    char detail[DETAIL_BYTES];
    struct err e;
};

static void set(char *to, const char *from)
{
    memcpy(to, from, strlen(from) + 1);
}

static void column(struct fixture *f, const char *name, uint32_t width)
{
    set(f->in.column[f->in.columns].name, name);
    f->in.column[f->in.columns++].width = width;
}

static enum st open_f32(struct fixture *f, bool need_label)
{
    if (f->self)
        codec_f32.close(f->self);
    free(f->self);
    f->self = calloc(1, codec_f32.self_bytes);
    return codec_f32.open(f->self, &f->in, need_label, (struct bytes){0}, &f->out, &f->e);
}

static void ready(struct fixture *f, bool need_label)
{
    if (open_f32(f, need_label) != ST_OK)
        fail_msg("%s", f->e.text);
    block_fini(&f->b);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
}

static enum bad decode(struct fixture *f, const float *v, size_t bytes)
{
    uint8_t *exact = malloc(bytes + !bytes); /* a read too far shows under asan */
    uint32_t rows = f->b.n;
    enum bad bad;

    memcpy(exact, v, bytes);
    f->detail[0] = 0;
    bad = codec_f32.decode(f->self, (struct bytes){0}, (struct bytes){exact, bytes}, 7, 99, &f->b,
                           f->detail);
    free(exact);
    assert_true(bad == BAD_NONE || f->b.n == rows);
    assert_true(bad == BAD_NONE || bad == BAD_FULL || f->detail[0]);
    return bad;
}

static void is_bad(struct fixture *f, const float *v, enum bad wanted, const char *says)
{
    enum bad bad = decode(f, v, 16);

    if (bad != wanted || !strstr(f->detail, says))
        fail_msg("%s: '%s' does not say '%s'", bad_name(bad), f->detail, says);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->in.format = FORMAT_F32;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->self)
        codec_f32.close(f->self);
    block_fini(&f->b);
    free(f->self);
    free(f);
    return 0;
}

static void named_fields_go_to_their_places(void **state)
{
    static const float rows[] = {1, 10, 11, 12, 0.5f, 3, 0, 20, 21, 22, 2, 4};
    struct fixture *f = *state;
    char name[64];

    column(f, "label", 0);
    column(f, "pixels", 3);
    column(f, "w", 0);
    column(f, "price", 0);
    set(f->in.feature[0].name, "price");
    set(f->in.feature[1].name, "pixels");
    f->in.features = 2;
    set(f->in.label, "label");
    set(f->in.weight, "w");
    ready(f, true);
    assert_int_equal(f->out.columns, 4);
    assert_string_equal(codec_f32.column_name(f->self, 0, name, sizeof name), "price");
    assert_string_equal(codec_f32.column_name(f->self, 3, name, sizeof name), "pixels[2]");
    assert_int_equal(decode(f, rows, sizeof rows), BAD_NONE);
    assert_int_equal(f->b.n, 2);
    assert_memory_equal(f->b.x, ((float[]){3, 10, 11, 12}), 16);
    assert_memory_equal(f->b.x + f->b.s.ld, ((float[]){4, 20, 21, 22}), 16);
    assert_true(f->b.y[0] == 1 && f->b.y[1] == 0);
    assert_true(f->b.weight[0] == 0.5f && f->b.weight[1] == 2);
    assert_true(f->b.rid[0] == 7 << 16 && f->b.rid[1] == (7 << 16 | 1));
}

static void unnamed_fields_are_as_many_as_the_width(void **state)
{
    struct fixture *f = *state;
    uint64_t first;

    set(f->in.label, "f3");
    assert_int_equal(open_f32(f, true), ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "input.width is missing"));
    f->in.width = 4;
    ready(f, true);
    assert_int_equal(decode(f, (float[]){1, 2, 3, 9}, 16), BAD_NONE);
    assert_memory_equal(f->b.x, ((float[]){1, 2, 3}), 12);
    assert_true(f->b.y[0] == 9);
    first = f->out.fingerprint;
    set(f->in.label, "f0");
    ready(f, true);
    assert_true(f->out.fingerprint != first);
    set(f->in.label, "label"); /* the default: none, where none is needed */
    ready(f, false);
    assert_int_equal(f->out.shape.ny, 0);
    assert_int_equal(f->out.columns, 4);
    assert_int_equal(open_f32(f, true), ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "input.label: there is no field 'label'; fields are f0 to"));
    set(f->in.key, "f1");
    assert_int_equal(open_f32(f, false), ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "input.key: a float32 cannot be one"));
}

static void bad_records_have_reasons_and_leave_the_block(void **state)
{
    static float many[4 * (BLOCK_ROWS + 1)];
    struct fixture *f = *state;

    f->in.width = 4;
    set(f->in.label, "f0");
    set(f->in.weight, "f1");
    ready(f, true);
    assert_int_equal(decode(f, many, 0), BAD_TRUNCATED);
    assert_int_equal(decode(f, many, 15), BAD_TRUNCATED);
    assert_int_equal(decode(f, many, 17), BAD_WIDTH);
    assert_non_null(strstr(f->detail, "17 bytes are no whole number of rows of 4 float32"));
    is_bad(f, (float[]){1, 1, 1, NAN}, BAD_NONFINITE, "row 1, field f3: not finite: nan");
    is_bad(f, (float[]){1, 1, -INFINITY, 1}, BAD_NONFINITE, "field f2: not finite: -inf");
    is_bad(f, (float[]){NAN, 1, 1, 1}, BAD_LABEL, "field f0");
    is_bad(f, (float[]){1, -1, 1, 1}, BAD_WEIGHT, "field f1: negative weight -1");
    is_bad(f, (float[]){1, INFINITY, 1, 1}, BAD_NONFINITE, "field f1: not finite");
    codec_f32.label_limit(f->self, 2);
    is_bad(f, (float[]){2, 1, 1, 1}, BAD_LABEL, "field f0: no such class 2");
    assert_int_equal(decode(f, many, sizeof many), BAD_TOO_MANY);
    assert_int_equal(decode(f, many, 16), BAD_NONE);
    assert_int_equal(decode(f, many, sizeof many - 16), BAD_FULL);
    block_clear(&f->b);
    assert_int_equal(decode(f, many, sizeof many - 16), BAD_NONE);
    assert_int_equal(decode(f, many, 16), BAD_FULL);
}

static void missing_features_are_nan_where_the_algorithm_takes_them(void **state)
{
    struct fixture *f = *state;

    f->in.width = 4;
    f->in.missing = true;
    ready(f, false);
    assert_int_equal(decode(f, (float[]){1, NAN, 1, 1}, 16), BAD_NONE);
    assert_true(isnan(f->b.x[1]));
    is_bad(f, (float[]){1, NAN, INFINITY, 1}, BAD_NONFINITE, "field f2: not finite: inf");
}

#define F32_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        F32_TEST(named_fields_go_to_their_places),
        F32_TEST(unnamed_fields_are_as_many_as_the_width),
        F32_TEST(bad_records_have_reasons_and_leave_the_block),
        F32_TEST(missing_features_are_nan_where_the_algorithm_takes_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
