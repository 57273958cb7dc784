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
        TEST(what_counts_a_record_twice_refuses_epochs),
        TEST(without_an_end_only_full_blocks_are_learned_unless_they_linger),
        TEST(an_unbounded_job_may_be_given_an_end),
        TEST(null_records_end_a_block_too),
        TEST(bad_records_end_a_block_too),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
