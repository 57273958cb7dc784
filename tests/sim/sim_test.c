/* sim_test [--seeds FROM COUNT [--jobs N]]: so many seeds; sim_test SEED: that one, and what
 * happened in it; --caught COUNT: one of so many seeds has to fail (mutants.py). */
#include "tests/sim/sim.h"

#include "config/base/log.h"

#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t steps, faults[FAULTS], ran;

static void report(void)
{
    printf("seed %" PRIu64 " FAILED: %s\n", world.seed, world.why);
    plan_print(&world.plan);
    world_trace(stdout);
    fputs(world.state, stdout);
    printf("replay: sim_test %" PRIu64 "\n", world.seed);
    fflush(stdout);
}

/* A failed CHECK in the product is a failure like any other, with its seed. */
static void aborted(int sig)
{
    snprintf(world.why, sizeof world.why, "signal %d, see above", sig);
    report();
    _exit(1);
}

/* The undisturbed single worker's end of a job. */
static bool reference(uint32_t job)
{
    struct plan p = {.job = job,
                     .workers = 1,
                     .poll_max = 500,
                     .record_us = 1,
                     .publish_ms = 10000,
                     .checkpoint_ms = 5000,
                     .snapshot_ms = 60000};

    if (job_ends[job].known)
        return true;
    if (!world_run(0, &p, &job_ends[job])) {
        report();
        return false;
    }
    job_ends[job].known = true;
    return true;
}

static bool one(uint64_t seed, const struct plan *p)
{
    static struct job_end end;

    if (!reference(p->job))
        return false;
    if (!world_run(seed, p, &end)) {
        report();
        return false;
    }
    ran++;
    steps += world.steps;
    for (int f = 0; f < FAULTS; f++)
        faults[f] += world.said[f];
    return true;
}

static bool seed_runs(uint64_t seed)
{
    struct plan p;

    plan_of(&p, seed);
    return one(seed, &p);
}

static int strided(uint64_t from, uint64_t count, uint64_t stride)
{
    for (uint64_t i = 0; i < count; i += stride)
        if (!seed_runs(from + i))
            return 1;
    printf("%" PRIu64 " seeds, %" PRIu64 " steps, faults:", ran, steps);
    for (int f = 0; f < FAULTS; f++)
        printf(" %" PRIu64, faults[f]);
    printf("\n");
    return 0;
}

static int parallel(uint64_t from, uint64_t count, uint64_t jobs)
{
    int bad = 0, status;

    fflush(stdout);
    for (uint64_t k = 0; k < jobs; k++)
        if (!fork()) {
            status = strided(from + k, k < count ? count - k : 0, jobs);
            fflush(stdout);
            _exit(status);
        }
    for (uint64_t k = 0; k < jobs; k++)
        bad |= wait(&status) < 0 || status;
    return bad != 0;
}

int main(int argc, char **argv)
{
    uint64_t from = 1, count = 300, jobs = 1;

    /* Large pieces, of which little is touched, are mapped and not zeroed in the heap. */
    mallopt(M_MMAP_THRESHOLD, 2 << 20);
    mallopt(M_TRIM_THRESHOLD, 2 << 20);
    signal(SIGABRT, aborted);
    signal(SIGSEGV, aborted);
    log_setup(argc == 2 ? LOG_INFO : LOG_ERROR, LOG_TEXT);
    jobs_read();
    if (argc == 2) {
        struct plan p;

        plan_of(&p, strtoull(argv[1], NULL, 10));
        plan_print(&p);
        if (!seed_runs(strtoull(argv[1], NULL, 10)))
            return 1;
        printf("ended after %.1f s, %" PRIu64 " steps, %" PRIu32 " faults\n",
               (double)world.now_us / 1e6, world.steps, world.faults);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "--caught"))
        return !parallel(1, strtoull(argv[2], NULL, 10), 1);
    if (argc >= 4 && !strcmp(argv[1], "--seeds")) {
        from = strtoull(argv[2], NULL, 10);
        count = strtoull(argv[3], NULL, 10);
    }
    if (argc >= 6 && !strcmp(argv[4], "--jobs"))
        jobs = strtoull(argv[5], NULL, 10);
    return parallel(from, count, jobs);
}
