/* Tokens, good and hostile, against three issuers whose keys come from files. Every hostile token must be refused for its stated
 * reason: one that is refused for another would pass once that other fault is gone. */
#include "identity/identity.h"
#include "token_maker.h"

#include <setjmp.h>
#include <stddef.h>
#include <ev.h>
#include <cmocka.h>
#include <unistd.h>

#define NOW_S 1800000000
#define NOW_US (INT64_C(1000000) * NOW_S)
#define ISS "\"iss\":\"https://issuer.test\""
#define REST "\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800003600"
#define GOOD "{" ISS "," REST "}"
#define RS "{\"alg\":\"RS256\",\"kid\":\"rs\"}"
#define ES "{\"alg\":\"ES256\",\"kid\":\"es256\"}"
#define NARROW_HEADER "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"at+jwt\"}"
#define NARROW(rest) "{\"iss\":\"https://narrow.test\",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800003600" rest "}"
#define NARROW_GOOD ",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":[\"x\",\"llm\"]}"

enum { RSA_A, RSA_B, RSA_PINNED, RSA_ENC, RSA_WEAK, RSA_PRIVATE, RSA_ENCRYPT, RSA_STRANGER, EC_256, EC_384, EC_521, EC_256_B, ED, KEYS };

struct world {
    EVP_PKEY *key[KEYS];
    char dir[64];
    struct ev_loop *loop;
    struct identity_store *store;
    struct identity_verifier *verifier;
    struct arena *arena;
};

static void write_keys(struct world *w, const char *name, const char *const *jwks, size_t n)
{
    char path[128], *all = make_text("{\"keys\":[%s", jwks[0]);
    for (size_t i = 1; i < n; i++) {
        char *more = make_text("%s,%s", all, jwks[i]);
        free(all);
        all = more;
    }
    char *whole = make_text("%s]}", all);
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    make_file(path, whole, 0644);
    free(all);
    free(whole);
}

static void make_key_files(struct world *w)
{
    EVP_PKEY **k = w->key;
    char *a[] = {
        make_jwk(k[RSA_A], "rs", ",\"use\":\"sig\""), make_jwk(k[RSA_PINNED], "pinned", ",\"alg\":\"RS256\""),
        make_jwk(k[RSA_ENC], "enc", ",\"use\":\"enc\""), make_jwk(k[RSA_WEAK], "weak", ""),
        make_jwk(k[RSA_PRIVATE], "private", ",\"d\":\"AQAB\""), make_jwk(k[RSA_ENCRYPT], "encrypt", ",\"key_ops\":[\"encrypt\"]"),
        make_jwk(k[EC_256], "es256", ",\"key_ops\":[\"verify\"]"), make_jwk(k[EC_384], "es384", ""), make_jwk(k[EC_521], "es512", ""),
        make_jwk(k[ED], "ed", ""), make_text("{\"kty\":\"oct\",\"kid\":\"oct\",\"k\":\"c2VjcmV0\",\"alg\":\"HS256\"}"),
    };
    char *b[] = { make_jwk(k[RSA_B], "rs", ""), make_jwk(k[EC_256_B], "b-only", "") };
    write_keys(w, "a.json", (const char *const *)a, sizeof a / sizeof a[0]);
    write_keys(w, "b.json", (const char *const *)b, sizeof b / sizeof b[0]);
    for (size_t i = 0; i < sizeof a / sizeof a[0]; i++)
        free(a[i]);
    for (size_t i = 0; i < sizeof b / sizeof b[0]; i++)
        free(b[i]);
}

static int set_up(void **state)
{
    static const char *audiences[] = { "tollgate", "https://gateway.test" }, *rs256[] = { "RS256" }, *parties[] = { "app-1" },
                      *tenants[] = { "acme" }, *roles[] = { "llm" };
    static struct identity_required required[] = { { "tenant", tenants, 1 }, { "realm.roles", roles, 1 } };
    struct world *w = calloc(1, sizeof *w);
    char a[128], b[128], why[256];

    for (int i = RSA_A; i <= RSA_STRANGER; i++)
        w->key[i] = make_rsa(i == RSA_WEAK ? 1024 : 2048);
    w->key[EC_256] = make_ec("P-256");
    w->key[EC_256_B] = make_ec("P-256");
    w->key[EC_384] = make_ec("P-384");
    w->key[EC_521] = make_ec("P-521");
    w->key[ED] = make_ed25519();
    snprintf(w->dir, sizeof w->dir, "/tmp/identity_token.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    make_key_files(w);
    snprintf(a, sizeof a, "%s/a.json", w->dir);
    snprintf(b, sizeof b, "%s/b.json", w->dir);
    struct identity_issuer issuers[] = {
        { .issuer = "https://issuer.test", .audiences = audiences, .audiences_count = 2, .jwks_file = a },
        { .issuer = "https://other.test", .audiences = audiences, .audiences_count = 2, .jwks_file = b },
        { .issuer = "https://narrow.test", .audiences = audiences, .audiences_count = 2, .jwks_file = a, .algorithms = rs256,
          .algorithms_count = 1, .access_tokens_only = true, .authorized_parties = parties, .authorized_parties_count = 1,
          .required = required, .required_count = 2, .max_age_s = 600, .leeway_s = -1 },
    };
    struct identity_options o = { .issuers = issuers, .issuers_count = 3 };
    w->loop = ev_loop_new(0);
    w->store = identity_store_new(&o, w->loop, NULL, NULL, why, sizeof why);
    if (w->store == NULL)
        fail_msg("%s", why);
    w->verifier = identity_verifier_new(w->store, NULL, NULL, NULL);
    w->arena = arena_new(65536);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char cmd[128];
    identity_verifier_free(w->verifier);
    identity_store_retire(w->store);
    ev_loop_destroy(w->loop);
    arena_free(w->arena);
    for (int i = 0; i < KEYS; i++)
        EVP_PKEY_free(w->key[i]);
    snprintf(cmd, sizeof cmd, "rm -r %s", w->dir);
    assert_int_equal(system(cmd), 0);
    free(w);
    return 0;
}

static enum identity_result verify_at(struct world *w, const char *token, int64_t now_us, struct identity *out, struct refusal *no)
{
    char *header = make_text("Bearer %s", token);
    struct http_request rq = { .authorization = slice_cstr(header) };
    arena_reset(w->arena, 65536);
    enum identity_result r = identity_verify(w->verifier, &rq, now_us, false, w->arena, out, no);
    free(header);
    return r;
}

/* ---- accepted --------------------------------------------------------------------------------------------------------- */

static const struct good {
    const char *header, *payload, *alg;
    int key;
} goods[] = {
    { RS, GOOD, "RS256", RSA_A },
    { "{\"alg\":\"RS384\",\"kid\":\"rs\",\"typ\":\"JWT\"}", GOOD, "RS384", RSA_A },
    { "{\"alg\":\"RS512\",\"kid\":\"rs\",\"typ\":\"jwt\"}", GOOD, "RS512", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"at+jwt\"}", GOOD, "RS256", RSA_A },
    { "{\"alg\":\"RS512\",\"kid\":\"rs\",\"typ\":\"application/AT+JWT\"}", GOOD, "RS512", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"application/jwt\"}", GOOD, "RS256", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"pinned\"}", GOOD, "RS256", RSA_PINNED },
    { "{\"alg\":\"PS256\",\"kid\":\"rs\"}", GOOD, "PS256", RSA_A },
    { "{\"alg\":\"PS384\",\"kid\":\"rs\"}", GOOD, "PS384", RSA_A },
    { "{\"alg\":\"PS512\",\"kid\":\"rs\"}", GOOD, "PS512", RSA_A },
    { ES, GOOD, "ES256", EC_256 },
    { "{\"alg\":\"ES384\",\"kid\":\"es384\"}", GOOD, "ES384", EC_384 },
    { "{\"alg\":\"ES512\",\"kid\":\"es512\"}", GOOD, "ES512", EC_521 },
    { "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"at+jwt\"}", GOOD, "ES256", EC_256 },
    { "{\"alg\":\"ES384\",\"kid\":\"es384\",\"typ\":\"at+jwt\"}", GOOD, "ES384", EC_384 },
    { "{\"alg\":\"ES512\",\"kid\":\"es512\",\"typ\":\"at+jwt\"}", GOOD, "ES512", EC_521 },
    { "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", GOOD, "EdDSA", ED },
    /* no kid: whichever key fits */
    { "{\"alg\":\"ES256\"}", GOOD, "ES256", EC_256 },
    { "{\"alg\":\"RS256\"}", GOOD, "RS256", RSA_PINNED },
    /* hints about keys in the header are ignored, not followed */
    { "{\"alg\":\"RS256\",\"kid\":\"rs\",\"jku\":\"https://evil.test/\",\"x5u\":\"https://evil.test/\",\"x5c\":[\"AA\"]}", GOOD, "RS256", RSA_A },
    { " { \"kid\" : \"rs\" , \"alg\" : \"RS256\" } ", GOOD, "RS256", RSA_A },
    /* aud as a list, the other audience */
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[\"x\",\"https://gateway.test\"],\"exp\":1800003600}", "RS256", RSA_A },
    /* times: a fraction is rounded down, leeway on both sides */
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800000000.5}", "RS256", RSA_A },
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1799999941}", "RS256", RSA_A },
    { RS, "{" ISS "," REST ",\"nbf\":1800000060,\"iat\":1800000060}", "RS256", RSA_A },
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1.8000036e9}", "RS256", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"rs\"}", "{\"iss\":\"https://other.test\"," REST "}", "RS256", RSA_B },
    { NARROW_HEADER, NARROW(NARROW_GOOD), "RS256", RSA_A },
    { NARROW_HEADER, NARROW(",\"iat\":1799999990,\"client_id\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":\"llm\"}"), "RS256", RSA_A },
};

static void test_good_tokens(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < sizeof goods / sizeof goods[0]; i++) {
        const struct good *g = &goods[i];
        struct identity id;
        struct refusal no;
        char *token = make_token(w->key[g->key], (struct make_how){ .alg = g->alg }, g->header, g->payload);
        for (int again = 0; again < 2; again++) { /* verified, then from the cache */
            if (verify_at(w, token, NOW_US, &id, &no) != IDENTITY_OK)
                fail_msg("row %zu refused: %.*s", i, SLICE_FMT(no.message));
            assert_true(slice_eq_cstr(id.subject, "alice"));
            assert_true(id.expires_s > NOW_S - 61);
        }
        free(token);
    }
}

/* ---- refused ---------------------------------------------------------------------------------------------------------- */

enum twist {
    AS_IS, DER, HS_PEM, HS_PEM_NO_NEWLINE, HS_DER, HS_MODULUS, HS_JWK_SECRET, NO_SIGNATURE, TWO_PARTS, FOUR_PARTS, FIVE_PARTS, PADDED,
    NOT_CANONICAL, BLANK_INSIDE, NEWLINE_INSIDE, OTHER_ALPHABET, FLIP_SIGNATURE, OTHER_PAYLOAD, ZERO_SIGNATURE, SHORT_SIGNATURE,
    LONG_SIGNATURE, SWAPPED_RS, EMPTY_PAYLOAD, EMPTY_HEADER, TOO_LONG, ONE_WORD, SHORT_SALT, PREFIX_DOT
};

#define DEEP "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]"

static const struct bad {
    const char *name, *header, *payload, *alg;
    int key;
    enum twist twist;
    const char *reason, *says;
} bads[] = {
    /* no signature, shared secrets */
    { "alg none", "{\"alg\":\"none\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg None", "{\"alg\":\"None\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg NONE", "{\"alg\":\"NONE\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg nOnE, escaped", "{\"alg\":\"\\u006eOn\\u0045\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg none with a signature", "{\"alg\":\"none\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "unsigned" },
    { "alg missing", "{\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg null", "{\"alg\":null,\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg number", "{\"alg\":256,\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg list", "{\"alg\":[\"RS256\"],\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg empty", "{\"alg\":\"\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "not one of" },
    { "alg in lower case", "{\"alg\":\"rs256\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "not one of" },
    { "alg with a blank", "{\"alg\":\"RS256 \",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "not one of" },
    { "ES256K", "{\"alg\":\"ES256K\",\"kid\":\"es256\"}", GOOD, "ES256", EC_256, AS_IS, "token_algorithm", "not one of" },
    { "HS256 signed with the public key as PEM", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_PEM, "token_algorithm", "shared secret" },
    { "the same without its last newline", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_PEM_NO_NEWLINE, "token_algorithm", "shared secret" },
    { "HS256 signed with the public key as DER", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_DER, "token_algorithm", "shared secret" },
    { "HS256 signed with the modulus", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_MODULUS, "token_algorithm", "shared secret" },
    { "HS256 signed with the published oct key", "{\"alg\":\"HS256\",\"kid\":\"oct\"}", GOOD, "", RSA_A, HS_JWK_SECRET, "token_algorithm", "shared secret" },
    { "hs256 in lower case", "{\"alg\":\"hs256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_PEM, "token_algorithm", "shared secret" },
    { "RS256 announced, HMAC with the PEM", RS, GOOD, "", RSA_A, HS_PEM, "token_signature", "signature is wrong" },
    /* algorithm and key do not belong together */
    { "RS256 with an EC kid", "{\"alg\":\"RS256\",\"kid\":\"es256\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "does not fit the key" },
    { "ES256 with an RSA kid", "{\"alg\":\"ES256\",\"kid\":\"rs\"}", GOOD, "ES256", EC_256, AS_IS, "token_algorithm", "does not fit the key" },
    { "ES256 with a P-384 kid", "{\"alg\":\"ES256\",\"kid\":\"es384\"}", GOOD, "ES256", EC_384, AS_IS, "token_algorithm", "does not fit the key" },
    { "ES512 with a P-256 kid", "{\"alg\":\"ES512\",\"kid\":\"es256\"}", GOOD, "ES512", EC_256, AS_IS, "token_algorithm", "does not fit the key" },
    { "EdDSA with a P-256 kid", "{\"alg\":\"EdDSA\",\"kid\":\"es256\"}", GOOD, "EdDSA", ED, AS_IS, "token_algorithm", "does not fit the key" },
    { "PS256 with a key pinned to RS256", "{\"alg\":\"PS256\",\"kid\":\"pinned\"}", GOOD, "PS256", RSA_PINNED, AS_IS, "token_algorithm", "does not fit the key" },
    { "RS384 with a key pinned to RS256", "{\"alg\":\"RS384\",\"kid\":\"pinned\"}", GOOD, "RS384", RSA_PINNED, AS_IS, "token_algorithm", "does not fit the key" },
    { "RS256 announced, PSS used", RS, GOOD, "PS256", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "PS256 announced, PKCS#1 used", "{\"alg\":\"PS256\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "RS256 announced, RS512 used", RS, GOOD, "RS512", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "PSS with a short salt", "{\"alg\":\"PS256\",\"kid\":\"rs\"}", GOOD, "PS256", RSA_A, SHORT_SALT, "token_signature", "signature is wrong" },
    { "an algorithm outside the issuer's list", "{\"alg\":\"RS512\",\"kid\":\"rs\",\"typ\":\"at+jwt\"}", NARROW(NARROW_GOOD), "RS512", RSA_A, AS_IS, "token_algorithm", "from this issuer" },
    /* keys */
    { "unknown kid", "{\"alg\":\"RS256\",\"kid\":\"nope\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "empty kid", "{\"alg\":\"RS256\",\"kid\":\"\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "kid in another case", "{\"alg\":\"RS256\",\"kid\":\"RS\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "kid as a path", "{\"alg\":\"RS256\",\"kid\":\"../../../dev/null\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "kid as a number", "{\"alg\":\"RS256\",\"kid\":1}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "kid" },
    { "kid null", "{\"alg\":\"RS256\",\"kid\":null}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "kid" },
    { "a stranger's key under a known kid", RS, GOOD, "RS256", RSA_STRANGER, AS_IS, "token_signature", "signature is wrong" },
    { "a stranger's key, carried in the header", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"jwk\":{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}}", GOOD, "RS256", RSA_STRANGER, AS_IS, "token_signature", "signature is wrong" },
    { "a stranger's key without kid", "{\"alg\":\"RS256\"}", GOOD, "RS256", RSA_STRANGER, AS_IS, "token_signature", "names no key" },
    { "the other issuer's key under the same kid", RS, GOOD, "RS256", RSA_B, AS_IS, "token_signature", "signature is wrong" },
    { "our key under the same kid, the other issuer's name", RS, "{\"iss\":\"https://other.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "a kid only the other issuer has", "{\"alg\":\"ES256\",\"kid\":\"b-only\"}", GOOD, "ES256", EC_256_B, AS_IS, "token_key", "not among" },
    { "the other issuer's key without kid", "{\"alg\":\"ES256\"}", GOOD, "ES256", EC_256_B, AS_IS, "token_signature", "names no key" },
    { "a key for encryption (use)", "{\"alg\":\"RS256\",\"kid\":\"enc\"}", GOOD, "RS256", RSA_ENC, AS_IS, "token_key", "not among" },
    { "a key for encryption (key_ops)", "{\"alg\":\"RS256\",\"kid\":\"encrypt\"}", GOOD, "RS256", RSA_ENCRYPT, AS_IS, "token_key", "not among" },
    { "an RSA key of 1024 bits", "{\"alg\":\"RS256\",\"kid\":\"weak\"}", GOOD, "RS256", RSA_WEAK, AS_IS, "token_key", "not among" },
    { "a key published with its private half", "{\"alg\":\"RS256\",\"kid\":\"private\"}", GOOD, "RS256", RSA_PRIVATE, AS_IS, "token_key", "not among" },
    { "the oct key's kid with RS256", "{\"alg\":\"RS256\",\"kid\":\"oct\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    /* signatures */
    { "no signature", RS, GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_signature", "no signature" },
    { "one bit of the signature", RS, GOOD, "RS256", RSA_A, FLIP_SIGNATURE, "token_signature", "signature is wrong" },
    { "signature of another payload", RS, GOOD, "RS256", RSA_A, OTHER_PAYLOAD, "token_signature", "signature is wrong" },
    { "RSA signature of zeros", RS, GOOD, "RS256", RSA_A, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    { "RSA signature cut short", RS, GOOD, "RS256", RSA_A, SHORT_SIGNATURE, "token_signature", "signature is wrong" },
    { "RSA signature with bytes behind", RS, GOOD, "RS256", RSA_A, LONG_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 in DER", ES, GOOD, "ES256", EC_256, DER, "token_signature", "signature is wrong" },
    { "ES256 r = s = 0", ES, GOOD, "ES256", EC_256, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 r = s = 0, at+jwt", "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"at+jwt\"}", GOOD, "ES256", EC_256, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 in DER, at+jwt", "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"at+jwt\"}", GOOD, "ES256", EC_256, DER, "token_signature", "signature is wrong" },
    { "ES256 cut short", ES, GOOD, "ES256", EC_256, SHORT_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 with a byte behind", ES, GOOD, "ES256", EC_256, LONG_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 with r and s exchanged", ES, GOOD, "ES256", EC_256, SWAPPED_RS, "token_signature", "signature is wrong" },
    { "Ed25519 cut short", "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", GOOD, "EdDSA", ED, SHORT_SIGNATURE, "token_signature", "signature is wrong" },
    { "Ed25519 of zeros", "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", GOOD, "EdDSA", ED, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    /* shape */
    { "an API key", RS, GOOD, "RS256", RSA_A, ONE_WORD, "token_malformed", "three parts" },
    { "two parts", RS, GOOD, "RS256", RSA_A, TWO_PARTS, "token_malformed", "three parts" },
    { "four parts", RS, GOOD, "RS256", RSA_A, FOUR_PARTS, "token_malformed", "three parts" },
    { "five parts (JWE)", RS, GOOD, "RS256", RSA_A, FIVE_PARTS, "token_malformed", "three parts" },
    { "a dot in front", RS, GOOD, "RS256", RSA_A, PREFIX_DOT, "token_malformed", "three parts" },
    { "empty header", RS, GOOD, "RS256", RSA_A, EMPTY_HEADER, "token_malformed", "header is empty" },
    { "empty payload", RS, GOOD, "RS256", RSA_A, EMPTY_PAYLOAD, "token_malformed", "payload is empty" },
    { "padding", RS, GOOD, "RS256", RSA_A, PADDED, "token_malformed", "base64url" },
    { "bits set behind the last byte", RS, GOOD, "RS256", RSA_A, NOT_CANONICAL, "token_malformed", "base64url" },
    { "a blank inside", RS, GOOD, "RS256", RSA_A, BLANK_INSIDE, "token_malformed", "base64url" },
    { "a newline inside", RS, GOOD, "RS256", RSA_A, NEWLINE_INSIDE, "token_malformed", "base64url" },
    { "plain base64 alphabet", RS, GOOD, "RS256", RSA_A, OTHER_ALPHABET, "token_malformed", "base64url" },
    { "16 KiB and one byte", RS, GOOD, "RS256", RSA_A, TOO_LONG, "token_malformed", "larger than 16384" },
    { "header is a list", "[\"RS256\"]", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "header is not a JSON object" },
    { "header names alg twice", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"alg\":\"none\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "header names alg twice, once escaped", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"\\u0061lg\":\"none\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "header with text behind", "{\"alg\":\"RS256\",\"kid\":\"rs\"}x", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "header" },
    { "header with a comment", "{\"alg\":\"RS256\",/* */\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "not JSON" },
    { "payload is a string", RS, "\"alice\"", "RS256", RSA_A, AS_IS, "token_malformed", "payload is not a JSON object" },
    { "payload names sub twice", RS, "{" ISS "," REST ",\"sub\":\"root\"}", "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "payload names exp twice", RS, "{" ISS "," REST ",\"exp\":1900000000}", "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "payload names a nested claim twice", RS, "{" ISS "," REST ",\"a\":{\"r\":1,\"r\":2}}", "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "payload too deep", RS, "{" ISS "," REST ",\"a\":" DEEP "}", "RS256", RSA_A, AS_IS, "token_malformed", "nested too deeply" },
    { "payload with an escaped NUL", RS, "{" ISS ",\"sub\":\"alice\\u0000\",\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "NUL" },
    { "payload with half a surrogate pair", RS, "{" ISS "," REST ",\"n\":\"\\ud800\"}", "RS256", RSA_A, AS_IS, "token_malformed", "surrogate" },
    { "payload not UTF-8", RS, "{" ISS "," REST ",\"n\":\"\xc0\xaf\"}", "RS256", RSA_A, AS_IS, "token_malformed", "UTF-8" },
    { "payload with a trailing comma", RS, "{" ISS "," REST ",}", "RS256", RSA_A, AS_IS, "token_malformed", "not JSON" },
    { "payload with single quotes", RS, "{'iss':'https://issuer.test'}", "RS256", RSA_A, AS_IS, "token_malformed", "not JSON" },
    /* header parameters */
    { "crit", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"crit\":[\"exp\"],\"exp\":1}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "crit" },
    { "crit empty", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"crit\":[]}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "crit" },
    { "b64 false with crit", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"b64\":false,\"crit\":[\"b64\"]}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "crit" },
    { "b64 false without crit", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"b64\":false}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "b64" },
    { "nested token", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"cty\":\"JWT\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "nested" },
    { "nested token, lower case", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"cty\":\"jwt\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "nested" },
    { "enc", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"enc\":\"A128GCM\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "encrypted" },
    { "typ logout+jwt", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"logout+jwt\"}", GOOD, "RS256", RSA_A, AS_IS, "token_type", "logout token" },
    { "a logout token without its typ", RS, "{" ISS "," REST ",\"events\":{\"http://schemas.openid.net/event/backchannel-logout\":{}}}", "RS256", RSA_A, AS_IS, "token_type", "logout token" },
    { "typ dpop+jwt", "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"dpop+jwt\"}", GOOD, "ES256", EC_256, AS_IS, "token_type", "typ" },
    { "typ not a string", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":[\"JWT\"]}", GOOD, "RS256", RSA_A, AS_IS, "token_type", "typ" },
    { "typ JWT where only access tokens go", RS, NARROW(NARROW_GOOD), "RS256", RSA_A, AS_IS, "token_type", "at+jwt" },
    /* iss */
    { "iss missing", RS, "{" REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss as a list", RS, "{\"iss\":[\"https://issuer.test\"]," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss with a slash behind", RS, "{\"iss\":\"https://issuer.test/\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss as a prefix of a host", RS, "{\"iss\":\"https://issuer.test.evil\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss with a user part", RS, "{\"iss\":\"https://issuer.test@evil.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss in upper case", RS, "{\"iss\":\"HTTPS://ISSUER.TEST\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss over http", RS, "{\"iss\":\"http://issuer.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "ISS", RS, "{\"ISS\":\"https://issuer.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    /* exp, nbf, iat */
    { "exp missing", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\"}", "RS256", RSA_A, AS_IS, "token_claim", "exp" },
    { "exp as a string", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":\"1800003600\"}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp null", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":null}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp true", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":true}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp negative", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":-1}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp beyond the year 9999", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":99999999999999}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp beyond 64 bits", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1e300}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp infinite", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1e999}", "RS256", RSA_A, AS_IS, "token_malformed", "range" },
    { "exp in milliseconds", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800003600000}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "expired", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1799990000}", "RS256", RSA_A, AS_IS, "token_expired", "2027-01-15T05:13:20Z" },
    { "expired by just the leeway", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1799999940}", "RS256", RSA_A, AS_IS, "token_expired", "60 seconds ago" },
    { "nbf in the future", RS, "{" ISS "," REST ",\"nbf\":1800000061}", "RS256", RSA_A, AS_IS, "token_not_yet_valid", "nbf" },
    { "nbf as a string", RS, "{" ISS "," REST ",\"nbf\":\"0\"}", "RS256", RSA_A, AS_IS, "token_malformed", "nbf" },
    { "iat in the future", RS, "{" ISS "," REST ",\"iat\":1800000061}", "RS256", RSA_A, AS_IS, "token_not_yet_valid", "iat" },
    { "issued too long ago", NARROW_HEADER, NARROW(",\"iat\":1799999400,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":[\"llm\"]}"), "RS256", RSA_A, AS_IS, "token_too_old", "600 seconds" },
    { "iat missing where an age is set", NARROW_HEADER, NARROW(",\"azp\":\"app-1\",\"tenant\":\"acme\""), "RS256", RSA_A, AS_IS, "token_claim", "iat" },
    /* aud, azp, required claims, sub */
    { "aud missing", RS, "{" ISS ",\"sub\":\"alice\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "no audience" },
    { "aud of another service", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"wiki\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "\"tollgate\" or \"https://gateway.test\"" },
    { "aud as a prefix", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate2\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "aud empty list", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "aud empty string", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "bound by mutual TLS", RS, "{" ISS "," REST ",\"cnf\":{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2\"}}", "RS256", RSA_A, AS_IS, "token_bound", "bound to a key" },
    { "bound twice", RS, "{" ISS "," REST ",\"cnf\":{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2\",\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\"}}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound to half a digest", RS, "{" ISS "," REST ",\"cnf\":{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lEQ\"}}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound to nothing", RS, "{" ISS "," REST ",\"cnf\":{}}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound to a text", RS, "{" ISS "," REST ",\"cnf\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2\"}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound by DPoP", RS, "{" ISS "," REST ",\"cnf\":{\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\"}}", "RS256", RSA_A, AS_IS, "token_bound", "bound to a key" },
    { "aud list of others", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[\"a\",\"TOLLGATE\"],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "aud number", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":1,\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "aud object", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":{\"tollgate\":1},\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "aud list with a number", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[\"tollgate\",1],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "aud list within a list", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[[\"tollgate\"]],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "azp not a string", RS, "{" ISS "," REST ",\"azp\":[\"app-1\"]}", "RS256", RSA_A, AS_IS, "token_malformed", "azp" },
    { "azp of another client", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-2\",\"client_id\":\"app-1\""), "RS256", RSA_A, AS_IS, "token_party", "client" },
    { "azp and client_id missing", NARROW_HEADER, NARROW(",\"iat\":1799999990"), "RS256", RSA_A, AS_IS, "token_party", "client" },
    { "required claim missing", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\""), "RS256", RSA_A, AS_IS, "token_claim", "\"tenant\"" },
    { "required claim null", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":null"), "RS256", RSA_A, AS_IS, "token_claim", "lacks the claim \"tenant\"" },
    { "required claim of another value", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"evil\""), "RS256", RSA_A, AS_IS, "token_claim", "\"tenant\" does not have" },
    { "required role missing", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":[\"x\"]}"), "RS256", RSA_A, AS_IS, "token_claim", "\"realm.roles\"" },
    { "required role as a member's name", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":{\"llm\":1}}"), "RS256", RSA_A, AS_IS, "token_claim", "\"realm.roles\"" },
    { "sub missing", RS, "{" ISS ",\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_claim", "sub" },
    { "sub empty", RS, "{" ISS ",\"sub\":\"\",\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_claim", "sub" },
    { "sub an object", RS, "{" ISS ",\"sub\":{\"a\":1},\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_claim", "sub" },
};

static char *hmac_token(struct world *w, const struct bad *b)
{
    char *pem = make_public_pem(w->key[b->key]), *token;
    unsigned char *der = NULL, modulus[256];
    size_t n = strlen(pem);
    int der_size = i2d_PUBKEY(w->key[b->key], &der);
    BIGNUM *bn = NULL;

    MAKE(EVP_PKEY_get_bn_param(w->key[b->key], OSSL_PKEY_PARAM_RSA_N, &bn) == 1 && BN_bn2binpad(bn, modulus, 256) == 256);
    if (b->twist == HS_DER)
        token = make_hs256(der, (size_t)der_size, b->header, b->payload);
    else if (b->twist == HS_MODULUS)
        token = make_hs256(modulus, sizeof modulus, b->header, b->payload);
    else if (b->twist == HS_JWK_SECRET)
        token = make_hs256("secret", 6, b->header, b->payload);
    else
        token = make_hs256(pem, b->twist == HS_PEM_NO_NEWLINE ? n - 1 : n, b->header, b->payload);
    free(pem);
    OPENSSL_free(der);
    BN_free(bn);
    return token;
}

/* Replaces the signature by `n` bytes. */
static char *with_signature(const char *token, const unsigned char *sig, size_t n)
{
    const char *dot = strrchr(token, '.');
    char *s = make_base64url(sig, n), *out = make_text("%.*s.%s", (int)(dot - token), token, s);
    free(s);
    return out;
}

static char *twist_signature(struct world *w, const struct bad *b, const char *token)
{
    unsigned char sig[2048], swapped[64];
    char *input = make_text("%.*s", (int)(strrchr(token, '.') - token), token), *out;
    size_t n = make_signature(w->key[b->key], (struct make_how){ .alg = b->alg }, input, sig);

    switch (b->twist) {
    case FLIP_SIGNATURE: sig[n / 2] ^= 1; break;
    case ZERO_SIGNATURE: memset(sig, 0, n); break;
    case SHORT_SIGNATURE: n--; break;
    case LONG_SIGNATURE: sig[n++] = 0; break;
    default: /* SWAPPED_RS */
        memcpy(swapped, sig + 32, 32);
        memcpy(swapped + 32, sig, 32);
        memcpy(sig, swapped, 64);
    }
    out = with_signature(token, sig, n);
    free(input);
    return out;
}

static char *twist_text(const char *token, enum twist twist)
{
    const char *first = strchr(token, '.'), *last = strrchr(token, '.');
    char *out = strdup(token);

    switch (twist) {
    case NO_SIGNATURE: free(out); return make_text("%.*s.", (int)(last - token), token);
    case TWO_PARTS: free(out); return make_text("%.*s", (int)(last - token), token);
    case FOUR_PARTS: free(out); return make_text("%s.AAAA", token);
    case FIVE_PARTS: free(out); return make_text("%s.AAAA.AAAA", token);
    case PREFIX_DOT: free(out); return make_text(".%s", token);
    case EMPTY_HEADER: free(out); return make_text("%s", first);
    case EMPTY_PAYLOAD: free(out); return make_text("%.*s.%s", (int)(first - token), token, last);
    case PADDED: free(out); return make_text("%s=", token);
    case ONE_WORD: free(out); return make_text("sk-proj-0123456789");
    case TOO_LONG: free(out); return make_text("%s%0*d", token, (int)(IDENTITY_TOKEN_MAX + 1 - strlen(token)), 0);
    case BLANK_INSIDE: out[first - token + 5] = ' '; return out;
    case NEWLINE_INSIDE: out[first - token + 5] = '\n'; return out;
    case OTHER_ALPHABET: out[first - token + 5] = '+'; return out;
    case NOT_CANONICAL: { /* 256 signature bytes leave four unused bits in the last character */
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        char *end = out + strlen(out) - 1;
        *end = alphabet[(strchr(alphabet, *end) - alphabet) | 1];
        return out;
    }
    default: return out;
    }
}

static char *other_payload(const char *token)
{
    const char *first = strchr(token, '.'), *last = strrchr(token, '.');
    static const char root[] = "{" ISS ",\"sub\":\"root\",\"aud\":\"tollgate\",\"exp\":1800003600}";
    char *p = make_base64url(root, strlen(root)), *out = make_text("%.*s.%s%s", (int)(first - token), token, p, last);
    free(p);
    return out;
}

static char *build_bad(struct world *w, const struct bad *b)
{
    if (b->twist >= HS_PEM && b->twist <= HS_JWK_SECRET)
        return hmac_token(w, b);
    struct make_how how = { .alg = b->alg, .der = b->twist == DER, .salt = b->twist == SHORT_SALT ? 8 : 0 };
    char *token = make_token(w->key[b->key], how, b->header, b->payload), *out;
    if (b->twist >= FLIP_SIGNATURE && b->twist <= SWAPPED_RS && b->twist != OTHER_PAYLOAD)
        out = twist_signature(w, b, token);
    else if (b->twist == OTHER_PAYLOAD)
        out = other_payload(token);
    else
        out = twist_text(token, b->twist);
    free(token);
    return out;
}

static bool contains(struct slice s, const char *what)
{
    return memmem(s.p, s.n, what, strlen(what)) != NULL;
}

static void test_hostile_tokens(void **state)
{
    struct world *w = *state;
    int wrong = 0;

    assert_true(sizeof bads / sizeof bads[0] >= 60);
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        const struct bad *b = &bads[i];
        struct identity id;
        struct refusal no = { 0 };
        char *token = build_bad(w, b);
        if (verify_at(w, token, NOW_US, &id, &no) != IDENTITY_REFUSED) {
            print_error("accepted: %s\n", b->name);
            wrong++;
        } else if (strcmp(no.reason, b->reason) != 0 || !contains(no.message, b->says) || no.status != 401 ||
                   strcmp(no.code, "invalid_api_key") != 0) {
            print_error("%s: refused as %d %s (%.*s), expected %s (%s)\n", b->name, no.status, no.reason, SLICE_FMT(no.message),
                        b->reason, b->says);
            wrong++;
        } else if (strlen(token) > 40 && contains(no.message, token + strlen(token) - 20)) {
            print_error("%s: the message repeats the token\n", b->name);
            wrong++;
        }
        free(token);
    }
    print_message("%zu hostile tokens\n", sizeof bads / sizeof bads[0]);
    assert_int_equal(wrong, 0);
}

/* A token is valid in exactly one spelling: any other byte anywhere is refused. */
static void test_every_byte_counts(void **state)
{
    struct world *w = *state;
    struct identity id;
    struct refusal no;
    char *token = make_token(w->key[ED], (struct make_how){ .alg = "EdDSA" }, "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", GOOD);

    assert_int_equal(verify_at(w, token, NOW_US, &id, &no), IDENTITY_OK);
    for (size_t i = 0; token[i] != '\0'; i++) {
        char was = token[i];
        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(verify_at(w, token, NOW_US, &id, &no), IDENTITY_REFUSED);
        token[i] = was;
    }
    for (size_t n = strlen(token); n-- > 0;) {
        token[n] = '\0';
        assert_int_equal(verify_at(w, token, NOW_US, &id, &no), IDENTITY_REFUSED);
    }
    free(token);
}

/* ---- headers ---------------------------------------------------------------------------------------------------------- */

static void test_where_the_token_is(void **state)
{
    struct world *w = *state;
    char *token = make_token(w->key[RSA_A], (struct make_how){ .alg = "RS256" }, RS, GOOD);
    const struct {
        const char *authorization, *api_key;
        bool good;
    } rows[] = {
        { "Bearer %s", NULL, true }, { "bearer %s", NULL, true },       { "BEARER   %s  ", NULL, true }, { NULL, "%s", true },
        { "", " %s ", true },        { "Bearer x.y.z", "%s", false },   { "Basic %s", "%s", false },     { "Bearer%s", NULL, false },
        { "%s", NULL, false },       { "Bearer %s trailing", NULL, false }, { "Bearer", NULL, false },       { "Bearer  ", NULL, false },
        { NULL, NULL, false },       { "Token %s", NULL, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char a[4096] = "", k[4096] = "";
        struct identity id;
        struct refusal no;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        if (rows[i].authorization != NULL)
            snprintf(a, sizeof a, rows[i].authorization, token);
        if (rows[i].api_key != NULL)
            snprintf(k, sizeof k, rows[i].api_key, token);
#pragma GCC diagnostic pop
        struct http_request rq = { .authorization = slice_cstr(a), .api_key = slice_cstr(k) };
        arena_reset(w->arena, 65536);
        enum identity_result r = identity_verify(w->verifier, &rq, NOW_US, false, w->arena, &id, &no);
        if ((r == IDENTITY_OK) != rows[i].good)
            fail_msg("row %zu", i);
        if (!rows[i].good)
            assert_int_equal(no.status, 401);
    }
    free(token);
}

/* ---- the cache -------------------------------------------------------------------------------------------------------- */

static void test_cached_until_expiry(void **state)
{
    struct world *w = *state;
    struct identity_cache_state before, after;
    struct identity id;
    struct refusal no;
    char *token = make_token(w->key[RSA_A], (struct make_how){ .alg = "RS256" }, RS,
                             "{" ISS ",\"sub\":\"carol\",\"aud\":\"tollgate\",\"exp\":1800000100,\"groups\":[\"a\",\"b\"]}");

    assert_int_equal(verify_at(w, token, NOW_US, &id, &no), IDENTITY_OK);
    identity_verifier_state(w->verifier, &before);
    assert_int_equal(verify_at(w, token, NOW_US + 159 * 1000000, &id, &no), IDENTITY_OK); /* exp + leeway - 1 */
    identity_verifier_state(w->verifier, &after);
    assert_int_equal(after.hits, before.hits + 1);
    assert_int_equal(id.group_count, 2);
    assert_true(slice_eq_cstr(id.groups[1], "b"));
    assert_true(slice_eq_cstr(id.subject, "carol"));
    assert_int_equal(id.expires_s, 1800000100);
    assert_int_equal(verify_at(w, token, NOW_US + 160 * 1000000, &id, &no), IDENTITY_REFUSED);
    assert_string_equal(no.reason, "token_expired");
    identity_verifier_state(w->verifier, &after);
    assert_int_equal(after.entries, before.entries - 1);
    free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_tokens), cmocka_unit_test(test_hostile_tokens), cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_where_the_token_is), cmocka_unit_test(test_cached_until_expiry),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
