/* codec.h: from the bytes of a message to rows of a block.
 *
 * A codec is opened once against the job's input section: it resolves names to columns and compiles
 * what it needs (Avro: the writer schema becomes a flat plan that runs bounds-checked straight from
 * the message into the block, without allocation). What does not decode is outside data: a reason,
 * never a crash, and the block is as before.
 *
 * Owner: the caller owns `self` (self_bytes, zeroed); close is safe after a failed open. Thread:
 * one. */
#ifndef MILLRACE_CODEC_H
#define MILLRACE_CODEC_H

#include "config/job.h"
#include "consumer/block.h"
#include "statestore/store.h"

enum bad { /* reasons, as they stand in metrics and dead-letter headers (bad_name); append only */
           BAD_NONE,
           BAD_FULL,      /* not bad: the block has no room; learn it, clear it, decode this message
                             again; it is never the answer of an empty block */
           BAD_TRUNCATED, /* the message ends inside a value */
           BAD_TRAILING,  /* bytes are left after the last value */
           BAD_FRAMING,   /* the schema-id prefix is not the one expected */
           BAD_VALUE,     /* a number that is none, an enum or union index that does not exist */
           BAD_NONFINITE, /* NaN or infinite input */
           BAD_LABEL,     /* label missing, null, or not one of the classes */
           BAD_WEIGHT,    /* negative weight */
           BAD_WIDTH,     /* another number of features than the job's */
           BAD_INDEX,     /* sparse index out of range, repeated or not ascending */
           BAD_TOO_LONG,  /* a length or count beyond what the message can hold or the limits
                           * allow */
           BAD_TOO_MANY,  /* more rows, or entries, than a block holds */
           BAD_MISSING,   /* a null where a number is needed */
           BAD_REASONS
};
const char *bad_name(enum bad b);

enum { DETAIL_BYTES = 160 }; /* room of a `detail` */

struct decoded { /* what the codec found out about itself at open */
    struct block_shape shape;
    uint32_t columns;     /* = shape.d */
    uint64_t fingerprint; /* of all that shapes decoded rows: types and order of the fields,
                             mapping, classes, widths */
    char class_name[CLASS_NAMES_MAX][CLASS_NAME_BYTES]; /* [classes]: given, or an enum's symbols;
                                                           classes 0: numeric labels */
    uint32_t classes;
};

struct codec {
    const char *name, *summary;
    size_t self_bytes;
    /* a sample settles more than widths (framing): give one wherever the topic has a record */
    bool samples;
    /* sample: value of a first record of the topic or {0}: widths that the job leaves open are
     * taken from it (ST_AGAIN: a sample is needed and none was given). need_label: the algorithm
     * cannot do without; else a label that the records do not have is no error, and rows have none
     * (shape.ny 0). in->missing: a feature without a value is NaN, not bad. The shape's keyed and
     * timed say what the job names; a caller may set them before block_init where an algorithm
     * wants the record's key or timestamp. */
    MUST enum st (*open)(void *self, const struct input *in, bool need_label, struct bytes sample,
                         struct decoded *out, struct err *e);
    void (*close)(void *self);
    /* Appends the rows of one message, or none and the reason: then detail[DETAIL_BYTES] has a
     * sentence with field and value. key: the record key. Time is bounded by the length of the
     * value; nothing is allocated. */
    enum bad (*decode)(void *self, struct bytes key, struct bytes value, int64_t offset,
                       int64_t timestamp_ms, struct block *b, char *detail);
    /* Name of column c into text[n] ("pixels[12]"); returns text. */
    const char *(*column_name)(void *self, uint32_t c, char *text, size_t n);
    /* From now on numeric labels must be 0 .. classes-1, else BAD_LABEL; for algorithms that index
     * by the label. 0: any. */
    void (*label_limit)(void *self, uint32_t classes);
};

/* For details: up to 32 bytes of a message, with what cannot be printed as dots. */
const char *bytes_shown(const uint8_t *p, size_t n, char text[36]);

extern const struct codec codec_avro, codec_csv, codec_f32, codec_json, codec_libsvm;
const struct codec *codec_find(uint32_t format); /* by enum format */

#endif
