/* OpenID Connect Back-Channel Logout 1.0: the token by which an issuer says that somebody's session has ended. */
#ifndef TOLLGATE_IDENTITY_LOGOUT_H
#define TOLLGATE_IDENTITY_LOGOUT_H

#include "identity/identity.h"

struct identity_logout {
    struct slice issuer, subject, session; /* of subject and session one may be empty */
    struct slice token_id;                 /* jti */
    int64_t issued_s, expires_s;
    int64_t keep_until_s;                  /* by then no token from before the logout is accepted any more */
};

/* Verifies a logout token (section 2.6) of an issuer that has logout_audiences. As identity_verify; what is refused is 400, or 503 when the
 * issuer's keys are not there. Reasons are those of identity_verify, or logout_token. Whether its jti was seen before is the caller's to
 * ask. */
enum identity_result identity_logout_verify(struct identity_verifier *v, struct slice token, int64_t now_us, bool may_wait, struct arena *a,
                                            struct identity_logout *out, struct refusal *no) __attribute__((warn_unused_result));

/* The logout_token of a form (application/x-www-form-urlencoded, section 2.5), decoded into the arena. NULL, or what is wrong (static). */
const char *identity_logout_form(struct slice body, struct arena *a, struct slice *token);

#endif
