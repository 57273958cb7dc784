/* cpu.h: what the CPU back ends share; included by them alone.
 *
 * Memory calls, element-wise kernels, random numbers and row moves are the same on every CPU back end, and stand
 * here once under the prefix cpu_. The operations whose definition is ref's, and which another back end
 * takes over unchanged, are named ref_ (ref.c). `self` is not used by any of them. */
#ifndef MILLRACE_CPU_H
#define MILLRACE_CPU_H

#include "algos/compute/compute.h"

/* One binary for every x86-64: hot functions are compiled for three levels and chosen at load. Without contraction
 * and with lanes that do not meet, the levels give the same bits. clang before 16 and sanitizers (their
 * start-up code is not there yet when a resolver runs) get the plain function. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MR_CLONES
#endif

void cpu_ew(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
            const float *prm);

#endif
