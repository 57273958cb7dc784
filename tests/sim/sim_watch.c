/* sim_watch.c: what must hold at every step and at the end. It reads the broker for itself; slots
 * as they are committed by the offsets of their fields, with none of the product's readers. */
#include "tests/sim/sim.h"

#include "config/base/bytes.h"
#include "consumer/slot_reader.h"
#include "consumer/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS = 256 };

static struct {
    struct local_consumer c;
    bool open;
    struct record rec[RECORDS];
    struct seen { /* of each partition, its newest committed manifest */
        bool any;
        struct position pos;
        uint64_t seq, trained;
        uint32_t round, flags;
    } seen[SIM_PARTITIONS];
    int64_t stable;                /* sum of the offsets up to which transactions are decided */
    uint64_t most[SIM_PARTITIONS]; /* records that any state has learned before the topic changed */
} watch;

static struct err err;

/* ---- slots as they come ---- */

static void take(const struct record *r)
{
    const uint8_t *m = r->value.p;
    struct seen *s = &watch.seen[r->partition], now = {.any = true};
    char key[64] = "";

    if (r->key.n >= sizeof key || !m)
        return;
    memcpy(key, r->key.p, r->key.n);
    if (!strstr(key, "manifest"))
        return;
    now.flags = (uint32_t)(m[6] | m[7] << 8);
    now.pos = (struct position){get_u32(m + 12), get_u32(m + 16), (int64_t)get_u64(m + 20)};
    now.trained = get_u64(m + 64);
    now.seq = get_u64(m + 88);
    now.round = get_u32(m + 96);
    if (world.recreated && now.trained > watch.most[r->partition])
        world_fail("partition %" PRId32 " has learned %" PRIu64
                   " records, where its topic was another one after %" PRIu64,
                   r->partition, now.trained, watch.most[r->partition]);
    if (s->any && (position_cmp(now.pos, s->pos) < 0 || now.seq <= s->seq))
        world_fail("the slot of partition %" PRId32 " went backward: epoch %" PRIu32
                   " offset %" PRId64 " seq %" PRIu64 " after epoch %" PRIu32 " offset %" PRId64
                   " seq %" PRIu64,
                   r->partition, now.pos.epoch, now.pos.offset, now.seq, s->pos.epoch,
                   s->pos.offset, s->seq);
    *s = now;
}

static bool watch_open(void)
{
    struct start s[SIM_PARTITIONS];
    const char *const topic = world.job->topic_params;
    struct consumer_conf c = {.topics = &topic, .topics_n = 1};
    struct local_topic *t = local_topic(&world.broker, topic);

    if (watch.open || !t)
        return watch.open;
    watch.open = local_consumer_open(&watch.c, &world.broker, &c, &err) == ST_OK;
    for (uint32_t i = 0; i < t->parts; i++)
        s[i] = (struct start){.partition = (int32_t)i, .offset = -2};
    if (!watch.open || local_consumer_assign(&watch.c, s, t->parts, &err) != ST_OK)
        world_fail("the watch cannot read: %s", err.text);
    return watch.open;
}

void watch_begin(void)
{
    memset(watch.seen, 0, sizeof watch.seen);
    memset(watch.most, 0, sizeof watch.most);
    watch.stable = 0;
}

void watch_close(void)
{
    if (watch.open)
        local_consumer_close(&watch.c);
    watch.open = false;
}

void watch_committed(void)
{
    uint32_t n;

    if (!watch_open())
        return;
    do {
        if (local_consumer_poll(&watch.c, watch.rec, RECORDS, 0, &n, &err) != ST_OK)
            world_fail("the watch cannot read: %s", err.text);
        for (uint32_t i = 0; i < n; i++)
            if (watch.rec[i].kind == REC_DATA)
                take(&watch.rec[i]);
    } while (n && !world.failed);
}

void watch_print(FILE *out)
{
    static const char *const phases[] = {"none",    "restored", "checking",
                                         "running", "done",     "stopped"};

    for (uint32_t i = 0; i < sim_jobs[world.plan.job].partitions; i++)
        if (watch.seen[i].any)
            fprintf(out,
                    "  slot %" PRIu32 ": epoch %" PRIu32 " offset %" PRId64 " round %" PRIu32
                    " flags %" PRIu32 " seq %" PRIu64 "\n",
                    i, watch.seen[i].pos.epoch, watch.seen[i].pos.offset, watch.seen[i].round,
                    watch.seen[i].flags, watch.seen[i].seq);
    for (uint32_t k = 0; k < world.nodes; k++) {
        const struct worker *w = world.node[k].w;

        fprintf(out, "  worker %" PRIu32 ":%s%s%s%s life %" PRIu32 "\n", k,
                world.node[k].done ? " done" : "", world.node[k].dead ? " dead" : "",
                world.node[k].leaves ? " leaves" : "", world.node[k].replaced ? " replaced" : "",
                world.node[k].lives);
        for (uint32_t i = 0; w && i < w->partitions; i++) {
            const struct partition *p = &w->part[i];

            if (p->phase != PHASE_NONE)
                fprintf(out,
                        "    %" PRIu32 " %s epoch %" PRIu32 " offset %" PRId64 " round %" PRIu32
                        " flags %" PRIu32 "%s%s%s%s\n",
                        i, phases[p->phase], p->m.pos.epoch, p->m.pos.offset, p->m.round,
                        p->m.flags, p->moved ? " moved" : "", p->unsent ? " unsent" : "",
                        p->adopted ? " adopted" : "", p->pull_due ? " pull due" : "");
        }
    }
}

/* ---- how far ahead ---- */

/* A transaction that a dead worker left open hides what others have published since (seed 5 of a
 * build that read slot 0 once more). */
static bool hidden(uint32_t i)
{
    const struct local_topic *t = local_topic(&world.broker, world.job->topic_params);

    return t && i < t->parts && part_stable(t->part[i]) < t->part[i]->high;
}

/* The end of such a transaction, by whatever it ends, shows what it hid (seed 3717). */
static void watch_decided(void)
{
    const struct local_topic *t = local_topic(&world.broker, world.job->topic_params);
    int64_t sum = 0;

    for (uint32_t i = 0; t && i < t->parts; i++)
        sum += part_stable(t->part[i]);
    if (sum == watch.stable)
        return;
    watch.stable = sum;
    watch_committed();
}

void watch_step(const struct node *n)
{
    const struct worker *w = n->w;
    uint32_t behind = UINT32_MAX, who = 0;

    watch_decided();
    for (uint32_t i = 0; w && world.plan.recreated && !world.recreated && i < w->partitions; i++)
        if (w->part[i].m.trained > watch.most[i])
            watch.most[i] = w->part[i].m.trained;
    if (!w || !w->iterative || world.job->staleness < 0 || !w->assigned)
        return;
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct seen *s = &watch.seen[i];

        if ((s->any && s->flags & (SLOT_DONE | SLOT_STOPPED)) || hidden(i))
            continue;
        if (!s->any || s->round < behind) {
            behind = s->any ? s->round : 0;
            who = i;
        }
    }
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];

        if (p->phase == PHASE_RUNNING && !(p->m.flags & SLOT_WAIT) && behind != UINT32_MAX &&
            p->m.round > behind + (uint32_t)world.job->staleness)
            world_fail("partition %" PRIu32 " learns in round %" PRIu32 " while partition %" PRIu32
                       " has published round %" PRIu32,
                       i, p->m.round, who, behind);
    }
}

/* ---- the topic is replaced ---- */

bool watch_under_way(void)
{
    for (uint32_t i = 0; i < sim_jobs[world.plan.job].partitions; i++)
        if (!watch.seen[i].trained || watch.seen[i].flags & SLOT_DONE)
            return false;
    return true;
}

void watch_recreated(void)
{
    if (broker_local.topic_delete(&world.broker, "data", &err) != ST_OK ||
        topic_fill(&world.broker, world.plan.job, 77, &err) != ST_OK)
        world_fail("the topic was not re-created: %s", err.text);
}

/* ---- the end ---- */

static void check_lineage(uint32_t i, const struct manifest *m)
{
    struct position at = {.offset = m->begin};
    uint64_t records = 0;

    for (uint32_t k = 0; k < m->lineages; k++) {
        const struct lineage *l = &m->lineage[k];

        if (l->kind != LINEAGE_LEARNED || l->run || l->epoch != at.epoch || l->begin != at.offset)
            world_fail("lineage of partition %" PRIu32 ": piece %" PRIu32
                       " begins at epoch %" PRIu32 " offset %" PRId64 ", expected epoch %" PRIu32
                       " offset %" PRId64,
                       i, k, l->epoch, l->begin, at.epoch, at.offset);
        records += l->records;
        at.offset = l->end;
        if (at.offset >= m->end)
            at = (struct position){0, at.epoch + 1, m->begin};
    }
    if (records != m->trained || (m->begin < m->end && at.epoch != m->epochs))
        world_fail("lineage of partition %" PRIu32 ": %" PRIu64 " records, %" PRIu64
                   " trained, ends in epoch %" PRIu32,
                   i, records, m->trained, at.epoch);
}

static void read_slot(struct slot_reader *r, uint32_t i, struct part_end *out)
{
    struct image *im = calloc(1, sizeof *im);
    struct digest d;
    bool found = false;

    CHECK(im);
    im->bytes_max = 1u << 30;
    if (slot_read(r, i, im, &found, &err) != ST_OK || !found) {
        world_fail("slot of partition %" PRIu32 ": %s", i, found ? err.text : "there is none");
    } else {
        digest_begin(&d, &im->m);
        for (uint32_t j = 0; j < im->m.chunks; j++)
            digest_chunk(&d, j, im->p + ((size_t)j << CHUNK_SHIFT), im->m.chunk[j].bytes);
        *out = (struct part_end){d.h, im->m.trained, im->m.rejected};
        if (!(im->m.flags & SLOT_DONE))
            world_fail("slot of partition %" PRIu32 " is not done", i);
        check_lineage(i, &im->m);
    }
    image_fini(im);
    free(im);
}

static uint64_t read_model(uint64_t *records)
{
    struct model *m = model_new();
    uint64_t h = 0;

    CHECK(m);
    *records = 0;
    if (model_read(&broker_local, &world.broker, world.job->topic_models, 0, NULL, m, &err) !=
        ST_OK) {
        world_fail("no model: %s", err.text);
    } else {
        for (uint32_t i = 0; i < m->tensors.n; i++)
            h = hash64(m->tensors.t[i].p, m->tensors.t[i].bytes, h);
        for (uint32_t i = 0; i < m->ranges; i++) {
            struct model_range *g = &m->range[i];
            uint64_t n[] = {g->partition, (uint64_t)g->end, g->records, g->rejected, g->lost};

            h = hash64(n, sizeof n, h);
        }
        *records = m->records;
    }
    model_free(m);
    return h;
}

struct dead {
    uint64_t n, sum;
};

static enum st count_letter(void *arg, const struct record *r, struct err *e)
{
    struct dead *d = arg;

    (void)e;
    d->n++;
    d->sum += hash64(r->value.p, r->value.n, 0);
    return ST_OK;
}

/* Each bad record of partition i has left one letter; they are all different. */
static void check_letters(struct slot_reader *r, uint32_t i, uint64_t bad, uint32_t epochs)
{
    struct dead d = {0}, want = {0};
    char text[64];
    int n;

    if (topic_read(r, i, count_letter, &d, &err) != ST_OK)
        world_fail("dead letters: %s", err.text);
    for (uint32_t k = 0; want.n < bad / epochs; k++) {
        if (!record_is_bad(k))
            continue;
        n = snprintf(text, sizeof text, "bad %" PRIu32 " of %" PRIu32, k, i);
        want.n++;
        want.sum += hash64(text, (size_t)n, 0);
    }
    if (d.n != want.n || d.sum != want.sum)
        world_fail("%" PRIu64 " dead letters of partition %" PRIu32 ", %" PRIu64 " bad records%s",
                   d.n, i, want.n, d.n == want.n ? "; they are not the same" : "");
}

static void compare(const struct job_end *got)
{
    const struct job_end *want = &job_ends[world.plan.job];
    bool bits = world.job->staleness == 0 || !strcmp(world.job->algo, "kmeans");

    for (uint32_t i = 0; i < sim_jobs[world.plan.job].partitions; i++) {
        const struct part_end *g = &got->part[i], *w = &want->part[i];

        if (g->trained != w->trained || g->rejected != w->rejected ||
            (bits && g->digest != w->digest))
            world_fail("partition %" PRIu32 ": %" PRIu64 " records trained, %" PRIu64
                       " rejected, digest %016" PRIx64 "; undisturbed %" PRIu64 ", %" PRIu64
                       ", %016" PRIx64,
                       i, g->trained, g->rejected, g->digest, w->trained, w->rejected, w->digest);
    }
    if (bits && got->model != want->model)
        world_fail("the model is another one: %016" PRIx64 ", undisturbed %016" PRIx64, got->model,
                   want->model);
}

void watch_end(struct job_end *end)
{
    uint32_t partitions = sim_jobs[world.plan.job].partitions;
    struct slot_reader slots = {0}, dead = {0};
    uint64_t all = 0, records;

    watch_committed();
    if (world.recreated || world.failed)
        return;
    if (slot_reader_open(&slots, &broker_local, &world.broker, world.job->topic_params, &err) ||
        slot_reader_open(&dead, &broker_local, &world.broker, world.job->topic_dead, &err))
        world_fail("%s", err.text);
    for (uint32_t i = 0; i < partitions && !world.failed; i++) {
        read_slot(&slots, i, &end->part[i]);
        all += end->part[i].trained;
        if (!world.failed)
            check_letters(&dead, i, end->part[i].rejected, world.job->epochs);
    }
    slot_reader_close(&slots);
    slot_reader_close(&dead);
    if (world.failed)
        return;
    end->model = read_model(&records);
    if (records != all)
        world_fail("the model has learned %" PRIu64 " records, the slots %" PRIu64, records, all);
    if (job_ends[world.plan.job].known)
        compare(end);
}
