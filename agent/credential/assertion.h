/* JWT assertions (RFC 7523): what a client signs with its own key to get a token. RS256, through libjwt. */
#ifndef TOLLGATE_CREDENTIAL_ASSERTION_H
#define TOLLGATE_CREDENTIAL_ASSERTION_H

#include "base/secret.h"

#include <stdint.h>

struct assertion {
    const char *issuer, *subject, *audience, *scope; /* NULL: the claim is left out */
    const char *key_id, *x5t, *x5t_s256;             /* header members; NULL: left out */
    int64_t now_s, lifetime_s;
};

/* `key` is a PEM private key (RSA). NULL with a static phrase in *why. The token is NUL-terminated; wipe and free it. Each has an
 * identifier (jti) of its own. */
char *assertion_sign(const struct assertion *a, const struct secret *key, const char **why) __attribute__((warn_unused_result));

/* Thumbprints of the first certificate in a PEM file, base64url: SHA-1 (RFC 7515 4.1.7) and SHA-256 (4.1.8). False with a reason. */
struct thumbprints {
    char x5t[32], x5t_s256[48];
};
bool assertion_thumbprints(const char *certificate_file, struct thumbprints *out, char *why, size_t why_size)
    __attribute__((warn_unused_result));

#endif
