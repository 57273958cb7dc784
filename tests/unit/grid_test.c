#include "consumer/grid.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct some {
    uint32_t k;
    float l2;
    uint32_t kind;
};

static const char *const kinds[] = {"plain", "fancy", NULL};

static const struct opt some_opt[] = {
    {"k", OPT_U32, offsetof(struct some, k), 4, "1", 1, 1e6, NULL, "", NULL},
    {"l2", OPT_F32, offsetof(struct some, l2), 4, "0", 0, 0, NULL, "", NULL},
    {"kind", OPT_ENUM, offsetof(struct some, kind), 4, "plain", 0, 0, kinds, "", NULL},
    {0}};

/* "a b c", or the error's text. */
static const char *values(uint32_t opt, const char *text)
{
    static char all[400];
    struct grid g = {.axes = 0};
    struct some scratch;
    struct err e;
    size_t n = 0;

    *all = 0;
    if (grid_add(&g, &some_opt[opt], text, &scratch, &e) != ST_OK)
        snprintf(all, sizeof all, "%s", e.text);
    else
        for (uint32_t i = 0; i < g.axis[0].n; i++)
            n +=
                (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? " " : "", g.axis[0].value[i]);
    grid_fini(&g);
    return all;
}

static void values_are_lists_and_ranges(void **state)
{
    (void)state;
    assert_string_equal(values(0, "7"), "7");
    assert_string_equal(values(0, "2..5"), "2 3 4 5");
    assert_string_equal(values(0, "1,3..9..3,20"), "1 3 6 9 20");
    assert_string_equal(values(0, "5..5"), "5");
    assert_string_equal(values(1, "0,0.1,1e-3"), "0 0.1 1e-3");
    assert_string_equal(values(1, "0..1..0.25"), "0 0.25 0.5 0.75 1");
    assert_string_equal(values(1, "0.1..0.7..0.1"), "0.1 0.2 0.3 0.4 0.5 0.6 0.7");
    assert_string_equal(values(1, "-1..1"), "-1 0 1");
    assert_string_equal(values(2, "fancy,plain"), "fancy plain");
}

static void says(uint32_t opt, const char *text, const char *why)
{
    const char *said = values(opt, text);

    if (!strstr(said, why))
        fail_msg("%s: '%s' does not say '%s'", text, said, why);
}

static void what_is_no_value_is_refused(void **state)
{
    (void)state;
    says(0, "", "got ''");
    says(0, "1,", "got ''");
    says(0, "0", "must be 1..1e+06");
    says(0, "0..3", "got '0'");
    says(0, "1..2..0.5", "got '1.5'");
    says(0, "..3", "'..3' is no range");
    says(0, "1..", "'1..' is no range");
    says(0, "1..2..", "is no range");
    says(0, "1..2..1..1", "is no range");
    says(0, "1..nan", "is no range");
    says(0, "1..inf", "is no range");
    says(0, "3..1", "must ascend");
    says(0, "1..3..-1", "must ascend");
    says(0, "1..10001", "has 10001 values");
    says(0, "1..9999,1..9", "more than 10000 values");
    says(0, "1..1e300..1e-300", "values, at most");
    says(2, "plan", "plain | fancy");
    says(0, "111111111111111111111111111111111111111111111111111", "letters");
}

static void points_are_all_combinations(void **state)
{
    struct grid g = {.axes = 0};
    struct some scratch;
    char all[200] = "";
    uint32_t n;
    struct err e;

    (void)state;
    assert_int_equal(grid_points(&g, &n, &e), ST_OK);
    assert_int_equal(n, 1);
    assert_int_equal(grid_add(&g, &some_opt[0], "1..3", &scratch, &e), ST_OK);
    assert_int_equal(grid_add(&g, &some_opt[2], "plain,fancy", &scratch, &e), ST_OK);
    assert_int_equal(grid_points(&g, &n, &e), ST_OK);
    assert_int_equal(n, 6);
    for (uint32_t i = 0; i < n; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.1s ", grid_value(&g, i, 0),
                 grid_value(&g, i, 1));
    assert_string_equal(all, "1p 1f 2p 2f 3p 3f ");
    assert_int_equal(grid_add(&g, &some_opt[0], "7", &scratch, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "named twice"));
    assert_int_equal(grid_add(&g, &some_opt[1], "1..1700", &scratch, &e), ST_OK);
    assert_int_equal(grid_points(&g, &n, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "10200 combinations, at most 10000"));
    grid_fini(&g);
}

static uint32_t greatest(const double *v, uint32_t n)
{
    uint32_t at = 0;

    for (uint32_t i = 1; i < n; i++)
        at = v[i] > v[at] ? i : at;
    return at;
}

static void a_curve_bends_where_its_fall_ends(void **state)
{
    const double x[] = {1, 2, 4, 8, 16}, linear[] = {-1, 0, 1, 2, 3};
    const double fall[] = {10, 6, 2, 1, 0}, rise[] = {0, 4, 8, 9, 10}, flat[] = {3, 3, 3, 3, 3};
    double bend[5];

    (void)state;
    grid_bend(x, fall, 5, true, bend);
    assert_int_equal(greatest(bend, 5), 2);
    assert_true(fabs(bend[2] - 0.3) < 1e-12 && bend[0] == 0 && fabs(bend[4]) < 1e-12);
    grid_bend(x, rise, 5, false, bend);
    assert_true(fabs(bend[2] - 0.3) < 1e-12);
    grid_bend(linear, fall, 5, true, bend); /* not all positive: no logarithm, the same places */
    assert_true(fabs(bend[2] - 0.3) < 1e-12);
    grid_bend(x, rise, 5, true, bend); /* the wrong way */
    assert_true(bend[2] < 0);
    grid_bend(x, flat, 5, true, bend);
    assert_true(bend[0] == 0 && bend[4] == 0);
    grid_bend(flat, rise, 5, false, bend); /* one value again and again */
    assert_true(bend[1] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_lists_and_ranges),
        cmocka_unit_test(what_is_no_value_is_refused),
        cmocka_unit_test(points_are_all_combinations),
        cmocka_unit_test(a_curve_bends_where_its_fall_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
