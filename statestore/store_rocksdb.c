#include "statestore/store.h"

#include <rocksdb/c.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* RocksDB as a store. One column family and the write-ahead log always on: a batch over several
 * column families without a log can tear (RocksDB #11148), and with one family the log is never
 * older than the two write buffers, so max_total_wal_size has nothing to bound.
 *
 * RocksDB's C interface lets std::bad_alloc through as an abort; the log makes that a crash like
 * any other.
 *
 * Readers beside a writer take no lock and replay the writer's log into their own memory. While
 * they do, the writer may flush that log into a new file, note it in its MANIFEST and delete the
 * log: the reader would miss what was in it. Nothing is deleted before the MANIFEST has grown, so
 * an open during which it did is done again. A file that is missing means damage only if the
 * MANIFEST stood still over all the tries. */

enum {
    WRITE_BUFFER = 4 << 20,
    BLOCK_CACHE = 2 << 20,
    BULK = 4, /* times these with STORE_BULK */
    BLOCK = 16 << 10,
    FILES = 3 << 20,
    READ_TRIES = 100
};

struct rocks {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_writebatch_t *batch;
    rocksdb_pinnableslice_t *value; /* what get() handed out */
    rocksdb_iterator_t *iter;       /* what last() handed out */
    char dir[PATH_MAX];
};

static const uint8_t no_bytes[1];

/* RocksDB's own text, freed, as a status with our words. */
static enum st failed(const struct rocks *s, const char *doing, char *text, struct err *e)
{
    char said[400];

    snprintf(said, sizeof said, "%s", text);
    rocksdb_free(text);
    if (!strncmp(said, "Corruption", 10) || strstr(said, "No such file"))
        return fail(e, ST_CORRUPT, "folder %s: %s: %s", s->dir, doing, said);
    if (strstr(said, "No space left"))
        return fail(e, ST_FATAL,
                    "folder %s: %s: no space left on the disk; free some, then start again", s->dir,
                    doing);
    return fail(e, ST_FATAL, "folder %s: %s: %s", s->dir, doing, said);
}

static void let_go(struct rocks *s)
{
    if (s->value)
        rocksdb_pinnableslice_destroy(s->value);
    if (s->iter)
        rocksdb_iter_destroy(s->iter);
    s->value = NULL;
    s->iter = NULL;
}

static void rocks_close(void *self)
{
    struct rocks *s = self;

    let_go(s);
    if (s->batch)
        rocksdb_writebatch_destroy(s->batch);
    if (s->db)
        rocksdb_close(s->db);
    if (s->write)
        rocksdb_writeoptions_destroy(s->write);
    if (s->read)
        rocksdb_readoptions_destroy(s->read);
    if (s->options)
        rocksdb_options_destroy(s->options);
    memset(s, 0, sizeof *s);
}

static size_t factor_of(uint32_t flags)
{
    return flags & STORE_BULK ? BULK : 1;
}

static void make_options(struct rocks *s, uint32_t flags)
{
    size_t factor = factor_of(flags);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru(factor * BLOCK_CACHE);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_block_size(table, BLOCK);
    s->options = rocksdb_options_create();
    rocksdb_options_set_block_based_table_factory(s->options, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_cache_destroy(cache); /* the options hold it */
    rocksdb_options_set_create_if_missing(s->options, 1);
    rocksdb_options_set_write_buffer_size(s->options, factor * WRITE_BUFFER);
    rocksdb_options_set_max_write_buffer_number(s->options, 2);
    rocksdb_options_set_max_background_jobs(s->options, 2);
    rocksdb_options_set_max_file_opening_threads(s->options, 1); /* else 16 for a file or two */
    /* costs little on dense floats (RocksDB keeps a block raw that does not shrink), pays on topics
     * and sparse state */
    rocksdb_options_set_compression(s->options, rocksdb_lz4_compression);
    /* Level fatal: the info log keeps its header of some 30 KB, and no more. A reader has none,
     * since it cannot be made there: it would rename the writer's. */
    rocksdb_options_set_info_log_level(s->options, 4);
    rocksdb_options_set_keep_log_file_num(s->options, 1);
    if (flags & STORE_READ_ONLY)
        rocksdb_options_set_db_log_dir(s->options, "/dev/null");
    /* A log that was cut short by a crash is read up to there. One whose bytes do not verify is
     * refused: the default would silently go back to the batch before. */
    rocksdb_options_set_wal_recovery_mode(s->options,
                                          rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_stats_dump_period_sec(s->options, 0);
    rocksdb_options_set_stats_persist_period_sec(s->options, 0);
    s->read = rocksdb_readoptions_create();
    s->write = rocksdb_writeoptions_create();
    s->batch = rocksdb_writebatch_create();
}

static bool ends(const char *name, const char *with)
{
    size_t n = strlen(name), w = strlen(with);

    return n > w && !strcmp(name + n - w, with);
}

static bool file_of_a_store(const char *name)
{
    static const char *const begin[] = {"MANIFEST-", "OPTIONS-", "LOG"};
    static const char *const whole[] = {".", "..", "CURRENT", "IDENTITY", "LOCK", "lost+found"};

    for (size_t i = 0; i < sizeof begin / sizeof *begin; i++) {
        if (!strncmp(name, begin[i], strlen(begin[i])))
            return true;
    }
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (!strcmp(name, whole[i]))
            return true;
    }
    return ends(name, ".log") || ends(name, ".sst") || ends(name, ".dbtmp");
}

/* A folder to write in: ours, or empty, or made here. */
static enum st check_folder(const struct rocks *s, struct err *e)
{
    char foreign[256] = "";
    bool ours = false, data = false;
    DIR *d;

    if (mkdir(s->dir, 0777) && errno != EEXIST)
        return fail(e, ST_BAD_CONFIG, "folder %s cannot be made: %s%s", s->dir, strerror(errno),
                    errno == ENOENT ? "; make the folder above it first" : "");
    if (!(d = opendir(s->dir)))
        return fail(e, ST_BAD_CONFIG, "folder %s cannot be opened: %s", s->dir, strerror(errno));
    for (struct dirent *f; (f = readdir(d));) {
        if (!strcmp(f->d_name, "CURRENT"))
            ours = true;
        if (ends(f->d_name, ".sst") || ends(f->d_name, ".log"))
            data = true;
        if (!file_of_a_store(f->d_name))
            snprintf(foreign, sizeof foreign, "%s", f->d_name);
    }
    closedir(d);
    if (data && !ours) /* RocksDB would begin anew and delete the rest */
        return fail(e, ST_CORRUPT, "folder %s: the file CURRENT is missing, its data is there",
                    s->dir);
    if (*foreign && !ours)
        return fail(
            e, ST_BAD_CONFIG,
            "folder %s holds no state but other files ('%s'); name an empty or a new folder",
            s->dir, foreign);
    if (access(s->dir, R_OK | W_OK | X_OK))
        return fail(e, ST_BAD_CONFIG,
                    "folder %s cannot be written: %s; make it writable for this user", s->dir,
                    strerror(errno));
    return ST_OK;
}

/* RocksDB says "IO error: While lock file: ...: Resource temporarily unavailable"; the kernel knows
 * who. */
static enum st held(const struct rocks *s, char *text, struct err *e)
{
    bool here = strstr(text, "by current process") != NULL;
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[PATH_MAX + 8], who[48] = "another process";
    int fd;

    rocksdb_free(text);
    snprintf(path, sizeof path, "%s/LOCK", s->dir);
    /* closing a second descriptor of the file would drop a lock that this process holds itself */
    if (here) {
        snprintf(who, sizeof who, "this process");
    } else if ((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0) {
        if (!fcntl(fd, F_GETLK, &l) && l.l_type != F_UNLCK && l.l_pid > 0)
            snprintf(who, sizeof who, "process %ld", (long)l.l_pid);
        close(fd);
    }
    return fail(e, ST_BAD_CONFIG,
                "folder %s is held by %s (lock %s): stop that one, or name another folder", s->dir,
                who, path);
}

static enum st open_writer(struct rocks *s, struct err *e)
{
    char *text = NULL;

    TRY(check_folder(s, e));
    s->db = rocksdb_open(s->options, s->dir, &text);
    if (!text)
        return ST_OK;
    if (strstr(text, "lock file") || strstr(text, "lock hold") || strstr(text, "LOCK"))
        return held(s, text, e);
    return failed(s, "open", text, e);
}

/* Size and name of the MANIFEST that CURRENT names; false: there is none, errno says why. */
static bool manifest_now(const struct rocks *s, char *name, size_t room, off_t *size)
{
    char path[PATH_MAX + 128];
    struct stat st;
    FILE *f;
    bool read;

    snprintf(path, sizeof path, "%s/CURRENT", s->dir);
    if (!(f = fopen(path, "re")))
        return false;
    read = fgets(name, (int)room, f) != NULL;
    fclose(f);
    if (!read)
        return false;
    name[strcspn(name, "\n")] = '\0';
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    *size = stat(path, &st) ? -1 : st.st_size;
    return true;
}

struct moment { /* of a folder's MANIFEST */
    char name[64];
    off_t size;
};

static bool same_moment(const struct moment *a, const struct moment *b)
{
    return !strcmp(a->name, b->name) && a->size == b->size;
}

static enum st open_reader(struct rocks *s, struct err *e)
{
    struct moment first = {"", 0}, before, after;
    char *text = NULL;

    for (int i = 0; i < READ_TRIES; i++) {
        bool still;

        if (!manifest_now(s, before.name, sizeof before.name, &before.size))
            return fail(e, ST_BAD_CONFIG, "folder %s: %s", s->dir,
                        errno == ENOENT && !access(s->dir, F_OK) ? "holds no state"
                                                                 : strerror(errno));
        if (i == 0)
            first = before;
        s->db = rocksdb_open_for_read_only(s->options, s->dir, 0, &text);
        still = manifest_now(s, after.name, sizeof after.name, &after.size) &&
                same_moment(&before, &after);
        if (still && !text)
            return ST_OK;
        if (still &&
            (!strstr(text, "No such file") || (i == READ_TRIES - 1 && same_moment(&first, &after))))
            return failed(s, "open", text, e);
        if (!text)
            rocksdb_close(s->db);
        s->db = NULL;
        rocksdb_free(text);
        text = NULL;
    }
    return fail(e, ST_AGAIN, "folder %s changes faster than it can be opened; try again", s->dir);
}

static enum st rocks_open(void *self, const char *dir, uint32_t flags, struct err *e)
{
    struct rocks *s = self;

    CHECK(!s->db && !s->options);
    if (!*dir || strlen(dir) >= sizeof s->dir)
        return fail(e, ST_BAD_CONFIG, "folder: a path of 1 to %zu bytes is needed, this has %zu",
                    sizeof s->dir - 1, strlen(dir));
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    make_options(s, flags);
    return flags & STORE_READ_ONLY ? open_reader(s, e) : open_writer(s, e);
}

static enum st rocks_get(void *self, struct bytes key, struct bytes *value, struct err *e)
{
    struct rocks *s = self;
    char *text = NULL;
    size_t n = 0;
    const char *p;

    let_go(s);
    *value = (struct bytes){NULL, 0};
    s->value = rocksdb_get_pinned(s->db, s->read, (const char *)key.p, key.n, &text);
    if (text)
        return failed(s, "read", text, e);
    if (!s->value)
        return ST_OK;
    p = rocksdb_pinnableslice_value(s->value, &n);
    *value = (struct bytes){n ? (const uint8_t *)p : no_bytes, n};
    return ST_OK;
}

static struct bytes iter_key(const rocksdb_iterator_t *it)
{
    struct bytes b;

    b.p = (const uint8_t *)rocksdb_iter_key(it, &b.n);
    return b;
}

static struct bytes iter_value(const rocksdb_iterator_t *it)
{
    struct bytes b;

    b.p = (const uint8_t *)rocksdb_iter_value(it, &b.n);
    if (!b.n)
        b.p = no_bytes;
    return b;
}

static int compare(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static enum st rocks_scan(void *self, struct bytes from, struct bytes upto,
                          bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg,
                          struct err *e)
{
    struct rocks *s = self;
    rocksdb_iterator_t *it;
    char *text = NULL;

    let_go(s);
    it = rocksdb_create_iterator(s->db, s->read);
    for (rocksdb_iter_seek(it, (const char *)from.p, from.n); rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        struct bytes key = iter_key(it);

        if ((upto.p && compare(key, upto) >= 0) || !visit(arg, key, iter_value(it)))
            break;
    }
    rocksdb_iter_get_error(it, &text);
    rocksdb_iter_destroy(it);
    return text ? failed(s, "scan", text, e) : ST_OK;
}

static enum st rocks_last(void *self, struct bytes upto, struct bytes *key, struct bytes *value,
                          struct err *e)
{
    struct rocks *s = self;
    char *text = NULL;

    let_go(s);
    *key = *value = (struct bytes){NULL, 0};
    s->iter = rocksdb_create_iterator(s->db, s->read);
    if (upto.p)
        rocksdb_iter_seek_for_prev(s->iter, (const char *)upto.p, upto.n);
    else
        rocksdb_iter_seek_to_last(s->iter);
    if (upto.p && rocksdb_iter_valid(s->iter) && !compare(iter_key(s->iter), upto))
        rocksdb_iter_prev(s->iter);
    rocksdb_iter_get_error(s->iter, &text);
    if (text)
        return failed(s, "read", text, e);
    if (rocksdb_iter_valid(s->iter)) {
        *key = iter_key(s->iter);
        *value = iter_value(s->iter);
    }
    return ST_OK;
}

static enum st rocks_write(void *self, const struct change *c, uint32_t n, bool sync, struct err *e)
{
    struct rocks *s = self;
    char *text = NULL;

    let_go(s);
    rocksdb_writebatch_clear(s->batch);
    for (uint32_t i = 0; i < n; i++) {
        const char *key = (const char *)c[i].key.p;

        CHECK(!c[i].upto.p || !c[i].value.p);
        if (c[i].upto.p)
            rocksdb_writebatch_delete_range(s->batch, key, c[i].key.n, (const char *)c[i].upto.p,
                                            c[i].upto.n);
        else if (c[i].value.p)
            rocksdb_writebatch_put(s->batch, key, c[i].key.n, (const char *)c[i].value.p,
                                   c[i].value.n);
        else
            rocksdb_writebatch_delete(s->batch, key, c[i].key.n);
    }
    rocksdb_writeoptions_set_sync(s->write, sync);
    rocksdb_write(s->db, s->write, s->batch, &text);
    return text ? failed(s, "write", text, e) : ST_OK;
}

/* The batch under construction, whose buffer is kept between writes; two write buffers, which a
 * batch enters whole; the block cache; files and threads. */
static size_t rocks_memory(uint32_t flags, size_t batch_max)
{
    size_t factor = factor_of(flags), buffer = factor * WRITE_BUFFER;

    return batch_max + 2 * (batch_max > buffer ? batch_max : buffer) + factor * BLOCK_CACHE + FILES;
}

const struct store store_rocksdb = {
    .name = "rocksdb",
    .summary = "RocksDB: a folder on disk, every batch atomic and synced through its log",
    .self_bytes = sizeof(struct rocks),
    .memory_bytes = rocks_memory,
    .open = rocks_open,
    .close = rocks_close,
    .get = rocks_get,
    .scan = rocks_scan,
    .last = rocks_last,
    .write = rocks_write,
};
