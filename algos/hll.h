/* hll.h: how many distinct values are there? HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007).
 *
 * Of the hash of each value the first p bits choose a register, which keeps the largest position of
 * the first 1 among the others. Registers of two streams merge by maximum, and a value seen again
 * changes nothing. Standard error 1.04 / sqrt(2^p): 2.3 % at p = 11.
 *
 * The estimate is Ertl's (New cardinality estimation algorithms for HyperLogLog sketches,
 * arXiv 1702.01284, algorithm 6): one formula, without bias from a handful of values to billions,
 * where the original needs a correction for small numbers and is up to several per cent off where
 * the two meet.
 *
 * The hash is of the float's bits alone, so that slots of all partitions and jobs agree; -0 is 0's.
 * Thread: any. */
#ifndef MILLRACE_HLL_H
#define MILLRACE_HLL_H

#include <stdbool.h>
#include <stdint.h>

enum { HLL_BITS_MIN = 4, HLL_BITS_MAX = 16 };

void hll_add(uint8_t *reg, uint32_t p, float v); /* reg[2^p], zero at first */
bool hll_intact(const uint8_t *reg, uint32_t p); /* no register beyond the hash's bits? */
double hll_estimate(const uint8_t *reg, uint32_t p);

#endif
