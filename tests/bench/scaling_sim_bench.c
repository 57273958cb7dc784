/* How long a job takes many workers: the product's pipeline, all of them in one process, in
 * simulated time (tests/sim/sim.h), where each stage takes what scaling.py has measured of it. One
 * line of figures on stdout; scaling.py explains them.
 *
 * usage: scaling_sim_bench WORKERS PARTITIONS RECORDS kmeans|linear STALENESS COST=NUMBER...
 *
 * What is not the product's: the follower. All workers that follow read the same slots, so here a
 * slot is read once, by the product's reader, and a follower only counts how many have reached it.
 * Two links are shared by all, first come, first served: one carries data, one slots. */
#include "algos/fold.h"
#include "config/base/bytes.h"
#include "config/base/log.h"
#include "consumer/cli.h"
#include "consumer/slot_reader.h"
#include "consumer/snapshot.h"
#include "tests/sim/sim.h"
#include "tests/temp.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/prctl.h>

enum { WIDTH = 8, TEST_ROWS = 20000, CENTRES = 8, RECORDS = 256, LINE = 32, IDLE_US = 5000000 };

enum {
    ROWS_PER_RECORD,
    ROW_US,
    ROW_BYTES,
    CHECKPOINT_US,
    PUBLISH_US,
    MODEL_US,
    MODEL_SLOT_US,
    SLOT_TAKE_US,
    SLOT_FOLD_US,
    SLOT_BYTES,
    DATA_MB_S,
    SLOT_MB_S,
    COSTS
};
static const char *const cost_names[COSTS] = {
    "rows_per_record", "row_us",       "row_bytes",    "checkpoint_us", "publish_us", "model_us",
    "model_slot_us",   "slot_take_us", "slot_fold_us", "slot_bytes",    "data_mb_s",  "slot_mb_s"};
static double cost[COSTS];

struct version { /* of a slot, as published */
    struct manifest m;
    struct tensors state;
    uint32_t turn;
    int64_t visible_us; /* when it has reached all who follow */
};

struct follower {
    uint32_t at;    /* versions that have reached it */
    uint32_t round; /* the highest that a pull at pull_us is for */
    int64_t pull_us;
    const struct version *turn[][2]; /* [partitions] the newest, by turn */
};

struct world world;
static int64_t wake_us[SIM_NODES]; /* by node; together, for they are searched at each step */
static bool waits[SIM_NODES];
static double data_us, slot_us;               /* when the links are free */
static int64_t first_us, learned_us, last_us; /* first row; last row; last commit */
static int64_t event_us;                      /* when the lowest round's last rise reaches all */
static uint32_t partitions;
static uint64_t commits;
static double behind_sum, behind_most, behind_n;
static struct version **version;
static uint32_t versions, versions_cap;
static struct local_consumer slots;
static struct record slot_record[RECORDS];
static struct image (*image)[2];
static struct err err;

static void must(enum st st)
{
    if (st != ST_OK) {
        fprintf(stderr, "scaling_sim_bench: %s\n", err.text);
        exit(1);
    }
}

/* ---- time ---- */

int64_t __wrap_clock_mono_us(void);
int64_t __wrap_clock_wall_ms(void);
void __wrap_memory_reserve(uint64_t heap);

int64_t __wrap_clock_mono_us(void)
{
    return 1000000 + world.now_us;
}

int64_t __wrap_clock_wall_ms(void)
{
    return 1700000000000 + world.now_us / 1000;
}

void __wrap_memory_reserve(uint64_t heap)
{
    (void)heap;
}

static int64_t wall_ms(void *arg)
{
    (void)arg;
    return __wrap_clock_wall_ms();
}

static int64_t mono_ms(void *arg)
{
    (void)arg;
    return world.now_us / 1000;
}

static void nap(int64_t us)
{
    wake_us[world.running->id] = world.now_us + us;
    fiber_yield();
}

/* Nothing has come: who has started waits for others, and they wake it. */
static void sleep_ms(void *arg, int ms)
{
    struct node *n = world.running;
    const struct follower *l = n ? n->w->follower : NULL;

    (void)arg;
    if (!n)
        return;
    waits[n->id] =
        n->w->assigned && !(l && l->at < versions && version[l->at]->visible_us <= world.now_us);
    nap(!waits[n->id]             ? (int64_t)ms * 1000
        : event_us > world.now_us ? event_us - world.now_us
                                  : IDLE_US);
    waits[n->id] = false;
}

static void spend(double us)
{
    struct node *n = world.running;

    if (!n)
        return;
    us += (double)n->work_us;
    n->work_us = 0;
    if (us >= 1)
        nap((int64_t)us);
}

enum st step_enter(enum call c, struct err *e)
{
    (void)e;
    spend(c == CALL_WRITE ? cost[CHECKPOINT_US] : c == CALL_COMMIT ? cost[PUBLISH_US] : 0);
    commits += c == CALL_COMMIT;
    return ST_OK;
}

enum st step_leave(enum call c, enum st st, struct err *e)
{
    (void)c, (void)e;
    return st;
}

void step_records(uint32_t n)
{
    (void)n;
}

uint64_t random_next(void)
{
    return mix64(world.random++);
}

uint32_t random_below(uint32_t n)
{
    return (uint32_t)(random_next() % n);
}

static double carry(double *link_us, double bytes, double mb_s)
{
    double now = (double)world.now_us;

    *link_us = (*link_us > now ? *link_us : now) + bytes / mb_s;
    return *link_us;
}

/* The linker puts __wrap_NAME() in the place of NAME(), and __real_NAME() is that. */
#define WRAP(name, ...)                                                                            \
    enum st __real_##name(__VA_ARGS__);                                                            \
    enum st __wrap_##name(__VA_ARGS__);                                                            \
    enum st __wrap_##name(__VA_ARGS__)

/* Rows are fetched ahead: they take the longer of their way and of their work. */
WRAP(update, struct worker *w, struct partition *p, const struct rows *r)
{
    double rows = r->n * cost[ROWS_PER_RECORD], work = rows * cost[ROW_US];
    double come = carry(&data_us, rows * cost[ROW_BYTES], cost[DATA_MB_S]) - (double)world.now_us;

    if (!first_us)
        first_us = world.now_us;
    spend(come > work ? come : work);
    learned_us = world.now_us;
    return __real_update(w, p, r);
}

WRAP(snapshot, struct worker *w)
{
    spend(cost[MODEL_US] + cost[MODEL_SLOT_US] * partitions);
    return __real_snapshot(w);
}

void __real_partition_free(struct worker *w, struct partition *p);
void __wrap_partition_free(struct worker *w, struct partition *p);

void __wrap_partition_free(struct worker *w, struct partition *p)
{
    if (p->hash) /* else a million of them are written to, which is memory */
        __real_partition_free(w, p);
}

/* ---- slots ---- */

bool worker_follows(const struct worker *w)
{
    return w->owned < w->partitions && (w->iterative || w->owner);
}

void follower_close(struct worker *w)
{
    free(w->follower);
    w->follower = NULL;
}

enum st follow_assign(struct worker *w)
{
    if (!w->follower && worker_follows(w))
        w->follower = calloc(1, sizeof *w->follower + w->partitions * sizeof *w->follower->turn);
    return ST_OK;
}

enum st follow(struct worker *w, int timeout_ms)
{
    struct follower *l = w->follower;
    double taken = 0;

    (void)timeout_ms;
    for (; l && l->at < versions && version[l->at]->visible_us <= world.now_us; l->at++) {
        const struct version *v = version[l->at];

        taken += w->part[v->m.partition].phase == PHASE_NONE;
        l->turn[v->m.partition][v->turn] = v;
    }
    spend(taken * cost[SLOT_TAKE_US]);
    return ST_OK;
}

const struct manifest *slot_turn(const struct worker *w, uint32_t i, uint32_t turn)
{
    const struct version *v = w->follower ? w->follower->turn[i][turn] : NULL;

    return v ? &v->m : NULL;
}

const struct manifest *slot_known(const struct worker *w, uint32_t i)
{
    const struct manifest *a, *b;

    if (w->part[i].phase != PHASE_NONE)
        return &w->part[i].m;
    a = slot_turn(w, i, 0);
    b = slot_turn(w, i, 1);
    return a && b ? (a->seq > b->seq ? a : b) : a ? a : b;
}

/* It is part of a fold: the way to know how old what a pull takes is. */
enum st slot_state(struct worker *w, const struct manifest *m, const struct tensors **state)
{
    const struct version *v = (const struct version *)m;
    struct follower *l = w->follower;
    double behind;

    if (l->pull_us != world.now_us)
        l->round = 0;
    for (uint32_t i = 0; l->pull_us != world.now_us && i < w->partitions; i++)
        if (w->part[i].pull_due && w->part[i].m.round > l->round)
            l->round = w->part[i].m.round;
    l->pull_us = world.now_us;
    if (l->round && !(m->flags & SLOT_DONE)) {
        behind = l->round > m->round ? l->round - m->round : 0;
        behind_sum += behind;
        behind_n++;
        behind_most = fmax(behind_most, behind);
    }
    world.running->work_us += (int64_t)cost[SLOT_FOLD_US];
    *state = &v->state;
    return ST_OK;
}

static void slots_open(void)
{
    const char *const topic = world.job->topic_params;
    struct consumer_conf c = {.topics = &topic, .topics_n = 1};
    struct local_topic *t = local_topic(&world.broker, topic);
    struct start s[SIM_PARTITIONS];

    if (slots.b || !t)
        return;
    must(local_consumer_open(&slots, &world.broker, &c, &err));
    for (uint32_t i = 0; i < t->parts; i++)
        s[i] = (struct start){.partition = (int32_t)i, .offset = -2};
    must(local_consumer_assign(&slots, s, t->parts, &err));
    image = calloc(t->parts, sizeof *image);
    CHECK(image);
    for (uint32_t i = 0; i < t->parts; i++)
        image[i][0].bytes_max = image[i][1].bytes_max = 1 << 30;
}

static void slot_published(const struct record *r)
{
    struct worker *w = world.running->w;
    uint32_t followers = w->iterative ? world.nodes - 1 : world.nodes > 1, turn;
    struct image *im = image[r->partition];
    struct version *v;
    bool manifest;

    must(slot_take(im, (uint32_t)r->partition, r, &turn, &manifest, &err));
    if (!manifest)
        return;
    im += turn;
    must(image_complete(im, &err));
    version = local_grow(version, &versions_cap, versions + 1, sizeof(struct version *));
    version[versions++] = v = malloc(sizeof *v);
    CHECK(v);
    v->m = im->m;
    v->m.chunk = NULL; /* the image's own, and nobody asks */
    v->turn = turn;
    v->state = w->declared;
    must(tensors_alloc(&v->state, w->compute, w->compute_self, &err));
    must(image_state(im, w->algo, &w->x, &v->state));
    v->visible_us = (int64_t)carry(&slot_us, cost[SLOT_BYTES] * followers, cost[SLOT_MB_S]);
}

/* The lowest round that a partition which is not done has published. */
static uint32_t lowest_round(void)
{
    static uint32_t round[SIM_PARTITIONS], seen;
    uint32_t least = UINT32_MAX;

    for (; seen < versions; seen++) {
        const struct manifest *m = &version[seen]->m;

        round[m->partition] = m->flags & SLOT_DONE ? UINT32_MAX : m->round;
    }
    for (uint32_t i = 0; i < partitions; i++)
        least = round[i] < least ? round[i] : least;
    return least;
}

void watch_committed(void)
{
    static uint32_t lowest;
    uint32_t n, before = lowest;

    slots_open();
    do {
        must(local_consumer_poll(&slots, slot_record, RECORDS, 0, &n, &err));
        for (uint32_t i = 0; i < n; i++)
            if (slot_record[i].kind == REC_DATA)
                slot_published(&slot_record[i]);
    } while (n);
    last_us = world.now_us;
    lowest = versions ? lowest_round() : 0;
    if (lowest == before)
        return;
    event_us = version[versions - 1]->visible_us;
    for (uint32_t i = 0; i < world.nodes; i++)
        if (waits[i])
            wake_us[i] = event_us;
}

/* ---- the job ---- */

static double uniform(uint64_t *s)
{
    return (double)(mix64((*s)++) >> 11) * 0x1p-53;
}

/* One row: eight numbers around one of CENTRES points, and a label by a linear rule, with noise. */
static void row(uint64_t *s, int x[WIDTH], int *label)
{
    uint32_t centre = (uint32_t)(uniform(s) * CENTRES);
    double z = -1;

    for (int j = 0; j < WIDTH; j++) {
        x[j] = (int)(uniform(s) * 50) + (centre >> j % 3 & 1 ? 50 : 0);
        z += (x[j] - 50) * 0.01 * (j % 3 + 1) * (j % 2 ? -1 : 1);
    }
    *label = uniform(s) < 1 / (1 + exp(-z));
}

static struct bytes line(uint64_t *s, char text[LINE])
{
    int x[WIDTH], label;
    char *p = text;

    row(s, x, &label);
    *p++ = (char)('0' + label);
    for (int j = 0; j < WIDTH; j++) {
        *p++ = ',';
        *p++ = (char)('0' + x[j] / 10);
        *p++ = (char)('0' + x[j] % 10);
    }
    return (struct bytes){(const uint8_t *)text, (size_t)(p - text)};
}

static void fill(uint32_t records)
{
    const char *const topic = "data";
    struct topic_spec data = {topic, partitions, NULL};
    struct local_producer p = {0};
    char text[LINE];

    must(broker_local.topic_create(&world.broker, &data, &err));
    must(local_producer_open(&p, &world.broker, NULL, &topic, 1, &err));
    for (uint32_t i = 0; i < partitions; i++) {
        uint64_t s = mix64(i + 1);

        for (uint32_t k = 0; k < records / partitions; k++)
            must(local_produce(&p, 0, (int32_t)i, (struct bytes){0}, line(&s, text), 1000, NULL, 0,
                               &err));
    }
    must(local_producer_wait(&p, 0, &err));
    local_producer_close(&p);
}

static struct job *job_of(const char *algo, const char *staleness)
{
    static const char columns[] = "input: {format: csv, columns: [label, a, b, c, d, e, f, g, h]";
    const char *set[] = {"broker=local:sim", "job=sim", "topic=data", "backend=ref"};
    struct job *j = calloc(1, sizeof *j);
    char path[256];
    FILE *f;

    CHECK(j && temp_begin());
    snprintf(path, sizeof path, "%s", temp_path("job.yaml"));
    f = fopen(path, "w");
    CHECK(f);
    if (!strcmp(algo, "kmeans"))
        fprintf(f, "algo: kmeans\noptions: {k: %d, extra_centers: 1}\n%s}\n", CENTRES, columns);
    else
        fprintf(f, "algo: linear\noptions: {loss: logistic}\n%s}\nstaleness: %s\n", columns,
                staleness);
    fputs("snapshot: {every: 1h}\n", f);
    fclose(f);
    CHECK(!job_read(j, path, set, 4, cli_algos(), stderr));
    temp_end();
    return j;
}

static void broker(void)
{
    static struct props props = {.n = 3};
    static const char *const forever[] = {"session.timeout.ms", "max.poll.interval.ms",
                                          "transaction.timeout.ms"};
    struct local_env env = {&store_memory, wall_ms, mono_ms, sleep_ms, NULL};
    struct broker_conf c = {.address = ":memory:", .props = &props, .queue_bytes = 1 << 20};

    for (int i = 0; i < 3; i++) {
        snprintf(props.p[i].name, sizeof props.p[i].name, "%s", forever[i]);
        snprintf(props.p[i].value, sizeof props.p[i].value, "%d", INT32_MAX);
    }
    must(local_open(&world.broker, &c, &env, &err));
}

static void live(void *arg)
{
    struct node *n = arg;
    struct worker *w = calloc(1, sizeof *w);
    struct err e = {""};
    enum st st;

    CHECK(w);
    n->w = w;
    w->quiet = true;
    w->until.kind = WHERE_LATEST;
    st = worker_open(w, world.job, n->disk->dir, &e);
    if (st == ST_OK)
        st = pipeline_run(w);
    if (st != ST_OK)
        err = e;
    must(st);
}

static void run(uint32_t workers)
{
    for (uint32_t i = 0; i < workers; i++) {
        struct disk *d = &world.disk[i];

        snprintf(d->dir, sizeof d->dir, "disk%" PRIu32, i);
        d->map = calloc(1, store_memory.self_bytes);
        CHECK(d->map);
        world.node[i].id = i;
        world.node[i].disk = d;
        fiber_start(&world.node[i].fiber, live, &world.node[i]);
    }
    world.nodes = workers;
    for (;;) {
        uint32_t next = 0;

        for (uint32_t i = 1; i < workers; i++)
            next = wake_us[i] < wake_us[next] ? i : next;
        if (wake_us[next] == INT64_MAX)
            return;
        world.now_us = wake_us[next] > world.now_us ? wake_us[next] : world.now_us;
        world.running = &world.node[next];
        fiber_resume(&world.node[next].fiber);
        world.running = NULL;
        if (world.node[next].fiber.over)
            wake_us[next] = INT64_MAX;
    }
}

/* ---- what has come of it ---- */

static double at(const struct tensor *t, uint64_t i)
{
    return t->d.dtype == DT_F64 ? t->f64[i] : (double)t->f32[i];
}

static double log_loss(const struct tensor *w, const int x[WIDTH], int label)
{
    double z = at(w, WIDTH);

    for (uint32_t j = 0; j < WIDTH; j++)
        z += x[j] * at(w, j);
    return log1p(exp(label ? -z : z));
}

static double distance(const struct tensor *c, const int x[WIDTH])
{
    double best = INFINITY;

    for (uint32_t k = 0; k < c->d.dim[0]; k++) {
        double sum = 0;

        for (uint32_t j = 0; j < WIDTH; j++)
            sum += pow(x[j] - at(c, k * WIDTH + j), 2);
        best = fmin(best, sum);
    }
    return best;
}

/* Mean loss of the final model on rows that nobody has learned. */
static double held_out(bool kmeans, uint64_t records)
{
    struct model *m = calloc(1, sizeof *m);
    uint64_t s = mix64(UINT64_MAX / 2);
    double sum = 0;
    int x[WIDTH], label;

    CHECK(m);
    must(model_read(&broker_local, &world.broker, world.job->topic_models, 0, NULL, m, &err));
    CHECK(m->records == records);
    for (int i = 0; i < TEST_ROWS; i++) {
        row(&s, x, &label);
        sum += kmeans ? distance(&m->tensors.t[0], x) : log_loss(&m->tensors.t[0], x, label);
    }
    return sum / TEST_ROWS;
}

static void cost_read(const char *arg)
{
    const char *number = strchr(arg, '=');
    int i = 0;

    CHECK(number);
    while (i < COSTS && (strlen(cost_names[i]) != (size_t)(number - arg) ||
                         memcmp(cost_names[i], arg, (size_t)(number - arg))))
        i++;
    CHECK(i < COSTS);
    cost[i] = strtod(number + 1, NULL);
}

int main(int argc, char **argv)
{
    uint32_t workers, records, rounds = 0;
    bool kmeans;

    CHECK(argc > 5);
    workers = (uint32_t)strtoul(argv[1], NULL, 10);
    partitions = (uint32_t)strtoul(argv[2], NULL, 10);
    records = (uint32_t)strtoul(argv[3], NULL, 10) / partitions * partitions;
    kmeans = !strcmp(argv[4], "kmeans");
    CHECK(workers && workers <= SIM_WORKERS && partitions <= SIM_PARTITIONS);
    for (int i = 6; i < argc; i++)
        cost_read(argv[i]);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    log_setup(LOG_ERROR, LOG_TEXT);
    world.plan.poll_max = UINT32_MAX;
    world.job = job_of(argv[4], argv[5]);
    broker();
    fill(records);
    run(workers);
    for (uint32_t i = 0; i < versions; i++)
        rounds = version[i]->m.round > rounds ? version[i]->m.round : rounds;
    printf("learned=%.3f seconds=%.3f rounds=%" PRIu32 " slots=%" PRIu32 " commits=%" PRIu64
           " behind=%.2f behind_most=%.0f loss=%.6f\n",
           (double)(learned_us - first_us) / 1e6, (double)(last_us - first_us) / 1e6, rounds,
           versions, commits, behind_n ? behind_sum / behind_n : 0, behind_most,
           held_out(kmeans, records));
    return 0;
}
