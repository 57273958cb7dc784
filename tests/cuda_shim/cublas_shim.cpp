/* cublas_shim.cpp: a test aid; see cublas_v2.h. Columns first, as in BLAS. */
#include <cublas_v2.h>

#include <vector>

struct shim_blas {
    cudaStream_t stream;
};

const char *cublasGetStatusString(cublasStatus_t e)
{
    return e == CUBLAS_STATUS_SUCCESS ? "success" : "invalid value";
}

cublasStatus_t cublasCreate(cublasHandle_t *h)
{
    *h = new shim_blas();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t h)
{
    delete h;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s)
{
    h->stream = s;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *p, size_t)
{
    return (uintptr_t)p % 256 ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}

/* To the nearest number with `bits` fewer digits; NaN and infinity stay. */
static float rounded(float x, unsigned bits)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    if (bits && (u & 0x7f800000) != 0x7f800000) {
        u += (1u << (bits - 1)) - 1 + (u >> bits & 1);
        u &= ~0u << bits;
    }
    memcpy(&x, &u, sizeof u);
    return x;
}

static unsigned bits_lost(cublasComputeType_t t)
{
    return t == CUBLAS_COMPUTE_32F_FAST_TF32 ? 13 : t == CUBLAS_COMPUTE_32F_FAST_16BF ? 16 : 0;
}

/* op(a) as rows by columns. */
static std::vector<float> factor(const float *a, int ld, cublasOperation_t op, int rows, int cols,
                                 unsigned lost)
{
    std::vector<float> f((size_t)rows * (size_t)cols);

    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            f[(size_t)i * (size_t)cols + (size_t)j] =
                rounded(op == CUBLAS_OP_N ? a[(size_t)j * (size_t)ld + (size_t)i]
                                          : a[(size_t)i * (size_t)ld + (size_t)j],
                        lost);
    return f;
}

cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t op_a, cublasOperation_t op_b, int m,
                            int n, int k, const void *alpha_, const void *a_, cudaDataType_t,
                            int lda, const void *b_, cudaDataType_t, int ldb, const void *beta_,
                            void *c_, cudaDataType_t, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t)
{
    const float alpha = *(const float *)alpha_, beta = *(const float *)beta_;
    const float *a = (const float *)a_, *b = (const float *)b_;
    float *c = (float *)c_;

    if (m < 1 || n < 1 || k < 1 || lda < (op_a == CUBLAS_OP_N ? m : k) ||
        ldb < (op_b == CUBLAS_OP_N ? k : n) || ldc < m)
        return CUBLAS_STATUS_INVALID_VALUE;
    shim_enqueue(h->stream, [=] {
        std::vector<float> left = factor(a, lda, op_a, m, k, bits_lost(compute));
        std::vector<float> right = factor(b, ldb, op_b, k, n, bits_lost(compute));

        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                float *to = c + (size_t)j * (size_t)ldc + i, sum = 0.0f;

                for (int q = 0; q < k; q++)
                    sum += left[(size_t)i * (size_t)k + (size_t)q] *
                           right[(size_t)q * (size_t)n + (size_t)j];
                *to = alpha * sum + (beta == 0.0f ? 0.0f : beta * *to);
            }
    });
    return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
static cublasStatus_t syrk(cublasHandle_t h, cublasFillMode_t fill, cublasOperation_t op, int n,
                           int k, T alpha, const T *a, int lda, T beta, T *c, int ldc)
{
    if (n < 1 || k < 1 || lda < (op == CUBLAS_OP_N ? n : k) || ldc < n)
        return CUBLAS_STATUS_INVALID_VALUE;
    shim_enqueue(h->stream, [=] {
        for (int j = 0; j < n; j++)
            for (int i = 0; i < n; i++) {
                T *to = c + (size_t)j * (size_t)ldc + i, sum = 0;

                if (fill == CUBLAS_FILL_MODE_UPPER ? i > j : i < j)
                    continue;
                for (int q = 0; q < k; q++)
                    sum += op == CUBLAS_OP_N
                               ? a[(size_t)q * (size_t)lda + i] * a[(size_t)q * (size_t)lda + j]
                               : a[(size_t)i * (size_t)lda + q] * a[(size_t)j * (size_t)lda + q];
                *to = alpha * sum + (beta == 0 ? 0 : beta * *to);
            }
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSsyrk(cublasHandle_t h, cublasFillMode_t fill, cublasOperation_t op, int n,
                           int k, const float *alpha, const float *a, int lda, const float *beta,
                           float *c, int ldc)
{
    return syrk(h, fill, op, n, k, *alpha, a, lda, *beta, c, ldc);
}

cublasStatus_t cublasDsyrk(cublasHandle_t h, cublasFillMode_t fill, cublasOperation_t op, int n,
                           int k, const double *alpha, const double *a, int lda, const double *beta,
                           double *c, int ldc)
{
    return syrk(h, fill, op, n, k, *alpha, a, lda, *beta, c, ldc);
}
