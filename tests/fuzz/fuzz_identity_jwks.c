/* A key set as an issuer, or whoever took its place, might send it. Whatever is kept must be a key that can be used. */
#include "identity/jwk.h"

#include <openssl/evp.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[160] = "";
    struct jwk_set *s = jwk_set_parse(slice_make((const char *)data, size), why, sizeof why);

    if (s == NULL) {
        if (why[0] == '\0')
            abort();
        return 0;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct jwk *k = &s->keys[i];
        if (k->key == NULL || k->pem == NULL || strlen(k->pem) != k->pem_size)
            abort();
        if (k->kind == JWK_RSA && EVP_PKEY_get_bits(k->key) < 2048)
            abort();
        if (k->alg >= 0 && !jwk_kind_fits(k->kind, (enum jws_alg)k->alg))
            abort();
    }
    jwk_set_unref(s);
    return 0;
}
