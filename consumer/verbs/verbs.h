/* verbs.h: the verbs of the program, one file each in this folder; the list is in main.c. */
#ifndef MILLRACE_VERBS_H
#define MILLRACE_VERBS_H

#include "consumer/cli.h"

extern const struct verb verb_lint, verb_list, verb_version, verb_config, verb_train, verb_score,
    verb_model, verb_derive, verb_tune, verb_state, verb_load, verb_demo, verb_peek, verb_reset;

/* model_verify.c: millrace model verify, with the job's model of that version (0: the latest). j
 * becomes the job that made it. Returns the exit code: CLI_DONE equal, CLI_FAILED different,
 * CLI_UNDECIDED records are gone, or the same ones need not make the same bits. */
int model_verify(struct job *j, uint64_t version);
/* model_copy.c: millrace model copy: that version of the job's models at another broker, as from
 * -b, as the newest at the job's own. Returns the exit code. */
int model_copy(const struct job *j, const char *from, uint64_t version);

#endif
