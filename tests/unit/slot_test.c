#include "statestore/slot.h"

#include "config/base/bytes.h"
#include "config/base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 3 };
static struct slot_chunk chunks[CHUNKS], chunks_back[CHUNKS];
static uint8_t bytes[1 << 17], again[1 << 17];

/* A manifest in which every field has a value of its own; bytes 64 + 64 + 22, the middle chunk
 * zero. */
static void make(struct manifest *m)
{
    memset(m, 0, sizeof *m);
    *m = (struct manifest){.flags = SLOT_IDLE,
                           .partition = 7,
                           .pos = {1, 2, 345678},
                           .epochs = 3,
                           .begin = 1000,
                           .end = 9000000000,
                           .last_offset = 345677,
                           .last_fingerprint = 0x1122334455667788u,
                           .trained = 300000,
                           .rejected = 45,
                           .lost = 6,
                           .seq = 99,
                           .round = 12,
                           .partitions = 8,
                           .job = 0xfedcba9876543210u,
                           .algo = "linear",
                           .state_version = 4,
                           .chunk_bytes = 64,
                           .state_bytes = 150,
                           .chunks = CHUNKS,
                           .chunk = chunks,
                           .chunks_max = CHUNKS,
                           .life = 2,
                           .base = 299000,
                           .from_kind = 6,
                           .from_value = 3600000,
                           .tensors = 2,
                           .lineages = 3,
                           .tensor = {{"w", 1, 6, 2, 0, 0, {3, 10}}, {"@loss", 2, 1, 0, 1, 2, {2}}},
                           .lineage = {{0, 0, 0, 1000, 990, LINEAGE_LEARNED},
                                       {1, 0, 1000, 1006, 0, LINEAGE_LOST},
                                       {1, 2, 1006, 345678, 299010, LINEAGE_LEARNED}}};
    chunks[0] = (struct slot_chunk){98, 64, 0xdeadbeef};
    chunks[1] = (struct slot_chunk){0, 0, 0};
    chunks[2] = (struct slot_chunk){99, 22, 0x01020304};
}

static struct manifest *target(void)
{
    static struct manifest m;

    memset(&m, 0xaa, sizeof m);
    memset(chunks_back, 0xaa, sizeof chunks_back);
    m.chunk = chunks_back;
    m.chunks_max = CHUNKS;
    return &m;
}

static enum st decode(const uint8_t *p, size_t n, struct err *e)
{
    uint8_t *exact = malloc(n + !n); /* so that a sanitizer sees a read behind the end */
    enum st st;

    assert_non_null(exact);
    memcpy(exact, p, n);
    st = manifest_decode(target(), exact, n, e);
    free(exact);
    return st;
}

static void resum(uint8_t *p, size_t n)
{
    put_u32(p + n - 4, crc32c(p, n - 4));
}

static void a_manifest_encodes_to_the_golden_bytes(void **state)
{
    char path[sizeof __FILE__ + 32], hex[4096] = "", want[8192] = "";
    struct manifest m;
    size_t n, at = 0;
    FILE *f;

    (void)state;
    make(&m);
    n = manifest_encode(&m, bytes);
    for (size_t i = 0; i < n; i++)
        at += (size_t)sprintf(hex + at, "%02x%s", bytes[i], i % 32 == 31 || i + 1 == n ? "\n" : "");
    snprintf(path, sizeof path, "%.*sgolden/manifest-1.hex",
             (int)(strstr(__FILE__, "unit/slot_test") - __FILE__), __FILE__);
    f = fopen(path, "r");
    assert_non_null(f);
    at = fread(want, 1, sizeof want - 1, f);
    fclose(f);
    want[at] = '\0';
    assert_string_equal(hex, want);
}

static void a_manifest_comes_back(void **state)
{
    struct manifest m, *b;
    struct err e;
    size_t n;

    (void)state;
    make(&m);
    n = manifest_encode(&m, bytes);
    b = target();
    assert_int_equal(manifest_decode(b, bytes, n, &e), ST_OK);
    assert_memory_equal(b->chunk, m.chunk, sizeof chunks);
    assert_int_equal(position_cmp(b->pos, m.pos), 0);
    assert_true(b->flags == m.flags && b->partition == 7 && b->epochs == 3 && b->begin == 1000 &&
                b->end == m.end);
    assert_true(b->last_offset == m.last_offset && b->last_fingerprint == m.last_fingerprint);
    assert_true(b->trained == 300000 && b->rejected == 45 && b->lost == 6 && b->seq == 99 &&
                b->round == 12 && b->life == 2 && b->base == 299000 && b->from_kind == 6 &&
                b->from_value == 3600000);
    assert_true(b->partitions == 8 && b->job == m.job && b->state_version == 4 &&
                b->state_bytes == 150);
    assert_string_equal(b->algo, "linear");
    assert_int_equal(b->tensors, 2);
    assert_memory_equal(b->tensor, m.tensor, 2 * sizeof *m.tensor);
    assert_int_equal(b->lineages, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(b->lineage[i].begin == m.lineage[i].begin &&
                    b->lineage[i].end == m.lineage[i].end);
        assert_true(b->lineage[i].run == m.lineage[i].run &&
                    b->lineage[i].epoch == m.lineage[i].epoch);
        assert_true(b->lineage[i].records == m.lineage[i].records &&
                    b->lineage[i].kind == m.lineage[i].kind);
    }
    assert_int_equal(manifest_encode(b, again), n);
    assert_memory_equal(again, bytes, n);
}

static void the_largest_manifest_fits_its_bound(void **state)
{
    struct manifest m;
    struct err e;
    size_t n;

    (void)state;
    make(&m);
    m.tensors = SLOT_TENSORS_MAX;
    for (uint32_t i = 0; i < m.tensors; i++) {
        m.tensor[i] = (struct slot_tensor){"",
                                           UINT32_MAX,
                                           UINT32_MAX,
                                           UINT32_MAX,
                                           UINT32_MAX,
                                           UINT32_MAX,
                                           {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}};
        memset(m.tensor[i].name, 'n', 47);
    }
    m.lineages = LINEAGE_MAX;
    for (uint32_t i = 0; i < m.lineages; i++)
        m.lineage[i] = (struct lineage){UINT32_MAX, UINT32_MAX, INT64_MAX,
                                        INT64_MAX,  INT64_MAX,  LINEAGE_LEARNED};
    assert_true(manifest_bytes_max(m.chunks) <= sizeof bytes);
    n = manifest_encode(&m, bytes);
    assert_int_equal(decode(bytes, n, &e), ST_OK);
}

static void an_empty_manifest_comes_back(void **state)
{
    struct manifest m;
    struct err e;
    size_t n;

    (void)state;
    make(&m);
    m.tensors = m.lineages = m.chunks = 0;
    m.state_bytes = m.seq = 0;
    m.last_offset = -1;
    m.end = INT64_MAX;
    n = manifest_encode(&m, bytes);
    assert_int_equal(decode(bytes, n, &e), ST_OK);
    assert_int_equal(manifest_encode(&m, again), n);
}

static void every_flipped_bit_of_a_manifest_is_detected(void **state)
{
    struct manifest m;
    size_t n;

    (void)state;
    make(&m);
    n = manifest_encode(&m, bytes);
    for (size_t i = 0; i < 8 * n; i++) {
        struct err e = {""};

        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(decode(bytes, n, &e), ST_CORRUPT);
        assert_non_null(strstr(e.text, "manifest: "));
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

static void every_truncation_of_a_manifest_is_detected(void **state)
{
    struct manifest m;
    struct err e;
    size_t n;

    (void)state;
    make(&m);
    n = manifest_encode(&m, bytes);
    for (size_t k = 0; k < n; k++)
        assert_int_equal(decode(bytes, k, &e), ST_CORRUPT);
    bytes[n] = 0;
    assert_int_equal(decode(bytes, n + 1, &e), ST_CORRUPT);
}

static void a_field_out_of_range_is_named(void **state)
{
    static const struct {
        size_t at;
        uint64_t value;
        const char *says;
    } field[] = {{6, 64, "flags"},
                 {8, PARTITIONS_MAX, "partition"},
                 {20, UINT64_MAX, "offset -1"},
                 {40, 999, "[1000, 999)"},
                 {48, UINT64_MAX - 1, "last trained offset -2"},
                 {112, 0, "algorithm"},
                 {119, 'x', "algorithm"},
                 {132, 0, "3 chunks of 0 bytes"},
                 {136, 300, "300 bytes of state do not make 3 chunks"},
                 {152, 100, "chunk 0 has length 64 and seq 100 of 99"},
                 {160, 63, "chunk 0"},
                 {168, 1, "chunk 1"},
                 {192, 23, "chunk 2"}};

    (void)state;
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
        struct manifest m;
        struct err e = {""};
        size_t n;

        make(&m);
        n = manifest_encode(&m, bytes);
        if (field[i].at == 6)
            put_u16(bytes + 6, (uint16_t)field[i].value);
        else if (field[i].at == 119)
            bytes[119] = (uint8_t)field[i].value;
        else if (field[i].at == 8 || field[i].at == 132 || field[i].at == 160 || field[i].at == 192)
            put_u32(bytes + field[i].at, (uint32_t)field[i].value);
        else
            put_u64(bytes + field[i].at, field[i].value);
        resum(bytes, n);
        assert_int_equal(decode(bytes, n, &e), ST_CORRUPT);
        if (!strstr(e.text, field[i].says))
            fail_msg("'%s' does not say '%s'", e.text, field[i].says);
    }
}

/* Every byte of the tail to every value, with a right CRC: refused, or the one encoding of what was
 * read. */
static void a_tail_that_decodes_is_the_only_encoding(void **state)
{
    struct manifest m;
    size_t n, from = MANIFEST_HEAD + 16 * CHUNKS;

    (void)state;
    make(&m);
    n = manifest_encode(&m, bytes);
    for (size_t i = from; i < n - 4; i++) {
        uint8_t was = bytes[i];

        for (uint32_t v = 0; v < 256; v++) {
            struct manifest *b = target();
            struct err e;

            bytes[i] = (uint8_t)v;
            resum(bytes, n);
            if (manifest_decode(b, bytes, n, &e) != ST_OK)
                continue;
            assert_int_equal(manifest_encode(b, again), n);
            assert_memory_equal(again, bytes, n);
        }
        bytes[i] = was;
    }
}

static void newer_formats_and_more_chunks_are_refused_by_name(void **state)
{
    struct manifest m, *b;
    struct err e = {""};
    size_t n;

    (void)state;
    make(&m);
    n = manifest_encode(&m, bytes);
    b = target();
    b->chunks_max = 2;
    assert_int_equal(manifest_decode(b, bytes, n, &e), ST_CORRUPT);
    assert_non_null(strstr(e.text, "3 chunks, at most 2"));
    put_u16(bytes + 4, 2);
    resum(bytes, n);
    assert_int_equal(decode(bytes, n, &e), ST_CORRUPT);
    assert_non_null(strstr(e.text, "newer millrace"));
}

static void chunks_come_back_and_flips_are_detected(void **state)
{
    uint8_t p[CHUNK_HEAD + 100];
    struct chunk c;
    struct err e;

    (void)state;
    for (int i = 0; i < 100; i++)
        p[CHUNK_HEAD + i] = (uint8_t)(3 * i);
    chunk_encode(p, 7, 8, 9, p + CHUNK_HEAD, 100);
    assert_int_equal(chunk_decode(&c, p, sizeof p, &e), ST_OK);
    assert_true(c.partition == 7 && c.j == 8 && c.seq == 9 && c.bytes == 100 &&
                c.payload == p + CHUNK_HEAD);
    assert_int_equal(c.crc, crc32c(p + CHUNK_HEAD, 100));
    for (size_t n = 0; n < sizeof p; n++)
        assert_int_equal(chunk_decode(&c, p, n, &e), ST_CORRUPT);
    for (size_t i = 0; i < 8 * sizeof p; i++) {
        bool number = i / 8 >= 8 &&
                      i / 8 < 24; /* partition, j, seq: held against the manifest, not by the CRC */

        p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (!number)
            assert_int_equal(chunk_decode(&c, p, sizeof p, &e), ST_CORRUPT);
        p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_true(chunk_is_zero("\0\0\0", 3));
    assert_false(chunk_is_zero("\0\0\1", 3));
    assert_false(chunk_is_zero("\1\0\0", 3));
}

static void lineage_joins_what_continues(void **state)
{
    struct manifest m;
    struct err e = {""};

    (void)state;
    make(&m);
    m.lineages = 0;
    assert_int_equal(lineage_add(&m, (struct lineage){0, 0, 10, 20, 9, LINEAGE_LEARNED}, &e),
                     ST_OK);
    assert_int_equal(lineage_add(&m, (struct lineage){0, 0, 20, 30, 10, LINEAGE_LEARNED}, &e),
                     ST_OK);
    assert_int_equal(lineage_add(&m, (struct lineage){0, 0, 30, 30, 0, LINEAGE_LEARNED}, &e),
                     ST_OK);
    assert_int_equal(m.lineages, 1);
    assert_true(m.lineage[0].begin == 10 && m.lineage[0].end == 30 && m.lineage[0].records == 19);
    assert_int_equal(lineage_add(&m, (struct lineage){0, 0, 30, 35, 0, LINEAGE_LOST}, &e), ST_OK);
    assert_int_equal(lineage_add(&m, (struct lineage){0, 0, 36, 40, 4, LINEAGE_LEARNED}, &e),
                     ST_OK);
    assert_int_equal(lineage_add(&m, (struct lineage){0, 0, 41, 45, 4, LINEAGE_LEARNED}, &e),
                     ST_OK);
    assert_int_equal(lineage_add(&m, (struct lineage){0, 1, 45, 50, 5, LINEAGE_LEARNED}, &e),
                     ST_OK);
    assert_int_equal(lineage_add(&m, (struct lineage){1, 0, 50, 50, 0, LINEAGE_RESET}, &e), ST_OK);
    for (int i = 0; i < 2; i++) /* a life without records ends where the one before did */
        assert_int_equal(lineage_add(&m, (struct lineage){1, 0, 50, 50, 0, LINEAGE_ENDED}, &e),
                         ST_OK);
    assert_int_equal(m.lineages, 8);
    m.lineages = LINEAGE_MAX;
    m.lineage[LINEAGE_MAX - 1] = (struct lineage){1, 0, 50, 60, 10, LINEAGE_LEARNED};
    assert_int_equal(lineage_add(&m, (struct lineage){1, 0, 60, 70, 10, LINEAGE_LEARNED}, &e),
                     ST_OK);
    assert_int_equal(lineage_add(&m, (struct lineage){1, 0, 71, 72, 1, LINEAGE_LEARNED}, &e),
                     ST_FATAL);
    assert_non_null(strstr(e.text, "partition 7"));
}

static uint64_t digest_of(const struct manifest *m, const uint8_t *a, const uint8_t *b)
{
    struct digest d;

    digest_begin(&d, m);
    digest_chunk(&d, 0, a, 64);
    digest_chunk(&d, 1, b, 64);
    return d.h;
}

static void the_digest_sees_state_position_and_counts_only(void **state)
{
    uint8_t zero[64] = {0}, one[64] = {1};
    struct manifest m, n;
    uint64_t d;

    (void)state;
    make(&m);
    d = digest_of(&m, one, zero);
    assert_true(digest_of(&m, one, NULL) == d);
    assert_false(digest_of(&m, zero, one) == d);
    assert_false(digest_of(&m, one, one) == d);
    n = m;
    n.seq++;
    n.last_fingerprint++;
    n.round++;
    n.flags = SLOT_DONE;
    assert_true(digest_of(&n, one, zero) == d);
    n = m;
    n.pos.offset++;
    assert_false(digest_of(&n, one, zero) == d);
    n = m;
    n.pos.run++;
    assert_false(digest_of(&n, one, zero) == d);
    n = m;
    n.rejected++;
    assert_false(digest_of(&n, one, zero) == d);
}

static void positions_are_ordered_by_run_then_epoch_then_offset(void **state)
{
    const struct position p[] = {{0, 0, 5}, {0, 0, 6}, {0, 1, 0}, {1, 0, 0}, {1, 0, INT64_MAX}};

    (void)state;
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 5; j++)
            assert_int_equal(position_cmp(p[i], p[j]), i < j ? -1 : i > j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_encodes_to_the_golden_bytes),
        cmocka_unit_test(a_manifest_comes_back),
        cmocka_unit_test(the_largest_manifest_fits_its_bound),
        cmocka_unit_test(an_empty_manifest_comes_back),
        cmocka_unit_test(every_flipped_bit_of_a_manifest_is_detected),
        cmocka_unit_test(every_truncation_of_a_manifest_is_detected),
        cmocka_unit_test(a_field_out_of_range_is_named),
        cmocka_unit_test(a_tail_that_decodes_is_the_only_encoding),
        cmocka_unit_test(newer_formats_and_more_chunks_are_refused_by_name),
        cmocka_unit_test(chunks_come_back_and_flips_are_detected),
        cmocka_unit_test(lineage_joins_what_continues),
        cmocka_unit_test(the_digest_sees_state_position_and_counts_only),
        cmocka_unit_test(positions_are_ordered_by_run_then_epoch_then_offset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
