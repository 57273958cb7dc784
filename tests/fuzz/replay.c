/* replay.c: runs a fuzz target once over each file of its corpus, in every ordinary build: targets
 * go on compiling, and what once failed is tried again. */
#include "config/base/status.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    long size;

    CHECK(f && !fseek(f, 0, SEEK_END) && (size = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET));
    data = malloc((size_t)size + 1);
    CHECK(data && fread(data, 1, (size_t)size, f) == (size_t)size);
    fclose(f);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
}

int main(int argc, char **argv)
{
    uint8_t none = 0;
    struct dirent *entry;
    char path[4096];
    DIR *dir;
    int n = 0;

    LLVMFuzzerTestOneInput(&none, 0);
    for (dir = argc > 1 ? opendir(argv[1]) : NULL; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
            replay(path);
            n++;
        }
    if (dir)
        closedir(dir);
    printf("%d inputs\n", n);
    return 0;
}
