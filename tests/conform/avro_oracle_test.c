/* The compiled Avro decoder against Avro C's value reader: random schemas, random values, random
 * jobs on them.
 *
 * Every case is one message: a value made with Avro C is written here (arrays and maps in random
 * blocks, with and without their size), read back with avro_value_read, and the rows that the job
 * should have are taken out of that value by name, without any code of ours. Decoded rows must be
 * equal to the bit; a message that cannot have rows must be refused with a reason that the value
 * explains. MILLRACE_CASES sets the number of cases (10,000), MILLRACE_SEED the first. */
#include "support_oracle.h"

#include <inttypes.h>
#include <math.h>
#include <unistd.h>

enum { CASES_OF_JOB = 10, JOBS_OF_SCHEMA = 4, COLUMNS = 4096 };

struct expected { /* one row, or the reasons why there is none */
    float x[COLUMNS];
    uint32_t col[COLUMNS], entries; /* sparse */
    float y, weight;
    uint64_t key;
    int64_t ts_ms;
    uint32_t reasons; /* bit per enum bad */
};

static void reason(struct expected *e, enum bad b)
{
    e->reasons |= 1u << b;
}

static void wrong(const struct oracle *o, const char *what, double got, double want)
{
    fprintf(stderr, "schema: %s\nlabel %s weight %s key %s time %s, features:", o->text,
            o->in.label, o->in.weight, o->in.key, o->in.time);
    for (uint32_t i = 0; i < o->in.features; i++)
        fprintf(stderr, " %s[%u]", o->in.feature[i].name, o->in.feature[i].width);
    fprintf(stderr, "\nmessage:");
    for (size_t i = 0; i < o->bytes; i++)
        fprintf(stderr, " %02x", o->message[i]);
    fail_msg("%s: %.9g, not %.9g", what, got, want);
}

static void same(const struct oracle *o, const char *what, double got, double want)
{
    if (memcmp(&got, &want, sizeof got))
        wrong(o, what, got, want);
}

/* ---- a field of a value, by name ---- */

static bool is_number(const avro_value_t *v)
{
    avro_type_t t = avro_value_get_type(v);

    return t == AVRO_BOOLEAN || t == AVRO_INT32 || t == AVRO_INT64 || t == AVRO_FLOAT ||
           t == AVRO_DOUBLE;
}

static double number(const avro_value_t *v)
{
    int64_t l = 0;
    int32_t i = 0;
    double d = 0;
    float f = 0;

    switch (avro_value_get_type(v)) {
    case AVRO_BOOLEAN:
        avro_value_get_boolean(v, &i);
        return i;
    case AVRO_INT32:
        avro_value_get_int(v, &i);
        return i;
    case AVRO_INT64:
        avro_value_get_long(v, &l);
        return (double)l;
    case AVRO_FLOAT:
        avro_value_get_float(v, &f);
        return (double)f;
    case AVRO_ENUM:
        avro_value_get_enum(v, &i);
        return i;
    default:
        assert_int_equal(avro_value_get_type(v), AVRO_DOUBLE);
        avro_value_get_double(v, &d);
        return d;
    }
}

enum found { FOUND, NOTHING, DEFAULTED };

/* Steps into unions; a null gives the default of the field `of` (record.field), if it has one. */
static enum found branch(const struct oracle *o, avro_value_t *v, const char *of, double *fallback)
{
    while (avro_value_get_type(v) == AVRO_UNION)
        avro_value_get_current_branch(v, v);
    if (avro_value_get_type(v) != AVRO_NULL)
        return FOUND;
    for (uint32_t i = 0; i < o->fallbacks; i++)
        if (strcmp(o->fallback[i].field, of) == 0) {
            *fallback = o->fallback[i].value;
            return DEFAULTED;
        }
    return NOTHING;
}

static enum found find(const struct oracle *o, avro_value_t v, const char *path, avro_value_t *out,
                       double *fallback)
{
    char name[NAME_MAX_BYTES], of[64] = "";
    size_t n;

    for (;;) {
        enum found f = branch(o, &v, of, fallback);

        *out = v;
        if (!*path)
            return f;
        if (f != FOUND)
            return NOTHING;
        n = avro_value_get_type(&v) == AVRO_MAP ? strlen(path) : strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        path += n + (path[n] == '.');
        if (avro_value_get_type(&v) == AVRO_MAP)
            of[0] = 0;
        else if (avro_value_get_type(&v) == AVRO_RECORD)
            snprintf(of, sizeof of, "%.15s.%.40s", avro_schema_name(avro_value_get_schema(&v)),
                     name);
        else
            return NOTHING;
        if (avro_value_get_by_name(&v, name, &v, NULL))
            return NOTHING;
    }
}

/* ---- what the row should be ---- */

static void put(struct expected *e, uint32_t at, double v)
{
    e->x[at] = (float)v;
    if (!isfinite(e->x[at]))
        reason(e, BAD_NONFINITE);
}

static void expect_packed(struct expected *e, avro_value_t *v, uint32_t at, uint32_t width)
{
    const void *p = NULL;
    size_t n = 0;
    float x[16];

    if (avro_value_get_type(v) == AVRO_BYTES)
        avro_value_get_bytes(v, &p, &n);
    else
        avro_value_get_fixed(v, &p, &n);
    if (n != width * 4) {
        reason(e, BAD_WIDTH);
        return;
    }
    memcpy(x, p, n);
    for (uint32_t i = 0; i < width; i++)
        put(e, at + i, (double)x[i]);
}

static void expect_array(const struct oracle *o, struct expected *e, avro_value_t *v, uint32_t at,
                         uint32_t width)
{
    avro_value_t item;
    double fallback;
    size_t n;

    if (!oracle_number_array(avro_value_get_schema(v))) {
        reason(e, BAD_VALUE);
        return;
    }
    avro_value_get_size(v, &n);
    if (n != width)
        reason(e, BAD_WIDTH);
    for (size_t i = 0; i < n; i++) {
        avro_value_get_by_index(v, i, &item, NULL);
        if (branch(o, &item, "", &fallback) != FOUND)
            reason(e, BAD_MISSING);
        else
            put(e, at + (i < width ? (uint32_t)i : 0), number(&item));
    }
}

static void expect_feature(const struct oracle *o, struct expected *e, avro_value_t row,
                           const struct feature *f, uint32_t at)
{
    double fallback;
    avro_value_t v;
    avro_type_t t;
    enum found found = find(o, row, f->name, &v, &fallback);

    t = avro_value_get_type(&v);
    if (found == NOTHING || (found == DEFAULTED && f->width))
        reason(e, BAD_MISSING);
    else if (found == DEFAULTED)
        put(e, at, fallback);
    else if (!f->width && (is_number(&v) || t == AVRO_ENUM))
        put(e, at, number(&v));
    else if (f->width && t == AVRO_ARRAY)
        expect_array(o, e, &v, at, f->width);
    else if (f->width && (t == AVRO_BYTES || t == AVRO_FIXED))
        expect_packed(e, &v, at, f->width);
    else
        reason(e, BAD_VALUE);
}

static bool text_of(avro_value_t *v, const void **p, size_t *n)
{
    switch (avro_value_get_type(v)) {
    case AVRO_STRING:
        avro_value_get_string(v, (const char **)p, n);
        --*n;
        return true;
    case AVRO_BYTES:
        avro_value_get_bytes(v, p, n);
        return true;
    case AVRO_FIXED:
        avro_value_get_fixed(v, p, n);
        return true;
    default:
        return false;
    }
}

static void expect_class(const struct oracle *o, struct expected *e, const void *p, size_t n)
{
    for (uint32_t c = 0; c < o->out.classes; c++)
        if (strlen(o->out.class_name[c]) == n && memcmp(o->out.class_name[c], p, n) == 0) {
            e->y = (float)c;
            return;
        }
    reason(e, BAD_LABEL);
}

static void expect_label(const struct oracle *o, struct expected *e, avro_value_t row)
{
    const char *symbol;
    double fallback;
    avro_value_t v;
    const void *p;
    size_t n;

    if (find(o, row, o->in.label, &v, &fallback) != FOUND) {
        reason(e, BAD_LABEL);
        reason(e, BAD_MISSING);
    } else if (avro_value_get_type(&v) == AVRO_ENUM) {
        symbol = avro_schema_enum_get(avro_value_get_schema(&v), (int)number(&v));
        expect_class(o, e, symbol, strlen(symbol));
    } else if (text_of(&v, &p, &n)) {
        expect_class(o, e, p, n);
    } else if (is_number(&v)) {
        e->y = (float)number(&v);
        if (o->out.classes || !isfinite(e->y)) /* no class here has a number as its name */
            reason(e, BAD_LABEL);
    } else {
        reason(e, BAD_VALUE);
    }
}

static void expect_key(const struct oracle *o, struct expected *e, avro_value_t row)
{
    uint8_t whole[8];
    double fallback, d;
    avro_value_t v;
    const void *p;
    size_t n;

    if (find(o, row, o->in.key, &v, &fallback) != FOUND) {
        reason(e, BAD_MISSING);
    } else if (text_of(&v, &p, &n)) {
        e->key = hash64(p, n, 0);
    } else if (avro_value_get_type(&v) == AVRO_FLOAT || avro_value_get_type(&v) == AVRO_DOUBLE) {
        d = number(&v);
        e->key = hash64(&d, 8, 0);
    } else if (is_number(&v) || avro_value_get_type(&v) == AVRO_ENUM) {
        int64_t l = (int64_t)number(&v);

        if (avro_value_get_type(&v) == AVRO_INT64)
            avro_value_get_long(&v, &l);
        put_u64(whole, (uint64_t)l);
        e->key = hash64(whole, 8, 0);
    } else {
        reason(e, BAD_VALUE);
    }
}

/* weight or time */
static bool expect_number(const struct oracle *o, struct expected *e, avro_value_t row,
                          const char *path, avro_value_t *v, double *d)
{
    switch (find(o, row, path, v, d)) {
    case NOTHING:
        reason(e, BAD_MISSING);
        return false;
    case DEFAULTED:
        return true;
    default:
        if (!is_number(v)) {
            reason(e, BAD_VALUE);
            reason(e, BAD_MISSING);
            return false;
        }
        *d = number(v);
        return true;
    }
}

static void expect_time(const struct oracle *o, struct expected *e, avro_value_t row)
{
    avro_value_t v;
    double d;

    if (!expect_number(o, e, row, o->in.time, &v, &d))
        return;
    if (!(fabs(d) < 9e18) && avro_value_get_type(&v) != AVRO_INT64)
        reason(e, BAD_NONFINITE);
    else if (avro_value_get_type(&v) == AVRO_INT64)
        avro_value_get_long(&v, &e->ts_ms);
    else
        e->ts_ms = (int64_t)d;
}

static void expect_weight(const struct oracle *o, struct expected *e, avro_value_t row)
{
    avro_value_t v;
    double d;

    if (!expect_number(o, e, row, o->in.weight, &v, &d))
        return;
    e->weight = (float)d;
    if (!isfinite(e->weight))
        reason(e, BAD_NONFINITE);
    else if (d < 0)
        reason(e, BAD_WEIGHT);
}

static void expect_sparse(const struct oracle *o, struct expected *e, avro_value_t row)
{
    avro_value_t i, v, item;
    double fallback, last = -1;
    size_t n, m;

    assert_int_equal(find(o, row, "indices", &i, &fallback), FOUND);
    assert_int_equal(find(o, row, "values", &v, &fallback), FOUND);
    avro_value_get_size(&i, &n);
    avro_value_get_size(&v, &m);
    if (n != m)
        reason(e, BAD_WIDTH);
    e->entries = (uint32_t)n;
    for (size_t k = 0; k < m; k++) {
        avro_value_get_by_index(&v, k, &item, NULL);
        put(e, (uint32_t)k, number(&item));
    }
    for (size_t k = 0; k < n; k++) {
        avro_value_get_by_index(&i, k, &item, NULL);
        e->col[k] = (uint32_t)number(&item);
        if (number(&item) <= last || number(&item) >= o->in.width)
            reason(e, BAD_INDEX);
        last = number(&item);
    }
}

static void expect_row(const struct oracle *o, struct expected *e, avro_value_t row)
{
    const struct input *in = &o->in;
    uint32_t at = 0;

    memset(e, 0, sizeof *e);
    e->weight = 1;
    if (in->label[0])
        expect_label(o, e, row);
    if (in->weight[0])
        expect_weight(o, e, row);
    if (in->key[0])
        expect_key(o, e, row);
    if (in->time[0])
        expect_time(o, e, row);
    if (o->out.shape.sparse) {
        expect_sparse(o, e, row);
        return;
    }
    for (uint32_t i = 0; i < in->features; i++) {
        expect_feature(o, e, row, &in->feature[i], at);
        at += in->feature[i].width ? in->feature[i].width : 1;
    }
    same(o, "columns", o->out.columns, at);
}

/* ---- one case ---- */

static void compare(const struct oracle *o, const struct expected *e, uint32_t row)
{
    const struct block *b = &o->b;
    uint32_t first = b->ptr ? b->ptr[row] : 0;

    if (b->y)
        same(o, "label", (double)b->y[row], (double)e->y);
    same(o, "weight", (double)b->weight[row], (double)e->weight);
    if (b->key && b->key[row] != e->key)
        wrong(o, "key", 0, 0);
    if (b->ts_ms && b->ts_ms[row] != e->ts_ms)
        wrong(o, "time", (double)b->ts_ms[row], (double)e->ts_ms);
    if (b->ptr)
        same(o, "entries", b->ptr[row + 1] - first, e->entries);
    for (uint32_t i = 0; i < (b->ptr ? e->entries : o->out.columns); i++) {
        if (b->ptr)
            same(o, "index", b->col[first + i], e->col[i]);
        same(o, "value", (double)(b->ptr ? b->val[first + i] : b->x[row * b->s.ld + i]),
             (double)e->x[i]);
    }
}

/* The rows of a value, one by one: reasons of all together, and comparison if b has them from row
 * `at`. */
static uint32_t each_row(const struct oracle *o, avro_value_t v, bool decoded, uint32_t at,
                         uint32_t *reasons)
{
    static struct expected e;
    avro_value_t row;
    size_t n = 1;

    if (o->wrapped)
        avro_value_get_by_index(&v, 1, &v, NULL);
    if (o->rows)
        avro_value_get_size(&v, &n);
    for (size_t i = 0; i < n; i++) {
        row = v;
        if (o->rows)
            avro_value_get_by_index(&v, i, &row, NULL);
        expect_row(o, &e, row);
        *reasons |= e.reasons;
        if (decoded)
            compare(o, &e, at + (uint32_t)i);
    }
    return (uint32_t)n;
}

static void decode_case(struct oracle *o, avro_value_t *v)
{
    uint8_t *exact = malloc(o->bytes + 1);
    char detail[DETAIL_BYTES] = "";
    uint32_t reasons = 0, before = o->b.n, n;
    enum bad bad;

    memcpy(exact, o->message, o->bytes);
    bad = codec_avro.decode(o->self, (struct bytes){0}, (struct bytes){exact, o->bytes}, 3, 0,
                            &o->b, detail);
    free(exact);
    n = each_row(o, *v, bad == BAD_NONE, before, &reasons);
    if (reasons & 1u << BAD_VALUE) /* seen at the union above it, the value is missing */
        reasons |= 1u << BAD_MISSING;
    if (bad == BAD_NONE && reasons)
        wrong(o, "decoded what has a reason not to be", 0, reasons);
    if (bad != BAD_NONE && !(reasons & 1u << bad))
        wrong(o, detail, bad, reasons);
    if (o->b.n != before + (bad ? 0 : n))
        wrong(o, "rows", o->b.n, before + n);
    o->good += bad == BAD_NONE;
    o->bad += bad != BAD_NONE;
}

static void make_message(struct oracle *o, avro_value_t *v)
{
    avro_value_reset(v);
    oracle_fill(o, v, 0);
    o->bytes = 0;
    oracle_write(o, v);
}

static void run_case(struct oracle *o, avro_value_t *v, avro_reader_t reader)
{
    make_message(o, v);
    avro_value_reset(v);
    avro_reader_memory_set_source(reader, (const char *)o->message, (int64_t)o->bytes);
    if (avro_value_read(reader, v))
        fail_msg("Avro C: %s: %s", avro_strerror(), o->text);
    if (o->b.n > BLOCK_ROWS / 2)
        block_clear(&o->b);
    decode_case(o, v);
}

/* ---- jobs and schemas ---- */

/* The message is the sample: whether it has a prefix must not be left to a bad one. */
static bool open_job(struct oracle *o)
{
    struct err e;
    enum st st;

    codec_avro.close(o->self);
    block_fini(&o->b);
    st = codec_avro.open(o->self, &o->in, o->in.label[0] != 0, (struct bytes){o->message, o->bytes},
                         &o->out, &e);
    if (st !=
        ST_OK) { /* nothing to learn from, and a union that is a number or a record of parts */
        if (!strstr(e.text, "no number that is left") && !strstr(e.text, "is a part of the other"))
            wrong(o, e.text, st, 0);
        return false;
    }
    if (!o->out.shape.sparse && !o->in.features)
        oracle_defaults(o, o->row, "", 0);
    if (!o->out.shape.sparse && !o->in.features)
        return false; /* its numbers are in an array of records alone: other rows than we make */
    if (o->out.columns > COLUMNS || o->in.features == FEATURES_MAX)
        return false;
    assert_int_equal(block_init(&o->b, &o->out.shape, &e), ST_OK);
    return true;
}

static void run_schema(struct oracle *o, uint64_t *cases)
{
    avro_reader_t reader = avro_reader_memory((const char *)o->message, 1);
    avro_value_iface_t *iface;
    avro_value_t v;
    FILE *file;

    oracle_schema(o);
    o->leaves = 0;
    oracle_leaves(o, o->row, "", 0);
    file = fopen(o->in.schema, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(o->text, 1, o->n, file), o->n);
    fclose(file);
    iface = avro_generic_class_from_schema(o->schema);
    assert_int_equal(avro_generic_value_new(iface, &v), 0);
    for (int job = 0; job < JOBS_OF_SCHEMA; job++) {
        oracle_job(o);
        make_message(o, &v);
        if (!open_job(o))
            continue;
        for (int i = 0; i < CASES_OF_JOB && *cases; i++, --*cases)
            run_case(o, &v, reader);
    }
    avro_value_decref(&v);
    avro_value_iface_decref(iface);
    avro_schema_decref(o->schema);
    avro_reader_free(reader);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void decoding_equals_avro_c(void **state)
{
    struct oracle *o = calloc(1, sizeof *o);
    uint64_t cases = setting("MILLRACE_CASES", 10000), seed = setting("MILLRACE_SEED", 1);
    uint64_t total = cases;
    uint32_t schemas = 0;
    int fd;

    (void)state;
    memcpy(o->in.schema, "/tmp/millrace-oracle-XXXXXX", 28);
    fd = mkstemp(o->in.schema);
    assert_true(fd >= 0);
    close(fd);
    o->self = calloc(1, codec_avro.self_bytes);
    for (; cases; schemas++, seed++) {
        o->rng = mix64(seed);
        run_schema(o, &cases);
    }
    print_message("%" PRIu64 " messages of %u schemas: %" PRIu64 " equal, %" PRIu64
                  " refused with a reason; next MILLRACE_SEED=%" PRIu64 "\n",
                  total, schemas, o->good, o->bad, seed);
    assert_true(o->good > total / 4 && o->bad > total / 20);
    codec_avro.close(o->self);
    block_fini(&o->b);
    unlink(o->in.schema);
    free(o->self);
    free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(decoding_equals_avro_c)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
