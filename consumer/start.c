/* start.c: the finished model that a job's new partitions go on from. It is read when some begin,
 * so a job that is under way does not need it any more. */
#include "algos/derive.h"
#include "config/base/log.h"
#include "consumer/snapshot.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <string.h>

/* Feature 3, class 3 there have to be those here. */
static enum st same_rows(const struct model *m, const struct decoded *d, struct err *e)
{
    if (m->features != d->columns)
        return fail(e, ST_BAD_CONFIG,
                    "model %" PRIu64 " has %" PRIu32 " features, this job %" PRIu32, m->version,
                    m->features, d->columns);
    if (m->classes != d->classes)
        return fail(e, ST_BAD_CONFIG,
                    "model %" PRIu64 " has %" PRIu32 " classes, this job %" PRIu32, m->version,
                    m->classes, d->classes);
    for (uint32_t i = 0; i < m->classes; i++)
        if (strcmp(m->class_name[i], d->class_name[i]))
            return fail(e, ST_BAD_CONFIG,
                        "class %" PRIu32 " of model %" PRIu64 " is '%s', of this job '%s'", i,
                        m->version, m->class_name[i], d->class_name[i]);
    return ST_OK;
}

/* Names may differ where formats do; the order must not. */
static void compare_columns(const struct worker *w, const struct model *m)
{
    char name[NAME_MAX_BYTES];

    for (uint32_t c = 0; c < m->columns && c < w->decoded->columns; c++) {
        w->codec->column_name(w->codec_self, c, name, sizeof name);
        if (!strcmp(name, m->column[c]))
            continue;
        log_line(LOG_WARN, "start_from: features have other names there: is the order the same?",
                 "feature=%" PRIu32 " there=\"%s\" here=\"%s\"", c, m->column[c], name);
        return;
    }
}

static enum st check(const struct worker *w, const struct model *m)
{
    _Alignas(64) uint8_t derive_opts[OPTS_BYTES_MAX] = {0};

    if (!w->algo->start)
        return fail(w->err, ST_BAD_CONFIG, "%s cannot go on from a model", w->algo->name);
    TRY(model_check(m, w->algo, &w->shape, w->opts, derive_opts, false, w->err));
    TRY(same_rows(m, w->decoded, w->err));
    compare_columns(w, m);
    return ST_OK;
}

enum st start_read(struct worker *w, const struct slot_reader *by)
{
    const struct job *j = w->job;
    enum st st;

    CHECK(!w->start);
    if (!*j->start_from)
        return ST_OK;
    w->start = model_new();
    if (!w->start)
        return fail(w->err, ST_FATAL, "no memory for the model to start from");
    st = model_read(w->br, w->b, j->start_topic, j->start_version, by, w->start, w->err);
    if (st == ST_OK)
        st = check(w, w->start);
    if (st != ST_OK) {
        start_end(w);
        err_prefix(w->err, "start_from %s", j->start_from);
        return st;
    }
    log_line(LOG_INFO, "new partitions go on from a model", "start_from=%s job=%s records=%" PRIu64,
             j->start_from, w->start->job, w->start->records);
    return ST_OK;
}

enum st start_partition(struct worker *w, struct partition *p)
{
    const struct tensors model = model_own(&w->start->tensors);
    enum st st = w->algo->start(&w->x, &model, p->p, &p->state);

    if (st != ST_OK)
        err_prefix(w->err, "start_from %s", w->job->start_from);
    return st;
}

void start_end(struct worker *w)
{
    model_free(w->start);
    w->start = NULL;
}
