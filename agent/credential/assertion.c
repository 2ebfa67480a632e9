#include "credential/assertion.h"

#include <errno.h>
#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

static bool grant(jwt_t *jwt, const char *name, const char *value)
{
    return value == NULL || jwt_add_grant(jwt, name, value) == 0;
}

static bool header(jwt_t *jwt, const char *name, const char *value)
{
    return value == NULL || jwt_add_header(jwt, name, value) == 0;
}

/* A version 4 UUID. */
static bool identifier(char out[37])
{
    unsigned char b[16];

    if (RAND_bytes(b, sizeof b) != 1)
        return false;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5], b[6],
             b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return true;
}

char *assertion_sign(const struct assertion *a, const struct secret *key, const char **why)
{
    struct slice pem = secret_view(key);
    char jti[37], *token = NULL;
    jwt_t *jwt = NULL;

    *why = "out of memory";
    if (jwt_new(&jwt) != 0)
        return NULL;
    bool ok = identifier(jti) && grant(jwt, "iss", a->issuer) && grant(jwt, "sub", a->subject) && grant(jwt, "aud", a->audience) &&
              grant(jwt, "scope", a->scope) && grant(jwt, "jti", jti) && jwt_add_grant_int(jwt, "iat", (long)a->now_s) == 0 &&
              jwt_add_grant_int(jwt, "nbf", (long)a->now_s) == 0 &&
              jwt_add_grant_int(jwt, "exp", (long)(a->now_s + a->lifetime_s)) == 0 && header(jwt, "kid", a->key_id) &&
              header(jwt, "x5t", a->x5t) && header(jwt, "x5t#S256", a->x5t_s256);
    if (ok) {
        *why = "the private key is not an RSA key in PEM form";
        ok = jwt_set_alg(jwt, JWT_ALG_RS256, (const unsigned char *)pem.p, (int)pem.n) == 0;
    }
    if (ok)
        token = jwt_encode_str(jwt);
    jwt_free(jwt);
    return token;
}

static void base64url(const unsigned char *p, size_t n, char *out)
{
    int k = EVP_EncodeBlock((unsigned char *)out, p, (int)n);

    while (k > 0 && out[k - 1] == '=')
        k--;
    out[k] = '\0';
    for (int i = 0; i < k; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
}

bool assertion_thumbprints(const char *file, struct thumbprints *out, char *why, size_t why_size)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    FILE *f = fopen(file, "re");

    if (f == NULL) {
        snprintf(why, why_size, "cannot open %s: %s", file, strerror(errno));
        return false;
    }
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    bool ok = x != NULL && X509_digest(x, EVP_sha1(), digest, &n) == 1;
    if (ok) {
        base64url(digest, n, out->x5t);
        ok = X509_digest(x, EVP_sha256(), digest, &n) == 1;
    }
    if (ok)
        base64url(digest, n, out->x5t_s256);
    else
        snprintf(why, why_size, "%s holds no certificate in PEM form", file);
    X509_free(x);
    return ok;
}
