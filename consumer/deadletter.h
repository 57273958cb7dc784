/* deadletter.h: records that do not decode, from the block that met them to the dead-letter topic.
 *
 * A letter is kept beside its block until the block is learned, then leaves with the next
 * checkpoint into the state store, and from there with the next transaction: none is lost, none is
 * sent twice. Key and value are the original's; a value beyond LETTER_VALUE_MAX is cut, with its
 * length in a header, since the broker would refuse it.
 *
 * Owner: letters_init takes the memory; untouched pages cost nothing. Thread: one. */
#ifndef MILLRACE_DEADLETTER_H
#define MILLRACE_DEADLETTER_H

#include "consumer/broker.h"
#include "consumer/worker.h"

enum {
    LETTER_VALUE_MAX = 1000000, /* fits a broker's default message.max.bytes with its headers */
    LETTERS_BLOCK_BYTES =
        512 << 10, /* a block ends when its letters take this much: a function of records */
    LETTERS_BYTES = 2 * LETTERS_BLOCK_BYTES + 2 * LETTER_VALUE_MAX
};

MUST enum st letters_init(struct letters *l, struct err *e);
void letters_fini(struct letters *l);
void letters_add(struct letters *l, const struct record *r, struct position at, enum bad reason,
                 const char *detail);
void letters_drop_block(struct letters *l); /* those of the block that was not learned */
void letters_clear(struct letters *l);      /* all but the block's own: the checkpoint has them */
/* Calls take for each letter that belongs to learned blocks, in order. */
MUST enum st letters_each(const struct letters *l,
                          enum st (*take)(void *arg, const struct dead_letter *d, struct err *e),
                          void *arg, struct err *e);

/* Sends one letter in the open transaction of producer p, to partition d->partition of topic
 * (index). */
MUST enum st letter_send(const struct broker *br, void *producer, uint16_t topic,
                         const char *source, const struct dead_letter *d, struct err *e);

#endif
