/* derive_verb.c: millrace derive: another model from the slots of a job, no data read: any k, any
 * packed model. */
#include "algos/derive.h"
#include "algos/fold.h"
#include "consumer/export.h"
#include "consumer/session.h"
#include "consumer/verbs/verbs.h"
#include "consumer/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct derive_flags {
    struct broker_flags broker;
    struct texts set;
    char out[4096];
    uint32_t to;
};

static const char *const forms[] = {"npz", "json", "safetensors", "html", NULL};

static const struct flag derive_flag[] = {
    BROKER_FLAGS(struct derive_flags, broker),
    {0,
     true,
     {"set", OPT_STR, offsetof(struct derive_flags, set), 512, "", 0, 0, NULL,
      "Derive option name=value, such as k=20; may be repeated.", NULL},
     NULL},
    {'o',
     false,
     {"out", OPT_STR, offsetof(struct derive_flags, out), 4096, "", 0, 0, NULL,
      "File to write; empty: describe the model on stdout.", NULL},
     NULL},
    {0,
     false,
     {"to", OPT_ENUM, offsetof(struct derive_flags, to), 0, "npz", 0, 0, forms, "Form of the file.",
      NULL},
     NULL},
    {0}};

static enum st derive_option(struct session *s, const char *text)
{
    const char *eq = strchr(text, '='), *names[64], *near;
    char name[64];
    const struct opt *o;
    uint32_t n = 0;

    snprintf(name, sizeof name, "%.*s", (int)(eq ? eq - text : 0), text);
    for (o = s->derives.o; o->name && n < 63; o++)
        names[n++] = o->name;
    names[n] = NULL;
    o = opt_find(s->derives.o, name);
    near = suggest(name, names);
    if (!eq || !o)
        return fail(s->err, ST_BAD_CONFIG, "--set %s: algorithm %s has no derive option '%s'%s%s%s",
                    text, s->algo->name, name, near ? " (did you mean '" : "", near ? near : "",
                    near ? "'?)"
                    : n  ? ""
                         : "; it has none");
    return opt_set(o, s->derive_opts, eq + 1, false, s->err);
}

/* Slots one after another: memory is the view and one slot. */
static enum st fold_slots(struct session *s, struct fold *fold, struct tensors *state,
                          uint32_t partitions)
{
    struct slot_reader r = {0};
    struct image im = {.bytes_max = (uint64_t)1 << 40};
    enum st st = slot_reader_open(&r, s->br, s->b, s->job->topic_params, s->err);
    bool found;

    fold_begin(fold);
    for (uint32_t p = 0; st == ST_OK && p < partitions; p++) {
        struct slot slot = {state, 1, p};

        st = slot_read(&r, p, &im, &found, s->err);
        if (st != ST_OK || !found)
            continue;
        st = image_state(&im, s->algo, &s->x, state);
        if (st == ST_OK)
            st = fold_add(fold, &slot);
        if (st != ST_OK)
            continue;
        model_add(&s->model, &im.m);
        s->model.fingerprint = im.m.job;
    }
    image_fini(&im);
    slot_reader_close(&r);
    if (st == ST_OK && !s->model.ranges)
        return fail(s->err, ST_BAD_CONFIG, "topic %s holds no slot yet: train the job first",
                    s->job->topic_params);
    return st == ST_OK ? fold_end(fold) : st;
}

static enum st view_of_slots(struct session *s, struct tensors *view)
{
    struct tensors state = {0};
    struct topic_info t = {0};
    struct fold fold = {0};
    enum st st;

    TRY(s->br->topic(s->b, s->job->topic_params, &t, s->err));
    if (!t.exists)
        return fail(s->err, ST_BAD_CONFIG, "topic '%s' does not exist: train the job first",
                    s->job->topic_params);
    TRY(session_codec(s, s->job->topic, (struct bytes){0}, 0, false));
    TRY(session_algo(s, t.partitions));
    TRY(state_declare(&state, s->algo, &s->shape, s->opts, UINT64_MAX / 2, s->err));
    TRY(view_declare(view, s->algo, &state, &s->shape, s->opts, UINT64_MAX / 2, s->err));
    st = tensors_alloc(&state, s->compute, s->compute_self, s->err);
    if (st == ST_OK)
        st = tensors_alloc(view, s->compute, s->compute_self, s->err);
    if (st == ST_OK)
        st = fold_init(&fold, s->algo, &s->x, &state, view);
    if (st == ST_OK)
        st = fold_slots(s, &fold, &state, t.partitions);
    fold_fini(&fold);
    tensors_free(&state, s->compute, s->compute_self);
    return st;
}

static enum st run(struct session *s, const struct derive_flags *f)
{
    struct tensors view = {0};
    enum st st = view_of_slots(s, &view);

    for (uint32_t i = 0; st == ST_OK && i < f->set.n; i++)
        st = derive_option(s, f->set.v[i]);
    if (st == ST_OK) {
        model_describe(&s->model, s->job, &s->x, s->algo, &s->decoded, s->codec, s->codec_self);
        st = model_derive(&s->x, s->algo, &view, s->derive_opts, &s->model);
    }
    if (view.base)
        tensors_free(&view, s->compute, s->compute_self);
    if (st != ST_OK)
        return st;
    if (*f->out)
        return model_write(&s->model, f->out, (enum export_form)f->to, s->err);
    model_show(&s->model, stdout);
    return ST_OK;
}

static int derive(const void *flags, int argc, char **argv)
{
    const struct derive_flags *f = flags;
    struct session *s;
    struct err e = {""};
    struct job *j;
    enum st st;
    int code;

    if (argc != 1) {
        fputs("millrace derive: name one job file\n", stderr);
        return CLI_USAGE;
    }
    j = cli_job(argv[0], NULL, &f->broker, &code);
    if (!j)
        return code;
    s = calloc(1, sizeof *s);
    st = s ? session_broker(s, j, true, &e) : fail(&e, ST_FATAL, "no memory to start");
    if (st == ST_OK)
        st = run(s, f);
    if (s)
        session_close(s);
    free(s);
    free(j);
    return st == ST_OK ? CLI_DONE : cli_fail(st, &e);
}

const struct verb verb_derive = {"derive",
                                 "JOB.yaml",
                                 "Another model from a job's state, without data.",
                                 derive_flag,
                                 sizeof(struct derive_flags),
                                 "Reads the slots of all partitions from the parameter topic, "
                                 "merges them, and derives, for instance --set k=20.",
                                 derive};
