/* progress.c: the table on stderr, a line per power of two of rows at first, then every few
 * seconds, in the manner of Vowpal Wabbit: loss is prequential (scored before learned), "no skill"
 * is the best constant on the same rows. */
#include "config/base/clock.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEADER_EVERY = 40, LINE_SECONDS = 2 };

struct progress {
    int64_t start_us, line_us;
    uint64_t next_rows, line_rows, lines;
};

enum st progress_open(struct worker *w, struct err *e)
{
    struct progress *p = calloc(1, sizeof *p);

    if (!p)
        return fail(e, ST_FATAL, "no memory to start");
    p->start_us = p->line_us = clock_mono_us();
    p->next_rows = 1024;
    w->progress = p;
    return ST_OK;
}

void progress_close(struct worker *w)
{
    free(w->progress);
    w->progress = NULL;
}

/* The measures of all partitions together, of the packed model that is best on most rows: the first
 * running one's choice. */
static struct metric all_partitions(const struct worker *w, double *lag, double *todo,
                                    uint32_t *model)
{
    struct metric sum = {0};
    bool chosen = false;

    *lag = *todo = 0;
    *model = 0;
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];
        struct metric m;

        if (!p->state.base)
            continue;
        if (!chosen)
            *model = metrics_best(&p->state, &w->shape);
        chosen = true;
        if (p->phase == PHASE_RUNNING && p->high > p->next)
            *lag += (double)(p->high - p->next);
        if (p->phase == PHASE_RUNNING && p->m.end != INT64_MAX)
            *todo += (double)(p->m.end - p->next);
        m = metrics_read(&p->state, &w->shape, *model, false);
        if (!(m.weight > 0))
            continue;
        sum.weight += m.weight;
        sum.loss += m.weight * m.loss;
        sum.recent_loss += m.weight * m.recent_loss;
        sum.accuracy += m.weight * (isnan(m.accuracy) ? m.rmse : m.accuracy);
        sum.baseline_loss += m.weight * m.baseline_loss;
    }
    return sum;
}

static const char *time_text(double s, char *text, size_t n)
{
    if (!(s >= 0 && s < 1e7))
        return "-";
    snprintf(text, n, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
    return text;
}

static const char *metric_name(const struct worker *w)
{
    return w->shape.out == OUT_VALUE                                   ? "rmse"
           : w->shape.out == OUT_NONE || w->shape.out == OUT_LOSS_ONLY ? "-"
                                                                       : "accuracy";
}

/* A measure that this algorithm does not have is "-". */
static const char *value_text(double v, int digits, char text[24])
{
    if (isnan(v))
        return "-";
    snprintf(text, 24, "%.*f", digits, v);
    return text;
}

void progress_line(struct worker *w, bool force)
{
    struct progress *p = w->progress;
    int64_t now = clock_mono_us();
    double lag, todo, rate, elapsed = (double)(now - p->start_us) / 1e6,
                            since = (double)(now - p->line_us) / 1e6;
    char t1[24], t2[24], t3[24], t4[24];
    struct metric m;
    uint32_t model;

    if (w->quiet)
        return;
    if (!force && w->rows < p->next_rows && since < LINE_SECONDS)
        return;
    if (!force && w->rows == p->line_rows)
        return;
    while (p->next_rows <= w->rows)
        p->next_rows *= 2;
    m = all_partitions(w, &lag, &todo, &model);
    if (!(m.weight > 0))
        return;
    rate = since > 0 ? (double)(w->rows - p->line_rows) / since : 0;
    if (force && elapsed > 0)
        rate = (double)w->rows / elapsed;
    if (p->lines++ % HEADER_EVERY == 0)
        fprintf(stderr, "%12s %10s %10s %10s %10s %6s %10s %10s %9s %9s %9s\n", "rows", "loss",
                "loss_last", metric_name(w), "no_skill", "model", "rows/s", "lag", "state_MB",
                "elapsed", "left");
    fprintf(
        stderr, "%12" PRIu64 " %10.6f %10.6f %10s %10s %6" PRIu32 " %10.0f %10.0f %9.1f %9s %9s\n",
        w->rows, m.loss / m.weight, m.recent_loss / m.weight,
        value_text(m.accuracy / m.weight, 4, t3), value_text(m.baseline_loss / m.weight, 6, t4),
        model + 1, rate, lag, (double)w->declared.bytes * w->owned / 1e6,
        time_text(elapsed, t1, sizeof t1), time_text(rate > 0 ? todo / rate : -1, t2, sizeof t2));
    p->line_us = now;
    p->line_rows = w->rows;
}
