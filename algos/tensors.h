/* tensors.h: the runtime of tensors: laid out, allocated, scanned for change, chunked, looked up.
 *
 * Life: declare or layout; alloc; then the algorithm, touch() and scan, as often as wanted; free.
 *
 * Layout (part of the format): tensors follow each other by id in three zones: what slots share,
 * then the algorithm's LAW_LOCAL tensors, then the runtime's ("@") LOCAL ones, so that a reader
 * that only folds may skip the chunks behind. A tensor of a chunk or more starts on a chunk edge,
 * smaller ones share; every tensor starts on a 64-byte edge; padding is zero. A chunk is bytes
 * [j << chunk_shift, min(bytes, (j + 1) << chunk_shift)) of the block. A tensor whose dim[0] is 0
 * is absent: it has no bytes and only keeps its id.
 *
 * Owner: the caller owns struct tensors; tensors_alloc() takes memory once, at start; pages that
 * are never written cost nothing. Thread: one. Errors: after a refused declaration or scan the
 * struct is fit only for tensors_free(). */
#ifndef MILLRACE_TENSORS_H
#define MILLRACE_TENSORS_H

#include "algos/algo.h"

/* Lays out part p of algorithm a, then `extra` tensors of the runtime, whose names begin with '@'
 * and whose ids are given here, in order (theirs are ignored: no law by `by`). No memory is taken.
 * ST_BAD_CONFIG: over bytes_max, or a bad declaration, with the names of algorithm and tensor.
 * chunk_shift is 6..31; strings are borrowed for the life of ts. */
MUST enum st tensors_declare(struct tensors *ts, const struct algo *a, enum part p,
                             const struct shape *sh, const void *opts, const void *derive_opts,
                             const struct tdecl *extra, uint32_t extras, uint32_t chunk_shift,
                             uint64_t bytes_max, struct err *e);

/* Lays out tensors that are described by saved bytes instead of an algorithm (models, old
 * versions); names and strings of d stay the caller's and must outlive ts. */
MUST enum st tensors_layout(struct tensors *ts, const struct tdecl *d, uint32_t n,
                            uint32_t chunk_shift, uint64_t bytes_max, struct err *e);

/* Zeroed block and dirty bits, from back end c (NULL: plain host memory), whose memory has all but
 * T_HOST tensors, as long as ts is not freed. Start only. */
MUST enum st tensors_alloc(struct tensors *ts, const struct compute *c, void *cs, struct err *e);
/* Back to what declare left; safe on a zeroed struct and after a failed alloc. c as for alloc. */
void tensors_free(struct tensors *ts, const struct compute *c, void *cs);
/* All bytes to zero, all chunks marked. */
void tensors_zero(struct tensors *ts);
/* Bytes [from, all) of tensor i to zero, where it lies in host memory: whole pages are given back
 * rather than written. Marks nothing. */
void tensors_clear(struct tensors *ts, uint32_t i, uint64_t from);
/* The bytes of a block in host memory of the same layout; all chunks are marked. */
void tensors_copy(struct tensors *to, const struct tensors *from);

/* tensors_device.c: where the back end has memory of its own; else these do nothing. fetch: the
 * image in the block becomes what the tensors are (of T_SPARSE ones the marked chunks: the others
 * are); ST_FATAL: the device failed. send: the tensors become what the image is. zero, copy and
 * clear send; who writes into the block otherwise has to. */
MUST enum st tensors_fetch(const struct tensors *ts, struct err *e);
void tensors_send(struct tensors *ts);
/* The same tensors at their places in the block, borrowed: to read, once fetched, and to write
 * before they are sent. */
struct tensors tensors_host(const struct tensors *ts);
bool tensor_on_device(const struct tensors *ts, uint32_t i);
uint64_t tensors_device_bytes(const struct tensors *ts); /* that tensors_alloc() would take */
void tensors_point(struct tensors *ts);                  /* of tensors_alloc() */

const struct tensor *tensors_find(const struct tensors *ts, const char *name); /* or NULL */
double tensor_element(const struct tensor *t, uint64_t i);                     /* as a number */
size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t); /* numpy-like: "f32", "u64" */

uint32_t tensors_chunks(const struct tensors *ts);
uint32_t tensors_chunk_bytes(const struct tensors *ts, uint32_t j); /* the last may be short */

/* One pass over the block (fetch it first): sets the bit of each chunk whose bytes moved since
 * `hash` was filled, updates `hash`, clears the marks. Bits are only set: the caller clears them
 * once it has kept the chunks. Chunks that hold only T_SPARSE tensors are read only where
 * touch()ed; the others always. A hash of 0 stands for a chunk of zeros and for nothing else: so
 * `hash` starts as zeros, a chunk never written is not reported, and one that became zero again is,
 * once. hash[chunks] and changed[(chunks + 63) / 64] are the caller's. NaN or infinity in a changed
 * chunk: ST_FATAL with tensor and index; then neither the state nor hash and changed may be kept.
 */
MUST enum st tensors_scan(struct tensors *ts, uint64_t *hash, uint64_t *changed, struct err *e);

/* No NaN and no infinity anywhere in the block? ST_FATAL as above. */
MUST enum st tensors_finite(const struct tensors *ts, struct err *e);

/* Can algorithm a go on from this state, whose bytes were read back into the block? ST_CORRUPT says
 * why not: not finite, a live count beyond its tensor, a mean's count below 0, or what a->intact()
 * found. */
MUST enum st tensors_intact(const struct tensors *read, const struct algo *a, const struct ctx *x);

/* Same names, dtypes, dims and laws in the same order? ST_BAD_CONFIG names the first difference. */
MUST enum st tensors_same(const struct tensors *a, const struct tensors *b, struct err *e);

#endif
