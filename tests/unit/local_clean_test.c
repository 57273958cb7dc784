/* Compaction and retention of the local broker. */
#include "tests/unit/support_local.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

static struct seen before, after;

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

static void clean(const char *topic)
{
    OK(clean_partition(&world, local_topic(&world, topic)->part[0], &err));
}

static void last_committed_record_of_each_key_stays(void **state)
{
    void *p;

    (void)state;
    make_topic("params", 1, "compact");
    p = producer("id", "params");
    transaction(p, "a", "1", true);
    transaction(p, "b", "2", true);
    transaction(p, "a", "3", true);
    transaction(p, "b", "never", false);
    clean("params");
    read_from("params", false, -2, 10, &after);
    assert_int_equal(after.n, 2);
    assert_int_equal(after.offset[0], 2); /* under their own offsets; each transaction took two */
    assert_string_equal(after.value[0], "2");
    assert_int_equal(after.offset[1], 4);
    assert_string_equal(after.value[1], "3");
    assert_int_equal(after.eof, 8); /* the end has not moved */
    read_from("params", true, -2, 10, &after);
    assert_int_equal(after.n, 2); /* what was aborted is gone */
    assert_int_equal(local_topic(&world, "params")->part[0]->aborted.n, 0);
    done_producer(p);
}

static void undecided_records_are_left_alone(void **state)
{
    void *p, *q;

    (void)state;
    make_topic("params", 1, "compact");
    p = producer("id", "params");
    q = producer("other", "params");
    transaction(p, "a", "1", true);
    OK(t->producer_begin(q, &err));
    put(q, "a", "undecided");
    OK(t->producer_wait(q, 0, &err));
    transaction(p, "a", "3", true); /* behind what is undecided */
    clean("params");
    read_from("params", true, -2, 10, &after);
    assert_int_equal(after.n, 3);
    OK(t->producer_abort(q, &err));
    clean("params");
    read_from("params", false, -2, 10, &after);
    assert_int_equal(after.n, 1);
    assert_string_equal(after.value[0], "3");
    done_producer(p);
    done_producer(q);
}

static void tombstones_leave_after_their_time(void **state)
{
    void *p;

    (void)state;
    make_topic("models", 1, "compact");
    p = producer(NULL, "models");
    put(p, "a", "1");
    put(p, "b", "2");
    put(p, "a", NULL);
    OK(t->producer_wait(p, 0, &err));
    clean("models");
    read_from("models", false, -2, 10, &after);
    assert_int_equal(after.n, 2);
    assert_string_equal(after.value[1], "-");
    world_ms += 86400000;
    clean("models");
    read_from("models", false, -2, 10, &after);
    assert_int_equal(after.n, 1);
    assert_string_equal(after.key[0], "b");
    done_producer(p);
}

static void thousands_of_batches_become_one(void **state)
{
    void *p;

    (void)state;
    make_topic("params", 1, "compact");
    p = producer(NULL, "params");
    for (int i = 0; i < 3000; i++) {
        put(p, "a", "v");
        OK(t->producer_wait(p, 0, &err));
    }
    clean("params");
    read_from("params", false, -2, 10, &after);
    assert_int_equal(after.n, 1);
    assert_int_equal(after.offset[0], 2999);
    assert_true(local_topic(&world, "params")->part[0]->bytes < 200);
    done_producer(p);
}

static void record_without_a_key_is_refused(void **state)
{
    void *p;

    (void)state;
    make_topic("params", 1, "compact");
    p = producer(NULL, "params");
    assert_int_equal(t->produce(p, 0, 0, text(NULL), text("v"), -1, NULL, 0, &err), ST_BAD_INPUT);
    done_producer(p);
}

/* A reader in the middle of the log goes on rightly after what it stands in was joined into other
 * batches. */
static void reader_goes_on_over_a_compaction(void **state)
{
    static uint8_t value[10000]; /* a few to a turn, a few more to a joined batch */
    void *p, *c;
    struct record r[3];
    uint32_t n, seen = 0;
    int64_t last = -1;
    char key[16];

    (void)state;
    make_topic("params", 1, "compact");
    p = producer(NULL, "params");
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "k%d", i % 200);
        OK(t->produce(p, 0, 0, text(key), (struct bytes){value, sizeof value}, -1, NULL, 0, &err));
        OK(t->producer_wait(p, 0, &err)); /* a batch each */
    }
    c = reader("params", false);
    OK(t->consumer_assign(c, &(struct start){0, 0, 201}, 1, &err));
    for (bool ended = false; !ended;) {
        OK(t->consumer_poll(c, r, 3, 0, &n, &err));
        for (uint32_t i = 0; i < n; i++) {
            ended = r[i].kind == REC_EOF;
            if (ended)
                continue;
            assert_true(r[i].offset > last);
            last = r[i].offset;
            if (++seen % 20 == 1)
                clean("params");
        }
    }
    assert_int_equal(seen, 199);
    assert_int_equal(last, 399);
    done_consumer(c);
    done_producer(p);
}

/* Random transactions over few keys, cleaned and reopened now and then: what is left is what the
 * log before would have left, each record under its own offset. */
static uint64_t rnd(uint64_t *x)
{
    return mix64(++*x);
}

static void expect_last_of_each(const struct seen *all, const struct seen *is)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < all->n; i++) {
        bool last = true;

        for (uint32_t k = i + 1; k < all->n; k++)
            last = last && strcmp(all->key[k], all->key[i]) != 0;
        while (at < is->n && is->offset[at] < all->offset[i])
            at++;
        if (!last)
            continue;
        assert_true(at < is->n && is->offset[at] == all->offset[i]);
        assert_string_equal(is->key[at], all->key[i]);
        assert_string_equal(is->value[at], all->value[i]);
    }
}

static void random_history(uint64_t seed)
{
    void *p = producer("id", "params"), *q = producer(NULL, "params");
    char key[16], value[24];

    for (uint32_t i = 0; i < 60; i++) {
        uint64_t many = rnd(&seed) % 4 ? 1 + rnd(&seed) % 5 : 300;
        bool inside = rnd(&seed) % 3 > 0;

        if (inside)
            OK(t->producer_begin(p, &err));
        for (uint64_t k = 0; k < many; k++) {
            snprintf(key, sizeof key, "k%u", (unsigned)(rnd(&seed) % 40));
            snprintf(value, sizeof value, "%u.%u", i, (unsigned)k);
            put(inside ? p : q, key, value);
        }
        OK(t->producer_wait(inside ? p : q, 0, &err));
        if (inside && rnd(&seed) % 3)
            OK(t->producer_commit(p, &err));
        else if (inside)
            OK(t->producer_abort(p, &err));
        if (rnd(&seed) % 4)
            continue;
        read_from("params", false, -2, 100, &before);
        clean("params");
        read_from("params", false, -2, 1 + (uint32_t)(rnd(&seed) % 100), &after);
        expect_last_of_each(&before, &after);
        assert_int_equal(before.eof, after.eof);
        assert_in_range(after.n, 0, 40);
    }
    done_producer(p);
    done_producer(q);
}

static void compaction_equals_a_simple_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        make_topic("params", 1, "compact");
        random_history(seed << 32);
        world_close();
        world_open(NULL);
        read_from("params", false, -2, 7, &before);
        clean("params");
        read_from("params", false, -2, 7, &after);
        expect_last_of_each(&before, &after);
        OK(t->topic_delete(&world, "params", &err));
    }
}

/* A failed write in the middle of compaction: the next start finds every last record. */
static void compaction_may_stop_anywhere(void **state)
{
    struct local_part *part;
    enum st st = ST_FATAL;

    (void)state;
    for (uint32_t n = 0; st != ST_OK; n++) {
        make_topic("params", 1, "compact");
        random_history(7);
        {
            void *p = producer(NULL, "params");
            char key[16];

            for (int i = 0; i < 3000; i++) {
                snprintf(key, sizeof key, "n%d", i % 2000);
                put(p, key, "some value of a few bytes");
                if (i % 10 == 0)
                    OK(t->producer_wait(p, 0, &err));
            }
            OK(t->producer_wait(p, 0, &err));
            done_producer(p);
        }
        read_from("params", false, -2, 100, &before);
        part = local_topic(&world, "params")->part[0];
        writes_left = n;
        failed_write_stays = n % 2;
        st = clean_partition(&world, part, &err);
        assert_int_equal(st, st == ST_OK ? ST_OK : ST_FATAL);
        writes_left = UINT32_MAX;
        world_close();
        world_open(NULL);
        read_from("params", false, -2, 100, &after);
        expect_last_of_each(&before, &after);
        clean("params");
        read_from("params", false, -2, 100, &after);
        expect_last_of_each(&before, &after);
        OK(t->topic_delete(&world, "params", &err));
        assert_true(n < 100);
    }
}

static void compacted_topic_does_not_grow_without_bound(void **state)
{
    static uint8_t chunk[CHUNK_BYTES];
    const struct local_part *part;
    uint64_t most = 0;
    void *p;

    (void)state;
    make_topic("params", 1, "compact");
    p = producer("id", "params");
    part = local_topic(&world, "params")->part[0];
    for (int i = 0; i < 300; i++) {
        OK(t->producer_begin(p, &err));
        for (int k = 0; k < 4; k++) {
            char key[24];

            snprintf(key, sizeof key, "slot/0/chunk/%d", k);
            OK(t->produce(p, 0, 0, text(key), (struct bytes){chunk, sizeof chunk}, -1, NULL, 0,
                          &err));
        }
        OK(t->producer_wait(p, 0, &err));
        OK(t->producer_commit(p, &err));
        most = part->bytes > most ? part->bytes : most;
    }
    assert_true(most < 16 << 20); /* 300 MiB were written, 1 MiB is the newest */
    assert_int_equal(part->high, 300 * 5);
    done_producer(p);
}

static void old_records_leave_at_a_start(void **state)
{
    const char *const config[][2] = {{"retention.ms", "60000"}, {NULL, NULL}};
    int64_t low, high;
    void *p;

    (void)state;
    OK(t->topic_create(&world, &(struct topic_spec){"dead", 1, config}, &err));
    p = producer(NULL, "dead");
    for (int i = 0; i < 3; i++) {
        put(p, NULL, "v");
        put(p, NULL, "w");
        OK(t->producer_wait(p, 0, &err));
        world_ms += 40000;
    }
    done_producer(p);
    world_close();
    world_open(NULL);
    OK(t->watermarks(&world, "dead", 0, false, &low, &high, &err));
    assert_int_equal(low, 4);
    assert_int_equal(high, 6);
    read_from("dead", false, -2, 10, &after);
    assert_int_equal(after.n, 2);
    world_ms += 60000;
    world_close();
    world_open(NULL);
    OK(t->watermarks(&world, "dead", 0, false, &low, &high, &err));
    assert_int_equal(low, 6); /* offsets are never given twice */
    assert_int_equal(high, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(last_committed_record_of_each_key_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(undecided_records_are_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(tombstones_leave_after_their_time, setup, teardown),
        cmocka_unit_test_setup_teardown(thousands_of_batches_become_one, setup, teardown),
        cmocka_unit_test_setup_teardown(record_without_a_key_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(reader_goes_on_over_a_compaction, setup, teardown),
        cmocka_unit_test_setup_teardown(compaction_equals_a_simple_model, setup, teardown),
        cmocka_unit_test_setup_teardown(compaction_may_stop_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(compacted_topic_does_not_grow_without_bound, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(old_records_leave_at_a_start, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
