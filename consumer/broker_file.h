/* broker_file.h: the inside of the broker `files`: lines of a file by their number.
 *
 * Owner: the caller owns all memory; a reader is closed before its file. Thread: one. Errors:
 * ST_BAD_CONFIG: a person must act, with the file's name. */
#ifndef MILLRACE_BROKER_FILE_H
#define MILLRACE_BROKER_FILE_H

#include "consumer/broker.h"
#include "consumer/gz.h"

enum { MARKS = 256 };

struct lines_file { /* what is known of one file, whoever reads it */
    const char *path;
    int fd;         /* held open: a file that is removed or replaced is read to its end */
    uint64_t bytes; /* at the start: what comes later is of the next start */
    bool packed;    /* gzip, or no file but a pipe: only read in order */
    bool once;      /* a pipe; taken: somebody reads it */
    bool taken;
    bool header;   /* the first line names the columns */
    int64_t lines; /* -1: not counted yet */
    /* mark[i]: where line i << shift begins; next_mark: the line of the next one */
    uint64_t mark[MARKS];
    uint32_t marks, shift;
    int64_t next_mark;
};

struct lines { /* one reader */
    struct lines_file *f;
    struct gz gz;       /* packed */
    uint8_t *buf;       /* [at, n) of [room]: read, not yet taken */
    size_t at, n, room; /* room grows for a longer line, to RECORD_BYTES_MAX */
    uint64_t byte;      /* of the file, behind buf[n] */
    int64_t line;       /* number of the one at buf[at] */
    bool end;           /* nothing is left behind buf[n] */
};

enum { LINES_ROOM = 256 << 10 }; /* of a reader; it stays in a core's cache */

MUST enum st lines_file_open(struct lines_file *f, const char *path, struct err *e);
void lines_file_close(struct lines_file *f); /* safe on a failed open */
/* How many lines it has: read through once, at the speed of memory or disk. */
MUST enum st lines_count(struct lines_file *f, int64_t *n, struct err *e);

/* The reader, zeroed but for f, at a line; behind the last one: at the end. What it handed out is
 * void. */
MUST enum st lines_seek(struct lines *l, int64_t line, struct err *e);
/* Takes the next line that has anything in it, without its end, *line its number; false: more has
 * to be read first, or it is the end. Borrowed until lines_more. */
bool lines_next(struct lines *l, struct bytes *text, int64_t *line);
/* Reads on; what was handed out is void. */
MUST enum st lines_more(struct lines *l, struct err *e);
void lines_close(struct lines *l); /* safe on zeroed memory */

/* Of a job with files: a CSV job without input.columns takes them from the first line. Any other
 * format but lines: ST_BAD_CONFIG. */
MUST enum st files_columns(struct job *j, struct err *e);
/* Is the first line of f the header of this job's columns? */
MUST enum st files_header(const struct job *j, struct lines_file *f, struct err *e);

#endif
