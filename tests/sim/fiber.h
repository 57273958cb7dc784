/* fiber.h: a function with a stack of its own, which runs until it yields.
 *
 * One thread runs all fibers, one at a time; who resumes is outside of any fiber. Sanitizers are
 * told of every switch.
 *
 * Owner: zeroed memory of the caller; a stack is taken at the first start and kept for later ones,
 * until fiber_free. */
#ifndef MILLRACE_FIBER_H
#define MILLRACE_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

struct fiber {
    ucontext_t at;
    void *stack, *fake, *tsan;
    void (*run)(void *arg);
    void *arg;
    bool over; /* run has returned, or was never started */
};

void fiber_start(struct fiber *f, void (*run)(void *arg), void *arg); /* runs at the first resume */
void fiber_resume(struct fiber *f); /* until it yields or is over */
void fiber_yield(void);             /* of the one that runs */
void fiber_free(struct fiber *f);

#endif
