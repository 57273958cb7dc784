/* json.h: the two leaves of JSON that need care. Thread: any. */
#ifndef MILLRACE_JSON_H
#define MILLRACE_JSON_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>

/* A string with its quotes; s is UTF-8. */
static inline void json_text(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++)
        if ((uint8_t)*s < ' ')
            fprintf(f, "\\u%04x", (unsigned)(uint8_t)*s);
        else
            fprintf(f, "%s%c", *s == '"' || *s == '\\' ? "\\" : "", *s);
    fputc('"', f);
}

/* null where JSON has no such number. */
static inline void json_number(FILE *f, double v, int digits)
{
    if (isfinite(v))
        fprintf(f, "%.*g", digits, v);
    else
        fputs("null", f);
}

#endif
