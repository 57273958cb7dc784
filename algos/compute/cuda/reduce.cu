/* reduce.cu: sums and searches over rows and columns, softmax.
 *
 * A warp has a row: lane l takes the elements l, l + 32, ... in order, and the lanes are folded in
 * halves. Nothing is added by atomics, so the order of a sum depends on its shape alone. */
#include "algos/compute/cuda/gpu.h"

enum { TILE = 32 }; /* of colsum: columns, and rows at once */

/* A block has 32 columns and a row of lanes per warp; the warps' sums are added in order. */
static __global__ void colsum_kernel(struct mat a, const float *w, float *out)
{
    __shared__ double part[TILE][TILE + 1];
    const uint32_t col = blockIdx.x * TILE + threadIdx.x;
    double sum = 0.0;

    for (size_t i = threadIdx.y; col < a.c && i < a.r; i += TILE)
        sum += (w ? (double)w[i] : 1.0) * (double)a.p[i * a.ld + col];
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || col >= a.c)
        return;
    for (uint32_t i = 1; i < TILE; i++)
        sum += part[i][threadIdx.x];
    out[col] = (float)sum;
}

void cuda_colsum(void *self, struct mat a, const float *w, float *out)
{
    struct cuda *s = (struct cuda *)self;
    struct space g;

    if (a.c == 0)
        return;
    use(s, {a.r ? a.p : NULL, a.r ? w : NULL, out});
    g.grid = dim3((a.c - 1) / TILE + 1);
    g.block = dim3(TILE, TILE);
    launch(s, g, colsum_kernel, a, w, out);
}

static __global__ void rowsq_kernel(struct mat a, float *out)
{
    FOR_ROWS(row, a.r)
    {
        double sum = 0.0;

        for (uint32_t j = threadIdx.x; j < a.c; j += WARP)
            sum += (double)a.p[row * a.ld + j] * (double)a.p[row * a.ld + j];
        sum = sum_of_lanes(sum);
        if (threadIdx.x == 0)
            out[row] = (float)sum;
    }
}

void cuda_rowsq(void *self, struct mat a, float *out)
{
    struct cuda *s = (struct cuda *)self;

    if (a.r == 0)
        return;
    use(s, {a.c ? a.p : NULL, out});
    launch(s, warps(a.r), rowsq_kernel, a, out);
}

struct place { /* a number and its column */
    float val;
    uint32_t at;
};

/* Is x before y? Numbers ascending, NaN behind them all, equal ones by column. */
static inline __device__ bool before(struct place x, struct place y)
{
    if (x.val < y.val || (x.val == x.val && y.val != y.val))
        return true;
    return (x.val == y.val || (x.val != x.val && y.val != y.val)) && x.at < y.at;
}

/* The first of the row in that order; after `last`, unless that is NULL. Every lane gets it. */
static inline __device__ struct place first_of_row(const float *row, uint32_t n, const float *bias,
                                                   const struct place *last)
{
    struct place best = {__builtin_nanf(""), UINT32_MAX};

    for (uint32_t j = threadIdx.x; j < n; j += WARP) {
        struct place p = {row[j] + (bias ? bias[j] : 0.0f), j};

        if ((!last || before(*last, p)) && before(p, best))
            best = p;
    }
    for (uint32_t half = WARP / 2; half; half /= 2) {
        struct place p = {__shfl_down_sync(LANES, best.val, half),
                          __shfl_down_sync(LANES, best.at, half)};

        if (before(p, best))
            best = p;
    }
    best.val = __shfl_sync(LANES, best.val, 0);
    best.at = __shfl_sync(LANES, best.at, 0);
    return best;
}

/* k is small, and a row comes from the cache after the first time. */
static __global__ void topk_kernel(struct mat a, const float *bias, uint32_t k, uint32_t *at,
                                   float *val)
{
    FOR_ROWS(row, a.r)
    {
        struct place p = {0.0f, 0};

        for (uint32_t q = 0; q < k; q++) {
            struct place last = p;

            p = first_of_row(a.p + row * a.ld, a.c, bias, q ? &last : NULL);
            if (threadIdx.x == 0) {
                at[row * k + q] = p.at;
                val[row * k + q] = p.val;
            }
        }
    }
}

void cuda_topk(void *self, struct mat a, const float *bias, uint32_t k, uint32_t *at, float *val)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(k <= a.c);
    if (a.r == 0 || k == 0)
        return;
    use(s, {a.p, bias, at, val});
    launch(s, warps(a.r), topk_kernel, a, bias, k, at, val);
}

void cuda_rowmin(void *self, struct mat a, const float *bias, uint32_t *at, float *val)
{
    CHECK(a.c > 0 || a.r == 0);
    cuda_topk(self, a, bias, a.c > 0, at, val);
}

/* A warp has a group of a row. */
static __global__ void softmax_kernel(uint32_t groups, struct mat z, float *lse)
{
    const uint32_t n = z.c / groups;

    FOR_ROWS(i, (uint64_t)z.r * groups)
    {
        float *p = z.p + i / groups * z.ld + i % groups * n;
        float max = -__builtin_inff(), sum = 0.0f, scale;

        for (uint32_t j = threadIdx.x; j < n; j += WARP)
            max = p[j] > max ? p[j] : max;
        for (uint32_t half = WARP / 2; half; half /= 2) {
            float other = __shfl_down_sync(LANES, max, half);

            max = other > max ? other : max;
        }
        max = __shfl_sync(LANES, max, 0);
        for (uint32_t j = threadIdx.x; j < n; j += WARP) {
            p[j] = mr_exp(p[j] - max);
            sum += p[j];
        }
        sum = sum_of_lanes(sum);
        scale = 1.0f / sum;
        for (uint32_t j = threadIdx.x; j < n; j += WARP)
            p[j] *= scale;
        if (threadIdx.x == 0)
            lse[i] = max + mr_log(sum);
    }
}

void cuda_softmax(void *self, uint32_t groups, struct mat z, float *lse)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(groups > 0 && z.c % groups == 0);
    if (z.r == 0 || z.c == 0)
        return;
    use(s, {z.p, lse});
    launch(s, warps((uint64_t)z.r * groups), softmax_kernel, groups, z, lse);
}
