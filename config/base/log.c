#include "config/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static enum log_level most_verbose = LOG_INFO;
static enum log_form line_form = LOG_AUTO;
static char who[24]; /* "worker=N", or nothing */

void log_setup(enum log_level most, enum log_form form)
{
    static const char *const name[] = {
        [LOG_TEXT] = "text", [LOG_LOGFMT] = "logfmt", [LOG_JSON] = "json"};
    const char *wanted = form == LOG_AUTO ? getenv("MILLRACE_LOG") : NULL;

    most_verbose = most;
    line_form = form;
    for (uint32_t i = LOG_TEXT; wanted && i <= LOG_JSON; i++)
        if (!strcmp(wanted, name[i]))
            line_form = (enum log_form)i;
}

void log_worker(unsigned worker)
{
    snprintf(who, sizeof who, "worker=%u", worker);
}

static size_t add(char *line, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static size_t add(char *line, size_t n, const char *fmt, ...)
{
    va_list ap;
    int m;

    va_start(ap, fmt);
    m = vsnprintf(line + n, LINE_MAX_BYTES - n, fmt, ap);
    va_end(ap);
    n += m > 0 ? (size_t)m : 0;
    return n < LINE_MAX_BYTES - 1 ? n : LINE_MAX_BYTES - 2;
}

static size_t add_time(char *line, size_t n)
{
    struct timespec t;
    struct tm tm;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    return add(line, n, "%s.%03ldZ", text, t.tv_nsec / 1000000);
}

/* Quotes inside a JSON string; the rest of a log line is printable by construction or replaced. */
static void json_safe(char *to, size_t n, const char *from)
{
    size_t at = 0;

    for (; *from && at + 3 < n; from++) {
        if (*from == '"' || *from == '\\')
            to[at++] = '\\';
        to[at++] = (unsigned char)*from < ' ' ? ' ' : *from;
    }
    to[at] = 0;
}

void log_line(enum log_level level, const char *msg, const char *fields, ...)
{
    static const char *const name[] = {"error", "warn", "info", "debug"}, *const colour[] = {
                                                                              "\033[31m",
                                                                              "\033[33m", "",
                                                                              "\033[2m"};
    char line[LINE_MAX_BYTES], rest[LINE_MAX_BYTES / 2], safe[LINE_MAX_BYTES];
    bool tty = isatty(STDERR_FILENO),
         text = line_form == LOG_TEXT || (line_form == LOG_AUTO && tty),
         paint = text && tty && !getenv("NO_COLOR");
    size_t n;
    va_list ap;

    if (level > most_verbose)
        return;
    n = (size_t)snprintf(rest, sizeof rest, "%s%s", who, *who && fields ? " " : "");
    if (fields) {
        va_start(ap, fields);
        vsnprintf(rest + n, sizeof rest - n, fields, ap);
        va_end(ap);
    }
    n = 0;
    if (text) {
        n = add(line, n, "%smillrace: %s%s%s%s%s", paint ? colour[level] : "",
                level <= LOG_WARN ? name[level] : "", level <= LOG_WARN ? ": " : "", msg,
                *rest ? "  " : "", rest);
        n = add(line, n, "%s", paint ? "\033[0m" : "");
    } else if (line_form == LOG_JSON) {
        json_safe(safe, sizeof safe, rest);
        n = add(line, n, "{\"ts\":\"");
        n = add_time(line, n);
        n = add(line, n, "\",\"level\":\"%s\",\"msg\":\"%s\",\"fields\":\"%s\"}", name[level], msg,
                safe);
    } else {
        n = add(line, n, "ts=");
        n = add_time(line, n);
        n = add(line, n, " level=%s msg=\"%s\"%s%s", name[level], msg, *rest ? " " : "", rest);
    }
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nowhere to say it */
}
