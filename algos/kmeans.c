/* kmeans.c: clusters from one pass, for any number of them afterwards.
 *
 * Problem. Choose k centres that minimise the mean over rows of the squared distance to the nearest
 * one. Lloyd's algorithm needs all rows again and again; here each row is seen once.
 *
 * Idea. Keep K = k * extra_centers centres, many more than asked for, as weighted points that stand
 * for the rows: a coreset. The clustering is made from the points when a model is derived, by
 * weighted k-means++ and Lloyd, so k, or any smaller number, is chosen after the pass
 * (Liberty et al., Elastic Machine Learning Algorithms in Amazon SageMaker, SIGMOD 2020;
 * mini-batches: Sculley, WWW 2010).
 *
 * Start. The slot's first W rows wait in `warm`; K of them, drawn with probability proportional to
 * weight * distance^2 from those drawn before (k-means++ in rounds: kmeans_seed.c), become the
 * centres after a few rounds of Lloyd on the W rows. Until then a row has no loss (LOSS_NONE).
 * Update. A batch is assigned to its nearest centres by one matrix product, then every centre moves
 * to the mean of all the rows it ever got: n' = n + m, c' = c + (sum - m c) / n'. With the Welford
 * form sse += sum w |x - c|^2 - n' |c' - c|^2 sse is the scatter of the rows about the means of
 * their centres, so that for any z sum over rows of |x - z(x)|^2 = sse + sum_j n_j |c_j - z_j|^2
 * (rows following their centre), an upper bound of the true cost and what derive reports as
 * msd_estimate. Reseeding. The batch's farthest row takes the place of the lightest centre, if
 * giving that up costs less than the row's own distance: the centre's weight goes to its nearest
 * neighbour, n n' / (n + n') |c - c'|^2 is added to sse. One row a batch at most; what arrives
 * after the warm-up gets centres of its own.
 *
 * State. centre, n, sse, shift, head, warm: kmeans.h. 4 K D bytes, and 4 W D while warming up.
 * Cost a row: 2 K D flops, one product; sums D. A batch: K D for the means.
 * Merge. The view is the union of all slots' centres, which beats one common set (it is a finer
 *   coreset) and needs no exchange while learning. A slot still warming up contributes its rows,
 *   clustered to K points where they are more. Exact: the view is a function of the slots alone.
 * Limits. Dense rows. Columns count as they come: scale them before. A second epoch would count
 * rows twice. Not done. Half-life (n would decay by time). Sparse rows. A bound in theory: that
 * would take online facility location or sensitivity sampling, with more centres for the same
 * quality in practice. */
#include "algos/kmeans.h"

#include <math.h>
#include <string.h>

/* ---- the steps ---- */

void km_ew(const struct ctx *x, enum ew_id k, uint32_t rows, uint32_t cols, const struct arg *a,
           const float *prm)
{
    x->c->ew(x->cs, k, (uint32_t[2]){rows, cols}, a, prm);
}

struct mat km_shift_rows(const struct ctx *x, struct mat in, const float *shift)
{
    const struct km l = km_of(x->shape, x->opts);
    struct mat to = km_mat(x->work->t[KW_X].f32, in.r, in.c, l.xld);

    CHECK(in.r <= l.b && in.c == l.d);
    km_ew(x, EW_subrow, in.r, in.c,
          (struct arg[8]){{in.p, in.ld}, {(float *)shift, 0}, {to.p, to.ld}}, NULL);
    return to;
}

void km_near(const struct ctx *x, struct mat in, struct mat centre, uint32_t k)
{
    struct tensor *t = x->work->t;
    struct mat dist = km_mat(t[KW_DIST].f32, in.r, centre.r, centre.r);

    CHECK((uint64_t)in.r * centre.r <= t[KW_DIST].n);
    CHECK(in.c == centre.c && (k == 1 || k == 2) && k <= centre.r);
    x->c->rowsq(x->cs, centre, t[KW_C2].f32);
    x->c->gemm(x->cs, TB, -2.0f, in, centre, 0.0f, dist);
    if (k == 1)
        x->c->rowmin(x->cs, dist, t[KW_C2].f32, t[KW_AT].u32, t[KW_VAL].f32);
    else
        x->c->topk(x->cs, dist, t[KW_C2].f32, k, t[KW_AT].u32, t[KW_VAL].f32);
}

void km_assign(const struct ctx *x, struct mat in, struct mat centre, float *loss)
{
    struct tensor *t = x->work->t;

    km_near(x, in, centre, 1);
    x->c->rowsq(x->cs, in, t[KW_X2].f32);
    km_ew(x, EW_square_distance, in.r, 1,
          (struct arg[8]){{t[KW_VAL].f32, 1}, {t[KW_X2].f32, 0}, {loss, 1}}, NULL);
}

void km_sums_clear(const struct ctx *x)
{
    const struct km l = km_of(x->shape, x->opts);
    double *mass = x->work->t[HOST_MASS].f64;
    float zero = 0.0f;

    km_ew(x, EW_set, l.k, l.d, (struct arg[8]){{x->work->t[KW_SUM].f32, l.d}}, &zero);
    memset(mass, 0, l.k * sizeof *mass);
    x->c->put(x->cs, x->work->t[KW_MASS].f64, mass, l.k * sizeof *mass);
}

void km_sums_add(const struct ctx *x, struct mat in, const float *weight)
{
    const struct km l = km_of(x->shape, x->opts);
    struct tensor *t = x->work->t;

    x->c->segsum(x->cs, in, weight, t[KW_AT].u32, km_mat(t[KW_SUM].f32, l.k, l.d, l.d),
                 t[KW_MASS].f64);
}

void km_move(const struct ctx *x, struct centres k, double sum)
{
    const struct km l = km_of(x->shape, x->opts);
    struct tensor *t = x->work->t;
    float *rate = t[KW_RATE].f32, *host = t[HOST_F32].f32;
    double *mass = t[HOST_MASS].f64;

    x->c->get(x->cs, mass, t[KW_MASS].f64, l.k * sizeof *mass);
    for (uint32_t j = 0; j < l.k; j++)
        host[j] = (float)mass[j];
    x->c->put(x->cs, rate, host, l.k * sizeof *host);
    for (uint32_t j = 0; j < l.k; j++) {
        CHECK(mass[j] >= 0 && k.n[j] >= 0);
        k.n[j] += mass[j];
        host[j] = mass[j] > 0 ? (float)(1.0 / k.n[j]) : 0.0f;
    }
    x->c->put(x->cs, rate + l.k, host, l.k * sizeof *host);
    km_ew(x, EW_mean_step, l.k, l.d,
          (struct arg[8]){{k.c, l.d}, {t[KW_SUM].f32, l.d}, {rate, 0}, {rate + l.k, 0}}, NULL);
    x->c->rowsq(x->cs, km_mat(t[KW_SUM].f32, l.k, l.d, l.d), t[KW_STEP].f32);
    x->c->get(x->cs, host, t[KW_STEP].f32, l.k * sizeof *host);
    for (uint32_t j = 0; j < l.k; j++)
        sum -= mass[j] > 0 ? k.n[j] * (double)host[j] : 0;
    *k.sse += sum < 0 ? 0 : sum; /* rounding, where all rows are centres; a NaN stays */
}

/* ---- update ---- */

static struct centres centres_of(struct tensors *s)
{
    return (struct centres){.c = s->t[KM_CENTRE].f32, .n = s->t[KM_N].f64, .sse = s->t[KM_SSE].f64};
}

/* Keeps learned rows of the batch, from row 0 on, until warm is full. Returns how many rows it
 * took. */
static uint32_t keep(const struct ctx *x, const struct km *l, struct tensors *s,
                     const struct rows *r)
{
    const struct feat *f = &r->host->in[0];
    uint64_t *live = &s->t[KM_HEAD].u64[HEAD_LIVE];
    uint32_t i = 0;

    for (; i < r->train && *live < l->w; i++) {
        if (!(r->host->weight[i] > 0))
            continue;
        x->c->put(x->cs, s->t[KM_WARM].f32 + *live * l->d, f->x + (size_t)i * f->ld,
                  l->d * sizeof *f->x);
        s->t[KM_WARM_WEIGHT].f32[*live] = r->host->weight[i];
        touch(s, KM_WARM, *live, 1);
        ++*live;
    }
    return i;
}

/* The warm-up is over: centres, and no rows any more. */
static void settle(const struct ctx *x, const struct km *l, struct tensors *s, uint32_t partition)
{
    uint64_t *head = s->t[KM_HEAD].u64;
    float zero = 0.0f;

    CHECK(head[HEAD_LIVE] == l->w && !head[HEAD_SEEDED]);
    km_warm_mean(x, s, s->t[KM_SHIFT].f32);
    km_seed(x, s, partition, s->t[KM_SHIFT].f32, centres_of(s));
    km_ew(x, EW_set, l->w, l->d, (struct arg[8]){{s->t[KM_WARM].f32, l->d}}, &zero);
    memset(s->t[KM_WARM_WEIGHT].p, 0, s->t[KM_WARM_WEIGHT].bytes);
    touch(s, KM_WARM, 0, l->w);
    head[HEAD_LIVE] = 0;
    head[HEAD_SEEDED] = 1;
}

struct span { /* consecutive rows of a batch */
    struct mat in;
    const float *weight, *host_weight;
    uint32_t train;
};

static struct span rows_from(const struct km *l, const struct rows *r, uint32_t from)
{
    const struct feat *f = &r->in[0];

    CHECK(f->d == l->d && f->ld >= l->d && f->x);
    CHECK(from <= r->train && r->train <= r->n);
    return (struct span){.in =
                             km_mat((float *)f->x + (size_t)from * f->ld, r->n - from, l->d, f->ld),
                         .weight = r->weight + from,
                         .host_weight = r->host->weight + from,
                         .train = r->train - from};
}

/* Centre j's nearest neighbour, and the squared distance to it. KW_C2 is of the centres as they
 * are. */
static uint32_t neighbour(const struct ctx *x, const struct km *l, struct tensors *s, uint32_t j,
                          double *d2)
{
    struct tensor *t = x->work->t;
    struct mat all = km_mat(s->t[KM_CENTRE].f32, l->k, l->d, l->d);
    struct mat one = km_mat(all.p + (size_t)j * l->d, 1, l->d, l->d);
    float own, none = __builtin_inff(), val;
    uint32_t at;

    x->c->get(x->cs, &own, t[KW_C2].f32 + j, sizeof own);
    x->c->put(x->cs, t[KW_C2].f32 + j, &none, sizeof none);
    x->c->gemm(x->cs, TB, -2.0f, one, all, 0.0f, km_mat(t[KW_DIST].f32, 1, l->k, l->k));
    x->c->rowmin(x->cs, km_mat(t[KW_DIST].f32, 1, l->k, l->k), t[KW_C2].f32, t[KW_PICK].u32,
                 t[KW_STEP].f32);
    x->c->get(x->cs, &at, t[KW_PICK].u32, sizeof at);
    x->c->get(x->cs, &val, t[KW_STEP].f32, sizeof val);
    *d2 = own + val > 0 ? (double)own + (double)val : 0;
    return at;
}

/* Gives the lightest centre up to the farthest row, if that is worth it; n of the new centre is 0
 * until the row is learned with its batch. Returns whether it did. */
static bool reseed(const struct ctx *x, const struct km *l, struct tensors *s, struct span p,
                   struct mat in, const float *loss)
{
    double *n = s->t[KM_N].f64, d2, cost;
    float *c = s->t[KM_CENTRE].f32, *row = x->work->t[HOST_F32].f32, *other = row + l->d;
    uint32_t far = 0, light = 0, near;

    if (l->k == 1)
        return false;
    for (uint32_t i = 1; i < p.train; i++)
        far = p.host_weight[i] * loss[i] > p.host_weight[far] * loss[far] ? i : far;
    for (uint32_t j = 1; j < l->k; j++)
        light = n[j] < n[light] ? j : light;
    near = neighbour(x, l, s, light, &d2);
    if (near == light)
        return false; /* squares beyond float32: the scan of the state will say so */
    CHECK(near < l->k);
    cost = n[light] > 0 ? n[light] * n[near] / (n[light] + n[near]) * d2 : 0;
    if (!(cost < (double)p.host_weight[far] * (double)loss[far]))
        return false;
    if (n[light] > 0) {
        double share = n[light] / (n[light] + n[near]);

        x->c->get(x->cs, row, c + (size_t)light * l->d, l->d * sizeof *row);
        x->c->get(x->cs, other, c + (size_t)near * l->d, l->d * sizeof *row);
        for (uint32_t q = 0; q < l->d; q++)
            other[q] = (float)((double)other[q] + share * ((double)row[q] - (double)other[q]));
        x->c->put(x->cs, c + (size_t)near * l->d, other, l->d * sizeof *row);
        n[near] += n[light];
        n[light] = 0;
        s->t[KM_SSE].f64[0] += cost;
    }
    x->c->get(x->cs, row, in.p + (size_t)far * in.ld, l->d * sizeof *row);
    x->c->put(x->cs, c + (size_t)light * l->d, row, l->d * sizeof *row);
    return true;
}

/* Scores the rows into loss, then learns those that are not held out. */
static void learn(const struct ctx *x, const struct km *l, struct tensors *s, struct span p,
                  float *loss)
{
    struct mat in = km_shift_rows(x, p.in, s->t[KM_SHIFT].f32);
    float *host = x->work->t[HOST_F32].f32;
    double sum = 0, weight = 0;

    km_assign(x, in, km_mat(s->t[KM_CENTRE].f32, l->k, l->d, l->d), loss);
    x->c->get(x->cs, host, loss, p.train * sizeof *host);
    if (p.train && reseed(x, l, s, p, in, host)) {
        km_assign(x, in, km_mat(s->t[KM_CENTRE].f32, l->k, l->d, l->d), x->work->t[KW_LOSS].f32);
        x->c->get(x->cs, host, x->work->t[KW_LOSS].f32, p.train * sizeof *host);
    }
    for (uint32_t i = 0; i < p.train; i++) {
        weight += (double)p.host_weight[i];
        sum += (double)p.host_weight[i] * (double)host[i];
    }
    if (!(weight > 0))
        return;
    in.r = p.train;
    km_sums_clear(x);
    km_sums_add(x, in, p.weight);
    km_move(x, centres_of(s), sum);
}

static enum st kmeans_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                             struct eval *e)
{
    const struct km l = km_of(x->shape, x->opts);
    float *loss = e ? e->loss : x->work->t[KW_LOSS].f32, none = LOSS_NONE;
    uint64_t *head = s->t[KM_HEAD].u64;
    uint32_t kept;

    CHECK(r->n <= l.b && r->train <= r->n);
    CHECK(r->host && r->host->n == r->n && r->weight && r->host->weight);
    CHECK(s->t[KM_N].n == l.k && s->t[KM_CENTRE].n == (uint64_t)l.k * l.d);
    CHECK(head[HEAD_LIVE] <= l.w && head[HEAD_SEEDED] <= 1);
    if (!r->n)
        return ST_OK;
    if (head[HEAD_SEEDED]) {
        learn(x, &l, s, rows_from(&l, r, 0), loss);
        return ST_OK;
    }
    km_ew(x, EW_set, r->n, 1, (struct arg[8]){{loss, 1}}, &none);
    kept = keep(x, &l, s, r);
    if (head[HEAD_LIVE] < l.w)
        return ST_OK;
    settle(x, &l, s, r->partition);
    if (kept < r->train)
        learn(x, &l, s, rows_from(&l, r, kept), x->work->t[KW_LOSS].f32);
    return ST_OK;
}

/* ---- score ---- */

static enum st kmeans_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                            float *out)
{
    const struct km l = km_of(x->shape, x->opts);
    const struct tensor *t = &model->t[KM_MODEL_CENTRE];
    const uint32_t k = (uint32_t)t->d.dim[0];
    float *near = x->work->t[KW_SUM].f32, *loss = x->work->t[HOST_F32].f32;
    uint32_t *at = x->work->t[HOST_U32].u32;
    struct mat in;

    CHECK(r->n <= l.b && k && k <= l.k && t->n == (uint64_t)k * l.d);
    if (!r->n)
        return ST_OK;
    /* the first centre is the pivot: a common offset costs no digits */
    in = km_shift_rows(x, rows_from(&l, r, 0).in, t->f32);
    km_ew(x, EW_subrow, k, l.d, (struct arg[8]){{t->f32, l.d}, {t->f32, 0}, {near, l.d}}, NULL);
    km_assign(x, in, km_mat(near, k, l.d, l.d), x->work->t[KW_LOSS].f32);
    x->c->get(x->cs, loss, x->work->t[KW_LOSS].f32, r->n * sizeof *loss);
    x->c->get(x->cs, at, x->work->t[KW_AT].u32, r->n * sizeof *at);
    for (uint32_t i = 0; i < r->n; i++) {
        out[2 * (size_t)i] = (float)at[i];
        out[2 * (size_t)i + 1] = sqrtf(loss[i]);
    }
    return ST_OK;
}

const struct algo algo_kmeans = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "kmeans",
    .summary = "clusters from extra centres; any number of them after the pass",
    .state_version = 1,
    .model_version = 2,
    .flags = ALGO_EXACT | ALGO_ONE_EPOCH,
    .ports = kmeans_ports,
    .opts = kmeans_options,
    .derive_opts = kmeans_derive_options,
    .opts_bytes = sizeof(struct kmeans_opts),
    .derive_bytes = sizeof(struct kmeans_derive),
    .check = kmeans_check,
    .declare = kmeans_declare,
    .init = kmeans_init,
    .update = kmeans_update,
    .derive = kmeans_derive,
    .score = kmeans_score,
    .fold = kmeans_fold,
    .start = kmeans_start,
    .intact = kmeans_intact,
};
