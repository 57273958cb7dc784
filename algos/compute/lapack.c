#include "algos/compute/lapack.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* LAPACK's own names, as OpenBLAS carries them; it counts columns first, so our lower triangle is
 * its upper one, and its eigenvectors, which are columns, are our rows. */
void openblas_set_num_threads(int n); /* of this whole process */
void dsyevr_(const char *job, const char *range, const char *triangle, const int *n, double *a,
             const int *lda, const double *vl, const double *vu, const int *il, const int *iu,
             const double *abstol, int *m, double *w, double *z, const int *ldz, int *isuppz,
             double *work, const int *lwork, int *iwork, const int *liwork, int *info, size_t,
             size_t, size_t);
void dsyrk_(const char *triangle, const char *trans, const int *n, const int *k,
            const double *alpha, const double *a, const int *lda, const double *beta, double *c,
            const int *ldc, size_t, size_t);
void dgemm_(const char *trans_a, const char *trans_b, const int *m, const int *n, const int *k,
            const double *alpha, const double *a, const int *lda, const double *b, const int *ldb,
            const double *beta, double *c, const int *ldc, size_t, size_t);
void dpotrf_(const char *triangle, const int *n, double *a, const int *lda, int *info, size_t);

enum { N_MAX = 16384 };

/* dsyevr (relatively robust representations), not dsyevd: that one multiplies by dgemm without
 * transposition, which OpenBLAS 0.3.21 does by kernels that call malloc where matrices are small.
 * Its scratch: the vectors, doubles, integers. */
enum { EIGEN_DOUBLES = 38, EIGEN_INTS = 12 };

uint64_t lapack_eigen_work(uint32_t n)
{
    CHECK(n <= N_MAX);
    return n * (uint64_t)n + (EIGEN_DOUBLES + EIGEN_INTS / 2) * (uint64_t)n;
}

static void turn(double *v, uint32_t n)
{
    uint32_t at = 0;

    for (uint32_t j = 1; j < n; j++)
        at = fabs(v[j]) > fabs(v[at]) ? j : at;
    for (uint32_t j = 0; j < n && v[at] < 0; j++)
        v[j] = j == at ? v[j] : -v[j];
    v[at] = fabs(v[at]);
}

enum st lapack_eigen(uint32_t n, double *a, double *value, double *work, struct err *e)
{
    const int size = (int)n, lwork = EIGEN_DOUBLES * (int)n, liwork = 10 * (int)n, none = 0;
    double *vector = work, *doubles = vector + (size_t)n * n, any = 0;
    int *support = (int *)(doubles + lwork), *ints = support + 2 * (size_t)n, info = 0, found = 0;

    CHECK(n <= N_MAX);
    if (!n)
        return ST_OK;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++)
            if (!isfinite(a[(size_t)i * n + j]))
                return fail(e, ST_FATAL, "element %u, %u of a matrix is not finite", i, j);
    openblas_set_num_threads(1);
    dsyevr_("V", "A", "U", &size, a, &size, &any, &any, &none, &none, &any, &found, value, vector,
            &size, support, doubles, &lwork, ints, &liwork, &info, 1, 1, 1);
    CHECK(info >= 0);
    if (info || found != size)
        return fail(e, ST_FATAL, "the eigenvalues of a %u by %u matrix did not converge", n, n);
    for (uint32_t i = 0; i < n; i++) { /* LAPACK has the least first */
        memcpy(a + (size_t)i * n, vector + (size_t)(n - 1 - i) * n, n * sizeof *a);
        turn(a + (size_t)i * n, n);
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        any = value[i];
        value[i] = value[n - 1 - i];
        value[n - 1 - i] = any;
    }
    return ST_OK;
}

enum st lapack_cholesky(uint32_t n, double *a, struct err *e)
{
    const int size = (int)n;
    int info = 0;

    CHECK(n <= N_MAX);
    if (!n)
        return ST_OK;
    openblas_set_num_threads(1);
    dpotrf_("U", &size, a, &size, &info, 1);
    CHECK(info >= 0);
    if (info)
        return fail(e, ST_BAD_INPUT, "the matrix is not positive definite from row %d on", info);
    return ST_OK;
}

void lapack_solve(uint32_t n, const double *l, uint32_t cols, double *b)
{
    for (uint32_t i = 0; i < n; i++) { /* L y = b */
        for (uint32_t j = 0; j < i; j++)
            for (uint32_t c = 0; c < cols; c++)
                b[(size_t)i * cols + c] -= l[(size_t)i * n + j] * b[(size_t)j * cols + c];
        for (uint32_t c = 0; c < cols; c++)
            b[(size_t)i * cols + c] /= l[(size_t)i * n + i];
    }
    for (uint32_t i = n; i-- > 0;) { /* L' x = y */
        for (uint32_t c = 0; c < cols; c++)
            b[(size_t)i * cols + c] /= l[(size_t)i * n + i];
        for (uint32_t j = 0; j < i; j++)
            for (uint32_t c = 0; c < cols; c++)
                b[(size_t)j * cols + c] -= l[(size_t)i * n + j] * b[(size_t)i * cols + c];
    }
}

void lapack_gram(uint32_t n, uint32_t d, const double *s, double *g, uint32_t ldg)
{
    const int size = (int)n, width = (int)d, ld = (int)ldg;
    const double one = 1, zero = 0;

    CHECK(n <= N_MAX && d && d <= INT32_MAX && ldg >= n && ldg <= INT32_MAX);
    openblas_set_num_threads(1);
    if (n)
        dsyrk_("U", "T", &size, &width, &one, s, &width, &zero, g, &ld, 1, 1);
}

void lapack_multiply(uint32_t m, uint32_t n, uint32_t d, const double *a, const double *b,
                     uint32_t ldb, double *c)
{
    const int rows = (int)m, inner = (int)n, cols = (int)d, sb = (int)ldb;
    const double one = 1, zero = 0;

    CHECK(m <= N_MAX && n && n <= N_MAX && d && d <= ldb && ldb <= INT32_MAX);
    openblas_set_num_threads(1);
    if (m)
        dgemm_("N", "T", &cols, &rows, &inner, &one, b, &sb, a, &rows, &zero, c, &cols, 1, 1);
}
