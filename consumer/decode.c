/* decode.c: one record into its partition's block, or to the dead letters with its reason. */
#include "config/base/clock.h"
#include "consumer/deadletter.h"

#include <inttypes.h>
#include <stdio.h>

/* Messages of one block: bounds what a run of null or bad records may hold back from the next
 * position. */
enum { BLOCK_RECORDS = 1 << 16 };

enum { LIMIT_FROM_RECORDS = 100 }; /* a share of fewer records says nothing */

static void bad_record(struct worker *w, struct partition *p, const struct record *r,
                       enum bad reason, const char *detail)
{
    struct position at = {p->m.pos.run, p->m.pos.epoch, r->offset};

    p->block_bad++;
    if (!w->bad++) {
        w->example = (struct bad_example){.offset = r->offset, .partition = p->p, .reason = reason};
        snprintf(w->example.detail, sizeof w->example.detail, "%s", detail);
    }
    if (w->job->bad_dead_letter)
        letters_add(&p->letters, r, at, reason, detail);
}

enum st decode_over_limit(struct worker *w)
{
    const struct job *j = w->job;
    bool over = j->bad_limit_count ? w->bad > j->bad_limit_count
                                   : w->records >= LIMIT_FROM_RECORDS &&
                                         (double)w->bad > j->bad_limit * (double)w->records;

    if (!over)
        return ST_OK;
    return fail(w->err, ST_BAD_INPUT,
                "%" PRIu64 " of %" PRIu64
                " records are bad, which is over bad_records.limit; the first: partition %" PRIu32
                " offset %" PRId64 ": %s: %s. Mend the input, or raise the limit",
                w->bad, w->records, w->example.partition, w->example.offset,
                bad_name((enum bad)w->example.reason), w->example.detail);
}

enum st decode(struct worker *w, struct partition *p, const struct record *r, bool *full)
{
    struct block *b = &p->block;
    char detail[DETAIL_BYTES] = "";
    enum bad bad = BAD_NONE;

    CHECK(p->phase == PHASE_RUNNING);
    *full = b->records >= BLOCK_RECORDS || p->letters.block_n >= LETTERS_BLOCK_BYTES;
    if (*full)
        return ST_OK;
    if (!r->value.p) {
        p->block_null++;
    } else {
        bad = w->codec->decode(w->codec_self, r->key, r->value, r->offset, r->timestamp_ms, b,
                               detail);
        *full = bad == BAD_FULL;
        if (*full)
            return ST_OK;
        if (bad == BAD_NONE) {
            p->block_good++;
            p->last = r;
        } else {
            bad_record(w, p, r, bad, detail);
        }
    }
    if (!b->records++)
        p->seen_us = clock_mono_us();
    p->next = r->offset + 1;
    w->records++;
    w->bytes += r->value.n;
    return bad == BAD_NONE ? ST_OK : decode_over_limit(w);
}
