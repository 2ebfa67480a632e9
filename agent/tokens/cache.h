/* The two bounded caches of a counter: short pieces, and whole strings of earlier requests. Internal to tokens/.
 *
 * Neither changes a count. The piece cache compares the piece itself. The history cache compares a keyed hash of the string
 * (two polynomials modulo 2^61 - 1 at secret random points) and its length: two different strings of n bytes that were chosen
 * without knowing the key agree with probability at most (n / 7 + 2)^2 / 2^122. */
#ifndef TOLLGATE_TOKENS_CACHE_H
#define TOLLGATE_TOKENS_CACHE_H

#include "tokens/vocab.h"

/* ---- pieces of up to 15 bytes ------------------------------------------------------------------------------------ */

struct piece_cache {
    struct vocab_piece *entries; /* buckets of 4 = one cache line; the top 4 bits of `high` are the count, 0 = empty */
    uint32_t bits;               /* of the number of buckets */
    uint32_t turn;
};

#define PIECE_COUNT_SHIFT 60

/* 0, or -1 when memory is out. */
int piece_cache_init(struct piece_cache *c, size_t bytes) __attribute__((warn_unused_result));
void piece_cache_free(struct piece_cache *c);

/* The count of a piece, or 0 when it is not there. */
static inline uint32_t piece_cache_find(const struct piece_cache *c, uint64_t hash, uint64_t low, uint64_t high)
{
    const struct vocab_piece *e = c->entries + vocab_piece_bucket(hash, c->bits) * (size_t)4;
    const uint64_t key = ~((uint64_t)15 << PIECE_COUNT_SHIFT);
    uint64_t found = 0;
    for (int i = 0; i < 4; i++)
        found |= e[i].low == low && (e[i].high & key) == high ? e[i].high : 0;
    return (uint32_t)(found >> PIECE_COUNT_SHIFT);
}

static inline void piece_cache_add(struct piece_cache *c, uint64_t hash, uint64_t low, uint64_t high, uint32_t count)
{
    struct vocab_piece *e = c->entries + vocab_piece_bucket(hash, c->bits) * (size_t)4;
    struct vocab_piece piece = { low, high | (uint64_t)count << PIECE_COUNT_SHIFT };
    for (int i = 0; i < 4; i++)
        if (e[i].high == 0) {
            e[i] = piece;
            return;
        }
    e[c->turn++ & 3] = piece;
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

struct history_key {
    uint64_t power[2][4]; /* r, r^2, r^3, r^4 of the two points */
};

struct history_entry {
    uint64_t hash[2];
    uint64_t length; /* 0: empty */
    int64_t tokens;  /* 2 * count + replaced */
};

struct history_cache {
    struct history_entry *entries; /* sets of 4, most recently used first */
    size_t mask;                   /* number of sets - 1 */
    struct history_key key;
};

/* Draws the key. 0, or -1 when memory or randomness is out. */
int history_cache_init(struct history_cache *h, size_t bytes) __attribute__((warn_unused_result));
void history_cache_free(struct history_cache *h);
/* A hash under way. `domain` tells encodings and kinds of input apart. */
struct history_hash {
    uint64_t sum[2];
    size_t at;
};
static inline struct history_hash history_hash_start(uint32_t domain)
{
    return (struct history_hash){ { domain + 1, domain + 1 }, 0 };
}
/* Takes in about `work` more bytes of `s`, which is the same at each call. True: all is taken in, and `hash` is set. */
bool history_hash_step(const struct history_cache *h, struct history_hash *state, struct slice s, size_t work, uint64_t hash[2]);
bool history_cache_find(struct history_cache *h, const uint64_t hash[2], size_t length, int64_t *tokens, bool *replaced);
void history_cache_add(struct history_cache *h, const uint64_t hash[2], size_t length, int64_t tokens, bool replaced);

#endif
