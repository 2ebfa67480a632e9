#include "tokens/merge.h"

#include <assert.h>
#include <stdlib.h>

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

struct match {
    uint32_t token, length;
};

/* The longest token at p. Every byte is a token, so there is one. */
static inline struct match longest_token(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    struct match found = { v->bytes[p[0]], 1 };
    if (end - p < 2)
        return found;
    uint32_t state = v->starts[p[0] << 8 | p[1]];
    for (uint32_t n = 2; state != 0; n++) {
        uint32_t token = v->trie[state].token;
        found = token != VOCAB_NONE ? (struct match){ token, n } : found;
        if (p + n == end)
            break;
        state = vocab_child(v, state, p[n]);
    }
    return found;
}

/* The longest token that is shorter, in *m; false when there is none. */
static inline bool shorter_token(const struct vocab *v, struct match *m)
{
    uint32_t shorter = v->prefixes[m->token] >> 8;
    if (shorter == VOCAB_NO_TOKEN)
        return false;
    *m = (struct match){ shorter, vocab_length(v, shorter) };
    return true;
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
        uint32_t whole = left_later ? left : right;
        if (whole < 256)
            return true; /* both are single bytes */
        const struct vocab_halves pair = v->halves[whole];
        /* Of two equal merges the left one comes first: the one across the border wins over one to its right. */
        limit = whole + !left_later;
        left = left_later ? pair.right : left;
        right = left_later ? right : pair.left;
    }
}

uint32_t merge_medium(const struct vocab *v, const uint8_t *p, size_t n)
{
    struct match taken[MERGE_MEDIUM], next = longest_token(v, p, p + n);
    size_t count = 0, at = 0;
    uint64_t dead = 0; /* as in struct long_piece; an end of 64 has bit 0 */
    assert(n >= 1 && n <= MERGE_MEDIUM);
    for (;;) {
        size_t end = at + next.length;
        if (!(dead >> (end % 64) & 1) && (count == 0 || may_follow(v, taken[count - 1].token, next.token))) {
            taken[count++] = next;
            at = end;
            if (at == n)
                return (uint32_t)count;
            next = longest_token(v, p + at, p + n);
        } else if (!shorter_token(v, &next)) {
            assert(count > 0);
            dead |= (uint64_t)1 << (at % 64);
            next = taken[--count];
            at -= next.length;
        }
    }
}

int long_piece_start(struct long_piece *l, const struct vocab *v, const uint8_t *p, size_t n)
{
    *l = (struct long_piece){ .p = p, .n = n };
    l->dead = calloc(n / 8 + 1, 1);
    if (!l->dead)
        return -1;
    l->next = n > 0 ? longest_token(v, p, p + n).token : VOCAB_NONE;
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

int long_piece_step(struct long_piece *l, const struct vocab *v, size_t limit, size_t *work)
{
    const size_t stop = limit < SIZE_MAX - *work ? *work + limit : SIZE_MAX;
    while (l->next != VOCAB_NONE) {
        if (*work >= stop)
            return 0;
        *work += MERGE_TRIAL_WORK;
        uint32_t token = l->next;
        size_t end = l->at + vocab_length(v, token);
        bool dead = l->dead[end / 8] >> (end % 8) & 1;
        if (!dead && (l->count == 0 || may_follow(v, l->tokens[l->count - 1], token))) {
            if (push(l, token) != 0)
                return -1;
            *work += end - l->at;
            l->at = end;
            l->next = end < l->n ? longest_token(v, l->p + end, l->p + l->n).token : VOCAB_NONE;
        } else if (v->prefixes[token] >> 8 != VOCAB_NO_TOKEN) {
            l->next = v->prefixes[token] >> 8;
        } else {
            /* Nothing can follow: this beginning is no part of the encoding. */
            assert(l->count > 0);
            l->dead[l->at / 8] |= (uint8_t)(1u << (l->at % 8));
            l->next = l->tokens[--l->count];
            l->at -= vocab_length(v, l->next);
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
