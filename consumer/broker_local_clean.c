#include "consumer/broker_local.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* Compaction, as Kafka's cleaner does it: (1) a table of the last offset of each key is made from
 * what was written since the last time, [clean_to, last stable offset), as far as the table
 * reaches; (2) all batches before its end are gone through: aborted records go, records that the
 * table knows a later one of go, tombstones older than delete.retention.ms go, the rest stays under
 * its offset. What is left of small batches is joined into one. Nothing undecided is looked at, and
 * every step is one write that leaves the log as valid as before, so a crash in the middle costs
 * nothing.
 *
 * It runs when an open or an append finds more new bytes than twice what the last pass left (and
 * CLEAN_LEAST): each byte is rewritten a bounded number of times, and a log takes at most about
 * three times what it must keep, plus CLEAN_LEAST.
 *
 * Memory: the table, KEYS_MAX entries of 24 bytes in at most 2^20 places, and a buffer of a MiB. */

enum { CLEAN_LEAST = 8 << 20, WALK_BYTES = 1 << 20, KEYS_MAX = 3 << 18, SOURCES_MAX = 1024 };

/* ---- the batches of a partition, one after the other ---- */

struct walk {
    struct local *b;
    struct local_part *p;
    /* *stop ends the walk. May write. */
    enum st (*visit)(void *arg, const struct log_head *h, struct bytes batch, bool *stop,
                     struct err *e);
    void *arg;
};

static enum st walk(const struct walk *w, int64_t from, int64_t upto, struct err *e)
{
    struct log_read r = {.p = w->p, .from = from, .upto = upto, .raw = true, .room = WALK_BYTES};
    struct log_buffer buffer = {malloc(WALK_BYTES), 0, WALK_BYTES};
    enum st st = ST_OK;
    bool stop = false;

    CHECK(buffer.p && from >= 0 && upto <= w->p->high);
    while (st == ST_OK && !stop && r.from < r.upto) {
        buffer.n = 0;
        st = log_read(w->b, &r, &buffer, e);
        for (size_t at = 0; st == ST_OK && !stop && at < buffer.n;) {
            struct log_head h;

            batch_head((struct bytes){buffer.p + at, buffer.n - at}, &h);
            CHECK(h.bytes <= buffer.n - at);
            st = w->visit(w->arg, &h, (struct bytes){buffer.p + at, h.bytes}, &stop, e);
            at += h.bytes;
        }
        r.aligned = true;
    }
    free(buffer.p);
    return st;
}

/* ---- the last offset of each key ---- */

struct last_of {
    uint64_t a, b;  /* two hashes of the key: a false match is as likely as with Kafka's 128 bits */
    int64_t offset; /* + 1; 0: free */
};

struct keys {
    struct last_of *t;
    uint32_t n, room; /* room: a power of two */
};

static struct last_of *keys_find(const struct keys *k, struct bytes key)
{
    uint64_t a = hash64(key.p, key.n, 0), b = hash64(key.p, key.n, 0x9e3779b97f4a7c15u);
    uint32_t i = (uint32_t)a & (k->room - 1);

    while (k->t[i].offset && (k->t[i].a != a || k->t[i].b != b))
        i = (i + 1) & (k->room - 1);
    if (!k->t[i].offset) {
        k->t[i].a = a;
        k->t[i].b = b;
    }
    return &k->t[i];
}

static void keys_grow(struct keys *k)
{
    struct keys old = *k;

    if (k->n < k->room / 4 * 3)
        return;
    k->room = old.room ? 2 * old.room : 1024;
    k->t = calloc(k->room, sizeof *k->t);
    CHECK(k->t);
    for (uint32_t i = 0; i < old.room; i++) {
        uint32_t j = (uint32_t)old.t[i].a & (k->room - 1);

        if (!old.t[i].offset)
            continue;
        while (k->t[j].offset)
            j = (j + 1) & (k->room - 1);
        k->t[j] = old.t[i];
    }
    free(old.t);
}

struct cleaning {
    struct local *b;
    struct local_part *p;
    struct keys keys;
    int64_t upto, now;
    struct log_batch out; /* what is left of the batches in `source`, not written yet */
    int64_t source[SOURCES_MAX], last;
    uint32_t sources;
    bool changed; /* `out` is not simply the one batch it came from */
    uint64_t source_bytes;
};

static bool decided_against(const struct local_part *p, const struct log_head *h)
{
    return h->pid && part_aborted(p, h->pid, h->base);
}

/* Pass 1. */
static enum st note_keys(void *arg, const struct log_head *h, struct bytes batch, bool *stop,
                         struct err *e)
{
    struct cleaning *c = arg;

    if (decided_against(c->p, h))
        return ST_OK;
    if (c->keys.n + h->records > KEYS_MAX) {
        c->upto = h->base;
        *stop = true;
        return ST_OK;
    }
    for (size_t at = LOG_HEAD; at < batch.n;) {
        struct log_record r;
        struct last_of *l;

        TRY(log_batch_next(c->p, h, batch, &at, &r, e));
        if (!r.key.p)
            continue;
        keys_grow(&c->keys);
        DCHECK(c->keys.n < c->keys.room);
        l = keys_find(&c->keys, r.key);
        c->keys.n += !l->offset;
        l->offset = r.offset + 1;
    }
    return ST_OK;
}

static bool stays(const struct cleaning *c, const struct log_record *r)
{
    const struct last_of *l = r->key.p && c->keys.n ? keys_find(&c->keys, r->key) : NULL;

    if (l && l->offset > r->offset + 1)
        return false;
    return r->value.p || c->now - r->timestamp_ms < c->p->of->delete_retention_ms;
}

/* Replaces the source batches by what is left of them. */
static enum st put_left(struct cleaning *c, struct err *e)
{
    struct local_part *p = c->p;
    enum st st = ST_OK;

    CHECK(p->bytes >= c->source_bytes && (c->sources || !c->out.records));
    if (c->changed) {
        edit_begin(c->b);
        for (uint32_t i = 0; i < c->sources; i++)
            edit_batch(c->b, p, c->source[i], (struct bytes){NULL, 0});
        p->bytes -= c->source_bytes;
        if (c->out.records) {
            struct bytes batch = batch_seal(&c->out, c->source[0], c->last, 0);

            edit_batch(c->b, p, c->source[0], batch);
            p->bytes += batch.n;
        }
        edit_part(c->b, p);
        st = edit_write(c->b, false, e);
    }
    batch_clear(&c->out);
    c->sources = 0;
    c->source_bytes = 0;
    c->changed = false;
    return st;
}

/* Counts the records of a batch that stay, and the bytes they take at most. */
static enum st weigh(const struct cleaning *c, const struct log_head *h, struct bytes batch,
                     uint32_t *stay, size_t *bytes, struct err *e)
{
    bool aborted = decided_against(c->p, h);

    *stay = 0;
    *bytes = 0;
    for (size_t at = LOG_HEAD; at < batch.n && !aborted;) {
        struct log_record r;

        TRY(log_batch_next(c->p, h, batch, &at, &r, e));
        if (stays(c, &r)) {
            ++*stay;
            *bytes += LOG_RECORD_MAX_HEAD + r.key.n + r.value.n + r.header_bytes;
        }
    }
    return ST_OK;
}

/* Pass 2. */
static enum st keep_last(void *arg, const struct log_head *h, struct bytes batch, bool *stop,
                         struct err *e)
{
    struct cleaning *c = arg;
    uint32_t stay;
    size_t bytes;

    (void)stop;
    TRY(weigh(c, h, batch, &stay, &bytes, e));
    if (c->sources == SOURCES_MAX || (c->out.records && c->out.n + bytes > LOG_BATCH_BYTES) ||
        c->out.records + stay > LOG_BATCH_RECORDS)
        TRY(put_left(c, e));
    if (stay == h->records && batch.n > LOG_BATCH_BYTES / 2) {
        TRY(put_left(c, e)); /* large and whole: it stays as it is */
        return ST_OK;
    }
    c->changed = c->changed || c->sources || stay < h->records;
    CHECK(c->sources < SOURCES_MAX);
    c->source[c->sources++] = h->base;
    c->source_bytes += batch.n;
    c->last = h->last;
    for (size_t at = LOG_HEAD; at < batch.n && stay;) {
        struct log_record r;

        TRY(log_batch_next(c->p, h, batch, &at, &r, e));
        if (stays(c, &r))
            TRY(batch_add(&c->out, (uint64_t)(r.offset - c->source[0]), &r, NULL, 0, e));
    }
    return ST_OK;
}

/* Aborted transactions that ended before an offset have no record left. */
static void spans_forget(struct local *b, struct local_part *p, int64_t before)
{
    while (p->aborted.n && p->aborted.s[0].marker < before) {
        edit_aborted_span(b, p, &p->aborted.s[0], true);
        spans_remove(&p->aborted, 0);
    }
}

static enum st finish(struct cleaning *c, struct err *e)
{
    struct local_part *p = c->p;

    TRY(put_left(c, e));
    CHECK(!c->sources && c->upto >= p->clean_to);
    edit_begin(c->b);
    spans_forget(c->b, p, c->upto);
    p->clean_to = c->upto;
    p->clean_bytes = p->bytes;
    edit_part(c->b, p);
    return edit_write(c->b, false, e);
}

enum st clean_partition(struct local *b, struct local_part *p, struct err *e)
{
    struct cleaning *c = calloc(1, sizeof *c);
    struct walk w = {b, p, note_keys, c};
    enum st st;

    CHECK(c && p->of->compact && !p->of->gone);
    c->b = b;
    c->p = p;
    c->upto = part_stable(p);
    c->now = b->env.wall_ms(b->env.arg);
    p->shape++;
    CHECK(p->clean_to <= c->upto);
    st = walk(&w, p->clean_to > p->low ? p->clean_to : p->low, c->upto, e);
    w.visit = keep_last;
    if (st == ST_OK)
        st = walk(&w, p->low, c->upto, e);
    if (st == ST_OK)
        st = finish(c, e);
    free(c->keys.t);
    batch_free(&c->out);
    free(c);
    return st;
}

enum st clean_maybe(struct local *b, struct local_part *p, struct err *e)
{
    uint64_t least = 2 * p->clean_bytes > CLEAN_LEAST ? 2 * p->clean_bytes : CLEAN_LEAST;

    if (!p->of->compact || p->bytes < p->clean_bytes + least)
        return ST_OK;
    return clean_partition(b, p, e);
}

/* ---- the front of a log ---- */

struct front {
    struct local *b;
    struct local_part *p;
    int64_t before_ms, before; /* batches older than the one, or all before the other */
    int64_t low;
};

static void front_moved(struct local *b, struct local_part *p)
{
    p->clean_to = p->clean_to < p->low ? p->low : p->clean_to;
    p->clean_bytes = p->clean_bytes < p->bytes ? p->clean_bytes : p->bytes;
    spans_forget(b, p, p->low);
    edit_part(b, p);
}

static enum st drop_front(void *arg, const struct log_head *h, struct bytes batch, bool *stop,
                          struct err *e)
{
    struct front *f = arg;

    if (h->last_ms >= f->before_ms && h->last >= f->before) {
        *stop = true;
        f->low = h->base;
        return ST_OK;
    }
    edit_batch(f->b, f->p, h->base, (struct bytes){NULL, 0});
    CHECK(f->p->bytes >= batch.n);
    f->p->bytes -= batch.n;
    if (f->b->edit.n < SOURCES_MAX)
        return ST_OK;
    f->p->low = h->last + 1; /* a long log goes in several writes */
    front_moved(f->b, f->p);
    TRY(edit_write(f->b, false, e));
    edit_begin(f->b);
    return ST_OK;
}

static enum st drop(struct front *f, int64_t upto, struct err *e)
{
    const struct walk w = {f->b, f->p, drop_front, f};
    struct local_part *p = f->p;

    if (p->low >= upto)
        return ST_OK;
    f->low = upto;
    edit_begin(f->b);
    TRY(walk(&w, p->low, upto, e));
    if (f->before > f->low)
        f->low = f->before;
    if (f->low <= p->low)
        return ST_OK;
    p->low = f->low;
    front_moved(f->b, p);
    return edit_write(f->b, true, e);
}

enum st clean_expired(struct local *b, struct local_part *p, struct err *e)
{
    struct front f = {.b = b, .p = p, .before = -1};

    if (!p->of->expire || p->of->retention_ms < 0)
        return ST_OK;
    f.before_ms = b->env.wall_ms(b->env.arg) - p->of->retention_ms;
    return drop(&f, part_stable(p), e);
}

enum st clean_trim(struct local *b, struct local_part *p, int64_t before, struct err *e)
{
    struct front f = {.b = b, .p = p, .before_ms = INT64_MIN, .before = before};

    CHECK(before >= p->low && before <= part_stable(p));
    return drop(&f, before, e);
}
