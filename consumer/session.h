/* session.h: what verbs that only look open of a job: broker, codec, algorithm, a model; no group,
 * no state.
 *
 * Owner: zeroed memory of the caller (about 2 MiB: heap); session_close is safe at any point.
 * Thread: one. */
#ifndef MILLRACE_SESSION_H
#define MILLRACE_SESSION_H

#include "algos/derive.h"
#include "algos/handover.h"
#include "consumer/batch.h"
#include "consumer/codec.h"
#include "consumer/snapshot.h"

struct session {
    const struct job *job;
    struct err *err;
    const struct broker *br;
    void *b;
    const struct broker *from; /* where records are: br and b, or after session_files its files */
    void *from_b;
    const struct codec *codec;
    void *codec_self;
    struct decoded decoded;
    const struct algo *algo;
    const struct compute *compute;
    void *compute_self;
    struct shape shape;
    _Alignas(64) uint8_t opts[OPTS_BYTES_MAX], derive_opts[OPTS_BYTES_MAX];
    struct derive_table derives; /* the options in derive_opts */
    struct tensors work;
    struct ctx x;
    struct model model;
    const struct compute *offered; /* set before: what `device: cuda` is; NULL: by its name */
    struct {                       /* where the job says CUDA, to score: the model, and the way */
        const struct compute *c;
        void *self;
        struct tensors work, model;
        struct handover handover;
        struct ctx x;
    } there;
};

/* The job's broker. read_only: a local broker beside a running worker. */
MUST enum st session_broker(struct session *s, const struct job *job, bool read_only,
                            struct err *e);
/* Records are those of the job's files from now on, all else is as it was. */
MUST enum st session_files(struct session *s);
/* The decoder; widths that the job leaves open come from `sample`, or, where that is {0}, from the
 * first record of `topic`. features: of a model that is known, else 0. */
MUST enum st session_codec(struct session *s, const char *topic, struct bytes sample,
                           uint32_t features, bool need_label);
/* Algorithm, shape and context for `slots` partitions, after session_codec. */
MUST enum st session_algo(struct session *s, uint32_t slots);
/* Version of the job's model topic (0: the latest) into s->model. */
MUST enum st session_model(struct session *s, uint64_t version);
/* After session_algo and session_model: the model is one of this job's algorithm and shape;
 * completes derive_opts. */
MUST enum st session_check_model(struct session *s);
/* After that, where rows are to be scored: on the job's device; auto is the CPU, for scoring. */
MUST enum st session_device(struct session *s);
/* score_rows() with the session's model; r lies in host memory. */
MUST enum st session_score(struct session *s, uint32_t width, const struct rows *r, float *out);
void session_close(struct session *s);

#endif
