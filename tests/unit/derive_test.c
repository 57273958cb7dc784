#include "algos/derive.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A toy of three packed models, each one number: w[3] in the view, the chosen one in the model. */

struct pick {
    uint32_t model, share;
};

static const char *const auto_names[] = {"auto", NULL};
static const struct opt picks[] = {
    {"share", OPT_U32, offsetof(struct pick, share), sizeof(uint32_t), "1", 0, 9, NULL, "?", NULL},
    {"model", OPT_U32, offsetof(struct pick, model), sizeof(uint32_t), "auto", 1, 64, auto_names,
     "?", NULL},
    {0}};
static const struct opt shares[] = {
    {"share", OPT_U32, offsetof(struct pick, share), sizeof(uint32_t), "1", 0, 9, NULL, "?", NULL},
    {0}};

static enum st declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                       const void *derive_opts)
{
    const struct pick *o = derive_opts;

    (void)opts;
    if (p == PART_STATE)
        d->add(d,
               &(struct tdecl){.name = "w", .dtype = DT_F32, .law = LAW_SUM, .dim = {sh->models}});
    if (p == PART_MODEL)
        d->add(d, &(struct tdecl){.name = "w", .dtype = DT_F32, .dim = {o->share}});
    if (p == PART_OUT) {
        d->add(d, &(struct tdecl){.id = 0, .name = "value", .dtype = DT_F32, .dim = {1}});
        d->add(d, &(struct tdecl){.id = 1, .name = "p", .dtype = DT_F32, .dim = {o->share}});
    }
    return d->st;
}

static enum st derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                      struct tensors *model, struct measures *m)
{
    const struct pick *o = derive_opts;

    if (o->share == 9)
        return (fail)(x->err, ST_BAD_CONFIG, "share 9 is too much"); /* not cmocka's macro */
    for (uint32_t i = 0; i < o->share; i++)
        model->t[0].f32[i] = view->t[0].f32[m->model >= 0 ? m->model : 0];
    m->m[m->n++] = (struct measure){"own", 4, true};
    return ST_OK;
}

static const struct algo packed = {.name = "packed",
                                   .flags = ALGO_LABEL,
                                   .derive_opts = picks,
                                   .derive_bytes = sizeof(struct pick),
                                   .declare = declare,
                                   .derive = derive};
static const struct algo whole = {.name = "whole",
                                  .flags = ALGO_LABEL,
                                  .derive_opts = shares,
                                  .derive_bytes = sizeof(struct pick),
                                  .declare = declare,
                                  .derive = derive};

struct world {
    struct err e;
    struct shape sh;
    struct ctx x;
    struct tensors view, model;
    struct measures m;
    struct pick o;
};

/* A state serves as a view: two learned rows and one held-out row, where model 1 was the best. */
static void make(struct world *w, const struct algo *a)
{
    const float z[9] = {0, 2, 1, 0, 2, 1, 0, 2, 1}, y[3] = {2, 2, 2}, weight[3] = {1, 1, 1};
    float loss[9];
    struct tdecl d[METRIC_DECLS];
    struct rows r = {.n = 3, .train = 2, .ny = 1, .y = y, .weight = weight};

    memset(w, 0, sizeof *w);
    w->sh = (struct shape){.models = 3, .zcols = 3, .ny = 1, .out = OUT_VALUE};
    w->x = (struct ctx){.shape = &w->sh, .err = &w->e};
    w->o.share = 2;
    assert_int_equal(tensors_declare(&w->view, a, PART_STATE, &w->sh, NULL, NULL, d,
                                     metrics_decls(d, 0, a, &w->sh), 6, 1 << 20, &w->e),
                     ST_OK);
    assert_int_equal(tensors_alloc(&w->view, NULL, NULL, &w->e), ST_OK);
    for (int i = 0; i < 3; i++)
        w->view.t[0].f32[i] = (float)(10 * (i + 1));
    for (int i = 0; i < 9; i++)
        loss[i] = (z[i] - 2) * (z[i] - 2) / 2;
    metrics_add(&w->view, &w->sh, &r, &(struct eval){(float *)(uintptr_t)z, loss});
}

static void drop(struct world *w)
{
    tensors_free(&w->model, NULL, NULL);
    tensors_free(&w->view, NULL, NULL);
}

static double measure(const struct measures *m, const char *name)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (!strcmp(m->m[i].name, name))
            return m->m[i].value;
    return (double)NAN;
}

static enum st run(struct world *w, const struct algo *a)
{
    return derive_model(&w->x, a, &w->view, &w->o, &w->model, &w->m);
}

static void auto_is_the_best_model_and_is_written_back(void **state)
{
    struct world w;

    (void)state;
    make(&w, &packed);
    assert_int_equal(run(&w, &packed), ST_OK);
    assert_int_equal(w.o.model, 2);
    assert_int_equal(w.m.model, 1);
    assert_int_equal(w.model.t[0].n, 2);
    assert_true(w.model.t[0].f32[1] == 20);
    drop(&w);
}

static void a_named_model_brings_its_own_measures(void **state)
{
    struct world w;

    (void)state;
    make(&w, &packed);
    w.o.model = 3;
    assert_int_equal(run(&w, &packed), ST_OK);
    assert_true(w.model.t[0].f32[0] == 30);
    assert_string_equal(w.m.m[0].name, "own");
    assert_true(measure(&w.m, "rows") == 2);
    assert_true(measure(&w.m, "prequential_loss") == 0.5);
    assert_true(measure(&w.m, "prequential_rmse") == 1);
    assert_true(measure(&w.m, "baseline_loss") == 0);
    assert_true(measure(&w.m, "baseline_rmse") == 0);
    assert_true(measure(&w.m, "heldout_rows") == 1);
    assert_true(measure(&w.m, "heldout_loss") == 0.5);
    assert_true(isnan(measure(&w.m, "prequential_accuracy"))); /* there is none of a number */
    assert_true(isnan(measure(&w.m, "heldout_auc")));
    drop(&w);
}

static void a_model_that_is_not_there_is_refused(void **state)
{
    struct world w;

    (void)state;
    make(&w, &packed);
    w.o.model = 4;
    assert_int_equal(run(&w, &packed), ST_BAD_CONFIG);
    assert_string_equal(w.e.text, "model 4: this job has packed models 1..3");
    drop(&w);
}

static void a_model_that_diverged_is_not_chosen_and_not_given(void **state)
{
    struct world w;
    double *sums;

    (void)state;
    make(&w, &packed);
    sums = tensors_find(&w.view, "@metric.held")->f64;
    sums[1 * METRIC_N + METRIC_DIVERGED] = 1; /* the best one */
    assert_int_equal(run(&w, &packed), ST_OK);
    assert_int_equal(w.m.model, 2);
    assert_true(measure(&w.m, "models_diverged") == 1);
    tensors_free(&w.model, NULL, NULL);
    w.o.model = 2;
    assert_int_equal(run(&w, &packed), ST_BAD_CONFIG);
    assert_non_null(strstr(w.e.text, "model 2 diverged"));
    sums[0 * METRIC_N + METRIC_DIVERGED] = sums[2 * METRIC_N + METRIC_DIVERGED] = 1;
    w.o.model = 0;
    assert_int_equal(run(&w, &packed), ST_FATAL);
    drop(&w);
}

static void an_artefact_of_all_models_has_no_measures_of_one(void **state)
{
    struct world w;

    (void)state;
    make(&w, &whole);
    assert_int_equal(run(&w, &whole), ST_OK);
    assert_int_equal(w.m.model, -1);
    assert_int_equal(w.m.n, 1);
    drop(&w);
}

static void errors_of_the_algorithm_and_bad_numbers_are_passed_on(void **state)
{
    struct world w;

    (void)state;
    make(&w, &packed);
    w.o.share = 9;
    assert_int_equal(run(&w, &packed), ST_BAD_CONFIG);
    assert_string_equal(w.e.text, "share 9 is too much");
    tensors_free(&w.model, NULL, NULL);
    w.o.share = 1;
    w.view.t[0].f32[1] = NAN;
    assert_int_equal(run(&w, &packed), ST_FATAL);
    drop(&w);
}

static void columns_are_numbered_where_there_are_several(void **state)
{
    struct shape sh = {.models = 1};
    struct pick o = {.share = 3};
    char names[3][COLUMN_NAME_BYTES];

    (void)state;
    assert_int_equal(score_columns(&packed, &sh, NULL, &o, names, 3), 4);
    assert_string_equal(names[0], "value");
    assert_string_equal(names[1], "p.0");
    assert_string_equal(names[2], "p.1");
    o.share = 1;
    assert_int_equal(score_columns(&packed, &sh, NULL, &o, names, 3), 2);
    assert_string_equal(names[1], "p");
}

/* ---- two classes ---- */

static enum st margin_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                              const void *derive_opts)
{
    const struct pick *o = derive_opts;

    (void)sh, (void)opts;
    if (p == PART_STATE || p == PART_MODEL)
        d->add(d, &(struct tdecl){.id = 0, .name = "w", .dtype = DT_F32, .dim = {3}});
    CHECK(p == PART_STATE || o->share == 7); /* the options before the runtime's are its own */
    if (p == PART_OUT) {
        d->add(d, &(struct tdecl){.id = 0, .name = "margin", .dtype = DT_F32, .dim = {1}});
        d->add(d, &(struct tdecl){.id = 1, .name = "more", .dtype = DT_F32, .dim = {1}});
    }
    return d->st;
}

static enum st margin_derive(const struct ctx *x, const struct tensors *view,
                             const void *derive_opts, struct tensors *model, struct measures *m)
{
    (void)x, (void)view, (void)derive_opts, (void)m;
    model->t[0].f32[0] = 5;
    return ST_OK;
}

static enum st margin_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                            float *out)
{
    (void)x, (void)model;
    for (uint32_t i = 0; i < 2 * r->n; i++)
        out[i] = i % 2 ? 100 : r->in[0].x[i / 2];
    return ST_OK;
}

static const struct algo margins = {.name = "margins",
                                    .flags = ALGO_LABEL,
                                    .derive_opts = picks,
                                    .derive_bytes = sizeof(struct pick),
                                    .declare = margin_declare,
                                    .derive = margin_derive,
                                    .score = margin_score};

struct two {
    struct err e;
    struct shape sh;
    struct ctx x;
    struct tensors view, model;
    struct measures m;
    struct derive_table t;
    _Alignas(8) uint8_t o[256];
};

static void set(struct two *w, const char *name, const char *value)
{
    const struct opt *o = opt_find(w->t.o, name);

    assert_non_null(o);
    assert_int_equal(opt_set(o, w->o, value, false, &w->e), ST_OK);
}

/* Two packed models and held-out rows, [from, 8): the first has the less loss, the second's order
 * is the better one, but around a margin of -3 rather than of 0. */
static void two_make(struct two *w, uint32_t from)
{
    const float z[16] = {-2, -9, -1, -4, 1, -3.5f, -1, -2.5f, 2, -2, 1, -1, -1, -0.5f, 3, -0.25f};
    const float y[8] = {0, 0, 0, 1, 1, 1, 1, 1}, weight[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct rows r = {.n = 8, .train = from, .ny = 1, .y = y, .weight = weight};
    struct tdecl d[METRIC_DECLS];
    float loss[16];

    memset(w, 0, sizeof *w);
    w->sh = (struct shape){.models = 2, .zcols = 2, .ny = 1, .classes = 2, .out = OUT_MARGIN};
    w->x = (struct ctx){.shape = &w->sh, .err = &w->e};
    derive_options(&w->t, &margins, &w->sh);
    assert_true(w->t.bytes > sizeof(struct pick) && w->t.bytes <= sizeof w->o);
    derive_defaults(&margins, &w->sh, w->o, sizeof w->o);
    set(w, "share", "7");
    assert_int_equal(tensors_declare(&w->view, &margins, PART_STATE, &w->sh, NULL, NULL, d,
                                     metrics_decls(d, 0, &margins, &w->sh), 6, 1 << 20, &w->e),
                     ST_OK);
    assert_int_equal(tensors_alloc(&w->view, NULL, NULL, &w->e), ST_OK);
    for (int i = 0; i < 16; i++)
        loss[i] = i % 2 ? 3 : 1;
    metrics_add(&w->view, &w->sh, &r, &(struct eval){(float *)(uintptr_t)z, loss});
}

static enum st two_run(struct two *w)
{
    return derive_model(&w->x, &margins, &w->view, w->o, &w->model, &w->m);
}

static void two_drop(struct two *w)
{
    tensors_free(&w->model, NULL, NULL);
    tensors_free(&w->view, NULL, NULL);
}

static void nothing_is_added_unless_it_is_asked_for(void **state)
{
    char names[4][COLUMN_NAME_BYTES];
    struct two w;

    (void)state;
    two_make(&w, 0);
    assert_int_equal(two_run(&w), ST_OK);
    assert_int_equal(w.m.model, 0);
    assert_int_equal(w.model.n, 1);
    assert_int_equal(score_columns(&margins, &w.sh, NULL, w.o, names, 4), 2);
    assert_true(isnan(measure(&w.m, "threshold")));
    assert_true(measure(&w.m, "heldout_precision") == 3.0 / 4);
    assert_true(measure(&w.m, "heldout_recall") == 3.0 / 5);
    assert_true(measure(&w.m, "heldout_accuracy") == 5.0 / 8);
    assert_true(isnan(measure(&w.m, "uncalibrated_brier")));
    two_drop(&w);
}

static void a_criterion_chooses_model_and_threshold(void **state)
{
    struct tensors own;
    struct two w;

    (void)state;
    two_make(&w, 0);
    set(&w, "threshold", "f1");
    assert_int_equal(two_run(&w), ST_OK);
    assert_int_equal(w.m.model, 1);
    assert_int_equal(w.model.n, 2);
    assert_string_equal(w.model.t[1].d.name, "@threshold");
    assert_true(w.model.t[1].f32[0] > -3.5f && w.model.t[1].f32[0] <= -2.5f);
    assert_true(measure(&w.m, "threshold") == (double)w.model.t[1].f32[0]);
    assert_true(measure(&w.m, "heldout_f1") == 1 && measure(&w.m, "heldout_accuracy") == 1);
    own = model_own(&w.model);
    assert_int_equal(own.n, 1);
    tensors_free(&w.model, NULL, NULL);

    set(&w, "model", "1"); /* who asks for a model gets it, and its best threshold */
    assert_int_equal(two_run(&w), ST_OK);
    assert_int_equal(w.m.model, 0);
    assert_true(measure(&w.m, "heldout_f1") < 1);
    two_drop(&w);
}

static void scores_have_a_class_and_a_calibrated_probability(void **state)
{
    const float x[3] = {-9, -3.0f, -0.25f};
    const struct rows r = {.n = 3, .in[0] = {.x = x, .ld = 1}};
    char names[4][COLUMN_NAME_BYTES];
    float out[12];
    struct two w;

    (void)state;
    two_make(&w, 0);
    set(&w, "model", "2");
    set(&w, "threshold", "accuracy");
    set(&w, "calibrate", "isotonic");
    assert_int_equal(two_run(&w), ST_OK);
    assert_int_equal(score_columns(&margins, &w.sh, NULL, w.o, names, 4), 4);
    assert_string_equal(names[1], "more");
    assert_string_equal(names[2], "predicted");
    assert_string_equal(names[3], "calibrated");
    *tensors_find(&w.model, "@threshold")->f32 = -3; /* that much is class 1 */
    assert_int_equal(score_rows(&w.x, &margins, &w.model, 4, &r, out), ST_OK);
    for (int i = 0; i < 3; i++) {
        const float *row = out + (ptrdiff_t)i * 4;

        assert_true(row[0] == x[i] && row[1] == 100);
        assert_true(row[2] == (i ? 1.0f : 0.0f));
        assert_true(row[3] == tensors_find(&w.model, "@calibration")->f32[metrics_bin(x[i])]);
    }
    assert_true(out[3] < 0.5f && out[11] > 0.7f);
    assert_true(measure(&w.m, "calibrated_loss") < measure(&w.m, "uncalibrated_loss"));
    assert_true(measure(&w.m, "calibrated_brier") < measure(&w.m, "uncalibrated_brier"));
    w.sh.loss = LOSS_HINGE; /* margins that are no log odds */
    tensors_free(&w.model, NULL, NULL);
    assert_int_equal(two_run(&w), ST_OK);
    assert_true(isnan(measure(&w.m, "uncalibrated_brier")));
    assert_true(measure(&w.m, "calibrated_brier") > 0);
    two_drop(&w);
}

static void without_held_out_rows_there_is_no_threshold(void **state)
{
    struct two w;

    (void)state;
    two_make(&w, 8);
    set(&w, "threshold", "f1");
    assert_int_equal(two_run(&w), ST_BAD_CONFIG);
    assert_non_null(strstr(w.e.text, "input.holdout"));
    tensors_free(&w.model, NULL, NULL);
    two_drop(&w);

    two_make(&w, 3); /* of class 1 alone */
    set(&w, "calibrate", "isotonic");
    assert_int_equal(two_run(&w), ST_BAD_CONFIG);
    assert_non_null(strstr(w.e.text, "none of one class"));
    two_drop(&w);

    two_make(&w, 0);
    set(&w, "model", "1");
    set(&w, "threshold", "recall_at_target_precision");
    set(&w, "target_precision", "1");
    assert_int_equal(two_run(&w), ST_OK); /* 2 and 3 are above all of class 0 */
    assert_true(measure(&w.m, "heldout_recall") == 2.0 / 5);
    two_drop(&w);
}

static void the_list_of_measures_is_sound(void **state)
{
    (void)state;
    for (const struct measure_info *i = derive_measures; i->name; i++) {
        assert_true(strlen(i->name) < 24);
        assert_true(strlen(i->what) > 5);
        for (const struct measure_info *k = derive_measures; k < i; k++)
            assert_string_not_equal(k->name, i->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_is_the_best_model_and_is_written_back),
        cmocka_unit_test(a_named_model_brings_its_own_measures),
        cmocka_unit_test(a_model_that_is_not_there_is_refused),
        cmocka_unit_test(a_model_that_diverged_is_not_chosen_and_not_given),
        cmocka_unit_test(an_artefact_of_all_models_has_no_measures_of_one),
        cmocka_unit_test(errors_of_the_algorithm_and_bad_numbers_are_passed_on),
        cmocka_unit_test(columns_are_numbered_where_there_are_several),
        cmocka_unit_test(nothing_is_added_unless_it_is_asked_for),
        cmocka_unit_test(a_criterion_chooses_model_and_threshold),
        cmocka_unit_test(scores_have_a_class_and_a_calibrated_probability),
        cmocka_unit_test(without_held_out_rows_there_is_no_threshold),
        cmocka_unit_test(the_list_of_measures_is_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
