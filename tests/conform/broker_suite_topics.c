/* Topics, watermarks, life cycle. */
#include "tests/conform/broker_suite_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void topic_is_created_once_with_its_config(void **state)
{
    const char *const config[][2] = {
        {"cleanup.policy", "compact"}, {"max.message.bytes", "300000"}, {NULL, NULL}};
    struct topic_spec spec = {new_name("made"), 3, config};
    struct topic_info info = {0};

    (void)state;
    OK(t->topic_create(b, &spec, &err));
    OK(t->topic_create(b, &spec, &err)); /* exists: success */
    OK(t->topic(b, spec.name, &info, &err));
    assert_true(info.exists);
    assert_int_equal(info.partitions, 3);
    assert_true(info.replication >= 1);
    assert_string_equal(info.cleanup_policy, "compact");
    assert_int_equal(info.max_message_bytes, 300000);
    assert_true(info.min_insync >= 1);
}

void absent_topic_is_no_error_to_ask_about(void **state)
{
    struct topic_info info = {.exists = true, .partitions = 9};
    const char *name = new_name("absent");

    (void)state;
    OK(t->topic(b, name, &info, &err));
    assert_false(info.exists);
    assert_int_equal(info.partitions, 0);
    OK(t->topic(b, name, &info, &err)); /* asking has not made it */
    assert_false(info.exists);
}

void deleted_topic_is_gone(void **state)
{
    const char *name = new_topic(1, NULL);
    struct topic_info info;

    (void)state;
    OK(t->topic(b, name, &info, &err));
    assert_true(info.exists);
    OK(t->topic_delete(b, name, &err));
    OK(t->topic(b, name, &info, &err));
    assert_false(info.exists);
    EXPECT(ST_BAD_CONFIG, t->topic_delete(b, name, &err));
    assert_non_null(strstr(err.text, name));
}

void partitions_are_added(void **state)
{
    const char *name = new_topic(1, NULL);
    struct topic_info info;
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    fill(name, 0, 2);
    OK(t->partitions_add(b, name, 3, &err));
    OK(t->topic(b, name, &info, &err));
    assert_int_equal(info.partitions, 3);
    fill(name, 2, 4);
    assign_all(g.c, 3, -2);
    until_eof(&g, 3);
    assert_int_equal(g.n, 6);
    assert_int_equal(g.last[2], 4);
}

void cluster_has_a_name(void **state)
{
    char name[128];

    (void)state;
    assert_non_null(t->cluster(b));
    snprintf(name, sizeof name, "%s", t->cluster(b));
    assert_true(*name != 0);
    reopen_broker();
    assert_string_equal(t->cluster(b), name);
}

void close_is_safe_on_zeroed_memory(void **state)
{
    void *broker = calloc(1, t->broker_bytes), *c = calloc(1, t->consumer_bytes),
         *p = calloc(1, t->producer_bytes);

    (void)state;
    t->consumer_close(c);
    t->producer_close(p);
    t->close(broker);
    free(c);
    free(p);
    free(broker);
}

void records_survive_a_reopened_broker(void **state)
{
    const char *name = new_topic(2, NULL);
    struct got g = {0};
    int64_t low = -1, high = -1;

    (void)state;
    fill(name, 1, 5);
    reopen_broker();
    OK(t->watermarks(b, name, 1, false, &low, &high, &err));
    assert_int_equal(low, 0);
    assert_int_equal(high, 5);
    g.c = open_reader(name, false);
    assign_all(g.c, 2, 0);
    until_eof(&g, 2);
    assert_int_equal(g.n, 5);
    assert_string_equal(g.r[4].value, "v4");
}

void watermarks_of_an_empty_partition(void **state)
{
    const char *name = new_topic(2, NULL);
    int64_t low = -1, high = -1;

    (void)state;
    OK(t->watermarks(b, name, 0, false, &low, &high, &err));
    assert_int_equal(low, 0);
    assert_int_equal(high, 0);
    EXPECT(ST_BAD_CONFIG, t->watermarks(b, name, 2, false, &low, &high, &err));
    assert_non_null(strstr(err.text, name));
    EXPECT(ST_BAD_CONFIG, t->watermarks(b, "no-such-topic", 0, false, &low, &high, &err));
}

void watermarks_differ_while_a_transaction_is_open(void **state)
{
    const char *name = new_topic(1, NULL);
    void *p = open_producer(new_name("id"), name);
    int64_t low, high;

    (void)state;
    fill(name, 0, 3);
    OK(t->producer_begin(p, &err));
    put(p, 0, NULL, "open");
    put(p, 0, NULL, "open");
    OK(t->producer_wait(p, CASE_MS, &err));
    OK(t->watermarks(b, name, 0, true, &low, &high, &err));
    assert_int_equal(high, 5);
    OK(t->watermarks(b, name, 0, false, &low, &high, &err));
    assert_int_equal(high, 3);
    OK(t->producer_commit(p, &err));
    until_high(name, 0, 5);
    OK(t->watermarks(b, name, 0, false, &low, &high, &err));
    assert_true(high >= 5);
    assert_int_equal(low, 0);
}
