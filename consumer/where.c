#include "consumer/where.h"

#include "config/base/clock.h"
#include "config/options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const words[] = {"earliest", "latest", "stored", NULL};

/* Digits only: *v and what follows them; NULL: there are none, or too many. */
static const char *number(const char *p, uint32_t most, int64_t *v)
{
    const char *from = p;

    *v = 0;
    for (; isdigit((unsigned char)*p) && p - from < (int64_t)most; p++)
        *v = *v * 10 + (*p - '0');
    return p == from || isdigit((unsigned char)*p) ? NULL : p;
}

/* ":" and two digits below a limit; *p moves behind them. */
static bool two(const char **p, const char *before, int64_t limit, int64_t *v)
{
    size_t n = strlen(before);
    const char *q = *p + n;

    if (strncmp(*p, before, n) || !isdigit((unsigned char)q[0]) || !isdigit((unsigned char)q[1]))
        return false;
    *v = (q[0] - '0') * 10 + (q[1] - '0');
    *p = q + 2;
    return *v < limit;
}

/* "Z" or "+02:00"; false: it is none. */
static bool zone(const char *p, int64_t *ms)
{
    int64_t h = 0, m = 0;
    int sign = *p == '-' ? -1 : 1;

    *ms = 0;
    if (!strcmp(p, "Z"))
        return true;
    if (*p != '+' && *p != '-')
        return false;
    p++;
    if (!two(&p, "", 24, &h) || (*p && !two(&p, *p == ':' ? ":" : "", 60, &m)) || *p)
        return false;
    *ms = sign * (h * 60 + m) * 60000;
    return true;
}

/* Seconds since 1970 of a time in UTC; -1: there is no such day. */
static int64_t seconds_of(int64_t y, int64_t mon, int64_t d, int64_t s)
{
    struct tm t = {.tm_year = (int)y - 1900, .tm_mon = (int)mon - 1, .tm_mday = (int)d};
    int64_t day = timegm(&t); /* where February has no 29th, the 1st of March */

    return t.tm_mday == d ? day + s : -1;
}

static enum st time_of(const char *text, int64_t *ms, struct err *e)
{
    static const char form[] = "2026-01-01T00:00:00Z, or milliseconds since 1970";
    int64_t y, mon, d, h, min, s = 0, fraction = 0, scale = 1000, shift, utc = -1;
    const char *p = number(text, 15, ms);

    if (p && !*p)
        return ST_OK;
    p = number(text, 4, &y);
    if (p && y >= 1970 && two(&p, "-", 13, &mon) && mon && two(&p, "-", 32, &d) && d &&
        two(&p, *p == ' ' ? " " : "T", 24, &h) && two(&p, ":", 60, &min) &&
        (*p != ':' || two(&p, ":", 60, &s)))
        utc = seconds_of(y, mon, d, (h * 60 + min) * 60 + s);
    if (utc < 0)
        return fail(e, ST_BAD_CONFIG, "'%.40s' is no time: expected %s", text, form);
    if (*p == '.')
        for (p++; isdigit((unsigned char)*p); p++)
            fraction += (*p - '0') * (scale /= 10);
    if (!*p)
        return fail(e, ST_BAD_CONFIG, "'%.40s' has no zone: append Z for UTC, or +02:00", text);
    if (!zone(p, &shift))
        return fail(e, ST_BAD_CONFIG, "'%.40s' is no time: expected %s", text, form);
    *ms = utc * 1000 + fraction - shift;
    return *ms >= 0 ? ST_OK : fail(e, ST_BAD_CONFIG, "'%.40s' is before 1970", text);
}

/* P1DT2H3M4S; every part may be absent, but not all of them. */
static enum st duration(const char *text, int64_t *ms, struct err *e)
{
    static const struct {
        char letter;
        bool of_day; /* behind the T */
        int64_t ms;
    } unit[] = {{'W', false, 604800000},
                {'D', false, 86400000},
                {'H', true, 3600000},
                {'M', true, 60000},
                {'S', true, 1000}};
    const char *p = text + 1;
    bool of_day = false, good = *text == 'P';
    size_t at = 0;

    *ms = 0;
    while (good && *p) {
        int64_t v;

        if (!of_day && *p == 'T') {
            of_day = true;
            p++;
        }
        p = number(p, 9, &v);
        while (p && at < sizeof unit / sizeof *unit &&
               (unit[at].letter != *p || unit[at].of_day != of_day))
            at++;
        good = p && at < sizeof unit / sizeof *unit;
        if (good) {
            *ms += v * unit[at++].ms;
            p++;
        }
    }
    if (good && at)
        return ST_OK;
    return fail(e, ST_BAD_CONFIG,
                "'-%.40s' is no duration back from now: expected such as -PT1H, -PT30M, -P1D or "
                "-P1DT12H (months and years have no fixed length)",
                text);
}

enum st where_parse(const char *text, struct where *out, struct err *e)
{
    const char *p = number(text, 18, &out->value), *near;

    out->kind = WHERE_OFFSET;
    if (p && !*p)
        return ST_OK;
    out->value = 0;
    for (uint32_t i = 0; words[i]; i++)
        if (!strcmp(text, words[i])) {
            out->kind = WHERE_EARLIEST + i;
            return ST_OK;
        }
    out->kind = *text == '@' ? WHERE_TIME : WHERE_AGO;
    if (*text == '@')
        return time_of(text + 1, &out->value, e);
    if (*text == '-' && (text[1] == 'P' || isdigit((unsigned char)text[1])))
        return duration(text + 1, &out->value, e);
    near = suggest(text, words);
    return fail(e, ST_BAD_CONFIG,
                "'%.40s' is not earliest, latest, stored, an offset, @TIME or -PT1H%s%s%s", text,
                near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

const char *where_text(struct where w, char text[WHERE_TEXT])
{
    switch ((enum where_kind)w.kind) {
    case WHERE_NONE:
    case WHERE_EARLIEST:
    case WHERE_LATEST:
    case WHERE_STORED:
        snprintf(text, WHERE_TEXT, "%s", words[w.kind ? w.kind - WHERE_EARLIEST : 0]);
        return text;
    case WHERE_OFFSET:
        snprintf(text, WHERE_TEXT, "%" PRId64, w.value);
        return text;
    case WHERE_TIME:
        snprintf(text, WHERE_TEXT, "@%" PRId64, w.value);
        return text;
    case WHERE_AGO:
        snprintf(text, WHERE_TEXT, "-PT%" PRId64 "S", w.value / 1000);
        return text;
    }
    snprintf(text, WHERE_TEXT, "something that this program does not know");
    return text;
}

int64_t where_time(struct where w)
{
    int64_t now = clock_wall_ms();

    CHECK(w.kind == WHERE_TIME || w.kind == WHERE_AGO);
    return w.kind == WHERE_TIME ? w.value : now > w.value ? now - w.value : 0;
}

enum st where_offset(struct where w, const struct broker *br, void *b, const char *group,
                     const char *topic, int32_t partition, int64_t *offset, bool *exact,
                     struct err *e)
{
    struct offset_commit *o;
    int64_t low, high, asked;
    enum st st;

    TRY(br->watermarks(b, topic, partition, false, &low, &high, e));
    asked = low;
    if (w.kind == WHERE_LATEST) {
        asked = high;
    } else if (w.kind == WHERE_OFFSET) {
        asked = w.value;
    } else if (w.kind == WHERE_TIME || w.kind == WHERE_AGO) {
        TRY(br->offset_at(b, topic, partition, where_time(w), &asked, e));
    } else if (w.kind == WHERE_STORED) {
        o = calloc((size_t)partition + 1, sizeof *o);
        if (!o)
            return fail(e, ST_FATAL, "no memory for committed offsets");
        st = br->committed(b, group, topic, o, (uint32_t)partition + 1, e);
        asked = o[partition].offset;
        free(o);
        TRY(st);
    }
    *offset = asked < low ? low : asked > high ? high : asked;
    if (exact)
        *exact = *offset == asked;
    return ST_OK;
}
