/* about.c: lint, config, list and version: what the program knows of itself and of job files. */
#include "algos/algo.h"
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

static int list(const void *flags, int argc, char **argv)
{
    (void)flags, (void)argc, (void)argv;
    puts("algorithms");
    for (uint32_t i = 0; i < algo_count; i++)
        printf("  %-13s %s\n", algo_list[i]->name, algo_list[i]->summary);
    puts("compute back ends");
    for (uint32_t i = 0; i < compute_count; i++)
        printf("  %-13s %s\n", compute_list[i]->name, compute_list[i]->summary);
    return CLI_DONE;
}

const struct verb verb_list = {
    "list", "", "Algorithms and compute back ends of this build.", none, 0, NULL, list};

static int version(const void *flags, int argc, char **argv)
{
    (void)flags, (void)argc, (void)argv;
    puts("millrace " MILLRACE_VERSION);
    return CLI_DONE;
}

const struct verb verb_version = {"version", "",     "Version of this program.", none, 0,
                                  NULL,      version};
