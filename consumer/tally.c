#include "consumer/tally.h"

#include "config/base/limits.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { CONFUSION_MAX = 64 }; /* classes of a matrix that a person can read */

enum st tally_init(struct tally *t, const struct shape *sh, struct err *e)
{
    *t = (struct tally){.out = sh->out,
                        .classes = sh->out == OUT_MARGIN   ? 2
                                   : sh->out == OUT_LOGITS ? sh->classes
                                                           : 0};
    if (!t->classes || t->classes > CONFUSION_MAX)
        return ST_OK;
    t->confusion = calloc((size_t)t->classes * t->classes, sizeof *t->confusion);
    return t->confusion ? ST_OK : fail(e, ST_FATAL, "no memory for a confusion matrix");
}

void tally_fini(struct tally *t)
{
    free(t->confusion);
    t->confusion = NULL;
}

int64_t tally_class(const struct tally *t, const float *out)
{
    if (t->out == OUT_MARGIN)
        return out[0] > 0;
    return t->out == OUT_LOGITS ? (int64_t)out[0] : -1;
}

/* log(1 + exp(-z y)) for y of -1 or 1, without overflow */
static double logistic_loss(double z, bool one)
{
    double a = one ? -z : z;

    return (a > 0 ? a : 0) + log1p(exp(-fabs(a)));
}

void tally_add(struct tally *t, const float *out, uint32_t width, float y, float weight)
{
    int64_t c = tally_class(t, out);
    double w = weight;

    CHECK(width);
    t->rows++;
    if (t->out == OUT_NONE)
        return;
    if (t->out == OUT_LOSS_ONLY) { /* the last column is a distance, the loss its square */
        t->weight += w;
        t->loss += w * (double)out[width - 1] * (double)out[width - 1];
        return;
    }
    if (isnan(y))
        return;
    t->weight += w;
    if (t->out == OUT_VALUE) {
        double d = (double)out[0] - (double)y;

        t->se += w * d * d;
        return;
    }
    CHECK(y >= 0 && y < (float)t->classes);
    t->loss += w * (t->out == OUT_MARGIN ? logistic_loss((double)out[0], y > 0)
                                         : -log(fmax((double)out[1 + (uint32_t)y], 1e-30)));
    t->hits += w * (c == (int64_t)y);
    if (t->confusion)
        t->confusion[(size_t)y * t->classes + (size_t)c] += 1;
}

static void print_name(char (*name)[64], uint32_t named, uint32_t c, FILE *f)
{
    if (c < named)
        fprintf(f, " %9.9s", name[c]);
    else
        fprintf(f, " %9" PRIu32, c);
}

void tally_print(const struct tally *t, char (*name)[64], uint32_t named, FILE *f)
{
    fprintf(f, "rows %.0f\n", t->rows);
    if (!(t->weight > 0))
        return;
    if (t->out == OUT_NONE || t->out == OUT_LOSS_ONLY) {
        fprintf(f, "loss %.6f\n", t->loss / t->weight);
        return;
    }
    if (t->out == OUT_VALUE) {
        fprintf(f, "rmse %.6f\nmse %.6f\n", sqrt(t->se / t->weight), t->se / t->weight);
        return;
    }
    fprintf(f, "accuracy %.4f\nlog_loss %.6f\n", t->hits / t->weight, t->loss / t->weight);
    if (!t->confusion)
        return;
    fprintf(f, "\n%-10s predicted\n%-10s", "label", "");
    for (uint32_t c = 0; c < t->classes; c++)
        print_name(name, named, c, f);
    for (uint32_t i = 0; i < t->classes; i++) {
        fputc('\n', f);
        print_name(name, named, i, f);
        for (uint32_t c = 0; c < t->classes; c++)
            fprintf(f, " %9.0f", t->confusion[(size_t)i * t->classes + c]);
    }
    fputc('\n', f);
}
