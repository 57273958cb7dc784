/* Reading; membership is in broker_kafka_group.c.
 *
 * Memory. What the fetcher has read ahead lies in one queue, limited by bytes of values and by
 * number of messages (librdkafka counts no keys and none of its own 300 bytes or so a message, so
 * both limits are set from queue_bytes). What a poll has taken stands beside that, for the fetcher
 * fills the queue again: it is limited by how large the records of the last poll were. When a limit
 * is met, librdkafka 2.0.2 puts its broker thread to sleep for up to a second, however soon the
 * queue is empty; the property for that pause came with 2.2. So there we wake the thread: see
 * nudge(). */
#include "consumer/broker_kafka.h"

#include "config/base/clock.h"
#include "config/base/limits.h"
#include "config/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_OVERHEAD = 320, NUDGE_US = 5000, FETCH_PART = 6, FETCH_MOST = 31 << 16 };
enum { POLL_FIRST = 256 }; /* records, until their size is known */
enum { NAPS = 8, NAP_NS = 100000 };

static_assert((int)FETCH_MOST < (int)HEAP_LARGEST, "mapping and unmapping every answer costs more");

/* Sizes */

struct sizes {
    char messages[24], values_kib[24], fetch[24], fetch_partition[24];
};

static uint64_t within(uint64_t low, uint64_t x, uint64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* Three tenths of the bytes for values, as much for librdkafka's own beside them, and the rest for
 * what lies unused between them in the heap. One answer of a broker is a sixth of the values, since
 * the limits are looked at between answers only; not below what a default topic takes as its
 * largest record, nor above what with its header is 2 MiB, a size of the heap's. Bounds are
 * librdkafka's. */
static struct sizes queue_sizes(uint64_t bytes, uint32_t fetch_partition)
{
    uint64_t share = bytes / 10 * 3;
    uint64_t values = within(1 << 20, share, (uint64_t)2097151 << 10);
    uint64_t messages = within(1000, share / MESSAGE_OVERHEAD, 10000000);
    uint64_t fetch = within(1 << 20, values / FETCH_PART, FETCH_MOST);
    struct sizes s;

    CHECK(fetch <= values);
    snprintf(s.messages, sizeof s.messages, "%llu", (unsigned long long)messages);
    snprintf(s.values_kib, sizeof s.values_kib, "%llu", (unsigned long long)(values >> 10));
    snprintf(s.fetch, sizeof s.fetch, "%llu", (unsigned long long)fetch);
    snprintf(s.fetch_partition, sizeof s.fetch_partition, "%llu",
             (unsigned long long)(fetch_partition ? fetch_partition : fetch));
    return s;
}

/* What the nudge says again: the credentials as they are, or empty ones where no connection uses
 * any. */
static void prepare_nudge(struct kafka_consumer *c)
{
    const char *protocol = kafka_property(c->b, KAFKA_CONSUMER, "security.protocol");
    const char *mechanism = kafka_property(c->b, KAFKA_CONSUMER, "sasl.mechanisms");

    if (!mechanism)
        mechanism = kafka_property(c->b, KAFKA_CONSUMER, "sasl.mechanism");
    if (kafka_knows(c->b, "fetch.queue.backoff.ms"))
        return;
    if (!protocol || strncasecmp(protocol, "sasl", 4)) {
        c->user = c->password = "";
    } else if (mechanism &&
               (!strcasecmp(mechanism, "PLAIN") || !strncasecmp(mechanism, "SCRAM", 5))) {
        c->user = kafka_property(c->b, KAFKA_CONSUMER, "sasl.username");
        c->password = kafka_property(c->b, KAFKA_CONSUMER, "sasl.password");
    }
}

/* Wakes the broker threads, which then look at their queues again. Setting the credentials to what
 * they are is the one public call of 2.0.2 that does no more than that: no request, no version
 * barrier. */
static void nudge(struct kafka_consumer *c)
{
    int64_t now;
    rd_kafka_error_t *error;

    if (!c->user || !c->password)
        return;
    now = clock_mono_us();
    if (now - c->nudged_us < NUDGE_US)
        return;
    c->nudged_us = now;
    error = rd_kafka_sasl_set_credentials(c->rk, c->user, c->password);
    if (error)
        rd_kafka_error_destroy(error);
}

/* Life */

enum st kafka_consumer_open(void *self, void *broker, const struct consumer_conf *conf,
                            struct err *e)
{
    struct kafka_consumer *c = self;
    struct kafka *b = broker;
    struct sizes size =
        queue_sizes(conf->queue_bytes ? conf->queue_bytes : b->queue_bytes, conf->fetch_bytes);
    char wait[16];
    const struct kafka_setting more[9] = {
        {"?fetch.wait.max.ms", wait},
        {"group.id",
         conf->group ? conf->group : "millrace-reader"}, /* never joined, but required */
        {"isolation.level", conf->read_uncommitted ? "read_uncommitted" : "read_committed"},
        {"queued.min.messages", size.messages},
        {"queued.max.messages.kbytes", size.values_kib},
        {"fetch.max.bytes", size.fetch},
        {"fetch.message.max.bytes", size.fetch_partition},
        {conf->group ? "group.instance.id" : NULL, conf->instance},
    };

    CHECK(!c->rk && conf->topics_n > 0);
    CHECK(!conf->group == !conf->instance); /* membership is always static */
    c->b = b;
    c->poll_max = POLL_FIRST;
    c->notes.owner = c;
    c->grouped = conf->group != NULL;
    c->read_uncommitted = conf->read_uncommitted;
    if (c->grouped)
        snprintf(c->instance, sizeof c->instance, "%s", conf->instance);
    snprintf(wait, sizeof wait, "%u", conf->wait_ms ? conf->wait_ms : 50);
    for (uint32_t i = 0; i < conf->topics_n; i++) {
        uint32_t partitions;

        TRY(kafka_partitions(b, conf->topics[i], &partitions, e));
        if (partitions > PARTITIONS_MAX)
            return fail(e, ST_BAD_CONFIG, "topic '%s' has %u partitions, at most %d are supported",
                        conf->topics[i], partitions, PARTITIONS_MAX);
    }
    TRY(kafka_new(b, KAFKA_CONSUMER, more, &c->notes, &c->rk, e));
    CHECK(!rd_kafka_poll_set_consumer(c->rk)); /* callbacks are served by our polls */
    c->queue = rd_kafka_queue_get_consumer(c->rk);
    c->held = calloc(POLL_RECORDS_MAX, sizeof *c->held);
    c->list = calloc((size_t)conf->topics_n * PARTITIONS_MAX, sizeof *c->list);
    c->topic = calloc(conf->topics_n, sizeof *c->topic);
    c->paused = calloc(conf->topics_n * PARTITIONS_MAX / 64, sizeof *c->paused);
    CHECK(c->queue && c->held && c->list && c->topic && c->paused);
    for (; c->topics_n < conf->topics_n; c->topics_n++) {
        c->topic[c->topics_n] = rd_kafka_topic_new(c->rk, conf->topics[c->topics_n], NULL);
        CHECK(c->topic[c->topics_n]);
    }
    prepare_nudge(c);
    return c->grouped ? kafka_subscribe(c, e) : ST_OK;
}

void kafka_consumer_release(void *self)
{
    struct kafka_consumer *c = self;

    for (uint32_t i = 0; i < c->held_n; i++)
        rd_kafka_message_destroy(c->held[i]);
    c->held_n = 0;
}

/* Without rd_kafka_consumer_close, which for a static member would send nothing either, but may
 * wait. */
void kafka_consumer_close(void *self)
{
    struct kafka_consumer *c = self;

    kafka_consumer_release(c);
    kafka_forget_membership(c);
    for (uint32_t i = 0; i < c->topics_n; i++)
        rd_kafka_topic_destroy(c->topic[i]);
    if (c->queue)
        rd_kafka_queue_destroy(c->queue);
    kafka_destroy(c->rk);
    free(c->topic);
    free(c->held);
    free(c->paused);
    free(c->list);
    memset(c, 0, sizeof *c);
}

/* Polling */

/* So many records as one answer of a broker may have bytes. */
static void limit_next_poll(struct kafka_consumer *c)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < c->held_n; i++)
        bytes += c->held[i]->len + c->held[i]->key_len;
    if (bytes)
        c->poll_max =
            (uint32_t)within(1, (uint64_t)FETCH_MOST * c->held_n / bytes, POLL_RECORDS_MAX);
}

/* Where records flow, a few short sleeps before waiting: a thread that is woken for each arrival
 * tends to be put on the core of the one that fetches, and then both share it while another is idle
 * (measured: of lz4, 64 rows a message, two thirds of the speed in most runs). */
static ssize_t nap(struct kafka_consumer *c, uint32_t max)
{
    const struct timespec time = {0, NAP_NS};
    ssize_t n = 0;

    for (int i = 0; i < NAPS && n == 0 && c->event == GROUP_NONE; i++) {
        nanosleep(&time, NULL);
        n = rd_kafka_consume_batch_queue(c->queue, 0, c->held, max);
    }
    return n;
}

/* Takes what is there; if that is nothing, waits for the first record and takes what came with it.
 * (One blocking call for the whole array would wait out its time for the last record of it.) */
static void take(struct kafka_consumer *c, uint32_t max, int timeout_ms)
{
    const bool flows = c->flows;
    ssize_t n;

    max = max < c->poll_max ? max : c->poll_max;
    n = rd_kafka_consume_batch_queue(c->queue, 0, c->held, max);
    nudge(c);
    if (n == 0 && flows && timeout_ms > 0)
        n = nap(c, max);
    if (n == 0 && c->event == GROUP_NONE && timeout_ms > 0) {
        n = rd_kafka_consume_batch_queue(c->queue, timeout_ms, c->held, 1);
        if (n == 1 && max > 1 && c->event == GROUP_NONE) {
            n = rd_kafka_consume_batch_queue(c->queue, 0, c->held + 1, max - 1);
            n = n < 0 ? 1 : n + 1;
        }
    }
    c->held_n = n > 0 ? (uint32_t)n : 0;
    c->flows = n > 0;
    CHECK(c->held_n <= max);
    limit_next_poll(c);
}

/* An error in the place of a record. *keep: it is one for the caller. */
static enum st error_record(struct kafka_consumer *c, const rd_kafka_message_t *m, struct record *r,
                            bool *keep, struct err *e)
{
    *keep = true;
    switch ((int)m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        r->kind = REC_EOF;
        return ST_OK;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        r->kind = REC_RESET;
        return ST_OK;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        c->notes.topic_gone = true;
        *keep = false;
        return ST_OK;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        *keep = false;
        if (!c->grouped && m->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
            return ST_OK; /* no group is wanted */
        return kafka_fail(e, c->b, m->err, rd_kafka_message_errstr(m), "reading");
    default:
        *keep = m->rkt && m->partition >= 0 && m->err != RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED;
        r->kind = REC_ERROR;
        r->reason = BROKER_ERR_OTHER;
        if (!rd_kafka_fatal_error(c->rk, NULL, 0))
            log_line(LOG_WARN, rd_kafka_message_errstr(m), "from=librdkafka partition=%d",
                     m->partition);
        return ST_OK;
    }
}

static enum st fill_records(struct kafka_consumer *c, struct record *out, uint32_t *n,
                            struct err *e)
{
    const rd_kafka_topic_t *last = NULL;
    rd_kafka_timestamp_type_t kind;
    int topic = -1;
    bool keep;

    for (uint32_t i = 0; i < c->held_n; i++) {
        const rd_kafka_message_t *m = c->held[i];
        struct record *r = &out[*n];

        if (m->rkt != last) {
            last = m->rkt;
            topic = last ? kafka_topic_index(c, rd_kafka_topic_name(last)) : -1;
        }
        *r = (struct record){.partition = m->partition,
                             .offset = m->offset,
                             .timestamp_ms = -1,
                             .topic = topic < 0 ? 0 : (uint16_t)topic,
                             .message = m};
        if (m->err) {
            TRY(error_record(c, m, r, &keep, e));
            *n += keep;
            continue;
        }
        CHECK(topic >= 0 && m->partition >= 0);
        r->key = (struct bytes){m->key, m->key_len};
        r->value = (struct bytes){m->payload, m->len};
        r->timestamp_ms = rd_kafka_message_timestamp(m, &kind);
        ++*n;
    }
    return ST_OK;
}

static enum st after_poll(struct kafka_consumer *c, struct record *out, uint32_t max, uint32_t *n,
                          struct err *e)
{
    char text[256];
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(c->rk, text, sizeof text);

    if (fatal == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID && !c->fenced) {
        c->fenced = true;
        c->event = GROUP_FENCED;
        kafka_forget_membership(c);
        return ST_OK;
    }
    if (fatal)
        return fail(e, ST_FATAL,
                    c->fenced ? "another worker uses the name '%s' (%s)" : "consumer '%s': %s",
                    c->instance, text);
    if (!c->grouped && c->notes.refused == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
        c->notes.refused = RD_KAFKA_RESP_ERR_NO_ERROR;
    TRY(kafka_refused(c->b, &c->notes, e));
    if (c->notes.down)
        log_line(LOG_WARN, "no broker is reachable, trying on", "broker=%s last=\"%s\"",
                 c->b->address, c->notes.trouble);
    c->notes.down = false;
    if (!c->notes.topic_gone || (*n == max && !c->grouped))
        return ST_OK;
    if (c->grouped)
        *n = 0; /* what came with it may be another topic's */
    out[(*n)++] = (struct record){.kind = REC_ERROR,
                                  .partition = -1,
                                  .offset = -1,
                                  .timestamp_ms = -1,
                                  .reason = BROKER_ERR_TOPIC_GONE};
    c->notes.topic_gone = false;
    return ST_OK;
}

enum st kafka_consumer_poll(void *self, struct record *out, uint32_t max, int timeout_ms,
                            uint32_t *n, struct err *e)
{
    struct kafka_consumer *c = self;

    CHECK(c->rk && max > 0);
    *n = 0;
    kafka_consumer_release(c);
    c->event = GROUP_NONE;
    TRY(kafka_rejoin(c, e));
    take(c, max < POLL_RECORDS_MAX ? max : POLL_RECORDS_MAX, timeout_ms);
    TRY(fill_records(c, out, n, e));
    TRY(after_poll(c, out, max, n, e));
    CHECK(*n <= max);
    return ST_OK;
}

bool kafka_consumer_header(void *self, const struct record *r, uint32_t i, struct header *out)
{
    rd_kafka_headers_t *headers = NULL;
    const void *value = NULL;

    (void)self;
    CHECK(r->kind == REC_DATA && r->message);
    if (rd_kafka_message_headers(r->message, &headers) ||
        rd_kafka_header_get_all(headers, i, &out->name, &value, &out->value.n))
        return false;
    out->value.p = value;
    return true;
}

enum group_event kafka_consumer_event(void *self, const struct start **partitions, uint32_t *n)
{
    struct kafka_consumer *c = self;

    CHECK(c->grouped || c->event == GROUP_NONE);
    *partitions = c->list;
    *n = c->event == GROUP_NONE ? 0 : c->list_n;
    return c->event;
}

/* Positions */

/* -2 and -1 as offsets: librdkafka would ask as well, but waits half a second first where the
 * partition is new to the handle. */
static enum st explicit_offset(struct kafka_consumer *c, const struct start *s, int64_t *offset,
                               struct err *e)
{
    int64_t low, high;

    *offset = s->offset;
    if (s->offset >= 0)
        return ST_OK;
    TRY(kafka_watermarks(c->b, rd_kafka_topic_name(c->topic[s->topic]), s->partition,
                         c->read_uncommitted, &low, &high, e));
    *offset = s->offset == RD_KAFKA_OFFSET_BEGINNING ? low : high;
    return ST_OK;
}

/* The library is told only of changes: each raises a version barrier of its own. */
static enum st pausing(struct kafka_consumer *c, struct start s, bool pause, struct err *e)
{
    uint32_t at = s.topic * PARTITIONS_MAX + (uint32_t)s.partition;
    uint64_t *bits = &c->paused[at >> 6], bit = (uint64_t)1 << (at & 63);
    rd_kafka_topic_partition_list_t *one;
    rd_kafka_resp_err_t code;

    CHECK(s.topic < c->topics_n && s.partition >= 0 && s.partition < PARTITIONS_MAX);
    if (!(*bits & bit) == !pause)
        return ST_OK;
    one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, rd_kafka_topic_name(c->topic[s.topic]), s.partition);
    code = pause ? rd_kafka_pause_partitions(c->rk, one) : rd_kafka_resume_partitions(c->rk, one);
    if (!code)
        code = one->elems[0].err;
    rd_kafka_topic_partition_list_destroy(one);
    if (code)
        return kafka_fail(e, c->b, code, NULL, "%s topic '%s' [%d]", pause ? "pausing" : "resuming",
                          rd_kafka_topic_name(c->topic[s.topic]), s.partition);
    *bits ^= bit;
    return ST_OK;
}

/* A new assignment does not end a pause of the library's. */
static enum st resume_all(struct kafka_consumer *c, struct err *e)
{
    for (uint32_t i = 0; i < c->topics_n * PARTITIONS_MAX; i++)
        if (c->paused[i >> 6] >> (i & 63) & 1)
            TRY(pausing(
                c, (struct start){(int32_t)(i % PARTITIONS_MAX), (uint16_t)(i / PARTITIONS_MAX), 0},
                false, e));
    return ST_OK;
}

enum st kafka_consumer_assign(void *self, const struct start *s, uint32_t n, struct err *e)
{
    struct kafka_consumer *c = self;
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    enum st st = ST_OK;

    if (c->grouped && n && (!c->captured || c->revoking))
        return fail(e, ST_REVOKED, "'%s' owns no partition (any more)", c->instance);
    TRY(resume_all(c, e));
    list = rd_kafka_topic_partition_list_new((int)n + 1);
    for (uint32_t i = 0; st == ST_OK && i < n; i++) {
        CHECK(s[i].topic < c->topics_n && s[i].offset >= RD_KAFKA_OFFSET_BEGINNING);
        st = explicit_offset(c, &s[i],
                             &rd_kafka_topic_partition_list_add(
                                  list, rd_kafka_topic_name(c->topic[s[i].topic]), s[i].partition)
                                  ->offset,
                             e);
    }
    /* NULL answers a revocation; an empty list reads nothing and stays in the group. */
    if (st == ST_OK)
        code = rd_kafka_assign(c->rk, n || (c->grouped && !c->revoking) ? list : NULL);
    rd_kafka_topic_partition_list_destroy(list);
    TRY(st);
    if (c->revoking)
        kafka_forget_membership(c);
    c->revoking = false;
    if (code && code != RD_KAFKA_RESP_ERR__FATAL)
        return kafka_fail(e, c->b, code, NULL, "assigning %u partitions", n);
    if (code && n)
        return fail(e, ST_FATAL, "assigning %u partitions: the consumer '%s' has ended", n,
                    c->instance);
    return ST_OK;
}

/* The version barrier is raised inside the call, so what was fetched before is dropped from then
 * on. A partition that was assigned a moment ago may not have started yet. */
enum st kafka_consumer_seek(void *self, struct start s, struct err *e)
{
    struct kafka_consumer *c = self;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__STATE;

    CHECK(s.topic < c->topics_n && s.offset >= RD_KAFKA_OFFSET_BEGINNING);
    for (int tries = 0; tries < 100 && code == RD_KAFKA_RESP_ERR__STATE; tries++) {
        if (tries)
            usleep(10000);
        code = rd_kafka_seek(c->topic[s.topic], s.partition, s.offset, 1000);
    }
    if (code)
        return kafka_fail(e, c->b, code, NULL, "seek to offset %lld of topic '%s' [%d]",
                          (long long)s.offset, rd_kafka_topic_name(c->topic[s.topic]), s.partition);
    return pausing(c, s, false, e);
}

enum st kafka_consumer_pause(void *self, struct start s, struct err *e)
{
    return pausing(self, s, true, e);
}
