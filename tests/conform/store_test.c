/* The laws of the store table, over every store that is registered; then what only a folder on disk
 * can do. */
#include "statestore/store.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static const struct bytes none = {NULL, 0};

static struct change put(const char *key, const char *value)
{
    return (struct change){text(key), text(value), none};
}

static struct change del(const char *key)
{
    return (struct change){text(key), none, none};
}

static struct change del_range(const char *key, const char *upto)
{
    return (struct change){text(key), none, text(upto)};
}

/* An open store of table t in the folder `name`, on the heap. */
static void *opened(const struct store *t, const char *name, uint32_t flags)
{
    void *s = calloc(1, t->self_bytes);
    struct err e = {""};
    enum st st = ST_AGAIN;

    assert_non_null(s);
    /* a writer that never pauses may outrun a slow reader for a while: it is told to try again */
    for (int i = 0; i < 50 && (st = t->open(s, temp_path(name), flags, &e)) == ST_AGAIN; i++) {
        t->close(s);
        memset(s, 0, t->self_bytes);
    }
    if (st != ST_OK)
        fail_msg("open: %s", e.text);
    return s;
}

static void closed(const struct store *t, void *s)
{
    t->close(s);
    for (size_t i = 0; i < t->self_bytes; i++)
        assert_int_equal(((uint8_t *)s)[i], 0);
    free(s);
}

static void wrote(const struct store *t, void *s, const struct change *c, uint32_t n)
{
    struct err e = {""};

    if (t->write(s, c, n, true, &e) != ST_OK)
        fail_msg("write: %s", e.text);
}

static void has(const struct store *t, void *s, const char *key, const char *value)
{
    struct bytes v;
    struct err e = {""};

    assert_int_equal(t->get(s, text(key), &v, &e), ST_OK);
    if (!value) {
        assert_null(v.p);
        return;
    }
    assert_non_null(v.p);
    assert_int_equal(v.n, strlen(value));
    assert_memory_equal(v.p, value, v.n);
}

struct seen {
    char text[256];
    size_t n, most;
};

static bool see(void *arg, struct bytes key, struct bytes value)
{
    struct seen *s = arg;
    int n = snprintf(s->text + s->n, sizeof s->text - s->n, "%.*s=%.*s ", (int)key.n,
                     (const char *)key.p, (int)value.n, (const char *)value.p);

    s->n += (size_t)n;
    return --s->most;
}

static void scans(const struct store *t, void *s, struct bytes from, struct bytes upto, size_t most,
                  const char *want)
{
    struct seen seen = {.most = most};
    struct err e = {""};

    assert_int_equal(t->scan(s, from, upto, see, &seen, &e), ST_OK);
    assert_string_equal(seen.text, want);
}

static void last_is(const struct store *t, void *s, struct bytes upto, const char *want)
{
    struct bytes k, v;
    struct err e = {""};
    char got[64];

    assert_int_equal(t->last(s, upto, &k, &v, &e), ST_OK);
    if (!want) {
        assert_null(k.p);
        return;
    }
    assert_non_null(k.p);
    snprintf(got, sizeof got, "%.*s=%.*s", (int)k.n, (const char *)k.p, (int)v.n,
             (const char *)v.p);
    assert_string_equal(got, want);
}

/* ---- every store ---- */

static void tables_are_complete(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < store_count; i++) {
        const struct store *t = store_list[i];

        assert_true(t->name && t->summary && t->self_bytes && t->memory_bytes && t->open &&
                    t->close && t->get && t->scan && t->last && t->write);
        assert_ptr_equal(store_find(t->name), t);
    }
    assert_null(store_find("cassette"));
}

static void keys_are_ordered_as_unsigned_bytes(void **state)
{
    const struct store *t = *state;
    void *s = opened(t, "order", 0);
    const struct change c[] = {put("b", "2"), put("\xc3\xa4", "5"), put("a", "1"), put("bb", "3"),
                               put("z", "4")};

    wrote(t, s, c, 5);
    scans(t, s, none, none, 9, "a=1 b=2 bb=3 z=4 \xc3\xa4=5 ");
    scans(t, s, text("b"), text("z"), 9, "b=2 bb=3 ");
    scans(t, s, text("ba"), none, 9, "bb=3 z=4 \xc3\xa4=5 ");
    scans(t, s, text("b"), text("b"), 9, "");
    scans(t, s, none, none, 2, "a=1 b=2 ");
    closed(t, s);
}

static void last_is_the_greatest_key_below(void **state)
{
    const struct store *t = *state;
    void *s = opened(t, "last", 0);
    const struct change c[] = {put("b", "1"), put("d", "2")};

    last_is(t, s, none, NULL);
    wrote(t, s, c, 2);
    last_is(t, s, none, "d=2");
    last_is(t, s, text("e"), "d=2");
    last_is(t, s, text("d"), "b=1");
    last_is(t, s, text("c"), "b=1");
    last_is(t, s, text("b"), NULL);
    closed(t, s);
}

static void changes_of_a_batch_apply_in_order(void **state)
{
    const struct store *t = *state;
    void *s = opened(t, "batch", 0);
    const struct change first[] = {put("a", "1"), put("b", "2"), put("c", "3"), put("d", "4"),
                                   put("e", "")};
    const struct change second[] = {del_range("a", "d"), put("b", "new"), put("d", "twice"),
                                    put("d", "thrice"),  del("nobody"),   del("e")};

    wrote(t, s, first, 5);
    has(t, s, "e", "");
    has(t, s, "nobody", NULL);
    wrote(t, s, second, 6);
    scans(t, s, none, none, 9, "b=new d=thrice ");
    has(t, s, "a", NULL);
    has(t, s, "b", "new");
    has(t, s, "e", NULL);
    wrote(t, s, NULL, 0);
    closed(t, s);
}

static void ranges_are_deleted_half_open(void **state)
{
    const struct store *t = *state;
    void *s = opened(t, "ranges", 0);

    for (int i = 0; i < 1000; i++) {
        char key[8], value[8];
        struct change c;

        snprintf(key, sizeof key, "k%03d", (i * 7) % 1000);
        snprintf(value, sizeof value, "%d", i);
        c = put(key, value);
        wrote(t, s, &c, 1);
    }
    wrote(t, s, (struct change[]){del_range("k010", "k990")}, 1);
    scans(t, s, text("k009"), text("k991"), 9, "k009=287 k990=570 ");
    wrote(t, s, (struct change[]){del_range("k", "l")}, 1);
    scans(t, s, none, none, 9, "");
    last_is(t, s, none, NULL);
    closed(t, s);
}

/* 64 chunks of 256 KiB: the size of a full checkpoint of a large state. */
static void a_large_batch_comes_back(void **state)
{
    enum { CHUNK = 256 << 10, CHUNKS = 64 };
    const struct store *t = *state;
    void *s = opened(t, "large", 0);
    uint8_t *p = malloc((size_t)CHUNK * CHUNKS);
    static char key[CHUNKS][8];
    struct change c[CHUNKS];
    struct err e = {""};

    assert_non_null(p);
    for (size_t i = 0; i < (size_t)CHUNK * CHUNKS; i++)
        p[i] = (uint8_t)((i * 2654435761u) >> 13);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t j = 0; j < CHUNKS; j++) {
            snprintf(key[j], sizeof key[j], "c%03u", j);
            c[j] = (struct change){
                text(key[j]), {p + (size_t)CHUNK * ((j + round) % CHUNKS), CHUNK}, none};
        }
        wrote(t, s, c, CHUNKS);
    }
    for (uint32_t j = 0; j < CHUNKS; j++) {
        struct bytes v;

        assert_int_equal(t->get(s, text(key[j]), &v, &e), ST_OK);
        assert_int_equal(v.n, CHUNK);
        assert_memory_equal(v.p, p + (size_t)CHUNK * ((j + 3) % CHUNKS), CHUNK);
    }
    free(p);
    closed(t, s);
}

static void close_is_safe_on_zeroes_and_after_a_failed_open(void **state)
{
    const struct store *t = *state;
    void *s = calloc(1, t->self_bytes);
    struct err e = {""};

    assert_non_null(s);
    t->close(s);
    assert_int_equal(t->open(s, temp_path("absent/below"), STORE_READ_ONLY, &e), ST_BAD_CONFIG);
    assert_non_null(strstr(e.text, "absent/below"));
    closed(t, s);
    assert_int_equal(access(temp_path("absent"), F_OK), -1); /* a reader makes nothing */
}

/* ---- a folder on disk ---- */

static void refused(const char *name, uint32_t flags, const char *says)
{
    const struct store *t = &store_rocksdb;
    void *s = calloc(1, t->self_bytes);
    struct err e = {""};

    assert_non_null(s);
    assert_int_equal(t->open(s, temp_path(name), flags, &e), ST_BAD_CONFIG);
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
    closed(t, s);
}

static void what_was_synced_is_there_after_reopen(void **state)
{
    const struct store *t = &store_rocksdb;
    void *s = opened(t, "reopen", 0);

    (void)state;
    wrote(t, s, (struct change[]){put("a", "1"), put("b", "2")}, 2);
    closed(t, s);
    s = opened(t, "reopen", 0);
    wrote(t, s, (struct change[]){del("a"), put("c", "3")}, 2);
    closed(t, s);
    s = opened(t, "reopen", 0);
    scans(t, s, none, none, 9, "b=2 c=3 ");
    closed(t, s);
}

static void folders_that_cannot_be_used_are_named(void **state)
{
    char path[160];
    FILE *f;

    (void)state;
    refused("no/parent", 0, "make the folder above it first");
    refused("missing", STORE_READ_ONLY, "No such file");
    assert_int_equal(mkdir(temp_path("photos"), 0777), 0);
    refused("photos", STORE_READ_ONLY, "holds no state");
    snprintf(path, sizeof path, "%s/cat.jpg", temp_path("photos"));
    assert_non_null(f = fopen(path, "w"));
    fclose(f);
    refused("photos", 0, "cat.jpg");
    refused("photos/cat.jpg", 0, "Not a directory");
}

static void open_twice_in_one_process_is_refused(void **state)
{
    void *s = opened(&store_rocksdb, "twice", 0);

    (void)state;
    refused("twice", 0, "held by this process");
    wrote(&store_rocksdb, s, (struct change[]){put("still", "mine")}, 1);
    closed(&store_rocksdb, s);
}

/* Another process of this program: `store_test hold|chase DIR`. Its standard output tells when it
 * is ready, the end of its standard input when to go. RocksDB's threads do not survive a bare
 * fork. */
struct child {
    pid_t pid;
    int in, out;
};

static struct child child_start(const char *what, const char *dir)
{
    struct child c;
    int in[2], out[2];
    char ready;

    assert_int_equal(pipe(in) | pipe(out), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (!c.pid) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl("/proc/self/exe", "store_test", what, dir, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    c.in = in[1];
    c.out = out[0];
    assert_int_equal(read(c.out, &ready, 1), 1);
    return c;
}

static void child_stop(struct child c, int sig)
{
    int status;

    if (sig)
        kill(c.pid, sig);
    close(c.in);
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
    close(c.out);
    if (!sig)
        assert_int_equal(status, 0);
}

static void a_folder_held_by_another_process_is_refused_by_its_number(void **state)
{
    struct child c = child_start("hold", temp_path("held"));
    char says[64];
    void *s;

    (void)state;
    snprintf(says, sizeof says, "held by process %ld", (long)c.pid);
    refused("held", 0, says);
    kill(c.pid, SIGSTOP); /* a frozen process holds on */
    refused("held", 0, says);
    child_stop(c, SIGKILL);
    s = opened(&store_rocksdb, "held", 0);
    has(&store_rocksdb, s, "who", "child");
    closed(&store_rocksdb, s);
}

static void readers_see_whole_batches_beside_a_live_writer(void **state)
{
    const struct store *t = &store_rocksdb;
    struct child c = child_start("chase", temp_path("chase"));
    long before = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        void *s = opened(t, "chase", STORE_READ_ONLY);
        struct bytes v;
        struct err e;
        long a, b;

        assert_int_equal(t->get(s, text("first"), &v, &e), ST_OK);
        a = strtol((const char *)v.p, NULL, 10);
        assert_int_equal(t->get(s, text("last"), &v, &e), ST_OK);
        b = strtol((const char *)v.p, NULL, 10);
        assert_int_equal(a, b);
        assert_true(a >= before);
        before = a;
        closed(t, s);
    }
    assert_true(before > 1);
    child_stop(c, SIGKILL);
}

static uint32_t files_in(const char *dir)
{
    uint32_t n = 0;
    DIR *d = opendir(dir);

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void a_reader_sees_the_newest_synced_data_and_writes_nothing(void **state)
{
    const struct store *t = &store_rocksdb;
    void *w = opened(t, "newest", 0), *r;
    uint32_t files = files_in(temp_path("newest"));
    struct err e;

    (void)state;
    wrote(t, w, (struct change[]){put("n", "1")}, 1);
    r = opened(t, "newest", STORE_READ_ONLY);
    wrote(t, w, (struct change[]){put("n", "2")}, 1);
    has(t, r, "n", "1");
    closed(t, r);
    r = opened(t, "newest", STORE_READ_ONLY);
    has(t, r, "n", "2");
    assert_int_equal(t->write(r, &(struct change){text("n"), text("3"), none}, 1, true, &e),
                     ST_FATAL);
    closed(t, r);
    assert_int_equal(files_in(temp_path("newest")), files);
    closed(t, w);
}

static void a_disk_that_fills_up_is_said_and_loses_nothing(void **state)
{
    const struct store *t = &store_rocksdb;
    uint8_t *p = calloc(1, 1 << 20);
    struct err e = {""};
    enum st st = ST_OK;
    uint32_t kept = 0;
    char key[16];
    void *s;

    (void)state;
    assert_non_null(p);
    assert_int_equal(mkdir(temp_path("small"), 0777), 0);
    if (mount("tmpfs", temp_path("small"), "tmpfs", 0, "size=8m")) {
        print_message("no right to mount a small disk: skipped\n");
        free(p);
        skip();
    }
    s = opened(t, "small/state", 0);
    for (uint32_t i = 0; i < 64 && st == ST_OK; i++) {
        snprintf(key, sizeof key, "%03u", i);
        st = t->write(s, &(struct change){text(key), {p, 1 << 20}, none}, 1, true, &e);
        kept += st == ST_OK;
    }
    assert_int_equal(st, ST_FATAL);
    assert_non_null(strstr(e.text, "no space left"));
    assert_in_range(kept, 1, 8); /* the log reserves its blocks ahead */
    closed(t, s);
    s = calloc(1, t->self_bytes);
    assert_non_null(s);
    if (t->open(s, temp_path("small/state"), 0, &e) != ST_OK)
        assert_non_null(strstr(e.text, "no space left"));
    closed(t, s);
    mount("tmpfs", temp_path("small"), "tmpfs", MS_REMOUNT, "size=64m");
    s = opened(t, "small/state", 0);
    for (uint32_t i = 0; i < kept; i++) {
        struct bytes v;

        snprintf(key, sizeof key, "%03u", i);
        assert_int_equal(t->get(s, text(key), &v, &e), ST_OK);
        assert_int_equal(v.n, 1 << 20);
    }
    closed(t, s);
    mount("tmpfs", temp_path("small"), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=64m");
    refused("small/state", 0, "Read-only file system");
    s = opened(t, "small/state", STORE_READ_ONLY); /* which is enough for a reader */
    closed(t, s);
    free(p);
}

/* ---- the other process ---- */

static int hold(const char *dir)
{
    void *s = calloc(1, store_rocksdb.self_bytes);
    struct change c = put("who", "child");
    struct err e;
    char b;

    if (!s || store_rocksdb.open(s, dir, 0, &e) || store_rocksdb.write(s, &c, 1, true, &e) ||
        write(1, "r", 1) != 1)
        return 1;
    while (read(0, &b, 1) > 0)
        continue;
    store_rocksdb.close(s);
    free(s);
    return 0;
}

#ifdef __SANITIZE_THREAD__ /* which slows a reader's open far more than the disk's writes */
enum { PAUSE_US = 200000 };
#else
enum { PAUSE_US = 0 };
#endif

/* Batches of 3 MiB that begin and end with the same number: flushes and new logs all the time. */
static int chase(const char *dir)
{
    static uint8_t filler[3 << 20];
    void *s = calloc(1, store_rocksdb.self_bytes);
    struct err e;
    char n[16];

    if (!s || store_rocksdb.open(s, dir, 0, &e))
        return 1;
    for (uint32_t i = 1; i < 20000; i++) {
        struct change c[3];

        snprintf(n, sizeof n, "%u", i);
        memcpy(filler, n, sizeof n);
        c[0] = (struct change){text("first"), {(const uint8_t *)n, sizeof n}, none};
        c[1] = (struct change){text(i % 2 ? "g" : "h"), {filler, sizeof filler}, none};
        c[2] = (struct change){text("last"), {(const uint8_t *)n, sizeof n}, none};
        if (store_rocksdb.write(s, c, 3, true, &e))
            return 1;
        if (i == 1 && write(1, "r", 1) != 1)
            return 1;
        usleep(PAUSE_US);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest one[] = {cmocka_unit_test(tables_are_complete)};
    const struct CMUnitTest each[] = {
        cmocka_unit_test(keys_are_ordered_as_unsigned_bytes),
        cmocka_unit_test(last_is_the_greatest_key_below),
        cmocka_unit_test(changes_of_a_batch_apply_in_order),
        cmocka_unit_test(ranges_are_deleted_half_open),
        cmocka_unit_test(a_large_batch_comes_back),
        cmocka_unit_test(close_is_safe_on_zeroes_and_after_a_failed_open),
    };
    const struct CMUnitTest disk[] = {
        cmocka_unit_test(what_was_synced_is_there_after_reopen),
        cmocka_unit_test(folders_that_cannot_be_used_are_named),
        cmocka_unit_test(open_twice_in_one_process_is_refused),
        cmocka_unit_test(a_folder_held_by_another_process_is_refused_by_its_number),
        cmocka_unit_test(a_reader_sees_the_newest_synced_data_and_writes_nothing),
        cmocka_unit_test(readers_see_whole_batches_beside_a_live_writer),
        cmocka_unit_test(a_disk_that_fills_up_is_said_and_loses_nothing),
    };
    int failures;

    if (argc == 3)
        return strcmp(argv[1], "hold") ? chase(argv[2]) : hold(argv[2]);
    if (!temp_begin())
        return 1;
    failures = cmocka_run_group_tests(one, NULL, NULL);
    for (uint32_t i = 0; i < store_count; i++) {
        struct CMUnitTest tests[sizeof each / sizeof *each];

        memcpy(tests, each, sizeof each);
        for (size_t k = 0; k < sizeof each / sizeof *each; k++)
            tests[k].initial_state = (void *)(uintptr_t)store_list[i];
        failures += _cmocka_run_group_tests(store_list[i]->name, tests, sizeof each / sizeof *each,
                                            NULL, NULL);
    }
    failures += cmocka_run_group_tests(disk, NULL, NULL);
    umount2(temp_path("small"), MNT_DETACH);
    temp_end();
    return failures;
}
