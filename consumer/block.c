#include "consumer/block.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static_assert(BLOCK_ROWS <= 1 << 16, "a row's number in its record has 16 bits of rid");

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The next array of the block, or NULL while the sizes are only added up. */
static void *take(uint8_t *base, size_t *at, size_t count, size_t bytes)
{
    void *p = base ? base + *at : NULL;

    *at += aligned(count * bytes);
    return p;
}

/* One list of arrays for both the size and the addresses. */
static size_t lay_out(struct block *b, const struct block_shape *s, uint8_t *base)
{
    size_t at = 0, rows = BLOCK_ROWS;

    if (s->sparse) {
        b->ptr = take(base, &at, rows + 1, sizeof *b->ptr);
        b->col = take(base, &at, s->nnz_max, sizeof *b->col);
        b->val = take(base, &at, s->nnz_max, sizeof *b->val);
    } else {
        b->x = take(base, &at, rows * s->ld, sizeof *b->x);
    }
    if (s->ny)
        b->y = take(base, &at, rows, sizeof *b->y);
    b->weight = take(base, &at, rows, sizeof *b->weight);
    b->rid = take(base, &at, rows, sizeof *b->rid);
    if (s->keyed)
        b->key = take(base, &at, rows, sizeof *b->key);
    if (s->timed)
        b->ts_ms = take(base, &at, rows, sizeof *b->ts_ms);
    return at;
}

struct block_shape block_shape_of(uint32_t d, bool sparse)
{
    struct block_shape s = {.d = d, .sparse = sparse};

    CHECK(d >= 1 && d <= COLUMNS_MAX);
    if (sparse)
        s.nnz_max = BLOCK_ROWS * (d < BLOCK_ROW_ENTRIES ? d : BLOCK_ROW_ENTRIES);
    else
        s.ld = (d + 15) / 16 * 16;
    return s;
}

size_t block_bytes(const struct block_shape *s)
{
    struct block none = {0};

    return lay_out(&none, s, NULL);
}

enum st block_init(struct block *b, const struct block_shape *s, struct err *e)
{
    size_t bytes = block_bytes(s);

    CHECK(s->d >= 1 && s->d <= COLUMNS_MAX);
    CHECK(s->ny <= 1);
    CHECK(s->sparse ? s->nnz_max >= 1 : s->ld >= s->d && s->ld % 16 == 0);
    memset(b, 0, sizeof *b);
    b->base = aligned_alloc(ALIGN, bytes);
    if (!b->base)
        return fail(e, ST_BAD_CONFIG,
                    "a block of %u rows of %u columns takes %.1f GB, more than there is: use fewer "
                    "columns, or a sparse form",
                    BLOCK_ROWS, s->d, (double)bytes / 1e9);
    memset(b->base, 0, bytes); /* touched now: what is declared at start is what is used */
    b->s = *s;
    CHECK(lay_out(b, s, b->base) == bytes);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++)
        b->weight[i] = 1;
    block_clear(b);
    return ST_OK;
}

void block_fini(struct block *b)
{
    free(b->base);
    memset(b, 0, sizeof *b);
}

void block_clear(struct block *b)
{
    b->n = 0;
    b->records = 0;
    b->first = b->next = -1;
    if (b->ptr)
        b->ptr[0] = 0;
}
