/* Whole jobs on a back end whose memory is not the host's: the same bytes as on the CPU, whatever
 * moved meanwhile; and how the device is chosen. */
#include "consumer/device.h"
#include "consumer/session.h"
#include "tests/conform/support_far.h"
#include "tests/conform/support_mill.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 9000, PARTITIONS = 2, FIRST = 5000 /* of the rows that one device learns */ };

static const char linear_packed[] =
    "topic: data\n"
    "algo: linear\n"
    "input: {format: csv, columns: [label, a, b], holdout: 10%}\n"
    "options: {loss: squared, learning_rate: [0.01, 0.1, 0.3, 1], average: true}\n"
    "staleness: 0\n";
static const char linear_halved[] =
    "topic: data\n"
    "algo: linear\n"
    "input: {format: csv, columns: [label, a, b], holdout: 10%}\n"
    "options: {loss: squared, learning_rate: [0.001, 0.01, 0.1, 0.3, 1]}\n"
    "halving: 1000\n"
    "half_life: 3000\n"
    "staleness: 0\n";
static const char linear_diverging[] =
    "topic: data\n"
    "algo: linear\n"
    "input: {format: csv, columns: [label, a, b]}\n"
    "options: {loss: squared, optimizer: sgd, learning_rate: [0.01, 1000], standardize: false}\n"
    "staleness: 0\n";
static const char fm[] = "topic: data\n"
                         "algo: fm\n"
                         "input: {format: csv, columns: [label, a, b], holdout: 10%}\n"
                         "options: {factors: 3, learning_rate: [0.05, 0.1]}\n"
                         "half_life: 2000\n"
                         "staleness: 0\n";
static const char kmeans[] = "topic: data\n"
                             "algo: kmeans\n"
                             "input: {format: csv, columns: [label, a, b], label: ''}\n"
                             "options: {k: 5, extra_centers: 4, warmup: 700}\n";
static const char least_squares[] = "topic: data\n"
                                    "algo: least_squares\n"
                                    "input: {format: csv, columns: [label, a, b]}\n";
static const char pca[] = "topic: data\n"
                          "algo: pca\n"
                          "input: {format: csv, columns: [label, a, b], label: ''}\n"
                          "options: {components: 2, method: exact}\n";
static const char pca_sketch[] =
    "topic: data\n"
    "algo: pca\n"
    "input: {format: csv, columns: [label, a, b], label: ''}\n"
    "options: {components: 1, method: frequent_directions, extra_components: 1}\n";
static const char knn[] = "topic: data\n"
                          "algo: knn\n"
                          "input: {format: csv, columns: [label, a, b]}\n"
                          "options: {sample: 500}\n";
static const char stats[] = "topic: data\n"
                            "algo: stats\n"
                            "input: {format: csv, columns: [label, a, b], label: ''}\n";
static const char rcf[] = "topic: data\n"
                          "algo: rcf\n"
                          "input: {format: csv, columns: [label, a, b], label: ''}\n"
                          "options: {num_trees: 5, num_samples_per_tree: 32}\n";

static const struct {
    const char *name, *job;
    bool plain; /* it stays on the CPU */
} jobs[] = {{"linear", mill_job, false},
            {"packed", linear_packed, false},
            {"halved", linear_halved, false},
            {"diverging", linear_diverging, false},
            {"fm", fm, false},
            {"kmeans", kmeans, false},
            {"least-squares", least_squares, false},
            {"pca", pca, false},
            {"pca-sketch", pca_sketch, false},
            {"knn", knn, false},
            {"stats", stats, true},
            {"rcf", rcf, true}};
enum { JOBS = sizeof jobs / sizeof *jobs };

static void fill(void)
{
    mill_topic("data", PARTITIONS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        mill_put(p, (uint64_t)p * ROWS, ROWS);
}

/* A run of job i, under a name of its own, here or on the device. */
static struct mill_run run_of(int i, const char *state, bool there)
{
    struct mill_run r = {.name = state, .job = jobs[i].job, .offered = &compute_far};

    r.set[0] = there ? "device=cuda" : "device=cpu";
    return r;
}

static void same(const char *what, const char *a, const char *b)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        struct mill_part x, y;

        assert_true(mill_state(a, p, &x) && mill_state(b, p, &y));
        if (x.digest != y.digest || x.trained != y.trained)
            fail_msg("%s: the states of partition %u differ", what, p);
    }
}

static void a_job_on_a_device_makes_the_states_of_the_cpu(void **state)
{
    (void)state;
    fill();
    for (int i = 0; i < JOBS; i++) {
        struct mill_run here = run_of(i, "here", false), there = run_of(i, "there", true);
        char a[64], b[64];

        snprintf(a, sizeof a, "%s-here", jobs[i].name);
        snprintf(b, sizeof b, "%s-there", jobs[i].name);
        here.name = a;
        there.name = b;
        mill_trained(&here);
        mill_trained(&there);
        same(jobs[i].name, a, b);
    }
}

/* Part on one, part on the other, and back. */
static void a_state_moves_between_cpu_and_device(void **state)
{
    (void)state;
    fill();
    for (int i = 0; i < JOBS; i++) {
        char a[64], b[64];

        snprintf(a, sizeof a, "%s-here", jobs[i].name);
        snprintf(b, sizeof b, "%s-moved", jobs[i].name);
        for (int part = 0; part < 4; part++) {
            struct mill_run r = run_of(i, part ? b : a, part == 2 || part == 1);

            r.max_rows = part == 1 || part == 2 ? FIRST : 0;
            if (part == 2)
                r.set[0] = "device=cpu";
            if (part == 3)
                r.set[0] = "device=cuda";
            mill_trained(&r);
        }
        same(jobs[i].name, a, b);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            struct mill_part x, y;

            assert_true(mill_state(a, p, &x) && mill_state(b, p, &y));
            assert_int_equal(x.flags & SLOT_LOOSE, 0); /* and verify asks no more of the other */
            assert_int_equal(y.flags & SLOT_LOOSE, jobs[i].plain ? 0 : SLOT_LOOSE);
        }
    }
}

static void back_ends_are_told_apart(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < compute_count; i++) {
        const struct compute *c = compute_list[i];

        assert_int_equal(device_mark(c) == 0, c->host_memory);
        assert_in_range(device_mark(c), 0, SLOT_BACKENDS);
        for (uint32_t k = 0; k < i && !c->host_memory; k++)
            assert_int_not_equal(device_mark(c), device_mark(compute_list[k]));
    }
    assert_in_range(device_mark(&compute_far), 1, SLOT_BACKENDS);
}

/* Losses are read while the next batch waits to be learned. */
static void copies_do_not_wait_for_arithmetic(void **state)
{
    struct mill_run r = run_of(0, "linear", true);
    struct far_counts n;

    (void)state;
    fill();
    mill_trained(&r);
    n = far_counts();
    assert_true(n.waits > 100 && n.left > n.waits);
    print_message("%llu operations, %llu waits, %.1f operations waiting on average then\n",
                  (unsigned long long)n.ops, (unsigned long long)n.waits,
                  (double)n.left / (double)n.waits);
}

/* ---- a device that fails ---- */

static uint32_t syncs_left;

static enum st failing_sync(void *self)
{
    enum st st = compute_far.sync(self);

    return syncs_left && --syncs_left ? st : ST_FATAL;
}

static void a_device_that_fails_ends_the_worker_and_loses_nothing(void **state)
{
    struct compute failing = compute_far;
    struct mill_run here = run_of(1, "here", false), there = run_of(1, "there", true);
    struct mill_run on = run_of(1, "there", false);

    (void)state;
    fill();
    failing.sync = failing_sync;
    there.offered = &failing;
    there.set[1] = "checkpoint.every=1000 rows";
    on.set[1] = there.set[1];
    mill_trained(&here);
    for (uint32_t left = 3; left < 9; left++) {
        syncs_left = left;
        mill_train(&there);
        assert_int_equal(there.st, ST_FATAL);
        assert_non_null(strstr(there.err.text, "the device failed"));
    }
    mill_trained(&on);
    same("gone on after the device failed", "here", "there");
}

/* ---- scored ---- */

/* The newest model of a run, on some rows: out[rows, width]; returns width. */
static uint32_t score(const struct mill_run *r, float *out, uint32_t rows)
{
    struct session *s = calloc(1, sizeof *s);
    struct job *j = calloc(1, sizeof *j);
    float x[64][16] = {{0}}, weight[64];
    uint64_t rid[64];
    struct rows batch = {.n = rows, .folds = 1, .decay = 1, .weight = weight, .rid = rid};
    struct err e = {""};
    uint32_t width;

    assert_true(s && j && rows <= 64);
    mill_job_of(r, j);
    s->offered = &compute_far;
    if (session_broker(s, j, true, &e) != ST_OK || session_model(s, 0) != ST_OK ||
        session_codec(s, "data", (struct bytes){0}, s->model.features, false) != ST_OK ||
        session_algo(s, 1) != ST_OK || session_check_model(s) != ST_OK ||
        session_device(s) != ST_OK)
        fail_msg("%s", e.text);
    for (uint32_t i = 0; i < rows; i++) {
        weight[i] = 1;
        rid[i] = i;
        for (uint32_t k = 0; k < s->shape.d[0]; k++)
            x[i][k] = (float)(i * 7 % 11) / 5 - (float)(k * i % 3);
    }
    batch.host = &batch;
    batch.in[0] = (struct feat){.d = s->shape.d[0], .ld = 16, .x = x[0]};
    width = score_columns(s->algo, &s->shape, s->opts, s->derive_opts, NULL, 0);
    for (int twice = 0; twice < 2; twice++) /* by both lanes */
        if (session_score(s, width, &batch, out) != ST_OK)
            fail_msg("%s", e.text);
    session_close(s);
    free(s);
    free(j);
    return width;
}

static void rows_are_scored_on_a_device(void **state)
{
    float here[64 * 16], there[64 * 16];

    (void)state;
    fill();
    for (int i = 0; i < JOBS; i++) {
        struct mill_run r = run_of(i, jobs[i].name, false);
        uint32_t width;

        mill_trained(&r);
        width = score(&r, here, 20);
        r.set[0] = "device=cuda";
        assert_int_equal(score(&r, there, 20), width);
        if (memcmp(here, there, 20 * width * sizeof *here))
            fail_msg("%s scores otherwise on a device", jobs[i].name);
    }
}

/* ---- chosen ---- */

static void the_faster_is_chosen_and_why_is_said(void **state)
{
    const struct device_question both = {
        .algo = "linear", .cpu = "openblas", .other = "cuda", .cpu_rate = 1e6, .other_rate = 3e6};
    struct device_question q = both;
    struct device_answer a;
    struct err e;

    (void)state;
    assert_int_equal(device_decide(&q, &a, &e), ST_OK);
    assert_true(a.other && a.say);
    assert_string_equal(a.why, "cuda learns 3.00 times the rows of openblas at this job's shape");
    q.cpu_rate = 6e6;
    assert_int_equal(device_decide(&q, &a, &e), ST_OK);
    assert_true(!a.other && a.say);
    assert_string_equal(a.why, "openblas learns 2.00 times the rows of cuda at this job's shape");
    q.other_rate = 6e6; /* equal: no reason to go there */
    assert_int_equal(device_decide(&q, &a, &e), ST_OK);
    assert_false(a.other);
    q.other_rate = 0;
    assert_int_equal(device_decide(&q, &a, &e), ST_OK);
    assert_true(!a.other && strstr(a.why, "not be measured"));
    q.told = true; /* whatever the rates */
    assert_int_equal(device_decide(&q, &a, &e), ST_OK);
    assert_true(a.other && a.say);
}

static void what_cannot_be_opened_is_not_chosen(void **state)
{
    struct device_question q = {
        .algo = "linear", .cpu = "openblas", .other = "cuda", .closed = "cuda: no device"};
    struct device_answer a;
    struct err e;

    (void)state;
    assert_int_equal(device_decide(&q, &a, &e), ST_OK);
    assert_true(!a.other && !a.say); /* most machines have none */
    assert_string_equal(a.why, "cuda: no device");
    q.told = true;
    assert_int_equal(device_decide(&q, &a, &e), ST_BAD_CONFIG);
    assert_string_equal(e.text, "cuda: no device");
    q.closed = NULL;
    q.other = NULL;
    assert_int_equal(device_decide(&q, &a, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "device cpu"));
    q = (struct device_question){.algo = "stats", .cpu = "openblas", .other = "cuda"};
    q.plain = q.told = true;
    assert_int_equal(device_decide(&q, &a, &e), ST_OK);
    assert_true(!a.other && a.say && strstr(a.why, "stats is plain C"));
}

static void the_job_says_where(void **state)
{
    static const struct {
        const char *device, *backend, *cpu;
        bool told, other;
    } cases[] = {
        {"auto", "auto", "openblas", false, true},    {"cpu", "auto", "openblas", false, false},
        {"auto", "ref", "ref", false, false},         {"cpu", "ref", "ref", false, false},
        {"cuda", "auto", "openblas", true, true},     {"auto", "cuda", "openblas", true, true},
        {"cuda", "cuda-tf32", "openblas", true, true}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job j = {.name = ""};

        snprintf(j.device, sizeof j.device, "%s", cases[i].device);
        snprintf(j.backend, sizeof j.backend, "%s", cases[i].backend);
        assert_string_equal(device_cpu(&j)->name, cases[i].cpu);
        assert_int_equal(device_told(&j), cases[i].told);
        assert_ptr_equal(device_other(&j, &compute_far), cases[i].other ? &compute_far : NULL);
    }
}

/* A clock on which a back end takes the time that a test gives it: far's waits, in this case. */
static int64_t far_clock(void)
{
    static int64_t at;

    return at += 1000 + (int64_t)far_counts().waits;
}

static void rates_are_measured_by_the_clock(void **state)
{
    const struct linear_like {
        uint32_t d, rows;
    } s = {12, 64};
    _Alignas(64) uint8_t opts[4096] = {0};
    struct shape sh = {.slots = 1, .folds = 1, .ny = 1};
    struct block_shape block = block_shape_of(s.d, false);
    struct device_job d = {.algo = &algo_linear,
                           .opts = opts,
                           .shape = &sh,
                           .block = &block,
                           .seed = 1,
                           .memory_max = 1 << 30};
    double cpu, far;
    struct err e = {""};
    void *self;

    (void)state;
    opts_defaults(algo_linear.opts, opts);
    assert_int_equal(opt_set(opt_find(algo_linear.opts, "loss"), opts, "squared", false, &e),
                     ST_OK);
    block.ny = 1;
    sh.d[0] = s.d;
    sh.batch_rows = s.rows;
    assert_int_equal(algo_linear.check(&sh, opts, &e), ST_OK);
    assert_int_equal(compute_start(&compute_openblas, &self, &e), ST_OK);
    assert_int_equal(device_rate(&d, &compute_openblas, self, far_clock, &cpu, &e), ST_OK);
    compute_stop(&compute_openblas, self);
    assert_int_equal(compute_start(&compute_far, &self, &e), ST_OK);
    assert_int_equal(device_rate(&d, &compute_far, self, far_clock, &far, &e), ST_OK);
    compute_stop(&compute_far, self);
    assert_true(cpu > 0 && far > 0 && far < cpu);
}

/* Behind its wall it is slower than what it is made of, and auto finds out. */
static void auto_leaves_a_slow_device_alone(void **state)
{
    struct mill_run here = run_of(1, "here", false), by_itself = run_of(1, "auto", false);

    (void)state;
    fill();
    by_itself.set[0] = "device=auto";
    mill_trained(&here);
    mill_trained(&by_itself);
    same("auto", "here", "auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_faster_is_chosen_and_why_is_said),
        cmocka_unit_test(what_cannot_be_opened_is_not_chosen),
        cmocka_unit_test(the_job_says_where),
        cmocka_unit_test(rates_are_measured_by_the_clock),
        cmocka_unit_test(back_ends_are_told_apart),
        cmocka_unit_test_setup_teardown(a_job_on_a_device_makes_the_states_of_the_cpu, mill_begin,
                                        mill_end),
        cmocka_unit_test_setup_teardown(a_state_moves_between_cpu_and_device, mill_begin, mill_end),
        cmocka_unit_test_setup_teardown(copies_do_not_wait_for_arithmetic, mill_begin, mill_end),
        cmocka_unit_test_setup_teardown(a_device_that_fails_ends_the_worker_and_loses_nothing,
                                        mill_begin, mill_end),
        cmocka_unit_test_setup_teardown(rows_are_scored_on_a_device, mill_begin, mill_end),
        cmocka_unit_test_setup_teardown(auto_leaves_a_slow_device_alone, mill_begin, mill_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
