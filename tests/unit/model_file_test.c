#include "config/base/bytes.h"
#include "consumer/export.h"
#include "consumer/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static struct err e;

/* A model with every kind of field filled; caller frees. */
static struct model *sample(void)
{
    static const struct tdecl d[] = {
        {.id = 0, .name = "w", .what = "", .dtype = DT_F32, .dim = {3, 2}},
        {.id = 1, .name = "count", .what = "", .dtype = DT_U64, .dim = {3}},
    };
    struct model *m = calloc(1, sizeof *m);

    assert_non_null(m);
    snprintf(m->job, sizeof m->job, "clothes");
    snprintf(m->topic, sizeof m->topic, "images");
    snprintf(m->algo, sizeof m->algo, "linear");
    snprintf(m->millrace, sizeof m->millrace, "0.1.0");
    m->version = 7;
    m->fingerprint = 0xfedcba9876543210u;
    m->created_ms = 1700000000123;
    m->model_version = 1;
    m->records = 1234;
    m->options = 1;
    m->option[0] = (struct model_text){"loss", "softmax"};
    m->measures.n = 1;
    m->measures.model = 2;
    m->measures.m[0] = (struct measure){"prequential_loss", 0.125, true};
    m->ranges = 1;
    m->range[0] = (struct model_range){
        3, 1, 0, 10, 1244, 1234, 5, 0, 2000, true, false, true, 1243, 0xfedcba9876543210u, 0, 2};
    m->brk[0] = (struct model_break){0, 0, LINEAGE_LOST, 20, 30};
    m->brk[1] = (struct model_break){1, 0, LINEAGE_ENDED, 100, 100};
    m->breaks = 2;
    m->seed = 7;
    m->holdout = 0.1;
    m->staleness = -1;
    m->partitions = 4;
    snprintf(m->backend, sizeof m->backend, "openblas");
    m->classes = 2;
    snprintf(m->class_name[1], CLASS_NAME_BYTES, "trouser \"x\"");
    m->features = m->columns = 2;
    m->column = calloc(2, sizeof *m->column);
    assert_non_null(m->column);
    snprintf(m->column[1], sizeof m->column[1], "pixels[1]");
    assert_int_equal(tensors_layout(&m->tensors, d, 2, CHUNK_SHIFT, 1 << 20, &e), ST_OK);
    assert_int_equal(tensors_alloc(&m->tensors, NULL, NULL, &e), ST_OK);
    for (int i = 0; i < 6; i++)
        m->tensors.t[0].f32[i] = 0.1f * (float)i;
    m->tensors.t[1].u64[2] = 1u << 30;
    return m;
}

static void drop(struct model *m, struct model_bytes *b)
{
    model_fini(m);
    free(m);
    free(b->manifest);
    free(b->body);
}

static void a_model_comes_back_as_it_was(void **state)
{
    struct model *m = sample(), *back = calloc(1, sizeof *back);
    struct model_bytes b;

    (void)state;
    assert_int_equal(model_encode(m, &b, &e), ST_OK);
    assert_int_equal(model_decode(back, b.manifest, b.manifest_n, &e), ST_OK);
    assert_int_equal(model_load(back, b.body, b.body_n, &e), ST_OK);
    assert_string_equal(back->job, "clothes");
    assert_true(back->fingerprint == m->fingerprint);
    assert_string_equal(back->option[0].value, "softmax");
    assert_true(back->measures.m[0].value == 0.125 && back->measures.m[0].lower_is_better);
    assert_int_equal(back->measures.model, 2);
    assert_memory_equal(&back->range[0], &m->range[0], sizeof m->range[0]);
    assert_int_equal(back->breaks, 2);
    assert_memory_equal(back->brk, m->brk, 2 * sizeof *m->brk);
    assert_true(back->seed == 7 && back->holdout == 0.1 && back->staleness == -1);
    assert_int_equal(back->partitions, 4);
    assert_string_equal(back->backend, "openblas");
    assert_string_equal(back->class_name[1], "trouser \"x\"");
    assert_string_equal(back->column[1], "pixels[1]");
    assert_int_equal(back->tensors.n, 2);
    assert_memory_equal(back->tensors.t[0].p, m->tensors.t[0].p, 24);
    assert_int_equal(back->tensors.t[1].u64[2], 1u << 30);
    drop(back, &(struct model_bytes){0});
    drop(m, &b);
}

/* Whatever byte is changed, the change is found, and nothing breaks. */
static void every_flipped_byte_is_found(void **state)
{
    struct model *m = sample(), *back = calloc(1, sizeof *back);
    struct model_bytes b;

    (void)state;
    assert_int_equal(model_encode(m, &b, &e), ST_OK);
    for (size_t i = 0; i < b.manifest_n; i++) {
        b.manifest[i] ^= 0x20;
        assert_int_not_equal(model_decode(back, b.manifest, b.manifest_n, &e), ST_OK);
        b.manifest[i] ^= 0x20;
        model_fini(back);
    }
    for (size_t n = 0; n < b.manifest_n; n++) {
        assert_int_not_equal(model_decode(back, b.manifest, n, &e), ST_OK);
        model_fini(back);
    }
    assert_int_equal(model_decode(back, b.manifest, b.manifest_n, &e), ST_OK);
    for (size_t i = 0; i < b.body_n; i++) {
        b.body[i] ^= 1;
        assert_int_equal(model_load(back, b.body, b.body_n, &e), ST_CORRUPT);
        b.body[i] ^= 1;
    }
    assert_int_equal(model_load(back, b.body, b.body_n - 1, &e), ST_CORRUPT);
    drop(back, &(struct model_bytes){0});
    drop(m, &b);
}

/* The safetensors README: u64 length, JSON, then data that starts on a multiple of 8. */
static void the_body_is_a_safetensors_file(void **state)
{
    struct model *m = sample();
    struct model_bytes b;
    char text[200];
    uint64_t n;

    (void)state;
    assert_int_equal(model_encode(m, &b, &e), ST_OK);
    n = get_u64(b.body);
    assert_int_equal(n % 8, 0);
    snprintf(text, sizeof text, "%.*s", (int)n, (const char *)b.body + 8);
    assert_non_null(
        strstr(text, "\"w\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]}"));
    assert_non_null(
        strstr(text, "\"count\":{\"dtype\":\"U64\",\"shape\":[3],\"data_offsets\":[24,48]}"));
    assert_memory_equal(b.body + 8 + n, m->tensors.t[0].p, 24);
    drop(m, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_comes_back_as_it_was),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(the_body_is_a_safetensors_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
