/* support_lab.h: one algorithm under test, with what the runtime would give it: options, back end,
 * scratch, eval buffers, states of 64-byte chunks, rows. See support_laws.h for what is asked of
 * it.
 *
 * Errors: ST_FATAL with a text says which promise was broken; anything inconsistent in the lab
 * itself is a CHECK failure. Thread: one; only one lab may watch for signals at a time. */
#ifndef MILLRACE_SUPPORT_LAB_H
#define MILLRACE_SUPPORT_LAB_H

#include "algos/handover.h"
#include "algos/metrics.h"
#include "algos/tensors.h"
#include "tests/conform/support_rows.h"

struct subject {      /* what is put to the laws */
    const char *name; /* for people: "linear softmax" */
    const struct algo *a;
    const struct compute *c;
    const char *const *options; /* "name=value", NULL at the end; NULL: defaults */
    uint32_t d, classes;        /* classes 0: the label is a number */
    bool sparse;
    bool counts;    /* it is a number from 0 */
    double decay;   /* rows.decay, where there is a half-life */
    bool coarser;   /* a model is less than what update() scores with (fewer centres) */
    bool adds_rows; /* weight 2 is the row twice, and a zero is no entry (linear) */
    bool diverges;  /* some packed models do: their z and losses need not be finite */
};

enum { LAB_ROWS = 32 /* most of a batch */, LAB_SHIFT = 6, LAB_SLOTS = 3 };

struct lab {
    const struct subject *s;
    const struct algo *a;
    struct err e;
    struct shape sh;
    struct ctx x, host; /* host: with a back end and scratch in host memory, where views are made */
    void *opts, *derive_opts, *self;
    struct tensors plain, watched_work; /* scratch: of the back end; at guard pages */
    struct tensors host_work;           /* where the back end has memory of its own: of host */
    struct handover handover;           /* and the way there */
    struct tdecl extra[METRIC_DECLS];
    uint32_t extras;
    struct region eval_z, eval_loss, work_guard[TENSORS_MAX];
    struct eval eval;
    struct rows_room rows;
    uint64_t allocated; /* calls to malloc and its kind within the last update */
};

/* ST_FATAL: the algorithm refused its options or its declarations. */
MUST enum st lab_open(struct lab *l, const struct subject *s, struct err *why);
void lab_close(struct lab *l);

/* A state as at the start of a partition: zeroed, then init. Free with lab_drop(). */
MUST enum st lab_state(struct lab *l, struct tensors *state);
void lab_drop(struct lab *l, struct tensors *state);

/* The memory of the back end is not the host's: nothing there can be watched. */
static inline bool lab_is_far(const struct lab *l)
{
    return !l->s->c->host_memory;
}

/* A state whose every tensor lies before a guard page (g[TENSORS_MAX]); `base` is unused, so only
 * what goes through tensor.p works on it. Zeroed, then init. Far: a
 * state as any other. */
MUST enum st lab_guarded_state(struct lab *l, struct tensors *state, struct region *g);
/* Was anything written between a tensor's end and its guard page (alignment leaves up to 63
 * bytes)? */
MUST enum st lab_guarded_check(const struct tensors *state, const struct region *g,
                               struct err *why);
void lab_guarded_drop(struct tensors *state, struct region *g);

/* score() of the lab's rows with a model that lies in host memory. */
MUST enum st lab_score(struct lab *l, const struct tensors *model, float *out);

struct how {         /* of an update */
    uint8_t scratch; /* bytes that work is full of at entry */
    bool eval;       /* hand it eval buffers, full of scratch bytes too */
    bool metrics;    /* add the batch to the metrics, as the runtime does */
    bool watch;      /* rows read only, scratch tensors at guard pages; a signal is a failure */
};

/* One update with whatever rows lab->rows holds. */
MUST enum st lab_update(struct lab *l, struct tensors *state, struct how h, struct err *why);
/* Batches [from, to) of a partition. */
MUST enum st lab_run(struct lab *l, struct tensors *state, uint32_t partition, uint64_t from,
                     uint64_t to, struct how h, struct err *why);

/* Do the two blocks hold the same bytes? ST_FATAL: "<what>: tensor w [row 3] differs". */
MUST enum st lab_same(const struct tensors *a, const struct tensors *b, const char *what,
                      struct err *why);

MUST enum st lab_copy(struct tensors *to, const struct tensors *from, struct err *why);

/* Fills scratch. */
void lab_scratch(struct lab *l, uint8_t byte);
/* Passes st on; its text, which a call with the lab's ctx has left there, goes to why. */
enum st lab_own(const struct lab *l, enum st st, struct err *why);

struct image { /* a state as it lies in a store */
    uint8_t *bytes;
    uint64_t *hash, *changed;
};

void image_open(struct image *m, const struct tensors *ts);
void image_close(struct image *m);
/* Copies the chunks that scan reports, and asks whether those were all that changed. */
MUST enum st image_save(struct image *m, struct tensors *ts, struct err *why);
/* A new block with the saved bytes, as a restart would have it. */
MUST enum st image_load(struct image *m, struct lab *l, struct tensors *ts, struct err *why);

/* Calls to malloc and its kind so far; counted only in a program that sets lab_counts. */
extern uint64_t lab_allocations;
extern bool lab_counts;

#endif
