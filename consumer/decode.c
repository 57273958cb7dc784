/* decode.c: one record into its partition's block, or to the dead letters with its reason. */
#include "config/base/clock.h"
#include "consumer/deadletter.h"

#include <inttypes.h>
#include <stdio.h>

/* Messages of one block: bounds what a run of null or bad records may hold back from the next
 * position. */
enum { BLOCK_RECORDS = 1 << 16 };

enum { LIMIT_FROM_RECORDS = 100 }; /* a share of fewer records says nothing */
enum { AHEAD = 8, LINE = 64 };

static void bad_record(struct worker *w, struct partition *p, const struct record *r,
                       enum bad reason, const char *detail)
{
    struct position at = {p->m.pos.run, p->m.pos.epoch, r->offset};

    p->block_bad++;
    if (!w->bad++) {
        w->example = (struct bad_example){.offset = r->offset, .partition = p->p, .reason = reason};
        snprintf(w->example.detail, sizeof w->example.detail, "%s", detail);
    }
    if (w->job->bad_dead_letter && !at.epoch) /* a later epoch meets it again */
        letters_add(&p->letters, r, at, reason, detail);
}

static bool over_limit(const struct worker *w)
{
    const struct job *j = w->job;

    if (j->bad_limit_count)
        return w->bad > j->bad_limit_count;
    return w->records >= LIMIT_FROM_RECORDS && (double)w->bad > j->bad_limit * (double)w->records;
}

enum st decode_limit(struct worker *w)
{
    if (!w->over_limit)
        return ST_OK;
    return fail(w->err, ST_BAD_INPUT,
                "%" PRIu64 " of %" PRIu64
                " records are bad, which is over bad_records.limit; the first: partition %" PRIu32
                " offset %" PRId64 ": %s: %s. Mend the input, or raise the limit",
                w->bad, w->records, w->example.partition, w->example.offset,
                bad_name((enum bad)w->example.reason), w->example.detail);
}

/* False: the block has no room for this record; it has to be learned first. */
static bool decode_record(struct worker *w, struct partition *p, const struct record *r)
{
    struct block *b = &p->block;
    char detail[DETAIL_BYTES] = "";
    enum bad bad = BAD_NONE;

    if (b->records >= BLOCK_RECORDS || p->letters.block_n >= LETTERS_BLOCK_BYTES)
        return false;
    if (r->value.p)
        bad = w->codec->decode(w->codec_self, r->key, r->value, r->offset, r->timestamp_ms, b,
                               detail);
    if (bad == BAD_FULL)
        return false;
    if (!b->records++)
        p->seen_us = clock_mono_us();
    p->next = r->offset + 1;
    w->records++;
    w->bytes += r->value.n;
    if (bad != BAD_NONE) {
        bad_record(w, p, r, bad, detail);
        w->over_limit = over_limit(w);
    } else if (r->value.p) {
        p->block_good++;
        p->last = r;
    } else {
        w->nulls++;
    }
    return true;
}

/* A slow, live topic may end blocks by time; that gives up bit-equality of a replay, nothing
 * else. */
static struct partition *lingering(struct worker *w)
{
    int64_t now = w->job->batch_linger_ms ? clock_mono_us() : 0;

    for (uint32_t i = 0; now && i < w->partitions; i++) {
        struct partition *p = &w->part[i];

        if (p->phase == PHASE_RUNNING && p->block.records &&
            now - p->seen_us >= (int64_t)w->job->batch_linger_ms * 1000)
            return p;
    }
    return NULL;
}

/* Another core has written the records: the one that is decoded a little later is on its way here
 * meanwhile. */
static void fetch_ahead(const struct worker *w)
{
    uint32_t i = w->rec_at + AHEAD;
    uintptr_t p;

    if (i >= w->recs)
        return;
    p = (uintptr_t)w->rec[i].value.p; /* a look ahead of nothing, or behind its end, is harmless */
    __builtin_prefetch((const void *)p);
    __builtin_prefetch((const void *)(p + LINE));
    __builtin_prefetch((const void *)(p + 2 * LINE));
}

enum st decode(struct worker *w, struct partition **full)
{
    struct partition *p;

    *full = NULL;
    for (; w->rec_at < w->recs && !w->over_limit; w->rec_at++) {
        const struct record *r = &w->rec[w->rec_at];

        fetch_ahead(w);
        TRY(consume_accept(w, r, &p, full));
        if (*full)
            return ST_OK;
        if (!p)
            continue;
        if (!decode_record(w, p, r) || p->next >= p->m.end ||
            p->m.trained + p->block_good >= p->edge) {
            *full = p;
            return ST_OK; /* if it was taken, its offset is behind p->next when it comes again */
        }
    }
    *full = lingering(w);
    if (*full)
        (*full)->m.flags |= SLOT_LOOSE;
    return ST_OK;
}
