/* update_bench: rows a second of update(), prequential outputs and losses included, at the batch
 * size that accuracy wants, its arithmetic as a share of this machine's sgemm peak, and what
 * metrics_add() adds to a batch.
 *
 * Peak: the best of ten 1024 x 1024 x 1024 products by OpenBLAS on one thread. Arithmetic: 4 D Z
 * flops a row for linear (two products over D features and Z = models x classes columns; nnz
 * instead of D if sparse), 2 D K for kmeans (one product with K centres); losses, optimiser steps
 * and means are not counted, so the share says what they cost. A figure is the best of five runs of
 * a fifth of a second each over 4,096 rows in memory, in CPU time of the one thread, so that
 * neighbours on the machine disturb it little. Rows are uniform, so kmeans reseeds rarely;
 * kmeans_peer.py has real ones.
 *
 * Behind the table, ratios that have a limit: both sides take turns in seven rounds; the median of
 * the rounds' ratios, with the least and the greatest.
 *
 * usage: update_bench              the table and the ratios
 *        update_bench limits       the ratios
 *        update_bench pass FILE    a pass of kmeans, K = 1,000, over the rows of FILE, float32 of
 *                                  784 columns: prints rows and seconds, and writes the centres to
 *                                  FILE.centres; for kmeans_peer.py */
#include "algos/kmeans.h"
#include "algos/linear.h"
#include "algos/metrics.h"
#include "algos/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 4096, RUNS = 5, RUN_US = 200000, SHIFT = 18, ROUNDS = 7 };
enum { PACKED_MAX = 5, PEAK_SHARE_MIN = 65 }; /* the limits */

static const struct job {
    const char *what;
    uint32_t loss, d, nnz, classes, models, batch;
    uint32_t k; /* kmeans: clusters; 0: linear */
} jobs[] = {
    {"logistic d=28", LINEAR_LOGISTIC, 28, 0, 2, 1, 32, 0},
    {"logistic d=28", LINEAR_LOGISTIC, 28, 0, 2, 8, 32, 0},
    {"logistic d=28", LINEAR_LOGISTIC, 28, 0, 2, 32, 32, 0},
    {"logistic d=28", LINEAR_LOGISTIC, 28, 0, 2, 1, 512, 0},
    {"logistic d=28", LINEAR_LOGISTIC, 28, 0, 2, 8, 512, 0},
    {"logistic d=784", LINEAR_LOGISTIC, 784, 0, 2, 1, 32, 0},
    {"logistic d=784", LINEAR_LOGISTIC, 784, 0, 2, 8, 32, 0},
    {"logistic d=784", LINEAR_LOGISTIC, 784, 0, 2, 32, 32, 0},
    {"softmax d=784 C=10", LINEAR_SOFTMAX, 784, 0, 10, 1, 32, 0},
    {"softmax d=784 C=10", LINEAR_SOFTMAX, 784, 0, 10, 8, 32, 0},
    {"softmax d=784 C=10", LINEAR_SOFTMAX, 784, 0, 10, 8, 512, 0},
    {"squared d=28", LINEAR_SQUARED, 28, 0, 0, 1, 32, 0},
    {"logistic d=123 nnz=14", LINEAR_LOGISTIC, 123, 14, 2, 1, 32, 0},
    {"logistic d=123 nnz=14", LINEAR_LOGISTIC, 123, 14, 2, 8, 32, 0},
    {"kmeans d=28 K=200", 0, 28, 0, 0, 1, 1024, 10},
    {"kmeans d=784 K=200", 0, 784, 0, 0, 1, 1024, 10},
    {"kmeans d=784 K=1000", 0, 784, 0, 0, 1, 1024, 100},
};
static const struct job one = {"one", LINEAR_LOGISTIC, 784, 0, 2, 1, 32, 0};
static const struct job packed = {"packed", LINEAR_LOGISTIC, 784, 0, 2, 32, 32, 0};
static const struct job centres = {"centres", 0, 784, 0, 0, 1, 1024, 100};

struct bench {
    const struct job *j;
    struct shape sh;
    const struct algo *a;
    struct linear_opts o;
    struct kmeans_opts ko;
    struct tensors work, state;
    struct ctx x;
    struct err err;
    struct eval eval;
    struct rows *rows; /* one a batch */
    uint32_t batches;
    float *mem, *y, *weight;
    uint64_t *rid;
    uint32_t *ptr, *col, *local, *uniq;
};

static void must(enum st st, const struct err *e)
{
    if (st == ST_OK)
        return;
    fprintf(stderr, "update_bench: %s\n", e->text);
    exit(1);
}

static void *room(size_t n, size_t size)
{
    void *p = compute_ref.alloc(NULL, n * size);

    if (!p) {
        fprintf(stderr, "update_bench: out of memory\n");
        exit(1);
    }
    return p;
}

static int64_t cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t seed;

static float uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) * 0x1p-24f;
}

/* GFlop/s of `times` products, the best of them. */
static double peak(int times)
{
    enum { N = 1024 };
    static struct mat m[3];
    double best = 0.0;

    for (int i = 0; i < 3 && !m[i].p; i++) {
        m[i] = (struct mat){room((size_t)N * N, sizeof(float)), N, N, N};
        for (uint32_t q = 0; q < N * N; q++)
            m[i].p[q] = uniform() - 0.5f;
    }
    for (int i = 0; i < times; i++) {
        int64_t begin = cpu_us();

        compute_openblas.gemm(NULL, NO_T, 1.0f, m[0], m[1], 0.0f, m[2]);
        double rate = 2.0 * N * N * N / (double)(cpu_us() - begin) * 1e-3;
        best = rate > best ? rate : best;
    }
    return best;
}

/* Every batch's columns numbered by first appearance, as the batch stage does. */
static void number_columns(struct bench *b, struct feat *f, uint32_t first, uint32_t n,
                           uint32_t *uniq)
{
    uint32_t at[128];

    memset(at, 0xff, sizeof at);
    for (uint32_t q = b->ptr[first]; q < b->ptr[first + n]; q++) {
        uint32_t c = b->col[q];

        if (at[c] == UINT32_MAX) {
            at[c] = f->uniq_n;
            uniq[f->uniq_n++] = c;
        }
        b->local[q] = at[c];
    }
    f->ptr = b->ptr + first;
    f->col = b->col;
    f->val = b->mem;
    f->uniq = uniq;
    f->local = b->local;
}

static void make_rows(struct bench *b)
{
    const struct job *j = b->j;
    uint32_t wide = j->nnz ? j->nnz : j->d, ld = (j->d + 15) / 16 * 16;

    b->batches = ROWS / j->batch;
    b->rows = room(b->batches, sizeof *b->rows);
    b->mem = room((size_t)ROWS * (j->nnz ? j->nnz : ld), sizeof(float));
    b->y = room(ROWS, sizeof(float));
    b->weight = room(ROWS, sizeof(float));
    b->rid = room(ROWS, sizeof *b->rid);
    b->ptr = room(ROWS + 1, sizeof *b->ptr);
    b->col = room((size_t)ROWS * wide, sizeof *b->col);
    b->local = room((size_t)ROWS * wide, sizeof *b->local);
    b->uniq = room((size_t)b->batches * j->d, sizeof *b->uniq);
    for (uint32_t i = 0; i < ROWS; i++) {
        b->ptr[i + 1] = (i + 1) * wide;
        b->weight[i] = 1.0f;
        b->rid[i] = (uint64_t)i << 16;
        b->y[i] = j->classes ? (float)(uint32_t)(uniform() * (float)j->classes) : uniform();
        for (uint32_t k = 0; k < wide; k++) {
            b->mem[(size_t)i * (j->nnz ? wide : ld) + k] = uniform();
            b->col[i * wide + k] = (uint32_t)(((float)k + uniform()) * (float)j->d / (float)wide);
        }
    }
    for (uint32_t i = 0; i < b->batches; i++) {
        uint32_t first = i * j->batch;
        struct rows *r = &b->rows[i];

        *r = (struct rows){
            .n = j->batch, .train = j->batch, .batch = i, .ny = 1, .decay = 1, .host = r};
        r->y = b->y + first;
        r->weight = b->weight + first;
        r->rid = b->rid + first;
        r->in[0].d = j->d;
        if (j->nnz)
            number_columns(b, &r->in[0], first, j->batch, b->uniq + (size_t)i * j->d);
        r->in[0].ld = ld;
        r->in[0].x = j->nnz ? NULL : b->mem + (size_t)first * ld;
    }
}

static void begin(struct bench *b, const struct job *j, const struct compute *c)
{
    struct tdecl metrics[METRIC_DECLS];

    memset(b, 0, sizeof *b);
    b->j = j;
    b->sh = (struct shape){.batch_rows = j->batch,
                           .slots = 1,
                           .d = {j->d},
                           .nnz = {j->nnz * j->batch},
                           .ny = 1,
                           .classes = j->classes};
    b->o = (struct linear_opts){.loss = j->loss, .classes = j->classes, .beta = 1.0f};
    b->o.learning_rate.n = j->models;
    for (uint32_t i = 0; i < j->models; i++)
        b->o.learning_rate.v[i] = 0.01f * (float)(i + 1);
    b->o.l1.n = b->o.l2.n = 1;
    b->ko.k = j->k;
    b->a = j->k ? &algo_kmeans : &algo_linear;
    b->x = (struct ctx){
        .shape = &b->sh, .opts = &b->o, .c = c, .work = &b->work, .seed = 7, .err = &b->err};
    if (j->k)
        b->x.opts = &b->ko;
    must(c->open(NULL, &b->err), &b->err);
    must(b->a->check(&b->sh, j->k ? (void *)&b->ko : &b->o, &b->err), &b->err);
    must(tensors_declare(&b->work, b->a, PART_WORK, &b->sh, b->x.opts, NULL, NULL, 0, SHIFT,
                         UINT32_MAX, &b->err),
         &b->err);
    must(tensors_declare(&b->state, b->a, PART_STATE, &b->sh, b->x.opts, NULL, metrics,
                         metrics_decls(metrics, 0, b->a, &b->sh), SHIFT, UINT32_MAX, &b->err),
         &b->err);
    must(tensors_alloc(&b->work, c, NULL, &b->err), &b->err);
    must(tensors_alloc(&b->state, c, NULL, &b->err), &b->err);
    must(b->a->init(&b->x, &b->state), &b->err);
    b->eval.z = room((size_t)j->batch * (b->sh.zcols + 1), sizeof(float));
    b->eval.loss = room((size_t)j->batch * b->sh.models, sizeof(float));
    make_rows(b);
}

static void end(struct bench *b)
{
    void *rooms[] = {b->eval.z, b->eval.loss, b->rows, b->mem,   b->y,   b->weight,
                     b->rid,    b->ptr,       b->col,  b->local, b->uniq};

    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        compute_ref.free(NULL, rooms[i]);
    tensors_free(&b->work, b->x.c, NULL);
    tensors_free(&b->state, b->x.c, NULL);
    b->x.c->close(NULL);
}

/* Batches for at least us microseconds; us a batch. */
static double run(struct bench *b, int64_t us, bool metrics)
{
    int64_t from = cpu_us(), took = 0;
    uint64_t n = 0;

    for (; took < us; took = cpu_us() - from, n += b->batches)
        for (uint32_t i = 0; i < b->batches; i++)
            if (metrics)
                metrics_add(&b->state, &b->sh, &b->rows[i], &b->eval);
            else
                must(b->a->update(&b->x, &b->state, &b->rows[i], &b->eval), &b->err);
    return (double)took / (double)n;
}

static double least(struct bench *b, bool metrics)
{
    double best = run(b, RUN_US, metrics);

    for (int i = 1; i < RUNS; i++) {
        double us = run(b, RUN_US, metrics);

        best = us < best ? us : best;
    }
    return best;
}

/* Flops of a row. */
static double flops(const struct bench *b)
{
    if (b->j->k)
        return 2.0 * b->j->d * b->ko.k * b->ko.extra_centers;
    return 4.0 * (b->j->nnz ? b->j->nnz : b->j->d) * b->sh.zcols;
}

static void table(void)
{
    double top = peak(10);

    printf("sgemm peak %.0f GFlop/s (openblas, one thread)\n\n", top);
    printf("%-24s %6s %6s %-9s %9s %9s %9s %7s %10s\n", "linear is adagrad", "models", "batch",
           "back end", "M rows/s", "us/batch", "GFlop/s", "of peak", "metrics us");
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        for (uint32_t c = 0; c < compute_count && compute_list[c]->host_memory; c++) {
            static struct bench b;
            double us, rate;

            begin(&b, &jobs[i], compute_list[c]);
            us = least(&b, false);
            rate = flops(&b) * jobs[i].batch / us * 1e-3;
            printf("%-24s %6u %6u %-9s %9.2f %9.2f %9.1f %6.0f%% %10.2f\n", jobs[i].what,
                   jobs[i].models, jobs[i].batch, compute_list[c]->name, jobs[i].batch / us, us,
                   rate, 100.0 * rate / top, least(&b, true));
            fflush(stdout);
            end(&b);
        }
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void show(const char *what, double ratio[ROUNDS], const char *limit, double bound)
{
    qsort(ratio, ROUNDS, sizeof *ratio, ascending);
    printf("%-58s %.2f (%.2f .. %.2f; limit %s %.2f)\n", what, ratio[ROUNDS / 2], ratio[0],
           ratio[ROUNDS - 1], limit, bound);
}

static void limits(void)
{
    static struct bench a, b;
    double ratio[ROUNDS], us[2][ROUNDS];

    begin(&a, &one, &compute_openblas);
    begin(&b, &packed, &compute_openblas);
    for (int i = 0; i < ROUNDS; i++) {
        us[0][i] = run(&a, RUN_US, false);
        us[1][i] = run(&b, RUN_US, false);
        ratio[i] = us[1][i] / us[0][i];
    }
    for (int i = 0; i < 2; i++)
        qsort(us[i], ROUNDS, sizeof us[i][0], ascending);
    printf("d = 784, batch 32: one model %.2f us a batch, 32 packed ones %.2f\n", us[0][ROUNDS / 2],
           us[1][ROUNDS / 2]);
    show("32 packed linear models : one, d = 784, batch 32", ratio, "<=", PACKED_MAX);
    end(&a);
    end(&b);
    begin(&a, &centres, &compute_openblas);
    for (int i = 0; i < ROUNDS; i++) {
        double top = peak(10);

        ratio[i] = flops(&a) * a.j->batch / run(&a, RUN_US, false) * 1e-3 / top;
    }
    show("kmeans K = 1000, d = 784, batch 1024 : sgemm peak", ratio, ">=", PEAK_SHARE_MIN / 100.0);
    end(&a);
}

/* ---- for kmeans_peer.py ---- */

/* The rows of the file in place of the random ones; less than a batch at the end is left out. */
static void read_rows(struct bench *b, const char *path)
{
    const size_t bytes = (size_t)b->j->batch * b->j->d * sizeof(float);
    FILE *f = fopen(path, "rb");
    uint32_t all;

    if (!f || fseek(f, 0, SEEK_END) != 0) {
        fprintf(stderr, "update_bench: %s cannot be read\n", path);
        exit(1);
    }
    all = (uint32_t)((size_t)ftell(f) / bytes);
    rewind(f);
    compute_ref.free(NULL, b->mem);
    compute_ref.free(NULL, b->weight);
    compute_ref.free(NULL, b->rows);
    b->mem = room(all, bytes);
    b->weight = room(b->j->batch, sizeof(float));
    b->rows = room(all, sizeof *b->rows);
    for (uint32_t i = 0; i < b->j->batch; i++)
        b->weight[i] = 1.0f;
    b->batches = (uint32_t)fread(b->mem, bytes, all, f);
    fclose(f);
    for (uint32_t i = 0; i < b->batches; i++) {
        struct rows *r = &b->rows[i];

        *r = (struct rows){.n = b->j->batch, .train = b->j->batch, .batch = i, .decay = 1};
        r->weight = b->weight;
        r->host = r;
        r->in[0].d = r->in[0].ld = b->j->d;
        r->in[0].x = b->mem + (size_t)i * b->j->batch * b->j->d;
    }
}

static void write_centres(const struct bench *b, const char *path)
{
    const struct tensor *t = b->state.t;
    char name[4096];
    FILE *f;

    snprintf(name, sizeof name, "%s.centres", path);
    f = fopen(name, "wb");
    for (uint64_t i = 0; f && i < t[KM_CENTRE].n; i++) {
        float v = t[KM_CENTRE].f32[i] + t[KM_SHIFT].f32[i % b->j->d];

        fwrite(&v, sizeof v, 1, f);
    }
    if (!f || fclose(f) != 0) {
        fprintf(stderr, "update_bench: %s cannot be written\n", name);
        exit(1);
    }
}

/* The first rows make the centres; then all are learned, and that is timed. */
static void pass(const char *path)
{
    static struct bench b;
    double us;

    begin(&b, &centres, &compute_openblas);
    read_rows(&b, path);
    for (uint32_t i = 0; i < b.batches && !b.state.t[KM_HEAD].u64[HEAD_SEEDED]; i++)
        must(b.a->update(&b.x, &b.state, &b.rows[i], &b.eval), &b.err);
    us = run(&b, 1, false);
    printf("%u %.6f\n", b.batches * b.j->batch, us * b.batches * 1e-6);
    write_centres(&b, path);
    end(&b);
}

int main(int argc, char **argv)
{
    struct err e;

    must(compute_openblas.open(NULL, &e), &e);
    if (argc == 3 && strcmp(argv[1], "pass") == 0) {
        pass(argv[2]);
        return 0;
    }
    if (argc == 1)
        table();
    limits();
    return 0;
}
