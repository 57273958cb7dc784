/* rcf_forest.c: trees from the view's sample. All draws follow ctx.seed, tree and cut: the same
 * view gives the same model. Views and models lie in host memory. Cost: about T S W log S for the
 * boxes, and the score of TESTED points. */
#include "algos/rcf.h"

#include "algos/compute/philox.h"

#include <math.h>
#include <string.h>

enum { PURPOSE_DEAL = 1, PURPOSE_CUT = 2 };

static struct philox_key key_of(const struct ctx *x, uint32_t purpose, uint32_t tree)
{
    return philox_key((uint64_t[2]){x->seed, (uint64_t)purpose << 32 | tree});
}

/* Uniform in (0, 1), of 53 bits. */
static double uniform(struct philox_key key, uint64_t at)
{
    uint32_t w[4];

    philox_words(key, at, 0, w);
    return ((double)(((uint64_t)w[0] << 32 | w[1]) >> 12) + 0.5) * 0x1p-52;
}

/* ---- points ---- */

/* Shift and scale of n points, pivoted on the first: the deviation of a constant is exactly 0. */
static void units(const float *p, uint32_t n, uint32_t w, bool standardize, struct tensors *model)
{
    for (uint32_t j = 0; j < w; j++) {
        double sum = 0, squares = 0, sd;

        for (uint32_t i = 1; i < n; i++)
            sum += (double)p[(size_t)i * w + j] - (double)p[j];
        for (uint32_t i = 0; i < n; i++) {
            double off = (double)p[(size_t)i * w + j] - (double)p[j] - sum / n;

            squares += off * off;
        }
        sd = sqrt(squares / n);
        model->t[RCF_SHIFT].f32[j] = (float)((double)p[j] + sum / n);
        model->t[RCF_SCALE].f32[j] = standardize && sd > 1e-30 ? (float)(1 / sd) : 1.0f;
    }
}

/* Moves `take` points of index[0, n), drawn at random, to its head. */
static void deal(struct philox_key key, uint32_t *index, uint32_t n, uint32_t take)
{
    for (uint32_t i = 0; i < take; i++) {
        uint32_t pick = i + (uint32_t)(uniform(key, i) * (n - i)), swap = index[i];

        index[i] = index[pick];
        index[pick] = swap;
    }
}

/* ---- a tree ---- */

struct tree {
    struct tensors *model;
    uint32_t *index, *stack; /* points; parts: from, points, whose child it is (3 cut + side) */
    struct philox_key key;
    uint32_t number, w, cut, leaf; /* next ones */
};

static const uint32_t no_parent = UINT32_MAX;

/* The box of points index[from, from + n); the sum of its ranges. */
static double box_of(const struct tree *g, const uint32_t *index, uint32_t n, float *least,
                     float *greatest)
{
    const float *x = g->model->t[RCF_X].f32;
    double sum = 0;

    memcpy(least, x + (size_t)index[0] * g->w, g->w * sizeof *least);
    memcpy(greatest, least, g->w * sizeof *least);
    for (uint32_t i = 1; i < n; i++) {
        const float *p = x + (size_t)index[i] * g->w;

        for (uint32_t j = 0; j < g->w; j++) {
            least[j] = p[j] < least[j] ? p[j] : least[j];
            greatest[j] = p[j] > greatest[j] ? p[j] : greatest[j];
        }
    }
    for (uint32_t j = 0; j < g->w; j++)
        sum += (double)greatest[j] - (double)least[j];
    return sum;
}

/* A place in the box, `at` of all ranges laid end to end: number and value; both sides of it have
 * points. */
static uint32_t place_of(const float *least, const float *greatest, uint32_t w, double at,
                         float *value)
{
    uint32_t j = 0, last = w;

    for (; j < w; j++) {
        double range = (double)greatest[j] - (double)least[j];

        if (!(range > 0))
            continue;
        last = j;
        if (at < range)
            break;
        at -= range;
    }
    CHECK(last < w);
    *value = j == w ? least[last] : (float)((double)least[last] + at);
    if (!(*value < greatest[last]))
        *value = least[last];
    return last;
}

/* Those of at most `value` to the front; returns how many. */
static uint32_t part(const struct tree *g, uint32_t *index, uint32_t n, uint32_t j, float value)
{
    const float *x = g->model->t[RCF_X].f32;
    uint32_t below = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t point = index[i];

        if (!(x[(size_t)point * g->w + j] <= value))
            continue;
        index[i] = index[below];
        index[below++] = point;
    }
    return below;
}

static void hang(const struct tree *g, uint32_t parent, uint32_t child)
{
    if (parent == no_parent)
        g->model->t[RCF_TREE].u32[2 * (size_t)g->number] = child;
    else
        g->model->t[RCF_CUT].u32[parent] = child;
}

static uint32_t push(uint32_t *stack, uint32_t top, uint32_t from, uint32_t n, uint32_t parent)
{
    memcpy(stack + 4 * (size_t)top, (uint32_t[4]){from, n, parent, 0}, 4 * sizeof *stack);
    return top + 1;
}

/* The tree of points index[0, n). */
static void grow(struct tree *g, uint32_t n)
{
    struct tensor *t = g->model->t;
    uint32_t top = push(g->stack, 0, 0, n, no_parent);

    t[RCF_TREE].u32[2 * (size_t)g->number + 1] = n;
    while (top) {
        const uint32_t *p = g->stack + 4 * (size_t)--top;
        const uint32_t from = p[0], points = p[1], parent = p[2], node = g->cut;
        float *least = t[RCF_BOX].f32 + 2 * (size_t)node * g->w, *greatest = least + g->w;
        double ranges = points > 1 ? box_of(g, g->index + from, points, least, greatest) : 0;
        uint32_t below;

        if (!(ranges > 0)) {
            if (points > 1) /* equal ones: the cut is not to be */
                memset(least, 0, 2 * (size_t)g->w * sizeof *least);
            t[RCF_LEAF].u32[2 * (size_t)g->leaf] = g->index[from];
            t[RCF_LEAF].u32[2 * (size_t)g->leaf + 1] = points;
            hang(g, parent, g->leaf++ | rcf_leaf);
            continue;
        }
        t[RCF_CUT].u32[3 * (size_t)node] =
            place_of(least, greatest, g->w, ranges * uniform(g->key, node), &t[RCF_AT].f32[node]);
        below =
            part(g, g->index + from, points, t[RCF_CUT].u32[3 * (size_t)node], t[RCF_AT].f32[node]);
        CHECK(below && below < points);
        hang(g, parent, node);
        g->cut++;
        top = push(g->stack, top, from + below, points - below, 3 * node + 2);
        top = push(g->stack, top, from, below, 3 * node + 1);
    }
}

/* ---- the forest ---- */

struct forest {
    uint32_t trees, points, rows; /* points of a tree; rows of the sample that are used */
    uint32_t tested;
};

/* Adds the tree's scores of tested points that it does not have. */
static void test(const struct ctx *x, const struct forest *f, const struct tensors *model,
                 const uint32_t *index, uint32_t a)
{
    uint32_t *in = x->work->t[RW_IN].u32;
    double *tested = x->work->t[RW_TESTED].f64;
    const uint32_t w = (uint32_t)model->t[RCF_SHIFT].n;

    for (uint32_t i = 0; i < f->points; i++)
        in[index[i]] = a + 1;
    for (uint32_t q = 0; q < f->tested; q++) {
        uint32_t row = (uint32_t)((uint64_t)q * f->rows / f->tested);

        if (in[row] == a + 1)
            continue;
        tested[2 * q] += rcf_tree_score(x, model, a, model->t[RCF_X].f32 + (size_t)row * w, NULL);
        tested[2 * q + 1] += 1;
    }
}

/* Grows the trees, each from a deal of its own or, where there are enough points, its share of
 * one. */
static void plant(const struct ctx *x, const struct forest *f, uint32_t s, struct tensors *model)
{
    uint32_t *index = x->work->t[RW_INDEX].u32;
    const bool shares = (uint64_t)f->trees * s <= f->rows;

    memset(x->work->t[RW_IN].p, 0, f->rows * sizeof *index);
    memset(x->work->t[RW_TESTED].p, 0, x->work->t[RW_TESTED].bytes);
    for (uint32_t i = 0; i < f->rows; i++)
        index[i] = i;
    if (shares)
        deal(key_of(x, PURPOSE_DEAL, 0), index, f->rows, f->rows);
    for (uint32_t a = 0; a < f->trees; a++) {
        struct tree g = {.model = model,
                         .index = shares ? index + (size_t)a * s : index,
                         .stack = x->work->t[RW_STACK].u32,
                         .key = key_of(x, PURPOSE_CUT, a),
                         .number = a,
                         .w = (uint32_t)model->t[RCF_SHIFT].n,
                         .cut = a * (s - 1),
                         .leaf = a * s};

        if (!shares)
            deal(key_of(x, PURPOSE_DEAL, a), index, f->rows, f->points);
        grow(&g, f->points);
        test(x, f, model, g.index, a);
    }
}

/* ---- the threshold ---- */

static void sort(double *v, uint32_t n)
{
    for (uint32_t gap = n / 2; gap; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (uint32_t i = gap; i < n; i++) {
            double one = v[i];
            uint32_t at = i;

            for (; at >= gap && v[at - gap] > one; at -= gap)
                v[at] = v[at - gap];
            v[at] = one;
        }
}

/* From the tested points' scores; without any (one row, or one tree that
 * has all), above all that a tree can say. */
static double threshold(const struct ctx *x, const struct forest *f, float share,
                        struct measures *m)
{
    double *v = x->work->t[RW_TESTED].f64, sum = 0, squares = 0, mean, sd, at;
    uint32_t n = 0;

    for (uint32_t q = 0; q < f->tested; q++)
        if (v[2 * q + 1] > 0)
            v[n++] = v[2 * q] / v[2 * q + 1];
    if (!n)
        return 1000;
    for (uint32_t i = 0; i < n; i++)
        sum += v[i];
    mean = sum / n;
    for (uint32_t i = 0; i < n; i++)
        squares += (v[i] - mean) * (v[i] - mean);
    sd = sqrt(squares / n);
    sort(v, n);
    at = share > 0 ? v[n - 1 - (uint32_t)((double)share * (n - 1))] : mean + 3 * sd;
    m->m[m->n++] = (struct measure){"score_mean", mean, true};
    m->m[m->n++] = (struct measure){"score_deviation", sd, true};
    m->m[m->n++] = (struct measure){"threshold", at, true};
    return at;
}

enum st rcf_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                   struct tensors *model, struct measures *m)
{
    const struct rcf l = rcf_of(x->shape, x->opts);
    const struct rcf_opts v = rcf_choice(x->opts, derive_opts);
    const uint64_t live = view->t[SAMPLE_VIEW_HEAD].u64[0];
    const uint32_t most = v.num_trees * v.num_samples_per_tree, s = v.num_samples_per_tree;
    struct forest f = {.trees = v.num_trees, .rows = (uint32_t)(live < most ? live : most)};
    const float *from = view->t[SAMPLE_VIEW_X].f32;

    CHECK(view->t[SAMPLE_VIEW_X].n == (uint64_t)l.sample.n * l.w && live <= l.sample.n);
    CHECK(model->t[RCF_X].n == (uint64_t)most * l.w && most <= l.sample.n);
    if (!f.rows)
        return fail(x->err, ST_AGAIN, "no row has been learned yet: there is nothing to cut");
    f.points = f.rows / 2 < s && f.rows < most ? (f.rows + 1) / 2 : s;
    f.tested = f.rows < TESTED ? f.rows : TESTED;
    units(from, f.rows, l.w, v.standardize, model);
    for (uint32_t i = 0; i < f.rows; i++) {
        const float *point = rcf_point(x, model, from + (size_t)i * l.w, 0, l.w);

        memcpy(model->t[RCF_X].f32 + (size_t)i * l.w, point, l.w * sizeof *point);
    }
    model->t[RCF_HEAD].u64[RCF_TREES] = f.trees;
    model->t[RCF_HEAD].u64[RCF_ATTRIBUTION] = v.attribution;
    plant(x, &f, s, model);
    model->t[RCF_THRESHOLD].f64[0] = threshold(x, &f, v.alarm_share, m);
    m->m[m->n++] = (struct measure){"sample_rows", f.rows, false};
    m->model = -1;
    return ST_OK;
}
