/* What only a device has: memory of its own, two streams, and things that may be missing. Through
 * the shim of tests/cuda_shim, which MILLRACE_CUDA_MODULE names; without it there is nothing to
 * test but that a missing module is said. */
#include "algos/compute/cuda.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 1000, BATCHES = 40, ARITH = 0, COPY = 1 };

static const char *module;
static void *self;
static const struct compute *const c = &compute_cuda;

static void open_with(const char *name, const char *value)
{
    struct err e = {""};

    if (!module)
        skip();
    setenv("MILLRACE_CUDA_MODULE", module, 1);
    setenv(name, value, 1);
    self = calloc(1, c->self_bytes);
    assert_non_null(self);
    if (c->open(self, &e) != ST_OK)
        fail_msg("%s", e.text);
    unsetenv(name);
}

static void close_again(void)
{
    c->close(self);
    c->close(self); /* harmless */
    free(self);
}

static size_t run_alone(size_t stream)
{
    size_t (*run)(size_t);
    void *lib = dlopen(module, RTLD_NOW | RTLD_NOLOAD);

    assert_non_null(lib);
    *(void **)&run = dlsym(lib, "shim_run_alone");
    dlclose(lib);
    return run(stream);
}

/* sum += x, on the device */
static void add(float *sum, float *x)
{
    const uint32_t size[2] = {1, N};
    const float one[2] = {1.0f, 1.0f};

    c->ew(self, EW_axpby, size, (struct arg[8]){{sum, N}, {x, N}}, one);
}

static void fill(float *host, float v)
{
    for (int i = 0; i < N; i++)
        host[i] = v;
}

/* ---- what is missing is said ---- */

static void opens_not(const char *file, const char *name, const char *value, const char *said)
{
    struct err e = {""};
    void *h = calloc(1, c->self_bytes);

    setenv("MILLRACE_CUDA_MODULE", file, 1);
    if (name)
        setenv(name, value, 1);
    assert_int_equal(c->open(h, &e), ST_BAD_CONFIG);
    c->close(h);
    free(h);
    if (name)
        unsetenv(name);
    if (!strstr(e.text, said) || !strstr(e.text, "cuda: ") || !strstr(e.text, file))
        fail_msg("'%s' is not in: %s", said, e.text);
}

static void an_absent_module_is_named(void **state)
{
    (void)state;
    opens_not("/nowhere/millrace-cuda.so", NULL, NULL, "./dev build cuda");
    opens_not("/proc/self/maps", NULL, NULL, "does not load");
    opens_not("libm.so.6", NULL, NULL, "No such file");
}

static void a_library_that_is_no_module_is_refused(void **state)
{
    void *lib = dlopen("libm.so.6", RTLD_NOW);
    Dl_info where;

    (void)state;
    assert_non_null(lib);
    assert_true(dladdr(dlsym(lib, "cos"), &where));
    opens_not(where.dli_fname, NULL, NULL, "no module of this program");
    dlclose(lib);
}

static void an_absent_driver_or_device_is_said(void **state)
{
    (void)state;
    if (!module)
        skip();
    opens_not(module, "MILLRACE_SHIM_DRIVER", "0", "no NVIDIA driver");
    opens_not(module, "MILLRACE_SHIM_DRIVER", "12040", "is for CUDA 12.4, the module needs 13.0");
    opens_not(module, "MILLRACE_SHIM_DEVICES", "0", "no GPU is visible");
    opens_not(module, "MILLRACE_SHIM_FAIL", "1", "unspecified launch failure");
}

/* ---- two buffers ---- */

/* Batches go into two buffers in turn, and are summed up; one in three is fetched. */
static void one_pass(const char *seed)
{
    static float host[N], got[N], sum[N];
    float *x[2], *acc;

    open_with("MILLRACE_SHIM_SEED", seed);
    acc = c->alloc(self, sizeof sum);
    for (int i = 0; i < 2; i++)
        assert_non_null(x[i] = c->alloc(self, sizeof host));
    memset(sum, 0, sizeof sum);
    for (int b = 0; b < BATCHES; b++) {
        for (int i = 0; i < N; i++) {
            host[i] = (float)(b * i % 17);
            sum[i] += host[i];
        }
        c->put(self, x[b % 2], host, sizeof host);
        fill(host, -1e6f); /* the caller's again */
        add(acc, x[b % 2]);
        if (b % 3 == 2) {
            c->get(self, got, acc, sizeof got);
            assert_memory_equal(got, sum, sizeof sum);
        }
    }
    c->get(self, got, acc, sizeof got);
    assert_memory_equal(got, sum, sizeof sum);
    assert_int_equal(c->sync(self), ST_OK);
    close_again();
}

static void any_order_that_the_events_allow_gives_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        char seed[8];

        snprintf(seed, sizeof seed, "%d", i);
        one_pass(seed);
    }
}

static void the_next_batch_is_copied_beside_the_kernels_of_this_one(void **state)
{
    static float host[N];
    float *x[2], *acc;

    (void)state;
    open_with("MILLRACE_SHIM_SEED", "0"); /* nothing runs by itself */
    acc = c->alloc(self, sizeof host);
    for (int i = 0; i < 2; i++)
        x[i] = c->alloc(self, sizeof host);
    for (int b = 0; b < 6; b++) {
        c->put(self, x[b % 2], host, sizeof host);
        c->put(self, x[b % 2], host, sizeof host / 2); /* a batch is more than one put */
        assert_int_equal(run_alone(COPY), 0);          /* the kernel of the other has not run */
        run_alone(ARITH);
        add(acc, x[b % 2]);
    }
    c->put(self, x[1], host, sizeof host); /* which that kernel has yet to read */
    assert_true(run_alone(COPY) > 0);
    assert_int_equal(run_alone(ARITH), 0);
    assert_int_equal(run_alone(COPY), 0);
    assert_int_equal(c->sync(self), ST_OK);
    close_again();
}

/* More than fits into the pinned pieces, both ways. */
static void great_copies_arrive_whole(void **state)
{
    const size_t n = (size_t)9 << 20; /* floats: 36 MiB */
    float *host = malloc(n * sizeof *host), *got = calloc(n, sizeof *got), *dev;

    (void)state;
    open_with("MILLRACE_SHIM_SEED", "0"); /* no piece leaves by itself */
    dev = c->alloc(self, n * sizeof *dev);
    assert_true(host && got && dev);
    for (size_t i = 0; i < n; i++)
        host[i] = (float)(i % 16777213);
    c->put(self, dev, host, n * sizeof *dev);
    c->get(self, got, dev, n * sizeof *dev);
    assert_memory_equal(got, host, n * sizeof *host);
    c->put(self, dev + 5, host, (n - 5) * sizeof *dev);
    c->get(self, got, dev + 6, (n - 7) * sizeof *dev);
    assert_memory_equal(got, host + 1, (n - 7) * sizeof *host);
    close_again();
    free(host);
    free(got);
}

/* More rows than a grid has blocks. */
static void a_grid_has_no_edge(void **state)
{
    const uint32_t size[2] = {66000, 256};
    const size_t n = (size_t)size[0] * size[1];
    const float one[2] = {1.0f, 1.0f};
    float *got = malloc(n * sizeof *got), *dev;

    (void)state;
    open_with("MILLRACE_SHIM_SEED", "1");
    dev = c->alloc(self, n * sizeof *dev);
    assert_true(got && dev);
    c->ew(self, EW_set, size, (struct arg[8]){{dev, size[1]}}, one);
    c->get(self, got, dev, n * sizeof *got);
    for (size_t i = 0; i < n; i++)
        if (got[i] != 1.0f)
            fail_msg("element %zu is not reached", i);
    close_again();
    free(got);
}

/* ---- memory ---- */

static void memory_is_zeroed_aligned_and_refused_when_absurd(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 65, 4096, 1 << 20};

    (void)state;
    open_with("MILLRACE_SHIM_SEED", "1");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *p = c->alloc(self, sizes[i]), *got = calloc(1, sizes[i] + 1);

        assert_true(p && got && (uintptr_t)p % 64 == 0);
        memset(got, 7, sizes[i]);
        c->get(self, got, p, sizes[i]);
        for (size_t q = 0; q < sizes[i]; q++)
            assert_int_equal(got[q], 0);
        if (i % 2)
            c->free(self, p); /* the others by close */
        free(got);
    }
    assert_null(c->alloc(self, SIZE_MAX));
    c->free(self, NULL);
    assert_int_equal(c->sync(self), ST_OK);
    close_again();
}

/* Runs it in a process of its own; did that one die of it? */
static bool dies(void (*doing)(float *dev))
{
    const struct rlimit no_core = {0, 0};
    float *dev = c->alloc(self, N * sizeof *dev);
    int how;
    pid_t child = fork();

    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL); /* which cmocka has taken */
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(0);
        doing(dev);
        _exit(0);
    }
    assert_true(waitpid(child, &how, 0) == child);
    return how != 0;
}

static void read_it(float *dev)
{
    if (*(volatile float *)dev != 0.0f)
        _exit(0);
}

static void write_it(float *dev)
{
    *(volatile float *)dev = 1.0f;
}

static void give_host_memory(float *dev)
{
    float *host = malloc(N * sizeof *host);

    add(dev, host);
}

static void put_too_much(float *dev)
{
    static float host[2 * N];

    c->put(self, dev, host, sizeof host);
}

static void one_memory_is_not_the_other(void **state)
{
    (void)state;
    open_with("MILLRACE_SHIM_SEED", "1");
    assert_true(dies(read_it));
    assert_true(dies(write_it));
    assert_true(dies(give_host_memory));
    assert_true(dies(put_too_much));
    close_again();
}

/* ---- errors ---- */

static void a_failed_kernel_surfaces_at_sync(void **state)
{
    static float host[N];
    float *x, *acc;

    (void)state;
    open_with("MILLRACE_SHIM_FAIL", "3");
    x = c->alloc(self, sizeof host);
    acc = c->alloc(self, sizeof host);
    c->put(self, x, host, sizeof host);
    add(acc, x);
    assert_int_equal(c->sync(self), ST_OK);
    add(acc, x); /* fails */
    c->put(self, x, host, sizeof host);
    add(acc, x);
    assert_int_equal(c->sync(self), ST_FATAL);
    c->get(self, host, acc, sizeof host);
    assert_int_equal(c->sync(self), ST_FATAL);
    close_again();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_absent_module_is_named),
        cmocka_unit_test(a_library_that_is_no_module_is_refused),
        cmocka_unit_test(an_absent_driver_or_device_is_said),
        cmocka_unit_test(any_order_that_the_events_allow_gives_the_same),
        cmocka_unit_test(the_next_batch_is_copied_beside_the_kernels_of_this_one),
        cmocka_unit_test(great_copies_arrive_whole),
        cmocka_unit_test(a_grid_has_no_edge),
        cmocka_unit_test(memory_is_zeroed_aligned_and_refused_when_absurd),
        cmocka_unit_test(one_memory_is_not_the_other),
        cmocka_unit_test(a_failed_kernel_surfaces_at_sync),
    };

    module = getenv("MILLRACE_CUDA_MODULE");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
