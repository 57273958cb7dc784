/* Writing. A publish is begin, produce, wait, offsets, commit (R3): between wait and commit nothing
 * is outstanding, so what the coordinator accepts with the offsets is already in the log. */
#include "consumer/broker_kafka.h"

#include "config/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CALL_MS = 5000, /* one round of a call that may be repeated */
    OUTCOME_MS =
        KAFKA_TRANSACTION_MS + 20000, /* by then the broker has ended the transaction itself */
    SERVE_EVERY = 256,                /* records between two looks at delivery reports */
    QUEUE_KB = (RECORD_BYTES_MAX >> 10) + 1024 /* the largest record fits */
};

static uint64_t outstanding(const struct kafka_producer *p)
{
    DCHECK(p->reported <= p->produced);
    return p->produced - p->reported;
}

void kafka_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct kafka_producer *p = ((struct kafka_notes *)opaque)->owner;

    CHECK(p && p->rk == rk && p->reported < p->produced);
    p->reported++;
    if (!m->err || p->failed || m->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
        m->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        return;
    p->failed = m->err;
    snprintf(p->failed_text, sizeof p->failed_text, "record of %zu bytes to topic '%s' [%d]",
             m->len + m->key_len, rd_kafka_topic_name(m->rkt), m->partition);
}

/* Transactions */

/* What went wrong in a transactional call; destroys `error`. An error that librdkafka does not flag
 * at all is the end of the producer, like a fatal one. */
static enum st transaction_failed(struct kafka_producer *p, rd_kafka_error_t *error,
                                  const char *what, struct err *e)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    enum st st = kafka_status(code);
    char text[256];

    snprintf(text, sizeof text, "%s", rd_kafka_error_string(error));
    if (rd_kafka_error_is_fatal(error) || st == ST_FATAL)
        st = ST_FATAL;
    else if (rd_kafka_error_txn_requires_abort(error) || rd_kafka_error_is_retriable(error))
        st = st == ST_REVOKED || st == ST_BAD_CONFIG ? st : ST_AGAIN;
    else if (st != ST_BAD_CONFIG)
        st = ST_FATAL;
    rd_kafka_error_destroy(error);
    if (code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED)
        return fail(e, ST_FATAL, "%s: another worker uses the name '%s': %s", what, p->id, text);
    if (st == ST_BAD_CONFIG)
        return kafka_fail(e, p->b, code, text, "%s of '%s'", what, p->id);
    return fail(e, st, "%s of '%s': %s (broker %s)", what, p->id, text, p->b->address);
}

/* Calls again while librdkafka says that this may help. Past the deadline the outcome is not known.
 */
static rd_kafka_error_t *again(struct kafka_producer *p,
                               rd_kafka_error_t *(*call)(rd_kafka_t *, int), int deadline_ms)
{
    int64_t stop = clock_mono_us() + (int64_t)deadline_ms * 1000;
    rd_kafka_error_t *error;

    while ((error = call(p->rk, CALL_MS)) && rd_kafka_error_is_retriable(error) &&
           clock_mono_us() < stop) {
        if (p->notes.refused || kafka_status(rd_kafka_error_code(error)) == ST_BAD_CONFIG)
            break;
        rd_kafka_error_destroy(error);
        rd_kafka_poll(p->rk, 10);
    }
    rd_kafka_poll(p->rk, 0);
    return error;
}

static enum st start_transactions(struct kafka_producer *p, struct err *e)
{
    rd_kafka_error_t *error = again(p, rd_kafka_init_transactions, KAFKA_OPEN_MS * 3);
    enum st refused = kafka_refused(p->b, &p->notes, e);

    if (!error)
        return ST_OK;
    if (refused != ST_OK) {
        rd_kafka_error_destroy(error);
        return refused;
    }
    return transaction_failed(p, error, "starting transactions", e);
}

/* A producer learns of a topic only when asked to write to it, and then sits idle for up to a
 * second. */
static enum st know_topics(struct kafka_producer *p, struct err *e)
{
    for (uint32_t i = 0; i < p->topics_n; i++) {
        const struct rd_kafka_metadata *md = NULL;
        rd_kafka_resp_err_t code = rd_kafka_metadata(p->rk, 0, p->topic[i], &md, KAFKA_CALL_MS);

        if (code)
            return kafka_fail(e, p->b, code, NULL, "asking about topic '%s'",
                              rd_kafka_topic_name(p->topic[i]));
        rd_kafka_metadata_destroy(md);
    }
    return ST_OK;
}

enum st kafka_producer_open(void *self, void *broker, const char *id, const char *const *topics,
                            uint32_t topics_n, struct err *e)
{
    struct kafka_producer *p = self;
    char size[16], queue[16];
    const struct kafka_setting more[9] = {
        {"?linger.ms", id ? "0" : "50"}, /* a publish is waited for, a load is not */
        {"?queue.buffering.max.messages", "500000"},
        {"?queue.buffering.max.kbytes", queue},
        {"?message.max.bytes", size}, /* the topic's own limit decides */
        {"?batch.num.messages", "100000"},
        {id ? "transactional.id" : NULL, id},
    };
    uint32_t partitions;

    CHECK(!p->rk && topics_n > 0);
    p->b = broker;
    p->notes.owner = p;
    snprintf(p->id, sizeof p->id, "%s", id ? id : "");
    snprintf(size, sizeof size, "%d", RECORD_BYTES_MAX);
    snprintf(queue, sizeof queue, "%d", QUEUE_KB);
    for (uint32_t i = 0; i < topics_n; i++)
        TRY(kafka_partitions(p->b, topics[i], &partitions, e));
    TRY(kafka_new(p->b, KAFKA_PRODUCER, more, &p->notes, &p->rk, e));
    p->topic = calloc(topics_n, sizeof *p->topic);
    CHECK(p->topic);
    for (; p->topics_n < topics_n; p->topics_n++) {
        p->topic[p->topics_n] = rd_kafka_topic_new(p->rk, topics[p->topics_n], NULL);
        CHECK(p->topic[p->topics_n]);
    }
    if (id)
        TRY(start_transactions(p, e));
    return know_topics(p, e);
}

/* What is not acknowledged is dropped; a transaction left open is ended by the next life of the id,
 * or by time. */
void kafka_producer_close(void *self)
{
    struct kafka_producer *p = self;

    if (p->rk)
        rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                  RD_KAFKA_PURGE_F_NON_BLOCKING);
    for (uint32_t i = 0; i < p->topics_n; i++)
        rd_kafka_topic_destroy(p->topic[i]);
    kafka_destroy(p->rk);
    free(p->topic);
    memset(p, 0, sizeof *p);
}

enum st kafka_producer_begin(void *self, struct err *e)
{
    struct kafka_producer *p = self;
    rd_kafka_error_t *error;

    CHECK(*p->id && !p->in_transaction && outstanding(p) == 0);
    p->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
    error = rd_kafka_begin_transaction(p->rk);
    if (error)
        return transaction_failed(p, error, "beginning a transaction", e);
    p->in_transaction = true;
    return ST_OK;
}

enum st kafka_produce(void *self, uint16_t topic, int32_t partition, struct bytes key,
                      struct bytes value, int64_t timestamp_ms, const struct header *h,
                      uint32_t headers, struct err *e)
{
    struct kafka_producer *p = self;
    rd_kafka_vu_t vu[6 + HEADERS_MAX];
    size_t n = 0;
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t code;
    bool asked = false;

    CHECK(topic < p->topics_n && headers <= HEADERS_MAX);
    CHECK(!*p->id == !p->in_transaction);
    vu[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = p->topic[topic]};
    vu[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition};
    vu[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY};
    vu[n++] =
        (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)key.p, key.n}};
    vu[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE,
                              .u.mem = {(void *)(uintptr_t)value.p, value.n}};
    vu[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP,
                              .u.i64 = timestamp_ms < 0 ? 0 : timestamp_ms}; /* 0: now */
    for (uint32_t i = 0; i < headers; i++)
        vu[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADER,
                                  .u.header = {h[i].name, h[i].value.p, (ssize_t)h[i].value.n}};
    if (p->produced % SERVE_EVERY == 0)
        rd_kafka_poll(p->rk, 0);
    while ((error = rd_kafka_produceva(p->rk, vu, n))) {
        code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (code == RD_KAFKA_RESP_ERR__STATE && !rd_kafka_fatal_error(p->rk, NULL, 0))
            return fail(e, ST_AGAIN, "the transaction of '%s' has failed: %s", p->id,
                        p->failed_text);
        if (code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION && !asked) { /* it may have been added */
            TRY(know_topics(p, e));
            asked = true;
            continue;
        }
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return kafka_fail(e, p->b, code, NULL, "record of %zu bytes to topic '%s' [%d]",
                              key.n + value.n, rd_kafka_topic_name(p->topic[topic]), partition);
        rd_kafka_poll(p->rk,
                      100); /* room comes with a delivery report, at last with message.timeout.ms */
    }
    p->produced++;
    return ST_OK;
}

/* rd_kafka_flush would do, but works in steps of 10 ms. */
enum st kafka_producer_wait(void *self, int timeout_ms, struct err *e)
{
    struct kafka_producer *p = self;
    int64_t stop = clock_mono_us() + (int64_t)timeout_ms * 1000;
    rd_kafka_resp_err_t failed, fatal;
    char text[256];

    CHECK(p->rk && timeout_ms >= 0);
    while (outstanding(p) > 0 && clock_mono_us() < stop)
        rd_kafka_poll(p->rk, 50);
    failed = p->failed;
    fatal = rd_kafka_fatal_error(p->rk, text, sizeof text);
    if (fatal)
        return fail(e, ST_FATAL, "producer '%s': %s", p->id, text);
    TRY(kafka_refused(p->b, &p->notes, e));
    if (failed) {
        p->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
        return kafka_fail(e, p->b, failed, NULL, "%s", p->failed_text);
    }
    if (outstanding(p))
        return fail(e, ST_AGAIN, "%llu records are not acknowledged after %d ms (broker %s): %s",
                    (unsigned long long)outstanding(p), timeout_ms, p->b->address,
                    *p->notes.trouble ? p->notes.trouble : "slow");
    return ST_OK;
}

static rd_kafka_topic_partition_list_t *offset_list(const char *topic,
                                                    const struct offset_commit *o, uint32_t n)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);

    for (uint32_t i = 0; i < n; i++) {
        rd_kafka_topic_partition_t *t =
            rd_kafka_topic_partition_list_add(list, topic, o[i].partition);

        t->offset = o[i].offset;
        t->metadata_size = strnlen(o[i].metadata, sizeof o[i].metadata);
        t->metadata = strndup(o[i].metadata, sizeof o[i].metadata); /* freed with the list */
        CHECK(t->metadata && t->offset >= 0 && t->partition >= 0);
    }
    return list;
}

enum st kafka_producer_offsets(void *self, void *consumer, const char *topic,
                               const struct offset_commit *o, uint32_t n, struct err *e)
{
    struct kafka_producer *p = self;
    struct kafka_consumer *c = consumer;
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_error_t *error;
    int64_t stop = clock_mono_us() + (int64_t)KAFKA_TRANSACTION_MS * 1000;
    enum st st;

    CHECK(p->in_transaction && c->grouped && n > 0);
    CHECK(outstanding(p) == 0); /* R3 */
    if (p->failed)
        return fail(e, ST_AGAIN, "%s was not acknowledged: %s", p->failed_text,
                    rd_kafka_err2str(p->failed));
    if (!c->captured)
        return fail(e, ST_REVOKED, "'%s' owns no partition (any more)", c->instance);
    list = offset_list(topic, o, n);
    while ((error = rd_kafka_send_offsets_to_transaction(p->rk, list, c->captured, CALL_MS)) &&
           rd_kafka_error_is_retriable(error) && clock_mono_us() < stop) {
        rd_kafka_error_destroy(error);
        rd_kafka_poll(p->rk, 10);
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (!error)
        return ST_OK;
    st = transaction_failed(p, error, "committing offsets", e);
    if (st == ST_REVOKED)
        kafka_refuse_member(c);
    return st;
}

enum st kafka_producer_commit(void *self, struct err *e)
{
    struct kafka_producer *p = self;
    rd_kafka_error_t *error;

    CHECK(p->in_transaction && outstanding(p) == 0);
    error = again(p, rd_kafka_commit_transaction, OUTCOME_MS);
    if (!error) {
        p->in_transaction = false;
        return ST_OK;
    }
    if (rd_kafka_error_is_retriable(error)) {
        rd_kafka_error_destroy(error);
        return fail(e, ST_FATAL,
                    "commit of '%s': no outcome after %d s (broker %s): a restart settles it",
                    p->id, OUTCOME_MS / 1000, p->b->address);
    }
    return transaction_failed(p, error, "commit", e);
}

enum st kafka_producer_abort(void *self, struct err *e)
{
    struct kafka_producer *p = self;
    rd_kafka_error_t *error;

    CHECK(p->in_transaction);
    error = again(p, rd_kafka_abort_transaction, OUTCOME_MS);
    if (error) { /* an abort that fails leaves nothing that could be done in this process */
        CHECK(transaction_failed(p, error, "abort", e) != ST_OK);
        return ST_FATAL;
    }
    while (outstanding(p) > 0) /* reports of what was purged */
        rd_kafka_poll(p->rk, 10);
    p->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
    p->in_transaction = false;
    return ST_OK;
}
