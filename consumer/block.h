/* block.h: the rows of one partition as they are decoded, until the algorithm has learned them.
 *
 * A block holds up to BLOCK_ROWS rows: dense row-major float32 [rows, ld], 64-byte aligned, or CSR.
 * It ends before the record that would exceed it, so its edges are a function of the records alone,
 * not of timing: a replay makes the same batches and the same bits. Positions exist at block edges
 * only. A decoder appends the rows of one message or none of them: it writes behind row n, and a
 * row counts once n has grown; `records`, `first` and `next` are the caller's, who alone knows of
 * null and bad messages.
 *
 * Owner: block_init takes the memory at start, in one piece and touched; block_fini frees it, also
 * after a failed init or on zeroed memory. Columns d .. ld-1 of x are zero for ever. Thread:
 * one. */
#ifndef MILLRACE_BLOCK_H
#define MILLRACE_BLOCK_H

#include "algos/rows.h"
#include "config/base/limits.h"
#include "config/base/status.h"

#include <stddef.h>

struct block_shape {
    uint32_t d, ld; /* columns, or id space when sparse; ld = d rounded up to 16 floats */
    bool sparse;
    uint32_t nnz_max; /* entries of a block, when sparse */
    uint32_t ny;      /* labels of a row: 0 or 1 */
    bool weighted, keyed, timed;
};

struct block {
    struct block_shape s;
    uint32_t n;       /* rows so far */
    uint64_t records; /* messages so far, null and bad ones included */
    int64_t first,
        next; /* offset of the first message in it, and of the message that may follow; -1: empty */
    float *x; /* [BLOCK_ROWS, ld] */
    uint32_t *ptr, *col; /* sparse: ptr[BLOCK_ROWS + 1]; entries of row i are [ptr[i], ptr[i + 1])
                            of col and val */
    float *val;
    float *y, *weight; /* [BLOCK_ROWS]; weight is 1 where the input names none */
    uint64_t *rid;     /* offset << 16 | row in record */
    uint64_t *key;     /* keyed: hash64 of the record key, or of the row's key field; else NULL */
    int64_t *ts_ms;    /* timed: of the row's time field, else of the record; else NULL */
    void *base;        /* the memory of all of the above */
};

/* Dense or sparse rows of d columns: ld and nnz_max as every codec has them; the rest is zero. */
struct block_shape block_shape_of(uint32_t d, bool sparse);
size_t block_bytes(const struct block_shape *s); /* what init will take */
MUST enum st block_init(struct block *b, const struct block_shape *s, struct err *e);
void block_fini(struct block *b);
void block_clear(struct block *b);

/* What a row is besides its data; for decoders, before or after they write the row. */
static inline void block_stamp(struct block *b, uint32_t row, uint64_t rid, uint64_t key,
                               int64_t ts_ms)
{
    DCHECK(row < BLOCK_ROWS);
    b->rid[row] = rid;
    if (b->key)
        b->key[row] = key;
    if (b->ts_ms)
        b->ts_ms[row] = ts_ms;
}

#endif
