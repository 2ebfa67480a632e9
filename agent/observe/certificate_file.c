#include "observe/certificate_file.h"

#include "base/file_read.h"
#include "base/secret.h"
#include "base/slice.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <time.h>

enum { FILE_MAX = 4 * 1024 * 1024 };

const char *certificate_role_name(enum certificate_role role)
{
    static const char *const names[] = { "certificate", "ca", "crl" };
    return names[role];
}

static bool seconds_of(const ASN1_TIME *t, int64_t *s)
{
    struct tm tm;

    if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *s = (int64_t)timegm(&tm);
    return true;
}

/* One block, from its BEGIN on. */
static bool block_dates(struct slice block, enum certificate_role role, struct certificate_dates *out)
{
    BIO *bio = BIO_new_mem_buf(block.p, (int)block.n);
    bool ok = false;

    if (bio == NULL)
        return false;
    if (role == CERTIFICATE_CRL) {
        X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
        out->until_s = -1;
        ok = crl != NULL && seconds_of(X509_CRL_get0_lastUpdate(crl), &out->from_s) &&
             (X509_CRL_get0_nextUpdate(crl) == NULL || seconds_of(X509_CRL_get0_nextUpdate(crl), &out->until_s));
        X509_CRL_free(crl);
    } else {
        X509 *cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
        ok = cert != NULL && seconds_of(X509_get0_notBefore(cert), &out->from_s) && seconds_of(X509_get0_notAfter(cert), &out->until_s);
        X509_free(cert);
    }
    BIO_free(bio);
    ERR_clear_error();
    return ok;
}

static void join(struct certificate_dates *all, const struct certificate_dates *one, enum certificate_role role)
{
    if (role == CERTIFICATE_CA ? one->until_s > all->until_s : one->until_s >= 0 && (all->until_s < 0 || one->until_s < all->until_s))
        *all = *one;
}

/* The first block of its kind: from "-----BEGIN" to the end of "-----END...". p NULL: none. */
static struct slice block_next(struct slice text, enum certificate_role role)
{
    static const char *const begins[][3] = { { "-----BEGIN CERTIFICATE-----", "-----BEGIN TRUSTED CERTIFICATE-----", "-----BEGIN X509 CERTIFICATE-----" },
                                             { "-----BEGIN X509 CRL-----", NULL, NULL } };
    const char *first = NULL;

    if (text.n == 0)
        return SLICE_NONE;
    for (int i = 0; i < 3 && begins[role == CERTIFICATE_CRL][i] != NULL; i++) {
        const char *begin = begins[role == CERTIFICATE_CRL][i], *at = memmem(text.p, text.n, begin, strlen(begin));
        if (at != NULL && (first == NULL || at < first))
            first = at;
    }
    if (first == NULL)
        return SLICE_NONE;
    size_t left = text.n - (size_t)(first - text.p);
    const char *end = memmem(first, left, "-----END ", 9), *stop = end != NULL ? memchr(end, '\n', left - (size_t)(end - first)) : NULL;
    return slice_make(first, stop != NULL ? (size_t)(stop - first) + 1 : left);
}

bool certificate_file_read(const char *path, enum certificate_role role, struct certificate_dates *out)
{
    struct certificate_dates one;
    bool any = false, good = true;
    char why[128];
    size_t n = 0;
    char *buffer = file_read(path, FILE_MAX, &n, NULL, why, sizeof why);
    struct slice text = slice_make(buffer, n), block;

    while (good && (block = block_next(text, role)).p != NULL) {
        good = block_dates(block, role, &one);
        if (good && !any)
            *out = one;
        else if (good)
            join(out, &one, role);
        any = true;
        text = slice_make(block.p + block.n, text.n - (size_t)(block.p - text.p) - block.n);
    }
    if (buffer != NULL)
        secret_wipe(buffer, n);
    free(buffer);
    return any && good;
}
