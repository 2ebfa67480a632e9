/* Signature Version 4 against AWS's published test suite (region us-east-1, service "service", 2015-08-30T12:36:00Z), and reading of keys. */
#include "credential/aws_keys.h"
#include "credential/sigv4.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define HEADERS_MAX 4

static const char EXAMPLE[] = "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n";
static const char TOKEN[] = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/"
                            "qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+"
                            "xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

struct vector {
    const char *name, *method, *path, *query;
    struct {
        const char *name, *value;
    } more[HEADERS_MAX]; /* besides host and x-amz-date */
    const char *body, *signature;
};

static const struct vector vectors[] = {
    { "get-vanilla", "GET", "/", "", { { 0 } }, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
    { "get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", { { 0 } }, "",
      "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f" },
    { "get-utf8", "GET", "/\xe1\x88\xb4", "", { { 0 } }, "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85" },
    { "get-slash", "GET", "//", "", { { 0 } }, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
    { "get-slashes", "GET", "//example//", "", { { 0 } }, "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84" },
    { "get-slash-dot-slash", "GET", "/./", "", { { 0 } }, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
    { "get-slash-pointless-dot", "GET", "/./example", "", { { 0 } }, "",
      "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5" },
    { "get-relative", "GET", "/example/..", "", { { 0 } }, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
    { "get-relative-relative", "GET", "/example1/example2/../..", "", { { 0 } }, "",
      "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
    { "get-space", "GET", "/example space/", "", { { 0 } }, "", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741" },
    { "get-vanilla-empty-query-key", "GET", "/", "Param1=value1", { { 0 } }, "",
      "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb" },
    { "get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", { { 0 } }, "",
      "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
    { "get-vanilla-query-order-encoded", "GET", "/", "Param-3=Value3&Param=Value2&%E1%88%B4=Value1", { { 0 } }, "",
      "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac" },
    { "get-vanilla-query-unreserved", "GET", "/",
      "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv"
      "wxyz", { { 0 } }, "", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197" },
    { "get-vanilla-utf8-query", "GET", "/", "\xe1\x88\xb4=bar", { { 0 } }, "",
      "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04" },
    { "get-header-key-duplicate", "GET", "/", "", { { "my-header1", "value2,value2,value1" } }, "",
      "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea" },
    { "get-header-value-order", "GET", "/", "", { { "my-header1", "value4,value1,value3,value2" } }, "",
      "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01" },
    { "get-header-value-trim", "GET", "/", "", { { "my-header1", " value1" }, { "my-header2", " \"a   b   c\"" } }, "",
      "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736" },
    { "post-vanilla", "POST", "/", "", { { 0 } }, "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
    { "post-vanilla-query", "POST", "/", "Param1=value1", { { 0 } }, "",
      "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11" },
    { "post-header-key-sort", "POST", "/", "", { { "my-header1", "value1" } }, "",
      "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c" },
    { "post-header-value-case", "POST", "/", "", { { "my-header1", "VALUE1" } }, "",
      "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d" },
    { "post-sts-header-before", "POST", "/", "", { { "x-amz-security-token", TOKEN } }, "",
      "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead" },
    { "post-x-www-form-urlencoded", "POST", "/", "", { { "content-type", "application/x-www-form-urlencoded" } }, "Param1=value1",
      "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a" },
    { "post-x-www-form-urlencoded-parameters", "POST", "/", "", { { "content-type", "application/x-www-form-urlencoded; charset=utf8" } },
      "Param1=value1", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe" },
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_header *)a)->name, ((const struct sigv4_header *)b)->name);
}

static void hash_hex(const char *body, char *hex)
{
    unsigned char digest[32];
    assert_int_equal(EVP_Digest(body, strlen(body), digest, NULL, EVP_sha256(), NULL), 1);
    sigv4_hex(digest, hex);
}

static void test_published_vectors(void **state)
{
    struct aws_keys keys;
    const char *why;
    char date[SIGV4_DATE + 1];
    (void)state;
    assert_int_equal(aws_keys_parse(slice_cstr(EXAMPLE), &keys, &why), 0);
    sigv4_date(1440938160, date);
    assert_string_equal(date, "20150830T123600Z");
    for (size_t i = 0; i < COUNT(vectors); i++) {
        const struct vector *v = &vectors[i];
        struct sigv4_header headers[HEADERS_MAX + 2] = { { "host", SLICE_LIT("example.amazonaws.com") },
                                                         { "x-amz-date", slice_cstr(date) } };
        size_t n = 2;
        char hex[SIGV4_HEX + 1], out[SIGV4_AUTHORIZATION_MAX], wanted[SIGV4_AUTHORIZATION_MAX];
        for (; v->more[n - 2].name != NULL; n++)
            headers[n] = (struct sigv4_header){ v->more[n - 2].name, slice_cstr(v->more[n - 2].value) };
        qsort(headers, n, sizeof *headers, by_name);
        hash_hex(v->body, hex);
        struct sigv4_request rq = { .region = "us-east-1", .service = "service", .method = slice_cstr(v->method),
                                    .path = slice_cstr(v->path), .query = slice_cstr(v->query), .headers = headers, .header_count = n,
                                    .payload_hex = hex, .date = date };
        size_t len = sigv4_sign(&keys, &rq, out, sizeof out), w = 0;
        w += (size_t)sprintf(wanted, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=");
        for (size_t k = 0; k < n; k++)
            w += (size_t)sprintf(wanted + w, "%s%s", k > 0 ? ";" : "", headers[k].name);
        sprintf(wanted + w, ", Signature=%s", v->signature);
        if (len != strlen(out) || strcmp(out, wanted) != 0)
            fail_msg("%s:\n%s\n%s", v->name, out, wanted);
    }
    aws_keys_clear(&keys);
}

static void test_does_not_fit(void **state)
{
    struct aws_keys keys;
    const char *why;
    char small[60], many[2000], hex[SIGV4_HEX + 1], out[SIGV4_AUTHORIZATION_MAX];
    struct sigv4_header headers[] = { { "host", SLICE_LIT("h") }, { "x-amz-date", SLICE_LIT("20150830T123600Z") } };
    (void)state;
    assert_int_equal(aws_keys_parse(slice_cstr(EXAMPLE), &keys, &why), 0);
    hash_hex("", hex);
    struct sigv4_request rq = { .region = "r", .service = "s", .method = SLICE_LIT("GET"), .path = SLICE_NONE, .headers = headers,
                                .header_count = 2, .payload_hex = hex, .date = "20150830T123600Z" };
    assert_int_equal(sigv4_sign(&keys, &rq, small, sizeof small), 0);
    for (size_t i = 0; i < 65; i++)
        memcpy(many + 4 * i, "a=b&", 4);
    rq.query = slice_make(many, 4 * 65);
    assert_int_equal(sigv4_sign(&keys, &rq, out, sizeof out), 0);
    rq.query.n -= 4;
    assert_true(sigv4_sign(&keys, &rq, out, sizeof out) > 0);
    aws_keys_clear(&keys);
}

static void test_keys(void **state)
{
    static const struct {
        const char *text, *id, *key, *token;
        int64_t expires_s;
    } good[] = {
        { "aws_access_key_id=A\naws_secret_access_key=B", "A", "B", NULL, -1 },
        { "# c\r\n[other]\naws_access_key_id=X\naws_secret_access_key=Y\n\n[default]\naws_access_key_id = A \n aws_secret_access_key =\tB=\r\n"
          "aws_session_token = T\nregion = us-east-1\n[last]\naws_access_key_id=Z\n", "A", "B=", "T", -1 },
        { "[only]\naws_access_key_id=A\naws_secret_access_key=B\n", "A", "B", NULL, -1 },
        { " {\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\\/c\",\"SessionToken\":\"T\",\"Expiration\":\"2026-11-25T03:30:00Z\"}",
          "A", "B/c", "T", 1795577400 },
        { "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Token\":\"T\",\"Expiration\":\"2026-11-25T03:30:00.123+00:00\",\"Code\":1}",
          "A", "B", "T", 1795577400 },
        { "{\"access_key\":\"A\",\"secret_key\":\"B\",\"security_token\":null}", "A", "B", NULL, -1 },
    };
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "", "missing" },
        { "sk-just-a-key", "neither a section" },
        { "aws_access_key_id=A", "missing" },
        { "{\"AccessKeyId\":\"A\"}", "missing" },
        { "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\\nC\"}", "not printable" },
        { "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\"", "not a JSON object" },
        { "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Expiration\":\"tomorrow\"}", "UTC time" },
        { "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Expiration\":\"2026-13-25T03:30:00Z\"}", "UTC time" },
        { "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Expiration\":\"2026-11-25T03:30:00+02:00\"}", "UTC time" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct aws_keys k;
        const char *why;
        if (aws_keys_parse(slice_cstr(good[i].text), &k, &why) != 0)
            fail_msg("row %zu: %s", i, why);
        assert_string_equal(k.id, good[i].id);
        assert_true(slice_eq_cstr(secret_view(k.key), good[i].key));
        assert_int_equal(k.token != NULL, good[i].token != NULL);
        if (k.token != NULL)
            assert_true(slice_eq_cstr(secret_view(k.token), good[i].token));
        assert_int_equal(k.expires_s, good[i].expires_s);
        aws_keys_clear(&k);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct aws_keys k;
        const char *why;
        assert_int_equal(aws_keys_parse(slice_cstr(bad[i].text), &k, &why), -1);
        if (strstr(why, bad[i].why) == NULL)
            fail_msg("row %zu: %s", i, why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_published_vectors), cmocka_unit_test(test_does_not_fit),
                                        cmocka_unit_test(test_keys) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
