/* slot_reader.h: the newest complete slot of one partition of a parameter topic (protocol rule R4).
 *
 * The high watermark is taken first with a read_uncommitted view, then the partition is read
 * read_committed until an end event stands at or past it: so no slot that an earlier owner can
 * still commit is missed. Memory: one slot.
 *
 * Owner: image_fini frees what an image holds. Thread: one. */
#ifndef MILLRACE_SLOT_READER_H
#define MILLRACE_SLOT_READER_H

#include "algos/tensors.h"
#include "consumer/broker.h"
#include "statestore/slot.h"

struct image { /* a state's bytes with the manifest that closes them */
    struct manifest m;
    uint8_t *p;             /* [chunks_max << CHUNK_SHIFT]: chunk j at j << CHUNK_SHIFT */
    struct slot_chunk *got; /* [chunks_max]: last chunk read, per j */
    uint32_t chunks_max;
    uint64_t bytes_max; /* refuse states beyond this */
    uint32_t run;       /* that the last reset began; older slots are void; 0: there was none */
    bool closed;        /* m is a manifest that was read, and not removed since */
};

struct slot_reader {
    const struct broker *br;
    void *b, *consumer;
    const char *topic;
    struct record *rec; /* room for a poll */
    enum st (*meanwhile)(
        void *arg); /* called between polls; anything but ST_OK ends the reading; NULL: nothing */
    void *arg;
};

/* Opens a consumer on `topic` in r; slot_reader_close ends it. */
MUST enum st slot_reader_open(struct slot_reader *r, const struct broker *br, void *b,
                              const char *topic, struct err *e);
void slot_reader_close(struct slot_reader *r);

/* The newer of the two places where a slot lies. *found false: no slot there; im->run says in which
 * run one begins. ST_CORRUPT:
 * incomplete at the watermark, with the chunk named. ST_AGAIN: no progress for a minute and more.
 */
MUST enum st slot_read(struct slot_reader *r, uint32_t partition, struct image *im, bool *found,
                       struct err *e);

/* Both places, by turn; im[i].closed: there is one. The run stands in im[0]. */
MUST enum st slot_read_turns(struct slot_reader *r, uint32_t partition, struct image im[2],
                             struct err *e);

/* One record of a parameter topic's partition into the image of its turn; others are passed over.
 * *manifest: image *turn has been closed, or its slot removed. Errors leave that image useless
 * until its next slot is read whole. */
MUST enum st slot_take(struct image im[2], uint32_t partition, const struct record *r,
                       uint32_t *turn, bool *manifest, struct err *e);
/* A closed image: complete iff for every j the last chunk read has the manifest's seq, length and
 * CRC; ST_CORRUPT names the first that has not. */
MUST enum st image_complete(struct image *im, struct err *e);
MUST enum st image_init(struct image *im, struct err *e); /* takes the room for a manifest */

/* The image's bytes into an allocated state of the same layout, of algorithm a with x->err.
 * ST_BAD_CONFIG names the tensor that differs; ST_CORRUPT: it is none that a can go on from. */
MUST enum st image_state(const struct image *im, const struct algo *a, const struct ctx *x,
                         struct tensors *state);

/* Room for so many chunks; zeroed. */
MUST enum st image_grow(struct image *im, uint32_t chunks, struct err *e);
/* Room for the state that im->m describes. ST_BAD_CONFIG: it lies in chunks of another size. */
MUST enum st image_ready(struct image *im, struct err *e);
void image_fini(struct image *im);

/* Reads one partition of any topic to its end, as of now, in order, and hands every data record on.
 * R4 applies, and the errors of slot_read. */
MUST enum st topic_read(struct slot_reader *r, uint32_t partition,
                        enum st (*take)(void *arg, const struct record *rec, struct err *e),
                        void *arg, struct err *e);

#endif
