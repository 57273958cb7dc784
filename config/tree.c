#include "config/tree.h"

#include "config/base/limits.h"

#include <yaml.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16 };

struct reading {
    yaml_parser_t parser;
    struct err *e;
};

void tree_free(struct node *n)
{
    while (n) {
        struct node *next = n->next;

        tree_free(n->child);
        free(n->key);
        free(n->text);
        free(n);
        n = next;
    }
}

static enum st at(const struct reading *r, yaml_mark_t m, const char *what)
{
    return fail(r->e, ST_BAD_CONFIG, "%zu:%zu: error: %s", m.line + 1, m.column + 1, what);
}

static enum st next_event(struct reading *r, yaml_event_t *ev)
{
    if (yaml_parser_parse(&r->parser, ev))
        return ST_OK;
    return at(r, r->parser.problem_mark, r->parser.problem ? r->parser.problem : "not YAML");
}

static enum st new_node(struct reading *r, const yaml_event_t *ev, struct node **out)
{
    struct node *n = calloc(1, sizeof *n);

    if (!n)
        return fail(r->e, ST_FATAL, "no memory");
    *out = n;
    n->line = n->value_line = (uint32_t)ev->start_mark.line + 1;
    n->column = n->value_column = (uint32_t)ev->start_mark.column + 1;
    if (ev->type == YAML_SCALAR_EVENT) {
        n->text = strdup((const char *)ev->data.scalar.value);
        if (!n->text)
            return fail(r->e, ST_FATAL, "no memory");
        return ST_OK;
    }
    if (ev->type == YAML_MAPPING_START_EVENT || ev->type == YAML_SEQUENCE_START_EVENT) {
        n->kind = ev->type == YAML_MAPPING_START_EVENT ? NODE_MAP : NODE_LIST;
        return ST_OK;
    }
    return at(r, ev->start_mark, "aliases are not supported here");
}

static enum st read_children(struct reading *r, struct node *parent, int depth);

static enum st read_key(struct reading *r, struct node *parent, const yaml_event_t *ev,
                        struct node **child, yaml_event_t *value)
{
    char what[160];
    char *key;

    if (ev->type != YAML_SCALAR_EVENT)
        return at(r, ev->start_mark, "a key must be a word");
    for (const struct node *s = parent->child; s; s = s->next)
        if (s->key && !strcmp(s->key, (const char *)ev->data.scalar.value)) {
            snprintf(what, sizeof what, "key '%.80s' is given twice (first in line %u)", s->key,
                     s->line);
            return at(r, ev->start_mark, what);
        }
    key = strdup((const char *)ev->data.scalar.value);
    if (!key)
        return fail(r->e, ST_FATAL, "no memory");
    enum st st = next_event(r, value);
    if (st == ST_OK)
        st = new_node(r, value, child);
    if (st != ST_OK) {
        free(key);
        return st;
    }
    (*child)->key = key;
    (*child)->line = (uint32_t)ev->start_mark.line + 1;
    (*child)->column = (uint32_t)ev->start_mark.column + 1;
    return ST_OK;
}

static enum st read_child(struct reading *r, struct node *parent, yaml_event_t *ev,
                          struct node **tail, int depth)
{
    struct node *child = NULL;
    yaml_event_t value = {0};
    enum st st;

    if (parent->kind == NODE_MAP)
        st = read_key(r, parent, ev, &child, &value);
    else
        st = new_node(r, ev, &child);
    if (child && *tail)
        (*tail)->next = child;
    else if (child)
        parent->child = child;
    *tail = child ? child : *tail;
    if (st == ST_OK && child->kind != NODE_SCALAR)
        st = read_children(r, child, depth + 1);
    yaml_event_delete(&value);
    return st;
}

static enum st read_children(struct reading *r, struct node *parent, int depth)
{
    struct node *tail = NULL;
    yaml_event_t ev;
    enum st st;

    for (;;) {
        TRY(next_event(r, &ev));
        if (ev.type == YAML_MAPPING_END_EVENT || ev.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&ev);
            return ST_OK;
        }
        st = depth > DEPTH_MAX ? at(r, ev.start_mark, "nested too deeply")
                               : read_child(r, parent, &ev, &tail, depth);
        yaml_event_delete(&ev);
        TRY(st);
    }
}

static enum st read_document(struct reading *r, struct node **root)
{
    enum st st = ST_OK;
    bool more = true;

    while (st == ST_OK && more) {
        yaml_event_t ev;

        TRY(next_event(r, &ev));
        if (ev.type == YAML_STREAM_END_EVENT) {
            more = false;
        } else if (ev.type == YAML_MAPPING_START_EVENT && !*root) {
            st = new_node(r, &ev, root);
            if (st == ST_OK)
                st = read_children(r, *root, 0);
        } else if (ev.type == YAML_DOCUMENT_START_EVENT && *root) {
            st = at(r, ev.start_mark, "one document a file");
        } else if (ev.type == YAML_SCALAR_EVENT || ev.type == YAML_SEQUENCE_START_EVENT ||
                   ev.type == YAML_ALIAS_EVENT) {
            st = at(r, ev.start_mark, "a job file is a map of keys and values");
        }
        yaml_event_delete(&ev);
    }
    if (st == ST_OK && !*root)
        return fail(r->e, ST_BAD_CONFIG, "1:1: error: the file is empty");
    return st;
}

enum st tree_read(const char *file, struct node **root, struct err *e)
{
    struct reading r = {.e = e};
    FILE *f = fopen(file, "rb");
    long size;
    enum st st;

    *root = NULL;
    if (!f)
        return fail(e, ST_BAD_CONFIG, "1:1: error: cannot be read: %s", strerror(errno));
    if (fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || size > JOB_FILE_BYTES_MAX ||
        fseek(f, 0, SEEK_SET)) {
        fclose(f);
        return fail(e, ST_BAD_CONFIG, "1:1: error: not a file of at most %d bytes",
                    JOB_FILE_BYTES_MAX);
    }
    if (!yaml_parser_initialize(&r.parser)) {
        fclose(f);
        return fail(e, ST_FATAL, "no memory");
    }
    yaml_parser_set_input_file(&r.parser, f);
    st = read_document(&r, root);
    yaml_parser_delete(&r.parser);
    fclose(f);
    if (st != ST_OK) {
        tree_free(*root);
        *root = NULL;
    }
    return st;
}
