/* rows.h: a batch as algorithms see it: borrowed until update() or score() returns, read only.
 *
 * Held-out rows are the tail of the batch: rows [0, train) are learned, [train, n) only scored. */
#ifndef MILLRACE_ROWS_H
#define MILLRACE_ROWS_H

#include "config/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { PORTS_MAX = 4 };

/* forms a port may take; one per job */
enum {
    PORT_DENSE = 1,  /* x[n, d], row stride ld floats, 64-byte aligned */
    PORT_SPARSE = 2, /* CSR: columns ascending and unique in a row, val = value or count */
    PORT_SEQ = 4,    /* CSR: ids in order, repeats allowed (tokens, paths); val NULL */
    PORT_TEXT = 8    /* with SPARSE/SEQ: the source text of ids too */
};

struct port {
    const char *name, *what;
    uint32_t forms;
    bool required;
};

struct feat {
    uint32_t d, ld; /* columns or id space; row stride of x in floats */
    const float *x; /* NaN = missing, only with ALGO_MISSING; infinite never */
    /* ptr[n + 1], col[ptr[n]]; ptr[0] need not be 0: rows are col[ptr[i]..ptr[i+1]) */
    const uint32_t *ptr, *col;
    const float *val; /* indexed as col; NULL: all ones */
    uint32_t uniq_n;  /* distinct columns in order of appearance: one list for gather, */
    const uint32_t *uniq, *local; /* update, scatter and touch; col[q] == uniq[local[q]] */
    const uint32_t *text_at;
    const char *text;
};

struct rows {
    uint32_t n, train; /* train <= n; either may be 0 */
    uint32_t partition, epoch;
    uint64_t batch; /* number of the batch within the epoch, by position */
    bool last;      /* of its block: the state may be saved once it is learned */
    uint32_t folds; /* rows of fold f are [fold_at[f], fold_at[f + 1]); fold_at[folds] == train */
    const uint32_t *fold_at;
    struct feat in[PORTS_MAX];
    uint32_t ny; /* y[n, ny]; classes 0..C-1 as float; y NULL: no labels */
    const float *y;
    const uint32_t *y_ptr, *y_col; /* multi-label as CSR instead of y */
    const float *weight;           /* never NULL, >= 0; without the weights of classes */
    /* half-life: what was learned before this batch counts so much less from here on, (0, 1]; an
     * algorithm multiplies with it what is proportional to row weights before it learns. 1: the job
     * has no half-life */
    double decay;
    /* offset << 16 | row in record; random numbers: key (seed, purpose, partition), counter rid */
    const uint64_t *rid;
    const uint64_t *key;     /* hash of the record key, if ALGO_KEY */
    const int64_t *ts_ms;    /* event time, if ALGO_TIME: data, not a clock */
    const struct rows *host; /* the same batch in host memory; == this on CPU back ends */
};

/* Sum of the weights of the rows that will be learned; 0: there is nothing to learn. */
double rows_weight(const struct rows *r);
/* Sparse: how many of `uniq` the learned rows have. Columns are numbered by their first appearance
 * and held-out rows are last, so those are the first of them. */
uint32_t rows_columns(const struct rows *r);

static inline bool is_class(float y, uint32_t classes)
{
    float in =
        y >= 0 && y < (float)classes ? y : 0.5f; /* without a jump, so that loops vectorise */

    return (float)(int32_t)in == in;
}
/* ST_BAD_INPUT: a label of the batch is not a class, 0 .. classes - 1. */
MUST enum st rows_classes(const struct rows *r, uint32_t classes, struct err *e);

#endif
