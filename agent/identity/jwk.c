#include "identity/jwk.h"

#include "identity/strict.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS_MAX = 128, KID_MAX = 256, NUMBER_MAX = 1200, RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192, RSA_EXPONENT_BITS_MAX = 33 };

static const struct strict_limits set_limits = { .depth = 8, .members = 4096 };

static const char *const alg_names[JWS_ALG_COUNT] = { "RS256", "RS384", "RS512", "PS256", "PS384",
                                                      "PS512", "ES256", "ES384", "ES512", "EdDSA" };

int jws_alg_from_name(const char *name)
{
    for (int i = 0; i < JWS_ALG_COUNT; i++)
        if (strcmp(name, alg_names[i]) == 0)
            return i;
    return -1;
}

const char *jws_alg_name(enum jws_alg alg)
{
    return alg_names[alg];
}

bool jwk_kind_fits(enum jwk_kind kind, enum jws_alg alg)
{
    switch (alg) {
    case JWS_RS256: case JWS_RS384: case JWS_RS512:
    case JWS_PS256: case JWS_PS384: case JWS_PS512: return kind == JWK_RSA;
    case JWS_ES256: return kind == JWK_P256;
    case JWS_ES384: return kind == JWK_P384;
    case JWS_ES512: return kind == JWK_P521;
    case JWS_EDDSA: return kind == JWK_ED25519;
    case JWS_ALG_COUNT: break;
    }
    return false;
}

const char *jwk_kind_name(enum jwk_kind kind)
{
    static const char *const names[] = { "RSA", "EC P-256", "EC P-384", "EC P-521", "Ed25519" };
    return names[kind];
}

const char *jwk_fault_name(enum jwk_fault f)
{
    static const char *const names[JWK_FAULTS] = { "good", "symmetric or unknown type", "not for signatures", "algorithm not accepted",
                                                   "private key published", "too weak", "too large", "malformed" };
    return names[f];
}

struct number {
    uint8_t b[NUMBER_MAX];
    size_t n;
};

/* A base64url member of 1 to NUMBER_MAX bytes. */
static bool read_number(const cJSON *jwk, const char *name, struct number *out)
{
    struct slice s = slice_cstr(strict_string(jwk, name));
    return s.n > 0 && s.n <= (NUMBER_MAX - 3) / 3 * 4 && strict_base64url(s, out->b, &out->n);
}

static EVP_PKEY *key_from_params(const char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static enum jwk_fault read_rsa(const cJSON *jwk, struct jwk *out)
{
    enum jwk_fault fault = JWK_MALFORMED;
    struct number n, e;

    if (!read_number(jwk, "n", &n) || !read_number(jwk, "e", &e))
        return JWK_MALFORMED;
    BIGNUM *bn = BN_bin2bn(n.b, (int)n.n, NULL), *be = BN_bin2bn(e.b, (int)e.n, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bn == NULL || be == NULL || bld == NULL)
        goto out;
    if (BN_num_bits(bn) > RSA_BITS_MAX) {
        fault = JWK_TOO_LARGE;
        goto out;
    }
    if (BN_num_bits(bn) < RSA_BITS_MIN || !BN_is_odd(bn) || !BN_is_odd(be) || BN_is_one(be) ||
        BN_num_bits(be) > RSA_EXPONENT_BITS_MAX) {
        fault = JWK_WEAK;
        goto out;
    }
    if (OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) &&
        (out->key = key_from_params("RSA", bld)) != NULL)
        fault = JWK_GOOD;
out:
    out->kind = JWK_RSA;
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    return fault;
}

static const struct curve {
    const char *jwa, *group;
    size_t size; /* of a coordinate, in bytes: RFC 7518 6.2.1.2 wants the full length */
    enum jwk_kind kind;
} curves[] = {
    { "P-256", "P-256", 32, JWK_P256 },
    { "P-384", "P-384", 48, JWK_P384 },
    { "P-521", "P-521", 66, JWK_P521 },
};

static bool on_curve(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool good = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static enum jwk_fault read_ec(const cJSON *jwk, struct jwk *out)
{
    const char *crv = strict_string(jwk, "crv");
    const struct curve *c = NULL;
    struct number x, y;
    uint8_t point[1 + 2 * 66];

    for (size_t i = 0; crv != NULL && i < sizeof curves / sizeof curves[0]; i++)
        if (strcmp(crv, curves[i].jwa) == 0)
            c = &curves[i];
    if (c == NULL)
        return crv ? JWK_OTHER_TYPE : JWK_MALFORMED;
    out->kind = c->kind;
    if (!read_number(jwk, "x", &x) || !read_number(jwk, "y", &y) || x.n != c->size || y.n != c->size)
        return JWK_MALFORMED;
    point[0] = 4; /* uncompressed */
    memcpy(point + 1, x.b, c->size);
    memcpy(point + 1 + c->size, y.b, c->size);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bld != NULL && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, c->group, 0) &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * c->size))
        out->key = key_from_params("EC", bld);
    OSSL_PARAM_BLD_free(bld);
    return out->key != NULL && on_curve(out->key) ? JWK_GOOD : JWK_MALFORMED;
}

static enum jwk_fault read_okp(const cJSON *jwk, struct jwk *out)
{
    const char *crv = strict_string(jwk, "crv");
    struct number x;

    if (crv == NULL)
        return JWK_MALFORMED;
    if (strcmp(crv, "Ed25519") != 0)
        return JWK_OTHER_TYPE;
    out->kind = JWK_ED25519;
    if (!read_number(jwk, "x", &x) || x.n != 32)
        return JWK_MALFORMED;
    out->key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x.b, x.n);
    return out->key ? JWK_GOOD : JWK_MALFORMED;
}

/* `use` and `key_ops` (RFC 7517 4.2, 4.3): absent means anything, present must allow verifying. */
static bool may_verify(const cJSON *jwk)
{
    const cJSON *use = strict_member(jwk, "use"), *ops = strict_member(jwk, "key_ops"), *op;

    if (use != NULL && !(cJSON_IsString(use) && strcmp(use->valuestring, "sig") == 0))
        return false;
    if (ops == NULL)
        return true;
    if (!cJSON_IsArray(ops))
        return false;
    cJSON_ArrayForEach(op, ops) if (cJSON_IsString(op) && strcmp(op->valuestring, "verify") == 0) return true;
    return false;
}

static bool has_private_half(const cJSON *jwk)
{
    static const char *const names[] = { "d", "p", "q", "dp", "dq", "qi", "oth" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strict_member(jwk, names[i]) != NULL)
            return true;
    return false;
}

static char *key_to_pem(EVP_PKEY *key, size_t *size)
{
    char *pem = NULL, *at;
    BIO *bio = BIO_new(BIO_s_mem());

    if (bio != NULL && PEM_write_bio_PUBKEY(bio, key) == 1) {
        long n = BIO_get_mem_data(bio, &at);
        pem = n > 0 ? malloc((size_t)n + 1) : NULL;
        if (pem != NULL) {
            memcpy(pem, at, (size_t)n);
            pem[n] = '\0';
            *size = (size_t)n;
        }
    }
    BIO_free(bio);
    return pem;
}

static void jwk_clear(struct jwk *k)
{
    EVP_PKEY_free(k->key);
    free(k->pem);
    free(k->kid);
    *k = (struct jwk){ .alg = -1 };
}

static enum jwk_fault read_material(const cJSON *jwk, const char *kty, struct jwk *out)
{
    if (strcmp(kty, "RSA") == 0)
        return read_rsa(jwk, out);
    if (strcmp(kty, "EC") == 0)
        return read_ec(jwk, out);
    if (strcmp(kty, "OKP") == 0)
        return read_okp(jwk, out);
    return JWK_OTHER_TYPE;
}

static enum jwk_fault read_jwk(const cJSON *jwk, struct jwk *out)
{
    const cJSON *kid = strict_member(jwk, "kid"), *alg = strict_member(jwk, "alg");
    const char *kty = strict_string(jwk, "kty");

    *out = (struct jwk){ .alg = -1 };
    if (kty == NULL || (kid != NULL && (!cJSON_IsString(kid) || strlen(kid->valuestring) > KID_MAX)))
        return JWK_MALFORMED;
    if (strcmp(kty, "oct") == 0)
        return JWK_OTHER_TYPE;
    if (has_private_half(jwk))
        return JWK_PRIVATE;
    if (!may_verify(jwk))
        return JWK_OTHER_USE;
    if (alg != NULL && (!cJSON_IsString(alg) || (out->alg = jws_alg_from_name(alg->valuestring)) < 0))
        return JWK_OTHER_ALG;
    enum jwk_fault fault = read_material(jwk, kty, out);
    if (fault == JWK_GOOD && out->alg >= 0 && !jwk_kind_fits(out->kind, (enum jws_alg)out->alg))
        fault = JWK_OTHER_ALG;
    if (fault != JWK_GOOD)
        return fault;
    out->pem = key_to_pem(out->key, &out->pem_size);
    out->kid = kid ? strdup(kid->valuestring) : NULL;
    return out->pem != NULL && (kid == NULL || out->kid != NULL) ? JWK_GOOD : JWK_MALFORMED;
}

struct jwk_set *jwk_set_parse(struct slice text, char *why, size_t why_size)
{
    const char *fault;
    struct jwk_set *set = NULL;
    const cJSON *entry;

    cJSON *tree = strict_json_object(text, set_limits, &fault);
    if (tree == NULL) {
        snprintf(why, why_size, "the key set %s", fault);
        return NULL;
    }
    const cJSON *keys = strict_member(tree, "keys");
    int n = cJSON_GetArraySize(keys);
    if (!cJSON_IsArray(keys) || n > KEYS_MAX) {
        snprintf(why, why_size, cJSON_IsArray(keys) ? "the key set has more than %d keys" : "the key set has no array `keys`", KEYS_MAX);
        goto out;
    }
    set = calloc(1, sizeof *set + (size_t)n * sizeof set->keys[0]);
    if (set == NULL) {
        snprintf(why, why_size, "out of memory");
        goto out;
    }
    atomic_init(&set->refs, 1);
    EVP_Digest(text.p, text.n, set->digest, NULL, EVP_sha256(), NULL);
    cJSON_ArrayForEach(entry, keys)
    {
        struct jwk *k = &set->keys[set->count];
        enum jwk_fault f = cJSON_IsObject(entry) ? read_jwk(entry, k) : JWK_MALFORMED;
        set->left_out[f]++;
        if (f == JWK_GOOD)
            set->count++;
        else
            jwk_clear(k);
    }
    set->left_out[JWK_GOOD] = 0;
    ERR_clear_error(); /* refused keys leave theirs behind */
out:
    cJSON_Delete(tree);
    return set;
}

struct jwk_set *jwk_set_ref(struct jwk_set *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void jwk_set_unref(struct jwk_set *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->count; i++)
        jwk_clear(&s->keys[i]);
    free(s);
}
