/* support_far.h: a back end whose memory is not the host's, for tests: OpenBLAS behind a wall.
 *
 * What alloc() gives lies in pages that nobody may touch outside of the back end's own work: a host
 * that reads or writes compute space is a SIGSEGV, which says so. Operations, and put's bytes, wait
 * in a list until somebody waits for them, and then run in order: get runs no more than it must, so
 * a result that is read too early, and an operand that has changed meanwhile, show. An operand in
 * host memory is a CHECK failure. It computes what openblas does, to the bit.
 *
 * Thread: one; opened by several, it is one device. Allocation: open and alloc. */
#ifndef MILLRACE_SUPPORT_FAR_H
#define MILLRACE_SUPPORT_FAR_H

#include "algos/compute/compute.h"

extern const struct compute compute_far;

/* Does p lie in compute space? */
bool far_has(const void *p);

/* Since open: bytes that went each way, how often somebody waited and what waited on then,
 * operations and puts. */
struct far_counts {
    uint64_t put, got, waits, left, ops;
};
struct far_counts far_counts(void);

#endif
