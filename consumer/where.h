/* where.h: a place in a topic, as a user names it: where a job begins, and where it ends.
 *
 *   earliest, latest   the first record that there is; behind the last one
 *   stored             what the group has committed (earliest, where it has not)
 *   1234               an offset, the same in every partition
 *   @TIME              the first record not older: 2026-01-01T00:00:00Z, 2026-01-01T12:00+02:00, or
 *                      milliseconds since 1970
 *   -PT1H              the same, so long before now; -P1D, -P1DT2H30M
 *
 * An offset that does not exist (any more, or yet) means the nearest one that does. Thread: start.
 */
#ifndef MILLRACE_WHERE_H
#define MILLRACE_WHERE_H

#include "consumer/broker.h"

enum where_kind { /* numbers are in slots: append only */
                  WHERE_NONE,
                  WHERE_EARLIEST,
                  WHERE_LATEST,
                  WHERE_STORED,
                  WHERE_OFFSET,
                  WHERE_TIME,
                  WHERE_AGO
};
enum { WHERE_TEXT = 48 };

struct where {
    uint32_t kind;
    int64_t value; /* an offset; ms since 1970; ms before now */
};

/* ST_BAD_CONFIG: what is wrong with it, without the flag's name. */
MUST enum st where_parse(const char *text, struct where *out, struct err *e);
/* As a user would write it. */
const char *where_text(struct where w, char text[WHERE_TEXT]);

/* The milliseconds since 1970 of a WHERE_TIME or WHERE_AGO. */
int64_t where_time(struct where w);

/* The offset in one partition. *exact, if it is asked for: that is the very one that was named. */
MUST enum st where_offset(struct where w, const struct broker *br, void *b, const char *group,
                          const char *topic, int32_t partition, int64_t *offset, bool *exact,
                          struct err *e);

#endif
