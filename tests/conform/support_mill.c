#include "tests/conform/support_mill.h"

#include "config/base/bytes.h"
#include "config/base/log.h"
#include "consumer/broker_local.h"
#include "consumer/cli.h"
#include "consumer/snapshot.h"
#include "consumer/verbs/verbs.h"
#include "tests/temp.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define OK(call) ok((call), #call, __LINE__)

enum { IDLE_POLLS = 3 };

const char mill_job[] = "topic: data\n"
                        "algo: linear\n"
                        "input: {format: csv, columns: [label, a, b]}\n"
                        "options: {loss: squared, learning_rate: 0.1}\n"
                        "staleness: 0\n";
const char mill_kmeans[] = "topic: data\n"
                           "algo: kmeans\n"
                           "input: {format: csv, columns: [label, a, b], label: ''}\n"
                           "options: {k: 3}\n";

static struct err err;
static void *broker;
static const struct broker *const t = &broker_local;

static void ok(enum st st, const char *call, int line)
{
    if (st == ST_OK)
        return;
    print_error("%s is %s: %s\n", call, st_name(st), err.text);
    _fail(__FILE__, line);
}

int mill_begin(void **state)
{
    (void)state;
    log_setup(getenv("MILL_LOG") ? LOG_INFO : LOG_ERROR, LOG_TEXT);
    assert_true(temp_begin());
    return 0;
}

int mill_end(void **state)
{
    (void)state;
    mill_close();
    temp_end();
    return 0;
}

void *mill_broker(void)
{
    char address[256];

    if (broker)
        return broker;
    snprintf(address, sizeof address, "%s", temp_path("topics"));
    broker = calloc(1, t->broker_bytes);
    assert_non_null(broker);
    OK(t->open(broker, &(struct broker_conf){.address = address, .queue_bytes = 16u << 20}, &err));
    return broker;
}

void mill_close(void)
{
    if (broker)
        t->close(broker);
    free(broker);
    broker = NULL;
}

void mill_topic(const char *name, uint32_t partitions)
{
    OK(t->topic_create(mill_broker(), &(struct topic_spec){name, partitions, NULL}, &err));
}

static void *producer(const char *id, const char *topic)
{
    void *p = calloc(1, t->producer_bytes);

    assert_non_null(p);
    OK(t->producer_open(p, mill_broker(), id, &topic, 1, &err));
    return p;
}

static void close_producer(void *p)
{
    t->producer_close(p);
    free(p);
}

static struct bytes bytes_of(const char *s)
{
    return (struct bytes){(const uint8_t *)s, s ? strlen(s) : 0};
}

/* A line through the cloud a, b in [-1, 1), label about 2 a - b + 0.5. */
static void line(uint64_t i, char text[64])
{
    uint64_t h = mix64(i);
    double a = (double)(h & 0xffff) / 32768 - 1, b = (double)(h >> 16 & 0xffff) / 32768 - 1;

    snprintf(text, 64, "%.4f,%.4f,%.4f", 2 * a - b + 0.5 + (double)(h >> 32 & 0xff) / 2560, a, b);
}

void mill_put(uint32_t partition, uint64_t from, uint64_t n)
{
    void *p = producer(NULL, "data");
    char text[64];

    for (uint64_t i = from; i < from + n; i++) {
        line(i, text);
        OK(t->produce(p, 0, (int32_t)partition, (struct bytes){0}, bytes_of(text),
                      (int64_t)(1000 + i), NULL, 0, &err));
    }
    OK(t->producer_wait(p, 1000, &err));
    close_producer(p);
}

void mill_put_text(uint32_t partition, const char *value)
{
    void *p = producer(NULL, "data");

    OK(t->produce(p, 0, (int32_t)partition, bytes_of("k"), bytes_of(value), 5, NULL, 0, &err));
    OK(t->producer_wait(p, 1000, &err));
    close_producer(p);
}

void mill_put_key(const char *topic, uint32_t partition, struct bytes key, struct bytes value,
                  bool commit)
{
    void *p = producer("test", topic);

    OK(t->producer_begin(p, &err));
    OK(t->produce(p, 0, (int32_t)partition, key, value, -1, NULL, 0, &err));
    OK(t->producer_wait(p, 1000, &err));
    if (commit)
        OK(t->producer_commit(p, &err));
    else
        OK(t->producer_abort(p, &err));
    close_producer(p);
}

void mill_delete(const char *topic)
{
    OK(t->topic_delete(mill_broker(), topic, &err));
}

void mill_trim(uint32_t partition, int64_t before)
{
    struct local_part *p;

    OK(local_partition(local_topic(mill_broker(), "data"), (int32_t)partition, &p, &err));
    OK(clean_trim(mill_broker(), p, before, &err));
}

/* ---- a worker ---- */

static struct {
    struct mill_run *r;
    uint32_t idle;
    int32_t partitions;
    struct broker table; /* broker_local, with a hand on what a run wants to disturb */
} hooked;

static enum st hooked_poll(void *c, struct record *out, uint32_t max, int timeout_ms, uint32_t *n,
                           struct err *e)
{
    uint32_t most = hooked.r->poll_max;

    if (hooked.r->polled)
        hooked.r->polled(hooked.r->polls);
    TRY(t->consumer_poll(c, out, most && most < max ? most : max, timeout_ms, n, e));
    for (int32_t i = 0; hooked.r->live && i < hooked.partitions; i++) {
        int64_t low, high;

        TRY(t->watermarks(broker, "data", i, true, &low, &high, e));
        mill_put((uint32_t)i, (uint64_t)high, hooked.r->live);
    }
    hooked.r->polls++;
    hooked.idle = *n ? 0 : hooked.idle + 1;
    if ((hooked.r->unbounded || hooked.r->impatient) && hooked.idle >= IDLE_POLLS)
        worker_stop = 1;
    return ST_OK;
}

/* As if other members had the rest. */
static enum group_event hooked_event(void *c, const struct start **partitions, uint32_t *n)
{
    static struct start some[32];
    enum group_event ev = t->consumer_event(c, partitions, n);
    uint32_t k = 0;

    for (uint32_t i = 0; ev == GROUP_ASSIGNED && i < *n; i++)
        if (hooked.r->mine >> (*partitions)[i].partition & 1)
            some[k++] = (*partitions)[i];
    if (ev == GROUP_ASSIGNED) {
        *partitions = some;
        *n = k;
    }
    return ev;
}

static enum st hooked_commit(void *p, struct err *e)
{
    if (!hooked.r->commits_fail)
        return t->producer_commit(p, e);
    hooked.r->commits_fail--;
    return (fail)(e, hooked.r->commit_st, "a commit was made to fail");
}

void mill_job_of(const struct mill_run *r, struct job *j)
{
    const char *set[MILL_SET + 2];
    char where[256], path[256], name[64];
    uint32_t n = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s", temp_path("job.yaml"));
    snprintf(where, sizeof where, "broker=local:%s", temp_path("topics"));
    snprintf(name, sizeof name, "job=%s", r->name ? r->name : "mill");
    set[n++] = where;
    set[n++] = name;
    for (uint32_t i = 0; r->set[i]; i++)
        set[n++] = r->set[i];
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(r->job ? r->job : mill_job, f);
    fclose(f);
    assert_int_equal(job_read(j, path, set, n, cli_algos(), stderr), 0);
}

void mill_train(struct mill_run *r)
{
    struct worker *w = calloc(1, sizeof *w);
    struct job *j = calloc(1, sizeof *j);
    char folder[256];

    mill_close();
    assert_true(w && j);
    mill_job_of(r, j);
    snprintf(folder, sizeof folder, "%s",
             temp_path(r->state  ? r->state
                       : r->name ? r->name
                                 : "mill"));
    worker_stop = 0;
    w->quiet = true;
    if (!r->unbounded)
        w->until.kind = WHERE_LATEST;
    if (r->from)
        OK(where_parse(r->from, &w->from, &err));
    if (r->until)
        OK(where_parse(r->until, &w->until, &err));
    w->max_rows = r->max_rows;
    w->offered = r->offered;
    r->st = worker_open(w, j, folder, &r->err);
    if (r->st == ST_OK) {
        hooked.r = r;
        hooked.idle = 0;
        hooked.partitions = (int32_t)w->partitions;
        hooked.table = *w->br;
        hooked.table.consumer_poll = hooked_poll;
        hooked.table.producer_commit = hooked_commit;
        if (r->mine)
            hooked.table.consumer_event = hooked_event;
        if (r->event)
            hooked.table.consumer_event = r->event;
        w->br = &hooked.table;
        if (r->opened)
            r->opened(w);
        broker = w->b; /* for what happens meanwhile; the worker closes it */
        r->st = pipeline_run(w);
        broker = NULL;
    }
    r->rows = w->rows;
    r->records = w->records;
    r->bad = w->bad;
    r->version = w->version;
    r->stopped = w->stopped;
    worker_close(w);
    free(w);
    free(j);
    worker_stop = 0;
}

void mill_trained(struct mill_run *r)
{
    mill_train(r);
    if (r->st != ST_OK)
        fail_msg("the job ended with %s: %s", st_name(r->st), r->err.text);
}

int mill_verify(const struct mill_run *r, uint64_t version, char *out, size_t room)
{
    struct job *j = calloc(1, sizeof *j);
    int code, to = dup(STDOUT_FILENO);
    FILE *f = tmpfile();

    mill_close();
    assert_true(j && f && to >= 0);
    mill_job_of(r, j);
    fflush(stdout);
    assert_true(dup2(fileno(f), STDOUT_FILENO) >= 0);
    code = model_verify(j, version);
    fflush(stdout);
    assert_true(dup2(to, STDOUT_FILENO) >= 0);
    close(to);
    rewind(f);
    out[fread(out, 1, room - 1, f)] = 0;
    fclose(f);
    free(j);
    return code;
}

/* ---- what it left ---- */

static void take_part(struct mill_part *out, const struct manifest *m, uint64_t digest)
{
    *out = (struct mill_part){.digest = digest,
                              .ended = m->flags & SLOT_ENDED,
                              .flags = m->flags & ~(uint32_t)SLOT_ENDED,
                              .life = m->life,
                              .epochs = m->epochs,
                              .state_version = m->state_version,
                              .tensors = m->tensors,
                              .lineages = m->lineages,
                              .pos = m->pos,
                              .begin = m->begin,
                              .end = m->end,
                              .last_offset = m->last_offset,
                              .last_fingerprint = m->last_fingerprint,
                              .trained = m->trained,
                              .rejected = m->rejected,
                              .lost = m->lost,
                              .seq = m->seq,
                              .job = m->job};
    for (uint32_t i = 0; i < m->lineages && i < MILL_LINEAGE; i++)
        out->lineage[i] = m->lineage[i];
}

static enum st digest_one(void *arg, uint32_t j, const uint8_t *p, uint32_t bytes, struct err *e)
{
    (void)e;
    digest_chunk(arg, j, p, bytes);
    return ST_OK;
}

/* A folder's checkpoint and the manifest of one partition; false: it has none. */
struct opened {
    struct checkpoint *cp;
    struct manifest m;
};

static struct opened *open_state(const char *folder, uint32_t partition, uint32_t flags)
{
    struct checkpoint_conf c = {
        .store = &store_rocksdb, .flags = flags, .partitions_max = 1, .chunks_max = 64};
    struct opened *o = calloc(1, sizeof *o);
    enum st st;

    assert_non_null(o);
    c.dir = temp_path(folder);
    OK(checkpoint_open(&o->cp, &c, "", &err));
    o->m.chunk = calloc(SLOT_CHUNKS_MAX, sizeof *o->m.chunk);
    o->m.chunks_max = SLOT_CHUNKS_MAX;
    st = checkpoint_manifest(o->cp, partition, &o->m, &err);
    if (st == ST_OK)
        return o;
    assert_int_equal(st, ST_AGAIN);
    o->m.chunks_max = 0;
    return o;
}

static void close_state(struct opened *o)
{
    checkpoint_close(o->cp);
    free(o->m.chunk);
    free(o);
}

bool mill_state(const char *folder, uint32_t partition, struct mill_part *out)
{
    struct opened *o = open_state(folder, partition, STORE_READ_ONLY);
    bool found = o->m.chunks_max;
    struct digest d;

    if (found) {
        digest_begin(&d, &o->m);
        OK(checkpoint_load(o->cp, &o->m, digest_one, &d, &err));
        take_part(out, &o->m, d.h);
    }
    close_state(o);
    return found;
}

static enum st copy_one(void *arg, uint32_t j, const uint8_t *p, uint32_t bytes, struct err *e)
{
    (void)e;
    if (p)
        memcpy((uint8_t *)arg + ((size_t)j << CHUNK_SHIFT), p, bytes);
    return ST_OK;
}

/* The state's bytes, laid out as its manifest says. */
static void lay_out(struct opened *o, struct tensors *ts)
{
    struct tdecl d[SLOT_TENSORS_MAX];

    memset(d, 0, sizeof d);
    for (uint32_t i = 0; i < o->m.tensors; i++) {
        const struct slot_tensor *s = &o->m.tensor[i];

        d[i] = (struct tdecl){.id = i,
                              .name = s->name,
                              .what = "",
                              .dtype = (enum dtype)s->dtype,
                              .law = (enum law)s->law,
                              .by = s->by,
                              .live = s->live};
        memcpy(d[i].dim, s->dim, sizeof d[i].dim);
    }
    OK(tensors_layout(ts, d, o->m.tensors, CHUNK_SHIFT, 1u << 30, &err));
    assert_int_equal(ts->bytes, o->m.state_bytes);
    OK(tensors_alloc(ts, NULL, NULL, &err));
    OK(checkpoint_load(o->cp, &o->m, copy_one, ts->base, &err));
}

void *mill_tensor(const char *folder, uint32_t partition, const char *name, size_t *bytes)
{
    struct opened *o = open_state(folder, partition, STORE_READ_ONLY);
    const struct tensor *found;
    struct tensors ts;
    void *copy = NULL;

    lay_out(o, &ts);
    found = tensors_find(&ts, name);
    if (found && (copy = malloc(found->bytes + 1)))
        memcpy(copy, found->p, found->bytes);
    *bytes = found ? found->bytes : 0;
    tensors_free(&ts, NULL, NULL);
    close_state(o);
    return copy;
}

void mill_tamper(const char *folder, uint32_t partition, const char *name)
{
    struct opened *o = open_state(folder, partition, 0);
    struct tensors ts;

    lay_out(o, &ts);
    tensors_find(&ts, name)->u8[0] ^= 1;
    checkpoint_begin(o->cp);
    for (uint32_t j = 0; j < o->m.chunks; j++)
        checkpoint_chunk(o->cp, &o->m, j, ts.base + ((size_t)j << CHUNK_SHIFT),
                         tensors_chunk_bytes(&ts, j));
    checkpoint_put(o->cp, &o->m);
    OK(checkpoint_commit(o->cp, &err));
    tensors_free(&ts, NULL, NULL);
    close_state(o);
}

bool mill_slot(const char *job, uint32_t partition, struct mill_part *out)
{
    char topic[64];
    struct image *im = calloc(1, sizeof *im);
    struct slot_reader r = {0};
    struct digest d;
    bool found;

    assert_non_null(im);
    im->bytes_max = 1u << 30;
    snprintf(topic, sizeof topic, "%s.params", job);
    OK(slot_reader_open(&r, t, mill_broker(), topic, &err));
    OK(slot_read(&r, partition, im, &found, &err));
    if (found) {
        digest_begin(&d, &im->m);
        for (uint32_t j = 0; j < im->m.chunks; j++)
            digest_chunk(&d, j, im->p + ((size_t)j << CHUNK_SHIFT),
                         im->m.chunk[j].bytes ? im->m.chunk[j].bytes : 0);
        take_part(out, &im->m, d.h);
    }
    slot_reader_close(&r);
    image_fini(im);
    free(im);
    return found;
}

struct newest {
    uint64_t version, *records;
    uint32_t partitions;
};

static void take_model(void *arg, const struct model *m)
{
    struct newest *n = arg;

    if (m->version < n->version)
        return;
    n->version = m->version;
    for (uint32_t i = 0; i < n->partitions; i++)
        n->records[i] = UINT64_MAX;
    for (uint32_t i = 0; i < m->ranges; i++)
        n->records[m->range[i].partition] = m->range[i].records;
}

uint64_t mill_model(const char *job, uint64_t records[], uint32_t partitions)
{
    struct newest n = {.records = records, .partitions = partitions};
    char topic[64];

    snprintf(topic, sizeof topic, "%s.models", job);
    OK(model_list(t, mill_broker(), topic, take_model, &n, &err));
    return n.version;
}

static enum st count_one(void *arg, const struct record *r, struct err *e)
{
    (void)r;
    (void)e;
    ++*(uint64_t *)arg;
    return ST_OK;
}

uint64_t mill_count(const char *topic, uint32_t partition)
{
    struct slot_reader r = {0};
    uint64_t n = 0;

    OK(slot_reader_open(&r, t, mill_broker(), topic, &err));
    OK(topic_read(&r, partition, count_one, &n, &err));
    slot_reader_close(&r);
    return n;
}
