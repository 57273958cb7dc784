/* store.h: the store table: a small ordered map of bytes on disk, written in atomic batches.
 *
 * Implementations: `rocksdb` (RocksDB, write-ahead log on, every batch synced) and `memory` (tests and
 * simulation). Keys are compared as unsigned bytes. One batch is all or nothing, also across a power cut.
 *
 * Life open -> get, scan, write* -> close; close is safe on zeroed memory and after a failed open.
 * Owner The caller owns `self` (self_bytes of zeroed memory). Bytes handed out are borrowed until the next
 *      call on the same self.
 * Thread One thread per self.
 * Errors ST_BAD_CONFIG: the folder cannot be used, with the reason (held by another process, read-only, no such
 *      folder); ST_FATAL: a read or write failed (disk full); the message names folder and cause. After
 *      a failed write the batch is not there. ST_CORRUPT: the store says its bytes do not verify. */
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

/* One change of a batch: value.p NULL deletes the key; `upto` given: every key in [key, upto) is deleted. */
struct change {
    struct bytes key, value, upto;
};

enum { STORE_READ_ONLY = 1 /* opens beside a running writer; sees what was there at open */ };

struct store {
    const char *name, *summary;
    size_t self_bytes;
    MUST enum st (*open)(void *self, const char *dir, uint32_t flags, struct err *e); /* makes the last folder */
    void (*close)(void *self);
    /* value->p NULL: no such key */
    MUST enum st (*get)(void *self, struct bytes key, struct bytes *value, struct err *e);
    /* Calls visit for keys in [from, upto) in order (upto.p NULL: to the end) until it returns false. */
    MUST enum st (*scan)(void *self, struct bytes from, struct bytes upto,
                         bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg, struct err *e);
    /* The last key < upto, with its value; key->p NULL: none */
    MUST enum st (*last)(void *self, struct bytes upto, struct bytes *key, struct bytes *value, struct err *e);
    /* All changes in order, atomically; sync: on disk before it returns. */
    MUST enum st (*write)(void *self, const struct change *c, uint32_t n, bool sync, struct err *e);
};

extern const struct store *const store_list[];
extern const uint32_t store_count;
const struct store *store_find(const char *name);
extern const struct store store_rocksdb, store_memory;

#endif
