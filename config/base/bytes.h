/* bytes.h: little-endian fields at byte offsets, and the two checksums of our formats.
 *
 * Saved bytes are written and read by these calls alone, never by copying a struct. The caller has
 * checked that the field lies inside its buffer. Thread: any. */
#ifndef MILLRACE_BYTES_H
#define MILLRACE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void put_u16(uint8_t *p, uint16_t v)
{
    for (int i = 0; i < 2; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline void put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get_u64(const uint8_t *p)
{
    return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

/* CRC-32C (Castagnoli), as in RFC 3720; crc32c("123456789") == 0xe3069283. Hardware where
 * present. */
uint32_t crc32c(const void *p, size_t n);

/* XXH64. Used for fingerprints and for choosing held-out rows, so its values are part of the
 * format. */
uint64_t hash64(const void *p, size_t n, uint64_t seed);

/* One round of SplitMix64: a bijection of 64-bit words whose output bits are well mixed. */
static inline uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
