/* support_algo.h: what the unit tests of algorithms share: a back end with scratch, states, views
 * and models made from options that are filled by hand, tables of rows cut into batches, and real
 * data.
 *
 * Anything but ST_OK ends the test with the error's text. Data: $MILLRACE_DATA, else ../shared/data
 * beside the checkout; Fashion-MNIST from the Debian package. A loader returns false where it is
 * absent. */
#ifndef MILLRACE_SUPPORT_ALGO_H
#define MILLRACE_SUPPORT_ALGO_H

#include "algos/fold.h"
#include "algos/tensors.h"

struct table {              /* rows in memory; sparse where ptr is set */
    uint32_t n, d, nnz_max; /* nnz_max: most entries of 4096 consecutive rows */
    float *x;               /* [n, d] */
    uint32_t *ptr, *col;
    float *val;
    float *y, *weight;
};

struct rig {
    const struct algo *a;
    struct shape sh;
    void *opts;
    struct tensors work;
    struct ctx x;
    struct err err;
    uint32_t *stamp, *local, *uniq; /* of the last batch */
    uint64_t *rid;
    uint32_t fold_at[65];
};

/* sh: slots, d, nnz, ny, classes as the caller fills them; opts is completed by check(). */
void rig_open(struct rig *k, const struct algo *a, const char *backend, struct shape sh,
              void *opts);
void rig_close(struct rig *k);
void rig_state(struct rig *k, struct tensors *s);
void rig_copy(struct rig *k, struct tensors *to, const struct tensors *from); /* a new state */
void rig_free(struct rig *k, struct tensors *t);
/* The view of n states, which are partitions 0, 1, ... */
void rig_view(struct rig *k, struct tensors *const *state, uint32_t n, struct tensors *view);
void rig_model(struct rig *k, const struct tensors *view, const void *derive_opts,
               struct tensors *model, struct measures *m);

/* Rows [from, from + n) of t, the last `held` of them held out, the others dealt to folds in equal
 * runs; borrowed until the next call. */
void rig_rows(struct rig *k, const struct table *t, uint32_t from, uint32_t n, uint32_t held,
              struct rows *r);
/* One pass in batches; loss[models] (or NULL) takes the mean prequential loss of the rows that have
 * one. Returns their number. */
uint32_t rig_pass(struct rig *k, struct tensors *s, const struct table *t, uint32_t partition,
                  double *loss);
/* Scores t into out[t->n, width]. */
void rig_score(struct rig *k, const struct tensors *model, const struct table *t, float *out,
               uint32_t width);

void table_free(struct table *t);
/* Rows first, first + step, ... of t, as a round-robin partitioner deals them. */
struct table table_deal(const struct table *t, uint32_t first, uint32_t step);
struct table table_dense(const struct table *sparse);

bool load_a9a(struct table *train, struct table *test);
bool load_fashion(struct table *train, struct table *test); /* pixels / 255, y: 0..9 */

/* Seconds since some moment, for figures that are printed. */
double seconds(void);

#endif
