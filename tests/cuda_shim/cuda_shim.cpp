/* cuda_shim.cpp: a test aid; see cuda_runtime.h.
 *
 * A thread of a kernel runs on a fiber. Threads that meet no barrier run one after the other on the
 * same one; who reaches a barrier stays on its fiber until all have, and the others go on. */
#include <cuda_runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

extern "C" {
#include "tests/sim/fiber.h"
}

dim3 threadIdx, blockIdx, blockDim, gridDim;

struct shim_event {
    uint64_t recorded, reached;
};

struct task {
    std::function<void()> run; /* empty: waits for an event, or is one */
    shim_event *wait, *record;
    uint64_t number; /* of the event */
};

struct shim_stream {
    std::deque<task> tasks;
};

static const size_t PAGE = 4096, ALIGN = 256, BIG = 1 << 20;
static const unsigned WARP = 32;

static std::map<char *, size_t> memory, pinned; /* address, bytes */
static std::set<void *> fresh; /* big ones, zeroes that are not there: fast to protect */
static std::vector<shim_stream *> streams;
static cudaError_t broken;
static uint64_t seed = 1, drawn, fails_at, kernels;

static void stop(const char *why)
{
    fprintf(stderr, "cuda shim: %s\n", why);
    abort();
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);

    return v && *v ? strtoull(v, NULL, 10) : otherwise;
}

static size_t draw(size_t n)
{
    uint64_t x = (seed + ++drawn) * 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (size_t)((x ^ (x >> 31)) % n);
}

/* 0 .. n - 1, from anywhere on, forwards or backwards. */
struct order {
    size_t n, from;
    bool back;
    explicit order(size_t n_) : n(n_), from(draw(n_)), back(draw(2))
    {
    }
    size_t operator[](size_t i) const
    {
        size_t at = (from + i) % n;

        return back ? n - 1 - at : at;
    }
};

/* ---- device memory ---- */

static size_t whole_pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static char *first_page(char *p, size_t bytes)
{
    return p - (whole_pages(bytes) - bytes);
}

static void protect(int how)
{
    for (auto &m : memory)
        if (mprotect(first_page(m.first, m.second), whole_pages(m.second), how))
            stop("mprotect fails");
}

static bool lies_in(const std::map<char *, size_t> &in, const void *p, size_t bytes)
{
    auto next = in.upper_bound((char *)p);

    if (next == in.begin())
        return false;
    --next;
    return (const char *)p + bytes <= next->first + next->second;
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    size_t all = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    void *at;

    if (all < bytes || all > (size_t)1 << 40)
        return cudaErrorMemoryAllocation;
    at = mmap(NULL, whole_pages(all) + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
              -1, 0);
    if (at == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    *p = (char *)at + whole_pages(all) - all;
    memory[(char *)*p] = all;
    if (all < BIG) { /* what lies in new memory is not defined */
        protect(PROT_READ | PROT_WRITE);
        memset(*p, 0xa5, all);
        protect(PROT_NONE);
    } else {
        fresh.insert(*p);
    }
    return broken;
}

cudaError_t cudaFree(void *p)
{
    auto m = memory.find((char *)p);

    if (m == memory.end())
        return cudaErrorInvalidValue;
    munmap(first_page(m->first, m->second), whole_pages(m->second) + PAGE);
    memory.erase(m);
    fresh.erase(p);
    return broken;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    *p = malloc(bytes);
    pinned[(char *)*p] = bytes;
    return *p ? broken : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
    pinned.erase((char *)p);
    free(p);
    return cudaSuccess;
}

/* ---- streams ---- */

static bool ready(const shim_stream *s)
{
    const task *t = s->tasks.empty() ? NULL : &s->tasks.front();

    return t && (!t->wait || t->wait->reached >= t->number);
}

static void run_first(shim_stream *s)
{
    task t = std::move(s->tasks.front());

    s->tasks.pop_front();
    if (t.run && !broken)
        t.run();
    if (t.record && t.record->reached < t.number)
        t.record->reached = t.number;
}

/* One task of a stream that has one to run, drawn by chance. */
static bool run_any(void)
{
    std::vector<shim_stream *> able;

    for (shim_stream *s : streams)
        if (ready(s))
            able.push_back(s);
    if (able.empty())
        return false;
    run_first(able[draw(able.size())]);
    return true;
}

static cudaError_t settle(const std::function<bool()> &settled)
{
    if (settled())
        return broken;
    protect(PROT_READ | PROT_WRITE);
    while (!settled())
        if (!run_any())
            stop("streams wait for each other");
    protect(PROT_NONE);
    return broken;
}

static cudaError_t enqueue(cudaStream_t s, task t)
{
    s->tasks.push_back(std::move(t));
    if (seed && draw(4) == 0) { /* a device does not wait to be waited for */
        size_t n = 1 + draw(4);

        protect(PROT_READ | PROT_WRITE);
        while (n-- && run_any()) {
        }
        protect(PROT_NONE);
    }
    return broken;
}

void shim_enqueue(cudaStream_t s, std::function<void()> run)
{
    (void)enqueue(s, {std::move(run), NULL, NULL, 0});
}

/* For tests of what may run beside what: runs stream number i as far as it goes alone; what is left
 * of it. */
extern "C" __attribute__((visibility("default"))) size_t shim_run_alone(size_t i)
{
    protect(PROT_READ | PROT_WRITE);
    while (ready(streams.at(i)))
        run_first(streams[i]);
    protect(PROT_NONE);
    return streams[i]->tasks.size();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    streams.push_back(*s = new shim_stream());
    return broken;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    (void)cudaStreamSynchronize(s);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s)
            streams.erase(streams.begin() + (ptrdiff_t)i);
    delete s;
    return broken;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    return settle([=] { return s->tasks.empty(); });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    return enqueue(s, {nullptr, e, NULL, e->recorded});
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = new shim_event();
    return broken;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    (void)cudaEventSynchronize(e);
    delete e;
    return broken;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    return enqueue(s, {nullptr, NULL, e, ++e->recorded});
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    const uint64_t number = e->recorded;

    return settle([=] { return e->reached >= number; });
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s)
{
    if (!lies_in(memory, p, bytes))
        return cudaErrorInvalidValue;
    return enqueue(s, {[=] {
                           if (!fresh.erase(p) || value)
                               memset(p, value, bytes);
                       },
                       NULL, NULL, 0});
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind way,
                            cudaStream_t s)
{
    const bool down = way == cudaMemcpyHostToDevice;

    if (!lies_in(down ? memory : pinned, to, bytes) ||
        !lies_in(down ? pinned : memory, from, bytes))
        return cudaErrorInvalidValue;
    return enqueue(s, {[=] { memcpy(to, from, bytes); }, NULL, NULL, 0});
}

/* ---- kernels ---- */

enum state { RUNS, AT_BLOCK, AT_WARP, OVER };

struct lane {
    struct fiber *on;
    state at;
    uint64_t given;
};

static struct {
    const std::function<void()> *thread;
    std::vector<lane> lanes;
    std::vector<uint64_t> taken; /* what the lanes gave, when all of a warp had */
    size_t started, at;
    struct fiber *on;
} block;

static std::vector<std::unique_ptr<struct fiber>> fibers, idle;

static void go_on_as(size_t i)
{
    block.at = i;
    threadIdx = dim3((unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y,
                     (unsigned)i / blockDim.x / blockDim.y);
}

static void run_threads(void *arg)
{
    const order *by = (const order *)arg;

    while (block.started < block.lanes.size()) {
        size_t i = (*by)[block.started++];

        block.lanes[i].on = block.on;
        block.lanes[i].at = RUNS;
        go_on_as(i);
        (*block.thread)();
        block.lanes[block.at].at = OVER;
    }
}

static void wait_at(state at)
{
    block.lanes[block.at].at = at;
    fiber_yield();
}

void __syncthreads(void)
{
    wait_at(AT_BLOCK);
}

unsigned shim_lane(void)
{
    return (unsigned)block.at % WARP;
}

const uint64_t *shim_exchange(unsigned lanes, uint64_t given)
{
    if (lanes != ~0u || block.lanes.size() % WARP)
        stop("a warp is not whole");
    block.lanes[block.at].given = given;
    wait_at(AT_WARP);
    return &block.taken[block.at / WARP * WARP];
}

static size_t count(state at, size_t from, size_t to)
{
    size_t n = 0;

    for (; from < to; from++)
        n += block.lanes[from].at == at;
    return n;
}

/* Those that may go on; threads that are over count as at the block's barrier. */
static std::vector<size_t> released(void)
{
    const size_t n = block.lanes.size();
    std::vector<size_t> who;

    if (count(AT_BLOCK, 0, n) && count(AT_BLOCK, 0, n) + count(OVER, 0, n) == n)
        for (size_t i = 0; i < n; i++)
            if (block.lanes[i].at == AT_BLOCK)
                who.push_back(i);
    for (size_t w = 0; w + WARP <= n; w += WARP)
        for (size_t i = w; count(AT_WARP, w, w + WARP) == WARP && i < w + WARP; i++) {
            block.taken[i] = block.lanes[i].given;
            who.push_back(i);
        }
    return who;
}

static void run_block(const std::function<void()> &thread, size_t threads)
{
    const order by(threads);

    block.thread = &thread;
    block.lanes.assign(threads, lane());
    block.taken.assign(threads, 0);
    for (block.started = 0; block.started < threads;) {
        if (idle.empty())
            idle.push_back(std::make_unique<struct fiber>(fiber()));
        block.on = idle.back().get();
        fiber_start(block.on, run_threads, (void *)&by);
        fiber_resume(block.on);
        if (!block.on->over) {
            fibers.push_back(std::move(idle.back()));
            idle.pop_back();
        }
    }
    while (count(OVER, 0, threads) < threads) {
        const std::vector<size_t> who = released();

        if (who.empty())
            stop("not all threads reach a barrier");
        const order next(who.size());
        for (size_t i = 0; i < who.size(); i++) {
            go_on_as(who[next[i]]);
            block.on = block.lanes[block.at].on;
            fiber_resume(block.on);
        }
    }
    while (!fibers.empty()) {
        idle.push_back(std::move(fibers.back()));
        fibers.pop_back();
    }
}

static void run_grid(const dim3 &grid, const dim3 &threads, const std::function<void()> &thread)
{
    const size_t n = (size_t)grid.x * grid.y * grid.z;
    const order by(n);

    gridDim = grid;
    blockDim = threads;
    for (size_t i = 0; i < n; i++) {
        size_t b = by[i];

        blockIdx = dim3((unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y),
                        (unsigned)(b / grid.x / grid.y));
        run_block(thread, (size_t)threads.x * threads.y * threads.z);
    }
}

cudaError_t shim_launch(const cudaLaunchConfig_t *config, std::function<void()> thread)
{
    const dim3 g = config->gridDim, b = config->blockDim;

    if (!g.x || !g.y || !g.z || g.y > 65535 || g.z > 65535 || !b.x || !b.y || !b.z ||
        (size_t)b.x * b.y * b.z > 1024)
        return cudaErrorInvalidConfiguration;
    return enqueue(config->stream, {[=] {
                                        if (++kernels == fails_at)
                                            broken = cudaErrorLaunchFailure;
                                        else
                                            run_grid(g, b, thread);
                                    },
                                    NULL, NULL, 0});
}

/* ---- the device ---- */

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    }
    return "unknown error";
}

cudaError_t cudaGetLastError(void)
{
    return broken;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)setting("MILLRACE_SHIM_DRIVER", 13000);
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = (int)setting("MILLRACE_SHIM_DEVICES", 1);
    if (setting("MILLRACE_SHIM_DRIVER", 13000) < 13000)
        return cudaErrorInsufficientDriver;
    return *n ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaSetDevice(int)
{
    seed = setting("MILLRACE_SHIM_SEED", 1);
    fails_at = setting("MILLRACE_SHIM_FAIL", 0);
    kernels = 0;
    broken = cudaSuccess;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int)
{
    *prop = {"the host, through the shim of the tests", 9, 0};
    return cudaSuccess;
}
