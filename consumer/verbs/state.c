/* state.c: `millrace state ls|show|verify DIR`: what lies in a worker's folder, or in all folders
 * of a state_dir. Reads beside running workers and writes nothing. */
#include "algos/tensors.h"
#include "config/base/bytes.h"
#include "config/base/clock.h"
#include "consumer/verbs/verbs.h"
#include "statestore/checkpoint.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct state_flags {
    bool digest;
    char partition[8];
};

struct stats {
    double min, max, sum;
    uint64_t n, zeros, bad;
};

/* One run of the verb; one partition of one folder at a time. */
struct tool {
    enum st (*visit)(struct tool *t, struct err *e); /* of the partition in m */
    uint32_t only;                                   /* partition asked for, or PARTITIONS_MAX */
    const char *dir;                                 /* the worker's folder */
    struct checkpoint *cp;
    struct manifest m;
    struct digest digest;
    struct tensors ts;
    struct stats stats[SLOT_TENSORS_MAX];
    uint64_t letters;
    uint32_t broken, seen;
    struct {
        bool is;
        struct position at;
        uint64_t digest;
    } best[PARTITIONS_MAX];
};

/* ---- reading a state chunk by chunk ---- */

static double element(enum dtype type, const uint8_t *p)
{
    union {
        float f32;
        double f64;
        int32_t i32;
        int64_t i64;
    } v;

    if (type == DT_F64 || type == DT_I64 || type == DT_U64)
        v.i64 = (int64_t)get_u64(p);
    else if (type != DT_U8)
        v.i32 = (int32_t)get_u32(p);
    switch (type) {
    case DT_F32:
        return (double)v.f32;
    case DT_F64:
        return v.f64;
    case DT_U8:
        return *p;
    case DT_I32:
        return v.i32;
    case DT_U32:
        return (uint32_t)v.i32;
    case DT_I64:
        return (double)v.i64;
    case DT_U64:
        return (double)(uint64_t)v.i64;
    }
    return 0;
}

static void stats_add(struct stats *s, double v)
{
    s->zeros += v == 0;
    if (!isfinite(v)) {
        s->bad++;
        return;
    }
    s->min = s->n && s->min < v ? s->min : v;
    s->max = s->n && s->max > v ? s->max : v;
    s->sum += v;
    s->n++;
}

/* Tensors begin on 64-byte edges and chunks are multiples of that, so no element spans two. */
static enum st look_at_chunk(void *arg, uint32_t j, const uint8_t *p, uint32_t bytes, struct err *e)
{
    struct tool *t = arg;
    uint64_t from = (uint64_t)j * t->m.chunk_bytes, upto = from + bytes;

    (void)e;
    digest_chunk(&t->digest, j, p, bytes);
    for (uint32_t i = 0; i < t->ts.n; i++) {
        const struct tensor *x = &t->ts.t[i];
        uint64_t at = x->offset > from ? x->offset : from;
        uint64_t end = x->offset + x->bytes < upto ? x->offset + x->bytes : upto;

        for (; at < end; at += dtype_size(x->d.dtype))
            stats_add(&t->stats[i], p ? element(x->d.dtype, p + (at - from)) : 0);
    }
    return ST_OK;
}

/* Lays out the tensors that the manifest describes. */
static enum st lay_out(struct tool *t, struct err *e)
{
    struct tdecl d[SLOT_TENSORS_MAX];
    uint32_t shift = (uint32_t)__builtin_ctz(t->m.chunk_bytes);

    memset(t->stats, 0, sizeof t->stats);
    memset(&t->ts, 0, sizeof t->ts);
    for (uint32_t i = 0; i < t->m.tensors; i++) {
        const struct slot_tensor *s = &t->m.tensor[i];

        d[i] = (struct tdecl){.id = i,
                              .name = s->name,
                              .what = "",
                              .dtype = (enum dtype)s->dtype,
                              .law = (enum law)s->law,
                              .flags = s->flags,
                              .by = s->by,
                              .live = s->live};
        memcpy(d[i].dim, s->dim, sizeof d[i].dim);
    }
    if (!t->m.tensors)
        return ST_OK;
    TRY(tensors_layout(&t->ts, d, t->m.tensors, shift, UINT64_MAX, e));
    if (t->ts.bytes != t->m.state_bytes || t->m.chunk_bytes != 1u << shift)
        return fail(e, ST_CORRUPT,
                    "partition %" PRIu32 ": its tensors take %" PRIu64
                    " bytes, its state has %" PRIu64,
                    t->m.partition, t->ts.bytes, t->m.state_bytes);
    return ST_OK;
}

/* ---- ls ---- */

static const char *flags_text(uint32_t flags)
{
    return flags & SLOT_DONE      ? "done"
           : flags & SLOT_STOPPED ? "stopped"
           : flags & SLOT_IDLE    ? "idle"
                                  : "-";
}

static enum st age_text(struct tool *t, char *text, size_t n, struct err *e)
{
    int64_t ms;
    double s;

    TRY(checkpoint_time(t->cp, t->m.partition, &ms, e));
    s = (double)(clock_wall_ms() - ms) / 1000;
    if (!ms)
        snprintf(text, n, "-");
    else if (s < 120)
        snprintf(text, n, "%.0fs", s);
    else if (s < 7200)
        snprintf(text, n, "%.0fm", s / 60);
    else if (s < 172800)
        snprintf(text, n, "%.0fh", s / 3600);
    else
        snprintf(text, n, "%.0fd", s / 86400);
    return ST_OK;
}

static enum st ls_one(struct tool *t, struct err *e)
{
    const struct manifest *m = &t->m;
    char position[64], age[32];

    TRY(age_text(t, age, sizeof age, e));
    snprintf(position, sizeof position, "%" PRIu32 ":%" PRIu32 ":%" PRId64, m->pos.run,
             m->pos.epoch, m->pos.offset);
    if (!t->seen)
        printf("%-10s %9s  %-16s %12s %9s %9s %12s  %-12s %-8s %s\n", "worker", "partition",
               "position", "records", "rejected", "lost", "bytes", "algorithm", "status", "age");
    printf("%-10s %9" PRIu32 "  %-16s %12" PRIu64 " %9" PRIu64 " %9" PRIu64 " %12" PRIu64
           "  %-12s %-8s %s\n",
           checkpoint_worker(t->cp), m->partition, position, m->trained, m->rejected, m->lost,
           m->state_bytes, m->algo, flags_text(m->flags), age);
    return ST_OK;
}

/* ---- show ---- */

static void show_head(const struct tool *t, const char *age)
{
    const struct manifest *m = &t->m;
    uint32_t stored = 0;

    for (uint32_t j = 0; j < m->chunks; j++)
        stored += m->chunk[j].bytes != 0;
    printf("%spartition %" PRIu32 " of job %s, worker %s\n", t->seen ? "\n" : "", m->partition,
           checkpoint_job(t->cp), checkpoint_worker(t->cp));
    printf("  algorithm    %s, state version %" PRIu32 "\n", m->algo, m->state_version);
    printf("  position     run %" PRIu32 ", epoch %" PRIu32 " of %" PRIu32 ", offset %" PRId64 "\n",
           m->pos.run, m->pos.epoch, m->epochs, m->pos.offset);
    if (m->end == INT64_MAX)
        printf("  offsets      from %" PRId64 ", no end\n", m->begin);
    else
        printf("  offsets      [%" PRId64 ", %" PRId64 ")\n", m->begin, m->end);
    printf("  records      %" PRIu64 " trained, %" PRIu64 " rejected, %" PRIu64 " lost\n",
           m->trained, m->rejected, m->lost);
    if (m->last_offset >= 0)
        printf("  last record  offset %" PRId64 ", fingerprint %016" PRIx64 "\n", m->last_offset,
               m->last_fingerprint);
    printf("  status       %s, publish %" PRIu64 ", round %" PRIu32 ", of %" PRIu32 " partitions\n",
           flags_text(m->flags), m->seq, m->round, m->partitions);
    printf("  fingerprint  %016" PRIx64 " (algorithm, options, schema, seed, topic)\n", m->job);
    printf("  state        %" PRIu64 " bytes in %" PRIu32 " chunks of %" PRIu32 ", %" PRIu32
           " not zero\n",
           m->state_bytes, m->chunks, m->chunk_bytes, stored);
    printf("  age          %s\n", age);
    printf("  digest       %016" PRIx64 "\n", t->digest.h);
}

static void show_tensors(const struct tool *t)
{
    static const char *const law[] = {"local", "sum", "min", "max", "mean", "same", "fold"};

    if (t->ts.n)
        printf("\n  %-20s %-16s %-4s %-5s %12s %12s %12s %10s %10s\n", "tensor", "shape", "type",
               "law", "min", "max", "mean", "zeros", "non-finite");
    for (uint32_t i = 0; i < t->ts.n; i++) {
        const struct tdecl *d = &t->ts.t[i].d;
        const struct stats *s = &t->stats[i];
        char shape[96];
        int n = 0;

        for (uint32_t k = 0; k < 4 && d->dim[k]; k++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRIu64, k ? "," : "[",
                          d->dim[k]);
        snprintf(shape + n, sizeof shape - (size_t)n, "]");
        printf("  %-20s %-16s %-4s %-5s %12.6g %12.6g %12.6g %10" PRIu64 " %10" PRIu64 "\n",
               d->name, shape, dtype_name(d->dtype),
               (unsigned)d->law < sizeof law / sizeof *law ? law[d->law] : "?", s->min, s->max,
               s->n ? s->sum / (double)s->n : 0, s->zeros, s->bad);
    }
}

static void show_lineage(const struct manifest *m)
{
    static const char *const kind[] = {"learned", "lost", "reset", "ended"};

    if (m->lineages)
        printf("\n  %-8s %6s %6s %16s %16s %16s\n", "lineage", "run", "epoch", "from offset",
               "to before", "records");
    for (uint32_t i = 0; i < m->lineages; i++) {
        const struct lineage *l = &m->lineage[i];

        printf("  %-8s %6" PRIu32 " %6" PRIu32 " %16" PRId64 " %16" PRId64 " %16" PRIu64 "\n",
               kind[l->kind], l->run, l->epoch, l->begin, l->end, l->records);
    }
}

static enum st show_one(struct tool *t, struct err *e)
{
    char age[32];

    TRY(age_text(t, age, sizeof age, e));
    TRY(lay_out(t, e));
    digest_begin(&t->digest, &t->m);
    TRY(checkpoint_load(t->cp, &t->m, look_at_chunk, t, e));
    show_head(t, age);
    show_tensors(t);
    show_lineage(&t->m);
    return ST_OK;
}

/* Two folders may know the same partition: the greater position is the state. */
static enum st digest_one(struct tool *t, struct err *e)
{
    uint32_t p = t->m.partition;

    t->ts.n = 0;
    digest_begin(&t->digest, &t->m);
    TRY(checkpoint_load(t->cp, &t->m, look_at_chunk, t, e));
    if (t->best[p].is && position_cmp(t->best[p].at, t->m.pos) >= 0)
        return ST_OK;
    t->best[p].is = true;
    t->best[p].at = t->m.pos;
    t->best[p].digest = t->digest.h;
    return ST_OK;
}

static void digest_print(const struct tool *t)
{
    uint64_t all = 0;
    uint8_t b[12];

    for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
        if (!t->best[p].is)
            continue;
        printf("digest %016" PRIx64 " partition %" PRIu32 "\n", t->best[p].digest, p);
        put_u32(b, p);
        put_u64(b + 4, t->best[p].digest);
        all = hash64(b, sizeof b, all);
    }
    printf("digest %016" PRIx64 " all\n", all);
}

/* ---- verify ---- */

static enum st pass_chunk(void *arg, uint32_t j, const uint8_t *p, uint32_t bytes, struct err *e)
{
    (void)arg, (void)j, (void)p, (void)bytes, (void)e; /* it was checked on the way here */
    return ST_OK;
}

static enum st count_letter(void *arg, const struct dead_letter *d, struct err *e)
{
    (void)d, (void)e;
    ++*(uint64_t *)arg;
    return ST_OK;
}

static enum st verify_one(struct tool *t, struct err *e)
{
    struct position end = {UINT32_MAX, UINT32_MAX, INT64_MAX};

    t->letters = 0;
    TRY(checkpoint_load(t->cp, &t->m, pass_chunk, NULL, e));
    TRY(checkpoint_dead_scan(t->cp, t->m.partition, end, count_letter, &t->letters, e));
    printf("worker %s partition %" PRIu32 ": ok, %" PRIu32 " chunks, %" PRIu64 " bytes, %" PRIu64
           " dead letters\n",
           checkpoint_worker(t->cp), t->m.partition, t->m.chunks, t->m.state_bytes, t->letters);
    return ST_OK;
}

/* ---- folders ---- */

/* What is broken is named on stdout, since that is the result; the rest is gone through
 * nevertheless. */
static enum st broken(struct tool *t, enum st st, const struct err *e)
{
    if (st != ST_CORRUPT)
        return st;
    printf("broken: %s\n", e->text);
    t->broken++;
    return ST_OK;
}

static enum st each_partition(struct tool *t, struct err *e)
{
    static uint32_t p[PARTITIONS_MAX];
    uint32_t n;
    enum st st = checkpoint_partitions(t->cp, p, PARTITIONS_MAX, &n, e);

    if (st != ST_OK)
        return broken(t, st, e);
    for (uint32_t i = 0; i < n; i++) {
        if (t->only != PARTITIONS_MAX && p[i] != t->only)
            continue;
        st = checkpoint_manifest(t->cp, p[i], &t->m, e);
        if (st == ST_OK)
            st = t->visit(t, e);
        TRY(broken(t, st, e));
        t->seen++;
    }
    return ST_OK;
}

static enum st one_folder(struct tool *t, const char *dir, struct err *e)
{
    struct checkpoint_conf c = {.store = &store_rocksdb, .dir = dir, .flags = STORE_READ_ONLY};
    enum st st = checkpoint_open(&t->cp, &c, "", e);

    if (st == ST_OK)
        st = each_partition(t, e);
    else
        st = broken(t, st, e);
    checkpoint_close(t->cp);
    t->cp = NULL;
    return st;
}

static bool is_store(const char *dir)
{
    char path[4400];

    snprintf(path, sizeof path, "%s/CURRENT", dir);
    return !access(path, F_OK);
}

/* And not the local broker's, where the data are files. */
static bool may_be_worker(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, TOPICS_FOLDER) != 0;
}

/* DIR is a worker's folder, or has them in it. */
static enum st each_folder(struct tool *t, const char *dir, struct err *e)
{
    struct dirent **f;
    enum st st = ST_OK;
    int n, folders = 0;

    if (is_store(dir))
        return one_folder(t, dir, e);
    n = scandir(dir, &f, NULL, alphasort);
    if (n < 0)
        return fail(e, ST_BAD_CONFIG,
                    "state folder %s cannot be read; see state_dir in the job file", dir);
    for (int i = 0; i < n; i++) {
        bool worker = may_be_worker(f[i]->d_name);
        char path[4200];

        snprintf(path, sizeof path, "%s/%s", dir, f[i]->d_name);
        free(f[i]);
        if (worker && is_store(path) && st == ST_OK) {
            folders++;
            st = one_folder(t, path, e);
        }
    }
    free(f);
    if (!folders)
        return fail(e, ST_BAD_CONFIG,
                    "state folder %s holds no worker's state; see state_dir in the job file", dir);
    return st;
}

/* ---- the verb ---- */

static const struct flag state_flag[] = {
    {0,
     false,
     {"digest", OPT_BOOL, offsetof(struct state_flags, digest), 0, "false", 0, 0, NULL,
      "show: one digest per partition and one of all, and nothing else: equal states, equal lines.",
      NULL},
     NULL},
    {'p',
     false,
     {"partition", OPT_STR, offsetof(struct state_flags, partition), 8, "", 0, 0, NULL,
      "Only this partition.", NULL},
     NULL},
    {0}};

static int usage(const char *what, const char *word)
{
    fprintf(stderr, "millrace state: %s '%s'; usage: millrace state ls|show|verify DIR\n", what,
            word);
    return CLI_USAGE;
}

static enum st (*visitor(const char *word, bool digest))(struct tool *t, struct err *e)
{
    if (!strcmp(word, "ls"))
        return ls_one;
    if (!strcmp(word, "show"))
        return digest ? digest_one : show_one;
    return strcmp(word, "verify") ? NULL : verify_one;
}

static int run_on(struct tool *t, const char *dir)
{
    struct err e;
    enum st st = each_folder(t, dir, &e);

    if (st != ST_OK)
        return cli_fail(st, &e);
    if (!t->seen && !t->broken)
        fprintf(stderr, "millrace state: %s: no such partition has a state yet\n", dir);
    else if (t->visit == digest_one && !t->broken)
        digest_print(t);
    return t->broken ? CLI_FAILED : CLI_DONE;
}

static int state_run(const void *flags, int argc, char **argv)
{
    const struct state_flags *f = flags;
    unsigned long only = PARTITIONS_MAX;
    char *end = "";
    struct tool *t;
    struct err e;
    int code;

    if (argc != 2)
        return usage("a sub-verb and a folder are needed, not", argc ? argv[argc - 1] : "");
    if (!visitor(argv[0], f->digest))
        return usage("no such sub-verb:", argv[0]);
    if (*f->partition)
        only = strtoul(f->partition, &end, 10);
    if (*end || (*f->partition && only >= PARTITIONS_MAX))
        return usage("no such partition:", f->partition);
    t = calloc(1, sizeof *t);
    if (t)
        t->m.chunk = calloc(SLOT_CHUNKS_MAX, sizeof *t->m.chunk);
    if (!t || !t->m.chunk) {
        free(t);
        return cli_fail(fail(&e, ST_FATAL, "no memory"), &e);
    }
    t->m.chunks_max = SLOT_CHUNKS_MAX;
    t->only = (uint32_t)only;
    t->visit = visitor(argv[0], f->digest);
    code = run_on(t, argv[1]);
    free(t->m.chunk);
    free(t);
    return code;
}

const struct verb verb_state = {
    "state",
    "ls|show|verify DIR",
    "What a worker keeps on disk: partitions, tensors, lineage, checksums.",
    state_flag,
    sizeof(struct state_flags),
    "DIR is the job's state_dir or one worker's folder in it; a running trainer is not disturbed. "
    "ls: a line for "
    "each partition. show: position, counts, tensors with their range, and the exact offsets "
    "learned. verify: every "
    "chunk against its checksum; exits 1 and names what is broken.",
    state_run};
