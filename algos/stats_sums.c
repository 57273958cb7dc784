/* stats_sums.c: moments and pairs of columns: a batch's own, about its own mean, then merged into
 * what there is. So no digit is lost to a common offset, however large, and a slot merges into the
 * view as a batch into a slot. */
#include "algos/stats.h"

#include <math.h>
#include <string.h>

/* ---- moments ---- */

/* Pebay, Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
 * statistical moments, SAND2008-6212. */
void moments_merge(double *a, const double *b)
{
    const double na = a[MOMENT_W], nb = b[MOMENT_W], n = na + nb;
    const double d = b[MOMENT_MEAN] - a[MOMENT_MEAN], d2 = d * d;

    if (!(nb > 0))
        return;
    if (!(na > 0)) {
        memcpy(a, b, MOMENT_N * sizeof *a);
        return;
    }
    a[MOMENT_4] += b[MOMENT_4] + d2 * d2 * na * nb * (na * na - na * nb + nb * nb) / (n * n * n) +
                   6 * d2 * (na * na * b[MOMENT_2] + nb * nb * a[MOMENT_2]) / (n * n) +
                   4 * d * (na * b[MOMENT_3] - nb * a[MOMENT_3]) / n;
    a[MOMENT_3] += b[MOMENT_3] + d * d2 * na * nb * (na - nb) / (n * n) +
                   3 * d * (na * b[MOMENT_2] - nb * a[MOMENT_2]) / n;
    a[MOMENT_2] += b[MOMENT_2] + d2 * na * nb / n;
    a[MOMENT_MEAN] += d * (nb / n);
    a[MOMENT_W] = n;
}

/* Sums about the mean as it comes out of f64; then what it is off by is taken out of them. */
void stats_moments(const float *v, const double *w, uint32_t n, double *m)
{
    double sum = 0, weight = 0, pivot, s1 = 0, s2 = 0, s3 = 0, s4 = 0, off;

    for (uint32_t i = 0; i < n; i++) {
        sum += w[i] * (double)v[i];
        weight += w[i];
    }
    pivot = weight > 0 ? sum / weight : 0;
    for (uint32_t i = 0; i < n; i++) {
        double z = (double)v[i] - pivot, wz = w[i] * z, wz2 = wz * z;

        s1 += wz;
        s2 += wz2;
        s3 += wz2 * z;
        s4 += wz2 * (z * z);
    }
    off = weight > 0 ? s1 / weight : 0;
    m[MOMENT_W] = weight;
    m[MOMENT_MEAN] = pivot + off;
    m[MOMENT_2] = s2 - off * s1;
    m[MOMENT_3] = s3 - 3 * off * s2 + 2 * off * off * s1;
    m[MOMENT_4] = s4 - 4 * off * s3 + 6 * off * off * s2 - 3 * off * off * off * s1;
}

/* ---- pairs ---- */

void pair_merge(double *a, const double *b)
{
    const double n = a[PAIR_W] + b[PAIR_W], share = b[PAIR_W] / n, both = a[PAIR_W] * share;
    const double di = b[PAIR_MEAN_I] - a[PAIR_MEAN_I], dj = b[PAIR_MEAN_J] - a[PAIR_MEAN_J];

    if (!(b[PAIR_W] > 0))
        return;
    if (!(a[PAIR_W] > 0)) {
        memcpy(a, b, PAIR_N * sizeof *a);
        return;
    }
    a[PAIR_W] = n;
    a[PAIR_MEAN_I] += di * share;
    a[PAIR_MEAN_J] += dj * share;
    a[PAIR_2_I] += b[PAIR_2_I] + di * di * both;
    a[PAIR_2_J] += b[PAIR_2_J] + dj * dj * both;
    a[PAIR_PRODUCT] += b[PAIR_PRODUCT] + di * dj * both;
}

struct sums {                    /* over rows where i is there; all but n have w in them */
    double *n, *z, *z2, *zz;     /* [D, D] */
    double *all_z, *all_z2, all; /* [D] over rows with nothing missing, and their weight */
    double *row, *row2, *there;  /* [D] of one row: w z, w z^2, w; 0 where it is missing */
    uint32_t d;
};

static struct sums sums_of(const struct ctx *x, uint32_t d)
{
    double *row = x->work->t[SW_ROW].f64, *all = x->work->t[SW_ALL].f64;
    double *sum = x->work->t[SW_SUM].f64;
    const size_t square = (size_t)d * d;

    memset(all, 0, x->work->t[SW_ALL].bytes);
    memset(sum, 0, x->work->t[SW_SUM].bytes);
    return (struct sums){sum, sum + square, sum + 2 * square, sum + 3 * square, all, all + d,
                         0,   row,          row + d,          row + 2 * d,      d};
}

static void add_row(double *restrict to, const double *restrict row, double by, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++)
        to[j] += by * row[j];
}

/* One row, less pivot. Returns whether a value is missing. */
static bool centre_row(const struct sums *s, const float *x, const double *pivot, double w)
{
    bool missing = false;

    for (uint32_t j = 0; j < s->d; j++) {
        bool none = x[j] != x[j];
        double z = none ? 0 : (double)x[j] - pivot[j];

        missing |= none;
        s->row[j] = w * z;
        s->row2[j] = w * z * z;
        s->there[j] = none ? 0 : w;
    }
    return missing;
}

static void add_missing(const struct sums *s, const float *x, const double *pivot)
{
    for (uint32_t i = 0; i < s->d; i++) {
        const size_t at = (size_t)i * s->d;

        if (x[i] != x[i])
            continue;
        add_row(s->n + at, s->there, 1, s->d);
        add_row(s->z + at, s->row, 1, s->d);
        add_row(s->z2 + at, s->row2, 1, s->d);
        add_row(s->zz + at, s->row, (double)x[i] - pivot[i], i);
    }
}

static void add_whole(struct sums *s, const float *x, const double *pivot, double w)
{
    s->all += w;
    add_row(s->all_z, s->row, 1, s->d);
    add_row(s->all_z2, s->row2, 1, s->d);
    for (uint32_t i = 1; i < s->d; i++)
        add_row(s->zz + (size_t)i * s->d, s->row, (double)x[i] - pivot[i], i);
}

/* Columns i > j of the batch about their means over the rows where both are there. */
static void pair_of(const struct sums *s, const double *pivot, uint32_t i, uint32_t j, double *pair)
{
    const size_t ij = (size_t)i * s->d + j, ji = (size_t)j * s->d + i;
    const double w = s->all + s->n[ij], zi = s->all_z[i] + s->z[ji], zj = s->all_z[j] + s->z[ij];
    const double mi = w > 0 ? zi / w : 0, mj = w > 0 ? zj / w : 0;

    pair[PAIR_W] = w;
    pair[PAIR_MEAN_I] = pivot[i] + mi;
    pair[PAIR_MEAN_J] = pivot[j] + mj;
    pair[PAIR_2_I] = s->all_z2[i] + s->z2[ji] - mi * zi;
    pair[PAIR_2_J] = s->all_z2[j] + s->z2[ij] - mj * zj;
    pair[PAIR_PRODUCT] = s->zz[ij] - mi * zj;
}

void pairs_add(const struct ctx *x, struct tensors *s, const struct feat *f, uint32_t n)
{
    const uint32_t *keep = x->work->t[SW_KEEP].u32;
    const double *w = x->work->t[SW_WEIGHT].f64, *pivot = x->work->t[SW_PIVOT].f64;
    double *to = s->t[ST_PAIR].f64, pair[PAIR_N];
    struct sums sums = sums_of(x, f->d);

    for (uint32_t q = 0; q < n; q++) {
        const float *row = f->x + (size_t)keep[q] * f->ld;

        if (centre_row(&sums, row, pivot, w[q]))
            add_missing(&sums, row, pivot);
        else
            add_whole(&sums, row, pivot, w[q]);
    }
    for (uint32_t i = 1; i < f->d; i++)
        for (uint32_t j = 0; j < i; j++, to += PAIR_N) {
            pair_of(&sums, pivot, i, j, pair);
            pair_merge(to, pair);
        }
}
