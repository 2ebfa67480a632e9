#include "tokens/cache.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

/* Large tables profit from large pages; where there are none nothing is lost. */
static void *table_alloc(size_t bytes)
{
    size_t align = bytes >= (size_t)2 << 20 ? (size_t)2 << 20 : 64;
    void *p = aligned_alloc(align, bytes);
    if (!p)
        return NULL;
    if (align > 64)
        madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 0, bytes);
    return p;
}

int piece_cache_init(struct piece_cache *c, size_t bytes)
{
    *c = (struct piece_cache){ NULL, 1, 0 };
    while ((size_t)128 << c->bits <= bytes)
        c->bits++;
    c->entries = table_alloc((size_t)64 << c->bits);
    return c->entries ? 0 : -1;
}

void piece_cache_free(struct piece_cache *c)
{
    free(c->entries);
    c->entries = NULL;
}

int medium_cache_init(struct medium_cache *c, size_t bytes)
{
    *c = (struct medium_cache){ NULL, 1, 0 };
    while ((size_t)256 << c->bits <= bytes)
        c->bits++;
    c->entries = table_alloc((size_t)128 << c->bits);
    return c->entries ? 0 : -1;
}

void medium_cache_free(struct medium_cache *c)
{
    free(c->entries);
    c->entries = NULL;
}

#define PRIME (((uint64_t)1 << 61) - 1)

static uint64_t reduce(unsigned __int128 x)
{
    uint64_t r = (uint64_t)(x & PRIME) + (uint64_t)(x >> 61);
    return r >= PRIME ? r - PRIME : r;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
    return reduce((unsigned __int128)a * b);
}

int history_cache_init(struct history_cache *h, size_t bytes)
{
    size_t sets = 1;
    while (sets * 2 * 4 * sizeof *h->entries <= bytes)
        sets *= 2;
    h->mask = sets - 1;
    h->entries = NULL;
    for (int i = 0; i < 2; i++) {
        uint64_t r;
        do {
            if (getrandom(&r, sizeof r, 0) != sizeof r)
                return -1;
            r &= PRIME;
        } while (r < 2 || r == PRIME);
        h->key.power[i][0] = r;
        for (int j = 1; j < 4; j++)
            h->key.power[i][j] = multiply(h->key.power[i][j - 1], r);
    }
    h->entries = table_alloc(sets * 4 * sizeof *h->entries);
    return h->entries ? 0 : -1;
}

void history_cache_free(struct history_cache *h)
{
    free(h->entries);
    h->entries = NULL;
}

/* Seven bytes at p, little-endian, of which at least eight are readable. One load: seven bytes copied into a cleared word and read back
 * would wait for the store each time. */
static inline uint64_t load7(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v & 0xffffffffffffffu;
}

/* The same where the byte before p is readable and the one behind may not be. */
static inline uint64_t load7_last(const char *p)
{
    uint64_t v;
    memcpy(&v, p - 1, sizeof v);
    return v >> 8;
}

bool history_hash_step(const struct history_cache *h, struct history_hash *state, struct slice s, size_t work, uint64_t hash[2])
{
    uint64_t sum[2] = { state->sum[0], state->sum[1] };
    const char *p = s.p + state->at;
    size_t n = s.n - state->at, stop = n > work ? n - work : 0;
    for (; n >= 28 && n > stop; p += 28, n -= 28) {
        uint64_t m0 = load7(p), m1 = load7(p + 7), m2 = load7(p + 14), m3 = load7_last(p + 21);
        for (int i = 0; i < 2; i++) {
            const uint64_t *r = h->key.power[i];
            sum[i] = reduce((unsigned __int128)(sum[i] + m0) * r[3] + (unsigned __int128)m1 * r[2] +
                            (unsigned __int128)m2 * r[1] + (unsigned __int128)m3 * r[0]);
        }
    }
    if (n >= 28) {
        *state = (struct history_hash){ { sum[0], sum[1] }, s.n - n };
        return false;
    }
    while (n > 0) {
        size_t take = n < 7 ? n : 7;
        uint64_t m = 0;
        memcpy(&m, p, take);
        for (int i = 0; i < 2; i++)
            sum[i] = multiply(sum[i] + m, h->key.power[i][0]);
        p += take;
        n -= take;
    }
    for (int i = 0; i < 2; i++)
        hash[i] = multiply(sum[i] + (s.n & 0xffffffffffffff), h->key.power[i][0]);
    return true;
}

bool history_cache_find(struct history_cache *h, const uint64_t hash[2], size_t length, int64_t *tokens, bool *replaced)
{
    struct history_entry *set = h->entries + (hash[0] & h->mask) * 4;
    for (int i = 0; i < 4; i++)
        if (set[i].hash[0] == hash[0] && set[i].hash[1] == hash[1] && set[i].length == length && length > 0) {
            struct history_entry e = set[i];
            memmove(set + 1, set, (size_t)i * sizeof *set);
            set[0] = e;
            *tokens = e.tokens >> 1;
            *replaced = e.tokens & 1;
            return true;
        }
    return false;
}

void history_cache_add(struct history_cache *h, const uint64_t hash[2], size_t length, int64_t tokens, bool replaced)
{
    struct history_entry *set = h->entries + (hash[0] & h->mask) * 4;
    memmove(set + 1, set, 3 * sizeof *set);
    set[0] = (struct history_entry){ { hash[0], hash[1] }, length, tokens * 2 + replaced };
}
