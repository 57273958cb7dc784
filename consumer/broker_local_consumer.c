#include "consumer/broker_local.h"

#include <stdlib.h>
#include <string.h>

/* Reading: partitions take turns. A turn copies the next batches of one partition into the
 * consumer's buffer with one scan of the store; records point into it, so they stay where they are
 * until the next poll. */

enum { BUFFER_LEAST = 256 << 10, BUFFER_MOST = 4 << 20, TURNS = 8 /* turns that fit the buffer */ };

/* ---- life ---- */

static enum st subscribe(struct local_consumer *c, const struct consumer_conf *conf, struct err *e)
{
    CHECK(conf->topics_n && conf->topics_n < UINT16_MAX);
    c->name = calloc(conf->topics_n, sizeof *c->name);
    c->names = calloc(conf->topics_n, sizeof *c->names);
    CHECK(c->name && c->names);
    for (; c->topics < conf->topics_n; c->topics++) {
        struct local_topic *t;

        TRY(local_topic_find(c->b, conf->topics[c->topics], &t, e));
        memcpy(c->name[c->topics], t->name, sizeof t->name);
        c->names[c->topics] = c->name[c->topics];
    }
    return ST_OK;
}

size_t local_buffer_bytes(uint64_t queue)
{
    return queue < BUFFER_LEAST ? BUFFER_LEAST : queue > BUFFER_MOST ? BUFFER_MOST : (size_t)queue;
}

static enum st make_buffer(struct local_consumer *c, uint64_t queue, struct err *e)
{
    c->buffer.cap = local_buffer_bytes(queue);
    c->turn_bytes = c->buffer.cap / TURNS;
    if (!(c->buffer.p = malloc(c->buffer.cap)))
        return fail(e, ST_FATAL, "no memory for a buffer of %zu bytes", c->buffer.cap);
    return ST_OK;
}

enum st local_consumer_open(void *self, void *b, const struct consumer_conf *conf, struct err *e)
{
    struct local_consumer *c = self;
    enum st st;

    if (conf->group)
        TRY(local_writable(b, "being a member of a group", e));
    if (conf->group && (!*conf->group || strlen(conf->group) > NAME_MAX_BYTES ||
                        (conf->instance && strlen(conf->instance) > NAME_MAX_BYTES)))
        return fail(e, ST_BAD_CONFIG,
                    "group '%.32s': names of groups and instances have 1 to %d characters",
                    conf->group, NAME_MAX_BYTES);
    c->b = b;
    c->b->users++;
    c->uncommitted = conf->read_uncommitted;
    if ((st = subscribe(c, conf, e)) == ST_OK)
        st = make_buffer(c, conf->queue_bytes ? conf->queue_bytes : c->b->queue_bytes, e);
    if (st != ST_OK) {
        local_consumer_close(c);
        return st;
    }
    c->member.topics = c->names;
    c->member.topics_n = c->topics;
    if (conf->group)
        group_join(c->b, &c->member, conf);
    return ST_OK;
}

void local_consumer_close(void *self)
{
    struct local_consumer *c = self;

    if (!c->b)
        return;
    CHECK(c->b->users);
    c->b->users--;
    group_close(c->b, &c->member);
    free(c->name);
    free(c->names);
    free(c->place);
    free(c->buffer.p);
    memset(c, 0, sizeof *c);
}

/* ---- what is read ---- */

static int64_t end_of(const struct local_consumer *c, const struct local_part *p)
{
    return c->uncommitted ? p->high : part_stable(p);
}

static int64_t start_of(const struct local_consumer *c, const struct local_part *p, int64_t offset)
{
    CHECK(offset >= -2);
    return offset == -2 ? p->low : offset == -1 ? end_of(c, p) : offset;
}

static enum st place_at(struct local_consumer *c, struct start s, struct local_place *out,
                        struct err *e)
{
    struct local_topic *t;

    CHECK(s.topic < c->topics);
    *out = (struct local_place){.topic = s.topic, .eof = -1};
    TRY(local_topic_find(c->b, c->name[s.topic], &t, e));
    TRY(local_partition(t, s.partition, &out->p, e));
    out->next = start_of(c, out->p, s.offset);
    return ST_OK;
}

enum st local_consumer_assign(void *self, const struct start *s, uint32_t n, struct err *e)
{
    struct local_consumer *c = self;

    CHECK(s || !n);
    if (n && c->member.group && !c->member.holds)
        return fail(e, ST_REVOKED, "group %s has assigned no partitions to this consumer",
                    group_name(&c->member));
    c->turn.active = false;
    c->places = 0;
    c->place = local_grow(c->place, &c->places_cap, n, sizeof *c->place);
    for (uint32_t i = 0; i < n; i++)
        TRY(place_at(c, s[i], &c->place[i], e));
    CHECK(n <= c->places_cap);
    c->places = n;
    c->place_at = 0;
    if (!n)
        group_released(&c->member);
    return ST_OK;
}

/* The place of a partition that is read, with nothing of it still to be handed out; or NULL. */
static struct local_place *place_of(struct local_consumer *c, struct start s)
{
    for (uint32_t i = 0; i < c->places; i++) {
        if (c->place[i].topic != s.topic || (int32_t)c->place[i].p->index != s.partition)
            continue;
        if (c->turn.active && c->turn.place == i)
            c->turn.active = false;
        return &c->place[i];
    }
    return NULL;
}

enum st local_consumer_seek(void *self, struct start s, struct err *e)
{
    struct local_place *a = place_of(self, s);

    return a ? place_at(self, s, a, e)
             : fail(e, ST_BAD_CONFIG, "partition %d is not read, so there is nothing to seek in",
                    s.partition);
}

enum st local_consumer_pause(void *self, struct start s, struct err *e)
{
    struct local_place *a = place_of(self, s);

    if (!a)
        return fail(e, ST_BAD_CONFIG, "partition %d is not read, so there is nothing to pause",
                    s.partition);
    a->stopped = true;
    return ST_OK;
}

enum st local_consumer_leave(void *self, int timeout_ms, struct err *e)
{
    struct local_consumer *c = self;

    (void)timeout_ms, (void)e;
    CHECK(c->member.group);
    group_leave(&c->member);
    return ST_OK;
}

/* ---- polling ---- */

/* Hands out records of the turn until it is used up or out is full. */
static enum st hand_out(struct local_consumer *c, struct record *out, uint32_t max, uint32_t *n,
                        struct err *e)
{
    struct local_turn *t = &c->turn;
    struct local_place *a = &c->place[t->place];

    CHECK(t->active && t->place < c->places && t->end <= c->buffer.n);
    while (*n < max) {
        struct log_record r;

        if (t->at == t->batch.n && t->batch_at == t->end) {
            CHECK(t->next >= a->next);
            a->next = t->next;
            a->aligned = true;
            a->shape = t->shape;
            t->active = false;
            return ST_OK;
        }
        if (t->at == t->batch.n) {
            t->batch = (struct bytes){c->buffer.p + t->batch_at, t->end - t->batch_at};
            batch_head(t->batch, &t->head);
            t->batch.n = t->head.bytes;
            t->batch_at += t->head.bytes;
            t->at = LOG_HEAD;
            CHECK(t->batch_at <= t->end);
        }
        TRY(log_batch_next(a->p, &t->head, t->batch, &t->at, &r, e));
        if (r.offset < a->next)
            continue;
        a->next = r.offset + 1;
        out[(*n)++] = (struct record){.kind = REC_DATA,
                                      .partition = (int32_t)a->p->index,
                                      .offset = r.offset,
                                      .timestamp_ms = r.timestamp_ms,
                                      .key = r.key,
                                      .value = r.value,
                                      .topic = a->topic,
                                      .message = r.headers};
    }
    return ST_OK;
}

static void event(const struct local_place *a, uint32_t kind, int64_t offset, struct record *out)
{
    *out = (struct record){.kind = kind,
                           .partition = (int32_t)a->p->index,
                           .offset = offset,
                           .timestamp_ms = -1,
                           .topic = a->topic,
                           .reason = kind == REC_ERROR ? BROKER_ERR_TOPIC_GONE : 0};
}

/* An event instead of a turn, if it is time for one. *more: there are records to read. */
static bool look(struct local_consumer *c, struct local_place *a, struct record *out, bool *more)
{
    int64_t end = end_of(c, a->p);

    CHECK(a->next >= 0 && end <= a->p->high);
    *more = false;
    if (a->stopped)
        return false;
    if (a->p->of->gone || a->next < a->p->low || a->next > a->p->high) {
        event(a, a->p->of->gone ? REC_ERROR : REC_RESET, a->next, out);
        a->stopped = true;
        return true;
    }
    *more = a->next < end;
    if (*more || a->eof == end)
        return false;
    a->eof = end;
    event(a, REC_EOF, a->next, out);
    return true;
}

/* Fills the buffer for a turn of the place whose turn it is. *full: it would not fit beside what is
 * handed out. */
static enum st begin_turn(struct local_consumer *c, bool *full, struct err *e)
{
    struct local_place *a = &c->place[c->place_at];
    struct local_turn *t = &c->turn;
    size_t begin = c->buffer.n;
    struct log_read r = {.p = a->p,
                         .from = a->next,
                         .upto = end_of(c, a->p),
                         .aligned = a->aligned && a->shape == a->p->shape,
                         .room = c->turn_bytes};

    CHECK(!t->active && c->place_at < c->places && !a->stopped);
    TRY(log_read(c->b, &r, &c->buffer, e));
    CHECK(r.from >= a->next && r.from <= r.upto);
    *full = c->buffer.n == begin && r.from < r.upto;
    if (*full)
        return ST_OK;
    *t = (struct local_turn){.active = true,
                             .place = c->place_at,
                             .shape = a->p->shape,
                             .batch_at = begin,
                             .end = c->buffer.n,
                             .next = r.from};
    c->place_at = (c->place_at + 1) % c->places;
    return ST_OK;
}

static enum st read_on(struct local_consumer *c, struct record *out, uint32_t max, uint32_t *n,
                       struct err *e)
{
    uint32_t idle = 0; /* places in a row without anything to do */
    bool full = false, more;

    while (*n < max && !full && (c->turn.active || idle < c->places)) {
        if (c->turn.active) {
            TRY(hand_out(c, out, max, n, e));
            idle = 0;
            continue;
        }
        if (!*n)
            c->buffer.n = 0; /* nothing is borrowed */
        if (look(c, &c->place[c->place_at], &out[*n], &more)) {
            ++*n;
        } else if (more) {
            TRY(begin_turn(c, &full, e));
        } else {
            c->place_at = (c->place_at + 1) % c->places;
            idle++;
        }
    }
    return ST_OK;
}

enum st local_consumer_poll(void *self, struct record *out, uint32_t max, int timeout_ms,
                            uint32_t *n, struct err *e)
{
    struct local_consumer *c = self;
    struct local *b = c->b;

    CHECK(max && out && timeout_ms >= 0);
    *n = 0;
    c->event = GROUP_NONE;
    TRY(txns_expire(b, e));
    if (c->member.group)
        c->event = group_step(b, &c->member);
    if (c->event != GROUP_NONE) {
        c->turn.active = false;
        c->places = 0;
        return ST_OK;
    }
    TRY(read_on(c, out, max, n, e));
    if (!*n && timeout_ms > 0)
        b->env.sleep_ms(b->env.arg, timeout_ms); /* nobody else can write meanwhile */
    return ST_OK;
}

void local_consumer_release(void *self)
{
    struct local_consumer *c = self;

    if (!c->turn.active)
        c->buffer.n = 0;
}

bool local_consumer_header(void *self, const struct record *r, uint32_t i, struct header *out)
{
    struct local_consumer *c = self;

    return r->message && batch_header(r->message, c->buffer.p + c->buffer.n, i, out);
}

enum group_event local_consumer_event(void *self, const struct start **partitions, uint32_t *n)
{
    struct local_consumer *c = self;

    *partitions = c->member.own;
    *n = c->event == GROUP_NONE ? 0 : c->member.own_n;
    return c->event;
}
