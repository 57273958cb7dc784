/* support_laws.h: what every algorithm promises (algo.h, interfaces "Laws"), as functions that try
 * to catch it breaking the promise. The same code judges the registered algorithms, which must keep
 * every law, and the mutants of support_toy.h, each of which must be caught.
 *
 * Small batches, 64-byte chunks: every tensor crosses chunks, so a forgotten touch() shows. */
#ifndef MILLRACE_SUPPORT_LAWS_H
#define MILLRACE_SUPPORT_LAWS_H

#include "tests/conform/support_lab.h"

enum { LAWS_BATCHES = 21 /* three of each kind of rows_make() */, LAWS_WARM = 7 };

struct algo_law {
    const char *name;
    /* ST_OK: kept; ST_AGAIN: does not apply to this subject; else broken, and why */
    enum st (*holds)(struct lab *l, struct err *why);
};

extern const struct algo_law laws[];
extern const uint32_t laws_count;

/* In a lab of its own. */
MUST enum st law_check(const struct algo_law *law, const struct subject *s, struct err *why);
const struct algo_law *law_find(const char *name);

/* support_laws_views.c: the laws of fold, rebase, derive and score. */
enum st law_fold_repeats(struct lab *l, struct err *why);
enum st law_set_is_a_set(struct lab *l, struct err *why);
enum st law_rebase_is_fixed(struct lab *l, struct err *why);
enum st law_derive_repeats(struct lab *l, struct err *why);
enum st law_score_is_update(struct lab *l, struct err *why);
enum st law_start_is_the_model(struct lab *l, struct err *why);

/* support_laws_states.c: a state is refused, or it can be gone on from. */
enum st law_any_state_is_survived(struct lab *l, struct err *why);

/* support_laws_linear.c: of algorithms that only add up rows. */
enum st law_sparse_is_dense(struct lab *l, struct err *why);
enum st law_weight_is_repetition(struct lab *l, struct err *why);

/* Float tensors equal within `tol` of the largest magnitude of each tensor, others by bytes; names
 * beginning with '@' are left out. */
MUST enum st laws_near(const struct tensors *a, const struct tensors *b, double tol,
                       const char *what, struct err *why);

#endif
