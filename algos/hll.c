#include "algos/hll.h"

#include "algos/compute/kernels.h"
#include "config/base/bytes.h"
#include "config/base/status.h"

#include <math.h>

enum { RANKS = 66 }; /* a register holds 0 .. 65 - p */

void hll_add(uint8_t *reg, uint32_t p, float v)
{
    const uint64_t h = mix64(mr_bits(v + 0.0f)); /* -0 + 0 is 0 */
    const uint64_t rest = h << p | (uint64_t)1 << (p - 1);
    uint8_t rank = (uint8_t)(__builtin_clzll(rest) + 1);
    uint8_t *at = reg + (h >> (64 - p));

    DCHECK(p >= HLL_BITS_MIN && p <= HLL_BITS_MAX);
    *at = rank > *at ? rank : *at;
}

/* x + sum over k >= 1 of x^(2^k) 2^(k - 1), x < 1 */
static double sigma(double x)
{
    double y = 1, z = x, last;

    do {
        x *= x;
        last = z;
        z += x * y;
        y += y;
    } while (z != last);
    return z;
}

/* (1 - x - sum over k >= 1 of (1 - x^(2^-k))^2 2^-k) / 3 */
static double tau(double x)
{
    double y = 1, z = 1 - x, last;

    if (x == 0 || x == 1)
        return 0;
    do {
        x = sqrt(x);
        last = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (z != last);
    return z / 3;
}

bool hll_intact(const uint8_t *reg, uint32_t p)
{
    bool all = true;

    for (uint64_t i = 0; i < (uint64_t)1 << p; i++)
        all &= reg[i] <= 65 - p;
    return all;
}

double hll_estimate(const uint8_t *reg, uint32_t p)
{
    const double m = (double)((uint64_t)1 << p), alpha = 0.72134752044448170; /* 1 / (2 ln 2) */
    const uint32_t most = 65 - p;
    uint32_t count[RANKS] = {0};
    double z;

    for (uint64_t i = 0; i < (uint64_t)1 << p; i++) {
        CHECK(reg[i] <= most);
        count[reg[i]]++;
    }
    if (count[0] == (uint64_t)1 << p)
        return 0;
    z = m * tau(1 - count[most] / m);
    for (uint32_t k = most - 1; k; k--)
        z = 0.5 * (z + count[k]);
    z += m * sigma(count[0] / m);
    return alpha * m * m / z;
}
