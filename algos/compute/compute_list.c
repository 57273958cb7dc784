#include "algos/compute/compute.h"

#include <string.h>

const struct compute *const compute_list[] = {&compute_ref, &compute_openblas, &compute_cuda,
                                              &compute_cuda_tf32, &compute_cuda_bf16};
const uint32_t compute_count = sizeof compute_list / sizeof *compute_list;

const struct compute *compute_find(const char *name)
{
    for (uint32_t i = 0; i < compute_count; i++)
        if (!strcmp(compute_list[i]->name, name))
            return compute_list[i];
    return NULL;
}

static int complete(const struct compute *c)
{
    return c->name && c->summary && c->open && c->close && c->alloc && c->free && c->put &&
           c->get && c->sync && c->gemm && c->syrk && c->acc64 && c->gram64 && c->colsum &&
           c->rowsq && c->rowmin && c->topk && c->segsum && c->softmax && c->csr_mm && c->csr_tmm &&
           c->csr_sddmm && c->gather && c->scatter && c->fill && c->ew;
}

enum st compute_check(struct err *e)
{
    for (uint32_t i = 0; i < compute_count; i++) {
        const struct compute *c = compute_list[i];

        if (!complete(c))
            return fail(e, ST_FATAL, "compute back end %u (%s): a member of its table is not set",
                        i, c->name ? c->name : "no name");
        if (compute_find(c->name) != c)
            return fail(e, ST_FATAL, "compute back end %s: two tables have this name", c->name);
    }
    if (strcmp(compute_list[0]->name, "ref"))
        return fail(e, ST_FATAL, "compute back end %s comes first in the list; ref must",
                    compute_list[0]->name);
    return ST_OK;
}
