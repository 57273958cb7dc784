#include "consumer/team.h"

#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/cli.h"
#include "consumer/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    POLL_MS = 100,
    REPORT_US = 250000,
    END_WAIT_MS = 1000,
    AGAIN_US = 250000, /* the first wait before a new start; twice as long each time, */
    AGAIN_DOUBLES = 7, /* up to 32 s, until one has lived for: */
    LIVED_US = 30000000
};

struct note {
    uint32_t worker;
    bool ended; /* end, else figures */
    struct figures figures;
    struct ending end;
};

static_assert(sizeof(struct note) <= PIPE_BUF, "a note is one write");

struct member {
    pid_t pid;                /* 0: no process */
    bool over;                /* and there will be none */
    bool told;                /* how it ended */
    int64_t start_us, due_us; /* of the last, the next start */
    uint32_t deaths;          /* in a row, each after a short life */
    uint64_t rows;            /* of its earlier lives */
    struct figures now;
    struct ending end;
};

struct crew {
    const struct team *t;
    struct member m[WORKERS_MAX];
    int fd[2];
    bool stopping, killed;
    bool up;   /* one has come to work: then a broker that does not answer will again */
    bool done; /* one has seen the end of the job */
    struct progress progress;
    struct ending result;
};

/* ---- in a worker's process ---- */

bool report_due(const struct report *r, bool last)
{
    return last || clock_mono_us() - r->told_us >= REPORT_US;
}

void report_figures(struct report *r, const struct figures *f)
{
    struct note n = {.worker = r->worker, .figures = *f};

    r->told_us = clock_mono_us();
    if (write(r->fd, &n, sizeof n) < 0)
        return;
}

static void report_end(const struct report *r, const struct ending *end)
{
    struct note n = {.worker = r->worker, .ended = true, .end = *end};
    struct pollfd room = {.fd = r->fd, .events = POLLOUT};

    if (poll(&room, 1, END_WAIT_MS) < 0 || write(r->fd, &n, sizeof n) < 0)
        return; /* the exit code says the most of it */
}

static void count_signal(int signo)
{
    (void)signo;
    worker_stop++;
}

static _Noreturn void be_worker(const struct crew *c, uint32_t i, pid_t parent)
{
    struct report r = {.fd = c->fd[1], .worker = i};
    struct ending end = {ST_OK, false, {""}};

    close(c->fd[0]);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        _exit(CLI_FAILED);
    log_worker(i);
    c->t->work(c->t->arg, &r, &end);
    report_end(&r, &end);
    _exit(exit_code(end.st));
}

/* ---- in the parent's ---- */

static void start(struct crew *c, uint32_t i)
{
    struct member *m = &c->m[i];
    pid_t parent = getpid();

    CHECK(!m->pid && !m->over);
    m->told = false;
    m->start_us = clock_mono_us();
    m->pid = fork();
    if (m->pid == 0)
        be_worker(c, i, parent);
    if (m->pid < 0) { /* tried again */
        log_line(LOG_WARN, "worker cannot be started", "worker=%" PRIu32 " reason=\"%s\"", i,
                 strerror(errno));
        m->pid = 0;
        m->due_us = m->start_us + ((int64_t)AGAIN_US << AGAIN_DOUBLES);
        return;
    }
    log_line(LOG_INFO, "worker started", "worker=%" PRIu32 " pid=%d", i, (int)m->pid);
}

static void take_notes(struct crew *c)
{
    struct note n;
    ssize_t got;

    while ((got = read(c->fd[0], &n, sizeof n)) > 0) {
        CHECK(got == (ssize_t)sizeof n && n.worker < c->t->workers);
        if (n.ended)
            c->m[n.worker].end = n.end;
        else
            c->m[n.worker].now = n.figures;
        c->m[n.worker].told |= n.ended;
        c->up |= !n.ended;
    }
}

static void fail_team(struct crew *c, uint32_t i)
{
    c->m[i].over = true;
    if (c->result.st != ST_OK)
        return; /* the first one counts */
    c->result = c->m[i].end;
    err_prefix(&c->result.err, "worker %" PRIu32, i);
    c->stopping = true;
}

/* A worker that will be there again: its partitions are nobody's until then. */
static void start_later(struct member *m, uint32_t i)
{
    int64_t now = clock_mono_us(), wait_us = 0;

    if (now - m->start_us >= LIVED_US)
        m->deaths = 0;
    if (m->end.st != ST_OK) {
        wait_us = (int64_t)AGAIN_US << m->deaths;
        m->deaths += m->deaths < AGAIN_DOUBLES;
    }
    m->rows += m->now.rows;
    m->now = (struct figures){0};
    m->due_us = now + wait_us;
    log_line(m->end.st == ST_OK ? LOG_INFO : LOG_WARN, "worker ended; it is started again",
             "worker=%" PRIu32 " in_s=%.2f reason=\"%s\"", i, (double)wait_us / 1e6,
             m->end.st == ST_OK ? "it was told to stop" : m->end.err.text);
}

static void ended(struct crew *c, uint32_t i, int status)
{
    struct member *m = &c->m[i];
    enum st ignored = ST_OK;

    m->pid = 0;
    if (!m->told) { /* it came to no end of its own */
        m->end = (struct ending){ST_FATAL, false, {""}};
        ignored = WIFSIGNALED(status)
                      ? fail(&m->end.err, ST_FATAL, "ended by signal %d (%s)", WTERMSIG(status),
                             strsignal(WTERMSIG(status)))
                      : fail(&m->end.err, ST_FATAL, "ended with exit code %d", WEXITSTATUS(status));
    }
    (void)ignored;
    m->end.final |= m->end.st == ST_AGAIN && !c->up;
    c->done |= m->end.st == ST_OK && m->end.final;
    if (m->end.st != ST_OK && (m->end.final || c->stopping))
        fail_team(c, i);
    else if (m->end.final || c->stopping || (m->end.st == ST_OK && c->t->leave))
        m->over = true;
    else
        start_later(m, i);
}

static void reap(struct crew *c)
{
    int status;

    for (uint32_t i = 0; i < c->t->workers; i++)
        if (c->m[i].pid && waitpid(c->m[i].pid, &status, WNOHANG) == c->m[i].pid) {
            take_notes(c); /* its last one too */
            ended(c, i, status);
        }
}

static void signal_all(const struct crew *c, int signo)
{
    for (uint32_t i = 0; i < c->t->workers; i++)
        if (c->m[i].pid)
            kill(c->m[i].pid, signo);
}

/* Once told, they are not started again. */
static void stop_all(struct crew *c, bool *told)
{
    if (worker_stop > 1 && !c->killed) {
        c->killed = true;
        signal_all(c, SIGKILL);
    }
    if (!c->stopping || *told)
        return;
    *told = true;
    signal_all(c, SIGTERM);
    for (uint32_t i = 0; i < c->t->workers; i++)
        c->m[i].over |= !c->m[i].pid;
}

/* How many there still are, or will be again. */
static uint32_t start_due(struct crew *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->t->workers; i++) {
        struct member *m = &c->m[i];

        if (!m->pid && !m->over && clock_mono_us() >= m->due_us)
            start(c, i);
        n += !m->over;
    }
    return n;
}

static struct figures all_figures(const struct crew *c)
{
    struct figures sum = {0};

    for (uint32_t i = 0; i < c->t->workers; i++) {
        figures_add(&sum, &c->m[i].now);
        sum.rows += c->m[i].rows;
    }
    return sum;
}

/* Not more often than every worker has told anew, else the rates jump. */
static void show(struct crew *c, const struct figures *f, bool last)
{
    if (c->t->quiet || (!last && clock_mono_us() - c->progress.line_us < 2 * REPORT_US))
        return;
    if (progress_due(&c->progress, f->rows, last))
        progress_print(&c->progress, f, last, stderr);
}

static int result(const struct crew *c, uint64_t rows)
{
    double s = (double)(clock_mono_us() - c->progress.start_us) / 1e6;

    if (c->killed)
        return CLI_INTERRUPTED;
    if (c->result.st != ST_OK)
        return cli_fail(c->result.st, &c->result.err);
    log_line(LOG_INFO, c->done ? "done" : "stopped; run the same command to go on",
             "workers=%" PRIu32 " rows=%" PRIu64 " seconds=%.3f rows_per_s=%.0f", c->t->workers,
             rows, s, s > 0 ? (double)rows / s : 0);
    return CLI_DONE;
}

/* A worker's end wakes the poll. */
static void no_more_than_wake(int signo)
{
    (void)signo;
}

int team_run(const struct team *t)
{
    struct sigaction count = {.sa_handler = count_signal}, wake = {.sa_handler = no_more_than_wake};
    struct crew c = {.t = t};
    struct figures f = {0};
    struct pollfd notes;
    bool told = false;

    CHECK(t->workers > 1 && t->workers <= WORKERS_MAX && t->work);
    if (pipe2(c.fd, O_CLOEXEC | O_NONBLOCK) < 0) {
        c.result.st = fail(&c.result.err, ST_FATAL, "a pipe cannot be made: %s", strerror(errno));
        return cli_fail(c.result.st, &c.result.err);
    }
    notes = (struct pollfd){.fd = c.fd[0], .events = POLLIN};
    sigaction(SIGINT, &count, NULL);
    sigaction(SIGTERM, &count, NULL);
    sigaction(SIGCHLD, &wake, NULL);
    progress_start(&c.progress);
    while (start_due(&c)) {
        if (poll(&notes, 1, POLL_MS) > 0)
            take_notes(&c);
        reap(&c);
        f = all_figures(&c);
        show(&c, &f, false);
        c.stopping |= worker_stop != 0 || (t->max_rows && f.rows >= t->max_rows);
        stop_all(&c, &told);
    }
    show(&c, &f, true);
    close(c.fd[0]);
    close(c.fd[1]);
    return result(&c, f.rows);
}
