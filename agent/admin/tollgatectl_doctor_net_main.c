/* Issuers and providers as they are reached from here: name, connection, TLS and its certificate, answer, and whether their clock is ours. No
 * credential is sent. */
#include "admin/tollgatectl_doctor.h"
#include "config/config.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 4000, WHOLE_MS = 8000, BODY_MAX = 1 << 20, CLOCK_WARN_S = 10, CLOCK_FAIL_S = 60 };

struct fetch {
    CURLcode rc;
    long status;
    char error[CURL_ERROR_SIZE], date[64];
    int64_t not_after_s; /* 0: unknown */
    int64_t at_s;        /* our clock at the answer */
    char *body;
    size_t n;
};

static size_t on_body(char *p, size_t one, size_t n, void *user)
{
    struct fetch *f = user;

    (void)one;
    if (f->n + n > BODY_MAX)
        return 0;
    char *more = realloc(f->body, f->n + n + 1);
    if (more == NULL)
        return 0;
    f->body = more;
    memcpy(f->body + f->n, p, n);
    f->n += n;
    f->body[f->n] = '\0';
    return n;
}

static size_t on_header(char *p, size_t one, size_t n, void *user)
{
    struct fetch *f = user;

    (void)one;
    if (n > 6 && strncasecmp(p, "date:", 5) == 0)
        snprintf(f->date, sizeof f->date, "%.*s", (int)(n - 5 < 60 ? n - 5 : 60), p + 5);
    return n;
}

static int64_t expiry(CURL *c)
{
    struct curl_certinfo *info = NULL;

    if (curl_easy_getinfo(c, CURLINFO_CERTINFO, &info) != CURLE_OK || info == NULL || info->num_of_certs == 0)
        return 0;
    for (struct curl_slist *l = info->certinfo[0]; l != NULL; l = l->next)
        if (strncmp(l->data, "Expire date:", 12) == 0) {
            time_t t = curl_getdate(l->data + 12, NULL);
            return t > 0 ? (int64_t)t : 0;
        }
    return 0;
}

/* How a site is reached: by its address, under the name its certificate has (NULL: that of the address). */
struct site {
    const char *url, *ca_file, *server_name;
    bool insecure;
};

/* The address with the certificate's name in place of the host, which is connected to all the same. NULL when it cannot be told. */
static struct curl_slist *rename_host(CURL *c, const struct site *s)
{
    CURLU *u = curl_url();
    char *host = NULL, *url = NULL, to[600];
    struct curl_slist *list = NULL;

    if (u != NULL && curl_url_set(u, CURLUPART_URL, s->url, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_HOST, s->server_name, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK) {
        snprintf(to, sizeof to, "::%s:", host);
        list = curl_slist_append(NULL, to);
        curl_easy_setopt(c, CURLOPT_URL, url);
        curl_easy_setopt(c, CURLOPT_CONNECT_TO, list);
    }
    curl_free(host);
    curl_free(url);
    curl_url_cleanup(u);
    return list;
}

static void fetch(const struct site *s, struct fetch *f)
{
    CURL *c = curl_easy_init();
    struct curl_slist *to = NULL;

    *f = (struct fetch){ .rc = CURLE_OUT_OF_MEMORY };
    if (c == NULL)
        return;
    curl_easy_setopt(c, CURLOPT_URL, s->url);
    if (s->server_name != NULL)
        to = rename_host(c, s);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)WHOLE_MS);
    curl_easy_setopt(c, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->error);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "tollgatectl/" TOLLGATE_VERSION);
    if (s->ca_file != NULL)
        curl_easy_setopt(c, CURLOPT_CAINFO, s->ca_file);
    if (s->insecure) {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    f->rc = curl_easy_perform(c);
    f->at_s = (int64_t)time(NULL);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &f->status);
    f->not_after_s = expiry(c);
    curl_easy_cleanup(c);
    curl_slist_free_all(to);
}

/* False when there was no answer: then it was said why, and what to do. */
static bool answered(struct doctor *d, const char *check, const char *subject, const struct fetch *f)
{
    const char *why = f->error[0] != '\0' ? f->error : curl_easy_strerror(f->rc), *fix;
    bool resolving = f->rc == CURLE_OPERATION_TIMEDOUT && strncmp(why, "Resolving", 9) == 0;
    CURLcode rc = resolving ? CURLE_COULDNT_RESOLVE_HOST : f->rc;

    switch (rc) {
    case CURLE_OK:
        return true;
    case CURLE_COULDNT_RESOLVE_HOST:
        fix = "see to the name in the configuration and to DNS (/etc/resolv.conf)";
        break;
    case CURLE_COULDNT_CONNECT:
        fix = "see to the port, to firewalls on the way, and whether it runs";
        break;
    case CURLE_OPERATION_TIMEDOUT:
        fix = "see to firewalls on the way, and whether it is overloaded";
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
        fix = "see to its certificate (name, expiry, chain), to ca_file and to this machine's clock";
        break;
    default:
        fix = "see to the address in the configuration";
    }
    doctor_say(d, DOCTOR_FAILURE, check, subject, fix, "%s%s", rc == CURLE_COULDNT_RESOLVE_HOST ? "DNS: " : rc == CURLE_COULDNT_CONNECT ? "TCP: " :
               rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CONNECT_ERROR ? "TLS: " : "", why);
    return false;
}

static void clocks(struct doctor *d, const char *subject, const struct fetch *f)
{
    time_t theirs = f->date[0] != '\0' ? curl_getdate(f->date, NULL) : -1;
    int64_t ahead = f->at_s - (int64_t)theirs;

    if (theirs <= 0)
        return;
    const char *fix = "run a time service (apt install chrony); when all others agree with us, theirs is wrong";
    if (llabs(ahead) > CLOCK_FAIL_S)
        doctor_say(d, DOCTOR_FAILURE, "clock", subject, fix, "our clock is %" PRId64 " s %s theirs: tokens are refused as expired or not yet valid", (int64_t)llabs(ahead), ahead > 0 ? "ahead of" : "behind");
    else if (llabs(ahead) > CLOCK_WARN_S)
        doctor_say(d, DOCTOR_WARNING, "clock", subject, fix, "our clock is %" PRId64 " s %s theirs", (int64_t)llabs(ahead), ahead > 0 ? "ahead of" : "behind");
    else
        doctor_say(d, DOCTOR_OK, "clock", subject, NULL, "agrees with ours");
}

static void key_set(struct doctor *d, const struct config_issuer *is, const char *url)
{
    struct fetch f;

    fetch(&(struct site){ .url = url, .ca_file = is->ca_file }, &f);
    if (answered(d, "issuer", url, &f)) {
        cJSON *o = cJSON_Parse(f.body != NULL ? f.body : "");
        int keys = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(o, "keys"));
        if (f.status != 200 || keys == 0)
            doctor_say(d, DOCTOR_FAILURE, "issuer", is->issuer, "see to jwks or discovery in the configuration, and to the issuer", "its key set at %s: status %ld, %d keys", url, f.status, keys);
        else
            doctor_say(d, DOCTOR_OK, "issuer", is->issuer, NULL, "%d keys at %s", keys, url);
        cJSON_Delete(o);
    }
    free(f.body);
}

static void discovery(struct doctor *d, const struct config_issuer *is)
{
    char url[2048];
    struct fetch f;
    size_t n = strlen(is->issuer);

    snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)(n > 0 && is->issuer[n - 1] == '/' ? n - 1 : n), is->issuer);
    fetch(&(struct site){ .url = is->discovery != NULL ? is->discovery : url, .ca_file = is->ca_file }, &f);
    if (answered(d, "issuer", is->issuer, &f)) {
        cJSON *o = cJSON_Parse(f.body != NULL ? f.body : "");
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(o, "issuer"), *jwks = cJSON_GetObjectItemCaseSensitive(o, "jwks_uri");
        if (f.status != 200 || !cJSON_IsString(jwks))
            doctor_say(d, DOCTOR_FAILURE, "issuer", is->issuer, "see to the issuer's address, or name its key set with jwks", "no discovery document: status %ld", f.status);
        else if (!cJSON_IsString(name) || strcmp(name->valuestring, is->issuer) != 0)
            doctor_say(d, DOCTOR_FAILURE, "issuer", is->issuer, "write the issuer as it writes itself, to the last slash", "its discovery document names another: %.200s",
                       cJSON_IsString(name) ? name->valuestring : "none");
        else
            key_set(d, is, jwks->valuestring);
        cJSON_Delete(o);
        clocks(d, is->issuer, &f);
        if (f.not_after_s > 0)
            doctor_expiry(d, is->issuer, f.not_after_s, "its operator has to renew it");
    }
    free(f.body);
}

static void provider(struct doctor *d, const struct config_provider *p)
{
    char url[2048];
    const char *model = strstr(p->url, "<model>"); /* a path made for each request */
    struct fetch f;

    snprintf(url, sizeof url, "%.*s", model != NULL ? (int)(model - p->url) : (int)strlen(p->url), p->url);
    fetch(&(struct site){ .url = url, .ca_file = p->ca_file, .server_name = p->server_name, .insecure = p->insecure }, &f);
    if (answered(d, "provider", p->name, &f)) {
        if (f.status >= 500)
            doctor_say(d, DOCTOR_WARNING, "provider", p->name, "see the provider's status page", "it answers with %ld", f.status);
        else
            doctor_say(d, DOCTOR_OK, "provider", p->name, NULL, "answers at %s", url);
        clocks(d, p->name, &f);
        if (f.not_after_s > 0)
            doctor_expiry(d, p->name, f.not_after_s, "its operator has to renew it");
    }
    if (p->insecure)
        doctor_say(d, DOCTOR_WARNING, "provider", p->name, "remove insecure: true; name its CA with ca_file", "its certificate is not verified: keys and prompts may go to anybody");
    free(f.body);
}

void doctor_network(struct doctor *d)
{
    const struct config *c = d->config;

    for (unsigned i = 0; i < c->issuers_count; i++) {
        const struct config_issuer *is = &c->issuers[i];
        if (is->jwks != NULL && is->jwks[0] == '/')
            continue; /* nothing is fetched */
        if (is->jwks != NULL)
            key_set(d, is, is->jwks);
        else
            discovery(d, is);
    }
    for (unsigned i = 0; i < c->providers_count; i++)
        provider(d, &c->providers[i]);
}
