#include "support_oracle.h"

#include <math.h>

/* ---- random values ---- */

static double random_number(struct oracle *o)
{
    switch (oracle_draw(o, 600)) {
    case 0:
        return NAN;
    case 1:
        return INFINITY;
    case 2:
        return 1e300;
    case 3:
        return -1.5e-42;
    default:
        return ((double)oracle_draw(o, 2000001) - 200000) / (double)(1 + oracle_draw(o, 1000));
    }
}

static int64_t random_whole(struct oracle *o)
{
    int64_t v = (int64_t)(mix64(o->rng) >> oracle_draw(o, 64));

    o->rng++;
    return oracle_chance(o, 20) ? -v : v;
}

static void fill_text(struct oracle *o, avro_value_t *v)
{
    char text[8];
    float packed[16];

    if (avro_value_get_type(v) == AVRO_STRING) {
        snprintf(text, sizeof text, "s%u", (uint32_t)oracle_draw(o, 5));
        avro_value_set_string(v, text);
        return;
    }
    for (uint32_t i = 0; i < o->width; i++)
        packed[i] = (float)random_number(o);
    if (avro_value_get_type(v) == AVRO_BYTES) {
        avro_value_set_bytes(v, packed, oracle_chance(o, 95) ? o->width * 4 : oracle_draw(o, 9));
    } else {
        size_t n = (size_t)avro_schema_fixed_size(avro_value_get_schema(v));

        memset(packed + o->width, 1, sizeof packed - o->width * sizeof *packed);
        avro_value_set_fixed(v, packed, n);
    }
}

static void fill_items(struct oracle *o, avro_value_t *v, uint32_t depth)
{
    bool map = avro_value_get_type(v) == AVRO_MAP;
    uint32_t n = oracle_chance(o, 97) ? o->width : (uint32_t)oracle_draw(o, 9);
    avro_value_t item;
    char key[8];

    if (depth > 8)
        n = 0;
    for (uint32_t i = 0; i < (map ? 5 : n); i++) {
        if (map && i > 2 && oracle_chance(o, 50))
            continue;
        if (map && oracle_chance(o, 1))
            continue;
        snprintf(key, sizeof key, "k%u", i);
        if (map)
            avro_value_add(v, key, &item, NULL, NULL);
        else
            avro_value_append(v, &item, NULL);
        oracle_fill(o, &item, depth + 1);
    }
}

static void fill_record(struct oracle *o, avro_value_t *v, uint32_t depth)
{
    uint32_t entries = (uint32_t)oracle_draw(o, 6), index = 0;
    size_t fields;
    avro_value_t field, item;
    const char *name;

    avro_value_get_size(v, &fields);
    for (size_t i = 0; i < fields; i++) {
        avro_value_get_by_index(v, i, &field, &name);
        if (strcmp(name, "indices") && strcmp(name, "values")) {
            oracle_fill(o, &field, depth + 1);
            continue;
        }
        for (uint32_t k = 0; k < entries + (oracle_chance(o, 2) ? 1 : 0); k++) {
            avro_value_append(&field, &item, NULL);
            if (name[0] == 'v') {
                oracle_fill(o, &item, depth + 1);
                continue;
            }
            index += oracle_chance(o, 98) ? 1 + (uint32_t)oracle_draw(o, 7) : 0;
            if (avro_value_get_type(&item) == AVRO_INT32)
                avro_value_set_int(&item, (int32_t)index - 1);
            else
                avro_value_set_long(&item, (int64_t)index - 1);
        }
    }
}

static void fill_union(struct oracle *o, avro_value_t *v, uint32_t depth)
{
    avro_schema_t s = avro_value_get_schema(v);
    int n = (int)avro_schema_union_size(s), pick = (int)oracle_draw(o, (uint64_t)n);
    avro_value_t branch;

    for (int tries = 0; tries < 3;
         tries++) { /* a number, rather than what makes the row a bad one */
        avro_type_t t = avro_typeof(avro_schema_union_branch(s, pick));

        if (t == AVRO_NULL || t == AVRO_STRING || t == AVRO_BYTES)
            pick = (int)oracle_draw(o, (uint64_t)n);
    }
    for (int i = 0; depth > 6 && i < n; i++)
        if (is_avro_null(avro_schema_union_branch(s, i)))
            pick = i;
    avro_value_set_branch(v, pick, &branch);
    oracle_fill(o, &branch, depth + 1);
}

void oracle_fill(struct oracle *o, avro_value_t *v, uint32_t depth)
{
    switch (avro_value_get_type(v)) {
    case AVRO_NULL:
        avro_value_set_null(v);
        break;
    case AVRO_BOOLEAN:
        avro_value_set_boolean(v, (int)oracle_draw(o, 2));
        break;
    case AVRO_INT32:
        avro_value_set_int(v, (int32_t)random_whole(o));
        break;
    case AVRO_INT64:
        avro_value_set_long(v, random_whole(o));
        break;
    case AVRO_FLOAT:
        avro_value_set_float(v, (float)random_number(o));
        break;
    case AVRO_DOUBLE:
        avro_value_set_double(v, random_number(o));
        break;
    case AVRO_ENUM:
        avro_value_set_enum(v, (int)oracle_draw(o, 3));
        break;
    case AVRO_RECORD:
        fill_record(o, v, depth);
        break;
    case AVRO_ARRAY:
    case AVRO_MAP:
        fill_items(o, v, depth);
        break;
    case AVRO_UNION:
        fill_union(o, v, depth);
        break;
    default:
        fill_text(o, v);
    }
}

/* ---- writing ---- */

static void put_bytes(struct oracle *o, const void *p, size_t n)
{
    assert_true(o->bytes + n <= sizeof o->message);
    memcpy(o->message + o->bytes, p, n);
    o->bytes += n;
}

static void put_long(struct oracle *o, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    uint8_t c;

    for (; z > 127; z >>= 7) {
        c = (uint8_t)(z | 128);
        put_bytes(o, &c, 1);
    }
    c = (uint8_t)z;
    put_bytes(o, &c, 1);
}

/* Items [from, to) of an array or map, as one block. */
static void put_block(struct oracle *o, const avro_value_t *v, size_t from, size_t to)
{
    bool sized = oracle_chance(o, 30);
    size_t start;
    avro_value_t item;
    const char *key;

    put_long(o, sized ? -(int64_t)(to - from) : (int64_t)(to - from));
    start = o->bytes;
    for (int pass = 0; pass < 1 + sized; pass++) { /* first for the size, then behind it */
        uint64_t rng = o->rng;
        size_t size = o->bytes - start;

        if (pass) {
            o->bytes = start;
            put_long(o, (int64_t)size);
        }
        for (size_t i = from; i < to; i++) {
            avro_value_get_by_index(v, i, &item, &key);
            if (avro_value_get_type(v) == AVRO_MAP) {
                put_long(o, (int64_t)strlen(key));
                put_bytes(o, key, strlen(key));
            }
            oracle_write(o, &item);
        }
        if (!pass && sized)
            o->rng = rng; /* the same bytes again */
    }
}

static void put_items(struct oracle *o, const avro_value_t *v)
{
    size_t n, from = 0;

    avro_value_get_size(v, &n);
    while (from < n) {
        size_t to = oracle_chance(o, 60) ? n : from + 1 + oracle_draw(o, n - from);

        put_block(o, v, from, to);
        from = to;
    }
    put_long(o, 0);
}

static void put_scalar(struct oracle *o, const avro_value_t *v)
{
    const void *p;
    int64_t l;
    int32_t i;
    double d;
    size_t n;
    float f;

    switch (avro_value_get_type(v)) {
    case AVRO_BOOLEAN:
        avro_value_get_boolean(v, &i);
        put_bytes(o, &(uint8_t){(uint8_t)i}, 1);
        break;
    case AVRO_INT32:
        avro_value_get_int(v, &i);
        put_long(o, i);
        break;
    case AVRO_INT64:
        avro_value_get_long(v, &l);
        put_long(o, l);
        break;
    case AVRO_ENUM:
        avro_value_get_enum(v, &i);
        put_long(o, i);
        break;
    case AVRO_FLOAT:
        avro_value_get_float(v, &f);
        put_bytes(o, &f, 4);
        break;
    case AVRO_DOUBLE:
        avro_value_get_double(v, &d);
        put_bytes(o, &d, 8);
        break;
    case AVRO_STRING:
        avro_value_get_string(v, (const char **)&p, &n);
        put_long(o, (int64_t)n - 1); /* Avro C counts the terminator */
        put_bytes(o, p, n - 1);
        break;
    case AVRO_BYTES:
        avro_value_get_bytes(v, &p, &n);
        put_long(o, (int64_t)n);
        put_bytes(o, p, n);
        break;
    default:
        assert_int_equal(avro_value_get_type(v), AVRO_FIXED);
        avro_value_get_fixed(v, &p, &n);
        put_bytes(o, p, n);
    }
}

void oracle_write(struct oracle *o, const avro_value_t *v)
{
    avro_value_t part;
    size_t n;
    int branch;

    switch (avro_value_get_type(v)) {
    case AVRO_NULL:
        break;
    case AVRO_RECORD:
        avro_value_get_size(v, &n);
        for (size_t i = 0; i < n; i++) {
            avro_value_get_by_index(v, i, &part, NULL);
            oracle_write(o, &part);
        }
        break;
    case AVRO_ARRAY:
    case AVRO_MAP:
        put_items(o, v);
        break;
    case AVRO_UNION:
        avro_value_get_discriminant(v, &branch);
        put_long(o, branch);
        avro_value_get_current_branch(v, &part);
        oracle_write(o, &part);
        break;
    default:
        put_scalar(o, v);
    }
}
