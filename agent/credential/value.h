/* One credential's value: the ready header, and every spelling of the bare key that the scrubber looks for. Immutable and counted;
 * all of it in locked memory, wiped with the last reference. */
#ifndef TOLLGATE_CREDENTIAL_VALUE_H
#define TOLLGATE_CREDENTIAL_VALUE_H

#include "base/arena.h"
#include "base/secret.h"

#include <stdatomic.h>

enum { VALUE_SPELLINGS = 5, VALUE_SCRUB_MIN = 8 };

struct value {
    atomic_uint refs;
    char *name, *source;
    struct secret *header;
    size_t bare_at; /* where the key starts in the header, behind its scheme */
    struct secret *spellings[VALUE_SPELLINGS]; /* plain, JSON, JSON with \/, percent-encoded; NULL when equal to the plain one */
};

/* Validates `text` and copies it. NULL with a reason that does not show it. */
struct value *value_new(const char *name, const char *source, const char *scheme, struct slice text, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* The same key behind (perhaps) another scheme: a new reference or a new value. */
struct value *value_rename(struct value *v, const char *scheme, char *why, size_t why_size) __attribute__((warn_unused_result));
struct value *value_ref(struct value *v);
/* NULL is allowed. */
void value_unref(struct value *v);

/* Reads a credential systemd placed: its folder is closed to others, its mode may show an ACL's group bits. */
struct secret *value_read_systemd(const char *path, char *why, size_t why_size) __attribute__((warn_unused_result));

/* See credential_scrub. */
struct slice value_scrub(struct value *const *values, size_t count, struct slice in, struct arena *a);

#endif
