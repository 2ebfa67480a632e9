#include "route/haproxy_certificates.h"

#include "base/file_read.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIST_MAX = 4 << 20 };

struct look {
    const struct haproxy_text *text;
    const char *crt_base, *ca_base; /* NULL: none */
    haproxy_certificate_fn *fn;
    void *user;
};

/* NULL: where that is cannot be told from here. */
static const char *place(const struct look *k, const char *base, const char *name)
{
    if (name[0] == '@' || name[0] == '\0' || strchr(name, '$') != NULL)
        return NULL;
    if (name[0] == '/')
        return name;
    struct slice whole = base != NULL ? arena_printf(k->text->arena, "%s/%s", base, name) : SLICE_NONE;
    return whole.p != NULL ? arena_cstr(k->text->arena, whole) : NULL;
}

static void found(const struct look *k, const char *base, const char *name, enum haproxy_certificate what)
{
    const char *path = place(k, base, name);

    if (path != NULL)
        k->fn(k->user, path, what);
}

/* A file, options in brackets, names of sites; a line (HAProxy's configuration manual, 5.1 "crt-list"). */
static void list(const struct look *k, const char *name)
{
    const char *path = place(k, k->crt_base, name);
    char why[128], *save = NULL;
    size_t n;
    char *text = path != NULL ? file_read(path, LIST_MAX, &n, NULL, why, sizeof why) : NULL;

    for (char *line = text != NULL ? strtok_r(text, "\n", &save) : NULL; line != NULL; line = strtok_r(NULL, "\n", &save)) {
        line += strspn(line, " \t\r");
        line[strcspn(line, " \t\r[")] = '\0';
        if (line[0] != '#')
            found(k, k->crt_base, line, HAPROXY_CERTIFICATE);
    }
    free(text);
}

static void option(const struct look *k, const char *word, const char *value)
{
    if (strcmp(word, "crt") == 0)
        found(k, k->crt_base, value, HAPROXY_CERTIFICATE);
    else if (strcmp(word, "crt-list") == 0)
        list(k, value);
    else if (strcmp(word, "ca-file") == 0 || strcmp(word, "ca-verify-file") == 0)
        found(k, k->ca_base, value, HAPROXY_CA);
    else if (strcmp(word, "crl-file") == 0)
        found(k, k->ca_base, value, HAPROXY_CRL);
}

static void line_look(const struct look *k, const struct haproxy_section *s, const struct haproxy_line *l)
{
    static const char *const named[] = { "bind", "server", "peer", "server-template" }; /* what follows first is an address or a name */
    bool has_name = false, store = strcmp(s->kind, "crt-store") == 0 && haproxy_line_is(l, "load", NULL);

    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        has_name = has_name || haproxy_line_is(l, named[i], NULL);
    if (!has_name && !store && !haproxy_line_is(l, "default-server", NULL) && !haproxy_line_is(l, "default-bind", NULL))
        return;
    for (size_t i = has_name ? 2 : 1; i + 1 < l->count; i++)
        option(k, l->words[i], l->words[i + 1]);
}

/* The last of its kind in these sections; otherwise `before`. */
static const char *base_of(const struct haproxy_section *s, const char *word, const char *before)
{
    for (const struct haproxy_line *l = s->first; l != NULL; l = l->next)
        if (haproxy_line_is(l, word, NULL) && l->count > 1)
            before = l->words[1];
    return before;
}

void haproxy_certificates(const struct haproxy_text *t, haproxy_certificate_fn *fn, void *user)
{
    struct look k = { .text = t, .fn = fn, .user = user };

    for (const struct haproxy_section *s = t->first; s != NULL; s = s->next)
        if (strcmp(s->kind, "global") == 0) {
            k.crt_base = base_of(s, "crt-base", k.crt_base);
            k.ca_base = base_of(s, "ca-base", k.ca_base);
        }
    for (const struct haproxy_section *s = t->first; s != NULL; s = s->next) {
        struct look here = k;
        if (strcmp(s->kind, "crt-store") == 0)
            here.crt_base = base_of(s, "crt-base", here.crt_base);
        for (const struct haproxy_line *l = s->first; l != NULL; l = l->next)
            line_look(&here, s, l);
    }
}
