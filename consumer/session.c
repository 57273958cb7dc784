#include "consumer/session.h"

#include "config/base/log.h"
#include "consumer/device.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_QUEUE = 64 << 20 };

enum st session_broker(struct session *s, const struct job *job, bool read_only, struct err *e)
{
    const char *address;

    s->job = job;
    s->err = e;
    s->br = broker_find(job->broker, &address);
    if (!s->br)
        return fail(e, ST_BAD_CONFIG, "broker '%s': expected kafka or local:DIR", job->broker);
    s->b = calloc(1, s->br->broker_bytes);
    s->from = s->br;
    s->from_b = s->b;
    if (!s->b)
        return fail(e, ST_FATAL, "no memory to start");
    struct broker_conf c = {.address = address,
                            .props = &job->kafka,
                            .queue_bytes = SESSION_QUEUE,
                            .read_only = read_only,
                            .job = job};
    return s->br->open(s->b, &c, e);
}

enum st session_files(struct session *s)
{
    const struct broker_conf c = {.address = ":memory:", .job = s->job};

    s->from = &broker_file;
    s->from_b = calloc(1, s->from->broker_bytes);
    if (!s->from_b)
        return fail(s->err, ST_FATAL, "no memory to start");
    return s->from->open(s->from_b, &c, s->err);
}

enum st session_codec(struct session *s, const char *topic, struct bytes sample, uint32_t features,
                      bool need_label)
{
    struct topic_info t = {0};
    enum st st;

    s->codec = codec_find(s->job->input.format);
    s->codec_self = calloc(1, s->codec->self_bytes);
    if (!s->codec_self)
        return fail(s->err, ST_FATAL, "no memory to start");
    if (sample.p) {
        st = s->codec->open(s->codec_self, &s->job->input, need_label, sample, &s->decoded, s->err);
    } else {
        TRY(s->from->topic(s->from_b, topic, &t, s->err));
        if (!t.exists)
            return fail(s->err, ST_BAD_CONFIG, "topic '%s' does not exist", topic);
        st = codec_open_sampled(&s->job->input, s->from, s->from_b, topic, t.partitions,
                                s->codec_self, need_label, &s->decoded, s->err);
    }
    TRY(st);
    if (features && s->decoded.columns != features)
        return fail(s->err, ST_BAD_CONFIG,
                    "these records have %" PRIu32 " features, the model has %" PRIu32,
                    s->decoded.columns, features);
    return ST_OK;
}

enum st session_algo(struct session *s, uint32_t slots)
{
    const struct job *j = s->job;

    s->algo = algo_find(j->algo);
    CHECK(s->algo && s->algo->opts_bytes <= sizeof s->opts);
    memcpy(s->opts, j->opts, s->algo->opts_bytes);
    s->compute = device_cpu(j);
    TRY(compute_start(s->compute, &s->compute_self, s->err));
    shape_init(&s->shape, &s->decoded, j, slots);
    TRY(s->algo->check(&s->shape, s->opts, s->err));
    derive_options(&s->derives, s->algo, &s->shape);
    derive_defaults(s->algo, &s->shape, s->derive_opts, sizeof s->derive_opts);
    shape_batch(&s->shape, &s->decoded);
    TRY(tensors_declare(&s->work, s->algo, PART_WORK, &s->shape, s->opts, NULL, NULL, 0,
                        CHUNK_SHIFT, UINT64_MAX / 2, s->err));
    TRY(tensors_alloc(&s->work, s->compute, s->compute_self, s->err));
    s->x = (struct ctx){.shape = &s->shape,
                        .opts = s->opts,
                        .c = s->compute,
                        .cs = s->compute_self,
                        .work = &s->work,
                        .seed = j->seed,
                        .err = s->err};
    return ST_OK;
}

enum st session_model(struct session *s, uint64_t version)
{
    return model_read(s->br, s->b, s->job->topic_models, version, NULL, &s->model, s->err);
}

enum st session_check_model(struct session *s)
{
    return model_check(&s->model, s->algo, &s->shape, s->opts, s->derive_opts, true, s->err);
}

enum st session_device(struct session *s)
{
    const struct compute *c = device_other(s->job, s->offered);
    const struct handover_shape shape = device_batches(&s->decoded.shape, &s->shape);

    if (!device_told(s->job))
        return ST_OK;
    if (s->algo->flags & ALGO_HOST) {
        log_line(LOG_WARN, "scored on the CPU", "reason=\"%s is plain C\"", s->algo->name);
        return ST_OK;
    }
    if (!c)
        return device_missing(s->err);
    s->there.c = c;
    TRY(compute_start(c, &s->there.self, s->err));
    s->there.work = s->work;
    s->there.work.base = NULL;
    s->there.work.dirty = NULL;
    TRY(tensors_alloc(&s->there.work, c, s->there.self, s->err));
    /* a file does not say which tensors plain code reads */
    TRY(model_declare(&s->there.model, s->algo, &s->shape, s->opts, s->derive_opts,
                      s->model.tensors.chunk_shift, s->err));
    TRY(tensors_alloc(&s->there.model, c, s->there.self, s->err));
    tensors_copy(&s->there.model, &s->model.tensors);
    s->there.x = s->x;
    s->there.x.c = c;
    s->there.x.cs = s->there.self;
    s->there.x.work = &s->there.work;
    return handover_init(&s->there.handover, c, s->there.self, &shape, &s->shape, s->err);
}

enum st session_score(struct session *s, uint32_t width, const struct rows *r, float *out)
{
    struct lane *at;

    if (!s->there.c)
        return score_rows(&s->x, s->algo, &s->model.tensors, width, r, out);
    at = handover_put(&s->there.handover, r);
    TRY(score_rows(&s->there.x, s->algo, &s->there.model, width, &at->rows, out));
    if (s->there.c->sync(s->there.self) == ST_OK)
        return ST_OK;
    return fail(s->err, ST_FATAL, "%s: the device failed", s->there.c->name);
}

static void close_device(struct session *s)
{
    handover_fini(&s->there.handover);
    tensors_free(&s->there.work, s->there.c, s->there.self);
    tensors_free(&s->there.model, s->there.c, s->there.self);
    compute_stop(s->there.c, s->there.self);
}

void session_close(struct session *s)
{
    close_device(s);
    model_fini(&s->model);
    if (s->compute_self) {
        tensors_free(&s->work, s->compute, s->compute_self);
        compute_stop(s->compute, s->compute_self);
    }
    if (s->codec_self)
        s->codec->close(s->codec_self);
    if (s->from_b && s->from_b != s->b) {
        s->from->close(s->from_b);
        free(s->from_b);
    }
    if (s->b)
        s->br->close(s->b);
    free(s->codec_self);
    free(s->b);
}
