/* kill_at.c: linked into a trainer, it kills it with SIGKILL at an instant that does not depend on
 * the machine. What a process leaves on disk changes with its writes and syncs alone, so those are
 * the clock: each write of a file and each sync is two instants, one at its start (half of a write
 * is done by then) and one at its end.
 *
 * $KILL_AT: the instant, from 1, counted from the program's start; $KILL_AT_TRAINING: counted from
 * the first batch. None: it lives. $KILL_AT_COUNT: a file that takes both counts at exit: instants
 * before the first batch, and after it. The names below are the C library's own, and a program's
 * come first; the linker puts __wrap_update() in the place of update(). */
#include "consumer/worker.h"

#include <sys/stat.h>
#include <sys/syscall.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { START, TRAINING, STAGES };

static atomic_long instants[STAGES];
static atomic_int stage;
static long kill_at[STAGES];

enum st __real_update(struct worker *w, struct partition *p, const struct rows *r);
enum st __wrap_update(struct worker *w, struct partition *p, const struct rows *r);

enum st __wrap_update(struct worker *w, struct partition *p, const struct rows *r)
{
    atomic_store(&stage, TRAINING);
    return __real_update(w, p, r);
}

static long number(const char *name)
{
    const char *text = getenv(name);

    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    kill_at[START] = number("KILL_AT");
    kill_at[TRAINING] = number("KILL_AT_TRAINING");
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("KILL_AT_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;

    if (!f)
        return;
    fprintf(f, "%ld %ld\n", atomic_load(&instants[START]), atomic_load(&instants[TRAINING]));
    fclose(f);
}

static bool due(void)
{
    long training =
        atomic_load(&stage) == TRAINING ? atomic_fetch_add(&instants[TRAINING], 1) + 1 : 0;
    long start = atomic_load(&instants[START]) + training;

    if (!training)
        start = atomic_fetch_add(&instants[START], 1) + 1;
    return start == kill_at[START] || (training && training == kill_at[TRAINING]);
}

static void step(void)
{
    if (due())
        kill(getpid(), SIGKILL);
}

static bool is_file(int fd)
{
    struct stat st;

    return !fstat(fd, &st) && S_ISREG(st.st_mode);
}

ssize_t write(int fd, const void *p, size_t n)
{
    ssize_t done;

    if (!is_file(fd))
        return syscall(SYS_write, fd, p, n);
    if (due()) {
        syscall(SYS_write, fd, p, n / 2);
        kill(getpid(), SIGKILL);
    }
    done = syscall(SYS_write, fd, p, n);
    step();
    return done;
}

int fsync(int fd)
{
    int done;

    step();
    done = (int)syscall(SYS_fsync, fd);
    step();
    return done;
}

int fdatasync(int fd)
{
    int done;

    step();
    done = (int)syscall(SYS_fdatasync, fd);
    step();
    return done;
}
