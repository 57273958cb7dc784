#include "consumer/labels.h"

#include "config/base/bytes.h"
#include "consumer/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 * CLASS_NAMES_MAX };

static_assert((SLOTS & (SLOTS - 1)) == 0 && CLASS_NAMES_MAX < UINT16_MAX, "the table is masked");

/* The slot where the name stands, or the free one where it would. */
static uint32_t slot_of(const struct labels *l, const uint8_t *p, size_t n)
{
    uint32_t at = (uint32_t)hash64(p, n, 0) & (SLOTS - 1);

    DCHECK(l->table && l->n <= SLOTS / 2); /* so that there is a free one */
    while (l->table[at]) {
        DCHECK(l->table[at] <= l->n);
        const char *name = l->name[l->table[at] - 1];

        if (strlen(name) == n && memcmp(name, p, n) == 0)
            break;
        at = (at + 1) & (SLOTS - 1);
    }
    return at;
}

static bool find_number(const struct labels *l, double v, uint32_t *at)
{
    if (v >= 0 && v < l->n && l->number[(uint32_t)v] == v) { /* names 0, 1, 2, ... */
        *at = (uint32_t)v;
        return true;
    }
    for (uint32_t i = 0; i < l->n; i++)
        if (l->number[i] == v) {
            *at = i;
            return true;
        }
    return false;
}

enum st labels_init(struct labels *l, const char (*name)[CLASS_NAME_BYTES], uint32_t n,
                    struct err *e)
{
    CHECK(n <= CLASS_NAMES_MAX);
    memset(l, 0, sizeof *l);
    if (!n)
        return ST_OK;
    l->name = calloc(n, sizeof *l->name);
    l->number = calloc(n, sizeof *l->number);
    l->table = calloc(SLOTS, sizeof *l->table);
    if (!l->name || !l->number || !l->table)
        return fail(e, ST_FATAL, "no memory for %u class names", n);
    for (uint32_t i = 0; i < n; i++) {
        size_t len = strnlen(name[i], CLASS_NAME_BYTES);
        const uint8_t *text = (const uint8_t *)name[i];
        uint32_t at, same;

        CHECK(len < CLASS_NAME_BYTES);
        memcpy(l->name[i], name[i], len);
        if (!number_f64(text, len, &l->number[i]))
            l->number[i] = NAN;
        at = slot_of(l, text, len);
        if (l->table[at] || find_number(l, l->number[i], &same))
            return fail(e, ST_BAD_CONFIG, "input.classes: '%s' is there twice", name[i]);
        l->table[at] = (uint16_t)(i + 1);
        l->n = i + 1;
    }
    return ST_OK;
}

void labels_fini(struct labels *l)
{
    free(l->name);
    free(l->number);
    free(l->table);
    memset(l, 0, sizeof *l);
}

bool labels_find(const struct labels *l, double v, float *y)
{
    uint32_t at;

    if (!find_number(l, v, &at))
        return false;
    *y = (float)at;
    return true;
}

bool labels_text(const struct labels *l, const uint8_t *p, size_t n, float *y)
{
    uint32_t at = l->n ? l->table[slot_of(l, p, n)] : 0;
    double v;

    if (at) {
        *y = (float)(at - 1);
        return true;
    }
    return number_f64(p, n, &v) && labels_number(l, v, y);
}

void labels_names(const struct labels *l, char (*name)[CLASS_NAME_BYTES])
{
    for (uint32_t i = 0; i < l->n; i++)
        memcpy(name[i], l->name[i], CLASS_NAME_BYTES);
}

uint64_t labels_hash(const struct labels *l, uint64_t seed)
{
    return l->n ? hash64(l->name, l->n * sizeof *l->name, seed) : mix64(seed);
}
