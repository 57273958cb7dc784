#include "config/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* RFC 3720 B.4 gives the check values. */
static void crc32c_equals_the_rfc(void **state)
{
    uint8_t zeros[32] = {0}, up[32];

    (void)state;
    for (int i = 0; i < 32; i++)
        up[i] = (uint8_t)i;
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(zeros, 32), 0x8a9136aa);
    assert_int_equal(crc32c(up, 32), 0x46dd794e);
}

static void fields_are_little_endian(void **state)
{
    uint8_t b[8];

    (void)state;
    put_u64(b, 0x0102030405060708u);
    assert_int_equal(b[0], 8);
    assert_int_equal(b[7], 1);
    assert_true(get_u64(b) == 0x0102030405060708u);
    assert_int_equal(get_u32(b), 0x05060708);
    assert_int_equal(get_u16(b), 0x0708);
}

/* The XXH64 specification's vectors: the value of no bytes with seed 0. */
static void hash64_is_xxh64(void **state)
{
    (void)state;
    assert_true(hash64("", 0, 0) == 0xef46db3751d8e999u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_equals_the_rfc),
        cmocka_unit_test(fields_are_little_endian),
        cmocka_unit_test(hash64_is_xxh64),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
