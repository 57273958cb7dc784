/* compute_suite.h: what the tests of the compute table share.
 *
 * An operation is described once, as a case: how to run it on a back end and what its result is,
 * computed in f64 by loops that anyone can read. compute_suite_run() then asks of every
 * back end that opens here, for every shape:
 *   - ref is near the f64 result, every other back end is near ref, both within the case's limit;
 *   - again, at other addresses: the same bytes;
 *   - bytes behind an output, those between the columns and the stride, and inputs are not written.
 * Gaps and guards hold NaN, so that reading one shows too.
 *
 * Nearness is the normalised squared error |x - y|^2 / |y|^2. Limits are error budgets in units
 * of u^2, u = 2^-24 the rounding error of f32, derived where the case stands. */
#ifndef MILLRACE_COMPUTE_SUITE_H
#define MILLRACE_COMPUTE_SUITE_H

#include "algos/compute/compute.h"

#include <stdbool.h>
#include <stddef.h>

enum { BOXES_MAX = 16, RESULT_MAX = 1 << 17 };

struct box { /* a piece of device memory with its host copy */
    uint8_t *host, *host_was, *dev;
    size_t bytes; /* with guards */
    bool output;
};

struct rig { /* one back end, open, and the memory of one run */
    const struct compute *c;
    void *cs;
    uint32_t shift; /* floats between a 64-byte edge and the data: other addresses */
    struct box box[BOXES_MAX];
    uint32_t boxes;
};

struct result { /* what one run produced, in the order of the take_ calls */
    double value[RESULT_MAX];
    uint32_t n;
};

struct shape4 {
    uint32_t r, c, k, variant; /* meaning: the case's */
};

struct op {
    const char *name;
    void (*run)(struct rig *g, const struct shape4 *s, struct result *out);
    void (*truth)(const struct shape4 *s, struct result *out);
    double (*limit)(const struct shape4 *s); /* in u^2; 0: the same values to the bit */
    const struct shape4 *shapes;
    uint32_t n;
    bool by_library; /* on a device: bits repeat at addresses that are equal modulo 16 */
    bool factors;    /* and a back end may round them, if its name says so */
};

void compute_suite_run(const struct op *op);

/* Those of the list that open, once for all tests; that others do not is said. */
uint32_t back_ends(void);
const struct compute *back_end(uint32_t i);

void rig_open(struct rig *g, uint32_t i); /* back end i */
void rig_close(struct rig *g);
void rig_clear(struct rig *g, uint32_t shift); /* frees the memory of the last run */

/* Input i of a stream: numbers in [-1, 1), the same on every back end. */
float number(uint64_t stream, uint64_t i);
uint32_t index_below(uint64_t stream, uint64_t i, uint32_t n);
extern const float canary; /* a NaN */

/* Device memory. A matrix has ld = c + pad; in_ holds numbers, out_ canaries. */
struct mat in_mat(struct rig *g, uint64_t stream, uint32_t r, uint32_t c, uint32_t pad);
struct mat inout_mat(struct rig *g, uint64_t stream, uint32_t r, uint32_t c, uint32_t pad);
struct mat out_mat(struct rig *g, uint32_t r, uint32_t c, uint32_t pad);
void *in_bytes(struct rig *g, const void *p, size_t bytes);
void *inout_bytes(struct rig *g, const void *p, size_t bytes);

/* After the operation: waits, fetches, and proves guards, gaps and inputs untouched. */
void rig_fetch(struct rig *g);
void take_mat(struct rig *g, struct mat m, struct result *out);
void take_lower(struct rig *g, struct mat m, struct result *out); /* the rest must be as it was */
void take_u32(struct rig *g, const uint32_t *p, size_t n, struct result *out);
void take_f64(struct rig *g, const double *p, size_t n, struct result *out);
void result_add(struct result *out, double value);

#endif
