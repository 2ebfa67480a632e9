/* Dates of certificate files: chains, bundles, revocation lists, keys beside them, and what is none of these. */
#include "observe/certificate_file.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define DAY INT64_C(86400)
static const int64_t now = INT64_C(1790000000);

static EVP_PKEY *key;
static char path[] = "/tmp/tollgate-certificates-XXXXXX";

static FILE *rewritten(void)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    return f;
}

static void put_certificate(FILE *f, int64_t from_s, int64_t until_s)
{
    X509 *x = X509_new();

    assert_non_null(x);
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from_s));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x), (time_t)until_s));
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(f, x), 1);
    X509_free(x);
}

static void put_crl(FILE *f, int64_t from_s, int64_t until_s)
{
    X509_CRL *c = X509_CRL_new();
    ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)from_s), *until = ASN1_TIME_set(NULL, (time_t)until_s);

    assert_non_null(c);
    X509_CRL_set_version(c, 1);
    X509_CRL_set1_lastUpdate(c, from);
    if (until_s >= 0)
        X509_CRL_set1_nextUpdate(c, until);
    assert_true(X509_CRL_sign(c, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509_CRL(f, c), 1);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    X509_CRL_free(c);
}

static void assert_dates(enum certificate_role role, int64_t from_s, int64_t until_s)
{
    struct certificate_dates d;

    assert_true(certificate_file_read(path, role, &d));
    assert_int_equal(d.from_s, from_s);
    assert_int_equal(d.until_s, until_s);
}

static void assert_unreadable(enum certificate_role role)
{
    struct certificate_dates d;
    assert_false(certificate_file_read(path, role, &d));
}

static void test_chains_and_bundles(void **state)
{
    FILE *f = rewritten();

    (void)state;
    put_certificate(f, now, now + 90 * DAY);
    fclose(f);
    assert_dates(CERTIFICATE_OWN, now, now + 90 * DAY);
    assert_dates(CERTIFICATE_CA, now, now + 90 * DAY);
    assert_unreadable(CERTIFICATE_CRL);
    /* A key in front, a leaf, and an authority whose end comes first: the chain ends with it, a bundle with the last. */
    f = rewritten();
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fputs("text between blocks\n", f);
    put_certificate(f, now, now + 90 * DAY);
    put_certificate(f, now - 300 * DAY, now + 10 * DAY);
    put_certificate(f, now - 10 * DAY, now + 3000 * DAY);
    fclose(f);
    assert_dates(CERTIFICATE_OWN, now - 300 * DAY, now + 10 * DAY);
    assert_dates(CERTIFICATE_CA, now - 10 * DAY, now + 3000 * DAY);
}

static void test_revocation_lists(void **state)
{
    FILE *f = rewritten();

    (void)state;
    put_crl(f, now, -1);
    fclose(f);
    assert_dates(CERTIFICATE_CRL, now, -1);
    f = rewritten();
    put_crl(f, now, -1);
    put_crl(f, now - DAY, now + 7 * DAY);
    put_crl(f, now - 2 * DAY, now + 30 * DAY);
    fclose(f);
    assert_dates(CERTIFICATE_CRL, now - DAY, now + 7 * DAY);
    assert_unreadable(CERTIFICATE_OWN);
}

static void test_what_is_none(void **state)
{
    static const char *const texts[] = {
        "", "nonsense", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    };
    struct certificate_dates d;
    FILE *f;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        f = rewritten();
        fputs(texts[i], f);
        fclose(f);
        for (int role = CERTIFICATE_OWN; role <= CERTIFICATE_CRL; role++)
            assert_unreadable((enum certificate_role)role);
    }
    /* A good one does not hide one that is broken. */
    f = rewritten();
    put_certificate(f, now, now + DAY);
    fputs("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", f);
    fclose(f);
    assert_unreadable(CERTIFICATE_OWN);
    assert_false(certificate_file_read("/tmp", CERTIFICATE_CA, &d));
    assert_false(certificate_file_read("/nowhere/at/all", CERTIFICATE_CA, &d));
}

static int set_up(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    key = EVP_EC_gen("P-256");
    return fd < 0 || close(fd) != 0 || key == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains_and_bundles),
        cmocka_unit_test(test_revocation_lists),
        cmocka_unit_test(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
