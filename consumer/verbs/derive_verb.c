/* derive_verb.c: millrace derive: another model of what a job has learned, no data read: any k, any
 * packed model. */
#include "consumer/derived.h"
#include "consumer/verbs/verbs.h"

struct derive_flags {
    struct derived_flags d;
};

static const struct flag derive_flag[] = {DERIVED_FLAGS(struct derive_flags, d), {0}};

static enum st make(struct session *s, const struct tensors *view, const void *arg)
{
    (void)arg;
    return derived_model(s, view);
}

static int derive(const void *flags, int argc, char **argv)
{
    const struct derive_flags *f = flags;

    if (argc != 1) {
        fputs("millrace derive: name one job file\n", stderr);
        return CLI_USAGE;
    }
    return derived_run(&f->d, argv[0], true, NULL, make);
}

const struct verb verb_derive = {
    "derive",
    "JOB.yaml",
    "Another model from a job's state, without data.",
    derive_flag,
    sizeof(struct derive_flags),
    "Reads the slots of all partitions from the parameter topic, merges them, and derives, for "
    "instance --set k=20; or, with --from-model, goes on from what a finished model has of them. "
    "Without -o the model is described on stdout.",
    derive};
