/* Second half of the compiler: the schema is walked in the order of its bytes and becomes
 * operations. */
#include "consumer/avro_compile.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

static enum st put_value(struct avro_compiler *c, struct avro_node *n, const struct avro_field *f);
static enum st put_skip(struct avro_compiler *c, struct avro_node *n);

bool avro_grow(void *array, uint32_t n, uint32_t *room, size_t bytes)
{
    void *old, *new;

    if (n < *room)
        return true;
    memcpy(&old, array, sizeof old);
    new = realloc(old, (*room ? *room * 2 : 64) * bytes);
    if (!new)
        return false;
    *room = *room ? *room * 2 : 64;
    memcpy(array, &new, sizeof new);
    return true;
}

static enum st no_memory(struct avro_compiler *c)
{
    return fail(c->e, ST_FATAL, "no memory for the plan of the schema");
}

/* ---- the plan grows ---- */

/* The fingerprint is of what is read and where it goes, in order; not of how operations are
 * written. */
static void note(struct avro_compiler *c, uint32_t what, uint32_t a, uint32_t b)
{
    uint32_t word[3] = {what, a, b};

    c->fingerprint = hash64(word, sizeof word, c->fingerprint);
}

/* Text into plan->names; *at is its place. */
static enum st put_name(struct avro_compiler *c, const char *text, uint32_t *at)
{
    size_t n = strlen(text) + 1;

    while (c->names_bytes + n > c->names_room)
        if (!avro_grow(&c->plan->names, c->names_room, &c->names_room, 1))
            return no_memory(c);
    *at = c->names_bytes;
    memcpy(c->plan->names + *at, text, n);
    c->names_bytes += (uint32_t)n;
    return ST_OK;
}

static enum st put_op(struct avro_compiler *c, enum avro_code code, uint32_t a, uint32_t b)
{
    struct avro_plan *p = c->plan;

    if (p->ops == AVRO_OPS_MAX)
        return fail(c->e, ST_BAD_CONFIG, "schema: too large, more than %d steps", AVRO_OPS_MAX);
    if (!avro_grow(&p->op, p->ops, &c->ops_room, sizeof *p->op))
        return no_memory(c);
    p->op[p->ops++] = (struct avro_op){.code = (uint8_t)code, .a = a, .b = b, .name = c->path_name};
    return ST_OK;
}

static struct avro_op *last_op(struct avro_compiler *c)
{
    CHECK(c->plan->ops > 0);
    return &c->plan->op[c->plan->ops - 1];
}

static void start_body(struct avro_compiler *c)
{
    c->barrier = c->plan->ops;
}

/* Ends the body of the operation at `of`. */
static enum st end_body(struct avro_compiler *c, uint32_t of)
{
    TRY(put_op(c, OP_END, 0, 0));
    c->plan->op[of].c = c->plan->ops;
    c->barrier = c->plan->ops;
    return ST_OK;
}

/* Steps into a field; back with leave(). */
static enum st enter(struct avro_compiler *c, const char *name, uint32_t *old, uint32_t *old_name)
{
    size_t n = strlen(name);

    *old = c->path_bytes;
    *old_name = c->path_name;
    if (c->path_bytes + n + 2 > AVRO_PATH_MAX)
        return fail(c->e, ST_BAD_CONFIG, "schema: the name of a field in '%.200s' is too long",
                    c->path);
    if (c->path_bytes)
        c->path[c->path_bytes++] = '.';
    memcpy(c->path + c->path_bytes, name, n + 1);
    c->path_bytes += (uint32_t)n;
    return put_name(c, c->path, &c->path_name);
}

static void leave(struct avro_compiler *c, uint32_t old, uint32_t old_name)
{
    c->path_bytes = old;
    c->path[old] = 0;
    c->path_name = old_name;
}

/* ---- skipping ---- */

static int64_t size_of(struct avro_node *n)
{
    int64_t sum = 0;

    if (n->size != AVRO_SIZE_UNKNOWN)
        return n->size;
    n->size = AVRO_SIZE_VARIES; /* of a cycle, too */
    switch (n->kind) {
    case AVRO_K_NULL:
        return n->size = 0;
    case AVRO_K_BOOLEAN:
        return n->size = 1;
    case AVRO_K_FLOAT:
        return n->size = 4;
    case AVRO_K_DOUBLE:
        return n->size = 8;
    case AVRO_K_FIXED:
        return n->size = n->bytes;
    case AVRO_K_RECORD:
        for (uint32_t i = 0; i < n->n; i++) {
            int64_t bytes = size_of(n->field[i].type);

            if (bytes < 0 || sum > RECORD_BYTES_MAX)
                return n->size;
            sum += bytes;
        }
        return n->size = sum > RECORD_BYTES_MAX ? AVRO_SIZE_VARIES : sum;
    default:
        return n->size;
    }
}

static enum st put_skip_bytes(struct avro_compiler *c, uint32_t bytes)
{
    struct avro_plan *p = c->plan;

    if (!bytes)
        return ST_OK;
    if (p->ops > c->barrier && last_op(c)->code == OP_SKIP &&
        last_op(c)->a <= RECORD_BYTES_MAX - bytes) {
        last_op(c)->a += bytes;
        return ST_OK;
    }
    return put_op(c, OP_SKIP, bytes, 0);
}

/* An array or map; code OP_COUNT counts its items in passing. */
static enum st put_skip_items(struct avro_compiler *c, struct avro_node *n, enum avro_code code,
                              uint32_t slot)
{
    struct avro_node *item = n->field[0].type;
    int64_t bytes = n->kind == AVRO_K_MAP ? AVRO_SIZE_VARIES : size_of(item);
    uint32_t at = c->plan->ops;

    TRY(put_op(c, code, bytes < 0 ? 0 : (uint32_t)bytes, slot));
    if (bytes >= 0)
        return ST_OK;
    c->plan->op[at].kind = 1;
    start_body(c);
    if (n->kind == AVRO_K_MAP)
        TRY(put_op(c, OP_SKIP_TEXT, 0, 0));
    TRY(put_skip(c, item));
    return end_body(c, at);
}

/* A record is written out where it is skipped first, and called later: plans stay as small as the
 * schema. */
static enum st put_skip_record(struct avro_compiler *c, struct avro_node *n)
{
    if (n->pass != c->pass) {
        n->pass = c->pass;
        n->skips = n->call = 0;
    }
    if (n->skips++) {
        if (!n->call) {
            if (!avro_grow(&c->body, c->bodies, &c->bodies_room, sizeof(struct avro_node *)))
                return no_memory(c);
            c->body[c->bodies++] = n;
            n->call = c->bodies;
        }
        note(c, AVRO_K_RECORD, n->call, 0);
        return put_op(c, OP_CALL, n->call, 0);
    }
    for (uint32_t i = 0; i < n->n; i++)
        TRY(put_skip(c, n->field[i].type));
    return ST_OK;
}

static enum st put_skip_union(struct avro_compiler *c, struct avro_node *n);

static enum st put_skip(struct avro_compiler *c, struct avro_node *n)
{
    int64_t bytes = size_of(n);

    note(c, n->kind, (uint32_t)bytes, n->n);
    if (bytes >= 0)
        return put_skip_bytes(c, (uint32_t)bytes);
    switch (n->kind) {
    case AVRO_K_INT:
    case AVRO_K_LONG:
    case AVRO_K_ENUM:
        return put_op(c, OP_SKIP_VARINT, 0, 0);
    case AVRO_K_STRING:
    case AVRO_K_BYTES:
        return put_op(c, OP_SKIP_TEXT, 0, 0);
    case AVRO_K_ARRAY:
    case AVRO_K_MAP:
        return put_skip_items(c, n, OP_SKIP_ITEMS, 0);
    case AVRO_K_UNION:
        return put_skip_union(c, n);
    default:
        CHECK(n->kind == AVRO_K_RECORD);
        return put_skip_record(c, n);
    }
}

/* Bodies that calls have asked for; a body may ask for more. */
static enum st put_bodies(struct avro_compiler *c)
{
    uint32_t *at = NULL, room = 0;
    enum st st = ST_OK;

    for (uint32_t i = 0; i < c->bodies && st == ST_OK; i++) {
        struct avro_node *n = c->body[i];

        if (!avro_grow(&at, i, &room, sizeof *at)) {
            st = no_memory(c);
            break;
        }
        at[i] = c->plan->ops;
        start_body(c);
        st = put_name(c, n->name, &c->path_name);
        for (uint32_t k = 0; k < n->n && st == ST_OK; k++)
            st = put_skip(c, n->field[k].type);
        if (st == ST_OK)
            st = put_op(c, OP_END, 0, 0);
    }
    for (uint32_t i = 0; i < c->plan->ops && st == ST_OK; i++)
        if (c->plan->op[i].code == OP_CALL)
            c->plan->op[i].a = at[c->plan->op[i].a - 1];
    free(at);
    return st;
}

/* ---- unions ---- */

static enum st open_union(struct avro_compiler *c, struct avro_node *n, uint32_t *jump)
{
    struct avro_plan *p = c->plan;

    *jump = p->jumps;
    TRY(put_op(c, OP_UNION, n->n, *jump));
    for (uint32_t i = 0; i < n->n; i++, p->jumps++)
        if (!avro_grow(&p->jump, p->jumps, &c->jumps_room, sizeof *p->jump))
            return no_memory(c);
    return ST_OK;
}

static void open_branch(struct avro_compiler *c, uint32_t jump)
{
    c->plan->jump[jump] = c->plan->ops;
    start_body(c);
}

/* The branches, which lie in [from, ops) and end in jumps to 0, lead on here. */
static void close_union(struct avro_compiler *c, uint32_t from)
{
    for (uint32_t i = from; i < c->plan->ops; i++)
        if (c->plan->op[i].code == OP_JUMP && !c->plan->op[i].a)
            c->plan->op[i].a = c->plan->ops;
    start_body(c);
}

static enum st put_skip_union(struct avro_compiler *c, struct avro_node *n)
{
    uint32_t from = c->plan->ops, jump;

    TRY(open_union(c, n, &jump));
    for (uint32_t i = 0; i < n->n; i++) {
        open_branch(c, jump + i);
        TRY(put_skip(c, n->field[i].type));
        TRY(put_op(c, OP_JUMP, 0, 0));
    }
    close_union(c, from);
    return ST_OK;
}

/* A branch has to give all roles that lie at or below the union; else it is a reason to refuse the
 * message. */
static enum st put_union(struct avro_compiler *c, struct avro_node *n, const struct avro_field *f)
{
    const struct avro_role *role = avro_role_at(c, c->path);
    uint32_t from = c->plan->ops, before = c->covered, first, jump;
    uint32_t need = role ? 1 : avro_roles_below(c, c->path, &first);

    note(c, AVRO_K_UNION, n->n, need);
    TRY(open_union(c, n, &jump));
    for (uint32_t i = 0; i < n->n; i++) {
        uint32_t start = c->plan->ops;

        open_branch(c, jump + i);
        c->covered = before;
        TRY(put_value(c, n->field[i].type, f));
        if (!c->measuring && c->covered - before < need) {
            c->plan->ops = start; /* what it has asked for meanwhile (jumps, bodies) does no harm */
            start_body(c);
            TRY(put_op(c, OP_FAIL, BAD_MISSING, 0));
        }
        TRY(put_op(c, OP_JUMP, 0, 0));
    }
    c->covered = before + need;
    close_union(c, from);
    return ST_OK;
}

/* ---- roles ---- */

static enum st put_fail(struct avro_compiler *c, enum bad why)
{
    c->covered++;
    note(c, 100, why, 0);
    return put_op(c, OP_FAIL, why, 0);
}

static enum st put_null(struct avro_compiler *c, const struct avro_role *role,
                        const struct avro_field *f)
{
    struct avro_plan *p = c->plan;

    if (role->sink == SINK_LABEL)
        return put_fail(c, BAD_LABEL);
    if (!f || !f->has_default || role->array ||
        (role->sink != SINK_COLUMN && role->sink != SINK_WEIGHT && role->sink != SINK_TIME))
        return put_fail(c, BAD_MISSING);
    if (!avro_grow(&p->number, p->numbers, &c->numbers_room, sizeof *p->number))
        return no_memory(c);
    p->number[p->numbers] = f->value;
    c->fingerprint = hash64(&f->value, sizeof f->value, c->fingerprint);
    TRY(put_op(c, OP_CONSTANT, role->column, p->numbers++));
    last_op(c)->sink = (uint8_t)role->sink;
    c->covered++;
    return ST_OK;
}

/* One number to a column; floats and doubles that follow each other are read at once. */
static enum st put_column(struct avro_compiler *c, struct avro_node *n, uint32_t column)
{
    enum avro_code code = n->kind == AVRO_K_FLOAT    ? OP_FLOATS
                          : n->kind == AVRO_K_DOUBLE ? OP_DOUBLES
                                                     : OP_COLUMN;
    struct avro_op *last = c->plan->ops > c->barrier ? last_op(c) : NULL;

    if (last && code != OP_COLUMN && last->code == code && last->a + last->b == column) {
        last->b++;
        return ST_OK;
    }
    TRY(put_op(c, code, column, code == OP_COLUMN ? n->n : 1));
    last_op(c)->kind = (uint8_t)n->kind;
    return ST_OK;
}

/* A value of an array; its column is that of the role plus the number of the item. */
static enum st put_item(struct avro_compiler *c, struct avro_node *n, uint32_t column)
{
    uint32_t from = c->plan->ops, jump;

    note(c, n->kind, n->n, 0);
    if (avro_is_number(n)) { /* not FLOATS, which do not count items */
        TRY(put_op(c, OP_COLUMN, column, n->n));
        last_op(c)->kind = (uint8_t)n->kind;
        return ST_OK;
    }
    if (n->kind != AVRO_K_UNION)
        return put_op(c, OP_FAIL, n->kind == AVRO_K_NULL ? BAD_MISSING : BAD_VALUE, 0);
    TRY(open_union(c, n, &jump));
    for (uint32_t i = 0; i < n->n; i++) {
        open_branch(c, jump + i);
        TRY(put_item(c, n->field[i].type, column));
        TRY(put_op(c, OP_JUMP, 0, 0));
    }
    close_union(c, from);
    return ST_OK;
}

static enum st put_array(struct avro_compiler *c, struct avro_node *n, const struct avro_role *role)
{
    struct avro_node *item = n->field[0].type;
    uint32_t at = c->plan->ops;

    note(c, item->kind, 0, 0);
    if (role->sink != SINK_COLUMN) {
        bool whole = item->kind == AVRO_K_INT || item->kind == AVRO_K_LONG;

        if (role->sink == SINK_INDICES ? !whole : !avro_is_number(item))
            return put_op(c, OP_FAIL, BAD_VALUE, 0);
        TRY(put_op(c, role->sink == SINK_INDICES ? OP_INDICES : OP_VALUES, 0, item->n));
        last_op(c)->kind = (uint8_t)item->kind;
        return ST_OK;
    }
    if (item->kind == AVRO_K_FLOAT)
        return put_op(c, OP_FLOAT_ARRAY, role->column, role->width);
    TRY(put_op(c, OP_ARRAY, role->column, role->width));
    start_body(c);
    TRY(put_item(c, item, role->column));
    return end_body(c, at);
}

static enum st put_wide(struct avro_compiler *c, struct avro_node *n, const struct avro_role *role)
{
    switch (n->kind) {
    case AVRO_K_ARRAY:
        return put_array(c, n, role);
    case AVRO_K_BYTES:
        return put_op(c, OP_PACKED, role->column, role->width);
    default:
        CHECK(n->kind == AVRO_K_FIXED);
        if (n->bytes != (int64_t)role->width * 4)
            return put_op(c, OP_FAIL, BAD_WIDTH, 0);
        return put_op(c, OP_FLOATS, role->column, role->width);
    }
}

/* Classes of an enum's symbols; one that is no class of the job's makes its rows bad. */
static enum st put_enum_label(struct avro_compiler *c, struct avro_node *n)
{
    struct avro_plan *p = c->plan;
    uint32_t first = c->classes;

    for (uint32_t i = 0; i < n->n; i++) {
        const uint8_t *symbol = (const uint8_t *)n->symbol[i];
        float y;

        if (!avro_grow(&p->class_of, c->classes, &c->classes_room, sizeof *p->class_of))
            return no_memory(c);
        p->class_of[c->classes] = -1;
        if (labels_text(&p->labels, symbol, strlen(n->symbol[i]), &y))
            p->class_of[c->classes] = (int16_t)y;
        note(c, AVRO_K_ENUM, i, (uint32_t)(int32_t)p->class_of[c->classes++]);
    }
    TRY(put_op(c, OP_ENUM_LABEL, first, n->n));
    last_op(c)->kind = AVRO_K_ENUM;
    return ST_OK;
}

static enum st put_elsewhere(struct avro_compiler *c, struct avro_node *n,
                             const struct avro_role *role)
{
    bool text = n->kind == AVRO_K_STRING || n->kind == AVRO_K_BYTES || n->kind == AVRO_K_FIXED;
    uint32_t b = n->kind == AVRO_K_FIXED ? (uint32_t)n->bytes : n->micros ? 1 : n->n;

    if (n->kind == AVRO_K_ENUM && role->sink == SINK_LABEL)
        return put_enum_label(c, n);
    if (text && role->sink != SINK_LABEL && role->sink != SINK_KEY)
        return put_op(c, OP_FAIL, BAD_VALUE, 0);
    TRY(put_op(c, text ? OP_TEXT : OP_NUMBER, 0, b));
    last_op(c)->kind = (uint8_t)n->kind;
    last_op(c)->sink = (uint8_t)role->sink;
    return ST_OK;
}

static enum st put_role(struct avro_compiler *c, struct avro_node *n, const struct avro_role *role,
                        const struct avro_field *f)
{
    bool wide = n->kind == AVRO_K_ARRAY || n->kind == AVRO_K_BYTES || n->kind == AVRO_K_FIXED;
    bool scalar = avro_is_number(n) || n->kind == AVRO_K_ENUM;

    note(c, n->kind, role->sink, role->column);
    note(c, n->n, role->width, n->micros);
    if (n->kind == AVRO_K_NULL)
        return put_null(c, role, f);
    if (n->kind == AVRO_K_RECORD || n->kind == AVRO_K_MAP)
        return put_fail(c, BAD_VALUE);
    c->covered++;
    switch (role->sink) {
    case SINK_COLUMN:
        if (role->array ? !wide : !scalar)
            return put_op(c, OP_FAIL, BAD_VALUE, 0);
        return role->array ? put_wide(c, n, role) : put_column(c, n, role->column);
    case SINK_INDICES:
    case SINK_VALUES:
        return n->kind == AVRO_K_ARRAY ? put_array(c, n, role) : put_op(c, OP_FAIL, BAD_VALUE, 0);
    default:
        return n->kind == AVRO_K_ARRAY ? put_op(c, OP_FAIL, BAD_VALUE, 0)
                                       : put_elsewhere(c, n, role);
    }
}

static enum st put_role_or_count(struct avro_compiler *c, struct avro_node *n,
                                 const struct avro_role *role, const struct avro_field *f)
{
    if (!c->measuring)
        return put_role(c, n, role, f);
    if (!role->width && n->kind == AVRO_K_ARRAY)
        return put_skip_items(c, n, OP_COUNT, role->slot);
    return put_skip(c, n);
}

/* ---- the walk ---- */

static enum st put_key(struct avro_compiler *c, struct avro_node *value, const char *key)
{
    struct avro_plan *p = c->plan;
    uint32_t old, old_name, at = p->keys;

    if (!avro_grow(&p->key, p->keys, &c->keys_room, sizeof *p->key))
        return no_memory(c);
    p->keys++;
    p->key[at] = (struct avro_key){.bytes = (uint32_t)strlen(key), .body = p->ops};
    TRY(put_name(c, key, &p->key[at].name));
    start_body(c);
    TRY(enter(c, key, &old, &old_name));
    TRY(put_value(c, value, NULL));
    leave(c, old, old_name);
    return put_op(c, OP_END, 0, 0);
}

static enum st put_map(struct avro_compiler *c, struct avro_node *n, uint32_t keys, uint32_t first)
{
    uint32_t at = c->plan->ops, prefix = c->path_bytes + 1;

    note(c, AVRO_K_MAP, keys, 0);
    TRY(put_op(c, OP_MAP, c->plan->keys, keys));
    start_body(c);
    TRY(put_skip(c, n->field[0].type));
    TRY(put_op(c, OP_END, 0, 0));
    for (uint32_t i = 0; i < keys; i++) {
        const char *key = c->role[c->sorted[first + i]].path + prefix;

        c->fingerprint = hash64(key, strlen(key), c->fingerprint);
        TRY(put_key(c, n->field[0].type, key));
    }
    c->plan->op[at].c = c->plan->ops;
    start_body(c);
    return ST_OK;
}

static enum st put_record(struct avro_compiler *c, struct avro_node *n)
{
    for (uint32_t i = 0; i < n->n; i++) {
        uint32_t old, old_name;

        TRY(enter(c, n->field[i].name, &old, &old_name));
        TRY(put_value(c, n->field[i].type, &n->field[i]));
        leave(c, old, old_name);
    }
    return ST_OK;
}

/* The value at c->path; f: the field that has it, for its default. */
static enum st put_value(struct avro_compiler *c, struct avro_node *n, const struct avro_field *f)
{
    const struct avro_role *role = avro_role_at(c, c->path);
    uint32_t first, below = avro_roles_below(c, c->path, &first);

    if (n->kind == AVRO_K_UNION && (role || below))
        return put_union(c, n, f);
    if (role)
        return put_role_or_count(c, n, role, f);
    if (n->kind == AVRO_K_RECORD && below)
        return put_record(c, n);
    if (n->kind == AVRO_K_MAP && below)
        return put_map(c, n, below, first);
    return put_skip(c, n);
}

static enum st put_rows(struct avro_compiler *c)
{
    uint32_t at = c->plan->ops;

    TRY(put_op(c, c->measuring ? OP_SKIP_ITEMS : OP_ROWS, 0, 0));
    last_op(c)->kind = 2; /* measuring: look at every item */
    start_body(c);
    TRY(put_record(c, c->row));
    return end_body(c, at);
}

static enum st put_message(struct avro_compiler *c)
{
    if (c->row == c->root) {
        TRY(put_record(c, c->root));
    } else if (!c->rows_field) {
        TRY(put_rows(c));
    } else {
        for (uint32_t i = 0; i < c->root->n; i++) {
            const struct avro_field *f = &c->root->field[i];

            TRY(put_name(c, f->name, &c->path_name));
            TRY(f == c->rows_field ? put_rows(c) : put_skip(c, f->type));
        }
    }
    TRY(put_op(c, OP_END, 0, 0));
    return put_bodies(c);
}

static enum st start(struct avro_compiler *c, struct avro_plan *plan, bool measuring, struct err *e)
{
    c->plan = plan;
    c->e = e;
    c->measuring = measuring;
    c->pass++;
    c->path[0] = 0;
    c->path_bytes = c->names_bytes = c->ops_room = c->jumps_room = c->keys_room = 0;
    c->numbers_room = c->classes_room = c->names_room = c->classes = 0;
    c->barrier = c->covered = c->bodies = 0;
    c->fingerprint = 0;
    plan->rows = c->row != c->root;
    return put_name(c, "(rows)", &c->path_name);
}

enum st avro_compile_measure(struct avro_compiler *c, struct avro_plan *plan, struct err *e)
{
    TRY(start(c, plan, true, e));
    plan->counts = c->unknown;
    return put_message(c);
}

static enum st put_columns(struct avro_compiler *c)
{
    struct avro_plan *p = c->plan;

    p->column = calloc(c->roles + 1, sizeof *p->column);
    if (!p->column)
        return no_memory(c);
    for (uint32_t i = 0; i < c->roles; i++) {
        const struct avro_role *r = &c->role[i];
        struct avro_column *column = &p->column[p->columns];

        if (r->sink != SINK_COLUMN)
            continue;
        *column = (struct avro_column){.first = r->column, .width = r->width, .array = r->array};
        TRY(put_name(c, r->path, &column->name));
        p->columns++;
    }
    return ST_OK;
}

/* Every class of the job has to be a symbol of the enum that is the label: another one is a slip of
 * the pen. */
static enum st check_symbols(struct avro_compiler *c)
{
    const struct avro_plan *p = c->plan;

    for (uint32_t k = 0; c->classes && k < c->in->classes; k++) {
        bool hit = false;

        for (uint32_t i = 0; i < c->classes; i++)
            hit |= p->class_of[i] == (int16_t)k;
        if (!hit)
            return fail(c->e, ST_BAD_CONFIG,
                        "input.classes: '%s' is no symbol of the enum that '%s' is",
                        c->in->class_name[k], c->in->label);
    }
    return ST_OK;
}

enum st avro_compile_plan(struct avro_compiler *c, struct avro_plan *plan, struct decoded *out,
                          struct err *e)
{
    memset(out, 0, sizeof *out);
    TRY(start(c, plan, false, e));
    TRY(avro_compile_labels(c, &plan->labels, out));
    TRY(put_message(c));
    if (c->covered != c->roles)
        return fail(e, ST_BAD_CONFIG,
                    "input: a field and a part of it are both named; no record can have both");
    TRY(check_symbols(c));
    TRY(put_columns(c));
    out->shape = block_shape_of(c->columns, c->sparse);
    out->shape.ny = c->labelled;
    out->shape.weighted = c->in->weight[0] != 0;
    out->shape.keyed = c->in->key[0] != 0;
    out->shape.timed = c->in->time[0] != 0;
    out->columns = c->columns;
    out->classes = plan->labels.n;
    labels_names(&plan->labels, out->class_name);
    note(c, c->columns, c->sparse, plan->rows);
    out->fingerprint = labels_hash(&plan->labels, c->fingerprint);
    return ST_OK;
}
