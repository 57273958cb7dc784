/* pca.h: what the files of pca share: pca.c (learning, scoring), pca_options.c (options, tensors),
 * pca_sketch.c (Frequent Directions) and pca_derive.c (models); and the options structs, which
 * tests fill by hand. Not for other algorithms.
 *
 * Shapes: D features, L rows that a sketch keeps (it has room for 2 L), k components of a model, B
 * rows of a batch. */
#ifndef MILLRACE_PCA_H
#define MILLRACE_PCA_H

#include "algos/moments.h"

enum pca_method { PCA_AUTO, PCA_EXACT, PCA_SKETCH };

struct pca_opts {
    uint32_t method, components, extra_components, batch;
};

struct pca_derive {
    uint32_t components; /* 0 (auto): the job's */
    bool whiten, center, correlation;
};

/* State of the sketch; that of the exact method is moments.h's one tensor. */
enum {
    SK_ROW, /* f64[2 L, D]: their products are those of the rows about their mean, but for SHRUNK */
    SK_MEAN, /* f64[D] */
    SK_SUM,  /* f64[SUM_N] */
    SK_HEAD, /* u64[1] rows in SK_ROW */
};
enum {
    SUM_WEIGHT, /* of the rows */
    SUM_TOTAL,  /* weighted squares of the rows about their mean */
    SUM_SHRUNK, /* what any direction may have lost of them, at most */
    SUM_N
};

/* Model. */
enum {
    PM_MEAN,      /* f32[D] subtracted from a row */
    PM_SCALE,     /* f32[D] its columns are multiplied with, then */
    PM_COMPONENT, /* f32[k, D] the greatest variance first */
    PM_VARIANCE,  /* f64[k] */
    PM_TOTAL,     /* f64[1] variance of all directions */
};

/* Work. The first two and those of moments.h are in compute space. */
enum {
    PW_X,       /* f32[B, XLD] rows, less the mean, scaled */
    PW_Z,       /* f32[B, SCORE_COLS] some projections */
    PW_HOST,    /* the same on the host */
    PW_GRAM,    /* f64[N, N] a matrix, then its eigenvectors; N = D or 2 L + 1 */
    PW_VALUE,   /* f64[N] */
    PW_EIGEN,   /* f64[lapack_eigen_work(N)] */
    PW_MEAN,    /* f64[D] */
    PW_PANEL,   /* f64[L, PANEL_COLS] columns of rebuilt rows; sketch only */
    PW_MOMENTS, /* of moments.h; exact only */
};
enum { SCORE_COLS = 64, PANEL_COLS = 256 };

struct pca {
    uint32_t b, d, l, n, xld; /* B, D, L, N, row stride of PW_X */
    bool sketch;
    struct moments m; /* of the exact method */
};

/* pca_options.c */

extern const struct opt pca_options[], pca_derive_options[];
extern const struct port pca_ports[];

struct pca pca_of(const struct shape *sh, const void *opts); /* of a checked shape, its options */
MUST enum st pca_check(struct shape *sh, void *opts, struct err *e);
MUST enum st pca_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                         const void *derive_opts);

/* pca_sketch.c */

MUST enum st sketch_add(const struct ctx *x, struct tensors *s, const struct rows *r);
MUST enum st sketch_fold(const struct ctx *x, struct tensors *view, const struct slot *slot);

/* pca_derive.c */

MUST enum st pca_derive(const struct ctx *x, const struct tensors *view, const void *derive_opts,
                        struct tensors *model, struct measures *m);

#endif
