/* team.h: several workers of one job on this machine, each a process with a state folder of its
 * own, under a parent that starts them, shows one table for all and starts again what dies.
 *
 * The workers tell the parent through one pipe: their figures a few times a second, and at the end
 * how it was. A note is one write of a fixed size below PIPE_BUF, so it comes whole or not at all.
 * To the group they are members like any others: nothing but this depends on the parent, and when
 * it dies they stop as if told to.
 *
 * Life    team_run: start, pass on SIGINT and SIGTERM, start again with back-off, end when all
 *         have. A worker that would end the same way again (a person must act: enum exit_code), or
 *         finds no broker before any has come to work, ends the team: the others are stopped, and
 *         its code and text are the result.
 * Thread  One; the parent opens no library, so that it may fork at any time.
 * Errors  As a verb: the text is on stderr, the exit code is returned. */
#ifndef MILLRACE_TEAM_H
#define MILLRACE_TEAM_H

#include "config/base/status.h"
#include "consumer/progress.h"

enum { WORKERS_MAX = 64 };

struct ending { /* of a worker */
    enum st st;
    bool final; /* it would end so again: the job is done, or a person must act */
    struct err err;
};

struct report { /* a worker's end of the pipe */
    int fd;
    uint32_t worker;
    int64_t told_us;
};

/* Figures are due; last: in any case. */
bool report_due(const struct report *r, bool last);
/* Never waits: figures that find no room are lost, newer ones follow. */
void report_figures(struct report *r, const struct figures *f);

struct team {
    uint32_t workers;
    uint64_t max_rows; /* of all together, about; then they are stopped. 0: no bound */
    bool quiet;        /* no table */
    bool leave;        /* who is told to stop stays away */
    /* In its own process: learns as worker r->worker until the end. worker_stop tells it to stop.
     */
    void (*work)(void *arg, struct report *r, struct ending *end);
    void *arg;
};

int team_run(const struct team *t);

#endif
