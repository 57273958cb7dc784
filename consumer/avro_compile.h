/* avro_compile.h: from a schema and the job's input section to a plan.
 *
 * A job names fields by dotted paths ("a.b", "m.key" for a key of map m). Each name becomes a role;
 * then the schema is walked once in the order of its bytes, and every value on the way becomes an
 * operation: into the place of its role, or skipped. Without a list of features, every other number
 * is one, in schema order.
 *
 * Rows: a message is one row if the names are found in its record; else, if the schema is an array
 * of records, or a record with one such array in which they are found, every item is a row.
 *
 * Life open -> [measure -> widths] -> plan -> close, which is safe after any failure. Errors:
 * ST_BAD_CONFIG, with field and remedy. Thread: start. */
#ifndef MILLRACE_AVRO_COMPILE_H
#define MILLRACE_AVRO_COMPILE_H

#include "consumer/avro_plan.h"

enum { AVRO_PATH_MAX = 1024, AVRO_ROLES_MAX = 1 << 16, AVRO_OPS_MAX = 1 << 20 };

struct avro_role { /* a field that the job uses */
    char *path;
    enum avro_sink sink;
    uint32_t column, width; /* width 0: not known yet */
    uint32_t slot;          /* of a width that is not known: number in `count` */
    bool array;
};

struct avro_compiler {
    const struct input *in;
    bool need_label;
    struct avro_node *root, *row; /* row: record of one row */
    const struct avro_field
        *rows_field; /* the array of rows in a root record; NULL: root is the row, or the array */
    struct avro_role *role;
    uint32_t roles, roles_room;
    uint32_t others;  /* roles that are not features: the first ones */
    uint32_t *sorted; /* roles by path */
    uint32_t unknown; /* widths that only data can tell */
    uint32_t columns;
    bool sparse, labelled;
    uint64_t visits;

    /* while a plan is made */
    struct avro_plan *plan;
    bool measuring;
    uint32_t pass; /* plans made so far */
    char path[AVRO_PATH_MAX];
    uint32_t path_bytes, path_name; /* name: its place in plan->names */
    uint32_t names_bytes, ops_room, jumps_room, keys_room, numbers_room, classes_room, names_room;
    uint32_t classes;
    uint32_t barrier; /* operations before it are not merged with later ones: a jump leads here */
    uint32_t covered; /* roles that have been given a value so far */
    struct avro_node **body; /* records that calls skip */
    uint32_t bodies, bodies_room;
    uint64_t fingerprint;
    struct err *e;
};

MUST enum st avro_compile_open(struct avro_compiler *c, struct avro_node *root,
                               const struct input *in, bool need_label, struct err *e);
/* A plan that reads nothing, counts the arrays of unknown width (c->unknown of them) and checks the
 * form. */
MUST enum st avro_compile_measure(struct avro_compiler *c, struct avro_plan *plan, struct err *e);
MUST enum st avro_compile_widths(struct avro_compiler *c, const uint64_t *count, struct err *e);
MUST enum st avro_compile_plan(struct avro_compiler *c, struct avro_plan *plan, struct decoded *out,
                               struct err *e);
void avro_compile_close(struct avro_compiler *c);

/* For the two halves of the compiler. */
MUST enum st avro_compile_labels(struct avro_compiler *c, struct labels *l, struct decoded *out);
const struct avro_role *avro_role_at(const struct avro_compiler *c, const char *path);
/* Roles below path: [*first, *first + result) of `sorted`. */
uint32_t avro_roles_below(const struct avro_compiler *c, const char *path, uint32_t *first);
bool avro_is_number(const struct avro_node *n); /* boolean to double */
bool avro_grow(void *array, uint32_t n, uint32_t *room,
               size_t bytes); /* array: address of a pointer */

#endif
