/* rcf.c: random cut forest: how unexpected a row is, without labels.
 *
 * Problem. Find the rows that are unlike the others, and, in a series, the stretches that are.
 *
 * Idea. A random cut tree over S points cuts their bounding box at a random place, a number (a
 * dimension of the point) being chosen with probability proportional to the box's range there, then
 * both parts, until each point is alone. A point that lies apart is cut off near the root. What is
 * scored is how near to the root the point would come to hang if it were inserted, without
 * inserting it (Guha, Mishra, Roy, Schrijvers, Robust random cut forest based anomaly detection on
 * streams, ICML 2016; the form of the score is that of the library
 * aws/random-cut-forest-by-aws). On the way to the point's leaf, at depth h, the next cut of the
 * box stretched to the point separates it from all others with probability
 *   p = sum_i max(0, x_i - greatest_i, least_i - x_i) / sum_i range of the stretched box,
 * and then it hangs there:
 *   score(node) = p / (h + 1) + (1 - p) score(child),
 *   score(leaf) = 1 / (h + 1), or for the same point (1 - m / 2M) / (h + log2(m + 1)), where m of
 *   the tree's M points lie there.
 * From the leaf upwards, p is 0 from the first box on that has the point inside: so most rows touch
 * few boxes. A tree's score is multiplied with log2(M + 1); the forest's is the mean, about 1 or
 * below for usual rows.
 * Sample. The trees are grown when a model is derived, from a uniform sample of T S points
 * (sample.h), dealt to the trees at random; so fewer trees or smaller ones, and any threshold, come
 * from the same state. Where there are fewer points, each tree draws its own, at most half of all.
 * Units. A cut falls into the feature of widest range first: features are divided by their
 * deviation in the sample (cover of ADBench: AUC 0.819 becomes 0.933).
 * Threshold. Up to 4,096 points of the sample are scored by the trees that do not have them, as new
 * rows are; alarm_share of those scores lie above it.
 * Series. With `shingle: H` a point is the last H rows of its partition, which must come in the
 * order of the series; a ring in the state reaches across batches. Rows of weight 0 are left out.
 *
 * State. A sample of T S points of W = H D numbers: 4 T S W bytes; the ring. Model: 12 T S W (the
 * boxes are two thirds): 50 trees of 256 points take 154 kB a number, 121 MB at 784.
 * Cost a row learned. That of the sample (and H D numbers copied, if it is taken). A row scored: T
 * ways down of some log2 S cuts, and W for each box that the point is outside of, and one more.
 * Merge. The sample's: exact, a set, so several epochs change nothing.
 * Limits. Dense rows. score() knows no rows before its batch: the first H - 1 rows of a batch have
 * no whole point and the score 0. Rows held out leave gaps in series.
 * Not done. Inserting into trees while learning: the sample is what it would keep. */
#include "algos/rcf.h"

#include <string.h>

/* ---- learning ---- */

/* The last H rows up to row i as one point, oldest first; there are as many. */
static void unroll(const struct rcf *l, const struct tensors *s, float *to)
{
    const uint64_t seen = s->t[RCF_SEEN].u64[0];

    for (uint32_t i = 0; i < l->h; i++)
        memcpy(to + (size_t)i * l->d, s->t[RCF_RING].f32 + (seen + i) % l->h * l->d,
               l->d * sizeof *to);
}

static enum st rcf_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                          struct eval *e)
{
    const struct rcf l = rcf_of(x->shape, x->opts);
    const struct feat *f = &r->host->in[0];
    struct sampler m;

    (void)e; /* OUT_NONE */
    CHECK(r->n <= l.b && r->train <= r->n);
    if (!r->train)
        return ST_OK;
    CHECK(f->d == l.d && f->ld >= l.d && f->x);
    m = sample_begin(x, &l.sample, s, r);
    for (uint32_t i = 0; i < r->train; i++) {
        const float *row = f->x + (size_t)i * f->ld;
        uint32_t place;

        if (!sample_fresh(&m, i))
            continue;
        if (l.h > 1) {
            uint64_t *seen = s->t[RCF_SEEN].u64;

            memcpy(s->t[RCF_RING].f32 + *seen % l.h * l.d, row, l.d * sizeof *row);
            if (++*seen < l.h)
                continue;
        }
        if (!sample_take(&m, i, &place))
            continue;
        if (l.h > 1)
            unroll(&l, s, s->t[SAMPLE_X].f32 + (size_t)place * l.w);
        else
            memcpy(s->t[SAMPLE_X].f32 + (size_t)place * l.w, row, l.w * sizeof *row);
    }
    return ST_OK;
}

static enum st rcf_init(const struct ctx *x, struct tensors *s)
{
    (void)x, (void)s; /* all zero: no row */
    return ST_OK;
}

static enum st rcf_fold(const struct ctx *x, struct tensors *view, const struct slot *slot)
{
    const struct rcf l = rcf_of(x->shape, x->opts);

    return sample_fold(x, &l.sample, view, slot);
}

static enum st rcf_fold_end(const struct ctx *x, struct tensors *view)
{
    const struct rcf l = rcf_of(x->shape, x->opts);

    sample_fold_end(x, &l.sample, view);
    return ST_OK;
}

/* ---- one point in one tree ---- */

const float *rcf_point(const struct ctx *x, const struct tensors *model, const float *row,
                       uint32_t from, uint32_t w)
{
    const float *shift = model->t[RCF_SHIFT].f32, *scale = model->t[RCF_SCALE].f32;
    float *to = x->work->t[RW_POINT].f32;

    for (uint32_t j = from; j < from + w; j++) {
        double v = ((double)row[j - from] - (double)shift[j]) * (double)scale[j];

        to[j] = (float)(v > 1e30 ? 1e30 : v < -1e30 ? -1e30 : v); /* ranges stay finite */
    }
    return to;
}

struct apart {
    double out, range; /* how far the point is outside of a box; range of the box stretched to it */
};

static struct apart outside(const float *least, const float *greatest, const float *x, uint32_t w)
{
    struct apart a = {0, 0};

    for (uint32_t j = 0; j < w; j++) {
        double over = (double)x[j] - (double)greatest[j], under = (double)least[j] - (double)x[j];
        double out = over > under ? over : under;

        out = out > 0 ? out : 0;
        a.out += out;
        a.range += out + ((double)greatest[j] - (double)least[j]);
    }
    return a;
}

/* share = (1 - p) share + what each number adds to p, of which `worth` is the score. */
static void add_shares(const float *least, const float *greatest, const float *x, uint32_t w,
                       struct apart a, double worth, double *share)
{
    const double keep = 1 - a.out / a.range;

    for (uint32_t j = 0; j < w; j++) {
        double over = (double)x[j] - (double)greatest[j], under = (double)least[j] - (double)x[j];
        double out = over > under ? over : under;

        share[j] = keep * share[j] + (out > 0 ? out / a.range * worth : 0);
    }
}

static double log2_of(double v)
{
    return sample_log(v) * 1.4426950408889634;
}

/* The score at the leaf at that depth. */
static double leaf_score(const struct tensors *model, uint32_t leaf, uint32_t depth, uint32_t mass,
                         const float *x, uint32_t w, double *share, bool *same)
{
    const uint32_t *at = model->t[RCF_LEAF].u32 + 2 * (size_t)leaf;
    const float *point = model->t[RCF_X].f32 + (size_t)at[0] * w;
    struct apart a = outside(point, point, x, w);
    double score;

    *same = !(a.out > 0);
    if (*same)
        score = (1 - (double)at[1] / (2.0 * mass)) / (depth + log2_of(at[1] + 1.0));
    else
        score = 1.0 / (depth + 1);
    for (uint32_t j = 0; share && j < w; j++)
        share[j] = *same ? score / w : 0;
    if (share && !*same)
        add_shares(point, point, x, w, a, score, share);
    return score;
}

double rcf_tree_score(const struct ctx *x, const struct tensors *model, uint32_t a,
                      const float *point, double *share)
{
    const uint32_t *cut = model->t[RCF_CUT].u32, *tree = model->t[RCF_TREE].u32 + 2 * (size_t)a;
    const float *at = model->t[RCF_AT].f32;
    const uint32_t w = (uint32_t)model->t[RCF_SHIFT].n;
    uint32_t *path = x->work->t[RW_PATH].u32, depth = 0, node = tree[0];
    bool inside;
    double score;

    for (; !(node & rcf_leaf); depth++) {
        CHECK(depth < x->work->t[RW_PATH].n);
        path[depth] = node;
        node = cut[3 * (size_t)node + (point[cut[3 * (size_t)node]] <= at[node] ? 1 : 2)];
    }
    score = leaf_score(model, node & ~rcf_leaf, depth, tree[1], point, w, share, &inside);
    while (depth-- && !inside) {
        const float *box = model->t[RCF_BOX].f32 + 2 * (size_t)path[depth] * w;
        struct apart o = outside(box, box + w, point, w);

        inside = !(o.out > 0);
        if (inside)
            break;
        score = o.out / o.range / (depth + 1) + (1 - o.out / o.range) * score;
        if (share)
            add_shares(box, box + w, point, w, o, 1.0 / (depth + 1), share);
    }
    return score * log2_of(tree[1] + 1.0);
}

/* ---- score ---- */

/* The mean of the trees; with `shares`, what each number adds to it. */
static double score_point(const struct ctx *x, const struct tensors *model, const float *point,
                          double *shares)
{
    const uint32_t trees = (uint32_t)model->t[RCF_HEAD].u64[RCF_TREES];
    const uint32_t w = (uint32_t)model->t[RCF_SHIFT].n;
    double sum = 0, *share = shares ? x->work->t[RW_SHARE].f64 : NULL;

    if (shares)
        memset(shares, 0, w * sizeof *shares);
    for (uint32_t a = 0; a < trees; a++) {
        double unit = log2_of(model->t[RCF_TREE].u32[2 * (size_t)a + 1] + 1.0) / trees;

        sum += rcf_tree_score(x, model, a, point, share);
        for (uint32_t j = 0; shares && j < w; j++)
            shares[j] += unit * share[j];
    }
    return sum / trees;
}

static enum st rcf_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                         float *out)
{
    const struct rcf l = rcf_of(x->shape, x->opts);
    const struct feat *f = &r->host->in[0];
    const uint64_t *head = model->t[RCF_HEAD].u64;
    const double threshold = model->t[RCF_THRESHOLD].f64[0];
    double *shares = head[RCF_ATTRIBUTION] ? x->work->t[RW_SHARES].f64 : NULL;
    const uint32_t width = 2 + (shares ? l.d : 0);

    CHECK(r->n <= l.b && head[RCF_TREES] && model->t[RCF_SHIFT].n == l.w);
    CHECK(!r->n || (f->d == l.d && f->ld >= l.d && f->x));
    for (uint32_t i = 0; i < r->n; i++, out += width) {
        const float *point = NULL;
        double score;

        memset(out, 0, width * sizeof *out);
        if (i + 1 < l.h)
            continue;
        for (uint32_t q = 0; q < l.h; q++)
            point = rcf_point(x, model, f->x + (size_t)(i + 1 - l.h + q) * f->ld, q * l.d, l.d);
        score = score_point(x, model, point, shares);
        out[0] = (float)score;
        out[1] = score > threshold;
        for (uint32_t j = 0; shares && j < l.d; j++) {
            double sum = 0;

            for (uint32_t q = 0; q < l.h; q++)
                sum += shares[q * l.d + j];
            out[2 + j] = (float)sum;
        }
    }
    return ST_OK;
}

static enum st rcf_intact(const struct ctx *x, const struct tensors *s)
{
    const struct rcf l = rcf_of(x->shape, x->opts);

    return sample_intact(x, &l.sample, s);
}

const struct algo algo_rcf = {
    .abi = MILLRACE_ABI,
    .bytes = sizeof(struct algo),
    .name = "rcf",
    .summary = "random cut forest: rows unlike the others, of tables and series; no labels",
    .state_version = 1,
    .model_version = 1,
    .flags = ALGO_EXACT | ALGO_SET | ALGO_HOST,
    .ports = rcf_ports,
    .opts = rcf_options,
    .derive_opts = rcf_derive_options,
    .opts_bytes = sizeof(struct rcf_opts),
    .derive_bytes = sizeof(struct rcf_derive),
    .check = rcf_check,
    .declare = rcf_declare,
    .init = rcf_init,
    .update = rcf_update,
    .derive = rcf_derive,
    .score = rcf_score,
    .fold = rcf_fold,
    .fold_end = rcf_fold_end,
    .intact = rcf_intact,
};
