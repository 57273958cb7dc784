/* derive.h: a model from a view, without data.
 *
 * Options. The algorithm's derive_opts; and for two classes (OUT_MARGIN), of any algorithm, the
 * runtime's, which are about the histogram of held-out scores: `threshold` (a criterion, with
 * f_beta, target_recall, target_precision) and `calibrate`. derive_options() gives both in one
 * table over one struct, whose first part is the algorithm's own.
 *
 * An option named "model" (OPT_U32 with the word auto) chooses among packed models, counted from 1
 * as people do; 0 is auto: the best by the criterion of `threshold`, or, where there is none, by
 * metrics_best(). derive_model() resolves it, declares and fills the model's tensors, refuses a
 * model that is not finite, adds the runtime's tensors, and attaches the measures: the algorithm's
 * own (at most MEASURES_OWN), then those of derive_measures[] that are known for the packed model
 * it came from. A packed model that diverged is never chosen, and refused where it is asked for.
 *
 * The runtime's tensors stand behind the algorithm's: "@threshold" f32[1], where a criterion chose
 * one: a row is of class 1 where z >= it, else where z > 0; "@calibration" f32[METRIC_BINS]: the
 * probability of class 1 by metrics_bin(z). Each is a column of score rows, too.
 *
 * measures.model is the packed model, from 0, or -1 where the model came from all of them.
 *
 * Thread: one. May be slow. Repeatable: the same view and options give the same bytes. */
#ifndef MILLRACE_DERIVE_H
#define MILLRACE_DERIVE_H

#include "algos/metrics.h"
#include "algos/tensors.h"

enum { MEASURES_OWN = 4, DERIVE_OPTIONS_MAX = 32, DERIVE_EXTRAS = 2 };

struct derive_table {
    struct opt o[DERIVE_OPTIONS_MAX + 1]; /* ends with {0} */
    size_t bytes;                         /* of the struct that they describe */
};
void derive_options(struct derive_table *t, const struct algo *a, const struct shape *sh);
/* Their defaults into derive_opts, which has room for n bytes. */
void derive_defaults(const struct algo *a, const struct shape *sh, void *derive_opts, size_t n);

/* All measures of the runtime, in the order in which they are attached; ends with {0}. Names are
 * stable: they are in files and in scripts. */
struct measure_info {
    const char *name;
    bool lower_is_better;
    const char *what;
};
extern const struct measure_info derive_measures[];

/* model is declared and allocated here (start memory is not needed: derive is off the hot path);
 * the caller frees it with tensors_free(model, NULL, NULL), on error too. derive_opts, of
 * derive_options()'s bytes, is completed in place. ST_BAD_CONFIG: options that this view cannot
 * serve; ST_FATAL: not finite, every packed model diverged, no memory. */
MUST enum st derive_model(const struct ctx *x, const struct algo *a, const struct tensors *view,
                          void *derive_opts, struct tensors *model, struct measures *m);

/* The tensors of a model with these options, declared as derive_model() does. */
MUST enum st model_declare(struct tensors *model, const struct algo *a, const struct shape *sh,
                           const void *opts, const void *derive_opts, uint32_t chunk_shift,
                           struct err *e);
/* The same without the runtime's, as the algorithm knows it; borrowed. */
struct tensors model_own(const struct tensors *model);

enum { COLUMN_NAME_BYTES = 48 };

/* The columns of a score row: PART_OUT's, "margin", or "p.0", "p.1" where a tensor is wider than
 * one; then the runtime's, "predicted" (0 or 1, by @threshold) and "calibrated". Fills names[k] for
 * k < max and returns their count, which may be more: the width of a row. */
uint32_t score_columns(const struct algo *a, const struct shape *sh, const void *opts,
                       const void *derive_opts, char (*names)[COLUMN_NAME_BYTES], uint32_t max);

/* score() with all columns; width: score_columns(); out[n, width]. */
MUST enum st score_rows(const struct ctx *x, const struct algo *a, const struct tensors *model,
                        uint32_t width, const struct rows *r, float *out);

#endif
