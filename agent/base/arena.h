/* Arena: all memory of one request (or one settlement record), freed in one call.
 *
 * Blocks are kept over a reset, so a warm arena does not call malloc. Not for secrets (see secret.h) and not thread-safe:
 * an arena belongs to one request at a time. */
#ifndef TOLLGATE_BASE_ARENA_H
#define TOLLGATE_BASE_ARENA_H

#include "base/slice.h"

#include <stdarg.h>

struct arena;

/* NULL when memory is out. `first` is the size of the first block in bytes, what the arena keeps in it for itself included. */
struct arena *arena_new(size_t first);
/* NULL is allowed. */
void arena_free(struct arena *a);
/* Everything handed out becomes invalid; blocks beyond `keep` bytes in total are returned to the system. */
void arena_reset(struct arena *a, size_t keep);
/* Aligned for any type, not zeroed. NULL when memory is out. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((warn_unused_result));
/* As arena_alloc, zeroed. */
void *arena_zalloc(struct arena *a, size_t n) __attribute__((warn_unused_result));
/* A NUL-terminated copy; NULL when memory is out. */
char *arena_cstr(struct arena *a, struct slice s) __attribute__((warn_unused_result));
/* A copy (p is NULL when memory is out). */
struct slice arena_copy(struct arena *a, struct slice s) __attribute__((warn_unused_result));
/* Formats into the arena; the result is NUL-terminated behind its length. p is NULL when memory is out. */
struct slice arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Bytes handed out since the last reset. */
size_t arena_used(const struct arena *a);

#endif
