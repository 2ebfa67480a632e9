#include "credential/value.h"

#include "credential/credential.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char REDACTED[] = "[redacted]";

struct value *value_ref(struct value *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void value_unref(struct value *v)
{
    if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    secret_free(v->header);
    for (size_t i = 0; i < VALUE_SPELLINGS; i++)
        secret_free(v->spellings[i]);
    free(v->name);
    free(v->source);
    free(v);
}

/* ---- spellings -------------------------------------------------------------------------------------------------------- */

static size_t put_json(char *to, unsigned char c, bool slash)
{
    size_t n = 0;
    if (c == '"' || c == '\\' || (c == '/' && slash))
        to[n++] = '\\';
    to[n++] = (char)c;
    return n;
}

static size_t put_percent(char *to, unsigned char c, const char *hex)
{
    if (isalnum(c) || strchr("-._~", c) != NULL) {
        to[0] = (char)c;
        return 1;
    }
    to[0] = '%';
    to[1] = hex[c >> 4];
    to[2] = hex[c & 15];
    return 3;
}

/* Spelling `which` of the key; NULL in *out when it is the plain one again. */
static bool spell(struct slice key, int which, struct secret **out)
{
    size_t cap = 3 * key.n, n = 0;
    char *buf = malloc(cap);

    *out = NULL;
    if (buf == NULL)
        return false;
    for (size_t i = 0; i < key.n; i++) {
        unsigned char c = (unsigned char)key.p[i];
        n += which == 0   ? (buf[n] = (char)c, 1)
             : which == 1 ? put_json(buf + n, c, false)
             : which == 2 ? put_json(buf + n, c, true)
             : which == 3 ? put_percent(buf + n, c, "0123456789ABCDEF")
                          : put_percent(buf + n, c, "0123456789abcdef");
    }
    bool wanted = which == 0 || n != key.n;
    if (wanted)
        *out = secret_new(buf, n);
    secret_wipe(buf, cap);
    free(buf);
    return !wanted || *out != NULL;
}

/* ---- making ----------------------------------------------------------------------------------------------------------- */

static const char *text_fault(struct slice text, size_t with_scheme)
{
    if (text.n == 0)
        return "the value is empty";
    if (with_scheme > CREDENTIAL_MAX)
        return "the value is longer than 8192 bytes";
    if (text.p[0] == ' ' || text.p[text.n - 1] == ' ' || text.p[0] == '\t' || text.p[text.n - 1] == '\t')
        return "the value begins or ends with a blank";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '\n' || c == '\r')
            return "the value has more than one line";
        if (c < ' ' || c > '~')
            return "the value holds a byte that is not printable ASCII";
    }
    return NULL;
}

static struct secret *make_header(struct slice scheme, struct slice text, size_t *bare_at)
{
    *bare_at = scheme.n ? scheme.n + 1 : 0;
    size_t n = *bare_at + text.n;
    char *buf = malloc(n);
    if (buf == NULL)
        return NULL;
    if (scheme.n > 0) {
        memcpy(buf, scheme.p, scheme.n);
        buf[scheme.n] = ' ';
    }
    memcpy(buf + *bare_at, text.p, text.n);
    struct secret *s = secret_new(buf, n);
    secret_wipe(buf, n);
    free(buf);
    return s;
}

struct value *value_new(const char *name, const char *source, const char *scheme, struct slice text, char *why, size_t why_size)
{
    struct slice s = slice_cstr(scheme);
    const char *fault = text_fault(text, s.n + 1 + text.n);

    for (size_t i = 0; fault == NULL && i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            fault = "the scheme must be one word of printable ASCII";
    if (fault != NULL) {
        snprintf(why, why_size, "%s: %s", source, fault);
        return NULL;
    }
    snprintf(why, why_size, "out of memory");
    struct value *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    atomic_init(&v->refs, 1);
    v->name = strdup(name);
    v->source = strdup(source);
    v->header = make_header(s, text, &v->bare_at);
    bool good = v->name != NULL && v->source != NULL && v->header != NULL;
    for (int i = 0; good && text.n >= VALUE_SCRUB_MIN && i < VALUE_SPELLINGS; i++)
        good = spell(text, i, &v->spellings[i]);
    if (!good) {
        value_unref(v);
        return NULL;
    }
    return v;
}

struct value *value_rename(struct value *v, const char *scheme, char *why, size_t why_size)
{
    struct slice header = secret_view(v->header);
    struct slice bare = slice_make(header.p + v->bare_at, header.n - v->bare_at);
    struct slice had = slice_make(header.p, v->bare_at ? v->bare_at - 1 : 0);

    if (slice_eq_cstr(had, scheme))
        return value_ref(v);
    return value_new(v->name, v->source, scheme, bare, why, why_size);
}

struct secret *value_read_systemd(const char *path, char *why, size_t why_size)
{
    char buf[CREDENTIAL_MAX + 2];
    struct secret *s = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, buf, sizeof buf) : -1;

    if (n < 0)
        snprintf(why, why_size, "cannot read %s: %s", path, strerror(errno));
    else if (n > 0 && buf[n - 1] == '\n')
        n--;
    if (n == 0)
        snprintf(why, why_size, "%s is empty", path);
    if (n > 0 && (s = secret_new(buf, (size_t)n)) == NULL)
        snprintf(why, why_size, "out of memory");
    secret_wipe(buf, sizeof buf);
    if (fd >= 0)
        close(fd);
    return s;
}

/* ---- scrubbing -------------------------------------------------------------------------------------------------------- */

/* The first place in `in` where a live key stands; among keys that begin there, the longest. */
static bool find_first(struct value *const *values, size_t count, struct slice in, struct slice *hit)
{
    *hit = SLICE_NONE;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < VALUE_SPELLINGS; k++) {
            if (values[i]->spellings[k] == NULL)
                continue;
            struct slice key = secret_view(values[i]->spellings[k]);
            const char *at = in.n >= key.n ? memmem(in.p, in.n, key.p, key.n) : NULL;
            if (at != NULL && (hit->p == NULL || at < hit->p || (at == hit->p && key.n > hit->n)))
                *hit = slice_make(at, key.n);
        }
    return hit->p != NULL;
}

struct slice value_scrub(struct value *const *values, size_t count, struct slice in, struct arena *a)
{
    struct slice hit;
    size_t n = 0;

    if (in.n == 0 || !find_first(values, count, in, &hit))
        return in;
    /* A key has at least VALUE_SCRUB_MIN bytes, so the text grows at most by this factor. */
    char *out = arena_alloc(a, in.n / VALUE_SCRUB_MIN * (sizeof REDACTED - 1) + in.n + 1);
    if (out == NULL)
        return SLICE_NONE;
    do {
        size_t before = (size_t)(hit.p - in.p);
        memcpy(out + n, in.p, before);
        memcpy(out + n + before, REDACTED, sizeof REDACTED - 1);
        n += before + sizeof REDACTED - 1;
        in = slice_make(hit.p + hit.n, in.n - before - hit.n);
    } while (find_first(values, count, in, &hit));
    memcpy(out + n, in.p, in.n);
    return slice_make(out, n + in.n);
}
