/* Raw float32, little-endian: a row is so many of them as the job has fields (input.columns, or
 * input.width: f0, f1, ...), a message one row or several, with nothing round them. Label and
 * weight are fields by name: the first, the last, any, or none. NaN is a missing feature where the
 * algorithm takes those. A float32 cannot hold a time in ms, and is no name: time and key are the
 * record's own. */
#include "consumer/codec.h"

#include "config/base/bytes.h"
#include "consumer/fields.h"
#include "consumer/labels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct f32_run { /* n fields from `field` on are columns from `column` on */
    uint32_t field, column, n;
};

struct f32 {
    struct fields fields;
    struct labels labels;
    struct f32_run *run;
    uint32_t runs;
    uint32_t label, weight; /* fields; UINT32_MAX: none */
    bool missing;           /* features may be */
};

static enum st open_runs(struct f32 *s, struct err *e)
{
    const struct fields *f = &s->fields;

    s->label = s->weight = UINT32_MAX;
    s->run = calloc(f->columns, sizeof *s->run);
    if (!s->run)
        return fail(e, ST_FATAL, "no memory for %u columns", f->columns);
    for (uint32_t c = 0; c < f->columns; c++) {
        struct f32_run *q = s->runs ? &s->run[s->runs - 1] : NULL;

        if (q && q->field + q->n == f->field_of[c])
            q->n++;
        else
            s->run[s->runs++] = (struct f32_run){f->field_of[c], c, 1};
    }
    for (uint32_t i = 0; i < f->n; i++)
        if (f->field[i].role == FIELD_LABEL)
            s->label = i;
        else if (f->field[i].role == FIELD_WEIGHT)
            s->weight = i;
    return ST_OK;
}

static enum st f32_open(void *self, const struct input *in, bool need_label, struct bytes sample,
                        struct decoded *out, struct err *e)
{
    struct f32 *s = self;

    (void)sample; /* of how many rows is not to be seen */
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rows are copied as they are");
    s->missing = in->missing;
    if (need_label && !in->label[0])
        return fail(e, ST_BAD_CONFIG, "input.label: this algorithm needs a label; name its field");
    if (in->key[0] || in->time[0])
        return fail(e, ST_BAD_CONFIG,
                    "input.%s: a float32 cannot be one; leave it out, and it is the record's",
                    in->key[0] ? "key" : "time");
    TRY(fields_open(&s->fields, in, e));
    if (need_label || fields_have(&s->fields, in->label))
        TRY(fields_take(&s->fields, "label", in->label, FIELD_LABEL, e));
    TRY(fields_take(&s->fields, "weight", in->weight, FIELD_WEIGHT, e));
    TRY(fields_take_features(&s->fields, in, e));
    TRY(open_runs(s, e));
    TRY(labels_init(&s->labels, in->class_name, in->classes, e));
    memset(out, 0, sizeof *out);
    out->columns = s->fields.columns;
    out->shape = block_shape_of(out->columns, false);
    out->shape.ny = s->label != UINT32_MAX;
    out->shape.weighted = s->weight != UINT32_MAX;
    out->classes = s->labels.n;
    labels_names(&s->labels, out->class_name);
    out->fingerprint = labels_hash(
        &s->labels, hash64(s->fields.field, s->fields.n * sizeof *s->fields.field, FORMAT_F32));
    return ST_OK;
}

static void f32_close(void *self)
{
    struct f32 *s = self;

    labels_fini(&s->labels);
    fields_close(&s->fields);
    free(s->run);
    memset(s, 0, sizeof *s);
}

static const char *f32_column_name(void *self, uint32_t c, char *text, size_t n)
{
    const struct f32 *s = self;

    CHECK(c < s->fields.columns);
    return fields_name(&s->fields, s->fields.field_of[c], text, n);
}

static void f32_label_limit(void *self, uint32_t classes)
{
    struct f32 *s = self;

    s->labels.limit = classes;
}

static enum bad bad_field(const struct f32 *s, uint32_t row, uint32_t f, enum bad bad,
                          const char *what, float v, char *detail)
{
    char name[NAME_MAX_BYTES + 16];

    snprintf(detail, DETAIL_BYTES, "row %u, field %.60s: %s %.9g", row + 1,
             fields_name(&s->fields, f, name, sizeof name), what, (double)v);
    return bad;
}

/* The reason of the first column that is not finite, if that is not allowed. */
static enum bad not_finite(const struct f32 *s, uint32_t row, const float *x, char *detail)
{
    for (uint32_t c = 0; c < s->fields.columns; c++)
        if (isinf(x[c]) || (isnan(x[c]) && !s->missing))
            return bad_field(s, row, s->fields.field_of[c], BAD_NONFINITE, "not finite:", x[c],
                             detail);
    return BAD_NONE;
}

static enum bad put_others(const struct f32 *s, uint32_t row, const uint8_t *p, struct block *b,
                           char *detail)
{
    float v;

    if (s->label != UINT32_MAX) {
        memcpy(&v, p + 4 * (size_t)s->label, sizeof v);
        if (!labels_number(&s->labels, (double)v, &b->y[b->n + row]))
            return bad_field(s, row, s->label, BAD_LABEL, "no such class", v, detail);
    }
    if (s->weight != UINT32_MAX) {
        memcpy(&v, p + 4 * (size_t)s->weight, sizeof v);
        if (!isfinite(v))
            return bad_field(s, row, s->weight, BAD_NONFINITE, "not finite:", v, detail);
        if (v < 0)
            return bad_field(s, row, s->weight, BAD_WEIGHT, "negative weight", v, detail);
        b->weight[b->n + row] = v;
    }
    return BAD_NONE;
}

/* An exponent of all ones, which infinite numbers and NaN have, carries into the sign bit. */
static uint32_t copy(float *restrict x, const uint8_t *restrict p, uint32_t n)
{
    uint32_t carry = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t v;

        memcpy(&v, p + 4 * (size_t)i, sizeof v);
        carry |= (v & 0x7f800000u) + 0x00800000u;
        memcpy(x + i, &v, sizeof v);
    }
    return carry;
}

static enum bad decode_row(const struct f32 *s, uint32_t row, const uint8_t *p, struct block *b,
                           char *detail)
{
    float *x = b->x + (size_t)(b->n + row) * b->s.ld;
    uint32_t carry = 0;
    enum bad bad;

    for (uint32_t i = 0; i < s->runs; i++) {
        const struct f32_run *q = &s->run[i];

        carry |= copy(x + q->column, p + 4 * (size_t)q->field, q->n);
    }
    if (carry >> 31) {
        bad = not_finite(s, row, x, detail);
        if (bad)
            return bad;
    }
    return put_others(s, row, p, b, detail);
}

static enum bad f32_decode(void *self, struct bytes key, struct bytes value, int64_t offset,
                           int64_t timestamp_ms, struct block *b, char *detail)
{
    const struct f32 *s = self;
    const size_t bytes = 4 * (size_t)s->fields.n, rows = value.n / bytes;
    uint64_t hash = b->key ? hash64(key.p, key.n, 0) : 0;

    CHECK(value.p && b->x && b->s.d == s->fields.columns && b->n <= BLOCK_ROWS);
    if (!rows || value.n % bytes) {
        snprintf(detail, DETAIL_BYTES,
                 "%zu bytes are no whole number of rows of %u float32, %zu "
                 "bytes each",
                 value.n, s->fields.n, bytes);
        return rows ? BAD_WIDTH : BAD_TRUNCATED;
    }
    if (rows > BLOCK_ROWS - b->n) {
        snprintf(detail, DETAIL_BYTES, "%zu rows, more than %u", rows, BLOCK_ROWS);
        return b->n ? BAD_FULL : BAD_TOO_MANY;
    }
    for (uint32_t row = 0; row < rows; row++) {
        enum bad bad = decode_row(s, row, value.p + row * bytes, b, detail);

        if (bad)
            return bad;
        block_stamp(b, b->n + row, (uint64_t)offset << 16 | row, hash, timestamp_ms);
    }
    b->n += (uint32_t)rows;
    return BAD_NONE;
}

const struct codec codec_f32 = {
    .name = "f32",
    .summary = "rows of little-endian float32, nothing round them; fields as in csv",
    .self_bytes = sizeof(struct f32),
    .open = f32_open,
    .close = f32_close,
    .decode = f32_decode,
    .column_name = f32_column_name,
    .label_limit = f32_label_limit,
};
