#include "admin/csv.h"

void csv_start(struct csv *c, char *text, size_t n)
{
    *c = (struct csv){ .p = text, .end = text + n, .line = 0, .next = 1 };
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        c->p += 3;
}

/* One field from c->p on; leaves c->p at what ends it. */
static bool field(struct csv *c, struct slice *out)
{
    char *to = c->p, *start = c->p;

    if (c->p == c->end || *c->p != '"') {
        while (c->p < c->end && *c->p != ',' && *c->p != '\n')
            c->p++;
        size_t n = (size_t)(c->p - start);
        *out = slice_make(start, n > 0 && c->p < c->end && *c->p == '\n' && start[n - 1] == '\r' ? n - 1 : n);
        return true;
    }
    for (c->p++; c->p < c->end; c->p++) {
        if (*c->p == '"' && (c->p + 1 == c->end || c->p[1] != '"'))
            break;
        if (*c->p == '"')
            c->p++;
        c->next += *c->p == '\n';
        *to++ = *c->p;
    }
    if (c->p == c->end)
        return false; /* never closed */
    c->p++;
    if (c->p < c->end && *c->p == '\r')
        c->p++;
    *out = slice_make(start, (size_t)(to - start));
    return c->p == c->end || *c->p == ',' || *c->p == '\n';
}

int csv_next(struct csv *c, struct slice fields[CSV_FIELDS_MAX])
{
    int n = 0;

    while (c->p < c->end && (*c->p == '\n' || (*c->p == '\r' && c->p + 1 < c->end && c->p[1] == '\n'))) {
        c->p += *c->p == '\r' ? 2 : 1;
        c->next++;
    }
    if (c->p == c->end)
        return 0;
    for (c->line = c->next;; c->p++) {
        if (n == CSV_FIELDS_MAX || !field(c, &fields[n++]))
            return -1;
        if (c->p == c->end)
            return n;
        if (*c->p == '\n') {
            c->p++;
            c->next++;
            return n;
        }
    }
}
