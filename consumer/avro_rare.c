#include "consumer/avro_run.h"

static enum bad read_packed(struct run *r, const struct avro_op *op)
{
    uint64_t n;
    enum bad bad = read_length(r, &n);

    if (bad)
        return bad;
    if (n != op->b * sizeof(float)) {
        r->got = (int64_t)n;
        r->want = (int64_t)(op->b * sizeof(float));
        return BAD_WIDTH;
    }
    return read_floats(r, op->a, op->b);
}

static enum bad read_array(struct run *r, const struct avro_op *op, uint32_t pc)
{
    enum bad bad;
    struct span s;

    DCHECK(r->base == 0);
    for (;;) {
        bad = read_span(r, 1, &s);
        if (bad)
            return bad;
        if (!s.n)
            break;
        if (s.n > op->b - r->base)
            return wrong_width(r, r->base + s.n, op->b);
        for (uint32_t stop = r->base + (uint32_t)s.n; r->base < stop && !bad; r->base++) {
            r->base += avro_read_forms(r, op->form, r->x + op->a + r->base, stop - r->base);
            if (r->base == stop)
                break;
            bad = avro_run(r, pc);
        }
        if (bad == BAD_NONE)
            bad = end_span(r, &s);
        if (bad)
            return bad;
    }
    bad = r->base == op->b ? BAD_NONE : wrong_width(r, r->base, op->b);
    r->base = 0;
    return bad;
}

static enum bad read_index(struct run *r, const struct avro_op *op, int64_t *last)
{
    uint32_t at = r->entries + r->indices;
    int64_t v;
    enum bad bad = read_integer(r, op, &v);

    if (bad)
        return bad;
    r->got = v;
    r->want = *last;
    if (v <= *last || v >= r->b->s.d)
        return BAD_INDEX;
    DCHECK(at < r->b->s.nnz_max);
    r->b->col[at] = (uint32_t)v;
    r->indices++;
    *last = v;
    return BAD_NONE;
}

static enum bad read_sparse(struct run *r, const struct avro_op *op)
{
    int64_t last = -1;
    enum bad bad;
    struct span s;

    for (;;) {
        bad = read_span(r, 1, &s);
        if (bad)
            return bad;
        if (!s.n)
            return BAD_NONE;
        if (s.n > r->b->s.nnz_max - r->entries - (op->code == OP_INDICES ? r->indices : r->values))
            return BAD_FULL;
        for (uint64_t i = 0; i < s.n; i++) {
            double v;

            if (op->code == OP_INDICES) {
                bad = read_index(r, op, &last);
            } else {
                bad = read_number(r, op, &v);
                if (bad == BAD_NONE && !(fabsf((float)v) < INFINITY))
                    bad = BAD_NONFINITE;
                r->got = -1;
                r->value = v;
                r->b->val[r->entries + r->values++] = (float)v;
            }
            if (bad)
                return bad;
        }
        bad = end_span(r, &s);
        if (bad)
            return bad;
    }
}

static enum bad read_text(struct run *r, const struct avro_op *op)
{
    const uint8_t *text;
    uint64_t n = op->b;

    if (op->kind == AVRO_K_FIXED) {
        if (left(r) < n)
            return avro_too_short(r, n);
    } else {
        enum bad bad = read_length(r, &n);

        if (bad)
            return bad;
    }
    text = r->p;
    r->p += n;
    if (op->sink == SINK_KEY)
        return put_key(r, text, n);
    DCHECK(op->sink == SINK_LABEL);
    r->got = text - r->m->body.p;
    r->want = (int64_t)n;
    return labels_text(&r->plan->labels, text, n, &r->b->y[r->row]) ? BAD_NONE : BAD_LABEL;
}

static enum bad read_enum_label(struct run *r, const struct avro_op *op)
{
    int64_t v;
    enum bad bad = read_within(r, 0, (int64_t)op->b - 1, &v);

    if (bad)
        return bad;
    r->value = (double)v;
    if (r->plan->class_of[op->a + v] < 0)
        return BAD_LABEL;
    r->b->y[r->row] = r->plan->class_of[op->a + v];
    return BAD_NONE;
}

static enum bad put_constant(struct run *r, const struct avro_op *op)
{
    double v = r->plan->number[op->b];

    DCHECK(op->b < r->plan->numbers);
    switch (op->sink) {
    case SINK_COLUMN:
        return put_column(r, op->a, v);
    case SINK_WEIGHT:
        return put_weight(r, v);
    default:
        DCHECK(op->sink == SINK_TIME);
        return put_time(r, v);
    }
}

static enum bad put_missing(struct run *r, const struct avro_op *op)
{
    float *x = r->x + op->a + r->base;

    DCHECK(r->x && op->a + op->b + r->base <= r->b->s.d);
    for (uint32_t i = 0; i < op->b; i++)
        x[i] = NAN;
    return BAD_NONE;
}

/* A block whose size the writer gave is jumped over; items of a fixed size are, too. */
static enum bad skip_items(struct run *r, const struct avro_op *op, uint32_t pc, uint64_t *count)
{
    enum bad bad;
    struct span s;

    for (*count = 0;; *count += s.n) {
        bad = read_span(r, op->kind ? 1 : op->a, &s);
        if (bad || !s.n)
            return bad;
        if (s.stop && op->kind != 2) {
            r->p = s.stop;
        } else if (!op->kind) {
            r->p += s.n * op->a; /* read_span has seen that they are there */
        } else {
            for (uint64_t i = 0; i < s.n && bad == BAD_NONE; i++)
                bad = avro_run(r, pc);
            if (bad == BAD_NONE)
                bad = end_span(r, &s);
            if (bad)
                return bad;
        }
    }
}

static enum bad count_items(struct run *r, const struct avro_op *op, uint32_t pc)
{
    uint64_t n;
    enum bad bad = skip_items(r, op, pc, &n);

    if (bad == BAD_NONE && r->count && r->count[op->b] == AVRO_NOT_COUNTED)
        r->count[op->b] = n;
    return bad;
}

static struct avro_key *find_key(const struct avro_plan *plan, const struct avro_op *op,
                                 const uint8_t *text, uint64_t bytes)
{
    struct avro_key *key = plan->key + op->a;
    uint32_t n = op->b;

    while (n) {
        struct avro_key *mid = key + n / 2;
        size_t common = bytes < mid->bytes ? bytes : mid->bytes;
        int order = memcmp(text, plan->names + mid->name, common);

        if (order == 0 && bytes == mid->bytes)
            return mid;
        if (order > 0 || (order == 0 && bytes > mid->bytes)) {
            key = mid + 1;
            n -= n / 2 + 1;
        } else {
            n /= 2;
        }
    }
    return NULL;
}

static enum bad read_entry(struct run *r, const struct avro_op *op, uint32_t pc, uint32_t *found)
{
    struct avro_key *hit;
    const uint8_t *text;
    uint64_t n;
    enum bad bad = read_length(r, &n);

    if (bad)
        return bad;
    text = r->p;
    r->p += n;
    hit = find_key(r->plan, op, text, n);
    if (!hit)
        return avro_run(r, pc);
    if (hit->seen == r->plan->serial) {
        r->key = hit;
        return BAD_VALUE;
    }
    hit->seen = r->plan->serial;
    ++*found;
    DCHECK(*found <= op->b);
    return avro_run(r, hit->body);
}

/* Every declared key has to be there once, or, where it may be absent, at most once. */
static enum bad read_map(struct run *r, const struct avro_op *op, uint32_t pc)
{
    uint32_t found = 0;
    enum bad bad;
    struct span s;

    r->plan->serial++;
    for (;;) {
        bad = read_span(r, 1, &s);
        if (bad)
            return bad;
        if (!s.n)
            break;
        for (uint64_t i = 0; i < s.n && bad == BAD_NONE; i++)
            bad = read_entry(r, op, pc, &found);
        if (bad == BAD_NONE)
            bad = end_span(r, &s);
        if (bad)
            return bad;
    }
    if (found == op->b || op->kind)
        return BAD_NONE;
    for (r->key = &r->plan->key[op->a]; r->key->seen == r->plan->serial;)
        r->key++;
    return BAD_MISSING;
}

static enum bad read_rows(struct run *r, uint32_t pc)
{
    enum bad bad;
    struct span s;

    for (;;) {
        bad = read_span(r, 1, &s);
        if (bad || !s.n)
            return bad;
        if (s.n > BLOCK_ROWS - r->row)
            return BAD_FULL;
        for (uint64_t i = 0; i < s.n; i++) {
            bad = open_row(r);
            if (bad == BAD_NONE)
                bad = avro_run(r, pc);
            if (bad == BAD_NONE)
                bad = close_row(r);
            if (bad)
                return bad;
        }
        bad = end_span(r, &s);
        if (bad)
            return bad;
    }
}

static enum bad call(struct run *r, uint32_t pc)
{
    enum bad bad;

    DCHECK(pc < r->plan->ops);
    if (r->depth == SCHEMA_DEPTH_MAX)
        return BAD_TOO_LONG;
    r->depth++;
    bad = avro_run(r, pc);
    if (bad == BAD_NONE)
        r->depth--; /* else the reason may be how deep it was */
    return bad;
}

/* What is rarely in a plan, or takes long anyway. */
enum bad avro_run_rare(struct run *r, const struct avro_op *op, uint32_t body)
{
    uint64_t n;

    switch (op->code) {
    case OP_CALL:
        return call(r, op->a);
    case OP_FAIL:
        return (enum bad)op->a;
    case OP_ROWS:
        return read_rows(r, body);
    case OP_CONSTANT:
        return put_constant(r, op);
    case OP_MISSING:
        return put_missing(r, op);
    case OP_PACKED:
        return read_packed(r, op);
    case OP_ARRAY:
        return read_array(r, op, body);
    case OP_MAP:
        return read_map(r, op, body);
    case OP_INDICES:
    case OP_VALUES:
        return read_sparse(r, op);
    case OP_TEXT:
        return read_text(r, op);
    case OP_ENUM_LABEL:
        return read_enum_label(r, op);
    case OP_SKIP_ITEMS:
        return skip_items(r, op, body, &n);
    default:
        CHECK(op->code == OP_COUNT);
        return count_items(r, op, body);
    }
}
