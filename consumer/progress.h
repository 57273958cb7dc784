/* progress.h: the table on stderr, a line per power of two of rows at first, then every few
 * seconds, in the manner of Vowpal Wabbit: loss is prequential (scored before learned), "no skill"
 * is the best constant on the same rows.
 *
 * What a line tells are figures: a worker reads its own from its partitions, those of a team add
 * up. Thread: the caller's. Allocation: none. */
#ifndef MILLRACE_PROGRESS_H
#define MILLRACE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Of one worker or of several. Sums over the partitions that they own; only rows are those learned
 * since the process started. Fixed size: it goes through a pipe as it is. */
struct figures {
    uint64_t rows;
    double weight;                      /* of the scored rows; 0: nothing to tell yet */
    double loss, recent_loss, no_skill; /* times weight */
    double measure;                     /* times weight: accuracy or rmse; NaN: it has none */
    double lag, todo;                   /* records behind the end of the topic, of the job */
    double state_bytes;
    uint32_t model; /* 1, 2, ...: the packed model that these are of; 0: several */
    uint32_t kind;  /* of measure: enum out_kind */
    uint32_t epoch; /* 1, 2, ...: that the slowest partition is in; 0: there is none */
    uint32_t epochs;
};

void figures_add(struct figures *sum, const struct figures *f);

struct progress {
    int64_t start_us, line_us;
    uint64_t next_rows, line_rows, lines;
};

void progress_start(struct progress *p);
/* A line is due for so many rows; last: always. */
bool progress_due(const struct progress *p, uint64_t rows, bool last);
/* One line, if there is anything to tell; the last one with the mean rate. */
void progress_print(struct progress *p, const struct figures *f, bool last, FILE *to);

#endif
