/* What becomes of a checkpoint when bits flip, calls fail, and the process is killed. */
#include "tests/unit/checkpoint_model.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- damage ---- */

/* Flips one bit of the value of a key behind the checkpoint's back. */
static void flip(const char *dir, const char *key, size_t bit)
{
    void *s = calloc(1, store_rocksdb.self_bytes);
    struct bytes k = {(const uint8_t *)key, strlen(key)}, v;
    static uint8_t value[4096];
    struct change c;
    struct err e;

    assert_non_null(s);
    assert_int_equal(store_rocksdb.open(s, dir, 0, &e), ST_OK);
    assert_int_equal(store_rocksdb.get(s, k, &v, &e), ST_OK);
    assert_true(v.p && v.n <= sizeof value);
    memcpy(value, v.p, v.n);
    value[bit / 8] ^= (uint8_t)(1 << bit % 8);
    c = (struct change){.key = k, .value = {value, v.n}};
    assert_int_equal(store_rocksdb.write(s, &c, 1, true, &e), ST_OK);
    store_rocksdb.close(s);
    free(s);
}

static void found_with_its_place(const char *dir, const char *place)
{
    struct err e = {""};
    int64_t x;

    fresh(&job);
    job.cp = opened(dir, STORE_READ_ONLY);
    assert_int_equal(read_back(&job, &x, &e), ST_CORRUPT);
    if (!strstr(e.text, place) || !strstr(e.text, dir))
        fail_msg("'%s' does not say '%s'", e.text, place);
    checkpoint_close(job.cp);
}

static void a_flipped_bit_is_found_with_its_place(void **state)
{
    static const struct {
        const char *key, *place;
        size_t bit;
    } damage[] = {
        {"c/00001/000002", "partition 1: chunk 2 (at byte 512 of the state) has CRC", 777},
        {"c/00002/000004", "partition 2: chunk 4 (at byte 1024 of the state) has CRC", 0},
        {"m/00000", "partition 0: manifest: CRC is", 8 * 64},
        {"d/00001/0000000000/0000000000/0000000000000000009", "partition 1: dead letter", 300}};
    const char *dir = made("flip", 9);

    (void)state;
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        flip(dir, damage[i].key, damage[i].bit);
        found_with_its_place(dir, damage[i].place);
        flip(dir, damage[i].key, damage[i].bit);
    }
    fresh(&job);
    job.cp = opened(dir, STORE_READ_ONLY);
    stands_at(&job, 9);
    checkpoint_close(job.cp);
}

static void copy_file(const char *from, const char *to, long flip_at)
{
    FILE *f = fopen(from, "r"), *t = fopen(to, "w");
    int c;

    assert_true(f && t);
    for (long i = 0; (c = getc(f)) != EOF; i++)
        putc(i == flip_at ? c ^ (1 << i % 8) : c, t);
    fclose(f);
    fclose(t);
}

/* A copy of the folder in which byte `at` of `file` has another bit. */
static void copy_folder(const char *from, const char *to, const char *file, long at)
{
    DIR *d = opendir(from);
    char a[1024], b[1024];

    assert_non_null(d);
    temp_remove(to);
    assert_int_equal(mkdir(to, 0777), 0);
    for (struct dirent *f; (f = readdir(d));) {
        if (*f->d_name == '.')
            continue;
        snprintf(a, sizeof a, "%s/%s", from, f->d_name);
        snprintf(b, sizeof b, "%s/%s", to, f->d_name);
        copy_file(a, b, strcmp(f->d_name, file) ? -1 : at);
    }
    closedir(d);
}

/* Opens the damaged copy: detected (true), or a state that is whole (and then *x says which). */
static bool detected(const char *dir, int64_t *x)
{
    struct err e = {""};
    enum st st;

    fresh(&job);
    st = open_at(&store_rocksdb, dir, 0, &job.cp, &e);
    if (st == ST_OK) {
        st = read_back(&job, x, &e);
        checkpoint_close(job.cp);
        if (st == ST_FATAL && !strstr(e.text, "folder"))
            fail_msg("%s", e.text);
    }
    if (st != ST_OK)
        assert_true(strlen(e.text) > 20);
    return st != ST_OK;
}

/* About `flips` bytes of every file of a folder that counts. */
static void damage_everywhere(const char *dir, int flips, int64_t newest)
{
    const char *copy = temp_path("damaged");
    DIR *d = opendir(dir);
    int tried = 0, told = 0, older = 0;
    int64_t whole;

    assert_non_null(d);
    copy_folder(dir, copy, "", 0);
    assert_false(detected(copy, &whole));
    assert_int_equal(whole, newest);
    for (struct dirent *f; (f = readdir(d));) {
        char path[1024];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (*f->d_name == '.' || !strncmp(f->d_name, "LO", 2) ||
            !strncmp(f->d_name, "OPTIONS", 7) || !strncmp(f->d_name, "IDENTITY", 8) ||
            stat(path, &st) || !st.st_size)
            continue;
        for (int i = 0; i < flips; i++) {
            long at = (long)((uint64_t)st.st_size * (unsigned)i / (unsigned)flips);
            int64_t x = newest;

            copy_folder(dir, copy, f->d_name, at);
            tried++;
            if (detected(copy, &x))
                told++;
            else if (x != newest)
                older++;
        }
    }
    closedir(d);
    print_message("%d flips: %d told, %d gave an older whole state\n", tried, told, older);
    assert_true(told > tried / 3);
    assert_true(older <= tried / 50); /* the frame of the last log record looks like a torn write */
}

static void a_flip_in_any_file_is_told_or_harmless(void **state)
{
    const char *dir = made("files", 12);

    (void)state;
    damage_everywhere(dir, 25, 12); /* all in the log */
    job.cp = opened(dir, 0);        /* which goes into a table at the next open */
    checkpoint_close(job.cp);
    damage_everywhere(dir, 25, 12);
}

static void a_folder_that_lost_a_file_is_told(void **state)
{
    const char *dir = made("lost", 12);
    char path[512];
    struct checkpoint *cp;
    struct err e = {""};

    (void)state;
    snprintf(path, sizeof path, "%s/CURRENT", dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(open_at(&store_rocksdb, dir, 0, &cp, &e), ST_CORRUPT);
    assert_non_null(strstr(e.text, "CURRENT is missing"));
    assert_non_null(strstr(e.text, "restored from the parameter topic"));
}

/* ---- failing writes ---- */

static struct {
    int calls, fail_at;
    bool written; /* the failing write is on disk nevertheless */
} bad;

static enum st bad_write(void *self, const struct change *c, uint32_t n, bool sync, struct err *e)
{
    assert_true(sync);
    if (++bad.calls != bad.fail_at)
        return store_rocksdb.write(self, c, n, sync, e);
    if (bad.written)
        TRY(store_rocksdb.write(self, c, n, sync, e));
    return fault(e, "folder: write: no space left");
}

static enum st bad_get(void *self, struct bytes key, struct bytes *value, struct err *e)
{
    if (++bad.calls == bad.fail_at)
        return fault(e, "folder: read: a bad sector");
    return store_rocksdb.get(self, key, value, e);
}

static enum st bad_scan(void *self, struct bytes from, struct bytes upto,
                        bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg,
                        struct err *e)
{
    if (++bad.calls == bad.fail_at)
        return fault(e, "folder: read: a bad sector");
    return store_rocksdb.scan(self, from, upto, visit, arg, e);
}

/* Runs 10 steps on a store that fails once, closes, opens a good one: the last step told or the
 * failed one. */
static bool run_on(const struct store *s, int nth, bool written)
{
    struct err e = {""};
    int64_t done = 0, x;
    enum st st;

    bad.calls = 0;
    bad.fail_at = nth;
    bad.written = written;
    temp_remove(temp_path("bad"));
    fresh(&job);
    st = open_at(s, temp_path("bad"), 0, &job.cp, &e);
    for (int64_t step_at = 1; st == ST_OK && step_at <= 10; step_at++) {
        st = step(&job, step_at, &e);
        done += st == ST_OK;
    }
    if (st != ST_OK)
        assert_true(st == ST_FATAL && (strstr(e.text, "no space") || strstr(e.text, "bad sector")));
    checkpoint_close(job.cp);
    job.cp = opened(temp_path("bad"), 0);
    if (read_back(&job, &x, &e) != ST_OK)
        fail_msg("call %d: %s", nth, e.text);
    assert_true(x == done || (written && x == done + 1));
    checkpoint_close(job.cp);
    return st != ST_OK;
}

static void every_failing_call_leaves_a_whole_state(void **state)
{
    struct store s = store_rocksdb;
    int n;

    (void)state;
    s.write = bad_write;
    for (n = 1; run_on(&s, n, false); n++)
        assert_true(run_on(&s, n, true));
    assert_int_equal(n, 12); /* the name, then ten steps */
    s.write = store_rocksdb.write;
    s.get = bad_get;
    s.scan = bad_scan;
    for (n = 1; run_on(&s, n, false); n++)
        continue;
    assert_true(n > 10);
}

/* ---- kill -9 ---- */

/* The other process: `checkpoint_damage_test DIR`. Goes on where the folder stands, and tells each
 * step after its commit. */
static int go_on(const char *dir)
{
    struct err e;
    int64_t x;

    fresh(&job);
    if (open_at(&store_rocksdb, dir, 0, &job.cp, &e) != ST_OK || read_back(&job, &x, &e) != ST_OK) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    if (!x)
        fresh(&job);
    for (;;) {
        if (step(&job, ++x, &e) != ST_OK || write(1, &x, sizeof x) != sizeof x)
            return 1;
    }
}

/* Lets it run for some milliseconds after its first step, kills it, returns the last position it
 * told. */
static int64_t killed_after(const char *dir, long ms)
{
    struct timespec t = {0, ms * 1000000};
    int out[2], status;
    int64_t told = 0, x;
    pid_t pid;

    assert_int_equal(pipe(out), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execl("/proc/self/exe", "checkpoint_damage_test", dir, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    assert_int_equal(read(out[0], &told, sizeof told), sizeof told);
    nanosleep(&t, NULL);
    kill(pid, SIGKILL);
    while (read(out[0], &x, sizeof x) == sizeof x)
        told = x;
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return told;
}

static void killed_at_any_instant_state_and_position_agree(void **state)
{
    const char *dir = temp_path("killed");
    int64_t x = 0;

    (void)state;
    for (long i = 0; i < 25; i++) {
        int64_t told = killed_after(dir, (i * 7) % 23);
        struct err e = {""};

        assert_true(told > x);
        fresh(&job);
        job.cp = opened(dir, i % 2 ? STORE_READ_ONLY : 0);
        if (read_back(&job, &x, &e) != ST_OK)
            fail_msg("kill %ld: %s", i, e.text);
        assert_true(x == told || x == told + 1);
        checkpoint_close(job.cp);
    }
    print_message("25 kills in %lld steps\n", (long long)x);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_is_found_with_its_place),
        cmocka_unit_test(a_flip_in_any_file_is_told_or_harmless),
        cmocka_unit_test(a_folder_that_lost_a_file_is_told),
        cmocka_unit_test(every_failing_call_leaves_a_whole_state),
        cmocka_unit_test(killed_at_any_instant_state_and_position_agree),
    };
    int failures;

    if (argc == 2)
        return go_on(argv[1]);
    if (!temp_begin())
        return 1;
    failures = cmocka_run_group_tests(tests, NULL, NULL);
    temp_end();
    return failures;
}
