#include "algos/moments.h"

#include <string.h>

enum { ROWS, SQUARE }; /* scratch: f32[B, LD] the columns of rows; f64[(B + C) C] for gram64 */

struct moments moments_of(const struct shape *sh, uint32_t targets, uint32_t folds)
{
    CHECK(sh->batch_rows && sh->d[0] && sh->d[0] <= COLUMNS_MAX && folds);
    CHECK(targets <= sh->ny);
    return (struct moments){.d = sh->d[0],
                            .targets = targets,
                            .c = 1 + sh->d[0] + targets,
                            .folds = folds,
                            .batch = sh->batch_rows};
}

uint64_t moments_size(const struct moments *m)
{
    return moments_at(m->c, 0);
}

static uint32_t stride(const struct moments *m)
{
    return (m->c + 15u) & ~15u;
}

void moments_declare(struct decl *d, const struct moments *m, uint32_t id)
{
    const struct tdecl t = {.id = id,
                            .name = "sums",
                            .what = "sums of products of columns (1, features, labels), by fold: "
                                    "packed lower triangles",
                            .dtype = DT_F64,
                            .law = LAW_SUM,
                            .flags = T_DECAY,
                            .dim = {m->folds, moments_size(m)}};

    d->add(d, &t);
}

void moments_declare_work(struct decl *d, const struct moments *m, uint32_t id)
{
    const uint64_t c = m->c;
    const struct tdecl rows = {.id = id + ROWS,
                               .name = "columns",
                               .what = "1, features, labels of rows",
                               .dtype = DT_F32,
                               .dim = {m->batch, stride(m)}};
    const struct tdecl square = {.id = id + SQUARE,
                                 .name = "square",
                                 .what = "the same in f64, and their products",
                                 .dtype = DT_F64,
                                 .dim = {m->batch + c, c}};

    d->add(d, &rows);
    d->add(d, &square);
}

static void put_column(const struct ctx *x, uint32_t rows, uint32_t width, const float *from,
                       uint32_t from_ld, float *to, uint32_t ld)
{
    x->c->ew(x->cs, EW_copy, (uint32_t[2]){rows, width},
             (struct arg[8]){{to, ld}, {(float *)from, from_ld}}, NULL);
}

void moments_add(const struct ctx *x, const struct moments *m, struct tensors *s, uint32_t id,
                 uint32_t work, const struct rows *r)
{
    const struct feat *f = &r->in[0];
    const uint32_t ld = stride(m);
    const float one = 1.0f;
    float *z = x->work->t[work + ROWS].f32;

    CHECK(r->train <= m->batch && f->d == m->d && f->ld >= f->d);
    CHECK(r->folds == m->folds && r->fold_at[0] == 0 && r->fold_at[r->folds] == r->train);
    CHECK(r->weight && r->decay > 0 && r->decay <= 1 && (!m->targets || r->y));
    CHECK(s->t[id].n == m->folds * moments_size(m));
    x->c->ew(x->cs, EW_set, (uint32_t[2]){r->train, 1}, (struct arg[8]){{z, ld}}, &one);
    put_column(x, r->train, m->d, f->x, f->ld, z + 1, ld);
    if (m->targets)
        put_column(x, r->train, m->targets, r->y, r->ny, z + 1 + m->d, ld);
    for (uint32_t k = 0; k < m->folds; k++) {
        const uint32_t from = r->fold_at[k], n = r->fold_at[k + 1] - from;

        if (!n && r->decay == 1)
            continue;
        x->c->gram64(x->cs, (struct mat){z + (size_t)from * ld, n, m->c, ld}, r->weight + from,
                     r->decay, x->work->t[work + SQUARE].f64, s->t[id].f64 + k * moments_size(m));
    }
}

enum st moments_intact(const struct moments *m, const struct tensor *sums, struct err *e)
{
    const uint64_t n = moments_size(m);

    CHECK(sums->n == m->folds * n);
    for (uint32_t k = 0; k < m->folds; k++)
        for (uint32_t i = 0; i < m->c; i++)
            if (sums->f64[k * n + moments_at(i, i)] < 0)
                return fail(e, ST_CORRUPT, "tensor %s: the squares of column %u of fold %u are %g",
                            sums->d.name, i, k, sums->f64[k * n + moments_at(i, i)]);
    return ST_OK;
}

void moments_total(const struct moments *m, const struct tensor *sums, uint32_t without,
                   double *sum)
{
    const uint64_t n = moments_size(m);

    CHECK(sums->n == m->folds * n);
    memset(sum, 0, n * sizeof *sum);
    for (uint32_t k = 0; k < m->folds; k++)
        for (uint64_t i = 0; i < n && k != without; i++)
            sum[i] += sums->f64[k * n + i];
}

double moments_centred(const struct moments *m, const double *sum, uint32_t n, double *mean,
                       double *s)
{
    const double weight = sum[0];

    CHECK(n <= m->c - 1);
    if (!(weight > 0))
        return 0;
    for (uint32_t i = 0; i + 1 < m->c; i++)
        mean[i] = sum[moments_at(i + 1, 0)] / weight;
    for (uint32_t i = 0; i < n; i++) {
        const double *raw = sum + moments_at(i + 1, 1);
        double *row = s + (size_t)i * n;

        for (uint32_t j = 0; j <= i; j++)
            row[j] = raw[j] - weight * mean[i] * mean[j];
        if (row[i] > MOMENTS_FLAT * raw[i])
            continue;
        memset(row, 0, (i + 1) * sizeof *row);
    }
    for (uint32_t i = 0; i < n; i++) /* a flat column is flat with those behind it, too */
        for (uint32_t j = 0; j < i; j++)
            if (s[(size_t)j * n + j] == 0)
                s[(size_t)i * n + j] = 0;
    return weight;
}
