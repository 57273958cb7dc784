#include "consumer/codec.h"

#include "config/base/bytes.h"

#include <float.h>
#include <jansson.h>
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

static void set(char *to, const char *from)
{
    memcpy(to, from, strlen(from) + 1);
}

static void feature(struct fixture *f, const char *name, uint32_t width)
{
    set(f->in.feature[f->in.features].name, name);
    f->in.feature[f->in.features++].width = width;
}

static enum st open_json(struct fixture *f, bool need_label, const char *sample)
{
    if (f->self)
        codec_json.close(f->self);
    free(f->self);
    f->self = calloc(1, codec_json.self_bytes);
    return codec_json.open(f->self, &f->in, need_label, sample ? text(sample) : (struct bytes){0},
                           &f->out, &f->e);
}

static void ready(struct fixture *f, bool need_label, const char *sample)
{
    if (open_json(f, need_label, sample) != ST_OK)
        fail_msg("%s", f->e.text);
    block_fini(&f->b);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
}

static enum bad decode_bytes(struct fixture *f, const char *p, size_t n)
{
    char *exact = malloc(n + !n); /* no terminator behind it: a read too far shows under asan */
    uint32_t rows = f->b.n;
    enum bad bad;

    memcpy(exact, p, n);
    f->detail[0] = 0;
    bad = codec_json.decode(f->self, text("k"), (struct bytes){(uint8_t *)exact, n}, 7, 99, &f->b,
                            f->detail);
    free(exact);
    assert_true(bad == BAD_NONE || f->b.n == rows);
    assert_true(bad == BAD_NONE || bad == BAD_FULL || f->detail[0]);
    return bad;
}

static enum bad decode(struct fixture *f, const char *line)
{
    return decode_bytes(f, line, strlen(line));
}

static void good(struct fixture *f, const char *line)
{
    enum bad bad = decode(f, line);

    if (bad)
        fail_msg("%s: %s: %s", line, bad_name(bad), f->detail);
}

static void is_bad(struct fixture *f, const char *line, enum bad wanted, const char *says)
{
    enum bad bad = decode(f, line);

    if (bad != wanted || !strstr(f->detail, says))
        fail_msg("%s: %s: '%s' does not say '%s'", line, bad_name(bad), f->detail, says);
}

static const float *x(const struct fixture *f, uint32_t row)
{
    return f->b.x + (size_t)row * f->b.s.ld;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->in.format = FORMAT_JSON;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->self)
        codec_json.close(f->self);
    block_fini(&f->b);
    free(f->self);
    free(f);
    return 0;
}

/* ---- what the job names ---- */

static void named_fields_go_to_their_places(void **state)
{
    struct fixture *f = *state;
    char name[64];

    feature(f, "car.price", 0);
    feature(f, "pixels", 3);
    feature(f, "used", 0);
    set(f->in.label, "class");
    set(f->in.weight, "w");
    set(f->in.time, "when");
    set(f->in.key, "id");
    set(f->in.class_name[0], "no");
    set(f->in.class_name[1], "ja \"\xc3\xbc\xf0\x9f\x98\x80\"/");
    f->in.classes = 2;
    ready(f, true, NULL);
    assert_int_equal(f->out.columns, 5);
    assert_int_equal(f->out.classes, 2);
    assert_string_equal(codec_json.column_name(f->self, 0, name, sizeof name), "car.price");
    assert_string_equal(codec_json.column_name(f->self, 3, name, sizeof name), "pixels[2]");
    assert_string_equal(codec_json.column_name(f->self, 4, name, sizeof name), "used");
    good(f, "{\"id\":\"a\",\"class\":\"ja \\\"\\u00fc\\uD83D\\ude00\\\"\\/\",\"w\":0.5,"
            "\"when\":1700000000123,\"car\":{\"x\":[{}],\"price\":-9.5e0},\"pixels\":[1,2,3],"
            "\"used\":true}\r\n"
            " { \"used\" : false , \"pixels\" : [ 4 , 5 , 6 ] , \"car.price\" : 1 , \"when\" : 5 ,"
            " \"w\" : 2 , \"class\" : \"no\" , \"\\u0069d\" : \"\\u0061\" } ");
    assert_int_equal(f->b.n, 2);
    assert_memory_equal(x(f, 0), ((float[]){-9.5f, 1, 2, 3, 1}), 20);
    assert_memory_equal(x(f, 1), ((float[]){1, 4, 5, 6, 0}), 20);
    assert_true(f->b.y[0] == 1 && f->b.y[1] == 0);
    assert_true(f->b.weight[0] == 0.5f && f->b.weight[1] == 2);
    assert_true(f->b.ts_ms[0] == 1700000000123 && f->b.ts_ms[1] == 5);
    assert_true(f->b.key[0] == hash64("a", 1, 0) && f->b.key[1] == f->b.key[0]);
    assert_true(f->b.rid[0] == 7 << 16 && f->b.rid[1] == (7 << 16 | 1));
}

static void unnamed_features_are_the_numbers_of_the_sample_by_name(void **state)
{
    static const char *const names[] = {"a[0]", "a[1]", "f1", "f2", "f10", "in.deep.on", "in.z"};
    struct fixture *f = *state;
    uint64_t fingerprint;
    char name[64];

    set(f->in.label, "y");
    assert_int_equal(open_json(f, true, NULL), ST_AGAIN);
    ready(f, true,
          "[{\"f10\":1,\"f2\":2,\"t\":\"x\",\"y\":3,\"in\":{\"z\":1,\"deep\":{\"on\":true},"
          "\"s\":[\"x\"]},\"f1\":1,\"a\":[1,2],\"o\":{}}, {\"later\":1}]");
    assert_int_equal(f->out.columns, 7);
    for (uint32_t c = 0; c < 7; c++)
        assert_string_equal(codec_json.column_name(f->self, c, name, sizeof name), names[c]);
    fingerprint = f->out.fingerprint;
    good(f, "{\"later\":{\"f1\":9},\"y\":4,\"f1\":1,\"f2\":2,\"f10\":10,\"a\":[7,8],"
            "\"in\":{\"deep\":{\"on\":false,\"no\":1},\"z\":3}}");
    assert_memory_equal(x(f, 0), ((float[]){7, 8, 1, 2, 10, 0, 3}), 28);
    assert_true(f->b.y[0] == 4);
    ready(f, true,
          "{\"a\":[0,0],\"f1\":0,\"f2\":0,\"y\":0,\"f10\":0,\"in\":{\"deep\":{\"on\":0},"
          "\"z\":0}}"); /* the same fields in another order are the same job */
    assert_true(f->out.fingerprint == fingerprint);
    ready(f, true,
          "{\"a\":[0,0,0],\"f1\":0,\"f2\":0,\"y\":0,\"f10\":0,\"in\":{\"deep\":{\"on\":0},"
          "\"z\":0}}");
    assert_true(f->out.fingerprint != fingerprint);
}

static void an_open_says_what_is_wrong(void **state)
{
    static const struct {
        const char *label, *one, *two, *sample, *says;
    } cases[] = {
        {"", "a", "", "{}", "input.label: this algorithm needs a label"},
        {"y", "", "", "{\"y\":1", "the first record is no JSON object"},
        {"y", "", "", "17", "the first record is no JSON object"},
        {"y", "", "", "{\"y\":1,\"s\":\"t\"}", "no field is left to learn from"},
        {"y", "", "", "{\"y\":1,\"a\":2,\"b\":null}", "field 'b' has no value in the first record"},
        {"y", "", "", "{\"y\":1,\"a\":[]}", "field 'a' has no value in the first record"},
        {"y", "", "", "{\"y\":1,\"a.b\":1,\"a\":{\"b\":2}}", "two fields 'a.b'"},
        {"y", "y", "", "{\"y\":1}", "input.features: 'y' has another use"},
        {"y", "a", "a.b", "{\"y\":1}", "'a' and 'a.b' are both named, but one is a part"},
        {"label", "a", "", "{\"labl\":1,\"a\":1}", "no field 'label'; did you mean 'labl'?"},
        {"y", "price", "", "{\"y\":1,\"prices\":1}", "no field 'price'; did you mean 'prices'?"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&f->in, 0, sizeof f->in);
        set(f->in.label, cases[i].label);
        if (*cases[i].one)
            feature(f, cases[i].one, 0);
        if (*cases[i].two)
            feature(f, cases[i].two, 0);
        if (open_json(f, true, cases[i].sample) != ST_BAD_CONFIG ||
            !strstr(f->e.text, cases[i].says))
            fail_msg("case %zu: '%s' does not say '%s'", i, f->e.text, cases[i].says);
    }
}

static void a_label_that_is_not_needed_may_be_absent(void **state)
{
    struct fixture *f = *state;

    set(f->in.label, "label");
    feature(f, "a", 0);
    assert_int_equal(open_json(f, false, NULL), ST_AGAIN);
    ready(f, false, "{\"a\":1}");
    assert_int_equal(f->out.shape.ny, 0);
    ready(f, false, "{\"a\":1,\"label\":null}");
    assert_int_equal(f->out.shape.ny, 1);
}

/* ---- bad records ---- */

static void bad_records_have_reasons_and_leave_the_block(void **state)
{
    struct fixture *f = *state;

    feature(f, "f1", 0);
    feature(f, "a", 2);
    set(f->in.label, "y");
    set(f->in.weight, "w");
    ready(f, true, NULL);
#define ROW(f1, a, y, w) "{\"f1\":" f1 ",\"a\":" a ",\"y\":" y ",\"w\":" w "}"
    good(f, ROW("1", "[2,3]", "0", "1"));
    is_bad(f, "", BAD_TRUNCATED, "no object in a value of 0 bytes");
    is_bad(f, " \n", BAD_TRUNCATED, "no object in a value of 2 bytes");
    is_bad(f, "[", BAD_TRUNCATED, "an object is needed");
    is_bad(f, "1", BAD_VALUE, "an object is needed");
    is_bad(f, "[1]", BAD_VALUE, "an object is needed");
    is_bad(f, ROW("1", "[2,3]", "0", "1") "}", BAD_TRAILING, "row 2, byte 30");
    is_bad(f, "[" ROW("1", "[2,3]", "0", "1") ",]", BAD_VALUE, "an object is needed");
    is_bad(f, "[" ROW("1", "[2,3]", "0", "1") "]{}", BAD_TRAILING, "more than the rows");
    is_bad(f, "[" ROW("1", "[2,3]", "0", "1") ROW("1", "[2,3]", "0", "1") "]", BAD_VALUE,
           "a comma is needed");
    is_bad(f, ROW("1", "[2,3]", "0", "1") ROW("x", "[2,3]", "0", "1"), BAD_VALUE, "row 2, byte ");
    is_bad(f, ROW("01", "[2,3]", "0", "1"), BAD_VALUE, "begins with 0");
    is_bad(f, ROW("+1", "[2,3]", "0", "1"), BAD_VALUE, "a value is needed at '+1");
    is_bad(f, ROW("1.", "[2,3]", "0", "1"), BAD_VALUE, "a digit is needed");
    is_bad(f, ROW(".5", "[2,3]", "0", "1"), BAD_VALUE, "a value is needed");
    is_bad(f, ROW("1e", "[2,3]", "0", "1"), BAD_VALUE, "a digit is needed");
    is_bad(f, ROW("-", "[2,3]", "0", "1"), BAD_VALUE, "a number is needed");
    is_bad(f, ROW("1.5.5", "[2,3]", "0", "1"), BAD_VALUE, "a comma is needed");
    is_bad(f, ROW("1x", "[2,3]", "0", "1"), BAD_VALUE, "a comma is needed");
    is_bad(f, ROW("\"1\"", "[2,3]", "0", "1"), BAD_VALUE, "row 1, field f1: no number '1'");
    is_bad(f, ROW("[1]", "[2,3]", "0", "1"), BAD_VALUE, "field f1: an array where a number");
    is_bad(f, ROW("{}", "[2,3]", "0", "1"), BAD_VALUE, "field f1: no number '{'");
    is_bad(f, ROW("1e400", "[2,3]", "0", "1"), BAD_NONFINITE, "field f1: not finite '1e400'");
    is_bad(f, ROW("1", "[1e39,3]", "0", "1"), BAD_NONFINITE, "field a: not finite '1e39'");
    is_bad(f, ROW("NaN", "[2,3]", "0", "1"), BAD_NONFINITE, "'NaN'");
    is_bad(f, ROW("-Infinity", "[2,3]", "0", "1"), BAD_NONFINITE, "'-Infinity'");
    is_bad(f, ROW("null", "[2,3]", "0", "1"), BAD_MISSING, "field f1: no value");
    is_bad(f, ROW("1", "[2,null]", "0", "1"), BAD_MISSING, "field a: no value");
    is_bad(f, ROW("1", "null", "0", "1"), BAD_MISSING, "field a: no value");
    is_bad(f, ROW("1", "[]", "0", "1"), BAD_WIDTH, "has 0 numbers, 2 are needed");
    is_bad(f, ROW("1", "[2]", "0", "1"), BAD_WIDTH, "has 1 numbers");
    is_bad(f, ROW("1", "[2,3,4]", "0", "1"), BAD_WIDTH, "more than 2 numbers");
    is_bad(f, ROW("1", "2", "0", "1"), BAD_VALUE, "field a: an array of numbers is needed");
    is_bad(f, ROW("1", "[2 3]", "0", "1"), BAD_VALUE, "a comma is needed");
    is_bad(f, ROW("1", "[2,3]", "null", "1"), BAD_LABEL, "field y: no label");
    is_bad(f, ROW("1", "[2,3]", "\"cat\"", "1"), BAD_LABEL, "no such class 'cat'");
    is_bad(f, ROW("1", "[2,3]", "NaN", "1"), BAD_LABEL, "no such class 'NaN'");
    is_bad(f, ROW("1", "[2,3]", "1e400", "1"), BAD_LABEL, "no such class '1e400'");
    is_bad(f, ROW("1", "[2,3]", "0", "-1"), BAD_WEIGHT, "negative weight '-1'");
    is_bad(f, ROW("1", "[2,3]", "0", "1e400"), BAD_NONFINITE, "field w: not finite");
    is_bad(f, ROW("1", "[2,3]", "0", "\"1\""), BAD_VALUE, "field w: no number '1'");
    is_bad(f, "{\"f1\":1,\"a\":[2,3],\"y\":0}", BAD_MISSING, "field w: no value");
    is_bad(f, "{\"f1\":1,\"a\":[2,3],\"w\":0}", BAD_LABEL, "field y: no label");
    is_bad(f, "{\"f10\":1,\"f\":1,\"a\":[2,3],\"y\":0,\"w\":1}", BAD_MISSING, "field f1: no value");
    is_bad(f, "{\"f1\":1,\"a\":[2,3],\"y\":0,\"f1\":1,\"w\":1}", BAD_VALUE, "f1: is there twice");
    is_bad(f, "{\"f1\":1,\"a\":[2,3],\"y\":0,\"\\u00661\":1,\"w\":1}", BAD_VALUE, "twice");
    is_bad(f, "{\"f1\" 1}", BAD_VALUE, "a colon is needed");
    is_bad(f, "{\"f1\":1,}", BAD_VALUE, "text in quotes is needed");
    is_bad(f, "{\"f1\":1;", BAD_VALUE, "a comma is needed");
    is_bad(f, "{\"n\":\"a\nb\"}", BAD_VALUE, "a control character");
    is_bad(f, "{\"n\":\"\\x\"}", BAD_VALUE, "no such escape");
    is_bad(f, "{\"n\":\"\\u12g4\"}", BAD_VALUE, "four hexadecimal digits");
    is_bad(f, "{\"n\":tru}", BAD_VALUE, "a value is needed");
    is_bad(f, "{\"n\":nul", BAD_TRUNCATED, "a value is needed");
#undef ROW
    assert_int_equal(f->b.n, 1);
    assert_memory_equal(x(f, 0), ((float[]){1, 2, 3}), 12);
}

static void a_field_that_is_there_twice_is_bad_in_the_common_form_too(void **state)
{
    struct fixture *f = *state;

    feature(f, "f1", 0);
    feature(f, "f2", 0);
    ready(f, false, NULL);
    for (int i = 0; i < 3; i++) /* it is expected, the second time */
        is_bad(f,
               "{\"before it\":\"0123456789\",\"f1\":1,\"f1\":2,\"f2\":3,\"behind\":"
               "\"01234567890123456789012345678901234567890123456789\"}",
               BAD_VALUE, "field f1: is there twice");
}

static void every_cut_of_a_message_is_truncated(void **state)
{
    static const char row[] = " {\"skip\":[1,{\"a\\\"\":\"b\"},true],\"f0\":0.25,\"f1\":-12.5e-1,"
                              "\"y\":\"1\",\"a\":[1,22,333]}";
    struct fixture *f = *state;

    set(f->in.label, "y");
    ready(f, true, row);
    assert_int_equal(f->out.columns, 5);
    for (size_t n = 0; n < sizeof row - 1; n++)
        if (decode_bytes(f, row, n) != BAD_TRUNCATED)
            fail_msg("the first %zu bytes", n);
    good(f, row);
    assert_memory_equal(x(f, 0), ((float[]){1, 22, 333, 0.25f, -1.25f}), 20);
}

static void missing_features_are_nan_where_the_algorithm_takes_them(void **state)
{
    struct fixture *f = *state;

    feature(f, "f1", 0);
    feature(f, "a", 2);
    f->in.missing = true;
    ready(f, false, NULL);
    good(f, "{\"f1\":null,\"a\":[null,1]}{\"a\":null,\"f1\":NaN}\n{}");
    assert_int_equal(f->b.n, 3);
    assert_true(isnan(x(f, 0)[0]) && isnan(x(f, 0)[1]) && x(f, 0)[2] == 1);
    for (uint32_t i = 1; i < 3; i++)
        for (uint32_t c = 0; c < 3; c++)
            assert_true(isnan(x(f, i)[c]));
    is_bad(f, "{\"f1\":Infinity}", BAD_NONFINITE, "Infinity");
    is_bad(f, "{\"a\":[1]}", BAD_WIDTH, "has 1 numbers");
}

static void depth_and_size_have_a_bound(void **state)
{
    struct fixture *f = *state;
    char *deep = malloc(4 << 20);
    size_t n;

    feature(f, "f", 0);
    ready(f, false, NULL);
    for (int depth = 62; depth < 65; depth++) {
        n = (size_t)sprintf(deep, "{\"f\":1,\"d\":%.*s%.*s}", depth,
                            "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                            depth,
                            "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
        assert_int_equal(decode_bytes(f, deep, n), depth < 64 ? BAD_NONE : BAD_TOO_LONG);
    }
    memset(deep, '[', 4 << 20);
    memcpy(deep, "{\"d\":", 5);
    assert_int_equal(decode_bytes(f, deep, 4 << 20), BAD_TOO_LONG);
    memset(deep, '1', 400);
    memcpy(deep, "{\"f\":", 5);
    memcpy(deep + 300, "}", 1);
    assert_int_equal(decode_bytes(f, deep, 301), BAD_TOO_LONG);
    n = 0;
    for (int i = 0; i <= BLOCK_ROWS; i++)
        n += (size_t)sprintf(deep + n, "{\"f\":%d}\n", i);
    block_clear(&f->b);
    assert_int_equal(decode_bytes(f, deep, n), BAD_TOO_MANY);
    good(f, "{\"f\":1}");
    assert_int_equal(decode_bytes(f, deep, n - 11), BAD_FULL);
    block_clear(&f->b);
    assert_int_equal(decode_bytes(f, deep, n - 11), BAD_NONE);
    assert_int_equal(f->b.n, BLOCK_ROWS);
    assert_int_equal(decode(f, "{\"f\":1}"), BAD_FULL);
    free(deep);
}

/* ---- labels and categories ---- */

static void labels_are_numbers_text_or_booleans(void **state)
{
    struct fixture *f = *state;

    feature(f, "a", 0);
    set(f->in.label, "y");
    ready(f, true, NULL);
    good(f, "{\"a\":1,\"y\":2.5}{\"a\":1,\"y\":true}{\"a\":1,\"y\":\"7\"}");
    assert_memory_equal(f->b.y, ((float[]){2.5f, 1, 7}), 12);
    codec_json.label_limit(f->self, 2);
    good(f, "{\"a\":1,\"y\":false}");
    is_bad(f, "{\"a\":1,\"y\":2}", BAD_LABEL, "no such class '2'");
    set(f->in.class_name[0], "1");
    set(f->in.class_name[1], "true");
    f->in.classes = 2;
    ready(f, true, NULL);
    good(f, "{\"a\":1,\"y\":1.0}{\"a\":1,\"y\":true}");
    assert_memory_equal(f->b.y, ((float[]){0, 1}), 8);
    is_bad(f, "{\"a\":1,\"y\":false}", BAD_LABEL, "no such class 'false'");
}

static void categories_are_entries_by_hash(void **state)
{
    struct fixture *f = *state;
    uint32_t user, film;

    set(f->in.one_hot[0], "user");
    set(f->in.one_hot[1], "film.id");
    f->in.one_hots = 2;
    f->in.hash_bits = 10;
    set(f->in.label, "y");
    ready(f, true, "{\"user\":\"ann\",\"film\":{\"id\":17},\"y\":1,\"price\":2}");
    assert_int_equal(f->out.columns, 1025);
    user = (uint32_t)hash64("\xc3\xa4nn", 4, hash64("user", 4, 0)) & 1023;
    film = (uint32_t)hash64("17", 2, hash64("film.id", 7, 0)) & 1023;
    good(f, "{\"price\":0,\"film\":{\"id\":17},\"user\":\"\\u00e4nn\",\"y\":4}"
            "{\"price\":2.5,\"film\":{\"id\":\"17\"},\"user\":\"\xc3\xa4nn\",\"y\":4}");
    assert_int_equal(f->b.ptr[1], 2);
    assert_int_equal(f->b.ptr[2], 5);
    assert_int_equal(f->b.col[0], user < film ? user : film);
    assert_int_equal(f->b.col[1], user < film ? film : user);
    assert_int_equal(f->b.col[4], 1024);
    assert_true(f->b.val[0] == 1 && f->b.val[4] == 2.5f);
    is_bad(f, "{\"price\":0,\"film\":{},\"user\":\"a\",\"y\":4}", BAD_MISSING, "film.id: no value");
    is_bad(f, "{\"price\":0,\"film\":{\"id\":[]},\"user\":\"a\",\"y\":4}", BAD_VALUE,
           "a number or text is needed");
}

/* ---- the same rows, whatever the form ---- */

enum { FIELDS = 12 };

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = mix64(*seed);
    return *seed % below;
}

static size_t put_blank(char *p, uint64_t *seed, bool odd)
{
    static const char *const blanks[] = {"", "", "", " ", "\n\t", "  \r\n"};

    return odd ? (size_t)sprintf(p, "%s", blanks[draw(seed, 6)]) : 0;
}

static size_t put_name(char *p, const char *name, uint64_t *seed, bool odd)
{
    size_t n = (size_t)sprintf(p, "\"");

    for (; *name; name++)
        if (odd && !draw(seed, 6))
            n += (size_t)sprintf(p + n, "\\u%04X", (unsigned)(uint8_t)*name);
        else
            p[n++] = *name;
    return n + (size_t)sprintf(p + n, "\"");
}

/* A row with a value a field; odd: fields in any order, with blanks, escapes and others between. */
static size_t put_row(char *p, char (*value)[40], uint64_t *seed, bool odd)
{
    static const char *const others[] = {"\"f1\\\"\":\"}\\\\\"", "\"f\":null", "\"f100\":[{}]",
                                         "\"\":{\"f1\":[1e9,\"]\"]}"};
    uint32_t order[FIELDS];
    char name[16];
    size_t n = 0;

    for (uint32_t i = 0; i < FIELDS; i++) {
        uint32_t j = odd ? (uint32_t)draw(seed, i + 1) : i;

        order[i] = order[j];
        order[j] = i;
    }
    p[n++] = '{';
    for (uint32_t i = 0; i < FIELDS; i++) {
        n += put_blank(p + n, seed, odd);
        if (odd && !draw(seed, 4))
            n += (size_t)sprintf(p + n, "%s,", others[draw(seed, 4)]);
        n += put_blank(p + n, seed, odd);
        sprintf(name, "f%u", order[i]);
        n += put_name(p + n, name, seed, odd);
        n += put_blank(p + n, seed, odd);
        p[n++] = ':';
        n += put_blank(p + n, seed, odd);
        n += (size_t)sprintf(p + n, "%s", value[order[i]]);
        n += put_blank(p + n, seed, odd);
        p[n++] = i + 1 < FIELDS ? ',' : '}';
    }
    return n;
}

static void put_value(char value[40], uint64_t *seed)
{
    int digits = (int)draw(seed, 20);
    uint64_t bits = mix64(*seed);
    double v = (double)(int64_t)bits / 9e18;
    float f;

    switch (draw(seed, 6)) {
    case 0:
        sprintf(value, "%d", (int)draw(seed, 2000) - 1000);
        break;
    case 1:
        sprintf(value, "%.*e", digits, v * pow(10, (double)draw(seed, 70) - 40));
        break;
    case 2: /* the middle between two floats, and a digit beside it */
        memcpy(&f, (uint32_t[]){0x3f000000u + (uint32_t)(bits & 0xffffff)}, 4);
        sprintf(value, "%.25f%d", (double)f + (double)(nextafterf(f, 9) - f) / 2,
                (int)draw(seed, 2));
        break;
    default:
        sprintf(value, "%.*f", digits, v * pow(10, (double)draw(seed, 8)));
    }
}

static void other_forms_of_a_row_are_the_same_row(void **state)
{
    struct fixture *f = *state;
    char sample[2048] = "{", p[8192], value[FIELDS][40];
    size_t n = 1;
    uint64_t seed = 1;

    for (int i = 0; i < FIELDS; i++)
        n += (size_t)sprintf(sample + n, "%s\"f%d\":0", i ? "," : "", i);
    sprintf(sample + n, "}");
    ready(f, false, sample);
    for (int round = 0; round < 20000; round++) {
        block_clear(&f->b);
        for (int i = 0; i < FIELDS; i++)
            put_value(value[i], &seed);
        for (int form = 0; form < 3; form++) {
            n = put_row(p, value, &seed, form);
            p[n] = 0;
            good(f, p);
        }
        for (int i = 0; i < FIELDS; i++) {
            float v = strtof(value[i], NULL);

            for (uint32_t row = 0; row < 3; row++)
                if (memcmp(x(f, row) + i, &v, 4))
                    fail_msg("f%d of row %u: %s is %a, not %a", i, row, value[i],
                             (double)x(f, row)[i], (double)v);
        }
    }
}

static void arrays_have_the_same_numbers(void **state)
{
    struct fixture *f = *state;
    char p[8192], value[40][40];
    uint64_t seed = 2;

    feature(f, "a", 40);
    ready(f, false, NULL);
    for (int round = 0; round < 10000; round++) {
        size_t n = (size_t)sprintf(p, "{\"a\":[");

        block_clear(&f->b);
        for (int i = 0; i < 40; i++) {
            put_value(value[i], &seed);
            n += put_blank(p + n, &seed, round % 2);
            n += (size_t)sprintf(p + n, "%s", value[i]);
            n += put_blank(p + n, &seed, round % 2);
            p[n++] = i < 39 ? ',' : ']';
        }
        sprintf(p + n, "}");
        good(f, p);
        for (int i = 0; i < 40; i++) {
            float v = strtof(value[i], NULL);

            if (memcmp(x(f, 0) + i, &v, 4))
                fail_msg("%s is %a, not %a", value[i], (double)x(f, 0)[i], (double)v);
        }
    }
}

/* Damaged messages: what jansson takes is a row, what it does not take is none. */
static void what_is_json_is_as_another_reader_has_it(void **state)
{
    static const char row[] = "{\"s\":[1,-0.5e+3,{\"a\\u00e4\":\"b\\n\"},true,null,[]],\"f\":0.25,"
                              "\"g\":12345.678901}";
    static const char bytes[] = "{}[]:,\"\\ue0123456789.+-Etrufalsn \n\x01x";
    struct fixture *f = *state;
    uint64_t seed = 3;
    int took = 0;
    char p[128];

    feature(f, "f", 0);
    ready(f, false, NULL);
    for (int round = 0; round < 200000; round++) {
        size_t n = sizeof row - 1;
        enum bad bad;
        json_error_t at;
        json_t *v;

        memcpy(p, row, n);
        for (uint64_t k = 1 + draw(&seed, 2); k; k--)
            p[draw(&seed, n)] = bytes[draw(&seed, sizeof bytes - 1)];
        block_clear(&f->b);
        bad = decode_bytes(f, p, n);
        v = json_loadb(p, n, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &at);
        took += v != NULL;
        if (bad == BAD_NONE && !v && json_error_code(&at) != json_error_numeric_overflow)
            fail_msg("%.*s is a row", (int)n, p);
        if (v && bad != BAD_NONE &&
            (bad == BAD_TRUNCATED || bad == BAD_TRAILING || !strstr(f->detail, "field f: ")))
            fail_msg("%.*s: %s: %s", (int)n, p, bad_name(bad), f->detail);
        json_decref(v);
    }
    assert_in_range(took, 20000, 180000);
}

#define JSON_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        JSON_TEST(named_fields_go_to_their_places),
        JSON_TEST(unnamed_features_are_the_numbers_of_the_sample_by_name),
        JSON_TEST(an_open_says_what_is_wrong),
        JSON_TEST(a_label_that_is_not_needed_may_be_absent),
        JSON_TEST(bad_records_have_reasons_and_leave_the_block),
        JSON_TEST(a_field_that_is_there_twice_is_bad_in_the_common_form_too),
        JSON_TEST(every_cut_of_a_message_is_truncated),
        JSON_TEST(missing_features_are_nan_where_the_algorithm_takes_them),
        JSON_TEST(depth_and_size_have_a_bound),
        JSON_TEST(labels_are_numbers_text_or_booleans),
        JSON_TEST(categories_are_entries_by_hash),
        JSON_TEST(other_forms_of_a_row_are_the_same_row),
        JSON_TEST(arrays_have_the_same_numbers),
        JSON_TEST(what_is_json_is_as_another_reader_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
