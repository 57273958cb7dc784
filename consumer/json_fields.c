#include "consumer/json_fields.h"

#include <stdlib.h>

enum { NODES_MAX = 1 << 18, NAME_ROOM = 6 * NAME_MAX_BYTES };

enum found { /* in the sample */
             FOUND_NOTHING,
             FOUND_NUMBER,
             FOUND_NUMBERS, /* its width is in `next` while the sample is read */
             FOUND_OBJECT,
             FOUND_EMPTY, /* null, or an array of nothing else */
             FOUND_OTHER
};

struct opening {
    struct json_fields *f;
    const struct input *in;
    struct err *e;
    uint32_t *width; /* [nodes_room]: of arrays in the sample */
    bool full;       /* a list could not grow */
    bool too_many;   /* fields in the sample */
};

/* ---- growing lists ---- */

static bool grow(void *list, uint32_t n, uint32_t *room, size_t bytes)
{
    void *old, *grown;
    uint32_t more = *room ? *room : 64;

    if (n < *room)
        return true;
    while (more <= n)
        more *= 2;
    memcpy(&old, list, sizeof old);
    grown = realloc(old, more * bytes);
    if (!grown)
        return false;
    memcpy(list, &grown, sizeof grown);
    *room = more;
    return true;
}

static uint32_t add_text(struct opening *o, const char *text, uint32_t n)
{
    struct json_fields *f = o->f;
    uint32_t at = f->text_n;

    if (!grow(&f->text, at + n + 1, &f->text_room, 1)) {
        o->full = true;
        return 0;
    }
    memcpy(f->text + at, text, n);
    f->text[at + n] = 0;
    f->text_n += n + 1;
    return at;
}

/* ---- nodes ---- */

static uint32_t slot_of(const struct json_fields *f, uint32_t parent, const uint8_t *name, size_t n)
{
    uint32_t at = (uint32_t)hash64(name, n, parent) & (f->slots - 1);

    for (; f->slot[at]; at = (at + 1) & (f->slots - 1)) {
        const struct json_node *q = &f->node[f->slot[at]];

        if (q->parent == parent && q->n == n + 2 && !memcmp(f->text + q->quoted + 1, name, n))
            break;
    }
    return at;
}

uint32_t json_fields_find(const struct json_fields *f, uint32_t parent, const uint8_t *name,
                          size_t n)
{
    return f->slot[slot_of(f, parent, name, n)];
}

static bool grow_slots(struct json_fields *f)
{
    uint32_t slots = f->slots ? 2 * f->slots : 128;
    uint32_t *slot = calloc(slots, sizeof *slot);

    if (!slot)
        return false;
    free(f->slot);
    f->slot = slot;
    f->slots = slots;
    for (uint32_t i = 1; i < f->nodes; i++) {
        const struct json_node *q = &f->node[i];

        slot[slot_of(f, q->parent, (const uint8_t *)f->text + q->quoted + 1, q->n - 2)] = i;
    }
    return true;
}

/* Its bytes as they stand in most messages; a name that needs escapes is looked up. */
static void set_head(struct json_node *q, const char *quoted)
{
    uint8_t word[8] = {0};
    bool plain = true;

    for (uint32_t i = 1; i + 1 < q->n; i++)
        plain = plain && (uint8_t)quoted[i] >= ' ' && quoted[i] != '"' && quoted[i] != '\\';
    q->head = 1; /* of no message with mask 0 */
    if (!plain)
        return;
    memcpy(word, quoted, q->n < 8 ? q->n : 8);
    q->head = get_u64(word);
    q->mask = q->n < 8 ? (UINT64_C(1) << 8 * q->n) - 1 : UINT64_MAX;
}

/* The field of that name, new or not; 0: no memory. */
static uint32_t node_of(struct opening *o, uint32_t parent, const char *name, uint32_t n)
{
    struct json_fields *f = o->f;
    uint32_t room = f->nodes_room, at = json_fields_find(f, parent, (const uint8_t *)name, n);
    struct json_node q = {.parent = parent, .n = n + 2};
    char quoted[NAME_MAX_BYTES + 2];

    if (at)
        return at;
    CHECK(n < NAME_MAX_BYTES);
    quoted[0] = quoted[n + 1] = '"';
    memcpy(quoted + 1, name, n);
    q.quoted = add_text(o, quoted, q.n);
    set_head(&q, quoted);
    o->full = o->full || !grow(&f->node, f->nodes, &f->nodes_room, sizeof *f->node) ||
              !grow(&o->width, f->nodes, &room, sizeof *o->width);
    if (o->full || (2 * f->nodes >= f->slots && !grow_slots(f))) {
        o->full = true;
        return 0;
    }
    at = f->nodes++;
    f->node[at] = q;
    o->width[at] = 0;
    f->slot[slot_of(f, parent, (const uint8_t *)name, n)] = at;
    return at;
}

/* "a.b" of field b in a, or NULL: too long for a name. */
static const char *path_of(const struct json_fields *f, uint32_t at, char path[NAME_MAX_BYTES])
{
    size_t to = NAME_MAX_BYTES - 1;

    path[to] = 0;
    for (; at; at = f->node[at].parent) {
        const struct json_node *q = &f->node[at];
        size_t n = q->n - 2, dot = f->node[at].parent != 0;

        if (n + dot > to)
            return NULL;
        to -= n;
        memcpy(path + to, f->text + q->quoted + 1, n);
        if (dot)
            path[--to] = '.';
    }
    return path + to;
}

/* ---- the sample ---- */

static enum bad read_object(struct opening *o, struct json_text *t, uint32_t parent,
                            uint32_t depth);

static enum bad read_array(struct json_text *t, uint32_t *found, uint32_t *width)
{
    struct json_value v;
    enum bad bad = json_mark(t, '[', "an array is needed");

    *found = FOUND_EMPTY;
    *width = 0;
    if (!bad && t->p < t->end && *t->p == ']') {
        t->p++;
        return BAD_NONE;
    }
    while (!bad) {
        bad = json_scalar(t, &v);
        if (!bad && v.kind >= JSON_OBJECT)
            bad = json_skip(t, 1);
        if (v.kind == JSON_STRING || v.kind >= JSON_OBJECT)
            *found = FOUND_OTHER;
        else if (v.kind != JSON_NULL && *found == FOUND_EMPTY)
            *found = FOUND_NUMBERS;
        ++*width;
        json_blank(t);
        if (!bad && t->p < t->end && *t->p == ']') {
            t->p++;
            return BAD_NONE;
        }
        bad = bad ? bad : json_mark(t, ',', "a comma is needed");
    }
    return bad;
}

static enum bad read_value(struct opening *o, struct json_text *t, uint32_t at, uint32_t depth)
{
    struct json_value v;
    uint32_t found = FOUND_OTHER, width = 0;
    enum bad bad = json_scalar(t, &v);

    if (bad)
        return bad;
    if (!at)
        return v.kind < JSON_OBJECT ? BAD_NONE : json_skip(t, depth);
    if (v.kind == JSON_ARRAY) {
        bad = read_array(t, &found, &width);
    } else if (v.kind == JSON_OBJECT) {
        found = FOUND_OBJECT;
        bad = depth < JSON_DEPTH_MAX ? read_object(o, t, at, depth) : BAD_TOO_LONG;
    } else if (v.kind == JSON_NULL) {
        found = FOUND_EMPTY;
    } else if (v.kind != JSON_STRING) {
        found = FOUND_NUMBER;
    }
    o->f->node[at].found = found;
    o->width[at] = width;
    return bad;
}

static enum bad read_object(struct opening *o, struct json_text *t, uint32_t parent, uint32_t depth)
{
    uint8_t name[NAME_ROOM];
    struct json_value key;
    enum bad bad = json_mark(t, '{', "an object is needed");

    if (!bad && t->p < t->end && *t->p == '}') {
        t->p++;
        return BAD_NONE;
    }
    while (!bad && !o->full && !o->too_many) {
        uint32_t at = 0;
        size_t n;

        bad = json_string(t, &key);
        bad = bad ? bad : json_mark(t, ':', "a colon is needed");
        n = bad ? 0 : json_unescape(key.text, name, sizeof name);
        o->too_many = o->f->nodes == NODES_MAX;
        if (!bad && n < NAME_MAX_BYTES && !o->too_many) /* a longer one is nothing the job names */
            at = node_of(o, parent, (const char *)name, (uint32_t)n);
        bad = bad ? bad : read_value(o, t, at, depth + 1);
        json_blank(t);
        if (!bad && t->p < t->end && *t->p == '}') {
            t->p++;
            return BAD_NONE;
        }
        bad = bad ? bad : json_mark(t, ',', "a comma is needed");
    }
    return bad;
}

/* The fields of its first row; none, if it is none. */
static enum st read_sample(struct opening *o, struct bytes sample)
{
    struct json_text t = {.p = sample.p, .end = sample.p + sample.n};
    enum bad bad;

    json_blank(&t);
    if (t.p < t.end && *t.p == '[')
        t.p++;
    json_blank(&t);
    bad = read_object(o, &t, 0, 0);
    for (uint32_t i = 1; bad && i < o->f->nodes; i++)
        o->f->node[i].found = FOUND_NOTHING;
    if (o->full)
        return fail(o->e, ST_FATAL, "no memory for the fields of the first record");
    if (!bad || o->in->features)
        return ST_OK;
    if (o->too_many)
        return fail(o->e, ST_BAD_CONFIG,
                    "the first record has more than %d fields: list those to learn from in "
                    "input.features",
                    NODES_MAX);
    return fail(o->e, ST_BAD_CONFIG,
                "the first record is no JSON object (%s), so the features are unknown: list them "
                "in input.features",
                t.what ? t.what : "nested too deep");
}

/* ---- the job ---- */

static enum st no_memory(struct opening *o)
{
    return fail(o->e, ST_FATAL, "no memory for %u fields", o->f->leaves);
}

static enum st add_leaf(struct opening *o, uint32_t at, const char *path, struct json_leaf leaf)
{
    struct json_fields *f = o->f;

    leaf.path = add_text(o, path, (uint32_t)strlen(path));
    if (o->full || !grow(&f->leaf, f->leaves, &f->leaves_room, sizeof *f->leaf))
        return no_memory(o);
    f->leaf[f->leaves] = leaf;
    f->node[at].role = leaf.role;
    f->node[at].leaf = f->leaves++;
    return ST_OK;
}

/* The first of the two forms of a name, and its other form where there is one, else 0. */
static enum st nodes_of(struct opening *o, const char *path, uint32_t *at, uint32_t *flat)
{
    size_t n;

    *at = *flat = 0;
    for (const char *p = path; *p; p += n + (p[n] == '.')) {
        n = strcspn(p, ".");
        *at = node_of(o, *at, p, (uint32_t)n);
        if (!*at)
            return no_memory(o);
    }
    if (!strchr(path, '.'))
        return ST_OK;
    *flat = node_of(o, 0, path, (uint32_t)strlen(path));
    return *flat ? ST_OK : no_memory(o);
}

/* A field that the first record does not have, but another one of nearly that name that the job
 * does not name: they are the same. */
static enum st misspelt(struct opening *o, const char *key, const char *path)
{
    struct json_fields *f = o->f;
    const char **words = calloc(f->nodes + 1, sizeof *words), *near;
    uint32_t n = 0;
    char text[NAME_MAX_BYTES];

    if (!words)
        return no_memory(o);
    for (uint32_t i = 1; i < f->nodes; i++) {
        struct json_node *q = &f->node[i];

        f->text[q->quoted + q->n - 1] = 0; /* for a moment */
        if (q->found && q->role == JSON_SKIP && !q->parent)
            words[n++] = f->text + q->quoted + 1;
    }
    near = suggest(path, words);
    snprintf(text, sizeof text, "%s", near ? near : "");
    for (uint32_t i = 1; i < f->nodes; i++)
        f->text[f->node[i].quoted + f->node[i].n - 1] = '"';
    free(words);
    if (!near)
        return ST_OK; /* records may do without it */
    return fail(o->e, ST_BAD_CONFIG,
                "input.%s: the first record has no field '%s'; did you mean '%s'?", key, path,
                text);
}

static enum st take(struct opening *o, const char *key, const char *path, struct json_leaf leaf)
{
    struct json_fields *f = o->f;
    uint32_t at, flat;

    if (!path[0])
        return ST_OK;
    TRY(nodes_of(o, path, &at, &flat));
    if (f->node[at].role)
        return fail(o->e, ST_BAD_CONFIG, "input.%s: '%s' has another use in this job", key, path);
    if (leaf.role == JSON_COLUMN) {
        uint32_t in = f->node[at].found == FOUND_NUMBERS ? at : flat;

        if (!leaf.width && f->node[in].found == FOUND_NUMBERS)
            leaf.width = o->in->width ? o->in->width : o->width[in];
        leaf.role = leaf.width ? JSON_COLUMNS : JSON_COLUMN;
        leaf.width += !leaf.width;
        leaf.column = f->columns;
        f->columns += leaf.width <= COLUMNS_MAX ? leaf.width : COLUMNS_MAX;
        if (f->columns > COLUMNS_MAX)
            return fail(o->e, ST_BAD_CONFIG, "input.features: more than %d columns", COLUMNS_MAX);
    }
    TRY(add_leaf(o, at, path, leaf));
    if (flat && f->node[flat].role)
        return fail(o->e, ST_BAD_CONFIG, "input.%s: '%s' has another use in this job", key, path);
    if (flat) {
        f->node[flat].role = f->node[at].role;
        f->node[flat].leaf = f->node[at].leaf;
    }
    return ST_OK;
}

static bool in_sample(struct opening *o, const char *path)
{
    uint32_t at, flat;

    return nodes_of(o, path, &at, &flat) == ST_OK &&
           (o->f->node[at].found || o->f->node[flat].found);
}

static enum st check_spelling(struct opening *o, const char *key, const char *path)
{
    if (!o->f->nodes || o->in->missing || !path[0] || in_sample(o, path))
        return ST_OK;
    return misspelt(o, key, path);
}

struct path { /* of a number in the sample */
    const char *text;
    uint32_t at;
};

static int by_name(const void *a, const void *b)
{
    const struct path *p = a, *q = b;
    int order = strverscmp(p->text, q->text);

    return order ? order : (p->at > q->at) - (p->at < q->at);
}

/* Every other number of the sample. */
static enum st gather(struct opening *o, struct path *found, uint32_t *n)
{
    struct json_fields *f = o->f;
    char room[NAME_MAX_BYTES];

    for (uint32_t i = 1; i < f->nodes; i++) {
        const struct json_node *q = &f->node[i];
        const char *path = path_of(f, i, room);

        if (q->role || !path || q->found == FOUND_OTHER || q->found == FOUND_OBJECT || !q->found)
            continue;
        if (q->found == FOUND_EMPTY)
            return fail(o->e, ST_BAD_CONFIG,
                        "field '%s' has no value in the first record, so whether it is a feature "
                        "is unknown: list the features in input.features",
                        path);
        found[*n].text = strdup(path);
        if (!found[*n].text)
            return no_memory(o);
        found[(*n)++].at = i;
    }
    qsort(found, *n, sizeof *found, by_name);
    return ST_OK;
}

static enum st add_found(struct opening *o, const struct path *found, uint32_t n)
{
    struct json_fields *f = o->f;

    for (uint32_t i = 0; i < n; i++) {
        bool array = f->node[found[i].at].found == FOUND_NUMBERS;
        uint32_t width = !array ? 1 : o->in->width ? o->in->width : o->width[found[i].at];

        if (i && !strcmp(found[i].text, found[i - 1].text))
            return fail(o->e, ST_BAD_CONFIG,
                        "the first record has two fields '%s': list others in input.features",
                        found[i].text);
        if (width > COLUMNS_MAX - f->columns)
            return fail(o->e, ST_BAD_CONFIG, "the first record has more than %d numbers",
                        COLUMNS_MAX);
        TRY(add_leaf(
            o, found[i].at, found[i].text,
            (struct json_leaf){array ? JSON_COLUMNS : JSON_COLUMN, f->columns, width, 0, 0}));
        f->columns += width;
    }
    return ST_OK;
}

static enum st take_found(struct opening *o)
{
    struct path *found = calloc(o->f->nodes, sizeof *found);
    uint32_t n = 0;
    enum st st;

    if (!found)
        return no_memory(o);
    st = gather(o, found, &n);
    if (st == ST_OK)
        st = add_found(o, found, n);
    for (uint32_t i = 0; i < n; i++)
        free((char *)found[i].text);
    free(found);
    return st;
}

static enum st take_features(struct opening *o)
{
    const struct input *in = o->in;

    for (uint32_t i = 0; i < in->one_hots; i++)
        TRY(take(o, "one_hot", in->one_hot[i],
                 (struct json_leaf){.role = JSON_CATEGORY, .column = i}));
    o->f->categories = in->one_hots;
    o->f->features = o->f->leaves;
    for (uint32_t i = 0; i < in->features; i++)
        TRY(take(o, "features", in->feature[i].name,
                 (struct json_leaf){.role = JSON_COLUMN, .width = in->feature[i].width}));
    if (!in->features)
        TRY(take_found(o));
    for (uint32_t i = 0; i < in->one_hots; i++)
        TRY(check_spelling(o, "one_hot", in->one_hot[i]));
    for (uint32_t i = 0; i < in->features; i++)
        TRY(check_spelling(o, "features", in->feature[i].name));
    if (!o->f->columns && !in->one_hots)
        return fail(o->e, ST_BAD_CONFIG, "input: no field is left to learn from");
    return ST_OK;
}

/* Objects round a leaf are to be read; none of them is a leaf itself. */
static enum st mark_inner(struct opening *o)
{
    struct json_fields *f = o->f;

    for (uint32_t i = 1; i < f->nodes; i++) {
        struct json_node *q = &f->node[f->node[i].parent];

        if (f->node[i].role <= JSON_INNER)
            continue;
        for (; q != f->node && q->role <= JSON_INNER; q = &f->node[q->parent])
            q->role = JSON_INNER;
        if (q != f->node)
            return fail(o->e, ST_BAD_CONFIG,
                        "input: '%s' and '%s' are both named, but one is a part of the other",
                        f->text + f->leaf[q->leaf].path, f->text + f->leaf[f->node[i].leaf].path);
    }
    return ST_OK;
}

static enum st take_all(struct opening *o, bool need_label, struct bytes sample)
{
    struct json_fields *f = o->f;
    const struct input *in = o->in;

    if (sample.p)
        TRY(read_sample(o, sample));
    f->labelled = in->label[0] && (need_label || in_sample(o, in->label));
    if (f->labelled)
        TRY(take(o, "label", in->label, (struct json_leaf){.role = JSON_LABEL}));
    TRY(take(o, "weight", in->weight, (struct json_leaf){.role = JSON_WEIGHT}));
    TRY(take(o, "key", in->key, (struct json_leaf){.role = JSON_KEY}));
    TRY(take(o, "time", in->time, (struct json_leaf){.role = JSON_TIME}));
    TRY(take_features(o));
    if (f->labelled)
        TRY(check_spelling(o, "label", in->label));
    TRY(check_spelling(o, "weight", in->weight));
    TRY(check_spelling(o, "key", in->key));
    TRY(check_spelling(o, "time", in->time));
    return mark_inner(o);
}

enum st json_fields_open(struct json_fields *f, const struct input *in, bool need_label,
                         struct bytes sample, struct err *e)
{
    struct opening o = {.f = f, .in = in, .e = e};
    enum st st;

    if (need_label && !in->label[0])
        return fail(e, ST_BAD_CONFIG, "input.label: this algorithm needs a label; name its field");
    if (!sample.p && (!in->features || (!need_label && in->label[0])))
        return ST_AGAIN;
    f->nodes_room = 64;
    f->node = calloc(f->nodes_room, sizeof *f->node);
    o.width = calloc(f->nodes_room, sizeof *o.width);
    if (!f->node || !o.width || !grow_slots(f)) {
        free(o.width);
        return fail(e, ST_FATAL, "no memory for the fields");
    }
    f->nodes = 1;
    f->node[0].head = 1;
    st = take_all(&o, need_label, sample);
    free(o.width);
    return st;
}

void json_fields_close(struct json_fields *f)
{
    free(f->node);
    free(f->slot);
    free(f->leaf);
    free(f->text);
    memset(f, 0, sizeof *f);
}
