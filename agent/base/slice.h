/* Slices: a pointer and a length into somebody else's bytes.
 *
 * Everything a peer sends is handled as a slice. A slice never owns what it points to and is not NUL-terminated: it is
 * valid as long as the buffer behind it (for a request: until the request's arena is reset). Copy to keep. */
#ifndef TOLLGATE_BASE_SLICE_H
#define TOLLGATE_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

#define SLICE_LIT(s) ((struct slice){ .p = "" s, .n = sizeof(s) - 1 })
#define SLICE_NONE ((struct slice){ .p = NULL, .n = 0 })
/* For printf's "%.*s". */
#define SLICE_FMT(s) (int)(s).n, (s).n ? (s).p : ""

static inline struct slice slice_make(const char *p, size_t n)
{
    return (struct slice){ .p = p, .n = n };
}

/* NULL gives the empty slice. */
static inline struct slice slice_cstr(const char *s)
{
    return (struct slice){ .p = s, .n = s ? strlen(s) : 0 };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_eq_cstr(struct slice a, const char *s)
{
    return slice_eq(a, slice_cstr(s));
}

static inline bool slice_starts(struct slice a, struct slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

/* Copies it to *at and moves *at behind it: for texts that share one block with what they belong to. The empty slice takes no room. */
static inline struct slice slice_pack(char **at, struct slice s)
{
    if (s.n == 0)
        return SLICE_NONE;
    memcpy(*at, s.p, s.n);
    *at += s.n;
    return slice_make(*at - s.n, s.n);
}

#endif
