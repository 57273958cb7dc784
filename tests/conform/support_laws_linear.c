/* Laws of algorithms that only add up rows: subjects say so by `adds_rows`. */
#include "tests/conform/support_laws.h"

#include <string.h>

static const struct how plain = {.scratch = 0xaa, .eval = true};

/* The rows of sparse batch `from` as dense rows of lab `to`, which has the same columns. */
static void as_dense(struct lab *to, const struct lab *from, uint64_t number)
{
    const struct rows *r = &from->rows.r;
    const struct feat *f = &r->in[0], *g = &to->rows.r.in[0];

    rows_make_sized(&to->rows, 0, number, r->n, r->train); /* weights and rids are the same */
    memcpy((float *)to->rows.r.y, r->y, r->n * sizeof *r->y);
    for (uint32_t i = 0; i < r->n; i++) {
        float *x = (float *)g->x + (size_t)i * g->ld;

        memset(x, 0, g->d * sizeof *x);
        for (uint32_t q = f->ptr[i]; q < f->ptr[i + 1]; q++)
            x[f->col[q]] = f->val[q];
    }
}

/* The state may be laid out otherwise; what it says about rows may not differ. */
static enum st same_outputs(struct lab *s, struct lab *d, struct err *why)
{
    struct tensors a = {0}, b = {0};
    enum st st = lab_own(s, lab_state(s, &a), why);

    if (st == ST_OK)
        st = lab_own(d, lab_state(d, &b), why);
    for (uint64_t i = 0; st == ST_OK && i < LAWS_BATCHES; i++) {
        const struct rows *r = rows_make(&s->rows, 0, i);

        st = lab_update(s, &a, plain, why);
        as_dense(d, s, i);
        if (st == ST_OK)
            st = lab_update(d, &b, plain, why);
        for (size_t k = 0; st == ST_OK && k < (size_t)r->n * s->sh.zcols; k++) {
            float x = s->eval.z[k], y = d->eval.z[k], diff = x > y ? x - y : y - x;

            if (!(diff <= 1e-4f * (1 + (x > 0 ? x : -x))))
                st = fail(why, ST_FATAL, "batch %d: z[%zu] is %g sparse and %g dense", (int)i, k,
                          (double)x, (double)y);
        }
    }
    lab_drop(s, &a);
    lab_drop(d, &b);
    return st;
}

enum st law_sparse_is_dense(struct lab *l, struct err *why)
{
    struct subject dense = *l->s;
    struct lab d;
    enum st st;

    if (!l->s->adds_rows || !l->s->sparse)
        return ST_AGAIN;
    dense.sparse = false;
    st = lab_open(&d, &dense, why);
    if (st == ST_OK)
        st = same_outputs(l, &d, why);
    lab_close(&d);
    return st;
}

/* Batch `from` with its first row twice instead of with weight 2. */
static void repeat_first(struct lab *to, const struct lab *from, uint64_t number)
{
    const struct rows *r = &from->rows.r, *w;
    const struct feat *f = &r->in[0];

    w = rows_make_sized(&to->rows, 0, number, r->n + 1, r->train + 1);
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t k = i ? i - 1 : 0;

        memcpy((float *)w->in[0].x + (size_t)i * f->ld, f->x + (size_t)k * f->ld,
               f->ld * sizeof(float));
        if (r->ny)
            ((float *)w->y)[i] = r->y[k];
        ((float *)w->weight)[i] = k ? r->weight[k] : 1;
        ((uint64_t *)w->rid)[i] = r->rid[k];
    }
    for (uint32_t k = 1; k <= w->folds; k++) /* both of its copies are in its fold */
        to->rows.fold_at[k] = r->fold_at[k] + 1;
}

static enum st same_states(struct lab *one, struct lab *two, struct err *why)
{
    struct tensors a = {0}, b = {0};
    enum st st = lab_own(one, lab_state(one, &a), why);

    if (st == ST_OK)
        st = lab_own(two, lab_state(two, &b), why);
    for (uint64_t i = 0; st == ST_OK && i < LAWS_BATCHES; i++) {
        const struct rows *r = rows_make_sized(&one->rows, 0, i, LAB_ROWS - 1, 20);

        ((float *)r->weight)[0] = 2;
        st = lab_update(one, &a, plain, why);
        repeat_first(two, one, i);
        if (st == ST_OK)
            st = lab_update(two, &b, plain, why);
    }
    if (st == ST_OK) /* sums of the same numbers in another order, over 21 batches */
        st = laws_near(&a, &b, 1e-5, "weight 2 and the row twice", why);
    lab_drop(one, &a);
    lab_drop(two, &b);
    return st;
}

enum st law_weight_is_repetition(struct lab *l, struct err *why)
{
    struct lab two;
    enum st st;

    if (!l->s->adds_rows || l->s->sparse)
        return ST_AGAIN;
    st = lab_open(&two, l->s, why);
    if (st == ST_OK)
        st = same_states(l, &two, why);
    lab_close(&two);
    return st;
}
