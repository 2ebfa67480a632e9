/* gzip (RFC 1952) of a whole text, for bodies sent with content-encoding: gzip. */
#ifndef TOLLGATE_OBSERVE_GZIP_H
#define TOLLGATE_OBSERVE_GZIP_H

#include "base/slice.h"

/* malloced, the caller's. NULL: out of memory. */
char *gzip_pack(struct slice text, size_t *n) __attribute__((warn_unused_result));

#endif
