/* knn.h: what the files of knn share: knn.c (learning, models, scores) and knn_options.c (options,
 * tensors); and the options structs, which tests fill by hand. Not for other algorithms.
 *
 * Shapes: D features, M numbers of a row kept (D, or `project`), N rows of the sample, n of a
 * model, B rows of a batch, C classes, TILE rows of the sample at a time. */
#ifndef MILLRACE_KNN_H
#define MILLRACE_KNN_H

#include "algos/sample.h"

struct knn_opts {
    uint32_t sample, k, task, classes, project, batch;
};

struct knn_derive {
    uint32_t k, sample, task; /* 0 (auto): the job's */
};

enum { KNN_AUTO, KNN_CLASSIFY, KNN_REGRESS };

/* State: behind those of the sample. */
enum { KNN_SIGN = SAMPLE_STATE_N /* f32[D, M] +-1, with `project` */ };

/* Model. */
enum {
    KNN_HEAD,  /* u64[KNN_HEAD_N] */
    KNN_X,     /* f32[n, M] rows of the sample less shift, by ascending key */
    KNN_Y,     /* f32[n] their labels */
    KNN_NORM,  /* f32[n] |x|^2 */
    KNN_SHIFT, /* f32[M] mean of the rows */
    KNN_BASIS, /* f32[D, M] the signs, with `project` */
};
enum { KNN_ROWS, KNN_K, KNN_TASK, KNN_HEAD_N };

/* Work: behind those of the sample. KW_ ones are in compute space. */
enum {
    KW_X = SAMPLE_WORK_N, /* f32[B, M] queries less shift */
    KW_RAW,               /* f32[B, M] the same with it, with `project` */
    KW_DIST,              /* f32[B, TILE] -2 x c */
    KW_AT,                /* u32[B, K_MAX + 1] nearest of a tile, */
    KW_VAL,               /* f32[B, K_MAX + 1] their |c|^2 - 2 x c */
    HOST_TILE_AT,         /* both in host memory */
    HOST_TILE_VAL,
    HOST_AT,       /* u32[B, K_MAX + 1] nearest of all tiles so far, */
    HOST_VAL,      /* f32[B, K_MAX + 1] the same of theirs */
    HOST_NEXT,     /* u32[K_MAX + 1] one row of HOST_AT while it is merged */
    HOST_NEXT_VAL, /* f32[K_MAX + 1] */
    HOST_VOTE,     /* u32[C] votes */
    HOST_SUM,      /* f64[M] sums */
};

enum { K_MAX = 1024, TILE = 2048 };
enum { LOO_LEAST = 100, LOO_ROWS = 2000 /* rows that are predicted by the others */ };

struct knn {
    uint32_t b, d, m, n, c, wide; /* wide: neighbours that work has room for */
    const struct knn_opts *o;
    struct sample s;
};

extern const struct opt knn_options[], knn_derive_options[];
extern const struct port knn_ports[];

struct knn knn_of(const struct shape *sh,
                  const void *opts); /* of a checked shape and its options */
/* What the derive options (NULL: none) make of the job's: nothing is 0 then. */
struct knn_derive knn_choice(const struct knn_opts *o, const void *derive_opts);
MUST enum st knn_check(struct shape *sh, void *opts, struct err *e);
MUST enum st knn_declare(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                         const void *derive_opts);
MUST enum st knn_init(const struct ctx *x, struct tensors *s);

#endif
