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
    uint64_t h = 1;

    (void)state;
    for (int i = 0; i < 200000; i++) {
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
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(classes_are_found_as_text_or_as_numbers),
        cmocka_unit_test(numeric_labels_obey_the_limit),
        cmocka_unit_test(a_class_named_twice_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
