/* The laws of algorithms over everything registered, on every back end; and the proof that they
 * catch what they are for. One law on one subject is one test, so its name says what broke. */
#include "tests/conform/support_far.h"
#include "tests/conform/support_laws.h"
#include "tests/conform/support_toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- every allocation of this program is counted, except under sanitizers, which bring their own
 * malloc ---- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n)
{
    lab_allocations++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    lab_allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    lab_allocations++;
    return __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    lab_allocations++;
    return __libc_memalign(align, n);
}

static void count_allocations(void)
{
    lab_counts = true;
}
#else
static void count_allocations(void)
{
}
#endif

/* ---- mutants ---- */

struct mutant {
    const char *fault[2];
    const char *law; /* that catches it */
    const struct algo *a;
    bool dense;
};

static const struct mutant mutants[] = {
    {{"fault=forgotten-touch", NULL}, "saves and goes on", &algo_toy, false},
    {{"fault=stale-scratch", NULL}, "update repeats", &algo_toy, true},
    {{"fault=hidden-global", NULL}, "takes turns", &algo_toy, true},
    {{"fault=learns-held-out", NULL}, "ignores held-out rows", &algo_toy, true},
    {{"fault=address-as-seed", NULL}, "init repeats", &algo_toy, true},
    {{"fault=writes-rows", NULL}, "stays in bounds", &algo_toy, true},
    {{"fault=writes-behind", NULL}, "stays in bounds", &algo_toy, true},
    {{"fault=reads-padding", NULL}, "stays finite", &algo_toy, true},
    {{"fault=eval-matters", NULL}, "update repeats", &algo_toy, true},
    {{"fault=allocates", NULL}, "allocates nothing", &algo_toy, true},
    {{"fault=diverges", NULL}, "stays finite", &algo_toy, true},
    {{"fault=fold-remembers", NULL}, "fold repeats", &algo_toy, true},
    {{"fault=rebase-drifts", NULL}, "rebase is a fixed point", &algo_toy, true},
    {{"fault=rebase-untouched", NULL}, "rebase is a fixed point", &algo_toy, false},
    {{"fault=derive-varies", NULL}, "derive repeats", &algo_toy, true},
    {{"fault=score-is-off", NULL}, "score equals update", &algo_toy, true},
    {{"fault=ignores-weight", NULL}, "weight is repetition", &algo_toy, true},
    {{"fault=sparse-is-off", NULL}, "sparse equals dense", &algo_toy, false},
    {{"fault=no-set", NULL}, "a set is a set", &algo_toy_set, true},
    {{"fault=start-is-off", NULL}, "start is the model", &algo_toy, true},
    {{"fault=start-untouched", NULL}, "start is the model", &algo_toy, false},
    {{"fault=any-state", NULL}, "any state is survived", &algo_toy, true},
};
enum { MUTANTS = sizeof mutants / sizeof *mutants };

static void mutant_is_caught(void **state)
{
    const struct mutant *m = *state;
    const struct algo_law *law = law_find(m->law);
    struct subject s = {.name = m->fault[0],
                        .a = m->a,
                        .c = compute_list[0],
                        .options = m->fault,
                        .d = 30,
                        .sparse = !m->dense,
                        .adds_rows = true};
    struct err why = {""};
    enum st st;

    assert_non_null(law);
    st = law_check(law, &s, &why);
    if (st == ST_AGAIN && !lab_counts && !strcmp(m->law, "allocates nothing"))
        skip();
    if (st == ST_OK || st == ST_AGAIN)
        fail_msg("%s: law '%s' did not catch it", m->fault[0], m->law);
    print_message("           %s\n", why.text);
}

/* ---- laws ---- */

#define OPTIONS(...)                                                                               \
    .options = (const char *const[])                                                               \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static const struct subject subjects[] = {
    {.name = "toy dense", .a = &algo_toy, .d = 30, .adds_rows = true},
    {.name = "toy sparse", .a = &algo_toy, .d = 30, .sparse = true, .adds_rows = true},
    {.name = "toy_set dense", .a = &algo_toy_set, .d = 30},
    {.name = "toy_set sparse", .a = &algo_toy_set, .d = 30, .sparse = true},
    {.name = "linear logistic", .a = &algo_linear, .d = 28, .classes = 2, .adds_rows = true},
    {.name = "linear logistic, 12 models",
     .a = &algo_linear,
     OPTIONS("learning_rate=0.05,0.1,0.2", "l1=0,0.01", "l2=0,0.001"),
     .d = 17,
     .classes = 2,
     .adds_rows = true},
    {.name = "linear softmax, 2 models",
     .a = &algo_linear,
     OPTIONS("loss=softmax", "learning_rate=0.05,0.1", "standardize=false"),
     .d = 9,
     .classes = 5,
     .adds_rows = true},
    {.name = "linear squared, ftrl",
     .a = &algo_linear,
     OPTIONS("loss=squared", "optimizer=ftrl", "l1=0,0.1"),
     .d = 28,
     .adds_rows = true},
    {.name = "linear squared, sgd",
     .a = &algo_linear,
     OPTIONS("loss=squared", "optimizer=sgd", "learning_rate=0.01"),
     .d = 1,
     .adds_rows = true},
    {.name = "linear logistic sparse, 3 models",
     .a = &algo_linear,
     OPTIONS("learning_rate=0.05,0.1,0.2", "standardize=false"),
     .d = 60,
     .classes = 2,
     .sparse = true,
     .adds_rows = true},
    {.name = "linear softmax sparse, ftrl",
     .a = &algo_linear,
     OPTIONS("loss=softmax", "optimizer=ftrl", "standardize=false"),
     .d = 40,
     .classes = 4,
     .sparse = true,
     .adds_rows = true},
    {.name = "linear squared, sgd, 3 of 4 models diverge",
     .a = &algo_linear,
     OPTIONS("loss=squared", "optimizer=sgd", "learning_rate=1000,0.01", "l2=0,10000"),
     .d = 17,
     .diverges = true},
    {.name = "linear logistic sparse, sgd, one of 2 models diverges",
     .a = &algo_linear,
     OPTIONS("optimizer=sgd", "learning_rate=0.001,1000", "l2=100", "standardize=false"),
     .d = 60,
     .classes = 2,
     .sparse = true,
     .diverges = true},
    {.name = "linear squared sparse, l1 and l2", /* which act on the features a batch has */
     .a = &algo_linear,
     OPTIONS("loss=squared", "l1=0.01", "l2=0.001"),
     .d = 200,
     .sparse = true},
    {.name = "linear one_vs_rest, 2 models, class weights",
     .a = &algo_linear,
     OPTIONS("loss=one_vs_rest", "learning_rate=0.05,0.2", "class_weight=1,2,0.5"),
     .d = 9,
     .classes = 3,
     .adds_rows = true},
    {.name = "linear hinge sparse, class weights, half-life",
     .a = &algo_linear,
     OPTIONS("loss=hinge", "class_weight=1,3", "standardize=false"),
     .d = 60,
     .classes = 2,
     .sparse = true,
     .decay = 0.001, /* so that n and count are swept */
     .adds_rows = true},
    {.name = "linear squared_hinge, sgd",
     .a = &algo_linear,
     OPTIONS("loss=squared_hinge", "optimizer=sgd", "learning_rate=0.01"),
     .d = 17,
     .classes = 2,
     .adds_rows = true},
    {.name = "linear absolute",
     .a = &algo_linear,
     OPTIONS("loss=absolute"),
     .d = 28,
     .adds_rows = true},
    {.name = "linear quantile sparse, ftrl, half-life",
     .a = &algo_linear,
     OPTIONS("loss=quantile", "quantile=0.9", "optimizer=ftrl", "learning_rate=0.1,0.3",
             "standardize=false"),
     .d = 40,
     .sparse = true,
     .decay = 0.9,
     .adds_rows = true},
    {.name = "linear huber, ftrl, half-life",
     .a = &algo_linear,
     OPTIONS("loss=huber", "huber_delta=0.5", "optimizer=ftrl", "l1=0,0.1"),
     .d = 17,
     .decay = 0.9,
     .adds_rows = true},
    {.name = "linear poisson, half-life",
     .a = &algo_linear,
     OPTIONS("loss=poisson", "learning_rate=0.02,0.1"),
     .d = 9,
     .counts = true,
     .decay = 0.9,
     .adds_rows = true},
    {.name = "linear softmax, averaged, 2 models",
     .a = &algo_linear,
     OPTIONS("loss=softmax", "learning_rate=0.05,0.1", "average=true"),
     .d = 17,
     .classes = 3,
     .coarser = true, /* the model is no state that scored */
     .adds_rows = true},
    {.name = "linear squared, averaged, sgd, one of 2 models diverges",
     .a = &algo_linear,
     OPTIONS("loss=squared", "optimizer=sgd", "learning_rate=1000,0.01", "average=true"),
     .d = 17,
     .coarser = true,
     .diverges = true},
    {.name = "kmeans",
     .a = &algo_kmeans,
     OPTIONS("k=3", "extra_centers=4", "warmup=40"),
     .d = 28,
     .coarser = true},
    {.name = "kmeans, one column",
     .a = &algo_kmeans,
     OPTIONS("k=2", "extra_centers=1", "warmup=2"),
     .d = 1,
     .coarser = true},
    {.name = "kmeans, warming up",
     .a = &algo_kmeans,
     OPTIONS("k=5", "extra_centers=2", "warmup=5000"),
     .d = 17,
     .coarser = true},
    {.name = "least_squares",
     .a = &algo_least_squares,
     .d = 28,
     .coarser = true,
     .adds_rows = true},
    {.name = "least_squares, 10 folds, one feature",
     .a = &algo_least_squares,
     OPTIONS("folds=10"),
     .d = 1,
     .coarser = true,
     .adds_rows = true},
    {.name = "pca exact", .a = &algo_pca, OPTIONS("method=exact"), .d = 28, .adds_rows = true},
    {.name = "pca exact, one column", .a = &algo_pca, .d = 1, .adds_rows = true},
    {.name = "pca sketch",
     .a = &algo_pca,
     OPTIONS("method=frequent_directions", "components=4", "extra_components=3"),
     .d = 28},
    {.name = "pca sketch, wider than its rows",
     .a = &algo_pca,
     OPTIONS("method=frequent_directions"),
     .d = 700},
    {.name = "pca sketch, one column",
     .a = &algo_pca,
     OPTIONS("method=frequent_directions", "extra_components=1"),
     .d = 1},
    {.name = "fm squared, 4 models",
     .a = &algo_fm,
     OPTIONS("factors=3", "learning_rate=0.01,0.02", "factors_l2=0,0.01", "init_deviation=0.01"),
     .d = 9,
     .adds_rows = true},
    {.name = "fm squared sparse, 8 models",
     .a = &algo_fm,
     OPTIONS("factors=5", "learning_rate=0.05,0.1", "l2=0,0.01", "factors_l2=0,0.02"),
     .d = 60,
     .sparse = true,
     .adds_rows = true},
    {.name = "fm logistic sparse",
     .a = &algo_fm,
     OPTIONS("loss=logistic", "factors=17"),
     .d = 200,
     .classes = 2,
     .sparse = true,
     .adds_rows = true},
    {.name = "fm logistic",
     .a = &algo_fm,
     OPTIONS("loss=logistic", "factors=1", "learning_rate=0.01", "init_deviation=0.01"),
     .d = 17,
     .classes = 2,
     .adds_rows = true},
    {.name = "fm squared sparse, one of 2 models diverges",
     .a = &algo_fm,
     OPTIONS("factors=2", "learning_rate=0.1,1e3", "factors_l2=1e6"),
     .d = 60,
     .sparse = true,
     .diverges = true},
    {.name = "knn", .a = &algo_knn, OPTIONS("sample=40", "k=3"), .d = 28, .classes = 3},
    {.name = "knn, a number, projected",
     .a = &algo_knn,
     OPTIONS("sample=5000", "k=7", "project=5"),
     .d = 17},
    {.name = "knn, one row, one column",
     .a = &algo_knn,
     OPTIONS("sample=1", "k=1"),
     .d = 1,
     .classes = 2},
    {.name = "rcf", .a = &algo_rcf, OPTIONS("num_trees=5", "num_samples_per_tree=16"), .d = 17},
    {.name = "rcf, shingled, few rows",
     .a = &algo_rcf,
     OPTIONS("num_trees=30", "num_samples_per_tree=64", "shingle=4"),
     .d = 3},
    {.name = "rcf, one tree of two points",
     .a = &algo_rcf,
     OPTIONS("num_trees=1", "num_samples_per_tree=2"),
     .d = 1},
    {.name = "stats", .a = &algo_stats, .d = 19},
    {.name = "stats, small sketches, no correlation",
     .a = &algo_stats,
     OPTIONS("correlation=false", "quantile_k=8", "distinct_bits=4", "top=1"),
     .d = 5},
    {.name = "stats, one column", .a = &algo_stats, OPTIONS("correlation=true", "top=50"), .d = 1},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

struct trial {
    struct subject s;
    const struct algo_law *law;
    char name[120];
};

static void law_is_kept(void **state)
{
    const struct trial *t = *state;
    struct err why = {""};
    enum st st = law_check(t->law, &t->s, &why);

    if (st != ST_OK && st != ST_AGAIN)
        fail_msg("%s: %s", t->name, why.text);
}

/* Is every registered algorithm among the subjects? */
static void registry_is_covered(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(algos_check(&e), ST_OK);
    for (uint32_t i = 0; i < algo_count; i++) {
        bool found = false;

        for (int k = 0; k < SUBJECTS; k++)
            found |= subjects[k].a == algo_list[i];
        if (!found)
            fail_msg("algorithm %s is put to no law: add it to subjects[]", algo_list[i]->name);
    }
}

static void tables_with_something_missing_are_refused(void **state)
{
    struct algo a = algo_toy;
    struct err e;

    (void)state;
    assert_int_equal(algo_check(&a, &e), ST_OK);
    a.score = NULL;
    assert_int_equal(algo_check(&a, &e), ST_FATAL);
    a = algo_toy, a.abi = MILLRACE_ABI + 1;
    assert_int_equal(algo_check(&a, &e), ST_FATAL);
    a = algo_toy, a.name = "Toy";
    assert_int_equal(algo_check(&a, &e), ST_FATAL);
    a = algo_toy, a.ports = &(const struct port){0};
    assert_int_equal(algo_check(&a, &e), ST_FATAL);
    a = algo_toy, a.flags |= ALGO_SET;
    assert_int_equal(algo_check(&a, &e), ST_FATAL);
    a = algo_toy, a.opts_bytes = 0;
    assert_int_equal(algo_check(&a, &e), ST_FATAL);
    assert_null(algo_find("toy"));
}

static bool opens(const struct compute *c)
{
    void *self = calloc(1, c->self_bytes + 1);
    struct err e;
    bool open = self && c->open(self, &e) == ST_OK;

    if (self)
        c->close(self);
    free(self);
    return open;
}

/* Plain C cannot use memory that is not the host's. A device that may be slow (an emulated one is)
 * is put to the laws that take the longest way, in full precision. */
static bool applies(const struct subject *s, const struct algo_law *law,
                    const struct compute *device)
{
    if (s->c->host_memory || s->c == &compute_far)
        return s->c->host_memory || !(s->a->flags & ALGO_HOST);
    return s->c == device && !(s->a->flags & ALGO_HOST) &&
           (!strcmp(law->name, "saves and goes on") || !strcmp(law->name, "score equals update"));
}

int main(void)
{
    size_t most = 2 + MUTANTS + (size_t)SUBJECTS * (compute_count + 1) * laws_count, n = 0, k = 0;
    struct CMUnitTest *tests = calloc(most, sizeof *tests);
    struct trial *trials = calloc(most, sizeof *trials);
    const struct compute *device = compute_find("cuda");
    int failed;

    device = device && opens(device) ? device : NULL;
    if (!tests || !trials)
        return 1;
    count_allocations();
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(registry_is_covered);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(tables_with_something_missing_are_refused);
    for (int i = 0; i < MUTANTS; i++)
        tests[n++] = (struct CMUnitTest){mutants[i].fault[0], mutant_is_caught, NULL, NULL,
                                         (void *)(uintptr_t)&mutants[i]};
    for (int i = 0; i < SUBJECTS; i++)
        for (uint32_t c = 0; c <= compute_count; c++)
            for (uint32_t w = 0; w < laws_count; w++, k++) {
                struct trial *t = &trials[k];

                t->s = subjects[i];
                t->s.c = c < compute_count ? compute_list[c] : &compute_far;
                t->law = &laws[w];
                if (!applies(&t->s, t->law, device))
                    continue;
                snprintf(t->name, sizeof t->name, "%s on %s: %s", t->s.name, t->s.c->name,
                         t->law->name);
                tests[n++] = (struct CMUnitTest){t->name, law_is_kept, NULL, NULL, t};
            }
    failed = _cmocka_run_group_tests("algo laws", tests, n, NULL, NULL);
    free(tests);
    free(trials);
    return failed;
}
