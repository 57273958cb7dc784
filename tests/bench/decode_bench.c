/* How fast rows are decoded, one thread: messages of 1 and of 64 rows, 8 MB of them in memory.
 *
 * Every case runs in one process with, in the same rounds and turn about: a plain copy of the same
 * messages, which is the least that any decoder does; a search for the ends of lines in text, which
 * is the least that a reader of lines does; and a peer: for Avro the value reader of Avro C (values
 * read into a reused tree and taken out of it), for text a loop of strtof and strtoul over the same
 * bytes. Times are CPU times and medians; ratios are medians of the rounds' ratios, with the least
 * and the most.
 *
 *   decode_bench [WORD]     only cases whose line has WORD in it */
#include "config/base/bytes.h"
#include "consumer/codec.h"

#include <avro.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 8 << 20, ROUNDS = 7, PEER_ROUNDS = 5, MANY = 64, D_MAX = 1024, ROW_MAX = 1 << 16 };

struct load { /* messages, one behind the other */
    uint8_t *bytes;
    size_t n, *at; /* at[messages + 1] */
    uint32_t messages, rows;
    char *schema;
    uint8_t *copy; /* [room]: as much memory as a block, which copies go round in */
    size_t room;
    float sum; /* of what the peer has read, so that it has to */
};

struct shape;

struct form { /* a format, and how others read it */
    const struct codec *codec;
    uint8_t *(*put)(const struct shape *s, uint8_t *p, uint64_t seed);
    void (*peer)(struct load *l, const struct shape *s);
    const char *peer_name;
    bool array; /* Avro: one field that is an array, else a field for each column */
};

struct shape {
    const char *name;
    const struct form *form;
    uint32_t d;
    const char *types; /* of column i: types[i % strlen(types)], as the form's `put` knows them */
};

static char type_of(const struct shape *s, uint32_t i)
{
    return s->types[i % strlen(s->types)];
}

static double uniform(uint64_t seed) /* -1 .. 1 */
{
    return (double)(int64_t)mix64(seed) / 9223372036854775808.0;
}

/* ---- Avro ---- */

static uint8_t *put_f32(uint8_t *p, float v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *put_f64(uint8_t *p, double v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *put_long(uint8_t *p, int64_t v) /* config/base/avro.h and avro.h share names */
{
    uint64_t z = (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);

    for (; z >= 0x80; z >>= 7)
        *p++ = (uint8_t)(z | 0x80);
    *p++ = (uint8_t)z;
    return p;
}

/* f float, d double, i int, l long, o [null, float], never null, n: null once in ten */
static uint8_t *put_avro_value(uint8_t *p, char type, uint64_t seed)
{
    double v = uniform(seed);

    switch (type) {
    case 'd':
        return put_f64(p, v);
    case 'i':
        return put_long(p, (int64_t)(v * 1000));
    case 'l':
        return put_long(p, (int64_t)(v * 1e12) >> (mix64(seed) & 31));
    case 'n':
        if (mix64(seed + 1) % 10 == 0) {
            *p++ = 0;
            return p;
        }
        *p++ = 2;
        return put_f32(p, (float)v);
    case 'o':
        *p++ = 2;
        return put_f32(p, (float)v);
    default:
        return put_f32(p, (float)v);
    }
}

static uint8_t *put_avro(const struct shape *s, uint8_t *p, uint64_t seed)
{
    p = put_f32(p, (float)(seed % 2));
    if (s->form->array)
        p = put_long(p, s->d);
    for (uint32_t i = 0; i < s->d; i++)
        p = put_avro_value(p, type_of(s, i), seed * s->d + i);
    if (s->form->array)
        *p++ = 0;
    return p;
}

static char *schema_of(const struct shape *s, bool many)
{
    static const char *const text[] = {
        ['f'] = "\"float\"", ['d'] = "\"double\"",           ['i'] = "\"int\"",
        ['l'] = "\"long\"",  ['o'] = "[\"null\",\"float\"]", ['n'] = "[\"null\",\"float\"]"};
    char *schema = NULL;
    size_t n;
    FILE *f = open_memstream(&schema, &n);

    CHECK(f);
    fprintf(f,
            "%s{\"type\":\"record\",\"name\":\"row\",\"fields\":["
            "{\"name\":\"label\",\"type\":\"float\"}",
            many ? "{\"type\":\"array\",\"items\":" : "");
    if (s->form->array)
        fprintf(f, ",{\"name\":\"x\",\"type\":{\"type\":\"array\",\"items\":%s}}",
                text[(uint8_t)type_of(s, 0)]);
    for (uint32_t i = 0; !s->form->array && i < s->d; i++)
        fprintf(f, ",{\"name\":\"x%u\",\"type\":%s}", i, text[(uint8_t)type_of(s, i)]);
    fprintf(f, "]}%s", many ? "}" : "");
    CHECK(fclose(f) == 0);
    return schema;
}

static float take(avro_value_t *v);

static float take_all(avro_value_t *v)
{
    avro_value_t item;
    float sum = 0;
    size_t n;

    avro_value_get_size(v, &n);
    for (size_t i = 0; i < n; i++) {
        avro_value_get_by_index(v, i, &item, NULL);
        sum += take(&item);
    }
    return sum;
}

static float take(avro_value_t *v)
{
    avro_value_t branch;
    double d;
    float f;
    int32_t i;
    int64_t l;

    switch (avro_value_get_type(v)) {
    case AVRO_FLOAT:
        avro_value_get_float(v, &f);
        return f;
    case AVRO_DOUBLE:
        avro_value_get_double(v, &d);
        return (float)d;
    case AVRO_INT32:
        avro_value_get_int(v, &i);
        return (float)i;
    case AVRO_INT64:
        avro_value_get_long(v, &l);
        return (float)l;
    case AVRO_UNION:
        avro_value_get_current_branch(v, &branch);
        return take(&branch);
    case AVRO_NULL:
        return 0;
    default:
        return take_all(v);
    }
}

static struct bytes message(const struct load *l, uint32_t m)
{
    return (struct bytes){l->bytes + l->at[m], l->at[m + 1] - l->at[m]};
}

static void avro_c(struct load *l, const struct shape *s)
{
    avro_schema_t schema;
    avro_value_iface_t *iface;
    avro_value_t value;
    avro_reader_t reader = avro_reader_memory((const char *)l->bytes, (int64_t)l->n);

    (void)s;
    CHECK(avro_schema_from_json_length(l->schema, strlen(l->schema), &schema) == 0);
    iface = avro_generic_class_from_schema(schema);
    CHECK(avro_generic_value_new(iface, &value) == 0);
    for (uint32_t m = 0; m < l->messages; m++) {
        avro_reader_memory_set_source(reader, (const char *)message(l, m).p,
                                      (int64_t)message(l, m).n);
        avro_value_reset(&value);
        CHECK(avro_value_read(reader, &value) == 0);
        l->sum += take(&value);
    }
    avro_value_decref(&value);
    avro_value_iface_decref(iface);
    avro_schema_decref(schema);
    avro_reader_free(reader);
}

/* ---- text ---- */

/* s 0.4513, g nine digits of a float, d 17 of a double, e 19 and an exponent, i integers */
static uint8_t *put_text(uint8_t *p, char type, uint64_t seed)
{
    double v = uniform(seed);
    char *to = (char *)p;

    switch (type) {
    case 's':
        return p + sprintf(to, "%.4f", v);
    case 'g':
        return p + sprintf(to, "%.9g", (double)(float)v);
    case 'd':
        return p + sprintf(to, "%.17g", v);
    case 'e':
        return p + sprintf(to, "%.18e", v);
    default:
        return p + sprintf(to, "%d", (int)(v * 1e6) >> (mix64(seed) & 15));
    }
}

static uint8_t *put_csv(const struct shape *s, uint8_t *p, uint64_t seed)
{
    *p++ = (uint8_t)('0' + seed % 2);
    for (uint32_t i = 0; i < s->d; i++) {
        *p++ = ',';
        p = put_text(p, type_of(s, i), seed * s->d + i);
    }
    *p++ = '\n';
    return p;
}

static void strtof_csv(struct load *l, const struct shape *s)
{
    const char *p = (const char *)l->bytes, *end = p + l->n;
    char *next;

    for (; p < end; p++) {
        l->sum += strtof(p, &next);
        for (uint32_t i = 0; i < s->d; i++)
            l->sum += strtof(next + 1, &next);
        p = next;
    }
}

static uint8_t *put_svm_entry(uint8_t *p, uint32_t index, char type, uint64_t seed)
{
    p += sprintf((char *)p, " %u:", index);
    if (type != '1')
        return put_text(p, type, seed);
    *p++ = '1';
    return p;
}

/* Every column, or, where the type is 1, one of nine: 14 of 123 on average. */
static uint8_t *put_svm(const struct shape *s, uint8_t *p, uint64_t seed)
{
    bool sparse = s->types[0] == '1';

    p += sprintf((char *)p, "%s", seed % 2 ? "+1" : "-1");
    for (uint32_t i = 0; i < s->d; i += sparse ? 1 + (uint32_t)(mix64(seed + i) % 17) : 1)
        p = put_svm_entry(p, i + 1, type_of(s, i), seed * s->d + i);
    *p++ = '\n';
    return p;
}

static void strtof_svm(struct load *l, const struct shape *s)
{
    const char *p = (const char *)l->bytes, *end = p + l->n;
    char *next;

    (void)s;
    for (; p < end; p++) {
        l->sum += strtof(p, &next);
        for (p = next; *p != '\n'; p = next) {
            l->sum += (float)strtoul(p, &next, 10);
            l->sum += strtof(next + 1, &next);
        }
    }
}

/* ---- what is measured ---- */

static void make(struct load *l, const struct shape *s, uint32_t rows)
{
    size_t room = BYTES + (size_t)MANY * ROW_MAX;
    uint8_t *p;
    uint64_t seed = 0;

    memset(l, 0, sizeof *l);
    p = l->bytes = malloc(room + 1);
    l->at = calloc(BYTES / 16, sizeof *l->at);
    CHECK(l->bytes && l->at);
    l->schema = s->form->codec == &codec_avro ? schema_of(s, rows > 1) : NULL;
    while (p < l->bytes + BYTES) {
        if (l->schema && rows > 1)
            p = put_long(p, rows);
        for (uint32_t i = 0; i < rows; i++)
            p = s->form->put(s, p, seed++);
        if (l->schema && rows > 1)
            *p++ = 0;
        l->at[++l->messages] = (size_t)(p - l->bytes);
        CHECK(l->messages + 1 < BYTES / 16);
    }
    l->n = (size_t)(p - l->bytes);
    l->rows = (uint32_t)seed;
    *p = 0; /* for strtof */
}

static void *open_codec(const struct shape *s, const struct load *l, struct block *b)
{
    struct decoded *out = calloc(1, sizeof *out);
    struct input *in = calloc(1, sizeof *in);
    void *self = calloc(1, s->form->codec->self_bytes);
    struct err e;

    CHECK(out && in && self);
    snprintf(in->label, sizeof in->label, "%s",
             s->form->codec == &codec_libsvm ? ""
             : l->schema                     ? "label"
                                             : "f0");
    in->width = l->schema ? 0 : s->form->codec == &codec_csv ? s->d + 1 : s->d;
    in->missing = true;
    if (l->schema) {
        int fd;

        memcpy(in->schema, "/tmp/millrace-bench-XXXXXX", 27);
        fd = mkstemp(in->schema);
        CHECK(fd >= 0 && write(fd, l->schema, strlen(l->schema)) == (ssize_t)strlen(l->schema));
        close(fd);
    }
    if (s->form->codec->open(self, in, true, message(l, 0), out, &e) != ST_OK ||
        block_init(b, &out->shape, &e) != ST_OK) {
        fprintf(stderr, "%s: %s\n", s->name, e.text);
        exit(1);
    }
    if (l->schema)
        unlink(in->schema);
    free(in);
    free(out);
    return self;
}

static void decode(const struct load *l, const struct shape *s, void *self, struct block *b)
{
    char detail[DETAIL_BYTES];

    for (uint32_t m = 0; m < l->messages; m++) {
        enum bad bad =
            s->form->codec->decode(self, (struct bytes){0}, message(l, m), m, 0, b, detail);

        if (bad == BAD_FULL) {
            block_clear(b);
            bad = s->form->codec->decode(self, (struct bytes){0}, message(l, m), m, 0, b, detail);
        }
        if (bad) {
            fprintf(stderr, "%s: %s: %s\n", s->name, bad_name(bad), detail);
            exit(1);
        }
    }
}

static void copy(const struct load *l)
{
    size_t at = 0;

    for (uint32_t m = 0; m < l->messages; m++) {
        struct bytes v = message(l, m);

        at = at + v.n > l->room ? 0 : at;
        memcpy(l->copy + at, v.p, v.n);
        at += v.n;
        __asm__ volatile("" : : "r"(l->copy) : "memory");
    }
}

static void find_lines(const struct load *l)
{
    const uint8_t *p = l->bytes, *end = p + l->n;

    for (; p < end; p++) {
        p = memchr(p, '\n', (size_t)(end - p));
        __asm__ volatile("" : "+r"(p) : : "memory");
    }
}

enum { OURS, COPY, LINES, PEER, THINGS };

static double cpu_ns(void)
{
    struct timespec t;

    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double timed(int thing, struct load *l, const struct shape *s, void *self, struct block *b)
{
    double start = cpu_ns();

    if (thing == OURS)
        decode(l, s, self, b);
    else if (thing == COPY)
        copy(l);
    else if (thing == LINES)
        find_lines(l);
    else
        s->form->peer(l, s);
    return (cpu_ns() - start) / l->rows;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void put_ratio(const char *what, double *ratio, int n)
{
    qsort(ratio, (size_t)n, sizeof *ratio, by_value);
    printf(" | %s %5.1f [%.1f %.1f]", what, ratio[n / 2], ratio[0], ratio[n - 1]);
}

static void bench(const struct shape *s, uint32_t rows)
{
    double t[THINGS][ROUNDS], ratio[THINGS][ROUNDS];
    struct load l;
    struct block b;
    void *self;

    make(&l, s, rows);
    self = open_codec(s, &l, &b);
    l.room = block_bytes(&b.s);
    l.copy = calloc(l.room, 1);
    CHECK(l.copy);
    timed(OURS, &l, s, self, &b);
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < THINGS; k++) {
            bool none = (k == LINES && l.schema) || (k == PEER && round >= PEER_ROUNDS);

            t[k][round] = none ? 1 : timed(k, &l, s, self, &b);
            ratio[k][round] =
                k == PEER ? t[k][round] / t[OURS][round] : t[OURS][round] / t[k][round];
        }
    qsort(t[OURS], ROUNDS, sizeof(double), by_value);
    printf("%-26s %2u | %7.1f ns/row %6.2f M rows/s %5.2f GB/s", s->name, rows, t[OURS][ROUNDS / 2],
           1e3 / t[OURS][ROUNDS / 2], (double)l.n / l.rows / t[OURS][ROUNDS / 2]);
    put_ratio(s->form->peer_name, ratio[PEER], PEER_ROUNDS);
    put_ratio("copies", ratio[COPY], ROUNDS);
    if (!l.schema)
        put_ratio("scans", ratio[LINES], ROUNDS);
    printf("\n");
    fflush(stdout);
    s->form->codec->close(self);
    block_fini(&b);
    free(self);
    free(l.bytes);
    free(l.copy);
    free(l.at);
    free(l.schema);
}

static const struct form array_of = {&codec_avro, put_avro, avro_c, "x Avro C", true};
static const struct form fields = {&codec_avro, put_avro, avro_c, "x Avro C", false};
static const struct form csv = {&codec_csv, put_csv, strtof_csv, "x strtof", false};
static const struct form libsvm = {&codec_libsvm, put_svm, strtof_svm, "x strtof", false};

static const struct shape shapes[] = {
    {"avro float[28]", &array_of, 28, "f"},
    {"avro double[28]", &array_of, 28, "d"},
    {"avro long[28]", &array_of, 28, "l"},
    {"avro float[784]", &array_of, 784, "f"},
    {"avro 28 floats", &fields, 28, "f"},
    {"avro 28 doubles", &fields, 28, "d"},
    {"avro 14 floats, 14 doubles", &fields, 28, "fd"},
    {"avro 784 floats", &fields, 784, "f"},
    {"avro 28 ints", &fields, 28, "i"},
    {"avro 28 ints, longs", &fields, 28, "il"},
    {"avro 28 nullable, none is", &fields, 28, "o"},
    {"avro 28 nullable, 1 of 10", &fields, 28, "n"},
    {"avro nullable[28], 1 of 10", &array_of, 28, "n"},
    {"csv 28 x 0.4513", &csv, 28, "s"},
    {"csv 28 x 9 digits", &csv, 28, "g"},
    {"csv 28 x 17 digits", &csv, 28, "d"},
    {"csv 28 x 19 digits e-1", &csv, 28, "e"},
    {"csv 28 integers", &csv, 28, "i"},
    {"csv 28 of all kinds", &csv, 28, "sidsisg"},
    {"csv 784 x 0.4513", &csv, 784, "s"},
    {"libsvm 28 x 0.4513", &libsvm, 28, "s"},
    {"libsvm 28 x 9 digits", &libsvm, 28, "g"},
    {"libsvm 14 of 123, all 1", &libsvm, 123, "1"},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (uint32_t rows = 1; rows <= MANY; rows += MANY - 1)
            if (argc < 2 || strstr(shapes[i].name, argv[1]))
                bench(&shapes[i], rows);
    return 0;
}
