/* How fast JSON and raw float32 are decoded, on one thread: rows of a label and 28 numbers, as
 * named fields or as an array, with 9 digits or the 17 that doubles take, one or 64 a message, from
 * 4 Ki rows in memory. All take turns, 15 rounds; medians, and the spread of ours in percent.
 * Beside it jansson and Python's json (parsing alone), and a plain copy of the same messages. */
#include "config/base/bytes.h"
#include "config/base/clock.h"
#include "consumer/codec.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { D = 28, ROWS = 1 << 12, ROUNDS = 15, ROW_MAX = 40 * D };

struct kind {
    const char *name;
    uint32_t rows; /* a message */
    int digits;
    bool array, spaces, f32;
};

struct load { /* messages, one behind the other */
    uint8_t *bytes;
    size_t n, *at; /* at[messages + 1] */
    uint32_t messages;
};

static double value(uint32_t row, uint32_t i)
{
    return (double)(int64_t)mix64((uint64_t)row * D + i) / 3e18;
}

static size_t put_json(const struct kind *k, char *p, uint32_t row)
{
    const char *comma = k->spaces ? ", " : ",", *colon = k->spaces ? ": " : ":";
    size_t n =
        (size_t)snprintf(p, ROW_MAX, "{\"label\"%s%u%s", colon, row % 2, k->array ? comma : "");

    if (k->array)
        n += (size_t)snprintf(p + n, ROW_MAX - n, "\"features\"%s[", colon);
    for (uint32_t i = 0; i < D; i++) {
        if (!k->array)
            n += (size_t)snprintf(p + n, ROW_MAX - n, "%s\"f%u\"%s", comma, i, colon);
        else if (i)
            n += (size_t)snprintf(p + n, ROW_MAX - n, "%s", comma);
        n += (size_t)snprintf(p + n, ROW_MAX - n, "%.*g", k->digits, value(row, i));
    }
    return n + (size_t)snprintf(p + n, ROW_MAX - n, k->array ? "]}\n" : "}\n");
}

static size_t put_f32(uint8_t *p, uint32_t row)
{
    float v = (float)(row % 2);

    memcpy(p, &v, 4);
    for (uint32_t i = 0; i < D; i++) {
        v = (float)value(row, i);
        memcpy(p + 4 * (i + 1), &v, 4);
    }
    return 4 * (D + 1);
}

static void make(const struct kind *k, struct load *l)
{
    l->messages = ROWS / k->rows;
    l->bytes = malloc((size_t)ROWS * ROW_MAX);
    l->at = calloc(l->messages + 1, sizeof *l->at);
    CHECK(l->bytes && l->at);
    for (uint32_t m = 0; m < l->messages; m++) {
        for (uint32_t i = 0; i < k->rows; i++)
            l->n += k->f32 ? put_f32(l->bytes + l->n, m * k->rows + i)
                           : put_json(k, (char *)l->bytes + l->n, m * k->rows + i);
        l->at[m + 1] = l->n;
    }
}

static struct bytes message(const struct load *l, uint32_t m)
{
    return (struct bytes){l->bytes + l->at[m], l->at[m + 1] - l->at[m]};
}

static double ours(const struct codec *codec, const struct load *l, void *self, struct block *b)
{
    char detail[DETAIL_BYTES];
    int64_t start = clock_mono_us();

    for (uint32_t m = 0; m < l->messages; m++) {
        enum bad bad;

        do {
            bad = codec->decode(self, (struct bytes){0}, message(l, m), m, 0, b, detail);
            if (bad == BAD_FULL)
                block_clear(b);
        } while (bad == BAD_FULL);
        CHECK(bad == BAD_NONE);
    }
    return (double)(clock_mono_us() - start) * 1000 / ROWS;
}

/* Of every eighth row: it is slow. */
static double with_jansson(const struct load *l)
{
    int64_t start = clock_mono_us();
    uint32_t rows = 0;

    for (uint32_t m = 0; m < l->messages; m += 8) {
        struct bytes v = message(l, m);
        const char *p = (const char *)v.p, *end = p + v.n, *line;

        for (; p < end; p = line + 1, rows++) {
            json_t *row;

            line = memchr(p, '\n', (size_t)(end - p));
            row = json_loadb(p, (size_t)(line - p), 0, NULL);
            CHECK(row);
            json_decref(row);
        }
    }
    return (double)(clock_mono_us() - start) * 1000 / rows;
}

static double with_python(const struct load *l)
{
    char path[] = "/tmp/millrace-bench-XXXXXX", command[512];
    int fd = mkstemp(path);
    double ns = 0;
    FILE *f;

    CHECK(fd >= 0 && write(fd, l->bytes, l->n) == (ssize_t)l->n);
    close(fd);
    snprintf(command, sizeof command,
             "python3 -c \"import json,time;r=open('%s','rb').read().splitlines();"
             "t=time.perf_counter_ns();[json.loads(x) for x in r];"
             "print((time.perf_counter_ns()-t)/len(r))\"",
             path);
    f = popen(command, "r");
    CHECK(f && fscanf(f, "%lf", &ns) == 1);
    pclose(f);
    unlink(path);
    return ns;
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

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double median(double *t)
{
    qsort(t, ROUNDS, sizeof *t, by_value);
    return t[ROUNDS / 2];
}

static void open_ours(const struct kind *k, const struct codec *codec, const struct load *l,
                      void *self, struct block *b)
{
    static struct decoded out;
    static struct input in = {.label = "label"};
    struct err e;

    in.columns = k->f32 ? 2 : 0;
    in.column[0] = (struct feature){"label", 0};
    in.column[1] = (struct feature){"f", D};
    if (codec->open(self, &in, true, message(l, 0), &out, &e) != ST_OK ||
        block_init(b, &out.shape, &e) != ST_OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    CHECK(out.columns == D);
}

static void bench(const struct kind *k)
{
    const struct codec *codec = k->f32 ? &codec_f32 : &codec_json;
    struct load l = {0};
    struct block b;
    void *self = calloc(1, codec->self_bytes);
    double t[ROUNDS], c[ROUNDS], j[ROUNDS], p[ROUNDS], us, bytes;

    CHECK(self);
    make(k, &l);
    open_ours(k, codec, &l, self, &b);
    for (int i = 0; i < ROUNDS; i++) {
        t[i] = ours(codec, &l, self, &b);
        c[i] = copy(&l, (uint8_t *)b.x, (size_t)BLOCK_ROWS * b.s.ld * 4);
        j[i] = k->f32 ? 0 : with_jansson(&l);
        p[i] = k->f32 ? 0 : with_python(&l);
    }
    us = median(t);
    bytes = (double)l.n / ROWS;
    printf("%-24s %4.0f bytes/row: %6.1f ns/row, %5.2f GB/s (%+.0f..%+.0f %%), %4.1f x a copy",
           k->name, bytes, us, bytes / us, 100 * (us / t[ROUNDS - 1] - 1), 100 * (us / t[0] - 1),
           us / median(c));
    if (!k->f32)
        printf(" | jansson %5.1f x slower, Python's json %5.1f x", median(j) / us, median(p) / us);
    putchar('\n');
    codec->close(self);
    block_fini(&b);
    free(self);
    free(l.bytes);
    free(l.at);
}

int main(void)
{
    static const struct kind kinds[] = {
        {"fields, 9 digits", 1, 9, false, false, false},
        {"fields, 9 digits, 64", 64, 9, false, false, false},
        {"fields, 17 digits", 1, 17, false, false, false},
        {"fields, 9 digits, blanks", 1, 9, false, true, false},
        {"array, 9 digits", 1, 9, true, false, false},
        {"array, 9 digits, 64", 64, 9, true, false, false},
        {"array, 17 digits", 1, 17, true, false, false},
        {"array, 4 digits", 1, 4, true, false, false},
        {"f32", 1, 0, false, false, true},
        {"f32, 64", 64, 0, false, false, true},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        bench(&kinds[i]);
    return 0;
}
