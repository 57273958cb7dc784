/* What only the local broker does: kill -9, failing writes, damage, readers beside the writer,
 * foreign folders, deleted topics under a reader, timeouts by its clock. */
#include "tests/unit/support_local.h"

#include "config/base/bytes.h"

#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct seen seen;
static char folder[64]; /* of a case over RocksDB */

static int setup(void **state)
{
    (void)state;
    world_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_end();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st;
    (void)kind;
    (void)f;
    return remove(path);
}

static int setup_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/local_broker_XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static int teardown_folder(void **state)
{
    (void)state;
    world.users = 0;
    world_close();
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static enum st open_folder(struct local *b, const char *dir, bool read_only)
{
    return t->open(b, &(struct broker_conf){.address = dir, .read_only = read_only}, &err);
}

/* ---- crashes ---- */

enum { WRITER_FD = 3 };

/* In a process of its own (the store has threads, so fork() alone will not do): transactions of two
 * records until it is killed; each commit that was reported as done is one byte. */
static void write_until_killed(int done)
{
    void *p;

    OK(open_folder(&world, folder, false));
    p = producer("id", "data");
    for (uint32_t i = 0;; i++) {
        OK(t->producer_begin(p, &err));
        put(p, "k", "one");
        OK(t->producer_wait(p, 0, &err));
        put(p, "k", "two");
        OK(t->producer_wait(p, 0, &err));
        if (i % 5 == 4) {
            OK(t->producer_abort(p, &err));
            continue;
        }
        OK(t->producer_commit(p, &err));
        if (write(done, "c", 1) != 1)
            _exit(1);
    }
}

static uint32_t committed_by_a_child_that_is_killed(uint32_t microseconds)
{
    uint32_t n = 0;
    char c[256];
    int fd[2], status;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe(fd), 0);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(fd[0]);
        dup2(fd[1], WRITER_FD);
        execl("/proc/self/exe", "writer", folder, (char *)NULL);
        _exit(1);
    }
    assert_true(pid > 0);
    close(fd[1]);
    assert_int_equal(read(fd[0], c, 1), 1);
    usleep(microseconds);
    kill(pid, SIGKILL);
    while ((got = read(fd[0], c, sizeof c)) > 0)
        n += (uint32_t)got;
    close(fd[0]);
    waitpid(pid, &status, 0);
    return n + 1;
}

static void killed_writer_loses_no_commit_and_leaves_nothing_open(void **state)
{
    uint32_t committed = 0;
    int64_t low, stable, high;

    (void)state;
    OK(open_folder(&world, folder, false));
    make_topic("data", 1, "delete");
    world_close();
    for (uint32_t round = 0; round < 12; round++) {
        uint32_t n = committed_by_a_child_that_is_killed((uint32_t)(mix64(round) % 30000));

        OK(open_folder(&world, folder, false));
        OK(t->watermarks(&world, "data", 0, true, &low, &high, &err));
        OK(t->watermarks(&world, "data", 0, false, &low, &stable, &err));
        assert_int_equal(high, stable);
        read_from("data", false, -2, 100, &seen);
        assert_int_equal(seen.n % 2, 0); /* both records or none */
        assert_in_range(seen.n / 2, committed + n,
                        committed + n + 1); /* killed before it could say so */
        committed = seen.n / 2;
        world_close();
    }
}

static void publish_all(uint32_t *done)
{
    void *p = calloc(1, t->producer_bytes);
    const char *topic = "data";
    enum st st = t->producer_open(p, &world, "id", &topic, 1, &err);

    for (uint32_t i = 0; st == ST_OK && i < 6; i++) {
        char value[16];

        snprintf(value, sizeof value, "v%u", i);
        st = t->producer_begin(p, &err);
        if (st == ST_OK)
            st = t->produce(p, 0, 0, text("k"), text(value), -1, NULL, 0, &err);
        if (st == ST_OK)
            st = t->producer_wait(p, 0, &err);
        if (st == ST_OK)
            st = i == 3 ? t->producer_abort(p, &err) : t->producer_commit(p, &err);
        *done += st == ST_OK && i != 3;
    }
    assert_true(st == ST_OK || st == ST_FATAL);
    writes_left = UINT32_MAX;
    if (st == ST_FATAL) /* and it stays so: what is in memory may be ahead of the disk */
        assert_int_equal(t->topic_create(&world, &(struct topic_spec){"more", 1, NULL}, &err),
                         ST_FATAL);
    done_producer(p);
}

static void any_write_may_fail(void **state)
{
    uint32_t done = 0;

    (void)state;
    for (uint32_t n = 0; done < 5; n++) {
        for (int stays = 0; stays < 2; stays++) {
            done = 0;
            make_topic("data", 1, "delete");
            writes_left = n;
            failed_write_stays = stays;
            publish_all(&done);
            writes_left = UINT32_MAX;
            world_close();
            world_open(NULL);
            read_from("data", false, -2, 10, &seen);
            assert_in_range(seen.n, done, done + (stays ? 1 : 0));
            for (uint32_t i = 0; i < seen.n; i++)
                assert_int_equal(seen.value[i][1], "01245"[i]);
            OK(t->topic_delete(&world, "data", &err));
        }
        assert_true(n < 50);
    }
}

static void what_was_acknowledged_is_synced(void **state)
{
    void *p, *q;

    (void)state;
    make_topic("data", 1, "delete");
    p = producer(NULL, "data");
    put(p, "k", "v");
    OK(t->producer_wait(p, 0, &err));
    assert_int_equal(unsynced, 0);
    for (int i = 0; i < LOG_BATCH_RECORDS + 1; i++) /* a batch goes on its own */
        put(p, "k", "v");
    assert_int_equal(unsynced, 1);
    OK(t->producer_wait(p, 0, &err));
    assert_int_equal(unsynced, 0);
    q = producer("id", "data");
    OK(t->producer_begin(q, &err));
    put(q, "k", "v");
    OK(t->producer_wait(q, 0, &err));
    assert_int_equal(unsynced, 1); /* the commit syncs it */
    OK(t->producer_commit(q, &err));
    assert_int_equal(unsynced, 0);
    done_producer(p);
    done_producer(q);
}

static void reading_may_begin_in_a_gap(void **state)
{
    void *p;

    (void)state;
    make_topic("data", 1, "delete");
    p = producer("id", "data");
    transaction(p, "k", "one", true);
    transaction(p, "k", "none", false);
    transaction(p, "k", "two", true);
    read_from("data", false, 1, 10, &seen); /* the marker of the first */
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.value[0], "two");
    read_from("data", false, 5, 10, &seen); /* of the last */
    assert_int_equal(seen.n, 0);
    assert_int_equal(seen.eof, 6);
    done_producer(p);
}

/* ---- folders ---- */

static void damaged_batch_is_named(void **state)
{
    struct bytes value;
    uint8_t key[BATCH_KEY], copy[4096];
    struct record r[16];
    void *p, *c, *store = calloc(1, store_rocksdb.self_bytes);
    uint32_t n;

    (void)state;
    OK(open_folder(&world, folder, false));
    make_topic("data", 1, "delete");
    p = producer(NULL, "data");
    for (int i = 0; i < 3; i++) {
        put(p, "k", "some value");
        OK(t->producer_wait(p, 0, &err));
    }
    done_producer(p);
    batch_key(key, local_topic(&world, "data")->part[0], 1);
    world_close();
    OK(store_rocksdb.open(store, folder, 0, &err));
    OK(store_rocksdb.get(store, (struct bytes){key, BATCH_KEY}, &value, &err));
    assert_in_range(value.n, 1, sizeof copy);
    memcpy(copy, value.p, value.n);
    copy[value.n - 3] ^= 4;
    OK(store_rocksdb.write(store, &(struct change){{key, BATCH_KEY}, {copy, value.n}, {NULL, 0}}, 1,
                           true, &err));
    store_rocksdb.close(store);
    free(store);
    OK(open_folder(&world, folder, false));
    c = reader("data", false);
    OK(t->consumer_assign(c, &(struct start){0, 0, 0}, 1, &err));
    assert_int_equal(t->consumer_poll(c, r, 16, 0, &n, &err), ST_CORRUPT);
    assert_non_null(strstr(err.text, "offset 1 of data-0"));
    assert_non_null(strstr(err.text, folder));
    done_consumer(c);
}

static void reader_beside_the_writer_sees_what_was_there(void **state)
{
    struct local *beside = calloc(1, sizeof *beside);
    const char *topic = "data";
    int64_t low, high;
    void *p, *q = calloc(1, t->producer_bytes), *c = calloc(1, t->consumer_bytes);

    (void)state;
    OK(open_folder(&world, folder, false));
    make_topic("data", 1, "delete");
    p = producer("id", "data");
    transaction(p, "k", "v", true);
    OK(t->producer_begin(p, &err));
    put(p, "k", "undecided");
    OK(t->producer_wait(p, 0, &err));
    OK(open_folder(beside, folder, true));
    OK(t->watermarks(beside, "data", 0, false, &low, &high, &err));
    assert_int_equal(high, 2);
    OK(t->watermarks(beside, "data", 0, true, &low, &high, &err));
    assert_int_equal(high, 3);
    assert_string_equal(t->cluster(beside), t->cluster(&world));
    assert_int_equal(t->producer_open(q, beside, NULL, &topic, 1, &err), ST_BAD_CONFIG);
    assert_int_equal(
        t->consumer_open(c, beside,
                         &(struct consumer_conf){.topics = &topic, .topics_n = 1, .group = "g"},
                         &err),
        ST_BAD_CONFIG);
    OK(t->topic_create(beside, &(struct topic_spec){"data", 1, NULL}, &err)); /* exists */
    assert_int_equal(t->topic_create(beside, &(struct topic_spec){"new", 1, NULL}, &err),
                     ST_BAD_CONFIG);
    OK(t->producer_commit(p, &err)); /* the writer is not disturbed */
    t->close(beside);
    free(beside);
    free(q);
    free(c);
    done_producer(p);
}

static void folder_of_something_else_is_refused(void **state)
{
    struct local *other = calloc(1, sizeof *other);
    void *store = calloc(1, store_rocksdb.self_bytes);
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/state", folder);
    OK(store_rocksdb.open(store, path, 0, &err));
    OK(store_rocksdb.write(store, &(struct change){text("worker"), text("w"), {NULL, 0}}, 1, true,
                           &err));
    store_rocksdb.close(store);
    free(store);
    assert_int_equal(open_folder(other, path, false), ST_BAD_CONFIG);
    assert_non_null(strstr(err.text, "not the folder of a local broker"));
    snprintf(path, sizeof path, "%s/no/such", folder);
    assert_int_equal(open_folder(other, path, false), ST_BAD_CONFIG);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(open_folder(other, path, true), ST_BAD_CONFIG);
    assert_int_equal(open_folder(other, "", false), ST_BAD_CONFIG);
    snprintf(path, sizeof path, "%s/mine", folder);
    OK(open_folder(&world, path, false));
    assert_int_equal(open_folder(other, path, false), ST_BAD_CONFIG); /* held */
    assert_non_null(strstr(err.text, path));
    free(other);
}

/* ---- saved bytes ---- */

static char dump[1 << 16];

static bool dump_one(void *arg, struct bytes key, struct bytes value)
{
    size_t *at = arg;

    for (size_t i = 0; i < key.n; i++)
        *at += (size_t)sprintf(dump + *at, "%02x", key.p[i]);
    *at += (size_t)sprintf(dump + *at, " ");
    for (size_t i = 0; i < value.n; i++) /* the cluster's name differs */
        *at += (size_t)sprintf(dump + *at, "%02x", key.p[0] == 'm' && i >= 8 ? 0 : value.p[i]);
    *at += (size_t)sprintf(dump + *at, "\n");
    return *at < sizeof dump / 2;
}

/* A topic with a batch outside transactions, a committed one with the group's offset, an aborted
 * and an open one. */
static void write_golden(void)
{
    const struct header h = {"reason", {(const uint8_t *)"bad", 3}};
    struct offset_commit o = {0, 5, "1:0:5:0:0"};
    const struct start *own;
    struct record r[1];
    void *p, *q, *c;
    uint32_t n;

    make_topic("data", 2, "compact,delete");
    p = producer(NULL, "data");
    put(p, "k", "v");
    put(p, "", NULL);
    OK(t->produce(p, 0, 0, text("k"), text(""), 1234567890123, &h, 1, &err));
    OK(t->producer_wait(p, 0, &err));
    q = producer("id", "data");
    c = member("data", "group", "m");
    OK(t->consumer_poll(c, r, 1, 0, &n, &err));
    assert_int_equal(t->consumer_event(c, &own, &n), GROUP_ASSIGNED);
    OK(t->producer_begin(q, &err));
    put(q, "t", "committed");
    OK(t->producer_wait(q, 0, &err));
    OK(t->producer_offsets(q, c, "data", &o, 1, &err));
    OK(t->producer_commit(q, &err));
    transaction(q, "t", "aborted", false);
    OK(t->producer_begin(q, &err));
    put(q, "t", "open");
    OK(t->producer_wait(q, 0, &err));
    done_consumer(c);
    done_producer(p);
    done_producer(q);
}

static void saved_bytes_are_the_golden_ones(void **state)
{
    static char want[sizeof dump];
    char path[sizeof __FILE__ + 32];
    size_t at = 0;
    FILE *f;

    (void)state;
    world_ms = 1700000000000;
    write_golden();
    world_close();
    OK(store_memory.scan(world_store(), text(""), (struct bytes){NULL, 0}, dump_one, &at, &err));
    world_open(NULL);
    snprintf(path, sizeof path, "%.*sgolden/local-broker-1.hex",
             (int)(strstr(__FILE__, "unit/local_broker") - __FILE__), __FILE__);
    if (getenv("GOLDEN_WRITE")) {
        f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(dump, 1, at, f), at);
        fclose(f);
    }
    f = fopen(path, "r");
    assert_non_null(f);
    want[fread(want, 1, sizeof want - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(dump, want);
}

/* ---- topics ---- */

static void wrong_topics_are_refused(void **state)
{
    const char *const unknown[][2] = {{"cleanup.polcy", "compact"}, {NULL, NULL}};
    const char *const value[][2] = {{"retention.ms", "1 day"}, {NULL, NULL}};
    const char *const policy[][2] = {{"cleanup.policy", "compress"}, {NULL, NULL}};
    const struct topic_spec wrong[] = {{"a/b", 1, NULL}, {"", 1, NULL},     {"..", 1, NULL},
                                       {"a", 0, NULL},   {"a", 9999, NULL}, {"a", 1, unknown},
                                       {"a", 1, value},  {"a", 1, policy}};
    struct topic_info info;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(t->topic_create(&world, &wrong[i], &err), ST_BAD_CONFIG);
        OK(t->topic(&world, wrong[i].name, &info, &err));
        assert_false(info.exists);
    }
    make_topic("a", 2, "delete");
    assert_int_equal(t->partitions_add(&world, "a", 1, &err), ST_BAD_CONFIG);
    assert_int_equal(t->partitions_add(&world, "b", 3, &err), ST_BAD_CONFIG);
}

static void partition_that_is_not_there_is_refused(void **state)
{
    void *p, *c;

    (void)state;
    make_topic("data", 2, "delete");
    p = producer(NULL, "data");
    c = reader("data", false);
    assert_int_equal(t->produce(p, 0, 2, text("k"), text("v"), -1, NULL, 0, &err), ST_BAD_CONFIG);
    assert_non_null(strstr(err.text, "partitions 0 to 1, not 2"));
    assert_int_equal(t->consumer_assign(c, &(struct start){2, 0, 0}, 1, &err), ST_BAD_CONFIG);
    assert_int_equal(t->consumer_seek(c, (struct start){0, 0, 0}, &err), ST_BAD_CONFIG);
    done_producer(p);
    done_consumer(c);
}

static void deleted_topic_is_told_to_its_reader(void **state)
{
    struct record r[8];
    void *c, *p, *q;
    uint32_t n;

    (void)state;
    make_topic("data", 1, "delete");
    p = producer("id", "data");
    q = producer(NULL, "data");
    transaction(p, "k", "v", true);
    c = reader("data", false);
    OK(t->consumer_assign(c, &(struct start){0, 0, 0}, 1, &err));
    OK(t->producer_begin(p, &err));
    put(p, "k", "open");
    OK(t->producer_wait(p, 0, &err));
    put(q, "k", "not acknowledged");
    OK(t->topic_delete(&world, "data", &err));
    assert_int_equal(t->producer_wait(q, 0, &err), ST_BAD_CONFIG);
    OK(t->producer_commit(p, &err)); /* nothing is left of it */
    make_topic("data", 1, "delete");
    OK(t->consumer_poll(c, r, 8, 0, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(r[0].kind, REC_ERROR);
    assert_int_equal(r[0].reason, BROKER_ERR_TOPIC_GONE);
    OK(t->consumer_poll(c, r, 8, 0, &n, &err));
    assert_int_equal(n, 0); /* the new topic is another one: not read on silently */
    OK(t->consumer_assign(c, &(struct start){0, 0, 0}, 1, &err));
    OK(t->consumer_poll(c, r, 8, 0, &n, &err));
    assert_int_equal(r[0].kind, REC_EOF);
    done_producer(p);
    done_producer(q);
    done_consumer(c);
    world_close();
    world_open(NULL); /* and what is left in the store loads */
    read_from("data", false, -2, 10, &seen);
    assert_int_equal(seen.n, 0);
}

static void large_records_pass_through_a_small_buffer(void **state)
{
    const char *const config[][2] = {{"max.message.bytes", "9000000"}, {NULL, NULL}};
    static uint8_t large[8 << 20];
    struct record r[8];
    void *p, *c;
    uint32_t n, records = 0, ends = 0;

    (void)state;
    OK(t->topic_create(&world, &(struct topic_spec){"data", 1, config}, &err));
    p = producer(NULL, "data");
    for (uint32_t i = 0; i < 20; i++) {
        memset(large, (int)i, sizeof large);
        OK(t->produce(p, 0, 0, text("k"), (struct bytes){large, i % 3 ? 100 : sizeof large}, -1,
                      NULL, 0, &err));
    }
    OK(t->producer_wait(p, 0, &err));
    c = reader("data", false);
    OK(t->consumer_assign(c, &(struct start){0, 0, 0}, 1, &err));
    while (!ends) {
        OK(t->consumer_poll(c, r, 8, 0, &n, &err));
        for (uint32_t i = 0; i < n; i++) {
            ends += r[i].kind == REC_EOF;
            if (r[i].kind != REC_DATA)
                continue;
            assert_int_equal(r[i].value.n, records % 3 ? 100 : sizeof large);
            assert_int_equal(r[i].value.p[0],
                             records); /* what came before in this poll is still there */
            assert_int_equal(r[i].value.p[r[i].value.n - 1], records);
            records++;
        }
    }
    assert_int_equal(records, 20);
    done_producer(p);
    done_consumer(c);
}

/* Compared with Kafka's published test vectors of its murmur2 (UtilsTest), made positive, of 1000
 * partitions. */
static void keys_go_where_kafka_sends_them(void **state)
{
    const struct {
        const char *key;
        int32_t hash;
    } known[] = {{"21", -973932308},
                 {"foobar", -790332482},
                 {"a-little-bit-long-string", -985981536},
                 {"a-little-bit-longer-string", -1486304829},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                 {"abc", 479470107}};
    struct record r[4];
    uint32_t n;

    (void)state;
    make_topic("data", 1000, "delete");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int32_t at = (known[i].hash & 0x7fffffff) % 1000;
        void *p = producer(NULL, "data"), *c = reader("data", false);

        OK(t->produce(p, 0, -1, text(known[i].key), text("v"), -1, NULL, 0, &err));
        OK(t->producer_wait(p, 0, &err));
        OK(t->consumer_assign(c, &(struct start){at, 0, 0}, 1, &err));
        OK(t->consumer_poll(c, r, 4, 0, &n, &err));
        assert_int_equal(r[0].kind, REC_DATA);
        assert_int_equal(r[0].key.n, strlen(known[i].key));
        done_producer(p);
        done_consumer(c);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_writer_loses_no_commit_and_leaves_nothing_open,
                                        setup_folder, teardown_folder),
        cmocka_unit_test_setup_teardown(any_write_may_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_acknowledged_is_synced, setup, teardown),
        cmocka_unit_test_setup_teardown(reading_may_begin_in_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_batch_is_named, setup_folder, teardown_folder),
        cmocka_unit_test_setup_teardown(reader_beside_the_writer_sees_what_was_there, setup_folder,
                                        teardown_folder),
        cmocka_unit_test_setup_teardown(folder_of_something_else_is_refused, setup_folder,
                                        teardown_folder),
        cmocka_unit_test_setup_teardown(saved_bytes_are_the_golden_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_topics_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(partition_that_is_not_there_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(deleted_topic_is_told_to_its_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(large_records_pass_through_a_small_buffer, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_go_where_kafka_sends_them, setup, teardown),
    };

    if (argc == 2) {
        snprintf(folder, sizeof folder, "%s", argv[1]);
        write_until_killed(WRITER_FD);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
