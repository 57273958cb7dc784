/* checkpoint.h: everything a worker knows, written in one synced batch.
 *
 * A checkpoint is atomic over all partitions of the worker: changed chunks, manifests (position,
 * counts, lineage) and pending dead letters stand in one batch, so a state and its position can
 * never disagree. The broker commit follows and is only a copy. Order, recurring in checkpoint.c:
 *
 *   (1) begin
 *   (2) per partition: its changed chunks, then its manifest
 *   (3) dead letters added, published ones removed
 *   (4) one synced write
 *   (5) only then may the caller publish
 *
 * Keys: "format", "worker", "cluster", "job" (identity); "life"; "m/PPPPP" manifest; "t/PPPPP" when
 * it was written (i64, wall clock ms; for people only); "c/PPPPP/JJJJJJ" payload of a chunk, whose
 * length and CRC stand in the manifest; "d/PPPPP/run/epoch/offset" dead letter by its position, so
 * that those published with a slot are a range. Numbers are decimal with leading zeros: byte order
 * is number order, and people can read a dump.
 *
 * Owner: the caller owns everything handed in, and it stays unchanged until commit returns.
 * Thread: one. Allocation: open only; RocksDB's own is bounded (store.h). Errors: texts name the
 * folder, the partition and, where there is one, the chunk. After a failed commit close: the next
 * open shows the last checkpoint, or this one whole. */
#ifndef MILLRACE_CHECKPOINT_H
#define MILLRACE_CHECKPOINT_H

#include "statestore/letter.h"

struct checkpoint;

struct checkpoint_conf {
    const struct store *store; /* table */
    const char *dir;
    uint32_t flags;          /* STORE_READ_ONLY for tools: the bounds may be 0 */
    uint32_t partitions_max; /* of one commit */
    uint32_t chunks_max;     /* of one commit: the chunks of all its partitions, changed or not */
    size_t dead_bytes_max;   /* of dead letters in one commit, DEAD_COST for each included */
};
enum { DEAD_COST = LETTER_KEY + 128 };

/* Bytes an open checkpoint takes, its store included, if all the states of one commit together have
 * state_bytes. */
size_t checkpoint_memory(const struct checkpoint_conf *c, size_t state_bytes);

/* Opens the folder; the worker's name is written at first start ("" asks for a random one of 8
 * letters). ST_BAD_CONFIG: held by another process, read-only, not ours, another worker's. */
MUST enum st checkpoint_open(struct checkpoint **cp, const struct checkpoint_conf *c,
                             const char *worker, struct err *e);
void checkpoint_close(struct checkpoint *cp); /* NULL is fine */
/* The identity as it is in the folder; "": not known yet. */
const char *checkpoint_worker(const struct checkpoint *cp);
const char *checkpoint_cluster(const struct checkpoint *cp);
const char *checkpoint_job(const struct checkpoint *cp);

/* Identity: the first call writes, later ones compare. ST_BAD_CONFIG: "state folder X belongs to
 * cluster A, the broker is cluster B". */
MUST enum st checkpoint_identity(struct checkpoint *cp, const char *cluster, const char *job,
                                 struct err *e);

/* The life of the job (slot.h) that this worker goes into next, as it has been told last;
 * UINT32_MAX: never. */
MUST enum st checkpoint_life(struct checkpoint *cp, uint32_t *life, struct err *e);
MUST enum st checkpoint_life_set(struct checkpoint *cp, uint32_t life, struct err *e);

/* The newest manifest of partition p into m (m->chunk and chunks_max are the caller's). ST_AGAIN:
 * none. ST_CORRUPT: does not verify. Algorithm, state version and job may be any: the caller
 * decides whether to go on, to upgrade or to drop. */
MUST enum st checkpoint_manifest(struct checkpoint *cp, uint32_t p, struct manifest *m,
                                 struct err *e);
/* When the manifest of p was written, in ms since 1970; 0: not known. */
MUST enum st checkpoint_time(struct checkpoint *cp, uint32_t p, int64_t *ms, struct err *e);
/* All payloads in order to `take` (absent ones: p NULL, to be zeros), each verified against the
 * manifest. ST_CORRUPT names partition, chunk, its offset in the state and both
 * CRCs. `take` calls nothing of this cp. */
MUST enum st checkpoint_load(struct checkpoint *cp, const struct manifest *m,
                             enum st (*take)(void *arg, uint32_t j, const uint8_t *p,
                                             uint32_t bytes, struct err *e),
                             void *arg, struct err *e);
/* Partitions that have a manifest, in order: fills p[max]; *n is how many there are. */
MUST enum st checkpoint_partitions(struct checkpoint *cp, uint32_t *p, uint32_t max, uint32_t *n,
                                   struct err *e);

void checkpoint_begin(struct checkpoint *cp);
/* Chunk j of partition m->partition changed; m->chunk[j] is set here (seq m->seq, length, CRC). An
 * all-zero payload is removed from the store and its entry zeroed. */
void checkpoint_chunk(struct checkpoint *cp, struct manifest *m, uint32_t j, const void *payload,
                      uint32_t bytes);
/* After its chunks, once for a partition. */
void checkpoint_put(struct checkpoint *cp, const struct manifest *m);
/* Forgets partition p, dead letters included ("set aside"); a put may follow in the same commit. */
void checkpoint_drop(struct checkpoint *cp, uint32_t p);
/* Copied. A letter of the same position replaces the one that is there, so a replay adds none.
 * ST_FATAL: over dead_bytes_max: checkpoint sooner. */
MUST enum st checkpoint_dead(struct checkpoint *cp, const struct dead_letter *d, struct err *e);
/* Removes those of partition p < before; costs nothing where there are none. */
void checkpoint_dead_published(struct checkpoint *cp, uint32_t p, struct position before);
MUST enum st checkpoint_commit(struct checkpoint *cp, struct err *e);

/* Pending dead letters of partition p with a position < before, in order; d is borrowed until
 * `take` returns, which calls nothing of this cp. ST_CORRUPT: one does not verify. */
MUST enum st checkpoint_dead_scan(struct checkpoint *cp, uint32_t p, struct position before,
                                  enum st (*take)(void *arg, const struct dead_letter *d,
                                                  struct err *e),
                                  void *arg, struct err *e);

/* The manifest's encoded bytes of partition p as put since the last begin, for publishing; borrowed
 * until the next begin; n 0: none. */
struct bytes checkpoint_encoded(const struct checkpoint *cp, uint32_t p);

#endif
