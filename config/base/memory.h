/* memory.h: one heap that keeps what it has, so that memory is what the start-up line says.
 *
 * Records are allocated by librdkafka's threads and freed by ours. glibc gives every thread a heap:
 * what one returns, others cannot have, and memory grew by 2 to 13 % from the millionth row to the
 * ten-millionth. With one heap of glibc's both sides wait for one lock at every record. jemalloc
 * hands them over by the hundred: training was 1.4 times as fast (tests/bench/ingest.py, both cores
 * busy). A heap still grows whenever a queue or a write buffer happens to be fuller than ever
 * before; so that room is taken at the start.
 *
 * Thread: any. */
#ifndef MILLRACE_MEMORY_H
#define MILLRACE_MEMORY_H

#include <stdint.h>

/* First of all in main(). Both do nothing in a program that is not linked with jemalloc. */
void memory_one_heap(void);
/* Grows the heap, what is in use now included, to so many bytes, and touches them. Too little
 * memory is no error here: it is one where it is needed. */
void memory_reserve(uint64_t heap);

#endif
