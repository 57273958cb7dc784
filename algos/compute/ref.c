/* ref.c: every operation of compute.h in plain C: the definition the other back ends are
 * compared with.
 *
 * Sums have a written order, so the bits depend on neither vector width nor address. Where the
 * columns of the result are the vector lanes, a sum runs over k in steps of four: c += (w0 b0 +
 * w1 b1) + (w2 b2 + w3 b3). A dot product has LANES partial sums, element k going to lane k mod
 * LANES, folded in halves at the end. Sums over a whole batch (colsum, rowsq, acc64, gram64) run in
 * f64; products of one batch (gemm, csr) in f32, whose error of about sqrt(k) 2^-24 the gradients
 * do not notice; who adds many batches uses acc64. */
#include "algos/compute/cpu.h"
#include "algos/compute/kernels.h"

#include <math.h>

enum { LANES = 16 };

/* c[0, n) += w[0] b_0 + ... + w[3] b_3, rows of b ld apart. */
MR_INLINE void axpy4(size_t n, const float w[4], const float *b, size_t ld, float *c)
{
    const float *b0 = b, *b1 = b + ld, *b2 = b + 2 * ld, *b3 = b + 3 * ld;

#pragma omp simd
    for (size_t j = 0; j < n; j++)
        c[j] += (w[0] * b0[j] + w[1] * b1[j]) + (w[2] * b2[j] + w[3] * b3[j]);
}

MR_INLINE void axpy(size_t n, float w, const float *b, float *c)
{
#pragma omp simd
    for (size_t j = 0; j < n; j++)
        c[j] += w * b[j];
}

MR_INLINE float folded(float s[LANES])
{
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t l = 0; l < half; l++)
            s[l] += s[l + half];
    return s[0];
}

MR_INLINE float dot(size_t n, const float *a, const float *b)
{
    float s[LANES] = {0};
    size_t k = 0;

    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            s[l] += a[k + l] * b[k + l];
    for (size_t l = 0; k + l < n; l++)
        s[l] += a[k + l] * b[k + l];
    return folded(s);
}

/* Sum and maximum of a row; a short one is not worth the lanes. */
MR_INLINE float sum(size_t n, const float *a)
{
    float s[LANES] = {0};
    size_t k = 0;

    if (n < LANES) {
        for (; k < n; k++)
            s[0] += a[k];
        return s[0];
    }
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            s[l] += a[k + l];
    for (size_t l = 0; k + l < n; l++)
        s[l] += a[k + l];
    return folded(s);
}

MR_INLINE float greatest(size_t n, const float *a)
{
    float s[LANES];
    size_t k = 0;

    for (size_t l = 0; l < LANES; l++)
        s[l] = -INFINITY;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            s[l] = a[k + l] > s[l] ? a[k + l] : s[l];
    for (size_t l = 1; k && l < LANES; l++)
        s[0] = s[l] > s[0] ? s[l] : s[0];
    for (; k < n; k++)
        s[0] = a[k] > s[0] ? a[k] : s[0];
    return s[0];
}

void ref_scale(float beta, struct mat c, int tri)
{
    if (c.ld == c.c && !tri)
        c = (struct mat){c.p, 1, c.r * c.c, c.r * c.c};
    for (size_t i = 0; i < c.r; i++) {
        float *row = c.p + i * c.ld;
        size_t n = tri ? i + 1 : c.c;

        if (beta == 0.0f)
            for (size_t j = 0; j < n; j++)
                row[j] = 0.0f;
        else if (beta != 1.0f)
            for (size_t j = 0; j < n; j++)
                row[j] *= beta;
    }
}

/* c_i[0, n) += alpha sum_k a(i, k) b_k, where a(i, k) = a[k * step]. */
MR_INLINE void row_times(float alpha, const float *a, size_t step, struct mat b, size_t n, float *c)
{
    size_t k = 0;

    for (; k + 4 <= b.r; k += 4) {
        const float w[4] = {alpha * a[k * step], alpha * a[(k + 1) * step],
                            alpha * a[(k + 2) * step], alpha * a[(k + 3) * step]};

        axpy4(n, w, b.p + k * b.ld, b.ld, c);
    }
    for (; k < b.r; k++)
        axpy(n, alpha * a[k * step], b.p + k * b.ld, c);
}

MR_CLONES void ref_gemm(void *self, int tr, float alpha, struct mat a, struct mat b, float beta,
                        struct mat c)
{
    (void)self;
    CHECK(tr == NO_T || tr == TA || tr == TB);
    CHECK(c.r == (tr == TA ? a.c : a.r) && c.c == (tr == TB ? b.r : b.c));
    CHECK((tr == TA ? a.r : a.c) == (tr == TB ? b.c : b.r));
    ref_scale(beta, c, 0);
    for (size_t i = 0; i < c.r; i++) {
        float *ci = c.p + i * c.ld;

        if (tr == TA)
            row_times(alpha, a.p + i, a.ld, b, c.c, ci);
        else if (tr == NO_T)
            row_times(alpha, a.p + i * a.ld, 1, b, c.c, ci);
        else
            for (size_t j = 0; j < c.c; j++)
                ci[j] += alpha * dot(a.c, a.p + i * a.ld, b.p + j * b.ld);
    }
}

MR_CLONES void ref_syrk(void *self, float alpha, struct mat a, float beta, struct mat c)
{
    (void)self;
    CHECK(c.r == a.c && c.c == a.c);
    ref_scale(beta, c, 1);
    for (size_t i = 0; i < c.r; i++)
        row_times(alpha, a.p + i, a.ld, a, i + 1, c.p + i * c.ld);
}

MR_CLONES void ref_acc64(void *self, struct mat a, double *sum)
{
    (void)self;
    for (size_t i = 0; i < a.r; i++)
        for (size_t j = 0; j < a.c; j++)
            sum[i * a.c + j] += (double)a.p[i * a.ld + j];
}

void ref_scale64(double beta, size_t n, double *sum)
{
    for (size_t i = 0; i < n; i++)
        sum[i] = beta == 0 ? 0 : beta * sum[i];
}

/* Row i of the triangle stays in the cache while all rows of a pass. */
MR_CLONES void ref_gram64(void *self, struct mat a, const float *w, double beta, double *work,
                          double *sum)
{
    (void)self, (void)work;
    ref_scale64(beta, (size_t)a.c * (a.c + 1) / 2, sum);
    for (size_t i = 0; i < a.c; sum += ++i)
        for (size_t k = 0; k < a.r; k++) {
            const float *ak = a.p + k * a.ld;
            double t = (w ? (double)w[k] : 1.0) * (double)ak[i];

            for (size_t j = 0; j <= i; j++)
                sum[j] += t * (double)ak[j];
        }
}

static float column_sum(struct mat a, const float *w)
{
    double s = 0;

    for (size_t i = 0; i < a.r; i++)
        s += (w ? (double)w[i] : 1.0) * (double)a.p[i * a.ld];
    return (float)s;
}

MR_CLONES void ref_colsum(void *self, struct mat a, const float *w, float *out)
{
    enum { BLOCK = 64 };

    (void)self;
    if (a.c == 1) {
        *out = column_sum(a, w);
        return;
    }
    for (size_t j = 0; j < a.c; j += BLOCK) {
        size_t n = a.c - j < BLOCK ? a.c - j : BLOCK;
        double s[BLOCK] = {0};

        for (size_t i = 0; i < a.r; i++) {
            const float *row = a.p + i * a.ld + j;
            double wi = w ? (double)w[i] : 1.0;

            for (size_t l = 0; l < n; l++)
                s[l] += wi * (double)row[l];
        }
        for (size_t l = 0; l < n; l++)
            out[j + l] = (float)s[l];
    }
}

MR_CLONES void ref_rowsq(void *self, struct mat a, float *out)
{
    enum { WIDE = 8 };

    (void)self;
    for (size_t i = 0; i < a.r; i++) {
        const float *row = a.p + i * a.ld;
        double s[WIDE] = {0};
        size_t k = 0;

        for (; k + WIDE <= a.c; k += WIDE)
            for (size_t l = 0; l < WIDE; l++)
                s[l] += (double)row[k + l] * (double)row[k + l];
        for (size_t l = 0; k + l < a.c; l++)
            s[l] += (double)row[k + l] * (double)row[k + l];
        out[i] = (float)(((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])));
    }
}

/* Is (x, i) before (y, j)? Numbers ascending, NaN behind them all, equal ones by column. */
static int before(float x, size_t i, float y, size_t j)
{
    if (x < y || (x == x && y != y))
        return 1;
    return (x == y || (x != x && y != y)) && i < j;
}

/* Column of the least a[j] + bias[j] in the order of before(), the plain way. */
static uint32_t least(size_t n, const float *a, const float *bias, float *val)
{
    size_t at = 0;

    *val = a[0] + (bias ? bias[0] : 0.0f);
    for (size_t j = 1; j < n; j++) {
        float v = a[j] + (bias ? bias[j] : 0.0f);

        if (before(v, j, *val, at)) {
            *val = v;
            at = j;
        }
    }
    return (uint32_t)at;
}

/* The same with one candidate per lane; a row without a finite value goes the plain way. */
MR_INLINE uint32_t least_lanes(size_t n, const float *a, const float *bias, float *val)
{
    float best[LANES];
    uint32_t at[LANES];
    size_t j = 0;

    for (size_t l = 0; l < LANES; l++) {
        best[l] = INFINITY;
        at[l] = 0;
    }
    for (; j + LANES <= n; j += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            float v = a[j + l] + (bias ? bias[j + l] : 0.0f);

            at[l] = v < best[l] ? (uint32_t)(j + l) : at[l];
            best[l] = v < best[l] ? v : best[l];
        }
    }
    for (size_t l = 0; j + l < n; l++) {
        float v = a[j + l] + (bias ? bias[j + l] : 0.0f);

        if (v < best[l]) {
            at[l] = (uint32_t)(j + l);
            best[l] = v;
        }
    }
    for (size_t l = 1; l < LANES; l++) {
        if (before(best[l], at[l], best[0], at[0])) {
            best[0] = best[l];
            at[0] = at[l];
        }
    }
    if (!(best[0] < INFINITY))
        return least(n, a, bias, val);
    *val = best[0];
    return at[0];
}

MR_CLONES void ref_rowmin(void *self, struct mat a, const float *bias, uint32_t *at, float *val)
{
    (void)self;
    CHECK(a.c > 0 || a.r == 0);
    for (size_t i = 0; i < a.r; i++)
        at[i] = least_lanes(a.c, a.p + i * a.ld, bias, val + i);
}

/* A sorted list of k, each candidate inserted from behind: k is small, and most candidates fail
 * the first test. */
void ref_topk(void *self, struct mat a, const float *bias, uint32_t k, uint32_t *at, float *val)
{
    (void)self;
    CHECK(k <= a.c);
    for (size_t i = 0; i < a.r && k; i++, at += k, val += k) {
        const float *row = a.p + i * a.ld;

        for (uint32_t j = 0; j < a.c; j++) {
            float v = row[j] + (bias ? bias[j] : 0.0f);
            uint32_t q = j < k ? j : k - 1;

            if (j >= k && !before(v, j, val[q], at[q]))
                continue;
            for (; q && before(v, j, val[q - 1], at[q - 1]); q--) {
                val[q] = val[q - 1];
                at[q] = at[q - 1];
            }
            val[q] = v;
            at[q] = j;
        }
    }
}

MR_CLONES void ref_segsum(void *self, struct mat x, const float *w, const uint32_t *seg,
                          struct mat sum, double *n)
{
    (void)self;
    CHECK(x.c == sum.c);
    for (size_t i = 0; i < x.r; i++) {
        DCHECK(seg[i] < sum.r);
        axpy(x.c, w ? w[i] : 1.0f, x.p + i * x.ld, sum.p + (size_t)seg[i] * sum.ld);
        n[seg[i]] += w ? (double)w[i] : 1.0;
    }
}

/* exp is taken over a whole row at once, whatever the groups, to fill the lanes. */
MR_CLONES void ref_softmax(void *self, uint32_t groups, struct mat z, float *lse)
{
    size_t n;

    (void)self;
    CHECK(groups > 0 && z.c % groups == 0);
    n = z.c / groups;
    for (size_t i = 0; i < z.r; i++, lse += groups) {
        float *row = z.p + i * z.ld;

        for (size_t g = 0; g < groups; g++) {
            float max = greatest(n, row + g * n);

            for (size_t j = 0; j < n; j++)
                row[g * n + j] -= max;
            lse[g] = max;
        }
#pragma omp simd
        for (size_t j = 0; j < z.c; j++)
            row[j] = mr_exp(row[j]);
        for (size_t g = 0; g < groups; g++) {
            float total = sum(n, row + g * n);
            float scale = 1.0f / total;

            for (size_t j = 0; j < n; j++)
                row[g * n + j] *= scale;
            lse[g] += mr_log(total);
        }
    }
}

/* z_i[0, n) = sum_q val[q] w_idx[q][0, n), with the sums in registers where n is a constant. */
MR_INLINE void csr_row(struct csr x, size_t i, struct mat w, size_t j, size_t n, float *z)
{
    float s[LANES] = {0};

    for (size_t q = x.ptr[i]; q < x.ptr[i + 1]; q++) {
        const float *row = w.p + (size_t)x.idx[q] * w.ld + j;
        float v = x.val ? x.val[q] : 1.0f;

        DCHECK(x.idx[q] < w.r);
        for (size_t l = 0; l < n; l++)
            s[l] += v * row[l];
    }
    for (size_t l = 0; l < n; l++)
        z[l] = s[l];
}

MR_CLONES void ref_csr_mm(void *self, struct csr x, struct mat w, struct mat z)
{
    (void)self;
    CHECK(z.r == x.n && z.c == w.c);
    for (size_t i = 0; i < x.n; i++) {
        float *zi = z.p + i * z.ld;
        size_t j = 0;

        for (; j + LANES <= z.c; j += LANES)
            csr_row(x, i, w, j, LANES, zi + j);
        for (; j + 4 <= z.c; j += 4)
            csr_row(x, i, w, j, 4, zi + j);
        for (; j < z.c; j++)
            csr_row(x, i, w, j, 1, zi + j);
    }
}

/* g_idx[q][0, n) += val[q] e[0, n) over the entries of row i; n is a constant where it is called.
 */
MR_INLINE void csr_row_add(struct csr x, size_t i, const float *e, size_t n, struct mat g, size_t j)
{
    for (size_t q = x.ptr[i]; q < x.ptr[i + 1]; q++) {
        float *to = g.p + (size_t)x.idx[q] * g.ld + j;
        float v = x.val ? x.val[q] : 1.0f;

        DCHECK(x.idx[q] < g.r);
        for (size_t l = 0; l < n; l++)
            to[l] += v * e[l];
    }
}

MR_CLONES void ref_csr_tmm(void *self, struct csr x, struct mat e, struct mat g)
{
    (void)self;
    CHECK(e.r == x.n && e.c == g.c);
    ref_scale(0.0f, g, 0);
    for (size_t i = 0; i < x.n; i++) {
        const float *ei = e.p + i * e.ld;
        size_t j = 0;

        for (; j + LANES <= e.c; j += LANES)
            csr_row_add(x, i, ei + j, LANES, g, j);
        for (; j + 4 <= e.c; j += 4)
            csr_row_add(x, i, ei + j, 4, g, j);
        for (; j < e.c; j++)
            csr_row_add(x, i, ei + j, 1, g, j);
    }
}

MR_CLONES void ref_csr_sddmm(void *self, struct csr x, struct mat a, struct mat b, float *val)
{
    (void)self;
    CHECK(a.r == x.n && a.c == b.c);
    for (size_t i = 0; i < x.n; i++) {
        for (size_t q = x.ptr[i]; q < x.ptr[i + 1]; q++) {
            DCHECK(x.idx[q] < b.r);
            val[q] = dot(a.c, a.p + i * a.ld, b.p + (size_t)x.idx[q] * b.ld);
        }
    }
}

static enum st ref_open(void *self, struct err *e)
{
    (void)self, (void)e;
    return ST_OK;
}

static void ref_close(void *self)
{
    (void)self;
}

const struct compute compute_ref = {
    .name = "ref",
    .summary = "plain C, the definition of every operation; any x86-64",
    .self_bytes = 0,
    .host_memory = true,
    .open = ref_open,
    .close = ref_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .put = cpu_put,
    .get = cpu_get,
    .sync = cpu_sync,
    .gemm = ref_gemm,
    .syrk = ref_syrk,
    .acc64 = ref_acc64,
    .gram64 = ref_gram64,
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
