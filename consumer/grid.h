/* grid.h: the points that `tune` tries: every combination of the values of some derive options.
 *
 * Owner: grid_fini frees. Thread: one. */
#ifndef MILLRACE_GRID_H
#define MILLRACE_GRID_H

#include "config/options.h"

enum { GRID_AXES_MAX = 16, GRID_POINTS_MAX = 10000, GRID_VALUE_BYTES = 48 };

struct axis {
    const struct opt *o;
    char (*value)[GRID_VALUE_BYTES]; /* [n], as a user would write them */
    uint32_t n;
};

struct grid {
    struct axis axis[GRID_AXES_MAX];
    uint32_t axes;
};

/* One more option with the values in text: "2..100", "0..1..0.1" (from, to, step), "0,0.1,1", and
 * lists of those. ST_BAD_CONFIG: not what the option takes, twice the same option, too many. opts:
 * a struct of the options' owner, as scratch. */
MUST enum st grid_add(struct grid *g, const struct opt *o, const char *text, void *opts,
                      struct err *e);
/* How many points it has, 1 without axes. ST_BAD_CONFIG: more than GRID_POINTS_MAX. */
MUST enum st grid_points(const struct grid *g, uint32_t *n, struct err *e);
/* The value of an axis at a point; the last axis moves fastest. */
const char *grid_value(const struct grid *g, uint32_t point, uint32_t axis);
void grid_fini(struct grid *g);

/* Kneedle (Satopaa et al. 2011): how far the curve through n points (x ascending) bends away from
 * the line between its ends, both axes from 0 to 1: into bend[n]. down: y falls; a curve that
 * falls, or rises, fast at first has its greatest bend where that ends. x is read in log scale
 * where all of it is positive. */
void grid_bend(const double *x, const double *y, uint32_t n, bool down, double *bend);

#endif
