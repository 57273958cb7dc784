/* ew.c: kernels.def compiled for CPUs.
 *
 * Each kernel is one loop nest with the columns as vector lanes. A narrow matrix (one model, ten
 * classes) would leave most lanes empty, so where its F operands are contiguous it is run as
 * strips: whole rows joined into one long row, per-column operands tiled and per-row operands
 * stretched to fit it. Both ways do the same arithmetic per element, so they, and all vector
 * widths, give the same bits. */
#include "algos/compute/cpu.h"
#include "algos/compute/kernels.h"

#include <string.h>

enum { OPERANDS = 8, LANES = 16, STRIP = 512 };

struct strip {
    uint32_t rows, cols; /* of the matrix in one strip; rows * cols <= STRIP */
    uint32_t row[STRIP], col[STRIP];
    float stretched[OPERANDS][STRIP]; /* R and C operands, one value per element */
};

#define F(k) p##k##_[row_ * ld##k##_ + col_]
#define R(k) p##k##_[strip_ ? col_ : row_]
#define C(k) p##k##_[col_]
#define P(k) prm_[k]
#define AT(k, j) p##k##_[(strip_ ? strip_->row[col_] : row_) * ld##k##_ + (j)]

#define OPERAND(k)                                                                                 \
    float *const p##k##_ = a_[k].p;                                                                \
    const size_t ld##k##_ = a_[k].ld;                                                              \
    (void)p##k##_, (void)ld##k##_

/* The body for n elements from done_ on: whole registers, so that the end of a row needs few. */
#define RUN(n, ...)                                                                                \
    {                                                                                              \
        _Pragma("omp simd") for (size_t lane_ = 0; lane_ < n; lane_++)                             \
        {                                                                                          \
            const size_t col_ = done_ + lane_;                                                     \
            const uint32_t col = strip_ ? strip_->col[col_] : (uint32_t)col_;                      \
            (void)col, (void)prm_;                                                                 \
            {                                                                                      \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    }

/* The body stands in a block of its own: a name it declares cannot reach the loop's. The operands
 * of one kernel do not overlap, so the lanes are independent, which is what the pragma says. */
#define EW(name, kinds, ...)                                                                       \
    MR_INLINE void name##_nest(size_t rows_, size_t cols_, const struct arg *a_,                   \
                               const float *prm_, const struct strip *strip_)                      \
    {                                                                                              \
        OPERAND(0);                                                                                \
        OPERAND(1);                                                                                \
        OPERAND(2);                                                                                \
        OPERAND(3);                                                                                \
        OPERAND(4);                                                                                \
        OPERAND(5);                                                                                \
        OPERAND(6);                                                                                \
        OPERAND(7);                                                                                \
        for (size_t row_ = 0; row_ < rows_; row_++) {                                              \
            size_t done_ = 0;                                                                      \
            for (; done_ + LANES <= cols_; done_ += LANES)                                         \
                RUN(LANES, __VA_ARGS__)                                                            \
            for (; done_ + 4 <= cols_; done_ += 4)                                                 \
                RUN(4, __VA_ARGS__)                                                                \
            for (; done_ < cols_; done_++)                                                         \
                RUN(1, __VA_ARGS__)                                                                \
        }                                                                                          \
    }                                                                                              \
    MR_CLONES static void name##_rows(size_t rows, size_t cols, const struct arg *a,               \
                                      const float *prm)                                            \
    {                                                                                              \
        name##_nest(rows, cols, a, prm, NULL);                                                     \
    }                                                                                              \
    MR_CLONES static void name##_strip(const struct strip *s, size_t rows, const struct arg *a,    \
                                       const float *prm)                                           \
    {                                                                                              \
        name##_nest(1, rows * s->cols, a, prm, s);                                                 \
    }

#include "algos/compute/kernels.def"
#undef EW

static const struct kernel {
    const char *kinds;
    void (*rows)(size_t rows, size_t cols, const struct arg *a, const float *prm);
    void (*strip)(const struct strip *s, size_t rows, const struct arg *a, const float *prm);
} kernels[EW_COUNT] = {
#define EW(name, kinds, ...) [EW_##name] = {kinds, name##_rows, name##_strip},
#include "algos/compute/kernels.def"
#undef EW
};

static int contiguous(const char *kinds, uint32_t cols, const struct arg *a)
{
    for (int k = 0; kinds[k]; k++)
        if (kinds[k] == 'F' && a[k].ld != cols)
            return 0;
    return 1;
}

/* Repeats the first `have` bytes of p up to `want`. */
static void repeat(void *p, size_t have, size_t want)
{
    while (have < want) {
        size_t n = have < want - have ? have : want - have;

        memcpy((char *)p + have, p, n);
        have += n;
    }
}

/* What is the same for all strips: the places of elements and the per-column operands. One column,
 * the most frequent case, is not worth the calls. */
static void strip_begin(struct strip *s, const char *kinds, const uint32_t size[2],
                        const struct arg *a)
{
    const size_t one = size[1] * sizeof(float);
    size_t all;

    s->cols = size[1];
    s->rows = STRIP / s->cols < size[0] ? STRIP / s->cols : size[0];
    all = s->rows * one;
    memset(s->col, 0, s->cols == 1 ? all : one);
    for (uint32_t j = 1; j < s->cols; j++)
        s->col[j] = j;
    if (s->cols > 1)
        repeat(s->col, one, all);
    for (int k = 0; kinds[k]; k++) {
        const float first = kinds[k] == 'C' ? *a[k].p : 0;

        for (uint32_t q = 0; kinds[k] == 'C' && s->cols == 1 && q < s->rows; q++)
            s->stretched[k][q] = first;
        if (kinds[k] == 'C' && s->cols > 1) {
            memcpy(s->stretched[k], a[k].p, one);
            repeat(s->stretched[k], one, all);
        }
        for (uint32_t q = 0; kinds[k] == 'A' && q < s->rows * s->cols; q++)
            s->row[q] = q / s->cols;
    }
}

/* The operands as the strip of `rows` rows from `at` on sees them. */
static void strip_operands(struct strip *s, const char *kinds, size_t at, uint32_t rows,
                           const struct arg *a, struct arg *v)
{
    for (int k = 0; kinds[k]; k++) {
        float *to = s->stretched[k];

        v[k] = (struct arg){to, 0};
        if (kinds[k] == 'F' || kinds[k] == 'A')
            v[k] = (struct arg){a[k].p + at * a[k].ld, a[k].ld};
        else if (kinds[k] == 'R' && s->cols == 1)
            v[k].p = a[k].p + at;
        else if (kinds[k] == 'R')
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < s->cols; j++)
                    *to++ = a[k].p[at + i];
    }
}

void cpu_ew(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
            const float *prm)
{
    const char *kinds;
    struct arg v[OPERANDS] = {{NULL, 0}};
    struct cpu_kernel sooner = {NULL};
    struct strip s;

    (void)self;
    CHECK(k > EW_NONE && k < EW_COUNT);
    kinds = kernels[k].kinds;
    if (size[0] == 0 || size[1] == 0)
        return;
    for (int i = 0; kinds[i]; i++) {
        CHECK(a[i].p);
        CHECK(kinds[i] != 'F' || a[i].ld >= size[1] || size[0] == 1);
    }
    if (k == EW_adagrad)
        sooner = cpu_adagrad(size[1], a);
    if (size[0] == 1 || size[1] % LANES == 0 || size[1] >= 4 * LANES ||
        !contiguous(kinds, size[1], a)) {
        (sooner.run ? sooner.run : kernels[k].rows)(size[0], size[1], a, prm);
        return;
    }
    strip_begin(&s, kinds, size, a);
    for (uint32_t at = 0; at < size[0]; at += s.rows) {
        uint32_t rows = size[0] - at < s.rows ? size[0] - at : s.rows;

        strip_operands(&s, kinds, at, rows, a, v);
        if (sooner.run)
            sooner.run(1, (size_t)rows * s.cols, v, prm);
        else
            kernels[k].strip(&s, rows, v, prm);
    }
}
