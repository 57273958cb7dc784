/* report.h: a model of algorithm stats for people: a table in a terminal, or a page of HTML.
 *
 * A model is outside data: report_of() looks at names, types and shapes of all its tensors before
 * any is read. Thread: one. Off the hot path. */
#ifndef MILLRACE_REPORT_H
#define MILLRACE_REPORT_H

#include "consumer/snapshot.h"

#include <stdio.h>

struct report { /* borrows from the model; d columns, q quantiles, h frequent values, n bins */
    const struct model *m;
    uint32_t d, q, h, n;
    const double *count, *missing, *zeros, *mean, *deviation, *skewness, *kurtosis, *distinct,
        *top_error;                      /* [d] */
    const float *min, *max, *share;      /* [d], [d], [q] */
    const float *quantile, *top_value;   /* [d, q], [d, h] */
    const double *top_count, *histogram; /* [d, h], [d, n] */
    const double *correlation;           /* [d, d], or NULL: not kept */
};

/* False: the model is of another algorithm, or not as stats makes it. */
bool report_of(const struct model *m, struct report *r);

/* A line for each column, then the strongest correlations. */
void report_text(const struct report *r, FILE *f);
/* One page without anything from outside: no script, style inside, plots as SVG. */
void report_html(const struct report *r, FILE *f);

/* What both need. */

/* The name of column i, or its number, into text[n]; returns text. */
const char *report_name(const struct report *r, uint32_t i, char *text, size_t n);
/* The place in `share` nearest to what is wanted. */
uint32_t report_nearest(const struct report *r, double share);
struct report_pair {
    uint32_t i, j; /* i > j */
    double r;
};
/* The strongest correlations, at most `max`, the strongest first; those of 0 are none. */
uint32_t report_strongest(const struct report *r, struct report_pair *to, uint32_t max);

#endif
