/* broker_kafka.h: what the files of the kafka broker share. Private: only broker_kafka*.c include
 * it.
 *
 * librdkafka 2.0.2 (Debian 12) is the floor; what is said of it here was read in its source or
 * measured against Kafka 4.3.1. Its callbacks run inside our own calls on our one thread, except
 * the log callback; they only note facts in struct kafka_notes, which the caller reads afterwards.
 */
#ifndef MILLRACE_BROKER_KAFKA_H
#define MILLRACE_BROKER_KAFKA_H

#include "consumer/broker.h"

#include <librdkafka/rdkafka.h>

enum {
    KAFKA_OPEN_MS = 10000,        /* a cluster that does not answer in this time is unreachable */
    KAFKA_CALL_MS = 10000,        /* one admin request */
    KAFKA_TRANSACTION_MS = 60000, /* transaction.timeout.ms by default */
    KAFKA_SESSION_MS = 20000,     /* session.timeout.ms by default */
    KAFKA_DESTROY_S = 3,
    KAFKA_PROPERTIES_MAX = 256
};

enum kafka_role { KAFKA_ADMIN = 1, KAFKA_CONSUMER = 2, KAFKA_PRODUCER = 4 };

struct kafka_setting { /* "?name": a default that the user may change */
    const char *name, *value;
};

struct kafka_notes {             /* opaque of every handle */
    void *owner;                 /* the consumer or producer, NULL: admin */
    rd_kafka_resp_err_t refused; /* a person must act: wrong password, no right */
    char refused_text[256];
    char trouble[256]; /* the last connection that failed, and why */
    bool topic_gone, down;
};

struct kafka { /* the broker object */
    const struct props *props;
    uint64_t queue_bytes;
    char address[200]; /* bootstrap.servers, for messages */
    char *cluster;     /* librdkafka's memory */
    struct kafka_notes notes;
    rd_kafka_t *admin, *uncommitted; /* the second sees open transactions; made when first asked */
    char *property_text;             /* librdkafka's own manual, cut into names */
    const char *property[KAFKA_PROPERTIES_MAX + 1]; /* NULL at the end */
    char scope[KAFKA_PROPERTIES_MAX];               /* C, P or * */
};

struct kafka_consumer {
    struct kafka *b;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    struct kafka_notes notes;
    bool grouped, read_uncommitted;
    char instance[NAME_MAX_BYTES + 64];
    rd_kafka_topic_t **topic; /* [topics_n], in the order of consumer_conf.topics */
    uint32_t topics_n;
    rd_kafka_message_t **held; /* [POLL_RECORDS_MAX], released by the next poll */
    uint32_t held_n, poll_max; /* poll_max: records of the next poll at most */
    bool flows;                /* the last poll had records */
    uint64_t *paused;          /* [topics_n * PARTITIONS_MAX / 64] bits */
    rd_kafka_consumer_group_metadata_t *captured; /* R1 */
    enum group_event event;                       /* of the last poll */
    bool revoking;      /* the library waits for consumer_assign with none */
    bool fenced;        /* the event has been told */
    int64_t refused_us; /* when the broker refused the membership; 0: it has not */
    struct start *list; /* [topics_n * PARTITIONS_MAX], of the event */
    uint32_t list_n;
    const char *user, *password; /* for the nudge; NULL: not needed or not possible */
    int64_t nudged_us;
};

struct kafka_producer {
    struct kafka *b;
    rd_kafka_t *rk;
    struct kafka_notes notes;
    char id[NAME_MAX_BYTES + 64]; /* "": no transactions */
    rd_kafka_topic_t **topic;
    uint32_t topics_n;
    bool in_transaction;
    uint64_t produced, reported; /* delivery reports outstanding: the difference */
    rd_kafka_resp_err_t failed;  /* the first record that was not acknowledged, until told */
    char failed_text[256];
};

/* Action for a code of librdkafka or of Kafka; protocol.md, section 4.10. */
enum st kafka_status(rd_kafka_resp_err_t code);

/* "WHAT: TEXT (broker ADDRESS)" with kafka_status(code). text NULL: the code's own. */
MUST enum st kafka_fail(struct err *e, const struct kafka *b, rd_kafka_resp_err_t code,
                        const char *text, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* A new handle of the role: our defaults, the user's properties, then `more` (NULL name at the
 * end). */
MUST enum st kafka_new(struct kafka *b, enum kafka_role role, const struct kafka_setting *more,
                       struct kafka_notes *notes, rd_kafka_t **out, struct err *e);
/* Ends a handle (NULL: nothing to do) in bounded time, whatever librdkafka does. */
void kafka_destroy(rd_kafka_t *rk);
/* The value of a property that reaches handles of the role, or NULL. */
const char *kafka_property(const struct kafka *b, enum kafka_role role, const char *name);
bool kafka_knows(const struct kafka *b, const char *name);

/* ST_BAD_CONFIG and the text if a connection has been refused; it is said once. */
MUST enum st kafka_refused(const struct kafka *b, struct kafka_notes *n, struct err *e);

/* The number of partitions; ST_BAD_CONFIG if there is no such topic. */
MUST enum st kafka_partitions(struct kafka *b, const char *topic, uint32_t *n, struct err *e);

int kafka_topic_index(const struct kafka_consumer *c, const char *name); /* -1: none of its */

/* Joins the group; joins it again where a refused member has not found out by itself. */
MUST enum st kafka_subscribe(struct kafka_consumer *c, struct err *e);
MUST enum st kafka_rejoin(struct kafka_consumer *c, struct err *e);
void kafka_forget_membership(struct kafka_consumer *c); /* owns nothing until it is assigned */

/* Rebalances of a consumer; called by rd_kafka only. */
void kafka_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                     rd_kafka_topic_partition_list_t *list, void *opaque);
/* Delivery reports of a producer; called by rd_kafka only. */
void kafka_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque);

/* A membership is one of a generation: not of -1 or without a member id. False also where
 * librdkafka writes it in a form that we do not know: the form is private to a version. */
bool kafka_membership(const rd_kafka_consumer_group_metadata_t *m);

/* The broker does not take this consumer for a member any more: it owns nothing until the next
 * assignment. */
void kafka_refuse_member(struct kafka_consumer *c);

/* The table's members, by file. */
MUST enum st kafka_topic(void *self, const char *name, struct topic_info *out, struct err *e);
MUST enum st kafka_topic_create(void *self, const struct topic_spec *spec, struct err *e);
MUST enum st kafka_topic_delete(void *self, const char *name, struct err *e);
MUST enum st kafka_partitions_add(void *self, const char *name, uint32_t total, struct err *e);
MUST enum st kafka_watermarks(void *self, const char *topic, int32_t partition, bool uncommitted,
                              int64_t *low, int64_t *high, struct err *e);
MUST enum st kafka_committed(void *self, const char *group, const char *topic,
                             struct offset_commit *out, uint32_t n, struct err *e);
MUST enum st kafka_offset_at(void *self, const char *topic, int32_t partition, int64_t timestamp_ms,
                             int64_t *offset, struct err *e);
MUST enum st kafka_group_members(void *self, const char *group, uint32_t *n, struct err *e);
MUST enum st kafka_offsets_set(void *self, const char *group, const char *topic,
                               const struct offset_commit *o, uint32_t n, struct err *e);

MUST enum st kafka_consumer_open(void *self, void *broker, const struct consumer_conf *conf,
                                 struct err *e);
void kafka_consumer_close(void *self);
MUST enum st kafka_consumer_poll(void *self, struct record *out, uint32_t max, int timeout_ms,
                                 uint32_t *n, struct err *e);
void kafka_consumer_release(void *self);
bool kafka_consumer_header(void *self, const struct record *r, uint32_t i, struct header *out);
enum group_event kafka_consumer_event(void *self, const struct start **partitions, uint32_t *n);
MUST enum st kafka_consumer_assign(void *self, const struct start *s, uint32_t n, struct err *e);
MUST enum st kafka_consumer_seek(void *self, struct start s, struct err *e);
MUST enum st kafka_consumer_pause(void *self, struct start s, struct err *e);
MUST enum st kafka_consumer_leave(void *self, int timeout_ms, struct err *e);

MUST enum st kafka_producer_open(void *self, void *broker, const char *id,
                                 const char *const *topics, uint32_t topics_n, struct err *e);
void kafka_producer_close(void *self);
MUST enum st kafka_producer_begin(void *self, struct err *e);
MUST enum st kafka_produce(void *self, uint16_t topic, int32_t partition, struct bytes key,
                           struct bytes value, int64_t timestamp_ms, const struct header *h,
                           uint32_t headers, struct err *e);
MUST enum st kafka_producer_wait(void *self, int timeout_ms, struct err *e);
MUST enum st kafka_producer_offsets(void *self, void *consumer, const char *topic,
                                    const struct offset_commit *o, uint32_t n, struct err *e);
MUST enum st kafka_producer_commit(void *self, struct err *e);
MUST enum st kafka_producer_abort(void *self, struct err *e);

#endif
