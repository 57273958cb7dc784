/* cpu.h: what the CPU back ends share; included by them alone.
 *
 * Memory, row moves, random numbers and element-wise kernels are the same on every CPU back end:
 * they stand once, under the prefix cpu_ (cpu.c, ew.c). Operations that ref defines and another
 * back end takes over as they are have the prefix ref_ (ref.c). None of them uses `self`.
 * Contracts: compute.h. */
#ifndef MILLRACE_CPU_H
#define MILLRACE_CPU_H

#include "algos/compute/compute.h"
#include "config/base/clones.h"

void *cpu_alloc(void *self, size_t bytes);
void cpu_free(void *self, void *p);
void cpu_put(void *self, void *dev, const void *host, size_t bytes);
void cpu_get(void *self, void *host, const void *dev, size_t bytes);
enum st cpu_sync(void *self);
void cpu_gather(void *self, struct mat src, const uint32_t *row, struct mat dst);
void cpu_scatter(void *self, struct mat src, const uint32_t *row, struct mat dst);
void cpu_fill(void *self, enum fill_kind k, const uint64_t key[2], const uint64_t *rid,
              struct mat out);
void cpu_ew(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
            const float *prm);
/* A kernel over rows with the columns as lanes; operands as in ew(). */
struct cpu_kernel {
    void (*run)(size_t rows, size_t cols, const struct arg *a, const float *prm);
};
/* EW_adagrad with these settings of cols columns, as this CPU does it sooner than in the form that
 * is compiled for all; run NULL: it does not. */
struct cpu_kernel cpu_adagrad(size_t cols, const struct arg *a);

void ref_gemm(void *self, int tr, float alpha, struct mat a, struct mat b, float beta,
              struct mat c);
void ref_syrk(void *self, float alpha, struct mat a, float beta, struct mat c);
void ref_acc64(void *self, struct mat a, double *sum);
void ref_gram64(void *self, struct mat a, const float *w, double beta, double *work, double *sum);
void ref_colsum(void *self, struct mat a, const float *w, float *out);
void ref_rowsq(void *self, struct mat a, float *out);
void ref_rowmin(void *self, struct mat a, const float *bias, uint32_t *at, float *val);
void ref_topk(void *self, struct mat a, const float *bias, uint32_t k, uint32_t *at, float *val);
void ref_segsum(void *self, struct mat x, const float *w, const uint32_t *seg, struct mat sum,
                double *n);
void ref_softmax(void *self, uint32_t groups, struct mat z, float *lse);
void ref_csr_mm(void *self, struct csr x, struct mat w, struct mat z);
void ref_csr_tmm(void *self, struct csr x, struct mat e, struct mat g);
void ref_csr_sddmm(void *self, struct csr x, struct mat a, struct mat b, float *val);

/* c = beta c, without reading c where beta is 0; `tri`: the lower triangle alone. */
void ref_scale(float beta, struct mat c, int tri);
void ref_scale64(double beta, size_t n, double *sum); /* the same for n doubles */

#endif
