/* A token as a client might send it, against an issuer with an Ed25519, an EC and an RSA key. No input may be accepted: nobody here
 * knows the private keys. Inputs starting with '{' are header "\n" payload in clear, encoded here, so that the JSON is reached easily. */
#include "identity/identity.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char jwks[] =
    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"ed\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"es\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","
    "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"},"
    "{\"kty\":\"RSA\",\"kid\":\"rs\",\"e\":\"AQAB\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6"
    "tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ"
    "HzuqMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw\"}]}";

static struct identity_verifier *verifier_new(void)
{
    static const char *audiences[] = { "tollgate" };
    char path[] = "/tmp/fuzz_identity.XXXXXX", why[256];
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, jwks, sizeof jwks - 1) != (ssize_t)sizeof jwks - 1)
        abort();
    close(fd);
    struct identity_issuer issuer = { .issuer = "https://issuer.test", .audiences = audiences, .audiences_count = 1, .jwks_file = path };
    struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
    struct identity_store *s = identity_store_new(&o, ev_default_loop(0), NULL, NULL, why, sizeof why);
    unlink(path);
    if (s == NULL)
        abort();
    return identity_verifier_new(s, NULL, NULL, NULL);
}

static size_t encode(const uint8_t *p, size_t n, char *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t k = 0;
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++)
        for (acc = acc << 8 | p[i], bits += 8; bits >= 6; bits -= 6)
            out[k++] = alphabet[acc >> (bits - 6) & 63];
    if (bits > 0)
        out[k++] = alphabet[acc << (6 - bits) & 63];
    return k;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct identity_verifier *v;
    char *header = malloc(size * 2 + 200);
    size_t n = (size_t)sprintf(header, "Bearer ");
    const uint8_t *split = size > 0 && data[0] == '{' ? memchr(data, '\n', size) : NULL;
    struct arena *a = arena_new(4096);
    struct identity id;
    struct refusal no = { 0 };

    if (v == NULL)
        v = verifier_new();
    if (split != NULL) {
        n += encode(data, (size_t)(split - data), header + n);
        header[n++] = '.';
        n += encode(split + 1, size - (size_t)(split - data) - 1, header + n);
        header[n++] = '.';
        memset(header + n, 'A', 86); /* 64 bytes: a signature's length for Ed25519 and ES256 */
        n += 86;
    } else if (size > 0) {
        memcpy(header + n, data, size);
        n += size;
    }
    char *exact = malloc(n); /* so that a read past the end is seen */
    memcpy(exact, header, n);
    struct http_request rq = { .authorization = slice_make(exact, n) };
    if (identity_verify(v, &rq, INT64_C(1800000000000000), false, a, &id, &no) != IDENTITY_REFUSED)
        abort();
    if (no.message.n == 0 || no.reason == NULL || (no.status != 401 && no.status != 403))
        abort();
    free(exact);
    free(header);
    arena_free(a);
    return 0;
}
