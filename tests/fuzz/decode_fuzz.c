/* Message values from anywhere, by every codec. The first byte chooses the job, the second how full
 * the block is; the rest is the message. Whatever it is: no rows or all of its rows, the rows
 * before untouched, every number finite, sparse columns ascending and in range, and a second decode
 * does the same. */
#include "config/base/bytes.h"
#include "consumer/codec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct subject {
    const char *schema; /* with ' for "; NULL: not Avro */
    uint32_t zeros;     /* so many zero bytes are a sample, which settles the framing */
    uint32_t format, width, hash_bits;
    const char *label, *features, *classes, *key, *time, *weight, *one_hot;
    const char *json; /* with ' for ": the sample */
    bool missing;     /* features may be */
};

#define RUNS                                                                                       \
    "{'type':'record','name':'R','fields':[{'name':'a','type':['null','float']},"                  \
    "{'name':'b','type':['null','float']},{'name':'c','type':['null','float'],'default':1},"       \
    "{'name':'d','type':['double','null']},{'name':'e','type':['double','null']},"                 \
    "{'name':'i','type':'int'},{'name':'j','type':'long'},{'name':'k','type':'int'},"              \
    "{'name':'p','type':{'type':'array','items':'double'}},"                                       \
    "{'name':'q','type':{'type':'array','items':['null','long']}}]}"

static const struct subject subjects[] = {
    {"{'type':'record','name':'R','fields':[{'name':'label','type':'float'},"
     "{'name':'f','type':{'type':'array','items':'float'}}]}",
     .zeros = 5, .width = 4, .label = "label"},
    {"{'type':'array','items':{'type':'record','name':'R','fields':["
     "{'name':'label','type':'float'},{'name':'f','type':{'type':'array','items':'float'}}]}}",
     .zeros = 1, .width = 3, .label = "label"},
    {"{'type':'record','name':'R','fields':[{'name':'head','type':'string'},"
     "{'name':'rows','type':{'type':'array','items':{'type':'record','name':'I','fields':["
     "{'name':'a','type':'float'},{'name':'b','type':'double'}]}}},"
     "{'name':'tail','type':{'type':'map','values':'int'}}]}",
     .zeros = 3},
    {"{'type':'record','name':'R','fields':[{'name':'i','type':'int'},{'name':'l','type':'long'},"
     "{'name':'b','type':'boolean'},{'name':'d','type':'double'},"
     "{'name':'n','type':['float','null'],'default':2},{'name':'s','type':'string'},"
     "{'name':'e','type':{'type':'enum','name':'E','symbols':['A','B']}},"
     "{'name':'w','type':'float'},{'name':'t','type':'long'}]}",
     .zeros = 22, .label = "e", .key = "s", .time = "t", .weight = "w"},
    {"{'type':'record','name':'R','fields':[{'name':'label','type':'float'},"
     "{'name':'indices','type':{'type':'array','items':'int'}},"
     "{'name':'values','type':{'type':'array','items':'float'}}]}",
     .zeros = 6, .width = 50, .label = "label"},
    {"{'type':'record','name':'R','fields':["
     "{'name':'m','type':{'type':'map','values':['null','double','string']}},"
     "{'name':'z','type':{'type':'array','items':'null'}},{'name':'next','type':['null','R']}]}",
     .zeros = 3, .features = "m.a m.b"},
    {"{'type':'record','name':'R','fields':["
     "{'name':'a','type':{'type':'array','items':['null','int','double']}},"
     "{'name':'p','type':'bytes'},{'name':'y','type':'string'},{'name':'x','type':{'type':'array',"
     "'items':{'type':'array','items':{'type':'map','values':'bytes'}}}}]}",
     .zeros = 4, .width = 2, .label = "y", .features = "a p", .classes = "cat dog 7"},
    {"{'type':'record','name':'R','fields':[{'name':'u','type':["
     "{'type':'record','name':'A','fields':[{'name':'x','type':'float'}]},"
     "{'type':'record','name':'B','fields':[{'name':'x','type':'long'}]},'null']},"
     "{'name':'t','type':{'type':'record','name':'T','fields':[{'name':'l','type':['null','T']},"
     "{'name':'r','type':{'type':'array','items':'T'}}]}}]}",
     .zeros = 7, .features = "u.x"},
    {"{'type':'record','name':'R','fields':[{'name':'label','type':'float'}," /* with schema ids */
     "{'name':'f','type':{'type':'array','items':'float'}}]}",
     .zeros = 10, .width = 2, .label = "label"},
    {.format = FORMAT_CSV, .width = 3, .label = "f0"},
    {.format = FORMAT_CSV,
     .width = 5,
     .label = "f4",
     .classes = "a b",
     .key = "f0",
     .weight = "f1",
     .time = "f2"},
    {.format = FORMAT_LIBSVM, .width = 20},
    {.format = FORMAT_LIBSVM, .width = 1000, .classes = "-1 +1"},
    {"{'type':'record','name':'R','fields':[{'name':'f','type':['null','float']},"
     "{'name':'d','type':'double'},{'name':'p','type':'bytes'},"
     "{'name':'a','type':['null',{'type':'array','items':['null','int','double']}]},"
     "{'name':'m','type':{'type':'map','values':['null','double']}},"
     "{'name':'u','type':['null',{'type':'record','name':'U','fields':["
     "{'name':'x','type':'float'},{'name':'y','type':'float'}]}]}]}",
     .zeros = 13, .width = 2, .features = "f d p a m.a m.b u.y u.x", .missing = true},
    {.format = FORMAT_CSV, .width = 3, .label = "f0", .missing = true},
    {.format = FORMAT_LIBSVM, .hash_bits = 3, .classes = "-1 +1"},
    {RUNS, .zeros = 26, .width = 3},
    {RUNS, .zeros = 26, .width = 3, .missing = true},
    {.format = FORMAT_CSV, .width = 40},
    {.format = FORMAT_JSON, .label = "y", .features = "f1 f2 f10 a.b"},
    {.format = FORMAT_JSON,
     .json = "{'y':1,'f1':2,'a':[1,2,3],'b':{'c':true,'d':'t'},'f10':3}",
     .label = "y",
     .missing = true},
    {.format = FORMAT_JSON,
     .json = "{'y':1,'c':'t','a':[1,2,3],'b':{'c':true,'d':'t'},'k':3}",
     .label = "y",
     .classes = "a b 7",
     .one_hot = "c b.d",
     .hash_bits = 3,
     .key = "k",
     .weight = "w",
     .time = "t"},
    {.format = FORMAT_F32, .width = 3, .label = "f0", .weight = "f2"},
    {.format = FORMAT_F32, .width = 2, .missing = true},
};

enum { SUBJECTS = sizeof subjects / sizeof *subjects };

struct opened {
    const struct codec *codec;
    void *self;
    struct block b;
    bool missing; /* a column may be NaN */
};

static void set(char *to, const char *text)
{
    if (text)
        memcpy(to, text, strlen(text) + 1);
}

static void words(const char *text, char *to, size_t stride, uint32_t *n)
{
    for (; text && *text; ++*n) {
        size_t len = strcspn(text, " ");

        memcpy(to + stride * *n, text, len);
        text += len + (text[len] == ' ');
    }
}

static void write_schema(const char *text, char *path)
{
    FILE *f;

    set(path, "/tmp/millrace-fuzz-XXXXXX");
    f = fdopen(mkstemp(path), "w");
    CHECK(f);
    for (; *text; text++)
        fputc(*text == '\'' ? '"' : *text, f);
    CHECK(fclose(f) == 0);
}

static void open_subject(const struct subject *s, struct opened *o)
{
    static const uint8_t zeros[32];
    struct bytes sample = {s->zeros ? zeros : NULL, s->zeros};
    struct decoded *out = calloc(1, sizeof *out);
    struct input *in = calloc(1, sizeof *in);
    char json[256];
    struct err e;

    CHECK(in && out);
    in->format = s->format;
    in->width = s->width;
    in->missing = o->missing = s->missing;
    in->hash_bits = s->hash_bits;
    set(in->label, s->label);
    set(in->key, s->key);
    set(in->time, s->time);
    set(in->weight, s->weight);
    words(s->features, in->feature[0].name, sizeof in->feature[0], &in->features);
    words(s->one_hot, in->one_hot[0], sizeof in->one_hot[0], &in->one_hots);
    words(s->classes, in->class_name[0], sizeof in->class_name[0], &in->classes);
    set(in->delimiter, ",");
    if (s->schema)
        write_schema(s->schema, in->schema);
    if (s->json) {
        sample = (struct bytes){(uint8_t *)json, strlen(s->json)};
        for (size_t i = 0; i <= sample.n; i++)
            json[i] = s->json[i];
        for (char *q = json; *q; q++)
            *q = *q == '\'' ? '"' : *q;
    }
    o->codec = codec_find(s->format);
    o->self = calloc(1, o->codec->self_bytes);
    CHECK(o->self);
    if (o->codec->open(o->self, in, s->label != NULL, sample, out, &e) != ST_OK) {
        fprintf(stderr, "subject %d: %s\n", (int)(s - subjects), e.text);
        abort();
    }
    out->shape.keyed = out->shape.timed = true;
    CHECK(block_init(&o->b, &out->shape, &e) == ST_OK);
    if (s->schema)
        unlink(in->schema);
    free(in);
    free(out);
}

/* The rows so far, as the message finds them: a pattern that is finite, and checked afterwards. */
static void prepare(struct block *b, uint8_t fill)
{
    static const uint32_t rows[] = {0, 1, 2, BLOCK_ROWS - 2, BLOCK_ROWS - 1, BLOCK_ROWS};

    block_clear(b);
    b->n = rows[fill % 6];
    for (uint32_t i = b->n > 2 ? b->n - 2 : 0; b->ptr && i <= b->n; i++)
        b->ptr[i] = fill & 64 && b->n ? b->s.nnz_max - 1 : i;
}

/* Of the first n rows, all but the entries of sparse ones, which the count in ptr guards. */
static uint64_t hash_rows(const struct block *b, uint32_t from, uint32_t to)
{
    uint64_t h = b->n;

    if (b->x)
        h = hash64(b->x + (size_t)from * b->s.ld, (size_t)(to - from) * b->s.ld * 4, h);
    if (b->ptr) {
        h = hash64(b->ptr + from, (to - from + 1) * 4, h);
        h = hash64(b->col + b->ptr[from], (b->ptr[to] - b->ptr[from]) * 4, h);
        h = hash64(b->val + b->ptr[from], (b->ptr[to] - b->ptr[from]) * 4, h);
    }
    if (b->y)
        h = hash64(b->y + from, (to - from) * 4, h);
    h = hash64(b->weight + from, (to - from) * 4, h);
    h = hash64(b->rid + from, (to - from) * 8, h);
    h = hash64(b->key + from, (to - from) * 8, h);
    return hash64(b->ts_ms + from, (to - from) * 8, h);
}

static void check_row(const struct block *b, uint32_t row, bool missing)
{
    for (uint32_t c = 0; b->x && c < b->s.ld; c++) {
        float v = b->x[(size_t)row * b->s.ld + c];

        CHECK(c < b->s.d ? isfinite(v) || (missing && isnan(v)) : v == 0);
    }
    for (uint32_t q = b->ptr ? b->ptr[row] : 0; b->ptr && q < b->ptr[row + 1]; q++) {
        CHECK(isfinite(b->val[q]) && b->col[q] < b->s.d);
        CHECK(q == b->ptr[row] || b->col[q] > b->col[q - 1]);
    }
    CHECK(!b->y || isfinite(b->y[row]));
    CHECK(isfinite(b->weight[row]) && b->weight[row] >= 0);
    CHECK(b->rid[row] >> 16 == 9);
}

static enum bad decode(struct opened *o, const uint8_t *data, size_t size, uint8_t fill,
                       uint64_t *result)
{
    char detail[DETAIL_BYTES];
    struct block *b = &o->b;
    uint32_t before, from;
    uint64_t rows;
    enum bad bad;

    prepare(b, fill);
    before = b->n;
    from = before > 2 ? before - 2 : 0; /* the last ones speak for all */
    rows = hash_rows(b, from, before);
    memset(detail, 1, sizeof detail);
    bad = o->codec->decode(o->self, (struct bytes){data, size & 7}, (struct bytes){data, size}, 9,
                           -1, b, detail);
    CHECK(bad < BAD_REASONS && b->n >= before && b->n <= BLOCK_ROWS);
    CHECK(bad == BAD_NONE || b->n == before);
    CHECK(bad != BAD_FULL || before);
    CHECK(bad == BAD_NONE || bad == BAD_FULL || memchr(detail, 0, sizeof detail));
    for (uint32_t i = before; i < b->n; i++)
        check_row(b, i, o->missing);
    *result = hash_rows(b, before, b->n) + (uint64_t)bad;
    b->n = before;
    CHECK(hash_rows(b, from, before) == rows);
    return bad;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct opened opened[SUBJECTS];
    uint64_t first, second;
    struct opened *o;
    uint8_t *exact;

    if (size < 2)
        return 0;
    o = &opened[data[0] % SUBJECTS];
    if (!o->codec)
        open_subject(&subjects[data[0] % SUBJECTS], o);
    exact = malloc(size - 2 + (size == 2));
    CHECK(exact);
    memcpy(exact, data + 2, size - 2);
    decode(o, exact, size - 2, data[1], &first);
    decode(o, exact, size - 2, data[1], &second);
    CHECK(first == second);
    free(exact);
    return 0;
}
