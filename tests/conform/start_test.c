/* start_from: a job goes on from a finished model of another job, whatever becomes of that model
 * later, and however often the job is stopped. */
#include "consumer/cli.h"
#include "consumer/snapshot.h"
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { PARTITIONS = 3, ROWS = 9000, ROOM = 1 << 16 };

static void data(void)
{
    mill_topic("data", PARTITIONS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        mill_put(p, 100000 * p, ROWS / PARTITIONS);
}

/* Goes on from the first model of "mill". */
static struct mill_run from_mill(const char *name, const char *job)
{
    return (struct mill_run){.name = name, .job = job, .set = {"start_from=mill.models@1"}};
}

/* Mean loss of the rows of partition 0, each before it was learned. */
static double loss(const char *folder)
{
    size_t bytes;
    double *m = mill_tensor(folder, 0, "@metric.train", &bytes), mean;

    assert_true(m && bytes == METRIC_N * sizeof *m);
    assert_int_equal(m[METRIC_ROWS], ROWS / PARTITIONS);
    mean = m[METRIC_LOSS] / m[METRIC_WEIGHT];
    free(m);
    return mean;
}

static void same_states(const char *a, const char *b)
{
    struct mill_part x, y;

    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_true(mill_slot(a, p, &x) && mill_slot(b, p, &y));
        assert_true(x.digest == y.digest);
    }
}

static void rows_are_predicted_by_the_model_from_the_first_on(void **state)
{
    struct mill_run first = {0}, then = from_mill("next", NULL);

    (void)state;
    data();
    mill_trained(&first);
    mill_trained(&then);
    print_message("           mean loss %g, of the job that goes on %g\n", loss("mill"),
                  loss("next"));
    assert_true(loss("next") < loss("mill") / 10);
}

static double weight_of_clusters(const char *topic)
{
    struct model *m = model_new();
    const struct tensor *t;
    struct err e;
    double sum = 0;

    assert_non_null(m);
    if (model_read(&broker_local, mill_broker(), topic, 0, NULL, m, &e) != ST_OK)
        fail_msg("%s", e.text);
    t = tensors_find(&m->tensors, "weight");
    assert_non_null(t);
    for (uint64_t i = 0; i < t->n; i++)
        sum += t->f64[i];
    model_free(m);
    mill_close();
    return sum;
}

static void clusters_weigh_the_rows_of_both_jobs(void **state)
{
    struct mill_run first = {.job = mill_kmeans}, then = from_mill("next", mill_kmeans);

    (void)state;
    data();
    mill_trained(&first);
    mill_trained(&then);
    assert_float_equal(weight_of_clusters("mill.models"), ROWS, 1e-6);
    assert_float_equal(weight_of_clusters("next.models"), 2 * ROWS, 1e-6);
}

/* By two workers in turn, a few rows at a time; the model is not needed once all have begun. */
static void in_pieces(const char *job)
{
    struct mill_run first = {.job = job}, whole = from_mill("next", job),
                    piece = from_mill("again", job);
    char said[ROOM];
    int pieces = 0;

    data();
    mill_trained(&first);
    mill_trained(&whole);
    if (mill_verify(&whole, 0, said, sizeof said) != CLI_DONE || !strstr(said, "bit for bit"))
        fail_msg("%s", said);
    piece.poll_max = 333;
    do {
        piece.max_rows = pieces ? 700 : 1;
        piece.state = pieces % 2 ? "one" : "two";
        mill_trained(&piece);
        if (!pieces)
            mill_delete("mill.models");
    } while (++pieces < 50 && piece.rows);
    assert_true(pieces > 2);
    same_states("next", "again");
}

static void pieces_are_the_whole(void **state)
{
    (void)state;
    in_pieces(NULL);
}

static void pieces_of_sums_are_the_whole(void **state)
{
    (void)state;
    in_pieces(mill_kmeans);
}

/* ---- refused ---- */

static void refused(struct mill_run r, const char *set, const char *why)
{
    for (uint32_t i = 0; i < MILL_SET && set; i++)
        if (!r.set[i]) {
            r.set[i] = set;
            break;
        }
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_CONFIG);
    if (!strstr(r.err.text, why))
        fail_msg("expected '%s' in: %s", why, r.err.text);
}

static void a_model_that_does_not_fit_is_refused(void **state)
{
    struct mill_run first = {0}, clusters = {.name = "clusters", .job = mill_kmeans};

    (void)state;
    data();
    mill_trained(&first);
    mill_trained(&clusters);
    refused(
        (struct mill_run){.name = "a", .set = {"start_from=mill.models@9"}}, NULL,
        "start_from mill.models@9: topic mill.models has no model 9 (any more); the newest is 1");
    refused((struct mill_run){.name = "b", .set = {"start_from=mall.models@1"}}, NULL,
            "start_from mall.models@1: topic 'mall.models' does not exist");
    refused(from_mill("c", mill_kmeans), NULL, "model 1 is of algorithm linear");
    refused(from_mill("d", NULL), "options.optimizer=sgd", "options or input differ");
    refused(from_mill("e", NULL), "input.features=a", "model 1 has 2 features, this job 1");
    refused((struct mill_run){.name = "f",
                              .job = mill_kmeans,
                              .set = {"start_from=clusters.models@1", "options.k=1"}},
            "options.extra_centers=1",
            "it has 3 clusters, a partition of this job keeps 1 centres");
}

static void a_job_that_has_begun_cannot_be_given_another_start(void **state)
{
    struct mill_run first = {0}, without = {.name = "next", .max_rows = 10};

    (void)state;
    data();
    mill_trained(&first);
    mill_trained(&without);
    refused(from_mill("next", NULL), "state_dir=elsewhere", "start_from");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mill_begin, mill_end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_are_predicted_by_the_model_from_the_first_on),
        TEST(clusters_weigh_the_rows_of_both_jobs),
        TEST(pieces_are_the_whole),
        TEST(pieces_of_sums_are_the_whole),
        TEST(a_model_that_does_not_fit_is_refused),
        TEST(a_job_that_has_begun_cannot_be_given_another_start),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
