/* support_mill.h: whole jobs in this process: a folder of this run with a local broker's topics and
 * state folders, a worker that runs a job to its end, and what it left behind.
 *
 * Records are lines of CSV "label,a,b" made from their number alone. What a worker left is read
 * back from disk, from the parameter topic and from the model topic, never from its memory.
 * Anything inconsistent in the mill itself fails the running test. Thread: one. */
#ifndef MILLRACE_SUPPORT_MILL_H
#define MILLRACE_SUPPORT_MILL_H

#include "consumer/slot_reader.h"
#include "consumer/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { MILL_LINEAGE = 8, MILL_SET = 8 };

struct mill_run {              /* how a worker runs; all zero: once through the topic, to its end */
    const char *name;          /* of the job; NULL: "mill" */
    const char *job;           /* job file; NULL: mill_job */
    const char *set[MILL_SET]; /* "key=value" over it, NULL at the end */
    const char *state;         /* state folder; NULL: the name */
    bool unbounded;            /* no --until-end: until it was idle for so many polls */
    bool impatient;            /* it does not wait longer than that for others either */
    uint32_t mine;             /* bits of the partitions that the group gives it; 0: all */
    const char *from, *until;  /* as in the flags; NULL: not given, to the end */
    uint64_t max_rows;
    uint32_t live;                    /* records that come into each partition with every poll */
    uint32_t poll_max;                /* records of one poll; 0: as many as there are */
    const struct compute *offered;    /* what `device: cuda` is; NULL: by its name */
    uint32_t commits_fail;            /* so many commits of transactions fail at first, */
    enum st commit_st;                /* with this status */
    void (*opened)(struct worker *w); /* called before the loop; NULL: nothing */
    /* called before each poll, of which there have been so many: the functions below that concern
     * topics act on the worker's broker meanwhile; NULL: nothing */
    void (*polled)(uint32_t polls);
    /* instead of the broker's: what the group did; NULL: the broker's */
    enum group_event (*event)(void *c, const struct start **partitions, uint32_t *n);
    /* what came of it */
    enum st st;
    struct err err;
    uint64_t rows, records, bad, version;
    uint32_t stopped, polls;
};

struct mill_part { /* one partition's state, wherever it lies */
    uint64_t digest;
    bool ended; /* SLOT_ENDED; flags are the others */
    uint32_t flags, life, epochs, state_version, tensors, lineages;
    struct position pos;
    int64_t begin, end, last_offset;
    uint64_t last_fingerprint, trained, rejected, lost, seq, job;
    struct lineage lineage[MILL_LINEAGE];
};

extern const char mill_job[];    /* linear, squared loss, topic data */
extern const char mill_kmeans[]; /* the same topic */

int mill_begin(void **state); /* setup and teardown of a test: an empty folder */
int mill_end(void **state);

/* The broker of the folder, opened for the test itself: closed before a worker runs. */
void *mill_broker(void);
void mill_close(void);

void mill_topic(const char *name, uint32_t partitions);
/* Appends records number `from` to from + n - 1. */
void mill_put(uint32_t partition, uint64_t from, uint64_t n);
/* Appends one record; NULL: a null value. */
void mill_put_text(uint32_t partition, const char *value);
/* One transaction of one record in partition p of the topic of that name. */
void mill_put_key(const char *topic, uint32_t partition, struct bytes key, struct bytes value,
                  bool commit);
void mill_delete(const char *topic);
void mill_trim(uint32_t partition, int64_t before); /* retention took what is before */

/* The job that a run is of. */
void mill_job_of(const struct mill_run *r, struct job *j);

/* Opens a worker, runs the pipeline, closes it: the result is in *r. */
void mill_train(struct mill_run *r);
/* The same, and it has to end well. */
void mill_trained(struct mill_run *r);

/* millrace model verify of that version (0: the latest) of r's job, by another process's means: the
 * exit code; what it said on stdout is in out[room]. */
int mill_verify(const struct mill_run *r, uint64_t version, char *out, size_t room);

bool mill_state(const char *folder, uint32_t partition, struct mill_part *out);
bool mill_slot(const char *job, uint32_t partition, struct mill_part *out);
/* A tensor of a state, found by the manifest alone: its bytes, NULL if there is none. Free it. */
void *mill_tensor(const char *folder, uint32_t partition, const char *name, size_t *bytes);
/* Turns one bit of that tensor, in the folder alone; the state is whole all the same. */
void mill_tamper(const char *folder, uint32_t partition, const char *name);
/* Of a job's newest model: [partition] records learned, UINT64_MAX: the model is without it.
 * Returns its version, 0: there is none. */
uint64_t mill_model(const char *job, uint64_t records[], uint32_t partitions);
uint64_t mill_count(const char *topic, uint32_t partition); /* records read_committed sees */

#endif
