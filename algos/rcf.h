/* rcf.h: what the files of rcf share: rcf.c (learning, scores), rcf_forest.c (models) and
 * rcf_options.c (options, tensors); and the options structs, which tests fill by hand. Not for
 * other algorithms.
 *
 * Shapes: D features, H rows of a shingle, W = H D numbers of a point, T trees, S points of a tree,
 * N = T S points of the sample; of a model t trees, s points, n = t s points; C = s - 1 cuts of a
 * tree at most; B rows of a batch. */
#ifndef MILLRACE_RCF_H
#define MILLRACE_RCF_H

#include "algos/sample.h"

struct rcf_opts {
    uint32_t num_trees, num_samples_per_tree, shingle, batch;
    bool standardize, attribution;
    float alarm_share;
};

struct rcf_derive {
    uint32_t num_trees, num_samples_per_tree; /* 0 (auto): the job's */
    uint32_t standardize, attribution;        /* RCF_AUTO: the job's */
    float alarm_share;                        /* below 0: the job's */
};

enum { RCF_AUTO, RCF_FALSE, RCF_TRUE };

/* State: behind those of the sample. Both absent without shingles. */
enum {
    RCF_RING = SAMPLE_STATE_N, /* f32[H, D] the partition's last rows, row i at i mod H; local */
    RCF_SEEN,                  /* u64[1] rows that went into it; local */
};

/* Model. A child is a cut, or leaf | rcf_leaf, numbered over all trees: cut i of tree a is
 * a C + i, leaf i is a s + i. */
enum {
    RCF_HEAD,      /* u64[RCF_HEAD_N] */
    RCF_TREE,      /* u32[t, 2] root, points */
    RCF_CUT,       /* u32[t C, 3] number of the point that is cut, child below, child above */
    RCF_AT,        /* f32[t C] below: at most this */
    RCF_BOX,       /* f32[t C, 2, W] least, greatest of the points below the cut */
    RCF_LEAF,      /* u32[t s, 2] row of RCF_X, how many points lie there */
    RCF_X,         /* f32[n, W] points, in units of scale */
    RCF_SHIFT,     /* f32[W] */
    RCF_SCALE,     /* f32[W] */
    RCF_THRESHOLD, /* f64[1] */
};
enum { RCF_TREES, RCF_ATTRIBUTION, RCF_HEAD_N };

static const uint32_t rcf_leaf = 1u << 31;

/* Work: behind those of the sample. All in host memory. */
enum {
    RW_POINT = SAMPLE_WORK_N, /* f32[W] the point that is scored */
    RW_PATH,                  /* u32[S] cuts above it */
    RW_SHARE,                 /* f64[W] what each number adds to the score of a tree, */
    RW_SHARES,                /* f64[W] and of the forest */
    RW_INDEX,                 /* u32[N] points, tree by tree */
    RW_STACK,                 /* u32[S, 4] parts of a tree to be cut */
    RW_IN,                    /* u32[N] 1 + the last tree that the point is in */
    RW_TESTED,                /* f64[TESTED, 2] scores of points by trees without them, how many */
};

enum { TESTED = 4096 /* points of the sample that set the threshold */ };

struct rcf {
    uint32_t b, d, h, w, t, s; /* B, D, H, W, T, S */
    struct sample sample;
};

extern const struct opt rcf_options[], rcf_derive_options[];
extern const struct port rcf_ports[];

struct rcf rcf_of(const struct shape *sh,
                  const void *opts); /* of a checked shape and its options */
/* What the derive options (NULL: none) make of the job's, as the job would say it. */
struct rcf_opts rcf_choice(const struct rcf_opts *o, const void *derive_opts);
MUST enum st rcf_check(struct shape *sh, void *opts, struct err *e);
MUST enum st rcf_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                         const void *derive_opts);

/* rcf.c */

/* The point of `row` (W raw numbers) in the model's units: RW_POINT. */
const float *rcf_point(const struct ctx *x, const struct tensors *model, const float *row,
                       uint32_t from, uint32_t w);
/* How far tree `a` is from expecting the point; with `share`, what each number adds to that. */
double rcf_tree_score(const struct ctx *x, const struct tensors *model, uint32_t a,
                      const float *point, double *share);

/* rcf_forest.c */

MUST enum st rcf_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                        struct tensors *model, struct measures *m);

#endif
