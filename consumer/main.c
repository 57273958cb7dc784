#include "consumer/verbs/verbs.h"

#include "algos/algo.h"
#include "config/base/memory.h"

static const struct verb *const verbs[] = {&verb_load,    &verb_peek,   &verb_train,  &verb_score,
                                           &verb_model,   &verb_derive, &verb_tune,   &verb_state,
                                           &verb_reset,   &verb_lint,   &verb_config, &verb_list,
                                           &verb_version, &verb_demo,   NULL};

int main(int argc, char **argv)
{
    struct err e;
    enum st st;

    memory_one_heap();
    st = algos_check(&e);
    if (st == ST_OK)
        st = compute_check(&e);
    return st == ST_OK ? cli_main(verbs, argc, argv) : cli_fail(st, &e);
}
