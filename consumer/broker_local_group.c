#include "consumer/broker_local.h"

#include <stdlib.h>
#include <string.h>

/* Consumer groups within one process, by the classic protocol's rules with the eager range
 * assignor:
 *
 *   A join, a member's end, or added partitions start a rebalance: each member that was told its
 *   partitions is told REVOKED at its next poll, and has joined again when it has given them back
 *   (consumer_assign with none). Until all have, the generation stays, so a last publish is
 *   accepted. Then the generation grows and all are told ASSIGNED.
 *
 *   A static member (instance) that closes stays a member. Opened again within session.timeout.ms
 *   it gets a new member id and its partitions back in the same generation, and nobody else
 *   notices. The older holder of the id, if it lives, is fenced.
 *
 *   A member that leaves is put out at once.
 *
 *   A member that was silent for max.poll.interval.ms, or static and closed for session.timeout.ms,
 *   is put out when it or another one polls; it learns LOST at its next poll, then joins as a new
 *   member. */

struct place { /* a member of a group */
    uint64_t id;
    char instance[NAME_MAX_BYTES + 1]; /* "": dynamic */
    bool live;                         /* a consumer holds it */
    bool joined;                       /* in the rebalance that is going on */
    bool revoked;                      /* was told so in it */
    uint32_t told;                     /* generation whose ASSIGNED it has had */
    int64_t seen_ms;
    char (*topic)[NAME_MAX_BYTES + 1];
    uint32_t topics;
    struct start *own;
    uint32_t own_n, own_cap;
};

struct local_group {
    char name[NAME_MAX_BYTES + 1];
    uint32_t generation;
    bool rebalancing;
    struct place **place; /* by instance, then id: the assignor's order */
    uint32_t places, places_cap;
};

static struct place *find(const struct local_group *g, uint64_t id)
{
    for (uint32_t i = 0; i < g->places; i++) {
        if (g->place[i]->id == id)
            return g->place[i];
    }
    return NULL;
}

static struct place *find_instance(const struct local_group *g, const char *instance)
{
    for (uint32_t i = 0; *instance && i < g->places; i++) {
        if (!strcmp(g->place[i]->instance, instance))
            return g->place[i];
    }
    return NULL;
}

static struct local_group *group_of(struct local *b, const char *name)
{
    struct local_group *g;

    for (uint32_t i = 0; i < b->groups; i++) {
        if (!strcmp(b->group[i]->name, name))
            return b->group[i];
    }
    g = calloc(1, sizeof *g);
    CHECK(g);
    b->group = local_grow(b->group, &b->groups_cap, b->groups + 1, sizeof *b->group);
    b->group[b->groups++] = g;
    memcpy(g->name, name, strlen(name));
    return g;
}

static void rebalance(struct local_group *g)
{
    for (uint32_t i = 0; i < g->places && !g->rebalancing; i++)
        g->place[i]->joined = g->place[i]->revoked = false;
    g->rebalancing = g->places > 0;
}

static void place_free(struct place *p)
{
    free(p->topic);
    free(p->own);
    free(p);
}

static void put_out(struct local_group *g, struct place *p)
{
    uint32_t i = 0;

    while (i < g->places && g->place[i] != p)
        i++;
    CHECK(i < g->places);
    memmove(&g->place[i], &g->place[i + 1], (--g->places - i) * sizeof *g->place);
    place_free(p);
    rebalance(g);
}

static int order(const struct place *a, const struct place *b)
{
    int c = strcmp(a->instance, b->instance);

    return c ? c : (a->id > b->id) - (a->id < b->id);
}

static struct place *place_new(struct local_group *g, const struct local_member *m)
{
    struct place *p = calloc(1, sizeof *p);
    uint32_t i;

    CHECK(p);
    p->id = m->id;
    memcpy(p->instance, m->instance, sizeof p->instance);
    g->place = local_grow(g->place, &g->places_cap, g->places + 1, sizeof *g->place);
    for (i = g->places++; i && order(g->place[i - 1], p) > 0; i--)
        g->place[i] = g->place[i - 1];
    g->place[i] = p;
    return p;
}

/* True: these are other topics than before. */
static bool subscribe(struct place *p, const struct local_member *m)
{
    bool same = p->topics == m->topics_n;

    for (uint32_t i = 0; same && i < p->topics; i++)
        same = !strcmp(p->topic[i], m->topics[i]);
    if (same)
        return false;
    free(p->topic);
    CHECK(m->topics_n && m->topics);
    p->topic = calloc(m->topics_n, sizeof *p->topic);
    CHECK(p->topic);
    p->topics = m->topics_n;
    for (uint32_t i = 0; i < p->topics; i++)
        memcpy(p->topic[i], m->topics[i], strlen(m->topics[i]));
    return true;
}

/* m takes its place, a new one or that of its instance. */
static void enter(struct local *b, struct local_member *m)
{
    struct local_group *g = m->group;
    struct place *p = find_instance(g, m->instance);
    bool known = p != NULL;

    CHECK(g && b->next_member && !m->captured_id);
    m->id = b->next_member++;
    if (!known)
        p = place_new(g, m);
    p->id = m->id;
    p->live = true;
    p->seen_ms = b->env.mono_ms(b->env.arg);
    p->told = 0;
    p->revoked = false;
    if (subscribe(p, m) || !known)
        rebalance(g);
    p->joined = true;
}

void group_join(struct local *b, struct local_member *m, const struct consumer_conf *c)
{
    CHECK(c->topics_n && strlen(c->group) <= NAME_MAX_BYTES && m->topics_n == c->topics_n);
    m->group = group_of(b, c->group);
    snprintf(m->instance, sizeof m->instance, "%s", c->instance ? c->instance : "");
    enter(b, m);
}

void group_close(struct local *b, struct local_member *m)
{
    struct place *p = m->group ? find(m->group, m->id) : NULL;

    if (p && *p->instance) {
        p->live = p->joined = false;
        p->seen_ms = b->env.mono_ms(b->env.arg);
    } else if (p) {
        put_out(m->group, p);
    }
    free(m->own);
    memset(m, 0, sizeof *m);
}

void group_leave(struct local_member *m)
{
    struct place *p = m->group ? find(m->group, m->id) : NULL;

    if (p)
        put_out(m->group, p);
    m->captured_id = 0;
    m->holds = false;
}

/* ---- assignment ---- */

static void own(struct place *p, uint16_t topic, uint32_t partition)
{
    p->own = local_grow(p->own, &p->own_cap, p->own_n + 1, sizeof *p->own);
    p->own[p->own_n++] = (struct start){(int32_t)partition, topic, -1001};
}

/* The index of a topic in a member's subscription; topics: it has none. */
static uint32_t index_of(const struct place *p, const char *topic)
{
    uint32_t i = 0;

    while (i < p->topics && strcmp(p->topic[i], topic))
        i++;
    return i;
}

/* Range: members in order get neighbouring partitions, the first ones one more. */
static void assign_topic(struct local_group *g, const struct local_topic *t)
{
    uint32_t members = 0, at = 0, k = 0;

    for (uint32_t i = 0; i < g->places; i++)
        members += index_of(g->place[i], t->name) < g->place[i]->topics;
    for (uint32_t i = 0; i < g->places; i++) {
        uint32_t topic = index_of(g->place[i], t->name);
        uint32_t share = members ? t->parts / members + (k < t->parts % members) : 0;

        if (topic == g->place[i]->topics)
            continue;
        for (uint32_t j = 0; j < share; j++)
            own(g->place[i], (uint16_t)topic, at++);
        k++;
    }
    CHECK(!members || at == t->parts);
}

static int start_order(const void *a, const void *b)
{
    const struct start *x = a, *y = b;

    return x->topic != y->topic ? (x->topic > y->topic) - (x->topic < y->topic)
                                : (x->partition > y->partition) - (x->partition < y->partition);
}

static void complete(struct local *b, struct local_group *g)
{
    CHECK(g->rebalancing && g->places);
    for (uint32_t i = 0; i < g->places; i++)
        g->place[i]->own_n = 0;
    for (uint32_t i = 0; i < b->topics; i++) {
        if (!b->topic[i]->gone)
            assign_topic(g, b->topic[i]);
    }
    for (uint32_t i = 0; i < g->places; i++) {
        if (g->place[i]->own_n)
            qsort(g->place[i]->own, g->place[i]->own_n, sizeof *g->place[i]->own, start_order);
        g->place[i]->told = 0;
    }
    g->generation++;
    g->rebalancing = false;
}

void groups_partitions_changed(struct local *b, const char *topic)
{
    for (uint32_t i = 0; i < b->groups; i++) {
        struct local_group *g = b->group[i];
        bool concerned = false;

        for (uint32_t k = 0; k < g->places; k++)
            concerned = concerned || index_of(g->place[k], topic) < g->place[k]->topics;
        if (concerned)
            rebalance(g);
    }
}

/* ---- a member's poll ---- */

static void expire(struct local *b, struct local_group *g)
{
    int64_t now = b->env.mono_ms(b->env.arg);

    for (uint32_t i = 0; i < g->places;) {
        struct place *p = g->place[i];

        if (now - p->seen_ms > (p->live ? b->max_poll_ms : b->session_ms))
            put_out(g, p);
        else
            i++;
    }
}

enum st local_group_members(void *self, const char *group, uint32_t *n, struct err *e)
{
    struct local *b = self;

    (void)e;
    *n = 0;
    for (uint32_t i = 0; i < b->groups; i++) {
        if (strcmp(b->group[i]->name, group))
            continue;
        expire(b, b->group[i]);
        *n = b->group[i]->places;
    }
    return ST_OK;
}

static enum group_event put_out_event(struct local_member *m)
{
    CHECK(m->id && !m->fenced);
    m->captured_id = 0;
    m->holds = false;
    if (find_instance(m->group, m->instance)) {
        m->fenced = true;
        return GROUP_FENCED;
    }
    m->id = 0;
    return GROUP_LOST;
}

static enum group_event assigned(struct local_member *m, struct place *p)
{
    const struct local_group *g = m->group;

    CHECK(p->live && p->id == m->id && g->generation);
    p->told = g->generation;
    m->captured_id = p->id;
    m->captured_generation = g->generation;
    m->holds = true;
    m->own = realloc(m->own, (p->own_n + 1) * sizeof *m->own);
    CHECK(m->own);
    m->own_n = p->own_n;
    if (p->own_n)
        memcpy(m->own, p->own, p->own_n * sizeof *m->own);
    return GROUP_ASSIGNED;
}

enum group_event group_step(struct local *b, struct local_member *m)
{
    struct local_group *g = m->group;
    struct place *p;
    bool all = true;

    CHECK(g);
    if (m->fenced)
        return GROUP_FENCED;
    if (!m->id)
        enter(b, m);
    expire(b, g);
    if (!(p = find(g, m->id)))
        return put_out_event(m);
    p->seen_ms = b->env.mono_ms(b->env.arg);
    if (g->rebalancing && !p->joined) {
        if (p->told && !p->revoked) {
            p->revoked = true;
            m->holds = false;
            return GROUP_REVOKED;
        }
        p->joined = !p->told;
    }
    for (uint32_t i = 0; i < g->places; i++)
        all = all && g->place[i]->joined;
    if (g->rebalancing && all)
        complete(b, g);
    return !g->rebalancing && p->told != g->generation ? assigned(m, p) : GROUP_NONE;
}

void group_released(struct local_member *m)
{
    struct place *p = m->group ? find(m->group, m->id) : NULL;

    if (p && p->revoked)
        p->joined = true;
}

bool group_current(const struct local_member *m)
{
    return m->captured_id && find(m->group, m->captured_id) &&
           m->captured_generation == m->group->generation;
}

const char *group_name(const struct local_member *m)
{
    return m->group->name;
}

void groups_free(struct local *b)
{
    for (uint32_t i = 0; i < b->groups; i++) {
        for (uint32_t k = 0; k < b->group[i]->places; k++)
            place_free(b->group[i]->place[k]);
        free(b->group[i]->place);
        free(b->group[i]);
    }
    free(b->group);
}
