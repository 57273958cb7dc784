/* checkpoint.h: everything a worker knows, written in one synced batch.
 *
 * A checkpoint is atomic over all partitions of the worker: changed chunks, manifests (position,
 * counts, lineage), pending dead letters and the worker's identity stand in one batch, so a state
 * and its position can never disagree. The broker commit follows and is only a copy. Order,
 * recurring in checkpoint.c: (1) begin -> (2) per partition: changed chunks, then its manifest ->
 * (3) dead letters added, published ones removed -> (4) one synced write -> (5) only then may the
 * caller publish.
 *
 * Keys: "worker", "cluster", "job" (identity); "m/PPPPP" manifest; "c/PPPPP/JJJJJJ" chunk
 * (CHUNK_HEAD + payload); "d/PPPPP/RRRRR/EEEEE/OOOOOOOOOOOOOOOOOOO" dead letter by position, so
 * that those published with a slot are a range. Numbers are decimal with leading zeros, so byte
 * order is number order and people can read a dump.
 *
 * Owner: the caller owns everything handed in, and it stays unchanged until commit returns. Thread:
 * one. */
#ifndef MILLRACE_CHECKPOINT_H
#define MILLRACE_CHECKPOINT_H

#include "statestore/slot.h"

struct checkpoint;

struct checkpoint_conf {
    const struct store *store; /* table */
    const char *dir;
    uint32_t flags;                      /* STORE_READ_ONLY for tools */
    uint32_t partitions_max, chunks_max; /* bounds of one commit */
    size_t dead_bytes_max;               /* bytes of dead letters one commit may add */
};

/* Opens the folder; the worker's name is written at first start ("" asks for a random one of 8
 * letters). ST_BAD_CONFIG: held by another process, read-only, not ours. */
MUST enum st checkpoint_open(struct checkpoint **cp, const struct checkpoint_conf *c,
                             const char *worker, struct err *e);
void checkpoint_close(struct checkpoint *cp); /* NULL is fine */
const char *checkpoint_worker(const struct checkpoint *cp);

/* Identity: the first call writes, later ones compare. ST_BAD_CONFIG: "state folder X belongs to
 * cluster A, the broker is cluster B". */
MUST enum st checkpoint_identity(struct checkpoint *cp, const char *cluster, const char *job,
                                 struct err *e);

/* The newest manifest of partition p into m. ST_AGAIN: none. ST_CORRUPT: does not verify. */
MUST enum st checkpoint_manifest(struct checkpoint *cp, uint32_t p, struct manifest *m,
                                 struct err *e);
/* All payloads in order to `take` (absent ones: p NULL, to be zeros), each verified against the
 * manifest. ST_CORRUPT names partition, chunk, offset in it and both CRCs. */
MUST enum st checkpoint_load(struct checkpoint *cp, const struct manifest *m,
                             enum st (*take)(void *arg, uint32_t j, const uint8_t *p,
                                             uint32_t bytes, struct err *e),
                             void *arg, struct err *e);
/* Partitions that have a manifest: fills p[max], returns how many there are. */
MUST enum st checkpoint_partitions(struct checkpoint *cp, uint32_t *p, uint32_t max, uint32_t *n,
                                   struct err *e);

/* A record that could not be decoded, kept until it has left in a transaction. */
struct dead_letter {
    uint32_t partition;
    struct position at; /* of the record itself */
    int64_t timestamp_ms;
    const char *reason; /* "truncated", ...: a word of deadletter.h */
    const char *detail; /* a sentence */
    struct bytes key, value;
};

void checkpoint_begin(struct checkpoint *cp);
/* chunk j of partition m->partition changed; m->chunk[j] is set here (seq m->seq, length, CRC). An
 * all-zero payload is removed from the store and its entry zeroed. */
void checkpoint_chunk(struct checkpoint *cp, struct manifest *m, uint32_t j, const void *payload,
                      uint32_t bytes);
/* after its chunks; the encoded bytes may be fetched for publishing until the next begin */
void checkpoint_put(struct checkpoint *cp, const struct manifest *m);
void checkpoint_drop(struct checkpoint *cp,
                     uint32_t p); /* forget partition p, dead letters included ("set aside") */
/* ST_FATAL: over dead_bytes_max: checkpoint sooner */
MUST enum st checkpoint_dead(struct checkpoint *cp, const struct dead_letter *d, struct err *e);
void checkpoint_dead_published(struct checkpoint *cp, uint32_t p,
                               struct position before); /* removes those < before */
MUST enum st checkpoint_commit(struct checkpoint *cp, struct err *e);

/* Pending dead letters of partition p with a position < before, in order. */
MUST enum st checkpoint_dead_scan(struct checkpoint *cp, uint32_t p, struct position before,
                                  enum st (*take)(void *arg, const struct dead_letter *d,
                                                  struct err *e),
                                  void *arg, struct err *e);

/* The manifest's encoded bytes of partition p as last put (borrowed until the next begin); n 0:
 * none. */
struct bytes checkpoint_encoded(const struct checkpoint *cp, uint32_t p);

#endif
