/* support_linear.h: what the unit tests of linear share: options, shapes, rows, differences. */
#ifndef MILLRACE_SUPPORT_LINEAR_H
#define MILLRACE_SUPPORT_LINEAR_H

#include "algos/linear.h"
#include "tests/unit/support_algo.h"

extern uint64_t lin_seed; /* of the next table */
float lin_uniform(void);  /* the next number in [0, 1) */

struct linear_opts lin_options(uint32_t loss, uint32_t optimizer, float rate);
struct shape lin_dense(uint32_t d, uint32_t batch);
struct shape lin_sparse(uint32_t d, uint32_t batch);

/* n rows of d features in [-1, 1) about `centre` in units of `unit`; about `fill` of them are
 * there. y: 1 where the first two sum to more than their mean, or for several classes the largest
 * of them. */
struct table lin_table(uint32_t n, uint32_t d, float fill, float unit, float centre,
                       uint32_t classes);
/* The same rows without their sparse form: what the rig feeds to a dense job. */
struct table lin_densely(const struct table *t);

/* Largest difference of a tensor, relative to its largest value. */
double lin_apart(const struct tensor *a, const struct tensor *b);

/* On 400 dense rows, then on sparse ones; two packed models, which differ in l1. */
void lin_each_form(void (*test)(struct rig *, const struct table *), uint32_t optimizer);

#endif
