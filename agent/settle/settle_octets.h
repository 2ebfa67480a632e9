/* Octet-counted framing of HAProxy's ring: "<decimal length> SP <line>", again and again (RFC 6587 3.4.1).
 *
 * Owns its buffer, bounded by the largest line; no sockets. */
#ifndef TOLLGATE_SETTLE_OCTETS_H
#define TOLLGATE_SETTLE_OCTETS_H

#include "base/slice.h"

struct settle_octets;

/* `max_line` bytes; 0: 64 KiB. NULL when memory is out. */
struct settle_octets *settle_octets_new(size_t max_line) __attribute__((warn_unused_result));
/* NULL is allowed. */
void settle_octets_free(struct settle_octets *o);
/* False: memory is out, or the stream is broken already. */
bool settle_octets_feed(struct settle_octets *o, const void *p, size_t n) __attribute__((warn_unused_result));
/* 1: *line is the next one, valid until the next call; 0: more bytes are needed; -1: no such framing, or a line too long: close. */
int settle_octets_next(struct settle_octets *o, struct slice *line) __attribute__((warn_unused_result));

#endif
