/* Byte-pair encoding of one piece, counting only. Internal to tokens/.
 *
 * Short pieces are merged as the definition says: the pair of lowest rank first. Long ones (a piece has no upper limit) are
 * encoded left to right by a method whose time is linear: the longest token that may follow the encoding of what is behind is
 * tried first, then shorter ones, and when none leads to the end the last token is taken back. Whether two tokens may stand side
 * by side is decided by undoing their merges. Tokens of which every two neighbours may stand side by side are the encoding of
 * their bytes, and every beginning of the piece has exactly one: so none is come to twice. */
#ifndef TOLLGATE_TOKENS_MERGE_H
#define TOLLGATE_TOKENS_MERGE_H

#include "tokens/vocab.h"

/* Tokens of four pieces of 1 to 15 bytes each. */
void merge_four(const struct vocab *v, const struct vocab_piece piece[4], uint32_t count[4]);

/* Facts of one vocabulary that were worked out before, of fixed size: they hold for any text. All zero at first; belongs to one thread.
 * They count in text that comes to nearly all its places, such as rows of one sign, of which there are tokens of many lengths. */
#define MERGE_FOLLOW_BITS 11
#define MERGE_FOLLOW_KNOWN ((uint64_t)1 << 63)
#define MERGE_PATHS 8
#define MERGE_PATH_FROM 16 /* bytes */
struct merge_path {
    uint32_t from; /* the trie's state behind the first MERGE_PATH_FROM bytes; 0: none yet */
    size_t depth;
    /* From there on: the byte at each place, and the state behind it. */
    uint8_t bytes[VOCAB_MAX_TOKEN];
    uint32_t states[VOCAB_MAX_TOKEN];
};
struct merge_memo {
    uint64_t follow[1 << MERGE_FOLLOW_BITS]; /* MERGE_FOLLOW_KNOWN, a token, one that may not follow it, the first shorter one that may */
    struct merge_path paths[MERGE_PATHS];
};

/* Tokens of a piece by the method for long ones, without other memory; 1..MERGE_MEDIUM bytes. */
#define MERGE_MEDIUM 64
uint32_t merge_medium(const struct vocab *v, struct merge_memo *memo, const uint8_t *p, size_t n);

/* Whether the whole piece is one token. Any length. */
bool merge_is_token(const struct vocab *v, const uint8_t *p, size_t n);

/* A token that matches somewhere; VOCAB_NO_TOKEN, 0 when none is left to try. `longest`: there is no longer one that does. */
struct merge_try {
    uint32_t token, length;
    bool longest;
};

/* A long piece under way. The piece and the memo must stay in place. */
struct long_piece {
    struct merge_memo *memo;
    const uint8_t *p;
    size_t n, at;
    uint32_t *tokens;    /* the encoding of p[0..at) */
    size_t count, capacity;
    struct merge_try next; /* the token to try at `at` */
    bool apart;            /* the last of `tokens` is the longest that matches there */
};

void long_piece_start(struct long_piece *l, const struct vocab *v, struct merge_memo *memo, const uint8_t *p, size_t n);
/* Work: a byte that is gone over costs 1, a trial MERGE_TRIAL_WORK. */
#define MERGE_TRIAL_WORK 8
/* Does about `limit` of work and adds what it did to *work: 1 done (`count` tokens), 0 more to do, -1 memory is out. */
int long_piece_step(struct long_piece *l, const struct vocab *v, size_t limit, size_t *work) __attribute__((warn_unused_result));
void long_piece_free(struct long_piece *l);

#endif
