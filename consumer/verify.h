/* verify.h: a model's states made again, in memory, from the records that its manifest names.
 *
 * It is no second trainer: a worker without folder, group and producer (worker_open_alone) runs the
 * pipeline's own stages over exactly those offsets, ends lives and rounds where the job ended them,
 * and stops each partition where the snapshot's state of it stands. The broker keeps nothing of it.
 *
 * Life: verify_gone; verify_loose; verify_job, worker_open_alone; verify_train; then merge(), and
 * derive with the model's own options. Owner: everything is the caller's. Thread: one. */
#ifndef MILLRACE_VERIFY_H
#define MILLRACE_VERIFY_H

#include "consumer/snapshot.h"
#include "consumer/worker.h"

struct gone { /* offsets of a model's ranges that nobody can read any more */
    uint32_t partition;
    int64_t begin, end;
    const char *why;
};

/* Calls take for each stretch that is gone, partitions in order; *n: how many. */
MUST enum st verify_gone(const struct broker *br, void *b, const struct model *m,
                         void (*take)(void *arg, const struct gone *g), void *arg, uint32_t *n,
                         struct err *e);

/* Why the same records need not make the same bits, or NULL: they do. */
const char *verify_loose(const struct model *m);

/* Makes j the job that made m, in what does not belong to a state's fingerprint. */
void verify_job(struct job *j, const struct model *m);

/* Reads m's ranges. learn: into states; else they are decoded and counted only. Afterwards the
 * manifests of w's partitions say what was read. ST_BAD_CONFIG: records went while they were
 * read. */
MUST enum st verify_train(struct worker *w, const struct model *m, bool learn);

#endif
