/* broker_suite.h: the contract of consumer/broker.h as cases that every broker passes.
 *
 * A test program describes how its broker is opened and what it can do, and runs the suite:
 *
 *     static const struct broker_fixture fixture = {.table = &broker_local, .conf = conf};
 *     return broker_suite(&fixture, argc > 1 ? argv[1] : NULL);
 *
 * Each case opens the broker anew on the same place, makes topics with names of its own, and closes
 * all it opened. Thread: one. */
#ifndef MILLRACE_BROKER_SUITE_H
#define MILLRACE_BROKER_SUITE_H

#include "consumer/broker.h"

struct broker_fixture {
    const struct broker *table;
    /* Fills *c for opening the broker; its props, if any, live until the case ends. */
    void (*conf)(struct broker_conf *c);
    /* Optional. Makes the records of a partition before an offset unreadable, as retention
     * would. */
    void (*trim)(const char *topic, int32_t partition, int64_t before);
    /* Members share a group's partitions, and one that does not poll loses its own within seconds:
     * conf sets session.timeout.ms 2000 and max.poll.interval.ms 3000. */
    bool members;
};

/* Runs the cases whose names match the pattern (cmocka's wildcards; NULL: all). Returns the number
 * that failed. */
int broker_suite(const struct broker_fixture *f, const char *pattern);

#endif
