/* load_csv.c: CSV with a header line, RFC 4180. A field is a number if it is one in the first row,
 * else text. */
#include "consumer/codec.h"
#include "consumer/csv_text.h"
#include "consumer/load.h"
#include "consumer/number.h"

#include <inttypes.h>
#include <string.h>

struct csv_file {
    struct bytes record; /* the one before, where `kept`: it is read again */
    bool kept;
};

static size_t quotes(const uint8_t *p, size_t n)
{
    size_t count = 0;

    for (const uint8_t *end = p + n; (p = memchr(p, '"', (size_t)(end - p))); p++)
        count++;
    return count;
}

/* A record: a line, or several where a field in quotes holds line ends. */
static enum st next_record(struct load *l, struct bytes *r, bool *fresh)
{
    uint64_t lines = 0;
    size_t open, seen;

    TRY(load_line(l, r, fresh));
    if (!r->p)
        return ST_OK;
    open = quotes(r->p, r->n);
    for (seen = r->n; open % 2; seen = r->n) {
        TRY(gz_line(&l->in, true, r, l->err));
        if (!r->p)
            return load_bad(l, "a quote is opened that nothing closes");
        lines++;
        open += quotes(r->p + seen, r->n - seen);
    }
    l->line += lines; /* errors name the last line of a record */
    return ST_OK;
}

static enum st read_header(struct load *l, struct bytes r)
{
    const uint8_t *p = r.p;
    struct csv_text t;
    bool last = false, numbers = true;
    double v;

    while (!last) {
        if (!csv_next(&p, r.p + r.n, ',', &t, &last))
            return load_bad(l, "quotes that do not match in field %" PRIu32 " of the header",
                            l->fields + 1);
        t = csv_trim(t);
        numbers = numbers && number_f64(t.p, t.n, &v);
        TRY(load_field_add(l, t.p, t.n, LOAD_DOUBLE));
    }
    if (numbers)
        return load_bad(l, "the first line has numbers where names are needed: put a line with the "
                           "names of the fields in front");
    return ST_OK;
}

static enum st same_header(struct load *l, struct bytes r)
{
    const uint8_t *p = r.p;
    struct csv_text t;
    bool last = false;

    for (uint32_t i = 0; !last; i++) {
        const char *name = i < l->fields ? l->field[i].given : "";

        if (!csv_next(&p, r.p + r.n, ',', &t, &last))
            return load_bad(l, "quotes that do not match in the header");
        t = csv_trim(t);
        if (t.n != strlen(name) || memcmp(t.p, name, t.n) || (last && i + 1 < l->fields))
            return load_bad(l,
                            "field %" PRIu32 " is '%.*s', but '%.80s' in the first file: files "
                            "loaded together have the same header",
                            i + 1, (int)(t.n < 80 ? t.n : 80), (const char *)t.p, name);
    }
    return ST_OK;
}

/* The next row, past the header of a file. */
static enum st next_row(struct load *l, struct bytes *r)
{
    struct csv_file *s = l->self;
    bool fresh;

    if (s->kept) {
        s->kept = false;
        *r = s->record;
        return ST_OK;
    }
    TRY(next_record(l, r, &fresh));
    while (r->p && fresh) {
        TRY(l->fields ? same_header(l, *r) : read_header(l, *r));
        TRY(next_record(l, r, &fresh));
    }
    return ST_OK;
}

static enum st csv_open(struct load *l)
{
    struct csv_file *s = l->self;
    struct csv_text t;
    const uint8_t *p;
    bool last = false;
    double v;

    TRY(next_row(l, &s->record));
    if (!s->record.p)
        return fail(l->err, ST_BAD_INPUT, "%.300s: no row: a header line and rows are needed",
                    l->file[0]);
    s->kept = true;
    p = s->record.p;
    for (uint32_t i = 0; !l->lines && !last && i < l->fields; i++) {
        if (!csv_next(&p, s->record.p + s->record.n, ',', &t, &last))
            break; /* said with the row */
        t = csv_trim(t);
        l->field[i].type = number_f64(t.p, t.n, &v) ? LOAD_DOUBLE : LOAD_STRING;
    }
    return ST_OK;
}

static void put_text(struct load *l, struct csv_text t, bool label)
{
    size_t n = t.n - (t.escaped ? quotes(t.p, t.n) / 2 : 0);
    const uint8_t *from, *end = t.p + t.n, *p = t.p;

    encode_long(&l->out, (int64_t)n);
    for (from = p; t.escaped && (p = memchr(p, '"', (size_t)(end - p))); from = p = p + 2)
        encode_raw(&l->out, from, (size_t)(p + 1 - from));
    encode_raw(&l->out, from, (size_t)(end - from));
    if (label && !l->out.full)
        load_class(l, l->out.p + l->out.n - n, n);
}

static enum st put_field(struct load *l, uint32_t i, struct csv_text t)
{
    const struct load_field *f = &l->field[i];
    char shown[36];
    double v;

    if (f->type == LOAD_STRING) {
        put_text(l, t, i == l->label_field);
        return ST_OK;
    }
    t = csv_trim(t);
    if (number_f64(t.p, t.n, &v)) {
        encode_double(&l->out, v);
        return ST_OK;
    }
    return load_bad(l,
                    "field '%.80s': %s '%s', where the first row has a number: mend it, or load "
                    "with --as lines, and the job counts such rows as bad records",
                    f->given, t.n ? "no number" : "no value", bytes_shown(t.p, t.n, shown));
}

static enum st csv_row(struct load *l, bool *more)
{
    struct csv_text t;
    struct bytes r;
    bool last = false;
    uint32_t i = 0;

    TRY(next_row(l, &r));
    *more = r.p != NULL;
    if (!*more)
        return ST_OK;
    if (l->lines) {
        encode_raw(&l->out, r.p, r.n);
        return ST_OK;
    }
    for (const uint8_t *p = r.p; i < l->fields && !last; i++) {
        if (!csv_next(&p, r.p + r.n, ',', &t, &last))
            return load_bad(l, "field '%.80s': quotes that do not match", l->field[i].given);
        TRY(put_field(l, i, t));
    }
    if (i == l->fields && last)
        return ST_OK;
    return load_bad(l,
                    "%s fields than the %" PRIu32 " of the header: mend the line, or load with "
                    "--as lines, and the job counts such rows as bad records",
                    last ? "fewer" : "more", l->fields);
}

const struct load_reader load_csv = {
    .name = "csv",
    .self_bytes = sizeof(struct csv_file),
    .has_lines = true,
    .has_columns = true,
    .open = csv_open,
    .row = csv_row,
};
