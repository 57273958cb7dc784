/* The model topic: what is published is there once, whole, until it is retired. */
#include "consumer/export.h"
#include "tests/conform/support_mill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct broker *const t = &broker_local;
static struct model *m;
static struct err err;

static int begin(void **state)
{
    m = calloc(1, sizeof *m);
    assert_non_null(m);
    return mill_begin(state);
}

static int end(void **state)
{
    model_fini(m);
    free(m);
    return mill_end(state);
}

/* A job that learns `n` more records each time it is run. */
static void learn(uint64_t from, uint64_t n, const char *keep)
{
    mill_put(0, from, n);
    mill_trained(&(struct mill_run){.set = {keep}});
}

static void read_is(uint64_t version, enum st st, const char *what)
{
    *err.text = 0;
    assert_int_equal(model_read(t, mill_broker(), "mill.models", version, NULL, m, &err), st);
    if (!strstr(err.text, what))
        fail_msg("no '%s' in '%s'", what, err.text);
}

static void put(const char *key, const void *p, size_t n)
{
    mill_put_key("mill.models", 0, (struct bytes){(const uint8_t *)key, strlen(key)},
                 (struct bytes){p, n}, true);
}

struct seen {
    uint64_t version[8], n;
};

static void see(void *arg, const struct model *one)
{
    struct seen *s = arg;

    assert_true(s->n < 8 && one->tensors.n && !one->tensors.base);
    s->version[s->n++] = one->version;
}

static void a_model_is_read_back_with_what_it_was_made_from(void **state)
{
    (void)state;
    mill_topic("data", 1);
    learn(0, 3000, NULL);
    read_is(0, ST_OK, "");
    assert_int_equal(m->version, 1);
    assert_int_equal(m->records, 3000);
    assert_string_equal(m->algo, "linear");
    assert_int_equal(m->features, 2);
    assert_string_equal(m->column[1], "b");
    assert_int_equal(m->ranges, 1);
    assert_int_equal(m->range[0].end, 3000);
    /* label = 2 a - b + 0.5 + noise of mean 0.05 */
    assert_string_equal(m->tensors.t[0].d.name, "w");
    assert_true(fabsf(m->tensors.t[0].f32[0] - 2) < 0.3f);
    assert_true(fabsf(m->tensors.t[0].f32[1] + 1) < 0.3f);
    assert_true(fabsf(m->tensors.t[0].f32[2] - 0.55f) < 0.3f);
    mill_trained(&(struct mill_run){.max_rows = 0}); /* nothing new, no new model */
    read_is(0, ST_OK, "");
    assert_int_equal(m->version, 1);
}

static void retired_models_are_gone_before_they_are_compacted(void **state)
{
    struct seen s = {.n = 0};

    (void)state;
    mill_topic("data", 1);
    for (uint64_t i = 0; i < 5; i++)
        learn(i * 100, 100, "snapshot.keep=2");
    assert_int_equal(model_list(t, mill_broker(), "mill.models", see, &s, &err), ST_OK);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.version[0], 4);
    assert_int_equal(s.version[1], 5);
    read_is(4, ST_OK, "");
    assert_int_equal(m->records, 400);
    read_is(0, ST_OK, "");
    assert_int_equal(m->version, 5);
    read_is(3, ST_BAD_CONFIG, "has no model 3 (any more); the newest is 5");
    read_is(9, ST_BAD_CONFIG, "has no model 9");
}

static void a_topic_without_models_says_so(void **state)
{
    (void)state;
    mill_topic("data", 1);
    read_is(0, ST_BAD_CONFIG, "topic 'mill.models' does not exist");
    mill_topic("mill.models", 1);
    read_is(0, ST_BAD_CONFIG, "holds no model yet");
    read_is(1, ST_BAD_CONFIG, "holds no model yet");
    put("model/latest", "1", 1);
    put("model/x/manifest", "1", 1);
    put("mode", "1", 1);
    read_is(0, ST_BAD_CONFIG, "holds no model yet");
}

static void what_is_damaged_is_refused(void **state)
{
    static uint8_t big[CHUNK_BYTES];

    (void)state;
    mill_topic("data", 1);
    learn(0, 100, NULL);
    put("model/1/chunk/1000000", big, 1);
    read_is(1, ST_CORRUPT, "chunk 1000000 of model 1 has 1 bytes and lies outside the");
    mill_delete("mill.models");
    learn(100, 100, NULL);
    put("model/1/chunk/0", big, 20); /* in the place of the right one */
    read_is(1, ST_CORRUPT, "model 1: body has");
    put("model/2/manifest", "Obj", 3);
    read_is(1, ST_CORRUPT, "model 1: body has");
    read_is(0, ST_CORRUPT, "model topic, offset");
}

static void a_model_without_its_chunks_is_refused(void **state)
{
    struct model_bytes b;
    const char *topic = "two.models";
    char key[32];

    (void)state;
    mill_topic("data", 1);
    learn(0, 100, NULL);
    read_is(1, ST_OK, "");
    assert_int_equal(model_encode(m, &b, &err), ST_OK);
    mill_topic(topic, 1);
    snprintf(key, sizeof key, "model/1/manifest");
    mill_put_key(topic, 0, (struct bytes){(const uint8_t *)key, strlen(key)},
                 (struct bytes){b.manifest, b.manifest_n}, true);
    assert_int_equal(model_read(t, mill_broker(), topic, 1, NULL, m, &err), ST_CORRUPT);
    assert_non_null(strstr(err.text, "model 1: 0 of its "));
    free(b.manifest);
    free(b.body);
}

static void remove_is(uint64_t version, enum st st, const char *what)
{
    *err.text = 0;
    assert_int_equal(model_remove(t, mill_broker(), "mill.models", version, &err), st);
    if (!strstr(err.text, what))
        fail_msg("no '%s' in '%s'", what, err.text);
}

static void a_removed_model_is_gone_and_its_number_is_not_given_again(void **state)
{
    (void)state;
    mill_topic("data", 1);
    for (uint64_t i = 0; i < 3; i++)
        learn(i * 100, 100, NULL);
    remove_is(2, ST_OK, "");
    read_is(2, ST_BAD_CONFIG, "has no model 2 (any more); the newest is 3");
    remove_is(2, ST_BAD_CONFIG, "has no model 2");
    remove_is(3, ST_BAD_CONFIG, "model 3 of topic mill.models is the newest and stays");
    read_is(1, ST_OK, "");
    learn(300, 100, NULL);
    read_is(0, ST_OK, "");
    assert_int_equal(m->version, 4);
}

static uint32_t diff_is(const struct model *a, const struct model *b, const char *what)
{
    char text[2000];
    FILE *f = fmemopen(text, sizeof text, "w");
    uint32_t n;

    assert_non_null(f);
    n = model_diff(a, b, f);
    fclose(f);
    if (!strstr(text, what))
        fail_msg("no '%s' in '%s'", what, text);
    return n;
}

static void two_models_are_compared_byte_by_byte(void **state)
{
    struct model *b = calloc(1, sizeof *b);
    uint64_t dim[4];

    (void)state;
    mill_topic("data", 1);
    learn(0, 100, NULL);
    read_is(1, ST_OK, "");
    assert_non_null(b);
    assert_int_equal(model_read(t, mill_broker(), "mill.models", 1, NULL, b, &err), ST_OK);
    assert_int_equal(diff_is(m, b, "tensor w f32 [3, 1]: equal\n"), 0);
    m->tensors.t[0].f32[1] = 1;
    b->tensors.t[0].f32[1] = 3;
    m->tensors.t[0].f32[2] = 0.0f;
    b->tensors.t[0].f32[2] = -0.0f;
    assert_int_equal(diff_is(m, b, "2 of 3 values differ, the most by 2; the first at [1, 0]: "),
                     1);
    b->measures.m[0].value += 1;
    b->measures.n--;
    assert_int_equal(diff_is(m, b, " and none\n"), 3);
    memcpy(dim, b->tensors.t[0].d.dim, sizeof dim);
    b->tensors.t[0].d.dim[1] = 7;
    assert_int_equal(diff_is(m, b, "tensor w f32 [3, 1]: in the second it is f32 [3, 7]\n"), 3);
    memcpy(b->tensors.t[0].d.dim, dim, sizeof dim);
    b->tensors.t[0].d.name = "v";
    assert_int_equal(diff_is(m, b, "tensor w f32 [3, 1]: in the first alone\n"), 4);
    diff_is(m, b, "tensor v f32 [3, 1]: in the second alone\n");
    model_fini(b);
    free(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_model_is_read_back_with_what_it_was_made_from),
        TEST(retired_models_are_gone_before_they_are_compacted),
        TEST(a_topic_without_models_says_so),
        TEST(what_is_damaged_is_refused),
        TEST(a_model_without_its_chunks_is_refused),
        TEST(a_removed_model_is_gone_and_its_number_is_not_given_again),
        TEST(two_models_are_compared_byte_by_byte),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
