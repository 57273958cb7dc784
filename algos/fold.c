#include "algos/fold.h"

#include "algos/halving.h"

#include <stdlib.h>
#include <string.h>

/* ---- the view ---- */

static bool is_runtime(const struct tdecl *d)
{
    return *d->name == '@';
}

/* What a state's tensor is in the view. The bytes of a view are not chunked, so marks mean
 * nothing. */
static struct tdecl in_view(const struct tensors *state, uint32_t i)
{
    struct tdecl d = state->t[i].d;
    const struct tdecl *live = d.live ? &state->t[d.live - 1].d : NULL;

    if (d.law == LAW_SUM || d.law == LAW_MEAN)
        d.dtype = DT_F64;
    if (d.law == LAW_LOCAL)
        memset(d.dim, 0, sizeof d.dim);
    /* A count of live rows that is summed or dropped no longer says which rows are live. */
    if (live && (live->law == LAW_LOCAL || live->law == LAW_SUM || live->law == LAW_MEAN))
        d.live = 0;
    d.flags &= ~(uint32_t)T_SPARSE;
    return d;
}

static enum st own_view(struct tensors *view, const struct algo *a, const struct shape *sh,
                        const void *opts, uint32_t chunk_shift, uint64_t bytes_max, struct err *e)
{
    return tensors_declare(view, a, PART_VIEW, sh, opts, NULL, NULL, 0, chunk_shift, bytes_max, e);
}

enum st view_declare(struct tensors *view, const struct algo *a, const struct tensors *state,
                     const struct shape *sh, const void *opts, uint64_t bytes_max, struct err *e)
{
    struct tdecl d[TENSORS_MAX];
    uint32_t n = 0, own;

    TRY(own_view(view, a, sh, opts, state->chunk_shift, bytes_max, e));
    own = view->n;
    for (uint32_t i = 0; i < state->n; i++) {
        const struct tdecl *t = &state->t[i].d;

        if (own && (!is_runtime(t) || t->law == LAW_LOCAL))
            continue;
        CHECK(!own || t->law == LAW_SUM || t->law == LAW_MIN || t->law == LAW_MAX);
        d[n++] = in_view(state, i);
    }
    if (!own) /* ids are the state's, absent ones included */
        return tensors_layout(view, d, n, state->chunk_shift, bytes_max, e);
    return tensors_declare(view, a, PART_VIEW, sh, opts, NULL, d, n, state->chunk_shift, bytes_max,
                           e);
}

/* ---- element by element; hot loops over plain pointers ---- */

static void addmul_f32(double *restrict v, const float *restrict t, uint64_t n, double c)
{
    for (uint64_t i = 0; i < n; i++)
        v[i] += c * (double)t[i];
}

static void addmul_f64(double *restrict v, const double *restrict t, uint64_t n, double c)
{
    for (uint64_t i = 0; i < n; i++)
        v[i] += c * t[i];
}

/* v[0..n) += c * t[at..at + n) */
static void addmul(double *v, const struct tensor *t, uint64_t at, uint64_t n, double c)
{
    if (t->d.dtype == DT_F32)
        addmul_f32(v, t->f32 + at, n, c);
    else if (t->d.dtype == DT_F64)
        addmul_f64(v, t->f64 + at, n, c);
    else
        for (uint64_t i = 0; i < n; i++)
            v[i] += c * tensor_element(t, at + i);
}

/* v[i] = t[i] where that is more (max) or less, in the tensor's own type. */
#define EXTREME(member)                                                                            \
    for (uint64_t i = 0; i < t->n; i++)                                                            \
        if (max ? t->member[i] > v->member[i] : t->member[i] < v->member[i])                       \
    v->member[i] = t->member[i]

static void extreme(const struct tensor *v, const struct tensor *t, bool max)
{
    switch (t->d.dtype) {
    case DT_F32:
        EXTREME(f32);
        break;
    case DT_F64:
        EXTREME(f64);
        break;
    case DT_U8:
        EXTREME(u8);
        break;
    case DT_I32:
        EXTREME(i32);
        break;
    case DT_U32:
        EXTREME(u32);
        break;
    case DT_I64:
        EXTREME(i64);
        break;
    case DT_U64:
        EXTREME(u64);
        break;
    }
}

/* The first slot is the start of the mean, and stays it until a slot has learned something: the
 * mean of slots that know nothing is the seeded start, not zero. */
static void mean(const struct tensor *v, const struct tensor *t, const struct tensor *by,
                 const struct slot *s, double *sum, bool first)
{
    uint64_t rows = by->n == 1 ? 1 : t->d.dim[0], width = t->n / rows;

    CHECK(rows * width == t->n);
    for (uint64_t r = 0; r < rows; r++) {
        double c = s->weight * tensor_element(by, by->n == 1 ? 0 : r);
        double *at = v->f64 + r * width;

        CHECK(c >= 0);
        if (first || (c > 0 && sum[r] == 0)) {
            memset(at, 0, width * sizeof *at);
            addmul(at, t, r * width, width, c > 0 ? c : 1);
        } else if (c > 0) {
            addmul(at, t, r * width, width, c);
        }
        sum[r] += c;
    }
}

/* ---- slots ---- */

static uint64_t mean_rows(const struct tensors *ts, const struct tensor *t)
{
    return t->d.law != LAW_MEAN || !t->n ? 0 : ts->t[t->d.by].n == 1 ? 1 : t->d.dim[0];
}

enum st fold_init(struct fold *f, const struct algo *a, const struct ctx *x,
                  const struct tensors *state, struct tensors *view)
{
    struct tensors own;

    memset(f, 0, sizeof *f);
    TRY(own_view(&own, a, x->shape, x->opts, state->chunk_shift, UINT64_MAX >> 1, x->err));
    CHECK(view->base);
    f->a = a;
    f->x = x;
    f->state = state;
    f->view = view;
    f->own = own.n > 0;
    CHECK(f->own || view->n == state->n);
    if (f->own && !a->fold)
        return fail(x->err, ST_BAD_CONFIG, "algorithm %s: a view of its own needs fold()", a->name);
    for (uint32_t i = 0; i < state->n; i++)
        f->weights += mean_rows(state, &state->t[i]);
    f->weight = calloc(f->weights ? f->weights : 1, sizeof *f->weight);
    if (!f->weight)
        return fail(x->err, ST_FATAL, "out of memory: the weights of %llu means",
                    (unsigned long long)f->weights);
    fold_begin(f);
    return ST_OK;
}

void fold_begin(struct fold *f)
{
    tensors_zero(f->view);
    memset(f->weight, 0, f->weights * sizeof *f->weight);
    f->slots = 0;
    f->last = -1;
}

/* The view's tensor for tensor i of the state; NULL: the algorithm's fold() deals with it. */
static const struct tensor *target(const struct fold *f, uint32_t i)
{
    if (!f->own)
        return &f->view->t[i];
    return is_runtime(&f->state->t[i].d) ? tensors_find(f->view, f->state->t[i].d.name) : NULL;
}

static enum st by_law(struct fold *f, const struct slot *s, uint32_t i, double *sum)
{
    const struct tensor *t = &s->state->t[i], *v = target(f, i);
    bool first = f->slots == 0;

    if (!v || !t->n)
        return ST_OK;
    CHECK(t->d.law == LAW_LOCAL || v->n == t->n);
    switch (t->d.law) {
    case LAW_LOCAL:
    case LAW_FOLD:
        break;
    case LAW_SUM:
        addmul(v->f64, t, 0, t->n, s->weight);
        break;
    case LAW_MEAN:
        mean(v, t, &s->state->t[t->d.by], s, sum, first);
        break;
    case LAW_MIN:
    case LAW_MAX:
        if (first)
            memcpy(v->p, t->p, t->bytes);
        else
            extreme(v, t, t->d.law == LAW_MAX);
        break;
    case LAW_SAME:
        if (first)
            memcpy(v->p, t->p, t->bytes);
        else if (memcmp(v->p, t->p, t->bytes) != 0)
            return fail(f->x->err, ST_CORRUPT,
                        "tensor %s of partition %u differs from that of the partitions before it, "
                        "and must be the same: was it made with another seed or option?",
                        t->d.name, s->partition);
    }
    return ST_OK;
}

enum st fold_add(struct fold *f, const struct slot *slot)
{
    const struct tensors state = tensors_host(slot->state);
    const struct slot s = {&state, slot->weight, slot->partition};
    double *sum = f->weight;

    CHECK((int64_t)s.partition > f->last);
    CHECK(state.n == f->state->n && state.bytes == f->state->bytes);
    CHECK(s.weight >= 0 && state.base);
    TRY(tensors_fetch(slot->state, f->x->err));
    f->last = s.partition;
    for (uint32_t i = 0; i < f->state->n; i++) {
        TRY(by_law(f, &s, i, sum));
        sum += mean_rows(f->state, &f->state->t[i]);
    }
    CHECK(sum == f->weight + f->weights);
    if (f->a->fold)
        TRY(f->a->fold(f->x, f->view, &s));
    f->slots++;
    return ST_OK;
}

static void divide(double *v, const double *sum, uint64_t rows, uint64_t width)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t i = 0; i < width && sum[r] > 0; i++)
            v[r * width + i] /= sum[r];
}

enum st fold_end(struct fold *f)
{
    const double *sum = f->weight;

    if (!f->slots)
        return fail(f->x->err, ST_AGAIN, "no partition has published a state yet");
    for (uint32_t i = 0; i < f->state->n; i++) {
        uint64_t rows = mean_rows(f->state, &f->state->t[i]);
        const struct tensor *v = rows ? target(f, i) : NULL;

        if (v)
            divide(v->f64, sum, rows, v->n / rows);
        sum += rows;
    }
    return f->a->fold_end ? f->a->fold_end(f->x, f->view) : ST_OK;
}

void fold_fini(struct fold *f)
{
    free(f->weight);
    memset(f, 0, sizeof *f);
}

/* ---- back ---- */

/* A tensor becomes the view's of its name. */
static void pull(struct tensors *state, uint32_t i, const struct tensor *v)
{
    const struct tensors host = tensors_host(state);
    const struct tensor *t = &host.t[i];

    CHECK(v && v->n == t->n); /* a view that lacks it needs a rebase() */
    CHECK(t->d.dtype == DT_F32 || t->d.dtype == DT_F64);
    for (uint64_t k = 0; t->d.dtype == DT_F32 && k < t->n; k++)
        t->f32[k] = (float)tensor_element(v, k);
    for (uint64_t k = 0; t->d.dtype == DT_F64 && k < t->n; k++)
        t->f64[k] = tensor_element(v, k);
    if (t->d.flags & T_SPARSE)
        touch(state, i, 0, t->d.dim[0]);
    if (tensor_on_device(state, i))
        state->c->put(state->cs, state->t[i].p, t->p, t->bytes);
}

enum st view_rebase(const struct ctx *x, const struct algo *a, struct tensors *state,
                    const struct tensors *view)
{
    TRY(halving_follow(x, a, state, view));
    if (a->rebase)
        return a->rebase(x, state, view);
    for (uint32_t i = 0; i < state->n; i++)
        if (state->t[i].d.flags & T_PULL && state->t[i].n)
            pull(state, i, tensors_find(view, state->t[i].d.name));
    return ST_OK;
}
