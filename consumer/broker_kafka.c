/* The kafka broker: handles, properties, errors. Topics are in broker_kafka_admin.c, reading in
 * broker_kafka_consumer.c, writing in broker_kafka_producer.c. */
#include "consumer/broker_kafka.h"

#include "config/base/clock.h"
#include "config/base/log.h"
#include "config/options.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum st kafka_status(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return ST_OK;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return ST_BAD_CONFIG;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return ST_BAD_INPUT;
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
        return ST_REVOKED;
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case RD_KAFKA_RESP_ERR_INVALID_TXN_STATE:
    case RD_KAFKA_RESP_ERR__STATE:
        return ST_FATAL;
    default:
        return ST_AGAIN; /* timeouts, moving leaders, lost connections */
    }
}

/* What to do about the commonest; the rest says it in the broker's own words. */
static const char *remedy(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        return "; check sasl.username, sasl.password and sasl.mechanisms";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return "; this user needs an ACL for it";
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
        return "; lower transaction.timeout.ms or raise transaction.max.timeout.ms of the broker";
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
        return "; session.timeout.ms must lie within the broker's group.min/max.session.timeout.ms";
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return "; the clock here is ahead of the broker's: set it, or alter the topic to "
               "message.timestamp.type=LogAppendTime";
    default:
        return "";
    }
}

enum st kafka_fail(struct err *e, const struct kafka *b, rd_kafka_resp_err_t code, const char *text,
                   const char *fmt, ...)
{
    char what[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return fail(e, kafka_status(code), "%s: %s%s (broker %s)", what,
                text && *text ? text : rd_kafka_err2str(code), remedy(code), b->address);
}

/* Callbacks */

/* Runs on librdkafka's threads. What it calls an error (3) is mostly a connection that it tries
 * again by itself; what we must act on comes by the error callback. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    enum log_level ours = LOG_DEBUG;

    (void)rk;
    if (level <= 4)
        ours = level <= 3 ? LOG_WARN : LOG_INFO;
    log_line(ours, text, "from=librdkafka facility=%s", facility);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct kafka_notes *n = opaque;

    (void)rk;
    switch (code) {
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        n->topic_gone = true;
        break;
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        n->down = true;
        break;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
        snprintf(n->trouble, sizeof n->trouble, "%s", reason);
        break;
    default:
        if (kafka_status(code) == ST_BAD_CONFIG && !n->refused) {
            n->refused = code;
            snprintf(n->refused_text, sizeof n->refused_text, "%s", reason);
        }
    }
}

enum st kafka_refused(const struct kafka *b, struct kafka_notes *n, struct err *e)
{
    rd_kafka_resp_err_t code = n->refused;

    n->refused = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!code)
        return ST_OK;
    return kafka_fail(e, b, code, n->refused_text, "the broker refuses this user");
}

/* Properties */

enum { ALL = KAFKA_ADMIN | KAFKA_CONSUMER | KAFKA_PRODUCER };

/* librdkafka prints its manual as "name | C/P | range | ...": the names it knows and whom they
 * concern. */
static void read_properties(struct kafka *b)
{
    size_t bytes = 0;
    uint32_t n = 0;
    char *line, *next;
    FILE *f = open_memstream(&b->property_text, &bytes);

    CHECK(f);
    rd_kafka_conf_properties_show(f);
    CHECK(fclose(f) == 0);
    for (line = b->property_text; line && *line; line = next) {
        size_t name = strcspn(line, " |\n");
        const char *bar = line + name + strspn(line + name, " ");

        next = strchr(line, '\n');
        next = next ? next + 1 : NULL;
        if (!name || *bar != '|' || !strncmp(line, "Property", name) || *line == '-')
            continue;
        CHECK(n < KAFKA_PROPERTIES_MAX);
        b->scope[n] = bar[1 + strspn(bar + 1, " ")];
        b->property[n++] = line;
        line[name] = 0;
    }
    CHECK(n > 100); /* else the form has changed */
}

bool kafka_knows(const struct kafka *b, const char *name)
{
    for (uint32_t i = 0; b->property[i]; i++)
        if (!strcmp(b->property[i], name))
            return true;
    return false;
}

/* "consumer.x" and "producer.x" concern only those; "topic.x" is the same as "x". */
static const char *bare_name(const char *name, unsigned *roles)
{
    *roles = ALL;
    if (!strncmp(name, "topic.", 6) && strncmp(name, "topic.metadata.", 15) &&
        strcmp(name, "topic.blacklist"))
        return name + 6;
    if (!strncmp(name, "consumer.", 9)) {
        *roles = KAFKA_CONSUMER;
        return name + 9;
    }
    if (!strncmp(name, "producer.", 9)) {
        *roles = KAFKA_PRODUCER;
        return name + 9;
    }
    return name;
}

/* A property that concerns the other kind of client would only make librdkafka grumble.
 * message.max.bytes is one for producers: a consumer reads what is there. */
static bool concerns(const struct kafka *b, enum kafka_role role, const char *name)
{
    if (!strcmp(name, "message.max.bytes"))
        return role == KAFKA_PRODUCER;
    for (uint32_t i = 0; b->property[i]; i++)
        if (!strcmp(b->property[i], name))
            return b->scope[i] == '*' || b->scope[i] == (role == KAFKA_PRODUCER ? 'P' : 'C');
    return false;
}

const char *kafka_property(const struct kafka *b, enum kafka_role role, const char *name)
{
    const char *value = NULL;
    unsigned roles;

    for (uint32_t i = 0; i < b->props->n; i++)
        if (!strcmp(bare_name(b->props->p[i].name, &roles), name) && roles & role)
            value = b->props->p[i].value;
    return value;
}

static bool is_secret(const char *name)
{
    return strstr(name, "password") || strstr(name, "secret") || strstr(name, "key.pem") ||
           strstr(name, "jaas") || strstr(name, "sasl.oauthbearer.config");
}

static enum st set(rd_kafka_conf_t *conf, const char *name, const char *value, struct err *e)
{
    char text[256];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return ST_OK;
    return fail(e, ST_BAD_CONFIG, "kafka property '%s': %s", name,
                is_secret(name) ? "librdkafka does not take this value" : text);
}

static enum st check_properties(const struct kafka *b, struct err *e)
{
    unsigned roles;

    for (uint32_t i = 0; i < b->props->n; i++) {
        const char *name = bare_name(b->props->p[i].name, &roles),
                   *why = broker_owned_property(name);

        if (why)
            return fail(e, ST_BAD_CONFIG, "kafka property '%s' may not be set: %s", name, why);
        if (!kafka_knows(b, name)) {
            const char *near = suggest(name, b->property);

            return fail(e, ST_BAD_CONFIG, "kafka property '%s' is unknown to librdkafka %s%s%s%s",
                        name, rd_kafka_version_str(), near ? " (did you mean '" : "",
                        near ? near : "", near ? "'?)" : "");
        }
    }
    return ST_OK;
}

/* Ours but changeable (protocol.md, section 3), then ours (owned in broker_list.c). */
struct fixed {
    unsigned roles;
    const char *name, *value;
};
static const struct fixed defaults[] = {
    {ALL, "client.id", "millrace"},
    {ALL, "topic.metadata.refresh.interval.ms", "30000"},
    {ALL, "reconnect.backoff.max.ms", "1000"},
    {ALL, "socket.nagle.disable", "true"},
    {ALL, "log.connection.close", "false"},
    {KAFKA_CONSUMER, "session.timeout.ms", "20000"}, /* KAFKA_SESSION_MS */
    {KAFKA_CONSUMER, "heartbeat.interval.ms", "1000"},
    {KAFKA_CONSUMER, "max.poll.interval.ms", "120000"},
    {KAFKA_CONSUMER, "check.crcs", "true"},
    {KAFKA_PRODUCER, "compression.type", "lz4"},
    {KAFKA_PRODUCER, "transaction.timeout.ms", "60000"}, /* KAFKA_TRANSACTION_MS */
    {KAFKA_PRODUCER, "message.timeout.ms", "50000"},
    {KAFKA_PRODUCER, "partitioner", "murmur2_random"}, /* as Kafka's own clients */
};
static const struct fixed owned[] = {
    {KAFKA_CONSUMER, "enable.auto.commit", "false"},
    {KAFKA_CONSUMER, "enable.auto.offset.store", "false"},
    {KAFKA_CONSUMER, "auto.offset.reset", "error"},
    {KAFKA_CONSUMER, "enable.partition.eof", "true"},
    {KAFKA_CONSUMER, "partition.assignment.strategy", "range"},
    {KAFKA_CONSUMER, "allow.auto.create.topics", "false"},
    {KAFKA_PRODUCER, "enable.idempotence", "true"},
    {KAFKA_PRODUCER, "delivery.report.only.error", "false"},
};

static enum st configure(const struct kafka *b, enum kafka_role role,
                         const struct kafka_setting *more, rd_kafka_conf_t *conf, struct err *e)
{
    unsigned roles;

    for (uint32_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (defaults[i].roles & role)
            TRY(set(conf, defaults[i].name, defaults[i].value, e));
    for (uint32_t i = 0; more && more[i].name && *more[i].name == '?'; i++)
        TRY(set(conf, more[i].name + 1, more[i].value, e)); /* a default of the caller's */
    for (uint32_t i = 0; i < b->props->n; i++) {
        const char *name = bare_name(b->props->p[i].name, &roles);

        if (roles & role && concerns(b, role, name))
            TRY(set(conf, name, b->props->p[i].value, e));
    }
    for (uint32_t i = 0; i < sizeof owned / sizeof *owned; i++)
        if (owned[i].roles & role)
            TRY(set(conf, owned[i].name, owned[i].value, e));
    for (uint32_t i = 0; more && more[i].name; i++)
        if (*more[i].name != '?')
            TRY(set(conf, more[i].name, more[i].value, e));
    return ST_OK;
}

enum st kafka_new(struct kafka *b, enum kafka_role role, const struct kafka_setting *more,
                  struct kafka_notes *notes, rd_kafka_t **out, struct err *e)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    enum st st = configure(b, role, more, conf, e);

    CHECK(!*out);
    if (st == ST_OK) {
        rd_kafka_conf_set_opaque(conf, notes);
        rd_kafka_conf_set_log_cb(conf, on_log);
        rd_kafka_conf_set_error_cb(conf, on_error);
        if (role == KAFKA_CONSUMER)
            rd_kafka_conf_set_rebalance_cb(conf, kafka_rebalance);
        if (role == KAFKA_PRODUCER)
            rd_kafka_conf_set_dr_msg_cb(conf, kafka_delivered);
        *out = rd_kafka_new(role == KAFKA_PRODUCER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf,
                            text, sizeof text);
        if (*out)
            return ST_OK; /* conf is the handle's now */
        st = fail(e, ST_BAD_CONFIG, "kafka properties: %s", text);
    }
    rd_kafka_conf_destroy(conf);
    return st;
}

/* The broker object */

static void *destroy(void *rk)
{
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

/* In a thread of its own, since it may never return: from 2.0.2 to 2.6.0 a message in the queue of
 * a partition that was deleted keeps that partition, and this the handle, alive (librdkafka 4724).
 */
void kafka_destroy(rd_kafka_t *rk)
{
    struct timespec until;
    pthread_t thread;

    if (!rk)
        return;
    CHECK(pthread_create(&thread, NULL, destroy, rk) == 0);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += KAFKA_DESTROY_S;
    if (pthread_timedjoin_np(thread, NULL, &until) == 0)
        return;
    pthread_detach(thread);
    log_line(LOG_INFO, "a Kafka handle does not end and is left to the end of the process",
             "waited_s=%d", KAFKA_DESTROY_S);
}

static enum st reach(struct kafka *b, struct err *e)
{
    const struct rd_kafka_metadata *md = NULL;
    int64_t stop = clock_mono_us() + (int64_t)KAFKA_OPEN_MS * 1000;

    do {
        rd_kafka_resp_err_t code = rd_kafka_metadata(b->admin, 0, NULL, &md, 300);

        rd_kafka_poll(b->admin, 0); /* lets the error callback speak */
        if (!code) {
            rd_kafka_metadata_destroy(md);
            b->cluster = rd_kafka_clusterid(b->admin, KAFKA_CALL_MS);
            if (b->cluster)
                return ST_OK;
        }
        TRY(kafka_refused(b, &b->notes, e));
    } while (clock_mono_us() < stop);
    return fail(e, ST_AGAIN, "no broker answers at %s after %d s: %s", b->address,
                KAFKA_OPEN_MS / 1000,
                *b->notes.trouble ? b->notes.trouble : "no connection could be made");
}

static enum st kafka_open(void *self, const struct broker_conf *c, struct err *e)
{
    struct kafka *b = self;
    const char *servers;
    rd_kafka_consumer_group_metadata_t *m;
    bool form_known;

    CHECK(c->props && c->queue_bytes);
    b->props = c->props;
    b->queue_bytes = c->queue_bytes;
    read_properties(b);
    TRY(check_properties(b, e));
    servers = kafka_property(b, KAFKA_ADMIN, "bootstrap.servers");
    if (!servers)
        servers = kafka_property(b, KAFKA_ADMIN, "metadata.broker.list");
    if (!servers || !*servers)
        return fail(e, ST_BAD_CONFIG,
                    "no broker address: give -b HOST:9092 or, in the job file, "
                    "kafka: {bootstrap.servers: \"HOST:9092\"}");
    snprintf(b->address, sizeof b->address, "%s", servers);
    m = rd_kafka_consumer_group_metadata_new_with_genid("g", 7, "m", NULL);
    form_known = kafka_membership(m);
    rd_kafka_consumer_group_metadata_destroy(m);
    if (!form_known)
        return fail(e, ST_BAD_CONFIG,
                    "librdkafka %s writes group metadata in a form that this program does not "
                    "know: use another version",
                    rd_kafka_version_str());
    TRY(kafka_new(b, KAFKA_ADMIN, NULL, &b->notes, &b->admin, e));
    return reach(b, e);
}

static void kafka_close(void *self)
{
    struct kafka *b = self;

    if (b->cluster)
        rd_kafka_mem_free(b->admin, b->cluster);
    kafka_destroy(b->uncommitted);
    kafka_destroy(b->admin);
    free(b->property_text);
    memset(b, 0, sizeof *b);
}

static const char *kafka_cluster(void *self)
{
    const struct kafka *b = self;

    CHECK(b->cluster);
    return b->cluster;
}

static uint64_t kafka_memory(const void *self, uint64_t queue)
{
    (void)self;
    return queue;
}

const struct broker broker_kafka = {
    .name = "kafka",
    .summary = "a Kafka cluster, by librdkafka; every property of it passes through",
    .broker_bytes = sizeof(struct kafka),
    .consumer_bytes = sizeof(struct kafka_consumer),
    .producer_bytes = sizeof(struct kafka_producer),
    .silent = true,
    .open = kafka_open,
    .close = kafka_close,
    .memory_bytes = kafka_memory,
    .cluster = kafka_cluster,
    .topic = kafka_topic,
    .topic_create = kafka_topic_create,
    .topic_delete = kafka_topic_delete,
    .partitions_add = kafka_partitions_add,
    .watermarks = kafka_watermarks,
    .committed = kafka_committed,
    .offset_at = kafka_offset_at,
    .group_members = kafka_group_members,
    .offsets_set = kafka_offsets_set,
    .consumer_open = kafka_consumer_open,
    .consumer_close = kafka_consumer_close,
    .consumer_poll = kafka_consumer_poll,
    .consumer_release = kafka_consumer_release,
    .consumer_header = kafka_consumer_header,
    .consumer_event = kafka_consumer_event,
    .consumer_assign = kafka_consumer_assign,
    .consumer_seek = kafka_consumer_seek,
    .consumer_pause = kafka_consumer_pause,
    .consumer_leave = kafka_consumer_leave,
    .producer_open = kafka_producer_open,
    .producer_close = kafka_producer_close,
    .producer_begin = kafka_producer_begin,
    .produce = kafka_produce,
    .producer_wait = kafka_producer_wait,
    .producer_offsets = kafka_producer_offsets,
    .producer_commit = kafka_producer_commit,
    .producer_abort = kafka_producer_abort,
};
