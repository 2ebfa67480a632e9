/* Client certificates: HAProxy has verified the chain and that the client holds the key (mutual TLS); this says who it is.
 *
 * Everything is read from the certificate itself as HAProxy hands it over (ssl_c_der), never from a header and never from a name that
 * somebody else printed. Its dates are looked at with every request, because a connection, or a resumed session, may outlive them. */
#ifndef TOLLGATE_IDENTITY_CERTIFICATE_H
#define TOLLGATE_IDENTITY_CERTIFICATE_H

#include "identity/identity.h"
#include "identity/jws.h"

#define CERTIFICATE_ISSUER "client-certificate:" /* struct identity.issuer of whoever comes with one: this, and the name of the CA */

enum { CERTIFICATE_MAX = 16 * 1024, CERTIFICATE_NAMES_MAX = 64 };

struct certificate_cache;

/* What rules look at. Names are as `openssl x509 -nameopt RFC2253` prints them (RFC 2253: control characters, commas and bytes beyond
 * ASCII are escaped). Slices are in the caller's arena. */
struct certificate {
    struct slice fingerprint; /* SHA-256 of the whole certificate, 64 hexadecimal digits in lower case */
    struct slice issuer, subject;
    struct slice common_name; /* of the subject; empty: it has none, or several, or one with control characters */
    const struct slice *alternative_names; /* "DNS:...", "URI:...", "email:..."; others are left out */
    size_t alternative_count;
    int64_t from_s, until_s;  /* seconds since 1970; valid through both */
};

/* False: `f` says why. Looks at no dates. */
bool certificate_parse(struct slice der, struct arena *a, struct certificate *out, struct fault *f) __attribute__((warn_unused_result));
/* The certificate that came with the request: verified by HAProxy, and in force at now_s. `k` may be NULL. */
bool certificate_read(struct certificate_cache *k, const struct http_request *rq, int64_t now_s, struct arena *a, struct certificate *out, struct fault *f)
    __attribute__((warn_unused_result));
/* The first rule that matches makes the identity; its slices are the certificate's, the options' or in `a`. */
bool certificate_map(const struct identity_options *o, const struct certificate *c, struct arena *a, struct identity *out, struct fault *f)
    __attribute__((warn_unused_result));
/* NULL when the rules are good, else what is wrong, with the place ("certificates[1].san: ..."), formatted into `why`. */
const char *certificate_rules_check(const struct identity_options *o, char *why, size_t why_size);

#endif
