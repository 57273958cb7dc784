/* lapack.h: factorisations of small dense matrices in f64, for states and models that need one:
 * the eigenvectors of a Gram matrix, the solution of normal equations. On the host, whatever the
 * back end; one thread; bits repeat for one library version and one machine type, as openblas's do.
 *
 * Shapes: row-major, symmetric matrices by their lower triangle, what lies above it is not read.
 * Owner: all memory is the caller's; nothing is allocated. */
#ifndef MILLRACE_LAPACK_H
#define MILLRACE_LAPACK_H

#include "config/base/status.h"

#include <stdint.h>

/* Doubles that lapack_eigen() needs for an n by n matrix, beside a and value. */
uint64_t lapack_eigen_work(uint32_t n);

/* Eigenvalues of a[n, n] into value[n], the greatest first; a becomes the eigenvectors: row i is
 * that of value[i], of length 1, its component of greatest magnitude (the first of equal ones)
 * positive. work[lapack_eigen_work(n)]. ST_FATAL: a number is not finite, or no convergence. */
MUST enum st lapack_eigen(uint32_t n, double *a, double *value, double *work, struct err *e);

/* a[n, n] = L L': the lower triangle becomes L. ST_BAD_INPUT: not positive definite; then a is
 * garbage. */
MUST enum st lapack_cholesky(uint32_t n, double *a, struct err *e);
/* Solves L L' x = b for columns of b[n, cols], in place; l from lapack_cholesky(). */
void lapack_solve(uint32_t n, const double *l, uint32_t cols, double *b);

/* Products in f64, of a sketch's rows: g[n, n], row stride ldg, becomes the lower triangle of s s',
 * s[n, d]; c[m, d] becomes a' b, a[n, m], b[n, d] with row stride ldb. */
void lapack_gram(uint32_t n, uint32_t d, const double *s, double *g, uint32_t ldg);
void lapack_multiply(uint32_t m, uint32_t n, uint32_t d, const double *a, const double *b,
                     uint32_t ldb, double *c);

#endif
