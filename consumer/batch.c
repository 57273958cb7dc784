#include "consumer/batch.h"

#include "config/base/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, HALF_LIVES_MAX = 64 /* of a batch: what is left of the past is nothing */ };

static void *take(uint8_t *base, size_t *at, size_t count, size_t bytes)
{
    void *p = base ? base + *at : NULL;

    *at += (count * bytes + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

static bool moves_rows(const struct batch_conf *c)
{
    return c->holdout > 0 || c->folds > 1;
}

/* One list of arrays for both the size and the addresses. */
static size_t lay_out(struct batch *t, const struct block_shape *s, const struct batch_conf *c,
                      uint8_t *base)
{
    size_t at = 0, rows = c->batch_rows;

    if (s->sparse) {
        t->uniq = take(base, &at, s->d < s->nnz_max ? s->d : s->nnz_max, sizeof *t->uniq);
        t->local = take(base, &at, s->nnz_max, sizeof *t->local);
        t->slot = take(base, &at, s->d, sizeof *t->slot);
    }
    if (!moves_rows(c))
        return at;
    if (s->sparse) {
        t->ptr = take(base, &at, rows + 1, sizeof *t->ptr);
        t->col = take(base, &at, s->nnz_max, sizeof *t->col);
        t->val = take(base, &at, s->nnz_max, sizeof *t->val);
    } else {
        t->x = take(base, &at, rows * s->ld, sizeof *t->x);
    }
    if (s->ny)
        t->y = take(base, &at, rows, sizeof *t->y);
    t->weight = take(base, &at, rows, sizeof *t->weight);
    t->rid = take(base, &at, rows, sizeof *t->rid);
    if (s->keyed)
        t->key = take(base, &at, rows, sizeof *t->key);
    if (s->timed)
        t->ts_ms = take(base, &at, rows, sizeof *t->ts_ms);
    t->part = take(base, &at, rows, sizeof *t->part);
    t->order = take(base, &at, rows, sizeof *t->order);
    return at;
}

size_t batch_bytes(const struct block_shape *s, const struct batch_conf *c)
{
    struct batch none = {0};

    return lay_out(&none, s, c, NULL);
}

enum st batch_init(struct batch *t, const struct block_shape *s, const struct batch_conf *c,
                   struct err *e)
{
    size_t bytes = batch_bytes(s, c);

    CHECK(c->batch_rows >= 1 && c->batch_rows <= BATCH_ROWS_MAX);
    CHECK(c->folds <= FOLDS_MAX);
    CHECK(c->holdout >= 0 && c->holdout <= 0.5f);
    memset(t, 0, sizeof *t);
    t->s = *s;
    t->conf = *c;
    if (!t->conf.folds)
        t->conf.folds = 1;
    t->threshold = (uint64_t)ldexp((double)c->holdout, 64);
    if (!bytes)
        return ST_OK;
    t->base = aligned_alloc(ALIGN, bytes);
    if (!t->base)
        return fail(e, ST_BAD_CONFIG,
                    "a batch of %u rows of %u columns takes %.1f GB, more than there is",
                    c->batch_rows, s->d, (double)bytes / 1e9);
    memset(t->base, 0, bytes); /* touched now: what is declared at start is what is used */
    CHECK(lay_out(t, s, c, t->base) == bytes);
    return ST_OK;
}

void batch_fini(struct batch *t)
{
    free(t->base);
    memset(t, 0, sizeof *t);
}

void batch_begin(struct batch *t, const struct block *b, uint32_t partition, uint32_t epoch,
                 uint64_t first)
{
    CHECK(b->n <= BLOCK_ROWS);
    CHECK(b->s.d == t->s.d && b->s.sparse == t->s.sparse && b->s.ny == t->s.ny);
    CHECK(b->s.keyed == t->s.keyed && b->s.timed == t->s.timed);
    t->b = b;
    t->at = 0;
    t->partition = partition;
    t->epoch = epoch;
    t->number = first;
}

/* The part of a row: fold 0 .. folds-1, or folds: held out. Two hashes, since the held-out ones are
 * the small ones of the first. */
static uint8_t part_of(const struct batch *t, uint32_t row)
{
    uint64_t h = t->s.keyed ? mix64(t->b->key[row] ^ mix64(t->conf.seed))
                            : mix64(t->b->rid[row] ^ mix64(t->conf.seed + mix64(t->partition)));

    if (h < t->threshold)
        return (uint8_t)t->conf.folds;
    return (uint8_t)((mix64(h) >> 32) * t->conf.folds >> 32);
}

/* Sorts the rows [at, at + n) of the block by part, stably: order[i] is the row that comes to place
 * i. */
static void sort_rows(struct batch *t, uint32_t n)
{
    uint32_t count[FOLDS_MAX + 2] = {0};

    for (uint32_t i = 0; i < n; i++) {
        t->part[i] = part_of(t, t->at + i);
        DCHECK(t->part[i] <= t->conf.folds);
        count[t->part[i] + 1]++;
    }
    for (uint32_t p = 0; p <= t->conf.folds; p++) {
        count[p + 1] += count[p];
        t->fold_at[p] = count[p];
    }
    for (uint32_t i = 0; i < n; i++)
        t->order[count[t->part[i]]++] = (uint16_t)i;
}

static void copy_entries(struct batch *t, uint32_t n)
{
    const struct block *b = t->b;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = t->at + t->order[i];
        uint32_t from = b->ptr[row], count = b->ptr[row + 1] - from, to = t->ptr[i];

        memcpy(t->col + to, b->col + from, count * sizeof *t->col);
        memcpy(t->val + to, b->val + from, count * sizeof *t->val);
        t->ptr[i + 1] = to + count;
    }
}

static void copy_rows(struct batch *t, uint32_t n)
{
    const struct block *b = t->b;

    if (t->s.sparse)
        copy_entries(t, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = t->at + t->order[i];

        if (t->x)
            memcpy(t->x + (size_t)i * t->s.ld, b->x + (size_t)row * t->s.ld,
                   t->s.ld * sizeof *t->x);
        if (t->y)
            t->y[i] = b->y[row];
        t->weight[i] = b->weight[row];
        t->rid[i] = b->rid[row];
        if (t->key)
            t->key[i] = b->key[row];
        if (t->ts_ms)
            t->ts_ms[i] = b->ts_ms[row];
    }
}

/* Distinct columns in order of appearance. slot[c] may be old: it holds only if uniq says so. */
static uint32_t number_columns(struct batch *t, const struct feat *f, uint32_t n)
{
    uint32_t uniq_n = 0;

    for (uint32_t q = f->ptr[0]; q < f->ptr[n]; q++) {
        uint32_t c = f->col[q], at = t->slot[c];

        DCHECK(c < t->s.d);
        if (at >= uniq_n || t->uniq[at] != c) {
            at = uniq_n++;
            t->slot[c] = at;
            t->uniq[at] = c;
        }
        t->local[q] = at;
    }
    return uniq_n;
}

/* Points at the rows where they lie: in the block, or sorted in the copies. */
static void point(struct batch *t, struct rows *r)
{
    const struct block *b = t->b;
    struct feat *f = &r->in[0];
    uint32_t at = t->at;

    if (moves_rows(&t->conf)) {
        sort_rows(t, r->n);
        copy_rows(t, r->n);
        r->y = t->y;
        r->weight = t->weight;
        r->rid = t->rid;
        r->key = t->key;
        r->ts_ms = t->ts_ms;
        f->x = t->x;
        f->ptr = t->ptr;
        f->col = t->col;
        f->val = t->val;
        return;
    }
    t->fold_at[0] = 0;
    t->fold_at[1] = r->n;
    r->y = b->y ? b->y + at : NULL;
    r->weight = b->weight + at;
    r->rid = b->rid + at;
    r->key = b->key ? b->key + at : NULL;
    r->ts_ms = b->ts_ms ? b->ts_ms + at : NULL;
    f->x = b->x ? b->x + (size_t)at * b->s.ld : NULL;
    f->ptr = b->ptr ? b->ptr + at : NULL;
    f->col = b->col;
    f->val = b->val;
}

bool batch_next(struct batch *t, struct rows *r)
{
    uint32_t left;

    CHECK(t->b && t->at <= t->b->n);
    left = t->b->n - t->at;
    if (!left)
        return false;
    *r = (struct rows){
        .n = left < t->conf.batch_rows ? left : t->conf.batch_rows,
        .partition = t->partition,
        .epoch = t->epoch,
        .batch = t->number++,
        .last = left <= t->conf.batch_rows,
        .folds = t->conf.folds,
        .fold_at = t->fold_at,
        .ny = t->s.ny,
        .decay = 1,
        .host = r,
    };
    r->in[0].d = t->s.d;
    r->in[0].ld = t->s.ld;
    point(t, r);
    r->train = t->fold_at[t->conf.folds];
    if (t->conf.half_life)
        r->decay = exp2(-fmin((double)r->train / (double)t->conf.half_life, HALF_LIVES_MAX));
    if (t->s.sparse) {
        r->in[0].uniq_n = number_columns(t, &r->in[0], r->n);
        r->in[0].uniq = t->uniq;
        r->in[0].local = t->local;
    }
    t->at += r->n;
    CHECK(r->train <= r->n && t->fold_at[0] == 0);
    return true;
}
