/* export.h: a model in forms that other tools, and people, read. Thread: one. Off the hot path. */
#ifndef MILLRACE_EXPORT_H
#define MILLRACE_EXPORT_H

#include "consumer/snapshot.h"

#include <stdio.h>

enum export_form {
    EXPORT_NPZ,  /* NumPy: a stored zip of .npy 1.0 files, one a tensor (numpy.lib.format; PKWARE
                    APPNOTE 4.4) */
    EXPORT_JSON, /* one object: metadata, measures, ranges, tensors as nested arrays with 9 (f32) or
                    17 digits */
    EXPORT_SAFETENSORS, /* the model's body as it lies in the topic */
    EXPORT_HTML         /* a page for people (report.h), of a model of stats alone */
};

extern const char *const export_forms[]; /* their words, in this order; NULL ends */

/* Into the file at path ("": stdout). ST_BAD_CONFIG: it cannot be written, or has no such form. */
MUST enum st model_write(struct model *m, const char *path, enum export_form form, struct err *e);

/* Metadata, measures, ranges, tensors in figures, and the heaviest features of a coefficient matrix
 * "w", or the table of a model of stats. */
void model_show(const struct model *m, FILE *f);

/* A line for each tensor, and for each measure that differs. Returns how many of them are not the
 * same, byte for byte. */
uint32_t model_diff(const struct model *a, const struct model *b, FILE *f);

enum { SHAPE_BYTES = 112 };
/* "f32 [3, 2]" */
const char *tensor_shape(const struct tensor *t, char text[SHAPE_BYTES]);

#endif
