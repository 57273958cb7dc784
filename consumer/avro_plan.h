/* avro_plan.h: an Avro schema compiled for one job: a flat list of operations that runs straight
 * from the bytes of a message into the rows of a block.
 *
 * Each operation reads one value and puts it where the job wants it, or skips it. Every read is
 * checked against the end of the message; counts and lengths are checked before anything is done
 * that many times, types of no bytes are never looped over, and calls (recursive types) have a
 * depth: so the work is bounded by the length of the message.
 *
 * Life avro_compile -> run* -> avro_plan_free, safe on zeroed memory. Nothing is allocated in run.
 * Thread: one. */
#ifndef MILLRACE_AVRO_PLAN_H
#define MILLRACE_AVRO_PLAN_H

#include "consumer/avro_tree.h"
#include "consumer/codec.h"
#include "consumer/labels.h"

enum avro_code {
    /* control */
    OP_END,   /* of a body */
    OP_UNION, /* a branches, b first of their places in `jump` */
    OP_JUMP,  /* to a */
    OP_CALL,  /* the body at a, of a recursive or repeated type */
    OP_FAIL,  /* a: reason; a branch that cannot give what the job needs */
    OP_ROWS,  /* an array whose items are rows; the body of one follows, c is behind it */
    /* into columns */
    OP_FLOATS,   /* b floats to columns a, a + 1, ... */
    OP_DOUBLES,  /* b doubles */
    OP_COLUMN,   /* one value of `kind` to column a; b: symbols of an enum */
    OP_RUN,      /* fields of one `form` to columns a, a + 1, ...; jump[b] is their number, behind
                    it are the places of a body for each; c as for ROWS */
    OP_CONSTANT, /* number[b], to column a or another sink: the default of a null */
    OP_MISSING,  /* columns a, a + 1, ..., b of them, have no value */
    OP_PACKED,   /* bytes that are b little-endian floats */
    OP_FLOAT_ARRAY, /* array of b floats */
    OP_ARRAY,       /* array of b values to columns a, a + 1, ...: body and c as for ROWS; `form`
                       is theirs */
    OP_MAP,         /* the keys [a, a + b) of `key`; body: of other keys, and c as for ROWS; kind 1:
                       keys may be absent */
    OP_INDICES,     /* array of `kind`: sparse columns */
    OP_VALUES,      /* array of `kind`: their values */
    /* elsewhere: `sink` says where */
    OP_NUMBER,     /* of `kind`; b: symbols of an enum, or 1: microseconds */
    OP_TEXT,       /* string or bytes; fixed: b bytes */
    OP_ENUM_LABEL, /* b symbols, whose classes stand from a on in class_of */
    /* nowhere */
    OP_SKIP, /* a bytes */
    OP_SKIP_VARINT,
    OP_SKIP_TEXT,
    OP_SKIP_ITEMS, /* of an array or map: a bytes each (0: none at all); kind 1: body and c as for
                      ROWS; 2: and no jumps */
    OP_COUNT       /* as SKIP_ITEMS; first notes the number of items in count[b] */
};

#define AVRO_NOT_COUNTED UINT64_MAX

enum avro_sink { /* part of fingerprints: append only */
                 SINK_COLUMN,
                 SINK_LABEL,
                 SINK_WEIGHT,
                 SINK_KEY,
                 SINK_TIME,
                 SINK_INDICES,
                 SINK_VALUES
};

/* A number as its bytes stand in a message: of this kind, behind the number of a union's branch, or
 * not. Runs of one form are read together; a value that is not as it should be, or null, is left to
 * the operations of its body. */
enum avro_form { /* kinds: AVRO_K_INT (and long), AVRO_K_LONG, AVRO_K_FLOAT, AVRO_K_DOUBLE */
                 FORM_NONE,
                 FORM_KIND = 0x0f,
                 FORM_FIRST = 0x10, /* branch 0 of two, the other is null */
                 FORM_SECOND = 0x20 /* branch 1 of two */
};

struct avro_op {
    uint8_t code, kind, sink, form;
    uint32_t a, b, c;
    uint32_t name; /* of the field, in `names` */
};

struct avro_key {         /* a declared key of a map */
    uint32_t name, bytes; /* in `names` */
    uint32_t body;        /* operations that read its value */
    uint64_t seen;        /* serial number of the map in which it was last */
};

struct avro_column { /* columns that come from one field */
    uint32_t name;   /* in `names` */
    uint32_t first, width;
    bool array;
};

struct avro_plan {
    struct avro_op *op;
    uint32_t ops;
    bool rows; /* an array of rows; else a message is one row */
    bool sparse, labelled;
    bool missing;   /* NaN in a column is a value that is not there, else it is bad */
    uint32_t width; /* columns in all */
    uint32_t *jump, jumps;
    struct avro_key *key;
    uint32_t keys;
    uint64_t serial; /* of the last map */
    int16_t *class_of;
    double *number;
    uint32_t numbers;
    struct avro_column *column; /* by first column */
    uint32_t columns;           /* entries of it */
    uint32_t counts;            /* arrays that a measuring plan counts */
    char *names;
    struct labels labels;
};

struct avro_message {
    struct bytes body;
    int64_t offset, timestamp_ms;
    uint64_t key; /* hash of the record key */
};

/* Appends the rows of one message, or none and the reason, with a sentence in detail[DETAIL_BYTES]
 * (NULL: no sentence). */
enum bad avro_plan_run(struct avro_plan *p, const struct avro_message *m, struct block *b,
                       char *detail);

/* Runs a measuring plan over a value: has it the form of the schema? Items of each counted array of
 * the first row go into count[p->counts], unless that is NULL. */
enum bad avro_plan_measure(struct avro_plan *p, struct bytes body, uint64_t *count);

/* "price", "pixels[12]", or the number of a sparse column, into text[n]; returns text. */
const char *avro_plan_column_name(const struct avro_plan *p, uint32_t column, char *text, size_t n);

void avro_plan_free(struct avro_plan *p);

#endif
