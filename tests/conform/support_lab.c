#include "tests/conform/support_lab.h"

#include "algos/derive.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { LAB_DERIVE = 4096 }; /* room for any algorithm's derive options and the runtime's */

uint64_t lab_allocations;
bool lab_counts;

/* ---- opened ---- */

static enum st set_options(struct lab *l, struct err *why)
{
    const struct opt *o = l->a->opts;

    opts_defaults(o, l->opts);
    for (const char *const *p = l->s->options; p && *p; p++) {
        const char *value = strchr(*p, '=');
        char name[64] = {0};

        CHECK(value && (size_t)(value - *p) < sizeof name);
        memcpy(name, *p, (size_t)(value - *p));
        CHECK(opt_find(o, name));
        TRY(opt_set(opt_find(o, name), l->opts, value + 1, false, why));
    }
    return ST_OK;
}

static enum st open_compute(struct lab *l, struct err *why)
{
    const struct compute *c = l->s->c;

    l->self = calloc(1, c->self_bytes ? c->self_bytes : 1);
    CHECK(l->self);
    TRY(c->open(l->self, why));
    l->x = (struct ctx){.shape = &l->sh,
                        .opts = l->opts,
                        .c = c,
                        .cs = l->self,
                        .work = &l->plain,
                        .seed = 42,
                        .err = &l->e};
    l->host = l->x;
    if (!lab_is_far(l))
        return ST_OK;
    l->host.c = &compute_openblas;
    l->host.cs = NULL;
    l->host.work = &l->host_work;
    return l->host.c->open(NULL, why);
}

/* What a job on such a back end has besides. */
static enum st open_far(struct lab *l, struct err *why)
{
    const struct handover_shape s = {.rows = LAB_ROWS,
                                     .ld = (l->s->d + 15u) & ~15u,
                                     .nnz = l->sh.nnz[0],
                                     .uniq = l->sh.nnz[0],
                                     .ny = l->sh.ny,
                                     .keyed = true,
                                     .timed = true};

    if (!lab_is_far(l))
        return ST_OK;
    l->host_work = l->plain;
    TRY(tensors_alloc(&l->host_work, NULL, NULL, why));
    return handover_init(&l->handover, l->x.c, l->self, &s, &l->sh, why);
}

static void open_watched(struct lab *l)
{
    l->watched_work = l->plain;
    l->watched_work.base = NULL;
    for (uint32_t i = 0; i < l->plain.n; i++) {
        struct tensor *t = &l->watched_work.t[i];

        region_open(&l->work_guard[i], t->bytes + 64);
        t->p = region_end(&l->work_guard[i], t->bytes, 64);
        region_mark(&l->work_guard[i], t->p, t->bytes);
    }
    region_open(&l->eval_z, (size_t)LAB_ROWS * (l->sh.zcols + 1) * sizeof(float));
    region_open(&l->eval_loss, (size_t)LAB_ROWS * l->sh.models * sizeof(float));
}

enum st lab_open(struct lab *l, const struct subject *s, struct err *why)
{
    struct rows_plan plan = {.rows = LAB_ROWS,
                             .d = s->d,
                             .ny = s->a->flags & ALGO_LABEL ? 1 : 0,
                             .classes = s->classes,
                             .sparse = s->sparse,
                             .counts = s->counts,
                             .decay = s->decay,
                             .missing = s->a->flags & ALGO_MISSING,
                             .seed = 1};

    memset(l, 0, sizeof *l);
    l->s = s;
    l->a = s->a;
    l->opts = calloc(1, s->a->opts_bytes + 1);
    l->derive_opts = calloc(1, LAB_DERIVE);
    CHECK(l->opts && l->derive_opts);
    TRY(algo_check(s->a, why));
    TRY(set_options(l, why));
    TRY(open_compute(l, why));
    l->sh = (struct shape){.batch_rows = LAB_ROWS,
                           .slots = LAB_SLOTS,
                           .folds = 1,
                           .ny = plan.ny,
                           .classes = s->classes};
    l->sh.d[0] = s->d;
    l->sh.nnz[0] = s->sparse ? LAB_ROWS * ROWS_NNZ_MAX : 0;
    TRY(l->a->check(&l->sh, l->opts, why));
    derive_defaults(l->a, &l->sh, l->derive_opts, LAB_DERIVE);
    if (l->sh.batch_rows < LAB_ROWS || !l->sh.models)
        return fail(why, ST_FATAL, "check() left batch_rows %u, models %u", l->sh.batch_rows,
                    l->sh.models);
    TRY(tensors_declare(&l->plain, l->a, PART_WORK, &l->sh, l->opts, NULL, NULL, 0, LAB_SHIFT,
                        1 << 30, why));
    TRY(open_far(l, why));
    TRY(tensors_alloc(&l->plain, s->c, l->self, why));
    l->extras = metrics_decls(l->extra, 0, l->a, &l->sh);
    plan.folds = l->sh.folds;
    rows_open(&l->rows, &plan);
    open_watched(l);
    return ST_OK;
}

void lab_close(struct lab *l)
{
    if (l->self && l->x.c) {
        handover_fini(&l->handover);
        tensors_free(&l->host_work, NULL, NULL);
        tensors_free(&l->plain, l->x.c, l->self);
        l->x.c->close(l->self);
    }
    for (uint32_t i = 0; i < TENSORS_MAX; i++)
        region_close(&l->work_guard[i]);
    region_close(&l->eval_z);
    region_close(&l->eval_loss);
    rows_close(&l->rows);
    free(l->self);
    free(l->opts);
    free(l->derive_opts);
}

/* ---- states ---- */

static enum st declare_state(struct lab *l, struct tensors *state)
{
    return tensors_declare(state, l->a, PART_STATE, &l->sh, l->opts, NULL, l->extra, l->extras,
                           LAB_SHIFT, 1 << 30, &l->e);
}

static void fill(struct tensors *ts, uint8_t byte)
{
    const struct tensors host = tensors_host(ts);

    for (uint32_t i = 0; i < host.n; i++)
        memset(host.t[i].p, byte, host.t[i].bytes);
    tensors_send(ts);
}

void lab_scratch(struct lab *l, uint8_t byte)
{
    fill(l->x.work, byte);
    if (lab_is_far(l))
        fill(&l->host_work, byte);
}

enum st lab_state(struct lab *l, struct tensors *state)
{
    TRY(declare_state(l, state));
    TRY(tensors_alloc(state, l->x.c, l->self, &l->e));
    lab_scratch(l, 0xaa);
    return l->a->init(&l->x, state);
}

void lab_drop(struct lab *l, struct tensors *state)
{
    tensors_free(state, l->x.c, l->self);
}

enum st lab_guarded_state(struct lab *l, struct tensors *state, struct region *g)
{
    if (lab_is_far(l))
        return lab_state(l, state);
    TRY(declare_state(l, state));
    state->dirty = calloc(tensors_chunks(state) / 64 + 1, sizeof *state->dirty);
    CHECK(state->dirty);
    for (uint32_t i = 0; i < state->n; i++) {
        region_open(&g[i], state->t[i].bytes);
        state->t[i].p = region_end(&g[i], state->t[i].bytes, 64);
        region_mark(&g[i], state->t[i].p, state->t[i].bytes);
    }
    lab_scratch(l, 0x55);
    return l->a->init(&l->x, state);
}

static enum st marked(const struct region *g, const void *p, size_t bytes, const char *name,
                      struct err *why)
{
    return region_marked(g, p, bytes)
               ? ST_OK
               : fail(why, ST_FATAL, "update() wrote behind the end of %s", name);
}

enum st lab_guarded_check(const struct tensors *state, const struct region *g, struct err *why)
{
    for (uint32_t i = 0; !state->c && i < state->n; i++)
        TRY(marked(&g[i], state->t[i].p, state->t[i].bytes, state->t[i].d.name, why));
    return ST_OK;
}

void lab_guarded_drop(struct tensors *state, struct region *g)
{
    for (uint32_t i = 0; i < TENSORS_MAX; i++)
        region_close(&g[i]);
    if (state->c)
        tensors_free(state, state->c, state->cs);
    free(state->dirty);
    memset(state, 0, sizeof *state);
}

/* ---- updates ---- */

static sigjmp_buf escape;

static void on_fault(int sig)
{
    siglongjmp(escape, sig);
}

static enum st watched(struct lab *l, struct tensors *state, struct eval *e, struct err *why)
{
    struct sigaction act = {.sa_handler = on_fault}, segv, bus;
    enum st st;

    sigemptyset(&act.sa_mask);
    for (int i = 0; i < ROWS_ARRAYS; i++)
        region_protect(&l->rows.g[i], true);
    sigaction(SIGSEGV, &act, &segv);
    sigaction(SIGBUS, &act, &bus);
    if (sigsetjmp(escape, 1))
        st = fail(why, ST_FATAL,
                  "update() wrote into its rows, or went past the end of rows, scratch, eval or a "
                  "tensor");
    else
        st = l->a->update(&l->x, state, &l->rows.r, e);
    sigaction(SIGSEGV, &segv, NULL);
    sigaction(SIGBUS, &bus, NULL);
    for (int i = 0; i < ROWS_ARRAYS; i++)
        region_protect(&l->rows.g[i], false);
    return st;
}

/* Work and eval as update() finds them. */
static void prepare(struct lab *l, size_t z, size_t loss, struct how h)
{
    l->x.work = h.watch && !lab_is_far(l) ? &l->watched_work : &l->plain;
    lab_scratch(l, h.scratch);
    l->eval.z = region_end(&l->eval_z, z, 64);
    l->eval.loss = region_end(&l->eval_loss, loss, 64);
    memset(l->eval.z, h.scratch, z);
    memset(l->eval.loss, h.scratch, loss);
    region_mark(&l->eval_z, l->eval.z, z);
    region_mark(&l->eval_loss, l->eval.loss, loss);
    l->e.text[0] = 0;
}

static enum st check_marks(struct lab *l, size_t z, size_t loss, struct err *why)
{
    TRY(marked(&l->eval_z, l->eval.z, z, "eval.z", why));
    TRY(marked(&l->eval_loss, l->eval.loss, loss, "eval.loss", why));
    return lab_guarded_check(&l->watched_work, l->work_guard, why);
}

/* The same by way of the device. */
static enum st far_update(struct lab *l, struct tensors *state, struct how h)
{
    struct lane *at = handover_put(&l->handover, &l->rows.r);
    const size_t z = (size_t)at->rows.n * l->sh.zcols * sizeof(float);
    const size_t loss = (size_t)at->rows.n * l->sh.models * sizeof(float);
    const struct lane *done;

    l->x.c->put(l->self, at->eval.z, l->eval.z, z);
    l->x.c->put(l->self, at->eval.loss, l->eval.loss, loss);
    TRY(l->a->update(&l->x, state, &at->rows, h.eval ? &at->eval : NULL));
    CHECK(!handover_learned(&l->handover));
    TRY(handover_drain(&l->handover, &done));
    memcpy(l->eval.z, done->came.z, l->sh.out == OUT_LOSS_ONLY ? 0 : z);
    memcpy(l->eval.loss, done->came.loss, loss);
    return ST_OK;
}

enum st lab_score(struct lab *l, const struct tensors *model, float *out)
{
    struct tensors there;
    enum st st;

    if (!lab_is_far(l))
        return l->a->score(&l->x, model, &l->rows.r, out);
    TRY(model_declare(&there, l->a, &l->sh, l->opts, l->derive_opts, model->chunk_shift, &l->e));
    TRY(tensors_alloc(&there, l->x.c, l->self, &l->e));
    tensors_copy(&there, model);
    st = l->a->score(&l->x, &there, &handover_put(&l->handover, &l->rows.r)->rows, out);
    tensors_free(&there, l->x.c, l->self);
    return st;
}

enum st lab_update(struct lab *l, struct tensors *state, struct how h, struct err *why)
{
    const struct rows *r = &l->rows.r;
    size_t z = (size_t)r->n * l->sh.zcols * sizeof(float);
    size_t loss = (size_t)r->n * l->sh.models * sizeof(float);
    struct eval *e = h.eval ? &l->eval : NULL;
    uint64_t before;
    enum st st;

    prepare(l, z, loss, h);
    before = lab_allocations;
    st = lab_is_far(l) ? far_update(l, state, h)
         : h.watch     ? watched(l, state, e, why)
                       : l->a->update(&l->x, state, r, e);
    l->x.work = &l->plain;
    if (l->e.text[0])
        return fail(why, ST_FATAL, "update() refused: %.400s", l->e.text);
    if (st != ST_OK)
        return st;
    if (h.metrics)
        metrics_add(state, &l->sh, r, &l->eval);
    l->allocated = lab_allocations - before;
    return check_marks(l, z, loss, why);
}

enum st lab_run(struct lab *l, struct tensors *state, uint32_t partition, uint64_t from,
                uint64_t to, struct how h, struct err *why)
{
    CHECK(h.eval || !h.metrics);
    for (uint64_t b = from; b < to; b++) {
        rows_make(&l->rows, partition, b);
        TRY(lab_update(l, state, h, why));
    }
    return ST_OK;
}

enum st lab_same(const struct tensors *a, const struct tensors *b, const char *what,
                 struct err *why)
{
    const struct tensors ha = tensors_host(a), hb = tensors_host(b);

    CHECK(a->n == b->n);
    TRY(tensors_fetch(a, why));
    TRY(tensors_fetch(b, why));
    for (uint32_t i = 0; i < a->n; i++) {
        const struct tensor *x = &ha.t[i], *y = &hb.t[i];
        const uint8_t *p = x->p, *q = y->p;
        uint64_t at = 0;

        if (x->bytes != y->bytes)
            return fail(why, ST_FATAL, "%s: tensor %s has %llu and %llu bytes", what, x->d.name,
                        (unsigned long long)x->bytes, (unsigned long long)y->bytes);
        if (!x->bytes || !memcmp(p, q, x->bytes))
            continue;
        while (p[at] == q[at])
            at++;
        return fail(why, ST_FATAL, "%s: tensor %s [row %llu] differs", what, x->d.name,
                    (unsigned long long)(at / x->row_bytes));
    }
    return ST_OK;
}

enum st lab_copy(struct tensors *to, const struct tensors *from, struct err *why)
{
    const struct tensors host = tensors_host(from);

    TRY(tensors_fetch(from, why));
    tensors_copy(to, &host);
    return ST_OK;
}

enum st lab_own(const struct lab *l, enum st st, struct err *why)
{
    return st == ST_OK ? ST_OK : fail(why, st, "%.480s", l->e.text);
}

/* ---- saved ---- */

void image_open(struct image *m, const struct tensors *ts)
{
    m->bytes = calloc(1, ts->bytes + 1);
    m->hash = calloc(tensors_chunks(ts) + 1, sizeof *m->hash);
    m->changed = calloc(tensors_chunks(ts) / 64 + 1, sizeof *m->changed);
    CHECK(m->bytes && m->hash && m->changed);
}

void image_close(struct image *m)
{
    free(m->bytes);
    free(m->hash);
    free(m->changed);
}

static const char *tensor_at(const struct tensors *ts, uint64_t byte)
{
    for (uint32_t i = 0; i < ts->n; i++)
        if (byte >= ts->t[i].offset && byte < ts->t[i].offset + ts->t[i].bytes)
            return ts->t[i].d.name;
    return "padding";
}

/* Copies the chunks that scan reports, and asks whether those were all that changed. */
enum st image_save(struct image *m, struct tensors *ts, struct err *why)
{
    uint64_t at = 0;

    TRY(tensors_fetch(ts, why));
    TRY(tensors_scan(ts, m->hash, m->changed, why));
    for (uint32_t j = 0; j < tensors_chunks(ts); j++)
        if (m->changed[j >> 6] >> (j & 63) & 1)
            memcpy(m->bytes + ((uint64_t)j << ts->chunk_shift),
                   ts->base + ((uint64_t)j << ts->chunk_shift), tensors_chunk_bytes(ts, j));
    memset(m->changed, 0, (tensors_chunks(ts) / 64 + 1) * sizeof *m->changed);
    if (!memcmp(m->bytes, ts->base, ts->bytes))
        return ST_OK;
    while (m->bytes[at] == ts->base[at])
        at++;
    return fail(why, ST_FATAL, "byte %llu, in tensor %s, changed without touch()",
                (unsigned long long)at, tensor_at(ts, at));
}

/* A new block with the saved bytes, as a restart would have it. */
enum st image_load(struct image *m, struct lab *l, struct tensors *ts, struct err *why)
{
    lab_drop(l, ts);
    TRY(tensors_alloc(ts, l->x.c, l->self, why));
    memcpy(ts->base, m->bytes, ts->bytes);
    tensors_send(ts);
    return ST_OK;
}
