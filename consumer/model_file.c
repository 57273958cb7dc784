/* model_file.c: a model as bytes: the manifest, an Avro object container of one record, and the
 * body, a safetensors file.
 *
 * Body: u64 length N of the header, N bytes of JSON
 * {"w":{"dtype":"F32","shape":[785,10],"data_offsets":[0,31400]}, ...} padded with spaces to a
 * multiple of 8, then the tensors one behind another, little-endian, row-major, without gaps. The
 * manifest repeats where each tensor lies, so nothing here has to parse JSON. */
#include "config/base/avro.h"
#include "consumer/avro_encode.h"
#include "consumer/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char schema[] =
    "{\"type\":\"record\",\"name\":\"Model\",\"namespace\":\"millrace\",\"fields\":["
    "{\"name\":\"job\",\"type\":\"string\"},{\"name\":\"topic\",\"type\":\"string\"},{\"name\":"
    "\"algo\",\"type\":\"string\"},{\"name\":\"start_from\",\"type\":\"string\"},"
    "{\"name\":\"millrace\",\"type\":\"string\"},{\"name\":\"version\",\"type\":\"long\"},"
    "{\"name\":\"created\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}},"
    "{\"name\":\"model_version\",\"type\":\"long\"},{\"name\":\"state_version\",\"type\":\"long\"},"
    "{\"name\":\"job_fingerprint\",\"type\":\"long\"},{\"name\":\"records\",\"type\":\"long\"},"
    "{\"name\":\"options\",\"type\":{\"type\":\"map\",\"values\":\"string\"}},"
    "{\"name\":\"derive\",\"type\":{\"type\":\"map\",\"values\":\"string\"}},"
    "{\"name\":\"packed_model\",\"type\":\"long\"},"
    "{\"name\":\"measures\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":"
    "\"Measure\",\"fields\":["
    "{\"name\":\"name\",\"type\":\"string\"},{\"name\":\"value\",\"type\":\"double\"},"
    "{\"name\":\"lower_is_better\",\"type\":\"boolean\"}]}}},"
    "{\"name\":\"ranges\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":"
    "\"Range\",\"fields\":["
    "{\"name\":\"partition\",\"type\":\"long\"},{\"name\":\"run\",\"type\":\"long\"},{\"name\":"
    "\"epoch\",\"type\":\"long\"},"
    "{\"name\":\"begin\",\"type\":\"long\"},{\"name\":\"end\",\"type\":\"long\"},{\"name\":"
    "\"records\",\"type\":\"long\"},"
    "{\"name\":\"rejected\",\"type\":\"long\"},{\"name\":\"lost\",\"type\":\"long\"},"
    "{\"name\":\"until\",\"type\":\"long\"},{\"name\":\"waits\",\"type\":\"boolean\"},"
    "{\"name\":\"done\",\"type\":\"boolean\"},{\"name\":\"repeatable\",\"type\":\"boolean\"},"
    "{\"name\":\"last_offset\",\"type\":\"long\"},"
    "{\"name\":\"last_fingerprint\",\"type\":\"long\"},"
    "{\"name\":\"breaks\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":"
    "\"Break\",\"fields\":[{\"name\":\"run\",\"type\":\"long\"},{\"name\":\"epoch\",\"type\":"
    "\"long\"},"
    "{\"name\":\"kind\",\"type\":{\"type\":\"enum\",\"name\":\"Kind\",\"symbols\":"
    "[\"learned\",\"lost\",\"reset\",\"ended\"]}},"
    "{\"name\":\"begin\",\"type\":\"long\"},{\"name\":\"end\",\"type\":\"long\"}]}}}]}}},"
    "{\"name\":\"seed\",\"type\":\"long\"},{\"name\":\"holdout\",\"type\":\"double\"},"
    "{\"name\":\"staleness\",\"type\":\"long\"},{\"name\":\"partitions\",\"type\":\"long\"},"
    "{\"name\":\"backend\",\"type\":\"string\"},"
    "{\"name\":\"classes\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"
    "{\"name\":\"features\",\"type\":\"long\"},"
    "{\"name\":\"columns\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"
    "{\"name\":\"tensors\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":"
    "\"Tensor\",\"fields\":["
    "{\"name\":\"name\",\"type\":\"string\"},{\"name\":\"dtype\",\"type\":\"string\"},"
    "{\"name\":\"shape\",\"type\":{\"type\":\"array\",\"items\":\"long\"}},{\"name\":\"at\","
    "\"type\":\"long\"}]}}},"
    "{\"name\":\"body_bytes\",\"type\":\"long\"},{\"name\":\"body_crc32c\",\"type\":\"long\"}]}";

static const struct {
    enum dtype dtype;
    const char *name;
} dtypes[] = {{DT_F32, "F32"}, {DT_F64, "F64"}, {DT_U8, "U8"},  {DT_I32, "I32"},
              {DT_U32, "U32"}, {DT_I64, "I64"}, {DT_U64, "U64"}};

enum { DTYPES = sizeof dtypes / sizeof *dtypes, SYNC_BYTES = 16, HEADER_MAX = 256 * TENSORS_MAX };

static const char *safe_dtype(enum dtype t)
{
    for (uint32_t i = 0; i < DTYPES; i++)
        if (dtypes[i].dtype == t)
            return dtypes[i].name;
    CHECK(false);
    return "";
}

static void put_map(struct avro_out *o, const struct model_text *t, uint32_t n)
{
    if (n)
        encode_long(o, n);
    for (uint32_t i = 0; i < n; i++) {
        encode_text(o, t[i].name);
        encode_text(o, t[i].value);
    }
    encode_long(o, 0);
}

/* An array's count; its end is a 0, which put_end writes (an empty array is only that). */
static void put_count(struct avro_out *o, uint32_t n)
{
    if (n)
        encode_long(o, n);
}

static void put_end(struct avro_out *o)
{
    encode_long(o, 0);
}

static uint32_t dims(const struct tdecl *d)
{
    uint32_t n = 0;

    while (n < 4 && d->dim[n])
        n++;
    return n;
}

static void put_tensors(struct avro_out *o, const struct tensors *ts, uint64_t at)
{
    put_count(o, ts->n);
    for (uint32_t i = 0; i < ts->n; i++) {
        const struct tensor *t = &ts->t[i];

        encode_text(o, t->d.name);
        encode_text(o, safe_dtype(t->d.dtype));
        put_count(o, dims(&t->d));
        for (uint32_t k = 0; k < dims(&t->d); k++)
            encode_long(o, (int64_t)t->d.dim[k]);
        put_end(o);
        encode_long(o, (int64_t)at);
        at += t->bytes;
    }
    put_end(o);
}

static void put_measures(struct avro_out *o, const struct measures *ms)
{
    encode_long(o, ms->model);
    put_count(o, ms->n);
    for (uint32_t i = 0; i < ms->n; i++) {
        encode_text(o, ms->m[i].name);
        encode_double(o, ms->m[i].value);
        encode_bool(o, ms->m[i].lower_is_better);
    }
    put_end(o);
}

static void put_breaks(struct avro_out *o, const struct model *m, const struct model_range *r)
{
    put_count(o, r->breaks);
    for (uint32_t i = 0; i < r->breaks; i++) {
        const struct model_break *b = &m->brk[r->break_at + i];

        encode_long(o, b->run);
        encode_long(o, b->epoch);
        encode_long(o, b->kind);
        encode_long(o, b->begin);
        encode_long(o, b->end);
    }
    put_end(o);
}

static void put_ranges(struct avro_out *o, const struct model *m)
{
    put_count(o, m->ranges);
    for (uint32_t i = 0; i < m->ranges; i++) {
        const struct model_range *r = &m->range[i];
        int64_t v[] = {
            r->partition,         r->run,           r->epoch, r->begin, r->end, (int64_t)r->records,
            (int64_t)r->rejected, (int64_t)r->lost, r->until};

        for (uint32_t k = 0; k < sizeof v / sizeof *v; k++)
            encode_long(o, v[k]);
        encode_bool(o, r->waits);
        encode_bool(o, r->done);
        encode_bool(o, r->repeatable);
        encode_long(o, r->last_offset);
        encode_long(o, (int64_t)r->last_fingerprint);
        put_breaks(o, m, r);
    }
    put_end(o);
}

static void put_record(struct avro_out *o, const struct model *m, uint64_t data_at)
{
    encode_text(o, m->job);
    encode_text(o, m->topic);
    encode_text(o, m->algo);
    encode_text(o, m->start_from);
    encode_text(o, m->millrace);
    encode_long(o, (int64_t)m->version);
    encode_long(o, m->created_ms);
    encode_long(o, m->model_version);
    encode_long(o, m->state_version);
    encode_long(o, (int64_t)m->fingerprint);
    encode_long(o, (int64_t)m->records);
    put_map(o, m->option, m->options);
    put_map(o, m->derive, m->derives);
    put_measures(o, &m->measures);
    put_ranges(o, m);
    encode_long(o, (int64_t)m->seed);
    encode_double(o, m->holdout);
    encode_long(o, m->staleness);
    encode_long(o, m->partitions);
    encode_text(o, m->backend);
    put_count(o, m->classes);
    for (uint32_t i = 0; i < m->classes; i++)
        encode_text(o, m->class_name[i]);
    put_end(o);
    encode_long(o, m->features);
    put_count(o, m->column ? m->columns : 0);
    for (uint32_t i = 0; m->column && i < m->columns; i++)
        encode_text(o, m->column[i]);
    put_end(o);
    put_tensors(o, &m->tensors, data_at);
    encode_long(o, (int64_t)m->body_bytes);
    encode_long(o, m->body_crc);
}

static enum st encode_manifest(const struct model *m, uint64_t data_at, struct avro_out *o,
                               struct err *e)
{
    static const char magic[] = {'O', 'b', 'j', 1};
    struct avro_out record = {.max = RECORD_BYTES_MAX};
    uint8_t sync[SYNC_BYTES];

    put_record(&record, m, data_at);
    put_u64(sync, hash64(record.p, record.n, 1));
    put_u64(sync + 8, hash64(record.p, record.n, 2));
    encode_raw(o, magic, sizeof magic);
    encode_long(o, 2);
    encode_text(o, "avro.schema");
    encode_text(o, schema);
    encode_text(o, "avro.codec");
    encode_text(o, "null");
    put_end(o);
    encode_raw(o, sync, sizeof sync);
    encode_long(o, 1);
    encode_long(o, (int64_t)record.n);
    encode_raw(o, record.p, record.n);
    encode_raw(o, sync, sizeof sync);
    encode_fini(&record);
    if (o->full || record.full)
        return fail(e, ST_FATAL, "the manifest of model %" PRIu64 " needs more than %d bytes",
                    m->version, RECORD_BYTES_MAX);
    return ST_OK;
}

/* The JSON header of a safetensors file into text; its length is a multiple of 8. */
static size_t body_header(const struct tensors *ts, char *text, size_t room)
{
    uint64_t at = 0;
    size_t n = (size_t)snprintf(text, room, "{");

    for (uint32_t i = 0; i < ts->n; i++) {
        const struct tensor *t = &ts->t[i];

        n += (size_t)snprintf(text + n, room - n, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                              i ? "," : "", t->d.name, safe_dtype(t->d.dtype));
        for (uint32_t k = 0; k < dims(&t->d); k++)
            n += (size_t)snprintf(text + n, room - n, "%s%" PRIu64, k ? "," : "", t->d.dim[k]);
        n += (size_t)snprintf(text + n, room - n, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                              at, at + t->bytes);
        at += t->bytes;
    }
    n += (size_t)snprintf(text + n, room - n, "}");
    CHECK(n + 8 < room);
    for (; n % 8; n++)
        text[n] = ' ';
    return n;
}

enum st model_encode(struct model *m, struct model_bytes *b, struct err *e)
{
    char *header = malloc(HEADER_MAX);
    uint64_t data = 0, at;
    struct avro_out o = {.max = RECORD_BYTES_MAX};
    size_t n;
    enum st st;

    *b = (struct model_bytes){0};
    if (!header)
        return fail(e, ST_FATAL, "no memory to write a model");
    for (uint32_t i = 0; i < m->tensors.n; i++)
        data += m->tensors.t[i].bytes;
    n = body_header(&m->tensors, header, HEADER_MAX);
    m->body_bytes = b->body_n = 8 + n + data;
    b->body = malloc(b->body_n);
    if (!b->body) {
        free(header);
        return fail(e, ST_FATAL, "no memory to write a model of %" PRIu64 " bytes", m->body_bytes);
    }
    put_u64(b->body, n);
    memcpy(b->body + 8, header, n);
    free(header);
    at = 8 + n;
    for (uint32_t i = 0; i < m->tensors.n; i++) {
        memcpy(b->body + at, m->tensors.t[i].p, m->tensors.t[i].bytes);
        at += m->tensors.t[i].bytes;
    }
    m->body_crc = crc32c(b->body, b->body_n);
    st = encode_manifest(m, 8 + n, &o, e);
    b->manifest = o.p;
    b->manifest_n = o.n;
    return st;
}

static uint32_t get_map(struct avro_in *in, struct model_text *t)
{
    uint32_t n = (uint32_t)avro_count(in, MODEL_TEXTS_MAX);

    for (uint32_t i = 0; i < n; i++) {
        avro_string(in, t[i].name, sizeof t[i].name);
        avro_string(in, t[i].value, sizeof t[i].value);
    }
    if (n)
        avro_count(in, 0);
    return n;
}

static double get_double(struct avro_in *in)
{
    const uint8_t *p = avro_bytes(in, 8);
    uint64_t bits = p ? get_u64(p) : 0;
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static bool get_bool(struct avro_in *in)
{
    const uint8_t *p = avro_bytes(in, 1);

    return p && *p;
}

static void get_measures(struct avro_in *in, struct measures *ms)
{
    ms->model = (int32_t)avro_long(in);
    ms->n = (uint32_t)avro_count(in, sizeof ms->m / sizeof *ms->m);
    for (uint32_t i = 0; i < ms->n; i++) {
        avro_string(in, ms->m[i].name, sizeof ms->m[i].name);
        ms->m[i].value = get_double(in);
        ms->m[i].lower_is_better = get_bool(in);
    }
    if (ms->n)
        avro_count(in, 0);
}

static void get_breaks(struct avro_in *in, struct model *m, struct model_range *r)
{
    r->break_at = m->breaks;
    r->breaks = (uint32_t)avro_count(in, MODEL_BREAKS_MAX - m->breaks);
    m->breaks += r->breaks;
    for (uint32_t i = 0; i < r->breaks; i++) {
        struct model_break *b = &m->brk[r->break_at + i];

        b->run = (uint32_t)avro_count(in, UINT32_MAX);
        b->epoch = (uint32_t)avro_count(in, UINT32_MAX);
        b->kind = (uint32_t)avro_count(in, LINEAGE_ENDED);
        b->begin = avro_long(in);
        b->end = avro_long(in);
    }
    if (r->breaks)
        avro_count(in, 0);
}

/* What a reader of ranges relies on: partitions in order, offsets and epochs that can be. */
static bool range_valid(const struct model *m, uint32_t i)
{
    const struct model_range *r = &m->range[i];

    return r->partition < m->partitions && (!i || r[-1].partition < r->partition) &&
           0 <= r->begin && r->begin <= r->end && r->begin <= r->until;
}

static void get_ranges(struct avro_in *in, struct model *m)
{
    m->ranges = (uint32_t)avro_count(in, PARTITIONS_MAX);
    for (uint32_t i = 0; i < m->ranges; i++) {
        struct model_range *r = &m->range[i];

        r->partition = (uint32_t)avro_count(in, PARTITIONS_MAX - 1);
        r->run = (uint32_t)avro_count(in, UINT32_MAX);
        r->epoch = (uint32_t)avro_count(in, UINT32_MAX);
        r->begin = avro_long(in);
        r->end = avro_long(in);
        r->records = avro_count(in, INT64_MAX);
        r->rejected = avro_count(in, INT64_MAX);
        r->lost = avro_count(in, INT64_MAX);
        r->until = avro_long(in);
        r->waits = get_bool(in);
        r->done = get_bool(in);
        r->repeatable = get_bool(in);
        r->last_offset = avro_long(in);
        r->last_fingerprint = (uint64_t)avro_long(in);
        get_breaks(in, m, r);
    }
    if (m->ranges)
        avro_count(in, 0);
}

static void get_origin(struct avro_in *in, struct model *m)
{
    get_ranges(in, m);
    m->seed = (uint64_t)avro_long(in);
    m->holdout = get_double(in);
    m->staleness = (int32_t)avro_long(in);
    m->partitions = (uint32_t)avro_count(in, PARTITIONS_MAX);
    avro_string(in, m->backend, sizeof m->backend);
    for (uint32_t i = 0; i < m->ranges && !in->bad; i++)
        in->bad = !range_valid(m, i);
}

static enum st get_columns(struct avro_in *in, struct model *m, struct err *e)
{
    m->columns = (uint32_t)avro_count(in, MODEL_COLUMNS_MAX);
    if (!m->columns)
        return ST_OK;
    m->column = calloc(m->columns, sizeof *m->column);
    if (!m->column)
        return fail(e, ST_FATAL, "no memory for %" PRIu32 " column names", m->columns);
    for (uint32_t i = 0; i < m->columns; i++)
        avro_string(in, m->column[i], sizeof m->column[i]);
    avro_count(in, 0);
    return ST_OK;
}

static enum st get_tensors(struct avro_in *in, struct model *m, struct err *e)
{
    struct tdecl d[TENSORS_MAX];
    uint32_t n = (uint32_t)avro_count(in, TENSORS_MAX);
    char dtype[8];

    memset(d, 0, sizeof d);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = 0, count;

        avro_string(in, m->tensor_name[i], sizeof m->tensor_name[i]);
        avro_string(in, dtype, sizeof dtype);
        while (k < DTYPES && strcmp(dtype, dtypes[k].name))
            k++;
        if (in->bad || k == DTYPES)
            return fail(e, ST_CORRUPT, "tensor %" PRIu32 " of the model has the unknown type '%s'",
                        i, dtype);
        d[i] = (struct tdecl){.id = i,
                              .name = m->tensor_name[i],
                              .what = "",
                              .dtype = dtypes[k].dtype,
                              .law = LAW_LOCAL};
        count = (uint32_t)avro_count(in, 4);
        for (uint32_t j = 0; j < count; j++)
            d[i].dim[j] = avro_count(in, (uint64_t)1 << 40);
        if (count)
            avro_count(in, 0);
        m->tensor_at[i] = avro_count(in, (uint64_t)1 << 40);
    }
    if (n)
        avro_count(in, 0);
    if (in->bad)
        return fail(e, ST_CORRUPT, "the model's manifest does not verify: its tensors end early");
    return tensors_layout(&m->tensors, d, n, CHUNK_SHIFT, (uint64_t)1 << 40, e);
}

/* The container's one record, or NULL. */
static const uint8_t *open_container(const uint8_t *p, size_t n, size_t *record_n)
{
    struct avro_in in = {p, p + n, false};
    const uint8_t *magic = avro_bytes(&in, 4), *text, *sync, *record;
    char key[32], codec[16];
    bool same = false;

    if (!magic || memcmp(magic, "Obj\1", 4) || avro_count(&in, 2) != 2)
        return NULL;
    avro_string(&in, key, sizeof key);
    same = !strcmp(key, "avro.schema") && avro_count(&in, 1 << 16) == sizeof schema - 1;
    text = avro_bytes(&in, same ? sizeof schema - 1 : 0);
    same = same && text && !memcmp(text, schema, sizeof schema - 1);
    avro_string(&in, key, sizeof key);
    avro_string(&in, codec, sizeof codec);
    same = same && !strcmp(key, "avro.codec") && !strcmp(codec, "null");
    avro_count(&in, 0);
    sync = avro_bytes(&in, SYNC_BYTES);
    if (!same || !sync || avro_count(&in, 1) != 1)
        return NULL;
    *record_n = avro_count(&in, n);
    record = avro_bytes(&in, *record_n);
    if (!record || in.end - in.p != SYNC_BYTES || memcmp(in.p, sync, SYNC_BYTES) ||
        get_u64(sync) != hash64(record, *record_n, 1))
        return NULL;
    return record;
}

enum st model_decode(struct model *m, const uint8_t *manifest, size_t n, struct err *e)
{
    size_t record_n = 0;
    const uint8_t *record = open_container(manifest, n, &record_n);
    struct avro_in in = {record, record + record_n, false};

    if (!record)
        return fail(e, ST_CORRUPT,
                    "a model manifest of %zu bytes is damaged, or of a newer program", n);
    avro_string(&in, m->job, sizeof m->job);
    avro_string(&in, m->topic, sizeof m->topic);
    avro_string(&in, m->algo, sizeof m->algo);
    avro_string(&in, m->start_from, sizeof m->start_from);
    avro_string(&in, m->millrace, sizeof m->millrace);
    m->version = (uint64_t)avro_long(&in);
    m->created_ms = avro_long(&in);
    m->model_version = (uint32_t)avro_long(&in);
    m->state_version = (uint32_t)avro_long(&in);
    m->fingerprint = (uint64_t)avro_long(&in);
    m->records = (uint64_t)avro_long(&in);
    m->options = get_map(&in, m->option);
    m->derives = get_map(&in, m->derive);
    get_measures(&in, &m->measures);
    get_origin(&in, m);
    m->classes = (uint32_t)avro_count(&in, CLASS_NAMES_MAX);
    for (uint32_t i = 0; i < m->classes; i++)
        avro_string(&in, m->class_name[i], CLASS_NAME_BYTES);
    if (m->classes)
        avro_count(&in, 0);
    m->features = (uint32_t)avro_count(&in, COLUMNS_MAX);
    TRY(get_columns(&in, m, e));
    TRY(get_tensors(&in, m, e));
    m->body_bytes = avro_count(&in, (uint64_t)1 << 40);
    m->body_crc = (uint32_t)avro_count(&in, UINT32_MAX);
    if (in.bad || in.p != in.end)
        return fail(e, ST_CORRUPT, "model %" PRIu64 ": its manifest does not verify", m->version);
    return ST_OK;
}

enum st model_load(struct model *m, const uint8_t *body, size_t n, struct err *e)
{
    uint32_t crc = crc32c(body, n);

    if (n != m->body_bytes || crc != m->body_crc)
        return fail(e, ST_CORRUPT,
                    "model %" PRIu64 ": body has %zu bytes with CRC %08" PRIx32
                    ", its manifest says %" PRIu64 " with %08" PRIx32,
                    m->version, n, crc, m->body_bytes, m->body_crc);
    TRY(tensors_alloc(&m->tensors, NULL, NULL, e));
    for (uint32_t i = 0; i < m->tensors.n; i++) {
        const struct tensor *t = &m->tensors.t[i];

        if (m->tensor_at[i] > n || t->bytes > n - m->tensor_at[i])
            return fail(e, ST_CORRUPT, "model %" PRIu64 ": tensor %s lies outside its body",
                        m->version, t->d.name);
        memcpy(t->p, body + m->tensor_at[i], t->bytes);
    }
    return ST_OK;
}

void model_fini(struct model *m)
{
    free(m->column);
    tensors_free(&m->tensors, NULL, NULL);
    m->column = NULL;
}
