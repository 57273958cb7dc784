/* cuda_runtime.h: a test aid, not CUDA. With it and cublas_v2.h beside it a C++ compiler builds the
 * sources of algos/compute/cuda/ as they are, into millrace-cuda-shim.so, so that their logic,
 * sizes and order are tested on machines without a GPU. It is slow, and says nothing about speed,
 * about the compiler nvcc, or about how a real GPU rounds.
 *
 * Made to find faults (cuda_shim.cpp):
 *   - device memory cannot be touched by the program: it is unmapped but while a kernel or a copy
 *     runs, and ends at a page that is never there;
 *   - streams are queues. What is queued runs when it is waited for, or a little before, in one of
 *     the orders that the events allow, drawn by chance: a wait that is missing shows as a wrong
 *     result. Only pinned memory may be copied;
 *   - the threads of a block run one after the other in an order drawn by chance, each to the next
 *     barrier; a barrier that not all threads reach stops the program.
 *
 * MILLRACE_SHIM_SEED (1) draws the orders; 0: nothing runs before it is waited for.
 * MILLRACE_SHIM_DEVICES (1), MILLRACE_SHIM_DRIVER (13000; 0: none): what there is.
 * MILLRACE_SHIM_FAIL=n: the n-th kernel after the device is opened fails, and all calls after it.
 *
 * Thread: one. */
#ifndef MILLRACE_SHIM_CUDA_RUNTIME_H
#define MILLRACE_SHIM_CUDA_RUNTIME_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __shared__ static /* one block runs at a time */

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorLaunchFailure = 719
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };

struct cudaDeviceProp {
    char name[256];
    int major, minor;
};

struct shim_stream;
struct shim_event;
using cudaStream_t = shim_stream *;
using cudaEvent_t = shim_event *;

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError(void);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind way,
                            cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);

/* ---- kernels ---- */

cudaError_t shim_launch(const cudaLaunchConfig_t *config, std::function<void()> thread);

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                               Arguments... arguments)
{
    return shim_launch(config, [=] { kernel(arguments...); });
}

const uint64_t *shim_exchange(unsigned lanes, uint64_t given); /* what all lanes gave */
unsigned shim_lane(void);
void __syncthreads(void);

template <typename T> T __shfl_sync(unsigned lanes, T v, unsigned from)
{
    uint64_t given = 0;

    memcpy(&given, &v, sizeof v);
    memcpy(&v, shim_exchange(lanes, given) + from, sizeof v);
    return v;
}

template <typename T> T __shfl_down_sync(unsigned lanes, T v, unsigned by)
{
    unsigned from = shim_lane() + by;

    return __shfl_sync(lanes, v, from < 32 ? from : shim_lane());
}

static inline unsigned __ballot_sync(unsigned lanes, bool yes)
{
    const uint64_t *all = shim_exchange(lanes, yes);
    unsigned bits = 0;

    for (unsigned i = 0; i < 32; i++)
        bits |= (unsigned)all[i] << i;
    return bits;
}

static inline int __ffs(int v)
{
    return __builtin_ffs(v);
}

/* ---- for tests ---- */

void shim_enqueue(cudaStream_t s, std::function<void()> run);

#endif
