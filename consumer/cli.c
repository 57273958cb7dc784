#include "consumer/cli.h"

#include "consumer/broker_file.h"

#include "algos/algo.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 64 };

int exit_code(enum st st)
{
    switch (st) {
    case ST_OK:
        return CLI_DONE;
    case ST_AGAIN:
        return CLI_UNREACHABLE;
    case ST_BAD_INPUT:
        return CLI_BAD_RECORDS;
    case ST_BAD_CONFIG:
        return CLI_CONFIG;
    default:
        return CLI_FAILED;
    }
}

int cli_fail(enum st st, const struct err *e)
{
    CHECK(st != ST_OK);
    fprintf(stderr, "millrace: error: %s\n", e->text);
    return exit_code(st);
}

static void flag_help(const struct flag *f)
{
    char name[64];

    snprintf(name, sizeof name, "%s%c%s--%s%s", f->letter ? "-" : " ", f->letter ? f->letter : ' ',
             f->letter ? ", " : "  ", f->o.name, f->o.type == OPT_BOOL ? "" : " VALUE");
    fprintf(stdout, "  %-34s %s", name, f->o.what);
    if (f->o.def && *f->o.def && f->o.type != OPT_BOOL)
        fprintf(stdout, " [%s]", f->o.def);
    fputc('\n', stdout);
}

static int verb_help(const struct verb *v)
{
    printf("usage: millrace %s %s\n\n%s\n\n", v->name, v->words, v->summary);
    if (v->help)
        printf("%s\n\n", v->help);
    for (const struct flag *f = v->flags; f->o.name; f++)
        flag_help(f);
    return CLI_DONE;
}

static int help(const struct verb *const *verbs)
{
    puts("usage: millrace VERB [FLAGS] [WORDS]\n\n"
         "Trains models on Kafka topics in one pass, in constant memory, as a consumer group.\n");
    for (; *verbs; verbs++)
        printf("  %-10s %s\n", (*verbs)->name, (*verbs)->summary);
    puts("\n'millrace VERB --help' tells more.");
    return CLI_DONE;
}

static int unknown_flag(const struct verb *v, const char *word)
{
    const char *names[NAMES_MAX], *near;
    uint32_t n = 0;

    for (const struct flag *f = v->flags; f->o.name && n < NAMES_MAX - 1; f++)
        names[n++] = f->o.name;
    names[n] = NULL;
    near = suggest(word + strspn(word, "-"), names);
    fprintf(stderr, "millrace %s: unknown flag '%s'%s%s%s\n", v->name, word,
            near ? " (did you mean '--" : "", near ? near : "", near ? "'?)" : "");
    return CLI_USAGE;
}

/* The flag that a word names, and the value that is joined to it, if any. */
static const struct flag *find_flag(const struct verb *v, const char *word, const char **joined)
{
    size_t n = strcspn(word, "=");

    *joined = NULL;
    for (const struct flag *f = v->flags; f->o.name; f++) {
        if (word[1] != '-' && f->letter && word[1] == f->letter) {
            *joined = word[2] ? word + 2 : NULL;
            return f;
        }
        if (word[1] == '-' &&
            ((strlen(f->o.name) == n - 2 && !strncmp(f->o.name, word + 2, n - 2)) ||
             (f->also && strlen(f->also) == n - 2 && !strncmp(f->also, word + 2, n - 2)))) {
            *joined = word[n] ? word + n + 1 : NULL;
            return f;
        }
    }
    return NULL;
}

static int set_flag(const struct verb *v, const struct flag *f, void *flags, const char *value)
{
    struct texts *texts = (struct texts *)((char *)flags + f->o.at);
    struct err e;

    if (f->repeats) {
        if (texts->n == TEXTS_MAX) {
            fprintf(stderr, "millrace %s: --%s is given more than %d times\n", v->name, f->o.name,
                    TEXTS_MAX);
            return CLI_USAGE;
        }
        texts->v[texts->n++] = value;
        return CLI_DONE;
    }
    if (opt_set(&f->o, flags, value, false, &e) == ST_OK)
        return CLI_DONE;
    fprintf(stderr, "millrace %s: --%s: %s\n", v->name, f->o.name, e.text);
    return CLI_USAGE;
}

static bool is_word(const char *text)
{
    return text[0] != '-' || !text[1];
}

/* Moves the words that are no flags to the front of argv; their number is returned, or -code. */
static int parse(const struct verb *v, void *flags, int argc, char **argv)
{
    bool only_words = false;
    int words = 0, code;

    for (int i = 0; i < argc; i++) {
        const char *joined;
        const struct flag *f;

        if (only_words || is_word(argv[i])) {
            argv[words++] = argv[i];
            continue;
        }
        only_words = !strcmp(argv[i], "--");
        if (only_words)
            continue;
        f = find_flag(v, argv[i], &joined);
        if (!f)
            return -unknown_flag(v, argv[i]);
        if (f->o.type == OPT_BOOL) {
            code = set_flag(v, f, flags, joined ? joined : "true");
        } else if (!joined && i + 1 == argc) {
            fprintf(stderr, "millrace %s: %s needs a value\n", v->name, argv[i]);
            code = CLI_USAGE;
        } else {
            code = set_flag(v, f, flags, joined ? joined : argv[++i]);
            while (!code && f->repeats && f->o.max > 0 && i + 1 < argc && is_word(argv[i + 1]))
                code = set_flag(v, f, flags, argv[++i]);
        }
        if (code)
            return -code;
    }
    return words;
}

static void defaults(const struct verb *v, void *flags)
{
    struct err e;

    for (const struct flag *f = v->flags; f->o.name; f++)
        if (f->o.def && !f->repeats)
            CHECK(opt_set(&f->o, flags, f->o.def, false, &e) == ST_OK);
}

static int run(const struct verb *v, int argc, char **argv)
{
    void *flags = calloc(1, v->flags_bytes + 1);
    int words, code;

    for (int i = 0; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            free(flags);
            return verb_help(v);
        }
    if (!flags)
        return CLI_FAILED;
    defaults(v, flags);
    words = parse(v, flags, argc, argv);
    code = words < 0 ? -words : v->run(flags, words, argv);
    free(flags);
    return code;
}

int cli_main(const struct verb *const *verbs, int argc, char **argv)
{
    const char *names[NAMES_MAX], *near;
    uint32_t n = 0;

    if (argc < 2 || !strcmp(argv[1], "help") || !strcmp(argv[1], "--help") ||
        !strcmp(argv[1], "-h")) {
        for (; argc > 2 && verbs[n]; n++)
            if (!strcmp(verbs[n]->name, argv[2]))
                return verb_help(verbs[n]);
        return help(verbs);
    }
    for (; verbs[n]; n++) {
        CHECK(n < NAMES_MAX - 1);
        names[n] = verbs[n]->name;
        if (!strcmp(verbs[n]->name, argv[1]) ||
            (!strcmp(argv[1], "--version") && !strcmp(verbs[n]->name, "version")))
            return run(verbs[n], argc - 2, argv + 2);
    }
    names[n] = NULL;
    near = suggest(argv[1], names);
    fprintf(stderr, "millrace: no verb '%s'%s%s%s; 'millrace help' lists them\n", argv[1],
            near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    return CLI_USAGE;
}

static enum st add_property(struct props *p, const char *text, const char *from, struct err *e)
{
    const char *eq = strchr(text, '=');
    uint32_t i;

    if (!eq || eq == text || (size_t)(eq - text) >= sizeof p->p->name ||
        strlen(eq + 1) >= sizeof p->p->value)
        return fail(e, ST_BAD_CONFIG, "%s: expected property=value, got '%.80s'", from, text);
    for (i = 0; i < p->n; i++)
        if (strlen(p->p[i].name) == (size_t)(eq - text) &&
            !strncmp(p->p[i].name, text, (size_t)(eq - text)))
            break;
    if (i == PROPS_MAX)
        return fail(e, ST_BAD_CONFIG, "%s: more than %d properties", from, PROPS_MAX);
    snprintf(p->p[i].name, sizeof p->p->name, "%.*s", (int)(eq - text), text);
    snprintf(p->p[i].value, sizeof p->p->value, "%s", eq + 1);
    p->n += i == p->n;
    return ST_OK;
}

static enum st properties_file(struct props *p, const char *file, struct err *e)
{
    FILE *f = fopen(file, "r");
    char line[1024];
    enum st st = ST_OK;

    if (!f)
        return fail(e, ST_BAD_CONFIG, "-F %s: cannot be read", file);
    while (st == ST_OK && fgets(line, sizeof line, f)) {
        char *text = line + strspn(line, " \t");

        text[strcspn(text, "\r\n")] = 0;
        if (*text && *text != '#' && *text != '!')
            st = add_property(p, text, file, e);
    }
    fclose(f);
    return st;
}

enum st broker_flags_apply(const struct broker_flags *f, struct job *j, struct err *e)
{
    char text[640];

    if (*f->file)
        TRY(properties_file(&j->kafka, f->file, e));
    for (uint32_t i = 0; i < f->property.n; i++)
        TRY(add_property(&j->kafka, f->property.v[i], "-X", e));
    if (!strncmp(f->bootstrap, "local:", 6)) {
        snprintf(j->broker, sizeof j->broker, "%s", f->bootstrap);
        return ST_OK;
    }
    if (!*f->bootstrap)
        return ST_OK;
    snprintf(j->broker, sizeof j->broker, "kafka");
    snprintf(text, sizeof text, "bootstrap.servers=%s", f->bootstrap);
    return add_property(&j->kafka, text, "-b", e);
}

enum st input_apply(const struct texts *files, const struct broker_flags *f, bool keep,
                    struct job *j, struct err *e)
{
    char dir[sizeof j->broker];
    int n;

    if (!files->n)
        return ST_OK;
    if (*f->bootstrap && strncmp(f->bootstrap, "local:", 6) != 0)
        return fail(e, ST_BAD_CONFIG,
                    "--input and -b %s: with files nothing is read from Kafka, nor written to it. "
                    "Leave one away; -b local:DIR says where slots and models go",
                    f->bootstrap);
    if (!keep)
        n = snprintf(dir, sizeof dir, ":memory:");
    else if (!strncmp(j->broker, "local:", 6))
        n = snprintf(dir, sizeof dir, "%s", j->broker + 6);
    else
        n = snprintf(dir, sizeof dir, "%s/" TOPICS_FOLDER, j->state_dir);
    if (n < 0 || snprintf(j->broker, sizeof j->broker, "files:%s", dir) >= (int)sizeof j->broker)
        return fail(e, ST_BAD_CONFIG, "the path of the state folder is too long: %.80s...", dir);
    j->files = files->v;
    j->files_n = files->n;
    return files_columns(j, e);
}

static const struct opt *algo_options(const char *name, size_t *bytes)
{
    const struct algo *a = algo_find(name);

    if (a)
        *bytes = a->opts_bytes;
    return a ? a->opts : NULL;
}

const struct job_algos *cli_algos(void)
{
    static const char *names[NAMES_MAX];
    static const struct job_algos algos = {algo_options, names};

    CHECK(algo_count < NAMES_MAX);
    for (uint32_t i = 0; i < algo_count; i++)
        names[i] = algo_list[i]->name;
    return &algos;
}

const struct texts *device_flag_set(const struct device_flag *f, const struct texts *set,
                                    struct device_set *room)
{
    if (!*f->word || set->n == LIST_MAX)
        return set;
    room->set = *set;
    snprintf(room->text, sizeof room->text, "device=%s", f->word);
    room->set.v[room->set.n++] = room->text;
    return &room->set;
}

struct job *cli_job(const char *file, const struct texts *set, const struct broker_flags *f,
                    int *code)
{
    struct job *j = calloc(1, sizeof *j);
    struct err e;

    *code = CLI_CONFIG;
    if (!j || job_read(j, file, set ? set->v : NULL, set ? set->n : 0, cli_algos(), stderr)) {
        free(j);
        return NULL;
    }
    if (f && broker_flags_apply(f, j, &e) != ST_OK) {
        *code = cli_fail(ST_BAD_CONFIG, &e);
        free(j);
        return NULL;
    }
    j->input.missing = algo_find(j->algo)->flags & ALGO_MISSING;
    *code = CLI_DONE;
    return j;
}
