/* options.h: options are tables. Name, type, default, range and one sentence stand in one place;
 * from it come the parser, the checks, `--help`, the manual and the suggestions for misspelt words.
 *
 * A table is an array of `struct opt` that ends with {0}; it describes a plain struct of the
 * owner's, each option living at byte offset `at` with the C type that its opt_type names. Scalars
 * are parsed by the declared type, never guessed: "no", "1e3" and "010" cannot surprise. Thread:
 * any. */
#ifndef MILLRACE_OPTIONS_H
#define MILLRACE_OPTIONS_H

#include "config/base/limits.h"
#include "config/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_type {
    OPT_BOOL = 1, /* bool: true | false */
    OPT_U32,      /* uint32_t; decimal, or a word of `names` that stands for 0 (auto) */
    OPT_U64,      /* uint64_t */
    OPT_F32,      /* float, finite */
    OPT_F32S,     /* struct f32s: one value or a list */
    OPT_ENUM,     /* uint32_t: index into `names` */
    OPT_STR,      /* char[opt.bytes] */
    OPT_MS,       /* uint64_t milliseconds: 250ms, 5s, 10m, 2h, 7d; 0: off */
    OPT_BYTES     /* uint64_t bytes: 512, 64K, 16M, 4G (powers of 1024) */
};

struct f32s {
    uint32_t n;
    float v[LIST_MAX];
};

struct opt {
    const char *name;
    enum opt_type type;
    size_t at, bytes; /* offset in the owner's struct; bytes: room of an OPT_STR */
    const char *def;  /* as a user would write it; NULL: the option is required */
    double min, max;  /* inclusive; both 0: any value of the type */
    /* OPT_ENUM: the words, NULL at the end; OPT_U32: {"auto", NULL} or NULL */
    const char *const *names;
    const char *what; /* one sentence, with unit */
    /* derive options: values tune tries by default, comma-separated; else NULL */
    const char *grid;
};

/* Fills every option with its default; required ones are zeroed. The struct's other bytes are
 * untouched. Defaults are inside data: one that does not parse is a CHECK failure. */
void opts_defaults(const struct opt *o, void *out);

/* Sets one option from text ("0.1"; for lists "0.05,0.1" or one element per call with append true).
 * ST_BAD_CONFIG: "'batch' must be 1..4096 or auto, got 0". */
MUST enum st opt_set(const struct opt *o, void *out, const char *text, bool append, struct err *e);

/* The option of that name, or NULL. */
const struct opt *opt_find(const struct opt *o, const char *name);

/* The value as a user would write it, into text[n]; lists are comma-separated. Returns text. */
const char *opt_text(const struct opt *o, const void *in, char *text, size_t n);

/* Of `words` (NULL at the end) the nearest to `word`: Damerau-Levenshtein distance of at most 2, or
 * a prefix of at least 3 letters either way; NULL if nothing is near. */
const char *suggest(const char *word, const char *const *words);

#endif
