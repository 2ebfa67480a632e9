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

/* On from `depth` bytes at p, which lead to `state` and hold `found` as their longest token, into `path` from there on. Returns how deep
 * the trie goes. */
static size_t walk(const struct vocab *v, struct merge_path *path, size_t depth, uint32_t state, const uint8_t *p, size_t n)
{
    while (depth < n && (state = vocab_child(v, state, p[depth])) != 0) {
        uint32_t token = v->trie[state].token;
        path->longest[depth] = token != VOCAB_NONE ? token : path->longest[depth - 1];
        path->states[depth] = state;
        path->bytes[depth] = p[depth];
        depth++;
    }
    return depth;
}

/* The longest token at p, of whose first MERGE_PATH_FROM bytes that is known: in rows of one sign a path through the trie has a hundred
 * steps, each waiting for the one before, so the deepest one is kept and followed by comparing bytes. */
static uint32_t longest_deep(const struct vocab *v, struct merge_memo *memo, uint32_t state, uint32_t found, const uint8_t *p, size_t n)
{
    struct merge_path *path = &memo->paths[state % MERGE_PATHS], other;
    size_t same = MERGE_PATH_FROM, most;
    n = n < VOCAB_MAX_TOKEN ? n : VOCAB_MAX_TOKEN;
    if (path->from != state) {
        path->from = state;
        path->longest[same - 1] = found;
        path->depth = walk(v, path, same, state, p, n);
        return path->longest[path->depth - 1];
    }
    for (most = path->depth < n ? path->depth : n; same + 8 <= most; same += 8) {
        uint64_t a, b;
        memcpy(&a, p + same, 8);
        memcpy(&b, path->bytes + same, 8);
        if (a != b) {
            most = same + (unsigned)__builtin_ctzll(a ^ b) / 8;
            break;
        }
    }
    while (same < most && p[same] == path->bytes[same])
        same++;
    state = same > MERGE_PATH_FROM ? path->states[same - 1] : state;
    if (same == n || (same == path->depth && same == VOCAB_MAX_TOKEN))
        return path->longest[same - 1];
    if (same == path->depth) { /* it may go on */
        path->depth = walk(v, path, same, state, p, n);
        return path->longest[path->depth - 1];
    }
    other.longest[same - 1] = path->longest[same - 1];
    return other.longest[walk(v, &other, same, state, p, n) - 1];
}

/* The longest token at p. Every byte is a token, so there is one. */
static inline uint32_t longest_token(const struct vocab *v, struct merge_memo *memo, const uint8_t *p, const uint8_t *end)
{
    uint32_t found = v->bytes[p[0]];
    if (end - p < 2)
        return found;
    uint32_t state = v->starts[p[0] << 8 | p[1]];
    for (uint32_t n = 2; state != 0; n++) {
        uint32_t token = v->trie[state].token;
        found = token != VOCAB_NONE ? token : found;
        if (p + n == end)
            break;
        if (n == MERGE_PATH_FROM)
            return longest_deep(v, memo, state, found, p, (size_t)(end - p));
        state = vocab_child(v, state, p[n]);
    }
    return found;
}

/* The longest token that is shorter, or VOCAB_NO_TOKEN. */
static inline uint32_t shorter_token(const struct vocab *v, uint32_t token)
{
    return v->prefixes[token] >> 8;
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

/* The first of `token` and the shorter ones that may follow `left`, or VOCAB_NO_TOKEN. */
static inline uint32_t first_to_follow(const struct vocab *v, struct merge_memo *memo, uint32_t left, uint32_t token, size_t *trials)
{
    ++*trials;
    if (may_follow(v, left, token))
        return token; /* nearly always in ordinary text, which would find nothing in the memo */
    token = shorter_token(v, token);
    if (token == VOCAB_NO_TOKEN)
        return token;
    uint64_t key = MERGE_FOLLOW_KNOWN | vocab_pair_key(left, token) << VOCAB_RANK_BITS;
    uint64_t *known = &memo->follow[key * 0x9e3779b97f4a7c15u >> (64 - MERGE_FOLLOW_BITS)];
    ++*trials;
    if (*known >> VOCAB_RANK_BITS == key >> VOCAB_RANK_BITS)
        return (uint32_t)*known & VOCAB_NO_TOKEN;
    while (token != VOCAB_NO_TOKEN && !may_follow(v, left, token)) {
        token = shorter_token(v, token);
        ++*trials;
    }
    *known = key | token;
    return token;
}

uint32_t merge_medium(const struct vocab *v, struct merge_memo *memo, const uint8_t *p, size_t n)
{
    uint32_t taken[MERGE_MEDIUM], next = longest_token(v, memo, p, p + n);
    size_t count = 0, at = 0, trials = 0;
    assert(n >= 1 && n <= MERGE_MEDIUM);
    for (;;) {
        if (count > 0 && next != VOCAB_NO_TOKEN)
            next = first_to_follow(v, memo, taken[count - 1], next, &trials);
        if (next != VOCAB_NO_TOKEN) {
            taken[count++] = next;
            at += vocab_length(v, next);
            if (at == n)
                return (uint32_t)count;
            next = longest_token(v, memo, p + at, p + n);
        } else {
            assert(count > 0);
            next = taken[--count];
            at -= vocab_length(v, next);
            next = shorter_token(v, next);
        }
    }
}

void long_piece_start(struct long_piece *l, const struct vocab *v, struct merge_memo *memo, const uint8_t *p, size_t n)
{
    *l = (struct long_piece){ .p = p, .n = n, .memo = memo };
    l->next = longest_token(v, memo, p, p + n);
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
    while (l->at < l->n) {
        if (*work >= stop)
            return 0;
        size_t trials = l->count == 0;
        if (l->count > 0 && l->next != VOCAB_NO_TOKEN)
            l->next = first_to_follow(v, l->memo, l->tokens[l->count - 1], l->next, &trials);
        *work += trials * MERGE_TRIAL_WORK;
        if (l->next != VOCAB_NO_TOKEN) {
            if (push(l, l->next) != 0)
                return -1;
            size_t length = vocab_length(v, l->next);
            *work += length;
            l->at += length;
            if (l->at < l->n)
                l->next = longest_token(v, l->memo, l->p + l->at, l->p + l->n);
        } else {
            /* Nothing can follow: this beginning is no part of the encoding. */
            assert(l->count > 0);
            l->next = l->tokens[--l->count];
            l->at -= vocab_length(v, l->next);
            l->next = shorter_token(v, l->next);
        }
    }
    return 1;
}

void long_piece_free(struct long_piece *l)
{
    free(l->tokens);
    *l = (struct long_piece){ .n = 0 };
}
