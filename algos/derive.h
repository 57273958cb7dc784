/* derive.h: a model from a view, without data.
 *
 * A derive option named "model" (OPT_U32 with the word auto) chooses among packed models, counted
 * from 1 as people do; 0 is auto: the best by metrics_best(). derive_model() resolves it, declares
 * and fills the model's tensors, refuses a model that is not finite, and attaches the measures: the
 * algorithm's own (at most MEASURES_OWN), then those of "@metric" that are known for the packed
 * model it came from:
 *   rows, prequential_loss, recent_loss, baseline_loss, prequential_accuracy, baseline_accuracy,
 *   prequential_rmse, heldout_rows, heldout_loss, heldout_accuracy, heldout_rmse, heldout_auc
 * and models_diverged, if any have. A packed model that diverged is never chosen, and refused where
 * it is asked for.
 *
 * measures.model is that packed model, from 0, or -1 where the model came from all of them.
 *
 * Thread: one. May be slow. Repeatable: the same view and options give the same bytes. */
#ifndef MILLRACE_DERIVE_H
#define MILLRACE_DERIVE_H

#include "algos/metrics.h"
#include "algos/tensors.h"

enum { MEASURES_OWN = 4 };

/* model is declared and allocated here (start memory is not needed: derive is off the hot path);
 * the caller frees it with tensors_free(model, NULL, NULL), on error too. derive_opts[derive_bytes]
 * is completed in place. ST_BAD_CONFIG: options that this view cannot serve; ST_FATAL: not finite,
 * every packed model diverged, no memory. */
MUST enum st derive_model(const struct ctx *x, const struct algo *a, const struct tensors *view,
                          void *derive_opts, struct tensors *model, struct measures *m);

enum { COLUMN_NAME_BYTES = 48 };

/* The columns of a score row, by PART_OUT: "margin", or "p.0", "p.1" where a tensor is wider than
 * one. Fills names[k] for k < max and returns their count, which may be more: the width of a
 * row. */
uint32_t score_columns(const struct algo *a, const struct shape *sh, const void *opts,
                       const void *derive_opts, char (*names)[COLUMN_NAME_BYTES], uint32_t max);

#endif
