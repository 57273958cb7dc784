/* linear_halving.c: packed models that successive halving has stopped.
 *
 * The matrices w, n, z and grid are row-major with a column for each output, so what a stopped
 * model costs is the width of all products and passes. stop() therefore moves the columns of those
 * that live to the front, with their number as the row's length: all of linear works on l->z
 * columns, as if the job had only these. Behind them is zero: pages that are given back, and chunks
 * that are neither stored nor sent. Which columns a state has, its own "@stopped" says; views have
 * all, in the order of the models. */
#include "algos/linear.h"

#include "algos/halving.h"
#include "algos/tensors.h"

#include <string.h>

/* The state is declared with rows of z_all columns, and marks are by these. */
void linear_touch(const struct lin *l, struct tensors *s, uint32_t id, uint64_t j)
{
    uint64_t first = j, last = j;

    if (l->z != l->z_all) { /* two divisions for each feature of a batch */
        first = j * l->z / l->z_all;
        last = ((j + 1) * l->z - 1) / l->z_all;
    }
    touch(s, id, first, last - first + 1);
}

static void ew(const struct ctx *x, enum ew_id k, uint32_t rows, uint32_t cols, struct arg to,
               struct arg from, const float *prm)
{
    x->c->ew(x->cs, k, (uint32_t[2]){rows, cols}, (struct arg[8]){to, from}, prm);
}

void linear_spread(const struct ctx *x, const struct lin *l, uint32_t n, const struct eval *living,
                   const struct eval *e)
{
    const float none = LOSS_NONE, zero = 0;

    ew(x, EW_set, n, l->m_all, (struct arg){e->loss, l->m_all}, (struct arg){0}, &none);
    ew(x, EW_set, n, l->z_all, (struct arg){e->z, l->z_all}, (struct arg){0}, &zero);
    for (uint32_t i = 0; i < l->m; i++) {
        uint32_t m = l->model[i];

        ew(x, EW_copy, n, 1, (struct arg){e->loss + m, l->m_all},
           (struct arg){living->loss + i, l->m}, NULL);
        ew(x, EW_copy, n, l->c, (struct arg){e->z + (size_t)m * l->c, l->z_all},
           (struct arg){living->z + (size_t)i * l->c, l->z}, NULL);
    }
}

/* Of a row with the columns of `from`, those of `to`. */
static void pick(const struct lin *from, const struct lin *to, const float *row, float *picked)
{
    for (uint32_t i = 0, k = 0; i < from->m; i++) {
        if (k == to->m || from->model[i] != to->model[k])
            continue;
        for (uint32_t c = 0; c < from->c; c++)
            picked[k * from->c + c] = row[i * from->c + c];
        k++;
    }
}

static void move_columns(const struct ctx *x, const struct lin *from, const struct lin *to,
                         struct tensors *s, uint32_t id)
{
    const struct tensor *t = &s->t[id];
    float *row = x->work->t[WORK_ROW].f32, *picked = row + from->z_all;
    const uint64_t rows = t->n ? t->d.dim[0] : 0;
    const size_t bytes = to->z * sizeof *row;

    for (uint64_t j = 0; j < rows; j++) { /* forwards: a row comes to lie before itself */
        x->c->get(x->cs, row, t->f32 + j * from->z, from->z * sizeof *row);
        pick(from, to, row, picked);
        x->c->get(x->cs, row, t->f32 + j * to->z, bytes);
        if (memcmp(row, picked, bytes) != 0) /* what was never written takes no memory */
            x->c->put(x->cs, t->f32 + j * to->z, picked, bytes);
    }
    if (t->d.flags & T_SPARSE)
        touch(s, id, 0, rows);
    tensors_clear(s, id, rows * bytes);
}

enum st linear_stop(const struct ctx *x, struct tensors *s, const uint8_t *stopped)
{
    const struct lin from = linear_living(x->shape, x->opts, halving_stopped(s));
    const struct lin to = linear_living(x->shape, x->opts, stopped);
    const uint32_t id[] = {LIN_W, LIN_N, LIN_Z, LIN_MEAN, LIN_GRID};

    CHECK(to.m < from.m);
    for (uint32_t i = 0; i < sizeof id / sizeof *id; i++)
        move_columns(x, &from, &to, s, id[i]);
    return ST_OK;
}
