/* log.h: one line per event, to stderr; stdout is for results.
 *
 * Lines are logfmt: ts=2026-01-01T00:00:00.000Z level=info msg="..." key=value ... On a terminal a
 * short form is used: "millrace: ..." with colour unless NO_COLOR is set. MILLRACE_LOG=text, logfmt
 * or json in the environment chooses instead. Fields beyond the message are given as one
 * printf-style string of key=value pairs. A line is one write(2): lines of several processes do not
 * mix. Thread: any. Allocation: none. Lines are cut at 2 KiB. */
#ifndef MILLRACE_LOG_H
#define MILLRACE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_form { LOG_AUTO, LOG_TEXT, LOG_LOGFMT, LOG_JSON };

/* At start. LOG_AUTO: what the environment says, else by the kind of stderr. */
void log_setup(enum log_level most, enum log_form form);

/* At start of one of several processes that share a stderr: every line gets the field worker=N. */
void log_worker(unsigned worker);

/* fields may be NULL: log_line(LOG_WARN, "retention gap", "partition=%d lost=%lld", p, lost). */
void log_line(enum log_level level, const char *msg, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));

#endif
