/* Keys: a JSON Web Key Set (RFC 7517) as an immutable, counted snapshot.
 *
 * Only public keys that may verify signatures are kept; what is left out is counted with the reason, never guessed around. Each
 * key is pinned to a kind, and a kind to the algorithms it may be used with (RFC 8725 3.1): a token's `alg` never chooses what a
 * key is. Snapshots are made on the control thread and read by any. */
#ifndef TOLLGATE_IDENTITY_JWK_H
#define TOLLGATE_IDENTITY_JWK_H

#include "base/slice.h"

#include <openssl/types.h>
#include <stdatomic.h>
#include <stdint.h>

enum jws_alg {
    JWS_RS256, JWS_RS384, JWS_RS512, JWS_PS256, JWS_PS384, JWS_PS512, JWS_ES256, JWS_ES384, JWS_ES512, JWS_EDDSA,
    JWS_ALG_COUNT
};

/* -1 for every other name; names are case-sensitive (RFC 7515 4.1.1). */
int jws_alg_from_name(const char *name);
const char *jws_alg_name(enum jws_alg alg);

enum jwk_kind { JWK_RSA, JWK_P256, JWK_P384, JWK_P521, JWK_ED25519 };

enum jwk_fault {
    JWK_GOOD,
    JWK_OTHER_TYPE,  /* oct, X25519, secp256k1, unknown kty: not for us */
    JWK_OTHER_USE,   /* use is not sig, or key_ops lacks verify */
    JWK_OTHER_ALG,   /* alg names something that is not accepted, or does not fit the key */
    JWK_PRIVATE,     /* holds its private half: whoever published it lost it */
    JWK_WEAK,        /* RSA below 2048 bits or a bad exponent */
    JWK_TOO_LARGE,   /* RSA above 8192 bits */
    JWK_MALFORMED,   /* missing or wrongly encoded numbers, a point that is not on the curve */
    JWK_FAULTS
};

struct jwk {
    char *kid;        /* NULL: none */
    enum jwk_kind kind;
    int alg;          /* enum jws_alg the set pins it to, or -1 */
    EVP_PKEY *key;
    char *pem;        /* the same key as PEM, for libjwt */
    size_t pem_size;
};

struct jwk_set {
    uint64_t generation; /* set by the store */
    uint8_t digest[32];  /* SHA-256 of the text it came from */
    size_t count;
    size_t left_out[JWK_FAULTS];
    atomic_uint refs;
    struct jwk keys[];
};

/* Parses a key set. NULL with a reason in `why` when the text is not one: not JSON, no `keys` array, more than 128 keys, out of memory.
 * A set without a usable key is a valid set: the issuer has none. One reference belongs to the caller. */
struct jwk_set *jwk_set_parse(struct slice text, char *why, size_t why_size) __attribute__((warn_unused_result));
struct jwk_set *jwk_set_ref(struct jwk_set *s);
/* Any thread; the last one frees. NULL is allowed. */
void jwk_set_unref(struct jwk_set *s);

/* True when a key of this kind may verify this algorithm. */
bool jwk_kind_fits(enum jwk_kind kind, enum jws_alg alg);
/* "RSA", "EC P-256", ... */
const char *jwk_kind_name(enum jwk_kind kind);
/* For log lines: "symmetric or unknown type", ... */
const char *jwk_fault_name(enum jwk_fault f);

#endif
