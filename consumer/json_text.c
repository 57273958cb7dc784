#include "consumer/json_text.h"

enum bad json_expected(struct json_text *t, const char *what)
{
    t->what = what;
    return t->p < t->end ? BAD_VALUE : BAD_TRUNCATED;
}

/* ---- numbers ---- */

struct decimal { /* digits * 10^exp10, if there are at most 18 digits but zeros in front */
    uint64_t digits;
    int32_t exp10;
    uint32_t count;
    bool negative;
};

/* Adds the digits that are there; none is an error. */
static enum bad add_digits(struct json_text *t, struct decimal *d, const char *what)
{
    const uint8_t *start = t->p;

    for (; t->p < t->end && json_digit(*t->p); t->p++) {
        d->digits = d->digits * 10 + (uint64_t)(*t->p - '0');
        d->count += d->digits > 0;
    }
    return t->p > start ? BAD_NONE : json_expected(t, what);
}

static enum bad exponent(struct json_text *t, struct decimal *d)
{
    struct decimal e = {0};
    enum bad bad;

    t->p++;
    if (t->p < t->end && (*t->p == '-' || *t->p == '+'))
        e.negative = *t->p++ == '-';
    bad = add_digits(t, &e, "a digit is needed");
    if (e.count > 5)
        e.digits = 100000;
    d->exp10 += e.negative ? -(int32_t)e.digits : (int32_t)e.digits;
    return bad;
}

static enum bad decimal(struct json_text *t, struct decimal *d)
{
    const uint8_t *start;
    enum bad bad;

    *d = (struct decimal){.negative = t->p < t->end && *t->p == '-'};
    start = t->p += d->negative;
    bad = add_digits(t, d, "a number is needed");
    if (!bad && *start == '0' && t->p - start > 1)
        bad = json_expected(t, "a number that begins with 0 goes on");
    start = t->p + 1;
    if (!bad && t->p < t->end && *t->p == '.') {
        t->p++;
        bad = add_digits(t, d, "a digit is needed");
        d->exp10 = (int32_t)(start - t->p);
    }
    if (!bad && t->p < t->end && (*t->p | 32) == 'e')
        bad = exponent(t, d);
    return bad;
}

enum bad json_float(struct json_text *t, float *v)
{
    const uint8_t *start = t->p;
    struct decimal d;
    enum bad bad = decimal(t, &d);

    if (bad)
        return bad;
    if (d.count <= 18 && d.exp10 >= -22 && d.exp10 <= 22 &&
        json_nearest(d.digits, d.exp10, d.negative, v))
        return BAD_NONE;
    if (number_f32(start, (size_t)(t->p - start), v))
        return BAD_NONE;
    t->what = "a number of more than 255 bytes";
    return BAD_TOO_LONG;
}

/* ---- text ---- */

static bool is_hex(uint8_t c)
{
    return json_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

static enum bad skip_escape(struct json_text *t)
{
    uint8_t c;

    t->p++;
    if (t->p == t->end || !*t->p || !strchr("\"\\/bfnrtu", *t->p))
        return json_expected(t, "no such escape:");
    c = *t->p++;
    for (int i = 0; c == 'u' && i < 4; i++, t->p++)
        if (t->p == t->end || !is_hex(*t->p))
            return json_expected(t, "four hexadecimal digits are needed");
    return BAD_NONE;
}

/* To the first byte that is a quote, a backslash or below a blank: of eight bytes at once, the
 * lowest high bit that is set in `hit` is its. */
static void skip_plain(struct json_text *t)
{
    const uint64_t ones = 0x0101010101010101u, tops = ones << 7;

    for (; t->end - t->p >= 8; t->p += 8) {
        uint64_t w = get_u64(t->p), quote = w ^ ones * '"', slash = w ^ ones * '\\';
        uint64_t hit =
            (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ones * ' ') & ~w)) &
            tops;

        if (hit) {
            t->p += __builtin_ctzll(hit) >> 3;
            return;
        }
    }
    while (t->p < t->end && *t->p >= ' ' && *t->p != '"' && *t->p != '\\')
        t->p++;
}

enum bad json_string(struct json_text *t, struct json_value *v)
{
    *v = (struct json_value){.kind = JSON_STRING};
    if (t->p == t->end || *t->p != '"')
        return json_expected(t, "text in quotes is needed");
    v->text.p = ++t->p;
    for (skip_plain(t); t->p < t->end && *t->p == '\\'; skip_plain(t)) {
        enum bad bad = skip_escape(t);

        if (bad)
            return bad;
        v->escaped = true;
    }
    if (t->p == t->end || *t->p != '"')
        return json_expected(t, "a control character in text");
    v->text.n = (size_t)(t->p++ - v->text.p);
    return BAD_NONE;
}

static enum bad word(struct json_text *t, struct json_value *v)
{
    static const struct {
        const char *text;
        enum json_kind kind;
    } words[] = {{"true", JSON_TRUE},          {"false", JSON_FALSE},
                 {"null", JSON_NULL},          {"NaN", JSON_NONFINITE},
                 {"Infinity", JSON_NONFINITE}, {"-Infinity", JSON_NONFINITE}};
    size_t left = (size_t)(t->end - t->p);

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].text);

        if (memcmp(t->p, words[i].text, left < n ? left : n))
            continue;
        *v = (struct json_value){words[i].kind, {t->p, left < n ? left : n}, false};
        t->p += v->text.n;
        return left < n ? json_expected(t, "a value is needed") : BAD_NONE;
    }
    return json_expected(t, "a value is needed");
}

enum bad json_scalar(struct json_text *t, struct json_value *v)
{
    struct decimal d;
    enum bad bad;

    *v = (struct json_value){.kind = JSON_NUMBER, .text.p = t->p};
    if (t->p == t->end)
        return json_expected(t, "a value is needed");
    switch (*t->p) {
    case '{':
        v->kind = JSON_OBJECT;
        return BAD_NONE;
    case '[':
        v->kind = JSON_ARRAY;
        return BAD_NONE;
    case '"':
        return json_string(t, v);
    case '-':
        if (t->end - t->p > 1 && t->p[1] == 'I')
            return word(t, v);
        break;
    default:
        if (!json_digit(*t->p))
            return word(t, v);
    }
    bad = decimal(t, &d);
    v->text.n = (size_t)(t->p - v->text.p);
    return bad;
}

static enum bad skip_items(struct json_text *t, bool object, uint32_t depth)
{
    const uint8_t close = object ? '}' : ']';
    struct json_value key;
    enum bad bad;

    if (depth == JSON_DEPTH_MAX) {
        t->what = "more than 64 objects and arrays in one another";
        return BAD_TOO_LONG;
    }
    t->p++;
    json_blank(t);
    if (t->p < t->end && *t->p == close) {
        t->p++;
        return BAD_NONE;
    }
    for (;;) {
        if (object &&
            ((bad = json_string(t, &key)) || (bad = json_mark(t, ':', "a colon is needed"))))
            return bad;
        bad = json_skip(t, depth + 1);
        if (bad)
            return bad;
        json_blank(t);
        if (t->p < t->end && *t->p == close) {
            t->p++;
            return BAD_NONE;
        }
        bad = json_mark(t, ',', "a comma is needed");
        if (bad)
            return bad;
    }
}

enum bad json_skip(struct json_text *t, uint32_t depth)
{
    struct json_value v;
    enum bad bad = json_scalar(t, &v);

    if (!bad && v.kind >= JSON_OBJECT)
        return skip_items(t, v.kind == JSON_OBJECT, depth);
    return bad;
}

static uint32_t hex4(const uint8_t *p)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++)
        v = v << 4 | (uint32_t)(json_digit(p[i]) ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    return v;
}

/* \uXXXX, or two of them that are a pair, behind the u. */
static uint32_t code_point(const uint8_t **p, const uint8_t *end)
{
    uint32_t high = hex4(*p), low;

    *p += 4;
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        low = hex4(*p + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *p += 6;
            return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

static size_t put_utf8(uint8_t *to, uint32_t c)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = n; i-- > 1; c >>= 6)
        to[i] = (uint8_t)(0x80 | (c & 0x3f));
    to[0] = (uint8_t)(n == 1 ? c : (0xf0u << (4 - n)) | c);
    return n;
}

size_t json_unescape(struct bytes text, uint8_t *to, size_t room)
{
    static const char from[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const uint8_t *p = text.p, *end = text.p + text.n;
    size_t n = 0;

    while (p < end) {
        uint8_t c = *p++;
        const char *at;

        if (room - n < 4)
            return SIZE_MAX;
        if (c != '\\') {
            to[n++] = c;
            continue;
        }
        c = *p++;
        at = strchr(from, c);
        if (c == 'u')
            n += put_utf8(to + n, code_point(&p, end));
        else
            to[n++] = at ? (uint8_t)meant[at - from] : c;
    }
    return n;
}
