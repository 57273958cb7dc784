#include "config/base/memory.h"

#include "config/base/limits.h"

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { PIECE = 1 << 20, PAGE = 4096 };

static_assert((int)PIECE < (int)HEAP_LARGEST, "a piece is not mapped but comes from the heap");

struct piece {
    struct piece *next;
};

void memory_one_heap(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
    mallopt(M_MMAP_THRESHOLD, HEAP_LARGEST);
#endif
}

static uint64_t heap_now(void)
{
#ifdef __GLIBC__
    return mallinfo2().arena;
#else
    return 0;
#endif
}

void memory_reserve(uint64_t heap)
{
    struct piece *all = NULL, *p;

    for (uint64_t n = 0; n < heap && heap_now() < heap && (p = malloc(PIECE)); n += PIECE) {
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
