/* about.c: lint, config, list and version: what the program knows of itself and of job files. */
#include "algos/algo.h"
#include "algos/derive.h"
#include "consumer/verbs/verbs.h"

#include <stdlib.h>

struct lint_flags {
    struct texts set;
};

static const struct flag lint_flag[] = {
    {0,
     true,
     {"set", OPT_STR, offsetof(struct lint_flags, set), 512, "", 0, 0, NULL,
      "Override: path.to.key=value; may be repeated.", NULL},
     NULL},
    {0}};

static int lint(const void *flags, int argc, char **argv)
{
    const struct lint_flags *f = flags;
    int code, worst = CLI_DONE;

    if (!argc) {
        fputs("millrace lint: name at least one job file\n", stderr);
        return CLI_USAGE;
    }
    for (int i = 0; i < argc; i++) {
        struct job *j = cli_job(argv[i], &f->set, NULL, &code);

        if (j)
            printf("%s: ok\n", argv[i]);
        else
            worst = code;
        free(j);
    }
    return worst;
}

const struct verb verb_lint = {"lint",
                               "FILE...",
                               "Checks job files; every problem with its place.",
                               lint_flag,
                               sizeof(struct lint_flags),
                               NULL,
                               lint};

static const struct flag none[] = {{0}};

static int config(const void *flags, int argc, char **argv)
{
    (void)flags, (void)argc, (void)argv;
    job_manual(stdout, cli_algos());
    return CLI_DONE;
}

const struct verb verb_config = {
    "config", "",    "Prints every key of a job file with default and meaning.", none, 0,
    NULL,     config};

/* What can be chosen after training, by derive and tune. */
static int list_derive(const char *name)
{
    const struct algo *a = algo_find(name);
    struct derive_table t;

    if (!a) {
        fprintf(stderr, "millrace list: there is no algorithm '%s'\n", name);
        return CLI_USAGE;
    }
    printf("derive options of %s\n", a->name);
    /* with those of the runtime where it may tell two classes apart */
    derive_options(&t, a, &(struct shape){.out = a->flags & ALGO_LABEL ? OUT_MARGIN : OUT_NONE});
    for (const struct opt *o = t.o; o->name; o++)
        printf("  %-12s %-6s %s%s%s\n", o->name, o->def ? o->def : "", o->what,
               o->grid ? "; tune tries " : "", o->grid ? o->grid : "");
    return CLI_DONE;
}

static int list(const void *flags, int argc, char **argv)
{
    (void)flags;
    for (int i = 0; i < argc; i++)
        if (list_derive(argv[i]) != CLI_DONE)
            return CLI_USAGE;
    if (argc)
        return CLI_DONE;
    puts("algorithms");
    for (uint32_t i = 0; i < algo_count; i++)
        printf("  %-13s %s\n", algo_list[i]->name, algo_list[i]->summary);
    puts("compute back ends");
    for (uint32_t i = 0; i < compute_count; i++)
        printf("  %-13s %s\n", compute_list[i]->name, compute_list[i]->summary);
    return CLI_DONE;
}

const struct verb verb_list = {
    "list",
    "[ALGORITHM...]",
    "Algorithms and compute back ends of this build; of an algorithm, its derive options.",
    none,
    0,
    NULL,
    list};

static int version(const void *flags, int argc, char **argv)
{
    (void)flags, (void)argc, (void)argv;
    puts("millrace " MILLRACE_VERSION);
    return CLI_DONE;
}

const struct verb verb_version = {"version", "",     "Version of this program.", none, 0,
                                  NULL,      version};
