/* Redaction: the secrets that are alive in this process, and texts freed of them.
 *
 * Whoever holds a secret that could end up in a text (a key, a token, a client secret) registers it here for as long as it lives;
 * everything the agent writes for people or peers (log lines, admin answers, error bodies) passes through redact_text or
 * redact_mask before it leaves. A secret is recognised as it stands, with JSON's escapes, and percent-encoded; at the end of a text also
 * its beginning, for texts are cut. Secrets below 8 bytes are left alone: they would eat ordinary text.
 *
 * The registry is one for the process, for the log is. Any thread. A text without a secret costs one multiplication a byte and changes
 * nothing. The patterns are in locked memory (base/secret.h). */
#ifndef TOLLGATE_BASE_REDACT_H
#define TOLLGATE_BASE_REDACT_H

#include "base/slice.h"

#define REDACT_MIN 8

struct redact_entry;

/* Copies. NULL when the secret is too short to be looked for, or memory is out: *out_of_memory tells (may be NULL). */
struct redact_entry *redact_add(struct slice secret, bool *out_of_memory);
/* NULL is allowed. */
void redact_remove(struct redact_entry *e);
/* Replaces every secret in text[0..n) by "[secret]", which is never longer. Returns the new length. */
size_t redact_text(char *text, size_t n);
/* Overwrites every secret with asterisks: for framed data, whose lengths must stay. */
void redact_mask(char *text, size_t n);

#endif
