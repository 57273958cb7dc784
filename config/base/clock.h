/* clock.h: the two clocks. Nothing that shapes state bytes may depend on either. Thread: any. */
#ifndef MILLRACE_CLOCK_H
#define MILLRACE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_us(void); /* microseconds since some fixed point; never goes back */
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC; may jump */

#endif
