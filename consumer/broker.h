/* broker.h: the broker table: topics, consumers, producers and transactions, as the pipeline needs
 * them.
 *
 * Implementations: `kafka` (librdkafka), `local` (local:DIR, embedded, on a store table) and
 * `files` (files:DIR: the data topic is files, all else is local:DIR). All are held to this
 * contract by one suite, tests/conform/broker. The rules R1-R6 that make a publish safe are kept
 * here, not by the callers: group metadata is captured in the assign callback and never fresh (R1),
 * and producer_offsets() refuses while a delivery report is outstanding (R3).
 *
 * Objects broker (one connection: admin and metadata) -> consumers and producers made from it,
 * closed before it.
 * Owner The caller owns the memory of each object (zeroed, of the size in the table). close is safe
 *      on zeroed memory, after a failed open, and is bounded in time.
 * Thread One thread for everything made from one broker object. Library threads never touch our
 * data.
 * Time Timeouts in milliseconds; a call never blocks longer than its timeout plus one second.
 * Errors ST_AGAIN: try again later (no answer in time, leader moving). ST_BAD_CONFIG: a person must
 *      act (unknown property, no such topic, wrong password, not authorised), text with address and
 *      remedy. ST_BAD_INPUT: a record the broker refuses (too large). ST_REVOKED: this consumer is
 *      not (any more) the owner. ST_FATAL: this object is finished, another worker uses the name,
 *      or the process must restart. */
#ifndef MILLRACE_BROKER_H
#define MILLRACE_BROKER_H

#include "config/base/limits.h"
#include "config/job.h"
#include "statestore/store.h"

enum record_kind {
    REC_DATA,
    REC_EOF,   /* offset: the end of what this consumer may read now; comes again when the end has
                  moved */
    REC_RESET, /* the position does not exist any more (retention, truncation): offset is the one
                  asked for */
    REC_ERROR  /* of one partition or all (-1); reason is one of enum broker_error */
};

/* TOPIC_GONE: a topic was not there a moment ago; by now it may be again, with other records. To a
 * member of a group nothing is handed out with or after it that is not of the topic as it was. */
enum broker_error { BROKER_ERR_TOPIC_GONE = 1, BROKER_ERR_OTHER };

struct record { /* borrowed until the next consumer_poll */
    uint32_t kind;
    int32_t partition;
    int64_t offset, timestamp_ms; /* timestamp_ms -1: none */
    struct bytes key, value;      /* p NULL: null, which is not the same as empty */
    uint16_t topic;               /* index into consumer_conf.topics */
    uint16_t reason;
    const void *message; /* the implementation's, for consumer_header */
};

struct header {
    const char *name;
    struct bytes value;
};

struct broker_conf {
    const char *address; /* local: the folder. kafka: unused, bootstrap.servers is a property */
    const struct props *props; /* borrowed until close */
    uint64_t queue_bytes;  /* memory declared for fetched records of one consumer; queues are sized
                              from it */
    bool read_only;        /* local: open beside a writer */
    bool small;            /* local: no data topics, so small write buffers do */
    const struct job *job; /* files: whose files these are */
};

struct consumer_conf {
    const char *const *topics;
    uint32_t topics_n;
    const char *group, *instance; /* NULL: no group; partitions are given with consumer_assign */
    bool read_uncommitted;        /* default read_committed */
    uint32_t wait_ms;     /* longest wait of the broker for new data (fetch.wait.max.ms); 0: 50 */
    uint64_t queue_bytes; /* 0: broker_conf's */
    uint32_t fetch_bytes; /* of one partition in one answer, at least a record; 0: by queue_bytes */
};

struct start { /* where to read on; offset -2: earliest, -1: end */
    int32_t partition;
    uint16_t topic;
    int64_t offset;
};

enum group_event { GROUP_NONE, GROUP_ASSIGNED, GROUP_REVOKED, GROUP_LOST, GROUP_FENCED };

struct topic_info {
    bool exists;
    uint32_t partitions;
    int32_t replication;
    char cleanup_policy[32];               /* "" where it may not be read */
    int64_t max_message_bytes, min_insync; /* -1: unknown */
};

struct topic_spec {
    const char *name;
    uint32_t partitions;
    const char *const (*config)[2]; /* pairs, NULL name at the end; NULL: none */
};

struct offset_commit {
    int32_t partition;
    int64_t offset;
    char metadata[96]; /* "run:epoch:offset:round:flags:life" */
};

struct broker {
    const char *name, *summary;
    size_t broker_bytes, consumer_bytes, producer_bytes;
    bool silent; /* may read on in a topic that was made anew as if it were the one before */

    /* Connects and proves it: the cluster answered. */
    MUST enum st (*open)(void *b, const struct broker_conf *c, struct err *e);
    void (*close)(void *b);
    /* Bytes that an open broker takes, with one consumer of so large a queue. */
    uint64_t (*memory_bytes)(const void *b, uint64_t queue_bytes);
    /* A name that is the same as long as it is the same cluster. Borrowed until close. */
    const char *(*cluster)(void *b);
    MUST enum st (*topic)(void *b, const char *name, struct topic_info *out,
                          struct err *e); /* absent: exists false, ST_OK */
    MUST enum st (*topic_create)(void *b, const struct topic_spec *t,
                                 struct err *e); /* exists already: ST_OK */
    MUST enum st (*topic_delete)(void *b, const char *name, struct err *e);
    MUST enum st (*partitions_add)(void *b, const char *name, uint32_t total, struct err *e);
    /* low: first offset that may still be read; high: one past the last. uncommitted: with open
     * transactions, else the end that read_committed sees. */
    MUST enum st (*watermarks)(void *b, const char *topic, int32_t partition, bool uncommitted,
                               int64_t *low, int64_t *high, struct err *e);
    /* The group's committed offsets and metadata of partitions 0 .. n-1; absent: offset -1001.
     * ST_AGAIN while some of them are in a transaction that is undecided. */
    MUST enum st (*committed)(void *b, const char *group, const char *topic,
                              struct offset_commit *out, uint32_t n, struct err *e);

    /* The first offset whose record is not older than a time (ms since 1970); the readable end, if
     * there is none. */
    MUST enum st (*offset_at)(void *b, const char *topic, int32_t partition, int64_t timestamp_ms,
                              int64_t *offset, struct err *e);
    /* How many members the group has. A static one stays a member for session.timeout.ms after its
     * process has ended. No such group: 0. */
    MUST enum st (*group_members)(void *b, const char *group, uint32_t *n, struct err *e);
    /* Sets committed offsets of a group outside any transaction; offset -1001 removes one, which
     * need not be there. Only while the group has no members: ST_BAD_CONFIG. */
    MUST enum st (*offsets_set)(void *b, const char *group, const char *topic,
                                const struct offset_commit *o, uint32_t n, struct err *e);

    MUST enum st (*consumer_open)(void *c, void *b, const struct consumer_conf *conf,
                                  struct err *e);
    void (*consumer_close)(void *c); /* a static member stays a member: no LeaveGroup */
    /* Fills out[max]; *n may be 0. Releases what the call before handed out. Order within a
     * partition is offset order; events stand where they happened. ST_AGAIN is not used: silence is
     * *n == 0. */
    MUST enum st (*consumer_poll)(void *c, struct record *out, uint32_t max, int timeout_ms,
                                  uint32_t *n, struct err *e);
    /* Releases the records of the last poll before the next one. */
    void (*consumer_release)(void *c);
    /* The i-th header of a record of the last poll; false: no more. */
    bool (*consumer_header)(void *c, const struct record *r, uint32_t i, struct header *out);
    /* What the group did during the last poll; partitions (of all topics, sorted) are borrowed
     * until the next poll. ASSIGNED: the metadata has been captured and nothing is read yet: call
     * consumer_assign with what has been restored.
     * REVOKED: publish what is owned (which is refused if it comes too late), then consumer_assign
     * with none. LOST: the same without the publish. FENCED: another worker uses the name;
     * only close is left. */
    enum group_event (*consumer_event)(void *c, const struct start **partitions, uint32_t *n);
    /* Replaces what is read, always with explicit offsets. In a group only after ASSIGNED (the set
     * may grow), with none after REVOKED or LOST. */
    MUST enum st (*consumer_assign)(void *c, const struct start *s, uint32_t n, struct err *e);
    /* Reads partition on from offset; records fetched before are dropped. Of a partition that is
     * being read, paused or not: after REC_RESET use consumer_assign. */
    MUST enum st (*consumer_seek)(void *c, struct start s, struct err *e);
    /* Reads nothing more of a partition that is being read, until consumer_seek or consumer_assign;
     * what was fetched is dropped. s.offset is not used. */
    MUST enum st (*consumer_pause)(void *c, struct start s, struct err *e);
    /* Ends the membership for good: what it owned is published before, or lost to it; the group
     * gives the partitions to others at once, not when a session ends. ST_AGAIN: it was not
     * confirmed in that time, and they may have to wait. After it only consumer_close is left. */
    MUST enum st (*consumer_leave)(void *c, int timeout_ms, struct err *e);

    /* id NULL: idempotent, no transactions. With an id: fences every older producer of that id and
     * ends what it left open. */
    MUST enum st (*producer_open)(void *p, void *b, const char *id, const char *const *topics,
                                  uint32_t topics_n, struct err *e);
    void (*producer_close)(void *p);
    MUST enum st (*producer_begin)(void *p, struct err *e);
    /* Copies key and value. topic: index into producer_open's topics. partition -1: by hash of the
     * key. timestamp_ms -1: now.
     * Blocks while the queue is full. */
    MUST enum st (*produce)(void *p, uint16_t topic, int32_t partition, struct bytes key,
                            struct bytes value, int64_t timestamp_ms, const struct header *h,
                            uint32_t headers, struct err *e);
    /* Waits until every record is acknowledged. ST_AGAIN: one was not: abort. ST_BAD_INPUT: the
     * topic does not take one (too large); without a transaction the producer goes on. */
    MUST enum st (*producer_wait)(void *p, int timeout_ms, struct err *e);
    /* Adds the group's offsets with the metadata that consumer c captured. ST_REVOKED: fenced:
     * abort, own nothing until the next assignment. CHECKs that nothing is outstanding (R3). */
    MUST enum st (*producer_offsets)(void *p, void *c, const char *topic,
                                     const struct offset_commit *o, uint32_t n, struct err *e);
    /* Retries inside until the outcome is known. ST_AGAIN: aborted is what it needs; ST_FATAL:
     * exit, a restart settles it. */
    MUST enum st (*producer_commit)(void *p, struct err *e);
    MUST enum st (*producer_abort)(void *p, struct err *e);
};

extern const struct broker *const broker_list[];
extern const uint32_t broker_count;
extern const struct broker broker_kafka, broker_local, broker_file;

/* "kafka", "local:DIR", "files:DIR": the table, and in *address the part behind the colon (in the
 * text given). NULL: unknown. */
const struct broker *broker_find(const char *spec, const char **address);

/* Properties that are ours: a reason why a job may not set this one, or NULL. */
const char *broker_owned_property(const char *name);

#endif
