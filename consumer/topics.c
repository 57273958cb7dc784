/* topics.c: the job's own topics: parameters, models, dead letters. */
#include "config/base/log.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RECORD_MARGIN = 4096 }; /* of a chunk's record: key, header, batch overhead */

/* The broker's clock counts: by a worker's, it would refuse what is dated an hour ahead
 * (message.timestamp.after.max.ms), and delete what is dated a week back. */
static const char *const dead_config[][2] = {{"cleanup.policy", "delete"},
                                             {"retention.ms", "604800000"},
                                             {"message.timestamp.type", "LogAppendTime"},
                                             {NULL, NULL}};

struct place { /* where topics are made, for which job */
    const struct broker *br;
    void *b;
    const struct job *job;
    struct err *err;
};

static enum st check_compacted(const struct place *w, const char *name, const struct topic_info *t)
{
    if (t->cleanup_policy[0] && strcmp(t->cleanup_policy, "compact") != 0)
        return fail(w->err, ST_BAD_CONFIG,
                    "topic %s has cleanup.policy=%s; it must be 'compact': time would delete an "
                    "idle job's state. Alter the topic",
                    name, t->cleanup_policy);
    if (!t->cleanup_policy[0])
        log_line(LOG_WARN,
                 "no right to read the topic's configuration: cleanup.policy must be compact",
                 "topic=%s", name);
    if (t->max_message_bytes >= 0 && t->max_message_bytes < CHUNK_BYTES + RECORD_MARGIN)
        return fail(w->err, ST_BAD_CONFIG,
                    "topic %s has max.message.bytes=%" PRId64 "; chunks of state need %d", name,
                    t->max_message_bytes, CHUNK_BYTES + RECORD_MARGIN);
    if (t->replication == 1 &&
        !strcmp(w->job->broker, "kafka")) /* an embedded broker is one file anyway */
        log_line(LOG_WARN, "topic has one replica: a lost disk loses it", "topic=%s", name);
    return ST_OK;
}

static enum st ready(const struct place *w, const struct topic_spec *spec, bool compacted)
{
    struct topic_info t;

    TRY(w->br->topic(w->b, spec->name, &t, w->err));
    if (!t.exists) {
        TRY(w->br->topic_create(w->b, spec, w->err));
        log_line(LOG_INFO, "topic created", "topic=%s partitions=%" PRIu32, spec->name,
                 spec->partitions);
        return ST_OK;
    }
    if (t.partitions < spec->partitions) {
        TRY(w->br->partitions_add(w->b, spec->name, spec->partitions, w->err));
        log_line(LOG_INFO, "partitions added", "topic=%s partitions=%" PRIu32, spec->name,
                 spec->partitions);
    }
    return compacted ? check_compacted(w, spec->name, &t) : ST_OK;
}

enum { STATE_TOPIC_CONFIGS = 8 };

/* Small segments, so that compaction, which never touches the active one, keeps a restore at about
 * one slot. */
static void state_config(const char *(*config)[2], char segment[24], uint64_t state_bytes)
{
    static const char *const fixed[STATE_TOPIC_CONFIGS][2] = {
        {"segment.bytes", NULL},
        {"cleanup.policy", "compact"},
        {"message.timestamp.type", "LogAppendTime"},
        {"segment.ms", "600000"},
        {"min.cleanable.dirty.ratio", "0.1"},
        {"max.compaction.lag.ms", "3600000"},
        {"delete.retention.ms", "3600000"},
        {NULL, NULL}};
    uint64_t bytes = 4 * state_bytes;

    bytes = bytes < 1u << 20 ? 1u << 20 : bytes > 64u << 20 ? 64u << 20 : bytes;
    snprintf(segment, 24, "%" PRIu64, bytes);
    memcpy(config, fixed, sizeof fixed);
    config[0][1] = segment;
}

enum st models_ready(const struct broker *br, void *b, const struct job *j, uint64_t bytes,
                     struct err *e)
{
    const char *config[STATE_TOPIC_CONFIGS][2];
    char segment[24];

    state_config(config, segment, bytes);
    return ready(&(struct place){br, b, j, e},
                 &(struct topic_spec){j->topic_models, 1, (const char *const(*)[2])config}, true);
}

enum st topics_ready(struct worker *w)
{
    const struct place at = {w->br, w->b, w->job, w->err};
    const char *config[STATE_TOPIC_CONFIGS][2];
    char segment[24];
    struct topic_spec params = {w->job->topic_params, w->partitions,
                                (const char *const(*)[2])config},
                      dead = {w->job->topic_dead, w->partitions, dead_config};

    state_config(config, segment, w->declared.bytes);
    TRY(ready(&at, &params, true));
    TRY(models_ready(w->br, w->b, w->job, w->declared.bytes, w->err));
    return w->job->bad_dead_letter ? ready(&at, &dead, false) : ST_OK;
}

enum st unless_params_gone(struct worker *w, enum st st)
{
    struct topic_info t;
    struct err e;

    if (w->br->topic(w->b, w->job->topic_params, &t, &e) != ST_OK || t.exists)
        return st;
    return fail(w->err, ST_BAD_CONFIG,
                "topic %s was deleted while the job runs. The states are safe in their workers' "
                "folders: start the workers again",
                w->job->topic_params);
}
