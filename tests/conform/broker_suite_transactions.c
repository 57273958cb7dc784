/* Producers and transactions. */
#include "tests/conform/broker_suite_case.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

void missing_topic_is_a_config_error(void **state)
{
    const char *name = new_name("absent");
    void *p = calloc(1, t->producer_bytes), *c = calloc(1, t->consumer_bytes);

    (void)state;
    EXPECT(ST_BAD_CONFIG, t->producer_open(p, b, NULL, &name, 1, &err));
    assert_non_null(strstr(err.text, name));
    t->producer_close(p);
    free(p);
    EXPECT(ST_BAD_CONFIG,
           t->consumer_open(c, b, &(struct consumer_conf){.topics = &name, .topics_n = 1}, &err));
    assert_non_null(strstr(err.text, name));
    t->consumer_close(c);
    free(c);
}

void too_large_record_is_bad_input(void **state)
{
    static uint8_t large[200000];
    const char *const config[][2] = {{"max.message.bytes", "100000"}, {NULL, NULL}};
    const char *name = new_topic(1, config);
    void *p = open_producer(NULL, name);
    struct got g = {.c = open_reader(name, false)};
    uint64_t x = 1;
    enum st st;

    (void)state;
    for (size_t i = 0; i < sizeof large; i++) { /* noise: compression does not help */
        x = x * 6364136223846793005u + 1442695040888963407u;
        large[i] = (uint8_t)(x >> 56);
    }
    st = t->produce(p, 0, 0, text("k"), (struct bytes){large, sizeof large}, -1, NULL, 0, &err);
    if (st == ST_OK)
        st = t->producer_wait(p, CASE_MS, &err);
    assert_int_equal(st, ST_BAD_INPUT);
    assert_non_null(strstr(err.text, name));
    put(p, 0, "k", "small"); /* the producer goes on */
    OK(t->producer_wait(p, CASE_MS, &err));
    assign_all(g.c, 1, 0);
    until_eof(&g, 1);
    assert_int_equal(g.n, 1);
}

void undecided_and_aborted_are_hidden_from_read_committed(void **state)
{
    const char *name = new_topic(1, NULL);
    void *p = open_producer(new_name("id"), name);
    struct got rc = {.c = open_reader(name, false)}, ru = {.c = open_reader(name, true)};

    (void)state;
    fill(name, 0, 2);
    assign_all(rc.c, 1, 0);
    assign_all(ru.c, 1, 0);
    OK(t->producer_begin(p, &err));
    put(p, 0, NULL, "aborted");
    OK(t->producer_wait(p, CASE_MS, &err));
    until_records(&ru, 3);
    assert_string_equal(ru.r[2].value, "aborted");
    until_eof(&rc, 1);
    assert_int_equal(rc.eof[0], 2); /* the last stable offset */
    quiet(&rc, 200);
    assert_int_equal(rc.n, 2);
    OK(t->producer_abort(p, &err));
    until_eof_at(&rc, 0, 3); /* the end moves past what was aborted */
    assert_int_equal(rc.n, 2);
    OK(t->producer_begin(p, &err));
    put(p, 0, NULL, "committed");
    OK(t->producer_wait(p, CASE_MS, &err));
    quiet(&rc, 200);
    assert_int_equal(rc.n, 2);
    OK(t->producer_commit(p, &err));
    until_records(&rc, 3);
    assert_string_equal(rc.r[2].value, "committed");
}

void gaps_after_aborts_are_jumps_of_offset_only(void **state)
{
    const char *name = new_topic(1, NULL);
    void *p = open_producer(new_name("id"), name);
    struct got g = {.c = open_reader(name, false)};
    char value[16];

    (void)state;
    for (int i = 0; i < 20; i++) {
        OK(t->producer_begin(p, &err));
        snprintf(value, sizeof value, "v%d", i);
        put(p, 0, NULL, value);
        OK(t->producer_wait(p, CASE_MS, &err));
        if (i % 3 == 1)
            OK(t->producer_abort(p, &err));
        else
            OK(t->producer_commit(p, &err));
    }
    assign_all(g.c, 1, 0);
    until_records(&g, 14 - 1);
    until_eof_at(&g, 0, 20);
    assert_int_equal(g.n, 13);
    for (uint32_t i = 0, v = 0; i < g.n; i++, v++) {
        v += v % 3 == 1;
        snprintf(value, sizeof value, "v%u", v);
        assert_string_equal(g.r[i].value, value);
        assert_true(g.r[i].offset >= v);
    }
}

void transaction_spans_partitions_and_topics(void **state)
{
    const char *names[2] = {new_topic(2, NULL), new_topic(1, NULL)};
    void *p = calloc(1, t->producer_bytes);
    struct got g = {.c = open_consumer(&(struct consumer_conf){.topics = names, .topics_n = 2}),
                    .any_order = true};
    struct start s[3] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}};

    (void)state;
    OK(t->producer_open(p, b, new_name("id"), names, 2, &err));
    OK(t->consumer_assign(g.c, s, 3, &err));
    for (int commit = 0; commit < 2; commit++) {
        OK(t->producer_begin(p, &err));
        put(p, 0, NULL, "a");
        put(p, 1, NULL, "b");
        OK(t->produce(p, 1, 0, text("k"), text("c"), -1, NULL, 0, &err));
        OK(t->producer_wait(p, CASE_MS, &err));
        if (commit) {
            quiet(&g, 200);
            assert_int_equal(g.n, 0);
            OK(t->producer_commit(p, &err));
        } else {
            OK(t->producer_abort(p, &err));
        }
    }
    until_records(&g, 3);
    quiet(&g, 200);
    assert_int_equal(g.n, 3);
    t->producer_close(p);
    free(p);
}

void reopened_id_ends_what_was_open(void **state)
{
    const char *name = new_topic(1, NULL), *id = new_name("id");
    void *p = open_producer(id, name);
    struct got g = {.c = open_reader(name, false)};

    (void)state;
    OK(t->producer_begin(p, &err));
    put(p, 0, NULL, "left open");
    OK(t->producer_wait(p, CASE_MS, &err));
    close_producer(p); /* as a crash: neither committed nor aborted by us */
    p = open_producer(id, name);
    fill(name, 0, 1);
    assign_all(g.c, 1, 0);
    until_records(&g, 1); /* nothing undecided is in the way */
    assert_string_equal(g.r[0].value, "v0");
    OK(t->producer_begin(p, &err));
    put(p, 0, NULL, "second life");
    OK(t->producer_wait(p, CASE_MS, &err));
    OK(t->producer_commit(p, &err));
    until_records(&g, 2);
    assert_string_equal(g.r[1].value, "second life");
}

void older_producer_of_an_id_is_fenced(void **state)
{
    const char *name = new_topic(1, NULL), *id = new_name("id");
    void *old = open_producer(id, name), *new;
    struct got g = {.c = open_reader(name, false)};
    enum st st;

    (void)state;
    OK(t->producer_begin(old, &err));
    put(old, 0, NULL, "old");
    OK(t->producer_wait(old, CASE_MS, &err));
    new = open_producer(id, name);
    st = t->producer_commit(old, &err);
    assert_true(st == ST_FATAL);
    assert_true(*err.text != 0);
    OK(t->producer_begin(new, &err));
    put(new, 0, NULL, "new");
    OK(t->producer_wait(new, CASE_MS, &err));
    OK(t->producer_commit(new, &err));
    assign_all(g.c, 1, 0);
    until_records(&g, 1);
    quiet(&g, 200);
    assert_int_equal(g.n, 1);
    assert_string_equal(g.r[0].value, "new");
}

/* Offsets that are still undecided are not told: the call says "again". */
static void committed_now(const char *group, const char *topic, struct offset_commit *o, uint32_t n)
{
    enum st st = ST_AGAIN;

    for (int tries = 0; st == ST_AGAIN && tries < 100; tries++) {
        if (tries)
            usleep(50000);
        st = t->committed(b, group, topic, o, n, &err);
    }
    OK(st);
}

void offsets_travel_with_metadata_in_the_transaction(void **state)
{
    const char *name = new_topic(2, NULL), *group = new_name("group");
    void *p = open_producer(new_name("id"), name);
    struct got m = {.c = open_member(name, group, new_name("member"))};
    struct offset_commit o[2] = {{0, 7, "1:2:7:3:0"}, {1, 9, "1:2:9:3:1"}}, is[2];

    (void)state;
    until_event(&m, GROUP_ASSIGNED);
    committed_now(group, name, is, 2);
    assert_int_equal(is[0].offset, -1001);
    OK(t->producer_begin(p, &err));
    put(p, 0, "slot", "v");
    OK(t->producer_wait(p, CASE_MS, &err));
    OK(t->producer_offsets(p, m.c, name, o, 1, &err));
    OK(t->producer_commit(p, &err));
    committed_now(group, name, is, 2);
    assert_int_equal(is[0].partition, 0);
    assert_int_equal(is[0].offset, 7);
    assert_string_equal(is[0].metadata, o[0].metadata);
    assert_int_equal(is[1].partition, 1);
    assert_int_equal(is[1].offset, -1001);
    assert_string_equal(is[1].metadata, "");
    o[0].offset = 8;
    OK(t->producer_begin(p, &err));
    put(p, 0, "slot", "v");
    OK(t->producer_wait(p, CASE_MS, &err));
    OK(t->producer_offsets(p, m.c, name, o, 2, &err));
    OK(t->producer_commit(p, &err));
    committed_now(group, name, is, 2);
    assert_int_equal(is[0].offset, 8);
    assert_int_equal(is[1].offset, 9);
    assert_string_equal(is[1].metadata, o[1].metadata);
}

void aborted_offsets_are_not_committed(void **state)
{
    const char *name = new_topic(1, NULL), *group = new_name("group");
    void *p = open_producer(new_name("id"), name);
    struct got m = {.c = open_member(name, group, new_name("member"))};
    struct offset_commit is;

    (void)state;
    until_event(&m, GROUP_ASSIGNED);
    OK(publish_to_offsets(p, m.c, name, 3, "kept"));
    OK(t->producer_commit(p, &err));
    OK(publish_to_offsets(p, m.c, name, 5, "dropped"));
    OK(t->producer_abort(p, &err));
    committed_now(group, name, &is, 1);
    assert_int_equal(is.offset, 3);
}

/* R3: in a child, which has none of the library's threads, so nothing is ever acknowledged
 * there. */
void offsets_before_delivery_reports_are_refused(void **state)
{
    const char *name = new_topic(1, NULL);
    void *p = open_producer(new_name("id"), name);
    struct got m = {.c = open_member(name, new_name("group"), new_name("member"))};
    struct offset_commit o = {0, 1, "0:0:1:0:0"};
    int status = 0;
    pid_t pid;

    (void)state;
    until_event(&m, GROUP_ASSIGNED);
    OK(t->producer_begin(p, &err));
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        alarm(10);
        fclose(stderr);
        if (t->produce(p, 0, 0, text("k"), text("v"), -1, NULL, 0, &err) != ST_OK)
            _exit(1);
        if (t->producer_offsets(p, m.c, name, &o, 1, &err) != ST_OK)
            _exit(2);
        _exit(3);
    }
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        fail_msg("the child ended with status %x, not by CHECK", (unsigned)status);
    OK(t->producer_abort(p, &err));
}
