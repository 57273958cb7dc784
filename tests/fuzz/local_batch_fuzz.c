/* Batches of the local broker from anywhere, with a right CRC: they are refused or read, each
 * record inside the batch, and what was read encodes to a batch that reads the same. */
#include "consumer/broker_local.h"

#include "config/base/bytes.h"

#include <stdlib.h>
#include <string.h>

static bool same(struct bytes a, struct bytes b)
{
    return a.n == b.n && !a.p == !b.p && (!a.n || !memcmp(a.p, b.p, a.n));
}

static void read_again(const struct local_part *part, const struct log_head *h, struct bytes batch,
                       struct bytes copy)
{
    size_t at = LOG_HEAD, copy_at = LOG_HEAD;
    struct log_head copy_head;
    struct err e;

    batch_head(copy, &copy_head);
    for (uint32_t i = 0; i < copy_head.records; i++) {
        struct log_record r, c;
        struct header header;

        CHECK(log_batch_next(part, h, batch, &at, &r, &e) == ST_OK);
        CHECK(log_batch_next(part, &copy_head, copy, &copy_at, &c, &e) == ST_OK);
        CHECK(r.offset == c.offset && r.timestamp_ms == c.timestamp_ms && same(r.key, c.key) &&
              same(r.value, c.value));
        CHECK(r.header_bytes == c.header_bytes && !memcmp(r.headers, c.headers, r.header_bytes));
        for (uint32_t k = 0; k < 4 && batch_header(r.headers, batch.p + batch.n, k, &header); k++)
            CHECK(header.name + strlen(header.name) < (const char *)batch.p + batch.n);
    }
}

static void try_batch(const struct local_part *part, struct bytes key, struct bytes batch)
{
    struct log_batch out = {0};
    struct log_record r;
    struct log_head h;
    struct err e;
    size_t at = LOG_HEAD;

    if (batch_check(part, key, batch, &h, &e) != ST_OK)
        return;
    while (at < batch.n && log_batch_next(part, &h, batch, &at, &r, &e) == ST_OK)
        CHECK(batch_add(&out, (uint64_t)(r.offset - h.base), &r, NULL, 0, &e) == ST_OK);
    if (out.records)
        read_again(part, &h, batch, batch_seal(&out, h.base, h.last, h.pid));
    batch_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct local_topic topic = {.id = 1, .parts = 1, .name = "fuzz"};
    struct local_part part = {.of = &topic, .high = INT64_MAX};
    uint8_t key[BATCH_KEY], *p;

    if (size < LOG_HEAD)
        return 0;
    p = malloc(size); /* of its own, so that reading behind it is seen */
    CHECK(p);
    memcpy(p, data, size);
    memcpy(p, "MRLB", 4);
    put_u64(p + 8, 7);
    put_u64(p + 16, 7 + get_u64(p + 16) % 100000);
    put_u32(p + 52, (uint32_t)size);
    put_u32(p + 4, crc32c(p + 8, size - 8));
    batch_key(key, &part, 7);
    try_batch(&part, (struct bytes){key, BATCH_KEY}, (struct bytes){p, size});
    free(p);
    return 0;
}
