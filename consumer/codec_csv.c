/* CSV as in RFC 4180: a message holds one line or several, fields are separated by the job's
 * delimiter, and a field may stand in quotes ("" inside is one quote), where delimiters and line
 * ends are text. There is no header line: names come from input.columns, or are f0, f1, ... Blank
 * lines are skipped; blanks round an unquoted number are ignored.
 * An empty field is a missing value; as a feature, where the algorithm takes those, so are the
 * words NA, N/A, NaN, null, None and ?, in any case. */
#include "consumer/codec.h"

#include "config/base/bytes.h"
#include "consumer/csv_text.h"
#include "consumer/labels.h"
#include "consumer/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 4096 /* of a field with "" in it, unescaped */ };
enum csv_role { CSV_SKIP, CSV_FEATURE, CSV_LABEL, CSV_WEIGHT, CSV_KEY, CSV_TIME };

struct csv_field {
    uint32_t role, column;
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
    uint8_t delimiter;
    bool missing; /* features may be */
    uint8_t text[TEXT_BYTES];
};

struct csv_line { /* where decoding stands */
    const uint8_t *p, *end;
    uint32_t row;
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
    struct csv_line l = {sample.p, sample.p + sample.n, 0, NULL};
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
    if (!s->columns)
        return fail(e, ST_BAD_CONFIG, "input: no field is left to learn from");
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
    TRY(take_features(s, in, e));
    TRY(labels_init(&s->labels, in->class_name, in->classes, e));

    CHECK(s->columns <= s->fields && s->columns <= COLUMNS_MAX);
    memset(out, 0, sizeof *out);
    out->shape = block_shape_of(s->columns, false);
    out->shape.ny = labelled;
    out->shape.weighted = in->weight[0] != 0;
    out->shape.keyed = in->key[0] != 0;
    out->shape.timed = in->time[0] != 0;
    out->columns = s->columns;
    out->classes = s->labels.n;
    labels_names(&s->labels, out->class_name);
    out->fingerprint = hash64(s->field, s->fields * sizeof *s->field, s->delimiter);
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

    CHECK(c < s->columns);
    return field_name(s, s->field_of[c], text, n);
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

static enum bad decode_line(struct csv *s, struct csv_line *l, struct block *b)
{
    float *x = b->x + (size_t)(b->n + l->row) * b->s.ld;
    struct csv_text t;
    bool last = false;
    uint32_t f = 0;

    for (; f < s->fields && !last; f++) {
        enum bad bad = BAD_NONE;

        if (!csv_next(&l->p, l->end, s->delimiter, &t, &last))
            return bad_field(s, l, f, BAD_VALUE, "quotes that do not match in", t);
        DCHECK(s->field[f].column < s->columns);
        if (s->field[f].role == CSV_FEATURE)
            bad = put_feature(s, l, f, t, x + s->field[f].column);
        else if (s->field[f].role != CSV_SKIP)
            bad = put_rest(s, l, f, t, b);
        if (bad)
            return bad;
    }
    if (f == s->fields && last)
        return BAD_NONE;
    snprintf(l->detail, DETAIL_BYTES, "line %u has %s fields than the %u of the job", l->row + 1,
             last ? "fewer" : "more", s->fields);
    return BAD_WIDTH;
}

static enum bad csv_decode(void *self, struct bytes key, struct bytes value, int64_t offset,
                           int64_t timestamp_ms, struct block *b, char *detail)
{
    struct csv *s = self;
    struct csv_line l = {value.p, value.p + value.n, 0, detail};
    uint64_t hash = b->key ? hash64(key.p, key.n, 0) : 0;

    CHECK(value.p && b->x && b->s.d == s->columns && b->n <= BLOCK_ROWS);
    while (skip_blank_lines(&l)) {
        uint32_t n = b->n + l.row;
        enum bad bad;

        if (n == BLOCK_ROWS) {
            snprintf(detail, DETAIL_BYTES, "more than %u lines", BLOCK_ROWS);
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
