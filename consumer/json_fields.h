/* json_fields.h: what the job's names mean in objects: which field of which object is the label, a
 * weight, columns.
 *
 * A node is a field of an object, a leaf is a node that the job uses. "a.b" is field b of the
 * object in field a, or a field of that very name. Where the job lists no features, they are the
 * numbers, booleans and arrays of them in the sample, in the order of their names (f2 before f10):
 * an object has no order that a later record would keep.
 * Fields of the sample that the job does not use are nodes too, so that they are known at sight.
 *
 * Owner: json_fields_open takes memory at start, json_fields_close frees it, also after a failed
 * open or on zeroed memory. Thread: one. */
#ifndef MILLRACE_JSON_FIELDS_H
#define MILLRACE_JSON_FIELDS_H

#include "config/job.h"
#include "consumer/json_text.h"

enum json_role { /* part of fingerprints: append only */
                 JSON_SKIP,
                 JSON_INNER, /* an object with used fields in it */
                 JSON_COLUMN,
                 JSON_COLUMNS, /* an array of `width` */
                 JSON_LABEL,
                 JSON_WEIGHT,
                 JSON_KEY,
                 JSON_TIME,
                 JSON_CATEGORY
};

struct json_leaf {
    uint32_t role, column, width; /* column of a category: its number in input.one_hot */
    uint32_t path;                /* in `text` */
    uint64_t seen;                /* number of the last row that had it */
};

struct json_node {
    uint64_t head, mask; /* the first 8 bytes of `"name"`, as far as it goes */
    uint32_t quoted, n;  /* "name" with its quotes, in `text` */
    uint32_t parent, role, leaf;
    uint32_t first, next; /* field that comes first in it, and after it, as far as is known: the
                             last time; 0: unknown */
    uint32_t found;       /* what the sample has there */
};

struct json_fields {
    struct json_node *node; /* node[0]: the row */
    uint32_t nodes, nodes_room;
    uint32_t *slot, slots; /* by parent and name: open addressing, 0: free */
    struct json_leaf *leaf;
    uint32_t leaves, leaves_room;
    uint32_t features, columns; /* leaves from `features` on are, by column */
    uint32_t categories;
    bool labelled;
    char *text;
    uint32_t text_n, text_room;
};

/* As codec.open. */
MUST enum st json_fields_open(struct json_fields *f, const struct input *in, bool need_label,
                              struct bytes sample, struct err *e);
void json_fields_close(struct json_fields *f);

/* The field of that name in `parent`; 0: none that is known. */
uint32_t json_fields_find(const struct json_fields *f, uint32_t parent, const uint8_t *name,
                          size_t n);

#endif
