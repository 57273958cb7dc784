/* job.h: one training task, read from a YAML file.
 *
 * Every key has a default but `job`, `topic` and `algo`. Scalars are read by the declared type. All
 * problems of a file are reported at once, each as "file:line:column: error: ... (did you mean
 * 'x'?)"; a job that has any is not run. The keys are one table (job_keys), from which parse,
 * `lint` and the manual come; the keys under `options:` are the algorithm's own table, which this
 * layer is handed, since it knows no algorithm.
 *
 * Owner: the caller owns struct job (about 100 KiB: put it on the heap or make it static). Thread:
 * start. */
#ifndef MILLRACE_JOB_H
#define MILLRACE_JOB_H

#include "config/options.h"

#include <stdio.h>

enum {
    PROPS_MAX = 64,
    FEATURES_MAX = 1024,
    ONE_HOT_MAX = 64,
    OPTS_BYTES_MAX = 8192,
    CLASS_NAMES_MAX = 1024
};

struct prop {
    char name[96], value[512];
};

struct props { /* librdkafka properties, passed on unchanged */
    struct prop p[PROPS_MAX];
    uint32_t n;
};

enum { STALENESS_ASYNC = -1, STALENESS_MAX = 1000 };

enum format { FORMAT_AVRO, FORMAT_CSV, FORMAT_LIBSVM, FORMAT_JSON, FORMAT_F32 }; /* append only */
enum framing { FRAMING_AUTO, FRAMING_NONE, FRAMING_CONFLUENT };

struct feature { /* "price", or "pixels[784]": an array of that width; width 0: see input.width */
    char name[NAME_MAX_BYTES];
    uint32_t width;
};

struct input {
    uint32_t format;  /* enum format */
    uint32_t framing; /* enum framing, of avro: is a registry's schema id in front of each value? */
    char schema[4096]; /* path of the writer's schema, as the job file says it, resolved against its
                          folder */
    char label[NAME_MAX_BYTES], weight[NAME_MAX_BYTES], key[NAME_MAX_BYTES],
        time[NAME_MAX_BYTES]; /* "": none */
    struct feature
        feature[FEATURES_MAX]; /* none: every other number of the record, in schema order */
    uint32_t features;
    uint32_t width; /* of an array feature without its own, of libsvm's id space; 0: taken from the
                       data */
    struct feature column[FEATURES_MAX]; /* csv, f32: names of the fields, in order; none: f0, f1,
                                            ... with width */
    uint32_t columns;
    /* libsvm: names are hashed to 2^hash_bits columns; 0: they are indices. csv, json: one_hot's
     * are */
    uint32_t hash_bits;                        /* 0: to 2^18 */
    char one_hot[ONE_HOT_MAX][NAME_MAX_BYTES]; /* csv, json: fields that are categories, hashed */
    uint32_t one_hots;
    char delimiter[2]; /* csv; "," */
    float holdout;     /* share of rows scored and never learned, 0 .. 0.5 */
    char class_name[CLASS_NAMES_MAX]
                   [CLASS_NAME_BYTES]; /* label values, class 0 first; none: numbers 0, 1, ... */
    uint32_t classes;
    bool missing; /* the algorithm takes features without a value (ALGO_MISSING), as NaN: not a key
                     of the file. False: such a record is bad */
};

struct every { /* a trigger: whichever comes first; both 0: never */
    uint64_t ms, rows;
};

struct job {
    char file[4096], name[NAME_MAX_BYTES], topic[NAME_MAX_BYTES];
    char broker[4096]; /* "kafka" or "local:DIR" (DIR resolved against the job file's folder) */
    struct props kafka;
    struct input input;
    char algo[48];
    _Alignas(64) uint8_t opts[OPTS_BYTES_MAX]; /* the algorithm's options struct */
    struct every checkpoint, publish, snapshot;
    uint64_t halving;         /* learned rows until half of the packed models stops; 0: never */
    uint64_t half_life;       /* learned rows of a partition; 0: nothing is forgotten */
    uint64_t batch_linger_ms; /* 0: blocks end by records alone, and a replay makes the same bits */
    bool bad_dead_letter;     /* bad_records.to: dead-letter | drop */
    double bad_limit;         /* share of records, 0 .. 1; reached only after 100 records */
    uint64_t bad_limit_count; /* or a number; 0: the share counts */
    bool gap_continue;        /* retention_gap: fail | continue */
    bool recreated_continue;  /* topic_recreated: fail | continue */
    char state_dir[4096];
    char topic_params[NAME_MAX_BYTES], topic_models[NAME_MAX_BYTES], topic_dead[NAME_MAX_BYTES];
    char device[16];  /* auto | cpu | cuda */
    char backend[16]; /* auto | openblas | ref | cuda | cuda-tf32 | cuda-bf16; see device.h */
    char start_from[NAME_MAX_BYTES]; /* as the file says; "": from nothing; else */
    char start_topic[NAME_MAX_BYTES];
    uint64_t start_version;
    uint32_t epochs;
    int32_t staleness; /* rounds that a partition may be ahead of the slowest; STALENESS_ASYNC */
    uint64_t seed, memory_max; /* bytes; 0: three quarters of what the machine has */
    uint32_t models_keep;      /* snapshots kept in the model topic */
    /* Not of the file: */
    const char *const *files; /* [files_n], borrowed: read in place of the topic; none: the topic */
    uint32_t files_n;
    bool files_header; /* input.columns are from the first line of the files */
};

/* The options table of an algorithm by name and the size of its struct, or NULL; and all names, for
 * hints. */
struct job_algos {
    const struct opt *(*options)(const char *algo, size_t *bytes);
    const char *const *names;
};

/* Reads, checks and completes a job. Every problem is printed to `problems` (a line each, nothing
 * else), and the number of them is returned: 0 is a job that may run. `set` holds overrides
 * "path.to.key=value" (n of them, from --set), which win over the file. Unreadable file: one
 * problem. */
uint32_t job_read(struct job *j, const char *file, const char *const *set, uint32_t n,
                  const struct job_algos *algos, FILE *problems);

/* The keys with default, range and sentence, for `config` and the manual. */
void job_manual(FILE *out, const struct job_algos *algos);

/* A trigger is due? since_ms and since_rows count from its last firing. */
static inline bool every_due(struct every e, uint64_t since_ms, uint64_t since_rows)
{
    return (e.ms && since_ms >= e.ms) || (e.rows && since_rows >= e.rows);
}

#endif
