/* broker_local_bench [DIR [ROWS]]: load and read rates of the local broker, two shapes of records,
 * 4 partitions.
 *
 *     rows    ROWS records of 118 bytes (default 10,000,000)
 *     images  60,000 records of 3,141 bytes
 *
 * Load: produce, acknowledged every 100,000 records (a synced write). Read: polls of 4,096 by one
 * consumer that looks at the first and last byte of each value; twice, so the second time from the
 * page cache. Publish: transactions of one record of 64 KiB, and of 64 chunks of 256 KiB (16 MiB),
 * compaction included. */
#include "consumer/broker.h"

#include "config/base/bytes.h"
#include "config/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct broker *const t = &broker_local;
static struct err err;

static void ok(enum st st)
{
    if (st == ST_OK)
        return;
    fprintf(stderr, "%s: %s\n", st_name(st), err.text);
    exit(1);
}

static double since(int64_t us)
{
    return (double)(clock_mono_us() - us) / 1e6;
}

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) /* half of it repeats, as features do */
        p[i] = i & 1 ? (uint8_t)i : (uint8_t)(mix64(seed + i / 2) >> 56);
}

static void load(void *b, const char *topic, size_t bytes, uint32_t n)
{
    void *p = calloc(1, t->producer_bytes);
    uint8_t *value = malloc(bytes + 4096);
    int64_t at = clock_mono_us();
    double s;

    fill(value, bytes + 4096, 1);
    ok(t->topic_create(b, &(struct topic_spec){topic, 4, NULL}, &err));
    ok(t->producer_open(p, b, NULL, &topic, 1, &err));
    for (uint32_t i = 0; i < n; i++) {
        ok(t->produce(p, 0, (int32_t)(i % 4), (struct bytes){NULL, 0},
                      (struct bytes){value + i % 4096, bytes}, -1, NULL, 0, &err));
        if (i % 100000 == 99999)
            ok(t->producer_wait(p, 10000, &err));
    }
    ok(t->producer_wait(p, 10000, &err));
    s = since(at);
    printf("%-8s load %9.0f records/s %8.1f MB/s\n", topic, n / s,
           (double)n * (double)bytes / s / 1e6);
    t->producer_close(p);
    free(p);
    free(value);
}

static void read_all(void *b, const char *topic, size_t bytes)
{
    static struct record r[POLL_RECORDS_MAX];
    void *c = calloc(1, t->consumer_bytes);
    struct start from[4];
    uint32_t seen = 0, ends = 0, got, polls = 0;
    uint64_t sum = 0;
    int64_t at = clock_mono_us();
    double s;

    ok(t->consumer_open(c, b, &(struct consumer_conf){.topics = &topic, .topics_n = 1}, &err));
    for (int32_t q = 0; q < 4; q++)
        from[q] = (struct start){q, 0, -2};
    ok(t->consumer_assign(c, from, 4, &err));
    for (; ends < 4; polls++) {
        ok(t->consumer_poll(c, r, POLL_RECORDS_MAX, 100, &got, &err));
        for (uint32_t i = 0; i < got; i++) {
            ends += r[i].kind == REC_EOF;
            if (r[i].kind != REC_DATA)
                continue;
            sum += (uint64_t)r[i].value.p[0] + r[i].value.p[r[i].value.n - 1];
            seen++;
        }
    }
    s = since(at);
    printf("%-8s read %9.0f records/s %8.1f MB/s (%u records, %u polls, sum %llu)\n", topic,
           seen / s, (double)seen * (double)bytes / s / 1e6, seen, polls, (unsigned long long)sum);
    t->consumer_close(c);
    free(c);
}

static void publish(void *b, const char *topic, uint32_t chunks, size_t bytes, uint32_t times)
{
    const char *const config[][2] = {{"cleanup.policy", "compact"}, {NULL, NULL}};
    void *p = calloc(1, t->producer_bytes);
    uint8_t *value = malloc(bytes);
    double s, sum = 0, worst = 0;
    char key[16];

    ok(t->topic_create(b, &(struct topic_spec){topic, 1, config}, &err));
    ok(t->producer_open(p, b, "bench", &topic, 1, &err));
    for (uint32_t i = 0; i < times; i++) {
        int64_t at;

        fill(value, bytes, i);
        at = clock_mono_us();
        ok(t->producer_begin(p, &err));
        for (uint32_t j = 0; j < chunks; j++) {
            int k = snprintf(key, sizeof key, "chunk/%u", j);

            ok(t->produce(p, 0, 0, (struct bytes){(uint8_t *)key, (size_t)k},
                          (struct bytes){value, bytes}, -1, NULL, 0, &err));
        }
        ok(t->producer_wait(p, 10000, &err));
        ok(t->producer_commit(p, &err));
        s = since(at);
        sum += s;
        worst = s > worst ? s : worst;
    }
    printf("%-8s %u chunks of %zu bytes: %.2f ms each, worst %.1f ms, %u times\n", topic, chunks,
           bytes, 1e3 * sum / times, 1e3 * worst, times);
    t->producer_close(p);
    free(p);
    free(value);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "bench.broker";
    uint32_t rows = argc > 2 ? (uint32_t)atol(argv[2]) : 10000000;
    struct broker_conf conf = {.address = dir, .queue_bytes = 64 << 20};
    void *b = calloc(1, t->broker_bytes);

    ok(t->open(b, &conf, &err));
    load(b, "rows", 118, rows);
    load(b, "images", 3141, 60000);
    for (int i = 0; i < 2; i++) {
        read_all(b, "rows", 118);
        read_all(b, "images", 3141);
    }
    publish(b, "small", 1, 64 << 10, 200);
    publish(b, "large", 64, 256 << 10, 60);
    t->close(b);
    free(b);
    return 0;
}
