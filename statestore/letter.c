/* Letter: 0 i64 timestamp ms; 8 u32 length of reason, 12 of detail, 16 of key, 20 of value, each +
 * 1, 0 for none; 24 reason and its 0, detail and its 0, key, value; then u32 CRC of all before.
 *
 * Key: "d/PPPPP/RRRRRRRRRR/EEEEEEEEEE/OOOOOOOOOOOOOOOOOOO", partition, run, epoch, offset in
 * decimal. */
#include "statestore/letter.h"

#include "config/base/bytes.h"
#include "config/base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HEAD = 24, KEY = 49 };

void letter_key(char key[LETTER_KEY], uint32_t p, struct position at)
{
    CHECK(p < PARTITIONS_MAX && at.offset >= 0);
    snprintf(key, LETTER_KEY, "d/%05" PRIu32 "/%010" PRIu32 "/%010" PRIu32 "/%019" PRId64, p,
             at.run, at.epoch, at.offset);
}

size_t letter_bytes(const struct dead_letter *d)
{
    return HEAD + strlen(d->reason) + 1 + strlen(d->detail) + 1 + d->key.n + d->value.n + 4;
}

static uint8_t *put_part(uint8_t *p, uint8_t *length, const void *bytes, size_t n)
{
    CHECK(n < UINT32_MAX && (bytes || !n));
    put_u32(length, bytes ? (uint32_t)n + 1 : 0);
    if (n)
        memcpy(p, bytes, n);
    return p + n;
}

size_t letter_encode(const struct dead_letter *d, uint8_t *out)
{
    uint8_t *p = out + HEAD;

    put_u64(out, (uint64_t)d->timestamp_ms);
    p = put_part(p, out + 8, d->reason, strlen(d->reason) + 1);
    p = put_part(p, out + 12, d->detail, strlen(d->detail) + 1);
    p = put_part(p, out + 16, d->key.p, d->key.n);
    p = put_part(p, out + 20, d->value.p, d->value.n);
    put_u32(p, crc32c(out, (size_t)(p - out)));
    CHECK((size_t)(p + 4 - out) == letter_bytes(d));
    return (size_t)(p + 4 - out);
}

static bool number_at(const uint8_t *p, size_t digits, uint64_t most, uint64_t *v)
{
    *v = 0;
    for (size_t i = 0; i < digits; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *v = *v * 10 + (uint64_t)(p[i] - '0');
    }
    return *v <= most;
}

static enum st read_key(struct dead_letter *d, struct bytes key, struct err *e)
{
    uint64_t p, run, epoch, offset;

    if (key.n != KEY || !number_at(key.p + 2, 5, PARTITIONS_MAX - 1, &p) ||
        !number_at(key.p + 8, 10, UINT32_MAX, &run) ||
        !number_at(key.p + 19, 10, UINT32_MAX, &epoch) ||
        !number_at(key.p + 30, 19, INT64_MAX, &offset))
        return fail(e, ST_CORRUPT, "dead letter: key '%.*s' is no position",
                    key.n < 64 ? (int)key.n : 64, (const char *)key.p);
    d->partition = (uint32_t)p;
    d->at = (struct position){(uint32_t)run, (uint32_t)epoch, (int64_t)offset};
    return ST_OK;
}

/* A string with its end. */
static bool is_text(struct bytes b)
{
    return b.n && !b.p[b.n - 1] && strlen((const char *)b.p) == b.n - 1;
}

enum st letter_decode(struct dead_letter *d, struct bytes key, struct bytes value, struct err *e)
{
    struct bytes part[4] = {{NULL, 0}};
    const uint8_t *p;
    size_t left;

    TRY(read_key(d, key, e));
    if (value.n < HEAD + 4 || crc32c(value.p, value.n - 4) != get_u32(value.p + value.n - 4))
        return fail(e, ST_CORRUPT, "dead letter of offset %" PRId64 ": its %zu bytes do not verify",
                    d->at.offset, value.n);
    p = value.p + HEAD;
    left = value.n - HEAD - 4;
    for (size_t i = 0; i < 4; i++) {
        uint32_t n = get_u32(value.p + 8 + 4 * i);

        if (!n)
            continue;
        if (n - 1 > left)
            return fail(e, ST_CORRUPT, "dead letter of offset %" PRId64 ": part %zu does not fit",
                        d->at.offset, i);
        part[i] = (struct bytes){p, n - 1};
        p += n - 1;
        left -= n - 1;
    }
    if (left || !is_text(part[0]) || !is_text(part[1]))
        return fail(e, ST_CORRUPT, "dead letter of offset %" PRId64 ": its parts do not fit",
                    d->at.offset);
    d->timestamp_ms = (int64_t)get_u64(value.p);
    d->reason = (const char *)part[0].p;
    d->detail = (const char *)part[1].p;
    d->key = part[2];
    d->value = part[3];
    return ST_OK;
}
