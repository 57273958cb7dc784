#include "support_avro.h"

#include <string.h>
#include <unistd.h>

int av_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->self = calloc(1, codec_avro.self_bytes);
    *state = f;
    return 0;
}

int av_teardown(void **state)
{
    struct fixture *f = *state;

    codec_avro.close(f->self);
    block_fini(&f->b);
    if (f->in.schema[0])
        unlink(f->in.schema);
    free(f->self);
    free(f);
    return 0;
}

/* ---- writing a message ---- */

void av_long(struct fixture *f, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);

    for (; z > 127; z >>= 7)
        f->m[f->n++] = (uint8_t)(z | 128);
    f->m[f->n++] = (uint8_t)z;
}

void av_float(struct fixture *f, float v)
{
    memcpy(f->m + f->n, &v, sizeof v);
    f->n += sizeof v;
}

void av_double(struct fixture *f, double v)
{
    memcpy(f->m + f->n, &v, sizeof v);
    f->n += sizeof v;
}

void av_text(struct fixture *f, const char *text)
{
    av_long(f, (int64_t)strlen(text));
    memcpy(f->m + f->n, text, strlen(text));
    f->n += strlen(text);
}

void av_floats(struct fixture *f, uint32_t n, float first)
{
    if (n)
        av_long(f, n);
    for (uint32_t i = 0; i < n; i++)
        av_float(f, first + (float)i);
    av_long(f, 0);
}

/* ---- opening and decoding ---- */

void av_schema(struct fixture *f, const char *text)
{
    int fd;

    if (!f->in.schema[0])
        memcpy(f->in.schema, "/tmp/millrace-avsc-XXXXXX", 26);
    else
        unlink(f->in.schema);
    memcpy(f->in.schema + strlen(f->in.schema) - 6, "XXXXXX", 6);
    fd = mkstemp(f->in.schema);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

void av_fields(struct fixture *f, const char *list)
{
    char text[4096];

    snprintf(text, sizeof text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[%s]}", list);
    av_schema(f, text);
}

void av_feature(struct fixture *f, const char *name, uint32_t width)
{
    snprintf(f->in.feature[f->in.features].name, NAME_MAX_BYTES, "%s", name);
    f->in.feature[f->in.features++].width = width;
}

void av_set(char *to, const char *text)
{
    memcpy(to, text, strlen(text) + 1);
}

enum st av_open(struct fixture *f, bool need_label)
{
    struct bytes sample = {f->n ? f->m : NULL, f->n};

    codec_avro.close(f->self);
    return codec_avro.open(f->self, &f->in, need_label, sample, &f->out, &f->e);
}

void av_ready(struct fixture *f)
{
    if (av_open(f, f->in.label[0] != 0) != ST_OK)
        fail_msg("%s", f->e.text);
    block_fini(&f->b);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
    f->n = 0;
}

void av_refused(struct fixture *f, bool need_label, const char *text)
{
    assert_int_equal(av_open(f, need_label), ST_BAD_CONFIG);
    if (!strstr(f->e.text, text))
        fail_msg("'%s' is not in: %s", text, f->e.text);
}

enum bad av_decode(struct fixture *f)
{
    uint8_t *exact = malloc(f->n + !f->n);
    uint32_t n = f->b.n, entries = f->b.ptr ? f->b.ptr[n] : 0;
    enum bad bad;

    memcpy(exact, f->m, f->n);
    f->detail[0] = 0;
    bad = codec_avro.decode(f->self, (struct bytes){(const uint8_t *)"key", 3},
                            (struct bytes){exact, f->n}, 5, 1234, &f->b, f->detail);
    free(exact);
    f->n = 0;
    if (bad) {
        assert_int_equal(f->b.n, n);
        assert_true(!f->b.ptr || f->b.ptr[n] == entries);
        assert_true(bad == BAD_FULL || f->detail[0]);
        assert_true(strlen(f->detail) < DETAIL_BYTES);
    }
    return bad;
}

void av_row_is(const struct fixture *f, uint32_t row, const float *want)
{
    const float *x = f->b.x + (size_t)row * f->b.s.ld;

    for (uint32_t i = 0; i < f->out.columns; i++)
        if (x[i] != want[i])
            fail_msg("row %u, column %u: %g, not %g", row, i, (double)x[i], (double)want[i]);
    for (uint32_t i = f->out.columns; i < f->b.s.ld; i++)
        assert_true(x[i] == 0);
}

void av_name_is(const struct fixture *f, uint32_t column, const char *want)
{
    char name[64];

    assert_string_equal(codec_avro.column_name(f->self, column, name, sizeof name), want);
}
