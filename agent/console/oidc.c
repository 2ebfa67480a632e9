#include "console/oidc.h"

#include <cjson/cJSON.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void oidc_base64url(const uint8_t *in, size_t n, char *out)
{
    for (; n >= 3; n -= 3, in += 3) {
        *out++ = alphabet[in[0] >> 2];
        *out++ = alphabet[(in[0] & 3) << 4 | in[1] >> 4];
        *out++ = alphabet[(in[1] & 15) << 2 | in[2] >> 6];
        *out++ = alphabet[in[2] & 63];
    }
    if (n > 0) {
        *out++ = alphabet[in[0] >> 2];
        *out++ = alphabet[(in[0] & 3) << 4 | (n > 1 ? in[1] >> 4 : 0)];
        if (n > 1)
            *out++ = alphabet[(in[1] & 15) << 2];
    }
    *out = '\0';
}

size_t oidc_percent(struct slice in, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    char *p = out;

    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("-._~", c) != NULL)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    *p = '\0';
    return (size_t)(p - out);
}

bool oidc_equal(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

/* ---- discovery --------------------------------------------------------------------------------------------------- */

static bool url_take(const cJSON *doc, const char *name, bool allow_http, bool required, char out[OIDC_URL_MAX], char *why, size_t why_size)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(doc, name);

    out[0] = '\0';
    if (!cJSON_IsString(v)) {
        if (required)
            snprintf(why, why_size, "the discovery document has no %s", name);
        return !required;
    }
    size_t n = strlen(v->valuestring);
    bool safe = strncmp(v->valuestring, "https://", 8) == 0 || (allow_http && strncmp(v->valuestring, "http://", 7) == 0);
    for (size_t i = 0; i < n && safe; i++)
        safe = (unsigned char)v->valuestring[i] > ' ' && (unsigned char)v->valuestring[i] < 0x7f && v->valuestring[i] != '#';
    if (!safe || n >= OIDC_URL_MAX) {
        snprintf(why, why_size, "the discovery document's %s is no %s address", name, allow_http ? "http(s)" : "https");
        return false;
    }
    memcpy(out, v->valuestring, n + 1);
    return true;
}

static bool listed(const cJSON *list, const char *word)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, list)
        if (cJSON_IsString(v) && strcmp(v->valuestring, word) == 0)
            return true;
    return false;
}

bool oidc_discovery_parse(struct slice json, const char *issuer, bool allow_http, struct oidc_provider *out, char *why, size_t why_size)
{
    cJSON *doc = json.n > 0 ? cJSON_ParseWithLength(json.p, json.n) : NULL;
    bool ok = false;

    *out = (struct oidc_provider){ .secret_in_body = false };
    if (!cJSON_IsObject(doc)) {
        snprintf(why, why_size, "the discovery document is no JSON object");
        goto out;
    }
    const cJSON *named = cJSON_GetObjectItemCaseSensitive(doc, "issuer");
    if (!cJSON_IsString(named) || strcmp(named->valuestring, issuer) != 0) {
        snprintf(why, why_size, "the discovery document is another issuer's");
        goto out;
    }
    if (!url_take(doc, "authorization_endpoint", allow_http, true, out->authorization_endpoint, why, why_size) ||
        !url_take(doc, "token_endpoint", allow_http, true, out->token_endpoint, why, why_size) ||
        !url_take(doc, "end_session_endpoint", allow_http, false, out->end_session_endpoint, why, why_size))
        goto out;
    const cJSON *methods = cJSON_GetObjectItemCaseSensitive(doc, "token_endpoint_auth_methods_supported");
    out->secret_in_body = cJSON_IsArray(methods) && !listed(methods, "client_secret_basic") && listed(methods, "client_secret_post");
    out->names_itself = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(doc, "authorization_response_iss_parameter_supported"));
    ok = true;
out:
    cJSON_Delete(doc);
    return ok;
}

/* ---- the sign-in ------------------------------------------------------------------------------------------------- */

static void derive(const uint8_t key[32], const char *purpose, struct slice seed, char out[OIDC_TEXT])
{
    uint8_t text[256], mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    size_t head = strlen(purpose) + 1, room = sizeof text - head;

    memcpy(text, purpose, head);
    memcpy(text + head, seed.p, seed.n < room ? seed.n : room);
    HMAC(EVP_sha256(), key, 32, text, head + (seed.n < room ? seed.n : room), mac, &n);
    oidc_base64url(mac, 32, out);
}

void oidc_attempt_derive(const uint8_t key[32], struct slice seed, struct oidc_attempt *out)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];

    derive(key, "state", seed, out->state);
    derive(key, "nonce", seed, out->nonce);
    derive(key, "verifier", seed, out->verifier);
    SHA256((const unsigned char *)out->verifier, strlen(out->verifier), hash);
    oidc_base64url(hash, sizeof hash, out->challenge);
}

bool oidc_authorization_url(const struct oidc_provider *p, const char *client_id, const char *scope, const char *redirect_uri,
                            const struct oidc_attempt *a, char out[OIDC_URL_MAX])
{
    char id[3 * 512 + 1], scopes[3 * 256 + 1], uri[3 * 512 + 1];

    if (strlen(client_id) > 512 || strlen(scope) > 256 || strlen(redirect_uri) > 512)
        return false;
    oidc_percent(slice_cstr(client_id), id);
    oidc_percent(slice_cstr(scope), scopes);
    oidc_percent(slice_cstr(redirect_uri), uri);
    int n = snprintf(out, OIDC_URL_MAX,
                     "%s%cresponse_type=code&client_id=%s&scope=%s&redirect_uri=%s&state=%s&nonce=%s&code_challenge=%s"
                     "&code_challenge_method=S256",
                     p->authorization_endpoint, strchr(p->authorization_endpoint, '?') != NULL ? '&' : '?', id, scopes, uri, a->state,
                     a->nonce, a->challenge);
    return n > 0 && n < OIDC_URL_MAX;
}

/* RFC 6749 2.3.1: both parts form-encoded, then Basic. The secret's traces on the way are wiped. */
static char *basic_header(const char *client_id, struct slice secret, struct arena *a)
{
    static const char name[] = "Authorization: Basic ";
    size_t id_n = strlen(client_id), room = 3 * (id_n + secret.n) + 2;
    char *pair = arena_alloc(a, room), *out = arena_alloc(a, sizeof name + room / 3 * 4 + 8);

    if (pair == NULL || out == NULL)
        return NULL;
    size_t n = oidc_percent(slice_make(client_id, id_n), pair);
    pair[n++] = ':';
    n += oidc_percent(secret, pair + n);
    memcpy(out, name, sizeof name - 1);
    EVP_EncodeBlock((unsigned char *)out + sizeof name - 1, (const unsigned char *)pair, (int)n);
    OPENSSL_cleanse(pair, room);
    return out;
}

char *oidc_token_form(const struct oidc_provider *p, const char *client_id, struct slice secret, const char *redirect_uri,
                      struct slice code, const char *verifier, struct arena *a, char **header)
{
    struct {
        const char *name;
        struct slice value;
    } fields[] = { { "grant_type=", SLICE_LIT("authorization_code") }, { "&code=", code },
                   { "&redirect_uri=", slice_cstr(redirect_uri) },      { "&code_verifier=", slice_cstr(verifier) },
                   { "&client_id=", slice_cstr(client_id) },            { "&client_secret=", secret } };
    bool basic = secret.n > 0 && !p->secret_in_body;
    /* The client is named in one way only: some providers refuse both. */
    size_t count = basic ? 4 : secret.n > 0 ? 6 : 5, room = 1;

    for (size_t i = 0; i < count; i++)
        room += strlen(fields[i].name) + 3 * fields[i].value.n;
    char *form = arena_alloc(a, room), *at = form;
    *header = basic ? basic_header(client_id, secret, a) : arena_zalloc(a, 1);
    if (form == NULL || *header == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(fields[i].name);
        memcpy(at, fields[i].name, n);
        at += n;
        at += oidc_percent(fields[i].value, at);
    }
    return form;
}

/* An `error` code is at most this long in our messages, and only what RFC 6749 5.2 allows in one. */
static void error_word(const cJSON *doc, char out[64])
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(doc, "error");
    size_t n = 0;

    for (const char *p = cJSON_IsString(v) ? v->valuestring : ""; *p != '\0' && n < 63; p++)
        if ((*p >= 'a' && *p <= 'z') || *p == '_' || (*p >= '0' && *p <= '9'))
            out[n++] = *p;
    out[n] = '\0';
}

struct slice oidc_token_reply(long status, struct slice json, struct arena *a, char *why, size_t why_size)
{
    cJSON *doc = json.n > 0 ? cJSON_ParseWithLength(json.p, json.n) : NULL;
    struct slice token = SLICE_NONE;
    char word[64];

    if (!cJSON_IsObject(doc) || status != 200) {
        error_word(doc, word);
        snprintf(why, why_size, "the token endpoint answered %ld%s%s", status, word[0] != '\0' ? ", " : "", word);
        goto out;
    }
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(doc, "id_token");
    if (!cJSON_IsString(v) || v->valuestring[0] == '\0') {
        snprintf(why, why_size, "the token endpoint gave no id_token; is openid among the scopes this client may ask for?");
        goto out;
    }
    size_t n = strlen(v->valuestring);
    char *copy = arena_alloc(a, n);
    if (copy == NULL) {
        snprintf(why, why_size, "out of memory");
        goto out;
    }
    memcpy(copy, v->valuestring, n);
    token = slice_make(copy, n);
out:
    cJSON_Delete(doc);
    return token;
}

/* ---- the ID token, after its verification ------------------------------------------------------------------------- */

static int value_of(char c)
{
    const char *p = c != '\0' ? strchr(alphabet, c) : NULL;
    return p == NULL ? -1 : (int)(p - alphabet);
}

/* The payload as JSON; NULL: it is none. */
static cJSON *payload_parse(struct slice token)
{
    const char *end = token.p + token.n, *first = memchr(token.p, '.', token.n);
    const char *second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    cJSON *doc = NULL;

    if (second == NULL)
        return NULL;
    size_t in = (size_t)(second - first - 1), n = 0;
    char *text = OPENSSL_malloc(in / 4 * 3 + 3);
    if (text == NULL)
        return NULL;
    unsigned bits = 0, held = 0;
    for (size_t i = 0; i < in; i++) {
        int v = value_of(first[1 + i]);
        if (v < 0)
            goto out;
        bits = (bits << 6 | (unsigned)v) & 0xffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            text[n++] = (char)(bits >> held & 0xff);
        }
    }
    doc = n > 0 ? cJSON_ParseWithLength(text, n) : NULL;
out:
    OPENSSL_clear_free(text, in / 4 * 3 + 3);
    return doc;
}

bool oidc_token_belongs(struct slice id_token, const char *client_id, const char *nonce, char *why, size_t why_size)
{
    cJSON *doc = id_token.n > 0 ? payload_parse(id_token) : NULL;
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(doc, "nonce"), *azp = cJSON_GetObjectItemCaseSensitive(doc, "azp");
    bool ok = false;

    if (!cJSON_IsString(v) || !oidc_equal(slice_cstr(v->valuestring), slice_cstr(nonce)))
        snprintf(why, why_size, "the ID token is not for this sign-in (nonce)");
    else if (azp != NULL && (!cJSON_IsString(azp) || strcmp(azp->valuestring, client_id) != 0))
        snprintf(why, why_size, "the ID token was made for another client (azp)");
    else
        ok = true;
    cJSON_Delete(doc);
    return ok;
}
