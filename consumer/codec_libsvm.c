/* libsvm: "label index:value index:value ...", a line a row, a message of one line or several.
 * Indices count from 1 and ascend; index i is column i-1. "#" starts a comment. Rows are sparse;
 * the id space is input.width, which only the job knows: what is beyond it is a bad record.
 *
 * With input.hash_bits b what stands before the last colon of a word is a name: any bytes but
 * blanks and "#", in any order. Its hash gives one of 2^b columns and a sign for the value; names
 * of a row that share a column are added up, so that by the signs what is learned of one is, on
 * average, not moved by the other (Weinberger, Dasgupta, Langford, Smola, Attenberg, ICML 2009).
 * Numbers are names too: "7" and "07" are two. The hash is fixed: a model serves any job with the
 * same hash_bits. */
#include "consumer/codec.h"

#include "config/base/bytes.h"
#include "consumer/labels.h"
#include "consumer/number.h"
#include "consumer/scan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct svm {
    struct labels labels;
    uint32_t width, bits; /* bits: of hashed names; 0: indices */
    struct number_many many;
};

struct svm_line { /* where decoding stands: [p, stop) is what is left of the line */
    const uint8_t *p, *stop;
    struct scan scan;      /* of colons, blanks and line ends; may be behind p */
    uint32_t row, entries; /* entries: of the block, those of this message included */
    bool comments;         /* the message has "#" somewhere */
    char *detail;
};

static enum st svm_open(void *self, const struct input *in, bool need_label, struct bytes sample,
                        struct decoded *out, struct err *e)
{
    struct svm *s = self;

    (void)need_label; /* the format has one in every line */
    (void)sample;
    static_assert(1u << HASH_BITS_MAX <= COLUMNS_MAX, "hashed names fit the id space");

    s->bits = in->hash_bits;
    s->width = s->bits ? 1u << s->bits : in->width;
    if (!s->width)
        return fail(e, ST_BAD_CONFIG,
                    "input.width is missing: libsvm text does not say how many columns there are; "
                    "give the highest index, or hash_bits for features that are names");
    if (s->width > COLUMNS_MAX)
        return fail(e, ST_BAD_CONFIG, "input.width: %u is more than %d", in->width, COLUMNS_MAX);
    if (in->features || in->weight[0] || in->key[0] || in->time[0])
        return fail(e, ST_BAD_CONFIG,
                    "input: libsvm has a label and numbered columns, no fields that features, "
                    "weight, key or time could name");
    number_many_init(&s->many);
    TRY(labels_init(&s->labels, in->class_name, in->classes, e));
    memset(out, 0, sizeof *out);
    out->shape = block_shape_of(s->width, true);
    out->shape.ny = 1;
    out->columns = s->width;
    out->classes = s->labels.n;
    labels_names(&s->labels, out->class_name);
    out->fingerprint = labels_hash(
        &s->labels, hash64(&s->width, sizeof s->width, FORMAT_LIBSVM + (uint64_t)s->bits * 256));
    return ST_OK;
}

static void svm_close(void *self)
{
    struct svm *s = self;

    labels_fini(&s->labels);
    memset(s, 0, sizeof *s);
}

static const char *svm_column_name(void *self, uint32_t c, char *text, size_t n)
{
    const struct svm *s = self;

    CHECK(c < s->width);
    if (s->bits)
        snprintf(text, n, "#%u", c); /* no column of one name */
    else
        snprintf(text, n, "%u", c + 1);
    return text;
}

static void svm_label_limit(void *self, uint32_t classes)
{
    struct svm *s = self;

    s->labels.limit = classes;
}

static inline bool blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* false: nothing is left of the line. */
static inline bool skip_blanks(struct svm_line *l)
{
    while (l->p < l->stop && blank(*l->p))
        l->p++;
    return l->p < l->stop;
}

/* The next word of the line; n 0: none. */
static struct bytes next_word(struct svm_line *l)
{
    struct bytes w;

    skip_blanks(l);
    w.p = l->p;
    while (l->p < l->stop && !blank(*l->p))
        l->p++;
    w.n = (size_t)(l->p - w.p);
    return w;
}

static enum bad bad_word(const struct svm_line *l, enum bad bad, const char *what, struct bytes w)
{
    char shown[36];

    snprintf(l->detail, DETAIL_BYTES, "line %u: %s '%s'", l->row + 1, what,
             bytes_shown(w.p, w.n, shown));
    return bad;
}

/* "12:0.5" behind column `last` of the row. */
static enum bad put_entry(const struct svm *s, struct svm_line *l, struct bytes w, int64_t last,
                          struct block *b)
{
    const uint8_t *colon = memchr(w.p, ':', w.n);
    uint32_t index;
    float v;

    if (!colon || !number_u32(w.p, (size_t)(colon - w.p), UINT32_MAX, &index))
        return bad_word(l, BAD_VALUE, "index:value is needed, not", w);
    if (!number_f32(colon + 1, (size_t)(w.p + w.n - colon - 1), &v))
        return bad_word(l, BAD_VALUE, "no number in", w);
    if (!isfinite(v))
        return bad_word(l, BAD_NONFINITE, "not finite:", w);
    if (index < 1 || index > s->width)
        return bad_word(l, BAD_INDEX, "the index must be 1 .. input.width in", w);
    if (index - 1 <= last)
        return bad_word(l, BAD_INDEX, "indices must ascend at", w);
    if (l->entries == b->s.nnz_max)
        return bad_word(l, BAD_FULL, "more entries than a block holds at", w);
    DCHECK(l->entries < b->s.nnz_max);
    b->col[l->entries] = index - 1;
    b->val[l->entries++] = v;
    return BAD_NONE;
}

/* Words from l->p on that are plain: "12:0.5" as it should be, and one blank or the end of the line
 * behind it. All others, and all that is wrong, are put_entry's. False: the first is not plain. */
static bool put_plain(struct svm *s, struct svm_line *l, int64_t last, struct block *b)
{
    const uint32_t room = b->s.nnz_max - l->entries, most = room < NUMBER_MANY ? room : NUMBER_MANY;
    const uint8_t *const stop = l->stop, *p = l->p, *seen = p;
    struct number_many *many = &s->many;
    struct scan scan = l->scan;
    bool ones = true; /* all values so far are "1" */
    uint32_t n, good, index;

    scan_skip(&scan, p);
    for (n = 0; n < most && p < stop; n++) {
        const uint8_t *colon = scan_next(&scan), *end = seen = scan_next(&scan);
        const size_t digits = (size_t)(colon - p);

        end = end < stop ? end : stop;
        if (colon >= stop || *colon != ':' || (end < stop && *end != ' ') || digits - 1 > 7 ||
            colon - scan.begin < 8 || !number_short(colon, digits, &index) || index > s->width ||
            (int64_t)index - 1 <= last)
            break;
        if (ones && (end - colon != 2 || colon[1] != '1')) {
            if (n)
                break; /* the next call goes on here */
            ones = false;
        }
        if (!ones)
            number_put(many, n, colon + 1, (size_t)(end - colon - 1));
        last = b->col[l->entries + n] = index - 1;
        p = end + (end < stop);
    }
    for (good = 0; ones && good < n; good++)
        b->val[l->entries + good] = 1;
    if (!ones)
        good = number_many(many, n, b->val + l->entries);
    if (good < n)
        for (p = many->p[good]; p > l->p && p[-1] != ' '; p--)
            ;
    if (seen > p)
        scan_from(&scan, p);
    l->entries += good;
    l->p = p;
    l->scan = scan;
    return good > 0;
}

/* "color=red:1" of any names: a column and a sign. */
static enum bad put_hashed(const struct svm *s, struct svm_line *l, struct bytes w, struct block *b)
{
    const uint8_t *colon = memrchr(w.p, ':', w.n);
    uint64_t hash;
    float v;

    if (!colon || colon == w.p)
        return bad_word(l, BAD_VALUE, "name:value is needed, not", w);
    if (!number_f32(colon + 1, (size_t)(w.p + w.n - colon - 1), &v))
        return bad_word(l, BAD_VALUE, "no number in", w);
    if (!isfinite(v))
        return bad_word(l, BAD_NONFINITE, "not finite:", w);
    if (l->entries == b->s.nnz_max)
        return bad_word(l, BAD_FULL, "more entries than a block holds at", w);
    hash = hash64(w.p, (size_t)(colon - w.p), 0);
    b->col[l->entries] = (uint32_t)hash & (s->width - 1);
    b->val[l->entries++] = hash >> 63 ? -v : v;
    return BAD_NONE;
}

/* ---- a row of hashed names in order: heap sort, which takes neither memory nor quadratic time
 * ---- */

static void swap(uint32_t *col, float *val, uint32_t i, uint32_t j)
{
    uint32_t c = col[i];
    float v = val[i];

    col[i] = col[j], val[i] = val[j];
    col[j] = c, val[j] = v;
}

static void sift(uint32_t *col, float *val, uint32_t i, uint32_t n)
{
    for (uint32_t k = 2 * i + 1; k < n; i = k, k = 2 * i + 1) {
        k += k + 1 < n && col[k + 1] > col[k];
        if (col[i] >= col[k])
            return;
        swap(col, val, i, k);
    }
}

static void sort(uint32_t *col, float *val, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift(col, val, i, n);
    for (uint32_t k = n; k-- > 1;) {
        swap(col, val, 0, k);
        sift(col, val, 0, k);
    }
}

/* Entries [from, l->entries) ascend and have each column once. */
static enum bad tidy(struct svm_line *l, struct block *b, uint32_t from)
{
    uint32_t to = from;

    sort(b->col + from, b->val + from, l->entries - from);
    for (uint32_t q = from; q < l->entries; q++) {
        if (to > from && b->col[to - 1] == b->col[q]) {
            b->val[to - 1] += b->val[q];
            if (!isfinite(b->val[to - 1]))
                return bad_word(l, BAD_NONFINITE, "names that share a column sum to infinity in",
                                (struct bytes){l->stop, 0});
            continue;
        }
        b->col[to] = b->col[q];
        b->val[to++] = b->val[q];
    }
    l->entries = to;
    return BAD_NONE;
}

/* Of the row whose entries are [from, to); -1: it has none. */
static int64_t last_column(const struct block *b, uint32_t from, uint32_t to)
{
    return to > from ? (int64_t)b->col[to - 1] : -1;
}

static enum bad decode_line(struct svm *s, struct svm_line *l, struct block *b)
{
    uint32_t n = b->n + l->row, from = l->entries;
    struct bytes w = next_word(l);

    if (!labels_text(&s->labels, w.p, w.n, &b->y[n]))
        return bad_word(l, BAD_LABEL, "no such class", w);
    for (;;) {
        enum bad bad;

        while (!s->bits && skip_blanks(l) && put_plain(s, l, last_column(b, from, l->entries), b))
            ;
        w = next_word(l);
        if (!w.n)
            break;
        bad = s->bits ? put_hashed(s, l, w, b)
                      : put_entry(s, l, w, last_column(b, from, l->entries), b);
        if (bad)
            return bad;
    }
    if (s->bits) {
        enum bad bad = tidy(l, b, from);

        if (bad)
            return bad;
    }
    DCHECK(l->p == l->stop && n < BLOCK_ROWS);
    b->ptr[n + 1] = l->entries;
    return BAD_NONE;
}

/* The next line that is not blank and not all comment, without its comment. */
static bool next_line(struct svm_line *l, const uint8_t **next, const uint8_t *end)
{
    while (*next < end) {
        const uint8_t *p = *next, *nl = memchr(p, '\n', (size_t)(end - p)), *hash;

        l->p = p;
        l->stop = nl ? nl : end;
        *next = nl ? nl + 1 : end;
        hash = l->comments ? memchr(p, '#', (size_t)(l->stop - p)) : NULL;
        if (hash)
            l->stop = hash;
        if (skip_blanks(l))
            return true;
    }
    return false;
}

static enum bad svm_decode(void *self, struct bytes key, struct bytes value, int64_t offset,
                           int64_t timestamp_ms, struct block *b, char *detail)
{
    struct svm *s = self;
    const uint8_t *next = value.p, *end = value.p + value.n;
    struct svm_line l = {.entries = b->ptr[b->n], .detail = detail};
    uint64_t hash = b->key ? hash64(key.p, key.n, 0) : 0;

    CHECK(value.p && b->ptr && b->y && b->s.d == s->width && b->n <= BLOCK_ROWS);
    l.scan = (struct scan){value.p, end, value.p, 0, {':', ' ', '\n'}};
    scan_from(&l.scan, value.p);
    l.comments = memchr(value.p, '#', value.n) != NULL;
    s->many.begin = value.p;
    for (; next_line(&l, &next, end); l.row++) {
        uint32_t n = b->n + l.row;
        enum bad bad = BAD_FULL;

        if (n < BLOCK_ROWS) {
            block_stamp(b, n, (uint64_t)offset << 16 | l.row, hash, timestamp_ms);
            bad = decode_line(s, &l, b);
        }
        if (bad == BAD_FULL && !b->n) {
            snprintf(detail, DETAIL_BYTES,
                     "line %u is beyond what a block holds: %u rows, %u entries", l.row + 1,
                     BLOCK_ROWS, b->s.nnz_max);
            return BAD_TOO_MANY;
        }
        if (bad)
            return bad;
    }
    if (!l.row) {
        snprintf(detail, DETAIL_BYTES, "no line in a value of %zu bytes", value.n);
        return BAD_TRUNCATED;
    }
    CHECK(next == end && b->n + l.row <= BLOCK_ROWS && b->ptr[b->n + l.row] == l.entries);
    b->n += l.row;
    return BAD_NONE;
}

const struct codec codec_libsvm = {
    .name = "libsvm",
    .summary = "label index:value ...; sparse, indices count from 1, or hashed names",
    .self_bytes = sizeof(struct svm),
    .open = svm_open,
    .close = svm_close,
    .decode = svm_decode,
    .column_name = svm_column_name,
    .label_limit = svm_label_limit,
};
