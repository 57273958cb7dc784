/* Fills a topic with rows {label: float, features: array<float>[WIDTH]} for the benches: random
 * features of 8 bits, so that compression has something to do, and labels by a hidden linear rule
 * with noise, so that there is something to learn.
 * usage: ingest_fill_bench BROKER TOPIC PARTITIONS ROWS ROWS_PER_MESSAGE
 *                          [BOOTSTRAP [COMPRESSION (lz4) [WIDTH (28)]]]
 * BROKER is local:DIR or kafka (then BOOTSTRAP is needed). The schema goes to TOPIC.avsc. */
#include "config/base/avro.h"
#include "config/base/bytes.h"
#include "consumer/broker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH_MAX = 1 << 16, PER_MAX = 4096, MESSAGE_MAX = 900000 };

static uint32_t width = 28;

static float uniform(uint64_t *s)
{
    return (float)(int8_t)(mix64((*s)++) >> 56) * 0x1p-7f;
}

static uint8_t *put_float(uint8_t *p, float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    put_u32(p, bits);
    return p + 4;
}

static uint8_t *put_row(uint8_t *p, uint64_t *s)
{
    static float x[WIDTH_MAX];
    float z = 0;

    for (uint32_t j = 0; j < width; j++) {
        x[j] = uniform(s);
        z += x[j] * ((float)(j % 5) - 2);
    }
    p = put_float(p, z + 2 * uniform(s) > 0);
    p = avro_put_long(p, width);
    for (uint32_t j = 0; j < width; j++)
        p = put_float(p, x[j]);
    return avro_put_long(p, 0);
}

static size_t message(uint8_t *out, uint32_t rows, uint64_t *s)
{
    uint8_t *p = out;

    if (rows > 1)
        p = avro_put_long(p, rows);
    for (uint32_t i = 0; i < rows; i++)
        p = put_row(p, s);
    if (rows > 1)
        p = avro_put_long(p, 0);
    return (size_t)(p - out);
}

static int write_schema(const char *topic, bool array)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s.avsc", topic);
    f = fopen(path, "w");
    if (!f)
        return 1;
    fprintf(f,
            "%s{\"type\":\"record\",\"name\":\"Row\",\"fields\":[{\"name\":\"label\",\"type\":"
            "\"float\"},{\"name\":\"features\",\"type\":{\"type\":\"array\",\"items\":\"float\"}}]}"
            "%s\n",
            array ? "{\"type\":\"array\",\"items\":" : "", array ? "}" : "");
    return fclose(f);
}

static enum st fill(const struct broker *br, void *b, char **argv, struct err *e)
{
    const char *topic = argv[2];
    uint32_t partitions = (uint32_t)atoi(argv[3]), per = (uint32_t)atoi(argv[5]);
    uint64_t rows = strtoull(argv[4], NULL, 10), seed = 1, sent = 0;
    struct topic_spec t = {topic, partitions, NULL};
    void *p = calloc(1, br->producer_bytes);
    uint8_t *m = malloc(MESSAGE_MAX);

    CHECK(p && m && partitions && per && per <= PER_MAX && width && width <= WIDTH_MAX);
    CHECK((uint64_t)per * (4 * width + 16) + 16 <= MESSAGE_MAX);
    TRY(br->topic_create(b, &t, e));
    TRY(br->producer_open(p, b, NULL, &topic, 1, e));
    for (uint64_t i = 0; sent < rows; i++, sent += per) {
        struct bytes value = {m, message(m, per, &seed)};

        TRY(br->produce(p, 0, (int32_t)(i % partitions), (struct bytes){0}, value, -1, NULL, 0, e));
    }
    TRY(br->producer_wait(p, 60000, e));
    br->producer_close(p);
    free(p);
    free(m);
    printf("%" PRIu64 " rows\n", sent);
    return ST_OK;
}

int main(int argc, char **argv)
{
    static struct props props = {
        .n = 1, .p = {{.name = "bootstrap.servers"}, {.name = "compression.type"}}};
    struct broker_conf c = {.props = &props, .queue_bytes = 64 << 20};
    const struct broker *br;
    struct err e = {""};
    enum st st;
    void *b;

    if (argc < 6) {
        fputs("usage: ingest_fill_bench BROKER TOPIC PARTITIONS ROWS ROWS_PER_MESSAGE "
              "[BOOTSTRAP [COMPRESSION [WIDTH]]]\n",
              stderr);
        return 2;
    }
    br = broker_find(argv[1], &c.address);
    CHECK(br);
    if (argc > 6)
        snprintf(props.p[0].value, sizeof props.p[0].value, "%s", argv[6]);
    else
        props.n = 0;
    if (argc > 7)
        snprintf(props.p[props.n++].value, sizeof props.p[1].value, "%s", argv[7]);
    if (argc > 8)
        width = (uint32_t)atoi(argv[8]);
    b = calloc(1, br->broker_bytes);
    CHECK(b);
    st = br->open(b, &c, &e);
    if (st == ST_OK)
        st = fill(br, b, argv, &e);
    br->close(b);
    free(b);
    if (st != ST_OK || write_schema(argv[2], atoi(argv[5]) > 1)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    return 0;
}
