#include "algos/tensors.h"

#include "algos/compute/compute.h"
#include "config/base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64, NAME_BYTES = 48 };

static const struct {
    const char *name;
    uint32_t size;
} dtypes[] = {{NULL, 0},  {"f32", 4}, {"f64", 8}, {"u8", 1},
              {"i32", 4}, {"u32", 4}, {"i64", 8}, {"u64", 8}};

static bool dtype_known(enum dtype t)
{
    return (uint32_t)t > 0 && (uint32_t)t < sizeof dtypes / sizeof *dtypes;
}

size_t dtype_size(enum dtype t)
{
    CHECK(dtype_known(t));
    return dtypes[t].size;
}

const char *dtype_name(enum dtype t)
{
    CHECK(dtype_known(t));
    return dtypes[t].name;
}

/* ---- declared ---- */

struct build { /* what stands behind the struct decl that an algorithm sees */
    struct decl d;
    bool runtime; /* "@" names are the runtime's alone */
    uint64_t sum; /* bytes so far */
};

/* Past the largest block: sums and offsets stay far from 2^64. */
#define BYTES_LIMIT ((uint64_t)1 << 56)

static uint64_t align_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) & ~(to - 1);
}

static const char *dims_text(const struct tdecl *t, char *out, size_t n)
{
    size_t at = (size_t)snprintf(out, n, "[");

    for (int i = 0; i < 4 && t->dim[i] && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%llu", i ? ", " : "",
                               (unsigned long long)t->dim[i]);
    if (at < n)
        snprintf(out + at, n - at, "]");
    return out;
}

static const char *bytes_text(uint64_t bytes, char *out, size_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    int u = 0;

    for (; v >= 1024 && u < 6; u++)
        v /= 1024;
    snprintf(out, n, "%.*f %s", u ? 1 : 0, v, unit[u]);
    return out;
}

static bool name_valid(const char *name, bool runtime)
{
    size_t n = name ? strlen(name) : 0;
    const char *body = runtime && n && *name == '@' ? name + 1 : name;

    return n && n < NAME_BYTES && *body &&
           strspn(body, "abcdefghijklmnopqrstuvwxyz0123456789._") == strlen(body);
}

/* Elements of t, or false where dims overflow; a first dim of 0 is an absent tensor, which only
 * keeps its id. */
static bool count(const struct tdecl *t, uint64_t *n, uint64_t *row)
{
    uint64_t rest = 1;

    for (int i = 1; i < 4 && t->dim[0] && t->dim[i]; i++)
        if (__builtin_mul_overflow(rest, t->dim[i], &rest))
            return false;
    *row = rest;
    return !__builtin_mul_overflow(rest, t->dim[0], n);
}

static enum st refuse_bytes(const struct build *b, const struct tdecl *t, double bytes)
{
    char dims[96], limit[24], size[24];

    return fail(b->d.err, ST_BAD_CONFIG,
                "tensor %s %s takes %s, together with those before it more than memory_max, which "
                "is %s: fewer models or a smaller id space",
                t->name, dims_text(t, dims, sizeof dims),
                bytes_text(bytes < 0x1p60 ? (uint64_t)bytes : (uint64_t)1 << 60, size, sizeof size),
                bytes_text(b->d.bytes_max, limit, sizeof limit));
}

static enum st add_checked(struct build *b, const struct tdecl *t)
{
    struct tensors *ts = b->d.ts;
    struct err *e = b->d.err;
    struct tensor *at = &ts->t[ts->n];
    uint64_t n, row, size;
    double about = 1;

    if (ts->n == TENSORS_MAX)
        return fail(e, ST_BAD_CONFIG, "tensor %s: more than %d tensors", t->name, TENSORS_MAX);
    if (!name_valid(t->name, b->runtime))
        return fail(e, ST_BAD_CONFIG, "tensor %u: name '%.64s' must be [a-z0-9._]{1,%d}", ts->n,
                    t->name ? t->name : "", NAME_BYTES - 1);
    if (tensors_find(ts, t->name))
        return fail(e, ST_BAD_CONFIG, "tensor %s is declared twice", t->name);
    if (t->id != ts->n)
        return fail(e, ST_BAD_CONFIG, "tensor %s has id %u where %u is next", t->name, t->id,
                    ts->n);
    if (!dtype_known(t->dtype) || (uint32_t)t->law > LAW_FOLD)
        return fail(e, ST_BAD_CONFIG, "tensor %s: no such dtype %d or law %d", t->name,
                    (int)t->dtype, (int)t->law);
    size = dtype_size(t->dtype);
    for (int i = 0; i < 4 && t->dim[i]; i++)
        about *= (double)t->dim[i];
    if (!count(t, &n, &row) || n > BYTES_LIMIT / size || n * size > b->d.bytes_max ||
        b->sum + n * size > b->d.bytes_max || b->sum + n * size > BYTES_LIMIT)
        return refuse_bytes(b, t, about * (double)size);
    b->sum += n * size;
    *at = (struct tensor){.d = *t, .n = n, .bytes = n * size, .row_bytes = row * size};
    ts->n++;
    return ST_OK;
}

static void add(struct decl *d, const struct tdecl *t)
{
    if (d->st == ST_OK)
        d->st = add_checked((struct build *)d, t);
}

/* ---- laid out ---- */

/* References between tensors can only be checked when all are known. */
static enum st check_refs(const struct tensors *ts, struct err *e)
{
    for (uint32_t i = 0; i < ts->n; i++) {
        const struct tdecl *t = &ts->t[i].d;
        const struct tensor *by = t->law == LAW_MEAN && t->by < ts->n ? &ts->t[t->by] : NULL;

        if (t->law == LAW_MEAN && (!by || !by->n || (by->n != 1 && by->n != t->dim[0])))
            return fail(e, ST_BAD_CONFIG,
                        "tensor %s: the weights of its mean (tensor %u) must be [1] or one for "
                        "each of its %llu leading rows",
                        t->name, t->by, (unsigned long long)t->dim[0]);
        if (t->live &&
            (t->live > ts->n || ts->t[t->live - 1].d.dtype != DT_U64 || !ts->t[t->live - 1].n))
            return fail(e, ST_BAD_CONFIG, "tensor %s: its count of live rows is no u64 tensor",
                        t->name);
    }
    return ST_OK;
}

/* Which of the three zones of the block: shared, the algorithm's LOCAL, the runtime's LOCAL. */
static int zone(const struct tdecl *t)
{
    return t->law != LAW_LOCAL ? 0 : *t->name != '@' ? 1 : 2;
}

static enum st lay_out(struct tensors *ts, uint64_t bytes_max, struct err *e)
{
    uint64_t at = 0, chunk = (uint64_t)1 << ts->chunk_shift;
    char limit[24], size[24];

    TRY(check_refs(ts, e));
    for (int z = 0; z < 3; z++)
        for (uint32_t i = 0; i < ts->n; i++) {
            struct tensor *t = &ts->t[i];

            if (zone(&t->d) != z)
                continue;
            t->offset = t->bytes >= chunk ? align_up(at, chunk) : at;
            at = align_up(t->offset + t->bytes, ALIGN);
        }
    if (at > bytes_max)
        return fail(e, ST_BAD_CONFIG, "%u tensors take %s, memory_max is %s", ts->n,
                    bytes_text(at, size, sizeof size), bytes_text(bytes_max, limit, sizeof limit));
    if (at >> ts->chunk_shift >= UINT32_MAX)
        return fail(e, ST_BAD_CONFIG, "%u tensors take %s: too many chunks", ts->n,
                    bytes_text(at, size, sizeof size));
    CHECK(at % ALIGN == 0);
    ts->bytes = at;
    return ST_OK;
}

static struct build begin(struct tensors *ts, uint32_t chunk_shift, uint64_t bytes_max,
                          struct err *e)
{
    CHECK(chunk_shift >= 6 && chunk_shift < 32); /* a chunk is at least one alignment */
    memset(ts, 0, sizeof *ts);
    ts->chunk_shift = chunk_shift;
    return (struct build){.d = {.add = add, .ts = ts, .bytes_max = bytes_max, .err = e}};
}

static enum st add_all(struct build *b, const struct tdecl *d, uint32_t n, bool renumber)
{
    struct tdecl t;

    b->runtime = true;
    for (uint32_t i = 0; i < n; i++) {
        t = d[i];
        if (renumber)
            t.id = b->d.ts->n;
        add(&b->d, &t);
    }
    return b->d.st;
}

enum st tensors_declare(struct tensors *ts, const struct algo *a, enum part p,
                        const struct shape *sh, const void *opts, const void *derive_opts,
                        const struct tdecl *extra, uint32_t extras, uint32_t chunk_shift,
                        uint64_t bytes_max, struct err *e)
{
    struct build b = begin(ts, chunk_shift, bytes_max, e);
    enum st st = a->declare(&b.d, p, sh, opts, derive_opts);

    if (st == ST_OK)
        st = b.d.st; /* a declare() that forgot to return it */
    for (uint32_t i = 0; st == ST_OK && p == PART_STATE && i < ts->n; i++)
        if (ts->t[i].d.law == LAW_FOLD && !a->fold)
            st = fail(e, ST_BAD_CONFIG, "tensor %s: LAW_FOLD without a fold()", ts->t[i].d.name);
    if (st == ST_OK)
        st = add_all(&b, extra, extras, true);
    if (st == ST_OK)
        st = lay_out(ts, bytes_max, e);
    if (st != ST_OK)
        err_prefix(e, "algorithm %s", a->name);
    return st;
}

enum st tensors_layout(struct tensors *ts, const struct tdecl *d, uint32_t n, uint32_t chunk_shift,
                       uint64_t bytes_max, struct err *e)
{
    struct build b = begin(ts, chunk_shift, bytes_max, e);

    TRY(add_all(&b, d, n, false));
    return lay_out(ts, bytes_max, e);
}

/* ---- allocated ---- */

/* calloc() and not aligned_alloc(): pages that are never written must cost nothing. The address to
 * free is kept in the 8 bytes before the block; malloc's 16-byte alignment leaves room for them. */
static void *host_alloc(size_t bytes)
{
    uint8_t *raw = calloc(1, bytes + ALIGN);
    uint8_t *p = raw ? raw + (ALIGN - ((uintptr_t)raw & (ALIGN - 1))) : NULL;

    if (p)
        memcpy(p - sizeof raw, &raw, sizeof raw);
    return p;
}

static void host_free(uint8_t *p)
{
    void *raw;

    memcpy(&raw, p - sizeof raw, sizeof raw);
    free(raw);
}

static size_t dirty_words(const struct tensors *ts)
{
    return ((size_t)tensors_chunks(ts) + 63) / 64;
}

enum st tensors_alloc(struct tensors *ts, const struct compute *c, void *cs, struct err *e)
{
    size_t bytes = ts->bytes ? ts->bytes : ALIGN, device = tensors_device_bytes(ts);
    size_t words = dirty_words(ts);
    char size[24];

    CHECK(!ts->base && !ts->dirty && !ts->c);
    if (c && !c->host_memory) {
        ts->c = c;
        ts->cs = cs;
        ts->device = c->alloc(cs, device ? device : ALIGN);
    }
    ts->base = c && c->host_memory ? c->alloc(cs, bytes) : host_alloc(bytes);
    ts->dirty = calloc(words ? words : 1, sizeof *ts->dirty);
    if (!ts->base || !ts->dirty || (ts->c && !ts->device)) {
        tensors_free(ts, c, cs);
        return fail(e, ST_FATAL, "out of memory: no %s for %u tensors",
                    bytes_text(bytes, size, sizeof size), ts->n);
    }
    CHECK(((uintptr_t)ts->base & (ALIGN - 1)) == 0);
    for (uint32_t i = 0; i < ts->n; i++)
        ts->t[i].p = ts->base + ts->t[i].offset;
    if (ts->c)
        tensors_point(ts);
    return ST_OK;
}

void tensors_free(struct tensors *ts, const struct compute *c, void *cs)
{
    if (ts->device)
        ts->c->free(ts->cs, ts->device);
    if (ts->base && c && c->host_memory)
        c->free(cs, ts->base);
    else if (ts->base)
        host_free(ts->base);
    free(ts->dirty);
    ts->base = ts->device = NULL;
    ts->dirty = NULL;
    ts->c = NULL;
    for (uint32_t i = 0; i < ts->n; i++)
        ts->t[i].p = NULL;
}

void tensors_zero(struct tensors *ts)
{
    CHECK(ts->base && ts->dirty);
    memset(ts->base, 0, ts->bytes);
    memset(ts->dirty, 0xff, dirty_words(ts) * sizeof *ts->dirty);
    tensors_send(ts);
}

void tensors_copy(struct tensors *to, const struct tensors *from)
{
    CHECK(to->bytes == from->bytes && to->n == from->n && to->chunk_shift == from->chunk_shift);
    CHECK(to->base && from->base && to->base != from->base);
    CHECK(!from->c);
    memcpy(to->base, from->base, to->bytes);
    memset(to->dirty, 0xff, dirty_words(to) * sizeof *to->dirty);
    tensors_send(to);
}

void tensors_clear(struct tensors *ts, uint32_t i, uint64_t from)
{
    const struct tensor *t = &ts->t[i];
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint8_t *all = tensor_on_device(ts, i) ? ts->base + t->offset : t->u8;
    uint8_t *p = all + from, *end = all + t->bytes;
    uint8_t *first = p + (page - ((uintptr_t)p & (page - 1))) % page;
    uint8_t *last = end - ((uintptr_t)end & (page - 1));

    CHECK(from <= t->bytes);
    if (first >= last || madvise(first, (size_t)(last - first), MADV_DONTNEED) != 0) {
        memset(p, 0, (size_t)(end - p));
    } else {
        memset(p, 0, (size_t)(first - p));
        memset(last, 0, (size_t)(end - last));
    }
    if (tensor_on_device(ts, i))
        ts->c->put(ts->cs, t->u8 + from, p, (size_t)(end - p));
}

double tensor_element(const struct tensor *t, uint64_t i)
{
    CHECK(i < t->n);
    switch (t->d.dtype) {
    case DT_F32:
        return (double)t->f32[i];
    case DT_F64:
        return t->f64[i];
    case DT_U8:
        return t->u8[i];
    case DT_I32:
        return t->i32[i];
    case DT_U32:
        return t->u32[i];
    case DT_I64:
        return (double)t->i64[i];
    case DT_U64:
        break;
    }
    return (double)t->u64[i];
}

const struct tensor *tensors_find(const struct tensors *ts, const char *name)
{
    for (uint32_t i = 0; i < ts->n; i++)
        if (!strcmp(ts->t[i].d.name, name))
            return &ts->t[i];
    return NULL;
}

/* ---- scanned ---- */

uint32_t tensors_chunks(const struct tensors *ts)
{
    return (uint32_t)((ts->bytes + ((uint64_t)1 << ts->chunk_shift) - 1) >> ts->chunk_shift);
}

uint32_t tensors_chunk_bytes(const struct tensors *ts, uint32_t j)
{
    uint64_t at = (uint64_t)j << ts->chunk_shift, left;

    CHECK(at < ts->bytes);
    left = ts->bytes - at;
    return left >> ts->chunk_shift ? (uint32_t)1 << ts->chunk_shift : (uint32_t)left;
}

/* 0 stands for a chunk of zeros, and for that alone. */
static uint64_t chunk_hash(const uint8_t *p, size_t n)
{
    uint64_t h;

    if (p[0] == 0 && !memcmp(p, p + 1, n - 1))
        return 0;
    h = hash64(p, n, 0);
    return h ? h : 1;
}

/* Adding one to the exponent field carries into the sign bit exactly when all of its bits are set:
 * NaN and infinity without a branch or a comparison, so plain SSE2 does four at a time. */
static bool finite32(const uint32_t *p, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= (p[i] & 0x7f800000u) + 0x00800000u;
    return !(bad >> 31);
}

static bool finite64(const uint64_t *p, size_t n)
{
    uint64_t bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= (p[i] & 0x7ff0000000000000u) + 0x0010000000000000u;
    return !(bad >> 63);
}

static enum st refuse_value(const struct tensor *t, uint64_t i, struct err *e)
{
    double v = tensor_element(t, i);
    uint64_t width = t->row_bytes / dtype_size(t->d.dtype);

    return fail(e, ST_FATAL,
                "tensor %s [row %llu, column %llu] is %f: the model diverged; a lower learning "
                "rate or standardised inputs help",
                t->d.name, (unsigned long long)(i / width), (unsigned long long)(i % width), v);
}

/* Bytes [from, to) of the block hold no NaN and no infinity? */
static enum st check_finite(const struct tensors *ts, uint64_t from, uint64_t to, struct err *e)
{
    for (uint32_t k = 0; k < ts->n; k++) {
        struct tensor t = ts->t[k]; /* as it lies in the block */
        uint64_t lo = t.offset > from ? t.offset : from, size = dtype_size(t.d.dtype);
        uint64_t hi = t.offset + t.bytes < to ? t.offset + t.bytes : to;
        const uint8_t *p = ts->base + lo;

        if (lo >= hi || (t.d.dtype != DT_F32 && t.d.dtype != DT_F64))
            continue;
        if (size == 4 ? finite32((const uint32_t *)(const void *)p, (hi - lo) / 4)
                      : finite64((const uint64_t *)(const void *)p, (hi - lo) / 8))
            continue;
        t.p = ts->base + t.offset;
        for (uint64_t i = (lo - t.offset) / size;; i++) {
            CHECK(i < t.n);
            if (size == 4 ? !finite32(t.u32 + i, 1) : !finite64(t.u64 + i, 1))
                return refuse_value(&t, i, e);
        }
    }
    return ST_OK;
}

enum st tensors_finite(const struct tensors *ts, struct err *e)
{
    return check_finite(ts, 0, ts->bytes, e);
}

/* Dense tensors are as good as touched everywhere. */
static void mark_dense(struct tensors *ts)
{
    for (uint32_t i = 0; i < ts->n; i++) {
        const struct tensor *t = &ts->t[i];

        if (t->bytes && !(t->d.flags & T_SPARSE))
            touch(ts, i, 0, t->d.dim[0]);
    }
}

enum st tensors_scan(struct tensors *ts, uint64_t *hash, uint64_t *changed, struct err *e)
{
    uint32_t chunks = tensors_chunks(ts);

    CHECK(ts->base && ts->dirty && hash && changed);
    mark_dense(ts);
    for (uint32_t w = 0; w < (chunks + 63) / 64; w++) {
        for (uint64_t marks = ts->dirty[w]; marks; marks &= marks - 1) {
            uint32_t j = w * 64 + (uint32_t)__builtin_ctzll(marks);
            uint64_t at = (uint64_t)j << ts->chunk_shift, h;
            uint32_t n;

            if (j >= chunks) /* tensors_zero() and _copy() mark whole words */
                break;
            n = tensors_chunk_bytes(ts, j);
            h = chunk_hash(ts->base + at, n);
            if (h == hash[j])
                continue;
            TRY(check_finite(ts, at, at + n, e));
            hash[j] = h;
            changed[j >> 6] |= (uint64_t)1 << (j & 63);
        }
        ts->dirty[w] = 0;
    }
    return ST_OK;
}

/* ---- compared ---- */

/* What a mean is weighted by is not negative. */
static enum st counts(const struct tensor *t, struct err *e)
{
    for (uint64_t i = 0; i < t->n; i++)
        if ((t->d.dtype == DT_F32 && t->f32[i] < 0) || (t->d.dtype == DT_F64 && t->f64[i] < 0))
            return fail(e, ST_CORRUPT, "tensor %s: element %llu is a count below 0", t->d.name,
                        (unsigned long long)i);
    return ST_OK;
}

enum st tensors_intact(const struct tensors *read, const struct algo *a, const struct ctx *x)
{
    const struct tensors host = tensors_host(read), *ts = &host;

    if (check_finite(ts, 0, ts->bytes, x->err) != ST_OK)
        return ST_CORRUPT; /* with its text */
    for (uint32_t i = 0; i < ts->n; i++) {
        const struct tdecl *d = &ts->t[i].d;

        if (d->live && ts->t[i].n && ts->t[d->live - 1].u64[0] > d->dim[0])
            return fail(x->err, ST_CORRUPT, "tensor %s: %llu live rows of %llu", d->name,
                        (unsigned long long)ts->t[d->live - 1].u64[0],
                        (unsigned long long)d->dim[0]);
    }
    for (uint32_t i = 0; i < ts->n; i++)
        if (ts->t[i].n && ts->t[i].d.law == LAW_MEAN)
            TRY(counts(&ts->t[ts->t[i].d.by], x->err));
    return a->intact ? a->intact(x, ts) : ST_OK;
}

enum st tensors_same(const struct tensors *a, const struct tensors *b, struct err *e)
{
    char da[96], db[96];

    for (uint32_t i = 0; i < a->n && i < b->n; i++) {
        const struct tdecl *x = &a->t[i].d, *y = &b->t[i].d;

        if (strcmp(x->name, y->name))
            return fail(e, ST_BAD_CONFIG, "tensor %u is %s here and %s there", i, x->name, y->name);
        if (x->dtype != y->dtype || memcmp(x->dim, y->dim, sizeof x->dim))
            return fail(e, ST_BAD_CONFIG, "tensor %s is %s %s here and %s %s there", x->name,
                        dtype_name(x->dtype), dims_text(x, da, sizeof da), dtype_name(y->dtype),
                        dims_text(y, db, sizeof db));
        if (x->law != y->law)
            return fail(e, ST_BAD_CONFIG, "tensor %s merges by law %d here and %d there", x->name,
                        (int)x->law, (int)y->law);
    }
    if (a->n != b->n)
        return fail(e, ST_BAD_CONFIG, "tensor %s is only %s",
                    a->n > b->n ? a->t[b->n].d.name : b->t[a->n].d.name,
                    a->n > b->n ? "here" : "there");
    return ST_OK;
}
