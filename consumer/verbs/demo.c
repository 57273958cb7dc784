/* demo.c: millrace demo: the whole way on real pictures, without a server: topic, training, a kill,
 * the same bits, a model that scores, and clusters of any number from one state. Every step is a
 * command of this program, shown and run. */
#include "config/base/bytes.h"
#include "config/base/clock.h"
#include "consumer/child.h"
#include "consumer/png.h"
#include "consumer/verbs/verbs.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_ROOM = 4096 + 64,
    TEXT_ROOM = 1 << 14,
    KILL_AT_ROWS = 15000, /* of 60,000 */
    SIDE = 28,            /* of a picture, as loaded and as the clusters are */
    ZOOM = 3,
    GAP = 6,
    TILES = 10, /* side by side */
    TILE = SIDE * ZOOM + GAP,
    CENTRES_MAX = 20
};

static const double accuracy_min = 0.820;
static const char marker[] = ".millrace-demo", package[] = "dataset-fashion-mnist";
static const char *const made[] = {marker,
                                   "broker",
                                   "clothes.state",
                                   "undisturbed.state",
                                   "kinds.state",
                                   "clothes.yaml",
                                   "undisturbed.yaml",
                                   "kinds.yaml",
                                   "images.avsc",
                                   "clothes.safetensors",
                                   "undisturbed.safetensors",
                                   "kinds-5.safetensors",
                                   "kinds-10.safetensors",
                                   "kinds-20.safetensors",
                                   "clothes.png"};

struct demo_flags {
    char data[4096];
};

struct demo {
    const char *dir, *data;
    char path[8][PATH_ROOM]; /* turns of in_dir */
    uint32_t turn;
    char text[TEXT_ROOM], text2[TEXT_ROOM];
    uint8_t picture[4 * TILE + 3 * GAP][TILES * TILE + GAP];
    int64_t start_us;
    struct err err;
};

static const struct flag demo_flag[] = {
    {0,
     false,
     {"data", OPT_STR, offsetof(struct demo_flags, data), 4096, "/usr/share/datasets/fashion-mnist",
      0, 0, NULL, "Folder with the four files of Fashion-MNIST.", NULL},
     NULL},
    {0}};

/* prefix, the folder, a slash and name; good until eight more are made */
static const char *joined(struct demo *d, const char *prefix, const char *dir, const char *name)
{
    char *p = d->path[d->turn++ % 8];

    snprintf(p, PATH_ROOM, "%s%s/%s", prefix, dir, name);
    return p;
}

static const char *in_dir(struct demo *d, const char *name)
{
    return joined(d, "", d->dir, name);
}

static void say(const char *text)
{
    printf("\n== %s\n", text);
}

/* ---- the folder ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st, (void)kind, (void)f;
    return remove(path);
}

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *f;
    bool empty = d != NULL;

    while (d && (f = readdir(d)))
        empty = empty && (!strcmp(f->d_name, ".") || !strcmp(f->d_name, ".."));
    if (d)
        closedir(d);
    return empty;
}

static enum st write_text(struct demo *d, const char *name, const char *text)
{
    const char *path = in_dir(d, name);
    FILE *f = fopen(path, "w");
    bool ok = f && fputs(text, f) >= 0;

    if (f && fclose(f) != 0)
        ok = false;
    if (ok)
        return ST_OK;
    return fail(&d->err, ST_BAD_CONFIG, "%s cannot be written: %s", path, strerror(errno));
}

/* A new or empty folder, or that of an earlier demo, which starts anew. */
static enum st begin(struct demo *d, bool *foreign)
{
    const char *labels = joined(d, "", d->data, "t10k-labels-idx1-ubyte.gz");

    *foreign = false;
    if (access(labels, R_OK))
        return fail(&d->err, ST_BAD_CONFIG,
                    "%s is not there: 'apt-get install %s' brings it (elsewhere: the four files of "
                    "Fashion-MNIST into a folder, and --data)",
                    labels, package);
    if (mkdir(d->dir, 0777) && errno != EEXIST)
        return fail(&d->err, ST_BAD_CONFIG, "folder %s cannot be made: %s", d->dir,
                    strerror(errno));
    if (!access(in_dir(d, marker), F_OK)) {
        for (size_t i = sizeof made / sizeof *made; i-- > 0;)
            nftw(in_dir(d, made[i]), remove_one, 8, FTW_DEPTH | FTW_PHYS);
    } else if (!is_empty(d->dir)) {
        *foreign = true;
        return fail(&d->err, ST_BAD_CONFIG,
                    "%s is a folder with files of others: name one that is new or empty", d->dir);
    }
    return write_text(d, marker, "made by millrace demo, which removes what it made here\n");
}

static const char job_text[] =
    "# Which of ten kinds of clothes is on a picture of 28 by 28 pixels?\n"
    "job: %s\n"
    "topic: images\n"
    "broker: local:broker            # or kafka\n"
    "input:\n"
    "  format: avro\n"
    "  schema: images.avsc\n"
    "  label: label\n"
    "algo: linear\n"
    "options:\n"
    "  loss: softmax\n"
    "  classes: 10\n"
    "  learning_rate: [0.05, 0.1, 0.2] # three models in one pass; the best one is published\n"
    "staleness: 0                    # the four partitions learn in step, so that a replay "
    "repeats\n"
    "checkpoint: {every: 200ms}      # often, to have something to kill; the default is 5s\n"
    "publish: {every: 400ms}         # default 10s\n"
    "snapshot: {every: 400ms}        # default 60s\n";

static const char kinds_text[] = "# What kinds of pictures are there? Labels are not looked at.\n"
                                 "job: kinds\n"
                                 "topic: images\n"
                                 "broker: local:broker\n"
                                 "input:\n"
                                 "  format: avro\n"
                                 "  schema: images.avsc\n"
                                 "  label: label        # not a feature\n"
                                 "algo: kmeans\n"
                                 "options: {k: 20}\n";

static enum st write_jobs(struct demo *d)
{
    static const char *const name[] = {"undisturbed", "clothes"};
    char file[64];

    for (uint32_t i = 0; i < 2; i++) {
        snprintf(d->text, sizeof d->text, job_text, name[i]);
        snprintf(file, sizeof file, "%s.yaml", name[i]);
        TRY(write_text(d, file, d->text));
    }
    printf("$ cat %s\n%s", in_dir(d, file), d->text);
    return write_text(d, "kinds.yaml", kinds_text);
}

/* ---- commands ---- */

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static enum st must(struct demo *d, struct child c)
{
    int code;

    TRY(child_run(&c, &code, &d->err));
    if (!code)
        return ST_OK;
    return fail(&d->err, ST_FATAL, "'%s' ended with exit code %d, see above", c.words[0], code);
}

static enum st run(struct demo *d, const char *const *words)
{
    return must(d, (struct child){.words = words});
}

/* Its stdout is shown and kept. */
static enum st run_into(struct demo *d, char *text, const char *const *words)
{
    return must(d, (struct child){.words = words, .text = text, .room = TEXT_ROOM});
}

static enum st load(struct demo *d, const char *topic, const char *which)
{
    char labels[64], images[64];

    snprintf(labels, sizeof labels, "%s-labels-idx1-ubyte.gz", which);
    snprintf(images, sizeof images, "%s-images-idx3-ubyte.gz", which);
    return run(d, WORDS("load", "-b", joined(d, "local:", d->dir, "broker"), "-t", topic,
                        "--schema", in_dir(d, "images.avsc"), "--format", "idx", "--label",
                        joined(d, "", d->data, labels), joined(d, "", d->data, images)));
}

static enum st train(struct demo *d, const char *job)
{
    return run(d, WORDS("train", in_dir(d, job), "--until-end"));
}

/* A line of the progress table: its first column is rows. */
static bool is_under_way(const char *line)
{
    char *end;
    unsigned long long rows = strtoull(line, &end, 10);

    return end != line && *end == ' ' && rows >= KILL_AT_ROWS;
}

static enum st train_and_kill(struct demo *d)
{
    struct child c = {.words = WORDS("train", in_dir(d, "clothes.yaml"), "--until-end"),
                      .kill_at = is_under_way};
    int code;

    TRY(child_run(&c, &code, &d->err));
    if (c.killed) {
        puts("-> killed with SIGKILL");
        return ST_OK;
    }
    if (!code)
        return fail(&d->err, ST_FATAL,
                    "the trainer was done before it could be killed: run the demo again");
    return fail(&d->err, ST_FATAL, "'train' ended with exit code %d, see above", code);
}

/* ---- what must be equal ---- */

static enum st read_file(struct demo *d, const char *path, uint8_t **p, size_t *n)
{
    FILE *f = fopen(path, "rb");
    struct stat st;

    *p = NULL;
    *n = 0;
    if (f && !fstat(fileno(f), &st) && (*p = malloc((size_t)st.st_size + 1)))
        *n = fread(*p, 1, (size_t)st.st_size, f);
    if (f)
        fclose(f);
    if (!*p || !*n)
        return fail(&d->err, ST_FATAL, "%s cannot be read", path);
    (*p)[*n] = 0;
    return ST_OK;
}

static enum st same_files(struct demo *d, const char *a, const char *b)
{
    uint8_t *p, *q = NULL;
    size_t n, m;
    enum st st = read_file(d, in_dir(d, a), &p, &n);

    if (st == ST_OK)
        st = read_file(d, in_dir(d, b), &q, &m);
    if (st == ST_OK && (n != m || memcmp(p, q, n) != 0))
        st = fail(&d->err, ST_FATAL, "%s and %s differ, and must not", a, b);
    if (st == ST_OK)
        printf("-> the same %zu bytes\n", n);
    free(p);
    free(q);
    return st;
}

static enum st compare(struct demo *d)
{
    static const char clothes[] = "clothes.safetensors", undisturbed[] = "undisturbed.safetensors";

    TRY(run_into(d, d->text, WORDS("state", "show", "--digest", in_dir(d, "clothes.state"))));
    TRY(run_into(d, d->text2, WORDS("state", "show", "--digest", in_dir(d, "undisturbed.state"))));
    if (strcmp(d->text, d->text2) != 0)
        return fail(&d->err, ST_FATAL, "the digests differ, and must not");
    puts("-> the same digests: nothing is lost, and nothing learned twice");
    TRY(run(d, WORDS("model", "get", in_dir(d, "clothes.yaml"), "-o", in_dir(d, clothes))));
    TRY(run(d, WORDS("model", "get", in_dir(d, "undisturbed.yaml"), "-o", in_dir(d, undisturbed))));
    return same_files(d, clothes, undisturbed);
}

static enum st score(struct demo *d)
{
    const char *at;
    double accuracy;

    TRY(run_into(d, d->text,
                 WORDS("score", in_dir(d, "clothes.yaml"), "-t", "images-test", "--until-end",
                       "--metrics")));
    at = strstr(d->text, "accuracy ");
    accuracy = at ? strtod(at + strlen("accuracy "), NULL) : 0;
    if (accuracy < accuracy_min)
        return fail(&d->err, ST_FATAL, "accuracy %.4f is less than the %.3f that is expected",
                    accuracy, accuracy_min);
    printf("-> %.2f %% of the test pictures are recognised\n", 100 * accuracy);
    return ST_OK;
}

/* ---- the picture ---- */

/* Where the tensor's data lie in a safetensors file, as f32[rows, SIDE * SIDE]; NULL: not there. */
static const uint8_t *find_centres(const uint8_t *p, size_t n, uint32_t *rows)
{
    uint64_t header = n > 8 ? get_u64(p) : 0, from, to;
    const char *at;
    uint32_t columns;

    if (!header || header > n - 8)
        return NULL;
    at = memmem(p + 8, header, "\"centre\":", 9);
    if (!at || sscanf(at,
                      "\"centre\":{\"dtype\":\"F32\",\"shape\":[%" SCNu32 ",%" SCNu32
                      "],\"data_offsets\":[%" SCNu64 ",%" SCNu64 "]",
                      rows, &columns, &from, &to) != 4)
        return NULL;
    if (columns != SIDE * SIDE || *rows > CENTRES_MAX || to - from != *rows * SIDE * SIDE * 4ull ||
        to > n - 8 - header)
        return NULL;
    return p + 8 + header + from;
}

static uint8_t grey(const uint8_t *p)
{
    uint32_t bits = get_u32(p);
    float v;

    memcpy(&v, &bits, sizeof v);
    return (uint8_t)(v <= 0 ? 0 : v >= 1 ? 255 : v * 255 + 0.5f);
}

static void draw(struct demo *d, const uint8_t *centre, uint32_t top, uint32_t left)
{
    for (uint32_t y = 0; y < SIDE * ZOOM; y++)
        for (uint32_t x = 0; x < SIDE * ZOOM; x++)
            d->picture[top + y][left + x] = grey(centre + (size_t)4 * (y / ZOOM * SIDE + x / ZOOM));
}

/* The clusters of one file below what is there already; *top moves on. */
static enum st draw_all(struct demo *d, const char *name, uint32_t k, uint32_t *top)
{
    uint8_t *p;
    size_t n;
    uint32_t rows = 0;
    enum st st = read_file(d, in_dir(d, name), &p, &n);
    const uint8_t *centre = st == ST_OK ? find_centres(p, n, &rows) : NULL;

    if (st == ST_OK && (!centre || rows != k))
        st = fail(&d->err, ST_FATAL, "%s has not %" PRIu32 " clusters", name, k);
    for (uint32_t i = 0; st == ST_OK && i < k; i++)
        draw(d, centre + (size_t)i * SIDE * SIDE * 4, *top + i / TILES * TILE,
             GAP + i % TILES * TILE);
    *top += (k + TILES - 1) / TILES * TILE + GAP;
    free(p);
    return st;
}

static enum st cluster(struct demo *d)
{
    static const uint32_t k[] = {5, 10, 20};
    char name[64], set[16];
    uint32_t top = GAP;

    TRY(train(d, "kinds.yaml"));
    memset(d->picture, 64, sizeof d->picture);
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "kinds-%" PRIu32 ".safetensors", k[i]);
        snprintf(set, sizeof set, "k=%" PRIu32, k[i]);
        TRY(run(d, WORDS("derive", in_dir(d, "kinds.yaml"), "--set", set, "--to", "safetensors",
                         "-o", in_dir(d, name))));
        TRY(draw_all(d, name, k[i], &top));
    }
    TRY(png_write(in_dir(d, "clothes.png"), d->picture[0], sizeof d->picture[0],
                  sizeof d->picture / sizeof d->picture[0], &d->err));
    printf("-> %s: the centres of 5, 10 and 20 clusters\n", in_dir(d, "clothes.png"));
    return ST_OK;
}

static void what_next(struct demo *d)
{
    const char *p = child_program(), *b = "-b localhost:9092";

    printf("\n== All of it took %.0f s\n", (double)(clock_mono_us() - d->start_us) / 1e6);
    say("Next: the same against Kafka ('./dev broker start' runs one on localhost:9092)");
    printf("$ %s load %s -t images --schema %s --format idx --label %s %s\n", p, b,
           in_dir(d, "images.avsc"), joined(d, "", d->data, "train-labels-idx1-ubyte.gz"),
           joined(d, "", d->data, "train-images-idx3-ubyte.gz"));
    printf("$ %s train %s %s --set state_dir=kafka.state --until-end\n", p,
           in_dir(d, "clothes.yaml"), b);
    printf("$ %s model show clothes %s\n", p, b);
    printf("Your own rows: '%s load --help'; every key of a job file: '%s config'.\n", p, p);
}

static enum st all(struct demo *d)
{
    say("Pictures of clothes into a topic of four partitions, and others to test with");
    TRY(load(d, "images", "train"));
    TRY(load(d, "images-test", "t10k"));
    say("The job");
    TRY(write_jobs(d));
    say("One pass; the trainer is killed on the way");
    TRY(train_and_kill(d));
    say("The same command goes on where the last checkpoint stands");
    TRY(train(d, "clothes.yaml"));
    say("The same job once more, undisturbed: is anything different?");
    TRY(train(d, "undisturbed.yaml"));
    TRY(compare(d));
    say("The model, read from its topic, on 10,000 pictures it has never seen");
    TRY(score(d));
    say("Clusters from the same topic: the number of them is chosen after the pass");
    TRY(cluster(d));
    what_next(d);
    return ST_OK;
}

static int demo(const void *flags, int argc, char **argv)
{
    const struct demo_flags *f = flags;
    struct demo *d;
    bool foreign = false;
    int code;
    enum st st;

    if (argc > 1) {
        fputs("millrace demo: name one folder, or none for ./millrace-demo\n", stderr);
        return CLI_USAGE;
    }
    d = calloc(1, sizeof *d);
    if (!d) {
        fputs("millrace: error: no memory for the demo\n", stderr);
        return CLI_FAILED;
    }
    d->dir = argc ? argv[0] : "millrace-demo";
    d->data = f->data;
    d->start_us = clock_mono_us();
    setenv("MILLRACE_LOG", "text", 0);
    st = begin(d, &foreign);
    if (st == ST_OK)
        st = all(d);
    fflush(stdout);
    code = st == ST_OK ? CLI_DONE : cli_fail(st, &d->err);
    free(d);
    return foreign ? CLI_REFUSED : code;
}

const struct verb verb_demo = {"demo",
                               "[DIR]",
                               "One model, end to end, on real pictures; no server needed.",
                               demo_flag,
                               sizeof(struct demo_flags),
                               "Works in DIR (./millrace-demo), which must be new, empty, or left "
                               "by a demo; runs for less than a minute.",
                               demo};
