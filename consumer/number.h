/* number.h: decimal text to numbers, the same in every locale.
 *
 * [+-] digits [. digits] [e [+-] digits], or inf, infinity, nan in any case: nothing before or
 * after, no hexadecimal. The result is the nearest number, ties to even, as strtod's; text of more
 * than NUMBER_TEXT_MAX bytes is none.
 * Short numbers (19 digits, small exponents) take no library call.
 *
 * Thread: any. Allocation: none. */
#ifndef MILLRACE_NUMBER_H
#define MILLRACE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NUMBER_TEXT_MAX = 255 };

/* The whole of p[n] is a number: *out, which may be infinite or NaN, and true. */
bool number_f64(const uint8_t *p, size_t n, double *out);
bool number_f32(const uint8_t *p, size_t n, float *out);

/* Digits only, at most max. */
bool number_u32(const uint8_t *p, size_t n, uint32_t max, uint32_t *out);

#endif
