/* kmeans_seed.c: the first centres of a slot, from the rows of its warm-up.
 *
 * k-means++ (Arthur and Vassilvitskii, SODA 2007) draws one centre after the other, row i with
 * probability proportional to w_i d_i^2, d_i its distance to the nearest centre so far. With
 * hundreds of centres that is hundreds of passes over the rows; so all but the first are drawn in
 * ROUNDS groups, and the distances are brought up to date after each by one matrix product
 * (k-means||, Bahmani et al., VLDB 2012, draws in rounds for the same reason). A few rounds of
 * Lloyd on the same rows follow. */
#include "algos/kmeans.h"

#include <string.h>

enum { ROUNDS = 16, LLOYD = 3 };

void km_random(const struct ctx *x, uint32_t purpose, uint64_t at, uint32_t n, float *out)
{
    const uint64_t key[2] = {x->seed, (uint64_t)purpose << 32};
    float *u = x->work->t[KW_U].f32;

    CHECK(n <= x->work->t[KW_U].n);
    x->c->put(x->cs, x->work->t[KW_RID].p, &at, sizeof at);
    x->c->fill(x->cs, FILL_U01, key, x->work->t[KW_RID].u64, mat(u, 1, n, n));
    x->c->get(x->cs, out, u, n * sizeof *out);
}

uint32_t km_draw(const double *mass, uint32_t n, double total, float u, uint32_t none)
{
    double left = (double)u * total;
    uint32_t last = none;

    for (uint32_t i = 0; i < n && total > 0; i++) {
        if (!(mass[i] > 0))
            continue;
        last = i;
        left -= mass[i];
        if (left < 0)
            break;
    }
    return last;
}

static struct mat warm_rows(const struct km *l, const struct tensors *s, uint64_t from)
{
    uint64_t n = s->t[KM_HEAD].u64[HEAD_LIVE] - from;

    CHECK(from < s->t[KM_HEAD].u64[HEAD_LIVE] && from + n <= l->w);
    return mat(s->t[KM_WARM].f32 + from * l->d, n < l->b ? (uint32_t)n : l->b, l->d, l->d);
}

/* The weights of the warm rows, for operations. */
static const float *warm_weights(const struct ctx *x, const struct tensors *s)
{
    float *to = x->work->t[KW_WARM].f32;

    x->c->put(x->cs, to, s->t[KM_WARM_WEIGHT].f32, s->t[KM_WARM_WEIGHT].bytes);
    return to;
}

void km_warm_mean(const struct ctx *x, const struct tensors *s, float *shift)
{
    const struct km l = km_of(x->shape, x->opts);
    const float *weight = s->t[KM_WARM_WEIGHT].f32;
    const uint32_t n = (uint32_t)s->t[KM_HEAD].u64[HEAD_LIVE];
    double sum = 0;
    float scale[2] = {0};

    for (uint32_t i = 0; i < n; i++)
        sum += (double)weight[i];
    CHECK(sum > 0);
    scale[0] = (float)(1.0 / sum);
    x->c->colsum(x->cs, mat(s->t[KM_WARM].f32, n, l.d, l.d), warm_weights(x, s), shift);
    km_ew(x, EW_axpby, 1, l.d, (struct arg[8]){{shift, l.d}, {s->t[KM_WARM].f32, l.d}}, scale);
}

/* Draws centres [from, to) into pick, by d2, and takes the rows out of the draw. */
static void draw_group(const struct ctx *x, uint32_t rows, uint32_t from, uint32_t to,
                       const float *u)
{
    double *d2 = x->work->t[HOST_D2].f64, total = 0;
    uint32_t *pick = x->work->t[HOST_U32].u32;

    for (uint32_t i = 0; i < rows; i++)
        total += d2[i];
    for (uint32_t j = from; j < to; j++) {
        pick[j] = km_draw(d2, rows, total, u[j], j);
        CHECK(pick[j] < rows);
        total -= d2[pick[j]];
        d2[pick[j]] = 0;
    }
}

/* Brings d2 up to date with centres [from, to). */
static void nearer(const struct ctx *x, const struct tensors *s, struct mat centre,
                   const float *shift, bool first)
{
    const struct km l = km_of(x->shape, x->opts);
    const float *weight = s->t[KM_WARM_WEIGHT].f32;
    double *d2 = x->work->t[HOST_D2].f64;
    float *loss = x->work->t[KW_LOSS].f32, *host = x->work->t[HOST_F32].f32;

    for (uint64_t at = 0; at < s->t[KM_HEAD].u64[HEAD_LIVE]; at += l.b) {
        struct mat in = km_shift_rows(x, warm_rows(&l, s, at), shift);

        km_assign(x, in, centre, loss);
        x->c->get(x->cs, host, loss, in.r * sizeof *host);
        for (uint32_t i = 0; i < in.r; i++) {
            double d = (double)weight[at + i] * (double)host[i];

            if (first || d < d2[at + i])
                d2[at + i] = d;
        }
    }
}

static void draw(const struct ctx *x, const struct tensors *s, uint32_t partition,
                 const float *shift, float *c)
{
    const struct km l = km_of(x->shape, x->opts);
    const uint32_t rows = (uint32_t)s->t[KM_HEAD].u64[HEAD_LIVE];
    const uint32_t group = l.k / ROUNDS ? l.k / ROUNDS : 1;
    uint32_t *pick = x->work->t[KW_PICK].u32, *host = x->work->t[HOST_U32].u32;
    float *u = x->work->t[HOST_F32].f32;

    for (uint32_t i = 0; i < rows; i++)
        x->work->t[HOST_D2].f64[i] = (double)s->t[KM_WARM_WEIGHT].f32[i];
    for (uint32_t from = 0, to = 1; from < l.k;
         from = to, to = l.k - to < group ? l.k : to + group) {
        struct mat some = mat(c + (size_t)from * l.d, to - from, l.d, l.d);

        km_random(x, PURPOSE_SEED, partition, l.k, u);
        draw_group(x, rows, from, to, u);
        x->c->put(x->cs, pick, host + from, (to - from) * sizeof *pick);
        x->c->gather(x->cs, mat(s->t[KM_WARM].f32, l.w, l.d, l.d), pick,
                     mat(x->work->t[KW_SUM].f32, some.r, l.d, l.d));
        km_ew(x, EW_subrow, some.r, l.d,
              (struct arg[8]){{x->work->t[KW_SUM].f32, l.d}, {(float *)shift, 0}, {some.p, l.d}},
              NULL);
        nearer(x, s, some, shift, from == 0);
    }
}

void km_seed(const struct ctx *x, const struct tensors *s, uint32_t partition, const float *shift,
             struct centres k)
{
    const struct km l = km_of(x->shape, x->opts);
    const float *weight = s->t[KM_WARM_WEIGHT].f32, *weights = warm_weights(x, s);
    float *loss = x->work->t[KW_LOSS].f32, *host = x->work->t[HOST_F32].f32;
    double before = *k.sse;

    CHECK(s->t[KM_HEAD].u64[HEAD_LIVE] >= l.k);
    draw(x, s, partition, shift, k.c);
    for (int round = 0; round < LLOYD; round++) {
        double sum = 0;

        memset(k.n, 0, l.k * sizeof *k.n);
        *k.sse = before;
        km_sums_clear(x);
        for (uint64_t at = 0; at < s->t[KM_HEAD].u64[HEAD_LIVE]; at += l.b) {
            struct mat in = km_shift_rows(x, warm_rows(&l, s, at), shift);

            km_assign(x, in, mat(k.c, l.k, l.d, l.d), loss);
            x->c->get(x->cs, host, loss, in.r * sizeof *host);
            for (uint32_t i = 0; i < in.r; i++)
                sum += (double)weight[at + i] * (double)host[i];
            km_sums_add(x, in, weights + at);
        }
        km_move(x, k, sum);
    }
}
