/* fm.c: factorization machines: a number or one of two classes from pairs of features.
 *
 * Problem. Every feature i has a coefficient w_i and k factors v_i (Rendle, Factorization Machines,
 * ICDM 2010); a row x is
 *   z = w0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j
 *     = w0 + sum_i w_i x_i + 1/2 sum_f (S_f^2 - sum_i v_if^2 x_i^2),   S_f = sum_i v_if x_i
 *   squared   (z - y)^2 / 2                          e = dl/dz = z - y
 *   logistic  log(1 + e^z) - y z,  y in {0, 1}       e = 1 / (1 + e^-z) - y
 *   dz/dw_i = x_i,   dz/dv_if = x_i S_f - x_i^2 v_if
 * so that two features which never met have an opinion on each other. M packed models (the grid
 * learning_rate x l2 x factors_l2) are columns of the same matrices.
 *
 * Update. The batch's rows of w, v and their sums are gathered; X w, X V and X^2 V^2 give z; with
 * E = weight * e, G_w = X'E and G_V = X'(E S) - V X^2'E are sums over the rows, not means: a
 * feature is in few rows of a batch, and so the size of the batch hardly matters (MovieLens 100k:
 * RMSE 0.931 to 0.933 with 8, 32 and 256 rows, whatever the seed). l2 weighs against each row that
 * has the feature. Then AdaGrad: n += g^2, w -= rate g / sqrt n, n from 1.
 *
 * Constant. w0 follows the mean of the labels (logistic: the log odds of class 1), which enters
 * before the gradient is taken, and learns what is left as the others do. Else the first rows, of
 * labels far from 0, would use up the learning rates of their features.
 *
 * Features. v_i is drawn when the feature is first learned, from N(0, init_deviation^2) by Philox
 * from seed and feature: the same in all partitions and packed models, without which their means
 * would mean nothing, for v is known up to a rotation only. A feature that was never learned is
 * zero bytes, costs nothing and predicts nothing; a held-out row draws nothing.
 *
 * State. head, w0, w, v, n.w, n.v, count, grid: fm.h. 8 (1 + k) M + 4 bytes a feature seen.
 * Cost a row: about 10 nnz k M flops; with dense rows D is nnz.
 *
 * Merge. Means of the slots' rows by count, the weight of the slot's rows that had the feature: a
 * slot which never saw it says nothing. w0 is the mean by the weight of all rows. A pull sets the
 * slot's rows to the view's (rebase), early and often, for rotations drift apart.
 *
 * Half-life. The labels' mean, count, n.w and n.v decay, without a touch of every row: `kept` is
 * the product of what is left; sums are stored over it, so a batch adds g^2 / kept and steps by
 * rate / sqrt(kept n). When kept is below 1e-12, about every 40 half-lives, one pass takes it in;
 * features whose count is below 1e-30 then, 100 half-lives without a row, are forgotten. w and v
 * do not decay.
 *
 * Divergence. As in linear.c: NaN and infinity stay in the columns of their model, which is put
 * back to its start after the batch, for all features seen; its losses of the batch are NaN. If
 * all diverge at once nothing is put back, and the partition stops.
 *
 * Model. One packed model; of fewer factors by the eigenvectors of sum_i count_i v_i v_i': V turned
 * so that the first factors hold the most, the others left out. A model of all factors has what
 * learning goes on from.
 *
 * Limits. One label a row. Pairs only. Values enter as they are: scale dense columns, and labels of
 * squared loss whose deviation is far from 1, or choose another learning rate.
 *
 * Not done. A sample of earlier rows that is learned again. Factors by field (FFM). Alternating
 * least squares and sampling, which need passes. */
#include "algos/fm.h"

#include "algos/compute/kernels.h"

#include <math.h>
#include <string.h>

/* Below it the half-life's product is taken into the sums, which are far from infinite then. */
#define KEPT_MIN 1e-12

/* ---- products ---- */

struct in { /* the features of n rows: sparse entries, or a matrix */
    const struct fm *l;
    struct csr x, x2;
    struct mat d, d2;
};

struct params { /* rows of the features in `in`, M models of k factors */
    struct mat w, nw, v, nv;
    uint32_t m, k, rows;
};

static void ew(const struct ctx *x, enum ew_id k, uint32_t rows, uint32_t cols, const struct arg *a,
               const float *prm)
{
    x->c->ew(x->cs, k, (uint32_t[2]){rows, cols}, a, prm);
}

/* z[n, c] = X w, or X^2 w, of the first n rows. */
static void times(const struct ctx *x, struct in in, bool squares, struct mat w, struct mat z)
{
    struct csr s = squares ? in.x2 : in.x;
    struct mat d = squares ? in.d2 : in.d;

    s.n = d.r = z.r;
    if (in.l->sparse)
        x->c->csr_mm(x->cs, s, w, z);
    else
        x->c->gemm(x->cs, NO_T, 1.0f, d, w, 0.0f, z);
}

/* g = X'e, or X^2'e, of the first e.r rows. */
static void times_t(const struct ctx *x, struct in in, bool squares, struct mat e, struct mat g)
{
    struct csr s = squares ? in.x2 : in.x;
    struct mat d = squares ? in.d2 : in.d;

    s.n = d.r = e.r;
    if (in.l->sparse)
        x->c->csr_tmm(x->cs, s, e, g);
    else
        x->c->gemm(x->cs, TA, 1.0f, d, e, 0.0f, g);
}

/* The rows' values and their squares; had[R]: the weight of the rows [0, train) that have each
 * feature, a value of 0 being none in dense rows (NULL: not asked for). */
static struct in features(const struct ctx *x, const struct fm *l, const struct rows *r, float *had)
{
    const struct feat *f = &r->in[0];
    const uint32_t *ptr = r->host->in[0].ptr;
    float *x2 = x->work->t[FW_X2].f32;
    const struct mat weight = mat((float *)r->weight, r->train, 1, 1);
    struct in in = {.l = l};

    if (!l->sparse) {
        in.d = mat((float *)f->x, r->n, l->d, f->ld);
        in.d2 = mat(x2, r->n, l->d, l->d);
        ew(x, EW_nonzero, had ? r->train : 0, l->d, (struct arg[8]){{in.d.p, in.d.ld}, {x2, l->d}},
           NULL);
        if (had)
            times_t(x, in, true, weight, mat(had, l->d, 1, 1));
        ew(x, EW_mul, r->n, l->d, (struct arg[8]){{in.d.p, in.d.ld}, {in.d.p, in.d.ld}, {x2, l->d}},
           NULL);
        return in;
    }
    CHECK(ptr[r->n] - ptr[0] <= x->work->t[FW_X2].n);
    in.x = in.x2 = (struct csr){.n = r->n, .ptr = f->ptr, .idx = f->local};
    if (had)
        times_t(x, in, false, weight, mat(had, f->uniq_n, 1, 1));
    if (!f->val)
        return in;
    ew(x, EW_mul, 1, ptr[r->n] - ptr[0],
       (struct arg[8]){{(float *)f->val + ptr[0], 0}, {(float *)f->val + ptr[0], 0}, {x2, 0}},
       NULL);
    in.x.val = f->val;
    in.x2.val = x2 - ptr[0];
    return in;
}

/* z[n, m] of the first z.r rows, without w0; leaves S, and V^2 in G. */
static void forward(const struct ctx *x, struct in in, struct params p, struct mat z)
{
    const uint32_t c = p.m * p.k;
    float *s = x->work->t[FW_S].f32, *q = x->work->t[FW_Q].f32, *v2 = x->work->t[FW_G].f32;
    const float k = (float)p.k;

    times(x, in, false, p.w, z);
    times(x, in, false, p.v, mat(s, z.r, c, c));
    ew(x, EW_mul, p.rows, c, (struct arg[8]){{p.v.p, c}, {p.v.p, c}, {v2, c}}, NULL);
    times(x, in, true, mat(v2, p.rows, c, c), mat(q, z.r, c, c));
    ew(x, EW_fm_pairs, z.r, p.m, (struct arg[8]){{z.p, z.ld}, {s, c}, {q, c}}, &k);
}

static void losses(const struct ctx *x, const struct fm *l, const struct rows *r, uint32_t n,
                   float *z, float *loss)
{
    ew(x, l->o->loss == FM_LOGISTIC ? EW_logistic : EW_squared, n, l->m,
       (struct arg[8]){{z, l->m},
                       {(float *)r->y, 0},
                       {(float *)r->weight, 0},
                       {x->work->t[FW_E].f32, l->m},
                       {loss, l->m}},
       NULL);
}

/* ---- rows of the state ---- */

static struct mat all_of(const struct tensors *s, uint32_t id)
{
    const struct tensor *t = &s->t[id];
    const uint32_t c = (uint32_t)(t->row_bytes / sizeof(float));

    return mat(t->f32, (uint32_t)t->d.dim[0], c, c);
}

/* The first n rows of the batch's features, or all: copies, or, dense, the state's own. */
static struct mat rows_of(const struct ctx *x, const struct fm *l, const struct tensors *s,
                          uint32_t id, uint32_t work, const uint32_t *uniq, uint32_t n)
{
    struct mat all = all_of(s, id), some = mat(x->work->t[work].f32, n, all.c, all.c);

    if (!l->sparse)
        return all;
    CHECK((uint64_t)n * all.c <= x->work->t[work].n);
    x->c->gather(x->cs, all, uniq, some);
    return some;
}

static void put_back(const struct ctx *x, const struct fm *l, struct tensors *s, uint32_t id,
                     struct mat some, const struct rows *r, uint32_t n)
{
    if (!l->sparse)
        return;
    some.r = n;
    x->c->scatter(x->cs, some, r->in[0].uniq, all_of(s, id));
    for (uint32_t i = 0; i < n; i++)
        touch(s, id, r->host->in[0].uniq[i], 1);
}

static struct params gathered(const struct ctx *x, const struct fm *l, const struct tensors *s,
                              const struct rows *r)
{
    const struct feat *f = &r->in[0];
    const uint32_t n = l->sparse ? f->uniq_n : l->d;

    return (struct params){.w = rows_of(x, l, s, FM_W, FW_TW, f->uniq, n),
                           .v = rows_of(x, l, s, FM_V, FW_TV, f->uniq, n),
                           .m = l->m,
                           .k = l->k,
                           .rows = n};
}

/* Gives the features that are learned for the first time their start, among the first n; says how
 * many there were. */
static uint32_t draw_new(const struct ctx *x, const struct fm *l, struct params p, double kept,
                         const struct rows *r, uint32_t n)
{
    float *had = x->work->t[FW_HOST_HAD].f32, *seen = x->work->t[FW_HOST_SEEN].f32;
    const struct fm_row k = fm_row_room(x);
    uint32_t drawn = 0;

    x->c->get(x->cs, had, x->work->t[FW_HAD].f32, n * sizeof *had);
    x->c->get(x->cs, seen, x->work->t[FW_SEEN].f32, n * sizeof *seen);
    for (uint32_t i = 0; i < n; i++) {
        if (seen[i] != 0 || had[i] == 0)
            continue;
        for (uint32_t m = 0; m < l->m; m++)
            fm_draw(x, l->sparse ? r->host->in[0].uniq[i] : i, m, kept, k);
        x->c->put(x->cs, p.w.p + (size_t)i * l->m, k.w, l->m * sizeof *k.w);
        x->c->put(x->cs, p.nw.p + (size_t)i * l->m, k.nw, l->m * sizeof *k.nw);
        x->c->put(x->cs, p.v.p + (size_t)i * l->z, k.v, l->z * sizeof *k.v);
        x->c->put(x->cs, p.nv.p + (size_t)i * l->z, k.nv, l->z * sizeof *k.nv);
        drawn++;
    }
    return drawn;
}

/* ---- learning ---- */

/* The labels of the batch, and its share of the half-life; w0 moves with their mean. */
static void take_labels(const struct ctx *x, const struct fm *l, struct tensors *s,
                        const struct rows *r, double weight)
{
    double *head = s->t[FM_HEAD].f64, base;
    float *w0 = x->work->t[FW_HOST_W0].f32;

    CHECK(r->decay > 0 && r->decay <= 1);
    head[HEAD_KEPT] *= r->decay;
    head[HEAD_WEIGHT] = head[HEAD_WEIGHT] * r->decay + weight;
    head[HEAD_SUM] *= r->decay;
    for (uint32_t i = 0; i < r->train; i++)
        head[HEAD_SUM] += (double)r->host->weight[i] * (double)r->host->y[i];
    base = fm_base(l, head[HEAD_WEIGHT], head[HEAD_SUM]);
    x->c->get(x->cs, w0, s->t[FM_W0].f32, l->m * sizeof *w0);
    for (uint32_t m = 0; m < l->m; m++)
        w0[m] += (float)(base - head[HEAD_BASE]);
    x->c->put(x->cs, s->t[FM_W0].f32, w0, l->m * sizeof *w0);
    head[HEAD_BASE] = base;
}

struct step { /* AdaGrad on rows of w by their gradient */
    struct mat w, n;
    float *g;
    uint32_t rate; /* row of the grid */
};

static void step(const struct ctx *x, const struct tensors *s, uint32_t rows, struct step k)
{
    const struct tensor *grid = &s->t[FM_GRID];
    const struct arg rate = {grid->f32 + k.rate * grid->d.dim[1], 0};
    const struct arg none = {grid->f32 + GRID_NONE * grid->d.dim[1], 0};
    const float scale = (float)(1.0 / sqrt(s->t[FM_HEAD].f64[HEAD_KEPT]));

    ew(x, EW_adagrad, rows, k.w.c,
       (struct arg[8]){{k.w.p, k.w.ld}, {k.n.p, k.n.ld}, {k.g, k.w.c}, rate, none, none}, &scale);
}

/* The gradients of w and v, from E and S, into GW and G. */
static void gradients(const struct ctx *x, struct in in, const struct tensors *s, struct params p,
                      uint32_t train, uint32_t rows)
{
    const struct fm *l = in.l;
    struct tensor *t = x->work->t;
    const struct mat e = mat(t[FW_E].f32, train, l->m, l->m);
    const float *grid = s->t[FM_GRID].f32, k = (float)l->k;
    const struct arg had = {t[FW_HAD].f32, 0}, w_l2 = {(float *)grid + GRID_W_L2 * l->z, 0};
    const struct arg v_l2 = {(float *)grid + GRID_FACTORS_L2 * l->z, 0};

    times_t(x, in, false, e, mat(t[FW_GW].f32, rows, l->m, l->m));
    times_t(x, in, true, e, mat(t[FW_H].f32, rows, l->m, l->m));
    ew(x, EW_group_mul, train, l->z,
       (struct arg[8]){{t[FW_S].f32, l->z}, {e.p, l->m}, {t[FW_Q].f32, l->z}}, &k);
    times_t(x, in, false, mat(t[FW_Q].f32, train, l->z, l->z), mat(t[FW_G].f32, rows, l->z, l->z));
    ew(x, EW_shrink, rows, l->m, (struct arg[8]){{t[FW_GW].f32, l->m}, {p.w.p, l->m}, had, w_l2},
       NULL);
    ew(x, EW_fm_grad, rows, l->z,
       (struct arg[8]){{t[FW_G].f32, l->z}, {p.v.p, l->z}, had, v_l2, {t[FW_H].f32, l->m}}, &k);
}

/* The constants take the sum of e, whose gradient is put behind that of the features' in GW's
 * place. */
static void step_w0(const struct ctx *x, const struct fm *l, struct tensors *s, uint32_t train)
{
    struct mat w0 = all_of(s, FM_W0);
    float *g = x->work->t[FW_GW].f32;

    x->c->colsum(x->cs, mat(x->work->t[FW_E].f32, train, l->m, l->m), NULL, g);
    step(x, s, 1,
         (struct step){.w = mat(w0.p, 1, l->m, l->m),
                       .n = mat(w0.p + l->m, 1, l->m, l->m),
                       .g = g,
                       .rate = GRID_W_RATE});
}

/* ---- divergence ---- */

/* Marks the models with a sum of squared gradients, of `rows` rows, that is no number: one that is
 * not makes n so, and one that is moves w by no more than a rate. */
static void find_bad(const struct ctx *x, struct mat n, uint32_t rows, uint32_t k, bool *bad)
{
    float *sum = x->work->t[FW_G].f32, *host = x->work->t[FW_ROW].f32;

    n.r = rows;
    x->c->colsum(x->cs, n, NULL, sum);
    x->c->get(x->cs, host, sum, n.c * sizeof *host);
    for (uint32_t j = 0; j < n.c; j++)
        bad[j / k] |= !isfinite(host[j]);
}

static void mend(const struct ctx *x, const struct fm *l, struct tensors *s, const struct rows *r,
                 const struct eval *e, struct params p)
{
    const struct mat w0 = all_of(s, FM_W0);
    const float nan = __builtin_nanf("");
    bool bad[MODELS_MAX] = {false};
    uint32_t found = 0;

    find_bad(x, p.nw, p.rows, 1, bad);
    find_bad(x, p.nv, p.rows, l->k, bad);
    find_bad(x, w0, 2, 1, bad);
    for (uint32_t m = 0; m < l->m; m++)
        found += bad[m];
    if (!found || found == l->m)
        return;
    fm_restart(x, s, bad);
    for (uint32_t m = 0; e && m < l->m; m++)
        if (bad[m])
            ew(x, EW_set, r->n, 1, (struct arg[8]){{e->loss + m, l->m}}, &nan);
}

/* ---- update ---- */

/* Rows [0, train), whose outputs without w0 are in RAW. */
static void learn(const struct ctx *x, struct in in, struct tensors *s, const struct rows *r,
                  struct params p, struct eval *e, double weight)
{
    const struct fm *l = in.l;
    const struct feat *f = &r->in[0];
    struct tensor *t = x->work->t;
    const struct mat z = mat(t[FW_RAW].f32, r->train, l->m, l->m);
    const uint32_t n = l->sparse ? rows_columns(r) : l->d;
    struct mat seen;
    float grown[2] = {1.0f, 1.0f};

    take_labels(x, l, s, r, weight);
    grown[1] = (float)(1.0 / s->t[FM_HEAD].f64[HEAD_KEPT]);
    p.nw = rows_of(x, l, s, FM_NW, FW_TNW, f->uniq, p.rows);
    p.nv = rows_of(x, l, s, FM_NV, FW_TNV, f->uniq, p.rows);
    seen = rows_of(x, l, s, FM_COUNT, FW_SEEN, f->uniq, p.rows);
    if (!l->sparse)
        ew(x, EW_copy, n, 1, (struct arg[8]){{t[FW_SEEN].f32, 1}, {seen.p, 1}}, NULL);
    if (draw_new(x, l, p, s->t[FM_HEAD].f64[HEAD_KEPT], r, n))
        forward(x, in, p, z);
    ew(x, EW_addrow, r->train, l->m, (struct arg[8]){{z.p, z.ld}, {s->t[FM_W0].f32, 0}}, NULL);
    losses(x, l, r, r->train, z.p, t[FW_LOSS].f32);
    gradients(x, in, s, p, r->train, n);
    step(x, s, n, (struct step){p.w, p.nw, t[FW_GW].f32, GRID_W_RATE});
    step(x, s, n, (struct step){p.v, p.nv, t[FW_G].f32, GRID_RATE});
    step_w0(x, l, s, r->train);
    ew(x, EW_axpby, n, 1, (struct arg[8]){{seen.p, 1}, {t[FW_HAD].f32, 1}}, grown);
    put_back(x, l, s, FM_W, p.w, r, n);
    put_back(x, l, s, FM_NW, p.nw, r, n);
    put_back(x, l, s, FM_V, p.v, r, n);
    put_back(x, l, s, FM_NV, p.nv, r, n);
    put_back(x, l, s, FM_COUNT, seen, r, n);
    p.rows = n;
    if (l->m > 1)
        mend(x, l, s, r, e, p);
    if (s->t[FM_HEAD].f64[HEAD_KEPT] < KEPT_MIN)
        fm_rescale(x, s);
}

static enum st check_batch(const struct fm *l, const struct rows *r, bool labels, struct err *e)
{
    const struct feat *f = &r->in[0];

    CHECK(r->n <= l->b && r->train <= r->n);
    CHECK(r->host->n == r->n && f->d == l->d);
    CHECK(!l->sparse || (f->uniq_n <= l->r && f->ptr && f->local && f->uniq));
    CHECK(l->sparse || (f->x && f->ld >= l->d));
    CHECK(!labels || (r->y && r->host->y && r->weight && r->host->weight));
    return labels && l->o->loss == FM_LOGISTIC ? rows_classes(r, 2, e) : ST_OK;
}

static enum st fm_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                         struct eval *e)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const struct mat raw = mat(x->work->t[FW_RAW].f32, r->n, l.m, l.m);
    const double weight = rows_weight(r);
    struct params p;
    struct in in;

    if (!r->n)
        return ST_OK;
    TRY(check_batch(&l, r, true, x->err));
    CHECK(s->t[FM_V].n == (uint64_t)l.d * l.z);
    in = features(x, &l, r, x->work->t[FW_HAD].f32);
    p = gathered(x, &l, s, r);
    forward(x, in, p, raw);
    if (e) {
        ew(x, EW_copy, r->n, l.m, (struct arg[8]){{e->z, l.m}, {raw.p, l.m}}, NULL);
        ew(x, EW_addrow, r->n, l.m, (struct arg[8]){{e->z, l.m}, {s->t[FM_W0].f32, 0}}, NULL);
        losses(x, &l, r, r->n, e->z, e->loss);
    }
    if (weight > 0)
        learn(x, in, s, r, p, e, weight);
    return ST_OK;
}

/* ---- score ---- */

static void finish(const struct fm *l, const float *z, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n && l->o->loss == FM_LOGISTIC; i++) {
        float e = mr_exp(-mr_abs(z[i])), q = 1.0f / (1.0f + e);

        out[2 * (size_t)i] = z[i];
        out[2 * (size_t)i + 1] = z[i] >= 0.0f ? q : e * q;
    }
    if (l->o->loss == FM_SQUARED)
        memcpy(out, z, n * sizeof *z);
}

static enum st fm_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                        float *out)
{
    const struct fm l = fm_of(x->shape, x->opts);
    const struct feat *f = &r->in[0];
    const struct mat z = mat(x->work->t[FW_RAW].f32, r->n, 1, 1);
    const uint32_t rows = l.sparse ? f->uniq_n : l.d;
    float *host = x->work->t[FW_OUT].f32;
    struct params p = {.m = 1, .k = (uint32_t)model->t[MFM_V].d.dim[1], .rows = rows};

    if (!r->n)
        return ST_OK;
    TRY(check_batch(&l, r, false, x->err));
    CHECK(p.k && p.k <= l.k && model->t[MFM_V].d.dim[0] == l.d);
    p.w = rows_of(x, &l, model, MFM_W, FW_TW, f->uniq, rows);
    p.v = rows_of(x, &l, model, MFM_V, FW_TV, f->uniq, rows);
    forward(x, features(x, &l, r, NULL), p, z);
    ew(x, EW_addrow, r->n, 1, (struct arg[8]){{z.p, 1}, {model->t[MFM_W0].f32, 0}}, NULL);
    x->c->get(x->cs, host, z.p, r->n * sizeof *host);
    finish(&l, host, r->n, out);
    return ST_OK;
}

const struct algo algo_fm = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "fm",
    .summary = "factorization machines: pairs of features; squared or logistic loss",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_LABEL,
    .ports = fm_ports,
    .opts = fm_options,
    .derive_opts = fm_derive_options,
    .opts_bytes = sizeof(struct fm_opts),
    .derive_bytes = sizeof(struct fm_derive),
    .check = fm_check,
    .declare = fm_declare,
    .init = fm_init,
    .update = fm_update,
    .derive = fm_derive,
    .score = fm_score,
    .fold = fm_fold,
    .fold_end = fm_fold_end,
    .rebase = fm_rebase,
    .start = fm_start,
};
