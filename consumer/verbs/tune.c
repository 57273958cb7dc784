/* tune.c: millrace tune: the best of many models of one state, no data read. The slots are read
 * once; each point of the grid is derived from the same view; what is kept of it are its measures,
 * and the winner is derived again, which gives the same bytes. */
#include "algos/derive.h"
#include "config/base/json.h"
#include "consumer/derived.h"
#include "consumer/grid.h"
#include "consumer/verbs/verbs.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 64, ELBOW_LEAST = 3, WHY_BYTES = 200 };

struct tune_flags {
    struct derived_flags d;
    struct texts over;
    char by[64];
    uint32_t top;
    bool json;
};

static const struct flag tune_flag[] = {
    DERIVED_FLAGS(struct tune_flags, d),
    {0,
     true,
     {"over", OPT_STR, offsetof(struct tune_flags, over), 4096, "", 0, 0, NULL,
      "Derive option and values to try: k=2..100, l2=0,0.1,1 or from..to..step; may be repeated; "
      "none: the options' own grids.",
      NULL},
     NULL},
    {0,
     false,
     {"by", OPT_STR, offsetof(struct tune_flags, by), 64, "", 0, 0, NULL,
      "Measure that decides; elbow[:MEASURE]: where that bends most; empty: the loss of packed "
      "models, else the algorithm's first own.",
      NULL},
     NULL},
    {'n',
     false,
     {"top", OPT_U32, offsetof(struct tune_flags, top), 0, "0", 0, 0, NULL,
      "Print only so many of the best; 0: all.", NULL},
     NULL},
    {'J',
     false,
     {"json", OPT_BOOL, offsetof(struct tune_flags, json), 0, "false", 0, 0, NULL,
      "A JSON object a line instead of a table.", NULL},
     NULL},
    {0}};

struct point {
    struct measures m;
    double elbow;
    char why[WHY_BYTES]; /* it was refused; "": it was not */
};

struct ranked {
    double key;
    uint32_t class, at; /* class 0 has the measure, 1 has not, 2 was refused */
};

struct tune {
    struct session *s;
    const struct tune_flags *f;
    struct grid grid;
    struct point *point;
    struct ranked *rank;
    uint32_t points;
    char name[NAMES_MAX][sizeof((struct measure *)0)->name]; /* measures of any point */
    uint32_t names, refused;
    const char *by; /* one of name */
    bool elbow, lower;
};

/* ---- points ---- */

static enum st make_grid(struct tune *t)
{
    _Alignas(64) uint8_t scratch[OPTS_BYTES_MAX] = {0};
    struct session *s = t->s;
    const char *value;
    const struct opt *o;

    for (uint32_t i = 0; i < t->f->over.n; i++) {
        enum st st = derived_option(s, "--over", t->f->over.v[i], &o, &value);

        TRY(st);
        st = grid_add(&t->grid, o, value, scratch, s->err);
        if (st != ST_OK)
            err_prefix(s->err, "--over %s", t->f->over.v[i]);
        TRY(st);
    }
    for (o = s->derives.o; !t->f->over.n && o->name; o++)
        if (o->grid)
            TRY(grid_add(&t->grid, o, o->grid, scratch, s->err));
    if (!t->grid.axes)
        return fail(s->err, ST_BAD_CONFIG,
                    "algorithm %s has no values of its own to try: name a derive option with "
                    "--over name=values (millrace list %s)",
                    s->algo->name, s->algo->name);
    return grid_points(&t->grid, &t->points, s->err);
}

static enum st set_point(struct tune *t, uint32_t i, void *opts)
{
    for (uint32_t a = 0; a < t->grid.axes; a++)
        TRY(opt_set(t->grid.axis[a].o, opts, grid_value(&t->grid, i, a), false, t->s->err));
    return ST_OK;
}

static void take_names(struct tune *t, const struct measures *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t k = 0;

        while (k < t->names && strcmp(t->name[k], m->m[i].name))
            k++;
        if (k < t->names || t->names == NAMES_MAX)
            continue;
        memcpy(t->name[t->names++], m->m[i].name, sizeof t->name[0]);
    }
}

/* What the state cannot serve is a point of the table too. */
static enum st derive_point(struct tune *t, const struct tensors *view, uint32_t i)
{
    _Alignas(64) uint8_t opts[OPTS_BYTES_MAX];
    struct session *s = t->s;
    struct point *p = &t->point[i];
    struct tensors model = {0};
    enum st st;

    memcpy(opts, s->derive_opts, sizeof opts);
    st = set_point(t, i, opts);
    if (st == ST_OK)
        st = derive_model(&s->x, s->algo, view, opts, &model, &p->m);
    tensors_free(&model, NULL, NULL);
    if (st == ST_OK)
        take_names(t, &p->m);
    if (st != ST_BAD_CONFIG)
        return st;
    snprintf(p->why, sizeof p->why, "%s", s->err->text);
    t->refused++;
    return ST_OK;
}

static enum st derive_points(struct tune *t, const struct tensors *view)
{
    t->point = calloc(t->points, sizeof *t->point);
    t->rank = calloc(t->points, sizeof *t->rank);
    if (!t->point || !t->rank)
        return fail(t->s->err, ST_FATAL, "no memory for %" PRIu32 " points", t->points);
    for (uint32_t i = 0; i < t->points; i++)
        TRY(derive_point(t, view, i));
    if (t->refused == t->points)
        return fail(t->s->err, ST_BAD_CONFIG,
                    "none of %" PRIu32 " points can be derived; the first: %s", t->points,
                    t->point[0].why);
    return ST_OK;
}

/* ---- the measure that decides ---- */

static const struct measure *measure(const struct point *p, const char *name)
{
    for (uint32_t i = 0; i < p->m.n && !*p->why; i++)
        if (!strcmp(p->m.m[i].name, name))
            return &p->m.m[i];
    return NULL;
}

static const struct measure *measure_of_any(const struct tune *t, const char *name)
{
    const struct measure *m = NULL;

    for (uint32_t i = 0; i < t->points && !m; i++)
        m = measure(&t->point[i], name);
    return m;
}

/* What rows were measured with tells packed models apart, and only those: of all others the
 * algorithm's own measures, the first ones, speak. */
static const char *default_measure(const struct tune *t)
{
    const struct point *p = t->point;

    while (*p->why)
        p++;
    if (p->m.model < 0 && p->m.n)
        return p->m.m[0].name;
    if (measure(p, "heldout_loss"))
        return "heldout_loss";
    return "prequential_loss";
}

static enum st no_measure(const struct tune *t, const char *name)
{
    const char *words[NAMES_MAX + 1] = {NULL}, *near;
    char all[400] = "";
    size_t n = 0;

    for (uint32_t i = 0; i < t->names; i++) {
        words[i] = t->name[i];
        if (n < sizeof all)
            n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "", t->name[i]);
    }
    near = suggest(name, words);
    return fail(t->s->err, ST_BAD_CONFIG, "--by %s: there is no measure '%s'%s%s%s; there are: %s",
                *t->f->by ? t->f->by : "(default)", name, near ? " (did you mean '" : "",
                near ? near : "", near ? "'?)" : "", all);
}

static enum st choose_measure(struct tune *t)
{
    const char *by = t->f->by;
    const struct measure *m;

    t->elbow = !strncmp(by, "elbow", 5) && (!by[5] || by[5] == ':');
    if (t->elbow)
        by += by[5] ? 6 : 5;
    t->by = *by ? by : default_measure(t);
    m = measure_of_any(t, t->by);
    if (!m)
        return no_measure(t, t->by);
    t->lower = m->lower_is_better;
    return ST_OK;
}

/* ---- order ---- */

static int compare(const void *x, const void *y)
{
    const struct ranked *a = x, *b = y;

    if (a->class != b->class)
        return a->class < b->class ? -1 : 1;
    if (a->key < b->key || a->key > b->key)
        return a->key < b->key ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* The one option that has several values. */
static enum st elbow_axis(const struct tune *t, uint32_t *axis)
{
    uint32_t several = 0;

    for (uint32_t a = 0; a < t->grid.axes; a++)
        if (t->grid.axis[a].n > 1) {
            several++;
            *axis = a;
        }
    if (several == 1)
        return ST_OK;
    return fail(t->s->err, ST_BAD_CONFIG,
                "--by %s: an elbow is of one option's values, but %" PRIu32 " have several",
                t->f->by, several);
}

static enum st measure_elbow(struct tune *t)
{
    double *x = calloc(3 * (size_t)t->points, sizeof *x), *y = x + t->points, *bend = y + t->points;
    uint32_t axis = 0, n = 0;
    enum st st = x ? elbow_axis(t, &axis) : fail(t->s->err, ST_FATAL, "no memory for an elbow");

    for (uint32_t i = 0; st == ST_OK && i < t->points; i++) {
        const struct measure *m = measure(&t->point[i], t->by);
        const char *value = grid_value(&t->grid, i, axis);
        char *end;

        if (!m)
            continue;
        t->rank[n] = (struct ranked){.key = strtod(value, &end), .at = i};
        if (*end)
            st = fail(t->s->err, ST_BAD_CONFIG, "--by %s: '%s' of option '%s' is no number",
                      t->f->by, value, t->grid.axis[axis].o->name);
        n++;
    }
    if (st == ST_OK && n < ELBOW_LEAST)
        st =
            fail(t->s->err, ST_BAD_CONFIG,
                 "--by %s: an elbow takes at least %d values with that measure, there are %" PRIu32,
                 t->f->by, ELBOW_LEAST, n);
    if (st == ST_OK) {
        qsort(t->rank, n, sizeof *t->rank, compare);
        for (uint32_t i = 0; i < n; i++) {
            x[i] = t->rank[i].key;
            y[i] = measure(&t->point[t->rank[i].at], t->by)->value;
        }
        grid_bend(x, y, n, t->lower, bend);
        for (uint32_t i = 0; i < n; i++)
            t->point[t->rank[i].at].elbow = bend[i];
    }
    free(x);
    return st;
}

static enum st rank_points(struct tune *t)
{
    if (t->elbow)
        TRY(measure_elbow(t));
    for (uint32_t i = 0; i < t->points; i++) {
        const struct point *p = &t->point[i];
        const struct measure *m = measure(p, t->by);
        double v = !m ? 0 : t->elbow ? p->elbow : m->value;

        t->rank[i] = (struct ranked){t->lower && !t->elbow ? v : -v, *p->why ? 2 : m ? 0 : 1, i};
    }
    qsort(t->rank, t->points, sizeof *t->rank, compare);
    return ST_OK;
}

/* ---- printing ---- */

static int width(const struct tune *t, uint32_t axis)
{
    const struct axis *a = &t->grid.axis[axis];
    size_t n = strlen(a->o->name);

    for (uint32_t i = 0; i < a->n; i++)
        n = strlen(a->value[i]) > n ? strlen(a->value[i]) : n;
    return (int)n;
}

static int column(const char *name)
{
    return strlen(name) > 12 ? (int)strlen(name) : 12;
}

static void print_table(const struct tune *t, uint32_t rows)
{
    printf("%5s", "rank");
    for (uint32_t a = 0; a < t->grid.axes; a++)
        printf("  %*s", width(t, a), t->grid.axis[a].o->name);
    if (t->elbow)
        printf("  %12s", "elbow");
    for (uint32_t k = 0; k < t->names; k++)
        printf("  %*s", column(t->name[k]), t->name[k]);
    putchar('\n');
    for (uint32_t i = 0; i < rows; i++) {
        const struct point *p = &t->point[t->rank[i].at];

        if (*p->why)
            printf("%5s", "-");
        else
            printf("%5" PRIu32, i + 1);
        for (uint32_t a = 0; a < t->grid.axes; a++)
            printf("  %*s", width(t, a), grid_value(&t->grid, t->rank[i].at, a));
        if (*p->why)
            printf("  refused: %s", p->why);
        else if (t->elbow)
            printf("  %12.6g", p->elbow);
        for (uint32_t k = 0; k < t->names && !*p->why; k++) {
            const struct measure *m = measure(p, t->name[k]);

            if (m)
                printf("  %*.6g", column(t->name[k]), m->value);
            else
                printf("  %*s", column(t->name[k]), "-");
        }
        putchar('\n');
    }
}

static void json_value(const struct opt *o, const char *value)
{
    bool number = o->type == OPT_U32 || o->type == OPT_U64 || o->type == OPT_F32;

    if (o->type == OPT_BOOL || (number && !(o->names && !strcmp(value, o->names[0]))))
        fputs(*value == '+' ? value + 1 : value, stdout);
    else
        json_text(stdout, value);
}

static void print_json(const struct tune *t, uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i++) {
        const struct point *p = &t->point[t->rank[i].at];

        if (*p->why)
            fputs("{\"refused\":", stdout), json_text(stdout, p->why);
        else
            printf("{\"rank\":%" PRIu32, i + 1);
        fputs(",\"options\":{", stdout);
        for (uint32_t a = 0; a < t->grid.axes; a++) {
            printf("%s\"%s\":", a ? "," : "", t->grid.axis[a].o->name);
            json_value(t->grid.axis[a].o, grid_value(&t->grid, t->rank[i].at, a));
        }
        putchar('}');
        if (t->elbow && !*p->why) {
            fputs(",\"elbow\":", stdout);
            json_number(stdout, p->elbow, 9);
        }
        for (uint32_t k = 0; k < p->m.n && !*p->why; k++) {
            printf("%s\"%s\":", k ? "," : ",\"measures\":{", p->m.m[k].name);
            json_number(stdout, p->m.m[k].value, 17);
        }
        puts(p->m.n && !*p->why ? "}}" : "}");
    }
}

static enum st print(const struct tune *t)
{
    const uint32_t rows = t->f->top && t->f->top < t->points ? t->f->top : t->points;

    if (t->f->json)
        print_json(t, rows);
    else
        print_table(t, rows);
    fflush(stdout);
    if (ferror(stdout))
        return fail(t->s->err, ST_FATAL, "stdout cannot be written");
    fprintf(stderr, "millrace: best by %s%s (%s):", t->elbow ? "the elbow of " : "", t->by,
            t->elbow   ? "greatest bend"
            : t->lower ? "lower is better"
                       : "higher is better");
    for (uint32_t a = 0; a < t->grid.axes; a++)
        fprintf(stderr, " %s=%s", t->grid.axis[a].o->name, grid_value(&t->grid, t->rank[0].at, a));
    fprintf(stderr, "; %" PRIu32 " of %" PRIu32 " points refused\n", t->refused, t->points);
    return ST_OK;
}

/* ---- the verb ---- */

static enum st run(struct tune *t, const struct tensors *view)
{
    TRY(make_grid(t));
    TRY(derive_points(t, view));
    TRY(choose_measure(t));
    TRY(rank_points(t));
    TRY(print(t));
    if (!*t->f->d.out && !t->f->d.publish)
        return ST_OK;
    TRY(set_point(t, t->rank[0].at, t->s->derive_opts));
    return derived_model(t->s, view);
}

static enum st make(struct session *s, const struct tensors *view, const void *arg)
{
    struct tune t = {.s = s, .f = arg};
    enum st st = run(&t, view);

    grid_fini(&t.grid);
    free(t.point);
    free(t.rank);
    return st;
}

static int tune(const void *flags, int argc, char **argv)
{
    const struct tune_flags *f = flags;

    if (argc != 1) {
        fputs("millrace tune: name one job file\n", stderr);
        return CLI_USAGE;
    }
    return derived_run(&f->d, argv[0], false, f, make);
}

const struct verb verb_tune = {
    "tune",
    "JOB.yaml",
    "The best of many models from a job's state, without data.",
    tune_flag,
    sizeof(struct tune_flags),
    "Derives every combination of the values named by --over from one view of the job's slots, "
    "ranks them by a measure, and prints a table; the best one is written (-o) or published "
    "(--publish). Elbow: the point of one numeric option (log scale) at which the measure's curve "
    "is farthest from the line between its ends.",
    tune};
