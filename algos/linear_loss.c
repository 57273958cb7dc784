/* linear_loss.c: what a row costs: losses, class weights, and what its outputs are called.
 *
 * Each loss is one kernel of kernels.def, which gives the loss and dl/dz times the row's weight;
 * the table below says what else follows from its name. Of a model with an output for each class,
 * softmax couples them, and one_vs_rest learns each against all others: the loss of a row is the
 * sum over classes, the class is the largest output, its probabilities are the sigmoids divided by
 * their sum (all the same where that is 0).
 *
 * Poisson. The output is the log of the mean, up to 30: beyond, the mean is e^30 and the loss goes
 * on along its tangent, so that no step overflows. Metrics and score rows have the mean.
 *
 * Class weights. A row of a class of weight v is learned as a row of v times its weight, in all
 * that is learned: steps, moments, counts, the merge. Metrics are not: they stay comparable between
 * jobs and with the labels as they come. */
#include "algos/linear.h"

#include "algos/compute/kernels.h"

#include <string.h>

static const float poisson_max = 30.0f;

static const struct loss {
    enum out_kind out;
    enum loss_kind kind;
    enum ew_id kernel;
} losses[LINEAR_LOSSES] = {
    [LINEAR_LOGISTIC] = {OUT_MARGIN, LOSS_OF_OUT, EW_logistic},
    [LINEAR_SOFTMAX] = {OUT_LOGITS, LOSS_OF_OUT, EW_NONE},
    [LINEAR_SQUARED] = {OUT_VALUE, LOSS_OF_OUT, EW_squared},
    [LINEAR_ONE_VS_REST] = {OUT_LOGITS, LOSS_ONE_VS_REST, EW_NONE},
    [LINEAR_ABSOLUTE] = {OUT_VALUE, LOSS_ABSOLUTE, EW_pinball},
    [LINEAR_QUANTILE] = {OUT_VALUE, LOSS_QUANTILE, EW_pinball},
    [LINEAR_HUBER] = {OUT_VALUE, LOSS_HUBER, EW_huber},
    [LINEAR_HINGE] = {OUT_MARGIN, LOSS_HINGE, EW_hinge},
    [LINEAR_SQUARED_HINGE] = {OUT_MARGIN, LOSS_SQUARED_HINGE, EW_squared_hinge},
    [LINEAR_POISSON] = {OUT_VALUE, LOSS_POISSON, EW_poisson},
};

enum out_kind linear_out(uint32_t loss)
{
    CHECK(loss < LINEAR_LOSSES);
    return losses[loss].out;
}

enum loss_kind linear_kind(uint32_t loss)
{
    CHECK(loss < LINEAR_LOSSES);
    return losses[loss].kind;
}

/* ---- labels and weights ---- */

enum st linear_labels(const struct lin *l, const struct rows *r, struct err *e)
{
    const float *y = r->host->y;

    CHECK(r->y && y);
    if (linear_out(l->o->loss) != OUT_VALUE)
        return rows_classes(r, l->o->classes, e);
    for (uint32_t i = 0; i < r->n && l->o->loss == LINEAR_POISSON; i++)
        if (!(y[i] >= 0))
            return fail(e, ST_BAD_INPUT,
                        "label %g of row %u: loss poisson learns counts, which are not negative; "
                        "squared and huber take any number",
                        (double)y[i], i);
    return ST_OK;
}

const struct rows *linear_weighted(const struct ctx *x, const struct lin *l, const struct rows *r,
                                   struct rows *own, struct rows *host)
{
    const float *y = r->host->y;
    float *dev, *w;

    if (!l->weighted)
        return r;
    dev = x->work->t[WORK_WEIGHT].f32;
    w = x->work->t[WORK_HOST_WEIGHT].f32;
    for (uint32_t i = 0; i < r->n; i++)
        w[i] = r->host->weight[i] * l->o->class_weight.v[(uint32_t)y[i]];
    x->c->put(x->cs, dev, w, r->n * sizeof *w);
    *own = *r;
    *host = *r->host;
    own->weight = dev;
    own->host = host;
    host->weight = w;
    host->host = host;
    return own;
}

/* ---- loss and gradient ---- */

static void softmax(const struct ctx *x, const struct lin *l, const struct rows *r, float *z,
                    float *loss)
{
    struct tensor *t = x->work->t;
    float *p = t[WORK_P].f32, *lse = t[WORK_LSE].f32, classes = (float)l->c;
    const struct arg y = {(float *)r->y, 0}, weight = {(float *)r->weight, 0};

    linear_ew(x, EW_copy, r->n, l->z, (struct arg[8]){{p, l->z}, {z, l->z}}, NULL);
    x->c->softmax(x->cs, l->m, (struct mat){p, r->n, l->z, l->z}, lse);
    linear_ew(x, EW_onehot_loss, r->n, l->m,
              (struct arg[8]){{lse, l->m}, {z, l->z}, y, {loss, l->m}}, &classes);
    linear_ew(x, EW_onehot_grad, r->n, l->z,
              (struct arg[8]){{p, l->z}, y, weight, {t[WORK_E].f32, l->z}}, &classes);
}

static void one_vs_rest(const struct ctx *x, const struct lin *l, const struct rows *r, float *z,
                        float *loss)
{
    struct tensor *t = x->work->t;
    float *each = t[WORK_P].f32, classes = (float)l->c;

    linear_ew(x, EW_one_vs_rest, r->n, l->z,
              (struct arg[8]){{z, l->z},
                              {(float *)r->y, 0},
                              {(float *)r->weight, 0},
                              {t[WORK_E].f32, l->z},
                              {each, l->z}},
              &classes);
    linear_ew(x, EW_group_sum, r->n, l->m, (struct arg[8]){{each, l->z}, {loss, l->m}}, &classes);
}

/* The scalars of its kernel. */
static void parameters(const struct linear_opts *o, float prm[2])
{
    const float q = o->quantile;

    prm[0] = o->loss == LINEAR_QUANTILE  ? q
             : o->loss == LINEAR_HUBER   ? o->huber_delta
             : o->loss == LINEAR_POISSON ? poisson_max
                                         : 1.0f;
    prm[1] = o->loss == LINEAR_QUANTILE ? 1.0f - q : 1.0f;
}

void linear_losses(const struct ctx *x, const struct lin *l, const struct rows *r, float *z,
                   float *loss)
{
    float prm[2];

    if (l->o->loss == LINEAR_SOFTMAX) {
        softmax(x, l, r, z, loss);
        return;
    }
    if (l->o->loss == LINEAR_ONE_VS_REST) {
        one_vs_rest(x, l, r, z, loss);
        return;
    }
    parameters(l->o, prm);
    linear_ew(x, losses[l->o->loss].kernel, r->n, l->z,
              (struct arg[8]){{z, l->z},
                              {(float *)r->y, 0},
                              {(float *)r->weight, 0},
                              {x->work->t[WORK_E].f32, l->z},
                              {loss, l->m}},
              prm);
}

/* ---- score rows ---- */

static float sigmoid(float z)
{
    float e = mr_exp(-mr_abs(z)), q = 1.0f / (1.0f + e);

    return z >= 0.0f ? q : e * q;
}

/* Class, then a probability for each. */
static void finish_classes(const struct lin *l, const float *z, float *to)
{
    uint32_t best = 0;
    float sum = 0;

    for (uint32_t c = 1; c < l->c; c++)
        best = z[c] > z[best] ? c : best;
    to[0] = (float)best;
    if (l->o->loss == LINEAR_SOFTMAX) {
        memcpy(to + 1, z, l->c * sizeof *z);
        return;
    }
    for (uint32_t c = 0; c < l->c; c++) {
        to[1 + c] = sigmoid(z[c]);
        sum += to[1 + c];
    }
    for (uint32_t c = 0; c < l->c; c++)
        to[1 + c] = sum > 0 ? to[1 + c] / sum : 1.0f / (float)l->c;
}

void linear_finish(const struct lin *l, const float *z, uint32_t n, float *out)
{
    const enum out_kind kind = linear_out(l->o->loss);
    const uint32_t width = kind == OUT_LOGITS ? l->c + 1 : kind == OUT_MARGIN ? 2 : 1;

    for (uint32_t i = 0; i < n; i++) {
        float *to = out + (size_t)i * width;

        if (kind == OUT_LOGITS) {
            finish_classes(l, z + (size_t)i * l->c, to);
            continue;
        }
        to[0] = z[i];
        if (l->o->loss == LINEAR_POISSON)
            to[0] = mr_exp(z[i] > poisson_max ? poisson_max : z[i]);
        else if (kind == OUT_MARGIN)
            to[1] = l->o->loss == LINEAR_LOGISTIC ? sigmoid(z[i]) : z[i] > 0.0f ? 1.0f : 0.0f;
    }
}
