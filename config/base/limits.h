/* limits.h: every bound of the program, in one place. Memory and pauses are bounded because these
 * are. A bound that a user meets is named in the error that enforces it. */
#ifndef MILLRACE_LIMITS_H
#define MILLRACE_LIMITS_H

#include <assert.h>

enum {
    /* rows of a block: it ends before the record that would exceed this */
    BLOCK_ROWS = 4096,
    BLOCK_ROW_ENTRIES =
        256, /* of a sparse row on average; a block of wide rows ends at their sum */
    BATCH_ROWS_MAX = BLOCK_ROWS,
    PARTITIONS_MAX = 1024, /* of one data topic */
    COLUMNS_MAX = 1 << 24, /* dense columns or sparse id space */
    HASH_BITS_MAX = 24,
    RECORD_BYTES_MAX = 64 << 20,
    SCHEMA_BYTES_MAX = 1 << 20,
    SCHEMA_DEPTH_MAX = 64,
    NAME_MAX_BYTES = 200, /* topics, jobs, workers; Kafka's own limit for topics is 249 */
    CLASSES_MAX = 4096,
    MODELS_MAX = 64,  /* packed models of one job */
    LIST_MAX = 64,    /* elements of a list option */
    CHUNK_SHIFT = 18, /* 256 KiB: three chunks fit a broker's default batch of 1 MiB */
    CHUNK_BYTES = 1 << CHUNK_SHIFT,
    JOB_FILE_BYTES_MAX = 1 << 20,
    POLL_RECORDS_MAX = 4096, /* records of one poll */
    HEADERS_MAX = 8,
    HEAP_LARGEST = 5 << 19, /* what is larger is mapped, and given back when freed */
    CLASS_NAME_BYTES = 64
};

static_assert(BATCH_ROWS_MAX <= BLOCK_ROWS, "a batch lies inside one block");

#endif
