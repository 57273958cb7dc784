/* memory.cu: device memory and copies; see device.h.
 *
 * put() copies to pinned memory and returns; the copy to the device runs on its own stream, after
 * the kernels that were the last to touch that buffer, and the first kernel that touches it later
 * waits for the copy. "After the kernels of a call" is an event of arith, a mark; one is recorded
 * at every put or get, if there were calls since the last: so with two buffers filled in turn, the
 * one that is filled now was last used before the mark of the put before, and its copy does not
 * wait for the kernels that work on the other. The oldest mark that is late enough is waited for;
 * of marks and pieces that are overwritten in their rings, a later one, which is safe.
 *
 * put() waits only when PIECES pieces, 32 MiB, are under way; get() and sync() wait. The first
 * error is kept until sync(); after it, results are garbage. */
#include "algos/compute/cuda/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(PIECES >= 2 && MARKS >= 2, "two buffers take turns");

static bool keep(struct cuda *s, const char *what, const char *why)
{
    if (!*s->error)
        snprintf(s->error, sizeof s->error, "%.120s: %.120s", what, why);
    return false;
}

bool passed(struct cuda *s, cudaError_t e, const char *what)
{
    return e == cudaSuccess || keep(s, what, cudaGetErrorString(e));
}

bool passed(struct cuda *s, cublasStatus_t e, const char *what)
{
    return e == CUBLAS_STATUS_SUCCESS || keep(s, what, cublasGetStatusString(e));
}

/* The number of buffers that begin at p or before. */
static size_t buffers_up_to(const struct cuda *s, const void *p)
{
    size_t lo = 0, hi = s->buffers_n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (s->buffers[mid].p <= (const char *)p)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Whoever passes an address of host memory to an operation is stopped here. */
static struct buffer *buffer_of(struct cuda *s, const void *p)
{
    size_t n = buffers_up_to(s, p);
    struct buffer *b = s->buffers + n - 1;

    CHECK(n > 0 && (const char *)p <= b->p + b->bytes);
    return b;
}

void use(struct cuda *s, std::initializer_list<const void *> operands)
{
    s->call++;
    for (const void *p : operands) {
        struct buffer *b = p ? buffer_of(s, p) : NULL;

        if (b && b->filled > s->waited) {
            RUN(s, cudaStreamWaitEvent(s->arith, s->piece[b->filled % PIECES].done, 0));
            s->waited = b->filled;
        }
        if (b)
            b->used = s->call;
    }
}

/* The copies from here on come after the kernels that have touched b. */
static void after_use(struct cuda *s, const struct buffer *b)
{
    uint64_t m = s->marks;

    if (m == 0 || s->mark[m % MARKS].call < s->call) {
        m = ++s->marks;
        s->mark[m % MARKS].call = s->call;
        RUN(s, cudaEventRecord(s->mark[m % MARKS].reached, s->arith));
    }
    if (b->used <= s->behind)
        return;
    while (m > 1 && s->marks - (m - 1) < MARKS && s->mark[(m - 1) % MARKS].call >= b->used)
        m--;
    RUN(s, cudaStreamWaitEvent(s->copy, s->mark[m % MARKS].reached, 0));
    s->behind = s->mark[m % MARKS].call;
}

/* Number of the next piece. */
static uint64_t next_piece(struct cuda *s, void *to, const void *from, size_t bytes,
                           cudaMemcpyKind way)
{
    uint64_t n = ++s->pieces;

    RUN(s, cudaMemcpyAsync(to, from, bytes, way, s->copy));
    RUN(s, cudaEventRecord(s->piece[n % PIECES].done, s->copy));
    return n;
}

void cuda_put(void *self, void *dev, const void *host, size_t bytes)
{
    struct cuda *s = (struct cuda *)self;
    struct buffer *b;

    if (bytes == 0)
        return;
    b = buffer_of(s, dev);
    CHECK((char *)dev + bytes <= b->p + b->bytes);
    after_use(s, b);
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        size_t n = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        struct piece *pinned = &s->piece[(s->pieces + 1) % PIECES];

        RUN(s, cudaEventSynchronize(pinned->done)); /* what it carried the last time is there */
        memcpy(pinned->p, (const char *)host + at, n);
        b->filled = next_piece(s, (char *)dev + at, pinned->p, n, cudaMemcpyHostToDevice);
    }
}

void cuda_get(void *self, void *host, const void *dev, size_t bytes)
{
    struct cuda *s = (struct cuda *)self;
    struct buffer *b;
    size_t asked = 0;

    if (bytes == 0)
        return;
    b = buffer_of(s, dev);
    CHECK((const char *)dev + bytes <= b->p + b->bytes);
    after_use(s, b);
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        uint64_t first = s->pieces - (asked - at + PIECE_BYTES - 1) / PIECE_BYTES + 1;
        size_t n = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;

        for (; asked < bytes && asked - at < PIECES * PIECE_BYTES; asked += PIECE_BYTES)
            next_piece(s, s->piece[(s->pieces + 1) % PIECES].p, (const char *)dev + asked,
                       bytes - asked < PIECE_BYTES ? bytes - asked : PIECE_BYTES,
                       cudaMemcpyDeviceToHost);
        RUN(s, cudaEventSynchronize(s->piece[first % PIECES].done));
        memcpy((char *)host + at, s->piece[first % PIECES].p, n);
    }
}

enum st cuda_sync(void *self)
{
    struct cuda *s = (struct cuda *)self;

    RUN(s, cudaStreamSynchronize(s->copy));
    RUN(s, cudaStreamSynchronize(s->arith));
    return *s->error ? ST_FATAL : ST_OK;
}

static bool room_for_one_more(struct cuda *s)
{
    size_t room = s->buffers_room ? 2 * s->buffers_room : 64;
    void *p;

    if (s->buffers_n < s->buffers_room)
        return true;
    p = realloc(s->buffers, room * sizeof *s->buffers);
    if (!p)
        return false;
    s->buffers = (struct buffer *)p;
    s->buffers_room = room;
    return true;
}

/* Pages of a device are there from the start, touched or not. */
void *cuda_alloc(void *self, size_t bytes)
{
    struct cuda *s = (struct cuda *)self;
    struct buffer b = {NULL, bytes, 0, 0};
    void *p;
    size_t at;

    if (!room_for_one_more(s) || cudaMalloc(&p, bytes ? bytes : 1) != cudaSuccess) {
        (void)cudaGetLastError(); /* else a later launch would report it */
        return NULL;
    }
    RUN(s, cudaMemsetAsync(p, 0, bytes ? bytes : 1, s->arith));
    RUN(s, cudaStreamSynchronize(s->arith));
    at = buffers_up_to(s, p);
    memmove(s->buffers + at + 1, s->buffers + at, (s->buffers_n - at) * sizeof *s->buffers);
    b.p = (char *)p;
    s->buffers[at] = b;
    s->buffers_n++;
    return p;
}

void cuda_free(void *self, void *p)
{
    struct cuda *s = (struct cuda *)self;
    size_t at;

    if (!p)
        return;
    at = buffers_up_to(s, p) - 1;
    CHECK(at < s->buffers_n && s->buffers[at].p == p);
    (void)cuda_sync(s);
    RUN(s, cudaFree(p));
    s->buffers_n--;
    memmove(s->buffers + at, s->buffers + at + 1, (s->buffers_n - at) * sizeof *s->buffers);
}
