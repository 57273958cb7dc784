/* Where a partition goes on: from the local state or from its slot, on the topic it was trained on
 * or not at all. */
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { N = 20000, BLOCK = 4096 };

static struct mill_part calm; /* of the undisturbed job over N records of partition 0 */

static void reference(void)
{
    mill_topic("data", 1);
    mill_put(0, 0, N);
    mill_trained(&(struct mill_run){.name = "calm"});
    assert_true(mill_state("calm", 0, &calm));
    assert_int_equal(calm.pos.offset, N);
}

static void part_of(struct mill_run r, uint64_t rows)
{
    r.max_rows = rows;
    r.poll_max = 500; /* stops at the block edge behind `rows` */
    mill_trained(&r);
}

static void ends_as_calm(struct mill_run r, uint64_t records)
{
    struct mill_part got;

    mill_trained(&r);
    assert_int_equal(r.records, records);
    assert_true(mill_state(r.state ? r.state : "mill", 0, &got));
    assert_int_equal(got.digest, calm.digest);
    assert_int_equal(got.lineages, 1);
    assert_int_equal(got.lineage[0].records, N);
}

static void is_refused(struct mill_run r, enum st st, const char *what)
{
    mill_train(&r);
    assert_int_equal(r.st, st);
    if (!strstr(r.err.text, what))
        fail_msg("no '%s' in '%s'", what, r.err.text);
}

/* ---- local state and slot ---- */

static void another_folder_goes_on_from_the_slot(void **state)
{
    struct mill_part slot;

    (void)state;
    reference();
    part_of((struct mill_run){0}, 2 * BLOCK);
    assert_true(mill_slot("mill", 0, &slot));
    assert_int_equal(slot.seq, 2); /* the empty one was the first */
    ends_as_calm((struct mill_run){.state = "other"}, N - 2 * BLOCK);
    assert_true(mill_slot("mill", 0, &slot));
    assert_int_equal(slot.seq, 3);
}

static void a_slot_that_is_ahead_of_the_local_state_wins(void **state)
{
    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    part_of((struct mill_run){.state = "other"}, BLOCK);
    mill_tamper("mill", 0, "w");
    ends_as_calm((struct mill_run){0}, N - 2 * BLOCK);
}

static void local_state_that_is_ahead_of_the_slot_wins(void **state)
{
    struct mill_run r = {
        .commits_fail = 99, .commit_st = ST_AGAIN, .max_rows = 2 * BLOCK, .poll_max = 500};
    struct mill_part slot, local;

    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    mill_train(&r);
    assert_int_equal(r.st, ST_AGAIN);
    assert_true(mill_slot("mill", 0, &slot) && mill_state("mill", 0, &local));
    assert_int_equal(slot.pos.offset, BLOCK);
    assert_int_equal(local.pos.offset, 3 * BLOCK);
    ends_as_calm((struct mill_run){.state = "other"}, N - BLOCK);
    mill_delete("mill.params");
    mill_delete("mill.models");
    ends_as_calm((struct mill_run){0}, N - 3 * BLOCK); /* without a slot too */
}

static void of_equal_positions_the_local_state_counts(void **state)
{
    struct mill_run r = {0};
    struct mill_part got;

    (void)state;
    reference();
    part_of(r, BLOCK);
    mill_tamper("mill", 0, "w");
    mill_trained(&r);
    assert_int_equal(r.records, N - BLOCK);
    assert_true(mill_state("mill", 0, &got));
    assert_true(got.digest != calm.digest);
}

static void the_slot_of_another_job_is_refused(void **state)
{
    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    is_refused((struct mill_run){.set = {"seed=7"}}, ST_BAD_CONFIG,
               "mill.params partition 0 holds the slot of another job (algorithm linear)");
    is_refused((struct mill_run){.state = "other", .set = {"options.learning_rate=0.2"}},
               ST_BAD_CONFIG, "holds the slot of another job");
    ends_as_calm((struct mill_run){0}, N - BLOCK);
}

static void local_state_of_another_job_is_set_aside(void **state)
{
    struct mill_run r = {.set = {"seed=7", "topics.params=fresh"}};
    struct mill_part got;

    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    mill_trained(&r);
    assert_int_equal(r.records, N);
    assert_true(mill_state("mill", 0, &got));
    assert_int_equal(got.trained, N);
    assert_true(got.job != calm.job);
}

static void a_damaged_slot_is_refused(void **state)
{
    struct mill_part slot;

    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    assert_true(mill_slot("mill", 0, &slot));
    mill_put_key("mill.params", 0, (struct bytes){(const uint8_t *)"slot/0/manifest", 15},
                 (struct bytes){(const uint8_t *)"MRSM", 4}, true);
    is_refused((struct mill_run){0}, ST_CORRUPT, "topic mill.params partition 0: record at offset");
}

/* ---- the range, fixed before anything is learned ---- */

static void the_end_is_fixed_in_a_slot_before_anything_is_learned(void **state)
{
    struct mill_run r = {.set = {"bad_records.limit=1"}};
    struct mill_part slot;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 50);
    mill_put_text(0, "x");
    mill_put_text(0, "y");
    mill_put(0, 50, 50);
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_INPUT); /* within the first block: as good as a crash */
    assert_true(mill_slot("mill", 0, &slot));
    assert_int_equal(slot.trained, 0);
    assert_int_equal(slot.pos.offset, 0);
    assert_int_equal(slot.begin, 0);
    assert_int_equal(slot.end, 102);
    mill_put(0, 100, 50);
    mill_trained(&(struct mill_run){.state = "other", .set = {"bad_records.limit=5"}});
    assert_true(mill_slot("mill", 0, &slot));
    assert_int_equal(slot.end, 102);
    assert_int_equal(slot.trained, 100);
    assert_int_equal(slot.flags, SLOT_DONE);
}

static void where_the_first_slot_cannot_be_published_nothing_is_learned(void **state)
{
    struct mill_run r = {.commits_fail = 99, .commit_st = ST_AGAIN};
    struct mill_part slot;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, N);
    mill_train(&r);
    assert_int_equal(r.st, ST_FATAL);
    assert_non_null(strstr(r.err.text, "the first slots could not be published in 5 tries"));
    assert_int_equal(r.records, 0);
    assert_false(mill_slot("mill", 0, &slot));
    assert_int_equal(mill_count("mill.params", 0), 0);
}

/* ---- the topic ---- */

static void the_same_records_in_a_new_topic_are_as_good(void **state)
{
    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    mill_delete("data");
    mill_topic("data", 1);
    mill_put(0, 0, N);
    ends_as_calm((struct mill_run){0}, N - BLOCK);
}

static void a_topic_with_other_records_is_refused(void **state)
{
    struct mill_part before, after;

    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    assert_true(mill_slot("mill", 0, &before));
    mill_delete("data");
    mill_topic("data", 1);
    mill_put(0, 1, N);
    is_refused((struct mill_run){0}, ST_BAD_CONFIG,
               "partition 0: the record at offset 4095 is not the one this state was trained on");
    mill_delete("data");
    mill_topic("data", 1);
    mill_put(0, 0, BLOCK - 1);
    is_refused((struct mill_run){0}, ST_BAD_CONFIG, "was re-created or truncated");
    mill_delete("data");
    mill_topic("data", 1);
    is_refused((struct mill_run){0}, ST_BAD_CONFIG, "ends at offset 0, before the position 4096");
    assert_true(mill_slot("mill", 0, &after));
    assert_int_equal(after.digest, before.digest);
}

static void a_last_record_lost_to_retention_is_no_reason_to_stop(void **state)
{
    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    mill_trim(0, BLOCK);
    ends_as_calm((struct mill_run){0}, N - BLOCK);
}

static void a_retention_gap_is_refused_unless_it_is_allowed(void **state)
{
    struct mill_run r = {.set = {"retention_gap=continue"}};
    struct mill_part got;

    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    mill_trim(0, BLOCK + 1000);
    is_refused((struct mill_run){0}, ST_BAD_CONFIG,
               "offsets 4096 to 5095 were removed before they could be read");
    mill_trained(&r);
    assert_int_equal(r.records, N - BLOCK - 1000);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.lost, 1000);
    assert_int_equal(got.trained, N - 1000);
    assert_int_equal(got.pos.offset, N);
    assert_int_equal(got.lineages, 3);
    assert_int_equal(got.lineage[0].end, BLOCK);
    assert_int_equal(got.lineage[0].records, BLOCK);
    assert_int_equal(got.lineage[1].kind, LINEAGE_LOST);
    assert_int_equal(got.lineage[1].begin, BLOCK);
    assert_int_equal(got.lineage[1].end, BLOCK + 1000);
    assert_int_equal(got.lineage[2].begin, BLOCK + 1000);
    assert_int_equal(got.lineage[2].records, N - BLOCK - 1000);
}

static void a_gap_up_to_the_end_and_beyond_loses_what_was_asked_for(void **state)
{
    struct mill_run r = {.set = {"retention_gap=continue"}};
    struct mill_part got;

    (void)state;
    reference();
    part_of((struct mill_run){0}, BLOCK);
    mill_put(0, N, 5000);
    mill_trim(0, N + 1000);
    mill_trained(&r);
    assert_int_equal(r.records, 0);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.lost, N - BLOCK);
    assert_int_equal(got.pos.offset, N);
    assert_int_equal(got.flags, SLOT_DONE);
}

/* ---- the group moves on while slots are read ---- */

static struct {
    struct worker *w;
    void *undecided; /* a producer whose open transaction holds up the reading of partition 1 */
    const struct start *list;
    uint32_t n, calls, lost_at;
} move;

static void hold_up(struct worker *w)
{
    const char *topic = "mill.params";

    move.w = w;
    move.undecided = calloc(1, broker_local.producer_bytes);
    assert_non_null(move.undecided);
    if (broker_local.producer_open(move.undecided, w->b, "slow", &topic, 1, w->err) != ST_OK ||
        broker_local.producer_begin(move.undecided, w->err) != ST_OK ||
        broker_local.produce(move.undecided, 0, 1, (struct bytes){(const uint8_t *)"k", 1},
                             (struct bytes){(const uint8_t *)"v", 1}, -1, NULL, 0,
                             w->err) != ST_OK ||
        broker_local.producer_wait(move.undecided, 1000, w->err) != ST_OK)
        fail_msg("%s", w->err->text);
}

static void decide(void)
{
    assert_int_equal(broker_local.producer_abort(move.undecided, move.w->err), ST_OK);
    broker_local.producer_close(move.undecided);
    free(move.undecided);
}

/* Assigned, which is noted; until then, and behind the last of the looks: as the group says. */
static bool begun(enum group_event ev, const struct start **partitions, uint32_t *n, uint32_t looks)
{
    if (ev == GROUP_ASSIGNED) {
        move.list = *partitions;
        move.n = *n;
        move.calls = 1;
        return false;
    }
    if (!move.calls || ++move.calls > looks)
        return false;
    *partitions = move.list;
    *n = move.n;
    return true;
}

/* Assigned; then lost while partition 1 is restored; then assigned again. */
static enum group_event lost_and_back(void *c, const struct start **partitions, uint32_t *n)
{
    enum group_event ev = broker_local.consumer_event(c, partitions, n);

    if (!begun(ev, partitions, n, 4))
        return ev;
    if (move.calls < 4) /* two looks, then it is gone */
        return move.calls == 3 ? GROUP_LOST : GROUP_NONE;
    assert_int_equal(move.w->owned, 0);
    decide();
    return GROUP_ASSIGNED;
}

/* Assigned; then once more while partition 1 is restored. */
static enum group_event assigned_twice(void *c, const struct start **partitions, uint32_t *n)
{
    enum group_event ev = broker_local.consumer_event(c, partitions, n);

    if (!begun(ev, partitions, n, 3))
        return ev;
    if (move.calls < 3)
        return GROUP_NONE;
    decide();
    return GROUP_ASSIGNED;
}

static void broken_off(struct mill_run r)
{
    struct mill_part got;

    memset(&move, 0, sizeof move);
    r.opened = hold_up;
    mill_topic("data", 2);
    mill_put(0, 0, 100);
    mill_put(1, 0, 100);
    mill_trained(&r);
    assert_int_equal(r.records, 200);
    assert_true(mill_slot("mill", 1, &got));
    assert_int_equal(got.trained, 100);
}

static void a_restore_that_was_broken_off_begins_anew(void **state)
{
    (void)state;
    broken_off((struct mill_run){.event = lost_and_back});
}

static void an_assignment_while_restoring_takes_its_place(void **state)
{
    (void)state;
    broken_off((struct mill_run){.event = assigned_twice});
}

/* ---- a reset ---- */

/* Its owner has partition 0; partition 1 was done before the reset, which it hears of by following
 * the slots. */
static void what_others_learned_before_a_reset_is_void(void **state)
{
    static const uint8_t run[4] = {1};
    struct mill_run r = {.mine = 1, .impatient = true, .set = {"staleness=async"}};
    struct mill_part got;
    char key[SLOT_KEY_BYTES];

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, 100);
    mill_put(1, 0, 100);
    mill_trained(&(struct mill_run){.set = {"staleness=async"}});
    for (uint32_t p = 0; p < 2; p++) {
        struct bytes k = {(const uint8_t *)key, slot_key(key, p, 0, SLOT_RUN)};

        mill_put_key("mill.params", p, k, (struct bytes){run, sizeof run}, true);
    }
    mill_trained(&r);
    assert_int_equal(r.records, 100);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.pos.run, 1);
    assert_int_equal(got.trained, 100);
    assert_false(got.ended);
    r.mine = 0;
    mill_trained(&r);
    assert_int_equal(r.records, 100);
    assert_true(mill_slot("mill", 0, &got) && got.ended);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mill_begin, mill_end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(another_folder_goes_on_from_the_slot),
        TEST(a_slot_that_is_ahead_of_the_local_state_wins),
        TEST(local_state_that_is_ahead_of_the_slot_wins),
        TEST(of_equal_positions_the_local_state_counts),
        TEST(the_slot_of_another_job_is_refused),
        TEST(local_state_of_another_job_is_set_aside),
        TEST(a_damaged_slot_is_refused),
        TEST(the_end_is_fixed_in_a_slot_before_anything_is_learned),
        TEST(where_the_first_slot_cannot_be_published_nothing_is_learned),
        TEST(the_same_records_in_a_new_topic_are_as_good),
        TEST(a_topic_with_other_records_is_refused),
        TEST(a_last_record_lost_to_retention_is_no_reason_to_stop),
        TEST(a_retention_gap_is_refused_unless_it_is_allowed),
        TEST(a_gap_up_to_the_end_and_beyond_loses_what_was_asked_for),
        TEST(a_restore_that_was_broken_off_begins_anew),
        TEST(an_assignment_while_restoring_takes_its_place),
        TEST(what_others_learned_before_a_reset_is_void),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("restore", tests, NULL, NULL);
}
