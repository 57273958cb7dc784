/* What is settled at open, and messages that are not what they should be. */
#include "support_avro.h"

#include <math.h>
#include <string.h>

static void arrays_take_their_width_from_job_or_sample(void **state)
{
    struct fixture *f = *state;

    av_fields(
        f,
        "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}},"
        "{\"name\":\"g\",\"type\":[\"null\",{\"type\":\"array\",\"items\":[\"null\",\"int\"]}]}");
    assert_int_equal(av_open(f, false), ST_AGAIN);
    av_floats(f, 4, 1);
    av_long(f, 1);
    av_long(f, -2), av_long(f, 4);
    av_long(f, 1), av_long(f, 5), av_long(f, 1), av_long(f, 6);
    av_long(f, 0);
    av_ready(f);
    assert_int_equal(f->out.columns, 6);

    av_long(f, 1), av_float(f, 1); /* in blocks of 1, 2 (with its size) and 1 */
    av_long(f, -2), av_long(f, 8), av_float(f, 2), av_float(f, 3);
    av_long(f, 1), av_float(f, 4);
    av_long(f, 0);
    av_long(f, 1), av_long(f, 2);
    av_long(f, 1), av_long(f, -5), av_long(f, 1), av_long(f, 6);
    av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){1, 2, 3, 4, -5, 6});

    av_floats(f, 5, 1);
    assert_int_equal(av_decode(f), BAD_WIDTH);
    assert_string_equal(f->detail, "row 0, field f: 5 values, 4 are needed");
    av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_WIDTH);
    av_floats(f, 0, 1);
    assert_int_equal(av_decode(f), BAD_WIDTH);
    av_floats(f, 4, 1), av_long(f, 1);
    av_long(f, 2), av_long(f, 1), av_long(f, 5), av_long(f, 0), av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_MISSING);
    av_floats(f, 4, 1), av_long(f, 1); /* a block that is shorter than it says */
    av_long(f, -2), av_long(f, 5);
    av_long(f, 1), av_long(f, 5), av_long(f, 1), av_long(f, 6), av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_VALUE);

    av_floats(f, 4, 1), av_long(f, 0); /* a sample without g */
    av_refused(f, false, "has no usable 'g'");
    av_long(f, 7);
    av_refused(f, false, "the first record is not of this schema");
    f->n = 0;
    f->in.width = 3;
    av_ready(f);
    assert_int_equal(f->out.columns, 6);
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

    av_fields(f, "{\"name\":\"y\",\"type\":\"float\"},{\"name\":\"f\",\"type\":{\"type\":\"array\","
                 "\"items\":\"float\"}}");
    av_set(f->in.label, "y");
    put_frame(f, 9), av_float(f, 0), av_floats(f, 3, 1);
    av_ready(f); /* the sample has the prefix, and the width is found behind it */
    assert_int_equal(f->out.columns, 3);
    put_frame(f, 9), av_float(f, 1), av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_float(f, 0.1f), av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_FRAMING);
    assert_non_null(strstr(f->detail, "no schema id"));
    put_frame(f, 8), av_float(f, 1), av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_FRAMING);
    assert_non_null(strstr(f->detail, "schema id 8, but the topic began with 9"));
    av_text(f, "Obj");
    memcpy(f->m, "Obj\1", 4);
    assert_int_equal(av_decode(f), BAD_FRAMING);
    assert_non_null(strstr(f->detail, "an Avro file?"));
    put_frame(f, 9), av_float(f, 1), av_floats(f, 2, 1);
    assert_int_equal(av_decode(f), BAD_WIDTH);

    av_float(f, 0), av_floats(f, 3, 1);
    av_ready(f); /* the sample has none */
    put_frame(f, 9), av_float(f, 0), av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_TRUNCATED);
    av_float(f, 0), av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){1, 2, 3});
}

static void without_a_sample_the_first_value_of_the_form_decides(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"float\"}}");
    f->in.width = 3;
    av_ready(f);
    av_text(f, "no Avro"); /* says nothing */
    assert_int_equal(av_decode(f), BAD_TRUNCATED);
    put_frame(f, 9), av_floats(f, 2, 1); /* bad, but the prefix is seen */
    assert_int_equal(av_decode(f), BAD_WIDTH);
    av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_FRAMING);
    put_frame(f, 9), av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_ready(f);
    av_floats(f, 3, NAN);
    assert_int_equal(av_decode(f), BAD_NONFINITE);
    put_frame(f, 9), av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_WIDTH);
    av_floats(f, 3, 1);
    assert_int_equal(av_decode(f), BAD_NONE);
}

/* One float: 5 zeros and a float are a record with a prefix, or one of another schema. */
static void the_framing_that_the_job_names_holds_whatever_comes_first(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"f\",\"type\":\"float\"}");
    f->in.framing = FRAMING_NONE;
    put_frame(f, 9), av_float(f, 1);
    av_ready(f); /* the sample has the prefix */
    put_frame(f, 9), av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_TRAILING);
    av_float(f, 2);
    assert_int_equal(av_decode(f), BAD_NONE);

    f->in.framing = FRAMING_CONFLUENT;
    for (int i = 0; i < 2; i++) {
        if (i)
            av_float(f, 1);
        av_ready(f); /* without a sample, and with one that has none */
        av_float(f, 2);
        assert_int_equal(av_decode(f), BAD_FRAMING);
        put_frame(f, 7), av_text(f, "long"); /* of another schema: its id says nothing */
        assert_int_not_equal(av_decode(f), BAD_NONE);
        put_frame(f, 9), av_float(f, 3);
        assert_int_equal(av_decode(f), BAD_NONE);
        put_frame(f, 7), av_float(f, 3);
        assert_int_equal(av_decode(f), BAD_FRAMING);
        av_row_is(f, 0, (float[]){3});
    }
}

static void what_is_too_short_or_too_long_is_told_apart(void **state)
{
    struct fixture *f = *state;

    av_fields(f,
              "{\"name\":\"s\",\"type\":\"string\"},{\"name\":\"f\",\"type\":{\"type\":\"array\","
              "\"items\":\"float\"}},{\"name\":\"i\",\"type\":\"int\"}");
    av_feature(f, "f", 2);
    av_feature(f, "i", 0);
    av_ready(f);
    av_long(f, 1000000000); /* a 5-byte message that claims 1 GB */
    assert_int_equal(av_decode(f), BAD_TOO_LONG);
    assert_string_equal(f->detail,
                        "row 0, field s: claims a length of 1000000000, 0 bytes are left");
    av_long(f, -1);
    assert_int_equal(av_decode(f), BAD_TOO_LONG);
    av_long(f, 10);
    assert_int_equal(av_decode(f), BAD_TRUNCATED);
    assert_int_equal(av_decode(f), BAD_TRUNCATED); /* nothing at all */
    av_text(f, ""), av_long(f, INT64_MIN);
    assert_int_equal(av_decode(f), BAD_TRUNCATED); /* the size of the block is not there */
    av_text(f, ""), av_long(f, INT64_MIN), av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_TOO_LONG);
    av_text(f, ""), av_long(f, -2), av_long(f, INT64_MAX);
    assert_int_equal(av_decode(f), BAD_TOO_LONG);
    av_text(f, ""), av_long(f, 2), av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_TRUNCATED);
    av_text(f, ""), av_floats(f, 2, 1), av_long(f, (int64_t)INT32_MAX + 1);
    assert_int_equal(av_decode(f), BAD_VALUE);
    av_text(f, ""), av_floats(f, 2, 1), av_long(f, INT32_MAX), av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_TRAILING);
    assert_string_equal(f->detail, "row 0: 1 bytes behind the last value");
    av_text(f, ""), av_floats(f, 2, 1);
    memset(f->m + f->n, 0xff, 11), f->n += 11;
    assert_int_equal(av_decode(f), BAD_VALUE);
    av_text(f, ""), av_floats(f, 2, 1);
    memset(f->m + f->n, 0x80, 9), f->m[f->n + 9] = 2, f->n += 10; /* bit 64 */
    assert_int_equal(av_decode(f), BAD_VALUE);
    av_text(f, ""), av_floats(f, 2, 1);
    memset(f->m + f->n, 0x80, 3), f->n += 3;
    assert_int_equal(av_decode(f), BAD_TRUNCATED);
}

/* Counts of things that take no bytes must cost nothing; recursion must end. */
static void hostile_messages_cost_no_time_and_no_stack(void **state)
{
    struct fixture *f = *state;

    av_fields(
        f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"z\",\"type\":{\"type\":\"array\","
           "\"items\":\"null\"}},{\"name\":\"e\",\"type\":{\"type\":\"array\",\"items\":{\"type\":"
           "\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"n\",\"type\":\"null\"}]}}},"
           "{\"name\":\"next\",\"type\":[\"null\",\"R\"]}");
    av_feature(f, "x", 0);
    av_ready(f);
    av_float(f, 1), av_long(f, INT64_MAX), av_long(f, 0);
    av_long(f, (int64_t)1 << 40), av_long(f, 0), av_long(f, 0);
    assert_int_equal(av_decode(f), BAD_NONE);
    for (int depth = 0; depth < 10000; depth++)
        av_float(f, 1), av_long(f, 0), av_long(f, 0), av_long(f, 1);
    assert_int_equal(av_decode(f), BAD_TOO_LONG);
    assert_string_equal(f->detail, "row 0, field R: nested deeper than 64");
    for (int depth = 0; depth < 60; depth++)
        av_float(f, 1), av_long(f, 0), av_long(f, 0), av_long(f, depth < 59);
    assert_int_equal(av_decode(f), BAD_NONE);

    av_fields(
        f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"t\",\"type\":{\"type\":\"record\","
           "\"name\":"
           "\"T\",\"fields\":[{\"name\":\"l\",\"type\":\"T\"},{\"name\":\"r\",\"type\":\"T\"}]}}");
    av_ready(f); /* a type without an end has no values */
    av_float(f, 1);
    assert_int_equal(av_decode(f), BAD_TOO_LONG);
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
    av_schema(f, text);
    av_feature(f, "x", 0);
    av_ready(f);
    av_float(f, 1);
    for (int i = 0; i < 1000; i++)
        av_text(f, "");
    assert_int_equal(av_decode(f), BAD_TRUNCATED);
    f->in.features = 0;
    av_refused(f, false, "too large; list input.features");
}

static void wrong_jobs_are_refused_with_field_and_remedy(void **state)
{
    struct fixture *f = *state;

    av_refused(f, false, "input.schema is missing");
    av_set(f->in.schema, "/nowhere/x.avsc");
    av_refused(f, false, "schema /nowhere/x.avsc: No such file or directory");
    f->in.schema[0] = 0;
    av_schema(f, "{\"type\":\"record\"");
    av_refused(f, false, "Error parsing JSON");
    av_schema(
        f, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"x\",\"type\":\"flot\"}]}");
    av_refused(f, false, "Unknown Avro \"type\": flot");
    av_schema(f, "\"float\"");
    av_refused(f, false, "its type is float");
    av_fields(f, "{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"x\",\"type\":\"int\"}");
    av_refused(f, false, "record 'R' has two fields 'x'");
    av_fields(f, "{\"name\":\"s\",\"type\":\"string\"}");
    av_refused(f, false, "no number that is left");
    av_fields(f, "{\"name\":\"price\",\"type\":\"float\"},{\"name\":\"name\",\"type\":\"string\"},"
                 "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}");
    av_refused(f, true, "needs a label");
    av_set(f->in.label, "prise");
    av_refused(f, true, "input.label: the schema has no field 'prise'; did you mean 'price'?");
    assert_int_equal(av_open(f, false), ST_OK); /* not needed, not there */
    assert_int_equal(f->out.shape.ny, 0);
    av_set(f->in.label, "zzz");
    av_refused(f, true, "the schema has no field 'zzz'; it has price, name, f");
    av_set(f->in.label, "price");
    av_feature(f, "price", 0);
    av_refused(f, true, "'price' has another use");
    av_set(f->in.feature[0].name, "name");
    av_refused(f, true, "'name' is of type string; a number or an array of numbers is needed");
    av_set(f->in.feature[0].name, "f");
    av_refused(f, true, "'f' is of type array");
    av_set(f->in.label, "name");
    av_set(f->in.feature[0].name, "price");
    f->in.feature[0].width = 4;
    f->in.classes = 1;
    av_refused(f, true, "'price' is one number, not 4");
    av_set(f->in.weight, "name");
    av_refused(f, true, "input.weight: 'name' is of type string");
}

static void the_fingerprint_is_of_what_is_read(void **state)
{
    struct fixture *f = *state;
    static const char a[] = "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"b\",\"type\":\"int\"}";
    uint64_t first;

    av_fields(f, a);
    av_ready(f);
    first = f->out.fingerprint;
    av_fields(f, "{ \"name\": \"a\", \"doc\": \"same\", \"type\" "
                 ":\"float\"},\n{\"name\":\"b\",\"type\":\"int\"}");
    av_ready(f);
    assert_true(f->out.fingerprint == first);
    av_fields(f, "{\"name\":\"a\",\"type\":\"float\"},{\"name\":\"b\",\"type\":\"long\"}");
    av_ready(f);
    assert_true(f->out.fingerprint != first);
    av_fields(f, a);
    av_feature(f, "b", 0);
    av_feature(f, "a", 0);
    av_ready(f);
    assert_true(f->out.fingerprint != first);
    av_set(f->in.feature[0].name, "a");
    av_set(f->in.feature[1].name, "b");
    av_ready(f);
    assert_true(f->out.fingerprint == first);
    f->in.features = 1;
    av_ready(f);
    assert_true(f->out.fingerprint != first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AVRO_TEST(arrays_take_their_width_from_job_or_sample),
        AVRO_TEST(the_registry_prefix_is_accepted),
        AVRO_TEST(the_framing_that_the_job_names_holds_whatever_comes_first),
        AVRO_TEST(without_a_sample_the_first_value_of_the_form_decides),
        AVRO_TEST(what_is_too_short_or_too_long_is_told_apart),
        AVRO_TEST(hostile_messages_cost_no_time_and_no_stack),
        AVRO_TEST(repeated_types_do_not_blow_up_the_plan),
        AVRO_TEST(wrong_jobs_are_refused_with_field_and_remedy),
        AVRO_TEST(the_fingerprint_is_of_what_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
