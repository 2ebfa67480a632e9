/* The vocabulary image: one file for each encoding, in the byte order and layout the counter reads in place.
 *
 * Written by vocab_build (at build time, on the machine that runs it), mapped by tokenizer_open. Every section starts on a
 * 64-byte boundary. A pair of tokens is merged if and only if the pair table holds it: every token of these encodings can be
 * reached by merging, so each has exactly one pair that makes it, and (left, right) -> token says the same as looking up the
 * joined bytes (vocab_build verifies that every token is reached). */
#ifndef TOLLGATE_TOKENS_IMAGE_H
#define TOLLGATE_TOKENS_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* Pieces of text are compared as numbers, their first byte lowest. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "token counting needs a little-endian machine");

#define VOCAB_MAGIC "TGVOCAB"
#define VOCAB_VERSION 5u
#define VOCAB_BYTE_ORDER 0x01020304u
#define VOCAB_NONE UINT32_MAX
#define VOCAB_MAX_TOKEN 128 /* bytes of the longest token of any encoding */

/* How text is cut into pieces. */
enum vocab_pattern { VOCAB_O200K = 1, VOCAB_CL100K, VOCAB_GPT2 };

enum vocab_section {
    VOCAB_CLASS_INDEX, /* uint8_t[CHAR_BLOCKS]: block of each 128 code points */
    VOCAB_CLASSES,     /* uint8_t[blocks][128]: char_class */
    VOCAB_HALVES,      /* struct vocab_halves[tokens] */
    VOCAB_PREFIXES,    /* uint32_t[tokens]: length in bytes (0 for a gap) and, from bit 8 on, the longest token that is a proper
                          prefix, or VOCAB_NO_TOKEN */
    VOCAB_BYTES,       /* uint32_t[256]: the token of each byte; all are below 256 */
    VOCAB_FIRST_PAIRS, /* uint32_t[65536]: token of two bytes (first * 256 + second), or VOCAB_NONE */
    VOCAB_PAIRS,       /* uint64_t[1 << pair_bits]: see vocab_pair_entry */
    VOCAB_SHIFTS,      /* uint8_t[VOCAB_GROUPS]: see vocab_pair_slot */
    VOCAB_WHOLE,       /* struct vocab_piece[4 << whole_bits]: tokens of up to 15 bytes by content, buckets of 4 = 64 bytes */
    VOCAB_TRIE,        /* struct vocab_state[states]: double array over all tokens */
    VOCAB_STARTS,      /* uint32_t[65536]: the trie's state behind two bytes (first * 256 + second), or 0 */
    VOCAB_SECTIONS
};

/* Code points by what the patterns ask of them. White space is \s without CR and LF. */
enum char_class { CHAR_OTHER, CHAR_UPPER, CHAR_LOWER, CHAR_LETTER, CHAR_MARK, CHAR_NUMBER, CHAR_SPACE, CHAR_NEWLINE };

#define CHAR_BLOCKS (0x110000 / 128)

/* The pair a token is merged from; a byte's own token: itself twice. */
struct vocab_halves {
    uint32_t left, right;
};

/* Up to 15 bytes, zero-padded, with the length in the top byte of `high`. */
struct vocab_piece {
    uint64_t low, high;
};

/* Child of state s by byte b: i = (s.link >> 9) + b, and states[i].link & 511 == b. The label 511 marks a free slot. */
struct vocab_state {
    uint32_t link;
    uint32_t longest; /* the longest token that the bytes up to here start with: rank and, from VOCAB_RANK_BITS on, length; 0 for the root */
};

struct vocab_header {
    char magic[8];
    uint32_t byte_order, version;
    uint64_t size; /* of the whole file */
    char name[32];
    uint32_t pattern;
    uint32_t tokens;     /* highest rank + 1 */
    uint32_t used;       /* tokens that exist */
    uint32_t pair_bits, whole_bits, states;
    uint32_t root;       /* index of the trie's root state */
    uint32_t reserved;
    uint64_t pair_multiplier;
    uint64_t offset[VOCAB_SECTIONS], bytes[VOCAB_SECTIONS];
};

#define VOCAB_RANK_BITS 18
#define VOCAB_RANKS_MOST ((1u << VOCAB_RANK_BITS) - 2) /* the two values above are no token's */
#define VOCAB_NO_TOKEN ((1u << VOCAB_RANK_BITS) - 1)   /* part of no pair */

static inline uint64_t vocab_pair_key(uint32_t left, uint32_t right)
{
    return (uint64_t)left << VOCAB_RANK_BITS | right;
}

/* A slot of the pair table: the token, and below it the pair that makes it. */
static inline uint64_t vocab_pair_entry(uint32_t left, uint32_t right, uint32_t token)
{
    return (uint64_t)token << 2 * VOCAB_RANK_BITS | vocab_pair_key(left, right);
}

#define VOCAB_PAIR_EMPTY (vocab_pair_entry(VOCAB_NO_TOKEN, VOCAB_NO_TOKEN - 1, 0)) /* a pair nobody asks for */

/* 0 when the entry is that of the pair. */
static inline uint64_t vocab_pair_differs(uint64_t entry, uint32_t left, uint32_t right)
{
    return (entry ^ vocab_pair_key(left, right)) << (64 - 2 * VOCAB_RANK_BITS);
}

/* The pair table is perfect: a pair can stand in one slot only, so that looking it up takes no branch. The top bits of its hash name a
 * group, whose shift was chosen so that the pairs of all groups fall into different slots. */
#define VOCAB_GROUP_BITS 16
#define VOCAB_GROUPS (1u << VOCAB_GROUP_BITS)

static inline uint64_t vocab_pair_slot(uint64_t hash, uint8_t shift, uint32_t bits)
{
    return (hash << VOCAB_GROUP_BITS ^ (uint64_t)shift << 56) >> (64 - bits);
}

/* All ones for 0, else 0: which entry of a bucket is meant cannot be predicted, so no branch may ask. */
static inline uint64_t vocab_if_zero(uint64_t x)
{
    return ((x | (0 - x)) >> 63) - 1;
}

/* Where a piece of up to 15 bytes stands in a table of 1 << bits buckets. */
static inline uint64_t vocab_piece_hash(uint64_t low, uint64_t high)
{
    return low * 0x9e3779b97f4a7c15u + high * 0xd6e8feb86659fd93u;
}

static inline uint32_t vocab_piece_bucket(uint64_t hash, uint32_t bits)
{
    return (uint32_t)(hash >> (64 - bits));
}

#endif
