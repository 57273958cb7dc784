/* slot.h: the bytes of one partition's state, as they lie in the state store and in the parameter topic.
 *
 * A slot is a manifest and n chunks. A version is complete if and only if for every j the last chunk read has
 * the manifest's seq, length and CRC; the manifest closes it. All fields little-endian, CRC-32C.
 *
 * Chunk: 0 "MRSC"; 4 u16 version 1; 6 u16 codec 0; 8 u32 partition; 12 u32 j; 16 u64 seq of the publish that
 * wrote it; 24 u32 length; 28 u32 CRC of the payload; 32 payload.
 *
 * Manifest: 0 "MRSM", u16 version 1, u16 flags; 8 u32 partition; 12 u32 run, u32 epoch, i64 offset (next to
 * train); 28 u32 epochs asked; 32 i64 begin, i64 end (INT64_MAX: unbounded); 48 i64 offset of the last trained
 * record (-1 none), u64 its fingerprint (XXH64 of timestamp, key, value); 64 u64 records trained, rejected,
 * lost; 88 u64 seq; 96 u32 merge round, u32 partitions of the data topic at first publish; 104 u64 job
 * fingerprint; 112 16 bytes algorithm, u32 state version; 132 u32 chunk size, u64 state bytes, u32 chunk count
 * n; 148 u32 tail length L; 152 16 n: per chunk u64 seq, u32 length, u32 CRC (a zero chunk, never
 * stored: all three 0); 152 + 16 n: tail; then u32 CRC of all before.
 *
 * Tail (Avro binary, fixed record): array of tensors {name string, dtype int, law int, flags int, by int, live
 * int, dims array<long>}, then array of lineage entries {run long, epoch long, begin long, end long, records
 * long, kind int}: the exact offset ranges this state has learned, gaps and losses included.
 *
 * Owner: struct manifest is plain memory of the caller, its arrays included. Thread: any. Errors: what does
 * not verify is ST_CORRUPT, with field and value; nothing is allocated from a length that was read. */
#ifndef MILLRACE_SLOT_H
#define MILLRACE_SLOT_H

#include "statestore/store.h"

enum { SLOT_DONE = 1, SLOT_IDLE = 2, SLOT_STOPPED = 4 };
enum {
    SLOT_TENSORS_MAX = 64,
    LINEAGE_MAX = 1024,
    SLOT_CHUNKS_MAX = 1 << 18,
    CHUNK_HEAD = 32,
    MANIFEST_HEAD = 152
};

struct position { /* compared in this order; run counts re-creations and resets of the data topic */
    uint32_t run, epoch;
    int64_t offset; /* next to train */
};

static inline int position_cmp(struct position a, struct position b)
{
    if (a.run != b.run)
        return a.run < b.run ? -1 : 1;
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    return a.offset < b.offset ? -1 : a.offset > b.offset;
}

enum lineage_kind {
    LINEAGE_LEARNED, /* offsets [begin, end) were read in order; `records` of them were learned */
    LINEAGE_LOST, /* [begin, end) was gone before it could be read (retention): policy continue */
    LINEAGE_RESET /* the topic was re-created or truncated: a new run begins at `begin` */
};

struct lineage {
    uint32_t run, epoch;
    int64_t begin, end;
    uint64_t records;
    uint32_t kind;
};

struct slot_chunk {
    uint64_t seq;
    uint32_t bytes, crc;
};

struct slot_tensor { /* numbers as in algos/tensor.h */
    char name[48];
    uint32_t dtype, law, flags, by, live;
    uint64_t dim[4];
};

struct manifest {
    uint32_t flags, partition;
    struct position pos;
    uint32_t epochs;
    int64_t begin, end;
    int64_t last_offset;
    uint64_t last_fingerprint;
    uint64_t trained, rejected, lost;
    uint64_t seq;
    uint32_t round, partitions;
    uint64_t job;
    char algo[17];
    uint32_t state_version, chunk_bytes;
    uint64_t state_bytes;
    uint32_t chunks;
    struct slot_chunk *chunk; /* [chunks_max], the caller's */
    uint32_t chunks_max;
    uint32_t tensors, lineages;
    struct slot_tensor tensor[SLOT_TENSORS_MAX];
    struct lineage lineage[LINEAGE_MAX];
};

/* Bytes that encode() may need for this many chunks. */
size_t manifest_bytes_max(uint32_t chunks);
/* Returns the length; room is at least manifest_bytes_max(m->chunks). */
size_t manifest_encode(const struct manifest *m, uint8_t *out);
/* Verifies everything, then fills *m (chunk array given by the caller: ST_CORRUPT if more chunks than chunks_max). */
MUST enum st manifest_decode(struct manifest *m, const uint8_t *p, size_t n, struct err *e);

/* head[CHUNK_HEAD] for a payload. */
void chunk_encode(uint8_t *head, uint32_t partition, uint32_t j, uint64_t seq, const void *payload,
                  uint32_t bytes);
struct chunk {
    uint32_t partition, j, bytes, crc;
    uint64_t seq;
    const uint8_t *payload; /* borrowed from p */
};
MUST enum st chunk_decode(struct chunk *c, const uint8_t *p, size_t n, struct err *e);

/* Appends [begin, end) with its records, joined to the last entry where it continues it. Full: the two oldest LEARNED
 * entries are joined only if they touch; else ST_FATAL (the history of this partition is too broken to state). */
MUST enum st lineage_add(struct manifest *m, struct lineage l, struct err *e);

/* Digest of a state, what tests compare: XXH64 over position, counts and the payload bytes given in chunk order
 * (absent chunks count as zeros); not seq, record fingerprint, worker or times. */
struct digest {
    uint64_t h;
};
void digest_begin(struct digest *d, const struct manifest *m);
void digest_chunk(struct digest *d, uint32_t j, const void *payload, uint32_t bytes);

#endif
