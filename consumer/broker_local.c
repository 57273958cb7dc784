#include "consumer/broker_local.h"

#include "config/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t real_wall_ms(void *arg)
{
    (void)arg;
    return clock_wall_ms();
}

static int64_t real_mono_ms(void *arg)
{
    (void)arg;
    return clock_mono_us() / 1000;
}

static void real_sleep_ms(void *arg, int ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    (void)arg;
    nanosleep(&t, NULL); /* a signal ends it, as it should */
}

void *local_grow(void *p, uint32_t *cap, uint32_t n, size_t size)
{
    if (n <= *cap)
        return p;
    *cap = n > 2 * *cap ? (n > 8 ? n : 8) : 2 * *cap;
    CHECK(*cap >= n && size <= SIZE_MAX / *cap);
    p = realloc(p, *cap * size);
    CHECK(p);
    return p;
}

/* ---- topics ---- */

struct local_topic *local_topic(struct local *b, const char *name)
{
    for (uint32_t i = 0; i < b->topics; i++) {
        if (!b->topic[i]->gone && !strcmp(b->topic[i]->name, name))
            return b->topic[i];
    }
    return NULL;
}

enum st local_topic_find(struct local *b, const char *name, struct local_topic **t, struct err *e)
{
    if ((*t = local_topic(b, name)))
        return ST_OK;
    return fail(e, ST_BAD_CONFIG,
                "local broker %s has no topic '%s'; load it, or name one that is there", b->dir,
                name);
}

enum st local_partition(const struct local_topic *t, int32_t partition, struct local_part **p,
                        struct err *e)
{
    if (partition < 0 || (uint32_t)partition >= t->parts)
        return fail(e, ST_BAD_CONFIG, "topic '%s' has partitions 0 to %u, not %d", t->name,
                    t->parts - 1, partition);
    *p = t->part[partition];
    return ST_OK;
}

enum st local_writable(const struct local *b, const char *what, struct err *e)
{
    if (!b->read_only)
        return ST_OK;
    return fail(e, ST_BAD_CONFIG,
                "local broker %s was opened to be read beside its writer: %s is not possible",
                b->dir, what);
}

void topic_parts(struct local_topic *t, uint32_t parts)
{
    CHECK(parts >= t->parts && parts <= PARTITIONS_MAX);
    t->part = realloc(t->part, parts * sizeof *t->part);
    CHECK(t->part);
    for (uint32_t i = t->parts; i < parts; i++) {
        t->part[i] = calloc(1, sizeof **t->part);
        CHECK(t->part[i]);
        t->part[i]->of = t;
        t->part[i]->index = i;
    }
    t->parts = parts;
}

static void topic_free(struct local_topic *t)
{
    for (uint32_t i = 0; i < t->parts; i++) {
        free(t->part[i]->open.s);
        free(t->part[i]->aborted.s);
        free(t->part[i]);
    }
    free(t->part);
    free(t);
}

enum st local_topic_info(void *self, const char *name, struct topic_info *out, struct err *e)
{
    const struct local_topic *t = local_topic(self, name);

    (void)e;
    memset(out, 0, sizeof *out);
    if (!t)
        return ST_OK;
    out->exists = true;
    out->partitions = t->parts;
    out->replication = 1;
    snprintf(out->cleanup_policy, sizeof out->cleanup_policy, "%s%s%s", t->compact ? "compact" : "",
             t->compact && t->expire ? "," : "", t->expire ? "delete" : "");
    out->max_message_bytes = t->max_message_bytes;
    out->min_insync = 1;
    return ST_OK;
}

static enum st check_name(const char *name, struct err *e)
{
    size_t n = strlen(name);

    if (!n || n > NAME_MAX_BYTES || !strcmp(name, ".") || !strcmp(name, ".."))
        return fail(e, ST_BAD_CONFIG,
                    "topic name '%.32s' has %zu characters; 1 to %d are possible, not '.' or '..'",
                    name, n, NAME_MAX_BYTES);
    for (const char *c = name; *c; c++) {
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') &&
            !strchr("._-", *c))
            return fail(e, ST_BAD_CONFIG,
                        "topic name '%s': only letters, digits, '.', '_' and '-' are possible",
                        name);
    }
    return ST_OK;
}

static enum st number(const char *name, const char *text, int64_t least, int64_t *out,
                      struct err *e)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < least)
        return fail(e, ST_BAD_CONFIG, "'%s: %s' is not a number from %lld on", name, text,
                    (long long)least);
    *out = v;
    return ST_OK;
}

static enum st cleanup_policy(struct local_topic *t, const char *text, struct err *e)
{
    t->compact = strstr(text, "compact") != NULL;
    t->expire = strstr(text, "delete") != NULL;
    if (!strcmp(text, "compact") || !strcmp(text, "delete") || !strcmp(text, "compact,delete") ||
        !strcmp(text, "delete,compact"))
        return ST_OK;
    return fail(e, ST_BAD_CONFIG, "'cleanup.policy: %s' is not delete, compact or compact,delete",
                text);
}

/* Kafka's settings. Those about segments, replicas and the cleaner's pace have nothing to act on
 * here. */
static enum st topic_config(struct local_topic *t, const char *name, const char *text,
                            struct err *e)
{
    static const char *const ignored[] = {"compression.type",
                                          "flush.messages",
                                          "flush.ms",
                                          "index.interval.bytes",
                                          "file.delete.delay.ms",
                                          "max.compaction.lag.ms",
                                          "message.timestamp.type",
                                          "min.cleanable.dirty.ratio",
                                          "min.compaction.lag.ms",
                                          "min.insync.replicas",
                                          "preallocate",
                                          "segment.bytes",
                                          "segment.index.bytes",
                                          "segment.jitter.ms",
                                          "segment.ms",
                                          "unclean.leader.election.enable"};

    if (!strcmp(name, "cleanup.policy"))
        return cleanup_policy(t, text, e);
    if (!strcmp(name, "retention.ms"))
        return number(name, text, -1, &t->retention_ms, e);
    if (!strcmp(name, "delete.retention.ms"))
        return number(name, text, 0, &t->delete_retention_ms, e);
    if (!strcmp(name, "max.message.bytes")) {
        TRY(number(name, text, 0, &t->max_message_bytes, e));
        if (t->max_message_bytes > RECORD_BYTES_MAX)
            return fail(e, ST_BAD_CONFIG, "'max.message.bytes: %s' is more than %d", text,
                        RECORD_BYTES_MAX);
        return ST_OK;
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        if (!strcmp(name, ignored[i]))
            return ST_OK;
    }
    return fail(e, ST_BAD_CONFIG, "local broker: a topic has no setting '%s'", name);
}

static enum st make_topic(struct local_topic *t, const struct topic_spec *spec, struct err *e)
{
    t->expire = true;
    t->retention_ms = -1; /* a folder of one's own is kept until somebody says otherwise */
    t->delete_retention_ms = 86400000;
    t->max_message_bytes = MESSAGE_BYTES_DEFAULT;
    TRY(check_name(spec->name, e));
    memcpy(t->name, spec->name, strlen(spec->name));
    for (uint32_t i = 0; spec->config && spec->config[i][0]; i++) {
        enum st st = topic_config(t, spec->config[i][0], spec->config[i][1], e);

        if (st != ST_OK) {
            err_prefix(e, "topic '%s'", spec->name);
            return st;
        }
    }
    if (spec->partitions - 1u >= PARTITIONS_MAX)
        return fail(e, ST_BAD_CONFIG, "topic '%s': %u partitions; 1 to %d are possible", spec->name,
                    spec->partitions, PARTITIONS_MAX);
    topic_parts(t, spec->partitions);
    return ST_OK;
}

enum st local_topic_create(void *self, const struct topic_spec *spec, struct err *e)
{
    struct local *b = self;
    struct local_topic *t;
    enum st st;

    if (local_topic(b, spec->name))
        return ST_OK;
    TRY(local_writable(b, "a new topic", e));
    t = calloc(1, sizeof *t);
    CHECK(t);
    if ((st = make_topic(t, spec, e)) == ST_OK) {
        edit_begin(b);
        t->id = b->next_topic++;
        CHECK(t->id && t->parts == spec->partitions);
        edit_topic(b, t);
        for (uint32_t i = 0; i < t->parts; i++)
            edit_part(b, t->part[i]);
        st = edit_write(b, false, e); /* lasts from the first synced write on; one log, in order */
    }
    if (st != ST_OK) {
        topic_free(t);
        return st;
    }
    b->topic = local_grow(b->topic, &b->topics_cap, b->topics + 1, sizeof *b->topic);
    b->topic[b->topics++] = t;
    return ST_OK;
}

enum st local_topic_delete(void *self, const char *name, struct err *e)
{
    struct local *b = self;
    struct local_topic *t;

    TRY(local_writable(b, "deleting a topic", e));
    TRY(local_topic_find(b, name, &t, e));
    edit_begin(b);
    edit_topic_gone(b, t);
    TRY(edit_write(b, true, e));
    t->gone = true;
    return ST_OK;
}

enum st local_partitions_add(void *self, const char *name, uint32_t total, struct err *e)
{
    struct local *b = self;
    struct local_topic *t;
    uint32_t before;

    TRY(local_writable(b, "adding partitions", e));
    TRY(local_topic_find(b, name, &t, e));
    if (total < t->parts || total > PARTITIONS_MAX)
        return fail(e, ST_BAD_CONFIG, "topic '%s' has %u partitions: it can grow to %d, not to %u",
                    name, t->parts, PARTITIONS_MAX, total);
    if (total == t->parts)
        return ST_OK;
    before = t->parts;
    topic_parts(t, total);
    edit_begin(b);
    edit_topic(b, t);
    for (uint32_t i = before; i < total; i++)
        edit_part(b, t->part[i]);
    TRY(edit_write(b, true, e));
    groups_partitions_changed(b, name);
    return ST_OK;
}

enum st local_watermarks(void *self, const char *topic, int32_t partition, bool uncommitted,
                         int64_t *low, int64_t *high, struct err *e)
{
    struct local_topic *t;
    struct local_part *p;

    TRY(txns_expire(self, e));
    TRY(local_topic_find(self, topic, &t, e));
    TRY(local_partition(t, partition, &p, e));
    *low = p->low;
    *high = uncommitted ? p->high : part_stable(p);
    CHECK(*low <= p->high && *high <= p->high);
    return ST_OK;
}

enum st local_committed(void *self, const char *group, const char *topic, struct offset_commit *out,
                        uint32_t n, struct err *e)
{
    struct local *b = self;
    const struct local_topic *t = local_topic(b, topic);

    CHECK(group && *group && strlen(group) <= NAME_MAX_BYTES);
    TRY(txns_expire(b, e));
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (struct offset_commit){.partition = (int32_t)i, .offset = -1001};
        if (!t || i >= t->parts)
            continue;
        if (txns_pending(b, group, t, (int32_t)i))
            return fail(e, ST_AGAIN, "offset of group %s, %s-%u, is in an undecided transaction",
                        group, topic, i);
        TRY(log_offset(b, group, t, i, &out[i], e));
    }
    return ST_OK;
}

enum st local_offsets_set(void *self, const char *group, const char *topic,
                          const struct offset_commit *o, uint32_t n, struct err *e)
{
    struct local *b = self;
    struct local_offset one = {.group = ""};
    uint32_t members;

    CHECK(group && *group && strlen(group) <= NAME_MAX_BYTES);
    TRY(local_writable(b, "setting offsets", e));
    TRY(local_topic_find(b, topic, &one.topic, e));
    TRY(local_group_members(b, group, &members, e));
    if (members)
        return fail(e, ST_BAD_CONFIG, "group '%s' has members: its offsets are theirs", group);
    memcpy(one.group, group, strlen(group));
    edit_begin(b);
    for (uint32_t i = 0; i < n; i++) {
        struct local_part *p;

        TRY(local_partition(one.topic, o[i].partition, &p, e));
        one.o = o[i];
        edit_offset(b, &one);
    }
    return edit_write(b, true, e);
}

/* ---- life ---- */

static enum st timeouts(struct local *b, const struct props *props, struct err *e)
{
    struct {
        const char *name;
        int64_t *ms;
    } all[] = {{"session.timeout.ms", &b->session_ms},
               {"max.poll.interval.ms", &b->max_poll_ms},
               {"transaction.timeout.ms", &b->transaction_ms}};

    b->session_ms = 20000;
    b->max_poll_ms = 120000;
    b->transaction_ms = 60000;
    for (uint32_t i = 0; props && i < props->n; i++) {
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            if (!strcmp(props->p[i].name, all[k].name))
                TRY(number(all[k].name, props->p[i].value, 1, all[k].ms, e));
        }
    }
    return ST_OK;
}

static enum st start(struct local *b, struct err *e)
{
    TRY(log_load(b, e));
    if (b->read_only)
        return ST_OK;
    TRY(txns_recover(b, e));
    for (uint32_t i = 0; i < b->topics; i++) {
        for (uint32_t k = 0; k < b->topic[i]->parts; k++) {
            TRY(clean_expired(b, b->topic[i]->part[k], e));
            TRY(clean_maybe(b, b->topic[i]->part[k], e));
        }
    }
    return ST_OK;
}

void local_close(void *self)
{
    struct local *b = self;

    CHECK(!b->users); /* consumers and producers are closed before their broker */
    groups_free(b);
    txns_free(b);
    for (uint32_t i = 0; i < b->topics; i++)
        topic_free(b->topic[i]);
    free(b->topic);
    free(b->edit.item);
    free(b->edit.change);
    if (b->store) {
        b->env.store->close(b->store);
        free(b->store);
    }
    memset(b, 0, sizeof *b);
}

enum st local_open(void *self, const struct broker_conf *c, const struct local_env *env,
                   struct err *e)
{
    struct local *b = self;
    enum st st;

    CHECK(!b->store && env->store && env->wall_ms && env->mono_ms && env->sleep_ms);
    b->env = *env;
    b->read_only = c->read_only;
    b->queue_bytes = c->queue_bytes;
    b->next_pid = b->next_member = 1;
    if (!c->address || !*c->address || strlen(c->address) >= sizeof b->dir)
        return fail(e, ST_BAD_CONFIG, "local broker: no folder is named; write 'local:DIR'");
    snprintf(b->dir, sizeof b->dir, "%s", c->address);
    TRY(timeouts(b, c->props, e));
    b->store = calloc(1, env->store->self_bytes);
    CHECK(b->store);
    b->store_flags = c->small ? 0 : STORE_BULK;
    st = env->store->open(b->store, b->dir, b->read_only ? STORE_READ_ONLY : b->store_flags, e);
    if (st != ST_OK)
        err_prefix(e, "local broker");
    else
        st = start(b, e);
    if (st != ST_OK)
        local_close(b);
    return st;
}

enum st local_open_here(void *self, const struct broker_conf *c, struct err *e)
{
    bool memory = c->address && !strcmp(c->address, ":memory:");
    struct local_env env = {memory ? &store_memory : &store_rocksdb, real_wall_ms, real_mono_ms,
                            real_sleep_ms, NULL};

    return local_open(self, c, &env, e);
}

const char *local_cluster(void *self)
{
    const struct local *b = self;

    return b->cluster;
}

uint64_t local_memory_bytes(const void *self, uint64_t queue)
{
    const struct local *b = self;

    return local_buffer_bytes(queue) + b->env.store->memory_bytes(b->store_flags, 0);
}

const struct broker broker_local = {
    .name = "local",
    .summary =
        "topics in a folder (local:DIR): one process, no server; local::memory: keeps nothing",
    .broker_bytes = sizeof(struct local),
    .consumer_bytes = sizeof(struct local_consumer),
    .producer_bytes = sizeof(struct local_producer),
    .open = local_open_here,
    .close = local_close,
    .memory_bytes = local_memory_bytes,
    .cluster = local_cluster,
    .topic = local_topic_info,
    .topic_create = local_topic_create,
    .topic_delete = local_topic_delete,
    .partitions_add = local_partitions_add,
    .watermarks = local_watermarks,
    .committed = local_committed,
    .offset_at = local_offset_at,
    .group_members = local_group_members,
    .offsets_set = local_offsets_set,
    .consumer_open = local_consumer_open,
    .consumer_close = local_consumer_close,
    .consumer_poll = local_consumer_poll,
    .consumer_release = local_consumer_release,
    .consumer_header = local_consumer_header,
    .consumer_event = local_consumer_event,
    .consumer_assign = local_consumer_assign,
    .consumer_seek = local_consumer_seek,
    .consumer_pause = local_consumer_pause,
    .consumer_leave = local_consumer_leave,
    .producer_open = local_producer_open,
    .producer_close = local_producer_close,
    .producer_begin = local_producer_begin,
    .produce = local_produce,
    .producer_wait = local_producer_wait,
    .producer_offsets = local_producer_offsets,
    .producer_commit = local_producer_commit,
    .producer_abort = local_producer_abort,
};
