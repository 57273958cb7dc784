/* A state of an older version of its algorithm is taken over by the algorithm's upgrade hook, or
 * refused. This program has its own list of algorithms, in place of algos/algo_list.c. */
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { N = 9000, BLOCK = 4096 };

static enum st counter_check(struct shape *sh, void *opts, struct err *e)
{
    (void)opts;
    (void)e;
    sh->batch_rows = 64;
    sh->models = 1;
    sh->out = OUT_NONE;
    return ST_OK;
}

static enum st declare_rows(struct decl *d, enum part p, uint32_t version)
{
    const struct tdecl rows = {
        .id = 0, .name = "rows", .what = "seen", .dtype = DT_U64, .law = LAW_SUM, .dim = {1}};
    const struct tdecl sum = {.id = 1,
                              .name = "sum",
                              .what = "of the columns",
                              .dtype = DT_F64,
                              .law = LAW_SUM,
                              .dim = {3}};

    if (p == PART_STATE || p == PART_MODEL || p == PART_OUT)
        d->add(d, &rows);
    if (p == PART_STATE && version > 1)
        d->add(d, &sum);
    return d->st;
}

static enum st declare_1(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                         const void *derive_opts)
{
    (void)sh;
    (void)opts;
    (void)derive_opts;
    return declare_rows(d, p, 1);
}

static enum st declare_2(struct decl *d, enum part p, const struct shape *sh, const void *opts,
                         const void *derive_opts)
{
    (void)sh;
    (void)opts;
    (void)derive_opts;
    return declare_rows(d, p, 2);
}

static enum st counter_init(const struct ctx *x, struct tensors *s)
{
    (void)x;
    (void)s;
    return ST_OK;
}

static enum st counter_update(const struct ctx *x, struct tensors *s, const struct rows *r,
                              struct eval *e)
{
    (void)x;
    (void)e;
    s->t[0].u64[0] += r->train;
    for (uint32_t i = 0; s->n > 1 && !strcmp(s->t[1].d.name, "sum") && i < r->train; i++)
        s->t[1].f64[0] += (double)r->in[0].x[(size_t)i * r->in[0].ld];
    return ST_OK;
}

static enum st counter_derive(const struct ctx *x, const struct tensors *view,
                              const void *derive_opts, struct tensors *model, struct measures *m)
{
    (void)x;
    (void)derive_opts;
    (void)m;
    model->t[0].u64[0] = view->t[0].u64[0];
    return ST_OK;
}

static enum st counter_score(const struct ctx *x, const struct tensors *model, const struct rows *r,
                             float *out)
{
    (void)x;
    (void)model;
    (void)r;
    (void)out;
    return ST_OK;
}

static uint32_t upgraded;
static bool upgrade_fails;

static enum st counter_upgrade(const struct ctx *x, const struct tensors *old, uint32_t version,
                               struct tensors *s)
{
    const struct tensor *rows = tensors_find(old, "rows");

    assert_int_equal(version, 1);
    assert_true(rows && rows->d.dtype == DT_U64 && !tensors_find(old, "sum"));
    assert_non_null(tensors_find(old, "@batch")); /* the runtime's are there too */
    upgraded++;
    if (upgrade_fails)
        return (fail)(x->err, ST_BAD_CONFIG, "too old");
    s->t[0].u64[0] = rows->u64[0];
    s->t[1].f64[2] = 5;
    *tensors_find(s, "@batch")->u64 = *tensors_find(old, "@batch")->u64;
    return ST_OK;
}

static const struct port ports[] = {{"features", "numbers", PORT_DENSE, true}, {0}};
static const struct opt none[] = {{0}};

#define COUNTER(version, declare, upgrade)                                                         \
    {                                                                                              \
        MILLRACE_ABI, sizeof(struct algo), "counter", "counts rows", version, 1, ALGO_HOST, ports, \
            none, none, 0, 0, counter_check, declare, counter_init, counter_update,                \
            counter_derive, counter_score, NULL, NULL, NULL, upgrade, NULL, NULL, NULL             \
    }

static const struct algo one = COUNTER(1, declare_1, NULL),
                         two = COUNTER(2, declare_2, counter_upgrade),
                         two_without = COUNTER(2, declare_2, NULL), *current;

const struct algo *const algo_list[] = {&one, NULL};
const uint32_t algo_count = 1;

const struct algo *algo_find(const char *name)
{
    return strcmp(name, "counter") ? NULL : current;
}

static const char job[] = "topic: data\n"
                          "algo: counter\n"
                          "input: {format: csv, columns: [a, b, c], label: ''}\n";

static void run(const struct algo *a, const char *folder, uint64_t max_rows, uint64_t records)
{
    struct mill_run r = {.job = job, .state = folder, .max_rows = max_rows, .poll_max = 500};

    current = a;
    mill_trained(&r);
    if (records)
        assert_int_equal(r.records, records);
}

static void counted(const char *folder, uint64_t rows, uint32_t version)
{
    struct mill_part got;
    uint64_t *n, *batch;
    double *sum;
    size_t bytes;

    assert_true(mill_state(folder, 0, &got));
    assert_int_equal(got.state_version, version);
    n = mill_tensor(folder, 0, "rows", &bytes);
    batch = mill_tensor(folder, 0, "@batch", &bytes);
    sum = mill_tensor(folder, 0, "sum", &bytes);
    assert_int_equal(*n, rows);
    assert_int_equal(*batch, (rows + 63) / 64);
    assert_true(version == 1 ? !sum : sum && sum[2] == 5);
    free(n);
    free(batch);
    free(sum);
}

static int begin(void **state)
{
    assert_int_equal(mill_begin(state), 0);
    upgraded = 0;
    upgrade_fails = false;
    mill_topic("data", 1);
    mill_put(0, 0, N);
    run(&one, "mill", BLOCK, 0);
    counted("mill", BLOCK, 1);
    return 0;
}

static void an_older_local_state_is_upgraded_once(void **state)
{
    (void)state;
    run(&two, "mill", BLOCK, 0);
    assert_int_equal(upgraded, 1);
    counted("mill", 2 * BLOCK, 2);
    run(&two, "mill", 0, N - 2 * BLOCK);
    assert_int_equal(upgraded, 1);
    counted("mill", N, 2);
}

static void an_older_slot_is_upgraded_too(void **state)
{
    (void)state;
    run(&two, "other", BLOCK, 0);
    counted("other", 2 * BLOCK, 2);
    run(&two, "third", 0, N - 2 * BLOCK); /* from the slot that is new by now */
    assert_int_equal(upgraded, 1);
    counted("third", N, 2);
}

static void without_a_hook_it_is_refused(void **state)
{
    struct mill_run r = {.job = job};

    (void)state;
    current = &two_without;
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_CONFIG);
    assert_non_null(strstr(r.err.text, "the saved state has version 1 of algorithm counter, this "
                                       "program makes version 2"));
    counted("mill", BLOCK, 1);
}

static void a_newer_state_is_refused_by_an_older_program(void **state)
{
    struct mill_run r = {.job = job};

    (void)state;
    run(&two, "mill", 0, 0);
    current = &one;
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_CONFIG);
    counted("mill", N, 2);
}

static void what_the_hook_refuses_stays_as_it_was(void **state)
{
    struct mill_run r = {.job = job};

    (void)state;
    upgrade_fails = true;
    current = &two;
    mill_train(&r);
    assert_int_equal(r.st, ST_BAD_CONFIG);
    assert_string_equal(r.err.text, "too old");
    counted("mill", BLOCK, 1);
    run(&one, "mill", 0, N - BLOCK);
    counted("mill", N, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, mill_end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(an_older_local_state_is_upgraded_once),
        TEST(an_older_slot_is_upgraded_too),
        TEST(without_a_hook_it_is_refused),
        TEST(a_newer_state_is_refused_by_an_older_program),
        TEST(what_the_hook_refuses_stays_as_it_was),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("upgrade", tests, NULL, NULL);
}
