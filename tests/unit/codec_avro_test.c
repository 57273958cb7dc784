/* Where the values of a message go. */
#include "support_avro.h"

#include <math.h>
#include <string.h>

static void every_other_number_is_a_column(void **state)
{
    struct fixture *f = *state;

    av_fields(
        f, "{\"name\":\"id\",\"type\":\"string\"},{\"name\":\"a\",\"type\":\"float\"},"
           "{\"name\":\"b\",\"type\":\"float\"},{\"name\":\"y\",\"type\":\"int\"},"
           "{\"name\":\"c\",\"type\":\"double\"},{\"name\":\"d\",\"type\":\"long\"},"
           "{\"name\":\"raw\",\"type\":\"bytes\"},{\"name\":\"e\",\"type\":\"boolean\"},"
           "{\"name\":\"n\",\"type\":{\"type\":\"record\",\"name\":\"N\",\"fields\":["
           "{\"name\":\"x\",\"type\":\"int\"},{\"name\":\"w\",\"type\":\"float\"}]}},"
           "{\"name\":\"color\",\"type\":{\"type\":\"enum\",\"name\":\"C\",\"symbols\":[\"R\"]}},"
           "{\"name\":\"tags\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}");
    av_set(f->in.label, "y");
    av_set(f->in.weight, "n.w");
    av_ready(f);
    assert_int_equal(f->out.columns, 6);
    av_name_is(f, 0, "a");
    av_name_is(f, 5, "n.x");
    av_text(f, "some id");
    av_float(f, 1.5f);
    av_float(f, -2);
    av_long(f, -3);
    av_double(f, 0.1);
    av_long(f, (int64_t)1 << 40);
    av_text(f, "\x01\x02");
    f->m[f->n++] = 1;
    av_long(f, INT32_MIN);
    av_float(f, 0.25f);
    av_long(f, 0);
    av_long(f, 2);
    av_text(f, "p");
    av_text(f, "q");
    av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){1.5f, -2, 0.1f, 1099511627776.0f, 1, -2147483648.0f});
    assert_true(f->b.y[0] == -3 && f->b.weight[0] == 0.25f && f->b.rid[0] == 5 << 16);
}

static void features_are_taken_in_the_order_of_the_job(void **state)
{
    struct fixture *f = *state;

    av_fields(
        f,
        "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"p\",\"type\":{\"type\":\"array\","
        "\"items\":\"float\"}},{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"double\"}},"
        "{\"name\":\"color\",\"type\":{\"type\":\"enum\",\"name\":\"C\",\"symbols\":[\"R\",\"G\"]}"
        "}");
    av_feature(f, "m.zoom", 0);
    av_feature(f, "color", 0);
    av_feature(f, "p", 3);
    av_feature(f, "m.big.one", 0);
    av_ready(f);
    assert_int_equal(f->out.columns, 6);
    av_name_is(f, 0, "m.zoom");
    av_name_is(f, 4, "p[2]");
    av_float(f, 9);
    av_floats(f, 3, 1);
    av_long(f, 3);
    av_text(f, "zoom");
    av_double(f, 7);
    av_text(f, "other");
    av_double(f, NAN);
    av_text(f, "big.one");
    av_double(f, 8);
    av_long(f, 0);
    av_long(f, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){7, 1, 1, 2, 3, 8});

    av_float(f, 9); /* a key is missing */
    av_floats(f, 3, 1);
    av_long(f, 1);
    av_text(f, "zoom");
    av_double(f, 7);
    av_long(f, 0);
    av_long(f, 1);
    assert_int_equal(av_decode(f), BAD_MISSING);
    assert_string_equal(f->detail, "row 0, field m: no value for key big.one");

    av_float(f, 9); /* a key comes twice */
    av_floats(f, 3, 1);
    av_long(f, 2);
    av_text(f, "zoom");
    av_double(f, 7);
    av_text(f, "zoom");
    av_double(f, 7);
    assert_int_equal(av_decode(f), BAD_VALUE);
    assert_non_null(strstr(f->detail, "key 'zoom' is there twice"));
}

static void nulls_take_the_default_or_are_missing(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"a\",\"type\":[\"null\",\"float\"],\"default\":null},"
                 "{\"name\":\"b\",\"type\":[\"double\",\"null\"],\"default\":-1.5},"
                 "{\"name\":\"c\",\"type\":[\"null\",\"int\",\"string\"]},"
                 "{\"name\":\"w\",\"type\":[\"float\",\"null\"],\"default\":3},"
                 "{\"name\":\"y\",\"type\":[\"null\",\"boolean\"]}");
    av_feature(f, "a", 0);
    av_feature(f, "b", 0);
    av_feature(f, "c", 0);
    av_set(f->in.label, "y");
    av_set(f->in.weight, "w");
    av_ready(f);
    av_long(f, 1), av_float(f, 2);
    av_long(f, 1);
    av_long(f, 1), av_long(f, 4);
    av_long(f, 1);
    av_long(f, 1), f->m[f->n++] = 1;
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){2, -1.5f, 4});
    assert_true(f->b.weight[0] == 3 && f->b.y[0] == 1);

    av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_MISSING);
    assert_string_equal(f->detail, "row 0, field a: no value");
    av_long(f, 1), av_float(f, 2);
    av_long(f, 1);
    av_long(f, 2), av_text(f, "4");
    assert_int_equal(av_decode(f), BAD_VALUE);
    av_long(f, 1), av_float(f, 2);
    av_long(f, 1);
    av_long(f, 1), av_long(f, 4);
    av_long(f, 1);
    av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_LABEL);
    assert_string_equal(f->detail, "row 0, field y: the label is null");
    av_long(f, 2);
    assert_int_equal(av_decode(f), BAD_VALUE);
    assert_string_equal(f->detail, "row 0, field a: branch 2 of 2");
}

static void a_null_record_is_missing(void **state)
{
    struct fixture *f = *state;

    av_fields(f,
              "{\"name\":\"p\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"P\",\"fields\":["
              "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"y\",\"type\":\"float\"}]},"
              "{\"type\":\"record\",\"name\":\"Q\",\"fields\":[{\"name\":\"y\",\"type\":\"int\"},"
              "{\"name\":\"x\",\"type\":\"int\"}]},{\"type\":\"record\",\"name\":\"O\",\"fields\":["
              "{\"name\":\"x\",\"type\":\"int\"}]}]}");
    av_ready(f);
    assert_int_equal(f->out.columns, 2);
    av_long(f, 1), av_float(f, 1), av_float(f, 2);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_long(f, 2), av_long(f, 3), av_long(f, 4);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){1, 2});
    av_row_is(f, 1, (float[]){4, 3});
    av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_MISSING);
    av_long(f, 3), av_long(f, 4);
    assert_int_equal(av_decode(f), BAD_MISSING);
}

static void labels_may_be_symbols_or_text(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"y\",\"type\":[{\"type\":\"enum\","
                 "\"name\":\"E\",\"symbols\":[\"cat\",\"dog\",\"cow\"]},\"null\"]}");
    av_set(f->in.label, "y");
    av_ready(f);
    assert_int_equal(f->out.classes, 3);
    assert_string_equal(f->out.class_name[2], "cow");
    av_float(f, 0), av_long(f, 0), av_long(f, 2);
    assert_int_equal(av_decode(f), BAD_NONE);
    assert_true(f->b.y[0] == 2);
    av_float(f, 0), av_long(f, 0), av_long(f, 3);
    assert_int_equal(av_decode(f), BAD_VALUE);
    assert_string_equal(f->detail, "row 0, field y: symbol 3 of 3");

    av_set(f->in.class_name[0], "cow");
    av_set(f->in.class_name[1], "cat");
    f->in.classes = 2;
    av_ready(f);
    av_float(f, 0), av_long(f, 0), av_long(f, 2);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_float(f, 0), av_long(f, 0), av_long(f, 1);
    assert_int_equal(av_decode(f), BAD_LABEL);
    assert_true(f->b.y[0] == 0);
    av_set(f->in.class_name[1], "cta");
    av_refused(f, true, "'cta' is no symbol of the enum that 'y' is");

    av_fields(f,
              "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"y\",\"type\":[\"string\",\"int\"]}");
    av_set(f->in.class_name[1], "7");
    av_ready(f);
    av_float(f, 0), av_long(f, 0), av_text(f, "7.0");
    assert_int_equal(av_decode(f), BAD_NONE);
    av_float(f, 0), av_long(f, 1), av_long(f, 7);
    assert_int_equal(av_decode(f), BAD_NONE);
    assert_true(f->b.y[0] == 1 && f->b.y[1] == 1);
    av_float(f, 0), av_long(f, 0), av_text(f, "bull");
    assert_int_equal(av_decode(f), BAD_LABEL);
    assert_string_equal(f->detail, "row 0, field y: no class 'bull'");
    f->in.classes = 0;
    av_refused(f, true, "input.classes is missing");
}

static void numeric_labels_obey_the_limit(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"y\",\"type\":\"float\"},{\"name\":\"x\",\"type\":\"float\"}");
    av_set(f->in.label, "y");
    av_ready(f);
    codec_avro.label_limit(f->self, 3);
    av_float(f, 2), av_float(f, 0);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_float(f, 3), av_float(f, 0);
    assert_int_equal(av_decode(f), BAD_LABEL);
    assert_string_equal(f->detail, "row 0, field y: no class 3");
    av_float(f, NAN), av_float(f, 0);
    assert_int_equal(av_decode(f), BAD_LABEL);
}

static void not_finite_is_found_wherever_it_stands(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"b\",\"type\":\"float\"},"
                 "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}},"
                 "{\"name\":\"d\",\"type\":\"double\"}");
    av_feature(f, "a", 0);
    av_feature(f, "b", 0);
    av_feature(f, "f", 37);
    av_feature(f, "d", 0);
    av_ready(f);
    for (uint32_t i = 0; i < 40; i++)
        for (uint32_t k = 0; k < 4; k++) {
            const float bad[] = {NAN, -INFINITY, INFINITY, 3.4e38f};
            char want[32];

            for (uint32_t c = 0; c < 40; c++) {
                if (c == 2)
                    av_long(f, 37);
                if (c == 39) {
                    av_long(f, 0);
                    av_double(f, i == 39 ? (k == 3 ? 1e39 : (double)bad[k]) : 1);
                } else {
                    av_float(f, c == i ? bad[k] : 1);
                }
            }
            assert_int_equal(av_decode(f), k == 3 && i < 39 ? BAD_NONE : BAD_NONFINITE);
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

    av_fields(f, "{\"name\":\"p\",\"type\":\"bytes\"},{\"name\":\"q\",\"type\":{\"type\":\"fixed\","
                 "\"name\":\"F\",\"size\":8}},{\"name\":\"x\",\"type\":\"float\"}");
    av_feature(f, "p", 2);
    av_feature(f, "q", 0);
    av_ready(f);
    assert_int_equal(f->out.columns, 4);
    av_long(f, 8), av_float(f, 1), av_float(f, 2), av_float(f, 3), av_float(f, 4);
    av_float(f, NAN); /* not a feature: not looked at */
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){1, 2, 3, 4});
    av_long(f, 4), av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_WIDTH);
    f->in.feature[1].width = 3;
    av_refused(f, false, "'q' is fixed of 8 bytes");
    f->in.feature[0].width = f->in.feature[1].width = 0;
    av_refused(f, false, "say how many float32");
}

static void pairs_of_indices_and_values_are_sparse_rows(void **state)
{
    struct fixture *f = *state;

    av_fields(
        f, "{\"name\":\"y\",\"type\":\"float\"},{\"name\":\"values\",\"type\":{\"type\":\"array\","
           "\"items\":\"double\"}},{\"name\":\"indices\",\"type\":{\"type\":\"array\",\"items\":"
           "\"int\"}},{\"name\":\"other\",\"type\":\"int\"}");
    av_set(f->in.label, "y");
    av_refused(f, true, "input.width is missing");
    f->in.width = 100;
    av_ready(f);
    assert_true(f->out.shape.sparse && f->out.columns == 100);
    av_name_is(f, 7, "7");
    av_float(f, 1);
    av_long(f, 2), av_double(f, 0.5), av_double(f, 1.5), av_long(f, 0);
    av_long(f, 1), av_long(f, 3), av_long(f, -1), av_long(f, 2), av_long(f, 99), av_long(f, 0);
    av_long(f, 4);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_float(f, 0), av_long(f, 0), av_long(f, 0), av_long(f, 4);
    assert_int_equal(av_decode(f), BAD_NONE);
    assert_memory_equal(f->b.ptr, ((uint32_t[]){0, 2, 2}), 12);
    assert_memory_equal(f->b.col, ((uint32_t[]){3, 99}), 8);
    assert_memory_equal(f->b.val, ((float[]){0.5f, 1.5f}), 8);

    for (int k = 0; k < 4; k++) {
        static const int64_t bad[4][2] = {{3, 3}, {3, 2}, {3, 100}, {-1, 3}};

        av_float(f, 1);
        av_long(f, 2), av_double(f, 1), av_double(f, 1), av_long(f, 0);
        av_long(f, 2), av_long(f, bad[k][0]), av_long(f, bad[k][1]), av_long(f, 0);
        av_long(f, 4);
        assert_int_equal(av_decode(f), BAD_INDEX);
    }
    av_float(f, 1);
    av_long(f, 1), av_double(f, 1), av_long(f, 0), av_long(f, 0), av_long(f, 4);
    assert_int_equal(av_decode(f), BAD_WIDTH);
    assert_string_equal(f->detail, "row 0: 1 values, 0 are needed");
    av_float(f, 1), av_long(f, 1), av_double(f, NAN);
    assert_int_equal(av_decode(f), BAD_NONFINITE);
    f->b.s.nnz_max = 3;
    av_float(f, 1), av_long(f, 2), av_double(f, 1), av_double(f, 1);
    assert_int_equal(av_decode(f), BAD_FULL);
    block_clear(&f->b);
    f->b.s.nnz_max = 1;
    av_float(f, 1), av_long(f, 2), av_double(f, 1), av_double(f, 1);
    assert_int_equal(av_decode(f), BAD_TOO_MANY);
}

static void put_rows(struct fixture *f, uint32_t n, float first)
{
    if (n)
        av_long(f, n);
    for (uint32_t i = 0; i < n; i++) {
        av_float(f, first + (float)i);
        av_floats(f, 2, (float)i);
    }
    av_long(f, 0);
}

static const char row_type[] =
    "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"Row\",\"fields\":[{\"name\":"
    "\"y\","
    "\"type\":\"float\"},{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}}]}}";

static void a_message_may_hold_many_rows(void **state)
{
    struct fixture *f = *state;
    char text[1024];

    av_set(f->in.label, "y");
    for (int top = 0; top < 2; top++) {
        snprintf(text, sizeof text,
                 "{\"name\":\"sent\",\"type\":\"long\"},{\"name\":\"rows\",\"type\":%s},{\"name\":"
                 "\"by\",\"type\":\"string\"}",
                 row_type);
        if (top)
            av_schema(f, row_type);
        else
            av_fields(f, text);
        if (!top)
            av_long(f, 77);
        put_rows(f, 3, 10);
        if (!top)
            av_text(f, "me");
        av_ready(f);
        assert_int_equal(f->out.columns, 2);
        for (uint32_t i = 0; i < 3; i++) {
            if (!top)
                av_long(f, 77);
            put_rows(f, i == 1 ? 0 : 3, 10);
            if (!top)
                av_text(f, "me");
            assert_int_equal(av_decode(f), BAD_NONE);
        }
        assert_int_equal(f->b.n, 6);
        av_row_is(f, 5, (float[]){2, 3});
        assert_true(f->b.y[5] == 12 && f->b.rid[5] == (5 << 16 | 2));
    }
    put_rows(f, BLOCK_ROWS - 5, 0);
    assert_int_equal(av_decode(f), BAD_FULL);
    put_rows(f, BLOCK_ROWS - 6, 0);
    assert_int_equal(av_decode(f), BAD_NONE);
    assert_int_equal(f->b.n, BLOCK_ROWS);
    block_clear(&f->b);
    put_rows(f, BLOCK_ROWS + 1, 0);
    assert_int_equal(av_decode(f), BAD_TOO_MANY);
    av_long(f, 2), av_float(f, 1), av_floats(f, 2, 0), av_float(f, 1), av_floats(f, 3, 0);
    av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_WIDTH);
    assert_string_equal(f->detail, "row 1, field f: 3 values, 2 are needed");
}

static void key_and_time_come_from_fields_or_from_the_record(void **state)
{
    struct fixture *f = *state;
    uint8_t seven[8] = {7};

    av_fields(f,
              "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"k\",\"type\":[\"string\",\"long\"]},"
              "{\"name\":\"t\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}}");
    av_feature(f, "x", 0);
    av_set(f->in.key, "k");
    av_set(f->in.time, "t");
    av_ready(f);
    av_float(f, 1), av_long(f, 0), av_text(f, "abc"), av_long(f, 1700000000123456);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_float(f, 1), av_long(f, 1), av_long(f, 7), av_long(f, -1);
    assert_int_equal(av_decode(f), BAD_NONE);
    assert_true(f->b.key[0] == hash64("abc", 3, 0) && f->b.key[1] == hash64(seven, 8, 0));
    assert_true(f->b.ts_ms[0] == 1700000000123);

    f->in.key[0] = f->in.time[0] = 0;
    assert_int_equal(av_open(f, false), ST_OK);
    f->out.shape.keyed = f->out.shape.timed = true; /* an algorithm wants them */
    block_fini(&f->b);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
    av_float(f, 1), av_long(f, 0), av_text(f, "abc"), av_long(f, 5);
    assert_int_equal(av_decode(f), BAD_NONE);
    assert_true(f->b.key[0] == hash64("key", 3, 0) && f->b.ts_ms[0] == 1234);
}

static void missing_is(const struct fixture *f, uint32_t row, const char *want)
{
    for (uint32_t c = 0; c < f->b.s.d; c++) {
        float v = f->b.x[(size_t)row * f->b.s.ld + c];

        assert_true(want[c] == '-' ? isnan(v) : v == (float)(want[c] - '0'));
    }
}

/* Where the algorithm takes missing features: nulls, whatever their default; NaN; keys that are not
 * in a map; null arrays, items and records. Never infinity, nor a label or weight. */
static void features_may_be_missing(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"a\",\"type\":[\"null\",\"float\"],\"default\":null},"
                 "{\"name\":\"b\",\"type\":[\"double\",\"null\"],\"default\":5},"
                 "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"double\"}},"
                 "{\"name\":\"v\",\"type\":[\"null\",{\"type\":\"array\",\"items\":"
                 "[\"null\",\"double\"]}]},"
                 "{\"name\":\"r\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"P\","
                 "\"fields\":[{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"y\",\"type\":"
                 "\"float\"}]}]},"
                 "{\"name\":\"w\",\"type\":[\"float\",\"null\"]}");
    av_feature(f, "a", 0), av_feature(f, "b", 0), av_feature(f, "m.k", 0), av_feature(f, "v", 2);
    av_feature(f, "r.x", 0), av_feature(f, "r.y", 0);
    av_set(f->in.weight, "w");
    f->in.missing = true;
    av_ready(f);
    av_long(f, 1), av_float(f, 1), av_long(f, 0), av_double(f, 2); /* all there */
    av_long(f, 1), av_text(f, "k"), av_double(f, 3), av_long(f, 0);
    av_long(f, 1), av_long(f, 2), av_long(f, 1), av_double(f, 4), av_long(f, 1), av_double(f, 5);
    av_long(f, 0), av_long(f, 1), av_float(f, 6), av_float(f, 7), av_long(f, 0), av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    missing_is(f, 0, "1234567");
    av_long(f, 0), av_long(f, 1), av_long(f, 0), av_long(f, 0), av_long(f, 0); /* nothing is */
    av_long(f, 0), av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    missing_is(f, 1, "-------");
    av_long(f, 1), av_float(f, NAN), av_long(f, 0), av_double(f, NAN); /* NaN; an item; a key */
    av_long(f, 1), av_text(f, "q"), av_double(f, 3), av_long(f, 0);
    av_long(f, 1), av_long(f, 2), av_long(f, 0), av_long(f, 1), av_double(f, 5), av_long(f, 0);
    av_long(f, 1), av_float(f, 6), av_float(f, NAN), av_long(f, 0), av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    missing_is(f, 2, "----56-");

    av_long(f, 0), av_long(f, 1), av_long(f, 0), av_long(f, 1), av_long(f, 2); /* an item is NaN */
    av_long(f, 1), av_double(f, NAN), av_long(f, 0), av_long(f, 0), av_long(f, 0), av_long(f, 0);
    av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    missing_is(f, 3, "-------");

    av_long(f, 1), av_float(f, INFINITY);
    assert_int_equal(av_decode(f), BAD_NONFINITE);
    av_long(f, 0), av_long(f, 1), av_long(f, 0), av_long(f, 1), av_long(f, 2);
    av_long(f, 1), av_double(f, INFINITY);
    assert_int_equal(av_decode(f), BAD_NONFINITE);
    av_long(f, 0), av_long(f, 1), av_long(f, 0), av_long(f, 0), av_long(f, 0), av_long(f, 1);
    assert_int_equal(av_decode(f), BAD_MISSING);
    assert_string_equal(f->detail, "row 0, field w: no value");
    av_long(f, 0), av_long(f, 1), av_long(f, 0), av_long(f, 0), av_long(f, 0), av_long(f, 0);
    av_float(f, NAN);
    assert_int_equal(av_decode(f), BAD_NONFINITE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AVRO_TEST(every_other_number_is_a_column),
        AVRO_TEST(features_are_taken_in_the_order_of_the_job),
        AVRO_TEST(nulls_take_the_default_or_are_missing),
        AVRO_TEST(a_null_record_is_missing),
        AVRO_TEST(features_may_be_missing),
        AVRO_TEST(labels_may_be_symbols_or_text),
        AVRO_TEST(numeric_labels_obey_the_limit),
        AVRO_TEST(not_finite_is_found_wherever_it_stands),
        AVRO_TEST(packed_floats_are_columns),
        AVRO_TEST(pairs_of_indices_and_values_are_sparse_rows),
        AVRO_TEST(a_message_may_hold_many_rows),
        AVRO_TEST(key_and_time_come_from_fields_or_from_the_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
