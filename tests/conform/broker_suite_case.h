/* broker_suite_case.h: what the cases of the broker suite share: one open broker, its topics, and a
 * reader that copies what it was handed. Everything here fails the running case instead of
 * returning an error. */
#ifndef MILLRACE_BROKER_SUITE_CASE_H
#define MILLRACE_BROKER_SUITE_CASE_H

#include "tests/conform/broker_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { GOT_MAX = 256, GOT_PARTITIONS = 64, GOT_TEXT = 40, CASE_MS = 30000 };

struct got_record {
    int32_t partition;
    uint16_t topic;
    int64_t offset, timestamp_ms;
    int key_bytes, value_bytes; /* -1: null */
    char key[GOT_TEXT], value[GOT_TEXT];
};

struct got { /* all that one consumer was handed; zero it and set `c` */
    void *c;
    uint32_t n, eofs, resets, errors;
    struct got_record r[GOT_MAX];       /* the first GOT_MAX data records; n goes on counting */
    int64_t last[GOT_PARTITIONS];       /* offset + 1 of the last data record; 0: none yet */
    int64_t eof[GOT_PARTITIONS];        /* offset of the last end event */
    uint32_t eof_times[GOT_PARTITIONS]; /* how many end events */
    int64_t reset_at;
    bool gone;                   /* a REC_ERROR said that the topic is gone */
    enum group_event event;      /* the last one that was not GROUP_NONE */
    uint32_t event_times, owned; /* partitions in its list */
    struct start own[GOT_PARTITIONS];
    bool any_order; /* do not insist on rising offsets (a case that seeks back) */
};

extern const struct broker_fixture *fixture;
extern const struct broker *t; /* the table of the running case */
extern void *b;                /* its open broker */
extern struct err err;

/* The call must return st; the text of a failure is printed. */
#define EXPECT(st, call) expect_st((call), (st), #call, __FILE__, __LINE__)
#define OK(call) EXPECT(ST_OK, call)
void expect_st(enum st is, enum st want, const char *call, const char *file, int line);

/* A new topic with its own name, valid until the case ends. config as in topic_spec. */
const char *new_topic(uint32_t partitions, const char *const (*config)[2]);
const char *new_name(const char *what); /* a group, an instance, an id: unique in all runs */

void reopen_broker(void); /* closes all that is open, and the broker, and opens it again */

/* Consumers and producers are closed at the end of the case unless close_ was called. */
void *open_consumer(const struct consumer_conf *conf);
void *open_reader(const char *topic, bool uncommitted); /* no group, nothing assigned */
void *open_member(const char *topic, const char *group, const char *instance); /* subscribed */
void *open_producer(const char *id, const char *topic);
void close_consumer(void *c);
void close_producer(void *p);

struct bytes text(const char *s); /* NULL: null */
void put(void *p, int32_t partition, const char *key, const char *value);
/* n records "v0", "v1", ... to one partition, acknowledged, outside any transaction */
void fill(const char *topic, int32_t partition, uint32_t n);

void assign_all(void *c, uint32_t partitions, int64_t offset);
uint32_t poll_once(struct got *g, int timeout_ms); /* number of records of any kind */
void until_records(struct got *g, uint32_t n);
void until_eof(struct got *g,
               uint32_t partitions); /* each of 0 .. partitions-1 tells its end after this call */
void until_eof_at(struct got *g, int32_t partition,
                  int64_t offset); /* its end is told to be at least offset */
void until_high(const char *topic, int32_t partition,
                int64_t high); /* read_committed may read up to it */
void until_event(struct got *g, enum group_event ev);
void quiet(struct got *g, int ms); /* polls for so long */

/* begin, put, wait, offset of partition 0, as far as the last step of a publish; returns
 * producer_offsets' status */
enum st publish_to_offsets(void *p, void *c, const char *topic, int64_t offset, const char *value);

#define BROKER_CASES(X)                                                                            \
    X(topic_is_created_once_with_its_config)                                                       \
    X(absent_topic_is_no_error_to_ask_about)                                                       \
    X(deleted_topic_is_gone)                                                                       \
    X(partitions_are_added)                                                                        \
    X(cluster_has_a_name)                                                                          \
    X(close_is_safe_on_zeroed_memory)                                                              \
    X(records_survive_a_reopened_broker)                                                           \
    X(watermarks_of_an_empty_partition)                                                            \
    X(watermarks_differ_while_a_transaction_is_open)                                               \
    X(order_and_offsets_of_a_partition)                                                            \
    X(null_and_empty_are_different)                                                                \
    X(timestamps_travel)                                                                           \
    X(headers_travel)                                                                              \
    X(key_chooses_one_partition)                                                                   \
    X(end_is_told_and_told_again)                                                                  \
    X(end_of_an_empty_partition_is_told)                                                           \
    X(assign_starts_at_the_offset_given)                                                           \
    X(assign_replaces_what_is_read)                                                                \
    X(assign_at_the_end_reads_what_comes)                                                          \
    X(seek_shows_no_record_of_before)                                                              \
    X(paused_is_silent_until_a_seek)                                                               \
    X(position_behind_the_end_is_reset)                                                            \
    X(position_below_the_low_watermark_is_reset)                                                   \
    X(deleted_topic_is_told_to_its_reader)                                                         \
    X(two_topics_in_one_consumer)                                                                  \
    X(many_partitions_each_in_order)                                                               \
    X(ten_thousand_records_in_batches)                                                             \
    X(offset_of_a_time)                                                                            \
    X(missing_topic_is_a_config_error)                                                             \
    X(too_large_record_is_bad_input)                                                               \
    X(undecided_and_aborted_are_hidden_from_read_committed)                                        \
    X(gaps_after_aborts_are_jumps_of_offset_only)                                                  \
    X(transaction_spans_partitions_and_topics)                                                     \
    X(reopened_id_ends_what_was_open)                                                              \
    X(older_producer_of_an_id_is_fenced)                                                           \
    X(offsets_travel_with_metadata_in_the_transaction)                                             \
    X(aborted_offsets_are_not_committed)                                                           \
    X(offsets_before_delivery_reports_are_refused)                                                 \
    X(offsets_are_set_and_removed)                                                                 \
    X(member_is_assigned_all_partitions)                                                           \
    X(static_member_comes_back)                                                                    \
    X(same_instance_fences_the_older)                                                              \
    X(members_share_and_hand_over)                                                                 \
    X(who_leaves_hands_over_at_once)                                                               \
    X(a_lonely_member_leaves)                                                                      \
    X(outdated_membership_cannot_publish)                                                          \
    X(silent_member_loses_its_partitions)                                                          \
    X(topic_made_anew_between_two_polls)                                                           \
    X(members_are_counted_and_keep_their_offsets)

#define BROKER_CASE_PROTOTYPE(name) void name(void **state);
BROKER_CASES(BROKER_CASE_PROTOTYPE)

#endif
