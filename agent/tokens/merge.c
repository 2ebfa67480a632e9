#include "tokens/merge.h"

#include <assert.h>
#include <stdlib.h>

uint32_t merge_short(const struct vocab *v, const uint8_t *p, size_t n)
{
    uint32_t ids[MERGE_SHORT], joined[MERGE_SHORT]; /* joined[i]: token of ids[i] and ids[i + 1] */
    assert(n >= 1 && n <= MERGE_SHORT);
    for (size_t i = 0; i < n; i++)
        ids[i] = v->bytes[p[i]];
    for (size_t i = 0; i + 1 < n; i++)
        joined[i] = v->first_pairs[p[i] << 8 | p[i + 1]];
    while (n > 1) {
        size_t at = 0;
        uint32_t best = joined[0];
        for (size_t i = 1; i + 1 < n; i++) {
            bool lower = joined[i] < best;
            best = lower ? joined[i] : best;
            at = lower ? i : at;
        }
        if (best == VOCAB_NONE)
            break;
        ids[at] = best;
        n--;
        for (size_t i = at + 1; i < n; i++)
            ids[i] = ids[i + 1];
        for (size_t i = at + 1; i + 1 < n; i++)
            joined[i] = joined[i + 1];
        if (at + 1 < n)
            joined[at] = vocab_merge(v, best, ids[at + 1]);
        if (at > 0)
            joined[at - 1] = vocab_merge(v, ids[at - 1], best);
    }
    return (uint32_t)n;
}

bool merge_is_token(const struct vocab *v, const uint8_t *p, size_t n)
{
    uint32_t state = v->root;
    if (n > VOCAB_MAX_TOKEN)
        return false;
    for (size_t i = 0; i < n; i++) {
        state = vocab_child(v, state, p[i]);
        if (state == 0)
            return false;
    }
    return v->trie[state].token != VOCAB_NONE;
}

/* The longest token at p. Every byte is a token, so there is one. */
static uint32_t longest_token(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    uint32_t state = v->root, found = VOCAB_NONE;
    while (p < end) {
        state = vocab_child(v, state, *p++);
        if (state == 0)
            break;
        if (v->trie[state].token != VOCAB_NONE)
            found = v->trie[state].token;
    }
    return found;
}

/* Whether encoding the bytes of `left` and `right` together gives just these two: undoes the latest merge on either side of the
 * border again and again and looks whether an earlier merge across the border would have come before it. */
static bool may_follow(const struct vocab *v, uint32_t left, uint32_t right)
{
    uint32_t limit = VOCAB_NONE; /* merges across the border with a rank from here on come too late */
    for (;;) {
        if (vocab_merge(v, left, right) < limit)
            return false;
        bool left_later = left > right;
        for (int turn = 0;; turn++) {
            if (turn == 2)
                return true; /* both are single bytes */
            uint32_t whole = left_later ? left : right;
            uint32_t part = left_later ? v->splits[whole].right : v->splits[whole].left;
            if (part != whole) {
                /* Of two equal merges the left one comes first: the one across the border wins over one to its right. */
                limit = left_later ? whole : whole + 1;
                if (left_later)
                    left = part;
                else
                    right = part;
                break;
            }
            left_later = !left_later;
        }
    }
}

int long_piece_start(struct long_piece *l, const struct vocab *v, const uint8_t *p, size_t n)
{
    *l = (struct long_piece){ .p = p, .n = n };
    l->dead = calloc(n / 8 + 1, 1);
    if (!l->dead)
        return -1;
    l->next = longest_token(v, p, p + n);
    return 0;
}

static int push(struct long_piece *l, uint32_t token)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? l->capacity + l->capacity / 2 : 256;
        uint32_t *tokens = realloc(l->tokens, capacity * sizeof *tokens);
        if (!tokens)
            return -1;
        l->tokens = tokens;
        l->capacity = capacity;
    }
    l->tokens[l->count++] = token;
    return 0;
}

int long_piece_step(struct long_piece *l, const struct vocab *v, size_t trials)
{
    while (l->next != VOCAB_NONE) {
        if (trials-- == 0)
            return 0;
        uint32_t token = l->next;
        size_t end = l->at + v->lengths[token];
        bool dead = l->dead[end / 8] >> (end % 8) & 1;
        if (!dead && (l->count == 0 || may_follow(v, l->tokens[l->count - 1], token))) {
            if (push(l, token) != 0)
                return -1;
            l->at = end;
            l->next = longest_token(v, l->p + end, l->p + l->n);
        } else if (v->shorter[token] != VOCAB_NONE) {
            l->next = v->shorter[token];
        } else {
            /* Nothing can follow: this beginning is no part of the encoding. */
            assert(l->count > 0);
            l->dead[l->at / 8] |= (uint8_t)(1u << (l->at % 8));
            l->next = l->tokens[--l->count];
            l->at -= v->lengths[l->next];
        }
    }
    return 1;
}

void long_piece_free(struct long_piece *l)
{
    free(l->tokens);
    free(l->dead);
    *l = (struct long_piece){ NULL, 0, 0, NULL, 0, 0, NULL, VOCAB_NONE };
}
