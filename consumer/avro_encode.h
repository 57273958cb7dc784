/* avro_encode.h: records in Avro's binary form, into a buffer that grows up to a bound.
 *
 * Reading is codec_avro's; the primitives are config/base/avro.h. Once `full` is set (the bound, or
 * no memory) nothing more is written, so a writer looks once, at the end of a message. Array and
 * map: encode_long(count), the items, encode_long(0); an empty one is the 0 alone.
 *
 * Owner: zeroed memory with `max` set; encode_fini. Thread: one. */
#ifndef MILLRACE_AVRO_ENCODE_H
#define MILLRACE_AVRO_ENCODE_H

#include "config/base/avro.h"
#include "config/base/bytes.h"

struct avro_out {
    uint8_t *p;
    size_t n, room, max;
    bool full;
};

/* Room for n more bytes, or NULL: full. */
uint8_t *encode_grow(struct avro_out *o, size_t n);
void encode_fini(struct avro_out *o);

static inline uint8_t *encode_room(struct avro_out *o, size_t n)
{
    return n <= o->room - o->n && !o->full ? o->p + o->n : encode_grow(o, n);
}

static inline void encode_long(struct avro_out *o, int64_t v) /* and int */
{
    uint8_t *p = encode_room(o, AVRO_LONG_MAX);

    if (p)
        o->n = (size_t)(avro_put_long(p, v) - o->p);
}

static inline void encode_float(struct avro_out *o, float v)
{
    uint8_t *p = encode_room(o, 4);
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    if (!p)
        return;
    put_u32(p, bits);
    o->n += 4;
}

static inline void encode_double(struct avro_out *o, double v)
{
    uint8_t *p = encode_room(o, 8);
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    if (!p)
        return;
    put_u64(p, bits);
    o->n += 8;
}

static inline void encode_bool(struct avro_out *o, bool v)
{
    uint8_t *p = encode_room(o, 1);

    if (!p)
        return;
    *p = v;
    o->n++;
}

/* Bytes as they are. */
static inline void encode_raw(struct avro_out *o, const void *bytes, size_t n)
{
    uint8_t *p = encode_room(o, n);

    if (!p)
        return;
    if (n)
        memcpy(p, bytes, n);
    o->n += n;
}

static inline void encode_text(struct avro_out *o, const char *s)
{
    encode_long(o, (int64_t)strlen(s));
    encode_raw(o, s, strlen(s));
}

static inline void encode_string(struct avro_out *o, const void *text, size_t n)
{
    encode_long(o, (int64_t)n);
    encode_raw(o, text, n);
}

#endif
