/* The report of a stats model: what it shows, what it escapes, and models that are not what they
 * say. The page as a whole is tested by tests/conform/stats_test.py. */
#include "algos/stats.h"
#include "consumer/export.h"
#include "consumer/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct err e;

/* A model of d columns without a row, two names. */
static struct model *empty(uint32_t d)
{
    struct model *m = model_new();
    struct stats_derive v;
    struct stats_opts o;
    struct shape sh = {.slots = 1, .d = {d}};

    assert_non_null(m);
    opts_defaults(stats_options, &o);
    opts_defaults(stats_derive_options, &v);
    o.correlation = CORRELATION_TRUE;
    assert_int_equal(stats_check(&sh, &o, &e), ST_OK);
    assert_int_equal(tensors_declare(&m->tensors, &algo_stats, PART_MODEL, &sh, &o, &v, NULL, 0,
                                     CHUNK_SHIFT, 1 << 30, &e),
                     ST_OK);
    assert_int_equal(tensors_alloc(&m->tensors, NULL, NULL, &e), ST_OK);
    snprintf(m->algo, sizeof m->algo, "stats");
    snprintf(m->topic, sizeof m->topic, "<topic>");
    memcpy(tensors_find(&m->tensors, "share")->f32, v.quantiles.v, v.quantiles.n * sizeof(float));
    m->features = d;
    m->columns = 2;
    m->column = calloc(m->columns, sizeof *m->column);
    assert_non_null(m->column);
    snprintf(m->column[0], sizeof *m->column, "a & \"b\"");
    snprintf(m->column[1], sizeof *m->column, "</title><script>'\t");
    return m;
}

static char *printed(const struct model *m, void (*print)(const struct report *, FILE *))
{
    struct report r;
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_true(f && report_of(m, &r));
    print(&r, f);
    fclose(f);
    return text;
}

static double *f64(struct model *m, const char *name)
{
    return tensors_find(&m->tensors, name)->f64;
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in: %.2000s", part, text);
}

static void columns_without_rows_are_shown(void **state)
{
    struct model *m = empty(3);
    char *text = printed(m, report_text), *page = printed(m, report_html);

    (void)state;
    has(text, "a & \"b\"                       0        -        -  no value\n");
    has(text, "\n2                             0        -        -  no value\n");
    assert_null(strstr(text, "strongest"));
    has(page, "<title>&lt;topic&gt;: columns</title>");
    has(page, "<th scope=\"row\">a &amp; &quot;b&quot;</th>");
    has(page, "<th scope=\"row\">&lt;/title&gt;&lt;script&gt;&#39; </th>");
    assert_null(strstr(page, "nan"));
    free(text);
    free(page);
    model_free(m);
}

static void figures_have_their_places(void **state)
{
    struct model *m = empty(3);
    char *text, *page;

    (void)state;
    f64(m, "count")[0] = 1234567;
    f64(m, "missing")[0] = 1;
    f64(m, "zeros")[0] = 617284;
    f64(m, "distinct")[0] = 42.4;
    tensors_find(&m->tensors, "min")->f32[0] = -1234567.0f;
    tensors_find(&m->tensors, "max")->f32[0] = 0.1f;
    f64(m, "mean")[0] = -1.0 / 3;
    f64(m, "top_count")[0] = 123456.7;
    f64(m, "top_count")[1] = 5;
    f64(m, "top_error")[0] = 5; /* the second may be nothing */
    tensors_find(&m->tensors, "top_value")->f32[0] = 8;
    tensors_find(&m->tensors, "top_value")->f32[1] = 9;
    f64(m, "histogram")[7] = 1234567;
    f64(m, "correlation")[1] = f64(m, "correlation")[3] = -0.25;
    f64(m, "correlation")[5] = f64(m, "correlation")[7] = 0.5;
    text = printed(m, report_text);
    has(text, "   1234567   <0.01%    50.0%        42   -1234567          0          0          0 "
              "       0.1 -0.3333333          0        0        0  8 (10.0%)\n");
    has(text, "strongest correlations\n  +0.5000  </title><script>'\t  2\n  -0.2500  a & \"b\"  ");
    page = printed(m, report_html);
    has(page, "<td>1,234,567</td>");
    has(page, "&lt;0.01&#8239;%");
    has(page, "8 <small>10.0&#8239;%</small></td>");
    has(page, ": 1234567</title></rect></svg>");
    has(page, "<rect class=\"minus\" fill-opacity=\"0.250\"");
    free(text);
    free(page);
    model_free(m);
}

static void many_columns_have_no_picture(void **state)
{
    struct model *m = empty(200);
    char *page = printed(m, report_html);

    (void)state;
    has(page, "200 columns are too many for a picture");
    assert_null(strstr(page, "correlation of every two columns"));
    free(page);
    model_free(m);
}

/* A model of another algorithm, or with a tensor of another name, type or shape, has no report. */
static void what_is_no_report_is_refused(void **state)
{
    struct model *m = empty(3);
    struct report r;

    (void)state;
    for (uint32_t i = 0; i < STM_CORRELATION; i++) {
        struct tdecl *d = &m->tensors.t[i].d, was = *d;

        d->name = "other";
        assert_false(report_of(m, &r));
        *d = was;
        d->dtype = DT_U64;
        assert_false(report_of(m, &r));
        *d = was;
        d->dim[was.dim[1] ? 2 : 1] = 2;
        assert_false(report_of(m, &r));
        *d = was;
        d->dim[0]++;
        assert_false(report_of(m, &r));
        *d = was;
    }
    assert_true(report_of(m, &r) && r.correlation);
    m->tensors.t[STM_CORRELATION].d.dim[1] = 2;
    assert_true(report_of(m, &r) && !r.correlation);
    snprintf(m->algo, sizeof m->algo, "kmeans");
    assert_false(report_of(m, &r));
    assert_int_equal(model_write(m, "/nowhere/x.html", EXPORT_HTML, &e), ST_BAD_CONFIG);
    has(e.text, "html is the report of algorithm stats, this model is of kmeans");
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_without_rows_are_shown),
        cmocka_unit_test(figures_have_their_places),
        cmocka_unit_test(many_columns_have_no_picture),
        cmocka_unit_test(what_is_no_report_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
