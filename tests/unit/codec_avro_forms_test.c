/* Runs of numbers of one form: each value as its own operations would have it, wherever in the run
 * something else stands. */
#include "support_avro.h"

#include <math.h>
#include <string.h>

enum { RUN = 12 };

static const char *const names[RUN] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};

/* RUN fields of a type, in one list. */
static void fields_of(struct fixture *f, const char *type, const char *other)
{
    char list[2048];
    size_t n = 0;

    for (int i = 0; i < RUN; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s{\"name\":\"%s\",\"type\":%s}",
                              i ? "," : "", names[i], i & 1 ? other : type);
    av_fields(f, list);
}

static void is_refused_at(struct fixture *f, enum bad bad, int field, const char *what)
{
    char text[DETAIL_BYTES];

    assert_int_equal(av_decode(f), bad);
    snprintf(text, sizeof text, "row 0, field %s: %s", names[field], what);
    assert_string_equal(f->detail, text);
}

static void optional(struct fixture *f, int branch, float v)
{
    av_long(f, branch);
    av_float(f, v);
}

static void a_null_may_stand_anywhere_among_optional_floats(void **state)
{
    struct fixture *f = *state;
    float want[RUN];

    f->in.missing = true;
    fields_of(f, "[\"null\",\"float\"]", "[\"null\",\"float\"]");
    av_ready(f);
    for (int from = 0; from < RUN; from++)
        for (int to = from; to <= RUN; to++) {
            for (int i = 0; i < RUN; i++) {
                want[i] = i >= from && i < to ? NAN : (float)i + 0.25f;
                if (isnan(want[i]))
                    av_long(f, 0);
                else
                    optional(f, 1, want[i]);
            }
            block_clear(&f->b);
            assert_int_equal(av_decode(f), BAD_NONE);
            for (int i = 0; i < RUN; i++)
                assert_true(isnan(want[i]) ? isnan(f->b.x[i]) : f->b.x[i] == want[i]);
        }
}

static void a_null_is_refused_or_has_a_default(void **state)
{
    struct fixture *f = *state;

    av_fields(f, "{\"name\":\"a\",\"type\":[\"float\",\"null\"]},"
                 "{\"name\":\"b\",\"type\":[\"float\",\"null\"],\"default\":1.5},"
                 "{\"name\":\"c\",\"type\":[\"float\",\"null\"]}");
    av_ready(f);
    optional(f, 0, 3), av_long(f, 1), optional(f, 0, 5);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, (float[]){3, 1.5f, 5});
    optional(f, 0, 3), optional(f, 0, 4), av_long(f, 1);
    is_refused_at(f, BAD_MISSING, 2, "no value");
    optional(f, 0, 3), optional(f, 2, 4);
    is_refused_at(f, BAD_VALUE, 1, "branch 2 of 2");
}

static void not_finite_is_found_anywhere(void **state)
{
    struct fixture *f = *state;

    fields_of(f, "[\"null\",\"double\"]", "[\"null\",\"double\"]");
    av_ready(f);
    for (int bad = 0; bad < RUN; bad++) {
        for (int i = 0; i < RUN; i++)
            av_long(f, 1), av_double(f, i == bad ? 1e39 : 0.1);
        is_refused_at(f, BAD_NONFINITE, bad, "inf is not finite, or beyond float32");
    }
    for (int i = 0; i < RUN; i++)
        av_long(f, 1), av_double(f, 3.4e38);
    assert_int_equal(av_decode(f), BAD_NONE);
    assert_true(f->b.x[RUN - 1] == 3.4e38f);
}

static void not_finite_is_found_among_floats(void **state)
{
    struct fixture *f = *state;

    fields_of(f, "[\"null\",\"float\"]", "[\"null\",\"float\"]");
    av_ready(f);
    for (int bad = 0; bad < RUN; bad++) {
        for (int i = 0; i < RUN; i++)
            optional(f, 1, i == bad ? -INFINITY : -0.1f);
        is_refused_at(f, BAD_NONFINITE, bad, "-inf is not finite, or beyond float32");
    }
}

static void columns_may_be_in_another_order_than_fields(void **state)
{
    struct fixture *f = *state;
    float want[RUN];

    fields_of(f, "\"int\"", "\"int\"");
    for (int i = 0; i < RUN; i++) {
        av_feature(f, names[i * 5 % RUN], 0);
        want[i] = (float)(100 + i * 5 % RUN);
    }
    av_ready(f);
    for (int i = 0; i < RUN; i++)
        av_long(f, 100 + i);
    assert_int_equal(av_decode(f), BAD_NONE);
    av_row_is(f, 0, want);
}

/* Of every length there is, up to the end of the message. */
static void whole_numbers_of_any_length(void **state)
{
    struct fixture *f = *state;

    fields_of(f, "\"long\"", "\"long\"");
    av_ready(f);
    for (int shift = 0; shift < 64; shift++)
        for (int at = 0; at < RUN; at++) {
            const int64_t v = (int64_t)(0x9234567812345678u >> shift);

            for (int i = 0; i < RUN; i++)
                av_long(f, i == at ? v : i - 3);
            block_clear(&f->b);
            assert_int_equal(av_decode(f), BAD_NONE);
            for (int i = 0; i < RUN; i++)
                assert_true(f->b.x[i] == (i == at ? (float)(double)v : (float)(i - 3)));
        }
}

static void an_int_has_its_range_among_longs(void **state)
{
    struct fixture *f = *state;
    const int64_t high = (int64_t)INT32_MAX + 1;

    fields_of(f, "\"int\"", "\"long\"");
    av_ready(f);
    for (int at = 0; at < RUN; at++)
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int i = 0; i < RUN; i++)
                av_long(f, i == at ? sign * high - (sign < 0) : i & 1 ? high : INT32_MIN);
            block_clear(&f->b);
            if (at & 1) {
                assert_int_equal(av_decode(f), BAD_NONE);
                assert_true(f->b.x[at] == (float)sign * 2147483648.0f);
            } else {
                assert_int_equal(av_decode(f), BAD_VALUE);
                assert_true(f->detail[13] == names[at][0]);
            }
        }
}

/* Whatever is cut off, and whatever is left over: av_decode's memory ends with the message. */
static void the_end_may_come_anywhere(void **state)
{
    static const char *const type[] = {"[\"null\",\"float\"]", "[\"null\",\"long\"]", "\"int\"",
                                       "[\"null\",\"double\"]"};
    struct fixture *f = *state;
    uint8_t whole[256];

    for (size_t t = 0; t < sizeof type / sizeof *type; t++) {
        size_t n;

        fields_of(f, type[t], type[t]);
        av_ready(f);
        for (int i = 0; i < RUN; i++) {
            if (type[t][0] == '[')
                av_long(f, 1);
            if (strstr(type[t], "float"))
                av_float(f, 1);
            else if (strstr(type[t], "double"))
                av_double(f, 2);
            else
                av_long(f, 1 << 2 * i);
        }
        n = f->n;
        memcpy(whole, f->m, n);
        f->n = 0;
        for (size_t cut = 1; cut < n; cut++) {
            memcpy(f->m, whole, cut);
            f->n = cut;
            assert_int_equal(av_decode(f), BAD_TRUNCATED);
        }
        memcpy(f->m, whole, n);
        f->m[n] = 0;
        f->n = n + 1;
        assert_int_equal(av_decode(f), BAD_TRAILING);
        memcpy(f->m, whole, n);
        f->n = n;
        assert_int_equal(av_decode(f), BAD_NONE);
        av_teardown(state);
        av_setup(state);
        f = *state;
    }
}

static void arrays_of_any_numbers_in_any_blocks(void **state)
{
    struct fixture *f = *state;
    float want[RUN];

    f->in.missing = true;
    av_fields(f, "{\"name\":\"a\",\"type\":{\"type\":\"array\",\"items\":\"double\"}},"
                 "{\"name\":\"b\",\"type\":{\"type\":\"array\",\"items\":[\"null\",\"int\"]}}");
    av_feature(f, "a", RUN / 2);
    av_feature(f, "b", RUN / 2);
    av_ready(f);
    for (int first = 1; first < RUN / 2; first++) {
        block_clear(&f->b);
        for (int i = 0; i < RUN / 2; i++) {
            if (i == 0 || i == first)
                av_long(f, i ? RUN / 2 - first : first);
            want[i] = i == 1 ? NAN : (float)i / 3;
            av_double(f, (double)want[i]);
        }
        av_long(f, 0);
        av_long(f, -RUN / 2);
        av_long(f, RUN - 1);
        for (int i = 0; i < RUN / 2; i++) {
            av_long(f, i != first);
            if (i != first)
                av_long(f, i);
            want[RUN / 2 + i] = i == first ? NAN : (float)i;
        }
        av_long(f, 0);
        assert_int_equal(av_decode(f), BAD_NONE);
        for (int i = 0; i < RUN; i++)
            assert_true(isnan(want[i]) ? isnan(f->b.x[i]) : f->b.x[i] == want[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AVRO_TEST(a_null_may_stand_anywhere_among_optional_floats),
        AVRO_TEST(a_null_is_refused_or_has_a_default),
        AVRO_TEST(not_finite_is_found_anywhere),
        AVRO_TEST(not_finite_is_found_among_floats),
        AVRO_TEST(columns_may_be_in_another_order_than_fields),
        AVRO_TEST(whole_numbers_of_any_length),
        AVRO_TEST(an_int_has_its_range_among_longs),
        AVRO_TEST(the_end_may_come_anywhere),
        AVRO_TEST(arrays_of_any_numbers_in_any_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
