#include "route/haproxy_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 512 };

static const char *const kinds[] = { "global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "ring", "userlist",
                                     "mailers", "cache", "program", "http-errors", "fcgi-app", "log-forward", "crt-store", "traces",
                                     "log-profile", "acme", NULL };

struct reader {
    struct haproxy_text *text;
    const char *file;
    const char *p, *end;
    int number; /* of the line p stands in */
    char *word; /* the word being written, room for what is left of the file */
    const char *words[WORDS_MAX];
    size_t count;
    bool varies;
    const char *fault;
};

/* ---- words ------------------------------------------------------------------------------------------------------------ */

/* What follows a backslash outside of single quotes; p stands behind the backslash. */
static char escaped(struct reader *r, bool quoted)
{
    char c = *r->p++;

    if (quoted) /* within double quotes only these are escapes; the caller has looked */
        return c;
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'x':
        if (r->end - r->p >= 2 && isxdigit((unsigned char)r->p[0]) && isxdigit((unsigned char)r->p[1])) {
            char hex[3] = { r->p[0], r->p[1], '\0' };
            r->p += 2;
            return (char)strtol(hex, NULL, 16);
        }
        return c;
    default: return c;
    }
}

static bool newline_next(const struct reader *r)
{
    return r->p < r->end && (*r->p == '\n' || (*r->p == '\r' && r->p + 1 < r->end && r->p[1] == '\n'));
}

static void newline_skip(struct reader *r)
{
    r->p += *r->p == '\r' ? 2 : 1;
    r->number++;
}

/* One word; quotes may begin and end within it. */
static bool word_read(struct reader *r)
{
    char *out = r->word, quote = '\0';

    for (; r->p < r->end; ) {
        char c = *r->p;
        if (c == '\n' && quote == '\0')
            break;
        if (c == '\n') {
            r->fault = "a quote is not closed in this line";
            return false;
        }
        if (quote == '\0' && (c == ' ' || c == '\t' || c == '\r' || c == '#'))
            break;
        r->p++;
        if (c == '\\' && quote != '\'' && r->p < r->end) {
            if (newline_next(r)) {
                newline_skip(r);
                if (quote == '\0')
                    break;
            } else if (quote == '\0' || strchr("\"\\$ #'", *r->p) != NULL) {
                *out++ = escaped(r, quote != '\0');
            } else {
                *out++ = c;
            }
        } else if ((c == '"' || c == '\'') && (quote == '\0' || quote == c)) {
            quote = quote == '\0' ? c : '\0';
        } else {
            r->varies = r->varies || (c == '$' && quote != '\'' && r->p < r->end && (*r->p == '{' || quote == '"'));
            if (c != '\0')
                *out++ = c;
        }
    }
    if (quote != '\0') {
        r->fault = "a quote is not closed in this line";
        return false;
    }
    if (r->count == WORDS_MAX) {
        r->fault = "the line has too many words";
        return false;
    }
    r->words[r->count] = arena_cstr(r->text->arena, slice_make(r->word, (size_t)(out - r->word)));
    r->fault = r->words[r->count] == NULL ? "memory is out" : NULL;
    return r->words[r->count++] != NULL;
}

/* The words of one line, continued lines included. */
static bool line_read(struct reader *r)
{
    r->count = 0;
    r->varies = false;
    while (r->p < r->end && *r->p != '\n') {
        if (*r->p == '#') {
            const char *nl = memchr(r->p, '\n', (size_t)(r->end - r->p));
            r->p = nl != NULL ? nl : r->end;
        } else if (*r->p == ' ' || *r->p == '\t' || *r->p == '\r') {
            r->p++;
        } else if (*r->p == '\\' && r->p + 1 < r->end && (r->p[1] == '\n' || r->p[1] == '\r')) {
            r->p++;
            if (newline_next(r))
                newline_skip(r);
        } else if (!word_read(r)) {
            return false;
        }
    }
    if (r->p < r->end)
        newline_skip(r);
    return true;
}

/* ---- sections --------------------------------------------------------------------------------------------------------- */

static bool opens_section(const char *word)
{
    for (const char *const *k = kinds; *k != NULL; k++)
        if (strcmp(word, *k) == 0)
            return true;
    return false;
}

/* The defaults a section names, or the last ones before it. */
static const struct haproxy_section *defaults_of(const struct haproxy_text *t, const char *from)
{
    const struct haproxy_section *found = NULL;

    for (const struct haproxy_section *s = t->first; s != NULL; s = s->next)
        if (strcmp(s->kind, "defaults") == 0 && (from == NULL || strcmp(s->name, from) == 0))
            found = s;
    return found;
}

static bool section_open(struct reader *r, int number)
{
    struct haproxy_text *t = r->text;
    struct haproxy_section *s = arena_zalloc(t->arena, sizeof *s);
    const char *from = NULL;

    if (s == NULL) {
        r->fault = "memory is out";
        return false;
    }
    s->file = r->file;
    s->number = number;
    s->kind = r->words[0];
    s->name = r->count > 1 && strcmp(r->words[1], "from") != 0 ? r->words[1] : "";
    for (size_t i = 1; i + 1 < r->count; i++)
        if (strcmp(r->words[i], "from") == 0)
            from = r->words[i + 1];
    if (haproxy_section_is_proxy(s) || (strcmp(s->kind, "defaults") == 0 && from != NULL))
        s->defaults = defaults_of(t, from);
    if (t->last != NULL)
        t->last->next = s;
    else
        t->first = s;
    t->last = s;
    return true;
}

static bool line_keep(struct reader *r, int number)
{
    struct haproxy_section *s = r->text->last;
    struct haproxy_line *l = arena_zalloc(r->text->arena, sizeof *l);
    const char **words = arena_alloc(r->text->arena, r->count * sizeof *words);

    if (l == NULL || words == NULL) {
        r->fault = "memory is out";
        return false;
    }
    if (s == NULL || s->file != r->file) {
        r->fault = "the line stands outside of every section";
        return false;
    }
    memcpy(words, r->words, r->count * sizeof *words);
    *l = (struct haproxy_line){ .number = number, .varies = r->varies, .count = r->count, .words = words };
    if (s->last != NULL)
        s->last->next = l;
    else
        s->first = l;
    s->last = l;
    return true;
}

bool haproxy_text_add(struct haproxy_text *t, const char *file, struct slice content, char *why, size_t why_size)
{
    struct reader r = { .text = t, .p = content.p, .end = content.p + content.n, .number = 1 };
    int number = 1;

    r.file = arena_cstr(t->arena, slice_cstr(file)); /* its own pointer: a file named twice is two files */
    r.word = arena_alloc(t->arena, content.n + 1);
    if (r.file == NULL || r.word == NULL) {
        snprintf(why, why_size, "%s: memory is out", file);
        return false;
    }
    while (r.p < r.end) {
        number = r.number;
        bool ok = line_read(&r);
        if (ok && r.count > 0 && r.words[0][0] != '.')
            ok = opens_section(r.words[0]) ? section_open(&r, number) : line_keep(&r, number);
        if (!ok) {
            snprintf(why, why_size, "%s:%d: %s", file, number, r.fault);
            return false;
        }
    }
    return true;
}

/* ---- asking ----------------------------------------------------------------------------------------------------------- */

bool haproxy_section_is_proxy(const struct haproxy_section *s)
{
    return strcmp(s->kind, "frontend") == 0 || strcmp(s->kind, "backend") == 0 || strcmp(s->kind, "listen") == 0;
}

bool haproxy_line_is(const struct haproxy_line *l, const char *first, const char *second)
{
    return strcmp(l->words[0], first) == 0 && (second == NULL || (l->count > 1 && strcmp(l->words[1], second) == 0));
}

const char *haproxy_line_after(const struct haproxy_line *l, const char *word)
{
    for (size_t i = 0; i + 1 < l->count; i++)
        if (strcmp(l->words[i], word) == 0)
            return l->words[i + 1];
    return NULL;
}

const struct haproxy_line *haproxy_setting(const struct haproxy_section *s, const char *first, const char *second,
                                           const struct haproxy_section **where)
{
    for (; s != NULL; s = s->defaults) {
        const struct haproxy_line *found = NULL;
        for (const struct haproxy_line *l = s->first; l != NULL; l = l->next)
            if (haproxy_line_is(l, first, second))
                found = l;
        if (found != NULL) {
            if (where != NULL)
                *where = s;
            return found;
        }
    }
    return NULL;
}

bool haproxy_option_on(const struct haproxy_section *s, const char *name)
{
    for (; s != NULL; s = s->defaults) {
        int on = -1;
        for (const struct haproxy_line *l = s->first; l != NULL; l = l->next) {
            if (haproxy_line_is(l, "option", name))
                on = 1;
            if (haproxy_line_is(l, "no", "option") && l->count > 2 && strcmp(l->words[2], name) == 0)
                on = 0;
        }
        if (on >= 0)
            return on == 1;
    }
    return false;
}

int64_t haproxy_time_ms(const char *word)
{
    static const struct { const char *unit; int64_t us; } units[] = {
        { "", 1000 }, { "us", 1 }, { "ms", 1000 }, { "s", 1000000 }, { "m", 60000000 }, { "h", 3600000000 }, { "d", 86400000000 },
    };
    char *rest = NULL;

    if (!isdigit((unsigned char)word[0]))
        return -1;
    long long n = strtoll(word, &rest, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(rest, units[i].unit) == 0)
            return n > INT64_MAX / units[i].us ? INT64_MAX : n * units[i].us / 1000;
    return -1;
}

int64_t haproxy_size(const char *word)
{
    char *rest = NULL;

    if (!isdigit((unsigned char)word[0]))
        return -1;
    long long n = strtoll(word, &rest, 10);
    int shift = rest[0] == '\0' ? 0 : strchr("kK", rest[0]) ? 10 : strchr("mM", rest[0]) ? 20 : strchr("gG", rest[0]) ? 30 : -1;
    if (shift < 0 || (rest[0] != '\0' && rest[1] != '\0') || n > (INT64_MAX >> 30))
        return -1;
    return (int64_t)n << shift;
}
