#include "consumer/codec.h"

#include "config/base/bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct fixture { /* an open codec and a block; text in, reason out */
    struct input in;
    struct decoded out;
    struct block b;
    void *self;
    char detail[DETAIL_BYTES];
    struct err e;
};

static struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static void column(struct fixture *f, const char *name, uint32_t width)
{
    snprintf(f->in.column[f->in.columns].name, NAME_MAX_BYTES, "%s", name);
    f->in.column[f->in.columns++].width = width;
}

static void feature(struct fixture *f, const char *name, uint32_t width)
{
    snprintf(f->in.feature[f->in.features].name, NAME_MAX_BYTES, "%s", name);
    f->in.feature[f->in.features++].width = width;
}

static enum st open_csv(struct fixture *f, bool need_label, const char *sample)
{
    f->self = calloc(1, codec_csv.self_bytes);
    return codec_csv.open(f->self, &f->in, need_label, sample ? text(sample) : (struct bytes){0},
                          &f->out, &f->e);
}

static void ready(struct fixture *f, bool need_label, const char *sample)
{
    if (open_csv(f, need_label, sample) != ST_OK)
        fail_msg("%s", f->e.text);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
}

static enum bad decode(struct fixture *f, const char *line)
{
    char *exact = malloc(strlen(line) +
                         !*line); /* no terminator behind it: a read too far shows under asan */
    enum bad bad;
    uint32_t n = f->b.n;

    memcpy(exact, line, strlen(line));
    f->detail[0] = 0;
    bad = codec_csv.decode(f->self, text("k"), (struct bytes){(uint8_t *)exact, strlen(line)}, 7,
                           99, &f->b, f->detail);
    free(exact);
    assert_true(bad == BAD_NONE || f->b.n == n);
    assert_true(bad == BAD_NONE || bad == BAD_FULL || f->detail[0]);
    return bad;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->in.format = FORMAT_CSV;
    memcpy(f->in.delimiter, ",", 2);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->self)
        codec_csv.close(f->self);
    block_fini(&f->b);
    free(f->self);
    free(f);
    return 0;
}

static void named_fields_go_to_their_places(void **state)
{
    struct fixture *f = *state;
    char name[64];

    column(f, "id", 0);
    column(f, "pixels", 3);
    column(f, "class", 0);
    column(f, "w", 0);
    column(f, "when", 0);
    column(f, "price", 0);
    feature(f, "price", 0);
    feature(f, "pixels", 3);
    memcpy(f->in.label, "class", 6);
    memcpy(f->in.weight, "w", 2);
    memcpy(f->in.time, "when", 5);
    memcpy(f->in.key, "id", 3);
    memcpy(f->in.class_name[0], "no", 3);
    memcpy(f->in.class_name[1], "yes, \"sure\"", 12);
    f->in.classes = 2;
    ready(f, true, NULL);
    assert_int_equal(f->out.columns, 4);
    assert_int_equal(f->out.classes, 2);
    assert_string_equal(f->out.class_name[0], "no");
    assert_string_equal(codec_csv.column_name(f->self, 0, name, sizeof name), "price");
    assert_string_equal(codec_csv.column_name(f->self, 3, name, sizeof name), "pixels[2]");

    assert_int_equal(decode(f, "a,1,2, 3 ,\"yes, \"\"sure\"\"\",0.5,1700000000123,-9.5e0\r\n"
                               "\"a\",4,5,6,no,2,5,1\n"),
                     BAD_NONE);
    assert_int_equal(f->b.n, 2);
    assert_memory_equal(f->b.x, ((float[]){-9.5f, 1, 2, 3}), 16);
    assert_memory_equal(f->b.x + f->b.s.ld, ((float[]){1, 4, 5, 6}), 16);
    assert_true(f->b.y[0] == 1 && f->b.y[1] == 0);
    assert_true(f->b.weight[0] == 0.5f && f->b.weight[1] == 2);
    assert_true(f->b.ts_ms[0] == 1700000000123 && f->b.ts_ms[1] == 5);
    assert_true(f->b.key[0] == hash64("a", 1, 0) && f->b.key[1] == f->b.key[0]);
    assert_true(f->b.rid[0] == 7 << 16 && f->b.rid[1] == (7 << 16 | 1));
}

static void unnamed_fields_are_counted_in_the_sample(void **state)
{
    struct fixture *f = *state;

    memcpy(f->in.label, "f2", 3);
    assert_int_equal(open_csv(f, true, NULL), ST_AGAIN);
    codec_csv.close(f->self);
    free(f->self);
    ready(f, true, "\n1,\"2,5\",3,4\n5,6,7,8");
    assert_int_equal(f->out.columns, 3);
    assert_int_equal(decode(f, "1,2,3,4"), BAD_NONE);
    assert_memory_equal(f->b.x, ((float[]){1, 2, 4}), 12);
    assert_true(f->b.y[0] == 3);
    assert_int_equal(decode(f, "1,2,3"), BAD_WIDTH);
    assert_int_equal(decode(f, "1,2,3,4,5"), BAD_WIDTH);
    assert_int_equal(decode(f, "1,2,3,4,"), BAD_WIDTH);
}

static void bad_lines_have_reasons_and_leave_the_block(void **state)
{
    struct fixture *f = *state;

    memcpy(f->in.label, "f0", 3);
    memcpy(f->in.weight, "f1", 3);
    f->in.width = 4;
    ready(f, true, NULL);
    assert_int_equal(decode(f, "1,1,2,3"), BAD_NONE);
    assert_int_equal(decode(f, "1,1,2,x\001y"), BAD_VALUE);
    assert_string_equal(f->detail, "line 1, field f3: no number 'x.y'");
    assert_int_equal(decode(f, "1,1,2,"), BAD_MISSING);
    assert_int_equal(decode(f, ",1,2,3"), BAD_LABEL);
    assert_int_equal(decode(f, "cat,1,2,3"), BAD_LABEL);
    assert_int_equal(decode(f, "1,-1,2,3"), BAD_WEIGHT);
    assert_int_equal(decode(f, "1,1,nan,3"), BAD_NONFINITE);
    assert_int_equal(decode(f, "1,1,1e39,3"), BAD_NONFINITE);
    assert_int_equal(decode(f, "1,inf,1,3"), BAD_NONFINITE);
    assert_int_equal(decode(f, "1,1,\"2,3"), BAD_VALUE);
    assert_int_equal(decode(f, "1,1,\"2\"x,3"), BAD_VALUE);
    assert_int_equal(decode(f, "1,1,\"2\"\"\",3"), BAD_VALUE);
    assert_int_equal(decode(f, ""), BAD_TRUNCATED);
    assert_int_equal(decode(f, "\r\n\n"), BAD_TRUNCATED);
    assert_int_equal(decode(f, "1,1,2,3\n1,1,2,3\n1,1,2,oops"), BAD_VALUE); /* all or nothing */
    assert_int_equal(f->b.n, 1);
    codec_csv.label_limit(f->self, 2);
    assert_int_equal(decode(f, "2,1,2,3"), BAD_LABEL);
    assert_int_equal(decode(f, "1,1,2,3"), BAD_NONE);
}

static void a_full_block_is_not_a_bad_record(void **state)
{
    struct fixture *f = *state;
    char *many = malloc(4 * (BLOCK_ROWS + 1) + 1);

    memcpy(f->in.label, "label", 6); /* the default of jobs; no such field, and none needed */
    f->in.width = 2;
    ready(f, false, NULL);
    assert_int_equal(f->out.shape.ny, 0);
    for (size_t i = 0; i <= BLOCK_ROWS; i++)
        memcpy(many + 4 * i, "1,2\n", 5);
    assert_int_equal(decode(f, many), BAD_TOO_MANY);
    assert_int_equal(decode(f, many + 4), BAD_NONE);
    assert_int_equal(f->b.n, BLOCK_ROWS);
    assert_int_equal(decode(f, "1,2"), BAD_FULL);
    block_clear(&f->b);
    assert_int_equal(decode(f, "1,2"), BAD_NONE);
    free(many);
}

static void wrong_names_are_refused_with_the_nearest(void **state)
{
    struct fixture *f = *state;

    column(f, "price", 0);
    column(f, "class", 0);
    memcpy(f->in.label, "clas", 5);
    assert_int_equal(open_csv(f, true, NULL), ST_BAD_CONFIG);
    assert_string_equal(f->e.text, "input.label: there is no field 'clas'; did you mean 'class'?");
    codec_csv.close(f->self);
    memcpy(f->in.label, "class", 6);
    feature(f, "class", 0);
    assert_int_equal(codec_csv.open(f->self, &f->in, true, (struct bytes){0}, &f->out, &f->e),
                     ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "'class' has another use"));
    codec_csv.close(f->self);
    f->in.label[0] = 0;
    assert_int_equal(codec_csv.open(f->self, &f->in, true, (struct bytes){0}, &f->out, &f->e),
                     ST_BAD_CONFIG);
}

/* Where the algorithm takes missing features: words for them, and nothing else that is no number.
 */
static void missing_features_have_words(void **state)
{
    static const char *const bad[] = {"1,x,3",   "1,n,3",    "1,n a,3", "1,nullx,3",
                                      "1,inf,3", "1,1e39,3", "nan,1,2", ",1,2"};
    struct fixture *f = *state;

    f->in.width = 3;
    f->in.missing = true;
    memcpy(f->in.weight, "f0", 3);
    ready(f, false, NULL);
    assert_int_equal(decode(f, "1,, 2\n1,NA, n/a \n1,NaN,Null\n1,?,\"none\"\n1,3,\"\"\n"),
                     BAD_NONE);
    assert_int_equal(f->b.n, 5);
    for (uint32_t i = 0; i < 5; i++) {
        const float *x = f->b.x + (size_t)i * f->b.s.ld;

        assert_true(i == 4 ? x[0] == 3 : isnan(x[0]));
        assert_true(i == 0 ? x[1] == 2 : isnan(x[1]));
        assert_true(x[2] == 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) /* the weight has to be there */
        assert_int_equal(decode(f, bad[i]), i < 4   ? BAD_VALUE
                                            : i < 7 ? BAD_NONFINITE
                                                    : BAD_MISSING);
}

static void the_fingerprint_is_of_the_mapping(void **state)
{
    struct fixture *f = *state;
    uint64_t first;

    f->in.width = 3;
    ready(f, false, NULL);
    first = f->out.fingerprint;
    codec_csv.close(f->self);
    memcpy(f->in.weight, "f1", 3);
    assert_int_equal(codec_csv.open(f->self, &f->in, false, (struct bytes){0}, &f->out, &f->e),
                     ST_OK);
    assert_true(f->out.fingerprint != first);
    codec_csv.close(f->self);
    f->in.weight[0] = 0;
    assert_int_equal(codec_csv.open(f->self, &f->in, false, (struct bytes){0}, &f->out, &f->e),
                     ST_OK);
    assert_true(f->out.fingerprint == first);
}

/* ---- categories ---- */

static void category(struct fixture *f, const char *name)
{
    snprintf(f->in.one_hot[f->in.one_hots++], NAME_MAX_BYTES, "%s", name);
}

static uint32_t place(const char *field, const char *value, uint32_t bits)
{
    uint64_t h = hash64(value, strlen(value), hash64(field, strlen(field), 0));

    return (uint32_t)(h & ((1u << bits) - 1));
}

static void ratings(struct fixture *f, uint32_t bits)
{
    column(f, "price", 0);
    column(f, "user", 0);
    column(f, "item", 0);
    column(f, "label", 0);
    memcpy(f->in.label, "label", 6);
    category(f, "user");
    category(f, "item");
    f->in.hash_bits = bits;
}

static void categories_are_entries_of_the_columns_they_hash_to(void **state)
{
    struct fixture *f = *state;
    char name[64];
    uint32_t user = place("user", "u 1", 10), item = place("item", "u 1", 10);

    ratings(f, 10);
    ready(f, true, NULL);
    assert_true(f->out.shape.sparse);
    assert_int_equal(f->out.columns, 1025);
    assert_string_equal(codec_csv.column_name(f->self, 1024, name, sizeof name), "price");
    assert_string_equal(codec_csv.column_name(f->self, 7, name, sizeof name), "#7");
    assert_int_not_equal(user, item);
    assert_int_equal(decode(f, "2.5,u 1,\"u 1\",4\n0, u 1 ,u 1,3\n"), BAD_NONE);
    assert_int_equal(f->b.n, 2);
    assert_true(f->b.ptr[1] == 3 && f->b.ptr[2] == 5);
    assert_true(f->b.col[2] == 1024 && f->b.val[2] == 2.5f);
    for (uint32_t q = 0; q < 5; q += 3) { /* ascending, and the same in both rows */
        assert_int_equal(f->b.col[q], user < item ? user : item);
        assert_int_equal(f->b.col[q + 1], user < item ? item : user);
        assert_true(f->b.val[q] == 1 && f->b.val[q + 1] == 1);
    }
    assert_int_equal(decode(f, "1,u,,4"), BAD_MISSING);
    assert_int_equal(decode(f, "1,u,i,4\nx,u,i,4"), BAD_VALUE);
    assert_int_equal(decode(f, "7,u 1,u 1,4"), BAD_NONE);
    assert_true(f->b.ptr[3] == 8 && f->b.val[7] == 7);
}

static void categories_that_meet_are_one_entry(void **state)
{
    struct fixture *f = *state;
    uint32_t met = 0;
    char line[64];

    ratings(f, 1);
    ready(f, true, NULL);
    for (uint32_t i = 0; i < 64; i++) {
        snprintf(line, sizeof line, "1,%u,%u,0", i, i);
        assert_int_equal(decode(f, line), BAD_NONE);
        if (f->b.ptr[i + 1] - f->b.ptr[i] == 3)
            continue;
        assert_int_equal(f->b.ptr[i + 1] - f->b.ptr[i], 2);
        assert_true(f->b.val[f->b.ptr[i]] == 2 && f->b.val[f->b.ptr[i] + 1] == 1);
        met++;
    }
    assert_true(met > 16 && met < 48);
}

static void wrong_categories_are_refused(void **state)
{
    struct fixture *f = *state;

    ratings(f, 24);
    assert_int_equal(open_csv(f, true, NULL), ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "set hash_bits lower"));
    codec_csv.close(f->self);
    f->in.hash_bits = 0;
    category(f, "label");
    assert_int_equal(codec_csv.open(f->self, &f->in, true, (struct bytes){0}, &f->out, &f->e),
                     ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "'label' has another use"));
    codec_csv.close(f->self);
    f->in.one_hots = 2;
    assert_int_equal(codec_csv.open(f->self, &f->in, true, (struct bytes){0}, &f->out, &f->e),
                     ST_OK);
    assert_int_equal(f->out.columns, (1 << 18) + 1);
    codec_csv.close(f->self);
    f->in.one_hots = 0;
    f->in.hash_bits = 8;
    assert_int_equal(codec_csv.open(f->self, &f->in, true, (struct bytes){0}, &f->out, &f->e),
                     ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "in input.one_hot"));
}

/* Delimiters are found 64 bytes at a time: lines that begin anywhere in those, of fields of every
 * length, and messages that end anywhere. */
static void a_delimiter_may_stand_at_any_byte(void **state)
{
    static const char *const ends[] = {"", "\n", "\r\n", "\n0,1,2,3,4,5,6\n"};
    static const char *const fields = "0.5,-1.25,0.000000000000000000000000000000000123e+32,7,"
                                      "\"8,5\",123456789.123456789";
    struct fixture *f = *state;
    char line[512];

    f->in.width = 7;
    memcpy(f->in.label, "f0", 3);
    f->in.missing = true;
    ready(f, true, NULL);
    for (int zeros = 0; zeros < 200; zeros++)
        for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
            snprintf(line, sizeof line, "%0*d,%s%s", zeros + 1, 3, fields, ends[e]);
            block_clear(&f->b);
            assert_int_equal(decode(f, line), BAD_VALUE);
            assert_non_null(strstr(f->detail, "line 1, field f5: no number '8,5'"));
            *strchr(line, '"') = ' ';
            assert_int_equal(decode(f, line), BAD_VALUE);
            *strrchr(line, '"') = ' ';
            assert_int_equal(decode(f, line), BAD_WIDTH); /* "8" and "5" are two */
            memcpy(strstr(line, "8,5"), "8.5", 3);
            assert_int_equal(decode(f, line), BAD_NONE);
            assert_int_equal(f->b.n, 1 + (e == 3));
            assert_true(f->b.y[0] == 3);
            assert_memory_equal(f->b.x, ((float[]){0.5f, -1.25f, 0.0123f, 7, 8.5f, 123456789.0f}),
                                24);
        }
}

/* More and fewer fields than the job's, and values that are none, in every place of a line that is
 * longer than what is read at once. */
static void a_wrong_field_is_named_wherever_it_is(void **state)
{
    static const char *const bad[] = {"x", "nan", "1e39", "", "1.2.3", "1,2", "-", "\"1"};
    static const enum bad why[] = {BAD_VALUE, BAD_NONFINITE, BAD_NONFINITE, BAD_MISSING,
                                   BAD_VALUE, BAD_WIDTH,     BAD_VALUE,     BAD_VALUE};
    enum { WIDTH = 70 };
    struct fixture *f = *state;
    char line[1024], name[32];

    f->in.width = WIDTH;
    ready(f, false, NULL);
    for (int at = 0; at < WIDTH; at++)
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            size_t n = 0;

            for (int i = 0; i < WIDTH; i++)
                n += (size_t)snprintf(line + n, sizeof line - n, "%s%s", i ? "," : "",
                                      i == at ? bad[k]
                                      : i & 1 ? "-0.25"
                                              : "12345678.875");
            assert_int_equal(decode(f, line), why[k]);
            snprintf(name, sizeof name, "line 1, field f%d:", at);
            assert_true(why[k] == BAD_WIDTH || strstr(f->detail, name));
        }
}

#define CSV_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CSV_TEST(a_delimiter_may_stand_at_any_byte),
        CSV_TEST(a_wrong_field_is_named_wherever_it_is),
        CSV_TEST(named_fields_go_to_their_places),
        CSV_TEST(unnamed_fields_are_counted_in_the_sample),
        CSV_TEST(bad_lines_have_reasons_and_leave_the_block),
        CSV_TEST(a_full_block_is_not_a_bad_record),
        CSV_TEST(wrong_names_are_refused_with_the_nearest),
        CSV_TEST(missing_features_have_words),
        CSV_TEST(categories_are_entries_of_the_columns_they_hash_to),
        CSV_TEST(categories_that_meet_are_one_entry),
        CSV_TEST(wrong_categories_are_refused),
        CSV_TEST(the_fingerprint_is_of_the_mapping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
