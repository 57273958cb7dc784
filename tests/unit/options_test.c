#include "config/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct sample {
    bool flag;
    uint32_t batch, loss;
    uint64_t wait_ms, bytes;
    float rate;
    struct f32s rates;
    char name[8];
};

static const char *const losses[] = {"logistic", "softmax", NULL}, *const automatic[] = {"auto",
                                                                                         NULL};
#define AT(m) offsetof(struct sample, m), sizeof(((struct sample *)0)->m)
static const struct opt table[] = {
    {"flag", OPT_BOOL, AT(flag), "true", 0, 0, NULL, "", NULL},
    {"batch", OPT_U32, AT(batch), "auto", 1, 4096, automatic, "", NULL},
    {"loss", OPT_ENUM, AT(loss), "softmax", 0, 0, losses, "", NULL},
    {"wait", OPT_MS, AT(wait_ms), "5s", 0, 0, NULL, "", NULL},
    {"bytes", OPT_BYTES, AT(bytes), "16M", 0, 0, NULL, "", NULL},
    {"rate", OPT_F32, AT(rate), "0.1", 0, 10, NULL, "", NULL},
    {"rates", OPT_F32S, AT(rates), "0.05,0.1", 0, 10, NULL, "", NULL},
    {"name", OPT_STR, AT(name), "x", 0, 0, NULL, "", NULL},
    {0}};

static void defaults_are_what_the_table_says(void **state)
{
    struct sample s = {0};

    (void)state;
    opts_defaults(table, &s);
    assert_true(s.flag);
    assert_int_equal(s.batch, 0);
    assert_int_equal(s.loss, 1);
    assert_int_equal(s.wait_ms, 5000);
    assert_int_equal(s.bytes, 16 << 20);
    assert_true(s.rate == 0.1f);
    assert_int_equal(s.rates.n, 2);
    assert_true(s.rates.v[1] == 0.1f);
}

/* Each of these must be refused, and the message must hold the name and the value. */
static void wrong_values_are_refused_by_name(void **state)
{
    static const char *const wrong[][2] = {
        {"flag", "yes"},    {"batch", "0"},   {"batch", "-1"},   {"batch", "4097"},
        {"batch", "1e3"},   {"batch", "12x"}, {"loss", "hinge"}, {"wait", "5"},
        {"wait", "-5s"},    {"wait", "5 s"},  {"bytes", "1.5G"}, {"bytes", "99999999999G"},
        {"rate", "nan"},    {"rate", "inf"},  {"rate", "0x10"},  {"rate", "11"},
        {"rates", "0.1,x"}, {"rates", ""},    {"rate", "1e99"},  {"name", "longer than it"}};
    struct sample s = {0};
    struct err e;

    (void)state;
    opts_defaults(table, &s);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(opt_set(opt_find(table, wrong[i][0]), &s, wrong[i][1], false, &e),
                         ST_BAD_CONFIG);
        assert_non_null(strstr(e.text, wrong[i][0]));
    }
}

static void lists_append(void **state)
{
    struct sample s = {0};
    struct err e;
    char text[64];

    (void)state;
    assert_int_equal(opt_set(opt_find(table, "rates"), &s, "0.5", false, &e), ST_OK);
    assert_int_equal(opt_set(opt_find(table, "rates"), &s, "1", true, &e), ST_OK);
    assert_string_equal(opt_text(opt_find(table, "rates"), &s, text, sizeof text), "0.5,1");
    assert_int_equal(opt_set(opt_find(table, "rate"), &s, "1", true, &e), ST_BAD_CONFIG);
}

static void suggestions_are_near(void **state)
{
    static const char *const words[] = {"learning_rate", "l1", "l2", "batch", NULL};

    (void)state;
    assert_string_equal(suggest("lerning_rate", words), "learning_rate");
    assert_string_equal(suggest("bacth", words), "batch");
    assert_string_equal(suggest("learning", words), "learning_rate");
    assert_null(suggest("momentum", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_what_the_table_says),
        cmocka_unit_test(wrong_values_are_refused_by_name),
        cmocka_unit_test(lists_append),
        cmocka_unit_test(suggestions_are_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
