#include "config/job_keys.h"

#include <stddef.h>

#define AT(member) offsetof(struct job, member), sizeof(((struct job *)0)->member)

static const char *const formats[] = {"avro", "csv", "libsvm", "json", "f32", NULL},
                         *const framings[] = {"auto", "none", "confluent", NULL},
                         *const from_data[] = {"auto", NULL},
                         *const to_words[] = {"drop", "dead-letter", NULL},
                         *const gap_words[] = {"fail", "continue", NULL};

const char *const job_device_words[] = {"auto", "cpu", "cuda", NULL};
const char *const job_backend_words[] = {"auto",      "openblas",  "ref", "cuda",
                                         "cuda-tf32", "cuda-bf16", NULL};

const struct opt job_keys[] = {
    {"job", OPT_STR, AT(name), NULL, 0, 0, NULL,
     "Name of the job: consumer group id, and prefix of its topics.", NULL},
    {"topic", OPT_STR, AT(topic), NULL, 0, 0, NULL, "Data topic.", NULL},
    {"broker", OPT_STR, AT(broker), "kafka", 0, 0, NULL,
     "kafka, or local:DIR for the embedded broker.", NULL},
    {"algo", OPT_STR, AT(algo), NULL, 0, 0, NULL, "Algorithm; 'millrace list' shows them.", NULL},
    {"input.format", OPT_ENUM, AT(input.format), "avro", 0, 0, formats,
     "How a record's value is written.", NULL},
    {"input.schema", OPT_STR, AT(input.schema), "", 0, 0, NULL,
     "File with the Avro schema the records were written with.", NULL},
    {"input.framing", OPT_ENUM, AT(input.framing), "auto", 0, 0, framings,
     "Is a schema registry's id (5 bytes) in front of each Avro value? auto: as in the first "
     "record.",
     NULL},
    {"input.label", OPT_STR, AT(input.label), "label", 0, 0, NULL, "Field with the label.", NULL},
    {"input.weight", OPT_STR, AT(input.weight), "", 0, 0, NULL, "Field with a row's weight.", NULL},
    {"input.key", OPT_STR, AT(input.key), "", 0, 0, NULL,
     "Field that names the series or user of a row; empty: the record's key.", NULL},
    {"input.time", OPT_STR, AT(input.time), "", 0, 0, NULL,
     "Field with the event time; empty: the record's timestamp.", NULL},
    {"input.width", OPT_U32, AT(input.width), "auto", 0, COLUMNS_MAX, from_data,
     "Numbers in an array of features, fields of csv and f32, or the largest libsvm index; auto: "
     "from "
     "the first record.",
     NULL},
    {"input.hash_bits", OPT_U32, AT(input.hash_bits), "0", 0, HASH_BITS_MAX, NULL,
     "libsvm: features are names, hashed to 2^hash_bits columns; 0: they are indices up to width. "
     "csv, json: so are the categories of input.one_hot; 0: 18.",
     NULL},
    {"input.delimiter", OPT_STR, AT(input.delimiter), ",", 0, 0, NULL,
     "Between fields of a CSV record.", NULL},
    {"checkpoint.every", 0, AT(checkpoint), "5s", 0, 0, NULL,
     "State and position to disk: a time, a number of rows ('100000 rows'), or both.", NULL},
    {"publish.every", 0, AT(publish), "10s", 0, 0, NULL,
     "Slots to the parameter topic: a time, a number of rows, or both.", NULL},
    {"snapshot.every", 0, AT(snapshot), "60s", 0, 0, NULL,
     "A finished model to the model topic: a time, a number of rows, or both.", NULL},
    {"snapshot.keep", OPT_U32, AT(models_keep), "100", 1, 1e6, NULL,
     "Snapshots kept in the model topic.", NULL},
    {"batch_linger", OPT_MS, AT(batch_linger_ms), "0", 0, 0, NULL,
     "Learn a partial block after so long without records; 0: never, and replays are equal.", NULL},
    {"half_life", OPT_U64, AT(half_life), "0", 0, 1e15, NULL,
     "Learned rows of a partition after which a row counts half; 0: nothing is forgotten.", NULL},
    {"halving", OPT_U64, AT(halving), "0", 0, 1e15, NULL,
     "Learned rows of partition 0 after which the worse half of the packed models stops, and again "
     "whenever they have doubled; 0: all go on.",
     NULL},
    {"epochs", OPT_U32, AT(epochs), "1", 1, 1000, NULL,
     "Passes over what is there at the first start; 1: one, which need not end.", NULL},
    {"retention_gap", OPT_ENUM, offsetof(struct words, gap), 0, "fail", 0, 0, gap_words,
     "What to do when records were removed before they could be read.", NULL},
    {"topic_recreated", OPT_ENUM, offsetof(struct words, recreated), 0, "fail", 0, 0, gap_words,
     "Where the topic was deleted and made anew: fail, or go on with its first record.", NULL},
    {"state_dir", OPT_STR, AT(state_dir), "", 0, 0, NULL,
     "Folder for local state, one folder per worker in it; empty: JOB.state beside the job file.",
     NULL},
    {"topics.params", OPT_STR, AT(topic_params), "", 0, 0, NULL,
     "Parameter topic; empty: JOB.params.", NULL},
    {"topics.models", OPT_STR, AT(topic_models), "", 0, 0, NULL, "Model topic; empty: JOB.models.",
     NULL},
    {"topics.dead", OPT_STR, AT(topic_dead), "", 0, 0, NULL, "Dead-letter topic; empty: JOB.dead.",
     NULL},
    {"bad_records.to", OPT_ENUM, offsetof(struct words, bad_to), 0, "dead-letter", 0, 0, to_words,
     "Where records go that cannot be decoded.", NULL},
    {"device", OPT_ENUM, offsetof(struct words, device), 0, "auto", 0, 0, job_device_words,
     "Where the arithmetic runs; auto: the CPU, or a CUDA device that is found to learn more rows "
     "a "
     "second of this job's shape (to score: the CPU).",
     NULL},
    {"backend", OPT_ENUM, offsetof(struct words, backend), 0, "auto", 0, 0, job_backend_words,
     "By which back end of that device; auto: openblas, or cuda. cuda-tf32 and cuda-bf16 give "
     "digits "
     "of products up for speed. One that is named decides the device, too.",
     NULL},
    {"seed", OPT_U64, AT(seed), "1", 0, 0, NULL, "Of every random choice.", NULL},
    {"memory_max", OPT_BYTES, AT(memory_max), "0", 0, 0, NULL,
     "Bytes the process may take; 0: three quarters of the machine's.", NULL},
    {0}};

const struct special job_specials[] = {
    {"kafka", "", "librdkafka properties, passed on unchanged."},
    {"input.features", "every other number",
     "Fields that are features, in order; 'pixels[784]' is an array of that width."},
    {"input.columns", "", "Names of the fields of a CSV or f32 record, in order."},
    {"input.one_hot", "",
     "Fields of CSV and JSON that are categories, any text: each value has a column, by its hash."},
    {"input.classes", "", "Label values, class 0 first; empty: labels are the numbers 0, 1, ..."},
    {"input.holdout", "0", "Share of rows that are scored and never learned, such as 10%."},
    {"staleness", "async",
     "Rounds an iterative partition may be ahead of the slowest; async: any; 0: repeats bit for "
     "bit."},
    {"start_from", "",
     "Finished model that new partitions go on from, of this or another job: its topic and "
     "version, such as clothes.models@17; empty: from nothing."},
    {"bad_records.limit", "1%",
     "Bad records after which the worker stops with exit code 5: a share, or a number."},
    {"options", "", "The algorithm's own options."},
    {0}};

_Static_assert(sizeof job_keys / sizeof *job_keys - 1 <= JOB_KEYS_MAX, "room for each key");
const uint32_t job_keys_n = sizeof job_keys / sizeof *job_keys - 1;
const uint32_t job_specials_n = sizeof job_specials / sizeof *job_specials - 1;

static void manual_line(FILE *out, const char *name, const char *def, const char *what)
{
    fprintf(out, "  %-22s %-12s %s\n", name, def ? def : "(required)", what);
}

void job_manual(FILE *out, const struct job_algos *algos)
{
    size_t bytes;

    fprintf(out, "keys of a job file (name, default, meaning)\n");
    for (uint32_t i = 0; i < job_keys_n; i++)
        manual_line(out, job_keys[i].name, job_keys[i].def, job_keys[i].what);
    for (uint32_t i = 0; i < job_specials_n; i++)
        manual_line(out, job_specials[i].path, job_specials[i].def, job_specials[i].what);
    for (uint32_t a = 0; algos->names[a]; a++) {
        fprintf(out, "\noptions of %s\n", algos->names[a]);
        for (const struct opt *o = algos->options(algos->names[a], &bytes); o && o->name; o++)
            manual_line(out, o->name, o->def, o->what);
    }
}
