/* support_rows.h: random batches for the laws, in memory that can be watched.
 *
 * Every array of a batch ends at a page that nobody may touch, and the pages of a batch can be made
 * read only, so that reading past the end or writing into rows is a SIGSEGV. What an algorithm must
 * not look at is made to hurt: columns behind d are NaN, entries before ptr[0] are no columns.
 * A batch is a function of (shape, seed, partition, number) alone. */
#ifndef MILLRACE_SUPPORT_ROWS_H
#define MILLRACE_SUPPORT_ROWS_H

#include "algos/algo.h"

struct region { /* pages, and an untouchable one behind them */
    uint8_t *base;
    size_t bytes;
};

void region_open(struct region *g, size_t bytes); /* room for at least so many */
void region_close(struct region *g);
/* Where `bytes` must begin to end at the guard page, or up to align - 1 before it. */
void *region_end(const struct region *g, size_t bytes, size_t align);
/* Fills what is behind p[bytes] up to the guard page; says whether it is still so. */
void region_mark(const struct region *g, void *p, size_t bytes);
bool region_marked(const struct region *g, const void *p, size_t bytes);
void region_protect(const struct region *g, bool read_only);

/* What a batch is made of. */
enum rows_array {
    ROWS_X,
    ROWS_PTR,
    ROWS_COL,
    ROWS_VAL,
    ROWS_UNIQ,
    ROWS_LOCAL,
    ROWS_Y,
    ROWS_WEIGHT,
    ROWS_RID,
    ROWS_KEY,
    ROWS_TS,
    ROWS_ARRAYS
};

enum {
    ROWS_NNZ_MAX = 6 /* entries of a sparse row */,
    ROWS_JUNK = 3 /* entries before ptr[0] */,
    ROWS_FOLDS_MAX = 64
};

struct rows_plan {
    uint32_t rows;                  /* most of a batch */
    uint32_t d, ny, classes, folds; /* folds: at most ROWS_FOLDS_MAX */
    bool sparse;
    bool counts;  /* a label is a number from 0, not any */
    double decay; /* of each batch; 0: 1 */
    bool missing; /* an eighth of the values are (dense rows) */
    uint64_t seed;
};

struct rows_room {
    struct rows_plan plan;
    struct region g[ROWS_ARRAYS];
    uint32_t fold_at[ROWS_FOLDS_MAX + 1];
    struct rows r;
};

void rows_open(struct rows_room *m, const struct rows_plan *plan);
void rows_close(struct rows_room *m);

/* Batch `number` of `partition`. Most have 2..rows rows and a held-out tail of 0..30 %; of seven in
 * a row one is empty, one has a single row, one only held-out rows. Some weights are 0, 0.5 or
 * 2. */
const struct rows *rows_make(struct rows_room *m, uint32_t partition, uint64_t number);
/* The same with exactly n rows, `train` of them learned. */
const struct rows *rows_make_sized(struct rows_room *m, uint32_t partition, uint64_t number,
                                   uint32_t n, uint32_t train);

#endif
