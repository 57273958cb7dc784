/* `millrace state`, on folders written here with the real layout of tensors. */
#include "algos/tensors.h"
#include "consumer/verbs/verbs.h"
#include "statestore/checkpoint.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHIFT = 8 };

static const struct tdecl plan[] = {
    {.id = 0, .name = "w", .what = "weights", .dtype = DT_F32, .law = LAW_FOLD, .dim = {100, 2}},
    {.id = 1, .name = "n", .what = "rows", .dtype = DT_U64, .law = LAW_SUM, .dim = {3}},
    {.id = 2, .name = "delta", .what = "signed", .dtype = DT_I32, .law = LAW_MAX, .dim = {4}},
    {.id = 3, .name = "@loss", .what = "loss", .dtype = DT_F64, .law = LAW_SUM, .dim = {2}},
};
enum { W, N, DELTA, LOSS, COUNT };

static struct tensors ts;
static struct slot_chunk chunk[16];
static struct manifest m;
static char out[1 << 15];

static void make_state(uint32_t p, int64_t offset)
{
    struct err e;

    if (!ts.base) {
        assert_int_equal(tensors_layout(&ts, plan, COUNT, SHIFT, UINT64_MAX, &e), ST_OK);
        assert_int_equal(tensors_alloc(&ts, NULL, NULL, &e), ST_OK);
    }
    memset(ts.base, 0, ts.bytes);
    for (int i = 0; i < 10; i++)
        ts.t[W].f32[i] = (float)(i - 4);
    ts.t[N].u64[0] = 1ull << 40;
    ts.t[DELTA].i32[3] = -7;
    ts.t[LOSS].f64[0] = (double)offset;
    ts.t[LOSS].f64[1] = -INFINITY;
    memset(chunk, 0, sizeof chunk);
    m = (struct manifest){
        .partition = p,
        .pos = {0, 1, offset},
        .epochs = 2,
        .begin = 10,
        .end = 5000,
        .last_offset = offset - 1,
        .trained = 900,
        .rejected = 3,
        .seq = 5,
        .partitions = 2,
        .job = 0xabcdef,
        .algo = "linear",
        .state_version = 2,
        .chunk_bytes = 1 << SHIFT,
        .state_bytes = ts.bytes,
        .chunks = tensors_chunks(&ts),
        .chunk = chunk,
        .chunks_max = 16,
        .tensors = COUNT,
        .lineages = 2,
        .lineage = {{0, 0, 10, 5000, 4990, LINEAGE_LEARNED}, {0, 1, 10, offset, 900, 0}}};
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct tdecl *d = &plan[i];
        struct slot_tensor *t = &m.tensor[i];

        *t = (struct slot_tensor){.dtype = d->dtype, .law = d->law};
        memcpy(t->name, d->name, strlen(d->name) + 1);
        memcpy(t->dim, d->dim, sizeof t->dim);
    }
}

static struct checkpoint *open_folder(const char *dir, const char *worker)
{
    struct checkpoint_conf c = {.store = &store_rocksdb,
                                .dir = dir,
                                .partitions_max = 2,
                                .chunks_max = 32,
                                .dead_bytes_max = 4096};
    struct checkpoint *cp;
    struct err e = {""};

    if (checkpoint_open(&cp, &c, worker, &e) != ST_OK ||
        checkpoint_identity(cp, "c", "clothes", &e) != ST_OK)
        fail_msg("%s", e.text);
    return cp;
}

/* Writes the state made last; all: zero chunks too. */
static void save(struct checkpoint *cp)
{
    struct dead_letter d = {
        .partition = m.partition, .at = m.pos, .reason = "truncated", .detail = "x"};
    struct err e = {""};

    checkpoint_begin(cp);
    for (uint32_t j = 0; j < m.chunks; j++)
        checkpoint_chunk(cp, &m, j, ts.base + ((size_t)j << SHIFT), tensors_chunk_bytes(&ts, j));
    checkpoint_put(cp, &m);
    assert_int_equal(checkpoint_dead(cp, &d, &e), ST_OK);
    assert_int_equal(checkpoint_commit(cp, &e), ST_OK);
}

/* Runs the verb; its stdout is in `out`. */
static int run(const char *word, const char *dir, bool digest, const char *partition)
{
    struct {
        bool digest;
        char partition[8];
    } flags = {.digest = digest};
    char *argv[] = {(char *)(uintptr_t)word, (char *)(uintptr_t)dir};
    int was = dup(1), code;
    size_t n;
    FILE *f = tmpfile();

    assert_non_null(f);
    assert_int_equal(verb_state.flags_bytes, sizeof flags);
    snprintf(flags.partition, sizeof flags.partition, "%s", partition);
    fflush(stdout);
    dup2(fileno(f), 1);
    code = verb_state.run(&flags, dir ? 2 : 1, argv);
    fflush(stdout);
    dup2(was, 1);
    close(was);
    rewind(f);
    n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    fclose(f);
    return code;
}

static void says(const char *what)
{
    if (!strstr(out, what))
        fail_msg("no '%s' in\n%s", what, out);
}

static void partitions_tensors_and_lineage_are_shown(void **state)
{
    const char *dir = temp_path("show");
    struct checkpoint *cp = open_folder(dir, "ann");

    (void)state;
    make_state(1, 777);
    save(cp);
    make_state(0, 1200);
    m.flags = SLOT_DONE;
    save(cp);
    assert_int_equal(run("ls", dir, false, ""), CLI_DONE); /* beside the writer */
    says("ann                0  0:1:1200                  900         3         0");
    says("linear       done     0s");
    says("ann                1  0:1:777");
    assert_int_equal(run("show", dir, false, "0"), CLI_DONE);
    says("partition 0 of job clothes, worker ann\n  algorithm    linear, state version 2\n"
         "  position     run 0, epoch 1 of 2, offset 1200\n  offsets      [10, 5000)\n"
         "  records      900 trained, 3 rejected, 0 lost\n");
    says("w                    [100,2]          f32  fold            -4            5        0.025  "
         "      191 "
         "         0\n");
    says("n                    [3]              u64  sum              0  1.09951e+12");
    says("delta                [4]              i32  max             -7            0        -1.75  "
         "        3");
    says("@loss                [2]              f64  sum           1200         1200         1200  "
         "        0 "
         "         1\n");
    says("learned       0      1               10             1200              900");
    assert_null(strstr(out, "partition 1"));
    checkpoint_close(cp);
}

static void digests_are_of_the_state_wherever_and_however_often_it_was_written(void **state)
{
    struct checkpoint *cp;
    char first[512];

    (void)state;
    assert_int_equal(mkdir(temp_path("one"), 0777) | mkdir(temp_path("two"), 0777), 0);
    cp = open_folder(temp_path("one/ann"), "ann");
    make_state(0, 50);
    save(cp);
    make_state(1, 60);
    save(cp);
    checkpoint_close(cp);
    assert_int_equal(run("show", temp_path("one"), true, ""), CLI_DONE);
    snprintf(first, sizeof first, "%s", out);
    assert_int_equal(strncmp(first, "digest ", 7), 0);
    assert_int_equal(strlen(first), 2 * (7 + 16 + 13) + 7 + 16 + 5);

    /* two workers; partition 0 wandered, and ben's later state counts */
    cp = open_folder(temp_path("two/ann"), "ann");
    make_state(0, 40);
    save(cp);
    make_state(1, 60);
    save(cp);
    m.seq = 9;
    m.last_fingerprint = 4;
    save(cp);
    checkpoint_close(cp);
    cp = open_folder(temp_path("two/ben"), "ben");
    make_state(0, 50);
    save(cp);
    checkpoint_close(cp);
    assert_int_equal(run("show", temp_path("two"), true, ""), CLI_DONE);
    assert_string_equal(out, first);

    cp = open_folder(temp_path("two/ben"), "ben");
    make_state(0, 50);
    ts.t[W].f32[199] = 1e-30f;
    save(cp);
    checkpoint_close(cp);
    assert_int_equal(run("show", temp_path("two"), true, ""), CLI_DONE);
    assert_string_not_equal(out, first);
}

static void verify_names_what_is_broken_and_goes_on(void **state)
{
    const char *dir = temp_path("verify");
    struct checkpoint *cp = open_folder(dir, "ann");
    void *s = calloc(1, store_rocksdb.self_bytes);
    struct change c = {.key = {(const uint8_t *)"c/00000/000000", 14}};
    static uint8_t value[1 << SHIFT];
    struct err e;

    (void)state;
    assert_non_null(s);
    make_state(0, 50);
    save(cp);
    make_state(1, 60);
    save(cp);
    assert_int_equal(run("verify", dir, false, ""), CLI_DONE);
    says("worker ann partition 0: ok, 4 chunks, 1024 bytes, 1 dead letters\n");
    says("worker ann partition 1: ok");
    checkpoint_close(cp);
    memcpy(value, ts.base, sizeof value);
    value[100] ^= 4;
    c.value = (struct bytes){value, sizeof value};
    assert_int_equal(store_rocksdb.open(s, dir, 0, &e), ST_OK);
    assert_int_equal(store_rocksdb.write(s, &c, 1, true, &e), ST_OK);
    store_rocksdb.close(s);
    free(s);
    assert_int_equal(run("verify", dir, false, ""), CLI_FAILED);
    says("broken: state folder ");
    says("partition 0: chunk 0 (at byte 0 of the state) has CRC");
    says("worker ann partition 1: ok");
    assert_int_equal(run("show", dir, true, ""), CLI_FAILED);
    assert_null(strstr(out, "digest"));
}

static void folders_without_a_state_and_wrong_words_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(temp_path("empty"), 0777), 0);
    assert_int_equal(run("ls", temp_path("empty"), false, ""), CLI_CONFIG);
    assert_int_equal(run("ls", temp_path("absent"), false, ""), CLI_CONFIG);
    assert_int_equal(run("burn", temp_path("empty"), false, ""), CLI_USAGE);
    assert_int_equal(run("ls", NULL, false, ""), CLI_USAGE);
    assert_int_equal(run("ls", temp_path("empty"), false, "-1"), CLI_USAGE);
    assert_int_equal(run("ls", temp_path("empty"), false, "two"), CLI_USAGE);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_tensors_and_lineage_are_shown),
        cmocka_unit_test(digests_are_of_the_state_wherever_and_however_often_it_was_written),
        cmocka_unit_test(verify_names_what_is_broken_and_goes_on),
        cmocka_unit_test(folders_without_a_state_and_wrong_words_are_refused),
    };
    int failures;

    if (!temp_begin())
        return 1;
    failures = cmocka_run_group_tests(tests, NULL, NULL);
    tensors_free(&ts, NULL, NULL);
    temp_end();
    return failures;
}
