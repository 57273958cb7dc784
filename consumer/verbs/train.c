/* train.c: millrace train: opens a worker for a job and runs the pipeline until it is done, stopped
 * or broken. */
#include "config/base/log.h"
#include "consumer/verbs/verbs.h"
#include "consumer/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct train_flags {
    struct broker_flags broker;
    struct texts set;
    bool until_end, quiet;
    uint64_t max_rows;
};

static const struct flag train_flag[] = {
    BROKER_FLAGS(struct train_flags, broker),
    {0,
     true,
     {"set", OPT_STR, offsetof(struct train_flags, set), 512, "", 0, 0, NULL,
      "Override: path.to.key=value; may be repeated.", NULL},
     NULL},
    {0,
     false,
     {"until-end", OPT_BOOL, offsetof(struct train_flags, until_end), 0, "false", 0, 0, NULL,
      "Learn what is in the topic at the first start, then exit.", NULL},
     NULL},
    {0,
     false,
     {"max-rows", OPT_U64, offsetof(struct train_flags, max_rows), 0, "0", 0, 0, NULL,
      "Stop, to be resumed, after about this many rows; 0: no bound.", NULL},
     NULL},
    {'q',
     false,
     {"quiet", OPT_BOOL, offsetof(struct train_flags, quiet), 0, "false", 0, 0, NULL,
      "No progress table; warnings and errors only.", NULL},
     NULL},
    {0}};

/* First signal: drop the partial blocks, checkpoint, publish, leave. Second: leave at once. */
static void on_signal(int signo)
{
    (void)signo;
    if (worker_stop++)
        _exit(CLI_INTERRUPTED);
}

static enum st make_folder(const char *dir, struct err *e)
{
    if (mkdir(dir, 0777) == 0 || errno == EEXIST)
        return ST_OK;
    return fail(e, ST_BAD_CONFIG,
                "state folder %s cannot be made: %s. Make it, or mend 'state_dir:'", dir,
                strerror(errno));
}

static enum st run(struct worker *w, const struct job *j, const struct train_flags *f,
                   struct err *e)
{
    char dir[sizeof j->state_dir + 16];

    w->until_end = f->until_end;
    w->max_rows = f->max_rows;
    w->quiet = f->quiet;
    TRY(make_folder(j->state_dir, e));
    snprintf(dir, sizeof dir, "%s/worker-0", j->state_dir);
    TRY(worker_open(w, j, dir, e));
    TRY(pipeline_run(w));
    if (w->stopped)
        return fail(e, ST_FATAL,
                    "%u of %u partitions stopped because their state was not finite; their last "
                    "checkpoints stand",
                    w->stopped, w->partitions);
    log_line(LOG_INFO, worker_stop ? "stopped; run the same command to go on" : "done",
             "rows=%" PRIu64 " records=%" PRIu64 " bad=%" PRIu64 " null=%" PRIu64 " pulls=%" PRIu64
             " seconds=%.3f rows_per_s=%.0f",
             w->rows, w->records, w->bad, w->nulls, w->pulls, (double)w->busy_us / 1e6,
             w->busy_us ? (double)w->rows * 1e6 / (double)w->busy_us : 0);
    return ST_OK;
}

static int train(const void *flags, int argc, char **argv)
{
    const struct train_flags *f = flags;
    struct sigaction sa = {.sa_handler = on_signal};
    struct worker *w;
    struct job *j;
    struct err e = {""};
    enum st st;
    int code;

    if (argc != 1) {
        fputs("millrace train: name one job file\n", stderr);
        return CLI_USAGE;
    }
    log_setup(f->quiet ? LOG_WARN : LOG_INFO, LOG_AUTO);
    j = cli_job(argv[0], &f->set, &f->broker, &code);
    if (!j)
        return code;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    w = calloc(1, sizeof *w);
    st = w ? run(w, j, f, &e) : fail(&e, ST_FATAL, "no memory to start");
    if (w)
        worker_close(w);
    free(w);
    free(j);
    return st == ST_OK ? CLI_DONE : cli_fail(st, &e);
}

const struct verb verb_train = {"train",
                                "JOB.yaml",
                                "Trains a job on its topic, as a member of its consumer group.",
                                train_flag,
                                sizeof(struct train_flags),
                                "Stop it with SIGINT or SIGTERM, or kill it: the same command goes "
                                "on where the last checkpoint stands.",
                                train};
