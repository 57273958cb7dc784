/* consume.c: polls the group consumer, answers what the group did, and lets through only records
 * that continue a running partition. */
#include "config/base/bytes.h"
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <string.h>

enum { POLL_MS = 100, WAIT_POLL_MS = 2 };
enum { WAIT_MS = 50000, NAME_TRIES = 5 };      /* as long as records are tried */
enum { LOOK_US = 1000000, GONE_US = 3000000 }; /* how often, how long to look for a topic */

uint64_t record_fingerprint(const struct record *r)
{
    uint8_t ts[8];
    uint64_t h;

    put_u64(ts, (uint64_t)r->timestamp_ms);
    h = hash64(ts, sizeof ts, 0);
    h = hash64(r->key.p, r->key.n, h + (r->key.p != NULL));
    return hash64(r->value.p, r->value.n, h + (r->value.p != NULL));
}

/* Records of the last poll are about to be released: keep what is needed of the last good one of
 * each block. */
static void forget_records(struct worker *w)
{
    for (uint32_t i = 0; i < w->recs; i++) {
        struct partition *p = w->rec[i].partition < 0 ? NULL : &w->part[w->rec[i].partition];

        if (p)
            partition_last(w, p);
    }
    w->recs = w->rec_at = 0;
}

void worker_disown(struct worker *w)
{
    for (uint32_t i = 0; i < w->partitions; i++) {
        block_drop(w, &w->part[i]);
        partition_free(w, &w->part[i]); /* also of one whose restore has not come to its end */
    }
    w->owned = w->running = w->done = w->stopped = 0;
    w->owner = w->assigned = false;
    w->known.offset = -1;
}

void topic_doubted(struct worker *w)
{
    w->take_up_us = clock_mono_us() + LOOK_US;
}

enum st unless_gone(struct worker *w, enum st st)
{
    struct topic_info t;
    struct err e;

    if (st != ST_BAD_CONFIG || w->br->topic(w->b, w->job->topic, &t, &e) != ST_OK || t.exists)
        return st;
    topic_doubted(w);
    return fail(w->err, ST_REVOKED, "topic %s was deleted while it was read", w->job->topic);
}

/* The topic as it is now: *there as the group has assigned it. Where it is not, it may come back; a
 * broker that has just started may not know it yet, nor who leads it. */
static enum st look_at_topic(struct worker *w, bool *there)
{
    uint32_t least = w->listed && w->list_n ? (uint32_t)w->list[w->list_n - 1].partition + 1 : 0;
    int64_t now = clock_mono_us();
    struct topic_info t;
    enum st st = w->br->topic(w->b, w->job->topic, &t, w->err);

    *there = st == ST_OK && t.exists && t.partitions >= least;
    if (st == ST_OK && !t.exists && !w->gone_us) {
        w->gone_us = now;
        log_line(LOG_WARN, "the topic is not there", "topic=%s", w->job->topic);
    }
    if (st == ST_OK && !t.exists && !w->job->recreated_continue && now - w->gone_us >= GONE_US)
        return fail(w->err, ST_BAD_CONFIG,
                    "topic %s is gone (deleted or re-created) while it was read. Reset the job, or "
                    "give it a new name; with 'topic_recreated: continue' it waits for another "
                    "topic of that name, and goes on with its first record",
                    w->job->topic);
    if (*there)
        w->gone_us = 0;
    if (*there && t.partitions != w->partitions)
        return worker_resize(w);
    return st == ST_AGAIN ? ST_OK : st;
}

void worker_assigned(struct worker *w, const struct start *list, uint32_t n)
{
    log_line(LOG_INFO, "partitions assigned", "count=%" PRIu32, n);
    if (!n)
        log_line(LOG_INFO, "waiting as a spare: more workers than partitions",
                 "partitions=%" PRIu32, w->partitions);
    CHECK(n <= PARTITIONS_MAX);
    memcpy(w->list, list, n * sizeof *list);
    w->list_n = n;
    w->listed = true;
    w->take_up_us = clock_mono_us();
}

/* What the group has assigned is restored, if the topic is there. */
static enum st take_up(struct worker *w)
{
    bool there;
    enum st st;

    w->take_up_us = 0;
    TRY(look_at_topic(w, &there));
    if (!there)
        topic_doubted(w);
    if (!there || !w->listed)
        return ST_OK;
    st = unless_gone(w, restore_partitions(w, w->list, w->list_n));
    if (st == ST_OK) {
        w->assigned = true;
        return follow_assign(w);
    }
    if (st != ST_REVOKED)
        return st;
    worker_disown(w); /* the group moved on, or the topic is in doubt */
    return ST_OK;
}

/* What is assigned is void. Where the topic is why, nothing more comes from the group. */
static enum st let_go(struct worker *w)
{
    worker_disown(w);
    topic_doubted(w);
    w->listed = false;
    return w->br->consumer_assign(w->c, NULL, 0, w->err);
}

/* Whoever uses our name has opened a producer of it before it joined the group, and none of ours
 * would write any more. */
static enum st name_is_ours(struct worker *w)
{
    static const char key[] = "name";
    enum st st;
    struct err e;

    TRY(w->br->producer_begin(w->producer, w->err));
    st = w->br->produce(w->producer, TOPIC_PARAMS, 0,
                        (struct bytes){(const uint8_t *)key, sizeof key - 1}, (struct bytes){0}, -1,
                        NULL, 0, w->err);
    if (st == ST_OK)
        st = w->br->producer_wait(w->producer, WAIT_MS, w->err);
    if (w->br->producer_abort(w->producer, st == ST_OK ? w->err : &e) != ST_OK)
        return ST_FATAL;
    return st;
}

/* librdkafka fences itself where it has joined twice, as when a broker was away for longer than the
 * session. */
enum st worker_fenced(struct worker *w)
{
    enum st st = ST_AGAIN;

    CHECK(!w->publishing);
    worker_disown(w);
    w->recs = w->rec_at = 0;
    w->listed = false;
    for (int i = 0; st == ST_AGAIN && i < NAME_TRIES; i++)
        st = name_is_ours(w);
    if (st == ST_FATAL)
        return fail(w->err, st,
                    "another worker uses the name '%s': it has taken over, this one leaves",
                    w->name);
    TRY(st);
    log_line(LOG_WARN, "put out of the group, though nobody else has this name: joining anew",
             "worker=%s", w->name);
    return worker_join(w);
}

static enum st group_moved(struct worker *w, enum group_event ev, const struct start *list,
                           uint32_t n)
{
    enum st st;

    switch (ev) {
    case GROUP_ASSIGNED:
        worker_disown(w);
        worker_assigned(w, list, n);
        return take_up(w);
    case GROUP_REVOKED:
        log_line(LOG_INFO, "partitions revoked", "count=%" PRIu32, n);
        st = checkpoint(w, true);
        if (st == ST_OK)
            st = publish_end(w, publish(w, false));
        if (st != ST_OK && st != ST_AGAIN && st != ST_REVOKED)
            return st;
        return let_go(w);
    case GROUP_LOST:
        log_line(LOG_WARN, "partitions lost: dropping their states", "count=%" PRIu32, n);
        return let_go(w);
    case GROUP_FENCED:
        return worker_fenced(w);
    case GROUP_NONE:
        break;
    }
    return ST_OK;
}

/* What ends its waiting comes from the other workers, not from the data topic. */
static bool any_waits(const struct worker *w)
{
    for (uint32_t i = 0; w->iterative && i < w->partitions; i++)
        if (w->part[i].phase == PHASE_RUNNING && partition_waits(&w->part[i]))
            return true;
    return false;
}

enum st consume(struct worker *w)
{
    const struct start *list;
    enum group_event ev;
    uint32_t n;

    forget_records(w);
    if (w->take_up_us && clock_mono_us() >= w->take_up_us)
        TRY(take_up(w));
    TRY(w->br->consumer_poll(w->c, w->rec, POLL_RECORDS_MAX, any_waits(w) ? WAIT_POLL_MS : POLL_MS,
                             &w->recs, w->err));
    if (w->recs && !w->first_us)
        w->first_us = clock_mono_us();
    ev = w->br->consumer_event(w->c, &list, &n);
    if (ev == GROUP_NONE)
        return ST_OK;
    w->recs = 0; /* of partitions that are no longer, or not yet, ours to read */
    for (uint32_t i = 0; i < w->partitions; i++)
        w->part[i].last = NULL;
    return group_moved(w, ev, list, n);
}

void consume_forget(struct worker *w, uint32_t partition)
{
    uint32_t n = w->rec_at;

    for (uint32_t i = w->rec_at; i < w->recs; i++)
        if (w->rec[i].partition != (int32_t)partition)
            w->rec[n++] = w->rec[i];
    w->recs = n;
}

enum st consume_positions(struct worker *w)
{
    struct start s[PARTITIONS_MAX];
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];

        if (p->phase == PHASE_CHECKING || p->phase == PHASE_RUNNING)
            s[n++] = (struct start){
                .partition = (int32_t)i,
                .offset = p->phase == PHASE_CHECKING ? p->m.last_offset : p->next,
            };
    }
    return w->br->consumer_assign(w->c, s, n, w->err);
}

static void start_running(struct worker *w, struct partition *p, bool checked)
{
    CHECK(p->phase == PHASE_CHECKING);
    p->phase = PHASE_RUNNING;
    w->running++;
    if (checked)
        guard_by(w, p);
    else
        log_line(LOG_WARN,
                 "the last trained record is gone (compaction or retention), so nothing shows that "
                 "this is still the same topic",
                 "partition=%" PRIu32 " offset=%" PRId64, p->p, p->m.last_offset);
}

/* Reading goes on elsewhere: what was fetched before is void. */
static enum st read_anew(struct worker *w)
{
    w->recs = w->recs ? w->rec_at + 1 : 0;
    return consume_positions(w);
}

/* The topic is another one than this state was trained on: its records are a new run. */
static enum st new_run(struct worker *w, struct partition *p)
{
    struct lineage l = {.run = p->m.pos.run + 1, .kind = LINEAGE_RESET};
    int64_t end;

    CHECK(p->next == p->m.pos.offset && !p->block.records);
    TRY(w->br->watermarks(w->b, w->job->topic, (int32_t)p->p, false, &l.begin, &end, w->err));
    TRY(range_end(w, p->p, &end));
    l.end = l.begin;
    TRY(lineage_add(&p->m, l, w->err));
    log_line(LOG_WARN, "another topic of this name: going on with its first record",
             "topic=%s partition=%" PRIu32 " before=%" PRId64 " run=%" PRIu32 " offset=%" PRId64,
             w->job->topic, p->p, p->next, l.run, l.begin);
    p->m.pos = (struct position){l.run, 0, l.begin};
    p->m.begin = p->next = l.begin;
    p->m.end = end > l.begin ? end : l.begin;
    p->m.last_offset = p->last_offset = w->known.offset = -1;
    *partition_batches(p) = 0;
    p->moved = true;
    w->running += p->phase == PHASE_CHECKING;
    p->phase = PHASE_RUNNING;
    return read_anew(w);
}

/* The first record after a restore should be the last one trained: then the topic is the one we
 * know. */
static enum st resume_check(struct worker *w, struct partition *p, const struct record *r)
{
    if (r->offset <= p->m.last_offset && record_fingerprint(r) != p->m.last_fingerprint)
        return w->job->recreated_continue
                   ? new_run(w, p)
                   : fail(w->err, ST_BAD_CONFIG,
                          "topic %s partition %" PRIu32 ": the record at offset %" PRId64
                          " is not the one this state was trained on: the topic was re-created or "
                          "truncated. Reset the job, give it a new name, or set 'topic_recreated: "
                          "continue'",
                          w->job->topic, p->p, p->m.last_offset);
    start_running(w, p, r->offset == p->m.last_offset);
    return p->next <= p->m.last_offset ? read_anew(w) : ST_OK; /* at the start of an epoch */
}

static enum st retention_gap(struct worker *w, struct partition *p, int64_t low)
{
    struct lineage l = {p->m.pos.run, p->m.pos.epoch, p->next, 0, 0, LINEAGE_LOST};

    l.end = low < p->m.end ? low : p->m.end;
    if (l.end <= p->next)
        return ST_OK;
    if (!w->job->gap_continue)
        return fail(w->err, ST_BAD_CONFIG,
                    "topic %s partition %" PRIu32 ": offsets %" PRId64 " to %" PRId64
                    " were removed before they could be read (retention). Set 'retention_gap: "
                    "continue' to go on without them",
                    w->job->topic, p->p, p->next, l.end - 1);
    TRY(lineage_add(&p->m, l, w->err));
    log_line(LOG_WARN, "retention gap", "partition=%" PRIu32 " lost=%" PRId64, p->p,
             l.end - p->next);
    p->m.lost += (uint64_t)(l.end - p->next);
    p->m.pos.offset = p->next = l.end;
    p->moved = true;
    return ST_OK;
}

/* The broker has no record at the position. What comes first in the topic now is behind it
 * (retention), or before it (another topic); or there is one by now, and it has to show that it is
 * ours. */
static enum st position_gone(struct worker *w, struct partition *p)
{
    int64_t low, high, least = p->next > p->m.last_offset ? p->next : p->m.last_offset + 1;

    CHECK(p->next == p->m.pos.offset && !p->block.records);
    TRY(w->br->watermarks(w->b, w->job->topic, (int32_t)p->p, false, &low, &high, w->err));
    if (high < least && w->job->recreated_continue)
        return new_run(w, p);
    if (high < least)
        return fail(w->err, ST_BAD_CONFIG,
                    "topic %s partition %" PRIu32 " ends at offset %" PRId64
                    ", before the position %" PRId64
                    " of this state: it was re-created or truncated. Reset the job, give it a new "
                    "name, or set 'topic_recreated: continue'",
                    w->job->topic, p->p, high, p->next);
    if (low <= p->m.last_offset) {
        w->running -= p->phase == PHASE_RUNNING;
        p->phase = PHASE_CHECKING;
        return read_anew(w);
    }
    if (p->phase == PHASE_CHECKING)
        start_running(w, p, false);
    TRY(retention_gap(w, p, low));
    return read_anew(w); /* after a reset there is nothing to seek in */
}

/* Something at or behind the end has come, so all before it has; trailing markers never do. */
static void end_seen(struct partition *p, struct partition **learn)
{
    p->next = p->m.end;
    *learn = p;
}

/* *learn: this partition's block comes first; then, except at an end, the event is seen again. */
static enum st consume_event(struct worker *w, struct partition *p, const struct record *r,
                             struct partition **learn)
{
    switch ((enum record_kind)r->kind) {
    case REC_EOF:
        if (p) {
            p->high = r->offset;
            p->caught_up = true;
        }
        if (p && p->phase == PHASE_CHECKING && r->offset <= p->m.last_offset)
            return position_gone(w, p);
        if (p && p->phase == PHASE_CHECKING)
            TRY(resume_check(w, p, r));
        if (p && p->phase == PHASE_RUNNING && !partition_waits(p) && r->offset >= p->m.end)
            end_seen(p, learn);
        return ST_OK;
    case REC_RESET:
        if (!p || (p->phase != PHASE_CHECKING && p->phase != PHASE_RUNNING))
            return ST_OK;
        p->reset = p->phase == PHASE_RUNNING && partition_waits(p);
        if (p->reset)
            return ST_OK;
        if (p->next == p->m.pos.offset)
            TRY(position_gone(w, p));
        if (p->phase == PHASE_RUNNING && (p->next > p->m.pos.offset || p->next >= p->m.end))
            *learn = p;
        return ST_OK;
    case REC_ERROR:
        if (r->reason != BROKER_ERR_TOPIC_GONE)
            return ST_OK;
        topic_doubted(w);
        worker_disown(w);
        w->recs = w->rec_at + 1;
        return w->br->consumer_assign(w->c, NULL, 0, w->err);
    case REC_DATA:
        break;
    }
    CHECK(false);
    return ST_OK;
}

enum st consume_accept(struct worker *w, const struct record *r, struct partition **take,
                       struct partition **learn)
{
    bool known = r->partition >= 0 && (uint32_t)r->partition < w->partitions;
    struct partition *p = known ? &w->part[r->partition] : NULL;

    *take = NULL;
    if (r->kind != REC_DATA)
        return consume_event(w, p, r, learn);
    CHECK(p);
    if (p->phase == PHASE_CHECKING) {
        bool known_one = r->offset <= p->m.last_offset || p->next <= p->m.last_offset;

        TRY(resume_check(w, p, r));
        if (known_one)
            return ST_OK;
    }
    if (r->offset >= p->high)
        p->high = r->offset + 1;
    if (p->phase != PHASE_RUNNING || partition_waits(p))
        return ST_OK;
    p->caught_up = false;
    if (r->offset >= p->m.end)
        end_seen(p, learn);
    else if (r->offset >= p->next) /* smaller ones are read again; greater: markers, compaction */
        *take = p;
    return ST_OK;
}
