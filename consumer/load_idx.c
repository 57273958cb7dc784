/* load_idx.c: images in the IDX form of MNIST, bytes, with a file of labels or none. Pixels are
 * divided by 255, so they are in [0, 1].
 *
 * A file: two zero bytes, the type (8: unsigned byte), the number of dimensions; the dimensions,
 * big-endian u32; the values, row-major. Source: yann.lecun.com/exdb/mnist. */
#include "consumer/load.h"

#include <inttypes.h>
#include <string.h>

enum { DIMS_MAX = 4, TYPE_U8 = 8 };

struct idx_file {
    struct gz labels;
    uint32_t pixels, left;  /* of an image; images left in this file */
    uint8_t pixel[4 * 256]; /* a pixel's float, little-endian, by its byte */
};

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Items and bytes of an item. */
static enum st read_header(struct gz *g, uint32_t dims_min, uint32_t *items, uint64_t *bytes,
                           struct err *e)
{
    struct bytes h;
    uint32_t dims;

    TRY(gz_bytes(g, 4, &h, e));
    if (h.n < 4 || h.p[0] || h.p[1] || h.p[2] != TYPE_U8 || h.p[3] < dims_min || h.p[3] > DIMS_MAX)
        return fail(e, ST_BAD_INPUT, "%.300s: no IDX file of bytes with %s", g->path,
                    dims_min == 1 ? "labels" : "images");
    dims = h.p[3];
    TRY(gz_bytes(g, (size_t)dims * 4, &h, e));
    if (h.n < (size_t)dims * 4)
        return fail(e, ST_BAD_INPUT, "%.300s ends in its header", g->path);
    *items = big_endian(h.p);
    *bytes = 1;
    for (uint32_t k = 1; k < dims; k++) {
        *bytes *= big_endian(h.p + (size_t)k * 4);
        if (*bytes > COLUMNS_MAX)
            return fail(e, ST_BAD_INPUT, "%.300s: more than %d values an image", g->path,
                        COLUMNS_MAX);
    }
    return ST_OK;
}

static enum st next_images(struct load *l)
{
    struct idx_file *s = l->self;
    uint64_t bytes;

    gz_close(&l->in);
    TRY(gz_open(&l->in, l->file[l->next_file++], l->err));
    TRY(read_header(&l->in, 2, &s->left, &bytes, l->err));
    if (!bytes || (s->pixels && s->pixels != bytes))
        return fail(l->err, ST_BAD_INPUT,
                    "%.300s: images of %" PRIu64 " values, the first file's have %" PRIu32,
                    l->in.path, bytes, s->pixels);
    s->pixels = (uint32_t)bytes;
    return ST_OK;
}

static enum st idx_open(struct load *l)
{
    struct idx_file *s = l->self;
    uint32_t labels;
    uint64_t bytes;

    for (uint32_t i = 0; i < 256; i++) {
        float v = (float)i / 255.0f;
        uint32_t bits;

        memcpy(&bits, &v, sizeof bits);
        put_u32(s->pixel + (size_t)4 * i, bits);
    }
    l->label_field = UINT32_MAX;
    TRY(next_images(l));
    if (*l->label) {
        if (l->files > 1)
            return fail(l->err, ST_BAD_CONFIG,
                        "--label names the labels of one file, and there are %" PRIu32
                        ": load them one by one, with --append",
                        l->files);
        TRY(gz_open(&s->labels, l->label, l->err));
        TRY(read_header(&s->labels, 1, &labels, &bytes, l->err));
        if (labels != s->left || bytes != 1)
            return fail(l->err, ST_BAD_INPUT,
                        "%.200s has %" PRIu32 " labels of %" PRIu64 " bytes for the %" PRIu32
                        " images of %.200s",
                        s->labels.path, labels, bytes, s->left, l->in.path);
        TRY(load_field_add(l, (const uint8_t *)"label", 5, LOAD_INT));
        l->label_field = 0;
    }
    return load_field_add(l, (const uint8_t *)"pixels", 6, LOAD_FLOATS);
}

static enum st idx_row(struct load *l, bool *more)
{
    struct idx_file *s = l->self;
    struct bytes image, label;
    uint8_t *p;

    while (!s->left && l->next_file < l->files)
        TRY(next_images(l));
    *more = s->left > 0;
    if (!*more)
        return ST_OK;
    if (s->labels.file) {
        TRY(gz_bytes(&s->labels, 1, &label, l->err));
        if (!label.n)
            return fail(l->err, ST_BAD_INPUT, "%.300s ends before its last label", s->labels.path);
        encode_long(&l->out, *label.p);
    }
    TRY(gz_bytes(&l->in, s->pixels, &image, l->err));
    if (image.n < s->pixels)
        return fail(l->err, ST_BAD_INPUT, "%.300s ends %" PRIu32 " images before its last one",
                    l->in.path, s->left);
    encode_long(&l->out, s->pixels);
    p = encode_room(&l->out, (size_t)s->pixels * 4);
    for (uint32_t i = 0; p && i < s->pixels; i++)
        memcpy(p + (size_t)i * 4, s->pixel + (size_t)4 * image.p[i], 4);
    l->out.n += p ? (size_t)s->pixels * 4 : 0;
    encode_long(&l->out, 0);
    s->left--;
    return ST_OK;
}

static void idx_close(struct load *l)
{
    struct idx_file *s = l->self;

    gz_close(&s->labels);
}

const struct load_reader load_idx = {
    .name = "idx",
    .note = "pixels are x/255, in [0, 1]",
    .self_bytes = sizeof(struct idx_file),
    .label_is_file = true,
    .open = idx_open,
    .row = idx_row,
    .close = idx_close,
};
