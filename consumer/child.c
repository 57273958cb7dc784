#include "consumer/child.h"

#include "config/base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 32, LINE_ROOM = 4096, WAIT_US_MAX = 1000000 };

const char *child_program(void)
{
    return program_invocation_name;
}

static void show_command(const struct child *c)
{
    printf("$ %s", child_program());
    for (const char *const *w = c->words; *w; w++)
        printf(strpbrk(*w, " '\"$&();<>|*?\\") ? " '%s'" : " %s", *w);
    putchar('\n');
    fflush(stdout);
}

static _Noreturn void become(const struct child *c, int from, int to)
{
    char *argv[WORDS_MAX + 2] = {program_invocation_name};

    for (size_t i = 0; i < WORDS_MAX && c->words[i]; i++)
        argv[i + 1] = (char *)(uintptr_t)c->words[i];
    if (from >= 0 && dup2(from, to) < 0)
        _exit(127);
    execv("/proc/self/exe", argv);
    _exit(127);
}

/* A line comes when work is done and saved: half as long after it as it took, more work is under
 * way. */
static bool kill_amid(pid_t pid, int64_t took_us)
{
    usleep((useconds_t)(took_us < WAIT_US_MAX ? took_us / 2 : WAIT_US_MAX / 2));
    return kill(pid, SIGKILL) == 0;
}

/* Its stdout into text, or its stderr until kill_at says so; both are shown as they come. */
static void relay(struct child *c, pid_t pid, FILE *in)
{
    FILE *out = c->kill_at ? stderr : stdout;
    int64_t before = clock_mono_us();
    char line[LINE_ROOM];
    size_t n = 0;

    while (fgets(line, sizeof line, in)) {
        int64_t now = clock_mono_us();

        fputs(line, out);
        fflush(out);
        if (c->kill_at && !c->killed && c->kill_at(line))
            c->killed = kill_amid(pid, now - before);
        if (c->text && n < c->room)
            n += (size_t)snprintf(c->text + n, c->room - n, "%s", line);
        before = now;
    }
}

enum st child_run(struct child *c, int *code, struct err *e)
{
    int ends[2] = {-1, -1}, status = 0;
    FILE *in = NULL;
    pid_t pid;

    CHECK(!c->text || !c->kill_at);
    if (c->text)
        *c->text = 0;
    show_command(c);
    if ((c->text || c->kill_at) && (pipe(ends) || !(in = fdopen(ends[0], "r"))))
        return fail(e, ST_FATAL, "a pipe cannot be made: %s", strerror(errno));
    pid = fork();
    if (pid == 0) {
        if (in)
            close(ends[0]);
        become(c, ends[1], c->kill_at ? STDERR_FILENO : STDOUT_FILENO);
    }
    if (in)
        close(ends[1]);
    if (pid > 0 && in)
        relay(c, pid, in);
    if (in)
        fclose(in);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return fail(e, ST_FATAL, "%s cannot be run: %s", c->words[0], strerror(errno));
    *code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    c->killed = c->killed && WIFSIGNALED(status);
    return ST_OK;
}
