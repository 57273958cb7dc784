/* Timeouts and membership of the local broker, by a clock of the test. */
#include "tests/unit/support_local.h"

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

static void open_transaction_times_out(void **state)
{
    int64_t low, high;
    void *p;

    (void)state;
    make_topic("data", 1, "delete");
    p = producer("id", "data");
    OK(t->producer_begin(p, &err));
    put(p, "k", "v");
    OK(t->producer_wait(p, 0, &err));
    world_ms += 60000;
    OK(t->watermarks(&world, "data", 0, false, &low, &high, &err));
    assert_int_equal(high, 0);
    world_ms += 1;
    OK(t->watermarks(&world, "data", 0, false, &low, &high, &err));
    assert_int_equal(high, 2);
    assert_int_equal(t->producer_commit(p, &err), ST_FATAL);
    done_producer(p);
}

static enum group_event step(void *c, const struct start **own, uint32_t *n)
{
    struct record r[8];
    uint32_t got;

    OK(t->consumer_poll(c, r, 8, 0, &got, &err));
    return t->consumer_event(c, own, n);
}

static void closed_static_member_keeps_its_place_for_a_session(void **state)
{
    const struct start *own;
    uint32_t n, generation;
    void *a, *b;

    (void)state;
    make_topic("data", 5, "delete");
    a = member("data", "g", "a");
    b = member("data", "g", "b");
    assert_int_equal(step(a, &own, &n), GROUP_ASSIGNED);
    assert_int_equal(n, 3);
    assert_int_equal(step(b, &own, &n), GROUP_ASSIGNED);
    assert_int_equal(n, 2);
    assert_int_equal(own[0].partition, 3);
    generation = ((struct local_consumer *)a)->member.captured_generation;
    done_consumer(b);
    world_ms += 20000;
    assert_int_equal(step(a, &own, &n), GROUP_NONE);
    b = member("data", "g", "b");
    assert_int_equal(step(b, &own, &n), GROUP_ASSIGNED);
    assert_int_equal(n, 2);
    assert_int_equal(((struct local_consumer *)b)->member.captured_generation, generation);
    assert_int_equal(step(a, &own, &n), GROUP_NONE); /* nobody else noticed */
    done_consumer(b);
    world_ms += 20001;
    assert_int_equal(step(a, &own, &n), GROUP_REVOKED);
    OK(t->consumer_assign(a, NULL, 0, &err));
    assert_int_equal(step(a, &own, &n), GROUP_ASSIGNED);
    assert_int_equal(n, 5);
    done_consumer(a);
}

static void added_partitions_rebalance_the_group(void **state)
{
    const struct start *own;
    uint32_t n;
    void *a;

    (void)state;
    make_topic("data", 2, "delete");
    a = member("data", "g", NULL);
    assert_int_equal(step(a, &own, &n), GROUP_ASSIGNED);
    OK(t->partitions_add(&world, "data", 4, &err));
    assert_int_equal(step(a, &own, &n), GROUP_REVOKED);
    assert_int_equal(n, 2);
    assert_int_equal(t->consumer_assign(a, own, 1, &err), ST_REVOKED);
    OK(t->consumer_assign(a, NULL, 0, &err));
    assert_int_equal(step(a, &own, &n), GROUP_ASSIGNED);
    assert_int_equal(n, 4);
    done_consumer(a);
}

static void range_gives_the_first_members_one_more(void **state)
{
    const struct start *own;
    uint32_t n;
    void *c[3];

    (void)state;
    make_topic("data", 8, "delete");
    c[0] = member("data", "g", "c"); /* in the order of their instances, not of their coming */
    c[1] = member("data", "g", "a");
    c[2] = member("data", "g", "b");
    for (int i = 0; i < 3; i++) {
        const uint32_t first[] = {6, 0, 3}, many[] = {2, 3, 3};

        assert_int_equal(step(c[i], &own, &n), GROUP_ASSIGNED);
        assert_int_equal(n, many[i]);
        for (uint32_t k = 0; k < n; k++)
            assert_int_equal(own[k].partition, first[i] + k);
    }
    for (int i = 0; i < 3; i++)
        done_consumer(c[i]);
}

/* Eager: nobody gets anything before all have given back what they had. */
static void silent_member_holds_the_rebalance_until_it_is_put_out(void **state)
{
    const struct start *own;
    uint32_t n;
    void *a, *b;

    (void)state;
    make_topic("data", 2, "delete");
    a = member("data", "g", "a");
    assert_int_equal(step(a, &own, &n), GROUP_ASSIGNED);
    b = member("data", "g", "b");
    for (int i = 0; i < 12; i++) {
        assert_int_equal(step(b, &own, &n), GROUP_NONE);
        world_ms += 10000;
    }
    world_ms++;
    assert_int_equal(step(b, &own, &n), GROUP_ASSIGNED);
    assert_int_equal(n, 2);
    assert_int_equal(step(a, &own, &n), GROUP_LOST);
    assert_int_equal(n, 2);
    assert_int_equal(step(a, &own, &n), GROUP_NONE); /* it has joined again */
    assert_int_equal(step(b, &own, &n), GROUP_REVOKED);
    assert_int_equal(step(b, &own, &n), GROUP_NONE); /* polling is not giving back */
    assert_int_equal(step(a, &own, &n), GROUP_NONE);
    assert_true(group_current(&((struct local_consumer *)b)->member));
    OK(t->consumer_assign(b, NULL, 0, &err));
    assert_int_equal(step(a, &own, &n), GROUP_ASSIGNED);
    assert_int_equal(n, 1);
    done_consumer(a);
    done_consumer(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(open_transaction_times_out, setup, teardown),
        cmocka_unit_test_setup_teardown(closed_static_member_keeps_its_place_for_a_session, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(added_partitions_rebalance_the_group, setup, teardown),
        cmocka_unit_test_setup_teardown(range_gives_the_first_members_one_more, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_member_holds_the_rebalance_until_it_is_put_out,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
