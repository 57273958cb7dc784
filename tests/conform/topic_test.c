/* What happens to the data topic while it is read: it is deleted and made anew, with the same
 * records or others, fewer or more; or it gets more partitions. */
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { N = 20000, BLOCK = 4096, AT_POLL = 20, OTHERS = 1000000 };

static const char each_block[] = "checkpoint.every=1 rows";

static struct {
    uint32_t partitions, polls;
    uint64_t from, n;
    bool stop;
} next; /* what the topic becomes at a poll in the middle */

static void make_anew(void)
{
    mill_delete("data");
    if (!next.partitions)
        return;
    mill_topic("data", next.partitions);
    for (uint32_t i = 0; next.n && i < next.partitions; i++)
        mill_put(i, next.from, next.n);
}

static void at_poll(uint32_t polls)
{
    if (polls == AT_POLL)
        make_anew();
    if (next.stop && polls == AT_POLL + 20)
        worker_stop = 1;
}

static void old_topic(void)
{
    mill_topic("data", 1);
    mill_put(0, 0, N);
}

static struct mill_run reading(const char *policy)
{
    return (struct mill_run){.set = {each_block, policy}, .poll_max = 500, .polled = at_poll};
}

static void is_refused(struct mill_run r, const char *what)
{
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_CONFIG);
    if (!strstr(r.err.text, what))
        fail_msg("no '%s' in '%s'", what, r.err.text);
}

/* Goes on with the new topic as a run of its own: as a job that was stopped where this one saw it,
 * and started again on the new topic. */
static void goes_on(uint64_t n)
{
    struct mill_run r = reading("topic_recreated=continue");
    struct mill_part live, still;
    uint64_t old;

    old_topic();
    next.partitions = 1;
    next.from = OTHERS;
    next.n = n;
    mill_trained(&r);
    assert_true(mill_state("mill", 0, &live));
    old = live.lineage[0].records;
    assert_true(old >= 2 * BLOCK && old <= N && old % BLOCK == 0);
    assert_int_equal(live.lineage[0].end, old);
    assert_int_equal(live.lineages, 3);
    assert_int_equal(live.lineage[1].kind, LINEAGE_RESET);
    assert_int_equal(live.lineage[1].run, 1);
    assert_int_equal(live.lineage[1].begin, 0);
    assert_int_equal(live.lineage[2].begin, 0);
    assert_int_equal(live.lineage[2].end, n);
    assert_int_equal(live.lineage[2].records, n);
    assert_int_equal(live.pos.run, 1);
    assert_int_equal(live.trained, old + n);
    assert_int_equal(live.flags, SLOT_DONE);

    mill_delete("data");
    old_topic();
    mill_trained(&(struct mill_run){.name = "still", .max_rows = old, .poll_max = 500});
    make_anew();
    mill_trained(&(struct mill_run){.name = "still", .set = {"topic_recreated=continue"}});
    assert_true(mill_state("still", 0, &still));
    assert_int_equal(still.digest, live.digest);
    assert_true(mill_slot("mill", 0, &live));
    assert_int_equal(still.digest, live.digest);
}

static void a_topic_made_anew_is_a_new_run(void **state)
{
    (void)state;
    goes_on(N);
}

static void so_is_a_longer_one(void **state)
{
    (void)state;
    goes_on(N + 5000);
}

static void and_a_shorter_one(void **state)
{
    (void)state;
    goes_on(3000);
}

static void without_that_policy_each_is_refused(void **state)
{
    static const uint64_t n[] = {N, N + 5000, 3000};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct mill_part got;

        if (i)
            mill_delete("mill.params"), mill_delete("mill.models"), mill_delete("data");
        old_topic();
        next.partitions = 1;
        next.from = OTHERS;
        next.n = n[i];
        struct mill_run r = reading(NULL);
        r.state = i == 0 ? "a" : i == 1 ? "b" : "c";
        is_refused(r, "re-created or truncated");
        assert_true(mill_state(r.state, 0, &got));
        assert_int_equal(got.lineages, 1);
        assert_int_equal(got.lineage[0].records, got.trained);
        assert_true(got.trained % BLOCK == 0 && got.trained < N);
    }
}

static void the_same_records_in_a_new_topic_are_as_good(void **state)
{
    struct mill_part calm, got;

    (void)state;
    old_topic();
    mill_trained(&(struct mill_run){.name = "calm"});
    next.partitions = 1;
    next.from = 0;
    next.n = N;
    mill_trained(&(struct mill_run){.set = {each_block}, .poll_max = 500, .polled = at_poll});
    assert_true(mill_state("calm", 0, &calm) && mill_state("mill", 0, &got));
    assert_int_equal(got.digest, calm.digest);
}

static void a_topic_that_stays_away_ends_the_job(void **state)
{
    (void)state;
    old_topic();
    next.partitions = 0;
    is_refused(reading(NULL), "topic data is gone (deleted or re-created) while it was read");
}

static void or_is_waited_for_until_told_to_stop(void **state)
{
    struct mill_run r = reading("topic_recreated=continue");
    struct mill_part got;

    (void)state;
    old_topic();
    next.partitions = 0;
    next.stop = true;
    mill_trained(&r);
    assert_true(mill_state("mill", 0, &got));
    assert_true(got.trained >= 2 * BLOCK && got.trained < N);
}

static void another_topic_between_two_epochs_is_found(void **state)
{
    struct mill_run r = {.set = {"epochs=2", each_block}};
    struct mill_part calm, got;

    (void)state;
    old_topic();
    r.name = "calm";
    mill_trained(&r);
    r.name = NULL;
    r.max_rows = N;
    mill_trained(&r);
    assert_true(mill_state("mill", 0, &got));
    assert_int_equal(got.pos.epoch, 1);
    assert_int_equal(got.pos.offset, 0);
    next.partitions = 1;
    next.from = OTHERS;
    next.n = N;
    make_anew();
    r.max_rows = 0;
    is_refused(r, "record at offset 19999 is not the one this state was trained on");
    mill_delete("data");
    old_topic();
    mill_trained(&r); /* and where it is ours, the check costs nothing */
    assert_true(mill_state("calm", 0, &calm) && mill_state("mill", 0, &got));
    assert_int_equal(got.digest, calm.digest);
    assert_int_equal(got.trained, 2 * N);
}

/* ---- more partitions ---- */

static void add_partitions(uint32_t polls)
{
    if (polls != AT_POLL)
        return;
    if (broker_local.partitions_add(mill_broker(), "data", 4, &(struct err){""}) != ST_OK)
        fail_msg("no partitions");
    mill_put(2, N, 5000);
    mill_put(3, 2 * N, 7000);
}

static void partitions_that_are_added_are_learned(void **state)
{
    struct mill_run r = {.job = mill_kmeans,
                         .set = {each_block},
                         .unbounded = true,
                         .poll_max = 500,
                         .polled = add_partitions};
    struct mill_part got;
    uint64_t in_model[4];

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, N);
    mill_trained(&r);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.trained, N / BLOCK * BLOCK);
    assert_int_equal(got.lineages, 1);
    assert_true(mill_slot("mill", 2, &got));
    assert_int_equal(got.trained, BLOCK);
    assert_int_equal(got.begin, 0);
    assert_true(mill_slot("mill", 3, &got));
    assert_int_equal(got.trained, BLOCK);
    mill_model("mill", in_model, 4);
    assert_int_equal(in_model[3], BLOCK);
}

static void those_added_to_a_bounded_job_are_done_with_no_records(void **state)
{
    struct mill_run r = {.set = {each_block}, .poll_max = 500, .polled = add_partitions};
    struct mill_part calm, got;

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, N);
    mill_put(1, OTHERS, N);
    mill_trained(&(struct mill_run){.name = "calm"});
    mill_trained(&r);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(mill_slot("calm", i, &calm) && mill_slot("mill", i, &got));
        assert_int_equal(got.digest, calm.digest);
        assert_int_equal(got.trained, N);
    }
    for (uint32_t i = 2; i < 4; i++) {
        assert_true(mill_slot("mill", i, &got));
        assert_int_equal(got.flags, SLOT_DONE);
        assert_int_equal(got.trained, 0);
    }
}

static int begin(void **state)
{
    memset(&next, 0, sizeof next);
    return mill_begin(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, mill_end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_topic_made_anew_is_a_new_run),
        TEST(so_is_a_longer_one),
        TEST(and_a_shorter_one),
        TEST(without_that_policy_each_is_refused),
        TEST(the_same_records_in_a_new_topic_are_as_good),
        TEST(a_topic_that_stays_away_ends_the_job),
        TEST(or_is_waited_for_until_told_to_stop),
        TEST(another_topic_between_two_epochs_is_found),
        TEST(partitions_that_are_added_are_learned),
        TEST(those_added_to_a_bounded_job_are_done_with_no_records),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("topic", tests, NULL, NULL);
}
