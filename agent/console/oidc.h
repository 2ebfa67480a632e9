/* OpenID Connect as a relying party: the texts of the authorization code flow with PKCE, without any I/O.
 *
 * Sources: OpenID Connect Core 1.0 section 3.1, Discovery 1.0 section 4, RFC 7636 (PKCE), RFC 9207 (iss in the answer), RFC 6749
 * section 2.3.1. Everything a provider says is input of a peer: lengths are bounded, what is missing or foreign is refused. Messages
 * say what is wrong and hold no token, code or secret. */
#ifndef TOLLGATE_CONSOLE_OIDC_H
#define TOLLGATE_CONSOLE_OIDC_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

enum { OIDC_TEXT = 44, OIDC_URL_MAX = 2048 }; /* OIDC_TEXT: base64url of 32 bytes, and its NUL */

struct oidc_provider {
    char authorization_endpoint[OIDC_URL_MAX], token_endpoint[OIDC_URL_MAX], end_session_endpoint[OIDC_URL_MAX]; /* the last may be "" */
    bool secret_in_body; /* it takes client_secret_post only; else client_secret_basic */
    bool names_itself;   /* its answers carry `iss` (RFC 9207) */
};

/* The discovery document. Its `issuer` must equal `issuer` byte by byte; endpoints must be https unless allow_http. */
bool oidc_discovery_parse(struct slice json, const char *issuer, bool allow_http, struct oidc_provider *out, char *why, size_t why_size)
    __attribute__((warn_unused_result));

/* What belongs to one sign-in of one browser. All of it follows from `seed`, which the browser keeps in a cookie, and a key of ours, so
 * nothing has to be remembered here. */
struct oidc_attempt {
    char state[OIDC_TEXT], nonce[OIDC_TEXT], verifier[OIDC_TEXT], challenge[OIDC_TEXT];
};
void oidc_attempt_derive(const uint8_t key[32], struct slice seed, struct oidc_attempt *out);

/* Where to send the browser. False: longer than OIDC_URL_MAX. */
bool oidc_authorization_url(const struct oidc_provider *p, const char *client_id, const char *scope, const char *redirect_uri,
                            const struct oidc_attempt *a, char out[OIDC_URL_MAX]) __attribute__((warn_unused_result));

/* The body of the token request, and (`header`, else "") the Authorization header line with the client's secret. `secret` empty: a public
 * client. Both in the arena; NULL when memory is out. */
char *oidc_token_form(const struct oidc_provider *p, const char *client_id, struct slice secret, const char *redirect_uri,
                      struct slice code, const char *verifier, struct arena *a, char **header) __attribute__((warn_unused_result));

/* The token endpoint's answer: the ID token, in the arena. p NULL: refused. */
struct slice oidc_token_reply(long status, struct slice json, struct arena *a, char *why, size_t why_size)
    __attribute__((warn_unused_result));

/* An ID token whose signature, issuer, audience and times were verified: is it the answer to this sign-in of this client? (nonce, azp) */
bool oidc_token_belongs(struct slice id_token, const char *client_id, const char *nonce, char *why, size_t why_size)
    __attribute__((warn_unused_result));

/* base64url without padding (RFC 4648 section 5). `out` has room for 4 bytes for each 3, and a NUL. */
void oidc_base64url(const uint8_t *in, size_t n, char *out);
/* Percent-encodes everything but unreserved characters (RFC 3986 2.3); `out` has room for 3 bytes for each, and a NUL. */
size_t oidc_percent(struct slice in, char *out);
/* The same length and the same bytes, in constant time. */
bool oidc_equal(struct slice a, struct slice b);

#endif
