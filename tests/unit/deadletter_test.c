#include "consumer/deadletter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct err e;

static struct record record_of(int64_t offset, const char *key, const char *value, size_t n)
{
    return (struct record){.partition = 2,
                           .offset = offset,
                           .timestamp_ms = 5,
                           .key = {(const uint8_t *)key, key ? strlen(key) : 0},
                           .value = {(const uint8_t *)value, n}};
}

struct seen {
    int64_t offset[8];
    size_t bytes[8];
    int n;
    char detail[200];
    bool null_key;
};

static enum st see(void *arg, const struct dead_letter *d, struct err *err)
{
    struct seen *s = arg;

    (void)err;
    assert_int_equal(d->partition, 2);
    s->offset[s->n] = d->at.offset;
    s->bytes[s->n++] = d->value.n;
    s->null_key = !d->key.p;
    snprintf(s->detail, sizeof s->detail, "%s", d->detail);
    return ST_OK;
}

static void letters_of_an_unlearned_block_stay_behind(void **state)
{
    struct letters l = {0};
    struct record a = record_of(10, "k", "bad", 3), b = record_of(11, NULL, "worse", 5);
    struct seen s = {.n = 0};

    (void)state;
    assert_int_equal(letters_init(&l, &e), ST_OK);
    letters_add(&l, &a, (struct position){1, 0, 10}, BAD_TRUNCATED, "why");
    l.block_n = l.block_count = 0; /* its block is learned */
    letters_add(&l, &b, (struct position){1, 0, 11}, BAD_VALUE, "why not");
    assert_int_equal(letters_each(&l, see, &s, &e), ST_OK);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.offset[0], 10);
    letters_clear(&l); /* the checkpoint has it */
    assert_int_equal(l.count, 1);
    l.block_n = l.block_count = 0;
    s.n = 0;
    assert_int_equal(letters_each(&l, see, &s, &e), ST_OK);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.offset[0], 11);
    assert_true(s.null_key);
    letters_fini(&l);
}

static void a_dropped_block_takes_its_letters_along(void **state)
{
    struct letters l = {0};
    struct record a = record_of(10, "k", "bad", 3);
    struct seen s = {.n = 0};

    (void)state;
    assert_int_equal(letters_init(&l, &e), ST_OK);
    letters_add(&l, &a, (struct position){1, 0, 10}, BAD_TRUNCATED, "why");
    letters_drop_block(&l);
    assert_int_equal(l.n, 0);
    assert_int_equal(letters_each(&l, see, &s, &e), ST_OK);
    assert_int_equal(s.n, 0);
    letters_fini(&l);
}

static void a_huge_value_is_cut_and_says_so(void **state)
{
    size_t n = 3u << 20;
    char *huge = calloc(1, n);
    struct letters l = {0};
    struct record a = record_of(10, "k", huge, n);
    struct seen s = {.n = 0};

    (void)state;
    assert_int_equal(letters_init(&l, &e), ST_OK);
    letters_add(&l, &a, (struct position){1, 0, 10}, BAD_TOO_LONG, "too long");
    l.block_n = 0;
    assert_int_equal(letters_each(&l, see, &s, &e), ST_OK);
    assert_int_equal(s.bytes[0], LETTER_VALUE_MAX);
    assert_non_null(strstr(s.detail, "cut from 3145728 bytes"));
    letters_fini(&l);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_an_unlearned_block_stay_behind),
        cmocka_unit_test(a_dropped_block_takes_its_letters_along),
        cmocka_unit_test(a_huge_value_is_cut_and_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
