/* score.c: millrace score: a published model over a topic or files, to stdout or a topic; measures
 * where labels are there. */
#include "algos/derive.h"
#include "config/base/json.h"
#include "consumer/broker_file.h"
#include "consumer/session.h"
#include "consumer/tally.h"
#include "consumer/verbs/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 200, WAIT_MS = 60000 };

struct score_flags {
    struct broker_flags broker;
    struct device_flag device;
    struct texts set;
    char topic[NAME_MAX_BYTES], to[NAME_MAX_BYTES];
    uint64_t model;
    bool until_end, metrics, json;
};

static const struct flag score_flag[] = {
    BROKER_FLAGS(struct score_flags, broker),
    DEVICE_FLAG(struct score_flags, device),
    {0,
     true,
     {"set", OPT_STR, offsetof(struct score_flags, set), 512, "", 0, 0, NULL,
      "Override: path.to.key=value; may be repeated.", NULL},
     NULL},
    {'t',
     false,
     {"topic", OPT_STR, offsetof(struct score_flags, topic), NAME_MAX_BYTES, "", 0, 0, NULL,
      "Topic to score; empty: files, or the job's own topic.", NULL},
     NULL},
    {0,
     false,
     {"to", OPT_STR, offsetof(struct score_flags, to), NAME_MAX_BYTES, "", 0, 0, NULL,
      "Topic for the scores, one JSON record a row; empty: stdout.", NULL},
     NULL},
    {'m',
     false,
     {"model", OPT_U64, offsetof(struct score_flags, model), 0, "0", 0, 0, NULL,
      "Version of the model; 0: the latest.", NULL},
     NULL},
    {'e',
     false,
     {"until-end", OPT_BOOL, offsetof(struct score_flags, until_end), 0, "false", 0, 0, NULL,
      "Exit at the end of the topic.", NULL},
     NULL},
    {0,
     false,
     {"metrics", OPT_BOOL, offsetof(struct score_flags, metrics), 0, "false", 0, 0, NULL,
      "Print measures only, no rows.", NULL},
     NULL},
    {'J',
     false,
     {"json", OPT_BOOL, offsetof(struct score_flags, json), 0, "false", 0, 0, NULL,
      "Rows as JSON instead of CSV.", NULL},
     NULL},
    {0}};

struct scoring {
    struct session *s;
    const struct score_flags *f;
    struct block block;
    struct batch batch;
    struct tally tally;
    float *out;
    uint32_t width;
    char (*column)[COLUMN_NAME_BYTES]; /* [width] */
    void *producer;                    /* NULL: rows go to stdout */
    FILE *row; /* stdout, or what a record is made of: row_text[row_bytes] once flushed */
    char *row_text;
    size_t row_bytes;
    int32_t partition;
    bool until_end;
    uint64_t bad;
};

static void csv_row(const struct scoring *c, const struct rows *r, uint32_t i, const float *out)
{
    fprintf(c->row, "%" PRId32 ",%" PRIu64, c->partition, r->rid[i] >> 16);
    for (uint32_t k = 0; k < c->width; k++)
        fprintf(c->row, ",%.9g", (double)out[k]);
    if (r->y)
        fprintf(c->row, ",%.9g", (double)r->y[i]);
}

static void json_row(const struct scoring *c, const struct rows *r, uint32_t i, const float *out)
{
    int64_t class = tally_class(&c->tally, out);

    fprintf(c->row, "{\"partition\":%" PRId32 ",\"offset\":%" PRIu64, c->partition,
            r->rid[i] >> 16);
    if (class >= 0 && (uint64_t) class < c->s->model.classes) {
        fputs(",\"class_name\":", c->row);
        json_text(c->row, c->s->model.class_name[class]);
    }
    for (uint32_t k = 0; k < c->width; k++) {
        fprintf(c->row, ",\"%s\":", c->column[k]);
        json_number(c->row, (double)out[k], 9);
    }
    if (r->y) {
        fputs(",\"label\":", c->row);
        json_number(c->row, (double)r->y[i], 9);
    }
    fputc('}', c->row);
}

static enum st row_written(struct scoring *c)
{
    if (!ferror(c->row))
        return ST_OK;
    return fail(c->s->err, ST_FATAL, "%s cannot be written: %s",
                c->producer ? "a row of scores" : "stdout", strerror(errno));
}

static enum st put_row(struct scoring *c, const struct rows *r, uint32_t i, const float *out)
{
    tally_add(&c->tally, out, c->width, r->y ? r->y[i] : NAN, r->weight[i]);
    if (c->f->metrics)
        return ST_OK;
    if (c->f->json || c->producer)
        json_row(c, r, i, out);
    else
        csv_row(c, r, i, out);
    if (!c->producer) {
        fputc('\n', c->row);
        return row_written(c);
    }
    fflush(c->row);
    TRY(row_written(c));
    TRY(c->s->br->produce(c->producer, 0, -1, (struct bytes){0},
                          (struct bytes){(const uint8_t *)c->row_text, c->row_bytes}, -1, NULL, 0,
                          c->s->err));
    rewind(c->row);
    return ST_OK;
}

/* Nothing more comes for now: whoever reads the scores has them. */
static enum st hand_over(struct scoring *c)
{
    if (c->producer)
        return c->s->br->producer_wait(c->producer, WAIT_MS, c->s->err);
    fflush(c->row);
    return row_written(c);
}

static enum st score_block(struct scoring *c)
{
    struct session *s = c->s;
    struct rows r;

    batch_begin(&c->batch, &c->block, (uint32_t)c->partition, 0, 0);
    while (batch_next(&c->batch, &r)) {
        TRY(session_score(s, c->width, &r, c->out));
        for (uint32_t i = 0; i < r.n; i++)
            TRY(put_row(c, &r, i, c->out + (size_t)i * c->width));
    }
    block_clear(&c->block);
    return ST_OK;
}

static enum st score_record(struct scoring *c, int32_t partition, struct bytes key,
                            struct bytes value, int64_t offset, int64_t ts)
{
    char detail[DETAIL_BYTES] = "";
    enum bad bad;

    if (partition != c->partition)
        TRY(score_block(c));
    c->partition = partition;
    bad = c->s->codec->decode(c->s->codec_self, key, value, offset, ts, &c->block, detail);
    if (bad == BAD_FULL) {
        TRY(score_block(c));
        bad = c->s->codec->decode(c->s->codec_self, key, value, offset, ts, &c->block, detail);
    }
    CHECK(bad != BAD_FULL);
    if (bad != BAD_NONE && !c->bad++)
        fprintf(stderr,
                "millrace: warning: partition %" PRId32 " offset %" PRId64 " skipped: %s: %s\n",
                partition, offset, bad_name(bad), detail);
    return ST_OK;
}

static enum st score_polled(struct scoring *c, const char *topic, const struct record *r,
                            bool ended[PARTITIONS_MAX])
{
    if (r->kind == REC_DATA && r->value.p)
        return score_record(c, r->partition, r->key, r->value, r->offset, r->timestamp_ms);
    if (r->kind == REC_EOF && r->partition >= 0 && r->partition < PARTITIONS_MAX)
        ended[r->partition] = true;
    if (r->kind == REC_RESET)
        return fail(c->s->err, ST_AGAIN,
                    "topic %s partition %" PRId32 ": offset %" PRId64
                    " was removed before it could be read (retention). Start again",
                    topic, r->partition, r->offset);
    if (r->kind == REC_ERROR && r->reason == BROKER_ERR_TOPIC_GONE)
        return fail(c->s->err, ST_BAD_CONFIG, "topic %s was deleted while it was read", topic);
    return ST_OK;
}

/* Partitions from their beginning: to the end of each, or for ever. */
static enum st score_partitions(struct scoring *c, void *consumer, const char *topic,
                                const struct start *s, uint32_t partitions, struct record *rec)
{
    const struct broker *br = c->s->from;
    bool ended[PARTITIONS_MAX] = {false};
    uint32_t n, left = partitions;

    TRY(br->consumer_assign(consumer, s, partitions, c->s->err));
    while (left || !c->until_end) {
        TRY(br->consumer_poll(consumer, rec, POLL_RECORDS_MAX, POLL_MS, &n, c->s->err));
        for (uint32_t i = 0; i < n; i++)
            TRY(score_polled(c, topic, &rec[i], ended));
        left = 0;
        for (uint32_t p = 0; p < partitions; p++)
            left += !ended[s[p].partition];
        if (n)
            continue;
        TRY(score_block(c));
        TRY(hand_over(c));
    }
    return score_block(c);
}

/* Partitions of a topic all at once; files one after another. */
static enum st score_all(struct scoring *c, void *consumer, const char *topic, uint32_t partitions,
                         struct record *rec)
{
    struct start s[PARTITIONS_MAX];
    uint32_t step = c->s->from == c->s->br ? partitions : 1;

    for (uint32_t p = 0; p < partitions; p++)
        s[p] = (struct start){.partition = (int32_t)p, .offset = -2};
    for (uint32_t p = 0; p < partitions; p += step)
        TRY(score_partitions(c, consumer, topic, s + p, step, rec));
    return ST_OK;
}

static enum st score_topic(struct scoring *c, const char *topic)
{
    struct consumer_conf conf = {.topics = &topic, .topics_n = 1};
    const struct broker *br = c->s->from;
    struct record *rec = calloc(POLL_RECORDS_MAX, sizeof *rec);
    void *consumer = calloc(1, br->consumer_bytes);
    struct topic_info t = {0};
    enum st st = rec && consumer ? br->topic(c->s->from_b, topic, &t, c->s->err)
                                 : fail(c->s->err, ST_FATAL, "no memory");

    if (st == ST_OK && t.partitions > PARTITIONS_MAX)
        st = fail(c->s->err, ST_BAD_CONFIG,
                  "topic %s has %" PRIu32 " partitions, at most %d are supported", topic,
                  t.partitions, PARTITIONS_MAX);
    if (st == ST_OK)
        st = br->consumer_open(consumer, c->s->from_b, &conf, c->s->err);
    if (st == ST_OK)
        st = score_all(c, consumer, topic, t.partitions, rec);
    if (consumer)
        br->consumer_close(consumer);
    free(consumer);
    free(rec);
    return st;
}

/* 0, which is the algorithm's own: there is none of that name. */
static uint32_t column_named(const struct scoring *c, const char *name)
{
    uint32_t k = c->width;

    while (--k > 0 && strcmp(c->column[k], name) != 0)
        ;
    return k;
}

static enum st open_scoring(struct scoring *c, const char *topic)
{
    struct session *s = c->s;
    struct batch_conf conf = {.folds = 1};
    const char *to = c->f->to;

    TRY(session_model(s, c->f->model));
    if (s->job->files_n)
        TRY(session_files(s));
    TRY(session_codec(s, topic, (struct bytes){0}, s->model.features, false));
    TRY(session_algo(s, 1));
    TRY(session_check_model(s));
    TRY(session_device(s));
    conf.batch_rows = s->shape.batch_rows;
    TRY(block_init(&c->block, &s->decoded.shape, s->err));
    TRY(batch_init(&c->batch, &s->decoded.shape, &conf, s->err));
    TRY(tally_init(&c->tally, &s->shape, s->err));
    if (s->shape.classes && s->decoded.shape.ny)
        s->codec->label_limit(s->codec_self, s->shape.classes);
    c->width = score_columns(s->algo, &s->shape, s->opts, s->derive_opts, NULL, 0);
    c->column = calloc(c->width + 1, sizeof *c->column);
    c->out = calloc((size_t)conf.batch_rows * (c->width + 1), sizeof *c->out);
    c->row = *to ? open_memstream(&c->row_text, &c->row_bytes) : stdout;
    if (!c->column || !c->out || !c->row)
        return fail(s->err, ST_FATAL, "no memory to score");
    score_columns(s->algo, &s->shape, s->opts, s->derive_opts, c->column, c->width);
    c->tally.predicted = column_named(c, "predicted");
    c->tally.calibrated = column_named(c, "calibrated");
    if (!*to)
        return ST_OK;
    c->producer = calloc(1, s->br->producer_bytes);
    if (!c->producer)
        return fail(s->err, ST_FATAL, "no memory to score");
    return s->br->producer_open(c->producer, s->b, NULL, &to, 1, s->err);
}

static void header_line(const struct scoring *c)
{
    if (c->f->json || c->f->metrics || c->producer)
        return;
    fputs("partition,offset", stdout);
    for (uint32_t k = 0; k < c->width; k++)
        printf(",%s", c->column[k]);
    puts(c->s->decoded.shape.ny ? ",label" : "");
}

static enum st run(struct scoring *c)
{
    bool files = c->s->job->files_n > 0;
    const char *topic = *c->f->topic && !files ? c->f->topic : c->s->job->topic;

    c->until_end = c->f->until_end || files;
    TRY(open_scoring(c, topic));
    header_line(c);
    TRY(score_topic(c, topic));
    TRY(hand_over(c));
    tally_print(&c->tally, c->s->model.class_name, c->s->model.classes,
                c->f->metrics ? stdout : stderr);
    if (c->bad)
        fprintf(stderr, "millrace: warning: %" PRIu64 " records skipped\n", c->bad);
    return ST_OK;
}

static int score(const void *flags, int argc, char **argv)
{
    struct scoring c = {.f = flags, .partition = 0};
    struct device_set device;
    struct err e = {""};
    struct job *j;
    enum st st;
    int code;

    if (argc < 1) {
        fputs("millrace score: name a job file, then files to score, or -t TOPIC\n", stderr);
        return CLI_USAGE;
    }
    j = cli_job(argv[0], device_flag_set(&c.f->device, &c.f->set, &device), &c.f->broker, &code);
    if (!j)
        return code;
    j->files = (const char *const *)argv + 1;
    j->files_n = (uint32_t)argc - 1;
    c.s = calloc(1, sizeof *c.s);
    st = !c.s         ? fail(&e, ST_FATAL, "no memory to start")
         : j->files_n ? files_columns(j, &e)
                      : ST_OK;
    if (st == ST_OK)
        st = session_broker(c.s, j, !*c.f->to, &e);
    if (st == ST_OK)
        st = run(&c);
    if (c.producer)
        c.s->br->producer_close(c.producer);
    free(c.producer);
    free(c.out);
    if (c.row && c.row != stdout)
        fclose(c.row);
    free(c.row_text);
    free(c.column);
    tally_fini(&c.tally);
    batch_fini(&c.batch);
    block_fini(&c.block);
    if (c.s)
        session_close(c.s);
    free(c.s);
    free(j);
    return st == ST_OK ? CLI_DONE : cli_fail(st, &e);
}

const struct verb verb_score = {
    "score",
    "JOB.yaml [FILE...]",
    "Scores a topic or files with a published model.",
    score_flag,
    sizeof(struct score_flags),
    "Files are as of train --input: a line a row, gzip or not; - is "
    "stdin. Rows go to stdout as CSV, or as JSON; measures and the confusion "
    "matrix to stderr (--metrics: to stdout).",
    score};
