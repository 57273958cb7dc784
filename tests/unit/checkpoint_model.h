/* checkpoint_model.h: checkpoints whose every byte is a function of (partition, chunk, position),
 * so that whatever is found in a folder can be held against the position it claims. For the tests
 * of checkpoint.h; included after cmocka.h. */
#ifndef MILLRACE_CHECKPOINT_MODEL_H
#define MILLRACE_CHECKPOINT_MODEL_H

#include "config/base/bytes.h"
#include "statestore/checkpoint.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

enum { PARTS = 3, CHUNKS = 5, CHUNK = 256, TAIL = 200, STATE = (CHUNKS - 1) * CHUNK + TAIL };

static const struct checkpoint_conf conf = {
    .partitions_max = PARTS, .chunks_max = PARTS * CHUNKS, .dead_bytes_max = 4096};

/* status.h's fail() without its name, which cmocka takes. */
__attribute__((format(printf, 2, 3))) static inline enum st fault(struct err *e, const char *fmt,
                                                                  ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return ST_FATAL;
}

static inline uint32_t chunk_bytes(uint32_t j)
{
    return j + 1 < CHUNKS ? CHUNK : TAIL;
}

/* Chunk j changes at multiples of j + 1 and is what its last change made it; zeros until then, and
 * the one of number 3 is zero at every eighth position again. */
static inline void fill(uint8_t *out, uint32_t p, uint32_t j, int64_t x)
{
    uint64_t at = (uint64_t)(x - x % (j + 1));

    if (!at || (j == 3 && at % 8 == 0)) {
        memset(out, 0, chunk_bytes(j));
        return;
    }
    for (uint32_t i = 0; i < chunk_bytes(j); i++)
        out[i] = (uint8_t)mix64(at * 64 + p * 8 + j + 1000 * (uint64_t)i);
}

struct job {
    struct checkpoint *cp;
    struct manifest m[PARTS];
    struct slot_chunk chunk[PARTS][CHUNKS];
};

static struct job job;

static inline void fresh(struct job *b)
{
    struct checkpoint *cp = b->cp;

    memset(b, 0, sizeof *b);
    b->cp = cp;
    for (uint32_t p = 0; p < PARTS; p++)
        b->m[p] = (struct manifest){.partition = p,
                                    .epochs = 1,
                                    .end = INT64_MAX,
                                    .last_offset = -1,
                                    .partitions = PARTS,
                                    .algo = "linear",
                                    .state_version = 9,
                                    .chunk_bytes = CHUNK,
                                    .state_bytes = STATE,
                                    .chunks = CHUNKS,
                                    .chunk = b->chunk[p],
                                    .chunks_max = CHUNKS};
}

static inline enum st open_at(const struct store *s, const char *dir, uint32_t flags,
                              struct checkpoint **cp, struct err *e)
{
    struct checkpoint_conf c = conf;

    c.store = s;
    c.dir = dir;
    c.flags = flags;
    return checkpoint_open(cp, &c, "", e);
}

static inline struct checkpoint *opened(const char *dir, uint32_t flags)
{
    struct checkpoint *cp;
    struct err e;

    if (open_at(&store_rocksdb, dir, flags, &cp, &e) != ST_OK)
        fail_msg("open: %s", e.text);
    return cp;
}

/* A letter for every third position; those more than five positions back have been published. */
static inline enum st letters(struct checkpoint *cp, uint32_t p, int64_t x, struct err *e)
{
    char value[16];
    struct dead_letter d = {
        .partition = p, .at = {0, 0, x}, .timestamp_ms = 7 * x, .reason = "truncated"};

    snprintf(value, sizeof value, "v%lld", (long long)x);
    d.detail = "the record ends early";
    d.value = (struct bytes){(const uint8_t *)value, strlen(value)};
    if (x % 3 == 0)
        TRY(checkpoint_dead(cp, &d, e));
    if (x > 5)
        checkpoint_dead_published(cp, p, (struct position){0, 0, x - 5});
    return ST_OK;
}

/* Moves every partition to position x in one checkpoint. */
static inline enum st step(struct job *b, int64_t x, struct err *e)
{
    static uint8_t payload[PARTS][CHUNKS][CHUNK];

    checkpoint_begin(b->cp);
    for (uint32_t p = 0; p < PARTS; p++) {
        b->m[p].pos.offset = x;
        b->m[p].seq = (uint64_t)x;
        b->m[p].trained = (uint64_t)x;
        for (uint32_t j = 0; j < CHUNKS; j++) {
            if (x % (j + 1))
                continue;
            fill(payload[p][j], p, j, x);
            checkpoint_chunk(b->cp, &b->m[p], j, payload[p][j], chunk_bytes(j));
        }
        checkpoint_put(b->cp, &b->m[p]);
        TRY(letters(b->cp, p, x, e));
    }
    return checkpoint_commit(b->cp, e);
}

struct found {
    uint32_t p, next;
    int64_t x;
    bool wrong;
};

static inline enum st take_chunk(void *arg, uint32_t j, const uint8_t *p, uint32_t bytes,
                                 struct err *e)
{
    struct found *f = arg;
    uint8_t want[CHUNK], zero[CHUNK] = {0};

    (void)e;
    fill(want, f->p, j, f->x);
    f->wrong =
        f->wrong || j != f->next++ || bytes != chunk_bytes(j) || memcmp(p ? p : zero, want, bytes);
    return ST_OK;
}

static inline enum st take_letter(void *arg, const struct dead_letter *d, struct err *e)
{
    struct found *f = arg;
    char value[16];
    int64_t from = f->x - 5 > 0 ? f->x - 5 : 0,
            want = from + (3 - from % 3) % 3 + 3 * (int64_t)f->next++;

    (void)e;
    want += from ? 0 : 3; /* none at 0 */
    snprintf(value, sizeof value, "v%lld", (long long)want);
    f->wrong = f->wrong || d->partition != f->p || d->at.offset != want ||
               d->timestamp_ms != 7 * want || d->key.p || d->value.n != strlen(value) ||
               memcmp(d->value.p, value, d->value.n) || strcmp(d->reason, "truncated") ||
               strcmp(d->detail, "the record ends early");
    return ST_OK;
}

/* Reads everything back into b. ST_OK: all partitions stand at *x and every byte agrees with that
 * (0: no state at all); ST_FATAL: something is wrong and was not detected. */
static inline enum st read_back(struct job *b, int64_t *x, struct err *e)
{
    *x = -1;
    for (uint32_t p = 0; p < PARTS; p++) {
        enum st st = checkpoint_manifest(b->cp, p, &b->m[p], e);
        struct found f = {.p = p};
        int64_t ms;

        if (st != ST_OK && st != ST_AGAIN)
            return st;
        f.x = st == ST_AGAIN ? 0 : b->m[p].pos.offset;
        if (*x >= 0 && f.x != *x)
            return fault(e, "partition %u is at %lld, others at %lld", p, (long long)f.x,
                         (long long)*x);
        *x = f.x;
        if (!f.x)
            continue;
        TRY(checkpoint_load(b->cp, &b->m[p], take_chunk, &f, e));
        TRY(checkpoint_time(b->cp, p, &ms, e));
        if (f.wrong || f.next != CHUNKS || ms < 1600000000000)
            return fault(e, "partition %u: not the state of %lld", p, (long long)f.x);
        f.next = 0;
        TRY(checkpoint_dead_scan(b->cp, p, (struct position){9, 0, 0}, take_letter, &f, e));
        if (f.wrong || f.next != f.x / 3 - (f.x > 5 ? (f.x - 6) / 3 : 0))
            return fault(e, "partition %u: not the letters of %lld", p, (long long)f.x);
    }
    return ST_OK;
}

static inline void stands_at(struct job *b, int64_t want)
{
    struct err e = {""};
    int64_t x;

    if (read_back(b, &x, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(x, want);
}

/* Folder `name` with positions 1 to upto. */
static const char *made(const char *name, int64_t upto)
{
    const char *dir = temp_path(name);
    struct err e = {""};

    fresh(&job);
    job.cp = opened(dir, 0);
    for (int64_t x = 1; x <= upto; x++)
        assert_int_equal(step(&job, x, &e), ST_OK);
    stands_at(&job, upto);
    checkpoint_close(job.cp);
    return dir;
}

#endif
