#include "algos/heavy.h"

#include <string.h>

static uint32_t merge(const struct heavy *h, const float *with, const uint64_t *count, uint32_t m,
                      float *value, uint64_t *n)
{
    uint32_t live = 0, i = 0, j = 0, to = 0;

    while (live < h->top && h->n[live])
        live++;
    while (i < live || j < m) {
        bool first = i < live && (j == m || h->value[i] <= with[j]);
        bool both = first && j < m && h->value[i] == with[j];

        value[to] = first ? h->value[i] : with[j];
        n[to++] = (first ? h->n[i] : 0) + (!first || both ? count[j] : 0);
        i += first;
        j += !first || both;
    }
    return to;
}

/* The (top + 1)-th largest of n[m], m > top. */
static uint64_t cut(const uint64_t *n, uint32_t m, uint32_t top, uint64_t *largest)
{
    uint32_t held = 0;

    for (uint32_t i = 0; i < m; i++) {
        uint32_t at;

        if (held > top && n[i] <= largest[top])
            continue;
        at = held > top ? top : held++;
        for (; at && largest[at - 1] < n[i]; at--)
            largest[at] = largest[at - 1];
        largest[at] = n[i];
    }
    return largest[top];
}

bool heavy_intact(struct heavy h)
{
    for (uint32_t i = 1; i < h.top; i++)
        if (h.n[i] && (!h.n[i - 1] || !(h.value[i - 1] < h.value[i])))
            return false;
    return true;
}

void heavy_add(struct heavy h, const float *with, const uint64_t *count, uint32_t m, float *value,
               uint64_t *n, uint64_t *largest)
{
    uint32_t all = merge(&h, with, count, m, value, n), to = 0;
    uint64_t off = all > h.top ? cut(n, all, h.top, largest) : 0;

    memset(h.value, 0, h.top * sizeof *h.value);
    memset(h.n, 0, h.top * sizeof *h.n);
    for (uint32_t i = 0; i < all; i++) {
        if (n[i] <= off)
            continue;
        h.value[to] = value[i];
        h.n[to++] = n[i] - off;
    }
    *h.off += off;
}
