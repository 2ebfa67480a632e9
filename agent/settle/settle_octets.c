#include "settle/settle_octets.h"

#include <stdlib.h>

#define LINE_DEFAULT 65536
#define LINE_MOST ((size_t)1 << 20)
#define DIGITS_MOST 7

struct settle_octets {
    size_t max_line;
    char *line;   /* a line that came in pieces */
    size_t have;
    size_t need;  /* length of the line being taken; meaningful when in_line */
    unsigned digits;
    bool in_line, broken;
    bool by_newline; /* of the line being taken */
};

struct settle_octets *settle_octets_new(size_t max_line)
{
    struct settle_octets *o = calloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    o->max_line = max_line == 0 ? LINE_DEFAULT : max_line > LINE_MOST ? LINE_MOST : max_line;
    o->line = malloc(o->max_line);
    if (o->line == NULL) {
        free(o);
        return NULL;
    }
    return o;
}

void settle_octets_free(struct settle_octets *o)
{
    if (o == NULL)
        return;
    free(o->line);
    free(o);
}

static int broken(struct settle_octets *o, const char **why, const char *phrase)
{
    o->broken = true;
    *why = phrase;
    return -1;
}

/* 1: the count is whole; 0: more is needed. */
static int read_count(struct settle_octets *o, struct slice *in, const char **why)
{
    while (in->n > 0) {
        char c = *in->p++;
        in->n--;
        if (c == ' ' && o->digits > 0) {
            if (o->need == 0 || o->need > o->max_line)
                return broken(o, why, o->need == 0 ? "line of length 0" : "line longer than the limit");
            o->in_line = true;
            o->have = 0;
            return 1;
        }
        if (c < '0' || c > '9' || o->digits == DIGITS_MOST)
            return broken(o, why, "no octet count: is the log target `proto octet-count`?");
        o->need = o->need * 10 + (size_t)(c - '0');
        o->digits++;
    }
    return 0;
}

/* The line's text goes without its newline. */
static int line_to_newline(struct settle_octets *o, struct slice *in, struct slice *line, const char **why)
{
    const char *end = in->n > 0 ? memchr(in->p, '\n', in->n) : NULL;
    size_t n = end != NULL ? (size_t)(end - in->p) : in->n;

    if (n > o->max_line - o->have)
        return broken(o, why, "line longer than the limit");
    if (o->have == 0 && end != NULL) {
        *line = slice_make(in->p, n); /* whole: no copy */
    } else {
        if (n > 0)
            memcpy(o->line + o->have, in->p, n);
        o->have += n;
        *line = slice_make(o->line, o->have);
    }
    n += end != NULL;
    *in = slice_make(in->p + n, in->n - n);
    if (end == NULL)
        return 0;
    o->by_newline = false;
    return 1;
}

int settle_octets_next(struct settle_octets *o, struct slice *in, struct slice *line, const char **why)
{
    if (o->broken)
        return broken(o, why, "the stream is broken");
    if (!o->in_line && !o->by_newline && o->digits == 0 && in->n > 0 && *in->p == '{') {
        o->by_newline = true;
        o->have = 0;
    }
    if (o->by_newline)
        return line_to_newline(o, in, line, why);
    if (!o->in_line) {
        int rc = read_count(o, in, why);
        if (rc <= 0)
            return rc;
    }
    size_t n = o->need - o->have;
    if (n > in->n)
        n = in->n;
    if (o->have == 0 && n == o->need) {
        *line = slice_make(in->p, n); /* whole: no copy */
    } else {
        if (n > 0)
            memcpy(o->line + o->have, in->p, n);
        o->have += n;
        *line = slice_make(o->line, o->have);
    }
    *in = slice_make(in->p + n, in->n - n);
    if (line->n < o->need)
        return 0;
    o->in_line = false;
    o->need = 0;
    o->digits = 0;
    return 1;
}
