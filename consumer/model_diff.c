/* model_diff.c: two models, tensor by tensor. Bytes are compared, not numbers: 0 and -0 differ, and
 * a NaN is equal to itself. */
#include "consumer/export.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { PLACE_BYTES = 112 };

/* The index of element i: "[3, 2]". */
static const char *place_text(const struct tensor *t, uint64_t i, char text[PLACE_BYTES])
{
    uint64_t rest = t->n;
    int n = snprintf(text, PLACE_BYTES, "[");

    for (uint32_t k = 0; k < 4 && t->d.dim[k]; k++) {
        rest /= t->d.dim[k];
        n += snprintf(text + n, PLACE_BYTES - (size_t)n, "%s%" PRIu64, k ? ", " : "", i / rest);
        i %= rest;
    }
    snprintf(text + n, PLACE_BYTES - (size_t)n, "]");
    return text;
}

static bool diff_values(const struct tensor *a, const struct tensor *b, FILE *f)
{
    size_t size = dtype_size(a->d.dtype);
    uint64_t differ = 0, first = 0;
    double most = 0;
    char place[PLACE_BYTES];

    for (uint64_t i = 0; i < a->n; i++) {
        double d = fabs(tensor_element(a, i) - tensor_element(b, i));

        if (!memcmp((const char *)a->p + i * size, (const char *)b->p + i * size, size))
            continue;
        if (!differ++)
            first = i;
        most = isnan(d) || d > most ? d : most;
    }
    if (!differ) {
        fprintf(f, "equal\n");
        return false;
    }
    fprintf(f,
            "%" PRIu64 " of %" PRIu64
            " values differ, the most by %.9g; the first at %s: %.9g and %.9g\n",
            differ, a->n, most, place_text(a, first, place), tensor_element(a, first),
            tensor_element(b, first));
    return true;
}

static bool diff_tensor(const struct tensor *a, const struct tensor *b, FILE *f)
{
    char one[SHAPE_BYTES], two[SHAPE_BYTES];

    fprintf(f, "tensor %s %s: ", a->d.name, tensor_shape(a, one));
    if (!b) {
        fprintf(f, "in the first alone\n");
        return true;
    }
    if (a->d.dtype == b->d.dtype && !memcmp(a->d.dim, b->d.dim, sizeof a->d.dim))
        return diff_values(a, b, f);
    fprintf(f, "in the second it is %s\n", tensor_shape(b, two));
    return true;
}

static const struct measure *find_measure(const struct measures *ms, const char *name)
{
    for (uint32_t i = 0; i < ms->n; i++)
        if (!strcmp(ms->m[i].name, name))
            return &ms->m[i];
    return NULL;
}

static uint32_t diff_measures(const struct measures *a, const struct measures *b, FILE *f)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < a->n; i++) {
        const struct measure *one = &a->m[i], *two = find_measure(b, one->name);

        if (two && !memcmp(&one->value, &two->value, sizeof one->value))
            continue;
        n++;
        fprintf(f, "measure %s: %.9g and ", one->name, one->value);
        fprintf(f, two ? "%.9g\n" : "none\n", two ? two->value : 0);
    }
    for (uint32_t i = 0; i < b->n; i++) {
        if (find_measure(a, b->m[i].name))
            continue;
        n++;
        fprintf(f, "measure %s: none and %.9g\n", b->m[i].name, b->m[i].value);
    }
    return n;
}

uint32_t model_diff(const struct model *a, const struct model *b, FILE *f)
{
    char shape[SHAPE_BYTES];
    uint32_t n = 0;

    for (uint32_t i = 0; i < a->tensors.n; i++) {
        const struct tensor *t = &a->tensors.t[i];

        n += diff_tensor(t, tensors_find(&b->tensors, t->d.name), f);
    }
    for (uint32_t i = 0; i < b->tensors.n; i++) {
        const struct tensor *t = &b->tensors.t[i];

        if (tensors_find(&a->tensors, t->d.name))
            continue;
        n++;
        fprintf(f, "tensor %s %s: in the second alone\n", t->d.name, tensor_shape(t, shape));
    }
    return n + diff_measures(&a->measures, &b->measures, f);
}
