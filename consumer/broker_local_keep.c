#include "consumer/broker_local.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* What is in the store. Numbers in keys are big-endian, so byte order is number order; in values
 * little-endian. T topic id u32, P partition u32, O offset u64.
 *
 *   key                       value
 *   "millrace local broker"   0 u32 version 1; 4 u32 next topic id; 8 cluster id, 16 hex digits
 *   't' name                  0 u32 id; 4 u32 partitions; 8 u32 1 compact + 2 delete;
 *                             12 i64 retention ms; 20 i64 delete retention ms; 28 i64 max message
 *   'p' T P                   0 i64 low; 8 i64 high; 16 i64 cleaned to; 24 u64 bytes;
 *                             32 u64 bytes after the last cleaning
 *   'd' T P O                 a batch whose first offset is O (broker_local_log.c)
 *   'o' T P pid u64           0 i64 first offset of an undecided transaction
 *   'a' T P O                 of an aborted one whose marker is O: 0 u64 pid; 8 i64 first offset
 *   'g' T P group             0 i64 offset; 8 metadata
 *
 * `high` of a partition is written with each batch, so a start needs no search for the end of a
 * log. A pid is unique in the life of one writer only: spans tell transactions of different lives
 * apart by their offsets. */

static const char magic[] = "millrace local broker";
enum { VERSION = 1, MAGIC_BYTES = sizeof magic - 1, META = 24, TOPIC = 36, PART = 40, HEX = 16 };

static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

/* 'x' T P */
static size_t part_key(uint8_t *out, char kind, uint32_t topic, uint32_t part)
{
    out[0] = (uint8_t)kind;
    put_be32(out + 1, topic);
    put_be32(out + 5, part);
    return 9;
}

void batch_key(uint8_t out[BATCH_KEY], const struct local_part *p, int64_t offset)
{
    CHECK(offset >= 0);
    put_be64(out + part_key(out, 'd', p->of->id, p->index), (uint64_t)offset);
}

static size_t key64(uint8_t *out, char kind, const struct local_part *p, uint64_t last)
{
    put_be64(out + part_key(out, kind, p->of->id, p->index), last);
    return BATCH_KEY;
}

static size_t offset_key(uint8_t *out, const char *group, const struct local_topic *t,
                         uint32_t part)
{
    size_t n = strlen(group);

    CHECK(n <= NAME_MAX_BYTES);
    memcpy(out + part_key(out, 'g', t->id, part), group, n);
    return 9 + n;
}

void edit_begin(struct local *b)
{
    CHECK(!b->read_only);
    b->edit.n = 0;
}

static struct edit_item *item(struct local *b)
{
    struct edit *d = &b->edit;
    struct edit_item *i;

    d->item = local_grow(d->item, &d->cap, d->n + 1, sizeof *d->item);
    i = &d->item[d->n++];
    memset(&i->c, 0, sizeof i->c);
    i->is_small = false;
    return i;
}

static void small(struct edit_item *i, size_t n)
{
    CHECK(n <= sizeof i->small);
    i->is_small = true;
    i->c.value.n = n;
}

void edit_meta(struct local *b)
{
    struct edit_item *i = item(b);

    CHECK(b->next_topic && strlen(b->cluster) == HEX);
    memcpy(i->key, magic, i->c.key.n = MAGIC_BYTES);
    put_u32(i->small, VERSION);
    put_u32(i->small + 4, b->next_topic);
    memcpy(i->small + 8, b->cluster, HEX);
    small(i, META);
}

static size_t topic_key(uint8_t *out, const char *name)
{
    size_t n = strlen(name);

    CHECK(n && n <= NAME_MAX_BYTES);
    out[0] = 't';
    memcpy(out + 1, name, n);
    return n + 1;
}

void edit_topic(struct local *b, const struct local_topic *t)
{
    struct edit_item *i = item(b);

    CHECK(t->id && t->id < b->next_topic && t->parts && !t->gone);
    i->c.key.n = topic_key(i->key, t->name);
    put_u32(i->small, t->id);
    put_u32(i->small + 4, t->parts);
    put_u32(i->small + 8, (t->compact ? 1u : 0u) | (t->expire ? 2u : 0u));
    put_u64(i->small + 12, (uint64_t)t->retention_ms);
    put_u64(i->small + 20, (uint64_t)t->delete_retention_ms);
    put_u64(i->small + 28, (uint64_t)t->max_message_bytes);
    small(i, TOPIC);
    edit_meta(b);
}

void edit_part(struct local *b, const struct local_part *p)
{
    struct edit_item *i = item(b);

    CHECK(!p->of->gone); /* a key of a topic that is not there would not load */
    CHECK(p->low >= 0 && p->low <= p->high && p->clean_to <= p->high);
    i->c.key.n = part_key(i->key, 'p', p->of->id, p->index);
    put_u64(i->small, (uint64_t)p->low);
    put_u64(i->small + 8, (uint64_t)p->high);
    put_u64(i->small + 16, (uint64_t)p->clean_to);
    put_u64(i->small + 24, p->bytes);
    put_u64(i->small + 32, p->clean_bytes);
    small(i, PART);
}

void edit_batch(struct local *b, const struct local_part *p, int64_t base, struct bytes batch)
{
    struct edit_item *i = item(b);

    CHECK(!p->of->gone && base < p->high);
    batch_key(i->key, p, base);
    i->c.key.n = BATCH_KEY;
    i->c.value = batch;
}

void edit_open_span(struct local *b, const struct local_part *p, const struct log_span *s,
                    bool remove)
{
    struct edit_item *i = item(b);

    CHECK(!p->of->gone && s->pid && s->first < p->high);
    i->c.key.n = key64(i->key, 'o', p, s->pid);
    if (remove)
        return;
    put_u64(i->small, (uint64_t)s->first);
    small(i, 8);
}

void edit_aborted_span(struct local *b, const struct local_part *p, const struct log_span *s,
                       bool remove)
{
    struct edit_item *i = item(b);

    CHECK(!p->of->gone && s->pid && s->marker > s->first);
    i->c.key.n = key64(i->key, 'a', p, (uint64_t)s->marker);
    if (remove)
        return;
    put_u64(i->small, s->pid);
    put_u64(i->small + 8, (uint64_t)s->first);
    small(i, 16);
}

void edit_offset(struct local *b, const struct local_offset *o)
{
    struct edit_item *i = item(b);
    size_t n = strnlen(o->o.metadata, sizeof o->o.metadata - 1);

    CHECK((uint32_t)o->o.partition < o->topic->parts && !o->topic->gone);
    i->c.key.n = offset_key(i->key, o->group, o->topic, (uint32_t)o->o.partition);
    if (o->o.offset < 0)
        return; /* removed */
    put_u64(i->small, (uint64_t)o->o.offset);
    memcpy(i->small + 8, o->o.metadata, n);
    small(i, 8 + n);
}

/* Every key in [item's key, upto): upto is kept in `small`. */
static void until(struct edit_item *i, size_t n)
{
    i->c.upto.n = n;
}

void edit_topic_gone(struct local *b, const struct local_topic *t)
{
    static const char kinds[] = "pdoag";
    struct edit_item *i = item(b);

    i->c.key.n = topic_key(i->key, t->name);
    for (size_t k = 0; k + 1 < sizeof kinds; k++) {
        i = item(b);
        i->c.key.n = part_key(i->key, kinds[k], t->id, 0);
        until(i, part_key(i->small, kinds[k], t->id + 1, 0));
    }
}

enum st edit_write(struct local *b, bool sync, struct err *e)
{
    struct edit *d = &b->edit;
    enum st st;

    CHECK(d->n && !b->read_only);
    if (b->broken)
        return fail(e, ST_FATAL, "local broker %s: an earlier write failed; start again", b->dir);
    d->change = local_grow(d->change, &d->changes_cap, d->n, sizeof *d->change);
    for (uint32_t i = 0; i < d->n; i++) {
        struct edit_item *t = &d->item[i];

        t->c.key.p = t->key;
        if (t->is_small)
            t->c.value.p = t->small;
        else if (t->c.upto.n)
            t->c.upto.p = t->small;
        d->change[i] = t->c;
    }
    st = b->env.store->write(b->store, d->change, d->n, sync, e);
    d->n = 0;
    b->broken = st != ST_OK;
    if (st != ST_OK)
        err_prefix(e, "local broker %s", b->dir);
    return st;
}

/* ---- start ---- */

struct load {
    struct local *b;
    struct err *e;
    enum st st;
    bool any;
    uint32_t parts; /* expected and not seen yet */
};

static bool corrupt(struct load *l, const char *what, struct bytes key)
{
    l->st = fail(l->e, ST_CORRUPT, "local broker %s: %s does not verify (key '%.*s', %zu bytes)",
                 l->b->dir, what, (int)(key.n > 1 && key.p[0] == 't' ? key.n - 1 : 0),
                 (const char *)key.p + 1, key.n);
    return false;
}

static bool load_topic(void *arg, struct bytes key, struct bytes v)
{
    struct load *l = arg;
    struct local *b = l->b;
    struct local_topic *t;
    uint32_t flags;

    if (v.n != TOPIC || key.n < 2 || key.n > NAME_MAX_BYTES + 1)
        return corrupt(l, "a topic", key);
    t = calloc(1, sizeof *t);
    CHECK(t);
    b->topic = local_grow(b->topic, &b->topics_cap, b->topics + 1, sizeof *b->topic);
    b->topic[b->topics++] = t;
    memcpy(t->name, key.p + 1, key.n - 1);
    t->id = get_u32(v.p);
    flags = get_u32(v.p + 8);
    t->compact = flags & 1;
    t->expire = flags & 2;
    t->retention_ms = (int64_t)get_u64(v.p + 12);
    t->delete_retention_ms = (int64_t)get_u64(v.p + 20);
    t->max_message_bytes = (int64_t)get_u64(v.p + 28);
    if (get_u32(v.p + 4) - 1u >= PARTITIONS_MAX || t->id >= b->next_topic)
        return corrupt(l, "a topic", key);
    topic_parts(t, get_u32(v.p + 4));
    l->parts += t->parts;
    return true;
}

/* The partition that a key 'x' T P ... is about, NULL: there is none. */
static struct local_part *part_of(const struct local *b, struct bytes key)
{
    if (key.n < 9)
        return NULL;
    for (uint32_t i = 0; i < b->topics; i++) {
        const struct local_topic *t = b->topic[i];

        if (t->id == get_be32(key.p + 1))
            return get_be32(key.p + 5) < t->parts ? t->part[get_be32(key.p + 5)] : NULL;
    }
    return NULL;
}

static bool load_part(void *arg, struct bytes key, struct bytes v)
{
    struct load *l = arg;
    struct local_part *p = part_of(l->b, key);

    if (!p || key.n != 9 || v.n != PART)
        return corrupt(l, "a partition", key);
    p->low = (int64_t)get_u64(v.p);
    p->high = (int64_t)get_u64(v.p + 8);
    p->clean_to = (int64_t)get_u64(v.p + 16);
    p->bytes = get_u64(v.p + 24);
    p->clean_bytes = get_u64(v.p + 32);
    if (p->low < 0 || p->low > p->high || p->clean_to < 0 || p->clean_to > p->high)
        return corrupt(l, "a partition", key);
    l->parts--;
    return true;
}

static bool load_open(void *arg, struct bytes key, struct bytes v)
{
    struct load *l = arg;
    struct local_part *p = part_of(l->b, key);

    if (!p || key.n != BATCH_KEY || v.n != 8)
        return corrupt(l, "an open transaction", key);
    spans_add(&p->open, (struct log_span){get_be64(key.p + 9), (int64_t)get_u64(v.p), -1});
    return true;
}

static bool load_aborted(void *arg, struct bytes key, struct bytes v)
{
    struct load *l = arg;
    struct local_part *p = part_of(l->b, key);

    if (!p || key.n != BATCH_KEY || v.n != 16)
        return corrupt(l, "an aborted transaction", key);
    spans_add(&p->aborted, (struct log_span){get_u64(v.p), (int64_t)get_u64(v.p + 8),
                                             (int64_t)get_be64(key.p + 9)});
    return true;
}

static bool load_any(void *arg, struct bytes key, struct bytes v)
{
    (void)key;
    (void)v;
    ((struct load *)arg)->any = true;
    return false;
}

static enum st load_kind(struct load *l, char kind,
                         bool (*visit)(void *, struct bytes, struct bytes))
{
    uint8_t from = (uint8_t)kind, upto = (uint8_t)(kind + 1);

    TRY(l->b->env.store->scan(l->b->store, (struct bytes){&from, 1}, (struct bytes){&upto, 1},
                              visit, l, l->e));
    return l->st;
}

/* An empty store becomes a broker; one that holds something else is left alone. */
static enum st load_new(struct load *l)
{
    struct local *b = l->b;
    uint8_t id[HEX / 2];

    TRY(b->env.store->scan(b->store, (struct bytes){(const uint8_t *)"", 0},
                           (struct bytes){NULL, 0}, load_any, l, l->e));
    if (l->any || b->read_only)
        return fail(l->e, ST_BAD_CONFIG, "%s is not the folder of a local broker%s", b->dir,
                    l->any
                        ? " (it keeps something else, perhaps a worker's state); name another one"
                        : " (it is empty); load something first");
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        return fail(l->e, ST_FATAL, "local broker %s: no random bytes for its name", b->dir);
    for (size_t i = 0; i < sizeof id; i++)
        snprintf(b->cluster + 2 * i, 3, "%02x", id[i]);
    b->next_topic = 1;
    edit_begin(b);
    edit_meta(b);
    return edit_write(b, true, l->e);
}

enum st log_load(struct local *b, struct err *e)
{
    struct load l = {b, e, ST_OK, false, 0};
    struct bytes v;

    TRY(b->env.store->get(b->store, (struct bytes){(const uint8_t *)magic, MAGIC_BYTES}, &v, e));
    if (!v.p)
        return load_new(&l);
    if (v.n < META || get_u32(v.p) != VERSION)
        return fail(e, ST_BAD_CONFIG,
                    "local broker %s was written by another version of this program (format %u, "
                    "this one reads %d)",
                    b->dir, v.n < 4 ? 0 : get_u32(v.p), VERSION);
    b->next_topic = get_u32(v.p + 4);
    memcpy(b->cluster, v.p + 8, HEX);
    TRY(load_kind(&l, 't', load_topic));
    TRY(load_kind(&l, 'p', load_part));
    if (l.parts)
        return fail(e, ST_CORRUPT, "local broker %s: %u partitions are not there", b->dir, l.parts);
    TRY(load_kind(&l, 'o', load_open));
    return load_kind(&l, 'a', load_aborted);
}

enum st log_offset(struct local *b, const char *group, const struct local_topic *t,
                   uint32_t partition, struct offset_commit *out, struct err *e)
{
    uint8_t key[NAME_MAX_BYTES + 16];
    struct bytes v;
    size_t n;

    *out = (struct offset_commit){.partition = (int32_t)partition, .offset = -1001};
    n = offset_key(key, group, t, partition);
    TRY(b->env.store->get(b->store, (struct bytes){key, n}, &v, e));
    if (!v.p)
        return ST_OK;
    if (v.n < 8 || v.n - 8 >= sizeof out->metadata)
        return fail(e, ST_CORRUPT,
                    "local broker %s: offset of group %s, %s-%u, does not verify (%zu bytes)",
                    b->dir, group, t->name, partition, v.n);
    out->offset = (int64_t)get_u64(v.p);
    memcpy(out->metadata, v.p + 8, v.n - 8);
    return ST_OK;
}
