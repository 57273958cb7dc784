/* peek.c: millrace peek: records of a topic as a job decodes them, or the reason why one is bad. */
#include "config/base/json.h"
#include "consumer/session.h"
#include "consumer/verbs/verbs.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POLL_MS = 200, FEATURES_SHOWN = 8, NAME_ROOM = 256 };

struct peek_flags {
    struct broker_flags broker;
    struct texts set, input;
    char topic[NAME_MAX_BYTES], partition[16], offset[32];
    uint64_t records;
    bool json;
};

static const struct flag peek_flag[] = {
    BROKER_FLAGS(struct peek_flags, broker),
    INPUT_FLAG(struct peek_flags, input),
    {0,
     true,
     {"set", OPT_STR, offsetof(struct peek_flags, set), 512, "", 0, 0, NULL,
      "Override: path.to.key=value; may be repeated.", NULL},
     NULL},
    {'t',
     false,
     {"topic", OPT_STR, offsetof(struct peek_flags, topic), NAME_MAX_BYTES, "", 0, 0, NULL,
      "Topic; empty: the job's own.", NULL},
     NULL},
    {'p',
     false,
     {"partition", OPT_STR, offsetof(struct peek_flags, partition), 16, "", 0, 0, NULL,
      "Only this partition.", NULL},
     NULL},
    {'o',
     false,
     {"offset", OPT_STR, offsetof(struct peek_flags, offset), 32, "beginning", 0, 0, NULL,
      "Where to start in each partition: beginning, end (waits for new records), a number, or -N: "
      "N "
      "before the end.",
      NULL},
     NULL},
    {'n',
     false,
     {"max-records", OPT_U64, offsetof(struct peek_flags, records), 0, "10", 0, 0, NULL,
      "Records to show; 0: all there are.", NULL},
     NULL},
    {'J',
     false,
     {"json", OPT_BOOL, offsetof(struct peek_flags, json), 0, "false", 0, 0, NULL,
      "A JSON object a row, with all features.", NULL},
     NULL},
    {0}};

struct peek {
    struct session *s;
    const struct peek_flags *f;
    struct block block;
    struct start *start; /* [starts] */
    uint32_t starts, ended;
    bool wait; /* at the end of all partitions */
    uint64_t shown;
};

/* ---- one record ---- */

static const char *time_text(int64_t ms, char text[32])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    size_t n;

    if (ms < 0)
        return "-";
    gmtime_r(&t, &tm);
    n = strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, 32 - n, ".%03dZ", (int)(ms % 1000));
    return text;
}

static const char *class_text(const struct peek *k, float y, char text[32])
{
    const struct decoded *d = &k->s->decoded;

    if (d->classes && y >= 0 && y < (float)d->classes)
        return d->class_name[(uint32_t)y];
    snprintf(text, 32, "%.9g", (double)y);
    return text;
}

/* Feature i of what is stored of a row: every column of a dense one, the entries of a sparse one.
 */
static uint32_t features(const struct block *b, uint32_t row)
{
    return b->s.sparse ? b->ptr[row + 1] - b->ptr[row] : b->s.d;
}

static float feature(struct peek *k, uint32_t row, uint32_t i, char *name)
{
    const struct block *b = &k->block;
    uint32_t at = b->s.sparse ? b->ptr[row] + i : 0;

    k->s->codec->column_name(k->s->codec_self, b->s.sparse ? b->col[at] : i, name, NAME_ROOM);
    return b->s.sparse ? b->val[at] : b->x[(size_t)row * b->s.ld + i];
}

static void row_text(struct peek *k, uint32_t row)
{
    const struct block *b = &k->block;
    uint32_t n = features(b, row), zeros = 0;
    float min = NAN, max = NAN; /* of values that are there */
    char name[NAME_ROOM], text[32];

    printf("  label %s", b->s.ny ? class_text(k, b->y[row], text) : "-");
    if (b->s.weighted)
        printf(" weight %.6g", (double)b->weight[row]);
    fputs(" |", stdout);
    for (uint32_t i = 0; i < n; i++) {
        float v = b->s.sparse ? b->val[b->ptr[row] + i] : b->x[(size_t)row * b->s.ld + i];

        if (i < FEATURES_SHOWN) {
            feature(k, row, i, name);
            if (isnan(v))
                printf(" %s:-", name);
            else
                printf(" %s:%.6g", name, (double)v);
        }
        zeros += v == 0;
        min = v < min || isnan(min) ? v : min;
        max = v > max || isnan(max) ? v : max;
    }
    if (n > FEATURES_SHOWN)
        printf(" ... %" PRIu32 " values, %" PRIu32 " zero, %.6g to %.6g", n, zeros, (double)min,
               (double)max);
    putchar('\n');
}

static void row_json(struct peek *k, const struct record *r, uint32_t row)
{
    const struct block *b = &k->block;
    char name[NAME_ROOM], text[36], time[32];

    printf("{\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64
           ",\"time\":\"%s\",\"key\":",
           r->partition, r->offset, r->timestamp_ms, time_text(r->timestamp_ms, time));
    if (r->key.p)
        json_text(stdout, bytes_shown(r->key.p, r->key.n, text));
    else
        fputs("null", stdout);
    if (row == UINT32_MAX)
        return;
    printf(",\"row\":%" PRIu32, row);
    if (b->s.ny) {
        fputs(",\"label\":", stdout);
        if (k->s->decoded.classes)
            json_text(stdout, class_text(k, b->y[row], text));
        else
            fputs(class_text(k, b->y[row], text), stdout);
    }
    if (b->s.weighted)
        printf(",\"weight\":%.9g", (double)b->weight[row]);
    fputs(",\"features\":{", stdout);
    for (uint32_t i = 0; i < features(b, row); i++) {
        float v = feature(k, row, i, name);

        fputs(i ? "," : "", stdout);
        json_text(stdout, name);
        putchar(':');
        json_number(stdout, (double)v, 9);
    }
    puts("}}");
}

static void bad_record(struct peek *k, const struct record *r, const char *why, const char *detail)
{
    if (!k->f->json) {
        printf("  %s%s%s\n", why, *detail ? ": " : "", detail);
        return;
    }
    row_json(k, r, UINT32_MAX);
    fputs(",\"bad\":", stdout);
    json_text(stdout, why);
    fputs(",\"detail\":", stdout);
    json_text(stdout, detail);
    puts("}");
}

static void show(struct peek *k, const struct record *r)
{
    char detail[DETAIL_BYTES] = "", text[36], time[32], why[48] = "null value: skipped";
    enum bad bad = BAD_NONE;

    block_clear(&k->block);
    if (r->value.p)
        bad = k->s->codec->decode(k->s->codec_self, r->key, r->value, r->offset, r->timestamp_ms,
                                  &k->block, detail);
    CHECK(bad != BAD_FULL);
    if (!k->f->json)
        printf("partition %" PRId32 " offset %" PRId64 " time %s key %s bytes %zu rows %" PRIu32
               "\n",
               r->partition, r->offset, time_text(r->timestamp_ms, time),
               r->key.p ? bytes_shown(r->key.p, r->key.n, text) : "-", r->value.n, k->block.n);
    if (bad != BAD_NONE)
        snprintf(why, sizeof why, "bad record: %s", bad_name(bad));
    if (!r->value.p || bad != BAD_NONE)
        bad_record(k, r, why, detail);
    for (uint32_t i = 0; i < k->block.n; i++)
        if (k->f->json)
            row_json(k, r, i);
        else
            row_text(k, i);
    k->shown++;
}

/* ---- where to read ---- */

static enum st bad_offset(struct peek *k)
{
    return fail(k->s->err, ST_BAD_CONFIG,
                "-o %s: expected beginning, end, an offset, or -N for N before the end",
                k->f->offset);
}

static enum st place(struct peek *k, const char *topic, struct start *s)
{
    const char *o = k->f->offset;
    int64_t low, high;
    char *end;
    long long v = strtoll(o, &end, 10);

    s->offset = !strcmp(o, "end") ? -1 : -2;
    if (!strcmp(o, "end") || !strcmp(o, "beginning"))
        return ST_OK;
    if (end == o || *end)
        return bad_offset(k);
    TRY(k->s->br->watermarks(k->s->b, topic, s->partition, false, &low, &high, k->s->err));
    s->offset = *o == '-' ? high + v : v;
    if (s->offset < low)
        s->offset = low;
    if (s->offset > high)
        return fail(k->s->err, ST_BAD_CONFIG,
                    "-o %s: partition %" PRId32 " of topic '%s' has offsets %" PRId64
                    " to %" PRId64,
                    o, s->partition, topic, low, high - 1);
    return ST_OK;
}

static enum st places(struct peek *k, const char *topic)
{
    struct topic_info t = {0};
    const char *p = k->f->partition;
    unsigned long only;
    char *end;

    TRY(k->s->br->topic(k->s->b, topic, &t, k->s->err));
    CHECK(t.exists); /* session_codec has looked */
    only = strtoul(p, &end, 10);
    if (*p && (*end || *p == '-' || only >= t.partitions))
        return fail(k->s->err, ST_BAD_CONFIG, "-p %s: topic '%s' has partitions 0 to %" PRIu32, p,
                    topic, t.partitions - 1);
    k->start = calloc(t.partitions, sizeof *k->start);
    if (!k->start)
        return fail(k->s->err, ST_FATAL, "no memory to peek");
    for (uint32_t i = 0; i < t.partitions; i++) {
        if (*p && i != only)
            continue;
        k->start[k->starts].partition = (int32_t)i;
        TRY(place(k, topic, &k->start[k->starts++]));
    }
    k->wait = !strcmp(k->f->offset, "end");
    return ST_OK;
}

/* ---- the verb ---- */

static bool enough(const struct peek *k)
{
    return (k->f->records && k->shown >= k->f->records) || (!k->wait && k->ended >= k->starts);
}

static enum st take(struct peek *k, const struct record *r)
{
    k->ended += r->kind == REC_EOF;
    if (r->kind == REC_DATA && !enough(k))
        show(k, r);
    if (r->kind == REC_RESET)
        return fail(k->s->err, ST_BAD_CONFIG,
                    "partition %" PRId32 ": offset %" PRId64 " is not there any more", r->partition,
                    r->offset);
    return ST_OK;
}

static enum st read_all(struct peek *k, const char *topic, void *consumer, struct record *rec)
{
    struct consumer_conf conf = {.topics = &topic, .topics_n = 1};
    const struct broker *br = k->s->br;
    uint32_t n;

    TRY(br->consumer_open(consumer, k->s->b, &conf, k->s->err));
    TRY(br->consumer_assign(consumer, k->start, k->starts, k->s->err));
    while (!enough(k)) {
        TRY(br->consumer_poll(consumer, rec, POLL_RECORDS_MAX, POLL_MS, &n, k->s->err));
        for (uint32_t i = 0; i < n; i++)
            TRY(take(k, &rec[i]));
        fflush(stdout);
    }
    return ST_OK;
}

static enum st run(struct peek *k)
{
    const char *topic = *k->f->topic ? k->f->topic : k->s->job->topic;
    struct record *rec = calloc(POLL_RECORDS_MAX, sizeof *rec);
    void *consumer = calloc(1, k->s->br->consumer_bytes);
    struct session *s = k->s;
    enum st st = rec && consumer ? ST_OK : fail(s->err, ST_FATAL, "no memory to peek");

    if (st == ST_OK)
        st = session_codec(s, topic, (struct bytes){0}, 0,
                           algo_find(s->job->algo)->flags & ALGO_LABEL);
    if (st == ST_OK)
        st = session_algo(s, 1);
    if (st == ST_OK && s->shape.classes && s->decoded.shape.ny)
        s->codec->label_limit(s->codec_self, s->shape.classes);
    if (st == ST_OK)
        st = block_init(&k->block, &s->decoded.shape, s->err);
    if (st == ST_OK)
        st = places(k, topic);
    if (st == ST_OK)
        st = read_all(k, topic, consumer, rec);
    if (consumer)
        s->br->consumer_close(consumer);
    free(consumer);
    free(rec);
    return st;
}

static int peek(const void *flags, int argc, char **argv)
{
    struct peek k = {.f = flags};
    struct err e = {""};
    struct job *j;
    enum st st;
    int code;

    if (argc != 1) {
        fputs("millrace peek: name one job file\n", stderr);
        return CLI_USAGE;
    }
    j = cli_job(argv[0], &k.f->set, &k.f->broker, &code);
    if (!j)
        return code;
    k.s = calloc(1, sizeof *k.s);
    st = k.s ? input_apply(&k.f->input, &k.f->broker, false, j, &e)
             : fail(&e, ST_FATAL, "no memory to start");
    if (st == ST_OK)
        st = session_broker(k.s, j, true, &e);
    if (st == ST_OK)
        st = run(&k);
    block_fini(&k.block);
    free(k.start);
    if (k.s)
        session_close(k.s);
    free(k.s);
    free(j);
    return st == ST_OK ? CLI_DONE : cli_fail(st, &e);
}

const struct verb verb_peek = {"peek",
                               "JOB.yaml",
                               "Records of a topic as the job decodes them.",
                               peek_flag,
                               sizeof(struct peek_flags),
                               "Shows partition, offset, time, key, label, weight and the first "
                               "features of each row, or why a record is bad. Commits nothing.",
                               peek};
