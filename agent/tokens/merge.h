/* Byte-pair encoding of one piece, counting only. Internal to tokens/.
 *
 * Short pieces are merged as the definition says: the pair of lowest rank first. Long ones (a piece has no upper limit) are
 * encoded left to right by a method whose time is linear: every beginning of the piece has exactly one encoding, so the longest
 * token that may follow the encoding of what is behind is tried first, then shorter ones, and a beginning found to be
 * impossible is marked and never tried again. Whether two tokens may stand side by side is decided by undoing their merges. */
#ifndef TOLLGATE_TOKENS_MERGE_H
#define TOLLGATE_TOKENS_MERGE_H

#include "tokens/vocab.h"

/* Tokens of four pieces of 1 to 15 bytes each. */
void merge_four(const struct vocab *v, const struct vocab_piece piece[4], uint32_t count[4]);

/* Tokens of a piece by the method for long ones, without memory of its own; 1..MERGE_MEDIUM bytes. */
#define MERGE_MEDIUM 64
uint32_t merge_medium(const struct vocab *v, const uint8_t *p, size_t n);

/* Whether the whole piece is one token. Any length. */
bool merge_is_token(const struct vocab *v, const uint8_t *p, size_t n);

/* A long piece under way. The piece must stay in place. */
struct long_piece {
    const uint8_t *p;
    size_t n, at;
    uint32_t *tokens;    /* the encoding of p[0..at) */
    size_t count, capacity;
    uint8_t *dead;       /* one bit for each end that was found impossible */
    uint32_t next;       /* the token to try at `at`, or VOCAB_NONE when done */
};

/* -1 when memory is out. */
int long_piece_start(struct long_piece *l, const struct vocab *v, const uint8_t *p, size_t n) __attribute__((warn_unused_result));
/* Work: a byte that is gone over costs 1, a trial MERGE_TRIAL_WORK. */
#define MERGE_TRIAL_WORK 8
/* Does about `limit` of work and adds what it did to *work: 1 done (`count` tokens), 0 more to do, -1 memory is out. */
int long_piece_step(struct long_piece *l, const struct vocab *v, size_t limit, size_t *work) __attribute__((warn_unused_result));
void long_piece_free(struct long_piece *l);

#endif
