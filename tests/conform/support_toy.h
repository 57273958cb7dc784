/* support_toy.h: two algorithms small enough to be seen to be right, and their mutants.
 *
 * toy learns the running mean of the label, and per column how often and how strongly it was seen;
 * toy_set the largest value of each column. The option `fault` breaks one promise on purpose, to
 * show that some law catches it. */
#ifndef MILLRACE_SUPPORT_TOY_H
#define MILLRACE_SUPPORT_TOY_H

#include "algos/algo.h"

extern const struct algo algo_toy, algo_toy_set;

#endif
