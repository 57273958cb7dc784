/* load_libsvm.c: "label index:value ..." lines. In Avro, indices count from 0, as codec_avro has
 * sparse rows. */
#include "consumer/codec.h"
#include "consumer/load.h"
#include "consumer/number.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct svm_file {
    uint32_t *index; /* [room], of the row being read */
    float *value;
    uint32_t n, room;
};

static enum st svm_open(struct load *l)
{
    TRY(load_field_add(l, (const uint8_t *)"label", 5, LOAD_FLOAT));
    TRY(load_field_add(l, (const uint8_t *)"indices", 7, LOAD_INTS));
    return load_field_add(l, (const uint8_t *)"values", 6, LOAD_FLOATS);
}

static inline bool blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of [*p, end), n 0: none. */
static struct bytes next_word(const uint8_t **p, const uint8_t *end)
{
    struct bytes w;

    while (*p < end && blank(**p))
        ++*p;
    w.p = *p;
    while (*p < end && !blank(**p))
        ++*p;
    w.n = (size_t)(*p - w.p);
    return w;
}

static enum st room_for_one(struct load *l, struct svm_file *s)
{
    uint32_t room = s->room ? s->room * 2 : 256;
    uint32_t *index;
    float *value;

    if (s->n < s->room)
        return ST_OK;
    index = realloc(s->index, room * sizeof *index);
    s->index = index ? index : s->index;
    value = realloc(s->value, room * sizeof *value);
    s->value = value ? value : s->value;
    if (!index || !value)
        return fail(l->err, ST_FATAL, "no memory for a row of %" PRIu32 " entries", room);
    s->room = room;
    return ST_OK;
}

static enum st add_entry(struct load *l, struct bytes w)
{
    const uint8_t *colon = memchr(w.p, ':', w.n);
    struct svm_file *s = l->self;
    uint32_t index;
    char shown[36];
    float v;

    if (!colon || !number_u32(w.p, (size_t)(colon - w.p), COLUMNS_MAX, &index) ||
        !number_f32(colon + 1, (size_t)(w.p + w.n - colon - 1), &v))
        return load_bad(l, "'%s' is no index:value (indices to %d)", bytes_shown(w.p, w.n, shown),
                        COLUMNS_MAX);
    if (!index || (s->n && index - 1 <= s->index[s->n - 1]))
        return load_bad(l, "'%s': indices count from 1 and ascend", bytes_shown(w.p, w.n, shown));
    TRY(room_for_one(l, s));
    s->index[s->n] = index - 1;
    s->value[s->n++] = v;
    if (index > l->width)
        l->width = index;
    return ST_OK;
}

static enum st put_row(struct load *l, float label)
{
    const struct svm_file *s = l->self;

    encode_float(&l->out, label);
    if (s->n)
        encode_long(&l->out, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        encode_long(&l->out, s->index[i]);
    encode_long(&l->out, 0);
    if (s->n)
        encode_long(&l->out, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        encode_float(&l->out, s->value[i]);
    encode_long(&l->out, 0);
    return ST_OK;
}

/* As text a row may be wrong: the job says so. Only the highest index is looked for. */
static void note_width(struct load *l, const uint8_t *p, const uint8_t *end)
{
    for (struct bytes w = next_word(&p, end); w.n; w = next_word(&p, end)) {
        const uint8_t *colon = memchr(w.p, ':', w.n);
        uint32_t index;

        if (colon && number_u32(w.p, (size_t)(colon - w.p), COLUMNS_MAX, &index) &&
            index > l->width)
            l->width = index;
    }
}

static enum st svm_row(struct load *l, bool *more)
{
    struct svm_file *s = l->self;
    struct bytes line, w;
    const uint8_t *p, *hash;
    char shown[36];
    float label;

    do {
        TRY(load_line(l, &line, NULL));
        *more = line.p != NULL;
        if (!*more)
            return ST_OK;
        hash = memchr(line.p, '#', line.n);
        if (hash)
            line.n = (size_t)(hash - line.p);
        p = line.p;
        w = next_word(&p, line.p + line.n);
    } while (!w.n);
    if (l->lines) {
        note_width(l, p, line.p + line.n);
        encode_raw(&l->out, line.p, line.n);
        return ST_OK;
    }
    if (!number_f32(w.p, w.n, &label))
        return load_bad(l, "the label '%s' is no number", bytes_shown(w.p, w.n, shown));
    s->n = 0;
    for (w = next_word(&p, line.p + line.n); w.n; w = next_word(&p, line.p + line.n))
        TRY(add_entry(l, w));
    return put_row(l, label);
}

static void svm_close(struct load *l)
{
    struct svm_file *s = l->self;

    free(s->index);
    free(s->value);
}

const struct load_reader load_libsvm = {
    .name = "libsvm",
    .self_bytes = sizeof(struct svm_file),
    .has_lines = true,
    .open = svm_open,
    .row = svm_row,
    .close = svm_close,
};
