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
#include "consumer/codec.h"

#include "config/base/bytes.h"
#include "consumer/csv_text.h"
#include "consumer/labels.h"
#include "consumer/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 4096 /* of a field with "" in it, unescaped */, HASH_BITS = 18 };
enum csv_role { CSV_SKIP, CSV_FEATURE, CSV_LABEL, CSV_WEIGHT, CSV_KEY, CSV_TIME, CSV_CATEGORY };

struct csv_field {
    uint32_t role, column; /* of a category: its number in input.one_hot */
};

struct csv_group { /* one entry of input.columns: `width` fields from `first` on */
    char name[NAME_MAX_BYTES];
    uint32_t first, width;
    bool array;
};

struct csv {
    struct labels labels;
    struct csv_group *group; /* none: fields are named f0, f1, ... */
    uint32_t groups;
    struct csv_field *field;
    uint32_t fields;
    uint32_t *field_of; /* [columns] */
    uint32_t columns;
    uint32_t categories, buckets;    /* buckets: columns for categories; 0: rows are dense */
    uint64_t name_hash[ONE_HOT_MAX]; /* [categories] */
    uint8_t delimiter;
    bool missing; /* features may be */
    uint8_t text[TEXT_BYTES];
};

struct csv_line { /* where decoding stands */
    const uint8_t *p, *end;
    uint32_t row, entries; /* entries: sparse, of the block, those of this message included */
    char *detail;
};

static const char *field_name(const struct csv *s, uint32_t f, char *text, size_t n)
{
    for (uint32_t g = 0; g < s->groups; g++) {
        const struct csv_group *q = &s->group[g];

        if (f - q->first >= q->width)
            continue;
        if (q->array)
            snprintf(text, n, "%s[%u]", q->name, f - q->first);
        else
            snprintf(text, n, "%s", q->name);
        return text;
    }
    snprintf(text, n, "f%u", f);
    return text;
}

/* ---- open ---- */

static bool skip_blank_lines(struct csv_line *l)
{
    while (l->p < l->end && (*l->p == '\n' || *l->p == '\r'))
        l->p++;
    return l->p < l->end;
}

static uint32_t sample_fields(const struct csv *s, struct bytes sample)
{
    struct csv_line l = {.p = sample.p, .end = sample.p + sample.n};
    struct csv_text t;
    uint32_t n = 0;
    bool last = false;

    if (!skip_blank_lines(&l))
        return 0;
    for (; !last; n++)
        if (!csv_next(&l.p, l.end, s->delimiter, &t, &last))
            return 0;
    return n;
}

static enum st open_fields(struct csv *s, const struct input *in, struct bytes sample,
                           struct err *e)
{
    uint64_t total = 0;

    s->groups = in->columns;
    s->group = calloc(s->groups + 1, sizeof *s->group);
    if (!s->group)
        return fail(e, ST_FATAL, "no memory for %u columns", s->groups);
    for (uint32_t g = 0; g < s->groups; g++) {
        struct csv_group *q = &s->group[g];

        memcpy(q->name, in->column[g].name, sizeof q->name);
        q->array = in->column[g].width > 0;
        q->width = q->array ? in->column[g].width : 1;
        q->first = (uint32_t)total;
        total += q->width;
        for (uint32_t h = 0; h < g; h++)
            if (strcmp(s->group[h].name, q->name) == 0)
                return fail(e, ST_BAD_CONFIG, "input.columns: '%s' is there twice", q->name);
        if (total > COLUMNS_MAX)
            return fail(e, ST_BAD_CONFIG, "input.columns: more than %d fields", COLUMNS_MAX);
    }
    if (!s->groups) {
        if (!in->width && !sample.p)
            return ST_AGAIN;
        total = in->width ? in->width : sample_fields(s, sample);
        if (!total)
            return fail(e, ST_BAD_CONFIG,
                        "the first record is no line of CSV, so the number of fields is unknown: "
                        "set input.columns or input.width");
    }
    s->fields = (uint32_t)total;
    s->field = calloc(s->fields, sizeof *s->field);
    s->field_of = calloc(s->fields, sizeof *s->field_of);
    if (!s->field || !s->field_of)
        return fail(e, ST_FATAL, "no memory for %u fields", s->fields);
    return ST_OK;
}

/* The nearest name that there is, for an error; "" without one. */
static const char *near(const struct csv *s, const char *name, char text[NAME_MAX_BYTES + 32])
{
    const char *hint = NULL;
    const char **words = calloc(s->groups + 1, sizeof *words);

    for (uint32_t g = 0; words && g < s->groups; g++)
        words[g] = s->group[g].name;
    if (words)
        hint = suggest(name, words);
    text[0] = 0;
    if (hint)
        snprintf(text, NAME_MAX_BYTES + 32, "; did you mean '%s'?", hint);
    else if (!s->groups)
        snprintf(text, NAME_MAX_BYTES + 32, "; fields are f0 to f%u", s->fields - 1);
    free(words);
    return text;
}

static enum st find_field(const struct csv *s, const char *key, const char *name, uint32_t *first,
                          uint32_t *width, struct err *e)
{
    char hint[NAME_MAX_BYTES + 32];

    *width = 1;
    for (uint32_t g = 0; g < s->groups; g++)
        if (strcmp(s->group[g].name, name) == 0) {
            *first = s->group[g].first;
            *width = s->group[g].width;
            return ST_OK;
        }
    if (!s->groups && name[0] == 'f' &&
        number_u32((const uint8_t *)name + 1, strlen(name + 1), s->fields - 1, first))
        return ST_OK;
    return fail(e, ST_BAD_CONFIG, "%s: there is no field '%s'%s", key, name, near(s, name, hint));
}

static enum st take_field(struct csv *s, const char *key, const char *name, enum csv_role role,
                          struct err *e)
{
    uint32_t f, width;

    if (!name[0])
        return ST_OK;
    TRY(find_field(s, key, name, &f, &width, e));
    if (width != 1)
        return fail(e, ST_BAD_CONFIG, "%s: '%s' has %u fields, one is needed", key, name, width);
    if (s->field[f].role != CSV_SKIP)
        return fail(e, ST_BAD_CONFIG, "%s: '%s' has another use in this job", key, name);
    s->field[f].role = role;
    return ST_OK;
}

static void take_column(struct csv *s, uint32_t f)
{
    CHECK(s->columns < s->fields && s->field[f].role == CSV_SKIP);
    s->field[f] = (struct csv_field){CSV_FEATURE, s->columns};
    s->field_of[s->columns++] = f;
}

static enum st take_categories(struct csv *s, const struct input *in, struct err *e)
{
    uint32_t f, width;

    for (uint32_t i = 0; i < in->one_hots; i++) {
        TRY(take_field(s, "input.one_hot", in->one_hot[i], CSV_CATEGORY, e));
        TRY(find_field(s, "input.one_hot", in->one_hot[i], &f, &width, e));
        s->field[f].column = i;
        s->name_hash[i] = hash64(in->one_hot[i], strlen(in->one_hot[i]), 0);
    }
    if (!in->one_hots && in->hash_bits)
        return fail(e, ST_BAD_CONFIG,
                    "input.hash_bits: name the fields that are hashed, in input.one_hot");
    s->categories = in->one_hots;
    if (s->categories)
        s->buckets = 1u << (in->hash_bits ? in->hash_bits : HASH_BITS);
    return ST_OK;
}

static enum st take_features(struct csv *s, const struct input *in, struct err *e)
{
    for (uint32_t i = 0; i < in->features; i++) {
        const struct feature *q = &in->feature[i];
        uint32_t f, width;

        TRY(find_field(s, "input.features", q->name, &f, &width, e));
        if (q->width && q->width != width)
            return fail(e, ST_BAD_CONFIG, "input.features: '%s' has %u fields, not %u", q->name,
                        width, q->width);
        for (uint32_t k = 0; k < width; k++) {
            if (s->field[f + k].role != CSV_SKIP)
                return fail(e, ST_BAD_CONFIG, "input.features: '%s' has another use in this job",
                            q->name);
            take_column(s, f + k);
        }
    }
    for (uint32_t f = 0; !in->features && f < s->fields; f++)
        if (s->field[f].role == CSV_SKIP)
            take_column(s, f);
    if (!s->columns && !s->categories)
        return fail(e, ST_BAD_CONFIG, "input: no field is left to learn from");
    if (s->buckets + s->columns > COLUMNS_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "input: %u columns for categories and %u numbers are more than %d: set "
                    "hash_bits lower",
                    s->buckets, s->columns, COLUMNS_MAX);
    return ST_OK;
}

static enum st csv_open(void *self, const struct input *in, bool need_label, struct bytes sample,
                        struct decoded *out, struct err *e)
{
    struct csv *s = self;
    uint32_t f, width;
    bool labelled;

    s->delimiter = in->delimiter[0] ? (uint8_t)in->delimiter[0] : ',';
    s->missing = in->missing;
    if (strchr("\"\r\n", s->delimiter))
        return fail(e, ST_BAD_CONFIG, "input.delimiter: a quote or a line end cannot be one");
    if (need_label && !in->label[0])
        return fail(e, ST_BAD_CONFIG, "input.label: this algorithm needs a label; name its field");
    TRY(open_fields(s, in, sample, e));
    labelled =
        in->label[0] && (need_label || find_field(s, "", in->label, &f, &width, NULL) == ST_OK);
    if (labelled)
        TRY(take_field(s, "input.label", in->label, CSV_LABEL, e));
    TRY(take_field(s, "input.weight", in->weight, CSV_WEIGHT, e));
    TRY(take_field(s, "input.key", in->key, CSV_KEY, e));
    TRY(take_field(s, "input.time", in->time, CSV_TIME, e));
    TRY(take_categories(s, in, e));
    TRY(take_features(s, in, e));
    TRY(labels_init(&s->labels, in->class_name, in->classes, e));

    CHECK(s->columns <= s->fields && s->columns <= COLUMNS_MAX);
    memset(out, 0, sizeof *out);
    out->columns = s->buckets + s->columns;
    out->shape = block_shape_of(out->columns, s->buckets > 0);
    out->shape.ny = labelled;
    out->shape.weighted = in->weight[0] != 0;
    out->shape.keyed = in->key[0] != 0;
    out->shape.timed = in->time[0] != 0;
    out->classes = s->labels.n;
    labels_names(&s->labels, out->class_name);
    out->fingerprint = hash64(s->field, s->fields * sizeof *s->field, s->delimiter);
    if (s->buckets)
        out->fingerprint = hash64(s->name_hash, s->categories * sizeof *s->name_hash,
                                  out->fingerprint + s->buckets);
    out->fingerprint = labels_hash(&s->labels, out->fingerprint);
    return ST_OK;
}

static void csv_close(void *self)
{
    struct csv *s = self;

    labels_fini(&s->labels);
    free(s->group);
    free(s->field);
    free(s->field_of);
    memset(s, 0, sizeof *s);
}

static const char *csv_column_name(void *self, uint32_t c, char *text, size_t n)
{
    const struct csv *s = self;

    CHECK(c < s->buckets + s->columns);
    if (c >= s->buckets)
        return field_name(s, s->field_of[c - s->buckets], text, n);
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
             field_name(s, f, name, sizeof name), what, bytes_shown(t.p, t.n, shown));
    return bad;
}

/* Puts "" back to " where there is any; false: longer than we keep. */
static bool unescape(struct csv *s, struct csv_text *t)
{
    size_t n = 0;

    if (!t->escaped)
        return true;
    if (t->n > TEXT_BYTES)
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

static enum bad decode_line(struct csv *s, struct csv_line *l, struct block *b)
{
    struct csv_text t;
    bool last = false;
    uint32_t f = 0;

    for (; f < s->fields && !last; f++) {
        enum bad bad = BAD_NONE;

        if (!csv_next(&l->p, l->end, s->delimiter, &t, &last))
            return bad_field(s, l, f, BAD_VALUE, "quotes that do not match in", t);
        if (s->field[f].role == CSV_FEATURE)
            bad = put_number(s, l, f, t, b);
        else if (s->field[f].role == CSV_CATEGORY)
            bad = put_category(s, l, f, t, b);
        else if (s->field[f].role != CSV_SKIP)
            bad = put_rest(s, l, f, t, b);
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

    CHECK(value.p && b->s.d == s->buckets + s->columns && b->n <= BLOCK_ROWS);
    CHECK(s->buckets ? b->ptr && b->col && b->val : b->x != NULL);
    l.entries = s->buckets ? b->ptr[b->n] : 0;
    while (skip_blank_lines(&l)) {
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
