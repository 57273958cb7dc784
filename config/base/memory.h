/* memory.h: one heap that keeps what it has, so that memory is what the start-up line says.
 *
 * glibc gives every thread a heap of its own: what librdkafka's or RocksDB's threads return, others
 * cannot have, and memory grows with the number of records read: measured, by 2 to 13 % from the
 * millionth row to the ten-millionth. With one heap it still grows by 1 to 8 %, whenever a queue or
 * a write buffer happens to be fuller than ever before; so that room is taken at the start.
 *
 * Thread: any. */
#ifndef MILLRACE_MEMORY_H
#define MILLRACE_MEMORY_H

#include <stdint.h>

/* First of all in main(). Does nothing with a C library other than glibc. */
void memory_one_heap(void);
/* Grows the heap, what is in use now included, to so many bytes, and touches them. Too little
 * memory is no error here: it is one where it is needed. */
void memory_reserve(uint64_t heap);

#endif
