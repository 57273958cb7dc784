/* heavy.h: the most frequent values of a stream, mergeable (Misra, Gries, Finding repeated
 * elements, 1982; merged as in Agarwal et al., Mergeable summaries, PODS 2012).
 *
 * `top` values with counts. Where more come together, the (top + 1)-th largest count is taken off
 * all of them, and those left with nothing go. What was taken off is summed in `off`: the true
 * count of a value is at least what stands there and at most `off` more, that of a value that is
 * not there at most `off`, and off <= rows / (top + 1). Nothing is random.
 *
 * Owner: the caller owns all; scratch has room for what comes and `top` more. Thread: any. */
#ifndef MILLRACE_HEAVY_H
#define MILLRACE_HEAVY_H

#include <stdbool.h>
#include <stdint.h>

struct heavy {     /* all zero: empty */
    float *value;  /* [top] ascending; those with a count come first, behind them are zeros */
    uint64_t *n;   /* [top] */
    uint64_t *off; /* [1] */
    uint32_t top;
};

/* Are these values that heavy_add() can have left: ascending, those with a count first? */
bool heavy_intact(struct heavy h);

/* Adds `m` values, ascending and distinct, with their counts; those without count are none.
 * value[m + top], n[m + top]: scratch; largest[top + 1]: too. */
void heavy_add(struct heavy h, const float *with, const uint64_t *count, uint32_t m, float *value,
               uint64_t *n, uint64_t *largest);

#endif
