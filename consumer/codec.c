#include "consumer/codec.h"

const char *bad_name(enum bad b)
{
    static const char *const name[] = {
        [BAD_NONE] = "none",           [BAD_FULL] = "full",       [BAD_TRUNCATED] = "truncated",
        [BAD_TRAILING] = "trailing",   [BAD_FRAMING] = "framing", [BAD_VALUE] = "value",
        [BAD_NONFINITE] = "nonfinite", [BAD_LABEL] = "label",     [BAD_WEIGHT] = "weight",
        [BAD_WIDTH] = "width",         [BAD_INDEX] = "index",     [BAD_TOO_LONG] = "too_long",
        [BAD_TOO_MANY] = "too_many",   [BAD_MISSING] = "missing",
    };

    static_assert(sizeof name / sizeof *name == BAD_REASONS, "a name for every reason");
    CHECK((unsigned)b < BAD_REASONS);
    return name[b];
}

const char *bytes_shown(const uint8_t *p, size_t n, char text[36])
{
    size_t shown = n < 32 ? n : 32, at = 0;

    for (; at < shown; at++)
        text[at] = p[at] >= 32 && p[at] < 127 ? (char)p[at] : '.';
    if (shown < n)
        for (int i = 0; i < 3; i++)
            text[at++] = '.';
    text[at] = 0;
    return text;
}
