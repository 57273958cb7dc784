#include "consumer/device.h"

#include "config/base/bytes.h"
#include "config/base/clock.h"
#include "config/base/log.h"
#include "consumer/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool named(const struct job *j)
{
    return strcmp(j->backend, "auto") != 0;
}

const struct compute *device_cpu(const struct job *j)
{
    const struct compute *c = named(j) ? compute_find(j->backend) : NULL;

    return c && c->host_memory ? c : &compute_openblas;
}

bool device_told(const struct job *j)
{
    return !strcmp(j->device, "cuda") || !strncmp(j->backend, "cuda", 4);
}

const struct compute *device_other(const struct job *j, const struct compute *offered)
{
    if (!device_told(j) && (named(j) || strcmp(j->device, "auto") != 0))
        return NULL;
    return offered ? offered : compute_find(named(j) ? j->backend : "cuda");
}

uint32_t device_mark(const struct compute *c)
{
    return c->host_memory ? 0 : 1 + (uint32_t)(hash64(c->name, strlen(c->name), 0) % SLOT_BACKENDS);
}

/* ---- opened ---- */

enum st compute_start(const struct compute *c, void **self, struct err *e)
{
    enum st st;

    *self = calloc(1, c->self_bytes + 1);
    if (!*self)
        return fail(e, ST_FATAL, "no memory to start");
    st = c->open(*self, e);
    if (st == ST_OK)
        return ST_OK;
    compute_stop(c, *self);
    *self = NULL;
    return st;
}

void compute_stop(const struct compute *c, void *self)
{
    if (!self)
        return;
    c->close(self);
    free(self);
}

/* ---- decided ---- */

enum st device_missing(struct err *e)
{
    return fail(
        e, ST_BAD_CONFIG,
        "this program has no back end for device cuda: build it with CUDA, or use device cpu");
}

enum st device_decide(const struct device_question *q, struct device_answer *a, struct err *e)
{
    const bool both = q->cpu_rate > 0 && q->other_rate > 0;

    *a = (struct device_answer){.say = q->told};
    if (!q->other && q->told)
        return device_missing(e);
    if (!q->other) {
        snprintf(a->why, sizeof a->why, "the job says so");
        return ST_OK;
    }
    if (q->plain) {
        snprintf(a->why, sizeof a->why, "%s is plain C: it needs host memory", q->algo);
        return ST_OK;
    }
    if (q->closed && q->told)
        return fail(e, ST_BAD_CONFIG, "%s", q->closed);
    if (q->closed) {
        snprintf(a->why, sizeof a->why, "%s", q->closed);
        return ST_OK;
    }
    a->say = true;
    a->other = q->told || (both && q->other_rate > q->cpu_rate);
    if (q->told)
        snprintf(a->why, sizeof a->why, "the job says so");
    else if (!both)
        snprintf(a->why, sizeof a->why, "their rates could not be measured");
    else
        snprintf(a->why, sizeof a->why, "%s learns %.2f times the rows of %s at this job's shape",
                 a->other ? q->other : q->cpu,
                 a->other ? q->other_rate / q->cpu_rate : q->cpu_rate / q->other_rate,
                 a->other ? q->cpu : q->other);
    return ST_OK;
}

/* ---- measured ---- */

enum { BATCHES = 4, ROUNDS = 5, WARM_US = 200000, ROUND_US = 20000 };

struct trial { /* a partition that learns rows that nobody has sent */
    const struct device_job *d;
    struct block block;
    struct batch batch;
    struct tensors state, work;
    struct handover handover; /* or, where memory is the host's, */
    struct eval eval;
    struct ctx x;
};

struct handover_shape device_batches(const struct block_shape *b, const struct shape *sh)
{
    return (struct handover_shape){.rows = sh->batch_rows,
                                   .ld = b->ld,
                                   .nnz = sh->nnz[0],
                                   .uniq = b->d < sh->nnz[0] ? b->d : sh->nnz[0],
                                   .ny = b->ny,
                                   .keyed = b->keyed,
                                   .timed = b->timed};
}

static float number(uint64_t i)
{
    return (float)(mix64(i) >> 40) * 0x1p-23f - 1.0f;
}

/* Ascending columns, spread over all. */
static void fill_entries(struct block *b, uint32_t row, uint32_t most)
{
    const uint32_t n = b->s.d < most ? b->s.d : most, step = b->s.d / n;

    for (uint32_t k = 0; k < n; k++) {
        const uint64_t at = (uint64_t)row * n + k;

        b->col[b->ptr[row] + k] = k * step + (uint32_t)(mix64(at) % step);
        b->val[b->ptr[row] + k] = number(at);
    }
    b->ptr[row + 1] = b->ptr[row] + n;
}

static void fill_block(struct block *b, uint32_t rows, const struct shape *sh)
{
    const uint32_t room = b->s.sparse ? b->s.nnz_max / rows : 0;

    b->n = rows;
    for (uint32_t i = 0; i < rows; i++) {
        if (b->s.sparse)
            fill_entries(b, i, room < RATE_ENTRIES ? room : RATE_ENTRIES);
        for (uint32_t j = 0; !b->s.sparse && j < b->s.d; j++)
            b->x[(size_t)i * b->s.ld + j] = number((uint64_t)i * b->s.d + j);
        if (b->y) /* a class, a count, a number */
            b->y[i] = (float)(mix64(i) % (sh->classes ? sh->classes : 2));
        b->weight[i] = 1;
        block_stamp(b, i, (uint64_t)i << 16, mix64(i), i);
    }
}

static enum st trial_open(struct trial *t, const struct device_job *d, const struct compute *c,
                          void *self, struct err *e)
{
    const struct shape *sh = d->shape;
    const struct batch_conf conf = {sh->batch_rows, sh->folds, 0, d->seed, 0};
    const struct handover_shape s = device_batches(d->block, sh);
    const size_t most = BLOCK_ROWS / sh->batch_rows;

    t->d = d;
    t->x = (struct ctx){.shape = sh,
                        .opts = d->opts,
                        .c = c,
                        .cs = self,
                        .work = &t->work,
                        .seed = d->seed,
                        .err = e};
    TRY(state_declare(&t->state, d->algo, sh, d->opts, d->memory_max, e));
    TRY(tensors_declare(&t->work, d->algo, PART_WORK, sh, d->opts, NULL, NULL, 0, CHUNK_SHIFT,
                        d->memory_max, e));
    TRY(block_init(&t->block, d->block, e));
    TRY(batch_init(&t->batch, d->block, &conf, e));
    fill_block(&t->block, sh->batch_rows * (uint32_t)(most < BATCHES ? most ? most : 1 : BATCHES),
               sh);
    TRY(tensors_alloc(&t->state, c, self, e));
    TRY(tensors_alloc(&t->work, c, self, e));
    TRY(d->algo->init(&t->x, &t->state));
    if (!c->host_memory)
        return handover_init(&t->handover, c, self, &s, sh, e);
    t->eval.z = c->alloc(self, (size_t)sh->batch_rows * (sh->zcols + 1) * sizeof(float));
    t->eval.loss = c->alloc(self, (size_t)sh->batch_rows * sh->models * sizeof(float));
    return t->eval.z && t->eval.loss ? ST_OK : fail(e, ST_FATAL, "no memory to measure");
}

static void trial_close(struct trial *t)
{
    const struct compute *c = t->x.c;

    if (c->host_memory) {
        c->free(t->x.cs, t->eval.z);
        c->free(t->x.cs, t->eval.loss);
    }
    handover_fini(&t->handover);
    tensors_free(&t->work, c, t->x.cs);
    tensors_free(&t->state, c, t->x.cs);
    batch_fini(&t->batch);
    block_fini(&t->block);
}

/* The block once. */
static enum st learn_block(struct trial *t)
{
    const struct lane *done;
    struct rows r;

    batch_begin(&t->batch, &t->block, 0, 0, t->batch.number);
    while (batch_next(&t->batch, &r)) {
        struct lane *at;

        if (t->x.c->host_memory) {
            TRY(t->d->algo->update(&t->x, &t->state, &r, &t->eval));
            continue;
        }
        at = handover_put(&t->handover, &r);
        TRY(t->d->algo->update(&t->x, &t->state, &at->rows, &at->eval));
        handover_learned(&t->handover);
    }
    if (t->x.c->host_memory)
        return ST_OK;
    if (handover_drain(&t->handover, &done) == ST_OK)
        return ST_OK;
    return fail(t->x.err, ST_FATAL, "%s: the device failed while it was measured", t->x.c->name);
}

/* Blocks until so much time has passed: rows a second. */
static enum st learn_for(struct trial *t, int64_t us, int64_t (*now_us)(void), double *rate)
{
    const int64_t begin = now_us();
    uint64_t rows = 0;
    int64_t passed;

    do {
        TRY(learn_block(t));
        rows += t->block.n;
        passed = now_us() - begin;
    } while (passed < us);
    *rate = (double)rows * 1e6 / (double)(passed > 0 ? passed : 1);
    return ST_OK;
}

static enum st rounds(struct trial *t, int64_t (*now_us)(void), double *rate)
{
    double one;

    TRY(learn_for(t, WARM_US, now_us, &one));
    *rate = 0;
    for (int i = 0; i < ROUNDS; i++) {
        TRY(learn_for(t, ROUND_US, now_us, &one));
        *rate = one > *rate ? one : *rate;
    }
    return ST_OK;
}

enum st device_rate(const struct device_job *d, const struct compute *c, void *self,
                    int64_t (*now_us)(void), double *rate, struct err *e)
{
    struct trial *t = calloc(1, sizeof *t);
    enum st st;

    *rate = 0;
    if (!t)
        return fail(e, ST_FATAL, "no memory to measure");
    st = trial_open(t, d, c, self, e);
    if (st == ST_OK)
        st = rounds(t, now_us, rate);
    trial_close(t);
    free(t);
    return st;
}

/* ---- chosen ---- */

/* A rate that cannot be measured is not known; the job says why soon enough, if that is its fault.
 */
static void measure(const struct device_job *d, const struct compute *c, void *self, double *rate)
{
    struct err e = {""};

    if (device_rate(d, c, self, clock_mono_us, rate, &e) != ST_OK) {
        log_line(LOG_INFO, "not measured", "backend=%s reason=\"%s\"", c->name, e.text);
        *rate = 0;
    }
}

enum st device_open(const struct job *j, const struct device_job *d, const struct compute *other,
                    const struct compute **c, void **self, struct err *e)
{
    const struct compute *cpu = device_cpu(j);
    struct device_question q = {.algo = d->algo->name,
                                .cpu = cpu->name,
                                .other = other ? other->name : NULL,
                                .told = device_told(j),
                                .plain = d->algo->flags & ALGO_HOST};
    struct device_answer a;
    struct err closed = {""};
    void *cpu_self, *other_self = NULL;
    enum st st;

    TRY(compute_start(cpu, &cpu_self, e));
    if (other && !q.plain && compute_start(other, &other_self, &closed) != ST_OK)
        q.closed = closed.text;
    if (other_self && !q.told) {
        measure(d, cpu, cpu_self, &q.cpu_rate);
        measure(d, other, other_self, &q.other_rate);
    }
    st = device_decide(&q, &a, e);
    if (st == ST_OK && a.say && q.cpu_rate > 0)
        log_line(LOG_INFO, "device", "backend=%s reason=\"%s\" %s_rows_s=%.0f %s_rows_s=%.0f",
                 a.other ? q.other : q.cpu, a.why, q.cpu, q.cpu_rate, q.other, q.other_rate);
    else if (st == ST_OK && a.say)
        log_line(LOG_INFO, "device", "backend=%s reason=\"%s\"", a.other ? q.other : q.cpu, a.why);
    *c = a.other ? other : cpu;
    *self = a.other ? other_self : cpu_self;
    compute_stop(a.other ? cpu : other, a.other ? cpu_self : other_self);
    if (st == ST_OK)
        return ST_OK;
    compute_stop(*c, *self);
    *self = NULL;
    return st;
}
