#include "statestore/store.h"

#include <stdlib.h>
#include <string.h>

/* A skip list (Pugh, "Skip lists: a probabilistic alternative to balanced trees", CACM 33, 1990):
 * order, ranges and `last` without rebalancing. Heights come from a counter, not from chance, so
 * runs repeat. A batch takes all its memory before it changes anything: out of memory leaves the
 * store as it was. */

enum { LEVELS = 20 }; /* 4^20 keys with a quarter of the nodes on each next level */

struct node {
    struct bytes key, value;
    uint32_t levels;
    struct node *next[]; /* then the bytes of key and value */
};

struct map {
    struct node *head[LEVELS];
    uint64_t made;
};

static int compare(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* The link of each level that leads to the first node >= key (key.p NULL: the end); returns the
 * node before it. */
static struct node *seek(struct map *s, struct bytes key, struct node **link[LEVELS])
{
    struct node *at = NULL;

    for (int l = LEVELS - 1; l >= 0; l--) {
        struct node **next = at ? &at->next[l] : &s->head[l];

        while (*next && (!key.p || compare((*next)->key, key) < 0)) {
            at = *next;
            next = &at->next[l];
        }
        link[l] = next;
    }
    return at;
}

static struct node *node_new(struct map *s, const struct change *c)
{
    uint64_t made = ++s->made;
    uint32_t levels = 1;
    struct node *d;
    uint8_t *p;

    for (; levels < LEVELS && made % 4 == 0; made /= 4)
        levels++;
    if (!(d = malloc(sizeof *d + levels * sizeof *d->next + c->key.n + c->value.n)))
        return NULL;
    p = (uint8_t *)(d->next + levels);
    memcpy(p, c->key.p, c->key.n);
    memcpy(p + c->key.n, c->value.p, c->value.n);
    d->levels = levels;
    d->key = (struct bytes){p, c->key.n};
    d->value = (struct bytes){p + c->key.n, c->value.n};
    return d;
}

/* Unlinks and frees the nodes in [from, upto); upto.p NULL: the one equal to from. */
static void cut(struct map *s, struct bytes from, struct bytes upto)
{
    struct node **link[LEVELS], *d;

    seek(s, from, link);
    while ((d = *link[0]) && (upto.p ? compare(d->key, upto) < 0 : !compare(d->key, from))) {
        for (uint32_t l = 0; l < d->levels; l++)
            *link[l] = d->next[l];
        free(d);
    }
}

static void insert(struct map *s, struct node *d)
{
    struct node **link[LEVELS];

    cut(s, d->key, (struct bytes){NULL, 0});
    seek(s, d->key, link);
    for (uint32_t l = 0; l < d->levels; l++) {
        d->next[l] = *link[l];
        *link[l] = d;
    }
}

static enum st memory_open(void *self, const char *dir, uint32_t flags, struct err *e)
{
    (void)self;
    if (flags & STORE_READ_ONLY)
        return fail(e, ST_BAD_CONFIG,
                    "folder %s: a store in memory cannot be opened by a second reader", dir);
    return ST_OK;
}

static void memory_close(void *self)
{
    struct map *s = self;

    for (struct node *d = s->head[0], *next; d; d = next) {
        next = d->next[0];
        free(d);
    }
    memset(s, 0, sizeof *s);
}

static enum st memory_get(void *self, struct bytes key, struct bytes *value, struct err *e)
{
    struct node **link[LEVELS];

    (void)e;
    seek(self, key, link);
    *value = (struct bytes){NULL, 0};
    if (*link[0] && !compare((*link[0])->key, key))
        *value = (*link[0])->value;
    return ST_OK;
}

static enum st memory_scan(void *self, struct bytes from, struct bytes upto,
                           bool (*visit)(void *arg, struct bytes key, struct bytes value),
                           void *arg, struct err *e)
{
    struct node **link[LEVELS];

    (void)e;
    seek(self, from.p ? from : (struct bytes){(const uint8_t *)"", 0}, link);
    for (struct node *d = *link[0]; d && (!upto.p || compare(d->key, upto) < 0); d = d->next[0]) {
        if (!visit(arg, d->key, d->value))
            break;
    }
    return ST_OK;
}

static enum st memory_last(void *self, struct bytes upto, struct bytes *key, struct bytes *value,
                           struct err *e)
{
    struct node **link[LEVELS], *d = seek(self, upto, link);

    (void)e;
    *key = d ? d->key : (struct bytes){NULL, 0};
    *value = d ? d->value : (struct bytes){NULL, 0};
    return ST_OK;
}

static enum st memory_write(void *self, const struct change *c, uint32_t n, bool sync,
                            struct err *e)
{
    struct map *s = self;
    struct node *first = NULL, **end = &first, *d;
    size_t bytes = 0;

    (void)sync;
    for (uint32_t i = 0; i < n; i++) {
        CHECK(!c[i].upto.p || !c[i].value.p);
        if (!c[i].value.p)
            continue;
        bytes += c[i].key.n + c[i].value.n;
        if (!(d = node_new(s, &c[i])))
            goto full;
        d->next[0] = NULL;
        *end = d;
        end = &d->next[0];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!c[i].value.p) {
            cut(s, c[i].key, c[i].upto);
            continue;
        }
        d = first;
        first = d->next[0];
        insert(s, d);
    }
    return ST_OK;
full:
    for (; first; first = d) {
        d = first->next[0];
        free(first);
    }
    return fail(e, ST_FATAL, "store in memory: no memory for a batch of %zu bytes and more", bytes);
}

static size_t memory_bytes(uint32_t flags, size_t batch_max)
{
    (void)flags;
    (void)batch_max;
    return 0;
}

const struct store store_memory = {
    .name = "memory",
    .summary = "a map in memory: tests and simulation; nothing outlives close",
    .self_bytes = sizeof(struct map),
    .memory_bytes = memory_bytes,
    .open = memory_open,
    .close = memory_close,
    .get = memory_get,
    .scan = memory_scan,
    .last = memory_last,
    .write = memory_write,
};
