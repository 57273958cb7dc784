#include "tests/unit/support_pca.h"

#include "algos/compute/lapack.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

uint64_t pca_seed;

static double uniform(void)
{
    pca_seed = pca_seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(pca_seed >> 40) / 16777216.0;
}

static double normal(void)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

void pca_near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.12g is not %.12g, by %g", a, b, a - b);
}

struct table pca_table(uint32_t n, uint32_t d, double fall, double offset)
{
    struct table t = {.n = n, .d = d};
    double *y = calloc(d, sizeof *y), *mix = calloc((size_t)d * d, sizeof *mix);

    t.x = calloc((size_t)n * d, sizeof *t.x);
    t.weight = calloc(n, sizeof *t.weight);
    for (uint32_t i = 0; i < d * d; i++)
        mix[i] = normal() / sqrt(d);
    for (uint32_t i = 0; i < n; i++) {
        t.weight[i] = 1;
        for (uint32_t j = 0; j < d; j++)
            y[j] = normal() * pow(fall, j);
        for (uint32_t j = 0; j < d; j++) {
            double sum = offset;

            for (uint32_t q = 0; q < d; q++)
                sum += mix[j * d + q] * y[q];
            t.x[(size_t)i * d + j] = (float)sum;
        }
    }
    free(y);
    free(mix);
    return t;
}

struct pca_truth pca_truth(const struct table *t)
{
    struct pca_truth m = {.mean = calloc(t->d, sizeof(double)),
                          .sum = calloc((size_t)t->d * t->d, sizeof(double))};

    for (uint32_t i = 0; i < t->n; i++) {
        m.weight += (double)t->weight[i];
        for (uint32_t j = 0; j < t->d; j++)
            m.mean[j] += (double)t->weight[i] * (double)t->x[(size_t)i * t->d + j];
    }
    for (uint32_t j = 0; j < t->d; j++)
        m.mean[j] /= m.weight;
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t j = 0; j < t->d; j++)
            for (uint32_t q = 0; q < t->d; q++)
                m.sum[(size_t)j * t->d + q] += (double)t->weight[i] *
                                               ((double)t->x[(size_t)i * t->d + j] - m.mean[j]) *
                                               ((double)t->x[(size_t)i * t->d + q] - m.mean[q]);
    return m;
}

void pca_truth_free(struct pca_truth *m)
{
    free(m->mean);
    free(m->sum);
}

void pca_eigen(uint32_t n, double *a, double *value)
{
    double *work = calloc(lapack_eigen_work(n), sizeof *work);
    struct err e;

    assert_int_equal(lapack_eigen(n, a, value, work, &e), ST_OK);
    free(work);
}

struct pca_opts pca_sketch(uint32_t l)
{
    return (struct pca_opts){
        .method = PCA_SKETCH, .components = l / 2, .extra_components = l - l / 2, .batch = 32};
}

const struct pca_derive pca_plain = {.center = true};

struct shape pca_shape(uint32_t d, uint32_t slots)
{
    return (struct shape){.slots = slots, .d = {d}};
}

void pca_learn(struct rig *k, struct tensors *s, const struct table *t, double decay)
{
    struct rows r;

    for (uint32_t at = 0, n; at < t->n; at += n) {
        n = t->n - at < k->sh.batch_rows ? t->n - at : k->sh.batch_rows;
        rig_rows(k, t, at, n, 0, &r);
        r.decay = decay;
        if (k->a->update(&k->x, s, &r, NULL) != ST_OK)
            fail_msg("%s", k->err.text);
    }
}

void pca_view(struct rig *k, const struct table *t, uint32_t slots, struct tensors *view)
{
    struct tensors s[8], *list[8] = {NULL};
    struct table part = *t;

    assert_true(slots && slots <= 8);
    for (uint32_t p = 0; p < slots; p++) {
        const uint32_t from = t->n * p / slots;

        part.n = t->n * (p + 1) / slots - from;
        part.x = t->x + (size_t)from * t->d;
        part.weight = t->weight + from;
        list[p] = &s[p];
        rig_state(k, &s[p]);
        pca_learn(k, &s[p], &part, 1);
    }
    rig_view(k, list, slots, view);
    for (uint32_t p = 0; p < slots; p++)
        rig_free(k, &s[p]);
}
