/* Tokens, good and hostile, against three issuers whose keys come from files. Every hostile token must be refused for its stated
 * reason: one that is refused for another would pass once that other fault is gone. */
#include "identity/identity.h"
#include "token_cases.h"
#include "token_maker.h"

#include <setjmp.h>
#include <stddef.h>
#include <ev.h>
#include <cmocka.h>
#include <unistd.h>

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
