/* broker_file_lines.c: a file's lines by number, for broker_file.c, which says why so. */
#include "consumer/broker_file.h"
#include "consumer/csv_text.h"
#include "consumer/number.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t byte_order_mark[] = {0xef, 0xbb, 0xbf};

/* ---- a file ---- */

static enum st cannot(const struct lines_file *f, struct err *e)
{
    return fail(e, ST_BAD_CONFIG, "%s cannot be read: %s", f->path, strerror(errno));
}

enum st lines_file_open(struct lines_file *f, const char *path, struct err *e)
{
    uint8_t head[2] = {0};
    struct stat s;

    *f = (struct lines_file){.path = path, .fd = -1, .lines = -1, .marks = 1, .next_mark = 1};
    f->packed = f->once = !strcmp(path, "-");
    if (f->once)
        return ST_OK;
    if (stat(path, &s))
        return cannot(f, e);
    f->packed = f->once = !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
    if (f->once) /* to open it twice would take from it */
        return ST_OK;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &s) || pread(f->fd, head, sizeof head, 0) < 0)
        return cannot(f, e);
    f->bytes = (uint64_t)s.st_size;
    f->packed = head[0] == 0x1f && head[1] == 0x8b;
    return ST_OK;
}

void lines_file_close(struct lines_file *f)
{
    if (f->path && f->fd >= 0)
        close(f->fd);
    f->path = NULL;
}

/* Every mark is used; when there is no room, every second one goes. */
static void mark(struct lines_file *f, uint64_t byte)
{
    if (f->marks == MARKS) {
        for (uint32_t i = 1; i < MARKS / 2; i++)
            f->mark[i] = f->mark[2 * i];
        f->marks = MARKS / 2;
        f->shift++;
    }
    if (f->next_mark == (int64_t)f->marks << f->shift)
        f->mark[f->marks++] = byte;
    f->next_mark = (int64_t)f->marks << f->shift;
}

enum st lines_count(struct lines_file *f, int64_t *n, struct err *e)
{
    struct lines l = {.f = f};
    enum st st = ST_OK;

    if (f->once)
        return fail(e, ST_BAD_CONFIG,
                    "%s is no file: it can be read once, and where it ends has to be known "
                    "before",
                    f->path);
    if (f->lines < 0)
        st = lines_seek(&l, INT64_MAX, e);
    lines_close(&l);
    *n = f->lines;
    return st;
}

/* ---- a reader ---- */

void lines_close(struct lines *l)
{
    gz_close(&l->gz);
    free(l->buf);
    memset(l, 0, sizeof *l);
}

static enum st read_file(struct lines *l, size_t *got, struct err *e)
{
    const struct lines_file *f = l->f;
    size_t want = l->room - l->n;
    ssize_t n;

    want = want < f->bytes - l->byte ? want : f->bytes - l->byte;
    do
        n = want ? pread(f->fd, l->buf + l->n, want, (off_t)l->byte) : 0;
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return cannot(f, e);
    if (want && !n)
        return fail(e, ST_BAD_CONFIG,
                    "%s was cut short while it was read: it ends at byte %" PRIu64
                    ", at the start it had %" PRIu64 ". Start again with the file as it was",
                    f->path, l->byte, f->bytes);
    *got = (size_t)n;
    return ST_OK;
}

static enum st read_packed(struct lines *l, size_t *got, struct err *e)
{
    struct bytes b;

    TRY(gz_bytes(&l->gz, l->room - l->n, &b, e));
    if (b.n)
        memcpy(l->buf + l->n, b.p, b.n);
    *got = b.n;
    return ST_OK;
}

enum st lines_more(struct lines *l, struct err *e)
{
    size_t got = 0;

    CHECK(!l->end && l->at <= l->n);
    if (l->at)
        memmove(l->buf, l->buf + l->at, l->n - l->at);
    l->n -= l->at;
    l->at = 0;
    if (l->n == l->room) {
        uint8_t *p = l->room < RECORD_BYTES_MAX ? realloc(l->buf, l->room * 2) : NULL;

        if (!p)
            return fail(e, ST_BAD_CONFIG,
                        "%s:%" PRId64 ": a line of more than %zu bytes: is it text?", l->f->path,
                        l->line + 1, l->room);
        l->buf = p;
        l->room *= 2;
    }
    TRY(l->f->packed ? read_packed(l, &got, e) : read_file(l, &got, e));
    l->n += got;
    l->byte += got;
    l->end = l->f->packed ? !got : l->byte == l->f->bytes;
    return ST_OK;
}

/* The line at buf[at] with its end, NULL where more has to be read first; the reader stands behind
 * it then. */
static inline const uint8_t *take(struct lines *l, size_t *bytes)
{
    const uint8_t *p = l->buf + l->at, *nl = memchr(p, '\n', l->n - l->at);

    if (l->line == l->f->next_mark)
        mark(l->f, l->byte - (l->n - l->at));
    if (!nl && (!l->end || l->at == l->n))
        return NULL;
    *bytes = nl ? (size_t)(nl + 1 - p) : l->n - l->at;
    l->at += *bytes;
    l->line++;
    return p;
}

bool lines_next(struct lines *l, struct bytes *text, int64_t *line)
{
    const uint8_t *p;
    size_t n;

    while ((p = take(l, &n))) {
        n -= n && p[n - 1] == '\n';
        n -= n && p[n - 1] == '\r';
        *line = l->line - 1;
        if (!*line && n >= sizeof byte_order_mark &&
            !memcmp(p, byte_order_mark, sizeof byte_order_mark)) {
            p += sizeof byte_order_mark;
            n -= sizeof byte_order_mark;
        }
        if (!n || (!*line && l->f->header))
            continue;
        *text = (struct bytes){p, n};
        return true;
    }
    if (l->end && l->at == l->n)
        l->f->lines = l->line;
    return false;
}

/* To the last mark before a line, if that is nearer than where the reader stands. */
static enum st jump(struct lines *l, int64_t line, struct err *e)
{
    struct lines_file *f = l->f;
    int64_t i = line >> f->shift;

    i = f->packed ? 0 : i < f->marks ? i : f->marks - 1;
    if (l->buf && line >= l->line && i << f->shift <= l->line)
        return ST_OK;
    if (f->taken)
        return fail(e, ST_BAD_CONFIG,
                    "%s is no file: it can be read once, so the number of columns has to "
                    "be known: set input.width or input.columns",
                    f->path);
    f->taken = f->once;
    if (f->packed) {
        gz_close(&l->gz);
        TRY(gz_open(&l->gz, f->path, e));
    }
    if (!l->buf && !(l->buf = malloc(LINES_ROOM)))
        return fail(e, ST_FATAL, "no memory to read %s", f->path);
    l->room = l->room ? l->room : LINES_ROOM;
    l->at = l->n = 0;
    l->line = i << f->shift;
    l->byte = f->mark[i];
    l->end = false;
    return ST_OK;
}

enum st lines_seek(struct lines *l, int64_t line, struct err *e)
{
    size_t n;

    CHECK(line >= 0);
    TRY(jump(l, line, e));
    while (l->line < line) {
        if (take(l, &n))
            continue;
        if (l->end)
            break;
        TRY(lines_more(l, e));
    }
    if (l->end && l->at == l->n)
        l->f->lines = l->line;
    return ST_OK;
}

/* ---- a header ---- */

/* The first line of a file, in a buffer of the reader's. */
static enum st first_line(struct lines *l, struct bytes *text, struct err *e)
{
    int64_t line;
    bool got;

    TRY(lines_seek(l, 0, e));
    while (!(got = lines_next(l, text, &line)) && !l->end)
        TRY(lines_more(l, e));
    if (!got || line)
        *text = (struct bytes){0};
    return ST_OK;
}

static enum st add_column(struct job *j, const char *path, struct csv_text t, struct err *e)
{
    struct input *in = &j->input;
    struct feature *c = &in->column[in->columns];

    if (!t.n || t.n >= sizeof c->name || memchr(t.p, 0, t.n))
        return fail(e, ST_BAD_CONFIG,
                    "%s:1: field %" PRIu32 " has a name of %zu bytes; 1 to %zu are possible", path,
                    in->columns + 1, t.n, sizeof c->name - 1);
    if (in->columns == FEATURES_MAX)
        return fail(e, ST_BAD_CONFIG,
                    "%s:1: more than %d names: give input.columns, where 'pixels[784]' stands for "
                    "many, and no line of names",
                    path, FEATURES_MAX);
    memcpy(c->name, t.p, t.n);
    c->name[t.n] = 0;
    c->width = 0;
    in->columns++;
    return ST_OK;
}

/* Names, if none of the fields is a number. */
static enum st name_columns(struct job *j, const char *path, struct bytes text, struct err *e)
{
    uint8_t delimiter = j->input.delimiter[0] ? (uint8_t)j->input.delimiter[0] : ',';
    const uint8_t *p = text.p, *end = text.p + text.n;
    struct csv_text t;
    bool last = !text.n;
    double v;

    while (!last) {
        if (!csv_next(&p, end, delimiter, &t, &last))
            return fail(e, ST_BAD_CONFIG, "%s:1: quotes that do not match", path);
        t = csv_trim(t);
        if (number_f64(t.p, t.n, &v)) {
            j->input.columns = 0;
            return ST_OK;
        }
        TRY(add_column(j, path, t, e));
    }
    j->files_header = j->input.columns > 0;
    return ST_OK;
}

enum st files_columns(struct job *j, struct err *e)
{
    struct lines_file f;
    struct lines l = {.f = &f};
    struct bytes text;
    enum st st;

    CHECK(j->files_n);
    if (j->input.format == FORMAT_AVRO)
        return fail(e, ST_BAD_CONFIG,
                    "--input: files are read line by line, which Avro has not: 'millrace load' "
                    "puts them into a topic (-b local:DIR, where there is no Kafka)");
    if (j->input.format != FORMAT_CSV || j->input.columns || j->input.width)
        return ST_OK;
    st = lines_file_open(&f, j->files[0], e);
    if (st == ST_OK && !f.once) {
        st = first_line(&l, &text, e);
        if (st == ST_OK)
            st = name_columns(j, j->files[0], text, e);
    }
    lines_close(&l);
    lines_file_close(&f);
    return st;
}

static bool same_names(const struct input *in, struct bytes text)
{
    uint8_t delimiter = in->delimiter[0] ? (uint8_t)in->delimiter[0] : ',';
    const uint8_t *p = text.p;
    struct csv_text t;
    bool last = false;

    for (uint32_t i = 0; !last; i++) {
        const char *name = i < in->columns ? in->column[i].name : "";

        if (!csv_next(&p, text.p + text.n, delimiter, &t, &last))
            return false;
        t = csv_trim(t);
        if (t.n != strlen(name) || memcmp(t.p, name, t.n) || (last && i + 1 < in->columns))
            return false;
    }
    return true;
}

enum st files_header(const struct job *j, struct lines_file *f, struct err *e)
{
    struct lines l = {.f = f};
    struct bytes text = {0};
    enum st st;

    if (j->input.format != FORMAT_CSV || !j->input.columns || f->once)
        return ST_OK;
    st = first_line(&l, &text, e);
    f->header = st == ST_OK && text.n && same_names(&j->input, text);
    if (st == ST_OK && text.n && j->files_header && !f->header)
        st = fail(e, ST_BAD_CONFIG,
                  "%s:1: not the names of the first file: files that are read together have the "
                  "same first line",
                  f->path);
    lines_close(&l);
    return st;
}
