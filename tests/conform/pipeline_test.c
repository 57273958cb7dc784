/* The loop of a worker: what it learns is a function of the records, whatever is polled at once,
 * fails, or diverges meanwhile. */
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { P = 2, N = 30000 };

/* N records in each of P partitions, learned once, undisturbed. */
static void reference(struct mill_part want[P])
{
    mill_topic("data", P);
    for (uint32_t p = 0; p < P; p++)
        mill_put(p, p * 1000000, N);
    mill_trained(&(struct mill_run){.name = "calm"});
    for (uint32_t p = 0; p < P; p++) {
        assert_true(mill_state("calm", p, &want[p]));
        assert_int_equal(want[p].trained, N);
        assert_int_equal(want[p].pos.offset, N);
        assert_int_equal(want[p].flags, SLOT_DONE);
    }
}

static void same(const char *job, const struct mill_part want[P])
{
    struct mill_part got;

    for (uint32_t p = 0; p < P; p++) {
        assert_true(mill_state(job, p, &got));
        assert_int_equal(got.digest, want[p].digest);
        assert_int_equal(got.last_fingerprint, want[p].last_fingerprint);
        assert_int_equal(got.lineages, want[p].lineages);
        assert_memory_equal(got.lineage, want[p].lineage, sizeof got.lineage);
        assert_true(mill_slot(job, p, &got));
        assert_int_equal(got.digest, want[p].digest);
    }
}

static void block_edges_are_a_function_of_the_records_alone(void **state)
{
    static const uint32_t polls[] = {1, 7, 1000, 4095};
    struct mill_part want[P];

    (void)state;
    reference(want);
    for (size_t i = 0; i < sizeof polls / sizeof *polls; i++) {
        struct mill_run r = {.poll_max = polls[i]};
        char name[32];

        snprintf(name, sizeof name, "polls%u", polls[i]);
        r.name = name;
        mill_trained(&r);
        same(name, want);
    }
}

static void a_job_in_pieces_is_the_job_in_one(void **state)
{
    struct mill_run r = {.max_rows = 1, .state = "other"}; /* the first piece elsewhere */
    struct mill_part want[P], got;

    (void)state;
    reference(want);
    mill_trained(&r);
    assert_in_range(r.rows, 1, P * N - 1);
    assert_true(mill_state("other", 0, &got));
    assert_int_equal(got.flags & SLOT_DONE, 0);
    r.state = NULL;
    for (r.max_rows = 9000; r.rows; r.max_rows += 4000)
        mill_trained(&r);
    same("mill", want);
}

/* Bad records: none of a piece that was dropped is counted, and the limit stops the worker. */
static void over_the_limit_the_worker_stops_and_says_where(void **state)
{
    struct mill_run r = {.set = {"bad_records.limit=3"}};
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 10);
    mill_put_text(0, "1,2");
    mill_put_text(0, "1,nan,2");
    mill_put(0, 10, 10);
    mill_put_text(0, NULL);
    mill_put_text(0, "a,b,c");
    mill_train(&(struct mill_run){.name = "within", .set = {"bad_records.limit=3"}});
    assert_true(mill_state("within", 0, &got));
    assert_int_equal(got.trained, 20);
    assert_int_equal(got.rejected, 3);
    mill_put_text(0, "4,4,4,4");
    mill_put(0, 20, 10);
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_INPUT);
    assert_non_null(strstr(r.err.text, "4 of 25 records are bad"));
    assert_non_null(strstr(r.err.text, "partition 0 offset 10"));
    assert_true(mill_state("mill", 0, &got)); /* nothing of it was learned: no block was full */
    assert_int_equal(got.pos.offset, 0);
}

/* ---- the group ---- */

static uint32_t looks;
static bool revoked;

/* Assigned, then taken away with half a block full, then assigned again. */
static enum group_event taken_away(void *c, const struct start **partitions, uint32_t *n)
{
    static struct start list[P];
    enum group_event ev = broker_local.consumer_event(c, partitions, n);

    if (ev == GROUP_ASSIGNED) {
        assert_int_equal(*n, P);
        memcpy(list, *partitions, sizeof list);
        looks = 1;
        return ev;
    }
    assert_int_equal(ev, GROUP_NONE);
    *partitions = list;
    *n = P;
    looks++;
    return looks == 14   ? revoked ? GROUP_REVOKED : GROUP_LOST
           : looks == 15 ? GROUP_ASSIGNED
                         : GROUP_NONE;
}

static void partitions_that_are_taken_away_come_back_as_they_were(void **state)
{
    struct mill_run r = {.event = taken_away, .poll_max = 500, .set = {"publish.every=1h"}};
    struct mill_part want[P];

    (void)state;
    mill_topic("data", P);
    for (uint32_t p = 0; p < P; p++) {
        mill_put(p, 0, 5000);
        mill_put_text(p, "x"); /* in the blocks that are dropped */
        mill_put(p, 5000, N - 5000);
    }
    mill_trained(&(struct mill_run){.name = "calm"});
    for (uint32_t p = 0; p < P; p++)
        assert_true(mill_state("calm", p, &want[p]));
    for (int i = 0; i < 2; i++) {
        revoked = i;
        r.name = i ? "revoked" : "lost";
        mill_trained(&r);
        same(r.name, want);
        assert_int_equal(r.bad, P);
        assert_in_range(r.records, P * (N + 1), P * (N + 1) + (i ? 0 : 5000));
        assert_int_equal(mill_count(i ? "revoked.dead" : "lost.dead", 0), 1);
    }
}

/* The client says that somebody else has our name. */
static enum group_event fenced_once(void *c, const struct start **partitions, uint32_t *n)
{
    return ++looks == 14 ? GROUP_FENCED : broker_local.consumer_event(c, partitions, n);
}

static struct worker *first;

static void note_worker(struct worker *w)
{
    first = w;
}

/* A process that does have it. */
static void second_begins(uint32_t polls)
{
    const char *const topics[] = {first->job->topic_params};
    void *producer;

    if (polls != 10)
        return;
    producer = calloc(1, broker_local.producer_bytes);
    assert_non_null(producer);
    assert_int_equal(
        broker_local.producer_open(producer, first->b, first->name, topics, 1, &(struct err){""}),
        ST_OK);
    broker_local.producer_close(producer);
    free(producer);
}

static void who_is_put_out_by_nobody_joins_anew(void **state)
{
    struct mill_run r = {.event = fenced_once, .poll_max = 500, .set = {"checkpoint.every=1 rows"}};
    struct mill_part want[P];

    (void)state;
    reference(want);
    looks = 0;
    mill_trained(&r);
    assert_true(looks > 14);
    same("mill", want);
}

static void by_another_of_its_name_it_leaves(void **state)
{
    struct mill_run r = {
        .event = fenced_once, .poll_max = 500, .opened = note_worker, .polled = second_begins};

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, N);
    looks = 0;
    mill_train(&r);
    assert_int_equal(r.st, ST_FATAL);
    assert_non_null(strstr(r.err.text, "another worker uses the name"));
}

/* ---- publishes that do not happen ---- */

static void a_last_publish_that_fails_is_tried_again(void **state)
{
    struct mill_run r = {.commits_fail = 3, .commit_st = ST_AGAIN};
    struct mill_part want[P];
    uint64_t records[P];

    (void)state;
    reference(want);
    mill_trained(&(struct mill_run){.max_rows = 4096});
    mill_trained(&r);
    assert_int_equal(r.commits_fail, 0);
    same("mill", want);
    assert_int_equal(mill_model("mill", records, P), 2);
    assert_int_equal(records[0] + records[1], P * N);
}

static void
a_last_publish_that_never_succeeds_is_an_error_and_the_next_start_makes_up_for_it(void **state)
{
    struct mill_run r = {.commits_fail = 1000, .commit_st = ST_AGAIN, .set = {"staleness=async"}};
    struct mill_part want[P];
    uint64_t records[P];

    (void)state;
    reference(want);
    mill_trained(&(struct mill_run){.max_rows = 4096, .set = {"staleness=async"}});
    mill_train(&r);
    assert_int_equal(r.st, ST_AGAIN);
    assert_non_null(strstr(r.err.text, "the last publish failed 5 times"));
    assert_int_equal(mill_model("mill", records, P), 1);
    mill_put(0, 0, 10); /* behind the end: not of this job, which has not seen its end yet */
    mill_trained(&(struct mill_run){.set = {"staleness=async"}});
    assert_int_equal(mill_model("mill", records, P), 2);
    assert_int_equal(records[0] + records[1], P * N);
}

/* ---- divergence ---- */

static void a_state_that_is_not_finite_stops_its_partition_and_no_other(void **state)
{
    struct mill_run r = {.set = {"options.learning_rate=0.5", "options.standardize=false",
                                 "options.optimizer=sgd", "checkpoint.every=4000 rows"}};
    struct mill_part good, bad;
    uint64_t records[P];

    (void)state;
    mill_topic("data", P);
    mill_put(0, 0, N);
    mill_put(1, 0, 9000);
    for (int i = 0; i < 20; i++)
        mill_put_text(1, "1e30,1e30,-1e30");
    mill_put(1, 9000, 9000);
    mill_train(&r);
    assert_int_equal(r.st, ST_OK); /* the verb makes an error of it */
    assert_int_equal(r.stopped, 1);
    assert_true(mill_state("mill", 0, &good) && mill_state("mill", 1, &bad));
    assert_int_equal(good.trained, N);
    assert_in_range(bad.trained, 5000, 9000); /* the blocks before */
    assert_int_equal(bad.pos.offset, bad.trained);
    assert_int_equal(bad.flags & SLOT_DONE, 0);
    assert_true(mill_slot("mill", 1, &bad));
    assert_true(bad.pos.offset < 9000);
    assert_int_equal(bad.flags & SLOT_STOPPED, SLOT_STOPPED);
    assert_int_equal(mill_model("mill", records, P), 1);
    assert_int_equal(records[0], N);
    assert_true(records[1] == UINT64_MAX);
}

/* In step or not, it is not waited for, and out of the model; a start tries it again. */
static void a_partition_that_stopped_elsewhere_is_not_waited_for(void **state)
{
    static const char *const staleness[] = {"staleness=0", "staleness=async"};
    struct mill_part good, bad;
    uint64_t records[P];

    (void)state;
    mill_topic("data", P);
    for (int i = 0; i < 20; i++)
        mill_put_text(1, "1e30,1e30,-1e30");
    mill_put(1, 0, 100);
    mill_put(0, 0, N);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "b" : "a";
        struct mill_run r = {.name = name,
                             .set = {"options.learning_rate=0.5", "options.standardize=false",
                                     "options.optimizer=sgd", staleness[i]}},
                        one = r, two = r;

        one.mine = 2;
        one.impatient = true;
        one.state = i ? "b1" : "a1";
        mill_train(&one);
        assert_int_equal(one.stopped, 1);
        two.mine = 1;
        two.state = i ? "b2" : "a2";
        mill_train(&two);
        assert_int_equal(two.st, ST_OK);
        assert_true(mill_slot(name, 0, &good) && mill_slot(name, 1, &bad));
        assert_int_equal(good.trained, N);
        assert_false(good.ended);
        assert_int_equal(bad.flags, SLOT_STOPPED);
        assert_int_equal(bad.trained, 0);
        assert_true(mill_model(name, records, P) > 0);
        assert_int_equal(records[0], N);
        assert_true(records[1] == UINT64_MAX);
        one.impatient = false;
        mill_train(&one);
        assert_int_equal(one.stopped, 1);
        assert_true(one.records > 0);
    }
}

static void where_no_state_is_finite_there_is_no_model(void **state)
{
    struct mill_run r = {
        .set = {"options.learning_rate=0.5", "options.standardize=false", "options.optimizer=sgd"}};
    uint64_t records[1];

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 100);
    mill_trained(&r);
    assert_int_equal(mill_model("mill", records, 1), 1);
    for (int i = 0; i < 40; i++)
        mill_put_text(0, "1e30,1e30,-1e30");
    mill_train(&r);
    assert_int_equal(r.st, ST_OK);
    assert_int_equal(r.stopped, 1);
    assert_int_equal(mill_model("mill", records, 1), 1);
    assert_int_equal(records[0], 100);
}

/* Whenever checkpoints fall: before, between and after. */
static void a_packed_model_that_diverges_is_out_of_the_choice_and_harms_no_other(void **state)
{
    static const char *const every[] = {"checkpoint.every=1 rows", "checkpoint.every=9000 rows",
                                        "checkpoint.every=1h"};
    struct mill_run r = {.set = {"options.learning_rate=1000,0.01", "options.optimizer=sgd"}};
    struct mill_part want = {0}, got;
    uint64_t records[1];

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, N);
    for (int i = 0; i < 3; i++) {
        double *sums;
        size_t bytes;
        char name[] = {'j', (char)('0' + i), 0};

        r.name = name;
        r.set[2] = every[i];
        mill_trained(&r);
        assert_int_equal(r.stopped, 0);
        assert_true(mill_state(name, 0, &got));
        assert_int_equal(got.trained, N);
        assert_true(i == 0 || got.digest == want.digest);
        want = got;
        sums = mill_tensor(name, 0, "@metric.train", &bytes);
        assert_int_equal(bytes, 2 * METRIC_N * sizeof *sums);
        assert_true(sums[METRIC_DIVERGED] > 0);
        assert_true(sums[METRIC_N + METRIC_DIVERGED] == 0);
        assert_true(sums[METRIC_N + METRIC_ROWS] == N);
        free(sums);
        assert_int_equal(mill_model(name, records, 1), 1);
        assert_int_equal(records[0], N);
    }
}

/* The second long after the first, which has begun anew meanwhile. */
static void where_all_packed_models_have_diverged_the_partition_stops(void **state)
{
    struct mill_run r = {.set = {"options.learning_rate=1000,2.1", "options.optimizer=sgd",
                                 "checkpoint.every=1 rows"}};
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, N);
    mill_train(&r);
    assert_int_equal(r.st, ST_OK);
    assert_int_equal(r.stopped, 1);
    assert_true(mill_state("mill", 0, &got));
    assert_in_range(got.trained, 4096, N - 1);
}

/* A model that cannot be made yet does not hold up the slots. */
static void without_anything_to_make_a_model_of_the_slots_are_published(void **state)
{
    struct mill_run r = {.job = mill_kmeans, .set = {"input.weight=label"}};
    struct mill_part slot;
    uint64_t records[1];

    (void)state;
    mill_topic("data", 1);
    for (int i = 0; i < 10; i++)
        mill_put_text(0, "0,1,2");
    mill_trained(&r);
    assert_int_equal(mill_model("mill", records, 1), 0);
    assert_true(mill_slot("mill", 0, &slot));
    assert_int_equal(slot.trained, 10);
    mill_put_text(0, "1,1,2");
    mill_trained(&r);
    assert_int_equal(mill_model("mill", records, 1), 1);
    assert_int_equal(records[0], 11);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mill_begin, mill_end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(block_edges_are_a_function_of_the_records_alone),
        TEST(a_job_in_pieces_is_the_job_in_one),
        TEST(over_the_limit_the_worker_stops_and_says_where),
        TEST(partitions_that_are_taken_away_come_back_as_they_were),
        TEST(who_is_put_out_by_nobody_joins_anew),
        TEST(by_another_of_its_name_it_leaves),
        TEST(a_last_publish_that_fails_is_tried_again),
        TEST(a_last_publish_that_never_succeeds_is_an_error_and_the_next_start_makes_up_for_it),
        TEST(a_state_that_is_not_finite_stops_its_partition_and_no_other),
        TEST(a_partition_that_stopped_elsewhere_is_not_waited_for),
        TEST(where_no_state_is_finite_there_is_no_model),
        TEST(a_packed_model_that_diverges_is_out_of_the_choice_and_harms_no_other),
        TEST(where_all_packed_models_have_diverged_the_partition_stops),
        TEST(without_anything_to_make_a_model_of_the_slots_are_published),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
