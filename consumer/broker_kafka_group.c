/* Membership of a group. The rebalance callback does three things (R1): it captures the group
 * metadata, notes the list, and answers an assignment with an empty one, so that nothing is read
 * before the caller has restored it. */
#include "consumer/broker_kafka.h"

#include "config/base/clock.h"
#include "config/base/limits.h"
#include "config/base/log.h"

#include <stdlib.h>
#include <string.h>

enum { LEAVE_POLL_MS = 20 };

enum st kafka_subscribe(struct kafka_consumer *c, struct err *e)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)c->topics_n);
    rd_kafka_resp_err_t code;

    for (uint32_t i = 0; i < c->topics_n; i++)
        rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(c->topic[i]),
                                          RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code)
        return kafka_fail(e, c->b, code, NULL, "joining the group as '%s'", c->instance);
    return ST_OK;
}

int kafka_topic_index(const struct kafka_consumer *c, const char *name)
{
    for (uint32_t i = 0; i < c->topics_n; i++)
        if (!strcmp(rd_kafka_topic_name(c->topic[i]), name))
            return (int)i;
    return -1;
}

/* "CGMDv2:", int32 generation in the machine's order, group NUL, member NUL, ... */
bool kafka_membership(const rd_kafka_consumer_group_metadata_t *m)
{
    static const char magic[] = {'C', 'G', 'M', 'D', 'v', '2', ':'};
    void *bytes = NULL;
    size_t n = 0, group;
    int32_t generation = -1;
    bool good = false;
    const char *p;

    if (!m || rd_kafka_consumer_group_metadata_write(m, &bytes, &n))
        return false;
    p = bytes;
    if (n > sizeof magic + sizeof generation && !memcmp(p, magic, sizeof magic)) {
        p += sizeof magic;
        memcpy(&generation, p, sizeof generation);
        p += sizeof generation;
        n -= sizeof magic + sizeof generation;
        group = strnlen(p, n);
        good = generation >= 0 && group + 1 < n && p[group + 1];
    }
    rd_kafka_mem_free(NULL, bytes);
    return good;
}

static int by_topic_and_partition(const void *a, const void *b)
{
    const struct start *x = a, *y = b;

    if (x->topic != y->topic)
        return x->topic < y->topic ? -1 : 1;
    return x->partition < y->partition ? -1 : x->partition > y->partition;
}

static void note_list(struct kafka_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    c->list_n = 0;
    for (int i = 0; list && i < list->cnt; i++) {
        int topic = kafka_topic_index(c, list->elems[i].topic);

        if (topic < 0)
            continue;
        CHECK(c->list_n < c->topics_n * PARTITIONS_MAX);
        c->list[c->list_n++] =
            (struct start){list->elems[i].partition, (uint16_t)topic, RD_KAFKA_OFFSET_INVALID};
    }
    if (c->list_n)
        qsort(c->list, c->list_n, sizeof *c->list, by_topic_and_partition);
}

void kafka_forget_membership(struct kafka_consumer *c)
{
    if (c->captured)
        rd_kafka_consumer_group_metadata_destroy(c->captured);
    c->captured = NULL;
}

static bool fenced(rd_kafka_t *rk)
{
    return rd_kafka_fatal_error(rk, NULL, 0) == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
}

void kafka_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                     rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka_consumer *c = ((struct kafka_notes *)opaque)->owner;
    rd_kafka_topic_partition_list_t *none;

    CHECK(c && c->rk == rk);
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        kafka_forget_membership(c);
        c->revoking = false; /* where the topic changes twice between two polls, librdkafka does not
                              * wait for the answer, and serves both in one */
        c->captured = rd_kafka_consumer_group_metadata(rk);
        if (kafka_membership(c->captured)) {
            note_list(c, list);
            c->event = GROUP_ASSIGNED;
        } else {
            kafka_forget_membership(c); /* own nothing until the next one */
        }
        none = rd_kafka_topic_partition_list_new(1);
        if (rd_kafka_assign(rk, none))
            kafka_forget_membership(c);
        rd_kafka_topic_partition_list_destroy(none);
    } else {
        bool lost = rd_kafka_assignment_lost(rk) || code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS;

        note_list(c, list);
        c->event = fenced(rk) ? GROUP_FENCED : lost ? GROUP_LOST : GROUP_REVOKED;
        c->revoking = true; /* answered by consumer_assign with none */
        if (c->event != GROUP_REVOKED)
            kafka_forget_membership(c);
    }
    c->refused_us = 0;
    rd_kafka_queue_yield(c->queue);
}

void kafka_refuse_member(struct kafka_consumer *c)
{
    kafka_forget_membership(c);
    c->refused_us = clock_mono_us();
}

/* The broker has refused this member, but the client has not found it out in two session timeouts
 * (a static member that hangs, librdkafka 3437): join anew. */
enum st kafka_rejoin(struct kafka_consumer *c, struct err *e)
{
    const char *session = kafka_property(c->b, KAFKA_CONSUMER, "session.timeout.ms");
    int64_t wait_us = 2000 * (session ? strtoll(session, NULL, 10) : KAFKA_SESSION_MS);

    if (!c->refused_us || clock_mono_us() - c->refused_us < wait_us)
        return ST_OK;
    c->refused_us = 0;
    log_line(LOG_WARN, "no new assignment since the broker refused this worker: joining anew",
             "member=%s", c->instance);
    rd_kafka_unsubscribe(c->rk);
    return kafka_subscribe(c, e);
}

/* Leaving. As a static member the library tells the broker only when it unsubscribes, not when it
 * closes; and only a close that comes later waits for the answer. That the member has no name any
 * more is the sign that the request is on its way. */

static bool is_member(const struct kafka_consumer *c)
{
    char *id = rd_kafka_memberid(c->rk);
    bool named = id && *id;

    if (id)
        rd_kafka_mem_free(c->rk, id);
    return named;
}

/* False: not by then. */
static bool close_until(struct kafka_consumer *c, int64_t stop)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(c->rk, queue);
    bool closed = false;

    while (!error && !(closed = rd_kafka_consumer_closed(c->rk)) && clock_mono_us() < stop) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, LEAVE_POLL_MS);

        if (ev)
            rd_kafka_event_destroy(ev);
    }
    if (error)
        rd_kafka_error_destroy(error);
    rd_kafka_queue_destroy(queue);
    return closed;
}

enum st kafka_consumer_leave(void *self, int timeout_ms, struct err *e)
{
    struct kafka_consumer *c = self;
    int64_t stop = clock_mono_us() + (int64_t)timeout_ms * 1000;
    bool left;

    CHECK(c->rk && c->grouped);
    TRY(kafka_consumer_assign(c, NULL, 0, e)); /* what was fetched stands in no one's way */
    rd_kafka_unsubscribe(c->rk);
    while ((left = !is_member(c)) == false && clock_mono_us() < stop) {
        ssize_t n;

        kafka_consumer_release(c);
        n = rd_kafka_consume_batch_queue(c->queue, LEAVE_POLL_MS, c->held, POLL_RECORDS_MAX);
        c->held_n = n > 0 ? (uint32_t)n : 0;
        if (c->revoking)
            TRY(kafka_consumer_assign(c, NULL, 0, e));
    }
    kafka_consumer_release(c);
    if (left && close_until(c, stop))
        return ST_OK;
    return fail(e, ST_AGAIN,
                "the broker did not confirm in %d ms that '%s' has left: its partitions move when "
                "its session ends",
                timeout_ms, c->instance);
}
