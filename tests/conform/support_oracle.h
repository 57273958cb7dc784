/* support_oracle.h: random Avro schemas, jobs and values for avro_oracle_test.c. */
#ifndef MILLRACE_SUPPORT_ORACLE_H
#define MILLRACE_SUPPORT_ORACLE_H

#include "config/base/bytes.h"
#include "consumer/codec.h"

#include <avro.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { LEAVES = 512, DEFAULTS = 256, SPARSE_WIDTH = 40 };

struct leaf { /* a field a job may name */
    char path[NAME_MAX_BYTES];
    bool number, symbols, text, array, packed; /* what it may be used as */
};

struct fallback {   /* Avro C keeps no defaults */
    char field[64]; /* record.field */
    double value;
};

struct oracle {
    uint64_t rng;
    char text[1 << 16]; /* the schema */
    size_t n;
    uint32_t types, width; /* width: of most arrays */
    struct fallback fallback[DEFAULTS];
    uint32_t fallbacks;
    avro_schema_t schema, row; /* row: record of one row */
    bool rows, wrapped;        /* an array of rows, in a record of its own */
    struct leaf leaf[LEAVES];
    uint32_t leaves;

    struct input in;
    struct decoded out;
    struct block b;
    void *self;
    uint8_t message[1 << 20];
    size_t bytes;
    uint64_t good, bad;
};

uint64_t oracle_draw(struct oracle *o, uint64_t below);
bool oracle_chance(struct oracle *o, uint32_t percent);
bool oracle_number_array(avro_schema_t s); /* of numbers, or of nulls and numbers */

void oracle_schema(struct oracle *o); /* schema, row */
void oracle_leaves(struct oracle *o, avro_schema_t s, const char *path, uint32_t depth);
void oracle_defaults(struct oracle *o, avro_schema_t s, const char *path, uint32_t depth);
void oracle_job(struct oracle *o); /* in, from the leaves */
void oracle_fill(struct oracle *o, avro_value_t *v, uint32_t depth);
void oracle_write(struct oracle *o, const avro_value_t *v); /* message */

#endif
