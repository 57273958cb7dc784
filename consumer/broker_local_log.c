#include "consumer/broker_local.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* A batch: the records that one producer appended at once, the unit of reading and of checking.
 *
 *    0  4  "MRLB"                      4  4  CRC32C of all behind
 *    8  8  first offset               16  8  last offset it stands for
 *   24  8  pid, or 0                  32  8  time of the first record
 *   40  8  greatest time              48  4  records
 *   52  4  length of all              56     records, each:
 *
 *   varint length of what follows; zigzag (time - first record's); offset - first offset; key
 * length
 *   + 1, or 0 for null, and the key; value the same; number of headers, and of each: name length,
 *   name, 0, value as above.
 *
 * Kafka's form but for the name's 0 and the order; offsets of a compacted batch have holes. */

static const uint8_t batch_magic[4] = {'M', 'R', 'L', 'B'};

/* ---- spans ---- */

void spans_add(struct log_spans *l, struct log_span s)
{
    CHECK(s.first >= 0 && (s.marker == -1 || s.marker > s.first));
    l->s = local_grow(l->s, &l->cap, l->n + 1, sizeof *l->s);
    l->s[l->n++] = s;
}

void spans_remove(struct log_spans *l, uint32_t i)
{
    CHECK(i < l->n);
    memmove(&l->s[i], &l->s[i + 1], (--l->n - i) * sizeof *l->s);
}

int64_t part_stable(const struct local_part *p)
{
    int64_t stable = p->high;

    for (uint32_t i = 0; i < p->open.n; i++) {
        if (p->open.s[i].first < stable)
            stable = p->open.s[i].first;
    }
    return stable;
}

bool part_aborted(const struct local_part *p, uint64_t pid, int64_t offset)
{
    const struct log_spans *l = &p->aborted;
    uint32_t lo = 0, hi = l->n;

    while (lo < hi) { /* the first marker behind offset */
        uint32_t mid = lo + (hi - lo) / 2;

        if (l->s[mid].marker > offset)
            hi = mid;
        else
            lo = mid + 1;
    }
    for (; lo < l->n; lo++) {
        if (l->s[lo].pid == pid && l->s[lo].first <= offset)
            return true;
    }
    return false;
}

/* ---- building ---- */

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v > 127; v >>= 7)
        *p++ = (uint8_t)(v | 128);
    *p++ = (uint8_t)v;
    return p;
}

static uint32_t varint_bytes(uint64_t v)
{
    uint32_t n = 1;

    for (; v > 127; v >>= 7)
        n++;
    return n;
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

void batch_clear(struct log_batch *l)
{
    l->n = 0;
    l->records = 0;
    if (l->cap > 4 * (size_t)LOG_BATCH_BYTES) /* after a large record */
        batch_free(l);
}

void batch_free(struct log_batch *l)
{
    free(l->p);
    memset(l, 0, sizeof *l);
}

bool batch_has_room(const struct log_batch *l, size_t record_bytes)
{
    return !l->records ||
           (l->records < LOG_BATCH_RECORDS && l->n + record_bytes <= LOG_BATCH_BYTES);
}

size_t batch_record_bytes(struct bytes key, struct bytes value, const struct header *h,
                          uint32_t headers)
{
    size_t n = LOG_HEAD + LOG_RECORD_MAX_HEAD + key.n + value.n;

    for (uint32_t i = 0; i < headers; i++)
        n += strlen(h[i].name) + h[i].value.n + 16;
    return n;
}

static uint64_t length_code(struct bytes b)
{
    return b.p ? (uint64_t)b.n + 1 : 0;
}

static uint8_t *put_field(uint8_t *p, struct bytes b)
{
    p = put_varint(p, length_code(b));
    if (b.n)
        memcpy(p, b.p, b.n);
    return p + b.n;
}

/* The headers as they stand in a record: encoded already, or the caller's. */
static size_t headers_bytes(const struct log_record *r, const struct header *h, uint32_t headers)
{
    size_t n = varint_bytes(headers);

    if (r->headers)
        return r->header_bytes;
    for (uint32_t i = 0; i < headers; i++) {
        size_t name = strlen(h[i].name);

        n += varint_bytes(name) + name + 1 + varint_bytes(length_code(h[i].value)) + h[i].value.n;
    }
    return n;
}

static uint8_t *put_headers(uint8_t *p, const struct log_record *r, const struct header *h,
                            uint32_t headers)
{
    if (r->headers) {
        memcpy(p, r->headers, r->header_bytes);
        return p + r->header_bytes;
    }
    p = put_varint(p, headers);
    for (uint32_t i = 0; i < headers; i++) {
        size_t name = strlen(h[i].name);

        p = put_varint(p, name);
        memcpy(p, h[i].name, name + 1);
        p = put_field(p + name + 1, h[i].value);
    }
    return p;
}

enum st batch_add(struct log_batch *l, uint64_t delta, const struct log_record *r,
                  const struct header *h, uint32_t headers, struct err *e)
{
    uint64_t time =
        l->records ? zigzag((int64_t)((uint64_t)r->timestamp_ms - (uint64_t)l->first_ms)) : 0;
    size_t body = varint_bytes(time) + varint_bytes(delta) + varint_bytes(length_code(r->key)) +
                  r->key.n + varint_bytes(length_code(r->value)) + r->value.n +
                  headers_bytes(r, h, headers);
    size_t end = (l->records ? l->n : LOG_HEAD) + varint_bytes(body) + body;
    uint8_t *p, *body_at;

    if (end > l->cap) {
        size_t cap = end > LOG_BATCH_BYTES ? end : LOG_BATCH_BYTES;

        if (end > UINT32_MAX || !(p = realloc(l->p, cap)))
            return fail(e, ST_FATAL, "local broker: no memory for a batch of %zu bytes", end);
        l->p = p;
        l->cap = cap;
    }
    if (!l->records++) {
        l->n = LOG_HEAD;
        l->first_ms = l->last_ms = r->timestamp_ms;
    }
    if (r->timestamp_ms > l->last_ms)
        l->last_ms = r->timestamp_ms;
    body_at = put_varint(l->p + l->n, body);
    p = put_varint(put_varint(body_at, time), delta);
    p = put_headers(put_field(put_field(p, r->key), r->value), r, h, headers);
    l->n = (size_t)(p - l->p);
    CHECK(l->n == end && p == body_at + body);
    return ST_OK;
}

struct bytes batch_seal(struct log_batch *l, int64_t base, int64_t last, uint64_t pid)
{
    uint8_t *p = l->p;

    CHECK(l->records && base >= 0 && last >= base);
    CHECK(l->n > LOG_HEAD && l->n <= l->cap && l->last_ms >= l->first_ms);
    memcpy(p, batch_magic, 4);
    put_u64(p + 8, (uint64_t)base);
    put_u64(p + 16, (uint64_t)last);
    put_u64(p + 24, pid);
    put_u64(p + 32, (uint64_t)l->first_ms);
    put_u64(p + 40, (uint64_t)l->last_ms);
    put_u32(p + 48, l->records);
    put_u32(p + 52, (uint32_t)l->n);
    put_u32(p + 4, crc32c(p + 8, l->n - 8));
    return (struct bytes){p, l->n};
}

/* ---- reading ---- */

static enum st bad(const struct local_part *p, int64_t offset, const char *why, struct err *e)
{
    return fail(e, ST_CORRUPT,
                "local broker: batch at offset %lld of %s-%u does not verify: %s; what the store "
                "keeps is damaged: "
                "restore its folder from a copy, or delete the topic and load it again",
                (long long)offset, p->of->name, p->index, why);
}

void batch_head(struct bytes batch, struct log_head *h)
{
    CHECK(batch.n >= LOG_HEAD);
    h->base = (int64_t)get_u64(batch.p + 8);
    h->last = (int64_t)get_u64(batch.p + 16);
    h->pid = get_u64(batch.p + 24);
    h->first_ms = (int64_t)get_u64(batch.p + 32);
    h->last_ms = (int64_t)get_u64(batch.p + 40);
    h->records = get_u32(batch.p + 48);
    h->bytes = get_u32(batch.p + 52);
}

enum st batch_check(const struct local_part *p, struct bytes key, struct bytes value,
                    struct log_head *h, struct err *e)
{
    uint8_t want[BATCH_KEY];
    char why[96];

    *h = (struct log_head){0};
    if (value.n < LOG_HEAD || memcmp(value.p, batch_magic, 4)) {
        snprintf(why, sizeof why, "%zu bytes that are no batch", value.n);
        return bad(p, -1, why, e);
    }
    batch_head(value, h);
    if (get_u32(value.p + 4) != crc32c(value.p + 8, value.n - 8)) {
        snprintf(why, sizeof why, "CRC32C is %08x, %08x was written",
                 crc32c(value.p + 8, value.n - 8), get_u32(value.p + 4));
        return bad(p, h->base, why, e);
    }
    if (h->base < 0 || h->last < h->base || h->last >= p->high || !h->records ||
        h->bytes != value.n)
        return bad(p, h->base, "its head contradicts itself or the partition's end", e);
    batch_key(want, p, h->base);
    if (key.n != BATCH_KEY || memcmp(key.p, want, BATCH_KEY))
        return bad(p, h->base, "it stands under another offset", e);
    return ST_OK;
}

struct cursor {
    const uint8_t *p, *end; /* p NULL: ran over the end */
};

static uint64_t take_varint(struct cursor *c)
{
    uint64_t v = 0;

    for (int shift = 0; c->p && c->p < c->end && shift < 64; shift += 7) {
        uint8_t b = *c->p++;

        v |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            return v;
    }
    c->p = NULL;
    return 0;
}

static const uint8_t *take(struct cursor *c, uint64_t n)
{
    const uint8_t *p = c->p;

    if (!p || n > (size_t)(c->end - p)) {
        c->p = NULL;
        return NULL;
    }
    c->p += n;
    return p;
}

static struct bytes take_field(struct cursor *c)
{
    uint64_t n = take_varint(c);

    if (!c->p || !n)
        return (struct bytes){NULL, 0};
    return (struct bytes){take(c, n - 1), (size_t)(n - 1)};
}

static void take_header(struct cursor *c, struct header *out)
{
    uint64_t n = take_varint(c);
    const uint8_t *name = n < SIZE_MAX ? take(c, n + 1) : NULL;

    if (!name || name[n])
        c->p = NULL;
    out->name = (const char *)name;
    out->value = take_field(c);
}

enum st log_batch_next(const struct local_part *p, const struct log_head *h, struct bytes batch,
                       size_t *at, struct log_record *r, struct err *e)
{
    struct cursor c = {batch.p + *at, batch.p + batch.n};
    uint64_t body = take_varint(&c), time, delta, headers;
    struct header ignored;

    CHECK(*at >= LOG_HEAD && *at < batch.n && batch.n == h->bytes);
    if (!c.p || body > (size_t)(c.end - c.p))
        return bad(p, h->base, "a record is longer than the batch", e);
    c.end = c.p + body;
    time = take_varint(&c);
    delta = take_varint(&c);
    r->timestamp_ms = (int64_t)((uint64_t)h->first_ms + (time >> 1 ^ (time & 1 ? UINT64_MAX : 0)));
    r->offset = (int64_t)((uint64_t)h->base + delta);
    r->key = take_field(&c);
    r->value = take_field(&c);
    r->headers = c.p;
    headers = take_varint(&c);
    for (uint64_t i = 0; i < headers && c.p; i++)
        take_header(&c, &ignored);
    if (!c.p || c.p != c.end || delta > (uint64_t)(h->last - h->base))
        return bad(p, h->base, "a record's fields do not fill it", e);
    r->header_bytes = (size_t)(c.end - r->headers);
    *at = (size_t)(c.end - batch.p);
    DCHECK(*at <= batch.n && r->offset <= h->last);
    return ST_OK;
}

bool batch_header(const uint8_t *headers, const uint8_t *end, uint32_t i, struct header *out)
{
    struct cursor c = {headers, end};
    uint64_t n = take_varint(&c);

    if (i >= n)
        return false;
    for (uint32_t k = 0; k <= i; k++)
        take_header(&c, out);
    CHECK(c.p); /* log_batch_next has been over these bytes */
    return true;
}

struct reading {
    struct local *b;
    struct log_read *r;
    struct log_buffer *out;
    size_t start;
    bool full;
    enum st st;
    struct err *e;
};

/* What is in the buffer is borrowed: only an empty one may move. */
static void buffer_room(struct reading *x, size_t n)
{
    struct log_buffer *out = x->out;

    if (out->n) {
        x->full = true;
        return;
    }
    CHECK(n > out->cap);
    free(out->p);
    out->cap = n;
    if (!(out->p = malloc(n))) {
        out->cap = 0;
        x->st = fail(x->e, ST_FATAL, "no memory for a batch of %zu bytes", n);
    }
}

static bool read_batch(void *arg, struct bytes key, struct bytes value)
{
    struct reading *x = arg;
    struct log_read *r = x->r;
    struct log_buffer *out = x->out;
    struct log_head h;

    if ((x->st = batch_check(r->p, key, value, &h, x->e)) != ST_OK)
        return false;
    if (h.last < r->from)
        return true;
    if (!r->raw && h.pid && part_aborted(r->p, h.pid, h.base)) {
        r->from = h.last + 1;
        return true;
    }
    if (out->n > x->start)
        x->full = out->n - x->start + value.n > r->room;
    if (value.n > out->cap - out->n && !x->full)
        buffer_room(x, value.n);
    if (x->full || x->st != ST_OK)
        return false;
    CHECK(out->n + value.n <= out->cap && h.last >= r->from);
    memcpy(out->p + out->n, value.p, value.n);
    out->n += value.n;
    r->from = h.last + 1;
    return true;
}

enum st log_read(struct local *b, struct log_read *r, struct log_buffer *out, struct err *e)
{
    struct reading x = {b, r, out, out->n, false, ST_OK, e};
    uint8_t from[BATCH_KEY], upto[BATCH_KEY];
    struct bytes key, value;
    enum st st;

    CHECK(r->from >= 0 && r->from < r->upto && r->upto <= r->p->high);
    batch_key(from, r->p, r->from);
    batch_key(upto, r->p, r->upto);
    if (!r->aligned) { /* the batch that `from` lies in begins at or before it */
        uint8_t behind[BATCH_KEY];

        batch_key(behind, r->p, r->from + 1);
        TRY(b->env.store->last(b->store, (struct bytes){behind, BATCH_KEY}, &key, &value, e));
        if (key.p && key.n == BATCH_KEY && !memcmp(key.p, from, 9))
            memcpy(from, key.p, BATCH_KEY);
    }
    st = b->env.store->scan(b->store, (struct bytes){from, BATCH_KEY},
                            (struct bytes){upto, BATCH_KEY}, read_batch, &x, e);
    if (st == ST_OK)
        st = x.st;
    if (st == ST_OK && !x.full)
        r->from = r->upto;
    if (st != ST_OK)
        err_prefix(e, "local broker %s", b->dir);
    return st;
}

static enum st first_not_before(const struct local_part *p, struct bytes batch,
                                int64_t timestamp_ms, int64_t *offset, struct err *e)
{
    struct log_record r;
    struct log_head h;

    batch_head(batch, &h);
    for (size_t at = LOG_HEAD; at < batch.n;) {
        TRY(log_batch_next(p, &h, batch, &at, &r, e));
        if (r.timestamp_ms >= timestamp_ms && r.offset >= p->low && r.offset < *offset)
            *offset = r.offset;
    }
    return ST_OK;
}

enum st local_offset_at(void *self, const char *topic, int32_t partition, int64_t timestamp_ms,
                        int64_t *offset, struct err *e)
{
    struct log_buffer buffer = {0};
    struct local_topic *t;
    struct local_part *p;
    enum st st = ST_OK;

    TRY(txns_expire(self, e));
    TRY(local_topic_find(self, topic, &t, e));
    TRY(local_partition(t, partition, &p, e));
    *offset = part_stable(p);
    struct log_read r = {.p = p, .from = p->low, .upto = *offset, .room = 1};
    for (int64_t end = *offset; st == ST_OK && *offset == end && r.from < r.upto;) {
        size_t at = 0;

        buffer.n = 0;
        st = log_read(self, &r, &buffer, e);
        while (st == ST_OK && at < buffer.n) {
            struct bytes batch = {buffer.p + at, buffer.n - at};
            struct log_head h;

            batch_head(batch, &h);
            batch.n = h.bytes;
            at += h.bytes;
            st = first_not_before(p, batch, timestamp_ms, offset, e);
        }
        r.aligned = true;
    }
    free(buffer.p);
    return st;
}
