/* avro_tree.h: an Avro schema as the compiler of plans reads it: references are pointers, names are
 * whole.
 *
 * codec_avro.c makes the tree from what Avro C has parsed and resolved. It may have cycles
 * (recursive records); a record is one node however often it is named. Logical types are their base
 * type, but for the unit of timestamps.
 *
 * Owner: all memory of a tree is one list, freed at once when the plan has been compiled. Thread:
 * one. */
#ifndef MILLRACE_AVRO_TREE_H
#define MILLRACE_AVRO_TREE_H

#include <stdbool.h>
#include <stdint.h>

enum avro_kind { /* part of fingerprints: append only */
                 AVRO_K_NULL,
                 AVRO_K_BOOLEAN,
                 AVRO_K_INT,
                 AVRO_K_LONG,
                 AVRO_K_FLOAT,
                 AVRO_K_DOUBLE,
                 AVRO_K_STRING,
                 AVRO_K_BYTES,
                 AVRO_K_FIXED,
                 AVRO_K_ENUM,
                 AVRO_K_RECORD,
                 AVRO_K_ARRAY,
                 AVRO_K_MAP,
                 AVRO_K_UNION
};

enum { AVRO_SIZE_VARIES = -1, AVRO_SIZE_UNKNOWN = -2 };

struct avro_node {
    enum avro_kind kind;
    uint32_t n;               /* fields, branches, symbols; array and map: 1 */
    int64_t bytes;            /* of a fixed */
    const char *name;         /* record, enum, fixed; else of the kind */
    struct avro_field *field; /* record: fields; union: branches; array, map: its values */
    const char **symbol;      /* enum */
    bool micros;              /* long: a timestamp in microseconds */
    /* the compiler's: */
    int64_t size;   /* bytes of every value; AVRO_SIZE_VARIES, AVRO_SIZE_UNKNOWN so far */
    uint32_t skips; /* times that it had to be skipped */
    uint32_t call;  /* number of its body that skips, + 1 */
    uint32_t pass;  /* plan that skips and call are of */
    bool inside;    /* being walked: a cycle ends here */
};

struct avro_field {
    const char *name; /* record; else NULL */
    struct avro_node *type;
    bool has_default; /* a default that is a number, a boolean or an enum's symbol */
    double value;
};

struct avro_tree {
    struct avro_node *root;
    void *memory;
};

#endif
