/* number.h: decimal text to numbers, the same in every locale.
 *
 * [+-] digits [. digits] [e [+-] digits], or inf, infinity, nan in any case: nothing before or
 * after, no hexadecimal. The result is the nearest number, ties to even, as strtod's; text of more
 * than NUMBER_TEXT_MAX bytes is none.
 * Eight digits are read at a time; a library call is made only for what is hard to round: a float
 * whose text lies within 2^-50 of the middle between two, or is not normal; a double of more than
 * 19 digits, or of a large exponent.
 *
 * Thread: any. Allocation: none. */
#ifndef MILLRACE_NUMBER_H
#define MILLRACE_NUMBER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { NUMBER_TEXT_MAX = 255 };

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first digit is the lowest byte");

/* The whole of p[n] is a number: *out, which may be infinite or NaN, and true. */
bool number_f64(const uint8_t *p, size_t n, double *out);
bool number_f32(const uint8_t *p, size_t n, float *out);

/* Digits only, at most max. */
bool number_u32(const uint8_t *p, size_t n, uint32_t max, uint32_t *out);

/* ---- eight bytes at once, the first one lowest; digits are 0 .. 9 in their bytes ---- */

#define NUMBER_BYTES(c) (0x0101010101010101u * (c))

static inline uint64_t number_bytes(const uint8_t *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof w);
    return w ^ NUMBER_BYTES('0');
}

/* 0x80 in bytes that are no digits, the first of them surely among them; 0: all are digits. */
static inline uint64_t number_no_digits(uint64_t w)
{
    return ((w + NUMBER_BYTES(0x76)) | w) & NUMBER_BYTES(0x80);
}

/* Neighbours are added up: to two digits, to four, to eight. */
static inline uint32_t number_digits(uint64_t w)
{
    w = w * 10 + (w >> 8);
    w = (w & 0x000000ff000000ff) * 100 + (w >> 16 & 0x000000ff000000ff);
    return (uint32_t)w * 10000 + (uint32_t)(w >> 32);
}

/* One to eight digits that end before `end`; what is before them is read, too. */
static inline bool number_short(const uint8_t *end, size_t n, uint32_t *out)
{
    const size_t other = 8 * (8 - n);
    const uint64_t w = number_bytes(end - 8) >> other << other;

    *out = number_digits(w);
    return !number_no_digits(w);
}

/* ---- many numbers of a text at once, each as number_f32 would have it ---- */

enum { NUMBER_MANY = 32 };

struct number_many {      /* zeroed, and `begin` set */
    const uint8_t *begin; /* of the text: what is before a number is read with it */
    uint32_t n;
    bool odd;
    const uint8_t *p[NUMBER_MANY]; /* number i is p[bytes], with its sign */
    uint32_t bytes[NUMBER_MANY], sign[NUMBER_MANY];
    uint64_t low[NUMBER_MANY], high[NUMBER_MANY]; /* its last 16 bytes, with what is before it; or
                                                     its first, with zeros before them */
    double cut[NUMBER_MANY];                      /* odd: 1: digits behind those were left out */
    double unit[NUMBER_MANY]; /* they are to be divided by this: 1, but for some that are odd */
};

void number_many_init(struct number_many *m);

/* Number i is p[n]. */
void number_put_odd(struct number_many *m, uint32_t i);
static inline void number_put(struct number_many *m, uint32_t i, const uint8_t *p, size_t n)
{
    const size_t negative = n && *p == '-';

    m->p[i] = p;
    m->bytes[i] = (uint32_t)n;
    m->sign[i] = (uint32_t)negative << 31;
    if (n - negative <= 16 && p + n - m->begin >= 16) {
        memcpy(&m->low[i], p + n - 16, 8);
        memcpy(&m->high[i], p + n - 8, 8);
    } else {
        number_put_odd(m, i);
    }
}

/* Numbers 0 .. n-1 to out[n]. The result: how many there are before the first that is no finite
 * number. */
uint32_t number_many(struct number_many *m, uint32_t n, float *out);

#endif
