#include "statestore/checkpoint.h"

#include "config/base/bytes.h"
#include "config/base/clock.h"
#include "config/base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A commit is an array of changes whose keys, manifests and dead letters stand in one arena; both
 * are sized at open from the bounds. Payloads of chunks are not copied: the store takes them from
 * the state itself. */

enum {
    NUMBER = 8, /* bytes of "m/00000" with its 0, and then some */
    CHUNK_KEY = 16,
    PER_PARTITION = 8 /* changes of one, chunks and letters apart: put 2, drop 4, published 1 */
};

static const char layout[] = "1"; /* value of "format" */
static const struct bytes none;

struct checkpoint {
    const struct store *store;
    void *self; /* the open store */
    struct checkpoint_conf conf;
    char *dir;
    char worker[NAME_MAX_BYTES + 1], cluster[NAME_MAX_BYTES + 1], job[NAME_MAX_BYTES + 1];
    bool begun, letters; /* letters: this commit adds some */
    struct change *change;
    uint32_t changes, changes_max;
    uint8_t *arena;
    size_t used, room, dead_bytes;
    enum st failed; /* the first error of a call that returns none, for commit */
    struct err failed_text;
    struct bytes encoded[PARTITIONS_MAX];
};

/* ---- keys ---- */

static struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

/* ---- the commit under construction ---- */

static uint8_t *take(struct checkpoint *cp, size_t n)
{
    uint8_t *p = cp->arena + cp->used;

    CHECK(cp->begun && n <= cp->room - cp->used);
    cp->used += n;
    return p;
}

static struct bytes take_key(struct checkpoint *cp, const char *key)
{
    size_t n = strlen(key);

    return (struct bytes){memcpy(take(cp, n), key, n), n};
}

static void add(struct checkpoint *cp, struct bytes key, struct bytes value, struct bytes upto)
{
    CHECK(cp->changes < cp->changes_max);
    cp->change[cp->changes++] = (struct change){.key = key, .value = value, .upto = upto};
}

static void add_range(struct checkpoint *cp, const char *from, const char *upto)
{
    struct bytes key = take_key(cp, from);

    add(cp, key, none, take_key(cp, upto));
}

static size_t arena_bytes(const struct checkpoint_conf *c)
{
    size_t keys = PER_PARTITION * 2 * LETTER_KEY;

    return c->partitions_max * (manifest_bytes_max(0) + keys) +
           c->chunks_max * (size_t)(16 + CHUNK_KEY) + c->dead_bytes_max;
}

static size_t changes_of(const struct checkpoint_conf *c)
{
    return c->chunks_max + (size_t)PER_PARTITION * c->partitions_max +
           c->dead_bytes_max / DEAD_COST;
}

size_t checkpoint_memory(const struct checkpoint_conf *c, size_t state_bytes)
{
    return sizeof(struct checkpoint) + c->store->self_bytes + arena_bytes(c) +
           changes_of(c) * sizeof(struct change) +
           c->store->memory_bytes(c->flags, state_bytes + arena_bytes(c));
}

/* ---- open ---- */

static enum st read_name(struct checkpoint *cp, const char *key, char *name, struct err *e)
{
    struct bytes v;

    TRY(cp->store->get(cp->self, text(key), &v, e));
    if (v.n > NAME_MAX_BYTES)
        return fail(e, ST_CORRUPT, "state folder %s: '%s' has %zu bytes", cp->dir, key, v.n);
    if (v.n)
        memcpy(name, v.p, v.n);
    name[v.n] = '\0';
    return ST_OK;
}

/* Letters and digits, so that the name may stand in Kafka's ids and in a path. */
static bool name_good(const char *s)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(s);

    return n && n <= NAME_MAX_BYTES && strspn(s, good) == n;
}

static enum st first_start(struct checkpoint *cp, const char *worker, struct err *e)
{
    struct bytes key, value;
    uint8_t random[8];

    TRY(cp->store->last(cp->self, none, &key, &value, e));
    if (key.p || cp->conf.flags & STORE_READ_ONLY)
        return fail(e, ST_BAD_CONFIG, "state folder %s holds %s", cp->dir,
                    key.p ? "something else (a local broker's topics?); name another folder"
                          : "no state");
    if (*worker) {
        snprintf(cp->worker, sizeof cp->worker, "%s", worker);
    } else {
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return fail(e, ST_FATAL, "no random numbers for the worker's name; give it one");
        for (size_t i = 0; i < sizeof random; i++)
            cp->worker[i] = (char)('a' + random[i] % 26);
    }
    return cp->store->write(cp->self,
                            (struct change[]){{.key = text("format"), .value = text(layout)},
                                              {.key = text("worker"), .value = text(cp->worker)}},
                            2, true, e);
}

static enum st identify(struct checkpoint *cp, const char *worker, struct err *e)
{
    char format[NAME_MAX_BYTES + 1];

    if (*worker && !name_good(worker))
        return fail(
            e, ST_BAD_CONFIG,
            "worker '%.64s': a name has 1 to %d letters, digits, dots, dashes or underscores",
            worker, NAME_MAX_BYTES);
    TRY(read_name(cp, "format", format, e));
    TRY(read_name(cp, "worker", cp->worker, e));
    TRY(read_name(cp, "cluster", cp->cluster, e));
    TRY(read_name(cp, "job", cp->job, e));
    if (!*format || !*cp->worker)
        return first_start(cp, worker, e);
    if (strcmp(format, layout) != 0)
        return fail(e, ST_BAD_CONFIG,
                    "state folder %s has layout %s, this program knows %s; use a newer millrace",
                    cp->dir, format, layout);
    if (*worker && strcmp(worker, cp->worker) != 0)
        return fail(e, ST_BAD_CONFIG,
                    "state folder %s is worker '%s', not '%s'; name another folder or no worker",
                    cp->dir, cp->worker, worker);
    return ST_OK;
}

enum st checkpoint_open(struct checkpoint **out, const struct checkpoint_conf *c,
                        const char *worker, struct err *e)
{
    struct checkpoint *cp = calloc(1, sizeof *cp);
    enum st st;

    CHECK(c->store && c->dir && c->partitions_max <= PARTITIONS_MAX);
    *out = NULL;
    if (!cp)
        return fail(e, ST_FATAL, "no memory for checkpoints");
    cp->store = c->store;
    cp->conf = *c;
    cp->changes_max = (uint32_t)changes_of(c);
    cp->room = arena_bytes(c);
    cp->self = calloc(1, c->store->self_bytes);
    cp->dir = strdup(c->dir);
    cp->change = calloc(changes_of(c) + 1, sizeof *cp->change);
    cp->arena = malloc(cp->room + 1);
    if (!cp->self || !cp->dir || !cp->change || !cp->arena)
        st = fail(e, ST_FATAL, "no memory for checkpoints: %zu bytes", checkpoint_memory(c, 0));
    else
        st = c->store->open(cp->self, c->dir, c->flags, e);
    if (st == ST_OK)
        st = identify(cp, worker, e);
    if (st == ST_CORRUPT)
        err_prefix(e, "state (move its folder away, and it is restored from the parameter topic)");
    if (st == ST_OK)
        *out = cp;
    else
        checkpoint_close(cp);
    return st;
}

void checkpoint_close(struct checkpoint *cp)
{
    if (!cp)
        return;
    if (cp->self)
        cp->store->close(cp->self);
    free(cp->arena);
    free(cp->change);
    free(cp->dir);
    free(cp->self);
    free(cp);
}

const char *checkpoint_worker(const struct checkpoint *cp)
{
    return cp->worker;
}

const char *checkpoint_cluster(const struct checkpoint *cp)
{
    return cp->cluster;
}

const char *checkpoint_job(const struct checkpoint *cp)
{
    return cp->job;
}

enum st checkpoint_identity(struct checkpoint *cp, const char *cluster, const char *job,
                            struct err *e)
{
    CHECK(!cp->begun && strlen(job) <= NAME_MAX_BYTES);
    if (strlen(cluster) > NAME_MAX_BYTES)
        return fail(e, ST_BAD_CONFIG,
                    "the broker's cluster id has %zu bytes, at most %d are possible",
                    strlen(cluster), NAME_MAX_BYTES);
    if (*cp->cluster && strcmp(cp->cluster, cluster) != 0)
        return fail(e, ST_BAD_CONFIG,
                    "state folder %s belongs to cluster '%s', the broker is cluster '%s'; name "
                    "another state_dir",
                    cp->dir, cp->cluster, cluster);
    if (*cp->job && strcmp(cp->job, job) != 0)
        return fail(e, ST_BAD_CONFIG,
                    "state folder %s belongs to job '%s', this is job '%s'; name another state_dir",
                    cp->dir, cp->job, job);
    if (*cp->cluster && *cp->job)
        return ST_OK;
    TRY(cp->store->write(cp->self,
                         (struct change[]){{.key = text("cluster"), .value = text(cluster)},
                                           {.key = text("job"), .value = text(job)}},
                         2, true, e));
    snprintf(cp->cluster, sizeof cp->cluster, "%s", cluster);
    snprintf(cp->job, sizeof cp->job, "%s", job);
    return ST_OK;
}

enum st checkpoint_life(struct checkpoint *cp, uint32_t *life, struct err *e)
{
    struct bytes v;

    TRY(cp->store->get(cp->self, text("life"), &v, e));
    *life = v.n == 4 ? get_u32(v.p) : UINT32_MAX;
    return ST_OK;
}

enum st checkpoint_life_set(struct checkpoint *cp, uint32_t life, struct err *e)
{
    uint8_t value[4];
    uint32_t is;

    TRY(checkpoint_life(cp, &is, e));
    if (is == life)
        return ST_OK;
    put_u32(value, life);
    return cp->store->write(
        cp->self, (struct change[]){{.key = text("life"), .value = {value, sizeof value}}}, 1, true,
        e);
}

/* ---- reading ---- */

static enum st at_partition(const struct checkpoint *cp, uint32_t p, enum st st, struct err *e)
{
    err_prefix(e, "state folder %s: partition %" PRIu32, cp->dir, p);
    return st;
}

enum st checkpoint_manifest(struct checkpoint *cp, uint32_t p, struct manifest *m, struct err *e)
{
    char key[NUMBER];
    struct bytes v;
    enum st st;

    CHECK(p < PARTITIONS_MAX);
    snprintf(key, sizeof key, "m/%05" PRIu32, p);
    TRY(cp->store->get(cp->self, text(key), &v, e));
    if (!v.p)
        return fail(e, ST_AGAIN, "state folder %s: partition %" PRIu32 " has no state here",
                    cp->dir, p);
    st = manifest_decode(m, v.p, v.n, e);
    if (st == ST_OK && m->partition != p)
        st = fail(e, ST_CORRUPT, "manifest: is that of partition %" PRIu32, m->partition);
    return st == ST_OK ? st : at_partition(cp, p, st, e);
}

enum st checkpoint_time(struct checkpoint *cp, uint32_t p, int64_t *ms, struct err *e)
{
    char key[NUMBER];
    struct bytes v;

    CHECK(p < PARTITIONS_MAX);
    snprintf(key, sizeof key, "t/%05" PRIu32, p);
    TRY(cp->store->get(cp->self, text(key), &v, e));
    *ms = v.n == 8 ? (int64_t)get_u64(v.p) : 0;
    return ST_OK;
}

static enum st check_chunk(const struct manifest *m, uint32_t j, struct bytes v, struct err *e)
{
    const struct slot_chunk *c = &m->chunk[j];
    uint64_t at = (uint64_t)j * m->chunk_bytes;
    uint32_t crc;

    if (!v.p)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " (at byte %" PRIu64 " of the state) is missing", j, at);
    if (v.n != c->bytes)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " (at byte %" PRIu64
                    " of the state) has %zu bytes, not %" PRIu32,
                    j, at, v.n, c->bytes);
    crc = crc32c(v.p, v.n);
    if (crc != c->crc)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " (at byte %" PRIu64 " of the state) has CRC %08" PRIx32
                    ", the manifest says %08" PRIx32,
                    j, at, crc, c->crc);
    return ST_OK;
}

enum st checkpoint_load(struct checkpoint *cp, const struct manifest *m,
                        enum st (*take_one)(void *arg, uint32_t j, const uint8_t *p, uint32_t bytes,
                                            struct err *e),
                        void *arg, struct err *e)
{
    for (uint32_t j = 0; j < m->chunks; j++) {
        uint64_t left = m->state_bytes - (uint64_t)j * m->chunk_bytes;
        uint32_t bytes = left < m->chunk_bytes ? (uint32_t)left : m->chunk_bytes;
        char key[CHUNK_KEY];
        struct bytes v = none;
        enum st st;

        if (m->chunk[j].bytes) {
            snprintf(key, sizeof key, "c/%05" PRIu32 "/%06" PRIu32, m->partition, j);
            st = cp->store->get(cp->self, text(key), &v, e);
            if (st == ST_OK)
                st = check_chunk(m, j, v, e);
            if (st != ST_OK)
                return at_partition(cp, m->partition, st, e);
        }
        TRY(take_one(arg, j, v.p, bytes, e));
    }
    return ST_OK;
}

struct listing {
    uint32_t *p, max, n;
    bool bad;
};

static bool list_one(void *arg, struct bytes key, struct bytes value)
{
    struct listing *l = arg;
    uint32_t p = 0;

    (void)value;
    l->bad = key.n != 7;
    for (size_t i = 2; i < key.n && !l->bad; i++) {
        p = p * 10 + key.p[i] - '0';
        l->bad = key.p[i] < '0' || key.p[i] > '9';
    }
    l->bad = l->bad || p >= PARTITIONS_MAX;
    if (!l->bad && l->n < l->max)
        l->p[l->n] = p;
    l->n++;
    return !l->bad;
}

enum st checkpoint_partitions(struct checkpoint *cp, uint32_t *p, uint32_t max, uint32_t *n,
                              struct err *e)
{
    struct listing l = {p, max, 0, false};

    TRY(cp->store->scan(cp->self, text("m/"), text("m0"), list_one, &l, e));
    if (l.bad)
        return fail(e, ST_CORRUPT, "state folder %s: a manifest whose key is no partition",
                    cp->dir);
    *n = l.n;
    return ST_OK;
}

/* ---- a commit; the numbers are those of checkpoint.h ---- */

void checkpoint_begin(struct checkpoint *cp) /* (1) */
{
    CHECK(!(cp->conf.flags & STORE_READ_ONLY));
    cp->begun = true;
    cp->letters = false;
    cp->changes = 0;
    cp->used = cp->dead_bytes = 0;
    cp->failed = ST_OK;
    memset(cp->encoded, 0, sizeof cp->encoded);
}

void checkpoint_chunk(struct checkpoint *cp, struct manifest *m, uint32_t j, const void *payload,
                      uint32_t bytes) /* (2) */
{
    bool zero = chunk_is_zero(payload, bytes);
    char key[CHUNK_KEY];

    CHECK(cp->begun && m->partition < PARTITIONS_MAX && !cp->encoded[m->partition].n);
    CHECK(j < m->chunks && bytes && bytes <= m->chunk_bytes);
    m->chunk[j] = zero ? (struct slot_chunk){0, 0, 0}
                       : (struct slot_chunk){m->seq, bytes, crc32c(payload, bytes)};
    snprintf(key, sizeof key, "c/%05" PRIu32 "/%06" PRIu32, m->partition, j);
    add(cp, take_key(cp, key), zero ? none : (struct bytes){payload, bytes}, none);
}

void checkpoint_put(struct checkpoint *cp, const struct manifest *m) /* (2) */
{
    size_t room = manifest_bytes_max(m->chunks), n;
    char key[NUMBER];
    uint8_t *p;

    CHECK(m->partition < PARTITIONS_MAX && !cp->encoded[m->partition].n);
    p = take(cp, room);
    n = manifest_encode(m, p);
    cp->used -= room - n;
    cp->encoded[m->partition] = (struct bytes){p, n};
    snprintf(key, sizeof key, "m/%05" PRIu32, m->partition);
    add(cp, take_key(cp, key), cp->encoded[m->partition], none);
    p = take(cp, 8);
    put_u64(p, (uint64_t)clock_wall_ms());
    *key = 't';
    add(cp, take_key(cp, key), (struct bytes){p, 8}, none);
}

void checkpoint_drop(struct checkpoint *cp, uint32_t p) /* (2) */
{
    char from[NUMBER + 1], upto[NUMBER + 1]; /* '0' is the byte after '/' */

    CHECK(p < PARTITIONS_MAX && !cp->encoded[p].n);
    snprintf(from, sizeof from, "m/%05" PRIu32, p);
    add(cp, take_key(cp, from), none, none);
    *from = 't';
    add(cp, take_key(cp, from), none, none);
    snprintf(from, sizeof from, "c/%05" PRIu32 "/", p);
    snprintf(upto, sizeof upto, "c/%05" PRIu32 "0", p);
    add_range(cp, from, upto);
    *from = *upto = 'd';
    add_range(cp, from, upto);
}

enum st checkpoint_dead(struct checkpoint *cp, const struct dead_letter *d, struct err *e) /* (3) */
{
    size_t n = letter_bytes(d);
    char key[LETTER_KEY];
    struct bytes k;
    uint8_t *v;

    if (n + DEAD_COST > cp->conf.dead_bytes_max - cp->dead_bytes)
        return fail(
            e, ST_FATAL,
            "partition %" PRIu32 ": a dead letter of %zu bytes at offset %" PRId64
            " does not fit the %zu bytes of one checkpoint, %zu are taken; checkpoint more often",
            d->partition, n, d->at.offset, cp->conf.dead_bytes_max, cp->dead_bytes);
    cp->dead_bytes += n + DEAD_COST;
    cp->letters = true;
    letter_key(key, d->partition, d->at);
    k = take_key(cp, key);
    v = take(cp, n);
    add(cp, k, (struct bytes){v, letter_encode(d, v)}, none);
    return ST_OK;
}

static bool stop_at_first(void *arg, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    *(bool *)arg = true;
    return false;
}

void checkpoint_dead_published(struct checkpoint *cp, uint32_t p, struct position before) /* (3) */
{
    char from[LETTER_KEY], upto[LETTER_KEY];
    bool any = cp->letters;
    enum st st;

    letter_key(from, p, (struct position){0, 0, 0});
    letter_key(upto, p, before);
    /* a range deleted in vain would lie in the store's way until it is compacted */
    if (!any) {
        st = cp->store->scan(cp->self, text(from), text(upto), stop_at_first, &any,
                             &cp->failed_text);
        if (st != ST_OK && cp->failed == ST_OK)
            cp->failed = st;
    }
    if (any)
        add_range(cp, from, upto);
}

enum st checkpoint_commit(struct checkpoint *cp, struct err *e) /* (4), and with ST_OK (5) */
{
    CHECK(cp->begun);
    cp->begun = false;
    if (cp->failed != ST_OK)
        return fail(e, cp->failed, "%s", cp->failed_text.text);
    if (!cp->changes)
        return ST_OK;
    return cp->store->write(cp->self, cp->change, cp->changes, true, e);
}

struct bytes checkpoint_encoded(const struct checkpoint *cp, uint32_t p)
{
    CHECK(p < PARTITIONS_MAX);
    return cp->encoded[p];
}

/* ---- dead letters ---- */

struct letters {
    enum st (*take)(void *arg, const struct dead_letter *d, struct err *e);
    void *arg;
    struct err *err;
    enum st st;
};

static bool letter_one(void *arg, struct bytes key, struct bytes value)
{
    struct letters *l = arg;
    struct dead_letter d = {0};

    l->st = letter_decode(&d, key, value, l->err);
    if (l->st == ST_OK)
        l->st = l->take(l->arg, &d, l->err);
    return l->st == ST_OK;
}

enum st checkpoint_dead_scan(struct checkpoint *cp, uint32_t p, struct position before,
                             enum st (*take_one)(void *arg, const struct dead_letter *d,
                                                 struct err *e),
                             void *arg, struct err *e)
{
    struct letters l = {take_one, arg, e, ST_OK};
    char from[LETTER_KEY], upto[LETTER_KEY];

    letter_key(from, p, (struct position){0, 0, 0});
    letter_key(upto, p, before);
    TRY(cp->store->scan(cp->self, text(from), text(upto), letter_one, &l, e));
    return l.st == ST_CORRUPT ? at_partition(cp, p, l.st, e) : l.st;
}
