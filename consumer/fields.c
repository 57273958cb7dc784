#include "consumer/fields.h"

#include "consumer/number.h"

#include <stdlib.h>
#include <string.h>

static enum st add_groups(struct fields *s, const struct input *in, uint64_t *total, struct err *e)
{
    for (uint32_t g = 0; g < s->groups; g++) {
        struct field_group *q = &s->group[g];

        memcpy(q->name, in->column[g].name, sizeof q->name);
        q->array = in->column[g].width > 0;
        q->width = q->array ? in->column[g].width : 1;
        q->first = (uint32_t)*total;
        *total += q->width;
        for (uint32_t h = 0; h < g; h++)
            if (strcmp(s->group[h].name, q->name) == 0)
                return fail(e, ST_BAD_CONFIG, "input.columns: '%s' is there twice", q->name);
        if (*total > COLUMNS_MAX)
            return fail(e, ST_BAD_CONFIG, "input.columns: more than %d fields", COLUMNS_MAX);
    }
    return ST_OK;
}

enum st fields_open(struct fields *s, const struct input *in, struct err *e)
{
    uint64_t total = in->columns ? 0 : in->width;

    s->groups = in->columns;
    s->group = calloc(s->groups + 1, sizeof *s->group);
    if (!s->group)
        return fail(e, ST_FATAL, "no memory for %u columns", s->groups);
    TRY(add_groups(s, in, &total, e));
    if (!total)
        return fail(e, ST_BAD_CONFIG,
                    "input.width is missing: the number of float32 in a row, which the bytes do "
                    "not say; or name them in input.columns: [label, \"pixels[784]\"]");
    s->n = (uint32_t)total;
    s->field = calloc(s->n, sizeof *s->field);
    s->field_of = calloc(s->n, sizeof *s->field_of);
    if (!s->field || !s->field_of)
        return fail(e, ST_FATAL, "no memory for %u fields", s->n);
    return ST_OK;
}

void fields_close(struct fields *s)
{
    free(s->group);
    free(s->field);
    free(s->field_of);
    memset(s, 0, sizeof *s);
}

static bool find(const struct fields *s, const char *name, uint32_t *first, uint32_t *width)
{
    *width = 1;
    for (uint32_t g = 0; g < s->groups; g++)
        if (strcmp(s->group[g].name, name) == 0) {
            *first = s->group[g].first;
            *width = s->group[g].width;
            return true;
        }
    return !s->groups && name[0] == 'f' &&
           number_u32((const uint8_t *)name + 1, strlen(name + 1), s->n - 1, first);
}

bool fields_have(const struct fields *s, const char *name)
{
    uint32_t first, width;

    return find(s, name, &first, &width);
}

static enum st no_such(const struct fields *s, const char *key, const char *name, struct err *e)
{
    const char **words = calloc(s->groups + 1, sizeof *words), *near = NULL;
    enum st st;

    for (uint32_t g = 0; words && g < s->groups; g++)
        words[g] = s->group[g].name;
    if (words)
        near = suggest(name, words);
    if (near)
        st = fail(e, ST_BAD_CONFIG, "input.%s: there is no field '%s'; did you mean '%s'?", key,
                  name, near);
    else if (s->groups)
        st = fail(e, ST_BAD_CONFIG, "input.%s: there is no field '%s'", key, name);
    else
        st = fail(e, ST_BAD_CONFIG, "input.%s: there is no field '%s'; fields are f0 to f%u", key,
                  name, s->n - 1);
    free(words);
    return st;
}

static enum st in_use(const char *key, const char *name, struct err *e)
{
    return fail(e, ST_BAD_CONFIG, "input.%s: '%s' has another use in this job", key, name);
}

enum st fields_take(struct fields *s, const char *key, const char *name, enum field_role role,
                    struct err *e)
{
    uint32_t f, width;

    if (!name[0])
        return ST_OK;
    if (!find(s, name, &f, &width))
        return no_such(s, key, name, e);
    if (width != 1)
        return fail(e, ST_BAD_CONFIG, "input.%s: '%s' has %u fields, one is needed", key, name,
                    width);
    if (s->field[f].role != FIELD_SKIP)
        return in_use(key, name, e);
    s->field[f].role = role;
    return ST_OK;
}

static void take_column(struct fields *s, uint32_t f)
{
    CHECK(s->columns < s->n && s->field[f].role == FIELD_SKIP);
    s->field[f] = (struct field){FIELD_FEATURE, s->columns};
    s->field_of[s->columns++] = f;
}

enum st fields_take_features(struct fields *s, const struct input *in, struct err *e)
{
    for (uint32_t i = 0; i < in->features; i++) {
        const struct feature *q = &in->feature[i];
        uint32_t f, width;

        if (!find(s, q->name, &f, &width))
            return no_such(s, "features", q->name, e);
        if (q->width && q->width != width)
            return fail(e, ST_BAD_CONFIG, "input.features: '%s' has %u fields, not %u", q->name,
                        width, q->width);
        for (uint32_t k = 0; k < width; k++) {
            if (s->field[f + k].role != FIELD_SKIP)
                return in_use("features", q->name, e);
            take_column(s, f + k);
        }
    }
    for (uint32_t f = 0; !in->features && f < s->n; f++)
        if (s->field[f].role == FIELD_SKIP)
            take_column(s, f);
    if (!s->columns)
        return fail(e, ST_BAD_CONFIG, "input: no field is left to learn from");
    return ST_OK;
}

const char *fields_name(const struct fields *s, uint32_t field, char *text, size_t n)
{
    for (uint32_t g = 0; g < s->groups; g++) {
        const struct field_group *q = &s->group[g];

        if (field - q->first >= q->width)
            continue;
        if (q->array)
            snprintf(text, n, "%s[%u]", q->name, field - q->first);
        else
            snprintf(text, n, "%s", q->name);
        return text;
    }
    snprintf(text, n, "f%u", field);
    return text;
}
