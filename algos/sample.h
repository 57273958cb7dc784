/* sample.h: a sample of fixed size of all rows learned, kept in tensors: what knn and rcf learn.
 *
 * Each row has a key, a function of (seed, partition, rid, weight, age) alone; a slot keeps the N
 * rows of smallest key, the view the N smallest of all slots. So the sample does not depend on how
 * rows were dealt to partitions and batches, and a row seen again is the row that is there already:
 * class B of the merge laws, a set. sample.c has the law of the keys.
 *
 * Life   declare -> (begin, then fresh and take for each learned row in order) per batch;
 *        fold per slot, fold_end; then the view's rows [0, live) are the sample by ascending key,
 *        and the first n of them are the sample of size n.
 * Owner  The tensors lie at ids 0 .. SAMPLE_*_N - 1 of the algorithm's state, view and work; its
 *        own follow. All are host memory. The algorithm writes x and y of a place that take() gave.
 * Shapes N rows kept, D numbers of each, L labels of each (0: none). */
#ifndef MILLRACE_SAMPLE_H
#define MILLRACE_SAMPLE_H

#include "algos/algo.h"

struct sample {
    uint32_t n, d, ny;
    uint64_t purpose; /* of the hash: the algorithm's own number */
};

/* State. */
enum {
    SAMPLE_HEAD, /* u64[SAMPLE_HEAD_N] */
    SAMPLE_AGE,  /* f64[1] what the half-life has taken of the first rows' weight: -log of it */
    SAMPLE_KEY,  /* f64[N] by place */
    SAMPLE_RID,  /* u64[N] by place */
    SAMPLE_X,    /* f32[N, D] by place */
    SAMPLE_Y,    /* f32[N, L] by place */
    SAMPLE_HEAP, /* u32[N] places, the greatest (key, rid) on top; local */
    SAMPLE_STATE_N
};
enum { SAMPLE_LIVE /* rows kept */, SAMPLE_NEXT /* 1 + the greatest rid seen */, SAMPLE_HEAD_N };

/* View: rows [0, live) by ascending (key, partition, rid). */
enum {
    SAMPLE_VIEW_HEAD,  /* u64[1] live */
    SAMPLE_VIEW_KEY,   /* f64[N] as of the end of each partition */
    SAMPLE_VIEW_RID,   /* u64[N] */
    SAMPLE_VIEW_PART,  /* u32[N] partition */
    SAMPLE_VIEW_X,     /* f32[N, D] */
    SAMPLE_VIEW_Y,     /* f32[N, L] */
    SAMPLE_VIEW_ORDER, /* u32[N] places by ascending key while slots are added; then 0 */
    SAMPLE_VIEW_N
};

/* Work, for fold. */
enum {
    SAMPLE_WORK_ORDER, /* u32[N] places of the slot, sorted */
    SAMPLE_WORK_MERGE, /* u32[N] places of the view or, marked, of the slot */
    SAMPLE_WORK_FREE,  /* u32[N] places of the view that are free */
    SAMPLE_WORK_ROW,   /* f32[max(D, L)] */
    SAMPLE_WORK_N
};

/* Declares the tensors of a part (STATE, VIEW or WORK). */
void sample_declare(struct decl *d, enum part p, const struct sample *s);

/* One batch. */
struct sampler {
    const struct sample *s;
    struct tensors *t;
    const struct rows *r; /* host memory */
    uint64_t salt, next;
    double age, pace; /* of the rows before the batch; how much older each row makes them */
    double bound;     /* a row of weight 1 whose hash is at least bound * 2^64 is not taken */
};

/* Before the rows of a batch: the half-life passes if one of them is fresh. */
struct sampler sample_begin(const struct ctx *x, const struct sample *s, struct tensors *state,
                            const struct rows *r);
/* Has row i weight, and was it not seen before? Such rows only, in ascending order, go to take().
 */
bool sample_fresh(struct sampler *m, uint32_t i);
/* Is row i one of the N? Then its numbers and labels belong into *place; x is touched. */
bool sample_take(struct sampler *m, uint32_t i, uint32_t *place);

/* Of a sample that was read back: ST_CORRUPT where its places are not those of its rows. */
MUST enum st sample_intact(const struct ctx *x, const struct sample *s,
                           const struct tensors *state);

MUST enum st sample_fold(const struct ctx *x, const struct sample *s, struct tensors *view,
                         const struct slot *slot);
void sample_fold_end(const struct ctx *x, const struct sample *s, struct tensors *view);

/* Of a row by its hash: log(-log(1 - u)), u = (hash + 1/2) / 2^64, ascending with the hash; less
 * the logarithms of weight and age it is the row's key. For tests. */
uint64_t sample_hash(uint64_t seed, uint64_t purpose, uint32_t partition, uint64_t rid);
double sample_key(uint64_t hash, double weight, double age);
/* Natural logarithm of a positive number, within 1e-15: + - * / only, so the same bits
 * everywhere. */
double sample_log(double v);

#endif
