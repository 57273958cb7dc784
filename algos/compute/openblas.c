/* openblas.c: matrix products by OpenBLAS, everything else as in ref.
 *
 * Measured on one AVX-512 core: 160 GFlop/s large; 32 x 784 times 784 x 10 at 70, times 784 x 1
 * at 50 through sgemv (7 through sgemm on an AVX2 core, which is why one column goes there).
 * OpenBLAS runs with one thread, set and verified at open: partitions are the unit of parallel
 * work, and several threads would change the order of sums. Bits repeat for one library version
 * and one machine type, not beyond. */
#include "algos/compute/cpu.h"

#include <cblas.h>

#include <math.h>
#include <stdlib.h>

enum { TRIAL_N = 131, TRIAL_K = 157 };

static blasint at_least_1(uint32_t n)
{
    CHECK(n <= INT32_MAX);
    return n ? (blasint)n : 1;
}

/* One column: c = alpha op(a) b + beta c over vectors with strides. */
static void one_column(int tr, float alpha, struct mat a, struct mat b, float beta, struct mat c)
{
    if (beta == 0.0f)
        ref_scale(0.0f, c, 0); /* sgemv multiplies by 0, which keeps a NaN */
    cblas_sgemv(CblasRowMajor, tr == TA ? CblasTrans : CblasNoTrans, at_least_1(a.r),
                at_least_1(a.c), alpha, a.p, at_least_1(a.ld), b.p, tr == TB ? 1 : at_least_1(b.ld),
                beta == 0.0f ? 1.0f : beta, c.p, at_least_1(c.ld));
}

static void blas_gemm(void *self, int tr, float alpha, struct mat a, struct mat b, float beta,
                      struct mat c)
{
    uint32_t k = tr == TA ? a.r : a.c;

    (void)self;
    CHECK(tr == NO_T || tr == TA || tr == TB);
    CHECK(c.r == (tr == TA ? a.c : a.r) && c.c == (tr == TB ? b.r : b.c));
    CHECK(k == (tr == TB ? b.c : b.r));
    if (c.r == 0 || c.c == 0)
        return;
    if (k == 0)
        ref_scale(beta, c, 0);
    else if (c.c == 1)
        one_column(tr, alpha, a, b, beta, c);
    else
        cblas_sgemm(CblasRowMajor, tr == TA ? CblasTrans : CblasNoTrans,
                    tr == TB ? CblasTrans : CblasNoTrans, at_least_1(c.r), at_least_1(c.c),
                    at_least_1(k), alpha, a.p, at_least_1(a.ld), b.p, at_least_1(b.ld), beta, c.p,
                    at_least_1(c.ld));
}

static void blas_syrk(void *self, float alpha, struct mat a, float beta, struct mat c)
{
    (void)self;
    CHECK(c.r == a.c && c.c == a.c);
    if (c.r == 0)
        return;
    if (a.r == 0)
        ref_scale(beta, c, 1);
    else
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, at_least_1(c.r), at_least_1(a.r), alpha,
                    a.p, at_least_1(a.ld), beta, c.p, at_least_1(c.ld));
}

/* The rows in f64, times the roots of their weights; their product; then the sum. */
static void blas_gram64(void *self, struct mat a, const float *w, double beta, double *work,
                        double *sum)
{
    double *square = work + (size_t)a.r * a.c;

    (void)self;
    ref_scale64(beta, (size_t)a.c * (a.c + 1) / 2, sum);
    if (a.r == 0 || a.c == 0)
        return;
    for (size_t k = 0; k < a.r; k++) {
        double root = w ? sqrt((double)w[k]) : 1.0;

        for (size_t j = 0; j < a.c; j++)
            work[k * a.c + j] = root * (double)a.p[k * a.ld + j];
    }
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, at_least_1(a.c), at_least_1(a.r), 1.0, work,
                at_least_1(a.c), 0.0, square, at_least_1(a.c));
    for (size_t i = 0; i < a.c; sum += ++i)
        for (size_t j = 0; j <= i; j++)
            sum[j] += square[i * a.c + j];
}

/* Kernels are chosen by CPU at load, and 0.3.21 has some that are wrong on CPUs newer than
 * itself: multiply small integers, whose sums are exact in f32 in any order, and compare with
 * ref to the bit. The sizes reach both the small-matrix and the blocked kernels, with odd edges. */
struct trial {
    float a[TRIAL_N * TRIAL_K], b[TRIAL_N * TRIAL_K];
    float want[TRIAL_N * TRIAL_N], got[TRIAL_N * TRIAL_N];
};

static int products_are_right(struct trial *t)
{
    static const uint32_t shape[][3] = {
        {TRIAL_N, TRIAL_N, TRIAL_K}, {33, 10, TRIAL_K}, {17, 1, 45}, {1, 9, 28}};
    static const int trs[] = {NO_T, TA, TB};

    for (int i = 0; i < TRIAL_N * TRIAL_K; i++) {
        t->a[i] = (float)(i * 7 % 11 - 5);
        t->b[i] = (float)(i * 5 % 13 - 6);
    }
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        uint32_t r = shape[s][0], c = shape[s][1], k = shape[s][2];

        for (size_t j = 0; j < sizeof trs / sizeof *trs; j++) {
            struct mat a = trs[j] == TA ? (struct mat){t->a, k, r, r} : (struct mat){t->a, r, k, k};
            struct mat b = trs[j] == TB ? (struct mat){t->b, c, k, k} : (struct mat){t->b, k, c, c};

            ref_gemm(NULL, trs[j], 1.0f, a, b, 0.0f, (struct mat){t->want, r, c, c});
            blas_gemm(NULL, trs[j], 1.0f, a, b, 0.0f, (struct mat){t->got, r, c, c});
            for (uint32_t i = 0; i < r * c; i++)
                if (t->want[i] != t->got[i])
                    return 0;
        }
    }
    return 1;
}

/* The library starts a thread for every further core as soon as it is loaded, and that one yields
 * its core again and again for tens of milliseconds before it sleeps: a third of the processor time
 * of a short run. One thread is all we want, so they end before main(). Asking for one thread again
 * would start them anew. */
int blas_thread_shutdown_(void) __attribute__((weak)); /* not in builds without threads */

__attribute__((constructor)) static void end_threads(void)
{
    openblas_set_num_threads(1);
    if (blas_thread_shutdown_)
        blas_thread_shutdown_();
}

static enum st blas_open(void *self, struct err *e)
{
    struct trial *t;
    int right;

    (void)self;
    if (openblas_get_num_threads() != 1)
        return fail(e, ST_BAD_CONFIG,
                    "openblas: asked for 1 thread, it keeps %d (%s); set OMP_NUM_THREADS=1, or "
                    "install libopenblas0-pthread",
                    openblas_get_num_threads(), openblas_get_config());
    t = malloc(sizeof *t);
    if (!t)
        return fail(e, ST_FATAL, "openblas: out of memory at its self-test (%zu bytes)", sizeof *t);
    right = products_are_right(t);
    free(t);
    if (!right)
        return fail(e, ST_BAD_CONFIG,
                    "openblas: its kernels for this CPU (%s) give wrong products; set "
                    "OPENBLAS_CORETYPE=Haswell, or train with device ref",
                    openblas_get_corename());
    return ST_OK;
}

static void blas_close(void *self)
{
    (void)self;
}

const struct compute compute_openblas = {
    .name = "openblas",
    .summary = "OpenBLAS for matrix products, plain C for the rest; one thread",
    .self_bytes = 0,
    .host_memory = true,
    .open = blas_open,
    .close = blas_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .put = cpu_put,
    .get = cpu_get,
    .sync = cpu_sync,
    .gemm = blas_gemm,
    .syrk = blas_syrk,
    .acc64 = ref_acc64,
    .gram64 = blas_gram64,
    .colsum = ref_colsum,
    .rowsq = ref_rowsq,
    .rowmin = ref_rowmin,
    .topk = ref_topk,
    .segsum = ref_segsum,
    .softmax = ref_softmax,
    .csr_mm = ref_csr_mm,
    .csr_tmm = ref_csr_tmm,
    .csr_sddmm = ref_csr_sddmm,
    .gather = cpu_gather,
    .scatter = cpu_scatter,
    .fill = cpu_fill,
    .ew = cpu_ew,
};
