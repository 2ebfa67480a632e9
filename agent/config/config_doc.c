#include "config/config_doc.h"

#include "base/file_read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { CONFIG_FILE_MAX = 4 << 20, PATH_TEXT_MAX = 256 };

struct config_doc {
    char *file;
    char *text;
    size_t size;
    yaml_document_t doc;
    bool parsed;
};

static void add(struct config_errors *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct config_errors *e, const char *fmt, ...)
{
    va_list ap;
    size_t room = sizeof e->text - e->len;

    e->count++;
    va_start(ap, fmt);
    int n = vsnprintf(e->text + e->len, room, fmt, ap);
    va_end(ap);
    if (n > 0)
        e->len += (size_t)n < room ? (size_t)n : room - 1;
}

struct config_doc *config_doc_open(const char *file, struct config_errors *errors)
{
    char why[128];
    yaml_parser_t parser;
    struct config_doc *d = calloc(1, sizeof *d);

    if (d == NULL || (d->file = strdup(file)) == NULL)
        abort(); /* the process is only starting */
    d->text = file_read(file, CONFIG_FILE_MAX, &d->size, NULL, why, sizeof why);
    if (d->text == NULL) {
        add(errors, "%s: cannot be read: %s\n", file, why);
        goto fail;
    }
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_string(&parser, (const unsigned char *)d->text, d->size);
    if (yaml_parser_load(&parser, &d->doc)) {
        d->parsed = true;
        if (yaml_document_get_root_node(&d->doc) == NULL)
            add(errors, "%s:1: the file is empty; start from the commented example\n", file);
    } else {
        add(errors, "%s:%zu: not YAML: %s%s%s\n", file, parser.problem_mark.line + 1,
            parser.problem != NULL ? parser.problem : "unreadable", parser.context != NULL ? " " : "",
            parser.context != NULL ? parser.context : "");
    }
    yaml_parser_delete(&parser);
    if (d->parsed && yaml_document_get_root_node(&d->doc) != NULL)
        return d;
fail:
    config_doc_close(d);
    return NULL;
}

void config_doc_close(struct config_doc *d)
{
    if (d == NULL)
        return;
    if (d->parsed)
        yaml_document_delete(&d->doc);
    free(d->text);
    free(d->file);
    free(d);
}

const unsigned char *config_doc_text(const struct config_doc *d, size_t *n)
{
    *n = d->size;
    return (const unsigned char *)d->text;
}

static yaml_node_t *node_at(const struct config_doc *d, int index)
{
    return yaml_document_get_node((yaml_document_t *)&d->doc, index);
}

static bool scalar_is(const yaml_node_t *n, const char *text, size_t len)
{
    return n->type == YAML_SCALAR_NODE && n->data.scalar.length == len && memcmp(n->data.scalar.value, text, len) == 0;
}

/* The child a step of a path names; NULL when absent. `name` ends at a '.' or '['. */
static yaml_node_t *child_named(const struct config_doc *d, const yaml_node_t *n, const char *name, size_t len)
{
    if (n->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++)
        if (scalar_is(node_at(d, p->key), name, len))
            return node_at(d, p->value);
    return NULL;
}

unsigned config_doc_line(const struct config_doc *d, const char *path)
{
    yaml_node_t *n = yaml_document_get_root_node((yaml_document_t *)&d->doc);

    while (*path != '\0') {
        yaml_node_t *next = NULL;
        if (*path == '[') {
            unsigned long i = strtoul(path + 1, (char **)&path, 10);
            path += *path == ']';
            if (n->type == YAML_SEQUENCE_NODE && n->data.sequence.items.start + i < n->data.sequence.items.top)
                next = node_at(d, n->data.sequence.items.start[i]);
        } else {
            path += *path == '.';
            size_t len = strcspn(path, ".[");
            next = child_named(d, n, path, len);
            path += len;
        }
        if (next == NULL)
            break;
        n = next;
    }
    return (unsigned)n->start_mark.line + 1;
}

void config_doc_error(const struct config_doc *d, struct config_errors *errors, const char *path, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    add(errors, "%s:%u: %s: %s\n", d->file, config_doc_line(d, path), path, text);
}

struct check {
    struct config_doc *d;
    struct config_errors *errors;
};

static void node_check(struct check *c, yaml_node_t *n, const cyaml_schema_value_t *v, const char *path);

static void refuse(struct check *c, const yaml_node_t *n, const char *path, const char *what)
{
    add(c->errors, "%s:%zu: %s%s%s\n", c->d->file, n->start_mark.line + 1, path, *path ? ": " : "", what);
}

static void allowed_keys(const cyaml_schema_field_t *fields, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (; fields->key != NULL && n < size; fields++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", fields->key);
}

static const cyaml_schema_field_t *field_find(const cyaml_schema_field_t *fields, const yaml_node_t *key)
{
    for (; fields->key != NULL; fields++)
        if (scalar_is(key, fields->key, strlen(fields->key)))
            return fields;
    return NULL;
}

static void mapping_check(struct check *c, yaml_node_t *n, const cyaml_schema_field_t *fields, const char *path)
{
    char what[1024], list[768], below[PATH_TEXT_MAX];

    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *key = node_at(c->d, p->key);
        const cyaml_schema_field_t *f = field_find(fields, key);
        if (f == NULL) {
            allowed_keys(fields, list, sizeof list);
            snprintf(what, sizeof what, "unknown key \"%.*s\"; allowed here: %s",
                     key->type == YAML_SCALAR_NODE ? (int)key->data.scalar.length : 1,
                     key->type == YAML_SCALAR_NODE ? (char *)key->data.scalar.value : "?", list);
            refuse(c, key, path, what);
            continue;
        }
        for (yaml_node_pair_t *q = n->data.mapping.pairs.start; q < p; q++)
            if (scalar_is(node_at(c->d, q->key), f->key, strlen(f->key))) {
                snprintf(what, sizeof what, "\"%s\" is given twice", f->key);
                refuse(c, key, path, what);
            }
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", f->key);
        node_check(c, node_at(c->d, p->value), &f->value, below);
    }
    for (const cyaml_schema_field_t *f = fields; f->key != NULL; f++)
        if (!(f->value.flags & CYAML_FLAG_OPTIONAL) && child_named(c->d, n, f->key, strlen(f->key)) == NULL) {
            snprintf(what, sizeof what, "\"%s\" is missing", f->key);
            refuse(c, n, path, what);
        }
}

static bool is_bool(const char *s)
{
    return strcmp(s, "true") == 0 || strcmp(s, "false") == 0;
}

static void scalar_check(struct check *c, yaml_node_t *n, const cyaml_schema_value_t *v, const char *path)
{
    const char *s = (const char *)n->data.scalar.value;
    char *end;

    if (strlen(s) != n->data.scalar.length) {
        refuse(c, n, path, "holds a NUL byte");
    } else if (v->type == CYAML_BOOL) {
        if (!is_bool(s))
            refuse(c, n, path, "must be true or false");
    } else if (v->type == CYAML_INT) {
        errno = 0;
        strtoll(s, &end, 10);
        if (errno != 0 || end == s || *end != '\0')
            refuse(c, n, path, "must be a whole number");
    } else if (v->type == CYAML_STRING && (*s == '\0' || n->data.scalar.length > v->string.max)) {
        refuse(c, n, path, *s == '\0' ? "is empty" : "is too long");
    }
}

static void node_check(struct check *c, yaml_node_t *n, const cyaml_schema_value_t *v, const char *path)
{
    char below[PATH_TEXT_MAX];

    switch (v->type) {
    case CYAML_MAPPING:
        if (n->type != YAML_MAPPING_NODE)
            refuse(c, n, path, "must be a mapping of keys to values");
        else
            mapping_check(c, n, v->mapping.fields, path);
        break;
    case CYAML_SEQUENCE:
        if (n->type != YAML_SEQUENCE_NODE) {
            refuse(c, n, path, "must be a list (\"- ...\" lines, or [a, b])");
            break;
        }
        if (v->sequence.min > 0 && n->data.sequence.items.start == n->data.sequence.items.top)
            refuse(c, n, path, "is empty; leave the key out, or name at least one");
        for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
            snprintf(below, sizeof below, "%s[%d]", path, (int)(i - n->data.sequence.items.start));
            node_check(c, node_at(c->d, *i), v->sequence.entry, below);
        }
        break;
    default:
        if (n->type != YAML_SCALAR_NODE)
            refuse(c, n, path, "must be a single value");
        else
            scalar_check(c, n, v, path);
    }
}

void config_doc_check(struct config_doc *d, const cyaml_schema_value_t *schema, struct config_errors *errors)
{
    struct check c = { .d = d, .errors = errors };

    /* A tree without anchors cannot be deeper than the schema; with them libyaml resolves every alias to its own node. */
    node_check(&c, yaml_document_get_root_node(&d->doc), schema, "");
}
