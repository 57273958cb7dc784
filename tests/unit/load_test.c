/* Readers of load by their bytes, and the verb against an embedded broker. */
#include "consumer/load.h"

#include "consumer/broker.h"
#include "consumer/verbs/verbs.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <zlib.h>

static struct err e;
static struct load l;

static const char *put_file(const char *name, const void *p, size_t n)
{
    const char *path = temp_path(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static const char *put(const char *name, const char *text)
{
    return put_file(name, text, strlen(text));
}

static enum st open_files(const struct load_reader *r, const char *label, bool lines,
                          const char *const *files)
{
    uint32_t n = 0;

    while (files[n])
        n++;
    load_close(&l);
    l = (struct load){.label = label, .lines = lines, .file = files, .files = n, .err = &e};
    return load_open(&l, r);
}

static enum st open_text(const struct load_reader *r, const char *label, const char *text)
{
    static const char *files[2];

    files[0] = put("rows", text);
    return open_files(r, label, false, files);
}

/* The next row; bytes of the one before are gone. */
static struct avro_in row(void)
{
    bool more = true;
    enum st st;

    l.out.n = 0;
    st = l.r->row(&l, &more);
    if (st != ST_OK || !more)
        fail_msg("%s", st != ST_OK ? e.text : "no row");
    return (struct avro_in){l.out.p, l.out.p + l.out.n, false};
}

static void no_more_rows(void)
{
    bool more = true;

    assert_int_equal(l.r->row(&l, &more), ST_OK);
    assert_false(more);
}

static void row_is_bad(const char *text)
{
    bool more;

    assert_int_equal(l.r->row(&l, &more), ST_BAD_INPUT);
    if (!strstr(e.text, text))
        fail_msg("'%s' does not say '%s'", e.text, text);
}

static void says(enum st st, enum st wanted, const char *text)
{
    assert_int_equal(st, wanted);
    if (!strstr(e.text, text))
        fail_msg("'%s' does not say '%s'", e.text, text);
}

static double number(struct avro_in *in)
{
    const uint8_t *p = avro_bytes(in, 8);
    uint64_t bits;
    double v;

    assert_non_null(p);
    bits = get_u64(p);
    memcpy(&v, &bits, sizeof v);
    return v;
}

static float single(struct avro_in *in)
{
    const uint8_t *p = avro_bytes(in, 4);
    uint32_t bits;
    float v;

    assert_non_null(p);
    bits = get_u32(p);
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void text_is(struct avro_in *in, const char *wanted)
{
    char text[64];

    avro_string(in, text, sizeof text);
    assert_false(in->bad);
    assert_string_equal(text, wanted);
}

static void ended(const struct avro_in *in)
{
    assert_false(in->bad);
    assert_ptr_equal(in->p, in->end);
}

/* ---- csv ---- */

static void csv_takes_names_from_the_header_and_types_from_the_first_row(void **state)
{
    struct avro_in in;
    char *schema;

    (void)state;
    assert_int_equal(open_text(&load_csv, "",
                               "\xef\xbb\xbfsepal (cm), 2nd ,\"name\",label\r\n"
                               "5.1,1e3,\"a, \"\"b\"\"\nc\",x\r\n"
                               "\r\n"
                               " 4.9 ,-2,,y"),
                     ST_OK);
    schema = load_schema(&l, false);
    assert_string_equal(schema, "{\"type\": \"record\", \"name\": \"Row\", \"fields\": [\n"
                                "  {\"name\": \"sepal__cm_\", \"type\": \"double\"},\n"
                                "  {\"name\": \"_2nd\", \"type\": \"double\"},\n"
                                "  {\"name\": \"name\", \"type\": \"string\"},\n"
                                "  {\"name\": \"label\", \"type\": \"string\"}\n]}\n");
    free(schema);
    in = row();
    assert_true(number(&in) == 5.1 && number(&in) == 1000);
    text_is(&in, "a, \"b\"\nc");
    text_is(&in, "x");
    ended(&in);
    in = row();
    assert_true(number(&in) == 4.9 && number(&in) == -2);
    text_is(&in, "");
    text_is(&in, "y");
    ended(&in);
    no_more_rows();
    no_more_rows();
}

static void csv_names_file_line_and_value_of_a_row_that_does_not_fit(void **state)
{
    (void)state;
    assert_int_equal(open_text(&load_csv, "", "a,b\n1,2\n\n3,four\n"), ST_OK);
    row();
    row_is_bad("/rows:4: field 'b': no number 'four', where the first row has a number");
    assert_int_equal(open_text(&load_csv, "", "a,b\n1,2\n3,\n"), ST_OK);
    row();
    row_is_bad(":3: field 'b': no value ''");
    assert_int_equal(open_text(&load_csv, "", "a,b\n1,2\n3\n"), ST_OK);
    row();
    row_is_bad(":3: fewer fields than the 2");
    assert_int_equal(open_text(&load_csv, "", "a,b\n1,2\n3,4,5\n"), ST_OK);
    row();
    row_is_bad(":3: more fields than the 2");
    assert_int_equal(open_text(&load_csv, "", "a,b\n1,x\n2,\"y\nz\n"), ST_OK);
    row();
    row_is_bad(":3: a quote is opened that nothing closes");
    assert_int_equal(open_text(&load_csv, "", "a,b\n1,\"x\"y\n"), ST_OK);
    row_is_bad(":2: field 'b': quotes that do not match");
}

static void csv_refuses_headers_that_are_none(void **state)
{
    (void)state;
    says(open_text(&load_csv, "", ""), ST_BAD_INPUT, "no row");
    says(open_text(&load_csv, "", "a,b\n"), ST_BAD_INPUT, "no row");
    says(open_text(&load_csv, "", "1,2\n3,4\n"), ST_BAD_INPUT, ":1: the first line has numbers");
    says(open_text(&load_csv, "", "a,,c\n1,2,3\n"), ST_BAD_INPUT, "field 2 has a name of 0 bytes");
    says(open_text(&load_csv, "", "a b,c,a-b\n1,2,3\n"), ST_BAD_INPUT, "'a_b': rename one");
    says(open_text(&load_csv, "lable", "label,a\n1,2\n"), ST_BAD_CONFIG, "did you mean 'label'");
}

static void csv_files_loaded_together_have_the_same_header(void **state)
{
    const char *files[] = {put("one.csv", "a,b\n1,2\n"), put("two.csv", "a,b\n3,4\n"),
                           put("three.csv", "a,c\n3,4\n"), NULL};
    struct avro_in in;

    (void)state;
    assert_int_equal(open_files(&load_csv, "b", false, files), ST_OK);
    assert_int_equal(l.label_field, 1);
    row();
    in = row();
    assert_true(number(&in) == 3 && number(&in) == 4);
    row_is_bad("three.csv:1: field 2 is 'c', but 'b' in the first file");
}

static void csv_lines_stay_as_they_are_without_the_header(void **state)
{
    const char *files[] = {put("lines.csv", "a,b\n1, 2\n\"x\",\n"), NULL};
    struct avro_in in;

    (void)state;
    assert_int_equal(open_files(&load_csv, "", true, files), ST_OK);
    in = row();
    assert_memory_equal(in.p, "1, 2", l.out.n);
    in = row();
    assert_memory_equal(in.p, "\"x\",", l.out.n);
    no_more_rows();
}

static void the_input_section_lists_classes_of_text(void **state)
{
    char *text = NULL;
    size_t n;
    FILE *f;

    (void)state;
    assert_int_equal(open_text(&load_csv, "kind", "kind,x\ncat,1\n\"a \"\"dog\"\"\",2\ncat,3\n"),
                     ST_OK);
    row(), row(), row();
    f = open_memstream(&text, &n);
    load_yaml(&l, "t.avsc", f);
    fclose(f);
    assert_string_equal(text, "input:\n  format: avro\n  schema: \"t.avsc\"\n  label: kind\n"
                              "  classes: [\"a \\\"dog\\\"\", \"cat\"]\n");
    free(text);
}

/* ---- libsvm ---- */

static void libsvm_indices_count_from_zero_in_avro(void **state)
{
    struct avro_in in;

    (void)state;
    assert_int_equal(open_text(&load_libsvm, "", "# data\n-1 3:0.5 11:2 # note\n+1\n"), ST_OK);
    in = row();
    assert_true(single(&in) == -1);
    assert_int_equal(avro_long(&in), 2);
    assert_int_equal(avro_long(&in), 2);
    assert_int_equal(avro_long(&in), 10);
    assert_int_equal(avro_long(&in), 0);
    assert_int_equal(avro_long(&in), 2);
    assert_true(single(&in) == 0.5f && single(&in) == 2);
    assert_int_equal(avro_long(&in), 0);
    ended(&in);
    in = row();
    assert_true(single(&in) == 1);
    assert_int_equal(avro_long(&in), 0);
    assert_int_equal(avro_long(&in), 0);
    ended(&in);
    no_more_rows();
    assert_int_equal(l.width, 11);
}

static void libsvm_refuses_what_is_no_entry(void **state)
{
    static const char *const bad[][2] = {{"x 1:2\n", ":1: the label 'x' is no number"},
                                         {"1 2\n", "'2' is no index:value"},
                                         {"1 a:2\n", "'a:2' is no index:value"},
                                         {"1 2:b\n", "'2:b' is no index:value"},
                                         {"1 0:1\n", "'0:1': indices count from 1"},
                                         {"1 3:1 3:1\n", "indices count from 1 and ascend"}};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(open_text(&load_libsvm, "", bad[i][0]), ST_OK);
        row_is_bad(bad[i][1]);
    }
}

/* ---- jsonl ---- */

static void jsonl_takes_fields_from_the_first_object(void **state)
{
    struct avro_in in;

    (void)state;
    assert_int_equal(
        open_text(&load_jsonl, "y",
                  "{\"y\": \"up\", \"n\": 3, \"on\": true, \"x\": [1, 2.5], \"e\": []}\n\n"
                  "{\"x\": [], \"e\": [7], \"on\": false, \"n\": -0.5, \"y\": \"down\"}\n"),
        ST_OK);
    in = row();
    text_is(&in, "up");
    assert_true(number(&in) == 3);
    assert_int_equal(*avro_bytes(&in, 1), 1);
    assert_int_equal(avro_long(&in), 2);
    assert_true(single(&in) == 1 && single(&in) == 2.5f);
    assert_int_equal(avro_long(&in), 0);
    assert_int_equal(avro_long(&in), 0);
    ended(&in);
    in = row();
    text_is(&in, "down");
    assert_true(number(&in) == -0.5);
    assert_int_equal(*avro_bytes(&in, 1), 0);
    assert_int_equal(avro_long(&in), 0);
    assert_int_equal(avro_long(&in), 1);
    assert_true(single(&in) == 7);
    assert_int_equal(avro_long(&in), 0);
    ended(&in);
    no_more_rows();
    assert_int_equal(l.classes, 2);
}

static void jsonl_lines_stay_as_they_are(void **state)
{
    const char *files[] = {put("lines.jsonl", "{\"a-b\": {\"a\": null}, \"a_b\": 2}\n\nnone\n"),
                           NULL};
    struct avro_in in;
    char *text;
    size_t n;
    FILE *f;

    (void)state;
    assert_int_equal(open_files(&load_jsonl, "a-b", true, files), ST_OK);
    in = row();
    assert_memory_equal(in.p, "{\"a-b\": {\"a\": null}, \"a_b\": 2}", l.out.n);
    in = row();
    assert_memory_equal(in.p, "none", 4); /* the job counts it as bad */
    no_more_rows();
    f = open_memstream(&text, &n);
    load_yaml(&l, "", f);
    fclose(f);
    assert_string_equal(text, "input:\n  format: json\n  label: \"a-b\"\n");
    free(text);
    says(open_files(&load_jsonl, "a.b", true, files), ST_BAD_CONFIG, "did you mean 'a-b'");
}

static void jsonl_names_line_and_field_of_a_row_that_does_not_fit(void **state)
{
    static const char *const bad[][2] = {{"{\"a\": null}", ":2: field 'a' is null"},
                                         {"{\"a\": \"1\"}", ":2: field 'a' is text"},
                                         {"{\"b\": 1}", ":2: field 'a' is missing"},
                                         {"{\"a\": 1, \"b\": 1}", "the first row has no field 'b'"},
                                         {"[1]", ":2: a JSON object a line is needed"},
                                         {"{\"a\": 1", ":2: column 7: '}' expected"}};
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{\"a\": 1}\n%s\n", bad[i][0]);
        assert_int_equal(open_text(&load_jsonl, "", text), ST_OK);
        row();
        row_is_bad(bad[i][1]);
    }
    says(open_text(&load_jsonl, "", "{\"a\": {\"b\": 1}}"), ST_BAD_INPUT,
         "'a' of the first row is");
    says(open_text(&load_jsonl, "", "{\"a\": [1, null]}"), ST_BAD_INPUT, "is an array: numbers");
    says(open_text(&load_jsonl, "", "{}"), ST_BAD_INPUT, "no row");
}

/* ---- idx and gzip ---- */

static const uint8_t two_images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0,  0,
                                     1, 0, 0, 0, 3, 0, 1, 2, 3, 51, 255};
static const uint8_t two_labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 9};

static const char *put_gzip(const char *name, const void *p, size_t n, size_t cut)
{
    const char *path = temp_path(name);
    gzFile f = gzopen(path, "wb");

    assert_int_equal(gzwrite(f, p, (unsigned)n), n);
    assert_int_equal(gzclose(f), Z_OK);
    if (cut)
        assert_int_equal(truncate(path, (off_t)cut), 0);
    return path;
}

static void idx_pixels_are_shares_of_255(void **state)
{
    const char *files[] = {put_gzip("images.gz", two_images, sizeof two_images, 0), NULL};
    const char *label = put_file("labels", two_labels, sizeof two_labels);
    struct avro_in in;

    (void)state;
    assert_int_equal(open_files(&load_idx, label, false, files), ST_OK);
    row();
    in = row();
    assert_int_equal(avro_long(&in), 9);
    assert_int_equal(avro_long(&in), 3);
    assert_true(single(&in) == 3 / 255.0f && single(&in) == 0.2f && single(&in) == 1);
    assert_int_equal(avro_long(&in), 0);
    ended(&in);
    no_more_rows();

    assert_int_equal(open_files(&load_idx, "", false, files), ST_OK);
    assert_int_equal(l.fields, 1);
    in = row();
    assert_int_equal(avro_long(&in), 3);
    assert_true(single(&in) == 0 && single(&in) == 1 / 255.0f);
}

static void idx_that_lacks_something_is_refused(void **state)
{
    const char *images[] = {put_file("images", two_images, sizeof two_images - 1), NULL, NULL};
    const char *labels = put_file("labels", two_labels, sizeof two_labels);
    uint8_t three[sizeof two_labels];

    (void)state;
    assert_int_equal(open_files(&load_idx, labels, false, images), ST_OK);
    row();
    row_is_bad("ends 1 images before its last one");
    says(open_files(&load_idx, images[0], false, images), ST_BAD_INPUT, "has 2 labels of 3 bytes");
    images[1] = images[0];
    says(open_files(&load_idx, labels, false, images), ST_BAD_CONFIG, "one by one, with --append");
    images[1] = NULL;
    memcpy(three, two_labels, sizeof three);
    three[7] = 3;
    labels = put_file("three", three, sizeof three);
    says(open_files(&load_idx, labels, false, images), ST_BAD_INPUT, "has 3 labels");
    images[0] = labels;
    says(open_files(&load_idx, "", false, images), ST_BAD_INPUT, "no IDX file of bytes");
    images[0] = put_file("short", two_images, 9);
    says(open_files(&load_idx, "", false, images), ST_BAD_INPUT, "ends in its header");
    images[0] = temp_path("absent");
    says(open_files(&load_idx, "", false, images), ST_BAD_CONFIG, "cannot be read: No such file");
}

static void a_gzip_file_that_is_cut_is_refused(void **state)
{
    char text[9000] = "a\n";
    const char *files[2] = {NULL, NULL};
    bool more = true;
    enum st st;

    (void)state;
    for (size_t i = 2; i < sizeof text; i++)
        text[i] = (char)(i % 7 == 6 ? '\n' : '0' + i * i % 11 % 10);
    files[0] = put_gzip("cut.gz", text, sizeof text - 1, 60);
    st = open_files(&load_csv, "", false, files);
    while (st == ST_OK && more)
        st = l.r->row(&l, &more);
    says(st, ST_BAD_INPUT, "cut.gz: the gzip file ends too early");
}

static void a_line_may_be_longer_than_a_read(void **state)
{
    size_t n = 700000;
    char *text = malloc(n + 8);
    struct avro_in in;

    (void)state;
    assert_non_null(text);
    memcpy(text, "a\n\"", 3);
    memset(text + 3, 'x', n - 3);
    for (size_t i = 1000; i < n; i += 1000)
        text[i] = '\n';
    memcpy(text + n, "\"\nend", 6);
    assert_int_equal(open_text(&load_csv, "", text), ST_OK);
    in = row();
    assert_int_equal(avro_long(&in), n - 3);
    assert_memory_equal(in.p, text + 3, n - 3);
    in = row();
    text_is(&in, "end");
    no_more_rows();
    free(text);
}

/* ---- the verb ---- */

static int millrace(char *const *words, char *out, size_t room)
{
    static const struct verb *const verbs[] = {&verb_load, NULL};
    const char *path = temp_path("stdout");
    char *argv[16]; /* the parser reorders it */
    int argc = 0, code, saved;
    FILE *f;

    for (; words[argc]; argc++)
        argv[argc] = words[argc];
    fflush(stdout);
    saved = dup(STDOUT_FILENO);
    assert_non_null(freopen(path, "w", stdout));
    code = cli_main(verbs, argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    f = fopen(path, "r");
    out[fread(out, 1, room - 1, f)] = 0;
    fclose(f);
    return code;
}

/* All records of a topic, in partition order; their values lie in bytes. */
static uint32_t read_topic(const char *dir, const char *topic, struct record *rec, uint8_t *bytes)
{
    struct broker_conf bc = {.address = dir, .props = &(struct props){.n = 0}, .read_only = true};
    void *b = calloc(1, broker_local.broker_bytes), *c = calloc(1, broker_local.consumer_bytes);
    struct consumer_conf cc = {.topics = &topic, .topics_n = 1};
    struct record got[16];
    struct topic_info t;
    uint32_t n, all = 0;

    assert_int_equal(broker_local.open(b, &bc, &e), ST_OK);
    assert_int_equal(broker_local.topic(b, topic, &t, &e), ST_OK);
    assert_int_equal(broker_local.consumer_open(c, b, &cc, &e), ST_OK);
    for (int32_t p = 0; p < (int32_t)t.partitions; p++) {
        struct start s = {.partition = p, .offset = -2};

        assert_int_equal(broker_local.consumer_assign(c, &s, 1, &e), ST_OK);
        for (bool end = false; !end;) {
            assert_int_equal(broker_local.consumer_poll(c, got, 16, 100, &n, &e), ST_OK);
            for (uint32_t i = 0; i < n; i++) {
                end = got[i].kind == REC_EOF;
                if (end)
                    continue;
                rec[all] = got[i];
                memcpy(bytes, got[i].value.p, got[i].value.n);
                rec[all++].value.p = bytes;
                bytes += got[i].value.n;
            }
        }
    }
    broker_local.consumer_close(c);
    broker_local.close(b);
    free(c);
    free(b);
    return all;
}

static void the_verb_writes_topic_schema_and_input_section(void **state)
{
    char dir[300], broker[310], schema[300], rows[300], out[1024];
    char *argv[] = {
        "millrace",           "load", "-b", broker, "-t", "t", "-p", "2", "--schema", schema,
        "--rows-per-message", "2",    rows, NULL};
    char *again[] = {"millrace",           "load", "-b", broker,     "-t", "t", "--schema", schema,
                     "--rows-per-message", "2",    rows, "--append", NULL};
    struct record rec[32];
    uint8_t bytes[1024];

    (void)state;
    snprintf(dir, sizeof dir, "%s", temp_path("broker"));
    snprintf(broker, sizeof broker, "local:%s", dir);
    snprintf(rows, sizeof rows, "%s", put("rows.csv", "x,label\n1,0\n2,1\n3,0\n"));
    snprintf(schema, sizeof schema, "%s", temp_path("t.avsc"));
    assert_int_equal(millrace(argv, out, sizeof out), CLI_DONE);
    assert_non_null(strstr(out, "input:\n  format: avro\n  schema: \""));
    assert_non_null(strstr(out, "t.avsc\"\n  label: label\n"));
    assert_int_equal(access(schema, R_OK), 0);
    assert_int_equal(read_topic(dir, "t", rec, bytes), 2);
    assert_int_equal(rec[0].partition, 0);
    assert_int_equal(rec[0].value.n, 1 + 4 * 8 + 1);
    assert_int_equal(rec[0].value.p[0], 4); /* two rows, zigzag */
    assert_null(rec[0].key.p);
    assert_int_equal(rec[1].partition, 1);
    assert_int_equal(rec[1].value.n, 1 + 2 * 8 + 1);
    assert_int_equal(rec[1].value.p[0], 2);

    again[11] = NULL;
    assert_int_equal(millrace(again, out, sizeof out), CLI_REFUSED);
    again[11] = "--append";
    assert_int_equal(millrace(again, out, sizeof out), CLI_DONE);
    assert_int_equal(read_topic(dir, "t", rec, bytes), 4);
    argv[7] = "3";
    assert_int_equal(millrace(argv, out, sizeof out), CLI_REFUSED);
    argv[5] = "other";
    argv[11] = "1"; /* another schema than the file has */
    assert_int_equal(millrace(argv, out, sizeof out), CLI_REFUSED);
}

static int teardown(void **state)
{
    (void)state;
    load_close(&l);
    return 0;
}

#define LOAD_TEST(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOAD_TEST(csv_takes_names_from_the_header_and_types_from_the_first_row),
        LOAD_TEST(csv_names_file_line_and_value_of_a_row_that_does_not_fit),
        LOAD_TEST(csv_refuses_headers_that_are_none),
        LOAD_TEST(csv_files_loaded_together_have_the_same_header),
        LOAD_TEST(csv_lines_stay_as_they_are_without_the_header),
        LOAD_TEST(the_input_section_lists_classes_of_text),
        LOAD_TEST(libsvm_indices_count_from_zero_in_avro),
        LOAD_TEST(libsvm_refuses_what_is_no_entry),
        LOAD_TEST(jsonl_takes_fields_from_the_first_object),
        LOAD_TEST(jsonl_lines_stay_as_they_are),
        LOAD_TEST(jsonl_names_line_and_field_of_a_row_that_does_not_fit),
        LOAD_TEST(idx_pixels_are_shares_of_255),
        LOAD_TEST(idx_that_lacks_something_is_refused),
        LOAD_TEST(a_gzip_file_that_is_cut_is_refused),
        LOAD_TEST(a_line_may_be_longer_than_a_read),
        LOAD_TEST(the_verb_writes_topic_schema_and_input_section),
    };
    int failed;

    if (!temp_begin())
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_end();
    return failed;
}
