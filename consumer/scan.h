/* scan.h: where certain bytes stand in a text, 64 bytes looked at together: readers of text go from
 * one to the next without a jump for each byte between them.
 *
 * Nothing outside of [begin, end) is read. Thread: any. */
#ifndef MILLRACE_SCAN_H
#define MILLRACE_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

struct scan {
    const uint8_t *begin, *end, *at; /* the 64 bytes from `at` on are being walked */
    uint64_t found;                  /* bit i: at[i] is one of them, and is still to come */
    uint8_t what[3];
};

/* Bit i: p[i] is one of them, for 64 bytes. */
static inline uint64_t scan_bits(const struct scan *s, const uint8_t *p)
{
    uint64_t bits = 0;
#ifdef __SSE2__
    const __m128i a = _mm_set1_epi8((char)s->what[0]), b = _mm_set1_epi8((char)s->what[1]),
                  c = _mm_set1_epi8((char)s->what[2]);

    for (int i = 0; i < 4; i++) {
        const __m128i v = _mm_loadu_si128((const __m128i *)(p + 16 * i));
        const __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, a), _mm_cmpeq_epi8(v, b)),
                                         _mm_cmpeq_epi8(v, c));

        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(hit) << 16 * i;
    }
#else
    for (int i = 0; i < 64; i++)
        bits |= (uint64_t)(p[i] == s->what[0] || p[i] == s->what[1] || p[i] == s->what[2]) << i;
#endif
    return bits;
}

/* Goes on at p, before which nothing is looked for any more. */
static inline void scan_from(struct scan *s, const uint8_t *p)
{
    size_t left = (size_t)(s->end - p);
    uint8_t text[64] = {0};

    s->at = p;
    if (left >= sizeof text) {
        s->found = scan_bits(s, p);
    } else if (s->end - s->begin >= 64) {
        s->found = left ? scan_bits(s, s->end - 64) >> (64 - left) : 0;
    } else {
        memcpy(text, p, left);
        s->found = scan_bits(s, text) & (((uint64_t)1 << left) - 1);
    }
}

/* As scan_from, for a p behind `at`. */
static inline void scan_skip(struct scan *s, const uint8_t *p)
{
    if (p - s->at < 64)
        s->found &= UINT64_MAX << (p - s->at);
    else
        scan_from(s, p);
}

/* The next of them, or the end. */
static inline const uint8_t *scan_next(struct scan *s)
{
    const uint8_t *p;

    while (!s->found) {
        if (s->end - s->at <= 64)
            return s->end;
        scan_from(s, s->at + 64);
    }
    p = s->at + __builtin_ctzll(s->found);
    s->found &= s->found - 1;
    return p;
}

#endif
