/* csv_fields.h: the fields of a line of CSV by name, and what a job wants of each; between
 * codec_csv.c, which decodes, and csv_fields.c, which opens. Life and owner: codec.h's. */
#ifndef MILLRACE_CSV_FIELDS_H
#define MILLRACE_CSV_FIELDS_H

#include "consumer/codec.h"
#include "consumer/labels.h"
#include "consumer/number.h"

enum { CSV_TEXT_BYTES = 4096 /* of a field with "" in it, unescaped */ };
enum csv_role { CSV_SKIP, CSV_FEATURE, CSV_LABEL, CSV_WEIGHT, CSV_KEY, CSV_TIME, CSV_CATEGORY };

struct csv_field {
    uint32_t role, column; /* of a category: its number in input.one_hot */
};

struct csv_group { /* one entry of input.columns: `width` fields from `first` on */
    char name[NAME_MAX_BYTES];
    uint32_t first, width;
    bool array;
};

struct csv {
    struct labels labels;
    struct csv_group *group; /* none: fields are named f0, f1, ... */
    uint32_t groups;
    struct csv_field *field;
    uint32_t fields;
    uint32_t *field_of; /* [columns] */
    uint32_t *plain;    /* [fields]: so many from this one on are features, in the order of the
                           columns of a dense row */
    uint32_t columns;
    uint32_t categories, buckets;    /* buckets: columns for categories; 0: rows are dense */
    uint64_t name_hash[ONE_HOT_MAX]; /* [categories] */
    uint8_t delimiter;
    bool missing; /* features may be */
    uint8_t text[CSV_TEXT_BYTES];
    struct number_many many;
};

/* codec.h's open. */
MUST enum st csv_open(void *self, const struct input *in, bool need_label, struct bytes sample,
                      struct decoded *out, struct err *e);

/* Into text[n]; returns text. */
const char *csv_field_name(const struct csv *s, uint32_t f, char *text, size_t n);

#endif
