/* verbs.h: the verbs of the program, one file each in this folder; the list is in main.c. */
#ifndef MILLRACE_VERBS_H
#define MILLRACE_VERBS_H

#include "consumer/cli.h"

extern const struct verb verb_lint, verb_list, verb_version, verb_config, verb_train, verb_score,
    verb_model, verb_derive, verb_state, verb_load, verb_demo, verb_peek;

#endif
