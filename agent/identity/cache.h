/* Cache of verified tokens: SHA-256 of the whole token -> the identity it proved. One per worker, so no locks.
 *
 * Bounded by entries and bytes, least recently used goes first. An entry says against which key set of which issuer it was
 * verified and until when it holds; whoever finds it must check both. Tokens themselves are not kept. */
#ifndef TOLLGATE_IDENTITY_CACHE_H
#define TOLLGATE_IDENTITY_CACHE_H

#include "identity/identity.h"

enum { CACHE_DIGEST = 32 };

struct cache;

struct cache_entry {
    struct cache_entry *hash_next, *newer, *older;
    uint8_t digest[CACHE_DIGEST];
    unsigned issuer;
    uint64_t generation;
    int64_t until_s; /* refused from this second on */
    struct identity id;
    size_t size;
    max_align_t data[]; /* what id points to */
};

struct cache *cache_new(size_t max_entries, size_t max_bytes) __attribute__((warn_unused_result));
/* NULL is allowed. */
void cache_free(struct cache *c);
/* NULL when absent. The entry is valid until the next cache_put or cache_drop. */
struct cache_entry *cache_find(struct cache *c, const uint8_t digest[CACHE_DIGEST]);
void cache_drop(struct cache *c, struct cache_entry *e);
/* Copies `id`. Replaces an entry of the same digest. Does nothing when memory is out or the entry alone passes the bounds. */
void cache_put(struct cache *c, const uint8_t digest[CACHE_DIGEST], unsigned issuer, uint64_t generation, int64_t until_s,
               const struct identity *id);
void cache_state(const struct cache *c, struct identity_cache_state *out);

/* A copy of *id with everything it points to in `a`. */
bool identity_copy(const struct identity *id, struct arena *a, struct identity *out) __attribute__((warn_unused_result));

#endif
