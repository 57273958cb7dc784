/* derived.c: a model from what a job has learned, no data read: from its slots, or from one of its
 * models. */
#include "consumer/derived.h"

#include "algos/fold.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PUBLISH_WAIT_MS = 60000, GROUP_WAIT_MS = 10000, GROUP_LOOK_MS = 200 };

/* ---- options ---- */

uint32_t derived_names(const struct session *s, const char *names[OPTION_NAMES_MAX])
{
    uint32_t n = 0;

    for (const struct opt *o = s->derives.o; o->name && n < OPTION_NAMES_MAX - 1; o++)
        names[n++] = o->name;
    names[n] = NULL;
    return n;
}

enum st derived_option(const struct session *s, const char *flag, const char *text,
                       const struct opt **o, const char **value)
{
    const char *eq = strchr(text, '='), *names[OPTION_NAMES_MAX], *near;
    uint32_t n = derived_names(s, names);
    char name[64];

    snprintf(name, sizeof name, "%.*s", (int)(eq ? eq - text : 0), text);
    *o = n ? opt_find(s->derives.o, name) : NULL;
    if (!eq)
        return fail(s->err, ST_BAD_CONFIG, "%s %s: expected a derive option as name=value", flag,
                    text);
    *value = eq + 1;
    if (*o)
        return ST_OK;
    near = suggest(name, names);
    return fail(s->err, ST_BAD_CONFIG, "%s %s: algorithm %s has no derive option '%s'%s%s%s", flag,
                text, s->algo->name, name, near ? " (did you mean '" : "", near ? near : "",
                near ? "'?)"
                : n  ? ""
                     : "; it has none");
}

static enum st set_options(struct session *s, const struct texts *set)
{
    const struct opt *o;
    const char *value;

    for (uint32_t i = 0; i < set->n; i++) {
        TRY(derived_option(s, "--set", set->v[i], &o, &value));
        TRY(opt_set(o, s->derive_opts, value, false, s->err));
    }
    return ST_OK;
}

/* ---- the view ---- */

static enum st fold_slot(struct session *s, struct fold *fold, struct tensors *state,
                         const struct image *im, uint32_t p)
{
    if (im->m.flags & SLOT_STOPPED) /* as in the job's own models */
        return ST_OK;
    TRY(image_state(im, s->algo, &s->x, state));
    TRY(fold_add(fold, &(struct slot){state, 1, p}));
    model_add(&s->model, &im->m);
    s->model.fingerprint = im->m.job;
    return ST_OK;
}

/* Slots one after another: memory is the view and one slot. */
static enum st fold_slots(struct session *s, struct fold *fold, struct tensors *state)
{
    struct slot_reader r = {0};
    struct image im = {.bytes_max = (uint64_t)1 << 40};
    enum st st = slot_reader_open(&r, s->br, s->b, s->job->topic_params, s->err);
    bool found;

    for (uint32_t p = 0; st == ST_OK && p < s->shape.slots; p++) {
        st = slot_read(&r, p, &im, &found, s->err);
        if (st == ST_OK && found)
            st = fold_slot(s, fold, state, &im, p);
    }
    image_fini(&im);
    slot_reader_close(&r);
    if (st == ST_OK && !s->model.ranges)
        return fail(s->err, ST_BAD_CONFIG, "topic %s holds no slot yet: train the job first",
                    s->job->topic_params);
    return st;
}

/* The state of a new partition that goes on from the model: all that it has learned. */
static enum st fold_model(struct session *s, struct fold *fold, struct tensors *state,
                          const struct model *m)
{
    _Alignas(64) uint8_t derive_opts[OPTS_BYTES_MAX] = {0};
    struct model *to = &s->model;
    struct tensors own;

    if (!s->algo->start)
        return fail(s->err, ST_BAD_CONFIG,
                    "algorithm %s: a model is not all that was learned: derive from the slots",
                    s->algo->name);
    TRY(model_check(m, s->algo, &s->shape, s->opts, derive_opts, false, s->err));
    TRY(s->algo->init(&s->x, state));
    own = model_own(&m->tensors);
    TRY(s->algo->start(&s->x, &own, 0, state));
    TRY(fold_add(fold, &(struct slot){state, 1, 0}));
    to->fingerprint = m->fingerprint;
    to->records = m->records;
    to->ranges = m->ranges;
    memcpy(to->range, m->range, sizeof m->range);
    to->breaks = m->breaks;
    memcpy(to->brk, m->brk, sizeof m->brk);
    return ST_OK;
}

static enum st fold_view(struct session *s, struct tensors *view, const struct model *from)
{
    struct tensors state = {0};
    struct fold fold = {0};
    enum st st;

    TRY(state_declare(&state, s->algo, &s->shape, s->opts, UINT64_MAX / 2, s->err));
    TRY(view_declare(view, s->algo, &state, &s->shape, s->opts, UINT64_MAX / 2, s->err));
    st = tensors_alloc(&state, s->compute, s->compute_self, s->err);
    if (st == ST_OK)
        st = tensors_alloc(view, s->compute, s->compute_self, s->err);
    if (st == ST_OK)
        st = fold_init(&fold, s->algo, &s->x, &state, view);
    if (st == ST_OK) {
        fold_begin(&fold);
        st = from ? fold_model(s, &fold, &state, from) : fold_slots(s, &fold, &state);
    }
    if (st == ST_OK)
        st = fold_end(&fold);
    fold_fini(&fold);
    tensors_free(&state, s->compute, s->compute_self);
    return st;
}

static enum st view_of_slots(struct session *s, struct tensors *view)
{
    struct topic_info t = {0};

    TRY(s->br->topic(s->b, s->job->topic_params, &t, s->err));
    if (!t.exists)
        return fail(s->err, ST_BAD_CONFIG, "topic '%s' does not exist: train the job first",
                    s->job->topic_params);
    TRY(session_codec(s, s->job->topic, (struct bytes){0}, 0, false));
    TRY(session_algo(s, t.partitions));
    return fold_view(s, view, NULL);
}

static enum st view_of_model(struct session *s, struct tensors *view, const struct model *m)
{
    TRY(session_codec(s, s->job->topic, (struct bytes){0}, m->features, false));
    TRY(session_algo(s, 1));
    return fold_view(s, view, m);
}

/* from: "", "latest" or a version, of which *version is told. */
static enum st view_of(struct session *s, const char *from, struct tensors *view, uint64_t *version)
{
    struct model *m;
    char extra;
    enum st st;

    *version = 0;
    if (!*from)
        return view_of_slots(s, view);
    if (strcmp(from, "latest") &&
        (*from == '-' || sscanf(from, "%20" SCNu64 "%c", version, &extra) != 1 || !*version))
        return fail(s->err, ST_BAD_CONFIG,
                    "--from-model %s: expected latest or a version (millrace model ls)", from);
    m = model_new();
    st = m ? model_read(s->br, s->b, s->job->topic_models, *version, NULL, m, s->err)
           : fail(s->err, ST_FATAL, "no memory to read a model");
    if (st == ST_OK) {
        *version = m->version;
        st = view_of_model(s, view, m);
    }
    model_free(m);
    return st;
}

/* ---- where it goes ---- */

static void newest(void *arg, const struct model *m)
{
    uint64_t *version = arg;

    *version = m->version > *version ? m->version : *version;
}

static enum st send_model(struct session *s, void *producer)
{
    const char *topic = s->job->topic_models;
    struct model_bytes b = {0};
    uint64_t version = 0;
    enum st st;

    /* after the producer was opened: who published by that name before is seen or fenced */
    TRY(model_list(s->br, s->b, topic, newest, &version, s->err));
    s->model.version = version + 1;
    st = model_encode(&s->model, &b, s->err);
    if (st == ST_OK)
        st = s->br->producer_begin(producer, s->err);
    if (st == ST_OK)
        st = model_send(s->br, producer, 0, &s->model, &b, s->job->models_keep, s->err);
    if (st == ST_OK)
        st = s->br->producer_wait(producer, PUBLISH_WAIT_MS, s->err);
    if (st == ST_OK)
        st = s->br->producer_commit(producer, s->err);
    free(b.manifest);
    free(b.body);
    return st;
}

/* A broker that has just started takes a while to know who looks after a group. */
static enum st count_members(struct session *s, uint32_t *members)
{
    enum st st = ST_AGAIN;

    for (int ms = 0; st == ST_AGAIN && ms < GROUP_WAIT_MS; ms += GROUP_LOOK_MS) {
        if (ms)
            usleep(GROUP_LOOK_MS * 1000);
        st = s->br->group_members(s->b, s->job->name, members, s->err);
    }
    return st;
}

/* A worker that runs counts versions itself, so there must be none. What a failure leaves open, the
 * broker or the next publish aborts. */
enum st derived_publish(struct session *s, int *code)
{
    const char *topic = s->job->topic_models;
    char id[sizeof s->job->name + 16];
    uint32_t members;
    void *producer;
    enum st st;

    TRY(count_members(s, &members));
    if (members) {
        *code = CLI_REFUSED;
        return fail(s->err, ST_BAD_CONFIG,
                    "group %s has %" PRIu32
                    " members, who publish models themselves: stop its workers; one that has not "
                    "left (train --leave) stays a member for session.timeout.ms",
                    s->job->name, members);
    }
    snprintf(id, sizeof id, "%s-derive", s->job->name);
    producer = calloc(1, s->br->producer_bytes);
    if (!producer)
        return fail(s->err, ST_FATAL, "no memory to publish");
    st = s->br->producer_open(producer, s->b, id, &topic, 1, s->err);
    if (st == ST_OK)
        st = send_model(s, producer);
    s->br->producer_close(producer);
    free(producer);
    if (st == ST_OK)
        fprintf(stderr, "millrace: published as model %" PRIu64 " of topic %s\n", s->model.version,
                topic);
    return st;
}

enum st derived_model(struct session *s, const struct tensors *view)
{
    model_describe(&s->model, s->job, &s->x, s->algo, &s->decoded, s->codec, s->codec_self);
    return model_derive(&s->x, s->algo, view, s->derive_opts, &s->model);
}

static enum st run(struct session *s, const struct derived_flags *f, bool show, const void *arg,
                   enum st (*make)(struct session *s, const struct tensors *view, const void *arg),
                   int *code)
{
    struct tensors view = {0};
    uint64_t version;
    enum st st;

    if (f->publish && *f->from)
        return fail(s->err, ST_BAD_CONFIG,
                    "--publish with --from-model: a model in the topic is made from slots, so that "
                    "it can be verified; write a file (-o)");
    st = view_of(s, f->from, &view, &version);
    if (st == ST_OK)
        st = set_options(s, &f->set);
    if (st == ST_OK)
        st = make(s, &view, arg);
    if (view.base)
        tensors_free(&view, s->compute, s->compute_self);
    TRY(st);
    if (version)
        snprintf(s->model.start_from, sizeof s->model.start_from, "%.160s@%" PRIu64,
                 s->job->topic_models, version);
    if (f->publish)
        TRY(derived_publish(s, code));
    if (*f->out)
        return model_write(&s->model, f->out, (enum export_form)f->to, s->err);
    if (show)
        model_show(&s->model, stdout);
    return ST_OK;
}

int derived_run(const struct derived_flags *f, const char *file, bool show, const void *arg,
                enum st (*make)(struct session *s, const struct tensors *view, const void *arg))
{
    struct session *s;
    struct err e = {""};
    struct job *j;
    enum st st;
    int code;

    j = cli_job(file, NULL, &f->broker, &code);
    if (!j)
        return code;
    s = calloc(1, sizeof *s);
    st = s ? session_broker(s, j, !f->publish, &e) : fail(&e, ST_FATAL, "no memory to start");
    if (st == ST_OK)
        st = run(s, f, show, arg, make, &code);
    if (s)
        session_close(s);
    free(s);
    free(j);
    if (st == ST_OK)
        return CLI_DONE;
    return code ? (cli_fail(st, &e), code) : cli_fail(st, &e);
}
