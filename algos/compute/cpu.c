#include "algos/compute/cpu.h"
#include "algos/compute/philox.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

/* calloc, because fresh pages come zeroed and untouched ones cost no memory: a state may be
 * declared far larger than it will grow. The word before the block is what calloc gave. */
void *cpu_alloc(void *self, size_t bytes)
{
    uint8_t *raw, *p;

    (void)self;
    if (bytes > SIZE_MAX - 2 * ALIGN)
        return NULL;
    raw = calloc(1, bytes + 2 * ALIGN);
    if (!raw)
        return NULL;
    p = raw + 2 * ALIGN - (uintptr_t)raw % ALIGN;
    memcpy(p - sizeof raw, &raw, sizeof raw);
    return p;
}

void cpu_free(void *self, void *p)
{
    void *raw;

    (void)self;
    if (!p)
        return;
    memcpy(&raw, (uint8_t *)p - sizeof raw, sizeof raw);
    free(raw);
}

void cpu_put(void *self, void *dev, const void *host, size_t bytes)
{
    (void)self;
    if (bytes)
        memcpy(dev, host, bytes);
}

void cpu_get(void *self, void *host, const void *dev, size_t bytes)
{
    (void)self;
    if (bytes)
        memcpy(host, dev, bytes);
}

enum st cpu_sync(void *self)
{
    (void)self;
    return ST_OK;
}

void cpu_gather(void *self, struct mat src, const uint32_t *row, struct mat dst)
{
    (void)self;
    CHECK(src.c == dst.c);
    for (size_t i = 0; dst.c == 1 && i < dst.r; i++) { /* sparse rows, one model: no inner loop */
        DCHECK(row[i] < src.r);
        dst.p[i * dst.ld] = src.p[(size_t)row[i] * src.ld];
    }
    for (size_t i = 0; dst.c != 1 && i < dst.r; i++) {
        const float *s = src.p + (size_t)row[i] * src.ld;
        float *d = dst.p + i * dst.ld;

        DCHECK(row[i] < src.r);
        for (size_t j = 0; j < dst.c; j++)
            d[j] = s[j];
    }
}

void cpu_scatter(void *self, struct mat src, const uint32_t *row, struct mat dst)
{
    (void)self;
    CHECK(src.c == dst.c);
    for (size_t i = 0; src.c == 1 && i < src.r; i++) {
        DCHECK(row[i] < dst.r);
        dst.p[(size_t)row[i] * dst.ld] = src.p[i * src.ld];
    }
    for (size_t i = 0; src.c != 1 && i < src.r; i++) {
        const float *s = src.p + i * src.ld;
        float *d = dst.p + (size_t)row[i] * dst.ld;

        DCHECK(row[i] < dst.r);
        for (size_t j = 0; j < src.c; j++)
            d[j] = s[j];
    }
}

MR_CLONES static void words_to_numbers(enum fill_kind k, size_t n, const uint32_t *word, float *out)
{
    CHECK(k == FILL_U01 || k == FILL_NORMAL || k == FILL_SIGN);
    if (k == FILL_U01)
        for (size_t j = 0; j < n; j++)
            out[j] = mr_u01(word[j]);
    else if (k == FILL_NORMAL)
        for (size_t j = 0; j < n; j++)
            out[j] = mr_normal(word[j]);
    else
        for (size_t j = 0; j < n; j++)
            out[j] = mr_sign(word[j]);
}

void cpu_fill(void *self, enum fill_kind k, const uint64_t key[2], const uint64_t *rid,
              struct mat out)
{
    enum { WORDS = 256 };
    struct philox_key pk = philox_key(key);
    uint32_t word[WORDS];

    (void)self;
    for (size_t i = 0; i < out.r; i++) {
        for (size_t j = 0; j < out.c; j += WORDS) {
            size_t n = out.c - j < WORDS ? out.c - j : WORDS;

            for (size_t q = 0; q < n; q += 4)
                philox_words(pk, rid ? rid[i] : i, (uint32_t)((j + q) / 4), word + q);
            words_to_numbers(k, n, word, out.p + i * out.ld + j);
        }
    }
}
