/* model_show.c: a model as text for people. */
#include "consumer/export.h"
#include "consumer/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

enum { HEAVIEST = 8 };

static const char *when(int64_t ms, char text[32])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return text;
}

const char *tensor_shape(const struct tensor *t, char text[SHAPE_BYTES])
{
    int n = snprintf(text, SHAPE_BYTES, "%s [", dtype_name(t->d.dtype));

    for (uint32_t k = 0; k < 4 && t->d.dim[k]; k++)
        n += snprintf(text + n, SHAPE_BYTES - (size_t)n, "%s%" PRIu64, k ? ", " : "", t->d.dim[k]);
    snprintf(text + n, SHAPE_BYTES - (size_t)n, "]");
    return text;
}

static void show_tensor(const struct tensor *t, FILE *f)
{
    double min = INFINITY, max = -INFINITY, sum = 0;
    uint64_t zeros = 0;
    char shape[SHAPE_BYTES];

    for (uint64_t i = 0; i < t->n; i++) {
        double v = tensor_element(t, i);

        min = fmin(min, v);
        max = fmax(max, v);
        sum += v;
        zeros += v == 0;
    }
    fprintf(f, "  %-12s %s  min %.6g  max %.6g  mean %.6g  zeros %" PRIu64 "\n", t->d.name,
            tensor_shape(t, shape), min, max, sum / (double)t->n, zeros);
}

/* What a step of one spread in feature i does to class c; columns differ in unit. */
static double effect(const struct tensor *w, const struct tensor *spread, uint64_t i, uint64_t c)
{
    uint64_t classes = w->d.dim[1] ? w->d.dim[1] : 1;

    return fabs(tensor_element(w, i * classes + c)) * (spread ? tensor_element(spread, i) : 1);
}

/* Rows of a [features + 1, classes] matrix named w, by their effect. */
static void show_heaviest(const struct model *m, FILE *f)
{
    const struct tensor *t = tensors_find(&m->tensors, "w"),
                        *spread = tensors_find(&m->tensors, "spread");
    uint64_t classes = t && t->d.dim[1] ? t->d.dim[1] : 1;

    if (!t || t->d.dim[0] != m->features + 1ull || (spread && spread->n != m->features))
        return;
    fprintf(f, "heaviest features%s (weight in the input's own units)\n",
            spread ? ", by weight times spread" : "");
    for (uint64_t c = 0; c < classes; c++) {
        uint64_t best[HEAVIEST], n = 0;

        for (uint64_t i = 0; i < m->features; i++) {
            uint64_t k = n < HEAVIEST ? n++ : HEAVIEST - 1;

            if (n == HEAVIEST && k == HEAVIEST - 1 && i >= HEAVIEST &&
                effect(t, spread, best[k], c) >= effect(t, spread, i, c))
                continue;
            for (; k && effect(t, spread, best[k - 1], c) < effect(t, spread, i, c); k--)
                best[k] = best[k - 1];
            best[k] = i;
        }
        if (c < m->classes)
            fprintf(f, "  %-12s", m->class_name[c]);
        else
            fprintf(f, "  %-12" PRIu64, c);
        for (uint64_t k = 0; k < n; k++)
            if (m->column && best[k] < m->columns)
                fprintf(f, " %s %+.4g", m->column[best[k]],
                        tensor_element(t, best[k] * classes + c));
            else
                fprintf(f, " %" PRIu64 " %+.4g", best[k], tensor_element(t, best[k] * classes + c));
        fprintf(f, " bias %+.4g\n", tensor_element(t, m->features * classes + c));
    }
}

void model_show(const struct model *m, FILE *f)
{
    struct report r;
    char t[32];

    fprintf(f,
            "model %" PRIu64
            " of job %s\n  made %s by millrace %s, algorithm %s\n  topic %s, %" PRIu64
            " records, %" PRIu32 " features, %" PRIu32 " classes\noptions\n",
            m->version, m->job, when(m->created_ms, t), m->millrace, m->algo, m->topic, m->records,
            m->features, m->classes);
    if (*m->start_from)
        fprintf(f, "  start_from           %s\n", m->start_from);
    for (uint32_t i = 0; i < m->options; i++)
        fprintf(f, "  %-20s %s\n", m->option[i].name, m->option[i].value);
    for (uint32_t i = 0; i < m->derives; i++)
        fprintf(f, "  derive.%-13s %s\n", m->derive[i].name, m->derive[i].value);
    fputs("measures"
          "\n",
          f);
    for (uint32_t i = 0; i < m->measures.n; i++)
        fprintf(f, "  %-24s %.9g\n", m->measures.m[i].name, m->measures.m[i].value);
    fputs("learned"
          "\n",
          f);
    for (uint32_t i = 0; i < m->ranges; i++)
        fprintf(f,
                "  partition %" PRIu32 " run %" PRIu32 " epoch %" PRIu32 " offsets [%" PRId64
                ", %" PRId64 ") records %" PRIu64 " rejected %" PRIu64 " lost %" PRIu64 "\n",
                m->range[i].partition, m->range[i].run, m->range[i].epoch, m->range[i].begin,
                m->range[i].end, m->range[i].records, m->range[i].rejected, m->range[i].lost);
    fputs("tensors"
          "\n",
          f);
    for (uint32_t i = 0; i < m->tensors.n; i++)
        show_tensor(&m->tensors.t[i], f);
    show_heaviest(m, f);
    if (report_of(m, &r))
        report_text(&r, f);
}
