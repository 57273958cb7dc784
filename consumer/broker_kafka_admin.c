/* Topics, watermarks, groups and their offsets. Every request has a result queue of its own, so
 * that an answer that comes after its time can not be taken for another's. */
#include "consumer/broker_kafka.h"

#include "config/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADDED_MS = 3000 };

struct ask {
    struct kafka *b;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *event;
};

static void ask_begin(struct ask *a, struct kafka *b, rd_kafka_admin_op_t op)
{
    char text[128];

    CHECK(b->admin);
    *a = (struct ask){b, rd_kafka_AdminOptions_new(b->admin, op), rd_kafka_queue_new(b->admin),
                      NULL};
    CHECK(a->options && a->queue);
    CHECK(!rd_kafka_AdminOptions_set_request_timeout(a->options, KAFKA_CALL_MS, text, sizeof text));
}

static void ask_end(struct ask *a)
{
    if (a->event)
        rd_kafka_event_destroy(a->event);
    rd_kafka_queue_destroy(a->queue);
    rd_kafka_AdminOptions_destroy(a->options);
}

/* The answer as a whole; what it says of each topic is in the event. The library waits by the time
 * of day: where that jumps ahead, a wait ends early. */
static enum st ask_wait(struct ask *a, const char *what, const char *name, struct err *e)
{
    int64_t stop = clock_mono_us() + (KAFKA_CALL_MS + 500) * 1000;
    rd_kafka_resp_err_t code;

    while (!(a->event = rd_kafka_queue_poll(a->queue, 100)) && clock_mono_us() < stop)
        ;
    rd_kafka_poll(a->b->admin, 0);
    TRY(kafka_refused(a->b, &a->b->notes, e));
    if (!a->event)
        return kafka_fail(e, a->b, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL, "%s '%s'", what, name);
    code = rd_kafka_event_error(a->event);
    if (code)
        return kafka_fail(e, a->b, code, rd_kafka_event_error_string(a->event), "%s '%s'", what,
                          name);
    return ST_OK;
}

/* Metadata of one topic, which asking does not create. *n 0: there is none. */
static enum st partitions_of(struct kafka *b, const char *name, uint32_t *n, int32_t *replication,
                             struct err *e)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(b->admin, name, NULL);
    const struct rd_kafka_metadata_topic *t;
    rd_kafka_resp_err_t code;

    if (!rkt)
        return kafka_fail(e, b, rd_kafka_last_error(), NULL, "topic '%s'", name);
    code = rd_kafka_metadata(b->admin, 0, rkt, &md, KAFKA_CALL_MS);
    rd_kafka_topic_destroy(rkt);
    rd_kafka_poll(b->admin, 0);
    if (code) {
        TRY(kafka_refused(b, &b->notes, e));
        return kafka_fail(e, b, code, NULL, "asking about topic '%s'", name);
    }
    CHECK(md->topic_cnt == 1);
    t = &md->topics[0];
    code = t->err;
    *n = code ? 0 : (uint32_t)t->partition_cnt;
    *replication = *n ? t->partitions[0].replica_cnt : 0;
    for (uint32_t i = 0; i < *n; i++)
        if (t->partitions[i].leader < 0)
            code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    rd_kafka_metadata_destroy(md);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return ST_OK;
    return code ? kafka_fail(e, b, code, NULL, "topic '%s'", name) : ST_OK;
}

enum st kafka_partitions(struct kafka *b, const char *topic, uint32_t *n, struct err *e)
{
    int32_t replication;

    TRY(partitions_of(b, topic, n, &replication, e));
    if (!*n)
        return fail(e, ST_BAD_CONFIG, "no topic '%s' on broker %s", topic, b->address);
    return ST_OK;
}

/* After a change the controller has decided, but a broker may be asked that has not heard of it.
 * *n: how many there are, also of partitions that have no leader yet (ST_AGAIN). */
static enum st await_partitions(struct kafka *b, const char *name, uint32_t want, int wait_ms,
                                uint32_t *n, struct err *e)
{
    int64_t stop = clock_mono_us() + (int64_t)wait_ms * 1000;
    int32_t replication;
    enum st st;

    do {
        st = partitions_of(b, name, n, &replication, e);
        if (st == ST_OK && (want ? *n >= want : *n == 0))
            return ST_OK;
        rd_kafka_poll(b->admin, 20);
    } while (clock_mono_us() < stop && (st == ST_OK || st == ST_AGAIN));
    if (st == ST_OK)
        st = fail(e, ST_AGAIN, "topic '%s' has %u partitions after %d s, not %u (broker %s)", name,
                  *n, wait_ms / 1000, want, b->address);
    return st;
}

static enum st until_partitions(struct kafka *b, const char *name, uint32_t want, struct err *e)
{
    uint32_t n = 0;

    return await_partitions(b, name, want, KAFKA_CALL_MS, &n, e);
}

static void note_config(struct topic_info *out, const char *name, const char *value)
{
    if (!value)
        return;
    if (!strcmp(name, "cleanup.policy"))
        snprintf(out->cleanup_policy, sizeof out->cleanup_policy, "%s", value);
    else if (!strcmp(name, "max.message.bytes"))
        out->max_message_bytes = strtoll(value, NULL, 10);
    else if (!strcmp(name, "min.insync.replicas"))
        out->min_insync = strtoll(value, NULL, 10);
}

/* No right to read the settings is no error: they stay unknown. */
static enum st read_config(struct kafka *b, const char *name, struct topic_info *out, struct err *e)
{
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    const rd_kafka_ConfigResource_t **got;
    const rd_kafka_ConfigEntry_t **entry;
    size_t got_n = 0, entries = 0;
    rd_kafka_resp_err_t code;
    struct ask a;
    enum st st;

    CHECK(resource);
    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(b->admin, &resource, 1, a.options, a.queue);
    st = ask_wait(&a, "reading the settings of topic", name, e);
    rd_kafka_ConfigResource_destroy(resource);
    if (st == ST_OK) {
        got = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(a.event), &got_n);
        CHECK(got_n == 1);
        code = rd_kafka_ConfigResource_error(got[0]);
        entry = rd_kafka_ConfigResource_configs(got[0], &entries);
        if (code && code != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED &&
            code != RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
            st = kafka_fail(e, b, code, rd_kafka_ConfigResource_error_string(got[0]),
                            "reading the settings of topic '%s'", name);
        for (size_t i = 0; !code && i < entries; i++)
            note_config(out, rd_kafka_ConfigEntry_name(entry[i]),
                        rd_kafka_ConfigEntry_value(entry[i]));
    }
    ask_end(&a);
    return st;
}

enum st kafka_topic(void *self, const char *name, struct topic_info *out, struct err *e)
{
    struct kafka *b = self;

    *out = (struct topic_info){.max_message_bytes = -1, .min_insync = -1};
    TRY(partitions_of(b, name, &out->partitions, &out->replication, e));
    out->exists = out->partitions > 0;
    return out->exists ? read_config(b, name, out, e) : ST_OK;
}

/* The one topic's result of an answer to create, delete or add. */
static enum st topic_result(struct ask *a, const rd_kafka_topic_result_t **t, size_t n,
                            rd_kafka_resp_err_t harmless, const char *what, struct err *e)
{
    rd_kafka_resp_err_t code;

    CHECK(n == 1);
    code = rd_kafka_topic_result_error(t[0]);
    if (!code || code == harmless)
        return ST_OK;
    return kafka_fail(e, a->b, code, rd_kafka_topic_result_error_string(t[0]), "%s '%s'", what,
                      rd_kafka_topic_result_name(t[0]));
}

enum st kafka_topic_create(void *self, const struct topic_spec *spec, struct err *e)
{
    struct kafka *b = self;
    static const char what[] = "creating topic";
    char text[256] = "";
    size_t n = 0;
    struct ask a;
    enum st st;
    rd_kafka_NewTopic_t *t =
        rd_kafka_NewTopic_new(spec->name, (int)spec->partitions, -1, text, sizeof text);

    if (!t)
        return fail(e, ST_BAD_CONFIG, "%s '%s': %s", what, spec->name, text);
    for (uint32_t i = 0; spec->config && spec->config[i][0]; i++)
        CHECK(!rd_kafka_NewTopic_set_config(t, spec->config[i][0], spec->config[i][1]));
    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    CHECK(!rd_kafka_AdminOptions_set_operation_timeout(a.options, KAFKA_CALL_MS / 2, text,
                                                       sizeof text));
    rd_kafka_CreateTopics(b->admin, &t, 1, a.options, a.queue);
    st = ask_wait(&a, what, spec->name, e);
    rd_kafka_NewTopic_destroy(t);
    if (st == ST_OK) {
        const rd_kafka_topic_result_t **r =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(a.event), &n);

        st = topic_result(&a, r, n, RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, what, e);
    }
    ask_end(&a);
    return st == ST_OK ? until_partitions(b, spec->name, 1, e) : st;
}

enum st kafka_topic_delete(void *self, const char *name, struct err *e)
{
    struct kafka *b = self;
    rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(name);
    size_t n = 0;
    struct ask a;
    enum st st;

    CHECK(t);
    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_DeleteTopics(b->admin, &t, 1, a.options, a.queue);
    st = ask_wait(&a, "deleting topic", name, e);
    rd_kafka_DeleteTopic_destroy(t);
    if (st == ST_OK) {
        const rd_kafka_topic_result_t **r =
            rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(a.event), &n);

        st = topic_result(&a, r, n, RD_KAFKA_RESP_ERR_NO_ERROR, "deleting topic", e);
    }
    ask_end(&a);
    return st == ST_OK ? until_partitions(b, name, 0, e) : st;
}

/* Somebody else was first; what was said of it may take a moment to be known everywhere. */
static bool has_partitions(struct kafka *b, const char *name, uint32_t total)
{
    struct err e;
    uint32_t n = 0;
    enum st st = await_partitions(b, name, total, ADDED_MS, &n, &e);

    return (st == ST_OK || st == ST_AGAIN) && n == total;
}

enum st kafka_partitions_add(void *self, const char *name, uint32_t total, struct err *e)
{
    struct kafka *b = self;
    static const char what[] = "adding partitions to topic";
    char text[256] = "";
    size_t n = 0;
    struct ask a;
    enum st st;
    rd_kafka_NewPartitions_t *t = rd_kafka_NewPartitions_new(name, total, text, sizeof text);

    if (!t)
        return fail(e, ST_BAD_CONFIG, "%s '%s': %s", what, name, text);
    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
    rd_kafka_CreatePartitions(b->admin, &t, 1, a.options, a.queue);
    st = ask_wait(&a, what, name, e);
    rd_kafka_NewPartitions_destroy(t);
    if (st == ST_OK) {
        const rd_kafka_topic_result_t **r = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(a.event), &n);

        st = topic_result(&a, r, n, RD_KAFKA_RESP_ERR_NO_ERROR, what, e);
    }
    ask_end(&a);
    if (st == ST_BAD_CONFIG && has_partitions(b, name, total))
        return ST_OK;
    return st == ST_OK ? until_partitions(b, name, total, e) : st;
}

enum st kafka_watermarks(void *self, const char *topic, int32_t partition, bool uncommitted,
                         int64_t *low, int64_t *high, struct err *e)
{
    static const struct kafka_setting see_all[] = {{"isolation.level", "read_uncommitted"},
                                                   {NULL, NULL}};
    struct kafka *b = self;
    rd_kafka_t *rk = b->admin; /* read_committed: its high is the last stable offset */
    int64_t stop = clock_mono_us() + (int64_t)KAFKA_CALL_MS / 2 * 1000;
    rd_kafka_resp_err_t code;
    uint32_t partitions;

    if (uncommitted && !b->uncommitted)
        TRY(kafka_new(b, KAFKA_ADMIN, see_all, &b->notes, &b->uncommitted, e));
    if (uncommitted)
        rk = b->uncommitted;
    do { /* a leader moves, or has just been made */
        code = rd_kafka_query_watermark_offsets(rk, topic, partition, low, high, KAFKA_CALL_MS / 2);
        rd_kafka_poll(rk, code ? 20 : 0);
    } while (clock_mono_us() < stop && (code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
                                        code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
                                        code == RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE));
    if (!code)
        return ST_OK;
    TRY(kafka_refused(b, &b->notes, e));
    TRY(kafka_partitions(b, topic, &partitions, e)); /* an unknown topic shows as a timeout only */
    if (partition < 0 || (uint32_t)partition >= partitions)
        return fail(e, ST_BAD_CONFIG, "topic '%s' has %u partitions, no partition %d (broker %s)",
                    topic, partitions, partition, b->address);
    return fail(e, ST_AGAIN, "watermarks of topic '%s' [%d]: %s (broker %s)", topic, partition,
                rd_kafka_err2str(code), b->address);
}

/* Offsets in a transaction that is undecided are not told (KIP-447): the call says so, and is made
 * again. */
static enum st read_committed_offsets(const struct kafka *b,
                                      const rd_kafka_topic_partition_list_t *list,
                                      const char *group, struct offset_commit *out, uint32_t n,
                                      struct err *e)
{
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &list->elems[i];
        struct offset_commit *o = &out[p->partition];

        CHECK(p->partition >= 0 && (uint32_t)p->partition < n);
        if (p->err == RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT)
            return fail(e, ST_AGAIN, "offsets of group '%s' are in an open transaction", group);
        if (p->err)
            return kafka_fail(e, b, p->err, NULL, "committed offset of group '%s', partition %d",
                              group, p->partition);
        o->offset = p->offset >= 0 ? p->offset : RD_KAFKA_OFFSET_INVALID;
        if (p->metadata)
            snprintf(o->metadata, sizeof o->metadata, "%.*s", (int)p->metadata_size,
                     (const char *)p->metadata);
    }
    return ST_OK;
}

enum st kafka_committed(void *self, const char *group, const char *topic, struct offset_commit *out,
                        uint32_t n, struct err *e)
{
    struct kafka *b = self;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    rd_kafka_ListConsumerGroupOffsets_t *what;
    const rd_kafka_group_result_t **groups;
    rd_kafka_error_t *error;
    size_t groups_n = 0;
    struct ask a;
    enum st st;

    CHECK(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        rd_kafka_topic_partition_list_add(list, topic, (int32_t)i);
        out[i] = (struct offset_commit){(int32_t)i, RD_KAFKA_OFFSET_INVALID, ""};
    }
    what = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_topic_partition_list_destroy(list);
    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    CHECK(!rd_kafka_AdminOptions_set_require_stable_offsets(a.options, 1));
    rd_kafka_ListConsumerGroupOffsets(b->admin, &what, 1, a.options, a.queue);
    st = ask_wait(&a, "committed offsets of group", group, e);
    rd_kafka_ListConsumerGroupOffsets_destroy(what);
    if (st == ST_OK) {
        groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(a.event), &groups_n);
        CHECK(groups_n == 1);
        error = (rd_kafka_error_t *)rd_kafka_group_result_error(groups[0]);
        if (error)
            st = kafka_fail(e, b, rd_kafka_error_code(error), rd_kafka_error_string(error),
                            "committed offsets of group '%s'", group);
        else
            st = read_committed_offsets(b, rd_kafka_group_result_partitions(groups[0]), group, out,
                                        n, e);
    }
    ask_end(&a);
    return st;
}

enum st kafka_offset_at(void *self, const char *topic, int32_t partition, int64_t timestamp_ms,
                        int64_t *offset, struct err *e)
{
    struct kafka *b = self;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t code;
    int64_t low;

    p->offset = timestamp_ms;
    code = rd_kafka_offsets_for_times(b->admin, list, KAFKA_CALL_MS);
    rd_kafka_poll(b->admin, 0);
    if (!code)
        code = p->err;
    *offset = p->offset;
    rd_kafka_topic_partition_list_destroy(list);
    if (!code && *offset >= 0)
        return ST_OK;
    /* Nothing so new, or what watermarks explain better: an unknown topic, a leader that moves. */
    TRY(kafka_watermarks(self, topic, partition, false, &low, offset, e));
    if (!code)
        return ST_OK;
    return fail(e, ST_AGAIN, "offset of a time in topic '%s' [%d]: %s (broker %s)", topic,
                partition, rd_kafka_err2str(code), b->address);
}

/* ---- groups ---- */

enum st kafka_group_members(void *self, const char *group, uint32_t *n, struct err *e)
{
    struct kafka *b = self;
    const rd_kafka_ConsumerGroupDescription_t **d;
    const rd_kafka_error_t *error;
    size_t got = 0;
    struct ask a;
    enum st st;

    *n = 0;
    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_DescribeConsumerGroups(b->admin, &group, 1, a.options, a.queue);
    st = ask_wait(&a, "members of group", group, e);
    if (st == ST_OK) {
        d = rd_kafka_DescribeConsumerGroups_result_groups(
            rd_kafka_event_DescribeConsumerGroups_result(a.event), &got);
        CHECK(got == 1);
        error = rd_kafka_ConsumerGroupDescription_error(d[0]);
        *n = (uint32_t)rd_kafka_ConsumerGroupDescription_member_count(d[0]);
        if (error && rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND)
            st = kafka_fail(e, b, rd_kafka_error_code(error), rd_kafka_error_string(error),
                            "members of group '%s'", group);
    }
    ask_end(&a);
    return st;
}

static enum st member_refused(struct err *e, const struct kafka *b, rd_kafka_resp_err_t code,
                              const char *text, const char *group)
{
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || code == RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP ||
        code == RD_KAFKA_RESP_ERR_GROUP_SUBSCRIBED_TO_TOPIC)
        return fail(e, ST_BAD_CONFIG, "group '%s' has members: its offsets are theirs (broker %s)",
                    group, b->address);
    return kafka_fail(e, b, code, text, "setting offsets of group '%s'", group);
}

/* The group's answer as a whole, then of each partition. */
static enum st group_result(struct ask *a, const rd_kafka_group_result_t **g, size_t n,
                            const char *group, struct err *e)
{
    const rd_kafka_topic_partition_list_t *list;
    const rd_kafka_error_t *error;

    CHECK(n == 1);
    error = rd_kafka_group_result_error(g[0]);
    if (error)
        return member_refused(e, a->b, rd_kafka_error_code(error), rd_kafka_error_string(error),
                              group);
    list = rd_kafka_group_result_partitions(g[0]);
    for (int i = 0; list && i < list->cnt; i++)
        if (list->elems[i].err)
            return member_refused(e, a->b, list->elems[i].err, NULL, group);
    return ST_OK;
}

static enum st alter_offsets(struct kafka *b, const char *group,
                             const rd_kafka_topic_partition_list_t *list, struct err *e)
{
    rd_kafka_AlterConsumerGroupOffsets_t *what =
        rd_kafka_AlterConsumerGroupOffsets_new(group, list);
    const rd_kafka_group_result_t **g;
    size_t n = 0;
    struct ask a;
    enum st st;

    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
    rd_kafka_AlterConsumerGroupOffsets(b->admin, &what, 1, a.options, a.queue);
    st = ask_wait(&a, "setting offsets of group", group, e);
    if (st == ST_OK) {
        g = rd_kafka_AlterConsumerGroupOffsets_result_groups(
            rd_kafka_event_AlterConsumerGroupOffsets_result(a.event), &n);
        st = group_result(&a, g, n, group, e);
    }
    rd_kafka_AlterConsumerGroupOffsets_destroy(what);
    ask_end(&a);
    return st;
}

static enum st delete_offsets(struct kafka *b, const char *group,
                              const rd_kafka_topic_partition_list_t *list, struct err *e)
{
    rd_kafka_DeleteConsumerGroupOffsets_t *what =
        rd_kafka_DeleteConsumerGroupOffsets_new(group, list);
    const rd_kafka_group_result_t **g;
    size_t n = 0;
    struct ask a;
    enum st st;

    ask_begin(&a, b, RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS);
    rd_kafka_DeleteConsumerGroupOffsets(b->admin, &what, 1, a.options, a.queue);
    st = ask_wait(&a, "deleting offsets of group", group, e);
    if (a.event && rd_kafka_event_error(a.event) == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND) {
        st = ST_OK; /* there was nothing */
    } else if (st == ST_OK) {
        g = rd_kafka_DeleteConsumerGroupOffsets_result_groups(
            rd_kafka_event_DeleteConsumerGroupOffsets_result(a.event), &n);
        st = group_result(&a, g, n, group, e);
    }
    rd_kafka_DeleteConsumerGroupOffsets_destroy(what);
    ask_end(&a);
    return st;
}

enum st kafka_offsets_set(void *self, const char *group, const char *topic,
                          const struct offset_commit *o, uint32_t n, struct err *e)
{
    rd_kafka_topic_partition_list_t *set = rd_kafka_topic_partition_list_new((int)n),
                                    *gone = rd_kafka_topic_partition_list_new((int)n);
    enum st st = ST_OK;

    for (uint32_t i = 0; i < n; i++) {
        bool keep = o[i].offset >= 0;
        rd_kafka_topic_partition_t *p =
            rd_kafka_topic_partition_list_add(keep ? set : gone, topic, o[i].partition);

        p->offset = keep ? o[i].offset : RD_KAFKA_OFFSET_INVALID;
    }
    if (set->cnt)
        st = alter_offsets(self, group, set, e);
    if (st == ST_OK && gone->cnt)
        st = delete_offsets(self, group, gone, e);
    rd_kafka_topic_partition_list_destroy(set);
    rd_kafka_topic_partition_list_destroy(gone);
    return st;
}
