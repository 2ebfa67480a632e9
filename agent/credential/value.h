/* One key's value: the ready header, or AWS keys to sign with. Immutable and counted; all of it in locked memory, wiped with the last
 * reference, and known to the redactor (base/redact.h) as long as it lives. */
#ifndef TOLLGATE_CREDENTIAL_VALUE_H
#define TOLLGATE_CREDENTIAL_VALUE_H

#include "base/redact.h"
#include "base/secret.h"
#include "credential/aws_keys.h"

#include <stdatomic.h>

enum { VALUE_REDACTED = 2 };

struct value {
    atomic_uint refs;
    uint32_t serial;         /* of the text; a value that only gets a new expiry keeps it */
    struct secret *header;   /* NULL where `aws` is set */
    size_t bare_at;          /* where the key starts in the header, behind its scheme */
    struct aws_keys *aws;
    struct redact_entry *redacted[VALUE_REDACTED];
    int64_t expires_mono_us; /* INT64_MAX: never */
};

/* Validates `text` and copies it. `scheme` NULL: AWS keys. NULL with a reason that does not show the text. */
struct value *value_new(const char *scheme, struct slice text, int64_t expires_mono_us, char *why, size_t why_size)
    __attribute__((warn_unused_result));
struct value *value_ref(struct value *v);
/* NULL is allowed. */
void value_unref(struct value *v);
/* The same secret, whatever its expiry. */
bool value_same(const struct value *a, const struct value *b);

#endif
