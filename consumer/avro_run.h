/* avro_run.h: what the two halves of the Avro decoder share; included by avro_plan.c (the loop and
 * what is hot) and avro_rare.c.
 *
 * The readers take a value from r->p and move it on, or return the reason (and 0 as the value) and
 * leave in `got` and `want` what the sentence needs. */
#ifndef MILLRACE_AVRO_RUN_H
#define MILLRACE_AVRO_RUN_H

#include "config/base/bytes.h"
#include "consumer/avro_plan.h"

#include <math.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "Avro's floats are copied as they are");

struct run { /* one message on its way into a block */
    struct avro_plan *plan;
    const uint8_t *p, *end;
    struct block *b;
    const struct avro_message *m;
    float *x;                 /* the row being read */
    uint32_t row, rows;       /* its place in the block; rows of this message before it */
    uint32_t base;            /* added to columns: number of the item within an array */
    uint32_t entries;         /* sparse: of the block, with whole rows of this message */
    uint32_t indices, values; /* of this row */
    uint32_t depth;
    uint64_t *count;            /* measuring */
    const struct avro_op *bad;  /* what failed, and its numbers for the sentence */
    const struct avro_key *key; /* that comes twice, or not at all */
    int64_t got, want;
    double value;
};

/* Runs the operations from pc to the END of their body. */
enum bad avro_run(struct run *r, uint32_t pc);

/* Operations that are rarely in a plan, or take long anyway; body: the operation behind op. */
enum bad avro_run_rare(struct run *r, const struct avro_op *op, uint32_t body);

/* The message has fewer bytes than are needed: cut off, or a length that no message can have. */
enum bad avro_too_short(struct run *r, uint64_t needed);
enum bad avro_read_varint(struct run *r, uint64_t *v); /* of any length */
/* Some are not: got says which column; or those may be missing, and none is infinite. */
enum bad avro_not_finite(struct run *r, const float *x, uint32_t n);

/* As many of n values of one form as are whole and finite, to x[n]; moves r->p behind them. */
uint32_t avro_read_forms(struct run *r, uint8_t form, float *x, uint32_t n);

static inline uint64_t left(const struct run *r)
{
    DCHECK(r->p <= r->end);
    return (uint64_t)(r->end - r->p);
}

static inline enum bad read_long(struct run *r, int64_t *v)
{
    uint64_t n = 0;

    *v = 0;
    if (r->p < r->end && *r->p < 0x80) {
        n = *r->p++;
    } else {
        enum bad bad = avro_read_varint(r, &n);

        if (bad)
            return bad;
    }
    *v = (int64_t)(n >> 1 ^ (0 - (n & 1)));
    return BAD_NONE;
}

/* A whole number of a given range. */
static inline enum bad read_within(struct run *r, int64_t min, int64_t max, int64_t *v)
{
    enum bad bad = read_long(r, v);

    if (bad == BAD_NONE && (*v < min || *v > max)) {
        r->got = *v;
        bad = BAD_VALUE;
    }
    return bad;
}

static inline enum bad read_f32(struct run *r, float *v)
{
    *v = 0;
    if (left(r) < sizeof *v)
        return avro_too_short(r, sizeof *v);
    memcpy(v, r->p, sizeof *v);
    r->p += sizeof *v;
    return BAD_NONE;
}

static inline enum bad read_f64(struct run *r, double *v)
{
    *v = 0;
    if (left(r) < sizeof *v)
        return avro_too_short(r, sizeof *v);
    memcpy(v, r->p, sizeof *v);
    r->p += sizeof *v;
    return BAD_NONE;
}

static inline enum bad read_integer(struct run *r, const struct avro_op *op, int64_t *v)
{
    *v = 0;
    switch (op->kind) {
    case AVRO_K_INT:
        return read_within(r, INT32_MIN, INT32_MAX, v);
    case AVRO_K_LONG:
        return read_long(r, v);
    case AVRO_K_ENUM:
        return read_within(r, 0, (int64_t)op->b - 1, v);
    default:
        DCHECK(op->kind == AVRO_K_BOOLEAN);
        if (r->p == r->end)
            return avro_too_short(r, 1);
        r->got = *v = *r->p++;
        return *v > 1 ? BAD_VALUE : BAD_NONE;
    }
}

static inline enum bad read_number(struct run *r, const struct avro_op *op, double *v)
{
    enum bad bad;
    int64_t i;
    float f;

    switch (op->kind) {
    case AVRO_K_FLOAT:
        bad = read_f32(r, &f);
        *v = (double)f;
        return bad;
    case AVRO_K_DOUBLE:
        return read_f64(r, v);
    default:
        bad = read_integer(r, op, &i);
        *v = (double)i;
        return bad;
    }
}

/* Length of a string or bytes, which are there in full. */
static inline enum bad read_length(struct run *r, uint64_t *n)
{
    int64_t v;
    enum bad bad = read_long(r, &v);

    *n = 0;
    if (bad)
        return bad;
    if (v < 0 || (uint64_t)v > left(r))
        return avro_too_short(r, v < 0 ? UINT64_MAX : (uint64_t)v);
    *n = (uint64_t)v;
    return BAD_NONE;
}

struct span { /* one block of an array or map */
    uint64_t n;
    const uint8_t *stop; /* its end, where the writer gave it */
};

/* n 0: the end of the array. least: bytes that an item takes at the least. */
static inline enum bad read_span(struct run *r, uint64_t least, struct span *s)
{
    enum bad bad;
    int64_t n, bytes;

    *s = (struct span){0, NULL};
    bad = read_long(r, &n);
    if (bad)
        return bad;
    if (n < 0) {
        bad = read_long(r, &bytes);
        if (bad)
            return bad;
        if (bytes < 0 || (uint64_t)bytes > left(r))
            return avro_too_short(r, bytes < 0 ? UINT64_MAX : (uint64_t)bytes);
        s->stop = r->p + bytes;
    }
    s->n = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    if (least && s->n > left(r) / least)
        return avro_too_short(r, s->n > RECORD_BYTES_MAX ? s->n : s->n * least);
    return BAD_NONE;
}

static inline enum bad end_span(struct run *r, const struct span *s)
{
    if (!s->stop || s->stop == r->p)
        return BAD_NONE;
    r->got = s->stop - r->p;
    return BAD_VALUE;
}

static inline enum bad wrong_width(struct run *r, uint64_t got, uint64_t want)
{
    r->got = (int64_t)got;
    r->want = (int64_t)want;
    return BAD_WIDTH;
}

static inline enum bad put_column(struct run *r, uint32_t column, double v)
{
    float *x = r->x + column + r->base;

    DCHECK(r->x && column + r->base < r->b->s.d);
    *x = (float)v;
    r->got = column + r->base;
    if (fabsf(*x) < INFINITY)
        return BAD_NONE;
    return isnan(*x) && r->plan->missing ? BAD_NONE : BAD_NONFINITE;
}

/* Copies n floats and says whether all are finite: an exponent of all ones carries into the sign
 * bit. */
static inline bool copy_floats(float *restrict x, const uint8_t *restrict p, uint32_t n)
{
    uint32_t carry = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t v;

        memcpy(&v, p + 4 * (size_t)i, sizeof v);
        carry |= (v & 0x7f800000u) + 0x00800000u;
        memcpy(x + i, &v, sizeof v);
    }
    return carry < 0x80000000u;
}

/* The same of doubles, which become floats. */
static inline bool copy_doubles(float *restrict x, const uint8_t *restrict p, uint32_t n)
{
    uint32_t carry = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        double v;

        memcpy(&v, p + 8 * (size_t)i, sizeof v);
        x[i] = (float)v;
        memcpy(&bits, &x[i], sizeof bits);
        carry |= (bits & 0x7f800000u) + 0x00800000u;
    }
    return carry < 0x80000000u;
}

static inline enum bad read_floats(struct run *r, uint32_t column, uint32_t n)
{
    float *x = r->x + column;

    DCHECK(r->x && column + n <= r->b->s.d);
    if (left(r) / sizeof *x < n)
        return avro_too_short(r, n * sizeof *x);
    if (!copy_floats(x, r->p, n)) {
        enum bad bad = avro_not_finite(r, x, n);

        if (bad)
            return bad;
    }
    r->p += n * sizeof *x;
    return BAD_NONE;
}

static inline enum bad open_row(struct run *r)
{
    struct block *b = r->b;

    DCHECK(r->base == 0 && r->row <= BLOCK_ROWS);
    if (r->row == BLOCK_ROWS)
        return BAD_FULL;
    r->x = b->x ? b->x + (size_t)r->row * b->s.ld : NULL;
    r->indices = r->values = 0;
    block_stamp(b, r->row, (uint64_t)r->m->offset << 16 | r->rows, r->m->key, r->m->timestamp_ms);
    return BAD_NONE;
}

static inline enum bad close_row(struct run *r)
{
    if (r->b->ptr) {
        if (r->indices != r->values) {
            r->bad = NULL;
            return wrong_width(r, r->values, r->indices);
        }
        r->entries += r->indices;
        DCHECK(r->entries <= r->b->s.nnz_max);
        r->b->ptr[r->row + 1] = r->entries;
    }
    r->row++;
    r->rows++;
    return BAD_NONE;
}

static inline enum bad skip(struct run *r, uint64_t n)
{
    if (left(r) < n)
        return avro_too_short(r, n);
    r->p += n;
    return BAD_NONE;
}

static inline enum bad skip_text(struct run *r)
{
    uint64_t n;
    enum bad bad = read_length(r, &n);

    return bad ? bad : skip(r, n);
}

static inline enum bad put_weight(struct run *r, double v)
{
    r->value = v;
    r->got = -1;
    if (!(fabsf((float)v) < INFINITY))
        return BAD_NONFINITE;
    if (v < 0)
        return BAD_WEIGHT;
    r->b->weight[r->row] = (float)v;
    return BAD_NONE;
}

static inline enum bad put_key(struct run *r, const void *p, size_t n)
{
    if (r->b->key)
        r->b->key[r->row] = hash64(p, n, 0);
    return BAD_NONE;
}

static inline enum bad put_time(struct run *r, double v)
{
    r->got = -1;
    r->value = v;
    if (!(fabs(v) < 9e18))
        return BAD_NONFINITE;
    if (r->b->ts_ms)
        r->b->ts_ms[r->row] = (int64_t)v;
    return BAD_NONE;
}

#endif
