/* load.c: millrace load: files of rows into a topic, and the schema that a job needs to read them.
 */
#include "consumer/load.h"

#include "config/base/clock.h"
#include "consumer/session.h"
#include "consumer/verbs/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARTITIONS_NEW = 4, WAIT_MS = 60000, SAY_US = 5000000, SAY_MESSAGES = 1024 };

struct load_flags {
    struct broker_flags broker;
    char topic[NAME_MAX_BYTES], label[4096], schema[4096];
    uint32_t format, as, partitions, rows;
    bool append;
};

static const char *const formats[] = {"csv", "libsvm", "jsonl", "idx", NULL}, *const forms[] = {
                                                                                  "avro", "lines",
                                                                                  NULL};
static const struct load_reader *const readers[] = {&load_csv, &load_libsvm, &load_jsonl,
                                                    &load_idx};

static const struct flag load_flag[] = {
    BROKER_FLAGS(struct load_flags, broker),
    {'t',
     false,
     {"topic", OPT_STR, offsetof(struct load_flags, topic), NAME_MAX_BYTES, "", 0, 0, NULL,
      "Topic; it is created if there is none.", NULL},
     NULL},
    {0,
     false,
     {"format", OPT_ENUM, offsetof(struct load_flags, format), 0, "csv", 0, 0, formats,
      "Of the files: csv, libsvm, jsonl or idx.", NULL},
     NULL},
    {0,
     false,
     {"label", OPT_STR, offsetof(struct load_flags, label), 4096, "", 0, 0, NULL,
      "Field with the label; idx: the file with the labels.", NULL},
     NULL},
    {'p',
     false,
     {"partitions", OPT_U32, offsetof(struct load_flags, partitions), 0, "0", 0, PARTITIONS_MAX,
      NULL, "Of a topic that is created; 0: 4.", NULL},
     NULL},
    {0,
     false,
     {"rows-per-message", OPT_U32, offsetof(struct load_flags, rows), 0, "1", 1, BLOCK_ROWS, NULL,
      "Rows in a record of the topic; more than 1: an array of rows.", NULL},
     NULL},
    {0,
     false,
     {"as", OPT_ENUM, offsetof(struct load_flags, as), 0, "avro", 0, 0, forms,
      "avro, or lines: the text as it is (csv, libsvm, jsonl).", NULL},
     NULL},
    {0,
     false,
     {"schema", OPT_STR, offsetof(struct load_flags, schema), 4096, "", 0, 0, NULL,
      "File for the schema; empty: TOPIC.avsc.", NULL},
     NULL},
    {0,
     false,
     {"append", OPT_BOOL, offsetof(struct load_flags, append), 0, "false", 0, 0, NULL,
      "The topic may have records already.", NULL},
     NULL},
    {0}};

struct loading {
    const struct load_flags *f;
    struct load l;
    struct session *s;
    void *producer;
    char schema_file[sizeof((struct load_flags *)0)->schema + 8];
    char *schema;
    bool refused;
    uint32_t partitions;
    uint64_t rows, messages, bytes;
    int64_t start_us, said_us;
    struct err err;
};

static enum st refuse(struct loading *g, enum st st)
{
    g->refused = true;
    return st;
}

/* ---- the schema file ---- */

/* It is written, or rewritten with the same text, but never over another schema. */
static enum st check_schema_file(struct loading *g)
{
    size_t n = strlen(g->schema);
    char *there = malloc(n + 2);
    FILE *f = fopen(g->schema_file, "r");
    enum st st = ST_OK;

    if (!there)
        st = fail(&g->err, ST_FATAL, "no memory for the schema");
    else if (!f && errno != ENOENT)
        st = fail(&g->err, ST_BAD_CONFIG, "%s: %s", g->schema_file, strerror(errno));
    else if (f && (fread(there, 1, n + 1, f) != n || memcmp(there, g->schema, n) != 0))
        st = refuse(g, fail(&g->err, ST_BAD_CONFIG,
                            "%s is there with another schema than these rows have: remove it, or "
                            "name another file with --schema",
                            g->schema_file));
    if (f)
        fclose(f);
    free(there);
    return st;
}

static enum st write_schema_file(struct loading *g)
{
    char temporary[sizeof g->schema_file + 8];
    FILE *f;
    bool ok;

    snprintf(temporary, sizeof temporary, "%s.new", g->schema_file);
    f = fopen(temporary, "w");
    ok = f && fputs(g->schema, f) >= 0;
    if (f && fclose(f) != 0)
        ok = false;
    if (ok && rename(temporary, g->schema_file) == 0)
        return ST_OK;
    return fail(&g->err, ST_BAD_CONFIG, "%s cannot be written: %s", g->schema_file,
                strerror(errno));
}

/* ---- the topic ---- */

static enum st has_records(struct loading *g, bool *yes)
{
    int64_t low, high;

    *yes = false;
    for (uint32_t p = 0; p < g->partitions; p++) {
        TRY(g->s->br->watermarks(g->s->b, g->f->topic, (int32_t)p, true, &low, &high, &g->err));
        *yes = *yes || high > low;
    }
    return ST_OK;
}

static enum st open_topic(struct loading *g)
{
    uint32_t wanted = g->f->partitions;
    const char *name = g->f->topic;
    struct topic_spec spec = {name, wanted ? wanted : PARTITIONS_NEW, NULL};
    struct topic_info t = {0};
    bool full;

    TRY(g->s->br->topic(g->s->b, name, &t, &g->err));
    g->partitions = t.exists ? t.partitions : spec.partitions;
    if (!t.exists)
        return g->s->br->topic_create(g->s->b, &spec, &g->err);
    if (wanted && wanted != t.partitions)
        return refuse(g, fail(&g->err, ST_BAD_CONFIG,
                              "topic '%s' has %" PRIu32 " partitions, not %" PRIu32
                              ": leave --partitions out, or name another topic",
                              name, t.partitions, wanted));
    TRY(has_records(g, &full));
    if (full && !g->f->append)
        return refuse(g, fail(&g->err, ST_BAD_CONFIG,
                              "topic '%s' has records already: add to them with --append, or name "
                              "another topic",
                              name));
    return ST_OK;
}

/* ---- messages ---- */

/* Rows up to the message's number, or the end. The place of an array's count is left in front. */
static enum st fill(struct loading *g, uint32_t *rows, bool *more)
{
    struct avro_out *o = &g->l.out;

    o->n = 0;
    CHECK(encode_room(o, AVRO_LONG_MAX));
    o->n = AVRO_LONG_MAX;
    for (*rows = 0; *rows < g->f->rows && *more; *rows += *more) {
        size_t before = o->n;

        if (g->l.lines && *rows)
            encode_raw(o, "\n", 1);
        TRY(g->l.r->row(&g->l, more));
        if (!*more)
            o->n = before;
    }
    return ST_OK;
}

static enum st send(struct loading *g, uint32_t rows)
{
    struct avro_out *o = &g->l.out;
    uint8_t count[AVRO_LONG_MAX];
    size_t n = 0;

    if (g->f->rows > 1 && !g->l.lines) {
        n = (size_t)(avro_put_long(count, rows) - count);
        encode_long(o, 0);
    }
    if (o->full)
        return load_bad(&g->l, "%" PRIu32 " rows are more than %d bytes: fewer --rows-per-message",
                        rows, RECORD_BYTES_MAX);
    memcpy(o->p + AVRO_LONG_MAX - n, count, n);
    n = o->n - AVRO_LONG_MAX + n;
    TRY(g->s->br->produce(g->producer, 0, (int32_t)(g->messages % g->partitions), (struct bytes){0},
                          (struct bytes){o->p + o->n - n, n}, -1, NULL, 0, &g->err));
    g->messages++;
    g->rows += rows;
    g->bytes += n;
    return ST_OK;
}

static void say(struct loading *g)
{
    int64_t now = g->messages % SAY_MESSAGES ? 0 : clock_mono_us();

    if (now - g->said_us < SAY_US)
        return;
    g->said_us = now;
    fprintf(stderr, "millrace: %" PRIu64 " rows, %.0f rows/s\n", g->rows,
            (double)g->rows * 1e6 / (double)(now - g->start_us));
}

static enum st send_all(struct loading *g)
{
    bool more = true;
    uint32_t rows;
    enum st st = ST_OK;

    g->start_us = g->said_us = clock_mono_us();
    while (st == ST_OK && more) {
        st = fill(g, &rows, &more);
        if (st == ST_OK && rows)
            st = send(g, rows);
        say(g);
    }
    if (st != ST_OK) {
        struct err why = g->err;
        enum st sent = g->s->br->producer_wait(g->producer, WAIT_MS, &g->err);

        g->err = why;
        if (g->rows && sent == ST_OK)
            fprintf(stderr, "millrace: %" PRIu64 " rows before it are in topic '%s'\n", g->rows,
                    g->f->topic);
        return st;
    }
    return g->s->br->producer_wait(g->producer, WAIT_MS, &g->err);
}

static void report(struct loading *g)
{
    double s = (double)(clock_mono_us() - g->start_us) / 1e6, mb = (double)g->bytes / 1e6;

    fprintf(stderr,
            "millrace: %" PRIu64 " rows in %" PRIu64 " records, %.1f MB, %" PRIu32
            " partitions of topic '%s', %.1f s: %.0f rows/s, %.0f MB/s%s%s\n",
            g->rows, g->messages, mb, g->partitions, g->f->topic, s, (double)g->rows / s, mb / s,
            g->l.r->note ? "; " : "", g->l.r->note ? g->l.r->note : "");
    fputs("millrace: for the job file:\n", stderr);
    load_yaml(&g->l, g->schema_file, stdout);
}

static bool reads_stdin(const struct load *l)
{
    for (uint32_t i = 0; i < l->files; i++)
        if (!strcmp(l->file[i], "-"))
            return true;
    return false;
}

static enum st open_schema(struct loading *g)
{
    if (g->l.lines)
        return ST_OK;
    snprintf(g->schema_file, sizeof g->schema_file, "%s%s",
             *g->f->schema ? g->f->schema : g->f->topic, *g->f->schema ? "" : ".avsc");
    g->schema = load_schema(&g->l, g->f->rows > 1);
    if (!g->schema)
        return fail(&g->err, ST_FATAL, "no memory for the schema");
    return check_schema_file(g);
}

/* The schema file comes last, so that it says that all is there; but stdin may never end. */
static enum st run(struct loading *g, const struct job *j)
{
    const char *topic = g->f->topic;
    bool early;

    TRY(load_open(&g->l, readers[g->f->format]));
    TRY(open_schema(g));
    TRY(session_broker(g->s, j, false, &g->err));
    TRY(open_topic(g));
    g->producer = calloc(1, g->s->br->producer_bytes);
    if (!g->producer)
        return fail(&g->err, ST_FATAL, "no memory to load");
    TRY(g->s->br->producer_open(g->producer, g->s->b, NULL, &topic, 1, &g->err));
    early = reads_stdin(&g->l);
    if (early && g->schema)
        TRY(write_schema_file(g));
    TRY(send_all(g));
    if (!early && g->schema)
        TRY(write_schema_file(g));
    report(g);
    return ST_OK;
}

static int load_with(struct loading *g, struct job *j)
{
    enum st st;

    snprintf(j->broker, sizeof j->broker, "kafka");
    st = broker_flags_apply(&g->f->broker, j, &g->err);
    if (st == ST_OK)
        st = run(g, j);
    if (g->producer)
        g->s->br->producer_close(g->producer);
    session_close(g->s);
    load_close(&g->l);
    free(g->producer);
    free(g->schema);
    if (st == ST_OK)
        return CLI_DONE;
    return g->refused ? (cli_fail(st, &g->err), CLI_REFUSED) : cli_fail(st, &g->err);
}

static int load(const void *flags, int argc, char **argv)
{
    const struct load_flags *f = flags;
    struct loading *g;
    struct job *j;
    int code = CLI_FAILED;

    if (!argc || !*f->topic || (!*f->broker.bootstrap && !*f->broker.file)) {
        fputs("millrace load: name the broker (-b), the topic (-t) and at least one file, - for "
              "stdin\n",
              stderr);
        return CLI_USAGE;
    }
    g = calloc(1, sizeof *g);
    j = calloc(1, sizeof *j);
    if (g && j)
        g->s = calloc(1, sizeof *g->s);
    if (g && g->s) {
        g->f = f;
        g->l = (struct load){.label = f->label,
                             .lines = f->as == 1,
                             .file = (const char *const *)argv,
                             .files = (uint32_t)argc,
                             .err = &g->err};
        code = load_with(g, j);
        free(g->s);
    } else {
        fputs("millrace: error: no memory to load\n", stderr);
    }
    free(g);
    free(j);
    return code;
}

const struct verb verb_load = {"load",
                               "-b BROKER -t TOPIC FILE...",
                               "Files of rows into a topic; writes the schema they have there.",
                               load_flag,
                               sizeof(struct load_flags),
                               "Files may be packed with gzip; - is stdin. Record i goes to "
                               "partition i modulo their number. The input: section of a job that "
                               "reads the topic goes to stdout.",
                               load};
