/* device.h: where a job's arithmetic runs.
 *
 * `device` says where, `backend` by which back end of that place; auto for both: openblas, or,
 * where a CUDA device can be opened, whichever of the two learned more rows a second of the job's
 * shape. A back end that is named decides for its place; config/job.c refuses one that is not of
 * `device`. What makes views and models, and an algorithm that is plain C, has host memory always.
 *
 * Thread: one. Start only. */
#ifndef MILLRACE_DEVICE_H
#define MILLRACE_DEVICE_H

#include "consumer/batch.h"
#include "config/job.h"

#include "algos/algo.h"
#include "algos/handover.h"

/* The CPU's: the one that the job names, else openblas. */
const struct compute *device_cpu(const struct job *j);
/* Does it say CUDA? */
bool device_told(const struct job *j);
/* That which it may run on instead, device or not; NULL: the job says CPU, or this program has
 * none. */
const struct compute *device_other(const struct job *j, const struct compute *offered);

/* What a decision goes by. */
struct device_question {
    const char *algo, *cpu, *other; /* names; other NULL: none */
    bool told;                      /* the job says the other */
    bool plain;                     /* the algorithm is plain C (ALGO_HOST) */
    const char *closed;             /* why the other cannot be opened; NULL: it is open */
    double cpu_rate, other_rate;    /* rows a second; 0: not known */
};
struct device_answer {
    bool other;
    bool say; /* worth a line: the job asked for it, or there was a choice */
    char why[200];
};
/* ST_BAD_CONFIG: this program has no back end for device cuda. */
MUST enum st device_missing(struct err *e);
/* ST_BAD_CONFIG: the job says the other, and it cannot be opened. */
MUST enum st device_decide(const struct device_question *q, struct device_answer *a, struct err *e);

struct device_job { /* what is measured, or opened */
    const struct algo *algo;
    const void *opts;
    const struct shape *shape;
    const struct block_shape *block;
    uint64_t seed, memory_max;
};

/* Rows a second of updates with copies of a batch in host memory, on an open back end: after a
 * warm-up, the best of some rounds. Rows are random; sparse ones have at most RATE_ENTRIES. now_us:
 * the clock. */
enum { RATE_ENTRIES = 32 };
MUST enum st device_rate(const struct device_job *d, const struct compute *c, void *self,
                         int64_t (*now_us)(void), double *rate, struct err *e);

/* Chooses for a job, and opens: *c and *self (heap), which the caller closes and frees, in this
 * order. other: as device_other() gives it. Logs where and why. */
MUST enum st device_open(const struct job *j, const struct device_job *d,
                         const struct compute *other, const struct compute **c, void **self,
                         struct err *e);
/* What a slot says of the back end that learned it last: 0: the CPU's, of any; else one that no
 * other of this program has. */
uint32_t device_mark(const struct compute *c);

/* Opens one. */
MUST enum st compute_start(const struct compute *c, void **self, struct err *e);
void compute_stop(const struct compute *c, void *self); /* self may be NULL */

/* Of batches of that shape. */
struct handover_shape device_batches(const struct block_shape *b, const struct shape *sh);

#endif
