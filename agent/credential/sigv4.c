#include "credential/sigv4.h"

#include "base/hex.h"
#include "base/private.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DIGEST = 32 };

static const char UPPER[] = "0123456789ABCDEF";

void sigv4_date(int64_t utc_s, char *out)
{
    time_t t = (time_t)utc_s;
    struct tm tm;
    char text[64];

    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &tm);
    snprintf(out, SIGV4_DATE + 1, "%.*s", SIGV4_DATE, text);
}

void sigv4_hex(const unsigned char digest[32], char *out)
{
    for (size_t i = 0; i < DIGEST; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* ---- the canonical request, hashed as it is written ------------------------------------------------------------------- */

static void put(EVP_MD_CTX *h, const char *p, size_t n)
{
    EVP_DigestUpdate(h, p, n);
}

static bool unreserved(unsigned char c)
{
    return isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static void put_encoded(EVP_MD_CTX *h, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (unreserved(c))
            put(h, s.p + i, 1);
        else
            put(h, (char[]){ '%', UPPER[c >> 4], UPPER[c & 15] }, 3);
    }
}

/* RFC 3986 5.2.4, and empty segments go. False: too many segments. */
static bool put_path(EVP_MD_CTX *h, struct slice path)
{
    struct slice segments[SIGV4_SEGMENTS_MAX];
    size_t n = 0, at = 0;
    bool folder = true; /* ends with a slash */

    while (at < path.n) {
        while (at < path.n && path.p[at] == '/')
            at++, folder = true;
        size_t begin = at;
        while (at < path.n && path.p[at] != '/')
            at++;
        struct slice s = slice_make(path.p + begin, at - begin);
        if (s.n == 0 || slice_eq_cstr(s, ".")) {
            folder = true;
            continue;
        }
        if (slice_eq_cstr(s, "..")) {
            n -= n > 0;
            folder = true;
            continue;
        }
        if (n == SIGV4_SEGMENTS_MAX)
            return false;
        segments[n++] = s;
        folder = false;
    }
    for (size_t i = 0; i < n; i++) {
        put(h, "/", 1);
        put_encoded(h, segments[i]);
    }
    if (folder || n == 0)
        put(h, "/", 1);
    return true;
}

/* Percent-decodes and encodes anew, so that every spelling of a parameter is one. `out` has room for 3 bytes each. */
static size_t reencode(struct slice s, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '%' && i + 2 < s.n && hex_digit(s.p[i + 1]) >= 0 && hex_digit(s.p[i + 2]) >= 0) {
            c = (unsigned char)(hex_digit(s.p[i + 1]) << 4 | hex_digit(s.p[i + 2]));
            i += 2;
        }
        if (unreserved(c)) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = UPPER[c >> 4];
            out[n++] = UPPER[c & 15];
        }
    }
    return n;
}

struct parameter {
    struct slice name, value;
};

static int compare(struct slice a, struct slice b)
{
    int rc = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return rc != 0 ? rc : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b)
{
    const struct parameter *x = a, *y = b;
    int rc = compare(x->name, y->name);
    return rc != 0 ? rc : compare(x->value, y->value);
}

static struct slice reencoded(struct slice s, char **at)
{
    struct slice r = slice_make(*at, reencode(s, *at));
    *at += r.n;
    return r;
}

static bool put_query(EVP_MD_CTX *h, struct slice query)
{
    struct parameter all[SIGV4_PARAMETERS_MAX];
    char *buf = malloc(3 * query.n + 1), *at = buf;
    size_t n = 0;

    if (buf == NULL)
        return false;
    while (query.n > 0) {
        const char *end = memchr(query.p, '&', query.n);
        struct slice one = slice_make(query.p, end != NULL ? (size_t)(end - query.p) : query.n);
        query = slice_make(one.p + one.n + (end != NULL), query.n - one.n - (end != NULL));
        if (one.n == 0)
            continue;
        if (n == SIGV4_PARAMETERS_MAX) {
            free(buf);
            return false;
        }
        const char *eq = memchr(one.p, '=', one.n);
        struct slice name = slice_make(one.p, eq != NULL ? (size_t)(eq - one.p) : one.n);
        struct slice value = eq != NULL ? slice_make(eq + 1, one.n - name.n - 1) : slice_make(one.p + one.n, 0);
        all[n].name = reencoded(name, &at);
        all[n++].value = reencoded(value, &at);
    }
    qsort(all, n, sizeof *all, by_name);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put(h, "&", 1);
        put(h, all[i].name.p, all[i].name.n);
        put(h, "=", 1);
        put(h, all[i].value.p, all[i].value.n);
    }
    free(buf);
    return true;
}

static void put_header(EVP_MD_CTX *h, const struct sigv4_header *header)
{
    struct slice v = header->value;
    bool blank = false, begun = false;

    put(h, header->name, strlen(header->name));
    put(h, ":", 1);
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == ' ' || v.p[i] == '\t') {
            blank = begun;
            continue;
        }
        if (blank)
            put(h, " ", 1);
        put(h, v.p + i, 1);
        blank = false;
        begun = true;
    }
    put(h, "\n", 1);
}

static void put_names(EVP_MD_CTX *h, const struct sigv4_request *rq)
{
    for (size_t i = 0; i < rq->header_count; i++) {
        if (i > 0)
            put(h, ";", 1);
        put(h, rq->headers[i].name, strlen(rq->headers[i].name));
    }
}

static bool hash_request(const struct sigv4_request *rq, char hex[SIGV4_HEX + 1])
{
    EVP_MD_CTX *h = EVP_MD_CTX_new();
    unsigned char digest[DIGEST];
    bool ok = h != NULL && EVP_DigestInit_ex(h, EVP_sha256(), NULL) == 1;

    if (ok) {
        put(h, rq->method.p, rq->method.n);
        put(h, "\n", 1);
        ok = put_path(h, rq->path);
    }
    if (ok) {
        put(h, "\n", 1);
        ok = put_query(h, rq->query);
    }
    if (ok) {
        put(h, "\n", 1);
        for (size_t i = 0; i < rq->header_count; i++) {
            assert(i == 0 || strcmp(rq->headers[i - 1].name, rq->headers[i].name) < 0);
            put_header(h, &rq->headers[i]);
        }
        put(h, "\n", 1);
        put_names(h, rq);
        put(h, "\n", 1);
        put(h, rq->payload_hex, SIGV4_HEX);
        ok = EVP_DigestFinal_ex(h, digest, NULL) == 1;
    }
    if (ok)
        sigv4_hex(digest, hex);
    EVP_MD_CTX_free(h);
    return ok;
}

/* ---- the signature ---------------------------------------------------------------------------------------------------- */

static bool mac(const unsigned char *key, size_t key_n, const char *text, size_t n, unsigned char out[DIGEST])
{
    unsigned len = DIGEST;
    return HMAC(EVP_sha256(), key, (int)key_n, (const unsigned char *)text, n, out, &len) != NULL;
}

static bool signing_key(const struct aws_keys *keys, const struct sigv4_request *rq, unsigned char out[DIGEST])
{
    struct slice secret = secret_view(keys->key);
    unsigned char *first = private_alloc(secret.n + 4);

    if (first == NULL)
        return false;
    memcpy(first, "AWS4", 4);
    memcpy(first + 4, secret.p, secret.n);
    bool ok = mac(first, secret.n + 4, rq->date, 8, out) && mac(out, DIGEST, rq->region, strlen(rq->region), out) &&
              mac(out, DIGEST, rq->service, strlen(rq->service), out) && mac(out, DIGEST, "aws4_request", 12, out);
    secret_wipe(first, secret.n + 4);
    private_free(first);
    return ok;
}

size_t sigv4_sign(const struct aws_keys *keys, const struct sigv4_request *rq, char *out, size_t cap)
{
    char hex[SIGV4_HEX + 1], scope[192], text[512];
    unsigned char key[DIGEST], digest[DIGEST];

    if (!hash_request(rq, hex))
        return 0;
    int n = snprintf(scope, sizeof scope, "%.8s/%s/%s/aws4_request", rq->date, rq->region, rq->service);
    if (n < 0 || (size_t)n >= sizeof scope)
        return 0;
    n = snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", rq->date, scope, hex);
    bool ok = n > 0 && (size_t)n < sizeof text && signing_key(keys, rq, key) && mac(key, sizeof key, text, (size_t)n, digest);
    secret_wipe(key, sizeof key);
    if (!ok)
        return 0;
    sigv4_hex(digest, hex);
    size_t used = (size_t)snprintf(out, cap, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=", keys->id, scope);
    for (size_t i = 0; i < rq->header_count && used < cap; i++)
        used += (size_t)snprintf(out + used, cap - used, "%s%s", i > 0 ? ";" : "", rq->headers[i].name);
    if (used < cap)
        used += (size_t)snprintf(out + used, cap - used, ", Signature=%s", hex);
    return used < cap ? used : 0;
}
