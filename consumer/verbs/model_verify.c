/* model_verify.c: millrace model verify: is this the model that its records make? */
#include "config/base/log.h"
#include "consumer/export.h"
#include "consumer/session.h"
#include "consumer/verbs/verbs.h"
#include "consumer/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct verdict { /* of one model */
    struct session *s;
    const struct model *m;
    struct worker *w;
    struct model *again;
    int code;
};

static void print_gone(void *arg, const struct gone *g)
{
    (void)arg;
    printf("partition %" PRIu32 " offsets [%" PRId64 ", %" PRId64 "): gone, %s\n", g->partition,
           g->begin, g->end, g->why);
}

/* The job file has to be the one that made the model: what differs, by name where it can be told.
 */
static enum st check_job(const struct model *m, const struct model *job, const struct worker *w)
{
    if (w->fingerprint == m->fingerprint)
        return ST_OK;
    for (uint32_t i = 0; i < m->options; i++)
        for (uint32_t k = 0; k < job->options; k++)
            if (!strcmp(m->option[i].name, job->option[k].name) &&
                strcmp(m->option[i].value, job->option[k].value))
                return fail(w->err, ST_BAD_CONFIG,
                            "model %" PRIu64
                            " was made with options.%s: %s, the job file says %s: name the file "
                            "that it was made with",
                            m->version, m->option[i].name, m->option[i].value,
                            job->option[k].value);
    if (m->seed != job->seed || m->holdout != job->holdout)
        return fail(w->err, ST_BAD_CONFIG,
                    "model %" PRIu64 " was made with seed %" PRIu64
                    " and holdout %g, the job file says %" PRIu64 " and %g",
                    m->version, m->seed, m->holdout, job->seed, job->holdout);
    if (strcmp(m->start_from, job->start_from))
        return fail(w->err, ST_BAD_CONFIG,
                    "model %" PRIu64 " was made with start_from '%s', the job file says '%s'",
                    m->version, m->start_from, job->start_from);
    return fail(w->err, ST_BAD_CONFIG,
                "model %" PRIu64
                " was made by another job than this file's: input, schema or topic differ",
                m->version);
}

/* Derived as it was then. */
static enum st derive_again(struct verdict *v)
{
    _Alignas(64) uint8_t opts[OPTS_BYTES_MAX] = {0};
    const struct worker *w = v->w;

    TRY(model_derive_opts(v->m, w->algo, &w->shape, opts, w->err));
    TRY(merge(v->w));
    return model_derive(&w->host, w->algo, &w->view, opts, v->again);
}

/* What was read of each partition, against what the model says; false: not the same. */
static bool compare_counts(const struct verdict *v)
{
    bool same = true;

    for (uint32_t i = 0; i < v->m->ranges; i++) {
        const struct model_range *r = &v->m->range[i];
        const struct manifest *p = &v->w->part[r->partition].m;
        bool other = p->last_offset != r->last_offset || p->last_fingerprint != r->last_fingerprint;

        printf("partition %" PRIu32 " offsets [%" PRId64 ", %" PRId64 ") epoch %" PRIu32
               ": read again, %" PRIu64 " records, %" PRIu64 " rejected",
               r->partition, r->begin, p->pos.offset, p->pos.epoch, p->trained, p->rejected);
        if (p->trained != r->records || p->rejected != r->rejected || p->pos.epoch != r->epoch)
            printf("; the model says %" PRIu64 " and %" PRIu64 " to epoch %" PRIu32, r->records,
                   r->rejected, r->epoch);
        else if (other)
            printf("; the last record, at offset %" PRId64 ", is another than then",
                   r->last_offset);
        else
            r = NULL;
        putchar('\n');
        same &= !r;
    }
    return same;
}

static void different(const struct verdict *v)
{
    printf("different: model %" PRIu64 " is not what its records make", v->m->version);
    if (strcmp(v->m->millrace, MILLRACE_VERSION))
        printf("; but it was made by millrace %s, this is %s", v->m->millrace, MILLRACE_VERSION);
    puts(". The same bits take the same program, libraries and type of machine");
}

static enum st compare(struct verdict *v, const char *loose)
{
    v->code = CLI_FAILED;
    if (!compare_counts(v)) {
        printf("different: the records are not those that model %" PRIu64
               " was made from: the topic was re-created, truncated or compacted\n",
               v->m->version);
        return ST_OK;
    }
    if (loose) {
        v->code = CLI_UNDECIDED;
        printf("counted: the records are there, as many as model %" PRIu64
               " says; its bits cannot be made again: %s\n",
               v->m->version, loose);
        return ST_OK;
    }
    TRY(derive_again(v));
    if (model_diff(v->m, v->again, stdout)) {
        different(v);
        return ST_OK;
    }
    v->code = CLI_DONE;
    printf("equal: model %" PRIu64 " is what its records make, bit for bit\n", v->m->version);
    return ST_OK;
}

static enum st train_again(struct verdict *v, struct job *j)
{
    const char *loose = verify_loose(v->m);
    struct worker *w = v->w;

    verify_job(j, v->m);
    TRY(worker_open_alone(w, j, v->m->partitions, v->s->err));
    model_describe(v->again, j, &w->x, w->algo, w->decoded, w->codec, w->codec_self);
    TRY(check_job(v->m, v->again, w));
    TRY(verify_train(w, v->m, !loose));
    return compare(v, loose);
}

static enum st run(struct verdict *v, struct job *j, uint64_t version, struct err *e)
{
    struct session *s = v->s;
    uint32_t gone;

    TRY(session_broker(s, j, true, e));
    TRY(session_model(s, version));
    v->m = &s->model;
    printf("model %" PRIu64 " of job %s: %s, topic %s, %" PRIu64 " records\n", v->m->version,
           v->m->job, v->m->algo, v->m->topic, v->m->records);
    if (strcmp(v->m->algo, j->algo) || strcmp(v->m->topic, j->topic))
        return fail(s->err, ST_BAD_CONFIG,
                    "model %" PRIu64 " is of algorithm %s and topic %s, the job file says %s and "
                    "%s: name the file that it was made with",
                    v->m->version, v->m->algo, v->m->topic, j->algo, j->topic);
    TRY(verify_gone(s->br, s->b, v->m, print_gone, NULL, &gone, s->err));
    if (!gone)
        return train_again(v, j);
    v->code = CLI_UNDECIDED;
    printf("gone: model %" PRIu64 " cannot be made again, for not all of its records are there\n",
           v->m->version);
    return ST_OK;
}

int model_verify(struct job *j, uint64_t version)
{
    struct verdict v = {
        .s = calloc(1, sizeof *v.s), .w = calloc(1, sizeof *v.w), .again = model_new()};
    struct err e = {""};
    enum st st;

    log_setup(LOG_WARN, LOG_AUTO);
    st = v.s && v.w && v.again ? run(&v, j, version, &e) : fail(&e, ST_FATAL, "no memory to start");
    fflush(stdout);
    if (v.w)
        worker_close(v.w);
    if (v.s)
        session_close(v.s);
    model_free(v.again);
    free(v.w);
    free(v.s);
    return st == ST_OK ? v.code : cli_fail(st, &e);
}
