/* throttle.c: linked into a trainer, it learns at most $ROWS_PER_S rows a second, whatever the
 * machine can do: workers of uneven speed, for tests. The linker puts __wrap_update() in the place
 * of update(). */
#include "config/base/clock.h"
#include "consumer/worker.h"

#include <stdlib.h>
#include <unistd.h>

enum st __real_update(struct worker *w, struct partition *p, const struct rows *r);
enum st __wrap_update(struct worker *w, struct partition *p, const struct rows *r);

enum st __wrap_update(struct worker *w, struct partition *p, const struct rows *r)
{
    static int64_t next_us;
    int64_t now = clock_mono_us(), wait = next_us > now ? next_us - now : 0;
    const char *rate = getenv("ROWS_PER_S");

    if (wait)
        usleep((useconds_t)wait);
    if (rate && atol(rate) > 0)
        next_us = now + wait + (int64_t)r->n * 1000000 / atol(rate);
    return __real_update(w, p, r);
}
