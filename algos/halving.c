#include "algos/halving.h"

#include "algos/metrics.h"
#include "algos/tensors.h"

#include <math.h>
#include <string.h>

static struct tensor *find(const struct tensors *ts)
{
    return (struct tensor *)(uintptr_t)tensors_find(ts, "@stopped");
}

const uint8_t *halving_stopped(const struct tensors *ts)
{
    const struct tensor *t = find(ts);

    return t ? t->u8 : NULL;
}

/* Every row is counted in one of three ways for each model. */
double halving_rows(const struct tensors *state)
{
    const double *m = tensors_find(state, "@metric.train")->f64;

    return m[METRIC_ROWS] + m[METRIC_NONE] + m[METRIC_DIVERGED];
}

/* How many of N, 2 N, 4 N, ... are at most `rows`. */
static int passed(double rows, uint64_t n)
{
    int count = 0;

    for (double edge = (double)n; edge <= rows; edge *= 2)
        count++;
    return count;
}

/* To be compared where all have seen the same rows. */
static void losses(const struct tensors *ts, const struct shape *sh, double *loss)
{
    bool held = false;

    for (uint32_t m = 0; m < sh->models; m++)
        held |= metrics_read(ts, sh, m, true).weight > 0;
    for (uint32_t m = 0; m < sh->models; m++) {
        loss[m] = metrics_read(ts, sh, m, held).loss;
        if (isnan(loss[m]) || metrics_has_diverged(ts, m))
            loss[m] = (double)INFINITY;
    }
}

static uint32_t living(const uint8_t *stopped, uint32_t models)
{
    uint32_t n = 0;

    for (uint32_t m = 0; m < models; m++)
        n += !stopped[m];
    return n;
}

/* The worst that is left: of equals the last. */
static uint32_t worst(const double *loss, const uint8_t *stopped, uint32_t models)
{
    uint32_t at = models;

    for (uint32_t m = 0; m < models; m++)
        if (!stopped[m] && (at == models || loss[m] >= loss[at]))
            at = m;
    CHECK(at < models);
    return at;
}

static enum st stop(const struct ctx *x, const struct algo *a, struct tensors *state,
                    const uint8_t *stopped)
{
    struct tensor *t = find(state);

    CHECK(a->stop && t->n == x->shape->models);
    TRY(a->stop(x, state, stopped));
    memcpy(t->u8, stopped, t->n);
    return ST_OK;
}

enum st halving_step(const struct ctx *x, const struct algo *a, struct tensors *state,
                     double before)
{
    const struct shape *sh = x->shape;
    const uint8_t *now = sh->halving ? halving_stopped(state) : NULL;
    uint8_t stopped[MODELS_MAX];
    double loss[MODELS_MAX];
    uint32_t left;

    if (!now || passed(halving_rows(state), sh->halving) == passed(before, sh->halving))
        return ST_OK;
    CHECK(sh->models <= MODELS_MAX);
    left = living(now, sh->models);
    if (left < 2)
        return ST_OK;
    losses(state, sh, loss);
    memcpy(stopped, now, sh->models);
    for (uint32_t i = 0; i < left / 2; i++)
        stopped[worst(loss, stopped, sh->models)] = 1;
    return stop(x, a, state, stopped);
}

enum st halving_follow(const struct ctx *x, const struct algo *a, struct tensors *state,
                       const struct tensors *view)
{
    const uint8_t *now = halving_stopped(state), *all = halving_stopped(view);
    uint8_t stopped[MODELS_MAX];
    bool more = false;

    for (uint32_t m = 0; now && m < x->shape->models; m++) {
        stopped[m] = now[m] | all[m];
        more |= stopped[m] != now[m];
    }
    return more ? stop(x, a, state, stopped) : ST_OK;
}
