#include "config/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 4096 };

static enum st bad(const struct opt *o, const char *text, struct err *e)
{
    char want[256] = "";
    size_t n = 0;

    switch (o->type) {
    case OPT_BOOL:
        snprintf(want, sizeof want, "true or false");
        break;
    case OPT_ENUM:
        for (uint32_t i = 0; o->names[i] && n < sizeof want; i++)
            n += (size_t)snprintf(want + n, sizeof want - n, "%s%s", i ? " | " : "", o->names[i]);
        break;
    case OPT_STR:
        snprintf(want, sizeof want, "a text of at most %zu bytes", o->bytes - 1);
        break;
    case OPT_MS:
        snprintf(want, sizeof want, "a time such as 250ms, 5s, 10m, 2h, 7d, or 0");
        break;
    case OPT_BYTES:
        snprintf(want, sizeof want, "a size such as 64K, 16M or 4G");
        break;
    default:
        if (o->min < o->max)
            snprintf(want, sizeof want, "%g..%g%s%s", o->min, o->max, o->names ? " or " : "",
                     o->names ? o->names[0] : "");
        else
            snprintf(want, sizeof want, "a number%s%s", o->names ? " or " : "",
                     o->names ? o->names[0] : "");
    }
    return fail(e, ST_BAD_CONFIG, "'%s' must be %s, got '%.80s'", o->name, want, text);
}

/* Numbers are read in the C locale whatever the user's is. */
static bool number(const char *text, double *v)
{
    static locale_t c;
    char *end;

    if (!c)
        c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!(isdigit((unsigned char)*text) || *text == '-' || *text == '+' || *text == '.'))
        return false;
    *v = strtod_l(text, &end, c);
    return end != text && !*end && isfinite(*v);
}

static bool whole(const char *text, uint64_t *v)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    *v = strtoull(text, &end, 10);
    return !*end && !errno;
}

static bool in_range(const struct opt *o, double v)
{
    return !(o->min < o->max) || (v >= o->min && v <= o->max);
}

static bool with_unit(const char *text, const char *const *unit, const uint64_t *factor,
                      uint64_t *v)
{
    char *end;
    unsigned long long n;

    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno)
        return false;
    for (uint32_t i = 0; unit[i]; i++)
        if (!strcmp(end, unit[i]) && (n == 0 || factor[i] <= UINT64_MAX / n)) {
            *v = n * factor[i];
            return *unit[i] || n == 0 || factor[i] == 1;
        }
    return false;
}

static enum st set_list(const struct opt *o, struct f32s *list, const char *text, bool append,
                        struct err *e)
{
    char copy[TEXT_MAX], *save = NULL;
    double v;

    if (!append)
        list->n = 0;
    if (strlen(text) >= sizeof copy)
        return bad(o, text, e);
    memcpy(copy, text, strlen(text) + 1);
    for (char *w = strtok_r(copy, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
        if (!number(w, &v) || !in_range(o, v) || fabs(v) > 3e38)
            return bad(o, w, e);
        if (list->n == LIST_MAX)
            return fail(e, ST_BAD_CONFIG, "'%s' has more than %d values", o->name, LIST_MAX);
        list->v[list->n++] = (float)v;
    }
    return list->n ? ST_OK : bad(o, text, e);
}

static enum st set_scalar(const struct opt *o, void *at, const char *text, struct err *e)
{
    static const char *const time_unit[] = {"ms", "s", "m", "h", "d", "", NULL},
                             *const size_unit[] = {"", "K", "M", "G", "T", NULL};
    static const uint64_t time_ms[] = {1, 1000, 60000, 3600000, 86400000, 0},
                          size_bytes[] = {1, 1u << 10, 1u << 20, 1u << 30, (uint64_t)1 << 40};
    uint64_t u = 0;
    double v = 0;

    switch (o->type) {
    case OPT_BOOL:
        if (strcmp(text, "true") && strcmp(text, "false"))
            return bad(o, text, e);
        *(bool *)at = *text == 't';
        return ST_OK;
    case OPT_U32:
    case OPT_U64:
        if (o->names && !strcmp(text, o->names[0]))
            u = 0;
        else if (!whole(text, &u) || !in_range(o, (double)u) ||
                 (o->type == OPT_U32 && u > UINT32_MAX))
            return bad(o, text, e);
        if (o->type == OPT_U32)
            *(uint32_t *)at = (uint32_t)u;
        else
            *(uint64_t *)at = u;
        return ST_OK;
    case OPT_F32:
        if (!number(text, &v) || !in_range(o, v) || fabs(v) > 3e38)
            return bad(o, text, e);
        *(float *)at = (float)v;
        return ST_OK;
    case OPT_ENUM:
        for (uint32_t i = 0; o->names[i]; i++)
            if (!strcmp(text, o->names[i])) {
                *(uint32_t *)at = i;
                return ST_OK;
            }
        return bad(o, text, e);
    case OPT_STR:
        if (strlen(text) >= o->bytes)
            return bad(o, text, e);
        memcpy(at, text, strlen(text) + 1);
        return ST_OK;
    case OPT_MS:
        return with_unit(text, time_unit, time_ms, at) ? ST_OK : bad(o, text, e);
    case OPT_BYTES:
        return with_unit(text, size_unit, size_bytes, at) ? ST_OK : bad(o, text, e);
    case OPT_F32S:
        break;
    }
    CHECK(false);
    return ST_OK;
}

enum st opt_set(const struct opt *o, void *out, const char *text, bool append, struct err *e)
{
    void *at = (char *)out + o->at;

    if (o->type == OPT_F32S)
        return set_list(o, at, text, append, e);
    if (append)
        return fail(e, ST_BAD_CONFIG, "'%s' takes one value, not a list", o->name);
    return set_scalar(o, at, text, e);
}

void opts_defaults(const struct opt *o, void *out)
{
    struct err e;

    for (; o->name; o++)
        if (o->def)
            CHECK(opt_set(o, out, o->def, false, &e) == ST_OK);
}

const struct opt *opt_find(const struct opt *o, const char *name)
{
    for (; o->name; o++)
        if (!strcmp(o->name, name))
            return o;
    return NULL;
}

/* The shortest decimal that reads back as the same float: 0.1, not 0.100000001. */
static int float_text(char *text, size_t n, float v)
{
    int digits = 6, len = snprintf(text, n, "%.6g", (double)v);

    while (digits < 9 && strtof(text, NULL) != v)
        len = snprintf(text, n, "%.*g", ++digits, (double)v);
    return len;
}

static void list_text(const struct f32s *list, char *text, size_t n)
{
    size_t used = 0;

    for (uint32_t i = 0; i < list->n && used + 2 < n; i++) {
        if (i)
            text[used++] = ',';
        used += (size_t)float_text(text + used, n - used, list->v[i]);
    }
}

const char *opt_text(const struct opt *o, const void *in, char *text, size_t n)
{
    const void *at = (const char *)in + o->at;
    uint64_t u;

    CHECK(n);
    *text = 0;
    switch (o->type) {
    case OPT_BOOL:
        snprintf(text, n, "%s", *(const bool *)at ? "true" : "false");
        break;
    case OPT_U32:
    case OPT_U64:
        u = o->type == OPT_U32 ? *(const uint32_t *)at : *(const uint64_t *)at;
        if (!u && o->names)
            snprintf(text, n, "%s", o->names[0]);
        else
            snprintf(text, n, "%" PRIu64, u);
        break;
    case OPT_F32:
        float_text(text, n, *(const float *)at);
        break;
    case OPT_F32S:
        list_text(at, text, n);
        break;
    case OPT_ENUM:
        snprintf(text, n, "%s", o->names[*(const uint32_t *)at]);
        break;
    case OPT_STR:
        snprintf(text, n, "%s", (const char *)at);
        break;
    case OPT_MS:
        snprintf(text, n, "%" PRIu64 "ms", *(const uint64_t *)at);
        break;
    case OPT_BYTES:
        snprintf(text, n, "%" PRIu64, *(const uint64_t *)at);
        break;
    }
    return text;
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours; cut off
 * at 64 letters. */
static uint32_t distance(const char *a, const char *b)
{
    uint32_t d[65][65], la = (uint32_t)strlen(a), lb = (uint32_t)strlen(b);

    if (la > 64 || lb > 64)
        return UINT32_MAX;
    for (uint32_t i = 0; i <= la; i++)
        d[i][0] = i;
    for (uint32_t j = 0; j <= lb; j++)
        d[0][j] = j;
    for (uint32_t i = 1; i <= la; i++)
        for (uint32_t j = 1; j <= lb; j++) {
            uint32_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[la][lb];
}

const char *suggest(const char *word, const char *const *words)
{
    const char *near = NULL;
    uint32_t least = 3;

    for (; *words; words++) {
        size_t n = strlen(word) < strlen(*words) ? strlen(word) : strlen(*words);
        uint32_t d = distance(word, *words);

        if (d < least && d < strlen(word)) {
            least = d;
            near = *words;
        } else if (!near && n >= 3 && !strncmp(word, *words, n)) {
            near = *words;
        }
    }
    return near;
}
