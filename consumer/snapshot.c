/* snapshot.c: models in the model topic: sent inside the owner's transaction, listed and read
 * back. */
#include "consumer/snapshot.h"

#include "algos/derive.h"
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_ROOM = 64, REMOVE_WAIT_MS = 60000 };

/* "model/<version>/manifest" -> version; chunk: *j; anything else: 0. */
static uint64_t model_key(const struct record *r, bool *manifest, uint32_t *j)
{
    char key[KEY_ROOM], extra;
    uint64_t version = 0;

    *manifest = false;
    if (r->key.n >= sizeof key || !r->key.p)
        return 0;
    memcpy(key, r->key.p, r->key.n);
    key[r->key.n] = 0;
    if (sscanf(key, "model/%" SCNu64 "/chunk/%" SCNu32 "%c", &version, j, &extra) == 2)
        return version;
    *manifest = sscanf(key, "model/%" SCNu64 "/manifes%c", &version, &extra) == 2 && extra == 't';
    return *manifest ? version : 0;
}

static enum st send(const struct broker *br, void *producer, uint16_t topic, const char *key,
                    struct bytes value, struct err *e)
{
    struct bytes k = {(const uint8_t *)key, strlen(key)};

    return br->produce(producer, topic, 0, k, value, -1, NULL, 0, e);
}

static enum st bury(const struct broker *br, void *producer, uint16_t topic, uint64_t version,
                    uint64_t body_bytes, struct err *e)
{
    uint64_t chunks = (body_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
    char key[KEY_ROOM];

    for (uint64_t j = 0; j < chunks; j++) {
        snprintf(key, sizeof key, "model/%" PRIu64 "/chunk/%" PRIu64, version, j);
        TRY(send(br, producer, topic, key, (struct bytes){0}, e));
    }
    snprintf(key, sizeof key, "model/%" PRIu64 "/manifest", version);
    return send(br, producer, topic, key, (struct bytes){0}, e);
}

/* Tombstones for the version that is now one too many; the ones before it went when they were. */
static enum st retire(const struct broker *br, void *producer, uint16_t topic,
                      const struct model *m, uint32_t keep, struct err *e)
{
    return m->version > keep ? bury(br, producer, topic, m->version - keep, m->body_bytes, e)
                             : ST_OK;
}

enum st model_send(const struct broker *br, void *producer, uint16_t topic, const struct model *m,
                   const struct model_bytes *b, uint32_t keep, struct err *e)
{
    char key[KEY_ROOM], latest[24];

    for (size_t at = 0, j = 0; at < b->body_n; at += CHUNK_BYTES, j++) {
        size_t n = b->body_n - at < CHUNK_BYTES ? b->body_n - at : CHUNK_BYTES;

        snprintf(key, sizeof key, "model/%" PRIu64 "/chunk/%zu", m->version, j);
        TRY(send(br, producer, topic, key, (struct bytes){b->body + at, n}, e));
    }
    snprintf(key, sizeof key, "model/%" PRIu64 "/manifest", m->version);
    TRY(send(br, producer, topic, key, (struct bytes){b->manifest, b->manifest_n}, e));
    TRY(retire(br, producer, topic, m, keep, e));
    snprintf(latest, sizeof latest, "%" PRIu64, m->version);
    return send(br, producer, topic, "model/latest",
                (struct bytes){(const uint8_t *)latest, strlen(latest)}, e);
}

/* ---- reading ---- */

/* What a first reading of the topic finds: the versions that are there, and one of them. */
struct found {
    uint64_t *version, newest;
    uint32_t n, room;
    uint64_t want;   /* 0: the newest */
    struct model *m; /* that one, if it is there, without the values of its tensors */
};

static enum st found_add(struct found *f, uint64_t v, struct err *e)
{
    if (f->n == f->room) {
        uint32_t room = f->room ? 2 * f->room : 64;
        uint64_t *p = realloc(f->version, room * sizeof *p);

        if (!p)
            return fail(e, ST_FATAL, "no memory for a list of %" PRIu32 " models", f->n);
        f->version = p;
        f->room = room;
    }
    f->version[f->n++] = v;
    return ST_OK;
}

static bool found_has(const struct found *f, uint64_t v)
{
    uint32_t i = 0;

    while (i < f->n && f->version[i] != v)
        i++;
    return i < f->n;
}

static void found_remove(struct found *f, uint64_t v)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < f->n; i++)
        if (f->version[i] != v)
            f->version[n++] = f->version[i];
    f->n = n;
}

static enum st decode_record(struct model *m, const struct record *r, struct err *e)
{
    enum st st;

    model_fini(m);
    memset(m, 0, sizeof *m);
    st = model_decode(m, r->value.p, r->value.n, e);
    if (st != ST_OK)
        err_prefix(e, "model topic, offset %" PRId64, r->offset);
    return st;
}

static enum st find_record(void *arg, const struct record *r, struct err *e)
{
    struct found *f = arg;
    bool manifest;
    uint32_t j;
    uint64_t v = model_key(r, &manifest, &j);

    if (!v || !manifest)
        return ST_OK;
    found_remove(f, v);
    if (!r->value.p) /* retired; the records before its tombstone stay until they are compacted */
        return ST_OK;
    TRY(found_add(f, v, e));
    if (f->want ? v == f->want : v >= f->newest)
        TRY(decode_record(f->m, r, e));
    if (v > f->newest)
        f->newest = v;
    return ST_OK;
}

static enum st find_models(struct slot_reader *r, const struct broker *br, void *b,
                           const char *topic, struct found *f, struct err *e)
{
    struct topic_info t;

    TRY(br->topic(b, topic, &t, e));
    if (!t.exists)
        return fail(
            e, ST_BAD_CONFIG,
            "topic '%s' does not exist: the job has not published a model yet, or has another name",
            topic);
    TRY(slot_reader_open(r, br, b, topic, e));
    return topic_read(r, 0, find_record, f, e);
}

struct listing {
    struct found f;
    void (*take)(void *arg, const struct model *m);
    void *arg;
};

static enum st list_record(void *arg, const struct record *r, struct err *e)
{
    struct listing *l = arg;
    bool manifest;
    uint32_t j;
    uint64_t v = model_key(r, &manifest, &j);

    if (!v || !manifest || !r->value.p || !found_has(&l->f, v))
        return ST_OK;
    TRY(decode_record(l->f.m, r, e));
    l->take(l->arg, l->f.m);
    return ST_OK;
}

struct model *model_new(void)
{
    return calloc(1, sizeof(struct model));
}

void model_free(struct model *m)
{
    if (m)
        model_fini(m);
    free(m);
}

enum st model_list(const struct broker *br, void *b, const char *topic,
                   void (*take)(void *arg, const struct model *m), void *arg, struct err *e)
{
    struct listing l = {.f.m = model_new(), .take = take, .arg = arg};
    struct slot_reader r = {0};
    enum st st = l.f.m ? find_models(&r, br, b, topic, &l.f, e)
                       : fail(e, ST_FATAL, "no memory to read models");

    if (st == ST_OK)
        st = topic_read(&r, 0, list_record, &l, e);
    slot_reader_close(&r);
    model_free(l.f.m);
    free(l.f.version);
    return st;
}

struct body {
    uint64_t version;
    const struct model *m;
    uint8_t *p;   /* [m->body_bytes] */
    uint64_t got; /* of them */
};

static enum st take_chunk(void *arg, const struct record *r, struct err *e)
{
    struct body *w = arg;
    bool manifest;
    uint32_t j = 0;
    uint64_t at;

    if (model_key(r, &manifest, &j) != w->version || !r->value.p || manifest)
        return ST_OK;
    at = (uint64_t)j * CHUNK_BYTES;
    if (r->value.n > CHUNK_BYTES || at + r->value.n > w->m->body_bytes)
        return fail(e, ST_CORRUPT,
                    "chunk %" PRIu32 " of model %" PRIu64
                    " has %zu bytes and lies outside the %" PRIu64 " of the model",
                    j, w->version, r->value.n, w->m->body_bytes);
    memcpy(w->p + at, r->value.p, r->value.n);
    w->got += r->value.n;
    return ST_OK;
}

/* A second reading: the manifest stands behind its chunks, and says how much memory they take. */
static enum st read_body(struct slot_reader *r, uint64_t version, struct model *m, struct err *e)
{
    struct body w = {.version = version, .m = m, .p = malloc(m->body_bytes + 1)};
    enum st st =
        w.p ? topic_read(r, 0, take_chunk, &w, e)
            : fail(e, ST_FATAL, "no memory for a model of %" PRIu64 " bytes", m->body_bytes);

    if (st == ST_OK && w.got < m->body_bytes)
        st =
            fail(e, ST_CORRUPT, "model %" PRIu64 ": %" PRIu64 " of its %" PRIu64 " bytes are there",
                 version, w.got, m->body_bytes);
    if (st == ST_OK)
        st = model_load(m, w.p, m->body_bytes, e);
    free(w.p);
    return st;
}

static enum st find_model(struct slot_reader *r, const struct broker *br, void *b,
                          const char *topic, struct found *f, struct err *e)
{
    TRY(find_models(r, br, b, topic, f, e));
    if (!f->newest)
        return fail(e, ST_BAD_CONFIG, "topic %s holds no model yet", topic);
    if (!f->want)
        f->want = f->newest;
    if (!found_has(f, f->want))
        return fail(e, ST_BAD_CONFIG,
                    "topic %s has no model %" PRIu64 " (any more); the newest is %" PRIu64, topic,
                    f->want, f->newest);
    return ST_OK;
}

enum st model_read(const struct broker *br, void *b, const char *topic, uint64_t version,
                   const struct slot_reader *by, struct model *m, struct err *e)
{
    struct found f = {.want = version, .m = m};
    struct slot_reader r = by ? *by : (struct slot_reader){0};
    enum st st = find_model(&r, br, b, topic, &f, e);

    if (st == ST_OK)
        st = read_body(&r, f.want, m, e);
    slot_reader_close(&r);
    free(f.version);
    return st;
}

static enum st same_tensors(const struct model *m, const struct tensors *declared, bool shapes,
                            struct err *e)
{
    if (declared->n != m->tensors.n)
        return fail(e, ST_BAD_CONFIG,
                    "model %" PRIu64 " has %" PRIu32 " tensors, this job's have %" PRIu32
                    ": options or input differ from those it was trained with",
                    m->version, m->tensors.n, declared->n);
    for (uint32_t i = 0; i < declared->n; i++) {
        const struct tdecl *want = &declared->t[i].d, *has = &m->tensors.t[i].d;

        if (strcmp(want->name, has->name) || want->dtype != has->dtype ||
            (shapes && memcmp(want->dim, has->dim, sizeof want->dim)))
            return fail(e, ST_BAD_CONFIG,
                        "tensor %s of model %" PRIu64
                        " has another type or shape than this job's: options or input differ from "
                        "those it was trained with",
                        has->name, m->version);
    }
    return ST_OK;
}

enum st model_derive_opts(const struct model *m, const struct algo *a, const struct shape *sh,
                          void *derive_opts, struct err *e)
{
    struct derive_table t;

    derive_options(&t, a, sh);
    opts_defaults(t.o, derive_opts);
    for (uint32_t i = 0; i < m->derives; i++) {
        const struct opt *o = opt_find(t.o, m->derive[i].name);

        if (o)
            TRY(opt_set(o, derive_opts, m->derive[i].value, false, e));
    }
    return ST_OK;
}

enum st model_check(const struct model *m, const struct algo *a, const struct shape *sh,
                    const void *opts, void *derive_opts, bool shapes, struct err *e)
{
    struct tensors declared = {0};

    if (strcmp(m->algo, a->name) || m->model_version != a->model_version)
        return fail(e, ST_BAD_CONFIG,
                    "model %" PRIu64 " is of algorithm %s version %" PRIu32
                    ", this job wants %s version %" PRIu32,
                    m->version, m->algo, m->model_version, a->name, a->model_version);
    TRY(model_derive_opts(m, a, sh, derive_opts, e));
    TRY(model_declare(&declared, a, sh, opts, derive_opts, CHUNK_SHIFT, e));
    return same_tensors(m, &declared, shapes, e);
}

static enum st remove_found(const struct broker *br, void *b, const char *topic,
                            const struct found *f, struct err *e)
{
    void *p = calloc(1, br->producer_bytes);
    enum st st = p ? br->producer_open(p, b, NULL, &topic, 1, e)
                   : fail(e, ST_FATAL, "no memory to remove a model");

    if (st == ST_OK)
        st = bury(br, p, 0, f->want, f->m->body_bytes, e);
    if (st == ST_OK)
        st = br->producer_wait(p, REMOVE_WAIT_MS, e);
    if (p)
        br->producer_close(p);
    free(p);
    return st;
}

enum st model_remove(const struct broker *br, void *b, const char *topic, uint64_t version,
                     struct err *e)
{
    struct found f = {.want = version, .m = model_new()};
    struct slot_reader r = {0};
    enum st st =
        f.m ? find_model(&r, br, b, topic, &f, e) : fail(e, ST_FATAL, "no memory to read models");

    slot_reader_close(&r);
    if (st == ST_OK && f.want == f.newest)
        st = fail(e, ST_BAD_CONFIG,
                  "model %" PRIu64 " of topic %s is the newest and stays: its number tells the "
                  "next one's",
                  f.want, topic);
    if (st == ST_OK)
        st = remove_found(br, b, topic, &f, e);
    model_free(f.m);
    free(f.version);
    return st;
}

enum st snapshot_restore(struct worker *w, enum st (*meanwhile)(void *arg))
{
    struct slot_reader r = {.meanwhile = meanwhile, .arg = w};
    struct found f = {.m = model_new()};
    enum st st = f.m ? find_models(&r, w->br, w->b, w->job->topic_models, &f, w->err)
                     : fail(w->err, ST_FATAL, "no memory to read models");

    w->version = f.newest;
    w->version_records = f.m && f.m->ranges && f.m->range->run >= w->run ? f.m->records : 0;
    slot_reader_close(&r);
    model_free(f.m);
    free(f.version);
    return st;
}

/* ---- making ---- */

static void describe_options(const struct opt *o, const void *opts, struct model_text *t,
                             uint32_t *n)
{
    for (*n = 0; o && o->name && *n < MODEL_TEXTS_MAX; o++, ++*n) {
        snprintf(t[*n].name, sizeof t[*n].name, "%s", o->name);
        opt_text(o, opts, t[*n].value, sizeof t[*n].value);
    }
}

static void describe_columns(struct model *m, const struct decoded *d, const struct codec *codec,
                             void *codec_self)
{
    if (d->columns > MODEL_COLUMNS_MAX || d->shape.sparse)
        return;
    m->column =
        calloc(d->columns, sizeof *m->column); /* without names if there is no memory for them */
    m->columns = m->column ? d->columns : 0;
    for (uint32_t c = 0; c < m->columns; c++)
        codec->column_name(codec_self, c, m->column[c], sizeof m->column[c]);
}

void model_describe(struct model *m, const struct job *j, const struct ctx *x, const struct algo *a,
                    const struct decoded *d, const struct codec *codec, void *codec_self)
{
    snprintf(m->job, sizeof m->job, "%s", j->name);
    snprintf(m->topic, sizeof m->topic, "%s", j->topic);
    snprintf(m->algo, sizeof m->algo, "%s", a->name);
    snprintf(m->start_from, sizeof m->start_from, "%s", j->start_from);
    snprintf(m->millrace, sizeof m->millrace, "%s", MILLRACE_VERSION);
    m->created_ms = clock_wall_ms();
    m->model_version = a->model_version;
    m->state_version = a->state_version;
    m->seed = j->seed;
    m->holdout = (double)j->input.holdout;
    m->staleness = j->staleness;
    m->partitions = x->shape->slots;
    snprintf(m->backend, sizeof m->backend, "%s", x->c->name);
    describe_options(a->opts, x->opts, m->option, &m->options);
    m->features = d->columns;
    m->classes = d->classes;
    memcpy(m->class_name, d->class_name, sizeof m->class_name);
    describe_columns(m, d, codec, codec_self);
}

void model_add(struct model *m, const struct manifest *s)
{
    struct model_range *r = &m->range[m->ranges];
    uint32_t at = m->breaks;

    CHECK(m->ranges < PARTITIONS_MAX && (!m->ranges || r[-1].partition < s->partition));
    *r = (struct model_range){.partition = s->partition,
                              .run = s->pos.run,
                              .epoch = s->pos.epoch,
                              .begin = s->begin,
                              .end = s->pos.offset,
                              .records = s->trained,
                              .rejected = s->rejected,
                              .lost = s->lost,
                              .until = s->end,
                              .waits = s->flags & SLOT_WAIT,
                              .done = s->flags & SLOT_DONE,
                              .repeatable = !(s->flags & SLOT_LOOSE),
                              .last_offset = s->last_offset,
                              .last_fingerprint = s->last_fingerprint,
                              .break_at = at};
    for (uint32_t i = 0; i < s->lineages; i++) {
        const struct lineage *l = &s->lineage[i];

        if (l->kind == LINEAGE_LEARNED)
            continue;
        if (at == MODEL_BREAKS_MAX) { /* an incomplete list would mislead */
            r->repeatable = false;
            at = m->breaks;
            break;
        }
        m->brk[at++] = (struct model_break){l->run, l->epoch, l->kind, l->begin, l->end};
    }
    r->breaks = at - m->breaks;
    m->breaks = at;
    m->records += s->trained;
    m->ranges++;
}

/* What the states in the view have learned. */
static void describe_ranges(const struct worker *w, struct model *m)
{
    m->fingerprint = w->fingerprint;
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct manifest *s = slot_known(w, i);

        if (!s || s->flags & SLOT_STOPPED)
            continue;
        model_add(m, s);
    }
}

enum st model_derive(const struct ctx *x, const struct algo *a, const struct tensors *view,
                     void *derive_opts, struct model *m)
{
    struct derive_table t;

    TRY(derive_model(x, a, view, derive_opts, &m->tensors, &m->measures));
    derive_options(&t, a, x->shape);
    describe_options(t.o, derive_opts, m->derive, &m->derives);
    return ST_OK;
}

static enum st send_model(struct worker *w, struct model *m)
{
    struct model_bytes b;
    enum st st = model_encode(m, &b, w->err);

    if (st == ST_OK)
        st = model_send(w->br, w->producer, TOPIC_MODELS, m, &b, w->job->models_keep, w->err);
    if (st == ST_OK)
        w->sent_version = m->version; /* it counts once the transaction is committed */
    free(b.manifest);
    free(b.body);
    return st;
}

enum st snapshot(struct worker *w)
{
    struct model *m = model_new();
    _Alignas(64) uint8_t derive_opts[OPTS_BYTES_MAX] = {0};
    enum st st;

    if (!m)
        return fail(w->err, ST_FATAL, "no memory for a snapshot");
    derive_defaults(w->algo, &w->shape, derive_opts, sizeof derive_opts);
    model_describe(m, w->job, &w->x, w->algo, w->decoded, w->codec, w->codec_self);
    describe_ranges(w, m);
    m->version = w->version + 1;
    st = model_derive(&w->host, w->algo, &w->view, derive_opts, m);
    if (st == ST_AGAIN) { /* no weight in any row yet, say: the slots go without a model */
        log_line(LOG_INFO, "no snapshot yet", "reason=\"%s\"", w->err->text);
        st = ST_OK;
    } else if (st == ST_OK) {
        st = send_model(w, m);
    }
    model_free(m);
    return st;
}
