/* The first half of the CSV codec: names become fields, and fields columns. */
#include "consumer/csv_fields.h"

#include "config/base/bytes.h"
#include "consumer/csv_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HASH_BITS = 18 };

const char *csv_field_name(const struct csv *s, uint32_t f, char *text, size_t n)
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

static uint32_t sample_fields(const struct csv *s, struct bytes sample)
{
    const uint8_t *p = sample.p, *end = p + sample.n;
    struct csv_text t;
    uint32_t n = 0;
    bool last = false;

    if (!csv_skip_blank(&p, end))
        return 0;
    for (; !last; n++)
        if (!csv_next(&p, end, s->delimiter, &t, &last))
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
    s->plain = calloc(s->fields, sizeof *s->plain);
    if (!s->field || !s->field_of || !s->plain)
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

static void find_plain(struct csv *s)
{
    for (uint32_t f = s->buckets ? 0 : s->fields; f-- > 0;) {
        const struct csv_field *q = &s->field[f];
        const bool on =
            f + 1 < s->fields && q[1].role == CSV_FEATURE && q[1].column == q->column + 1;

        s->plain[f] = q->role == CSV_FEATURE ? 1 + (on ? s->plain[f + 1] : 0) : 0;
    }
}

enum st csv_open(void *self, const struct input *in, bool need_label, struct bytes sample,
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
    find_plain(s);
    number_many_init(&s->many);
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
