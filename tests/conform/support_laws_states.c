/* support_laws_states.c: states that nobody has made. What is read back may hold anything that its
 * checksums let through; an algorithm either refuses it or goes on from it, and ends no process. */
#include "tests/conform/support_laws.h"

#include "algos/derive.h"
#include "algos/fold.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIES = 60 /* or $MILLRACE_TRIES */, CHANGES = 3, SECONDS = 10 };

static const struct how how = {.scratch = 0xaa, .eval = true, .metrics = true};

struct dice {
    uint64_t at;
};

static uint32_t throw(struct dice * d, uint32_t sides)
{
    d->at = d->at * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((d->at >> 33) % sides);
}

/* One element becomes what it should not be: all zero, all ones, another sign, another exponent, a
 * neighbour, or noise. */
static void change(struct dice *d, const struct tensor *t)
{
    size_t size = dtype_size(t->d.dtype);
    uint64_t i = t->n > 4 && throw(d, 2) ? (uint64_t) throw(d, 4) : throw(d, (uint32_t)t->n);
    uint8_t *p = (uint8_t *)t->p + i * size;

    switch (throw(d, 6)) {
    case 0:
        memset(p, 0, size);
        break;
    case 1:
        memset(p, 0xff, size);
        break;
    case 2:
        p[size - 1] ^= 0x80;
        break;
    case 3:
        p[size - 1] ^= (uint8_t)(1u << throw(d, 7));
        break;
    case 4:
        p[0]++;
        break;
    default:
        for (size_t k = 0; k < size; k++)
            p[k] = (uint8_t) throw(d, 256);
    }
}

static void change_some(struct dice *d, struct tensors *ts)
{
    for (uint32_t n = 1 + throw(d, CHANGES); n;) {
        const struct tensor *t = &ts->t[throw(d, ts->n)];

        if (!t->n || *t->d.name == '@')
            continue;
        change(d, t);
        n--;
    }
}

/* All that a state is used for; that it is refused, or makes no model, is no fault. */
static void use(struct lab *l, struct tensors *state, struct tensors *view)
{
    float *out = calloc((size_t)LAB_ROWS * 4096, sizeof *out);
    struct tensors model;
    struct measures m;
    struct fold f;
    struct err e;
    enum st st;

    CHECK(out && score_columns(l->a, &l->sh, l->opts, l->derive_opts, NULL, 0) <= 4096);
    for (uint64_t i = 90; i < 93; i++) {
        rows_make(&l->rows, 0, i);
        if (lab_update(l, state, how, &e) != ST_OK)
            break;
    }
    CHECK(fold_init(&f, l->a, &l->host, state, view) == ST_OK);
    fold_begin(&f);
    st = fold_add(&f, &(struct slot){state, 1, 0});
    if (st == ST_OK)
        st = fold_end(&f);
    if (st == ST_OK && l->a->rebase)
        st = view_rebase(&l->x, l->a, state, view);
    if (st == ST_OK)
        st = derive_model(&l->host, l->a, view, l->derive_opts, &model, &m);
    if (st == ST_OK)
        st = lab_score(l, &model, out);
    _exit(0);
}

/* In a process of its own, for a CHECK ends it. */
static enum st try_one(struct lab *l, struct tensors *state, struct tensors *view, uint32_t n,
                       struct err *why)
{
    struct tensors host = tensors_host(state);
    struct dice d = {n * 0x9e3779b97f4a7c15u + 1};
    int status = 0;
    pid_t child;

    change_some(&d, &host);
    l->e.text[0] = 0;
    if (tensors_intact(state, l->a, &l->host) != ST_OK)
        return l->e.text[0] ? ST_OK : fail(why, ST_FATAL, "state %u is refused without a word", n);
    tensors_send(state);
    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (!child) {
        for (int s = 1; s < 32; s++) /* the test framework's handlers would go on with its tests */
            (void)signal(s, SIG_DFL);
        alarm(SECONDS);
        use(l, state, view);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && !WEXITSTATUS(status))
        return ST_OK;
    return fail(why, ST_FATAL, "state %u was not refused, and ended the process (%s %d)", n,
                WIFEXITED(status) ? "exit" : "signal",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

enum st law_any_state_is_survived(struct lab *l, struct err *why)
{
    struct tensors good = {0}, bad = {0}, view = {0};
    const char *more = getenv("MILLRACE_TRIES");
    const uint32_t tries = more ? (uint32_t)strtoul(more, NULL, 10) : TRIES;
    enum st st = lab_own(l, lab_state(l, &good), why);

    if (st == ST_OK)
        st = lab_own(l, lab_state(l, &bad), why);
    if (st == ST_OK)
        st = view_declare(&view, l->a, &good, &l->sh, l->opts, 1 << 30, why);
    if (st == ST_OK)
        st = tensors_alloc(&view, NULL, NULL, why);
    for (uint32_t i = 0; st == ST_OK && i < tries; i++) {
        if (i % (tries / 6 + 1) == 0) /* from an empty state to a full one */
            st = lab_run(l, &good, 0, i, (uint64_t)i + 5, how, why);
        if (st == ST_OK)
            st = lab_copy(&bad, &good, why);
        if (st == ST_OK && i == 0 && lab_own(l, tensors_intact(&bad, l->a, &l->host), why) != ST_OK)
            st = ST_FATAL;
        if (st == ST_OK)
            st = try_one(l, &bad, &view, i, why);
    }
    tensors_free(&view, NULL, NULL);
    lab_drop(l, &good);
    lab_drop(l, &bad);
    return st;
}
