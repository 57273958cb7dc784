#include "consumer/codec.h"

#include "config/base/bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture { /* a codec on a schema file of its own, a block, and a message that is being
                    written */
    struct input in;
    struct decoded out;
    struct block b;
    void *self;
    char detail[DETAIL_BYTES];
    struct err e;
    uint8_t m[1 << 17];
    size_t n;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->self = calloc(1, codec_avro.self_bytes);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    codec_avro.close(f->self);
    block_fini(&f->b);
    if (f->in.schema[0])
        unlink(f->in.schema);
    free(f->self);
    free(f);
    return 0;
}

/* ---- writing a message ---- */

static void put_long(struct fixture *f, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);

    for (; z > 127; z >>= 7)
        f->m[f->n++] = (uint8_t)(z | 128);
    f->m[f->n++] = (uint8_t)z;
}

static void put_float(struct fixture *f, float v)
{
    memcpy(f->m + f->n, &v, sizeof v);
    f->n += sizeof v;
}

static void put_double(struct fixture *f, double v)
{
    memcpy(f->m + f->n, &v, sizeof v);
    f->n += sizeof v;
}

static void put_text(struct fixture *f, const char *text)
{
    put_long(f, (int64_t)strlen(text));
    memcpy(f->m + f->n, text, strlen(text));
    f->n += strlen(text);
}

static void put_floats(struct fixture *f, uint32_t n, float first)
{
    if (n)
        put_long(f, n);
    for (uint32_t i = 0; i < n; i++)
        put_float(f, first + (float)i);
    put_long(f, 0);
}

/* ---- opening and decoding ---- */

static void schema(struct fixture *f, const char *text)
{
    int fd;

    if (!f->in.schema[0])
        memcpy(f->in.schema, "/tmp/millrace-avsc-XXXXXX", 26);
    else
        unlink(f->in.schema);
    memcpy(f->in.schema + strlen(f->in.schema) - 6, "XXXXXX", 6);
    fd = mkstemp(f->in.schema);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void fields(struct fixture *f, const char *list)
{
    char text[4096];

    snprintf(text, sizeof text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[%s]}", list);
    schema(f, text);
}

static void feature(struct fixture *f, const char *name, uint32_t width)
{
    snprintf(f->in.feature[f->in.features].name, NAME_MAX_BYTES, "%s", name);
    f->in.feature[f->in.features++].width = width;
}

static void set(char *to, const char *text)
{
    memcpy(to, text, strlen(text) + 1);
}

/* The message so far is the sample, if there is one. */
static enum st open_codec(struct fixture *f, bool need_label)
{
    struct bytes sample = {f->n ? f->m : NULL, f->n};

    codec_avro.close(f->self);
    return codec_avro.open(f->self, &f->in, need_label, sample, &f->out, &f->e);
}

static void ready(struct fixture *f)
{
    if (open_codec(f, f->in.label[0] != 0) != ST_OK)
        fail_msg("%s", f->e.text);
    block_fini(&f->b);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
    f->n = 0;
}

static void refused(struct fixture *f, bool need_label, const char *text)
{
    assert_int_equal(open_codec(f, need_label), ST_BAD_CONFIG);
    if (!strstr(f->e.text, text))
        fail_msg("'%s' is not in: %s", text, f->e.text);
}

/* Decodes what was written, from memory of just that size, and starts anew. */
static enum bad decode(struct fixture *f)
{
    uint8_t *exact = malloc(f->n + !f->n);
    uint32_t n = f->b.n, entries = f->b.ptr ? f->b.ptr[n] : 0;
    enum bad bad;

    memcpy(exact, f->m, f->n);
    f->detail[0] = 0;
    bad = codec_avro.decode(f->self, (struct bytes){(const uint8_t *)"key", 3},
                            (struct bytes){exact, f->n}, 5, 1234, &f->b, f->detail);
    free(exact);
    f->n = 0;
    if (bad) {
        assert_int_equal(f->b.n, n);
        assert_true(!f->b.ptr || f->b.ptr[n] == entries);
        assert_true(bad == BAD_FULL || f->detail[0]);
        assert_true(strlen(f->detail) < DETAIL_BYTES);
    }
    return bad;
}

static void row_is(const struct fixture *f, uint32_t row, const float *want)
{
    const float *x = f->b.x + (size_t)row * f->b.s.ld;

    for (uint32_t i = 0; i < f->out.columns; i++)
        if (x[i] != want[i])
            fail_msg("row %u, column %u: %g, not %g", row, i, (double)x[i], (double)want[i]);
    for (uint32_t i = f->out.columns; i < f->b.s.ld; i++)
        assert_true(x[i] == 0);
}

static void name_is(const struct fixture *f, uint32_t column, const char *want)
{
    char name[64];

    assert_string_equal(codec_avro.column_name(f->self, column, name, sizeof name), want);
}

/* ---- tests ---- */

static void every_other_number_is_a_column(void **state)
{
    struct fixture *f = *state;

    fields(f,
           "{\"name\":\"id\",\"type\":\"string\"},{\"name\":\"a\",\"type\":\"float\"},"
           "{\"name\":\"b\",\"type\":\"float\"},{\"name\":\"y\",\"type\":\"int\"},"
           "{\"name\":\"c\",\"type\":\"double\"},{\"name\":\"d\",\"type\":\"long\"},"
           "{\"name\":\"raw\",\"type\":\"bytes\"},{\"name\":\"e\",\"type\":\"boolean\"},"
           "{\"name\":\"n\",\"type\":{\"type\":\"record\",\"name\":\"N\",\"fields\":["
           "{\"name\":\"x\",\"type\":\"int\"},{\"name\":\"w\",\"type\":\"float\"}]}},"
           "{\"name\":\"color\",\"type\":{\"type\":\"enum\",\"name\":\"C\",\"symbols\":[\"R\"]}},"
           "{\"name\":\"tags\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}");
    set(f->in.label, "y");
    set(f->in.weight, "n.w");
    ready(f);
    assert_int_equal(f->out.columns, 6);
    name_is(f, 0, "a");
    name_is(f, 5, "n.x");
    put_text(f, "some id");
    put_float(f, 1.5f);
    put_float(f, -2);
    put_long(f, -3);
    put_double(f, 0.1);
    put_long(f, (int64_t)1 << 40);
    put_text(f, "\x01\x02");
    f->m[f->n++] = 1;
    put_long(f, INT32_MIN);
    put_float(f, 0.25f);
    put_long(f, 0);
    put_long(f, 2);
    put_text(f, "p");
    put_text(f, "q");
    put_long(f, 0);
    assert_int_equal(decode(f), BAD_NONE);
    row_is(f, 0, (float[]){1.5f, -2, 0.1f, 1099511627776.0f, 1, -2147483648.0f});
    assert_true(f->b.y[0] == -3 && f->b.weight[0] == 0.25f && f->b.rid[0] == 5 << 16);
}

static void features_are_taken_in_the_order_of_the_job(void **state)
{
    struct fixture *f = *state;

    fields(
        f,
        "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"p\",\"type\":{\"type\":\"array\","
        "\"items\":\"float\"}},{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"double\"}},"
        "{\"name\":\"color\",\"type\":{\"type\":\"enum\",\"name\":\"C\",\"symbols\":[\"R\",\"G\"]}"
        "}");
    feature(f, "m.zoom", 0);
    feature(f, "color", 0);
    feature(f, "p", 3);
    feature(f, "m.big.one", 0);
    ready(f);
    assert_int_equal(f->out.columns, 6);
    name_is(f, 0, "m.zoom");
    name_is(f, 4, "p[2]");
    put_float(f, 9);
    put_floats(f, 3, 1);
    put_long(f, 3);
    put_text(f, "zoom");
    put_double(f, 7);
    put_text(f, "other");
    put_double(f, NAN);
    put_text(f, "big.one");
    put_double(f, 8);
    put_long(f, 0);
    put_long(f, 1);
    assert_int_equal(decode(f), BAD_NONE);
    row_is(f, 0, (float[]){7, 1, 1, 2, 3, 8});

    put_float(f, 9); /* a key is missing */
    put_floats(f, 3, 1);
    put_long(f, 1);
    put_text(f, "zoom");
    put_double(f, 7);
    put_long(f, 0);
    put_long(f, 1);
    assert_int_equal(decode(f), BAD_MISSING);
    assert_string_equal(f->detail, "row 0, field m: no value for key big.one");

    put_float(f, 9); /* a key comes twice */
    put_floats(f, 3, 1);
    put_long(f, 2);
    put_text(f, "zoom");
    put_double(f, 7);
    put_text(f, "zoom");
    put_double(f, 7);
    assert_int_equal(decode(f), BAD_VALUE);
    assert_non_null(strstr(f->detail, "key 'zoom' is there twice"));
}

static void nulls_take_the_default_or_are_missing(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"a\",\"type\":[\"null\",\"float\"],\"default\":null},"
              "{\"name\":\"b\",\"type\":[\"double\",\"null\"],\"default\":-1.5},"
              "{\"name\":\"c\",\"type\":[\"null\",\"int\",\"string\"]},"
              "{\"name\":\"w\",\"type\":[\"float\",\"null\"],\"default\":3},"
              "{\"name\":\"y\",\"type\":[\"null\",\"boolean\"]}");
    feature(f, "a", 0);
    feature(f, "b", 0);
    feature(f, "c", 0);
    set(f->in.label, "y");
    set(f->in.weight, "w");
    ready(f);
    put_long(f, 1), put_float(f, 2);
    put_long(f, 1);
    put_long(f, 1), put_long(f, 4);
    put_long(f, 1);
    put_long(f, 1), f->m[f->n++] = 1;
    assert_int_equal(decode(f), BAD_NONE);
    row_is(f, 0, (float[]){2, -1.5f, 4});
    assert_true(f->b.weight[0] == 3 && f->b.y[0] == 1);

    put_long(f, 0);
    assert_int_equal(decode(f), BAD_MISSING);
    assert_string_equal(f->detail, "row 0, field a: no value");
    put_long(f, 1), put_float(f, 2);
    put_long(f, 1);
    put_long(f, 2), put_text(f, "4");
    assert_int_equal(decode(f), BAD_VALUE);
    put_long(f, 1), put_float(f, 2);
    put_long(f, 1);
    put_long(f, 1), put_long(f, 4);
    put_long(f, 1);
    put_long(f, 0);
    assert_int_equal(decode(f), BAD_LABEL);
    assert_string_equal(f->detail, "row 0, field y: the label is null");
    put_long(f, 2);
    assert_int_equal(decode(f), BAD_VALUE);
    assert_string_equal(f->detail, "row 0, field a: branch 2 of 2");
}

static void a_null_record_is_missing(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"p\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"P\",\"fields\":["
              "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"y\",\"type\":\"float\"}]},"
              "{\"type\":\"record\",\"name\":\"Q\",\"fields\":[{\"name\":\"y\",\"type\":\"int\"},"
              "{\"name\":\"x\",\"type\":\"int\"}]},{\"type\":\"record\",\"name\":\"O\",\"fields\":["
              "{\"name\":\"x\",\"type\":\"int\"}]}]}");
    ready(f);
    assert_int_equal(f->out.columns, 2);
    put_long(f, 1), put_float(f, 1), put_float(f, 2);
    assert_int_equal(decode(f), BAD_NONE);
    put_long(f, 2), put_long(f, 3), put_long(f, 4);
    assert_int_equal(decode(f), BAD_NONE);
    row_is(f, 0, (float[]){1, 2});
    row_is(f, 1, (float[]){4, 3});
    put_long(f, 0);
    assert_int_equal(decode(f), BAD_MISSING);
    put_long(f, 3), put_long(f, 4);
    assert_int_equal(decode(f), BAD_MISSING);
}

static void labels_may_be_symbols_or_text(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"y\",\"type\":[{\"type\":\"enum\","
              "\"name\":\"E\",\"symbols\":[\"cat\",\"dog\",\"cow\"]},\"null\"]}");
    set(f->in.label, "y");
    ready(f);
    assert_int_equal(f->out.classes, 3);
    assert_string_equal(f->out.class_name[2], "cow");
    put_float(f, 0), put_long(f, 0), put_long(f, 2);
    assert_int_equal(decode(f), BAD_NONE);
    assert_true(f->b.y[0] == 2);
    put_float(f, 0), put_long(f, 0), put_long(f, 3);
    assert_int_equal(decode(f), BAD_VALUE);
    assert_string_equal(f->detail, "row 0, field y: symbol 3 of 3");

    set(f->in.class_name[0], "cow");
    set(f->in.class_name[1], "cat");
    f->in.classes = 2;
    ready(f);
    put_float(f, 0), put_long(f, 0), put_long(f, 2);
    assert_int_equal(decode(f), BAD_NONE);
    put_float(f, 0), put_long(f, 0), put_long(f, 1);
    assert_int_equal(decode(f), BAD_LABEL);
    assert_true(f->b.y[0] == 0);
    set(f->in.class_name[1], "cta");
    refused(f, true, "'cta' is no symbol of the enum that 'y' is");

    fields(f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"y\",\"type\":[\"string\",\"int\"]}");
    set(f->in.class_name[1], "7");
    ready(f);
    put_float(f, 0), put_long(f, 0), put_text(f, "7.0");
    assert_int_equal(decode(f), BAD_NONE);
    put_float(f, 0), put_long(f, 1), put_long(f, 7);
    assert_int_equal(decode(f), BAD_NONE);
    assert_true(f->b.y[0] == 1 && f->b.y[1] == 1);
    put_float(f, 0), put_long(f, 0), put_text(f, "bull");
    assert_int_equal(decode(f), BAD_LABEL);
    assert_string_equal(f->detail, "row 0, field y: no class 'bull'");
    f->in.classes = 0;
    refused(f, true, "input.classes is missing");
}

static void numeric_labels_obey_the_limit(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"y\",\"type\":\"float\"},{\"name\":\"x\",\"type\":\"float\"}");
    set(f->in.label, "y");
    ready(f);
    codec_avro.label_limit(f->self, 3);
    put_float(f, 2), put_float(f, 0);
    assert_int_equal(decode(f), BAD_NONE);
    put_float(f, 3), put_float(f, 0);
    assert_int_equal(decode(f), BAD_LABEL);
    assert_string_equal(f->detail, "row 0, field y: no class 3");
    put_float(f, NAN), put_float(f, 0);
    assert_int_equal(decode(f), BAD_LABEL);
}

static void arrays_take_their_width_from_job_or_sample(void **state)
{
    struct fixture *f = *state;

    fields(
        f,
        "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}},"
        "{\"name\":\"g\",\"type\":[\"null\",{\"type\":\"array\",\"items\":[\"null\",\"int\"]}]}");
    assert_int_equal(open_codec(f, false), ST_AGAIN);
    put_floats(f, 4, 1);
    put_long(f, 1);
    put_long(f, -2), put_long(f, 4);
    put_long(f, 1), put_long(f, 5), put_long(f, 1), put_long(f, 6);
    put_long(f, 0);
    ready(f);
    assert_int_equal(f->out.columns, 6);

    put_long(f, 1), put_float(f, 1); /* in blocks of 1, 2 (with its size) and 1 */
    put_long(f, -2), put_long(f, 8), put_float(f, 2), put_float(f, 3);
    put_long(f, 1), put_float(f, 4);
    put_long(f, 0);
    put_long(f, 1), put_long(f, 2);
    put_long(f, 1), put_long(f, -5), put_long(f, 1), put_long(f, 6);
    put_long(f, 0);
    assert_int_equal(decode(f), BAD_NONE);
    row_is(f, 0, (float[]){1, 2, 3, 4, -5, 6});

    put_floats(f, 5, 1);
    assert_int_equal(decode(f), BAD_WIDTH);
    assert_string_equal(f->detail, "row 0, field f: 5 values, 4 are needed");
    put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_WIDTH);
    put_floats(f, 0, 1);
    assert_int_equal(decode(f), BAD_WIDTH);
    put_floats(f, 4, 1), put_long(f, 1);
    put_long(f, 2), put_long(f, 1), put_long(f, 5), put_long(f, 0), put_long(f, 0);
    assert_int_equal(decode(f), BAD_MISSING);
    put_floats(f, 4, 1), put_long(f, 1); /* a block that is shorter than it says */
    put_long(f, -2), put_long(f, 5);
    put_long(f, 1), put_long(f, 5), put_long(f, 1), put_long(f, 6), put_long(f, 0);
    assert_int_equal(decode(f), BAD_VALUE);

    put_floats(f, 4, 1), put_long(f, 0); /* a sample without g */
    refused(f, false, "has no usable 'g'");
    put_long(f, 7);
    refused(f, false, "the first record is not of this schema");
    f->n = 0;
    f->in.width = 3;
    ready(f);
    assert_int_equal(f->out.columns, 6);
}

static void not_finite_is_found_wherever_it_stands(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"b\",\"type\":\"float\"},"
              "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}},"
              "{\"name\":\"d\",\"type\":\"double\"}");
    feature(f, "a", 0);
    feature(f, "b", 0);
    feature(f, "f", 37);
    feature(f, "d", 0);
    ready(f);
    for (uint32_t i = 0; i < 40; i++)
        for (uint32_t k = 0; k < 4; k++) {
            const float bad[] = {NAN, -INFINITY, INFINITY, 3.4e38f};
            char want[32];

            for (uint32_t c = 0; c < 40; c++) {
                if (c == 2)
                    put_long(f, 37);
                if (c == 39) {
                    put_long(f, 0);
                    put_double(f, i == 39 ? (k == 3 ? 1e39 : (double)bad[k]) : 1);
                } else {
                    put_float(f, c == i ? bad[k] : 1);
                }
            }
            assert_int_equal(decode(f), k == 3 && i < 39 ? BAD_NONE : BAD_NONFINITE);
            snprintf(want, sizeof want, "field f[%u]: ", i - 2);
            if (i > 1 && i < 39 && k < 3)
                assert_non_null(strstr(f->detail, want));
            if (i == 1 && k < 3)
                assert_non_null(strstr(f->detail, "field b: "));
        }
}

static void packed_floats_are_columns(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"p\",\"type\":\"bytes\"},{\"name\":\"q\",\"type\":{\"type\":\"fixed\","
              "\"name\":\"F\",\"size\":8}},{\"name\":\"x\",\"type\":\"float\"}");
    feature(f, "p", 2);
    feature(f, "q", 0);
    ready(f);
    assert_int_equal(f->out.columns, 4);
    put_long(f, 8), put_float(f, 1), put_float(f, 2), put_float(f, 3), put_float(f, 4);
    put_float(f, NAN); /* not a feature: not looked at */
    assert_int_equal(decode(f), BAD_NONE);
    row_is(f, 0, (float[]){1, 2, 3, 4});
    put_long(f, 4), put_float(f, 1);
    assert_int_equal(decode(f), BAD_WIDTH);
    f->in.feature[1].width = 3;
    refused(f, false, "'q' is fixed of 8 bytes");
    f->in.feature[0].width = f->in.feature[1].width = 0;
    refused(f, false, "say how many float32");
}

static void pairs_of_indices_and_values_are_sparse_rows(void **state)
{
    struct fixture *f = *state;

    fields(f,
           "{\"name\":\"y\",\"type\":\"float\"},{\"name\":\"values\",\"type\":{\"type\":\"array\","
           "\"items\":\"double\"}},{\"name\":\"indices\",\"type\":{\"type\":\"array\",\"items\":"
           "\"int\"}},{\"name\":\"other\",\"type\":\"int\"}");
    set(f->in.label, "y");
    refused(f, true, "input.width is missing");
    f->in.width = 100;
    ready(f);
    assert_true(f->out.shape.sparse && f->out.columns == 100);
    name_is(f, 7, "7");
    put_float(f, 1);
    put_long(f, 2), put_double(f, 0.5), put_double(f, 1.5), put_long(f, 0);
    put_long(f, 1), put_long(f, 3), put_long(f, -1), put_long(f, 2), put_long(f, 99),
        put_long(f, 0);
    put_long(f, 4);
    assert_int_equal(decode(f), BAD_NONE);
    put_float(f, 0), put_long(f, 0), put_long(f, 0), put_long(f, 4);
    assert_int_equal(decode(f), BAD_NONE);
    assert_memory_equal(f->b.ptr, ((uint32_t[]){0, 2, 2}), 12);
    assert_memory_equal(f->b.col, ((uint32_t[]){3, 99}), 8);
    assert_memory_equal(f->b.val, ((float[]){0.5f, 1.5f}), 8);

    for (int k = 0; k < 4; k++) {
        static const int64_t bad[4][2] = {{3, 3}, {3, 2}, {3, 100}, {-1, 3}};

        put_float(f, 1);
        put_long(f, 2), put_double(f, 1), put_double(f, 1), put_long(f, 0);
        put_long(f, 2), put_long(f, bad[k][0]), put_long(f, bad[k][1]), put_long(f, 0);
        put_long(f, 4);
        assert_int_equal(decode(f), BAD_INDEX);
    }
    put_float(f, 1);
    put_long(f, 1), put_double(f, 1), put_long(f, 0), put_long(f, 0), put_long(f, 4);
    assert_int_equal(decode(f), BAD_WIDTH);
    assert_string_equal(f->detail, "row 0: 1 values, 0 are needed");
    put_float(f, 1), put_long(f, 1), put_double(f, NAN);
    assert_int_equal(decode(f), BAD_NONFINITE);
    f->b.s.nnz_max = 3;
    put_float(f, 1), put_long(f, 2), put_double(f, 1), put_double(f, 1);
    assert_int_equal(decode(f), BAD_FULL);
    block_clear(&f->b);
    f->b.s.nnz_max = 1;
    put_float(f, 1), put_long(f, 2), put_double(f, 1), put_double(f, 1);
    assert_int_equal(decode(f), BAD_TOO_MANY);
}

static void put_rows(struct fixture *f, uint32_t n, float first)
{
    if (n)
        put_long(f, n);
    for (uint32_t i = 0; i < n; i++) {
        put_float(f, first + (float)i);
        put_floats(f, 2, (float)i);
    }
    put_long(f, 0);
}

static const char row_type[] =
    "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"Row\",\"fields\":[{\"name\":"
    "\"y\","
    "\"type\":\"float\"},{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}}]}}";

static void a_message_may_hold_many_rows(void **state)
{
    struct fixture *f = *state;
    char text[1024];

    set(f->in.label, "y");
    for (int top = 0; top < 2; top++) {
        snprintf(text, sizeof text,
                 "{\"name\":\"sent\",\"type\":\"long\"},{\"name\":\"rows\",\"type\":%s},{\"name\":"
                 "\"by\",\"type\":\"string\"}",
                 row_type);
        if (top)
            schema(f, row_type);
        else
            fields(f, text);
        if (!top)
            put_long(f, 77);
        put_rows(f, 3, 10);
        if (!top)
            put_text(f, "me");
        ready(f);
        assert_int_equal(f->out.columns, 2);
        for (uint32_t i = 0; i < 3; i++) {
            if (!top)
                put_long(f, 77);
            put_rows(f, i == 1 ? 0 : 3, 10);
            if (!top)
                put_text(f, "me");
            assert_int_equal(decode(f), BAD_NONE);
        }
        assert_int_equal(f->b.n, 6);
        row_is(f, 5, (float[]){2, 3});
        assert_true(f->b.y[5] == 12 && f->b.rid[5] == (5 << 16 | 2));
    }
    put_rows(f, BLOCK_ROWS - 5, 0);
    assert_int_equal(decode(f), BAD_FULL);
    put_rows(f, BLOCK_ROWS - 6, 0);
    assert_int_equal(decode(f), BAD_NONE);
    assert_int_equal(f->b.n, BLOCK_ROWS);
    block_clear(&f->b);
    put_rows(f, BLOCK_ROWS + 1, 0);
    assert_int_equal(decode(f), BAD_TOO_MANY);
    put_long(f, 2), put_float(f, 1), put_floats(f, 2, 0), put_float(f, 1), put_floats(f, 3, 0);
    put_long(f, 0);
    assert_int_equal(decode(f), BAD_WIDTH);
    assert_string_equal(f->detail, "row 1, field f: 3 values, 2 are needed");
}

static void key_and_time_come_from_fields_or_from_the_record(void **state)
{
    struct fixture *f = *state;
    uint8_t seven[8] = {7};

    fields(f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"k\",\"type\":[\"string\",\"long\"]},"
              "{\"name\":\"t\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}}");
    feature(f, "x", 0);
    set(f->in.key, "k");
    set(f->in.time, "t");
    ready(f);
    put_float(f, 1), put_long(f, 0), put_text(f, "abc"), put_long(f, 1700000000123456);
    assert_int_equal(decode(f), BAD_NONE);
    put_float(f, 1), put_long(f, 1), put_long(f, 7), put_long(f, -1);
    assert_int_equal(decode(f), BAD_NONE);
    assert_true(f->b.key[0] == hash64("abc", 3, 0) && f->b.key[1] == hash64(seven, 8, 0));
    assert_true(f->b.ts_ms[0] == 1700000000123);

    f->in.key[0] = f->in.time[0] = 0;
    assert_int_equal(open_codec(f, false), ST_OK);
    f->out.shape.keyed = f->out.shape.timed = true; /* an algorithm wants them */
    block_fini(&f->b);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
    put_float(f, 1), put_long(f, 0), put_text(f, "abc"), put_long(f, 5);
    assert_int_equal(decode(f), BAD_NONE);
    assert_true(f->b.key[0] == hash64("key", 3, 0) && f->b.ts_ms[0] == 1234);
}

static void put_frame(struct fixture *f, uint8_t id)
{
    f->m[f->n++] = 0;
    for (int i = 0; i < 3; i++)
        f->m[f->n++] = 0;
    f->m[f->n++] = id;
}

static void the_registry_prefix_is_accepted(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"y\",\"type\":\"float\"},{\"name\":\"f\",\"type\":{\"type\":\"array\","
              "\"items\":\"float\"}}");
    set(f->in.label, "y");
    put_frame(f, 9), put_float(f, 0), put_floats(f, 3, 1);
    ready(f); /* the sample has the prefix, and the width is found behind it */
    assert_int_equal(f->out.columns, 3);
    put_frame(f, 9), put_float(f, 1), put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_NONE);
    put_float(f, 0.1f), put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_FRAMING);
    assert_non_null(strstr(f->detail, "no schema id"));
    put_frame(f, 8), put_float(f, 1), put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_FRAMING);
    assert_non_null(strstr(f->detail, "schema id 8, but the topic began with 9"));
    put_text(f, "Obj");
    memcpy(f->m, "Obj\1", 4);
    assert_int_equal(decode(f), BAD_FRAMING);
    assert_non_null(strstr(f->detail, "an Avro file?"));
    put_frame(f, 9), put_float(f, 1), put_floats(f, 2, 1);
    assert_int_equal(decode(f), BAD_WIDTH);

    put_float(f, 0), put_floats(f, 3, 1);
    ready(f); /* the sample has none */
    put_frame(f, 9), put_float(f, 0), put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_TRUNCATED);
    put_float(f, 0), put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_NONE);
    row_is(f, 0, (float[]){1, 2, 3});
}

static void without_a_sample_the_first_value_of_the_form_decides(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}}");
    f->in.width = 3;
    ready(f);
    put_text(f, "no Avro"); /* says nothing */
    assert_int_equal(decode(f), BAD_TRUNCATED);
    put_frame(f, 9), put_floats(f, 2, 1); /* bad, but the prefix is seen */
    assert_int_equal(decode(f), BAD_WIDTH);
    put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_FRAMING);
    put_frame(f, 9), put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_NONE);
    ready(f);
    put_floats(f, 3, NAN);
    assert_int_equal(decode(f), BAD_NONFINITE);
    put_frame(f, 9), put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_WIDTH);
    put_floats(f, 3, 1);
    assert_int_equal(decode(f), BAD_NONE);
}

static void what_is_too_short_or_too_long_is_told_apart(void **state)
{
    struct fixture *f = *state;

    fields(f, "{\"name\":\"s\",\"type\":\"string\"},{\"name\":\"f\",\"type\":{\"type\":\"array\","
              "\"items\":\"float\"}},{\"name\":\"i\",\"type\":\"int\"}");
    feature(f, "f", 2);
    feature(f, "i", 0);
    ready(f);
    put_long(f, 1000000000); /* a 5-byte message that claims 1 GB */
    assert_int_equal(decode(f), BAD_TOO_LONG);
    assert_string_equal(f->detail,
                        "row 0, field s: claims a length of 1000000000, 0 bytes are left");
    put_long(f, -1);
    assert_int_equal(decode(f), BAD_TOO_LONG);
    put_long(f, 10);
    assert_int_equal(decode(f), BAD_TRUNCATED);
    assert_int_equal(decode(f), BAD_TRUNCATED); /* nothing at all */
    put_text(f, ""), put_long(f, INT64_MIN);
    assert_int_equal(decode(f), BAD_TRUNCATED); /* the size of the block is not there */
    put_text(f, ""), put_long(f, INT64_MIN), put_long(f, 0);
    assert_int_equal(decode(f), BAD_TOO_LONG);
    put_text(f, ""), put_long(f, -2), put_long(f, INT64_MAX);
    assert_int_equal(decode(f), BAD_TOO_LONG);
    put_text(f, ""), put_long(f, 2), put_float(f, 1);
    assert_int_equal(decode(f), BAD_TRUNCATED);
    put_text(f, ""), put_floats(f, 2, 1), put_long(f, (int64_t)INT32_MAX + 1);
    assert_int_equal(decode(f), BAD_VALUE);
    put_text(f, ""), put_floats(f, 2, 1), put_long(f, INT32_MAX), put_long(f, 0);
    assert_int_equal(decode(f), BAD_TRAILING);
    assert_string_equal(f->detail, "row 0: 1 bytes behind the last value");
    put_text(f, ""), put_floats(f, 2, 1);
    memset(f->m + f->n, 0xff, 11), f->n += 11;
    assert_int_equal(decode(f), BAD_VALUE);
    put_text(f, ""), put_floats(f, 2, 1);
    memset(f->m + f->n, 0x80, 9), f->m[f->n + 9] = 2, f->n += 10; /* bit 64 */
    assert_int_equal(decode(f), BAD_VALUE);
    put_text(f, ""), put_floats(f, 2, 1);
    memset(f->m + f->n, 0x80, 3), f->n += 3;
    assert_int_equal(decode(f), BAD_TRUNCATED);
}

/* Counts of things that take no bytes must cost nothing; recursion must end. */
static void hostile_messages_cost_no_time_and_no_stack(void **state)
{
    struct fixture *f = *state;

    fields(f,
           "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"z\",\"type\":{\"type\":\"array\","
           "\"items\":\"null\"}},{\"name\":\"e\",\"type\":{\"type\":\"array\",\"items\":{\"type\":"
           "\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"n\",\"type\":\"null\"}]}}},"
           "{\"name\":\"next\",\"type\":[\"null\",\"R\"]}");
    feature(f, "x", 0);
    ready(f);
    put_float(f, 1), put_long(f, INT64_MAX), put_long(f, 0);
    put_long(f, (int64_t)1 << 40), put_long(f, 0), put_long(f, 0);
    assert_int_equal(decode(f), BAD_NONE);
    for (int depth = 0; depth < 10000; depth++)
        put_float(f, 1), put_long(f, 0), put_long(f, 0), put_long(f, 1);
    assert_int_equal(decode(f), BAD_TOO_LONG);
    assert_string_equal(f->detail, "row 0, field R: nested deeper than 64");
    for (int depth = 0; depth < 60; depth++)
        put_float(f, 1), put_long(f, 0), put_long(f, 0), put_long(f, depth < 59);
    assert_int_equal(decode(f), BAD_NONE);

    fields(f,
           "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"t\",\"type\":{\"type\":\"record\","
           "\"name\":"
           "\"T\",\"fields\":[{\"name\":\"l\",\"type\":\"T\"},{\"name\":\"r\",\"type\":\"T\"}]}}");
    ready(f); /* a type without an end has no values */
    put_float(f, 1);
    assert_int_equal(decode(f), BAD_TOO_LONG);
}

static void repeated_types_do_not_blow_up_the_plan(void **state)
{
    struct fixture *f = *state;
    char text[16384] = "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"x\",\"type\":"
                       "\"float\"}";
    size_t n = strlen(text);

    for (int i = 0; i < 40; i++) { /* T39 holds two T38, each of them two T37, ... */
        n += (size_t)snprintf(text + n, sizeof text - n,
                              ",{\"name\":\"f%d\",\"type\":{\"type\":"
                              "\"record\",\"name\":\"T%d\",\"fields\":[",
                              i, i);
        for (int k = 0; k < 2 && i; k++)
            n += (size_t)snprintf(text + n, sizeof text - n,
                                  "%s{\"name\":\"c%d\",\"type\":\"T%d\"}", k ? "," : "", k, i - 1);
        if (!i)
            n +=
                (size_t)snprintf(text + n, sizeof text - n, "{\"name\":\"s\",\"type\":\"string\"}");
        n += (size_t)snprintf(text + n, sizeof text - n, "]}}");
    }
    snprintf(text + n, sizeof text - n, "]}");
    schema(f, text);
    feature(f, "x", 0);
    ready(f);
    put_float(f, 1);
    for (int i = 0; i < 1000; i++)
        put_text(f, "");
    assert_int_equal(decode(f), BAD_TRUNCATED);
    f->in.features = 0;
    refused(f, false, "too large; list input.features");
}

static void wrong_jobs_are_refused_with_field_and_remedy(void **state)
{
    struct fixture *f = *state;

    refused(f, false, "input.schema is missing");
    set(f->in.schema, "/nowhere/x.avsc");
    refused(f, false, "schema /nowhere/x.avsc: No such file or directory");
    f->in.schema[0] = 0;
    schema(f, "{\"type\":\"record\"");
    refused(f, false, "Error parsing JSON");
    schema(f,
           "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"x\",\"type\":\"flot\"}]}");
    refused(f, false, "Unknown Avro \"type\": flot");
    schema(f, "\"float\"");
    refused(f, false, "its type is float");
    fields(f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"x\",\"type\":\"int\"}");
    refused(f, false, "record 'R' has two fields 'x'");
    fields(f, "{\"name\":\"s\",\"type\":\"string\"}");
    refused(f, false, "no number that is left");
    fields(f, "{\"name\":\"price\",\"type\":\"float\"},{\"name\":\"name\",\"type\":\"string\"},"
              "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}");
    refused(f, true, "needs a label");
    set(f->in.label, "prise");
    refused(f, true, "input.label: the schema has no field 'prise'; did you mean 'price'?");
    assert_int_equal(open_codec(f, false), ST_OK); /* not needed, not there */
    assert_int_equal(f->out.shape.ny, 0);
    set(f->in.label, "zzz");
    refused(f, true, "the schema has no field 'zzz'; it has price, name, f");
    set(f->in.label, "price");
    feature(f, "price", 0);
    refused(f, true, "'price' has another use");
    set(f->in.feature[0].name, "name");
    refused(f, true, "'name' is of type string; a number or an array of numbers is needed");
    set(f->in.feature[0].name, "f");
    refused(f, true, "'f' is of type array");
    set(f->in.label, "name");
    set(f->in.feature[0].name, "price");
    f->in.feature[0].width = 4;
    f->in.classes = 1;
    refused(f, true, "'price' is one number, not 4");
    set(f->in.weight, "name");
    refused(f, true, "input.weight: 'name' is of type string");
}

static void the_fingerprint_is_of_what_is_read(void **state)
{
    struct fixture *f = *state;
    static const char a[] = "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"b\",\"type\":\"int\"}";
    uint64_t first;

    fields(f, a);
    ready(f);
    first = f->out.fingerprint;
    fields(f, "{ \"name\": \"a\", \"doc\": \"same\", \"type\" "
              ":\"float\"},\n{\"name\":\"b\",\"type\":\"int\"}");
    ready(f);
    assert_true(f->out.fingerprint == first);
    fields(f, "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"b\",\"type\":\"long\"}");
    ready(f);
    assert_true(f->out.fingerprint != first);
    fields(f, a);
    feature(f, "b", 0);
    feature(f, "a", 0);
    ready(f);
    assert_true(f->out.fingerprint != first);
    set(f->in.feature[0].name, "a");
    set(f->in.feature[1].name, "b");
    ready(f);
    assert_true(f->out.fingerprint == first);
    f->in.features = 1;
    ready(f);
    assert_true(f->out.fingerprint != first);
}

#define AVRO_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AVRO_TEST(every_other_number_is_a_column),
        AVRO_TEST(features_are_taken_in_the_order_of_the_job),
        AVRO_TEST(nulls_take_the_default_or_are_missing),
        AVRO_TEST(a_null_record_is_missing),
        AVRO_TEST(labels_may_be_symbols_or_text),
        AVRO_TEST(numeric_labels_obey_the_limit),
        AVRO_TEST(arrays_take_their_width_from_job_or_sample),
        AVRO_TEST(not_finite_is_found_wherever_it_stands),
        AVRO_TEST(packed_floats_are_columns),
        AVRO_TEST(pairs_of_indices_and_values_are_sparse_rows),
        AVRO_TEST(a_message_may_hold_many_rows),
        AVRO_TEST(key_and_time_come_from_fields_or_from_the_record),
        AVRO_TEST(the_registry_prefix_is_accepted),
        AVRO_TEST(without_a_sample_the_first_value_of_the_form_decides),
        AVRO_TEST(what_is_too_short_or_too_long_is_told_apart),
        AVRO_TEST(hostile_messages_cost_no_time_and_no_stack),
        AVRO_TEST(repeated_types_do_not_blow_up_the_plan),
        AVRO_TEST(wrong_jobs_are_refused_with_field_and_remedy),
        AVRO_TEST(the_fingerprint_is_of_what_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
