/* clock_jumps.c: linked into a trainer, the system clock is $CLOCK_JUMPS seconds wrong: a list, of
 * which the next counts every 700 ms, over and over. Time that only runs on (CLOCK_MONOTONIC) is
 * left alone. What waits until a time of day wakes when the wrong clock says so, as it would where
 * an operator sets it: these functions stand before the C library's for all libraries. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { EACH_MS = 700, LOOK_MS = 20, JUMPS_MAX = 16 };

static int64_t jump_s[JUMPS_MAX];
static int jumps;
static int (*next_pthread)(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
static int (*next_c11)(cnd_t *c, mtx_t *m, const struct timespec *until);

/* Before any thread. */
__attribute__((constructor)) static void read_jumps(void)
{
    const char *text = getenv("CLOCK_JUMPS");
    char *end;

    *(void **)&next_pthread = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    *(void **)&next_c11 = dlsym(RTLD_NEXT, "cnd_timedwait");
    while (text && *text && jumps < JUMPS_MAX) {
        jump_s[jumps++] = strtoll(text, &end, 10);
        text = *end == ',' ? end + 1 : NULL;
    }
}

static struct timespec right(clockid_t clock)
{
    struct timespec t = {0};

    syscall(SYS_clock_gettime, clock, &t);
    return t;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    struct timespec on = right(CLOCK_MONOTONIC);

    if (syscall(SYS_clock_gettime, clock, t))
        return -1;
    if (jumps && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        t->tv_sec += jump_s[(on.tv_sec * 1000 + on.tv_nsec / 1000000) / EACH_MS % jumps];
    return 0;
}

int timespec_get(struct timespec *t, int base)
{
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, t) ? base : 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec t;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *tv = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* False: the wrong clock says that it is over. Else *until: a short while from now by the right
 * clock. */
static bool waits_on(const struct timespec *end, struct timespec *until)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (!later(end, &now))
        return false;
    *until = right(CLOCK_REALTIME);
    until->tv_nsec += LOOK_MS * 1000000;
    until->tv_sec += until->tv_nsec / 1000000000;
    until->tv_nsec %= 1000000000;
    return true;
}

int pthread_cond_timedwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m,
                           const struct timespec *restrict end)
{
    struct timespec until;
    int got = ETIMEDOUT;

    while (got == ETIMEDOUT && waits_on(end, &until))
        got = next_pthread(c, m, &until);
    return got;
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict end)
{
    struct timespec until;
    int got = thrd_timedout;

    while (got == thrd_timedout && waits_on(end, &until))
        got = next_c11(c, m, &until);
    return got;
}
