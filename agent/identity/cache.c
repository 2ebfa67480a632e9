#include "identity/cache.h"

#include <stdlib.h>

struct cache {
    struct cache_entry **buckets;
    size_t bucket_mask;
    struct cache_entry *newest, *oldest;
    size_t entries, bytes, max_entries, max_bytes;
    uint64_t hits, misses, evictions;
};

/* ---- an identity in one piece of memory ------------------------------------------------------------------------------ */

enum { FIELDS = 13 };

static void fields_of(struct identity *id, struct slice *field[FIELDS])
{
    struct slice *all[FIELDS] = { &id->issuer, &id->subject, &id->organization, &id->team, &id->user, &id->application, &id->cost_center,
                                    &id->token_id, &id->session, &id->key_id, &id->key_budget, &id->key_models, &id->bound };
    memcpy(field, all, sizeof all);
}

static size_t packed_size(const struct identity *id)
{
    struct identity copy = *id;
    struct slice *field[FIELDS];
    size_t n = id->group_count * sizeof(struct slice);

    fields_of(&copy, field);
    for (size_t i = 0; i < FIELDS; i++)
        n += field[i]->n;
    for (size_t i = 0; i < id->group_count; i++)
        n += id->groups[i].n;
    return n;
}

static void pack(const struct identity *id, void *mem, struct identity *out)
{
    struct slice *field[FIELDS], *groups = mem;
    char *at = (char *)mem + id->group_count * sizeof *groups;

    *out = *id;
    fields_of(out, field);
    for (size_t i = 0; i < FIELDS; i++)
        *field[i] = slice_pack(&at, *field[i]);
    for (size_t i = 0; i < id->group_count; i++) {
        groups[i] = slice_pack(&at, id->groups[i]);
    }
    out->groups = id->group_count ? groups : NULL;
}

bool identity_copy(const struct identity *id, struct arena *a, struct identity *out)
{
    size_t n = packed_size(id);
    void *mem = arena_alloc(a, n ? n : 1);
    if (mem == NULL)
        return false;
    pack(id, mem, out);
    return true;
}

/* ---- the table ------------------------------------------------------------------------------------------------------- */

struct cache *cache_new(size_t max_entries, size_t max_bytes)
{
    size_t buckets = 16;
    struct cache *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    while (buckets < max_entries)
        buckets *= 2;
    c->bucket_mask = buckets - 1;
    c->max_entries = max_entries;
    c->max_bytes = max_bytes;
    c->buckets = calloc(buckets, sizeof(struct cache_entry *));
    if (c->buckets == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

/* A digest is its own hash: nobody can choose it for tokens an issuer signs. */
static struct cache_entry **bucket_of(struct cache *c, const uint8_t digest[CACHE_DIGEST])
{
    uint64_t h;
    memcpy(&h, digest, sizeof h);
    return &c->buckets[h & c->bucket_mask];
}

static void unlink_age(struct cache *c, struct cache_entry *e)
{
    if (e->newer != NULL)
        e->newer->older = e->older;
    else
        c->newest = e->older;
    if (e->older != NULL)
        e->older->newer = e->newer;
    else
        c->oldest = e->newer;
}

static void link_newest(struct cache *c, struct cache_entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    if (c->newest != NULL)
        c->newest->newer = e;
    else
        c->oldest = e;
    c->newest = e;
}

static struct cache_entry *lookup(struct cache *c, const uint8_t digest[CACHE_DIGEST])
{
    struct cache_entry *e = *bucket_of(c, digest);
    while (e != NULL && memcmp(e->digest, digest, CACHE_DIGEST) != 0)
        e = e->hash_next;
    return e;
}

struct cache_entry *cache_find(struct cache *c, const uint8_t digest[CACHE_DIGEST])
{
    struct cache_entry *e = lookup(c, digest);

    if (e == NULL) {
        c->misses++;
        return NULL;
    }
    c->hits++;
    if (e != c->newest) {
        unlink_age(c, e);
        link_newest(c, e);
    }
    return e;
}

void cache_drop(struct cache *c, struct cache_entry *e)
{
    struct cache_entry **at = bucket_of(c, e->digest);

    while (*at != e)
        at = &(*at)->hash_next;
    *at = e->hash_next;
    unlink_age(c, e);
    c->entries--;
    c->bytes -= e->size;
    free(e);
}

void cache_put(struct cache *c, const uint8_t digest[CACHE_DIGEST], unsigned issuer, uint64_t generation, int64_t until_s,
               const struct identity *id)
{
    size_t size = sizeof(struct cache_entry) + packed_size(id);
    struct cache_entry *old = lookup(c, digest);

    if (old != NULL)
        cache_drop(c, old);
    if (size > c->max_bytes || c->max_entries == 0)
        return;
    while (c->entries >= c->max_entries || c->bytes > c->max_bytes - size) {
        cache_drop(c, c->oldest);
        c->evictions++;
    }
    struct cache_entry *e = malloc(size);
    if (e == NULL)
        return;
    memcpy(e->digest, digest, CACHE_DIGEST);
    e->issuer = issuer;
    e->generation = generation;
    e->until_s = until_s;
    e->size = size;
    pack(id, e->data, &e->id);
    struct cache_entry **bucket = bucket_of(c, digest);
    e->hash_next = *bucket;
    *bucket = e;
    link_newest(c, e);
    c->entries++;
    c->bytes += size;
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    while (c->oldest != NULL)
        cache_drop(c, c->oldest);
    free(c->buckets);
    free(c);
}

void cache_state(const struct cache *c, struct identity_cache_state *out)
{
    *out = (struct identity_cache_state){ .hits = c->hits, .misses = c->misses, .evictions = c->evictions,
                                          .entries = c->entries, .bytes = c->bytes };
}
