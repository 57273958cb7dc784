/* load_jsonl.c: one JSON object a line. Fields and their types are those of the first object:
 * numbers are double, arrays of numbers array<float>, then strings and booleans. As lines, the
 * first object alone is read, for the name of the label. */
#include "consumer/load.h"

#include <jansson.h>

#include <inttypes.h>
#include <string.h>

struct json_file {
    json_t *row;        /* the one before, where `kept`: it is read again */
    struct bytes first; /* line; until the next is read */
    bool kept;
};

static enum st next_object(struct load *l)
{
    struct json_file *s = l->self;
    struct bytes line;
    json_error_t at;

    if (s->kept) {
        s->kept = false;
        return ST_OK;
    }
    json_decref(s->row);
    s->row = NULL;
    TRY(load_line(l, &line, NULL));
    if (!line.p)
        return ST_OK;
    s->first = line;
    s->row = json_loadb((const char *)line.p, line.n,
                        JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &at);
    if (!s->row)
        return load_bad(l, "column %d: %s", at.column, at.text);
    if (!json_is_object(s->row))
        return load_bad(l, "a JSON object a line is needed, {\"name\": value, ...}");
    return ST_OK;
}

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "text";
    case JSON_NULL:
        return "null";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "a number";
    }
}

static bool fits(const json_t *v, enum load_type type)
{
    const json_t *item;
    size_t i;

    switch (type) {
    case LOAD_DOUBLE:
        return json_is_number(v);
    case LOAD_BOOLEAN:
        return json_is_boolean(v);
    case LOAD_STRING:
        return json_is_string(v);
    default:
        if (!json_is_array(v))
            return false;
        json_array_foreach(v, i, item)
        {
            if (!json_is_number(item))
                return false;
        }
        return true;
    }
}

static enum st json_open(struct load *l)
{
    static const enum load_type types[] = {LOAD_DOUBLE, LOAD_BOOLEAN, LOAD_STRING, LOAD_FLOATS};
    struct json_file *s = l->self;
    const char *key;
    json_t *v;

    TRY(next_object(l));
    if (!s->row || !json_object_size(s->row))
        return fail(l->err, ST_BAD_INPUT, "%.300s: no row: a JSON object a line is needed",
                    l->file[0]);
    json_object_foreach(s->row, key, v)
    {
        uint32_t t = 0;

        while (!l->lines && t < 4 && !fits(v, types[t]))
            t++;
        if (t == 4)
            return load_bad(l,
                            "field '%.80s' of the first row is %s: numbers, text, booleans and "
                            "arrays of numbers can be loaded",
                            key, type_name(v));
        TRY(load_field_add(l, (const uint8_t *)key, strlen(key), types[t]));
    }
    s->kept = true;
    return ST_OK;
}

static void put_value(struct load *l, uint32_t i, const json_t *v)
{
    const json_t *item;
    size_t k;

    switch (l->field[i].type) {
    case LOAD_DOUBLE:
        encode_double(&l->out, json_number_value(v));
        break;
    case LOAD_BOOLEAN:
        encode_bool(&l->out, json_is_true(v));
        break;
    case LOAD_STRING:
        if (i == l->label_field)
            load_class(l, (const uint8_t *)json_string_value(v), json_string_length(v));
        encode_string(&l->out, json_string_value(v), json_string_length(v));
        break;
    default:
        if (json_array_size(v))
            encode_long(&l->out, (int64_t)json_array_size(v));
        json_array_foreach(v, k, item)
        {
            encode_float(&l->out, (float)json_number_value(item));
        }
        encode_long(&l->out, 0);
    }
}

/* More fields than the first row had: name one. */
static enum st unknown_field(struct load *l)
{
    const struct json_file *s = l->self;
    const char *key;
    json_t *v;

    json_object_foreach(s->row, key, v)
    {
        uint32_t i = 0;

        while (i < l->fields && strcmp(l->field[i].given, key) != 0)
            i++;
        if (i == l->fields)
            break;
    }
    CHECK(key);
    return load_bad(l, "the first row has no field '%.80s': rows have the same fields", key);
}

static enum st json_row(struct load *l, bool *more)
{
    struct json_file *s = l->self;
    struct bytes line = s->first;

    if (l->lines) {
        if (!s->kept)
            TRY(load_line(l, &line, NULL));
        s->kept = false;
        *more = line.p != NULL;
        if (*more)
            encode_raw(&l->out, line.p, line.n);
        return ST_OK;
    }
    TRY(next_object(l));
    *more = s->row != NULL;
    for (uint32_t i = 0; s->row && i < l->fields; i++) {
        const json_t *v = json_object_get(s->row, l->field[i].given);

        if (!v)
            return load_bad(l, "field '%.80s' is missing: rows have the fields of the first one",
                            l->field[i].given);
        if (!fits(v, l->field[i].type))
            return load_bad(l, "field '%.80s' is %s, unlike in the first row: mend or drop the row",
                            l->field[i].given, type_name(v));
        put_value(l, i, v);
    }
    return s->row && json_object_size(s->row) > l->fields ? unknown_field(l) : ST_OK;
}

static void json_file_close(struct load *l)
{
    struct json_file *s = l->self;

    json_decref(s->row);
}

const struct load_reader load_jsonl = {
    .name = "jsonl",
    .format = "json",
    .self_bytes = sizeof(struct json_file),
    .has_lines = true,
    .open = json_open,
    .row = json_row,
    .close = json_file_close,
};
