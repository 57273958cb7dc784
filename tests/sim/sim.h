/* sim.h: many workers of one job in one process, in simulated time, from one seed.
 *
 * The workers run the product's code as it is: worker_open, pipeline_run, worker_close. What stands
 * around it is replaced at link time (CMakeLists.txt lists the names): the clocks, the state
 * store (in memory, and outliving its worker), random names, and the broker: a table whose
 * functions are the local broker's, all over one struct local. Each call of that table, and each
 * write of a state store, is a step: it takes simulated time, others run meanwhile, and a fault may
 * happen before it, in it or after it.
 *
 * A seed fixes everything: the job, the number of workers, their pace, and each fault. So a failure
 * is replayed by its number.
 *
 * Files: fiber.c (stacks), sim_plan.c (jobs, and what a seed makes of them), sim_world.c (time,
 * workers), sim_fault.c (faults), sim_broker.c and sim_store.c (the tables), sim_watch.c (what must
 * hold), sim_test.c (seeds). Thread: one. */
#ifndef MILLRACE_SIM_H
#define MILLRACE_SIM_H

#include "consumer/broker_local.h"
#include "consumer/worker.h"
#include "tests/sim/fiber.h"

enum { SESSION_MS = 5000, SILENT_MS = 6000, TXN_MS = 9000 };

enum call {
    CALL_OPEN,
    CALL_TOPIC,
    CALL_WATERMARKS,
    CALL_COMMITTED,
    CALL_CONSUMER_OPEN,
    CALL_POLL,
    CALL_ASSIGN,
    CALL_SEEK,
    CALL_PRODUCER_OPEN,
    CALL_BEGIN,
    CALL_PRODUCE,
    CALL_WAIT,
    CALL_OFFSETS,
    CALL_COMMIT,
    CALL_ABORT,
    CALL_WRITE,
    CALL_SLEEP,
    CALLS
};

enum fault {
    FAULT_CRASH,  /* kill -9, started again; its folder is there */
    FAULT_DISK,   /* the same, but the folder is lost */
    FAULT_FREEZE, /* SIGSTOP */
    FAULT_STOP,   /* SIGTERM, started again */
    FAULT_AGAIN,  /* no answer in time: it did not happen, or (where that is safe) it did */
    FAULT_FATAL,  /* the object is finished, before or after it happened */
    FAULT_LATE,   /* a slow answer */
    FAULT_OUTAGE, /* the broker answers nobody */
    FAULT_LEAVE,  /* killed, and never started again */
    FAULT_TWIN,   /* its folder is copied, and started elsewhere while this one goes on */
    FAULT_CLEAN,  /* the broker compacts the job's topics */
    FAULTS
};

/* ---- sim_plan.c ---- */

enum {
    SIM_PARTITIONS = 1000,
    SIM_WORKERS = 1000,
    SIM_TWINS = 4,
    SIM_NODES = SIM_WORKERS + SIM_TWINS + 1
};

struct sim_job { /* a job and its records */
    const char *name, *text;
    uint32_t partitions, records; /* of a partition; `uneven`: of the largest */
    bool uneven, wide;
};

struct plan { /* what a seed says */
    uint32_t job, workers;
    uint32_t rate[FAULTS]; /* per million steps */
    uint32_t faults;       /* so many at most, */
    int64_t calm_us;       /* and none after this */
    uint32_t record_us;    /* a worker's work for one record */
    uint32_t poll_max;
    uint64_t publish_ms, checkpoint_ms, snapshot_ms;
    bool recreated; /* the data topic is another one in the middle */
};

extern const struct sim_job sim_jobs[];
extern const uint32_t sim_jobs_n;

void plan_of(struct plan *p, uint64_t seed);
void plan_print(const struct plan *p);
/* Job files and topics, once per process. */
void jobs_read(void);
/* A copy of the job's topics, filled; the caller's, a struct map of store_memory. */
void *job_topics(uint32_t job);
/* Creates the data topic and fills it; another salt: other records. */
MUST enum st topic_fill(struct local *b, uint32_t job, uint64_t salt, struct err *e);
bool record_is_bad(uint32_t i);
struct job *job_conf(const struct plan *p); /* borrowed until the next call */

/* What each partition of a job must come to. */
struct part_end {
    uint64_t digest, trained, rejected;
};
struct job_end {
    bool known;
    struct part_end part[SIM_PARTITIONS];
    uint64_t model;
};
extern struct job_end job_ends[];

/* ---- sim_world.c, sim_fault.c ---- */

struct disk {
    char dir[32];
    void *map;           /* of store_memory */
    struct node *holder; /* RocksDB's LOCK */
};

struct node_fate { /* of the call that is being made */
    int64_t before_us, after_us;
    enum st before, after;
};

struct node { /* a worker, its lives one after another */
    struct fiber fiber;
    uint32_t id, lives;
    int64_t wake_us;
    uint32_t pace; /* 1 is the fastest */
    bool dead;     /* killed: nothing it does has any effect */
    bool doomed;   /* dies when the current call has come back */
    bool disk_lost, leaves, replaced, done;
    int stop;        /* its worker_stop */
    int64_t work_us; /* for records that were polled, before its next step */
    struct node_fate fate;
    struct worker *w;
    struct disk *disk;
};

struct world {
    uint64_t seed, random;
    int64_t now_us, outage_us;
    struct plan plan;
    struct job *job;
    struct local broker;
    struct node node[SIM_NODES];
    struct disk disk[SIM_NODES];
    uint32_t nodes;
    struct node *running; /* NULL: the simulation itself */
    uint64_t steps;
    uint32_t faults, said[FAULTS];
    int64_t fault_us; /* the last one's end */
    bool strict;      /* no fault at all was planned */
    bool recreated;   /* the data topic has been replaced */
    bool failed;
    char why[1024], state[32768];
};
extern struct world world;

uint64_t random_next(void);
uint32_t random_below(uint32_t n);
bool random_chance(uint32_t per_million);
/* From `least` to 2^doublings times as much, each power of two as likely. */
int64_t random_scale(int64_t least, uint32_t doublings);
/* A fault of the plan, if it is time for one: its name, or "". */
const char *fault_maybe(struct node *n, enum call c);
/* One more worker, whose folder is a copy of map, or empty. */
struct node *world_node(void *map);

/* Runs the seed's plan to its end. False: world.why says what went wrong. */
bool world_run(uint64_t seed, const struct plan *p, struct job_end *end);
void world_fini(void); /* at the end of the process */
void world_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void world_trace(FILE *out); /* the last steps */

/* A step of the node that runs: time passes before the call. ST_OK: make it; else it has failed
 * with that. Outside of any node nothing happens. */
MUST enum st step_enter(enum call c, struct err *e);
/* The call has come back with st: what the caller learns. */
MUST enum st step_leave(enum call c, enum st st, struct err *e);
void step_records(uint32_t n); /* so many were polled: their work takes time later */

/* ---- sim_broker.c, sim_store.c ---- */

extern const struct broker sim_broker;
extern const struct store sim_store;
void map_copy(void *to, void *from); /* of store_memory; to is empty */

/* ---- sim_watch.c ---- */

void watch_begin(void);
void watch_committed(void); /* a transaction has been committed, or ended by others */
void watch_step(const struct node *n);
/* Reads back what the job has left. */
void watch_end(struct job_end *end);
void watch_recreated(void); /* from now on nothing more may be learned */
bool watch_under_way(void); /* every partition has learned something, and none is done */
void watch_close(void);
void watch_print(FILE *out); /* slots and workers as they are */

#endif
