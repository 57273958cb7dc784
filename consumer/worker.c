/* worker.c: everything a worker holds is opened here, in the order in which a mistake is best
 * explained: the algorithm, the broker and its topic, the decoder, the sizes, the folder, and only
 * then anything that others can see. */
#include "consumer/worker.h"

#include "config/base/bytes.h"
#include "config/base/log.h"
#include "consumer/deadletter.h"
#include "consumer/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SAMPLE_WAIT_MS = 10000,
    SAMPLE_POLL_MS = 100,
    /* Measured: code and libraries; what these, their threads and the clients hold before the first
     * record. */
    CODE_BYTES = 20 << 20,
    PROGRAM_BYTES = CODE_BYTES + (14 << 20)
};

/* Of fetched records. Measured: a larger queue makes nothing faster, for its records leave the
 * cache before they are decoded. A broker answers for several partitions at once. */
static const uint64_t queue_bytes = 38u << 20, queue_bytes_partition = 512u << 10;

static enum st open_tables(struct worker *w)
{
    const struct job *j = w->job;
    const char *address;

    w->algo = algo_find(j->algo);
    CHECK(w->algo); /* the job file was checked */
    CHECK(w->algo->opts_bytes <= sizeof w->opts);
    memcpy(w->opts, j->opts, w->algo->opts_bytes);
    w->br = broker_find(j->broker, &address);
    if (!w->br)
        return fail(w->err, ST_BAD_CONFIG, "broker '%s': expected kafka or local:DIR", j->broker);
    w->b = calloc(1, w->br->broker_bytes);
    w->rec = calloc(POLL_RECORDS_MAX, sizeof *w->rec);
    w->chunk_record = malloc(CHUNK_HEAD + CHUNK_BYTES);
    w->decoded = calloc(1, sizeof *w->decoded);
    if (!w->b || !w->rec || !w->chunk_record || !w->decoded)
        return fail(w->err, ST_FATAL, "no memory to start");
    struct broker_conf c = {.address = address,
                            .props = &j->kafka,
                            .queue_bytes = queue_bytes,
                            .read_only = w->alone,
                            .job = j};
    return w->br->open(w->b, &c, w->err);
}

static enum st open_topic(struct worker *w)
{
    struct topic_info t;

    TRY(w->br->topic(w->b, w->job->topic, &t, w->err));
    if (!t.exists)
        return fail(
            w->err, ST_BAD_CONFIG,
            "topic '%s' does not exist on %s: load data into it first, or mend 'topic:' in %s",
            w->job->topic, w->job->broker, w->job->file);
    if (t.partitions > PARTITIONS_MAX)
        return fail(w->err, ST_BAD_CONFIG,
                    "topic %s has %" PRIu32 " partitions, at most %d are supported", w->job->topic,
                    t.partitions, PARTITIONS_MAX);
    if (!w->alone)
        w->partitions = t.partitions;
    if (t.partitions < w->partitions)
        return fail(w->err, ST_BAD_CONFIG,
                    "topic %s has %" PRIu32 " partitions, %" PRIu32 " are to be read",
                    w->job->topic, t.partitions, w->partitions);
    w->queue_bytes = queue_bytes + w->partitions * queue_bytes_partition;
    w->part = calloc(w->partitions, sizeof *w->part);
    w->offsets = calloc(w->partitions, sizeof *w->offsets);
    if (!w->part || !w->offsets)
        return fail(w->err, ST_FATAL, "no memory to start");
    for (uint32_t i = 0; i < w->partitions; i++)
        w->part[i].p = i;
    return ST_OK;
}

/* The first record of a topic that has a value: *found, and in r[0], borrowed until the next
 * poll. */
static enum st first_record(const struct broker *br, void *consumer, uint32_t partitions,
                            struct record *r, bool *found, struct err *e)
{
    struct start s = {.offset = -2};
    uint32_t n;

    *found = false;
    for (uint32_t p = 0; p < partitions; p++) {
        bool end = false;

        s.partition = (int32_t)p;
        TRY(br->consumer_assign(consumer, &s, 1, e));
        for (uint32_t waited = 0; !end && waited < SAMPLE_WAIT_MS; waited += SAMPLE_POLL_MS) {
            TRY(br->consumer_poll(consumer, r, 1, SAMPLE_POLL_MS, &n, e));
            end = n && r->kind == REC_EOF;
            *found = n && r->kind == REC_DATA && r->value.p;
            if (*found)
                return ST_OK;
        }
    }
    return ST_OK;
}

enum st codec_open_sampled(const struct input *in, const struct broker *br, void *b,
                           const char *topic, uint32_t partitions, void *codec_self,
                           bool need_label, struct decoded *out, struct err *e)
{
    const struct codec *codec = codec_find(in->format);
    struct consumer_conf c = {.topics = &topic, .topics_n = 1, .wait_ms = 50};
    enum st st = codec->open(codec_self, in, need_label, (struct bytes){0}, out, e);
    struct record r;
    bool found = false;
    void *consumer;

    bool needed = st == ST_AGAIN;

    if (!needed && (st != ST_OK || !codec->samples))
        return st;
    codec->close(codec_self);
    memset(codec_self, 0, codec->self_bytes);
    consumer = calloc(1, br->consumer_bytes);
    if (!consumer)
        return fail(e, ST_FATAL, "no memory to start");
    st = br->consumer_open(consumer, b, &c, e);
    if (st == ST_OK)
        st = first_record(br, consumer, partitions, &r, &found, e);
    if (st == ST_OK && (found || !needed))
        st = codec->open(codec_self, in, need_label, found ? r.value : (struct bytes){0}, out, e);
    br->consumer_close(consumer);
    free(consumer);
    if (st == ST_OK && needed && !found)
        return fail(e, ST_BAD_CONFIG,
                    "topic %s is empty, so the number of features cannot be taken from its first "
                    "record: load data first, or set input.width",
                    topic);
    return st;
}

/* All that shapes state bytes: a state of another fingerprint is another job's. */
static uint64_t fingerprint(const struct worker *w)
{
    char text[LIST_MAX * 24];
    uint64_t h = hash64(w->algo->name, strlen(w->algo->name), 0);
    bool in_step = !(w->algo->flags & ALGO_EXACT) && w->job->staleness == 0;
    uint32_t numbers[] = {w->shape.batch_rows, w->shape.folds, BLOCK_ROWS, in_step};

    for (const struct opt *o = w->algo->opts; o->name; o++) {
        opt_text(o, w->opts, text, sizeof text);
        h = hash64(o->name, strlen(o->name), h);
        h = hash64(text, strlen(text), h);
    }
    h = hash64(numbers, sizeof numbers, h);
    h = hash64(&w->job->input.holdout, sizeof w->job->input.holdout, h);
    h = hash64(&w->decoded->fingerprint, sizeof w->decoded->fingerprint, h);
    h = hash64(&w->job->seed, sizeof w->job->seed, h);
    h = hash64(&w->job->half_life, sizeof w->job->half_life, h);
    if (w->job->halving)
        h = hash64(&w->job->halving, sizeof w->job->halving, h);
    if (*w->job->start_from)
        h = hash64(w->job->start_from, strlen(w->job->start_from), h);
    return hash64(w->job->topic, strlen(w->job->topic), h);
}

static enum st open_codec(struct worker *w)
{
    w->codec = codec_find(w->job->input.format);
    w->codec_self = calloc(1, w->codec->self_bytes);
    if (!w->codec_self)
        return fail(w->err, ST_FATAL, "no memory to start");
    return codec_open_sampled(&w->job->input, w->br, w->b, w->job->topic, w->partitions,
                              w->codec_self, w->algo->flags & ALGO_LABEL, w->decoded, w->err);
}

static enum st open_shape(struct worker *w)
{
    struct shape *sh = &w->shape;

    shape_init(sh, w->decoded, w->job, w->partitions);
    TRY(w->algo->check(sh, w->opts, w->err));
    if (sh->halving && (!w->algo->stop || sh->models < 2))
        return fail(w->err, ST_BAD_CONFIG,
                    "halving stops the worse half of a job's packed models: %s",
                    w->algo->stop ? "give it several" : "this algorithm has none that can stop");
    shape_batch(sh, w->decoded);
    if (w->job->epochs > 1 && w->algo->flags & ALGO_ONE_EPOCH)
        return fail(
            w->err, ST_BAD_CONFIG,
            "algorithm %s counts a record that it sees again twice: epochs must be 1, not %" PRIu32,
            w->algo->name, w->job->epochs);
    if (w->job->epochs > 1 && !worker_bounded(w))
        w->until.kind = WHERE_LATEST; /* what is read again has to have an end */
    if (sh->classes)
        w->codec->label_limit(w->codec_self, sh->classes);
    w->fingerprint = fingerprint(w);
    return ST_OK;
}

enum st state_declare(struct tensors *ts, const struct algo *a, const struct shape *sh,
                      const void *opts, uint64_t bytes_max, struct err *e)
{
    struct tdecl extra[METRIC_DECLS + 1];
    uint32_t n = metrics_decls(extra, 0, a, sh);

    CHECK(n <= METRIC_DECLS);
    extra[n++] = (struct tdecl){.name = "@batch",
                                .what = "number of the next batch of this epoch",
                                .dtype = DT_U64,
                                .law = LAW_LOCAL,
                                .flags = T_HOST,
                                .dim = {1}};
    return tensors_declare(ts, a, PART_STATE, sh, opts, NULL, extra, n, CHUNK_SHIFT, bytes_max, e);
}

void shape_init(struct shape *sh, const struct decoded *d, const struct job *j, uint32_t partitions)
{
    *sh = (struct shape){.slots = partitions,
                         .folds = 1,
                         .ny = d->shape.ny,
                         .classes = d->classes,
                         .halving = j->halving};
    sh->d[0] = d->shape.d;
    sh->nnz[0] = d->shape.sparse ? d->shape.nnz_max : 0;
}

void shape_batch(struct shape *sh, const struct decoded *d)
{
    CHECK(sh->batch_rows && sh->batch_rows <= BATCH_ROWS_MAX && sh->models);
    if (d->shape.sparse && (uint64_t)sh->batch_rows * d->shape.d < d->shape.nnz_max)
        sh->nnz[0] = sh->batch_rows * d->shape.d;
}

static struct checkpoint_conf store_conf(const struct worker *w, const char *dir)
{
    return (struct checkpoint_conf){.store = store_find("rocksdb"),
                                    .dir = dir,
                                    .partitions_max = w->partitions,
                                    .chunks_max = tensors_chunks(&w->declared) * w->partitions,
                                    .dead_bytes_max = (size_t)w->partitions * LETTERS_BYTES * 2};
}

/* What is larger is mapped, and takes memory as it is touched. */
static uint64_t in_heap(uint64_t bytes)
{
    return bytes < HEAP_LARGEST ? bytes : 0;
}

/* What a batch takes besides, in host memory, where the back end has memory of its own; says what
 * it takes there. */
static uint64_t ahead(const struct worker *w)
{
    const struct handover_shape s = device_batches(&w->decoded->shape, &w->shape);
    const double mb = 1e6;

    if (w->compute->host_memory)
        return 0;
    log_line(LOG_INFO, "memory of the device",
             "backend=%s state_MB=%.1f work_MB=%.1f batches_MB=%.1f total_MB=%.1f",
             w->compute->name, (double)tensors_device_bytes(&w->declared) / mb,
             (double)tensors_device_bytes(&w->work) / mb,
             (double)handover_device_bytes(&s, &w->shape) / mb,
             (double)(w->partitions * tensors_device_bytes(&w->declared) +
                      tensors_device_bytes(&w->work) + handover_device_bytes(&s, &w->shape)) /
                 mb);
    return w->work.bytes + handover_host_bytes(&s, &w->shape);
}

/* Start-up says what each part takes; the sum is the promise. Dead letters take memory only where
 * there are any, so they stand apart. */
static enum st memory_plan(struct worker *w)
{
    struct checkpoint_conf quiet = store_conf(w, "");
    uint64_t block = block_bytes(&w->decoded->shape), state = w->declared.bytes;
    uint64_t batch = batch_bytes(&w->decoded->shape, &w->batch.conf) + w->work.bytes + ahead(w);
    uint64_t letters = (uint64_t)w->partitions * LETTERS_BYTES, store, saved, all;
    uint64_t broker = w->br->memory_bytes(w->b, w->queue_bytes);
    const double mb = 1e6;

    quiet.dead_bytes_max = 0;
    saved = w->partitions * state; /* of a checkpoint, in one piece */
    store = checkpoint_memory(&quiet, saved);
    w->memory_planned = all =
        w->partitions * (state + block) + broker + w->view.bytes + batch + store + PROGRAM_BYTES;
    w->heap_bytes = w->partitions * (in_heap(state) + in_heap(block)) + broker +
                    in_heap(w->view.bytes) + in_heap(batch) + (store - saved) + in_heap(saved) +
                    PROGRAM_BYTES - CODE_BYTES;
    log_line(LOG_INFO, "memory",
             "partitions=%" PRIu32 " state_MB=%.1f block_MB=%.1f batch_and_work_MB=%.1f "
             "view_MB=%.1f broker_MB=%.0f store_MB=%.0f program_MB=%.0f total_MB=%.0f "
             "dead_letters_at_most_MB=%.0f",
             w->partitions, (double)state / mb, (double)block / mb, (double)batch / mb,
             (double)w->view.bytes / mb, (double)broker / mb, (double)store / mb,
             PROGRAM_BYTES / mb, (double)all / mb, (double)letters / mb);
    if (all > w->memory_max)
        return fail(
            w->err, ST_BAD_CONFIG,
            "this job needs %.0f MB (%" PRIu32
            " partitions of %.1f MB state and %.1f MB block, %.0f MB broker), memory_max is "
            "%.0f MB: fewer models, a smaller width, or more memory",
            (double)all / mb, w->partitions, (double)state / mb, (double)block / mb,
            (double)broker / mb, (double)w->memory_max / mb);
    return ST_OK;
}

/* Chosen once: a topic that grows does not move the job. */
static enum st open_compute(struct worker *w)
{
    const struct device_job d = {.algo = w->algo,
                                 .opts = w->opts,
                                 .shape = &w->shape,
                                 .block = &w->decoded->shape,
                                 .seed = w->job->seed,
                                 .memory_max = w->memory_max};

    if (w->compute_self)
        return ST_OK;
    TRY(device_open(w->job, &d, device_other(w->job, w->offered), &w->compute, &w->compute_self,
                    w->err));
    w->host_compute = w->compute;
    if (w->compute->host_memory)
        return ST_OK;
    w->host_compute = device_cpu(w->job);
    return compute_start(w->host_compute, &w->host_self, w->err);
}

/* Scratch, and what update() leaves behind. */
static enum st open_work(struct worker *w)
{
    const struct shape *sh = &w->shape;
    const struct handover_shape s = device_batches(&w->decoded->shape, sh);

    w->host_work = w->work;
    TRY(tensors_alloc(&w->work, w->compute, w->compute_self, w->err));
    w->x = (struct ctx){.shape = sh,
                        .opts = w->opts,
                        .c = w->compute,
                        .cs = w->compute_self,
                        .work = &w->work,
                        .seed = w->job->seed,
                        .err = w->err};
    w->host = w->x;
    if (!w->compute->host_memory) {
        w->host.c = w->host_compute;
        w->host.cs = w->host_self;
        w->host.work = &w->host_work;
        TRY(tensors_alloc(&w->host_work, w->host.c, w->host.cs, w->err));
        return handover_init(&w->handover, w->compute, w->compute_self, &s, sh, w->err);
    }
    w->eval.z = w->compute->alloc(w->compute_self,
                                  (size_t)sh->batch_rows * (sh->zcols + 1) * sizeof(float));
    w->eval.loss =
        w->compute->alloc(w->compute_self, (size_t)sh->batch_rows * sh->models * sizeof(float));
    if (!w->eval.z || !w->eval.loss)
        return fail(w->err, ST_FATAL, "no memory for a batch's predictions");
    return ST_OK;
}

static enum st open_memory(struct worker *w)
{
    const struct shape *sh = &w->shape;
    struct batch_conf bc = {sh->batch_rows, sh->folds, w->job->input.holdout, w->job->seed,
                            w->job->half_life};

    TRY(tensors_declare(&w->work, w->algo, PART_WORK, sh, w->opts, NULL, NULL, 0, CHUNK_SHIFT,
                        w->memory_max, w->err));
    TRY(state_declare(&w->declared, w->algo, sh, w->opts, w->memory_max, w->err));
    TRY(view_declare(&w->view, w->algo, &w->declared, sh, w->opts, w->memory_max, w->err));
    TRY(batch_init(&w->batch, &w->decoded->shape, &bc, w->err));
    w->iterative = !(w->algo->flags & ALGO_EXACT) && w->partitions > 1;
    if (w->job->staleness == 0 && w->iterative && !worker_bounded(w))
        return fail(w->err, ST_BAD_CONFIG,
                    "staleness 0 needs a bounded job, for a partition without new records would "
                    "hold up all others: give --until-end, or staleness: 1 or more, or async");
    TRY(memory_plan(w));
    TRY(open_work(w));
    TRY(tensors_alloc(&w->view, w->host.c, w->host.cs, w->err));
    return fold_init(&w->fold, w->algo, &w->host, &w->declared, &w->view);
}

static enum st open_store(struct worker *w)
{
    struct checkpoint_conf c = store_conf(w, w->state_dir);

    TRY(checkpoint_open(&w->cp, &c, "", w->err));
    snprintf(w->name, sizeof w->name, "%s-%s", w->job->name, checkpoint_worker(w->cp));
    return checkpoint_identity(w->cp, w->br->cluster(w->b), w->job->name, w->err);
}

enum st worker_join(struct worker *w)
{
    struct consumer_conf c = {.topics = (const char *const[]){w->job->topic},
                              .topics_n = 1,
                              .group = w->alone ? NULL : w->job->name,
                              .instance = w->alone ? NULL : w->name,
                              .queue_bytes = w->queue_bytes};

    if (w->c)
        w->br->consumer_close(w->c);
    free(w->c);
    w->c = calloc(1, w->br->consumer_bytes);
    if (!w->c)
        return fail(w->err, ST_FATAL, "no memory to start");
    return w->br->consumer_open(w->c, w->b, &c, w->err);
}

static enum st open_producer(struct worker *w)
{
    const char *const topics[TOPICS] = {w->job->topic_params, w->job->topic_models,
                                        w->job->topic_dead};

    w->producer = calloc(1, w->br->producer_bytes);
    if (!w->producer)
        return fail(w->err, ST_FATAL, "no memory to start");
    return w->br->producer_open(w->producer, w->b, w->name, topics,
                                w->job->bad_dead_letter ? TOPICS : TOPIC_DEAD, w->err);
}

/* What is made for the number of partitions. */
static enum st open_sized(struct worker *w)
{
    TRY(open_shape(w));
    TRY(open_compute(w));
    return open_memory(w);
}

/* And what others see of it. */
static enum st open_kept(struct worker *w)
{
    TRY(open_store(w));
    return topics_ready(w);
}

static void close_sized(struct worker *w)
{
    follower_close(w);
    for (uint32_t i = 0; w->part && i < w->partitions; i++)
        partition_free(w, &w->part[i]);
    checkpoint_close(w->cp);
    w->cp = NULL;
    fold_fini(&w->fold);
    batch_fini(&w->batch);
    if (w->compute_self) {
        tensors_free(&w->view, w->host_compute, w->host_self);
        if (!w->compute->host_memory)
            tensors_free(&w->host_work, w->host_compute, w->host_self);
        tensors_free(&w->work, w->compute, w->compute_self);
        handover_fini(&w->handover);
    }
    if (w->compute_self && w->compute->host_memory) {
        w->compute->free(w->compute_self, w->eval.z);
        w->compute->free(w->compute_self, w->eval.loss);
    }
    w->eval.z = w->eval.loss = NULL;
    free(w->offsets);
    free(w->part);
    w->offsets = NULL;
    w->part = NULL;
}

enum st worker_resize(struct worker *w)
{
    uint32_t before = w->partitions;

    CHECK(!w->owned && !w->publishing && !w->alone);
    close_sized(w);
    TRY(open_topic(w));
    log_line(LOG_WARN, "the topic has another number of partitions: taking them in",
             "topic=%s before=%" PRIu32 " partitions=%" PRIu32, w->job->topic, before,
             w->partitions);
    TRY(open_sized(w));
    return open_kept(w);
}

/* What learning takes; nothing of it is seen by others. */
static enum st open_learning(struct worker *w, const struct job *job, struct err *e)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    w->job = job;
    w->known.offset = -1;
    w->err = e;
    w->memory_max =
        job->memory_max ? job->memory_max : machine / 4 * 3 / (w->workers ? w->workers : 1);
    TRY(open_tables(w));
    TRY(open_topic(w));
    TRY(open_codec(w));
    return open_sized(w);
}

enum st worker_open_alone(struct worker *w, const struct job *job, uint32_t partitions,
                          struct err *e)
{
    w->alone = w->quiet = true;
    w->until.kind = WHERE_LATEST; /* its partitions are given their ends */
    w->partitions = partitions;
    TRY(open_learning(w, job, e));
    return worker_join(w);
}

enum st worker_open(struct worker *w, const struct job *job, const char *state_dir, struct err *e)
{
    w->state_dir = state_dir;
    TRY(open_learning(w, job, e));
    TRY(open_kept(w));
    TRY(open_producer(w));
    TRY(guard_open(w));
    TRY(worker_join(w));
    trigger_start(&w->checkpoint, job->checkpoint, w);
    trigger_start(&w->publish, job->publish, w);
    trigger_start(&w->snapshot, job->snapshot, w);
    progress_start(&w->progress);
    return ST_OK;
}

void worker_close(struct worker *w)
{
    guard_close(w);
    start_end(w); /* where a partition could not begin */
    if (w->c)
        w->br->consumer_close(w->c);
    if (w->producer)
        w->br->producer_close(w->producer);
    close_sized(w);
    compute_stop(w->compute, w->compute_self);
    compute_stop(w->host_compute, w->host_self);
    if (w->codec_self)
        w->codec->close(w->codec_self);
    if (w->b)
        w->br->close(w->b);
    free(w->chunk_record);
    free(w->rec);
    free(w->decoded);
    free(w->codec_self);
    free(w->c);
    free(w->producer);
    free(w->b);
}
