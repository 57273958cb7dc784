#include "algos/loss.h"

#include <math.h>

static double square(double x)
{
    return x * x;
}

double loss_of(const struct shape *sh, double z, double y)
{
    const double at = (double)sh->loss_at, d = z - y, hinge = fmax(0, 1 - (2 * y - 1) * z);

    switch (sh->loss) {
    case LOSS_ABSOLUTE:
        return fabs(d);
    case LOSS_QUANTILE:
        return d > 0 ? (1 - at) * d : -at * d;
    case LOSS_HUBER:
        return fabs(d) <= at ? square(d) / 2 : at * (fabs(d) - at / 2);
    case LOSS_HINGE:
        return hinge;
    case LOSS_SQUARED_HINGE:
        return square(hinge);
    case LOSS_POISSON:
        return z - (y > 0 ? y * log(fmax(z, 1e-38)) : 0);
    case LOSS_OF_OUT:
    case LOSS_ONE_VS_REST:
        break;
    }
    return (double)NAN;
}

static double entropy(double p)
{
    return p > 0 && p < 1 ? -p * log(p) - (1 - p) * log1p(-p) : 0;
}

double loss_baseline(const struct shape *sh, const double *label)
{
    double n = 0, sum = 0, mean;

    if (sh->loss == LOSS_POISSON) {
        mean = label[1] / label[0];
        return !(label[0] > 0) ? (double)NAN : mean > 0 ? mean - mean * log(mean) : 0;
    }
    if (sh->out == OUT_VALUE || sh->loss == LOSS_OF_OUT)
        return (double)NAN;
    for (uint32_t c = 0; c < sh->classes; c++)
        n += label[c];
    for (uint32_t c = 0; c < sh->classes; c++)
        sum += entropy(label[c] / n);
    if (!(n > 0) || sh->loss == LOSS_ONE_VS_REST)
        return n > 0 ? sum : (double)NAN;
    return sh->loss == LOSS_HINGE ? 2 * fmin(label[0], label[1]) / n
                                  : 4 * label[0] * label[1] / square(n);
}
