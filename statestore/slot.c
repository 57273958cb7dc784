/* Chunk, 32 bytes and the payload:
 *
 *    0 "MRSC"       4 u16 version 1     6 u16 codec 0      8 u32 partition   12 u32 j
 *   16 u64 seq     24 u32 length       28 u32 CRC of the payload             32 payload
 *
 * Manifest, 152 bytes, then 16 for each chunk, the tail and the CRC of all before it:
 *
 *    0 "MRSM"       4 u16 version 1     6 u16 flags        8 u32 partition
 *   12 u32 run     16 u32 epoch        20 i64 offset      28 u32 epochs asked
 *   32 i64 begin   40 i64 end          48 i64 last offset 56 u64 last fingerprint
 *   64 u64 trained 72 u64 rejected     80 u64 lost        88 u64 seq
 *   96 u32 round  100 u32 partitions  104 u64 job fingerprint
 *  112 algorithm, 16 bytes, zero-filled                  128 u32 state version
 *  132 u32 chunk bytes                136 u64 state bytes 144 u32 chunks n
 *  148 u32 L      152 n x {u64 seq, u32 length, u32 CRC}  then L bytes of tail, then u32 CRC
 *
 * Tail, Avro binary of the record {array of record {string name; long dtype, law, flags, by, live;
 * array of long dims}, array of record {long run, epoch, begin, end, records, kind}, long life,
 * base, from_kind, from_value}. An array is one block: count, items, 0.
 *
 * There is one encoding of a manifest: what decodes encodes to the same bytes. */
#include "statestore/slot.h"

#include "config/base/avro.h"
#include "config/base/bytes.h"
#include "config/base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    FORMAT = 1,
    TENSOR_MAX = 2 + 47 + 5 * 5 + 2 + 4 * AVRO_LONG_MAX,
    LINEAGE_BYTES = 3 * 5 + 3 * AVRO_LONG_MAX,
    TAIL_MAX = 2 * (5 + AVRO_LONG_MAX) + 4 + SLOT_TENSORS_MAX * TENSOR_MAX + 4 +
               LINEAGE_MAX * LINEAGE_BYTES
};

/* ---- tail ---- */

static uint8_t *put_count(uint8_t *p, uint64_t v)
{
    CHECK(v <= INT64_MAX);
    return avro_put_long(p, (int64_t)v);
}

static uint32_t in_u32(struct avro_in *in)
{
    return (uint32_t)avro_count(in, UINT32_MAX);
}

/* The 0 that ends an array of n items; an empty one is that 0 alone. */
static void in_array_end(struct avro_in *in, uint32_t n)
{
    if (n)
        avro_count(in, 0);
}

static uint8_t *put_tensor(uint8_t *p, const struct slot_tensor *t)
{
    size_t name = strlen(t->name);
    uint32_t dims = 0;

    p = put_count(p, name);
    memcpy(p, t->name, name);
    p = put_count(p + name, t->dtype);
    p = put_count(p, t->law);
    p = put_count(p, t->flags);
    p = put_count(p, t->by);
    p = put_count(p, t->live);
    while (dims < 4 && t->dim[dims])
        dims++;
    p = put_count(p, dims);
    for (uint32_t i = 0; i < dims; i++)
        p = put_count(p, t->dim[i]);
    return dims ? put_count(p, 0) : p;
}

static void in_tensor(struct avro_in *in, struct slot_tensor *t)
{
    size_t name = avro_count(in, sizeof t->name - 1);
    const uint8_t *p = avro_bytes(in, name);
    uint32_t dims;

    memset(t, 0, sizeof *t);
    if (!p)
        return;
    memcpy(t->name, p, name);
    in->bad = strlen(t->name) != name;
    t->dtype = in_u32(in);
    t->law = in_u32(in);
    t->flags = in_u32(in);
    t->by = in_u32(in);
    t->live = in_u32(in);
    dims = (uint32_t)avro_count(in, 4);
    for (uint32_t i = 0; i < dims; i++) {
        t->dim[i] = avro_count(in, INT64_MAX);
        in->bad = in->bad || !t->dim[i];
    }
    in_array_end(in, dims);
}

static uint8_t *put_lineage(uint8_t *p, const struct lineage *l)
{
    p = put_count(p, l->run);
    p = put_count(p, l->epoch);
    p = avro_put_long(p, l->begin);
    p = avro_put_long(p, l->end);
    p = put_count(p, l->records);
    return put_count(p, l->kind);
}

static void in_lineage(struct avro_in *in, struct lineage *l)
{
    l->run = in_u32(in);
    l->epoch = in_u32(in);
    l->begin = avro_long(in);
    l->end = avro_long(in);
    l->records = avro_count(in, INT64_MAX);
    l->kind = in_u32(in);
}

static uint8_t *put_tail(uint8_t *p, const struct manifest *m)
{
    p = put_count(p, m->tensors);
    for (uint32_t i = 0; i < m->tensors; i++)
        p = put_tensor(p, &m->tensor[i]);
    if (m->tensors)
        p = put_count(p, 0);
    p = put_count(p, m->lineages);
    for (uint32_t i = 0; i < m->lineages; i++)
        p = put_lineage(p, &m->lineage[i]);
    if (m->lineages)
        p = put_count(p, 0);
    p = put_count(put_count(p, m->life), m->base);
    return avro_put_long(put_count(p, m->from_kind), m->from_value);
}

static enum st read_tail(struct manifest *m, const uint8_t *p, size_t n, struct err *e)
{
    struct avro_in in = {p, p + n, false};

    m->tensors = (uint32_t)avro_count(&in, SLOT_TENSORS_MAX);
    for (uint32_t i = 0; i < m->tensors; i++)
        in_tensor(&in, &m->tensor[i]);
    in_array_end(&in, m->tensors);
    if (in.bad)
        return fail(e, ST_CORRUPT, "manifest: the list of tensors does not decode");
    m->lineages = (uint32_t)avro_count(&in, LINEAGE_MAX);
    for (uint32_t i = 0; i < m->lineages; i++)
        in_lineage(&in, &m->lineage[i]);
    in_array_end(&in, m->lineages);
    if (in.bad)
        return fail(e, ST_CORRUPT, "manifest: the lineage does not decode");
    m->life = in_u32(&in);
    m->base = avro_count(&in, INT64_MAX);
    if (in.bad || m->base > m->trained)
        return fail(e, ST_CORRUPT,
                    "manifest: life %" PRIu32 " began after %" PRIu64 " of %" PRIu64 " records",
                    m->life, m->base, m->trained);
    m->from_kind = in_u32(&in);
    m->from_value = avro_long(&in);
    if (in.bad)
        return fail(e, ST_CORRUPT, "manifest: how its begin was asked for does not decode");
    if (in.p != in.end)
        return fail(e, ST_CORRUPT, "manifest: %zu bytes behind the tail", (size_t)(in.end - in.p));
    return ST_OK;
}

/* ---- manifest ---- */

static uint32_t chunk_length(const struct manifest *m, uint32_t j)
{
    uint64_t left = m->state_bytes - (uint64_t)j * m->chunk_bytes;

    return left < m->chunk_bytes ? (uint32_t)left : m->chunk_bytes;
}

static enum st sizes_valid(const struct manifest *m, struct err *e)
{
    uint64_t want = m->chunk_bytes
                        ? m->state_bytes / m->chunk_bytes + (m->state_bytes % m->chunk_bytes != 0)
                        : 0;

    if (!m->chunk_bytes || m->chunks > SLOT_CHUNKS_MAX || m->chunks != want)
        return fail(e, ST_CORRUPT,
                    "manifest: %" PRIu64 " bytes of state do not make %u chunks of %u bytes",
                    m->state_bytes, m->chunks, m->chunk_bytes);
    for (uint32_t j = 0; j < m->chunks; j++) {
        const struct slot_chunk *c = &m->chunk[j];

        if (c->bytes ? c->bytes != chunk_length(m, j) || c->seq > m->seq : c->seq || c->crc)
            return fail(e, ST_CORRUPT,
                        "manifest: chunk %u has length %u and seq %" PRIu64 " of %" PRIu64, j,
                        c->bytes, c->seq, m->seq);
    }
    return ST_OK;
}

size_t slot_key(char out[SLOT_KEY_BYTES], uint32_t partition, uint32_t turn, int64_t j)
{
    int n = snprintf(out, SLOT_KEY_BYTES, "slot/%" PRIu32 "%s/", partition, turn ? ".1" : "");

    CHECK(turn < 2);
    if (j < 0)
        n += snprintf(out + n, (size_t)(SLOT_KEY_BYTES - n), j == SLOT_RUN ? "run" : "manifest");
    else
        n += snprintf(out + n, (size_t)(SLOT_KEY_BYTES - n), "chunk/%" PRId64, j);
    CHECK(n < SLOT_KEY_BYTES);
    return (size_t)n;
}

/* Held before every encode and after every decode. */
static enum st manifest_valid(const struct manifest *m, struct err *e)
{
    if (m->flags & ~(uint32_t)(SLOT_DONE | SLOT_IDLE | SLOT_STOPPED | SLOT_WAIT | SLOT_LOOSE |
                               SLOT_ENDED | SLOT_BACKENDS << SLOT_BACKEND_SHIFT))
        return fail(e, ST_CORRUPT, "manifest: flags %#x are unknown", m->flags);
    if (m->partition >= PARTITIONS_MAX)
        return fail(e, ST_CORRUPT, "manifest: partition %u is beyond %d", m->partition,
                    PARTITIONS_MAX - 1);
    if (m->pos.offset < 0 || m->begin < 0 || m->end < m->begin)
        return fail(e, ST_CORRUPT, "manifest: offset %" PRId64 " of [%" PRId64 ", %" PRId64 ")",
                    m->pos.offset, m->begin, m->end);
    if (m->last_offset < -1)
        return fail(e, ST_CORRUPT, "manifest: last trained offset %" PRId64, m->last_offset);
    if (!*m->algo || m->algo[sizeof m->algo - 1])
        return fail(e, ST_CORRUPT, "manifest: no name of an algorithm");
    for (uint32_t i = 0; i < m->tensors; i++) {
        const char *name = m->tensor[i].name;

        if (!*name || !memchr(name, 0, sizeof m->tensor[i].name))
            return fail(e, ST_CORRUPT, "manifest: tensor %u has no name", i);
    }
    for (uint32_t i = 0; i < m->lineages; i++) {
        const struct lineage *l = &m->lineage[i];

        if (l->kind > LINEAGE_ENDED || l->begin < 0 || l->end < l->begin)
            return fail(e, ST_CORRUPT,
                        "manifest: lineage %u is kind %u over [%" PRId64 ", %" PRId64 ")", i,
                        l->kind, l->begin, l->end);
    }
    return sizes_valid(m, e);
}

size_t manifest_bytes_max(uint32_t chunks)
{
    CHECK(chunks <= SLOT_CHUNKS_MAX);
    return MANIFEST_HEAD + 16 * (size_t)chunks + TAIL_MAX + 4;
}

size_t manifest_encode(const struct manifest *m, uint8_t *out)
{
    uint8_t *p = out + MANIFEST_HEAD, *tail;
    struct err e;

    CHECK(m->tensors <= SLOT_TENSORS_MAX && m->lineages <= LINEAGE_MAX);
    if (manifest_valid(m, &e) != ST_OK)
        check_failed(__FILE__, __LINE__, e.text);
    memcpy(out, "MRSM", 4);
    put_u16(out + 4, FORMAT);
    put_u16(out + 6, (uint16_t)m->flags);
    put_u32(out + 8, m->partition);
    put_u32(out + 12, m->pos.run);
    put_u32(out + 16, m->pos.epoch);
    put_u64(out + 20, (uint64_t)m->pos.offset);
    put_u32(out + 28, m->epochs);
    put_u64(out + 32, (uint64_t)m->begin);
    put_u64(out + 40, (uint64_t)m->end);
    put_u64(out + 48, (uint64_t)m->last_offset);
    put_u64(out + 56, m->last_fingerprint);
    put_u64(out + 64, m->trained);
    put_u64(out + 72, m->rejected);
    put_u64(out + 80, m->lost);
    put_u64(out + 88, m->seq);
    put_u32(out + 96, m->round);
    put_u32(out + 100, m->partitions);
    put_u64(out + 104, m->job);
    memset(out + 112, 0, 16);
    memcpy(out + 112, m->algo, strlen(m->algo));
    put_u32(out + 128, m->state_version);
    put_u32(out + 132, m->chunk_bytes);
    put_u64(out + 136, m->state_bytes);
    put_u32(out + 144, m->chunks);
    for (uint32_t j = 0; j < m->chunks; j++, p += 16) {
        put_u64(p, m->chunk[j].seq);
        put_u32(p + 8, m->chunk[j].bytes);
        put_u32(p + 12, m->chunk[j].crc);
    }
    tail = p;
    p = put_tail(p, m);
    put_u32(out + 148, (uint32_t)(p - tail));
    put_u32(p, crc32c(out, (size_t)(p - out)));
    p += 4;
    CHECK((size_t)(p - out) <= manifest_bytes_max(m->chunks));
    return (size_t)(p - out);
}

static void read_head(struct manifest *m, const uint8_t *p)
{
    m->flags = get_u16(p + 6);
    m->partition = get_u32(p + 8);
    m->pos = (struct position){get_u32(p + 12), get_u32(p + 16), (int64_t)get_u64(p + 20)};
    m->epochs = get_u32(p + 28);
    m->begin = (int64_t)get_u64(p + 32);
    m->end = (int64_t)get_u64(p + 40);
    m->last_offset = (int64_t)get_u64(p + 48);
    m->last_fingerprint = get_u64(p + 56);
    m->trained = get_u64(p + 64);
    m->rejected = get_u64(p + 72);
    m->lost = get_u64(p + 80);
    m->seq = get_u64(p + 88);
    m->round = get_u32(p + 96);
    m->partitions = get_u32(p + 100);
    m->job = get_u64(p + 104);
    memcpy(m->algo, p + 112, 16);
    m->algo[16] = '\0';
    m->state_version = get_u32(p + 128);
    m->chunk_bytes = get_u32(p + 132);
    m->state_bytes = get_u64(p + 136);
    m->chunks = get_u32(p + 144);
}

/* Frame, version and CRC; the chunk count and the tail's length fit the n bytes there are. */
static enum st check_frame(const struct manifest *m, const uint8_t *p, size_t n, struct err *e)
{
    uint64_t chunks, tail;
    uint32_t crc;

    if (n < MANIFEST_HEAD + 4 || memcmp(p, "MRSM", 4))
        return fail(e, ST_CORRUPT, "manifest: %zu bytes that are no manifest", n);
    if (get_u16(p + 4) != FORMAT)
        return fail(e, ST_CORRUPT,
                    "manifest: format version %u, this program reads %d; use a newer millrace",
                    get_u16(p + 4), FORMAT);
    chunks = get_u32(p + 144);
    tail = get_u32(p + 148);
    if (MANIFEST_HEAD + 16 * chunks + tail + 4 != n)
        return fail(e, ST_CORRUPT,
                    "manifest: %zu bytes, but its %" PRIu64 " chunks and tail of %" PRIu64
                    " make %" PRIu64,
                    n, chunks, tail, MANIFEST_HEAD + 16 * chunks + tail + 4);
    crc = crc32c(p, n - 4);
    if (crc != get_u32(p + n - 4))
        return fail(e, ST_CORRUPT, "manifest: CRC is %08x, its bytes give %08x", get_u32(p + n - 4),
                    crc);
    if (chunks > m->chunks_max)
        return fail(e, ST_CORRUPT, "manifest: %" PRIu64 " chunks, at most %u are expected", chunks,
                    m->chunks_max);
    for (uint32_t i = 0, ended = 0; i < 16; i++) {
        if (ended && p[112 + i])
            return fail(e, ST_CORRUPT, "manifest: bytes behind the name of the algorithm");
        ended |= !p[112 + i];
    }
    return ST_OK;
}

enum st manifest_decode(struct manifest *m, const uint8_t *p, size_t n, struct err *e)
{
    TRY(check_frame(m, p, n, e));
    read_head(m, p);
    p += MANIFEST_HEAD;
    for (uint32_t j = 0; j < m->chunks; j++, p += 16)
        m->chunk[j] = (struct slot_chunk){get_u64(p), get_u32(p + 8), get_u32(p + 12)};
    TRY(read_tail(m, p, n - MANIFEST_HEAD - 16 * (size_t)m->chunks - 4, e));
    return manifest_valid(m, e);
}

/* ---- chunk ---- */

void chunk_encode(uint8_t *head, uint32_t partition, uint32_t j, uint64_t seq, const void *payload,
                  uint32_t bytes)
{
    CHECK(partition < PARTITIONS_MAX && j < SLOT_CHUNKS_MAX && bytes);
    memcpy(head, "MRSC", 4);
    put_u16(head + 4, FORMAT);
    put_u16(head + 6, 0);
    put_u32(head + 8, partition);
    put_u32(head + 12, j);
    put_u64(head + 16, seq);
    put_u32(head + 24, bytes);
    put_u32(head + 28, crc32c(payload, bytes));
}

enum st chunk_decode(struct chunk *c, const uint8_t *p, size_t n, struct err *e)
{
    struct chunk got;
    uint32_t crc;

    if (n <= CHUNK_HEAD || memcmp(p, "MRSC", 4))
        return fail(e, ST_CORRUPT, "chunk: %zu bytes that are no chunk", n);
    if (get_u16(p + 4) != FORMAT || get_u16(p + 6))
        return fail(
            e, ST_CORRUPT,
            "chunk: format version %u, codec %u; this program reads %d and 0; use a newer millrace",
            get_u16(p + 4), get_u16(p + 6), FORMAT);
    got = (struct chunk){.partition = get_u32(p + 8),
                         .j = get_u32(p + 12),
                         .seq = get_u64(p + 16),
                         .bytes = get_u32(p + 24),
                         .crc = get_u32(p + 28),
                         .payload = p + CHUNK_HEAD};
    if (got.partition >= PARTITIONS_MAX || got.j >= SLOT_CHUNKS_MAX)
        return fail(e, ST_CORRUPT, "chunk: number %u of partition %u is out of range", got.j,
                    got.partition);
    if (got.bytes != n - CHUNK_HEAD)
        return fail(e, ST_CORRUPT, "chunk: says %u bytes, %zu are there", got.bytes,
                    n - CHUNK_HEAD);
    crc = crc32c(got.payload, got.bytes);
    if (crc != got.crc)
        return fail(e, ST_CORRUPT, "chunk: CRC is %08x, its bytes give %08x", got.crc, crc);
    *c = got;
    return ST_OK;
}

/* ---- lineage ---- */

enum st lineage_add(struct manifest *m, struct lineage l, struct err *e)
{
    struct lineage *last = m->lineages ? &m->lineage[m->lineages - 1] : NULL;
    bool mark = l.kind >= LINEAGE_RESET;

    CHECK(l.begin >= 0 && l.end >= l.begin && l.kind <= LINEAGE_ENDED);
    if (!mark && l.begin == l.end) {
        CHECK(!l.records);
        return ST_OK;
    }
    if (last && !mark && last->kind == l.kind && last->run == l.run && last->epoch == l.epoch &&
        last->end == l.begin) {
        last->end = l.end;
        last->records += l.records;
        return ST_OK;
    }
    if (m->lineages == LINEAGE_MAX)
        return fail(e, ST_FATAL,
                    "partition %u: its history has %d separate pieces, and no more can be stated; "
                    "`millrace reset` "
                    "begins anew",
                    m->partition, LINEAGE_MAX);
    m->lineage[m->lineages++] = l;
    return ST_OK;
}

/* ---- digest ---- */

void digest_begin(struct digest *d, const struct manifest *m)
{
    uint8_t b[40];

    put_u32(b, m->pos.run);
    put_u32(b + 4, m->pos.epoch);
    put_u64(b + 8, (uint64_t)m->pos.offset);
    put_u64(b + 16, m->trained);
    put_u64(b + 24, m->rejected);
    put_u64(b + 32, m->lost);
    d->h = hash64(b, sizeof b, 0);
}

bool chunk_is_zero(const void *payload, uint32_t bytes)
{
    const uint8_t *p = payload;

    return !bytes || (!p[0] && !memcmp(p, p + 1, bytes - 1));
}

void digest_chunk(struct digest *d, uint32_t j, const void *payload, uint32_t bytes)
{
    if (payload && !chunk_is_zero(payload, bytes))
        d->h = hash64(payload, bytes, mix64(d->h + j));
}
