/* child.h: this program, run by itself: a command is shown as a user would type it, then run.
 * Thread: one. */
#ifndef MILLRACE_CHILD_H
#define MILLRACE_CHILD_H

#include "config/base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct child {
    const char *const *words; /* verb, flags, words; NULL at the end */
    char *text; /* [room]: receives its stdout, which is shown too; NULL: only shown */
    size_t room;
    bool (*kill_at)(
        const char *line); /* SIGKILL soon after a line of its stderr that says so, or NULL */
    bool killed;
};

/* The name this program was started by. */
const char *child_program(void);
/* *code: exit code; 128 + signal. ST_FATAL: it could not be run. */
MUST enum st child_run(struct child *c, int *code, struct err *e);

#endif
