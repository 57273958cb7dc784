/* What a job has to learn: [begin, end) of each partition, once or several times, all of it, and
 * nothing else. */
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

static void partitions_without_records_are_done_at_once(void **state)
{
    struct mill_run r = {.set = {NULL}};
    struct mill_part got;
    uint64_t records[3];

    (void)state;
    mill_topic("data", 3);
    mill_trained(&r); /* all of them */
    assert_int_equal(r.records, 0);
    assert_int_equal(mill_model("mill", records, 3), 0);
    mill_put(1, 0, 100);
    mill_trained(&(struct mill_run){.name = "some"});
    for (uint32_t p = 0; p < 3; p++) {
        assert_true(mill_slot("some", p, &got));
        assert_int_equal(got.flags, SLOT_DONE);
        assert_int_equal(got.trained, p == 1 ? 100 : 0);
        assert_int_equal(got.end, p == 1 ? 100 : 0);
    }
    assert_int_equal(mill_model("some", records, 3), 1);
    assert_int_equal(records[0], 0);
    assert_int_equal(records[1], 100);
}

static void a_job_that_has_ended_goes_on_behind_its_end(void **state)
{
    struct mill_run r = {.set = {NULL}};
    struct mill_part got;

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, 5000);
    mill_trained(&r);
    mill_trained(&r);
    assert_int_equal(r.records, 0);
    mill_put(0, 5000, 10);
    mill_put(1, 0, 300);
    mill_trained(&r);
    assert_int_equal(r.records, 310);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.trained, 5010);
    assert_int_equal(got.begin, 0);
    assert_int_equal(got.end, 5010);
    assert_int_equal(got.flags, SLOT_DONE);
    assert_int_equal(got.lineages, 3);
    assert_int_equal(got.lineage[1].kind, LINEAGE_ENDED);
    assert_int_equal(got.lineage[1].begin, 5000);
    assert_true(mill_slot("mill", 1, &got));
    assert_int_equal(got.trained, 300);
}

/* Offsets behind the last record belong to a transaction's marker and an aborted record, which are
 * never delivered: the end is seen nevertheless. */
static void an_end_behind_the_last_record_is_reached(void **state)
{
    struct bytes value = {(const uint8_t *)"1,2,3", 5}, none = {0};
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 10);
    mill_put_key("data", 0, none, value, true);
    mill_put_key("data", 0, none, value, false);
    mill_trained(&(struct mill_run){.set = {"epochs=2"}});
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.end, 14);
    assert_int_equal(got.pos.offset, 14);
    assert_int_equal(got.pos.epoch, 1);
    assert_int_equal(got.trained, 22);
    assert_int_equal(got.lineages, 2);
    assert_int_equal(got.lineage[0].end, 14);
    assert_int_equal(got.lineage[0].records, 11);
}

/* The end was fixed where a marker lies, and the topic grows on: neither is anything behind the end
 * learned, nor waited for until it stops growing. */
static void records_behind_the_end_show_that_it_is_reached(void **state)
{
    struct mill_run r = {.set = {"bad_records.limit=1", "epochs=2"}, .poll_max = 7};
    struct bytes bad = {(const uint8_t *)"x", 1}, none = {0};
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 10);
    mill_put_text(0, "x");
    mill_put_key("data", 0, none, bad, true);
    mill_put_key("data", 0, none, bad, false);
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_INPUT);
    mill_put(0, 10, 1000);
    r.set[0] = "bad_records.limit=90%";
    mill_trained(&r);
    assert_true(r.polls < 50); /* 1000 records are 140 polls, twice */
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.end, 15);
    assert_int_equal(got.trained, 20);
    assert_int_equal(got.rejected, 4);
    assert_int_equal(got.pos.offset, 15);
}

static void same_tensor(const char *one, const char *two, const char *name)
{
    size_t n, m;
    void *a = mill_tensor(one, 0, name, &n), *b = mill_tensor(two, 0, name, &m);

    assert_true(a && b && n == m && n > 0);
    if (memcmp(a, b, n))
        fail_msg("tensor %s differs", name);
    free(a);
    free(b);
}

static void epochs_are_as_many_passes(void **state)
{
    static const char *const tensors[] = {"w", "n", "weight", "shift", "scale"};
    struct mill_part got;
    uint64_t records[1], *batches;
    size_t n;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 2 * BLOCK);
    mill_trained(&(struct mill_run){.name = "epochs", .set = {"epochs=3"}});
    assert_true(mill_slot("epochs", 0, &got));
    assert_int_equal(got.pos.epoch, 2);
    assert_int_equal(got.trained, 3 * 2 * BLOCK);
    assert_int_equal(got.lineages, 3);
    assert_int_equal(mill_model("epochs", records, 1), 1);
    batches = mill_tensor("epochs", 0, "@batch", &n);
    assert_int_equal(*batches, 2 * BLOCK / 32); /* counted within an epoch */
    free(batches);
    mill_put(0, 0, 2 * BLOCK); /* the same records again and again */
    mill_put(0, 0, 2 * BLOCK);
    mill_trained(&(struct mill_run){.name = "passes"});
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        same_tensor("epochs", "passes", tensors[i]);
}

static void epochs_in_pieces_are_the_epochs_in_one(void **state)
{
    struct mill_run r = {.poll_max = 700, .set = {"epochs=3"}};
    struct mill_part want, got;
    int pieces = 0;

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, 3 * BLOCK + 77);
    mill_put(1, 7000, BLOCK);
    mill_trained(&(struct mill_run){.name = "calm", .set = {"epochs=3"}});
    do {
        r.max_rows = 3000;
        r.state = pieces % 2 ? "one" : "two";
        mill_trained(&r);
    } while (++pieces < 50 && r.rows);
    assert_in_range(pieces, 9, 20);
    for (uint32_t p = 0; p < 2; p++) {
        assert_true(mill_slot("calm", p, &want) && mill_slot("mill", p, &got));
        assert_int_equal(got.digest, want.digest);
        assert_int_equal(got.lineages, 3);
        assert_memory_equal(got.lineage, want.lineage, sizeof got.lineage);
    }
}

/* Records come in all the time, also while it is down: its end stays where it was at its start. */
static void epochs_over_a_live_topic_are_those_over_a_frozen_copy(void **state)
{
    struct mill_run live = {.name = "live",
                            .set = {"epochs=3", "staleness=0"},
                            .unbounded = true, /* to which the epochs give an end */
                            .live = 20,
                            .poll_max = 500,
                            .max_rows = 9000};
    struct mill_part want[2], got;

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, 2 * BLOCK + 77);
    mill_put(1, 0, BLOCK);
    do
        mill_trained(&live);
    while (live.rows);
    for (uint32_t p = 0; p < 2; p++) {
        assert_true(mill_slot("live", p, &want[p]));
        assert_int_equal(want[p].flags, SLOT_DONE);
        assert_int_equal(want[p].pos.epoch, 2);
        assert_int_equal(want[p].trained, 3 * want[p].end);
        assert_true(mill_count("data", p) > (uint64_t)want[p].end + 1000);
    }
    mill_delete("data");
    mill_topic("data", 2);
    for (uint32_t p = 0; p < 2; p++)
        mill_put(p, 0, (uint64_t)want[p].end);
    mill_trained(&(struct mill_run){.name = "frozen", .set = {"epochs=3", "staleness=0"}});
    for (uint32_t p = 0; p < 2; p++) {
        assert_true(mill_slot("frozen", p, &got));
        assert_int_equal(got.digest, want[p].digest);
    }
}

static void what_counts_a_record_twice_refuses_epochs(void **state)
{
    struct mill_run r = {.job = mill_kmeans, .set = {"epochs=2"}};

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 100);
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_CONFIG);
    assert_non_null(strstr(r.err.text, "kmeans counts a record that it sees again twice"));
    assert_non_null(strstr(r.err.text, "not 2"));
}

static void without_an_end_only_full_blocks_are_learned_unless_they_linger(void **state)
{
    struct mill_run r = {.unbounded = true, .job = mill_kmeans};
    struct mill_part got;

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, BLOCK + 100);
    mill_put(1, 0, 50);
    mill_trained(&r);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.trained, BLOCK);
    assert_true(got.end == INT64_MAX);
    assert_int_equal(got.flags, 0);
    r.set[0] = "batch_linger=20ms";
    mill_trained(&r);
    assert_int_equal(r.rows, 150);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.trained, BLOCK + 100);
    assert_int_equal(got.pos.offset, BLOCK + 100);
    assert_int_equal(got.lineages, 1);
    assert_int_equal(got.flags, SLOT_LOOSE);
}

static void an_unbounded_job_may_be_given_an_end(void **state)
{
    struct mill_run r = {.unbounded = true};
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, BLOCK + 100);
    mill_trained(&r);
    r = (struct mill_run){0};
    mill_trained(&r);
    assert_int_equal(r.records, 100);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.end, BLOCK + 100);
    assert_int_equal(got.flags, SLOT_DONE);
}

/* Long runs of null records, or of bad ones, hold back no position: a block ends with them. */
static void put_many(struct bytes value, uint32_t n)
{
    void *p = calloc(1, broker_local.producer_bytes);
    const char *topic = "data";
    struct bytes none = {0};
    struct err e;

    assert_non_null(p);
    assert_int_equal(broker_local.producer_open(p, mill_broker(), NULL, &topic, 1, &e), ST_OK);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(broker_local.produce(p, 0, 0, none, value, 1, NULL, 0, &e), ST_OK);
    assert_int_equal(broker_local.producer_wait(p, 1000, &e), ST_OK);
    broker_local.producer_close(p);
    free(p);
}

static void null_records_end_a_block_too(void **state)
{
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    put_many((struct bytes){0}, 70000);
    mill_trained(&(struct mill_run){.unbounded = true});
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.pos.offset, 65536);
    assert_int_equal(got.trained, 0);
    assert_int_equal(got.rejected, 0);
    assert_int_equal(got.last_offset, -1);
}

static void bad_records_end_a_block_too(void **state)
{
    struct mill_run r = {.unbounded = true, .set = {"bad_records.limit=100000"}};
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    put_many((struct bytes){(const uint8_t *)"x", 1}, 20000);
    mill_trained(&r);
    assert_true(mill_slot("mill", 0, &got));
    assert_in_range(got.pos.offset, 2000, 19999);
    assert_int_equal(got.rejected, got.pos.offset);
    assert_int_equal(mill_count("mill.dead", 0), got.rejected);
}

/* ---- where it begins and ends ---- */

static void ranged(const char *name, const char *from, const char *until, int64_t begin,
                   int64_t end)
{
    struct mill_run r = {.name = name, .from = from, .until = until};
    struct mill_part got;

    mill_trained(&r);
    assert_true(mill_slot(name, 0, &got));
    assert_int_equal(got.begin, begin);
    assert_int_equal(got.end, end);
    assert_int_equal(got.flags, SLOT_DONE);
    assert_int_equal(got.trained, end - begin);
    assert_int_equal(r.records, end - begin);
    r.rows = r.records = 0;
    mill_trained(&r); /* the same command once more: nothing new, and no complaint */
    assert_int_equal(r.records, 0);
}

static void a_job_begins_and_ends_where_it_is_told(void **state)
{
    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 1000); /* times are 1000 + number */
    mill_trim(0, 100);
    ranged("plain", NULL, NULL, 100, 1000);
    ranged("earliest", "earliest", NULL, 100, 1000);
    ranged("latest", "latest", NULL, 1000, 1000);
    ranged("offset", "250", NULL, 250, 1000);
    ranged("until", "250", "300", 250, 300);
    ranged("low", "7", "300", 100, 300);      /* retention took it */
    ranged("high", "7000", NULL, 1000, 1000); /* not there yet */
    ranged("time", "@1400", "@1500", 400, 500);
    ranged("iso", "@1970-01-01T00:00:01.400Z", "@1970-01-01T02:00:01.500+02:00", 400, 500);
    ranged("old", "@0", "@999999", 100, 1000);
    ranged("ago", "-PT1H", NULL, 1000, 1000);    /* nothing is so new */
    ranged("stored", "stored", NULL, 100, 1000); /* nothing is */
}

static void a_job_begins_where_its_group_has_committed(void **state)
{
    struct offset_commit o[2] = {{0, 40, ""}, {1, 700, ""}};
    struct mill_part got;

    (void)state;
    mill_topic("data", 3);
    for (uint32_t p = 0; p < 3; p++)
        mill_put(p, 0, 100);
    assert_int_equal(broker_local.offsets_set(mill_broker(), "mill", "data", o, 2, NULL), ST_OK);
    mill_trained(&(struct mill_run){.from = "stored"});
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.begin, 40);
    assert_true(mill_slot("mill", 1, &got));
    assert_int_equal(got.begin, 100); /* the nearest one that there is */
    assert_true(mill_slot("mill", 2, &got));
    assert_int_equal(got.begin, 0);
}

/* Which is not the end of the partition, now or ever: it is waited for. */
static void an_end_may_lie_where_nothing_is_yet(void **state)
{
    struct mill_run r = {.until = "150", .impatient = true};
    struct mill_part got;

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 100);
    mill_trained(&r);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.end, 150);
    assert_int_equal(got.flags, 0);
    mill_put(0, 100, 100);
    mill_trained(&r);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.trained, 150);
    assert_int_equal(got.flags, SLOT_DONE);
    assert_true(got.ended);
    r.until = "170"; /* it has ended, so it goes on */
    mill_trained(&r);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.trained, 170);
    assert_int_equal(got.life, 1);
    r.until = "160"; /* it has more than that already */
    mill_trained(&r);
    assert_true(mill_slot("mill", 0, &got));
    assert_int_equal(got.trained, 170);
}

static void refuses(struct mill_run r, const char *says)
{
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_CONFIG);
    if (!strstr(r.err.text, says) || !strstr(r.err.text, "millrace reset"))
        fail_msg("%s", r.err.text);
}

static void another_beginning_than_the_first_is_refused(void **state)
{
    struct mill_run r = {.from = "30", .max_rows = 1};

    (void)state;
    mill_topic("data", 1);
    mill_put(0, 0, 9000);
    mill_trained(&r);
    refuses((struct mill_run){.from = "31"}, "begun with --from 30 (partition 0 at offset 30)");
    refuses((struct mill_run){.from = "earliest"}, "--from earliest: this job has states already");
    refuses((struct mill_run){.from = "31", .state = "elsewhere"}, "begun with --from 30");
    refuses((struct mill_run){.set = {"epochs=2"}}, "begun with epochs 1, now it is 2");
    mill_trained(&r);
    r.from = "stored";
    mill_trained(&r);
    r = (struct mill_run){0};
    mill_trained(&r);
    mill_trained(&(struct mill_run){.name = "plain"});
    mill_trained(&(struct mill_run){.name = "plain", .from = "earliest"}); /* the default */
}

/* What was added to the topic while nobody looked has only records that the job wants. */
static void an_added_partition_is_learned_from_its_first_record(void **state)
{
    struct mill_run r = {.from = "latest"};
    struct mill_part got;

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, 100);
    mill_trained(&r);
    assert_int_equal(r.records, 0);
    assert_int_equal(broker_local.partitions_add(mill_broker(), "data", 3, NULL), ST_OK);
    mill_put(0, 100, 20);
    mill_put(2, 0, 30);
    mill_trained(&r);
    assert_int_equal(r.records, 50);
    assert_true(mill_slot("mill", 2, &got));
    assert_int_equal(got.begin, 0);
    assert_int_equal(got.life, 1);
}

/* ---- the lives of a team's job ---- */

static const char async[] = "staleness=async";

static void ask_at_once(struct worker *w)
{
    w->asked_us = 1;
}

/* A worker of its own folder that has one of two partitions; how many records it learned. */
static uint64_t one_of_two(const char *job, const char *folder, uint32_t partition,
                           uint64_t max_rows)
{
    struct mill_run r = {.job = job,
                         .state = folder,
                         .mine = 1u << partition,
                         .impatient = true,
                         .opened = ask_at_once,
                         .max_rows = max_rows,
                         .set = {job ? NULL : async}};

    mill_trained(&r);
    return r.records;
}

static void expect_life(uint32_t partition, uint32_t life, uint64_t trained, bool ended)
{
    struct mill_part got;

    assert_true(mill_slot("mill", partition, &got));
    if (got.life != life || got.trained != trained || got.ended != ended)
        fail_msg("partition %u: life %u, %llu records%s", partition, got.life,
                 (unsigned long long)got.trained, got.ended ? ", ended" : "");
}

static void put_both(uint64_t n)
{
    mill_put(0, 0, n);
    mill_put(1, 0, n);
}

static void lives_of(const char *job)
{
    uint64_t records[2];

    mill_topic("data", 2);
    put_both(5000);
    assert_int_equal(one_of_two(job, "one", 0, 0), 5000);
    expect_life(0, 0, 5000, false);
    put_both(10); /* a start before the end is a resume */
    assert_int_equal(one_of_two(job, "one", 0, 0), 0);
    assert_int_equal(one_of_two(job, "two", 1, 0), 5010); /* its first start */
    assert_int_equal(one_of_two(job, "two", 1, 0), 0);
    expect_life(0, 0, 5000, false);
    put_both(10);
    assert_int_equal(one_of_two(job, "one", 0, 0), 0); /* it sees that all are done, and says so */
    expect_life(0, 0, 5000, true);
    expect_life(1, 0, 5010, false);
    assert_int_equal(mill_model("mill", records, 2), 1);
    assert_int_equal(records[0] + records[1], 10010);

    /* The next life; first a worker that does not have partition 0. */
    assert_int_equal(one_of_two(job, "two", 1, 0), 10);
    expect_life(1, 1, 5020, false);
    put_both(10);
    assert_int_equal(one_of_two(job, "two", 1, 0), 0);
    assert_int_equal(one_of_two(job, "new", 1, 0), 0); /* nor does another folder move the end */
    assert_int_equal(one_of_two(job, "one", 0, 0), 30);
    expect_life(0, 1, 5030, true);
    assert_int_equal(mill_model("mill", records, 2), 2);
    assert_int_equal(records[0] + records[1], 10050);
    assert_int_equal(one_of_two(job, "one", 0, 0), 0); /* the next one again, without records */
    expect_life(0, 2, 5030, false);
    assert_int_equal(one_of_two(job, "two", 1, 0), 10);
    assert_int_equal(one_of_two(job, "one", 0, 0), 0);
    expect_life(0, 2, 5030, true);
    expect_life(1, 2, 5030, false);
    assert_int_equal(mill_model("mill", records, 2), 3);
}

static void a_team_goes_on_behind_the_end_of_all(void **state)
{
    (void)state;
    lives_of(NULL);
}

/* Its workers but one know of the others only what the group has committed. */
static void so_does_one_that_merges_exactly(void **state)
{
    (void)state;
    lives_of(mill_kmeans);
}

static void who_was_killed_before_the_end_does_not_move_it(void **state)
{
    (void)state;
    mill_topic("data", 2);
    put_both(9000);
    one_of_two(NULL, "two", 1, 4000);
    one_of_two(NULL, "one", 0, 0);
    one_of_two(NULL, "three", 1, 0); /* takes over, to the end */
    one_of_two(NULL, "one", 0, 0);
    expect_life(0, 0, 9000, true);
    put_both(10);
    assert_int_equal(one_of_two(NULL, "two", 1, 0), 0); /* comes back too late */
    expect_life(1, 0, 9000, false);
    assert_int_equal(one_of_two(NULL, "two", 1, 0), 10); /* now it is started again */
    expect_life(1, 1, 9010, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mill_begin, mill_end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(partitions_without_records_are_done_at_once),
        TEST(a_job_that_has_ended_goes_on_behind_its_end),
        TEST(an_end_behind_the_last_record_is_reached),
        TEST(records_behind_the_end_show_that_it_is_reached),
        TEST(epochs_are_as_many_passes),
        TEST(epochs_in_pieces_are_the_epochs_in_one),
        TEST(epochs_over_a_live_topic_are_those_over_a_frozen_copy),
        TEST(what_counts_a_record_twice_refuses_epochs),
        TEST(without_an_end_only_full_blocks_are_learned_unless_they_linger),
        TEST(an_unbounded_job_may_be_given_an_end),
        TEST(null_records_end_a_block_too),
        TEST(bad_records_end_a_block_too),
        TEST(a_job_begins_and_ends_where_it_is_told),
        TEST(a_job_begins_where_its_group_has_committed),
        TEST(an_end_may_lie_where_nothing_is_yet),
        TEST(another_beginning_than_the_first_is_refused),
        TEST(an_added_partition_is_learned_from_its_first_record),
        TEST(a_team_goes_on_behind_the_end_of_all),
        TEST(so_does_one_that_merges_exactly),
        TEST(who_was_killed_before_the_end_does_not_move_it),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
