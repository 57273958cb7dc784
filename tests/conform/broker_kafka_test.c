/* The broker suite on a real broker at $MILLRACE_BOOTSTRAP (skipped without), and what only Kafka
 * has: addresses that do not answer, passwords, properties. */
#include "tests/conform/broker_suite.h"

#include "config/base/clock.h"

#include <librdkafka/rdkafka.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct props props;

static void set(struct props *p, const char *name, const char *value)
{
    assert_true(p->n < PROPS_MAX);
    snprintf(p->p[p->n].name, sizeof p->p[0].name, "%s", name);
    snprintf(p->p[p->n++].value, sizeof p->p[0].value, "%s", value);
}

static void conf(struct broker_conf *c)
{
    props = (struct props){.n = 0};
    set(&props, "bootstrap.servers", getenv("MILLRACE_BOOTSTRAP"));
    set(&props, "session.timeout.ms", "2000");
    set(&props, "heartbeat.interval.ms", "300");
    set(&props, "max.poll.interval.ms", "3000");
    set(&props, "topic.metadata.refresh.interval.ms", "200");
    c->props = &props;
}

/* The broker table has no such call: it is what retention does. */
static void trim(const char *topic, int32_t partition, int64_t before)
{
    char text[256];
    rd_kafka_conf_t *k = rd_kafka_conf_new();
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_DeleteRecords_t *what;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *ev;
    rd_kafka_t *rk;

    rd_kafka_conf_set(k, "bootstrap.servers", getenv("MILLRACE_BOOTSTRAP"), text, sizeof text);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, k, text, sizeof text);
    queue = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = before;
    what = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &what, 1, NULL, queue);
    ev = rd_kafka_queue_poll(queue, 15000);
    assert_non_null(ev);
    assert_int_equal(rd_kafka_event_error(ev), 0);
    rd_kafka_event_destroy(ev);
    rd_kafka_DeleteRecords_destroy(what);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

/* Opens with these properties, which must fail; returns the status, and the text in err. */
static struct err err;

static enum st open_with(const struct props *p)
{
    struct broker_conf c = {.props = p, .queue_bytes = 1 << 20};
    void *b = calloc(1, broker_kafka.broker_bytes);
    enum st st = broker_kafka.open(b, &c, &err);

    broker_kafka.close(b);
    broker_kafka.close(b); /* again is harmless */
    free(b);
    return st;
}

static void unreachable_broker_is_told_in_bounded_time(void **state)
{
    struct props p = {.n = 0};
    int64_t began = clock_mono_us();

    (void)state;
    set(&p, "bootstrap.servers", "127.0.0.1:1");
    assert_int_equal(open_with(&p), ST_AGAIN);
    assert_true(clock_mono_us() - began < 15000000);
    assert_non_null(strstr(err.text, "127.0.0.1:1"));
    assert_non_null(strstr(err.text, "refused"));
}

static void unknown_host_is_told(void **state)
{
    struct props p = {.n = 0};

    (void)state;
    set(&p, "bootstrap.servers", "no-such-host.invalid:9092");
    assert_int_equal(open_with(&p), ST_AGAIN);
    assert_non_null(strstr(err.text, "no-such-host.invalid"));
}

static void no_address_is_told(void **state)
{
    struct props p = {.n = 0};

    (void)state;
    assert_int_equal(open_with(&p), ST_BAD_CONFIG);
    assert_non_null(strstr(err.text, "bootstrap.servers"));
}

static void sasl(struct props *p, const char *password)
{
    *p = (struct props){.n = 0};
    set(p, "bootstrap.servers", getenv("MILLRACE_SASL_BOOTSTRAP"));
    set(p, "security.protocol", "SASL_PLAINTEXT");
    set(p, "sasl.mechanisms", "PLAIN");
    set(p, "sasl.username", getenv("MILLRACE_SASL_USER"));
    set(p, "sasl.password", password);
}

static void wrong_password_is_a_config_error_and_not_printed(void **state)
{
    struct props p;
    int64_t began = clock_mono_us();

    (void)state;
    if (!getenv("MILLRACE_SASL_BOOTSTRAP"))
        skip();
    sasl(&p, getenv("MILLRACE_SASL_PASSWORD"));
    assert_int_equal(open_with(&p), ST_OK);
    sasl(&p, "open-sesame");
    assert_int_equal(open_with(&p), ST_BAD_CONFIG);
    assert_true(clock_mono_us() - began < 5000000); /* at once, not after the timeout */
    assert_non_null(strstr(err.text, "sasl.password"));
    assert_null(strstr(err.text, "open-sesame"));
}

static void properties_are_checked(void **state)
{
    static const struct {
        const char *name, *value, *text;
    } bad[] = {
        {"bootstrap.server", "x", "did you mean 'bootstrap.servers'?"},
        {"consumer.sesion.timeout.ms", "1", "did you mean 'session.timeout.ms'?"},
        {"isolation.level", "read_uncommitted", "may not be set"},
        {"consumer.group.id", "x", "name of the job"},
        {"topic.auto.offset.reset", "latest", "may not be set"},
        {"socket.timeout.ms", "soon", "socket.timeout.ms"},
        {"error_cb", "1", "error_cb"},
        {"sasl.mechanisms", "ROT13", "ROT13"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct props p = {.n = 0};

        set(&p, "bootstrap.servers", "127.0.0.1:1");
        set(&p, bad[i].name, bad[i].value);
        if (!strcmp(bad[i].name, "sasl.mechanisms"))
            set(&p, "security.protocol", "sasl_plaintext");
        assert_int_equal(open_with(&p), ST_BAD_CONFIG);
        if (!strstr(err.text, bad[i].text))
            fail_msg("%s", err.text);
    }
    assert_null(broker_owned_property("ssl.ca.location"));
    assert_non_null(broker_owned_property("producer.transactional.id"));
}

int main(int argc, char **argv)
{
    static const struct broker_fixture fixture = {
        .table = &broker_kafka, .conf = conf, .trim = trim, .members = true};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreachable_broker_is_told_in_bounded_time),
        cmocka_unit_test(unknown_host_is_told),
        cmocka_unit_test(no_address_is_told),
        cmocka_unit_test(wrong_password_is_a_config_error_and_not_printed),
        cmocka_unit_test(properties_are_checked),
    };
    int failed;

    if (!getenv("MILLRACE_BOOTSTRAP"))
        return 77;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    failed = cmocka_run_group_tests_name("kafka alone", tests, NULL, NULL);
    return failed + broker_suite(&fixture, argc > 1 ? argv[1] : NULL);
}
