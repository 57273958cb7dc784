/* model_copy.c: millrace model copy: a finished model from one broker to another, so that a job
 * there can begin with it (start_from): what was learned from files goes on with Kafka. */
#include "consumer/derived.h"
#include "consumer/verbs/verbs.h"
#include "consumer/worker.h"

#include <stdlib.h>
#include <string.h>

static enum st read_there(struct session *s, const char *from, uint64_t version)
{
    struct broker_flags at = {.bootstrap = ""};
    struct session *there = calloc(1, sizeof *there);
    struct job *j = malloc(sizeof *j);
    enum st st;

    if (!there || !j) {
        free(there);
        free(j);
        return fail(s->err, ST_FATAL, "no memory to copy a model");
    }
    *j = *s->job;
    snprintf(at.bootstrap, sizeof at.bootstrap, "%s", from);
    st = broker_flags_apply(&at, j, s->err);
    if (st == ST_OK)
        st = session_broker(there, j, true, s->err);
    if (st == ST_OK)
        st = model_read(there->br, there->b, j->topic_models, version, NULL, &s->model, s->err);
    session_close(there);
    free(there);
    free(j);
    if (st != ST_OK)
        err_prefix(s->err, "%s", from);
    return st;
}

int model_copy(const struct job *j, const char *from, uint64_t version)
{
    struct session *s = calloc(1, sizeof *s);
    struct err e = {""};
    int code = CLI_DONE;
    enum st st;

    if (!s)
        return cli_fail(fail(&e, ST_FATAL, "no memory to start"), &e);
    s->job = j;
    s->err = &e;
    st = read_there(s, from, version);
    if (st == ST_OK)
        st = session_broker(s, j, false, &e);
    if (st == ST_OK)
        st = models_ready(s->br, s->b, j, s->model.body_bytes, &e);
    if (st == ST_OK)
        st = derived_publish(s, &code);
    session_close(s);
    free(s);
    if (st == ST_OK)
        return CLI_DONE;
    cli_fail(st, &e);
    return code ? code : exit_code(st);
}
