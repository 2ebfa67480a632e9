#include "tokens/small.h"

#define BYTES(n) ((n) >= 8 ? ~(uint64_t)0 : ~(~(uint64_t)0 << (8 * ((n) & 7))))
#define MASK(n) { BYTES(n), (n) > 8 ? BYTES((n) - 8) : 0 }

const struct vocab_piece small_masks[SMALL_MOST + 1] = { MASK(0),  MASK(1),  MASK(2),  MASK(3),  MASK(4),  MASK(5),  MASK(6),  MASK(7),
                                                         MASK(8),  MASK(9),  MASK(10), MASK(11), MASK(12), MASK(13), MASK(14), MASK(15) };

struct vocab_piece small_load_last(const uint8_t *p, size_t n)
{
    uint8_t bytes[16] = { 0 };
    struct vocab_piece piece;
    memcpy(bytes, p, n);
    memcpy(&piece.low, bytes, 8);
    memcpy(&piece.high, bytes + 8, 8);
    piece.high |= (uint64_t)n << 56;
    return piece;
}

uint32_t small_finish(struct small_counter *s)
{
    static const struct vocab_piece nothing = { 0, (uint64_t)1 << 56 };
    struct small_waiting *w = &s->waiting;
    uint32_t count[4], sum = 0;
    for (unsigned i = w->n; i < 4; i++)
        w->piece[i] = nothing;
    merge_four(s->vocab, w->piece, count);
    for (unsigned i = 0; i < w->n; i++) {
        sum += count[i];
        if (s->cache)
            piece_cache_add(s->cache, w->hash[i], w->piece[i].low, w->piece[i].high, count[i]);
    }
    w->n = 0;
    return sum;
}

uint32_t small_miss(struct small_counter *s, const uint8_t *p, struct vocab_piece piece, uint64_t hash)
{
    struct small_waiting *w = &s->waiting;
    bool is_high = small_is_high(&piece);
    size_t n = piece.high >> 56;
    if (!is_high && !(s->cache && vocab_is_token(s->vocab, hash, piece.low, piece.high))) {
        s->misses++;
        s->missed_bytes += n;
        w->piece[w->n] = piece;
        w->hash[w->n++] = hash;
        return w->n == 4 ? small_finish(s) : 0;
    }
    uint32_t count = is_high ? merge_medium(s->vocab, s->memo, p, n) : 1;
    s->misses += count > 1;
    s->missed_bytes += is_high ? n : 0;
    if (s->cache)
        piece_cache_add(s->cache, hash, piece.low, piece.high, count);
    return count;
}
