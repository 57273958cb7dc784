/* checkpoint_bench [--pairs N] [--seconds S] [--every 1s] [--publish 10s] [--kafka HOST:PORT]
 * [--disk none|lz4|zstd] [--topic none|lz4|zstd] [CASE...]: what checkpoints cost, as a share of
 * throughput, and for how long they stop the loop.
 *
 * The trainer as it is, but for its source: records that lie in memory, without end, so that the
 * loop is as fast as it can be and each stop shows. A linear model over so many ids that its state
 * has the size wanted; the ids of the rows decide how much of it changes. Runs with checkpoints and
 * publishes and runs without them take turns; measured is what comes after the first quarter of a
 * run. A stop is the time between two polls. --disk and --topic: another compression than ours, of
 * the state folder and of what is published. */
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/cli.h"
#include "consumer/worker.h"
#include "tests/temp.h"

#include <rocksdb/c.h>

#include <dirent.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LINES = 150000, NNZ = 10, LINE = 160, PER_POLL = 1000, PAIRS_MAX = 64 };

static const struct bench_case {
    const char *name;
    uint32_t width;   /* ids; weights, sums of squares, averages: 12 bytes each */
    uint32_t percent; /* of the state changes */
    uint32_t lines;   /* that differ: 10 ids each */
} cases[] = {
    {"16MB-all", 1300000, 100, LINES},   {"16MB-5%", 1300000, 5, LINES},
    {"100MB-all", 8200000, 100, LINES},  {"100MB-5%", 8200000, 5, LINES},
    {"16MB-sparse", 1300000, 100, 2000}, /* a hundredth of it is not zero, in all places */
};

static struct {
    double seconds;
    uint32_t pairs;
    const char *every, *publish, *kafka, *topic;
    int disk; /* RocksDB's number; -1: ours */
} conf = {6, 5, "1s", "10s", NULL, NULL, -1};

static char *lines;
static uint32_t line_n[LINES];

static void make_lines(const struct bench_case *c)
{
    uint64_t span = (uint64_t)c->width * c->percent / 100, r = 1;

    for (uint32_t i = 0; i < LINES; i++) {
        char *p = lines + (size_t)i * LINE;
        uint64_t id = 0;
        int n;

        if (i >= c->lines) {
            memcpy(p, lines + (size_t)(i % c->lines) * LINE, LINE);
            line_n[i] = line_n[i % c->lines];
            continue;
        }
        n = sprintf(p, "%d", (int)(i % 2));

        for (uint32_t k = 0; k < NNZ; k++) { /* ids rise */
            r = r * 6364136223846793005u + 1442695040888963407u;
            id = span / NNZ * k + (r >> 33) % (span / NNZ);
            n += sprintf(p + n, " %" PRIu64 ":%u.%u", id + 1, (unsigned)(r >> 40) % 2,
                         (unsigned)(r >> 45) % 10);
        }
        CHECK(n < LINE);
        line_n[i] = (uint32_t)n;
    }
}

/* ---- the source ---- */

static struct broker table;
static const struct broker *real;
static struct {
    void *c;
    bool assigned;
    int64_t offset, begin_us, from_us, last_poll_us, event_us;
    uint64_t from_rows;
    const struct worker *w;
    /* what the run comes to */
    double rate, own_rate; /* rows a second, by the clock and by the loop's own time */
    int64_t from_own_us, from_all_us, us, own_us, all_us, stop_us;
    struct took { /* own: the thread's time; most: by the clock */
        int64_t own, most_own, most;
    } scan, checkpoint, step;
    uint32_t checkpoints;
    int64_t folder;
} run;

/* A processor's time of the thread that learns. */
static int64_t own_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static enum st broker_open(void *b, const struct broker_conf *c, struct err *e)
{
    const struct topic_spec t = {"checkpoint-bench", 1, NULL};

    TRY(real->open(b, c, e));
    return real->topic_create(b, &t, e);
}

static enum st source_open(void *c, void *b, const struct consumer_conf *conf_, struct err *e)
{
    if (conf_->group)
        run.c = c;
    return real->consumer_open(c, b, conf_, e);
}

static enum st source_assign(void *c, const struct start *s, uint32_t n, struct err *e)
{
    run.assigned = c == run.c && n;
    return real->consumer_assign(c, s, n, e);
}

/* The same of all threads. */
static int64_t all_us(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 + r.ru_utime.tv_usec +
           r.ru_stime.tv_usec;
}

/* Of the folder of this run. */
static int64_t folder_bytes(void)
{
    struct stat st;
    int64_t sum = 0;
    DIR *d = opendir(temp_path("state"));

    CHECK(d);
    for (struct dirent *f; (f = readdir(d));)
        sum += fstatat(dirfd(d), f->d_name, &st, 0) || S_ISDIR(st.st_mode) ? 0 : st.st_size;
    closedir(d);
    return sum;
}

static void poll_seen(int64_t now)
{
    double since = (double)(now - run.begin_us) / 1e6;

    if (run.from_us && now - run.last_poll_us > run.stop_us)
        run.stop_us = now - run.last_poll_us;
    if (!run.from_us && since > conf.seconds / 3) {
        run.from_us = now;
        run.from_own_us = own_us();
        run.from_all_us = all_us();
        run.from_rows = run.w->rows;
        run.scan = run.checkpoint = run.step = (struct took){0};
        run.checkpoints = 0;
    } else if (run.from_us && !worker_stop && since > conf.seconds * 4 / 3) {
        run.us = now - run.from_us;
        run.all_us = all_us() - run.from_all_us;
        run.folder = folder_bytes();
        run.rate = (double)(run.w->rows - run.from_rows) / (double)run.us;
        run.own_us = own_us() - run.from_own_us;
        run.own_rate = (double)(run.w->rows - run.from_rows) / (double)run.own_us;
        worker_stop = 1;
    }
    run.last_poll_us = now;
}

static enum st source_poll(void *c, struct record *out, uint32_t max, int timeout_ms, uint32_t *n,
                           struct err *e)
{
    int64_t now = clock_mono_us();

    if (c != run.c)
        return real->consumer_poll(c, out, max, timeout_ms, n, e);
    if (!run.assigned || now - run.event_us > 20000) {
        TRY(real->consumer_poll(c, out, max, run.assigned ? 0 : timeout_ms, n, e));
        run.event_us = now;
        *n = 0;
    }
    if (!run.assigned) {
        *n = 0;
        return ST_OK;
    }
    if (!run.begin_us)
        run.begin_us = now;
    poll_seen(now);
    for (*n = 0; *n < max && *n < PER_POLL; ++*n, run.offset++) {
        uint64_t i = (uint64_t)run.offset % LINES;

        out[*n] = (struct record){.kind = REC_DATA,
                                  .offset = run.offset,
                                  .timestamp_ms = 1,
                                  .value = {(uint8_t *)lines + i * LINE, line_n[i]}};
    }
    return ST_OK;
}

const struct broker *__real_broker_find(const char *spec, const char **address);
const struct broker *__wrap_broker_find(const char *spec, const char **address);

const struct broker *__wrap_broker_find(const char *spec, const char **address)
{
    real = __real_broker_find(spec, address);
    table = *real;
    table.silent = false; /* the source has nothing to read again */
    table.open = broker_open;
    table.consumer_open = source_open;
    table.consumer_assign = source_assign;
    table.consumer_poll = source_poll;
    return &table;
}

void __real_rocksdb_options_set_compression(rocksdb_options_t *o, int kind);
void __wrap_rocksdb_options_set_compression(rocksdb_options_t *o, int kind);

void __wrap_rocksdb_options_set_compression(rocksdb_options_t *o, int kind)
{
    __real_rocksdb_options_set_compression(o, conf.disk < 0 ? kind : conf.disk);
}

/* ---- the stages ---- */

static void took(struct took *t, int64_t from, int64_t from_own)
{
    int64_t us = clock_mono_us() - from, own = own_us() - from_own;

    if (worker_stop)
        return; /* the end, which waits for all */
    t->own += own;
    t->most_own = own > t->most_own ? own : t->most_own;
    t->most = us > t->most ? us : t->most;
}

#define TIMED(stage, name, params, args)                                                           \
    enum st __real_##name params;                                                                  \
    enum st __wrap_##name params;                                                                  \
    enum st __wrap_##name params                                                                   \
    {                                                                                              \
        int64_t from = clock_mono_us(), from_own = own_us();                                       \
        enum st st = __real_##name args;                                                           \
                                                                                                   \
        took(&run.stage, from, from_own);                                                          \
        return st;                                                                                 \
    }

TIMED(scan, tensors_scan, (struct tensors * ts, uint64_t *hash, uint64_t *changed, struct err *e),
      (ts, hash, changed, e))
TIMED(step, saving_step, (struct worker * w, bool wait), (w, wait))

enum st __real_checkpoint(struct worker *w, bool to_publish);
enum st __wrap_checkpoint(struct worker *w, bool to_publish);
enum st __wrap_checkpoint(struct worker *w, bool to_publish)
{
    int64_t from = clock_mono_us(), from_own = own_us();
    enum st st = __real_checkpoint(w, to_publish);

    took(&run.checkpoint, from, from_own);
    run.checkpoints += !worker_stop;
    return st;
}

/* ---- runs ---- */

static void must(enum st st, const struct err *e)
{
    if (st == ST_OK)
        return;
    fprintf(stderr, "checkpoint_bench: %s: %s\n", st_name(st), e->text);
    exit(1);
}

static void job_make(struct job *j, const struct bench_case *c, bool on)
{
    static uint32_t number;
    const char *path = temp_path("job.yaml");
    FILE *f = fopen(path, "w");

    CHECK(f);
    fprintf(f, "job: bench%d-%" PRIu32 "\ntopic: checkpoint-bench\n", (int)getpid(), number++);
    if (conf.kafka)
        fprintf(f, "broker: kafka\nkafka: {bootstrap.servers: \"%s\"%s%s}\n", conf.kafka,
                conf.topic ? ", compression.type: " : "", conf.topic ? conf.topic : "");
    else
        fprintf(f, "broker: \"local::memory:\"\n");
    fprintf(f,
            "algo: linear\noptions: {loss: logistic}\n"
            "input: {format: libsvm, width: %" PRIu32 "}\n"
            "checkpoint: {every: %s}\npublish: {every: %s}\nsnapshot: {every: 10h}\n",
            c->width, on ? conf.every : "10h", on ? conf.publish : "10h");
    CHECK(!fclose(f));
    CHECK(!job_read(j, path, NULL, 0, cli_algos(), stderr));
}

static void one(const struct bench_case *c, bool on)
{
    struct worker *w = calloc(1, sizeof *w);
    struct job *j = calloc(1, sizeof *j);
    struct err e = {""};

    CHECK(w && j && temp_begin());
    job_make(j, c, on);
    memset(&run, 0, sizeof run);
    run.w = w;
    worker_stop = 0;
    w->quiet = true;
    must(worker_open(w, j, temp_path("state"), &e), &e);
    must(pipeline_run(w), &e);
    worker_close(w);
    temp_end();
    free(j);
    free(w);
}

struct column {
    double v[PAIRS_MAX];
};

static int up(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_column(const char *what, struct column *c, const char *unit)
{
    qsort(c->v, conf.pairs, sizeof *c->v, up);
    printf("  %-45s %8.4g  (%.4g to %.4g)%s\n", what, c->v[conf.pairs / 2], c->v[0],
           c->v[conf.pairs - 1], unit);
}

static void bench(const struct bench_case *c)
{
    static struct column rate, own, share, sent, others, begin, folder, stop, still, scan, save,
        step;

    make_lines(c);
    for (uint32_t i = 0; i < conf.pairs; i++) {
        double clock[2], time[2];

        for (uint32_t half = 0; half < 2; half++) {
            bool on = (i + half) % 2;

            one(c, on);
            clock[on] = run.rate;
            time[on] = run.own_rate;
            (on ? &stop : &still)->v[i] = (double)run.stop_us / 1e3;
            if (!on)
                continue;
            scan.v[i] = (double)run.scan.own / 1e3 / run.checkpoints;
            others.v[i] = (double)(run.all_us - run.own_us) / 1e3 / run.checkpoints;
            folder.v[i] = (double)run.folder / 1e6;
            share.v[i] = 100 * (double)run.checkpoint.own / (double)run.own_us;
            sent.v[i] = 100 * (double)run.step.own / (double)run.own_us;
            begin.v[i] = (double)run.checkpoint.most_own / 1e3;
            save.v[i] = (double)run.checkpoint.most / 1e3;
            step.v[i] = (double)run.step.most / 1e3;
        }
        rate.v[i] = clock[1] / clock[0];
        own.v[i] = time[1] / time[0];
    }
    printf("%s: checkpoints every %s, publishes every %s, %s\n", c->name, conf.every, conf.publish,
           conf.kafka ? "kafka" : "local::memory:");
    print_column("rows a second, with / without", &rate, "");
    print_column("rows by the loop's own time, with / without", &own, "");
    print_column("of the loop's own time, in checkpoints", &share, " %");
    print_column("of the loop's own time, in publishes", &sent, " %");
    print_column("other threads' time, of each checkpoint", &others, " ms");
    print_column("state folder", &folder, " MB");
    print_column("longest stop, with", &stop, " ms");
    print_column("longest stop, without", &still, " ms");
    print_column("scan, of each checkpoint, own time", &scan, " ms");
    print_column("longest begin of a checkpoint", &save, " ms");
    print_column("longest, by the loop's own time", &begin, " ms");
    print_column("longest step of a write or publish", &step, " ms");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    lines = malloc((size_t)LINES * LINE);
    CHECK(lines);
    log_setup(LOG_ERROR, LOG_TEXT);
    while (argc > 2 && !strncmp(argv[1], "--", 2)) {
        const char *name = argv[1] + 2, *value = argv[2];

        if (!strcmp(name, "pairs"))
            conf.pairs = (uint32_t)atoi(value);
        else if (!strcmp(name, "seconds"))
            conf.seconds = atof(value);
        else if (!strcmp(name, "every"))
            conf.every = value;
        else if (!strcmp(name, "publish"))
            conf.publish = value;
        else if (!strcmp(name, "kafka"))
            conf.kafka = value;
        else if (!strcmp(name, "topic"))
            conf.topic = value;
        else if (!strcmp(name, "disk"))
            conf.disk = !strcmp(value, "lz4")    ? rocksdb_lz4_compression
                        : !strcmp(value, "zstd") ? rocksdb_zstd_compression
                                                 : rocksdb_no_compression;
        else
            return fprintf(stderr, "checkpoint_bench: what is --%s?\n", name), 2;
        argc -= 2, argv += 2;
    }
    CHECK(conf.pairs && conf.pairs <= PAIRS_MAX);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        bool wanted = argc == 1;

        for (int i = 1; i < argc; i++)
            wanted |= !strcmp(argv[i], cases[k].name);
        if (wanted)
            bench(&cases[k]);
    }
    free(lines);
    return 0;
}
