/* A mapped vocabulary, as the counting code reads it. Internal to tokens/. */
#ifndef TOLLGATE_TOKENS_VOCAB_H
#define TOLLGATE_TOKENS_VOCAB_H

#include "tokens/image.h"
#include "tokens/tokenizer.h"

struct vocab {
    enum vocab_pattern pattern;
    uint32_t tokens, pair_bits, whole_bits, states, root;
    const uint8_t *class_index;
    const uint8_t *classes;
    const struct vocab_fact *facts;
    const uint32_t *bytes;
    const uint32_t *first_pairs;
    const uint64_t *pairs;
    const uint8_t *may_pair;
    const struct vocab_piece *whole;
    const struct vocab_state *trie;
    const uint32_t *starts;
};

struct tokenizer {
    struct vocab vocab;
    const char *name;
    uint32_t used;
    uint32_t number; /* which of the agent's encodings: part of the history cache's key */
    void *map;       /* NULL: the mapping belongs to another tokenizer */
    size_t map_size;
};

static inline enum char_class vocab_class(const struct vocab *v, uint32_t code_point)
{
    return (enum char_class)v->classes[v->class_index[code_point >> 7] * 128u + (code_point & 127)];
}

/* The token made of these two, or VOCAB_NONE. */
static inline uint32_t vocab_merge(const struct vocab *v, uint32_t left, uint32_t right)
{
    uint64_t key = (uint64_t)left << 18 | right, hash = vocab_pair_hash(left, right);
    uint32_t mask = (1u << v->pair_bits) - 1, bit = vocab_pair_bit(hash);
    if (!(v->may_pair[bit / 8] >> (bit % 8) & 1))
        return VOCAB_NONE;
    for (uint32_t i = vocab_pair_slot(hash, v->pair_bits);; i = (i + 1) & mask) {
        uint64_t entry = v->pairs[i];
        if ((entry & (((uint64_t)1 << 36) - 1)) == key && entry)
            return (uint32_t)(entry >> 36) & ((1u << VOCAB_RANK_BITS) - 1);
        if (!entry)
            return VOCAB_NONE;
    }
}

/* Whether a piece of up to 15 bytes is a token. */
static inline bool vocab_is_token(const struct vocab *v, uint64_t hash, uint64_t low, uint64_t high)
{
    uint32_t mask = (1u << v->whole_bits) - 1;
    for (uint32_t bucket = vocab_piece_bucket(hash, v->whole_bits);; bucket = (bucket + 1) & mask) {
        const struct vocab_piece *p = v->whole + bucket * (size_t)4;
        uint64_t hit = 0;
        for (int i = 0; i < 4; i++)
            hit |= vocab_if_zero((p[i].low ^ low) | (p[i].high ^ high));
        if (hit)
            return true;
        if (p[3].high == 0)
            return false;
    }
}

/* The child of trie state `state`, or 0. */
static inline uint32_t vocab_child(const struct vocab *v, uint32_t state, uint8_t byte)
{
    uint32_t i = (v->trie[state].link >> 9) + byte;
    return (v->trie[i].link & 511) == byte ? i : 0;
}

#endif
