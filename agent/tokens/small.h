/* Counting pieces of up to 15 bytes. Internal to tokens/. */
#ifndef TOLLGATE_TOKENS_SMALL_H
#define TOLLGATE_TOKENS_SMALL_H

#include "tokens/cache.h"
#include "tokens/merge.h"

#define SMALL_MOST 15 /* bytes */

/* Pieces that no table knew, to be merged four at a time. */
struct small_waiting {
    struct vocab_piece piece[4];
    uint64_t hash[4];
    unsigned n;
};

struct small_counter {
    const struct vocab *vocab;
    struct merge_memo *memo;
    struct piece_cache *cache; /* NULL: none */
    struct small_waiting waiting;
    uint64_t misses;           /* pieces that had to be merged */
    uint64_t missed_bytes;     /* of pieces that no table knew */
};

/* The count of a piece (at p) that small_count could not tell; 0 when it was left waiting. */
uint32_t small_miss(struct small_counter *s, const uint8_t *p, struct vocab_piece piece, uint64_t hash);
/* The tokens of what is left waiting. */
uint32_t small_finish(struct small_counter *s);

/* Near the end of the text, where 16 bytes cannot be read. */
struct vocab_piece small_load_last(const uint8_t *p, size_t n);

/* The first n bytes of a piece. */
extern const struct vocab_piece small_masks[SMALL_MOST + 1];

/* The first n bytes at p (1..15) as the tables hold them; `end` is where reading must stop. */
static inline struct vocab_piece small_load(const uint8_t *p, size_t n, const uint8_t *end)
{
    struct vocab_piece piece;
    if (end - p >= 16) {
        memcpy(&piece.low, p, 8);
        memcpy(&piece.high, p + 8, 8);
        piece.low &= small_masks[n].low;
        piece.high = (piece.high & small_masks[n].high) | (uint64_t)n << 56;
        return piece;
    }
    return small_load_last(p, n);
}

/* Whether there is text beyond ASCII: it has tokens of many bytes, so that matching them takes fewer steps than merging, and shows on
 * the way whether the piece is a token. */
static inline bool small_is_high(const struct vocab_piece *piece)
{
    return (piece->low | piece->high) & 0x8080808080808080u;
}

/* What is left waiting counts 0 for now. */
static inline __attribute__((always_inline)) uint32_t small_count(struct small_counter *s, const uint8_t *p, size_t n, const uint8_t *end)
{
    if (n == 1)
        return 1;
    struct vocab_piece piece = small_load(p, n, end);
    uint64_t hash = vocab_piece_hash(piece.low, piece.high);
    if (s->cache) {
        uint32_t count = piece_cache_find(s->cache, hash, piece.low, piece.high);
        if (count != 0)
            return count;
    } else if (!small_is_high(&piece) && vocab_is_token(s->vocab, hash, piece.low, piece.high)) {
        return 1;
    }
    return small_miss(s, p, piece, hash);
}

#endif
