/* job_keys.h: the keys of a job file as tables: for job.c, which reads by them, and job_keys.c,
 * which prints them. */
#ifndef MILLRACE_JOB_KEYS_H
#define MILLRACE_JOB_KEYS_H

#include "config/job.h"

enum { JOB_KEYS_MAX = 64 };

/* Enumerations are read into words of their own and then turned into the job's flags. */
struct words {
    uint32_t bad_to, gap, recreated, device, backend;
};

struct special { /* keys that are not one scalar of a plain type */
    const char *path, *def, *what;
};

/* Of struct job, where `bytes` is not 0, else of struct words. Type 0: a trigger. End with {0}. */
extern const struct opt job_keys[];
extern const struct special job_specials[];
extern const char *const job_device_words[], *const job_backend_words[];
extern const uint32_t job_keys_n, job_specials_n; /* without the end */

#endif
