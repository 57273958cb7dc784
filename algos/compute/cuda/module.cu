/* module.cu: millrace-cuda.so as the program sees it: opening a device, and the tables. */
#include "algos/compute/cuda/gpu.h"

#include <stdio.h>
#include <stdlib.h>

enum { OLDEST = 8, WORKSPACE_BYTES = 32 << 20 };

/* The first device; CUDA_VISIBLE_DEVICES says which one that is. */
static enum st look(struct cuda *s, struct err *e)
{
    int devices = 0, driver = 0, runtime = 0;
    struct cudaDeviceProp prop;
    cudaError_t found = cudaGetDeviceCount(&devices);

    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return fail(e, ST_BAD_CONFIG,
                    "no NVIDIA driver is loaded (libcuda.so.1); install one for CUDA %d.%d, or "
                    "train with device cpu",
                    runtime / 1000, runtime % 1000 / 10);
    if (found == cudaErrorInsufficientDriver)
        return fail(e, ST_BAD_CONFIG,
                    "the NVIDIA driver is for CUDA %d.%d, the module needs %d.%d; install a newer "
                    "driver, or train with device cpu",
                    driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (found != cudaSuccess || devices == 0)
        return fail(e, ST_BAD_CONFIG,
                    "no GPU is visible (%s); look at nvidia-smi and CUDA_VISIBLE_DEVICES, or train "
                    "with device cpu",
                    cudaGetErrorString(found == cudaSuccess ? cudaErrorNoDevice : found));
    if (!RUN(s, cudaSetDevice(0)) || !RUN(s, cudaGetDeviceProperties(&prop, 0)))
        return fail(e, ST_BAD_CONFIG, "%s", s->error);
    if (prop.major < OLDEST)
        return fail(e, ST_BAD_CONFIG,
                    "%s has compute capability %d.%d, the module needs %d.0; train with device cpu",
                    prop.name, prop.major, prop.minor, OLDEST);
    snprintf(s->device, sizeof s->device,
             "%.128s, compute capability %d.%d, driver for CUDA %d.%d, runtime %d.%d", prop.name,
             prop.major, prop.minor, driver / 1000, driver % 1000 / 10, runtime / 1000,
             runtime % 1000 / 10);
    return ST_OK;
}

static bool prepare(struct cuda *s)
{
    const unsigned flags = cudaEventDisableTiming;
    void *pinned = NULL;

    if (!RUN(s, cudaStreamCreateWithFlags(&s->arith, cudaStreamNonBlocking)) ||
        !RUN(s, cudaStreamCreateWithFlags(&s->copy, cudaStreamNonBlocking)) ||
        !RUN(s, cudaHostAlloc(&pinned, PIECES * PIECE_BYTES, cudaHostAllocDefault)))
        return false;
    s->pinned = (char *)pinned;
    for (int i = 0; i < PIECES; i++) {
        s->piece[i].p = s->pinned + i * PIECE_BYTES;
        if (!RUN(s, cudaEventCreateWithFlags(&s->piece[i].done, flags)))
            return false;
    }
    for (int i = 0; i < MARKS; i++)
        if (!RUN(s, cudaEventCreateWithFlags(&s->mark[i].reached, flags)))
            return false;
    if (!RUN(s, cublasCreate(&s->blas)) || !RUN(s, cublasSetStream(s->blas, s->arith)) ||
        !RUN(s, cublasSetMathMode(s->blas, CUBLAS_DEFAULT_MATH)))
        return false;
    s->workspace = cuda_alloc(s, WORKSPACE_BYTES);
    return s->workspace && RUN(s, cublasSetWorkspace(s->blas, s->workspace, WORKSPACE_BYTES));
}

/* A driver that cannot run our kernels, or a library that computes wrongly, shows here: a product
 * of small whole numbers, whose sums are exact in all formats. */
static bool works(struct cuda *s)
{
    enum { N = 64 };
    const uint32_t size[2] = {N, N};
    const float two = 2.0f;
    struct arg a[OPERANDS] = {};
    float *p = (float *)cuda_alloc(s, 2 * sizeof(float) * N * N), got = 0.0f;

    if (!p)
        return false;
    a[0].p = p;
    a[0].ld = N;
    cuda_ew(s, EW_set, size, a, &two);
    cuda_gemm(s, NO_T, 1.0f, mat(p, N, N, N), mat(p, N, N, N), 0.0f, mat(p + N * N, N, N, N));
    cuda_get(s, &got, p + 2 * N * N - 1, sizeof got);
    cuda_free(s, p);
    return got == two * two * (float)N;
}

enum st cuda_open(struct cuda *s, enum cuda_products products, struct err *e)
{
    static const cublasComputeType_t type[CUDA_CHOICES] = {
        CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F_FAST_16BF};
    bool ready;

    TRY(look(s, e));
    s->products = type[products];
    ready = prepare(s);
    if (!ready || !works(s) || *s->error)
        return fail(e, ST_BAD_CONFIG,
                    "%.160s: %s; is the GPU's memory full (nvidia-smi)? or train with device cpu",
                    s->device,
                    *s->error ? s->error
                    : !ready  ? "out of memory"
                              : "a product comes out wrong");
    return ST_OK;
}

/* After open, or part of it. */
void cuda_close(void *self)
{
    struct cuda *s = (struct cuda *)self;

    if (s->blas)
        (void)cublasDestroy(s->blas);
    while (s->buffers_n)
        cuda_free(s, s->buffers[s->buffers_n - 1].p);
    free(s->buffers);
    for (int i = 0; i < PIECES; i++)
        if (s->piece[i].done)
            (void)cudaEventDestroy(s->piece[i].done);
    for (int i = 0; i < MARKS; i++)
        if (s->mark[i].reached)
            (void)cudaEventDestroy(s->mark[i].reached);
    if (s->pinned)
        (void)cudaFreeHost(s->pinned);
    if (s->copy)
        (void)cudaStreamDestroy(s->copy);
    if (s->arith)
        (void)cudaStreamDestroy(s->arith);
    *s = cuda();
}

#define TABLE(id, words, products, what)                                                           \
    static enum st id##_open(void *self, struct err *e)                                            \
    {                                                                                              \
        return cuda_open((struct cuda *)self, products, e);                                        \
    }                                                                                              \
    static const struct compute id##_table = {                                                     \
        .name = words,                                                                             \
        .summary = what,                                                                           \
        .self_bytes = sizeof(struct cuda),                                                         \
        .host_memory = false,                                                                      \
        .open = id##_open,                                                                         \
        .close = cuda_close,                                                                       \
        .alloc = cuda_alloc,                                                                       \
        .free = cuda_free,                                                                         \
        .put = cuda_put,                                                                           \
        .get = cuda_get,                                                                           \
        .sync = cuda_sync,                                                                         \
        .gemm = cuda_gemm,                                                                         \
        .syrk = cuda_syrk,                                                                         \
        .acc64 = cuda_acc64,                                                                       \
        .gram64 = cuda_gram64,                                                                     \
        .colsum = cuda_colsum,                                                                     \
        .rowsq = cuda_rowsq,                                                                       \
        .rowmin = cuda_rowmin,                                                                     \
        .topk = cuda_topk,                                                                         \
        .segsum = cuda_segsum,                                                                     \
        .softmax = cuda_softmax,                                                                   \
        .csr_mm = cuda_csr_mm,                                                                     \
        .csr_tmm = cuda_csr_tmm,                                                                   \
        .csr_sddmm = cuda_csr_sddmm,                                                               \
        .gather = cuda_gather,                                                                     \
        .scatter = cuda_scatter,                                                                   \
        .fill = cuda_fill,                                                                         \
        .ew = cuda_ew,                                                                             \
    }

TABLE(f32, "cuda", CUDA_F32, "full f32");
TABLE(tf32, "cuda-tf32", CUDA_TF32, "TF32 products");
TABLE(bf16, "cuda-bf16", CUDA_BF16, "BF16 products");

static const char *device(const void *self)
{
    return ((const struct cuda *)self)->device;
}

static const char *error(const void *self)
{
    return ((const struct cuda *)self)->error;
}

extern "C" __attribute__((visibility("default"))) const struct cuda_module *millrace_cuda(void)
{
    static const struct cuda_module module = {CUDA_ABI,     sizeof(struct compute),
                                              cuda_kernels, {&f32_table, &tf32_table, &bf16_table},
                                              device,       error};

    return &module;
}
