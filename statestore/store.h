/* store.h: the store table: a small ordered map of bytes, written in atomic batches.
 *
 * Implementations: `rocksdb` (a folder on disk; write-ahead log on; the worker's state and the
 * embedded broker) and `memory` (tests and simulation; nothing outlives close). Keys are compared
 * as unsigned bytes, a shorter key before its extensions. Keys are not empty, values may be.
 *
 * Life   open -> get, scan, last, write* -> close. Close is safe on zeroed memory and after a
 *        failed open, and leaves `self` zeroed. After any status but ST_OK from write the store is
 *        fit only for close.
 * Owner  The caller owns `self` (self_bytes of zeroed memory). Bytes handed out are borrowed until
 *        the next call on the same self, so they are never an argument of it.
 * Thread One thread per self. RocksDB has two background threads of its own.
 * Atomic One batch is all or nothing, also across a power cut, and batches survive in the order
 *        they were written. sync: it is on disk before write returns. A write that failed may be
 *        found whole at the next open (the log was written, its sync failed), never in parts.
 * Errors ST_BAD_CONFIG: the folder cannot be used, with the reason (held by another process,
 *        read-only, no folder above it, other files in it). ST_FATAL: a read or write failed (disk
 *        full). ST_CORRUPT: the store says its bytes do not verify. ST_AGAIN (read-only open): the
 *        writer was too fast. Messages name the folder. */
#ifndef MILLRACE_STORE_H
#define MILLRACE_STORE_H

#include "config/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *p;
    size_t n;
};

/* One change of a batch: value.p NULL deletes the key; `upto` given: every key in [key, upto) is
 * deleted. */
struct change {
    struct bytes key, value, upto;
};

/* Opens beside a running writer, without its lock and without writing anything; sees what was there
 * at open. STORE_BULK: for gigabytes, with four times the buffers. */
enum { STORE_READ_ONLY = 1, STORE_BULK = 2 };

struct store {
    const char *name, *summary;
    size_t self_bytes;
    /* Bytes a store opened with these flags takes if no batch is larger than batch_max (0: as much
     * as is put into it). */
    size_t (*memory_bytes)(uint32_t flags, size_t batch_max);
    /* Makes the last folder of the path if need be. */
    MUST enum st (*open)(void *self, const char *dir, uint32_t flags, struct err *e);
    void (*close)(void *self);
    /* value->p NULL: no such key. */
    MUST enum st (*get)(void *self, struct bytes key, struct bytes *value, struct err *e);
    /* Calls visit for keys in [from, upto) in order (from.n 0: from the first; upto.p NULL: to the
     * last) until it returns false. visit
     * makes no call on the same self; what it is shown is borrowed until it returns. */
    MUST enum st (*scan)(void *self, struct bytes from, struct bytes upto,
                         bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg,
                         struct err *e);
    /* The last key < upto (upto.p NULL: of all), with its value; key->p NULL: none. */
    MUST enum st (*last)(void *self, struct bytes upto, struct bytes *key, struct bytes *value,
                         struct err *e);
    /* All changes in order, atomically; a later change of a key wins. */
    MUST enum st (*write)(void *self, const struct change *c, uint32_t n, bool sync, struct err *e);
};

extern const struct store *const store_list[];
extern const uint32_t store_count;
const struct store *store_find(const char *name);
extern const struct store store_rocksdb, store_memory;

#endif
