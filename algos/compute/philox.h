/* philox.h: counter-based random numbers, Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel
 * random numbers: as easy as 1, 2, 3", SC 2011).
 *
 * A number is a function of what it is for (key) and of which one it is (counter), so nothing is
 * kept between calls, a replay draws the same numbers, and rows may be drawn in any order.
 * Whoever needs numbers for two purposes takes two keys: the same key and counter give the same
 * words, whatever is made of them.
 *
 * Words become numbers by IEEE operations in a fixed order and kernels.h: the same bits
 * everywhere. Thread: any. */
#ifndef MILLRACE_PHILOX_H
#define MILLRACE_PHILOX_H

#include "algos/compute/kernels.h"
#include "config/base/bytes.h"

struct philox_key {
    uint32_t k[2];
};

/* (seed, purpose and partition), 128 bits, mixed into the 64 that Philox takes. */
static inline struct philox_key philox_key(const uint64_t key[2])
{
    uint64_t k = mix64(key[0] ^ mix64(key[1]));
    struct philox_key mixed = {{(uint32_t)k, (uint32_t)(k >> 32)}};

    return mixed;
}

/* Ten rounds over the counter c, in place: four random words. */
MR_INLINE void philox4x32(struct philox_key key, uint32_t c[4])
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t c1 = c[1], c3 = c[3];

        c[0] = (uint32_t)(b >> 32) ^ c1 ^ key.k[0];
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c3 ^ key.k[1];
        c[3] = (uint32_t)a;
        key.k[0] += 0x9e3779b9u;
        key.k[1] += 0xbb67ae85u;
    }
}

/* Words 4 block .. 4 block + 3 of row rid: what fill() uses for columns 4 block .. 4 block + 3. */
MR_INLINE void philox_words(struct philox_key key, uint64_t rid, uint32_t block, uint32_t word[4])
{
    word[0] = (uint32_t)rid;
    word[1] = (uint32_t)(rid >> 32);
    word[2] = block;
    word[3] = 0;
    philox4x32(key, word);
}

/* Uniform on the open interval: the 2^23 midpoints (i + 1/2) / 2^23; so log(u) and log(1 - u)
 * are finite. */
MR_INLINE float mr_u01(uint32_t word)
{
    return ((float)(int32_t)(word >> 9) + 0.5f) * 1.1920929e-07f;
}

MR_INLINE float mr_sign(uint32_t word)
{
    return word >> 31 ? -1.0f : 1.0f;
}

/* Standard normal by the quantile function, one word a number: Wichura, "Algorithm AS 241",
 * Applied Statistics 37 (1988), PPND7, relative error 1e-7 (3e-7 with our f32 log). Bit 0 is the
 * sign; the other 31 give the tail p in (0, 1/2), so the extremes are +-6.3 and both tails are
 * equally fine. */
MR_INLINE float mr_normal(uint32_t word)
{
    const float ulp = 2.3283064e-10f; /* 2^-32 */
    int32_t m = (int32_t)(word >> 1);
    float p = ((float)m + 0.5f) * ulp;
    float q = ((float)(0x7fffffff - m) + 0.5f) * ulp; /* 1/2 - p, exact near 0 */
    float s = 0.180625f - q * q;
    float mid = q *
                (((59.109374720f * s + 159.29113202f) * s + 50.434271938f) * s + 3.3871327179f) /
                (((67.187563600f * s + 78.757757664f) * s + 17.895169469f) * s + 1.0f);
    float t = mr_sqrt(-mr_log(p)) - 1.6f;
    float end = (((0.17023821103f * t + 1.3067284816f) * t + 2.7568153900f) * t + 1.4234372777f) /
                ((0.12021132975f * t + 0.73700164250f) * t + 1.0f);
    float z = q <= 0.425f ? mid : end;

    return word & 1 ? -z : z;
}

#endif
