/* First half of the compiler: what the job's names mean in the schema. */
#include "consumer/avro_compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VISITS_MAX = 1 << 20, WORDS_MAX = 1024 };

bool avro_is_number(const struct avro_node *n)
{
    return n->kind >= AVRO_K_BOOLEAN && n->kind <= AVRO_K_DOUBLE;
}

static bool is_text(const struct avro_node *n)
{
    return n->kind == AVRO_K_STRING || n->kind == AVRO_K_BYTES || n->kind == AVRO_K_FIXED;
}

static bool is_enum(const struct avro_node *n)
{
    return n->kind == AVRO_K_ENUM;
}

/* A number, or a union of numbers and null. */
static bool is_nullable_number(const struct avro_node *n)
{
    bool any = false;

    if (n->kind != AVRO_K_UNION)
        return avro_is_number(n);
    for (uint32_t i = 0; i < n->n; i++) {
        const struct avro_node *b = n->field[i].type;

        if (b->kind != AVRO_K_NULL && !avro_is_number(b))
            return false;
        any |= b->kind != AVRO_K_NULL;
    }
    return any;
}

bool avro_is_array_of_numbers(const struct avro_node *n)
{
    return n->kind == AVRO_K_ARRAY && is_nullable_number(n->field[0].type);
}

/* The first branch of a union (or the type itself) for which `is` holds, or NULL. */
static const struct avro_node *branch_that(const struct avro_node *n,
                                           bool (*is)(const struct avro_node *))
{
    const struct avro_node *hit = NULL;

    if (n->kind != AVRO_K_UNION)
        return is(n) ? n : NULL;
    for (uint32_t i = 0; i < n->n && !hit; i++)
        hit = branch_that(n->field[i].type, is);
    return hit;
}

static const char *kind_name(const struct avro_node *n)
{
    static const char *const name[] = {"null",   "boolean", "int",   "long",  "float",
                                       "double", "string",  "bytes", "fixed", "enum",
                                       "record", "array",   "map",   "union"};

    return name[n->kind];
}

/* ---- paths ---- */

static const struct avro_node *find_in_record(const struct avro_node *n, const char *path);

/* The type at `path` below n; path "" is n itself. */
static const struct avro_node *find(const struct avro_node *n, const char *path)
{
    const struct avro_node *hit = NULL;

    if (!path[0])
        return n;
    switch (n->kind) {
    case AVRO_K_RECORD:
        return find_in_record(n, path);
    case AVRO_K_MAP: /* keys may have dots: the rest is the key */
        return n->field[0].type;
    case AVRO_K_UNION:
        for (uint32_t i = 0; i < n->n && !hit; i++)
            hit = find(n->field[i].type, path);
        return hit;
    default:
        return NULL;
    }
}

static const struct avro_node *find_in_record(const struct avro_node *n, const char *path)
{
    for (uint32_t i = 0; i < n->n; i++) {
        size_t len = strlen(n->field[i].name);

        if (strncmp(path, n->field[i].name, len) == 0 && (path[len] == '.' || !path[len]))
            return find(n->field[i].type, path + len + (path[len] == '.'));
    }
    return NULL;
}

static bool join(char *path, const char *name, size_t *old)
{
    *old = strlen(path);
    if (*old + strlen(name) + 2 > AVRO_PATH_MAX)
        return false;
    snprintf(path + *old, AVRO_PATH_MAX - *old, "%s%s", *old ? "." : "", name);
    return true;
}

struct words { /* paths of all leaves, for suggestions */
    char *text[WORDS_MAX + 1];
    uint32_t n;
    char path[AVRO_PATH_MAX];
};

static void gather(struct words *w, struct avro_node *n, uint32_t depth)
{
    size_t old;

    if (n->inside || depth > SCHEMA_DEPTH_MAX || w->n == WORDS_MAX)
        return;
    if (n->kind == AVRO_K_UNION) {
        for (uint32_t i = 0; i < n->n; i++)
            gather(w, n->field[i].type, depth + 1);
    } else if (n->kind == AVRO_K_RECORD) {
        n->inside = true;
        for (uint32_t i = 0; i < n->n; i++)
            if (join(w->path, n->field[i].name, &old)) {
                gather(w, n->field[i].type, depth + 1);
                w->path[old] = 0;
            }
        n->inside = false;
    } else if (n->kind != AVRO_K_NULL) {
        w->text[w->n] = strdup(w->path);
        w->n += w->text[w->n] != NULL;
    }
}

static enum st no_such_field(struct avro_compiler *c, const char *key, const char *path)
{
    struct words *w = calloc(1, sizeof *w);
    const char *near = NULL;
    char names[200] = "";
    enum st st;

    if (!w)
        return fail(c->e, ST_FATAL, "no memory for the names of the schema");
    gather(w, c->row, 0);
    near = suggest(path, (const char *const *)w->text);
    for (uint32_t i = 0; i < w->n && strlen(names) + 80 < sizeof names; i++)
        snprintf(names + strlen(names), 80, "%s%.60s", i ? ", " : "", w->text[i]);
    if (near)
        st = fail(c->e, ST_BAD_CONFIG, "input.%s: the schema has no field '%s'; did you mean '%s'?",
                  key, path, near);
    else
        st = fail(c->e, ST_BAD_CONFIG, "input.%s: the schema has no field '%s'; it has %s", key,
                  path, names);
    for (uint32_t i = 0; i < w->n; i++)
        free(w->text[i]);
    free(w);
    return st;
}

/* ---- roles ---- */

static enum st add_role(struct avro_compiler *c, const char *path, enum avro_sink sink,
                        struct avro_role **out)
{
    struct avro_role *r;

    if (c->roles == AVRO_ROLES_MAX)
        return fail(c->e, ST_BAD_CONFIG, "schema: more than %d fields to learn from",
                    AVRO_ROLES_MAX);
    if (!avro_grow(&c->role, c->roles, &c->roles_room, sizeof *c->role))
        return fail(c->e, ST_FATAL, "no memory for %u fields", c->roles);
    r = &c->role[c->roles];
    *r = (struct avro_role){.path = strdup(path), .sink = sink, .width = 1};
    if (!r->path)
        return fail(c->e, ST_FATAL, "no memory for %u fields", c->roles);
    c->roles++;
    *out = r;
    return ST_OK;
}

static bool has_role(const struct avro_compiler *c, const char *path, uint32_t among)
{
    for (uint32_t i = 0; i < among; i++)
        if (strcmp(c->role[i].path, path) == 0)
            return true;
    return false;
}

static bool fits_value(const struct avro_node *n)
{
    return avro_is_number(n) || is_enum(n);
}

static bool fits_label(const struct avro_node *n)
{
    return fits_value(n) || is_text(n);
}

static bool is_packed(const struct avro_node *n)
{
    return n->kind == AVRO_K_BYTES || n->kind == AVRO_K_FIXED;
}

static bool is_whole_array(const struct avro_node *n)
{
    return n->kind == AVRO_K_ARRAY &&
           (n->field[0].type->kind == AVRO_K_INT || n->field[0].type->kind == AVRO_K_LONG);
}

static bool is_plain_array(const struct avro_node *n)
{
    return n->kind == AVRO_K_ARRAY && avro_is_number(n->field[0].type);
}

/* label, weight, key or time. */
static enum st take(struct avro_compiler *c, const char *key, const char *path, enum avro_sink sink)
{
    bool text = sink == SINK_LABEL || sink == SINK_KEY;
    const struct avro_node *n;
    struct avro_role *r;

    if (!path[0])
        return ST_OK;
    n = find(c->row, path);
    if (!n)
        return no_such_field(c, key, path);
    if (!branch_that(n, text ? fits_label : avro_is_number))
        return fail(c->e, ST_BAD_CONFIG, "input.%s: '%s' is of type %s, %s is needed", key, path,
                    kind_name(n), text ? "a number, an enum or text" : "a number");
    if (has_role(c, path, c->roles))
        return fail(c->e, ST_BAD_CONFIG, "input.%s: '%s' has another use in this job", key, path);
    return add_role(c, path, sink, &r);
}

/* Width of an array or packed feature, from the job, the schema, or later from the data. */
static enum st set_width(struct avro_compiler *c, struct avro_role *r, const struct avro_node *n,
                         uint32_t given)
{
    const struct avro_node *array = branch_that(n, avro_is_array_of_numbers);
    const struct avro_node *packed = branch_that(n, is_packed);

    CHECK(array || packed);
    r->array = true;
    r->width = given ? given : c->in->width;
    if (!array && packed->kind == AVRO_K_FIXED) {
        if (packed->bytes % 4 || packed->bytes == 0 || (given && given * 4 != packed->bytes))
            return fail(c->e, ST_BAD_CONFIG,
                        "input.features: '%s' is fixed of %lld bytes, which are not %u float32",
                        r->path, (long long)packed->bytes, given);
        r->width = (uint32_t)packed->bytes / 4;
    }
    if (r->width > COLUMNS_MAX)
        return fail(c->e, ST_BAD_CONFIG,
                    "input.features: '%s' of %u columns; at most %d are possible", r->path,
                    r->width, COLUMNS_MAX);
    if (r->width)
        return ST_OK;
    if (!array)
        return fail(c->e, ST_BAD_CONFIG,
                    "input.features: '%s' is bytes: say how many float32 they are, '%s[784]'",
                    r->path, r->path);
    r->slot = c->unknown++;
    return ST_OK;
}

static enum st add_feature(struct avro_compiler *c, const struct feature *f)
{
    const struct avro_node *n = find(c->row, f->name);
    struct avro_role *r;

    if (!n)
        return no_such_field(c, "features", f->name);
    if (has_role(c, f->name, c->roles))
        return fail(c->e, ST_BAD_CONFIG, "input.features: '%s' has another use in this job",
                    f->name);
    TRY(add_role(c, f->name, SINK_COLUMN, &r));
    if (branch_that(n, avro_is_array_of_numbers) ||
        (branch_that(n, is_packed) && (f->width || !branch_that(n, fits_value))))
        return set_width(c, r, n, f->width);
    if (!branch_that(n, fits_value))
        return fail(c->e, ST_BAD_CONFIG,
                    "input.features: '%s' is of type %s; a number or an array of numbers is needed",
                    f->name, kind_name(n));
    if (f->width)
        return fail(c->e, ST_BAD_CONFIG, "input.features: '%s' is one number, not %u", f->name,
                    f->width);
    return ST_OK;
}

/* Every other number below n, in schema order; `again`: a name may come twice, from two branches of
 * a union. */
static enum st discover(struct avro_compiler *c, struct avro_node *n, char *path, bool again)
{
    struct avro_role *r;
    size_t old;

    if (++c->visits > VISITS_MAX)
        return fail(c->e, ST_BAD_CONFIG, "schema: too large; list input.features");
    if (n->kind == AVRO_K_RECORD) {
        if (n->inside)
            return ST_OK;
        n->inside = true;
        for (uint32_t i = 0; i < n->n; i++) {
            enum st st;

            if (!join(path, n->field[i].name, &old))
                continue;
            st = discover(c, n->field[i].type, path, again);
            path[old] = 0;
            if (st != ST_OK)
                return st;
        }
        n->inside = false;
        return ST_OK;
    }
    if (is_nullable_number(n) || avro_is_array_of_numbers(n)) {
        bool scalar = n->kind != AVRO_K_ARRAY;

        if (has_role(c, path, again ? c->roles : c->others))
            return ST_OK;
        TRY(add_role(c, path, SINK_COLUMN, &r));
        return scalar ? ST_OK : set_width(c, r, n, 0);
    }
    for (uint32_t i = 0; n->kind == AVRO_K_UNION && i < n->n; i++)
        if (n->field[i].type->kind >= AVRO_K_RECORD)
            TRY(discover(c, n->field[i].type, path, true));
    return ST_OK;
}

static bool is_named(const char *path, const char *name)
{
    size_t n = strlen(path), m = strlen(name);

    return n >= m && strcmp(path + n - m, name) == 0 && (n == m || path[n - m - 1] == '.');
}

/* The pair indices, values: asked for by these names, or there while no features are listed. */
static enum st add_sparse(struct avro_compiler *c, const char *indices, const char *values,
                          bool *added)
{
    const struct avro_node *i = find(c->row, indices), *v = find(c->row, values);
    struct avro_role *r;

    *added = i && v && branch_that(i, is_whole_array) && branch_that(v, is_plain_array);
    if (!*added)
        return ST_OK;
    if (!c->in->width)
        return fail(c->e, ST_BAD_CONFIG,
                    "input.width is missing: '%s' and '%s' are sparse rows, and only the job knows "
                    "how many columns there are",
                    indices, values);
    c->sparse = true;
    TRY(add_role(c, indices, SINK_INDICES, &r));
    return add_role(c, values, SINK_VALUES, &r);
}

static enum st add_features(struct avro_compiler *c)
{
    const struct input *in = c->in;
    char path[AVRO_PATH_MAX] = "";
    bool sparse = false;

    if (in->features == 0) {
        TRY(add_sparse(c, "indices", "values", &sparse));
        return sparse ? ST_OK : discover(c, c->row, path, false);
    }
    for (uint32_t k = 0; in->features == 2 && k < 2; k++) {
        const struct feature *i = &in->feature[k], *v = &in->feature[1 - k];

        if (!i->width && !v->width && is_named(i->name, "indices") && is_named(v->name, "values"))
            TRY(add_sparse(c, i->name, v->name, &sparse));
    }
    for (uint32_t i = 0; !sparse && i < in->features; i++)
        TRY(add_feature(c, &in->feature[i]));
    return ST_OK;
}

/* ---- rows ---- */

static struct avro_node *array_of_records(const struct avro_node *n)
{
    return n->kind == AVRO_K_ARRAY && n->field[0].type->kind == AVRO_K_RECORD ? n->field[0].type
                                                                              : NULL;
}

/* Are the names of the job those of the items rather than of the record around them? */
static enum st names_items(struct avro_compiler *c, const struct avro_node *item, bool *yes)
{
    const struct input *in = c->in;
    const char *const probe[] = {in->label, in->features ? in->feature[0].name : "", in->weight,
                                 in->key, in->time};
    char path[AVRO_PATH_MAX] = "";
    enum st st;

    for (size_t i = 0; i < sizeof probe / sizeof *probe; i++) {
        *yes = probe[i][0] && !find(c->root, probe[i]) && find(item, probe[i]);
        if (probe[i][0] && (*yes || find(c->root, probe[i])))
            return ST_OK;
    }
    st = discover(c, c->root, path, false);
    *yes = c->roles == 0;
    while (c->roles)
        free(c->role[--c->roles].path);
    c->unknown = 0;
    return st;
}

static enum st choose_rows(struct avro_compiler *c)
{
    const struct avro_field *hit = NULL;
    uint32_t arrays = 0;
    bool yes = false;

    c->row = c->root->kind == AVRO_K_RECORD ? c->root : array_of_records(c->root);
    if (!c->row)
        return fail(c->e, ST_BAD_CONFIG,
                    "schema: its type is %s; a record or an array of records is needed",
                    kind_name(c->root));
    for (uint32_t i = 0; c->row == c->root && i < c->root->n; i++)
        if (array_of_records(c->root->field[i].type)) {
            hit = &c->root->field[i];
            arrays++;
        }
    if (arrays != 1)
        return ST_OK;
    TRY(names_items(c, array_of_records(hit->type), &yes));
    if (yes) {
        c->rows_field = hit;
        c->row = array_of_records(hit->type);
    }
    return ST_OK;
}

/* ---- the whole ---- */

static int by_path(const void *a, const void *b, void *arg)
{
    const struct avro_compiler *c = arg;
    const uint32_t *i = a, *j = b;

    return strcmp(c->role[*i].path, c->role[*j].path);
}

static enum st sort_roles(struct avro_compiler *c)
{
    c->sorted = calloc(c->roles + 1, sizeof *c->sorted);
    if (!c->sorted)
        return fail(c->e, ST_FATAL, "no memory for %u fields", c->roles);
    for (uint32_t i = 0; i < c->roles; i++)
        c->sorted[i] = i;
    qsort_r(c->sorted, c->roles, sizeof *c->sorted, by_path, c);
    return ST_OK;
}

/* Number of roles whose path comes before `path`. */
static uint32_t lower_bound(const struct avro_compiler *c, const char *path)
{
    uint32_t lo = 0, hi = c->roles;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (strcmp(c->role[c->sorted[mid]].path, path) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct avro_role *avro_role_at(const struct avro_compiler *c, const char *path)
{
    uint32_t at = lower_bound(c, path);

    if (at == c->roles || strcmp(c->role[c->sorted[at]].path, path))
        return NULL;
    return &c->role[c->sorted[at]];
}

uint32_t avro_roles_below(const struct avro_compiler *c, const char *path, uint32_t *first)
{
    char edge[AVRO_PATH_MAX + 2];
    size_t n = strlen(path);

    if (!n) {
        *first = 0;
        return c->roles;
    }
    CHECK(n < AVRO_PATH_MAX);
    memcpy(edge, path, n);
    edge[n + 1] = 0;
    edge[n] = '.';
    *first = lower_bound(c, edge);
    edge[n] = '.' + 1;
    return lower_bound(c, edge) - *first;
}

/* Classes: the job's, or the symbols of an enum that is the label. Names into out->class_name on
 * the way. */
enum st avro_compile_labels(struct avro_compiler *c, struct labels *l, struct decoded *out)
{
    const struct avro_node *n = c->labelled ? find(c->row, c->in->label) : NULL;
    const struct avro_node *symbols = n ? branch_that(n, is_enum) : NULL;
    const struct decoded *names = out;

    if (c->in->classes || !n)
        return labels_init(l, c->in->class_name, c->in->classes, c->e);
    if (branch_that(n, is_text))
        return fail(c->e, ST_BAD_CONFIG,
                    "input.classes is missing: label '%s' is text, and its values must be listed, "
                    "class 0 first",
                    c->in->label);
    if (!symbols)
        return ST_OK;
    if (symbols->n > CLASS_NAMES_MAX)
        return fail(c->e, ST_BAD_CONFIG, "label '%s': %u symbols; at most %d classes are possible",
                    c->in->label, symbols->n, CLASS_NAMES_MAX);
    for (uint32_t i = 0; i < symbols->n; i++) {
        if (strlen(symbols->symbol[i]) >= CLASS_NAME_BYTES)
            return fail(c->e, ST_BAD_CONFIG, "label '%s': symbol '%.80s' is longer than %d bytes",
                        c->in->label, symbols->symbol[i], CLASS_NAME_BYTES - 1);
        memcpy(out->class_name[i], symbols->symbol[i], strlen(symbols->symbol[i]) + 1);
    }
    return labels_init(l, names->class_name, symbols->n, c->e);
}

/* A union may be a number or a record; but no value is both. */
static enum st refuse_parts(struct avro_compiler *c)
{
    for (uint32_t i = 0, first; i < c->roles; i++)
        if (avro_roles_below(c, c->role[i].path, &first))
            return fail(c->e, ST_BAD_CONFIG,
                        "input: '%s' and '%s' are both named, but one is a part of the other",
                        c->role[i].path, c->role[c->sorted[first]].path);
    return ST_OK;
}

enum st avro_compile_open(struct avro_compiler *c, struct avro_node *root, const struct input *in,
                          bool need_label, struct err *e)
{
    *c = (struct avro_compiler){.in = in, .need_label = need_label, .root = root, .e = e};
    if (need_label && !in->label[0])
        return fail(e, ST_BAD_CONFIG, "input.label: this algorithm needs a label; name its field");
    TRY(choose_rows(c));
    c->labelled = in->label[0] && (need_label || find(c->row, in->label));
    if (c->labelled)
        TRY(take(c, "label", in->label, SINK_LABEL));
    TRY(take(c, "weight", in->weight, SINK_WEIGHT));
    TRY(take(c, "key", in->key, SINK_KEY));
    TRY(take(c, "time", in->time, SINK_TIME));
    CHECK(c->roles <= 4);
    c->others = c->roles;
    TRY(add_features(c));
    if (c->roles == c->others)
        return fail(e, ST_BAD_CONFIG, "schema: it has no number that is left to learn from");
    TRY(sort_roles(c));
    return refuse_parts(c);
}

void avro_compile_close(struct avro_compiler *c)
{
    for (uint32_t i = 0; i < c->roles; i++)
        free(c->role[i].path);
    free(c->role);
    free(c->sorted);
    free(c->body);
    memset(c, 0, sizeof *c);
}
