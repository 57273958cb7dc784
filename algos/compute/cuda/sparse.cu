/* sparse.cu: sums by segment, and products with a sparse matrix.
 *
 * Where many rows are added to one, the order is the rows' and there are no atomics: each row of
 * the result has one warp that owns it, and that adds all that belongs to it. A warp owns the rows
 * that are its number modulo `owners`; it reads all keys, 32 at a time, and picks out its own. So
 * every key is read `owners` / 32 times, from the cache; no list is sorted and no scratch is taken,
 * and what is popular is spread. */
#include "algos/compute/cuda/gpu.h"

static const uint32_t COLUMNS = 128; /* of the result, for one warp */
static const uint32_t OWNERS = 4096; /* at most */

static uint32_t owners_of(uint32_t rows)
{
    return rows < OWNERS ? rows : OWNERS;
}

/* Columns from .. to of a tile, for this lane. */
#define FOR_COLUMNS(j, cols)                                                                       \
    for (uint32_t j = blockIdx.y * COLUMNS + threadIdx.x;                                          \
         j < (cols) && j < (blockIdx.y + 1) * COLUMNS; j += WARP)

static __global__ void segsum_kernel(struct mat x, const float *w, const uint32_t *seg,
                                     uint32_t owners, struct mat sum, double *n)
{
    const uint32_t owner = blockIdx.x * WARPS + threadIdx.y;

    for (uint64_t from = 0; owner < owners && from < x.r; from += WARP) {
        const uint64_t at = from + threadIdx.x;
        uint32_t mine = __ballot_sync(LANES, at < x.r && seg[at] % owners == owner);

        for (; mine; mine &= mine - 1) {
            const uint64_t i = from + (uint64_t)__ffs((int)mine) - 1;
            const float wi = w ? w[i] : 1.0f;

            FOR_COLUMNS(j, x.c)
            {
                sum.p[(size_t)seg[i] * sum.ld + j] += wi * x.p[i * x.ld + j];
            }
            if (blockIdx.y == 0 && threadIdx.x == 0)
                n[seg[i]] += (double)wi;
        }
    }
}

void cuda_segsum(void *self, struct mat x, const float *w, const uint32_t *seg, struct mat sum,
                 double *n)
{
    struct cuda *s = (struct cuda *)self;
    uint32_t owners = owners_of(sum.r);

    CHECK(x.c == sum.c);
    if (x.r == 0)
        return;
    use(s, {x.p, w, seg, sum.p, n});
    launch(s, warps(owners, x.c ? (x.c - 1) / COLUMNS + 1 : 1), segsum_kernel, x, w, seg, owners,
           sum, n);
}

/* The row of entry q: the last that begins at q or before. */
static inline __device__ uint32_t row_of(const struct csr *x, uint32_t q)
{
    uint32_t lo = 0, hi = x->n;

    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (x->ptr[mid] <= q)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static __global__ void csr_tmm_kernel(struct csr x, struct mat e, uint32_t owners, struct mat g)
{
    const uint32_t owner = blockIdx.x * WARPS + threadIdx.y;
    const uint32_t end = owner < owners && x.n ? x.ptr[x.n] : 0;

    for (uint32_t id = owner; owner < owners && id < g.r; id += owners)
        FOR_COLUMNS(j, g.c)
        {
            g.p[(size_t)id * g.ld + j] = 0.0f;
        }
    for (uint64_t from = end ? x.ptr[0] : 0; from < end; from += WARP) {
        const uint64_t at = from + threadIdx.x;
        uint32_t mine = __ballot_sync(LANES, at < end && x.idx[at] % owners == owner);

        for (; mine; mine &= mine - 1) {
            const uint32_t q = (uint32_t)from + (uint32_t)__ffs((int)mine) - 1;
            const float *row = e.p + (size_t)row_of(&x, q) * e.ld;
            const float v = x.val ? x.val[q] : 1.0f;

            FOR_COLUMNS(j, g.c)
            {
                g.p[(size_t)x.idx[q] * g.ld + j] += v * row[j];
            }
        }
    }
}

void cuda_csr_tmm(void *self, struct csr x, struct mat e, struct mat g)
{
    struct cuda *s = (struct cuda *)self;
    uint32_t owners = owners_of(g.r);

    CHECK(e.r == x.n && e.c == g.c);
    if (g.r == 0 || g.c == 0)
        return;
    use(s, {x.n ? x.ptr : NULL, x.n ? x.idx : NULL, x.n ? x.val : NULL, x.n ? e.p : NULL, g.p});
    launch(s, warps(owners, (g.c - 1) / COLUMNS + 1), csr_tmm_kernel, x, e, owners, g);
}

static __global__ void csr_mm_kernel(struct csr x, struct mat w, struct mat z)
{
    FOR_ELEMENTS(row, z.r, col, z.c)
    {
        float sum = 0.0f;

        for (uint32_t q = x.ptr[row]; q < x.ptr[row + 1]; q++)
            sum += (x.val ? x.val[q] : 1.0f) * w.p[(size_t)x.idx[q] * w.ld + col];
        z.p[row * z.ld + col] = sum;
    }
}

void cuda_csr_mm(void *self, struct csr x, struct mat w, struct mat z)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(z.r == x.n && z.c == w.c);
    if (z.r == 0 || z.c == 0)
        return;
    use(s, {x.ptr, x.idx, x.val, w.r ? w.p : NULL, z.p});
    launch(s, elements(z.r, z.c), csr_mm_kernel, x, w, z);
}

static __global__ void csr_sddmm_kernel(struct csr x, struct mat a, struct mat b, float *val)
{
    FOR_ROWS(row, x.n)
    {
        for (uint32_t q = x.ptr[row]; q < x.ptr[row + 1]; q++) {
            const float *p = a.p + row * a.ld, *r = b.p + (size_t)x.idx[q] * b.ld;
            float sum = 0.0f;

            for (uint32_t j = threadIdx.x; j < a.c; j += WARP)
                sum += p[j] * r[j];
            sum = sum_of_lanes(sum);
            if (threadIdx.x == 0)
                val[q] = sum;
        }
    }
}

void cuda_csr_sddmm(void *self, struct csr x, struct mat a, struct mat b, float *val)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(a.r == x.n && a.c == b.c);
    if (x.n == 0)
        return;
    use(s, {x.ptr, x.idx, a.c ? a.p : NULL, b.r && b.c ? b.p : NULL, val});
    launch(s, warps(x.n), csr_sddmm_kernel, x, a, b, val);
}
