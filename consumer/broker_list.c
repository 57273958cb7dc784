#include "consumer/broker.h"

#include <string.h>

const struct broker *const broker_list[] = {&broker_kafka, &broker_local, &broker_file};
const uint32_t broker_count = sizeof broker_list / sizeof *broker_list;

static void broker_check(const struct broker *t)
{
    CHECK(t->name && t->summary && t->broker_bytes && t->consumer_bytes && t->producer_bytes);
    CHECK(t->memory_bytes && t->open && t->close && t->cluster && t->topic && t->topic_create &&
          t->topic_delete);
    CHECK(t->partitions_add && t->watermarks && t->committed);
    CHECK(t->consumer_open && t->consumer_close && t->consumer_poll && t->consumer_release);
    CHECK(t->consumer_header && t->consumer_event && t->consumer_assign && t->consumer_seek &&
          t->consumer_pause && t->consumer_leave);
    CHECK(t->producer_open && t->producer_close && t->producer_begin && t->produce);
    CHECK(t->producer_wait && t->producer_offsets && t->producer_commit && t->producer_abort);
}

const struct broker *broker_find(const char *spec, const char **address)
{
    const char *colon = strchr(spec, ':');
    size_t n = colon ? (size_t)(colon - spec) : strlen(spec);

    *address = colon ? colon + 1 : spec + n;
    for (uint32_t i = 0; i < broker_count; i++) {
        broker_check(broker_list[i]);
        if (strlen(broker_list[i]->name) == n && !memcmp(broker_list[i]->name, spec, n))
            return broker_list[i];
    }
    return NULL;
}

/* What the guarantees stand on (name, why). Aliases of librdkafka are rows of their own. */
static const char *const owned[][2] = {
    {"group.id", "it is the name of the job"},
    {"group.instance.id", "it is <job>-<worker>, so that a restart gets its partitions back"},
    {"transactional.id",
     "it is <job>-<worker>, so that a restart ends what its last life left open"},
    {"enable.auto.commit", "offsets are committed in the transaction that carries the state"},
    {"auto.commit.enable", "offsets are committed in the transaction that carries the state"},
    {"enable.auto.offset.store", "offsets are committed in the transaction that carries the state"},
    {"offset.store.method", "offsets are committed in the transaction that carries the state"},
    {"auto.offset.reset", "a lost position is never skipped silently; see retention_gap"},
    {"isolation.level", "a restore must see what is committed and nothing else"},
    {"enable.partition.eof", "the end of an epoch and of a restore is known by it"},
    {"partition.assignment.strategy", "the fence of a publish is proved for range only"},
    {"group.protocol", "the fence of a publish is proved for the classic protocol only"},
    {"enable.idempotence", "records must reach the topic once and in order"},
    {"enable.gapless.guarantee", "a failed publish is aborted and sent again"},
    {"delivery.report.only.error", "a publish waits for every delivery report"},
    {"allow.auto.create.topics", "topics are made with their settings or not at all"},
    {"queued.min.messages", "it is sized from memory_max"},
    {"queued.max.messages.kbytes", "it is sized from memory_max"},
    {"fetch.message.max.bytes", "it is sized from memory_max"},
    {"max.partition.fetch.bytes", "it is sized from memory_max"},
    {"fetch.max.bytes", "it is sized from memory_max"},
    {"fetch.queue.backoff.ms", "queues are refilled without a pause"},
    {"enabled_events", "it would take the callbacks away that notice a rebalance"},
};

const char *broker_owned_property(const char *name)
{
    static const char *const prefix[] = {"consumer.", "producer.", "topic."};

    for (uint32_t i = 0; i < sizeof prefix / sizeof *prefix; i++)
        if (!strncmp(name, prefix[i], strlen(prefix[i]))) {
            name += strlen(prefix[i]);
            break;
        }
    for (uint32_t i = 0; i < sizeof owned / sizeof *owned; i++)
        if (!strcmp(name, owned[i][0]))
            return owned[i][1];
    return NULL;
}
