/* linear: what start_from makes of a model. */
#include "tests/unit/support_linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

/* A model has all that learning goes on from. */
static void own_model(struct rig *k, const struct table *t)
{
    struct linear_derive d = {1};
    struct tensors a, b, view, model, *list[] = {&a};
    struct measures m;

    rig_state(k, &a);
    rig_state(k, &b);
    rig_pass(k, &a, t, 0, NULL);
    rig_view(k, list, 1, &view);
    rig_model(k, &view, &d, &model, &m);
    assert_int_equal(k->a->start(&k->x, &model, 7, &b), ST_OK);
    for (uint32_t i = LIN_W; i <= LIN_Z; i++) /* of two packed models, the other is another */
        for (uint64_t j = 1; j < a.t[i].n; j += 2)
            b.t[i].f32[j] = a.t[i].f32[j];
    for (uint32_t i = LIN_W; i <= LIN_SCALE; i++)
        assert_true(i == LIN_COUNT || lin_apart(&a.t[i], &b.t[i]) < 1e-6);
    assert_true(b.t[LIN_WEIGHT].f64[0] == 0); /* it has not learned that itself */
    rig_free(k, &a);
    rig_free(k, &b);
    rig_free(k, &view);
    rig_free(k, &model);
}

static void going_on_from_the_own_model_is_going_on(void **state)
{
    (void)state;
    lin_each_form(own_model, LINEAR_ADAGRAD);
    lin_each_form(own_model, LINEAR_FTRL);
    lin_each_form(own_model, LINEAR_SGD);
}

/* Sparse: what the model knows and the rows of this job do not show is in the next model too. */
static void unseen(struct rig *k, const struct table *t)
{
    struct linear_derive d = {1};
    struct tensors a, b, view, model, again, *one[] = {&a}, *two[] = {&a, &b};
    struct table few = *t;
    struct measures m;
    uint32_t kept = 0;

    if (!t->ptr)
        return;
    rig_state(k, &a);
    rig_pass(k, &a, t, 0, NULL);
    rig_view(k, one, 1, &view);
    rig_model(k, &view, &d, &model, &m);
    rig_free(k, &a);
    rig_free(k, &view);
    rig_state(k, &a);
    rig_state(k, &b);
    for (uint32_t p = 0; p < 2; p++)
        assert_int_equal(k->a->start(&k->x, &model, p, two[p]), ST_OK);
    few.n = 1;
    rig_pass(k, &a, &few, 0, NULL);
    rig_view(k, two, 2, &view);
    rig_model(k, &view, &d, &again, &m);
    for (uint32_t j = 0; j < t->d; j++) {
        bool shown = false;

        for (uint32_t q = t->ptr[0]; q < t->ptr[1]; q++)
            shown |= t->col[q] == j;
        if (shown)
            continue;
        assert_float_equal(again.t[MODEL_W].f32[j], model.t[MODEL_W].f32[j], 1e-6);
        kept += model.t[MODEL_W].f32[j] != 0;
    }
    assert_true(kept > 0);
    rig_free(k, &a);
    rig_free(k, &b);
    rig_free(k, &view);
    rig_free(k, &model);
    rig_free(k, &again);
}

static void a_feature_that_no_row_shows_again_keeps_its_coefficient(void **state)
{
    (void)state;
    lin_each_form(unseen, LINEAR_ADAGRAD);
    lin_each_form(unseen, LINEAR_FTRL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(going_on_from_the_own_model_is_going_on),
        cmocka_unit_test(a_feature_that_no_row_shows_again_keeps_its_coefficient),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
