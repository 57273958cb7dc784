#include "algos/rows.h"

double rows_weight(const struct rows *r)
{
    double sum = 0;

    for (uint32_t i = 0; i < r->train; i++)
        sum += (double)r->host->weight[i];
    return sum;
}

uint32_t rows_columns(const struct rows *r)
{
    const struct feat *f = &r->host->in[0];
    uint32_t n = 0;

    if (r->train == r->n)
        return f->uniq_n;
    for (uint32_t q = f->ptr[0]; q < f->ptr[r->train]; q++)
        n = f->local[q] >= n ? f->local[q] + 1 : n;
    CHECK(n <= f->uniq_n);
    return n;
}

enum st rows_classes(const struct rows *r, uint32_t classes, struct err *e)
{
    const float *y = r->host->y;
    bool bad = false;

    CHECK(r->y && y);
    for (uint32_t i = 0; i < r->n; i++)
        bad |= !is_class(y[i], classes);
    for (uint32_t i = 0; bad && i < r->n; i++)
        if (!is_class(y[i], classes))
            return fail(e, ST_BAD_INPUT, "label %g of row %u is not a class, 0..%u", (double)y[i],
                        i, classes - 1);
    return ST_OK;
}
