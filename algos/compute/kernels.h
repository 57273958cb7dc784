/* kernels.h: the maths that kernel bodies (kernels.def) and random numbers (philox.h) may use.
 *
 * State bytes must not depend on the C library, so exp, log and the normal quantile are our own:
 * IEEE single-precision + - * / and bit operations in a fixed order, no contraction, no table.
 * They have no branches a compiler cannot turn into selects, so every loop over them vectorises,
 * and every vector width gives the same bits. Rounding mode: to nearest, the only one we run in.
 *
 * Error bounds, over all floats (tests/unit/kernels_test.c): mr_exp 1 ulp, mr_log 1 ulp, mr_sqrt
 * and mr_abs exact. The polynomials are minimax fits of relative error made for these ranges;
 * the argument reductions are the classical ones (Cody and Waite 1980). Thread: any. */
#ifndef MILLRACE_KERNELS_H
#define MILLRACE_KERNELS_H

#include <stdint.h>

#ifndef MR_INLINE /* the CUDA back end compiles these for its device, too */
#define MR_INLINE static inline __attribute__((always_inline))
#endif

MR_INLINE uint32_t mr_bits(float x)
{
    union {
        float f;
        uint32_t u;
    } v = {x};

    return v.u;
}

MR_INLINE float mr_from_bits(uint32_t u)
{
    union {
        uint32_t u;
        float f;
    } v = {u};

    return v.f;
}

MR_INLINE float mr_abs(float x)
{
    return __builtin_fabsf(x);
}

MR_INLINE float mr_sqrt(float x)
{
    return __builtin_sqrtf(x); /* one instruction, correctly rounded */
}

/* w moved towards 0 by t >= 0, and 0 if it would cross. A NaN stays one, so divergence shows. */
MR_INLINE float mr_soft(float w, float t)
{
    return mr_abs(w) <= t ? 0.0f : w - __builtin_copysignf(t, w);
}

/* Derivatives of a loss below 1e-15 move no float32 weight, but as denormal numbers, or with
 * squares that are, they slow every product after them (2.5 times, with one diverged model). */
MR_INLINE float mr_flush(float x)
{
    return mr_abs(x) < 1e-15f ? 0.0f : x;
}

/* e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2. Beyond +-150 the result is inf or 0
 * anyway. 2^n is applied in two halves, so that results below FLT_MIN are rounded once, not
 * flushed. */
MR_INLINE float mr_exp(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it leaves round(x) in the low bits */
    float y = x < -150.0f ? -150.0f : x > 150.0f ? 150.0f : x;
    float t = y * 1.44269502f + magic;
    float n = t - magic;
    float r =
        (y - n * 0.693145752f) - n * 1.42860677e-06f; /* ln 2 in two parts; n * first is exact */
    uint32_t k = mr_bits(t) - mr_bits(magic) + 512;   /* n + 512 > 0: shifted as unsigned */
    float a = mr_from_bits(((k >> 1) - 256 + 127) << 23);
    float b = mr_from_bits((k - (k >> 1) - 256 + 127) << 23);
    float p = 1.979024e-4f;

    p = p * r + 1.3944758e-3f;
    p = p * r + 8.333497e-3f;
    p = p * r + 4.1666295e-2f;
    p = p * r + 0.16666666f;
    p = p * r + 0.5f;
    return (1.0f + (r + r * r * p)) * a * b;
}

/* x = 2^e m, m in [sqrt(1/2), sqrt(2)), f = m - 1: log x = e ln 2 + (f - f^2/2 + f^3 p(f)). 0
 * gives -inf, a negative number NaN. */
MR_INLINE float mr_log(float x)
{
    uint32_t tiny = x < 1.17549435e-38f;
    uint32_t u = mr_bits(tiny ? x * 8388608.0f : x) - 0x3f3504f3u;
    float e = (float)((int32_t)u >> 23) - (tiny ? 23.0f : 0.0f);
    float f = mr_from_bits((u & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float s = f * f;
    float p = 6.746641e-2f, y;

    p = p * f - 0.11675652f;
    p = p * f + 0.11888162f;
    p = p * f - 0.12405589f;
    p = p * f + 0.14219552f;
    p = p * f - 0.16667996f;
    p = p * f + 0.20002119f;
    p = p * f - 0.25000009f;
    p = p * f + 0.33333313f;
    y = f + (e * 1.42860677e-06f + (s * f * p - 0.5f * s));
    y = e * 0.693145752f + y;
    y = x > 0.0f ? y : x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
    return x < __builtin_inff() ? y : x; /* inf and NaN */
}

#endif
