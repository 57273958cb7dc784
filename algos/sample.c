/* sample.c: the N rows of smallest key.
 *
 * Problem. Keep N rows of a stream of unknown length such that every row had the chance that its
 * weight deserves, in one pass, whatever partitions and batches it comes in.
 *
 * Idea. Row i draws E_i = -log(1 - u_i), exponentially distributed, u_i a hash of (seed, partition,
 * rid) in place of a random number, and is ranked by E_i / w_i: the N smallest are a sample without
 * replacement in which the next row is always chosen with probability proportional to weight
 * (Efraimidis and Spirakis, Weighted random sampling with a reservoir, IPL 97, 2006; Cohen and
 * Kaplan, Summarizing data using bottom-k sketches, PODC 2007). With weights of 1 it is the plain
 * uniform sample. Of two such samples the N smallest of the union are the sample of all their rows,
 * exactly.
 * Half-life. A row's weight at a later time is w e^-(now - then): all keys grow by the same factor,
 * so none need be rewritten (forward decay: Cormode, Shkapenyuk, Srivastava, Xu, ICDE 2009). Kept
 * is key = log E - log w - then, in the log domain, since e^then soon leaves float64; `age` is
 * `now`. A batch's decay is spread evenly over its rows, so it does not matter how rows are cut
 * into batches. A slot's keys are aligned to its end in the view: there `age` is 0 for all
 * partitions. Seen again. Rows of a partition come by ascending rid, so a row is known if its rid
 * is below the greatest one seen: one compare, no search, and it stays true with a half-life. (A
 * topic that was created again counts its offsets from 0: its rows are new from the old end on.)
 *
 * Cost a row. One hash and one compare, for E >= u, so that u alone rejects nearly all that do not
 * belong. A row that is taken costs two logarithms, log N steps in a heap and a copy of D numbers;
 * of n rows N (1 + log(n / N)) are.
 * State. 4 N (D + L) + 20 N bytes: SAMPLE_*. Keys and rids lie by place, so that a row that goes
 * leaves the others where they are and a checkpoint writes few chunks.
 * Merge. Both sides sorted by (key, partition, rid), merged, equal rows once, the first N kept.
 * Limits. The weight decides who is kept; what is kept counts alike. */
#include "algos/sample.h"

#include "algos/compute/kernels.h"
#include "config/base/bytes.h"

#include <string.h>

static const uint32_t of_slot = 1u << 31; /* marks places of the slot among those of the view */

/* ---- tensors ---- */

static void add_all(struct decl *d, struct tdecl *t, size_t n, uint32_t live_from, uint32_t live_to)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i >= live_from && i <= live_to)
            t[i].live = 1; /* the head is tensor 0 */
        d->add(d, &t[i]);
    }
}

void sample_declare(struct decl *d, enum part p, const struct sample *s)
{
    const uint64_t n = s->n, labelled = s->ny ? n : 0;
    struct tdecl state[] = {
        TENSOR(SAMPLE_HEAD, "head", "rows kept; 1 + the greatest rid seen", DT_U64, LAW_FOLD,
               T_HOST, SAMPLE_HEAD_N, 0),
        TENSOR(SAMPLE_AGE, "age", "-log of what the half-life left of the first rows' weight",
               DT_F64, LAW_FOLD, T_HOST, 1, 0),
        TENSOR(SAMPLE_KEY, "key", "rank of a row: the smallest are kept", DT_F64, LAW_FOLD, T_HOST,
               n, 0),
        TENSOR(SAMPLE_RID, "rid", "which row it is: offset << 16 | row in record", DT_U64, LAW_FOLD,
               T_HOST, n, 0),
        TENSOR(SAMPLE_X, "x", "numbers of the rows kept", DT_F32, LAW_FOLD, T_HOST | T_SPARSE, n,
               s->d),
        TENSOR(SAMPLE_Y, "y", "labels of the rows kept", DT_F32, LAW_FOLD, T_HOST, labelled, s->ny),
        TENSOR(SAMPLE_HEAP, "heap", "places of rows, the greatest key first", DT_U32, LAW_LOCAL,
               T_HOST, n, 0)};
    struct tdecl view[] = {
        TENSOR(SAMPLE_VIEW_HEAD, "head", "rows", DT_U64, LAW_FOLD, T_HOST, 1, 0),
        TENSOR(SAMPLE_VIEW_KEY, "key", "rank of a row, ascending", DT_F64, LAW_FOLD, T_HOST, n, 0),
        TENSOR(SAMPLE_VIEW_RID, "rid", "which row it is: offset << 16 | row in record", DT_U64,
               LAW_FOLD, T_HOST, n, 0),
        TENSOR(SAMPLE_VIEW_PART, "partition", "and of which partition", DT_U32, LAW_FOLD, T_HOST, n,
               0),
        TENSOR(SAMPLE_VIEW_X, "x", "numbers of the rows", DT_F32, LAW_FOLD, T_HOST, n, s->d),
        TENSOR(SAMPLE_VIEW_Y, "y", "labels of the rows", DT_F32, LAW_FOLD, T_HOST, labelled, s->ny),
        TENSOR(SAMPLE_VIEW_ORDER, "order", "places while slots are added", DT_U32, LAW_FOLD, T_HOST,
               n, 0)};
    struct tdecl work[] = {
        TENSOR(SAMPLE_WORK_ORDER, "sample.order", "places of the slot", DT_U32, 0, T_HOST, n, 0),
        TENSOR(SAMPLE_WORK_MERGE, "sample.merge", "places of both", DT_U32, 0, T_HOST, n, 0),
        TENSOR(SAMPLE_WORK_FREE, "sample.free", "free places", DT_U32, 0, T_HOST, n, 0),
        TENSOR(SAMPLE_WORK_ROW, "sample.row", "one row", DT_F32, 0, T_HOST,
               s->d > s->ny ? s->d : s->ny, 0)};

    CHECK(s->n && s->n < of_slot && s->d);
    if (p == PART_STATE)
        add_all(d, state, SAMPLE_STATE_N, SAMPLE_KEY, SAMPLE_HEAP);
    else if (p == PART_VIEW)
        add_all(d, view, SAMPLE_VIEW_N, SAMPLE_VIEW_KEY, SAMPLE_VIEW_Y);
    else
        add_all(d, work, SAMPLE_WORK_N, 1, 0);
}

/* ---- keys ---- */

/* 2 artanh(s) for |s| <= 0.172: the terms left out are below 1e-17 of the sum. */
static double twice_artanh(double s)
{
    const double q = s * s;
    double p = 0;

    for (int k = 21; k >= 1; k -= 2)
        p = p * q + 1.0 / k;
    return 2 * s * p;
}

double sample_log(double v)
{
    const double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
    uint64_t bits;
    double e, m;

    CHECK(v >= 2.3e-308 && v < 1.7e308);
    memcpy(&bits, &v, sizeof bits);
    e = (double)((int64_t)(bits >> 52) - 1023);
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e += 1;
    }
    return e * ln2_high + (e * ln2_low + twice_artanh((m - 1) / (m + 1)));
}

uint64_t sample_hash(uint64_t seed, uint64_t purpose, uint32_t partition, uint64_t rid)
{
    return mix64(mix64(mix64(seed ^ mix64(purpose)) + partition) ^ rid);
}

double sample_key(uint64_t hash, double weight, double age)
{
    const double ulp = 5.421010862427522e-20; /* 2^-64 */
    double u = ((double)hash + 0.5) * ulp, e;

    /* -log(1 - u): relative digits at both ends */
    if (u < 0.25)
        e = twice_artanh(u / (2 - u));
    else
        e = -sample_log(((double)~hash + 0.5) * ulp);
    return sample_log(e) - sample_log(weight) - age;
}

/* ---- learning ---- */

static bool after(const struct tensors *t, uint32_t a, uint32_t b)
{
    const double *key = t->t[SAMPLE_KEY].f64;
    const uint64_t *rid = t->t[SAMPLE_RID].u64;

    return key[a] > key[b] || (key[a] == key[b] && rid[a] > rid[b]);
}

static void sift_down(const struct tensors *t, uint32_t *heap, uint32_t n, uint32_t at)
{
    const uint32_t place = heap[at];

    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && after(t, heap[child + 1], heap[child]))
            child++;
        if (!after(t, heap[child], place))
            break;
        heap[at] = heap[child];
    }
    heap[at] = place;
}

static void sift_up(const struct tensors *t, uint32_t *heap, uint32_t at)
{
    const uint32_t place = heap[at];

    for (; at && after(t, place, heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = place;
}

/* E >= u, so u >= w e^(greatest key + age) rejects; the batch's last row has the greatest age. The
 * float32 exponential is off by far less than the margin; below the least hash there is nothing to
 * gain. */
static double bound_of(const struct sampler *m)
{
    const struct tensor *t = m->t->t;
    double e;

    if (t[SAMPLE_HEAD].u64[SAMPLE_LIVE] < m->s->n)
        return (double)__builtin_inff();
    e = t[SAMPLE_KEY].f64[t[SAMPLE_HEAP].u32[0]] + t[SAMPLE_AGE].f64[0];
    return e < -43 ? 2.2e-19 : 1.0001 * (double)mr_exp((float)e);
}

static bool is_fresh(const struct sampler *m, uint32_t i)
{
    return m->r->weight[i] > 0 && m->r->rid[i] >= m->next;
}

struct sampler sample_begin(const struct ctx *x, const struct sample *s, struct tensors *state,
                            const struct rows *r)
{
    struct sampler m = {.s = s,
                        .t = state,
                        .r = r->host,
                        .salt = mix64(mix64(x->seed ^ mix64(s->purpose)) + r->partition),
                        .next = state->t[SAMPLE_HEAD].u64[SAMPLE_NEXT]};
    double *age = state->t[SAMPLE_AGE].f64, decay = r->decay < 1e-300 ? 1e-300 : r->decay;
    uint32_t i = 0;

    CHECK(r->host && r->train <= r->n && r->host->weight && r->host->rid);
    CHECK(state->t[SAMPLE_KEY].n == s->n && state->t[SAMPLE_X].n == (uint64_t)s->n * s->d);
    CHECK(state->t[SAMPLE_HEAD].u64[SAMPLE_LIVE] <= s->n && r->decay >= 0 && r->decay <= 1);
    while (i < r->train && !is_fresh(&m, i))
        i++;
    m.age = *age;
    if (i < r->train) {
        m.pace = -sample_log(decay) / r->train;
        *age -= sample_log(decay);
    }
    m.bound = bound_of(&m);
    return m;
}

bool sample_fresh(struct sampler *m, uint32_t i)
{
    uint64_t *next = &m->t->t[SAMPLE_HEAD].u64[SAMPLE_NEXT];

    if (!is_fresh(m, i))
        return false;
    *next = m->r->rid[i] >= *next ? m->r->rid[i] + 1 : *next;
    return true;
}

bool sample_take(struct sampler *m, uint32_t i, uint32_t *place)
{
    const uint64_t hash = mix64(m->salt ^ m->r->rid[i]);
    struct tensor *t = m->t->t;
    uint64_t *live = &t[SAMPLE_HEAD].u64[SAMPLE_LIVE];
    uint32_t *heap = t[SAMPLE_HEAP].u32, top = heap[0];
    double weight = (double)m->r->weight[i], key;

    if ((double)hash * 5.421010862427522e-20 >= weight * m->bound)
        return false;
    key = sample_key(hash, weight, m->age + m->pace * (i + 1));
    if (*live == m->s->n &&
        (key > t[SAMPLE_KEY].f64[top] ||
         (key == t[SAMPLE_KEY].f64[top] && m->r->rid[i] > t[SAMPLE_RID].u64[top])))
        return false;
    *place = *live < m->s->n ? (uint32_t)*live : top;
    t[SAMPLE_KEY].f64[*place] = key;
    t[SAMPLE_RID].u64[*place] = m->r->rid[i];
    if (*live < m->s->n) {
        heap[*live] = *place;
        sift_up(m->t, heap, (uint32_t)(*live)++);
    } else {
        sift_down(m->t, heap, m->s->n, 0);
    }
    touch(m->t, SAMPLE_X, *place, 1);
    m->bound = bound_of(m);
    return true;
}

enum st sample_intact(const struct ctx *x, const struct sample *s, const struct tensors *state)
{
    const uint32_t live = (uint32_t)state->t[SAMPLE_HEAD].u64[SAMPLE_LIVE];
    const uint32_t *heap = state->t[SAMPLE_HEAP].u32;
    uint32_t *seen = x->work->t[SAMPLE_WORK_ORDER].u32;

    CHECK(live <= s->n && x->work->t[SAMPLE_WORK_ORDER].n == s->n);
    memset(seen, 0, s->n * sizeof *seen);
    for (uint32_t i = 0; i < live; i++)
        if (heap[i] >= live || seen[heap[i]]++ || (i && after(state, heap[i], heap[(i - 1) / 2])))
            return fail(x->err, ST_CORRUPT, "tensor heap: place %u of %u, or its order, is wrong",
                        i, live);
    return ST_OK;
}

/* ---- view ---- */

/* Places [0, n) of a slot by ascending (key, rid). */
static void sort_slot(const struct tensors *t, uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(t, order, n, i);
    for (uint32_t end = n; end-- > 1;) {
        uint32_t last = order[end];

        order[end] = order[0];
        order[0] = last;
        sift_down(t, order, end, 0);
    }
}

struct merge {
    const struct sample *s;
    struct tensor *view;
    const struct tensor *slot;
    double later; /* what aligns the slot's keys */
    uint32_t partition;
};

static double slot_key(const struct merge *g, uint32_t place)
{
    return g->slot[SAMPLE_KEY].f64[place] + g->later;
}

/* Is row `a` of the view before (-1), the same as (0), or after row `b` of the slot? */
static int compare(const struct merge *g, uint32_t a, uint32_t b)
{
    const double k = g->view[SAMPLE_VIEW_KEY].f64[a], l = slot_key(g, b);
    const uint32_t p = g->view[SAMPLE_VIEW_PART].u32[a];
    const uint64_t r = g->view[SAMPLE_VIEW_RID].u64[a], q = g->slot[SAMPLE_RID].u64[b];

    if (k < l || k > l)
        return k < l ? -1 : 1;
    if (p != g->partition)
        return p < g->partition ? -1 : 1;
    return r == q ? 0 : r < q ? -1 : 1;
}

/* The first N of both, equal rows once, into `to`; places of the view that lost theirs into `gone`.
 * Returns how many there are. */
static uint32_t merge_orders(const struct merge *g, const uint32_t *order, uint32_t have,
                             const uint32_t *other, uint32_t more, uint32_t *to, uint32_t *gone,
                             uint32_t *gone_n)
{
    uint32_t n = 0, a = 0, b = 0;

    while (n < g->s->n && (a < have || b < more)) {
        int c = a == have ? 1 : b == more ? -1 : compare(g, order[a], other[b]);

        to[n++] = c <= 0 ? order[a] : other[b] | of_slot;
        a += c <= 0;
        b += c >= 0;
    }
    for (*gone_n = 0; a < have; a++)
        gone[(*gone_n)++] = order[a];
    return n;
}

static void copy_in(const struct merge *g, uint32_t to, uint32_t from)
{
    const uint32_t d = g->s->d, ny = g->s->ny;

    g->view[SAMPLE_VIEW_KEY].f64[to] = slot_key(g, from);
    g->view[SAMPLE_VIEW_RID].u64[to] = g->slot[SAMPLE_RID].u64[from];
    g->view[SAMPLE_VIEW_PART].u32[to] = g->partition;
    memcpy(g->view[SAMPLE_VIEW_X].f32 + (size_t)to * d, g->slot[SAMPLE_X].f32 + (size_t)from * d,
           d * sizeof(float));
    if (ny)
        memcpy(g->view[SAMPLE_VIEW_Y].f32 + (size_t)to * ny,
               g->slot[SAMPLE_Y].f32 + (size_t)from * ny, ny * sizeof(float));
}

enum st sample_fold(const struct ctx *x, const struct sample *s, struct tensors *view,
                    const struct slot *slot)
{
    const struct tensor *from = slot->state->t;
    struct merge g = {.s = s, .view = view->t, .slot = from, .partition = slot->partition};
    uint64_t *live = view->t[SAMPLE_VIEW_HEAD].u64;
    uint32_t *order = x->work->t[SAMPLE_WORK_ORDER].u32, *to = x->work->t[SAMPLE_WORK_MERGE].u32;
    uint32_t *gone = x->work->t[SAMPLE_WORK_FREE].u32, gone_n, n, next = (uint32_t)*live;
    const uint32_t more = (uint32_t)from[SAMPLE_HEAD].u64[SAMPLE_LIVE];

    CHECK(more <= s->n && *live <= s->n && slot->weight >= 0);
    if (!more || !(slot->weight > 0))
        return ST_OK;
    g.later = from[SAMPLE_AGE].f64[0] - sample_log(slot->weight);
    sort_slot(slot->state, order, more);
    n = merge_orders(&g, view->t[SAMPLE_VIEW_ORDER].u32, next, order, more, to, gone, &gone_n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place;

        if (!(to[i] & of_slot))
            continue;
        place = gone_n ? gone[--gone_n] : next++;
        copy_in(&g, place, to[i] & ~of_slot);
        to[i] = place;
    }
    memcpy(view->t[SAMPLE_VIEW_ORDER].u32, to, n * sizeof *to);
    *live = n;
    CHECK(next == n && !gone_n);
    return ST_OK;
}

/* Place i gets the row of place order[i], along the cycles of that permutation; order becomes 0. */
static void permute(struct tensor *t, const uint32_t *order, uint32_t n, uint32_t *left, void *room)
{
    uint8_t *p = t->p;

    memcpy(left, order, n * sizeof *left);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;

        if (left[i] == i)
            continue;
        memcpy(room, p + i * t->row_bytes, t->row_bytes);
        while (left[at] != i) {
            uint32_t from = left[at];

            memcpy(p + at * t->row_bytes, p + from * t->row_bytes, t->row_bytes);
            left[at] = at;
            at = from;
        }
        memcpy(p + at * t->row_bytes, room, t->row_bytes);
        left[at] = at;
    }
}

void sample_fold_end(const struct ctx *x, const struct sample *s, struct tensors *view)
{
    static const uint32_t rows[] = {SAMPLE_VIEW_KEY, SAMPLE_VIEW_RID, SAMPLE_VIEW_PART,
                                    SAMPLE_VIEW_X, SAMPLE_VIEW_Y};
    uint32_t *order = view->t[SAMPLE_VIEW_ORDER].u32;
    const uint32_t n = (uint32_t)view->t[SAMPLE_VIEW_HEAD].u64[0];
    double one;

    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tensor *t = &view->t[rows[i]];

        if (t->n)
            permute(t, order, n, x->work->t[SAMPLE_WORK_ORDER].u32,
                    t->row_bytes <= sizeof one ? (void *)&one : x->work->t[SAMPLE_WORK_ROW].p);
    }
    memset(order, 0, s->n * sizeof *order);
}
