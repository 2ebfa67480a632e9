#include "admin/tollgatectl_certificate.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

static bool hex(const unsigned char *p, size_t n, char *out, size_t size)
{
    if (2 * n >= size)
        return false;
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", p[i]);
    return true;
}

bool ctl_certificate_read(const char *path, char der[CTL_CERTIFICATE_HEX], char fingerprint[CTL_FINGERPRINT])
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    unsigned char *bytes = NULL, digest[32];

    if (f == NULL) {
        fprintf(stderr, "tollgatectl: %s: %s\n", path, strerror(errno));
        return false;
    }
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    int n = x != NULL ? i2d_X509(x, &bytes) : 0;
    bool ok = n > 0 && (der == NULL || hex(bytes, (size_t)n, der, CTL_CERTIFICATE_HEX));
    ok = ok && EVP_Digest(bytes, (size_t)n, digest, NULL, EVP_sha256(), NULL) == 1 &&
         (fingerprint == NULL || hex(digest, sizeof digest, fingerprint, CTL_FINGERPRINT));
    if (!ok)
        fprintf(stderr, "tollgatectl: %s holds no certificate in PEM form (\"-----BEGIN CERTIFICATE-----\")\n", path);
    OPENSSL_free(bytes);
    X509_free(x);
    if (f != stdin)
        fclose(f);
    return ok;
}
