#include "consumer/json_rows.h"

#include <stdio.h>

enum bad json_bad_field(const struct json *s, const struct json_rows *r,
                        const struct json_leaf *leaf, enum bad bad, const char *what,
                        struct bytes text)
{
    char shown[36];

    snprintf(r->detail, DETAIL_BYTES, "row %u, field %.60s: %s%s%s%s", r->row + 1,
             s->fields.text + leaf->path, what, text.p ? " '" : "",
             text.p ? bytes_shown(text.p, text.n, shown) : "", text.p ? "'" : "");
    return bad;
}

/* The row's columns ascend and are distinct, in whatever order its fields are. */
void json_put_entry(struct json_rows *r, uint32_t column, float v)
{
    struct block *b = r->b;
    const uint32_t from = b->ptr[b->n + r->row];
    uint32_t at = r->entries;

    while (at > from && b->col[at - 1] > column)
        at--;
    if (at > from && b->col[at - 1] == column) {
        b->val[at - 1] += v;
        return;
    }
    DCHECK(r->entries < b->s.nnz_max);
    memmove(b->col + at + 1, b->col + at, (r->entries - at) * sizeof *b->col);
    memmove(b->val + at + 1, b->val + at, (r->entries - at) * sizeof *b->val);
    b->col[at] = column;
    b->val[at] = v;
    r->entries++;
}

enum bad json_no_value(const struct json *s, struct json_rows *r, const struct json_leaf *leaf)
{
    if (leaf->role == JSON_LABEL)
        return json_bad_field(s, r, leaf, BAD_LABEL, "no label", (struct bytes){0});
    if (!s->missing || leaf->role > JSON_COLUMNS)
        return json_bad_field(s, r, leaf, BAD_MISSING, "no value", (struct bytes){0});
    for (uint32_t i = 0; i < leaf->width; i++)
        json_put(s, r, leaf->column + i, NAN);
    return BAD_NONE;
}

/* A feature that is no number. */
static enum bad put_rare(const struct json *s, struct json_rows *r, const struct json_leaf *leaf,
                         uint32_t column)
{
    struct json_value v;
    enum bad bad = json_scalar(&r->t, &v);

    if (bad)
        return bad;
    switch (v.kind) {
    case JSON_TRUE:
    case JSON_FALSE:
        json_put(s, r, column, v.kind == JSON_TRUE);
        return BAD_NONE;
    case JSON_NONFINITE:
        if (!s->missing || *v.text.p != 'N')
            return json_bad_field(s, r, leaf, BAD_NONFINITE, "not finite", v.text);
        break;
    case JSON_NULL:
        if (!s->missing)
            return json_bad_field(s, r, leaf, BAD_MISSING, "no value", (struct bytes){0});
        break;
    case JSON_ARRAY:
        return json_bad_field(s, r, leaf, BAD_VALUE,
                              "an array where a number is needed; input.features: name[width]",
                              (struct bytes){0});
    default:
        return json_bad_field(s, r, leaf, BAD_VALUE, "no number",
                              v.kind == JSON_OBJECT ? (struct bytes){r->t.p, 1} : v.text);
    }
    json_put(s, r, column, NAN);
    return BAD_NONE;
}

enum bad json_put_number(const struct json *s, struct json_rows *r, const struct json_leaf *leaf,
                         uint32_t column)
{
    const uint8_t *start = r->t.p;
    enum bad bad;
    float v;

    if (start == r->t.end || !(json_digit(*start) || *start == '-'))
        return put_rare(s, r, leaf, column);
    bad = json_float(&r->t, &v);
    if (bad && *start == '-' && r->t.p < r->t.end && *r->t.p == 'I') {
        r->t.p = start;
        return put_rare(s, r, leaf, column);
    }
    if (bad)
        return bad;
    if (!(fabsf(v) < INFINITY))
        return json_bad_field(s, r, leaf, BAD_NONFINITE, "not finite",
                              (struct bytes){start, (size_t)(r->t.p - start)});
    json_put(s, r, column, v);
    return BAD_NONE;
}

/* Items of an array in the common form, while that is what there is; the last one is left. A sparse
 * row has none here. */
static uint32_t put_plain_items(struct json_rows *r, const struct json_leaf *leaf, uint32_t from)
{
    const uint8_t *p = r->t.p, *q;
    uint32_t n = from, most = r->x && p - r->begin >= JSON_BEFORE ? leaf->width - 1 : 0;
    float *x = most ? r->x + leaf->column : NULL, v;

    for (; n < most && r->t.end - p >= JSON_AHEAD; p = q) {
        q = json_plain(p, &v);
        q = q ? json_past(q, ',') : NULL;
        if (!q)
            break;
        x[n++] = v;
    }
    r->t.p = p;
    return n - from;
}

static enum bad bad_width(const struct json *s, const struct json_rows *r,
                          const struct json_leaf *leaf, const char *which, uint32_t n)
{
    snprintf(r->detail, DETAIL_BYTES, "row %u, field %.60s: %s %u numbers, %u are needed",
             r->row + 1, s->fields.text + leaf->path, which, n, leaf->width);
    return BAD_WIDTH;
}

enum bad json_put_array(struct json *s, struct json_rows *r, const struct json_leaf *leaf)
{
    struct json_text *t = &r->t;
    uint32_t n = 0;
    enum bad bad;

    if (t->p < t->end && *t->p == 'n') {
        struct json_value v;

        bad = json_scalar(t, &v);
        return bad ? bad : json_no_value(s, r, leaf);
    }
    if (t->p < t->end && *t->p != '[')
        return json_bad_field(s, r, leaf, BAD_VALUE, "an array of numbers is needed, not",
                              (struct bytes){t->p, 1});
    bad = json_mark(t, '[', "an array of numbers is needed");
    if (bad || (t->p < t->end && *t->p == ']'))
        return bad ? bad : bad_width(s, r, leaf, "has", 0);
    for (;;) {
        n += put_plain_items(r, leaf, n);
        json_blank(t);
        bad = json_put_number(s, r, leaf, leaf->column + n);
        if (bad)
            return bad;
        n++;
        json_blank(t);
        if (t->p < t->end && *t->p == ']') {
            t->p++;
            return n == leaf->width ? BAD_NONE : bad_width(s, r, leaf, "has", n);
        }
        bad = json_mark(t, ',', "a comma is needed");
        if (bad)
            return bad;
        if (n == leaf->width)
            return bad_width(s, r, leaf, "more than", n);
    }
}

static enum bad put_label(const struct json *s, struct json_rows *r, const struct json_leaf *leaf,
                          const struct json_value *v)
{
    float *y = &r->b->y[r->b->n + r->row];

    if (v->kind != JSON_NONFINITE && labels_text(&s->labels, v->text.p, v->text.n, y))
        return BAD_NONE;
    if (v->kind == JSON_TRUE || v->kind == JSON_FALSE)
        if (labels_number(&s->labels, v->kind == JSON_TRUE, y))
            return BAD_NONE;
    return json_bad_field(s, r, leaf, BAD_LABEL, "no such class", v->text);
}

/* Weight and time. */
static enum bad put_double(const struct json *s, struct json_rows *r, const struct json_leaf *leaf,
                           const struct json_value *v)
{
    uint32_t n = r->b->n + r->row;
    double f = 0;

    if (v->kind == JSON_NONFINITE)
        return json_bad_field(s, r, leaf, BAD_NONFINITE, "not finite", v->text);
    if (v->kind != JSON_NUMBER || !number_f64(v->text.p, v->text.n, &f))
        return json_bad_field(s, r, leaf, BAD_VALUE, "no number", v->text);
    if (!isfinite((float)f) || fabs(f) > 9e18)
        return json_bad_field(s, r, leaf, BAD_NONFINITE, "not finite", v->text);
    if (leaf->role == JSON_TIME) {
        r->b->ts_ms[n] = (int64_t)f;
        return BAD_NONE;
    }
    if (f < 0)
        return json_bad_field(s, r, leaf, BAD_WEIGHT, "negative weight", v->text);
    r->b->weight[n] = (float)f;
    return BAD_NONE;
}

/* What is no feature. */
enum bad json_put_other(struct json *s, struct json_rows *r, const struct json_leaf *leaf)
{
    struct json_value v;
    enum bad bad = json_scalar(&r->t, &v);
    uint64_t hash;

    if (bad)
        return bad;
    if (v.kind == JSON_NULL)
        return json_no_value(s, r, leaf);
    if (v.kind >= JSON_OBJECT)
        return json_bad_field(s, r, leaf, BAD_VALUE, "a number or text is needed, not",
                              (struct bytes){r->t.p, 1});
    if (v.escaped) {
        v.text.n = json_unescape(v.text, s->text, JSON_TEXT_BYTES);
        if (v.text.n == SIZE_MAX)
            return json_bad_field(s, r, leaf, BAD_TOO_LONG, "text with escapes beyond 4096 bytes",
                                  (struct bytes){0});
        v.text.p = s->text;
    }
    if (leaf->role == JSON_LABEL)
        return put_label(s, r, leaf, &v);
    if (leaf->role == JSON_WEIGHT || leaf->role == JSON_TIME)
        return put_double(s, r, leaf, &v);
    if (leaf->role == JSON_KEY) {
        r->b->key[r->b->n + r->row] = hash64(v.text.p, v.text.n, 0);
        return BAD_NONE;
    }
    DCHECK(leaf->role == JSON_CATEGORY);
    if (!v.text.n)
        return json_no_value(s, r, leaf);
    hash = hash64(v.text.p, v.text.n, s->name_hash[leaf->column]);
    json_put_entry(r, (uint32_t)(hash & (s->buckets - 1)), 1);
    return BAD_NONE;
}
