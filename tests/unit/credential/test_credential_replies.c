/* Replies of token endpoints and vaults, key files, assertions, options: what is taken from them and what is refused. */
#include "credential/assertion.h"
#include "credential/options.h"
#include "credential/service_account.h"
#include "credential/source.h"
#include "credential/token_reply.h"
#include "credential/vault_reply.h"

#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void test_token_replies(void **state)
{
    static const struct {
        const char *body, *token, *type, *error;
        int64_t expires_s;
    } good[] = {
        /* Microsoft's and Google's, as documented; a string of digits as the older endpoint gives it */
        { "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"ext_expires_in\":3599,\"access_token\":\"eyJ0.a.b\"}", "eyJ0.a.b", "Bearer", "", 3599 },
        { "{\"access_token\":\"ya29.c\",\"expires_in\":\"3599\",\"token_type\":\"Bearer\"}", "ya29.c", "Bearer", "", 3599 },
        { "{\"token\":\"t\"}", "t", "", "", -1 },
        { "{\"access_token\":\"t\",\"expires_in\":99999999999}", "t", "", "", 366 * 86400 },
        { "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client secret provided.\",\"error_codes\":[7000215]}",
          "", "", "invalid_client", -1 },
        { "{\"error\":{\"code\":400}}", "", "", "", -1 },
    };
    static const char *const bad[] = { "", "[]", "null", "{", "{\"access_token\":1}", "{\"access_token\":\"t\",\"expires_in\":\"soon\"}",
                                       "{\"access_token\":\"t\",\"expires_in\":-1}", "{\"access_token\":\"t\",\"expires_in\":true}",
                                       "{\"token_type\":1}", "{\"access_token\":\"t\"} x", "<html>" };
    struct arena *a = arena_new(1024);
    struct token_reply r;
    const char *why;
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        if (token_reply_parse(slice_cstr(good[i].body), a, &r, &why) != 0)
            fail_msg("row %zu: %s", i, why);
        assert_true(slice_eq_cstr(r.token.raw, good[i].token));
        assert_true(slice_eq_cstr(r.type, good[i].type));
        assert_true(slice_eq_cstr(r.error, good[i].error));
        assert_int_equal(r.expires_in_s, good[i].expires_s);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        if (token_reply_parse(slice_cstr(bad[i]), a, &r, &why) != -1 || why[0] == '\0')
            fail_msg("row %zu was taken", i);
    arena_free(a);
}

static void test_vault_replies(void **state)
{
    struct arena *a = arena_new(1024);
    struct vault_reply r;
    struct json_text t;
    const char *why;
    (void)state;
    /* KV 2: the data is wrapped once more */
    assert_int_equal(vault_reply_parse(SLICE_LIT("{\"request_id\":\"x\",\"lease_id\":\"\",\"renewable\":false,\"lease_duration\":0,\"data\":{"
                                                 "\"data\":{\"key\":\"sk-1\"},\"metadata\":{\"version\":3}},\"auth\":null}"), a, &r, &why), 0);
    assert_true(vault_field(r.data, "key", &t) && slice_eq_cstr(t.raw, "sk-1"));
    assert_false(vault_field(r.data, "version", &t));
    assert_string_equal(r.lease_id, "");
    /* KV 1 that happens to have a field "data" */
    assert_int_equal(vault_reply_parse(SLICE_LIT("{\"data\":{\"data\":{\"a\":1},\"key\":\"sk-2\"}}"), a, &r, &why), 0);
    assert_true(vault_field(r.data, "key", &t) && slice_eq_cstr(t.raw, "sk-2"));
    /* a lease */
    assert_int_equal(vault_reply_parse(SLICE_LIT("{\"lease_id\":\"aws/creds/llm/7\",\"lease_duration\":3600,\"renewable\":true,\"data\":{"
                                                 "\"access_key\":\"A\",\"secret_key\":\"B\",\"security_token\":null}}"), a, &r, &why), 0);
    assert_string_equal(r.lease_id, "aws/creds/llm/7");
    assert_true(r.renewable && r.lease_s == 3600);
    assert_false(vault_field(r.data, "security_token", &t)); /* no string */
    /* a login */
    assert_int_equal(vault_reply_parse(SLICE_LIT("{\"auth\":{\"client_token\":\"hvs.x\",\"lease_duration\":1200,\"renewable\":true,\"policies\":[]}}"),
                                       a, &r, &why), 0);
    assert_true(slice_eq_cstr(r.token.raw, "hvs.x") && r.token_s == 1200 && r.token_renewable);
    /* a token looking at itself */
    assert_int_equal(vault_reply_parse(SLICE_LIT("{\"data\":{\"ttl\":2764790,\"renewable\":true}}"), a, &r, &why), 0);
    assert_true(vault_number(r.data, "ttl") == 2764790 && vault_is_true(r.data, "renewable"));
    assert_int_equal(vault_number(r.data, "other"), -1);
    /* errors */
    assert_int_equal(vault_reply_parse(SLICE_LIT("{\"errors\":[\"permission denied\",\"second\"]}"), a, &r, &why), 0);
    assert_true(slice_eq_cstr(r.error, "permission denied"));
    static const char *const bad[] = { "", "[]", "{\"lease_duration\":\"x\"}", "{\"lease_duration\":-1}", "{\"lease_id\":5}",
                                       "{\"auth\":{\"client_token\":5}}", "{\"data\":{}", "{\"errors\":[\"x\"" };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (vault_reply_parse(slice_cstr(bad[i]), a, &r, &why) != -1)
            fail_msg("row %zu was taken", i);
    arena_free(a);
}

static void test_service_accounts(void **state)
{
    static const char *const bad[] = {
        "", "[]", "{}", "{\"client_email\":\"a@b\"}", "{\"private_key\":\"k\"}", "{\"client_email\":\"a b\",\"private_key\":\"k\"}",
        "{\"client_email\":\"a@b\",\"private_key\":5}", "{\"client_email\":\"a@b\",\"private_key\":\"\"}",
        "{\"client_email\":\"a@b\",\"private_key\":\"k\"", "{\"client_email\":\"a@b\",\"private_key\":\"k\",\"token_uri\":\"\\n\"}",
    };
    struct service_account s;
    const char *why;
    (void)state;
    assert_int_equal(service_account_parse(SLICE_LIT("{\"type\":\"service_account\",\"client_email\":\"llm@p.iam.gserviceaccount.com\","
                                                     "\"private_key_id\":\"k1\",\"private_key\":\"-----BEGIN\\nX\\n\",\"token_uri\":"
                                                     "\"https://oauth2.googleapis.com/token\"}"), &s, &why), 0);
    assert_string_equal(s.client_email, "llm@p.iam.gserviceaccount.com");
    assert_string_equal(s.private_key_id, "k1");
    assert_string_equal(s.token_uri, "https://oauth2.googleapis.com/token");
    assert_true(slice_eq_cstr(secret_view(s.private_key), "-----BEGIN\nX\n"));
    service_account_clear(&s);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (service_account_parse(slice_cstr(bad[i]), &s, &why) != -1)
            fail_msg("row %zu was taken", i);
}

static void test_assertions(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    BIO *private_pem = BIO_new(BIO_s_mem()), *public_pem = BIO_new(BIO_s_mem());
    char *p;
    const char *why;
    jwt_t *jwt = NULL;
    (void)state;
    assert_true(PEM_write_bio_PrivateKey(private_pem, key, NULL, NULL, 0, NULL, NULL) == 1 && PEM_write_bio_PUBKEY(public_pem, key) == 1);
    long n = BIO_get_mem_data(private_pem, &p);
    struct secret *secret = secret_new(p, (size_t)n);
    struct assertion a = { .issuer = "app", .subject = "app", .audience = "https://login/t", .key_id = "k1", .x5t = "AAAA", .now_s = 1000,
                           .lifetime_s = 600 };
    char *token = assertion_sign(&a, secret, &why), *second = assertion_sign(&a, secret, &why);
    assert_non_null(token);
    assert_string_not_equal(token, second); /* each has its own jti */
    n = BIO_get_mem_data(public_pem, &p);
    assert_int_equal(jwt_decode(&jwt, token, (unsigned char *)p, (int)n), 0); /* the signature is good */
    assert_int_equal(jwt_get_alg(jwt), JWT_ALG_RS256);
    assert_string_equal(jwt_get_grant(jwt, "iss"), "app");
    assert_string_equal(jwt_get_grant(jwt, "aud"), "https://login/t");
    assert_int_equal(jwt_get_grant_int(jwt, "exp"), 1600);
    assert_null(jwt_get_grant(jwt, "scope"));
    assert_string_equal(jwt_get_header(jwt, "kid"), "k1");
    assert_string_equal(jwt_get_header(jwt, "x5t"), "AAAA");
    jwt_free(jwt);
    free(token);
    free(second);
    struct secret *garbage = secret_new("not a key at all", 16);
    assert_null(assertion_sign(&a, garbage, &why));
    assert_non_null(strstr(why, "not an RSA key"));
    secret_free(garbage);
    secret_free(secret);
    BIO_free(private_pem);
    BIO_free(public_pem);
    EVP_PKEY_free(key);
}

static void test_options(void **state)
{
    const struct credential_azure both = { .tenant = "t", .client_id = "c", .scope = "s", .client_secret = { .env = "E" }, .certificate = "/c" };
    const struct credential_azure plain = { .tenant = "t", .client_id = "c", .scope = "s", .authority = "http://x",
                                            .client_secret = { .env = "E" } };
    const struct credential_azure tenant = { .tenant = "a/b", .client_id = "c", .scope = "s", .client_secret = { .env = "E" } };
    const struct credential_google google = { .service_account = { .file = "" } };
    const struct credential_vault neither = { .url = "https://v", .path = "secret/data/x" };
    const struct credential_vault path = { .url = "https://v", .path = "/v1/x", .token = { .env = "E" } };
    const struct credential_command relative = { .argv = (const char *const[]){ "gcloud" }, .argc = 1 };
    const struct credential_aws aws = { .region = "us east" }, fine = { .region = "us-east-1" };
    const struct {
        struct credential_key key;
        const struct credential_aws *aws;
        const char *says;
    } rows[] = {
        { { .azure = &both }, NULL, "keys[0].azure: give either client_secret, or certificate" },
        { { .azure = &plain }, NULL, "keys[0].azure: authority must begin with https://" },
        { { .azure = &tenant }, NULL, "keys[0].azure: tenant must be" },
        { { .azure = &both, .google = &google }, NULL, "keys[0]: give exactly one of" },
        { { .google = &google }, NULL, "keys[0].google: file is empty" },
        { { .vault = &neither }, NULL, "keys[0].vault: give either token, or role_id" },
        { { .vault = &path }, NULL, "keys[0].vault: path is what follows /v1/" },
        { { .command = &relative }, NULL, "keys[0].command: argv must begin with the program's absolute path" },
        { { .secret = { .file = "/k" }, .weight = 101 }, NULL, "keys[0]: weight must be 1 to 100" },
        { { .secret = { .file = "/k" } }, &aws, "aws: region is required" },
        { { .google = &(struct credential_google){ .service_account = { .env = "E" } } }, &fine, "aws: requests cannot be signed" },
    };
    char why[300];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct credential_options o = { .name = "x", .keys = &rows[i].key, .key_count = 1, .aws = rows[i].aws };
        assert_false(credential_options_check(&o, why, sizeof why));
        if (strncmp(why, rows[i].says, strlen(rows[i].says)) != 0)
            fail_msg("row %zu: %s", i, why);
    }
}

static void test_schedule(void **state)
{
    (void)state;
    /* ahead of expiry, never at it; pauses grow and end */
    for (double r = 0; r < 1; r += 0.125) {
        double ahead = key_source_ahead_s(3600, r);
        assert_true(ahead > 3600 * 0.66 && ahead < 3600 * 0.81);
        assert_true(key_source_pause_s(1, r) >= 0.5 && key_source_pause_s(1, r) <= 1);
        assert_true(key_source_pause_s(5, r) >= 8 && key_source_pause_s(5, r) <= 16);
        assert_true(key_source_pause_s(100, r) >= 30 && key_source_pause_s(100, r) <= 60);
    }
    assert_true(key_source_ahead_s(0, 0) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_replies), cmocka_unit_test(test_vault_replies), cmocka_unit_test(test_service_accounts),
        cmocka_unit_test(test_assertions),    cmocka_unit_test(test_options),       cmocka_unit_test(test_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
