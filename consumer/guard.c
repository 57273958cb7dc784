/* guard.c: before what was learned is saved, is the data topic still the one that it was read from?
 *
 * A topic that was deleted and made anew between two fetches of a consumer is read on in silence:
 * record 1,000 of the new one after 999 of the old. So a record that was learned before, or first,
 * is read again once all others of the checkpoint have been read: if it is still there, there was
 * no other topic meanwhile. Where it is not, that is a doubt, settled as after a restart. One of
 * one partition is enough, for a topic is made anew as a whole. One more consumer without a group;
 * brokers that never do so (broker.h, silent) need none.
 *
 * Each checkpoint is guarded, not publishes only: at a restore the local state wins by its greater
 * position, and only its last record is compared, which would be one of the new topic. */
#include "config/base/clock.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdlib.h>

enum { ANSWER_MS = 5000, GUARD_POLL_MS = 20, GUARD_RECORDS = 256, GUARD_WAIT_MS = 10 };
enum { GUARD_QUEUE_BYTES = 1 << 20, GUARD_FETCH_BYTES = 1 };

struct guard {
    void *consumer;
    struct record *rec; /* [GUARD_RECORDS] */
};

void guard_by(struct worker *w, const struct partition *p)
{
    if (p->last_offset >= 0)
        w->known = (struct known_record){(int32_t)p->p, p->last_offset, p->last_fingerprint};
}

enum st guard_open(struct worker *w)
{
    struct consumer_conf c = {.topics = (const char *const[]){w->job->topic},
                              .topics_n = 1,
                              .wait_ms = GUARD_WAIT_MS,
                              .queue_bytes = GUARD_QUEUE_BYTES,
                              .fetch_bytes = GUARD_FETCH_BYTES};

    if (!w->br->silent)
        return ST_OK;
    w->guard = calloc(1, sizeof *w->guard);
    if (!w->guard)
        return fail(w->err, ST_FATAL, "no memory to guard the topic");
    w->guard->rec = calloc(GUARD_RECORDS, sizeof *w->guard->rec);
    w->guard->consumer = calloc(1, w->br->consumer_bytes);
    if (!w->guard->rec || !w->guard->consumer)
        return fail(w->err, ST_FATAL, "no memory to guard the topic");
    return w->br->consumer_open(w->guard->consumer, w->b, &c, w->err);
}

void guard_close(struct worker *w)
{
    if (!w->guard)
        return;
    if (w->guard->consumer)
        w->br->consumer_close(w->guard->consumer);
    free(w->guard->consumer);
    free(w->guard->rec);
    free(w->guard);
    w->guard = NULL;
}

/* The first answer: what stands at that offset, or that nothing does. */
static enum st hear(struct worker *w, const struct record *r, bool *heard, bool *doubt)
{
    const struct known_record *k = &w->known;
    int64_t low, high;

    if (r->kind == REC_ERROR) {
        *heard = *doubt = r->reason == BROKER_ERR_TOPIC_GONE;
        return ST_OK;
    }
    *heard = true;
    if (r->kind == REC_DATA)
        *doubt = r->offset == k->offset && record_fingerprint(r) != k->fingerprint;
    if (r->kind == REC_EOF)
        *doubt = r->offset <= k->offset;
    if (r->kind != REC_RESET)
        return ST_OK;
    TRY(w->br->watermarks(w->b, w->job->topic, k->partition, false, &low, &high, w->err));
    *doubt = high <= k->offset; /* else retention took it */
    return ST_OK;
}

static enum st listen(struct worker *w, bool *doubt)
{
    int64_t stop = clock_mono_us() + (int64_t)ANSWER_MS * 1000;
    bool heard = false;
    uint32_t n;

    while (!heard) {
        if (clock_mono_us() >= stop)
            return fail(w->err, ST_AGAIN,
                        "topic %s partition %" PRId32 " does not answer for %d s, so nothing shows "
                        "that it is still the same",
                        w->job->topic, w->known.partition, ANSWER_MS / 1000);
        TRY(w->br->consumer_poll(w->guard->consumer, w->guard->rec, GUARD_RECORDS, GUARD_POLL_MS,
                                 &n, w->err));
        for (uint32_t i = 0; i < n && !heard; i++)
            TRY(hear(w, &w->guard->rec[i], &heard, doubt));
    }
    return ST_OK;
}

static enum st ask(struct worker *w)
{
    struct start s = {.partition = w->known.partition, .offset = w->known.offset};
    bool doubt = false;
    struct err e;
    enum st st, end;

    TRY(w->br->consumer_assign(w->guard->consumer, &s, 1, w->err));
    st = listen(w, &doubt);
    end = w->br->consumer_assign(w->guard->consumer, NULL, 0, st == ST_OK ? w->err : &e);
    TRY(st);
    TRY(end);
    if (!doubt)
        return ST_OK;
    topic_doubted(w);
    return fail(w->err, ST_REVOKED,
                "topic %s is not the one any more that was read: what was learned since the last "
                "checkpoint is dropped",
                w->job->topic);
}

enum st same_topic(struct worker *w)
{
    bool learned = false;

    for (uint32_t i = 0; i < w->partitions; i++)
        learned |= w->part[i].moved;
    if (!w->br->silent || !learned || w->known.offset < 0)
        return ST_OK;
    return unless_gone(w, ask(w));
}
