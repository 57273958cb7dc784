#include "config/job_keys.h"
#include "config/tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reader {
    struct job *j;
    struct words words;
    const char *file;
    const struct job_algos *algos;
    const struct opt *algo_opts;
    FILE *problems;
    uint32_t n;
    bool set[JOB_KEYS_MAX];
};

static void problem(struct reader *r, uint32_t line, uint32_t column, const char *text)
{
    if (line)
        fprintf(r->problems, "%s:%" PRIu32 ":%" PRIu32 ": error: %s\n", r->file, line, column,
                text);
    else
        fprintf(r->problems, "%s: error: %s\n", column ? "--set" : r->file, text);
    r->n++;
}

/* "unknown key 'x' in input (did you mean 'y'?)": names are those of the same map. */
static void unknown(struct reader *r, const struct node *n, const char *prefix,
                    const char *const *words)
{
    const char *near = suggest(n->key, words);
    char text[512];

    snprintf(text, sizeof text, "unknown key '%.80s'%s%s%s%s%s", n->key, *prefix ? " in " : "",
             prefix, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    problem(r, n->line, n->column, text);
}

static enum st one_trigger(struct every *t, const char *text, struct err *e)
{
    static const struct opt ms = {.name = "every", .type = OPT_MS};
    char number[64], unit[16], extra;

    if (sscanf(text, " %63[0-9] %15[a-z]%c", number, unit, &extra) == 2 && !strcmp(unit, "rows") &&
        strlen(number) < 19) {
        t->rows = strtoull(number, NULL, 10);
        return ST_OK;
    }
    if (opt_set(&ms, &t->ms, text + strspn(text, " "), false, e) == ST_OK)
        return ST_OK;
    return fail(e, ST_BAD_CONFIG,
                "'every' must be a time such as 5s, a number such as '100000 rows', or both with a "
                "comma; got '%.80s'",
                text);
}

static enum st set_trigger(struct every *t, const char *text, struct err *e)
{
    char copy[256], *save = NULL;

    *t = (struct every){0};
    snprintf(copy, sizeof copy, "%s", text);
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save))
        TRY(one_trigger(t, w, e));
    return ST_OK;
}

static enum st set_share(const char *text, double *share, uint64_t *count, struct err *e)
{
    char *end;
    double v = strtod(text, &end);
    bool percent = end != text && !strcmp(end, "%"), plain = end != text && !*end;

    if (v >= 0 && ((percent && v <= 100) || (plain && (v < 1 || (v <= 1 && !count))))) {
        *share = percent ? v / 100 : v;
        if (count)
            *count = 0;
        return ST_OK;
    }
    if (plain && count && v >= 1 && v < 1e18) {
        *count = (uint64_t)v;
        return ST_OK;
    }
    return fail(e, ST_BAD_CONFIG, "must be a share such as 1%%%s, got '%.80s'",
                count ? " or a number of records" : "", text);
}

static enum st set_key(struct reader *r, uint32_t i, const char *text, struct err *e)
{
    const struct opt *o = &job_keys[i];
    void *base = o->at < sizeof(struct words) && o->bytes == 0 ? (void *)&r->words : (void *)r->j;

    r->set[i] = true;
    if (!o->type)
        return set_trigger((struct every *)((char *)r->j + o->at), text, e);
    return opt_set(o, base, text, false, e);
}

static enum st set_staleness(const char *text, int32_t *out, struct err *e)
{
    static const struct opt rounds = {
        "staleness (async, or rounds)", OPT_U32, 0, 0, NULL, 0, STALENESS_MAX, NULL, "", NULL};

    *out = STALENESS_ASYNC;
    return strcmp(text, "async") ? opt_set(&rounds, out, text, false, e) : ST_OK;
}

/* "clothes.models@17" */
static enum st set_start(struct job *j, const char *text, struct err *e)
{
    static const struct opt version = {"version", OPT_U64, 0, 0, NULL, 1, 1e18, NULL, "", NULL};
    const char *at = strrchr(text, '@');

    snprintf(j->start_from, sizeof j->start_from, "%s", text);
    snprintf(j->start_topic, sizeof j->start_topic, "%.*s", at ? (int)(at - text) : 0, text);
    if (!*text || (at && at > text && strlen(text) < sizeof j->start_from &&
                   opt_set(&version, &j->start_version, at + 1, false, e) == ST_OK))
        return ST_OK;
    return fail(e, ST_BAD_CONFIG,
                "'start_from' must be a model topic and a version, such as clothes.models@17, got "
                "'%.80s'",
                text);
}

static void scalar_special(struct reader *r, const char *path, const struct node *n)
{
    struct err e;
    double share = 0;
    enum st st = ST_OK;

    if (n->kind != NODE_SCALAR) {
        problem(r, n->line, n->column, "must be one value");
        return;
    }
    if (!strcmp(path, "input.holdout")) {
        st = set_share(n->text, &share, NULL, &e);
        if (st == ST_OK && share > 0.5)
            st = fail(&e, ST_BAD_CONFIG, "'holdout' must be 0..50%%, got '%.80s'", n->text);
        r->j->input.holdout = (float)share;
    } else if (!strcmp(path, "bad_records.limit")) {
        st = set_share(n->text, &r->j->bad_limit, &r->j->bad_limit_count, &e);
    } else if (!strcmp(path, "start_from")) {
        st = set_start(r->j, n->text, &e);
    } else {
        st = set_staleness(n->text, &r->j->staleness, &e);
    }
    if (st != ST_OK)
        problem(r, n->value_line, n->value_column, e.text);
}

/* "pixels[784]" or "price" */
static bool parse_feature(struct feature *f, const char *text)
{
    size_t n = strcspn(text, "[");
    char *end;
    unsigned long w = 0;

    if (!n || n >= sizeof f->name)
        return false;
    if (text[n]) {
        w = strtoul(text + n + 1, &end, 10);
        if (!w || w > COLUMNS_MAX || strcmp(end, "]"))
            return false;
    }
    memcpy(f->name, text, n);
    f->name[n] = 0;
    f->width = (uint32_t)w;
    return true;
}

static void add_name(struct reader *r, const char *path, const char *text, uint32_t line,
                     uint32_t column)
{
    struct input *in = &r->j->input;
    char why[256] = "";

    if (!strcmp(path, "input.classes")) {
        if (in->classes == CLASS_NAMES_MAX || strlen(text) >= CLASS_NAME_BYTES)
            snprintf(why, sizeof why, "at most %d classes of %d bytes each", CLASS_NAMES_MAX,
                     CLASS_NAME_BYTES - 1);
        else
            memcpy(in->class_name[in->classes++], text, strlen(text) + 1);
    } else if (!strcmp(path, "input.one_hot")) {
        if (in->one_hots == ONE_HOT_MAX || !*text || strlen(text) >= NAME_MAX_BYTES)
            snprintf(why, sizeof why, "at most %d names of 1..%d bytes each", ONE_HOT_MAX,
                     NAME_MAX_BYTES - 1);
        else
            memcpy(in->one_hot[in->one_hots++], text, strlen(text) + 1);
    } else {
        bool columns = !strcmp(path, "input.columns");
        uint32_t *n = columns ? &in->columns : &in->features;

        if (*n == FEATURES_MAX)
            snprintf(why, sizeof why, "at most %d names", FEATURES_MAX);
        else if (!parse_feature(columns ? &in->column[*n] : &in->feature[*n], text))
            snprintf(why, sizeof why, "'%.80s' is not a field name, or name[width]", text);
        else
            ++*n;
    }
    if (*why)
        problem(r, line, column, why);
}

static void names(struct reader *r, const char *path, const struct node *n)
{
    char copy[8192], *save = NULL;

    if (n->kind == NODE_MAP) {
        problem(r, n->line, n->column, "must be a list of names");
    } else if (n->kind == NODE_LIST) {
        for (const struct node *c = n->child; c; c = c->next)
            if (c->kind == NODE_SCALAR)
                add_name(r, path, c->text, c->line, c->column);
            else
                problem(r, c->line, c->column, "must be a name");
    } else {
        snprintf(copy, sizeof copy, "%s", n->text);
        for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save))
            add_name(r, path, w + strspn(w, " "), n->value_line, n->value_column);
    }
}

static void kafka(struct reader *r, const struct node *n)
{
    struct props *p = &r->j->kafka;

    if (n->kind != NODE_MAP) {
        problem(r, n->line, n->column, "'kafka' must be a map of librdkafka properties");
        return;
    }
    for (const struct node *c = n->child; c; c = c->next) {
        if (c->kind != NODE_SCALAR || strlen(c->text) >= sizeof p->p->value ||
            strlen(c->key) >= sizeof p->p->name) {
            problem(r, c->line, c->column, "a property must be one value of at most 511 bytes");
        } else if (p->n == PROPS_MAX) {
            problem(r, c->line, c->column, "too many properties");
        } else {
            memcpy(p->p[p->n].name, c->key, strlen(c->key) + 1);
            memcpy(p->p[p->n++].value, c->text, strlen(c->text) + 1);
        }
    }
}

static void algo_option(struct reader *r, const struct node *n)
{
    const char *words[128];
    const struct opt *o = opt_find(r->algo_opts, n->key);
    uint32_t count = 0;
    bool append = false;
    struct err e;

    if (!o) {
        for (const struct opt *k = r->algo_opts; k->name && count < 127; k++)
            words[count++] = k->name;
        words[count] = NULL;
        unknown(r, n, "options", words);
        return;
    }
    if (n->kind == NODE_SCALAR && opt_set(o, r->j->opts, n->text, false, &e) != ST_OK)
        problem(r, n->value_line, n->value_column, e.text);
    for (const struct node *c = n->kind == NODE_LIST ? n->child : NULL; c;
         c = c->next, append = true)
        if (c->kind != NODE_SCALAR) {
            problem(r, c->line, c->column, "must be one value");
        } else if (opt_set(o, r->j->opts, c->text,
                           append || o->type != OPT_F32S ? c != n->child : false, &e) != ST_OK) {
            problem(r, c->line, c->column, e.text);
        }
    if (n->kind == NODE_MAP || (n->kind == NODE_LIST && !n->child))
        problem(r, n->line, n->column, "must be a value or a list of values");
}

static void options(struct reader *r, const struct node *n)
{
    if (n->kind != NODE_MAP) {
        problem(r, n->line, n->column, "'options' must be a map");
        return;
    }
    for (const struct node *c = n->child; r->algo_opts && c; c = c->next)
        algo_option(r, c);
}

static void special(struct reader *r, const char *path, const struct node *n)
{
    if (!strcmp(path, "kafka"))
        kafka(r, n);
    else if (!strcmp(path, "options"))
        options(r, n);
    else if (!strcmp(path, "input.features") || !strcmp(path, "input.columns") ||
             !strcmp(path, "input.one_hot") || !strcmp(path, "input.classes"))
        names(r, path, n);
    else
        scalar_special(r, path, n);
}

/* Words that may stand in the map `prefix` ("" at the top), without repeats. */
static void words_of(const char *prefix, const char **words, char (*room)[48], uint32_t max)
{
    size_t skip = strlen(prefix) ? strlen(prefix) + 1 : 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < job_keys_n + job_specials_n && n + 1 < max; i++) {
        const char *path = i < job_keys_n ? job_keys[i].name : job_specials[i - job_keys_n].path;
        size_t len;

        if (skip && (strncmp(path, prefix, skip - 1) || path[skip - 1] != '.'))
            continue;
        len = strcspn(path + skip, ".");
        snprintf(room[n], sizeof room[n], "%.*s", (int)len, path + skip);
        words[n] = room[n];
        n += !n || strcmp(room[n], room[n - 1]) != 0;
    }
    words[n] = NULL;
}

static bool is_prefix(const char *path)
{
    size_t n = strlen(path);

    for (uint32_t i = 0; i < job_keys_n; i++)
        if (!strncmp(job_keys[i].name, path, n) && job_keys[i].name[n] == '.')
            return true;
    return false;
}

static void read_value(struct reader *r, const char *prefix, const struct node *n)
{
    char path[160], room[64][48];
    const char *words[64];
    struct err e;

    snprintf(path, sizeof path, "%s%s%.80s", prefix, *prefix ? "." : "", n->key);
    for (uint32_t i = 0; i < job_specials_n; i++)
        if (!strcmp(job_specials[i].path, path)) {
            special(r, path, n);
            return;
        }
    for (uint32_t i = 0; i < job_keys_n; i++)
        if (!strcmp(job_keys[i].name, path)) {
            if (n->kind != NODE_SCALAR)
                problem(r, n->line, n->column, "must be one value");
            else if (set_key(r, i, n->text, &e) != ST_OK)
                problem(r, n->value_line, n->value_column, e.text);
            return;
        }
    if (!*prefix && is_prefix(path) && n->kind == NODE_MAP) {
        for (const struct node *c = n->child; c; c = c->next)
            read_value(r, path, c);
        return;
    }
    if (!*prefix && is_prefix(path)) {
        problem(r, n->line, n->column, "must be a map of keys");
        return;
    }
    words_of(prefix, words, room, 64);
    unknown(r, n, prefix, words);
}

/* The algorithm first: it gives the table for `options`. */
static void choose_algo(struct reader *r, const struct node *root)
{
    size_t bytes = 0;
    const char *near;
    char text[256];

    for (const struct node *n = root->child; n; n = n->next)
        if (!strcmp(n->key, "algo") && n->kind == NODE_SCALAR) {
            r->algo_opts = r->algos->options(n->text, &bytes);
            near = suggest(n->text, r->algos->names);
            if (!r->algo_opts) {
                snprintf(text, sizeof text,
                         "no algorithm '%.80s'%s%s%s; 'millrace list' shows them", n->text,
                         near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
                problem(r, n->value_line, n->value_column, text);
            }
        }
    CHECK(bytes <= OPTS_BYTES_MAX);
    if (r->algo_opts)
        opts_defaults(r->algo_opts, r->j->opts);
}

static bool option_given(const struct node *root, const char *name)
{
    for (const struct node *n = root->child; n; n = n->next)
        for (const struct node *c = strcmp(n->key, "options") ? NULL : n->child; c; c = c->next)
            if (c->key && !strcmp(c->key, name))
                return true;
    return false;
}

static void required(struct reader *r, const struct node *root)
{
    char text[128];

    for (uint32_t i = 0; i < job_keys_n; i++)
        if (!job_keys[i].def && !r->set[i]) {
            snprintf(text, sizeof text, "'%s' is missing", job_keys[i].name);
            problem(r, root->line, root->column, text);
        }
    for (const struct opt *o = r->algo_opts; o && o->name; o++)
        if (!o->def && !option_given(root, o->name)) {
            snprintf(text, sizeof text, "options: '%s' is missing: %.80s", o->name, o->what);
            problem(r, root->line, root->column, text);
        }
}

/* --set path.to.key=value, as if it stood in the file. */
static void overrides(struct reader *r, const char *const *set, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *eq = strchr(set[i], '='),
                   *dot = memchr(set[i], '.', eq ? (size_t)(eq - set[i]) : 0);
        char prefix[64] = "", key[128], value[4096];
        struct node leaf = {
            .kind = NODE_SCALAR, .key = key, .text = value, .column = 1, .value_column = 1};
        struct node map = {
            .kind = NODE_MAP, .key = prefix, .child = &leaf, .column = 1, .value_column = 1};

        if (!eq || eq == set[i] || eq - set[i] > 120 || strlen(eq + 1) >= sizeof value ||
            (dot && dot - set[i] > 60)) {
            problem(r, 0, 1, "expected path.to.key=value");
            continue;
        }
        if (dot)
            snprintf(prefix, sizeof prefix, "%.*s", (int)(dot - set[i]), set[i]);
        snprintf(key, sizeof key, "%.*s", (int)(eq - (dot ? dot + 1 : set[i])),
                 dot ? dot + 1 : set[i]);
        snprintf(value, sizeof value, "%s", eq + 1);
        if (!dot && !strcmp(key, "algo"))
            problem(r, 0, 1, "'algo' cannot be overridden: its options would not fit");
        else
            read_value(r, "", dot ? &map : &leaf);
    }
}

/* Paths in a job file are relative to the file. */
static void beside(const char *file, char *path, size_t n, const char *scheme)
{
    const char *slash = strrchr(file, '/');
    char copy[4096];
    size_t skip = strlen(scheme);

    if (strncmp(path, scheme, skip) || path[skip] == '/' || !path[skip] || !slash)
        return;
    snprintf(copy, sizeof copy, "%s", path + skip);
    snprintf(path, n, "%s%.*s/%s", scheme, (int)(slash - file), file, copy);
}

static void check_device(struct reader *r)
{
    const struct job *j = r->j;
    const bool cuda = !strncmp(j->backend, "cuda", 4);

    if (strcmp(j->device, "auto") && strcmp(j->backend, "auto") &&
        cuda != !strcmp(j->device, "cuda"))
        problem(r, 0, 0, "'backend' is not one of 'device': leave one of them out");
}

static void complete(struct reader *r)
{
    struct job *j = r->j;

    if (!*j->topic_params)
        snprintf(j->topic_params, sizeof j->topic_params, "%.180s.params", j->name);
    if (!*j->topic_models)
        snprintf(j->topic_models, sizeof j->topic_models, "%.180s.models", j->name);
    if (!*j->topic_dead)
        snprintf(j->topic_dead, sizeof j->topic_dead, "%.180s.dead", j->name);
    if (!*j->state_dir)
        snprintf(j->state_dir, sizeof j->state_dir, "%s.state", j->name);
    beside(r->file, j->state_dir, sizeof j->state_dir, "");
    beside(r->file, j->input.schema, sizeof j->input.schema, "");
    beside(r->file, j->broker, sizeof j->broker, "local:");
    j->bad_dead_letter = r->words.bad_to == 1;
    j->gap_continue = r->words.gap == 1;
    j->recreated_continue = r->words.recreated == 1;
    snprintf(j->device, sizeof j->device, "%s", job_device_words[r->words.device]);
    snprintf(j->backend, sizeof j->backend, "%s", job_backend_words[r->words.backend]);
    check_device(r);
    if (strcmp(j->broker, "kafka") && strncmp(j->broker, "local:", 6))
        problem(r, 0, 0, "'broker' must be kafka or local:DIR");
    if (j->input.hash_bits && j->input.format != FORMAT_LIBSVM && !j->input.one_hots)
        problem(r, 0, 0,
                "input.hash_bits is for input.format libsvm, or input.one_hot: else columns have "
                "names");
    if (j->input.hash_bits && j->input.width)
        problem(r, 0, 0,
                "input.width and input.hash_bits exclude each other: 2^hash_bits is the width");
    if (j->input.format == FORMAT_AVRO && !*j->input.schema)
        problem(r, 0, 0,
                "input.schema is missing: the file with the Avro schema of the records ('millrace "
                "load' writes one)");
    if (j->input.format != FORMAT_CSV && j->input.format != FORMAT_JSON && j->input.one_hots)
        problem(r, 0, 0, "input.one_hot is for formats csv and json");
}

uint32_t job_read(struct job *j, const char *file, const char *const *set, uint32_t n,
                  const struct job_algos *algos, FILE *problems)
{
    struct reader r = {.j = j, .file = file, .algos = algos, .problems = problems};
    struct node *root;
    struct err e;

    *j = (struct job){.bad_limit = 0.01, .staleness = STALENESS_ASYNC};
    snprintf(j->file, sizeof j->file, "%s", file);
    for (uint32_t i = 0; i < job_keys_n; i++)
        if (job_keys[i].def)
            CHECK(set_key(&r, i, job_keys[i].def, &e) == ST_OK);
    memset(r.set, 0, sizeof r.set);
    if (tree_read(file, &root, &e) != ST_OK) {
        fprintf(problems, "%s:%s\n", file, e.text);
        return 1;
    }
    choose_algo(&r, root);
    for (const struct node *c = root->child; c; c = c->next)
        read_value(&r, "", c);
    overrides(&r, set, n);
    required(&r, root);
    if (!r.n)
        complete(&r);
    tree_free(root);
    return r.n;
}
