#include "config/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

struct fake {
    struct f32s rate;
    uint32_t classes;
};

static const struct opt fake_opts[] = {
    {"learning_rate", OPT_F32S, offsetof(struct fake, rate), 0, "0.1", 0, 10, NULL, "", NULL},
    {"classes", OPT_U32, offsetof(struct fake, classes), 0, NULL, 2, 100, NULL,
     "Number of classes.", NULL},
    {0}};

static const struct opt *options_of(const char *name, size_t *bytes)
{
    *bytes = sizeof(struct fake);
    return strcmp(name, "fake") ? NULL : fake_opts;
}

static const struct job_algos algos = {options_of, (const char *const[]){"fake", NULL}};
static struct job job;

/* Reads text as a job file; the problems printed are in said[]. */
static uint32_t read_text(const char *text, const char *const *set, uint32_t n, char *said,
                          size_t room)
{
    char path[] = "/tmp/job-test-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w"), *out;
    uint32_t count;

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    memset(said, 0, room);
    out = fmemopen(said, room - 1, "w");
    count = job_read(&job, path, set, n, &algos, out);
    fclose(out);
    unlink(path);
    return count;
}

static const char good[] =
    "job: clothes\ntopic: images\nalgo: fake\nbroker: local:data\n"
    "kafka: {bootstrap.servers: \"localhost:9092\"}\n"
    "input:\n  schema: images.avsc\n  features: [a, \"pixels[784]\"]\n  holdout: 10%\n  classes: "
    "[no, yes]\n"
    "options: {classes: 10, learning_rate: [0.05, 0.1]}\n"
    "checkpoint: {every: \"10s, 100000 rows\"}\nstaleness: async\nbad_records: {to: drop, limit: "
    "5}\n";

static void a_job_is_read_with_its_defaults(void **state)
{
    char said[2048];
    const struct fake *f = (const struct fake *)job.opts;

    (void)state;
    assert_int_equal(read_text(good, NULL, 0, said, sizeof said), 0);
    assert_string_equal(said, "");
    assert_string_equal(job.name, "clothes");
    assert_string_equal(job.topic_params, "clothes.params");
    assert_string_equal(job.broker, "local:/tmp/data");
    assert_string_equal(job.input.schema, "/tmp/images.avsc");
    assert_string_equal(job.state_dir, "/tmp/clothes.state");
    assert_string_equal(job.input.feature[1].name, "pixels");
    assert_int_equal(job.input.feature[1].width, 784);
    assert_true(job.input.holdout == 0.1f);
    assert_int_equal(job.input.classes, 2);
    assert_int_equal(f->classes, 10);
    assert_int_equal(f->rate.n, 2);
    assert_int_equal(job.checkpoint.ms, 10000);
    assert_int_equal(job.checkpoint.rows, 100000);
    assert_int_equal(job.publish.ms, 10000);
    assert_false(job.bad_dead_letter);
    assert_int_equal(job.bad_limit_count, 5);
    assert_int_equal(job.kafka.n, 1);
    assert_string_equal(job.kafka.p[0].value, "localhost:9092");
}

static void all_problems_are_reported_at_once_with_place_and_nearest_word(void **state)
{
    static const char bad[] =
        "job: clothes\ntopc: images\nalgo: fake\ninput:\n  schema: x.avsc\n  fromat: csv\n"
        "options:\n  lerning_rate: 0.1\n  classes: 1\nseed: -1\nstaleness: -2\n";
    char said[4096];

    (void)state;
    assert_int_equal(read_text(bad, NULL, 0, said, sizeof said), 7);
    assert_non_null(strstr(said, ":2:1: error: unknown key 'topc' (did you mean 'topic'?)"));
    assert_non_null(
        strstr(said, ":6:3: error: unknown key 'fromat' in input (did you mean 'format'?)"));
    assert_non_null(strstr(
        said,
        ":8:3: error: unknown key 'lerning_rate' in options (did you mean 'learning_rate'?)"));
    assert_non_null(strstr(said, ":9:12: error: 'classes' must be 2..100, got '1'"));
    assert_non_null(strstr(said, ":10:7: error: 'seed' must be a number, got '-1'"));
    assert_non_null(strstr(said, ":11:12: error: 'staleness (async, or rounds)' must be"));
    assert_non_null(strstr(said, "'topic' is missing"));
}

static void a_start_is_a_topic_and_a_version(void **state)
{
    static const char *const bad[] = {"start_from=clothes.models", "start_from=@17",
                                      "start_from=clothes.models@", "start_from=clothes.models@0",
                                      "start_from=clothes.models@latest"};
    const char *set = "start_from=a@b.models@17";
    char said[2048];

    (void)state;
    assert_int_equal(read_text(good, &set, 1, said, sizeof said), 0);
    assert_string_equal(job.start_topic, "a@b.models");
    assert_int_equal(job.start_version, 17);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(read_text(good, &bad[i], 1, said, sizeof said), 1);
        assert_non_null(strstr(said, "such as clothes.models@17, got '"));
    }
}

static void categories_are_fields_of_csv_and_json(void **state)
{
    const char *const set[] = {"input.one_hot=user, film", "input.hash_bits=18",
                               "input.format=csv"};
    const char *bits = "input.hash_bits=25";
    char said[2048];

    (void)state;
    assert_int_equal(read_text(good, set, 3, said, sizeof said), 0);
    assert_int_equal(job.input.one_hots, 2);
    assert_string_equal(job.input.one_hot[1], "film");
    assert_int_equal(job.input.hash_bits, 18);
    assert_int_equal(read_text(good, set, 2, said, sizeof said), 1);
    assert_non_null(strstr(said, "input.one_hot is for formats csv and json"));
    assert_int_equal(read_text(good, &bits, 1, said, sizeof said), 1);
    assert_non_null(strstr(said, "'input.hash_bits' must be 0..24"));
}

static void broken_files_say_where(void **state)
{
    char said[2048];

    (void)state;
    assert_int_equal(read_text("job: [a\n", NULL, 0, said, sizeof said), 1);
    assert_non_null(strstr(said, ":2:1: error:"));
    assert_int_equal(read_text("job: a\njob: b\n", NULL, 0, said, sizeof said), 1);
    assert_non_null(strstr(said, ":2:1: error: key 'job' is given twice (first in line 1)"));
    assert_int_equal(read_text("", NULL, 0, said, sizeof said), 1);
    assert_int_equal(read_text("- a\n", NULL, 0, said, sizeof said), 1);
    assert_int_equal(read_text("job: &a x\ntopic: *a\n", NULL, 0, said, sizeof said), 1);
    assert_int_equal(read_text("job: a\ntopic: t\nalgo: fkae\n", NULL, 0, said, sizeof said), 1);
    assert_non_null(strstr(said, "did you mean 'fake'?"));
}

static void names_are_hashed_where_rows_have_names(void **state)
{
    static const char *const rest = "job: a\ntopic: t\nalgo: fake\noptions: {classes: 2}\n";
    char said[4096], text[512];

    (void)state;
    snprintf(text, sizeof text, "%sinput: {format: libsvm, hash_bits: 24}\n", rest);
    assert_int_equal(read_text(text, NULL, 0, said, sizeof said), 0);
    assert_int_equal(job.input.hash_bits, 24);
    snprintf(text, sizeof text, "%sinput: {format: libsvm, hash_bits: 25}\n", rest);
    assert_int_equal(read_text(text, NULL, 0, said, sizeof said), 1);
    snprintf(text, sizeof text, "%sinput: {format: csv, hash_bits: 10}\n", rest);
    assert_int_equal(read_text(text, NULL, 0, said, sizeof said), 1);
    assert_non_null(strstr(said, "input.hash_bits is for input.format libsvm"));
    snprintf(text, sizeof text, "%sinput: {format: libsvm, width: 9, hash_bits: 10}\n", rest);
    assert_int_equal(read_text(text, NULL, 0, said, sizeof said), 1);
    assert_non_null(strstr(said, "exclude each other"));
}

static void set_wins_over_the_file(void **state)
{
    static const char *const set[] = {"seed=7", "options.learning_rate=0.3", "input.holdout=0.2"},
                             *const wrong[] = {"sed=7"};
    char said[2048];

    (void)state;
    assert_int_equal(read_text(good, set, 3, said, sizeof said), 0);
    assert_int_equal(job.seed, 7);
    assert_int_equal(((const struct fake *)job.opts)->rate.n, 1);
    assert_true(job.input.holdout == 0.2f);
    assert_int_equal(read_text(good, wrong, 1, said, sizeof said), 1);
    assert_non_null(strstr(said, "--set: error: unknown key 'sed' (did you mean 'seed'?)"));
}

static void a_back_end_is_one_of_its_device(void **state)
{
    static const char *const fit[][2] = {{"device=auto", "backend=cuda-tf32"},
                                         {"device=cuda", "backend=cuda"},
                                         {"device=cuda", "backend=auto"},
                                         {"device=cpu", "backend=ref"}},
                             *const not [][2] = {{"device=cpu", "backend=cuda"},
                                                 {"device=cuda", "backend=openblas"}};
    char said[2048];

    (void)state;
    for (size_t i = 0; i < sizeof fit / sizeof *fit; i++)
        assert_int_equal(read_text(good, fit[i], 2, said, sizeof said), 0);
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++) {
        assert_int_equal(read_text(good, not [i], 2, said, sizeof said), 1);
        assert_non_null(strstr(said, "'backend' is not one of 'device'"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_read_with_its_defaults),
        cmocka_unit_test(all_problems_are_reported_at_once_with_place_and_nearest_word),
        cmocka_unit_test(a_start_is_a_topic_and_a_version),
        cmocka_unit_test(categories_are_fields_of_csv_and_json),
        cmocka_unit_test(broken_files_say_where),
        cmocka_unit_test(names_are_hashed_where_rows_have_names),
        cmocka_unit_test(set_wins_over_the_file),
        cmocka_unit_test(a_back_end_is_one_of_its_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
