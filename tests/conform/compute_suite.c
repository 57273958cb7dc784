#include "tests/conform/compute_suite.h"

#include "config/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

enum { GUARD = 64, BACK_ENDS_MAX = 16 };

const float canary = NAN;

float number(uint64_t stream, uint64_t i)
{
    return (float)(int32_t)(mix64(mix64(stream) + i) >> 40) * 0x1p-23f - 1.0f;
}

uint32_t index_below(uint64_t stream, uint64_t i, uint32_t n)
{
    return (uint32_t)(mix64(mix64(stream) + i) % n);
}

static struct {
    const struct compute *c;
    void *self;
} back_ends_open[BACK_ENDS_MAX];

/* One whose memory is the host's has to open; a device need not be there. */
uint32_t back_ends(void)
{
    static uint32_t n;
    struct err e;

    assert_true(compute_count <= BACK_ENDS_MAX);
    for (uint32_t i = n ? compute_count : 0; i < compute_count; i++) {
        const struct compute *c = compute_list[i];
        void *self = calloc(1, c->self_bytes + 1);

        assert_non_null(self);
        if (c->open(self, &e) == ST_OK) {
            back_ends_open[n].c = c;
            back_ends_open[n++].self = self;
            continue;
        }
        if (c->host_memory || getenv("MILLRACE_CUDA_MODULE"))
            fail_msg("%s does not open: %s", c->name, e.text);
        print_message("skipped: %s: %s\n", c->name, e.text);
        c->close(self);
        free(self);
    }
    return n;
}

const struct compute *back_end(uint32_t i)
{
    assert_true(i < back_ends());
    return back_ends_open[i].c;
}

void rig_open(struct rig *g, uint32_t i)
{
    *g = (struct rig){.c = back_end(i), .cs = back_ends_open[i].self};
}

void rig_clear(struct rig *g, uint32_t shift)
{
    for (uint32_t i = 0; i < g->boxes; i++) {
        g->c->free(g->cs, g->box[i].dev);
        free(g->box[i].host);
        free(g->box[i].host_was);
    }
    g->boxes = 0;
    g->shift = shift;
}

void rig_close(struct rig *g)
{
    rig_clear(g, 0);
}

/* A box of canaries with room for `bytes` between its guards; returns the room in the host copy. */
static uint8_t *box_new(struct rig *g, size_t bytes, bool output)
{
    struct box *b = &g->box[g->boxes++];

    assert_true(g->boxes <= BOXES_MAX);
    b->bytes = GUARD + g->shift * sizeof(float) + bytes + GUARD;
    b->output = output;
    b->host = malloc(b->bytes);
    b->host_was = malloc(b->bytes);
    b->dev = g->c->alloc(g->cs, b->bytes);
    assert_true(b->host && b->host_was && b->dev);
    for (size_t i = 0; i + sizeof canary <= b->bytes; i += sizeof canary)
        memcpy(b->host + i, &canary, sizeof canary);
    return b->host + GUARD + g->shift * sizeof(float);
}

/* Sends the newest box off and returns its room in device memory. */
static void *box_send(struct rig *g)
{
    struct box *b = &g->box[g->boxes - 1];

    memcpy(b->host_was, b->host, b->bytes);
    g->c->put(g->cs, b->dev, b->host, b->bytes);
    return b->dev + GUARD + g->shift * sizeof(float);
}

static struct mat mat_new(struct rig *g, const uint64_t *stream, struct mat m, bool output)
{
    float *p = (float *)(void *)box_new(g, (size_t)m.r * m.ld * sizeof *p, output);

    for (size_t i = 0; stream && i < m.r; i++)
        for (size_t j = 0; j < m.c; j++)
            p[i * m.ld + j] = number(*stream, i * m.c + j);
    m.p = box_send(g);
    return m;
}

struct mat in_mat(struct rig *g, uint64_t stream, uint32_t r, uint32_t c, uint32_t pad)
{
    return mat_new(g, &stream, (struct mat){NULL, r, c, c + pad}, false);
}

struct mat inout_mat(struct rig *g, uint64_t stream, uint32_t r, uint32_t c, uint32_t pad)
{
    return mat_new(g, &stream, (struct mat){NULL, r, c, c + pad}, true);
}

struct mat out_mat(struct rig *g, uint32_t r, uint32_t c, uint32_t pad)
{
    return mat_new(g, NULL, (struct mat){NULL, r, c, c + pad}, true);
}

static void *bytes_new(struct rig *g, const void *p, size_t bytes, bool output)
{
    uint8_t *to = box_new(g, bytes, output);

    if (bytes)
        memcpy(to, p, bytes);
    return box_send(g);
}

void *in_bytes(struct rig *g, const void *p, size_t bytes)
{
    return bytes_new(g, p, bytes, false);
}

void *inout_bytes(struct rig *g, const void *p, size_t bytes)
{
    return bytes_new(g, p, bytes, true);
}

void rig_fetch(struct rig *g)
{
    assert_int_equal(g->c->sync(g->cs), ST_OK);
    for (uint32_t i = 0; i < g->boxes; i++) {
        struct box *b = &g->box[i];

        g->c->get(g->cs, b->host, b->dev, b->bytes);
        if (!b->output)
            assert_memory_equal(b->host, b->host_was, b->bytes);
        assert_memory_equal(b->host, b->host_was, GUARD + g->shift * sizeof(float));
        assert_memory_equal(b->host + b->bytes - GUARD, b->host_was + b->bytes - GUARD, GUARD);
    }
}

/* The fetched copy of what lies at p, and what lay there before. */
static const void *fetched(const struct rig *g, const void *p, const void **was)
{
    for (uint32_t i = 0; i < g->boxes; i++) {
        const struct box *b = &g->box[i];
        ptrdiff_t at = (const uint8_t *)p - b->dev;

        if (at >= 0 && (size_t)at < b->bytes) {
            *was = b->host_was + at;
            return b->host + at;
        }
    }
    fail_msg("not memory of this run");
    return *was = NULL;
}

void result_add(struct result *out, double value)
{
    assert_true(out->n < RESULT_MAX);
    out->value[out->n++] = value;
}

static void take_part(struct rig *g, struct mat m, bool lower, struct result *out)
{
    const void *was_at;
    const float *p = fetched(g, m.p, &was_at), *was = was_at;

    for (size_t i = 0; i < m.r; i++) {
        size_t n = lower ? i + 1 : m.c;

        for (size_t j = 0; j < n; j++)
            result_add(out, (double)p[i * m.ld + j]);
        assert_memory_equal(p + i * m.ld + n, was + i * m.ld + n, (m.ld - n) * sizeof *p);
    }
}

void take_mat(struct rig *g, struct mat m, struct result *out)
{
    take_part(g, m, false, out);
}

void take_lower(struct rig *g, struct mat m, struct result *out)
{
    take_part(g, m, true, out);
}

void take_u32(struct rig *g, const uint32_t *p, size_t n, struct result *out)
{
    const void *was;
    const uint32_t *got = fetched(g, p, &was);

    for (size_t i = 0; i < n; i++)
        result_add(out, (double)got[i]);
}

void take_f64(struct rig *g, const double *p, size_t n, struct result *out)
{
    const void *was;
    const uint8_t *got = fetched(g, p, &was);

    for (size_t i = 0; i < n; i++) {
        double v;

        memcpy(&v, got + i * sizeof v, sizeof v);
        result_add(out, v);
    }
}

static bool same(double x, double y)
{
    return memcmp(&x, &y, sizeof x) == 0 || x == y || (isnan(x) && isnan(y));
}

/* |x - y|^2 / |y|^2 in u^2; values that are not finite must agree. */
static double nmse(const struct result *x, const struct result *y)
{
    double num = 0.0, den = 0.0;

    assert_int_equal(x->n, y->n);
    for (uint32_t i = 0; i < x->n; i++) {
        if (same(x->value[i], y->value[i])) {
            den += isfinite(y->value[i]) ? y->value[i] * y->value[i] : 0.0;
        } else {
            num += (x->value[i] - y->value[i]) * (x->value[i] - y->value[i]);
            den += y->value[i] * y->value[i];
        }
    }
    return num == 0.0 ? 0.0 : num / den / (0x1p-24 * 0x1p-24);
}

/* A product whose factors are cut to 11 or 8 bits is off by 2^-9 or 2^-6 of itself at most. */
static double rounding_of(const struct op *op, const char *name)
{
    if (!op->factors)
        return 0;
    return !strcmp(name, "cuda-tf32") ? 0x1p30 : !strcmp(name, "cuda-bf16") ? 0x1p36 : 0;
}

static void check_near(const struct op *op, const struct shape4 *s, const char *what,
                       const struct result *x, const struct result *y)
{
    double limit = op->limit(s) + rounding_of(op, what), error = nmse(x, y);

    if (!(error <= limit))
        fail_msg("%s, shape %u %u %u variant %u: %s differs by %g u^2, the limit is %g", op->name,
                 s->r, s->c, s->k, s->variant, what, error, limit);
}

void compute_suite_run(const struct op *op)
{
    struct result *truth = malloc(sizeof *truth), *ref = malloc(sizeof *ref);
    struct result *one = malloc(sizeof *one), *two = malloc(sizeof *two);
    struct rig g;

    assert_true(truth && ref && one && two);
    for (uint32_t i = 0; i < op->n; i++) {
        const struct shape4 *s = &op->shapes[i];

        truth->n = 0;
        op->truth(s, truth);
        for (uint32_t b = 0; b < back_ends(); b++) {
            one->n = two->n = 0;
            rig_open(&g, b);
            op->run(&g, s, one);
            rig_clear(&g, op->by_library && !g.c->host_memory ? 8 : 6); /* still fit for f64 */
            op->run(&g, s, two);
            rig_close(&g);
            assert_int_equal(one->n, two->n);
            for (uint32_t q = 0; q < one->n; q++)
                if (memcmp(&one->value[q], &two->value[q], sizeof one->value[q]))
                    fail_msg("%s on %s: value %u is not the same a second time", op->name,
                             g.c->name, q);
            if (b == 0) {
                check_near(op, s, "ref, from the f64 result,", one, truth);
                memcpy(ref, one, sizeof *ref);
            } else {
                check_near(op, s, g.c->name, one, ref);
            }
        }
    }
    free(truth);
    free(ref);
    free(one);
    free(two);
}
