/* support_local.h: a local broker over a store in memory that outlives it, with a clock of its own
 * and writes that can be made to fail. For tests of what only the local broker does; the contract
 * is in tests/conform. */
#ifndef MILLRACE_SUPPORT_LOCAL_H
#define MILLRACE_SUPPORT_LOCAL_H

#include "consumer/broker_local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { SEEN_MAX = 4096, SEEN_TEXT = 24 };

struct seen { /* all data records of a partition */
    uint32_t n;
    int64_t offset[SEEN_MAX], eof;                             /* eof: the last end told */
    char key[SEEN_MAX][SEEN_TEXT], value[SEEN_MAX][SEEN_TEXT]; /* "-": null */
};

extern struct local world;      /* the broker */
extern int64_t world_ms;        /* its clocks */
extern uint32_t writes_left;    /* that many writes succeed; UINT32_MAX: all */
extern uint32_t unsynced;       /* writes since the last synced one */
extern bool failed_write_stays; /* the write that fails is there nevertheless */
extern struct err err;
extern const struct broker *const t;

#define OK(call) assert_ok((call), #call, __FILE__, __LINE__)
void assert_ok(enum st st, const char *call, const char *file, int line);

void world_new(void); /* an empty store */
void world_open(const struct props *props);
void world_close(void);
void world_end(void);    /* closes and forgets the store */
void *world_store(void); /* what is kept while the broker is closed, for store_memory's calls */

struct bytes text(const char *s); /* NULL: null */
void make_topic(const char *name, uint32_t partitions, const char *policy);
void *producer(const char *id, const char *topic);
void *reader(const char *topic, bool uncommitted);
void *member(const char *topic, const char *group, const char *instance);
void done_producer(void *p);
void done_consumer(void *c);
void put(void *p, const char *key, const char *value); /* partition 0 */
/* One transaction with one record in partition 0. */
void transaction(void *p, const char *key, const char *value, bool commit);
/* Reads partition 0 from `from` to its end; step: records of one poll. */
void read_from(const char *topic, bool uncommitted, int64_t from, uint32_t step, struct seen *s);

#endif
