/* millrace model verify: a snapshot's records, read again, make the same bits, wherever the job
 * stood when it was taken; and where they cannot, it is said why. */
#include "consumer/cli.h"
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, ROOM = 1 << 16 };

static char said[ROOM];

static void verify_is(const struct mill_run *r, uint64_t version, int code, const char *what)
{
    int got = mill_verify(r, version, said, sizeof said);

    if (got != code || !strstr(said, what))
        fail_msg("model %d: exit code %d, expected %d and '%s' in:\n%s", (int)version, got, code,
                 what, said);
}

/* Each version that the job has made; at least so many. */
static void all_equal(const struct mill_run *r, const char *job, uint64_t least)
{
    uint64_t records[4], n = mill_model(job, records, 4);

    assert_true(n >= least);
    for (uint64_t v = 1; v <= n; v++)
        verify_is(r, v, CLI_DONE, "bit for bit");
}

static void rows(const uint64_t *n, uint32_t partitions)
{
    mill_topic("data", partitions);
    for (uint32_t p = 0; p < partitions; p++)
        mill_put(p, 100000 * p, n[p]);
}

/* 5000 and 3000 rows; record number `i` of partition 0 is `other`. */
static void two_partitions(uint64_t i, uint64_t other)
{
    mill_topic("data", 2);
    mill_put(0, 0, i);
    mill_put(0, other, 1);
    mill_put(0, i + 1, 5000 - i - 1);
    mill_put(1, 0, 3000);
}

static void again_but(uint64_t i, uint64_t other)
{
    mill_delete("data");
    two_partitions(i, other);
}

static void a_team_in_step_is_made_again(void **state)
{
    struct mill_run r = {.poll_max = 500};

    (void)state;
    rows((const uint64_t[]){9000, 31, 4200, 0}, 4);
    mill_trained(&r);
    all_equal(&r, "mill", 1);
    assert_non_null(strstr(said, "partition 1 offsets [0, 31) epoch 0: read again, 31 records"));
    assert_non_null(strstr(said, "tensor w f32 [3, 1]: equal"));
}

/* Snapshots on the way: before a pull, after it, in the middle of rounds. */
static void snapshots_on_the_way_are_made_again(void **state)
{
    struct mill_run r = {
        .poll_max = 90,
        .set = {"snapshot.every=700 rows", "snapshot.keep=1000", "publish.every=100 rows"}};

    (void)state;
    rows((const uint64_t[]){5000, 900, 2500}, 3);
    mill_trained(&r);
    all_equal(&r, "mill", 6);
}

static void pieces_of_a_job_are_made_again(void **state)
{
    struct mill_run r = {.poll_max = 333, .set = {"epochs=3", "snapshot.keep=1000"}};
    int pieces = 0;

    (void)state;
    rows((const uint64_t[]){2 * BLOCK + 77, 1500}, 2);
    do {
        r.max_rows = 2500;
        r.state = pieces % 2 ? "one" : "two"; /* the other has no state, or an older one */
        mill_trained(&r);
    } while (++pieces < 50 && r.rows);
    all_equal(&r, "mill", 8);
    assert_non_null(strstr(said, "epoch 2: read again, 24807 records"));
}

static void sums_are_made_again(void **state)
{
    struct mill_run r = {
        .job = mill_kmeans, .max_rows = 5000, .poll_max = 700, .set = {"snapshot.keep=9"}};

    (void)state;
    rows((const uint64_t[]){2 * BLOCK + 5, 3, 3 * BLOCK}, 3);
    do
        mill_trained(&r);
    while (r.rows);
    all_equal(&r, "mill", 3);
}

/* A block ends at an end of the job, rounds begin anew behind it. */
static void ends_on_the_way_are_kept(const struct mill_run *how)
{
    struct mill_run r = *how;

    rows((const uint64_t[]){5000, 40, 300}, 3);
    mill_trained(&r);
    mill_put(0, 5000, 700);
    mill_put(2, 7000, 5000);
    mill_trained(&r);
    mill_put(0, 9000, 10);
    r.max_rows = 5; /* and from there on */
    mill_trained(&r);
    all_equal(&r, "mill", 3);
    assert_non_null(strstr(said, "partition 0 offsets [0, 5710) epoch 0: read again, 5710"));
}

static void a_team_that_went_on_behind_its_end_is_made_again(void **state)
{
    (void)state;
    ends_on_the_way_are_kept(&(struct mill_run){.poll_max = 200});
}

static void sums_that_went_on_behind_their_end_are_made_again(void **state)
{
    (void)state;
    ends_on_the_way_are_kept(&(struct mill_run){.job = mill_kmeans});
}

static void what_was_lost_at_first_is_not_needed(void **state)
{
    struct mill_run r = {.max_rows = 1, .poll_max = 32, .set = {"retention_gap=continue"}};
    struct mill_part p;

    (void)state;
    rows((const uint64_t[]){6000, 6000}, 2);
    mill_trained(&r); /* both begin, the first has learned a round */
    assert_true(mill_slot("mill", 1, &p) && p.end == 6000 && !p.trained);
    mill_trim(1, 1000);
    r.max_rows = 0;
    mill_trained(&r);
    all_equal(&r, "mill", 2);
    assert_non_null(strstr(said, "partition 1 offsets [0, 6000) epoch 0: read again, 5000"));
    mill_trim(1, 1001);
    verify_is(&r, 0, CLI_UNDECIDED, "partition 1 offsets [1000, 1001): gone, removed (retention)");
}

static void bad_records_are_counted_again(void **state)
{
    struct mill_run r = {.set = {"bad_records.limit=10"}};

    (void)state;
    mill_topic("data", 2);
    mill_put(0, 0, 300);
    for (int i = 0; i < 10; i++) {
        mill_put_text(0, i % 2 ? "x" : "1,2");
        mill_put_text(1, NULL);
    }
    mill_put(1, 300, 5000);
    mill_trained(&r);
    r.set[0] = "bad_records.limit=1"; /* what was right then is not judged again */
    verify_is(&r, 0, CLI_DONE, "read again, 300 records, 10 rejected\n");
}

static void another_record_is_found(void **state)
{
    struct mill_run r = {.name = NULL};

    (void)state;
    two_partitions(0, 0);
    mill_trained(&r);
    again_but(7, 7);
    verify_is(&r, 0, CLI_DONE, "bit for bit");
    again_but(7, 9);
    verify_is(&r, 0, CLI_FAILED, "different: model 1 is not what its records make");
    assert_non_null(strstr(said, "tensor w f32 [3, 1]: 3 of 3 values differ, the most by "));
    assert_null(strstr(said, "the last record"));
    again_but(4999, 0);
    verify_is(&r, 0, CLI_FAILED, "the last record, at offset 4999, is another than then");
}

/* A row less moves every edge behind it, and rounds end elsewhere: found, not waited for. */
static void fewer_rows_are_found(void **state)
{
    struct mill_run r = {.poll_max = 90, .set = {"snapshot.every=900 rows", "snapshot.keep=100"}};
    uint64_t records[2], n;

    (void)state;
    two_partitions(0, 0);
    mill_trained(&r);
    n = mill_model("mill", records, 2);
    assert_true(n > 3);
    mill_delete("data");
    mill_topic("data", 2);
    mill_put_text(0, NULL);
    mill_put(0, 1, 4999);
    mill_put(1, 0, 2);
    mill_put_text(1, "x");
    mill_put(1, 3, 2997);
    for (uint64_t v = 1; v <= n; v++)
        verify_is(&r, v, CLI_FAILED, "different: the records are not those");
    assert_non_null(
        strstr(said, "read again, 4999 records, 0 rejected; the model says 5000 and 0"));
}

static void what_is_gone_is_said(void **state)
{
    struct mill_run r = {.name = NULL};

    (void)state;
    rows((const uint64_t[]){6000, 6000}, 2);
    mill_trained(&r);
    mill_trim(1, 4100);
    verify_is(&r, 0, CLI_UNDECIDED, "partition 1 offsets [0, 4100): gone, removed (retention)\n");
    assert_null(strstr(said, "partition 0"));
    assert_non_null(strstr(said, "gone: model 1 cannot be made again"));
    mill_delete("data");
    verify_is(&r, 0, CLI_UNDECIDED, "partition 0 offsets [0, 6000): gone, the topic was deleted\n");
    mill_topic("data", 1);
    mill_put(0, 0, 10);
    verify_is(&r, 0, CLI_UNDECIDED, "partition 0 offsets [10, 6000): gone, behind the topic's end");
    assert_non_null(strstr(said, "partition 1 offsets [0, 6000): gone, the topic has no such"));
}

static void what_timing_has_shaped_is_only_counted(void **state)
{
    struct mill_run r = {.poll_max = 300, .set = {"staleness=async", "publish.every=1 rows"}};

    (void)state;
    two_partitions(0, 0);
    mill_trained(&r);
    r.set[0] = "staleness=0"; /* the file of today */
    verify_is(&r, 0, CLI_UNDECIDED,
              "counted: the records are there, as many as model 1 says; its bits");
    assert_non_null(strstr(said, "epoch 0: read again, 3000 records, 0 rejected\n"));
    again_but(4000, 4000);
    verify_is(&r, 0, CLI_UNDECIDED, "counted: ");
    again_but(4999, 4000);
    verify_is(&r, 0, CLI_FAILED, "different: the records are not those");
}

static void another_job_file_is_refused(void **state)
{
    struct mill_run r = {.name = NULL};

    (void)state;
    rows((const uint64_t[]){500}, 1);
    mill_trained(&r);
    r.set[0] = "options.learning_rate=0.2";
    verify_is(&r, 0, CLI_CONFIG, "model 1 of job mill: linear, topic data, 500 records\n");
    r.set[0] = "seed=3";
    verify_is(&r, 0, CLI_CONFIG, "");
    r.set[0] = "input.delimiter=;";
    verify_is(&r, 0, CLI_CONFIG, "");
    r.job = mill_kmeans;
    r.set[0] = NULL;
    verify_is(&r, 0, CLI_CONFIG, "");
    verify_is(&r, 7, CLI_CONFIG, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mill_begin, mill_end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_team_in_step_is_made_again),
        TEST(snapshots_on_the_way_are_made_again),
        TEST(pieces_of_a_job_are_made_again),
        TEST(sums_are_made_again),
        TEST(a_team_that_went_on_behind_its_end_is_made_again),
        TEST(sums_that_went_on_behind_their_end_are_made_again),
        TEST(what_was_lost_at_first_is_not_needed),
        TEST(bad_records_are_counted_again),
        TEST(another_record_is_found),
        TEST(fewer_rows_are_found),
        TEST(what_is_gone_is_said),
        TEST(what_timing_has_shaped_is_only_counted),
        TEST(another_job_file_is_refused),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
