/* throttle.c: linked into a trainer, it learns at most $ROWS_PER_S rows a second, whatever the
 * machine can do: workers of uneven speed, for tests. "2000-9000": another speed between the two
 * every half second. The linker puts __wrap_update() in the place of update(). */
#include "config/base/clock.h"
#include "consumer/worker.h"

#include <stdlib.h>
#include <unistd.h>

enum { HOLD_US = 500000 };

enum st __real_update(struct worker *w, struct partition *p, const struct rows *r);
enum st __wrap_update(struct worker *w, struct partition *p, const struct rows *r);

static int64_t rows_per_s(int64_t now)
{
    static int64_t rate, until_us;
    static unsigned seed;
    const char *text = getenv("ROWS_PER_S");
    char *to;
    int64_t low, high;

    if (!text || now < until_us)
        return rate;
    seed = seed ? seed : (unsigned)getpid();
    low = strtoll(text, &to, 10);
    high = *to == '-' ? strtoll(to + 1, NULL, 10) : low;
    rate = high > low ? low + rand_r(&seed) % (high - low) : low;
    until_us = now + HOLD_US;
    return rate;
}

enum st __wrap_update(struct worker *w, struct partition *p, const struct rows *r)
{
    static int64_t next_us;
    int64_t now = clock_mono_us(), wait = next_us > now ? next_us - now : 0, rate = rows_per_s(now);

    if (wait)
        usleep((useconds_t)wait);
    if (rate > 0)
        next_us = now + wait + (int64_t)r->n * 1000000 / rate;
    return __real_update(w, p, r);
}
