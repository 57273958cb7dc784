/* tensors_device.c: tensors in memory that is not the host's: what lies there, and its image in the
 * block. */
#include "algos/tensors.h"

enum { ALIGN = 64 };

uint64_t tensors_device_bytes(const struct tensors *ts)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < ts->n; i++)
        if (!(ts->t[i].d.flags & T_HOST))
            at += (ts->t[i].bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

bool tensor_on_device(const struct tensors *ts, uint32_t i)
{
    return ts->c && ts->t[i].bytes && !(ts->t[i].d.flags & T_HOST);
}

void tensors_point(struct tensors *ts)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < ts->n; i++)
        if (tensor_on_device(ts, i)) {
            ts->t[i].p = ts->device + at;
            at += (ts->t[i].bytes + ALIGN - 1) / ALIGN * ALIGN;
        }
}

static void fetch(const struct tensors *ts, const struct tensor *t, uint64_t from, uint64_t to)
{
    if (to > from)
        ts->c->get(ts->cs, ts->base + t->offset + from, t->u8 + from, to - from);
}

/* The chunks of it that are marked, consecutive ones at once. */
static void fetch_marked(const struct tensors *ts, const struct tensor *t)
{
    const uint64_t first = t->offset >> ts->chunk_shift;
    const uint64_t last = (t->offset + t->bytes - 1) >> ts->chunk_shift;
    uint64_t from = 0, to = 0; /* what is to come, of the tensor */

    for (uint64_t j = first; j <= last; j++) {
        uint64_t lo = j << ts->chunk_shift, hi = (j + 1) << ts->chunk_shift;

        if (!(ts->dirty[j >> 6] >> (j & 63) & 1))
            continue;
        lo = lo > t->offset ? lo - t->offset : 0;
        hi = hi - t->offset < t->bytes ? hi - t->offset : t->bytes;
        if (lo != to) {
            fetch(ts, t, from, to);
            from = lo;
        }
        to = hi;
    }
    fetch(ts, t, from, to);
}

enum st tensors_fetch(const struct tensors *ts, struct err *e)
{
    for (uint32_t i = 0; i < ts->n; i++) {
        const struct tensor *t = &ts->t[i];

        if (!tensor_on_device(ts, i))
            continue;
        if (t->d.flags & T_SPARSE)
            fetch_marked(ts, t);
        else
            fetch(ts, t, 0, t->bytes);
    }
    if (!ts->c || ts->c->sync(ts->cs) == ST_OK)
        return ST_OK;
    return fail(e, ST_FATAL, "%s: the device failed; the last checkpoint stands", ts->c->name);
}

void tensors_send(struct tensors *ts)
{
    for (uint32_t i = 0; i < ts->n; i++)
        if (tensor_on_device(ts, i))
            ts->c->put(ts->cs, ts->t[i].p, ts->base + ts->t[i].offset, ts->t[i].bytes);
}

struct tensors tensors_host(const struct tensors *ts)
{
    struct tensors host = *ts;

    host.c = NULL;
    host.device = NULL;
    for (uint32_t i = 0; ts->c && i < ts->n; i++)
        host.t[i].p = host.base + host.t[i].offset;
    return host;
}
