#include "base/redact.h"

#include "base/private.h"
#include "base/secret.h"

#include <ctype.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

enum { SPELLINGS = 5, FILTER_BITS = 1 << 15, BUCKETS = 256 };

static const char REPLACEMENT[] = "[secret]"; /* REDACT_MIN bytes */

struct pattern {
    struct pattern *next; /* in its bucket */
    struct secret *text;
    uint32_t hash;        /* of its first REDACT_MIN bytes */
};

struct redact_entry {
    struct pattern patterns[SPELLINGS]; /* text NULL: the same as the plain one */
};

/* Process-wide, as the log is. */
static struct {
    pthread_rwlock_t lock;
    size_t count;
    struct pattern *buckets[BUCKETS];
    uint64_t filter[FILTER_BITS / 64];
} live = { .lock = PTHREAD_RWLOCK_INITIALIZER };

static uint32_t hash_at(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return (uint32_t)(w * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static size_t filter_bit(uint32_t hash)
{
    return hash % FILTER_BITS;
}

/* ---- spellings -------------------------------------------------------------------------------------------------------- */

static size_t put_json(char *to, unsigned char c, bool slash)
{
    size_t n = 0;
    if (c == '\n' || c == '\r' || c == '\t') {
        to[0] = '\\';
        to[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
        return 2;
    }
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

static size_t put_spelled(char *to, unsigned char c, int which)
{
    switch (which) {
    case 0:
        to[0] = (char)c;
        return 1;
    case 1:
    case 2:
        return put_json(to, c, which == 2);
    default:
        return put_percent(to, c, which == 3 ? "0123456789ABCDEF" : "0123456789abcdef");
    }
}

/* Spelling `which` of the secret; NULL in *out when it is the plain one again. False: memory is out. */
static bool spell(struct slice secret, int which, struct secret **out)
{
    size_t cap = 3 * secret.n, n = 0;
    char *buf = private_alloc(cap);

    *out = NULL;
    if (buf == NULL)
        return false;
    for (size_t i = 0; i < secret.n; i++)
        n += put_spelled(buf + n, (unsigned char)secret.p[i], which);
    bool wanted = which == 0 || n != secret.n;
    if (wanted)
        *out = secret_new(buf, n);
    secret_wipe(buf, cap);
    private_free(buf);
    return !wanted || *out != NULL;
}

/* ---- the registry ----------------------------------------------------------------------------------------------------- */

static void filter_rebuild(void)
{
    memset(live.filter, 0, sizeof live.filter);
    for (size_t b = 0; b < BUCKETS; b++)
        for (struct pattern *p = live.buckets[b]; p != NULL; p = p->next)
            live.filter[filter_bit(p->hash) / 64] |= UINT64_C(1) << filter_bit(p->hash) % 64;
}

struct redact_entry *redact_add(struct slice secret, bool *out_of_memory)
{
    bool ignored;
    bool *failed = out_of_memory != NULL ? out_of_memory : &ignored;

    *failed = false;
    if (secret.n < REDACT_MIN)
        return NULL;
    struct redact_entry *e = calloc(1, sizeof *e);
    *failed = e == NULL;
    for (int i = 0; !*failed && i < SPELLINGS; i++)
        *failed = !spell(secret, i, &e->patterns[i].text);
    if (*failed) {
        for (int i = 0; e != NULL && i < SPELLINGS; i++)
            secret_free(e->patterns[i].text);
        free(e);
        return NULL;
    }
    pthread_rwlock_wrlock(&live.lock);
    for (int i = 0; i < SPELLINGS; i++) {
        struct pattern *p = &e->patterns[i];
        if (p->text == NULL)
            continue;
        p->hash = hash_at(secret_view(p->text).p);
        p->next = live.buckets[p->hash % BUCKETS];
        live.buckets[p->hash % BUCKETS] = p;
        live.count++;
    }
    filter_rebuild();
    pthread_rwlock_unlock(&live.lock);
    return e;
}

void redact_remove(struct redact_entry *e)
{
    if (e == NULL)
        return;
    pthread_rwlock_wrlock(&live.lock);
    for (int i = 0; i < SPELLINGS; i++) {
        struct pattern *p = &e->patterns[i];
        if (p->text == NULL)
            continue;
        struct pattern **at = &live.buckets[p->hash % BUCKETS];
        while (*at != p)
            at = &(*at)->next;
        *at = p->next;
        live.count--;
    }
    filter_rebuild();
    pthread_rwlock_unlock(&live.lock);
    for (int i = 0; i < SPELLINGS; i++)
        secret_free(e->patterns[i].text);
    free(e);
}

/* ---- looking ---------------------------------------------------------------------------------------------------------- */

/* How many bytes at p, of n, are a secret or, when the text ends with them, the beginning of one. The longest counts. */
static size_t match_at(const char *p, size_t n, uint32_t hash)
{
    size_t longest = 0;

    for (const struct pattern *c = live.buckets[hash % BUCKETS]; c != NULL; c = c->next) {
        struct slice s = secret_view(c->text);
        size_t len = s.n < n ? s.n : n;
        if (c->hash == hash && len > longest && memcmp(p, s.p, len) == 0)
            longest = len;
    }
    return longest;
}

/* The next secret at or behind *at; its length, or 0. */
static size_t find_next(const char *text, size_t n, size_t *at)
{
    for (size_t i = *at; i + REDACT_MIN <= n; i++) {
        uint32_t hash = hash_at(text + i);
        if ((live.filter[filter_bit(hash) / 64] >> filter_bit(hash) % 64 & 1) == 0)
            continue;
        size_t len = match_at(text + i, n - i, hash);
        if (len > 0) {
            *at = i;
            return len;
        }
    }
    return 0;
}

size_t redact_text(char *text, size_t n)
{
    size_t from = 0, to = 0, at = 0, len;

    pthread_rwlock_rdlock(&live.lock);
    while (live.count > 0 && (len = find_next(text, n, &at)) > 0) {
        memmove(text + to, text + from, at - from);
        to += at - from;
        memcpy(text + to, REPLACEMENT, sizeof REPLACEMENT - 1);
        to += sizeof REPLACEMENT - 1;
        from = at = at + len;
    }
    pthread_rwlock_unlock(&live.lock);
    if (from == 0)
        return n;
    memmove(text + to, text + from, n - from);
    return to + n - from;
}

void redact_mask(char *text, size_t n)
{
    size_t at = 0, len;

    pthread_rwlock_rdlock(&live.lock);
    while (live.count > 0 && (len = find_next(text, n, &at)) > 0) {
        memset(text + at, '*', len);
        at += len;
    }
    pthread_rwlock_unlock(&live.lock);
}
