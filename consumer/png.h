/* png.h: a grey picture as a PNG file (8 bits, no interlace). Source: W3C PNG, second edition.
 * Thread: any. Errors: ST_BAD_CONFIG: the file; ST_FATAL: no memory. */
#ifndef MILLRACE_PNG_H
#define MILLRACE_PNG_H

#include "config/base/status.h"

#include <stdint.h>

/* grey[height, width], row-major, 0: black */
MUST enum st png_write(const char *path, const uint8_t *grey, uint32_t width, uint32_t height,
                       struct err *e);

#endif
