/* clones.h: one binary for every x86-64: hot functions are compiled for three levels and chosen at
 * load. Without contraction and with every sum in a written order, the levels give the same bits.
 * clang before 16 has no such attribute for C, and the sanitizers' start-up code is not there
 * yet when a resolver runs. */
#ifndef MILLRACE_CLONES_H
#define MILLRACE_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MR_CLONES
#endif

#endif
