#include "algos/compute/lapack.h"

#include <math.h>
#include <stddef.h>

/* LAPACK's own names, as OpenBLAS carries them; it counts columns first, so our lower triangle is
 * its upper one, and its eigenvectors, which are columns, are our rows. */
void dsyevd_(const char *job, const char *triangle, const int *n, double *a, const int *lda,
             double *w, double *work, const int *lwork, int *iwork, const int *liwork, int *info,
             size_t, size_t);
void dpotrf_(const char *triangle, const int *n, double *a, const int *lda, int *info, size_t);

enum { N_MAX = 16384 };

static uint64_t eigen_doubles(uint64_t n)
{
    return 1 + 6 * n + 2 * n * n;
}

uint64_t lapack_eigen_work(uint32_t n)
{
    CHECK(n <= N_MAX);
    return eigen_doubles(n) + (3 + 5 * (uint64_t)n + 1) / 2;
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

static void exchange(double *a, double *b, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++) {
        double t = a[j];

        a[j] = b[j];
        b[j] = t;
    }
}

enum st lapack_eigen(uint32_t n, double *a, double *value, double *work, struct err *e)
{
    const int size = (int)n, lwork = (int)eigen_doubles(n), liwork = 3 + 5 * (int)n;
    int info = 0;

    CHECK(n <= N_MAX);
    if (!n)
        return ST_OK;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++)
            if (!isfinite(a[(size_t)i * n + j]))
                return fail(e, ST_FATAL, "element %u, %u of a matrix is not finite", i, j);
    dsyevd_("V", "U", &size, a, &size, value, work, &lwork, (int *)(work + lwork), &liwork, &info,
            1, 1);
    CHECK(info >= 0);
    if (info)
        return fail(e, ST_FATAL, "the eigenvalues of a %u by %u matrix did not converge", n, n);
    for (uint32_t i = 0; i < n / 2; i++) { /* LAPACK has the least first */
        exchange(a + (size_t)i * n, a + (size_t)(n - 1 - i) * n, n);
        exchange(value + i, value + (n - 1 - i), 1);
    }
    for (uint32_t i = 0; i < n; i++)
        turn(a + (size_t)i * n, n);
    return ST_OK;
}

enum st lapack_cholesky(uint32_t n, double *a, struct err *e)
{
    const int size = (int)n;
    int info = 0;

    CHECK(n <= N_MAX);
    if (!n)
        return ST_OK;
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
