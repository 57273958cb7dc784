#include "consumer/export.h"

#include "config/base/bytes.h"
#include "config/base/json.h"
#include "consumer/gz.h"
#include "consumer/report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const export_forms[] = {"npz", "json", "safetensors", "html", NULL};

enum { NPY_HEAD = 128, NAME_ROOM = 64 };

static const char *numpy_type(enum dtype t)
{
    static const char *const name[] = {
        [DT_F32] = "<f4", [DT_F64] = "<f8", [DT_U8] = "|u1", [DT_I32] = "<i4",
        [DT_U32] = "<u4", [DT_I64] = "<i8", [DT_U64] = "<u8"};

    CHECK(t >= DT_F32 && t <= DT_U64);
    return name[t];
}

/* "\x93NUMPY" 1 0, u16 length, a Python dict, spaces and a newline: 128 bytes in all. */
static void npy_head(const struct tensor *t, uint8_t head[NPY_HEAD])
{
    char text[NPY_HEAD];
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     numpy_type(t->d.dtype));

    for (uint32_t k = 0; k < 4 && t->d.dim[k]; k++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%" PRIu64 ", ", t->d.dim[k]);
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    CHECK(n + 11 < NPY_HEAD);
    memcpy(head, "\x93NUMPY\1\0", 8);
    put_u16(head + 8, NPY_HEAD - 10);
    memset(head + 10, ' ', NPY_HEAD - 10);
    memcpy(head + 10, text, (size_t)n);
    head[NPY_HEAD - 1] = '\n';
}

/* Local header and central directory share these 26 bytes from "version needed" on. */
static void zip_fields(uint8_t *p, uint32_t crc, uint32_t bytes, size_t name)
{
    memset(p, 0, 26);
    put_u16(p, 20);
    put_u16(p + 8, 0x21); /* 1980-01-01: the same model makes the same file */
    put_u32(p + 10, crc);
    put_u32(p + 14, bytes);
    put_u32(p + 18, bytes);
    put_u16(p + 22, (uint16_t)name);
}

static enum st export_npz(const struct model *m, FILE *f, struct err *e)
{
    uint32_t at[TENSORS_MAX], crc[TENSORS_MAX], offset = 0, directory;
    uint8_t head[NPY_HEAD], zip[64];
    char name[NAME_ROOM];

    for (uint32_t i = 0; i < m->tensors.n; i++) {
        const struct tensor *t = &m->tensors.t[i];
        size_t n = (size_t)snprintf(name, sizeof name, "%s.npy", t->d.name);

        if (t->bytes + offset > UINT32_MAX - 4096)
            return fail(e, ST_BAD_CONFIG,
                        "npz holds at most 4 GiB: get the safetensors file instead");
        npy_head(t, head);
        crc[i] = gz_crc32(gz_crc32(0, head, NPY_HEAD), t->u8, t->bytes);
        at[i] = offset;
        memcpy(zip, "PK\3\4", 4);
        zip_fields(zip + 4, crc[i], (uint32_t)t->bytes + NPY_HEAD, n);
        fwrite(zip, 1, 30, f);
        fwrite(name, 1, n, f);
        fwrite(head, 1, NPY_HEAD, f);
        fwrite(t->p, 1, t->bytes, f);
        offset += 30 + (uint32_t)n + NPY_HEAD + (uint32_t)t->bytes;
    }
    directory = offset;
    for (uint32_t i = 0; i < m->tensors.n; i++) {
        size_t n = (size_t)snprintf(name, sizeof name, "%s.npy", m->tensors.t[i].d.name);

        memset(zip, 0, sizeof zip);
        memcpy(zip, "PK\1\2\x14\0", 6);
        zip_fields(zip + 6, crc[i], (uint32_t)m->tensors.t[i].bytes + NPY_HEAD, n);
        put_u32(zip + 42, at[i]);
        fwrite(zip, 1, 46, f);
        fwrite(name, 1, n, f);
        offset += 46 + (uint32_t)n;
    }
    memset(zip, 0, sizeof zip);
    memcpy(zip, "PK\5\6", 4);
    put_u16(zip + 8, (uint16_t)m->tensors.n);
    put_u16(zip + 10, (uint16_t)m->tensors.n);
    put_u32(zip + 12, offset - directory);
    put_u32(zip + 16, directory);
    fwrite(zip, 1, 22, f);
    return ST_OK;
}

static void json_element(FILE *f, const struct tensor *t, uint64_t i)
{
    switch (t->d.dtype) {
    case DT_F32:
        json_number(f, (double)t->f32[i], 9);
        break;
    case DT_F64:
        json_number(f, t->f64[i], 17);
        break;
    case DT_U8:
        fprintf(f, "%u", t->u8[i]);
        break;
    case DT_I32:
        fprintf(f, "%" PRId32, t->i32[i]);
        break;
    case DT_U32:
        fprintf(f, "%" PRIu32, t->u32[i]);
        break;
    case DT_I64:
        fprintf(f, "%" PRId64, t->i64[i]);
        break;
    case DT_U64:
        fprintf(f, "%" PRIu64, t->u64[i]);
        break;
    }
}

/* Nested arrays: a bracket opens and closes wherever an index of that depth wraps. */
static void json_tensor(FILE *f, const struct tensor *t)
{
    uint64_t span[5];
    uint32_t depth = 0;

    while (depth < 4 && t->d.dim[depth])
        depth++;
    span[depth] = 1;
    for (uint32_t k = depth; k-- > 0;)
        span[k] = span[k + 1] * t->d.dim[k];
    for (uint64_t i = 0; i < t->n; i++) {
        if (i)
            fputc(',', f);
        for (uint32_t k = 0; k < depth; k++)
            if (i % span[k] == 0)
                fputc('[', f);
        json_element(f, t, i);
        for (uint32_t k = 0; k < depth; k++)
            if ((i + 1) % span[k] == 0)
                fputc(']', f);
    }
    if (!t->n)
        fputs("[]", f);
}

static void json_texts(FILE *f, const char *name, const struct model_text *t, uint32_t n)
{
    fprintf(f, ",\n \"%s\": {", name);
    for (uint32_t i = 0; i < n; i++) {
        fputs(i ? ", " : "", f);
        json_text(f, t[i].name);
        fputs(": ", f);
        json_text(f, t[i].value);
    }
    fputc('}', f);
}

static void export_json(const struct model *m, FILE *f)
{
    fputs("{\"job\": ", f);
    json_text(f, m->job);
    fputs(", \"topic\": ", f);
    json_text(f, m->topic);
    fprintf(f,
            ", \"algo\": \"%s\", \"version\": %" PRIu64 ", \"created_ms\": %" PRId64
            ", \"records\": %" PRIu64 ", \"features\": %" PRIu32,
            m->algo, m->version, m->created_ms, m->records, m->features);
    json_texts(f, "options", m->option, m->options);
    json_texts(f, "derive", m->derive, m->derives);
    fputs(",\n \"measures\": {", f);
    for (uint32_t i = 0; i < m->measures.n; i++) {
        fprintf(f, "%s\"%s\": ", i ? ", " : "", m->measures.m[i].name);
        json_number(f, m->measures.m[i].value, 17);
    }
    fputs("},\n \"ranges\": [", f);
    for (uint32_t i = 0; i < m->ranges; i++) {
        const struct model_range *r = &m->range[i];

        fprintf(f,
                "%s{\"partition\": %" PRIu32 ", \"run\": %" PRIu32 ", \"epoch\": %" PRIu32
                ", \"begin\": %" PRId64 ", \"end\": %" PRId64 ", \"records\": %" PRIu64 "}",
                i ? ", " : "", r->partition, r->run, r->epoch, r->begin, r->end, r->records);
    }
    fputs("],\n \"classes\": [", f);
    for (uint32_t i = 0; i < m->classes; i++) {
        fputs(i ? ", " : "", f);
        json_text(f, m->class_name[i]);
    }
    fputs("],\n \"columns\": [", f);
    for (uint32_t i = 0; m->column && i < m->columns; i++) {
        fputs(i ? ", " : "", f);
        json_text(f, m->column[i]);
    }
    fputs("],\n \"tensors\": {", f);
    for (uint32_t i = 0; i < m->tensors.n; i++) {
        fprintf(f, "%s\n  \"%s\": ", i ? "," : "", m->tensors.t[i].d.name);
        json_tensor(f, &m->tensors.t[i]);
    }
    fputs("}}\n", f);
}

enum st model_write(struct model *m, const char *path, enum export_form form, struct err *e)
{
    struct model_bytes b = {0};
    struct report r;
    FILE *out;
    enum st st;

    if (form == EXPORT_HTML && !report_of(m, &r))
        return fail(e, ST_BAD_CONFIG,
                    "html is the report of algorithm stats, this model is of %s: export it as "
                    "json, npz or safetensors",
                    m->algo);
    out = *path ? fopen(path, "wb") : stdout;
    if (!out)
        return fail(e, ST_BAD_CONFIG, "%s cannot be written: %s", path, strerror(errno));
    if (form == EXPORT_NPZ) {
        st = export_npz(m, out, e);
    } else if (form == EXPORT_JSON) {
        export_json(m, out);
        st = ST_OK;
    } else if (form == EXPORT_HTML) {
        report_html(&r, out);
        st = ST_OK;
    } else {
        st = model_encode(m, &b, e);
        if (st == ST_OK)
            fwrite(b.body, 1, b.body_n, out);
        free(b.manifest);
        free(b.body);
    }
    if ((fflush(out) || ferror(out)) && st == ST_OK)
        st =
            fail(e, ST_FATAL, "%s cannot be written: %s", *path ? path : "stdout", strerror(errno));
    if (out != stdout)
        fclose(out);
    return st;
}
