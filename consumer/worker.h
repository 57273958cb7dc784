/* worker.h: one worker process: what it holds, and the stages that pass it on.
 *
 * One thread owns the consumer, the states and the store. Callbacks only note facts; the loop
 * (pipeline.c) acts on them. Everything here is taken at start or when partitions are assigned,
 * from declared limits; the loop itself allocates nothing. The stages are consume, decode, batch,
 * update, checkpoint, publish, merge, snapshot: each is a file of that name (checkpoint:
 * statestore/checkpoint.c, called from partition.c).
 *
 * A state is a function of its position; positions stand at block edges only. Between two edges
 * rows gather in the block; a stop drops them, and whoever goes on reads them again.
 *
 * Errors: a stage returns ST_OK or the reason why the worker must stop; what concerns one record or
 * one partition is settled inside the stage. Text in w->err. */
#ifndef MILLRACE_WORKER_H
#define MILLRACE_WORKER_H

#include "algos/algo.h"
#include "algos/fold.h"
#include "algos/handover.h"
#include "algos/metrics.h"
#include "config/job.h"
#include "consumer/batch.h"
#include "consumer/broker.h"
#include "consumer/codec.h"
#include "consumer/progress.h"
#include "consumer/where.h"
#include "statestore/checkpoint.h"

#include <stdatomic.h>

enum { TOPIC_PARAMS, TOPIC_MODELS, TOPIC_DEAD, TOPICS }; /* what the producer writes, by index */

enum phase {
    PHASE_NONE,     /* not ours */
    PHASE_RESTORED, /* state and position are known; not read yet */
    PHASE_CHECKING, /* reads from the last trained record, to compare its fingerprint */
    PHASE_RUNNING,
    PHASE_DONE,   /* [begin, end) is learned, all epochs */
    PHASE_STOPPED /* the state became non-finite, or policy stopped it */
};

struct letters { /* records of one partition that did not decode, until the next checkpoint */
    uint8_t *p;
    size_t n, block_n; /* bytes in all; bytes that belong to the block being filled */
    uint32_t count, block_count;
};

struct partition {
    uint32_t p;
    enum phase phase;
    bool fresh;           /* restored, and there was no state anywhere: not begun yet */
    bool moved, unsent;   /* since the last checkpoint; since the last committed publish */
    bool adopted;         /* from a slot: the next checkpoint puts it on this disk */
    struct position sent; /* of the slot as last published: dead letters before it have left */
    struct tensors state;
    struct manifest m;
    uint64_t *hash, *changed,
        *unpublished; /* per chunk: last hash; bits for the checkpoint; bits for the publish */
    struct block block;
    struct letters letters;
    uint64_t edge;                  /* trained records at which the current round ends */
    bool pull_due;                  /* a round has ended since the last pull */
    bool reset;                     /* while it waited, the broker had no record at its position */
    bool caught_up;                 /* the last that came was the end of the partition */
    int64_t next;                   /* offset expected next from the consumer */
    int64_t high;                   /* last known end of the partition, for lag */
    int64_t seen_us;                /* when the block had its first record */
    uint64_t block_good, block_bad; /* records of the block */
    const struct record *last; /* last good record of this block within the current poll, or NULL */
    int64_t last_offset;       /* the same, once its poll is over */
    uint64_t last_fingerprint;
    uint32_t diverged; /* packed models, as last said */
};

struct known_record {
    int32_t partition;
    int64_t offset; /* -1: none */
    uint64_t fingerprint;
};

struct trigger {
    struct every every;
    int64_t at_us;
    uint64_t rows;
};

struct worker {
    const struct job *job;
    const char *state_dir;
    struct err *err;
    char
        name[NAME_MAX_BYTES * 2 + 2]; /* "<job>-<worker>": group.instance.id and transactional.id */
    const struct broker *br;
    void *b, *c, *producer;
    const struct codec *codec;
    void *codec_self;
    struct decoded *decoded;
    const struct algo *algo;
    const struct compute *offered; /* set before open: what `device: cuda` is; NULL: by its name */
    const struct compute *compute; /* where the job is learned; not known before its shape */
    void *compute_self;
    const struct compute *host_compute; /* where views and models are made; compute, or its like */
    void *host_self;                    /* NULL: it is compute */
    struct shape shape;
    _Alignas(64) uint8_t opts[OPTS_BYTES_MAX];
    struct ctx x, host; /* to learn with; for views and models */
    struct tensors work, host_work;
    struct eval eval;
    struct handover handover; /* instead of eval, where compute has memory of its own */
    struct batch batch;
    struct checkpoint *cp;
    uint64_t fingerprint;             /* of the job: all that shapes state bytes */
    uint64_t memory_max, queue_bytes; /* of the whole process; of fetched records */
    uint64_t heap_bytes;              /* of that, what is allocated in small pieces */
    uint64_t memory_planned;          /* of memory_max, without followed slots */
    uint32_t partitions;              /* of the data topic */
    struct partition *part;           /* [partitions] */
    struct record *rec;               /* [POLL_RECORDS_MAX] of the current poll */
    uint32_t recs, rec_at;            /* how many; the next to decode */
    uint8_t *chunk_record;            /* [CHUNK_HEAD + CHUNK_BYTES]: one chunk on its way out */
    struct offset_commit *offsets;    /* [partitions] */
    int64_t first_us, busy_us;        /* first record's time; from then to the end, all included */
    uint32_t owned, running, done, stopped; /* counts of partitions */
    struct start list[PARTITIONS_MAX];      /* what the group has assigned, */
    uint32_t list_n;
    bool listed;                 /* and has not taken back since */
    int64_t take_up_us, gone_us; /* when to take it up, 0: it is; since when there is no topic */
    uint32_t last_tries;         /* of the publish at the end */
    struct trigger checkpoint, publish, snapshot;
    uint64_t rows, records, bad, nulls, bytes; /* of this process, since start */
    uint64_t version, version_records; /* newest snapshot in the model topic; records it learned */
    uint64_t sent_version;             /* in the open transaction; 0: none */
    int64_t passed_us; /* others go on without us: since when, or last said (merge.c) */
    uint64_t pulls;    /* since start */
    bool quiet, checkpoint_now, over_limit, publishing;
    struct where from, until; /* where new partitions begin, and where they end; WHERE_NONE: they
                                 do not end */
    uint32_t run;             /* that the last reset began; 0: there was none */
    uint32_t life;            /* of the job, that this process takes part in: see range.c */
    uint32_t born;            /* partitions of the topic when the job began; 0: not known yet */
    bool life_known;
    bool publish_failed;     /* the last one */
    int64_t publish_ms;      /* how long it took */
    bool assigned;           /* the group has told what is ours, and it is restored */
    bool owner;              /* of partition 0: publishes snapshots */
    bool alone;              /* reads only: no folder, no group, nothing is published */
    bool iterative;          /* partitions take something back from the view */
    int64_t asked_us;        /* when the group's offsets were last asked for the end of the job */
    uint64_t max_rows;       /* stop after so many; 0: no bound */
    struct tensors declared; /* a state's layout, not allocated */
    struct tensors view;
    struct fold fold;
    struct bad_example {
        int64_t offset;
        uint32_t partition, reason;
        char detail[160];
    } example; /* the first record that did not decode */
    struct progress progress;
    struct report *report; /* of a team: figures go to the parent instead; NULL: alone */
    uint32_t workers;      /* on this machine, which share its memory; 0: alone */
    struct model *start;   /* that new partitions go on from, while some begin */
    struct follower *follower;
    struct guard *guard;
    struct known_record known; /* by the last checkpoint, else the first since (guard.c) */
};

/* Set by the signal handler, on whatever thread it runs (a library's too): how many of SIGINT and
 * SIGTERM have come. */
extern atomic_int worker_stop;

/* worker.c: opens everything for a job and prints the memory plan. */
MUST enum st worker_open(struct worker *w, const struct job *job, const char *state_dir,
                         struct err *e);
/* The same for `partitions` of the topic, to read and learn but keep nothing: no folder, no group,
 * no producer. Partitions are begun by the caller; checkpoint and publish must not be called. */
MUST enum st worker_open_alone(struct worker *w, const struct job *job, uint32_t partitions,
                               struct err *e);
/* The data topic has another number of partitions: what is made for their number is made anew. Only
 * while none is owned. */
MUST enum st worker_resize(struct worker *w);
/* A member of the group with a new consumer, in place of the one before, if any. */
MUST enum st worker_join(struct worker *w);
void worker_close(struct worker *w);
MUST enum st partition_alloc(struct worker *w, struct partition *p);
void partition_free(struct worker *w, struct partition *p);

/* Opens the job's codec; where a width is left open, with the first record of the topic as sample.
 * codec_self is zeroed, codec->self_bytes long; also for verbs that only read. */
MUST enum st codec_open_sampled(const struct input *in, const struct broker *br, void *b,
                                const char *topic, uint32_t partitions, void *codec_self,
                                bool need_label, struct decoded *out, struct err *e);
/* Layout of one partition's state: the algorithm's tensors, the metrics, and "@batch". */
MUST enum st state_declare(struct tensors *ts, const struct algo *a, const struct shape *sh,
                           const void *opts, uint64_t bytes_max, struct err *e);
void shape_init(struct shape *sh, const struct decoded *d, const struct job *j,
                uint32_t partitions); /* the caller's line of struct shape */
void shape_batch(struct shape *sh,
                 const struct decoded *d); /* after check(): entries of a batch, when sparse */

/* topics.c: creates what is absent and refuses what would lose slots: wrong cleanup.policy, too few
 * partitions, too small messages. */
MUST enum st topics_ready(struct worker *w);
/* The same for the model topic alone, of models of about so many bytes. */
MUST enum st models_ready(const struct broker *br, void *b, const struct job *j, uint64_t bytes,
                          struct err *e);
/* st; but where the parameter topic was deleted, that as the reason: ST_BAD_CONFIG. A broker that
 * has just started may not know a topic yet. */
MUST enum st unless_params_gone(struct worker *w, enum st st);

/* restore.c: local state or slot, whichever has the greater position, for the partitions just
 * assigned; then the empty slot of new ones, and where to read on. ST_REVOKED: the group moved on
 * meanwhile: what is restored so far is void. */
MUST enum st restore_partitions(struct worker *w, const struct start *assigned, uint32_t n);
/* The state of an owned partition as of the last checkpoint, all of it to be saved and sent. */
MUST enum st restore_checkpoint(struct worker *w, struct partition *p);
/* The state of an allocated partition before its first record, with the range [begin, end). */
MUST enum st partition_begin(struct worker *w, struct partition *p, int64_t begin, int64_t end);

/* What a job's fingerprint is of (worker.c), in words for people. */
#define FINGERPRINT_WORDS                                                                          \
    "algorithm, options, schema, seed, batch, topic, start_from or 'staleness: 0'"
/* start.c: the model of start_from, where the job has one, into w->start, for partition_begin;
 * start_end frees it. by: as for model_read. */
struct slot_reader;
MUST enum st start_read(struct worker *w, const struct slot_reader *by);
void start_end(struct worker *w);
/* The new state of p goes on from w->start. */
MUST enum st start_partition(struct worker *w, struct partition *p);

/* The slot is one of this job. */
MUST enum st check_slot(struct worker *w, uint32_t number, const struct manifest *m);

/* range.c: where a job begins and ends, and begins again. */
struct image;
bool worker_bounded(const struct worker *w);
/* Where a partition that begins now ends: INT64_MAX: nowhere. */
MUST enum st range_end(struct worker *w, uint32_t partition, int64_t *end);
/* The partitions that have just been restored: new ones begin, those of a job that has ended go on.
 * r and im: to read a slot with. */
MUST enum st range_restored(struct worker *w, struct slot_reader *r, struct image *im,
                            const struct start *s, uint32_t n);
/* What a slot says of the last reset; ST_FATAL: it came after this worker's start. */
MUST enum st range_run(struct worker *w, uint32_t run);
/* A partition with this life and these flags has nothing left to do for ours. */
bool range_done(const struct worker *w, uint32_t life, uint32_t flags);
void range_ended(struct worker *w);        /* all are done: the next publish says so */
MUST enum st range_left(struct worker *w); /* and it has */

/* consume.c: one poll; answers what the group did; hands on only records that continue a running
 * partition. */
MUST enum st consume(struct worker *w);
/* The group has put us out: ST_FATAL where somebody else has our name; else a member anew, that
 * owns nothing yet. */
MUST enum st worker_fenced(struct worker *w);
void worker_disown(struct worker *w); /* drops every state; own nothing until the next assignment */
/* What the group has assigned, in the place of any list before; the next poll takes it up. */
void worker_assigned(struct worker *w, const struct start *list, uint32_t n);
/* There is a sign that the data topic is, or was, not there. Own nothing; a second later what is
 * assigned is restored from what was saved, and compared with the topic as it is then. */
void topic_doubted(struct worker *w);
/* st; but ST_BAD_CONFIG because there is no data topic is such a sign: ST_REVOKED. */
MUST enum st unless_gone(struct worker *w, enum st st);
/* Reads on from where each partition stands, whatever was fetched before. */
MUST enum st consume_positions(struct worker *w);
/* Drops what the last poll still holds of a partition, which is read anew from elsewhere. */
void consume_forget(struct worker *w, uint32_t partition);
uint64_t record_fingerprint(const struct record *r); /* XXH64 of timestamp, key, value */
/* Settles events, resume check, gaps and duplicates. *take: the partition that this record
 * continues, or NULL; *learn: the partition whose block has to be learned before anything else
 * happens to it. */
MUST enum st consume_accept(struct worker *w, const struct record *r, struct partition **take,
                            struct partition **learn);

/* decode.c: the records of the last poll into blocks, until one has to be learned: that partition,
 * or NULL: all records are taken. A record that found no room is taken at the next call. */
MUST enum st decode(struct worker *w, struct partition **full);
MUST enum st decode_limit(struct worker *w); /* ST_BAD_INPUT: there were too many bad records */

/* guard.c: the last good record of p shows from now on that the topic is the same. */
void guard_by(struct worker *w, const struct partition *p);
/* ST_REVOKED and topic_doubted(): what moved since the last checkpoint was not all read
 * from one topic; ST_AGAIN: that cannot be told now. */
MUST enum st same_topic(struct worker *w);
MUST enum st guard_open(struct worker *w); /* at the start: its memory is there from then on */
void guard_close(struct worker *w);

/* update.c: the block's batches one after another (batch_next), each scored, then learned. */
void batch(struct worker *w, struct partition *p);
MUST enum st update(struct worker *w, struct partition *p, const struct rows *r);

/* partition.c: the block is learned: the position moves to its edge, at the end of the range to the
 * next epoch. */
MUST enum st partition_learned(struct worker *w, struct partition *p);
void block_drop(struct worker *w, struct partition *p); /* forgets what was not learned */
uint64_t *partition_batches(struct partition *p);       /* number of the next batch: "@batch" */
/* The last good record so far, of which only offset and fingerprint stay. */
void partition_last(struct worker *w, struct partition *p);
/* One synced batch for all partitions that moved; to_publish: and for those that the next publish
 * sends. ST_REVOKED, ST_AGAIN: not now (guard.c). */
MUST enum st checkpoint(struct worker *w, bool to_publish);

/* publish.c: slots and dead letters into a new transaction, if there are any, or always. */
MUST enum st publish(struct worker *w, bool always);
/* Commits it with the group's offsets if st is ST_OK, else aborts it. ST_AGAIN: it did not happen;
 * ST_REVOKED: nor will it, own nothing until the next assignment. */
MUST enum st publish_end(struct worker *w, enum st st);
/* As the group's offsets say, asked every few seconds: *done: every partition's range is learned.
 */
MUST enum st group_done(struct worker *w, bool *done);
/* Its state counts: it is owned, and has not diverged. */
bool partition_counts(const struct partition *p);
/* As far as is known, here and elsewhere. */
bool any_stopped(const struct worker *w);
/* Records that the known states that count have learned. */
uint64_t worker_trained(const struct worker *w);

/* follow.c: slots that other workers publish. Followed are all, where a partition takes something
 * back from the others or where snapshots are made; else none. */
bool worker_follows(const struct worker *w);
MUST enum st
follow_assign(struct worker *w); /* after restore_partitions: those that are not ours */
MUST enum st follow(struct worker *w, int timeout_ms); /* takes what has come */
void follower_close(struct worker *w);
/* The newest that is known of partition i: ours, or as followed; NULL: nothing yet. Valid until the
 * next follow(). */
const struct manifest *slot_known(const struct worker *w, uint32_t i);
/* A followed partition's slot in one of its two places, if it is whole there; or NULL. */
const struct manifest *slot_turn(const struct worker *w, uint32_t i, uint32_t turn);
/* The state to one of these manifests, of a followed partition; valid until the next call. */
MUST enum st slot_state(struct worker *w, const struct manifest *m, const struct tensors **state);

/* merge.c: fold of the states that count, in partition order, into w->view. */
MUST enum st merge(struct worker *w);
/* Rounds and pulls: see the head of merge.c. */
void round_restored(const struct worker *w, struct partition *p);
void rounds_anew(const struct worker *w, struct partition *p); /* another life of the job */
MUST enum st round_ended(struct worker *w, struct partition *p);
bool partition_waits(const struct partition *p); /* for others to end the round */
uint32_t partition_turn(const struct worker *w,
                        const struct partition *p);           /* of its next publish */
void round_idle(const struct worker *w, struct partition *p); /* before a publish: its flag */
/* Somebody may wait for what we have: the end of a round, or of a partition. */
bool publish_wanted(const struct worker *w);
/* Published partitions that have ended a round take the view, if the job's staleness lets them. */
MUST enum st pull(struct worker *w);

/* snapshot.c: the best model of w->view, which merge() has just made, into the open transaction. */
MUST enum st snapshot(struct worker *w);

/* pipeline.c */
MUST enum st pipeline_run(struct worker *w);

/* progress.c: a line of the table, or the figures to the parent, if it is time; last: in any case.
 */
void progress_line(struct worker *w, bool last);

void trigger_start(struct trigger *t, struct every e, const struct worker *w);
bool trigger_due(const struct trigger *t, const struct worker *w);
void trigger_fired(struct trigger *t, const struct worker *w);

#endif
