/* snapshot.h: a finished, immutable model: made, published, listed, read back.
 *
 * In the model topic (one partition, compacted): "model/<version>/manifest",
 * "model/<version>/chunk/<j>" and "model/latest", whose value is a version in decimal. The manifest
 * is an Avro object container of one record with its schema inside, so any Avro reader opens it;
 * the chunks are raw slices, CHUNK_BYTES each, of one safetensors file with the model's tensors.
 * Versions count from 1 and are never reused; older than models_keep are removed by tombstones in
 * the same transaction.
 *
 * Owner: struct model owns what model_read allocated; model_fini frees. Making and reading models
 * is off the hot path and may allocate. Thread: one. */
#ifndef MILLRACE_SNAPSHOT_H
#define MILLRACE_SNAPSHOT_H

#include "algos/algo.h"
#include "algos/tensors.h"
#include "consumer/codec.h"
#include "consumer/slot_reader.h"
#include "statestore/slot.h"

struct worker;

enum { MODEL_TEXTS_MAX = 96, MODEL_COLUMNS_MAX = 1 << 16, MODEL_BREAKS_MAX = 4096 };

struct model_text { /* one option as the user would write it */
    char name[48], value[256];
};

struct model_range { /* what the model has learned of one partition */
    uint32_t partition, run, epoch;
    int64_t begin, end; /* end: where its state stands, in this epoch */
    uint64_t records, rejected, lost;
    int64_t until; /* where each epoch before has ended, and this one will; INT64_MAX: unbounded */
    bool waits;    /* the view of the round that ends here is not in it */
    bool done;     /* it has learned all it was asked to */
    bool repeatable;     /* the same records make the same bits */
    int64_t last_offset; /* of its last record, and that record's fingerprint; -1: none */
    uint64_t last_fingerprint;
    uint32_t break_at, breaks; /* its own of model.brk */
};

struct model_break { /* where reading did not go on from record to record: lineage, but learned */
    uint32_t run, epoch, kind; /* enum lineage_kind */
    int64_t begin, end;
};

struct model { /* about 1 MiB: heap */
    char job[NAME_MAX_BYTES], topic[NAME_MAX_BYTES], algo[17], millrace[16];
    char start_from[NAME_MAX_BYTES]; /* the model it went on from; "": none */
    uint64_t version, fingerprint;   /* fingerprint: of the job, as in slots */
    int64_t created_ms;
    uint32_t model_version, state_version;
    uint64_t records; /* learned, all partitions */
    struct model_text option[MODEL_TEXTS_MAX], derive[MODEL_TEXTS_MAX];
    uint32_t options, derives;
    struct measures measures;
    struct model_range range[PARTITIONS_MAX];
    uint32_t ranges;
    struct model_break brk[MODEL_BREAKS_MAX];
    uint32_t breaks;
    uint64_t seed;
    double holdout;
    int32_t staleness;   /* rounds; -1: async */
    uint32_t partitions; /* of the topic; of those without a range nothing is in the model */
    char backend[16];    /* compute */
    char class_name[CLASS_NAMES_MAX][CLASS_NAME_BYTES];
    uint32_t classes;
    char (*column)[NAME_MAX_BYTES];    /* [columns] names of the inputs; NULL: not kept (more than
                                          65,536, or sparse without names) */
    uint32_t columns, features;        /* names kept; inputs of the model (id space when sparse) */
    struct tensors tensors;            /* the model itself, host memory */
    char tensor_name[TENSORS_MAX][48]; /* storage of names read back */
    uint64_t tensor_at[TENSORS_MAX];   /* in the body */
    uint64_t body_bytes;               /* of the safetensors file */
    uint32_t body_crc;
};

struct model *model_new(void); /* zeroed; NULL: no memory */
void model_free(struct model *m);
void model_fini(struct model *m);

struct model_bytes {
    uint8_t *manifest, *body;
    size_t manifest_n, body_n;
};

/* Fills what the job and its decoder know: names, options, classes, columns, versions, the time. */
void model_describe(struct model *m, const struct job *j, const struct ctx *x, const struct algo *a,
                    const struct decoded *d, const struct codec *codec, void *codec_self);

/* One more partition's state, as its manifest describes it, in ranges and records. */
void model_add(struct model *m, const struct manifest *s);

/* Fills m->tensors, m->measures and m->derive from a view; the caller has described the rest. */
MUST enum st model_derive(const struct ctx *x, const struct algo *a, const struct tensors *view,
                          void *derive_opts, struct model *m);

/* Model -> bytes. Allocates; the caller frees both. */
MUST enum st model_encode(struct model *m, struct model_bytes *b, struct err *e);
/* Manifest bytes -> model without tensors' values. Nothing is trusted. */
MUST enum st model_decode(struct model *m, const uint8_t *manifest, size_t n, struct err *e);
/* Body bytes -> values of the tensors that model_decode declared. ST_CORRUPT names what does not
 * fit. */
MUST enum st model_load(struct model *m, const uint8_t *body, size_t n, struct err *e);

/* Puts one encoded model into the open transaction of a producer (topic by index), with
 * "model/latest" and tombstones for versions that models_keep retires. */
MUST enum st model_send(const struct broker *br, void *producer, uint16_t topic,
                        const struct model *m, const struct model_bytes *b, uint32_t keep,
                        struct err *e);

/* Reads version (0: the latest) from the model topic. ST_BAD_CONFIG: no such version (any more).
 * ST_CORRUPT: not all of it is there, or it does not verify. m is zeroed or of an earlier reading;
 * model_fini frees, on error too. by: zeroes, but for what is to be called meanwhile; NULL:
 * nothing. */
MUST enum st model_read(const struct broker *br, void *b, const char *topic, uint64_t version,
                        const struct slot_reader *by, struct model *m, struct err *e);
/* The derive options that the model was made with, defaults where it does not say. */
MUST enum st model_derive_opts(const struct model *m, const struct algo *a, const struct shape *sh,
                               void *derive_opts, struct err *e);
/* The model is one of this algorithm and version, and its tensors have the names, types and, if
 * asked, shapes of a job's with these options; its derive options go into derive_opts. */
MUST enum st model_check(const struct model *m, const struct algo *a, const struct shape *sh,
                         const void *opts, void *derive_opts, bool shapes, struct err *e);
/* Calls take for every model that has not been retired, oldest first (tensors declared, not
 * loaded). */
MUST enum st model_list(const struct broker *br, void *b, const char *topic,
                        void (*take)(void *arg, const struct model *m), void *arg, struct err *e);

/* Tombstones for one version, outside of any transaction. ST_BAD_CONFIG: it is not there; or it is
 * the newest, whose number tells the next one's. */
MUST enum st model_remove(const struct broker *br, void *b, const char *topic, uint64_t version,
                          struct err *e);

/* Before a new owner publishes: the newest version in the topic into w->version (R4 holds for this
 * topic too). */
MUST enum st snapshot_restore(struct worker *w, enum st (*meanwhile)(void *arg));

#endif
