#include "consumer/slot_reader.h"

#include "config/base/bytes.h"
#include "config/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An undecided transaction of a dead producer ends by itself: after its timeout of 60 s at the
 * latest, plus the broker's interval of looking. */
enum { NO_PROGRESS_MS = 60000, UNDECIDED_MS = 90000 };
enum { POLL_MS = 50, READER_WAIT_MS = 10, READER_RECORDS = 256 };

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

    if (chunks > SLOT_CHUNKS_MAX || (uint64_t)chunks << CHUNK_SHIFT > im->bytes_max + CHUNK_BYTES)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " lies beyond the %" PRIu64
                    " bytes that this job's states may have",
                    chunks - 1, im->bytes_max);
    if (chunks <= im->chunks_max)
        return ST_OK;
    while (max < chunks)
        max *= 2;
    bytes = (uint64_t)max << CHUNK_SHIFT;
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

static enum st take_chunk(struct image *im, uint32_t partition, const struct record *r,
                          struct err *e)
{
    struct chunk c;

    TRY(chunk_decode(&c, r->value.p, r->value.n, e));
    if (c.partition != partition || c.bytes > CHUNK_BYTES)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " of partition %" PRIu32 " (%" PRIu32
                    " bytes) stands in partition %" PRIu32,
                    c.j, c.partition, c.bytes, partition);
    TRY(image_grow(im, c.j + 1, e));
    memset(im->p + ((size_t)c.j << CHUNK_SHIFT), 0, CHUNK_BYTES);
    memcpy(im->p + ((size_t)c.j << CHUNK_SHIFT), c.payload, c.bytes);
    im->got[c.j] = (struct slot_chunk){c.seq, c.bytes, c.crc};
    return ST_OK;
}

static enum st take_manifest(struct image *im, uint32_t partition, const struct record *r,
                             struct err *e)
{
    im->closed = false;
    if (!r->value.p) /* removed by a reset */
        return ST_OK;
    TRY(manifest_decode(&im->m, r->value.p, r->value.n, e));
    if (im->m.partition != partition)
        return fail(e, ST_CORRUPT, "manifest: is that of partition %" PRIu32, im->m.partition);
    im->closed = true;
    return ST_OK;
}

/* What follows "slot/<partition>/" in a key; *turn. p NULL: this is not a key of such a slot. */
static struct bytes slot_word(struct bytes key, uint32_t partition, uint32_t *turn)
{
    static const char manifest[] = "manifest";
    char like[SLOT_KEY_BYTES];

    for (*turn = 0; *turn < 2; ++*turn) {
        size_t n = slot_key(like, partition, *turn, SLOT_MANIFEST) - (sizeof manifest - 1);

        if (key.n > n && !memcmp(key.p, like, n))
            return (struct bytes){key.p + n, key.n - n};
    }
    return (struct bytes){0};
}

static bool starts_with(struct bytes k, const char *word)
{
    return k.n >= strlen(word) && !memcmp(k.p, word, strlen(word));
}

enum st image_init(struct image *im, struct err *e)
{
    if (im->m.chunk)
        return ST_OK;
    im->m.chunk = calloc(SLOT_CHUNKS_MAX, sizeof *im->m.chunk); /* untouched pages cost nothing */
    im->m.chunks_max = SLOT_CHUNKS_MAX;
    return im->m.chunk ? ST_OK : fail(e, ST_FATAL, "no memory for a manifest");
}

enum st slot_take(struct image im[2], uint32_t partition, const struct record *r, uint32_t *turn,
                  bool *manifest, struct err *e)
{
    struct bytes word = slot_word(r->key, partition, turn);
    enum st st = ST_OK;

    *manifest = false;
    if (!word.p)
        return ST_OK;
    TRY(image_init(&im[*turn], e));
    if (starts_with(word, "manifest") && word.n == 8) {
        *manifest = true;
        st = take_manifest(&im[*turn], partition, r, e);
    } else if (starts_with(word, "chunk/") && word.n > 6 && r->value.p) {
        st = take_chunk(&im[*turn], partition, r, e);
    } else if (starts_with(word, "run") && word.n == 3 && !*turn && r->value.n == 4) {
        im->run = get_u32(r->value.p);
    }
    if (st == ST_CORRUPT)
        err_prefix(e, "record at offset %" PRId64, r->offset);
    return st;
}

enum st image_ready(struct image *im, struct err *e)
{
    if (im->m.chunk_bytes != CHUNK_BYTES)
        return fail(e, ST_BAD_CONFIG,
                    "the saved state lies in chunks of %" PRIu32
                    " bytes, this program's have %d: use the program that wrote it, or reset the "
                    "job",
                    im->m.chunk_bytes, CHUNK_BYTES);
    return image_grow(im, im->m.chunks, e);
}

enum st image_complete(struct image *im, struct err *e)
{
    TRY(image_ready(im, e));
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

struct reading {
    int64_t high, since_us; /* where to end; the last progress */
    bool undecided;         /* the readable end lies before `high` */
};

static enum st no_progress(const struct slot_reader *r, struct reading *g, uint32_t partition,
                           struct err *e)
{
    int limit_ms = g->undecided ? UNDECIDED_MS : NO_PROGRESS_MS;

    if (clock_mono_us() - g->since_us <= (int64_t)limit_ms * 1000)
        return r->meanwhile ? r->meanwhile(r->arg) : ST_OK;
    return fail(e, ST_AGAIN,
                "topic %s partition %" PRIu32 ": no progress for %d s before offset %" PRId64
                " (%s). Nothing is lost: start again once the broker answers",
                r->topic, partition, limit_ms / 1000, g->high,
                g->undecided ? "a transaction there is undecided" : "the broker does not answer");
}

enum st topic_read(struct slot_reader *r, uint32_t partition,
                   enum st (*take)(void *arg, const struct record *rec, struct err *e), void *arg,
                   struct err *e)
{
    struct start s = {.partition = (int32_t)partition, .offset = -2};
    struct reading g = {.since_us = clock_mono_us()};
    int64_t low;
    uint32_t n;
    enum st st;

    for (;;) {
        st = r->br->watermarks(r->b, r->topic, s.partition, true, &low, &g.high, e);
        if (st == ST_OK)
            st = r->br->consumer_assign(r->consumer, &s, 1, e);
        if (st != ST_AGAIN)
            break;
        TRY(no_progress(r, &g, partition, e));
    }
    TRY(st);
    for (;;) {
        TRY(r->br->consumer_poll(r->consumer, r->rec, READER_RECORDS, POLL_MS, &n, e));
        for (uint32_t i = 0; i < n; i++) {
            const struct record *rec = &r->rec[i];

            if (rec->kind == REC_ERROR && rec->reason == BROKER_ERR_TOPIC_GONE)
                return fail(e, ST_BAD_CONFIG, "topic %s was deleted while it was read", r->topic);
            if (rec->kind == REC_EOF && rec->offset >= g.high)
                return ST_OK;
            g.undecided = rec->kind == REC_EOF;
            if (rec->kind == REC_ERROR)
                continue; /* a leader that moves, say: the broker goes on by itself */
            g.since_us = clock_mono_us();
            if (rec->kind == REC_DATA)
                TRY(take(arg, rec, e));
        }
        TRY(no_progress(r, &g, partition, e));
    }
}

struct reading_slot {
    struct image *im; /* [2] by turn */
    uint32_t partition;
    struct err manifest[2]; /* why the last one read is none; "": it is one */
    struct err chunk[2];    /* why the last was none that was none */
};

static enum st take_slot_record(void *arg, const struct record *r, struct err *e)
{
    struct reading_slot *s = arg;
    uint32_t turn;
    bool manifest;
    enum st st = slot_take(s->im, s->partition, r, &turn, &manifest, e);

    if (st != ST_OK && st != ST_CORRUPT)
        return st;
    if (manifest)
        s->manifest[turn] = st == ST_OK ? (struct err){""} : *e;
    else if (st == ST_CORRUPT)
        s->chunk[turn] = *e;
    return ST_OK; /* a newer one may follow: what counts is what the last manifest names */
}

enum st slot_read_turns(struct slot_reader *r, uint32_t partition, struct image im[2],
                        struct err *e)
{
    struct reading_slot s = {.im = im, .partition = partition};
    enum st st;

    for (int i = 0; i < 2; i++) {
        im[i].closed = false;
        im[i].run = 0;
        if (im[i].got)
            memset(im[i].got, 0, im[i].chunks_max * sizeof *im[i].got);
    }
    st = topic_read(r, partition, take_slot_record, &s, e);
    for (int i = 0; st == ST_OK && i < 2; i++) {
        im[i].closed = im[i].closed && im[i].m.pos.run >= im->run;
        if (*s.manifest[i].text)
            st = fail(e, ST_CORRUPT, "%s", s.manifest[i].text);
        else if (im[i].closed)
            st = image_complete(&im[i], e);
        if (st == ST_CORRUPT && !*s.manifest[i].text && *s.chunk[i].text)
            *e = s.chunk[i];
    }
    if (st == ST_CORRUPT)
        return fail(
            e, st,
            "topic %s partition %" PRIu32
            ": %s. Delete the topic: the job goes on from its state folder, or anew without",
            r->topic, partition, strdupa(e->text));
    return st;
}

enum st slot_read(struct slot_reader *r, uint32_t partition, struct image *im, bool *found,
                  struct err *e)
{
    struct image both[2] = {*im, {.bytes_max = im->bytes_max}};
    enum st st = slot_read_turns(r, partition, both, e);
    uint32_t newer = both[1].closed && (!both[0].closed || both[1].m.seq > both[0].m.seq);
    uint32_t run = both->run;

    image_fini(&both[!newer]);
    *im = both[newer];
    im->run = run;
    *found = st == ST_OK && im->closed;
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

enum st image_state(const struct image *im, const struct algo *a, const struct ctx *x,
                    struct tensors *state)
{
    const struct manifest *m = &im->m;
    struct err *e = x->err;

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
    CHECK(im->p && (uint64_t)im->chunks_max << CHUNK_SHIFT >= state->bytes);
    memcpy(state->base, im->p, state->bytes);
    return tensors_intact(state, a, x);
}
