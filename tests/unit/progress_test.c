/* The table of figures: what adds up over workers, when a line is due, what it says. */
#include "consumer/progress.h"

#include "algos/algo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct figures one = {.rows = 3000,
                                   .weight = 1000,
                                   .loss = 500,
                                   .recent_loss = 250,
                                   .no_skill = 700,
                                   .measure = 900,
                                   .lag = 40,
                                   .todo = 100,
                                   .state_bytes = 2e6,
                                   .model = 3,
                                   .kind = OUT_LOGITS,
                                   .epoch = 2,
                                   .epochs = 3};

static void figures_of_workers_add_up(void **state)
{
    struct figures sum = {0}, spare = {.rows = 7, .state_bytes = 1, .epochs = 3}, other = one;

    (void)state;
    other.weight = 3000;
    other.loss = 3000;
    other.epoch = 1;
    figures_add(&sum, &spare);
    assert_int_equal(sum.model, 0);
    figures_add(&sum, &one);
    assert_int_equal(sum.model, 3); /* who has nothing to tell has no say */
    assert_int_equal(sum.epoch, 2);
    figures_add(&sum, &other);
    assert_int_equal(sum.rows, 6007);
    assert_true(sum.weight == 4000 && sum.loss == 3500 && sum.recent_loss == 500);
    assert_true(sum.no_skill == 1400 && sum.measure == 1800 && sum.lag == 80 && sum.todo == 200);
    assert_true(sum.state_bytes == 4000001);
    assert_int_equal(sum.model, 3);
    assert_int_equal(sum.kind, OUT_LOGITS);
    assert_int_equal(sum.epoch, 1); /* that of the slowest */
    assert_int_equal(sum.epochs, 3);
    other.model = 1;
    figures_add(&sum, &other);
    assert_int_equal(sum.model, 0); /* of several */
    figures_add(&sum, &other);
    assert_int_equal(sum.model, 0);
}

/* The lines of a table, in static memory. */
static const char *printed(struct progress *p, const struct figures *f, bool last)
{
    static char text[1024];
    FILE *to = fmemopen(text, sizeof text, "w");

    memset(text, 0, sizeof text);
    assert_non_null(to);
    progress_print(p, f, last, to);
    fclose(to);
    return text;
}

/* The first words of a text; how many there are, up to n. */
enum { COLUMNS = 12 };

static int words(const char *text, char word[][16], int n)
{
    int i = 0, used;

    for (; i < n && sscanf(text, "%15s%n", word[i], &used) == 1; i++)
        text += used;
    return i;
}

static void line_tells_means_of_all_rows(void **state)
{
    struct figures f = one;
    struct progress p;
    char head[COLUMNS][16], word[COLUMNS][16];
    const char *text;

    (void)state;
    progress_start(&p);
    p.start_us -= 10000000;
    p.line_us -= 2000000;
    text = printed(&p, &f, false);
    assert_int_equal(words(text, head, COLUMNS), COLUMNS);
    assert_string_equal(head[1], "epoch");
    assert_string_equal(head[4], "accuracy");
    assert_int_equal(words(strchr(text, '\n'), word, COLUMNS), COLUMNS);
    assert_string_equal(word[0], "3000");
    assert_string_equal(word[1], "2/3");
    assert_string_equal(word[2], "0.500000");
    assert_string_equal(word[3], "0.250000");
    assert_string_equal(word[4], "0.9000");
    assert_string_equal(word[5], "0.700000");
    assert_string_equal(word[6], "3");
    assert_in_range(strtol(word[7], NULL, 10), 1300, 1500); /* since the line before */
    assert_string_equal(word[8], "40");
    assert_string_equal(word[9], "2.0");
    f.model = 0;
    f.measure = NAN;
    f.rows = 4000;
    text = printed(&p, &f, true);
    assert_null(strstr(text, "rows")); /* one header */
    assert_int_equal(words(text, word, COLUMNS), COLUMNS);
    assert_string_equal(word[4], "-");
    assert_string_equal(word[6], "-");
    assert_in_range(strtol(word[7], NULL, 10), 350, 400); /* of the whole run */
}

static void lines_come_by_powers_of_two_then_by_time(void **state)
{
    struct figures f = one, nothing = {0}, samples = {.rows = 5000, .kind = OUT_NONE};
    struct progress p;
    char word[COLUMNS][16];

    (void)state;
    progress_start(&p);
    assert_false(progress_due(&p, 1023, false));
    assert_true(progress_due(&p, 1023, true));
    assert_true(progress_due(&p, 1024, false));
    assert_string_equal(printed(&p, &nothing, false), "");
    assert_true(*printed(&p, &f, false) != 0);
    assert_false(progress_due(&p, 4095, false));
    assert_true(progress_due(&p, 4096, false));
    p.line_us -= 2000000;
    assert_true(progress_due(&p, 3001, false));
    assert_false(progress_due(&p, 3000, false)); /* nothing new */
    assert_int_equal(words(printed(&p, &samples, false), word, COLUMNS), COLUMNS);
    assert_string_equal(word[0], "5000"); /* an algorithm without predictions */
    assert_string_equal(word[2], "-");
    assert_string_equal(word[3], "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_workers_add_up),
        cmocka_unit_test(line_tells_means_of_all_rows),
        cmocka_unit_test(lines_come_by_powers_of_two_then_by_time),
    };

    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
