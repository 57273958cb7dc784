/* batch.h: a block as the batches that an algorithm learns.
 *
 * Batch i of a block is its rows [i * batch_rows, ...), the last may be short; so batches are a
 * function of the records alone.
 * Within a batch the rows to learn come first, in folds, and the held-out ones last (algos/rows.h).
 * Which row goes where is decided by a hash of seed and key (keyed blocks: a series is learned or
 * held out as a whole) or of seed, partition and rid; order within each part is the order of the
 * records. Without holdout and folds a batch points into the block; else its rows are copied here.
 *
 * For sparse rows `uniq` and `local` are made here, in time proportional to the entries, not to the
 * id space.
 *
 * Life init -> (begin -> next*)* -> fini, which is safe on zeroed memory and after a failed init.
 * Owner The rows handed out are borrowed until the next call; they point into the batch and the
 * block, and read only.
 * Thread One. Allocation: init alone, as many bytes as batch_bytes says. */
#ifndef MILLRACE_BATCH_H
#define MILLRACE_BATCH_H

#include "consumer/block.h"

enum { FOLDS_MAX = 64 };

struct batch_conf {
    uint32_t batch_rows; /* 1 .. BATCH_ROWS_MAX */
    uint32_t folds;      /* parts of the rows to learn; 0 and 1 are the same */
    float holdout;       /* share of rows scored and never learned: 0 .. 0.5 */
    uint64_t seed;
    uint64_t half_life; /* learned rows of a partition after which one counts half; 0: never */
};

struct batch {
    struct block_shape s;
    struct batch_conf conf;
    uint64_t threshold;    /* of the held-out hash */
    const struct block *b; /* being read; NULL: none */
    uint32_t at, partition, epoch;
    uint64_t number; /* of the next batch */
    uint32_t fold_at[FOLDS_MAX + 1];
    float *x, *y, *weight, *val; /* copies, where rows have to move */
    uint32_t *ptr, *col;
    uint64_t *rid, *key;
    int64_t *ts_ms;
    uint8_t *part;          /* [batch_rows]: fold, or folds: held out */
    uint16_t *order;        /* [batch_rows]: row of the batch that comes to place i */
    uint32_t *uniq, *local; /* sparse */
    uint32_t *slot; /* [d]: where a column may stand in uniq; checked there, so never cleared */
    void *base;
};

size_t batch_bytes(const struct block_shape *s, const struct batch_conf *c);
/* ST_BAD_CONFIG: more memory than there is. */
MUST enum st batch_init(struct batch *t, const struct block_shape *s, const struct batch_conf *c,
                        struct err *e);
void batch_fini(struct batch *t);

/* The block must stay as it is until the last batch is done. first: number of its first batch
 * within the epoch. */
void batch_begin(struct batch *t, const struct block *b, uint32_t partition, uint32_t epoch,
                 uint64_t first);
/* Fills *r (r->host == r) and returns true, or false at the end of the block; then t->number is the
 * number of the next block's first batch. */
bool batch_next(struct batch *t, struct rows *r);

#endif
