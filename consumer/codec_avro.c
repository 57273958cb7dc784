/* Avro: the writer's schema from a file, parsed and resolved by Avro C; messages are read by our
 * own plan (avro_plan.h).
 *
 * Framing: a value may have the prefix of schema registries (0, then a 4-byte id). Whether the
 * topic's values have it is said by input.framing, or else seen in the sample, or, where the topic
 * was empty, in the first message that decodes one way (tried without prefix first); then all have
 * to be alike, since a bad value without prefix can look like a good one with it. The id that was
 * seen is the only one accepted: another id is another schema, and this codec has one.
 * It is no part of the decoded fingerprint: it decides which values are good, never what a good one
 * says; an empty topic has none yet; and to pin it later must not orphan a state. A topic whose
 * framing changed shows as bad records, which stop the job at its limit.
 *
 * Avro C drops defaults and logical types, so the schema's text is walked beside its tree. */
#include "consumer/avro_compile.h"

#include "config/base/bytes.h"
#include "consumer/number.h"

#include <avro.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAME_BYTES = 5 };

struct avro {
    struct avro_plan plan;
    struct avro_plan form; /* reads nothing: is a value of this schema at all? */
    uint32_t framing;      /* enum framing */
    uint32_t id;
    bool settled; /* neither framing nor id is to be seen any more */
};

/* ---- JSON that Avro C has accepted: where a value stands in the text, or NULL ---- */

static const char *json_space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

static const char *json_string_end(const char *p)
{
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1])
            p++;
    return *p ? p + 1 : p;
}

/* Behind the value that starts at p. */
static const char *json_end(const char *p)
{
    uint32_t depth = 0;

    do {
        p = json_space(p);
        if (*p == '"') {
            p = json_string_end(p);
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else if (*p == ',' || *p == ':') {
            p++;
        } else {
            p += strcspn(p, ",:]} \t\r\n");
        }
    } while (depth && *p);
    return p;
}

static bool json_is(const char *p, const char *text)
{
    size_t n = strlen(text);

    return p && *p == '"' && strncmp(p + 1, text, n) == 0 && p[n + 1] == '"';
}

static const char *json_member(const char *p, const char *name)
{
    if (!p || *p != '{')
        return NULL;
    for (p = json_space(p + 1); *p == '"'; p = json_space(p + 1)) {
        const char *key = p;

        p = json_space(json_string_end(p));
        if (*p != ':')
            return NULL;
        p = json_space(p + 1);
        if (json_is(key, name))
            return p;
        p = json_space(json_end(p));
        if (*p != ',')
            return NULL;
    }
    return NULL;
}

static const char *json_item(const char *p, uint32_t i)
{
    if (!p || *p != '[')
        return NULL;
    for (p = json_space(p + 1); *p && *p != ']'; p = json_space(p + 1)) {
        if (i-- == 0)
            return p;
        p = json_space(json_end(p));
        if (*p != ',')
            return NULL;
    }
    return NULL;
}

/* ---- from Avro C's schema to the tree ---- */

struct known { /* a named type, for references */
    avro_schema_t schema;
    struct avro_node *node;
};

struct reader {
    struct avro_tree *t;
    struct known *known;
    uint32_t known_n, known_room, depth;
    struct err *e;
};

static enum st read_type(struct reader *r, avro_schema_t s, const char *json,
                         struct avro_node **out);

static void *take(struct avro_tree *t, size_t bytes)
{
    void **link = calloc(1, sizeof(void *) * 2 + bytes);

    if (!link)
        return NULL;
    *link = t->memory;
    t->memory = link;
    return link + 2;
}

static void tree_free(struct avro_tree *t)
{
    while (t->memory) {
        void *next = *(void **)t->memory;

        free(t->memory);
        t->memory = next;
    }
}

static enum st no_memory(struct reader *r)
{
    return fail(r->e, ST_FATAL, "no memory for the schema");
}

static const char *copy_text(struct reader *r, const char *text)
{
    char *p = take(r->t, strlen(text) + 1);

    if (p)
        memcpy(p, text, strlen(text) + 1);
    return p;
}

static bool is_micros(const char *json)
{
    const char *logical = json_member(json, "logicalType");

    return json_is(logical, "timestamp-micros") || json_is(logical, "local-timestamp-micros");
}

/* A default that is a number, true, false, or a symbol of the enum that n is or has as a branch. */
static void read_default(struct avro_field *f, const char *p)
{
    const struct avro_node *n = f->type;
    size_t len = p ? (size_t)(json_end(p) - p) : 0;

    if (!p)
        return;
    for (uint32_t i = 0; n->kind == AVRO_K_UNION && i < n->n; i++)
        if (n->field[i].type->kind == AVRO_K_ENUM)
            n = n->field[i].type;
    for (uint32_t i = 0; n->kind == AVRO_K_ENUM && i < n->n; i++)
        if (json_is(p, n->symbol[i])) {
            f->value = i;
            f->has_default = true;
        }
    if (strncmp(p, "true", 4) == 0 || strncmp(p, "false", 5) == 0) {
        f->value = *p == 't';
        f->has_default = true;
    } else if (number_f64((const uint8_t *)p, len, &f->value)) {
        f->has_default = true;
    }
}

static enum st read_record(struct reader *r, avro_schema_t s, const char *json, struct avro_node *n)
{
    const char *fields = json_member(json, "fields");

    n->n = (uint32_t)avro_schema_record_size(s);
    n->field = take(r->t, (n->n + 1) * sizeof *n->field);
    if (!n->field)
        return no_memory(r);
    for (uint32_t i = 0; i < n->n; i++) {
        struct avro_field *f = &n->field[i];
        const char *text = json_item(fields, i);

        f->name = copy_text(r, avro_schema_record_field_name(s, (int)i));
        if (!f->name)
            return no_memory(r);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(n->field[k].name, f->name) == 0)
                return fail(r->e, ST_BAD_CONFIG, "record '%.80s' has two fields '%.80s'", n->name,
                            f->name);
        TRY(read_type(r, avro_schema_record_field_get_by_index(s, (int)i),
                      json_member(text, "type"), &f->type));
        read_default(f, json_member(text, "default"));
    }
    return ST_OK;
}

static enum st read_enum(struct reader *r, avro_schema_t s, struct avro_node *n)
{
    n->n = (uint32_t)avro_schema_enum_number_of_symbols(s);
    n->symbol = take(r->t, n->n * sizeof *n->symbol);
    if (!n->symbol)
        return no_memory(r);
    for (uint32_t i = 0; i < n->n; i++) {
        n->symbol[i] = copy_text(r, avro_schema_enum_get(s, (int)i));
        if (!n->symbol[i])
            return no_memory(r);
    }
    return ST_OK;
}

static enum st read_union(struct reader *r, avro_schema_t s, const char *json, struct avro_node *n)
{
    n->n = (uint32_t)avro_schema_union_size(s);
    n->field = take(r->t, n->n * sizeof *n->field);
    if (!n->field)
        return no_memory(r);
    for (uint32_t i = 0; i < n->n; i++)
        TRY(read_type(r, avro_schema_union_branch(s, (int)i), json_item(json, i),
                      &n->field[i].type));
    return ST_OK;
}

/* array and map */
static enum st read_items(struct reader *r, avro_schema_t items, const char *json,
                          struct avro_node *n)
{
    n->n = 1;
    n->field = take(r->t, sizeof *n->field);
    if (!n->field)
        return no_memory(r);
    return read_type(r, items, json, &n->field[0].type);
}

static enum st read_fixed(struct reader *r, avro_schema_t s, struct avro_node *n)
{
    n->bytes = avro_schema_fixed_size(s);
    if (n->bytes < 0 || n->bytes > RECORD_BYTES_MAX)
        return fail(r->e, ST_BAD_CONFIG, "fixed '%.80s' of %lld bytes", n->name,
                    (long long)n->bytes);
    return ST_OK;
}

static enum st read_link(struct reader *r, avro_schema_t s, struct avro_node **out)
{
    avro_schema_t target = avro_schema_link_target(s);

    for (uint32_t i = 0; i < r->known_n; i++)
        if (r->known[i].schema == target) {
            *out = r->known[i].node;
            return ST_OK;
        }
    return fail(r->e, ST_BAD_CONFIG, "type '%.80s' is used before it is defined",
                avro_schema_name(target));
}

static enum st read_body(struct reader *r, avro_schema_t s, const char *json, struct avro_node *n)
{
    static const enum avro_kind kinds[] = {
        [AVRO_STRING] = AVRO_K_STRING,   [AVRO_BYTES] = AVRO_K_BYTES, [AVRO_INT32] = AVRO_K_INT,
        [AVRO_INT64] = AVRO_K_LONG,      [AVRO_FLOAT] = AVRO_K_FLOAT, [AVRO_DOUBLE] = AVRO_K_DOUBLE,
        [AVRO_BOOLEAN] = AVRO_K_BOOLEAN, [AVRO_NULL] = AVRO_K_NULL,   [AVRO_RECORD] = AVRO_K_RECORD,
        [AVRO_ENUM] = AVRO_K_ENUM,       [AVRO_FIXED] = AVRO_K_FIXED, [AVRO_MAP] = AVRO_K_MAP,
        [AVRO_ARRAY] = AVRO_K_ARRAY,     [AVRO_UNION] = AVRO_K_UNION,
    };

    CHECK((size_t)avro_typeof(s) < sizeof kinds / sizeof *kinds);
    n->kind = kinds[avro_typeof(s)];
    n->size = AVRO_SIZE_UNKNOWN;
    switch (n->kind) {
    case AVRO_K_RECORD:
        return read_record(r, s, json, n);
    case AVRO_K_ENUM:
        return read_enum(r, s, n);
    case AVRO_K_FIXED:
        return read_fixed(r, s, n);
    case AVRO_K_ARRAY:
        return read_items(r, avro_schema_array_items(s), json_member(json, "items"), n);
    case AVRO_K_MAP:
        return read_items(r, avro_schema_map_values(s), json_member(json, "values"), n);
    case AVRO_K_UNION:
        return read_union(r, s, json, n);
    default:
        n->micros = n->kind == AVRO_K_LONG && is_micros(json);
        return ST_OK;
    }
}

static enum st read_type(struct reader *r, avro_schema_t s, const char *json,
                         struct avro_node **out)
{
    struct avro_node *n;
    enum st st;

    if (is_avro_link(s))
        return read_link(r, s, out);
    if (r->depth == SCHEMA_DEPTH_MAX)
        return fail(r->e, ST_BAD_CONFIG, "types are nested deeper than %d", SCHEMA_DEPTH_MAX);
    n = take(r->t, sizeof *n);
    if (!n || !avro_grow(&r->known, r->known_n, &r->known_room, sizeof *r->known))
        return no_memory(r);
    *out = n;
    if (is_avro_record(s) || is_avro_enum(s) || is_avro_fixed(s)) {
        n->name = copy_text(r, avro_schema_name(s));
        if (!n->name)
            return no_memory(r);
        r->known[r->known_n++] = (struct known){s, n};
    }
    r->depth++;
    st = read_body(r, s, json, n);
    r->depth--;
    CHECK(st != ST_OK || n->size == AVRO_SIZE_UNKNOWN);
    return st;
}

/* ---- the schema file ---- */

static enum st read_file(const char *path, char **text, size_t *n, struct err *e)
{
    FILE *in = fopen(path, "rb");

    if (!in)
        return fail(e, ST_BAD_CONFIG, "%s", strerror(errno));
    *text = malloc(SCHEMA_BYTES_MAX + 1);
    *n = *text ? fread(*text, 1, SCHEMA_BYTES_MAX + 1, in) : 0;
    fclose(in);
    if (!*text)
        return fail(e, ST_FATAL, "no memory for the schema");
    if (*n > SCHEMA_BYTES_MAX)
        return fail(e, ST_BAD_CONFIG, "larger than %d bytes", SCHEMA_BYTES_MAX);
    (*text)[*n] = 0;
    return ST_OK;
}

static enum st read_tree(const char *text, size_t n, struct avro_tree *t, struct err *e)
{
    struct reader r = {.t = t, .e = e};
    avro_schema_t s;
    enum st st;

    if (strlen(text) != n || avro_schema_from_json_length(text, n, &s))
        return fail(e, ST_BAD_CONFIG, "%s",
                    strlen(text) == n ? avro_strerror() : "it is no text: it has a zero byte");
    st = read_type(&r, s, json_space(text), &t->root);
    free(r.known);
    avro_schema_decref(s);
    return st;
}

static enum st read_schema(const struct input *in, struct avro_tree *t, struct err *e)
{
    char *text = NULL;
    size_t n = 0;
    enum st st;

    if (!in->schema[0])
        return fail(e, ST_BAD_CONFIG,
                    "input.schema is missing: the file with the Avro schema of the records");
    st = read_file(in->schema, &text, &n, e);
    if (st == ST_OK)
        st = read_tree(text, n, t, e);
    free(text);
    if (st != ST_OK)
        err_prefix(e, "schema %.200s", in->schema);
    return st;
}

/* ---- the codec ---- */

static bool has_frame(struct bytes v)
{
    return v.n >= FRAME_BYTES && v.p[0] == 0;
}

static struct bytes without_frame(struct bytes v)
{
    DCHECK(has_frame(v));
    return (struct bytes){v.p + FRAME_BYTES, v.n - FRAME_BYTES};
}

static uint32_t frame_id(struct bytes v)
{
    DCHECK(has_frame(v));
    return (uint32_t)v.p[1] << 24 | (uint32_t)v.p[2] << 16 | (uint32_t)v.p[3] << 8 | v.p[4];
}

/* Settles framing and id by the first value that has the form of the schema, without prefix or with
 * it, as far as the job leaves it open. */
static enum bad see_framing(struct avro *s, struct bytes v, uint64_t *count)
{
    enum bad bad = BAD_FRAMING;

    if (s->framing != FRAMING_CONFLUENT)
        bad = avro_plan_measure(&s->form, v, count);
    if (bad == BAD_NONE) {
        s->framing = FRAMING_NONE;
    } else if (s->framing != FRAMING_NONE && has_frame(v) &&
               avro_plan_measure(&s->form, without_frame(v), count) == BAD_NONE) {
        s->framing = FRAMING_CONFLUENT;
        s->id = frame_id(v);
        bad = BAD_NONE;
    }
    s->settled |= bad == BAD_NONE;
    return bad;
}

/* Framing and widths as the sample has them; a sample of another form says nothing. */
static enum st look_at(struct avro *s, struct avro_compiler *c, struct bytes sample,
                       uint64_t *count, struct err *e)
{
    enum bad bad = see_framing(s, sample, count);

    if (bad && c->unknown)
        return fail(e, ST_BAD_CONFIG,
                    "the first record is not of this schema (%s), so the width of its arrays is "
                    "unknown: check input.schema, or give widths in input.features",
                    bad_name(bad));
    return ST_OK;
}

static enum st compile(struct avro *s, struct avro_compiler *c, struct bytes sample,
                       struct decoded *out, struct err *e)
{
    uint64_t *count = calloc(c->unknown + 1, sizeof *count);
    enum st st = count ? ST_OK : fail(e, ST_FATAL, "no memory for the schema");

    if (st == ST_OK)
        st = avro_compile_measure(c, &s->form, e);
    if (st == ST_OK && sample.p)
        st = look_at(s, c, sample, count, e);
    if (st == ST_OK)
        st = avro_compile_widths(c, count, e);
    if (st == ST_OK)
        st = avro_compile_plan(c, &s->plan, out, e);
    free(count);
    return st;
}

static enum st avro_open(void *self, const struct input *in, bool need_label, struct bytes sample,
                         struct decoded *out, struct err *e)
{
    struct avro_compiler *c = calloc(1, sizeof *c);
    struct avro *s = self;
    struct avro_tree t = {0};
    enum st st;

    if (!c)
        return fail(e, ST_FATAL, "no memory for the schema");
    s->framing = in->framing;
    s->settled = in->framing == FRAMING_NONE;
    st = read_schema(in, &t, e);
    if (st == ST_OK)
        st = avro_compile_open(c, t.root, in, need_label, e);
    if (st == ST_OK && c->unknown && !sample.p)
        st = ST_AGAIN;
    if (st == ST_OK)
        st = compile(s, c, sample, out, e);
    avro_compile_close(c);
    tree_free(&t);
    free(c);
    return st;
}

static void avro_close(void *self)
{
    struct avro *s = self;

    avro_plan_free(&s->plan);
    avro_plan_free(&s->form);
    memset(s, 0, sizeof *s);
}

static enum bad wrong_frame(const struct avro *s, struct bytes v, char *detail)
{
    char shown[36];
    const char *guess = v.n >= 4 && memcmp(v.p, "Obj\1", 4) == 0 ? "an Avro file?"
                        : v.n && (*v.p == '{' || *v.p == '[')    ? "JSON?"
                                                                 : "no schema id";

    if (has_frame(v))
        snprintf(detail, DETAIL_BYTES,
                 "schema id %u, but the topic began with %u, and this job has one schema",
                 frame_id(v), s->id);
    else
        snprintf(detail, DETAIL_BYTES,
                 "the topic's values have a schema id in front, this one begins with '%s': %s",
                 bytes_shown(v.p, v.n < 16 ? v.n : 16, shown), guess);
    return BAD_FRAMING;
}

static enum bad avro_decode(void *self, struct bytes key, struct bytes value, int64_t offset,
                            int64_t timestamp_ms, struct block *b, char *detail)
{
    struct avro *s = self;
    struct avro_message m = {.body = value, .offset = offset, .timestamp_ms = timestamp_ms};

    CHECK(value.p);
    if (b->key)
        m.key = hash64(key.p, key.n, 0);
    if (!s->settled)
        (void)see_framing(s, value, NULL);
    if (s->framing == FRAMING_CONFLUENT) {
        if (!has_frame(value) || (s->settled && frame_id(value) != s->id))
            return wrong_frame(s, value, detail);
        m.body = without_frame(value);
    }
    return avro_plan_run(&s->plan, &m, b, detail);
}

static const char *avro_column_name(void *self, uint32_t c, char *text, size_t n)
{
    const struct avro *s = self;

    return avro_plan_column_name(&s->plan, c, text, n);
}

static void avro_label_limit(void *self, uint32_t classes)
{
    struct avro *s = self;

    s->plan.labels.limit = classes;
}

const struct codec codec_avro = {
    .name = "avro",
    .summary =
        "Avro by a schema file, with or without a registry's prefix; one row a message or many",
    .self_bytes = sizeof(struct avro),
    .samples = true,
    .open = avro_open,
    .close = avro_close,
    .decode = avro_decode,
    .column_name = avro_column_name,
    .label_limit = avro_label_limit,
};
