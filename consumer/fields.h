/* fields.h: records that are a line of fields in a fixed order: what the job's names mean there.
 *
 * Fields are named by input.columns, where "pixels[784]" is so many of them, or are f0, f1, ... A
 * field is one thing of label, weight and feature, or is passed over; columns are in the order of
 * input.features, or all fields that are left, as they stand.
 *
 * Owner: fields_open takes memory at start, fields_close frees it, also after a failed open or on
 * zeroed memory. Thread: one. */
#ifndef MILLRACE_FIELDS_H
#define MILLRACE_FIELDS_H

#include "config/job.h"

enum field_role { /* part of fingerprints: append only */
                  FIELD_SKIP,
                  FIELD_FEATURE,
                  FIELD_LABEL,
                  FIELD_WEIGHT
};

struct field {
    uint32_t role, column;
};

struct field_group { /* one entry of input.columns: `width` fields from `first` on */
    char name[NAME_MAX_BYTES];
    uint32_t first, width;
    bool array;
};

struct fields {
    struct field_group *group; /* none: fields are named f0, f1, ... */
    uint32_t groups;
    struct field *field;
    uint32_t n;
    uint32_t *field_of; /* [columns] */
    uint32_t columns;
};

MUST enum st fields_open(struct fields *s, const struct input *in, struct err *e);
void fields_close(struct fields *s);

/* Is there one field of that name? */
bool fields_have(const struct fields *s, const char *name);
/* input.KEY is `name`, "": none. */
MUST enum st fields_take(struct fields *s, const char *key, const char *name, enum field_role role,
                         struct err *e);
/* After all others. */
MUST enum st fields_take_features(struct fields *s, const struct input *in, struct err *e);

/* "price", "pixels[12]", "f7" into text[n]; returns text. */
const char *fields_name(const struct fields *s, uint32_t field, char *text, size_t n);

#endif
