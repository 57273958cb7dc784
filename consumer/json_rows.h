/* json_rows.h: a JSON codec that is open, a message that is being decoded, and the values of fields
 * into their places: for codec_json.c, which has the objects round them. Thread: one. */
#ifndef MILLRACE_JSON_ROWS_H
#define MILLRACE_JSON_ROWS_H

#include "consumer/json_fields.h"
#include "consumer/labels.h"

enum { JSON_TEXT_BYTES = 4096 /* of text with escapes in it, unescaped */ };

struct json {
    struct json_fields fields;
    struct labels labels;
    uint32_t buckets;                /* columns for categories; 0: rows are dense */
    uint64_t name_hash[ONE_HOT_MAX]; /* [categories] */
    uint64_t serial;                 /* of the last row */
    bool missing;                    /* features may be */
    uint8_t text[JSON_TEXT_BYTES];
};

struct json_rows { /* where decoding stands */
    struct json_text t;
    const uint8_t *begin;  /* of the message */
    uint32_t row, entries; /* entries: sparse, of the block, those of this message included */
    uint32_t seen;         /* leaves of this row */
    bool array;            /* inside an array of rows */
    float *x;              /* dense: the row */
    struct block *b;
    char *detail;
};

/* An entry of a sparse row. */
void json_put_entry(struct json_rows *r, uint32_t column, float v);

static inline void json_put(const struct json *s, struct json_rows *r, uint32_t column, float v)
{
    if (r->x)
        r->x[column] = v;
    else if (v != 0)
        json_put_entry(r, s->buckets + column, v);
}

/* Behind the mark at p and at most one blank; NULL: it is another. The blank is a jump on purpose:
 * it is foreseen, where a sum would wait for it. */
static inline const uint8_t *json_past(const uint8_t *p, uint8_t mark)
{
    if (*p != mark)
        return NULL;
    if (p[1] == ' ')
        return p + 2;
    return p + 1;
}

/* A value at r->t.p, of a leaf of that role. */
enum bad json_put_number(const struct json *s, struct json_rows *r, const struct json_leaf *leaf,
                         uint32_t column);
enum bad json_put_array(struct json *s, struct json_rows *r, const struct json_leaf *leaf);
enum bad json_put_other(struct json *s, struct json_rows *r, const struct json_leaf *leaf);

/* A leaf that is null or not there. */
enum bad json_no_value(const struct json *s, struct json_rows *r, const struct json_leaf *leaf);

/* The sentence of a value that is bad; text.p NULL: it is not shown. */
enum bad json_bad_field(const struct json *s, const struct json_rows *r,
                        const struct json_leaf *leaf, enum bad bad, const char *what,
                        struct bytes text);

#endif
