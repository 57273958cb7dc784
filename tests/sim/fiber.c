#include "tests/sim/fiber.h"

#include "config/base/status.h"

#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#endif
#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#ifndef FIBER_STACK /* a sanitizer goes over all of it at every switch */
#define FIBER_STACK (2 << 20)
#endif

enum { STACK_BYTES = FIBER_STACK, GUARD_BYTES = 4096 };

static struct {
    ucontext_t at;
    struct fiber *running;
    void *fake, *tsan;
    const void *stack;
    size_t stack_bytes;
} outside;

/* Before a switch; to NULL: outside. ends: whoever switches never comes back. */
static void leaving(struct fiber *from, struct fiber *to, bool ends)
{
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(ends   ? NULL
                                   : from ? &from->fake
                                          : &outside.fake,
                                   to ? (const char *)to->stack + GUARD_BYTES : outside.stack,
                                   to ? STACK_BYTES - GUARD_BYTES : outside.stack_bytes);
#endif
#ifdef FIBER_TSAN
    __tsan_switch_to_fiber(to ? to->tsan : outside.tsan, 0);
#endif
    (void)from, (void)to, (void)ends;
}

/* After a switch, on the side that runs now. */
static void arrived(struct fiber *at, bool first)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(first ? NULL
                                    : at  ? at->fake
                                          : outside.fake,
                                    at ? &outside.stack : NULL, at ? &outside.stack_bytes : NULL);
#endif
    (void)at, (void)first;
}

static void entry(void)
{
    struct fiber *f = outside.running;

    arrived(f, true);
    f->run(f->arg);
    f->over = true;
    leaving(f, NULL, true);
    setcontext(&outside.at);
}

void fiber_start(struct fiber *f, void (*run)(void *arg), void *arg)
{
    if (!f->stack) {
        f->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(f->stack != MAP_FAILED && !mprotect(f->stack, GUARD_BYTES, PROT_NONE));
#ifdef FIBER_TSAN
        f->tsan = __tsan_create_fiber(0);
#endif
    }
    f->run = run;
    f->arg = arg;
    f->over = false;
    CHECK(!getcontext(&f->at));
    f->at.uc_stack.ss_sp = (char *)f->stack + GUARD_BYTES;
    f->at.uc_stack.ss_size = STACK_BYTES - GUARD_BYTES;
    f->at.uc_link = NULL;
    makecontext(&f->at, entry, 0);
}

void fiber_resume(struct fiber *f)
{
    CHECK(!f->over && !outside.running);
    outside.running = f;
#ifdef FIBER_TSAN
    outside.tsan = __tsan_get_current_fiber();
#endif
    leaving(NULL, f, false);
    CHECK(!swapcontext(&outside.at, &f->at));
    arrived(NULL, false);
    outside.running = NULL;
}

void fiber_yield(void)
{
    struct fiber *f = outside.running;

    CHECK(f);
    leaving(f, NULL, false);
    CHECK(!swapcontext(&f->at, &outside.at));
    arrived(f, false);
}

void fiber_free(struct fiber *f)
{
    if (!f->stack)
        return;
    CHECK(f->over);
#ifdef FIBER_TSAN
    __tsan_destroy_fiber(f->tsan);
#endif
    munmap(f->stack, STACK_BYTES);
    *f = (struct fiber){.over = true};
}
