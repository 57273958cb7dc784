/* cli.h: verbs and flags of the command line, as tables: parser, help and suggestions come from
 * them.
 *
 * A verb has a struct of flags (as options.h: each flag lives at an offset in it), then takes its
 * other words in argv. "--flag value", "--flag=value", "-f value" and "-fvalue" are the same; a
 * bool flag takes no value; "--" ends flags. Results go to stdout, everything else to stderr.
 * Thread: start. */
#ifndef MILLRACE_CLI_H
#define MILLRACE_CLI_H

#include "config/job.h"
#include "config/options.h"

#include <stdio.h>

enum exit_code { /* what a script may rely on */
                 CLI_DONE = 0,
                 CLI_FAILED = 1, /* at run time */
                 CLI_USAGE = 2,
                 CLI_CONFIG = 3,      /* job file, schema or state folder */
                 CLI_UNREACHABLE = 4, /* broker */
                 CLI_BAD_RECORDS = 5, /* above the limit */
                 CLI_REFUSED = 6,     /* would overwrite, or members are active */
                 CLI_UNDECIDED = 7,   /* a model cannot be verified: neither right nor wrong */
                 CLI_INTERRUPTED = 130
};

int exit_code(enum st st);

/* Prints "millrace: error: text" to stderr and returns the exit code of st. */
int cli_fail(enum st st, const struct err *e);

enum { TEXTS_MAX = PARTITIONS_MAX };

struct texts { /* a flag that may be given again and again; borrowed from argv */
    uint32_t n;
    const char *v[TEXTS_MAX];
};

struct flag {
    char letter;  /* 0: none */
    bool repeats; /* the option's place holds struct texts; its type is OPT_STR. With o.max: it
                     takes all words up to the next flag */
    struct opt o;
    const char *also; /* another spelling, or NULL */
};

struct verb {
    const char *name, *words, *summary; /* words: "FILE", as in the usage line */
    const struct flag *flags;           /* ends with {0} */
    size_t flags_bytes;
    const char *help;                                     /* more sentences, or NULL */
    int (*run)(const void *flags, int argc, char **argv); /* argv: the words that are no flags */
};

/* The flags that verbs with a broker share: put BROKER_FLAGS(struct, member) into the table. */
struct broker_flags {
    char bootstrap[512]; /* HOST:PORT,... or local:DIR */
    struct texts property;
    char file[512]; /* Java-style properties */
};

#define BROKER_FLAGS(s, m)                                                                         \
    {'b',                                                                                          \
     false,                                                                                        \
     {"bootstrap-server", OPT_STR, offsetof(s, m.bootstrap), 512, "", 0, 0, NULL,                  \
      "Broker: HOST:PORT[,...], or local:DIR.", NULL},                                             \
     "brokers"},                                                                                   \
        {'X',                                                                                      \
         true,                                                                                     \
         {"command-property", OPT_STR, offsetof(s, m.property), 512, "", 0, 0, NULL,               \
          "A librdkafka property name=value; may be repeated.", NULL},                             \
         NULL},                                                                                    \
    {                                                                                              \
        'F', false,                                                                                \
            {"command-config",                                                                     \
             OPT_STR,                                                                              \
             offsetof(s, m.file),                                                                  \
             512,                                                                                  \
             "",                                                                                   \
             0,                                                                                    \
             0,                                                                                    \
             NULL,                                                                                 \
             "File of properties, name=value a line.",                                             \
             NULL},                                                                                \
            NULL                                                                                   \
    }

/* Of verbs that read the job's topic, which files may stand in for: struct texts. */
#define INPUT_FLAG(s, m)                                                                           \
    {                                                                                              \
        'i', true,                                                                                 \
            {"input",                                                                              \
             OPT_STR,                                                                              \
             offsetof(s, m),                                                                       \
             512,                                                                                  \
             "",                                                                                   \
             0,                                                                                    \
             TEXTS_MAX,                                                                            \
             NULL,                                                                                 \
             "Files in place of the topic, a partition each, a line a record; gzip or not.",       \
             NULL},                                                                                \
            NULL                                                                                   \
    }

#define TOPICS_FOLDER                                                                              \
    "topics" /* in a state folder: where slots and models of a job of files go                     \
              */

/* The files of INPUT_FLAG, if there are any, in place of the job's topic, after
 * broker_flags_apply. keep: slots and models go to the job's broker if it is local:DIR, else to
 * local: in its state folder; else nowhere. */
MUST enum st input_apply(const struct texts *files, const struct broker_flags *f, bool keep,
                         struct job *j, struct err *e);

/* Where the job's arithmetic runs: one more --set, which cli_job() is given instead. */
struct device_flag {
    char word[16];
};
#define DEVICE_FLAG(s, m)                                                                          \
    {                                                                                              \
        0, false, {"device", OPT_STR, offsetof(s, m.word),                                         \
                   16,       "",      0,                                                           \
                   0,        NULL,    "auto, cpu or cuda, instead of the job file's 'device'.",    \
                   NULL},                                                                          \
            NULL                                                                                   \
    }
struct device_set {
    struct texts set;
    char text[32];
};
const struct texts *device_flag_set(const struct device_flag *f, const struct texts *set,
                                    struct device_set *room);

/* Applies them over the job's broker and kafka properties. */
MUST enum st broker_flags_apply(const struct broker_flags *f, struct job *j, struct err *e);

const struct job_algos *
cli_algos(void); /* the registered algorithms, as the job reader wants them */

/* Reads a job for a verb: problems go to stderr; NULL: *code is the exit code. Heap; free() it. */
struct job *cli_job(const char *file, const struct texts *set, const struct broker_flags *f,
                    int *code);

int cli_main(const struct verb *const *verbs, int argc, char **argv);

#endif
