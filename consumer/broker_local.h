/* broker_local.h: the inside of the local broker, shared by the files broker_local*.c and by tests.
 *
 * The local broker is to Kafka what SQLite is to a database server: topics, offsets, transactions
 * and groups in one process, on one store table, without a server or a thread. What it must be
 * equal to is Kafka as broker.h shows it: a transaction's records get their offsets when they are
 * appended and are seen when it commits; each ended transaction costs one offset (its marker) in
 * every partition it wrote to; read_committed ends at the first undecided record, the last stable
 * offset.
 *
 * Files: broker_local.c (topics, the table), _keep.c (what is in the store), _log.c (batches of
 * records), _producer.c (transactions), _consumer.c (reading), _group.c (membership), _clean.c
 * (compaction, retention).
 *
 * Life   local_open -> consumers, producers -> close. close writes nothing: what was not
 *        acknowledged is gone, and a transaction that is open then is aborted by the next writer's
 *        open, as after kill -9.
 * Owner  struct local owns topics, groups and transactions until close. Pointers to topics and
 *        partitions stay valid until then, also after the topic was deleted (`gone`).
 * Disk   An acknowledged record (producer_wait) outside a transaction, and a commit, are synced.
 *        Records of an open transaction are written without: a store that keeps the order of its
 *        writes has them when it has the commit.
 * Time   The clock is asked for record timestamps, and for the three timeouts that end what a dead
 *        or frozen worker left: session.timeout.ms (a closed static member), max.poll.interval.ms
 *        (one that does not poll), transaction.timeout.ms. They are looked at when somebody polls;
 *        nothing happens by itself.
 * Thread One for a struct local and all made from it. */
#ifndef MILLRACE_BROKER_LOCAL_H
#define MILLRACE_BROKER_LOCAL_H

#include "consumer/broker.h"

#include <stdio.h>

enum {
    LOG_BATCH_BYTES = 64 << 10, /* a batch is appended before it grows beyond this, or beyond: */
    LOG_BATCH_RECORDS = 1000,
    LOG_HEAD = 56,
    LOG_RECORD_MAX_HEAD = 64,              /* lengths, offset and time of one record */
    MESSAGE_BYTES_DEFAULT = (1 << 20) + 12 /* Kafka's max.message.bytes */
};

/* What the world outside does; a test gives its own. */
struct local_env {
    const struct store *store;
    int64_t (*wall_ms)(void *arg);       /* since 1970: record timestamps, retention */
    int64_t (*mono_ms)(void *arg);       /* timeouts */
    void (*sleep_ms)(void *arg, int ms); /* a poll that finds nothing waits; may return early */
    void *arg;
};

struct log_span { /* offsets [first, marker) of a transaction; open: no marker yet */
    uint64_t pid;
    int64_t first, marker;
};

struct log_spans {
    struct log_span *s;
    uint32_t n, cap;
};

struct local_part {
    struct local_topic *of;
    uint32_t index;
    int64_t low, high;              /* first offset that may be read; next to be given */
    int64_t clean_to;               /* compacted up to here: one record per key below */
    uint64_t bytes, clean_bytes;    /* of batches now, and after the last compaction */
    uint32_t shape;                 /* grows when batches before `high` were rewritten */
    struct log_spans open, aborted; /* aborted: by marker */
};

struct local_topic {
    uint32_t id, parts;
    bool gone, compact, expire; /* cleanup.policy compact, delete */
    int64_t retention_ms, delete_retention_ms, max_message_bytes; /* -1: for ever */
    char name[NAME_MAX_BYTES + 1];
    struct local_part **part; /* [parts] */
};

struct local_offset { /* waits in a transaction for its commit */
    char group[NAME_MAX_BYTES + 1];
    struct local_topic *topic;
    struct offset_commit o;
};

struct local_txn { /* a transactional id of this process; producers come and go */
    char id[NAME_MAX_BYTES + 1];
    uint64_t pid;
    uint32_t epoch; /* of the newest producer: older ones are fenced */
    bool open;
    int64_t since_ms;
    struct local_part **part; /* that it has appended to */
    uint32_t parts, parts_cap;
    struct local_offset *offset;
    uint32_t offsets, offsets_cap;
};

struct edit_item {
    uint8_t key[NAME_MAX_BYTES + 24], small[NAME_MAX_BYTES + 64];
    struct change c; /* value.p NULL: deleted. Else big bytes of the caller, or: */
    bool is_small;
};

struct edit { /* the changes of one atomic write */
    struct edit_item *item;
    struct change *change;
    uint32_t n, cap, changes_cap;
};

struct local_group;

struct local {
    struct local_env env;
    void *store;
    bool read_only;
    uint32_t store_flags;
    bool broken; /* a write failed: what is in memory may be ahead of the store */
    uint32_t next_topic;
    uint64_t next_pid, next_member;
    int64_t session_ms, max_poll_ms, transaction_ms;
    uint64_t queue_bytes;
    char dir[4096], cluster[32];
    struct local_topic **topic;
    uint32_t topics, topics_cap;
    struct local_txn **txn;
    uint32_t txns, txns_cap;
    struct local_group **group;
    uint32_t groups, groups_cap;
    struct edit edit;
    uint32_t users; /* open consumers and producers */
};

/* ---- broker_local.c ---- */

/* As broker.open, with another world. The address may be anything that env->store takes. */
MUST enum st local_open(void *b, const struct broker_conf *c, const struct local_env *env,
                        struct err *e);
struct local_topic *local_topic(struct local *b, const char *name); /* NULL: absent */
void topic_parts(struct local_topic *t, uint32_t parts);            /* makes them, empty */
/* The topic, or ST_BAD_CONFIG with what to do. */
MUST enum st local_topic_find(struct local *b, const char *name, struct local_topic **t,
                              struct err *e);
MUST enum st local_partition(const struct local_topic *t, int32_t partition, struct local_part **p,
                             struct err *e);
MUST enum st local_writable(const struct local *b, const char *what, struct err *e);
/* As in the table; broker_file.c has them in its own. */
MUST enum st local_open_here(void *b, const struct broker_conf *c, struct err *e);
void local_close(void *b);
uint64_t local_memory_bytes(const void *b, uint64_t queue_bytes);
const char *local_cluster(void *b);
MUST enum st local_topic_info(void *b, const char *name, struct topic_info *out, struct err *e);
MUST enum st local_topic_create(void *b, const struct topic_spec *t, struct err *e);
MUST enum st local_topic_delete(void *b, const char *name, struct err *e);
MUST enum st local_partitions_add(void *b, const char *name, uint32_t total, struct err *e);
MUST enum st local_watermarks(void *b, const char *topic, int32_t partition, bool uncommitted,
                              int64_t *low, int64_t *high, struct err *e);
MUST enum st local_committed(void *b, const char *group, const char *topic,
                             struct offset_commit *out, uint32_t n, struct err *e);
MUST enum st local_offsets_set(void *b, const char *group, const char *topic,
                               const struct offset_commit *o, uint32_t n, struct err *e);
/* realloc of p to n elements of `size`; out of memory is a failed CHECK: these are small tables. */
void *local_grow(void *p, uint32_t *cap, uint32_t n, size_t size);

/* ---- broker_local_keep.c ---- */

/* Changes gathered for one write. Keys and small values are copied, big values are the caller's
 * until edit_write. */
void edit_begin(struct local *b);
void edit_meta(struct local *b);
void edit_topic(struct local *b, const struct local_topic *t);
void edit_part(struct local *b, const struct local_part *p); /* its numbers as they are now */
void edit_batch(struct local *b, const struct local_part *p, int64_t base,
                struct bytes batch); /* p NULL: delete */
void edit_open_span(struct local *b, const struct local_part *p, const struct log_span *s,
                    bool remove);
void edit_aborted_span(struct local *b, const struct local_part *p, const struct log_span *s,
                       bool remove);
void edit_offset(struct local *b, const struct local_offset *o);
void edit_topic_gone(struct local *b, const struct local_topic *t);
MUST enum st edit_write(struct local *b, bool sync, struct err *e);

/* Loads all but records; an empty store is made a broker (a writer) or refused (read_only). */
MUST enum st log_load(struct local *b, struct err *e);
MUST enum st log_offset(struct local *b, const char *group, const struct local_topic *t,
                        uint32_t partition, struct offset_commit *out, struct err *e);

enum { BATCH_KEY = 17 };
void batch_key(uint8_t out[BATCH_KEY], const struct local_part *p, int64_t offset);

/* ---- broker_local_log.c ---- */

void spans_add(struct log_spans *l, struct log_span s);
void spans_remove(struct log_spans *l, uint32_t i);
/* The last stable offset: the first undecided record, or high. */
int64_t part_stable(const struct local_part *p);
bool part_aborted(const struct local_part *p, uint64_t pid, int64_t offset);

struct log_batch { /* a batch being built */
    uint8_t *p;
    size_t n, cap;
    uint32_t records;
    int64_t first_ms, last_ms;
};

struct log_record {
    int64_t offset, timestamp_ms;
    struct bytes key, value;
    const uint8_t *headers; /* encoded, as in a batch; NULL: none */
    size_t header_bytes;
};

struct log_head {       /* a batch as read */
    int64_t base, last; /* offsets [base, last] are its, whether they hold records or not */
    uint64_t pid;       /* 0: outside any transaction */
    int64_t first_ms, last_ms;
    uint32_t records, bytes;
};

void batch_clear(struct log_batch *l);
void batch_free(struct log_batch *l);
bool batch_has_room(const struct log_batch *l, size_t record_bytes);
/* What a record takes at most, its share of the batch's head included. */
size_t batch_record_bytes(struct bytes key, struct bytes value, const struct header *h,
                          uint32_t headers);
/* delta: offset - base. ST_FATAL: no memory. */
MUST enum st batch_add(struct log_batch *l, uint64_t delta, const struct log_record *r,
                       const struct header *h, uint32_t headers, struct err *e);
struct bytes batch_seal(struct log_batch *l, int64_t base, int64_t last, uint64_t pid);

/* The head of a batch that was checked before. */
void batch_head(struct bytes batch, struct log_head *h);
/* Verifies a batch of the store; ST_CORRUPT names the place. */
MUST enum st batch_check(const struct local_part *p, struct bytes key, struct bytes value,
                         struct log_head *h, struct err *e);
/* Reads the record at *at of a checked batch and moves *at behind it. */
MUST enum st log_batch_next(const struct local_part *p, const struct log_head *h,
                            struct bytes batch, size_t *at, struct log_record *r, struct err *e);
/* The i-th of a record's headers; end: of anything that holds them. */
bool batch_header(const uint8_t *headers, const uint8_t *end, uint32_t i, struct header *out);

struct log_buffer {
    uint8_t *p;
    size_t n, cap;
};

/* Copies whole batches of p with records in [*from, upto) behind what is in `out`, as many as fit
 * into `room` bytes but at least one (an empty `out` grows for it, a full one stays as it is), and
 * moves *from behind the last one looked at. `aligned`: *from is known to be where a batch begins
 * or ended. Aborted batches are skipped unless `raw`. *from reaches upto when nothing is left. */
struct log_read {
    const struct local_part *p;
    int64_t from, upto;
    bool aligned, raw;
    size_t room;
};
MUST enum st log_read(struct local *b, struct log_read *r, struct log_buffer *out, struct err *e);
/* As broker.offset_at. */
MUST enum st local_offset_at(void *self, const char *topic, int32_t partition, int64_t timestamp_ms,
                             int64_t *offset, struct err *e);

/* ---- broker_local_clean.c ---- */

/* Compacts p if its topic is compacted and enough was written since the last time. */
MUST enum st clean_maybe(struct local *b, struct local_part *p, struct err *e);
/* Keeps the last committed record of each key below the last stable offset. */
MUST enum st clean_partition(struct local *b, struct local_part *p, struct err *e);
/* Drops what is older than retention.ms from the front. */
MUST enum st clean_expired(struct local *b, struct local_part *p, struct err *e);
/* Makes what is before an offset unreadable. */
MUST enum st clean_trim(struct local *b, struct local_part *p, int64_t before, struct err *e);

/* ---- broker_local_producer.c ---- */

struct local_target { /* a topic that a producer writes to */
    struct local_topic *t;
    struct log_batch *batch; /* [parts] not appended yet */
    uint32_t parts;
};

struct local_producer {
    struct local *b;
    struct local_txn *txn; /* NULL: no transactions */
    uint32_t epoch, targets, turn;
    bool in_txn, offsets_added;
    uint64_t waiting; /* records produced and not yet acknowledged */
    bool unsynced;    /* appended, but not acknowledged */
    struct local_target *target;
};

MUST enum st local_producer_open(void *p, void *b, const char *id, const char *const *topics,
                                 uint32_t topics_n, struct err *e);
void local_producer_close(void *p);
MUST enum st local_producer_begin(void *p, struct err *e);
MUST enum st local_produce(void *p, uint16_t topic, int32_t partition, struct bytes key,
                           struct bytes value, int64_t timestamp_ms, const struct header *h,
                           uint32_t headers, struct err *e);
MUST enum st local_producer_wait(void *p, int timeout_ms, struct err *e);
MUST enum st local_producer_offsets(void *p, void *c, const char *topic,
                                    const struct offset_commit *o, uint32_t n, struct err *e);
MUST enum st local_producer_commit(void *p, struct err *e);
MUST enum st local_producer_abort(void *p, struct err *e);
/* Aborts what has been open longer than transaction.timeout.ms and fences its producer. */
MUST enum st txns_expire(struct local *b, struct err *e);
/* Aborts every span that the store says is open (a writer's start). */
MUST enum st txns_recover(struct local *b, struct err *e);
bool txns_pending(const struct local *b, const char *group, const struct local_topic *t,
                  int32_t partition);
void txns_free(struct local *b);

/* ---- broker_local_group.c ---- */

struct local_member {          /* a consumer's place in a group */
    struct local_group *group; /* NULL: none */
    char instance[NAME_MAX_BYTES + 1];
    uint64_t id;          /* unique; who takes over a static place gets a new one. 0: to be had */
    uint64_t captured_id; /* at the last ASSIGNED; 0: owns nothing */
    uint32_t captured_generation;
    bool fenced, holds;
    const char *const *topics; /* the consumer's, as long as it is open */
    uint32_t topics_n;
    struct start *own; /* as told by the last ASSIGNED */
    uint32_t own_n;
};

/* m: group's name, topics and instance are in conf; its topics stay valid until group_close. */
void group_join(struct local *b, struct local_member *m, const struct consumer_conf *conf);
void group_close(struct local *b, struct local_member *m); /* safe on zeroed memory */
void group_leave(struct local_member *m);                  /* only group_close is left */
/* One step at a poll: what happened; the partitions it is about are m->own. */
enum group_event group_step(struct local *b, struct local_member *m);
void group_released(struct local_member *m);      /* consumer_assign with none */
bool group_current(const struct local_member *m); /* captured metadata would be accepted */
const char *group_name(const struct local_member *m);
MUST enum st local_group_members(void *self, const char *group, uint32_t *n, struct err *e);
void groups_partitions_changed(struct local *b, const char *topic);
void groups_free(struct local *b);

/* ---- broker_local_consumer.c ---- */

struct local_place { /* a partition that is read */
    struct local_part *p;
    int64_t next, eof; /* eof: the end that was told; -1: none */
    uint32_t shape;
    uint16_t topic;
    bool aligned; /* next is where a batch begins or ended, in the log as it was at `shape` */
    bool stopped; /* after REC_RESET or REC_ERROR, or paused */
};

struct local_turn { /* batches of one place, copied and not all handed out */
    bool active;
    uint32_t place, shape;
    size_t batch_at, end, at; /* in the buffer: next batch, end; in the batch: next record */
    struct bytes batch;
    struct log_head head;
    int64_t next; /* where the place is when all is handed out */
};

struct local_consumer {
    struct local *b;
    bool uncommitted;
    char (*name)[NAME_MAX_BYTES + 1]; /* [topics] */
    const char **names;
    uint32_t topics;
    struct local_place *place;
    uint32_t places, places_cap, place_at;
    struct local_turn turn;
    struct log_buffer buffer;
    size_t turn_bytes;
    enum group_event event;
    struct local_member member;
};

size_t local_buffer_bytes(uint64_t queue);
MUST enum st local_consumer_open(void *c, void *b, const struct consumer_conf *conf, struct err *e);
void local_consumer_close(void *c);
MUST enum st local_consumer_poll(void *c, struct record *out, uint32_t max, int timeout_ms,
                                 uint32_t *n, struct err *e);
void local_consumer_release(void *c);
bool local_consumer_header(void *c, const struct record *r, uint32_t i, struct header *out);
enum group_event local_consumer_event(void *c, const struct start **partitions, uint32_t *n);
MUST enum st local_consumer_assign(void *c, const struct start *s, uint32_t n, struct err *e);
MUST enum st local_consumer_seek(void *c, struct start s, struct err *e);
MUST enum st local_consumer_pause(void *c, struct start s, struct err *e);
MUST enum st local_consumer_leave(void *c, int timeout_ms, struct err *e);

#endif
