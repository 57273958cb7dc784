#include "consumer/png.h"

#include "consumer/gz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GREY = 0, BITS = 8, HEADER_BYTES = 13 };

static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* length, type, data, CRC of type and data */
static bool put_chunk(FILE *f, const char *type, const uint8_t *data, size_t n)
{
    uint8_t *c = malloc(n + 12);
    bool ok = c != NULL;

    if (!ok)
        return false;
    put_be32(c, (uint32_t)n);
    memcpy(c + 4, type, 4);
    if (n)
        memcpy(c + 8, data, n);
    put_be32(c + 8 + n, gz_crc32(0, c + 4, n + 4));
    ok = fwrite(c, 1, n + 12, f) == n + 12;
    free(c);
    return ok;
}

static enum st write_file(const char *path, uint32_t width, uint32_t height, const uint8_t *data,
                          size_t n, struct err *e)
{
    static const uint8_t signature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    uint8_t header[HEADER_BYTES] = {[8] = BITS, [9] = GREY};
    FILE *f = fopen(path, "wb");
    bool ok = f != NULL;

    put_be32(header, width);
    put_be32(header + 4, height);
    ok = ok && fwrite(signature, 1, sizeof signature, f) == sizeof signature;
    ok = ok && put_chunk(f, "IHDR", header, sizeof header) && put_chunk(f, "IDAT", data, n) &&
         put_chunk(f, "IEND", NULL, 0);
    if (f && fclose(f) != 0)
        ok = false;
    if (ok)
        return ST_OK;
    return fail(e, ST_BAD_CONFIG, "%s cannot be written: %s", path, strerror(errno));
}

enum st png_write(const char *path, const uint8_t *grey, uint32_t width, uint32_t height,
                  struct err *e)
{
    size_t line = (size_t)width + 1, n; /* each line starts with its filter: 0, none */
    uint8_t *raw = calloc(height, line), *packed = NULL;
    enum st st = raw ? ST_OK : fail(e, ST_FATAL, "no memory for a picture");

    CHECK(width && height);
    for (uint32_t y = 0; raw && y < height; y++)
        memcpy(raw + y * line + 1, grey + (size_t)y * width, width);
    if (st == ST_OK)
        st = gz_pack(raw, height * line, &packed, &n, e);
    if (st == ST_OK)
        st = write_file(path, width, height, packed, n, e);
    free(packed);
    free(raw);
    return st;
}
