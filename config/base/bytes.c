#include "config/base/bytes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdbool.h>

static uint32_t table[256];

__attribute__((constructor)) static void table_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        table[i] = c;
    }
}

static uint32_t crc32c_table(uint32_t c, const uint8_t *p, size_t n)
{
    while (n--)
        c = table[(c ^ *p++) & 255] ^ c >> 8;
    return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t c, const uint8_t *p,
                                                               size_t n)
{
    uint64_t c64 = c;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;

        memcpy(&v, p, 8);
        c64 = __builtin_ia32_crc32di(c64, v);
    }
    for (c = (uint32_t)c64; n; n--)
        c = __builtin_ia32_crc32qi(c, *p++);
    return c;
}
#endif

uint32_t crc32c(const void *p, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse42(~0u, p, n);
#endif
    return ~crc32c_table(~0u, p, n);
}

uint64_t hash64(const void *p, size_t n, uint64_t seed)
{
    return XXH64(p, n, seed);
}
