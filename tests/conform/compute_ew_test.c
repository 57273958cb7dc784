/* Every kernel of kernels.def on every back end, against the formula in f64; see compute_suite.h.
 *
 * Budget: a kernel has at most eight roundings between its operands and a result, each of u at
 * most, and over a whole matrix no difference is small against its terms: 64 u^2. */
#include "tests/conform/compute_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 5 };

static const float prm[2] = {0.3f, 0.7f};

struct values { /* operands of one element, then what the kernel leaves in them */
    double v[8];
    uint32_t col;
};

static double soft(double w, double t)
{
    return fabs(w) <= t ? 0.0 : w - copysign(t, w);
}

static void want_logistic(struct values *e)
{
    double z = e->v[0], y = e->v[1];

    e->v[3] = (1.0 / (1.0 + exp(-z)) - y) * e->v[2];
    e->v[4] = log1p(exp(-fabs(z))) + fmax(z, 0.0) - y * z;
}

static void want_squared(struct values *e)
{
    double d = e->v[0] - e->v[1];

    e->v[3] = d * e->v[2];
    e->v[4] = d * d / 2.0;
}

static void want_pinball(struct values *e)
{
    double d = e->v[0] - e->v[1], price = d > 0 ? (double)prm[1] : d < 0 ? -(double)prm[0] : 0;

    e->v[3] = price * e->v[2];
    e->v[4] = price * d;
}

static void want_huber(struct values *e)
{
    double d = e->v[0] - e->v[1], most = (double)prm[0];

    e->v[3] = fmax(-most, fmin(most, d)) * e->v[2];
    e->v[4] = fabs(d) <= most ? d * d / 2.0 : most * (fabs(d) - most / 2.0);
}

static void want_hinge(struct values *e)
{
    double s = 2 * e->v[1] - 1, h = fmax(0.0, 1 - s * e->v[0]);

    e->v[3] = h > 0 ? -s * e->v[2] : 0;
    e->v[4] = h;
}

static void want_squared_hinge(struct values *e)
{
    double s = 2 * e->v[1] - 1, h = fmax(0.0, 1 - s * e->v[0]);

    e->v[3] = -2 * s * h * e->v[2];
    e->v[4] = h * h;
}

static void want_poisson(struct values *e) /* on the tangent where z > P0 */
{
    double z = e->v[0], most = (double)prm[0], mean = exp(fmin(z, most));

    e->v[3] = (mean - e->v[1]) * e->v[2];
    e->v[4] = mean * (1 + fmax(0.0, z - most)) - e->v[1] * z;
    e->v[0] = mean;
}

static void want_one_vs_rest(struct values *e)
{
    e->v[1] = e->col % CLASSES == (uint32_t)e->v[1];
    want_logistic(e);
}

static void want_group_sum(struct values *e) /* v[0] is the sum */
{
    e->v[1] = e->v[0];
}

static void want_fade(struct values *e)
{
    e->v[0] *= (double)prm[0];
}

static void want_onehot_grad(struct values *e)
{
    e->v[3] = (e->v[0] - (e->col % CLASSES == (uint32_t)e->v[1])) * e->v[2];
}

static void want_onehot_loss(struct values *e) /* v[1] is the logit of the label */
{
    e->v[3] = e->v[0] - e->v[1];
}

static void want_standardise(struct values *e)
{
    e->v[3] = (e->v[0] - e->v[1]) * e->v[2];
}

static void want_addrow(struct values *e)
{
    e->v[0] += e->v[1];
}

static void want_copy(struct values *e)
{
    e->v[0] = e->v[1];
}

static void want_set(struct values *e)
{
    e->v[0] = (double)prm[0];
}

static void want_subrow(struct values *e)
{
    e->v[2] = e->v[0] - e->v[1];
}

static void want_square_distance(struct values *e)
{
    e->v[2] = fmax(e->v[0] + e->v[1], 0.0);
}

static void want_mean_step(struct values *e)
{
    e->v[1] = (e->v[1] - e->v[2] * e->v[0]) * e->v[3];
    e->v[0] += e->v[1];
}

static void want_axpby(struct values *e)
{
    e->v[0] = (double)prm[0] * e->v[0] + (double)prm[1] * e->v[1];
}

static void want_mul(struct values *e)
{
    e->v[2] = e->v[0] * e->v[1];
}

static void want_nonzero(struct values *e)
{
    e->v[1] = e->v[0] != 0;
}

static void want_group_mul(struct values *e)
{
    e->v[2] = e->v[0] * e->v[1];
}

static void want_fm_pairs(struct values *e) /* v[1] is a sum of squares, v[2] a sum */
{
    e->v[0] += (e->v[1] - e->v[2]) / 2;
}

static void want_fm_grad(struct values *e)
{
    e->v[0] += e->v[1] * (e->v[2] * e->v[3] - e->v[4]);
}

static void want_shrink(struct values *e)
{
    e->v[0] += e->v[1] * e->v[2] * e->v[3];
}

static void want_sgd(struct values *e)
{
    double w = e->v[0], lr = e->v[2];

    e->v[0] = soft(w - lr * (e->v[1] * (double)prm[0] + e->v[4] * w), lr * e->v[3]);
}

static void want_adagrad(struct values *e)
{
    double w = e->v[0], g = e->v[2] * (double)prm[0] + e->v[5] * w, n = e->v[1] + g * g;
    double step = e->v[3] / (sqrt(n) + 1e-8);

    e->v[0] = soft(w - step * g, step * e->v[4]);
    e->v[1] = n;
}

static void want_ftrl(struct values *e)
{
    double w = e->v[0], g = e->v[3] * (double)prm[0], n = e->v[1] + g * g, alpha = e->v[4];
    double z = e->v[2] + g - (sqrt(n) - sqrt(e->v[1])) / alpha * w;

    e->v[0] = -soft(z, e->v[5]) / (((double)prm[1] + sqrt(n)) / alpha + e->v[6]);
    e->v[1] = n;
    e->v[2] = z;
}

static void want_ftrl_fit(struct values *e)
{
    double w = e->v[0], s = sqrt(e->v[1]);

    if (w != 0)
        e->v[2] = -w * (((double)prm[1] + s) / e->v[3] + e->v[5]) - copysign(e->v[4], w);
}

/* Operands in order: the kind as in kernels.def, and what is put in: n any number, p positive, b 0
 * or 1, c a class, O nothing; of an A operand g the number of the column's group, s and q the sum
 * and the sum of squares of a group, where CLASSES columns are one. Capitals are written by the
 * kernel. */
static const struct kernel {
    const char *name;
    enum ew_id id;
    const char *kinds, *values;
    void (*want)(struct values *e);
} kernels[] = {
    {"logistic", EW_logistic, "FRRFF", "nbpOO", want_logistic},
    {"squared", EW_squared, "FRRFF", "nnpOO", want_squared},
    {"pinball", EW_pinball, "FRRFF", "nnpOO", want_pinball},
    {"huber", EW_huber, "FRRFF", "nnpOO", want_huber},
    {"hinge", EW_hinge, "FRRFF", "nbpOO", want_hinge},
    {"squared_hinge", EW_squared_hinge, "FRRFF", "nbpOO", want_squared_hinge},
    {"poisson", EW_poisson, "FRRFF", "NppOO", want_poisson},
    {"one_vs_rest", EW_one_vs_rest, "FRRFF", "ncpOO", want_one_vs_rest},
    {"group_sum", EW_group_sum, "AF", "nO", want_group_sum},
    {"onehot_grad", EW_onehot_grad, "FRRF", "pcpO", want_onehot_grad},
    {"onehot_loss", EW_onehot_loss, "FARF", "nncO", want_onehot_loss},
    {"standardise", EW_standardise, "FCCF", "nnpO", want_standardise},
    {"addrow", EW_addrow, "FC", "Nn", want_addrow},
    {"copy", EW_copy, "FF", "On", want_copy},
    {"set", EW_set, "F", "O", want_set},
    {"subrow", EW_subrow, "FCF", "nnO", want_subrow},
    {"square_distance", EW_square_distance, "FRF", "npO", want_square_distance},
    {"mean_step", EW_mean_step, "FFRR", "NNpp", want_mean_step},
    {"axpby", EW_axpby, "FF", "Nn", want_axpby},
    {"mul", EW_mul, "FFF", "nnO", want_mul},
    {"nonzero", EW_nonzero, "FF", "nO", want_nonzero},
    {"group_mul", EW_group_mul, "FAF", "ngO", want_group_mul},
    {"fm_pairs", EW_fm_pairs, "FAA", "Nqs", want_fm_pairs},
    {"fm_grad", EW_fm_grad, "FFRCA", "Nnppg", want_fm_grad},
    {"shrink", EW_shrink, "FFRC", "Nnpp", want_shrink},
    {"fade", EW_fade, "F", "N", want_fade},
    {"sgd", EW_sgd, "FFCCC", "Nnppp", want_sgd},
    {"adagrad", EW_adagrad, "FFFCCC", "NPnppp", want_adagrad},
    {"ftrl", EW_ftrl, "FFFFCCC", "NPNnppp", want_ftrl},
    {"ftrl_fit", EW_ftrl_fit, "FFFCCC", "npNppp", want_ftrl_fit},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };
static_assert(KERNELS == EW_COUNT - 1, "every kernel has its formula here");

static uint32_t columns(char kind, uint32_t c)
{
    return kind == 'R' ? 1 : kind == 'A' ? c * CLASSES : c;
}

static float value(const struct kernel *k, int op, uint64_t i)
{
    uint64_t stream = 100 + (uint64_t)op;

    switch (k->values[op]) {
    case 'n':
    case 'N':
    case 'g':
    case 's':
    case 'q':
        return number(stream, i) * 4.0f;
    case 'p':
    case 'P':
        return number(stream, i) * 0.5f + 0.5f;
    case 'b':
        return (float)index_below(stream, i, 2);
    case 'c':
        return (float)index_below(stream, i, CLASSES);
    default:
        return canary;
    }
}

/* variant = kernel * 2 + padded; where it says so, one NaN goes into the operand k - 1 */
static void run_ew(struct rig *g, const struct shape4 *s, struct result *out)
{
    const struct kernel *k = &kernels[s->variant / 2];
    uint32_t pad = s->variant % 2 * 3, size[2] = {s->r, s->c};
    bool classes = strpbrk(k->values, "cgsq") || strchr(k->kinds, 'A');
    float p[2] = {classes ? (float)CLASSES : prm[0], prm[1]};
    struct arg a[8] = {{NULL, 0}};
    struct mat m[8];

    for (int op = 0; k->kinds[op]; op++) {
        bool matrix = k->kinds[op] == 'F' || k->kinds[op] == 'A';
        uint32_t c = columns(k->kinds[op], s->c), ld = matrix ? c + pad : c;
        size_t n = (k->kinds[op] == 'C' ? 1 : (size_t)s->r) * ld;
        float *v = malloc((n + 1) * sizeof *v);

        m[op] = (struct mat){NULL, s->r, s->c, ld};
        for (size_t q = 0; q < n; q++)
            v[q] = q % ld < c ? value(k, op, q / ld * c + q % ld) : canary;
        if (s->k == (uint32_t)op + 1 && n)
            v[0] = canary;
        m[op].p =
            k->values[op] < 'a' ? inout_bytes(g, v, n * sizeof *v) : in_bytes(g, v, n * sizeof *v);
        a[op] = (struct arg){m[op].p, matrix ? ld : 0};
        free(v);
    }
    g->c->ew(g->cs, k->id, size, a, p);
    rig_fetch(g);
    for (int op = 0; k->kinds[op]; op++)
        if (k->values[op] < 'a')
            take_mat(g, m[op], out);
}

/* Of whole rows of c * CLASSES columns, what element j of row i has to do with. */
static double whole_row(const struct kernel *k, int op, uint32_t c, uint32_t i, uint32_t j)
{
    const uint64_t at = (uint64_t)i * c * CLASSES;
    double sum = 0;

    if (k->values[op] == 'g')
        return (double)value(k, op, at + j / CLASSES);
    if (k->values[op] == 'n' && strchr(k->values, 'c'))
        return (double)value(k, op, at + (uint64_t)j * CLASSES + (uint64_t)value(k, 2, i));
    for (uint64_t f = 0; f < CLASSES; f++) {
        double v = (double)value(k, op, at + (uint64_t)j * CLASSES + f);

        sum += k->values[op] == 'q' ? v * v : v;
    }
    return sum;
}

static void element(const struct kernel *k, const struct shape4 *s, uint32_t i, uint32_t j,
                    struct values *e)
{
    e->col = j;
    for (int op = 0; k->kinds[op]; op++) {
        uint64_t at = k->kinds[op] == 'R' ? i : k->kinds[op] == 'C' ? j : (uint64_t)i * s->c + j;

        e->v[op] = k->kinds[op] == 'A' ? whole_row(k, op, s->c, i, j) : (double)value(k, op, at);
    }
    k->want(e);
}

static void truth_ew(const struct shape4 *s, struct result *out)
{
    const struct kernel *k = &kernels[s->variant / 2];
    struct values e;

    for (int op = 0; k->kinds[op]; op++) {
        for (uint32_t i = 0; k->values[op] < 'a' && i < s->r; i++) {
            for (uint32_t j = 0; j < s->c; j++) {
                element(k, s, i, j, &e);
                result_add(out, e.v[op]);
            }
        }
    }
}

static double eight_roundings(const struct shape4 *s)
{
    (void)s;
    return 64.0;
}

/* one column, narrow ones that are run as strips (longer than one strip, too), full lanes, wide */
static const uint32_t grids[][2] = {
    {0, 3},  {3, 0},    {40, 1}, {1, 1},   {1, 17}, {600, 1},
    {33, 3}, {200, 10}, {7, 16}, {31, 63}, {5, 80},
};
enum { GRIDS = sizeof grids / sizeof *grids };

static void kernels_compute_their_formula(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < KERNELS; k++) {
        struct shape4 shapes[2 * GRIDS];
        struct op op = {kernels[k].name, run_ew,           truth_ew,
                        eight_roundings, .shapes = shapes, .n = 2 * GRIDS};

        for (uint32_t i = 0; i < 2 * GRIDS; i++)
            shapes[i] = (struct shape4){grids[i / 2][0], grids[i / 2][1], 0, k * 2 + i % 2};
        compute_suite_run(&op);
    }
}

/* Strides are layout, not data: a padded matrix gives the same bits. */
static void strides_do_not_change_the_bits(void **state)
{
    struct result *one = malloc(sizeof *one), *two = malloc(sizeof *two);
    struct rig g;

    (void)state;
    for (uint32_t i = 0; i < back_ends() * KERNELS * GRIDS; i++) {
        const uint32_t *size = grids[i % GRIDS];
        uint32_t k = i / GRIDS % KERNELS;

        one->n = two->n = 0;
        rig_open(&g, i / GRIDS / KERNELS);
        run_ew(&g, &(struct shape4){size[0], size[1], 0, k * 2}, one);
        rig_clear(&g, 3);
        run_ew(&g, &(struct shape4){size[0], size[1], 0, k * 2 + 1}, two);
        rig_close(&g);
        assert_int_equal(one->n, two->n);
        assert_memory_equal(one->value, two->value, one->n * sizeof *one->value);
    }
    free(one);
    free(two);
}

/* What a kernel is, is written once, and each of its operations is rounded once: the bits are those
 * of ref on every back end, so that they do not depend on the machine. */
static void every_back_end_gives_the_bits_of_ref(void **state)
{
    static struct result ref, other;

    (void)state;
    for (uint32_t i = 0; i < back_ends() * KERNELS * GRIDS; i++) {
        const uint32_t *size = grids[i % GRIDS];
        const struct shape4 s = {size[0], size[1], 0, i / GRIDS % KERNELS * 2 + i % 2};
        struct rig g;

        ref.n = other.n = 0;
        rig_open(&g, 0);
        run_ew(&g, &s, &ref);
        rig_close(&g);
        rig_open(&g, i / GRIDS / KERNELS);
        run_ew(&g, &s, &other);
        rig_close(&g);
        assert_int_equal(ref.n, other.n);
        assert_memory_equal(ref.value, other.value, ref.n * sizeof *ref.value);
    }
}

/* A diverged model must show: a NaN in any number that a kernel reads reaches what it writes. */
static void a_nan_comes_out(void **state)
{
    static struct result out;
    struct rig g;

    (void)state;
    for (uint32_t i = 0; i < back_ends() * KERNELS * 8; i++) {
        uint32_t k = i / 8 % KERNELS, op = i % 8;
        bool any = false;

        if (op >= strlen(kernels[k].kinds) || !strchr("nNpP", kernels[k].values[op]) ||
            kernels[k].kinds[op] == 'A')
            continue;
        out.n = 0;
        rig_open(&g, i / 8 / KERNELS);
        run_ew(&g, &(struct shape4){4, 3, op + 1, k * 2}, &out);
        rig_close(&g);
        for (uint32_t q = 0; q < out.n; q++)
            any = any || isnan(out.value[q]);
        if (!any)
            fail_msg("%s: the NaN in operand %u is gone", kernels[k].name, op);
    }
}

/* Never learned means zero bytes: +0, not -0. */
static void no_gradient_leaves_zeroes(void **state)
{
    const float zero[8] = {0.0f}, one[8] = {1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
    static const enum ew_id optimisers[] = {EW_sgd, EW_adagrad, EW_ftrl};
    const uint32_t size[2] = {2, 3};
    struct rig g;

    (void)state;
    for (uint32_t i = 0; i < back_ends() * 3; i++) {
        enum ew_id id = optimisers[i % 3];
        uint32_t full = id == EW_sgd ? 2 : id == EW_adagrad ? 3 : 4;
        struct arg a[8] = {{NULL, 0}};
        float got[6];

        rig_open(&g, i / 3);
        for (uint32_t op = 0; op < full + 3; op++)
            a[op] = op < full ? (struct arg){inout_bytes(&g, zero, 6 * sizeof *zero), 3}
                              : (struct arg){in_bytes(&g, one, 3 * sizeof *one), 0};
        g.c->ew(g.cs, id, size, a, prm);
        for (uint32_t op = 0; op < full; op++) {
            g.c->get(g.cs, got, a[op].p, sizeof got);
            assert_memory_equal(got, zero, sizeof got);
        }
        rig_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_compute_their_formula),
        cmocka_unit_test(strides_do_not_change_the_bits),
        cmocka_unit_test(every_back_end_gives_the_bits_of_ref),
        cmocka_unit_test(a_nan_comes_out),
        cmocka_unit_test(no_gradient_leaves_zeroes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
