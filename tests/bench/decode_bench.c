/* How fast the Avro decoder is: rows {label: float, features: array<float>[28]}, 1 and 64 a
 * message, from 64 Ki rows in memory, one thread; best of 7 rounds. Beside it Avro C's value reader
 * (values read into a reused tree and taken out of it), and a plain copy of the same messages,
 * which is the least that any decoder does. */
#include "config/base/bytes.h"
#include "config/base/clock.h"
#include "consumer/codec.h"

#include <avro.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { D = 28, ROWS = 1 << 16, ROUNDS = 7, ROW_BYTES = 4 + 1 + 4 * D + 1 };

#define ROW                                                                                        \
    "{\"type\":\"record\",\"name\":\"row\",\"fields\":[{\"name\":\"label\",\"type\":\"float\"},"   \
    "{\"name\":\"features\",\"type\":{\"type\":\"array\",\"items\":\"float\"}}]}"
static const char one_schema[] = ROW;
static const char many_schema[] = "{\"type\":\"array\",\"items\":" ROW "}";

struct load { /* messages, one behind the other */
    uint8_t *bytes;
    size_t n, *at; /* at[messages + 1] */
    uint32_t messages, rows;
    const char *schema;
};

static size_t put_row(uint8_t *p, uint64_t seed)
{
    float v = (float)(seed % 2);
    size_t n = 4;

    memcpy(p, &v, 4);
    p[n++] = 2 * D;
    for (uint32_t i = 0; i < D; i++, n += 4) {
        v = (float)(int64_t)mix64(seed * D + i) / 9.3e18f;
        memcpy(p + n, &v, 4);
    }
    p[n++] = 0;
    return n;
}

static void make(struct load *l, uint32_t rows)
{
    l->rows = rows;
    l->messages = ROWS / rows;
    l->schema = rows > 1 ? many_schema : one_schema;
    l->bytes = malloc((size_t)ROWS * (ROW_BYTES + 4));
    l->at = calloc(l->messages + 1, sizeof *l->at);
    CHECK(l->bytes && l->at);
    for (uint32_t m = 0; m < l->messages; m++) {
        if (rows > 1) { /* zigzag varint of the count */
            l->bytes[l->n++] = (uint8_t)(2 * rows & 127) | 128;
            l->bytes[l->n++] = (uint8_t)(2 * rows >> 7);
        }
        for (uint32_t i = 0; i < rows; i++)
            l->n += put_row(l->bytes + l->n, (uint64_t)m * rows + i);
        if (rows > 1)
            l->bytes[l->n++] = 0;
        l->at[m + 1] = l->n;
    }
}

static struct bytes message(const struct load *l, uint32_t m)
{
    return (struct bytes){l->bytes + l->at[m], l->at[m + 1] - l->at[m]};
}

static void open_ours(const struct load *l, void *self, struct decoded *out)
{
    static struct input in = {.schema = "/tmp/millrace-bench-XXXXXX", .label = "label"};
    struct err e;
    int fd = mkstemp(in.schema);

    CHECK(fd >= 0 && write(fd, l->schema, strlen(l->schema)) == (ssize_t)strlen(l->schema));
    close(fd);
    if (codec_avro.open(self, &in, true, message(l, 0), out, &e) != ST_OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    unlink(in.schema);
    memcpy(in.schema, "/tmp/millrace-bench-XXXXXX", 27);
}

static double ours(const struct load *l, void *self, struct block *b)
{
    char detail[DETAIL_BYTES];
    int64_t start = clock_mono_us();

    for (uint32_t m = 0; m < l->messages; m++) {
        enum bad bad;

        do {
            bad = codec_avro.decode(self, (struct bytes){0}, message(l, m), m, 0, b, detail);
            if (bad == BAD_FULL)
                block_clear(b);
        } while (bad == BAD_FULL);
        CHECK(bad == BAD_NONE);
    }
    return (double)(clock_mono_us() - start) * 1000 / ROWS;
}

static double take_row(avro_value_t *row, float *x)
{
    avro_value_t label, features, item;
    size_t n;

    avro_value_get_by_index(row, 0, &label, NULL);
    avro_value_get_float(&label, &x[D]);
    avro_value_get_by_index(row, 1, &features, NULL);
    avro_value_get_size(&features, &n);
    for (size_t i = 0; i < n; i++) {
        avro_value_get_by_index(&features, i, &item, NULL);
        avro_value_get_float(&item, &x[i]);
    }
    return x[0];
}

static double theirs(const struct load *l)
{
    avro_schema_t schema;
    avro_value_iface_t *iface;
    avro_value_t value, row;
    avro_reader_t reader = avro_reader_memory((const char *)l->bytes, (int64_t)l->n);
    float x[D + 1];
    int64_t start;

    CHECK(avro_schema_from_json_length(l->schema, strlen(l->schema), &schema) == 0);
    iface = avro_generic_class_from_schema(schema);
    CHECK(avro_generic_value_new(iface, &value) == 0);
    start = clock_mono_us();
    for (uint32_t m = 0; m < l->messages; m++) {
        avro_reader_memory_set_source(reader, (const char *)message(l, m).p,
                                      (int64_t)message(l, m).n);
        avro_value_reset(&value);
        CHECK(avro_value_read(reader, &value) == 0);
        if (l->rows == 1)
            take_row(&value, x);
        for (uint32_t i = 0; l->rows > 1 && i < l->rows; i++) {
            avro_value_get_by_index(&value, i, &row, NULL);
            take_row(&row, x);
        }
    }
    start = clock_mono_us() - start;
    avro_value_decref(&value);
    avro_value_iface_decref(iface);
    avro_schema_decref(schema);
    avro_reader_free(reader);
    return (double)start * 1000 / ROWS;
}

static double copy(const struct load *l, uint8_t *to, size_t room)
{
    int64_t start = clock_mono_us();
    size_t at = 0;

    for (uint32_t m = 0; m < l->messages; m++) {
        struct bytes v = message(l, m);

        at = at + v.n > room ? 0 : at;
        memcpy(to + at, v.p, v.n);
        at += v.n;
        __asm__ volatile("" : : "r"(to) : "memory");
    }
    return (double)(clock_mono_us() - start) * 1000 / ROWS;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static void bench(uint32_t rows)
{
    static struct decoded out;
    struct load l = {0};
    struct block b;
    void *self = calloc(1, codec_avro.self_bytes);
    double t[3] = {1e9, 1e9, 1e9}, bytes;
    struct err e;

    make(&l, rows);
    open_ours(&l, self, &out);
    CHECK(block_init(&b, &out.shape, &e) == ST_OK);
    for (int round = 0; round < ROUNDS; round++) {
        t[0] = least(t[0], ours(&l, self, &b));
        t[1] = least(t[1], round < 2 ? theirs(&l) : t[1]);
        t[2] = least(t[2], copy(&l, (uint8_t *)b.x, (size_t)BLOCK_ROWS * b.s.ld * 4));
    }
    bytes = (double)l.n / ROWS;
    printf("%2u rows a message: decode %6.1f ns/row, %6.1f M rows/s, %5.2f GB/s | Avro C %7.1f "
           "ns/row, "
           "%5.1f x slower | copy %5.1f ns/row, decode takes %4.1f x as long\n",
           rows, t[0], 1e3 / t[0], bytes / t[0], t[1], t[1] / t[0], t[2], t[0] / t[2]);
    codec_avro.close(self);
    block_fini(&b);
    free(self);
    free(l.bytes);
    free(l.at);
}

int main(void)
{
    bench(1);
    bench(8);
    bench(64);
    return 0;
}
