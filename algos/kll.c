#include "algos/kll.h"

#include "config/base/status.h"

#include <string.h>

struct lists { /* levels one behind the other */
    const float *item;
    const uint32_t *size;
};

/* ceil(k (2/3)^depth) + 1 */
static uint32_t level_capacity(uint32_t k, uint32_t depth)
{
    double v = k;

    for (uint32_t i = 0; i < depth; i++)
        v *= 2.0 / 3.0;
    return (uint32_t)v + ((double)(uint32_t)v < v) + 1;
}

uint32_t kll_capacity(uint32_t k)
{
    uint32_t sum = 0;

    for (uint32_t depth = 0; depth < KLL_LEVELS; depth++)
        sum += level_capacity(k, depth);
    return sum;
}

uint32_t kll_room(uint32_t k, uint32_t batch)
{
    return 2 * kll_capacity(k) + batch;
}

static uint32_t total(const uint32_t *size)
{
    uint32_t sum = 0;

    for (uint32_t h = 0; h < KLL_LEVELS; h++)
        sum += size[h];
    return sum;
}

/* Two sorted lists as one. No branch depends on a value: which comes next cannot be guessed. */
static uint32_t merge(const float *a, uint32_t na, const float *b, uint32_t nb, float *to)
{
    uint32_t i = 0, j = 0;

    while (i < na && j < nb) {
        bool second = b[j] < a[i];

        to[i + j] = second ? b[j] : a[i];
        j += second;
        i += !second;
    }
    memcpy(to + i + j, a + i, (na - i) * sizeof *to);
    memcpy(to + na + j, b + j, (nb - j) * sizeof *to);
    return na + nb;
}

static uint32_t coin(const struct kll_by *by, uint64_t *coins)
{
    uint32_t word[4];

    philox_words(by->key, (*coins)++, by->column, word);
    return word[0] >> 31;
}

/* The lists of a and b into `to`, compacted from below until they fit or every level has been seen
 * once. Returns their values. */
static uint32_t join(const struct kll_by *by, struct lists a, struct lists b, float *to,
                     uint32_t *size, uint64_t *coins)
{
    float *one = by->scratch, *two = one + by->room, *carry = two + by->room;
    const uint32_t capacity = kll_capacity(by->k);
    uint32_t sum = total(a.size) + total(b.size), levels = 1, carried = 0, at = 0;

    CHECK(sum <= by->room);
    for (uint32_t h = 0; h < KLL_LEVELS; h++)
        levels = a.size[h] || b.size[h] ? h + 1 : levels;
    for (uint32_t h = 0; h < KLL_LEVELS; a.item += a.size[h], b.item += b.size[h], h++) {
        uint32_t n = merge(a.item, a.size[h], b.item, b.size[h], one), flip;

        n = merge(one, n, carry, carried, two);
        levels = n && h >= levels ? h + 1 : levels;
        size[h] = n;
        carried = 0;
        if (sum > capacity && n > level_capacity(by->k, levels - 1 - h)) {
            CHECK(h + 1 < KLL_LEVELS);
            flip = coin(by, coins);
            size[h] = n & 1;
            carried = n / 2;
            for (uint32_t i = 0; i < carried; i++)
                carry[i] = two[(n & 1) + 2 * i + flip];
            sum -= carried;
        }
        memcpy(to + at, two, size[h] * sizeof *to);
        at += size[h];
    }
    CHECK(at == sum && !carried);
    return sum;
}

static void add(const struct kll_by *by, struct kll s, struct lists b)
{
    static const uint32_t nothing[KLL_LEVELS];
    float *to = by->scratch + 3 * (size_t)by->room, *next = to + by->room;
    uint32_t size[KLL_LEVELS], last[KLL_LEVELS];
    const uint32_t capacity = kll_capacity(by->k);
    uint32_t n = join(by, (struct lists){s.item, s.size}, b, to, size, s.coins);

    while (n > capacity) { /* levels that were added on the way took from the others' capacity */
        float *old = to;

        memcpy(last, size, sizeof last);
        n = join(by, (struct lists){to, last}, (struct lists){to, nothing}, next, size, s.coins);
        to = next;
        next = old;
    }
    memcpy(s.item, to, n * sizeof *to);
    memset(s.item + n, 0, (capacity - n) * sizeof *to);
    memcpy(s.size, size, sizeof size);
}

void kll_add(const struct kll_by *by, struct kll s, const float *sorted, uint32_t n)
{
    const uint32_t size[KLL_LEVELS] = {n};

    if (n)
        add(by, s, (struct lists){sorted, size});
}

void kll_merge(const struct kll_by *by, struct kll s, struct kll other)
{
    add(by, s, (struct lists){other.item, other.size});
}

bool kll_intact(uint32_t k, struct kll s)
{
    const uint32_t capacity = kll_capacity(k);
    uint32_t at = 0;

    for (uint32_t h = 0; h < KLL_LEVELS; h++) {
        if (s.size[h] > capacity - at || (h + 1 == KLL_LEVELS && s.size[h]))
            return false;
        for (uint32_t i = 1; i < s.size[h]; i++)
            if (s.item[at + i] < s.item[at + i - 1])
                return false;
        at += s.size[h];
    }
    return true;
}

uint64_t kll_count(struct kll s)
{
    uint64_t sum = 0;

    for (uint32_t h = 0; h < KLL_LEVELS; h++)
        sum += (uint64_t)s.size[h] << h;
    return sum;
}

uint32_t kll_read(struct kll s, float *value, double *upto)
{
    const float *at[KLL_LEVELS], *p = s.item;
    uint32_t left[KLL_LEVELS], n = total(s.size);
    double sum = 0;

    for (uint32_t h = 0; h < KLL_LEVELS; p += s.size[h], h++) {
        at[h] = p;
        left[h] = s.size[h];
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t best = KLL_LEVELS;

        for (uint32_t h = 0; h < KLL_LEVELS; h++)
            if (left[h] && (best == KLL_LEVELS || *at[h] < *at[best]))
                best = h;
        sum += (double)((uint64_t)1 << best);
        value[i] = *at[best]++;
        upto[i] = sum;
        left[best]--;
    }
    return n;
}

float kll_quantile(const float *value, const double *upto, uint32_t n, double q)
{
    const double want = q * upto[n - 1];
    uint32_t low = 0, high = n - 1;

    while (low < high) {
        uint32_t mid = (low + high) / 2;

        if (upto[mid] < want)
            low = mid + 1;
        else
            high = mid;
    }
    return value[low];
}

double kll_rank(const float *value, const double *upto, uint32_t n, float v)
{
    uint32_t low = 0, high = n; /* values before low are at most v, those from high on are more */

    while (low < high) {
        uint32_t mid = (low + high) / 2;

        if (value[mid] <= v)
            low = mid + 1;
        else
            high = mid;
    }
    return low ? upto[low - 1] : 0;
}
