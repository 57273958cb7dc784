/* slot.h: the bytes of one partition's state, as they lie in the state store and in the parameter
 * topic.
 *
 * A slot is a manifest and n chunks. A version is complete if and only if for every j the last
 * chunk read has the manifest's seq, length and CRC; the manifest closes it. All fields
 * little-endian, CRC-32C.
 *
 * The drawings stand in slot.c. Here only what the caller has to know:
 *
 * seq counts the committed publishes of a slot; a chunk carries the seq of the publish that wrote
 * it. A chunk of zeros is never stored: its entry in the manifest is all 0. The tail holds the
 * declarations of the tensors, so that a state can be shown without its algorithm, and the lineage:
 * the exact offset ranges that this state has learned, losses and resets included.
 *
 * Owner: struct manifest is plain memory of the caller (60 KiB), its chunk array included. Thread:
 * any. Allocation: none. Errors: what does not verify is ST_CORRUPT, with field and value; the
 * caller puts the place before it. */
#ifndef MILLRACE_SLOT_H
#define MILLRACE_SLOT_H

#include "statestore/store.h"

enum {
    SLOT_DONE = 1,
    SLOT_IDLE = 2,
    SLOT_STOPPED = 4,
    SLOT_WAIT = 8, /* `round` rounds are learned, and the view after them is not in it yet */
    /* its bits came from more than the records: a pull of what was there, a block ended by time, an
     * upgrade; once so, always so */
    SLOT_LOOSE = 16,
    SLOT_ENDED = 32, /* of partition 0: all partitions are done, and their model is published */
    /* from this bit on 8 that tell the back ends apart whose bits it has: consumer/device.h */
    SLOT_BACKEND_SHIFT = 8,
    SLOT_BACKENDS = 255
};
enum {
    SLOT_KEY_BYTES = 48,
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
    LINEAGE_LOST,  /* [begin, end) was gone before it could be read (retention): policy continue */
    LINEAGE_RESET, /* the topic was re-created or truncated: a new run begins at `begin` */
    LINEAGE_ENDED  /* the job's end lay at `begin`, and a block ended there: another life begins */
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
    uint32_t life;      /* how often a job that had ended went on behind its end */
    uint64_t base;      /* records trained when this life began: rounds count from there */
    uint32_t from_kind; /* how `begin` was asked for, as consumer/where.h numbers it */
    int64_t from_value;
    uint32_t tensors, lineages;
    struct slot_tensor tensor[SLOT_TENSORS_MAX];
    struct lineage lineage[LINEAGE_MAX];
};

enum { SLOT_MANIFEST = -1, SLOT_RUN = -2 };
/* The record key of chunk j, of the manifest, or of the run (turn 0 only) that a reset began: four
 * bytes, and slots and local states of smaller runs are void. Returns its length. Where rounds have
 * to repeat bit for bit, a slot lies in two places in turn, 0 and 1: the one before stands until
 * all have used it. */
size_t slot_key(char out[SLOT_KEY_BYTES], uint32_t partition, uint32_t turn, int64_t j);

/* Bytes that encode() may need for this many chunks. */
size_t manifest_bytes_max(uint32_t chunks);
/* Returns the length; room is at least manifest_bytes_max(m->chunks). */
size_t manifest_encode(const struct manifest *m, uint8_t *out);
/* Fills *m, whose chunk and chunks_max are set by the caller (more chunks than that: ST_CORRUPT)
 * and kept. After an error the other members are garbage. */
MUST enum st manifest_decode(struct manifest *m, const uint8_t *p, size_t n, struct err *e);

/* head[CHUNK_HEAD] for a payload. */
void chunk_encode(uint8_t *head, uint32_t partition, uint32_t j, uint64_t seq, const void *payload,
                  uint32_t bytes);
struct chunk {
    uint32_t partition, j, bytes, crc;
    uint64_t seq;
    const uint8_t *payload; /* borrowed from p */
};
bool chunk_is_zero(const void *payload, uint32_t bytes);
/* *c is filled only where all verifies. */
MUST enum st chunk_decode(struct chunk *c, const uint8_t *p, size_t n, struct err *e);

/* Appends l, joined to the last entry where it continues it; [x, x) is left out unless it is a
 * reset or an end. ST_FATAL: the history has LINEAGE_MAX pieces already. One uninterrupted epoch is
 * one piece, so epochs and losses count. */
MUST enum st lineage_add(struct manifest *m, struct lineage l, struct err *e);

/* Digest of a state, what tests compare: XXH64 chained over position, counts and payloads, which
 * are given in chunk order; not seq, record fingerprint, worker or times. A chunk of zeros, absent
 * (payload NULL) or not, leaves no trace. */
struct digest {
    uint64_t h;
};
void digest_begin(struct digest *d, const struct manifest *m);
void digest_chunk(struct digest *d, uint32_t j, const void *payload, uint32_t bytes);

#endif
