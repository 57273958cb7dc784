/* report_html.c: the page. Colours come from the reader's light or dark; nothing is fetched and
 * nothing runs, so the file may be mailed and kept. */
#include "consumer/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

enum {
    PLOT_WIDTH = 160,
    PLOT_HEIGHT = 40,
    CELL = 18,      /* of the heat map */
    HEAT_MAX = 128, /* columns of it: 8,000 cells */
    PAIRS_SHOWN = 20,
    TOP_SHOWN = 5
};

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c2330;--soft:#5d6778;--line:#d9dee7;--paper:#fff;"
    "--tint:#f4f6fa;--bar:#3b6fb6;--mark:#b3541e;--plus:#2563b8;--minus:#c2410c}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b5;--line:#333c4b;"
    "--paper:#14181f;--tint:#1c222c;--bar:#7aa7e8;--mark:#f0a060;--plus:#5b9bf0;--minus:#f0803c}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;padding:1.5rem;max-width:110rem;background:var(--paper);color:var(--ink);"
    "font:14px/1.45 system-ui,sans-serif}"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .6rem}"
    "p{margin:.3rem 0;color:var(--soft)}"
    "dl{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0 0}"
    "dl div{background:var(--tint);border:1px solid var(--line);border-radius:6px;"
    "padding:.5rem .9rem}dt{color:var(--soft);font-size:.8rem}"
    "dd{margin:0;font-size:1.15rem;font-variant-numeric:tabular-nums}"
    ".wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{padding:.35rem .6rem;text-align:right;white-space:nowrap;"
    "border-top:1px solid var(--line);font-variant-numeric:tabular-nums}"
    "thead th{border-top:0;background:var(--tint);font-weight:600;font-size:.8rem}"
    "th:first-child{position:sticky;left:0;background:var(--paper);text-align:left;"
    "max-width:18rem;overflow:hidden;text-overflow:ellipsis}"
    "thead th:first-child{background:var(--tint)}td.left,th.left{text-align:left}"
    "svg{display:block}svg text{fill:var(--soft);font:10px system-ui,sans-serif}"
    ".bar{fill:var(--bar)}.track{fill:var(--line)}.line{stroke:var(--soft)}"
    ".box{fill:var(--bar);fill-opacity:.35}.mark{fill:var(--mark)}"
    ".plus{fill:var(--plus)}.minus{fill:var(--minus)}small{color:var(--soft)}";

static void put_text(FILE *f, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '&':
            fputs("&amp;", f);
            break;
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        case '\'':
            fputs("&#39;", f);
            break;
        default:
            fputc((unsigned char)*s < ' ' ? ' ' : *s, f);
        }
}

static void put_name(const struct report *r, uint32_t j, FILE *f)
{
    char name[NAME_MAX_BYTES];

    put_text(f, report_name(r, j, name, sizeof name));
}

/* 1234567 as 1,234,567 */
static void put_count(double v, FILE *f)
{
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%.0f", v < 1e18 ? v : 1e18);

    for (int i = 0; i < n; i++)
        fprintf(f, "%s%c", i && (n - i) % 3 == 0 ? "," : "", digits[i]);
}

static void put_percent(double part, double all, FILE *f)
{
    const double v = all > 0 ? 100 * part / all : 0;

    if (part > 0 && v < 0.01)
        fputs("&lt;0.01&#8239;%", f);
    else
        fprintf(f, "%.*f&#8239;%%", v < 10 && v > 0 ? 2 : v == 0 ? 0 : 1, v);
}

/* ---- plots of one column ---- */

static void plot_open(int width, int height, const char *what, FILE *f)
{
    fprintf(f,
            "<svg width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
            "aria-label=\"%s\">",
            width, height, width, height, what);
}

static void plot_histogram(const struct report *r, uint32_t j, FILE *f)
{
    const double *bin = r->histogram + (size_t)j * r->n, step = (double)PLOT_WIDTH / r->n;
    const double low = (double)r->min[j], wide = ((double)r->max[j] - low) / r->n;
    double most = 0;

    for (uint32_t b = 0; b < r->n; b++)
        most = fmax(most, bin[b]);
    plot_open(PLOT_WIDTH, PLOT_HEIGHT, "histogram", f);
    fprintf(f, "<rect class=\"track\" y=\"%d\" width=\"%d\" height=\"1\"/>", PLOT_HEIGHT - 1,
            PLOT_WIDTH);
    for (uint32_t b = 0; b < r->n; b++) {
        const double tall = most > 0 ? bin[b] / most * (PLOT_HEIGHT - 2) : 0;

        if (!(bin[b] > 0))
            continue;
        fprintf(f,
                "<rect class=\"bar\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>"
                "%.5g to %.5g: %.0f</title></rect>",
                step * b, PLOT_HEIGHT - 1 - fmax(tall, 0.6), fmax(step - 0.6, 0.3), fmax(tall, 0.6),
                low + wide * b, low + wide * (b + 1), bin[b]);
    }
    fputs("</svg>", f);
}

/* Where v is between the extremes, in the plot. */
static double place(const struct report *r, uint32_t j, double v)
{
    const double low = (double)r->min[j], wide = (double)r->max[j] - low;

    return wide > 0 ? 3 + (v - low) / wide * (PLOT_WIDTH - 6) : PLOT_WIDTH / 2;
}

/* From least to greatest a line, between the quarters a box, at each quantile a tick, the median
 * marked. */
static void plot_quantiles(const struct report *r, uint32_t j, FILE *f)
{
    const float *at = r->quantile + (size_t)j * r->q;
    const uint32_t median = report_nearest(r, 0.5);
    const double a = place(r, j, (double)at[report_nearest(r, 0.25)]);
    const double b = place(r, j, (double)at[report_nearest(r, 0.75)]);

    plot_open(PLOT_WIDTH, PLOT_HEIGHT, "quantiles", f);
    fprintf(f,
            "<line class=\"line\" x1=\"3\" x2=\"%d\" y1=\"20\" y2=\"20\"/>"
            "<rect class=\"box\" x=\"%.2f\" y=\"10\" width=\"%.2f\" height=\"20\"/>",
            PLOT_WIDTH - 3, a, fmax(b - a, 1));
    for (uint32_t k = 0; k < r->q; k++)
        fprintf(f,
                "<rect class=\"%s\" x=\"%.2f\" y=\"%d\" width=\"2\" height=\"%d\"><title>%.4g%%: "
                "%.6g</title></rect>",
                k == median ? "mark" : "bar", place(r, j, (double)at[k]) - 1, k == median ? 7 : 13,
                k == median ? 26 : 14, 100 * (double)r->share[k], (double)at[k]);
    fputs("</svg>", f);
}

static void plot_missing(double share, FILE *f)
{
    plot_open(60, 6, "share that is missing", f);
    fprintf(f,
            "<rect class=\"track\" width=\"60\" height=\"6\" rx=\"2\"/>"
            "<rect class=\"mark\" width=\"%.2f\" height=\"6\" rx=\"2\"/></svg>",
            60 * share);
}

/* ---- the table ---- */

static void put_frequent(const struct report *r, uint32_t j, FILE *f)
{
    const double *n = r->top_count + (size_t)j * r->h;
    uint32_t shown = 0;

    fputs("<td class=\"left\">", f);
    for (uint32_t k = 0; k < r->h && k < TOP_SHOWN && n[k] > r->top_error[j]; k++, shown++) {
        fprintf(f, "%s%.6g <small>", k ? ", " : "", (double)r->top_value[(size_t)j * r->h + k]);
        put_percent(n[k], r->count[j], f);
        fputs("</small>", f);
    }
    fputs(shown ? "</td>" : "<small>none</small></td>", f);
}

static void put_row(const struct report *r, uint32_t j, FILE *f)
{
    const double all = r->count[j] + r->missing[j];

    fputs("<tr><th scope=\"row\">", f);
    put_name(r, j, f);
    fputs("</th><td>", f);
    put_count(r->count[j], f);
    fputs("</td><td>", f);
    plot_missing(all > 0 ? r->missing[j] / all : 0, f);
    put_percent(r->missing[j], all, f);
    if (!(r->count[j] > 0)) {
        fputs("</td><td class=\"left\" colspan=\"12\"><small>no value</small></td></tr>\n", f);
        return;
    }
    fputs("</td><td>", f);
    plot_histogram(r, j, f);
    fputs("</td><td>", f);
    plot_quantiles(r, j, f);
    fputs("</td><td>", f);
    put_percent(r->zeros[j], r->count[j], f);
    fputs("</td><td>", f);
    put_count(r->distinct[j], f);
    fprintf(f,
            "</td><td>%.7g</td><td>%.7g</td><td>%.7g</td><td>%.7g</td><td>%.5g</td><td>%.4g</td>"
            "<td>%.4g</td>",
            (double)r->min[j], (double)r->quantile[(size_t)j * r->q + report_nearest(r, 0.5)],
            (double)r->max[j], r->mean[j], r->deviation[j], r->skewness[j], r->kurtosis[j]);
    put_frequent(r, j, f);
    fputs("</tr>\n", f);
}

static void put_table(const struct report *r, FILE *f)
{
    fputs("<h2>Columns</h2><div class=\"wide\"><table><thead><tr><th scope=\"col\">column</th>"
          "<th scope=\"col\">rows</th><th scope=\"col\">missing</th>"
          "<th scope=\"col\" class=\"left\">histogram</th>"
          "<th scope=\"col\" class=\"left\">quantiles</th><th scope=\"col\">zeros</th>"
          "<th scope=\"col\">distinct</th><th scope=\"col\">min</th>",
          f);
    fprintf(f, "<th scope=\"col\">%.4g%%</th>", 100 * (double)r->share[report_nearest(r, 0.5)]);
    fputs("<th scope=\"col\">max</th><th scope=\"col\">mean</th><th scope=\"col\">deviation</th>"
          "<th scope=\"col\">skewness</th><th scope=\"col\">kurtosis</th>"
          "<th scope=\"col\" class=\"left\">most frequent</th></tr></thead><tbody>\n",
          f);
    for (uint32_t j = 0; j < r->d; j++)
        put_row(r, j, f);
    fputs("</tbody></table></div>\n", f);
}

/* ---- correlation ---- */

static void put_cell(const struct report *r, uint32_t i, uint32_t j, int left, FILE *f)
{
    const double c = r->correlation[(size_t)i * r->d + j];

    fprintf(f,
            "<rect class=\"%s\" fill-opacity=\"%.3f\" x=\"%d\" y=\"%d\" width=\"%d\" "
            "height=\"%d\"><title>",
            c < 0 ? "minus" : "plus", fabs(c), left + (int)j * CELL, (int)i * CELL, CELL - 1,
            CELL - 1);
    put_name(r, i, f);
    fputs(", ", f);
    put_name(r, j, f);
    fprintf(f, ": %+.4f</title></rect>", c);
}

static void put_heat(const struct report *r, FILE *f)
{
    const int side = (int)r->d * CELL, left = 150;

    fputs("<div class=\"wide\">", f);
    plot_open(left + side + 4, side + 130, "correlation of every two columns", f);
    for (uint32_t i = 0; i < r->d; i++) {
        fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", left - 6, (int)i * CELL + 12);
        put_name(r, i, f);
        fprintf(f, "</text><text text-anchor=\"end\" transform=\"translate(%d %d) rotate(-60)\">",
                left + (int)i * CELL + 12, side + 8);
        put_name(r, i, f);
        fputs("</text>", f);
        fprintf(f,
                "<rect fill=\"none\" stroke=\"var(--line)\" x=\"%d\" y=\"%d\" width=\"%d\" "
                "height=\"%d\"/>",
                left, (int)i * CELL, side - 1, CELL - 1);
        for (uint32_t j = 0; j < r->d; j++)
            put_cell(r, i, j, left, f);
        fputc('\n', f);
    }
    fputs("</svg></div>\n", f);
}

static void put_pairs(const struct report *r, FILE *f)
{
    struct report_pair pair[PAIRS_SHOWN];
    const uint32_t n = report_strongest(r, pair, PAIRS_SHOWN);

    if (!n)
        return;
    fputs("<h2>Strongest correlations</h2><div class=\"wide\"><table><thead><tr>"
          "<th scope=\"col\">column</th><th scope=\"col\" class=\"left\">with</th>"
          "<th scope=\"col\">correlation</th></tr></thead><tbody>\n",
          f);
    for (uint32_t k = 0; k < n; k++) {
        fputs("<tr><th scope=\"row\">", f);
        put_name(r, pair[k].j, f);
        fputs("</th><td class=\"left\">", f);
        put_name(r, pair[k].i, f);
        fprintf(f, "</td><td>%+.4f</td></tr>\n", pair[k].r);
    }
    fputs("</tbody></table></div>\n", f);
}

static void put_correlation(const struct report *r, FILE *f)
{
    if (!r->correlation || r->d < 2)
        return;
    fputs("<h2>Correlation</h2><p>Of the rows where both columns have a value; 0 where one of them "
          "is constant. Blue is positive, orange negative.</p>\n",
          f);
    if (r->d <= HEAT_MAX)
        put_heat(r, f);
    else
        fprintf(f, "<p>%u columns are too many for a picture: the JSON export has all.</p>\n",
                r->d);
    put_pairs(r, f);
}

/* ---- the page ---- */

static void put_tile(const char *name, double v, bool share, FILE *f)
{
    fprintf(f, "<div><dt>%s</dt><dd>", name);
    if (share)
        put_percent(v, 1, f);
    else
        put_count(v, f);
    fputs("</dd></div>", f);
}

static void put_head(const struct report *r, FILE *f)
{
    const struct model *m = r->m;
    const time_t t = (time_t)(m->created_ms / 1000);
    double rows = 0, values = 0, missing = 0, constant = 0;
    struct tm tm;
    char when[32];

    for (uint32_t j = 0; j < r->d; j++) {
        rows = fmax(rows, r->count[j] + r->missing[j]);
        values += r->count[j];
        missing += r->missing[j];
        constant += r->count[j] > 0 && r->min[j] == r->max[j];
    }
    gmtime_r(&t, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    fputs("<h1>", f);
    put_text(f, m->topic);
    fputs("</h1><p>model ", f);
    fprintf(f, "%" PRIu64 " of job ", m->version);
    put_text(f, m->job);
    fprintf(f, ", made %s by millrace ", when);
    put_text(f, m->millrace);
    fprintf(f, " from %" PRIu64 " records of %" PRIu32 " partitions</p><dl>", m->records,
            m->ranges);
    put_tile("rows", rows, false, f);
    put_tile("columns", r->d, false, f);
    put_tile("values", values, false, f);
    put_tile("missing", values + missing > 0 ? missing / (values + missing) : 0, true, f);
    put_tile("constant columns", constant, false, f);
    fputs("</dl>\n", f);
}

void report_html(const struct report *r, FILE *f)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>",
          f);
    put_text(f, r->m->topic);
    fputs(": columns</title><style>", f);
    fputs(style, f);
    fputs("</style></head><body>\n", f);
    put_head(r, f);
    put_table(r, f);
    put_correlation(r, f);
    fputs(
        "<h2>How to read it</h2><p>Rows, missing, zeros, min, max, mean, deviation, skewness and "
        "kurtosis (0 for a normal distribution) are exact but for rounding; the deviation divides "
        "by the weight of the rows. Quantiles and histograms come from a KLL sketch, distinct "
        "values from HyperLogLog, frequent ones from a Misra-Gries summary: their errors are "
        "those of the job's options. Values are float32.</p></body></html>\n",
        f);
}
