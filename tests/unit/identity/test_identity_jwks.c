/* Key sets: which keys are kept, which are left out and why; strict base64url and JSON. */
#include "identity/jwk.h"
#include "identity/strict.h"
#include "token_maker.h"

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void expect_fault(const char *jwk, enum jwk_fault wanted, const char *name)
{
    char why[160], *text = make_text("{\"keys\":[%s]}", jwk);
    struct jwk_set *s = jwk_set_parse(slice_cstr(text), why, sizeof why);
    if (s == NULL)
        fail_msg("%s: %s", name, why);
    if (wanted == JWK_GOOD) {
        assert_int_equal(s->count, 1);
    } else if (s->count != 0 || s->left_out[wanted] != 1) {
        for (int i = 0; i < JWK_FAULTS; i++)
            if (s->left_out[i])
                print_error("%s: left out as %s\n", name, jwk_fault_name((enum jwk_fault)i));
        fail_msg("%s: %zu kept, expected %s", name, s->count, jwk_fault_name(wanted));
    }
    jwk_set_unref(s);
    free(text);
}

static void test_kept_and_left_out(void **state)
{
    EVP_PKEY *rsa = make_rsa(2048), *weak = make_rsa(1024), *p256 = make_ec("P-256"), *k1 = make_ec("secp256k1"), *ed = make_ed25519();
    const struct {
        EVP_PKEY *key;
        const char *more;
        enum jwk_fault wanted;
    } rows[] = {
        { rsa, "", JWK_GOOD },
        { rsa, ",\"use\":\"sig\",\"key_ops\":[\"verify\"],\"alg\":\"PS512\"", JWK_GOOD },
        { rsa, ",\"x5c\":[\"not a certificate\"],\"x5t\":\"AA\",\"x5u\":\"https://evil.test/\"", JWK_GOOD }, /* never looked at */
        { p256, ",\"alg\":\"ES256\"", JWK_GOOD },
        { ed, ",\"alg\":\"EdDSA\"", JWK_GOOD },
        { rsa, ",\"use\":\"enc\"", JWK_OTHER_USE },
        { rsa, ",\"use\":\"SIG\"", JWK_OTHER_USE },
        { rsa, ",\"use\":[\"sig\"]", JWK_OTHER_USE },
        { rsa, ",\"key_ops\":[\"sign\"]", JWK_OTHER_USE },
        { rsa, ",\"key_ops\":[]", JWK_OTHER_USE },
        { rsa, ",\"key_ops\":\"verify\"", JWK_OTHER_USE },
        { rsa, ",\"alg\":\"RSA-OAEP\"", JWK_OTHER_ALG },
        { rsa, ",\"alg\":\"HS256\"", JWK_OTHER_ALG },
        { rsa, ",\"alg\":\"none\"", JWK_OTHER_ALG },
        { rsa, ",\"alg\":\"ES256\"", JWK_OTHER_ALG },
        { p256, ",\"alg\":\"ES384\"", JWK_OTHER_ALG },
        { ed, ",\"alg\":\"RS256\"", JWK_OTHER_ALG },
        { rsa, ",\"alg\":7", JWK_OTHER_ALG },
        { rsa, ",\"d\":\"AQAB\"", JWK_PRIVATE },
        { p256, ",\"d\":\"AQAB\"", JWK_PRIVATE },
        { ed, ",\"d\":\"AQAB\"", JWK_PRIVATE },
        { rsa, ",\"qi\":\"\"", JWK_PRIVATE },
        { weak, "", JWK_WEAK },
        { k1, "", JWK_MALFORMED }, /* announced as P-256: not on that curve */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *jwk = make_jwk(rows[i].key, "k", rows[i].more), *name = make_text("row %zu", i);
        expect_fault(jwk, rows[i].wanted, name);
        free(jwk);
        free(name);
    }
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(weak);
    EVP_PKEY_free(p256);
    EVP_PKEY_free(k1);
    EVP_PKEY_free(ed);
}

#define A85 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define N2048 "v" A85 A85 A85 A85 "Q" /* 256 bytes, odd */

static void test_literal_keys(void **state)
{
    static const struct {
        const char *jwk;
        enum jwk_fault wanted;
    } rows[] = {
        { "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}", JWK_OTHER_TYPE },
        { "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\",\"alg\":\"RS256\",\"use\":\"sig\"}", JWK_OTHER_TYPE },
        { "{\"kty\":\"DSA\"}", JWK_OTHER_TYPE },
        { "{\"kty\":\"rsa\"}", JWK_OTHER_TYPE },
        { "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}", JWK_OTHER_TYPE },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AA\"}", JWK_OTHER_TYPE },
        { "{\"kty\":\"OKP\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}", JWK_MALFORMED },
        { "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}", JWK_OTHER_TYPE },
        { "{\"kty\":\"EC\",\"x\":\"AA\",\"y\":\"AA\"}", JWK_MALFORMED },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", JWK_MALFORMED },
        /* RFC 7517 appendix A.1, then with the last character of y changed: no longer on the curve */
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}", JWK_GOOD },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyQ\"}", JWK_MALFORMED },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", JWK_MALFORMED },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}", JWK_GOOD }, /* RFC 8037 A.2 */
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUR\"}", JWK_MALFORMED },
        { "{\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":\"AQAB\"}", JWK_GOOD },
        { "{\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":\"AQ\"}", JWK_WEAK },   /* e = 1: the signature is the message */
        { "{\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":\"Ag\"}", JWK_WEAK },   /* e = 2 */
        { "{\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":\"AQAAAAAAAAAB\"}", JWK_WEAK },
        { "{\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":\"AQAB=\"}", JWK_MALFORMED },
        { "{\"kty\":\"RSA\",\"n\":\"" N2048 "\"}", JWK_MALFORMED },
        { "{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}", JWK_MALFORMED },
        { "{\"kty\":\"RSA\",\"n\":5,\"e\":\"AQAB\"}", JWK_MALFORMED },
        { "{\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":\"AQAB\",\"kid\":7}", JWK_MALFORMED },
        { "{\"kty\":[\"RSA\"]}", JWK_MALFORMED },
        { "{}", JWK_MALFORMED },
        { "7", JWK_MALFORMED },
        { "null", JWK_MALFORMED },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        expect_fault(rows[i].jwk, rows[i].wanted, rows[i].jwk);
    /* 8192 bits is the most: a verification costs with the square of it */
    char *n = malloc(1500), *jwk;
    memset(n, 'v', 1400);
    n[1400] = '\0';
    jwk = make_text("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}", n);
    expect_fault(jwk, JWK_TOO_LARGE, "8400 bits");
    free(n);
    free(jwk);
}

static void test_sets(void **state)
{
    static const char *const bad[] = { "", "{", "[]", "{}", "{\"keys\":\"\"}", "{\"keys\":[],\"keys\":[]}", "{\"Keys\":[]}", "{\"keys\":[]} x" };
    char why[160];
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        why[0] = '\0';
        assert_null(jwk_set_parse(slice_cstr(bad[i]), why, sizeof why));
        assert_true(why[0] != '\0');
    }
    char *many = strdup("{\"keys\":[{}");
    for (int i = 0; i < 128; i++) {
        char *more = make_text("%s,{}", many);
        free(many);
        many = more;
    }
    char *whole = make_text("%s]}", many);
    assert_null(jwk_set_parse(slice_cstr(whole), why, sizeof why));
    assert_non_null(strstr(why, "more than 128"));
    free(many);
    free(whole);
    struct jwk_set *s = jwk_set_parse(SLICE_LIT("{\"keys\":[]}"), why, sizeof why);
    assert_non_null(s);
    assert_int_equal(s->count, 0);
    jwk_set_unref(s);
}

static void test_base64url(void **state)
{
    static const struct {
        const char *in, *out; /* out NULL: refused */
    } rows[] = {
        { "", "" }, { "Zg", "f" }, { "Zm8", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg", "foob" }, { "_-8", "\xff\xef" }, { "Zh", NULL }, { "Zm9", NULL },
        { "Z", NULL }, { "Zm9vY", NULL }, { "Zg==", NULL }, { "Zm8=", NULL }, { "Zm 8", NULL }, { "Zm8\n", NULL }, { "/+8", NULL }, { "Zm\xc3\xb6", NULL },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t out[64];
        size_t n;
        bool good = strict_base64url(slice_cstr(rows[i].in), out, &n);
        if (good != (rows[i].out != NULL))
            fail_msg("%s", rows[i].in);
        if (good) {
            assert_int_equal(n, strlen(rows[i].out));
            assert_memory_equal(out, rows[i].out, n);
        }
    }
}

static void test_json(void **state)
{
    static const char *const good[] = { "{}", " {\t}\r\n", "{\"a\":[1,-0,0.5,1e5,1E-5,true,false,null,\"\\u00e9\\ud83d\\ude00\\n\",{}]}", "{\"a\":1,\"A\":1}",
                                        "{\"\":0}", "{\"k\":\"\xf0\x9f\x98\x80\xe2\x82\xac\"}" };
    static const char *const bad[] = { "", " ", "{", "}", "[]", "1", "null", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}", "{\"a\":01}", "{\"a\":1.}",
                                       "{\"a\":.5}", "{\"a\":+1}", "{\"a\":1e}", "{\"a\":0x1}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":tru}", "{\"a\":\"\\x\"}",
                                       "{\"a\":\"\\u12g4\"}", "{\"a\":\"\t\"}", "{\"a\":\"\\ud800x\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\\u0000\"}", "{\"a\":\"\xff\"}",
                                       "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}", "{\"a\":\"\xe2\x82\"}", "\xef\xbb\xbf{}",
                                       "{\"a\":1}{}", "{\"a\":1}\x0c", "{\"a\":1,\"\\u0061\":2}", "{\"a\":[{\"b\":1,\"b\":1}]}", "{\"a\":[1}", "{\"a\":1]", "{\"a\" 1}",
                                       "{\"a\":[[[[1]]]]}", "{\"a\":1e999}" };
    const struct strict_limits limits = { .depth = 4, .members = 8 };
    const char *why;
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        cJSON *t = strict_json_object(slice_cstr(good[i]), limits, &why);
        if (t == NULL)
            fail_msg("%s %s", good[i], why);
        cJSON_Delete(t);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        why = NULL;
        assert_null(strict_json_object(slice_cstr(bad[i]), limits, &why));
        assert_non_null(why);
    }
    assert_null(strict_json_object(SLICE_LIT("{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1}"), limits, &why));
    assert_string_equal(why, "has too many members");
    assert_null(strict_json_object(slice_make("{\"a\":1\0}", 8), limits, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_and_left_out), cmocka_unit_test(test_literal_keys), cmocka_unit_test(test_sets),
        cmocka_unit_test(test_base64url), cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
