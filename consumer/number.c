#include "consumer/number.h"

#include "config/base/status.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct decimal { /* digits * 10^exp10 */
    uint64_t digits;
    int32_t exp10;
    bool negative, exact; /* exact: no digit was dropped */
};

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

static inline bool is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') <= 9;
}

/* Adds the digits at p to d; those beyond the 19th count as places only. */
static const uint8_t *add_digits(struct decimal *d, const uint8_t *p, const uint8_t *end,
                                 bool fraction)
{
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

/* Both factors are exact in a double (digits < 2^53, 10^22 < 2^53 * 2^22), so the one operation
 * rounds once. */
static bool simple(const struct decimal *d, double *out)
{
    static const double pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double v = (double)d->digits;

    DCHECK(sizeof pow10 / sizeof *pow10 == 23);
    if (!d->exact || d->digits >> 53 || d->exp10 < -22 || d->exp10 > 22)
        return false;
    v = d->exp10 < 0 ? v / pow10[-d->exp10] : v * pow10[d->exp10];
    *out = d->negative ? -v : v;
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
    if (!simple(&d, out)) {
        *out = strtod_l(terminated(p, n, text), NULL, c_locale);
    }
    return true;
}

/* A double that lies between two floats, exactly in the middle, may have been rounded onto the
 * middle: then rounding it again could go the wrong way, and only the text knows. Everywhere else
 * two roundings are one. */
static bool rounds_twice(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return (bits & 0x1fffffff) == 0x10000000 || (fabs(v) < FLT_MIN && v != 0);
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
    } else if (simple(&d, &v) && !rounds_twice(v)) {
        *out = (float)v;
    } else {
        *out = strtof_l(terminated(p, n, text), NULL, c_locale);
    }
    return true;
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
