/* tally.h: how good predictions were, from score rows and labels: accuracy, log-loss and confusion
 * matrix, or rmse, mse and mae; the loss, where it is another (loss.h). Thread: one. */
#ifndef MILLRACE_TALLY_H
#define MILLRACE_TALLY_H

#include "algos/algo.h"

#include <stdio.h>

struct tally {
    struct shape shape;             /* out, loss, loss_at, classes of it; classes 0: no classes */
    uint32_t predicted, calibrated; /* columns of MARGIN, where a threshold or calibration has made
                                       them; 0: none */
    double rows, weight, loss, hits, se, ae, calibrated_loss;
    /* weight of rows predicted as class 1, rightly so, and of class 1 */
    double called, found, ones;
    double *confusion; /* [classes, classes] row: label, column: prediction; NULL: none */
};

/* classes: of shape. ST_FATAL: no memory. */
MUST enum st tally_init(struct tally *t, const struct shape *sh, struct err *e);
void tally_fini(struct tally *t);
/* One score row of `width` columns in the order that out_kind fixes: MARGIN margin first; LOGITS
 * class, then the probabilities; VALUE value first; else a
 * distance last, whose square is the loss. y: label; NaN: none. */
void tally_add(struct tally *t, const float *out, uint32_t width, float y, float weight);
/* The predicted class, or -1 where there is none. */
int64_t tally_class(const struct tally *t, const float *out);
/* Lines "accuracy 0.8312" and the matrix with class names (name[i] or numbers where classes_named
 * is 0). */
void tally_print(const struct tally *t, char (*name)[64], uint32_t named, FILE *f);

#endif
