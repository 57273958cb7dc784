/* json_text.h: the tokens of JSON (RFC 8259), read in place.
 *
 * Every function begins at t->p, which is no blank, and leaves it behind what it read; at an error
 * t->what says what was expected there, and the answer is BAD_TRUNCATED if the text ends too early,
 * else the reason. Strings are bytes: UTF-8 is neither checked nor changed. NaN, Infinity and
 * -Infinity, which Python writes, are read as numbers that are not finite.
 *
 * Thread: any. Allocation: none. */
#ifndef MILLRACE_JSON_TEXT_H
#define MILLRACE_JSON_TEXT_H

#include "config/base/bytes.h"
#include "consumer/codec.h"
#include "consumer/number.h"

#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { JSON_DEPTH_MAX = 64, JSON_BEFORE = 16, JSON_AHEAD = 36 };

struct json_text {
    const uint8_t *p, *end;
    const char *what;
};

enum json_kind { /* append only: part of nothing that is kept */
                 JSON_NUMBER,
                 JSON_STRING,
                 JSON_TRUE,
                 JSON_FALSE,
                 JSON_NULL,
                 JSON_NONFINITE,
                 JSON_OBJECT,
                 JSON_ARRAY
};

struct json_value {
    enum json_kind kind;
    struct bytes text; /* of a number; of a string what is between the quotes */
    bool escaped;      /* a string: it has backslashes */
};

enum bad json_expected(struct json_text *t, const char *what);

/* From a quote to the one that closes it. */
enum bad json_string(struct json_text *t, struct json_value *v);

/* Any value but objects and arrays, of which only the kind is found and nothing is read. */
enum bad json_scalar(struct json_text *t, struct json_value *v);

/* Any value, unread; depth: of objects and arrays round it. */
enum bad json_skip(struct json_text *t, uint32_t depth);

/* The bytes that a string stands for into to[room]; SIZE_MAX: they are more. Half a surrogate pair
 * becomes U+FFFD. */
size_t json_unescape(struct bytes text, uint8_t *to, size_t room);

static inline void json_blank(struct json_text *t)
{
    while (t->p < t->end && *t->p <= ' ' &&
           (*t->p == ' ' || *t->p == '\n' || *t->p == '\r' || *t->p == '\t'))
        t->p++;
}

/* One byte, with blanks before it and behind. */
static inline enum bad json_mark(struct json_text *t, uint8_t mark, const char *what)
{
    json_blank(t);
    if (t->p == t->end || *t->p != mark)
        return json_expected(t, what);
    t->p++;
    json_blank(t);
    return BAD_NONE;
}

static inline bool json_digit(uint8_t c)
{
    return (uint8_t)(c - '0') <= 9;
}

/* ---- numbers ---- */

/* A number: the nearest float, ties to even, as strtof's, which may be infinite. */
enum bad json_float(struct json_text *t, float *v);

/* digits * 10^exp10 as a float, from one product of doubles. Digits, power and product are each
 * rounded by half a unit in the last place; digits dropped behind twelve others are less than 9,008
 * units. So where no middle between two floats, at which rounding turns, is within 16,384 units,
 * the float nearest to the product is that nearest to the number. false: one is, or the float is
 * not normal: the text has to be asked. */
static inline bool json_nearest(uint64_t digits, int32_t exp10, bool negative, float *v)
{
    static const double power[] = {1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14,
                                   1e-13, 1e-12, 1e-11, 1e-10, 1e-9,  1e-8,  1e-7,  1e-6,  1e-5,
                                   1e-4,  1e-3,  1e-2,  1e-1,  1e0,   1e1,   1e2,   1e3,   1e4,
                                   1e5,   1e6,   1e7,   1e8,   1e9,   1e10,  1e11,  1e12,  1e13,
                                   1e14,  1e15,  1e16,  1e17,  1e18,  1e19,  1e20,  1e21,  1e22};
    double f = (double)(int64_t)digits * power[exp10 + 22];
    uint64_t bits;
    uint32_t word;

    static_assert(sizeof power / sizeof *power == 45, "from -22 to 22");
    DCHECK(!(digits >> 63) && exp10 >= -22 && exp10 <= 22);
    memcpy(&bits, &f, sizeof bits);
    *v = (float)f;
    memcpy(&word, v, sizeof word);
    word |= (uint32_t)negative << 31;
    memcpy(v, &word, sizeof word);
    return ((bits - 0x10000000u + 16384) & 0x1fffffff) > 32768 && (f >= 0x1p-126 || !digits);
}

#ifdef __SSE2__
/* Bit i: p[i] is a digit; *dots: a point; of 16 bytes. */
static inline uint32_t json_digit_bits(const uint8_t *p, uint32_t *dots)
{
    const __m128i a = _mm_loadu_si128((const __m128i *)p), x = _mm_sub_epi8(a, _mm_set1_epi8('0'));

    *dots = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_set1_epi8('.')));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(9)), x));
}

/* The n <= 16 bytes before `end` as digits, but for the point `after` bytes before it (after = n:
 * there is none): what is before the point moves by one, into its place; neighbours are added up to
 * pairs, fours, eights. The 16 bytes before `end` may be read. */
static inline uint64_t json_sixteen(const uint8_t *end, uint32_t n, uint32_t after)
{
    static const uint8_t edge[40] = {[16] = 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                     255,        255, 255, 255, 255, 255, 255, 255};
    const __m128i *from = (const __m128i *)(end - 16);
    const __m128i x = _mm_sub_epi8(_mm_loadu_si128(from), _mm_set1_epi8('0')),
                  all = _mm_loadu_si128((const __m128i *)(edge + n)),
                  tail = _mm_loadu_si128((const __m128i *)(edge + after)),
                  rest = _mm_loadu_si128((const __m128i *)(edge + after + 1)),
                  head = _mm_and_si128(x, _mm_andnot_si128(rest, all)),
                  one = _mm_or_si128(_mm_and_si128(x, tail), _mm_slli_si128(head, 1)),
                  low = _mm_and_si128(one, _mm_set1_epi16(255)),
                  two = _mm_add_epi16(_mm_mullo_epi16(low, _mm_set1_epi16(10)),
                                      _mm_srli_epi16(one, 8)),
                  four = _mm_madd_epi16(two, _mm_set1_epi32(1 << 16 | 100)),
                  eight =
                      _mm_madd_epi16(_mm_packs_epi32(four, four), _mm_set1_epi32(1 << 16 | 10000));
    uint64_t pair;

    _mm_storel_epi64((__m128i *)&pair, eight);
    return (pair & UINT32_MAX) * 100000000 + (pair >> 32);
}

/* [-]whole[.fraction], of which sixteen bytes are enough, where JSON_AHEAD bytes behind p and 16
 * before it may be read: *v is set, and the place behind the number returned. NULL: anything else.
 * A number may go on behind it with an exponent: it is the caller who looks what is there.
 * No jump depends on what numbers of one kind differ in, and where it ends is known before what it
 * is, so that the next one is begun meanwhile. */
static inline __attribute__((always_inline)) const uint8_t *json_plain(const uint8_t *p, float *v)
{
    const bool negative = *p == '-';
    uint32_t dots, n, whole, used, after;
    uint64_t digits, bits = json_digit_bits(p, &dots) | dots;

    if (bits >> negative == 0xffffu >> negative) {
        uint32_t more;

        bits |= (uint64_t)(json_digit_bits(p + 16, &more) | more) << 16;
        dots |= more << 16;
    }
    p += negative;
    dots >>= negative;
    n = (uint32_t)__builtin_ctzll(~(bits >> negative));
    dots &= (uint32_t)(((uint64_t)1 << n) - 1);
    whole = (uint32_t)__builtin_ctzll(dots | (uint64_t)1 << n);
    used = n < 16 ? n : 16;
    after = whole < n ? used - whole - 1 : used;
    if (whole - 1 > 14 || (whole > 1 && *p == '0') || p[n - 1] == '.' || n > 30 ||
        (dots & (dots - 1)))
        return NULL;
    digits = json_sixteen(p + used, used, after);
    if (((n > 16) & (digits < UINT64_C(1000000000000))) ||
        !json_nearest(digits, whole < n ? -(int32_t)after : 0, negative, v))
        return NULL;
    return p + n;
}
#else
static inline __attribute__((always_inline)) const uint8_t *json_plain(const uint8_t *p, float *v)
{
    (void)p;
    (void)v;
    return NULL;
}
#endif

#endif
