/* Cache of certificates that were read before: SHA-256 of the whole certificate -> what it says. Taking one apart costs about a hundred times what
 * its digest does, and the connections of one client bring the same with every request. One per worker, so no locks.
 *
 * Nothing that depends on the moment is kept: dates, revocation and rules are looked at with every request. A certificate that cannot be read
 * is not kept. Two places for each digest: at most CERTIFICATE_CACHE_PLACES certificates, the one not asked for longest makes room. */
#ifndef TOLLGATE_IDENTITY_CERTIFICATE_CACHE_H
#define TOLLGATE_IDENTITY_CERTIFICATE_CACHE_H

#include "identity/certificate.h"

enum { CERTIFICATE_CACHE_PLACES = 1024 };

struct certificate_cache;

struct certificate_cache *certificate_cache_new(void) __attribute__((warn_unused_result));
/* NULL is allowed. */
void certificate_cache_free(struct certificate_cache *k);
/* As certificate_parse. k NULL: it is that. */
bool certificate_cache_parse(struct certificate_cache *k, struct slice der, struct arena *a, struct certificate *out, struct fault *f)
    __attribute__((warn_unused_result));
/* How many were not there. */
uint64_t certificate_cache_misses(const struct certificate_cache *k);

#endif
