/* products.cu: matrix products, by cuBLAS.
 *
 * cuBLAS sees columns where we see rows, so what it is asked for is c' = op(b)' op(a)'. It gives
 * the same bits again for one version on one type of GPU, one stream and its own choice of kernel,
 * which depends on shapes and on whether addresses are multiples of 16 bytes: so a product repeats
 * to the bit at addresses that are equal modulo 16. Only gemm uses TF32 or BF16 where chosen. */
#include "algos/compute/cuda/gpu.h"

static int at_least_1(uint32_t n)
{
    CHECK(n <= INT32_MAX);
    return n ? (int)n : 1;
}

static __global__ void scale_kernel(float beta, struct mat c, bool tri)
{
    FOR_ELEMENTS(row, c.r, col, c.c)
    {
        float *p = c.p + row * c.ld + col;

        if (!tri || col <= row)
            *p = beta == 0.0f ? 0.0f : *p * beta;
    }
}

static void scale(struct cuda *s, float beta, struct mat c, bool tri)
{
    if (beta != 1.0f)
        launch(s, elements(c.r, c.c), scale_kernel, beta, c, tri);
}

void cuda_gemm(void *self, int tr, float alpha, struct mat a, struct mat b, float beta,
               struct mat c)
{
    struct cuda *s = (struct cuda *)self;
    uint32_t k = tr == TA ? a.r : a.c;

    CHECK(tr == NO_T || tr == TA || tr == TB);
    CHECK(c.r == (tr == TA ? a.c : a.r) && c.c == (tr == TB ? b.r : b.c));
    CHECK(k == (tr == TB ? b.c : b.r));
    if (c.r == 0 || c.c == 0)
        return;
    use(s, {c.p, k ? a.p : NULL, k ? b.p : NULL});
    if (k == 0)
        scale(s, beta, c, false);
    else
        RUN(s, cublasGemmEx(s->blas, tr == TB ? CUBLAS_OP_T : CUBLAS_OP_N,
                            tr == TA ? CUBLAS_OP_T : CUBLAS_OP_N, at_least_1(c.c), at_least_1(c.r),
                            at_least_1(k), &alpha, b.p, CUDA_R_32F, at_least_1(b.ld), a.p,
                            CUDA_R_32F, at_least_1(a.ld), &beta, c.p, CUDA_R_32F, at_least_1(c.ld),
                            s->products, CUBLAS_GEMM_DEFAULT));
}

void cuda_syrk(void *self, float alpha, struct mat a, float beta, struct mat c)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(c.r == a.c && c.c == a.c);
    if (c.r == 0)
        return;
    use(s, {c.p, a.r ? a.p : NULL});
    if (a.r == 0)
        scale(s, beta, c, true);
    else
        RUN(s, cublasSsyrk(s->blas, CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_N, at_least_1(c.r),
                           at_least_1(a.r), &alpha, a.p, at_least_1(a.ld), &beta, c.p,
                           at_least_1(c.ld)));
}

/* Rows in f64, times the roots of their weights. */
static __global__ void widen_kernel(struct mat a, const float *w, double *to)
{
    FOR_ELEMENTS(row, a.r, col, a.c)
    {
        double root = w ? __builtin_sqrt((double)w[row]) : 1.0;

        to[row * a.c + col] = root * (double)a.p[row * a.ld + col];
    }
}

/* sum = beta sum + square, a packed lower triangle and a square of n; square NULL: 0. */
static __global__ void triangle_kernel(uint32_t n, double beta, const double *square, double *sum)
{
    FOR_ELEMENTS(row, n, col, n)
    {
        double *p = sum + row * (row + 1) / 2 + col;
        double more = square && col <= row ? square[row * n + col] : 0.0;

        if (col <= row)
            *p = (beta == 0.0 ? 0.0 : beta * *p) + more;
    }
}

void cuda_gram64(void *self, struct mat a, const float *w, double beta, double *work, double *sum)
{
    struct cuda *s = (struct cuda *)self;
    double *square = a.r ? work + (size_t)a.r * a.c : NULL;
    const double one = 1.0, none = 0.0;

    if (a.c == 0)
        return;
    use(s, {sum, a.r ? a.p : NULL, a.r ? w : NULL, a.r ? work : NULL});
    if (a.r) {
        launch(s, elements(a.r, a.c), widen_kernel, a, w, work);
        RUN(s, cublasDsyrk(s->blas, CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_N, at_least_1(a.c),
                           at_least_1(a.r), &one, work, at_least_1(a.c), &none, square,
                           at_least_1(a.c)));
    }
    launch(s, elements(a.c, a.c), triangle_kernel, a.c, beta, square, sum);
}

static __global__ void acc64_kernel(struct mat a, double *sum)
{
    FOR_ELEMENTS(row, a.r, col, a.c)
    {
        sum[row * a.c + col] += (double)a.p[row * a.ld + col];
    }
}

void cuda_acc64(void *self, struct mat a, double *sum)
{
    struct cuda *s = (struct cuda *)self;

    if (a.r == 0 || a.c == 0)
        return;
    use(s, {a.p, sum});
    launch(s, elements(a.r, a.c), acc64_kernel, a, sum);
}
