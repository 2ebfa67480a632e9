/* A provider's own id of a request (x-request-id and the like), as it is kept: printable ASCII without spaces, bounded. */
#ifndef TOLLGATE_PROVIDER_ID_H
#define TOLLGATE_PROVIDER_ID_H

#include "base/slice.h"

enum { PROVIDER_ID_MAX = 128 };

/* Writes at most PROVIDER_ID_MAX bytes; every other byte becomes '?'. */
static inline struct slice provider_id_keep(struct slice given, char kept[PROVIDER_ID_MAX])
{
    size_t n = given.n < PROVIDER_ID_MAX ? given.n : PROVIDER_ID_MAX;

    for (size_t i = 0; i < n; i++)
        kept[i] = given.p[i] > ' ' && given.p[i] < 0x7f ? given.p[i] : '?';
    return slice_make(kept, n);
}

#endif
