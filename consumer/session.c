#include "consumer/session.h"

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
    if (!s->b)
        return fail(e, ST_FATAL, "no memory to start");
    struct broker_conf c = {.address = address,
                            .props = &job->kafka,
                            .queue_bytes = SESSION_QUEUE,
                            .read_only = read_only,
                            .job = job};
    return s->br->open(s->b, &c, e);
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
        TRY(s->br->topic(s->b, topic, &t, s->err));
        if (!t.exists)
            return fail(s->err, ST_BAD_CONFIG, "topic '%s' does not exist", topic);
        st = codec_open_sampled(&s->job->input, s->br, s->b, topic, t.partitions, s->codec_self,
                                need_label, &s->decoded, s->err);
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

void session_close(struct session *s)
{
    model_fini(&s->model);
    if (s->compute_self) {
        tensors_free(&s->work, s->compute, s->compute_self);
        compute_stop(s->compute, s->compute_self);
    }
    if (s->codec_self)
        s->codec->close(s->codec_self);
    if (s->b)
        s->br->close(s->b);
    free(s->codec_self);
    free(s->b);
}
