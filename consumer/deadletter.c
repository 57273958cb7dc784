/* deadletter.c: letters lie one behind another in the arena:
 * 0 u32 bytes of all; 4 u32 partition; 8 u32 run; 12 u32 epoch; 16 i64 offset; 24 i64 timestamp; 32
 * u32 reason; 36 u32 key bytes (UINT32_MAX: null); 40 u32 value bytes kept; 44 u32 value bytes
 * there were; 48 detail[160]; 208 key, value. */
#include "consumer/deadletter.h"

#include "config/base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DETAIL_AT = 48, LETTER_HEAD = DETAIL_AT + DETAIL_BYTES };

enum st letters_init(struct letters *l, struct err *e)
{
    CHECK(!l->p);
    l->p = malloc(LETTERS_BYTES);
    if (!l->p)
        return fail(e, ST_FATAL, "no memory for %d bytes of dead letters", LETTERS_BYTES);
    return ST_OK;
}

void letters_fini(struct letters *l)
{
    free(l->p);
    *l = (struct letters){0};
}

void letters_add(struct letters *l, const struct record *r, struct position at, enum bad reason,
                 const char *detail)
{
    uint32_t key =
        r->key.p ? (uint32_t)(r->key.n < LETTER_VALUE_MAX / 4 ? r->key.n : LETTER_VALUE_MAX / 4)
                 : 0;
    uint32_t value = (uint32_t)(r->value.n < LETTER_VALUE_MAX ? r->value.n : LETTER_VALUE_MAX);
    uint32_t all = LETTER_HEAD + key + value;
    uint8_t *q = l->p + l->n;

    CHECK(l->n + all <= LETTERS_BYTES);
    put_u32(q, all);
    put_u32(q + 4, (uint32_t)r->partition);
    put_u32(q + 8, at.run);
    put_u32(q + 12, at.epoch);
    put_u64(q + 16, (uint64_t)r->offset);
    put_u64(q + 24, (uint64_t)r->timestamp_ms);
    put_u32(q + 32, reason);
    put_u32(q + 36, r->key.p ? key : UINT32_MAX);
    put_u32(q + 40, value);
    put_u32(q + 44, (uint32_t)r->value.n);
    memset(q + DETAIL_AT, 0, DETAIL_BYTES);
    snprintf((char *)q + DETAIL_AT, DETAIL_BYTES, "%s", detail);
    if (key)
        memcpy(q + LETTER_HEAD, r->key.p, key);
    if (value)
        memcpy(q + LETTER_HEAD + key, r->value.p, value);
    l->n += all;
    l->block_n += all;
    l->count++;
    l->block_count++;
}

void letters_drop_block(struct letters *l)
{
    CHECK(l->block_n <= l->n);
    l->n -= l->block_n;
    l->count -= l->block_count;
    l->block_n = l->block_count = 0;
}

void letters_clear(struct letters *l)
{
    memmove(l->p, l->p + l->n - l->block_n, l->block_n);
    l->n = l->block_n;
    l->count = l->block_count;
}

enum st letters_each(const struct letters *l,
                     enum st (*take)(void *arg, const struct dead_letter *d, struct err *e),
                     void *arg, struct err *e)
{
    for (size_t at = 0; at < l->n - l->block_n; at += get_u32(l->p + at)) {
        const uint8_t *q = l->p + at;
        uint32_t key = get_u32(q + 36), kept = key == UINT32_MAX ? 0 : key;
        char detail[DETAIL_BYTES + 40];
        struct dead_letter d = {
            .partition = get_u32(q + 4),
            .at = {get_u32(q + 8), get_u32(q + 12), (int64_t)get_u64(q + 16)},
            .timestamp_ms = (int64_t)get_u64(q + 24),
            .reason = bad_name((enum bad)get_u32(q + 32)),
            .detail = (const char *)q + DETAIL_AT,
            .key = {key == UINT32_MAX ? NULL : q + LETTER_HEAD, kept},
            .value = {q + LETTER_HEAD + kept, get_u32(q + 40)},
        };

        if (get_u32(q + 44) > get_u32(q + 40)) {
            snprintf(detail, sizeof detail, "%s (value cut from %" PRIu32 " bytes)", d.detail,
                     get_u32(q + 44));
            d.detail = detail;
        }
        TRY(take(arg, &d, e));
    }
    return ST_OK;
}

enum st letter_send(const struct broker *br, void *producer, uint16_t topic, const char *source,
                    const struct dead_letter *d, struct err *e)
{
    char partition[16], offset[24], timestamp[24];
    struct header h[] = {
        {"reason", {(const uint8_t *)d->reason, strlen(d->reason)}},
        {"detail", {(const uint8_t *)d->detail, strlen(d->detail)}},
        {"topic", {(const uint8_t *)source, strlen(source)}},
        {"partition",
         {(const uint8_t *)partition,
          (size_t)snprintf(partition, sizeof partition, "%" PRIu32, d->partition)}},
        {"offset",
         {(const uint8_t *)offset,
          (size_t)snprintf(offset, sizeof offset, "%" PRId64, d->at.offset)}},
        {"timestamp",
         {(const uint8_t *)timestamp,
          (size_t)snprintf(timestamp, sizeof timestamp, "%" PRId64, d->timestamp_ms)}},
    };

    /* its own time is now: with an old record's it would be past the topic's retention at once */
    return br->produce(producer, topic, (int32_t)d->partition, d->key, d->value, -1, h,
                       sizeof h / sizeof *h, e);
}
