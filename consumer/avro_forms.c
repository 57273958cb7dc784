/* Runs of numbers of one form, read in loops that know it. None of them says what is wrong: they
 * stop before it, and the plan's operations find it again. */
#include "consumer/avro_run.h"

enum { LONG_ROOM = 8 /* bytes that are looked at together; a longer number is left to others */ };

/* A number of up to LONG_ROOM bytes at p, all of which may be read; *n: its length, 0: it is
 * longer. Seven bits of each byte are moved together by pairs, fours, eights. */
static inline int64_t varint(const uint8_t *p, uint32_t *n)
{
    uint64_t w, stop;

    memcpy(&w, p, sizeof w);
    stop = ~w & 0x8080808080808080;
    *n = stop ? ((uint32_t)__builtin_ctzll(stop) + 1) / 8 : 0;
    w &= (stop ^ (stop - 1)) & 0x7f7f7f7f7f7f7f7f; /* up to the first byte without its high bit */
    w = (w & 0x007f007f007f007f) | (w & 0x7f007f007f007f00) >> 1;
    w = (w & 0x00003fff00003fff) | (w & 0x3fff00003fff0000) >> 2;
    w = (w & 0x000000000fffffff) | (w & 0x0fffffff00000000) >> 4;
    return (int64_t)(w >> 1 ^ (0 - (w & 1)));
}

static uint32_t varints(struct run *r, enum avro_kind kind, float *x, uint32_t n)
{
    const uint8_t *p = r->p, *const end = r->end;
    uint32_t i, bytes;

    for (i = 0; i < n && end - p >= LONG_ROOM; i++, p += bytes) {
        const int64_t v = varint(p, &bytes);

        if (!bytes || (kind == AVRO_K_INT && v != (int32_t)v))
            break;
        x[i] = (float)(double)v;
    }
    r->p = p;
    return i;
}

/* In a union: `branch` is the byte in front of a value, `null` the one that stands for none. */
static uint32_t optional_floats(struct run *r, uint8_t branch, uint8_t null, float *x, uint32_t n)
{
    const bool missing = r->plan->missing;
    const uint8_t *p = r->p, *const end = r->end;
    uint32_t i;

    for (i = 0; i < n && end - p > (ptrdiff_t)sizeof *x; i++) {
        if (*p == branch) {
            memcpy(&x[i], p + 1, sizeof *x);
            if (!(fabsf(x[i]) < INFINITY))
                break;
            p += 1 + sizeof *x;
        } else if (missing && *p == null) {
            x[i] = NAN;
            p++;
        } else {
            break;
        }
    }
    r->p = p;
    return i;
}

static uint32_t optional_others(struct run *r, enum avro_kind kind, uint8_t branch, uint8_t null,
                                float *x, uint32_t n)
{
    const bool missing = r->plan->missing;
    const uint8_t *p = r->p, *const end = r->end;
    uint32_t i, bytes;

    for (i = 0; i < n && end - p > LONG_ROOM; i++) {
        if (missing && *p == null) {
            x[i] = NAN;
            p++;
            continue;
        }
        if (*p != branch)
            break;
        bytes = 8;
        if (kind == AVRO_K_DOUBLE) {
            double v;

            memcpy(&v, p + 1, sizeof v);
            x[i] = (float)v;
        } else {
            const int64_t v = varint(p + 1, &bytes);

            x[i] = (float)(double)v;
            if (!bytes || (kind == AVRO_K_INT && v != (int32_t)v))
                break;
        }
        if (!(fabsf(x[i]) < INFINITY))
            break;
        p += 1 + bytes;
    }
    r->p = p;
    return i;
}

/* All of them or none. */
static uint32_t plain(struct run *r, enum avro_kind kind, float *x, uint32_t n)
{
    const size_t bytes = kind == AVRO_K_FLOAT ? sizeof(float) : sizeof(double);
    bool finite;

    if (left(r) / bytes < n)
        return 0;
    finite = kind == AVRO_K_FLOAT ? copy_floats(x, r->p, n) : copy_doubles(x, r->p, n);
    if (!finite && avro_not_finite(r, x, n))
        return 0;
    r->p += n * bytes;
    return n;
}

uint32_t avro_read_forms(struct run *r, uint8_t form, float *x, uint32_t n)
{
    const enum avro_kind kind = (enum avro_kind)(form & FORM_KIND);
    const bool second = form & FORM_SECOND, integer = kind == AVRO_K_INT || kind == AVRO_K_LONG;
    const uint8_t branch = second ? 2 : 0, null = second ? 0 : 2; /* zigzag */

    if (form == FORM_NONE)
        return 0;
    if (!(form & (FORM_FIRST | FORM_SECOND)))
        return integer ? varints(r, kind, x, n) : plain(r, kind, x, n);
    if (kind == AVRO_K_FLOAT)
        return optional_floats(r, branch, null, x, n);
    return optional_others(r, kind, branch, null, x, n);
}
