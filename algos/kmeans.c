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
 * msd_estimate. Reseeding. The batch's farthest row takes the place of a centre, if giving that up
 * costs less than the row's own distance: the centre's weight goes to its nearest neighbour, n n' /
 * (n + n') |c - c'|^2 is added to sse. Given up is the cheapest of SPARES, half of them the
 * lightest, half in turn; and so again with the next farthest row, until it is not worth it. What
 * arrives after the warm-up gets centres of its own, and what is rare and far keeps them: shuttle
 * (49,097 rows, outliers of 100 spreads), mean squared distance at k = 10, 20: 5,069 and 1,659, by
 * k-means on all rows (the better of two) 5,100 and 1,742; by one row a batch, for the lightest,
 * 8,406 and 6,563.
 *
 * Half-life. r->decay multiplies n and sse (while warming up: the weights of the rows that wait)
 * before a batch is learned: old rows give way where new ones come, a centre that no row comes to
 * is soon the lightest and reseeded, and the model counts the rows that are left of all.
 *
 * State. centre, n, sse, shift, head, warm: kmeans.h. 4 K D bytes, and 4 W D while warming up.
 * Cost a row: 2 K D flops, one product; sums D; 2 D for each centre that reseeding moves. A batch:
 * K D for the means.
 * Merge. The view is the union of all slots' centres, which beats one common set (it is a finer
 *   coreset) and needs no exchange while learning. A slot still warming up contributes its rows,
 *   clustered to K points where they are more. Exact: the view is a function of the slots alone.
 * Limits. Dense rows. Columns count as they come: scale them before. A second epoch would count
 * rows twice. Not done. Sparse rows (centres would be dense all the same). A bound in theory: that
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
    struct mat to = mat(x->work->t[KW_X].f32, in.r, in.c, l.xld);

    CHECK(in.r <= l.b && in.c == l.d);
    km_ew(x, EW_subrow, in.r, in.c,
          (struct arg[8]){{in.p, in.ld}, {(float *)shift, 0}, {to.p, to.ld}}, NULL);
    return to;
}

/* The same with |c|^2 in KW_C2. */
static void near_known(const struct ctx *x, struct mat in, struct mat centre, uint32_t k)
{
    struct tensor *t = x->work->t;
    struct mat dist = mat(t[KW_DIST].f32, in.r, centre.r, centre.r);

    CHECK((uint64_t)in.r * centre.r <= t[KW_DIST].n);
    CHECK(in.c == centre.c && (k == 1 || k == 2) && k <= centre.r);
    x->c->gemm(x->cs, TB, -2.0f, in, centre, 0.0f, dist);
    if (k == 1)
        x->c->rowmin(x->cs, dist, t[KW_C2].f32, t[KW_AT].u32, t[KW_VAL].f32);
    else
        x->c->topk(x->cs, dist, t[KW_C2].f32, k, t[KW_AT].u32, t[KW_VAL].f32);
}

void km_near(const struct ctx *x, struct mat in, struct mat centre, uint32_t k)
{
    x->c->rowsq(x->cs, centre, x->work->t[KW_C2].f32);
    near_known(x, in, centre, k);
}

/* From val and KW_X2. */
static void distances(const struct ctx *x, uint32_t rows, float *val, float *loss)
{
    km_ew(x, EW_square_distance, rows, 1,
          (struct arg[8]){{val, 1}, {x->work->t[KW_X2].f32, 0}, {loss, 1}}, NULL);
}

static void assign_known(const struct ctx *x, struct mat in, struct mat centre, float *loss)
{
    near_known(x, in, centre, 1);
    x->c->rowsq(x->cs, in, x->work->t[KW_X2].f32);
    distances(x, in.r, x->work->t[KW_VAL].f32, loss);
}

void km_assign(const struct ctx *x, struct mat in, struct mat centre, float *loss)
{
    x->c->rowsq(x->cs, centre, x->work->t[KW_C2].f32);
    assign_known(x, in, centre, loss);
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

    x->c->segsum(x->cs, in, weight, t[KW_AT].u32, mat(t[KW_SUM].f32, l.k, l.d, l.d),
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
    x->c->rowsq(x->cs, mat(t[KW_SUM].f32, l.k, l.d, l.d), t[KW_STEP].f32);
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

/* What was learned before counts so much less from here on. */
static void decay(const struct km *l, struct tensors *s, double by)
{
    CHECK(by >= 0 && by <= 1);
    if (by == 1)
        return;
    for (uint32_t j = 0; j < l->k; j++)
        s->t[KM_N].f64[j] *= by;
    s->t[KM_SSE].f64[0] *= by;
    for (uint64_t i = 0; i < s->t[KM_HEAD].u64[HEAD_LIVE]; i++)
        s->t[KM_WARM_WEIGHT].f32[i] *= (float)by;
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
    return (struct span){.in = mat((float *)f->x + (size_t)from * f->ld, r->n - from, l->d, f->ld),
                         .weight = r->weight + from,
                         .host_weight = r->host->weight + from,
                         .train = r->train - from};
}

/* Centres that a batch may give up, and what that would cost: some of the lightest, and others in
 * turn, for a light one far from all others costs more than one of many that are close. */
struct spare {
    uint32_t n, centre[SPARES], near[SPARES];
    double cost[SPARES];            /* of the squared distances; infinite: not this one any more */
    uint32_t moved, at[2 * SPARES]; /* centres that reseeding has moved, ascending */
};

static void note_moved(struct spare *f, uint32_t j)
{
    uint32_t i = f->moved++;

    CHECK(i < 2 * SPARES);
    for (; i && f->at[i - 1] > j; i--)
        f->at[i] = f->at[i - 1];
    f->at[i] = j;
}

static bool spare_has(const struct spare *f, uint32_t j)
{
    uint32_t i = 0;

    while (i < f->n && f->centre[i] != j)
        i++;
    return i < f->n;
}

static void choose_spares(const struct km *l, const double *n, uint64_t batch, struct spare *f)
{
    const uint32_t all = l->b / 8 < SPARES ? l->b / 8 : SPARES;
    const uint32_t most = l->b < 2 ? 1 : all < 2 ? 2 : all, light_most = (most + 1) / 2;

    f->n = 0;
    while (f->n < light_most && f->n < l->k) {
        uint32_t light = l->k;

        for (uint32_t j = 0; j < l->k; j++)
            if ((light == l->k || n[j] < n[light]) && !spare_has(f, j))
                light = j;
        f->centre[f->n++] = light;
    }
    for (uint64_t i = 0, at = batch * light_most; i < l->k && f->n < most; i++)
        if (!spare_has(f, (uint32_t)((at + i) % l->k)))
            f->centre[f->n++] = (uint32_t)((at + i) % l->k);
}

/* Their nearest neighbours, all by one product. KW_C2 is known. */
static void find_spares(const struct ctx *x, const struct km *l, struct tensors *s, uint64_t batch,
                        struct spare *f)
{
    struct tensor *t = x->work->t;
    const double *n = s->t[KM_N].f64;
    struct mat all = mat(s->t[KM_CENTRE].f32, l->k, l->d, l->d), some;
    uint32_t at[2 * SPARES];
    float val[2 * SPARES], own[SPARES];

    choose_spares(l, n, batch, f);
    some = mat(t[KW_SUM].f32, f->n, l->d, l->d);
    x->c->put(x->cs, t[KW_PICK].u32, f->centre, f->n * sizeof *at);
    x->c->gather(x->cs, all, t[KW_PICK].u32, some);
    near_known(x, some, all, 2);
    x->c->rowsq(x->cs, some, t[KW_X2].f32);
    x->c->get(x->cs, at, t[KW_AT].u32, 2 * f->n * sizeof *at);
    x->c->get(x->cs, val, t[KW_VAL].f32, 2 * f->n * sizeof *val);
    x->c->get(x->cs, own, t[KW_X2].f32, f->n * sizeof *own);
    for (uint32_t i = 0; i < f->n; i++) {
        uint32_t j = f->centre[i], q = 2 * i + (at[2 * i] == j); /* not itself */
        double d2 = (double)own[i] + (double)val[q], both = n[j] + n[at[q]];

        f->near[i] = at[q];
        f->cost[i] = both > 0 && d2 > 0 ? n[j] * n[at[q]] / both * d2 : 0;
    }
}

/* Moves the weight of spare i to its neighbour; neither is spare any more. */
static void give_up(const struct ctx *x, const struct km *l, struct tensors *s, struct spare *f,
                    uint32_t i)
{
    const uint32_t j = f->centre[i], near = f->near[i];
    float *c = s->t[KM_CENTRE].f32, *from = x->work->t[HOST_F32].f32, *to = from + l->d;
    double *n = s->t[KM_N].f64, share = n[j] > 0 ? n[j] / (n[j] + n[near]) : 0;

    x->c->get(x->cs, from, c + (size_t)j * l->d, l->d * sizeof *from);
    x->c->get(x->cs, to, c + (size_t)near * l->d, l->d * sizeof *to);
    for (uint32_t q = 0; q < l->d; q++)
        to[q] = (float)((double)to[q] + share * ((double)from[q] - (double)to[q]));
    x->c->put(x->cs, c + (size_t)near * l->d, to, l->d * sizeof *to);
    n[near] += n[j];
    n[j] = 0;
    s->t[KM_SSE].f64[0] += f->cost[i];
    note_moved(f, j);
    note_moved(f, near);
    for (uint32_t q = 0; q < f->n; q++)
        if (f->centre[q] == j || f->near[q] == j || f->centre[q] == near || f->near[q] == near)
            f->cost[q] = (double)__builtin_inff();
}

struct near { /* what rowmin() leaves, in compute space */
    uint32_t *at;
    float *val;
};

/* Room beside what all centres left. */
static struct near near_moved(const struct ctx *x)
{
    const struct tensor *at = &x->work->t[KW_AT], *val = &x->work->t[KW_VAL];

    return (struct near){at->u32 + at->d.dim[0], val->f32 + val->d.dim[0]};
}

/* The nearest of a few centres, without touching KW_DIST. */
static void near_some(const struct ctx *x, struct mat in, struct mat some, struct near to)
{
    struct tensor *t = x->work->t;
    struct mat dist = mat(t[KW_DIST_MOVED].f32, in.r, some.r, some.r);

    CHECK((uint64_t)in.r * some.r <= t[KW_DIST_MOVED].n);
    x->c->rowsq(x->cs, some, t[KW_STEP].f32);
    x->c->gemm(x->cs, TB, -2.0f, in, some, 0.0f, dist);
    x->c->rowmin(x->cs, dist, t[KW_STEP].f32, to.at, to.val);
}

/* The learned rows' nearest centres once more, where some have moved: of the others the products
 * stand in KW_DIST. loss[in.r]: the squared distances, in host memory. */
static void reassign(const struct ctx *x, const struct km *l, struct tensors *s, struct mat in,
                     const struct spare *f, float *loss)
{
    struct tensor *t = x->work->t;
    struct mat all = mat(s->t[KM_CENTRE].f32, l->k, l->d, l->d);
    struct mat some = mat(t[KW_SUM].f32, f->moved, l->d, l->d);
    struct near moved = near_moved(x);
    uint32_t *at = t[HOST_U32].u32, *other = at + in.r;
    float *val = t[HOST_F32].f32, *other_val = val + in.r;
    const float inf = __builtin_inff();

    x->c->put(x->cs, t[KW_PICK].u32, f->at, f->moved * sizeof *at);
    x->c->gather(x->cs, all, t[KW_PICK].u32, some);
    near_some(x, in, some, moved);
    for (uint32_t i = 0; i < f->moved; i++)
        x->c->put(x->cs, t[KW_C2].f32 + f->at[i], &inf, sizeof inf);
    x->c->rowmin(x->cs, mat(t[KW_DIST].f32, in.r, l->k, l->k), t[KW_C2].f32, t[KW_AT].u32,
                 t[KW_VAL].f32);
    x->c->get(x->cs, at, t[KW_AT].u32, in.r * sizeof *at);
    x->c->get(x->cs, val, t[KW_VAL].f32, in.r * sizeof *val);
    x->c->get(x->cs, other, moved.at, in.r * sizeof *other);
    x->c->get(x->cs, other_val, moved.val, in.r * sizeof *other_val);
    for (uint32_t i = 0; i < in.r; i++) {
        uint32_t j = f->at[other[i]];

        if (other_val[i] < val[i] || (other_val[i] == val[i] && j < at[i])) {
            at[i] = j;
            val[i] = other_val[i];
        }
    }
    x->c->put(x->cs, t[KW_AT].u32, at, in.r * sizeof *at);
    x->c->put(x->cs, t[KW_VAL].f32, val, in.r * sizeof *val);
    distances(x, in.r, t[KW_VAL].f32, t[KW_LOSS].f32);
    x->c->get(x->cs, loss, t[KW_LOSS].f32, in.r * sizeof *loss);
}

/* Gives the cheapest spare centre up to the farthest row, if that is worth it; n of the new centre
 * is 0 until the row is learned with its batch. loss[train] becomes the squared distances with it.
 * Returns whether it did. */
static bool reseed(const struct ctx *x, const struct km *l, struct tensors *s, struct span p,
                   struct mat in, struct spare *f, float *loss)
{
    struct tensor *t = x->work->t;
    float *row = t[HOST_F32].f32, *c;
    struct near one = near_moved(x);
    uint32_t far = 0, cheap = 0;

    for (uint32_t i = 1; i < p.train; i++)
        far = p.host_weight[i] * loss[i] > p.host_weight[far] * loss[far] ? i : far;
    for (uint32_t i = 1; i < f->n; i++)
        cheap = f->cost[i] < f->cost[cheap] ? i : cheap;
    if (!(f->cost[cheap] < (double)p.host_weight[far] * (double)loss[far]))
        return false;
    give_up(x, l, s, f, cheap);
    c = s->t[KM_CENTRE].f32 + (size_t)f->centre[cheap] * l->d;
    x->c->get(x->cs, row, in.p + (size_t)far * in.ld, l->d * sizeof *row);
    x->c->put(x->cs, c, row, l->d * sizeof *row);
    near_some(x, in, mat(c, 1, l->d, l->d), one);
    distances(x, in.r, one.val, t[KW_LOSS].f32);
    x->c->get(x->cs, row, t[KW_LOSS].f32, p.train * sizeof *row);
    for (uint32_t i = 0; i < p.train; i++)
        loss[i] = row[i] < loss[i] ? row[i] : loss[i];
    return true;
}

/* Scores the rows into loss, then learns those that are not held out. */
static void learn(const struct ctx *x, const struct km *l, struct tensors *s, struct span p,
                  uint64_t batch, float *loss)
{
    struct mat in = km_shift_rows(x, p.in, s->t[KM_SHIFT].f32);
    float *host = x->work->t[HOST_LOSS].f32;
    struct mat all = mat(s->t[KM_CENTRE].f32, l->k, l->d, l->d);
    double sum = 0, weight = 0;
    struct spare f = {.n = 0};

    x->c->rowsq(x->cs, all, x->work->t[KW_C2].f32);
    if (p.train && l->k > 1)
        find_spares(x, l, s, batch, &f);
    assign_known(x, in, all, loss);
    x->c->get(x->cs, host, loss, p.train * sizeof *host);
    in.r = p.train;
    while (f.n && reseed(x, l, s, p, in, &f, host))
        ;
    if (f.moved)
        reassign(x, l, s, in, &f, host);
    for (uint32_t i = 0; i < p.train; i++) {
        weight += (double)p.host_weight[i];
        sum += (double)p.host_weight[i] * (double)host[i];
    }
    if (!(weight > 0))
        return;
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
    decay(&l, s, r->decay);
    if (head[HEAD_SEEDED]) {
        learn(x, &l, s, rows_from(&l, r, 0), r->batch, loss);
        return ST_OK;
    }
    km_ew(x, EW_set, r->n, 1, (struct arg[8]){{loss, 1}}, &none);
    kept = keep(x, &l, s, r);
    if (head[HEAD_LIVE] < l.w)
        return ST_OK;
    settle(x, &l, s, r->partition);
    if (kept < r->train)
        learn(x, &l, s, rows_from(&l, r, kept), r->batch, x->work->t[KW_LOSS].f32);
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
    km_assign(x, in, mat(near, k, l.d, l.d), x->work->t[KW_LOSS].f32);
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
