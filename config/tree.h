/* tree.h: a YAML file as a tree of nodes with their places; every scalar is text, for its reader to
 * parse by declared type. Anchors, tags, multiple documents, duplicate keys and files over
 * JOB_FILE_BYTES_MAX are errors.
 *
 * Owner: tree_read allocates, tree_free frees all. Thread: start. */
#ifndef MILLRACE_TREE_H
#define MILLRACE_TREE_H

#include "config/base/status.h"

#include <stdint.h>

enum node_kind { NODE_SCALAR, NODE_MAP, NODE_LIST };

struct node {
    enum node_kind kind;
    char *key, *text;      /* key: of a map's child; text: of a scalar */
    uint32_t line, column; /* from 1, of the key where there is one, else of the value */
    uint32_t value_line, value_column;
    struct node *child, *next; /* first child; next sibling */
};

/* ST_BAD_CONFIG: text is "line:column: error: ..." without the file's name. */
MUST enum st tree_read(const char *file, struct node **root, struct err *e);
void tree_free(struct node *root);

#endif
