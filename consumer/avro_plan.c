#include "consumer/avro_run.h"

#include <stdio.h>
#include <stdlib.h>

/* The message has fewer bytes than are needed: cut off, or a length that no message can have. */
enum bad avro_too_short(struct run *r, uint64_t needed)
{
    r->got = (int64_t)left(r);
    r->want = needed > INT64_MAX ? INT64_MAX : (int64_t)needed;
    return needed > RECORD_BYTES_MAX ? BAD_TOO_LONG : BAD_TRUNCATED;
}

enum bad avro_read_varint(struct run *r, uint64_t *v)
{
    uint64_t n = 0;

    for (uint32_t shift = 0; shift < 70; shift += 7) {
        uint8_t c;

        if (r->p == r->end)
            return avro_too_short(r, 1);
        c = *r->p++;
        if (shift == 63 && c > 1)
            break; /* more than 64 bits */
        n |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *v = n;
            return BAD_NONE;
        }
    }
    r->got = 0;
    return BAD_VALUE;
}

enum bad avro_not_finite(struct run *r, const float *x, uint32_t n)
{
    uint32_t i = 0;

    while (i < n && (isfinite(x[i]) || (isnan(x[i]) && r->plan->missing)))
        i++;
    if (i == n)
        return BAD_NONE;
    r->got = x + i - r->x;
    r->value = x[i];
    return BAD_NONFINITE;
}

static enum bad read_doubles(struct run *r, const struct avro_op *op)
{
    float *x = r->x + op->a;

    if (left(r) / sizeof(double) < op->b)
        return avro_too_short(r, op->b * sizeof(double));
    if (!copy_doubles(x, r->p, op->b)) {
        enum bad bad = avro_not_finite(r, x, op->b);

        if (bad)
            return bad;
    }
    r->p += op->b * sizeof(double);
    return BAD_NONE;
}

/* Fields of one form; one that is not as it should be has its own operations. */
static enum bad read_fields(struct run *r, const struct avro_op *op)
{
    const uint32_t *jump = r->plan->jump + op->b, n = *jump++;
    enum bad bad = BAD_NONE;

    DCHECK(r->base == 0 && op->a + n <= r->b->s.d);
    for (uint32_t i = 0; i < n && !bad; i++) {
        i += avro_read_forms(r, op->form, r->x + op->a + i, n - i);
        if (i < n)
            bad = avro_run(r, jump[i]);
    }
    return bad;
}

static inline enum bad read_column(struct run *r, const struct avro_op *op)
{
    double v;
    enum bad bad = read_number(r, op, &v);

    return bad ? bad : put_column(r, op->a, v);
}

static enum bad read_float_blocks(struct run *r, const struct avro_op *op, struct span s)
{
    uint32_t done = 0;
    enum bad bad;

    while (s.n) {
        if (s.n > op->b - done)
            return wrong_width(r, done + s.n, op->b);
        bad = read_floats(r, op->a + done, (uint32_t)s.n);
        if (bad == BAD_NONE)
            bad = end_span(r, &s);
        if (bad)
            return bad;
        done += (uint32_t)s.n;
        bad = read_span(r, sizeof(float), &s);
        if (bad)
            return bad;
    }
    return done == op->b ? BAD_NONE : wrong_width(r, done, op->b);
}

/* The usual array has all its items in one block: one check, one copy. */
static inline enum bad read_float_array(struct run *r, const struct avro_op *op)
{
    struct span s;
    enum bad bad = read_span(r, sizeof(float), &s);

    if (bad)
        return bad;
    if (s.n == op->b && !s.stop && left(r) > op->b * sizeof(float) &&
        r->p[op->b * sizeof(float)] == 0) {
        bad = read_floats(r, op->a, op->b);
        r->p += bad == BAD_NONE;
        return bad;
    }
    return read_float_blocks(r, op, s);
}

/* Whole numbers that must not pass through a double. */
static enum bad read_whole(struct run *r, const struct avro_op *op)
{
    uint8_t text[8];
    int64_t v;
    enum bad bad = read_integer(r, op, &v);

    if (bad)
        return bad;
    if (op->sink == SINK_KEY) {
        put_u64(text, (uint64_t)v);
        return put_key(r, text, sizeof text);
    }
    if (r->b->ts_ms)
        r->b->ts_ms[r->row] = op->kind == AVRO_K_LONG && op->b ? v / 1000 : v;
    return BAD_NONE;
}

static inline enum bad read_sink(struct run *r, const struct avro_op *op)
{
    enum bad bad;
    double v;

    if ((op->sink == SINK_KEY || op->sink == SINK_TIME) && op->kind != AVRO_K_FLOAT &&
        op->kind != AVRO_K_DOUBLE)
        return read_whole(r, op);
    bad = read_number(r, op, &v);
    if (bad)
        return bad;
    switch (op->sink) {
    case SINK_LABEL:
        r->value = v;
        return labels_number(&r->plan->labels, v, &r->b->y[r->row]) ? BAD_NONE : BAD_LABEL;
    case SINK_WEIGHT:
        return put_weight(r, v);
    case SINK_TIME:
        return put_time(r, v);
    default:
        DCHECK(op->sink == SINK_KEY);
        return put_key(r, &v, sizeof v);
    }
}

static inline enum bad branch(struct run *r, const struct avro_op *op, uint32_t *pc)
{
    int64_t v;
    enum bad bad = read_within(r, 0, (int64_t)op->a - 1, &v);

    if (bad == BAD_NONE)
        *pc = r->plan->jump[op->b + v];
    return bad;
}

/* Runs the operations from pc to the END of their body. */
enum bad avro_run(struct run *r, uint32_t pc)
{
    for (;;) {
        const struct avro_op *op = &r->plan->op[pc++];
        enum bad bad = BAD_NONE;
        int64_t v;

        switch (op->code) {
        case OP_END:
            return BAD_NONE;
        case OP_JUMP:
            pc = op->a;
            break;
        case OP_UNION:
            bad = branch(r, op, &pc);
            break;
        case OP_FLOATS:
            bad = read_floats(r, op->a, op->b);
            break;
        case OP_DOUBLES:
            bad = read_doubles(r, op);
            break;
        case OP_COLUMN:
            bad = read_column(r, op);
            break;
        case OP_FLOAT_ARRAY:
            bad = read_float_array(r, op);
            break;
        case OP_RUN:
            bad = read_fields(r, op);
            pc = op->c;
            break;
        case OP_NUMBER:
            bad = read_sink(r, op);
            break;
        case OP_SKIP:
            bad = skip(r, op->a);
            break;
        case OP_SKIP_VARINT:
            bad = read_long(r, &v);
            break;
        case OP_SKIP_TEXT:
            bad = skip_text(r);
            break;
        default:
            bad = avro_run_rare(r, op, pc);
            if (op->c)
                pc = op->c;
        }
        if (bad) {
            if (!r->bad)
                r->bad = op;
            return bad;
        }
    }
}

const char *avro_plan_column_name(const struct avro_plan *p, uint32_t column, char *text, size_t n)
{
    snprintf(text, n, "%u", column);
    for (uint32_t i = 0; i < p->columns; i++) {
        const struct avro_column *c = &p->column[i];

        if (column - c->first >= c->width)
            continue;
        if (c->array)
            snprintf(text, n, "%s[%u]", p->names + c->name, column - c->first);
        else
            snprintf(text, n, "%s", p->names + c->name);
    }
    return text;
}

/* ---- reasons ---- */

static void say_value(const struct run *r, char *text, size_t n)
{
    const struct avro_op *op = r->bad;
    const char *kind = op->kind == AVRO_K_ENUM ? "symbol" : "branch";

    if (op->code == OP_FAIL)
        snprintf(text, n, "a branch that is no number");
    else if (r->key)
        snprintf(text, n, "key '%.40s' is there twice", r->plan->names + r->key->name);
    else if (op->code == OP_UNION || op->kind == AVRO_K_ENUM)
        snprintf(text, n, "%s %lld of %u", kind, (long long)r->got,
                 op->code == OP_UNION ? op->a : op->b);
    else
        snprintf(text, n, "%lld is out of range, or an array block has another size than it says",
                 (long long)r->got);
}

static void say_label(const struct run *r, char *text, size_t n)
{
    char shown[36];

    if (r->bad->code == OP_FAIL)
        snprintf(text, n, "the label is null");
    else if (r->bad->code == OP_TEXT)
        snprintf(text, n, "no class '%s'",
                 bytes_shown(r->m->body.p + r->got, (size_t)r->want, shown));
    else
        snprintf(text, n, "no class %.9g", r->value);
}

static void say(const struct run *r, enum bad bad, char *text, size_t n)
{
    long long got = r->got, want = r->want;

    switch (bad) {
    case BAD_TRUNCATED:
        snprintf(text, n, "%lld bytes are needed, %lld are left", want, got);
        break;
    case BAD_TOO_LONG:
        if (r->depth == SCHEMA_DEPTH_MAX)
            snprintf(text, n, "nested deeper than %d", SCHEMA_DEPTH_MAX);
        else
            snprintf(text, n, "claims a length of %lld, %lld bytes are left", want, got);
        break;
    case BAD_TRAILING:
        snprintf(text, n, "%lld bytes behind the last value", got);
        break;
    case BAD_VALUE:
        say_value(r, text, n);
        break;
    case BAD_NONFINITE:
        snprintf(text, n, "%g is not finite, or beyond float32", r->value);
        break;
    case BAD_LABEL:
        say_label(r, text, n);
        break;
    case BAD_WEIGHT:
        snprintf(text, n, "weight %.9g is negative", r->value);
        break;
    case BAD_WIDTH:
        snprintf(text, n, "%lld values, %lld are needed", got, want);
        break;
    case BAD_INDEX:
        snprintf(text, n, "index %lld behind %lld, of %u columns", got, want, r->b->s.d);
        break;
    case BAD_MISSING:
        snprintf(text, n, "no value%s%.40s", r->key ? " for key " : "",
                 r->key ? r->plan->names + r->key->name : "");
        break;
    default:
        snprintf(text, n, "more than a block holds: %d rows, %u entries", BLOCK_ROWS,
                 r->b->s.nnz_max);
    }
}

static void explain(const struct run *r, enum bad bad, char *detail)
{
    char what[128], field[64] = "";

    say(r, bad, what, sizeof what);
    if (bad == BAD_NONFINITE && r->got >= 0)
        avro_plan_column_name(r->plan, (uint32_t)r->got, field, sizeof field);
    else if (r->bad)
        snprintf(field, sizeof field, "%s", r->plan->names + r->bad->name);
    if (field[0])
        snprintf(detail, DETAIL_BYTES, "row %u, field %s: %s", r->rows, field, what);
    else
        snprintf(detail, DETAIL_BYTES, "row %u: %s", r->rows, what);
}

/* ---- the whole message ---- */

/* Field by field: zeroing all of it would take as long as reading a short message. */
static void start(struct run *r, struct avro_plan *p, struct bytes body)
{
    r->plan = p;
    r->p = body.p;
    r->end = body.p + body.n;
    r->b = NULL;
    r->m = NULL;
    r->x = NULL;
    r->row = r->rows = r->base = r->entries = r->indices = r->values = r->depth = 0;
    r->count = NULL;
    r->bad = NULL;
    r->key = NULL;
    r->got = r->want = 0;
    r->value = 0;
}

static enum bad run_message(struct run *r)
{
    bool row = r->b && !r->plan->rows;
    enum bad bad = row ? open_row(r) : BAD_NONE;

    if (bad == BAD_NONE)
        bad = avro_run(r, 0);
    if (bad == BAD_NONE && r->p != r->end) {
        r->bad = NULL;
        r->got = r->end - r->p;
        return BAD_TRAILING;
    }
    if (bad == BAD_NONE && row)
        bad = close_row(r);
    return bad;
}

enum bad avro_plan_run(struct avro_plan *p, const struct avro_message *m, struct block *b,
                       char *detail)
{
    struct run r;
    enum bad bad;

    CHECK(m->body.p && b->n <= BLOCK_ROWS && b->s.d == p->width && !b->ptr == !p->sparse);
    CHECK(!p->labelled || b->y);
    start(&r, p, m->body);
    r.b = b;
    r.m = m;
    r.row = b->n;
    r.entries = b->ptr ? b->ptr[b->n] : 0;
    bad = run_message(&r);
    CHECK(r.p <= r.end && r.row == b->n + r.rows && r.row <= BLOCK_ROWS);
    if (bad == BAD_NONE) {
        b->n = r.row;
        return BAD_NONE;
    }
    if (bad == BAD_FULL && !b->n)
        bad = BAD_TOO_MANY;
    if (bad != BAD_FULL && detail)
        explain(&r, bad, detail);
    return bad;
}

enum bad avro_plan_measure(struct avro_plan *p, struct bytes body, uint64_t *count)
{
    struct run r;

    start(&r, p, body);
    r.count = count;
    for (uint32_t i = 0; count && i < p->counts; i++)
        count[i] = AVRO_NOT_COUNTED;
    return run_message(&r);
}

void avro_plan_free(struct avro_plan *p)
{
    free(p->op);
    free(p->jump);
    free(p->key);
    free(p->class_of);
    free(p->number);
    free(p->column);
    free(p->names);
    labels_fini(&p->labels);
    memset(p, 0, sizeof *p);
}
