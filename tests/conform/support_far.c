#include "tests/conform/support_far.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA ((size_t)4 << 30) /* reserved */
#define STAGE ((size_t)256 << 20)

enum { ALIGN = 64, PIECES = 1024, QUEUE = 512 };

enum op_kind {
    OP_PUT,
    OP_GEMM,
    OP_SYRK,
    OP_ACC64,
    OP_GRAM64,
    OP_COLSUM,
    OP_ROWSQ,
    OP_ROWMIN,
    OP_TOPK,
    OP_SEGSUM,
    OP_SOFTMAX,
    OP_CSR_MM,
    OP_CSR_TMM,
    OP_CSR_SDDMM,
    OP_GATHER,
    OP_SCATTER,
    OP_FILL,
    OP_EW
};

struct op { /* one call that waits, with its arguments */
    enum op_kind kind;
    struct mat a, b, c;
    struct csr x;
    const void *p, *q; /* read */
    void *to, *to2;    /* written */
    double beta;
    float alpha, prm[8];
    uint64_t key[2];
    uint32_t n, size[2];
    size_t bytes;
    struct arg arg[8];
};

static struct far {
    uint8_t *arena, *stage;
    size_t staged; /* bytes of puts that wait */
    struct piece {
        size_t at, bytes;
        uint64_t used; /* number of the last operation that was given some of it */
    } piece[PIECES];   /* in order of address */
    uint32_t pieces;
    struct op queue[QUEUE];
    uint32_t n; /* that wait; the last was asked for as number counts.ops */
    uint32_t opened;
    struct far_counts counts;
    struct sigaction before;
} far;

bool far_has(const void *p)
{
    const uint8_t *at = p;

    return far.arena && at >= far.arena && at < far.arena + ARENA;
}

struct far_counts far_counts(void)
{
    return far.counts;
}

/* ---- the wall ---- */

static void wall(bool up)
{
    CHECK(mprotect(far.arena, ARENA, up ? PROT_NONE : PROT_READ | PROT_WRITE) == 0);
}

static void explain(int sig, siginfo_t *info, void *context)
{
    static const char text[] = "far: the host touched device memory\n";
    ssize_t n = far_has(info->si_addr) ? write(STDERR_FILENO, text, sizeof text - 1) : 0;

    (void)context, (void)n, (void)sig;
    sigaction(SIGSEGV, &far.before, NULL); /* and the fault comes again */
}

static enum st far_open(void *self, struct err *e)
{
    struct sigaction act = {.sa_sigaction = explain, .sa_flags = SA_SIGINFO | SA_NODEFER};

    (void)self;
    if (far.opened++)
        return ST_OK;
    memset(&far.counts, 0, sizeof far.counts);
    if (!far.arena) {
        far.arena =
            mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(far.arena != MAP_FAILED);
        far.stage = mmap(NULL, STAGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(far.stage != MAP_FAILED);
    }
    sigemptyset(&act.sa_mask);
    sigaction(SIGSEGV, &act, &far.before);
    return compute_openblas.open(NULL, e);
}

static void far_close(void *self)
{
    (void)self;
    if (!far.opened || --far.opened)
        return;
    CHECK(!far.pieces); /* all was freed */
    sigaction(SIGSEGV, &far.before, NULL);
    far.n = 0;
}

/* First fit. */
static void *far_alloc(void *self, size_t bytes)
{
    size_t at = ALIGN;
    uint32_t i = 0;

    (void)self;
    CHECK(far.opened && far.pieces < PIECES);
    bytes = (bytes + 2 * ALIGN - 1) / ALIGN * ALIGN; /* none touches the next */
    while (i < far.pieces && at + bytes > far.piece[i].at) {
        at = far.piece[i].at + far.piece[i].bytes;
        i++;
    }
    if (at + bytes > ARENA)
        return NULL;
    memmove(&far.piece[i + 1], &far.piece[i], (far.pieces - i) * sizeof *far.piece);
    far.piece[i] = (struct piece){at, bytes, 0};
    far.pieces++;
    wall(false);
    memset(far.arena + at, 0, bytes);
    wall(true);
    return far.arena + at;
}

static void run_all(void);

static void far_free(void *self, void *p)
{
    uint32_t i = 0;

    (void)self;
    if (!p)
        return;
    run_all();
    while (i < far.pieces && far.arena + far.piece[i].at != (uint8_t *)p)
        i++;
    CHECK(i < far.pieces);
    far.pieces--;
    memmove(&far.piece[i], &far.piece[i + 1], (far.pieces - i) * sizeof *far.piece);
}

/* ---- what waits, and its turn ---- */

static void run(struct op *o)
{
    const struct compute *c = &compute_openblas;

    switch (o->kind) {
    case OP_PUT:
        memcpy(o->to, o->p, o->bytes);
        break;
    case OP_GEMM:
        c->gemm(NULL, (int)o->n, o->alpha, o->a, o->b, (float)o->beta, o->c);
        break;
    case OP_SYRK:
        c->syrk(NULL, o->alpha, o->a, (float)o->beta, o->c);
        break;
    case OP_ACC64:
        c->acc64(NULL, o->a, o->to);
        break;
    case OP_GRAM64:
        c->gram64(NULL, o->a, o->p, o->beta, o->to2, o->to);
        break;
    case OP_COLSUM:
        c->colsum(NULL, o->a, o->p, o->to);
        break;
    case OP_ROWSQ:
        c->rowsq(NULL, o->a, o->to);
        break;
    case OP_ROWMIN:
        c->rowmin(NULL, o->a, o->p, o->to, o->to2);
        break;
    case OP_TOPK:
        c->topk(NULL, o->a, o->p, o->n, o->to, o->to2);
        break;
    case OP_SEGSUM:
        c->segsum(NULL, o->a, o->p, o->q, o->c, o->to);
        break;
    case OP_SOFTMAX:
        c->softmax(NULL, o->n, o->c, o->to);
        break;
    case OP_CSR_MM:
        c->csr_mm(NULL, o->x, o->a, o->c);
        break;
    case OP_CSR_TMM:
        c->csr_tmm(NULL, o->x, o->a, o->c);
        break;
    case OP_CSR_SDDMM:
        c->csr_sddmm(NULL, o->x, o->a, o->b, o->to);
        break;
    case OP_GATHER:
        c->gather(NULL, o->a, o->p, o->c);
        break;
    case OP_SCATTER:
        c->scatter(NULL, o->a, o->p, o->c);
        break;
    case OP_FILL:
        c->fill(NULL, (enum fill_kind)o->n, o->key, o->p, o->c);
        break;
    case OP_EW:
        c->ew(NULL, (enum ew_id)o->n, o->size, o->arg, o->prm);
        break;
    }
}

/* The first n that wait. */
static void run_some(uint32_t n)
{
    if (!n)
        return;
    wall(false);
    for (uint32_t i = 0; i < n; i++)
        run(&far.queue[i]);
    wall(true);
    far.n -= n;
    far.staged = far.n ? far.staged : 0;
    memmove(far.queue, far.queue + n, far.n * sizeof *far.queue);
}

static void run_all(void)
{
    run_some(far.n);
}

static struct op *wait(enum op_kind k)
{
    CHECK(far.opened);
    if (far.n == QUEUE)
        run_all();
    far.counts.ops++;
    far.queue[far.n] = (struct op){.kind = k};
    return &far.queue[far.n++];
}

static struct piece *piece_of(const void *p)
{
    uint32_t i = far.pieces;

    CHECK(far_has(p)); /* else it is the host's */
    while (i && far.arena + far.piece[i - 1].at > (const uint8_t *)p)
        i--;
    CHECK(i && (const uint8_t *)p <= far.arena + far.piece[i - 1].at + far.piece[i - 1].bytes);
    return &far.piece[i - 1];
}

/* An operand of the newest operation, which must lie in compute space. */
static void ours(const void *p)
{
    if (p)
        piece_of(p)->used = far.counts.ops;
}

static void ours_mat(struct mat m)
{
    CHECK(m.p || !m.r || !m.c);
    ours(m.p);
}

static void ours_csr(struct csr x)
{
    ours(x.ptr);
    ours(x.idx);
    ours(x.val);
}

/* ---- memory ---- */

static void far_put(void *self, void *dev, const void *host, size_t bytes)
{
    struct op *o;
    void *copy;

    (void)self;
    if (!bytes)
        return;
    CHECK(far_has(dev) && !far_has(host));
    if (far.staged + bytes > STAGE)
        run_all();
    CHECK(bytes <= STAGE);
    copy = memcpy(far.stage + far.staged, host, bytes);
    far.staged += bytes;
    o = wait(OP_PUT);
    ours(dev);
    o->to = dev;
    o->p = copy;
    o->bytes = bytes;
    far.counts.put += bytes;
}

/* Waits for what was asked of that buffer, and not for more. */
static void far_get(void *self, void *host, const void *dev, size_t bytes)
{
    uint64_t used, done = far.counts.ops - far.n;

    (void)self;
    if (!bytes)
        return;
    CHECK(!far_has(host));
    used = piece_of(dev)->used;
    run_some(used > done ? (uint32_t)(used - done) : 0);
    wall(false);
    memcpy(host, dev, bytes);
    wall(true);
    far.counts.got += bytes;
    far.counts.waits++;
    far.counts.left += far.n;
}

static enum st far_sync(void *self)
{
    (void)self;
    run_all();
    far.counts.waits++;
    return ST_OK;
}

/* ---- operations ---- */

static void far_gemm(void *self, int tr, float alpha, struct mat a, struct mat b, float beta,
                     struct mat c)
{
    struct op *o = wait(OP_GEMM);

    (void)self;
    o->n = (uint32_t)tr;
    o->alpha = alpha;
    o->beta = (double)beta;
    ours_mat(a);
    o->a = a;
    ours_mat(b);
    o->b = b;
    ours_mat(c);
    o->c = c;
}

static void far_syrk(void *self, float alpha, struct mat a, float beta, struct mat c)
{
    struct op *o = wait(OP_SYRK);

    (void)self;
    o->alpha = alpha;
    o->beta = (double)beta;
    ours_mat(a);
    o->a = a;
    ours_mat(c);
    o->c = c;
}

static void far_acc64(void *self, struct mat a, double *sum)
{
    struct op *o = wait(OP_ACC64);

    (void)self;
    ours(sum);
    ours_mat(a);
    o->a = a;
    o->to = sum;
}

static void far_gram64(void *self, struct mat a, const float *w, double beta, double *work,
                       double *sum)
{
    struct op *o = wait(OP_GRAM64);

    (void)self;
    ours(w);
    ours(work);
    ours(sum);
    ours_mat(a);
    o->a = a;
    o->p = w;
    o->beta = beta;
    o->to2 = work;
    o->to = sum;
}

static void far_colsum(void *self, struct mat a, const float *w, float *out)
{
    struct op *o = wait(OP_COLSUM);

    (void)self;
    ours(w);
    ours(out);
    ours_mat(a);
    o->a = a;
    o->p = w;
    o->to = out;
}

static void far_rowsq(void *self, struct mat a, float *out)
{
    struct op *o = wait(OP_ROWSQ);

    (void)self;
    ours(out);
    ours_mat(a);
    o->a = a;
    o->to = out;
}

static void far_rowmin(void *self, struct mat a, const float *bias, uint32_t *at, float *val)
{
    struct op *o = wait(OP_ROWMIN);

    (void)self;
    ours(bias);
    ours(at);
    ours(val);
    ours_mat(a);
    o->a = a;
    o->p = bias;
    o->to = at;
    o->to2 = val;
}

static void far_topk(void *self, struct mat a, const float *bias, uint32_t k, uint32_t *at,
                     float *val)
{
    struct op *o = wait(OP_TOPK);

    (void)self;
    ours(bias);
    ours(at);
    ours(val);
    ours_mat(a);
    o->a = a;
    o->p = bias;
    o->n = k;
    o->to = at;
    o->to2 = val;
}

static void far_segsum(void *self, struct mat x, const float *w, const uint32_t *seg,
                       struct mat sum, double *n)
{
    struct op *o = wait(OP_SEGSUM);

    (void)self;
    ours(w);
    ours(seg);
    ours(n);
    ours_mat(x);
    o->a = x;
    o->p = w;
    o->q = seg;
    ours_mat(sum);
    o->c = sum;
    o->to = n;
}

static void far_softmax(void *self, uint32_t groups, struct mat z, float *lse)
{
    struct op *o = wait(OP_SOFTMAX);

    (void)self;
    ours(lse);
    o->n = groups;
    ours_mat(z);
    o->c = z;
    o->to = lse;
}

static void far_csr_mm(void *self, struct csr x, struct mat w, struct mat z)
{
    struct op *o = wait(OP_CSR_MM);

    (void)self;
    ours_csr(x);
    o->x = x;
    ours_mat(w);
    o->a = w;
    ours_mat(z);
    o->c = z;
}

static void far_csr_tmm(void *self, struct csr x, struct mat e, struct mat g)
{
    struct op *o = wait(OP_CSR_TMM);

    (void)self;
    ours_csr(x);
    o->x = x;
    ours_mat(e);
    o->a = e;
    ours_mat(g);
    o->c = g;
}

static void far_csr_sddmm(void *self, struct csr x, struct mat a, struct mat b, float *val)
{
    struct op *o = wait(OP_CSR_SDDMM);

    (void)self;
    ours(val);
    ours_csr(x);
    o->x = x;
    ours_mat(a);
    o->a = a;
    ours_mat(b);
    o->b = b;
    o->to = val;
}

static void far_gather(void *self, struct mat src, const uint32_t *row, struct mat dst)
{
    struct op *o = wait(OP_GATHER);

    (void)self;
    ours(row);
    ours_mat(src);
    o->a = src;
    o->p = row;
    ours_mat(dst);
    o->c = dst;
}

static void far_scatter(void *self, struct mat src, const uint32_t *row, struct mat dst)
{
    struct op *o = wait(OP_SCATTER);

    (void)self;
    ours(row);
    ours_mat(src);
    o->a = src;
    o->p = row;
    ours_mat(dst);
    o->c = dst;
}

static void far_fill(void *self, enum fill_kind k, const uint64_t key[2], const uint64_t *rid,
                     struct mat out)
{
    struct op *o = wait(OP_FILL);

    (void)self;
    ours(rid);
    o->n = k;
    o->key[0] = key[0];
    o->key[1] = key[1];
    o->p = rid;
    ours_mat(out);
    o->c = out;
}

/* How many scalars a kernel has: what lies behind them is not the caller's. */
static uint32_t scalars(enum ew_id k)
{
    static const char *const body[EW_COUNT] = {
#define EW(name, kinds, ...) [EW_##name] = " " #__VA_ARGS__,
#include "algos/compute/kernels.def"
#undef EW
    };
    uint32_t n = 0;

    for (const char *p = body[k]; (p = strstr(p, "P(")); p += 2) {
        uint32_t at = (uint32_t)(p[2] - '0');

        n = !isalnum((unsigned char)p[-1]) && at >= n ? at + 1 : n;
    }
    return n;
}

static void far_ew(void *self, enum ew_id k, const uint32_t size[2], const struct arg a[8],
                   const float *prm)
{
    struct op *o = wait(OP_EW);

    (void)self;
    o->n = k;
    o->size[0] = size[0];
    o->size[1] = size[1];
    for (int i = 0; i < 8; i++) {
        if (size[0] && size[1])
            ours(a[i].p);
        o->arg[i] = a[i];
    }
    if (prm)
        memcpy(o->prm, prm, scalars(k) * sizeof *prm);
}

const struct compute compute_far = {
    .name = "far",
    .summary = "OpenBLAS in memory that the host may not touch; for tests",
    .open = far_open,
    .close = far_close,
    .alloc = far_alloc,
    .free = far_free,
    .put = far_put,
    .get = far_get,
    .sync = far_sync,
    .gemm = far_gemm,
    .syrk = far_syrk,
    .acc64 = far_acc64,
    .gram64 = far_gram64,
    .colsum = far_colsum,
    .rowsq = far_rowsq,
    .rowmin = far_rowmin,
    .topk = far_topk,
    .segsum = far_segsum,
    .softmax = far_softmax,
    .csr_mm = far_csr_mm,
    .csr_tmm = far_csr_tmm,
    .csr_sddmm = far_csr_sddmm,
    .gather = far_gather,
    .scatter = far_scatter,
    .fill = far_fill,
    .ew = far_ew,
};
