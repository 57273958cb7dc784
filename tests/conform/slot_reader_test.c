/* Slots in a parameter topic, written here record by record, as a crash, an abort or a bad disk may
 * leave them. */
#include "config/base/bytes.h"
#include "config/base/limits.h"
#include "tests/conform/support_mill.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 3, TAIL = 1000, ROOM = CHUNK_HEAD + CHUNK_BYTES };

static const struct broker *const t = &broker_local;
static struct manifest m;
static struct slot_chunk chunk[CHUNKS];
static uint8_t payload[CHUNKS][CHUNK_BYTES], room[ROOM];
static struct image im;
static struct err err;

static uint32_t bytes_of_chunk(uint32_t j)
{
    return j == CHUNKS - 1 ? TAIL : CHUNK_BYTES;
}

static int begin(void **state)
{
    assert_int_equal(mill_begin(state), 0);
    mill_topic("p", 2);
    memset(chunk, 0, sizeof chunk);
    m = (struct manifest){.seq = 0,
                          .algo = "linear",
                          .state_version = 1,
                          .chunk_bytes = CHUNK_BYTES,
                          .state_bytes = (CHUNKS - 1) * CHUNK_BYTES + TAIL,
                          .chunks = CHUNKS,
                          .chunk = chunk,
                          .chunks_max = CHUNKS,
                          .end = INT64_MAX,
                          .last_offset = -1};
    im = (struct image){.bytes_max = 1u << 24};
    return 0;
}

static int end(void **state)
{
    image_fini(&im);
    return mill_end(state);
}

static void put(const char *key, const uint8_t *p, size_t n, bool commit)
{
    mill_put_key("p", 0, (struct bytes){(const uint8_t *)key, strlen(key)}, (struct bytes){p, n},
                 commit);
}

/* Chunk j, all bytes `fill`, as of the publish m.seq; flip: a byte that is not as the CRC says. */
static void put_chunk(uint32_t j, uint8_t fill, bool commit, size_t flip)
{
    uint32_t n = bytes_of_chunk(j);
    char key[32];

    memset(payload[j], fill, n);
    chunk_encode(room, 0, j, m.seq, payload[j], n);
    memcpy(room + CHUNK_HEAD, payload[j], n);
    if (flip)
        room[CHUNK_HEAD + flip] ^= 1;
    chunk[j] = (struct slot_chunk){m.seq, n, get_u32(room + 28)};
    snprintf(key, sizeof key, "slot/0/chunk/%" PRIu32, j);
    put(key, room, CHUNK_HEAD + n, commit);
}

static void put_manifest(bool commit, size_t flip)
{
    static uint8_t bytes[1 << 16];
    size_t n;

    assert_true(manifest_bytes_max(CHUNKS) <= sizeof bytes);
    n = manifest_encode(&m, bytes);
    if (flip)
        bytes[flip] ^= 1;
    put("slot/0/manifest", bytes, n, commit);
}

/* A whole slot at an offset: chunk j is all `fill` + j. */
static void put_slot(int64_t offset, uint8_t fill, bool commit)
{
    m.seq++;
    m.pos.offset = offset;
    for (uint32_t j = 0; j < CHUNKS; j++)
        put_chunk(j, (uint8_t)(fill + j), commit, 0);
    put_manifest(commit, 0);
}

static enum st stop_reading(void *arg)
{
    ++*(int *)arg;
    return (fail)(&err, ST_REVOKED, "no more");
}

static enum st read_slot(uint32_t partition, int *stop, bool *found)
{
    struct slot_reader r = {.meanwhile = stop ? stop_reading : NULL, .arg = stop};
    enum st st;

    *err.text = 0;
    assert_int_equal(slot_reader_open(&r, t, mill_broker(), "p", &err), ST_OK);
    st = slot_read(&r, partition, &im, found, &err);
    slot_reader_close(&r);
    return st;
}

static void holds(int64_t offset, const uint8_t fill[CHUNKS])
{
    bool found;

    if (read_slot(0, NULL, &found) != ST_OK)
        fail_msg("%s", err.text);
    assert_true(found);
    assert_int_equal(im.m.pos.offset, offset);
    for (uint32_t j = 0; j < CHUNKS; j++) {
        const uint8_t *p = im.p + ((size_t)j << CHUNK_SHIFT);

        for (uint32_t i = 0; i < bytes_of_chunk(j); i++)
            if (p[i] != fill[j])
                fail_msg("chunk %u byte %u is %u, not %u", j, i, p[i], fill[j]);
    }
}

static void refused(const char *what)
{
    bool found;

    assert_int_equal(read_slot(0, NULL, &found), ST_CORRUPT);
    if (!strstr(err.text, what))
        fail_msg("no '%s' in '%s'", what, err.text);
}

static void an_empty_partition_holds_no_slot(void **state)
{
    bool found = true;

    (void)state;
    put_slot(10, 1, true);
    assert_int_equal(read_slot(1, NULL, &found), ST_OK);
    assert_false(found);
}

static void the_newest_slot_counts(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    put_slot(20, 11, true);
    m.seq++;
    put_chunk(1, 99, true, 0); /* one dirty chunk; the others are of the publish before */
    m.pos.offset = 30;
    put_manifest(true, 0);
    holds(30, (const uint8_t[]){11, 99, 13});
}

static void older_slots_may_have_lost_chunks_to_compaction(void **state)
{
    (void)state;
    m.seq = 1;
    chunk[0] = (struct slot_chunk){1, CHUNK_BYTES, 0xdead};
    put_manifest(true, 0);
    put_slot(20, 5, true);
    holds(20, (const uint8_t[]){5, 6, 7});
}

static void a_chunk_of_zeros_is_absent(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    m.seq++;
    m.pos.offset = 20;
    chunk[1] = (struct slot_chunk){0};
    put_manifest(true, 0);
    holds(20, (const uint8_t[]){1, 0, 3});
}

static void an_aborted_slot_is_none(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    put_slot(20, 11, false);
    chunk[0].seq = chunk[1].seq = chunk[2].seq = 1;
    holds(10, (const uint8_t[]){1, 2, 3});
}

static void an_incomplete_slot_is_refused_and_the_chunk_named(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    m.seq++;
    put_chunk(0, 50, true, 0);
    put_chunk(2, 51, false, 0); /* never arrived */
    m.pos.offset = 20;
    put_manifest(true, 0);
    refused("topic p partition 0: chunk 2 of the slot is not the one its manifest names: seq 1");
}

static void a_manifest_that_never_came_leaves_chunks_that_fit_nothing(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    m.seq++;
    put_chunk(1, 50, true, 0); /* R3 forbids this: all of a slot stands in one transaction */
    refused("chunk 1 of the slot is not the one its manifest names: seq 2");
}

static void a_chunk_of_another_publish_is_refused_even_if_it_is_the_same(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    m.seq++;
    put_chunk(0, 1, false, 0);
    put_manifest(true, 0);
    refused("chunk 0 of the slot is not the one its manifest names: seq 1");
}

static void a_flipped_bit_is_refused_with_its_record(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    m.seq++;
    put_chunk(1, 50, true, 777);
    put_manifest(true, 0);
    refused("topic p partition 0: record at offset 8: chunk: CRC is");
}

static void a_flipped_bit_in_the_manifest_is_refused(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    m.seq++;
    put_manifest(true, 20);
    refused("manifest: CRC is");
}

static void what_is_of_another_partition_is_refused(void **state)
{
    (void)state;
    m.partition = 1;
    put_slot(10, 1, true);
    refused("manifest: is that of partition 1");
}

/* Also what a worker writes that has not noticed, and what is broken. */
static void slots_of_runs_before_a_reset_are_void(void **state)
{
    uint8_t run[4];
    bool found;

    (void)state;
    put_slot(1000, 7, true);
    put_u32(run, 2);
    put("slot/0/run", run, sizeof run, true);
    assert_int_equal(read_slot(0, NULL, &found), ST_OK);
    assert_false(found);
    assert_int_equal(im.run, 2);
    m.pos.run = 1;
    put_slot(2000, 8, true);
    put_chunk(1, 9, true, 0);
    assert_int_equal(read_slot(0, NULL, &found), ST_OK);
    assert_false(found);
    m.pos.run = 2;
    put_slot(10, 3, true);
    holds(10, (const uint8_t[CHUNKS]){3, 4, 5});
    assert_int_equal(im.run, 2);
}

static void other_keys_are_none_of_its_business(void **state)
{
    static const char *const keys[] = {"s",
                                       "slo",
                                       "slot",
                                       "slot/",
                                       "slot/0",
                                       "slot/0/",
                                       "slot/1/manifest",
                                       "slot/00/manifest",
                                       "slot/0/manifests",
                                       "slot/0/chunk",
                                       "model/1/manifest"};

    (void)state;
    put_slot(10, 1, true);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        put(keys[i], (const uint8_t *)"x", 1, true);
    mill_put_key("p", 0, (struct bytes){0}, (struct bytes){(const uint8_t *)"x", 1}, true);
    put("slot/0/manifest", NULL, 0, false);
    holds(10, (const uint8_t[]){1, 2, 3});
    put("slot/0/chunk/", (const uint8_t *)"x", 1, true);
    holds(10, (const uint8_t[]){1, 2, 3});
    put("slot/0/chunk/x", (const uint8_t *)"x", 1, true);
    holds(10, (const uint8_t[]){1, 2, 3});
}

static void what_is_damaged_before_a_whole_slot_does_not_count(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    put("slot/0/chunk/1", (const uint8_t *)"x", 1, true);
    put("slot/0/manifest", (const uint8_t *)"x", 1, true);
    refused("manifest: ");
    put_slot(20, 1, true);
    holds(20, (const uint8_t[]){1, 2, 3});
}

static void a_chunk_beyond_the_states_of_the_job_takes_no_memory(void **state)
{
    (void)state;
    put_slot(10, 1, true);
    im.bytes_max = CHUNK_BYTES;
    refused("chunk 2 lies beyond the 262144 bytes that this job's states may have");
}

static void chunks_of_another_size_are_refused(void **state)
{
    bool found;

    (void)state;
    m.chunk_bytes = CHUNK_BYTES / 2;
    m.chunks = 1;
    m.state_bytes = TAIL;
    m.seq = 1;
    chunk[0] = (struct slot_chunk){0};
    put_manifest(true, 0);
    assert_int_equal(read_slot(0, NULL, &found), ST_BAD_CONFIG);
    assert_non_null(strstr(err.text, "chunks of 131072 bytes"));
}

/* A transaction that is undecided lies before the end: the reader waits, and the caller may have
 * other plans. */
static void an_undecided_transaction_is_waited_for(void **state)
{
    void *p = calloc(1, t->producer_bytes);
    const char *topic = "p";
    int called = 0;
    bool found;

    (void)state;
    put_slot(10, 1, true);
    assert_int_equal(t->producer_open(p, mill_broker(), "slow", &topic, 1, &err), ST_OK);
    assert_int_equal(t->producer_begin(p, &err), ST_OK);
    assert_int_equal(t->produce(p, 0, 0, (struct bytes){(const uint8_t *)"k", 1},
                                (struct bytes){(const uint8_t *)"v", 1}, -1, NULL, 0, &err),
                     ST_OK);
    assert_int_equal(t->producer_wait(p, 1000, &err), ST_OK);
    assert_int_equal(read_slot(0, &called, &found), ST_REVOKED);
    assert_true(called);
    assert_int_equal(t->producer_commit(p, &err), ST_OK);
    t->producer_close(p);
    free(p);
    holds(10, (const uint8_t[]){1, 2, 3});
}

static void an_image_is_taken_for_nothing_but_the_layout_it_has(void **state)
{
    struct tdecl d[2] = {{.id = 0, .name = "w", .what = "", .dtype = DT_F32, .dim = {100, 2}},
                         {.id = 1, .name = "n", .what = "", .dtype = DT_U64, .dim = {7}}};
    const struct algo any = {0};
    const struct ctx x = {.err = &err};
    const float nan = __builtin_nanf("");
    struct tensors ts, other;

    (void)state;
    assert_int_equal(tensors_layout(&ts, d, 2, CHUNK_SHIFT, 1 << 20, &err), ST_OK);
    assert_int_equal(tensors_alloc(&ts, NULL, NULL, &err), ST_OK);
    m.state_bytes = ts.bytes;
    m.chunks = 1;
    m.tensors = 2;
    m.seq = 1;
    m.tensor[0] = (struct slot_tensor){.name = "w", .dtype = DT_F32, .dim = {100, 2}};
    m.tensor[1] = (struct slot_tensor){.name = "n", .dtype = DT_U64, .dim = {7}};
    memset(payload[0], 0, CHUNK_BYTES);
    put_manifest(true, 0);
    holds(0, (const uint8_t[]){0, 0, 0});
    assert_int_equal(image_state(&im, &any, &x, &ts), ST_OK);
    memcpy(im.p + 4, &nan, sizeof nan);
    assert_int_equal(image_state(&im, &any, &x, &ts), ST_CORRUPT);
    memset(im.p + 4, 0, sizeof nan);
    d[0].dim[1] = 3;
    d[1].dim[0] = 6;
    assert_int_equal(tensors_layout(&other, d, 2, CHUNK_SHIFT, 1 << 20, &err), ST_OK);
    assert_int_equal(image_state(&im, &any, &x, &other), ST_BAD_CONFIG);
    im.m.state_bytes = other.bytes;
    assert_int_equal(image_state(&im, &any, &x, &other), ST_BAD_CONFIG);
    assert_non_null(strstr(err.text, "tensor w of the saved state is not w as this job"));
    tensors_free(&ts, NULL, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_partition_holds_no_slot),
        TEST(the_newest_slot_counts),
        TEST(older_slots_may_have_lost_chunks_to_compaction),
        TEST(a_chunk_of_zeros_is_absent),
        TEST(an_aborted_slot_is_none),
        TEST(an_incomplete_slot_is_refused_and_the_chunk_named),
        TEST(a_manifest_that_never_came_leaves_chunks_that_fit_nothing),
        TEST(a_chunk_of_another_publish_is_refused_even_if_it_is_the_same),
        TEST(a_flipped_bit_is_refused_with_its_record),
        TEST(a_flipped_bit_in_the_manifest_is_refused),
        TEST(what_is_of_another_partition_is_refused),
        TEST(slots_of_runs_before_a_reset_are_void),
        TEST(other_keys_are_none_of_its_business),
        TEST(what_is_damaged_before_a_whole_slot_does_not_count),
        TEST(a_chunk_beyond_the_states_of_the_job_takes_no_memory),
        TEST(chunks_of_another_size_are_refused),
        TEST(an_undecided_transaction_is_waited_for),
        TEST(an_image_is_taken_for_nothing_but_the_layout_it_has),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("slot_reader", tests, NULL, NULL);
}
