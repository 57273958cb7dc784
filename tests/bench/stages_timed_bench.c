/* The trainer itself, which at its end writes to stderr what its stages took, one line of all for
 * elastic.py and scaling.py, and one for each stage and thread for stages_bench.py; with
 * $WINDOW_ROWS also a line at every so many rows. */
#include "config/base/clock.h"
#include "consumer/slot_reader.h"
#include "consumer/worker.h"

#include <dirent.h>
#include <inttypes.h>
#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#pragma weak mallctl /* not there where a sanitizer is */

/* What computes is measured by its thread's own time, so others on the machine count little; what
 * waits for a disk or a broker, by the clock. Bytes are what this thread has asked the heap for,
 * libraries included. */
struct took {
    int64_t own_ns, clock_us;
    uint64_t calls, bytes;
};

enum { THREADS_MAX = 64 };

static struct {
    int64_t begin_ns, rows_ns, learned_us, published_us; /* last batch; last commit */
    struct took consume, decode, batch, update, learned, checkpoint, publish, follow, fold,
        snapshot, nothing;
    uint64_t rows, checkpoints, publishes, taken, folded, slot_bytes, snapshots;
} sum;

static struct thread {
    long tid;
    int64_t before_ns;
} threads[THREADS_MAX]; /* that were there at the first record */

static int64_t process_ns, window_rows, now_ns, now_us; /* at the last stage's end */
static const uint64_t *heap_bytes;

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t own_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t allocated(void)
{
    static const uint64_t none;
    size_t n = sizeof heap_bytes;

    if (!heap_bytes && !mallctl)
        heap_bytes = &none;
    if (!heap_bytes)
        CHECK(!mallctl("thread.allocatedp", &heap_bytes, &n, NULL, 0) && heap_bytes);
    return *heap_bytes;
}

/* A number behind `word` in a file of this process; 0: there is none. */
static int64_t proc_number(const char *path, const char *word)
{
    char line[256] = "";
    int64_t value = 0;
    size_t n = strlen(word);
    FILE *f = fopen(path, "r");

    while (f && fgets(line, sizeof line, f) && strncmp(line, word, n))
        line[0] = 0;
    if (f)
        fclose(f);
    if (line[0])
        value = strtoll(line + n, NULL, 10);
    return value;
}

/* Notes all threads' times, or says how much each has had since. A thread that came later had
 * nothing before. */
static void each_thread(bool note)
{
    struct dirent *entry;
    DIR *dir = opendir("/proc/self/task");
    uint32_t n = 0;

    CHECK(dir);
    while ((entry = readdir(dir))) {
        long tid = strtol(entry->d_name, NULL, 10);
        char path[320], name[32] = "";
        int64_t ns;
        FILE *f;

        if (!tid)
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", entry->d_name);
        ns = proc_number(path, "");
        if (note && n < THREADS_MAX)
            threads[n++] = (struct thread){tid, ns};
        for (uint32_t i = 0; !note && i < THREADS_MAX; i++)
            if (threads[i].tid == tid)
                ns -= threads[i].before_ns;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        f = note ? NULL : fopen(path, "r");
        if (f && fgets(name, sizeof name, f)) {
            name[strcspn(name, "\n")] = 0;
            fprintf(stderr, "thread ns=%" PRId64 " name=%s\n", ns,
                    tid == (long)getpid() ? "main" : name);
        }
        if (f)
            fclose(f);
    }
    closedir(dir);
}

/* The linker puts __wrap_NAME() in the place of NAME(), and __real_NAME() is that. */
#define WRAP_AS(type, name, ...)                                                                   \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)
#define WRAP(name, ...) WRAP_AS(enum st, name, __VA_ARGS__)

#define TIMED(stage, call)                                                                         \
    do {                                                                                           \
        struct took from = {own_ns(), clock_mono_us(), 0, allocated()};                            \
        call;                                                                                      \
        now_us = clock_mono_us();                                                                  \
        now_ns = own_ns();                                                                         \
        sum.stage.own_ns += now_ns - from.own_ns;                                                  \
        sum.stage.clock_us += now_us - from.clock_us;                                              \
        sum.stage.bytes += allocated() - from.bytes;                                               \
        sum.stage.calls++;                                                                         \
    } while (0)

/* What TIMED itself costs: *inside of the figure, and in all. */
static void cost_of_timing(int64_t *inside, int64_t *all)
{
    enum { TIMES = 100000 };
    int64_t began = own_ns();

    for (int i = 0; i < TIMES; i++)
        TIMED(nothing, (void)0);
    *all = (own_ns() - began) / TIMES;
    *inside = sum.nothing.own_ns / TIMES;
}

WRAP(consume, struct worker *w)
{
    enum st st;

    if (!w->first_us) { /* what was before is the start */
        sum.begin_ns = own_ns();
        sum.checkpoint = sum.publish = sum.consume = (struct took){0};
        each_thread(true);
        process_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    }
    TIMED(consume, st = __real_consume(w));
    return st;
}

WRAP(decode, struct worker *w, struct partition **full)
{
    enum st st;

    TIMED(decode, st = __real_decode(w, full));
    return st;
}

WRAP_AS(bool, batch_next, struct batch *t, struct rows *r)
{
    bool any;

    TIMED(batch, any = __real_batch_next(t, r));
    return any;
}

WRAP(update, struct worker *w, struct partition *p, const struct rows *r)
{
    enum st st;

    TIMED(update, st = __real_update(w, p, r));
    sum.rows += r->n;
    sum.learned_us = now_us;
    sum.rows_ns = now_ns - sum.begin_ns - sum.checkpoint.own_ns - sum.publish.own_ns -
                  sum.follow.own_ns - sum.fold.own_ns - sum.snapshot.own_ns;
    return st;
}

static void window(const struct worker *w)
{
    static uint64_t next;
    static int64_t spent_ns; /* on these lines */
    int64_t own = own_ns(), process = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

    if (!next && getenv("WINDOW_ROWS"))
        window_rows = strtoll(getenv("WINDOW_ROWS"), NULL, 10);
    if (!window_rows || w->rows < next)
        return;
    fprintf(stderr,
            "window rows=%" PRIu64 " main_ns=%" PRId64 " process_ns=%" PRId64 " rss_kib=%" PRId64
            "\n",
            w->rows, own - spent_ns, process - spent_ns,
            proc_number("/proc/self/smaps_rollup", "Rss:"));
    next = (w->rows / (uint64_t)window_rows + 1) * (uint64_t)window_rows;
    spent_ns += own_ns() - own;
}

WRAP(partition_learned, struct worker *w, struct partition *p)
{
    enum st st;

    TIMED(learned, st = __real_partition_learned(w, p));
    window(w);
    return st;
}

WRAP(checkpoint, struct worker *w, bool to_publish)
{
    enum st st;

    sum.checkpoints += sum.rows > 0;
    TIMED(checkpoint, st = __real_checkpoint(w, to_publish));
    return st;
}

WRAP(publish, struct worker *w, bool always)
{
    enum st st;

    TIMED(publish, st = __real_publish(w, always));
    return st;
}

WRAP(publish_end, struct worker *w, enum st st)
{
    bool any = w->publishing;

    TIMED(publish, st = __real_publish_end(w, st));
    sum.publishes += any && sum.rows;
    if (any)
        sum.published_us = clock_wall_ms() * 1000;
    return st;
}

WRAP(follow, struct worker *w, int timeout_ms)
{
    struct took before = sum.follow;
    uint64_t taken = sum.taken;
    enum st st;

    TIMED(follow, st = __real_follow(w, timeout_ms));
    if (sum.taken == taken) /* a look at an empty queue */
        sum.follow = before;
    return st;
}

WRAP(merge, struct worker *w)
{
    enum st st;

    TIMED(fold, st = __real_merge(w));
    return st;
}

WRAP(pull, struct worker *w)
{
    enum st st;

    TIMED(fold, st = __real_pull(w));
    return st;
}

WRAP(snapshot, struct worker *w)
{
    enum st st;

    sum.snapshots++;
    TIMED(snapshot, st = __real_snapshot(w));
    return st;
}

WRAP(slot_take, struct image im[2], uint32_t partition, const struct record *r, uint32_t *turn,
     bool *manifest, struct err *e)
{
    enum st st = __real_slot_take(im, partition, r, turn, manifest, e);

    sum.taken += *manifest;
    sum.slot_bytes += r->key.n + r->value.n;
    return st;
}

WRAP(slot_state, struct worker *w, const struct manifest *m, const struct tensors **state)
{
    sum.folded++;
    return __real_slot_state(w, m, state);
}

static void say(const char *name, const struct took *t)
{
    fprintf(stderr,
            "stage calls=%" PRIu64 " own_ns=%" PRId64 " clock_us=%" PRId64 " bytes=%" PRIu64
            " name=%s\n",
            t->calls, t->own_ns, t->clock_us, t->bytes, name);
}

static void say_all(const struct worker *w, int64_t main_ns)
{
    int64_t process = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process_ns, inside, all;

    cost_of_timing(&inside, &all);
    fprintf(stderr,
            "whole rows=%" PRIu64 " records=%" PRIu64 " bytes=%" PRIu64 " clock_us=%" PRId64
            " main_ns=%" PRId64 " process_ns=%" PRId64 " timed_inside_ns=%" PRId64
            " timed_ns=%" PRId64 "\n",
            w->rows, w->records, w->bytes, w->busy_us, main_ns, process, inside, all);
    say("consume", &sum.consume);
    say("decode", &sum.decode);
    say("batch", &sum.batch);
    say("update", &sum.update);
    say("block ends", &sum.learned);
    say("checkpoint", &sum.checkpoint);
    say("publish", &sum.publish);
    say("follow", &sum.follow);
    say("merge", &sum.fold);
    say("snapshot", &sum.snapshot);
    each_thread(false);
}

WRAP(pipeline_run, struct worker *w)
{
    enum st st = __real_pipeline_run(w);
    int64_t main_ns = own_ns() - sum.begin_ns;
    int64_t begin_us = clock_wall_ms() * 1000 - (clock_mono_us() - w->first_us);

    fprintf(stderr,
            "stages begin_us=%" PRId64 " learned_us=%" PRId64 " end_us=%" PRId64 " rows=%" PRIu64
            " rows_us=%" PRId64 " consume_us=%" PRId64 " update_us=%" PRId64
            " checkpoint_us=%" PRId64 " checkpoints=%" PRIu64 " publish_us=%" PRId64
            " publishes=%" PRIu64 " follow_us=%" PRId64 " taken=%" PRIu64 " slot_bytes=%" PRIu64
            " fold_us=%" PRId64 " folded=%" PRIu64 " snapshot_us=%" PRId64 " snapshots=%" PRIu64
            "\n",
            begin_us, begin_us + sum.learned_us - w->first_us, sum.published_us, sum.rows,
            sum.rows_ns / 1000, sum.consume.own_ns / 1000, sum.update.own_ns / 1000,
            sum.checkpoint.clock_us, sum.checkpoints, sum.publish.clock_us, sum.publishes,
            sum.follow.own_ns / 1000, sum.taken, sum.slot_bytes, sum.fold.own_ns / 1000, sum.folded,
            sum.snapshot.own_ns / 1000, sum.snapshots);
    say_all(w, main_ns);
    return st;
}
