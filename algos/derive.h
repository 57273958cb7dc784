/* derive.h: a model from a view, without data.
 *
 * derive_model() resolves the derive option "model" (auto: metrics_best()) where the algorithm has
 * one, declares and fills the model's tensors and attaches the measures: the algorithm's own, then
 * the runtime's prequential and held-out ones of the packed model that the artefact came from.
 * Thread: one. May be slow. */
#ifndef MILLRACE_DERIVE_H
#define MILLRACE_DERIVE_H

#include "algos/metrics.h"
#include "algos/tensors.h"

/* model is declared and allocated here (start memory is not needed: derive is off the hot path);
 * the caller frees it with tensors_free(model, NULL, NULL). derive_opts[a->derive_bytes] is
 * completed in place. */
MUST enum st derive_model(const struct ctx *x, const struct algo *a, const struct tensors *view,
                          void *derive_opts, struct tensors *model, struct measures *m);

/* Names and width of a score row: fills names[n] (at most max) and returns n. */
uint32_t score_columns(const struct algo *a, const struct shape *sh, const void *opts,
                       const void *derive_opts, char (*names)[48], uint32_t max);

#endif
