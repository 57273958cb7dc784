/* load_rows.c: what the readers of all formats share: files, fields, and what is said about them.
 */
#include "consumer/load.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum st load_bad(struct load *l, const char *fmt, ...)
{
    char text[sizeof l->err->text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (l->line)
        return fail(l->err, ST_BAD_INPUT, "%.300s:%" PRIu64 ": %s", l->in.path, l->line, text);
    return fail(l->err, ST_BAD_INPUT, "%.300s: %s", l->in.path, text);
}

static bool is_blank(struct bytes s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\r')
            return false;
    return true;
}

enum st load_line(struct load *l, struct bytes *line, bool *fresh)
{
    bool first = false;

    for (;;) {
        if (!l->in.file) {
            *line = (struct bytes){0};
            if (l->next_file == l->files)
                return ST_OK;
            TRY(gz_open(&l->in, l->file[l->next_file++], l->err));
            l->line = 0;
            first = true;
        }
        TRY(gz_line(&l->in, false, line, l->err));
        if (!line->p) {
            gz_close(&l->in);
            continue;
        }
        if (++l->line == 1 && line->n >= 3 && !memcmp(line->p, "\xef\xbb\xbf", 3))
            *line = (struct bytes){line->p + 3, line->n - 3}; /* a byte order mark */
        if (is_blank(*line))
            continue;
        if (fresh)
            *fresh = first;
        return ST_OK;
    }
}

static bool name_byte(uint8_t c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static void avro_name(char *out, const char *given)
{
    size_t n = 0;

    if (!name_byte((uint8_t)*given, true) && name_byte((uint8_t)*given, false))
        out[n++] = '_';
    for (; *given && n < NAME_MAX_BYTES - 1; given++, n++)
        out[n] = name_byte((uint8_t)*given, n == 0) ? *given : '_';
    out[n] = 0;
}

enum st load_field_add(struct load *l, const uint8_t *name, size_t n, enum load_type type)
{
    struct load_field *f;

    if (l->fields == LOAD_FIELDS_MAX)
        return load_bad(l, "more than %d fields", LOAD_FIELDS_MAX);
    if (!n || n >= NAME_MAX_BYTES || memchr(name, 0, n))
        return load_bad(l, "field %" PRIu32 " has a name of %zu bytes; 1 to %d are possible",
                        l->fields + 1, n, NAME_MAX_BYTES - 1);
    if (l->fields == l->fields_room) {
        uint32_t room = l->fields_room ? l->fields_room * 2 : 64;

        f = realloc(l->field, room * sizeof *f);
        if (!f)
            return fail(l->err, ST_FATAL, "no memory for %" PRIu32 " fields", room);
        l->field = f;
        l->fields_room = room;
    }
    f = &l->field[l->fields];
    *f = (struct load_field){.type = type, .given = strndup((const char *)name, n)};
    if (!f->given)
        return fail(l->err, ST_FATAL, "no memory for %" PRIu32 " fields", l->fields);
    l->fields++;
    avro_name(f->name, f->given);
    return ST_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct load_field *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static enum st no_name_twice(struct load *l)
{
    const struct load_field **by = malloc((l->fields + 1) * sizeof(void *));
    enum st st = by ? ST_OK : fail(l->err, ST_FATAL, "no memory for the fields");

    for (uint32_t i = 0; by && i < l->fields; i++)
        by[i] = &l->field[i];
    if (by)
        qsort(by, l->fields, sizeof *by, by_name);
    for (uint32_t i = 1; st == ST_OK && i < l->fields; i++)
        if (!strcmp(by[i - 1]->name, by[i]->name))
            st = load_bad(l, "'%.80s' and '%.80s' would both be the field '%.80s': rename one",
                          by[i - 1]->given, by[i]->given, by[i]->name);
    free(by);
    return st;
}

static enum st find_label(struct load *l)
{
    const char *wanted = *l->label ? l->label : "label", *near;
    const char **words;

    for (l->label_field = 0; l->label_field < l->fields; l->label_field++)
        if (!strcmp(l->field[l->label_field].name, wanted) ||
            !strcmp(l->field[l->label_field].given, wanted))
            return ST_OK;
    l->label_field = UINT32_MAX;
    if (!*l->label)
        return ST_OK;
    words = calloc(l->fields + 1, sizeof *words);
    for (uint32_t i = 0; words && i < l->fields; i++)
        words[i] = l->field[i].given;
    near = words ? suggest(wanted, words) : NULL;
    free(words);
    return fail(l->err, ST_BAD_CONFIG, "--label %.80s: there is no such field%s%.80s%s", wanted,
                near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

enum st load_open(struct load *l, const struct load_reader *r)
{
    CHECK(l->files && l->label && l->err && !l->r);
    if (l->lines && !r->has_lines)
        return fail(l->err, ST_BAD_CONFIG, "--as lines: rows of %s are not lines that a job reads",
                    r->name);
    l->r = r;
    l->out.max = RECORD_BYTES_MAX;
    l->self = calloc(1, r->self_bytes + 1);
    l->class_name = calloc(CLASS_NAMES_MAX, sizeof *l->class_name);
    if (!l->self || !l->class_name)
        return fail(l->err, ST_FATAL, "no memory to load");
    TRY(r->open(l));
    if (!l->lines || r->has_columns)
        TRY(no_name_twice(l));
    return r->label_is_file ? ST_OK : find_label(l);
}

void load_close(struct load *l)
{
    if (l->self && l->r->close)
        l->r->close(l);
    gz_close(&l->in);
    encode_fini(&l->out);
    for (uint32_t i = 0; i < l->fields; i++)
        free(l->field[i].given);
    free(l->field);
    free(l->class_name);
    free(l->self);
    memset(l, 0, sizeof *l);
}

void load_class(struct load *l, const uint8_t *text, size_t n)
{
    if (l->classes > CLASS_NAMES_MAX)
        return;
    for (uint32_t i = 0; i < l->classes; i++)
        if (strlen(l->class_name[i]) == n && !memcmp(l->class_name[i], text, n))
            return;
    if (l->classes == CLASS_NAMES_MAX || n >= CLASS_NAME_BYTES || memchr(text, 0, n))
        l->classes = CLASS_NAMES_MAX + 1; /* a job cannot list them */
    else
        memcpy(l->class_name[l->classes++], text, n);
}

char *load_schema(const struct load *l, bool array)
{
    static const char *const type[] = {
        [LOAD_DOUBLE] = "\"double\"",
        [LOAD_FLOAT] = "\"float\"",
        [LOAD_INT] = "\"int\"",
        [LOAD_BOOLEAN] = "\"boolean\"",
        [LOAD_STRING] = "\"string\"",
        [LOAD_FLOATS] = "{\"type\": \"array\", \"items\": \"float\"}",
        [LOAD_INTS] = "{\"type\": \"array\", \"items\": \"int\"}",
    };
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    if (!f)
        return NULL;
    fputs(array ? "{\"type\": \"array\", \"items\": " : "", f);
    fputs("{\"type\": \"record\", \"name\": \"Row\", \"fields\": [", f);
    for (uint32_t i = 0; i < l->fields; i++)
        fprintf(f, "%s\n  {\"name\": \"%s\", \"type\": %s}", i ? "," : "", l->field[i].name,
                type[l->field[i].type]);
    fputs(array ? "\n]}}\n" : "\n]}\n", f);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

static void quoted(const char *text, FILE *f)
{
    fputc('"', f);
    for (; *text; text++)
        if ((uint8_t)*text < ' ')
            fprintf(f, "\\x%02x", (uint8_t)*text);
        else
            fprintf(f, "%s%c", strchr("\"\\", *text) ? "\\" : "", *text);
    fputc('"', f);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void yaml_classes(struct load *l, FILE *f)
{
    if (!l->classes || l->classes > CLASS_NAMES_MAX)
        return;
    qsort(l->class_name, l->classes, sizeof *l->class_name, by_text);
    fputs("  classes: [", f);
    for (uint32_t i = 0; i < l->classes; i++) {
        fputs(i ? ", " : "", f);
        quoted(l->class_name[i], f);
    }
    fputs("]\n", f);
}

void load_yaml(struct load *l, const char *schema_file, FILE *f)
{
    fprintf(f, "input:\n  format: %s\n",
            !l->lines      ? "avro"
            : l->r->format ? l->r->format
                           : l->r->name);
    if (!l->lines) {
        fputs("  schema: ", f);
        quoted(schema_file, f);
        fputc('\n', f);
    }
    if (l->lines && l->r->has_columns) {
        fputs("  columns: [", f);
        for (uint32_t i = 0; i < l->fields; i++)
            fprintf(f, "%s%s", i ? ", " : "", l->field[i].name);
        fputs("]\n", f);
    }
    if (l->label_field < l->fields && l->lines && !l->r->has_columns) {
        fputs("  label: ", f);
        quoted(l->field[l->label_field].given, f);
        fputc('\n', f);
    } else if (l->label_field < l->fields) {
        fprintf(f, "  label: %s\n", l->field[l->label_field].name);
    }
    if (l->width)
        fprintf(f, "  width: %" PRIu32 "\n", l->width);
    yaml_classes(l, f);
}
