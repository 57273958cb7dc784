#include "consumer/report.h"

#include <math.h>
#include <string.h>

enum { STRONGEST = 8, NAME_WIDTH = 20 };

/* ---- what is in the model ---- */

static const void *take(const struct model *m, const char *name, enum dtype type, uint64_t rows,
                        uint64_t columns)
{
    const struct tensor *t = tensors_find(&m->tensors, name);

    if (!t || t->d.dtype != type || t->d.dim[0] != rows || t->d.dim[1] != columns ||
        (columns && t->d.dim[2]))
        return NULL;
    return t->p;
}

static uint32_t width(const struct model *m, const char *name, int k)
{
    const struct tensor *t = tensors_find(&m->tensors, name);

    return t && t->d.dim[k] < UINT32_MAX ? (uint32_t)t->d.dim[k] : 0;
}

bool report_of(const struct model *m, struct report *r)
{
    const uint32_t d = width(m, "count", 0), q = width(m, "share", 0);
    const uint32_t h = width(m, "top_value", 1), n = width(m, "histogram", 1);

    *r = (struct report){.m = m, .d = d, .q = q, .h = h, .n = n};
    if (strcmp(m->algo, "stats") != 0 || !d || !q || !h || !n)
        return false;
    r->count = take(m, "count", DT_F64, d, 0);
    r->missing = take(m, "missing", DT_F64, d, 0);
    r->zeros = take(m, "zeros", DT_F64, d, 0);
    r->mean = take(m, "mean", DT_F64, d, 0);
    r->deviation = take(m, "deviation", DT_F64, d, 0);
    r->skewness = take(m, "skewness", DT_F64, d, 0);
    r->kurtosis = take(m, "kurtosis", DT_F64, d, 0);
    r->distinct = take(m, "distinct", DT_F64, d, 0);
    r->top_error = take(m, "top_error", DT_F64, d, 0);
    r->min = take(m, "min", DT_F32, d, 0);
    r->max = take(m, "max", DT_F32, d, 0);
    r->share = take(m, "share", DT_F32, q, 0);
    r->quantile = take(m, "quantile", DT_F32, d, q);
    r->top_value = take(m, "top_value", DT_F32, d, h);
    r->top_count = take(m, "top_count", DT_F64, d, h);
    r->histogram = take(m, "histogram", DT_F64, d, n);
    r->correlation = take(m, "correlation", DT_F64, d, d);
    return r->count && r->missing && r->zeros && r->mean && r->deviation && r->skewness &&
           r->kurtosis && r->distinct && r->top_error && r->min && r->max && r->share &&
           r->quantile && r->top_value && r->top_count && r->histogram;
}

const char *report_name(const struct report *r, uint32_t i, char *text, size_t n)
{
    if (r->m->column && i < r->m->columns)
        snprintf(text, n, "%s", r->m->column[i]);
    else
        snprintf(text, n, "%u", i);
    return text;
}

uint32_t report_nearest(const struct report *r, double share)
{
    uint32_t best = 0;

    for (uint32_t k = 1; k < r->q; k++)
        best = fabs((double)r->share[k] - share) < fabs((double)r->share[best] - share) ? k : best;
    return best;
}

uint32_t report_strongest(const struct report *r, struct report_pair *to, uint32_t max)
{
    uint32_t n = 0;

    for (uint32_t i = 1; r->correlation && i < r->d; i++)
        for (uint32_t j = 0; j < i; j++) {
            const double c = r->correlation[(size_t)i * r->d + j];
            uint32_t at = n < max ? n : max - 1;

            if (c == 0 || (n == max && fabs(to[at].r) >= fabs(c)))
                continue;
            n += n < max;
            for (; at && fabs(to[at - 1].r) < fabs(c); at--)
                to[at] = to[at - 1];
            to[at] = (struct report_pair){i, j, c};
        }
    return n;
}

/* ---- as text ---- */

/* A share as per cent, so that few are not none: "<0.01%". */
static const char *percent(double part, double all, char text[16])
{
    const double v = all > 0 ? 100 * part / all : 0;

    if (part == 0)
        return "-";
    if (v < 0.01)
        return "<0.01%";
    snprintf(text, 16, v < 10 ? "%.2f%%" : "%.1f%%", v);
    return text;
}

/* With as many digits as fit into ten places. */
static void put_number(double v, FILE *f)
{
    char text[32];

    for (int digits = 7; digits > 1; digits--)
        if (snprintf(text, sizeof text, "%.*g", digits, v) <= 10)
            break;
    fprintf(f, " %10s", text);
}

static void text_head(const struct report *r, const uint32_t at[3], FILE *f)
{
    char name[16];

    fprintf(f, "%-*s %10s %8s %8s %9s %10s", NAME_WIDTH, "column", "rows", "missing", "zeros",
            "distinct", "min");
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "%.4g%%", 100 * (double)r->share[at[k]]);
        if (!k || at[k] != at[k - 1])
            fprintf(f, " %10s", name);
    }
    fprintf(f, " %10s %10s %10s %8s %8s  %s\n", "max", "mean", "deviation", "skewness", "kurtosis",
            "most frequent");
}

static void text_column(const struct report *r, const uint32_t at[3], uint32_t j, FILE *f)
{
    const double all = r->count[j] + r->missing[j], top = r->top_count[(size_t)j * r->h];
    char name[NAME_MAX_BYTES], one[16], two[16], three[16];

    fprintf(f, "%-*.*s %10.0f %8s %8s", NAME_WIDTH, NAME_WIDTH,
            report_name(r, j, name, sizeof name), r->count[j], percent(r->missing[j], all, one),
            percent(r->zeros[j], r->count[j], two));
    if (!(r->count[j] > 0)) {
        fputs("  no value\n", f);
        return;
    }
    fprintf(f, " %9.0f", r->distinct[j]);
    put_number((double)r->min[j], f);
    for (int k = 0; k < 3; k++)
        if (!k || at[k] != at[k - 1])
            put_number((double)r->quantile[(size_t)j * r->q + at[k]], f);
    put_number((double)r->max[j], f);
    put_number(r->mean[j], f);
    put_number(r->deviation[j], f);
    fprintf(f, " %8.3g %8.3g", r->skewness[j], r->kurtosis[j]);
    if (top > r->top_error[j])
        fprintf(f, "  %.6g (%s)", (double)r->top_value[(size_t)j * r->h],
                percent(top, r->count[j], three));
    fputc('\n', f);
}

void report_text(const struct report *r, FILE *f)
{
    const uint32_t at[3] = {report_nearest(r, 0.05), report_nearest(r, 0.5),
                            report_nearest(r, 0.95)};
    struct report_pair pair[STRONGEST];
    const uint32_t pairs = report_strongest(r, pair, STRONGEST);
    char one[NAME_MAX_BYTES], two[NAME_MAX_BYTES];

    fputs("columns\n", f);
    text_head(r, at, f);
    for (uint32_t j = 0; j < r->d; j++)
        text_column(r, at, j, f);
    if (pairs)
        fputs("strongest correlations\n", f);
    for (uint32_t k = 0; k < pairs; k++)
        fprintf(f, "  %+.4f  %s  %s\n", pair[k].r, report_name(r, pair[k].j, one, sizeof one),
                report_name(r, pair[k].i, two, sizeof two));
}
