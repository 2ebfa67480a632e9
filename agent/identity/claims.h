/* Claims: what an authentic token must say, and how what it says becomes struct identity.
 *
 * Called after the signature was verified, never before. Results point into the payload tree, the options or the arena. */
#ifndef TOLLGATE_IDENTITY_CLAIMS_H
#define TOLLGATE_IDENTITY_CLAIMS_H

#include "identity/identity.h"
#include "identity/jws.h"

struct claims_times {
    int64_t exp_s;    /* its exp */
    int64_t until_s;  /* the second (UTC) from which it must be refused, leeway and max_age_s included */
    int64_t issued_s; /* its iat; 0: it does not say */
};

/* Checks typ, aud, azp, exp, nbf, iat, age and required claims against the issuer's options. */
bool claims_check(const struct identity_issuer *o, const struct jws *t, int64_t now_us, struct arena *a, struct claims_times *out,
                  struct fault *f) __attribute__((warn_unused_result));

/* The clock difference tolerated, in seconds. */
int64_t claims_leeway_s(const struct identity_issuer *o);
/* True for a logout token by its content: `events` with the member of OpenID Connect Back-Channel Logout 1.0, 2.4. */
bool claims_logout_event(const cJSON *payload);

/* Fills subject, user, team, organization, application, cost centre, groups, token id, session. */
bool claims_map(const struct identity_issuer *o, const cJSON *payload, struct arena *a, struct identity *out, struct fault *f)
    __attribute__((warn_unused_result));

/* True when the whole value matches; the pattern may hold one '*'. *star is what it stood for. */
bool claims_match(const char *pattern, struct slice value, struct slice *star);

/* The claim at a path, see struct identity_field; NULL when absent. */
const cJSON *claims_find(const cJSON *object, const char *path);

#endif
