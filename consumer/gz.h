/* gz.h: what zlib does here: files and stdin read whether packed with gzip or not, line by line or
 * as bytes, and the two calls that a PNG needs.
 *
 * Owner: zeroed memory of the caller; gz_close is safe after a failed open. Thread: one. Errors:
 * ST_BAD_CONFIG: no such file; ST_BAD_INPUT: damaged, cut short, or a line longer than
 * RECORD_BYTES_MAX. */
#ifndef MILLRACE_GZ_H
#define MILLRACE_GZ_H

#include "config/base/limits.h"
#include "config/base/status.h"
#include "statestore/store.h"

#include <stdbool.h>

struct gz {
    void *file;
    char path[4096];
    uint8_t *buf; /* [n of room]; `at`: read so far; `from`: start of the last line */
    size_t n, at, from, room;
    bool end;
};

/* path "-": stdin */
MUST enum st gz_open(struct gz *g, const char *path, struct err *e);
void gz_close(struct gz *g);

/* The next line without its end, borrowed until the next call; p NULL: no more. `extend`: the line
 * before and the next one, with the line end between them. */
MUST enum st gz_line(struct gz *g, bool extend, struct bytes *line, struct err *e);

/* The next n bytes, borrowed until the next call; fewer only at the end. */
MUST enum st gz_bytes(struct gz *g, size_t n, struct bytes *out, struct err *e);

/* A zlib stream of p[n] into heap memory *out; and the CRC-32 of PNG, gzip and zip, which is not
 * the CRC-32C of our own formats. */
MUST enum st gz_pack(const void *p, size_t n, uint8_t **out, size_t *out_n, struct err *e);
uint32_t gz_crc32(uint32_t before, const void *p, size_t n); /* before: of the bytes so far, or 0 */

#endif
