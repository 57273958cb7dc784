#include "tests/conform/support_laws.h"

#include "algos/derive.h"
#include "algos/fold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct how measured = {.scratch = 0xaa, .eval = true, .metrics = true};
static const struct how lookup = {.scratch = 0xaa, .eval = true};

/* ---- compared ---- */

static double element(const struct tensor *t, uint64_t i)
{
    return t->d.dtype == DT_F32 ? (double)t->f32[i] : t->f64[i];
}

enum st laws_near(const struct tensors *a, const struct tensors *b, double tol, const char *what,
                  struct err *why)
{
    const struct tensors ha = tensors_host(a), hb = tensors_host(b);

    TRY(tensors_fetch(a, why));
    TRY(tensors_fetch(b, why));
    for (uint32_t k = 0; k < a->n; k++) {
        const struct tensor *x = &ha.t[k], *y = &hb.t[k];
        double most = 0, diff = 0;

        if (*x->d.name == '@' || !x->n)
            continue;
        CHECK(x->n == y->n && x->d.dtype == y->d.dtype);
        if (x->d.dtype != DT_F32 && x->d.dtype != DT_F64) {
            if (memcmp(x->p, y->p, x->bytes) != 0)
                return fail(why, ST_FATAL, "%s: tensor %s differs", what, x->d.name);
            continue;
        }
        for (uint64_t i = 0; i < x->n; i++) {
            most = fmax(most, fabs(element(x, i)));
            diff = fmax(diff, fabs(element(x, i) - element(y, i)));
        }
        if (!(diff <= tol * most))
            return fail(why, ST_FATAL, "%s: tensor %s differs by %g of %g", what, x->d.name, diff,
                        most);
    }
    return ST_OK;
}

/* ---- three slots that have learned ---- */

struct folded {
    struct lab *l;
    struct tensors slot[LAB_SLOTS], view, again;
    struct fold f, g;
};

static enum st folded_open(struct folded *d, struct lab *l, struct err *why)
{
    struct tensors *view[] = {&d->view, &d->again};
    struct fold *fold[] = {&d->f, &d->g};

    memset(d, 0, sizeof *d);
    d->l = l;
    for (uint32_t p = 0; p < LAB_SLOTS; p++) {
        TRY(lab_own(l, lab_state(l, &d->slot[p]), why));
        TRY(lab_run(l, &d->slot[p], p, 0, LAWS_BATCHES, measured, why));
    }
    for (int i = 0; i < 2; i++) {
        TRY(view_declare(view[i], l->a, d->slot, &l->sh, l->opts, 1 << 30, why));
        TRY(tensors_alloc(view[i], NULL, NULL, why));
        TRY(lab_own(l, fold_init(fold[i], l->a, &l->host, d->slot, view[i]), why));
    }
    return ST_OK;
}

static void folded_close(struct folded *d)
{
    for (uint32_t p = 0; p < LAB_SLOTS; p++)
        lab_drop(d->l, &d->slot[p]);
    tensors_free(&d->view, NULL, NULL);
    tensors_free(&d->again, NULL, NULL);
    fold_fini(&d->f);
    fold_fini(&d->g);
}

static enum st fold_some(struct folded *d, struct fold *f, uint32_t slots, uint8_t byte,
                         struct err *why)
{
    fold_begin(f);
    for (uint32_t p = 0; p < slots; p++) {
        lab_scratch(d->l, byte);
        TRY(lab_own(d->l, fold_add(f, &(struct slot){&d->slot[p], 1, p}), why));
    }
    return lab_own(d->l, fold_end(f), why);
}

/* Runs one law on three slots that have learned. */
static enum st on_folds(struct lab *l, enum st (*holds)(struct folded *d, struct err *why),
                        struct err *why)
{
    struct folded d;
    enum st st = folded_open(&d, l, why);

    if (st == ST_OK)
        st = holds(&d, why);
    folded_close(&d);
    return st;
}

static enum st folds_twice(struct folded *d, struct err *why)
{
    TRY(fold_some(d, &d->f, LAB_SLOTS, 0xaa, why));
    TRY(fold_some(d, &d->g, 1, 0x55, why));
    TRY(fold_some(d, &d->g, LAB_SLOTS, 0x55, why));
    TRY(lab_same(&d->view, &d->again, "folded twice", why));
    return tensors_finite(&d->view, why);
}

enum st law_fold_repeats(struct lab *l, struct err *why)
{
    return on_folds(l, folds_twice, why);
}

/* Any order, and a slot twice: what fold.h forbids is allowed here, since a set must not care. */
static enum st folds_as_set(struct folded *d, struct err *why)
{
    static const uint32_t order[] = {2, 0, 1, 0, 2};

    TRY(fold_some(d, &d->f, LAB_SLOTS, 0xaa, why));
    fold_begin(&d->g);
    for (int i = 0; i < 5; i++) {
        d->g.last = -1;
        TRY(lab_own(d->l, fold_add(&d->g, &(struct slot){&d->slot[order[i]], 1, order[i]}), why));
    }
    TRY(lab_own(d->l, fold_end(&d->g), why));
    return laws_near(&d->view, &d->again, 0, "folded in another order, two slots twice", why);
}

enum st law_set_is_a_set(struct lab *l, struct err *why)
{
    return l->a->flags & ALGO_SET ? on_folds(l, folds_as_set, why) : ST_AGAIN;
}

/* Slots that were all put on the view fold to the view; 1e-5 since w is f32 and units are
 * converted. */
static enum st rebases(struct folded *d, struct err *why)
{
    struct lab *l = d->l;
    struct image m;
    enum st st = ST_OK;

    TRY(fold_some(d, &d->f, LAB_SLOTS, 0xaa, why));
    for (uint32_t p = 0; st == ST_OK && p < LAB_SLOTS; p++) {
        image_open(&m, &d->slot[p]);
        memset(d->slot[p].dirty, 0xff, (tensors_chunks(&d->slot[p]) + 63) / 64 * 8);
        st = image_save(&m, &d->slot[p], why);
        lab_scratch(l, 0x55);
        if (st == ST_OK)
            st = lab_own(l, view_rebase(&l->x, l->a, &d->slot[p], &d->view), why);
        if (st == ST_OK)
            st = image_save(&m, &d->slot[p], why);
        image_close(&m);
    }
    if (st != ST_OK)
        return st;
    TRY(fold_some(d, &d->g, LAB_SLOTS, 0xaa, why));
    return laws_near(&d->view, &d->again, 1e-5, "fold after rebase", why);
}

static bool pulls(const struct lab *l)
{
    struct tensors ts;
    enum st st = tensors_declare(&ts, l->a, PART_STATE, &l->sh, l->opts, NULL, NULL, 0, LAB_SHIFT,
                                 1 << 30, NULL);
    bool any = l->a->rebase != NULL;

    CHECK(st == ST_OK);
    for (uint32_t i = 0; i < ts.n; i++)
        any |= (ts.t[i].d.flags & T_PULL) != 0;
    return any && !(l->a->flags & ALGO_EXACT);
}

enum st law_rebase_is_fixed(struct lab *l, struct err *why)
{
    return pulls(l) ? on_folds(l, rebases, why) : ST_AGAIN;
}

static enum st derives(struct folded *d, struct err *why)
{
    struct tensors a, b = {0};
    struct measures m, n;
    enum st st;

    TRY(fold_some(d, &d->f, LAB_SLOTS, 0xaa, why));
    lab_scratch(d->l, 0xaa);
    st =
        lab_own(d->l, derive_model(&d->l->host, d->l->a, &d->view, d->l->derive_opts, &a, &m), why);
    lab_scratch(d->l, 0x55);
    if (st == ST_OK)
        st = lab_own(d->l, derive_model(&d->l->host, d->l->a, &d->view, d->l->derive_opts, &b, &n),
                     why);
    if (st == ST_OK)
        st = lab_same(&a, &b, "derived twice", why);
    if (st == ST_OK && memcmp(&m, &n, sizeof m) != 0)
        st = fail(why, ST_FATAL, "derived twice: measures differ");
    tensors_free(&a, NULL, NULL);
    tensors_free(&b, NULL, NULL);
    return st;
}

enum st law_derive_repeats(struct lab *l, struct err *why)
{
    return on_folds(l, derives, why);
}

/* What a class of output z is likely in proportion to; top: the largest output. */
static double odds(const struct shape *sh, float z, float top)
{
    return sh->loss == LOSS_ONE_VS_REST ? 1 / (1 + exp(-(double)z)) : exp((double)z - (double)top);
}

/* What score() should put into column c of a row, from the z that update() gave; NaN: nothing to
 * compare. */
static double expected(const struct shape *sh, const float *z, float loss, uint32_t model,
                       uint32_t c, uint32_t width)
{
    uint32_t classes = sh->classes;
    double sum = 0;
    float top;

    if (sh->out == OUT_LOSS_ONLY) /* the last column is the distance whose square is the loss */
        return c + 1 == width ? sqrt((double)loss) : (double)NAN;
    if (sh->out != OUT_LOGITS)
        return c == 0 ? (double)z[model] : (double)NAN;
    if (c + classes < width)
        return (double)NAN;
    z += (size_t)model * classes;
    top = z[0];
    for (uint32_t k = 1; k < classes; k++)
        top = z[k] > top ? z[k] : top;
    for (uint32_t k = 0; k < classes; k++)
        sum += odds(sh, z[k], top);
    return odds(sh, z[c + classes - width], top) / sum;
}

/* Of packed model `model`, where update() has just left its eval. */
static enum st compare_scores(struct lab *l, const float *out, uint32_t width, uint32_t model,
                              struct err *why)
{
    for (uint32_t i = 0; i < l->rows.r.n; i++)
        for (uint32_t c = 0; c < width; c++) {
            float loss = l->eval.loss[(size_t)i * l->sh.models + model];
            double is = (double)out[(size_t)i * width + c];
            double want =
                expected(&l->sh, l->eval.z + (size_t)i * l->sh.zcols, loss, model, c, width);

            if (!isfinite(is))
                return fail(why, ST_FATAL, "score [%u, %u] is %g", i, c, is);
            if (!isnan(want) && loss != LOSS_NONE && fabs(is - want) > 1e-4 * (1 + fabs(want)))
                return fail(why, ST_FATAL, "score [%u, %u] is %g, update() says %g", i, c, is,
                            want);
        }
    return ST_OK;
}

/* Rows scored by a state's packed models [from, to) and by the model. */
static enum st score_all(struct lab *l, struct tensors *state, const struct tensors *model,
                         uint32_t from, uint32_t to, bool comparable, struct err *why)
{
    uint32_t width = score_columns(l->a, &l->sh, l->opts, l->derive_opts, NULL, 0);
    float *out = malloc((size_t)LAB_ROWS * (width + 1) * sizeof *out);
    enum st st = ST_OK;

    CHECK(out && width);
    for (uint64_t i = 0; st == ST_OK && i < 3; i++) {
        rows_make_sized(&l->rows, 0, 70 + i, i == 1 ? 1 : LAB_ROWS, 0);
        st = lab_update(l, state, lookup, why);
        memset(out, 0xff, (size_t)LAB_ROWS * width * sizeof *out); /* NaN */
        lab_scratch(l, 0x55);
        if (st == ST_OK)
            st = lab_own(l, lab_score(l, model, out), why);
        for (uint32_t m = from; st == ST_OK && comparable && m < to; m++)
            st = compare_scores(l, out, width, m, why);
    }
    free(out);
    return st;
}

static uint32_t packed_of(const struct measures *m)
{
    return m->model > 0 ? (uint32_t)m->model : 0;
}

static enum st scores(struct folded *d, struct err *why)
{
    struct tensors model;
    struct measures m;
    enum st st;

    TRY(fold_some(d, &d->f, 1, 0xaa, why));
    st = lab_own(d->l, derive_model(&d->l->host, d->l->a, &d->view, d->l->derive_opts, &model, &m),
                 why);
    if (st == ST_OK)
        st = score_all(d->l, &d->slot[0], &model, packed_of(&m), packed_of(&m) + 1,
                       d->l->sh.out != OUT_NONE && !d->l->s->coarser, why);
    tensors_free(&model, NULL, NULL);
    return st;
}

enum st law_score_is_update(struct lab *l, struct err *why)
{
    return on_folds(l, scores, why);
}

/* ---- going on from a model ---- */

/* As the runtime does it; what start() wrote and did not touch would not be saved. */
static enum st start(struct lab *l, const struct tensors *model, uint32_t partition, uint8_t byte,
                     struct tensors *state, struct err *why)
{
    struct image m;
    enum st st;

    lab_drop(l, state);
    TRY(lab_own(l, lab_state(l, state), why));
    image_open(&m, state);
    memset(state->dirty, 0xff, (tensors_chunks(state) + 63) / 64 * 8);
    st = image_save(&m, state, why);
    lab_scratch(l, byte);
    if (st == ST_OK)
        st = lab_own(l, l->a->start(&l->x, model, partition, state), why);
    if (st == ST_OK)
        st = image_save(&m, state, why);
    image_close(&m);
    return st;
}

/* The partitions of a job that started from a model and has learned nothing yet make it again. */
static enum st counts_once(struct folded *d, const struct tensors *model, struct err *why)
{
    struct tensors again;
    struct measures m;
    enum st st;

    for (uint32_t p = 0; p < LAB_SLOTS; p++)
        TRY(start(d->l, model, p, 0xaa, &d->slot[p], why));
    TRY(fold_some(d, &d->f, LAB_SLOTS, 0xaa, why));
    st = lab_own(d->l, derive_model(&d->l->host, d->l->a, &d->view, d->l->derive_opts, &again, &m),
                 why);
    if (st == ST_OK)
        st = laws_near(model, &again, 1e-6, "a model made from a start", why);
    tensors_free(&again, NULL, NULL);
    return st;
}

static enum st starts_from(struct folded *d, const struct tensors *model, struct err *why)
{
    struct lab *l = d->l;

    TRY(start(l, model, 0, 0xaa, &d->slot[0], why));
    TRY(start(l, model, 0, 0x55, &d->slot[1], why));
    TRY(lab_same(&d->slot[0], &d->slot[1], "started twice", why));
    TRY(tensors_fetch(&d->slot[0], why));
    TRY(tensors_finite(&d->slot[0], why));
    TRY(score_all(l, &d->slot[0], model, 0, l->sh.models, l->sh.out != OUT_NONE, why));
    return l->a->flags & ALGO_EXACT ? counts_once(d, model, why) : ST_OK;
}

/* Every packed model of a state that has started from a model predicts as the model does. */
static enum st starts(struct folded *d, struct err *why)
{
    struct tensors model;
    struct measures m;
    enum st st;

    TRY(fold_some(d, &d->f, LAB_SLOTS, 0xaa, why));
    st = lab_own(d->l, derive_model(&d->l->host, d->l->a, &d->view, d->l->derive_opts, &model, &m),
                 why);
    if (st == ST_OK)
        st = starts_from(d, &model, why);
    tensors_free(&model, NULL, NULL);
    return st;
}

enum st law_start_is_the_model(struct lab *l, struct err *why)
{
    return l->a->start ? on_folds(l, starts, why) : ST_AGAIN;
}
