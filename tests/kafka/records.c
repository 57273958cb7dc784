/* records.c: puts records into a topic of any broker and gets them out, for tests.
 *
 *   records put BROKER TOPIC PARTITIONS [CONFIG=VALUE...]   frames from stdin; makes the topic
 *   records put-transactions ...                            the same, with transactions
 *   records get BROKER TOPIC                                frames to stdout, read_committed
 *   records delete BROKER TOPIC
 *
 * BROKER: local:DIR or HOST:PORT[,...]. A frame is four little-endian numbers and what they
 * announce: i32 partition, i64 timestamp (ms), i32 bytes of the key (-1: null), i32 bytes of the
 * value (-1: null); key, value. In what `get` writes an i64 offset and a u32 number of headers
 * stand behind them, and the headers (u32 length, bytes; name and value in turn) behind the value.
 * Partition -2, -3, -4 in what `put-transactions` reads: begin, commit, abort one. */
#include "config/base/bytes.h"
#include "consumer/broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 20, WAIT_MS = 60000, BEGIN = -2, COMMIT = -3, ABORT = -4 };

struct place {
    const struct broker *br;
    void *b;
    struct props props;
    struct err err;
};

static enum st place_open(struct place *p, const char *spec, bool read_only)
{
    struct broker_conf c = {.props = &p->props, .queue_bytes = 64 << 20, .read_only = read_only};

    p->br = broker_find(strncmp(spec, "local:", 6) ? "kafka" : spec, &c.address);
    CHECK(p->br);
    if (strncmp(spec, "local:", 6)) {
        p->props.n = 1;
        snprintf(p->props.p[0].name, sizeof p->props.p[0].name, "bootstrap.servers");
        snprintf(p->props.p[0].value, sizeof p->props.p[0].value, "%s", spec);
    }
    p->b = calloc(1, p->br->broker_bytes);
    CHECK(p->b);
    return p->br->open(p->b, &c, &p->err);
}

static uint8_t *room(uint8_t *p, size_t *have, size_t want)
{
    if (want > *have) {
        *have = want * 2;
        p = realloc(p, *have);
        CHECK(p);
    }
    return p;
}

static bool wanted(int32_t bytes)
{
    return bytes > 0;
}

static enum st put_frames(struct place *p, void *producer)
{
    uint8_t head[HEAD], *body = NULL;
    size_t have = 0;
    enum st st = ST_OK;

    while (st == ST_OK && fread(head, HEAD, 1, stdin) == 1) {
        int32_t partition = (int32_t)get_u32(head), key = (int32_t)get_u32(head + 12),
                value = (int32_t)get_u32(head + 16);
        size_t key_n = wanted(key) ? (size_t)key : 0,
               n = key_n + (wanted(value) ? (size_t)value : 0);
        struct bytes k, v;

        body = room(body, &have, n + 1);
        if (n && fread(body, n, 1, stdin) != 1)
            st = fail(&p->err, ST_BAD_INPUT, "a frame ends early");
        k = (struct bytes){key < 0 ? NULL : body, key_n};
        v = (struct bytes){value < 0 ? NULL : body + key_n, n - key_n};
        if (st != ST_OK)
            break;
        if (partition == BEGIN)
            st = p->br->producer_begin(producer, &p->err);
        else if (partition == ABORT)
            st = p->br->producer_abort(producer, &p->err);
        else if (partition != COMMIT)
            st = p->br->produce(producer, 0, partition, k, v, (int64_t)get_u64(head + 4), NULL, 0,
                                &p->err);
        else if ((st = p->br->producer_wait(producer, WAIT_MS, &p->err)) == ST_OK)
            st = p->br->producer_commit(producer, &p->err);
    }
    free(body);
    return st;
}

static enum st put(struct place *p, int argc, char **argv, bool transactions)
{
    const char *config[HEADERS_MAX + 1][2] = {{NULL, NULL}}, *topic = argv[0];
    struct topic_spec t = {topic, (uint32_t)strtoul(argv[1], NULL, 10),
                           (const char *const(*)[2])config};
    void *producer = calloc(1, p->br->producer_bytes);
    enum st st;

    CHECK(producer && argc - 2 <= HEADERS_MAX);
    for (int i = 2; i < argc; i++) {
        config[i - 2][0] = argv[i];
        config[i - 2][1] = strchr(argv[i], '=') + 1;
        *strchr(argv[i], '=') = 0;
    }
    st = p->br->topic_create(p->b, &t, &p->err);
    if (st == ST_OK)
        st = p->br->producer_open(producer, p->b, transactions ? "records" : NULL, &topic, 1,
                                  &p->err);
    if (st == ST_OK)
        st = put_frames(p, producer);
    if (st == ST_OK)
        st = p->br->producer_wait(producer, WAIT_MS, &p->err);
    p->br->producer_close(producer);
    free(producer);
    return st;
}

static void write_bytes(struct bytes b)
{
    uint8_t n[4];

    put_u32(n, (uint32_t)b.n);
    fwrite(n, sizeof n, 1, stdout);
    fwrite(b.n ? b.p : n, b.n, 1, stdout);
}

static void write_record(const struct place *p, void *consumer, const struct record *r)
{
    uint8_t head[HEAD + 12];
    struct header h;
    uint32_t n = 0;

    while (p->br->consumer_header(consumer, r, n, &h))
        n++;
    put_u32(head, (uint32_t)r->partition);
    put_u64(head + 4, (uint64_t)r->timestamp_ms);
    put_u32(head + 12, r->key.p ? (uint32_t)r->key.n : UINT32_MAX);
    put_u32(head + 16, r->value.p ? (uint32_t)r->value.n : UINT32_MAX);
    put_u64(head + HEAD, (uint64_t)r->offset);
    put_u32(head + HEAD + 8, n);
    fwrite(head, sizeof head, 1, stdout);
    if (r->key.n)
        fwrite(r->key.p, r->key.n, 1, stdout);
    if (r->value.n)
        fwrite(r->value.p, r->value.n, 1, stdout);
    for (uint32_t i = 0; p->br->consumer_header(consumer, r, i, &h); i++) {
        write_bytes((struct bytes){(const uint8_t *)h.name, strlen(h.name)});
        write_bytes(h.value);
    }
}

static enum st get(struct place *p, const char *topic)
{
    struct consumer_conf conf = {.topics = &topic, .topics_n = 1};
    static struct record r[256];
    struct start s[PARTITIONS_MAX];
    void *consumer = calloc(1, p->br->consumer_bytes);
    struct topic_info t;
    uint32_t ends = 0, n;

    CHECK(consumer);
    TRY(p->br->topic(p->b, topic, &t, &p->err));
    if (!t.exists)
        return fail(&p->err, ST_BAD_CONFIG, "no topic %s", topic);
    TRY(p->br->consumer_open(consumer, p->b, &conf, &p->err));
    for (uint32_t i = 0; i < t.partitions; i++)
        s[i] = (struct start){.partition = (int32_t)i, .offset = -2};
    TRY(p->br->consumer_assign(consumer, s, t.partitions, &p->err));
    while (ends < t.partitions) {
        TRY(p->br->consumer_poll(consumer, r, 256, 100, &n, &p->err));
        for (uint32_t i = 0; i < n; i++) {
            ends += r[i].kind == REC_EOF;
            if (r[i].kind == REC_DATA)
                write_record(p, consumer, &r[i]);
        }
    }
    p->br->consumer_close(consumer);
    free(consumer);
    return ST_OK;
}

static enum st run(struct place *p, const char *verb, int argc, char **argv)
{
    if (!strncmp(verb, "put", 3) && argc >= 2)
        return put(p, argc, argv, !strcmp(verb, "put-transactions"));
    if (!strcmp(verb, "get") && argc == 1)
        return get(p, argv[0]);
    if (!strcmp(verb, "delete") && argc == 1)
        return p->br->topic_delete(p->b, argv[0], &p->err);
    return fail(&p->err, ST_BAD_CONFIG, "usage: records VERB BROKER TOPIC ...");
}

int main(int argc, char **argv)
{
    static struct place p;
    enum st st;

    CHECK(argc >= 4);
    st = place_open(&p, argv[2], !strcmp(argv[1], "get"));
    if (st == ST_OK)
        st = run(&p, argv[1], argc - 3, argv + 3);
    if (st != ST_OK)
        fprintf(stderr, "records: %s\n", p.err.text);
    p.br->close(p.b);
    free(p.b);
    return st != ST_OK;
}
