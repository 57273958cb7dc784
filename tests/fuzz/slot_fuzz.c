/* Manifests and chunks from anywhere: decode never reads outside, and what decodes is the one
 * encoding of itself. The first byte chooses: bit 0 manifest or chunk, bit 1 puts a right CRC in
 * its place, else nothing gets past it. */
#include "statestore/slot.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 4096 };

static void try_manifest(const uint8_t *p, size_t n)
{
    static struct slot_chunk chunk[CHUNKS];
    static struct manifest m;
    struct err e;
    uint8_t *out;

    m.chunk = chunk;
    m.chunks_max = CHUNKS;
    if (manifest_decode(&m, p, n, &e) != ST_OK)
        return;
    out = malloc(manifest_bytes_max(m.chunks));
    CHECK(out && manifest_encode(&m, out) == n && !memcmp(out, p, n));
    free(out);
}

static void try_chunk(const uint8_t *p, size_t n)
{
    uint8_t head[CHUNK_HEAD];
    struct chunk c;
    struct err e;

    if (chunk_decode(&c, p, n, &e) != ST_OK)
        return;
    chunk_encode(head, c.partition, c.j, c.seq, c.payload, c.bytes);
    CHECK(!memcmp(head, p, CHUNK_HEAD) && c.payload + c.bytes == p + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t kind, *p;
    size_t n;

    if (!size)
        return 0;
    kind = data[0];
    n = size - 1;
    p = malloc(n + !n);
    CHECK(p);
    memcpy(p, data + 1, n);
    if (kind & 2 && kind & 1 && n >= CHUNK_HEAD) {
        memcpy(p, "MRSC\1\0\0\0", 8);
        put_u32(p + 24, (uint32_t)(n - CHUNK_HEAD));
        put_u32(p + 28, crc32c(p + CHUNK_HEAD, n - CHUNK_HEAD));
    } else if (kind & 2 && n >= MANIFEST_HEAD + 4) {
        size_t list = 16 * (size_t)get_u32(p + 144);

        memcpy(p, "MRSM\1\0", 6);
        if (MANIFEST_HEAD + list + 4 <= n)
            put_u32(p + 148, (uint32_t)(n - MANIFEST_HEAD - list - 4));
        put_u32(p + n - 4, crc32c(p, n - 4));
    }
    if (kind & 1)
        try_chunk(p, n);
    else
        try_manifest(p, n);
    free(p);
    return 0;
}
