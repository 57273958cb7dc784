#include "consumer/slot_reader.h"

#include "config/base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NO_PROGRESS_MS = 60000, READER_WAIT_MS = 10, READER_RECORDS = 256 };

/* Fetched slots wait here; librdkafka counts whole fetches, so this is a floor, not the slot's
 * size. */
static const uint64_t reader_queue_bytes = 32u << 20;

enum st slot_reader_open(struct slot_reader *r, const struct broker *br, void *b, const char *topic,
                         struct err *e)
{
    struct consumer_conf c = {.topics = &r->topic,
                              .topics_n = 1,
                              .wait_ms = READER_WAIT_MS,
                              .queue_bytes = reader_queue_bytes};

    r->br = br;
    r->b = b;
    r->topic = topic;
    r->rec_max = READER_RECORDS;
    r->rec = calloc(READER_RECORDS, sizeof *r->rec);
    r->consumer = calloc(1, br->consumer_bytes);
    if (!r->rec || !r->consumer)
        return fail(e, ST_FATAL, "no memory to read topic %s", topic);
    return br->consumer_open(r->consumer, b, &c, e);
}

void slot_reader_close(struct slot_reader *r)
{
    if (r->consumer)
        r->br->consumer_close(r->consumer);
    free(r->consumer);
    free(r->rec);
    r->consumer = NULL;
    r->rec = NULL;
}

enum st image_grow(struct image *im, uint32_t chunks, struct err *e)
{
    uint32_t max = im->chunks_max ? im->chunks_max : 4;
    uint64_t bytes;
    uint8_t *p;
    struct slot_chunk *got;

    if (chunks <= im->chunks_max)
        return ST_OK;
    while (max < chunks)
        max *= 2;
    bytes = (uint64_t)max << CHUNK_SHIFT;
    if (chunks > SLOT_CHUNKS_MAX || (uint64_t)chunks << CHUNK_SHIFT > im->bytes_max + CHUNK_BYTES)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " lies beyond the %" PRIu64
                    " bytes that this job's states may have",
                    chunks - 1, im->bytes_max);
    p = realloc(im->p, bytes);
    if (p)
        im->p = p;
    got = realloc(im->got, max * sizeof *got);
    if (got)
        im->got = got;
    if (!p || !got)
        return fail(e, ST_FATAL, "no memory for a state of %" PRIu64 " bytes", bytes);
    memset(p + ((uint64_t)im->chunks_max << CHUNK_SHIFT), 0,
           (uint64_t)(max - im->chunks_max) << CHUNK_SHIFT);
    memset(got + im->chunks_max, 0, (max - im->chunks_max) * sizeof *got);
    im->chunks_max = max;
    return ST_OK;
}

void image_fini(struct image *im)
{
    free(im->p);
    free(im->got);
    free(im->m.chunk);
    *im = (struct image){.bytes_max = im->bytes_max};
}

struct slot_in {
    struct image *im;
    uint32_t partition;
    bool manifest;
};

static enum st take_chunk(struct slot_in *in, const struct record *r, struct err *e)
{
    struct image *im = in->im;
    struct chunk c;

    TRY(chunk_decode(&c, r->value.p, r->value.n, e));
    if (c.partition != in->partition || c.bytes > CHUNK_BYTES)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " of partition %" PRIu32 " (%" PRIu32
                    " bytes) stands in partition %" PRIu32,
                    c.j, c.partition, c.bytes, in->partition);
    TRY(image_grow(im, c.j + 1, e));
    memset(im->p + ((size_t)c.j << CHUNK_SHIFT), 0, CHUNK_BYTES);
    memcpy(im->p + ((size_t)c.j << CHUNK_SHIFT), c.payload, c.bytes);
    im->got[c.j] = (struct slot_chunk){c.seq, c.bytes, c.crc};
    return ST_OK;
}

static enum st take_slot_record(void *arg, const struct record *r, struct err *e)
{
    static const char chunk_word[] = "chunk/", manifest_word[] = "manifest";
    struct slot_in *in = arg;
    const char *key = (const char *)r->key.p, *word;
    enum st st = ST_OK;

    if (!r->key.n || !r->value.p || memcmp(key, "slot/", r->key.n < 5 ? r->key.n : 5) != 0)
        return ST_OK;
    word = memchr(key + 5, '/', r->key.n - 5);
    if (!word++)
        return ST_OK;
    if ((size_t)(key + r->key.n - word) >= sizeof manifest_word - 1 &&
        !memcmp(word, manifest_word, sizeof manifest_word - 1)) {
        st = manifest_decode(&in->im->m, r->value.p, r->value.n, e);
        in->manifest = true;
    } else if ((size_t)(key + r->key.n - word) > sizeof chunk_word - 1 &&
               !memcmp(word, chunk_word, sizeof chunk_word - 1)) {
        st = take_chunk(in, r, e);
    }
    if (st == ST_CORRUPT)
        err_prefix(e, "record at offset %" PRId64, r->offset);
    return st;
}

/* Complete iff for every j the last chunk read has the manifest's seq, length and CRC. */
static enum st image_complete(struct image *im, struct err *e)
{
    TRY(image_grow(im, im->m.chunks, e));
    for (uint32_t j = 0; j < im->m.chunks; j++) {
        const struct slot_chunk *want = &im->m.chunk[j], *got = &im->got[j];

        if (!want->bytes) {
            memset(im->p + ((size_t)j << CHUNK_SHIFT), 0, CHUNK_BYTES);
            continue;
        }
        if (want->seq != got->seq || want->bytes != got->bytes || want->crc != got->crc)
            return fail(e, ST_CORRUPT,
                        "chunk %" PRIu32
                        " of the slot is not the one its manifest names: seq %" PRIu64
                        " CRC %08" PRIx32 ", expected seq %" PRIu64 " CRC %08" PRIx32,
                        j, got->seq, got->crc, want->seq, want->crc);
    }
    return ST_OK;
}

enum st topic_read(struct slot_reader *r, uint32_t partition,
                   enum st (*take)(void *arg, const struct record *rec, struct err *e), void *arg,
                   struct err *e)
{
    struct start s = {.partition = (int32_t)partition, .offset = -2};
    int64_t low, high, quiet_us = clock_mono_us();
    uint32_t n;

    TRY(r->br->watermarks(r->b, r->topic, s.partition, true, &low, &high, e));
    TRY(r->br->consumer_assign(r->consumer, &s, 1, e));
    for (;;) {
        TRY(r->br->consumer_poll(r->consumer, r->rec, r->rec_max, 50, &n, e));
        for (uint32_t i = 0; i < n; i++) {
            if (r->rec[i].kind == REC_EOF && r->rec[i].offset >= high)
                return ST_OK;
            if (r->rec[i].kind == REC_DATA)
                TRY(take(arg, &r->rec[i], e));
            if (r->rec[i].kind == REC_ERROR)
                return fail(e, ST_AGAIN, "topic %s partition %" PRIu32 " cannot be read", r->topic,
                            partition);
        }
        if (n)
            quiet_us = clock_mono_us();
        else if (clock_mono_us() - quiet_us > (int64_t)NO_PROGRESS_MS * 1000)
            return fail(e, ST_AGAIN,
                        "topic %s partition %" PRIu32
                        ": no progress for %d s before offset %" PRId64
                        " (an undecided transaction, or an unreachable broker)",
                        r->topic, partition, NO_PROGRESS_MS / 1000, high);
        if (r->meanwhile)
            TRY(r->meanwhile(r->arg));
    }
}

enum st slot_read(struct slot_reader *r, uint32_t partition, struct image *im, bool *found,
                  struct err *e)
{
    struct slot_in in = {.im = im, .partition = partition};
    enum st st;

    if (!im->m.chunk) {
        im->m.chunk =
            calloc(SLOT_CHUNKS_MAX, sizeof *im->m.chunk); /* untouched pages cost nothing */
        im->m.chunks_max = SLOT_CHUNKS_MAX;
        if (!im->m.chunk)
            return fail(e, ST_FATAL, "no memory for a manifest");
    }
    if (im->got)
        memset(im->got, 0, im->chunks_max * sizeof *im->got);
    *found = false;
    st = topic_read(r, partition, take_slot_record, &in, e);
    if (st == ST_OK && in.manifest)
        st = image_complete(im, e);
    if (st == ST_CORRUPT)
        err_prefix(e, "topic %s partition %" PRIu32, r->topic, partition);
    *found = in.manifest;
    return st;
}

/* Dimensions end at the first 0; what stands behind it says nothing. */
static bool same_dims(const uint64_t *a, const uint64_t *b)
{
    int k = 0;

    while (k < 4 && a[k] && a[k] == b[k])
        k++;
    return k == 4 || a[k] == b[k];
}

enum st image_state(const struct image *im, struct tensors *state, struct err *e)
{
    const struct manifest *m = &im->m;

    if (m->tensors != state->n || m->state_bytes != state->bytes)
        return fail(e, ST_BAD_CONFIG,
                    "the saved state has %" PRIu32 " tensors in %" PRIu64
                    " bytes, this job declares %" PRIu32 " in %" PRIu64,
                    m->tensors, m->state_bytes, state->n, state->bytes);
    for (uint32_t i = 0; i < m->tensors; i++) {
        const struct tdecl *d = &state->t[i].d;

        if (strcmp(d->name, m->tensor[i].name) || (uint32_t)d->dtype != m->tensor[i].dtype ||
            !same_dims(d->dim, m->tensor[i].dim))
            return fail(e, ST_BAD_CONFIG,
                        "tensor %s of the saved state is not %s as this job declares it: an option "
                        "that shapes it has changed",
                        m->tensor[i].name, d->name);
    }
    memcpy(state->base, im->p, state->bytes);
    return ST_OK;
}
