/* algo.h: one learning algorithm.
 *
 * Life check -> declare(WORK, STATE) -> init, start | load -> update*;
 *      slots: declare(VIEW) -> fold* -> fold_end -> derive -> score*, rebase
 * Owner The caller owns every tensor and struct; an algorithm keeps no pointer between calls and
 *      has no writable globals.
 * Thread One thread per ctx. States (partitions) take turns on it: work is shared, undefined at
 *      entry.
 * Forbidden allocation, I/O, clocks, threads, signals, libm beyond sqrt/fabs/floor. check and
 *      derive may be slow, update not.
 * Memory init, start, update, rebase, stop and score work where x's back end does: state, x->work,
 *      rows, eval and score's model lie there, but for T_HOST tensors, rows->host and fold_at. What
 *      is in compute space is named and offset, never read: put, get and operations move it. Views,
 *      slots, other models, and `out` lie in host memory. fold, fold_end, derive, intact and
 * upgrade get all in host memory, the first three with an x whose back end and scratch are there
 * too. Errors After anything but ST_OK the target tensors are garbage: the partition stops and the
 *      checkpoint is the retry.
 * Repeatable All outputs are functions of (tensors given, rows, shape, opts, seed, compute): not
 *      of addresses, of scratch, of eval.
 *
 * tests/conform/algo holds every registered algorithm to these laws. */
#ifndef MILLRACE_ALGO_H
#define MILLRACE_ALGO_H

#include "algos/compute/compute.h"
#include "algos/rows.h"
#include "algos/tensor.h"
#include "config/options.h"

#define MILLRACE_ABI 1u

enum {
    ALGO_NAME_BYTES = 16
}; /* with the final 0: the room a slot's manifest has (protocol.md 2) */

enum part {
    PART_STATE,
    PART_VIEW,
    PART_MODEL,
    PART_WORK,
    PART_OUT /* named columns of a score row */
};

enum {
    ALGO_LABEL = 1,
    ALGO_KEY = 2,
    ALGO_TIME = 4,
    ALGO_MISSING = 8,    /* needs */
    ALGO_EXACT = 16,     /* classes A, B, C: never pulls; may be windowed by time */
    ALGO_SET = 32,       /* class B: a record seen again changes nothing (epochs allowed) */
    ALGO_ONE_EPOCH = 64, /* a record seen again counts twice: more than one epoch is refused */
    ALGO_REPLAY = 128,   /* the runtime may feed old rows again from its sample */
    ALGO_HOST = 256      /* uses no compute, or hardly: the runtime gives it a back end whose memory
                            is the host's, whatever the job's device */
};

/* What update() leaves in eval; chooses the metrics. MARGIN: z > 0 predicts class 1, zcols =
 * models. LOGITS: zcols = models * classes, arg max within a model's group. VALUE: a real
 * prediction, its loss half the squared error unless the shape names another. LOSS_ONLY: no z.
 * NONE: neither z nor loss. Losses are unweighted. */
enum out_kind { OUT_NONE, OUT_MARGIN, OUT_LOGITS, OUT_VALUE, OUT_LOSS_ONLY };

/* The loss, where it is another than that of out_kind (log-loss, half the squared error); loss.h
 * has the formulas. loss_at: the quantile, or where Huber's loss goes on as a line. */
enum loss_kind {
    LOSS_OF_OUT,
    LOSS_ONE_VS_REST,
    LOSS_ABSOLUTE,
    LOSS_QUANTILE,
    LOSS_HUBER,
    LOSS_HINGE,
    LOSS_SQUARED_HINGE,
    LOSS_POISSON
};

/* no prediction for this row yet; NaN and +infinity are a diverged model */
#define LOSS_NONE (-__builtin_inff())

/* fixed for the job; the caller fills up to `classes`, check() the rest and batch_rows 0 */
struct shape {
    uint32_t batch_rows, slots, folds;
    uint32_t d[PORTS_MAX], nnz[PORTS_MAX]; /* nnz: most per batch; 0: dense */
    uint32_t ny, classes;
    uint32_t models, zcols;
    enum out_kind out;
    enum loss_kind loss;
    float loss_at;
    uint64_t halving; /* halving.h: learned rows until the first half of the models stops; 0: none
                         does. Given to check() */
};

struct ctx {
    const struct shape *shape;
    const void *opts;
    const struct compute *c;
    void *cs;
    struct tensors *work;
    uint64_t seed;
    struct err *err;
};

struct eval { /* z[n, zcols], loss[n, models], compute space, values BEFORE learning */
    float *z, *loss;
};

struct slot { /* one partition's state in a fold; weight: age and decay landmark; else 1 */
    const struct tensors *state;
    double weight;
    uint32_t partition;
};

struct measure {
    char name[24];
    double value;
    bool lower_is_better;
};

struct measures {
    struct measure m[32];
    uint32_t n;
    int32_t model; /* packed model the artefact came from, or -1 */
};

struct algo {
    uint32_t abi, bytes; /* MILLRACE_ABI and sizeof(struct algo): new members are only appended */
    const char *name, *summary;
    uint32_t state_version, model_version, flags;
    const struct port *ports; /* ends with {0} */
    /* derive options need no retraining: k, rank, l2, model, trees */
    const struct opt *opts, *derive_opts;
    size_t opts_bytes, derive_bytes;

    /* Resolve `auto`, refuse, say why. Start only. Sets sh->models, zcols, out, batch_rows if it is
     * 0, and folds, which are 1, where it wants more; loss and loss_at are LOSS_OF_OUT and 0. */
    MUST enum st (*check)(struct shape *sh, void *opts, struct err *e);
    /* Tensors of one part, ids 0, 1, 2, ... in order. derive_opts only for PART_MODEL and
     * PART_OUT. */
    MUST enum st (*declare)(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                            const void *derive_opts);
    /* On zeroes; weights from Philox(seed, purpose, i). */
    MUST enum st (*init)(const struct ctx *x, struct tensors *state);
    /* Scores the batch with the state as it is into e (NULL: learn only), then learns rows [0,
     * train). A packed model may diverge without harm to the others: once r->last is learned it is
     * back at its start, and some loss of it was not finite, so nobody chooses it. Where no model
     * is left the state may stay as it is: the partition stops. */
    MUST enum st (*update)(const struct ctx *x, struct tensors *state, const struct rows *r,
                           struct eval *e);
    MUST enum st (*derive)(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                           struct tensors *model, struct measures *m);
    /* out[n, width of PART_OUT]; the tensors of PART_OUT name its columns, their dim[0] is their
     * width */
    MUST enum st (*score)(const struct ctx *x, const struct tensors *model, const struct rows *r,
                          float *out);

    /* optional */
    /* NULL: laws alone. Called once a slot, in slot order, after the laws; FOLD tensors; with an
     * own VIEW (declare(PART_VIEW) adds something), everything. */
    MUST enum st (*fold)(const struct ctx *x, struct tensors *view, const struct slot *s);
    /* After the runtime has divided the MEANs; NULL: nothing to add */
    MUST enum st (*fold_end)(const struct ctx *x, struct tensors *view);
    /* NULL: copy T_PULL tensors */
    MUST enum st (*rebase)(const struct ctx *x, struct tensors *state, const struct tensors *view);
    MUST enum st (*upgrade)(const struct ctx *x, const struct tensors *old, uint32_t version,
                            struct tensors *state); /* NULL: refuse other versions */
    /* After init: a new partition goes on from a finished model, whose tensors have the names and
     * types of this job's; their shapes are as they were sent. What the model has learned counts
     * once over all partitions of the job. What does not fit is said of the model ("it has ...").
     * NULL: no job may start from a model. */
    MUST enum st (*start)(const struct ctx *x, const struct tensors *model, uint32_t partition,
                          struct tensors *state);
    /* Of a state that was read back, finite and with live counts in range: ST_CORRUPT where a count
     * or a place is none that update() or fold() could go on from ("tensor head: 7 rows of 5").
     * NULL: any will do. */
    MUST enum st (*intact)(const struct ctx *x, const struct tensors *state);
    /* The packed models that stopped[models] names and "@stopped" not yet learn no more: the state
     * gives up what it has of them, in memory too. From then on, where "@stopped" is stopped[],
     * update() leaves LOSS_NONE for them, and every slot is read by its own "@stopped". NULL: a job
     * cannot ask for halving. */
    MUST enum st (*stop)(const struct ctx *x, struct tensors *state, const uint8_t *stopped);
};

/* Is the table one that this build can run: interface version, name, mandatory members, ports,
 * versions? ST_FATAL says what is missing. */
MUST enum st algo_check(const struct algo *a, struct err *e);

/* All algorithms of this build; algos_check() proves at start that each passes algo_check() and
 * that names are unique. */
extern const struct algo *const algo_list[];
extern const uint32_t algo_count;
const struct algo *algo_find(const char *name); /* NULL: none of that name */
MUST enum st algos_check(struct err *e);

extern const struct algo algo_linear, algo_kmeans, algo_least_squares, algo_pca, algo_fm, algo_knn,
    algo_rcf, algo_stats;

#endif
