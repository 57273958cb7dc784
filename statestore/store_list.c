#include "statestore/store.h"

#include <string.h>

const struct store *const store_list[] = {&store_rocksdb, &store_memory};
const uint32_t store_count = sizeof store_list / sizeof *store_list;

const struct store *store_find(const char *name)
{
    for (uint32_t i = 0; i < store_count; i++) {
        if (!strcmp(store_list[i]->name, name))
            return store_list[i];
    }
    return NULL;
}
