/* derived.h: what the verbs that derive share: the view of what a job has learned, its derive
 * options by name, and where the model goes that is made of them.
 *
 * Thread: one. Off the hot path. */
#ifndef MILLRACE_DERIVED_H
#define MILLRACE_DERIVED_H

#include "consumer/cli.h"
#include "consumer/export.h"
#include "consumer/session.h"

struct derived_flags { /* of verbs that derive */
    struct broker_flags broker;
    struct texts set;
    char from[32], out[4096];
    uint32_t to;
    bool publish;
};

#define DERIVED_FLAGS(s, m)                                                                        \
    BROKER_FLAGS(s, m.broker),                                                                     \
        {0,                                                                                        \
         true,                                                                                     \
         {"set", OPT_STR, offsetof(s, m.set), 512, "", 0, 0, NULL,                                 \
          "Derive option name=value, such as k=20; may be repeated.", NULL},                       \
         NULL},                                                                                    \
        {0,                                                                                        \
         false,                                                                                    \
         {"from-model", OPT_STR, offsetof(s, m.from), sizeof(((s *)0)->m.from), "", 0, 0, NULL,    \
          "Version of the job's model to derive from, or latest; empty: the slots.", NULL},        \
         NULL},                                                                                    \
        {'o',                                                                                      \
         false,                                                                                    \
         {"out", OPT_STR, offsetof(s, m.out), 4096, "", 0, 0, NULL, "File for the model.", NULL},  \
         NULL},                                                                                    \
        {0,                                                                                        \
         false,                                                                                    \
         {"to", OPT_ENUM, offsetof(s, m.to), 0, "npz", 0, 0, export_forms, "Form of the file.",    \
          NULL},                                                                                   \
         NULL},                                                                                    \
    {                                                                                              \
        0, false, {"publish",                                                                      \
                   OPT_BOOL,                                                                       \
                   offsetof(s, m.publish),                                                         \
                   0,                                                                              \
                   "false",                                                                        \
                   0,                                                                              \
                   0,                                                                              \
                   NULL,                                                                           \
                   "Put the model into the job's model topic, as its newest version.",             \
                   NULL},                                                                          \
            NULL                                                                                   \
    }

/* Runs `make` with the view of the named job, s->derive_opts as --set says; the model that it has
 * left in s->model goes where the flags say (nowhere: with show, to stdout as text). Returns the
 * exit code. */
int derived_run(const struct derived_flags *f, const char *file, bool show, const void *arg,
                enum st (*make)(struct session *s, const struct tensors *view, const void *arg));

/* The derive option that "name=..." means, and in *value what stands behind the '='. ST_BAD_CONFIG:
 * there is none; flag is what the user wrote before it. */
MUST enum st derived_option(const struct session *s, const char *flag, const char *text,
                            const struct opt **o, const char **value);

/* The model of s->derive_opts into s->model, with all that a published one says. */
MUST enum st derived_model(struct session *s, const struct tensors *view);

/* s->model as the newest version into the job's model topic. With ST_BAD_CONFIG *code may be
 * CLI_REFUSED: the group has members. */
MUST enum st derived_publish(struct session *s, int *code);

enum { OPTION_NAMES_MAX = 64 };
/* Names of the algorithm's derive options, NULL at the end; returns how many. */
uint32_t derived_names(const struct session *s, const char *names[OPTION_NAMES_MAX]);

#endif
