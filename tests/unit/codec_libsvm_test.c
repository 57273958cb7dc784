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
    uint8_t *exact = malloc(strlen(line) + 1);
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

#define SVM_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SVM_TEST(lines_become_sparse_rows),
        SVM_TEST(labels_may_be_classes),
        SVM_TEST(bad_lines_have_reasons_and_leave_the_block),
        SVM_TEST(the_block_is_full_by_entries_too),
        SVM_TEST(a_job_without_width_is_refused),
        SVM_TEST(a9a_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
