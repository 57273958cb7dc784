#include "consumer/number.h"

#include "config/base/clones.h"
#include "config/base/status.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

struct decimal { /* digits * 10^exp10 */
    uint64_t digits;
    int32_t exp10;
    bool negative, exact; /* exact: no digit was dropped */
};

/* Exact up to 10^22, which is below 2^53 * 2^22; behind, the nearest. */
static const double pow10_near[] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14,
    1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29,
    1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38, 1e39, 1e40, 1e41, 1e42, 1e43, 1e44,
    1e45, 1e46, 1e47, 1e48, 1e49, 1e50, 1e51, 1e52, 1e53, 1e54, 1e55, 1e56, 1e57};

enum { POW10_EXACT = 22, POW10_NEAR = sizeof pow10_near / sizeof *pow10_near - 1 };

static locale_t c_locale;

__attribute__((constructor)) static void c_locale_init(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    CHECK(c_locale);
}

/* strtod and strtof need a terminator that the message does not have. */
static const char *terminated(const uint8_t *p, size_t n, char text[NUMBER_TEXT_MAX + 1])
{
    DCHECK(n <= NUMBER_TEXT_MAX);
    memcpy(text, p, n);
    text[n] = 0;
    return text;
}

static bool word(const uint8_t *p, size_t n, const char *w)
{
    return n == strlen(w) && strncasecmp((const char *)p, w, n) == 0;
}

static bool not_finite(const uint8_t *p, size_t n, double *out)
{
    bool negative = n && *p == '-';

    if (n && (*p == '-' || *p == '+')) {
        p++;
        n--;
    }
    if (word(p, n, "nan"))
        *out = NAN;
    else if (word(p, n, "inf") || word(p, n, "infinity"))
        *out = negative ? -INFINITY : INFINITY;
    else
        return false;
    return true;
}

/* ---- eight bytes at once ---- */

enum { POINT = '.' ^ '0' };

/* 0x80 in the byte that is the first point; 0: there is none. */
static inline uint64_t point_in(uint64_t w)
{
    w ^= NUMBER_BYTES(POINT);
    w = ~(((w & NUMBER_BYTES(0x7f)) + NUMBER_BYTES(0x7f)) | w) & NUMBER_BYTES(0x80);
    return w & (0 - w);
}

static inline bool is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') <= 9;
}

/* Adds the digits at p to d; those beyond the 19th count as places only. */
static const uint8_t *add_digits(struct decimal *d, const uint8_t *p, const uint8_t *end,
                                 bool fraction)
{
    while (end - p >= 8 && d->digits < 100000000000u && !number_no_digits(number_bytes(p))) {
        d->digits = d->digits * 100000000 + number_digits(number_bytes(p));
        d->exp10 -= fraction ? 8 : 0;
        p += 8;
    }
    for (; p < end && is_digit(*p); p++) {
        if (d->digits < 1000000000000000000u) {
            d->digits = d->digits * 10 + (uint64_t)(*p - '0');
            d->exp10 -= fraction;
        } else {
            d->exact = false;
            d->exp10 += !fraction;
        }
    }
    return p;
}

static bool exponent(struct decimal *d, const uint8_t *p, const uint8_t *end)
{
    bool negative = p < end && *p == '-';
    int32_t v = 0;

    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return false;
    for (; p < end && is_digit(*p); p++)
        if (v < 100000)
            v = v * 10 + (*p - '0');
    d->exp10 += negative ? -v : v;
    return p == end;
}

static bool scan(const uint8_t *p, size_t n, struct decimal *d)
{
    const uint8_t *end = p + n, *start;
    size_t digits;

    DCHECK(n <= NUMBER_TEXT_MAX); /* so that exp10 cannot overflow */
    *d = (struct decimal){.exact = true};
    if (p < end && (*p == '-' || *p == '+'))
        d->negative = *p++ == '-';
    start = p;
    p = add_digits(d, p, end, false);
    digits = (size_t)(p - start);
    if (p < end && *p == '.') {
        start = ++p;
        p = add_digits(d, p, end, true);
        digits += (size_t)(p - start);
    }
    if (!digits)
        return false;
    return p == end || ((*p == 'e' || *p == 'E') && exponent(d, p + 1, end));
}

/* ---- double ---- */

/* Both factors are exact in a double, so the one operation rounds once. */
static bool simple(const struct decimal *d, double *out)
{
    double v = (double)d->digits;

    if (d->digits >> 53 || d->exp10 < -POW10_EXACT || d->exp10 > POW10_EXACT)
        return false;
    *out = d->exp10 < 0 ? v / pow10_near[-d->exp10] : v * pow10_near[d->exp10];
    return true;
}

/* digits / (5^k 2^k) as a whole quotient of 62 bits or more; what is left over only counts as not
 * nothing, far below the place where the conversion to 53 bits rounds. */
static bool divided(const struct decimal *d, double *out)
{
    __extension__ unsigned __int128 whole = d->digits;
    uint64_t by = 1, quotient;
    int up, by_up, k = -d->exp10;

    if (!d->digits || k < 1 || k > 27)
        return false;
    for (int i = 0; i < k; i++)
        by *= 5;
    up = __builtin_clzll(d->digits);
    by_up = __builtin_clzll(by);
    by <<= by_up;
    whole <<= up + 63;
    quotient = (uint64_t)(whole / by) | (whole % by != 0);
    *out = ldexp((double)quotient, by_up - up - k - 63);
    return true;
}

bool number_f64(const uint8_t *p, size_t n, double *out)
{
    char text[NUMBER_TEXT_MAX + 1];
    struct decimal d;

    DCHECK(p || !n);
    if (n > NUMBER_TEXT_MAX)
        return false;
    if (!scan(p, n, &d))
        return not_finite(p, n, out);
    if (d.exact && (simple(&d, out) || divided(&d, out)))
        *out = d.negative ? -*out : *out;
    else
        *out = strtod_l(terminated(p, n, text), NULL, c_locale);
    return true;
}

/* ---- float ---- */

/* A double beside the number: digits, power and quotient are each within half a unit of their last
 * place, and dropped digits are less; so it is within 4 of its own. A float made of it is the
 * nearest to the number, unless that lies as near to the middle between two. */
static bool near(const struct decimal *d, float *out)
{
    uint64_t bits;
    double v = (double)d->digits;

    if (d->exact && !d->exp10) {
        *out = (float)d->digits;
        return true;
    }
    if (d->exp10 < -POW10_NEAR || d->exp10 > POW10_NEAR)
        return false;
    v = d->exp10 < 0 ? v / pow10_near[-d->exp10] : v * pow10_near[d->exp10];
    memcpy(&bits, &v, sizeof bits);
    if ((bits & 0x1fffffff) - (0x10000000 - 4) <= 8 || (v < 2 * (double)FLT_MIN && v != 0))
        return false;
    *out = (float)v;
    return true;
}

bool number_f32(const uint8_t *p, size_t n, float *out)
{
    char text[NUMBER_TEXT_MAX + 1];
    struct decimal d;
    double v;

    if (n > NUMBER_TEXT_MAX)
        return false;
    if (!scan(p, n, &d)) {
        if (!not_finite(p, n, &v))
            return false;
        *out = (float)v;
    } else if (near(&d, out)) {
        *out = d.negative ? -*out : *out;
    } else {
        *out = strtof_l(terminated(p, n, text), NULL, c_locale);
    }
    return true;
}

/* ---- many floats ---- */

enum { LANES = 16 };

static_assert(NUMBER_MANY % LANES == 0, "lanes that are not used are worked out, too");

/* "e-05": of two digits, as most writers have them; the mantissa's size, and what it is to be
 * divided by. */
static size_t take_exponent(const uint8_t *p, size_t size, double *unit)
{
    const uint8_t *e = p + (size < 5 ? 0 : size - 4);
    uint32_t v;

    if (size < 5 || (*e | 0x20) != 'e' || (e[1] != '-' && e[1] != '+') || !is_digit(e[2]) ||
        !is_digit(e[3]))
        return size;
    v = (uint32_t)(e[2] - '0') * 10 + (uint32_t)(e[3] - '0');
    if (v > POW10_EXACT)
        return size;
    *unit = e[1] == '-' ? pow10_near[v] : 1 / pow10_near[v];
    return size - 4;
}

/* More than 16 bytes, or too near to the beginning. What has no place here gets bytes that are no
 * digits: it is read alone. */
void number_put_odd(struct number_many *m, uint32_t i)
{
    const bool negative = m->sign[i] != 0;
    const uint8_t *p = m->p[i] + negative;
    size_t size = take_exponent(p, m->bytes[i] - negative, &m->unit[i]);
    uint8_t text[16];

    m->odd = true;
    m->cut[i] = size > 16;
    memset(text, '0', sizeof text);
    if (size > 24 ||
        (size > 16 && number_no_digits(number_bytes(p + size - 8) >> 8 * (24 - size)))) {
        text[15] = 0;
    } else {
        size = size > 16 ? 16 : size;
        memcpy(text + 16 - size, p, size);
    }
    memcpy(&m->low[i], text, 8);
    memcpy(&m->high[i], text + 8, 8);
}

struct lanes {
    int32_t low[LANES], high[LANES];           /* digits, as two numbers below 10^8 */
    int32_t unit_low[LANES], unit_high[LANES]; /* the power of ten that they are divided by */
    uint64_t bad[LANES];
};

/* All that is before the point moves up by one byte, into its place. A power of ten is the point
 * itself, read as a digit 1. Where no text of these is longer than eight bytes, `wide` is false
 * and half of the work is left out. */
static inline void split(const struct number_many *m, size_t i, bool wide, struct lanes *l)
{
    for (size_t k = 0; k < LANES; k++) {
        const uint64_t all = m->bytes[i + k] - (m->sign[i + k] >> 31);
        const uint64_t size = all < 16 ? all : 16, half = size < 8 ? size : 8, rest = size - half;
        uint64_t low = wide ? m->low[i + k] ^ NUMBER_BYTES('0') : 0,
                 high = m->high[i + k] ^ NUMBER_BYTES('0');
        uint64_t at_low, at_high, before_low, before_high;

        high = high >> 4 * (8 - half) >> 4 * (8 - half) << 4 * (8 - half) << 4 * (8 - half);
        low = low >> 4 * (8 - rest) >> 4 * (8 - rest) << 4 * (8 - rest) << 4 * (8 - rest);
        at_high = point_in(high);
        at_low = at_high ? 0 : point_in(low);
        before_high = high & ((at_high >> 7) - 1);
        before_low = low & ((at_low >> 7) - 1);
        high = at_high
                   ? high - before_high - (at_high >> 7) * POINT + (before_high << 8) + (low >> 56)
                   : high;
        low = at_high  ? low << 8
              : at_low ? low - before_low - (at_low >> 7) * POINT + (before_low << 8)
                       : low;
        /* without any digit, too; "0." with it */
        l->bad[k] = number_no_digits(low) | number_no_digits(high) |
                    (high | low ? 0 : at_high >> 63 | (size == 0));
        l->low[k] = (int32_t)number_digits(low);
        l->high[k] = (int32_t)number_digits(high);
        l->unit_low[k] = (int32_t)number_digits(at_low >> 7);
        l->unit_high[k] = (int32_t)number_digits(at_high | at_low ? at_high >> 7 : 1ull << 56);
    }
}

/* What is not exact is near: the quotient is within 2^-51 of the number, or within 2^-39 where
 * digits were cut off behind 12 or more. So the number's float is this one, if the ends of that
 * range have one and the same; if not, the number is read alone. */
static inline void divide(const struct number_many *m, size_t i, const struct lanes *l, float *x,
                          float *other)
{
    for (size_t k = 0; k < LANES; k++) {
        const double cut = m->cut[i + k], unit = m->unit[i + k];
        const double digits = l->low[k] * 1e8 + l->high[k];
        const double place = l->unit_low[k] * 1e8 + l->unit_high[k];
        const double v = digits / (place * unit);
        const bool exact = (place == 1) & (unit == 1) & (digits < 0x1p53);
        const bool lost = (cut != 0) & ((place == 1) | (digits < 1e12));
        const bool outside = (v < 2 * (double)FLT_MIN) | (v > (double)FLT_MAX);
        double range = cut != 0 ? 0x1p-39 : 0x1p-50;

        range = exact ? 0 : range;
        range = outside ? 1 : range;
        x[k] = (float)(v - v * range);
        other[k] = (float)(v + v * range + (lost ? v + 1 : 0));
    }
}

MR_CLONES static uint32_t sixteen(const struct number_many *m, size_t i, float *out,
                                  uint32_t *alone)
{
    uint32_t bits[LANES], other[LANES], any = 0, most = 0;
    float x[LANES], y[LANES];
    struct lanes l;

    for (size_t k = 0; k < LANES; k++)
        most = m->bytes[i + k] > most ? m->bytes[i + k] : most;
    if (most > 8)
        split(m, i, true, &l);
    else
        split(m, i, false, &l);
    divide(m, i, &l, x, y);
    memcpy(bits, x, sizeof bits);
    memcpy(other, y, sizeof other);
    for (size_t k = 0; k < LANES; k++) {
        alone[k] = (bits[k] ^ other[k]) | (uint32_t)(l.bad[k] | l.bad[k] >> 32);
        any |= alone[k];
        bits[k] |= m->sign[i + k];
    }
    memcpy(out, bits, sizeof bits);
    return any;
}

static void nothing_odd(struct number_many *m)
{
    m->odd = false;
    for (uint32_t i = 0; i < NUMBER_MANY; i++) {
        m->cut[i] = 0;
        m->unit[i] = 1;
    }
}

void number_many_init(struct number_many *m)
{
    memset(m, 0, sizeof *m);
    nothing_odd(m);
}

uint32_t number_many(struct number_many *m, uint32_t n, float *out)
{
    uint32_t good = 0, alone[LANES];
    float x[LANES];

    DCHECK(n <= NUMBER_MANY);
    for (uint32_t i = 0; i < n && good == i; i += LANES) {
        const uint32_t count = n - i < LANES ? n - i : LANES;
        uint32_t k = 0;

        if (sixteen(m, i, x, alone))
            while (k < count && (!alone[k] || (number_f32(m->p[i + k], m->bytes[i + k], &x[k]) &&
                                               fabsf(x[k]) < INFINITY)))
                k++;
        else
            k = count;
        memcpy(out + i, x, k * sizeof *x);
        good = i + k;
    }
    if (m->odd)
        nothing_odd(m);
    return good;
}

bool number_u32(const uint8_t *p, size_t n, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;

    if (!n || n > 10)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(p[i]))
            return false;
        v = v * 10 + (uint64_t)(p[i] - '0');
    }
    *out = (uint32_t)v;
    return v <= max;
}
