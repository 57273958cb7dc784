/* gpu.h: what the files of the CUDA module share; the one that includes CUDA's headers.
 *
 * The sources are CUDA C++ in C's manner. tests/cuda_shim has headers of the same names, with which
 * a C++ compiler builds them for tests on machines without a GPU; so they use no more of CUDA than
 * is there, and launch kernels by launch(), not by <<<>>>.
 *
 * Two streams. All kernels run on `arith`, in the order of the calls; all copies on `copy`. What
 * orders one after the other is kept per piece of memory (struct buffer), so that the copy of the
 * next batch waits for no kernel that reads the batch before, and runs beside it (memory.cu).
 * Thread: one per self. Kernels: a thread an element, or a warp a row; sums in a fixed order. */
#ifndef MILLRACE_CUDA_GPU_H
#define MILLRACE_CUDA_GPU_H

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <initializer_list>

#define MR_INLINE static inline __host__ __device__ __attribute__((always_inline))
extern "C" {
#include "algos/compute/cuda.h"
#include "algos/compute/kernels.h"
#include "algos/compute/philox.h"
}

enum {
    WARP = 32,
    THREADS = 256, /* of a block, and WARPS of them */
    WARPS = THREADS / WARP,
    PIECES = 64, /* that may be under way */
    MARKS = 16,
    OPERANDS = 8
};
static const uint32_t LANES = 0xffffffff;    /* all of a warp */
static const uint32_t GRID_MAX = 65535;      /* blocks of a grid, but for its first dimension */
static const size_t PIECE_BYTES = 512 << 10; /* of a copy */

struct buffer { /* what one alloc() gave */
    char *p;
    size_t bytes;
    uint64_t used;   /* number of the last call whose kernels read or write it */
    uint64_t filled; /* number of the last piece copied to it */
};

struct piece { /* of pinned host memory, on its way */
    char *p;
    cudaEvent_t done;
};

struct mark { /* an instant of arith: all kernels of the calls up to `call` have run */
    cudaEvent_t reached;
    uint64_t call;
};

struct cuda {
    cudaStream_t arith, copy;
    cublasHandle_t blas;
    cublasComputeType_t products;
    void *workspace; /* of cuBLAS: with its own, sums could be ordered otherwise another time */
    struct buffer *buffers; /* ascending addresses */
    size_t buffers_n, buffers_room;
    uint64_t call;   /* calls so far */
    uint64_t pieces; /* copied so far, either way */
    uint64_t waited; /* arith has waited for the pieces up to here */
    uint64_t behind; /* copy has waited for the calls up to here */
    uint64_t marks;
    char *pinned;
    struct piece piece[PIECES];
    struct mark mark[MARKS];
    char device[256], error[256]; /* error: the first; "" none */
};

/* Remembers the first failure. False: this one failed. */
bool passed(struct cuda *s, cudaError_t e, const char *what);
bool passed(struct cuda *s, cublasStatus_t e, const char *what);
#define RUN(s, call) passed(s, call, #call)

/* Before the kernels of a call: what they read and write, one address of each piece of memory; NULL
 * is none. */
void use(struct cuda *s, std::initializer_list<const void *> operands);

enum st cuda_open(struct cuda *s, enum cuda_products products, struct err *e);
void cuda_close(void *self);
void *cuda_alloc(void *self, size_t bytes);
void cuda_free(void *self, void *p);
void cuda_put(void *self, void *dev, const void *host, size_t bytes);
void cuda_get(void *self, void *host, const void *dev, size_t bytes);
enum st cuda_sync(void *self);

void cuda_gemm(void *self, int tr, float alpha, struct mat a, struct mat b, float beta,
               struct mat c);
void cuda_syrk(void *self, float alpha, struct mat a, float beta, struct mat c);
void cuda_acc64(void *self, struct mat a, double *sum);
void cuda_gram64(void *self, struct mat a, const float *w, double beta, double *work, double *sum);
void cuda_colsum(void *self, struct mat a, const float *w, float *out);
void cuda_rowsq(void *self, struct mat a, float *out);
void cuda_rowmin(void *self, struct mat a, const float *bias, uint32_t *at, float *val);
void cuda_topk(void *self, struct mat a, const float *bias, uint32_t k, uint32_t *at, float *val);
void cuda_segsum(void *self, struct mat x, const float *w, const uint32_t *seg, struct mat sum,
                 double *n);
void cuda_softmax(void *self, uint32_t groups, struct mat z, float *lse);
void cuda_csr_mm(void *self, struct csr x, struct mat w, struct mat z);
void cuda_csr_tmm(void *self, struct csr x, struct mat e, struct mat g);
void cuda_csr_sddmm(void *self, struct csr x, struct mat a, struct mat b, float *val);
void cuda_gather(void *self, struct mat src, const uint32_t *row, struct mat dst);
void cuda_scatter(void *self, struct mat src, const uint32_t *row, struct mat dst);
void cuda_fill(void *self, enum fill_kind k, const uint64_t key[2], const uint64_t *rid,
               struct mat out);
void cuda_ew(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
             const float *prm);

/* ---- launching ---- */

struct space { /* blocks of a grid, threads of a block */
    dim3 grid, block;
};

static inline uint32_t blocks(uint64_t n, uint32_t each)
{
    uint64_t b = (n + each - 1) / each;

    return (uint32_t)(b < GRID_MAX ? b : GRID_MAX);
}

/* A thread an element: one column each, and rows in steps. See FOR_ELEMENTS. */
static inline struct space elements(uint32_t rows, uint32_t cols)
{
    uint32_t x = 1;
    struct space g;

    while (x < cols && x < THREADS)
        x *= 2;
    g.grid = dim3((cols - 1) / x + 1, blocks(rows, THREADS / x));
    g.block = dim3(x, THREADS / x);
    return g;
}

/* A warp a row, and rows in steps. See FOR_ROWS. */
static inline struct space warps(uint64_t rows, uint32_t tiles = 1)
{
    struct space g;

    g.grid = dim3(blocks(rows, WARPS), tiles);
    g.block = dim3(WARP, WARPS);
    return g;
}

template <typename... Parameters, typename... Arguments>
static inline void launch(struct cuda *s, struct space g, void (*kernel)(Parameters...),
                          Arguments... arguments)
{
    cudaLaunchConfig_t config = {};

    config.gridDim = g.grid;
    config.blockDim = g.block;
    config.stream = s->arith;
    RUN(s, cudaLaunchKernelEx(&config, kernel, arguments...));
}

#define FOR_ELEMENTS(row, rows, col, cols)                                                         \
    const uint32_t col = blockIdx.x * blockDim.x + threadIdx.x;                                    \
    if (col < (cols))                                                                              \
        for (size_t row = blockIdx.y * blockDim.y + threadIdx.y; row < (rows);                     \
             row += (size_t)gridDim.y * blockDim.y)

/* Lanes are folded in halves; all get the sum. */
template <typename T> static inline __device__ T sum_of_lanes(T v)
{
    for (uint32_t half = WARP / 2; half; half /= 2)
        v += __shfl_down_sync(LANES, v, half);
    return __shfl_sync(LANES, v, 0);
}

#define FOR_ROWS(row, rows)                                                                        \
    for (uint64_t row = (uint64_t)blockIdx.x * blockDim.y + threadIdx.y; row < (rows);             \
         row += (uint64_t)gridDim.x * blockDim.y)

#endif
