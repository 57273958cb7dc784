#include "tests/unit/checkpoint_model.h"

#include <malloc.h>
#include <sys/stat.h>

static void state_and_position_come_back_together(void **state)
{
    const char *dir = made("back", 20);
    uint32_t p[2], n;
    struct err e;

    (void)state;
    fresh(&job);
    job.cp = opened(dir, 0);
    stands_at(&job, 20);
    assert_int_equal(job.m[1].state_version, 9); /* whose version it is decides the caller */
    assert_int_equal(step(&job, 21, &e), ST_OK);
    stands_at(&job, 21);
    assert_int_equal(checkpoint_partitions(job.cp, p, 2, &n, &e), ST_OK);
    assert_true(n == 3 && p[0] == 0 && p[1] == 1);
    checkpoint_close(job.cp);
}

static void a_dropped_partition_is_gone_with_its_letters(void **state)
{
    const char *dir = made("drop", 9);
    struct found f = {.p = 1};
    struct err e;

    (void)state;
    fresh(&job);
    job.cp = opened(dir, 0);
    checkpoint_begin(job.cp);
    checkpoint_drop(job.cp, 1);
    assert_int_equal(checkpoint_commit(job.cp, &e), ST_OK);
    assert_int_equal(checkpoint_manifest(job.cp, 1, &job.m[1], &e), ST_AGAIN);
    assert_int_equal(
        checkpoint_dead_scan(job.cp, 1, (struct position){9, 0, 0}, take_letter, &f, &e), ST_OK);
    assert_int_equal(f.next, 0);
    assert_int_equal(checkpoint_manifest(job.cp, 0, &job.m[0], &e), ST_OK);
    assert_int_equal(checkpoint_manifest(job.cp, 2, &job.m[2], &e), ST_OK);
    checkpoint_close(job.cp);
}

static void a_chunk_of_zeros_leaves_the_store(void **state)
{
    const struct slot_chunk zero = {0, 0, 0};
    const char *dir = made("zero", 7);
    void *s = calloc(1, store_rocksdb.self_bytes);
    const struct bytes key = {(const uint8_t *)"c/00001/000003", 14};
    struct bytes v;
    struct err e;

    (void)state;
    assert_non_null(s);
    fresh(&job);
    job.cp = opened(dir, 0);
    stands_at(&job, 7);
    assert_int_equal(job.m[1].chunk[3].bytes, CHUNK);
    assert_int_equal(step(&job, 8, &e), ST_OK);
    stands_at(&job, 8);
    assert_memory_equal(&job.m[1].chunk[3], &zero, sizeof zero);
    checkpoint_close(job.cp);
    assert_int_equal(store_rocksdb.open(s, dir, STORE_READ_ONLY, &e), ST_OK);
    assert_int_equal(store_rocksdb.get(s, key, &v, &e), ST_OK);
    assert_null(v.p);
    store_rocksdb.close(s);
    free(s);
}

static void letters_published_in_the_commit_that_adds_them_do_not_stay(void **state)
{
    struct dead_letter d = {.reason = "r", .detail = ""};
    struct found f = {.p = 0};
    struct err e;

    (void)state;
    fresh(&job);
    job.cp = opened(temp_path("same"), 0);
    checkpoint_begin(job.cp);
    assert_int_equal(checkpoint_dead(job.cp, &d, &e), ST_OK);
    checkpoint_dead_published(job.cp, 0, (struct position){0, 0, 1});
    assert_int_equal(checkpoint_commit(job.cp, &e), ST_OK);
    assert_int_equal(
        checkpoint_dead_scan(job.cp, 0, (struct position){9, 0, 0}, take_letter, &f, &e), ST_OK);
    assert_int_equal(f.next, 0);
    checkpoint_close(job.cp);
}

static void the_encoded_manifest_is_there_until_the_next_begin(void **state)
{
    struct slot_chunk chunk[CHUNKS];
    struct manifest m = {.chunk = chunk, .chunks_max = CHUNKS};
    struct bytes b;
    struct err e;

    (void)state;
    fresh(&job);
    job.cp = opened(temp_path("encoded"), 0);
    assert_int_equal(step(&job, 1, &e), ST_OK);
    b = checkpoint_encoded(job.cp, 2);
    assert_int_equal(manifest_decode(&m, b.p, b.n, &e), ST_OK);
    assert_int_equal(m.partition, 2);
    checkpoint_begin(job.cp);
    assert_int_equal(checkpoint_encoded(job.cp, 2).n, 0);
    assert_int_equal(checkpoint_commit(job.cp, &e), ST_OK); /* of nothing */
    checkpoint_close(job.cp);
}

/* ---- identity ---- */

static void other_clusters_jobs_and_workers_are_refused(void **state)
{
    struct checkpoint_conf c = conf;
    struct checkpoint *cp = opened(temp_path("who"), 0);
    char worker[16];
    struct err e = {""};

    (void)state;
    snprintf(worker, sizeof worker, "%s", checkpoint_worker(cp));
    assert_int_equal(strlen(worker), 8);
    assert_string_equal(checkpoint_job(cp), "");
    assert_int_equal(checkpoint_identity(cp, "A", "clothes", &e), ST_OK);
    assert_int_equal(checkpoint_identity(cp, "A", "clothes", &e), ST_OK);
    checkpoint_close(cp);
    cp = opened(temp_path("who"), 0);
    assert_string_equal(checkpoint_worker(cp), worker);
    assert_string_equal(checkpoint_cluster(cp), "A");
    assert_int_equal(checkpoint_identity(cp, "B", "clothes", &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "belongs to cluster 'A', the broker is cluster 'B'"));
    assert_int_equal(checkpoint_identity(cp, "A", "shoes", &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "belongs to job 'clothes', this is job 'shoes'"));
    assert_int_equal(checkpoint_identity(cp, "A", "clothes", &e), ST_OK);
    checkpoint_close(cp);
    c.store = &store_rocksdb;
    c.dir = temp_path("who");
    assert_int_equal(checkpoint_open(&cp, &c, "somebody", &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "not 'somebody'"));
    assert_int_equal(checkpoint_open(&cp, &c, "../x", &e), ST_BAD_CONFIG);
    assert_null(cp);
    checkpoint_close(cp);
    assert_int_equal(checkpoint_open(&cp, &c, worker, &e), ST_OK);
    checkpoint_close(cp);
}

static void a_store_of_something_else_is_refused(void **state)
{
    void *s = calloc(1, store_rocksdb.self_bytes);
    struct change c = {.key = {(const uint8_t *)"topic", 5}, .value = {(const uint8_t *)"x", 1}};
    struct checkpoint *cp;
    struct err e = {""};

    (void)state;
    assert_non_null(s);
    assert_int_equal(store_rocksdb.open(s, temp_path("topics"), 0, &e), ST_OK);
    assert_int_equal(store_rocksdb.write(s, &c, 1, true, &e), ST_OK);
    store_rocksdb.close(s);
    assert_int_equal(open_at(&store_rocksdb, temp_path("topics"), 0, &cp, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "holds something else"));
    free(s);
}

static void a_tool_reads_beside_the_writer_which_nobody_else_opens(void **state)
{
    struct checkpoint *tool, *writer;
    struct err e = {""};

    (void)state;
    fresh(&job);
    job.cp = opened(temp_path("tool"), 0);
    assert_int_equal(step(&job, 1, &e), ST_OK);
    assert_int_equal(open_at(&store_rocksdb, temp_path("tool"), 0, &tool, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "held by"));
    assert_int_equal(step(&job, 2, &e), ST_OK);
    tool = opened(temp_path("tool"), STORE_READ_ONLY);
    writer = job.cp;
    assert_string_equal(checkpoint_worker(tool), checkpoint_worker(writer));
    assert_int_equal(step(&job, 3, &e), ST_OK);
    job.cp = tool;
    stands_at(&job, 2);
    checkpoint_close(tool);
    checkpoint_close(writer);
    mkdir(temp_path("bare"), 0777);
    assert_int_equal(open_at(&store_rocksdb, temp_path("bare"), STORE_READ_ONLY, &tool, &e),
                     ST_BAD_CONFIG);
}

/* ---- limits and memory ---- */

static void letters_beyond_the_bound_are_refused(void **state)
{
    static uint8_t big[4096];
    struct dead_letter d = {.reason = "r", .detail = "", .value = {big, 1500}, .key = {big, 0}};
    struct err e = {""};

    (void)state;
    fresh(&job);
    job.cp = opened(temp_path("bound"), 0);
    checkpoint_begin(job.cp);
    assert_int_equal(checkpoint_dead(job.cp, &d, &e), ST_OK);
    d.at.offset = 1;
    assert_int_equal(checkpoint_dead(job.cp, &d, &e), ST_OK);
    d.at.offset = 2;
    assert_int_equal(checkpoint_dead(job.cp, &d, &e), ST_FATAL);
    assert_non_null(strstr(e.text, "checkpoint more often"));
    assert_int_equal(checkpoint_commit(job.cp, &e), ST_OK);
    checkpoint_begin(job.cp);
    assert_int_equal(checkpoint_dead(job.cp, &d, &e), ST_OK);
    assert_int_equal(checkpoint_commit(job.cp, &e), ST_OK);
    checkpoint_close(job.cp);
}

static enum st deaf_write(void *self, const struct change *c, uint32_t n, bool sync, struct err *e)
{
    (void)self;
    (void)c;
    (void)sync;
    (void)e;
    return n ? ST_OK : ST_FATAL;
}

static void no_memory_is_taken_between_begin_and_commit(void **state)
{
    struct store deaf = store_memory;
    struct mallinfo2 before, after;
    struct err e;

    (void)state;
    deaf.write = deaf_write;
    fresh(&job);
    assert_int_equal(open_at(&deaf, "deaf", 0, &job.cp, &e), ST_OK);
    before = mallinfo2();
    for (int64_t x = 1; x < 50; x++)
        assert_int_equal(step(&job, x, &e), ST_OK);
    after = mallinfo2();
    assert_true(before.uordblks == after.uordblks && before.hblkhd == after.hblkhd);
    checkpoint_close(job.cp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_and_position_come_back_together),
        cmocka_unit_test(a_dropped_partition_is_gone_with_its_letters),
        cmocka_unit_test(a_chunk_of_zeros_leaves_the_store),
        cmocka_unit_test(letters_published_in_the_commit_that_adds_them_do_not_stay),
        cmocka_unit_test(the_encoded_manifest_is_there_until_the_next_begin),
        cmocka_unit_test(other_clusters_jobs_and_workers_are_refused),
        cmocka_unit_test(a_store_of_something_else_is_refused),
        cmocka_unit_test(a_tool_reads_beside_the_writer_which_nobody_else_opens),
        cmocka_unit_test(letters_beyond_the_bound_are_refused),
        cmocka_unit_test(no_memory_is_taken_between_begin_and_commit),
    };
    int failures;

    if (!temp_begin())
        return 1;
    failures = cmocka_run_group_tests(tests, NULL, NULL);
    temp_end();
    return failures;
}
