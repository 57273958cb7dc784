/* support_avro.h: an Avro codec on a schema file of its own, and messages written by hand. */
#ifndef MILLRACE_SUPPORT_AVRO_H
#define MILLRACE_SUPPORT_AVRO_H

#include "config/base/bytes.h"
#include "consumer/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct fixture { /* a codec on a schema file of its own, a block, and a message that is being
                    written */
    struct input in;
    struct decoded out;
    struct block b;
    void *self;
    char detail[DETAIL_BYTES];
    struct err e;
    uint8_t m[1 << 17];
    size_t n;
};

/* Of each test: *state is the fixture. */
int av_setup(void **state);
int av_teardown(void **state);

/* Values behind the message so far. */
void av_long(struct fixture *f, int64_t v);
void av_float(struct fixture *f, float v);
void av_double(struct fixture *f, double v);
void av_text(struct fixture *f, const char *text);
void av_floats(struct fixture *f, uint32_t n, float first);

/* The schema file: a whole schema, or the fields of a record. */
void av_schema(struct fixture *f, const char *text);
void av_fields(struct fixture *f, const char *list);
void av_feature(struct fixture *f, const char *name, uint32_t width);
void av_set(char *to, const char *text);

/* The message so far is the sample, if there is one. */
enum st av_open(struct fixture *f, bool need_label);
void av_ready(struct fixture *f); /* opened, with an empty block */
void av_refused(struct fixture *f, bool need_label,
                const char *text); /* BAD_CONFIG with that text */

/* Decodes what was written, from memory of just that size, and starts anew. */
enum bad av_decode(struct fixture *f);
void av_row_is(const struct fixture *f, uint32_t row, const float *want);
void av_name_is(const struct fixture *f, uint32_t column, const char *want);

#define AVRO_TEST(test) cmocka_unit_test_setup_teardown(test, av_setup, av_teardown)

#endif
