/* Introspection (RFC 7662): asks the issuer whether a token that verifies is still active.
 *
 * Answers are kept by the token's digest, never beyond its expiry, and only for as long as configured. A worker that finds none asks for
 * one and waits as it does for keys; tokens that are asked for already are not asked for again. One mutex, the store's, is held for a
 * few instructions. Calls run on the control thread's loop, a few at a time; while the endpoint fails it is tried once a second. */
#ifndef TOLLGATE_IDENTITY_INTROSPECT_H
#define TOLLGATE_IDENTITY_INTROSPECT_H

#include "identity/store.h"

struct introspection;

enum introspect_result {
    INTROSPECT_ACTIVE,
    INTROSPECT_INACTIVE,
    INTROSPECT_WAIT,       /* the verifier will be notified */
    INTROSPECT_UNAVAILABLE /* no answer, and none that may still be used */
};

/* Control thread. Reads the client's secret. NULL with a reason in `why`. */
struct introspection *introspect_new(struct identity_store *s, size_t issuer, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Control thread: starts what was asked for. */
void introspect_run(struct introspection *x);
/* Control thread: ends calls; those who wait find no answer. The store's lock is not held. */
void introspect_retire(struct introspection *x);
/* With the store. NULL is allowed. */
void introspect_free(struct introspection *x);

/* Any thread. `token` as sent; `v` (may be NULL) waits. exp_s: the token's expiry. */
enum introspect_result introspect_ask(struct introspection *x, const uint8_t digest[32], struct slice token, int64_t exp_s, int64_t now_us,
                                      struct identity_verifier *v) __attribute__((warn_unused_result));

#endif
