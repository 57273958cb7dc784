/* train.c: millrace train: opens a worker for a job and runs the pipeline until it is done, stopped
 * or broken; or several of them, each in its own process. */
#include "config/base/clock.h"
#include "config/base/json.h"
#include "config/base/log.h"
#include "consumer/team.h"
#include "consumer/verbs/verbs.h"
#include "consumer/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEAVE_MS = 5000 };

struct train_flags {
    struct broker_flags broker;
    struct device_flag device;
    struct texts set, input;
    char from[64], until[64];
    bool until_end, quiet, leave;
    uint32_t workers, epochs;
    uint64_t max_rows;
};

static const struct flag train_flag[] = {
    BROKER_FLAGS(struct train_flags, broker),
    INPUT_FLAG(struct train_flags, input),
    DEVICE_FLAG(struct train_flags, device),
    {0,
     true,
     {"set", OPT_STR, offsetof(struct train_flags, set), 512, "", 0, 0, NULL,
      "Override: path.to.key=value; may be repeated.", NULL},
     NULL},
    {0,
     false,
     {"from", OPT_STR, offsetof(struct train_flags, from), 64, "", 0, 0, NULL,
      "Where a new job begins: earliest, latest, stored (the group's offsets), an offset, @TIME or "
      "-PT1H.",
      NULL},
     NULL},
    {0,
     false,
     {"until-end", OPT_BOOL, offsetof(struct train_flags, until_end), 0, "false", 0, 0, NULL,
      "Learn what is in the topic at the first start, then exit.", NULL},
     NULL},
    {0,
     false,
     {"until", OPT_STR, offsetof(struct train_flags, until), 64, "", 0, 0, NULL,
      "Learn up to an offset, @TIME or -PT1H, then exit.", NULL},
     NULL},
    {0,
     false,
     {"epochs", OPT_U32, offsetof(struct train_flags, epochs), 0, "0", 0, 1000, NULL,
      "Passes over the data, instead of the job file's 'epochs'; 0: as there. Several imply "
      "--until-end.",
      NULL},
     NULL},
    {0,
     false,
     {"max-rows", OPT_U64, offsetof(struct train_flags, max_rows), 0, "0", 0, 0, NULL,
      "Stop, to be resumed, after about this many rows; 0: no bound.", NULL},
     NULL},
    {0,
     false,
     {"workers", OPT_U32, offsetof(struct train_flags, workers), 0, "1", 1, WORKERS_MAX, NULL,
      "Processes on this machine, each with its folder in state_dir. More than 1: one table for "
      "all, "
      "and who dies is started again.",
      NULL},
     NULL},
    {0,
     false,
     {"leave", OPT_BOOL, offsetof(struct train_flags, leave), 0, "false", 0, 0, NULL,
      "At the end, also when told to stop, give the partitions to other workers at once. Without, "
      "they are kept for the session timeout, for a restart.",
      NULL},
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

struct training {
    const struct job *job;
    const struct train_flags *f;
    struct where from, until;
};

static enum st set_range(struct training *t, struct err *e)
{
    const struct train_flags *f = t->f;
    struct where *until = &t->until;

    if (*f->from && where_parse(f->from, &t->from, e) != ST_OK) {
        err_prefix(e, "--from");
        return ST_BAD_CONFIG;
    }
    if (f->until_end || (f->input.n && !*f->until))
        until->kind = WHERE_LATEST;
    if (!*f->until)
        return ST_OK;
    if (f->until_end)
        return fail(e, ST_BAD_CONFIG, "--until and --until-end are two ends: give one");
    if (where_parse(f->until, until, e) != ST_OK) {
        err_prefix(e, "--until");
        return ST_BAD_CONFIG;
    }
    if (until->kind == WHERE_EARLIEST || until->kind == WHERE_STORED)
        return fail(e, ST_BAD_CONFIG, "--until %s is no end: give an offset, @TIME or -PT1H",
                    f->until);
    if (until->kind == WHERE_TIME && until->value > clock_wall_ms())
        return fail(e, ST_BAD_CONFIG,
                    "--until %s is still to come: nobody knows yet which records will be older",
                    f->until);
    if (t->from.kind == until->kind && until->kind == WHERE_OFFSET && until->value <= t->from.value)
        return fail(e, ST_BAD_CONFIG, "--until %s is not behind --from %s", f->until, f->from);
    return ST_OK;
}

/* Others get what it owned now, and not when its session has ended. */
static void leave(struct worker *w)
{
    struct err e;

    if (w->br->consumer_leave(w->c, LEAVE_MS, &e) == ST_OK)
        log_line(LOG_INFO, "left the group", NULL);
    else
        log_line(LOG_WARN, "left, but not in the eyes of the group", "reason=\"%s\"", e.text);
}

static enum st learn(struct worker *w, const struct training *t, uint32_t number, struct err *e)
{
    char dir[sizeof t->job->state_dir + 16];

    w->from = t->from;
    w->until = t->until;
    w->quiet = t->f->quiet;
    w->workers = t->f->workers;
    w->max_rows = w->report ? 0 : t->f->max_rows;
    snprintf(dir, sizeof dir, "%s/worker-%" PRIu32, t->job->state_dir, number);
    TRY(worker_open(w, t->job, dir, e));
    TRY(pipeline_run(w));
    if (t->f->leave)
        leave(w);
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

/* A new start may settle what ST_AGAIN and ST_FATAL stand for, but not a state that diverged. */
static bool is_final(const struct worker *w, enum st st)
{
    if (st == ST_OK)
        return !worker_stop;
    return w->stopped || (st != ST_AGAIN && st != ST_FATAL);
}

static void work(void *arg, struct report *r, struct ending *end)
{
    struct worker *w = calloc(1, sizeof *w);

    if (!w) {
        end->st = fail(&end->err, ST_FATAL, "no memory to start");
        return;
    }
    w->report = r;
    end->st = learn(w, arg, r ? r->worker : 0, &end->err);
    end->final = is_final(w, end->st);
    worker_close(w);
    free(w);
}

static int alone(struct training *t)
{
    struct sigaction sa = {.sa_handler = on_signal};
    struct ending end = {ST_OK, false, {""}};

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    work(t, NULL, &end);
    return end.st == ST_OK ? CLI_DONE : cli_fail(end.st, &end.err);
}

static int together(struct training *t)
{
    struct team team = {.workers = t->f->workers,
                        .max_rows = t->f->max_rows,
                        .quiet = t->f->quiet,
                        .leave = t->f->leave,
                        .work = work,
                        .arg = t};
    const char *address;
    struct err e;

    if (broker_find(t->job->broker, &address) != &broker_kafka)
        return cli_fail(fail(&e, ST_BAD_CONFIG,
                             "--workers %" PRIu32
                             ": the broker %s is for one process. Give a Kafka "
                             "broker (-b HOST:PORT), or --workers 1",
                             t->f->workers, t->job->broker),
                        &e);
    return team_run(&team);
}

static void say_files(const struct job *j, bool quiet)
{
    log_line(LOG_INFO, "files are read in place of the topic; slots and models are beside",
             "topic=%s files=%" PRIu32 " models=local:%s", j->topic, j->files_n,
             strchr(j->broker, ':') + 1);
    if (!j->files_header || quiet)
        return;
    fputs("millrace: the first line of the files names the columns; verbs that do not read it need "
          "them in the job file:\ninput:\n  columns: [",
          stderr);
    for (uint32_t i = 0; i < j->input.columns; i++) {
        fputs(i ? ", " : "", stderr);
        json_text(stderr, j->input.column[i].name);
    }
    fputs("]\n", stderr);
}

static int train(const void *flags, int argc, char **argv)
{
    struct training t = {.f = flags};
    struct device_set device;
    struct job *j;
    struct err e;
    enum st st;
    int code;

    if (argc != 1) {
        fputs(
            argc || !t.f->input.n
                ? "millrace train: name one job file\n"
                : "millrace train: name the job file before --input, which takes all words behind "
                  "it\n",
            stderr);
        return CLI_USAGE;
    }
    log_setup(t.f->quiet ? LOG_WARN : LOG_INFO, LOG_AUTO);
    t.job = j =
        cli_job(argv[0], device_flag_set(&t.f->device, &t.f->set, &device), &t.f->broker, &code);
    if (!j)
        return code;
    if (t.f->epochs)
        j->epochs = t.f->epochs;
    st = input_apply(&t.f->input, &t.f->broker, true, j, &e);
    if (st == ST_OK)
        st = set_range(&t, &e);
    if (st == ST_OK)
        st = make_folder(j->state_dir, &e);
    if (st == ST_OK && j->files_n)
        say_files(j, t.f->quiet);
    code = st != ST_OK ? cli_fail(st, &e) : t.f->workers > 1 ? together(&t) : alone(&t);
    free(j);
    return code;
}

const struct verb verb_train = {"train",
                                "JOB.yaml",
                                "Trains a job on its topic, as a member of its consumer group.",
                                train_flag,
                                sizeof(struct train_flags),
                                "Stop it with SIGINT or SIGTERM, or kill it: the same command goes "
                                "on where the last checkpoint stands. --from, --until and --epochs "
                                "are of a new job: they are fixed at its first start, partition by "
                                "partition; 'millrace reset' makes a job new again. @TIME is "
                                "2026-01-01T00:00:00Z or milliseconds since 1970.",
                                train};
