#include "consumer/gz.h"

#include <zlib.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18 };

enum st gz_open(struct gz *g, const char *path, struct err *e)
{
    bool in = !strcmp(path, "-");

    CHECK(!g->file && !g->buf);
    snprintf(g->path, sizeof g->path, "%s", in ? "stdin" : path);
    errno = 0;
    g->file = in ? gzdopen(dup(STDIN_FILENO), "rb") : gzopen(path, "rb");
    if (!g->file)
        return fail(e, ST_BAD_CONFIG, "%s cannot be read: %s", g->path,
                    errno ? strerror(errno) : "no memory");
    g->room = READ_BYTES;
    g->buf = malloc(g->room);
    if (!g->buf)
        return fail(e, ST_FATAL, "no memory to read %s", g->path);
    gzbuffer(g->file, READ_BYTES);
    return ST_OK;
}

void gz_close(struct gz *g)
{
    if (g->file)
        gzclose(g->file);
    free(g->buf);
    memset(g, 0, sizeof *g);
}

/* Keeps what lies behind `keep` and reads on behind it. */
static enum st fill(struct gz *g, size_t keep, struct err *e)
{
    int got, code;

    CHECK(keep <= g->at && g->at <= g->n && g->n <= g->room && !g->end);
    if (keep)
        memmove(g->buf, g->buf + keep, g->n - keep);
    g->n -= keep;
    g->at -= keep;
    g->from = 0;
    if (g->n == g->room) {
        uint8_t *p = g->room < RECORD_BYTES_MAX ? realloc(g->buf, g->room * 2) : NULL;

        if (!p)
            return fail(e, ST_BAD_INPUT, "%s: a line of more than %zu bytes: is it text?", g->path,
                        g->room);
        g->buf = p;
        g->room *= 2;
    }
    got = gzread(g->file, g->buf + g->n, (unsigned)(g->room - g->n));
    if (got < 0)
        return fail(e, ST_BAD_INPUT, "%s: %s", g->path, gzerror(g->file, &code));
    g->n += (size_t)got;
    g->end = got == 0;
    gzerror(g->file, &code);
    if (g->end && code == Z_BUF_ERROR)
        return fail(e, ST_BAD_INPUT, "%s: the gzip file ends too early; fetch it again", g->path);
    return ST_OK;
}

enum st gz_line(struct gz *g, bool extend, struct bytes *line, struct err *e)
{
    const uint8_t *nl = NULL;
    size_t seen = g->at;

    g->from = extend ? g->from : g->at;
    for (;;) {
        size_t behind = seen - g->from;

        nl = memchr(g->buf + seen, '\n', g->n - seen);
        if (nl || g->end)
            break;
        behind += g->n - seen;
        TRY(fill(g, g->from, e));
        seen = behind;
    }
    *line = (struct bytes){g->buf + g->from, (nl ? (size_t)(nl - g->buf) : g->n) - g->from};
    if (!nl && g->at == g->n)
        line->p = NULL;
    g->at = nl ? (size_t)(nl - g->buf) + 1 : g->n;
    if (line->n && line->p && line->p[line->n - 1] == '\r')
        line->n--;
    return ST_OK;
}

enum st gz_bytes(struct gz *g, size_t n, struct bytes *out, struct err *e)
{
    CHECK(n <= RECORD_BYTES_MAX);
    while (g->n - g->at < n && !g->end)
        TRY(fill(g, g->at, e));
    if (n > g->n - g->at)
        n = g->n - g->at;
    *out = (struct bytes){g->buf + g->at, n};
    g->at += n;
    return ST_OK;
}

enum st gz_pack(const void *p, size_t n, uint8_t **out, size_t *out_n, struct err *e)
{
    uLongf room = compressBound((uLong)n);

    *out = malloc(room);
    if (!*out || compress2(*out, &room, p, (uLong)n, Z_BEST_COMPRESSION) != Z_OK)
        return fail(e, ST_FATAL, "no memory to pack %zu bytes", n);
    *out_n = room;
    return ST_OK;
}

uint32_t gz_crc32(uint32_t before, const void *p, size_t n)
{
    return (uint32_t)crc32_z(before, p, n);
}
