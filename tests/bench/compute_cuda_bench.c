/* compute_cuda_bench [DIVISOR]: what one step of learning costs on a GPU, as a ratio to cuBLAS's
 * product at the same shapes, which is most of its arithmetic.
 *
 *     gemm     a square product, as a rate
 *     k-means  1,024 rows of 784 and 1,000 centres: put, distances, nearest, sums; the product
 * alone linear   32 packed logistic models, 4,096 rows of 784: put, two products, loss, AdaGrad;
 * the products alone
 *
 * Wall time, with batches put into two buffers in turn, so copying counts where it does not hide;
 * pairs of runs of a fifth of a second, median, least and most of their ratios. Where there is no
 * GPU it says so, and there are no figures. DIVISOR makes all shapes smaller, to try it on the
 * shim of the tests; what it prints then means nothing. */
#include "algos/compute/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAIRS = 7, RUN_MS = 200, D = 784 };

struct gpu {
    const struct compute *c;
    void *self;
    uint32_t rows, d, z; /* of the step: batch, features, centres or models */
    float *x[2], *w, *n, *y, *out, *grad, *loss, *bias, *g, *val, *rate;
    uint32_t *at;
    double *count;
    float *host;
    uint64_t turn;
};

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void finish(const struct gpu *b)
{
    if (b->c->sync(b->self) == ST_OK)
        return;
    fprintf(stderr, "compute_cuda_bench: the device failed\n");
    exit(1);
}

static void *room(const struct gpu *b, size_t n, size_t size)
{
    void *p = b->c->alloc(b->self, n * size);

    if (p)
        return p;
    fprintf(stderr, "compute_cuda_bench: out of memory\n");
    exit(1);
}

static void begin(struct gpu *b, uint32_t rows, uint32_t d, uint32_t z)
{
    const size_t wide = (size_t)rows * z, deep = (size_t)d * z;
    const uint64_t key[2] = {1, 2};
    float **const sized[] = {&b->out, &b->grad, &b->loss, &b->w,    &b->n,   &b->g,
                             &b->y,   &b->bias, &b->val,  &b->x[0], &b->x[1]};
    const size_t n[] = {
        wide, wide, wide, deep, deep, deep, rows, z, rows, (size_t)rows * d, (size_t)rows * d};
    const float rate[3] = {0.1f, 0.0f, 0.0f};

    b->rows = rows, b->d = d, b->z = z;
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        *sized[i] = room(b, n[i], sizeof(float));
    b->rate = room(b, 3 * (size_t)z, sizeof(float));
    b->at = room(b, rows, sizeof *b->at);
    b->count = room(b, z, sizeof *b->count);
    b->host = calloc((size_t)rows * d, sizeof *b->host);
    b->c->fill(b->self, FILL_NORMAL, key, NULL, mat(b->x[0], rows, d, d));
    b->c->get(b->self, b->host, b->x[0], (size_t)rows * d * sizeof *b->host);
    b->c->fill(b->self, FILL_NORMAL, key, NULL, mat(b->w, d, z, z));
    for (uint32_t i = 0; i < 3 * z; i++)
        b->c->put(b->self, b->rate + i, &rate[i / z], sizeof *rate);
    finish(b);
}

static void end(struct gpu *b)
{
    void *const all[] = {b->out,  b->grad, b->loss, b->w,    b->n,  b->g,    b->y,
                         b->bias, b->val,  b->x[0], b->x[1], b->at, b->rate, b->count};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        b->c->free(b->self, all[i]);
    free(b->host);
}

static struct mat next_batch(struct gpu *b)
{
    float *x = b->x[b->turn++ % 2];

    b->c->put(b->self, x, b->host, (size_t)b->rows * b->d * sizeof *x);
    return mat(x, b->rows, b->d, b->d);
}

/* ---- k-means: centres are the rows of w ---- */

static void kmeans_product(struct gpu *b)
{
    b->c->gemm(b->self, TB, -2.0f, mat(b->x[0], b->rows, b->d, b->d), mat(b->w, b->z, b->d, b->d),
               0.0f, mat(b->out, b->rows, b->z, b->z));
}

static void kmeans_step(struct gpu *b)
{
    struct mat x = next_batch(b), k = mat(b->w, b->z, b->d, b->d);
    struct mat out = mat(b->out, b->rows, b->z, b->z);

    b->c->rowsq(b->self, k, b->bias);
    b->c->gemm(b->self, TB, -2.0f, x, k, 0.0f, out);
    b->c->rowmin(b->self, out, b->bias, b->at, b->val);
    b->c->segsum(b->self, x, NULL, b->at, mat(b->g, b->z, b->d, b->d), b->count);
}

/* ---- packed linear models ---- */

static void linear_products(struct gpu *b)
{
    struct mat x = mat(b->x[0], b->rows, b->d, b->d), out = mat(b->out, b->rows, b->z, b->z);

    b->c->gemm(b->self, NO_T, 1.0f, x, mat(b->w, b->d, b->z, b->z), 0.0f, out);
    b->c->gemm(b->self, TA, 1.0f, x, out, 0.0f, mat(b->g, b->d, b->z, b->z));
}

static void linear_step(struct gpu *b)
{
    const uint32_t wide[2] = {b->rows, b->z}, deep[2] = {b->d, b->z}, z = b->z;
    const float scale = 1.0f / (float)b->rows;
    struct mat x = next_batch(b), grad = mat(b->grad, b->rows, z, z);

    b->c->gemm(b->self, NO_T, 1.0f, x, mat(b->w, b->d, z, z), 0.0f, mat(b->out, b->rows, z, z));
    b->c->ew(b->self, EW_logistic, wide,
             (struct arg[8]){{b->out, z}, {b->y, 0}, {b->val, 0}, {b->grad, z}, {b->loss, z}},
             NULL);
    b->c->gemm(b->self, TA, 1.0f, x, grad, 0.0f, mat(b->g, b->d, z, z));
    b->c->ew(
        b->self, EW_adagrad, deep,
        (struct arg[8]){
            {b->w, z}, {b->n, z}, {b->g, z}, {b->rate, 0}, {b->rate + z, 0}, {b->rate + 2 * z, 0}},
        &scale);
}

/* ---- measuring ---- */

static double us_per_call(struct gpu *b, void (*call)(struct gpu *))
{
    double from, took = 0.0;
    uint64_t n = 0;

    call(b);
    finish(b);
    for (from = now_ms(); took < RUN_MS; took = now_ms() - from) {
        for (int i = 0; i < 8; i++, n++)
            call(b);
        finish(b);
    }
    return took * 1e3 / (double)n;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void compare(struct gpu *b, const char *what, void (*product)(struct gpu *),
                    void (*step)(struct gpu *), double flops)
{
    double ratio[PAIRS], us = 0.0, alone = 0.0;

    for (int i = 0; i < PAIRS; i++) {
        alone = us_per_call(b, product);
        us = us_per_call(b, step);
        ratio[i] = alone / us;
    }
    qsort(ratio, PAIRS, sizeof *ratio, ascending);
    printf("%-10s %-8s %9.1f us a step, %9.1f GFlop/s of the product; step %.2f of it (%.2f, "
           "%.2f)\n",
           b->c->name, what, us, flops / alone * 1e-3, ratio[PAIRS / 2], ratio[0],
           ratio[PAIRS - 1]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"cuda", "cuda-tf32", "cuda-bf16"};
    const uint32_t by = argc > 1 && atol(argv[1]) > 0 ? (uint32_t)atol(argv[1]) : 1;
    const uint32_t rows = 4096 / by, batch = 1024 / by, d = D / by, k = 1000 / by;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct gpu b = {.c = compute_find(names[i])};
        struct err e = {""};

        b.self = calloc(1, b.c->self_bytes);
        if (!b.self || b.c->open(b.self, &e) != ST_OK) {
            printf("no figures: %s\n", e.text);
            return 0;
        }
        begin(&b, rows, rows, rows);
        printf("%-10s gemm     %9.1f GFlop/s, %u x %u x %u\n", names[i],
               2e-3 * rows * rows * rows / us_per_call(&b, kmeans_product), rows, rows, rows);
        end(&b);
        begin(&b, batch, d, k);
        compare(&b, "k-means", kmeans_product, kmeans_step, 2.0 * batch * d * k);
        end(&b);
        begin(&b, rows, d, 32);
        compare(&b, "linear", linear_products, linear_step, 4.0 * rows * d * 32);
        end(&b);
        b.c->close(b.self);
        free(b.self);
    }
    return 0;
}
