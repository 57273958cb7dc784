/* letter.h: a dead letter, and the key and bytes under which it waits in the state store.
 *
 * Owner: the caller; what a decoded letter points at is borrowed from the bytes given. Thread: any.
 * Allocation: none. Errors: bytes that do not verify are ST_CORRUPT. */
#ifndef MILLRACE_LETTER_H
#define MILLRACE_LETTER_H

#include "statestore/slot.h"

/* A record that could not be decoded, kept until it has left in a transaction. */
struct dead_letter {
    uint32_t partition;
    struct position at; /* of the record itself */
    int64_t timestamp_ms;
    const char *reason; /* "truncated", ...: a word of deadletter.h */
    const char *detail; /* a sentence */
    struct bytes key, value;
};

enum { LETTER_KEY = 52 }; /* bytes of a key, its end included */

/* Key of partition p's letter at a position: byte order is the order of positions. */
void letter_key(char key[LETTER_KEY], uint32_t p, struct position at);
/* Bytes that encode() takes; it returns the same. */
size_t letter_bytes(const struct dead_letter *d);
size_t letter_encode(const struct dead_letter *d, uint8_t *out);
MUST enum st letter_decode(struct dead_letter *d, struct bytes key, struct bytes value,
                           struct err *e);

#endif
