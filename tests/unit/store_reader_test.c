/* A reader's open beside a writer of every speed: RocksDB's own open is replaced by one that says
 * what the test wants, over a folder that looks like a store from outside. */
#include "statestore/store.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <sys/stat.h>

struct rocksdb_t;
struct rocksdb_options_t;
struct rocksdb_t *rocksdb_open_for_read_only(const struct rocksdb_options_t *options,
                                             const char *name, unsigned char error_if_wal,
                                             char **errptr);

static struct {
    const char *says; /* of every open */
    int grows;        /* in so many of the first opens the writer was at work */
    int opens;
} rocks;

static void append(const char *file, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", temp_path("state"), file);
    f = fopen(path, "a");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* The program's own symbol comes before that of the library. */
struct rocksdb_t *rocksdb_open_for_read_only(const struct rocksdb_options_t *options,
                                             const char *name, unsigned char error_if_wal,
                                             char **errptr)
{
    (void)options, (void)error_if_wal;
    assert_string_equal(name, temp_path("state"));
    if (rocks.opens++ < rocks.grows)
        append("MANIFEST-000001", "x");
    *errptr = strdup(rocks.says);
    return NULL;
}

static enum st opened(const char *says, int grows)
{
    void *s = calloc(1, store_rocksdb.self_bytes);
    struct err e = {""};
    enum st st;

    assert_non_null(s);
    rocks.says = says;
    rocks.grows = grows;
    rocks.opens = 0;
    st = store_rocksdb.open(s, temp_path("state"), STORE_READ_ONLY, &e);
    store_rocksdb.close(s);
    free(s);
    assert_non_null(strstr(e.text, temp_path("state")));
    return st;
}

static const char missing[] = "IO error: No such file or directory: 000007.log";
static const char damaged[] = "Corruption: checksum mismatch";

static void a_writer_that_never_rests_is_no_damage(void **state)
{
    (void)state;
    assert_int_equal(opened(missing, 1000), ST_AGAIN);
    assert_in_range(rocks.opens, 10, 1000);
    assert_int_equal(opened(damaged, 1000), ST_AGAIN);
}

/* Its file went between two of RocksDB's own steps, and the MANIFEST had grown before them. */
static void a_writer_that_rests_in_the_last_try_is_no_damage(void **state)
{
    (void)state;
    assert_int_equal(opened(missing, 1000), ST_AGAIN);
    assert_int_equal(opened(missing, rocks.opens - 1), ST_AGAIN);
    assert_int_equal(opened(missing, 1), ST_AGAIN);
}

static void what_is_missing_while_nothing_moves_is_damage(void **state)
{
    (void)state;
    assert_int_equal(opened(missing, 0), ST_CORRUPT);
    assert_int_equal(opened(damaged, 0), ST_CORRUPT);
    assert_int_equal(rocks.opens, 1);
    assert_int_equal(opened(damaged, 3), ST_CORRUPT); /* seen at rest, after three tries */
    assert_int_equal(rocks.opens, 4);
}

static int setup(void **state)
{
    (void)state;
    if (!temp_begin() || mkdir(temp_path("state"), 0777))
        return -1;
    append("CURRENT", "MANIFEST-000001\n");
    append("MANIFEST-000001", "x");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_end();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_that_never_rests_is_no_damage),
        cmocka_unit_test(a_writer_that_rests_in_the_last_try_is_no_damage),
        cmocka_unit_test(what_is_missing_while_nothing_moves_is_damage),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
