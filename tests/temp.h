/* temp.h: a folder of this run for tests that write files: temp_begin(), temp_path("name")...,
 * temp_end(). Thread: one. */
#ifndef MILLRACE_TEMP_H
#define MILLRACE_TEMP_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static char temp_root[64];

static inline bool temp_begin(void)
{
    snprintf(temp_root, sizeof temp_root, "/tmp/millrace-test-XXXXXX");
    return mkdtemp(temp_root) != NULL;
}

/* One of four buffers that take turns. */
static inline const char *temp_path(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", temp_root, name);
    return p;
}

static inline int temp_remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st;
    (void)kind;
    (void)f;
    return remove(path);
}

/* Whole tree; mounts in it are left alone. */
static inline void temp_remove(const char *dir)
{
    nftw(dir, temp_remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static inline void temp_end(void)
{
    temp_remove(temp_root);
}

#endif
