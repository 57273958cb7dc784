/* tensors.h: the runtime of tensors: laid out, allocated, scanned for change, chunked, looked up.
 *
 * Layout (part of the format): tensors follow each other by id, LAW_LOCAL ones and then the
 * runtime's "@" tensors that are LOCAL last, so that a reader that only folds may skip their
 * chunks. A tensor of a chunk or more starts on a chunk edge, smaller ones share; every tensor
 * starts on a 64-byte edge; padding is zero. A chunk is bytes [j << chunk_shift, min(bytes, (j + 1)
 * << chunk_shift)) of the block.
 *
 * Owner: the caller owns struct tensors; tensors_alloc() takes memory once, at start. Thread:
 * one. */
#ifndef MILLRACE_TENSORS_H
#define MILLRACE_TENSORS_H

#include "algos/algo.h"

/* Lays out part p of algorithm a, then `extra` tensors of the runtime (ids go on; names begin with
 * '@'). No memory is taken. ST_BAD_CONFIG: over bytes_max, or a bad declaration, with the tensor's
 * name. */
MUST enum st tensors_declare(struct tensors *ts, const struct algo *a, enum part p,
                             const struct shape *sh, const void *opts, const void *derive_opts,
                             const struct tdecl *extra, uint32_t extras, uint32_t chunk_shift,
                             uint64_t bytes_max, struct err *e);

/* Lays out tensors that are described by saved bytes instead of an algorithm (models, old
 * versions); names and strings of d stay the caller's and must outlive ts. */
MUST enum st tensors_layout(struct tensors *ts, const struct tdecl *d, uint32_t n,
                            uint32_t chunk_shift, uint64_t bytes_max, struct err *e);

/* Zeroed block and dirty bits, from back end c (NULL: plain host memory). Start only. */
MUST enum st tensors_alloc(struct tensors *ts, const struct compute *c, void *cs, struct err *e);
/* safe on a zeroed struct */
void tensors_free(struct tensors *ts, const struct compute *c, void *cs);
/* bytes to zero, all chunks dirty */
void tensors_zero(struct tensors *ts);
/* same layout: bytes only */
void tensors_copy(struct tensors *to, const struct tensors *from);

const struct tensor *tensors_find(const struct tensors *ts, const char *name); /* or NULL */
size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t); /* numpy-like: "f32", "u64" */

uint32_t tensors_chunks(const struct tensors *ts);
uint32_t tensors_chunk_bytes(const struct tensors *ts, uint32_t j); /* the last may be short */

/* One pass over the block: sets the bit of each chunk whose bytes moved since `hash` was filled,
 * updates `hash`, clears the marks. Chunks that hold only T_SPARSE tensors are read only where
 * touch()ed; the others always. Finds NaN and infinity in floats: ST_FATAL with tensor and index,
 * and then the state must not be saved. hash[chunks], changed[(chunks + 63) / 64] are the caller's;
 * hash of an all-zero chunk never written is 0 and such a chunk is not reported. */
MUST enum st tensors_scan(struct tensors *ts, uint64_t *hash, uint64_t *changed, struct err *e);

/* Same names, dtypes, dims and laws in the same order? ST_BAD_CONFIG names the first difference. */
MUST enum st tensors_same(const struct tensors *a, const struct tensors *b, struct err *e);

#endif
