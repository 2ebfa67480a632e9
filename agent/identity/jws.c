#include "identity/jws.h"

#include "identity/identity.h"
#include "identity/strict.h"

#include <errno.h>
#include <jwt.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <strings.h>

static const struct strict_limits header_limits = { .depth = 8, .members = 64 };
static const struct strict_limits payload_limits = { .depth = 16, .members = 512 };

static bool fail(struct fault *f, const char *reason, const char *message)
{
    f->reason = reason;
    f->message = slice_cstr(message);
    return false;
}

/* Decodes one part and parses it as a JSON object. */
static cJSON *read_part(struct slice part, const char *name, struct strict_limits limits, struct arena *a, struct fault *f)
{
    const char *why;
    size_t n;
    uint8_t *bytes = arena_alloc(a, part.n + 4);

    f->reason = "token_malformed";
    if (bytes == NULL) {
        f->message = SLICE_LIT("out of memory while reading the token");
        return NULL;
    }
    if (!strict_base64url(part, bytes, &n)) {
        f->message = arena_printf(a, "the token's %s is not base64url without padding", name);
        return NULL;
    }
    cJSON *tree = strict_json_object(slice_make((char *)bytes, n), limits, &why);
    if (tree == NULL)
        f->message = arena_printf(a, "the token's %s %s", name, why);
    return tree;
}

static bool read_alg(struct jws *t, struct fault *f)
{
    const char *alg = strict_string(t->header, "alg");
    if (alg == NULL)
        return fail(f, "token_malformed", "the token's header has no algorithm (alg)");
    if (strcasecmp(alg, "none") == 0)
        return fail(f, "token_algorithm", "unsigned tokens (alg none) are not accepted");
    if (strncasecmp(alg, "HS", 2) == 0)
        return fail(f, "token_algorithm", "tokens signed with a shared secret (alg HS256, HS384, HS512) are not accepted");
    int known = jws_alg_from_name(alg);
    if (known < 0)
        return fail(f, "token_algorithm", "the token's algorithm (alg) is not one of RS256, RS384, RS512, PS256, PS384, PS512, "
                                          "ES256, ES384, ES512, EdDSA");
    t->alg = (enum jws_alg)known;
    return true;
}

/* typ as a media type: case-insensitive, "application/" may be left out (RFC 7515 4.1.9, RFC 9068 2.1). */
static bool read_type(struct jws *t, struct fault *f)
{
    const cJSON *typ = strict_member(t->header, "typ");
    t->type = JWS_TYPE_NONE;
    if (typ == NULL)
        return true;
    const char *name = cJSON_IsString(typ) ? typ->valuestring : "";
    if (strncasecmp(name, "application/", 12) == 0)
        name += 12;
    if (strcasecmp(name, "JWT") == 0)
        t->type = JWS_TYPE_JWT;
    else if (strcasecmp(name, "at+jwt") == 0)
        t->type = JWS_TYPE_AT_JWT;
    else if (strcasecmp(name, "logout+jwt") == 0)
        t->type = JWS_TYPE_LOGOUT;
    else
        return fail(f, "token_type", "the token's type (typ) is neither JWT nor at+jwt");
    return true;
}

static bool read_header(struct jws *t, struct fault *f)
{
    const cJSON *kid = strict_member(t->header, "kid"), *cty = strict_member(t->header, "cty");

    if (strict_member(t->header, "crit") != NULL)
        return fail(f, "token_malformed", "the token demands extensions (crit) that are not understood here");
    if (strict_member(t->header, "b64") != NULL)
        return fail(f, "token_malformed", "the token uses the unencoded payload option (b64), which is not accepted");
    if (strict_member(t->header, "enc") != NULL)
        return fail(f, "token_malformed", "the token is encrypted (enc); send a signed one");
    if (cty != NULL && !(cJSON_IsString(cty) && strcasecmp(cty->valuestring, "JWT") != 0 &&
                         strcasecmp(cty->valuestring, "application/JWT") != 0))
        return fail(f, "token_malformed", "the token holds another token (cty JWT); nested tokens are not accepted");
    if (kid != NULL && !cJSON_IsString(kid))
        return fail(f, "token_malformed", "the token's key id (kid) is not a string");
    t->kid = kid ? kid->valuestring : NULL;
    return read_alg(t, f) && read_type(t, f);
}

/* Splits at the dots; false unless there are exactly three parts. */
static bool split(struct slice token, struct slice part[3])
{
    for (int i = 0; i < 2; i++) {
        const char *dot = memchr(token.p, '.', token.n);
        if (dot == NULL)
            return false;
        part[i] = slice_make(token.p, (size_t)(dot - token.p));
        token = slice_make(dot + 1, token.n - part[i].n - 1);
    }
    part[2] = token;
    return memchr(token.p, '.', token.n) == NULL;
}

bool jws_parse(struct slice token, struct arena *a, struct jws *out, struct fault *f)
{
    struct slice part[3];

    *out = (struct jws){ .size = token.n };
    if (token.n > IDENTITY_TOKEN_MAX)
        return fail(f, "token_malformed", "the token is larger than 16384 bytes");
    out->text = token.n ? arena_cstr(a, token) : NULL;
    if (out->text == NULL)
        return fail(f, "token_malformed", token.n ? "out of memory while reading the token" : "the token is empty");
    if (!split(slice_make(out->text, token.n), part))
        return fail(f, "token_malformed", "the key sent is not a signed token (JWT): three parts joined by dots are expected");
    out->signed_size = part[0].n + 1 + part[1].n;
    uint8_t *signature = arena_alloc(a, part[2].n + 4);
    if (signature == NULL)
        return fail(f, "token_malformed", "out of memory while reading the token");
    if ((out->header = read_part(part[0], "header", header_limits, a, f)) == NULL || !read_header(out, f) ||
        (out->payload = read_part(part[1], "payload", payload_limits, a, f)) == NULL) {
        jws_clear(out);
        return false;
    }
    if (!strict_base64url(part[2], signature, &out->signature_size)) {
        jws_clear(out);
        return fail(f, "token_malformed", "the token's signature is not base64url without padding");
    }
    if (out->signature_size == 0) {
        jws_clear(out);
        return fail(f, "token_signature", "the token has no signature");
    }
    out->signature = signature;
    return true;
}

void jws_clear(struct jws *t)
{
    cJSON_Delete(t->header);
    cJSON_Delete(t->payload);
    t->header = t->payload = NULL;
    t->kid = NULL;
}

/* ---- signatures ----------------------------------------------------------------------------------------------------- */

static const EVP_MD *digest_of(enum jws_alg alg)
{
    switch (alg) {
    case JWS_RS256: case JWS_PS256: case JWS_ES256: return EVP_sha256();
    case JWS_RS384: case JWS_PS384: case JWS_ES384: return EVP_sha384();
    case JWS_RS512: case JWS_PS512: case JWS_ES512: return EVP_sha512();
    case JWS_EDDSA: case JWS_ALG_COUNT: break;
    }
    return NULL;
}

static bool is_ecdsa(enum jws_alg alg)
{
    return alg == JWS_ES256 || alg == JWS_ES384 || alg == JWS_ES512;
}

static bool is_pss(enum jws_alg alg)
{
    return alg == JWS_PS256 || alg == JWS_PS384 || alg == JWS_PS512;
}

/* R and S side by side, each of the curve's full length (RFC 7518 3.4), as the DER that OpenSSL wants. NULL when the length is off. */
static uint8_t *ecdsa_to_der(const struct jws *t, enum jwk_kind kind, size_t *size)
{
    size_t half = kind == JWK_P256 ? 32 : kind == JWK_P384 ? 48 : 66;
    uint8_t *der = NULL;
    if (t->signature_size != 2 * half)
        return NULL;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(t->signature, (int)half, NULL), *s = BN_bin2bn(t->signature + half, (int)half, NULL);
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL; /* sig has them now */
        int n = i2d_ECDSA_SIG(sig, &der);
        *size = n > 0 ? (size_t)n : 0;
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return der;
}

static bool verify_openssl(const struct jws *t, const struct jwk *key)
{
    const uint8_t *sig = t->signature;
    size_t sig_size = t->signature_size;
    uint8_t *der = NULL;
    EVP_PKEY_CTX *pctx = NULL;
    bool good = false;

    if (is_ecdsa(t->alg)) {
        der = ecdsa_to_der(t, key->kind, &sig_size);
        if (der == NULL)
            return false;
        sig = der;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestVerifyInit(ctx, &pctx, digest_of(t->alg), NULL, key->key) != 1)
        goto out;
    /* RFC 7518 3.5: the salt is as long as the digest, MGF1 uses the same digest. */
    if (is_pss(t->alg) && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) <= 0 ||
                           EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) <= 0 ||
                           EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, digest_of(t->alg)) <= 0))
        goto out;
    good = EVP_DigestVerify(ctx, sig, sig_size, (const uint8_t *)t->text, t->signed_size) == 1;
out:
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return good;
}

static jwt_alg_t libjwt_alg(enum jws_alg alg)
{
    switch (alg) {
    case JWS_RS256: return JWT_ALG_RS256;
    case JWS_RS384: return JWT_ALG_RS384;
    case JWS_RS512: return JWT_ALG_RS512;
    case JWS_ES256: return JWT_ALG_ES256;
    case JWS_ES384: return JWT_ALG_ES384;
    case JWS_ES512: return JWT_ALG_ES512;
    default: return JWT_ALG_INVAL;
    }
}

/* libjwt reads the algorithm from the token again: it must have come to the same one. */
static bool verify_libjwt(const struct jws *t, const struct jwk *key)
{
    jwt_t *jwt = NULL;
    bool good = jwt_decode(&jwt, t->text, (const unsigned char *)key->pem, (int)key->pem_size) == 0 && jwt != NULL &&
                jwt_get_alg(jwt) == libjwt_alg(t->alg);
    jwt_free(jwt);
    return good;
}

bool jws_verify(const struct jws *t, const struct jwk *key)
{
    if (!jwk_kind_fits(key->kind, t->alg) || (key->alg >= 0 && key->alg != (int)t->alg))
        return false;
    /* OpenSSL first, with the key as it was parsed once: libjwt parses the PEM for every token, which costs about ten times the
     * signature, and whoever can send tokens could make us pay that. What OpenSSL found good, libjwt must find good too, where it
     * can: 1.x knows neither RSA-PSS nor EdDSA, and refuses every typ but JWT spelled without "application/". */
    const char *typ = strict_string(t->header, "typ");
    bool good = verify_openssl(t, key);
    if (good && libjwt_alg(t->alg) != JWT_ALG_INVAL && (typ == NULL || strcasecmp(typ, "JWT") == 0))
        good = verify_libjwt(t, key);
    ERR_clear_error(); /* a bad signature leaves entries in this thread's queue */
    return good;
}
