#include "support_oracle.h"

uint64_t oracle_draw(struct oracle *o, uint64_t below)
{
    o->rng += 0x9e3779b97f4a7c15u;
    return mix64(o->rng) % below;
}

bool oracle_chance(struct oracle *o, uint32_t percent)
{
    return oracle_draw(o, 100) < percent;
}

/* ---- random schemas ---- */

static void put(struct oracle *o, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    o->n += (size_t)vsnprintf(o->text + o->n, sizeof o->text - o->n, format, ap);
    va_end(ap);
    assert_true(o->n < sizeof o->text);
}

static void put_type(struct oracle *o, uint32_t depth, bool in_union);

static const char *const simple[] = {"null",  "boolean", "int",    "long",
                                     "float", "double",  "string", "bytes"};

/* Branches of different kinds, as the specification wants them. */
static void put_union_type(struct oracle *o, uint32_t depth, const char *record, const char *field)
{
    uint32_t first = (uint32_t)oracle_draw(o, 8), n = 1 + (uint32_t)oracle_draw(o, 4);
    bool null_first = oracle_chance(o, 60);

    put(o, "[");
    if (null_first) {
        put(o, "\"null\"");
        first = first ? first : 4;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t kind = (first + i) % 8;

        if (kind == 0 && null_first)
            continue;
        put(o, "%s\"%s\"", i || null_first ? "," : "", simple[kind]);
    }
    if (oracle_chance(o, 30)) {
        put(o, ",");
        put_type(o, depth + 1, true);
    }
    put(o, "]");
    if (!null_first && first >= 1 && first <= 5 && record && oracle_chance(o, 60) &&
        o->fallbacks < DEFAULTS) {
        struct fallback *f = &o->fallback[o->fallbacks++];

        f->value = first == 1 ? 1 : (double)oracle_draw(o, 100) - 50;
        snprintf(f->field, sizeof f->field, "%s.%s", record, field);
        if (first == 1)
            put(o, ",\"default\":true");
        else
            put(o, ",\"default\":%.0f", f->value);
    }
}

static void put_record_type(struct oracle *o, uint32_t depth, bool top)
{
    uint32_t fields = 1 + (uint32_t)oracle_draw(o, 5) + top * 2, id = o->types++;
    char record[16], field[16];

    snprintf(record, sizeof record, "R%u", id);
    put(o, "{\"type\":\"record\",\"name\":\"%s\",\"fields\":[", record);
    for (uint32_t i = 0; i < fields; i++) {
        snprintf(field, sizeof field, "%c%u", 'a' + (int)(i % 26), i);
        put(o, "%s{\"name\":\"%s\",\"type\":", i ? "," : "", field);
        if (oracle_chance(o, 25))
            put_union_type(o, depth, record, field);
        else if (oracle_chance(o, 4))
            put(o, "[\"null\",\"%s\"]", record);
        else
            put_type(o, depth + 1, false);
        put(o, "}");
    }
    if (top && oracle_chance(o, 20))
        put(o,
            "%s{\"name\":\"values\",\"type\":{\"type\":\"array\",\"items\":\"%s\"}},{\"name\":"
            "\"indices\",\"type\":{\"type\":\"array\",\"items\":\"%s\"}}",
            fields ? "," : "", simple[2 + oracle_draw(o, 4)], simple[2 + oracle_draw(o, 2)]);
    put(o, "]}");
}

/* in_union: only types that no other branch can be. */
static void put_type(struct oracle *o, uint32_t depth, bool in_union)
{
    uint32_t kind = in_union || oracle_chance(o, 35) ? 8 + (uint32_t)oracle_draw(o, 5)
                                                     : (uint32_t)oracle_draw(o, 8);

    if (depth > 3 && kind > 9)
        kind = 8;
    if (depth > 3 && in_union)
        kind = 8 + (uint32_t)oracle_draw(o, 2);
    switch (kind) {
    case 8:
        put(o, "{\"type\":\"fixed\",\"name\":\"F%u\",\"size\":%u}", o->types++,
            oracle_chance(o, 50)
                ? 4 * o->width
                : 1 + (uint32_t)oracle_draw(o, 9)); /* Avro C reads no fixed of size 0 */
        break;
    case 9:
        put(o, "{\"type\":\"enum\",\"name\":\"E%u\",\"symbols\":[\"s0\",\"s1\",\"s%u\"]}",
            o->types++, 2 + (uint32_t)oracle_draw(o, 4));
        break;
    case 10:
        put(o, "{\"type\":\"array\",\"items\":");
        if (oracle_chance(o, 70))
            put(o, "\"%s\"", simple[1 + oracle_draw(o, 5)]);
        else if (oracle_chance(o, 30))
            put_union_type(o, depth, NULL, NULL);
        else
            put_type(o, depth + 1, false);
        put(o, "}");
        break;
    case 11:
        put(o, "{\"type\":\"map\",\"values\":");
        if (oracle_chance(o, 70))
            put(o, "\"%s\"", simple[1 + oracle_draw(o, 5)]);
        else
            put_type(o, depth + 1, false);
        put(o, "}");
        break;
    case 12:
        put_record_type(o, depth, false);
        break;
    default:
        put(o, "\"%s\"", simple[kind]);
    }
}

void oracle_schema(struct oracle *o)
{
    o->n = o->types = o->fallbacks = 0;
    o->width = 1 + (uint32_t)oracle_draw(o, 6);
    o->rows = oracle_chance(o, 30);
    o->wrapped = o->rows && oracle_chance(o, 50);
    if (o->wrapped)
        put(o, "{\"type\":\"record\",\"name\":\"Wrap\",\"fields\":[{\"name\":\"head\",\"type\":"
               "\"string\"},"
               "{\"name\":\"rows\",\"type\":");
    if (o->rows)
        put(o, "{\"type\":\"array\",\"items\":");
    put_record_type(o, 0, true);
    if (o->rows)
        put(o, "}");
    if (o->wrapped)
        put(o, "},{\"name\":\"tail\",\"type\":[\"null\",\"bytes\"]}]}");
    if (avro_schema_from_json_length(o->text, o->n, &o->schema))
        fail_msg("%s: %s", avro_strerror(), o->text);
    o->row = o->schema;
    if (o->wrapped)
        o->row = avro_schema_record_field_get_by_index(o->row, 1);
    if (o->rows)
        o->row = avro_schema_array_items(o->row);
}

/* ---- what a job may name ---- */

static avro_schema_t target(avro_schema_t s)
{
    return is_avro_link(s) ? avro_schema_link_target(s) : s;
}

static bool number_type(avro_schema_t s)
{
    return is_avro_boolean(s) || is_avro_int32(s) || is_avro_int64(s) || is_avro_float(s) ||
           is_avro_double(s);
}

static bool nullable_number(avro_schema_t s)
{
    uint32_t numbers = 0;

    if (!is_avro_union(s))
        return number_type(s);
    for (int i = 0; i < (int)avro_schema_union_size(s); i++) {
        avro_schema_t b = avro_schema_union_branch(s, i);

        numbers += number_type(b);
        if (!number_type(b) && !is_avro_null(b))
            return false;
    }
    return numbers > 0;
}

bool oracle_number_array(avro_schema_t s)
{
    return is_avro_array(s) && nullable_number(target(avro_schema_array_items(s)));
}

static struct leaf *leaf_at(struct oracle *o, const char *path)
{
    for (uint32_t i = 0; i < o->leaves; i++)
        if (strcmp(o->leaf[i].path, path) == 0)
            return &o->leaf[i];
    if (o->leaves == LEAVES || strlen(path) >= NAME_MAX_BYTES)
        return NULL;
    o->leaf[o->leaves] = (struct leaf){0};
    snprintf(o->leaf[o->leaves].path, NAME_MAX_BYTES, "%s", path);
    return &o->leaf[o->leaves++];
}

void oracle_leaves(struct oracle *o, avro_schema_t s, const char *path, uint32_t depth)
{
    char below[NAME_MAX_BYTES * 2];
    struct leaf *l;

    s = target(s);
    if (depth > 6)
        return;
    if (is_avro_record(s)) {
        for (int i = 0; i < (int)avro_schema_record_size(s); i++) {
            snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "",
                     avro_schema_record_field_name(s, i));
            oracle_leaves(o, avro_schema_record_field_get_by_index(s, i), below, depth + 1);
        }
    } else if (is_avro_union(s)) {
        for (int i = 0; i < (int)avro_schema_union_size(s); i++)
            oracle_leaves(o, avro_schema_union_branch(s, i), path, depth + 1);
    } else if (is_avro_map(s)) {
        for (int i = 0; i < 3; i++) {
            snprintf(below, sizeof below, "%s.k%d", path, i);
            s = target(s);
            if (!is_avro_map(target(avro_schema_map_values(s))) &&
                !is_avro_record(target(avro_schema_map_values(s))) &&
                !is_avro_union(target(avro_schema_map_values(s))))
                oracle_leaves(o, avro_schema_map_values(s), below, depth + 1);
        }
    } else if (!is_avro_null(s) && (l = leaf_at(o, path))) {
        l->number |= number_type(s);
        l->symbols |= is_avro_enum(s);
        l->text |= is_avro_string(s) || is_avro_bytes(s) || is_avro_fixed(s);
        l->array |= oracle_number_array(s);
        l->packed |=
            is_avro_bytes(s) || (is_avro_fixed(s) && avro_schema_fixed_size(s) == 4 * o->width);
    }
}

/* Every other number, in schema order: what a job without a list of features has. */
void oracle_defaults(struct oracle *o, avro_schema_t s, const char *path, uint32_t depth)
{
    char below[NAME_MAX_BYTES * 2];
    struct input *in = &o->in;

    s = target(s);
    if (nullable_number(s) || oracle_number_array(s)) {
        if (!strcmp(path, in->label) || !strcmp(path, in->weight) || !strcmp(path, in->key) ||
            !strcmp(path, in->time))
            return;
        for (uint32_t i = 0; i < in->features; i++)
            if (!strcmp(path, in->feature[i].name))
                return;
        snprintf(in->feature[in->features].name, NAME_MAX_BYTES, "%s", path);
        in->feature[in->features++].width = oracle_number_array(s) ? o->width : 0;
        return;
    }
    if (is_avro_record(s)) {
        for (int i = 0; i < (int)avro_schema_record_size(s); i++) {
            avro_schema_t f = avro_schema_record_field_get_by_index(s, i);

            snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "",
                     avro_schema_record_field_name(s, i));
            oracle_defaults(o, f, below, depth + 1);
        }
    } else if (is_avro_union(s)) {
        for (int i = 0; i < (int)avro_schema_union_size(s); i++) {
            avro_schema_t b = avro_schema_union_branch(s, i);

            if (is_avro_record(b) || is_avro_array(b)) /* links here are recursive */
                oracle_defaults(o, b, path, depth + 1);
        }
    }
}

/* ---- random jobs ---- */

static struct leaf *pick(struct oracle *o, bool (*fits)(const struct leaf *))
{
    for (int tries = 0; tries < 8 && o->leaves; tries++) {
        struct leaf *l = &o->leaf[oracle_draw(o, o->leaves)];
        const struct input *in = &o->in;
        bool used = !strcmp(l->path, in->label) || !strcmp(l->path, in->weight) ||
                    !strcmp(l->path, in->key) || !strcmp(l->path, in->time);

        for (uint32_t i = 0; i < in->features; i++)
            used |= !strcmp(l->path, in->feature[i].name);
        if (!used && fits(l))
            return l;
    }
    return NULL;
}

static bool fits_feature(const struct leaf *l)
{
    return (l->number || l->symbols) != (l->array || l->packed);
}

static bool fits_label(const struct leaf *l)
{
    return l->number || l->symbols || l->text;
}

static bool fits_number(const struct leaf *l)
{
    return l->number;
}

void oracle_job(struct oracle *o)
{
    struct input *in = &o->in;
    struct leaf *l;

    in->features = in->classes = 0;
    in->label[0] = in->weight[0] = in->key[0] = in->time[0] = 0;
    in->width = o->width;
    if (oracle_chance(o, 60) && (l = pick(o, fits_label))) {
        snprintf(in->label, NAME_MAX_BYTES, "%s", l->path);
        for (; l->text && in->classes < 3; in->classes++)
            snprintf(in->class_name[in->classes], CLASS_NAME_BYTES, "s%u", in->classes);
        if (l->text && l->symbols)
            in->classes = 2; /* all have to be symbols */
    }
    if (oracle_chance(o, 20) && (l = pick(o, fits_number)))
        snprintf(in->weight, NAME_MAX_BYTES, "%s", l->path);
    if (oracle_chance(o, 20) && (l = pick(o, fits_label)))
        snprintf(in->key, NAME_MAX_BYTES, "%s", l->path);
    if (oracle_chance(o, 20) && (l = pick(o, fits_number)))
        snprintf(in->time, NAME_MAX_BYTES, "%s", l->path);
    if (oracle_chance(o, 30))
        return; /* no list of features */
    for (uint32_t n = 1 + (uint32_t)oracle_draw(o, 6); n && (l = pick(o, fits_feature)); n--) {
        snprintf(in->feature[in->features].name, NAME_MAX_BYTES, "%s", l->path);
        in->feature[in->features++].width = l->array || l->packed ? o->width : 0;
    }
}
