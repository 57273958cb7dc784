#include "tests/conform/support_far.h"
#include "tests/conform/support_laws.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct how plain = {.scratch = 0xaa, .eval = true};
static const struct how other = {.scratch = 0x55, .eval = true};
static const struct how unseen = {.scratch = 0x55, .eval = false};
static const struct how measured = {.scratch = 0xaa, .eval = true, .metrics = true};
static const struct how watched = {.scratch = 0x55, .eval = true, .watch = true};

/* ---- of states ---- */

static enum st init_repeats(struct lab *l, struct err *why)
{
    struct region g[TENSORS_MAX] = {{0}};
    struct tensors a = {0}, b = {0};
    enum st st = lab_own(l, lab_state(l, &a), why);

    if (st == ST_OK)
        st = lab_own(l, lab_guarded_state(l, &b, g), why);
    if (st == ST_OK)
        st = lab_same(&a, &b, "init twice, other address, other scratch", why);
    lab_drop(l, &a);
    lab_guarded_drop(&b, g);
    return st;
}

static enum st three_ways(struct lab *l, struct tensors *a, struct tensors *b, struct tensors *c,
                          struct err *why)
{
    size_t z = (size_t)LAB_ROWS * l->sh.zcols, n = z + (size_t)LAB_ROWS * l->sh.models;
    float *seen = calloc(n, sizeof *seen);
    enum st st = seen ? ST_OK : ST_FATAL;

    for (uint64_t i = 0; st == ST_OK && i < LAWS_BATCHES; i++) {
        uint32_t rows = rows_make(&l->rows, 0, i)->n;
        size_t zs = rows * l->sh.zcols * sizeof *seen, ls = rows * l->sh.models * sizeof *seen;
        bool none = l->sh.out == OUT_NONE;

        st = lab_update(l, a, plain, why);
        memcpy(seen, l->eval.z, zs);
        memcpy(seen + z, l->eval.loss, ls);
        if (st == ST_OK)
            st = lab_update(l, b, unseen, why);
        if (st == ST_OK)
            st = lab_update(l, c, other, why);
        if (st == ST_OK && !none &&
            (memcmp(seen, l->eval.z, zs) || memcmp(seen + z, l->eval.loss, ls)))
            st = fail(why, ST_FATAL, "eval of the same rows differs with other scratch, batch %d",
                      (int)i);
    }
    free(seen);
    return st;
}

static enum st update_repeats(struct lab *l, struct err *why)
{
    struct region g[TENSORS_MAX] = {{0}};
    struct tensors a = {0}, b = {0}, c = {0};
    enum st st = lab_own(l, lab_state(l, &a), why);

    if (st == ST_OK)
        st = lab_own(l, lab_state(l, &b), why);
    if (st == ST_OK)
        st = lab_own(l, lab_guarded_state(l, &c, g), why);
    if (st == ST_OK)
        st = three_ways(l, &a, &b, &c, why);
    if (st == ST_OK)
        st = lab_same(&a, &b, "learned with and without eval, other scratch", why);
    if (st == ST_OK)
        st = lab_same(&a, &c, "learned at another address", why);
    lab_drop(l, &a);
    lab_drop(l, &b);
    lab_guarded_drop(&c, g);
    return st;
}

static enum st stays_in_bounds(struct lab *l, struct err *why)
{
    struct region g[TENSORS_MAX] = {{0}};
    struct tensors a = {0}, b = {0};
    enum st st = lab_own(l, lab_state(l, &a), why);

    if (st == ST_OK)
        st = lab_own(l, lab_guarded_state(l, &b, g), why);
    if (st == ST_OK)
        st = lab_run(l, &a, 1, 0, LAWS_BATCHES, plain, why);
    if (st == ST_OK)
        st = lab_run(l, &b, 1, 0, LAWS_BATCHES, watched, why);
    if (st == ST_OK)
        st = lab_guarded_check(&b, g, why);
    if (st == ST_OK)
        st = lab_same(&a, &b, "learned between guard pages", why);
    lab_drop(l, &a);
    lab_guarded_drop(&b, g);
    return st;
}

static enum st go_on(struct lab *l, struct tensors *b, struct image *m, struct err *why)
{
    TRY(image_save(m, b, why));
    for (uint64_t i = 0; i < LAWS_BATCHES; i++) {
        TRY(lab_run(l, b, 2, i, i + 1, measured, why));
        TRY(image_save(m, b, why));
        if (i % 5 == 4)
            TRY(image_load(m, l, b, why));
    }
    return ST_OK;
}

static enum st saves_and_goes_on(struct lab *l, struct err *why)
{
    struct tensors a = {0}, b = {0};
    struct image m = {0};
    enum st st = lab_own(l, lab_state(l, &a), why);

    if (st == ST_OK)
        st = lab_own(l, lab_state(l, &b), why);
    if (st == ST_OK)
        image_open(&m, &b);
    if (st == ST_OK)
        st = go_on(l, &b, &m, why);
    if (st == ST_OK)
        st = lab_run(l, &a, 2, 0, LAWS_BATCHES, measured, why);
    if (st == ST_OK)
        st = lab_same(&a, &b, "saved, loaded and gone on", why);
    image_close(&m);
    lab_drop(l, &a);
    lab_drop(l, &b);
    return st;
}

static enum st turns(struct lab *l, struct tensors *t, struct err *why)
{
    TRY(lab_run(l, &t[0], 0, 0, LAWS_BATCHES, plain, why));
    TRY(lab_run(l, &t[1], 1, 0, LAWS_BATCHES, plain, why));
    for (uint64_t i = 0; i < LAWS_BATCHES; i++) {
        TRY(lab_run(l, &t[2], 0, i, i + 1, plain, why));
        TRY(lab_run(l, &t[3], 1, i, i + 1, plain, why));
    }
    TRY(lab_same(&t[0], &t[2], "partition 0 taking turns with 1", why));
    return lab_same(&t[1], &t[3], "partition 1 taking turns with 0", why);
}

static enum st takes_turns(struct lab *l, struct err *why)
{
    struct tensors t[4];
    enum st st = ST_OK;

    memset(t, 0, sizeof t);
    for (int i = 0; st == ST_OK && i < 4; i++)
        st = lab_own(l, lab_state(l, &t[i]), why);
    if (st == ST_OK)
        st = turns(l, t, why);
    for (int i = 0; i < 4; i++)
        lab_drop(l, &t[i]);
    return st;
}

/* Makes held-out rows say something else: they may not be heard. */
static void change_tail(struct lab *l)
{
    struct rows *r = &l->rows.r;
    struct feat *f = &r->in[0];

    for (uint32_t i = r->train; i < r->n; i++) {
        for (uint32_t j = 0; f->x && j < f->d; j++)
            ((float *)f->x)[(size_t)i * f->ld + j] = 7;
        for (uint32_t q = f->x ? 0 : f->ptr[i]; !f->x && q < f->ptr[i + 1]; q++)
            ((float *)f->val)[q] = 7;
        for (uint32_t k = 0; k < r->ny; k++)
            ((float *)r->y)[(size_t)i * r->ny + k] = l->s->classes ? 0 : l->s->counts ? 50 : -50;
        ((float *)r->weight)[i] = 3;
        ((uint64_t *)r->rid)[i] += 1u << 20;
    }
}

static enum st hold_out(struct lab *l, struct tensors *a, struct tensors *b, struct err *why)
{
    TRY(lab_run(l, a, 0, 0, LAWS_WARM, plain, why));
    TRY(lab_copy(b, a, why));
    rows_make_sized(&l->rows, 0, 50, LAB_ROWS, 0);
    TRY(lab_update(l, a, plain, why));
    TRY(lab_same(a, b, "a batch of held-out rows", why));
    rows_make_sized(&l->rows, 0, 51, 0, 0);
    TRY(lab_update(l, a, plain, why));
    TRY(lab_same(a, b, "an empty batch", why));
    for (uint64_t i = 52; i < 56; i++) {
        rows_make_sized(&l->rows, 0, i, LAB_ROWS, 20);
        TRY(lab_update(l, a, plain, why));
        change_tail(l);
        TRY(lab_update(l, b, plain, why));
    }
    return lab_same(a, b, "other held-out rows behind the same learned ones", why);
}

static enum st ignores_held_out(struct lab *l, struct err *why)
{
    struct tensors a = {0}, b = {0};
    enum st st = lab_own(l, lab_state(l, &a), why);

    if (st == ST_OK)
        st = lab_own(l, lab_state(l, &b), why);
    if (st == ST_OK)
        st = hold_out(l, &a, &b, why);
    lab_drop(l, &a);
    lab_drop(l, &b);
    return st;
}

static enum st allocates_nothing(struct lab *l, struct err *why)
{
    struct tensors a = {0};
    const bool ours = l->s->c->host_memory || l->s->c == &compute_far; /* a driver's is its own */
    enum st st = lab_counts && ours ? lab_own(l, lab_state(l, &a), why) : ST_AGAIN;

    if (st == ST_OK) /* a back end may take its own buffers at first use */
        st = lab_run(l, &a, 0, 0, LAWS_WARM, measured, why);
    for (uint64_t i = LAWS_WARM; st == ST_OK && i < LAWS_BATCHES; i++) {
        st = lab_run(l, &a, 0, i, i + 1, measured, why);
        if (st == ST_OK && l->allocated)
            st = fail(why, ST_FATAL, "update() or metrics_add() allocated %d times in batch %d",
                      (int)l->allocated, (int)i);
    }
    lab_drop(l, &a);
    return st;
}

static enum st check_eval(struct lab *l, struct err *why)
{
    uint32_t n = l->rows.r.n;

    if (l->sh.out == OUT_NONE || l->s->diverges)
        return ST_OK;
    for (size_t i = 0; i < (size_t)n * l->sh.zcols; i++)
        if (!isfinite(l->eval.z[i]))
            return fail(why, ST_FATAL, "z[%zu] is %g", i, (double)l->eval.z[i]);
    for (size_t i = 0; i < (size_t)n * l->sh.models; i++)
        if (!isfinite(l->eval.loss[i]) && l->eval.loss[i] != LOSS_NONE)
            return fail(why, ST_FATAL, "loss[%zu] is %g", i, (double)l->eval.loss[i]);
    return ST_OK;
}

static enum st stays_finite(struct lab *l, struct err *why)
{
    struct tensors a = {0};
    enum st st = lab_own(l, lab_state(l, &a), why);

    for (uint64_t i = 0; st == ST_OK && i < LAWS_BATCHES; i++) {
        st = lab_run(l, &a, 0, i, i + 1, plain, why);
        if (st == ST_OK)
            st = check_eval(l, why);
    }
    if (st == ST_OK)
        st = tensors_fetch(&a, why);
    if (st == ST_OK)
        st = tensors_finite(&a, why);
    lab_drop(l, &a);
    return st;
}

/* ---- of back ends ---- */

/* `far` does what openblas does, elsewhere. */
static enum st far_is_openblas(struct lab *l, struct err *why)
{
    struct subject here = *l->s;
    struct tensors a = {0}, b = {0};
    struct lab h;
    enum st st;

    if (l->s->c != &compute_far)
        return ST_AGAIN;
    here.c = &compute_openblas;
    st = lab_open(&h, &here, why);
    if (st == ST_OK)
        st = lab_own(l, lab_state(l, &a), why);
    if (st == ST_OK)
        st = lab_own(&h, lab_state(&h, &b), why);
    if (st == ST_OK)
        st = lab_run(l, &a, 0, 0, LAWS_BATCHES, measured, why);
    if (st == ST_OK)
        st = lab_run(&h, &b, 0, 0, LAWS_BATCHES, measured, why);
    if (st == ST_OK)
        st = lab_same(&a, &b, "learned on a device and in host memory", why);
    lab_drop(l, &a);
    lab_drop(&h, &b);
    lab_close(&h);
    return st;
}

/* ---- all ---- */

const struct algo_law laws[] = {
    {"init repeats", init_repeats},
    {"update repeats", update_repeats},
    {"stays in bounds", stays_in_bounds},
    {"saves and goes on", saves_and_goes_on},
    {"takes turns", takes_turns},
    {"ignores held-out rows", ignores_held_out},
    {"allocates nothing", allocates_nothing},
    {"stays finite", stays_finite},
    {"fold repeats", law_fold_repeats},
    {"a set is a set", law_set_is_a_set},
    {"rebase is a fixed point", law_rebase_is_fixed},
    {"derive repeats", law_derive_repeats},
    {"score equals update", law_score_is_update},
    {"start is the model", law_start_is_the_model},
    {"sparse equals dense", law_sparse_is_dense},
    {"weight is repetition", law_weight_is_repetition},
    {"far is openblas", far_is_openblas},
    {"any state is survived", law_any_state_is_survived},
};
const uint32_t laws_count = sizeof laws / sizeof *laws;

enum st law_check(const struct algo_law *law, const struct subject *s, struct err *why)
{
    struct lab l;
    enum st st = lab_open(&l, s, why);

    if (st == ST_OK)
        st = law->holds(&l, why);
    lab_close(&l);
    return st;
}

const struct algo_law *law_find(const char *name)
{
    for (uint32_t i = 0; i < laws_count; i++)
        if (!strcmp(laws[i].name, name))
            return &laws[i];
    return NULL;
}
