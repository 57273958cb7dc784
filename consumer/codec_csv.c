/* CSV as in RFC 4180: a message holds one line or several, fields are separated by the job's
 * delimiter, and a field may stand in quotes ("" inside is one quote), where delimiters and line
 * ends are text. There is no header line: names come from input.columns, or are f0, f1, ... Blank
 * lines are skipped; blanks round an unquoted number are ignored.
 * An empty field is a missing value; as a feature, where the algorithm takes those, so are the
 * words NA, N/A, NaN, null, None and ?, in any case.
 *
 * With input.one_hot rows are sparse: a category is an entry of 1 in the column that its text and
 * the field's name hash to, below 2^hash_bits (two that meet there are one entry of 2); numbers
 * have their columns behind, and a 0 has no entry. */
#include "consumer/csv_fields.h"

#include "config/base/bytes.h"
#include "consumer/csv_text.h"
#include "consumer/scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct csv_line { /* where decoding stands */
    const uint8_t *p, *end;
    struct scan scan;      /* of delimiters and line ends; may be behind p */
    uint32_t row, entries; /* entries: sparse, of the block, those of this message included */
    char *detail;
};

static void csv_close(void *self)
{
    struct csv *s = self;

    labels_fini(&s->labels);
    free(s->group);
    free(s->field);
    free(s->field_of);
    free(s->plain);
    memset(s, 0, sizeof *s);
}

static const char *csv_column_name(void *self, uint32_t c, char *text, size_t n)
{
    const struct csv *s = self;

    CHECK(c < s->buckets + s->columns);
    if (c >= s->buckets)
        return csv_field_name(s, s->field_of[c - s->buckets], text, n);
    snprintf(text, n, "#%u", c);
    return text;
}

static void csv_label_limit(void *self, uint32_t classes)
{
    struct csv *s = self;

    s->labels.limit = classes;
}

/* ---- decode ---- */

static enum bad bad_field(const struct csv *s, const struct csv_line *l, uint32_t f, enum bad bad,
                          const char *what, struct csv_text t)
{
    char name[NAME_MAX_BYTES], shown[36];

    snprintf(l->detail, DETAIL_BYTES, "line %u, field %.60s: %s '%s'", l->row + 1,
             csv_field_name(s, f, name, sizeof name), what, bytes_shown(t.p, t.n, shown));
    return bad;
}

/* Puts "" back to " where there is any; false: longer than we keep. */
static bool unescape(struct csv *s, struct csv_text *t)
{
    size_t n = 0;

    if (!t->escaped)
        return true;
    if (t->n > CSV_TEXT_BYTES)
        return false;
    for (size_t i = 0; i < t->n; i++) {
        s->text[n++] = t->p[i];
        i += t->p[i] == '"';
    }
    t->p = s->text;
    t->n = n;
    return true;
}

static enum bad put_rest(struct csv *s, const struct csv_line *l, uint32_t f, struct csv_text t,
                         struct block *b)
{
    uint32_t role = s->field[f].role, n = b->n + l->row;
    double v;

    if (!unescape(s, &t))
        return bad_field(s, l, f, BAD_TOO_LONG, "quoted text beyond 4096 bytes", t);
    if (role == CSV_KEY) {
        if (b->key)
            b->key[n] = hash64(t.p, t.n, 0);
        return BAD_NONE;
    }
    t = csv_trim(t);
    if (role == CSV_LABEL) {
        DCHECK(b->y);
        if (!t.n)
            return bad_field(s, l, f, BAD_LABEL, "no label", t);
        if (!labels_text(&s->labels, t.p, t.n, &b->y[n]))
            return bad_field(s, l, f, BAD_LABEL, "no such class", t);
        return BAD_NONE;
    }
    if (!t.n)
        return bad_field(s, l, f, BAD_MISSING, "no value", t);
    if (!number_f64(t.p, t.n, &v))
        return bad_field(s, l, f, BAD_VALUE, "no number", t);
    if (!isfinite((float)v) || fabs(v) > 9e18)
        return bad_field(s, l, f, BAD_NONFINITE, "not finite", t);
    if (role == CSV_WEIGHT) {
        if (v < 0)
            return bad_field(s, l, f, BAD_WEIGHT, "negative weight", t);
        b->weight[n] = (float)v;
    } else if (b->ts_ms) {
        b->ts_ms[n] = (int64_t)v;
    }
    return BAD_NONE;
}

static bool says_missing(struct csv_text t)
{
    static const char *const word[] = {"", "?", "na", "n/a", "nan", "null", "none"};

    for (size_t k = 0; k < sizeof word / sizeof *word; k++)
        if (t.n == strlen(word[k]) && !strncasecmp((const char *)t.p, word[k], t.n))
            return true;
    return false;
}

static enum bad put_feature(const struct csv *s, const struct csv_line *l, uint32_t f,
                            struct csv_text t, float *x)
{
    t = csv_trim(t);
    if (!t.escaped && number_f32(t.p, t.n, x) && isfinite(*x))
        return BAD_NONE;
    if (s->missing && says_missing(t)) {
        *x = NAN;
        return BAD_NONE;
    }
    if (!t.n)
        return bad_field(s, l, f, BAD_MISSING, "no value", t);
    if (t.escaped || !number_f32(t.p, t.n, x))
        return bad_field(s, l, f, BAD_VALUE, "no number", t);
    if (!isfinite(*x))
        return bad_field(s, l, f, BAD_NONFINITE, "not finite", t);
    return BAD_NONE;
}

/* The row's columns ascend and are distinct, in whatever order its fields are. */
static void put_entry(struct csv_line *l, struct block *b, uint32_t column, float v)
{
    const uint32_t from = b->ptr[b->n + l->row];
    uint32_t at = l->entries;

    while (at > from && b->col[at - 1] > column)
        at--;
    if (at > from && b->col[at - 1] == column) {
        b->val[at - 1] += v;
        return;
    }
    DCHECK(l->entries < b->s.nnz_max);
    memmove(b->col + at + 1, b->col + at, (l->entries - at) * sizeof *b->col);
    memmove(b->val + at + 1, b->val + at, (l->entries - at) * sizeof *b->val);
    b->col[at] = column;
    b->val[at] = v;
    l->entries++;
}

static enum bad put_category(struct csv *s, struct csv_line *l, uint32_t f, struct csv_text t,
                             struct block *b)
{
    uint64_t hash;

    if (!unescape(s, &t))
        return bad_field(s, l, f, BAD_TOO_LONG, "quoted text beyond 4096 bytes", t);
    t = csv_trim(t);
    if (!t.n)
        return bad_field(s, l, f, BAD_MISSING, "no value", t);
    hash = hash64(t.p, t.n, s->name_hash[s->field[f].column]);
    put_entry(l, b, (uint32_t)(hash & (s->buckets - 1)), 1);
    return BAD_NONE;
}

/* A number into its place: in the dense row, or as an entry. */
static enum bad put_number(struct csv *s, struct csv_line *l, uint32_t f, struct csv_text t,
                           struct block *b)
{
    const uint32_t column = s->field[f].column;
    float v;
    enum bad bad;

    DCHECK(column < s->columns);
    if (!s->buckets)
        return put_feature(s, l, f, t, b->x + (size_t)(b->n + l->row) * b->s.ld + column);
    bad = put_feature(s, l, f, t, &v);
    if (!bad && v != 0)
        put_entry(l, b, s->buckets + column, v);
    return bad;
}

/* The plain fields from f on, up to one that is no plain number or the end of the line; the number
 * of the field that is next. All others, and all that is wrong, are put_field's. */
static uint32_t put_plain(struct csv *s, struct csv_line *l, uint32_t f, float *x)
{
    const uint32_t most = s->plain[f] < NUMBER_MANY ? s->plain[f] : NUMBER_MANY;
    const uint32_t inner = most < s->fields - f ? most : most - 1; /* the line's last is another */
    const uint8_t delimiter = s->delimiter, *const end = l->end, *p = l->p, *stop = p;
    struct number_many *many = &s->many;
    struct scan scan = l->scan;
    bool other = false;
    uint32_t n, good;

    scan_skip(&scan, p);
    for (n = 0; n < inner && !other; n++) {
        stop = scan_next(&scan);
        other = stop == end || *stop != delimiter;
        if (other)
            break;
        number_put(many, n, p, (size_t)(stop - p));
        p = stop + 1;
    }
    if (!other && n < most) {
        stop = scan_next(&scan);
        other = stop < end && *stop != '\n';
        if (!other) {
            number_put(many, n++, p, (size_t)(stop - p) - (stop > p && stop[-1] == '\r'));
            p = stop + (stop < end);
        }
    }
    good = number_many(many, n, x + s->field[f].column);
    l->p = good < n ? many->p[good] : p;
    if (good < n || other)
        scan_from(&scan, l->p);
    l->scan = scan;
    return f + good;
}

static enum bad put_field(struct csv *s, struct csv_line *l, uint32_t f, struct block *b,
                          bool *last)
{
    struct csv_text t;

    if (!csv_next(&l->p, l->end, s->delimiter, &t, last))
        return bad_field(s, l, f, BAD_VALUE, "quotes that do not match in", t);
    switch (s->field[f].role) {
    case CSV_SKIP:
        return BAD_NONE;
    case CSV_FEATURE:
        return put_number(s, l, f, t, b);
    case CSV_CATEGORY:
        return put_category(s, l, f, t, b);
    default:
        return put_rest(s, l, f, t, b);
    }
}

static enum bad decode_line(struct csv *s, struct csv_line *l, struct block *b)
{
    float *x = s->buckets ? NULL : b->x + (size_t)(b->n + l->row) * b->s.ld;
    bool last = false;
    uint32_t f = 0;

    while (f < s->fields && !last) {
        const uint32_t plain = x && s->field[f].role == CSV_FEATURE ? put_plain(s, l, f, x) - f : 0;
        enum bad bad = BAD_NONE;

        f += plain;
        if (!plain)
            bad = put_field(s, l, f++, b, &last);
        else
            last = f == s->fields;
        if (bad)
            return bad;
    }
    if (f == s->fields && last) {
        if (s->buckets)
            b->ptr[b->n + l->row + 1] = l->entries;
        return BAD_NONE;
    }
    snprintf(l->detail, DETAIL_BYTES, "line %u has %s fields than the %u of the job", l->row + 1,
             last ? "fewer" : "more", s->fields);
    return BAD_WIDTH;
}

static enum bad csv_decode(void *self, struct bytes key, struct bytes value, int64_t offset,
                           int64_t timestamp_ms, struct block *b, char *detail)
{
    struct csv *s = self;
    struct csv_line l = {.p = value.p, .end = value.p + value.n, .detail = detail};
    uint64_t hash = b->key ? hash64(key.p, key.n, 0) : 0;

    l.scan = (struct scan){value.p, l.end, value.p, 0, {s->delimiter, '\n', '\n'}};

    CHECK(value.p && b->s.d == s->buckets + s->columns && b->n <= BLOCK_ROWS);
    CHECK(s->buckets ? b->ptr && b->col && b->val : b->x != NULL);
    l.entries = s->buckets ? b->ptr[b->n] : 0;
    scan_from(&l.scan, value.p);
    s->many.begin = value.p;
    while (csv_skip_blank(&l.p, l.end)) {
        uint32_t n = b->n + l.row;
        enum bad bad;

        if (n == BLOCK_ROWS ||
            (s->buckets && l.entries + s->categories + s->columns > b->s.nnz_max)) {
            snprintf(detail, DETAIL_BYTES, "more than %u lines, or %u entries", BLOCK_ROWS,
                     b->s.nnz_max);
            return b->n ? BAD_FULL : BAD_TOO_MANY;
        }
        block_stamp(b, n, (uint64_t)offset << 16 | l.row, hash, timestamp_ms);
        bad = decode_line(s, &l, b);
        if (bad)
            return bad;
        l.row++;
    }
    if (!l.row) {
        snprintf(detail, DETAIL_BYTES, "no line in a value of %zu bytes", value.n);
        return BAD_TRUNCATED;
    }
    CHECK(l.p == l.end && b->n + l.row <= BLOCK_ROWS);
    b->n += l.row;
    return BAD_NONE;
}

const struct codec codec_csv = {
    .name = "csv",
    .summary = "lines of text, RFC 4180; numbers, labels as text or numbers",
    .self_bytes = sizeof(struct csv),
    .open = csv_open,
    .close = csv_close,
    .decode = csv_decode,
    .column_name = csv_column_name,
    .label_limit = csv_label_limit,
};
