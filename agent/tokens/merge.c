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
    return v->trie[state].longest >> VOCAB_RANK_BITS == n;
}

/* On from `depth` bytes at p, which lead to `state`, into `path`. Returns how deep the trie goes. */
static size_t walk(const struct vocab *v, struct merge_path *path, size_t depth, uint32_t state, const uint8_t *p, size_t n)
{
    while (depth < n && (state = vocab_child(v, state, p[depth])) != 0) {
        path->states[depth] = state;
        path->bytes[depth] = p[depth];
        depth++;
    }
    return depth;
}

/* The trie's state behind as many bytes at p as it knows; the first MERGE_PATH_FROM lead to `state`. In rows of one sign a path through the
 * trie has a hundred steps, each waiting for the one before, so the deepest one is kept and followed by comparing bytes. */
static uint32_t deepest(const struct vocab *v, struct merge_memo *memo, uint32_t state, const uint8_t *p, size_t n)
{
    struct merge_path *path = &memo->paths[state % MERGE_PATHS];
    size_t same = MERGE_PATH_FROM, most;
    n = n < VOCAB_MAX_TOKEN ? n : VOCAB_MAX_TOKEN;
    if (path->from != state) {
        path->from = state;
        path->states[same - 1] = state;
        path->depth = same;
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
    if (same == path->depth) { /* it may go on */
        path->depth = same = walk(v, path, same, path->states[same - 1], p, n);
        return path->states[same - 1];
    }
    for (state = path->states[same - 1]; same < n; same++) {
        uint32_t next = vocab_child(v, state, p[same]);
        if (next == 0)
            break;
        state = next;
    }
    return state;
}

/* The longest token at p. Every byte is a token, so there is one. */
static inline __attribute__((always_inline)) struct merge_try longest_token(const struct vocab *v, struct merge_memo *memo,
                                                                            const uint8_t *p, const uint8_t *end)
{
    uint32_t index = end - p > 1 ? v->starts[p[0] << 8 | p[1]] : 0;
    if (index == 0)
        return (struct merge_try){ v->bytes[p[0]], 1, true };
    struct vocab_state state = v->trie[index];
    const uint8_t *far = end - p > MERGE_PATH_FROM ? p + MERGE_PATH_FROM : end;
    for (const uint8_t *q = p + 2; q < far; q++) {
        uint32_t byte = *q, child = (state.link >> 9) + byte;
        struct vocab_state next = v->trie[child];
        if ((next.link & 511) != byte)
            goto out;
        state = next;
        index = child;
    }
    if (far < end)
        state.longest = v->trie[deepest(v, memo, index, p, (size_t)(end - p))].longest;
out:
    return (struct merge_try){ state.longest & VOCAB_NO_TOKEN, state.longest >> VOCAB_RANK_BITS, true };
}

/* The longest token that is shorter. */
static inline struct merge_try shorter_token(const struct vocab *v, uint32_t token)
{
    uint32_t shorter = v->prefixes[token] >> 8;
    return (struct merge_try){ shorter, shorter == VOCAB_NO_TOKEN ? 0 : vocab_length(v, shorter), false };
}

/* Whether encoding the bytes of `left` and `right` together gives just these two: undoes the latest merge on either side of the
 * border again and again and looks whether an earlier merge across the border would have come before it. `apart`: both together are
 * no token. */
static inline bool may_follow(const struct vocab *v, uint32_t left, uint32_t right, bool apart)
{
    if (!apart && vocab_merge(v, left, right) != VOCAB_NONE)
        return false;
    for (;;) {
        bool left_later = left > right;
        uint32_t whole = left_later ? left : right;
        if (whole < 256)
            return true; /* both are single bytes */
        const struct vocab_halves pair = v->halves[whole];
        /* Merges across the border with a rank from here on come too late. Of two equal merges the left one comes first: the one across
         * the border wins over one to its right. */
        uint32_t limit = whole + !left_later;
        left = left_later ? pair.right : left;
        right = left_later ? right : pair.left;
        if (vocab_merge(v, left, right) < limit)
            return false;
    }
}

/* The first of the tokens shorter than `token` that may follow `left`. */
static struct merge_try shorter_to_follow(const struct vocab *v, struct merge_memo *memo, uint32_t left, uint32_t token, bool apart,
                                          size_t *trials)
{
    struct merge_try next = shorter_token(v, token);
    uint64_t key = MERGE_FOLLOW_KNOWN | vocab_pair_key(left, token) << VOCAB_RANK_BITS;
    uint64_t *known = &memo->follow[key * 0x9e3779b97f4a7c15u >> (64 - MERGE_FOLLOW_BITS)];
    ++*trials;
    if (*known >> VOCAB_RANK_BITS == key >> VOCAB_RANK_BITS) {
        uint32_t first = (uint32_t)*known & VOCAB_NO_TOKEN;
        return (struct merge_try){ first, first == VOCAB_NO_TOKEN ? 0 : vocab_length(v, first), false };
    }
    while (next.token != VOCAB_NO_TOKEN && !may_follow(v, left, next.token, apart)) {
        next = shorter_token(v, next.token);
        ++*trials;
    }
    *known = key | next.token;
    return next;
}

/* The first of `next` and the shorter ones that may follow `left`. The memo is asked last: in ordinary text `next` itself nearly always
 * may. `apart`: `left` is the longest token at its place, so that it is none together with what follows. */
static inline __attribute__((always_inline)) struct merge_try first_to_follow(const struct vocab *v, struct merge_memo *memo, uint32_t left,
                                                                              struct merge_try next, bool apart, size_t *trials)
{
    ++*trials;
    return may_follow(v, left, next.token, apart) ? next : shorter_to_follow(v, memo, left, next.token, apart, trials);
}

uint32_t merge_medium(const struct vocab *v, struct merge_memo *memo, const uint8_t *p, size_t n)
{
    uint32_t taken[MERGE_MEDIUM];
    struct merge_try next = longest_token(v, memo, p, p + n);
    size_t count = 0, at = 0, trials = 0;
    bool apart = false;
    assert(n >= 1 && n <= MERGE_MEDIUM);
    for (;;) {
        if (count > 0 && next.token != VOCAB_NO_TOKEN)
            next = first_to_follow(v, memo, taken[count - 1], next, apart, &trials);
        if (next.token != VOCAB_NO_TOKEN) {
            taken[count++] = next.token;
            apart = next.longest;
            at += next.length;
            if (at == n)
                return (uint32_t)count;
            next = longest_token(v, memo, p + at, p + n);
        } else {
            assert(count > 0);
            uint32_t last = taken[--count];
            at -= vocab_length(v, last);
            next = shorter_token(v, last);
            apart = false;
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
    struct merge_memo *memo = l->memo;
    struct merge_try next = l->next;
    size_t at = l->at, done = *work;
    bool apart = l->apart;
    int status = 1;
    while (at < l->n) {
        if (done >= stop) {
            status = 0;
            break;
        }
        size_t trials = l->count == 0;
        if (l->count > 0 && next.token != VOCAB_NO_TOKEN)
            next = first_to_follow(v, memo, l->tokens[l->count - 1], next, apart, &trials);
        done += trials * MERGE_TRIAL_WORK;
        if (next.token != VOCAB_NO_TOKEN) {
            if (push(l, next.token) != 0)
                return -1;
            done += next.length;
            at += next.length;
            apart = next.longest;
            if (at < l->n)
                next = longest_token(v, memo, l->p + at, l->p + l->n);
        } else {
            /* Nothing can follow: this beginning is no part of the encoding. */
            assert(l->count > 0);
            uint32_t last = l->tokens[--l->count];
            at -= vocab_length(v, last);
            next = shorter_token(v, last);
            apart = false;
        }
    }
    l->next = next;
    l->at = at;
    l->apart = apart;
    *work = done;
    return status;
}

void long_piece_free(struct long_piece *l)
{
    free(l->tokens);
    *l = (struct long_piece){ .n = 0 };
}
