#include "tests/sim/sim.h"

#include "config/base/bytes.h"
#include "consumer/cli.h"
#include "tests/temp.h"

#include <inttypes.h>
#include <string.h>

enum { BAD_EVERY = 97, NULL_EVERY = 101, TXN_EVERY = 67, JOBS_MAX = 16, POLL_US = 200000 };

#define CSV "input: {format: csv, columns: [label, a, b]}\n"
#define LINEAR "algo: linear\noptions: {loss: squared, learning_rate: 0.1}\n" CSV
#define KMEANS                                                                                     \
    "algo: kmeans\noptions: {k: 3}\ninput: {format: csv, columns: [label, a, b], label: ''}\n"

const struct sim_job sim_jobs[] = {
    {"exact", KMEANS, 3, 9000, false, false},
    {"exact, uneven", KMEANS, 5, 9000, true, false},
    {"in step", LINEAR "staleness: 0\n", 3, 600, false, false},
    {"in step, uneven, two epochs", LINEAR "staleness: 0\nepochs: 2\n", 5, 700, true, false},
    {"in step, uneven", LINEAR "staleness: 0\n", 7, 1500, true, false},
    {"two rounds apart", LINEAR "staleness: 2\n", 4, 900, false, false},
    {"one round apart, uneven", LINEAR "staleness: 1\n", 5, 900, true, false},
    {"async", LINEAR "staleness: async\nepochs: 2\n", 4, 600, true, false},
    {"in step, several chunks",
     "algo: linear\noptions: {loss: squared, learning_rate: 0.1}\n"
     "input: {format: libsvm, width: 150000}\nstaleness: 0\n",
     2, 100, false, true},
    {"exact, hundreds", KMEANS, 300, 6000, false, false},
    {"in step, many", LINEAR "staleness: 0\n", 48, 200, false, false},
};
const uint32_t sim_jobs_n = sizeof sim_jobs / sizeof *sim_jobs;
struct job_end job_ends[sizeof sim_jobs / sizeof *sim_jobs];

static struct {
    struct job *conf;
    void *topics;
} made[sizeof sim_jobs / sizeof *sim_jobs];

/* ---- what a seed says ---- */

static uint32_t job_of_seed(void)
{
    /* how many in a hundred seeds */
    static const uint32_t share[] = {14, 12, 18, 15, 14, 9, 7, 9, 2};
    uint32_t at = random_below(100);

    for (uint32_t i = 0; i < sizeof share / sizeof *share; i++) {
        if (at < share[i])
            return i;
        at -= share[i];
    }
    CHECK(false);
    return 0;
}

void plan_of(struct plan *p, uint64_t seed)
{
    /* per million polls, where all else is even */
    static const uint32_t most[FAULTS] = {
        [FAULT_CRASH] = 400, [FAULT_DISK] = 150,  [FAULT_FREEZE] = 400, [FAULT_STOP] = 300,
        [FAULT_AGAIN] = 800, [FAULT_FATAL] = 200, [FAULT_LATE] = 800,   [FAULT_OUTAGE] = 150,
        [FAULT_LEAVE] = 60,  [FAULT_TWIN] = 60,   [FAULT_CLEAN] = 300};
    const struct sim_job *j;
    uint64_t records;

    world.random = mix64(seed ^ 0x5eed);
    *p = (struct plan){.job = job_of_seed()};
    j = &sim_jobs[p->job];
    p->workers = 1 + random_below(j->partitions + 2);
    for (int f = 0; f < FAULTS; f++)
        p->rate[f] = random_below(5) < 2 ? 0 : 1 + random_below(2 * most[f]);
    p->faults = 3 + random_below(40);
    p->calm_us = 10000000 + (int64_t)random_below(50000000);
    p->poll_max = j->records / (1 + random_below(60)) + 1;
    records = (uint64_t)j->records * j->partitions / (p->workers < 4 ? p->workers : 4);
    p->record_us = (uint32_t)((1000000 + random_below(12000000)) / records);
    if ((uint64_t)p->poll_max * p->record_us > POLL_US) /* the slowest have to poll in time, too */
        p->poll_max = POLL_US / p->record_us + 1;
    p->publish_ms = 50 + random_below(1500);
    p->checkpoint_ms = 20 + random_below(800);
    p->snapshot_ms = 300 + random_below(5000);
    p->recreated = random_below(20) == 0;
}

void plan_print(const struct plan *p)
{
    const struct sim_job *j = &sim_jobs[p->job];

    printf("job \"%s\": %" PRIu32 " partitions, %" PRIu32 " workers; publish %" PRIu64
           " ms, checkpoint %" PRIu64 " ms, snapshot %" PRIu64 " ms, %" PRIu32
           " us a record, polls of %" PRIu32 "%s\n",
           j->name, j->partitions, p->workers, p->publish_ms, p->checkpoint_ms, p->snapshot_ms,
           p->record_us, p->poll_max, p->recreated ? ", the topic is re-created" : "");
}

/* ---- jobs ---- */

void jobs_read(void)
{
    char path[256];

    CHECK(temp_begin());
    for (uint32_t i = 0; i < sim_jobs_n; i++) {
        const char *set[] = {"broker=local:sim", "job=sim", "topic=data",
                             "bad_records.limit=1000000"};
        FILE *f;

        snprintf(path, sizeof path, "%s", temp_path("job.yaml"));
        f = fopen(path, "w");
        CHECK(f && fputs(sim_jobs[i].text, f) >= 0 && !fclose(f));
        made[i].conf = calloc(1, sizeof *made[i].conf);
        CHECK(made[i].conf);
        CHECK(!job_read(made[i].conf, path, set, 4, cli_algos(), stderr));
    }
    temp_end();
}

struct job *job_conf(const struct plan *p)
{
    static struct job *j;

    if (!j)
        j = malloc(sizeof *j);
    CHECK(j);
    *j = *made[p->job].conf;
    j->publish.ms = p->publish_ms;
    j->checkpoint.ms = p->checkpoint_ms;
    j->snapshot.ms = p->snapshot_ms;
    return j;
}

/* ---- records ---- */

static uint32_t records_of(const struct sim_job *j, uint32_t partition)
{
    static const uint32_t eighths[] = {8, 1, 0, 5, 3};

    return j->uneven ? j->records / 8 * eighths[partition % 5] : j->records;
}

static uint32_t line(const struct sim_job *j, uint64_t i, char text[96])
{
    uint64_t h = mix64(i);
    double a = (double)(h & 0xffff) / 32768 - 1, b = (double)(h >> 16 & 0xffff) / 32768 - 1;
    double y = 2 * a - b + 0.5 + (double)(h >> 32 & 0xff) / 2560;

    if (j->wide)
        return (uint32_t)snprintf(text, 96, "%.4f %d:%.4f %d:%.4f", y, (int)(1 + h % 70000), a,
                                  (int)(70001 + h / 70000 % 79000), b);
    return (uint32_t)snprintf(text, 96, "%.4f,%.4f,%.4f", y, a, b);
}

bool record_is_bad(uint32_t i)
{
    return i % BAD_EVERY == BAD_EVERY - 1;
}

/* Data with bad and null values in it, and holes where transactions ended or were aborted. */
static enum st put(struct local *b, const struct sim_job *j, uint32_t partition, uint64_t salt,
                   struct err *e)
{
    const char *const topic = "data";
    struct local_producer p = {0};
    char text[96] = "";
    uint32_t n;

    TRY(local_producer_open(&p, b, "loader", &topic, 1, e));
    TRY(local_producer_begin(&p, e));
    for (uint32_t i = 0; i < records_of(j, partition); i++) {
        struct bytes value = {(const uint8_t *)text, 0};

        n = line(j, mix64(salt + partition) + i, text);
        if (record_is_bad(i))
            n = (uint32_t)snprintf(text, sizeof text, "bad %" PRIu32 " of %" PRIu32, i, partition);
        else if (i % NULL_EVERY == NULL_EVERY - 1)
            value = (struct bytes){0};
        value.n = value.p ? n : 0;
        TRY(local_produce(&p, 0, (int32_t)partition, (struct bytes){0}, value, 1000 + (int64_t)i,
                          NULL, 0, e));
        if (i % (TXN_EVERY * 8) == TXN_EVERY - 1) {
            TRY(local_producer_commit(&p, e));
            TRY(local_producer_begin(&p, e));
            TRY(local_produce(&p, 0, (int32_t)partition, (struct bytes){0}, value, 1, NULL, 0, e));
            TRY(local_producer_wait(&p, 0, e));
            TRY(local_producer_abort(&p, e));
            TRY(local_producer_begin(&p, e));
        }
    }
    TRY(local_producer_commit(&p, e));
    local_producer_close(&p);
    return ST_OK;
}

enum st topic_fill(struct local *b, uint32_t job, uint64_t salt, struct err *e)
{
    const struct sim_job *j = &sim_jobs[job];
    struct topic_spec data = {"data", j->partitions, NULL};

    TRY(broker_local.topic_create(b, &data, e));
    for (uint32_t i = 0; i < j->partitions; i++)
        TRY(put(b, j, i, salt, e));
    return ST_OK;
}

void *job_topics(uint32_t job)
{
    struct local *b;
    struct err e;
    enum st st;

    if (made[job].topics)
        return made[job].topics;
    made[job].topics = calloc(1, store_memory.self_bytes);
    b = calloc(1, sizeof *b);
    CHECK(b && made[job].topics);
    st = broker_local.open(b, &(struct broker_conf){.address = ":memory:"}, &e);
    if (st == ST_OK)
        st = topic_fill(b, job, 1, &e);
    if (st != ST_OK)
        fprintf(stderr, "%s\n", e.text);
    CHECK(st == ST_OK);
    map_copy(made[job].topics, b->store);
    broker_local.close(b);
    free(b);
    return made[job].topics;
}
