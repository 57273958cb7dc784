/* ew.c: kernels.def compiled for CPUs.
 *
 * Each kernel is one loop nest with the columns as vector lanes. A single column would leave the lanes
 * empty, so where all strides are 1 the nest is entered turned round: rows become the lanes. Both forms
 * do the same arithmetic per element, so they, and all vector widths, give the same bits. */
#include "algos/compute/cpu.h"
#include "algos/compute/kernels.h"

#define F(k) p##k##_[row_ * ld##k##_ + col_]
#define R(k) p##k##_[turned_ ? col_ : row_]
#define C(k) p##k##_[turned_ ? 0 : col_]
#define P(k) prm_[k]
#define AT(k, j) p##k##_[(turned_ ? col_ : row_) * ld##k##_ + (j)]

#define OPERAND(k)                                                                                 \
    float *const p##k##_ = a_[k].p;                                                                \
    const size_t ld##k##_ = a_[k].ld;                                                              \
    (void)p##k##_, (void)ld##k##_;

/* The body stands in a block of its own: a name it declares cannot reach the loop's. The operands of one
 * kernel do not overlap, so the lanes are independent, which is what the pragma says. */
#define EW(name, ...)                                                                              \
    MR_INLINE void name##_nest(size_t rows_, size_t cols_, const struct arg *a_,                   \
                               const float *prm_, const int turned_)                               \
    {                                                                                              \
        OPERAND(0)                                                                                 \
        OPERAND(1) OPERAND(2) OPERAND(3) OPERAND(4) OPERAND(5) OPERAND(6)                          \
            OPERAND(7) for (size_t row_ = 0; row_ < rows_; row_++)                                 \
        {                                                                                          \
            _Pragma("omp simd") for (size_t col_ = 0; col_ < cols_; col_++)                        \
            {                                                                                      \
                const uint32_t row = (uint32_t)(turned_ ? col_ : row_);                            \
                const uint32_t col = (uint32_t)(turned_ ? row_ : col_);                            \
                (void)row, (void)col, (void)prm_;                                                  \
                {                                                                                  \
                    __VA_ARGS__                                                                    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    MR_CLONES static void name##_run(const uint32_t size[2], const struct arg a[8],                \
                                     const float *prm)                                             \
    {                                                                                              \
        if (size[1] == 1 && unit_strides(a))                                                       \
            name##_nest(1, size[0], a, prm, 1);                                                    \
        else                                                                                       \
            name##_nest(size[0], size[1], a, prm, 0);                                              \
    }

static int unit_strides(const struct arg a[8])
{
    int unit = 1;

    for (int k = 0; k < 8; k++)
        unit &= a[k].ld <= 1;
    return unit;
}

#include "algos/compute/kernels.def"
#undef EW

void cpu_ew(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
            const float *prm)
{
    static void (*const run[EW_COUNT])(const uint32_t *, const struct arg *, const float *) = {
#define EW(name, ...) [EW_##name] = name##_run,
#include "algos/compute/kernels.def"
#undef EW
    };

    (void)self;
    CHECK(k > EW_NONE && k < EW_COUNT);
    run[k](size, a, prm);
}
