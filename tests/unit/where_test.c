/* A place in a topic, as a user names it. */
#include "consumer/where.h"

#include "config/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void is(const char *text, uint32_t kind, int64_t value, const char *back)
{
    char again[WHERE_TEXT];
    struct where w;
    struct err e = {""};

    if (where_parse(text, &w, &e) != ST_OK)
        fail_msg("%s: %s", text, e.text);
    if (w.kind != kind || w.value != value)
        fail_msg("%s: kind %u, value %lld", text, w.kind, (long long)w.value);
    assert_string_equal(where_text(w, again), back);
    assert_int_equal(where_parse(again, &w, &e), ST_OK);
    assert_true(w.kind == kind && w.value == value);
}

static void is_none(const char *text, const char *says)
{
    struct where w;
    struct err e = {""};

    assert_int_equal(where_parse(text, &w, &e), ST_BAD_CONFIG);
    if (!strstr(e.text, says))
        fail_msg("%s: %s", text, e.text);
}

static void words_and_offsets(void **state)
{
    char text[WHERE_TEXT];

    (void)state;
    is("earliest", WHERE_EARLIEST, 0, "earliest");
    is("latest", WHERE_LATEST, 0, "latest");
    is("stored", WHERE_STORED, 0, "stored");
    is("0", WHERE_OFFSET, 0, "0");
    is("123456789012345678", WHERE_OFFSET, 123456789012345678, "123456789012345678");
    assert_string_equal(where_text((struct where){WHERE_NONE, 0}, text), "earliest");
    is_none("1234567890123456789", "not earliest");
    is_none("", "not earliest");
    is_none("12a", "an offset");
    is_none("earlies", "did you mean 'earliest'?");
    is_none("-5", "no duration");
    is_none("+5", "not earliest");
}

static void times_have_a_zone(void **state)
{
    (void)state;
    is("@1700000000123", WHERE_TIME, 1700000000123, "@1700000000123");
    is("@0", WHERE_TIME, 0, "@0");
    is("@1970-01-01T00:00:00Z", WHERE_TIME, 0, "@0");
    is("@2023-11-14T22:13:20Z", WHERE_TIME, 1700000000000, "@1700000000000");
    is("@2023-11-14T22:13:20.5Z", WHERE_TIME, 1700000000500, "@1700000000500");
    is("@2023-11-14T22:13:20.123456Z", WHERE_TIME, 1700000000123, "@1700000000123");
    is("@2023-11-14T22:13Z", WHERE_TIME, 1699999980000, "@1699999980000");
    is("@2023-11-15 00:13:20+02:00", WHERE_TIME, 1700000000000, "@1700000000000");
    is("@2023-11-14T16:43:20-0530", WHERE_TIME, 1700000000000, "@1700000000000");
    is("@2023-11-15T00:13:20+02", WHERE_TIME, 1700000000000, "@1700000000000");
    is("@2024-02-29T00:00:00Z", WHERE_TIME, 1709164800000, "@1709164800000");
    is("@2000-12-31T23:59:59Z", WHERE_TIME, 978307199000, "@978307199000");
    is_none("@2023-11-14T22:13:20", "no zone");
    is_none("@2023-02-29T00:00:00Z", "no time");
    is_none("@1900-01-01T00:00:00Z", "no time");
    is_none("@2023-13-01T00:00:00Z", "no time");
    is_none("@2023-00-01T00:00:00Z", "no time");
    is_none("@2023-01-01T24:00:00Z", "no time");
    is_none("@2023-01-01T00:60:00Z", "no time");
    is_none("@2023-01-01", "no time");
    is_none("@2023-01-01T00:00:00+25:00", "no time");
    is_none("@2023-01-01T00:00:00Zulu", "no time");
    is_none("@1970-01-01T00:00:00+01:00", "before 1970");
    is_none("@", "no time");
    is_none("@yesterday", "no time");
}

static void durations_are_back_from_now(void **state)
{
    struct where ago = {WHERE_AGO, 3600000}, ever = {WHERE_AGO, INT64_MAX};
    int64_t before = clock_wall_ms();

    (void)state;
    is("-PT1H", WHERE_AGO, 3600000, "-PT3600S");
    is("-P1DT2H3M4S", WHERE_AGO, 93784000, "-PT93784S");
    is("-PT90M", WHERE_AGO, 5400000, "-PT5400S");
    is("-P2W", WHERE_AGO, 1209600000, "-PT1209600S");
    is_none("-P", "no duration");
    is_none("-PT", "no duration");
    is_none("-P1M", "months and years");
    is_none("-P1H", "no duration");
    is_none("-PT1D", "no duration");
    is_none("-PT1S1H", "no duration");
    is_none("-P1DT", "no duration");
    is_none("-PT-1H", "no duration");
    is_none("-1H", "no duration");
    assert_in_range(where_time(ago) + 3600000, before, clock_wall_ms());
    assert_int_equal(where_time(ever), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_offsets),
        cmocka_unit_test(times_have_a_zone),
        cmocka_unit_test(durations_are_back_from_now),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("where", tests, NULL, NULL);
}
