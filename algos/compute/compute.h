/* compute.h: the compute table: row-major float32 operations and the memory they work on.
 *
 * One back end is one `const struct compute`; `ref` is plain C and defines each operation, every
 * other back end is compared with it, operation by operation, by normalised error with a stated
 * limit (tests/conform/compute*). Element-wise maths is one file of kernels (kernels.def) with one
 * entry, `ew`. A new back end is one file here and one line in compute_list.c.
 *
 * Life open -> alloc, put, operations, get, sync -> free -> close; close is safe after a failed
 *      open.
 *
 * Owner: the caller owns `self`, self_bytes of zeroed memory, NULL if that is 0; buffers belong to
 * the back end that made them. Compute space is what alloc() gives: host memory, if host_memory
 * says so; else memory that the host may only name, and move by put and get. Pointers are borrowed
 * until the call returns; those into compute space, on a device, until sync.
 *
 * Thread: one per self. Results are as if everything were done in the order asked for; a device
 * does it later than asked. put is done with the host's bytes on return; get waits for what has
 * been asked of that buffer (one alloc), sync for all, and a put where 32 MiB of puts are under
 * way: so copies from and to one buffer hide behind arithmetic on others. Where host_memory is set
 * everything is done on return. Only open and alloc take memory.
 *
 * Shapes: m[r, c] with row stride ld >= c floats; p in compute space, 4-byte aligned; r or c may be
 * 0. Outputs overlap no input. What lies between c and ld is neither read nor written.
 *
 * Repeatable: the same call on the same bytes gives the same bytes, wherever they lie: reduction
 * order is fixed, no atomics. ref, and every kernel and random number, give them on every machine
 * and with every compiler; openblas for one library version on one type of machine; cuda the same,
 * and its gemm, syrk and gram64 at addresses that are equal modulo 16.
 *
 * NaN goes in, comes out; it is never hidden by a comparison, and counts as the greatest number
 * where one has to be picked. Errors of a device surface at sync(). Sizes are inside data: checked
 * by CHECK, not by status. */
#ifndef MILLRACE_COMPUTE_H
#define MILLRACE_COMPUTE_H

#include "config/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mat {
    float *p;
    uint32_t r, c, ld;
};

static inline struct mat mat(float *p, uint32_t r, uint32_t c, uint32_t ld)
{
    return (struct mat){p, r, c, ld};
}

/* operand of an element-wise kernel; ld is the row stride of F and A operands, 0 for R and C */
struct arg {
    float *p;
    uint32_t ld;
};

/* row i holds entries [ptr[i], ptr[i + 1]) of idx and val; ptr[0] need not be 0; idx is feat.local
 * or feat.col: columns of the row, below the height of the matrix it is multiplied with */
struct csr {
    uint32_t n;
    const uint32_t *ptr, *idx;
    const float *val; /* NULL: all ones */
};

enum { NO_T = 0, TA = 1, TB = 2 };

enum ew_id {
    EW_NONE,
#define EW(name, ...) EW_##name,
#include "algos/compute/kernels.def"
#undef EW
    EW_COUNT
};

enum fill_kind { FILL_U01, FILL_NORMAL, FILL_SIGN };

struct compute {
    const char *name, *summary;
    size_t self_bytes;
    bool host_memory; /* of alloc(): plain code may read and write it */
    /* ST_BAD_CONFIG: not on this machine, or not as it is set up; says what to change */
    MUST enum st (*open)(void *self, struct err *e);
    void (*close)(void *self);
    /* 64-byte aligned, zeroed; start only; NULL: out of memory. Pages of host memory that are
     * never touched cost nothing. */
    void *(*alloc)(void *self, size_t bytes);
    void (*free)(void *self, void *p);
    void (*put)(void *self, void *dev, const void *host, size_t bytes);
    void (*get)(void *self, void *host, const void *dev, size_t bytes);
    MUST enum st (*sync)(void *self);
    /* c = alpha op(a) op(b) + beta c; tr is NO_T, TA or TB; beta 0 does not read c */
    void (*gemm)(void *self, int tr, float alpha, struct mat a, struct mat b, float beta,
                 struct mat c);
    /* lower triangle of a'a */
    void (*syrk)(void *self, float alpha, struct mat a, float beta, struct mat c);
    /* sum[r, c] += a, in f64, without stride: the second level of sums over many batches */
    void (*acc64)(void *self, struct mat a, double *sum);
    /* sum = beta sum + the sum over rows i of w[i] a_i a_i', products and sums in f64. sum is a
     * packed lower triangle: row i begins at i (i + 1) / 2. w >= 0; NULL: 1; beta 0 does not read
     * sum. work[(a.r + a.c) a.c], compute space, is scratch */
    void (*gram64)(void *self, struct mat a, const float *w, double beta, double *work,
                   double *sum);
    /* out[c] = sum_i w[i] a[i, c], summed in f64; w NULL: 1 */
    void (*colsum)(void *self, struct mat a, const float *w, float *out);
    void (*rowsq)(void *self, struct mat a, float *out); /* out[r] = |a_i|^2, summed in f64 */
    /* at[r] = argmin_j a[i, j] + bias[j], val[r] the minimum; ties: lowest column; bias NULL: 0;
     * a.c > 0 */
    void (*rowmin)(void *self, struct mat a, const float *bias, uint32_t *at, float *val);
    /* the k smallest of a row, ascending, ties: lowest column first; at[r, k], val[r, k]; k <=
     * a.c */
    void (*topk)(void *self, struct mat a, const float *bias, uint32_t k, uint32_t *at, float *val);
    /* sum[seg[i]] += w[i] x_i, n[seg[i]] += w[i], in row order; w NULL: 1 */
    void (*segsum)(void *self, struct mat x, const float *w, const uint32_t *seg, struct mat sum,
                   double *n);
    /* in place over each group of z.c / groups columns; lse[z.r, groups] = log-sum-exp of the
     * logits */
    void (*softmax)(void *self, uint32_t groups, struct mat z, float *lse);
    void (*csr_mm)(void *self, struct csr x, struct mat w, struct mat z); /* z = x w */
    /* g = x' e, summed in row order; rows of g without entries become 0 */
    void (*csr_tmm)(void *self, struct csr x, struct mat e, struct mat g);
    /* val[q] = a_i . b_idx[q] for the entries q of row i; x.val is not read */
    void (*csr_sddmm)(void *self, struct csr x, struct mat a, struct mat b, float *val);
    /* dst_i = src_row[i] */
    void (*gather)(void *self, struct mat src, const uint32_t *row, struct mat dst);
    /* dst_row[i] = src_i; rows distinct */
    void (*scatter)(void *self, struct mat src, const uint32_t *row, struct mat dst);
    /* Philox4x32-10 (philox.h): out[i, j] is a function of (key, rid[i], j) alone; rid NULL: i. U01
     * is open at both ends, NORMAL has mean 0 and deviation 1, SIGN is +1 or -1. One key, one
     * purpose. */
    void (*fill)(void *self, enum fill_kind k, const uint64_t key[2], const uint64_t *rid,
                 struct mat out);
    /* kernel k over size[0] rows and size[1] columns; operands and scalars as listed in
     * kernels.def */
    void (*ew)(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
               const float *prm);
};

/* All back ends of this build, `ref` first; checked at start (names unique, every pointer set). */
extern const struct compute *const compute_list[];
extern const uint32_t compute_count;
const struct compute *compute_find(const char *name); /* NULL: none of that name */
MUST enum st compute_check(struct err *e);            /* once, at start */

extern const struct compute compute_ref, compute_openblas;
extern const struct compute compute_cuda, compute_cuda_tf32, compute_cuda_bf16; /* cuda.h */

#endif
