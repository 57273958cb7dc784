#include "algos/algo.h"

#include <string.h>

/* One line an algorithm, in the order of the README's table; NULL ends the list. */
const struct algo *const algo_list[] = {&algo_linear, &algo_kmeans, &algo_least_squares,
                                        &algo_pca,    &algo_fm,     &algo_knn,
                                        &algo_rcf,    &algo_stats,  NULL};
const uint32_t algo_count = sizeof algo_list / sizeof *algo_list - 1;

const struct algo *algo_find(const char *name)
{
    for (uint32_t i = 0; i < algo_count; i++)
        if (!strcmp(algo_list[i]->name, name))
            return algo_list[i];
    return NULL;
}

static enum st check_ports(const struct algo *a, struct err *e)
{
    const uint32_t known = PORT_DENSE | PORT_SPARSE | PORT_SEQ | PORT_TEXT;
    uint32_t n = 0;

    for (; a->ports[n].name; n++) {
        const struct port *p = &a->ports[n];

        if (n == PORTS_MAX)
            return fail(e, ST_FATAL, "algorithm %s: more than %d ports", a->name, PORTS_MAX);
        if (!p->what || !(p->forms & (PORT_DENSE | PORT_SPARSE | PORT_SEQ)) || p->forms & ~known)
            return fail(e, ST_FATAL, "algorithm %s: port %s has no text or no form", a->name,
                        p->name);
    }
    if (!n)
        return fail(e, ST_FATAL, "algorithm %s: no port", a->name);
    return ST_OK;
}

enum st algo_check(const struct algo *a, struct err *e)
{
    const char *name = a->name ? a->name : "(unnamed)";

    if (a->abi != MILLRACE_ABI || a->bytes != sizeof(struct algo))
        return fail(e, ST_FATAL,
                    "algorithm %s: built for interface %u of %u bytes, this is %u of %zu", name,
                    a->abi, a->bytes, MILLRACE_ABI, sizeof(struct algo));
    if (!a->name || !a->summary || !*a->name ||
        strspn(a->name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(a->name) ||
        strlen(a->name) >= ALGO_NAME_BYTES)
        return fail(e, ST_FATAL, "algorithm %s: name must be [a-z0-9_]{1,%d} and have a summary",
                    name, ALGO_NAME_BYTES - 1);
    if (!a->check || !a->declare || !a->init || !a->update || !a->derive || !a->score)
        return fail(e, ST_FATAL,
                    "algorithm %s: check, declare, init, update, derive and score must be set",
                    name);
    if (!a->ports || !a->opts || !a->derive_opts)
        return fail(e, ST_FATAL,
                    "algorithm %s: ports, opts and derive_opts must be tables, if only {0}", name);
    if ((a->opts->name && !a->opts_bytes) || (a->derive_opts->name && !a->derive_bytes))
        return fail(e, ST_FATAL, "algorithm %s: options without the size of their struct", name);
    if (!a->state_version || !a->model_version)
        return fail(e, ST_FATAL, "algorithm %s: versions start at 1", name);
    if (a->flags & ALGO_SET && a->flags & ALGO_ONE_EPOCH)
        return fail(e, ST_FATAL, "algorithm %s: a set of records has no use for one epoch only",
                    name);
    if (a->flags & ALGO_SET && !(a->flags & ALGO_EXACT))
        return fail(e, ST_FATAL,
                    "algorithm %s: a set of records merges exactly: ALGO_EXACT is missing", name);
    return check_ports(a, e);
}

enum st algos_check(struct err *e)
{
    for (uint32_t i = 0; i < algo_count; i++) {
        TRY(algo_check(algo_list[i], e));
        if (algo_find(algo_list[i]->name) != algo_list[i])
            return fail(e, ST_FATAL, "two algorithms are named %s", algo_list[i]->name);
    }
    return ST_OK;
}
