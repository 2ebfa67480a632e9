/* Secrets: provider keys and the like, in memory that is locked, left out of core dumps and wiped when freed.
 *
 * Each secret has its own pages with a guard page on both sides, read-only once made. Compare with secret_equal, which takes
 * constant time. Nothing here logs. */
#ifndef TOLLGATE_BASE_SECRET_H
#define TOLLGATE_BASE_SECRET_H

#include "base/slice.h"

struct secret;

/* Copies `n` bytes. NULL when memory is out or n is 0. The caller wipes its own copy (secret_wipe). A failing mlock (limit
 * too low) is not an error: secret_locked tells. */
struct secret *secret_new(const void *p, size_t n) __attribute__((warn_unused_result));
/* Reads a file (at most 64 KiB; one trailing newline is dropped). Refused, with a reason in `why`: a file that group or
 * others may read or write, that is not regular, that is empty or too large. NULL on refusal. */
struct secret *secret_from_file(const char *path, char *why, size_t why_size) __attribute__((warn_unused_result));
/* NULL is allowed. Wipes. */
void secret_free(struct secret *s);
struct slice secret_view(const struct secret *s);
bool secret_locked(const struct secret *s);
bool secret_equal(const struct secret *s, struct slice other);
/* Not optimised away. */
void secret_wipe(void *p, size_t n);

#endif
