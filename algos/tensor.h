/* tensor.h: what is kept. State, merged view, model and scratch are one kind of thing: named, typed
 * tensors that the algorithm declares; the runtime (tensors.h) lays them out in one zeroed block,
 * saves, chunks, merges, inspects and exports them. No algorithm writes a serializer, allocates, or
 * knows where its bytes live.
 *
 * Shapes: row-major, `dim` gives the capacity and ends at the first 0. Addresses: tensor.p is
 * 64-byte aligned. Of states, scratch, and the models that score() is given it lies in the memory
 * of the compute back end, unless T_HOST; on CPU back ends both are the same. Slots, views, and
 * models elsewhere lie in host memory. Bytes on disk are the host layout, little-endian. Thread: a
 * tensors block belongs to one thread. */
#ifndef MILLRACE_TENSOR_H
#define MILLRACE_TENSOR_H

#include "config/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype { DT_F32 = 1, DT_F64, DT_U8, DT_I32, DT_U32, DT_I64, DT_U64 }; /* on disk: append only */

/* How the slots of P partitions become one view; always in slot order, into f64. */
enum law {
    LAW_LOCAL, /* not in the view; in the slot only for the next owner (rings, warm-up, counters) */
    LAW_SUM,   /* of weight_p * t_p (class A) */
    LAW_MIN,
    LAW_MAX,
    /* weighted by weight_p * n_p, n = tensor `by`: [1], or one per leading row; all 0: slot 0 */
    LAW_MEAN,
    LAW_SAME, /* equal in all slots (seeded projections): checked */
    LAW_FOLD  /* algo.fold does it (classes B, C, and D in other units) */
};

enum {
    T_HOST = 1,   /* used by plain C: in host memory on every back end */
    T_SPARSE = 2, /* rows change one by one: each must be touch()ed; others are found by hash */
    T_DECAY = 4,  /* proportional to row weights: times rows.decay before each batch */
    T_PULL = 8,   /* class D: overwritten from the view at a pull */
    T_CONST = 16  /* written by init only */
};

struct tdecl {
    uint32_t id; /* position, 0, 1, 2, ...: the algorithm's own enum */
    /* [a-z0-9._]{1,47}, stable for ever: it is in files. "@..." is the runtime's */
    const char *name;
    const char *what; /* a sentence for people, with the unit */
    enum dtype dtype;
    enum law law;
    uint32_t flags, by;
    uint32_t live;   /* id + 1 of a u64 tensor whose [0] counts live rows; those behind are zero */
    uint64_t dim[4]; /* capacity, row-major, ends at the first 0 */
};

struct tensor {
    union {
        void *p;
        float *f32;
        double *f64;
        uint8_t *u8;
        int32_t *i32;
        uint32_t *u32;
        int64_t *i64;
        uint64_t *u64;
    };
    struct tdecl d;
    /* elements; n * size; bytes of one leading row; from base */
    uint64_t n, bytes, row_bytes, offset;
};

enum { TENSORS_MAX = 64 };

struct compute;

struct tensors {
    struct tensor t[TENSORS_MAX];
    uint32_t n, chunk_shift; /* 18 = 256 KiB; tests use 6, so that every tensor crosses chunks */
    /* one zeroed block in host memory; padding stays zero. What T_HOST tensors are; of the others,
     * where the back end has memory of its own (c), the image that is saved, sent and folded: true
     * after tensors_fetch() */
    uint8_t *base;
    uint64_t bytes;          /* of the block; a multiple of 64 */
    uint64_t *dirty;         /* a bit per chunk, set by touch() */
    const struct compute *c; /* NULL: all lies in base; else where `device` does */
    void *cs;
    uint8_t *device;
};

/* Marks rows [row, row + rows) of a T_SPARSE tensor as changed. */
static inline void touch(struct tensors *s, uint32_t id, uint64_t row, uint64_t rows)
{
    const struct tensor *t = &s->t[id];
    uint64_t c = (t->offset + row * t->row_bytes) >> s->chunk_shift;
    uint64_t e = (t->offset + (row + rows) * t->row_bytes - 1) >> s->chunk_shift;

    for (; rows && c <= e; c++) /* read first: marks follow one another, and most are there */
        if (!(s->dirty[c >> 6] >> (c & 63) & 1))
            s->dirty[c >> 6] |= (uint64_t)1 << (c & 63);
}

/* declare() calls add() in a row and returns d->st. add() refuses overflow, wrong order and the
 * memory limit: "tensor w [4000000001, 32] takes 476.8 GiB, together with those before it more than
 * memory_max, which is 4.0 GiB: fewer models or a smaller id space". After a refusal it does
 * nothing, so only the first error is told. */
struct decl {
    void (*add)(struct decl *d, const struct tdecl *t);
    struct tensors *ts;
    uint64_t bytes_max;
    enum st st;
    struct err *err;
};

/* One line of a list of tensors: rows by cols elements, cols 0: a vector. */
#define TENSOR(id, name, what, dtype, law, flags, rows, cols)                                      \
    {                                                                                              \
        id, name, what, dtype, law, flags, 0, 0,                                                   \
        {                                                                                          \
            rows, cols                                                                             \
        }                                                                                          \
    }

static inline void decl_add(struct decl *d, const struct tdecl *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        d->add(d, &t[i]);
}

#endif
