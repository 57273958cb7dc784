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

enum { KEY_ROOM = 64 };

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

/* Tombstones for the version that is now one too many; the ones before it went when they were. */
static enum st retire(const struct broker *br, void *producer, uint16_t topic,
                      const struct model *m, uint32_t keep, struct err *e)
{
    uint64_t old = m->version > keep ? m->version - keep : 0;
    uint64_t chunks = (m->body_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
    char key[KEY_ROOM];

    if (!old)
        return ST_OK;
    for (uint64_t j = 0; j < chunks; j++) {
        snprintf(key, sizeof key, "model/%" PRIu64 "/chunk/%" PRIu64, old, j);
        TRY(send(br, producer, topic, key, (struct bytes){0}, e));
    }
    snprintf(key, sizeof key, "model/%" PRIu64 "/manifest", old);
    return send(br, producer, topic, key, (struct bytes){0}, e);
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

struct listing {
    struct model *m;
    void (*take)(void *arg, const struct model *m);
    void *arg;
    uint64_t newest, records;
};

static enum st list_record(void *arg, const struct record *r, struct err *e)
{
    struct listing *l = arg;
    bool manifest;
    uint32_t j;
    uint64_t v = model_key(r, &manifest, &j);
    enum st st;

    if (!v || !manifest || !r->value.p)
        return ST_OK;
    memset(l->m, 0, sizeof *l->m);
    st = model_decode(l->m, r->value.p, r->value.n, e);
    if (v > l->newest) {
        l->newest = v;
        l->records = l->m->records;
    }
    if (st == ST_OK && l->take)
        l->take(l->arg, l->m);
    model_fini(l->m);
    return st;
}

static enum st read_models(const struct broker *br, void *b, const char *topic, struct listing *l,
                           enum st (*meanwhile)(void *), void *arg, struct err *e)
{
    struct slot_reader r = {.meanwhile = meanwhile, .arg = arg};
    struct topic_info t;
    enum st st;

    TRY(br->topic(b, topic, &t, e));
    if (!t.exists)
        return fail(
            e, ST_BAD_CONFIG,
            "topic '%s' does not exist: the job has not published a model yet, or has another name",
            topic);
    l->m = calloc(1, sizeof *l->m);
    st = l->m ? slot_reader_open(&r, br, b, topic, e)
              : fail(e, ST_FATAL, "no memory to read models");
    if (st == ST_OK)
        st = topic_read(&r, 0, list_record, l, e);
    slot_reader_close(&r);
    free(l->m);
    return st;
}

enum st model_list(const struct broker *br, void *b, const char *topic,
                   void (*take)(void *arg, const struct model *m), void *arg, struct err *e)
{
    struct listing l = {.take = take, .arg = arg};

    return read_models(br, b, topic, &l, NULL, NULL, e);
}

struct wanted {
    uint64_t version;
    struct model *m;
    uint8_t *body;
    size_t room;
    bool manifest;
};

static enum st want_record(void *arg, const struct record *r, struct err *e)
{
    struct wanted *w = arg;
    bool manifest;
    uint32_t j = 0;
    size_t at, need;

    if (model_key(r, &manifest, &j) != w->version || !r->value.p)
        return ST_OK;
    if (manifest) {
        model_fini(w->m);
        memset(w->m, 0, sizeof *w->m);
        w->manifest = true;
        return model_decode(w->m, r->value.p, r->value.n, e);
    }
    at = (size_t)j * CHUNK_BYTES;
    need = at + r->value.n;
    if (j > SLOT_CHUNKS_MAX || r->value.n > CHUNK_BYTES)
        return fail(e, ST_CORRUPT, "chunk %" PRIu32 " of model %" PRIu64 " has %zu bytes", j,
                    w->version, r->value.n);
    if (need > w->room) {
        uint8_t *p = realloc(w->body, need * 2);

        if (!p)
            return fail(e, ST_FATAL, "no memory for a model of %zu bytes", need);
        w->body = p;
        w->room = need * 2;
    }
    memcpy(w->body + at, r->value.p, r->value.n);
    return ST_OK;
}

enum st model_read(const struct broker *br, void *b, const char *topic, uint64_t version,
                   struct model *m, struct err *e)
{
    struct listing l = {.newest = 0};
    struct wanted w = {.m = m, .version = version};
    struct slot_reader r = {0};
    enum st st;

    TRY(read_models(br, b, topic, &l, NULL, NULL, e));
    if (!l.newest)
        return fail(e, ST_BAD_CONFIG, "topic %s holds no model yet", topic);
    if (!version)
        w.version = l.newest;
    st = slot_reader_open(&r, br, b, topic, e);
    if (st == ST_OK)
        st = topic_read(&r, 0, want_record, &w, e);
    slot_reader_close(&r);
    if (st == ST_OK && (!w.manifest || w.room < m->body_bytes))
        st = fail(e, ST_BAD_CONFIG, "topic %s has no model %" PRIu64 "; the newest is %" PRIu64,
                  topic, w.version, l.newest);
    if (st == ST_OK)
        st = model_load(m, w.body, m->body_bytes, e);
    free(w.body);
    return st;
}

enum st snapshot_restore(struct worker *w, enum st (*meanwhile)(void *arg))
{
    struct listing l = {.newest = 0};

    TRY(read_models(w->br, w->b, w->job->topic_models, &l, meanwhile, w, w->err));
    w->version = l.newest;
    w->version_records = l.records;
    return ST_OK;
}

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

void model_describe(struct model *m, const struct job *j, const struct algo *a, const void *opts,
                    const struct decoded *d, const struct codec *codec, void *codec_self)
{
    snprintf(m->job, sizeof m->job, "%s", j->name);
    snprintf(m->topic, sizeof m->topic, "%s", j->topic);
    snprintf(m->algo, sizeof m->algo, "%s", a->name);
    snprintf(m->millrace, sizeof m->millrace, "%s", MILLRACE_VERSION);
    m->created_ms = clock_wall_ms();
    m->model_version = a->model_version;
    m->state_version = a->state_version;
    describe_options(a->opts, opts, m->option, &m->options);
    m->features = d->columns;
    m->classes = d->classes;
    memcpy(m->class_name, d->class_name, sizeof m->class_name);
    describe_columns(m, d, codec, codec_self);
}

/* What the states in the view have learned. */
static void describe_ranges(const struct worker *w, struct model *m)
{
    m->fingerprint = w->fingerprint;
    for (uint32_t i = 0; i < w->partitions; i++) {
        const struct manifest *s = &w->part[i].m;

        if (!partition_counts(&w->part[i]))
            continue;
        m->range[m->ranges++] = (struct model_range){
            i, s->pos.run, s->pos.epoch, s->begin, s->pos.offset, s->trained, s->rejected, s->lost};
        m->records += s->trained;
    }
}

enum st model_derive(const struct ctx *x, const struct algo *a, const struct tensors *view,
                     void *derive_opts, struct model *m)
{
    TRY(derive_model(x, a, view, derive_opts, &m->tensors, &m->measures));
    describe_options(a->derive_opts, derive_opts, m->derive, &m->derives);
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
    struct model *m = calloc(1, sizeof *m);
    _Alignas(64) uint8_t derive_opts[OPTS_BYTES_MAX] = {0};
    enum st st;

    CHECK(w->algo->derive_bytes <= sizeof derive_opts);
    if (!m)
        return fail(w->err, ST_FATAL, "no memory for a snapshot");
    if (w->algo->derive_opts)
        opts_defaults(w->algo->derive_opts, derive_opts);
    model_describe(m, w->job, w->algo, w->opts, w->decoded, w->codec, w->codec_self);
    describe_ranges(w, m);
    m->version = w->version + 1;
    st = model_derive(&w->x, w->algo, &w->view, derive_opts, m);
    if (st == ST_AGAIN) { /* no weight in any row yet, say: the slots go without a model */
        log_line(LOG_INFO, "no snapshot yet", "reason=\"%s\"", w->err->text);
        st = ST_OK;
    } else if (st == ST_OK) {
        st = send_model(w, m);
    }
    model_fini(m);
    free(m);
    return st;
}
