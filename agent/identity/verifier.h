/* The verifier's inside, shared by verifier.c (access tokens) and logout.c (logout tokens). */
#ifndef TOLLGATE_IDENTITY_VERIFIER_H
#define TOLLGATE_IDENTITY_VERIFIER_H

#include "identity/jws.h"
#include "identity/store.h"

enum identity_result verifier_refuse(struct refusal *no, const struct fault *f);
/* The issuer a parsed token names, whose algorithm the issuer may use, and whose signature is good: IDENTITY_OK, with its index and the
 * generation of its keys. Nothing but that was looked at. */
enum identity_result verifier_authenticate(struct identity_verifier *v, const struct jws *t, int64_t now_us, bool may_wait, size_t *issuer,
                                           uint64_t *generation, struct refusal *no) __attribute__((warn_unused_result));

#endif
