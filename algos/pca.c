/* pca.c: principal components from one pass, any number of them afterwards.
 *
 * Problem. Find the k orthogonal directions along which rows vary most: the eigenvectors v_i of the
 * greatest eigenvalues of the covariance S / (n - 1), S = sum of w (x - m)(x - m)'. A row is then
 * described by its k projections v_i'(x - m).
 *
 * Exact. S follows from sums of products of all pairs of columns, which moments.h keeps; a model is
 * one eigendecomposition (LAPACK). With these sums columns can also be scaled to variance 1
 * (correlation) after the pass. A column that varies by less than a millionth of its mean counts as
 * constant there; a sketch has no such limit. State 4 D^2 bytes, cost a row D^2 flops: for D up to
 * some thousands.
 *
 * Frequent Directions (Ghashami, Liberty, Phillips, Woodruff, SIAM J. Comput. 45, 2016). For more
 * columns: a matrix B of 2 L rows, with B'B nearly S. Rows are appended; when B is full it is
 * rotated to orthogonal rows (the eigenvectors U of B B', 2 L by 2 L, give U'B), and the squared
 * length of each is lowered by that of the L-th: L - 1 rows are left. Every time L directions lose
 * the same amount, so with E the sum of these amounts, for any unit vector v and any k < L
 *     0 <= v'S v - v'B'B v <= E <= (sum of all but the k greatest eigenvalues of S) / (L - k).
 * E is kept (SUM_SHRUNK). A direction of great variance loses nearly all of E, since it is among
 * the L each time: variances are reported as eigenvalues of B'B plus E ("compensated": Desai,
 * Ghashami, Phillips, TKDE 2016), at most E too much; captured_at_least is without it and certain.
 * The trace of S is summed as well, so shares of variance have a true denominator.
 *
 * The mean. S is about a mean that is not known before the end. Subtracting n m m' from a sketch
 * of the raw rows at the end would subtract it from what has been shrunk, and leave negative
 * squares. But a row x changes S by exactly one product,
 *     S' = S + n w / (n + w) (x - m)(x - m)',  m' = m + w / (n + w) (x - m)
 * (Welford, with weights), so what enters B is that row, and B is a sketch of S itself: the bound
 * holds about the final mean, no pivot is needed, and rows far from 0 cost no digits.
 *
 * Merge. Exact: sums add. Sketch: a slot's rows are appended to the view's and shrunk where full;
 * S of a union is S_a + S_b + n_a n_b / (n_a + n_b) (m_a - m_b)(m_a - m_b)', so its mean is
 * appended as one point of weight n_b. The bound holds for the union, with the slots' E added. A
 * function of the slots alone, in their order; the sketch of the union in one slot is another, as
 * near.
 * Half-life. Exact: sums times decay. Sketch: rows times its root; weight, trace and E times
 * it.
 *
 * Sketch: state 16 L D bytes, cost a row 8 L D flops in f64 on the host, whatever the back end.
 * Limits. Dense rows. A second epoch would count rows twice. A sketch serves fewer than L
 * components and no correlation: its bound holds for the columns as they came. Not done. Sparse
 * rows. Starting from a model: it has not what the other directions held. */
#include "algos/pca.h"

#include <string.h>

static enum st pca_init(const struct ctx *x, struct tensors *s)
{
    (void)x, (void)s; /* all zero: no row */
    return ST_OK;
}

static enum st pca_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                          struct eval *e)
{
    const struct pca l = pca_of(x->shape, x->opts);

    (void)e; /* OUT_NONE */
    CHECK(r->n <= l.b && r->train <= r->n && r->host && r->host->n == r->n);
    if (l.sketch)
        return sketch_add(x, s, r);
    moments_add(x, &l.m, s, 0, PW_MOMENTS, r);
    return ST_OK;
}

static enum st pca_fold(const struct ctx *x, struct tensors *view, const struct slot *s)
{
    return pca_of(x->shape, x->opts).sketch ? sketch_fold(x, view, s) : ST_OK; /* LAW_SUM */
}

static enum st pca_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                         float *out)
{
    const struct pca l = pca_of(x->shape, x->opts);
    const struct feat *f = &r->in[0];
    const struct tensor *t = model->t, *w = x->work->t;
    const uint32_t k = (uint32_t)t[PM_COMPONENT].d.dim[0];
    struct mat in = {w[PW_X].f32, r->n, l.d, l.xld};

    CHECK(r->n <= l.b && f->d == l.d && f->ld >= l.d && t[PM_COMPONENT].n == (uint64_t)k * l.d);
    x->c->ew(x->cs, EW_standardise, (uint32_t[2]){r->n, l.d},
             (struct arg[8]){
                 {(float *)f->x, f->ld}, {t[PM_MEAN].f32, 0}, {t[PM_SCALE].f32, 0}, {in.p, in.ld}},
             NULL);
    for (uint32_t at = 0; at < k; at += SCORE_COLS) {
        const uint32_t cols = k - at < SCORE_COLS ? k - at : SCORE_COLS;
        const struct mat some = {t[PM_COMPONENT].f32 + (size_t)at * l.d, cols, l.d, l.d};
        const float *z = w[PW_HOST].f32;

        x->c->gemm(x->cs, TB, 1.0f, in, some, 0.0f, (struct mat){w[PW_Z].f32, r->n, cols, cols});
        x->c->get(x->cs, w[PW_HOST].p, w[PW_Z].p, (size_t)r->n * cols * sizeof *z);
        for (uint32_t i = 0; i < r->n; i++)
            memcpy(out + (size_t)i * k + at, z + (size_t)i * cols, cols * sizeof *z);
    }
    return ST_OK;
}

const struct algo algo_pca = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "pca",
    .summary = "principal components: exact, or by a sketch for many columns",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_EXACT | ALGO_ONE_EPOCH,
    .ports = pca_ports,
    .opts = pca_options,
    .derive_opts = pca_derive_options,
    .opts_bytes = sizeof(struct pca_opts),
    .derive_bytes = sizeof(struct pca_derive),
    .check = pca_check,
    .declare = pca_declare,
    .init = pca_init,
    .update = pca_update,
    .derive = pca_derive,
    .score = pca_score,
    .fold = pca_fold,
};
