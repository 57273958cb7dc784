/* kll.h: quantiles of a stream in fixed memory, mergeable (Karnin, Lang, Liberty, Optimal quantile
 * approximation in streams, FOCS 2016).
 *
 * A sketch is a stack of sorted lists; a value on level h stands for 2^h values. Where the lists
 * together outgrow the memory, the lowest that is over its own capacity is compacted: every second
 * value of it, from the first or from the second as a coin says, goes one level up, the others are
 * dropped. That changes the rank of any value by at most 2^h, one way or the other with equal
 * chance, so errors cancel. Capacities fall by 2/3 a level from the top, ceil(k (2/3)^depth) + 1:
 * memory is about 3 k values, the rank error about 1.65 % (two-sided, 99 of 100) at k = 200
 * whatever the length, and few values are kept as they are.
 *
 * Values come in sorted batches, not one by one: a batch is one list of level 0, compacted at once.
 * That is fewer coins, so less error, and merges of sorted lists in place of sorting.
 *
 * Merging adds the lists of two sketches level by level, and compacts.
 *
 * Coins: Philox, by (key, counter): the caller's key, the number of the compaction. Total weight is
 * kept exactly: of a list of odd length one value stays behind.
 *
 * Owner: the caller owns sketch and scratch, KLL_BUFFERS times kll_room() floats. Thread: any. */
#ifndef MILLRACE_KLL_H
#define MILLRACE_KLL_H

#include "algos/compute/philox.h"

#include <stdbool.h>
#include <stddef.h>

enum { KLL_LEVELS = 40 /* 2^40 k values */, KLL_BUFFERS = 5 };

struct kll {     /* all zero: empty */
    float *item; /* [kll_capacity(k)], level 0 first, each level ascending; zero behind the last */
    uint32_t *size;  /* [KLL_LEVELS] values of each level */
    uint64_t *coins; /* [1] compactions so far */
};

struct kll_by {         /* how sketches of one k are changed */
    uint32_t k, column; /* column: counts coins apart from those of others under the same key */
    struct philox_key key;
    float *scratch; /* [KLL_BUFFERS, room] */
    uint32_t room;
};

uint32_t kll_capacity(uint32_t k); /* values of a sketch */
/* Floats of one scratch buffer, for lists of up to `batch` values and merges. */
uint32_t kll_room(uint32_t k, uint32_t batch);

void kll_add(const struct kll_by *by, struct kll s, const float *sorted, uint32_t n);
void kll_merge(const struct kll_by *by, struct kll s, struct kll other);

/* Are these lists that kll_add() can have left: within their memory, each ascending? */
bool kll_intact(uint32_t k, struct kll s);

uint64_t kll_count(struct kll s); /* values of the stream */

/* All values in order into value[kll_capacity(k)], and into upto[] how many values of the stream
 * are at most so large (estimated). Returns their number; the last of upto is the exact count. */
uint32_t kll_read(struct kll s, float *value, double *upto);

/* Of what kll_read left: the least value that a share q of all is at most as large as; how many are
 * at most v. n > 0. */
float kll_quantile(const float *value, const double *upto, uint32_t n, double q);
double kll_rank(const float *value, const double *upto, uint32_t n, float v);

#endif
