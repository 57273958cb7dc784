/* support_pca.h: what the unit tests of pca share: rows, and what is true of them. */
#ifndef MILLRACE_SUPPORT_PCA_H
#define MILLRACE_SUPPORT_PCA_H

#include "algos/pca.h"
#include "tests/unit/support_algo.h"

extern uint64_t pca_seed; /* of the next table */
extern const struct pca_derive pca_plain;

/* n rows of weight 1: column j has deviation `fall`^j and mean `offset`, then all are mixed. */
struct table pca_table(uint32_t n, uint32_t d, double fall, double offset);

struct pca_truth {              /* of all rows with weight, in f64, two passes */
    double weight, *mean, *sum; /* [d], [d, d] squares about the mean */
};

struct pca_truth pca_truth(const struct table *t);
void pca_truth_free(struct pca_truth *m);
/* a[n, n] becomes its eigenvectors. */
void pca_eigen(uint32_t n, double *a, double *value);
void pca_near(double a, double b, double tolerance); /* else the test has failed */

struct pca_opts pca_sketch(uint32_t l);
struct shape pca_shape(uint32_t d, uint32_t slots);
/* Learns t in batches; each leaves `decay` of what was before it. */
void pca_learn(struct rig *k, struct tensors *s, const struct table *t, double decay);
/* The view of `slots` partitions, to which the rows of t are dealt in runs. */
void pca_view(struct rig *k, const struct table *t, uint32_t slots, struct tensors *view);

#endif
