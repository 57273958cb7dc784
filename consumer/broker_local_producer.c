#include "consumer/broker_local.h"

#include <stdlib.h>
#include <string.h>

/* Producers gather records into one batch per partition and append a batch when it is full, when
 * the caller waits, and at a commit. An append gives the offsets. The first one of a transaction to
 * a partition opens a span there, which holds the last stable offset down until the transaction
 * ends: then each partition it wrote to gives one more offset away (the marker), the span is
 * closed, and the group's offsets are written, all in one synced write. */

static const char gone_text[] = "topic '%s' was deleted while it was written to";

/* ---- transactions ---- */

static uint32_t span_of(const struct log_spans *l, uint64_t pid)
{
    uint32_t i = 0;

    while (i < l->n && l->s[i].pid != pid)
        i++;
    return i;
}

/* Closes span i of p, gathered for the next write. */
static void span_end(struct local *b, struct local_part *p, uint32_t i, bool commit)
{
    struct log_span s = p->open.s[i];

    s.marker = p->high++;
    CHECK(s.first < s.marker);
    spans_remove(&p->open, i);
    edit_open_span(b, p, &s, true);
    if (!commit) {
        spans_add(&p->aborted, s);
        edit_aborted_span(b, p, &s, false);
    }
    edit_part(b, p);
}

/* Writes what is gathered and the end of the transaction. */
static enum st txn_end(struct local *b, struct local_txn *x, bool commit, struct err *e)
{
    CHECK(x->open);
    for (uint32_t i = 0; i < x->parts; i++) {
        struct local_part *p = x->part[i];
        uint32_t k = span_of(&p->open, x->pid);

        CHECK(k < p->open.n);
        if (p->of->gone)
            spans_remove(&p->open, k);
        else
            span_end(b, p, k, commit);
    }
    for (uint32_t i = 0; commit && i < x->offsets; i++) {
        if (!x->offset[i].topic->gone)
            edit_offset(b, &x->offset[i]);
    }
    if (b->edit.n)
        TRY(edit_write(b, commit, e));
    x->open = false;
    x->offsets = 0;
    return ST_OK;
}

/* Partitions of the transaction that has just ended may be worth compacting. */
static enum st txn_clean(struct local *b, struct local_txn *x, struct err *e)
{
    for (uint32_t i = 0; i < x->parts; i++) {
        if (!x->part[i]->of->gone)
            TRY(clean_maybe(b, x->part[i], e));
    }
    x->parts = 0;
    return ST_OK;
}

enum st txns_expire(struct local *b, struct err *e)
{
    for (uint32_t i = 0; i < b->txns; i++) {
        struct local_txn *x = b->txn[i];

        if (!x->open || b->env.mono_ms(b->env.arg) - x->since_ms <= b->transaction_ms)
            continue;
        x->epoch++;
        edit_begin(b);
        TRY(txn_end(b, x, false, e));
        TRY(txn_clean(b, x, e));
    }
    return ST_OK;
}

enum st txns_recover(struct local *b, struct err *e)
{
    edit_begin(b);
    for (uint32_t i = 0; i < b->topics; i++) {
        for (uint32_t k = 0; k < b->topic[i]->parts; k++) {
            struct local_part *p = b->topic[i]->part[k];

            while (p->open.n)
                span_end(b, p, 0, false);
        }
    }
    return b->edit.n ? edit_write(b, true, e) : ST_OK;
}

bool txns_pending(const struct local *b, const char *group, const struct local_topic *t,
                  int32_t partition)
{
    for (uint32_t i = 0; i < b->txns; i++) {
        for (uint32_t k = 0; k < b->txn[i]->offsets; k++) {
            const struct local_offset *o = &b->txn[i]->offset[k];

            if (o->topic == t && o->o.partition == partition && !strcmp(o->group, group))
                return true;
        }
    }
    return false;
}

void txns_free(struct local *b)
{
    for (uint32_t i = 0; i < b->txns; i++) {
        free(b->txn[i]->part);
        free(b->txn[i]->offset);
        free(b->txn[i]);
    }
    free(b->txn);
}

static struct local_txn *txn_of(struct local *b, const char *id)
{
    struct local_txn *x;

    for (uint32_t i = 0; i < b->txns; i++) {
        if (!strcmp(b->txn[i]->id, id))
            return b->txn[i];
    }
    x = calloc(1, sizeof *x);
    CHECK(x);
    b->txn = local_grow(b->txn, &b->txns_cap, b->txns + 1, sizeof *b->txn);
    b->txn[b->txns++] = x;
    memcpy(x->id, id, strlen(id));
    x->pid = b->next_pid++;
    return x;
}

/* ---- producers ---- */

static enum st targets_open(struct local_producer *p, const char *const *topics, uint32_t n,
                            struct err *e)
{
    p->target = calloc(n, sizeof *p->target);
    CHECK(p->target);
    for (; p->targets < n; p->targets++) {
        struct local_target *g = &p->target[p->targets];

        TRY(local_topic_find(p->b, topics[p->targets], &g->t, e));
        g->parts = g->t->parts;
        g->batch = calloc(g->parts, sizeof *g->batch);
        CHECK(g->batch);
    }
    return ST_OK;
}

enum st local_producer_open(void *self, void *b, const char *id, const char *const *topics,
                            uint32_t topics_n, struct err *e)
{
    struct local_producer *p = self;
    enum st st;

    CHECK(topics_n);
    TRY(local_writable(b, "producing", e));
    if (id && (!*id || strlen(id) > NAME_MAX_BYTES))
        return fail(e, ST_BAD_CONFIG,
                    "transactional id '%.32s' has %zu characters; 1 to %d are possible", id,
                    strlen(id), NAME_MAX_BYTES);
    p->b = b;
    p->b->users++;
    if ((st = targets_open(p, topics, topics_n, e)) != ST_OK) {
        local_producer_close(p);
        return st;
    }
    if (!id)
        return ST_OK;
    p->txn = txn_of(b, id);
    p->epoch = ++p->txn->epoch;
    if (!p->txn->open)
        return ST_OK;
    edit_begin(b);
    TRY(txn_end(b, p->txn, false, e));
    return txn_clean(b, p->txn, e);
}

void local_producer_close(void *self)
{
    struct local_producer *p = self;

    if (!p->b)
        return;
    CHECK(p->b->users);
    p->b->users--;
    for (uint32_t i = 0; i < p->targets; i++) {
        for (uint32_t k = 0; k < p->target[i].parts; k++)
            batch_free(&p->target[i].batch[k]);
        free(p->target[i].batch);
    }
    free(p->target);
    memset(p, 0, sizeof *p);
}

static enum st alive(const struct local_producer *p, struct err *e)
{
    if (!p->txn || p->epoch == p->txn->epoch)
        return ST_OK;
    return fail(e, ST_FATAL,
                "producer '%s' is fenced: another worker uses the name, or a transaction was open "
                "for more than "
                "transaction.timeout.ms (%lld)",
                p->txn->id, (long long)p->b->transaction_ms);
}

/* Gathers one batch for the next write. */
static void append(struct local_producer *p, struct local_part *part, struct log_batch *l)
{
    int64_t base = part->high, last = base + l->records - 1;
    struct bytes batch = batch_seal(l, base, last, p->txn ? p->txn->pid : 0);

    CHECK(l->records);
    part->high = last + 1;
    part->bytes += batch.n;
    edit_batch(p->b, part, base, batch);
    if (p->txn && span_of(&part->open, p->txn->pid) == part->open.n) {
        struct log_span s = {p->txn->pid, base, -1};
        struct local_txn *x = p->txn;

        spans_add(&part->open, s);
        edit_open_span(p->b, part, &s, false);
        x->part = local_grow(x->part, &x->parts_cap, x->parts + 1, sizeof *x->part);
        x->part[x->parts++] = part;
    }
    edit_part(p->b, part);
}

static enum st append_all(struct local_producer *p, struct err *e)
{
    for (uint32_t i = 0; i < p->targets; i++) {
        struct local_target *g = &p->target[i];

        for (uint32_t k = 0; k < g->parts; k++) {
            if (!g->batch[k].records)
                continue;
            if (g->t->gone)
                return fail(e, ST_BAD_CONFIG, gone_text, g->t->name);
            append(p, g->t->part[k], &g->batch[k]);
        }
    }
    return ST_OK;
}

static void clear_all(struct local_producer *p)
{
    for (uint32_t i = 0; i < p->targets; i++) {
        for (uint32_t k = 0; k < p->target[i].parts; k++)
            batch_clear(&p->target[i].batch[k]);
    }
    p->waiting = 0;
    p->unsynced = false;
}

enum st local_producer_begin(void *self, struct err *e)
{
    struct local_producer *p = self;

    CHECK(p->txn && !p->in_txn && !p->waiting);
    TRY(alive(p, e));
    CHECK(!p->txn->open && !p->txn->parts && !p->txn->offsets);
    p->txn->open = p->in_txn = true;
    p->txn->since_ms = p->b->env.mono_ms(p->b->env.arg);
    p->offsets_added = false;
    return ST_OK;
}

/* MurmurHash2 as Kafka's default partitioner has it: a key goes where the Java client would send
 * it. */
static uint32_t murmur2(struct bytes k)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28cu ^ (uint32_t)k.n, tail = 0;
    size_t i = 0;

    for (; i + 4 <= k.n; i += 4) {
        uint32_t v = k.p[i] | (uint32_t)k.p[i + 1] << 8 | (uint32_t)k.p[i + 2] << 16 |
                     (uint32_t)k.p[i + 3] << 24;

        v *= m;
        v ^= v >> 24;
        h = h * m ^ v * m;
    }
    for (size_t t = k.n; t > i; t--)
        tail = tail << 8 | k.p[t - 1];
    if (k.n > i)
        h = (h ^ tail) * m;
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

static enum st check_record(const struct local_topic *t, struct bytes key, size_t bytes,
                            struct err *e)
{
    if (t->gone)
        return fail(e, ST_BAD_CONFIG, gone_text, t->name);
    if (t->compact && !key.p)
        return fail(e, ST_BAD_INPUT,
                    "topic '%s' is compacted: a record without a key has no place in it", t->name);
    if (bytes > (uint64_t)t->max_message_bytes)
        return fail(e, ST_BAD_INPUT,
                    "a record of %zu bytes is larger than max.message.bytes of topic '%s', %lld; "
                    "create the topic with "
                    "more (to %d)",
                    bytes, t->name, (long long)t->max_message_bytes, RECORD_BYTES_MAX);
    return ST_OK;
}

static struct log_batch *batch_of(struct local_target *g, uint32_t part)
{
    if (part >= g->parts) { /* partitions were added */
        g->batch = realloc(g->batch, g->t->parts * sizeof *g->batch);
        CHECK(g->batch);
        memset(g->batch + g->parts, 0, (g->t->parts - g->parts) * sizeof *g->batch);
        g->parts = g->t->parts;
    }
    return &g->batch[part];
}

enum st local_produce(void *self, uint16_t topic, int32_t partition, struct bytes key,
                      struct bytes value, int64_t timestamp_ms, const struct header *h,
                      uint32_t headers, struct err *e)
{
    struct local_producer *p = self;
    struct log_record r = {.timestamp_ms = timestamp_ms, .key = key, .value = value};
    size_t bytes = batch_record_bytes(key, value, h, headers);
    struct local_target *g;
    struct local_part *part;
    struct log_batch *l;

    CHECK(topic < p->targets && headers <= HEADERS_MAX);
    CHECK(!p->txn || (p->in_txn && !p->offsets_added)); /* R3: nothing after the offsets */
    g = &p->target[topic];
    TRY(alive(p, e));
    TRY(check_record(g->t, key, bytes, e));
    if (partition == -1 && key.p)
        partition = (int32_t)((murmur2(key) & 0x7fffffff) % g->t->parts);
    else if (partition == -1)
        partition = (int32_t)(p->turn++ % g->t->parts);
    TRY(local_partition(g->t, partition, &part, e));
    if (timestamp_ms == -1)
        r.timestamp_ms = p->b->env.wall_ms(p->b->env.arg);
    l = batch_of(g, (uint32_t)partition);
    if (!batch_has_room(l, bytes)) {
        edit_begin(p->b);
        append(p, part, l);
        TRY(edit_write(p->b, false, e));
        batch_clear(l);
        p->unsynced = true;
        if (!p->txn)
            TRY(clean_maybe(p->b, part, e));
    }
    p->waiting++;
    return batch_add(l, l->records, &r, h, headers, e);
}

enum st local_producer_wait(void *self, int timeout_ms, struct err *e)
{
    struct local_producer *p = self;

    (void)timeout_ms;
    TRY(alive(p, e));
    if (!p->waiting)
        return ST_OK;
    edit_begin(p->b);
    TRY(append_all(p, e));
    if (!p->b->edit.n && p->unsynced && !p->txn)
        edit_meta(p->b); /* any change will do: syncing it syncs all before */
    if (p->b->edit.n)
        TRY(edit_write(p->b, !p->txn, e));
    clear_all(p);
    return ST_OK;
}

enum st local_producer_offsets(void *self, void *consumer, const char *topic,
                               const struct offset_commit *o, uint32_t n, struct err *e)
{
    struct local_producer *p = self;
    const struct local_member *m = &((struct local_consumer *)consumer)->member;
    struct local_txn *x = p->txn;
    struct local_topic *t;

    CHECK(x && p->in_txn && m->group);
    CHECK(!p->waiting); /* R3 */
    TRY(alive(p, e));
    if (!group_current(m))
        return fail(e, ST_REVOKED,
                    "group %s has given the partitions to others (generation %u is over)",
                    group_name(m), m->captured_generation);
    TRY(local_topic_find(p->b, topic, &t, e));
    for (uint32_t i = 0; i < n; i++) {
        struct local_part *part;
        struct local_offset *to;

        TRY(local_partition(t, o[i].partition, &part, e));
        CHECK(o[i].offset >= 0 && memchr(o[i].metadata, 0, sizeof o[i].metadata));
        x->offset = local_grow(x->offset, &x->offsets_cap, x->offsets + 1, sizeof *x->offset);
        to = &x->offset[x->offsets++];
        to->topic = t;
        to->o = o[i];
        snprintf(to->group, sizeof to->group, "%s", group_name(m));
    }
    p->offsets_added = true;
    return ST_OK;
}

enum st local_producer_commit(void *self, struct err *e)
{
    struct local_producer *p = self;

    CHECK(p->txn && p->in_txn);
    TRY(alive(p, e));
    edit_begin(p->b);
    TRY(append_all(p, e));
    TRY(txn_end(p->b, p->txn, true, e));
    clear_all(p);
    p->in_txn = false;
    return txn_clean(p->b, p->txn, e);
}

enum st local_producer_abort(void *self, struct err *e)
{
    struct local_producer *p = self;

    CHECK(p->txn && p->in_txn);
    clear_all(p);
    p->in_txn = false;
    TRY(alive(p, e));
    edit_begin(p->b);
    TRY(txn_end(p->b, p->txn, false, e));
    return txn_clean(p->b, p->txn, e);
}
