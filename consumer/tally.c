#include "consumer/tally.h"

#include "algos/loss.h"
#include "config/base/limits.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { CONFUSION_MAX = 64 }; /* classes of a matrix that a person can read */

enum st tally_init(struct tally *t, const struct shape *sh, struct err *e)
{
    *t = (struct tally){.shape = *sh};
    t->shape.classes = sh->out == OUT_MARGIN ? 2 : sh->out == OUT_LOGITS ? sh->classes : 0;
    if (!t->shape.classes || t->shape.classes > CONFUSION_MAX)
        return ST_OK;
    t->confusion = calloc((size_t)t->shape.classes * t->shape.classes, sizeof *t->confusion);
    return t->confusion ? ST_OK : fail(e, ST_FATAL, "no memory for a confusion matrix");
}

void tally_fini(struct tally *t)
{
    free(t->confusion);
    t->confusion = NULL;
}

int64_t tally_class(const struct tally *t, const float *out)
{
    if (t->shape.out == OUT_MARGIN)
        return t->predicted ? out[t->predicted] > 0 : out[0] > 0;
    return t->shape.out == OUT_LOGITS ? (int64_t)out[0] : -1;
}

/* log(1 + exp(-z y)) for y of -1 or 1, without overflow */
static double logistic_loss(double z, bool one)
{
    double a = one ? -z : z;

    return (a > 0 ? a : 0) + log1p(exp(-fabs(a)));
}

/* Is the loss of a row its log-loss? That of one_vs_rest is too, once it has probabilities. */
static bool has_log_loss(const struct tally *t)
{
    return t->shape.out == OUT_LOGITS ||
           (t->shape.out == OUT_MARGIN && t->shape.loss == LOSS_OF_OUT);
}

static double loss(const struct tally *t, const float *out, float y)
{
    if (!has_log_loss(t))
        return t->shape.loss == LOSS_OF_OUT ? 0 : loss_of(&t->shape, (double)out[0], (double)y);
    return t->shape.out == OUT_MARGIN ? logistic_loss((double)out[0], y > 0)
                                      : -log(fmax((double)out[1 + (uint32_t)y], 1e-30));
}

static void add_margin(struct tally *t, const float *out, bool one, double w)
{
    const bool called = tally_class(t, out);
    double p;

    t->called += called ? w : 0;
    t->found += called && one ? w : 0;
    t->ones += one ? w : 0;
    if (!t->calibrated)
        return;
    p = (double)out[t->calibrated];
    t->calibrated_loss -= w * log(one ? p : 1 - p);
}

void tally_add(struct tally *t, const float *out, uint32_t width, float y, float weight)
{
    const uint32_t classes = t->shape.classes;
    int64_t c = tally_class(t, out);
    double w = weight, d;

    CHECK(width);
    t->rows++;
    if (t->shape.out == OUT_NONE)
        return;
    if (t->shape.out == OUT_LOSS_ONLY) { /* the last column is a distance, the loss its square */
        t->weight += w;
        t->loss += w * (double)out[width - 1] * (double)out[width - 1];
        return;
    }
    if (isnan(y))
        return;
    CHECK(t->shape.out == OUT_VALUE || (y >= 0 && y < (float)classes));
    t->weight += w;
    t->loss += w * loss(t, out, y);
    if (t->shape.out == OUT_VALUE) {
        d = (double)out[0] - (double)y;
        t->se += w * d * d;
        t->ae += w * fabs(d);
        return;
    }
    if (t->shape.out == OUT_MARGIN)
        add_margin(t, out, y > 0, w);
    t->hits += w * (c == (int64_t)y);
    if (t->confusion)
        t->confusion[(size_t)y * classes + (size_t)c] += 1;
}

static void print_name(char (*name)[64], uint32_t named, uint32_t c, FILE *f)
{
    if (c < named)
        fprintf(f, " %9.9s", name[c]);
    else
        fprintf(f, " %9" PRIu32, c);
}

static void print_confusion(const struct tally *t, char (*name)[64], uint32_t named, FILE *f)
{
    const uint32_t classes = t->shape.classes;

    fprintf(f, "\n%-10s predicted\n%-10s", "label", "");
    for (uint32_t c = 0; c < classes; c++)
        print_name(name, named, c, f);
    for (uint32_t i = 0; i < classes; i++) {
        fputc('\n', f);
        print_name(name, named, i, f);
        for (uint32_t c = 0; c < classes; c++)
            fprintf(f, " %9.0f", t->confusion[(size_t)i * classes + c]);
    }
    fputc('\n', f);
}

/* What has no meaning, for nobody is of class 1 or called so, is left out. */
static void print_class_one(const struct tally *t, FILE *f)
{
    if (t->calibrated)
        fprintf(f, "calibrated_log_loss %.6f\n", t->calibrated_loss / t->weight);
    if (t->called > 0)
        fprintf(f, "precision %.4f\n", t->found / t->called);
    if (t->ones > 0)
        fprintf(f, "recall %.4f\nf1 %.4f\n", t->found / t->ones,
                2 * t->found / (t->called + t->ones));
}

void tally_print(const struct tally *t, char (*name)[64], uint32_t named, FILE *f)
{
    const double n = t->weight;
    const char *loss = has_log_loss(t) ? "log_loss" : "loss";

    fprintf(f, "rows %.0f\n", t->rows);
    if (!(n > 0))
        return;
    if (t->shape.out == OUT_VALUE)
        fprintf(f, "rmse %.6f\nmse %.6f\nmae %.6f\n", sqrt(t->se / n), t->se / n, t->ae / n);
    if (t->shape.classes)
        fprintf(f, "accuracy %.4f\n", t->hits / n);
    if (t->shape.out != OUT_VALUE || t->shape.loss != LOSS_OF_OUT)
        fprintf(f, "%s %.6f\n", loss, t->loss / n);
    if (t->shape.out == OUT_MARGIN)
        print_class_one(t, f);
    if (t->confusion)
        print_confusion(t, name, named, f);
}
