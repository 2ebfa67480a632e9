/* The bounded caches of a counter: short pieces, longer ones, and whole strings of earlier requests. Internal to tokens/.
 *
 * None changes a count. The piece caches compare the piece itself. The history cache compares a keyed hash of the string
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

/* Which of the four it is cannot be predicted, so this must be a conditional move. */
static inline uint64_t piece_entry_if(const struct vocab_piece *e, uint64_t low, uint64_t high, uint64_t otherwise)
{
    uint64_t differs = (e->low ^ low) | (e->high ^ high) << (64 - PIECE_COUNT_SHIFT), entry = e->high;
    return __builtin_expect_with_probability(differs == 0, 1, 0.5) ? entry : otherwise;
}

/* The count of a piece, or 0 when it is not there. */
static inline uint32_t piece_cache_find(const struct piece_cache *c, uint64_t hash, uint64_t low, uint64_t high)
{
    const struct vocab_piece *e = c->entries + vocab_piece_bucket(hash, c->bits) * (size_t)4;
    uint64_t found = piece_entry_if(&e[0], low, high, 0);
    found = piece_entry_if(&e[1], low, high, found);
    found = piece_entry_if(&e[2], low, high, found);
    found = piece_entry_if(&e[3], low, high, found);
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

/* ---- pieces of 16 to 48 bytes ------------------------------------------------------------------------------------- */

#define MEDIUM_LEAST 16
#define MEDIUM_MOST 48

/* Three loads of 16 bytes cover such a piece: its beginning, its end, and what may lie between. */
struct medium_key {
    uint64_t part[6];
};

struct medium_entry {
    struct medium_key key;
    uint32_t length, count; /* length 0: empty */
    uint64_t unused;
};

struct medium_cache {
    struct medium_entry *entries; /* sets of 2 */
    uint32_t bits;                /* of the number of sets */
    uint32_t turn;
};

int medium_cache_init(struct medium_cache *c, size_t bytes) __attribute__((warn_unused_result));
void medium_cache_free(struct medium_cache *c);

static inline struct medium_key medium_key_of(const uint8_t *p, size_t n)
{
    struct medium_key k;
    memcpy(&k.part[0], p, 16);
    memcpy(&k.part[2], p + (n < 32 ? n - 16 : 16), 16);
    memcpy(&k.part[4], p + n - 16, 16);
    return k;
}

static inline struct medium_entry *medium_cache_set(const struct medium_cache *c, const struct medium_key *k, size_t n)
{
    uint64_t h = n;
    for (int i = 0; i < 6; i += 2)
        h = (h ^ k->part[i] ^ (k->part[i + 1] << 32 | k->part[i + 1] >> 32)) * 0x9e3779b97f4a7c15u ^ h >> 29;
    h = (h ^ h >> 32) * 0xff51afd7ed558ccdu;
    return c->entries + (h >> (64 - c->bits)) * 2;
}

static inline bool medium_entry_is(const struct medium_entry *e, const struct medium_key *k, size_t n)
{
    uint64_t differs = e->length ^ n;
    for (int i = 0; i < 6; i++)
        differs |= e->key.part[i] ^ k->part[i];
    return differs == 0;
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
