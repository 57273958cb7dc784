#include "consumer/avro_encode.h"

#include "config/base/status.h"

#include <stdlib.h>

uint8_t *encode_grow(struct avro_out *o, size_t n)
{
    size_t room = (o->n + n) * 2;
    uint8_t *p;

    CHECK(o->max && o->n <= o->room);
    if (room > o->max)
        room = o->max;
    if (o->full || n > o->max || o->n + n > room) {
        o->full = true;
        return NULL;
    }
    p = realloc(o->p, room);
    if (!p) {
        o->full = true;
        return NULL;
    }
    o->p = p;
    o->room = room;
    return p + o->n;
}

void encode_fini(struct avro_out *o)
{
    free(o->p);
    memset(o, 0, sizeof *o);
}
