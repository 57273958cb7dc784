/* Second half of the compiler: the schema is walked in the order of its bytes and becomes
 * operations. */
#include "consumer/avro_compile.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

static enum st put_value(struct avro_compiler *c, struct avro_node *n, const struct avro_field *f);

/* ---- what is not there ---- */

static enum st put_missing(struct avro_compiler *c, const struct avro_role *role)
{
    c->covered++;
    avro_note(c, 101, role->column, role->width);
    return avro_put_op(c, OP_MISSING, role->column, role->width);
}

/* May the roles [first, first + n) of `sorted` all be missing? */
static bool may_miss(const struct avro_compiler *c, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; c->in->missing && i < n; i++)
        if (c->role[c->sorted[first + i]].sink != SINK_COLUMN)
            return false;
    return c->in->missing;
}

static enum st put_all_missing(struct avro_compiler *c, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        TRY(put_missing(c, &c->role[c->sorted[first + i]]));
    return ST_OK;
}

/* ---- forms ---- */

/* How numbers of this type stand in a message, or FORM_NONE. */
static uint8_t form_of(const struct avro_node *n)
{
    if (n->kind == AVRO_K_INT || n->kind == AVRO_K_LONG || n->kind == AVRO_K_FLOAT ||
        n->kind == AVRO_K_DOUBLE)
        return (uint8_t)n->kind;
    if (n->kind != AVRO_K_UNION || n->n != 2)
        return FORM_NONE;
    for (uint32_t i = 0; i < 2; i++) {
        const uint8_t form = form_of(n->field[i].type);

        if (n->field[1 - i].type->kind == AVRO_K_NULL && form)
            return form | (uint8_t)(i ? FORM_SECOND : FORM_FIRST);
    }
    return FORM_NONE;
}

static bool is_whole(uint8_t form)
{
    return (form & FORM_KIND) == AVRO_K_INT || (form & FORM_KIND) == AVRO_K_LONG;
}

/* ---- unions ---- */

/* A branch has to give all roles that lie at or below the union; else it is a reason to refuse the
 * message. */
static enum st put_union(struct avro_compiler *c, struct avro_node *n, const struct avro_field *f)
{
    const struct avro_role *role = avro_role_at(c, c->path);
    uint32_t from = c->plan->ops, before = c->covered, first = 0, jump;
    uint32_t need = role ? 1 : avro_roles_below(c, c->path, &first);

    avro_note(c, AVRO_K_UNION, n->n, need);
    TRY(avro_open_union(c, n, &jump));
    for (uint32_t i = 0; i < n->n; i++) {
        uint32_t start = c->plan->ops;

        avro_open_branch(c, jump + i);
        c->covered = before;
        TRY(put_value(c, n->field[i].type, f));
        if (!c->measuring && c->covered - before < need) {
            c->plan->ops = start; /* what it has asked for meanwhile (jumps, bodies) does no harm */
            if (n->field[i].type->kind == AVRO_K_NULL && may_miss(c, first, need))
                TRY(put_all_missing(c, first, need));
            else
                TRY(avro_put_op(c, OP_FAIL, BAD_MISSING, 0));
        }
        TRY(avro_put_op(c, OP_JUMP, 0, 0));
    }
    c->covered = before + need;
    avro_close_union(c, from);
    return ST_OK;
}

/* ---- roles ---- */

static enum st put_fail(struct avro_compiler *c, enum bad why)
{
    c->covered++;
    avro_note(c, 100, why, 0);
    return avro_put_op(c, OP_FAIL, why, 0);
}

static enum st put_null(struct avro_compiler *c, const struct avro_role *role,
                        const struct avro_field *f)
{
    struct avro_plan *p = c->plan;

    if (role->sink == SINK_LABEL)
        return put_fail(c, BAD_LABEL);
    if (role->sink == SINK_COLUMN && c->in->missing)
        return put_missing(c, role);
    if (!f || !f->has_default || role->array ||
        (role->sink != SINK_COLUMN && role->sink != SINK_WEIGHT && role->sink != SINK_TIME))
        return put_fail(c, BAD_MISSING);
    if (!avro_grow(&p->number, p->numbers, &c->numbers_room, sizeof *p->number))
        return avro_no_memory(c);
    p->number[p->numbers] = f->value;
    c->fingerprint = hash64(&f->value, sizeof f->value, c->fingerprint);
    TRY(avro_put_op(c, OP_CONSTANT, role->column, p->numbers++));
    avro_last_op(c)->sink = (uint8_t)role->sink;
    c->covered++;
    return ST_OK;
}

/* One number to a column; floats and doubles that follow each other are read at once. */
static enum st put_column(struct avro_compiler *c, struct avro_node *n, uint32_t column)
{
    enum avro_code code = n->kind == AVRO_K_FLOAT    ? OP_FLOATS
                          : n->kind == AVRO_K_DOUBLE ? OP_DOUBLES
                                                     : OP_COLUMN;
    struct avro_op *last = c->plan->ops ? avro_last_op(c) : NULL;

    if (last && code != OP_COLUMN && last->code == code && last->a + last->b == column) {
        last->b++;
        return ST_OK;
    }
    TRY(avro_put_op(c, code, column, code == OP_COLUMN ? n->n : 1));
    avro_last_op(c)->kind = (uint8_t)n->kind;
    return ST_OK;
}

/* A value of an array; its column is that of the role plus the number of the item. */
static enum st put_item(struct avro_compiler *c, struct avro_node *n, uint32_t column)
{
    uint32_t from = c->plan->ops, jump;

    avro_note(c, n->kind, n->n, 0);
    if (avro_is_number(n)) { /* not FLOATS, which do not count items */
        TRY(avro_put_op(c, OP_COLUMN, column, n->n));
        avro_last_op(c)->kind = (uint8_t)n->kind;
        return ST_OK;
    }
    if (n->kind == AVRO_K_NULL && c->in->missing)
        return avro_put_op(c, OP_MISSING, column, 1);
    if (n->kind == AVRO_K_NULL)
        return avro_put_op(c, OP_FAIL, BAD_MISSING, 0);
    CHECK(n->kind == AVRO_K_UNION);
    TRY(avro_open_union(c, n, &jump));
    for (uint32_t i = 0; i < n->n; i++) {
        avro_open_branch(c, jump + i);
        TRY(put_item(c, n->field[i].type, column));
        TRY(avro_put_op(c, OP_JUMP, 0, 0));
    }
    avro_close_union(c, from);
    return ST_OK;
}

static enum st put_array(struct avro_compiler *c, struct avro_node *n, const struct avro_role *role)
{
    struct avro_node *item = n->field[0].type;
    uint32_t at = c->plan->ops;

    avro_note(c, item->kind, 0, 0);
    if (role->sink != SINK_COLUMN) {
        bool whole = item->kind == AVRO_K_INT || item->kind == AVRO_K_LONG;

        if (role->sink == SINK_INDICES ? !whole : !avro_is_number(item))
            return avro_put_op(c, OP_FAIL, BAD_VALUE, 0);
        TRY(avro_put_op(c, role->sink == SINK_INDICES ? OP_INDICES : OP_VALUES, 0, item->n));
        avro_last_op(c)->kind = (uint8_t)item->kind;
        return ST_OK;
    }
    if (item->kind == AVRO_K_FLOAT)
        return avro_put_op(c, OP_FLOAT_ARRAY, role->column, role->width);
    TRY(avro_put_op(c, OP_ARRAY, role->column, role->width));
    avro_last_op(c)->form = form_of(item);
    TRY(put_item(c, item, role->column));
    return avro_end_body(c, at);
}

static enum st put_wide(struct avro_compiler *c, struct avro_node *n, const struct avro_role *role)
{
    switch (n->kind) {
    case AVRO_K_ARRAY:
        if (!avro_is_array_of_numbers(n))
            return avro_put_op(c, OP_FAIL, BAD_VALUE, 0);
        return put_array(c, n, role);
    case AVRO_K_BYTES:
        return avro_put_op(c, OP_PACKED, role->column, role->width);
    default:
        CHECK(n->kind == AVRO_K_FIXED);
        if (n->bytes != (int64_t)role->width * 4)
            return avro_put_op(c, OP_FAIL, BAD_WIDTH, 0);
        return avro_put_op(c, OP_FLOATS, role->column, role->width);
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
            return avro_no_memory(c);
        p->class_of[c->classes] = -1;
        if (labels_text(&p->labels, symbol, strlen(n->symbol[i]), &y))
            p->class_of[c->classes] = (int16_t)y;
        avro_note(c, AVRO_K_ENUM, i, (uint32_t)(int32_t)p->class_of[c->classes++]);
    }
    TRY(avro_put_op(c, OP_ENUM_LABEL, first, n->n));
    avro_last_op(c)->kind = AVRO_K_ENUM;
    return ST_OK;
}

static enum st put_elsewhere(struct avro_compiler *c, struct avro_node *n,
                             const struct avro_role *role)
{
    bool text = n->kind == AVRO_K_STRING || n->kind == AVRO_K_BYTES || n->kind == AVRO_K_FIXED;
    uint32_t b = n->kind == AVRO_K_FIXED ? (uint32_t)n->bytes : n->micros ? 1 : n->n;

    if (n->kind == AVRO_K_ENUM && role->sink == SINK_LABEL)
        return put_enum_label(c, n);
    if (!avro_is_number(n) && role->sink != SINK_LABEL && role->sink != SINK_KEY)
        return avro_put_op(c, OP_FAIL, BAD_VALUE, 0);
    TRY(avro_put_op(c, text ? OP_TEXT : OP_NUMBER, 0, b));
    avro_last_op(c)->kind = (uint8_t)n->kind;
    avro_last_op(c)->sink = (uint8_t)role->sink;
    return ST_OK;
}

static enum st put_role(struct avro_compiler *c, struct avro_node *n, const struct avro_role *role,
                        const struct avro_field *f)
{
    bool wide = n->kind == AVRO_K_ARRAY || n->kind == AVRO_K_BYTES || n->kind == AVRO_K_FIXED;
    bool scalar = avro_is_number(n) || n->kind == AVRO_K_ENUM;

    avro_note(c, n->kind, role->sink, role->column);
    avro_note(c, n->n, role->width, n->micros);
    if (n->kind == AVRO_K_NULL)
        return put_null(c, role, f);
    if (n->kind == AVRO_K_RECORD || n->kind == AVRO_K_MAP)
        return put_fail(c, BAD_VALUE);
    c->covered++;
    switch (role->sink) {
    case SINK_COLUMN:
        if (role->array ? !wide : !scalar)
            return avro_put_op(c, OP_FAIL, BAD_VALUE, 0);
        return role->array ? put_wide(c, n, role) : put_column(c, n, role->column);
    case SINK_INDICES:
    case SINK_VALUES:
        return n->kind == AVRO_K_ARRAY ? put_array(c, n, role)
                                       : avro_put_op(c, OP_FAIL, BAD_VALUE, 0);
    default:
        return n->kind == AVRO_K_ARRAY ? avro_put_op(c, OP_FAIL, BAD_VALUE, 0)
                                       : put_elsewhere(c, n, role);
    }
}

static enum st put_role_or_count(struct avro_compiler *c, struct avro_node *n,
                                 const struct avro_role *role, const struct avro_field *f)
{
    if (!c->measuring)
        return put_role(c, n, role, f);
    if (!role->width && n->kind == AVRO_K_ARRAY)
        return avro_put_skip_items(c, n, OP_COUNT, role->slot);
    return avro_put_skip(c, n);
}

/* ---- the walk ---- */

static enum st put_key(struct avro_compiler *c, struct avro_node *value, const char *key)
{
    struct avro_plan *p = c->plan;
    uint32_t old, old_name, at = p->keys;

    if (!avro_grow(&p->key, p->keys, &c->keys_room, sizeof *p->key))
        return avro_no_memory(c);
    p->keys++;
    p->key[at] = (struct avro_key){.bytes = (uint32_t)strlen(key), .body = p->ops};
    TRY(avro_put_name(c, key, &p->key[at].name));
    TRY(avro_enter(c, key, &old, &old_name));
    TRY(put_value(c, value, NULL));
    avro_leave(c, old, old_name);
    return avro_put_op(c, OP_END, 0, 0);
}

static enum st put_map(struct avro_compiler *c, struct avro_node *n, uint32_t keys, uint32_t first)
{
    uint32_t at, prefix = c->path_bytes + 1, before = c->covered;
    bool absent = !c->measuring && may_miss(c, first, keys);

    avro_note(c, AVRO_K_MAP, keys, 0);
    if (absent)
        TRY(put_all_missing(c, first, keys));
    c->covered = before;
    at = c->plan->ops;
    TRY(avro_put_op(c, OP_MAP, c->plan->keys, keys));
    avro_last_op(c)->kind = absent;
    TRY(avro_put_skip(c, n->field[0].type));
    TRY(avro_put_op(c, OP_END, 0, 0));
    for (uint32_t i = 0; i < keys; i++) {
        const char *key = c->role[c->sorted[first + i]].path + prefix;

        c->fingerprint = hash64(key, strlen(key), c->fingerprint);
        TRY(put_key(c, n->field[0].type, key));
    }
    c->plan->op[at].c = c->plan->ops;
    return ST_OK;
}

static enum st put_field(struct avro_compiler *c, const struct avro_field *f)
{
    uint32_t old, old_name;

    TRY(avro_enter(c, f->name, &old, &old_name));
    TRY(put_value(c, f->type, f));
    avro_leave(c, old, old_name);
    return ST_OK;
}

/* The role of a field of the record at c->path, if it is one column; else NULL. */
static enum st column_of(struct avro_compiler *c, const struct avro_field *f,
                         const struct avro_role **role)
{
    const uint32_t names = c->names_bytes;
    uint32_t old, old_name;

    TRY(avro_enter(c, f->name, &old, &old_name));
    *role = avro_role_at(c, c->path);
    if (*role && ((*role)->sink != SINK_COLUMN || (*role)->array))
        *role = NULL;
    avro_leave(c, old, old_name);
    c->names_bytes = names;
    return ST_OK;
}

/* So many fields from this one on are numbers of one form, for columns in their order. (Plain
 * floats and doubles that follow each other are one operation anyway.) A whole number is as good as
 * a long of its size: both are AVRO_K_INT, if one is. */
static enum st count_run(struct avro_compiler *c, const struct avro_field *f, uint32_t most,
                         uint32_t *n, uint32_t *column, uint8_t *form)
{
    *form = form_of(f->type);
    for (*n = 0; *n < most; ++*n) {
        const uint8_t next = form_of(f[*n].type);
        const uint8_t both = (uint8_t)(AVRO_K_INT ^ AVRO_K_LONG);
        const struct avro_role *role;

        if (next == FORM_NONE || next == AVRO_K_FLOAT || next == AVRO_K_DOUBLE)
            break;
        if (next != *form && !(is_whole(next) && is_whole(*form) && (next ^ *form) == both))
            break;
        TRY(column_of(c, &f[*n], &role));
        if (!role || (*n && role->column != *column + *n))
            break;
        *column = role->column - *n;
        *form = next < *form ? next : *form;
    }
    return ST_OK;
}

/* A body for each, since any may have a value that only its own operations can deal with. */
static enum st put_run(struct avro_compiler *c, const struct avro_field *f, uint32_t n,
                       uint32_t column, uint8_t form)
{
    struct avro_plan *p = c->plan;
    const uint32_t at = p->ops, first = p->jumps;

    TRY(avro_put_op(c, OP_RUN, column, first));
    avro_last_op(c)->form = form;
    for (uint32_t i = 0; i <= n; i++, p->jumps++)
        if (!avro_grow(&p->jump, p->jumps, &c->jumps_room, sizeof *p->jump))
            return avro_no_memory(c);
    p->jump[first] = n;
    for (uint32_t i = 0; i < n; i++) {
        p->jump[first + 1 + i] = p->ops;
        TRY(put_field(c, &f[i]));
        TRY(avro_put_op(c, OP_END, 0, 0));
    }
    p->op[at].c = p->ops;
    return ST_OK;
}

static enum st put_record(struct avro_compiler *c, struct avro_node *n)
{
    for (uint32_t i = 0; i < n->n;) {
        uint32_t run = 0, column = 0;
        uint8_t form;

        if (!c->measuring)
            TRY(count_run(c, &n->field[i], n->n - i, &run, &column, &form));
        if (run > 1)
            TRY(put_run(c, &n->field[i], run, column, form));
        else
            TRY(put_field(c, &n->field[i]));
        i += run > 1 ? run : 1;
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
    return avro_put_skip(c, n);
}

static enum st put_rows(struct avro_compiler *c)
{
    uint32_t at = c->plan->ops;

    TRY(avro_put_op(c, c->measuring ? OP_SKIP_ITEMS : OP_ROWS, 0, 0));
    avro_last_op(c)->kind = 2; /* measuring: look at every item */
    TRY(put_record(c, c->row));
    return avro_end_body(c, at);
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

            TRY(avro_put_name(c, f->name, &c->path_name));
            TRY(f == c->rows_field ? put_rows(c) : avro_put_skip(c, f->type));
        }
    }
    TRY(avro_put_op(c, OP_END, 0, 0));
    return avro_put_bodies(c);
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
    c->covered = c->bodies = 0;
    c->fingerprint = 0;
    plan->rows = c->row != c->root;
    return avro_put_name(c, "(rows)", &c->path_name);
}

enum st avro_compile_measure(struct avro_compiler *c, struct avro_plan *plan, struct err *e)
{
    TRY(start(c, plan, true, e));
    plan->counts = c->unknown;
    return put_message(c);
}

enum st avro_compile_widths(struct avro_compiler *c, const uint64_t *count, struct err *e)
{
    uint64_t columns = 0;

    for (uint32_t i = 0; i < c->roles; i++) {
        struct avro_role *r = &c->role[i];

        if (r->sink != SINK_COLUMN)
            continue;
        if (!r->width) {
            uint64_t n = count[r->slot];

            if (n == AVRO_NOT_COUNTED || n == 0 || n > COLUMNS_MAX)
                return fail(e, ST_BAD_CONFIG,
                            "the first record has no usable '%s', so its width is unknown: write "
                            "'%s[784]' in input.features, or set input.width",
                            r->path, r->path);
            r->width = (uint32_t)n;
        }
        r->column = (uint32_t)columns;
        columns += r->width;
        if (columns > COLUMNS_MAX)
            return fail(e, ST_BAD_CONFIG, "more than %d columns", COLUMNS_MAX);
    }
    c->columns = c->sparse ? c->in->width : (uint32_t)columns;
    return ST_OK;
}

static enum st put_columns(struct avro_compiler *c)
{
    struct avro_plan *p = c->plan;

    p->column = calloc(c->roles + 1, sizeof *p->column);
    if (!p->column)
        return avro_no_memory(c);
    for (uint32_t i = 0; i < c->roles; i++) {
        const struct avro_role *r = &c->role[i];
        struct avro_column *column = &p->column[p->columns];

        if (r->sink != SINK_COLUMN)
            continue;
        *column = (struct avro_column){.first = r->column, .width = r->width, .array = r->array};
        TRY(avro_put_name(c, r->path, &column->name));
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
    CHECK(c->covered == c->roles);
    TRY(check_symbols(c));
    TRY(put_columns(c));
    plan->width = c->columns;
    plan->sparse = c->sparse;
    plan->labelled = c->labelled;
    plan->missing = c->in->missing;
    avro_check_plan(plan);
    out->shape = block_shape_of(c->columns, c->sparse);
    out->shape.ny = c->labelled;
    out->shape.weighted = c->in->weight[0] != 0;
    out->shape.keyed = c->in->key[0] != 0;
    out->shape.timed = c->in->time[0] != 0;
    out->columns = c->columns;
    out->classes = plan->labels.n;
    labels_names(&plan->labels, out->class_name);
    avro_note(c, c->columns, c->sparse, plan->rows);
    out->fingerprint = labels_hash(&plan->labels, c->fingerprint);
    return ST_OK;
}
