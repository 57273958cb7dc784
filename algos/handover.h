/* handover.h: batches on their way to a back end that has memory of its own, and their losses on
 * the way back: two lanes of buffers take turns, so that copying hides behind arithmetic.
 *
 * put() gives a batch in the back end's memory; the caller has it learned with the lane's eval, and
 * calls learned(), which gives the batch before, whose losses have come meanwhile, or NULL. At the
 * end of a block drain() gives the last. So batch i + 1 is on its way, and asked for, while i is
 * worked on, and the host measures i while i + 1 is. Each lane is one buffer of the back end, which
 * waits for no more than what was asked of it.
 *
 * Entries of sparse rows begin at 0 there, and in rows->host: ptr[0] is 0.
 *
 * Life init -> (put -> learned)* -> drain -> ... -> fini, which is safe on zeroed memory.
 * Owner The caller owns the struct, the shape and the batch it puts, which has to stay until
 * update() returns. What learned() and drain() give is borrowed until the next put.
 * Thread One. Allocation: init alone. Memory: twice a batch there, and twice labels, weights and
 * losses in host memory. */
#ifndef MILLRACE_HANDOVER_H
#define MILLRACE_HANDOVER_H

#include "algos/algo.h"

struct handover_shape { /* the most that a batch has */
    uint32_t rows, ld;  /* ld: row stride of x */
    uint32_t nnz, uniq; /* sparse: entries, distinct columns; else 0 */
    uint32_t ny;
    bool keyed, timed;
};

struct lane {
    uint8_t *device;
    struct rows room;  /* its arrays there, */
    struct rows rows;  /* and a batch in them; its host is */
    struct rows host;  /* what was put */
    uint32_t *ptr;     /* of host */
    struct eval eval;  /* there */
    float *y, *weight; /* in host memory: what metrics_add() reads of the batch, */
    struct rows seen;  /* which it is given as this, */
    struct eval came;  /* and the eval */
};

struct handover {
    const struct compute *c;
    void *cs;
    struct handover_shape s;
    const struct shape *shape;
    struct lane lane[2];
    uint32_t at; /* lane of the newest batch */
    bool ahead;  /* it is not measured yet */
    void *host;
};

uint64_t handover_device_bytes(const struct handover_shape *s, const struct shape *sh);
uint64_t handover_host_bytes(const struct handover_shape *s, const struct shape *sh);
/* ST_FATAL: no memory. */
MUST enum st handover_init(struct handover *h, const struct compute *c, void *cs,
                           const struct handover_shape *s, const struct shape *sh, struct err *e);
void handover_fini(struct handover *h);

/* What was put and not drained is forgotten: its block was given up. */
void handover_begin(struct handover *h);
/* The batch in the next lane. */
struct lane *handover_put(struct handover *h, const struct rows *r);
/* The newest batch is asked for: the one before it, with its eval in host memory, or NULL. */
const struct lane *handover_learned(struct handover *h);
/* The newest, or NULL. ST_OK, or what the device has to say. */
MUST enum st handover_drain(struct handover *h, const struct lane **last);

#endif
