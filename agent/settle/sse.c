#include "settle/sse.h"

#include <stdint.h>

/* Takes a line without its end. *ended: it had one. */
static struct slice line_next(struct slice *s, bool *ended)
{
    const char *p = s->p, *end = s->p + s->n;
    const char *nl = memchr(p, '\n', s->n);
    const char *stop = nl != NULL ? nl : end;
    const char *cr = memchr(p, '\r', (size_t)(stop - p));
    const char *next = nl != NULL ? nl + 1 : end;

    *ended = nl != NULL || cr != NULL;
    if (cr != NULL) { /* CR LF, or CR alone */
        stop = cr;
        next = cr + 1 < end && cr[1] == '\n' ? cr + 2 : cr + 1;
    }
    *s = slice_make(next, (size_t)(end - next));
    return slice_make(p, (size_t)(stop - p));
}

static int append(struct slice *to, size_t *room, struct slice more, struct arena *a)
{
    size_t need = to->n + 1 + more.n;
    char *p = (char *)(uintptr_t)to->p;
    if (*room < need) {
        *room = need * 2;
        p = arena_alloc(a, *room);
        if (p == NULL)
            return -1;
        memcpy(p, to->p, to->n);
    }
    p[to->n] = '\n';
    if (more.n > 0)
        memcpy(p + to->n + 1, more.p, more.n);
    *to = slice_make(p, need);
    return 0;
}

int sse_next(struct slice *stream, struct arena *a, struct sse_event *out)
{
    bool any = false, ended = true;
    size_t room = 0; /* of our copy; 0: data points into the stream */

    *out = (struct sse_event){ 0 };
    while (stream->n > 0) {
        struct slice line = line_next(stream, &ended);
        if (line.n == 0 && ended) {
            if (any)
                return 1;
            continue;
        }
        if (!slice_starts(line, SLICE_LIT("data:")))
            continue;
        line = slice_make(line.p + 5, line.n - 5);
        if (line.n > 0 && line.p[0] == ' ')
            line = slice_make(line.p + 1, line.n - 1);
        if (!any)
            out->data = line;
        else if (append(&out->data, &room, line, a) != 0)
            return -1;
        any = true;
    }
    out->cut = any;
    return any ? 1 : 0;
}
