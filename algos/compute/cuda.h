/* cuda.h: what the program and the CUDA module, millrace-cuda.so, say to each other.
 *
 * The program links nothing of CUDA. cuda.c, in the program, has the tables compute_cuda*: open()
 * loads the module, all other members pass the call on. The module (algos/compute/cuda/) has the
 * operations; it exports the function CUDA_ENTRY alone. Both are built from the same sources, which
 * open() checks: `abi` and `kernels` are the program's own, or the module is refused.
 *
 * Choices: full f32; products of gemm in TF32 or BF16 on tensor cores, sums in f32. Each is a back
 * end with a name of its own, because state bytes depend on it. */
#ifndef MILLRACE_CUDA_H
#define MILLRACE_CUDA_H

#include "algos/compute/compute.h"

#define CUDA_ENTRY "millrace_cuda"

enum { CUDA_ABI = 1 };

enum cuda_products { CUDA_F32, CUDA_TF32, CUDA_BF16, CUDA_CHOICES };

/* Every kernel with its operands and its formula, in order: ew_id means the same in both. */
#define EW(name, kinds, ...) #name " " kinds " " #__VA_ARGS__ "\n"
static const char cuda_kernels[] =
#include "algos/compute/kernels.def"
    ;
#undef EW

struct cuda_module {
    uint32_t abi, bytes; /* CUDA_ABI, sizeof(struct compute) */
    const char *kernels; /* cuda_kernels */
    const struct compute *choice[CUDA_CHOICES];
    const char *(*device)(const void *self); /* after open: which one it is, in words */
    const char *(*error)(const void *self);  /* after a failed sync: what failed first, and how */
};

#endif
