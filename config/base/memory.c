#include "config/base/memory.h"

#include "config/base/limits.h"

#include <assert.h>
#include <jemalloc/jemalloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>

/* Not there in sanitizer builds and tests, which have another allocator. */
#pragma weak mallctl

enum { PIECE = 1 << 20, PAGE = 4096 };

static_assert((int)PIECE < (int)HEAP_LARGEST, "a piece is not mapped but comes from the heap");
static_assert(HEAP_LARGEST == 2621440, "as it is said below");

/* jemalloc reads this before main(): one arena for all threads; what is larger has one of its own,
 * which keeps nothing; what is free is used however much larger it is (2^16 times), before the heap
 * grows. */
const char *malloc_conf = "narenas:1,oversize_threshold:2621440,lg_extent_max_active_fit:16";

struct piece {
    struct piece *next;
};

void memory_one_heap(void)
{
    ssize_t never =
        -1; /* for all arenas, in malloc_conf, the one for large pieces would keep too */

    if (mallctl)
        mallctl("arena.0.dirty_decay_ms", NULL, NULL, &never, sizeof never);
}

/* Without jemalloc: more than anybody asks for. */
static uint64_t heap_now(void)
{
    uint64_t epoch = 1;
    size_t bytes, n = sizeof bytes;

    if (!mallctl || mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) ||
        mallctl("stats.arenas.0.resident", &bytes, &n, NULL, 0))
        return UINT64_MAX;
    return bytes;
}

void memory_reserve(uint64_t heap)
{
    struct piece *all = NULL, *p;

    while (heap_now() < heap && (p = malloc(PIECE))) {
        for (size_t i = 0; i < PIECE; i += PAGE)
            ((volatile uint8_t *)p)[i] = 0;
        p->next = all;
        all = p;
    }
    while ((p = all)) {
        all = p->next;
        free(p);
    }
}
