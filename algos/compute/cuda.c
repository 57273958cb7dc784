/* cuda.c: the tables of the CUDA back end in the program; the operations are in a module that
 * open() loads (cuda.h).
 *
 * The module is the file that $MILLRACE_CUDA_MODULE names, else millrace-cuda.so beside the
 * program. It is never unloaded: CUDA's runtime leaves threads and exit handlers behind. What the
 * device is, and a failure that sync() reports, is said in the log. */
#include "algos/compute/cuda.h"

#include "config/base/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "millrace-cuda.so"

enum { PATH_BYTES = 4096 };

struct handle {
    const struct cuda_module *module;
    const struct compute *c;
    void *self;
    bool failed;
};

static void module_path(char path[PATH_BYTES])
{
    const char *named = getenv("MILLRACE_CUDA_MODULE");
    ssize_t n;

    if (named && *named) {
        snprintf(path, PATH_BYTES, "%s", named);
        return;
    }
    n = readlink("/proc/self/exe", path, PATH_BYTES - sizeof FILE_NAME - 1);
    path[n > 0 ? n : 0] = '\0';
    while (n > 0 && path[n - 1] != '/')
        path[--n] = '\0';
    memcpy(path + strlen(path), FILE_NAME, sizeof FILE_NAME);
}

static enum st load(const struct cuda_module **module, char path[PATH_BYTES], struct err *e)
{
    const struct cuda_module *(*entry)(void);
    void *lib;

    module_path(path);
    if (access(path, R_OK))
        return fail(e, ST_BAD_CONFIG,
                    "cuda: no module %s (%s); build it there with ./dev build cuda, name another "
                    "one in MILLRACE_CUDA_MODULE, or train with device cpu",
                    path, strerror(errno));
    lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return fail(e, ST_BAD_CONFIG,
                    "cuda: the module does not load: %s; install what is missing (CUDA 13: "
                    "libcublas), or add its folder to LD_LIBRARY_PATH, or train with device cpu",
                    dlerror());
    *(void **)&entry = dlsym(lib, CUDA_ENTRY);
    *module = entry ? entry() : NULL;
    if (!*module || (*module)->abi != CUDA_ABI || (*module)->bytes != sizeof(struct compute) ||
        strcmp((*module)->kernels, cuda_kernels) != 0)
        return fail(e, ST_BAD_CONFIG,
                    "cuda: %s is %s; build both from the same sources, with ./dev build cuda", path,
                    *module ? "the module of another version" : "no module of this program");
    return ST_OK;
}

static enum st handle_open(struct handle *h, enum cuda_products products, struct err *e)
{
    char path[PATH_BYTES];

    TRY(load(&h->module, path, e));
    h->c = h->module->choice[products];
    h->self = calloc(1, h->c->self_bytes);
    if (!h->self)
        return fail(e, ST_FATAL, "cuda: out of memory (%zu bytes)", h->c->self_bytes);
    if (h->c->open(h->self, e) != ST_OK) {
        err_prefix(e, "cuda: %.200s", path);
        return ST_BAD_CONFIG;
    }
    log_line(LOG_INFO, "compute device", "device=\"%s\" summary=\"%s\"", h->module->device(h->self),
             h->c->summary);
    return ST_OK;
}

static void module_close(void *self)
{
    struct handle *h = self;

    if (h->self)
        h->c->close(h->self);
    free(h->self);
    memset(h, 0, sizeof *h);
}

static void *module_alloc(void *self, size_t bytes)
{
    const struct handle *h = self;

    return h->c->alloc(h->self, bytes);
}

static enum st module_sync(void *self)
{
    struct handle *h = self;
    enum st st = h->c->sync(h->self);

    if (st != ST_OK && !h->failed)
        log_line(LOG_ERROR, "the compute device failed", "error=\"%s\" device=\"%s\"",
                 h->module->error(h->self), h->module->device(h->self));
    h->failed = st != ST_OK;
    return st;
}

#define PASS(name, arguments, ...)                                                                 \
    static void module_##name(void *self, __VA_ARGS__)                                             \
    {                                                                                              \
        const struct handle *h = self;                                                             \
                                                                                                   \
        h->c->name arguments;                                                                      \
    }

PASS(free, (h->self, p), void *p)
PASS(put, (h->self, dev, host, n), void *dev, const void *host, size_t n)
PASS(get, (h->self, host, dev, n), void *host, const void *dev, size_t n)
PASS(gemm, (h->self, tr, alpha, a, b, beta, c), int tr, float alpha, struct mat a, struct mat b,
     float beta, struct mat c)
PASS(syrk, (h->self, alpha, a, beta, c), float alpha, struct mat a, float beta, struct mat c)
PASS(acc64, (h->self, a, sum), struct mat a, double *sum)
PASS(gram64, (h->self, a, w, beta, work, sum), struct mat a, const float *w, double beta,
     double *work, double *sum)
PASS(colsum, (h->self, a, w, out), struct mat a, const float *w, float *out)
PASS(rowsq, (h->self, a, out), struct mat a, float *out)
PASS(rowmin, (h->self, a, bias, at, val), struct mat a, const float *bias, uint32_t *at, float *val)
PASS(topk, (h->self, a, bias, k, at, val), struct mat a, const float *bias, uint32_t k,
     uint32_t *at, float *val)
PASS(segsum, (h->self, x, w, seg, sum, n), struct mat x, const float *w, const uint32_t *seg,
     struct mat sum, double *n)
PASS(softmax, (h->self, groups, z, lse), uint32_t groups, struct mat z, float *lse)
PASS(csr_mm, (h->self, x, w, z), struct csr x, struct mat w, struct mat z)
PASS(csr_tmm, (h->self, x, e, g), struct csr x, struct mat e, struct mat g)
PASS(csr_sddmm, (h->self, x, a, b, val), struct csr x, struct mat a, struct mat b, float *val)
PASS(gather, (h->self, src, row, dst), struct mat src, const uint32_t *row, struct mat dst)
PASS(scatter, (h->self, src, row, dst), struct mat src, const uint32_t *row, struct mat dst)
PASS(fill, (h->self, k, key, rid, out), enum fill_kind k, const uint64_t key[2],
     const uint64_t *rid, struct mat out)
PASS(ew, (h->self, k, size, a, prm), enum ew_id k, const uint32_t size[2], const struct arg a[8],
     const float *prm)

#define TABLE(id, words, products, what)                                                           \
    static enum st id##_open(void *self, struct err *e)                                            \
    {                                                                                              \
        return handle_open(self, products, e);                                                     \
    }                                                                                              \
    const struct compute compute_##id = {                                                          \
        .name = words,                                                                             \
        .summary = what,                                                                           \
        .self_bytes = sizeof(struct handle),                                                       \
        .host_memory = false,                                                                      \
        .open = id##_open,                                                                         \
        .close = module_close,                                                                     \
        .alloc = module_alloc,                                                                     \
        .free = module_free,                                                                       \
        .put = module_put,                                                                         \
        .get = module_get,                                                                         \
        .sync = module_sync,                                                                       \
        .gemm = module_gemm,                                                                       \
        .syrk = module_syrk,                                                                       \
        .acc64 = module_acc64,                                                                     \
        .gram64 = module_gram64,                                                                   \
        .colsum = module_colsum,                                                                   \
        .rowsq = module_rowsq,                                                                     \
        .rowmin = module_rowmin,                                                                   \
        .topk = module_topk,                                                                       \
        .segsum = module_segsum,                                                                   \
        .softmax = module_softmax,                                                                 \
        .csr_mm = module_csr_mm,                                                                   \
        .csr_tmm = module_csr_tmm,                                                                 \
        .csr_sddmm = module_csr_sddmm,                                                             \
        .gather = module_gather,                                                                   \
        .scatter = module_scatter,                                                                 \
        .fill = module_fill,                                                                       \
        .ew = module_ew,                                                                           \
    }

TABLE(cuda, "cuda", CUDA_F32, "an NVIDIA GPU: cuBLAS and kernels of our own; f32");
TABLE(cuda_tf32, "cuda-tf32", CUDA_TF32, "the same; products in TF32: 11 bits, tensor cores");
TABLE(cuda_bf16, "cuda-bf16", CUDA_BF16, "the same; products in BF16: 8 bits, tensor cores");
