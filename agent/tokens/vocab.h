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
    const struct vocab_halves *halves;
    const uint32_t *prefixes;
    const uint32_t *bytes;
    const uint32_t *first_pairs;
    const uint64_t *pairs;
    const uint8_t *shifts;
    uint64_t pair_multiplier;
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

/* What stands in the one slot where the pair of `left` and `right` could stand. */
static inline uint64_t vocab_pair_entry_of(const struct vocab *v, uint32_t left, uint32_t right)
{
    uint64_t hash = vocab_pair_key(left, right) * v->pair_multiplier;
    return v->pairs[vocab_pair_slot(hash, v->shifts[hash >> (64 - VOCAB_GROUP_BITS)], v->pair_bits)];
}

static inline uint32_t vocab_length(const struct vocab *v, uint32_t token)
{
    return v->prefixes[token] & 255;
}

/* The token made of these two, or VOCAB_NONE. */
static inline uint32_t vocab_merge(const struct vocab *v, uint32_t left, uint32_t right)
{
    uint64_t entry = vocab_pair_entry_of(v, left, right);
    return vocab_pair_differs(entry, left, right) ? VOCAB_NONE : (uint32_t)(entry >> 2 * VOCAB_RANK_BITS);
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
