/* range.c: what a partition has to learn, [begin, end), and when that begins anew.
 *
 * A new partition's range is fixed in an empty slot before any training, else two owners could fix
 * two: begin where --from says, end where --until does. A range stays as it is until the job has
 * ended: so a resume is no other job. Only an unbounded one may be given an end.
 *
 * A job that has ended, started again, goes on behind its end: that is its next life, and all its
 * workers have to agree in which one they are, whenever each of them starts. It has ended once the
 * owner of partition 0 has seen all partitions done and has published that in its slot, together
 * with the job's last model: SLOT_ENDED. So whoever starts reads slot 0:
 *
 *   slot 0 is of life L          the job is in life L; a start is a resume
 *   and says that it has ended   a start goes into life L + 1, with every partition that it gets
 *
 * unless the folder says that this worker was in life L and has not seen its end: then it was
 * killed before, and its start is a resume too. Nor is there a next life where nothing lies behind
 * the end of any partition. A process stays in the life that it started in, though its partitions
 * change; where it is given one of a later life, others have gone on, and it follows them. With
 * several epochs there is one life only, for the range has to stay. */
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/slot_reader.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <unistd.h>

enum { UNDECIDED_US = 90000000 };

bool worker_bounded(const struct worker *w)
{
    return w->until.kind != WHERE_NONE;
}

enum st range_end(struct worker *w, uint32_t partition, int64_t *end)
{
    if (w->until.kind == WHERE_OFFSET && !w->job->files_n) { /* may be where nothing is yet */
        *end = w->until.value;
        return ST_OK;
    }
    *end = INT64_MAX;
    if (!worker_bounded(w))
        return ST_OK;
    return where_offset(w->until, w->br, w->b, w->job->name, w->job->topic, (int32_t)partition, end,
                        NULL, w->err);
}

/* ---- new ones ---- */

static bool was_added(const struct worker *w, uint32_t partition)
{
    return w->born && partition >= w->born;
}

/* A partition that was added to the topic has nothing that the job did not want. */
static enum st begin_of(struct worker *w, uint32_t partition, int64_t *begin)
{
    bool exact, added = was_added(w, partition);
    struct where from =
        added || w->from.kind == WHERE_NONE ? (struct where){WHERE_EARLIEST, 0} : w->from;
    char text[WHERE_TEXT];

    TRY(where_offset(from, w->br, w->b, w->job->name, w->job->topic, (int32_t)partition, begin,
                     &exact, w->err));
    if (!exact)
        log_line(LOG_WARN, "there is no such offset: the nearest one is taken",
                 "partition=%" PRIu32 " from=%s begin=%" PRId64, partition,
                 where_text(w->from, text), *begin);
    return ST_OK;
}

static enum st begin_new(struct worker *w, struct partition *p)
{
    int64_t begin, end;

    TRY(begin_of(w, p->p, &begin));
    TRY(range_end(w, p->p, &end));
    if (was_added(w, p->p)) {
        bool later = worker_bounded(w) && !w->life; /* what this life learns was fixed before */

        log_line(LOG_INFO,
                 later ? "the partition is new in the topic: it is learned once this job has ended "
                         "and is started again"
                       : "the partition is new in the topic: it is learned from its first record",
                 "partition=%" PRIu32, p->p);
        end = later ? begin : end;
    }
    TRY(partition_begin(w, p, begin, end > begin ? end : begin));
    p->m.from_kind = w->from.kind;
    p->m.from_value = w->from.value;
    if (p->m.flags & SLOT_DONE)
        log_line(LOG_WARN, "partition is empty: nothing to learn from it",
                 "topic=%s partition=%" PRIu32, w->job->topic, p->p);
    return ST_OK;
}

/* ---- those with a state ---- */

/* What was asked for at the first start may be asked for again, for the same command goes on; not
 * something else. */
static enum st as_begun(const struct worker *w, const struct partition *p)
{
    struct where was = {p->m.from_kind ? p->m.from_kind : WHERE_EARLIEST, p->m.from_value};
    char asked[WHERE_TEXT], text[WHERE_TEXT];

    if (p->m.epochs != w->job->epochs)
        return fail(w->err, ST_BAD_CONFIG,
                    "partition %" PRIu32 " of this job was begun with epochs %" PRIu32
                    ", now it is %" PRIu32
                    ": ask for as many as before, or begin anew with 'millrace reset %s'",
                    p->p, p->m.epochs, w->job->epochs, w->job->file);
    if (w->from.kind == WHERE_NONE || w->from.kind == WHERE_STORED ||
        (w->from.kind == was.kind && w->from.value == was.value))
        return ST_OK;
    return fail(w->err, ST_BAD_CONFIG,
                "--from %s: this job has states already, begun with --from %s (partition %" PRIu32
                " at offset %" PRId64
                "). Without the flag, or with 'stored', it goes on; to begin anew, "
                "'millrace reset %s'",
                where_text(w->from, asked), where_text(was, text), p->p, p->m.begin, w->job->file);
}

static void move_end(struct partition *p, int64_t end)
{
    p->m.end = end > p->m.pos.offset ? end : p->m.pos.offset;
    p->m.flags &= ~(uint32_t)(SLOT_DONE | SLOT_ENDED);
    if (p->m.pos.offset >= end)
        p->m.flags |= SLOT_DONE;
    p->moved = true;
}

static enum st go_on(struct worker *w, struct partition *p)
{
    bool anew = p->m.life < w->life;
    int64_t end;

    if (w->job->epochs > 1 || !(anew || (p->m.end == INT64_MAX && worker_bounded(w))))
        return ST_OK;
    TRY(range_end(w, p->p, &end));
    move_end(p, anew && end < p->m.end ? p->m.end : end);
    if (anew)
        rounds_anew(w, p);
    return ST_OK;
}

/* ---- lives ---- */

/* A transaction of a worker that is gone is undecided for its timeout at most. */
static enum st ask_committed(struct worker *w, const struct slot_reader *r)
{
    int64_t stop = clock_mono_us() + UNDECIDED_US;

    for (;;) {
        enum st st =
            w->br->committed(w->b, w->job->name, w->job->topic, w->offsets, w->partitions, w->err);

        if (st != ST_AGAIN || clock_mono_us() > stop)
            return st;
        TRY(r->meanwhile(r->arg));
        usleep(20000);
    }
}

/* What an ended job has learned is committed: no partition of the topic has more. */
static enum st nothing_behind(struct worker *w, const struct slot_reader *r, bool *nothing)
{
    int64_t end;

    TRY(ask_committed(w, r));
    *nothing = true;
    for (uint32_t i = 0; *nothing && i < w->partitions; i++) {
        TRY(range_end(w, i, &end));
        *nothing = end <= w->offsets[i].offset;
    }
    return ST_OK;
}

/* Once in a process; later only where others have gone on. */
static enum st find_life(struct worker *w, const struct slot_reader *r,
                         const struct manifest *first)
{
    bool ended = first && first->flags & SLOT_ENDED, nothing;
    uint32_t last;

    w->born = first ? first->partitions : w->partitions;
    w->life = first ? first->life : 0;
    if (!ended || w->job->epochs > 1)
        return checkpoint_life_set(w->cp, w->life, w->err);
    TRY(checkpoint_life(w->cp, &last, w->err));
    if (last == w->life)
        return ST_OK;
    TRY(nothing_behind(w, r, &nothing));
    if (nothing)
        return ST_OK;
    w->life++;
    log_line(LOG_INFO, "the job has ended: it goes on behind its end", "life=%" PRIu32, w->life);
    return checkpoint_life_set(w->cp, w->life, w->err);
}

/* A reset leaves its run in the slot of every partition that there is then. */
enum st range_run(struct worker *w, uint32_t run)
{
    if (run > w->run && w->life_known)
        return fail(w->err, ST_FATAL,
                    "the job was reset while this worker had lost its partitions: start it again");
    w->run = run > w->run ? run : w->run;
    return ST_OK;
}

static enum st first_slot(struct worker *w, struct slot_reader *r, struct image *im,
                          const struct manifest **m)
{
    const struct partition *p = &w->part[0];
    bool found;

    *m = p->phase != PHASE_NONE && !p->fresh ? &p->m : NULL;
    if (p->phase != PHASE_NONE)
        return ST_OK;
    TRY(slot_read(r, 0, im, &found, w->err));
    TRY(range_run(w, im->run));
    if (found)
        TRY(check_slot(w, 0, &im->m));
    *m = found ? &im->m : NULL;
    return ST_OK;
}

enum st range_restored(struct worker *w, struct slot_reader *r, struct image *im,
                       const struct start *s, uint32_t n)
{
    const struct manifest *first;

    if (!w->life_known) {
        TRY(first_slot(w, r, im, &first));
        TRY(find_life(w, r, first));
        w->life_known = true;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct partition *p = &w->part[s[i].partition];

        if (!p->fresh && p->m.life > w->life)
            w->life = p->m.life;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct partition *p = &w->part[s[i].partition];

        if (!p->fresh)
            TRY(as_begun(w, p));
        TRY(p->fresh ? begin_new(w, p) : go_on(w, p));
    }
    return ST_OK;
}

bool range_done(const struct worker *w, uint32_t life, uint32_t flags)
{
    return life > w->life || (life == w->life && flags & (SLOT_DONE | SLOT_STOPPED));
}

void range_ended(struct worker *w)
{
    struct partition *p = &w->part[0];

    if (!w->owner || any_stopped(w) || p->m.flags & SLOT_ENDED)
        return;
    CHECK(p->phase == PHASE_DONE);
    p->m.flags |= SLOT_ENDED;
    p->moved = true;
}

enum st range_left(struct worker *w)
{
    return checkpoint_life_set(w->cp, w->life + 1, w->err);
}
