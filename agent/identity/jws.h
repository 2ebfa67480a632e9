/* JWS: one signed token in compact form (RFC 7515 7.1), taken apart strictly and verified against one key.
 *
 * jws_parse trusts nothing and decides nothing about keys; jws_verify is given the key and the algorithm that the caller pinned. The
 * key hints a token may carry about itself (jwk, jku, x5u, x5c, x5t) are never looked at. */
#ifndef TOLLGATE_IDENTITY_JWS_H
#define TOLLGATE_IDENTITY_JWS_H

#include "base/arena.h"
#include "identity/jwk.h"

#include <cjson/cJSON.h>

/* What a part of the pipeline found wrong: a stable word and a sentence for the client. */
struct fault {
    const char *reason; /* see the end of identity.h */
    struct slice message;
};

enum jws_type { JWS_TYPE_NONE, JWS_TYPE_JWT, JWS_TYPE_AT_JWT, JWS_TYPE_LOGOUT };

struct jws {
    const char *text;          /* NUL-terminated copy of the token */
    size_t size, signed_size;  /* whole; header.payload */
    enum jws_alg alg;
    enum jws_type type;
    const char *kid;           /* NULL: none */
    cJSON *header, *payload;   /* trees owned here */
    const uint8_t *signature;
    size_t signature_size;
};

/* Takes `token` apart; copies go to `a`. On success jws_clear must be called. False with *f set: malformed, none/HS*, unknown
 * algorithm, crit, b64, nested or encrypted, wrong typ. */
bool jws_parse(struct slice token, struct arena *a, struct jws *out, struct fault *f) __attribute__((warn_unused_result));
void jws_clear(struct jws *t);

/* True when the signature is good. False at once when the key does not fit the token's algorithm. */
bool jws_verify(const struct jws *t, const struct jwk *key) __attribute__((warn_unused_result));

#endif
