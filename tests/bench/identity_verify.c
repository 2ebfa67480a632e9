/* What a verification costs: from the cache, and with each kind of key. Prints microseconds of one core per request. */
#include "../unit/identity/token_maker.h"
#include "base/clock.h"
#include "base/log.h"
#include "identity/identity.h"

#include <ev.h>
#include <unistd.h>

#define PAYLOAD "{\"iss\":\"https://issuer.test\",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800003600,\"groups\":[\"a\",\"b\"],\"n\":%d}"

static struct identity_store *store;

static double time_of(struct identity_verifier *v, char *const *tokens, int distinct, int rounds)
{
    struct arena *a = arena_new(65536);
    struct identity id;
    struct refusal no;
    int64_t from = clock_read_us(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < rounds; i++) {
        struct http_request rq = { .api_key = slice_cstr(tokens[i % distinct]) };
        arena_reset(a, 65536);
        if (identity_verify(v, &rq, INT64_C(1800000000000000), false, a, &id, &no) != IDENTITY_OK)
            abort();
    }
    arena_free(a);
    return (double)(clock_read_us(CLOCK_PROCESS_CPUTIME_ID) - from) / rounds;
}

static void measure(EVP_PKEY *key, const char *alg, const char *typ)
{
    enum { DISTINCT = 400 };
    char *tokens[DISTINCT], *header = make_text("{\"alg\":\"%s\",\"kid\":\"%.2s\"%s}", alg, alg, typ);
    for (int i = 0; i < DISTINCT; i++) {
        char *payload = make_text(PAYLOAD, i);
        tokens[i] = make_token(key, (struct make_how){ .alg = alg }, header, payload);
        free(payload);
    }
    struct identity_verifier *v = identity_verifier_new(store, NULL, NULL, NULL);
    double verified = time_of(v, tokens, DISTINCT, DISTINCT), cached = time_of(v, tokens, DISTINCT, 200000);
    printf("%-6s %-14s %4zu bytes: verified %7.1f us, cached %5.2f us\n", alg, typ[0] ? "typ at+jwt" : "", strlen(tokens[0]), verified, cached);
    identity_verifier_free(v);
    for (int i = 0; i < DISTINCT; i++)
        free(tokens[i]);
    free(header);
}

int main(void)
{
    static const char *audiences[] = { "tollgate" };
    char path[] = "/tmp/identity_bench.XXXXXX", why[256];
    EVP_PKEY *rsa = make_rsa(2048), *ec = make_ec("P-256"), *ed = make_ed25519();
    char *j1 = make_jwk(rsa, "RS", ""), *j2 = make_jwk(rsa, "PS", ""), *j3 = make_jwk(ec, "ES", ""), *j4 = make_jwk(ed, "Ed", "");
    char *set = make_text("{\"keys\":[%s,%s,%s,%s]}", j1, j2, j3, j4);
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    make_file(path, set, 0600);
    log_set_level(LOG_LEVEL_WARN);
    struct identity_issuer issuer = { .issuer = "https://issuer.test", .audiences = audiences, .audiences_count = 1, .jwks_file = path };
    struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
    struct ev_loop *loop = ev_loop_new(0);
    store = identity_store_new(&o, loop, NULL, NULL, why, sizeof why);
    unlink(path);
    if (store == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    measure(rsa, "RS256", "");
    measure(rsa, "RS256", ",\"typ\":\"at+jwt\"");
    measure(rsa, "PS256", "");
    measure(ec, "ES256", "");
    measure(ec, "ES256", ",\"typ\":\"at+jwt\"");
    measure(ed, "EdDSA", "");
    identity_store_retire(store);
    ev_loop_destroy(loop);
    free(j1), free(j2), free(j3), free(j4), free(set);
    EVP_PKEY_free(rsa), EVP_PKEY_free(ec), EVP_PKEY_free(ed);
    return 0;
}
