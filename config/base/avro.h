/* avro.h: Avro's binary primitives, for the small records of our own formats: a long is zigzag,
 * then seven bits a byte, low ones first; a string is its length and its bytes; an array or map is
 * one block: count, items, 0.
 *
 * Writing goes to memory the caller has sized. Reading is bounds-checked: what does not fit sets
 * `bad`, and every read gives 0 from there on, so a reader checks once, at the end. Thread: any.
 * Source: Avro 1.11 specification. */
#ifndef MILLRACE_AVRO_H
#define MILLRACE_AVRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { AVRO_LONG_MAX = 10 }; /* bytes of the longest long */

static inline uint8_t *avro_put_long(uint8_t *p, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);

    for (; z >= 0x80; z >>= 7)
        *p++ = (uint8_t)(z | 0x80);
    *p++ = (uint8_t)z;
    return p;
}

struct avro_in {
    const uint8_t *p, *end;
    bool bad;
};

static inline int64_t avro_long(struct avro_in *in)
{
    uint64_t z = 0;

    for (uint32_t shift = 0; in->p < in->end && shift < 64; shift += 7) {
        uint8_t b = *in->p++;

        if (shift == 63 && b > 1)
            break;
        z |= (uint64_t)(b & 0x7f) << shift;
        if (b & 0x80)
            continue;
        if (!b && shift) /* longer than need be */
            break;
        return (int64_t)(z >> 1 ^ (~(z & 1) + 1));
    }
    in->bad = true;
    in->p = in->end;
    return 0;
}

/* n bytes that are there, or NULL */
static inline const uint8_t *avro_bytes(struct avro_in *in, uint64_t n)
{
    const uint8_t *p = in->p;

    if (in->bad || n > (uint64_t)(in->end - in->p)) {
        in->bad = true;
        in->p = in->end;
        return NULL;
    }
    in->p += n;
    return p;
}

/* A count or length of at most max, else bad. */
static inline uint64_t avro_count(struct avro_in *in, uint64_t max)
{
    int64_t v = avro_long(in);

    if (v < 0 || (uint64_t)v > max) {
        in->bad = true;
        in->p = in->end;
        return 0;
    }
    return (uint64_t)v;
}

/* A string into text[room], ended by 0; longer ones are bad. */
static inline void avro_string(struct avro_in *in, char *text, size_t room)
{
    uint64_t n = avro_count(in, room - 1);
    const uint8_t *p = avro_bytes(in, n);

    if (p && n)
        memcpy(text, p, n);
    text[p ? n : 0] = 0;
}

#endif
