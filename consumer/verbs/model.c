/* model.c: millrace model: what is in a job's model topic. */
#include "consumer/export.h"
#include "consumer/session.h"
#include "consumer/verbs/verbs.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct model_flags {
    struct broker_flags broker;
    struct texts set, input;
    uint64_t version;
    char out[4096];
    uint32_t to;
};

static const struct flag model_flag[] = {
    BROKER_FLAGS(struct model_flags, broker),
    INPUT_FLAG(struct model_flags, input),
    {0,
     true,
     {"set", OPT_STR, offsetof(struct model_flags, set), 512, "", 0, 0, NULL,
      "Override: path.to.key=value; may be repeated.", NULL},
     NULL},
    {'m',
     false,
     {"model", OPT_U64, offsetof(struct model_flags, version), 0, "0", 0, 0, NULL,
      "Version; 0: the latest.", NULL},
     "version"},
    {'o',
     false,
     {"out", OPT_STR, offsetof(struct model_flags, out), 4096, "", 0, 0, NULL,
      "File to write; empty: stdout.", NULL},
     NULL},
    {0,
     false,
     {"to", OPT_ENUM, offsetof(struct model_flags, to), 0, "npz", 0, 0, export_forms,
      "Form of an export: npz, json or safetensors; html: the report of algorithm stats.", NULL},
     NULL},
    {0}};

static const char *when(int64_t ms, char text[32])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return text;
}

static double measure(const struct model *m, const char *part)
{
    for (uint32_t i = 0; i < m->measures.n; i++)
        if (strstr(m->measures.m[i].name, part))
            return m->measures.m[i].value;
    return NAN;
}

static void list_line(void *arg, const struct model *m)
{
    char t[32];

    (void)arg;
    printf("%7" PRIu64 "  %s  %-8s %12" PRIu64 " %10.6f %10.4f %12" PRIu64 "\n", m->version,
           when(m->created_ms, t), m->algo, m->records, measure(m, "loss"), measure(m, "accuracy"),
           m->body_bytes);
}

/* Which of the tensors of two versions differ; exit code 1: some do. */
static enum st diff(struct session *s, uint64_t a, uint64_t b, int *code)
{
    struct model *other = model_new();
    enum st st = other ? model_read(s->br, s->b, s->job->topic_models, b, NULL, other, s->err)
                       : fail(s->err, ST_FATAL, "no memory to read a model");

    if (st == ST_OK)
        st = session_model(s, a);
    if (st == ST_OK)
        *code = model_diff(&s->model, other, stdout) ? CLI_FAILED : CLI_DONE;
    model_free(other);
    return st;
}

static enum st version_of(const char *word, uint64_t *version, struct err *e)
{
    char extra;

    if (sscanf(word, "%20" SCNu64 "%c", version, &extra) == 1 && *version && *word != '-')
        return ST_OK;
    return fail(e, ST_BAD_CONFIG, "'%s' is no version: they count from 1 (millrace model ls)",
                word);
}

static enum st run_versions(struct session *s, char **word, int *code)
{
    uint64_t v[2] = {0};
    bool rm = !strcmp(word[0], "rm");

    TRY(version_of(word[2], &v[0], s->err));
    if (rm)
        return model_remove(s->br, s->b, s->job->topic_models, v[0], s->err);
    TRY(version_of(word[3], &v[1], s->err));
    return diff(s, v[0], v[1], code);
}

static enum st run(struct session *s, const struct model_flags *f, const char *what)
{
    if (!strcmp(what, "ls")) {
        puts("version  created               algo          records       loss   accuracy        "
             "bytes");
        return model_list(s->br, s->b, s->job->topic_models, list_line, NULL, s->err);
    }
    TRY(session_model(s, f->version));
    if (!strcmp(what, "show")) {
        model_show(&s->model, stdout);
        return ST_OK;
    }
    return model_write(&s->model, f->out,
                       strcmp(what, "get") ? (enum export_form)f->to : EXPORT_SAFETENSORS, s->err);
}

/* A job file, or only a job's name with -b. */
static struct job *job_of(const char *word, const struct model_flags *f, int *code)
{
    size_t n = strlen(word);
    struct err e;
    struct job *j;

    if ((n > 5 && !strcmp(word + n - 5, ".yaml")) || (n > 4 && !strcmp(word + n - 4, ".yml")))
        return cli_job(word, &f->set, &f->broker, code);
    j = calloc(1, sizeof *j);
    *code = CLI_USAGE;
    if (!j || n > 180 || !*f->broker.bootstrap || broker_flags_apply(&f->broker, j, &e) != ST_OK) {
        fprintf(stderr, "millrace model: '%s': name a job file, or a job with its broker (-b)\n",
                word);
        free(j);
        return NULL;
    }
    snprintf(j->topic_models, sizeof j->topic_models, "%s.models", word);
    return j;
}

static const struct word { /* what to do, and how many words it takes in all */
    const char *name;
    int argc;
} words[] = {{"ls", 2},   {"show", 2}, {"get", 2},  {"export", 2}, {"verify", 2},
             {"diff", 4}, {"rm", 3},   {"copy", 3}, {NULL, 0}};

/* A job file's job, for what reads records too. */
static int verify(const char *word, const struct model_flags *f)
{
    int code;
    struct job *j = cli_job(word, &f->set, &f->broker, &code);

    struct err e;

    if (j && input_apply(&f->input, &f->broker, true, j, &e) != ST_OK)
        code = cli_fail(ST_BAD_CONFIG, &e);
    else if (j)
        code = model_verify(j, f->version);
    free(j);
    return code;
}

static int model(const void *flags, int argc, char **argv)
{
    const struct model_flags *f = flags;
    const struct word *what = words;
    struct session *s;
    struct err e = {""};
    struct job *j;
    enum st st;
    int code;

    while (argc && what->name && strcmp(argv[0], what->name))
        what++;
    if (!what->name || argc != what->argc) {
        fputs("millrace model: expected ls, show, get, export or verify and a job file or a job's "
              "name; or diff JOB VERSION VERSION, rm JOB VERSION, copy JOB BROKER\n",
              stderr);
        return CLI_USAGE;
    }
    if (!strcmp(what->name, "verify"))
        return verify(argv[1], f);
    if (f->input.n) {
        fputs("millrace model: --input is for verify, which reads records\n", stderr);
        return CLI_USAGE;
    }
    j = job_of(argv[1], f, &code);
    if (!j)
        return code;
    if (!strcmp(what->name, "copy")) {
        code = model_copy(j, argv[2], f->version);
        free(j);
        return code;
    }
    s = calloc(1, sizeof *s);
    st = s ? session_broker(s, j, strcmp(what->name, "rm") != 0, &e)
           : fail(&e, ST_FATAL, "no memory to start");
    code = CLI_DONE;
    if (st == ST_OK)
        st = argc > 2 ? run_versions(s, argv, &code) : run(s, f, what->name);
    if (s)
        session_close(s);
    free(s);
    free(j);
    return st == ST_OK ? code : cli_fail(st, &e);
}

const struct verb verb_model = {
    "model",
    "ls|show|get|export|verify JOB, diff JOB VERSION VERSION, rm JOB VERSION, copy JOB BROKER",
    "Models in the job's model topic.",
    model_flag,
    sizeof(struct model_flags),
    "JOB is a job file, or a job's name together with -b. get writes the safetensors file, export "
    "another form (--to). verify (a job file) reads the records again that a model was made from, "
    "makes it anew and compares: exit code 0 equal, 1 different, 7 it cannot be told, for records "
    "are gone, or the same records need not make the same bits (staleness other than 0, "
    "batch_linger). diff compares two versions: 0 equal, 1 different. rm removes one, but "
    "not the newest. copy takes a version from another broker (HOST:PORT or local:DIR), where the "
    "job's models are too, and makes it the newest at the job's own.",
    model};
