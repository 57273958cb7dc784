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
    uint32_t covered;        /* roles that have been given a value so far */
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

/* ---- the compiler's own parts ---- */

/* avro_roles.c: what names mean */
const struct avro_role *avro_role_at(const struct avro_compiler *c, const char *path);
/* Roles below path: [*first, *first + result) of `sorted`. */
uint32_t avro_roles_below(const struct avro_compiler *c, const char *path, uint32_t *first);
MUST enum st avro_compile_labels(struct avro_compiler *c, struct labels *l, struct decoded *out);
bool avro_is_number(const struct avro_node *n);           /* boolean to double */
bool avro_is_array_of_numbers(const struct avro_node *n); /* or of nulls and numbers */

/* avro_emit.c: the plan grows */
bool avro_grow(void *array, uint32_t n, uint32_t *room,
               size_t bytes); /* array: address of a pointer */
MUST enum st avro_no_memory(struct avro_compiler *c);
/* The fingerprint is of what is read and where it goes, in order; not of how operations are
 * written. */
void avro_note(struct avro_compiler *c, uint32_t what, uint32_t a, uint32_t b);
MUST enum st avro_put_name(struct avro_compiler *c, const char *text, uint32_t *at);
MUST enum st avro_put_op(struct avro_compiler *c, enum avro_code code, uint32_t a, uint32_t b);
struct avro_op *avro_last_op(struct avro_compiler *c);            /* until the next one */
MUST enum st avro_end_body(struct avro_compiler *c, uint32_t of); /* of the operation at `of` */
/* Steps into a field, and back. */
MUST enum st avro_enter(struct avro_compiler *c, const char *name, uint32_t *old,
                        uint32_t *old_name);
void avro_leave(struct avro_compiler *c, uint32_t old, uint32_t old_name);
/* open, then for every branch: open_branch, its operations, OP_JUMP to 0; close with the place
 * before open. */
MUST enum st avro_open_union(struct avro_compiler *c, struct avro_node *n, uint32_t *jump);
void avro_open_branch(struct avro_compiler *c, uint32_t jump);
void avro_close_union(struct avro_compiler *c, uint32_t from);
MUST enum st avro_put_skip(struct avro_compiler *c, struct avro_node *n);
/* An array or map; code OP_COUNT counts its items in passing. */
MUST enum st avro_put_skip_items(struct avro_compiler *c, struct avro_node *n, enum avro_code code,
                                 uint32_t slot);
void avro_check_plan(const struct avro_plan *p);       /* every place it leads to is in it */
MUST enum st avro_put_bodies(struct avro_compiler *c); /* that calls have asked for, at the end */

#endif
