/* elements.cu: kernels.def compiled for the device, random numbers, and moves of rows.
 *
 * One kernel per entry, one thread an element. The formulas are those of ref, compiled without
 * contraction and with exact quotients and roots (CMakeLists.txt), so the bits are, too. */
#include "algos/compute/cuda/gpu.h"

struct operands {
    struct arg a[OPERANDS];
    float prm[2];
};

#define F(k) o_.a[k].p[row_ * o_.a[k].ld + col]
#define R(k) o_.a[k].p[row_]
#define C(k) o_.a[k].p[col]
#define P(k) o_.prm[k]
#define AT(k, j) o_.a[k].p[row_ * o_.a[k].ld + (j)]

#define EW(name, kinds, ...)                                                                       \
    static __global__ void name##_kernel(uint32_t rows_, uint32_t cols_, struct operands o_)       \
    {                                                                                              \
        FOR_ELEMENTS(row_, rows_, col, cols_)                                                      \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#include "algos/compute/kernels.def"
#undef EW

/* How many scalars a body reads: prm may be no longer. */
static constexpr uint32_t scalars(const char *body)
{
    uint32_t n = 0;

    for (; *body; body++)
        if (body[0] == 'P' && body[1] == '(' && body[2] >= '0' && body[2] <= '9')
            n = (uint32_t)(body[2] - '0') + 1 > n ? (uint32_t)(body[2] - '0') + 1 : n;
    return n;
}

static const struct kernel {
    const char *kinds;
    uint32_t scalars;
    void (*run)(uint32_t, uint32_t, struct operands);
} kernels[EW_COUNT] = {
    {NULL, 0, NULL},
#define EW(name, kinds, ...) {kinds, scalars(#__VA_ARGS__), name##_kernel},
#include "algos/compute/kernels.def"
#undef EW
};

#define EW(name, kinds, ...)                                                                       \
    static_assert(scalars(#__VA_ARGS__) <= 2 && sizeof(kinds) <= OPERANDS + 1,                     \
                  "see struct operands");
#include "algos/compute/kernels.def"
#undef EW

void cuda_ew(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
             const float *prm)
{
    struct cuda *s = (struct cuda *)self;
    struct operands o = {};
    const char *kinds;

    CHECK(k > EW_NONE && k < EW_COUNT);
    kinds = kernels[k].kinds;
    if (size[0] == 0 || size[1] == 0)
        return;
    for (int i = 0; kinds[i]; i++) {
        CHECK(a[i].p);
        CHECK(kinds[i] != 'F' || a[i].ld >= size[1] || size[0] == 1);
        o.a[i] = a[i];
    }
    for (uint32_t i = 0; i < kernels[k].scalars; i++)
        o.prm[i] = prm[i];
    use(s, {o.a[0].p, o.a[1].p, o.a[2].p, o.a[3].p, o.a[4].p, o.a[5].p, o.a[6].p, o.a[7].p});
    launch(s, elements(size[0], size[1]), kernels[k].run, size[0], size[1], o);
}

/* Four numbers a thread: what one call of Philox gives. */
static __global__ void fill_kernel(enum fill_kind k, struct philox_key key, const uint64_t *rid,
                                   struct mat out)
{
    FOR_ELEMENTS(row, out.r, block, (out.c + 3) / 4)
    {
        uint32_t word[4];

        philox_words(key, rid ? rid[row] : row, block, word);
        for (uint32_t l = 0; l < 4 && block * 4 + l < out.c; l++)
            out.p[row * out.ld + block * 4 + l] = k == FILL_U01      ? mr_u01(word[l])
                                                  : k == FILL_NORMAL ? mr_normal(word[l])
                                                                     : mr_sign(word[l]);
    }
}

void cuda_fill(void *self, enum fill_kind k, const uint64_t key[2], const uint64_t *rid,
               struct mat out)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(k == FILL_U01 || k == FILL_NORMAL || k == FILL_SIGN);
    if (out.r == 0 || out.c == 0)
        return;
    use(s, {rid, out.p});
    launch(s, elements(out.r, (out.c + 3) / 4), fill_kernel, k, philox_key(key), rid, out);
}

static __global__ void gather_kernel(struct mat src, const uint32_t *from, struct mat dst)
{
    FOR_ELEMENTS(row, dst.r, col, dst.c)
    {
        dst.p[row * dst.ld + col] = src.p[(size_t)from[row] * src.ld + col];
    }
}

void cuda_gather(void *self, struct mat src, const uint32_t *row, struct mat dst)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(src.c == dst.c);
    if (dst.r == 0 || dst.c == 0)
        return;
    use(s, {src.p, row, dst.p});
    launch(s, elements(dst.r, dst.c), gather_kernel, src, row, dst);
}

static __global__ void scatter_kernel(struct mat src, const uint32_t *to, struct mat dst)
{
    FOR_ELEMENTS(row, src.r, col, src.c)
    {
        dst.p[(size_t)to[row] * dst.ld + col] = src.p[row * src.ld + col];
    }
}

void cuda_scatter(void *self, struct mat src, const uint32_t *row, struct mat dst)
{
    struct cuda *s = (struct cuda *)self;

    CHECK(src.c == dst.c);
    if (src.r == 0 || src.c == 0)
        return;
    use(s, {src.p, row, dst.p});
    launch(s, elements(src.r, src.c), scatter_kernel, src, row, dst);
}
