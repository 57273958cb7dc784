/* linear.c: linear models of dense or sparse rows: of classes, numbers, quantiles and counts.
 *
 * Problem. Minimise over w, b the weighted mean of loss(z, y), z = x'w + b, while rows pass once:
 *   logistic       log(1 + e^z) - y z,  y in {0, 1}     dl/dz = p - y,   p = 1 / (1 + e^-z)
 *   hinge          h = max(0, 1 - s z), s = 2 y - 1     -s where h > 0
 *   squared_hinge  h^2                                  -2 s h
 *   softmax        log sum_c e^z_c - z_y, y in 0..C-1   p - 1_y, p = softmax(z)
 *   one_vs_rest    logistic of each z_c, y = c or not   p - 1_y
 *   squared        (z - y)^2 / 2                        z - y
 *   huber          squared up to |z - y| = delta, from there a line   z - y within +-delta
 *   absolute       |z - y|                              sign
 *   quantile       q (y - z) below y, (1 - q) (z - y) above it   -q, 1 - q
 *   poisson        e^z - y z, y >= 0                    e^z - y
 * The minimum over constants is the mean (squared, poisson: of e^z), the median, the quantile q.
 * Class weights multiply the weights of rows in all that is learned (linear_loss.c).
 *
 * M packed models (the grid learning_rate x l1 x l2) are columns of one matrix w[D + 1, M C],
 * row-major by feature: a batch of B rows is two products for all of them, models are the SIMD
 * lane.
 *
 * Update. Z = X w + b; losses; G = X' E / B with E = weight * dl/dz; one optimiser step by column:
 *   adagrad   n += g^2, w = soft(w - s g, s l1), s = rate / sqrt n, l2 w added to g
 *             (Duchi, Hazan, Singer, JMLR 2011)
 *   ftrl      n, z as in McMahan et al., KDD 2013; w is the closed form of z. l1, l2 weigh against
 *             the whole stream there, against one batch elsewhere
 *   sgd       w = soft(w - rate (g + l2 w), rate l1)
 * soft is the proximal step of l1, so coefficients become exactly 0; l1 and l2 together are the
 * elastic net.
 * The divisor is the batch size of the job, not of the batch: a short last batch takes a
 * proportionally short step, and a row of weight 2 is the row twice. The bias is not regularised.
 * Sparse rows touch, and regularise, only the features they have.
 *
 * Standardisation. Dense columns enter as (x - shift) scale, so one learning rate suits all units.
 * The moments are those of the slot's first 4,096 (by weight) learned rows; shift and scale are set
 * from its first batch, again whenever their weight has doubled, and then frozen. Nothing waits for
 * a warm-up: the first batch learns. scale = 1 / max(deviation, largest distance from the mean /
 * 5): within the warm-up no value exceeds 5, however rare it is. Constant columns take the root
 * mean square of the others' units. Sparse rows are left alone: centring would fill them, and a
 * feature not seen yet has no scale.
 *
 * Half-life. weight, n and count are sums that fade; w is not (linear_forget.c). The steps of
 * adagrad and ftrl then do not shorten for ever: where the last rows have no loss left, a rate
 * that was right without a half-life is too long.
 *
 * Average. With `average` the model is not the last w but the mean over the batches, of which
 * number t counts about t^3 (Shamir and Zhang, ICML 2013): it is without the noise of the last
 * steps, so rates may be larger. Learning, and its metrics, go on with w. The slots' means meet as
 * w does, in standard units, and are not pulled. l1 leaves no zeros in a mean.
 *
 * State. weight, w, n, z, count, shift, scale, grid, moments, warm, growth, mean: linear.h. Models
 * are in raw units.
 *
 * Cost a row: 4 D Z flops dense, 4 nnz Z sparse; w and n are passed over once a batch (D Z / B a
 * row).
 *
 * Divergence. Packed models share their rows and nothing else, so NaN and infinity stay in the
 * columns of the model that made them. It is put back to its start before anything is saved: dense
 * at the end of a block, where a look at all of w costs nothing, sparse after each batch, for the
 * features it had. Its loss was, or is made, NaN, so the runtime never chooses it again. If all
 * models diverge at once nothing is put back, and the partition stops.
 *
 * Merge. fold takes the mean of w and b by weight learned, for sparse features by the weight of the
 * rows that had them, in standard units; shift and spread of the slots are pooled; rebase converts
 * into the pooled units. n is averaged likewise. Adding the optimisers' sums instead diverges as
 * soon as slots are stale.
 *
 * Limits. One label a row, not scaled: where its unit is large, so must the rate be. Z <= 64 *
 * 4,096. D from the schema; ids of sparse rows are hashed where they are read (input.hash_bits).
 *
 * Not done. Squared loss by sufficient statistics: exact, but D^2 state, so an algorithm of its
 * own. l2, and averages, of sparse features that a batch lacks: each would need the time of its
 * last step. */
#include "algos/linear.h"

#include "algos/halving.h"

/* ---- steps ---- */

void linear_ew(const struct ctx *x, enum ew_id k, uint32_t rows, uint32_t cols, const struct arg *a,
               const float *prm)
{
    x->c->ew(x->cs, k, (uint32_t[2]){rows, cols}, a, prm);
}

/* The rows as they enter the products: standardised, or as they are. */
static struct mat features(const struct ctx *x, const struct lin *l, const struct tensors *s,
                           const struct rows *r)
{
    const struct feat *f = &r->in[0];
    float *to = x->work->t[WORK_X].f32;

    if (!l->standard)
        return mat((float *)f->x, r->n, l->d, f->ld);
    linear_ew(x, EW_standardise, r->n, l->d,
              (struct arg[8]){{(float *)f->x, f->ld},
                              {s->t[LIN_SHIFT].f32, 0},
                              {s->t[LIN_SCALE].f32, 0},
                              {to, l->xld}},
              NULL);
    return mat(to, r->n, l->d, l->xld);
}

static struct csr entries(const struct feat *f, const uint32_t *idx, uint32_t n)
{
    return (struct csr){.n = n, .ptr = f->ptr, .idx = idx, .val = f->val};
}

static void step(const struct ctx *x, const struct lin *l, const struct tensors *s, double decay,
                 struct block k)
{
    const uint32_t z = l->z;
    const struct grid set = linear_grid(l, s, k.bias);
    const struct arg w = {k.w, z}, n = {k.n, z}, acc = {k.z, z}, g = {k.g, z};

    linear_unfold(x, l, s, &k, decay);
    if (l->o->optimizer == LINEAR_ADAGRAD)
        linear_ew(x, EW_adagrad, k.rows, z, (struct arg[8]){w, n, g, set.rate, set.l1, set.l2},
                  set.prm);
    else if (l->o->optimizer == LINEAR_FTRL)
        linear_ew(x, EW_ftrl, k.rows, z, (struct arg[8]){w, n, acc, g, set.rate, set.l1, set.l2},
                  set.prm);
    else
        linear_ew(x, EW_sgd, k.rows, z, (struct arg[8]){w, g, set.rate, set.l1, set.l2}, set.prm);
    linear_fold_up(x, l, s, &k);
}

/* Row j of w, n or z, or NULL where this job has none. */
static float *row_of(const struct lin *l, const struct tensors *s, uint32_t id, uint64_t j)
{
    const struct tensor *t = &s->t[id];

    return t->n ? t->f32 + j * l->z : NULL;
}

/* The bias takes the sums of e; its gradient is put behind those of the features. */
static void step_bias(const struct ctx *x, const struct lin *l, struct tensors *s,
                      const struct rows *r, float *g)
{
    x->c->colsum(x->cs, mat(x->work->t[WORK_E].f32, r->train, l->z, l->z), NULL, g);
    step(x, l, s, r->decay,
         (struct block){.w = row_of(l, s, LIN_W, l->d),
                        .n = row_of(l, s, LIN_N, l->d),
                        .z = row_of(l, s, LIN_Z, l->d),
                        .g = g,
                        .rows = 1,
                        .bias = true});
}

static void learn_dense(const struct ctx *x, const struct lin *l, struct tensors *s,
                        const struct rows *r, struct mat in)
{
    float *g = x->work->t[WORK_G].f32;

    in.r = r->train;
    x->c->gemm(x->cs, TA, 1.0f, in, mat(x->work->t[WORK_E].f32, r->train, l->z, l->z), 0.0f,
               mat(g, l->d, l->z, l->z));
    step(x, l, s, r->decay,
         (struct block){.w = row_of(l, s, LIN_W, 0),
                        .n = row_of(l, s, LIN_N, 0),
                        .z = row_of(l, s, LIN_Z, 0),
                        .g = g,
                        .rows = l->d});
    step_bias(x, l, s, r, g + (size_t)l->d * l->z);
}

static void move_rows(const struct ctx *x, const struct lin *l, struct tensors *s, uint32_t id,
                      uint32_t work, const struct rows *r, uint32_t n, bool back)
{
    const struct feat *f = &r->in[0];
    const struct tensor *t = &s->t[id];
    const struct lin one = {.z = 1, .z_all = 1}, *as = id == LIN_COUNT ? &one : l;
    uint32_t c = as->z;
    struct mat all = mat(t->f32, (uint32_t)t->d.dim[0], c, c), some;

    if (!t->n)
        return;
    CHECK(n * (uint64_t)c <= x->work->t[work].n);
    some = mat(x->work->t[work].f32, n, c, c);
    if (!back) {
        x->c->gather(x->cs, all, f->uniq, some);
        return;
    }
    x->c->scatter(x->cs, some, f->uniq, all);
    for (uint32_t i = 0; i < n; i++)
        linear_touch(as, s, id, r->host->in[0].uniq[i]);
    linear_touch(as, s, id, t->d.dim[0] - 1); /* the bias moves with every batch */
}

/* Weight of the rows that have the feature: the merge law of rare features. */
static void count_columns(const struct ctx *x, const struct lin *l, struct tensors *s,
                          const struct rows *r, uint32_t n)
{
    const struct feat *f = &r->in[0];
    float *seen = x->work->t[WORK_SEEN].f32, *more = seen + l->r;
    float add[2] = {1.0f, (float)linear_growth(l, s)};
    struct csr had = entries(f, f->local, r->train);

    had.val = NULL;
    move_rows(x, l, s, LIN_COUNT, WORK_SEEN, r, n, false);
    x->c->csr_tmm(x->cs, had, mat((float *)r->weight, r->train, 1, 1), mat(more, n, 1, 1));
    linear_ew(x, EW_axpby, n, 1, (struct arg[8]){{seen, 1}, {more, 1}}, add);
    move_rows(x, l, s, LIN_COUNT, WORK_SEEN, r, n, true);
    x->c->colsum(x->cs, mat((float *)r->weight, r->train, 1, 1), NULL, more);
    linear_ew(x, EW_axpby, 1, 1, (struct arg[8]){{s->t[LIN_COUNT].f32 + l->d, 1}, {more, 1}}, add);
}

/* Returns how many rows of the state took a step, the bias apart. */
static uint32_t learn_sparse(const struct ctx *x, const struct lin *l, struct tensors *s,
                             const struct rows *r)
{
    const struct feat *f = &r->in[0];
    const uint32_t n = rows_columns(r);
    struct tensor *t = x->work->t;
    float *g = t[WORK_G].f32;

    CHECK(n < l->r && s->t[LIN_COUNT].n == l->d + 1ull);
    x->c->csr_tmm(x->cs, entries(f, f->local, r->train), mat(t[WORK_E].f32, r->train, l->z, l->z),
                  mat(g, n, l->z, l->z));
    move_rows(x, l, s, LIN_N, WORK_TN, r, n, false);
    move_rows(x, l, s, LIN_Z, WORK_TZ, r, n, false);
    step(x, l, s, r->decay,
         (struct block){
             .w = t[WORK_TW].f32, .n = t[WORK_TN].f32, .z = t[WORK_TZ].f32, .g = g, .rows = n});
    step_bias(x, l, s, r, g + (size_t)n * l->z);
    move_rows(x, l, s, LIN_W, WORK_TW, r, n, true);
    move_rows(x, l, s, LIN_N, WORK_TN, r, n, true);
    move_rows(x, l, s, LIN_Z, WORK_TZ, r, n, true);
    count_columns(x, l, s, r, n);
    return n;
}

static void average(const struct ctx *x, const struct lin *l, struct tensors *s, double weight)
{
    const double late = 3, c = (1 + late) * weight / (s->t[LIN_WEIGHT].f64[0] + late * weight);
    const float prm[2] = {(float)(1 - c), (float)c};

    linear_ew(x, EW_axpby, l->d + 1, l->z,
              (struct arg[8]){{s->t[LIN_MEAN].f32, l->z}, {s->t[LIN_W].f32, l->z}}, prm);
}

/* ---- divergence ---- */

enum { PROBE = 64 };

/* No NaN and no infinity among p[n]? May say no of numbers whose sum is beyond float32. Overwrites
 * the gradient. A few wide rows are quicker than many narrow ones. */
static bool finite(const struct ctx *x, const float *p, uint64_t n)
{
    const struct tensor *g = &x->work->t[WORK_G];
    const uint32_t wide = g->n < PROBE ? (uint32_t)g->n : PROBE, left = (uint32_t)(n % wide);
    float sum[2 * PROBE] = {0};
    bool all = true;

    if (n >= wide) {
        x->c->colsum(x->cs, mat((float *)p, (uint32_t)(n / wide), wide, wide), NULL, g->f32);
        x->c->get(x->cs, sum, g->f32, wide * sizeof *sum);
    }
    x->c->get(x->cs, sum + PROBE, p + (n - left), left * sizeof *sum);
    for (uint32_t i = 0; i < 2 * PROBE; i++)
        all &= sum[i] - sum[i] == 0;
    return all;
}

/* What a batch has changed is left finite, unless it is not in any model: rows[n] of the state, or
 * their copies. Where there is n it says it all: a gradient that is not finite makes n so, and one
 * that is moves w by no more than a rate. */
static void mend(const struct ctx *x, const struct lin *l, struct tensors *s, const struct rows *r,
                 const struct eval *e, uint32_t rows)
{
    const uint32_t id = l->has_n ? LIN_N : LIN_W, copy = l->has_n ? WORK_TN : WORK_TW;
    const float *p = l->sparse ? x->work->t[copy].f32 : s->t[id].f32;
    const float nan = __builtin_nanf("");
    bool bad[MODELS_MAX];

    if (finite(x, p, (uint64_t)rows * l->z) && finite(x, row_of(l, s, id, l->d), l->z))
        return;
    if (!linear_restart(x, s, l->sparse ? r->host->in[0].uniq : NULL, rows, bad))
        return;
    for (uint32_t m = 0; e && m < l->m; m++)
        if (bad[m])
            linear_ew(x, EW_set, r->n, 1, (struct arg[8]){{e->loss + m, l->m}}, &nan);
}

/* ---- update ---- */

static void check_batch(const struct lin *l, const struct rows *r)
{
    const struct feat *f = &r->in[0];

    CHECK(r->n <= l->b && r->train <= r->n);
    CHECK(r->host && r->host->n == r->n);
    CHECK(r->weight && r->host->weight);
    CHECK(f->d == l->d);
    CHECK(!l->sparse || f->uniq_n < l->r);
    CHECK(l->sparse ? f->ptr && f->col && f->local && f->uniq : f->x && f->ld >= l->d);
}

static enum st linear_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                             struct eval *e)
{
    /* found by name, which a job without halving need not pay in every batch */
    const uint8_t *stopped = x->shape->halving ? halving_stopped(s) : NULL;
    const struct lin l = linear_living(x->shape, x->opts, stopped);
    const struct feat *f = &r->in[0];
    const bool all = l.m == l.m_all;
    float *z = e && all ? e->z : x->work->t[WORK_Z].f32;
    float *loss = e && all ? e->loss : x->work->t[WORK_LOSS].f32;
    struct eval living = {z, loss};
    struct rows own, host;
    struct mat in = {0};
    uint32_t stepped = 0;
    double weight;

    if (!r->n)
        return ST_OK;
    check_batch(&l, r);
    TRY(linear_labels(&l, r, x->err));
    r = linear_weighted(x, &l, r, &own, &host);
    weight = rows_weight(r);
    if (weight > 0 && l.standard)
        linear_standardize(x, s, r);
    if (l.sparse) {
        move_rows(x, &l, s, LIN_W, WORK_TW, r, f->uniq_n, false);
        x->c->csr_mm(x->cs, entries(f, f->local, r->n),
                     mat(x->work->t[WORK_TW].f32, f->uniq_n, l.z, l.z), mat(z, r->n, l.z, l.z));
    } else {
        in = features(x, &l, s, r);
        x->c->gemm(x->cs, NO_T, 1.0f, in, mat(s->t[LIN_W].f32, l.d, l.z, l.z), 0.0f,
                   mat(z, r->n, l.z, l.z));
    }
    linear_ew(x, EW_addrow, r->n, l.z, (struct arg[8]){{z, l.z}, {row_of(&l, s, LIN_W, l.d), 0}},
              NULL);
    linear_losses(x, &l, r, z, loss);
    CHECK(s->t[LIN_W].n == (l.d + 1ull) * l.z_all);
    CHECK(x->work->t[WORK_G].n == (uint64_t)l.r * l.z_all);
    if (weight > 0)
        linear_forget(x, &l, s, r->decay);
    if (weight > 0 && l.sparse)
        stepped = learn_sparse(x, &l, s, r);
    else if (weight > 0)
        learn_dense(x, &l, s, r, in);
    s->t[LIN_WEIGHT].f64[0] += weight;
    if (weight > 0 && l.o->average)
        average(x, &l, s, weight);
    if (l.m > 1 && (l.sparse ? weight > 0 : r->last))
        mend(x, &l, s, r, e ? &living : NULL, l.sparse ? stepped : l.d);
    if (e && !all)
        linear_spread(x, &l, r->n, &living, e);
    return ST_OK;
}

/* ---- score ---- */

static enum st linear_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                            float *out)
{
    const struct lin l = linear_of(x->shape, x->opts);
    const struct feat *f = &r->in[0];
    float *w = model->t[MODEL_W].f32, *host = x->work->t[WORK_OUT].f32;
    struct mat z = mat(x->work->t[WORK_Z].f32, r->n, l.c, l.c), coef = mat(w, l.d, l.c, l.c);

    CHECK(model->t[MODEL_W].n == (l.d + 1ull) * l.c);
    if (!r->n)
        return ST_OK;
    check_batch(&l, r);
    if (l.sparse)
        x->c->csr_mm(x->cs, entries(f, f->col, r->n), coef, z);
    else
        x->c->gemm(x->cs, NO_T, 1.0f, mat((float *)f->x, r->n, l.d, f->ld), coef, 0.0f, z);
    linear_ew(x, EW_addrow, r->n, l.c, (struct arg[8]){{z.p, l.c}, {w + (size_t)l.d * l.c, 0}},
              NULL);
    if (l.o->loss == LINEAR_SOFTMAX)
        x->c->softmax(x->cs, 1, z, x->work->t[WORK_LSE].f32);
    x->c->get(x->cs, host, z.p, (size_t)r->n * l.c * sizeof *host);
    linear_finish(&l, host, r->n, out);
    return ST_OK;
}

const struct algo algo_linear = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "linear",
    .summary =
        "classes, numbers, counts, quantiles by ten losses; dense or sparse rows; packed models",
    .state_version = 2,
    .model_version = 2,
    .flags = ALGO_LABEL,
    .ports = linear_ports,
    .opts = linear_options,
    .derive_opts = linear_derive_options,
    .opts_bytes = sizeof(struct linear_opts),
    .derive_bytes = sizeof(struct linear_derive),
    .check = linear_check,
    .declare = linear_declare,
    .init = linear_init,
    .update = linear_update,
    .derive = linear_derive,
    .score = linear_score,
    .fold = linear_fold,
    .fold_end = linear_fold_end,
    .rebase = linear_rebase,
    .start = linear_start,
    .intact = linear_intact,
    .stop = linear_stop,
};
