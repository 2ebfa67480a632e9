/* The texts of the authorization code flow: what is sent, and what of an answer is refused. */
#include "console/oidc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <cmocka.h>

static const uint8_t key[32] = { 1, 2, 3 };

static void base64url_has_no_padding(void **state)
{
    static const struct {
        const char *in, *out;
    } vectors[] = { { "", "" }, { "f", "Zg" }, { "fo", "Zm8" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg" }, { "\xfb\xff\xfe", "-__-" } }; /* RFC 4648 10 */
    char out[16];

    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        oidc_base64url((const uint8_t *)vectors[i].in, strlen(vectors[i].in), out);
        assert_string_equal(out, vectors[i].out);
    }
}

static void attempt_follows_from_seed_and_key(void **state)
{
    struct oidc_attempt a, b, other;
    uint8_t hash[SHA256_DIGEST_LENGTH], other_key[32] = { 9 };
    char challenge[OIDC_TEXT];

    (void)state;
    oidc_attempt_derive(key, SLICE_LIT("1.seed"), &a);
    oidc_attempt_derive(key, SLICE_LIT("1.seed"), &b);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(strlen(a.verifier), 43); /* RFC 7636 4.1: 43 to 128 */
    assert_string_not_equal(a.state, a.nonce);
    assert_string_not_equal(a.state, a.verifier);
    SHA256((const unsigned char *)a.verifier, 43, hash);
    oidc_base64url(hash, sizeof hash, challenge);
    assert_string_equal(a.challenge, challenge); /* RFC 7636 4.2, S256 */
    oidc_attempt_derive(key, SLICE_LIT("1.seee"), &other);
    assert_string_not_equal(a.state, other.state);
    oidc_attempt_derive(other_key, SLICE_LIT("1.seed"), &other);
    assert_string_not_equal(a.state, other.state);
}

#define DISCOVERY(issuer, authorization, token)                                                                        \
    "{\"issuer\":\"" issuer "\",\"authorization_endpoint\":\"" authorization "\",\"token_endpoint\":\"" token "\"}"

static void discovery_is_taken_from_the_issuer_alone(void **state)
{
    static const struct {
        const char *json, *why;
    } refused[] = {
        { "", "no JSON" },
        { "[]", "no JSON" },
        { DISCOVERY("https://other", "https://i/a", "https://i/t"), "another issuer" },
        { DISCOVERY("https://i/", "https://i/a", "https://i/t"), "another issuer" },
        { DISCOVERY("https://i", "http://i/a", "https://i/t"), "authorization_endpoint is no https" },
        { DISCOVERY("https://i", "https://i/a", "javascript:alert(1)"), "token_endpoint is no https" },
        { DISCOVERY("https://i", "https://i/a\\r\\nSet-Cookie: x=y", "https://i/t"), "authorization_endpoint" },
        { "{\"issuer\":\"https://i\",\"token_endpoint\":\"https://i/t\"}", "no authorization_endpoint" },
    };
    struct oidc_provider p;
    char why[200];

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_false(oidc_discovery_parse(slice_cstr(refused[i].json), "https://i", false, &p, why, sizeof why));
        if (strstr(why, refused[i].why) == NULL)
            fail_msg("%zu: %s", i, why);
    }
    assert_true(oidc_discovery_parse(slice_cstr(DISCOVERY("https://i", "http://i/a", "https://i/t")), "https://i", true, &p, why, sizeof why));
    assert_string_equal(p.end_session_endpoint, "");
    assert_false(p.secret_in_body);
    assert_true(oidc_discovery_parse(
        SLICE_LIT("{\"issuer\":\"https://i\",\"authorization_endpoint\":\"https://i/a?x=1\",\"token_endpoint\":\"https://i/t\","
                  "\"token_endpoint_auth_methods_supported\":[\"client_secret_post\"],"
                  "\"authorization_response_iss_parameter_supported\":true}"), "https://i", false, &p, why, sizeof why));
    assert_true(p.secret_in_body);
    assert_true(p.names_itself);
}

static void authorization_address_is_encoded(void **state)
{
    struct oidc_provider p = { .authorization_endpoint = "https://i/a?x=1" };
    struct oidc_attempt a;
    char url[OIDC_URL_MAX], expected[OIDC_URL_MAX];

    (void)state;
    oidc_attempt_derive(key, SLICE_LIT("1.seed"), &a);
    assert_true(oidc_authorization_url(&p, "a&b", "openid profile", "https://h/c/callback", &a, url));
    snprintf(expected, sizeof expected,
             "https://i/a?x=1&response_type=code&client_id=a%%26b&scope=openid%%20profile&redirect_uri=https%%3A%%2F%%2Fh%%2Fc%%2Fcallback"
             "&state=%s&nonce=%s&code_challenge=%s&code_challenge_method=S256", a.state, a.nonce, a.challenge);
    assert_string_equal(url, expected);
}

static void token_request_names_the_client_once(void **state)
{
    struct oidc_provider p = { .secret_in_body = false };
    struct arena *a = arena_new(1024);
    char *header, *form;

    (void)state;
    assert_non_null(a);
    form = oidc_token_form(&p, "client", SLICE_NONE, "https://h/cb", SLICE_LIT("a b&c"), "v", a, &header);
    assert_string_equal(form, "grant_type=authorization_code&code=a%20b%26c&redirect_uri=https%3A%2F%2Fh%2Fcb&code_verifier=v&client_id=client");
    assert_string_equal(header, "");
    form = oidc_token_form(&p, "cli:ent", SLICE_LIT("p&ss"), "https://h/cb", SLICE_LIT("c"), "v", a, &header);
    assert_null(strstr(form, "client"));
    assert_string_equal(header, "Authorization: Basic Y2xpJTNBZW50OnAlMjZzcw=="); /* cli%3Aent:p%26ss */
    p.secret_in_body = true;
    form = oidc_token_form(&p, "client", SLICE_LIT("p&ss"), "https://h/cb", SLICE_LIT("c"), "v", a, &header);
    assert_non_null(strstr(form, "&client_id=client&client_secret=p%26ss"));
    assert_string_equal(header, "");
    arena_free(a);
}

static void token_reply_without_an_id_token_is_refused(void **state)
{
    struct arena *a = arena_new(1024);
    char why[200];

    (void)state;
    assert_null(oidc_token_reply(200, SLICE_LIT("{}"), a, why, sizeof why).p);
    assert_non_null(strstr(why, "openid"));
    assert_null(oidc_token_reply(400, SLICE_LIT("{\"error\":\"invalid_grant\",\"error_description\":\"secret\"}"), a, why, sizeof why).p);
    assert_string_equal(why, "the token endpoint answered 400, invalid_grant");
    assert_null(oidc_token_reply(502, SLICE_LIT("<html>"), a, why, sizeof why).p);
    assert_null(oidc_token_reply(200, SLICE_LIT("{\"id_token\":7}"), a, why, sizeof why).p);
    assert_true(slice_eq_cstr(oidc_token_reply(200, SLICE_LIT("{\"id_token\":\"x.y.z\"}"), a, why, sizeof why), "x.y.z"));
    arena_free(a);
}

static bool belongs(const char *payload)
{
    char token[600] = "e30.", why[200];

    oidc_base64url((const uint8_t *)payload, strlen(payload), token + 4);
    strcat(token, ".c2ln");
    return oidc_token_belongs(slice_cstr(token), "me", "n1", why, sizeof why);
}

static void id_token_is_for_this_sign_in_of_this_client(void **state)
{
    char why[200];

    (void)state;
    assert_true(belongs("{\"nonce\":\"n1\"}"));
    assert_true(belongs("{\"nonce\":\"n1\",\"azp\":\"me\"}"));
    assert_false(belongs("{\"nonce\":\"n1\",\"azp\":\"other\"}"));
    assert_false(belongs("{\"nonce\":\"n1\",\"azp\":[\"me\"]}"));
    assert_false(belongs("{\"nonce\":\"n2\"}"));
    assert_false(belongs("{\"nonce\":\"n11\"}"));
    assert_false(belongs("{\"nonce\":1}"));
    assert_false(belongs("{}"));
    assert_false(belongs("[]"));
    assert_false(oidc_token_belongs(SLICE_LIT("no token"), "me", "n1", why, sizeof why));
    assert_false(oidc_token_belongs(SLICE_LIT("e30.e3 0.x"), "me", "n1", why, sizeof why));
    assert_false(oidc_token_belongs(SLICE_NONE, "me", "n1", why, sizeof why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_has_no_padding),
        cmocka_unit_test(attempt_follows_from_seed_and_key),
        cmocka_unit_test(discovery_is_taken_from_the_issuer_alone),
        cmocka_unit_test(authorization_address_is_encoded),
        cmocka_unit_test(token_request_names_the_client_once),
        cmocka_unit_test(token_reply_without_an_id_token_is_refused),
        cmocka_unit_test(id_token_is_for_this_sign_in_of_this_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
