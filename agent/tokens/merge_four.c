/* Four short pieces merged side by side: a merge waits for two look-ups in tables that are too large for the near caches, so one piece
 * alone leaves the CPU idle most of the time. No step takes a branch on what it found.
 *
 * The tokens of a piece stay where their first bytes were, at places 1 to 15, with a token that pairs with nothing before and two behind.
 * Each place has the pair it would make with the next token: rank and, in the low bits, place, so that the least of all is the pair to
 * merge. A piece that is done goes through the same steps to no effect. */
#include "tokens/merge.h"

#define PLACES 16
#define PLACE_BITS 4
#define NO_PAIR 0x7ffffff0u /* and above: there is none */

typedef int32_t four __attribute__((vector_size(16)));

struct lane {
    four pairs[PLACES / 4];
    uint32_t ids[PLACES + 2];
    uint32_t starts;   /* where tokens start, and the three places around them */
    uint32_t reversed; /* the same from the top bit down */
    uint32_t merges;
};

static inline uint32_t pair_at(const struct vocab *v, uint32_t left, uint32_t right, unsigned place)
{
    uint64_t entry = vocab_pair_entry_of(v, left, right), differs = vocab_pair_differs(entry, left, right);
    uint32_t none = (uint32_t)((0 - (differs >> 63 | (0 - differs) >> 63)) & NO_PAIR);
    return (uint32_t)(entry >> 2 * VOCAB_RANK_BITS) << PLACE_BITS | none | place;
}

static inline __attribute__((always_inline)) void lane_start(struct lane *l, const struct vocab *v, const struct vocab_piece *piece)
{
    static const int32_t behind[PLACES * 2 + 4] = { [PLACES... PLACES * 2 + 3] = INT32_MAX };
    uint8_t bytes[16];
    uint32_t pairs[PLACES];
    memcpy(bytes, piece, 16);
    unsigned n = bytes[15];
    l->ids[0] = l->ids[PLACES] = l->ids[PLACES + 1] = VOCAB_NO_TOKEN;
    pairs[0] = INT32_MAX;
    /* All fifteen, whatever n is, and then what was too much is taken back. */
    for (unsigned i = 0; i < 15; i++) {
        l->ids[i + 1] = v->bytes[bytes[i]];
        pairs[i + 1] = (v->first_pairs[bytes[i] << 8 | bytes[i + 1]] << PLACE_BITS | (i + 1)) & INT32_MAX;
    }
    l->ids[n + 1] = l->ids[n + 2] = VOCAB_NO_TOKEN;
    memcpy(l->pairs, pairs, sizeof pairs);
    for (unsigned i = 0; i < PLACES / 4; i++) {
        four mask;
        memcpy(&mask, behind + PLACES - n + 4 * i, sizeof mask);
        l->pairs[i] |= mask;
    }
    l->starts = ((8u << n) - 1) | 3u << PLACES;
    l->reversed = ~0u << (29 - n);
    l->merges = 0;
}

static inline four least_of(four a, four b)
{
    four less = a < b;
    return (a & less) | (b & ~less);
}

/* 1 when there was a pair to merge. */
static inline __attribute__((always_inline)) uint32_t lane_step(struct lane *l, const struct vocab *v)
{
    four least = least_of(least_of(l->pairs[0], l->pairs[1]), least_of(l->pairs[2], l->pairs[3]));
    int32_t a = least[0] < least[1] ? least[0] : least[1], b = least[2] < least[3] ? least[2] : least[3];
    uint32_t best = (uint32_t)(a < b ? a : b), place = best & (PLACES - 1), token = best >> PLACE_BITS, found = best < NO_PAIR;
    uint32_t behind = l->starts & ~1u << place;
    unsigned right = (unsigned)__builtin_ctz(behind), next = (unsigned)__builtin_ctz(behind & (behind - 1));
    uint32_t before = l->reversed & (uint32_t)(~(uint64_t)0 << (32 - place));
    unsigned left = 31 - (unsigned)__builtin_ctz(before | 1u << 31);
    uint32_t *pairs = (uint32_t *)l->pairs;
    l->merges += found;
    l->starts &= ~(found << right);
    l->reversed &= ~(found << 31 >> right);
    l->ids[place] = token;
    pairs[right] = INT32_MAX;
    pairs[place] = pair_at(v, token, l->ids[next], place);
    pairs[left] = pair_at(v, l->ids[left], token, left);
    return found;
}

void merge_four(const struct vocab *v, const struct vocab_piece piece[4], uint32_t count[4])
{
    struct lane lanes[4];
    const struct vocab near = *v;
    uint32_t more;
    for (int i = 0; i < 4; i++)
        lane_start(&lanes[i], v, &piece[i]);
    do {
        more = lane_step(&lanes[0], &near);
        more |= lane_step(&lanes[1], &near);
        more |= lane_step(&lanes[2], &near);
        more |= lane_step(&lanes[3], &near);
    } while (more);
    for (int i = 0; i < 4; i++)
        count[i] = (uint32_t)(piece[i].high >> 56) - lanes[i].merges;
}
