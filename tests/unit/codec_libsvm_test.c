#include "consumer/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct fixture {
    struct input in;
    struct decoded out;
    struct block b;
    void *self;
    char detail[DETAIL_BYTES];
    struct err e;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->self = calloc(1, codec_libsvm.self_bytes);
    f->in.format = FORMAT_LIBSVM;
    f->in.width = 6;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    codec_libsvm.close(f->self);
    block_fini(&f->b);
    free(f->self);
    free(f);
    return 0;
}

static void ready(struct fixture *f)
{
    if (codec_libsvm.open(f->self, &f->in, true, (struct bytes){0}, &f->out, &f->e) != ST_OK)
        fail_msg("%s", f->e.text);
    assert_int_equal(block_init(&f->b, &f->out.shape, &f->e), ST_OK);
}

static enum bad decode(struct fixture *f, const char *line)
{
    uint8_t *exact = malloc(strlen(line) + !*line);
    uint32_t n = f->b.n, entries = f->b.ptr[n];
    enum bad bad;

    memcpy(exact, line, strlen(line));
    f->detail[0] = 0;
    bad = codec_libsvm.decode(f->self, (struct bytes){0}, (struct bytes){exact, strlen(line)}, 3,
                              -1, &f->b, f->detail);
    free(exact);
    assert_true(bad == BAD_NONE || (f->b.n == n && f->b.ptr[n] == entries));
    assert_true(bad == BAD_NONE || bad == BAD_FULL || f->detail[0]);
    return bad;
}

static void lines_become_sparse_rows(void **state)
{
    struct fixture *f = *state;
    char name[16];

    ready(f);
    assert_true(f->out.shape.sparse && f->out.shape.ny == 1 && f->out.columns == 6);
    assert_string_equal(codec_libsvm.column_name(f->self, 0, name, sizeof name), "1");
    assert_int_equal(
        decode(f, "1 1:0.5 3:-2 6:1e1 # comment 7:8\r\n# all comment\n\n-1.5\n 0\t2:3"), BAD_NONE);
    assert_int_equal(f->b.n, 3);
    assert_memory_equal(f->b.y, ((float[]){1, -1.5f, 0}), 12);
    assert_memory_equal(f->b.ptr, ((uint32_t[]){0, 3, 3, 4}), 16);
    assert_memory_equal(f->b.col, ((uint32_t[]){0, 2, 5, 1}), 16);
    assert_memory_equal(f->b.val, ((float[]){0.5f, -2, 10, 3}), 16);
    assert_true(f->b.rid[2] == (3 << 16 | 2));
}

static void labels_may_be_classes(void **state)
{
    struct fixture *f = *state;

    memcpy(f->in.class_name[0], "-1", 3);
    memcpy(f->in.class_name[1], "+1", 3);
    f->in.classes = 2;
    ready(f);
    assert_int_equal(decode(f, "+1 1:1\n1 1:1\n-1 1:1"), BAD_NONE);
    assert_memory_equal(f->b.y, ((float[]){1, 1, 0}), 12);
    assert_int_equal(decode(f, "0 1:1"), BAD_LABEL);
    assert_int_equal(decode(f, "1:1 2:1"), BAD_LABEL);
}

static void bad_lines_have_reasons_and_leave_the_block(void **state)
{
    struct fixture *f = *state;

    ready(f);
    assert_int_equal(decode(f, "1 1:1"), BAD_NONE);
    assert_int_equal(decode(f, "1 0:1"), BAD_INDEX);
    assert_int_equal(decode(f, "1 7:1"), BAD_INDEX);
    assert_int_equal(decode(f, "1 99999999999:1"), BAD_VALUE);
    assert_int_equal(decode(f, "1 2:1 2:1"), BAD_INDEX);
    assert_int_equal(decode(f, "1 3:1 2:1"), BAD_INDEX);
    assert_string_equal(f->detail, "line 1: indices must ascend at '2:1'");
    assert_int_equal(decode(f, "1 2"), BAD_VALUE);
    assert_int_equal(decode(f, "1 2:"), BAD_VALUE);
    assert_int_equal(decode(f, "1 :2"), BAD_VALUE);
    assert_int_equal(decode(f, "1 -1:2"), BAD_VALUE);
    assert_int_equal(decode(f, "1 2:nan"), BAD_NONFINITE);
    assert_int_equal(decode(f, "one 2:1"), BAD_LABEL);
    assert_int_equal(decode(f, "1 2:1\n1 2:x"), BAD_VALUE);
    assert_int_equal(decode(f, ""), BAD_TRUNCATED);
    assert_int_equal(decode(f, "# nothing"), BAD_TRUNCATED);
    assert_int_equal(f->b.n, 1);
}

static void the_block_is_full_by_entries_too(void **state)
{
    struct fixture *f = *state;

    ready(f);
    f->b.s.nnz_max = 5;
    assert_int_equal(decode(f, "1 1:1 2:1 3:1"), BAD_NONE);
    assert_int_equal(decode(f, "1 1:1 2:1 3:1"), BAD_FULL);
    assert_int_equal(decode(f, "1 1:1 2:1"), BAD_NONE);
    block_clear(&f->b);
    assert_int_equal(decode(f, "1 1:1 2:1 3:1 4:1 5:1 6:1"), BAD_TOO_MANY);
}

static void a_job_without_width_is_refused(void **state)
{
    struct fixture *f = *state;

    f->in.width = 0;
    assert_int_equal(codec_libsvm.open(f->self, &f->in, true, (struct bytes){0}, &f->out, &f->e),
                     ST_BAD_CONFIG);
    assert_non_null(strstr(f->e.text, "input.width is missing"));
}

/* ---- hashed names ---- */

/* The column of a name and the sign of its value, as a row of its own has them. */
static uint32_t column_of(struct fixture *f, const char *name, float *sign)
{
    uint32_t at = f->b.ptr[f->b.n];
    char line[64];

    snprintf(line, sizeof line, "0 %s:1", name);
    assert_int_equal(decode(f, line), BAD_NONE);
    assert_int_equal(f->b.ptr[f->b.n], at + 1);
    *sign = f->b.val[at];
    assert_true(*sign == 1 || *sign == -1);
    return f->b.col[at];
}

static void hashed(struct fixture *f, uint32_t bits)
{
    f->in.width = 0;
    f->in.hash_bits = bits;
    ready(f);
    assert_int_equal(f->out.shape.d, 1u << bits);
}

static void names_are_hashed_to_columns_with_signs(void **state)
{
    struct fixture *f = *state;
    uint32_t at, minus = 0, seen[16] = {0};
    float sign, value = 0;
    char name[32];

    hashed(f, 4);
    for (uint32_t i = 0; i < 1600; i++) {
        snprintf(name, sizeof name, "user:%u", i); /* a colon may be part of a name */
        at = column_of(f, name, &sign);
        assert_true(at < 16);
        seen[at]++;
        minus += sign < 0;
        value += sign;
    }
    assert_true(minus > 700 && minus < 900);
    for (uint32_t c = 0; c < 16; c++)
        assert_true(seen[c] > 60 && seen[c] < 140);
}

/* Words in any order, names that meet in a column, one name twice: a row is the sum of its words.
 */
static void a_row_of_names_ascends_and_has_a_column_once(void **state)
{
    static const char *const words[] = {"b:2", "7:1", "07:4", "b:-0.5", "a=x:3", "c:0", "d:1",
                                        "e:9", "f:1", "g:1",  "h:2",    "i:3",   "j:4", "k:5"};
    const uint32_t n = sizeof words / sizeof *words;
    float want[8] = {0}, sign;
    struct fixture *f = *state;
    char line[256] = "1", name[16];
    uint32_t from, to;

    hashed(f, 3);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(words[i], ":"), words[i]);
        to = column_of(f, name, &sign);
        want[to] += sign * strtof(strchr(words[i], ':') + 1, NULL);
        strcat(strcat(line, " "), words[i]);
    }
    from = f->b.ptr[f->b.n];
    assert_int_equal(decode(f, line), BAD_NONE);
    to = f->b.ptr[f->b.n];
    assert_true(to - from <= 8);
    for (uint32_t q = from; q < to; q++) {
        assert_true(q == from || f->b.col[q] > f->b.col[q - 1]);
        assert_float_equal(f->b.val[q], want[f->b.col[q]], 1e-6);
        want[f->b.col[q]] = 0;
    }
    for (uint32_t c = 0; c < 8; c++)
        assert_true(want[c] == 0);
}

static void a_long_row_of_names_is_in_order(void **state)
{
    struct fixture *f = *state;
    char *line = malloc(64000), *p = line;
    uint32_t from;

    hashed(f, 20);
    p += sprintf(p, "0");
    for (uint32_t i = 0; i < 5000; i++)
        p += sprintf(p, " w%u:1", i * 7919u % 5000);
    assert_int_equal(decode(f, line), BAD_NONE);
    from = f->b.ptr[0];
    assert_true(f->b.ptr[1] - from > 4950); /* 12 pairs of 5,000 names meet among 2^20 columns */
    for (uint32_t q = from + 1; q < f->b.ptr[1]; q++)
        assert_true(f->b.col[q] > f->b.col[q - 1]);
    free(line);
}

static void bad_words_among_names_have_reasons(void **state)
{
    struct fixture *f = *state;

    hashed(f, 1);
    assert_int_equal(decode(f, "1 name"), BAD_VALUE);
    assert_string_equal(f->detail, "line 1: name:value is needed, not 'name'");
    assert_int_equal(decode(f, "1 :2"), BAD_VALUE);
    assert_int_equal(decode(f, "1 a:b"), BAD_VALUE);
    assert_int_equal(decode(f, "1 a:inf"), BAD_NONFINITE);
    assert_int_equal(decode(f, "1 a:3e38 a:3e38"), BAD_NONFINITE);
    assert_int_equal(decode(f, "1"), BAD_NONE);
    assert_int_equal(f->b.ptr[1], f->b.ptr[0]);
}

/* The counts are awk's. */
static void a9a_is_read(void **state)
{
    const char *dir = getenv("MILLRACE_DATA");
    struct fixture *f = *state;
    uint64_t rows = 0, entries = 0;
    char path[4096], line[4096];
    FILE *in;

    snprintf(path, sizeof path, "%s/a9a/a9a.libsvm", dir ? dir : "../shared/data");
    in = fopen(path, "r");
    if (!in) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    f->in.width = 123;
    ready(f);
    while (fgets(line, sizeof line, in)) {
        enum bad bad = decode(f, line);

        if (bad == BAD_FULL) {
            rows += f->b.n;
            entries += f->b.ptr[f->b.n];
            block_clear(&f->b);
            bad = decode(f, line);
        }
        assert_int_equal(bad, BAD_NONE);
    }
    fclose(in);
    assert_int_equal(rows + f->b.n, 32560);
    assert_int_equal(entries + f->b.ptr[f->b.n], 451578);
}

/* Colons and blanks are found 64 bytes at a time: lines that begin anywhere in those, and messages
 * that end anywhere. */
static void a_word_may_stand_at_any_byte(void **state)
{
    static const char *const ends[] = {"", " ", "\n", " \r\n", "#x", "\n1 1:1 2:0.5\n"};
    struct fixture *f = *state;
    char line[512];

    f->in.width = 1 << 24;
    ready(f);
    for (int zeros = 0; zeros < 200; zeros++)
        for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
            snprintf(line, sizeof line,
                     "%0*d 1:1 2:1 3:-0.4513 04:7  5:1\t6:0.123456789012345678 "
                     "12345678:1 0016777216:2.5%s",
                     zeros + 1, 3, ends[e]);
            block_clear(&f->b);
            assert_int_equal(decode(f, line), BAD_NONE);
            assert_int_equal(f->b.n, 1 + (e == 5));
            assert_int_equal(f->b.ptr[1], 8);
            assert_true(f->b.y[0] == 3);
            assert_memory_equal(f->b.col, ((uint32_t[]){0, 1, 2, 3, 4, 5, 12345677, 16777215}), 32);
            assert_memory_equal(
                f->b.val, ((float[]){1, 1, -0.4513f, 7, 1, 0.123456789012345678f, 1, 2.5f}), 32);
            assert_true(e < 5 || (f->b.ptr[2] == 10 && f->b.val[9] == 0.5f));
        }
}

/* The same words as bad_lines_have_reasons..., in every place of a long line. */
static void a_wrong_word_is_named_wherever_it_is(void **state)
{
    static const char *const bad[][2] = {{"", ":x"},  {"", ":inf"}, {"", ""},           {"", ":"},
                                         {":", ""},   {"0:", ""},   {"101:", ""},       {"1:", ""},
                                         {"-1:", ""}, {"", ":1:1"}, {"4294967297:", ""}};
    static const enum bad why[] = {BAD_VALUE, BAD_NONFINITE, BAD_VALUE, BAD_VALUE,
                                   BAD_VALUE, BAD_INDEX,     BAD_INDEX, BAD_INDEX,
                                   BAD_VALUE, BAD_VALUE,     BAD_VALUE};
    enum { WORDS = 70 };
    struct fixture *f = *state;
    char line[2048], word[32];

    f->in.width = 100;
    ready(f);
    for (int at = 2; at <= WORDS; at++)
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            size_t n = (size_t)snprintf(line, sizeof line, "1");

            snprintf(word, sizeof word, "%s%d%s", bad[k][0], at, bad[k][1]);
            for (int i = 1; i <= WORDS; i++)
                n += i == at ? (size_t)snprintf(line + n, sizeof line - n, " %s", word)
                             : (size_t)snprintf(line + n, sizeof line - n, " %d:%s", i,
                                                i % 7 < (int)k ? "1" : "0.875");
            assert_int_equal(decode(f, line), why[k]);
            assert_non_null(strstr(f->detail, word));
        }
    for (int at = 2; at <= WORDS; at++) {
        size_t n = (size_t)snprintf(line, sizeof line, "1");

        for (int i = 1; i <= WORDS; i++)
            n += (size_t)snprintf(line + n, sizeof line - n, " %d:1", i == at ? i - 1 : i);
        assert_int_equal(decode(f, line), BAD_INDEX);
    }
}

#define SVM_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SVM_TEST(a_word_may_stand_at_any_byte),
        SVM_TEST(a_wrong_word_is_named_wherever_it_is),
        SVM_TEST(lines_become_sparse_rows),
        SVM_TEST(labels_may_be_classes),
        SVM_TEST(bad_lines_have_reasons_and_leave_the_block),
        SVM_TEST(the_block_is_full_by_entries_too),
        SVM_TEST(a_job_without_width_is_refused),
        SVM_TEST(names_are_hashed_to_columns_with_signs),
        SVM_TEST(a_row_of_names_ascends_and_has_a_column_once),
        SVM_TEST(a_long_row_of_names_is_in_order),
        SVM_TEST(bad_words_among_names_have_reasons),
        SVM_TEST(a9a_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
