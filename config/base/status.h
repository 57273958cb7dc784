/* status.h: what a call tells its caller to do next.
 *
 * Every function that can fail returns an `enum st`; the value names the caller's next action, and
 * the sentence for people goes once, where the failure arises, into the caller's `struct err`:
 * what, where, the value, the remedy. Callers branch on the status and pass the text on; they never
 * parse it.
 *
 * Outside data (bytes from a broker, a disk, a file, the command line) gives a status and is never
 * asserted. Inside data (arguments, invariants, results of our own) is always asserted: CHECK stays
 * on in release builds, once per call or per batch; DCHECK is for inner loops and debug builds.
 *
 * Thread: any. Allocation: none. */
#ifndef MILLRACE_STATUS_H
#define MILLRACE_STATUS_H

enum st {
    ST_OK,
    ST_AGAIN,      /* nothing lost: the same call later may succeed */
    ST_BAD_INPUT,  /* this record, file or argument: count it, report it, go on or exit 5 */
    ST_BAD_CONFIG, /* the job or the command line: a person has to change something; exit 3 */
    ST_CORRUPT,    /* saved bytes do not verify: refuse them, name them */
    ST_REVOKED,    /* we do not own this (any more): drop it, wait for the next assignment */
    ST_FATAL       /* this process cannot go on: exit; a restart settles it */
};

struct err {
    char text[512];
};

#define MUST __attribute__((warn_unused_result))

/* Writes the sentence into *e (NULL: nowhere) and returns st, so that `return fail(e, ST_..., ...)`
 * is the one way an error is made. The text is cut at 511 bytes, never overrun. */
MUST enum st fail(struct err *e, enum st st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text that is there already, for a caller that knows the place. */
void err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *st_name(enum st st);

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum st try_st_ = (call);                                                                  \
        if (try_st_ != ST_OK)                                                                      \
            return try_st_;                                                                        \
    } while (0)

void check_failed(const char *file, int line, const char *what) __attribute__((noreturn));

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
#ifdef NDEBUG
#define DCHECK(cond) ((void)sizeof(cond))
#else
#define DCHECK(cond) CHECK(cond)
#endif

#endif
