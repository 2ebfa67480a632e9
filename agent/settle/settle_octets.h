/* The framing of lines from HAProxy's log ring: octet counting, `<len> SP <line>` (RFC 6587 3.4.1), or `<line> LF` where a frame begins with
 * the '{' of a JSON object (3.4.2).
 *
 * Push bytes, take lines. Bounded: a line above the limit, or a count that is not 1 to 7 digits, is an error after which the connection
 * must be closed. */
#ifndef TOLLGATE_SETTLE_SETTLE_OCTETS_H
#define TOLLGATE_SETTLE_SETTLE_OCTETS_H

#include "base/slice.h"

struct settle_octets; /* owns the buffer: at most max_line bytes and a count */

/* max_line 0: 65536; at most 1 MiB. NULL when memory is out. */
struct settle_octets *settle_octets_new(size_t max_line) __attribute__((warn_unused_result));
void settle_octets_free(struct settle_octets *o);
/* Takes lines off the front of *in and advances it. 1: *line is whole, valid until the next call; 0: *in is used up; -1: broken for good,
 * *why is a static phrase. */
int settle_octets_next(struct settle_octets *o, struct slice *in, struct slice *line, const char **why)
    __attribute__((warn_unused_result));

#endif
