#include "consumer/scan.h"

#include "config/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static const uint8_t *naive(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p != ',' && *p != '\n' && *p != ':')
        p++;
    return p;
}

/* Texts of every length, in memory that ends with them, walked from every byte on. */
static void the_next_one_is_found_as_byte_by_byte(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n++) {
        uint8_t *text = malloc(n + !n), *end = text + n;

        for (size_t i = 0; i < n; i++)
            text[i] = (uint8_t) ",\n:xyz0123456789.-"[mix64(n * 200 + i) % 18];
        for (uint8_t *from = text; from <= end; from += 1 + n / 50) {
            struct scan s = {.begin = text, .end = end, .what = {',', '\n', ':'}};
            const uint8_t *p = from;

            scan_from(&s, p);
            for (; p < end; p++) {
                p = naive(p, end);
                assert_ptr_equal(scan_next(&s), p);
            }
            assert_ptr_equal(scan_next(&s), end);
        }
        free(text);
    }
}

static void what_is_skipped_is_not_found(void **state)
{
    enum { BYTES = 300 };
    uint8_t *text = malloc(BYTES), *end = text + BYTES;

    (void)state;
    for (size_t i = 0; i < BYTES; i++)
        text[i] = (uint8_t)(mix64(i) % 5 ? '1' : ',');
    for (size_t step = 1; step < 150; step++) {
        struct scan s = {.begin = text, .end = end, .what = {',', ',', ','}};
        const uint8_t *p = text;

        scan_from(&s, p);
        for (; p < end; p += step) {
            const uint8_t *next = naive(p, end);

            scan_skip(&s, p);
            assert_ptr_equal(scan_next(&s), next);
            p = next + (next < end);
            if ((size_t)(end - p) < step)
                break;
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_one_is_found_as_byte_by_byte),
        cmocka_unit_test(what_is_skipped_is_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
