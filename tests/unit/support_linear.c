#include "tests/unit/support_linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

uint64_t lin_seed;

float lin_uniform(void)
{
    lin_seed = lin_seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(lin_seed >> 40) / 16777216.0f;
}

struct linear_opts lin_options(uint32_t loss, uint32_t optimizer, float rate)
{
    return (struct linear_opts){.loss = loss,
                                .optimizer = optimizer,
                                .learning_rate = {1, {rate}},
                                .l1 = {1, {0}},
                                .l2 = {1, {0}},
                                .beta = 1};
}

struct shape lin_dense(uint32_t d, uint32_t batch)
{
    return (struct shape){.batch_rows = batch, .slots = 4, .d = {d}, .ny = 1};
}

struct shape lin_sparse(uint32_t d, uint32_t batch)
{
    return (struct shape){.batch_rows = batch, .slots = 4, .d = {d}, .nnz = {batch * d}, .ny = 1};
}

struct table lin_table(uint32_t n, uint32_t d, float fill, float unit, float centre,
                       uint32_t classes)
{
    struct table t = {.n = n, .d = d};

    t.x = calloc((size_t)n * d, sizeof *t.x);
    t.ptr = calloc(n + 1, sizeof *t.ptr);
    t.col = calloc((size_t)n * d, sizeof *t.col);
    t.val = calloc((size_t)n * d, sizeof *t.val);
    t.y = calloc(n, sizeof *t.y);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0, q = 0; i < n; i++) {
        float *x = t.x + (size_t)i * d, u[64] = {0};
        uint32_t best = 0;

        for (uint32_t j = 0; j < d; j++) {
            if (lin_uniform() >= fill)
                continue;
            u[j] = 2 * lin_uniform() - 1;
            x[j] = centre + unit * u[j];
            t.col[q] = j;
            t.val[q++] = x[j];
        }
        t.ptr[i + 1] = q;
        for (uint32_t j = 0; j < classes; j++)
            best = u[j] > u[best] ? j : best;
        t.y[i] = classes > 2 ? (float)best : u[0] + u[1] > 0 ? 1.0f : 0.0f;
        t.weight[i] = 1;
    }
    return t;
}

struct table lin_densely(const struct table *t)
{
    struct table d = *t;

    d.ptr = d.col = NULL;
    d.val = NULL;
    return d;
}

double lin_apart(const struct tensor *a, const struct tensor *b)
{
    double most = 0, off = 0;

    assert_int_equal(a->n, b->n);
    for (uint64_t i = 0; i < a->n; i++) {
        most = fmax(most, fabs((double)a->f32[i]));
        off = fmax(off, fabs((double)a->f32[i] - (double)b->f32[i]));
    }
    return most > 0 ? off / most : off;
}

void lin_each_form(void (*test)(struct rig *, const struct table *), uint32_t optimizer)
{
    for (uint32_t form = 0; form < 2; form++) {
        struct linear_opts o = lin_options(LINEAR_LOGISTIC, optimizer, 0.1f);
        struct table all, t;
        struct rig k;

        lin_seed = 3;
        all = lin_table(400, 12, 0.3f, 1, 0, 2);
        t = form ? all : lin_densely(&all);
        o.l1 = (struct f32s){2, {0, 0.05f}};
        o.l2.v[0] = 0.01f;
        rig_open(&k, &algo_linear, "openblas", form ? lin_sparse(12, 32) : lin_dense(12, 32), &o);
        test(&k, &t);
        rig_close(&k);
        table_free(&all);
    }
}
