/* JSON: a message is an object, several behind one another (JSON lines), or an array of objects; an
 * object is a row. Numbers, true (1) and false (0) are features, arrays of them columns name[0],
 * name[1], ...; "a.b" is a field of an object in an object. Text is read where the job names a
 * label, a key or one_hot; null, and a field that is not there, is a missing value. Fields that the
 * job does not use may be anything. A used field that is there twice is a bad record: whichever of
 * the two was meant.
 *
 * One pass over the bytes of the message, straight into the block. After a field the one that
 * followed it the last time is expected, and its quoted name compared in place; another one is
 * looked up, and is expected next time. So order, blanks and escapes are free, and what they are
 * changes no row.
 *
 * Why no library: rows of numbers are mostly digits, so a parser is as fast as it reads those, and
 * a tree or tape that is read afterwards is work that nothing here needs. On one core, values taken
 * out, rows of a label and 28 numbers of 9 digits: as named fields in one run this 1.11 GB/s,
 * simdjson 3.0.1 0.78, yyjson 0.87; as an array in another 1.09, 0.68 and 0.71; jansson 0.06 in a
 * third. simdjson would
 * be the only C++ here, yyjson is in few distributions, and either would stand beside straight code
 * for the common form. jansson is the oracle of the tests. */
#include "consumer/codec.h"

#include "consumer/json_rows.h"

#include <stdio.h>
#include <stdlib.h>

enum { HASH_BITS = 18 };

/* ---- open ---- */

static enum st open_categories(struct json *s, const struct input *in, struct err *e)
{
    for (uint32_t i = 0; i < in->one_hots; i++)
        s->name_hash[i] = hash64(in->one_hot[i], strlen(in->one_hot[i]), 0);
    if (in->one_hots)
        s->buckets = 1u << (in->hash_bits ? in->hash_bits : HASH_BITS);
    if (s->buckets + s->fields.columns > COLUMNS_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "input: %u columns for categories and %u numbers are more than %d: set "
                    "hash_bits lower",
                    s->buckets, s->fields.columns, COLUMNS_MAX);
    return ST_OK;
}

static uint64_t fingerprint(const struct json *s)
{
    const struct json_fields *f = &s->fields;
    uint64_t h = FORMAT_JSON;

    for (uint32_t i = 0; i < f->leaves; i++) {
        const struct json_leaf *q = &f->leaf[i];
        const char *path = f->text + q->path;

        h = hash64((uint32_t[]){q->role, q->column, q->width}, 12, h);
        h = hash64(path, strlen(path), h);
    }
    return labels_hash(&s->labels, h + s->buckets);
}

static enum st json_open(void *self, const struct input *in, bool need_label, struct bytes sample,
                         struct decoded *out, struct err *e)
{
    struct json *s = self;

    s->missing = in->missing;
    TRY(json_fields_open(&s->fields, in, need_label, sample, e));
    TRY(open_categories(s, in, e));
    TRY(labels_init(&s->labels, in->class_name, in->classes, e));
    memset(out, 0, sizeof *out);
    out->columns = s->buckets + s->fields.columns;
    out->shape = block_shape_of(out->columns, s->buckets > 0);
    out->shape.ny = s->fields.labelled;
    out->shape.weighted = in->weight[0] != 0;
    out->shape.keyed = in->key[0] != 0;
    out->shape.timed = in->time[0] != 0;
    out->classes = s->labels.n;
    labels_names(&s->labels, out->class_name);
    out->fingerprint = fingerprint(s);
    return ST_OK;
}

static void json_close(void *self)
{
    struct json *s = self;

    labels_fini(&s->labels);
    json_fields_close(&s->fields);
    memset(s, 0, sizeof *s);
}

static const char *json_column_name(void *self, uint32_t c, char *text, size_t n)
{
    const struct json *s = self;
    const struct json_fields *f = &s->fields;
    uint32_t lo = f->features, hi = f->leaves;

    CHECK(c < s->buckets + f->columns);
    if (c < s->buckets) {
        snprintf(text, n, "#%u", c);
        return text;
    }
    c -= s->buckets;
    while (hi - lo > 1) { /* the last leaf that does not begin behind it */
        uint32_t mid = lo + (hi - lo) / 2;

        if (f->leaf[mid].column <= c)
            lo = mid;
        else
            hi = mid;
    }
    if (f->leaf[lo].role == JSON_COLUMNS)
        snprintf(text, n, "%s[%u]", f->text + f->leaf[lo].path, c - f->leaf[lo].column);
    else
        snprintf(text, n, "%s", f->text + f->leaf[lo].path);
    return text;
}

static void json_label_limit(void *self, uint32_t classes)
{
    struct json *s = self;

    s->labels.limit = classes;
}

/* What is no JSON: where, and what is there. */
static enum bad bad_text(const struct json_rows *r, enum bad bad, struct bytes value)
{
    size_t left = (size_t)(r->t.end - r->t.p);
    char shown[36];

    if (left)
        snprintf(r->detail, DETAIL_BYTES, "row %u, byte %zu: %s at '%s'", r->row + 1,
                 (size_t)(r->t.p - value.p), r->t.what,
                 bytes_shown(r->t.p, left < 12 ? left : 12, shown));
    else
        snprintf(r->detail, DETAIL_BYTES, "row %u: the message ends at byte %zu: %s", r->row + 1,
                 value.n, r->t.what);
    return bad;
}

/* ---- objects ---- */

static enum bad put_members(struct json *s, struct json_rows *r, uint32_t parent);

static enum bad put_value(struct json *s, struct json_rows *r, uint32_t at)
{
    const struct json_node *q = &s->fields.node[at];
    struct json_leaf *leaf;

    if (q->role == JSON_SKIP)
        return json_skip(&r->t, 1);
    if (q->role == JSON_INNER)
        return r->t.p < r->t.end && *r->t.p == '{' ? put_members(s, r, at) : json_skip(&r->t, 1);
    leaf = &s->fields.leaf[q->leaf];
    if (leaf->seen == s->serial)
        return json_bad_field(s, r, leaf, BAD_VALUE, "is there twice", (struct bytes){0});
    leaf->seen = s->serial;
    r->seen++;
    if (leaf->role == JSON_COLUMN)
        return json_put_number(s, r, leaf, leaf->column);
    return leaf->role == JSON_COLUMNS ? json_put_array(s, r, leaf) : json_put_other(s, r, leaf);
}

/* A name that is not the one expected; 0: of no use. */
static enum bad look_up(struct json *s, struct json_rows *r, uint32_t parent, uint32_t *at)
{
    struct json_value name;
    enum bad bad = json_string(&r->t, &name);

    *at = 0;
    if (!bad && name.escaped) {
        name.text.n = json_unescape(name.text, s->text, JSON_TEXT_BYTES);
        name.text.p = s->text;
    }
    if (!bad && name.text.n < NAME_MAX_BYTES)
        *at = json_fields_find(&s->fields, parent, name.text.p, name.text.n);
    return bad;
}

/* Behind the quoted name of a field, if it is at p; else NULL. */
static inline const uint8_t *past_name(const struct json *s, const struct json_node *q,
                                       const uint8_t *p, const uint8_t *end)
{
    size_t left = (size_t)(end - p);

    if (left < 8 || (get_u64(p) & q->mask) != q->head)
        return NULL;
    if (q->n > 8 && (q->n > left || memcmp(p + 8, s->fields.text + q->quoted + 8, q->n - 8)))
        return NULL;
    return p + q->n;
}

/* The name of a field and its colon. *expect: the field expected here, which is learned. */
static enum bad find_member(struct json *s, struct json_rows *r, uint32_t parent, uint32_t *expect,
                            uint32_t *at)
{
    const uint8_t *p = past_name(s, &s->fields.node[*expect], r->t.p, r->t.end);
    enum bad bad;

    *at = *expect;
    if (p) {
        r->t.p = p;
    } else {
        bad = look_up(s, r, parent, at);
        if (bad)
            return bad;
        if (*at)
            *expect = *at;
    }
    return json_mark(&r->t, ':', "a colon is needed");
}

/* Fields in the common form, as expected, while that is what there is; the last one is left. */
static uint32_t *put_plain_fields(struct json *s, struct json_rows *r, uint32_t *expect)
{
    const uint8_t *p = r->t.p, *end = r->t.end;
    float v;

    for (;;) {
        struct json_node *q = &s->fields.node[*expect];
        struct json_leaf *leaf;

        p = past_name(s, q, p, end);
        if (!p || q->role != JSON_COLUMN || p - r->begin < JSON_BEFORE ||
            end - p < JSON_AHEAD + 2 || *p != ':')
            break;
        p = json_plain(p + 1 + (p[1] == ' '), &v);
        p = p ? json_past(p, ',') : NULL;
        leaf = &s->fields.leaf[q->leaf];
        if (!p || leaf->seen == s->serial)
            break;
        leaf->seen = s->serial;
        r->seen++;
        json_put(s, r, leaf->column, v);
        r->t.p = p;
        expect = &q->next;
    }
    return expect;
}

static enum bad put_members(struct json *s, struct json_rows *r, uint32_t parent)
{
    uint32_t *expect = &s->fields.node[parent].first, at;
    struct json_text *t = &r->t;
    enum bad bad = json_mark(t, '{', "an object is needed");

    if (!bad && t->p < t->end && *t->p == '}') {
        t->p++;
        return BAD_NONE;
    }
    while (!bad) {
        expect = put_plain_fields(s, r, expect);
        json_blank(t);
        bad = find_member(s, r, parent, expect, &at);
        if (bad)
            return bad;
        if (at)
            expect = &s->fields.node[at].next;
        bad = at ? put_value(s, r, at) : json_skip(t, 1);
        if (bad)
            return bad;
        json_blank(t);
        if (t->p < t->end && *t->p == '}') {
            t->p++;
            return BAD_NONE;
        }
        bad = json_mark(t, ',', "a comma is needed");
    }
    return bad;
}

/* ---- rows ---- */

static enum bad decode_row(struct json *s, struct json_rows *r, uint64_t rid, uint64_t key,
                           int64_t timestamp_ms)
{
    struct json_fields *f = &s->fields;
    struct block *b = r->b;
    uint32_t n = b->n + r->row;
    enum bad bad;

    block_stamp(b, n, rid, key, timestamp_ms);
    r->x = s->buckets ? NULL : b->x + (size_t)n * b->s.ld;
    r->seen = 0;
    s->serial++;
    bad = put_members(s, r, 0);
    for (uint32_t i = 0; !bad && r->seen < f->leaves && i < f->leaves; i++)
        if (f->leaf[i].seen != s->serial)
            bad = json_no_value(s, r, &f->leaf[i]);
    if (!bad && s->buckets)
        b->ptr[n + 1] = r->entries;
    return bad;
}

/* To the object that is the next row; *more false: the message has no more. */
static enum bad next_row(struct json_rows *r, bool *more)
{
    struct json_text *t = &r->t;
    bool open = r->array, comma;

    json_blank(t);
    if (!r->row && t->p < t->end && *t->p == '[') {
        r->array = true;
        t->p++;
        json_blank(t);
    }
    comma = open && t->p < t->end && *t->p == ',';
    if (comma) {
        t->p++;
        json_blank(t);
    }
    *more = t->p < t->end && *t->p == '{' && comma == open;
    if (*more)
        return BAD_NONE;
    if (r->array && !comma && t->p < t->end && *t->p == ']') {
        t->p++;
        json_blank(t);
    } else if (r->array || (!r->row && t->p < t->end)) {
        return json_expected(t, open && !comma ? "a comma is needed" : "an object is needed");
    }
    t->what = "more than the rows is there";
    return t->p < t->end ? BAD_TRAILING : BAD_NONE;
}

static enum bad json_decode(void *self, struct bytes key, struct bytes value, int64_t offset,
                            int64_t timestamp_ms, struct block *b, char *detail)
{
    struct json *s = self;
    struct json_rows r = {
        .t = {.p = value.p, .end = value.p + value.n}, .begin = value.p, .b = b, .detail = detail};
    uint64_t hash = b->key ? hash64(key.p, key.n, 0) : 0;
    const uint32_t entries = s->fields.categories + s->fields.columns;
    bool more;

    CHECK(value.p && b->s.d == s->buckets + s->fields.columns && b->n <= BLOCK_ROWS);
    CHECK(s->buckets ? b->ptr && b->col && b->val : b->x != NULL);
    r.entries = s->buckets ? b->ptr[b->n] : 0;
    for (;; r.row++) {
        enum bad bad = next_row(&r, &more);

        if (!bad && !more)
            break;
        if (!bad &&
            (b->n + r.row == BLOCK_ROWS || (s->buckets && r.entries + entries > b->s.nnz_max))) {
            snprintf(detail, DETAIL_BYTES, "more than %u rows, or %u entries", BLOCK_ROWS,
                     b->s.nnz_max);
            return b->n ? BAD_FULL : BAD_TOO_MANY;
        }
        detail[0] = 0;
        if (!bad)
            bad = decode_row(s, &r, (uint64_t)offset << 16 | r.row, hash, timestamp_ms);
        if (bad)
            return detail[0] ? bad : bad_text(&r, bad, value);
    }
    if (!r.row && !r.array) {
        snprintf(detail, DETAIL_BYTES, "no object in a value of %zu bytes", value.n);
        return BAD_TRUNCATED;
    }
    CHECK(r.t.p == r.t.end && b->n + r.row <= BLOCK_ROWS);
    b->n += r.row;
    return BAD_NONE;
}

const struct codec codec_json = {
    .name = "json",
    .summary = "objects, JSON lines or an array of objects; fields by name, nested ones as a.b",
    .self_bytes = sizeof(struct json),
    .samples = true,
    .open = json_open,
    .close = json_close,
    .decode = json_decode,
    .column_name = json_column_name,
    .label_limit = json_label_limit,
};
