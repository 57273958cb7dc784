#include "consumer/progress.h"

#include "config/base/clock.h"
#include "consumer/team.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { HEADER_EVERY = 40, LINE_US = 2000000 };

/* ---- figures ---- */

void figures_add(struct figures *sum, const struct figures *f)
{
    sum->rows += f->rows;
    sum->lag += f->lag;
    sum->todo += f->todo;
    sum->state_bytes += f->state_bytes;
    if (f->epoch && (!sum->epoch || f->epoch < sum->epoch))
        sum->epoch = f->epoch;
    if (f->epochs > sum->epochs)
        sum->epochs = f->epochs;
    if (!(f->weight > 0))
        return;
    sum->model = !(sum->weight > 0) ? f->model : sum->model == f->model ? f->model : 0;
    sum->kind = f->kind;
    sum->weight += f->weight;
    sum->loss += f->loss;
    sum->recent_loss += f->recent_loss;
    sum->no_skill += f->no_skill;
    sum->measure += f->measure;
}

/* Of the packed model that is best on most rows: the first partition's choice. */
static void figures_read(const struct worker *w, struct figures *f)
{
    *f = (struct figures){.rows = w->rows,
                          .state_bytes = (double)w->declared.bytes * w->owned,
                          .kind = w->shape.out,
                          .epochs = w->job->epochs};
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct partition *p = &w->part[i];
        struct metric m;

        if (!p->state.base)
            continue;
        if (!f->model)
            f->model = metrics_best(&p->state, &w->shape) + 1;
        if (p->phase == PHASE_RUNNING && p->high > p->next)
            f->lag += (double)(p->high - p->next);
        if (p->phase == PHASE_RUNNING && p->m.end != INT64_MAX)
            f->todo += (double)(p->m.end - p->next) +
                       (double)(p->m.epochs - 1 - p->m.pos.epoch) * (double)(p->m.end - p->m.begin);
        if (!f->epoch || p->m.pos.epoch < f->epoch)
            f->epoch = p->m.pos.epoch + 1;
        m = metrics_read(&p->state, &w->shape, f->model - 1, false);
        if (!(m.weight > 0))
            continue;
        f->weight += m.weight;
        f->loss += m.weight * m.loss;
        f->recent_loss += m.weight * m.recent_loss;
        f->measure += m.weight * (isnan(m.accuracy) ? m.rmse : m.accuracy);
        f->no_skill += m.weight * m.baseline_loss;
    }
}

/* ---- the table ---- */

void progress_start(struct progress *p)
{
    *p = (struct progress){.next_rows = 1024};
    p->start_us = p->line_us = clock_mono_us();
}

bool progress_due(const struct progress *p, uint64_t rows, bool last)
{
    return last || rows >= p->next_rows ||
           (rows != p->line_rows && clock_mono_us() - p->line_us >= LINE_US);
}

static const char *time_text(double s, char *text, size_t n)
{
    if (!(s >= 0 && s < 1e7))
        return "-";
    snprintf(text, n, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
    return text;
}

static const char *measure_name(uint32_t out)
{
    return out == OUT_VALUE ? "rmse" : out == OUT_NONE || out == OUT_LOSS_ONLY ? "-" : "accuracy";
}

/* A measure that this algorithm does not have is "-". */
static const char *value_text(double v, int digits, char text[24])
{
    if (isnan(v))
        return "-";
    snprintf(text, 24, "%.*f", digits, v);
    return text;
}

void progress_print(struct progress *p, const struct figures *f, bool last, FILE *to)
{
    int64_t now = clock_mono_us();
    double elapsed = (double)(now - p->start_us) / 1e6, since = (double)(now - p->line_us) / 1e6;
    double rate = since > 0 ? (double)(f->rows - p->line_rows) / since : 0;
    char t1[24], t2[24], t3[24], t4[24], t5[24], t6[24], model[24] = "-", epoch[24] = "-";

    if (!f->rows)
        return;
    CHECK(f->rows >= p->line_rows);
    while (p->next_rows <= f->rows)
        p->next_rows *= 2;
    if (last && elapsed > 0)
        rate = (double)f->rows / elapsed;
    if (f->model)
        snprintf(model, sizeof model, "%" PRIu32, f->model);
    if (f->epoch)
        snprintf(epoch, sizeof epoch, "%" PRIu32 "/%" PRIu32, f->epoch, f->epochs);
    if (p->lines++ % HEADER_EVERY == 0)
        fprintf(to, "%12s %7s %10s %10s %10s %10s %6s %10s %10s %9s %9s %9s\n", "rows", "epoch",
                "loss", "loss_last", measure_name(f->kind), "no_skill", "model", "rows/s", "lag",
                "state_MB", "elapsed", "left");
    fprintf(to, "%12" PRIu64 " %7s %10s %10s %10s %10s %6s %10.0f %10.0f %9.1f %9s %9s\n", f->rows,
            epoch, value_text(f->loss / f->weight, 6, t5),
            value_text(f->recent_loss / f->weight, 6, t6),
            value_text(f->measure / f->weight, 4, t3), value_text(f->no_skill / f->weight, 6, t4),
            model, rate, f->lag, f->state_bytes / 1e6, time_text(elapsed, t1, sizeof t1),
            time_text(rate > 0 ? f->todo / rate : -1, t2, sizeof t2));
    p->line_us = now;
    p->line_rows = f->rows;
}

void progress_line(struct worker *w, bool last)
{
    struct figures f;

    if (w->report ? !report_due(w->report, last)
                  : w->quiet || !progress_due(&w->progress, w->rows, last))
        return;
    figures_read(w, &f);
    if (w->report)
        report_figures(w->report, &f);
    else
        progress_print(&w->progress, &f, last, stderr);
}
