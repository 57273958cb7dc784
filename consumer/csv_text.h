/* csv_text.h: a line of CSV (RFC 4180) as fields. A field in quotes may hold delimiters, line ends
 * and "" for one quote. Thread: any. */
#ifndef MILLRACE_CSV_TEXT_H
#define MILLRACE_CSV_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct csv_text { /* one field as it stands in the line, without its quotes */
    const uint8_t *p;
    size_t n;
    bool quoted, escaped; /* escaped: with "" in it */
};

/* The field at *at, and *at behind it; *last: the line ends with it. False: quotes are wrong. */
static inline bool csv_next(const uint8_t **at, const uint8_t *end, uint8_t delimiter,
                            struct csv_text *t, bool *last)
{
    const uint8_t *p = *at;

    *t = (struct csv_text){.quoted = p < end && *p == '"'};
    if (t->quoted) {
        for (t->p = ++p;; p++) {
            if (p == end)
                return false;
            if (*p != '"')
                continue;
            if (p + 1 == end || p[1] != '"')
                break;
            t->escaped = true;
            p++;
        }
        t->n = (size_t)(p++ - t->p);
    } else {
        for (t->p = p; p < end && *p != delimiter && *p != '\n'; p++)
            ;
        t->n = (size_t)(p - t->p);
        if (t->n && t->p[t->n - 1] == '\r' && (p == end || *p == '\n'))
            t->n--;
    }
    if (t->quoted && p + 1 < end && p[0] == '\r' && p[1] == '\n')
        p++;
    *last = p == end || *p == '\n';
    if (!*last && *p != delimiter)
        return false; /* text behind the closing quote */
    *at = p < end ? p + 1 : p;
    return true;
}

/* Past empty lines; false: nothing is left. */
static inline bool csv_skip_blank(const uint8_t **at, const uint8_t *end)
{
    while (*at < end && (**at == '\n' || **at == '\r'))
        ++*at;
    return *at < end;
}

/* Without blanks round it, unless it is quoted. */
static inline struct csv_text csv_trim(struct csv_text t)
{
    if (t.quoted)
        return t;
    for (; t.n && (*t.p == ' ' || *t.p == '\t'); t.n--)
        t.p++;
    for (; t.n && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t');)
        t.n--;
    return t;
}

#endif
