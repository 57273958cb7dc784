#include "tests/unit/support_algo.h"

#include "config/base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <zlib.h>

enum { SHIFT = 6 };
#define ANY (UINT64_MAX >> 1)

static void good(struct rig *k, enum st st)
{
    if (st != ST_OK)
        fail_msg("%s: %s", st_name(st), k->err.text);
}

void rig_open(struct rig *k, const struct algo *a, const char *backend, struct shape sh, void *opts)
{
    memset(k, 0, sizeof *k);
    k->a = a;
    k->sh = sh;
    k->sh.folds = 1; /* as the runtime has it before check() */
    k->opts = opts;
    k->x = (struct ctx){.shape = &k->sh,
                        .opts = opts,
                        .c = compute_find(backend),
                        .work = &k->work,
                        .seed = 7,
                        .err = &k->err};
    good(k, k->x.c->open(NULL, &k->err));
    good(k, a->check(&k->sh, opts, &k->err));
    good(k,
         tensors_declare(&k->work, a, PART_WORK, &k->sh, opts, NULL, NULL, 0, SHIFT, ANY, &k->err));
    good(k, tensors_alloc(&k->work, k->x.c, NULL, &k->err));
    memset(k->work.base, 0xAA, k->work.bytes);
    k->stamp = calloc(sh.d[0], sizeof *k->stamp);
    k->uniq = calloc(sh.d[0], sizeof *k->uniq);
    k->local = calloc(1 + (size_t)sh.nnz[0], sizeof *k->local);
    k->rid = calloc(BATCH_ROWS_MAX, sizeof *k->rid);
}

void rig_close(struct rig *k)
{
    tensors_free(&k->work, k->x.c, NULL);
    k->x.c->close(NULL);
    free(k->stamp);
    free(k->uniq);
    free(k->local);
    free(k->rid);
}

void rig_state(struct rig *k, struct tensors *s)
{
    good(k,
         tensors_declare(s, k->a, PART_STATE, &k->sh, k->opts, NULL, NULL, 0, SHIFT, ANY, &k->err));
    good(k, tensors_alloc(s, k->x.c, NULL, &k->err));
    good(k, k->a->init(&k->x, s));
}

void rig_copy(struct rig *k, struct tensors *to, const struct tensors *from)
{
    rig_state(k, to);
    tensors_copy(to, from);
}

void rig_free(struct rig *k, struct tensors *t)
{
    tensors_free(t, k->x.c, NULL);
}

void rig_view(struct rig *k, struct tensors *const *state, uint32_t n, struct tensors *view)
{
    struct fold f;

    good(k, view_declare(view, k->a, state[0], &k->sh, k->opts, ANY, &k->err));
    good(k, tensors_alloc(view, k->x.c, NULL, &k->err));
    good(k, fold_init(&f, k->a, &k->x, state[0], view));
    for (uint32_t p = 0; p < n; p++)
        good(k, fold_add(&f, &(struct slot){.state = state[p], .weight = 1, .partition = p}));
    good(k, fold_end(&f));
    fold_fini(&f);
}

void rig_model(struct rig *k, const struct tensors *view, const void *derive_opts,
               struct tensors *model, struct measures *m)
{
    struct measures own;

    memset(&own, 0, sizeof own);
    good(k, tensors_declare(model, k->a, PART_MODEL, &k->sh, k->opts, derive_opts, NULL, 0, SHIFT,
                            ANY, &k->err));
    good(k, tensors_alloc(model, k->x.c, NULL, &k->err));
    good(k, k->a->derive(&k->x, view, derive_opts, model, m ? m : &own));
}

/* ---- rows ---- */

static void rows_sparse(struct rig *k, const struct table *t, uint32_t from, uint32_t n,
                        struct feat *f)
{
    uint32_t begin = t->ptr[from], end = t->ptr[from + n];

    assert_true(end - begin <= k->sh.nnz[0]);
    for (uint32_t q = begin; q < end; q++) {
        uint32_t c = t->col[q];

        if (k->stamp[c] >= f->uniq_n || k->uniq[k->stamp[c]] != c) {
            k->uniq[f->uniq_n] = c;
            k->stamp[c] = f->uniq_n++;
        }
        k->local[q - begin] = k->stamp[c];
    }
    f->ptr = t->ptr + from;
    f->col = t->col;
    f->val = t->val;
    f->uniq = k->uniq;
    f->local = k->local - begin; /* indexed as col */
}

void rig_rows(struct rig *k, const struct table *t, uint32_t from, uint32_t n, uint32_t held,
              struct rows *r)
{
    struct feat *f = &r->in[0];

    assert_true(from + n <= t->n && held <= n);
    memset(r, 0, sizeof *r);
    r->n = n;
    r->train = n - held;
    r->batch = from / k->sh.batch_rows;
    r->last = from + n == t->n;
    r->ny = t->y ? 1 : 0;
    r->y = t->y ? t->y + from : NULL;
    r->weight = t->weight + from;
    r->decay = 1;
    r->folds = k->sh.folds;
    r->fold_at = k->fold_at;
    for (uint32_t q = 0; q <= r->folds; q++)
        k->fold_at[q] = r->train * q / r->folds;
    for (uint32_t i = 0; i < n; i++)
        k->rid[i] = (uint64_t)(from + i) << 16;
    r->rid = k->rid;
    r->decay = 1;
    f->d = f->ld = t->d;
    if (t->ptr)
        rows_sparse(k, t, from, n, f);
    else
        f->x = t->x + (size_t)from * t->d;
    r->decay = 1;
    r->host = r;
}

uint32_t rig_pass(struct rig *k, struct tensors *s, const struct table *t, uint32_t partition,
                  double *loss)
{
    const uint32_t b = k->sh.batch_rows, models = k->sh.models;
    float *z = calloc((size_t)b * (k->sh.zcols + 1), sizeof *z),
          *l = calloc((size_t)b * models, sizeof *l);
    uint32_t seen = 0;

    for (uint32_t m = 0; loss && m < models; m++)
        loss[m] = 0;
    for (uint32_t at = 0; at < t->n; at += b) {
        uint32_t n = t->n - at < b ? t->n - at : b;
        struct rows r;

        rig_rows(k, t, at, n, 0, &r);
        r.partition = partition;
        good(k, k->a->update(&k->x, s, &r, loss ? &(struct eval){z, l} : NULL));
        for (uint32_t i = 0; loss && i < n; i++) {
            seen += l[(size_t)i * models] != LOSS_NONE;
            for (uint32_t m = 0; m < models && l[(size_t)i * models] != LOSS_NONE; m++)
                loss[m] += (double)l[(size_t)i * models + m];
        }
    }
    for (uint32_t m = 0; loss && m < models && seen; m++)
        loss[m] /= seen;
    free(z);
    free(l);
    return seen;
}

void rig_score(struct rig *k, const struct tensors *model, const struct table *t, float *out,
               uint32_t width)
{
    const uint32_t b = k->sh.batch_rows;

    for (uint32_t at = 0; at < t->n; at += b) {
        uint32_t n = t->n - at < b ? t->n - at : b;
        struct rows r;

        rig_rows(k, t, at, n, n, &r);
        good(k, k->a->score(&k->x, model, &r, out + (size_t)at * width));
    }
}

/* ---- tables ---- */

void table_free(struct table *t)
{
    free(t->x);
    free(t->ptr);
    free(t->col);
    free(t->val);
    free(t->y);
    free(t->weight);
    memset(t, 0, sizeof *t);
}

static void *copy_row(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return (char *)to + bytes;
}

struct table table_deal(const struct table *t, uint32_t first, uint32_t step)
{
    struct table p = {.d = t->d, .nnz_max = t->nnz_max};
    void *x, *col, *val;

    p.x = x = t->x ? calloc((size_t)t->n * t->d, sizeof *p.x) : NULL;
    p.ptr = t->ptr ? calloc((size_t)t->n + 1, sizeof *p.ptr) : NULL;
    p.col = col = t->ptr ? calloc(t->ptr[t->n], sizeof *p.col) : NULL;
    p.val = val = t->val ? calloc(t->ptr[t->n], sizeof *p.val) : NULL;
    p.y = t->y ? calloc(t->n, sizeof *p.y) : NULL;
    p.weight = calloc(t->n, sizeof *p.weight);
    for (uint32_t i = first; i < t->n; i += step, p.n++) {
        p.weight[p.n] = t->weight[i];
        if (t->y)
            p.y[p.n] = t->y[i];
        if (t->x)
            x = copy_row(x, t->x + (size_t)i * t->d, t->d * sizeof *p.x);
        if (t->ptr) {
            size_t q = t->ptr[i], nnz = t->ptr[i + 1] - q;

            p.ptr[p.n + 1] = p.ptr[p.n] + (uint32_t)nnz;
            col = copy_row(col, t->col + q, nnz * sizeof *p.col);
            if (t->val)
                val = copy_row(val, t->val + q, nnz * sizeof *p.val);
        }
    }
    return p;
}

struct table table_dense(const struct table *s)
{
    struct table t = {.n = s->n, .d = s->d};

    t.x = calloc((size_t)t.n * t.d, sizeof *t.x);
    t.y = calloc(t.n, sizeof *t.y);
    t.weight = calloc(t.n, sizeof *t.weight);
    memcpy(t.y, s->y, t.n * sizeof *t.y);
    memcpy(t.weight, s->weight, t.n * sizeof *t.weight);
    for (uint32_t i = 0; i < t.n; i++)
        for (uint32_t q = s->ptr[i]; q < s->ptr[i + 1]; q++)
            t.x[(size_t)i * t.d + s->col[q]] = s->val ? s->val[q] : 1.0f;
    return t;
}

/* ---- real data ---- */

static FILE *open_data(const char *name)
{
    char path[4096];
    const char *dir = getenv("MILLRACE_DATA");

    if (dir)
        snprintf(path, sizeof path, "%s/%s", dir, name);
    else
        snprintf(path, sizeof path, "%.*s../../../shared/data/%s",
                 (int)(strlen(__FILE__) - strlen("support_algo.c")), __FILE__, name);
    return fopen(path, "r");
}

static bool load_libsvm(const char *name, uint32_t d, struct table *t)
{
    enum { ROWS = 40000, ENTRIES = 1 << 20 };
    FILE *f = open_data(name);
    char line[4096];
    uint32_t nnz = 0;

    memset(t, 0, sizeof *t);
    if (!f)
        return false;
    t->d = d;
    t->ptr = calloc(ROWS + 1, sizeof *t->ptr);
    t->col = calloc(ENTRIES, sizeof *t->col);
    t->val = calloc(ENTRIES, sizeof *t->val);
    t->y = calloc(ROWS, sizeof *t->y);
    t->weight = calloc(ROWS, sizeof *t->weight);
    while (fgets(line, sizeof line, f)) {
        char *at = line;

        assert_true(t->n < ROWS);
        t->weight[t->n] = 1;
        t->y[t->n] = strtof(at, &at);
        for (unsigned long c; (c = strtoul(at, &at, 10)) != 0; nnz++) {
            assert_true(*at == ':' && c <= d && nnz < ENTRIES);
            t->col[nnz] = (uint32_t)c - 1;
            t->val[nnz] = strtof(at + 1, &at);
        }
        t->ptr[++t->n] = nnz;
    }
    fclose(f);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t end = i + BLOCK_ROWS < t->n ? i + BLOCK_ROWS : t->n;

        if (t->ptr[end] - t->ptr[i] > t->nnz_max)
            t->nnz_max = t->ptr[end] - t->ptr[i];
    }
    return true;
}

bool load_a9a(struct table *train, struct table *test)
{
    return load_libsvm("a9a/a9a.libsvm", 123, train) && load_libsvm("a9a/a9a.t.libsvm", 123, test);
}

static uint8_t *load_idx(const char *name, uint32_t n, uint32_t width, int header)
{
    char path[256];
    size_t bytes = (size_t)n * width;
    uint8_t *b = malloc(bytes), skip[16];
    gzFile f;

    snprintf(path, sizeof path, "/usr/share/datasets/fashion-mnist/%s.gz", name);
    f = gzopen(path, "rb");
    if (!f) {
        free(b);
        return NULL;
    }
    assert_int_equal(gzread(f, skip, (unsigned)header), header);
    assert_int_equal(gzread(f, b, (unsigned)bytes), bytes);
    gzclose(f);
    return b;
}

static bool load_images(const char *images, const char *labels, uint32_t n, struct table *t)
{
    uint8_t *x = load_idx(images, n, 784, 16), *y = x ? load_idx(labels, n, 1, 8) : NULL;

    memset(t, 0, sizeof *t);
    if (!x || !y)
        return false;
    t->n = n;
    t->d = 784;
    t->x = calloc((size_t)n * 784, sizeof *t->x);
    t->y = calloc(n, sizeof *t->y);
    t->weight = calloc(n, sizeof *t->weight);
    for (size_t i = 0; i < (size_t)n * 784; i++)
        t->x[i] = (float)x[i] / 255.0f;
    for (uint32_t i = 0; i < n; i++) {
        t->y[i] = y[i];
        t->weight[i] = 1;
    }
    free(x);
    free(y);
    return true;
}

bool load_fashion(struct table *train, struct table *test)
{
    return load_images("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 60000, train) &&
           load_images("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 10000, test);
}

double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
