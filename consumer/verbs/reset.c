/* reset.c: `millrace reset JOB.yaml`: the job begins anew at its next start. A plan, printed;
 * carried out with --execute: offsets of the group, slots, states in this machine's folders.
 *
 * Every partition's slot goes, and a record is left that says which run begins: what was saved in
 * an earlier one is void, wherever it lies: in the folders of other machines, too, and what a
 * worker that was frozen all the time would still write. Models and dead letters stay. */
#include "config/base/bytes.h"
#include "consumer/session.h"
#include "consumer/slot_reader.h"
#include "consumer/team.h"
#include "consumer/verbs/verbs.h"
#include "statestore/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 60000 };

struct reset_flags {
    struct broker_flags broker;
    struct texts set;
    bool execute;
};

static const struct flag reset_flag[] = {
    BROKER_FLAGS(struct reset_flags, broker),
    {0,
     true,
     {"set", OPT_STR, offsetof(struct reset_flags, set), 512, "", 0, 0, NULL,
      "Override: path.to.key=value; may be repeated.", NULL},
     NULL},
    {0,
     false,
     {"execute", OPT_BOOL, offsetof(struct reset_flags, execute), 0, "false", 0, 0, NULL,
      "Do it; without, the plan is only printed.", NULL},
     NULL},
    {0}};

struct slot_found {
    bool whole; /* there is a manifest */
    struct position pos;
    uint64_t records;
    uint32_t chunks[2]; /* in each of its places: keys to be removed */
};

struct plan {
    struct session s;
    struct err *err;
    const struct job *job;
    bool execute;
    uint32_t slots, partitions; /* partitions of the parameter topic, of the data topic */
    uint32_t run;               /* that begins */
    struct slot_found slot[PARTITIONS_MAX];
    struct offset_commit offset[PARTITIONS_MAX];
    uint32_t offsets, found, states; /* how many there are to be removed */
    uint32_t folders;
    struct checkpoint *cp[WORKERS_MAX];
};

/* ---- what there is ---- */

static void seen_run(struct plan *t, uint32_t run)
{
    if (run >= t->run)
        t->run = run + 1;
}

struct reading {
    struct image im[2];
    uint32_t partition;
};

/* One that does not decode is removed like any other. */
static enum st take(void *arg, const struct record *r, struct err *e)
{
    struct reading *g = arg;
    bool manifest;
    uint32_t turn;
    enum st st = slot_take(g->im, g->partition, r, &turn, &manifest, e);

    return st == ST_CORRUPT ? ST_OK : st;
}

static void note_slot(struct plan *t, const struct reading *g)
{
    struct slot_found *f = &t->slot[g->partition];

    for (int i = 0; i < 2; i++) {
        const struct image *im = &g->im[i];

        for (uint32_t j = 0; j < im->chunks_max; j++)
            if (im->got[j].bytes)
                f->chunks[i] = j + 1;
        if (im->closed) {
            seen_run(t, im->m.pos.run);
            if (!f->whole || position_cmp(im->m.pos, f->pos) > 0) {
                f->pos = im->m.pos;
                f->records = im->m.trained;
            }
            f->whole = true;
        }
        seen_run(t, im->run);
    }
    t->found += f->whole;
}

static enum st look_at_slots(struct plan *t)
{
    struct slot_reader r = {0};
    struct topic_info topic = {0};
    enum st st;

    TRY(t->s.br->topic(t->s.b, t->job->topic_params, &topic, t->err));
    t->slots = topic.exists ? topic.partitions : 0;
    if (!t->slots)
        return ST_OK;
    st = slot_reader_open(&r, t->s.br, t->s.b, t->job->topic_params, t->err);
    for (uint32_t p = 0; st == ST_OK && p < t->slots; p++) {
        struct reading g = {{{.bytes_max = (uint64_t)1 << 40}, {.bytes_max = (uint64_t)1 << 40}},
                            p};

        st = topic_read(&r, p, take, &g, t->err);
        if (st == ST_OK)
            note_slot(t, &g);
        image_fini(&g.im[0]);
        image_fini(&g.im[1]);
    }
    slot_reader_close(&r);
    return st;
}

static enum st look_at_offsets(struct plan *t)
{
    struct topic_info topic = {0};
    uint32_t run;

    TRY(t->s.br->topic(t->s.b, t->job->topic, &topic, t->err));
    t->partitions = topic.exists ? topic.partitions : 0;
    if (!t->partitions)
        return ST_OK;
    TRY(t->s.br->committed(t->s.b, t->job->name, t->job->topic, t->offset, t->partitions, t->err));
    for (uint32_t p = 0; p < t->partitions; p++) {
        t->offsets += t->offset[p].offset >= 0;
        if (sscanf(t->offset[p].metadata, "%" SCNu32 ":", &run) == 1)
            seen_run(t, run);
    }
    return ST_OK;
}

static enum st look_at_folder(struct plan *t, const char *dir)
{
    struct checkpoint_conf c = {.store = &store_rocksdb,
                                .dir = dir,
                                .flags = t->execute ? 0 : STORE_READ_ONLY,
                                .partitions_max = PARTITIONS_MAX};
    struct checkpoint **cp = &t->cp[t->folders];
    struct manifest m = {.chunks_max = SLOT_CHUNKS_MAX};
    uint32_t p[PARTITIONS_MAX], n;
    enum st st;

    TRY(checkpoint_open(cp, &c, "", t->err));
    t->folders++;
    if (*checkpoint_job(*cp) && strcmp(checkpoint_job(*cp), t->job->name) != 0)
        return fail(t->err, ST_BAD_CONFIG, "state folder %s belongs to job '%s', not to '%s'", dir,
                    checkpoint_job(*cp), t->job->name);
    TRY(checkpoint_partitions(*cp, p, PARTITIONS_MAX, &n, t->err));
    m.chunk = calloc(SLOT_CHUNKS_MAX, sizeof *m.chunk);
    if (!m.chunk)
        return fail(t->err, ST_FATAL, "no memory to read states");
    for (uint32_t i = 0; i < n; i++) {
        st = checkpoint_manifest(*cp, p[i], &m, t->err);
        if (st == ST_OK)
            seen_run(t, m.pos.run);
    }
    free(m.chunk);
    t->states += n;
    printf("folder %s: worker %s, states of %" PRIu32 " partitions\n", dir, checkpoint_worker(*cp),
           n);
    return ST_OK;
}

static enum st look_at_folders(struct plan *t)
{
    char dir[sizeof t->job->state_dir + 32], current[sizeof dir + 16];

    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        snprintf(dir, sizeof dir, "%s/worker-%" PRIu32, t->job->state_dir, i);
        snprintf(current, sizeof current, "%s/CURRENT", dir);
        if (!access(current, F_OK))
            TRY(look_at_folder(t, dir));
    }
    return ST_OK;
}

static void print(const struct plan *t)
{
    uint32_t n = t->slots > t->partitions ? t->slots : t->partitions;

    if (t->offsets || t->found)
        printf("%9s %16s  %-24s %16s\n", "partition", "committed", "slot (run:epoch:offset)",
               "records");
    for (uint32_t p = 0; (t->offsets || t->found) && p < n; p++) {
        const struct slot_found *f = &t->slot[p];
        char committed[24] = "-", slot[64] = "-";

        if (p < t->partitions && t->offset[p].offset >= 0)
            snprintf(committed, sizeof committed, "%" PRId64, t->offset[p].offset);
        if (f->whole)
            snprintf(slot, sizeof slot, "%" PRIu32 ":%" PRIu32 ":%" PRId64, f->pos.run,
                     f->pos.epoch, f->pos.offset);
        printf("%9" PRIu32 " %16s  %-24s %16" PRIu64 "\n", p, committed, slot, f->records);
    }
    printf("to be removed: %" PRIu32 " offsets of group %s, %" PRIu32 " slots in %s, %" PRIu32
           " states in folders. Run %" PRIu32 " begins; models in %s stay.\n",
           t->offsets, t->job->name, t->found, t->job->topic_params, t->states, t->run,
           t->job->topic_models);
}

/* ---- removing it ---- */

static enum st remove_offsets(struct plan *t)
{
    for (uint32_t p = 0; p < t->partitions; p++)
        t->offset[p] = (struct offset_commit){.partition = (int32_t)p, .offset = -1001};
    if (!t->partitions)
        return ST_OK;
    return t->s.br->offsets_set(t->s.b, t->job->name, t->job->topic, t->offset, t->partitions,
                                t->err);
}

static enum st produce(struct plan *t, void *producer, uint32_t p, uint32_t turn, int64_t j)
{
    struct bytes value = {0};
    char key[SLOT_KEY_BYTES];
    uint8_t run[4];

    put_u32(run, t->run);
    if (j == SLOT_RUN)
        value = (struct bytes){run, sizeof run};
    struct bytes k = {(const uint8_t *)key, slot_key(key, p, turn, j)};
    return t->s.br->produce(producer, 0, (int32_t)p, k, value, -1, NULL, 0, t->err);
}

static enum st produce_all(struct plan *t, void *producer)
{
    TRY(t->s.br->producer_begin(producer, t->err));
    for (uint32_t p = 0; p < t->slots; p++) {
        for (uint32_t turn = 0; turn < 2; turn++) {
            for (uint32_t j = 0; j < t->slot[p].chunks[turn]; j++)
                TRY(produce(t, producer, p, turn, j));
            TRY(produce(t, producer, p, turn, SLOT_MANIFEST));
        }
        TRY(produce(t, producer, p, 0, SLOT_RUN));
    }
    TRY(t->s.br->producer_wait(producer, WAIT_MS, t->err));
    return t->s.br->producer_commit(producer, t->err);
}

/* All or none. What is left open by a failure, the broker or the next reset aborts. */
static enum st remove_slots(struct plan *t)
{
    const char *topic = t->job->topic_params;
    char id[sizeof t->job->name + 16];
    void *producer;
    enum st st;

    if (!t->slots)
        return ST_OK;
    snprintf(id, sizeof id, "%s-reset", t->job->name);
    producer = calloc(1, t->s.br->producer_bytes);
    if (!producer)
        return fail(t->err, ST_FATAL, "no memory to reset");
    st = t->s.br->producer_open(producer, t->s.b, id, &topic, 1, t->err);
    if (st == ST_OK)
        st = produce_all(t, producer);
    t->s.br->producer_close(producer);
    free(producer);
    return st;
}

static enum st empty_folder(struct plan *t, struct checkpoint *cp)
{
    uint32_t p[PARTITIONS_MAX], n;

    TRY(checkpoint_partitions(cp, p, PARTITIONS_MAX, &n, t->err));
    checkpoint_begin(cp);
    for (uint32_t i = 0; i < n; i++)
        checkpoint_drop(cp, p[i]);
    TRY(checkpoint_commit(cp, t->err));
    return checkpoint_life_set(cp, UINT32_MAX, t->err);
}

/* The offsets first: the broker refuses that as soon as there is a member. A reset that was killed
 * in between is made good by another. */
static enum st execute(struct plan *t)
{
    TRY(remove_offsets(t));
    TRY(remove_slots(t));
    for (uint32_t i = 0; i < t->folders; i++)
        TRY(empty_folder(t, t->cp[i]));
    puts("done");
    return ST_OK;
}

/* ---- the verb ---- */

static enum st run(struct plan *t, int *code)
{
    uint32_t members;

    TRY(session_broker(&t->s, t->job, !t->execute, t->err));
    TRY(t->s.br->group_members(t->s.b, t->job->name, &members, t->err));
    if (members) {
        *code = CLI_REFUSED;
        return fail(t->err, ST_BAD_CONFIG,
                    "group %s has %" PRIu32
                    " members: stop its workers; one that has not left (train --leave) stays a "
                    "member for session.timeout.ms",
                    t->job->name, members);
    }
    TRY(look_at_offsets(t));
    TRY(look_at_slots(t));
    TRY(look_at_folders(t));
    if (!t->offsets && !t->found && !t->states) {
        puts("there is nothing to reset: the job has not begun");
        return ST_OK;
    }
    print(t);
    if (t->execute)
        return execute(t);
    puts("this is only the plan: --execute carries it out");
    return ST_OK;
}

static int reset(const void *flags, int argc, char **argv)
{
    const struct reset_flags *f = flags;
    struct err e = {""};
    struct plan *t;
    struct job *j;
    enum st st;
    int code = 0;

    if (argc != 1) {
        fputs("millrace reset: name one job file\n", stderr);
        return CLI_USAGE;
    }
    j = cli_job(argv[0], &f->set, &f->broker, &code);
    if (!j)
        return code;
    t = calloc(1, sizeof *t);
    if (t) {
        t->err = &e;
        t->job = j;
        t->execute = f->execute;
        st = run(t, &code);
        for (uint32_t i = 0; i < WORKERS_MAX; i++)
            checkpoint_close(t->cp[i]);
        session_close(&t->s);
    } else {
        st = fail(&e, ST_FATAL, "no memory to start");
    }
    free(t);
    free(j);
    if (st == ST_OK)
        return CLI_DONE;
    return code ? (cli_fail(st, &e), code) : cli_fail(st, &e);
}

const struct verb verb_reset = {"reset",
                                "JOB.yaml",
                                "Makes a job new: its next start begins with nothing learned.",
                                reset_flag,
                                sizeof(struct reset_flags),
                                "Prints what it would remove: the group's offsets, the slots, the "
                                "states in this machine's state_dir; --execute removes it. Refused "
                                "while the group has members. States in folders of other machines "
                                "are void from then on. Models and dead letters stay.",
                                reset};
