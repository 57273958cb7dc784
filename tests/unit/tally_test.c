/* What `score --metrics` prints, for each kind of prediction and loss. */
#include "consumer/tally.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Score rows of `width` columns against labels, as printed. */
static void printed(struct shape sh, const float *out, uint32_t width, const float *y, uint32_t n,
                    const char *want)
{
    struct tally t;
    struct err e;
    char *text;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    assert_non_null(f);
    assert_int_equal(tally_init(&t, &sh, &e), ST_OK);
    for (uint32_t i = 0; i < n; i++)
        tally_add(&t, out + (size_t)i * width, width, y[i], 1);
    tally_print(&t, NULL, 0, f);
    tally_fini(&t);
    fclose(f);
    if (strncmp(text, want, strlen(want)) != 0)
        fail_msg("printed\n%s\nnot\n%s", text, want);
    free(text);
}

static void numbers_have_errors_and_their_own_loss(void **state)
{
    const float value[] = {1, 2, 5}, y[] = {1, 4, 1}; /* 0, 2 below, 4 above */
    struct shape sh = {.out = OUT_VALUE};
    char want[200], errors[100];

    (void)state;
    snprintf(errors, sizeof errors, "rows 3\nrmse %.6f\nmse %.6f\nmae %.6f\n", sqrt(20 / 3.0),
             20 / 3.0, 2.0);
    snprintf(want, sizeof want, "%s", errors);
    printed(sh, value, 1, y, 3, want);
    sh.loss = LOSS_ABSOLUTE;
    snprintf(want, sizeof want, "%sloss %.6f\n", errors, 2.0);
    printed(sh, value, 1, y, 3, want);
    sh.loss = LOSS_QUANTILE, sh.loss_at = 0.75f;
    snprintf(want, sizeof want, "%sloss %.6f\n", errors, (0.75 * 2 + 0.25 * 4) / 3);
    printed(sh, value, 1, y, 3, want);
    sh.loss = LOSS_HUBER, sh.loss_at = 3;
    snprintf(want, sizeof want, "%sloss %.6f\n", errors, (2 + 3 * 2.5) / 3);
    printed(sh, value, 1, y, 3, want);
    sh.loss = LOSS_POISSON;
    snprintf(want, sizeof want, "%sloss %.6f\n", errors, (1 + (2 - 4 * log(2)) + (5 - log(5))) / 3);
    printed(sh, value, 1, y, 3, want);
}

#define CALLED "precision 1.0000\nrecall 0.5000\nf1 0.6667\n\nlabel"

static void margins_have_log_loss_or_that_of_hinges(void **state)
{
    const float margin[] = {2, 1, -0.5f, 1, -3, 0}, y[] = {1, 1, 0}; /* the second one is wrong */
    struct shape sh = {.out = OUT_MARGIN};
    char want[200];

    (void)state;
    snprintf(want, sizeof want, "rows 3\naccuracy 0.6667\nlog_loss %.6f\n" CALLED,
             (log1p(exp(-2)) + log1p(exp(0.5)) + log1p(exp(-3))) / 3);
    printed(sh, margin, 2, y, 3, want);
    sh.loss = LOSS_HINGE;
    printed(sh, margin, 2, y, 3, "rows 3\naccuracy 0.6667\nloss 0.500000\n" CALLED);
    sh.loss = LOSS_SQUARED_HINGE;
    printed(sh, margin, 2, y, 3, "rows 3\naccuracy 0.6667\nloss 0.750000\n" CALLED);
}

static void classes_have_the_log_loss_of_their_probabilities(void **state)
{
    const float out[] = {1, 0.25f, 0.75f, 0, 0.5f, 0.5f}, y[] = {1, 1};
    struct shape sh = {.out = OUT_LOGITS, .classes = 2};
    char want[200];

    (void)state;
    snprintf(want, sizeof want, "rows 2\naccuracy 0.5000\nlog_loss %.6f\n\nlabel",
             -(log(0.75) + log(0.5)) / 2);
    printed(sh, out, 3, y, 2, want);
    sh.loss = LOSS_ONE_VS_REST;
    printed(sh, out, 3, y, 2, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_errors_and_their_own_loss),
        cmocka_unit_test(margins_have_log_loss_or_that_of_hinges),
        cmocka_unit_test(classes_have_the_log_loss_of_their_probabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
