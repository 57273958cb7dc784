/* load.h: files of rows as messages, for `millrace load`: one reader per format behind one table.
 *
 * A reader finds the fields of a row in the first one (or knows them), and that is the schema of
 * all: a later row that does not fit is an error with file, line, value and remedy, never a guess.
 * Names become Avro names: what is no letter, digit or _ becomes _.
 *
 * Life zeroed memory; set what is the caller's; load_open -> row* -> load_close, which is safe at
 * any point. Thread: one. Errors: ST_BAD_CONFIG: files or flags; ST_BAD_INPUT: a row. */
#ifndef MILLRACE_LOAD_H
#define MILLRACE_LOAD_H

#include "config/job.h"
#include "consumer/avro_encode.h"
#include "consumer/gz.h"

#include <stdio.h>

enum { LOAD_FIELDS_MAX = 1 << 16 };

enum load_type {
    LOAD_DOUBLE,
    LOAD_FLOAT,
    LOAD_INT,
    LOAD_BOOLEAN,
    LOAD_STRING,
    LOAD_FLOATS, /* array */
    LOAD_INTS    /* array */
};

struct load_field {
    char name[NAME_MAX_BYTES];
    char *given; /* as the file has it; heap */
    enum load_type type;
};

struct load {
    /* the caller's, before load_open */
    const char *label;       /* a field; idx: a file; "": a field named label, if there is one */
    bool lines;              /* rows stay the text they are, where the format has lines */
    const char *const *file; /* [files] */
    uint32_t files;
    struct err *err;

    const struct load_reader *r;
    void *self;
    struct gz in;       /* the file being read */
    uint32_t next_file; /* index of the one after it */
    uint64_t line;      /* of the row in it; 0: it has none */
    struct load_field *field;
    uint32_t fields, fields_room;
    uint32_t label_field;                 /* UINT32_MAX: none */
    uint32_t width;                       /* libsvm: the highest index so far */
    char (*class_name)[CLASS_NAME_BYTES]; /* [classes]: of a label of text, sorted at load_yaml */
    uint32_t classes;                     /* CLASS_NAMES_MAX + 1: too many */
    struct avro_out out;                  /* rows are appended to it */
};

struct load_reader {
    const char *name, *note; /* note: what it does to values, or NULL */
    const char *format;      /* of its lines, in a job's input section; NULL: name */
    size_t self_bytes;
    bool has_lines, has_columns; /* its lines are rows that a job reads; whose fields it names */
    bool label_is_file;
    MUST enum st (*open)(struct load *l); /* fields are known behind it */
    /* Appends the next row to l->out; *more false: there is none. */
    MUST enum st (*row)(struct load *l, bool *more);
    void (*close)(struct load *l); /* NULL: nothing to do */
};

extern const struct load_reader load_csv, load_idx, load_jsonl, load_libsvm;

MUST enum st load_open(struct load *l, const struct load_reader *r);
void load_close(struct load *l);

/* The schema of a message as JSON, heap: a record, or an array of records. NULL: no memory. */
char *load_schema(const struct load *l, bool array);
/* The input: section of a job that reads what was written. */
void load_yaml(struct load *l, const char *schema_file, FILE *f);

/* ---- for readers ---- */

/* The next line that is not blank, over all files; p NULL: no more. *fresh (or NULL): it is the
 * first one of its file. */
MUST enum st load_line(struct load *l, struct bytes *line, bool *fresh);
MUST enum st load_field_add(struct load *l, const uint8_t *name, size_t n, enum load_type type);
/* Notes a label of text. */
void load_class(struct load *l, const uint8_t *text, size_t n);
/* ST_BAD_INPUT with "file:line: " in front. */
MUST enum st load_bad(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
