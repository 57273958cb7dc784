/* The compiler's hands: operations, names and jumps are added to a plan, and what no role needs is
 * skipped. */
#include "consumer/avro_compile.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

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

enum st avro_no_memory(struct avro_compiler *c)
{
    return fail(c->e, ST_FATAL, "no memory for the plan of the schema");
}

/* ---- the plan grows ---- */

/* The fingerprint is of what is read and where it goes, in order; not of how operations are
 * written. */
void avro_note(struct avro_compiler *c, uint32_t what, uint32_t a, uint32_t b)
{
    uint32_t word[3] = {what, a, b};

    c->fingerprint = hash64(word, sizeof word, c->fingerprint);
}

/* Text into plan->names; *at is its place. */
enum st avro_put_name(struct avro_compiler *c, const char *text, uint32_t *at)
{
    size_t n = strlen(text) + 1;

    while (c->names_bytes + n > c->names_room)
        if (!avro_grow(&c->plan->names, c->names_room, &c->names_room, 1))
            return avro_no_memory(c);
    *at = c->names_bytes;
    memcpy(c->plan->names + *at, text, n);
    c->names_bytes += (uint32_t)n;
    return ST_OK;
}

enum st avro_put_op(struct avro_compiler *c, enum avro_code code, uint32_t a, uint32_t b)
{
    struct avro_plan *p = c->plan;

    if (p->ops == AVRO_OPS_MAX)
        return fail(c->e, ST_BAD_CONFIG, "schema: too large, more than %d steps", AVRO_OPS_MAX);
    if (!avro_grow(&p->op, p->ops, &c->ops_room, sizeof *p->op))
        return avro_no_memory(c);
    p->op[p->ops++] = (struct avro_op){.code = (uint8_t)code, .a = a, .b = b, .name = c->path_name};
    return ST_OK;
}

struct avro_op *avro_last_op(struct avro_compiler *c)
{
    CHECK(c->plan->ops > 0);
    return &c->plan->op[c->plan->ops - 1];
}

/* Ends the body of the operation at `of`. */
enum st avro_end_body(struct avro_compiler *c, uint32_t of)
{
    TRY(avro_put_op(c, OP_END, 0, 0));
    c->plan->op[of].c = c->plan->ops;
    return ST_OK;
}

/* Steps into a field; back with avro_leave(). */
enum st avro_enter(struct avro_compiler *c, const char *name, uint32_t *old, uint32_t *old_name)
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
    return avro_put_name(c, c->path, &c->path_name);
}

void avro_leave(struct avro_compiler *c, uint32_t old, uint32_t old_name)
{
    c->path_bytes = old;
    c->path[old] = 0;
    c->path_name = old_name;
}

/* ---- unions ---- */

enum st avro_open_union(struct avro_compiler *c, struct avro_node *n, uint32_t *jump)
{
    struct avro_plan *p = c->plan;

    *jump = p->jumps;
    TRY(avro_put_op(c, OP_UNION, n->n, *jump));
    for (uint32_t i = 0; i < n->n; i++, p->jumps++)
        if (!avro_grow(&p->jump, p->jumps, &c->jumps_room, sizeof *p->jump))
            return avro_no_memory(c);
    return ST_OK;
}

void avro_open_branch(struct avro_compiler *c, uint32_t jump)
{
    c->plan->jump[jump] = c->plan->ops;
}

/* The branches, which lie in [from, ops) and end in jumps to 0, lead on here. (What is merged,
 * FLOATS, DOUBLES and SKIP, is never merged across a place that is jumped to: JUMP, UNION or END
 * stand before each of them.) */
void avro_close_union(struct avro_compiler *c, uint32_t from)
{
    for (uint32_t i = from; i < c->plan->ops; i++)
        if (c->plan->op[i].code == OP_JUMP && !c->plan->op[i].a)
            c->plan->op[i].a = c->plan->ops;
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
    if (p->ops && avro_last_op(c)->code == OP_SKIP &&
        avro_last_op(c)->a <= RECORD_BYTES_MAX - bytes) {
        avro_last_op(c)->a += bytes;
        return ST_OK;
    }
    return avro_put_op(c, OP_SKIP, bytes, 0);
}

/* An array or map; code OP_COUNT counts its items in passing. */
enum st avro_put_skip_items(struct avro_compiler *c, struct avro_node *n, enum avro_code code,
                            uint32_t slot)
{
    struct avro_node *item = n->field[0].type;
    int64_t bytes = n->kind == AVRO_K_MAP ? AVRO_SIZE_VARIES : size_of(item);
    uint32_t at = c->plan->ops;

    TRY(avro_put_op(c, code, bytes < 0 ? 0 : (uint32_t)bytes, slot));
    if (bytes >= 0)
        return ST_OK;
    c->plan->op[at].kind = 1;
    if (n->kind == AVRO_K_MAP)
        TRY(avro_put_op(c, OP_SKIP_TEXT, 0, 0));
    TRY(avro_put_skip(c, item));
    return avro_end_body(c, at);
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
                return avro_no_memory(c);
            c->body[c->bodies++] = n;
            n->call = c->bodies;
        }
        avro_note(c, AVRO_K_RECORD, n->call, 0);
        return avro_put_op(c, OP_CALL, n->call, 0);
    }
    for (uint32_t i = 0; i < n->n; i++)
        TRY(avro_put_skip(c, n->field[i].type));
    return ST_OK;
}

static enum st put_skip_union(struct avro_compiler *c, struct avro_node *n)
{
    uint32_t from = c->plan->ops, jump;

    TRY(avro_open_union(c, n, &jump));
    for (uint32_t i = 0; i < n->n; i++) {
        avro_open_branch(c, jump + i);
        TRY(avro_put_skip(c, n->field[i].type));
        TRY(avro_put_op(c, OP_JUMP, 0, 0));
    }
    avro_close_union(c, from);
    return ST_OK;
}

enum st avro_put_skip(struct avro_compiler *c, struct avro_node *n)
{
    int64_t bytes = size_of(n);

    avro_note(c, n->kind, (uint32_t)bytes, n->n);
    if (bytes >= 0)
        return put_skip_bytes(c, (uint32_t)bytes);
    switch (n->kind) {
    case AVRO_K_INT:
    case AVRO_K_LONG:
    case AVRO_K_ENUM:
        return avro_put_op(c, OP_SKIP_VARINT, 0, 0);
    case AVRO_K_STRING:
    case AVRO_K_BYTES:
        return avro_put_op(c, OP_SKIP_TEXT, 0, 0);
    case AVRO_K_ARRAY:
    case AVRO_K_MAP:
        return avro_put_skip_items(c, n, OP_SKIP_ITEMS, 0);
    case AVRO_K_UNION:
        return put_skip_union(c, n);
    default:
        CHECK(n->kind == AVRO_K_RECORD);
        return put_skip_record(c, n);
    }
}

/* Bodies that calls have asked for; a body may ask for more. */
enum st avro_put_bodies(struct avro_compiler *c)
{
    uint32_t *at = NULL, room = 0;
    enum st st = ST_OK;

    for (uint32_t i = 0; i < c->bodies && st == ST_OK; i++) {
        struct avro_node *n = c->body[i];

        if (!avro_grow(&at, i, &room, sizeof *at)) {
            st = avro_no_memory(c);
            break;
        }
        at[i] = c->plan->ops;
        st = avro_put_name(c, n->name, &c->path_name);
        for (uint32_t k = 0; k < n->n && st == ST_OK; k++)
            st = avro_put_skip(c, n->field[k].type);
        if (st == ST_OK)
            st = avro_put_op(c, OP_END, 0, 0);
    }
    for (uint32_t i = 0; i < c->plan->ops && st == ST_OK; i++)
        if (c->plan->op[i].code == OP_CALL)
            c->plan->op[i].a = at[c->plan->op[i].a - 1];
    free(at);
    return st;
}

/* ---- what a run takes for granted ---- */

static void check_places(const struct avro_plan *p, const struct avro_op *op)
{
    CHECK(op->code <= OP_COUNT && op->c <= p->ops);
    switch (op->code) {
    case OP_JUMP:
    case OP_CALL:
        CHECK(op->a > 0 && op->a < p->ops);
        break;
    case OP_UNION:
        CHECK(op->a > 0 && op->b + op->a <= p->jumps);
        for (uint32_t i = 0; i < op->a; i++)
            CHECK(p->jump[op->b + i] > 0 && p->jump[op->b + i] < p->ops);
        break;
    case OP_MAP:
        CHECK(op->b > 0 && op->a + op->b <= p->keys && op->c);
        break;
    case OP_ROWS:
    case OP_ARRAY:
        CHECK(op->c);
        break;
    case OP_RUN:
        CHECK(op->c && op->b < p->jumps && op->b + p->jump[op->b] < p->jumps);
        for (uint32_t i = 1; i <= p->jump[op->b]; i++)
            CHECK(p->jump[op->b + i] > 0 && p->jump[op->b + i] < p->ops);
        break;
    case OP_FAIL:
        CHECK(op->a > BAD_FULL && op->a < BAD_REASONS);
        break;
    case OP_CONSTANT:
        CHECK(op->b < p->numbers);
        break;
    case OP_SKIP_ITEMS:
        CHECK(!op->kind == !op->c);
        break;
    default:
        break;
    }
}

static void check_columns(const struct avro_plan *p, const struct avro_op *op)
{
    switch (op->code) {
    case OP_FLOATS:
    case OP_DOUBLES:
    case OP_MISSING:
    case OP_PACKED:
    case OP_FLOAT_ARRAY:
    case OP_ARRAY:
        CHECK(!p->sparse && op->b > 0 && op->a + op->b <= p->width);
        break;
    case OP_COLUMN:
        CHECK(!p->sparse && op->a < p->width);
        break;
    case OP_RUN:
        CHECK(!p->sparse && op->a + p->jump[op->b] <= p->width);
        break;
    case OP_INDICES:
    case OP_VALUES:
        CHECK(p->sparse);
        break;
    case OP_NUMBER:
    case OP_TEXT:
        CHECK(op->sink >= SINK_LABEL && op->sink <= SINK_TIME);
        CHECK(op->sink != SINK_LABEL || p->labelled);
        break;
    default:
        break;
    }
}

void avro_check_plan(const struct avro_plan *p)
{
    CHECK(p->ops > 0 && p->ops <= AVRO_OPS_MAX);
    CHECK(p->op[p->ops - 1].code == OP_END);
    for (uint32_t i = 0; i < p->ops; i++) {
        check_places(p, &p->op[i]);
        check_columns(p, &p->op[i]);
    }
    for (uint32_t i = 0; i < p->keys; i++)
        CHECK(p->key[i].body > 0 && p->key[i].body < p->ops && p->key[i].seen == 0);
}
