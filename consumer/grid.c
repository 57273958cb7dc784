#include "consumer/grid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum st value_add(struct axis *a, const char *text, size_t n, void *opts, struct err *e)
{
    char *to;

    if (a->n == GRID_POINTS_MAX)
        return fail(e, ST_BAD_CONFIG, "more than %d values", GRID_POINTS_MAX);
    if (n >= GRID_VALUE_BYTES)
        return fail(e, ST_BAD_CONFIG, "a value has more than %d letters", GRID_VALUE_BYTES - 1);
    to = a->value[a->n++];
    snprintf(to, GRID_VALUE_BYTES, "%.*s", (int)n, text);
    return opt_set(a->o, opts, to, false, e);
}

/* A number that is all of text[n]. */
static bool number(const char *text, size_t n, double *v)
{
    char copy[GRID_VALUE_BYTES], *end;

    if (!n || n >= sizeof copy)
        return false;
    snprintf(copy, sizeof copy, "%.*s", (int)n, text);
    *v = strtod(copy, &end);
    return !*end && isfinite(*v);
}

/* "from..to" or "from..to..step"; dots: where the first ".." is. */
static enum st range_add(struct axis *a, const char *text, const char *dots, size_t n, void *opts,
                         struct err *e)
{
    const char *to = dots + 2, *end = text + n, *more = memmem(to, (size_t)(end - to), "..", 2);
    double first, last, step = 1, steps;
    char value[GRID_VALUE_BYTES];

    if (!number(text, (size_t)(dots - text), &first) ||
        !number(to, (size_t)((more ? more : end) - to), &last) ||
        (more && !number(more + 2, (size_t)(end - more - 2), &step)))
        return fail(e, ST_BAD_CONFIG, "'%.*s' is no range: expected from..to or from..to..step",
                    (int)n, text);
    if (!(step > 0) || first > last)
        return fail(e, ST_BAD_CONFIG, "range '%.*s' has no values: from, to and step must ascend",
                    (int)n, text);
    steps = floor((last - first) / step + 1e-9);
    if (steps >= GRID_POINTS_MAX)
        return fail(e, ST_BAD_CONFIG, "range '%.*s' has %.0f values, at most %d", (int)n, text,
                    steps + 1, GRID_POINTS_MAX);
    for (double i = 0; i <= steps; i++) {
        int len = snprintf(value, sizeof value, "%.10g", first + i * step);

        TRY(value_add(a, value, (size_t)len, opts, e));
    }
    return ST_OK;
}

static enum st values_add(struct axis *a, const char *text, void *opts, struct err *e)
{
    for (;;) {
        size_t n = strcspn(text, ",");
        const char *dots = memmem(text, n, "..", 2);

        TRY(dots ? range_add(a, text, dots, n, opts, e) : value_add(a, text, n, opts, e));
        if (!text[n])
            return ST_OK;
        text += n + 1;
    }
}

enum st grid_add(struct grid *g, const struct opt *o, const char *text, void *opts, struct err *e)
{
    struct axis *a = &g->axis[g->axes];

    for (uint32_t i = 0; i < g->axes; i++)
        if (g->axis[i].o == o)
            return fail(e, ST_BAD_CONFIG, "option '%s' is named twice: write its values in a list",
                        o->name);
    if (g->axes == GRID_AXES_MAX)
        return fail(e, ST_BAD_CONFIG, "more than %d options", GRID_AXES_MAX);
    *a = (struct axis){.o = o, .value = calloc(GRID_POINTS_MAX, sizeof *a->value)};
    g->axes++;
    if (!a->value)
        return fail(e, ST_FATAL, "no memory for the values of '%s'", o->name);
    return values_add(a, text, opts, e);
}

enum st grid_points(const struct grid *g, uint32_t *n, struct err *e)
{
    double all = 1;

    for (uint32_t i = 0; i < g->axes; i++)
        all *= g->axis[i].n;
    if (all > GRID_POINTS_MAX)
        return fail(e, ST_BAD_CONFIG, "%.0f combinations, at most %d are tried: name fewer values",
                    all, GRID_POINTS_MAX);
    *n = (uint32_t)all;
    return ST_OK;
}

const char *grid_value(const struct grid *g, uint32_t point, uint32_t axis)
{
    CHECK(axis < g->axes);
    for (uint32_t i = g->axes - 1; i > axis; i--)
        point /= g->axis[i].n;
    return g->axis[axis].value[point % g->axis[axis].n];
}

void grid_fini(struct grid *g)
{
    for (uint32_t i = 0; i < g->axes; i++)
        free(g->axis[i].value);
    g->axes = 0;
}

void grid_bend(const double *x, const double *y, uint32_t n, bool down, double *bend)
{
    const bool logs = n && x[0] > 0;
    double least = INFINITY, most = -INFINITY;

    for (uint32_t i = 0; i < n; i++) {
        least = fmin(least, y[i]);
        most = fmax(most, y[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        double width = logs ? log(x[n - 1] / x[0]) : x[n - 1] - x[0];
        double at = (logs ? log(x[i] / x[0]) : x[i] - x[0]) / width;
        double off = (y[i] - y[0] - at * (y[n - 1] - y[0])) / (most - least);

        bend[i] = !(most > least) || !(width > 0) ? 0 : down ? -off : off;
    }
}
