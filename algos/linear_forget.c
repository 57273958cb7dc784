/* linear_forget.c: a half-life: old rows count less and less.
 *
 * weight, count and n are sums over rows. Before a batch is learned they are multiplied with
 * rows.decay, so that slots meet by what they have seen lately, and the steps of adagrad and ftrl,
 * of length rate / sqrt n, stay as long as the last half-life's gradients make them: a coefficient
 * follows a label that drifts. w is no sum and stays; so do shift and scale, which are frozen.
 *
 * Sparse rows. Nothing may pass over all features in every batch, so n and count are kept in a unit
 * that grows instead: `growth` is divided by decay, rows of weight v add v growth, and what is read
 * is divided by growth. Rows that step are put into the true unit in scratch, and back. Each time
 * growth has passed 2^32, which takes 32 half-lives, one sweep over the rows that are not zero
 * brings it back to 1. What was seen once never becomes 0, which stands for never seen.
 *
 * Ftrl. w is read out of (z, n): z is fitted to the faded n and the same w before each step. */
#include "algos/linear.h"

#include <string.h>

static const double growth_max = 4294967296.0;

double linear_growth(const struct lin *l, const struct tensors *s)
{
    return l->sparse ? s->t[LIN_GROWTH].f64[0] : 1;
}

struct grid linear_grid(const struct lin *l, const struct tensors *s, bool bias)
{
    float *p = s->t[LIN_GRID].f32;

    return (struct grid){.rate = {p + (size_t)GRID_RATE * l->z, 0},
                         .l1 = {p + (size_t)(bias ? GRID_NONE : GRID_L1) * l->z, 0},
                         .l2 = {p + (size_t)(bias ? GRID_NONE : GRID_L2) * l->z, 0},
                         .prm = {1.0f / (float)l->b, l->o->beta}};
}

static void fade(const struct ctx *x, float *p, uint32_t rows, uint32_t cols, double by)
{
    const float f = (float)by;

    linear_ew(x, EW_fade, rows, cols, (struct arg[8]){{p, cols}}, &f);
}

/* All of a sparse tensor; rows of zeros are neither written nor marked. */
static void sweep(const struct ctx *x, const struct lin *l, struct tensors *s, uint32_t id,
                  double by)
{
    const struct lin one = {.z = 1, .z_all = 1}, *as = id == LIN_COUNT ? &one : l;
    const struct tensor *t = &s->t[id];
    const uint32_t cols = as->z;
    float *host = x->work->t[WORK_ROW].f32;

    CHECK(!t->n || cols <= x->work->t[WORK_ROW].n);
    for (uint64_t j = 0; t->n && j < t->d.dim[0]; j++) {
        bool any = false;

        x->c->get(x->cs, host, t->f32 + j * cols, cols * sizeof *host);
        for (uint32_t i = 0; i < cols; i++)
            any |= host[i] != 0;
        if (!any)
            continue;
        fade(x, t->f32 + j * cols, 1, cols, by);
        linear_touch(as, s, id, j);
    }
}

void linear_forget(const struct ctx *x, const struct lin *l, struct tensors *s, double decay)
{
    double *growth = s->t[LIN_GROWTH].f64;

    CHECK(decay > 0 && decay <= 1);
    s->t[LIN_WEIGHT].f64[0] *= decay;
    if (!l->sparse)
        return;
    *growth /= decay;
    if (*growth <= growth_max)
        return;
    sweep(x, l, s, LIN_N, 1 / *growth);
    sweep(x, l, s, LIN_COUNT, 1 / *growth);
    *growth = 1;
}

void linear_unfold(const struct ctx *x, const struct lin *l, const struct tensors *s,
                   const struct block *k, double decay)
{
    const struct grid g = linear_grid(l, s, k->bias);
    const double by = l->sparse ? 1 / linear_growth(l, s) : decay;

    if (l->has_n && by != 1)
        fade(x, k->n, k->rows, l->z, by);
    if (l->has_z && (by != 1 || decay != 1))
        linear_ew(x, EW_ftrl_fit, k->rows, l->z,
                  (struct arg[8]){{k->w, l->z}, {k->n, l->z}, {k->z, l->z}, g.rate, g.l1, g.l2},
                  g.prm);
}

void linear_fold_up(const struct ctx *x, const struct lin *l, const struct tensors *s,
                    const struct block *k)
{
    const double growth = linear_growth(l, s);

    if (l->has_n && growth != 1)
        fade(x, k->n, k->rows, l->z, growth);
}
