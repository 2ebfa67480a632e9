#include "identity/certificate_cache.h"

#include <openssl/sha.h>
#include <stdlib.h>

enum { WAYS = 2, SETS = CERTIFICATE_CACHE_PLACES / WAYS };

struct kept {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    struct certificate c;
    max_align_t data[]; /* what c points to */
};

struct certificate_cache {
    struct kept *places[SETS][WAYS]; /* of each set the last one asked for stands first */
    uint64_t misses;
};

/* ---- a certificate in one piece of memory ------------------------------------------------------------------------------ */

enum { FIELDS = 4 };

static void fields_of(struct certificate *c, struct slice *field[FIELDS])
{
    struct slice *all[FIELDS] = { &c->fingerprint, &c->issuer, &c->subject, &c->common_name };
    memcpy(field, all, sizeof all);
}

static size_t packed_size(const struct certificate *c)
{
    size_t n = c->fingerprint.n + c->issuer.n + c->subject.n + c->common_name.n + c->alternative_count * sizeof(struct slice);

    for (size_t i = 0; i < c->alternative_count; i++)
        n += c->alternative_names[i].n;
    return n;
}

static void pack(const struct certificate *from, void *mem, struct certificate *out)
{
    struct slice *field[FIELDS], *names = mem;
    char *at = (char *)mem + from->alternative_count * sizeof *names;

    *out = *from;
    fields_of(out, field);
    for (size_t i = 0; i < FIELDS; i++)
        *field[i] = slice_pack(&at, *field[i]);
    for (size_t i = 0; i < from->alternative_count; i++) {
        names[i] = slice_pack(&at, from->alternative_names[i]);
    }
    out->alternative_names = from->alternative_count > 0 ? names : NULL;
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */

struct certificate_cache *certificate_cache_new(void)
{
    return calloc(1, sizeof(struct certificate_cache));
}

void certificate_cache_free(struct certificate_cache *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; i < SETS; i++)
        for (size_t w = 0; w < WAYS; w++)
            free(k->places[i][w]);
    free(k);
}

static struct kept **set_of(struct certificate_cache *k, const unsigned char *digest)
{
    uint32_t h;
    memcpy(&h, digest, sizeof h);
    return k->places[h % SETS];
}

static struct kept *find(struct kept **set, const unsigned char *digest)
{
    for (size_t w = 0; w < WAYS; w++)
        if (set[w] != NULL && memcmp(set[w]->digest, digest, SHA256_DIGEST_LENGTH) == 0) {
            struct kept *found = set[w];
            memmove(set + 1, set, w * sizeof(struct kept *));
            set[0] = found;
            return found;
        }
    return NULL;
}

static void keep(struct kept **set, const unsigned char *digest, const struct certificate *c)
{
    struct kept *e = malloc(sizeof *e + packed_size(c));

    if (e == NULL)
        return;
    memcpy(e->digest, digest, SHA256_DIGEST_LENGTH);
    pack(c, e->data, &e->c);
    free(set[WAYS - 1]);
    memmove(set + 1, set, (WAYS - 1) * sizeof(struct kept *));
    set[0] = e;
}

bool certificate_cache_parse(struct certificate_cache *k, struct slice der, struct arena *a, struct certificate *out, struct fault *f)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];

    if (k == NULL || der.n == 0 || der.n > CERTIFICATE_MAX || SHA256((const unsigned char *)der.p, der.n, digest) == NULL)
        return certificate_parse(der, a, out, f);
    struct kept **set = set_of(k, digest), *e = find(set, digest);
    if (e == NULL) {
        k->misses++;
        if (!certificate_parse(der, a, out, f))
            return false;
        keep(set, digest, out);
        return true;
    }
    void *mem = arena_alloc(a, packed_size(&e->c));
    if (mem == NULL) {
        *f = (struct fault){ .reason = "certificate_malformed", .message = SLICE_LIT("out of memory while reading the client certificate") };
        return false;
    }
    pack(&e->c, mem, out);
    return true;
}

uint64_t certificate_cache_misses(const struct certificate_cache *k)
{
    return k->misses;
}
