/* broker_file.c: the broker `files`: the data topic is files, a file a partition; all else is the
 * local broker of the folder in the address (files:DIR).
 *
 * Records. A line is a record: no key, no time, its offset the number of the line from 0, so an
 * offset names a place in the file, and the bits of a state are those of a topic that was loaded
 * with the same lines (offsets shape what is held out and what is sampled). Without its end, \n or
 * \r\n; a line with nothing in it is none, nor is the first one where it has the names of the
 * columns: offsets jump over them. Bytes are read, not mapped: a file that another process cuts
 * short would end a program that has it mapped (SIGBUS), here it is an error with a name.
 *
 * The end of a partition is that of the file when it was opened. What is appended later is the next
 * start's, whose range begins behind the last one's end. A range has to be known before its first
 * record is learned (protocol: a slot has begin and end), so the lines are counted first: one pass
 * with memchr, once for a job, not at a resume. tests/bench/liblinear.py says what it costs. While
 * lines pass, the place of every 2^k-th is noted, so that an offset is found again near it; a
 * resume in a new process, where nothing is noted, walks over the lines before. gzip is read in
 * order only: going back begins anew.
 *
 * Which files these are is part of cluster(), which the state folder compares: their names without
 * folders, in order, and the store that has the slots. That is no proof, so the fingerprint of the
 * last learned line is compared too, as in any topic.
 *
 * The local broker has a topic of the data's name, without a record, with a partition a file: so
 * groups, offsets and tools see the topic as everywhere. struct local and struct local_consumer
 * stand first in ours, and what is not about lines is their own function.
 *
 * Avro is refused: a container file has no lines, and `load` reads none either. */
#include "consumer/broker_file.h"
#include "consumer/broker_local.h"

#include "config/base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct files {
    struct local local; /* first */
    const char *topic;
    struct lines_file *file; /* [n] */
    uint32_t n;
    char cluster[NAME_MAX_BYTES + 1];
};

struct file_place { /* a partition */
    struct lines l;
    int64_t want;             /* where it was told to begin */
    bool active, moved, told; /* moved: not yet there; told: that it is at the end */
};

struct file_consumer {
    struct local_consumer local; /* first */
    struct files *f;             /* NULL: of other topics, all is local's */
    struct file_place *place;    /* [f->n] */
    uint32_t turn;
};

/* ---- life ---- */

/* A topic of ours has as many partitions as there are files, and no record. */
static enum st stand_in(struct files *f, struct err *e)
{
    const struct topic_spec spec = {f->topic, f->n, NULL};
    const struct local_topic *t = local_topic(&f->local, f->topic);

    if (!t)
        return local_topic_create(&f->local, &spec, e);
    for (uint32_t i = 0; i < t->parts; i++)
        if (t->part[i]->high)
            return fail(e, ST_BAD_CONFIG,
                        "--input: local:%s has records in a topic '%s' of its own: name another "
                        "topic, such as --set topic=%s-files",
                        f->local.dir, f->topic, f->topic);
    if (t->parts == f->n)
        return ST_OK;
    return fail(e, ST_BAD_CONFIG,
                "--input: the job was begun with %" PRIu32 " files, now there are %" PRIu32
                ": name the same ones in the same order, or another job",
                t->parts, f->n);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void name_cluster(struct files *f)
{
    uint64_t h = 0;

    for (uint32_t i = 0; i < f->n; i++) {
        const char *name = base_name(f->file[i].path);

        h = hash64(name, strlen(name) + 1, h);
    }
    snprintf(f->cluster, sizeof f->cluster, "%s with file%s %.80s%s, names %016" PRIx64,
             local_cluster(&f->local), f->n > 1 ? "s" : "", base_name(f->file[0].path),
             f->n > 1 ? " and more" : "", h);
}

static enum st open_files(struct files *f, const struct job *j, struct err *e)
{
    f->topic = j->topic;
    f->file = calloc(j->files_n, sizeof *f->file);
    if (!f->file)
        return fail(e, ST_FATAL, "no memory for %" PRIu32 " files", j->files_n);
    while (f->n < j->files_n) {
        struct lines_file *file = &f->file[f->n++];

        TRY(lines_file_open(file, j->files[f->n - 1], e));
        TRY(files_header(j, file, e));
    }
    return ST_OK;
}

static void close_broker(void *self)
{
    struct files *f = self;

    for (uint32_t i = 0; i < f->n; i++)
        lines_file_close(&f->file[i]);
    free(f->file);
    local_close(self);
    memset(f, 0, sizeof *f);
}

static enum st open_broker(void *self, const struct broker_conf *c, struct err *e)
{
    struct broker_conf local = *c;
    struct files *f = self;
    enum st st;

    CHECK(c->job && c->job->files_n);
    local.small = true;
    local.read_only = c->read_only && strcmp(c->address, ":memory:") != 0;
    TRY(local_open_here(self, &local, e));
    st = open_files(f, c->job, e);
    if (st == ST_OK)
        st = stand_in(f, e);
    if (st == ST_OK)
        name_cluster(f);
    else
        close_broker(self);
    return st;
}

static uint64_t memory_bytes(const void *self, uint64_t queue)
{
    const struct files *f = self;
    uint64_t bytes = local_memory_bytes(self, 1);

    (void)queue; /* nothing is fetched ahead */
    for (uint32_t i = 0; i < f->n; i++)
        bytes += (f->file[i].packed ? 5 : 1) * (uint64_t)LINES_ROOM; /* zlib's buffers, gz.h's */
    return bytes;
}

static const char *cluster(void *self)
{
    const struct files *f = self;

    return f->cluster;
}

/* ---- the topic ---- */

static enum st file_of(struct files *f, const char *topic, int32_t partition,
                       struct lines_file **out, struct err *e)
{
    *out = NULL;
    if (strcmp(topic, f->topic) != 0)
        return ST_OK;
    if (partition < 0 || (uint32_t)partition >= f->n)
        return fail(e, ST_BAD_CONFIG, "topic '%s' has %" PRIu32 " files, none of number %" PRId32,
                    topic, f->n, partition);
    *out = &f->file[partition];
    return ST_OK;
}

static enum st watermarks(void *self, const char *topic, int32_t partition, bool uncommitted,
                          int64_t *low, int64_t *high, struct err *e)
{
    struct lines_file *file;

    TRY(file_of(self, topic, partition, &file, e));
    if (!file)
        return local_watermarks(self, topic, partition, uncommitted, low, high, e);
    *low = 0;
    return lines_count(file, high, e);
}

static enum st offset_at(void *self, const char *topic, int32_t partition, int64_t timestamp_ms,
                         int64_t *offset, struct err *e)
{
    struct lines_file *file;

    TRY(file_of(self, topic, partition, &file, e));
    if (!file)
        return local_offset_at(self, topic, partition, timestamp_ms, offset, e);
    return fail(e, ST_BAD_CONFIG, "%s: lines have no time; give the number of a line, from 0",
                file->path);
}

/* ---- consumer ---- */

static void stop_reading(struct file_consumer *c)
{
    for (uint32_t i = 0; c->f && i < c->f->n; i++)
        c->place[i].active = false;
}

static void consumer_close(void *self)
{
    struct file_consumer *c = self;

    for (uint32_t i = 0; c->place && i < c->f->n; i++)
        lines_close(&c->place[i].l);
    free(c->place);
    local_consumer_close(self);
    memset(c, 0, sizeof *c);
}

static enum st consumer_open(void *self, void *b, const struct consumer_conf *conf, struct err *e)
{
    struct file_consumer *c = self;
    struct files *f = b;
    struct consumer_conf local = *conf;

    if (conf->topics_n != 1 || strcmp(conf->topics[0], f->topic) != 0)
        return local_consumer_open(self, b, conf, e);
    local.queue_bytes = 1;
    TRY(local_consumer_open(self, b, &local, e));
    c->place = calloc(f->n, sizeof *c->place);
    if (!c->place) {
        consumer_close(self);
        return fail(e, ST_FATAL, "no memory to read %" PRIu32 " files", f->n);
    }
    c->f = f;
    for (uint32_t i = 0; i < f->n; i++)
        c->place[i].l.f = &f->file[i];
    return ST_OK;
}

/* Goes there at the next poll: until then, what was handed out is borrowed, though of other
 * partitions only. */
static enum st read_from(struct file_consumer *c, struct start s, struct err *e)
{
    struct lines_file *file;
    struct file_place *p;
    int64_t from = s.offset == -2 ? 0 : s.offset;

    TRY(file_of(c->f, c->f->topic, s.partition, &file, e));
    p = &c->place[s.partition];
    if (from == -1)
        TRY(lines_count(file, &from, e));
    p->want = from;
    p->active = p->moved = true;
    p->told = false;
    return ST_OK;
}

static enum st consumer_assign(void *self, const struct start *s, uint32_t n, struct err *e)
{
    struct file_consumer *c = self;

    TRY(local_consumer_assign(self, s, n, e));
    stop_reading(c);
    for (uint32_t i = 0; c->f && i < n; i++)
        TRY(read_from(c, s[i], e));
    return ST_OK;
}

static enum st consumer_seek(void *self, struct start s, struct err *e)
{
    struct file_consumer *c = self;

    TRY(local_consumer_seek(self, s, e));
    return c->f ? read_from(c, s, e) : ST_OK;
}

static enum st consumer_pause(void *self, struct start s, struct err *e)
{
    struct file_consumer *c = self;

    TRY(local_consumer_pause(self, s, e));
    if (c->f)
        c->place[s.partition].active = false;
    return ST_OK;
}

/* The end, or that the place asked for lies behind it. */
static void tell_end(struct file_place *p, int32_t partition, struct record *out)
{
    bool behind = p->l.line < p->want;

    *out = (struct record){.kind = behind ? REC_RESET : REC_EOF,
                           .partition = partition,
                           .offset = behind ? p->want : p->l.line,
                           .timestamp_ms = -1};
    p->told = true;
    p->active = !behind;
}

/* What is read of a partition; more is only read where none of it is handed out. */
static enum st hand_out(struct file_place *p, int32_t partition, struct record *out, uint32_t max,
                        uint32_t *n, struct err *e)
{
    uint32_t first = *n;
    struct bytes text;
    int64_t line;

    if (p->moved)
        TRY(lines_seek(&p->l, p->want, e));
    p->moved = false;
    for (;;) {
        while (*n < max && lines_next(&p->l, &text, &line))
            out[(*n)++] = (struct record){.kind = REC_DATA,
                                          .partition = partition,
                                          .offset = line,
                                          .timestamp_ms = -1,
                                          .value = text};
        if (*n > first || p->l.end)
            break;
        TRY(lines_more(&p->l, e));
    }
    if (*n < max && p->l.end && p->l.at == p->l.n && !p->told)
        tell_end(p, partition, &out[(*n)++]);
    return ST_OK;
}

static enum st consumer_poll(void *self, struct record *out, uint32_t max, int timeout_ms,
                             uint32_t *n, struct err *e)
{
    struct file_consumer *c = self;
    struct local *b = c->local.b;

    TRY(local_consumer_poll(self, out, max, c->f ? 0 : timeout_ms, n, e));
    if (!c->f)
        return ST_OK;
    *n = 0; /* what it says of a topic without records */
    if (c->local.event != GROUP_NONE) {
        stop_reading(c);
        return ST_OK;
    }
    for (uint32_t i = 0; i < c->f->n && *n < max; i++) {
        struct file_place *p = &c->place[c->turn];

        if (p->active && !p->told)
            TRY(hand_out(p, (int32_t)c->turn, out, max, n, e));
        c->turn = (c->turn + 1) % c->f->n;
    }
    if (!*n && timeout_ms)
        b->env.sleep_ms(b->env.arg, timeout_ms);
    return ST_OK;
}

static bool consumer_header(void *self, const struct record *r, uint32_t i, struct header *out)
{
    const struct file_consumer *c = self;

    return !c->f && local_consumer_header(self, r, i, out);
}

const struct broker broker_file = {
    .name = "files",
    .summary = "files in place of the data topic (train --input), all else in a folder as local",
    .broker_bytes = sizeof(struct files),
    .consumer_bytes = sizeof(struct file_consumer),
    .producer_bytes = sizeof(struct local_producer),
    .open = open_broker,
    .close = close_broker,
    .memory_bytes = memory_bytes,
    .cluster = cluster,
    .topic = local_topic_info,
    .topic_create = local_topic_create,
    .topic_delete = local_topic_delete,
    .partitions_add = local_partitions_add,
    .watermarks = watermarks,
    .committed = local_committed,
    .offset_at = offset_at,
    .group_members = local_group_members,
    .offsets_set = local_offsets_set,
    .consumer_open = consumer_open,
    .consumer_close = consumer_close,
    .consumer_poll = consumer_poll,
    .consumer_release = local_consumer_release,
    .consumer_header = consumer_header,
    .consumer_event = local_consumer_event,
    .consumer_assign = consumer_assign,
    .consumer_seek = consumer_seek,
    .consumer_pause = consumer_pause,
    .consumer_leave = local_consumer_leave,
    .producer_open = local_producer_open,
    .producer_close = local_producer_close,
    .producer_begin = local_producer_begin,
    .produce = local_produce,
    .producer_wait = local_producer_wait,
    .producer_offsets = local_producer_offsets,
    .producer_commit = local_producer_commit,
    .producer_abort = local_producer_abort,
};
