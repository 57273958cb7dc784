#include "algos/handover.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static void *take(uint8_t *base, size_t *at, size_t count, size_t bytes)
{
    void *p = base ? base + *at : NULL;

    *at += (count * bytes + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

/* The arrays of a lane, in its one block: sizes and addresses from one list. */
static size_t lay_out(struct lane *l, const struct handover_shape *s, const struct shape *sh,
                      uint8_t *base)
{
    struct rows *r = &l->room;
    struct feat *f = &r->in[0];
    const size_t rows = s->rows;
    size_t at = 0;

    if (s->nnz) {
        f->ptr = take(base, &at, rows + 1, sizeof *f->ptr);
        f->col = take(base, &at, s->nnz, sizeof *f->col);
        f->local = take(base, &at, s->nnz, sizeof *f->local);
        f->val = take(base, &at, s->nnz, sizeof *f->val);
        f->uniq = take(base, &at, s->uniq, sizeof *f->uniq);
    } else {
        f->x = take(base, &at, rows * s->ld, sizeof *f->x);
    }
    r->y = take(base, &at, rows * s->ny, sizeof *r->y);
    r->weight = take(base, &at, rows, sizeof *r->weight);
    r->rid = take(base, &at, rows, sizeof *r->rid);
    r->key = s->keyed ? take(base, &at, rows, sizeof *r->key) : NULL;
    r->ts_ms = s->timed ? take(base, &at, rows, sizeof *r->ts_ms) : NULL;
    l->eval.z = take(base, &at, rows * (sh->zcols + 1), sizeof(float));
    l->eval.loss = take(base, &at, rows * sh->models, sizeof(float));
    return at;
}

static size_t lay_out_host(struct lane *l, const struct handover_shape *s, const struct shape *sh,
                           uint8_t *base)
{
    const size_t rows = s->rows;
    size_t at = 0;

    l->ptr = s->nnz ? take(base, &at, rows + 1, sizeof *l->ptr) : NULL;
    l->y = take(base, &at, rows * s->ny, sizeof *l->y);
    l->weight = take(base, &at, rows, sizeof *l->weight);
    l->came.z = take(base, &at, rows * (sh->zcols + 1), sizeof(float));
    l->came.loss = take(base, &at, rows * sh->models, sizeof(float));
    return at;
}

uint64_t handover_device_bytes(const struct handover_shape *s, const struct shape *sh)
{
    struct lane none = {0};

    return 2 * (uint64_t)lay_out(&none, s, sh, NULL);
}

uint64_t handover_host_bytes(const struct handover_shape *s, const struct shape *sh)
{
    struct lane none = {0};

    return 2 * (uint64_t)lay_out_host(&none, s, sh, NULL);
}

enum st handover_init(struct handover *h, const struct compute *c, void *cs,
                      const struct handover_shape *s, const struct shape *sh, struct err *e)
{
    const size_t host = handover_host_bytes(s, sh), device = handover_device_bytes(s, sh) / 2;

    CHECK(!c->host_memory && s->rows && sh->models);
    memset(h, 0, sizeof *h);
    h->c = c;
    h->cs = cs;
    h->s = *s;
    h->shape = sh;
    h->host = aligned_alloc(ALIGN, host);
    if (!h->host)
        return fail(e, ST_FATAL, "no memory for two batches of %u rows", s->rows);
    memset(h->host, 0, host); /* touched now: what is declared at start is what is used */
    for (int i = 0; i < 2; i++) {
        h->lane[i].device = c->alloc(cs, device);
        if (!h->lane[i].device)
            return fail(e, ST_FATAL, "no memory on the device for two batches of %u rows: %.1f MB",
                        s->rows, (double)device / 1e6);
        lay_out(&h->lane[i], s, sh, h->lane[i].device);
        lay_out_host(&h->lane[i], s, sh, (uint8_t *)h->host + (size_t)i * host / 2);
    }
    return ST_OK;
}

void handover_fini(struct handover *h)
{
    for (int i = 0; i < 2; i++)
        if (h->lane[i].device)
            h->c->free(h->cs, h->lane[i].device);
    free(h->host);
    memset(h, 0, sizeof *h);
}

void handover_begin(struct handover *h)
{
    h->ahead = false;
}

static void put(const struct handover *h, const void *to, const void *from, size_t n, size_t bytes)
{
    if (n)
        h->c->put(h->cs, (void *)(uintptr_t)to, from, n * bytes);
}

/* r->host: the batch as it was put, its entries counted from 0. */
static void host_rows(struct lane *l, const struct rows *r)
{
    struct feat *f = &l->host.in[0];
    const uint32_t first = r->in[0].ptr ? r->in[0].ptr[0] : 0;

    l->host = *r;
    l->host.host = &l->host;
    if (!f->ptr)
        return;
    for (uint32_t i = 0; i <= r->n; i++)
        l->ptr[i] = f->ptr[i] - first;
    f->ptr = l->ptr;
    f->col += first;
    f->local += first;
    f->val = f->val ? f->val + first : NULL;
}

static void put_entries(const struct handover *h, const struct lane *l)
{
    const struct feat *to = &l->room.in[0], *from = &l->host.in[0];
    const uint32_t n = l->host.n, entries = from->ptr[n];

    CHECK(entries <= h->s.nnz && from->uniq_n <= h->s.uniq);
    put(h, to->ptr, from->ptr, n + 1, sizeof *from->ptr);
    put(h, to->col, from->col, entries, sizeof *from->col);
    put(h, to->local, from->local, entries, sizeof *from->local);
    if (from->val)
        put(h, to->val, from->val, entries, sizeof *from->val);
    put(h, to->uniq, from->uniq, from->uniq_n, sizeof *from->uniq);
}

/* The batch there: all but folds, which the host reads. */
static void device_rows(struct lane *l)
{
    const struct rows *r = &l->host, *at = &l->room;
    const struct feat *from = &r->in[0];
    struct feat *to = &l->rows.in[0];

    l->rows = *r;
    l->rows.host = &l->host;
    l->rows.y = r->y ? at->y : NULL;
    l->rows.weight = at->weight;
    l->rows.rid = r->rid ? at->rid : NULL;
    l->rows.key = r->key ? at->key : NULL;
    l->rows.ts_ms = r->ts_ms ? at->ts_ms : NULL;
    to->x = from->x ? at->in[0].x : NULL;
    to->ptr = from->ptr ? at->in[0].ptr : NULL;
    to->col = from->col ? at->in[0].col : NULL;
    to->local = from->local ? at->in[0].local : NULL;
    to->val = from->val ? at->in[0].val : NULL;
    to->uniq = from->uniq ? at->in[0].uniq : NULL;
}

/* What the host goes on needing of a batch whose rows it has given back. */
static void keep(struct lane *l, const struct rows *r)
{
    l->seen = (struct rows){.n = r->n, .train = r->train, .ny = r->ny, .weight = l->weight};
    memcpy(l->weight, r->weight, r->n * sizeof *r->weight);
    if (!r->y)
        return;
    l->seen.y = l->y;
    memcpy(l->y, r->y, (size_t)r->n * r->ny * sizeof *r->y);
}

struct lane *handover_put(struct handover *h, const struct rows *r)
{
    struct lane *l = &h->lane[h->at ^= 1];
    const struct rows *to = &l->room;
    const struct feat *f = &r->in[0];

    CHECK(r->n <= h->s.rows && r->ny <= h->s.ny && (!f->x || f->ld <= h->s.ld));
    CHECK(!f->ptr == !h->s.nnz && !r->in[1].x && !r->in[1].ptr);
    host_rows(l, r);
    if (f->ptr)
        put_entries(h, l);
    if (f->x)
        put(h, to->in[0].x, f->x, (size_t)r->n * f->ld, sizeof *f->x);
    if (r->y)
        put(h, to->y, r->y, (size_t)r->n * r->ny, sizeof *r->y);
    put(h, to->weight, r->weight, r->n, sizeof *r->weight);
    if (r->rid)
        put(h, to->rid, r->rid, r->n, sizeof *r->rid);
    if (r->key)
        put(h, to->key, r->key, r->n, sizeof *r->key);
    if (r->ts_ms)
        put(h, to->ts_ms, r->ts_ms, r->n, sizeof *r->ts_ms);
    device_rows(l);
    keep(l, r);
    return l;
}

static const struct lane *measured(struct handover *h, struct lane *l)
{
    const struct shape *sh = h->shape;
    const size_t n = l->seen.n * sizeof(float);

    if (sh->out != OUT_NONE && n)
        h->c->get(h->cs, l->came.loss, l->eval.loss, n * sh->models);
    if (sh->out != OUT_NONE && sh->out != OUT_LOSS_ONLY && n)
        h->c->get(h->cs, l->came.z, l->eval.z, n * sh->zcols);
    return l;
}

const struct lane *handover_learned(struct handover *h)
{
    const struct lane *before = h->ahead ? measured(h, &h->lane[h->at ^ 1]) : NULL;

    h->ahead = true;
    return before;
}

enum st handover_drain(struct handover *h, const struct lane **last)
{
    *last = h->ahead ? measured(h, &h->lane[h->at]) : NULL;
    h->ahead = false;
    return h->c->sync(h->cs);
}
