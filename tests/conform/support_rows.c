#include "tests/conform/support_rows.h"

#include "config/base/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- memory ---- */

void region_open(struct region *g, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    g->bytes = (bytes + page - 1) / page * page + page;
    g->base =
        mmap(NULL, g->bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(g->base != MAP_FAILED);
    CHECK(!mprotect(g->base + g->bytes, page, PROT_NONE));
}

void region_close(struct region *g)
{
    if (g->base)
        munmap(g->base, g->bytes + (size_t)sysconf(_SC_PAGESIZE));
    memset(g, 0, sizeof *g);
}

void *region_end(const struct region *g, size_t bytes, size_t align)
{
    CHECK(bytes <= g->bytes);
    return g->base + ((g->bytes - bytes) & ~(align - 1));
}

enum { MARK = 0xc3 };

void region_mark(const struct region *g, void *p, size_t bytes)
{
    memset((uint8_t *)p + bytes, MARK, (size_t)(g->base + g->bytes - (uint8_t *)p) - bytes);
}

bool region_marked(const struct region *g, const void *p, size_t bytes)
{
    for (const uint8_t *q = (const uint8_t *)p + bytes; q < g->base + g->bytes; q++)
        if (*q != MARK)
            return false;
    return true;
}

void region_protect(const struct region *g, bool read_only)
{
    CHECK(!mprotect(g->base, g->bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE));
}

/* ---- random numbers: a counter through mix64, so nothing is remembered ---- */

static uint64_t word(uint64_t seed, uint64_t a, uint64_t b)
{
    return mix64(mix64(mix64(seed) ^ a) ^ b);
}

static float uniform(uint64_t w)
{
    return (float)(w >> 40) / 16777216.0f;
}

/* Nearly normal: the sum of four uniform numbers, standard deviation 1. */
static float normal(uint64_t w)
{
    float sum = 0;

    for (int i = 0; i < 4; i++)
        sum += (float)((w >> (16 * i)) & 0xffff) / 65536.0f - 0.5f;
    return sum * 1.7320508f;
}

/* ---- rows ---- */

void rows_open(struct rows_room *m, const struct rows_plan *plan)
{
    size_t n = plan->rows + 1u, nnz = (size_t)plan->rows * ROWS_NNZ_MAX + ROWS_JUNK;
    size_t ld = (plan->d + 15u) & ~15u;

    memset(m, 0, sizeof *m);
    m->plan = *plan;
    for (int i = 0; i < ROWS_ARRAYS; i++)
        region_open(&m->g[i], 8 * (n > nnz ? n : nnz));
    region_close(&m->g[ROWS_X]);
    region_open(&m->g[ROWS_X], n * ld * sizeof(float));
}

void rows_close(struct rows_room *m)
{
    for (int i = 0; i < ROWS_ARRAYS; i++)
        region_close(&m->g[i]);
}

/* Columns have unlike means and spreads, as real ones do; column 1 is constant. */
static void fill_dense(struct rows_room *m, uint32_t n, uint64_t key)
{
    const struct rows_plan *p = &m->plan;
    uint32_t ld = (p->d + 15u) & ~15u;
    float *x = region_end(&m->g[ROWS_X], (size_t)n * ld * sizeof *x, 64);

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < ld; j++) {
            float v = j == 1 ? 3.0f : normal(word(key, i, j)) * (float)(1 + j % 3) + (float)(j % 4);

            v = p->missing && word(key, i, 3000 + j) % 8 == 0 ? (float)NAN : v;
            x[(size_t)i * ld + j] = j < p->d ? v : (float)NAN;
        }
    m->r.in[0] = (struct feat){.d = p->d, .ld = ld, .x = x};
}

/* The columns of row i: ascending, distinct, low ones more often. */
static uint32_t pick_columns(const struct rows_plan *p, uint64_t key, uint32_t i, uint32_t *out)
{
    uint32_t want = (uint32_t)(word(key, i, 1) % (ROWS_NNZ_MAX + 1)), n = 0;

    for (uint32_t k = 0; k < want; k++) {
        float u = uniform(word(key, i, 2 + k));
        uint32_t c = (uint32_t)(u * u * (float)p->d), at = n;

        while (at && out[at - 1] > c)
            at--;
        if (at && out[at - 1] == c)
            continue;
        memmove(out + at + 1, out + at, (n - at) * sizeof *out);
        out[at] = c;
        n++;
    }
    return n;
}

static void fill_sparse(struct rows_room *m, uint32_t n, uint64_t key)
{
    const struct rows_plan *p = &m->plan;
    uint32_t col[ROWS_NNZ_MAX + 1], total = ROWS_JUNK, uniq_n = 0;
    uint32_t *ptr = region_end(&m->g[ROWS_PTR], (n + 1) * sizeof *ptr, 4), *c, *local, *uniq;
    uint32_t *number = calloc(p->d, sizeof *number); /* of a column in uniq, from 1 */
    float *val;

    CHECK(number);
    for (uint32_t i = 0; i < n; i++)
        total += pick_columns(p, key, i, col);
    c = region_end(&m->g[ROWS_COL], total * sizeof *c, 4);
    local = region_end(&m->g[ROWS_LOCAL], total * sizeof *local, 4);
    val = region_end(&m->g[ROWS_VAL], total * sizeof *val, 4);
    for (uint32_t q = 0; q < ROWS_JUNK; q++) {
        c[q] = local[q] = UINT32_MAX;
        val[q] = (float)NAN;
    }
    ptr[0] = ROWS_JUNK;
    uniq = (void *)m->g[ROWS_UNIQ].base; /* moved to the guard page when its length is known */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = pick_columns(p, key, i, c + ptr[i]);

        ptr[i + 1] = ptr[i] + k;
        for (uint32_t q = ptr[i]; q < ptr[i + 1]; q++) {
            if (!number[c[q]])
                uniq[uniq_n] = c[q], number[c[q]] = ++uniq_n;
            local[q] = number[c[q]] - 1;
            val[q] = normal(word(key, i, 100 + c[q]));
        }
    }
    uniq = memmove(region_end(&m->g[ROWS_UNIQ], uniq_n * sizeof *uniq, 4), uniq,
                   uniq_n * sizeof *uniq);
    free(number);
    m->r.in[0] = (struct feat){.d = p->d,
                               .ptr = ptr,
                               .col = c,
                               .val = val,
                               .uniq_n = uniq_n,
                               .uniq = uniq,
                               .local = local};
}

/* A linear teacher with noise: there is something to learn. */
static float teach(const struct rows_room *m, uint32_t i, uint64_t w)
{
    const struct rows_plan *p = &m->plan;
    const struct feat *f = &m->r.in[0];
    float z = 0.3f * normal(w);

    for (uint32_t j = 0; f->x && j < p->d; j++)
        z += f->x[(size_t)i * f->ld + j] * normal(word(p->seed, 77, j)) / (float)(1 + j % 3);
    for (uint32_t q = f->x ? 0 : f->ptr[i]; !f->x && q < f->ptr[i + 1]; q++)
        z += f->val[q] * normal(word(p->seed, 77, f->col[q]));
    if (p->counts)
        return z < 0 ? 0 : (float)(uint32_t)z;
    if (!p->classes)
        return z;
    z = z < -3 ? -3 : z > 2.99f ? 2.99f : z;
    return (float)(uint32_t)((z + 3) / 6 * (float)p->classes);
}

const struct rows *rows_make_sized(struct rows_room *m, uint32_t partition, uint64_t number,
                                   uint32_t n, uint32_t train)
{
    static const float weights[] = {1, 1, 1, 1, 2, 0.5f, 1, 0};
    const struct rows_plan *p = &m->plan;
    uint64_t key = word(p->seed, partition, number);
    float *y = region_end(&m->g[ROWS_Y], (size_t)n * p->ny * sizeof *y, 4);
    float *weight = region_end(&m->g[ROWS_WEIGHT], n * sizeof *weight, 4);
    uint64_t *rid = region_end(&m->g[ROWS_RID], n * sizeof *rid, 8);
    uint64_t *hash = region_end(&m->g[ROWS_KEY], n * sizeof *hash, 8);
    int64_t *ts = region_end(&m->g[ROWS_TS], n * sizeof *ts, 8);

    CHECK(train <= n && n <= p->rows);
    for (int i = 0; i < ROWS_ARRAYS; i++)
        region_protect(&m->g[i], false);
    memset(&m->r, 0, sizeof m->r);
    if (p->sparse)
        fill_sparse(m, n, key);
    else
        fill_dense(m, n, key);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < p->ny; k++)
            y[(size_t)i * p->ny + k] = teach(m, i, word(key, i, 1000 + k));
        weight[i] = weights[word(key, i, 2000) % 8];
        rid[i] = (number * p->rows + i) << 16;
        hash[i] = word(p->seed, 9, word(key, i, 2001) % 16);
        ts[i] = 1767225600000 + (int64_t)(number * p->rows + i) * 1000;
    }
    CHECK(p->folds && p->folds <= ROWS_FOLDS_MAX);
    for (uint32_t k = 0; k <= p->folds; k++)
        m->fold_at[k] = train * k / p->folds;
    m->r.n = n;
    m->r.train = train;
    m->r.partition = partition;
    m->r.batch = number;
    m->r.last = true; /* a block of one batch: the laws may save after any */
    m->r.folds = p->folds;
    m->r.fold_at = m->fold_at;
    m->r.ny = p->ny;
    m->r.y = p->ny ? y : NULL;
    m->r.weight = weight;
    m->r.decay = p->decay > 0 ? p->decay : 1;
    m->r.rid = rid;
    m->r.key = hash;
    m->r.ts_ms = ts;
    m->r.host = &m->r;
    return &m->r;
}

const struct rows *rows_make(struct rows_room *m, uint32_t partition, uint64_t number)
{
    uint64_t w = word(m->plan.seed ^ 5, partition, number);
    uint32_t n = 2 + (uint32_t)(w % (m->plan.rows - 1)), kind = (uint32_t)(number % 7);
    uint32_t held = (uint32_t)((w >> 32) % (n * 3 / 10 + 1));

    if (kind == 3)
        return rows_make_sized(m, partition, number, 0, 0);
    if (kind == 4)
        return rows_make_sized(m, partition, number, 1, 1);
    return rows_make_sized(m, partition, number, n, kind == 5 ? 0 : n - held);
}
