#include "config/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum st fail(struct err *e, enum st st, const char *fmt, ...)
{
    va_list ap;

    if (e) {
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof e->text, fmt, ap);
        va_end(ap);
    }
    return st;
}

void err_prefix(struct err *e, const char *fmt, ...)
{
    char old[sizeof e->text];
    va_list ap;
    int n;

    if (!e)
        return;
    memcpy(old, e->text, sizeof old);
    va_start(ap, fmt);
    n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old);
}

const char *st_name(enum st st)
{
    static const char *const name[] = {"ok",      "again",   "bad input", "bad config",
                                       "corrupt", "revoked", "fatal"};

    return (unsigned)st < sizeof name / sizeof *name ? name[st] : "unknown";
}

void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "millrace: internal error at %s:%d: %s\n", file, line, what);
    abort();
}
