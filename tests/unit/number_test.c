#include "consumer/number.h"

#include "config/base/bytes.h"
#include "consumer/labels.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static bool f32(const char *text, float *out)
{
    return number_f32((const uint8_t *)text, strlen(text), out);
}

static bool f64(const char *text, double *out)
{
    return number_f64((const uint8_t *)text, strlen(text), out);
}

/* MILLRACE_CASES: so many random texts. */
static uint64_t cases(void)
{
    const char *set = getenv("MILLRACE_CASES");

    return set ? strtoull(set, NULL, 10) : 400000;
}

/* The C library in the C locale rounds correctly; so must we, for any text. */
static void check_text(const char *text)
{
    float a, b = strtof(text, NULL);
    double c, d = strtod(text, NULL);

    assert_true(f32(text, &a));
    assert_true(f64(text, &c));
    if (memcmp(&a, &b, sizeof a) || memcmp(&c, &d, sizeof c))
        fail_msg("%s: %a not %a, or %a not %a", text, (double)a, (double)b, c, d);
}

static void random_text_is_rounded_as_strtod_does(void **state)
{
    char text[400];
    const uint64_t n = cases() / 2;
    uint64_t h = n;

    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)(h = mix64(h));
        float f;

        memcpy(&f, &bits, sizeof f);
        if (!isfinite(f))
            continue;
        snprintf(text, sizeof text, "%.*g", (int)(h >> 32) % 25 + 1, (double)f);
        check_text(text);
        snprintf(text, sizeof text, "%.*f", (int)(h >> 40) % 12, (double)(int32_t)bits / 1e4);
        check_text(text);
        snprintf(text, sizeof text, "%llu.%lluE%d", (unsigned long long)(mix64(h) >> (h & 63)),
                 (unsigned long long)(mix64(h + 1) >> (h >> 58)), (int)(h >> 20) % 60 - 30);
        check_text(text);
    }
}

/* Halfway between two floats: exactly, and a hair above or below, which a double cannot tell from
 * halfway. */
static void numbers_between_two_floats_are_rounded_once(void **state)
{
    char text[64];

    (void)state;
    for (uint32_t i = 0; i < 200000;
         i++) { /* short texts whose double is halfway, though they are not */
        double halfway = 1 + ldexp(2.0 * (double)(mix64(i) >> 41) + 1, -24);

        snprintf(text, sizeof text, "%.15f", halfway);
        check_text(text);
    }
    check_text("1.00000005960464477539062500");
    check_text("1.00000005960464477539062501");
    check_text("1.00000005960464477539062499");
    check_text("16777217");
    check_text("16777217.0000000001");
    check_text("9007199254740993");
    check_text("1e-45");
    check_text("0.7006492321624085e-45");
    check_text("3.4028235677973366e38");
    check_text("1e400");
    check_text("-1e-400");
    check_text("000000000000000000000000000001.5e+00002");
    check_text("123456789012345678901234567890");
}

/* ---- many at once ---- */

enum { TEXT = 48 };

/* Digits with a point anywhere, some behind zeros, some with an exponent. */
static void put_digits(uint64_t h, char *text)
{
    const uint32_t digits = 1 + (uint32_t)(h % 22), point = (uint32_t)(h >> 8) % (digits + 3);
    const uint32_t zeros = h >> 16 & 1 ? 0 : (uint32_t)(h >> 17) % (digits + 1);
    uint64_t d = mix64(h);
    char *p = text;

    if (h >> 24 & 1)
        *p++ = '-';
    for (uint32_t i = 0; i < digits; i++, d = d * 0x9e3779b97f4a7c15 + 1) {
        if (i == point)
            *p++ = '.';
        *p++ = (char)('0' + (i < zeros ? 0 : d >> 60) % 10);
    }
    if (point == digits)
        *p++ = '.'; /* the last byte */
    if ((h >> 25) % 8 == 0)
        p += sprintf(p, "%c%+03d", h >> 28 & 1 ? 'e' : 'E', (int)(h >> 32) % 60 - 30);
    *p = 0;
}

/* The middle between a float and the next, or beside it, with as many digits as come. */
static void put_middle(uint64_t h, char *text)
{
    uint32_t bits = (uint32_t)h & 0x7fffffff;
    float a, b;

    if (bits >= 0x7f000000 || h >> 63)
        bits = 0x3e000000 + bits % 0x0a000000; /* of usual size */
    memcpy(&a, &bits, sizeof a);
    bits++;
    memcpy(&b, &bits, sizeof b);
    snprintf(text, TEXT, h >> 62 & 1 ? "%.*g" : "%.*e", (int)(h >> 32) % 24 + 5,
             ((double)a + (double)b) / 2);
}

static void put_any(uint64_t h, char *text)
{
    const uint32_t bits = (uint32_t)mix64(h);
    float f;

    memcpy(&f, &bits, sizeof f);
    switch (h >> 61) {
    case 0:
        put_middle(mix64(h), text);
        return;
    case 1:
        snprintf(text, TEXT, "%.*g", (int)(h >> 32) % 20 + 1, isfinite(f) ? (double)f : 0);
        return;
    case 2:
        snprintf(text, TEXT, "%.*f", (int)(h >> 32) % 18, (double)(int64_t)mix64(h) / 9.3e18);
        return;
    default:
        put_digits(mix64(h), text);
    }
}

/* All of these texts, n of them, one behind the other as fields, in memory that ends with them:
 * what number_many makes of them is what the C library does, up to the first that is none or not
 * finite. */
static void check_many(char text[NUMBER_MANY][TEXT], uint32_t n)
{
    static struct number_many many;
    float out[NUMBER_MANY + 1], want = 0;
    size_t bytes = 0;
    uint8_t *line, *p;
    uint32_t good, i = 0;

    for (i = 0; i < n; i++)
        bytes += strlen(text[i]) + (i > 0);
    line = p = malloc(bytes + !bytes);
    number_many_init(&many);
    many.begin = line;
    for (i = 0; i < n; i++) {
        if (i)
            *p++ = ',';
        memcpy(p, text[i], strlen(text[i]));
        number_put(&many, i, p, strlen(text[i]));
        p += strlen(text[i]);
    }
    out[n] = 17;
    good = number_many(&many, n, out);
    assert_true(out[n] == 17 && good <= n);
    for (i = 0; i < good; i++) {
        want = strtof(text[i], NULL);
        if (memcmp(&out[i], &want, sizeof want))
            fail_msg("%s: %a, not %a", text[i], (double)out[i], (double)want);
    }
    if (good < n && f32(text[good], &want) && isfinite(want))
        fail_msg("%s was refused", text[good]);
    free(line);
}

static void many_are_rounded_as_one_is(void **state)
{
    const uint64_t n = cases();
    static char text[NUMBER_MANY][TEXT];
    uint64_t h = n;

    (void)state;
    for (uint64_t i = 0; i < n; i += NUMBER_MANY) {
        for (uint32_t k = 0; k < NUMBER_MANY; k++)
            put_any(h = mix64(h), text[k]);
        check_many(text, 1 + (uint32_t)(h >> 32) % NUMBER_MANY);
    }
}

static void hard_ones_among_many_are_rounded_once(void **state)
{
    static const char *const hard[] = {"16777217",
                                       "16777219",
                                       "33554433.0",
                                       "8388608.5",
                                       "8388609.5",
                                       "1.00000005960464477539",
                                       "1.00000005960464477540",
                                       "1.0000000596046448",
                                       "0.50000002980232238770",
                                       "0.000000059604648328104",
                                       "3.4028235e+38",
                                       "3.4028235677973366e+38",
                                       "1e-45",
                                       "1.17549435e-38",
                                       "1.1754942e-38",
                                       "0",
                                       "-0",
                                       "0.0",
                                       "-0.000",
                                       "00000000000",
                                       "0000000000000000.1",
                                       "9999999999999999",
                                       "99999999.99999999",
                                       ".5",
                                       "-.5",
                                       "5.",
                                       "0.",
                                       "123456789012345678901234",
                                       "1234567890123456.7",
                                       "123456789012345.67",
                                       "0.1234567890123456",
                                       "12345678.",
                                       "1234567.8",
                                       ".12345678",
                                       "+1.5",
                                       "4.512999999999999789e-01",
                                       "7.0064923216240862e-46",
                                       "1.401298464324817e-45",
                                       "1e0",
                                       "1E+2",
                                       "2.5e-3",
                                       "1e22",
                                       "0.30000001192092895507812",
                                       "0.3000000119209289551",
                                       "2147483648",
                                       "4294967296.5"};
    static char text[NUMBER_MANY][TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
        for (uint32_t at = 0; at < NUMBER_MANY; at += 5) {
            for (uint32_t k = 0; k < NUMBER_MANY; k++)
                snprintf(text[k], TEXT, "%s", k == at ? hard[i] : "0.25");
            check_many(text, NUMBER_MANY);
            check_many(text, at + 1);
            snprintf(text[0], TEXT, "%s", hard[i]); /* alone, where nothing is before it */
            check_many(text, 1);
        }
}

static void among_many_the_first_that_is_none_is_found(void **state)
{
    static const char *const none[] = {"",
                                       "-",
                                       ".",
                                       "-.",
                                       "1.2.3",
                                       "1..2",
                                       "1-2",
                                       "--1",
                                       "1e",
                                       "nan",
                                       "inf",
                                       "1e39",
                                       "1 ",
                                       " 1",
                                       "0x1",
                                       "1,",
                                       "12345678901234567x",
                                       "1234567890.123456e",
                                       "/",
                                       ":",
                                       "1:2",
                                       "1.234567890123456.789",
                                       "0.1e--1",
                                       "-nan",
                                       "e-01",
                                       "\xb0"};
    static struct number_many many;
    float out[NUMBER_MANY];
    char line[NUMBER_MANY * TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        for (uint32_t at = 0; at < NUMBER_MANY; at++) {
            number_many_init(&many);
            many.begin = (const uint8_t *)line;
            memset(line, '7', sizeof line);
            for (uint32_t k = 0; k < NUMBER_MANY; k++) {
                const char *word = k >= at ? none[i] : k & 1 ? "-0.4513" : "12";

                memcpy(line + k * TEXT, word, strlen(word));
                number_put(&many, k, (const uint8_t *)line + k * TEXT, strlen(word));
            }
            if (number_many(&many, NUMBER_MANY, out) != at)
                fail_msg("'%s' was taken, or what is before it was not", none[i]);
            assert_true(at < 2 || (out[0] == 12 && out[1] == -0.4513f));
        }
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const bad[] = {"",     " ",  "-",   ".",    "1.2.3", "1e",   "1e+",
                                      "0x10", "1 ", " 1",  "1,2",  "e5",    "+-1",  "nanx",
                                      "1f",   "in", "--1", "1e5.", "٣",     "1_000"};
    char lengthy[400];
    double d;
    float f;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (f64(bad[i], &d) || f32(bad[i], &f))
            fail_msg("'%s' was taken", bad[i]);
    memset(lengthy, '1', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    assert_false(f64(lengthy, &d));
    assert_true(f64("-Infinity", &d) && d < 0 && isinf(d));
    assert_true(f32("NaN", &f) && isnan(f));
}

static void the_locale_does_not_matter(void **state)
{
    double d;

    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        skip();
    assert_true(f64("12345678901234567890.5", &d));
    assert_true(d > 1.2e19);
    setlocale(LC_ALL, "C");
}

static void classes_are_found_as_text_or_as_numbers(void **state)
{
    static const char name[4][CLASS_NAME_BYTES] = {"cat", "-1", "+1", "7.50"};
    struct labels l;
    struct err e;
    float y;

    (void)state;
    assert_int_equal(labels_init(&l, name, 4, &e), ST_OK);
    assert_true(labels_text(&l, (const uint8_t *)"cat", 3, &y) && y == 0);
    assert_true(labels_text(&l, (const uint8_t *)"1", 1, &y) && y == 2);
    assert_true(labels_text(&l, (const uint8_t *)"-1.0", 4, &y) && y == 1);
    assert_true(labels_number(&l, 7.5, &y) && y == 3);
    assert_false(labels_text(&l, (const uint8_t *)"dog", 3, &y));
    assert_false(labels_text(&l, (const uint8_t *)"", 0, &y));
    assert_false(labels_number(&l, 0, &y));
    assert_false(labels_number(&l, NAN, &y));
    labels_fini(&l);
}

static void numeric_labels_obey_the_limit(void **state)
{
    struct labels l;
    float y;

    (void)state;
    assert_int_equal(labels_init(&l, NULL, 0, NULL), ST_OK);
    assert_true(labels_number(&l, -2.5, &y) && y == -2.5f);
    assert_false(labels_number(&l, INFINITY, &y));
    assert_false(labels_number(&l, 1e300, &y));
    l.limit = 10;
    assert_true(labels_number(&l, 9, &y) && y == 9);
    assert_false(labels_number(&l, 10, &y));
    assert_false(labels_number(&l, -1, &y));
    assert_false(labels_number(&l, 1.5, &y));
    assert_false(labels_number(&l, NAN, &y));
    labels_fini(&l);
}

static void a_class_named_twice_is_refused(void **state)
{
    static const char name[3][CLASS_NAME_BYTES] = {"a", "1", "1.0"};
    struct labels l;
    struct err e;

    (void)state;
    assert_int_equal(labels_init(&l, name, 3, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "'1.0' is there twice"));
    labels_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_text_is_rounded_as_strtod_does),
        cmocka_unit_test(numbers_between_two_floats_are_rounded_once),
        cmocka_unit_test(many_are_rounded_as_one_is),
        cmocka_unit_test(hard_ones_among_many_are_rounded_once),
        cmocka_unit_test(among_many_the_first_that_is_none_is_found),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(classes_are_found_as_text_or_as_numbers),
        cmocka_unit_test(numeric_labels_obey_the_limit),
        cmocka_unit_test(a_class_named_twice_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
