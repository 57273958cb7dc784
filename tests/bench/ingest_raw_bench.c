/* How fast records come out of a topic, payload untouched: the ceiling that `train` is measured
 * against.
 *
 * usage: MILLRACE_BOOTSTRAP=host:port ingest_raw_bench load TOPIC PARTITIONS RECORDS BYTES
 *                                     ingest_raw_bench read TOPIC [QUEUE_MIB [NS_PER_RECORD]]
 *
 * read goes three times from the beginning to the end of every partition: `best` with queues that
 * never limit, `raw` with the handle and the settings of our broker but librdkafka's own batch
 * call, `broker` through consumer_poll. NS_PER_RECORD is burnt on each record, as a learner would.
 * One line each: records/s, MB/s, CPU seconds of the process per million records, peak memory so
 * far. */
#include "consumer/broker_kafka.h"

#include "config/base/clock.h"
#include "config/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct props props;
static struct err err;
static uint64_t burn_ns;

#define OK(call) (((call) == ST_OK) ? (void)0 : die(#call))

static void die(const char *what)
{
    fprintf(stderr, "ingest_raw_bench: %s: %s\n", what, err.text);
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static long resident_mib(void)
{
    long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%ld %ld", &ignored, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) >> 10) >> 10;
}

struct tally {
    int64_t last; /* record, microseconds */
    uint64_t records, bytes;
    uint32_t ends;
    int64_t began;
    double cpu;
    long peak_mib;
    int64_t owed_ns;
};

static struct tally tally_begin(void)
{
    return (struct tally){.cpu = cpu_seconds()};
}

/* After a batch: works for the records in it. Time runs from the first record to the last, as in
 * `train`: connecting and waiting for end events are not the fetcher's speed. */
static void tally_batch(struct tally *t, uint64_t records, uint64_t bytes)
{
    if (records)
        t->last = clock_mono_us();
    if (!t->began)
        t->began = t->last;
    t->records += records;
    t->bytes += bytes;
    if (records && resident_mib() > t->peak_mib)
        t->peak_mib = resident_mib();
    if (!burn_ns)
        return;
    for (int64_t stop = clock_mono_us() + (int64_t)(records * burn_ns / 1000);
         clock_mono_us() < stop;)
        ;
}

static void tally_end(const struct tally *t, const char *what)
{
    double s = (double)(t->last - t->began) * 1e-6;

    printf("%-7s %9llu records %6.2f s %8.3f M records/s %8.1f MB/s  cpu %.3f s/M  peak %ld MiB\n",
           what, (unsigned long long)t->records, s, (double)t->records / s * 1e-6,
           (double)t->bytes / s * 1e-6,
           (cpu_seconds() - t->cpu) / (double)(t->records ? t->records : 1) * 1e6, t->peak_mib);
    fflush(stdout);
}

static void load(struct kafka *b, const char *topic, char **argv)
{
    uint32_t partitions = (uint32_t)strtoul(argv[0], NULL, 10);
    uint64_t n = strtoull(argv[1], NULL, 10), x = 1;
    size_t bytes = strtoull(argv[2], NULL, 10);
    struct kafka_producer *p = calloc(1, sizeof *p);
    uint8_t *value = malloc(bytes + 8);
    struct tally t;

    OK(broker_kafka.topic_create(b, &(struct topic_spec){topic, partitions, NULL}, &err));
    OK(broker_kafka.producer_open(p, b, NULL, &topic, 1, &err));
    t = tally_begin();
    t.began = clock_mono_us();
    for (uint64_t i = 0; i < n; i++) {
        for (size_t at = 0; at < bytes; at += 8) { /* noise: compression does not help */
            x = x * 6364136223846793005u + 1442695040888963407u;
            memcpy(value + at, &x, 8);
        }
        OK(broker_kafka.produce(p, 0, (int32_t)(i % partitions), (struct bytes){NULL, 0},
                                (struct bytes){value, bytes}, -1, NULL, 0, &err));
    }
    t.records = n;
    t.bytes = n * bytes;
    OK(broker_kafka.producer_wait(p, 60000, &err));
    t.last = clock_mono_us();
    tally_end(&t, "load");
    broker_kafka.producer_close(p);
    free(value);
    free(p);
}

static void read_batches(rd_kafka_queue_t *queue, uint32_t partitions, const char *what)
{
    static rd_kafka_message_t *m[POLL_RECORDS_MAX];
    struct tally t = tally_begin();

    while (t.ends < partitions) {
        ssize_t n = rd_kafka_consume_batch_queue(queue, 10, m, POLL_RECORDS_MAX);
        uint64_t bytes = 0, records = 0;

        for (ssize_t i = 0; i < n; i++) {
            t.ends += m[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
            records += m[i]->err == 0;
            bytes += m[i]->err ? 0 : m[i]->len;
        }
        tally_batch(&t, records, bytes);
        for (ssize_t i = 0; i < n; i++)
            rd_kafka_message_destroy(m[i]);
    }
    tally_end(&t, what);
}

static void read_broker(struct kafka_consumer *c, uint32_t partitions)
{
    static struct record r[POLL_RECORDS_MAX];
    struct tally t = tally_begin();
    uint32_t n;

    while (t.ends < partitions) {
        uint64_t bytes = 0, records = 0;

        OK(broker_kafka.consumer_poll(c, r, POLL_RECORDS_MAX, 10, &n, &err));
        for (uint32_t i = 0; i < n; i++) {
            t.ends += r[i].kind == REC_EOF;
            records += r[i].kind == REC_DATA;
            bytes += r[i].value.n;
        }
        tally_batch(&t, records, bytes);
    }
    tally_end(&t, "broker");
}

static void read_one(struct kafka *b, const char *topic, uint32_t partitions, int how)
{
    struct kafka_consumer *c = calloc(1, sizeof *c);
    struct start s[PARTITIONS_MAX];

    OK(broker_kafka.consumer_open(
        c, b,
        &(struct consumer_conf){
            .topics = &topic, .topics_n = 1, .queue_bytes = how ? 0 : (uint64_t)8 << 30},
        &err));
    for (uint32_t i = 0; i < partitions; i++)
        s[i] = (struct start){(int32_t)i, 0, -2};
    OK(broker_kafka.consumer_assign(c, s, partitions, &err));
    if (how == 2)
        read_broker(c, partitions);
    else
        read_batches(c->queue, partitions, how ? "raw" : "best");
    broker_kafka.consumer_close(c);
    free(c);
}

int main(int argc, char **argv)
{
    struct broker_conf conf = {.props = &props, .queue_bytes = 256 << 20};
    struct kafka *b = calloc(1, sizeof *b);
    const char *bootstrap = getenv("MILLRACE_BOOTSTRAP");
    uint32_t partitions;

    memory_one_heap(); /* where it is linked with jemalloc, as `train` is */
    if (!bootstrap || argc < 3) {
        fprintf(stderr, "usage: MILLRACE_BOOTSTRAP=host:port ingest_raw_bench load TOPIC "
                        "PARTITIONS RECORDS BYTES\n"
                        "       ... ingest_raw_bench read TOPIC [QUEUE_MIB [NS_PER_RECORD]]\n");
        return 2;
    }
    if (argc > 3)
        conf.queue_bytes = strtoull(argv[3], NULL, 10) << 20;
    if (argc > 4)
        burn_ns = strtoull(argv[4], NULL, 10);
    props.n = 1;
    snprintf(props.p[0].name, sizeof props.p[0].name, "bootstrap.servers");
    snprintf(props.p[0].value, sizeof props.p[0].value, "%s", bootstrap);
    OK(broker_kafka.open(b, &conf, &err));
    if (!strcmp(argv[1], "load") && argc == 6) {
        load(b, argv[2], argv + 3);
    } else {
        OK(kafka_partitions(b, argv[2], &partitions, &err));
        for (int how = 2; how >= 0; how--)
            read_one(b, argv[2], partitions, how);
    }
    broker_kafka.close(b);
    free(b);
    return 0;
}
