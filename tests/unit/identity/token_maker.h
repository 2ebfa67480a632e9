/* Keys, key sets and tokens for the tests, made at run time through OpenSSL, good ones and bad ones. Independent of the code under
 * test: signs with its own base64url, its own ECDSA encoding. All results are malloc'ed; failures abort. */
#ifndef TOLLGATE_TESTS_TOKEN_MAKER_H
#define TOLLGATE_TESTS_TOKEN_MAKER_H

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAKE(x) ((x) ? (void)0 : abort())
#define UNUSED __attribute__((unused))

UNUSED static char *make_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
UNUSED static char *make_text(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    MAKE(vasprintf(&s, fmt, ap) >= 0);
    va_end(ap);
    return s;
}

UNUSED static char *make_base64url(const void *p, size_t n)
{
    char *s = malloc(n / 3 * 4 + 8);
    MAKE(s != NULL);
    int k = EVP_EncodeBlock((unsigned char *)s, p, (int)n);
    while (k > 0 && s[k - 1] == '=')
        k--;
    s[k] = '\0';
    for (int i = 0; i < k; i++)
        s[i] = s[i] == '+' ? '-' : s[i] == '/' ? '_' : s[i];
    return s;
}

UNUSED static EVP_PKEY *make_rsa(unsigned bits)
{
    EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
    MAKE(k != NULL);
    return k;
}

UNUSED static EVP_PKEY *make_ec(const char *group)
{
    EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "EC", group);
    MAKE(k != NULL);
    return k;
}

UNUSED static EVP_PKEY *make_ed25519(void)
{
    EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    MAKE(k != NULL);
    return k;
}

static char *number_of(EVP_PKEY *k, const char *param, int size)
{
    BIGNUM *bn = NULL;
    unsigned char b[1100];
    MAKE(EVP_PKEY_get_bn_param(k, param, &bn) == 1);
    int n = size ? BN_bn2binpad(bn, b, size) : BN_bn2bin(bn, b);
    BN_free(bn);
    return make_base64url(b, (size_t)n);
}

/* A JWK of the public half; `more` is appended inside the object (",\"use\":\"sig\""). kid NULL: none. */
UNUSED static char *make_jwk(EVP_PKEY *k, const char *kid, const char *more)
{
    char *id = kid ? make_text(",\"kid\":\"%s\"", kid) : make_text("%s", ""), *jwk = NULL;

    if (EVP_PKEY_is_a(k, "RSA")) {
        char *n = number_of(k, OSSL_PKEY_PARAM_RSA_N, 0), *e = number_of(k, OSSL_PKEY_PARAM_RSA_E, 0);
        jwk = make_text("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s%s}", n, e, id, more);
        free(n);
        free(e);
    } else if (EVP_PKEY_is_a(k, "EC")) {
        int bits = EVP_PKEY_get_bits(k), size = (bits + 7) / 8;
        char *x = number_of(k, OSSL_PKEY_PARAM_EC_PUB_X, size), *y = number_of(k, OSSL_PKEY_PARAM_EC_PUB_Y, size);
        jwk = make_text("{\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s%s}", bits, x, y, id, more);
        free(x);
        free(y);
    } else {
        unsigned char raw[32];
        size_t n = sizeof raw;
        MAKE(EVP_PKEY_get_raw_public_key(k, raw, &n) == 1);
        char *x = make_base64url(raw, n);
        jwk = make_text("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s%s}", x, id, more);
        free(x);
    }
    free(id);
    return jwk;
}

/* How make_token signs. */
struct make_how {
    const char *alg;    /* what is really used: RS256 ... EdDSA */
    bool der;           /* leave ECDSA signatures in DER */
    int salt;           /* PSS: 0 = digest length */
};

UNUSED static size_t make_signature(EVP_PKEY *k, struct make_how how, const char *text, unsigned char out[2048])
{
    const EVP_MD *md = strstr(how.alg, "256") ? EVP_sha256() : strstr(how.alg, "384") ? EVP_sha384() : EVP_sha512();
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    EVP_PKEY_CTX *p = NULL;
    size_t n = 2048;

    if (strcmp(how.alg, "EdDSA") == 0)
        md = NULL;
    MAKE(EVP_DigestSignInit(c, &p, md, NULL, k) == 1);
    if (how.alg[0] == 'P') {
        MAKE(EVP_PKEY_CTX_set_rsa_padding(p, RSA_PKCS1_PSS_PADDING) == 1);
        MAKE(EVP_PKEY_CTX_set_rsa_pss_saltlen(p, how.salt ? how.salt : RSA_PSS_SALTLEN_DIGEST) == 1);
    }
    MAKE(EVP_DigestSign(c, out, &n, (const unsigned char *)text, strlen(text)) == 1);
    EVP_MD_CTX_free(c);
    if (how.alg[0] == 'E' && how.alg[1] == 'S' && !how.der) {
        const unsigned char *at = out;
        const BIGNUM *r, *s;
        int half = (EVP_PKEY_get_bits(k) + 7) / 8;
        ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)n);
        MAKE(sig != NULL);
        ECDSA_SIG_get0(sig, &r, &s);
        unsigned char raw[132];
        BN_bn2binpad(r, raw, half);
        BN_bn2binpad(s, raw + half, half);
        ECDSA_SIG_free(sig);
        n = (size_t)half * 2;
        memcpy(out, raw, n);
    }
    return n;
}

/* header.payload of two JSON texts. */
UNUSED static char *make_signing_input(const char *header, const char *payload)
{
    char *h = make_base64url(header, strlen(header)), *p = make_base64url(payload, strlen(payload));
    char *s = make_text("%s.%s", h, p);
    free(h);
    free(p);
    return s;
}

UNUSED static char *make_token(EVP_PKEY *k, struct make_how how, const char *header, const char *payload)
{
    unsigned char sig[2048];
    char *input = make_signing_input(header, payload);
    size_t n = make_signature(k, how, input, sig);
    char *s = make_base64url(sig, n), *token = make_text("%s.%s", input, s);
    free(input);
    free(s);
    return token;
}

/* HS256 with any bytes as the secret. */
UNUSED static char *make_hs256(const void *secret, size_t secret_size, const char *header, const char *payload)
{
    unsigned char mac[32];
    unsigned n = 0;
    char *input = make_signing_input(header, payload);
    HMAC(EVP_sha256(), secret, (int)secret_size, (unsigned char *)input, strlen(input), mac, &n);
    char *s = make_base64url(mac, n), *token = make_text("%s.%s", input, s);
    free(input);
    free(s);
    return token;
}

UNUSED static char *make_public_pem(EVP_PKEY *k)
{
    char *at, *pem;
    BIO *b = BIO_new(BIO_s_mem());
    MAKE(PEM_write_bio_PUBKEY(b, k) == 1);
    long n = BIO_get_mem_data(b, &at);
    pem = strndup(at, (size_t)n);
    BIO_free(b);
    return pem;
}

UNUSED static void make_file(const char *path, const char *text, unsigned mode)
{
    char *tmp = make_text("%s.new", path);
    FILE *f = fopen(tmp, "w");
    MAKE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
    MAKE(chmod(tmp, mode) == 0 && rename(tmp, path) == 0);
    free(tmp);
}

#endif
