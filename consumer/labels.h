/* labels.h: from the label of a record to the number that algorithms learn.
 *
 * Two ways: without class names a label is a number and stays it; with class names (from the job,
 * or an Avro enum's symbols) it becomes the index of its name, compared as text, or as a number
 * where both are numbers ("1", "+1" and 1.0 are one class).
 *
 * Owner: labels_init takes memory at start, labels_fini frees it, also on zeroed memory. Thread:
 * one. */
#ifndef MILLRACE_LABELS_H
#define MILLRACE_LABELS_H

#include "config/job.h"

#include <math.h>

struct labels {
    uint32_t n;     /* classes; 0: numbers */
    uint32_t limit; /* numbers: 0 any finite one, else an integer 0 .. limit-1 */
    char (*name)[CLASS_NAME_BYTES];
    double *number;  /* of each name; NaN: it is none */
    uint16_t *table; /* open addressing by hash of the name, index + 1; 0: free */
};

/* ST_BAD_CONFIG: two names are the same class. */
MUST enum st labels_init(struct labels *l, const char (*name)[CLASS_NAME_BYTES], uint32_t n,
                         struct err *e);
void labels_fini(struct labels *l);

bool labels_find(const struct labels *l, double v, float *y); /* among classes */

/* false: no such class (BAD_LABEL). */
static inline bool labels_number(const struct labels *l, double v, float *y)
{
    if (l->n)
        return labels_find(l, v, y);
    *y = (float)v;
    if (l->limit)
        return v >= 0 && v < l->limit && v == (double)(uint32_t)v;
    return fabsf(*y) < INFINITY;
}

bool labels_text(const struct labels *l, const uint8_t *p, size_t n, float *y);

/* The names into name[CLASS_NAMES_MAX], zeroed memory; and their hash, from seed. */
void labels_names(const struct labels *l, char (*name)[CLASS_NAME_BYTES]);
uint64_t labels_hash(const struct labels *l, uint64_t seed);

#endif
